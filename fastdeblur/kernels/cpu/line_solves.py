"""Passes of the preconditioner (CPU): a transform along one axis, line by line solves, and back.

Along one axis (`real` lines below) the problem is taken for periodic, so that a transform parts it into independent
one-dimensional problems along the other axis (`full` lines).  Each of those is a circulant but near the border, and is
solved as one, then corrected by a matrix of low rank (see `solvers/pcg/boundary_correction.py`).  Which axis is which
is a matter of strides.

Transforms have their lanes across lines: real lines are taken two at a time, real and imaginary part of a complex one,
as many such pairs at once as a vector has lanes; full lines are as many frequencies at once.
"""

import math

import numpy as np
from numba import carray

from ..runtime.tasks import inlined, jit, task
from .fourier.blocks import add_rows, divide_rows, multiply_rows, turn_block
from .fourier.codelets import line_pass, line_pass_back
from .fourier.passes import part_back, part_forward
from .fourier.planes import join_frequencies, part_frequencies, rows_to_strip, strip_to_rows
from .rows import clear_row, copy_row, restrict
from .simd import integers, lanes, offset, pointer, real
from .tiles import reader, task_signature

# Element (k, j) of the image, pixel j of real line k, is at `source + k step_full + j step_real`.  The lines' lengths
# are `reals` and `fulls`, those of their transforms `real_length` and `full_length`.
# The spectrum has `blocks`, of two vectors' real lines each, so many elements apart (see `fourier.plan.PlanePlan`).
# `psf_power` is |psf|^2: for each group of frequencies a vector for each place of a transformed full line; `down` and
# `across` are the Laplacian's eigenvalues there.
# `border` are the positions of the `border_count` pixels of a full line that are corrected, `corrections` the matrices
# there, `matrix` elements each, one for some frequencies: `correction_of` tells which is next below a frequency, `mix`
# how near the one above is.  If there are `roots`, they are that many rows W of a matrix W'W.  Rows have `border_pitch`
# real parts, then as many imaginary ones.  For the tables of weights see `weigh_row`.
LINE_SOLVES = np.dtype(
    [(name, np.intp) for name in ("stage", "source", "out", "step_full", "step_real", "planes")]
    + [(name, np.intp) for name in ("source_plane", "out_plane", "spectrum", "spectrum_plane", "block", "blocks")]
    + [(name, np.intp) for name in ("frequencies", "groups", "reals", "fulls", "real_length", "full_length")]
    + [(name, np.intp) for name in ("radices_real", "twiddles_real", "twiddles_real_end", "pairs")]
    + [(name, np.intp) for name in ("radices_full", "twiddles_full", "twiddles_full_end")]
    + [(name, np.intp) for name in ("psf_power", "eigenvalues_full", "eigenvalues_across")]
    + [(name, np.intp) for name in ("border", "border_count", "border_pitch", "corrections", "matrix")]
    + [(name, np.intp) for name in ("correction_of", "mix", "roots", "roots_pitch")]
    + [(name, np.intp) for name in ("second", "values", "lines", "line_pitch", "weighted", "adds")]
    + [(name, np.intp) for name in ("near_full", "near_real", "share_full", "share_real")]
    + [(name, np.float64) for name in ("ridge", "floor", "base")],
    align=True,
)
read_solves = reader(LINE_SOLVES)

# Stages: some real lines to frequencies; some frequencies' full lines; real lines back.
ANALYSE, SOLVE, SYNTHESISE = range(3)


@jit
def weigh_row(row, near, share, near_full, share_full):
    """Multiply a row, pixels along a real line, with what this axis counts for there.

    Squares of both axes' and the corners' weights add up to 1.  `near` falls from 1 at the border
    to 0 where no corner's block reaches; the remainder is shared according to the distances from
    the borders: near a border the solve that is exact there counts.
    """
    restrict()
    one = row.dtype.type(1)
    for j in range(row.size):
        corner = near[j] * near_full
        row[j] *= math.sqrt((one - corner * corner) * share[j] / (share[j] + share_full))


@jit
def weigh_across(row, near, share, near_real, share_real):
    """The same of neighbouring real lines' pixels at one place."""
    restrict()
    one = row.dtype.type(1)
    for k in range(row.size):
        corner = near[k] * near_real
        row[k] *= math.sqrt((one - corner * corner) * share_real / (share[k] + share_real))


@jit
def put_row(row, factor, out):
    """out = factor row."""
    restrict()
    for j in range(out.size):
        out[j] = factor * row[j]


@jit
def add_scaled(row, factor, out):
    """out += factor row."""
    restrict()
    for j in range(out.size):
        out[j] += factor * row[j]


@jit
def combine(row, factor, out):
    """out = factor out + row."""
    restrict()
    for j in range(out.size):
        out[j] = factor * out[j] + row[j]


@jit
def block_of(job, tile, scratch):
    """Plane, first and number of real lines of a tile, and where its frequencies are."""
    plane, block = tile // job.blocks, tile % job.blocks
    first = block * 2 * lanes(scratch)
    spectrum = offset(pointer(job.spectrum, scratch), plane * job.spectrum_plane + block * job.block)
    return plane, first, min(2 * lanes(scratch), job.fulls - first), spectrum


