"""Writing TIFFs with the layout and tags of the one that was read."""

from __future__ import annotations

import functools
import io
import math
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from . import missing, pixels, tiff_axes, tiff_exif
from .chunks import give_back
from .metadata import Metadata, Pages
from .texts import TAGS, one_text
from .tiff_layout import DESCRIPTION, GDAL_NODATA, ICC, MASK, REDUCED, XMP, Layout

# What offsets of 32 bits can address, less what tifffile keeps for its tables.
CLASSIC_MOST = 2**32 - 2**25
# Compressions that keep every pixel, and what they are called; deflate takes the place of others.
DEFLATE = 8
LOSSLESS = {1: 1, 5: 5, 8: 8, 32946: 8, 32773: 32773, 34925: 34925, 34926: 50000, 50000: 50000}
NAMES = {5: "LZW", 7: "JPEG", 6: "JPEG", 32773: "PackBits", 34925: "LZMA", 34926: "Zstandard", 50000: "Zstandard"}
# Bytes of a strip or tile at most; larger ones are cut.
LARGEST = 2**25
STRIP = 2**18
# An overview up to so many bytes is kept in memory while the next smaller one is made of it.
IN_MEMORY = 2**22
# Rows and columns of an overview that are made at once.
BLOCK = 256
# Tiles of the mask of an image in strips.
MASK_TILE = (256, 256)
# OME's names of types.
OME_TYPES = {"float32": "float", "float64": "double"}


def meaning(channels: int, alpha: bool = False) -> dict[str, Any]:
    """Arguments of tifffile's writer for channels: photometric, planar configuration, ExtraSamples."""
    colours = channels - alpha
    extra = ["unspecified"] * (0 if colours == 3 else colours - 1) + ["unassalpha"] * alpha
    return {
        "photometric": "rgb" if colours == 3 else "minisblack",
        "planarconfig": "contig" if channels > 1 else None,
        "extrasamples": extra or None,
        "metadata": None,
    }


