"""Richardson-Lucy [1]_, [2]_ for photon noise, accelerated and stopped at the noise: the driver, for both devices.

A step multiplies the estimate by ``Aᵀ(w b / Ax) / Aᵀw``.  The division by the sensitivity ``Aᵀw`` corrects pixels
that the image shows only in part, or not at all, whatever the boundary: there are no artefacts at the border.  Steps
are taken from a point ahead of the estimate [3]_; where the likelihood is less there than before, from the estimate
itself.  No step lowers the likelihood of the point that it is taken from, so it never falls.

References
----------
.. [1] W. H. Richardson, "Bayesian-based iterative method of image restoration", JOSA 62, 1972.
.. [2] L. B. Lucy, "An iterative technique for the rectification of observed distributions", The
   Astronomical Journal 79, 1974.
.. [3] D. S. C. Biggs and M. Andrews, "Acceleration of iterative image restoration algorithms", Applied
   Optics 36, 1997; with the weights of Y. Nesterov's method of 1983.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ...kernels.runtime.arrays import module_of
from ...operators.blur import Blur
from ...operators.boundary import frame_of
from ...problem.start import spread_out
from ...result import Result
from ..common import Problem, iterate, noise_of, result_of, unit_of
from ..protocols import IterativeWorkspace

# The least a start may have, in shares of the image's mean: a pixel of 0 stays one.
LEAST_START = 1e-2
# Added to the blurred estimate, in shares of the brightest pixel; scikit-image's, for an image up to 1.
ADDED = 1e-12
# What rounding may take off the likelihood, relatively.
ROUNDING = 3e-7
# A sensitivity below this share of the largest is none.
LEAST_SENSITIVITY = 1e-6


@dataclass(frozen=True)
class Parameters:
    """What the steps depend on, beside the image, its weights and the shift.

    Attributes
    ----------
    unit : float
        Sums are of pixels times this.
    low, high : float
        Bounds of the estimate.
    least_mean : float
        Where the blurred estimate is less, it is not divided by: the quotient is 0.
    plain : bool
        Whether weights and sensitivity are 1, nothing is taken ahead, and neither likelihood nor misfit is computed.
    tol, allowed_misfit : float
        The steps stop when the change is at most `tol`, or the misfit, in units, at most that; with `tol` 0 at neither.
    max_iter : int
    """

    unit: float
    low: float
    high: float
    least_mean: float = 0.0
    plain: bool = False
    tol: float = 0.0
    allowed_misfit: float = 0.0
    max_iter: int = 0


class RichardsonLucySteps(IterativeWorkspace, Protocol):
    """What a workspace of Richardson-Lucy has.

    `set_weights` comes first, then `begin` or `begin_with_step`, `set_image`, `set_shift` and `set_parameters`; then
    `advance`, whose objectives are the likelihood's sums in units, and whose optimality is the relative change.
    """

    blur: Blur
    device: str
    #: The estimate before it was taken ahead, and 1 / (Aᵀ w), 0 where the image shows nothing.
    last: Any
    inverse_sensitivity: Any
    #: Weights of 1.
    ones: Any

    @property
    def estimate(self) -> Any:
        """The current estimate, planes x rows x cols."""

    def set_weights(self, weights: Any) -> Any:
        """Compute the sensitivity; returns the weights, those of 1 for None."""

    def begin(self, start: Callable[[Any], None]) -> None:
        """Let `start` write the frame of the first estimate; beyond it the frame's nearest pixels are repeated."""

    def begin_with_step(self, weighted: Any) -> None:
        """Begin with Aᵀ(w b) / Aᵀw, which a step makes of an even estimate; `weighted` is w b."""

    def fill_halo(self) -> None:
        """Write the boundary's pixels around the current estimate, where they are stored."""

    def set_image(self, image: Any, weights: Any) -> None:
        """Enter the image and the weights of its pixels."""

    def set_shift(self, shift: Any) -> None:
        """Enter what is added to the blurred estimate: as many planes and rows as there are, or one, all columns."""

    def set_parameters(self, parameters: Parameters) -> None:
        """Enter what the steps depend on, and let the iteration begin anew."""

    def ratio(self) -> Any:
        """Divide the image by the blurred estimate."""

    def multiply(self) -> Any:
        """Multiply the estimate, and take it ahead."""

    def misfit(self, image: Any, weights: Any, shift: Any) -> float:
        """The objective of the current estimate, in double precision."""


