"""FITS files: reading and writing an image HDU, all others kept; needs astropy (extra ``fits``)."""

from __future__ import annotations

import io
import math
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from . import fits_files, pixels, texts
from .axes import Axes
from .metadata import Metadata, Pages
from .missing import Missing, as_written
from .source import DEPTH, Source

SUFFIXES = (".fits", ".fit", ".fts", ".fz", *fits_files.SUFFIXES)
# A FITS file is in blocks of that many bytes; a header is in cards.
BLOCK, CARD = 2880, 80
# More than these are no astronomer's, and would take long to read.
MOST_HEADER, MOST_HDUS = 2**22, 1000
# Bytes that are converted at once.
ROWS = 2**22
# Bytes of an image that waits in memory until it is compressed.
IN_MEMORY = 2**26
STORED = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
# Keywords that the restored pixels would make untrue.
UNTRUE = ("CHECKSUM", "DATASUM", "DATAMIN", "DATAMAX")


def require() -> Any:
    """The module astropy.io.fits; an ImportError says what to install."""
    try:
        from astropy.io import fits
    except ImportError:
        raise ImportError('FITS needs the package astropy: pip install "fastdeblur[fits]"') from None
    return fits


def split(path: Path) -> tuple[Path, str | None]:
    """The file's path, and what chooses an HDU: ``1`` of ``image.fits[1]``."""
    match = re.fullmatch(r"(.+)\[([^\[\]]*)\]", path.name)
    if match is None or not match[1].lower().endswith(SUFFIXES):
        return path, None
    return path.with_name(match[1]), match[2].strip()


@dataclass(frozen=True)
class Coding:
    """Numbers by which an image's values are stored (BITPIX, BSCALE, BZERO, BLANK).

    Attributes
    ----------
    stored : dtype
        Of the file, big-endian.
    dtype : dtype
        Of the values.
    scale, zero : float
        BSCALE and BZERO; of integers that `stored` has no type for, unsigned ones of 16 to 64 bits and signed ones of
        8, BZERO is half their range, and the values are integers.
    blank : int or None
        What integers are stored as where a pixel is missing.
    """

    stored: np.dtype[Any]
    dtype: np.dtype[Any]
    scale: float
    zero: float
    blank: int | None

    @property
    def shifted(self) -> bool:
        """Whether values are integers with another sign than the stored ones."""
        return self.dtype.kind in "iu" and self.dtype.kind != self.stored.kind

    @property
    def scaled(self) -> bool:
        return not self.shifted and (self.scale, self.zero) != (1, 0)

    def values(self, raw: np.ndarray) -> np.ndarray:
        """Values of stored numbers, in the machine's byte order: one copy."""
        if self.scaled:
            values = raw.astype(self.dtype)
            values *= self.dtype.type(self.scale)
            values += self.dtype.type(self.zero)
            if self.blank is not None:
                values[raw == self.blank] = np.nan
            return values
        values = raw.astype(self.stored.newbyteorder("="))
        return _shifted(values).view(self.dtype) if self.shifted else values

    @property
    def missing(self) -> Missing | None:
        """Of integers that are not scaled, the value that means a missing pixel."""
        if self.blank is None or self.scaled:
            return None
        return Missing(values=(self.blank + (int(self.zero) if self.shifted else 0),))

    def numbers(self, values: np.ndarray) -> np.ndarray:
        """The stored numbers of values that are not scaled."""
        if self.shifted:
            values = _shifted(values.astype(self.dtype)).view(self.stored.newbyteorder("="))
        return np.ascontiguousarray(values, self.stored)


def _shifted(integers: np.ndarray) -> np.ndarray:
    """Integers with their first bit inverted, which adds half their range to them; in place."""
    bits = integers.view(f"u{integers.itemsize}")
    bits ^= bits.dtype.type(1 << (8 * bits.itemsize - 1))
    return integers


