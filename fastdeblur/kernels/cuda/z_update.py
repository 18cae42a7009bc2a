"""ADMM z-update and x-update kernels (CUDA): the twins of `kernels.cpu.z_update` and `kernels.cpu.x_update`.

1. `z_update`: v of the split variables, the blurred estimate and its differences; ``2 u - v`` is handed on.
2. `adjoint`: the right-hand side that this gives the next estimate; `x_update` solves for its Fourier coefficients.
3. `relax_pixels` and `project_pixels`, for the copy of the estimate: v, and, once it has been projected, u.

A thread goes down a column; in `z_update` through all planes of each pixel, since those are shrunk together.
"""

from __future__ import annotations

import functools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
from numba import cuda

from ..cpu.halo import OUTSIDE
from ..cpu.shrink import LARGEST, POWER, TAKEN
from ..cpu.z_update import DIFFERENCES, FIRSTS, MISFIT, ROUGHNESS, SUMS_OF_SPLIT
from .lucy import cost as cost_of_photons
from .lucy import shared
from .neighbours import after, before
from .shapes import SIMULATED, THREADS, device, kernel
from .sums import make

# Scalars of the job that kernels are given, in this order.
NAMES = (
    "relax", "unit", "factor", "data_rho", "data_rho_before", "data_keep", "rho", "second_rho", "keep", "pixels_rho",
    "threshold", "threshold_before", "second_threshold", "second_threshold_before", "poisson",
)  # fmt: skip
(
    RELAX, UNIT, FACTOR, DATA_RHO, DATA_RHO_BEFORE, DATA_KEEP, RHO, SECOND_RHO, KEEP, PIXELS_RHO,
    THRESHOLD, THRESHOLD_BEFORE, SECOND_THRESHOLD, SECOND_THRESHOLD_BEFORE, POISSON,
) = range(15)  # fmt: skip
# How many sums `z_update` leaves, and `project_pixels`.
SPLIT_SUMS, PIXEL_SUMS = ROUGHNESS + 1, SUMS_OF_SPLIT
# Where the differences' sums begin.
OWN = SUMS_OF_SPLIT
# How many differences are split.
DIFFERENCES_OF = {"gradient": FIRSTS, "tv": FIRSTS, "sparse": DIFFERENCES, "denoiser": 0}
# Pixels a thread goes down at most, and threads there should at least be before it goes down several.
RUN, MANY = (32, 1) if SIMULATED else (16, 1 << 18)

_split_sums, _pixel_sums, _one_sum = (make(THREADS, count) for count in (SPLIT_SUMS, PIXEL_SUMS, 1))


