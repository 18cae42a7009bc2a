"""Likelihood of a psf, from the image's power spectrum, against the same psf turned or resized.

A wrong psf has the zeros of its spectrum elsewhere than the image has its dark lines.  Given signal and noise by
frequency (see `spectrum`), the power of each frequency is about exponentially distributed, with the mean
``|h|² S + N`` [1]_.  In each ring of frequencies the mean is scaled to fit, so that only directions count: what the
fitted spectra lack favours no psf, and psfs that are alike in all directions are neither better nor worse.

References
----------
.. [1] P. Whittle, "Estimation and information in stationary time series", Arkiv för Matematik 2, 1953.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import fft

from ..kernels.runtime import forks
from ..kernels.runtime.arrays import on_host
from .regularization import WeightEstimate, part_of
from .spectrum import FINE
from .windows import Windowed, log_radius

# Degrees by which the psf is turned, either way, and factors by which it is resized.
TURNS = 5.0, 10.0
SIZES = 0.8, 0.87, 0.94, 1.06, 1.15, 1.25
# Frequencies between these, in radians a pixel, are looked at: beyond, images that were enlarged have nothing.
LEAST, MOST = 0.1, 1.3
# Width of the rings, in the logarithm of the radius.
RING_WIDTH = 0.06
# Points at which a psf's power is computed, for each of its taps along an axis, and the most of them.
FINENESS, MOST_POINTS = 8, 1024


def likelihood_gain(estimate: WeightEstimate, side: int) -> tuple[float, float]:
    """By how much the best of the other psfs is likelier than an image's own, in the logarithm of the likelihood.

    The image's middle is looked at, of at most `side` pixels a side.  Also by how much the psf and those that are
    turned differ: next to nothing where it is about the same in all directions.  Both are 0 for psfs too large to be
    told from others.
    """
    planes = on_host(estimate.planes[part_of(estimate.planes, side)])
    frame = planes.shape[1:]
    points = fft.next_fast_len(FINENESS * max(max(psf.shape) for psf in estimate.psfs), real=True)
    if points > MOST_POINTS:
        return 0.0, 0.0
    windowed = Windowed(planes, estimate.psfs)
    radius = log_radius(*frame)
    used = (windowed.times > 0) & (radius > math.log(LEAST)) & (radius < math.log(MOST))
    if not used.any():
        return 0.0, 0.0
    times, powers = windowed.times[used], [power[used] for power in windowed.power]
    signal = estimate.spectra.signal_at(radius[used])
    noise = estimate.spectra.noise_at(np.maximum(radius[used], FINE))
    ring = ((radius[used] - math.log(LEAST)) / RING_WIDTH).astype(np.intp)
    count = np.maximum(np.bincount(ring, times), 1)
    down = np.broadcast_to(np.fft.fftfreq(frame[0])[:, None], radius.shape)[used]
    across = np.broadcast_to(np.fft.rfftfreq(frame[1]), radius.shape)[used]
    spectra = [_power(psf, points, frame) / windowed.scale for psf in estimate.psfs]

    def deviance(angle: float, size: float) -> float:
        cosine, sine = size * math.cos(math.radians(angle)), size * math.sin(math.radians(angle))
        total = 0.0
        for spectrum, power in zip(spectra, powers, strict=True):
            response = _interpolated(spectrum, cosine * down + sine * across, cosine * across - sine * down)
            expected = response * signal + noise
            scale = np.bincount(ring, times * power / expected) / count
            total += float((times * np.log(expected)).sum() + (count * np.log(np.maximum(scale, 1e-300))).sum())
        return total

    own = deviance(0.0, 1.0)
    turned = [deviance(sign * angle, 1.0) for angle in TURNS for sign in (1, -1)]
    resized = [deviance(0.0, size) for size in SIZES]
    return (own - min(turned + resized)) / 2, (max([own, *turned]) - min([own, *turned])) / 2


def _power(psf: np.ndarray, points: int, frame: tuple[int, ...]) -> np.ndarray:
    """|h|² at so many frequencies along each axis, as the fading window of a frame shows it (see `windowed_power`)."""
    with forks.unforked():
        spectrum = fft.rfft2(psf.astype(np.float64), (points, points))
        correlation = fft.irfft2(spectrum.real**2 + spectrum.imag**2, (points, points))
        # Averages with the next frequencies of the frame, on both sides.
        for axis, size in enumerate(frame):
            lag = fft.fftfreq(points, 1 / points) / size
            correlation *= np.expand_dims((4 + 2 * np.cos(2 * np.pi * lag)) / 6, 1 - axis)
        power: np.ndarray = fft.fft2(correlation).real
    return np.asarray(power.clip(min=0))


def _interpolated(power: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Bilinear interpolation in a periodic spectrum, at frequencies in cycles a pixel."""
    points = len(power)
    row, col = np.floor(down * points), np.floor(across * points)
    below, right = down * points - row, across * points - col
    i, j = row.astype(np.intp) % points, col.astype(np.intp) % points
    next_i, next_j = (i + 1) % points, (j + 1) % points
    upper = power[i, j] * (1 - right) + power[i, next_j] * right
    lower = power[next_i, j] * (1 - right) + power[next_i, next_j] * right
    mixed: np.ndarray = upper * (1 - below) + lower * below
    return mixed
