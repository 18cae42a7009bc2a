"""Power spectra of signal and noise, fitted to an image whose blur is known.

A window of the image has at the frequency q (in radians a pixel) about the power ``|h(q)|² S(q) + N(q)``.
Photographs have smooth spectra: ``log S`` is nearly a line in log q.  Noise has more power at low frequencies
than at high ones, if not the same at all: that of a sensor after demosaicking, smoothing, enlarging or JPEG, and
what an error of the psf leaves.  Both are fitted together by maximum likelihood [1]_.  Where the blur passes
nothing the noise shows, where it passes all the signal; and the blur falls faster than both.

References
----------
.. [1] P. Whittle, "Estimation and information in stationary time series", Arkiv för Matematik 2, 1953.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable

import numpy as np

from ..kernels.runtime.arrays import beside, module_of, on_host
from .blocks import error_level, step_between_blocks
from .windows import (
    KEPT,
    LEAST,
    Windowed,
    kept_for_psf,
    laplacian,
    log_radius,
    parts_of_large,
    psf_power,
    times,
    windowed_power,
)

# Classes of frequencies with about the same ratio of |h|² to the Laplacian.
RATIOS = 600
# Classes of frequencies: rings of radii from LEAST radians a pixel on, and in each STEPS of |h|², half a decade each.
RINGS, STEPS = 48, 16
RING = math.log(math.sqrt(2) * math.pi / LEAST * 1.001) / RINGS
CLASSES = RINGS * STEPS
# Ridges tried, for a psf whose sum is 1.
RIDGES = np.exp(np.linspace(np.log(1e-8), np.log(50.0), 300))
# Least noise to reckon with, in shares of the image's range: an image of 8 bits has 1e-3.
LEAST_NOISE = 3e-4

# The model.  The noise's logarithm is linear in log q between KNOTS; log S is a parabola.
KNOTS = np.log([0.3, 0.6, 1.0, 1.4, 1.8, 2.3, 3.0, 4.44])
# The parabola's terms are counted from there.
CENTRE = math.log(0.5)
# What is expected of the parabola's slope and curvature, and how surely (natural images have slopes of about -2).
# (With a curvature less sure by half white noise loses less, but two of 252 images with noise of files become worse
# than the blurred ones, by 0.5 and 1.4 dB.)
SLOPE, CURVATURE = (-2.6, 0.6), (0.25, 0.2)
# The slope of images of points, whose spectra are the flatter the sharper the points.  (Stars blurred by a Gaussian of
# 1.3 pixels were taken for noise, eleven times what there was.)
SLOPE_OF_POINTS = (-1.0, 1.0)
# How unlike the signal may be in directions that the blur passes and in those that it does not: its logarithm changes
# by about TILT for each decade of |h|² in a ring, down to LEAST_PASSED of it.  (After motion edges are often in one of
# the two; what they lacked, or had too much, was taken for noise.)
TILT, LEAST_PASSED = 0.1, 1e-3
# By how much spectra differ from such a model whatever the number of frequencies.
MISFIT = 0.3
# Frequencies from here on are the noise's alone: radians a pixel.
FINE = math.log(1.4)
# From knot to knot the noise's logarithm changes by about FLAT where the blur passes (there noise cannot be told
# from signal), and by LOOSE more for each decade that |h|² is below DARK.  It hardly rises.
FLAT, LOOSE, DARK, RISE = 0.1, 0.25, 10**-1.5, 0.1
# Where it falls, it has fallen by FALL as much from the knot before: smoothed noise falls gradually.
FALL = 0.5
# An image that was enlarged has from some frequency on less than LACK of what is expected of its signal, or than STEEP
# of as many times more as there is at frequencies below, from COARSE on.  No noise shows there; from REACH knots before
# on, the noise's logarithm may change by FREE more from knot to knot.
LACK, STEEP, COARSE, CORNERS, REACH, FREE = 0.1, 0.03, math.log(0.5), math.log(3.0), 2, 1.0
# For priors that keep edges the noise below FINE counts up to exp(MOST_COARSE) times what it is there: what is more is
# the error of a psf, which is where the image is and no reason for more smoothing.  (Sixteen photographs of a
# shaken camera lose 0.12 and 0.23 dB to the best weight of tv and sparse with it, 0.47 and 0.45 without; 108 of six
# development photographs with noise that is not white 0.11 and 0.09, 0.13 and 0.13 without.)
MOST_COARSE = 0.5
# Width of the rings in which that is looked for, in the logarithm of the radius; and to how little it must have dropped
# in how many of them.
RING_WIDTH, DROP, DROP_RINGS = 0.1, 0.2, 4
# A fit that finds no noise beyond LEAST_NOISE, or SLIGHTLY more in the logarithm, and a curvature that is UNLIKELY, as
# many standard deviations below the expected one, may have taken noise for signal.  What counts then is the likelier of
# it and of the one from as much noise as there can be.  (An image of a cell, 512 x 512, enlarged, became 8 dB worse
# than the blurred one.)
SLIGHTLY, UNLIKELY = 0.5, 2.0
# The noise that ridges are chosen for is more than the likeliest by ``exp(CAUTION variance)``, of its logarithm's
# posterior variance, at most MOST_UNSURE: too little regularisation costs more than too much.
CAUTION, MOST_UNSURE = 1.0, 4.0
# Where the parabola is off, the power seen says so, in pairs of rings: as much as SURELY frequencies that are signal's
# say that it is not, and those of a class no more than MOST_OF_CLASS of them.
SURELY, MOST_OF_CLASS = 20.0, 100.0
# Where cross-validation, which knows of no model, finds a smaller ridge, it is nearer to that by VALIDATED of the
# difference of the logarithms, of which NEAR at most counts.
VALIDATED, NEAR = 0.33, math.log(2)
# Both count less where the noise's logarithm differs by more than ALIKE between frequencies, and not at all by twice
# that: where noise is not white, what seems to be signal may be noise.
ALIKE = 0.5

# An image of points has its contrast in less than this share of its pixels (see `contrast_share`).
SPARSE_SHARE = 0.21


class Periodogram:
    """The image's power in classes of frequencies that a ridge treats alike.

    Attributes
    ----------
    ratio, count, power : ndarray
        Of each class: h / l, how many frequencies, and the sum of their powers.
    """

    def __init__(self, planes: np.ndarray, psfs: list[np.ndarray]):
        windowed = Windowed(planes, psfs)
        xp, self.scale = module_of(planes), windowed.scale
        count, power, ratio = np.zeros((3, RATIOS))
        for psf, of_psf in zip(psfs, windowed.power, strict=True):
            response = psf_power(psf, planes.shape[1:], planes, windowed.scale)
            log = xp.log(response / xp.maximum(windowed.laplacian, 1e-30) + 1e-12)
            index = xp.clip((log + 28) * (RATIOS / 60), 0, RATIOS - 1).astype(np.intp).ravel()
            sums = _sums_of_classes(index, [windowed.times, windowed.times * of_psf, windowed.times * log], RATIOS)
            count, power, ratio = count + sums[0], power + sums[1], ratio + sums[2]
        some = count > 0
        self.count = count[some] / len(psfs)
        self.power = power[some] / len(planes)
        self.ratio = np.exp(ratio[some] / count[some])

    def squares(self, ridges: np.ndarray = RIDGES) -> np.ndarray:
        """Squares of the norms ‖residual‖ and ‖Dx‖ of the solutions for `ridges`."""
        part = self.left(ridges)
        residual, rough = ((shares * self.power).sum(axis=1) for shares in (part**2, part * (1 - part)))
        return np.array([residual, rough / ridges])

    def left(self, ridges: np.ndarray = RIDGES) -> np.ndarray:
        """What each of `ridges` leaves of the frequencies of each class."""
        shares: np.ndarray = ridges[:, None] / (ridges[:, None] + self.ratio)
        return shares


class Spectra:
    """Signal and noise of an image by frequency.

    All arrays are of classes of frequencies with about the same radius and the same |h|².

    Attributes
    ----------
    count, radius, power, response, laplacian : ndarray
        Of each class: how many frequencies, and their means; the power is that of a channel.
    signal, noise : ndarray
        The fitted spectra: ``power`` is about ``response signal + noise``.  Where the image was compressed by blocks,
        the noise is at least those errors (see `blocks`).
    cautious : ndarray
        `noise`, and more of it where it is not known well.
    level : float
        Standard deviation of the noise, without what it has more at frequencies below FINE: an error of the psf adds
        to those.
    scale : float
        What |psf|² was divided by.
    """

    def __init__(self, planes: np.ndarray, psfs: list[np.ndarray], range_: float, filled: bool = False):
        """Of planes whose values are in this range.

        What fills missing pixels, if some are `filled`, has errors of low frequencies, which are not taken for noise.
        """
        parts = planes if filled else parts_of_large(planes, psfs)
        windowed = Windowed(parts, psfs)
        self._filled = filled
        self.scale = windowed.scale
        sums = np.zeros((6, CLASSES))
        for psf, power in zip(psfs, windowed.power, strict=True):
            index, of_psf = _classes(psf, parts.shape[1:], planes, self.scale)
            sums[:-1] += of_psf
            power *= windowed.times
            sums[-1] += _sums_of_classes(index, [power], CLASSES)[0]
        some = sums[0] > 0
        means = sums[1:, some] / sums[0, some]
        self.count = sums[0, some] * (len(parts) / (len(planes) * len(psfs)))
        self.radius, self.response, self.laplacian, leaked, self.power = means
        self.power *= len(psfs) / len(parts)
        self._leaked = leaked  # |h|² as the window shows it
        self.signal, self.noise, self.level = np.zeros_like(self.power), np.zeros_like(self.power), 0.0
        self.cautious, self._fit, self._range = self.noise, np.zeros(3 + len(KNOTS)), 0.0
        self._coded = 0.0
        if self.power.sum() > 0:
            self._range = range_
            slope = SLOPE_OF_POINTS if contrast_share(planes) < SPARSE_SHARE else SLOPE
            response = np.maximum(leaked, 1e-12)
            fitted, unsure, tilt = _fitted(self.count, self.radius, self.power / range_**2, response, slope)
            self._fit = fitted
            self.signal, self.noise = self.signal_at(self.radius), self.noise_at(self.radius)
            self.signal *= np.exp(tilt)
            self.cautious = self.noise * np.exp(CAUTION * np.minimum(unsure, MOST_UNSURE))
            passed = self.response * self.signal
            step = step_between_blocks(planes)
            if step > (LEAST_NOISE * range_) ** 2:
                self._coded = error_level(step, passed, np.exp(self.radius), self.count)
            errors = self.errors_of(passed)
            self.noise, self.cautious = np.maximum(self.noise, errors), np.maximum(self.cautious, errors)
            fine = self.noise_at(np.maximum(self.radius, FINE))
            self.level = math.sqrt(np.average(fine, weights=self.count))

    def signal_at(self, radius: np.ndarray) -> np.ndarray:
        """The signal's spectrum at logarithms of radii."""
        level, slope, curvature = self._fit[:3].tolist()
        centred = radius - CENTRE
        return self._of_logarithms(level + centred * (slope - curvature * centred))

    def noise_at(self, radius: np.ndarray) -> np.ndarray:
        """The noise's spectrum at logarithms of radii, without errors of compression."""
        radius = np.maximum(radius, FINE) if self._filled else radius
        return self._of_logarithms(np.interp(radius, KNOTS, self._fit[3:]))

    @property
    def compressed(self) -> bool:
        """Whether the image shows the steps of compression by blocks."""
        return self._coded > 0

    def errors_of(self, passed: np.ndarray) -> np.ndarray:
        """The spectrum of errors of compression, where the blurred signal's is `passed`."""
        return np.asarray(np.minimum(passed, self._coded)) if module_of(passed) is np else passed.clip(max=self._coded)

    def wiener(self, radius: np.ndarray, response: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of frequencies with these logarithms of radii and |h|²: the signal's spectrum, and what is known of it.

        The latter is the share of a frequency that is signal's, as Wiener's filter takes it.
        """
        signal = self.signal_at(radius)
        passed = response * signal
        noise = np.maximum(self.noise_at(radius), self.errors_of(passed))
        return signal, passed / (passed + noise)

    def _of_logarithms(self, values: np.ndarray) -> np.ndarray:
        np.exp(values.clip(-80, 80, out=values), out=values)
        values *= self._range**2
        return values

    def ridge(self, noisier: float = 1.0) -> float:
        """The ridge whose solution is expected to be nearest to the sharp image, for a psf whose sum is 1.

        `noisier` is by how much more noise there was than has been seen.
        """
        passed = self._passed()
        # Where there is more signal than noise it is known better than from the model; but what the window shows where
        # the blur passes next to nothing is what leaks there.  (Taken for signal, it cost up to 2 dB after motions.)
        measured = np.maximum(self.power - self.noise, 0) / np.maximum(self._leaked, 1e-12)
        white = self._whiteness()
        known = passed ** (2 - white)
        signal = known * measured + (1 - known) * self.signal * self._off(passed) ** white
        rough = RIDGES[:, None] * self.laplacian
        psf_power = rough + self.response
        left, gain = np.divide(rough, psf_power, out=rough), np.divide(1.0, psf_power, out=psf_power)
        left_power, gain_power = left**2, np.square(gain, out=gain)
        bias = np.einsum("rc,c->r", left_power, self.count * signal)
        variance = np.einsum("rc,c->r", gain_power, self.count * self.response * self.cautious)
        risks = bias + variance, bias + noisier * variance
        as_seen, best = (math.log(RIDGES[np.argmin(risk)]) for risk in risks)
        if white > 0:
            best -= white * VALIDATED * min(max(as_seen - self._cross_validated(left, left_power), 0), NEAR)
        return math.exp(best)

    def _passed(self) -> np.ndarray:
        """The share of each class's power that is signal."""
        signal = self.response * self.signal
        passed: np.ndarray = signal / (signal + self.noise)
        return passed

    def _whiteness(self) -> float:
        """How far noise is known to be white, from 0 to 1."""
        most = float(self.noise.max())
        if not most > 0 < self.level:
            return 0.0
        return min(max(2 - math.log(most / self.level**2) / ALIKE, 0.0), 1.0)

    def _off(self, passed: np.ndarray) -> np.ndarray:
        """By how much there is more signal in each class's pair of rings than the parabola says."""
        ring = ((self.radius - math.log(LEAST)) / (2 * RING)).astype(int)
        sure = self.count / (1 + self.count / MOST_OF_CLASS) * passed**2
        more_than_noise = np.maximum(self.power - self.noise, 0)
        # (A quotient of next to nothing would be infinite.)
        seen = more_than_noise / np.maximum(self.response * self.signal, np.maximum(1e-9 * more_than_noise, 1e-300))
        more = (np.bincount(ring, sure * seen) + SURELY) / (np.bincount(ring, sure) + SURELY)
        of_classes: np.ndarray = more[ring]
        return of_classes

    def _cross_validated(self, left: np.ndarray, left_power: np.ndarray) -> float:
        """The logarithm of the ridge of generalised cross-validation, of the power over the noise's."""
        power = self.count * self.power / np.maximum(self.noise, self.level**2)
        residual, unused = np.einsum("rc,c->r", left_power, power), np.einsum("rc,c->r", left, self.count)
        return math.log(RIDGES[np.argmin(residual / np.maximum(unused / self.count.sum(), 1e-9) ** 2)])

    def slope(self) -> float:
        """The root of the mean square of the signal's differences, but of what noise hides, for a psf of sum 1."""
        squares = np.average(self.laplacian * self.signal * self._passed(), weights=self.count)
        return math.sqrt(float(squares))

    def slope_of_solution(self, ridge: float) -> float:
        """The root of the mean square of the differences of a ridge's solution."""
        squares = self.laplacian * self.response * self.power / (self.response + ridge * self.laplacian) ** 2
        return math.sqrt(float(np.average(squares, weights=self.count)))

    def amplified(self, ridge: float) -> float:
        """The variance of the white noise of which as much is left in a ridge's solution as of this noise.

        But of what it has more at frequencies below FINE by more than MOST_COARSE.
        """
        gain = self.count * self.response / (self.response + ridge * self.laplacian) ** 2
        total = float(gain.sum())  # a psf of differences passes nothing of an image of one pixel
        most = math.exp(MOST_COARSE) * self.noise_at(np.array([FINE]))
        noise = np.maximum(np.minimum(self.noise, most), self.errors_of(self.response * self.signal))
        return float((gain * noise).sum()) / total if total > 0 else 0.0


@kept_for_psf
def _classes(psf: np.ndarray, shape: tuple[int, int], like: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The class of each frequency.  Of each class, how many it has, and their sums of what no image changes.

    The latter are radius, |h|² over `scale`, Laplacian and |h|² as the window shows it.
    """
    xp, response = module_of(like), psf_power(psf, shape, like, scale)
    radius, of_times = beside(log_radius(*shape), like), beside(times(*shape), like)
    ring = radius - math.log(LEAST)
    ring /= RING
    ring = xp.clip(ring, 0, RINGS - 1, out=ring).astype(np.intp)
    ring *= STEPS
    product = xp.log10(response + 1e-12)
    product *= -2
    index = xp.clip(product, 0, STEPS - 1, out=product).astype(np.intp)
    index += ring
    index = index.ravel()
    values = (1.0, radius, response, beside(laplacian(*shape), like), windowed_power(response, shape[1]))
    products = (xp.multiply(of_times, value, out=product) for value in values)
    return index, np.array(_sums_of_classes(index, products, CLASSES))


def _fitted(
    count: np.ndarray,
    radius: np.ndarray,
    power: np.ndarray,
    response: np.ndarray,
    expected_slope: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients of `_parabola` and `_hats` for signal and noise, and the variance of each class's log noise.

    Also what the signal's logarithm is more in each class than the parabola.

    Powers of frequencies are about exponentially distributed; those of neighbours are not independent, by the window.
    By Fisher scoring, damped as Levenberg and Marquardt do, in the logarithms: both spectra stay positive.
    """
    frequencies, power_alone = count, power
    power = power + LEAST_NOISE**2
    count = count / (2 + count * MISFIT**2)
    signals, knots, loose = _model(*(each.tobytes() for each in (frequencies, radius, response)))
    loose = loose.copy()
    differences = np.diff(np.eye(len(KNOTS)), axis=0)
    falling = differences.copy()
    falling[:-1] -= FALL * differences[1:]

    passed = (response > 0.3) & (radius < math.log(1.2))
    passed = passed if passed.any() else response >= 0.3 * response.max()
    slope = expected_slope[0] * signals[:, 1]
    level = np.average(np.log(power[passed] / response[passed]) - slope[passed], weights=count[passed])
    end = _end(frequencies, radius, power_alone, response * np.exp(level + slope))
    there = radius < end
    count = np.where(there, count, 0)
    loose[np.arange(len(loose)) > np.interp(end, KNOTS, np.arange(len(KNOTS))) - REACH] += (
        FREE if end < KNOTS[-1] else 0
    )
    dark = there & (response <= np.quantile(response[there], 0.3))
    least = math.log(np.average(power[dark], weights=count[dark]))
    # What is expected of the signal's coefficients, how surely, and that the noise's change little from knot to knot.
    few, every = signals.shape[1], signals.shape[1] + len(KNOTS)
    expected, sure = np.zeros(every), np.zeros((every, every))
    expected[:few] = level, expected_slope[0], CURVATURE[0], 0.0
    sure[range(few), range(few)] = 0, expected_slope[1] ** -2, CURVATURE[1] ** -2, TILT**-2
    sure[few:, few:] = falling.T @ (loose[:, None] ** -2 * falling)
    # From the line through what the blur passes: from the expected slope, images without one took three times as long.
    lines, logs = np.append(signals[passed, :2], [[0, 1]], 0), np.log(power[passed] / response[passed])
    sureness = np.sqrt(np.append(count[passed], sure[1, 1]))
    start = np.linalg.lstsq(sureness[:, None] * lines, sureness * np.append(logs, expected_slope[0]))[0]
    unknowns = np.concatenate([start, expected[2:few], np.full(len(KNOTS), least)])

    def spectra(of: np.ndarray) -> np.ndarray:
        """Signal, as it is blurred, and noise."""
        logs = np.empty((2, len(count)))
        np.matmul(signals, of[:few], out=logs[0])
        np.matmul(knots, of[few:], out=logs[1])
        found: np.ndarray = np.exp(logs.clip(-80, 80, out=logs), out=logs)
        found[0] *= response
        return found

    def rising(of: np.ndarray) -> np.ndarray:
        """By how much the noise's logarithm rises from knot to knot, and 0 where it falls."""
        return np.asarray((differences @ of[few:]).clip(min=0))

    def objective(of: np.ndarray, mean: np.ndarray) -> float:
        off, rise = of - expected, rising(of)
        return float(count @ (power / mean + np.log(mean)) + 0.5 * (off @ sure @ off + RISE**-2 * (rise @ rise)))

    slopes = np.empty((len(count), every))

    def descend(unknowns: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """The least objective near some coefficients, those of it, and its curvature."""
        now = spectra(unknowns)
        mean = now[0] + now[1]
        last, damping = objective(unknowns, mean), 1e-3
        for _ in range(40):
            shares = now / mean
            np.multiply(signals, shares[0][:, None], out=slopes[:, :few])
            np.multiply(knots, shares[1][:, None], out=slopes[:, few:])
            weighted = slopes.T * count
            penalty, rise = sure.copy(), differences[rising(unknowns) > 0] / RISE
            penalty[few:, few:] += rise.T @ rise
            gradient = weighted @ (power / mean - 1) + sure @ expected - penalty @ unknowns
            curvature = weighted @ slopes + penalty
            diagonal = curvature.diagonal() + 1e-9
            while damping < 1e3:
                damped = curvature.copy()
                damped.flat[:: every + 1] += damping * diagonal
                new = unknowns + np.linalg.solve(damped, gradient).clip(-3, 3)
                of_new = spectra(new)
                mean = of_new[0] + of_new[1]
                value = objective(new, mean)
                if value < last:
                    break
                damping *= 5
            else:
                break
            unknowns, now, done, last, damping = new, of_new, last - value < 1e-3, value, max(damping / 5, 1e-6)
            if done:
                break
        return last, unknowns, curvature + 1e-9 * np.diag(diagonal)

    least_objective, unknowns, curvature = descend(unknowns)
    unlikely = unknowns[2] < CURVATURE[0] - UNLIKELY * CURVATURE[1]
    if unlikely and unknowns[few:].max() < 2 * math.log(LEAST_NOISE) + SLIGHTLY:
        other = descend(np.concatenate([start, expected[2:few], _noise_at_most(frequencies, radius, power)]))
        if other[0] < least_objective:
            _, unknowns, curvature = other
    covariance = np.linalg.inv(curvature)[few:, few:]
    tilt = signals[:, few - 1] * unknowns[few - 1]
    return np.delete(unknowns, few - 1), ((knots @ covariance) * knots).sum(axis=1), tilt


@functools.lru_cache(maxsize=KEPT)
def _model(frequencies: bytes, radius: bytes, response: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What signal and noise are made of in each class, and by how much the latter may change between knots.

    No image changes it, and many with one psf come one after another.
    """
    count, at, left = (np.frombuffer(each) for each in (frequencies, radius, response))
    place, sure = np.interp(at, KNOTS, np.arange(len(KNOTS))), count / (2 + count * MISFIT**2)
    found = (
        np.column_stack([_parabola(at), _directions(count, at, left)]),
        _hats(at),
        _looseness(sure, place, left),
    )
    for table in found:
        table.flags.writeable = False
    return found


def _noise_at_most(frequencies: np.ndarray, radius: np.ndarray, power: np.ndarray) -> np.ndarray:
    """The noise's logarithm at KNOTS if it were all of the power from FINE on, and white below."""
    near = frequencies * np.exp(-(((radius - KNOTS[:, None]) / RING_WIDTH) ** 2))
    logs = np.log((near @ power + 1e-9 * power.min()) / (near.sum(axis=1) + 1e-9))
    logs[KNOTS < FINE] = logs[KNOTS >= FINE][0]
    return np.asarray(np.minimum.accumulate(logs))


def _end(frequencies: np.ndarray, radius: np.ndarray, power: np.ndarray, expected: np.ndarray) -> float:
    """The logarithm of the radius, above 1, from which on there is next to nothing of the expected power, or infinity.

    (Where that begins before, the image is smoother than expected, as a ramp is, and where it begins in the corners
    beyond CORNERS, it may have no edges across: nothing was taken from it.)
    """
    first = radius.min()
    ring = ((radius - first) / RING_WIDTH).astype(int)
    powers, expected_powers = (np.bincount(ring, frequencies * values) for values in (power, expected))
    ratio = powers / np.maximum(expected_powers, 1e-300)
    most = np.maximum.accumulate(np.where(first + RING_WIDTH * np.arange(len(ratio)) > COARSE, ratio, 0))
    enough = np.flatnonzero((ratio >= np.clip(STEEP * most, LACK, 1)) & (expected_powers > 0))
    last = int(enough[-1]) + 1 if enough.size else 0
    end = float(first + RING_WIDTH * last)
    sudden = 0 < end < CORNERS and last < len(ratio) and ratio[last] < DROP * ratio[max(last - DROP_RINGS, 0)]
    return end if sudden else math.inf


def _parabola(radius: np.ndarray) -> np.ndarray:
    """The terms of a parabola in the logarithm of the radius."""
    centred = radius - CENTRE
    return np.stack([np.ones_like(centred), centred, -(centred**2)], axis=-1)


def _directions(frequencies: np.ndarray, radius: np.ndarray, response: np.ndarray) -> np.ndarray:
    """By how many decades more of a frequency the blur passes than of others of its length, bounded."""
    ring = ((radius - radius.min()) / RING_WIDTH).astype(int)
    passed = np.log10(np.maximum(response, LEAST_PASSED))
    mean = np.bincount(ring, frequencies * passed) / np.maximum(np.bincount(ring, frequencies), 1e-300)
    difference: np.ndarray = passed - mean[ring]
    return difference


def _hats(radius: np.ndarray) -> np.ndarray:
    """What interpolates linearly between knots."""
    place = np.interp(radius, KNOTS, np.arange(len(KNOTS)))
    return np.asarray(np.maximum(1 - np.abs(place[..., None] - np.arange(len(KNOTS))), 0))


def _looseness(count: np.ndarray, place: np.ndarray, response: np.ndarray) -> np.ndarray:
    """By how much the noise's logarithm may change between each two knots."""
    loose = np.full(len(KNOTS) - 1, FLAT)
    between = np.minimum(place.astype(int), len(loose) - 1)
    for k in range(len(loose)):
        here = np.flatnonzero(between == k)
        if here.size:
            # What the blur leaves of the fifth of the frequencies that it leaves least of.
            here = here[np.argsort(response[here])]
            share = np.cumsum(count[here])
            least = response[here[np.searchsorted(share, 0.2 * share[-1])]]
            loose[k] += LOOSE * max(0.0, math.log10(DARK / max(least, 1e-12)))
    return loose


def _sums_of_classes(index: np.ndarray, images: Iterable[np.ndarray], classes: int) -> list[np.ndarray]:
    """Sums of images over the pixels of each class."""
    if module_of(index) is np:
        return [np.bincount(index, image.ravel(), classes) for image in images]
    from ..kernels.cuda.classes import sums  # in an order that does not change

    return sums(index, images, classes)


def spread(planes: np.ndarray) -> float:
    """Between which values nearly all pixels lie, from some of them."""
    some = np.sort(_some_pixels(planes), axis=None)  # (in the pixels' precision, that takes a third of a selection)
    at = 0.001 * (some.size - 1)
    whole, part = int(at), at - int(at)
    inner = min(whole + 1, some.size - 1)
    low, high = (
        float(first) + part * (float(next_) - float(first))
        for first, next_ in ((some[whole], some[inner]), (some[-1 - whole], some[-1 - inner]))
    )
    return max(high - low, 1e-3 * max(abs(float(some[0])), abs(float(some[-1])))) or 1.0


def contrast_share(planes: np.ndarray, least: float = 0.0) -> float:
    """In which share of the pixels an image's contrast is, from some of them: 1 if all are as far from the median.

    It is the participation ratio ``mean(|v|)² / mean(v²)`` of their distances v from the median, less `least`: in
    squares, and no less than 0.
    """
    some = _some_pixels(planes)
    ordered = np.sort(some.reshape(len(some), -1), axis=1)
    middle, parity = ordered.shape[1] // 2, ordered.shape[1] % 2
    medians = ordered[:, middle + parity - 1 : middle + 1].mean(axis=1, dtype=np.float64)
    distances = np.abs(some - medians[:, None, None])
    largest = float(distances.max())
    if largest == 0:
        return 1.0
    distances /= largest
    if least > 0:
        distances = np.sqrt((np.square(distances, dtype=np.float64) - (least / largest) ** 2).clip(min=0))
        if not distances.any():
            return 1.0
    return float(distances.mean() ** 2 / np.square(distances, out=distances).mean())


def _some_pixels(planes: np.ndarray) -> np.ndarray:
    some: np.ndarray = on_host(planes[:, :: max(planes.shape[1] // 256, 1), :: max(planes.shape[2] // 256, 1)])
    return some
