"""PNG and JPEG, and those TIFFs that Pillow knows better."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from .metadata import Metadata
from .sources import Source

if TYPE_CHECKING:
    import PIL.Image

# Pillow's modes that are gray or RGB, with or without alpha, at the precision of the file; what becomes of
# their pixels, and how many bytes Pillow has for one.
MODES = {
    "1": ("?", 1, 1), "L": ("u1", 1, 1), "LA": ("u1", 2, 4), "RGB": ("u1", 3, 4), "RGBA": ("u1", 4, 4),
    "I": ("i4", 1, 4), "I;16": ("u2", 1, 2), "I;16B": (">u2", 1, 2), "I;16L": ("u2", 1, 2), "F": ("f4", 1, 4),
    "P": ("u1", 4, 4), "PA": ("u1", 4, 4),
}  # fmt: skip
# What libjpeg can write, in pixels along either side.
JPEG_SIDE = 65500


@contextmanager
def opened_png(path: Path, stack: bool) -> Iterator[Source]:
    """A PNG of one image."""
    with path.open("rb") as file:
        header = file.read(26)
    # Bit depth and colour type.  Pillow would cut 16-bit colour down to 8 bits without a word.
    if header.startswith(b"\x89PNG") and header[24:25] == b"\x10" and header[25:26] != b"\0":
        raise ValueError("PNG with 16 bits a channel is only read in gray without alpha; save it as TIFF")
    with opened(path, stack) as source:
        yield source


@contextmanager
def opened(path: Path, stack: bool) -> Iterator[Source]:
    """A picture of one image."""
    if stack:
        raise ValueError("a stack is a TIFF, .npy or .zarr; this is not")
    with _opened(path) as picture:
        frames = getattr(picture, "n_frames", 1)
        if picture.format == "PNG" and frames > 1:  # what a JPEG has more of are previews
            raise ValueError(f"it must be one image, not an animation; it has {frames} frames")
        yield of_picture(picture)


def of_picture(picture: PIL.Image.Image) -> Source:
    """The source of what Pillow has opened, at its present page."""
    if picture.mode not in MODES:
        raise ValueError(f"it must be gray or RGB; it is {picture.mode}")
    code, channels, stored = MODES[picture.mode]
    held = 2 * stored  # the picture, and a copy of it, converted or turned
    key = "transparency" in picture.info
    if key and picture.mode in ("1", "L", "RGB"):  # a colour of it becomes alpha
        channels, held = channels + 1, stored + 4 + 4
    alpha = picture.mode in ("LA", "RGBA", "PA") or (key and picture.mode in ("1", "L", "RGB", "P"))
    channels -= picture.mode == "P" and not alpha
    dtype, shape = np.dtype(code if channels == 1 or code != "?" else "u1"), (picture.height, picture.width)
    # And what NumPy is given, and the array.
    takes = picture.width * picture.height * (held + 2 * channels * dtype.itemsize)
    return Source(
        shape if channels == 1 else (*shape, channels), dtype, None, lambda _: _pixels(picture), takes, alpha=alpha
    )


def _pixels(picture: PIL.Image.Image) -> np.ndarray:
    from PIL import ImageOps

    with _trusted():
        turned = ImageOps.exif_transpose(picture)
        if turned.mode in ("P", "PA") or (turned.mode in ("1", "L", "RGB") and "transparency" in turned.info):
            gray = turned.mode in ("1", "L")
            alpha = turned.mode == "PA" or "transparency" in turned.info
            turned = turned.convert(("L" if gray else "RGB") + ("A" if alpha else ""))
        if turned.mode not in MODES:
            raise ValueError(f"it must be gray or RGB; it is {turned.mode}")
        array = np.array(turned)
    # Older Pillows open a 16-bit gray PNG in 32 bits.
    return array.astype(np.uint16) if picture.format == "PNG" and turned.mode == "I" else array


@contextmanager
def page_of_tiff(path: Path, number: int) -> Iterator[Source]:
    """One page of a TIFF."""
    with _opened(path) as picture, _silent():
        with _trusted():
            picture.seek(number)
        yield of_picture(picture)


@contextmanager
def _opened(path: Path) -> Iterator[PIL.Image.Image]:
    from PIL import Image, UnidentifiedImageError

    try:
        with _trusted():
            picture = Image.open(path, formats=("PNG", "JPEG", "TIFF"))
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


@contextmanager
def saving(file: IO[bytes], format: str, metadata: Metadata | None = None) -> Iterator[Callable[[np.ndarray], None]]:
    """Write an image as PNG or JPEG."""
    from PIL import Image

    # Colours at full resolution: fine detail is what was restored.
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    if metadata is not None and format == "JPEG":
        kept = {"icc_profile": metadata.icc, "exif": metadata.exif, "xmp": metadata.xmp, "dpi": metadata.dpi}
        options |= {name: value for name, value in kept.items() if value}
    yield lambda pixels: Image.fromarray(pixels).save(file, format, **options)
