"""Richardson-Lucy (CUDA): the pointwise parts of a step and the scalars between; twin of `kernels/cpu/lucy.py`.

The host launches step after step without looking: one thread judges each.  A step that is not to be taken leaves
the estimate as it is, or, where the likelihood fell, takes it back from ahead of the last one to that.
"""

from __future__ import annotations

import functools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
from numba import cuda

from ..cpu.likelihood import LEAST_MEAN
from .shapes import THREADS, device, kernel
from .sums import add_up, make

# The scalars: 1 for RESTORING while the next estimate is to be the last one; CHANGE is the last step's, relatively.
STATUS, ITERATION, BEHIND, LIKELIHOOD, RESTORING, CHANGE, RATE, PASSES = range(8)
SCALARS = 8
# The parameters: `ALLOWED` is the misfit to stop at, `MEASURED` whether sums are computed.
UNIT, LOW, HIGH, LEAST, MEASURED, TOL, MAX_ITER, ALLOWED, ROUNDING = range(9)
PARAMETERS = 9
RUNNING, TOLERANCE, NOISE, STEPS = range(4)
# How many likelihoods are stored: the host reads them before they are overwritten.
HISTORY = 1024

_pair_sums = make(THREADS, 2)


@device
def leave(sums, count, partials):
    """Put the block's sums in its place."""
    across, down = cuda.gridDim.y, cuda.gridDim.x
    _pair_sums(sums, count, partials, (cuda.blockIdx.z * across + cuda.blockIdx.y) * down + cuda.blockIdx.x)


@device
def shared(image, plane, i, j):
    """A pixel of an image whose planes and rows may all be the same one."""
    return image[min(plane, image.shape[0] - 1), min(i, image.shape[1] - 1), j]


@functools.cache
def cost_of(dtype: Any) -> Any:
    """The function that makes of a mean and a photon count what they cost; see `kernels.cpu.likelihood`."""
    real = np.dtype(dtype).type
    least = real(LEAST_MEAN)

    @device
    def cost(mean, count):
        return mean - count * real(math.log(max(mean, least)))

    return cost


cost = cost_of(np.float64)


@kernel
def misfit(blurred, shift, image, weights, poisson, run, partials):
    """The data part of the objective, in double precision; see `objective.misfit`."""
    sums = cuda.local.array(1, np.float64)
    sums[0] = 0.0
    j, plane = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x, cuda.blockIdx.z
    for i in range(cuda.blockIdx.x * run, min((cuda.blockIdx.x + 1) * run, image.shape[1])):
        if j < image.shape[2]:
            mean, b, w = float(blurred[plane, i, j]), float(image[plane, i, j]), float(weights[plane, i, j])
            if not poisson:
                sums[0] += 0.5 * w * (mean - b) * (mean - b)
            else:
                mean += float(shared(shift, plane, i, j))
                sums[0] += w * cost(mean, b)
    leave(sums, 1, partials)


@functools.cache
def kernels_of(dtype: Any) -> SimpleNamespace:
    """The kernels `ratio` and `multiply`."""
    real = np.dtype(dtype).type
    zero, cost = real(0), cost_of(real)

    @kernel
    def ratio(blurred, shift, image, weights, parameters, run, partials):
        """w b / (A y) in place of A y; sums: the likelihood and the misfit, in units."""
        sums = cuda.local.array(2, np.float64)
        least, unit = real(parameters[LEAST]), real(parameters[UNIT])
        j, plane = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x, cuda.blockIdx.z
        likelihood, squares = zero, zero
        for i in range(cuda.blockIdx.x * run, min((cuda.blockIdx.x + 1) * run, image.shape[1])):
            if j >= image.shape[2]:
                break
            b, w = image[plane, i, j], weights[plane, i, j]
            mean = blurred[plane, i, j] + shared(shift, plane, i, j)
            if parameters[MEASURED] != 0.0:
                high, observed = unit * mean, unit * b
                likelihood += w * cost(high, observed)
                squares += w * (high - observed) * (high - observed)
            blurred[plane, i, j] = zero if mean < least else w * b / mean
        sums[0], sums[1] = likelihood, squares
        leave(sums, 2, partials)

    @kernel
    def multiply(estimate, factors, inverse_sensitivity, last, scalars, parameters, run, partials):
        """The next estimate, taken ahead of the last one; sums of squares: the change, and the estimate."""
        if scalars[STATUS] != RUNNING:
            return
        sums = cuda.local.array(2, np.float64)
        low, high, unit = real(parameters[LOW]), real(parameters[HIGH]), real(parameters[UNIT])
        rate, restoring = real(scalars[RATE]), scalars[RESTORING] != 0.0
        j, plane = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x, cuda.blockIdx.z
        moved, whole = zero, zero
        for i in range(cuda.blockIdx.x * run, min((cuda.blockIdx.x + 1) * run, estimate.shape[1])):
            if j >= estimate.shape[2]:
                break
            y, x = estimate[plane, i, j], last[plane, i, j]
            if restoring:
                estimate[plane, i, j] = x
                continue
            share, before = inverse_sensitivity[plane, i, j], x
            x = y * factors[plane, i, j] * share if share != zero else y
            x = low if x < low else (high if x > high else x)
            ahead = x + rate * (x - before)
            estimate[plane, i, j] = low if ahead < low else (high if ahead > high else ahead)
            last[plane, i, j] = x
            moved += (unit * (x - y)) * (unit * (x - y))
            whole += (unit * y) * (unit * y)
        sums[0], sums[1] = moved, whole
        leave(sums, 2, partials)

    return SimpleNamespace(ratio=ratio, multiply=multiply)


@kernel
def judge(partials, blocks, scalars, parameters, totals, history):
    """After `ratio`: whether the likelihood fell, and if not, whether to go on and how far ahead."""
    add_up(partials, blocks, 2, totals)
    if cuda.threadIdx.x != 0 or scalars[STATUS] != RUNNING:
        return
    scalars[PASSES] += 1.0
    likelihood, squares = totals[0, 0], totals[0, 1]
    iteration, before = scalars[ITERATION], scalars[LIKELIHOOD]
    if iteration > 0.0 and scalars[RESTORING] == 0.0 and likelihood > before + parameters[ROUNDING] * abs(before):
        scalars[RESTORING], scalars[BEHIND] = 1.0, iteration
        return
    scalars[RESTORING] = 0.0
    likelihood = min(likelihood, before)
    scalars[LIKELIHOOD] = likelihood
    history[int(iteration) % HISTORY] = likelihood
    k = iteration - scalars[BEHIND]
    scalars[RATE] = k / (k + 3.0)
    converged = scalars[CHANGE] <= parameters[TOL]
    if parameters[TOL] > 0.0 and iteration > 0.0 and (converged or squares <= parameters[ALLOWED]):
        scalars[STATUS] = TOLERANCE if converged else NOISE
    elif iteration == parameters[MAX_ITER]:
        scalars[STATUS] = STEPS


@kernel
def report(partials, blocks, scalars, totals):
    """After `multiply`: how much it changed."""
    add_up(partials, blocks, 2, totals)
    if cuda.threadIdx.x != 0 or scalars[STATUS] != RUNNING or scalars[RESTORING] != 0.0:
        return
    scalars[PASSES] += 1.0
    moved, whole = totals[0, 0], totals[0, 1]
    scalars[CHANGE] = math.sqrt(moved / whole) if whole > 0.0 else 0.0
    scalars[ITERATION] += 1.0
