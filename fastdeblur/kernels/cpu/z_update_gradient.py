"""ADMM z-update (CPU) that leaves the gradient of the x-update's objective.

Twice the x-update's objective is ``data_rho |A x - y|² + rho |D x - z|² + ...``, where y and z are the reflected split
variables ``2 u - v`` of `z_update`.  `split_data` leaves ``A x - y``, to which Aᵀ is applied in between;
`split_differences` makes the whole gradient of what Aᵀ left.  There is no domain around the estimate here, and no
differences beyond its last row and column.
"""

from numba import carray

from ..runtime.tasks import jit, task
from .likelihood import likelihood_row
from .simd import doubles, offset, pointer, real
from .tiles import task_signature
from .z_update import (
    DIFFERENCES,
    MARGIN,
    MISFIT,
    ROUGHNESS,
    SUMS,
    SUMS_OF_SPLIT,
    adjoint_row,
    line_pitch,
    read_admm,
    update_differences,
)
from .z_update_rows import data_row, scale_and_add, subtract_from_row


@jit
def sums_of_tile(job, tile):
    return carray(doubles(job.sums + 8 * SUMS * tile), SUMS)


@task(task_signature)
def split_data(address, scratch, tile):
    """Some rows of all planes: the split variable of the blurred estimate, and ``A x - y``."""
    job = read_admm(address)
    first, width = tile * job.tile_rows, job.width
    rows = min(job.tile_rows, job.height - first)
    sums = sums_of_tile(job, tile)
    sums[:SUMS_OF_SPLIT] = 0.0
    sums[MISFIT] = 0.0
    for plane in range(job.planes):
        for i in range(first, first + rows):
            at = plane * job.frame_plane + i * width
            here = carray(offset(pointer(job.blurred, scratch), at), width)
            out = carray(offset(pointer(job.residual, scratch), at), width)
            image = carray(offset(pointer(job.image, scratch), at), width)
            weights = carray(offset(pointer(job.weights, scratch), at), width)
            shift = offset(pointer(job.shift, scratch), plane * job.shift_plane + i * job.shift_pitch)
            a, b, c, d, e, misfit = data_row(
                carray(offset(pointer(job.data, scratch), at), width), here, carray(shift, width), image, weights,
                real(job.data_rho, scratch), real(job.data_rho_before, scratch), real(job.data_keep, scratch),
                real(job.relax, scratch), real(job.unit, scratch), job.poisson, out,
            )  # fmt: skip
            if job.poisson:
                misfit, _ = likelihood_row(here, carray(shift, width), image, weights, real(1.0, scratch))
            subtract_from_row(here, out)
            sums[0] += a
            sums[1] += b
            sums[2] += c
            sums[3] += d
            sums[4] += e
            sums[MISFIT] += misfit


@task(task_signature)
def split_differences(address, scratch, tile):
    """Some rows of all planes: the split variables of the differences, and the gradient from ``Aᵀ (A x - y)``."""
    job = read_admm(address)
    length, planes, cols = line_pitch(job), job.planes, job.cols
    first = tile * job.tile_rows
    rows = min(job.tile_rows, job.rows - first)
    sums = sums_of_tile(job, tile)
    sums[SUMS_OF_SPLIT : 2 * SUMS_OF_SPLIT] = 0.0
    sums[ROUGHNESS] = 0.0
    each = planes * DIFFERENCES * length
    pixels = offset(scratch, MARGIN)
    changes, split_rows = offset(pixels, 3 * length), offset(pixels, 3 * length + each)
    last_rows, ring = offset(split_rows, each), offset(split_rows, 2 * each)
    magnitudes = offset(ring, 3 * each)
    shares, combined = offset(magnitudes, length), offset(magnitudes, 2 * length)
    prior = offset(combined, each)
    # One row more at each end, for the adjoint reaches neighbouring rows.
    for i in range(first - 1, first + rows + 1):
        k = i - first + 1
        there = offset(ring, k % 3 * each)
        update_differences(
            job, i % job.rows, 0 < k <= rows, pixels, changes, split_rows, last_rows, there, magnitudes, shares,
            combined, sums, scratch,
        )  # fmt: skip
        if k >= 2:
            for plane in range(planes):
                adjoint_row(
                    job, i - 1, plane, offset(ring, (k - 2) % 3 * each), offset(ring, (k - 1) % 3 * each), there, prior,
                    scratch,
                )  # fmt: skip
                row = offset(pointer(job.gradient, scratch), plane * job.plane + (i - 1) * job.pitch)
                scale_and_add(carray(row, cols), carray(prior, cols), real(job.data_rho, scratch))