@dataclass(frozen=True)
class Form:
    """Layout of one image as it is written.

    Attributes
    ----------
    shape, dtype
        Of the image, rows and columns first; in the file's byte order.
    said : dict
        What tifffile is told of its samples.
    planar, white : bool
        Whether samples have planes of their own; whether 0 is white.
    tile, rows
        Of tiles, or strips.
    compression, predictor : int
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    said: dict[str, Any]
    planar: bool = False
    white: bool = False
    tile: tuple[int, int] | None = None
    rows: int = 0
    compression: int = 1
    predictor: int = 1


def form_of(layout: Layout | None, shape: tuple[int, ...], dtype: np.dtype[Any], alpha: bool) -> Form:
    """The form of images of a shape and dtype, in the layout that was read as far as possible."""
    channels = pixels.channels(shape)
    shape = shape if channels > 1 else shape[:2]
    if layout is None:
        return Form(shape, dtype, meaning(channels, alpha))
    dtype = dtype.newbyteorder(layout.byteorder)
    said, white = meaning(channels, alpha), False
    if channels == layout.samples and layout.photometric in (0, 1, 2):
        white = layout.white_inverted and dtype.kind == "u"
        said["photometric"] = 0 if white else layout.photometric or 1
        colours = 3 if layout.photometric == 2 else 1
        said["extrasamples"] = (layout.extra or (0,) * (channels - colours)) or None
    planar = layout.planar and channels > 1
    if channels > 1:
        said["planarconfig"] = "separate" if planar else "contig"
    compression, predictor = _packing(layout, dtype)
    row = shape[1] * dtype.itemsize * (1 if planar else channels)
    rows = min(layout.rows or shape[0], shape[0])
    if compression != 1 and rows * row > LARGEST:
        rows = max(1, STRIP // row)
    tile = layout.tile
    if tile is not None and (tile[0] % 16 or tile[1] % 16 or math.prod(tile) * dtype.itemsize * channels > LARGEST):
        tile = (256, 256)
    return Form(shape, dtype, said, planar, white, tile, rows, compression, predictor)


def _packing(layout: Layout, dtype: np.dtype[Any]) -> tuple[int, int]:
    """Compression and predictor: those of the file if nothing is lost, and they can be written."""
    compression = LOSSLESS.get(layout.compression, DEFLATE)
    if compression == 1:
        return 1, 1
    if not _writes(compression, 1, dtype.newbyteorder("=")):
        compression = DEFLATE
    predictor = layout.predictor if layout.predictor in (2, 3) else 1
    if predictor > 1:
        predictor = 3 if dtype.kind == "f" else 2
    return compression, predictor if _writes(compression, predictor, dtype.newbyteorder("=")) else 1


@functools.cache
def _writes(compression: int, predictor: int, dtype: np.dtype[Any]) -> bool:
    """Whether tifffile, with the packages that there are, writes and reads such pixels."""
    import tifffile

    if compression == 1:
        return True
    try:
        image = np.arange(256, dtype=np.uint8).reshape(16, 16).astype(dtype)
        file = io.BytesIO()
        tifffile.imwrite(file, image, compression=compression, predictor=predictor if predictor > 1 else None)
        file.seek(0)
        return bool((tifffile.imread(file) == image).all())
    except Exception:  # noqa: BLE001 -- whatever a codec that is missing raises
        return False


def changed(layout: Layout, dtype: np.dtype[Any]) -> tuple[str, ...]:
    """Parts of the layout that cannot be written again around pixels of a dtype, in words."""
    compression, predictor = _packing(layout, dtype)
    words = []
    if LOSSLESS.get(layout.compression) != compression:
        name = NAMES.get(layout.compression, f"number {layout.compression}")
        why = "which loses detail" if layout.compression not in LOSSLESS else "which needs the package imagecodecs"
        words.append(f"the compression {name}, {why} (deflate instead)")
    expected = layout.predictor
    if expected in (2, 3) and dtype.kind != layout.dtype.kind:  # each kind of numbers has its own
        expected = 3 if dtype.kind == "f" else 2
    if layout.predictor > 1 and compression != 1 and predictor != expected:
        needs = "" if _writes(compression, 3, np.dtype(np.float32)) else ", which needs the package imagecodecs"
        words.append(f"the predictor {expected}{needs} ({'none' if predictor == 1 else predictor} instead)")
    return tuple(words)


@contextmanager
def saving(file: IO[bytes], planned: Pages) -> Iterator[Callable[[np.ndarray], None]]:
    """Write images to a file, one a page; a BigTIFF if it takes more than 4 GB."""
    import tifffile

    metadata = planned.metadata
    layout = None if metadata is None or not isinstance(metadata.own, Layout) else metadata.own
    form = form_of(layout, planned.shape, planned.dtype, planned.alpha)
    size = (planned.count or 1) * math.prod(planned.shape) * planned.dtype.itemsize
    if layout is not None and layout.images[0].overviews:
        size += size // 2
    big = size > CLASSIC_MOST or (layout is not None and layout.bigtiff)
    order, about, directories = _exif_of(metadata, layout)
    with tifffile.TiffWriter(file, bigtiff=big, byteorder=order, ome=False, shaped=False) as tiff:
        number, places = 0, _put_directories(file, directories, order, big)
        first, begin = [*places, *about], file.tell()

        def put(image: np.ndarray) -> None:
            nonlocal number
            _Page(tiff, form, layout, metadata, number, planned.folder, first if number == 0 else []).write(image)
            number += 1

        yield put
    if places:
        tiff_exif.point_to(file, begin, order, big)


def _exif_of(
    metadata: Metadata | None, layout: Layout | None
) -> tuple[Any, list[Any], dict[int, list[tiff_exif.Entry]]]:
    """The byte order of the file, tags of the first image and directories beside it, as EXIF has them."""
    if layout is not None:
        return layout.byteorder, [], layout.directories
    if metadata is None or not metadata.exif:
        return None, [], {}
    order, about, directories = tiff_exif.parted(metadata.exif)
    return order, [(*each, True) for each in about], directories


def _put_directories(
    file: IO[bytes], directories: dict[int, list[tiff_exif.Entry]], order: Any, big: bool
) -> list[Any]:
    """Write directories where the first image's will follow; returns the tags that point to them."""
    content, places = tiff_exif.placed(directories, file.tell(), order, big)
    file.write(content)
    return [(tiff_exif.UNNAMED[code], 16 if big else 4, 1, place, True) for code, place in places.items()]


