"""Images and psfs in files: PNG, JPEG, TIFF and .npy, for the command line.

Pillow and tifffile, which come with scikit-image, decode and encode; here it is decided what
their pixels mean, and what is refused instead of being changed in silence.
"""

from __future__ import annotations

import os
import secrets
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from . import checks, psf

if TYPE_CHECKING:
    import PIL.Image

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF", ".npy": "NPY"}
# Pillow's modes that are gray or RGB, with or without alpha, at the precision of the file.
MODES = ("1", "L", "LA", "RGB", "RGBA", "I", "I;16", "I;16B", "I;16L", "F")
# What libjpeg can write, in pixels along either side.
JPEG_SIDE = 65500


def read(path: str | Path) -> np.ndarray:
    """Read an image as it is stored.

    Parameters
    ----------
    path : str or Path
        A PNG, JPEG, TIFF or .npy file; its suffix decides.

    Returns
    -------
    ndarray, shape (rows, cols) or (rows, cols, channels)
        Boolean, integer or floating point, whichever the file holds, with 1 to 4 channels: gray,
        gray and alpha, RGB, RGB and alpha.  Palettes are RGB; a photograph is turned as its
        orientation mark says.

    Raises
    ------
    ValueError
        If the file is missing, damaged or not such an image, or holds what the reader would
        lose: 16-bit colour in a PNG.
    """
    path = Path(path)
    readers = {"NPY": _read_npy, "TIFF": _read_tiff, "PNG": _read_png, "JPEG": _read_pillow}
    try:
        array = readers[_format(path)](path)
        _check_pixels(array)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise MemoryError(f"cannot read {path}: {error or 'out of memory'}") from error
    except ValueError as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    except Exception as error:  # damaged files raise all kinds, SyntaxError and struct.error among them
        raise ValueError(f"cannot read {path}: it is damaged ({type(error).__name__}: {error})") from error
    return array


def read_psf(spec: str) -> np.ndarray:
    """Make or read a psf that sums to 1.

    Parameters
    ----------
    spec : str
        ``gaussian:13:1,3``, ``gaussian:9x13:2``, ``disk:5``, ``motion:15:40``, ``box:5``,
        ``box:3x5`` or ``airy:2.5:15``, see `BUILDERS`, or the name of an image file, whose
        colours are averaged and whose alpha is ignored.

    Returns
    -------
    ndarray, float32 or float64, shape (rows, cols)

    Raises
    ------
    ValueError
        If it is neither, or the psf cannot be used.
    """
    name, *fields = spec.split(":")
    if name in BUILDERS:
        form, build, kinds = BUILDERS[name]
        try:
            if len(fields) != len(kinds):
                raise ValueError(f"{len(fields)} values after the name, not {len(kinds)}")
            kernel: np.ndarray = build(*(kind(field) for kind, field in zip(kinds, fields, strict=True)))
            return kernel
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"psf {spec!r} is not {form}: {error}") from error
    if Path(spec).suffix.lower() not in FORMATS:
        forms = ", ".join(form for form, _, _ in BUILDERS.values())
        raise ValueError(f"psf {spec!r} must be one of {forms}, or a file ({', '.join(FORMATS)})")
    image = _colours(read(spec))
    try:
        return psf.normalise(image if image.ndim == 2 else image.mean(axis=-1, dtype=np.float64))
    except ValueError as error:
        raise ValueError(f"{spec}: {error}") from error


def check_out(path: str | Path, image: np.ndarray) -> None:
    """See whether `image`, once deblurred, can be written to `path`, before any work is done.

    Raises
    ------
    ValueError
        If the suffix is unknown, the format cannot hold such pixels, or no file can be made there.
    """
    path = Path(path)
    try:
        format = _format(path)
    except ValueError as error:
        raise ValueError(f"cannot write {path}: {error}") from None
    if not _holds(format, image):
        fitting = [suffix for suffix, other in FORMATS.items() if _holds(other, image)]
        raise ValueError(f"cannot write {path}: {format} cannot hold {_described(image)}; {_either(fitting)} would do")
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise ValueError(f"cannot write {path}: there is no folder {target.parent}")
    if target.exists() and not target.is_file():
        raise ValueError(f"cannot write {path}: it exists and is not a file")
    if not os.access(target.parent, os.W_OK):
        raise ValueError(f"cannot write {path}: the folder {target.parent} is read-only")