@inlined
def lines_to_strip(job, tile, scratch):
    """Some real lines, weighted, as a strip's columns."""
    width = 2 * lanes(scratch)
    plane, first, count, _ = block_of(job, tile, scratch)
    source = offset(pointer(job.source, scratch), plane * job.source_plane + first * job.step_full)
    near, share = pointer(job.near_real, scratch), pointer(job.share_real, scratch)
    near_full = offset(pointer(job.near_full, scratch), first)
    share_full = offset(pointer(job.share_full, scratch), first)
    filled = job.reals
    if job.step_real == 1:
        lines, filled = offset(scratch, job.lines), -(-job.reals // lanes(scratch)) * lanes(scratch)
        for k in range(width):
            line = offset(lines, k * job.line_pitch)
            used = job.reals if k < count else 0
            row = carray(line, used)
            copy_row(carray(offset(source, k * job.step_full), used), row)
            if job.weighted:
                weigh_row(row, carray(near, used), carray(share, used), near_full[k], share_full[k])
            clear_row(carray(offset(line, used), filled - used))
        second = offset(lines, lanes(scratch) * job.line_pitch)
        rows_to_strip(lines, second, job.line_pitch, filled // lanes(scratch), scratch)
    else:  # neighbouring lines are next to each other
        for j in range(job.reals):
            row = carray(offset(scratch, j * width), count)
            copy_row(carray(offset(source, j * job.step_real), count), row)
            if job.weighted:
                weigh_across(row, carray(near_full, count), carray(share_full, count), near[j], share[j])
            clear_row(carray(offset(scratch, j * width + count), width - count))
    clear_row(carray(offset(scratch, filled * width), max(job.real_length - filled, 0) * width))


@inlined
def strip_to_frequencies(job, tile, scratch):
    """Frequencies of real lines, from those of the strip's columns."""
    _, _, _, spectrum = block_of(job, tile, scratch)
    part_frequencies(scratch, integers(job.pairs), job.frequencies, spectrum)
    rest, width = job.frequencies % lanes(scratch), 2 * lanes(scratch)
    half = lanes(scratch) * width
    if rest > 0:  # what is left of the last group
        last = offset(spectrum, (job.groups - 1) * 2 * half)
        for k in range(2):
            clear_row(carray(offset(last, k * half + rest * width), half - rest * width))


@inlined
def correct(job, first, scratch):
    """The corrections of some frequencies, from the circulant's solution, as the second strip."""
    vector, second, values = lanes(scratch), offset(scratch, job.second), offset(scratch, job.values)
    size, pitch, border = job.border_count, job.border_pitch, integers(job.border)
    width, nought, one = 2 * vector, real(0.0, scratch), real(1.0, scratch)
    corrections, correction_of = pointer(job.corrections, scratch), integers(job.correction_of)
    forces, shares = offset(values, 2 * vector * pitch), offset(values, 4 * vector * pitch)
    clear_row(carray(values, 4 * vector * pitch))
    for a in range(size):
        row = offset(scratch, border[a] * width)
        for k in range(vector):
            values[2 * k * pitch + a] = row[k]
            values[(2 * k + 1) * pitch + a] = row[vector + k]
    for k in range(min(vector, job.frequencies - first)):
        here, force = offset(values, 2 * k * pitch), offset(forces, 2 * k * pitch)
        mix = pointer(job.mix, scratch)[first + k]
        # Between two frequencies that have matrices, those are interpolated.
        for side in range(2):
            matrix = offset(corrections, (correction_of[first + k] + side) * job.matrix)
            factor = mix if side > 0 else one - mix
            if factor == nought:
                continue
            if job.roots > 0:
                clear_row(carray(shares, 2 * job.roots_pitch))
                multiply_rows(matrix, job.roots, pitch, here, factor, shares, job.roots_pitch)
                add_rows(matrix, job.roots, pitch, shares, job.roots_pitch, force)
            else:
                multiply_rows(matrix, size, pitch, here, factor, force, pitch)
    clear_row(carray(second, job.full_length * width))
    for a in range(size):
        row = offset(second, border[a] * width)
        for k in range(vector):
            row[k] = forces[2 * k * pitch + a]
            row[vector + k] = forces[(2 * k + 1) * pitch + a]


@jit
def drop_imaginary(strip, lane, count):
    """Let the frequencies of real lines that are real be so: the first, and of lengths that are even the last.

    A correction's root is not quite real there, and an imaginary part would go to the line that a line is paired with:
    with a ridge of 1e-9, a fortieth of the solution.
    """
    width = lanes(strip)
    for j in range(count):
        strip[(2 * j + 1) * width + lane] = 0


@inlined
def turn_blocks(job, tile, scratch, back):
    """Some frequencies' full lines to a strip's columns, or back to where they were."""
    vector = lanes(scratch)
    width, half = 2 * vector, 2 * vector * vector
    plane, group = tile // job.groups, tile % job.groups
    spectrum = offset(pointer(job.spectrum, scratch), plane * job.spectrum_plane + group * 2 * half)
    # Lines beyond the image have what rounding left of those that they are paired with, or the solution there.
    if back:
        clear_row(carray(offset(scratch, job.fulls * width), (job.blocks * width - job.fulls) * width))
        if group == 0:
            drop_imaginary(scratch, 0, job.fulls)
        if group == (job.frequencies - 1) // vector:
            drop_imaginary(scratch, (job.frequencies - 1) % vector, job.fulls)
    for k in range(2 * job.blocks):
        block, rows = offset(spectrum, k // 2 * job.block + k % 2 * half), offset(scratch, k * half)
        if back:
            turn_block(rows, block)
        else:
            turn_block(block, rows)
    if not back:
        clear_row(carray(offset(scratch, job.fulls * width), (job.full_length - job.fulls) * width))


@inlined
def transform(job, tile, strip):
    """A strip's columns to frequencies, or from those; or there, divided by the circulant's, and back."""
    vector, stage = lanes(strip), job.stage
    width, group = 2 * vector, tile % job.groups
    full = stage == SOLVE
    n = job.full_length if full else job.real_length
    radices = integers(job.radices_full if full else job.radices_real)
    twiddles = pointer(job.twiddles_full if full else job.twiddles_real, strip)
    end = job.twiddles_full_end if full else job.twiddles_real_end
    parts = radices[1] if radices[0] > 0 else 1
    part = n // parts
    down = pointer(job.eigenvalues_full, strip)
    across = offset(pointer(job.eigenvalues_across, strip), group * vector)
    power = offset(pointer(job.psf_power, strip), group * n * vector)
    ridge, floor, factor = real(job.ridge, strip), real(job.floor, strip), real(1.0 / n, strip)
    if parts > 1 and stage != SYNTHESISE:
        line_pass(parts, strip, part, twiddles)
    for k in range(parts):
        here = offset(strip, k * part * width)
        if stage != SYNTHESISE:
            part_forward(here, part, radices, twiddles)
        if full:
            divide_rows(
                here, offset(power, k * part * vector), offset(down, k * part), across, ridge, floor, factor, part
            )
        if stage != ANALYSE:
            part_back(here, part, radices, twiddles, end)
    if parts > 1 and stage != ANALYSE:
        line_pass_back(parts, strip, part, twiddles)


@inlined
def strip_to_lines(job, tile, scratch):
    """A strip's columns as real lines, weighted, and put or added to the result."""
    width = 2 * lanes(scratch)
    plane, first, count, _ = block_of(job, tile, scratch)
    out = offset(pointer(job.out, scratch), plane * job.out_plane + first * job.step_full)
    near, share = pointer(job.near_real, scratch), pointer(job.share_real, scratch)
    near_full = offset(pointer(job.near_full, scratch), first)
    share_full = offset(pointer(job.share_full, scratch), first)
    # Of the transforms, and of parting what is of two lines.
    factor = real(0.5 / job.real_length, scratch)
    by_rows = job.step_real == 1
    if by_rows:
        lines = offset(scratch, job.lines)
        second = offset(lines, lanes(scratch) * job.line_pitch)
        strip_to_rows(scratch, -(-job.reals // lanes(scratch)), lines, second, job.line_pitch)
    for k in range(count if by_rows else job.reals):
        if by_rows:
            row, pixels = (
                carray(offset(scratch, job.lines + k * job.line_pitch), job.reals),
                carray(offset(out, k * job.step_full), job.reals),
            )
            if job.weighted:
                weigh_row(row, carray(near, job.reals), carray(share, job.reals), near_full[k], share_full[k])
        else:
            row, pixels = carray(offset(scratch, k * width), count), carray(offset(out, k * job.step_real), count)
            if job.weighted:
                weigh_across(row, carray(near_full, count), carray(share_full, count), near[k], share[k])
        if job.adds:
            add_scaled(row, factor, pixels)
        else:
            put_row(row, factor, pixels)


@task(task_signature)
def line_solves(address, scratch, tile):
    """One tile of the job's stage."""
    job = read_solves(address)
    if job.stage == ANALYSE:
        lines_to_strip(job, tile, scratch)
    elif job.stage == SYNTHESISE:
        _, _, _, spectrum = block_of(job, tile, scratch)
        join_frequencies(spectrum, integers(job.pairs), job.frequencies, scratch)
    corrected = job.stage == SOLVE and job.border_count > 0
    if job.stage == SOLVE:
        turn_blocks(job, tile, scratch, False)
    for turn in range(2 if corrected else 1):
        if turn > 0:
            correct(job, tile % job.groups * lanes(scratch), scratch)
        transform(job, tile, offset(scratch, turn * job.second))
    if corrected:
        count = job.fulls * 2 * lanes(scratch)
        combine(carray(offset(scratch, job.second), count), real(job.base, scratch), carray(scratch, count))
    if job.stage == SOLVE:
        turn_blocks(job, tile, scratch, True)
    elif job.stage == ANALYSE:
        strip_to_frequencies(job, tile, scratch)
    else:
        strip_to_lines(job, tile, scratch)
