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
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...kernels.cpu.lucy import multiply, ratio
from ...kernels.cpu.tiles import SINGLE_PASS, single_pass
from ...kernels.runtime import tasks
from ...kernels.runtime.arrays import module_of
from ...kernels.runtime.tasks import Task
from ...operators.blur import Blur
from ...problem.objective import misfit
from ...problem.start import spread_out
from ...result import Result
from ..common import State, bar, noise_of, unit_of, wants_stop
from ..two_pass import Buffers

# The least a start may have, in shares of the image's mean: a pixel of 0 stays one.
LEAST_START = 1e-2
# Added to the blurred estimate, in shares of the brightest pixel; scikit-image's, for an image up to 1.
FLOOR = 1e-12
# What rounding may take off the likelihood, relatively.
ROUNDING = 3e-7


class LucyWorkspace(Buffers):
    """The buffers of gradient descent, and passes one at a time.

    What it shares with its twin on a GPU, `cuda_poisson`, is what `minimise` and `lucy` use.
    """

    device = "cpu"

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
        tasks.launch(single_pass.address(), self._crew.ctypes.data, self.threads)
        totals: np.ndarray = self.scratch.sums.sum(axis=0)
        return totals

    def shift(self, shift: np.ndarray) -> None:
        """Enter what is added to the blurred estimate: as many planes and rows as there are, or one, all columns."""
        step, itemsize = self.step, shift.itemsize
        self._shift, step["shift"] = shift, shift.ctypes.data
        step["shift_plane"], step["shift_pitch"] = (
            shift.strides[axis] // itemsize if shift.shape[axis] > 1 else 0 for axis in (0, 1)
        )

    def ratio(self) -> np.ndarray:
        """Divide the image by the blurred estimate; returns the sums of the likelihood and of the misfit."""
        return self.run(ratio)

    def multiply(self) -> np.ndarray:
        """Take the step that follows; returns the sums of squares of the change and of the estimate."""
        sums, step = self.run(multiply), self.step
        step["here"], step["there"] = int(step["there"]), int(step["here"])
        return sums

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

    def misfit(self, image: np.ndarray, weights: np.ndarray, shift: np.ndarray | None) -> float:
        """The objective of the current estimate."""
        blurred = np.empty_like(self.unweighted)
        for k, (pixels, result) in enumerate(zip(np.ascontiguousarray(self.estimate), blurred, strict=True)):
            self._blurs[k % len(self._blurs)].run(pixels, result)
        return misfit("poisson", blurred, image, weights, shift)

    def ascend(
        self,
        tol: float,
        allowed: float,
        max_iter: int,
        show: Callable[[int], Any],
        stops: Callable[[int, float, float], bool] | None,
    ) -> Course:
        """Take steps until the change is at most `tol` or the misfit `allowed`; or `stops`, which sees each."""
        likelihoods: list[float] = []
        passes, behind, change, stop_reason = 0, 0, 1.0, ""
        before = math.inf
        while True:
            iteration = len(likelihoods)
            like, residual = self.ratio()[:2]
            passes += 1
            if iteration and like > before + ROUNDING * abs(before):
                self.return_to_last()
                behind = iteration
                like, residual = self.ratio()[:2]
                passes += 1
            like = min(like, before)
            before = like
            likelihoods.append(like)
            show(iteration)
            if tol > 0 and iteration and (change <= tol or residual <= allowed):
                stop_reason = "tolerance" if change <= tol else "noise"
            elif iteration == max_iter:
                stop_reason = "max_iter"
            elif stops and iteration and stops(iteration, like, change):
                stop_reason = "callback"
            if stop_reason:
                return Course(likelihoods, passes, change, stop_reason)
            k = iteration - behind
            self.step["rate"] = k / (k + 3.0)
            moved, whole = self.multiply()[:2]
            passes += 1
            change = math.sqrt(moved / whole) if whole > 0 else 0.0


@dataclass(frozen=True)
class Course:
    """How an ascent went: the likelihood's sums, in the solve's units, and the relative change of the last step."""

    likelihoods: list[float]
    passes: int
    change: float
    stop_reason: str


def photons(image: np.ndarray, weights: np.ndarray) -> float:
    """How many the image shows, weighted."""
    if module_of(image) is np:
        return float(np.einsum("ijk,ijk->i", image, weights).sum(dtype=np.float64))
    return float((image * weights).sum(dtype=np.float64))