def runs(rows: int, cols: int, planes: int = 1) -> tuple[tuple[int, int, int], int, int]:
    """Blocks, threads, and how many pixels a thread goes down."""
    run = min(max(rows * cols // MANY, 1), RUN)
    return (-(-rows // run), -(-cols // THREADS), planes), THREADS, run


@device
def all_observed(observed, k, plane, i, j):
    """Whether all pixels of one of the estimate's differences are observed; an array of one element: all are."""
    if observed.shape[1] * observed.shape[2] == 1:
        return True
    rows, cols, here = observed.shape[1], observed.shape[2], observed[plane, i, j]
    # (Beyond the border, only a periodic estimate has differences.)
    below, right = after(i, rows, True), after(j, cols, True)
    if k == 0:
        return here * observed[plane, below, j] != 0
    if k == 1:
        return here * observed[plane, i, right] != 0
    if k == 2:
        return observed[plane, before(i, rows, True), j] * here * observed[plane, below, j] != 0
    if k == 3:
        return observed[plane, i, before(j, cols, True)] * here * observed[plane, i, right] != 0
    return here * observed[plane, below, j] * observed[plane, i, right] * observed[plane, below, right] != 0


@device
def penalised(k, i, j, rows, cols):
    """Whether a difference is one of the estimate: it has all of its pixels."""
    if k == 0:
        return i < rows - 1 and j < cols
    if k == 1:
        return i < rows and j < cols - 1
    if k == 2:
        return 0 < i < rows - 1 and j < cols
    if k == 3:
        return i < rows and 0 < j < cols - 1
    return i < rows - 1 and j < cols - 1


def _proximal(kind: str, real: Any) -> tuple[Any, Any]:
    """The share of a difference of square m² that a prior's proximal map takes away, and what m costs."""
    single = np.float32
    zero, half, one, tiny = real(0), real(0.5), real(1), real(1e-30)
    to_ratio, to_cost, power, largest, least = map(single, (0.5 * POWER - 1, 0.5 * POWER, POWER, LARGEST, 1e-30))
    a, b, c, d, e, f, g = TAKEN

    @device
    def linear_share(square, threshold):
        return threshold

    @device
    def linear_cost(square):
        return half * square

    @device
    def soft_share(square, threshold):
        return min(one, threshold / real(math.sqrt(square + tiny)))

    @device
    def soft_cost(square):
        return real(math.sqrt(square))

    @device
    def power_share(square, threshold):
        # The CPU's polynomial, in its precision.
        ratio = single(square / max(threshold * threshold, tiny)) + least
        q = min(power * single(math.pow(ratio, to_ratio)), largest)
        share = (((((g * q + f) * q + e) * q + d) * q + c) * q + b) * q + a
        return real(share) if q < largest else one

    @device
    def power_cost(square):
        return real(math.pow(single(square), to_cost)) if square > zero else zero

    shares = {"tv": (soft_share, soft_cost), "sparse": (power_share, power_cost)}
    return shares.get(kind, (linear_share, linear_cost))


@functools.cache
def kernels_of(kind: str, has_pixels: bool, periodic: bool, dtype: Any) -> SimpleNamespace:
    """The kernels for a kind of prior, one of DIFFERENCES_OF, and for estimates that are periodic, or are not."""
    real = np.dtype(dtype).type
    share, cost = _proximal(kind, real)
    zero, half, one, two, four = map(real, (0, 0.5, 1, 2, 4))
    root, least = real(math.sqrt(2)), real(1e-30)
    firsts, seconds = DIFFERENCES_OF[kind] > 0, DIFFERENCES_OF[kind] > FIRSTS

    @device
    def counts(k, plane, i, j, rows, cols, observed):
        """Whether a difference is one of the estimate, all of whose pixels are observed."""
        return (periodic or penalised(k, i, j, rows, cols)) and all_observed(observed, k, plane, i, j)

    @device
    def difference(k, x, plane, i, j):
        """A difference of the periodic domain's pixels."""
        rows, cols, here = x.shape[1], x.shape[2], x[plane, i, j]
        below, right = i + 1 if i + 1 < rows else 0, j + 1 if j + 1 < cols else 0
        if k == 0:
            return x[plane, below, j] - here
        if k == 1:
            return x[plane, i, right] - here
        if k == 2:
            return (x[plane, below, j] - here) - (here - x[plane, i - 1 if i > 0 else rows - 1, j])
        if k == 3:
            return (x[plane, i, right] - here) - (here - x[plane, i, j - 1 if j > 0 else cols - 1])
        return root * ((x[plane, below, right] - x[plane, below, j]) - (x[plane, i, right] - here))

    @device
    def group_cost(first, end, x, observed, i, j, rows, cols):
        """The prior's cost of one group of differences."""
        squares = zero
        for plane in range(x.shape[0]):
            for k in range(first, end):
                if counts(k, plane, i, j, rows, cols, observed):
                    drop = difference(k, x, plane, i, j)
                    squares += drop * drop
        return cost(squares)

    @device
    def update_group(
        first, end, acc, x, observed, split, reflected, i, j, rows, cols, threshold, threshold_before, scalars
    ):
        """The split variables of one group of differences; sums as of `kernels.cpu.z_update_rows.reflect_row`."""
        relax, keep, unit = real(scalars[RELAX]), real(scalars[KEEP]), real(scalars[UNIT])
        squares = zero
        for plane in range(x.shape[0]):
            for k in range(first, end):
                if counts(k, plane, i, j, rows, cols, observed):
                    squares += split[k, plane, i, j] * split[k, plane, i, j]
        taken = share(squares, real(threshold_before))
        squares = zero
        for plane in range(x.shape[0]):
            for k in range(first, end):
                counted = counts(k, plane, i, j, rows, cols, observed)
                v = split[k, plane, i, j]
                u = v * (one - taken) if counted else v
                v = u + keep * (v - u) + relax * (difference(k, x, plane, i, j) - u)
                split[k, plane, i, j] = v
                reflected[k, plane, i, j] = u  # the last one, until the next is known
                if counted:
                    squares += v * v
        taken = share(squares, real(threshold))
        for plane in range(x.shape[0]):
            for k in range(first, end):
                v, last = split[k, plane, i, j], reflected[k, plane, i, j]
                counted = counts(k, plane, i, j, rows, cols, observed)
                u = v * (one - taken) if counted else v
                reflected[k, plane, i, j] = two * u - v
                drop = difference(k, x, plane, i, j)
                primal, dual, force = unit * (drop - u), unit * (u - last), unit * (v - u)
                acc[OWN] += primal * primal
                acc[OWN + 1] += dual * dual
                acc[OWN + 2] += (unit * drop) * (unit * drop)
                acc[OWN + 3] += (unit * u) * (unit * u)
                acc[OWN + 4] += force * force

    @device
    def data_prox(poisson, v, s, b, w, rho):
        """Proximal map of the data term of one pixel."""
        if poisson:
            lower = v + s - w / rho
            return half * (lower + real(math.sqrt(lower * lower + four * w * b / rho))) - s
        return (w * b + rho * v) / (w + rho)

    @device
    def update_data(acc, v, here, s, b, w, scalars):
        """The split of a blurred pixel in the frame, as of `kernels.cpu.z_update_rows.data_row`; returns v and u."""
        poisson, unit = scalars[POISSON] != 0.0, real(scalars[UNIT])
        rho = real(scalars[DATA_RHO])
        last = data_prox(poisson, v, s, b, w, real(scalars[DATA_RHO_BEFORE]))
        v = last + real(scalars[DATA_KEEP]) * (v - last) + real(scalars[RELAX]) * (here - last)
        u = data_prox(poisson, v, s, b, w, rho)
        if not poisson:
            acc[MISFIT] += w * ((unit * (here - b)) * (unit * (here - b)))
        primal, dual, force = unit * (here - u), unit * (u - last), unit * (v - u)
        acc[0] += primal * primal
        acc[1] += dual * dual
        acc[2] += (unit * here) * (unit * here)
        acc[3] += (unit * u) * (unit * u)
        acc[4] += force * force
        return v, u

    @kernel
    def begin(estimates, split, run):
        """Start the split variables at the estimate's differences."""
        j, plane = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x, cuda.blockIdx.z
        for i in range(cuda.blockIdx.x * run, min((cuda.blockIdx.x + 1) * run, split.shape[2])):
            if j < split.shape[3]:
                for k in range(split.shape[0]):
                    split[k, plane, i, j] = difference(k, estimates[0], plane, i, j)

    @kernel
    def z_update(
        estimates, observed, split, reflected, data, rhs, shift, image, weights, scalars, rows, cols, top, left, run,
        partials,
    ):  # fmt: skip
        """The next split variables, from the estimate ``estimates[0]`` and its blur ``estimates[1]``; ``2 u - v`` of
        the latter goes to ``rhs[1]``.  `rows` and `cols` are the estimate's.
        """
        acc, sums = cuda.local.array(SPLIT_SUMS, real), cuda.local.array(SPLIT_SUMS, np.float64)
        for k in range(SPLIT_SUMS):
            acc[k] = zero
        x, blurred, likelihood = estimates[0], estimates[1], 0.0
        j, relax = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x, real(scalars[RELAX])
        for i in range(cuda.blockIdx.x * run, min((cuda.blockIdx.x + 1) * run, x.shape[1])):
            if j >= x.shape[2]:
                break
            if firsts:
                acc[ROUGHNESS] += group_cost(0, FIRSTS, x, observed, i, j, rows, cols)
                update_group(0, FIRSTS, acc, x, observed, split, reflected, i, j, rows, cols, scalars[THRESHOLD],
                            scalars[THRESHOLD_BEFORE], scalars)  # fmt: skip
            if seconds:
                acc[ROUGHNESS] += real(scalars[FACTOR]) * group_cost(FIRSTS, DIFFERENCES, x, observed, i, j, rows, cols)
                update_group(FIRSTS, DIFFERENCES, acc, x, observed, split, reflected, i, j, rows, cols,
                            scalars[SECOND_THRESHOLD], scalars[SECOND_THRESHOLD_BEFORE], scalars)  # fmt: skip
            p, q = i - top, j - left
            shown = p >= 0 and q >= 0 and p < image.shape[1] and q < image.shape[2]
            for plane in range(x.shape[0]):
                v, here = data[plane, i, j], blurred[plane, i, j]
                if shown:
                    b, w = image[plane, p, q], weights[plane, p, q]
                    s = shared(shift, plane, p, q)
                    v, u = update_data(acc, v, here, s, b, w, scalars)
                    rhs[1, plane, i, j] = two * u - v
                    if scalars[POISSON] != 0.0:
                        likelihood += float(w) * cost_of_photons(float(here) + float(s), float(b))
                else:  # where there are no data it may be anything
                    v = v + relax * (here - v)
                    rhs[1, plane, i, j] = v
                data[plane, i, j] = v
        for k in range(SPLIT_SUMS):
            sums[k] = acc[k]
        sums[MISFIT] += likelihood
        _split_sums(sums, SPLIT_SUMS, partials, cuda.blockIdx.y * cuda.gridDim.x + cuda.blockIdx.x)

    @kernel
    def adjoint(reflected, pixels, copied, scalars, rhs, run):
        """``rhs[0]``: the adjoint of the reflected differences, and of the copy, times their penalties."""
        j, plane = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x, cuda.blockIdx.z
        rows, cols = rhs.shape[2], rhs.shape[3]
        ahead, right = j - 1 if j > 0 else cols - 1, j + 1 if j + 1 < cols else 0
        for i in range(cuda.blockIdx.x * run, min((cuda.blockIdx.x + 1) * run, rows)):
            if j >= cols:
                break
            above, below = i - 1 if i > 0 else rows - 1, i + 1 if i + 1 < rows else 0
            whole = zero
            if firsts:
                down, across = reflected[0, plane], reflected[1, plane]
                whole = real(scalars[RHO]) * ((down[above, j] - down[i, j]) + (across[i, ahead] - across[i, j]))
            if seconds:
                down, across, mixed = reflected[2, plane], reflected[3, plane], reflected[4, plane]
                twice = (down[below, j] - down[i, j]) - (down[i, j] - down[above, j])
                twice += (across[i, right] - across[i, j]) - (across[i, j] - across[i, ahead])
                both = (mixed[above, ahead] - mixed[above, j]) - (mixed[i, ahead] - mixed[i, j])
                whole += real(scalars[SECOND_RHO]) * (twice + root * both)
            if has_pixels:
                whole += real(scalars[PIXELS_RHO]) * (two * copied[plane, i, j] - pixels[plane, i, j])
            rhs[0, plane, i, j] = whole

    @kernel
    def x_update(coefficients, spectra, down, across, scalars, scale, run):
        """From the coefficients of the right-hand sides, those of the next estimate and of its blur; see
        `kernels.cpu.x_update`.
        """
        j, plane = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x, cuda.blockIdx.z
        data_rho, rho, second_rho = real(scalars[DATA_RHO]), real(scalars[RHO]), real(scalars[SECOND_RHO])
        for i in range(cuda.blockIdx.x * run, min((cuda.blockIdx.x + 1) * run, coefficients.shape[2])):
            if j >= coefficients.shape[3]:
                break
            z, y, k = (
                coefficients[0, plane, i, j],
                coefficients[1, plane, i, j],
                spectra[plane % spectra.shape[0], i, j],
            )
            eigenvalue = down[i] + across[j]
            whole = data_rho * (k.real * k.real + k.imag * k.imag)
            whole += eigenvalue * (rho + second_rho * eigenvalue) + real(scalars[PIXELS_RHO])
            part = real(scale) / max(whole, least)
            a, b = data_rho * y.real, data_rho * y.imag
            x_real = part * (k.real * a + k.imag * b + z.real)
            x_imag = part * (k.real * b - k.imag * a + z.imag)
            coefficients[0, plane, i, j] = complex(x_real, x_imag)
            coefficients[1, plane, i, j] = complex(k.real * x_real - k.imag * x_imag, k.real * x_imag + k.imag * x_real)

    @kernel
    def relax_pixels(estimates, pixels, copied, relax, keep, run):
        """The next v of the copy."""
        j, plane = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x, cuda.blockIdx.z
        for i in range(cuda.blockIdx.x * run, min((cuda.blockIdx.x + 1) * run, pixels.shape[1])):
            if j < pixels.shape[2]:
                v, u, x = pixels[plane, i, j], copied[plane, i, j], estimates[0, plane, i, j]
                pixels[plane, i, j] = real(keep) * (v - u) + real(relax) * x + real(1.0 - relax) * u

    @kernel
    def project_pixels(estimates, pixels, near, copied, rows_at, cols_at, run, partials):
        """The next copy: `near` where its pixels lie, zeros where the tables say so, elsewhere anything."""
        sums, j = cuda.local.array(PIXEL_SUMS, np.float64), cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x
        primal, dual, of_x, of_u, force = zero, zero, zero, zero, zero
        for i in range(cuda.blockIdx.x * run, min((cuda.blockIdx.x + 1) * run, pixels.shape[1])):
            if j >= pixels.shape[2]:
                break
            row, col = rows_at[i], cols_at[j]
            for plane in range(pixels.shape[0]):
                v, last, x = pixels[plane, i, j], copied[plane, i, j], estimates[0, plane, i, j]
                u = v
                if row == OUTSIDE or (row >= 0 and col == OUTSIDE):
                    u = zero
                elif row >= 0 and col >= 0:
                    u = near[plane, row, col]
                elif row >= 0:
                    u = pixels[plane, row, j]
                copied[plane, i, j] = u
                primal += (x - u) * (x - u)
                dual += (u - last) * (u - last)
                of_x += x * x
                of_u += u * u
                force += (v - u) * (v - u)
        sums[0], sums[1], sums[2], sums[3], sums[4] = primal, dual, of_x, of_u, force
        _pixel_sums(sums, PIXEL_SUMS, partials, cuda.blockIdx.y * cuda.gridDim.x + cuda.blockIdx.x)

    @kernel
    def measure(x, observed, factor, rows, cols, run, partials):
        """The sum of the prior of the estimate at the domain's corner."""
        sums, j = cuda.local.array(1, np.float64), cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x
        sums[0] = 0.0
        for i in range(cuda.blockIdx.x * run, min((cuda.blockIdx.x + 1) * run, rows)):
            if j < cols and firsts:
                sums[0] += group_cost(0, FIRSTS, x, observed, i, j, rows, cols)
            if j < cols and seconds:
                sums[0] += factor * group_cost(FIRSTS, DIFFERENCES, x, observed, i, j, rows, cols)
        _one_sum(sums, 1, partials, cuda.blockIdx.y * cuda.gridDim.x + cuda.blockIdx.x)

    return SimpleNamespace(
        begin=begin,
        z_update=z_update,
        adjoint=adjoint,
        x_update=x_update,
        relax_pixels=relax_pixels,
        project_pixels=project_pixels,
        measure=measure,
    )
