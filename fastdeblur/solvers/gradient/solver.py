"""Gradient descent as in the notebook, in two fused passes a step.

A step at the iterate x_k is: residual pass, objective, update pass.  The update pass also yields
the gradient's norm at x_k, so each iterate is reported, and may be returned, before its successor
takes its place.  The compiled loop (see `loop`) returns after some steps, so that interrupts,
callbacks and a progress bar work; where it stops for that changes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ...kernels.cpu.descent_loop import CHUNK, DIVERGED, LOOP, MAX_ITER, RUNNING, TOLERANCE, descend
from ...kernels.cpu.objective import value
from ...kernels.cpu.passes import residual, update
from ...kernels.cpu.rules import ADAGRAD_START, KEEP, KEEP_SQUARE, RULES
from ...kernels.cpu.tiles import RUNS
from ...kernels.runtime import tasks
from ...operators.blur import Blur
from ...result import Result
from ..common import State, bar, largest, unit_of, wants_stop
from ..two_pass import Buffers

# The notebook's rates, for rules whose steps do not follow from the operator's norm.
LEARNING_RATES = {"momentum": 0.05, "nesterov": 0.05, "adam": 0.02, "adagrad": 0.2}
# A step that follows the operator's norm, times the largest curvature; below 2 it cannot overshoot.
# 500 steps of root on a 512x512 photograph end, above the minimum, by 2e-4 with 1, 2e-5 with 1.5
# and 2e-6 with 1.9; the nearer to 2, the slower squares forgets a noisy start.
RELAXATION = 1.8

STOP_REASONS = {TOLERANCE: "tolerance", MAX_ITER: "max_iter", DIVERGED: "diverged"}
# Longest time in compiled code, in seconds.
PATIENCE = 0.05


class DescentWorkspace(Buffers):
    """The buffers and records of a descent; nothing is allocated later."""

    def __init__(self, blurs: list[Blur], planes: int, rule: str, passes: int):
        super().__init__(blurs, planes, {"gd": 0, "adam": 2}.get(rule, 1), passes)
        dtype, step = self.state.dtype, self.step
        if rule == "adagrad":
            self.state[:] = ADAGRAD_START
        step["rule"] = RULES[rule].address(dtype)
        loop = self.loop = np.zeros((), LOOP)
        self.scratch.describe_crew(loop)
        loop["record"], loop["task"] = step.ctypes.data, residual.address(dtype)
        loop["residual"], loop["update"] = residual.address(dtype), update.address(dtype)
        loop["correct_bias"] = rule == "adam"
        self.losses = np.empty(CHUNK)
        loop["history"] = self.losses.ctypes.data

    def go_on(self, limit: int) -> np.ndarray:
        """Go through up to `limit` more iterates, at least one; returns their objectives."""
        loop, step, queue = self.loop, self.step, self.scratch.queue
        if loop["pending"]:
            here, there = int(step["here"]), int(step["there"])
            step["here"], step["there"] = there, here
            loop["pending"] = 0
            loop["iteration"] += 1
        loop["limit"], loop["done"] = limit, 0
        queue[:RUNS] = 0
        self.scratch.share()
        tasks.launch(descend.address(), loop.ctypes.data, self.threads)
        return self.losses[: int(loop["done"])].copy()


def minimise(
    blurs: list[Blur],
    image: np.ndarray,
    weights: np.ndarray | None,
    start: Callable[[np.ndarray], None],
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
    """Minimise an objective over planes of pixels.

    `image` and `weights`, which are at most 1, hold planes x rows x cols in the operator's dtype; `start`
    writes the first estimate's frame into such an array.  Everything else is as in `api.solve`, and has been
    checked there; so is the result, but for its image, which is planes too.
    """
    entered = time.perf_counter()
    # A launch goes through many passes, so that images of 60x60 are worth some threads; but
    # through one step's if a callback wants to see each iterate.
    work, blur = DescentWorkspace(blurs, len(image), rule, passes=100 if callback is None else 2), blurs[0]

    def begin(out: np.ndarray) -> None:
        start(out)
        if bounds is not None:
            np.clip(out, *bounds, out=out)

    work.begin(begin)
    work.take(image, weights)
    step, loop = work.step, work.loop
    if bounds is not None:
        step["bounded"], step["low"], step["high"] = True, *bounds
    brightest = max(largest(image), largest(work.frame))
    step["unit"] = unit = unit_of(brightest)
    step["brightness"] = 1.0 if root else 1.0 / unit

    loop["root"], loop["mu"], loop["tol"], loop["max_iter"] = root, mu, tol, max_iter
    loop["follow"] = rule == "gd" and learning_rate is None
    loop["learning_rate"] = learning_rate or LEARNING_RATES.get(rule, RELAXATION)
    loop["data_norm"] = max(each.norm() for each in blurs) ** 2 if loop["follow"] else 0.0
    loop["prior_norm"] = 4.0 * sum(n > 1 for n in blur.estimate_shape)
    full = brightest * math.sqrt(image.size)
    loop["black"] = value.py_func(root, mu, float(full), 0.0)  # (Compiled, it would be so in each process.)
    # What rounding the blurred image to the pixels' precision may do to the objective; to squares,
    # times the residual's norm.
    loop["rounding"] = float(np.finfo(blur.dtype).eps) * (loop["black"] if root else full)
    loop["optimality"] = 1.0
    # In the pixels' precision, as the pass has them: 1 - 0.999 is off by 1e-5 in float32.
    loop["keep"], loop["keep_square"] = blur.dtype.type(KEEP), blur.dtype.type(KEEP_SQUARE)
    loop["scale"] = loop["mean_power"] = loop["square_power"] = 1.0

    history: list[np.ndarray] = []
    limit = 1
    with bar(progress, max_iter) as show:
        while loop["status"] == RUNNING:
            began = time.perf_counter()
            history.append(work.go_on(limit))
            took = time.perf_counter() - began
            show(int(loop["iteration"]))
            if callback is None:
                limit = min(max(int(limit * PATIENCE / max(took, 1e-6)), 1), 2 * limit, CHUNK)
            elif loop["done"] and loop["iteration"] > 0:
                scalars = int(loop["iteration"]), float(loop["objective"]), float(loop["optimality"])
                if wants_stop(callback, *scalars, work.frame):
                    break
    losses = np.concatenate(history)
    return Result(
        image=work.frame.copy(),
        objective=float(loop["objective"]),
        history=losses if losses.size else np.array([float(loop["objective"])]),
        n_iter=int(loop["iteration"]),
        n_products=int(loop["passes"]) / 2,
        stop_reason=STOP_REASONS.get(int(loop["status"]), "callback"),
        optimality=float(loop["optimality"]),
        mu=mu,
        path=blur.path,
        device="cpu",
        seconds=time.perf_counter() - entered,
    )
