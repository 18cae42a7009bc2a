"""The weight from the image: generalised cross-validation on its periodogram.

Away from the border, the ridge problem is diagonal in frequencies: with h = |psf|² and l the
differences' square there, a wave b of the image leaves the residual ``f b`` with
``f = ridge l / (h + ridge l)``.  Generalised cross-validation [1]_ takes the ridge that minimises
``sum f² |b|² / (sum f)²``; it needs no noise level.  The image is seen through a window that fades
at the border, so that what lies beyond it does not count.

References
----------
.. [1] G. H. Golub, M. Heath and G. Wahba, "Generalized cross-validation as a method for choosing a
   good ridge parameter", Technometrics 21, 1979.
"""

from __future__ import annotations

import math

import numpy as np

from . import forks
from .arrays import beside, module_of, on_host, transforms_of
from .boundary import reduced
from .frames import typical
from .kernels.shrink import POWER

# Classes of frequencies with about the same h / l.
CLASSES = 600
# Side of the part of an image from which to guess.
MIDDLE = 128
# Side of the part in which to look for edges.
LARGE = 1024
# Least noise to reckon with, in shares of the image's range: an image of 8 bits has 1e-3.
LEAST_NOISE = 3e-4
# Edges, in shares of the image's range.
EDGE = 0.05
# For each prior c and a of the weight ``c noise (noise d / g)^a``.  (Fitted to six photographs, three psfs and
# noise of 0.3, 1 and 3 %: they lose 0.03 and 0.06 dB to the best weight, at most 0.2 and 0.3.)
RULES = {"tv": (1.9, 1.04), "sparse": (2.1, 1.35)}
# Ridges tried, for a psf whose sum is 1.
RIDGES = np.exp(np.linspace(np.log(1e-8), np.log(50.0), 300))