class _Page:
    """One image with its mask, its overviews and its tags."""

    def __init__(
        self,
        tiff: Any,
        form: Form,
        layout: Layout | None,
        metadata: Metadata | None,
        number: int,
        folder: Path | None,
        exif: list[Any],
    ):
        self._tiff, self._form, self._layout, self._metadata = tiff, form, layout, metadata
        self._number, self._folder, self._exif = number, folder, exif
        image = None if layout is None else layout.images[min(number, len(layout.images) - 1)]
        self._overviews = () if image is None else image.overviews
        self._valid = layout.valid if layout is not None and image is not None and image.mask is not None else None

    def write(self, image: np.ndarray) -> None:
        """Write an array, which may be mapped, of the form's shape."""
        layout, form = self._layout, self._form
        nested = layout is not None and layout.nested and bool(self._overviews)
        told: dict[str, Any] = {"extratags": [*self._tags(), *self._exif], "software": False}
        told |= {} if layout is None else layout.resolution(self._number)
        if layout is None and self._metadata is not None and self._metadata.dpi:
            told |= {"resolution": self._metadata.dpi, "resolutionunit": 2}
        self._put(image, form, **told, **({"subifds": len(self._overviews)} if nested else {}))
        if self._valid is not None and not nested:
            self._put_mask(form.shape[:2], 1, MASK)
        self._put_overviews(image)

    def _put(self, image: np.ndarray, form: Form, **told: Any) -> None:
        for name in ("tile", "compression", "predictor"):
            value = getattr(form, name)
            if value not in (None, 1):
                told[name] = value
        shape = (form.shape[2], *form.shape[:2]) if form.planar else form.shape
        if form.tile is None:
            told["rowsperstrip"] = form.rows or form.shape[0]
        chunks = _tiles(image, form) if form.tile is not None else _strips(image, form)
        self._tiff.write(chunks, shape=shape, dtype=form.dtype, **form.said, **told)

    def _put_mask(self, shape: tuple[int, ...], step: int, kind: int) -> None:
        """The mask of an image, or of every `step`-th of its pixels."""
        tile = self._form.tile or MASK_TILE
        self._tiff.write(
            self._mask_tiles(shape, step, tile), shape=shape, dtype=bool, photometric="mask", subfiletype=kind,
            compression=DEFLATE, metadata=None, software=False, tile=tile,
        )  # fmt: skip

    def _mask_tiles(self, shape: tuple[int, ...], step: int, tile: tuple[int, int]) -> Iterator[np.ndarray]:
        assert self._valid is not None
        for top in range(0, shape[0], tile[0]):
            for left in range(0, shape[1], tile[1]):
                mask = np.zeros(tile, bool)
                rows, cols = (
                    np.minimum(np.arange(at, min(at + side, size)) * step, most - 1)
                    for at, side, size, most in zip((top, left), tile, shape, self._form.shape[:2], strict=True)
                )
                part = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1))
                valid = self._valid(part, self._number)
                mask[: len(rows), : len(cols)] = valid[np.ix_(rows - rows[0], cols - cols[0])]
                yield mask

    def _put_overviews(self, image: np.ndarray) -> None:
        form, before, room = self._form, image, image
        with tempfile.TemporaryDirectory(prefix=".overviews-", dir=self._folder) as folder:
            for at, shape in enumerate(self._overviews):
                smaller = replace(form, shape=(*shape, *form.shape[2:]), rows=min(form.rows, shape[0]))
                room = _room(smaller, Path(folder) / f"{at}")
                _reduce(before, room, self._absent)
                self._put(room, smaller, subfiletype=REDUCED, software=False)
                if self._valid is not None and self._layout is not None and not self._layout.nested:
                    self._put_mask(shape, max(1, round(form.shape[0] / shape[0])), REDUCED | MASK)
                before = room
            del before, room  # open files could not be removed

    @property
    def _absent(self) -> Any:
        """The value, as it is written, of pixels that are missing."""
        tags = [] if self._layout is None else self._layout.tags(self._number)
        value = next((_nodata_written(tag[3], self._layout, self._form) for tag in tags if tag[0] == GDAL_NODATA), None)
        return ~value if self._form.white and value is not None else value

    def _tags(self) -> list[Any]:
        tags, axes = self._tags_as_read(), None if self._metadata is None else self._metadata.axes
        if self._number or axes is None or not axes.pages:
            return tags
        old = [tag[3].rstrip(b"\0").decode(errors="replace") for tag in tags if tag[0] == DESCRIPTION] or [""]
        told = tiff_axes.telling(old)
        said = tiff_axes.described(old[told], axes, self._form.shape, self._form.dtype, self._form.planar)
        texts = [*old[:told], *said, *old[told + 1 :]]
        new = [(DESCRIPTION, 2, 0, text.encode() + b"\0", True) for text in texts]
        return [tag for tag in tags if tag[0] != DESCRIPTION] + new

    def _tags_as_read(self) -> list[Any]:
        metadata, tags = self._metadata, list[Any]()
        if self._layout is not None:
            for code, dtype, count, value, once in self._layout.tags(self._number):
                if code == GDAL_NODATA and self._layout.dtype.newbyteorder("=") != self._form.dtype.newbyteorder("="):
                    written = _nodata_written(value, self._layout, self._form)
                    if written is None:
                        continue
                    value = _text(written)
                if code == DESCRIPTION and b"<OME" in value:
                    value = _retyped(value, self._layout.dtype, self._form.dtype)
                tags.append((code, dtype, len(value) if dtype == 2 else count, value, once))
            return tags
        if metadata is None:
            return tags
        binary = ((ICC, metadata.icc), (XMP, metadata.xmp))
        tags += [(code, 7, len(value), value, True) for code, value in binary if value]
        text = one_text(metadata) if self._number == 0 or not metadata.header else None
        if text:
            tags.append((DESCRIPTION, 2, 0, text.encode(), True))
        known = {tag[0] for tag in self._exif}
        said = {TAGS[keyword]: text for keyword, text in metadata.text.items() if keyword in TAGS}
        return tags + [(code, 2, 0, text.encode(), True) for code, text in said.items() if code not in known]


