"""Reading TIFF and BigTIFF: pages, stacks, strips and tiles, by tifffile or Pillow."""

from __future__ import annotations

import copy
import math
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import pillow, pixels, tiff_axes
from .axes import Axes
from .limits import STREAMS, check_packbits, of_imagecodecs
from .metadata import Metadata
from .missing import Missing
from .source import DEPTH, Source
from .tiff_layout import DESCRIPTION, GDAL_NODATA, PLAIN, Image, Layout, axes_of, images_of, layout_of, metadata_of

if TYPE_CHECKING:
    import tifffile

# Compressions of bytes that can be undone with a limit, with the package imagecodecs or without it.  Those of images,
# such as JPEG, have sizes of their own within, and are left to Pillow, which keeps to the page's or refuses them.
STREAMED = {8: "zlib", 32946: "zlib", 34925: "lzma"}
BY_IMAGECODECS = {5: "lzw", 34926: "zstd", 50000: "zstd", 32773: "packbits"}
PACKBITS = 32773
# Pages of a stack of which it is seen whether parts of them can be read.
MOST_LOOKED = 100


@contextmanager
def opened(path: Path, stack: bool, axes: Axes | None = None) -> Iterator[Source]:
    """The images of a TIFF, which must be alike; several of them are a stack."""
    import tifffile

    _check_chain(path)
    # Not as OME: that may name other files; what it says of axes is read apart.
    with tifffile.TiffFile(path, is_ome=False) as tiff:
        images = images_of(tiff.pages)
        first: Any = tiff.pages[images[0].place]
        takes = _check_images(tiff, images)
        shape, dtype = _kind(first)
        if first.photometric in PLAIN:
            pixels.check(shape, dtype)
        lock = threading.Lock()
        valid = _Masks(tiff, images, lock) if any(image.mask is not None for image in images) else None
        layout = layout_of(tiff, images, valid)
        planes = 1 if len(tiff.pages) > 1 else _planes(tiff)
        count = planes if planes > 1 else len(images)
        metadata, notes = metadata_of(tiff, layout), _notes(first, count, images[0])
        if axes is not None:
            axes, metadata = _named(axes, first, shape, count, metadata)
            notes = (*(DEPTH,) * axes.deep, *(each for each in notes if each != DEPTH))
            stack = bool(axes.pages)
        known = _known(first, shape, count) if axes is None else zip(axes.pages, axes.lead, strict=True)
        source = Source(
            shape, dtype, count if stack or count > 1 else None, lambda number: _page(path, tiff, images[number].place),
            first.nbytes if planes > 1 else takes,
            alpha=len(shape) == 3 and shape[2] > 1 and tuple(first.extrasamples)[-1:] in ((1,), (2,)),
            metadata=metadata, missing=_missing(first, layout, valid), notes=notes, axes=tuple(known),
        )  # fmt: skip
        as_shown = first.photometric in (1, 2) and _orientation(first) == 1
        if planes > 1:
            plain = as_shown and dtype.kind != "b"
            source = replace(
                source,
                page=lambda number: _shown(first, _plane(path, tiff, number).astype(dtype)),
                parts=(lambda number: _plane(path, tiff, number)) if plain else None,
            )
        elif as_shown:
            array = _in_parts(path, tiff, first, lock)
            part = array.takes if isinstance(array, Chunks) else 0
            if source.pages is None:
                source = replace(source, array=array, part=part)
            elif all(
                _in_parts(path, tiff, tiff.pages[image.place], lock) is not None for image in images[:MOST_LOOKED]
            ):
                parts = lambda number: _in_parts(path, tiff, tiff.pages[images[number].place], lock)  # noqa: E731
                source = replace(source, parts=parts, part=part)
        yield source


class _Masks:
    """Transparency masks: where images have pixels."""

    def __init__(self, tiff: tifffile.TiffFile, images: tuple[Image, ...], lock: threading.Lock):
        self._images = images
        # All pages are looked up now: tifffile reads them when it is asked for, and other threads read then.
        self._chunks: dict[int, Chunks] = {}
        for image in images:
            if image.mask is not None:
                page: Any = tiff.pages[image.mask]
                if page.axes not in ("YX", "YXS") or page.dtype is None or page.dtype.kind not in "bu":
                    raise ValueError("its transparency mask must hold one bit or byte a pixel")
                if _decompressor(page.compression) is None:
                    raise ValueError("its transparency mask is compressed in a way that needs the package imagecodecs")
                _check_segments(tiff, page)
                self._chunks[image.mask] = Chunks(tiff, page, lock)

    def __call__(self, part: tuple[slice, slice], number: int) -> np.ndarray:
        place = self._images[number].mask
        if place is None:
            return np.ones([each.stop - each.start for each in part], bool)
        mask = self._chunks[place][part]
        return np.asarray(mask.reshape(*mask.shape[:2], -1).all(axis=-1))


