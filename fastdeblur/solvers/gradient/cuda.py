"""Gradient descent on the GPU: `descent`, with its passes and what is between them on the device.

The host launches steps ahead and now and then looks how far they are; see `cuda.loop`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ...kernels.cpu.descent_loop import EXPLODED, LARGEST
from ...kernels.cpu.objective import value
from ...kernels.cpu.rules import ADAGRAD_START, KEEP, KEEP_SQUARE
from ...kernels.cuda import device, loop, rules
from ...kernels.cuda.device import launch, view
from ...kernels.cuda.passes import passes
from ...kernels.cuda.shapes import ADDERS
from ...kernels.cuda.sums import SUMS
from ...operators.blur import Blur
from ...operators.cuda import Operator
from ...problem.start import spread_out
from ...result import Result
from ..common import State, bar, largest, unit_of, wants_stop
from .solver import LEARNING_RATES, PATIENCE, RELAXATION

STOP_REASONS = {loop.TOLERANCE: "tolerance", loop.STEPS: "max_iter", loop.DIVERGED: "diverged"}


class CudaDescentWorkspace:
    """The arrays of a descent on the device, and its launches."""

    def __init__(self, operator: Operator, planes: int, rule: str):
        self.operator, dtype = operator, operator.dtype
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
        self.scalars = device.zeros(loop.SCALARS, np.float64)
        self.history = device.zeros(loop.HISTORY, np.float64)
        self._grid = operator.grid(planes, operator.estimate_shape)
        across, down, deep = self._grid[0]
        self._blocks = across * down * deep
        self._partials = view(device.zeros((self._blocks, SUMS), np.float64))
        self._totals = view(device.zeros((1, SUMS), np.float64))
        self._scalars, self._history = view(self.scalars), view(self.history)
        # Blurred by transforms, or to be folded, an image is taken from where it lies.
        self._forward = passes("loaded" if operator.path == "fft" else operator.path, dtype)
        self._back = passes("loaded" if operator.path == "fft" or operator.folds else operator.path, dtype)
        self._gradient = device.zeros(shape if operator.folds else (1, 1, 1), dtype)
        self._gradient_view, self._gradient_source = view(self._gradient), view(self._gradient[None])

    def frame(self, version: int) -> Any:
        """The part of an estimate that the image shows."""
        (top, left), (height, width) = self.operator.frame_corner, self.operator.image_shape
        return self.x[version, :, top : top + height, left : left + width]

    def begin(self, start: Callable[[Any], None]) -> None:
        """Let `start` write the frame of the first estimate; beyond it its nearest pixels go on."""
        for state in self._states:
            state[...] = self._first_state
        start(self.frame(0))
        spread_out(self.x[0], self.operator.frame_corner, self.operator.image_shape)

    def take(self, image: Any, weights: Any, asked: np.ndarray) -> None:
        """Enter the image and its weights, and what is asked of them."""
        self._kept = image, weights
        self._image = view(image)
        self._weights = self._none if weights is None else view(weights)
        self._asked = view(device.put(asked))

    def step(self) -> None:
        """Launch both passes."""
        operator, (blocks, threads) = self.operator, self._grid
        source, side = self._views["x"], operator.there if operator.path != "fft" else operator.to_frame
        tables = [side.rows_at, side.cols_at]
        if operator.path == "fft":
            source, tables = view(side.transformed(source, self._scalars)[None]), operator.from_frame
        launch(
            self._forward.residual, blocks, threads, source, self._scalars, *side.weights, *tables, self._asked,
            self._views["x"], self._image, self._weights, *operator.frame_corner, self._views["out"], self._partials,
        )  # fmt: skip
        launch(loop.judge, 1, ADDERS, self._partials, self._blocks, self._scalars, self._asked, self._totals)
        source, side = self._views["residual"], operator.back
        tables = [side.rows_at, side.cols_at]
        if operator.folds:
            operator.fold(operator.unfolded(self.residual), self._gradient_view)
            source, tables = self._gradient_source, operator.identity
        elif operator.path == "fft":
            source, tables = view(side.transformed(source, operator.plain)[None]), operator.identity
        launch(
            self._back.update, blocks, threads, source, self._scalars, *side.weights, *tables, self._asked,
            self._views["x"], *self._state_views, self._partials,
        )  # fmt: skip
        launch(
            loop.report, 1, ADDERS, self._partials, self._blocks, self._scalars, self._asked, self._totals,
            self._history,
        )  # fmt: skip


def minimise(
    work: CudaDescentWorkspace,
    blurs: list[Blur],
    image: Any,
    weights: Any,
    start: Callable[[Any], None],
    *,
    rule: str,
    root: bool,
    mu: float,
    bounds: tuple[float, float] | None,
    learning_rate: float | None,
    max_iter: int,
    tol: float,
    callback: Callable[[State], Any] | None,
    progress: bool,
) -> Result:
    """`descent.minimise` of planes on the device, in memory for that rule."""
    entered, blur = time.perf_counter(), blurs[0]

    def begin(out: Any) -> None:
        start(out)
        if bounds is not None:
            out.clip(*bounds, out=out)

    work.begin(begin)
    brightest = max(largest(image), largest(work.frame(0)))
    unit = unit_of(brightest)
    full = brightest * math.sqrt(image.size)
    black = float(value.py_func(root, mu, full, 0.0))
    follow = rule == "gd" and learning_rate is None
    asked = np.zeros(loop.ASKED)
    asked[loop.ROOT], asked[loop.MU], asked[loop.TOL], asked[loop.MAX_ITER] = root, mu, tol, max_iter
    asked[loop.UNIT], asked[loop.BRIGHTNESS] = unit, 1.0 if root else 1.0 / unit
    asked[loop.LEARNING_RATE] = learning_rate or LEARNING_RATES.get(rule, RELAXATION)
    asked[loop.FOLLOW], asked[loop.RULE] = follow, rules.NAMES.index(rule)
    asked[loop.DATA_NORM] = max(each.norm() for each in blurs) ** 2 if follow else 0.0
    asked[loop.PRIOR_NORM] = 4.0 * sum(n > 1 for n in blur.estimate_shape)
    asked[loop.BLACK] = black
    asked[loop.ROUNDING] = float(np.finfo(blur.dtype).eps) * (black if root else full)
    asked[loop.KEEP], asked[loop.KEEP_SQUARE] = blur.dtype.type(KEEP), blur.dtype.type(KEEP_SQUARE)
    asked[loop.EXPLODED], asked[loop.LARGEST] = EXPLODED, LARGEST
    if bounds is not None:
        asked[loop.BOUNDED], asked[loop.LOW], asked[loop.HIGH] = True, *bounds
    work.take(image, weights, asked)
    scalars = np.zeros(loop.SCALARS)
    scalars[loop.SCALE] = scalars[loop.MEAN_POWER] = scalars[loop.SQUARE_POWER] = scalars[loop.OPTIMALITY] = 1.0
    work.scalars[...] = device.put(scalars)

    history: list[float] = []
    limit, stopped = 1, False
    with bar(progress, max_iter) as show:
        while scalars[loop.STATUS] == loop.RUNNING and not stopped:
            began = time.perf_counter()
            for _ in range(limit):
                work.step()
            scalars = device.to_host(work.scalars)
            took = time.perf_counter() - began
            # Those that were reported: not one that is taken back, nor one that has not been judged.
            reported = int(scalars[loop.ITERATION]) + (scalars[loop.STATUS] not in (loop.RUNNING, loop.DIVERGED))
            reported += int(scalars[loop.STATUS] == loop.DIVERGED and scalars[loop.ITERATION] > 0)
            new, objectives = len(history), device.to_host(work.history)
            history += [float(objectives[k % loop.HISTORY]) for k in range(new, reported)]
            show(max(len(history) - 1, 0))
            if callback is None:
                limit = min(max(int(limit * PATIENCE / max(took, 1e-6)), 1), 2 * limit, loop.HISTORY)
            elif len(history) > max(new, 1):
                shown = work.frame(int(scalars[loop.SHOWN]))
                stopped = wants_stop(callback, len(history) - 1, history[-1], float(scalars[loop.OPTIMALITY]), shown)
                stopped = stopped and scalars[loop.STATUS] == loop.RUNNING
    objective = history[-1] if history else float(scalars[loop.OBJECTIVE])
    return Result(
        image=work.frame(int(scalars[loop.SHOWN])).copy(),
        objective=objective,
        history=np.array(history or [objective]),
        n_iter=max(len(history) - 1, 0),
        n_products=float(scalars[loop.PASSES]) / 2,
        stop_reason="callback" if stopped else STOP_REASONS[int(scalars[loop.STATUS])],
        optimality=float(scalars[loop.OPTIMALITY]),
        mu=mu,
        path=blur.path,
        device="cuda",
        seconds=time.perf_counter() - entered,
    )
