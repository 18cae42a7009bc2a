"""Total variation and bounds for several frames: ADMM on the normal equations.

The differences, and for bounds the estimate, have split variables.  The x-update is quadratic, with the normal
equations of all frames; it is taken by one step of conjugate gradients, over the plane of the preconditioned residual
and the step before, as for psfs that vary (see `admm.varying`).  So memory does not depend on the number of frames, and
the estimate is blurred and blurred back once for each of them in a step.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...problem.options import Options
from ...result import Result
from ..admm.solver import LAST_LOOK, LOOK, MOST_CHANGE, REASON, THRESHOLD
from ..common import bar
from ..pcg.subspace import quadratic_step
from .gradient import Equations, Progress
from .operators import Normal, dot


def minimise_edges(normal: Normal, options: Options, mu: float, ridge: float, noise: float, spread: float) -> Result:
    """Minimise ½ Σ w ‖A x − b‖² + mu R(x) within bounds, R = Σ |Dx| or ½ Σ |Dx|²; the result's image is planes.

    `ridge` is that of a smooth start; `spread` the frames' range.
    """
    right, dtype, equations = normal.right, normal.right.dtype, Equations(normal)
    tv, bounds = options.prior == "tv", options.bounds
    usual = normal.total_weight * spread
    rho = min(max(mu, REASON[0] * usual), REASON[1] * usual) / (THRESHOLD * spread) if tv else 0.0
    smooth_mu = 0.0 if tv else mu
    # The copy of the estimate, where there are bounds, and its penalty; duals are in units of penalties.
    pixels = 0.05 * normal.total_weight if bounds else 0.0
    x = equations.precondition(right, ridge) / dtype.type(normal.total_weight)
    product = np.empty_like(x)
    normal.product(x, product)
    z, u = differences(x), np.zeros((2, *x.shape), dtype)
    y, s = x.copy(), np.zeros_like(x)
    step, moved = np.zeros_like(x), np.zeros_like(x)
    progress = Progress(options)
    with bar(options.progress, options.max_iter) as show:
        while True:
            iteration = len(progress.history)
            slopes = differences(x)
            lacking, moving, of_x, of_u, forces = np.zeros((5, 2))
            if tv:
                u += slopes
                before, z = z, shrunk(u, mu / rho)
                u -= z
                lacking[0], moving[0] = _square(slopes - z), _square(z - before)
                of_x[0], of_u[0], forces[0] = _square(slopes), _square(z), _square(u)
            if bounds:
                s += x
                before_y, y = y, s.clip(*bounds).astype(dtype)
                s -= y
                lacking[1], moving[1] = dot(x - y, x - y), dot(y - before_y, y - before_y)
                of_x[1], of_u[1], forces[1] = dot(x, x), dot(y, y), dot(s, s)
            data = product - right
            force = dtype.type(rho) * transposed(u) + dtype.type(pixels) * s
            smooth = dtype.type(smooth_mu) * equations.laplacian(x) if smooth_mu else 0
            left = data + force + smooth
            squares = np.array([rho, pixels]) ** 2
            optimality = max(
                _ratio(lacking.sum(), max(of_x.sum(), of_u.sum())), _ratio(squares @ moving, squares @ forces)
            )
            misfit = normal.misfit(x, product)
            rough = np.sqrt((slopes.astype(np.float64) ** 2).sum(axis=(0, 1))).sum() if tv else 0.5 * _square(slopes)
            show(iteration)
            if progress.stops(0.5 * misfit + mu * float(rough), optimality, equations.frame_of(y if bounds else x)):
                break
            # x-update: the residual of the normal equations with the split variables, and one step.
            residual = -(left + dtype.type(rho) * transposed(slopes - z) + dtype.type(pixels) * (x - y))
            fresh = equations.precondition(residual, rho + smooth_mu)
            blurred = np.empty_like(x)
            normal.product(fresh, blurred)
            whole = [
                product_ + dtype.type(rho + smooth_mu) * equations.laplacian(along) + dtype.type(pixels) * along
                for product_, along in ((blurred, fresh), (moved, step))
            ]
            gram = np.array([[dot(a, b) for b in whole] for a in (fresh, step)])
            factors = [dtype.type(each) for each in quadratic_step(gram, [dot(fresh, residual), dot(step, residual)])]
            for new, last in ((fresh, step), (blurred, moved)):
                last *= factors[1]
                last += factors[0] * new
            x += step
            product += moved
            if tv and iteration and iteration % LOOK == 0 and iteration <= LAST_LOOK:
                # Residual balancing, as of `admm.solver`.
                primal, dual = _ratio(lacking[0], max(of_x[0], of_u[0])), _ratio(moving[0], forces[0])
                factor = math.sqrt(primal / dual) if primal > 0 and dual > 0 else 1.0
                factor = min(max(factor, 1 / MOST_CHANGE), MOST_CHANGE)
                rho *= factor
                u /= dtype.type(factor)
    shown = equations.frame_of(x)
    if bounds:
        shown = shown.clip(*bounds).astype(dtype)
    return progress.result(normal, shown, mu, misfit, noise)


def differences(x: np.ndarray) -> np.ndarray:
    """Forward differences of planes, down and across; 0 at the end of an axis."""
    out = np.zeros((2, *x.shape), x.dtype)
    np.subtract(x[:, 1:], x[:, :-1], out=out[0, :, :-1])
    np.subtract(x[:, :, 1:], x[:, :, :-1], out=out[1, :, :, :-1])
    return out


def transposed(slopes: np.ndarray) -> np.ndarray:
    """The transpose of `differences`."""
    out = np.zeros(slopes.shape[1:], slopes.dtype)
    out[:, 1:] += slopes[0, :, :-1]
    out[:, :-1] -= slopes[0, :, :-1]
    out[:, :, 1:] += slopes[1, :, :, :-1]
    out[:, :, :-1] -= slopes[1, :, :, :-1]
    return out


def shrunk(slopes: np.ndarray, threshold: float) -> np.ndarray:
    """The proximal map of the lengths of differences, those of all planes in one."""
    lengths = np.sqrt((slopes * slopes).sum(axis=(0, 1)))
    shares = 1 - threshold / np.maximum(lengths, threshold)
    return np.asarray(slopes * shares.astype(slopes.dtype))


def _square(slopes: np.ndarray) -> float:
    return dot(slopes[0], slopes[0]) + dot(slopes[1], slopes[1])


def _ratio(part: Any, whole: Any) -> float:
    """The root of the quotient; where `whole` is 0, 1 if there is a part, else 0."""
    return math.sqrt(part / whole) if whole > 1e-30 else float(part > 1e-30)
