"""The weight from the image: that with which the solution is expected to be nearest to the sharp image.

Away from the border the ridge problem is diagonal in frequencies: with h = |psf|² and l the differences' square
there, the solution lacks the share ``ridge l / (h + ridge l)`` of a wave of the sharp image, and has the noise's
times ``sqrt(h) / (h + ridge l)``.  From the spectra of signal and noise follows the ridge of least expected error;
and from how much noise it leaves, and how steep the solution is, the weights of other priors.
"""

from __future__ import annotations

import math

import numpy as np

from . import forks
from .arrays import beside, module_of, on_host, transforms_of
from .boundary import reduced
from .frames import typical
from .kernels.shrink import POWER
from .spectrum import LEAST_NOISE, RIDGES, Periodogram, Spectra, laplacian, spread

# Side of the part of an image from which to guess.
MIDDLE = 128
# Side of the part in which to look for edges.
LARGE = 1024
# Edges, in shares of the image's range.
EDGE = 0.05
# For each prior c and a of the weight ``c noise (noise d / g)^a``.  (Fitted to six photographs, three psfs and
# noise of 0.3, 1 and 3 %: they lose 0.03 and 0.06 dB to the best weight, at most 0.2 and 0.3.)
RULES = {"tv": (1.9, 1.04), "sparse": (2.1, 1.35)}


def ridge_of_root(planes: np.ndarray, psfs: list[np.ndarray], mu: float) -> float:
    """About the ridge of the root objective's minimiser, from the middle of the image.

    It is mu times the ratio of the norms ``‖residual‖² = sum f²|b|²`` and ``‖Dx‖² = sum f (1 - f) |b|² / ridge``.
    """
    rows, cols = planes.shape[1:]
    top, left = max(rows - MIDDLE, 0) // 2, max(cols - MIDDLE, 0) // 2
    seen = Periodogram(on_host(planes[:, top : top + MIDDLE, left : left + MIDDLE]), psfs)
    ridges = RIDGES[::8]
    weights = root_weights(seen.squares(ridges), ridges) * np.sqrt(seen.scale)
    at = int(np.searchsorted(weights, mu))
    return float(ridges[min(at, len(ridges) - 1)] * seen.scale)


def root_weights(squares: np.ndarray, ridges: np.ndarray) -> np.ndarray:
    """The weights of roots that lead to the ridges, from the squares of ‖residual‖ and ‖Dx‖ there; they rise."""
    residual, rough = squares
    weights: np.ndarray = np.maximum.accumulate(ridges * np.sqrt(rough / np.maximum(residual, 1e-300)))
    return weights


class Seen:
    """What an image says of its noise, and of the weights of priors.

    `weights` are those of the image's pixels, the largest near 1; the image has no holes.

    Attributes
    ----------
    ridge : float
        That of the gradient prior.
    noise : float
        Standard deviation of the noise, whatever its spectrum.
    """

    def __init__(self, planes: np.ndarray, psfs: list[np.ndarray], weights: np.ndarray | None):
        self._planes, self._psfs = planes, psfs
        self._heaviness = typical(weights)
        self._brightness = max(abs(float(planes.max())), abs(float(planes.min()))) or 1.0
        seen = Spectra(planes, psfs, spread(planes))
        if not seen.power.sum() > 0:
            self.ridge, self.noise, self._used, self._bare = seen.scale * self._heaviness, 0.0, 1.0, seen.scale
            self._left = 0.0
            return
        best = seen.ridge()
        self._bare = best * seen.scale
        self.ridge = self._bare * self._heaviness
        # What counts of the noise is what the solution has of it: other frequencies' does not.
        left, variance = seen.amplified(best), float(np.average(seen.noise, weights=seen.count))
        if weights is not None:  # a hole is filled with the mean of about four pixels
            filled = 1 - 0.75 * float((weights == 0).sum()) / weights.size
            left, variance = left / filled, variance / filled
        self.noise, self._left = math.sqrt(variance), math.sqrt(left)
        kept = seen.response / (seen.response + best * seen.laplacian)
        self._used = float(np.average(kept, weights=seen.count))

    def weight_of(self, prior: str, data: str, shift: np.ndarray | None = None) -> float:
        """The weight of another prior; `shift` is what photons were counted beside the image.

        Were differences d distributed as ``exp(-|d|/s)``, total variation's weight would be noise²/s; s is their mean
        in the ridge solution, for as many of them as the image determines.  (See RULES for how far that holds.)
        """
        noise = max(self._left, LEAST_NOISE * spread(self._planes))
        if prior == "denoiser":
            return noise**2 * self._heaviness
        factor, power = RULES[prior]
        slope = factor * noise * (noise * self._used / max(self._steepness(), 1e-3 * noise)) ** power
        if data == "poisson":
            slope *= self._curvature(shift)
        if prior == "sparse":  # the slope there where edges begin
            slope /= POWER * (EDGE * spread(self._planes)) ** (POWER - 1)
        return float(slope * self._heaviness)

    def _curvature(self, shift: np.ndarray | None) -> float:
        """What photon counts weigh, compared with squares: between 1 / mean(b) and mean(1 / b).

        The first is right for photon noise, the second for noise that is the same everywhere.
        """
        counts = self._planes if shift is None else (self._planes + shift).clip(min=0)
        mean = max(float(counts.mean(dtype=np.float64)), 1e-6 * self._brightness)
        inverse = float((1 / counts.clip(min=0.05 * mean)).mean(dtype=np.float64))
        return math.sqrt(inverse / mean)

    def _steepness(self) -> float:
        """Mean length of the ridge solution's first differences, in the middle of the image."""
        total, count = 0.0, 0
        xp, fft = module_of(self._planes), transforms_of(self._planes)
        rows, cols = self._planes.shape[1:]
        top, left = max(rows - LARGE, 0) // 2, max(cols - LARGE, 0) // 2
        for k, plane in enumerate(self._planes[:, top : top + LARGE, left : left + LARGE]):
            psf = self._psfs[k % len(self._psfs)]
            down, across = (min(taps, size) for taps, size in zip(psf.shape, plane.shape, strict=True))
            # Periodic, as both ends fade to the mean.
            margins, mean = ((down, down), (across, across)), float(plane.mean())
            faded = xp.pad(plane.astype(np.float64), margins, "linear_ramp", end_values=mean)
            shape = faded.shape
            with forks.unforked():
                response = fft.rfft2(beside(reduced(psf.astype(np.float64), shape, "wrap"), plane), shape)
            stiffness = laplacian(*shape)
            stiffness[0, 0] = 1
            strength = xp.abs(response) ** 2 + self._bare * beside(stiffness, plane)
            with forks.unforked():
                whole = fft.irfft2(fft.rfft2(faded) * response.conj() / strength, shape)
            # Shifted by the psf's centre, which changes no mean but that of the border.
            x = whole[2 * down : -2 * down or None, 2 * across : -2 * across or None]
            if min(x.shape) < 2:
                x = whole
            lengths = xp.hypot(xp.diff(x, axis=0)[:, :-1], xp.diff(x, axis=1)[:-1])
            total, count = total + float(lengths.sum()), count + lengths.size
        return total / max(count, 1)
