"""Layout and tags of a TIFF: images, overviews and masks among its pages, compression, metadata."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np

from . import tiff_exif
from .metadata import Metadata
from .texts import header_in
from .tiff_exif import EXIF, GPS

REDUCED, MASK = 1, 4  # bits of NewSubfileType
PLAIN = (0, 1, 2)  # photometric: zero is white, zero is black, RGB
GDAL_NODATA, GDAL_METADATA, ICC, XMP, DESCRIPTION = 42113, 42112, 34675, 700, 270
RESOLUTION = (282, 283, 296)
# What the writer says of its own, or what holds for the pixels that were read alone: sizes, places of strips and
# tiles, types, palettes, smallest and largest values, places in the file that was read.
STRUCTURAL = frozenset(
    (
        254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 280, 281, 284, 288, 289, 290, 291, 292, 293,
        317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 338, 339, 340, 341, 347, 400, 512, 513, 514, 515, 517, 518,
        519, 520, 521, 529, 530, 531, 532, 32997, 32998, 34412, 50674, 50838, 50839, *RESOLUTION, EXIF, GPS, 40965,
    )
) - {50838, 50839}  # fmt: skip
# Tags with places in the file as their values mean nothing in another.
POINTERS = (13, 18)
LOST = {34412: "Zeiss LSM's table"}
OWN = {
    33550: "the georeference", 33922: "the georeference", 34264: "the georeference", 34735: "the georeference",
    GDAL_METADATA: "GDAL's metadata", GDAL_NODATA: "the no-data value", 50838: "ImageJ's metadata", 270: "",
}  # fmt: skip
# Bytes of tags, of all pages together, that are read at most.
MOST_TAGS = 2**28
MOST_OVERVIEWS = 64
# How many times the pixels of every other page that is not marked an image has, of which those are no stack.
SMALLER = 2

Tag = tuple[int, int, int, Any, bool]


@dataclass(frozen=True)
class Image:
    """A page at full resolution, and what belongs to it: places in the chain of pages.

    Attributes
    ----------
    place : int
    mask : int or None
        The page that says where it has pixels.
    overviews : tuple of (int, int)
        Rows and columns of its reduced copies.
    others : tuple of (int, int)
        Those of smaller pages of which the file does not say what they are, and which are no copies.
    unmarked : int
        How many of the reduced copies are not marked so.
    """

    place: int
    mask: int | None = None
    overviews: tuple[tuple[int, int], ...] = ()
    others: tuple[tuple[int, int], ...] = ()
    unmarked: int = 0


@dataclass(frozen=True)
class Layout:
    """Layout of a TIFF's pages in the file, and their tags.

    Attributes
    ----------
    byteorder : str
        "<" or ">".
    bigtiff : bool
    photometric, planar, extra
        What the samples are: 0 white is zero, 1 black is zero, 2 RGB, others as they were; whether each has a plane
        of its own; ExtraSamples.
    samples : int
    dtype : dtype
        Of what was read.
    tile : (int, int) or None
    rows : int
        Of a strip.
    compression, predictor : int
    images : tuple of Image
    nested : bool
        Whether overviews are SubIFDs.
    tags : callable
        The tags of the image of that number that are written again as they are.
    resolution : callable
        Its resolution, as tifffile takes it.
    valid : callable or None
        Where an image has pixels, by its mask: of a part of the image of that number.
    directories : dict
        EXIF's directories of the first image, by the tag that points to them.
    """

    byteorder: Any
    bigtiff: bool
    photometric: int
    planar: bool
    extra: tuple[int, ...]
    samples: int
    dtype: np.dtype[Any]
    tile: tuple[int, int] | None
    rows: int
    compression: int
    predictor: int
    images: tuple[Image, ...]
    nested: bool
    tags: Callable[[int], list[Tag]]
    resolution: Callable[[int], dict[str, Any]]
    valid: Callable[[tuple[slice, slice], int], np.ndarray] | None = None
    directories: dict[int, list[tiff_exif.Entry]] = field(default_factory=dict)

    @property
    def white_inverted(self) -> bool:
        """Whether the reader has turned white, 0, into the largest value."""
        return self.photometric == 0 and self.dtype.kind in "bu"


def images_of(pages: Any) -> tuple[Image, ...]:
    """The pages at full resolution of a chain; masks and overviews belong to the one before them."""
    images: list[Image] = []
    for place, page in enumerate(pages):
        kind, shape = _kind_of(page), (int(page.imagelength), int(page.imagewidth))
        if not images or not kind & (REDUCED | MASK):
            if images and images[0].place == 0 and _kind_of(pages[0]) & REDUCED and len(images) == 1:
                images = []  # a thumbnail was first
            images.append(Image(place))
        elif kind & MASK and not kind & REDUCED:
            first = pages[images[-1].place]
            if images[-1].mask is not None or shape != (int(first.imagelength), int(first.imagewidth)):
                raise ValueError("it has a transparency mask that belongs to none of its images")
            images[-1] = Image(images[-1].place, place, images[-1].overviews)
        elif not kind & MASK:
            images[-1] = Image(images[-1].place, images[-1].mask, (*images[-1].overviews, shape))
    return _largest(pages, images)


def _largest(pages: Any, images: list[Image]) -> tuple[Image, ...]:
    """Images of one size; if one is much larger than all others, which are not marked, that alone.

    Scanners of slides write smaller copies, a label and a view of the whole slide as if they were pages of a stack.
    """
    shapes = [(int(pages[each.place].imagelength), int(pages[each.place].imagewidth)) for each in images]
    largest = max(range(len(images)), key=lambda at: math.prod(shapes[at]))
    if len(set(shapes)) == 1:
        return tuple(images)
    rows, cols = shapes[largest]
    others = [at for at in range(len(images)) if at != largest]
    if any(
        shapes[at][0] > rows or shapes[at][1] > cols or SMALLER * math.prod(shapes[at]) > rows * cols for at in others
    ):
        sizes = ", ".join(f"{down}x{across}" for down, across in dict.fromkeys(shapes))
        raise ValueError(
            f"its {len(images)} pages must be one image, or a stack of images of one shape and dtype, or one image "
            f"that is much larger than all others; they are {sizes} (save those of one size apart)"
        )
    copies = [at for at in others if _is_copy(pages[images[largest].place], pages[images[at].place], largest < at)]
    first = images[largest]
    overviews = [*first.overviews, *(each for at in copies for each in (shapes[at], *images[at].overviews))]
    left = [at for at in others if at not in copies]
    return (
        replace(
            first,
            overviews=tuple(sorted(dict.fromkeys(overviews), key=math.prod, reverse=True)),
            others=tuple(each for at in left for each in (shapes[at], *images[at].overviews)),
            unmarked=len(copies),
        ),
    )


def _is_copy(page: Any, small: Any, after: bool) -> bool:
    """Whether a smaller page is an overview as far as can be told: of pixels of one kind, a whole factor smaller."""
    kinds = [(each.dtype, each.photometric, int(each.samplesperpixel)) for each in (page, small)]
    sides = ((int(page.imagelength), int(small.imagelength)), (int(page.imagewidth), int(small.imagewidth)))
    factors = {round(size / part) for size, part in sides}
    factor = max(factors)
    exact = all(part in (size // factor, -(-size // factor)) for size, part in sides)
    return after and page.is_tiled == small.is_tiled and kinds[0] == kinds[1] and len(factors) == 1 and exact


def _listed(shapes: tuple[tuple[int, int], ...]) -> str:
    """Smaller pages in words."""
    sizes = ", ".join(f"{down}x{across}" for down, across in shapes[:5]) + (", ..." if len(shapes) > 5 else "")
    return f"{len(shapes)} smaller page{'s' * (len(shapes) > 1)} of which it does not say what they are ({sizes})"


def _kind_of(page: Any) -> int:
    """NewSubfileType, or what the older tag says."""
    old = {2: REDUCED}.get(page.tags.valueof(255) or 0, 0)
    new = page.tags.valueof(254)
    return int(new) if isinstance(new, int) else old


def layout_of(tiff: Any, images: tuple[Image, ...], valid: Any) -> Layout:
    """The layout of an open file."""
    first = tiff.pages[images[0].place]
    nested = not images[0].overviews and bool(first.subifds)
    _check_tags(tiff, first)
    if nested:
        known = {int(first.offset), *map(int, first.subifds)}
        if len(known) <= len(first.subifds) or len(known) > MOST_OVERVIEWS:
            raise ValueError("it is damaged: its reduced images follow one another in a circle, or are too many")
        sizes = [(int(each.imagelength), int(each.imagewidth)) for each in first.pages if _kind_of(each) & REDUCED]
        images = tuple(replace(each, overviews=tuple(sizes)) for each in images)
    planar = int(first.planarconfig or 1) == 2
    return Layout(
        byteorder=tiff.byteorder,
        bigtiff=bool(tiff.is_bigtiff),
        photometric=int(first.photometric),
        planar=planar and int(first.samplesperpixel) > 1,
        extra=tuple(map(int, first.extrasamples)),
        samples=int(first.samplesperpixel),
        dtype=np.dtype(first.dtype),
        tile=(int(first.tilelength), int(first.tilewidth)) if first.is_tiled else None,
        rows=int(first.rowsperstrip or 0),
        compression=int(first.compression),
        predictor=int(first.predictor),
        images=images,
        nested=nested,
        # Images behind a single page have none of their own.
        tags=lambda number: list(_tags(tiff, tiff.pages[images[number].place])) if number < len(images) else [],
        resolution=lambda number: _resolution(tiff.pages[images[min(number, len(images) - 1)].place]),
        valid=valid,
        directories=_directories(tiff, first),
    )


def _tags(tiff: Any, page: Any) -> Iterator[Tag]:
    """Tags that are written again byte for byte."""
    room = MOST_TAGS
    for tag in getattr(page, "aspage", lambda: page)().tags:
        code, dtype, count = int(tag.code), int(tag.dtype), int(tag.count)
        if code in STRUCTURAL or dtype in POINTERS:
            continue
        size = count * _size(dtype)
        room -= size
        if room < 0:
            raise ValueError("it is damaged: its tags are larger than images are")
        yield code, dtype, count, _raw(tiff, tag, size), False


def _check_tags(tiff: Any, page: Any) -> None:
    """Refuse tags that are not all there, which tifffile leaves out, before any work is done."""
    room = MOST_TAGS
    at = tiff_exif.reader_of(tiff.filehandle)
    for _, code, _, _, first, size in tiff_exif.entries(at, page.offset, tiff.byteorder, tiff.is_bigtiff):
        if code not in STRUCTURAL and first + size > tiff.filehandle.size:
            raise ValueError(f"it is truncated, or damaged: its tag {code} lies beyond the end of the file")
        room -= size
    if room < 0:
        raise ValueError("it is damaged: its tags are larger than images are")


def _size(dtype: int) -> int:
    """Bytes of one value of a type of TIFF's."""
    return tiff_exif.SIZES.get(dtype, 1)


