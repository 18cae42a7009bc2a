"""PNG, JPEG, WebP and BMP by Pillow, and TIFF compressions that only Pillow knows."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from . import exif as exifs
from . import icc, pixels, png
from . import jpeg as jpegs
from .metadata import Metadata, Pages
from .missing import Missing
from .source import Source
from .texts import header_in

if TYPE_CHECKING:
    import PIL.Image

# Pillow's modes that are gray or RGB, with or without alpha, at the precision of the file; what becomes of
# their pixels, and how many bytes Pillow has for one.
MODES = {
    "1": ("?", 1, 1), "L": ("u1", 1, 1), "LA": ("u1", 2, 4), "RGB": ("u1", 3, 4), "RGBA": ("u1", 4, 4),
    "I": ("i4", 1, 4), "I;16": ("u2", 1, 2), "I;16B": (">u2", 1, 2), "I;16L": ("u2", 1, 2), "F": ("f4", 1, 4),
    "P": ("u1", 4, 4), "PA": ("u1", 4, 4),
}  # fmt: skip
# Nobody has seen colours that are wholly transparent: they are left as they are, and out of what is restored.
TRANSPARENT = Missing(find=lambda stored, part, number: stored[..., -1] == 0, identity=("transparent",))
# What the header of a BMP may say of colours; a profile is not read beyond so many bytes.
PROFILE_EMBEDDED, MOST_PROFILE = 0x4D424544, 2**24
COLOURS_OF_BMP = {
    0: "primaries and a gamma", 0x73524742: "sRGB", 0x57696E20: "that of Windows, sRGB", 0x4C494E4B: "a profile's name",
    PROFILE_EMBEDDED: "a profile",
}  # fmt: skip
# Numbers of channels that are written (WebP and BMP have no gray with alpha, and BMP no alpha that is read everywhere),
# the most pixels along a side, and dtypes.
LIMITS = {
    "PNG": ((1, 2, 3, 4), 2**31 - 1, ("u1", "u2")), "JPEG": ((1, 3), 65500, ("u1",)),
    "WebP": ((3, 4), 16383, ("u1",)), "BMP": ((1, 3), 2**31 - 1, ("u1",)),
}  # fmt: skip
# What Pillow may find in files of a suffix.
WITHIN = {"WebP": ("WEBP",), "BMP": ("BMP",)}
USUAL = ("PNG", "JPEG", "TIFF")


@contextmanager
def opened(format: str, path: Path, stack: bool) -> Iterator[Source]:
    """The one image of a PNG, JPEG, WebP or BMP."""
    if stack:
        raise ValueError("a stack is a TIFF, .npy or .zarr; this is not")
    with _opened(path, WITHIN.get(format, USUAL)) as picture:
        frames = getattr(picture, "n_frames", 1)
        if picture.format in ("PNG", "WEBP") and frames > 1:  # what a JPEG has more of are previews
            raise ValueError(f"it must be one image, not an animation; it has {frames} frames")
        scan = png.scanned(path) if picture.format == "PNG" else None
        if scan is not None:
            yield _of_png(picture, *scan)
        elif picture.format == "TIFF":
            yield of_picture(picture)
        else:
            yield _of_photograph(picture)


def _of_png(picture: PIL.Image.Image, header: png.Header, chunks: list[png.Chunk], left_out: list[str]) -> Source:
    metadata = png.metadata(header, chunks, left_out, picture.info.get("icc_profile"))
    named = png.curve(header, chunks)
    curve, notes = _curve(metadata.icc, named, "linear" if header.colour in (0, 4) else "srgb")
    clear = dict(chunks).get(b"tRNS")
    shape, dtype, alpha, takes = png.kind(header, picture.size, clear)
    source = Source(
        shape, dtype, None, lambda _: png.pixels(picture, header, clear), takes, alpha=alpha, curve=curve,
        notes=notes, missing=TRANSPARENT if alpha else None,
    )  # fmt: skip
    return _oriented(source, metadata)


def _of_photograph(picture: PIL.Image.Image) -> Source:
    """The source of a JPEG, WebP or BMP."""
    info, jpeg = picture.info, picture.format in ("JPEG", "MPO")
    segments, unread = jpegs.segments(picture) if jpeg else ((), ())
    comment = (info.get("comment") or b"").decode(errors="replace") or None if jpeg else None
    header = header_in(comment)
    if picture.format == "BMP":
        profile, unread = _colours_of_bmp(Path(str(getattr(picture, "filename", ""))))
        info = info | {"icc_profile": profile}
    metadata = Metadata(
        "JPEG" if jpeg else {"WEBP": "WebP"}.get(str(picture.format), str(picture.format)),
        icc=info.get("icc_profile"), exif=(info.get("exif") or b"").removeprefix(exifs.PREFIX) or None,
        xmp=info.get("xmp"), dpi=_dpi(picture), description=None if header else comment, header=header,
        own=jpegs.Own(segments, picture.quantization) if jpeg else None,  # type: ignore[attr-defined]
        own_words=tuple(name for name, _ in segments), unread=tuple(unread),
    )  # fmt: skip
    curve, notes = _curve(metadata.icc, None, "linear" if picture.format == "BMP" else "srgb")
    return _oriented(replace(of_picture(picture, False), curve=curve, notes=notes), metadata)


def _colours_of_bmp(path: Path) -> tuple[bytes | None, list[str]]:
    """The profile in a BMP, and words for what its header says of colours, which Pillow does not write."""
    with path.open("rb") as file:
        head = file.read(14 + 124)
        size, named = (int.from_bytes(head[at : at + 4], "little") for at in (14, 70))
        if size < 108 or len(head) < 14 + size:  # headers of 108 bytes and more speak of colours
            return None, []
        profile = None
        if size >= 124 and named == PROFILE_EMBEDDED:
            start, length = (int.from_bytes(head[at : at + 4], "little") for at in (126, 130))
            file.seek(14 + start)
            profile = file.read(min(length, MOST_PROFILE)) or None
        if profile:
            return profile, []
    word = COLOURS_OF_BMP.get(named, "of a number that nothing knows")
    return None, [f"the colour space in the header of a BMP ({word})"]


def _dpi(picture: PIL.Image.Image) -> tuple[float, float] | None:
    """Pixels an inch, if a picture says so: of a JPEG that does not Pillow has 72."""
    dpi = picture.info.get("dpi")
    if not isinstance(dpi, tuple) or len(dpi) != 2:
        return None
    if picture.format != "BMP" and picture.info.get("jfif_unit") not in (1, 2):
        exif = picture.info.get("exif")
        if not exif or exifs.RESOLUTION not in exifs.Exif(exif).entries:
            return None
    across, down = map(float, dpi)
    return (across, down) if 0 < across < 1e6 and 0 < down < 1e6 else None


def _curve(profile: bytes | None, named: str | float | None, usual: str) -> tuple[str | float, tuple[str, ...]]:
    """The curve of a picture's values, and what there is to say about it."""
    if named is not None:
        return named, ()
    of_profile = icc.curve(profile)
    if of_profile is None and profile:
        return usual, ("colour profile not understood",)
    return usual if of_profile is None else of_profile, ()


