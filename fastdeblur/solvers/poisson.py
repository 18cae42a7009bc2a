"""Photon noise: Richardson-Lucy [1]_, [2]_, normalised at the border, accelerated, and stopped at the noise.

A step multiplies the estimate by ``Aᵀ(w b / Ax) / Aᵀw``.  The division lets pixels that the image shows only in
part, or not at all, take part as they should, whatever the boundary; it is what keeps the border
free of artefacts.  Steps are taken from a point ahead of the estimate [3]_; where the likelihood
is less there than before, from the estimate itself.  Any step from a point makes the likelihood no less, so
it never falls.

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
from typing import Any

import numpy as np

from .. import runtime
from ..blur import Blur
from ..kernels.lucy import multiply, ratio
from ..kernels.tiles import SINGLE_PASS, single_pass
from ..objective import misfit
from ..result import Result
from ..runtime import Task
from .descent import Buffers
from .shared import State, bar, unit_of, wants_stop

# The least a start may have, in shares of the image's mean: a pixel of 0 stays one.
LEAST_START = 1e-2
# Added to the blurred estimate, in shares of the brightest pixel; scikit-image's, for an image up to 1.
FLOOR = 1e-12
# What rounding may take off the likelihood, relatively.
ROUNDING = 3e-7


class Workspace(Buffers):
    """The buffers of gradient descent, and passes one at a time."""

    def __init__(self, blurs: list[Blur], planes: int):
        super().__init__(blurs, planes, states=2, passes=2)
        self._blurs = blurs
        self._crew = np.zeros((), SINGLE_PASS)
        self.scratch.describe_crew(self._crew)
        self._crew["record"] = self.step.ctypes.data
        shape = planes, *blurs[0].estimate_shape
        # The last estimate before it was taken ahead, and 1 / (A^T w).
        self.last, self.known = self.state.reshape(2, *shape)
        self.unweighted = np.ones((planes, *blurs[0].image_shape), self.state.dtype)

    def run(self, task: Task) -> np.ndarray:
        """Go through the tiles of one pass; returns its sums."""
        self._crew["task"] = task.address(self.state.dtype)
        self.scratch.share()
        runtime.launch(single_pass.address(), self._crew.ctypes.data, self.slots)
        totals: np.ndarray = self.scratch.sums.sum(axis=0)
        return totals

    def exchange(self) -> None:
        """Let the next estimate be the current one."""
        step = self.step
        step["here"], step["there"] = int(step["there"]), int(step["here"])

    @property
    def estimate(self) -> np.ndarray:
        """The current estimate, planes x rows x cols."""
        return self._current().pixels

    def weigh(self, weights: np.ndarray | None) -> np.ndarray:
        """Find 1 / (A^T w), 0 where that is nothing; returns the weights."""
        weights = self.unweighted if weights is None else weights
        for k, (heavy, out) in enumerate(zip(weights, self.known, strict=True)):
            self._blurs[k % len(self._blurs)].run(heavy, out, adjoint=True)
        nothing = self.known <= 1e-6 * float(self.known.max())
        self.known[nothing] = np.inf
        np.divide(1, self.known, out=self.known)
        return weights

    def begin_with_step(self, weighed: np.ndarray) -> None:
        """Begin with A^T (w b) / A^T w."""
        self.step["here"] = self.estimates[0].address
        self.step["there"] = self.estimates[1].address
        for k, (image, out) in enumerate(zip(weighed, self.last, strict=True)):
            self._blurs[k % len(self._blurs)].run(image, out, adjoint=True)
        np.multiply(self.last, self.known, out=self.estimate)

    def return_to_last(self) -> None:
        """Go back from ahead of the estimate to it."""
        self.estimate[...] = self.last
        self.fill_halo()

    def blurred(self, estimate: np.ndarray) -> np.ndarray:
        """A x."""
        out = np.empty_like(self.unweighted)
        for k, (pixels, result) in enumerate(zip(estimate, out, strict=True)):
            self._blurs[k % len(self._blurs)].run(pixels, result)
        return out


def minimise(
    work: Workspace,
    image: np.ndarray,
    weights: np.ndarray | None,
    start: Callable[[np.ndarray], None] | None,
    *,
    least: float,
    bounds: tuple[float, float] | None,
    max_iter: int,
    tol: float,
    callback: Callable[[State], Any] | None,
    progress: bool,
) -> Result:
    """Maximise the likelihood of photon counts over planes of pixels.

    Without a `start` it is what a step makes of an even one: any noise that a start has would stay in it.
    Stops too when the residual's norm, weighted, is at most `least`.  Everything else is as in `api.solve`,
    and has been checked there; so is the result, but for its image, which is planes too.
    """
    entered, step = time.perf_counter(), work.step
    weights = work.weigh(weights)
    low, high = bounds or (0.0, math.inf)
    darkest = LEAST_START * float(image.mean(dtype=np.float64))
    if start is not None:
        work.begin(start)
    else:
        work.begin_with_step(weights * image)
    np.clip(work.estimate, max(low, min(darkest, high)), high, out=work.estimate)
    work.fill_halo()
    work.take(image, weights)
    work.last[...] = work.estimate
    brightest = float(image.max())
    unit = unit_of(brightest)
    step["unit"], step["low"], step["high"] = unit, low, high
    step["floor"], step["least"], step["measured"] = max(FLOOR * brightest, 1e-37), 0.0, True
    allowed = (least * unit) ** 2
    counts = float(np.einsum("ijk,ijk->i", image, weights).sum(dtype=np.float64))

    history: list[float] = []
    passes, behind, change, stop_reason = 0, 0, 1.0, ""
    before = math.inf
    with bar(progress, max_iter) as show:
        while not stop_reason:
            iteration = len(history)
            like, residual = work.run(ratio)[:2]
            passes += 1
            if iteration and like > before + ROUNDING * abs(before):
                work.return_to_last()
                behind = iteration
                like, residual = work.run(ratio)[:2]
                passes += 1
            like = min(like, before)
            before = like
            history.append((like + math.log(unit) * unit * counts) / unit)
            show(iteration)
            if tol > 0 and iteration and (change <= tol or residual <= allowed):
                stop_reason = "tolerance"
            elif iteration == max_iter:
                stop_reason = "max_iter"
            elif callback and iteration and wants_stop(callback, iteration, history[-1], change, work.frame):
                stop_reason = "callback"
            if stop_reason:
                break
            k = iteration - behind
            step["rate"] = k / (k + 3.0)
            moved, whole = work.run(multiply)[:2]
            passes += 1
            change = math.sqrt(moved / whole) if whole > 0 else 0.0
            work.exchange()
    estimate = np.ascontiguousarray(work.estimate)
    blurred = work.blurred(estimate)
    history[-1] = misfit("poisson", blurred, image, weights)
    return Result(
        image=work.frame.copy(),
        objective=history[-1],
        history=np.array(history),
        n_iter=len(history) - 1,
        n_products=passes / 2,
        stop_reason=stop_reason,
        optimality=change,
        mu=0.0,
        path=work.blur.path,
        device="cpu",
        seconds=time.perf_counter() - entered,
    )


def lucy(work: Workspace, image: np.ndarray, num_iter: int, least: float) -> np.ndarray:
    """Plain steps from an even gray, without normalisation, as scikit-image takes them.

    Where the blurred estimate is less than `least`, it is not divided by.
    """
    step = work.step
    work.known[...] = 1
    work.begin(lambda out: out.fill(0.5))
    work.take(image, work.unweighted)
    step["unit"], step["low"], step["high"] = 1.0, -math.inf, math.inf
    step["floor"], step["least"], step["measured"], step["rate"] = FLOOR, least, False, 0.0
    for _ in range(num_iter):
        work.run(ratio)
        work.run(multiply)
        work.exchange()
    restored: np.ndarray = work.frame[...].copy()
    return restored