def coding_of(header: Any) -> Coding:
    """The coding of values by a header."""
    bitpix = _whole(header, "BITPIX")
    stored = np.dtype(STORED[bitpix])
    scale, zero = (float(header.get(name, default)) for name, default in (("BSCALE", 1), ("BZERO", 0)))
    if not (math.isfinite(scale) and math.isfinite(zero)) or scale == 0:
        raise ValueError(f"it is damaged: BSCALE is {scale} and BZERO {zero}")
    blank = _whole(header, "BLANK") if "BLANK" in header and bitpix > 0 else None
    half = 2.0 ** (bitpix - 1)
    if scale == 1 and ((bitpix > 8 and zero == half) or (bitpix == 8 and zero == -half)):
        return Coding(stored, np.dtype(f"{'u' if bitpix > 8 else 'i'}{stored.itemsize}"), 1, zero, blank)
    if (scale, zero) == (1, 0):
        return Coding(stored, stored.newbyteorder("="), 1, 0, blank)
    return Coding(stored, np.dtype("f4" if abs(bitpix) <= 16 or bitpix == -32 else "f8"), scale, zero, blank)


def coding_for(dtype: np.dtype[Any]) -> Coding:
    """The coding of values of a dtype."""
    dtype = dtype.newbyteorder("=")
    bits = 8 * dtype.itemsize
    if dtype.kind == "f":
        return Coding(np.dtype(STORED[-bits]), dtype, 1, 0, None)
    other = (dtype.kind == "i") == (bits == 8)
    zero = (-128.0 if bits == 8 else 2.0 ** (bits - 1)) if other else 0.0
    return Coding(np.dtype(STORED[bits]), dtype, 1, zero, None)


def holds(shape: tuple[int, ...], dtype: np.dtype[Any], pages: int | None, alpha: bool) -> bool:
    """Whether FITS has numbers of that dtype; it has no alpha."""
    return not alpha and (dtype.kind in "biu" or dtype.itemsize in (4, 8))


@dataclass(frozen=True)
class Hdu:
    """A header and its data: where each begins in the file, and where what follows does."""

    number: int
    header: Any
    start: int
    data: int
    end: int

    @property
    def name(self) -> str:
        """As in messages."""
        name = str(self.header.get("EXTNAME", "") or "").strip()
        return f"{self.number} ({name})" if name else str(self.number)

    @property
    def compressed(self) -> bool:
        return self.header.get("XTENSION") == "BINTABLE" and self.header.get("ZIMAGE") is True

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the image's axes, rows and columns last; empty where there is no image."""
        if self.compressed:
            return _sizes(self.header, "Z")
        image = self.number == 0 or str(self.header.get("XTENSION")).strip() in ("IMAGE", "IUEIMAGE")
        groups = self.header.get("GROUPS") is True or _whole(self.header, "GCOUNT", 1) != 1
        return _sizes(self.header) if image and not groups else ()

    @property
    def is_image(self) -> bool:
        return len(self.sizes) > 1 and 0 not in self.sizes


@dataclass(frozen=True)
class Original:
    """An open FITS file, and the HDU of it that is restored."""

    file: IO[bytes]
    hdu: Hdu
    header: Any
    compression: dict[str, Any] | None


@contextmanager
def opened(path: Path, stack: bool, axes: Axes | None = None) -> Iterator[Source]:
    """An image HDU: the chosen one, or the first; further axes count pages."""
    path, chosen = split(path)
    with fits_files.reading(path) as (file, first), ExitStack() as closing:
        hdus = _hdus(first)
        hdu = _chosen(hdus, chosen)
        sizes = hdu.sizes
        header, compression = hdu.header, None
        if hdu.compressed:
            image = _compressed(path, file, hdu, closing)
            header, compression = image.header, _compression(image, hdu.header)
        coding = coding_of(header)
        count, shape = math.prod(sizes[:-2]), sizes[-2:]
        pixels.check(shape, coding.dtype)
        if axes is not None:
            axes, stack = axes.of_shape(sizes), bool(axes.pages)
        one = count == 1 and not stack
        takes = math.prod(shape) * (coding.dtype.itemsize + coding.scaled * coding.stored.itemsize)
        if hdu.compressed:
            takes += _Decoded(image, hdu, coding, 0).takes + 2 * math.prod(shape) * coding.stored.itemsize

        def part(number: int) -> Parts | _Decoded:
            if hdu.compressed:
                return _Decoded(image, hdu, coding, number)
            raw = np.memmap(file if fits_files.is_packed(path) else path, coding.stored, "r", hdu.data, (count, *shape))
            return Parts(raw, coding, hdu.number, number)

        said = _metadata(file, hdus, hdu, header, compression)
        taken = (f"HDU {hdu.name}",) if chosen is None and len(hdus) > 1 else ()
        yield Source(
            shape=shape,
            dtype=coding.dtype,
            pages=None if one else count,
            page=lambda number: part(number)[:, :],
            takes=takes,
            array=part(0) if one else None,
            parts=part,
            part=part(0).takes,
            alpha=False,
            metadata=replace(said, axes=axes),
            notes=(*taken, *(DEPTH,) * (axes is not None and axes.deep)),
            missing=coding.missing,
            axes=() if axes is None else tuple(zip(axes.pages, axes.lead, strict=True)),
        )


