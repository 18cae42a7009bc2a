"""Richardson-Lucy's workspace and steps (CUDA).

The host launches steps ahead and now and then reads how far they are; see `kernels/cuda/lucy.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...kernels.cuda import device, lucy
from ...kernels.cuda.device import launch, view
from ...kernels.cuda.shapes import ADDERS
from ...kernels.cuda.sums import SUMS, total
from ...kernels.cuda.z_update import runs
from ...operators.blur import Blur
from ...operators.boundary import frame_of
from ...problem.start import spread_out
from ..protocols import Progress
from .solver import LEAST_SENSITIVITY, ROUNDING, Parameters

STOP_REASONS = {lucy.RUNNING: "", lucy.TOLERANCE: "tolerance", lucy.NOISE: "noise", lucy.STEPS: "max_iter"}


class CudaRichardsonLucyWorkspace:
    """Estimates, sensitivity and the iteration's scalars on the device, and the launches."""

    device = "cuda"

    def __init__(self, blurs: list[Blur], planes: int):
        self.blur, self._operator = blurs[0], blurs[0].operator_with(blurs)
        dtype = self.blur.dtype
        shape, frame = (planes, *self.blur.estimate_shape), (planes, *self.blur.image_shape)
        self.most_steps = lucy.HISTORY
        self._kernels = lucy.kernels_of(dtype)
        self.ones = device.zeros(frame, dtype)
        self.ones[...] = 1
        # The estimate as it is taken ahead, the last one before, 1 / (Aᵀ w), and the factors of the estimate.
        self.estimate, self.last, self.inverse_sensitivity, self._factors = (
            device.zeros(shape, dtype) for _ in range(4)
        )
        self._blurred = device.zeros(frame, dtype)
        self._views = [view(each) for each in (self.estimate, self._factors, self.inverse_sensitivity, self.last)]
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
        return frame_of(self.estimate, self.blur)

    def begin(self, start: Callable[[Any], None]) -> None:
        """Let `start` write the frame of the first estimate; beyond it the frame's nearest pixels are repeated."""
        start(self.frame)
        spread_out(self.estimate, self.blur.frame_corner, self.blur.image_shape)

    def begin_with_step(self, weighted: Any) -> None:
        """Begin with Aᵀ(w b) / Aᵀw."""
        self._operator.adjoint(weighted, self.estimate)
        self.estimate *= self.inverse_sensitivity

    def fill_halo(self) -> None:
        """Nothing to do: the operator looks the pixels of the boundary up in tables."""

    def set_weights(self, weights: Any) -> Any:
        """Compute 1 / (Aᵀ w), 0 where that is nothing; returns the weights, those of 1 for None."""
        weights, inverse = self.ones if weights is None else weights, self.inverse_sensitivity
        self._operator.adjoint(weights, inverse)
        inverse[inverse <= LEAST_SENSITIVITY * inverse.max()] = np.inf
        device.arrays().divide(1, inverse, out=inverse)
        return weights

    def set_image(self, image: Any, weights: Any) -> None:
        """Enter the image and the weights of its pixels."""
        self._image_and_weights = image, weights  # views do not keep them alive
        self._image, self._weights = view(image), view(weights)

    def set_shift(self, shift: Any) -> None:
        """Enter what is added to the blurred estimate: as many planes and rows as there are, or one, all columns."""
        self._shift_array, self._shift = shift, view(shift)

    def set_parameters(self, parameters: Parameters) -> None:
        """Enter what the steps depend on, and let the iteration begin anew."""
        values = [0.0] * lucy.PARAMETERS
        values[lucy.UNIT], values[lucy.LOW], values[lucy.HIGH] = parameters.unit, parameters.low, parameters.high
        values[lucy.LEAST], values[lucy.MEASURED] = parameters.least_mean, not parameters.plain
        values[lucy.TOL], values[lucy.ALLOWED] = parameters.tol, parameters.allowed_misfit
        values[lucy.MAX_ITER], values[lucy.ROUNDING] = parameters.max_iter, ROUNDING
        self._parameters = tuple(map(float, values))
        scalars = np.zeros(lucy.SCALARS)
        scalars[lucy.CHANGE], scalars[lucy.LIKELIHOOD] = 1.0, math.inf
        self._scalars[...] = device.put(scalars)
        self._launched, self._reported = False, 0

    def ratio(self) -> None:
        """Divide the image by the blurred estimate; the blocks leave sums."""
        self._operator.forward(self.estimate, self._blurred)
        blocks, threads, run = self._there
        launch(
            self._kernels.ratio, blocks, threads, self._blurred_view, self._shift, self._image, self._weights,
            self._parameters, run, self._partials,
        )  # fmt: skip

    def multiply(self) -> None:
        """Multiply the estimate, and take it ahead; the blocks leave sums."""
        self._operator.adjoint(self._blurred, self._factors)
        blocks, threads, run = self._back
        launch(
            self._kernels.multiply, blocks, threads, *self._views, self._scalars_view, self._parameters, run,
            self._partials,
        )  # fmt: skip

    def advance(self, limit: int) -> Progress:
        """Launch `limit` steps and read how far they came; one that is taken back reports nothing."""
        for _ in range(limit):
            if self._launched:
                self.multiply()
                launch(lucy.report, 1, ADDERS, self._partials, self._back_blocks, self._scalars_view, self._totals_view)
            self._launched = True
            self._judge()
        scalars, history = device.to_host(self._scalars), device.to_host(self._history)
        # One at which the likelihood fell is taken back first.
        before, self._reported = self._reported, int(scalars[lucy.ITERATION]) + (scalars[lucy.RESTORING] == 0.0)
        return Progress(
            objectives=[float(history[k % lucy.HISTORY]) for k in range(before, self._reported)],
            objective=float(scalars[lucy.LIKELIHOOD]),
            optimality=float(scalars[lucy.CHANGE]),
            passes=int(scalars[lucy.PASSES]),
            stop_reason=STOP_REASONS[int(scalars[lucy.STATUS])],
        )

    def _judge(self) -> None:
        """Compute the likelihood, and whether to go on from here."""
        self.ratio()
        launch(
            lucy.judge, 1, ADDERS, self._partials, self._there_blocks, self._scalars_view, self._parameters,
            self._totals_view, self._history_view,
        )  # fmt: skip

    def misfit(self, image: Any, weights: Any, shift: Any) -> float:
        """The objective of the current estimate, in double precision."""
        self._operator.forward(self.estimate, self._blurred)
        blocks, threads, run = self._there
        shift = device.zeros((1, 1, image.shape[2]), image.dtype) if shift is None else shift
        launch(
            lucy.misfit, blocks, threads, self._blurred_view, view(shift), view(image), view(weights), True, run,
            self._partials,
        )  # fmt: skip
        launch(total, 1, ADDERS, self._partials, self._there_blocks, 1, self._totals_view)
        return float(device.to_host(self._totals)[0, 0])
