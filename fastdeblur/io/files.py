"""Table of file formats (PNG, JPEG, WebP, BMP, TIFF, FITS, .npy, .zarr), and reading and writing images in them.

Pillow and tifffile, which come with scikit-image, astropy and Zarr decode and encode; here and in the modules
of the formats it is decided what their pixels mean, and what is refused instead of being changed in silence.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import transfer
from . import fits, fits_files, npy, pillow, pixels, tiff, tiff_layout, tiff_writing, zarr_reading, zarr_writing
from .atomic import atomic_file, atomic_folder, beside, locked
from .axes import Axes, check_single
from .metadata import Metadata, Pages
from .source import Source


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes
    ----------
    name : str
    suffixes : tuple of str
        By which its files are known.
    opened : callable
        Context manager of the `Source` of a path, a stack or not, and for `names_axes` with axes or None.
    saving : callable
        Context manager that writes `Pages` to a file, or to a folder, and gives a function that takes them in turn.
    holds : callable
        Whether it keeps (JPEG: nearly) pages of a shape and dtype, their number or None, with alpha or without it.
    names_axes : bool
        Whether its files may not say what their axes are.
    in_tiles : bool
        Whether it is written tile by tile, without all pixels in memory.
    any_shape : bool
        Whether it stores an array of one channel as such.
    """

    name: str
    suffixes: tuple[str, ...]
    opened: Callable[..., AbstractContextManager[Source]]
    saving: Callable[..., AbstractContextManager[Callable[[np.ndarray], None]]]
    holds: Callable[[tuple[int, ...], np.dtype[Any], int | None, bool], bool] = lambda *_: True
    names_axes: bool = True
    in_tiles: bool = False
    any_shape: bool = False


def _picture(name: str, *suffixes: str) -> Format:
    """A format that Pillow reads."""
    opened, saving, holds = (functools.partial(each, name) for each in (pillow.opened, pillow.saving, pillow.holds))
    return Format(name, suffixes, opened, saving, holds, names_axes=False)  # type: ignore[arg-type]


FORMATS = {
    each.name: each
    for each in (
        _picture("PNG", ".png"),
        _picture("JPEG", ".jpg", ".jpeg"),
        _picture("WebP", ".webp"),
        _picture("BMP", ".bmp"),
        Format("TIFF", (".tif", ".tiff"), tiff.opened, tiff_writing.saving, in_tiles=True),
        Format("NPY", (".npy",), npy.opened, npy.saving, in_tiles=True, any_shape=True),
        Format("Zarr", (".zarr",), zarr_reading.opened, zarr_reading.saving, in_tiles=True, any_shape=True),
        Format("FITS", fits.SUFFIXES, fits.opened, fits.saving, fits.holds, in_tiles=True),
    )
}
# Names of formats by suffixes.
SUFFIXES = {suffix: each.name for each in FORMATS.values() for suffix in each.suffixes}


@contextmanager
def opened(path: str | Path, stack: bool = False, axes: Axes | None = None) -> Iterator[Source]:
    """Open an image file, and read no more than its header.

    Parameters
    ----------
    path : str or Path
        A PNG, JPEG, WebP, BMP, TIFF, FITS, .npy or .zarr file; its suffix decides.  ``image.fits[1]`` and
        ``image.fits[SCI]`` choose an HDU.
    stack : bool
        Whether the first axis of a .npy or .zarr counts pages.  TIFFs know that themselves.
    axes : Axes or None
        What the axes are, whatever the file says of them.  Those of PNG, JPEG, WebP and BMP are known.

    Yields
    ------
    Source
        Its pages are boolean, integer or floating point, whichever the file holds, with any number of channels, of
        which the last may be alpha.  Palettes are RGB; a photograph is turned as its orientation mark says.

    Raises
    ------
    ValueError
        If the file is missing, damaged or not such an image.  Reading a page raises the same.
    """
    path = Path(path)
    with explained(path):
        check_kind(path)
        format = FORMATS[format_of(path)]
        if axes is not None and stack and not axes.pages:
            raise ValueError(f"axes must have letters before YX with --stack; got {axes} (leave one of them out)")
        source_in = format.opened(path, stack, *[axes] * format.names_axes)
        source = source_in.__enter__()
    try:
        if axes is not None and not format.names_axes:
            with explained(path):
                check_single(axes, format.name, source.pages, source.shape)
        yield replace(source, page=lambda number: _page(path, source, number))
    finally:
        source_in.__exit__(None, None, None)