def mapped(path: Path) -> np.memmap:
    """The numbers of the first image of a file that `saving` has written, without its axes of length 1."""
    with fits_files.reading(path) as (file, first):
        hdu = _chosen(_hdus(first), None)
        return np.memmap(
            file if fits_files.is_packed(path) else path, coding_of(hdu.header).stored, "r", hdu.data, hdu.sizes
        )


class Parts:
    """Values of any part of an image that lies in a file, one copy each.

    `identity` tells it from others in the same file, see large.readers.Sliced.
    """

    takes = 0

    def __init__(self, raw: np.memmap, coding: Coding, hdu: int, number: int):
        self._raw: np.ndarray = raw[number]
        self._coding, self.identity = coding, {"hdu": hdu, "page": number}
        self.shape, self.dtype = self._raw.shape, coding.dtype
        # What has been read is not to count as memory, see chunks.give_back.
        self._mmap, self.mode = raw._mmap, raw.mode  # type: ignore[attr-defined]

    def __getitem__(self, part: Any) -> np.ndarray:
        return self._coding.values(self._raw[part])


class _Decoded:
    """Values of any part of a compressed image, of which only the tiles that it touches are decoded."""

    def __init__(self, image: Any, hdu: Hdu, coding: Coding, number: int):
        self._image, self._coding, self.identity = image, coding, {"hdu": hdu.number, "page": number}
        self._lead = tuple(map(int, np.unravel_index(number, hdu.sizes[:-2]))) if hdu.sizes[:-2] else ()
        self.shape, self.dtype = hdu.sizes[-2:], coding.dtype
        tile = tuple(map(int, image.tile_shape))
        self.chunks = tile[-2:]
        #: Bytes that this takes beside the part: the compressed image, a copy of what of it is decoded, and tiles.
        self.takes = 2 * (hdu.end - hdu.data) + 3 * math.prod(tile) * coding.stored.itemsize

    def __getitem__(self, part: Any) -> np.ndarray:
        try:
            raw = np.asarray(self._image.section[(*self._lead, *part)])
        except (ValueError, MemoryError):
            raise
        except Exception as error:  # damaged tiles raise all kinds
            raise ValueError(f"it is damaged ({type(error).__name__}: {error})") from error
        return self._coding.values(raw)


