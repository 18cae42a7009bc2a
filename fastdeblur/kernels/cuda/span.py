"""Scalars of preconditioned conjugate gradients (CUDA): the twin of `solvers.pcg.solver` and `solvers.pcg.subspace`.

The host launches some iterations ahead.  Where the solver needs more than the usual step (the tolerance is met, the
iterate is near a kink, the residual has to be computed anew, the preconditioner no longer fits), it pauses:
what has been launched then changes nothing, until the host has looked.
"""

from __future__ import annotations

import math

import numpy as np
from numba import cuda

from .shapes import device, kernel
from .sums import add_up

(
    A, B, C, RIDGE, PAUSED, MISFIT, ITERATION, MU, ROOT, TOL, LAST_ITERATION, LOOKED_AT, MOVED, MADE_FOR, LAST_RIDGE,
    DATA, PRIOR, NORM_F, NORM_G, OPTIMALITY, LEAST, KINK, FORGOTTEN, STAY, STEADY, MOVING_RIDGE,
    ROUNDED, FARTHEST, LEAST_STEP, UNTOLD, NOUGHT, LEAST_SEEN, AMPLIFIED, PERIODIC,
) = range(34)  # fmt: skip
SCALARS = 34
# Why it pauses.
GOING, ARRIVED, SPECIAL, RIDGE_LEFT, LOST = range(5)
# Iterations at most between two looks, and what is kept of each: ‖r‖, ‖Dx‖, optimality, what rounding leaves of that.
LOG, KEPT = 64, 4
MOST_STEPS = 50


@device
def ridge_step(aa, a, dd, d, used, ridge, matrix, y):
    """Minimiser of ``‖r + A Z y‖² + ridge ‖D(x + Z y)‖²`` over the directions that are `used`."""
    for i in range(3):
        y[i] = 0.0
        for j in range(3):
            matrix[i, j] = aa[i, j] + ridge * dd[i, j]
    scale = cuda.local.array(3, np.float64)
    for i in range(3):
        scale[i] = 1.0 / math.sqrt(max(matrix[i, i], 1e-300)) if used[i] else 0.0
    for i in range(3):
        for j in range(3):
            matrix[i, j] *= scale[i] * scale[j]
        # Directions that depend on each other cost nothing but this.
        matrix[i, i] += 1e-14 if used[i] else 1.0
        matrix[i, 3] = -scale[i] * (a[i] + ridge * d[i])
    for k in range(3):
        best = k
        for i in range(k + 1, 3):
            if abs(matrix[i, k]) > abs(matrix[best, k]):
                best = i
        for j in range(4):
            matrix[k, j], matrix[best, j] = matrix[best, j], matrix[k, j]
        if matrix[k, k] == 0.0:
            matrix[k, k] = math.nan  # no solution, as the host has it
        for i in range(k + 1, 3):
            factor = matrix[i, k] / matrix[k, k]
            for j in range(k, 4):
                matrix[i, j] -= factor * matrix[k, j]
    for k in range(3):
        i = 2 - k
        rest = matrix[i, 3]
        for j in range(i + 1, 3):
            rest -= matrix[i, j] * y[j]
        y[i] = rest / matrix[i, i]
    for i in range(3):
        y[i] *= scale[i]


@device
def quadratic(matrix, vector, constant, y):
    """``constant + 2 vector·y + y·matrix y``; what rounding leaves of a square is not less than nothing."""
    total = constant
    for i in range(3):
        total += 2.0 * vector[i] * y[i]
        for j in range(3):
            total += y[i] * matrix[i, j] * y[j]
    return max(total, 1e-32 * constant)


@device
def root_step(aa, a, rr, dd, d, xx, used, mu, matrix, y, best):
    """Minimiser of ``‖r + A Z y‖ + mu ‖D(x + Z y)‖``, left in `best`."""
    for i in range(3):
        best[i] = 0.0
    misfit, rough = math.sqrt(rr), math.sqrt(xx)
    least = misfit + mu * rough
    allowed = least * (1.0 + 1e-13)
    t, last_t, last_error, steps = math.log(mu * misfit / rough), 0.0, 0.0, 0
    while steps < MOST_STEPS:
        ridge_step(aa, a, dd, d, used, math.exp(t), matrix, y)
        misfit, rough = math.sqrt(quadratic(aa, a, rr, y)), math.sqrt(quadratic(dd, d, xx, y))
        if misfit + mu * rough < least:
            least = misfit + mu * rough
            for i in range(3):
                best[i] = y[i]
        if not (misfit > 0.0 and rough > 0.0):
            return
        error = math.log(mu * misfit / rough) - t
        if abs(error) < 1e-12:
            if misfit + mu * rough <= allowed:
                for i in range(3):
                    best[i] = y[i]
            return
        slope = -1.0
        if steps > 0 and last_t != t:
            slope = min((error - last_error) / (t - last_t), -0.02)
        last_t, last_error = t, error
        t -= min(max(error / slope, -3.0), 3.0)
        t = min(max(t, -80.0), 80.0)
        steps += 1


