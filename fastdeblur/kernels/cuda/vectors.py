"""Fused vector operations of PCG (CUDA): inner products and updates; see `kernels.cpu.vectors`.

A block goes through STRIP rows of a plane.  All sums are float64, products included.  Factors are on the device:
the exact solver's scalars, see `span`; they also say whether the differences D are periodic.  Those of the last three
kernels, which are for quasi-Newton descent, come from the host.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from .neighbours import after, before
from .shapes import STRIP, THREADS, device, kernel
from .span import PAUSED, PERIODIC, RIDGE, A, B, C
from .sums import SUMS, block_sums


@device
def own_rows(image):
    """First row of the block's strip, and the end of it."""
    first = cuda.blockIdx.x * STRIP
    return first, min(first + STRIP, image.shape[1])


@device
def cleared(sums):
    for k in range(SUMS):
        sums[k] = 0.0


@device
def leave(sums, count, partials):
    """Leave the block's sums where `span.total` finds them."""
    block_sums(sums, count, partials, cuda.blockIdx.z * cuda.gridDim.x + cuda.blockIdx.x)


@kernel
def products(first, second, third, fourth, scalars, partials):
    """Sums: the ten inner products of four images."""
    sums, plane = cuda.local.array(SUMS, np.float64), cuda.blockIdx.z
    cleared(sums)
    begin, end = own_rows(first)
    for i in range(begin, end):
        for j in range(cuda.threadIdx.x, first.shape[2], THREADS):
            s, t = np.float64(first[plane, i, j]), np.float64(second[plane, i, j])
            u, v = np.float64(third[plane, i, j]), np.float64(fourth[plane, i, j])
            sums[0] += s * s
            sums[1] += s * t
            sums[2] += s * u
            sums[3] += s * v
            sums[4] += t * t
            sums[5] += t * u
            sums[6] += t * v
            sums[7] += u * u
            sums[8] += u * v
            sums[9] += v * v
    leave(sums, 10, partials)


@device
def add_differences(sums, first, second, third, plane, i, j, p, q):
    """Products of what lies between the pixels (i, j) and (p, q) of three images."""
    s = np.float64(first[plane, p, q] - first[plane, i, j])
    t = np.float64(second[plane, p, q] - second[plane, i, j])
    u = np.float64(third[plane, p, q] - third[plane, i, j])
    sums[0] += s * s
    sums[1] += s * t
    sums[2] += s * u
    sums[3] += t * t
    sums[4] += t * u
    sums[5] += u * u


@kernel
def difference_products(first, second, third, scalars, partials):
    """Sums: the six inner products of the differences D of three images."""
    sums, plane, periodic = cuda.local.array(SUMS, np.float64), cuda.blockIdx.z, scalars[PERIODIC] != 0.0
    cleared(sums)
    begin, end = own_rows(first)
    for i in range(begin, end):
        for j in range(cuda.threadIdx.x, first.shape[2], THREADS):
            add_differences(sums, first, second, third, plane, i, j, after(i, first.shape[1], periodic), j)
            add_differences(sums, first, second, third, plane, i, j, i, after(j, first.shape[2], periodic))
    leave(sums, 6, partials)


@kernel
def move(fresh, search_direction, here, scalars):
    """search_direction = a fresh + b search_direction; here = c here + search_direction."""
    if scalars[PAUSED] != 0.0:
        return
    plane, real = cuda.blockIdx.z, here.dtype.type
    a, b, c = real(scalars[A]), real(scalars[B]), real(scalars[C])
    begin, end = own_rows(here)
    for i in range(begin, end):
        for j in range(cuda.threadIdx.x, here.shape[2], THREADS):
            step = a * fresh[plane, i, j] + b * search_direction[plane, i, j]
            search_direction[plane, i, j] = step
            here[plane, i, j] = c * here[plane, i, j] + step


@kernel
def move_residual(fresh, search_direction, residual, image, scalars, partials):
    """What `move` does to the estimate, done to A x - image; sum: its square."""
    if scalars[PAUSED] != 0.0:
        return
    sums, plane, real = cuda.local.array(SUMS, np.float64), cuda.blockIdx.z, residual.dtype.type
    cleared(sums)
    a, b, c = real(scalars[A]), real(scalars[B]), real(scalars[C])
    extra = c - real(1)
    begin, end = own_rows(residual)
    for i in range(begin, end):
        for j in range(cuda.threadIdx.x, residual.shape[2], THREADS):
            step = a * fresh[plane, i, j] + b * search_direction[plane, i, j]
            search_direction[plane, i, j] = step
            misfit = c * residual[plane, i, j] + extra * image[plane, i, j] + step
            residual[plane, i, j] = misfit
            sums[0] += np.float64(misfit) * np.float64(misfit)
    leave(sums, 1, partials)


