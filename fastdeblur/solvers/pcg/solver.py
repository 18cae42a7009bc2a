"""Preconditioned conjugate gradients (the exact solver): the driver, for both devices.

The minimiser is found in a few dozen products whatever the size.  That of ``sqrt(½‖Ax−b‖²) + mu·sqrt(½‖Dx‖²)`` is also
that of ``½‖Ax−b‖² + ½ridge·‖Dx‖²`` with ``ridge = mu‖Ax−b‖/‖Dx‖``.  Ridge and estimate are improved together: each step
takes the gradient for the current ridge, preconditions it (see `preconditioner`), and finds the minimum of the
objective itself in the span of that, of the last step and of the estimate [1]_.  For a ridge that stays, as with
squares, these are the steps of preconditioned conjugate gradients.

References
----------
.. [1] A. V. Knyazev, "Toward the optimal preconditioned eigensolver: locally optimal block
   preconditioned conjugate gradient method", SIAM Journal on Scientific Computing 23, 2001.
"""

from __future__ import annotations

import math
import time

import numpy as np

from ...kernels.cpu.objective import value
from ...kernels.cpu.vectors import combine, difference_products, gradient_sums, move, move_residual, products
from ...kernels.runtime.arrays import on_host
from ...problem.laplacian import least_subgradient
from ...problem.regularization import ridge_of_root
from ...result import Result
from ..common import Problem, bar, finished, wants_stop
from .fourier import Solved
from .host import PcgWorkspace
from .preconditioner import RidgePreconditioner
from .ridge import RidgeSearch
from .subspace import Span

# A ridge as many times larger or smaller than the preconditioner's needs another.
STAY = 2.5
# A ridge that changed by more than the first factor in a step is still moving, and may be the second one from the
# preconditioner's.
STEADY, MOVING = 1.5, 8.0
# What the objective may lack at a kink, relative to it, times this is compared with the tolerance: elsewhere it
# lacks about the square of it.
LACKING = 100.0
# After so many steps the ridge of the preconditioner's solves is raised: what makes a problem that hard is worse with
# small ones.  (256 x 256, nearest, 0.2 % noise, straight motion of 31 pixels: more than 200 iterations, 49 so.)
PATIENCE = 40
# The residual is carried along; when its square is that small a part of what it was when it was computed, what
# was rounded then counts.
FORGOTTEN = 1e-6
# The largest ridge worth trying, in those that the blur has itself: beyond it rounding leaves nothing of the data.
MOST_RIDGE = 1e8
# A x = r + b is known to last digits of b: below that many of them the estimate is no direction, and where a step is
# more than so many times the estimate, they would count.  (Without, a root objective of 0.7 at least was said to be
# 0.03, in float32 with an image of a few pixels and an estimate of 1e-14.)
SEEN, AMPLIFIED = 32.0, 10.0
# What rounding leaves of the prior's gradient, in last digits of the image, and of the data's, in the residual's.
ROUNDED = 3.0
# The least ridge of a step, in those that the blur has itself, to that power of the last digit.  (The second
# difference that is zero along both axes, mu=0, 16 x 17: the estimate went up to 1e15 without, 1e9 with the power 1.8.)
ROUNDED_RIDGE = 1.35
# No estimate of an image near 1 has a blur or differences of that norm.
FARTHEST = 1e30
# A part of the objective that is less than this share of it is near its kink.
KINK = 1e-3


