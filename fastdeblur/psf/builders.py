"""Builders of psfs by formula: box, Gaussian, Moffat, disk, motion, Airy.

Every psf is drawn unflipped (``convolve(delta, psf)`` shows it) with its centre at
``psf.shape // 2``, for even sizes too, and sums to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import validation
from ..hygiene import normalise

# Most pixels of a psf that is built, 8192x8192: more than any image needs, and what memory can hold.
MOST_PIXELS = 2**26
# Least standard deviation of a Gaussian that is integrated, in pixels: a narrower one is as much of a delta, or a line.
LEAST = 0.01
# Pieces of a pixel's side for integrals.
MOST_PIECES = 16


def check_pixels(name: str, value: Any, rows: float, cols: float) -> None:
    """Refuse an argument that makes a psf larger than any image needs, before memory is taken for it."""
    if rows * cols > MOST_PIXELS:
        raise ValueError(f"{name} must make a psf of at most {MOST_PIXELS} pixels; got {value!r}")


def shape_of(shape: Any) -> tuple[int, int]:
    """One size or two as rows and columns."""
    sizes = (shape, shape) if np.ndim(shape) == 0 else tuple(shape)
    if len(sizes) != 2:
        raise ValueError(f"shape must be one size or two; got {shape!r}")
    rows, cols = (validation.integer("shape", size, 1) for size in sizes)
    check_pixels("shape", shape, rows, cols)
    return rows, cols


def _offsets(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Row and column offsets of each pixel from the centre, as a column and a row."""
    rows, cols = (np.arange(n, dtype=np.float64) - n // 2 for n in shape)
    return rows[:, None], cols[None, :]


def _mirrored(quarter: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A psf that is symmetric about its centre, from its pixels at distances 0, 1, ... down and across."""
    rows, cols = (np.abs(np.arange(n) - n // 2) for n in shape)
    return quarter[rows[:, None], cols]


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
    rows, cols = shape_of(shape)
    return np.full((rows, cols), 1 / (rows * cols))


def gaussian(shape: Any, sigma: Any, angle: float = 0.0, *, integrated: bool = False) -> np.ndarray:
    """A Gaussian, sampled or integrated over pixels.

    Parameters
    ----------
    shape : int or (int, int)
        Its size in pixels.
    sigma : float or (float, float)
        Standard deviation in pixels, along rows and columns of the array (down, across).
    angle : float
        By how many degrees it is turned, anticlockwise as one sees the image: ``sigma=(1, 3)`` is then elongated along
        the direction of ``motion(length, angle)``.
    integrated : bool
        Whether a pixel's value is the mean over its area, as a sensor sees it, rather than that at its centre.  The
        first is about a Gaussian of variance ``sigma**2 + 1/12``.

    Returns
    -------
    ndarray, float64, shape (rows, cols)
        A psf that sums to 1.

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
    rows, cols = _offsets(shape_of(shape))
    sigmas = (sigma, sigma) if np.ndim(sigma) == 0 else tuple(sigma)
    if len(sigmas) != 2:
        raise ValueError(f"sigma must be one number or two; got {sigma!r}")
    down, across = (validation.real("sigma", value, "above 0") for value in sigmas)
    radians = math.radians(math.fmod(validation.real("angle", angle, "any"), 180))
    if integrated:
        return normalise(_integrated_gaussian(rows[:, 0], cols[0], max(down, LEAST), max(across, LEAST), radians))
    if radians and down != across:
        across_axis = cols * math.cos(radians) - rows * math.sin(radians)
        rows, cols = rows * math.cos(radians) + cols * math.sin(radians), across_axis
    # Divided before it is squared: a tiny sigma must give a delta, not 0 / 0.
    with np.errstate(over="ignore"):
        return normalise(np.exp(-0.5 * (rows / down) ** 2) * np.exp(-0.5 * (cols / across) ** 2))


def _integrated_gaussian(rows: np.ndarray, cols: np.ndarray, down: float, across: float, radians: float) -> np.ndarray:
    """Means of a turned Gaussian over pixels: along columns by the error function, along rows by quadrature."""
    import scipy.special

    # The precision matrix of (row, column); for a given row the columns are Gaussian about a line.
    sine, cosine = math.sin(radians), math.cos(radians)
    b = sine * cosine * (1 / down**2 - 1 / across**2)
    c = (sine / down) ** 2 + (cosine / across) ** 2
    spread_of_rows, narrow = math.sqrt(c) * down * across, min(down, across)
    nodes, weights = _quadrature(np.linspace(-0.5, 0.5, 1 + math.ceil(0.5 / narrow)))
    out = np.empty((len(rows), len(cols)))
    for i, row in enumerate(rows):
        y = row + nodes[:, None]
        edges = math.sqrt(c) * (np.append(cols - 0.5, cols[-1] + 0.5) + b / c * y)
        # Upper tails on the right, lower ones on the left: no difference of two numbers near 1.
        left = edges[:, :-1] + edges[:, 1:] < 0
        low, high = np.where(left, edges[:, :-1], -edges[:, 1:]), np.where(left, edges[:, 1:], -edges[:, :-1])
        shares = scipy.special.ndtr(high) - scipy.special.ndtr(low)
        out[i] = weights @ (np.exp(-0.5 * (y / spread_of_rows) ** 2) * shares)
    return out


def _quadrature(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gauss and Legendre's nodes and weights for integrals piece by piece, between `edges`."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    half, middle = np.diff(edges)[:, None] / 2, (edges[1:] + edges[:-1])[:, None] / 2
    return (middle + half * nodes).ravel(), (half * weights).ravel()


def radial_means(profile: Callable[[np.ndarray], np.ndarray], shape: tuple[int, int], scale: float) -> np.ndarray:
    """Means over pixels of a function of the distance from the centre, which near it varies over `scale` pixels."""
    # From the centre on pieces double; in other pixels what falls as a power of the distance is smooth.
    doubling = 0.5 * 0.5 ** np.arange(max(1, math.ceil(math.log2(1 / min(scale, 0.5)))), -1, -1.0)
    first, first_weights = _quadrature(np.concatenate([[0], doubling]))
    nodes, weights = _quadrature(np.linspace(-0.5, 0.5, 1 + min(max(1, math.ceil(1 / scale)), MOST_PIECES)))
    rows, cols = (size // 2 + 1 for size in shape)
    across = np.concatenate([first, (np.arange(1, cols)[:, None] + nodes).ravel()])
    quarter = np.empty((rows, cols))
    for i in range(rows):
        down, down_weights = (i + nodes, weights) if i else (first, 2 * first_weights)
        values = down_weights @ profile(np.hypot(down[:, None], across))
        quarter[i, 0] = 2 * first_weights @ values[: len(first)]
        quarter[i, 1:] = values[len(first) :].reshape(cols - 1, len(nodes)) @ weights
    return _mirrored(quarter, shape)


def moffat(shape: Any, fwhm: float, beta: float) -> np.ndarray:
    """Moffat's profile, ``(1 + (r / alpha)**2) ** -beta``: a star seen through the atmosphere.

    Parameters
    ----------
    shape : int or (int, int)
        Its size in pixels; what it has beyond is left out.
    fwhm : float
        Full width at half maximum in pixels, above 0: ``2 * alpha * sqrt(2 ** (1 / beta) - 1)``.
    beta : float
        How steeply its wings fall, above 1: 2.5 to 4.8 of the atmosphere, large ones of a Gaussian.

    Returns
    -------
    ndarray, float64, shape (rows, cols)
        The profile's means over pixels [1]_, scaled to sum to 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above.

    References
    ----------
    .. [1] A. F. J. Moffat, "A theoretical investigation of focal stellar images in the photographic emulsion and
       application to photographic photometry", Astronomy and Astrophysics 3, 1969.

    Examples
    --------
    >>> import fastdeblur as fd
    >>> fd.psf.moffat(9, fwhm=3, beta=2.5).shape
    (9, 9)
    """
    size = shape_of(shape)
    fwhm, beta = validation.real("fwhm", fwhm, "above 0"), validation.real("beta", beta, "above 0")
    if beta <= 1:
        raise ValueError(f"beta must be a finite number above 1; got {beta!r}")
    # (The least is as much of a delta as smaller ones, unless beta is within some percent of 1.)
    alpha = max(fwhm, 1e-15) / (2 * math.sqrt(math.expm1(math.log(2) / beta)))
    return normalise(radial_means(lambda r: np.exp(-beta * np.log1p((r / alpha) ** 2)), size, alpha))


def disk(radius: float) -> np.ndarray:
    """An evenly filled disk: a lens out of focus.

    Parameters
    ----------
    radius : float
        Radius in pixels, above 0 and at most about 4000.  Pixels at the rim count by the area that is covered.

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
    radius = validation.real("radius", radius, "above 0")
    if radius <= 0.5:
        return np.ones((1, 1))
    check_pixels("radius", radius, 2 * radius, 2 * radius)
    reach = math.ceil(radius - 0.5)
    size = 2 * reach + 1
    # The eighth of the pixels that are at least as far down as across, mirrored.
    far = (np.arange(reach + 1) + 0.5) ** 2
    near = np.maximum(np.arange(reach + 1) - 0.5, 0) ** 2
    quarter = (far[:, None] + far <= radius**2).astype(np.float64)
    rim = np.tril((near[:, None] + near < radius**2) & (quarter == 0))
    down, across = np.nonzero(rim)
    quarter[down, across] = quarter[across, down] = _area_in_circle(radius, down, across)
    return normalise(_mirrored(quarter, (size, size)))


def _area_in_circle(radius: float, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Areas that a circle about the origin shares with pixels of its rim, `down` at least `across`, both at least 0.

    A pixel is cut into what is left of the rim's crossing of the pixel's far edge, and of what is beyond, the trapezium
    below a chord and the segment between it and the rim: sums without cancellation, so exact to rounding.
    """

    def crossing(at: np.ndarray) -> np.ndarray:
        """How far the rim is from one axis where it is as far as `at` from the other."""
        return np.sqrt(np.maximum((radius - at) * (radius + at), 0))

    low, high = np.maximum(down - 0.5, 0), down + 0.5
    left, right = np.maximum(across - 0.5, 0), across + 0.5
    begin = np.clip(crossing(np.minimum(high, radius)), left, right)
    end = np.clip(crossing(np.minimum(low, radius)), left, right)
    heights = [np.clip(crossing(at) - low, 0, high - low) for at in (begin, end)]
    chord = np.hypot(end - begin, heights[0] - heights[1])
    angle = 2 * np.arcsin(np.minimum(chord / (2 * radius), 1))
    # angle - sin(angle), of which little would be left where the angle is small.
    square = angle**2
    series = angle * square / 6 * (1 - square / 20 * (1 - square / 42 * (1 - square / 72 * (1 - square / 110))))
    segment = 0.5 * radius**2 * np.where(angle < 0.5, series, angle - np.sin(angle))
    area = (high - low) * (begin - left) + (end - begin) * (heights[0] + heights[1]) / 2 + segment
    # Pixels on an axis are half beyond it.
    return np.asarray(area * np.where(down == 0, 2, 1) * np.where(across == 0, 2, 1))


def motion(length: float, angle: float) -> np.ndarray:
    """A straight line of even brightness: a camera or an object that moved.

    Parameters
    ----------
    length : float
        Length of the path in pixels, above 0; at most about 11000 at 45 degrees, and more along an axis.
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
    length = validation.real("length", length, "above 0")
    radians = math.radians(math.fmod(validation.real("angle", angle, "any"), 180))
    down, across = -math.sin(radians), math.cos(radians)
    far_down, far_across = (math.floor(abs(step) * length / 2 + 0.5) for step in (down, across))
    check_pixels("length", length, 2 * far_down + 1, 2 * far_across + 1)
    # One half of the line, cut where it goes from pixel to pixel; the other half is its mirror image.
    cuts = [(np.arange(far) + 0.5) / abs(step) for far, step in ((far_down, down), (far_across, across)) if far]
    along = np.sort(np.concatenate([[0.0], *cuts, [length / 2]]))
    along = along[along <= length / 2]
    middle, piece = (along[1:] + along[:-1]) / 2, np.diff(along)
    if not cuts:  # (a length may be too small to be halved)
        return np.ones((1, 1))
    true = piece > 1e-12 * length  # rather than an end's rounding
    i, j = (np.rint(middle[true] * step).astype(np.intp) for step in (down, across))
    reach_down, reach_across = int(np.abs(i).max()), int(np.abs(j).max())
    out = np.zeros((2 * reach_down + 1, 2 * reach_across + 1))
    np.add.at(out, (reach_down + i, reach_across + j), piece[true])
    return normalise(out + out[::-1, ::-1])


def airy(radius: float, shape: Any, obscuration: float = 0.0, *, integrated: bool = False) -> np.ndarray:
    """The image of a point through a round aperture, ``(2 J1(v) / v)**2``, or through a ring.

    Parameters
    ----------
    radius : float
        Distance from the centre to the first dark ring in pixels, above 0.  For a telescope or
        microscope it is ``1.22 * wavelength * f_number / pixel_pitch``.
    shape : int or (int, int)
        Size of the psf in pixels; some rings should fit.
    obscuration : float
        The diameter of what is dark in the middle of the aperture, such as a telescope's secondary mirror, in shares of
        the aperture's: at least 0, below 1.  `radius` stays what it is without.
    integrated : bool
        Whether a pixel's value is the mean over its area, as a sensor sees it, rather than that at its centre.

    Returns
    -------
    ndarray, float64, shape (rows, cols)
        The intensity [1]_, scaled to sum to 1.

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

    radius = validation.real("radius", radius, "above 0")
    obscuration = check_obscuration(obscuration)
    rows, cols = shape_of(shape)
    zero = scipy.special.jn_zeros(1, 1)[0]

    def intensity(v: np.ndarray) -> np.ndarray:
        v = np.clip(v, 1e-100, 1e100)  # where the limits are reached, and J1 still is a number
        amplitude = 2 * scipy.special.j1(v) / v
        if obscuration > 0:
            inner = np.maximum(obscuration * v, 1e-100)
            amplitude = amplitude - obscuration**2 * (2 * scipy.special.j1(inner) / inner)
        return np.asarray(amplitude**2)

    if integrated:
        scale = max(radius, 1 / MOST_PIECES)  # (smaller disks are in one pixel, but for some percent of rings)
        return normalise(radial_means(lambda r: intensity(r * (zero / scale)), (rows, cols), scale))
    with np.errstate(over="ignore"):  # a tiny radius gives a delta
        v = np.hypot(*np.ogrid[: rows // 2 + 1, : cols // 2 + 1]) / radius * zero
    return normalise(_mirrored(intensity(v), (rows, cols)))


def check_obscuration(value: Any) -> float:
    """A share of an aperture's diameter, at least 0 and below 1."""
    share = validation.real("obscuration", value, "at least 0")
    if share >= 1:
        raise ValueError(f"obscuration must be at least 0 and below 1; got {share!r}")
    return share