def read(path: str | Path, most: int | None = None) -> np.ndarray:
    """Read the one image that a file holds, see `opened`, unless reading takes more than `most` bytes."""
    with opened(path) as source:
        return _only_page(path, source, most)


def read_colours(path: str | Path, most: int | None = None, curve: str | float = "linear") -> np.ndarray:
    """`read`, without alpha; if values are encoded, in linear light by the file's own curve ("auto") or another one."""
    with opened(path) as source:
        colours = pixels.colours(_only_page(path, source, most), source.alpha)
        if "linear" in (source.curve, curve):
            return colours
        return transfer.decode(colours, source.curve if curve == "auto" else curve, alpha=False)


def _only_page(path: str | Path, source: Source, most: int | None) -> np.ndarray:
    check_size(path, source, most)
    if source.pages is not None:
        raise ValueError(f"cannot read {path}: it must be one image, not a stack; it has {source.pages} pages")
    return source.page(0)


def check_kind(path: Path) -> None:
    """Refuse what is no file where one is expected: a pipe would never end, nor would a device."""
    path, format = fits.split(path)[0], format_of(path)
    if format != "Zarr" and path.exists() and not path.is_file():
        raise ValueError("it is not a file")


def check_size(path: str | Path, source: Source, most: int | None) -> None:
    """Refuse an image that takes more than `most` bytes to read."""
    if most is not None:
        with explained(Path(path)):
            source.check_size(most)


def _page(path: Path, source: Source, number: int) -> np.ndarray:
    with explained(path):
        page = source.page(number)
        pixels.check(page.shape, page.dtype)
    return page


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Name the file in whatever error its reader raises; its warnings are of metadata, or come before an error."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise MemoryError(f"cannot read {path}: {error or 'out of memory'}") from error
    except ImportError as error:
        raise ImportError(f"cannot read {path}: {error}") from error
    except ValueError as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    except Exception as error:  # damaged files raise all kinds, SyntaxError and struct.error among them
        raise ValueError(f"cannot read {path}: it is damaged ({type(error).__name__}: {error})") from error


def check_out(path: str | Path, image: Any, pages: int | None = None, *, alpha: bool = False) -> None:
    """See whether `image`, once deblurred, can be written to `path`, before any work is done.

    Parameters
    ----------
    path : str or Path
    image : ndarray or Source
        What has the shape and the dtype of a page.
    pages : int or None
        How many there are; None is a single image.
    alpha : bool
        Whether the last channel is alpha.

    Raises
    ------
    ValueError
        If the suffix is unknown, the format cannot hold such pixels, or no file can be made there.
    """
    path = Path(path)
    try:
        format = format_of(path)
    except ValueError as error:
        raise ValueError(f"cannot write {path}: {error}") from None
    if fits.split(path)[1] is not None:
        raise ValueError(
            f"cannot write {path}: the output is a file, without an HDU in brackets (that of the image is replaced, "
            "all others are kept)"
        )
    if not _holds(format, image, pages, alpha):
        # (Who does not have FITS files has no use for them.)
        usual = [(suffix, other) for suffix, other in SUFFIXES.items() if other != "FITS"]
        fitting = [suffix for suffix, other in usual if _holds(other, image, pages, alpha)]
        what = pixels.described(tuple(image.shape), image.dtype, alpha)
        what = what if pages is None else f"a stack of {pages} pages, {what}"
        raise ValueError(f"cannot write {path}: {format} cannot hold {what}; {_either(fitting)} would do")
    check_place(path)


def check_place(path: Path) -> None:
    """See whether a file, or a Zarr array, can be made or replaced at a path."""
    format, target = format_of(path), Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise ValueError(f"cannot write {path}: there is no folder {target.parent}")
    if not os.access(target.parent, os.W_OK):
        raise ValueError(f"cannot write {path}: the folder {target.parent} is read-only")
    if format == "FITS":
        fits.require()
    if format == "Zarr":
        zarr_reading.require()
        if target.exists() and not zarr_reading.is_replaceable(target):
            raise ValueError(
                f"cannot write {path}: it exists and is not a Zarr array, nor an OME-Zarr image of one scale alone"
            )
    elif target.exists() and not target.is_file():
        raise ValueError(f"cannot write {path}: it exists and is not a file")
    if target.exists() and not os.access(target, os.W_OK):
        raise ValueError(f"cannot write {path}: it exists and is read-only")