def _nodata_written(value: bytes, layout: Layout | None, form: Form) -> Any:
    """The value of a no-data tag in the dtype that is written; None if no pixel can have it."""
    if layout is None:
        return None
    try:
        number = float(value.rstrip(b"\0 ").decode())
    except ValueError:
        return None
    return missing.as_written(number, layout.dtype, form.dtype.newbyteorder("="))


def _text(value: Any) -> bytes:
    """A no-data value as GDAL writes it."""
    return (repr(float(value)) if value.dtype.kind == "f" else str(int(value))).encode() + b"\0"


def _retyped(xml: bytes, before: np.dtype[Any], after: np.dtype[Any]) -> bytes:
    """OME-XML whose pixels have another type."""
    name = after.newbyteorder("=").name
    if before.newbyteorder("=").name == name:
        return xml
    said = OME_TYPES.get(name, name).encode()
    return re.sub(
        rb"<(?:\w+:)?Pixels\b[^>]*>",
        lambda found: re.sub(
            rb"\s+SignificantBits=\"\d+\"", b"", re.sub(rb"(\bType=[\"'])[^\"']*", rb"\g<1>" + said, found[0])
        ),
        xml,
    )


def _part(image: np.ndarray, form: Form, plane: int | None, rows: slice, cols: slice) -> np.ndarray:
    """Pixels as they are in the file."""
    part = image[rows, cols] if plane is None else image[rows, cols, plane]
    part = np.ascontiguousarray(part, form.dtype)
    give_back(image)
    return ~part if form.white else part


