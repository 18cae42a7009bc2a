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

import numpy as np
import scipy.fft

from .boundary import reduced

# Classes of frequencies with about the same h / l.
CLASSES = 600
# Side of the part of an image from which to guess.
MIDDLE = 128
# Ridges tried, for a psf whose sum is 1.
RIDGES = np.exp(np.linspace(np.log(1e-8), np.log(50.0), 300))


class Periodogram:
    """The image's power in classes of frequencies that a ridge treats alike.

    Attributes
    ----------
    ratio, count, power : ndarray
        Of each class: h / l, how many waves, and the sum of their powers.
    """

    def __init__(self, planes: np.ndarray, psf: np.ndarray):
        rows, cols = planes.shape[1:]
        window = _hann(rows)[:, None] * _hann(cols)[None, :]
        power = np.zeros((rows, cols // 2 + 1))
        for plane in planes:
            mean = float((window * plane).sum() / window.sum())
            waves = scipy.fft.rfft2(window * (plane.astype(np.float64) - mean))
            power += waves.real**2 + waves.imag**2
        power /= (window * window).sum()
        waves = scipy.fft.rfft2(reduced(psf.astype(np.float64), (rows, cols), "wrap"), (rows, cols))
        response = waves.real**2 + waves.imag**2
        stiff_down = 2 - 2 * np.cos(2 * np.pi / rows * np.arange(rows))
        stiff_across = 2 - 2 * np.cos(2 * np.pi / cols * np.arange(cols // 2 + 1))
        stiffness = stiff_down[:, None] + stiff_across[None, :]
        times = np.full(power.shape, 2.0)
        times[:, 0] = 1
        if cols % 2 == 0:
            times[:, -1] = 1
        # The lowest frequencies are the window's own.
        low = np.minimum(np.arange(rows), rows - np.arange(rows)) <= 2
        times[low, :3] = 0
        # A ridge of 1 means the same whatever the psf's sum.
        self.scale = float(np.abs(psf).sum(dtype=np.float64)) ** 2 or 1.0
        ratio = np.log(response / self.scale / np.maximum(stiffness, 1e-30) + 1e-12)
        index = np.clip((ratio + 28) * (CLASSES / 60), 0, CLASSES - 1).astype(np.intp).ravel()
        count = np.bincount(index, times.ravel(), CLASSES)
        some = count > 0
        self.count = count[some]
        self.power = np.bincount(index, (times * power).ravel(), CLASSES)[some] / len(planes)
        self.ratio = np.exp(np.bincount(index, (times * ratio).ravel(), CLASSES)[some] / self.count)

    def left(self, ridges: np.ndarray = RIDGES) -> np.ndarray:
        """What each of `ridges` leaves of the waves of each class."""
        shares: np.ndarray = ridges[:, None] / (ridges[:, None] + self.ratio)
        return shares


def ridge_by_validation(seen: Periodogram) -> float:
    """Minimises the generalised cross-validation score."""
    left = seen.left()
    score = (left**2 * seen.power).sum(axis=1) / (left * seen.count).sum(axis=1) ** 2
    return float(RIDGES[np.argmin(score)] * seen.scale)


def ridge_of_root(planes: np.ndarray, psf: np.ndarray, mu: float) -> float:
    """About the ridge of the root objective's minimiser, from the middle of the image.

    It is mu times the ratio of the norms ``‖residual‖² = sum f²|b|²`` and ``‖Dx‖² = sum f (1 - f) |b|² / ridge``.
    """
    rows, cols = planes.shape[1:]
    top, left = max(rows - MIDDLE, 0) // 2, max(cols - MIDDLE, 0) // 2
    seen = Periodogram(planes[:, top : top + MIDDLE, left : left + MIDDLE], psf)
    ridges = RIDGES[::8]
    part = seen.left(ridges)
    residual = (part**2 * seen.power).sum(axis=1)
    rough = (part * (1 - part) * seen.power).sum(axis=1) / ridges
    weights = ridges * np.sqrt(rough / np.maximum(residual, 1e-300)) * np.sqrt(seen.scale)
    at = int(np.searchsorted(np.maximum.accumulate(weights), mu))
    return float(ridges[min(at, len(ridges) - 1)] * seen.scale)


def ridge_for(planes: np.ndarray, psf: np.ndarray) -> float:
    """The ridge for planes x rows x cols of a blurred image."""
    seen = Periodogram(planes, psf)
    if not seen.power.sum() > 0:
        return seen.scale
    return ridge_by_validation(seen)


def _hann(size: int) -> np.ndarray:
    window: np.ndarray = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
    return window
