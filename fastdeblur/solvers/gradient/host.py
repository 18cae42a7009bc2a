"""Gradient descent's workspace and steps (CPU)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...kernels.cpu.descent_loop import CHUNK, LOOP, descend
from ...kernels.cpu.passes import residual, update
from ...kernels.cpu.rules import ADAGRAD_START, KEEP, KEEP_SQUARE, RULES
from ...kernels.cpu.tiles import RUNS
from ...kernels.runtime import tasks
from ...operators.blur import Blur
from ..protocols import Progress
from ..two_pass import TwoPassWorkspace
from .solver import STOP_REASONS, DescentParameters


class GradientWorkspace(TwoPassWorkspace):
    """Buffers, the optimiser's state, and the record of the compiled loop."""

    most_steps = CHUNK

    def __init__(self, blurs: list[Blur], planes: int, rule: str, passes: int):
        super().__init__(blurs, planes, {"gd": 0, "adam": 2}.get(rule, 1), passes)
        self._first_state = ADAGRAD_START if rule == "adagrad" else 0.0
        dtype, step = self.state.dtype, self.step
        step["rule"] = RULES[rule].address(dtype)
        loop = self._loop = np.zeros((), LOOP)
        self.scratch.describe_crew(loop)
        loop["record"] = step.ctypes.data
        loop["residual"], loop["update"] = residual.address(dtype), update.address(dtype)
        loop["correct_bias"] = rule == "adam"
        # In the pixels' precision, as the pass has them: 1 - 0.999 is off by 1e-5 in float32.
        loop["keep"], loop["keep_square"] = dtype.type(KEEP), dtype.type(KEEP_SQUARE)
        self._objectives = np.empty(CHUNK)
        loop["history"] = self._objectives.ctypes.data

    def begin(self, start: Callable[[np.ndarray], None]) -> None:
        """Begin with the estimate whose frame `start` writes, and the optimiser's first state."""
        self.step["here"], self.step["there"] = (buffer.address for buffer in self.estimates)
        self.state[:] = self._first_state
        super().begin(start)

    def set_parameters(self, parameters: DescentParameters) -> None:
        """Enter what the steps depend on, and let the iteration begin anew."""
        step, loop = self.step, self._loop
        step["bounded"] = parameters.bounds is not None
        step["low"], step["high"] = parameters.bounds or (0.0, 0.0)
        step["unit"], step["brightness"] = parameters.unit, parameters.brightness
        for name in (
            "root", "mu", "tol", "max_iter", "follow", "learning_rate", "data_norm", "prior_norm", "black", "rounding",
        ):  # fmt: skip
            loop[name] = getattr(parameters, name)
        loop["task"] = loop["residual"]
        for name in ("iteration", "pending", "restoring", "status", "passes"):
            loop[name] = 0
        loop["optimality"] = loop["scale"] = loop["mean_power"] = loop["square_power"] = 1.0

    def advance(self, limit: int) -> Progress:
        """Take at most `limit` steps, at least one, in one launch."""
        loop, step = self._loop, self.step
        if loop["pending"]:
            here, there = int(step["here"]), int(step["there"])
            step["here"], step["there"] = there, here
            loop["pending"] = 0
            loop["iteration"] += 1
        loop["limit"], loop["done"] = limit, 0
        self.scratch.queue[:RUNS] = 0
        self.scratch.share()
        tasks.launch(descend.address(), loop.ctypes.data, self.threads)
        return Progress(
            objectives=self._objectives[: int(loop["done"])].tolist(),
            objective=float(loop["objective"]),
            optimality=float(loop["optimality"]),
            passes=int(loop["passes"]),
            stop_reason=STOP_REASONS[int(loop["status"])],
        )
