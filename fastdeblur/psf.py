"""Point spread functions: builders, hygiene, and the split into separable parts.

Every psf is drawn unflipped (``convolve(delta, psf)`` shows it) with its centre at
``psf.shape // 2``, for even sizes too, and sums to 1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import checks
from .hygiene import centre, from_image, normalise, support

__all__ = ["airy", "box", "centre", "disk", "from_image", "gaussian", "motion", "normalise", "support"]


def _shape(shape: Any) -> tuple[int, int]:
    sizes = (shape, shape) if np.ndim(shape) == 0 else tuple(shape)
    if len(sizes) != 2:
        raise ValueError(f"shape must be one size or two; got {shape!r}")
    return checks.integer("shape", sizes[0], 1), checks.integer("shape", sizes[1], 1)


def _offsets(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Row and column offsets of each pixel from the centre, as a column and a row."""
    rows, cols = (np.arange(n, dtype=np.float64) - n // 2 for n in shape)
    return rows[:, None], cols[None, :]


def box(shape: Any) -> np.ndarray:
    """A constant psf.

    Parameters
    ----------
    shape : int or (int, int)
        Its size in pixels.

    Returns
    -------
    ndarray, float64, shape (rows, cols)
        One value everywhere; sums to 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above.

    Examples
    --------
    >>> import fastdeblur as fd
    >>> fd.psf.box((2, 2))
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    rows, cols = _shape(shape)
    return np.full((rows, cols), 1 / (rows * cols))


def gaussian(shape: Any, sigma: Any) -> np.ndarray:
    """A sampled Gaussian.

    Parameters
    ----------
    shape : int or (int, int)
        Its size in pixels.
    sigma : float or (float, float)
        Standard deviation in pixels, along rows and columns of the array (down, across).

    Returns
    -------
    ndarray, float64, shape (rows, cols)
        A psf of rank 1 that sums to 1: the Gaussian's values at the pixels' centres, scaled.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above.

    Examples
    --------
    >>> import fastdeblur as fd
    >>> fd.psf.gaussian((1, 3), 1.0).round(3)
    array([[0.274, 0.452, 0.274]])
    """
    rows, cols = _offsets(_shape(shape))
    sigmas = (sigma, sigma) if np.ndim(sigma) == 0 else tuple(sigma)
    if len(sigmas) != 2:
        raise ValueError(f"sigma must be one number or two; got {sigma!r}")
    down, across = (checks.real("sigma", value, "above 0") for value in sigmas)
    # Divided before it is squared: a tiny sigma must give a delta, not 0 / 0.
    with np.errstate(over="ignore"):
        return normalise(np.exp(-0.5 * (rows / down) ** 2) * np.exp(-0.5 * (cols / across) ** 2))


# Samples a pixel along each axis for shapes with sharp edges.
_SAMPLES = 16


def _covered(shape: tuple[int, int], inside: Any) -> np.ndarray:
    """Each pixel's share of samples (row offset, column offset) that are `inside`."""
    rows, cols = _offsets(shape)
    steps = (np.arange(_SAMPLES) + 0.5) / _SAMPLES - 0.5
    share = np.zeros(shape)
    for down in steps:
        for across in steps:
            share += inside(rows + down, cols + across)
    return normalise(share)


def disk(radius: float) -> np.ndarray:
    """An evenly filled disk: a lens out of focus.

    Parameters
    ----------
    radius : float
        Radius in pixels, above 0.  Pixels at the rim count by the area that is covered
        (to 1/256).

    Returns
    -------
    ndarray, float64, shape (size, size)
        A psf of odd size, just large enough, that sums to 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above.

    Examples
    --------
    >>> import fastdeblur as fd
    >>> fd.psf.disk(5).shape
    (11, 11)
    """
    radius = checks.real("radius", radius, "above 0")
    reach = max(math.ceil(radius - 0.5), 0)
    size = 2 * reach + 1
    if radius < 0.5:  # thinner than the spacing of samples may be; it is within one pixel
        return np.ones((1, 1))
    return _covered((size, size), lambda rows, cols: rows**2 + cols**2 <= radius**2)


def motion(length: float, angle: float) -> np.ndarray:
    """A straight line of even brightness: a camera or an object that moved.

    Parameters
    ----------
    length : float
        Length of the path in pixels, above 0.
    angle : float
        Its direction in degrees, anticlockwise from the rightward horizontal, as one sees the
        image (rows count downwards).

    Returns
    -------
    ndarray, float64, shape (rows, cols)
        A psf of odd sizes, just large enough, that sums to 1.  A pixel's value is the length of the line in it.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above.

    Examples
    --------
    >>> import fastdeblur as fd
    >>> fd.psf.motion(3, 0)
    array([[0.33333333, 0.33333333, 0.33333333]])
    """
    length = checks.real("length", length, "above 0")
    turn = math.radians(math.fmod(checks.real("angle", angle, "any"), 180))
    down, across = -math.sin(turn), math.cos(turn)
    # Each pixel's share is the length of the line inside it, counted in short pieces.
    count = max(2, math.ceil(length * _SAMPLES**2))
    along = ((np.arange(count) + 0.5) / count - 0.5) * length
    i, j = (np.floor(along * step + 0.5).astype(np.intp) for step in (down, across))
    reach_down, reach_across = int(np.abs(i).max()), int(np.abs(j).max())
    out = np.zeros((2 * reach_down + 1, 2 * reach_across + 1))
    np.add.at(out, (i + reach_down, j + reach_across), 1.0)
    return normalise(out)


def airy(radius: float, shape: Any) -> np.ndarray:
    """The image of a point through a round aperture, ``(2 J1(v) / v)**2``.

    Parameters
    ----------
    radius : float
        Distance from the centre to the first dark ring in pixels, above 0.  For a telescope or
        microscope it is ``1.22 * wavelength * f_number / pixel_pitch``.
    shape : int or (int, int)
        Size of the psf in pixels; some rings should fit.

    Returns
    -------
    ndarray, float64, shape (rows, cols)
        The intensity at the pixels' centres [1]_, scaled to sum to 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above.

    References
    ----------
    .. [1] M. Born and E. Wolf, Principles of Optics, section 8.5.2.

    Examples
    --------
    >>> import fastdeblur as fd
    >>> fd.psf.airy(2.0, 9).shape
    (9, 9)
    """
    import scipy.special  # not for everyone who imports fastdeblur

    radius = checks.real("radius", radius, "above 0")
    rows, cols = _offsets(_shape(shape))
    v = np.hypot(rows, cols) * (scipy.special.jn_zeros(1, 1)[0] / radius)
    with np.errstate(invalid="ignore", divide="ignore"):
        amplitude = np.where(v == 0, 1.0, 2 * scipy.special.j1(v) / v)
    return normalise(amplitude**2)


def factors(psf: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split a psf into a sum of products of a column and a row.

    Singular values below the rounding of the psf's own dtype are dropped.

    Returns
    -------
    down : ndarray, shape (rank, rows)
    across : ndarray, shape (rank, cols)
        Such that ``psf == down.T @ across`` to within 1e-7 (float32) or 1e-14 (float64) of its norm.
    """
    u, s, vt = np.linalg.svd(psf.astype(np.float64), full_matrices=False)
    kept = s > s[0] * _negligible(psf)
    kept[0] = True  # also of zeros, which may be multiplied with something that is not finite
    root = np.sqrt(s[kept])
    return (u[:, kept] * root).T, vt[kept] * root[:, None]


def rank(psf: np.ndarray, most: int) -> int:
    """How many parts `factors` makes of a psf, or just ``most + 1`` if they are more."""
    rest = psf / np.abs(psf, dtype=np.float64).max(initial=np.finfo(np.float64).tiny)
    floor = _negligible(psf) * float(np.linalg.norm(rest))
    if min(psf.shape) > 4 * most:
        # Elimination with complete pivots takes a fraction of what singular values do.
        for _ in range(most):
            i, j = np.unravel_index(np.argmax(np.abs(rest)), rest.shape)
            if rest[i, j] == 0:
                break
            rest -= np.outer(rest[:, j] / rest[i, j], rest[i])
        if np.linalg.norm(rest) > _SLACK * floor:
            return most + 1
    values = np.linalg.svd(psf.astype(np.float64), compute_uv=False)
    return min(max(int((values > values[0] * _negligible(psf)).sum()), 1), most + 1)


# How much worse than singular vectors eliminated rows and columns may be at the same rank.
_SLACK = 1e3


def _negligible(psf: np.ndarray) -> float:
    """Relative to the largest, singular values that are rounding of the psf's own dtype."""
    return 1e-7 if psf.dtype == np.float32 else 1e-14
