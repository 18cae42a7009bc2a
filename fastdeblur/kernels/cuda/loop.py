"""Loop of gradient descent (CUDA): the scalar operations between the passes; twin of `kernels/cpu/descent_loop.py`.

The host launches step after step without looking; one thread judges each, and a step that is not to be taken
leaves everything as it is.  A descent's scalars are one array of float64, its parameters another.
"""

from __future__ import annotations

import math

from numba import cuda

from ..cpu.objective import gradient_scales, value
from .rules import ADAM
from .shapes import SIMULATED, device, kernel
from .sums import add_up

# The scalars: which of the two estimates is the current one, and which was last reported; 1 while the last step
# is to be taken back; and those of `descent_loop`.
(
    HERE, SHOWN, STATUS, ITERATION, PASSES, RESTORING, SKIPS, SCALE, CEILING, OBJECTIVE, OPTIMALITY, RATE,
    DATA_SCALE, PRIOR_SCALE, MEAN_POWER, SQUARE_POWER,
) = range(16)  # fmt: skip
SCALARS = 16
# The parameters.
(
    ROOT, MU, TOL, MAX_ITER, LEARNING_RATE, FOLLOW, DATA_NORM, PRIOR_NORM, BLACK, ROUNDING, UNIT, BRIGHTNESS, RULE,
    KEEP, KEEP_SQUARE, LOW, HIGH, BOUNDED, EXPLODED, LARGEST, PERIODIC,
) = range(21)  # fmt: skip
PARAMETERS = 21
RUNNING, TOLERANCE, STEPS, DIVERGED = range(4)
# How many objectives are stored: the host reads them before they are overwritten.
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
def weigh(scalars, parameters, misfit, roughness):
    """The objective; False if the step to it is not to be taken."""
    root, mu = parameters[ROOT] != 0.0, parameters[MU]
    objective = _value(root, mu, misfit, roughness)
    if scalars[ITERATION] == 0.0:
        scalars[CEILING] = min(parameters[EXPLODED] * max(objective, parameters[BLACK]), parameters[LARGEST])
    if not objective <= scalars[CEILING]:
        scalars[STATUS] = DIVERGED
        if scalars[ITERATION] > 0.0:
            take_back(scalars)
            scalars[ITERATION] -= 1.0
        else:
            scalars[OBJECTIVE] = objective
        return False
    if parameters[FOLLOW] != 0.0 and scalars[ITERATION] > 0.0:
        if scalars[RESTORING] != 0.0:
            scalars[RESTORING] = 0.0
        elif objective > scalars[OBJECTIVE] + parameters[ROUNDING] * (1.0 if root else misfit):
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
def judge(partials, blocks, scalars, parameters, totals):
    """After a residual pass: the objective and the factors of the step."""
    add_up(partials, blocks, 2, totals)
    if cuda.threadIdx.x != 0 or scalars[STATUS] != RUNNING:
        return
    scalars[PASSES] += 1.0
    misfit, roughness = math.sqrt(totals[0, 0]) / parameters[UNIT], math.sqrt(totals[0, 1]) / parameters[UNIT]
    scalars[SKIPS] = 1.0
    if not weigh(scalars, parameters, misfit, roughness):
        return
    scalars[SKIPS] = 0.0
    root, mu = parameters[ROOT] != 0.0, parameters[MU]
    data_scale, prior_scale = _gradient_scales(root, mu, misfit, roughness, 1e-30 / parameters[UNIT])
    scalars[DATA_SCALE] = data_scale / parameters[BRIGHTNESS]
    scalars[PRIOR_SCALE] = prior_scale / parameters[BRIGHTNESS]
    rate = parameters[LEARNING_RATE]
    if parameters[FOLLOW] != 0.0:
        curvature = data_scale * parameters[DATA_NORM] + prior_scale * parameters[PRIOR_NORM]
        rate *= scalars[SCALE] / curvature if curvature > 0.0 else 0.0
    elif parameters[RULE] == ADAM:
        scalars[MEAN_POWER] *= parameters[KEEP]
        scalars[SQUARE_POWER] *= parameters[KEEP_SQUARE]
        rate *= math.sqrt(1.0 - scalars[SQUARE_POWER]) / (1.0 - scalars[MEAN_POWER])
    scalars[RATE] = rate


@kernel
def report(partials, blocks, scalars, parameters, totals, history):
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
    if scalars[OPTIMALITY] <= parameters[TOL] and parameters[TOL] > 0.0:
        scalars[STATUS] = TOLERANCE
    elif scalars[ITERATION] == parameters[MAX_ITER]:
        scalars[STATUS] = STEPS
    else:
        scalars[HERE] = 1.0 - scalars[HERE]
        scalars[ITERATION] += 1.0