def write(path: str | Path, image: np.ndarray) -> None:
    """Write an image in the format of the path's suffix, whole or not at all.

    Parameters
    ----------
    path : str or Path
    image : ndarray, shape (rows, cols) or (rows, cols, channels)
        Written in its own dtype; `check_out` says what goes where.
    """
    path = Path(path)
    check_out(path, image)
    format = _format(path)
    if format == "NPY":
        with whole(path) as file:
            np.save(file, image, allow_pickle=False)
        return
    pixels = np.ascontiguousarray(image, image.dtype.newbyteorder("="))
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    with whole(path) as file:
        if format == "TIFF":
            _write_tiff(file, pixels)
        else:
            from PIL import Image

            # Colours at full resolution: fine detail is what was restored.
            options = {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
            Image.fromarray(pixels).save(file, format, **options)


@contextmanager
def whole(path: str | Path) -> Iterator[IO[bytes]]:
    """A file to write to that takes the place of `path` at the end, or vanishes if anything fails."""
    target = Path(os.path.realpath(path))  # of a link, what it points to is replaced
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        # Not tempfile's: those are closed to other users, and so would the result be.
        with temporary.open("xb") as file:
            yield file
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def to_real(image: np.ndarray) -> np.ndarray:
    """What is to be deblurred: the image without alpha, integers divided by the largest of their dtype."""
    real = _colours(image)
    if image.dtype.kind != "f":
        largest = 1 if image.dtype.kind == "b" else np.iinfo(image.dtype).max
        real = real.astype(checks.working_dtype(image))
        real /= largest
    return real


def from_real(real: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The inverse of `to_real`: rounded and clipped to the dtype of `image`, with its alpha.

    Booleans, which a restored image has no use for, become uint8 from 0 to 255.
    """
    dtype = _written_dtype(image)
    if dtype.kind == "f":
        colours = real.astype(dtype)
    else:
        limits = np.iinfo(dtype)
        largest = real.dtype.type(limits.max)
        if int(largest) > limits.max:  # 64 bits: the nearest float64 is one too many
            largest = np.nextafter(largest, real.dtype.type(0))
        colours = np.clip(np.rint(real * real.dtype.type(limits.max)), limits.min, largest).astype(dtype)
    if colours.shape == image.shape:
        return colours
    joined = np.empty(image.shape, dtype)
    joined[..., :-1] = colours
    joined[..., -1] = image[..., -1] * dtype.type(255) if image.dtype.kind == "b" else image[..., -1]
    return joined


def _written_dtype(image: np.ndarray) -> np.dtype[Any]:
    return np.dtype(np.uint8) if image.dtype.kind == "b" else image.dtype


def _colours(image: np.ndarray) -> np.ndarray:
    """The image without its alpha channel, if it has one."""
    return image[..., :-1] if image.ndim == 3 and image.shape[2] in (2, 4) else image


def _format(path: Path) -> str:
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise ValueError(f"the suffix must be one of {', '.join(FORMATS)}; it is {path.suffix!r}") from None


def _holds(format: str, image: np.ndarray) -> bool:
    """Whether a format keeps such pixels as they are (JPEG: nearly)."""
    dtype = _written_dtype(image).newbyteorder("=")
    channels = image.shape[2] if image.ndim == 3 else 1
    if format == "PNG":  # 16-bit colour exists, but Pillow does not write it
        return dtype == np.uint8 or (dtype == np.uint16 and channels == 1)
    if format == "JPEG":
        return dtype == np.uint8 and channels in (1, 3) and max(image.shape[:2]) <= JPEG_SIDE
    return True


def _described(image: np.ndarray) -> str:
    kinds = {1: "gray", 2: "gray with alpha", 3: "RGB", 4: "RGB with alpha"}
    kind = kinds[image.shape[2] if image.ndim == 3 else 1]
    return f"{_written_dtype(image).name} {kind} of {image.shape[0]}x{image.shape[1]}"


def _either(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _check_pixels(array: np.ndarray) -> None:
    """Refuse what is not one image of real numbers."""
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise ValueError(f"it must hold real numbers of at most 64 bits; its dtype is {array.dtype}")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 2, 3, 4)):
        raise ValueError(
            f"it must be one image, rows x columns or rows x columns x 1 to 4 channels; its shape is {array.shape}"
        )
    if array.size == 0:
        raise ValueError(f"it must not be empty; its shape is {array.shape}")


def _read_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        # Not np.load: what is not such a file, it takes for a pickle, and says how to trust it.
        return np.lib.format.read_array(file, allow_pickle=False)


def _read_png(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        header = file.read(26)
    # Bit depth and colour type.  Pillow would cut 16-bit colour down to 8 bits without a word.
    if header.startswith(b"\x89PNG") and header[24:25] == b"\x10" and header[25:26] != b"\0":
        raise ValueError("PNG with 16 bits a channel is only read in gray without alpha; save it as TIFF")
    return _read_pillow(path)


def _read_pillow(path: Path) -> np.ndarray:
    from PIL import ImageOps

    with _opened(path) as picture:
        frames = getattr(picture, "n_frames", 1)
        if picture.format == "PNG" and frames > 1:  # what a JPEG has more of are previews
            raise ValueError(f"it must be one image, not an animation; it has {frames} frames")
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
def _opened(path: Path) -> Iterator[PIL.Image.Image]:
    """The file in Pillow, which is not to take a large image for an attack: the user named it.

    Its warnings are of metadata, or come before an error.
    """
    from PIL import Image, UnidentifiedImageError

    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=("PNG", "JPEG", "TIFF")) as picture:
            yield picture
    except UnidentifiedImageError:
        raise ValueError("it is not such an image, or damaged") from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _read_tiff(path: Path) -> np.ndarray:
    import tifffile

    plain = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE, tifffile.PHOTOMETRIC.RGB)
    with tifffile.TiffFile(path) as tiff:
        page, series = tiff.pages.first, tiff.series[0]
        if len(tiff.pages) > 1 or series.axes not in ("YX", "YXS", "SYX"):
            raise ValueError(
                f"it must be one image, not a stack; it has {len(tiff.pages)} pages and the shape {series.shape}"
            )
        if page.photometric in plain:
            try:
                array = series.asarray()
            except ValueError as error:
                if "imagecodecs" not in str(error):
                    raise
            else:
                if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and array.dtype.kind in "bu":
                    array = ~array
                if series.axes == "SYX":
                    array = np.moveaxis(array, 0, -1)
                return _turned(array, page.tags.valueof("Orientation", default=1))
    # Palettes, and compressions that tifffile leaves to another package: Pillow knows many of them.
    array = _read_pillow(path)
    if page.photometric in plain and array.dtype.newbyteorder("=") != page.dtype:
        raise ValueError(f"{array.dtype.name} is all that can be read of it without the package imagecodecs")
    return array


def _turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """An image the way up that TIFF's and EXIF's orientation, 1 to 8, says."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array


def _write_tiff(file: IO[bytes], pixels: np.ndarray) -> None:
    import tifffile

    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    tifffile.imwrite(
        file,
        pixels,
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        metadata=None,
    )


def _size(text: str) -> int | tuple[int, int]:
    """``13``, or ``9x13``: rows by columns."""
    sizes = [int(part) for part in text.split("x")]
    if len(sizes) > 2:
        raise ValueError(f"a size is ROWS or ROWSxCOLS; got {text!r}")
    return sizes[0] if len(sizes) == 1 else (sizes[0], sizes[1])


def _sigma(text: str) -> float | tuple[float, ...]:
    """``2``, or ``1,3``: down and across."""
    values = tuple(float(part) for part in text.split(","))
    return values[0] if len(values) == 1 else values


BUILDERS: dict[str, tuple[str, Callable[..., np.ndarray], tuple[Callable[[str], Any], ...]]] = {
    "gaussian": ("gaussian:SIZE:SIGMA", psf.gaussian, (_size, _sigma)),
    "disk": ("disk:RADIUS", psf.disk, (float,)),
    "motion": ("motion:LENGTH:ANGLE", psf.motion, (float, float)),
    "box": ("box:SIZE", psf.box, (_size,)),
    "airy": ("airy:RADIUS:SIZE", psf.airy, (float, _size)),
}
"""How each psf is written, what builds it, and what reads its values."""