def _hdus(file: Any) -> list[Hdu]:
    """All HDUs of a file; what follows the last one, and is none, is left alone."""
    fits = require()
    hdus: list[Hdu] = []
    start = 0
    while fits_files.reach(file, start + BLOCK) > start:
        file.seek(start)
        first = file.read(9)
        if first != b"SIMPLE  =" if start == 0 else not first.startswith(b"XTENSION"):
            break
        if len(hdus) == MOST_HDUS:
            raise ValueError(f"it has more than {MOST_HDUS} HDUs, and is not read")
        content = _header(file, start)
        header = fits.Header.fromstring(content)
        data = start + len(content)
        length = _length(header)
        size = fits_files.reach(file, data + length)
        if data + length > size:
            raise ValueError(
                f"it is truncated, or damaged: its HDU {len(hdus)} speaks of {length} bytes, {size - data} are there"
            )
        end = data + -(-length // BLOCK) * BLOCK
        end = min(end, fits_files.reach(file, end))
        hdus.append(Hdu(len(hdus), header, start, data, end))
        start = data + -(-length // BLOCK) * BLOCK
    if not hdus:
        raise ValueError("it is not a FITS file")
    return hdus


def _header(file: Any, start: int) -> bytes:
    """The blocks of a header."""
    content = bytearray()
    while len(content) < MOST_HEADER:
        fits_files.reach(file, start + len(content) + BLOCK)
        file.seek(start + len(content))
        block = file.read(BLOCK)
        if len(block) < BLOCK:
            raise ValueError("it is truncated, or damaged: a header of it has no end")
        content += block
        if any(block[at : at + CARD].rstrip() == b"END" for at in range(0, BLOCK, CARD)):
            return bytes(content)
    raise ValueError(f"a header of it has more than {MOST_HEADER} bytes, and is not read")


def _whole(header: Any, name: str, default: int | None = None) -> int:
    value = header.get(name, default)
    if type(value) is not int:
        raise ValueError(f"it is damaged: its {name} is {str(value)[:40]!r}")
    return value


def _sizes(header: Any, prefix: str = "") -> tuple[int, ...]:
    """Of the axes, the last first, as NumPy has them."""
    count = _whole(header, f"{prefix}NAXIS")
    if not 0 <= count <= 999:
        raise ValueError(f"it is damaged: its {prefix}NAXIS is {count}")
    sizes = tuple(_whole(header, f"{prefix}NAXIS{axis}") for axis in range(count, 0, -1))
    if any(size < 0 for size in sizes):
        raise ValueError(f"it is damaged: its axes have the sizes {sizes[::-1]}")
    return sizes


def _length(header: Any) -> int:
    """Bytes of an HDU's data."""
    bitpix, sizes = _whole(header, "BITPIX"), _sizes(header)
    if bitpix not in STORED:
        raise ValueError(f"it is damaged: its BITPIX is {bitpix}")
    if not sizes:
        return 0
    if header.get("GROUPS") is True and sizes[-1] == 0:
        sizes = sizes[:-1]
    more, groups = _whole(header, "PCOUNT", 0), _whole(header, "GCOUNT", 1)
    if more < 0 or groups < 0:
        raise ValueError(f"it is damaged: its PCOUNT is {more}, its GCOUNT {groups}")
    return abs(bitpix) // 8 * groups * (more + math.prod(sizes))


def _chosen(hdus: list[Hdu], chosen: str | None) -> Hdu:
    """The image HDU of a number, a name, or a name and a version; by default the first."""
    names = ", ".join(hdu.name for hdu in hdus[:10]) + (", ..." if len(hdus) > 10 else "")
    if chosen is None:
        images = [hdu for hdu in hdus if hdu.is_image]
        if not images:
            raise ValueError(f"it has no image of two or more axes; its HDUs are {names}")
        return images[0]
    name, _, version = (part.strip() for part in chosen.partition(","))
    if chosen.isascii() and chosen.isdigit():
        matching = [hdu for hdu in hdus if hdu.number == int(chosen)]
    else:
        matching = [hdu for hdu in hdus if str(hdu.header.get("EXTNAME", "")).strip().lower() == name.lower() != ""]
        if version:
            matching = [hdu for hdu in matching if str(hdu.header.get("EXTVER", 1)) == version]
        if name.lower() == "primary" and not matching:
            matching = hdus[:1]
    if not matching:
        raise ValueError(f"it has no HDU {chosen!r}; its HDUs are {names}")
    if not matching[0].is_image:
        raise ValueError(f"its HDU {matching[0].name} is no image of two or more axes; its HDUs are {names}")
    return matching[0]


def _compressed(path: Path, file: IO[bytes], hdu: Hdu, closing: ExitStack) -> Any:
    """A compressed image, as astropy knows it, with the header that it would have uncompressed."""
    tiles = [_whole(hdu.header, f"ZTILE{axis}", 1) for axis in range(1, len(hdu.sizes) + 1)]
    if any(not 1 <= tile <= max(size, 1) for tile, size in zip(tiles, hdu.sizes[::-1], strict=True)):
        raise ValueError(f"it is damaged: its tiles have the sizes {tiles}, its image {hdu.sizes[::-1]}")
    # A file of its own, since a reader that others share is never where it is thought to be.
    own: Any = path
    if fits_files.is_packed(path):
        file.seek(0)
        own = io.BytesIO(file.read())
    images = closing.enter_context(require().open(own, memmap=False, do_not_scale_image_data=True))
    return images[hdu.number]


def _compression(image: Any, header: Any) -> dict[str, Any]:
    """Compression of an image, as arguments of astropy's CompImageHDU."""
    named = {str(header.get(f"ZNAME{k}")).strip(): header.get(f"ZVAL{k}") for k in range(1, 10)}
    options: dict[str, Any] = {"compression_type": image.compression_type, "tile_shape": tuple(image.tile_shape)}
    method = str(header.get("ZQUANTIZ", "NO_DITHER")).strip()
    if image.compression_type == "HCOMPRESS_1":
        options |= {"hcomp_scale": float(named.get("SCALE") or 0), "hcomp_smooth": int(named.get("SMOOTH") or 0)}
    if _whole(header, "ZBITPIX") < 0:
        plain = method == "NONE" or "ZSCALE" not in [each.name for each in image._bintable.columns]
        options["quantize_level"] = 0.0 if plain else float(named.get("NOISEBIT") or 16.0)
        methods = {"NO_DITHER": -1, "SUBTRACTIVE_DITHER_1": 1, "SUBTRACTIVE_DITHER_2": 2}
        options["quantize_method"] = methods.get(method, -1)
        if "ZDITHER0" in header:
            options["dither_seed"] = _whole(header, "ZDITHER0")
    return options


def _metadata(file: IO[bytes], hdus: list[Hdu], hdu: Hdu, header: Any, compression: dict[str, Any] | None) -> Metadata:
    words = ["other HDUs"] * (len(hdus) > 1)
    untrue = tuple(name for name in UNTRUE if name in header)
    title = header.get("OBJECT")
    return Metadata(
        "FITS",
        description=title.strip() or None if isinstance(title, str) else None,
        header=texts.cards_of(header),
        own=Original(file, hdu, header, compression),
        own_words=tuple(words),
        unread=untrue,
    )


@contextmanager
def saving(file: Any, planned: Pages) -> Iterator[Callable[[np.ndarray], None]]:
    """Write pages, channels as planes: in the place of the image that was read, among its other HDUs."""
    metadata, shape, dtype = planned.metadata, planned.shape, planned.dtype
    original = metadata.own if metadata is not None and metadata.format == "FITS" else None
    header, coding = header_for(original, shape, dtype, planned.lead, "" if metadata is None else metadata.history)
    if original is None and metadata is not None:
        _tell(header, metadata)
    hole = _hole(original, coding)
    if original is not None:
        _copy(original.file, file, 0, original.hdu.start)
    if original is not None and original.compression is not None:
        planes, written = _room((planned.count or 1, *shape), dtype), 0

        def collect(page: np.ndarray) -> None:
            nonlocal written
            planes[written] = _with_missing(page, hole)
            written += 1

        yield collect
        file.write(_compress(planes, header, original, dtype))
    else:
        file.write(_text(header))
        written = 0

        def put(page: np.ndarray) -> None:
            nonlocal written
            planes = np.moveaxis(page, -1, 0) if page.ndim == 3 else page[None]
            # A few rows at a time: planes may be mapped, and larger than memory.
            step = max(1, ROWS // max(1, planes[0, 0].nbytes))
            for plane in planes:
                for start in range(0, len(plane), step):
                    file.write(coding.numbers(_with_missing(plane[start : start + step], hole)).data)
                written += plane.size * coding.stored.itemsize

        yield put
        file.write(bytes(-written % BLOCK))
    if original is not None:
        _copy(original.file, file, original.hdu.end, None)


def _tell(header: Any, metadata: Metadata) -> None:
    """Say in a new header what a file of another format says."""
    fits = require()
    with warnings.catch_warnings(action="ignore"):
        for card in fits.Header.fromstring("\n".join(metadata.header), sep="\n").cards:
            try:
                card.verify("exception")
                header.append(card, end=True)
            except (fits.VerifyError, ValueError):
                header.add_comment(_ascii(str(card.image)))
        for keyword, fact in texts.facts_of(metadata).items():
            header.setdefault(keyword, fact)
        lines = [] if metadata.header or not metadata.description else [metadata.description]
        for line in [*lines, *(f"{keyword}: {text}" for keyword, text in metadata.text.items())]:
            header.add_comment(_ascii(line))


def _room(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """An array, in a file without a name if it is large."""
    if math.prod(shape) * dtype.itemsize <= IN_MEMORY:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype, "w+", 0, shape)


def header_for(
    original: Original | None, shape: tuple[int, ...], dtype: np.dtype[Any], lead: tuple[int, ...], history: str
) -> tuple[Any, Coding]:
    """The header of what is written, and how its values are stored: as before wherever that can be."""
    fits, coding = require(), coding_for(dtype)
    if original is None:
        axes = (*lead, *shape[2:], *shape[:2])
        header = fits.Header([("SIMPLE", True, "conforms to FITS standard"), ("BITPIX", 8), ("NAXIS", len(axes))])
        for axis, size in enumerate(reversed(axes), 1):
            header[f"NAXIS{axis}"] = size
        header["EXTEND"] = True
    else:
        header = original.header.copy()
        for name in UNTRUE:
            header.remove(name, ignore_missing=True)
    before = None if original is None else coding_of(header)
    blank = None if before is None or before.missing is None else before.missing.values[0]
    if before is not None and before.dtype == coding.dtype and not before.scaled:
        coding = before
    else:
        header["BITPIX"] = (-8 if coding.stored.kind == "f" else 8) * coding.stored.itemsize
        for name in ("BSCALE", "BZERO", "BLANK"):
            header.remove(name, ignore_missing=True)
        if coding.shifted:
            header["BSCALE"], header["BZERO"] = 1, int(coding.zero)
        if (
            before is not None and blank is not None and coding.dtype.kind != "f"
        ):  # missing pixels have become another number
            header["BLANK"] = int(coding.numbers(as_written(blank, before.dtype, coding.dtype)[None])[0])
    if history:
        header.add_history(_ascii(history))
    return header, coding


def _ascii(text: str) -> str:
    """A text in the characters that a header has, in one line."""
    printable = "".join(each if each.isprintable() else " " for each in text)
    return printable.encode("ascii", "backslashreplace").decode()


def _hole(original: Original | None, coding: Coding) -> Any:
    """The number that missing pixels have become where they are to be NaN; None if there is none."""
    before = None if original is None else coding_of(original.header)
    if before is None or before.missing is None or coding.dtype.kind != "f":
        return None
    return as_written(before.missing.values[0], before.dtype, coding.dtype)


def _with_missing(page: np.ndarray, hole: Any) -> np.ndarray:
    """Pixels, NaN where they have that number."""
    return page if hole is None else np.where(page == hole, page.dtype.type(np.nan), page)


def _text(header: Any) -> bytes:
    with warnings.catch_warnings(action="ignore"):
        content: bytes = header.tostring().encode("ascii", "replace")
    return content


def _compress(planes: np.ndarray, header: Any, original: Original, dtype: np.dtype[Any]) -> bytes:
    """A compressed HDU, compressed as it was."""
    fits = require()
    options = original.compression or {}
    if dtype.kind == "f" and "quantize_level" not in options:  # they were integers
        options = {"compression_type": "GZIP_2", "tile_shape": options["tile_shape"], "quantize_level": 0.0}
    data = planes.reshape(original.hdu.sizes)
    with warnings.catch_warnings(action="ignore"):
        hdu = fits.CompImageHDU(data, header, **options)
        content = io.BytesIO()
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(content, output_verify="silentfix")
    return content.getvalue()[BLOCK:]


def _copy(source: IO[bytes], target: Any, start: int, end: int | None) -> None:
    """Copy bytes of one file to another."""
    source.seek(start)
    left = math.inf if end is None else end - start
    while left > 0 and (content := source.read(int(min(left, 2**20)))):
        target.write(content)
        left -= len(content)