def _missing(page: Any, layout: Layout, valid: _Masks | None) -> Missing | None:
    """Missing pixels by GDAL's no-data tag and by masks."""
    text, missing = page.tags.valueof(GDAL_NODATA), None
    if isinstance(text, str):
        try:
            value = float(text.strip(" \0"))
        except ValueError:
            raise ValueError(f"it is damaged: its no-data value is {text[:40]!r}, which is no number") from None
        if layout.white_inverted and layout.dtype.kind == "u":
            value = float(np.iinfo(layout.dtype).max) - value
        missing = Missing(values=(value,))
    if valid is not None:
        mask = Missing(lambda _, part, number: ~valid(part, number), (), ("mask",))
        missing = mask if missing is None else missing | mask
    return missing


def _named(axes: Axes, page: Any, shape: tuple[int, ...], count: int, metadata: Metadata) -> tuple[Axes, Metadata]:
    """Axes with the sizes that the file tells, and metadata that say them."""
    axes.check_page(shape)
    text = _telling(page)
    axes = axes.of_pages(count, tuple(size for _, size in tiff_axes.known_of(text, shape, count)))
    return axes, replace(metadata, axes=axes, changed=(*metadata.changed, *tiff_axes.changed(text, shape, axes)))


def _telling(page: Any) -> str:
    """The description of a page that tells of axes, if one does."""
    texts = [str(tag.value) for tag in page.tags if tag.code == DESCRIPTION] or [""]
    return texts[tiff_axes.telling(texts)]


def _known(page: Any, shape: tuple[int, ...], count: int) -> list[tuple[str, int]]:
    """Letters and sizes of the axes that count pages, as the file tells; empty if it does not."""
    return tiff_axes.known_of(_telling(page), shape, count) if count > 1 else []


def _notes(page: Any, count: int, image: Image) -> tuple[str, ...]:
    """Remarks on the axes of a stack, and on pages that are not part of it."""
    planes = axes_of(str(page.tags.valueof(270, default=""))).get("Z", 1)
    notes = (DEPTH,) if planes > 1 and count % planes == 0 else ()
    copies = f"{image.unmarked} smaller page{'s' * (image.unmarked > 1)} taken for overviews"
    return (*notes, copies) if image.unmarked else notes


def _check_chain(path: Path) -> None:
    """Refuse pages that follow one another for ever, or not to the end; tifffile may not see either."""
    with path.open("rb") as file:
        head = file.read(4)
        order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
        form = struct.unpack(order + "H", head[2:4])[0] if order and len(head) > 3 else None
        if form not in (42, 43):
            raise ValueError("it is not a TIFF")
        count, entry, word = ("H", 12, "I") if form == 42 else ("Q", 20, "Q")
        size = file.seek(0, 2)

        def number(kind: str, place: int) -> int:
            file.seek(min(place, size))
            content = file.read(struct.calcsize(order + kind))
            if len(content) < struct.calcsize(order + kind):
                raise ValueError("it is truncated, or damaged: not all of its pages are there")
            return int(struct.unpack(order + kind, content)[0])

        place, visited = number(word, 4 if form == 42 else 8), set()
        while place:
            if place in visited:
                raise ValueError("it is damaged: its pages follow one another in a circle")
            visited.add(place)
            tags = number(count, place)
            place = number(word, file.tell() + entry * tags)
        if not visited:
            raise ValueError("it is damaged: it has no page")