def _planes(form: Form) -> list[int | None]:
    return list(range(form.shape[2])) if form.planar else [None]


def _tiles(image: np.ndarray, form: Form) -> Iterator[np.ndarray]:
    """Tiles, those at the border filled up with zeros."""
    assert form.tile is not None
    down, across = form.tile
    samples = form.shape[2:] if not form.planar else ()
    for plane in _planes(form):
        for top in range(0, form.shape[0], down):
            for left in range(0, form.shape[1], across):
                rows, cols = (slice(at, min(at + step, size)) for at, step, size in
                              ((top, down, form.shape[0]), (left, across, form.shape[1])))  # fmt: skip
                part = _part(image, form, plane, rows, cols)
                if part.shape[:2] != form.tile:
                    filled = np.zeros((*form.tile, *samples), form.dtype)
                    filled[: part.shape[0], : part.shape[1]] = part
                    part = filled
                yield part


def _strips(image: np.ndarray, form: Form) -> Iterator[bytes]:
    """Strips as bytes, compressed."""
    import tifffile

    alone = form.compression == 1 and (form.rows or form.shape[0]) >= form.shape[0]
    row = math.prod(form.shape[1:]) * form.dtype.itemsize
    step = max(1, STRIP // row) if alone else form.rows or form.shape[0]
    everywhere = slice(0, form.shape[1])
    for plane in _planes(form):
        for top in range(0, form.shape[0], step):
            data: Any = _part(image, form, plane, slice(top, min(top + step, form.shape[0])), everywhere)
            if form.predictor > 1:
                data = tifffile.TIFF.PREDICTORS[form.predictor](data, axis=1)
            yield data.tobytes() if form.compression == 1 else tifffile.TIFF.COMPRESSORS[form.compression](data)


def _room(form: Form, path: Path) -> np.ndarray:
    """An array for an overview."""
    dtype = form.dtype.newbyteorder("=")
    if math.prod(form.shape) * dtype.itemsize <= IN_MEMORY:
        return np.empty(form.shape, dtype)
    return np.memmap(path, dtype, "w+", 0, form.shape)


def _reduce(image: np.ndarray, out: np.ndarray, absent: Any) -> None:
    """The means of blocks of pixels, of those that are there; `absent` (and NaN) where none is."""
    factors = [max(1, round(size / small)) for size, small in zip(image.shape[:2], out.shape[:2], strict=True)]
    for top in range(0, out.shape[0], BLOCK):
        for left in range(0, out.shape[1], BLOCK):
            place = tuple(slice(at, min(at + BLOCK, size)) for at, size in zip((top, left), out.shape[:2], strict=True))
            sums: Any = 0
            counts: Any = 0
            for down in range(factors[0]):
                for across in range(factors[1]):
                    rows, cols = (
                        np.minimum(np.arange(at.start, at.stop) * factor + offset, size - 1)
                        for at, factor, offset, size in
                        zip(place, factors, (down, across), image.shape[:2], strict=True)
                    )  # fmt: skip
                    window = image[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
                    values = window[np.ix_(rows - rows[0], cols - cols[0])].astype(np.float64)
                    there = ~np.isnan(values)
                    if absent is not None:
                        there &= values != float(absent)
                    sums, counts = sums + np.where(there, values, 0), counts + there
            give_back(image)
            with np.errstate(invalid="ignore"):
                means = sums / counts
            if out.dtype.kind != "f":
                means = np.rint(means)
            gap = np.nan if absent is None else float(absent)
            if absent is not None:
                means = np.where(means == float(absent), float(missing.beside(absent)), means)
            out[place] = np.where(counts > 0, means, gap if out.dtype.kind == "f" or absent is not None else 0).astype(
                out.dtype
            )
    if isinstance(out, np.memmap):
        out.flush()
        give_back(out)
