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
from dataclasses import dataclass
from importlib import resources

import numpy as np

WEIGHTS = "learned_prior.npz"
# For deblurring, the level of the prior in those of the noise, and its weight.  (Its slopes near 0 are less steep at a
# higher level: what is left of ringing is higher than what is left of noise.)
LEVEL, WEIGHT = 5.0, 0.7
# Least noise to reckon with, in shares of the range.
LEAST_NOISE = 1e-4


@dataclass(frozen=True)
class Scale:
    """What a prior's numbers follow, where it is not the image's own.

    Attributes
    ----------
    noise : float
        Standard deviation.
    spread : float
        Range of the image.
    denoises : bool
        Whether there is no blur.
    """

    noise: float
    spread: float
    denoises: bool = False


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


def potentials(scale: Scale) -> Potentials:
    """The prior for images of that noise and range."""
    weights = _weights()
    noise = max(scale.noise / scale.spread, LEAST_NOISE)
    level, weight = (noise, 1.0) if scale.denoises else (noise * LEVEL, WEIGHT / LEVEL**2)
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
