"""Gradient descent's workspace and steps (CUDA).

The host launches steps ahead and now and then reads how far they are; see `kernels/cuda/loop.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...kernels.cpu.descent_loop import EXPLODED, LARGEST
from ...kernels.cpu.rules import ADAGRAD_START, KEEP, KEEP_SQUARE
from ...kernels.cuda import device, loop, rules
from ...kernels.cuda.device import launch, view
from ...kernels.cuda.passes import passes
from ...kernels.cuda.shapes import ADDERS
from ...kernels.cuda.sums import SUMS
from ...operators.blur import Blur
from ...operators.boundary import frame_of
from ...problem.start import spread_out
from ..protocols import Progress
from .solver import STOP_REASONS, DescentParameters


class CudaGradientWorkspace:
    """Estimates, residual, the optimiser's state and the iteration's scalars on the device, and the launches."""

    device = "cuda"

    def __init__(self, blurs: list[Blur], planes: int, rule: str):
        self.blurs, self.operator, self._rule = blurs, blurs[0].operator_with(blurs), rule
        operator, dtype = self.operator, self.operator.dtype
        shape, frame = (planes, *operator.estimate_shape), (planes, *operator.image_shape)
        self.x = device.zeros((2, *shape), dtype)
        self.residual = device.zeros(frame, dtype)
        states = rules.STATES[rules.NAMES.index(rule)]
        none = device.zeros((1, 1, 1), dtype)
        self._states = [device.zeros(shape, dtype) for _ in range(states)] + [none] * (2 - states)
        self._first_state = ADAGRAD_START if rule == "adagrad" else 0.0
        self._views = {"x": view(self.x), "residual": view(self.residual[None]), "out": view(self.residual)}
        self._state_views = [view(state) for state in self._states]
        self._none = view(none)
        self.most_steps = loop.HISTORY
        # Which of both estimates was last reported, and how many iterates were.
        self._version = self._reported = 0
        self.scalars = device.zeros(loop.SCALARS, np.float64)
        self.history = device.zeros(loop.HISTORY, np.float64)
        self._grid = operator.grid(planes, operator.estimate_shape)
        across, down, deep = self._grid[0]
        self._blocks = across * down * deep
        self._partials = view(device.zeros((self._blocks, SUMS), np.float64))
        self._totals = view(device.zeros((1, SUMS), np.float64))
        self._scalars_view, self._history_view = view(self.scalars), view(self.history)
        # Blurred by transforms, or to be folded, an image is taken from where it lies.
        self._forward = passes("loaded" if operator.path == "fft" else operator.path, dtype)
        self._back = passes("loaded" if operator.path == "fft" or operator.folds else operator.path, dtype)
        self._gradient = device.zeros(shape if operator.folds else (1, 1, 1), dtype)
        self._gradient_view, self._gradient_source = view(self._gradient), view(self._gradient[None])

    @property
    def frame(self) -> Any:
        """The part of the last reported estimate that the image shows, planes x rows x cols."""
        return frame_of(self.x[self._version], self.operator)

    def begin(self, start: Callable[[Any], None]) -> None:
        """Begin with the estimate whose frame `start` writes, and the optimiser's first state."""
        for state in self._states:
            state[...] = self._first_state
        self._version = 0
        start(self.frame)
        spread_out(self.x[0], self.operator.frame_corner, self.operator.image_shape)

    def set_image(self, image: Any, weights: Any) -> None:
        """Enter the image and the weights of its pixels."""
        self._image_and_weights = image, weights  # views do not keep them alive
        self._image = view(image)
        self._weights = self._none if weights is None else view(weights)

    def set_parameters(self, parameters: DescentParameters) -> None:
        """Enter what the steps depend on, and let the iteration begin anew."""
        dtype, values = self.operator.dtype, np.zeros(loop.PARAMETERS)
        values[loop.ROOT], values[loop.MU] = parameters.root, parameters.mu
        values[loop.TOL], values[loop.MAX_ITER] = parameters.tol, parameters.max_iter
        values[loop.UNIT], values[loop.BRIGHTNESS] = parameters.unit, parameters.brightness
        values[loop.LEARNING_RATE], values[loop.FOLLOW] = parameters.learning_rate, parameters.follow
        values[loop.RULE] = rules.NAMES.index(self._rule)
        values[loop.DATA_NORM], values[loop.PRIOR_NORM] = parameters.data_norm, parameters.prior_norm
        values[loop.BLACK], values[loop.ROUNDING] = parameters.black, parameters.rounding
        values[loop.KEEP], values[loop.KEEP_SQUARE] = dtype.type(KEEP), dtype.type(KEEP_SQUARE)
        values[loop.EXPLODED], values[loop.LARGEST] = EXPLODED, LARGEST
        values[loop.PERIODIC] = self.blurs[0].boundary == "wrap"
        if parameters.bounds is not None:
            values[loop.BOUNDED], values[loop.LOW], values[loop.HIGH] = True, *parameters.bounds
        self._parameters = view(device.put(values))
        scalars = np.zeros(loop.SCALARS)
        scalars[loop.SCALE] = scalars[loop.MEAN_POWER] = scalars[loop.SQUARE_POWER] = scalars[loop.OPTIMALITY] = 1.0
        self.scalars[...] = device.put(scalars)
        self._reported = 0

    def advance(self, limit: int) -> Progress:
        """Launch `limit` steps and read how far they came; one that is taken back reports nothing."""
        for _ in range(limit):
            self.step()
        scalars, history = device.to_host(self.scalars), device.to_host(self.history)
        status, iteration = int(scalars[loop.STATUS]), int(scalars[loop.ITERATION])
        # Without one that is taken back, or that has not been judged.
        reported = iteration + (status not in (loop.RUNNING, loop.DIVERGED))
        reported += int(status == loop.DIVERGED and iteration > 0)
        before, self._reported, self._version = self._reported, reported, int(scalars[loop.SHOWN])
        objectives = [float(history[k % loop.HISTORY]) for k in range(before, reported)]
        return Progress(
            objectives=objectives,
            objective=objectives[-1] if objectives else float(scalars[loop.OBJECTIVE]),
            optimality=float(scalars[loop.OPTIMALITY]),
            passes=int(scalars[loop.PASSES]),
            stop_reason=STOP_REASONS[status],
        )

    def step(self) -> None:
        """Launch both passes and what is between them."""
        operator, (blocks, threads) = self.operator, self._grid
        source, side = self._views["x"], operator.there if operator.path != "fft" else operator.to_frame
        tables = [side.rows_at, side.cols_at]
        if operator.path == "fft":
            source, tables = view(side.transformed(source, self._scalars_view)[None]), operator.from_frame
        launch(
            self._forward.residual, blocks, threads, source, self._scalars_view, *side.weights, *tables,
            self._parameters, self._views["x"], self._image, self._weights, *operator.frame_corner,
            self._views["out"], self._partials,
        )  # fmt: skip
        launch(loop.judge, 1, ADDERS, self._partials, self._blocks, self._scalars_view, self._parameters, self._totals)
        source, side = self._views["residual"], operator.back
        tables = [side.rows_at, side.cols_at]
        if operator.folds:
            operator.fold(operator.unfolded(self.residual), self._gradient_view)
            source, tables = self._gradient_source, operator.identity
        elif operator.path == "fft":
            source, tables = view(side.transformed(source, operator.plain)[None]), operator.identity
        launch(
            self._back.update, blocks, threads, source, self._scalars_view, *side.weights, *tables, self._parameters,
            self._views["x"], *self._state_views, self._partials,
        )  # fmt: skip
        launch(
            loop.report, 1, ADDERS, self._partials, self._blocks, self._scalars_view, self._parameters, self._totals,
            self._history_view,
        )  # fmt: skip