def minimise(
    work: LucyWorkspace,
    image: np.ndarray,
    weights: np.ndarray | None,
    start: Callable[[np.ndarray], None] | None,
    *,
    least: float,
    shift: np.ndarray | None = None,
    bounds: tuple[float, float] | None,
    max_iter: int,
    tol: float,
    callback: Callable[[State], Any] | None,
    progress: bool,
) -> Result:
    """Maximise the likelihood of photon counts over planes of pixels.

    With a `shift`, which has all columns and one or as many planes and rows as the image, that was subtracted from
    the image, and is added to it and the blurred estimate again.
    Without a `start` it is what a step makes of an even one: any noise that a start has would stay in it.
    Stops too when the residual's norm, weighted, is at most `least`.  Everything else is as in `api.solve`,
    and has been checked there; so is the result, but for its image, which is planes too.
    """
    entered, step = time.perf_counter(), work.step
    weights = work.weigh(weights)
    low, high = bounds or (0.0, math.inf)
    darkest = LEAST_START * float((image if shift is None else image.clip(0)).mean(dtype=np.float64))
    if start is not None:
        work.begin(start)
    else:
        work.begin_with_step(weights * image)
        unseen = work.known == 0
        if unseen.any():  # they stay as they are: what the image was filled with continues its surroundings
            filled = module_of(image).zeros_like(work.known)
            (top, left), (height, width) = work.blur.frame_corner, work.blur.image_shape
            filled[:, top : top + height, left : left + width] = image
            spread_out(filled, work.blur.frame_corner, work.blur.image_shape)
            work.estimate[unseen] = filled[unseen]
    work.estimate.clip(max(low, min(darkest, high)), high, out=work.estimate)
    work.fill_halo()
    if shift is not None:
        image = (image + shift).clip(0)
    work.take(image, weights)
    work.last[...] = work.estimate
    brightest = float(image.max())
    unit = unit_of(brightest)
    step["unit"], step["low"], step["high"] = unit, low, high
    step["least"], step["measured"] = 0.0, True
    work.shift(max(FLOOR * brightest, 1e-37) + (module_of(image).zeros_like(image[:1, :1]) if shift is None else shift))
    allowed = (least * unit) ** 2
    if shift is not None and least > 0:  # what is not negative cannot follow the noise of a dark ground as far as that
        allowed = max(allowed, (noise_of(image) * unit) ** 2 * float(weights.sum(dtype=np.float64)))
    counts = photons(image, weights)

    def objective(like: float) -> float:
        return (like + math.log(unit) * unit * counts) / unit

    def stops(iteration: int, like: float, change: float) -> bool:
        return callback is not None and wants_stop(callback, iteration, objective(like), change, work.frame)

    with bar(progress, max_iter) as show:
        course = work.ascend(tol, allowed, max_iter, show, stops if callback else None)
    history = [objective(like) for like in course.likelihoods]
    history[-1] = work.misfit(image, weights, shift)
    return Result(
        image=work.frame.copy(),
        objective=history[-1],
        history=np.array(history),
        n_iter=len(history) - 1,
        n_products=course.passes / 2,
        stop_reason=course.stop_reason,
        optimality=course.change,
        mu=0.0,
        path=work.blur.path,
        device=work.device,
        seconds=time.perf_counter() - entered,
    )


def lucy(work: LucyWorkspace, image: np.ndarray, num_iter: int, least: float) -> np.ndarray:
    """Plain steps from an even gray, without normalisation, as scikit-image takes them.

    Where the blurred estimate is less than `least`, it is not divided by.
    """
    step = work.step
    work.known[...] = 1
    work.begin(lambda out: out.fill(0.5))
    work.take(image, work.unweighted)
    step["unit"], step["low"], step["high"] = 1.0, -math.inf, math.inf
    step["least"], step["measured"], step["rate"] = least, False, 0.0
    work.shift(np.full_like(image[:1, :1], FLOOR))
    with np.errstate(over="ignore"):  # of sums that nobody asks for
        for _ in range(num_iter):
            work.ratio()
            work.multiply()
    restored: np.ndarray = work.frame[...].copy()
    return restored