def _raw(tiff: Any, tag: Any, size: int) -> bytes:
    tiff.filehandle.seek(tag.valueoffset)
    content: bytes = tiff.filehandle.read(size)
    if len(content) < size:
        raise ValueError(f"it is truncated, or damaged: its tag {tag.code} lies beyond the end of the file")
    return content


def _directories(tiff: Any, page: Any) -> dict[int, list[tiff_exif.Entry]]:
    """EXIF's directories beside that of an image."""
    read, order, big = tiff_exif.reader_of(tiff.filehandle), tiff.byteorder, bool(tiff.is_bigtiff)

    def at(place: int, count: int) -> bytes:
        return read(min(place, tiff.filehandle.size), count)

    directories = {}
    for _, code, kind, count, value_at, size in tiff_exif.entries(at, int(page.offset), order, big):
        if code in tiff_exif.DIRECTORIES and kind in (4, 13, 16, 18) and count == 1:
            place = int.from_bytes(at(value_at, size), "little" if order == "<" else "big")
            directories[code] = tiff_exif.read(at, place, order, big)
    return tiff_exif.nested(at, directories, order, big)


def _resolution(page: Any) -> dict[str, Any]:
    """Resolution of a page, as arguments of tifffile's writer."""
    tags = getattr(page, "aspage", lambda: page)().tags
    values, unit = [tags.valueof(code) for code in RESOLUTION[:2]], tags.valueof(RESOLUTION[2])
    if not all(isinstance(each, tuple) and len(each) == 2 and each[1] for each in values):
        return {}
    return {"resolution": tuple(values), "resolutionunit": int(unit) if unit in (1, 2, 3) else 2}


