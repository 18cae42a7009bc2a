"""Gradient descent as in the notebook, in two fused passes a step.

A step at the iterate x_k is: residual pass, objective, update pass.  The update pass also yields
the gradient's norm at x_k, so each iterate is reported, and may be returned, before its successor
takes its place.

The threads go from pass to pass on their own: whoever finishes the last tile of a pass does the
few scalar operations between passes and opens the next, while the others wait for it.  (One
launch a pass costs 10 to 180 microseconds, as much as a pass over a small image.)  After some
steps they return to Python, so that interrupts, callbacks and a progress bar work; where they
stop for that changes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import carray

from .. import runtime
from ..blur import Blur, Buffer, Grid, Scratch, row_pitch, zeros
from ..kernels.passes import ADAGRAD_START, ADAM, KEEP, KEEP_SQUARE, RULES, STEP, read_step, residual, update
from ..kernels.simd import doubles
from ..kernels.tiles import (
    CREW,
    EPOCH,
    FINISHED,
    OVER,
    RUNS,
    SUMS,
    add_to,
    crew_signature,
    read_crew,
    read_from,
    reader,
    relax,
    set_in,
    share,
    work,
)
from ..objective import gradient_scales, value
from ..runtime import jit, task

# The notebook's rates, for rules whose steps do not follow from the operator's norm.
LEARNING_RATES = {"momentum": 0.05, "nesterov": 0.05, "adam": 0.02, "adagrad": 0.2}
# A step that follows the operator's norm, times the largest curvature; below 2 it cannot overshoot.
RELAXATION = 1.0

RUNNING, TOLERANCE, MAX_ITER, DIVERGED = range(4)
STOP_REASONS = {TOLERANCE: "tolerance", MAX_ITER: "max_iter", DIVERGED: "diverged"}

# An objective this many times that of the start, or of a black image, will not come back.
EXPLODED = 1e4
LARGEST = float(np.finfo(np.float64).max)
# Longest time in compiled code, in seconds, and most steps in it.
PATIENCE = 0.05
CHUNK = 1024
# What the loop carries from step to step; `record` is that of the two passes.
LOOP = np.dtype(
    CREW
    + [(name, np.intp) for name in ("residual", "update", "root", "rule", "follow", "history", "limit")]
    + [(name, np.intp) for name in ("iteration", "max_iter", "pending", "restoring", "status", "passes", "done")]
    + [(name, np.float64) for name in ("mu", "tol", "learning_rate", "data_norm", "prior_norm", "scale", "black")]
    + [(name, np.float64) for name in ("ceiling", "objective", "optimality")]
    + [(name, np.float64) for name in ("keep", "keep_square", "mean_power", "square_power")],
    align=True,
)
read_loop = reader(LOOP)


@jit
def norm(step, tiles, k):
    """Root of sum k over all tiles, always added in the same order."""
    sums = carray(doubles(step.sums), tiles * SUMS)
    total = 0.0
    for tile in range(tiles):
        total += sums[tile * SUMS + k]
    return math.sqrt(total)


@jit
def exchange(step):
    """Let the current estimate and the other one change places."""
    step.here, step.there = step.there, step.here


@jit
def judge(loop, step):
    """After a residual pass: set the objective and the factors of the step; False to start over.

    A step that follows the operator's norm is taken back, and halved, if the objective rose.
    """
    misfit, roughness = norm(step, loop.tiles, 0) / step.unit, norm(step, loop.tiles, 1) / step.unit
    objective = value(loop.root, loop.mu, misfit, roughness)
    if loop.iteration == 0:
        loop.ceiling = min(EXPLODED * max(objective, loop.black), LARGEST)
    if not objective <= loop.ceiling:
        loop.status = DIVERGED
        if loop.iteration > 0:
            exchange(step)
            loop.iteration -= 1
        else:
            loop.objective = objective
        return False
    if loop.follow:
        if loop.restoring:
            loop.restoring = 0
        elif loop.iteration > 0 and objective > loop.objective:
            exchange(step)
            loop.restoring = 1
            loop.scale *= 0.5
            return False
        else:
            loop.scale = min(2.0 * loop.scale, 1.0)
    loop.objective = objective
    data_scale, prior_scale = gradient_scales(loop.root, loop.mu, misfit, roughness)
    step.data_scale, step.prior_scale = data_scale / step.brightness, prior_scale / step.brightness
    step.rate = loop.learning_rate
    if loop.follow:
        # A root lies below the parabola that touches it here, whose curvature is at most this.
        curvature = data_scale * loop.data_norm + prior_scale * loop.prior_norm
        step.rate *= loop.scale / curvature if curvature > 0.0 else 0.0
    elif loop.rule == ADAM:
        loop.mean_power *= loop.keep
        loop.square_power *= loop.keep_square
        step.rate *= math.sqrt(1.0 - loop.square_power) / (1.0 - loop.mean_power)
    return True


@jit
def report(loop, step):
    """After an update pass: set the optimality and see whether to stop."""
    gradient = norm(step, loop.tiles, 0)
    parts = norm(step, loop.tiles, 1) + norm(step, loop.tiles, 2)
    loop.optimality = gradient / parts if parts > 0.0 else 0.0
    loop.pending = 1
    carray(doubles(loop.history), CHUNK)[loop.done] = loop.objective
    loop.done += 1
    if loop.optimality <= loop.tol and loop.tol > 0.0:
        loop.status = TOLERANCE
    elif loop.iteration == loop.max_iter:
        loop.status = MAX_ITER


@jit
def proceed(loop, step):
    """What happens between two passes, in one thread; False when the threads shall return."""
    loop.passes += 1
    if loop.task == loop.residual:
        if judge(loop, step):
            loop.task = loop.update
        return loop.status == RUNNING
    report(loop, step)
    loop.task = loop.residual
    if loop.status != RUNNING or loop.done == loop.limit:
        return False
    advance(loop, step)
    return True


@jit
def advance(loop, step):
    """Let the estimate that the last update computed be the current one."""
    exchange(step)
    loop.pending = 0
    loop.iteration += 1


@task(crew_signature)
def descend(address, slot, slots):
    """What each thread does: tiles of one pass after another, until one of them says stop.

    No thread waits for another to arrive, only for tiles that have been taken to be finished, so
    this ends with any number of threads, one after the other included.  A new pass is shared out
    before its epoch begins: a thread that is still looking for tiles may take one of it.
    """
    crew, loop = read_crew(address), read_loop(address)
    step = read_step(loop.record)
    while True:
        epoch = read_from(loop.queue, EPOCH)
        if read_from(loop.queue, OVER):
            return
        done = work(crew, slot, slots)
        if done > 0 and add_to(loop.queue, FINISHED, done) + done == loop.tiles:
            if proceed(loop, step):
                set_in(loop.queue, FINISHED, 0)
                share(loop.queue, slots, loop.tiles)
            else:
                set_in(loop.queue, OVER, 1)
            add_to(loop.queue, EPOCH, 1)
        idle = 0
        while read_from(loop.queue, EPOCH) == epoch:
            idle += 1
            relax(idle)


@dataclass(frozen=True)
class State:
    """What a callback sees of the current iterate.

    Attributes
    ----------
    iteration : int
    objective, optimality : float
    estimate : ndarray
        Read-only view of the estimate, valid only during the call.
    """

    iteration: int
    objective: float
    optimality: float
    estimate: np.ndarray


@dataclass(frozen=True)
class Outcome:
    """What a solver hands back to `api`."""

    image: np.ndarray
    objective: float
    history: np.ndarray
    n_iter: int
    n_products: float
    stop_reason: str
    optimality: float


class Workspace:
    """The buffers and records of a descent on planes of `blur`'s shape; nothing is allocated later."""

    def __init__(self, blur: Blur, planes: int, rule: str):
        rows, cols = blur.estimate_shape
        forward, adjoint = blur.filters
        self.grid = Grid.of(planes, rows, cols, blur.dtype)
        self.slots = blur.slots(self.grid)
        self.scratch = Scratch(self.grid, self.slots, forward.work, self.grid.tile_cols + 2, blur.dtype)
        self.estimates = [Buffer(self.grid, forward, blur.dtype) for _ in range(2)]
        residuals = Buffer(self.grid, adjoint, blur.dtype)
        states = {"gd": 0, "adam": 2}.get(rule, 1)
        state = zeros(states * planes * rows * cols, blur.dtype)
        if rule == "adagrad":
            state[:] = ADAGRAD_START
        self._owned = residuals, state, forward, adjoint

        step = self.step = np.zeros((), STEP)
        self.scratch.describe(step)
        step["path"], step["rule"] = blur.path_address, RULES[rule]
        step["forward"], step["adjoint"] = forward.address, adjoint.address
        step["forward_corner"], step["adjoint_corner"] = self.estimates[0].corner, residuals.corner
        step["here"], step["there"] = (buffer.address for buffer in self.estimates)
        step["pitch"], step["plane"] = self.estimates[0].pitch, self.estimates[0].plane
        step["residual"] = residuals.address
        step["residual_pitch"], step["residual_plane"] = residuals.pitch, residuals.plane
        step["first"] = state.ctypes.data
        step["second"] = state[state.size // 2 :].ctypes.data

        loop = self.loop = np.zeros((), LOOP)
        self.scratch.man(loop)
        loop["record"], loop["task"] = step.ctypes.data, residual.address(blur.dtype)
        loop["residual"], loop["update"] = residual.address(blur.dtype), update.address(blur.dtype)
        loop["rule"] = RULES[rule]
        self.losses = np.empty(CHUNK)
        loop["history"] = self.losses.ctypes.data

    @property
    def estimate(self) -> np.ndarray:
        """The current estimate, planes x rows x cols."""
        first, second = self.estimates
        return (first if first.address == self.step["here"] else second).pixels

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
        runtime.launch(descend.address(), loop.ctypes.data, self.slots)
        return self.losses[: int(loop["done"])].copy()


def minimise(
    blur: Blur,
    image: np.ndarray,
    start: Callable[[np.ndarray], None],
    *,
    rule: str,
    root: bool,
    mu: float,
    learning_rate: float | None,
    max_iter: int,
    tol: float,
    callback: Callable[[State], Any] | None,
    progress: bool,
) -> Outcome:
    """Minimise an objective over planes of pixels.

    `image` holds planes x rows x cols in the operator's dtype; `start` writes the first estimate
    into such an array.  Everything else is as in `api.solve`, and has been checked there.
    """
    work = Workspace(blur, len(image), rule)
    start(work.estimate)
    pitch = row_pitch(image, blur.dtype)
    if pitch is None or image.strides[0] % image.itemsize:
        image = np.ascontiguousarray(image, blur.dtype)
        pitch = image.shape[-1]
    step, loop = work.step, work.loop
    step["image"], step["image_pitch"] = image.ctypes.data, pitch
    step["image_plane"] = image.strides[0] // image.itemsize
    brightest = max(_largest(image), _largest(work.estimate))
    step["unit"] = unit = _unit(brightest)
    step["brightness"] = 1.0 if root else 1.0 / unit

    loop["root"], loop["mu"], loop["tol"], loop["max_iter"] = root, mu, tol, max_iter
    loop["follow"] = rule == "gd" and learning_rate is None
    loop["learning_rate"] = learning_rate or LEARNING_RATES.get(rule, RELAXATION)
    loop["data_norm"], loop["prior_norm"] = blur.norm() ** 2, 4.0 * sum(n > 1 for n in image.shape[1:])
    loop["black"] = value(root, mu, brightest * math.sqrt(image.size), 0.0)
    # In the pixels' precision, as the pass has them: 1 - 0.999 is off by 1e-5 in float32.
    loop["keep"], loop["keep_square"] = blur.dtype.type(KEEP), blur.dtype.type(KEEP_SQUARE)
    loop["scale"] = loop["mean_power"] = loop["square_power"] = 1.0

    history: list[np.ndarray] = []
    limit = 1
    with _bar(progress, max_iter) as show:
        while loop["status"] == RUNNING:
            began = time.perf_counter()
            history.append(work.go_on(limit))
            took = time.perf_counter() - began
            show(int(loop["iteration"]))
            if callback is None:
                limit = min(max(int(limit * PATIENCE / max(took, 1e-6)), 1), 2 * limit, CHUNK)
            elif loop["done"] and loop["iteration"] > 0 and _wants_stop(callback, loop, work.estimate):
                break
    losses = np.concatenate(history)
    return Outcome(
        image=work.estimate.copy(),
        objective=float(loop["objective"]),
        history=losses if losses.size else np.array([float(loop["objective"])]),
        n_iter=int(loop["iteration"]),
        n_products=int(loop["passes"]) / 2,
        stop_reason=STOP_REASONS.get(int(loop["status"]), "callback"),
        optimality=float(loop["optimality"]),
    )


def _wants_stop(callback: Callable[[State], Any], loop: np.ndarray, estimate: np.ndarray) -> bool:
    view = estimate.view()
    view.flags.writeable = False
    answer = callback(State(int(loop["iteration"]), float(loop["objective"]), float(loop["optimality"]), view))
    return isinstance(answer, (bool, np.bool_)) and bool(answer)


def _largest(image: np.ndarray) -> float:
    """Largest absolute value, without a temporary image."""
    return max(abs(float(image.max())), abs(float(image.min())))


def _unit(brightest: float) -> float:
    """A power of two that brings the brightest pixel near 1, within the range of float32."""
    if brightest == 0:
        return 1.0
    return 2.0 ** -min(max(math.frexp(brightest)[1], -120), 120)


@contextmanager
def _bar(shown: bool, steps: int) -> Iterator[Callable[[int], Any]]:
    """A function that shows the iteration on a progress bar, or does nothing."""
    if not shown:
        yield lambda iteration: None
        return
    from tqdm import tqdm  # not before someone asks for a bar

    with tqdm(total=steps, unit="step") as bar:
        yield lambda iteration: bar.update(iteration - bar.n)