def photons(image: np.ndarray, weights: np.ndarray) -> float:
    """The weighted sum of an image: how many photons it shows."""
    if module_of(image) is np:
        return float(np.einsum("ijk,ijk->i", image, weights).sum(dtype=np.float64))
    return float((image * weights).sum(dtype=np.float64))


def minimise(work: RichardsonLucySteps, problem: Problem, noise_norm: float, by_step: bool) -> Result:
    """Maximise the likelihood of photon counts; the result's image is planes.

    The problem's shift was subtracted from its image, and is added to it and to the blurred estimate again; it has all
    columns, and one or as many planes and rows as the image.
    With `by_step` the first estimate is not the problem's start, whose noise would stay, but what a step makes of an
    even one.  Stops too when the residual's norm, weighted, is at most `noise_norm`.
    """
    entered, image, shift = time.perf_counter(), problem.image, problem.shift
    weights = work.set_weights(problem.weights)
    low, high = problem.bounds or (0.0, math.inf)
    darkest = LEAST_START * float((image if shift is None else image.clip(0)).mean(dtype=np.float64))
    if not by_step:
        work.begin(problem.start)
    else:
        work.begin_with_step(weights * image)
        invisible = work.inverse_sensitivity == 0
        if invisible.any():  # no step changes them: they continue their surroundings, as the filled image does
            filled = module_of(image).zeros_like(work.inverse_sensitivity)
            frame_of(filled, work.blur)[...] = image
            spread_out(filled, work.blur.frame_corner, work.blur.image_shape)
            work.estimate[invisible] = filled[invisible]
    work.estimate.clip(max(low, min(darkest, high)), high, out=work.estimate)
    work.fill_halo()
    if shift is not None:
        image = (image + shift).clip(0)
    work.set_image(image, weights)
    work.last[...] = work.estimate
    brightest = float(image.max())
    unit = unit_of(brightest)
    floor = max(ADDED * brightest, 1e-37)
    work.set_shift(floor + (module_of(image).zeros_like(image[:1, :1]) if shift is None else shift))
    allowed = (noise_norm * unit) ** 2
    if shift is not None and noise_norm > 0:  # an estimate without negative pixels follows no noise of a dark ground
        allowed = max(allowed, (noise_of(image) * unit) ** 2 * float(weights.sum(dtype=np.float64)))
    work.set_parameters(Parameters(unit, low, high, tol=problem.tol, allowed_misfit=allowed, max_iter=problem.max_iter))
    counts = photons(image, weights)

    def objective(likelihood: float) -> float:
        return (likelihood + math.log(unit) * unit * counts) / unit

    history, last = iterate(work, problem.max_iter, problem.callback, problem.progress, objective)
    history[-1] = work.misfit(image, weights, shift)
    return result_of(work, history, last, 0.0, work.blur.path, work.device, entered)


def plain_steps(work: RichardsonLucySteps, image: np.ndarray, num_iter: int, least_mean: float) -> np.ndarray:
    """The estimate after plain steps from an even gray, without normalisation, as scikit-image takes them.

    Where the blurred estimate is less than `least_mean`, it is not divided by.
    """
    work.inverse_sensitivity[...] = 1
    work.begin(lambda out: out.fill(0.5))
    work.set_image(image, work.ones)
    work.set_shift(np.full_like(image[:1, :1], ADDED))
    work.set_parameters(Parameters(1.0, -math.inf, math.inf, least_mean, plain=True))
    with np.errstate(over="ignore"):  # of sums that are not used
        for _ in range(num_iter):
            work.ratio()
            work.multiply()
    restored: np.ndarray = work.frame.copy()
    return restored
