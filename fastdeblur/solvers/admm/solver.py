"""ADMM (alternating direction method of multipliers) driver: tv and sparse priors, poisson data, bounds, denoisers.

The estimate's differences and the blurred estimate have split variables, whose proximal steps go pixel by pixel (the
z-update, see `kernels.cpu.z_update`).  The x-update is a quadratic problem that the Fourier transform diagonalises, on
a periodic domain larger than the image: as the blurred estimate is free where there are no data, nothing is assumed
about pixels beyond the frame [1]_, [2]_.  Bounds and denoisers [3]_ have a third split variable, a copy of the
estimate, and so do other boundaries where the x-update is not that of `iterative`.

References
----------
.. [1] M. S. C. Almeida and M. A. T. Figueiredo, "Deconvolving images with unknown boundaries using the
   alternating direction method of multipliers", IEEE Transactions on Image Processing 22, 2013.
.. [2] A. Matakos, S. Ramani and J. A. Fessler, "Accelerated edge-preserving image restoration without
   boundary artifacts", IEEE Transactions on Image Processing 22, 2013.
.. [3] S. V. Venkatakrishnan, C. A. Bouman and B. Wohlberg, "Plug-and-play priors for model based
   reconstruction", IEEE GlobalSIP 2013.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ...kernels.cpu.shrink import POWER
from ...kernels.cpu.z_update import MISFIT, ROUGHNESS, SUMS_OF_SPLIT
from ...operators.boundary import frame_of
from ...problem.objective import SECOND_WEIGHT
from ...problem.spectrum import SPARSE_SHARE, contrast_share, spread
from ...problem.weights import typical
from ...result import Result
from ..common import Problem, State, bar, finished, in_units, noise_of, unit_of, wants_stop
from .continuation import continue_planes
from .host import AdmmWorkspace

# Exponents of the priors: how a prior grows with the image's brightness.
EXPONENTS = {"tv": 1.0, "gradient": 2.0, "sparse": POWER, "denoiser": 2.0}
# Over-relaxation of the split variables.
RELAX = {"tv": 1.8, "gradient": 1.8, "sparse": 1.5, "denoiser": 1.0}
# First threshold of the shrinkage of differences, in shares of the image's range.
THRESHOLD = 0.03
# The other priors' penalties are looked at every few steps, until some step; those are steps at which a GPU's sums
# are looked at, too.
LOOK, LAST_LOOK, MOST_CHANGE = 5, 100, 2.0
# The sparse prior's penalties grow once they have stood for some steps and the objective has changed by less than a
# share in LOOK of them, or after that share of all steps; and by what factor a step, and in all.  (Text, cells, camera
# and coins, Gaussian and disk, noise of 0.1 and 1 %: 28.8 dB and 38 steps; with a factor of 1.6 28.7 dB and 30, with 25
# steps 28.8 and 44.  Penalties that do not grow do not converge.)
STEADY, MOST_STEADY, RESTS, GROWTH, GROWN = 15, 0.8, 0.015, 1.3, 1.6**25
# The same for images of points (SPARSE_SHARE of `problem.spectrum`), whose minimum is far from the start and where
# objectives rise and fall on the way: from so many looks to the next as many, means have to change by no more than the
# tolerance a look, and those of the residual to fall to no less than STILL.  Growth takes GROWING steps.  (40 points,
# Gaussian and disk, noise of 0.1 and 1 %, with and without bounds: 420 to 1218 steps, and no objective is above that of
# the solution with tv; after 300 steps, and with looks one by one, by up to an eighth.  The share is in fields of 20 to
# 200 stars 0.02 to 0.19, in the densest 0.38; in eleven photographs 0.24 and more, in the Hubble deep field 0.11.)
LOOKS_OF_POINTS, STILL, GROWTH_OF_POINTS = 20, 0.95, 1.1
GROWING = math.ceil(math.log(GROWN) / math.log(GROWTH_OF_POINTS)) + 2 * LOOK
# Least penalty of the sparse prior's blurred estimate, for data of weight 1: with a smaller one growth freezes it
# before it has come to the data.  (0.1 % of noise, disk: 1.4 to 1.7 times the objective of the solution with tv.)
LEAST_DATA = 0.05
# Least penalty of the estimate's copy, in shares of that.  (With 0.05 photographs with 0.1 % of noise take 60 steps for
# 45, with 0.01 points within bounds 300 for 230.)
LEAST_PIXELS = 0.02
# Split variables of the other priors are loose where, after some steps, the estimate is further from its copy than so
# many times what is left of the image (squared), or its blur from the split variable of that than so many times the
# noise, of which an image has at least some share of its range.  Of an image of points these are shares of what is
# left; the last counts where that is so many times the noise.  Loose penalties are made so many times larger.  (40 and
# 200 stars, disk of 5, tv within bounds: 178 to 220 steps instead of 223 to more than 300.)
LOOSE_STEP, LOOSE_COPY, LOOSE_BLUR, LEAST_SEEN = 20, 5.0, 20.0, 1e-3
LOOSE_COPY_OF_POINTS, LOOSE_BLUR_OF_POINTS, LOOSE_MISFIT_OF_POINTS = 0.1, 0.1, 1.1
TIGHTER = 10.0
# Roots: how often the ridge follows the estimate, once the residuals are below the second number.
RIDGE_LOOK, RIDGE_RESIDUAL = 10, 0.02
# An x-update that is not exact may not bear over-relaxation: where the residuals are above the last number, and have
# not fallen below that share in so many steps, there is none from then on.  (Tv, 128 x 128, motion of 31 pixels: with
# it more than 400 steps for three of four boundaries, 180 to 257 without.  Motion of 15 pixels: 112 to 116 with it, 140
# to 144 without.)
CALM_LOOK, CALM, CALM_LEAST = 30, 0.6, 1e-3
# With photons, what the differences' split variable lacks counts this much.  (Gaussian and disk, 512 x 512 and 1024 x
# 1024: 82 to 112 steps instead of 84 to 137; 0.45 79 to 119, 0.2 88 to 110.)
LACKING_OF_PHOTONS = 0.3
# Sigmas of a denoiser: the first in shares of the image's range, the last in noises, and how many.
FIRST_SIGMA, LAST_SIGMA, SIGMAS = 0.1, 4.0, 20
# Least and largest weight that penalties follow, for data and an image of the usual weight and range.
REASON = 1e-7, 1e3
# Least range of an image to reckon with, where its start is near 1.
LEAST_SPREAD = 1e-12
# Least noise that a denoiser is told to remove, in shares of the image's range.
LEAST_NOISE = 1e-6


class Penalties:
    """Penalty parameters of the split variables: the blurred estimate, the differences, the copy."""

    def __init__(self, work: AdmmWorkspace, mu: float, spread: float, typical_weight: float):
        """For `mu`, data of weight `typical_weight`, and an image of the range `spread`."""
        self._work, self._job, self.mu = work, work.job, mu
        self._exponent = EXPONENTS[work.kind]
        job, threshold = self._job, THRESHOLD * spread
        # For weights beyond reason, penalties that are within it.
        usual = typical_weight * spread ** (2 - self._exponent)
        mu = min(max(mu, REASON[0] * usual), REASON[1] * usual)
        # What mu would be for total variation: where the slopes of both priors are the same.
        slope = mu * self._exponent * (2 * threshold) ** (self._exponent - 1)
        self.rho = mu * threshold ** (self._exponent - 2)
        self.data = 0.4 * math.sqrt(slope / threshold * typical_weight)
        self.pixels = max(0.5 * self.rho, 0.05 * self.data) if work.has_pixels else 0.0
        if work.kind == "sparse":
            self.data = max(self.data, LEAST_DATA * typical_weight)
            self.pixels = max(self.pixels, LEAST_PIXELS * self.data) if work.has_pixels else 0.0
        if work.quadratic:
            self.data = 1.0
        job["data_rho"] = job["data_rho_before"] = self.data
        job["data_keep"] = job["keep"] = 1.0
        self._enter()
        job["threshold_before"], job["second_threshold_before"] = job["threshold"], job["second_threshold"]

    def _enter(self) -> None:
        job, second = self._job, self._work.kind == "sparse"
        job["data_rho"], job["pixels_rho"] = self.data, self.pixels
        job["rho"] = self.rho if self._work.differences else 0.0
        job["second_rho"] = SECOND_WEIGHT * self.rho if second else 0.0
        if self._exponent < 2:
            threshold = (self.mu / self.rho) ** (1 / (2 - self._exponent))
        else:
            threshold = self.mu / (self.mu + self.rho)
        job["threshold"] = job["second_threshold"] = threshold

    def hold(self) -> None:
        """Make the current values those before the next step."""
        job = self._job
        job["data_rho_before"], job["data_keep"], job["keep"] = self.data, 1.0, 1.0
        job["threshold_before"], job["second_threshold_before"] = job["threshold"], job["second_threshold"]

    def change(self, data: float, differences: float) -> None:
        """Multiply penalties; the duals, which are in units of them, are divided."""
        if self._work.quadratic:
            data = 1.0
        self.data *= data
        self.rho *= differences
        self._job["data_keep"], self._job["keep"] = 1 / data, 1 / differences
        self._enter()

    def reweigh(self, mu: float) -> None:
        """Set another mu."""
        self.mu = mu
        self._enter()


def minimise(
    work: AdmmWorkspace,
    problem: Problem,
    ridge: float | None,
    denoiser: Callable[[np.ndarray, float], np.ndarray] | None,
) -> Result:
    """Minimise an objective in the memory of `work`, which may be on a GPU; the result's image is planes.

    `ridge` is about that of roots; `denoiser` takes and returns planes of the estimate.
    """
    entered = time.perf_counter()
    max_iter, tol, callback = problem.max_iter, problem.tol, problem.callback
    solve = AdmmIteration(work, problem, ridge, denoiser)
    history: list[float] = []
    stop_reason, iteration = "", 0
    # To look at sums is to wait for them: what they decide is decided then.
    every = 1 if callback else work.look_every
    with bar(problem.progress, max_iter) as show:
        while True:
            looks = iteration % every == 0 or iteration == max_iter
            solve.update_z(iteration)
            if looks:
                history += solve.look()
                if callback and work.has_pixels:  # of what it is shown
                    history[-1] = solve.objective = solve.final_objective()
                show(iteration)
                if iteration > 1 and solve.optimality <= tol and tol > 0:
                    stop_reason = "tolerance"
                elif iteration == max_iter:
                    stop_reason = "max_iter"
                elif callback and iteration and solve.stops(callback, iteration):
                    stop_reason = "callback"
            if stop_reason:
                break
            work.update_x()
            solve.adapt(iteration, looks)
            iteration += 1
    if work.has_pixels and not callback:  # the copy's objective, not the estimate's
        history[-1] = solve.final_objective()
    products = len(history) + work.products_beside + 0.5 * work.has_pixels
    return finished(
        solve.shown(), history, products, stop_reason, solve.optimality, problem.mu, work.path, work.device, entered
    )


class AdmmIteration:
    """Scalars of a solve, and the work between its passes: sums, penalties, stopping."""

    def __init__(
        self,
        work: AdmmWorkspace,
        problem: Problem,
        ridge: float | None,
        denoiser: Callable[[np.ndarray, float], np.ndarray] | None,
    ):
        image, weights, data, mu, bounds = problem.image, problem.weights, problem.data, problem.mu, problem.bounds
        self._work, self._data, self._mu, self._denoiser = work, data, mu, denoiser
        low, high = bounds or (-math.inf, math.inf)
        # How far bounds keep the estimate away from an image, all of which is beyond them.
        forced = max(low - float(image.max()), float(image.min()) - high, 0.0)
        self._begin(problem, forced)
        work.keep_quadratic(data != "poisson" and weights is None)
        unit, kind = self._unit, work.kind
        exponent = EXPONENTS[kind]
        self._scaled_mu = mu if data == "poisson" else mu * unit ** (2 - exponent)
        self._bounds = None if bounds is None else in_units(bounds, unit, image.dtype)
        if kind == "denoiser":
            self._scaled_mu = max(mu * unit * unit, (LEAST_NOISE * self._spread) ** 2)
        typical_weight = self._typical_weight = typical(weights)
        if data == "poisson":  # the curvature of b log Ax
            typical_weight /= max(float(work.image.mean(dtype=np.float64)), 1e-6)
        job = work.job
        job["poisson"], job["unit"], job["factor"] = data == "poisson", 1.0, SECOND_WEIGHT
        job["relax"] = self._relax = min(RELAX[kind], work.most_relax)
        prior_mu = 0.0 if kind == "denoiser" else self._scaled_mu
        self._penalties = Penalties(work, prior_mu if ridge is None else ridge, self._spread, typical_weight)
        if kind == "denoiser":
            self._penalties.data = 0.3 * typical_weight
            self._penalties.pixels = self._scaled_mu / self._sigma(0) ** 2
            self._penalties.change(1.0, 1.0)
            self._penalties.hold()
        self._sums = np.zeros(3 * SUMS_OF_SPLIT)
        self._pixels_keep, self._grown, self._residual = 1.0, 1.0, 1.0
        # Where penalties had to grow before the objective had come to rest, by what share it still changed.
        self._change_before_growth = 0.0
        self._tol = problem.tol
        self._grows, self._split_objective = False, math.inf
        self._seen: list[tuple[float, float]] = []
        self._misfit, self._noise = 0.0, self._energy_of_noise()
        self._has_points = contrast_share(work.image) < SPARSE_SHARE
        self._most_steady = MOST_STEADY * problem.max_iter
        if self._has_points:
            self._most_steady = max(self._most_steady, problem.max_iter - GROWING)
        self._norms = 0.0, 0.0
        self._residual_before = math.inf
        self.objective, self.optimality = math.nan, 1.0

    def _begin(self, problem: Problem, forced: float) -> None:
        work, image, weights, shift = self._work, problem.image, problem.weights, problem.shift
        work.image[...] = image
        work.weights[...] = 1 if weights is None else weights
        brightest = max(float(work.image.max()), -float(work.image.min()))
        if shift is not None:
            brightest = max(brightest, float((work.image + shift).max()))

        def scaled(out: np.ndarray) -> None:
            problem.start(out)
            self._unit = unit_of(max(brightest, float(out.max()), -float(out.min()), forced))
            out *= work.dtype.type(self._unit)

        work.begin(scaled)
        work.scale(self._unit)
        self._spread = max(spread(work.image), forced * self._unit, LEAST_SPREAD)
        if shift is not None:  # photons were counted with it
            shift = shift * work.dtype.type(self._unit)
            work.image += shift
            work.image.clip(0, out=work.image)
        work.shift(shift)
        self._counts = work.photon_counts()
        self._observed = self._observed_pixels(weights)
        work.set_observed(self._observed)

    def _observed_pixels(self, weights: np.ndarray | None) -> np.ndarray | None:
        """Pixels of the estimate within the psf's reach of data; None if all are, or there are no differences.

        The prior does not count the others, as it does not count pixels far outside the frame.  (tv, 128 x 128, half of
        the pixels missing in one block, on one side: 257 and 400 steps with them, 168 and 130 without; 127 with no
        pixel missing.  With photons 667 and more than 1000, 139 and 146; 91.)
        """
        if weights is None or not self._work.differences:
            return None
        present = weights > 0
        if present.all():
            return None
        observed = self._work.domain.observed(present)
        return None if observed.all() else observed

    def _energy_of_noise(self) -> float:
        """About the square of the noise's norm, weighted, from differences."""
        noise = max(noise_of(self._work.image), LEAST_SEEN * self._spread)
        return noise**2 * float(self._work.weights.sum(dtype=np.float64))

    def update_z(self, iteration: int) -> None:
        """Take the z-update of all split variables."""
        work = self._work
        if work.has_pixels:
            work.update_pixels(self._projection(iteration), self._relax, self._pixels_keep)
        self._pixels_keep = 1.0
        work.update_z()

    def look(self) -> list[float]:
        """The objectives of the steps since the last look; sets objective and optimality to the last one's."""
        objectives = []
        for sums, of_pixels in self._work.look():
            self._sums[: 2 * SUMS_OF_SPLIT], self._sums[2 * SUMS_OF_SPLIT :] = (
                sums[: 2 * SUMS_OF_SPLIT],
                of_pixels[:SUMS_OF_SPLIT],
            )
            half, rough = 0.5 * float(sums[MISFIT]), float(sums[ROUGHNESS])
            if self._data == "root":
                self._norms = math.sqrt(2 * half), math.sqrt(2 * rough)
            self._misfit = 0.0 if self._data == "poisson" else float(sums[MISFIT])
            self.objective = self._value(float(sums[MISFIT]) if self._data == "poisson" else half, rough)
            objectives.append(self.objective)
        self._split_objective = self.objective
        self._residual = self._relative_residual()
        self.optimality = max(self._residual, self._change_before_growth)
        if self._data == "root" and self._mu > 0:  # the ridge must be the estimate's own, too
            self.optimality = max(
                self.optimality, min(0.1 * abs(math.log(self._own_ridge() / self._penalties.mu)), 1.0)
            )
        return objectives

    def _projection(self, iteration: int) -> Callable[[np.ndarray], np.ndarray]:
        """The proximal map of the copy of the estimate: the denoiser, then the bounds."""

        def project(near: np.ndarray) -> np.ndarray:
            if self._denoiser is not None:
                unit = self._work.dtype.type(self._unit)
                near = self._denoiser(near / unit, self._sigma(iteration) / self._unit) * unit
            if self._bounds is not None:
                near.clip(*self._bounds, out=near)
            return near

        return project

    def _sigma(self, iteration: int) -> float:
        """The noise that a denoiser is told to remove: from a share of the image's range down to the noise itself."""
        last = LAST_SIGMA * math.sqrt(self._scaled_mu / self._typical_weight)
        first = max(FIRST_SIGMA * self._spread, last)
        return float(first * (last / first) ** min(iteration / (SIGMAS - 1), 1.0))

    def _value(self, misfit_part: float, rough: float) -> float:
        """The objective in the caller's units, from its two parts in the solve's."""
        unit = self._unit
        if self._data == "root":
            misfit, roughness = math.sqrt(2 * misfit_part), math.sqrt(2 * rough)
            return (misfit + self._mu * roughness) * math.sqrt(0.5) / unit
        if self._work.kind == "denoiser":
            return misfit_part / unit**2
        whole = misfit_part + self._scaled_mu * rough
        if self._data == "poisson":
            return (whole + math.log(unit) * self._counts) / unit
        return whole / unit**2

    def _relative_residual(self) -> float:
        """The larger of the primal and the dual residual, each relative to what it is a difference of."""
        primal, dual, of_x, of_u, force = self._sums.reshape(3, SUMS_OF_SPLIT).T
        penalties = self._penalties
        squares = np.array([penalties.data, penalties.rho, penalties.pixels]) ** 2
        lacking = math.sqrt(_ratio(primal.sum(), max(of_x.sum(), of_u.sum())))
        # Where the penalty grows, duals fade: then the change of the split variables counts.
        against = of_u if self._work.kind == "sparse" else force
        moving = math.sqrt(_ratio((squares * dual).sum(), (squares * against).sum()))
        return max(lacking, moving)

    def adapt(self, iteration: int, looked: bool) -> None:
        """Change the penalties, between the x-update and the next z-update.

        What depends on sums changes only where it has `looked` at them.
        """
        penalties, kind = self._penalties, self._work.kind
        penalties.hold()
        if kind == "denoiser":
            before = penalties.pixels
            penalties.pixels = self._scaled_mu / self._sigma(iteration + 1) ** 2
            self._pixels_keep = before / penalties.pixels
            penalties.change(1.0, 1.0)
        elif kind == "sparse":
            if self._grown == 1 and looked and iteration % LOOK == 0:
                self._grows = self._is_steady(iteration)
            if self._grows and self._grown < GROWN:
                growth = GROWTH_OF_POINTS if self._has_points else GROWTH
                self._grown *= growth
                penalties.pixels *= growth
                self._pixels_keep = 1 / growth
                penalties.change(growth, growth)
        elif looked and iteration == LOOSE_STEP and self._is_loose():
            penalties.pixels *= TIGHTER
            self._pixels_keep = 1 / TIGHTER
            penalties.change(TIGHTER, 1.0)
        elif looked and iteration and iteration % LOOK == 0 and iteration <= LAST_LOOK:
            self._balance()
        if looked and self._work.inexact and iteration and iteration % CALM_LOOK == 0:
            if self._residual > max(CALM * self._residual_before, CALM_LEAST):
                self._relax = self._work.job["relax"] = 1.0
            self._residual_before = self._residual
        follows = looked and self._data == "root" and self._mu > 0
        if follows and iteration % RIDGE_LOOK == 0 and self._residual < RIDGE_RESIDUAL:
            # Half the way, for the estimate of this ridge is not there yet.
            penalties.reweigh(penalties.mu * math.sqrt(min(max(self._own_ridge() / penalties.mu, 0.1), 10.0)))

    def _is_steady(self, iteration: int) -> bool:
        """Whether the sparse prior's split variables, whose penalties stand, have nearly come to rest."""
        self._seen.append((self._split_objective, self._residual))
        if len(self._seen) == 1:
            return False
        share, looks = (self._tol, LOOKS_OF_POINTS) if self._has_points else (RESTS, 1)
        looks = min(looks, len(self._seen) // 2)
        now, before = (np.mean(some, axis=0) for some in (self._seen[-looks:], self._seen[-2 * looks : -looks]))
        change = abs(_ratio(now[0] - before[0], now[0])) / looks
        rests = change <= share and not (self._has_points and now[1] < STILL * before[1])
        if iteration >= max(STEADY, self._most_steady):
            if not rests:  # growth hides that
                self._change_before_growth = change
            return True
        return iteration >= STEADY and len(self._seen) >= 2 * looks and rests

    def _is_loose(self) -> bool:
        """Whether split variables differ from the estimate by more than the noise, or a large weight, explains."""
        blur, copy = (float(self._sums[k]) * self._typical_weight for k in (0, 2 * SUMS_OF_SPLIT))
        left = max(self._misfit, self._noise)
        if self._has_points:
            beyond_noise = self._misfit > LOOSE_MISFIT_OF_POINTS * self._noise
            return copy > LOOSE_COPY_OF_POINTS * left or (beyond_noise and blur > LOOSE_BLUR_OF_POINTS * left)
        return copy > LOOSE_COPY * left or blur > LOOSE_BLUR * self._noise

    def _own_ridge(self) -> float:
        """The ridge of which the estimate would be the minimiser."""
        misfit, rough = self._norms
        least = REASON[0] * max(misfit, 1.0)
        return self._mu * max(misfit, least) / max(rough, least)

    def _balance(self) -> None:
        """Balance the relative primal and dual residuals of each split variable [1]_.

        With poisson data, or unobserved pixels, the copy's are relative to all split variables, as the tolerance is:
        inactive bounds have nearly no dual, relative to which any change is large.  (Poisson and tv, 256 x 256: the
        copy's penalty fell by a factor of 25, and 378 steps were taken for 90.  Tv within bounds, 128 x 128, with a
        corner missing: more than 1000 for 124.  With other data fewer converged: bounds of 0 and 1 on such an image.)

        .. [1] B. Wohlberg, "ADMM penalty parameter selection by residual balancing", arXiv:1704.06209, 2017.
        """
        factors, penalties = [], self._penalties
        sums = self._sums.reshape(3, SUMS_OF_SPLIT)
        squares = np.array([penalties.data, penalties.rho, penalties.pixels]) ** 2
        whole, forces = max(sums[:, 2].sum(), sums[:, 3].sum()), (squares * sums[:, 4]).sum()
        for k, (primal, dual, of_x, of_u, force) in enumerate(sums):
            lacking, moving = _ratio(primal, max(of_x, of_u)), _ratio(dual, force)
            if k == 2 and (self._data == "poisson" or self._observed is not None):
                lacking, moving = _ratio(primal, whole), _ratio(squares[k] * dual, forces)
            if k == 1 and self._data == "poisson":
                lacking *= LACKING_OF_PHOTONS
            ratio = (lacking / moving) ** 0.25 if lacking > 0 and moving > 0 else 1.0
            factors.append(min(max(ratio, 1 / MOST_CHANGE), MOST_CHANGE))
        penalties.pixels *= factors[2]
        self._pixels_keep = 1 / factors[2]
        penalties.change(factors[0], factors[1])

    def shown(self) -> np.ndarray:
        """The frame of the estimate in the caller's units."""
        frame: np.ndarray = frame_of(self._work.estimate, self._work.blur) / self._work.dtype.type(self._unit)
        if self._observed is not None:
            continue_planes(frame, frame_of(self._observed, self._work.blur), self._work.domain.periodic)
        if self._bounds is not None:  # to the last bit
            frame.clip(*(bound / self._unit for bound in self._bounds), out=frame)
        return frame

    def stops(self, callback: Callable[[State], Any], iteration: int) -> bool:
        """Whether the callback stops the solve."""
        return wants_stop(callback, iteration, self.objective, self.optimality, self.shown())

    def final_objective(self) -> float:
        """The objective of the copy of the estimate."""
        return self._value(*self._work.parts(self._data == "poisson"))


def _ratio(part: Any, whole: Any) -> float:
    """The quotient; where `whole` is 0, 1 if there is a part, else 0."""
    return float(part / whole) if whole > 1e-30 else float(part > 1e-30)
