"""Psf from a slanted edge (ISO 12233): edge spread, line spread, MTF, and the Gaussian, disk or Airy psf that fits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import validation
from . import builders

# Samples of the edge spread in a pixel, and the least rows and columns of a region.
SAMPLES, LEAST_SIDE = 4, 10
# The edge has to go over at least so many pixels sideways, or all rows would sample it alike.
LEAST_DRIFT = 1.0
# A step of less than so many standard deviations of the noise is none.
LEAST_STEP = 3.0
# Rounds in which the line is fitted to the edge spread, and the edge spread to the line.
ROUNDS = 4
# Of what a family's edge spread leaves of the measured one, components below so many standard deviations are noise.
LEAST_COMPONENT = 3.0
# Largest frequency, in cycles a pixel, from which edge spreads are computed.
HIGHEST = 3.0


@dataclass(frozen=True, eq=False, repr=False)
class EdgeFit:
    """What `from_edge` returns.

    Attributes
    ----------
    psf : ndarray, shape (size, size)
        The psf of `family` that fits best, the pixels' own blur included; sums to 1.
    family : {"gaussian", "disk", "airy"}
        The family whose edge spread is nearest to the measured one.
    parameters : dict
        Of each family: sigma, radius, or radius of the first dark ring, in pixels, without the pixels' own blur.
    errors : dict
        Of each family: the parameter's standard error, as far as noise makes it.
    residuals : dict
        Of each family: root mean square of what it leaves of the edge spread, whose step is 1.
    distances : ndarray
        From the edge in pixels, across it.
    esf : ndarray
        The edge spread there, from 0 to 1.
    lsf : ndarray
        The line spread, its derivative.
    frequencies : ndarray
        Cycles a pixel across the edge, from 0 to 1.
    mtf : ndarray
        The modulation transfer function there, of lens and pixels: that of the family that fits best, and of what it
        leaves of the edge spread as far as that is more than noise.
    mtf50 : float
        The frequency at which the MTF falls below one half.
    angle : float
        Direction of the edge in degrees, anticlockwise from the rightward horizontal, from 0 to 180.

    Examples
    --------
    >>> import numpy as np, fastdeblur as fd
    >>> row, col = np.mgrid[:60, :60]
    >>> edge = fd.convolve((col > 30 + 0.1 * (row - 30)) + 1.0, fd.psf.disk(4), boundary="nearest")
    >>> fd.psf.from_edge(edge).family
    'disk'
    """

    psf: np.ndarray
    family: str
    parameters: dict[str, float]
    errors: dict[str, float]
    residuals: dict[str, float]
    distances: np.ndarray
    esf: np.ndarray
    lsf: np.ndarray
    frequencies: np.ndarray
    mtf: np.ndarray
    mtf50: float
    angle: float

    def __repr__(self) -> str:
        return (
            f"<EdgeFit: {self.family} {self.parameters[self.family]:.3g} px, MTF50 {self.mtf50:.3g} cycles/px, "
            f"edge at {self.angle:.1f} degrees>"
        )


def from_edge(image: Any, region: Any = None) -> EdgeFit:
    """The psf of an image, from a straight edge in it that is slanted a little.

    The pixels' distances from the edge sample its profile, the edge spread, more finely than pixels do [1]_.

    Parameters
    ----------
    image : array_like, shape (rows, cols)
        In linear light; NaN pixels are ignored.
    region : (row, col, rows, cols) or None
        The part of the image with the edge and little else: its first row and column, and how many of them, at least
        10 each.  None is the whole image.

    Returns
    -------
    EdgeFit
        Edge spread, line spread, MTF, MTF50, and the psf of each family that fits.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above, if there is no edge in the region, or if it is
        so nearly along rows or columns that all of them sample it alike.

    See Also
    --------
    from_points : from stars or beads.

    Notes
    -----
    An edge tells of the psf only what is across it: if that is not the same in all directions, take one for each.
    The window of the line spread is flat where the edge is, not Hamming's, which would make wide ones narrower.

    References
    ----------
    .. [1] ISO 12233, Photography: electronic still picture imaging: resolution and spatial frequency responses.

    Examples
    --------
    >>> import numpy as np, fastdeblur as fd
    >>> row, col = np.mgrid[:60, :60]
    >>> sharp = (col > 30 + 0.1 * (row - 30)) + 1.0
    >>> edge = fd.convolve(sharp, fd.psf.gaussian(21, 2.0), boundary="nearest")
    >>> found = fd.psf.from_edge(edge)
    >>> found.family, round(found.mtf50, 2)
    ('gaussian', 0.09)
    """
    array = validation.pixels("image", image, 2)
    missing = np.isnan(array)
    validation.finite("image", np.where(missing, 0, array))
    part, corner = _cut(array, region)
    values = part.astype(np.float64)
    valid = ~np.isnan(values)
    if valid.mean() < 0.5:
        raise ValueError(f"image must have most pixels of the region; {100 * (~valid).mean():.0f} % of them are nan")
    low, high = np.min(values[valid]), np.max(values[valid])
    unit = max(abs(low), abs(high))
    values = values / unit if unit else values
    flipped = _across_rows(values, valid)
    if flipped:
        values, valid = values.T, valid.T
    line = _line(values, valid, corner)
    if abs(line[1]) * (len(values) - 1) < LEAST_DRIFT:
        raise ValueError(
            f"image must have an edge that is slanted against rows and columns; it drifts by "
            f"{abs(line[1]) * (len(values) - 1):.2g} pixels over {len(values)}, at least {LEAST_DRIFT:g} is needed "
            "(turn the target by some 5 degrees, or take a longer region)"
        )
    return _measured(values, valid, line, flipped)


def _cut(array: np.ndarray, region: Any) -> tuple[np.ndarray, tuple[int, int]]:
    """The region's pixels, and its first row and column."""
    if region is None:
        region = (0, 0, *array.shape)
    numbers = tuple(region) if np.ndim(region) == 1 else ()
    if len(numbers) != 4:
        raise ValueError(f"region must be four numbers, (row, col, rows, cols); got {region!r}")
    row, col = (validation.integer("region", number, 0) for number in numbers[:2])
    rows, cols = (validation.integer("region", number, 1) for number in numbers[2:])
    if row + rows > array.shape[0] or col + cols > array.shape[1]:
        raise ValueError(f"region must be in the image, whose shape is {array.shape}; got {(row, col, rows, cols)}")
    if min(rows, cols) < LEAST_SIDE:
        raise ValueError(f"region must have at least {LEAST_SIDE} rows and columns; got {(row, col, rows, cols)}")
    return array[row : row + rows, col : col + cols], (row, col)


