"""Richardson-Lucy on the GPU: the memory and the launches of a step; the twin of `poisson.Workspace`.

The host launches steps ahead and now and then looks how far they are; see `cuda.lucy`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ...kernels.cuda import device, lucy
from ...kernels.cuda.device import launch, view
from ...kernels.cuda.shapes import ADDERS
from ...kernels.cuda.sums import SUMS, total
from ...kernels.cuda.z_update import runs
from ...operators.blur import Blur
from ...problem.start import spread_out
from ..gradient.solver import PATIENCE
from .solver import ROUNDING, Course

STOP_REASONS = {lucy.TOLERANCE: "tolerance", lucy.NOISE: "noise", lucy.STEPS: "max_iter"}


class CudaLucyWorkspace:
    """The arrays of an ascent on the device and its launches; see `poisson.Workspace`."""

    device = "cuda"

    def __init__(self, blurs: list[Blur], planes: int):
        self.blur, self._operator = blurs[0], blurs[0].operator_with(blurs)
        dtype = self.blur.dtype
        self.step: dict[str, float] = {}
        shape, frame = (planes, *self.blur.estimate_shape), (planes, *self.blur.image_shape)
        self._kernels = lucy.lucy(dtype)
        self.unweighted = device.zeros(frame, dtype)
        self.unweighted[...] = 1
        # The estimate as it is taken ahead, the last one before, 1 / (A^T w), and what the estimate is multiplied with.
        self.estimate, self.last, self.known, self._factors = (device.zeros(shape, dtype) for _ in range(4))
        self._blurred = device.zeros(frame, dtype)
        self._views = [view(each) for each in (self.estimate, self._factors, self.known, self.last)]
        self._blurred_view = view(self._blurred)
        self._there, self._back = runs(*frame[1:], planes), runs(*shape[1:], planes)
        self._there_blocks, self._back_blocks = (math.prod(each[0]) for each in (self._there, self._back))
        self._partials = view(device.zeros((max(self._there_blocks, self._back_blocks), SUMS), np.float64))
        self._totals = device.zeros((1, SUMS), np.float64)
        self._scalars, self._history = device.zeros(lucy.SCALARS, np.float64), device.zeros(lucy.HISTORY, np.float64)
        self._totals_view, self._scalars_view = view(self._totals), view(self._scalars)
        self._history_view = view(self._history)

    @property
    def frame(self) -> Any:
        """The part of the current estimate that the image shows, planes x rows x cols."""
        (top, left), (height, width) = self.blur.frame_corner, self.blur.image_shape
        return self.estimate[:, top : top + height, left : left + width]

    def begin(self, start: Callable[[Any], None]) -> None:
        """Let `start` write the frame of the first estimate; beyond it its nearest pixels go on."""
        start(self.frame)
        spread_out(self.estimate, self.blur.frame_corner, self.blur.image_shape)

    def begin_with_step(self, weighed: Any) -> None:
        """Begin with A^T (w b) / A^T w."""
        self._operator.adjoint(weighed, self.estimate)
        self.estimate *= self.known

    def fill_halo(self) -> None:
        """There is none: tables say what stands around the estimate."""

    def weigh(self, weights: Any) -> Any:
        """Find 1 / (A^T w), 0 where that is nothing; returns the weights."""
        xp = device.arrays()
        weights = self.unweighted if weights is None else weights
        self._operator.adjoint(weights, self.known)
        self.known[self.known <= 1e-6 * self.known.max()] = np.inf
        xp.divide(1, self.known, out=self.known)
        return weights

    def take(self, image: Any, weights: Any) -> None:
        """Enter the image and its weights."""
        self._kept = image, weights
        self._image, self._weights = view(image), view(weights)
        scalars = np.zeros(lucy.SCALARS)
        scalars[lucy.CHANGE], scalars[lucy.LIKELIHOOD] = 1.0, math.inf
        self._scalars[...] = device.put(scalars)

    def shift(self, shift: Any) -> None:
        """Enter what is added to the blurred estimate; see `poisson.Workspace.shift`."""
        self._kept_shift, self._shift = shift, view(shift)

    def _asks(self, tol: float = 0.0, allowed: float = 0.0, max_iter: int = 0) -> tuple[float, ...]:
        """What is asked, as kernels take it."""
        step, asked = self.step, [0.0] * lucy.ASKED
        asked[lucy.UNIT], asked[lucy.LOW], asked[lucy.HIGH] = step["unit"], step["low"], step["high"]
        asked[lucy.LEAST], asked[lucy.MEASURED] = step["least"], step["measured"]
        asked[lucy.TOL], asked[lucy.ALLOWED], asked[lucy.MAX_ITER] = tol, allowed, max_iter
        asked[lucy.ROUNDING] = ROUNDING
        return tuple(map(float, asked))

    def ratio(self, asked: tuple[float, ...] | None = None) -> None:
        """Divide the image by the blurred estimate; the blocks leave sums."""
        self._operator.forward(self.estimate, self._blurred)
        blocks, threads, run = self._there
        launch(
            self._kernels.ratio, blocks, threads, self._blurred_view, self._shift, self._image, self._weights,
            asked or self._asks(), run, self._partials,
        )  # fmt: skip

    def multiply(self, asked: tuple[float, ...] | None = None) -> None:
        """Take the step that follows; the blocks leave sums."""
        self._operator.adjoint(self._blurred, self._factors)
        blocks, threads, run = self._back
        launch(
            self._kernels.multiply, blocks, threads, *self._views, self._scalars_view, asked or self._asks(), run,
            self._partials,
        )  # fmt: skip

    def ascend(
        self,
        tol: float,
        allowed: float,
        max_iter: int,
        show: Callable[[int], Any],
        stops: Callable[[int, float, float], bool] | None,
    ) -> Course:
        """`poisson.Workspace.ascend`; without a callback it looks every few steps."""
        asked = self._asks(tol, allowed, max_iter)
        likelihoods: list[float] = []
        limit, stopped, began = 1, False, time.perf_counter()
        self._judge(asked)
        while True:
            scalars, ring = device.to_host(self._scalars), device.to_host(self._history)
            took = time.perf_counter() - began
            # One at which the likelihood fell is taken back first.
            new, reported = len(likelihoods), int(scalars[lucy.ITERATION]) + (scalars[lucy.RESTORING] == 0.0)
            likelihoods += [float(ring[k % lucy.HISTORY]) for k in range(new, reported)]
            iteration, change = len(likelihoods) - 1, float(scalars[lucy.CHANGE])
            show(iteration)
            status = int(scalars[lucy.STATUS])
            if stops and status == lucy.RUNNING and reported > max(new, 1):
                stopped = stops(iteration, likelihoods[-1], change)
            if stopped or status != lucy.RUNNING:
                break
            if stops is None:
                limit = min(max(int(limit * PATIENCE / max(took, 1e-6)), 1), 2 * limit, lucy.HISTORY)
            began = time.perf_counter()
            for _ in range(limit):
                self.multiply(asked)
                launch(lucy.report, 1, ADDERS, self._partials, self._back_blocks, self._scalars_view, self._totals_view)
                self._judge(asked)
        reason = "callback" if stopped else STOP_REASONS[status]
        return Course(likelihoods, int(scalars[lucy.PASSES]), change, reason)

    def _judge(self, asked: tuple[float, ...]) -> None:
        """A residual, and what follows from its sums."""
        self.ratio(asked)
        launch(
            lucy.judge, 1, ADDERS, self._partials, self._there_blocks, self._scalars_view, asked, self._totals_view,
            self._history_view,
        )  # fmt: skip

    def misfit(self, image: Any, weights: Any, shift: Any) -> float:
        """The objective of the current estimate."""
        self._operator.forward(self.estimate, self._blurred)
        blocks, threads, run = self._there
        shift = device.zeros((1, 1, image.shape[2]), image.dtype) if shift is None else shift
        launch(
            lucy.misfit, blocks, threads, self._blurred_view, view(shift), view(image), view(weights), True, run,
            self._partials,
        )  # fmt: skip
        launch(total, 1, ADDERS, self._partials, self._there_blocks, 1, self._totals_view)
        return float(device.to_host(self._totals)[0, 0])