@contextmanager
def saving(
    path: str | Path,
    image: Any,
    pages: int | None = None,
    metadata: Metadata | None = None,
    *,
    alpha: bool = False,
    held: bool = False,
) -> Iterator[Callable[[np.ndarray], None]]:
    """Write an image, or a stack page after page, whole or not at all.

    Parameters
    ----------
    path : str or Path
    image : ndarray
        What has the shape and the dtype of a page as it is written.
    pages : int or None
        How many there are; None is a single image.
    metadata : Metadata or None
        What else is written, as far as the format has a place for it; `Metadata.lost` says what it has none for.
    alpha : bool
        Whether the last channel is alpha.
    held : bool
        Whether the caller keeps others from writing there.

    Yields
    ------
    callable
        Takes the pages in turn.

    Raises
    ------
    OSError
        If the disk is full, or what else writing may raise.
    """
    path = Path(path)
    check_out(path, image, pages, alpha=alpha)
    format = FORMATS[format_of(path)]
    shape, dtype = tuple(image.shape), image.dtype.newbyteorder("=")
    if not format.any_shape and shape[2:] == (1,):
        shape = shape[:2]
    planned = Pages(shape, dtype, pages, alpha, metadata, Path(os.path.realpath(path)).parent)
    with write_errors(path), ExitStack() as stack:
        if format.name == "Zarr":
            file: Any = stack.enter_context(atomic_folder(path, lambda: check_place(path), held))
        else:
            file = stack.enter_context(fits_files.writing(path, stack.enter_context(atomic_file(path))))
        put = stack.enter_context(format.saving(file, planned))
        yield lambda page: put(np.ascontiguousarray(page, dtype).reshape(shape))


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Name the file in what the system says of writing it."""
    try:
        yield
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error


def lost(metadata: Metadata, path: str | Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> list[str]:
    """Metadata that a file of pixels of a shape, pages included, and a dtype does not keep, in words."""
    format = format_of(Path(path))
    if isinstance(metadata.own, tiff_layout.Layout):
        metadata = replace(metadata, changed=(*metadata.changed, *tiff_writing.changed(metadata.own, dtype)))
    elif format == "Zarr":
        metadata = replace(metadata, changed=(*metadata.changed, *zarr_writing.changed(metadata, shape, dtype)))
    return metadata.lost(format)


def recover(path: str | Path) -> None:
    """Put back a Zarr array that a run was about to replace when it was killed."""
    target = Path(os.path.realpath(path))
    if SUFFIXES.get(suffix_of(target)) == "Zarr" and beside(target, "replaced").exists():
        with write_errors(Path(path)), locked(target):
            pass


def write(path: str | Path, image: np.ndarray, metadata: Metadata | None = None, *, alpha: bool = False) -> None:
    """Write an image in the format of the path's suffix, whole or not at all.

    Parameters
    ----------
    path : str or Path
    image : ndarray, shape (rows, cols) or (rows, cols, channels)
        Written in its own dtype; `check_out` says what goes where.
    metadata : Metadata or None
        As for `saving`.
    alpha : bool
        Whether the last channel is alpha.
    """
    with saving(path, image, metadata=metadata, alpha=alpha) as put:
        put(image)


def suffix_of(path: Path) -> str:
    """Suffix that decides on the format of a file: the last, or the last two if it is compressed as a whole."""
    return "".join(path.suffixes[-2:]).lower() if fits_files.is_packed(path) else path.suffix.lower()


def in_tiles(path: Path) -> bool:
    """Whether a file of that name is written tile by tile, without all pixels in memory."""
    name = SUFFIXES.get(suffix_of(path))
    return name is not None and FORMATS[name].in_tiles


def format_of(path: Path) -> str:
    """The name of a file's format; a ValueError says which suffixes there are."""
    path = fits.split(path)[0]
    try:
        return SUFFIXES[suffix_of(path)]
    except KeyError:
        raise ValueError(f"the suffix must be one of {', '.join(SUFFIXES)}; it is {path.suffix!r}") from None


def _holds(format: str, image: Any, pages: int | None, alpha: bool) -> bool:
    """Whether a format keeps such pixels."""
    dtype = pixels.written_dtype(image.dtype).newbyteorder("=")
    return FORMATS[format].holds(tuple(image.shape), dtype, pages, alpha)


def _either(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
