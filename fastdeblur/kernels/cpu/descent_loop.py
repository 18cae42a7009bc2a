"""Loop of gradient descent (CPU): the scalar operations between the passes, compiled with them.

The threads go from pass to pass on their own: whoever finishes the last tile of a pass does the
few scalar operations between passes and opens the next, while the others wait for it.  (One
launch a pass costs 10 to 180 microseconds, as much as a pass over a small image.)
"""

import math

import numpy as np
from numba import carray

from ..runtime.tasks import jit, task
from .objective import gradient_scales, value
from .passes import read_step
from .simd import doubles
from .tiles import (
    CREW,
    EPOCH,
    FINISHED,
    OVER,
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

RUNNING, TOLERANCE, MAX_ITER, DIVERGED = range(4)

# An objective this many times that of the start, or of a black image, will not come back.
EXPLODED = 1e4
LARGEST = float(np.finfo(np.float64).max)
# Most steps before the loop returns to Python.
CHUNK = 1024

# What the loop carries from step to step; `record` is that of the two passes.
LOOP = np.dtype(
    CREW
    + [(name, np.intp) for name in ("residual", "update", "root", "correct_bias", "follow", "history", "limit")]
    + [(name, np.intp) for name in ("iteration", "max_iter", "pending", "restoring", "status", "passes", "done")]
    + [
        (name, np.float64)
        for name in ("mu", "tol", "learning_rate", "data_norm", "prior_norm", "scale", "black", "rounding")
    ]
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

    A step that follows the operator's norm is taken back, and halved, if the objective rose.  Where
    it rose by no more than rounding it cannot tell: such a step is too short to rise, so the
    objective is taken to have stayed.  (Taking those steps back, float32 stood still at an
    optimality of 1e-3.)
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
    if loop.follow and loop.iteration > 0:
        if loop.restoring:
            loop.restoring = 0
        elif objective > loop.objective + loop.rounding * (1.0 if loop.root else misfit):
            exchange(step)
            loop.restoring = 1
            loop.scale *= 0.5
            return False
        else:
            loop.scale = min(2.0 * loop.scale, 1.0)
        objective = min(objective, loop.objective)
    loop.objective = objective
    data_scale, prior_scale = gradient_scales(loop.root, loop.mu, misfit, roughness, 1e-30 / step.unit)
    step.data_scale, step.prior_scale = data_scale / step.brightness, prior_scale / step.brightness
    step.rate = loop.learning_rate
    if loop.follow:
        # A root lies below the parabola that touches it here, whose curvature is at most this.
        curvature = data_scale * loop.data_norm + prior_scale * loop.prior_norm
        step.rate *= loop.scale / curvature if curvature > 0.0 else 0.0
    elif loop.correct_bias:
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
    if math.isnan(loop.optimality):  # infinite parts: as far from a minimum as can be
        loop.optimality = 1.0
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
def descend(address, thread, threads):
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
        done = work(crew, thread, threads)
        if done > 0 and add_to(loop.queue, FINISHED, done) + done == loop.tiles:
            if proceed(loop, step):
                set_in(loop.queue, FINISHED, 0)
                share(loop.queue, threads, loop.tiles)
            else:
                set_in(loop.queue, OVER, 1)
            add_to(loop.queue, EPOCH, 1)
        idle = 0
        while read_from(loop.queue, EPOCH) == epoch:
            idle += 1
            relax(idle)
