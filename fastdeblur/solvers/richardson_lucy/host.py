"""Richardson-Lucy's workspace and steps (CPU)."""

from __future__ import annotations

import math

import numpy as np

from ...kernels.cpu.lucy import multiply, ratio
from ...kernels.cpu.tiles import SINGLE_PASS, single_pass
from ...kernels.runtime import tasks
from ...kernels.runtime.tasks import Task
from ...operators.blur import Blur, apply_to_planes
from ...problem.objective import misfit
from ..protocols import Progress
from ..two_pass import TwoPassWorkspace
from .solver import LEAST_SENSITIVITY, ROUNDING, Parameters


class RichardsonLucyWorkspace(TwoPassWorkspace):
    """The buffers of gradient descent, and passes one at a time."""

    most_steps = 1024

    def __init__(self, blurs: list[Blur], planes: int):
        super().__init__(blurs, planes, states=2, passes=2)
        self._crew = np.zeros((), SINGLE_PASS)
        self.scratch.describe_crew(self._crew)
        self._crew["record"] = self.step.ctypes.data
        shape = planes, *blurs[0].estimate_shape
        self.last, self.inverse_sensitivity = self.state.reshape(2, *shape)
        self.ones = np.ones((planes, *blurs[0].image_shape), self.state.dtype)

    @property
    def estimate(self) -> np.ndarray:
        """The current estimate, planes x rows x cols."""
        return self._current().pixels

    def set_weights(self, weights: np.ndarray | None) -> np.ndarray:
        """Compute 1 / (Aᵀ w), 0 where that is nothing; returns the weights, those of 1 for None."""
        weights, inverse = self.ones if weights is None else weights, self.inverse_sensitivity
        self._apply_adjoint(weights, inverse)
        nothing = inverse <= LEAST_SENSITIVITY * float(inverse.max())
        inverse[nothing] = np.inf
        np.divide(1, inverse, out=inverse)
        return weights

    def begin_with_step(self, weighted: np.ndarray) -> None:
        """Begin with Aᵀ(w b) / Aᵀw."""
        self.step["here"], self.step["there"] = (buffer.address for buffer in self.estimates)
        self._apply_adjoint(weighted, self.last)
        np.multiply(self.last, self.inverse_sensitivity, out=self.estimate)

    def set_shift(self, shift: np.ndarray) -> None:
        """Enter what is added to the blurred estimate: as many planes and rows as there are, or one, all columns."""
        step, itemsize = self.step, shift.itemsize
        self._shift, step["shift"] = shift, shift.ctypes.data
        step["shift_plane"], step["shift_pitch"] = (
            shift.strides[axis] // itemsize if shift.shape[axis] > 1 else 0 for axis in (0, 1)
        )

    def set_parameters(self, parameters: Parameters) -> None:
        """Enter what the steps depend on, and let the iteration begin anew."""
        self._parameters, step = parameters, self.step
        step["unit"], step["low"], step["high"] = parameters.unit, parameters.low, parameters.high
        step["least"], step["measured"], step["rate"] = parameters.least_mean, not parameters.plain, 0.0
        # (Planes of ones, and an estimate that nothing is taken ahead of, took a third of a large image's step.)
        states = [each.ctypes.data for each in (self.last, self.inverse_sensitivity)]
        step["first"], step["second"] = (0, 0) if parameters.plain else states
        if parameters.plain:
            step["weights"] = 0
        self._iteration = -1  # that of the last report
        # Where acceleration last began anew; the last likelihood, and the last step's relative change.
        self._restart, self._likelihood, self._change, self._passes = 0, math.inf, 1.0, 0

    def advance(self, limit: int) -> Progress:
        """Take at most `limit` steps."""
        likelihoods: list[float] = []
        stop_reason = ""
        while len(likelihoods) < limit and not stop_reason:
            if self._iteration >= 0:
                k = self._iteration - self._restart
                self.step["rate"] = k / (k + 3.0)
                moved, whole = self.multiply()[:2]
                self._change = math.sqrt(moved / whole) if whole > 0 else 0.0
            self._iteration += 1
            likelihood, residual = self.ratio()[:2]
            if self._iteration and likelihood > self._likelihood + ROUNDING * abs(self._likelihood):
                self._return_to_last()
                self._restart = self._iteration
                likelihood, residual = self.ratio()[:2]
            self._likelihood = min(float(likelihood), self._likelihood)
            likelihoods.append(self._likelihood)
            stop_reason = self._stop_reason(float(residual))
        return Progress(likelihoods, self._likelihood, self._change, self._passes, stop_reason)

    def _stop_reason(self, residual: float) -> str:
        """Why to stop at this iterate, whose residual has that squared norm; empty to go on."""
        tol, iteration = self._parameters.tol, self._iteration
        if tol > 0 and iteration and (self._change <= tol or residual <= self._parameters.allowed_misfit):
            return "tolerance" if self._change <= tol else "noise"
        return "max_iter" if iteration == self._parameters.max_iter else ""

    def ratio(self) -> np.ndarray:
        """Divide the image by the blurred estimate; returns the sums of the likelihood and of the misfit."""
        return self._pass(ratio)

    def multiply(self) -> np.ndarray:
        """Multiply the estimate, and take it ahead; returns the sums of squares of the change and of the estimate."""
        sums, step = self._pass(multiply), self.step
        step["here"], step["there"] = int(step["there"]), int(step["here"])
        return sums

    def misfit(self, image: np.ndarray, weights: np.ndarray, shift: np.ndarray | None) -> float:
        """The objective of the current estimate, in double precision."""
        blurred = np.empty_like(self.ones)
        apply_to_planes(self.blurs, np.ascontiguousarray(self.estimate), blurred)
        return misfit("poisson", blurred, image, weights, shift)

    def _pass(self, task: Task) -> np.ndarray:
        """Go through the tiles of one pass; returns its sums."""
        self._crew["task"] = task.address(self.state.dtype)
        self.scratch.share()
        tasks.launch(single_pass.address(), self._crew.ctypes.data, self.threads)
        self._passes += 1
        totals: np.ndarray = self.scratch.sums.sum(axis=0)
        return totals

    def _return_to_last(self) -> None:
        """Take the estimate back from ahead."""
        self.estimate[...] = self.last
        self.fill_halo()

    def _apply_adjoint(self, planes: np.ndarray, out: np.ndarray) -> None:
        apply_to_planes(self.blurs, planes, out, adjoint=True)
