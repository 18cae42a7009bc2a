"""ADMM x-update (CPU) by transforms whose lanes are across lines; for domains with such lengths (else see `x_update`).

The right-hand side and the data are real and imaginary part of one complex plane, as are then the estimate and its
blur: a step takes one transform forward and one back.  What rounding makes of one part is in the other, too, so both
are in units in which they are of the estimate's size.  The z-update hands over rows, as many at a time as a vector has
lanes, and they go to frequencies while they are in the cache; along columns a few frequencies go to the x-update's
solution and back at once (see `fourier.planes`).
"""

import numpy as np

from ..runtime.tasks import inlined, task
from .fourier.codelets import FIRST
from .fourier.passes import columns_back, columns_forward, rows_back, rows_forward
from .fourier.planes import (
    first_pass,
    join_frequencies,
    last_pass_back,
    part_frequencies,
    rows_to_strip,
    solve_group,
    strip_to_rows,
)
from .simd import integers, lanes, offset, pointer, real
from .tiles import reader, task_signature
from .z_update import read_admm

# A domain's plan (see `fourier.plan.PlanePlan`): sizes in elements, and tables.
PLAN = np.dtype(
    [(name, np.intp) for name in ("frequencies", "groups", "block", "plane", "pairs", "psf", "psf_plane")]
    + [(name, np.intp) for name in ("radices_across", "twiddles_first", "twiddles_across", "twiddles_across_end")]
    + [(name, np.intp) for name in ("radices_down", "twiddles_down", "eigenvalues_down", "eigenvalues_across")],
    align=True,
)
read_plan = reader(PLAN)

# Stages: rows of x, as both, to frequencies; those that the z-update left; the x-update of a group; rows back.
START, FORWARD, SOLVE, BACK = range(4)


@inlined
def rows_to_frequencies(job, plan, tile, scratch):
    """A tile's rows, of the right-hand side and of the data, to frequencies."""
    width, cols, first = lanes(scratch), job.cols, tile * job.tile_rows
    strip, radices, pairs = offset(scratch, job.strip_at), integers(plan.radices_across), integers(plan.pairs)
    twiddles_first = pointer(plan.twiddles_first, scratch)
    twiddles, coefficients = pointer(plan.twiddles_across, scratch), pointer(job.coefficients, scratch)
    for plane in range(job.planes):
        for i in range(0, min(job.tile_rows, job.rows - first), width):
            rhs = offset(scratch, job.rhs_at + (plane * job.tile_rows + i) * job.pitch)
            data = offset(rhs, job.planes * job.tile_rows * job.pitch)
            if job.stage == START:
                rhs = data = offset(pointer(job.x, scratch), plane * job.plane + (first + i) * job.pitch)
            rows_to_strip(rhs, data, job.pitch, cols // width, strip)
            first_pass(strip, cols // FIRST, twiddles_first)
            columns_forward(strip, cols, radices, twiddles)
            block = offset(coefficients, plane * plan.plane + (first + i) // width * plan.block)
            part_frequencies(strip, pairs, plan.frequencies, block)


@inlined
def solve(job, plan, tile, scratch):
    """The x-update of a group of frequencies along rows."""
    width, plane, group = lanes(scratch), tile // plan.groups, tile % plan.groups
    each, blocks = 2 * width * width, job.rows // width
    here = offset(pointer(job.coefficients, scratch), plane * plan.plane + group * 2 * each)
    psf = offset(pointer(plan.psf, scratch), plane * plan.psf_plane + group * blocks * each)
    radices, twiddles = integers(plan.radices_down), pointer(plan.twiddles_down, scratch)
    down = pointer(plan.eigenvalues_down, scratch)
    across = offset(pointer(plan.eigenvalues_across, scratch), group * width)
    data_rho, rho = real(job.data_rho, scratch), real(job.rho, scratch)
    second_rho, pixels_rho = real(job.second_rho, scratch), real(job.pixels_rho, scratch)
    # Of both transforms, and of parting what is of two planes.
    scale, unit = real(0.5 / (job.rows * job.cols), scratch), real(job.rhs_unit, scratch)
    rows_forward(here, plan.block, blocks, radices, twiddles, 2 * width)
    for k in range(blocks):
        solve_group(
            offset(here, k * plan.block), offset(psf, k * each), offset(down, k * width), across, data_rho, rho,
            second_rho, pixels_rho, unit, scale,
        )  # fmt: skip
    rows_back(here, plan.block, blocks, radices, twiddles, 2 * width)


@inlined
def frequencies_to_rows(job, plan, tile, scratch):
    """A tile's rows of the estimate and of its blur, from frequencies."""
    width, cols, first = lanes(scratch), job.cols, tile * job.tile_rows
    strip, radices, pairs = offset(scratch, job.strip_at), integers(plan.radices_across), integers(plan.pairs)
    twiddles_first = pointer(plan.twiddles_first, scratch)
    twiddles, coefficients = pointer(plan.twiddles_across, scratch), pointer(job.coefficients, scratch)
    for plane in range(job.planes):
        for i in range(first, min(first + job.tile_rows, job.rows), width):
            block = offset(coefficients, plane * plan.plane + i // width * plan.block)
            join_frequencies(block, pairs, plan.frequencies, strip)
            columns_back(strip, cols, radices, twiddles, plan.twiddles_across_end)
            last_pass_back(strip, cols // FIRST, twiddles_first)
            start = plane * job.plane + i * job.pitch
            x, blurred = offset(pointer(job.x, scratch), start), offset(pointer(job.blurred, scratch), start)
            strip_to_rows(strip, cols // width, x, blurred, job.pitch)


@task(task_signature)
def transforms(address, scratch, tile):
    """One tile of the job's stage: some rows of all planes, or a group of frequencies of a plane."""
    job = read_admm(address)
    plan = read_plan(job.plan)
    if job.stage == SOLVE:
        solve(job, plan, tile, scratch)
    elif job.stage == BACK:
        frequencies_to_rows(job, plan, tile, scratch)
    else:
        rows_to_frequencies(job, plan, tile, scratch)