def _oriented(source: Source, metadata: Metadata) -> Source:
    """A source whose pixels are turned as they are to be shown, and whose metadata say so."""
    orientation = exifs.orientation(metadata.exif, metadata.xmp)
    exif, xmp, words = exifs.upright(metadata.exif, metadata.xmp)
    metadata = replace(metadata, exif=exif, xmp=xmp, unread=(*metadata.unread, *words))
    if orientation == 1:
        return replace(source, metadata=metadata)
    shape, page, dpi = source.shape, source.page, metadata.dpi
    if orientation > 4:
        shape = (shape[1], shape[0], *shape[2:])
        metadata = replace(metadata, dpi=None if dpi is None else dpi[::-1])
    return replace(
        source, shape=shape, metadata=metadata, page=lambda number: pixels.oriented(page(number), orientation),
        notes=(*source.notes, f"turned as its orientation {orientation} says"),
    )  # fmt: skip


def of_picture(picture: PIL.Image.Image, upright: bool = True) -> Source:
    """The source of what Pillow has opened, at its present page, which is to be turned as it says if `upright`."""
    if picture.mode not in MODES:
        raise ValueError(f"it must be gray or RGB; it is {picture.mode}")
    code, channels, stored = MODES[picture.mode]
    held = 2 * stored  # the picture, and a copy of it, converted or turned
    key = "transparency" in picture.info
    if key and picture.mode in ("1", "L", "RGB"):  # a colour of it becomes alpha
        channels, held = channels + 1, stored + 4 + 4
    alpha = picture.mode in ("LA", "RGBA", "PA") or (key and picture.mode in ("1", "L", "RGB", "P"))
    channels -= picture.mode == "P" and not alpha
    dtype = np.dtype(code if channels == 1 or code != "?" else "u1")
    shape: tuple[int, ...] = (picture.height, picture.width)
    # And what NumPy is given, and the array.
    takes = picture.width * picture.height * (held + 2 * channels * dtype.itemsize)
    shape = shape if channels == 1 else (*shape, channels)
    missing = TRANSPARENT if alpha else None
    return Source(shape, dtype, None, lambda _: _pixels(picture, upright), takes, alpha=alpha, missing=missing)