def _across_rows(values: np.ndarray, valid: np.ndarray) -> bool:
    """Whether values change more from row to row than from column to column, between ends of the region."""
    filled = np.where(valid, values, np.median(values[valid]))
    strips = [max(size // 5, 2) for size in filled.shape]
    down = np.abs(filled[: strips[0]].mean(axis=0) - filled[-strips[0] :].mean(axis=0)).mean()
    across = np.abs(filled[:, : strips[1]].mean(axis=1) - filled[:, -strips[1] :].mean(axis=1)).mean()
    return bool(down > across)


def _line(values: np.ndarray, valid: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
    """Column of the edge in the middle row, and its change from row to row: from the area on one side, row by row."""
    rows, cols = values.shape
    width = max(cols // 5, 2)
    filled = np.where(valid, values, np.nan)
    left, right = np.nanmedian(filled[:, :width]), np.nanmedian(filled[:, -width:])
    noise = (
        1.4826 * np.nanmedian(np.abs(np.diff(filled, axis=1) - np.nanmedian(np.diff(filled, axis=1)))) / math.sqrt(2)
    )
    step = right - left
    if not abs(step) > max(LEAST_STEP * noise / math.sqrt(width), 1e-6):
        raise ValueError(
            f"image must have an edge in the region at {corner}: its ends differ by {abs(step):.3g} of the largest "
            f"value, and the noise is {noise:.3g} (choose a region with one edge through the middle)"
        )
    # As many columns are left of the edge as values are nearer to those at the left.
    shares = np.clip((filled - left) / step, -0.5, 1.5)
    places = cols - 0.5 - np.nanmean(shares, axis=1) * cols
    at = np.arange(rows) - (rows - 1) / 2
    good = np.isfinite(places)
    line = np.zeros(2)
    for _ in range(4):
        line = np.polynomial.polynomial.polyfit(at[good], places[good], 1)
        left_over = np.abs(places - line[0] - line[1] * at)
        good = np.isfinite(places) & (left_over <= 3 * np.nanmedian(left_over) + 1e-9)
    if not 1 <= line[0] <= cols - 2:
        raise ValueError(
            f"image must have an edge through the region's middle, at {corner}; it was taken to be at column "
            f"{line[0]:.1f} of {cols} (choose a region with one edge)"
        )
    return np.asarray(line)


def _measured(values: np.ndarray, valid: np.ndarray, line: np.ndarray, flipped: bool) -> EdgeFit:
    """Edge spread and all that follows from it."""
    import scipy.ndimage  # not for everyone who imports fastdeblur

    rows, cols = values.shape
    at = (np.arange(rows) - (rows - 1) / 2)[:, None]
    for round_ in range(ROUNDS + 1):
        cosine = 1 / math.hypot(1, line[1])
        away = (np.arange(cols) - line[0] - line[1] * at) * cosine
        reach = min(-away[:, 0].max(), away[:, -1].min())
        if reach < 4:
            raise ValueError(
                f"region must reach 4 pixels beyond the edge on either side, all along it; it reaches {reach:.1f}"
            )
        bins = np.floor((away + reach) * SAMPLES).astype(int)
        inside = valid & (bins >= 0) & (bins < int(2 * reach * SAMPLES))
        count = np.bincount(bins[inside])
        sums = np.bincount(bins[inside], values[inside])
        middle = np.bincount(bins[inside], away[inside])
        some = count > 0
        distances = (np.arange(len(count)) + 0.5) / SAMPLES - reach
        # Values at the bins' middles, from those at the mean distances of their pixels.
        esf = np.interp(distances, middle[some] / count[some], sums[some] / count[some])
        if round_ == ROUNDS:
            break
        slope = np.gradient(scipy.ndimage.gaussian_filter1d(esf, SAMPLES / 2, mode="nearest"), 1 / SAMPLES)
        left = (values - np.interp(away, distances, esf))[inside]
        steep = np.interp(away, distances, slope)[inside] * cosine
        design = np.stack([steep, steep * np.broadcast_to(at, values.shape)[inside]], axis=1)
        # (An edge further right lowers the distances: the residual is the slope times the way, negative.)
        line = line - np.linalg.lstsq(design, left, rcond=None)[0]
    noise = math.sqrt(float(np.mean(left**2)))
    strip = max(len(esf) // 10, 2)
    low, high = float(esf[:strip].mean()), float(esf[-strip:].mean())
    esf, noise = (esf - low) / (high - low), noise / abs(high - low)
    slope_angle = math.degrees(math.atan2(line[1], 1.0))
    angle = (90 + slope_angle) % 180 if not flipped else (-slope_angle) % 180
    parameters, errors, residuals, left_over = {}, {}, {}, {}
    pixel = _pixel(frequencies_of(distances), line[1])
    for family in FAMILIES:
        parameters[family], errors[family], left_over[family] = _fit(
            family, distances, esf, np.maximum(count, 1), pixel, noise
        )
        residuals[family] = math.sqrt(float(np.mean(left_over[family] ** 2)))
    best = min(residuals, key=lambda family: residuals[family])
    lsf = np.gradient(esf, distances)
    # (At 3 % noise, MTF50s of the edge spread itself are 3 % off, of this one below 1 %.)
    smooth = esf - _noise_of(left_over[best] / np.sqrt(np.maximum(count, 1) / count.mean()), count, noise)
    frequencies, mtf = _transfer(distances, smooth)
    below = np.flatnonzero(mtf < 0.5)
    mtf50 = math.nan
    if below.size:
        k = int(below[0])
        mtf50 = float(np.interp(0.5, [mtf[k], mtf[k - 1]], [frequencies[k], frequencies[k - 1]]))
    return EdgeFit(
        _psf(best, parameters[best]), best, parameters, errors, residuals, distances, esf, lsf, frequencies, mtf, mtf50,
        angle,
    )  # fmt: skip


def _noise_of(left: np.ndarray, count: np.ndarray, noise: float) -> np.ndarray:
    """What of a family's residuals over distances is no more than noise, by cosine coefficients."""
    import scipy.fft  # not for everyone who imports fastdeblur

    coefficients = scipy.fft.dct(left, norm="ortho")
    variance = noise**2 * float(np.mean(1 / np.maximum(count, 1)))
    shares = np.minimum(LEAST_COMPONENT**2 * variance / np.maximum(coefficients**2, 1e-300), 1)
    return np.asarray(scipy.fft.idct(shares * coefficients, norm="ortho"))


def _transfer(distances: np.ndarray, esf: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies and MTF."""
    lsf = np.gradient(esf, distances)
    spread = np.cumsum(np.maximum(lsf, 0))
    spread /= spread[-1]
    begin, end = (distances[np.searchsorted(spread, share)] for share in (0.1, 0.9))
    # Flat where the edge is, then a cosine down to 0: beyond there is only noise.
    middle, flat = (begin + end) / 2, 1.25 * max(end - begin, 1.0)
    edge = max(min(middle - distances[0], distances[-1] - middle, 2 * flat), 1.0)
    flat = min(flat, 0.8 * edge)
    away = np.clip((np.abs(distances - middle) - flat) / (edge - flat), 0, 1)
    windowed = lsf * 0.5 * (1 + np.cos(np.pi * away))
    frequencies = np.linspace(0, 1, 257)
    phases = np.exp(-2j * np.pi * np.outer(frequencies, distances))
    mtf = np.abs(phases @ windowed)
    # Means over bins, and differences of neighbours but one, lower high frequencies.
    mtf /= np.sinc(frequencies / SAMPLES) * np.sinc(2 * frequencies / SAMPLES)
    return frequencies, mtf / mtf[0]


def frequencies_of(distances: np.ndarray) -> np.ndarray:
    """Frequencies that edge spreads over such distances are made of."""
    step = 1 / (3 * float(distances[-1] - distances[0]))
    return (np.arange(int(HIGHEST / step)) + 0.5) * step


def _pixel(frequencies: np.ndarray, slope: float) -> np.ndarray:
    """The transfer function of a square pixel and of a bin, across an edge of this slope."""
    cosine, sine = 1 / math.hypot(1, slope), slope / math.hypot(1, slope)
    return np.asarray(np.sinc(frequencies * cosine) * np.sinc(frequencies * sine) * np.sinc(frequencies / SAMPLES))


def _gaussian(sigma: float, frequencies: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-2 * (np.pi * sigma * frequencies) ** 2))


def _disk(radius: float, frequencies: np.ndarray) -> np.ndarray:
    import scipy.special  # not for everyone who imports fastdeblur

    v = 2 * np.pi * radius * frequencies
    return np.asarray(2 * scipy.special.j1(v) / v)


def _airy(radius: float, frequencies: np.ndarray) -> np.ndarray:
    s = np.minimum(frequencies * radius / 1.2196698912665045, 1)  # the first zero of J1 over pi
    return np.asarray(2 / np.pi * (np.arccos(s) - s * np.sqrt(1 - s * s)))


# Transfer functions of a parameter; and what the parameter is in standard deviations of an edge, about.
FAMILIES: dict[str, tuple[Callable[[float, np.ndarray], np.ndarray], float]] = {
    "gaussian": (_gaussian, 1.0), "disk": (_disk, 2.0), "airy": (_airy, 2.9),
}  # fmt: skip


def _fit(
    family: str, distances: np.ndarray, esf: np.ndarray, count: np.ndarray, pixel: np.ndarray, noise: float
) -> tuple[float, float, np.ndarray]:
    """A family's parameter, its standard error and the residuals, weighted, by least squares."""
    import scipy.optimize  # not for everyone who imports fastdeblur

    transfer, scale = FAMILIES[family]
    frequencies = frequencies_of(distances)
    step = frequencies[1] - frequencies[0]
    root = np.sqrt(count / count.mean())
    spread = np.gradient(esf, distances)
    begin, end = (distances[np.searchsorted(np.maximum.accumulate(esf), share)] for share in (0.159, 0.841))
    sigma = max((end - begin) / 2, 0.2)
    middle = float(np.clip(distances @ spread / spread.sum(), distances[0] / 2, distances[-1] / 2))

    def left(unknowns: np.ndarray) -> np.ndarray:
        offset, parameter = unknowns[0], math.exp(unknowns[1])
        sines = np.sin(2 * np.pi * np.outer(distances - offset, frequencies)) / (np.pi * frequencies)
        shape = 0.5 + sines @ (pixel * transfer(parameter, frequencies)) * step
        design = np.stack([np.ones_like(shape), shape], axis=1) * root[:, None]
        levels = np.linalg.lstsq(design, esf * root, rcond=None)[0]
        return np.asarray(esf * root - design @ levels)

    starts = [np.array([middle, math.log(scale * sigma * times)]) for times in (1.0, 0.6)]
    bounds = ([distances[0], math.log(0.02)], [distances[-1], math.log(4 * (distances[-1] - distances[0]))])
    found = min(
        (scipy.optimize.least_squares(left, start, bounds=bounds, x_scale=[0.1, 0.1]) for start in starts),
        key=lambda each: each.cost,
    )
    parameter = math.exp(found.x[1])
    inverse = np.linalg.pinv(found.jac.T @ found.jac)
    error = parameter * math.sqrt(inverse[1, 1] / float(count.mean())) * noise
    return parameter, error, found.fun


def _psf(family: str, parameter: float) -> np.ndarray:
    """A family's psf, area-integrated over pixels, large enough to hold it."""
    if family == "disk":
        return builders.disk(parameter)
    size = 2 * math.ceil((4 if family == "gaussian" else 5) * parameter + 0.5) + 1
    if family == "gaussian":
        return builders.gaussian(size, parameter, integrated=True)
    return builders.airy(parameter, size, integrated=True)