def _kind(page: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape, with rows and columns the way they are shown and channels last, and dtype of a page."""
    if page.dtype is None:
        raise ValueError(f"it must hold real numbers of at most 64 bits; it has {page.bitspersample} bits a sample")
    shape = tuple(page.shape)
    if page.axes not in ("YX", "YXS", "SYX"):
        raise ValueError(f"it must be one image, or a stack of pages; a page has the shape {shape}")
    if page.axes == "SYX":
        shape = (*shape[1:], shape[0])
    if _orientation(page) > 4:
        shape = (shape[1], shape[0], *shape[2:])
    return shape, np.dtype(page.dtype)


def _orientation(page: Any) -> int:
    return int(page.tags.valueof("Orientation", default=1))


def _check_images(tiff: tifffile.TiffFile, images: tuple[Image, ...]) -> int:
    """Bytes that reading an image takes; refuses images that are not alike, or truncated."""
    first: Any = tiff.pages[images[0].place]
    takes = 0
    for count, image in enumerate(images):
        page: Any = tiff.pages[image.place]
        if (page.shape, page.dtype, page.photometric) != (first.shape, first.dtype, first.photometric):
            raise ValueError(
                "its pages must be one image, or a stack of images of one shape and dtype; page 1 is "
                f"{first.shape} {first.dtype}, page {count + 1} is {page.shape} {page.dtype}"
            )
        if page.dtype is not None:  # else it is refused
            _check_segments(tiff, page)
            takes = max(takes, _takes(page))
    return takes


def _planes(tiff: tifffile.TiffFile) -> int:
    """Number of images behind a single page: ImageJ writes large stacks so."""
    page, series = tiff.pages.first, tiff.series[0]
    planes = int(series.size) // max(1, math.prod(page.shape))
    if planes > 1 and (
        page.compression != 1
        or not page.is_contiguous
        or page.axes not in ("YX", "YXS")
        or page.dataoffsets[0] + planes * page.nbytes > tiff.filehandle.size
    ):
        raise ValueError(f"a stack of the shape {series.shape} behind one page cannot be read")
    return planes


def _check_segments(tiff: tifffile.TiffFile, page: Any) -> None:
    """Refuse strips and tiles that are not all there or lie beyond the file."""
    expected = math.prod(page.chunked)
    offsets, counts = page.dataoffsets, page.databytecounts
    if len(offsets) != expected or len(counts) != expected:
        raise ValueError(f"it is damaged: it has {min(len(offsets), len(counts))} strips or tiles, not {expected}")
    size = tiff.filehandle.size
    if any(offset < 0 or count < 0 or offset + count > size for offset, count in zip(offsets, counts, strict=True)):
        raise ValueError("it is truncated, or damaged: its pixels lie beyond the end of the file")
    if page.compression == 1 and not page.is_tiled and all(counts) and sum(counts) < _packed(page):
        raise ValueError(f"it is damaged: it has {sum(counts)} bytes of pixels, not {_packed(page)}")


def _decompressor(compression: int) -> Callable[[bytes, int], bytes] | None:
    """Decoder of a compression, with a limit; None if there is none."""
    if compression == 1:
        return lambda data, most: data[:most]
    if compression in STREAMED:
        return STREAMS[STREAMED[compression]]
    decoder = of_imagecodecs(BY_IMAGECODECS[compression]) if compression in BY_IMAGECODECS else None
    return _packbits if decoder is None and compression == PACKBITS else decoder


def _packbits(data: bytes, most: int) -> bytes:
    import tifffile

    check_packbits(data, most)
    return bytes(tifffile.TIFF.DECOMPRESSORS[PACKBITS](data))


def _packed(page: Any) -> int:
    """Bytes of all pixels, not compressed, rows of less than bytes being filled up."""
    samples = int(page.imagewidth) * (int(page.shape[-1]) if page.axes == "YXS" else 1)
    rows = math.prod(map(int, page.shape)) // samples
    return rows * -(-samples * int(page.bitspersample) // 8)


def _chunk(page: Any) -> int:
    """Bytes of a strip or tile."""
    size: int = math.prod(page.chunks) * np.dtype(page.dtype).itemsize
    return size


def _takes(page: Any) -> int:
    nbytes = int(page.nbytes)
    if page.photometric in PLAIN and page.compression == 1 and page.is_contiguous:
        return nbytes
    # The strip or tile and a copy of it; Pillow has up to 4 bytes a pixel, and a copy.
    return nbytes + max(2 * _chunk(page), 8 * int(page.imagewidth) * int(page.imagelength))


def _in_parts(path: Path, tiff: tifffile.TiffFile, page: Any, lock: threading.Lock) -> np.ndarray | Chunks | None:
    """The pixels of a page, if parts of them can be read without the rest."""
    if page.axes not in ("YX", "YXS", "SYX"):
        return None
    if page.compression == 1 and page.is_contiguous and page.axes != "SYX" and page.dtype.kind != "b":
        dtype = np.dtype(page.dtype).newbyteorder(tiff.byteorder)
        return np.memmap(path, dtype, "r", page.dataoffsets[0], tuple(page.shape))
    if page.predictor in (1, 2, 3) and _decompressor(page.compression) is not None:
        return Chunks(tiff, page, lock)
    return None


class Chunks:
    """The pixels of a page in strips or tiles, of which only those that a part touches are decoded; channels are last.

    `takes` are the bytes that this takes at most, beside the part.
    """

    def __init__(self, tiff: tifffile.TiffFile, page: Any, lock: threading.Lock | None = None):
        self._tiff, self._page, self._decompress = tiff, page, _decompressor(page.compression)
        self._lock = threading.Lock() if lock is None else lock
        self._planar, shape, sides = page.axes == "SYX", tuple(map(int, page.shape)), tuple(map(int, page.chunks))
        self.shape = (*shape[1:], shape[0]) if self._planar else shape
        self.dtype, step = np.dtype(page.dtype), sides[-2:] if self._planar else sides[:2]
        #: Rows and columns of a strip or tile, and all channels.
        self.chunks = (*step, *self.shape[2:])
        self._count = tuple(-(-size // side) for size, side in zip(self.shape, step, strict=False))
        self._most = math.prod(step if self._planar else self.chunks) * self.dtype.itemsize + 2**16
        self.takes = 2 * self._most
        # tifffile makes pixels of bytes as if they had never been compressed: it knows no limit when it decompresses.
        plain = copy.copy(page.keyframe)
        for cached in ("decode", "hash"):
            plain.__dict__.pop(cached, None)
        plain.compression = 1
        self._decode = plain.decode

    def __getitem__(self, part: tuple[slice, ...]) -> np.ndarray:
        rows, cols = (range(*each.indices(size)) for each, size in zip(part[:2], self.shape[:2], strict=True))
        pixels = np.zeros((len(rows), len(cols), *self.shape[2:]), self.dtype)
        if not pixels.size:
            return pixels
        (down, across), first = self.chunks[:2], 0
        for plane in np.moveaxis(pixels, -1, 0) if self._planar else [pixels]:
            for i in range(rows.start // down, (rows.stop - 1) // down + 1):
                for j in range(cols.start // across, (cols.stop - 1) // across + 1):
                    segment = self._segment(first + i * self._count[1] + j)
                    if segment is None:  # a file may leave out what is 0 everywhere
                        continue
                    top, left = i * down, j * across
                    begin = max(rows.start, top), max(cols.start, left)
                    end = min(rows.stop, top + segment.shape[0]), min(cols.stop, left + segment.shape[1])
                    plane[begin[0] - rows.start : end[0] - rows.start, begin[1] - cols.start : end[1] - cols.start] = (
                        segment[begin[0] - top : end[0] - top, begin[1] - left : end[1] - left]
                    )
            first += self._count[0] * self._count[1]
        return pixels[(slice(None), slice(None), *part[2:])]

    def _segment(self, number: int) -> np.ndarray | None:
        """A strip or tile."""
        size = self._page.databytecounts[number]
        if not size:
            return None
        with self._lock:
            self._tiff.filehandle.seek(self._page.dataoffsets[number])
            # What is compressed may be larger than its pixels, but not much.
            data = self._tiff.filehandle.read(min(size, 2 * self._most))
        assert self._decompress is not None
        segment: np.ndarray = self._decode(self._decompress(data, self._most), number)[0][0]
        return segment.reshape(*segment.shape[:2], *(() if self._planar else self.shape[2:]))


def _plane(path: Path, tiff: tifffile.TiffFile, number: int) -> np.ndarray:
    """One of the images behind a single page, mapped, as it is in the file."""
    page = tiff.pages.first
    dtype = np.dtype(page.dtype).newbyteorder(tiff.byteorder)
    return np.memmap(path, dtype, "r", page.dataoffsets[0] + number * page.nbytes, tuple(page.shape))


def _page(path: Path, tiff: tifffile.TiffFile, number: int) -> np.ndarray:
    page: Any = tiff.pages[number]
    if page.photometric in PLAIN and _decompressor(page.compression) is not None:
        try:
            return _shown(page, Chunks(tiff, page)[:, :])
        except ValueError as error:
            if "imagecodecs" not in str(error) and "LZW of an old kind" not in str(error):
                raise
    # Palettes, and compressions that tifffile leaves to another package: Pillow knows many of them.
    with pillow.page_of_tiff(path, number) as source:
        array = source.page(0)
    shape = _kind(page)[0]
    if page.photometric in PLAIN and (array.dtype.newbyteorder("="), array.shape) != (page.dtype, shape):
        readable = array.dtype.name
        if array.shape != shape:
            readable += f" with {pixels.channels(array.shape)} of {pixels.channels(shape)} channels"
        raise ValueError(f"{readable} is all that can be read of it without the package imagecodecs")
    return array


def _shown(page: Any, array: np.ndarray) -> np.ndarray:
    """The pixels of a page as they are shown: bright is large, up is up."""
    if page.photometric == 0 and array.dtype.kind in "bu":
        array = ~array
    return pixels.oriented(array, _orientation(page))
