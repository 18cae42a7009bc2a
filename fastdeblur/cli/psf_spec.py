"""Psf specs of the command, such as ``gaussian:13:1,3``, and psfs in files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .. import psf as psfs
from ..io import files, pixels
from ..io.source import Source


def read_psf(spec: str, most: int | None = None, curve: str | float = "auto") -> np.ndarray:
    """Make or read a psf that sums to 1.

    Parameters
    ----------
    spec : str
        ``gaussian:13:1,3``, ``gaussian:9x13:2``, ``disk:5``, ``motion:15:40``, ``box:5``,
        ``box:3x5`` or ``airy:2.5:15``, see `BUILDERS`, or the name of an image file, whose
        colours are averaged and whose alpha is ignored; of a stack each page is the psf of a channel.
    most : int or None
        Most bytes that reading the file may take.
    curve : {"auto", "linear", "srgb"} or float
        How values follow from light in a picture whose values are not proportional to it; "auto" is what the file says.

    Returns
    -------
    ndarray, float32 or float64, shape (rows, cols), or (rows, cols, channels)

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
    try:
        files.format_of(Path(spec))
    except ValueError:
        forms = ", ".join(form for form, _, _ in BUILDERS.values())
        raise ValueError(f"psf {spec!r} must be one of {forms}, or a file ({', '.join(files.SUFFIXES)})") from None
    pages = _pages(spec, most)
    if pages is None:
        return _from_file(spec, most, curve, psfs.normalise)
    try:
        return np.stack([psfs.normalise(page) for page in pages], axis=-1)
    except ValueError as error:
        raise ValueError(f"{spec}: {error}") from error


def _pages(path: str, most: int | None) -> list[np.ndarray] | None:
    """The pages of a stack of gray images; None of a file of one image."""
    with files.opened(path) as source:
        if source.pages is None or len(source.shape) != 2:
            return None
        files.check_size(path, source, most)
        return [source.page(number) for number in range(source.pages)]


def check_psfs(psf: np.ndarray, source: Source) -> None:
    """Refuse psfs of channels for an image of others."""
    channels = pixels.channels(source.shape) - source.alpha if source.planes == 1 else source.planes
    if psf.ndim == 3 and (psf.shape[2] != channels or (len(source.shape) == 2 and source.planes == 1)):
        raise ValueError(
            f"psf must be one image, or a stack with a page for each of the image's {channels} channels; it has "
            f"{psf.shape[2]} pages"
        )


def psf_of_point(path: str, most: int | None = None, curve: str | float = "auto") -> np.ndarray:
    """A psf from a file with a picture of a star or a bead, by `fastdeblur.psf.from_image`.

    Parameters
    ----------
    path : str
        The name of an image file, whose colours are averaged and whose alpha is ignored.
    most : int or None
        Most bytes that reading the file may take.
    curve : {"auto", "linear", "srgb"} or float
        As for `read_psf`.

    Returns
    -------
    ndarray, float32 or float64, shape (rows, cols)

    Raises
    ------
    ValueError
        If there is no such picture.
    """
    return _from_file(path, most, curve, psfs.from_image)


def _from_file(
    path: str, most: int | None, curve: str | float, build: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    image = files.read_colours(path, most, curve)
    try:
        return build(image if image.ndim == 2 else image.mean(axis=-1, dtype=np.float64))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


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
    "gaussian": ("gaussian:SIZE:SIGMA", psfs.gaussian, (_size, _sigma)),
    "disk": ("disk:RADIUS", psfs.disk, (float,)),
    "motion": ("motion:LENGTH:ANGLE", psfs.motion, (float, float)),
    "box": ("box:SIZE", psfs.box, (_size,)),
    "airy": ("airy:RADIUS:SIZE", psfs.airy, (float, _size)),
}
"""Form, builder and parsers of the values of each psf spec."""