class Periodogram:
    """The image's power in classes of frequencies that a ridge treats alike.

    Attributes
    ----------
    ratio, count, power : ndarray
        Of each class: h / l, how many waves, and the sum of their powers.
    """

    def __init__(self, planes: np.ndarray, psfs: list[np.ndarray]):
        rows, cols = planes.shape[1:]
        xp, fft = module_of(planes), transforms_of(planes)
        window = beside(_hann(rows), planes)[:, None] * beside(_hann(cols), planes)[None, :]
        # Channels that are blurred alike are added up.
        powers = xp.zeros((len(psfs), rows, cols // 2 + 1))
        for k, plane in enumerate(planes):
            mean = float((window * plane).sum() / window.sum())
            with forks.unforked():
                waves = fft.rfft2(window * (plane.astype(np.float64) - mean))
            powers[k % len(psfs)] += waves.real**2 + waves.imag**2
        powers /= (window * window).sum()
        stiffness = beside(_stiffness(rows, cols), planes)
        times = xp.full(powers[0].shape, 2.0)
        times[:, 0] = 1
        if cols % 2 == 0:
            times[:, -1] = 1
        # The lowest frequencies are the window's own.
        times[:3, :3] = 0
        times[max(rows - 2, 0) :, :3] = 0
        # A ridge of 1 means the same whatever the psf's sum.
        self.scale = float(max(np.abs(psf).sum(dtype=np.float64) for psf in psfs)) ** 2 or 1.0
        count, power, ratio = np.zeros((3, CLASSES))
        for psf, seen in zip(psfs, powers, strict=True):
            with forks.unforked():
                waves = fft.rfft2(beside(reduced(psf.astype(np.float64), (rows, cols), "wrap"), planes), (rows, cols))
            response = waves.real**2 + waves.imag**2
            log = xp.log(response / self.scale / xp.maximum(stiffness, 1e-30) + 1e-12)
            index = xp.clip((log + 28) * (CLASSES / 60), 0, CLASSES - 1).astype(np.intp).ravel()
            sums = _sums_of_classes(index, [times, times * seen, times * log])
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
        """What each of `ridges` leaves of the waves of each class."""
        shares: np.ndarray = ridges[:, None] / (ridges[:, None] + self.ratio)
        return shares


def _sums_of_classes(index: np.ndarray, images: list[np.ndarray]) -> list[np.ndarray]:
    """Sums of images over the pixels of each class."""
    if module_of(index) is np:
        return [np.bincount(index, image.ravel(), CLASSES) for image in images]
    from .cuda.classes import sums  # in an order that does not change

    return sums(index, images, CLASSES)


def by_validation(seen: Periodogram) -> int:
    """Which of RIDGES minimises the generalised cross-validation score."""
    left = seen.left()
    return int(np.argmin((left**2 * seen.power).sum(axis=1) / (left * seen.count).sum(axis=1) ** 2))


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


def spread(planes: np.ndarray) -> float:
    """Between which values nearly all pixels lie, from some of them."""
    some = planes[:, :: max(planes.shape[1] // 256, 1), :: max(planes.shape[2] // 256, 1)]
    some = on_host(some)
    low, high = np.quantile(some, [0.001, 0.999])
    return max(float(high - low), 1e-3 * float(np.abs(some).max())) or 1.0


class Seen:
    """What an image says of its noise, and of the weights of priors.

    `weights` are those of the image's pixels, the largest near 1; the image has no holes.

    Attributes
    ----------
    ridge : float
        That of the gradient prior, by generalised cross-validation.
    noise : float
        Standard deviation of the noise: of what that ridge leaves, per degree of freedom it leaves.
    """

    def __init__(self, planes: np.ndarray, psfs: list[np.ndarray], weights: np.ndarray | None):
        self._planes, self._psfs = planes, psfs
        self._heaviness = typical(weights)
        seen = Periodogram(planes, psfs)
        self._brightness = max(abs(float(planes.max())), abs(float(planes.min()))) or 1.0
        if not seen.power.sum() > 0:
            self.ridge, self.noise, self._used, self._bare = seen.scale * self._heaviness, 0.0, 1.0, seen.scale
            return
        best = RIDGES[by_validation(seen)]
        left = seen.left(np.array([best]))[0]
        freedom = float((left * seen.count).sum())
        self._bare = float(best * seen.scale)
        self.ridge = self._bare * self._heaviness
        residual, whole = float((left**2 * seen.power).sum()), float(seen.count.sum())
        if weights is not None:  # a hole is filled with the mean of about four pixels
            residual /= 1 - 0.75 * float((weights == 0).sum()) / weights.size
        self.noise = math.sqrt(residual / freedom)
        self._used = 1 - freedom / whole

    def weight_of(self, prior: str, data: str) -> float:
        """The weight of another prior.

        Were differences d distributed as ``exp(-|d|/s)``, total variation's weight would be noise²/s; s is their mean
        in the ridge solution, for as many of them as the image determines.  (See RULES for how far that holds.)
        """
        noise = max(self.noise, LEAST_NOISE * spread(self._planes))
        if prior == "denoiser":
            return noise**2 * self._heaviness
        factor, power = RULES[prior]
        slope = factor * noise * (noise * self._used / max(self._steepness(), 1e-3 * noise)) ** power
        if data == "poisson":
            slope *= self._curvature()
        if prior == "sparse":  # the slope there where edges begin
            slope /= POWER * (EDGE * spread(self._planes)) ** (POWER - 1)
        return float(slope * self._heaviness)

    def _curvature(self) -> float:
        """What photon counts weigh, compared with squares: between 1 / mean(b) and mean(1 / b).

        The first is right for photon noise, the second for noise that is the same everywhere.
        """
        mean = max(float(self._planes.mean(dtype=np.float64)), 1e-6 * self._brightness)
        inverse = float((1 / self._planes.clip(min=0.05 * mean)).mean(dtype=np.float64))
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
            stiffness = _stiffness(*shape)
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


def _stiffness(rows: int, cols: int) -> np.ndarray:
    """The differences' square at each frequency of a real image."""
    down = 2 - 2 * np.cos(2 * np.pi / rows * np.arange(rows))
    across = 2 - 2 * np.cos(2 * np.pi / cols * np.arange(cols // 2 + 1))
    return np.asarray(down[:, None] + across[None, :])


def _hann(size: int) -> np.ndarray:
    window: np.ndarray = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
    return window
