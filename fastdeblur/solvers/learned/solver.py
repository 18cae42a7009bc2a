"""Driver of the learned prior: preconditioned quasi-Newton descent, on all data terms and boundaries.

The steps are those of the limited-memory BFGS method [1]_, whose first matrix is not a multiple of the identity but the
inverse, in a Fourier basis, of ``AᵀA`` and of what the prior's majoriser in half-quadratic minimisation [2]_ has on
average, ``sum of c_k f_kᵀf_k`` where c_k is the mean of ``phi_k'(z) / z`` over a filter's responses z to an estimate:
that of the start, and some later ones.  Steps that do not lower the objective enough are shortened, so that it
never rises.  Within bounds, pixels that are at one and would leave it are held, and steps are projected [3]_.

References
----------
.. [1] D. C. Liu and J. Nocedal, "On the limited memory BFGS method for large scale optimization", Mathematical
   Programming 45, 1989.
.. [2] D. Geman and C. Yang, "Nonlinear image recovery with half-quadratic regularization", IEEE Transactions on Image
   Processing 4, 1995.
.. [3] D. P. Bertsekas, "Projected Newton methods for optimization problems with simple constraints", SIAM Journal on
   Control and Optimization 20, 1982.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np

from ...kernels.runtime.arrays import beside
from ...problem.learned import Scale, potentials
from ...problem.objective import photon_costs
from ...problem.start import spread_out
from ...problem.weights import typical
from ...result import Result
from ..common import Problem, bar, finished, in_units, largest, unit_of, wants_stop
from ..richardson_lucy.solver import photons
from .host import LearnedWorkspace

# How many steps are remembered.  (Two photographs of 256 x 256, noise of 2.55 and 7.65 of 255, "wrap": 33 and 31 steps
# to 1e-4, with four 39 and 40.)
PAIRS = 3
# Steps after which the preconditioner is made anew, and what the first has of the prior's curvatures at the start: a
# blurred image's are larger than those of its estimates.  (Mosaic of 256 x 256, "wrap", noise of 2.55 of 255 and two
# psfs, and of 7.65: 35, 35 and 24 steps, with all of them 39, 37 and 26, with a tenth 35, 33 and 29.)
ANEW, FIRST = (4, 12, 24), 0.3
# The share of the descent that a gradient promises, which a step must bring, and how often one is shortened.
ENOUGH, MOST_CUTS = 1e-4, 20
# What rounding may add to an objective, relatively, in last digits.
ROUNDED = 2.0
# Steps whose gradient changed so little along them say nothing of curvature.
LEAST_CURVATURE = 1e-8
# Of three channels what they have in common, and two differences.
OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
# Of photons: below this share of the brightest pixel the cost of a blurred estimate is a straight line, which goes on
# from there.
STRAIGHT_BELOW = 1e-6


def minimise(work: LearnedWorkspace, problem: Problem, scale: Scale, kind: Any = None) -> Result:
    """Minimise an objective with the learned prior, in the memory of `work`; the result's image is planes.

    `scale` is the noise and the range that the prior is for; `kind` is a class of descent, None for `QuasiNewton`.
    """
    entered = time.perf_counter()
    max_iter, tol, callback = problem.max_iter, problem.tol, problem.callback
    descent = (kind or QuasiNewton)(work, problem, scale)
    history = [descent.objective]
    stop_reason = ""
    with bar(problem.progress, max_iter) as show:
        while True:
            iteration = len(history) - 1
            descent.direct()
            show(iteration)
            if not math.isfinite(history[-1]):
                stop_reason = "diverged"
            elif descent.optimality <= tol and tol > 0:
                stop_reason = "tolerance"
            elif iteration == max_iter:
                stop_reason = "max_iter"
            elif callback and iteration and wants_stop(
                callback, iteration, history[-1], descent.optimality, descent.shown()
            ):  # fmt: skip
                stop_reason = "callback"
            elif not descent.step():  # nothing is left but rounding
                stop_reason = "tolerance"
            if stop_reason:
                break
            history.append(descent.objective)
    return finished(
        descent.shown(), history, work.applied / 2, stop_reason, descent.optimality, problem.mu, work.blur.path,
        work.device, entered,
    )  # fmt: skip


class QuasiNewton:
    """The current estimate, its objective and gradient, and the step to the next.

    Attributes
    ----------
    objective : float
        In the caller's units.
    optimality : float
        About by how much the next step would lower the objective, relative to it.
    """

    #: Whether three channels may be taken as what they have in common and two differences.
    mixes = True

    def __init__(self, work: LearnedWorkspace, problem: Problem, scale: Scale):
        image, weights, shift, mu, bounds = (
            problem.image, problem.weights, problem.shift, problem.mu, problem.bounds,
        )  # fmt: skip
        self._work, self._weights, self._poisson = work, weights, problem.data == "poisson"
        work.applied = 0
        problem.start(work.frame)
        brightest = max(largest(image), largest(work.frame))
        if shift is not None:
            brightest = max(brightest, float((image + shift).max()))
        self._unit = unit = unit_of(brightest)
        one = work.dtype.type(unit)
        work.frame[...] *= one
        np.multiply(image, one, out=work.image)
        self._shift = None if shift is None else shift * one
        if self._shift is not None:
            work.image += self._shift
            work.image.clip(0, out=work.image)
        spread_out(work.x, work.blur.frame_corner, work.blur.image_shape)
        self._bounds = None if bounds is None else in_units(bounds, unit, work.dtype)
        if self._bounds is not None:
            work.x.clip(*self._bounds, out=work.x)
        self._opponent = self.mixes and _mixable(problem, len(work.blurs))
        if self._opponent:
            for planes in (work.x, work.image):
                planes[...] = _mixed(planes, OPPONENT)
            # A brightness is that of all channels.
            scale = replace(scale, spread=scale.spread * math.sqrt(3))
        weight = typical(weights)
        if self._poisson:  # the curvature of b log Ax
            weight /= max(float(work.image.mean(dtype=np.float64)), STRAIGHT_BELOW)
        self._mu = mu / unit if self._poisson else mu
        work.set_prior(potentials(scale.times(unit)), self._mu, weight)
        self._least = STRAIGHT_BELOW * max(float(work.image.max()), STRAIGHT_BELOW)
        self._photons = photons(work.image, np.ones_like(work.image) if weights is None else weights)
        self._exact = self._exact_fit()
        self._pairs: list[tuple[np.ndarray, np.ndarray, float]] = []
        self._spare = list(zip(work.steps, work.changes, strict=True))
        self._value = self._evaluate(work.x)
        work.set_preconditioner(1.0 if scale.denoises else FIRST)
        self._steps, self._slope, self.optimality = 0, 0.0, math.nan

    @property
    def objective(self) -> float:
        """The current objective in the caller's units."""
        unit = self._unit
        if self._poisson:
            return (self._value + self._exact + math.log(unit) * self._photons) / unit
        return self._value / unit**2

    def _exact_fit(self) -> float:
        """The least that the data term of photons can be."""
        if not self._poisson:
            return 0.0
        counts = self._work.image.astype(np.float64)
        costs = photon_costs(counts, counts)
        return float((costs if self._weights is None else costs * self._weights).sum())

    def _evaluate(self, x: np.ndarray) -> float:
        """The objective of an estimate, for photons less what it is at least; its gradient is left in the workspace."""
        work = self._work
        residual = work.blurred
        work.apply_blur(x, residual)
        if self._poisson:
            value = self._likelihood(residual)
        else:
            square = work.add(residual, -1.0, work.image)
            if self._weights is None:
                value = 0.5 * square
            else:
                value = 0.5 * work.weighted_square(residual, self._weights)
                residual *= self._weights
        work.apply_blur(residual, work.gradient, adjoint=True)
        rough, slopes = work.prior(x)
        work.gradient += slopes
        return value + rough

    def _likelihood(self, mean: np.ndarray) -> float:
        """What photon counts cost, beyond the least; the blurred estimate becomes its gradient.

        Below some mean, costs go on as a straight line.
        """
        counts = self._work.image
        if self._shift is not None:
            mean += self._shift
        within = np.maximum(mean, mean.dtype.type(self._least))
        below = mean - within
        slope = 1 - counts / within
        costs = photon_costs(within, counts) + slope * below
        if self._weights is not None:
            costs *= self._weights
            slope *= self._weights
        mean[...] = slope
        return float(costs.sum(axis=2, dtype=np.float64).sum()) - self._exact

    def direct(self) -> None:
        """Find the direction of the next step, and how much it promises."""
        if self._steps in ANEW:
            self._work.set_preconditioner()
        self._slope = self._quasi_newton()
        if not self._slope < 0 and self._pairs:
            self._forget()
            self._slope = self._quasi_newton()
        promised = max(-self._slope, 0.0)
        self.optimality = promised / abs(self._value) if promised > 0 and self._value != 0 else promised

    def _quasi_newton(self) -> float:
        """The direction, left where its step will be; returns the gradient's product with it."""
        work = self._work
        if not self._spare:
            step, change, _ = self._pairs.pop(0)
            self._spare.append((step, change))
        search_direction = self._spare[0][0]
        held = self._held()
        np.negative(work.gradient, out=search_direction)
        if held is not None:
            search_direction[held] = 0
        factors, pairs = [], self._pairs
        if pairs:
            product = work.products(pairs[-1][0], search_direction)[0]
        for k in reversed(range(len(pairs))):
            _, change, curvature = pairs[k]
            factors.append(product / curvature)
            product = work.add(search_direction, -factors[-1], change, pairs[max(k - 1, 0)][0])
        work.precondition(search_direction)
        if pairs:
            product = work.products(pairs[0][1], search_direction)[0]
        for k, factor in enumerate(reversed(factors)):
            step, _, curvature = pairs[k]
            other = pairs[k + 1][1] if k + 1 < len(pairs) else work.gradient
            product = work.add(search_direction, factor - product / curvature, step, other)
        if held is None and pairs:
            return product
        if held is not None:
            search_direction[held] = 0
        return work.products(work.gradient, search_direction)[0]

    def _held(self) -> np.ndarray | None:
        """Pixels at a bound that a step against the gradient would leave."""
        if self._bounds is None:
            return None
        x, gradient, (low, high) = self._work.x, self._work.gradient, self._bounds
        held: np.ndarray = ((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0))
        return held

    def _forget(self) -> None:
        self._spare += [(step, change) for step, change, _ in self._pairs]
        self._pairs = []

    def step(self) -> bool:
        """Go to the next estimate; tells whether there is one."""
        if self._goes():
            return True
        if not self._pairs:
            return False
        self._forget()
        self.direct()
        return self._goes()

    def _goes(self) -> bool:
        """Go along the direction as far as the objective falls."""
        work = self._work
        if not self._slope < 0:
            return False
        step, change = self._spare[0]
        np.negative(work.gradient, out=change)
        slope, length = self._slope, 1.0
        rounded = ROUNDED * float(np.finfo(work.dtype).eps) * abs(self._value)
        for _ in range(MOST_CUTS):
            work.sum(work.x, length, step, work.trial)
            promised = length * slope
            if self._bounds is not None:
                work.trial.clip(*self._bounds, out=work.trial)
                promised = work.products(change, work.x)[0] - work.products(change, work.trial)[0]
            value = self._evaluate(work.trial)
            if value <= self._value + ENOUGH * promised + rounded * (length < 1) and promised < 0:
                break
            # To the minimum of the parabola through both, within reason.
            excess = value - self._value - promised
            cut = -0.5 * promised / excess if excess > 0 and math.isfinite(excess) else 0.1
            length *= min(max(cut, 0.1), 0.5)
        else:
            np.negative(change, out=work.gradient)
            return False
        work.sum(work.trial, -1.0, work.x, step)
        work.x, work.trial = work.trial, work.x
        self._value, self._steps = value, self._steps + 1
        work.sum(work.gradient, 1.0, change, change)
        curvature, step_square, change_square = work.products(step, change)
        if curvature > LEAST_CURVATURE * math.sqrt(step_square * change_square):
            self._spare.pop(0)
            self._pairs.append((step, change, curvature))
        return True

    def shown(self) -> np.ndarray:
        """The frame of the estimate in the caller's units."""
        frame: np.ndarray = self._work.frame / self._work.dtype.type(self._unit)
        if self._opponent:
            frame = _mixed(frame, OPPONENT.T)
        if self._bounds is not None:  # to the last bit
            frame.clip(*(bound / self._unit for bound in self._bounds), out=frame)
        return frame


def _mixable(problem: Problem, blurs: int) -> bool:
    """Whether the data term of three channels is that of their sums and differences, too."""
    weights = problem.weights
    same = weights is None or bool((weights == weights[:1]).all())
    return len(problem.image) == 3 and problem.data == "squares" and problem.bounds is None and blurs == 1 and same


def _mixed(planes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Planes of which each has a row of the matrix's shares of all.  (Not by BLAS, whose bits depend on threads.)"""
    found: np.ndarray = np.einsum("kl,lij->kij", beside(matrix.astype(planes.dtype), planes), planes)
    return found