@device
def eigenvalues(x, plane, i, j, periodic):
    """A pixel of DᵀDx."""
    here = x[plane, i, j]
    up, down = x[plane, before(i, x.shape[1], periodic), j], x[plane, after(i, x.shape[1], periodic), j]
    left, right = x[plane, i, before(j, x.shape[2], periodic)], x[plane, i, after(j, x.shape[2], periodic)]
    return (here - up) + (here - down) + (here - left) + (here - right)


@kernel
def gradient_sums(data, x, scalars, partials):
    """Sums of squares of Aᵀr (data), of DᵀDx and of Dx; the second is the product of the first two of these."""
    sums, plane, periodic = cuda.local.array(SUMS, np.float64), cuda.blockIdx.z, scalars[PERIODIC] != 0.0
    cleared(sums)
    begin, end = own_rows(x)
    for i in range(begin, end):
        for j in range(cuda.threadIdx.x, x.shape[2], THREADS):
            here, prior = x[plane, i, j], np.float64(eigenvalues(x, plane, i, j, periodic))
            slope = np.float64(data[plane, i, j])
            sums[0] += slope * slope
            sums[1] += slope * prior
            sums[2] += prior * prior
            drop = np.float64(x[plane, after(i, x.shape[1], periodic), j] - here)
            sums[3] += drop * drop
            drop = np.float64(x[plane, i, after(j, x.shape[2], periodic)] - here)
            sums[3] += drop * drop
    leave(sums, 4, partials)


@kernel
def combine(data, x, scalars, partials):
    """Aᵀr (data) += ridge DᵀDx; sum: its square."""
    sums, plane = cuda.local.array(SUMS, np.float64), cuda.blockIdx.z
    cleared(sums)
    ridge, periodic = data.dtype.type(scalars[RIDGE]), scalars[PERIODIC] != 0.0
    begin, end = own_rows(x)
    for i in range(begin, end):
        for j in range(cuda.threadIdx.x, x.shape[2], THREADS):
            whole = data[plane, i, j] + ridge * eigenvalues(x, plane, i, j, periodic)
            data[plane, i, j] = whole
            sums[0] += np.float64(whole) * np.float64(whole)
    leave(sums, 1, partials)


@kernel
def inner_products(first, second, partials):
    """Sums: the inner product of two images, and the square of each."""
    sums, plane = cuda.local.array(SUMS, np.float64), cuda.blockIdx.z
    cleared(sums)
    begin, end = own_rows(first)
    for i in range(begin, end):
        for j in range(cuda.threadIdx.x, first.shape[2], THREADS):
            s, t = np.float64(first[plane, i, j]), np.float64(second[plane, i, j])
            sums[0] += s * t
            sums[1] += s * s
            sums[2] += t * t
    leave(sums, 3, partials)


@kernel
def add_and_multiply(out, added, other, factor, partials):
    """out += factor added; sum: its inner product with the other image, which may be itself."""
    sums, plane, share = cuda.local.array(SUMS, np.float64), cuda.blockIdx.z, out.dtype.type(factor)
    cleared(sums)
    begin, end = own_rows(out)
    for i in range(begin, end):
        for j in range(cuda.threadIdx.x, out.shape[2], THREADS):
            whole = out[plane, i, j] + share * added[plane, i, j]
            out[plane, i, j] = whole
            sums[0] += np.float64(whole) * np.float64(other[plane, i, j])
    leave(sums, 1, partials)


@kernel
def scaled_sum(first, second, out, factor):
    """out = first + factor second."""
    plane, share = cuda.blockIdx.z, out.dtype.type(factor)
    begin, end = own_rows(out)
    for i in range(begin, end):
        for j in range(cuda.threadIdx.x, out.shape[2], THREADS):
            out[plane, i, j] = first[plane, i, j] + share * second[plane, i, j]


# Sums that each leaves.
COUNTS = {"products": 10, "difference_products": 6, "move": 0, "move_residual": 1, "gradient_sums": 4, "combine": 1}
KERNELS = {
    "products": products, "difference_products": difference_products, "move": move, "move_residual": move_residual,
    "gradient_sums": gradient_sums, "combine": combine,
}  # fmt: skip