def minimise(
    work: PcgWorkspace, problem: Problem, given: bool = True, kind: type[ConjugateGradients] | None = None
) -> Result:
    """Minimise an objective with the gradient prior, or none, without bounds; the result's image is planes.

    If the weight is not `given`, the problem's mu is a ridge, and roots get the weight whose minimiser has it.
    """
    entered, blur, mu, root = time.perf_counter(), work.blur, problem.mu, problem.data == "root"
    max_iter, tol, callback = problem.max_iter, problem.tol, problem.callback
    unit = work.begin(problem.image, problem.weights, problem.start)
    descent = (kind or ConjugateGradients)(work, problem.image, root and given, mu, tol)
    done = descent.solved_at_once()
    norms: list[tuple[float, float]] = []
    stop_reason = ""

    def objective(at: int) -> float:
        f, g = norms[at]
        own_mu = mu if given or not root else descent.root_weight(*norms[-1])
        return float(value.py_func(root, own_mu, float(f), float(g))) / (unit if root else unit * unit)

    with bar(problem.progress, max_iter) as show:
        while True:
            if norms:
                norms += descent.go_on(1 if callback else max_iter + 1 - len(norms))
            else:
                if not done or descent.unmeasured:
                    descent.measure()
                norms.append(descent.norms)
            iteration = len(norms) - 1
            show(iteration)
            if descent.diverged or not np.isfinite([*norms[-1], descent.optimality]).all():
                stop_reason = "diverged"
            elif done or (tol > 0 and descent.optimality <= max(tol, descent.rounding)):
                stop_reason = "tolerance"
            elif iteration == max_iter:
                stop_reason = "max_iter"
            elif callback and iteration:
                view = work.shown(unit)
                if wants_stop(callback, iteration, objective(-1), descent.optimality, view):
                    stop_reason = "callback"
            if stop_reason:
                break
    work.norms = norms[-1][0] / unit, norms[-1][1] / unit
    history = [objective(at) for at in range(len(norms))]
    own_mu = mu if given or not root else descent.root_weight(*norms[-1])
    image = work.frame / blur.dtype.type(unit)
    return finished(
        image, history, work.applied / 2, stop_reason, descent.optimality, own_mu, blur.path, blur.device, entered
    )


