"""The learned prior: filters and potentials, trained on photographs, for a noise level.

``R_s(x) = sum over k and i of phi_k((f_k * x)_i; s)`` with zero-mean filters f_k and potentials
``phi(z) = sum over m of alpha_m / 2 log(1 + gamma_m² z²)``, whose numbers follow the noise s, is a field of experts
[1]_, trained as a denoiser: ``½|x − y|² + R_s(x)`` is least near the sharp image of y, which has noise s [2]_.  It is
for images with a range of 1; of others it is that of the image over its range, times the square of that.

References
----------
.. [1] S. Roth and M. J. Black, "Fields of experts", International Journal of Computer Vision 82, 2009.
.. [2] A. Goujon, S. Neumayer and M. Unser, "Learning weakly convex regularizers for convergent image-reconstruction
   algorithms", SIAM Journal on Imaging Sciences 17, 2024.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from importlib import resources

import numpy as np

WEIGHTS = "learned_prior.npz"
# For deblurring, the prior's level in those of the noise, and its weight: a number times powers of that ratio and of
# the noise, and `WeightEstimate.factor_of_learned`.  (What ringing is left of is larger than what noise is, so that
# slopes near 0 are to be less steep.  Corners of 256 x 256 of twelve validation images, a measured psf each, noise of
# 2.55 and 7.65 of 255, wrap, at the best of two weights each: ratios of 4, 5 and 6 gain 0.55, 0.55 and 0.5 dB over
# sparse and 0.32, 0.30 and 0.2, in 30, 27 and 23 steps, and 22, 19 and 17.)
LEVEL, WEIGHT, POWER = 5.0, 0.28, 0.67
USUAL_NOISE, OF_NOISE = 0.01, 0.22
# For removing noise, its weight.  (Eight of the validation images, noise of 15 and 25 of 255: 1 gives 30.27 and 27.79
# dB, 0.94 30.32 and 27.86, 0.88 30.32 and 27.86: training stopped short of the minimiser, which smooths more.)
DENOISING = 0.92
# Least noise to reckon with, in shares of the range.
LEAST_NOISE = 1e-4


@dataclass(frozen=True)
class Scale:
    """What the prior's numbers follow.

    Attributes
    ----------
    noise : float
        Standard deviation; NaN is to be found.
    spread : float
        Range of the image; NaN is to be found.
    denoises : bool
        Whether there is no blur.
    factor : float
        By what more to multiply the prior than the noise says, see `WeightEstimate.factor_of_learned`; NaN is to be
        found.
    """

    noise: float = math.nan
    spread: float = math.nan
    denoises: bool = False
    factor: float = math.nan

    def times(self, factor: float) -> Scale:
        """The same for an image that is so many times as bright."""
        return replace(self, noise=self.noise * factor, spread=self.spread * factor)


@dataclass(frozen=True)
class Potentials:
    """The prior for one noise level.

    Attributes
    ----------
    filters : ndarray, shape (count, size, size)
    numbers : ndarray, shape (count, terms, 3)
        Of each filter's terms ``alpha gamma²``, ``gamma²`` and ``alpha / 2``.
    """

    filters: np.ndarray
    numbers: np.ndarray

    @property
    def curvatures(self) -> np.ndarray:
        """Of each filter the potential's largest second derivative, that at 0."""
        curvatures: np.ndarray = self.numbers[:, :, 0].sum(axis=1)
        return curvatures


def gain_of(psfs: list[np.ndarray]) -> float:
    """What the psfs make of a constant, by which the estimate is darker than the image."""
    sums = [abs(float(psf.sum(dtype=np.float64))) for psf in psfs]
    return max(sums) or max(float(np.abs(psf).sum(dtype=np.float64)) for psf in psfs) or 1.0


@functools.lru_cache(1)
def _weights() -> dict[str, np.ndarray]:
    """What was learned, read once."""
    with resources.files(__package__).joinpath(WEIGHTS).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        names = "filters", "sigmas", "log_alpha", "log_gamma"
        return {name: arrays[name].astype(np.float64) for name in names}


def reach() -> int:
    """How many pixels a filter has beside its first, along an axis."""
    return int(_weights()["filters"].shape[1]) - 1


def terms() -> tuple[int, int, int]:
    """Filters, their side, and terms of each potential."""
    count, size, _ = _weights()["filters"].shape
    return int(count), int(size), int(_weights()["log_alpha"].shape[2])


def level_of(scale: Scale) -> tuple[float, float]:
    """The level, in shares of the range, whose potentials to take, and by what to multiply them."""
    noise, most = max(scale.noise / scale.spread, LEAST_NOISE), float(_weights()["sigmas"][-1])
    if scale.denoises:
        return noise, DENOISING * max(noise / most, 1.0) ** 2
    level = max(min(noise * LEVEL, most), noise)
    weight = scale.factor * WEIGHT * (level / noise) ** (POWER - 2) * (noise / USUAL_NOISE) ** OF_NOISE
    return level, weight * max(level / most, 1.0) ** 2


def potentials(scale: Scale) -> Potentials:
    """The prior for images of that noise and range."""
    weights = _weights()
    level, weight = level_of(scale)
    knots = np.log(weights["sigmas"])
    place = float(np.clip(np.interp(np.log(level), knots, np.arange(len(knots))), 0, len(knots) - 1))
    below = min(int(place), max(len(knots) - 2, 0))
    above, share = min(below + 1, len(knots) - 1), place - below

    def at_level(name: str) -> np.ndarray:
        values: np.ndarray = np.exp((1 - share) * weights[name][below] + share * weights[name][above])
        return values

    alpha, squares = at_level("log_alpha") * weight, (at_level("log_gamma") / scale.spread) ** 2
    alpha *= scale.spread**2
    return Potentials(weights["filters"], np.stack([alpha * squares, squares, alpha / 2], axis=-1))