def metadata_of(tiff: Any, layout: Layout) -> Metadata:
    """Metadata of a file, with its layout."""
    page = tiff.pages[layout.images[0].place]
    present = {int(tag.code): tag for tag in page.tags}

    def raw(code: int) -> bytes | None:
        tag = present.get(code)
        return None if tag is None else _raw(tiff, tag, min(int(tag.count) * _size(int(tag.dtype)), MOST_TAGS))

    text = (raw(DESCRIPTION) or b"").rstrip(b"\0").decode(errors="replace")
    kind = "OME-XML" if "<OME" in text else "ImageJ's description" if text.startswith("ImageJ=") else None
    if text.startswith('{"shape"'):  # by tifffile, of its own
        text = ""
    header = header_in(text)
    resolution = layout.resolution(0)
    dpi = None
    if resolution and resolution["resolutionunit"] in (2, 3):
        scale = 1 if resolution["resolutionunit"] == 2 else 2.54
        across, down = (float(Fraction(*each)) * scale for each in resolution["resolution"])
        dpi = (across, down)
    words = [kind] if kind else []
    words += ["the pixel size"] if resolution and dpi is None and resolution["resolution"] != ((1, 1), (1, 1)) else []
    words += [word for code, word in OWN.items() if code in present and word]
    words += [f"tag {code}" for code in present if code > 50000 and code not in OWN and code not in STRUCTURAL]
    words += ["overviews"] if layout.images[0].overviews else []
    words += ["the transparency mask"] if layout.valid is not None else []
    unread = [word for code, word in LOST.items() if code in present]
    unread += [_listed(layout.images[0].others)] if layout.images[0].others else []
    if _is_cloud_optimised(tiff):
        unread.append("the order of a cloud-optimised file")
    about = [(code, int(tag.dtype), int(tag.count), raw(code) or b"") for code, tag in present.items()
             if code in tiff_exif.ABOUT]  # fmt: skip
    return Metadata(
        format="TIFF", exif=tiff_exif.joined(about, layout.directories, layout.byteorder),
        icc=raw(ICC), xmp=raw(XMP), dpi=dpi, description=None if kind or header else text or None, header=header,
        own=layout,
        own_words=tuple(dict.fromkeys(words)), unread=tuple(unread),
    )  # fmt: skip


def filled(metadata: Metadata | None) -> Metadata | None:
    """Metadata of an image whose missing pixels have got estimates: without a mask."""
    if metadata is None or not isinstance(metadata.own, Layout):
        return metadata
    return replace(metadata, own=replace(metadata.own, valid=None))


def _is_cloud_optimised(tiff: Any) -> bool:
    tiff.filehandle.seek(0)
    return b"GDAL_STRUCTURAL_METADATA_SIZE" in tiff.filehandle.read(64)


def axes_of(description: str) -> dict[str, int]:
    """Numbers of planes along T, C and Z, as OME-XML or ImageJ say; empty if they do not."""
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]{0,4000}>", description)
    if pixels is not None:
        sizes = re.findall(r"\bSize([TCZ])\s*=\s*[\"'](\d{1,9})[\"']", pixels[0])
        return {axis: int(size) for axis, size in sizes}
    if description.startswith("ImageJ="):
        named = {"frames": "T", "channels": "C", "slices": "Z"}
        return {
            named[key]: int(size) for key, size in re.findall(r"^(frames|channels|slices)=(\d{1,9})", description, re.M)
        }
    return {}
