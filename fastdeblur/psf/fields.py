"""Psfs that vary over the image, by formula: lenses, cameras that roll, shutters that read row by row.

Each function returns a field: what makes the psfs of an even grid for an image's shape, as `VaryingBlur` takes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import validation
from ..hygiene import normalise
from .builders import check_pixels
from .path import trajectory

Field = Callable[..., np.ndarray]
# Nodes of a grid along an axis, and points of an arc a pixel.
GRID, POINTS = (5, 5), 4


def radial(psf_of_radius: Callable[[float], Any], centre: Any = None) -> Field:
    """The field of a lens: psfs that depend on the distance from its axis, and turn with the direction.

    Parameters
    ----------
    psf_of_radius : callable
        Takes a distance from the centre in pixels; returns the psf of a point that far to the right of it, an array
        with its centre at ``shape // 2``.
    centre : (float, float) or None
        Where the lens' axis meets the image: row and column; None is the image's middle.

    Returns
    -------
    callable
        ``field(image_shape, grid=(5, 5))`` makes the psfs, of shape (rows, cols, taps, taps): those of an even grid
        whose corners are the image's corner pixels, each turned (cubic interpolation) and scaled to sum to 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above; from the field, if a psf is not an array of
        real numbers, or `image_shape` or `grid` not two sizes.

    Examples
    --------
    A lens that smears its corners towards the centre:

    >>> import fastdeblur as fd
    >>> field = fd.psf.radial(lambda radius: fd.psf.motion(1 + radius / 20, 0))
    >>> blur = fd.VaryingBlur(field, None, (96, 128))
    >>> blur.psfs.shape
    (5, 5, 9, 9)
    """
    if not callable(psf_of_radius):
        raise TypeError(f"psf_of_radius must be a function of a distance in pixels; got {psf_of_radius!r}")
    return partial(_radial_psfs, psf_of_radius, _place("centre", centre))


def rotation(angle: float, centre: Any = None) -> Field:
    """The field of a camera that rolled: each point moves on an arc.

    Parameters
    ----------
    angle : float
        By how many degrees the image turned while the shutter was open, evenly; above -180 and below 180.  Which way
        does not matter.
    centre : (float, float) or None
        The row and column that stay in place; None is the image's middle.

    Returns
    -------
    callable
        ``field(image_shape, grid=(5, 5))``, as of `radial`; a psf's centre is where the point is in the middle of the
        exposure.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above; from the field as `radial`.

    Examples
    --------
    >>> import fastdeblur as fd
    >>> fd.psf.rotation(2)((101, 101), grid=(3, 3))[1, 1].max()
    np.float64(1.0)
    """
    turned = validation.real("angle", angle, "any")
    if not -180 < turned < 180:
        raise ValueError(f"angle must be above -180 and below 180 degrees; got {angle}")
    return partial(_rotation_psfs, turned, _place("centre", centre))


def rolling_shutter(points: Any, readout: float, *, centred: bool = False) -> Field:
    """The field of a shutter that reads row by row while the camera moves along a path.

    Parameters
    ----------
    points : array_like, shape (n, 2)
        Positions (row, column) in pixels at equal times from when the first row begins to be exposed until the last
        row's end, as for `trajectory`.
    readout : float
        The share of that time from the first row's beginning to the last row's, at least 0 and below 1; each row is
        exposed for the rest of it.
    centred : bool
        Whether each psf is moved so that its centre of light is its centre: then rows blur, but are not displaced.

    Returns
    -------
    callable
        ``field(image_shape, grid=(9, 1))``, as of `radial`; along a row the psf is the same.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above; from the field as `radial`.

    Examples
    --------
    Still while the first rows are read, then moving to the right:

    >>> import fastdeblur as fd
    >>> field = fd.psf.rolling_shutter([(0, 0), (0, 0), (0, 8)], 0.5)
    >>> field((64, 64), grid=(2, 1))[:, 0, 0].round(3)
    array([[0.   , 0.   , 0.   , 0.   , 0.   , 0.   , 0.   , 0.   , 1.   ,
            0.   , 0.   , 0.   , 0.   , 0.   , 0.   , 0.   , 0.   ],
           [0.   , 0.   , 0.   , 0.   , 0.   , 0.   , 0.   , 0.   , 0.062,
            0.125, 0.125, 0.125, 0.125, 0.125, 0.125, 0.125, 0.062]])
    """
    path = validation.pixels("points", points, 2).astype(np.float64)
    if path.shape[1] != 2 or len(path) < 2:
        raise ValueError(f"points must be two or more (row, column); their shape is {path.shape}")
    validation.finite("points", path)
    share = validation.real("readout", readout, "at least 0")
    if not share < 1:
        raise ValueError(f"readout must be at least 0 and below 1; got {readout}")
    return partial(_rolling_psfs, path, share, centred)


def _radial_psfs(psf_of_radius: Callable[[float], Any], centre: Any, image_shape: Any, grid: Any = GRID) -> np.ndarray:
    psfs = []
    for down, across in _offsets(image_shape, grid, centre):
        psf = validation.psf(psf_of_radius(math.hypot(down, across))).astype(np.float64)
        psfs.append(normalise(_turned(psf, math.atan2(-down, across))))
    return _grid_of(psfs, grid)


def _rotation_psfs(angle: float, centre: Any, image_shape: Any, grid: Any = GRID) -> np.ndarray:
    psfs = []
    for down, across in _offsets(image_shape, grid, centre):
        arc = math.radians(abs(angle)) * math.hypot(down, across)
        turns = np.radians(np.linspace(-0.5, 0.5, 2 + math.ceil(POINTS * arc)) * angle)
        cosines, sines = np.cos(turns) - 1, np.sin(turns)
        psfs.append(trajectory(np.stack([down * cosines - across * sines, across * cosines + down * sines], axis=1)))
    return _grid_of(psfs, grid)


def _rolling_psfs(
    points: np.ndarray, readout: float, centred: bool, image_shape: Any, grid: Any = (9, 1)
) -> np.ndarray:
    validation.sizes("image_shape", image_shape, 2)
    rows, cols = validation.sizes("grid", grid, 2)
    times = np.linspace(0, 1, len(points))
    psfs = []
    for k in range(rows):
        begin = readout * (k / (rows - 1) if rows > 1 else 0.5)
        end = min(begin + 1 - readout, 1.0)
        window = np.unique([begin, *times[(times > begin) & (times < end)], end])
        places = np.stack([np.interp(window, times, along) for along in points.T], axis=1)
        psfs += [trajectory(places, np.diff(window), centred=centred)] * cols
    return _grid_of(psfs, grid)


def _place(name: str, value: Any) -> tuple[float, float] | None:
    """A row and a column."""
    if value is None:
        return None
    place = validation.pixels(name, value, 1).astype(np.float64)
    if place.shape != (2,):
        raise ValueError(f"{name} must be a row and a column; got {value!r}")
    validation.finite(name, place)
    return float(place[0]), float(place[1])


def _offsets(image_shape: Any, grid: Any, centre: tuple[float, float] | None) -> list[tuple[float, float]]:
    """Rows and columns from the centre to each node of an even grid."""
    sizes, nodes = validation.sizes("image_shape", image_shape, 2), validation.sizes("grid", grid, 2)
    middle = centre or ((sizes[0] - 1) / 2, (sizes[1] - 1) / 2)
    places = [
        np.linspace(0, size - 1, count) - at if count > 1 else np.array([(size - 1) / 2 - at])
        for size, count, at in zip(sizes, nodes, middle, strict=True)
    ]
    return [(float(down), float(across)) for down in places[0] for across in places[1]]


def _turned(psf: np.ndarray, angle: float) -> np.ndarray:
    """A psf, turned anticlockwise about its centre, by cubic interpolation."""
    import scipy.ndimage  # not for everyone who imports fastdeblur

    if angle == 0:
        return psf
    psf = np.pad(psf, 2)  # what is between its border and nothing
    reach = math.ceil(math.hypot(*(size // 2 for size in psf.shape)))
    check_pixels("psf_of_radius", f"a psf of {psf.shape}", 2 * reach + 1, 2 * reach + 1)
    down, across = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    cosine, sine = math.cos(angle), math.sin(angle)
    places = cosine * down + sine * across + psf.shape[0] // 2, cosine * across - sine * down + psf.shape[1] // 2
    out = scipy.ndimage.map_coordinates(psf, places, order=3, mode="constant")
    return np.asarray(out.clip(0, None) if psf.min() >= 0 else out)


def _grid_of(psfs: list[np.ndarray], grid: Any) -> np.ndarray:
    """Psfs in an array of their own odd sizes, each with its centre in the middle, row by row."""
    down, across = (2 * max(psf.shape[axis] // 2 for psf in psfs) + 1 for axis in (0, 1))
    check_pixels("grid", grid, down * across, len(psfs))
    out = np.zeros((len(psfs), down, across))
    for psf, place in zip(psfs, out, strict=True):
        top, left = (size // 2 - own // 2 for size, own in zip(place.shape, psf.shape, strict=True))
        place[top : top + psf.shape[0], left : left + psf.shape[1]] = psf
    used = [_reach(out.max(axis=(0, 2))), _reach(out.max(axis=(0, 1)))]
    middle = down // 2, across // 2
    rows, cols = (slice(at - reach, at + reach + 1) for at, reach in zip(middle, used, strict=True))
    return np.ascontiguousarray(out[:, rows, cols]).reshape(
        *validation.sizes("grid", grid, 2), *out[0, rows, cols].shape
    )


def _reach(profile: np.ndarray) -> int:
    """How far from the middle of an axis there is more than rounding."""
    places = np.flatnonzero(np.abs(profile) > 1e-12 * np.abs(profile).max())
    return int(np.abs(places - len(profile) // 2).max())