@kernel
def choose(frame_partials, frame_blocks, partials, blocks, scalars, totals):
    """After the products: the factors of the step."""
    add_up(frame_partials, frame_blocks, 10, totals)
    add_up(partials, blocks, 6, totals[1:])
    if cuda.threadIdx.x != 0 or scalars[PAUSED] != GOING:
        return
    zz, zp, zr, zb = totals[0, 0], totals[0, 1], totals[0, 2], totals[0, 3]
    pp, pr, pb, rr, rb, bb = totals[0, 4], totals[0, 5], totals[0, 6], totals[0, 7], totals[0, 8], totals[0, 9]
    aa, dd = cuda.local.array((3, 3), np.float64), cuda.local.array((3, 3), np.float64)
    a, d = cuda.local.array(3, np.float64), cuda.local.array(3, np.float64)
    matrix = cuda.local.array((3, 4), np.float64)
    used = cuda.local.array(3, np.bool_)
    y, best = cuda.local.array(3, np.float64), cuda.local.array(3, np.float64)
    # With A x = r + b, from the products of A z, A p, r and b.
    zx, px = zr + zb, pr + pb
    aa[0, 0], aa[0, 1], aa[0, 2] = zz, zp, zx
    aa[1, 0], aa[1, 1], aa[1, 2] = zp, pp, px
    aa[2, 0], aa[2, 1], aa[2, 2] = zx, px, rr + 2.0 * rb + bb
    a[0], a[1], a[2] = zr, pr, rr + rb
    dd[0, 0], dd[0, 1], dd[0, 2] = totals[1, 0], totals[1, 1], totals[1, 2]
    dd[1, 0], dd[1, 1], dd[1, 2] = totals[1, 1], totals[1, 3], totals[1, 4]
    dd[2, 0], dd[2, 1], dd[2, 2] = totals[1, 2], totals[1, 4], totals[1, 5]
    d[0], d[1], d[2] = totals[1, 2], totals[1, 4], totals[1, 5]
    used[0], used[1], used[2] = True, scalars[MOVED] != 0.0, aa[2, 2] > scalars[LEAST_SEEN] * bb
    if scalars[ROOT] != 0.0 and scalars[RIDGE] > 0.0:
        root_step(aa, a, rr, dd, d, totals[1, 5], used, scalars[MU], matrix, y, best)
    else:
        ridge_step(aa, a, dd, d, used, max(scalars[RIDGE], scalars[LEAST_STEP]), matrix, best)
    if scalars[OPTIMALITY] == 0.0:  # nothing is left
        for i in range(3):
            best[i] = 0.0
    farthest = scalars[FARTHEST] * scalars[FARTHEST]
    misfit, rough = quadratic(aa, a, rr, best), quadratic(dd, d, totals[1, 5], best)
    if not (misfit < farthest and rough < farthest):  # or one that is not a number
        scalars[PAUSED] = LOST
        return
    scalars[A], scalars[B], scalars[C] = best[0], best[1], 1.0 + best[2]
    scalars[MOVED] = 1.0


@kernel
def moved(partials, blocks, scalars, totals):
    """After the residual has moved: its square."""
    add_up(partials, blocks, 1, totals)
    if cuda.threadIdx.x == 0 and scalars[PAUSED] == GOING:
        scalars[MISFIT] = totals[0, 0]
        scalars[ITERATION] += 1.0
        if totals[0, 0] < scalars[FORGOTTEN] * scalars[LOOKED_AT] or abs(scalars[C] - 1.0) > scalars[AMPLIFIED]:
            scalars[PAUSED] = SPECIAL


@kernel
def measure(partials, blocks, scalars, totals):
    """After `vectors.gradient_sums`: the norms, and the ridge."""
    add_up(partials, blocks, 4, totals)
    if cuda.threadIdx.x != 0 or scalars[PAUSED] != GOING:
        return
    scalars[DATA], scalars[PRIOR] = totals[0, 0], totals[0, 2]
    f, g, mu = math.sqrt(scalars[MISFIT]), math.sqrt(totals[0, 3]), scalars[MU]
    scalars[NORM_F], scalars[NORM_G] = f, g
    if scalars[ROOT] != 0.0 and mu > 0.0 and min(f, mu * g) <= scalars[KINK] * (f + mu * g):
        scalars[PAUSED] = SPECIAL
    elif scalars[ROOT] != 0.0:
        scalars[RIDGE] = mu * f / g if g > 0.0 else 0.0


@kernel
def arrive(partials, blocks, scalars, totals, log):
    """After `vectors.combine`: the optimality, and whether to go on."""
    add_up(partials, blocks, 1, totals)
    if cuda.threadIdx.x != 0 or scalars[PAUSED] != GOING:
        return
    ridge = scalars[RIDGE]
    parts = math.sqrt(scalars[DATA]) + ridge * math.sqrt(scalars[PRIOR])
    f = scalars[NORM_F]
    left = parts > scalars[UNTOLD] * f and (ridge > 0.0 or f > scalars[NOUGHT])
    optimality = math.sqrt(totals[0, 0]) / parts if left else 0.0
    scalars[OPTIMALITY] = optimality
    at = int(scalars[ITERATION]) % LOG
    rounding = ridge * scalars[ROUNDED] / parts if parts > 0.0 else 0.0
    log[at, 0], log[at, 1], log[at, 2], log[at, 3] = f, scalars[NORM_G], optimality, rounding
    near = scalars[TOL] > 0.0 and optimality <= max(scalars[TOL], rounding)
    if near or scalars[ITERATION] >= scalars[LAST_ITERATION]:
        scalars[PAUSED] = ARRIVED
        return
    wanted = max(ridge, scalars[LEAST])
    steady = max(wanted, scalars[LAST_RIDGE]) < scalars[STEADY] * min(wanted, scalars[LAST_RIDGE])
    stay = scalars[STAY] if steady else scalars[MOVING_RIDGE]
    if not scalars[MADE_FOR] / stay < wanted < scalars[MADE_FOR] * stay:
        scalars[PAUSED] = RIDGE_LEFT
    else:
        scalars[LAST_RIDGE] = wanted