class ConjugateGradients:
    """The current iterate's scalars, and the step to the next."""

    def __init__(self, work: PcgWorkspace, image: np.ndarray, root: bool, mu: float, tol: float):
        self.work, self._root, self._mu, self._tol = work, root, mu, tol
        self._misfit = 0.0  # squares of norms
        if work.formula is None:
            self._misfit = work.look()
            work.search_direction[...] = 0
            work.blurred_direction[...] = 0
        self._looked_at = self._misfit
        # Less than `nought` is what rounding makes of nothing; with a residual of `clear` or more,
        # Aᵀr can still be told from rounding.
        brightness = float(np.finfo(work.blur.dtype).eps) * math.sqrt(work.square(work.image))
        self._nought, self._clear = 4 * brightness, (32 if work.blur.dtype == np.float32 else 512) * brightness
        # ‖DᵀDx‖ of a smooth image is as uncertain as the last digits of its pixels: about `brightness` for their
        # own rounding, and twice that was measured with what rounding makes of the steps and of the products.
        self._rounded = ROUNDED * brightness / math.sqrt(work.largest) if work.largest > 0 else 0.0
        # The same of Aᵀr, relative to ‖r‖; with the middle one of the weights.
        self.untold = ROUNDED * float(np.finfo(work.blur.dtype).eps) * math.sqrt(work.largest * work.typical)
        #: The optimality that this leaves; to go on for less would only move rounding about.
        self.rounding = 0.0
        self._moved = False
        #: Whether the step that would follow leads nowhere; it is not taken.
        self.diverged = False
        # With less, a step would follow what rounding makes of images that the blur loses, as far as it takes.
        self.least_ridge = float(np.finfo(work.blur.dtype).eps) ** ROUNDED_RIDGE * work.largest
        self.least_seen = (SEEN * float(np.finfo(work.blur.dtype).eps)) ** 2
        self._current: list[RidgePreconditioner] = []
        self._last_ridge = self._made_for = math.inf
        self._steps, self._raised = 0, False
        self._search: RidgeSearch | None = None
        self._guess = ridge_of_root(image, [blur.psf for blur in work.blurs], mu) if root and mu > 0 else 0.0
        self.norms, self.optimality = (math.nan, math.nan), math.nan

    @property
    def unmeasured(self) -> bool:
        """Whether there is something to measure: not at a minimum that is a constant image."""
        return not math.isfinite(self.optimality)

    def root_weight(self, misfit: float, rough: float) -> float:
        """The weight with which the minimiser for this ridge is that of the roots."""
        return float(self._mu * rough / misfit if misfit > self._nought else self._mu)

    def solved_at_once(self) -> bool:
        """Whether no iteration is needed, the iterate having become the minimiser."""
        if self.work.formula is not None:
            self._solve_by_formula()
            return True
        return self._root and self._mu > 0 and self._constant()

    def _solve_by_formula(self) -> None:
        """Let the iterate be the minimiser itself."""
        work = self.work
        work.x[...] = work.image
        assert work.formula is not None
        solved = work.formula.minimise(work.x, work.sweeper, self._root, self._mu)
        if isinstance(solved, Solved):
            self.norms, self.optimality = solved.norms, solved.optimality
            return
        self._misfit = work.look()
        if self._root and self._mu > 0:
            self._search = RidgeSearch(solved)

    def _constant(self) -> bool:
        """Whether the minimum is a constant image, as it is from some mu on; if so the iterate becomes that.

        At a constant c, D x = 0 and the prior's subgradients are mu Dᵀv for all ‖v‖ ≤ 1: one of them has to be
        ``-Aᵀr/‖r‖``, see `least_subgradient`.
        """
        work, sweep = self.work, self.work.sweeper.sweep
        rough = float(sweep(difference_products, [work.x] * 3)[0])
        responses, levels, left = work.response(), [], 0.0
        for response, plane in zip(responses, work.image, strict=True):
            sums = sweep(products, [response, plane, plane, plane])
            levels.append(sums[1] / sums[0] if sums[0] > 0 else 0.0)
            left += max(sums[4] - sums[1] * levels[-1], 0.0)
        misfit = math.sqrt(left)
        if math.sqrt(self._misfit) + self._mu * math.sqrt(rough) < misfit:
            return False
        residual, gradient = work.blurred_fresh, work.gradient
        for level, response, image, out in zip(levels, responses, work.image, residual, strict=True):
            out[...] = work.blur.dtype.type(level) * response - image
        work.apply_blur(residual, gradient, adjoint=True)
        needed = least_subgradient(on_host(gradient), work.periodic)
        misfit = math.sqrt(work.square(residual))
        if needed > self._mu * misfit and misfit > self._nought:
            return False
        for level, x in zip(levels, work.x, strict=True):
            x[...] = level
        work.residual[...] = residual
        self._misfit = misfit * misfit
        self.norms, self.optimality = (misfit, 0.0), 0.0
        return True

    def measure(self) -> None:
        """A^T r of the current iterate, its objective, ridge and optimality."""
        work, mu = self.work, self._mu
        work.apply_blur(work.residual, work.gradient, adjoint=True)
        data, both, prior, rough = work.sweeper.sweep(gradient_sums, [work.gradient, work.x])[:4]
        f, g = math.sqrt(self._misfit), math.sqrt(rough)
        self.norms = f, g
        own = (mu * f / g if g > 0 else math.inf) if self._root else mu
        if self._root and self._search is None and mu > 0 and self._kinked(f, mu * g):
            self._search = RidgeSearch(self._start_of_search(f, g))
        # The start's own is far off, so the first is a guess.
        if self._search:
            own_or_guess = self._search.ridge
        else:
            own_or_guess = own if self._moved or not self._guess else self._guess
        self._ridge = ridge = own_or_guess if own_or_guess < math.inf else 0.0
        # The sum of squares itself: from the three sums it would be a small difference.
        total = math.sqrt(self._combine(ridge))
        parts = math.sqrt(data) + ridge * math.sqrt(prior)
        # Without a prior the two are the same, and where only rounding is left, another step would follow that.
        left = parts > self.untold * f and (ridge > 0 or f > self._nought)
        here = self.optimality = total / parts if left else 0.0
        if not self._search:
            self.rounding = ridge * self._rounded / parts if parts > 0 else 0.0
            return
        self.rounding = 0.0
        if f <= self._nought and mu * g <= self._nought:  # nothing is left of either part
            self.optimality = 0.0
            return
        # At a kink the gradient says nothing: the objective's subgradients there are what counts,
        # and a multiple of the residual is one of them if the ridge is no less than the iterate's own.
        self.optimality, lacking = 1.0, math.inf
        if self._nought < f and self._nought < mu * g:
            total = math.sqrt(max(data + 2 * own * both + own * own * prior, 0.0))
            self.optimality = total / (math.sqrt(data) + own * math.sqrt(prior))
        if own <= ridge:
            by_formula = work.formula is not None  # stationary even where rounding hides it
            misfit = f if by_formula else max(f - self._clear, 0.0)
            lacking = LACKING * misfit * (1 - own / ridge) / (f + mu * g)
            self.optimality = min(self.optimality, max(0.0 if by_formula and f <= self._clear else here, lacking))
        self._search.next(own, here, lacking / max(self._tol, 1e-14))
        self._ridge = self._search.ridge = min(self._search.ridge, MOST_RIDGE * work.largest)
        if self._ridge != ridge:
            self._combine(self._ridge - ridge)

    def _combine(self, ridge: float) -> float:
        """Add `ridge` times DᵀDx to the gradient; returns its square."""
        work = self.work
        return float(work.sweeper.sweep(combine, [work.gradient, work.x], (ridge,))[0])

    def _kinked(self, misfit: float, rough: float) -> bool:
        """Whether the iterate is near the objective's kinks, A x = b and D x = 0, where its gradient says little."""
        return min(misfit, rough) <= KINK * (misfit + rough)

    def _start_of_search(self, f: float, g: float) -> float:
        largest = self.work.largest
        if g <= self._nought:
            return largest
        return max(self._mu * f / g, 1e-5 * largest)

    def _preconditioners_now(self) -> list[RidgePreconditioner]:
        """The preconditioners for about the current ridge, the last ones as long as they will do."""
        ridge = max(self._ridge, self.work.least)
        steady, self._last_ridge = max(ridge, self._last_ridge) < STEADY * min(ridge, self._last_ridge), ridge
        stay = STAY if steady else MOVING
        raised = self._steps >= PATIENCE
        self._steps += 1
        if not self._current or raised is not self._raised or not self._made_for / stay < ridge < self._made_for * stay:
            self._current, self._made_for = self.work.preconditioners_at(ridge, raised), ridge
            self._raised = raised
        return self._current

    def go_on(self, most: int) -> list[tuple[float, float]]:
        """Go to the next iterate, or to a few, at most `most`; returns their norms."""
        self.step()
        if self.diverged:
            return []
        self.measure()
        return [self.norms]

    def step(self) -> None:
        """Go to the next iterate, if there is one."""
        work, sweep = self.work, self.work.sweeper.sweep
        if self.optimality == 0:  # nothing is left, and nobody stopped for that
            return
        work.precondition(self._preconditioners_now(), work.gradient, work.fresh)
        work.apply_blur(work.fresh, work.blurred_fresh)
        in_frame = [work.blurred_fresh, work.blurred_direction, work.residual, work.image]
        p = sweep(products, in_frame)
        q = sweep(difference_products, [work.fresh, work.search_direction, work.x])
        # With A x = r + b, from the products of A z, A p, r and b.
        zz, zp, zr, zb, pp, pr, pb, rr, rb, bb = p[:10]
        zx, px = zr + zb, pr + pb
        aa = np.array([[zz, zp, zx], [zp, pp, px], [zx, px, rr + 2 * rb + bb]])
        a = np.array([zr, pr, rr + rb])
        dd = np.array([[q[0], q[1], q[2]], [q[1], q[3], q[4]], [q[2], q[4], q[5]]])
        kept = np.array([0, 1, 2] if self._moved else [0, 2])
        if not aa[2, 2] > self.least_seen * bb:
            kept = kept[:-1]
        both = np.ix_(kept, kept)
        span = Span(aa[both], a[kept], float(rr), dd[both], dd[2][kept], float(q[5]))
        y = np.zeros(3)
        joint = self._root and self._search is None and self._ridge > 0
        y[kept] = span.root_step(self._mu) if joint else span.ridge_step(max(self._ridge, self.least_ridge))
        if not max(span.norms(y[kept])) < FARTHEST:
            self.diverged = True
            return
        factors = float(y[0]), float(y[1]), 1.0 + float(y[2])
        sweep(move, [work.fresh, work.search_direction, work.x], factors)
        work.without_lost(work.x)
        self._misfit = float(sweep(move_residual, in_frame, factors)[0])
        if self._misfit < FORGOTTEN * self._looked_at or abs(y[2]) > AMPLIFIED:
            self._misfit = self._looked_at = work.look()
        self._moved = True
