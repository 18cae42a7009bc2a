"""What happens between the passes of a descent, on the device: see `solvers.loop`, of which this is the twin.

The host launches step after step without looking; one thread judges each, and a step that is not to be taken
leaves everything as it is.  A descent's scalars are one array of float64, what it was asked another.
"""

from __future__ import annotations

import math

from numba import cuda

from ..cpu.objective import gradient_scales, value
from .rules import ADAM
from .shapes import SIMULATED, device, kernel
from .sums import add_up

# The scalars: which of the two estimates is the current one, and which was last reported; 1 while the last step
# is to be taken back; and those of `solvers.loop`.
(
    HERE, SHOWN, STATUS, ITERATION, PASSES, RESTORING, SKIPS, SCALE, CEILING, OBJECTIVE, OPTIMALITY, RATE,
    DATA_SCALE, PRIOR_SCALE, MEAN_POWER, SQUARE_POWER,
) = range(16)  # fmt: skip
SCALARS = 16
# What was asked.
(
    ROOT, MU, TOL, MAX_ITER, LEARNING_RATE, FOLLOW, DATA_NORM, PRIOR_NORM, BLACK, ROUNDING, UNIT, BRIGHTNESS, RULE,
    KEEP, KEEP_SQUARE, LOW, HIGH, BOUNDED, EXPLODED, LARGEST,
) = range(20)  # fmt: skip
ASKED = 20
RUNNING, TOLERANCE, STEPS, DIVERGED = range(4)
# How many objectives are kept: the host looks before they are written over.
HISTORY = 1024

# On the device, Numba compiles the CPU's formulas anew.
_value = value.py_func if SIMULATED else device(value.py_func)
_gradient_scales = gradient_scales.py_func if SIMULATED else device(gradient_scales.py_func)


@device
def take_back(scalars):
    """Let the estimate before be the current one."""
    scalars[HERE] = 1.0 - scalars[HERE]
    scalars[SHOWN] = scalars[HERE]


@device
def weigh(scalars, asked, misfit, roughness):
    """The objective; False if the step to it is not to be taken."""
    root, mu = asked[ROOT] != 0.0, asked[MU]
    objective = _value(root, mu, misfit, roughness)
    if scalars[ITERATION] == 0.0:
        scalars[CEILING] = min(asked[EXPLODED] * max(objective, asked[BLACK]), asked[LARGEST])
    if not objective <= scalars[CEILING]:
        scalars[STATUS] = DIVERGED
        if scalars[ITERATION] > 0.0:
            take_back(scalars)
            scalars[ITERATION] -= 1.0
        else:
            scalars[OBJECTIVE] = objective
        return False
    if asked[FOLLOW] != 0.0 and scalars[ITERATION] > 0.0:
        if scalars[RESTORING] != 0.0:
            scalars[RESTORING] = 0.0
        elif objective > scalars[OBJECTIVE] + asked[ROUNDING] * (1.0 if root else misfit):
            take_back(scalars)
            scalars[RESTORING] = 1.0
            scalars[SCALE] *= 0.5
            return False
        else:
            scalars[SCALE] = min(2.0 * scalars[SCALE], 1.0)
        objective = min(objective, scalars[OBJECTIVE])
    scalars[OBJECTIVE] = objective
    return True


@kernel
def judge(partials, blocks, scalars, asked, totals):
    """After a residual pass: the objective and the factors of the step."""
    add_up(partials, blocks, 2, totals)
    if cuda.threadIdx.x != 0 or scalars[STATUS] != RUNNING:
        return
    scalars[PASSES] += 1.0
    misfit, roughness = math.sqrt(totals[0, 0]) / asked[UNIT], math.sqrt(totals[0, 1]) / asked[UNIT]
    scalars[SKIPS] = 1.0
    if not weigh(scalars, asked, misfit, roughness):
        return
    scalars[SKIPS] = 0.0
    root, mu = asked[ROOT] != 0.0, asked[MU]
    data_scale, prior_scale = _gradient_scales(root, mu, misfit, roughness, 1e-30 / asked[UNIT])
    scalars[DATA_SCALE], scalars[PRIOR_SCALE] = data_scale / asked[BRIGHTNESS], prior_scale / asked[BRIGHTNESS]
    rate = asked[LEARNING_RATE]
    if asked[FOLLOW] != 0.0:
        curvature = data_scale * asked[DATA_NORM] + prior_scale * asked[PRIOR_NORM]
        rate *= scalars[SCALE] / curvature if curvature > 0.0 else 0.0
    elif asked[RULE] == ADAM:
        scalars[MEAN_POWER] *= asked[KEEP]
        scalars[SQUARE_POWER] *= asked[KEEP_SQUARE]
        rate *= math.sqrt(1.0 - scalars[SQUARE_POWER]) / (1.0 - scalars[MEAN_POWER])
    scalars[RATE] = rate


@kernel
def report(partials, blocks, scalars, asked, totals, history):
    """After an update pass: the optimality, and whether to go on; if so the new estimate is the current one."""
    add_up(partials, blocks, 3, totals)
    if cuda.threadIdx.x != 0 or scalars[STATUS] != RUNNING or scalars[SKIPS] != 0.0:
        return
    scalars[PASSES] += 1.0
    gradient = math.sqrt(totals[0, 0])
    parts = math.sqrt(totals[0, 1]) + math.sqrt(totals[0, 2])
    optimality = gradient / parts if parts > 0.0 else 0.0
    scalars[OPTIMALITY] = 1.0 if math.isnan(optimality) else optimality
    history[int(scalars[ITERATION]) % HISTORY] = scalars[OBJECTIVE]
    scalars[SHOWN] = scalars[HERE]
    if scalars[OPTIMALITY] <= asked[TOL] and asked[TOL] > 0.0:
        scalars[STATUS] = TOLERANCE
    elif scalars[ITERATION] == asked[MAX_ITER]:
        scalars[STATUS] = STEPS
    else:
        scalars[HERE] = 1.0 - scalars[HERE]
        scalars[ITERATION] += 1.0