def _pixels(picture: PIL.Image.Image, upright: bool) -> np.ndarray:
    from PIL import ImageOps

    with _trusted():
        picture = ImageOps.exif_transpose(picture) if upright else picture
        if picture.mode in ("P", "PA") or (picture.mode in ("1", "L", "RGB") and "transparency" in picture.info):
            gray = picture.mode in ("1", "L")
            alpha = picture.mode == "PA" or "transparency" in picture.info
            picture = picture.convert(("L" if gray else "RGB") + ("A" if alpha else ""))
        if picture.mode not in MODES:
            raise ValueError(f"it must be gray or RGB; it is {picture.mode}")
        return np.array(picture)


@contextmanager
def page_of_tiff(path: Path, number: int) -> Iterator[Source]:
    """One page of a TIFF."""
    with _opened(path) as picture, _silent():
        with _trusted():
            picture.seek(number)
        yield of_picture(picture)


@contextmanager
def _opened(path: Path, formats: tuple[str, ...] = USUAL) -> Iterator[PIL.Image.Image]:
    from PIL import Image, UnidentifiedImageError

    try:
        with _trusted():
            picture = Image.open(path, formats=formats)
    except UnidentifiedImageError:
        raise ValueError("it is not such an image, or damaged") from None
    with picture:
        yield picture


@contextmanager
def _silent() -> Iterator[None]:
    """Keep off the screen what libtiff, which knows nothing of Python, writes there before it fails."""
    try:
        screen = os.dup(2)
    except OSError:  # there is none
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(screen, 2)
        os.close(screen)


@contextmanager
def _trusted() -> Iterator[None]:
    """Pillow is not to take a large image for an attack: its size has its own limit here, which the user sets.

    Its warnings are of metadata, or come before an error.
    """
    from PIL import Image

    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def holds(format: str, shape: tuple[int, ...], dtype: np.dtype[Any], pages: int | None, alpha: bool) -> bool:
    """Whether a format has such pictures."""
    channels, (counts, side, dtypes) = pixels.channels(shape), LIMITS[format]
    return (
        pages is None
        and dtype in map(np.dtype, dtypes)
        and channels in counts
        and (channels, alpha) in pixels.KINDS
        and max(shape[:2]) <= side
    )


@contextmanager
def saving(format: str, file: IO[bytes], planned: Pages) -> Iterator[Callable[[np.ndarray], None]]:
    """Write an image as PNG, JPEG, WebP or BMP."""
    metadata = None if planned.metadata is None else planned.metadata.for_format(format)
    if format == "PNG":
        yield lambda pixels: png.save(file, pixels, metadata)
    else:
        options = {"JPEG": jpegs.options, "WebP": _webp, "BMP": _bmp}[format](metadata)
        yield lambda pixels: _save(pixels, file, format.upper(), options)


def _save(pixels: np.ndarray, file: IO[bytes], format: str, options: dict[str, Any]) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(file, format, **options)


def _webp(metadata: Metadata | None) -> dict[str, Any]:
    """Without loss, colours of transparent pixels included: its lossy form has colours at half the resolution."""
    options = {} if metadata is None else {"icc_profile": metadata.icc, "exif": metadata.exif, "xmp": metadata.xmp}
    return {"lossless": True, "exact": True} | {name: value for name, value in options.items() if value}


def _bmp(metadata: Metadata | None) -> dict[str, Any]:
    return {} if metadata is None or metadata.dpi is None else {"dpi": metadata.dpi}
