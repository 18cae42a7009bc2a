"""Passes of the circulant preconditioner (CPU): a transform along one axis, line by line solves, and back.

Along one axis (`real` lines below) the problem is taken for periodic, so that a transform parts it
into independent one-dimensional problems along the other axis (`full` lines).  Each of those is
a circulant but near the border, and is solved as one, then corrected by a matrix of low rank (see
`solvers/pcg/boundary_correction.py`).  Which axis is which is a matter of strides.
"""

import math

import numpy as np
from numba import carray
from rocket_fft import c2c, c2r, r2c

from ..runtime.tasks import jit, task
from .rows import clear_row, copy_row, restrict
from .simd import complexes, integers, offset, pointer, real
from .tiles import reader, task_signature

# Lines a tile: as many as the transforms take at once.
LINES = 16

# Element (k, j) of the image, pixel j of real line k, is at `source + k step_full + j step_real`.
# The spectrum has `fulls` rows of `pitch` complex numbers, of which `frequencies` are used.  The lines'
# lengths are `reals` and `fulls`, those of their transforms `real_length` and `full_length`.
# `psf_power` is |psf|^2, a row of `full_length` a frequency; `eigenvalues_*` are the Laplacian's.
# `border` are the positions of the `border_count` pixels of a full line that are corrected, `corrections` the matrices
# there, one for some frequencies: `correction_of` tells which is next below a frequency, `mix` how near the one above
# is.  If there are `roots`, they are that many rows W of a matrix W'W.  For the tables of weights see `weigh_row`.
LINE_JOB = np.dtype(
    [(name, np.intp) for name in ("source", "out", "step_full", "step_real", "planes", "source_plane", "out_plane")]
    + [(name, np.intp) for name in ("spectrum", "pitch", "spectrum_plane", "frequencies", "reals", "fulls")]
    + [(name, np.intp) for name in ("real_length", "full_length", "real_pitch", "full_pitch", "second", "axis")]
    + [(name, np.intp) for name in ("psf_power", "eigenvalues_full", "eigenvalues_across")]
    + [(name, np.intp) for name in ("border", "border_count", "corrections", "correction_of", "mix", "roots")]
    + [(name, np.intp) for name in ("weighted", "base", "adds")]
    + [(name, np.intp) for name in ("near_full", "near_real", "share_full", "share_real")]
    + [(name, np.float64) for name in ("ridge", "floor")],
    align=True,
)
read_lines = reader(LINE_JOB)


@jit
def lines_of(tile, lines, planes):
    """Plane, first line and number of lines of a tile."""
    tiles = -(-lines // LINES)
    plane, first = tile // tiles, tile % tiles * LINES
    return plane, first, min(LINES, lines - first)


@jit
def weigh_row(row, near, share, near_full, share_full):
    """Multiply a row, pixels along a real line, with what this axis counts for there.

    Squares of both axes' and the corners' weights add up to 1.  `near` falls from 1 at the border
    to 0 where no corner's block reaches; the remainder is shared according to the distances from
    the borders: near a border the solve that is exact there counts.
    """
    one = row.dtype.type(1)
    for j in range(row.size):
        corner = near[j] * near_full
        row[j] *= math.sqrt((one - corner * corner) * share[j] / (share[j] + share_full))


@task(task_signature)
def analyse(address, scratch, tile):
    """Some real lines to frequencies."""
    job = read_lines(address)
    plane, first, count = lines_of(tile, job.fulls, job.planes)
    pitch = job.real_pitch
    source = offset(pointer(job.source, scratch), plane * job.source_plane + first * job.step_full)
    if job.step_real == 1:
        for k in range(count):
            copy_row(
                carray(offset(source, k * job.step_full), job.reals), carray(offset(scratch, k * pitch), job.reals)
            )
    else:  # lines are next to each other
        for j in range(job.reals):
            pixels, column = offset(source, j * job.step_real), offset(scratch, j)
            for k in range(count):
                column[k * pitch] = pixels[k]
    near, share = pointer(job.near_real, scratch), pointer(job.share_real, scratch)
    near_full, share_full = pointer(job.near_full, scratch), pointer(job.share_full, scratch)
    for k in range(count):
        line = offset(scratch, k * pitch)
        if job.weighted:
            weigh_row(
                carray(line, job.reals), carray(near, job.reals), carray(share, job.reals),
                near_full[first + k], share_full[first + k],
            )  # fmt: skip
        clear_row(carray(offset(line, job.reals), job.real_length - job.reals))
    coefficients = offset(complexes(pointer(job.spectrum, scratch)), plane * job.spectrum_plane + first * job.pitch)
    r2c(
        carray(scratch, (count, pitch))[:, : job.real_length],
        carray(coefficients, (count, job.pitch))[:, : job.frequencies],
        carray(integers(job.axis), 1), True, real(1.0, scratch), 1,
    )  # fmt: skip


@jit
def divide_row(row, psf_power, eigenvalues, ridge, extra, floor):
    """Divide a row by psf_power + ridge * eigenvalues + extra, but by no less than `floor`."""
    restrict()
    one = psf_power.dtype.type(1)
    for i in range(row.size):
        row[i] *= one / max(psf_power[i] + ridge * eigenvalues[i] + extra, floor)


@jit
def divide(job, frequency, line):
    """Divide a full line's frequencies by the circulant's: psf_power + ridge * eigenvalues."""
    pixels = line
    n = job.full_length
    psf_power = carray(offset(pointer(job.psf_power, pixels), frequency * n), n)
    eigenvalues = carray(pointer(job.eigenvalues_full, pixels), n)
    across = pointer(job.eigenvalues_across, pixels)[frequency]
    ridge, floor = real(job.ridge, pixels), real(job.floor, pixels)
    divide_row(carray(complexes(line), n), psf_power, eigenvalues, ridge, ridge * across, floor)


@jit
def dot(first, second):
    """Inner product of two short rows, in their precision."""
    total = 0 * first[0]
    for i in range(first.size):
        total += first[i] * second[i]
    return total


@jit
def add_square(root, factor, rows, size, values, border, line):
    """Add `factor` times W'W `values` to the pixels of a line at the `border`."""
    for i in range(rows):
        row = carray(offset(root, i * size), size)
        share = factor * dot(row, carray(values, size))
        for a in range(size):
            line[border[a]] += row[a].conjugate() * share


@jit
def add_scaled(other, factor, row):
    """row = factor row + other."""
    restrict()
    for j in range(row.size):
        row[j] = factor * row[j] + other[j]


@task(task_signature)
def solve(address, scratch, tile):
    """Some full lines: the circulant's solution, with the boundary correction."""
    job = read_lines(address)
    plane, first, count = lines_of(tile, job.frequencies, job.planes)
    n, pitch, size, one = job.full_length, job.full_pitch, job.border_count, real(1.0, scratch)
    spectrum = offset(complexes(pointer(job.spectrum, scratch)), plane * job.spectrum_plane + first)
    second = offset(scratch, job.second)
    here, there = complexes(scratch), complexes(second)
    clear_row(carray(scratch, count * 2 * pitch))
    for i in range(job.fulls):
        coefficients, column = offset(spectrum, i * job.pitch), offset(here, i)
        for k in range(count):
            column[k * pitch] = coefficients[k]
    ahead, axis = carray(here, (count, pitch))[:, :n], carray(integers(job.axis), 1)
    c2c(ahead, ahead, axis, True, one, 1)
    for k in range(count):
        divide(job, first + k, offset(scratch, 2 * k * pitch))
    back = carray(there, (count, pitch))[:, :n]
    c2c(ahead, back, axis, False, real(1.0 / n, scratch), 1)
    border, correction_of = integers(job.border), integers(job.correction_of)
    corrections, values = complexes(pointer(job.corrections, scratch)), offset(there, LINES * pitch)
    for k in range(count):
        line = offset(there, k * pitch)
        for a in range(size):
            values[a] = line[border[a]]
        clear_row(carray(offset(second, 2 * k * pitch), 2 * n))
        # Between two frequencies that have matrices, those are interpolated.
        each = size * (job.roots if job.roots > 0 else size)
        correction, mix = offset(corrections, correction_of[first + k] * each), pointer(job.mix, scratch)[first + k]
        above = offset(correction, each)
        if job.roots > 0:
            add_square(correction, one - mix, job.roots, size, values, border, line)
            add_square(above, mix, job.roots, size, values, border, line)
        else:
            for a in range(size):
                force = (one - mix) * dot(carray(offset(correction, a * size), size), carray(values, size))
                force += mix * dot(carray(offset(above, a * size), size), carray(values, size))
                line[border[a]] = force
    c2c(back, back, axis, True, one, 1)
    base = real(float(job.base), scratch)
    for k in range(count):
        line, corrected = offset(scratch, 2 * k * pitch), offset(second, 2 * k * pitch)
        divide(job, first + k, corrected)
        add_scaled(carray(corrected, 2 * n), base, carray(line, 2 * n))
    c2c(ahead, ahead, axis, False, real(1.0 / n, scratch), 1)
    for i in range(job.fulls):
        coefficients, column = offset(spectrum, i * job.pitch), offset(here, i)
        for k in range(count):
            coefficients[k] = column[k * pitch]


@task(task_signature)
def synthesise(address, scratch, tile):
    """Some real lines back from frequencies, weighted, and put or added to the result."""
    job = read_lines(address)
    plane, first, count = lines_of(tile, job.fulls, job.planes)
    pitch = job.real_pitch
    coefficients = offset(complexes(pointer(job.spectrum, scratch)), plane * job.spectrum_plane + first * job.pitch)
    c2r(
        carray(coefficients, (count, job.pitch))[:, : job.frequencies],
        carray(scratch, (count, pitch))[:, : job.real_length],
        carray(integers(job.axis), 1), False, real(1.0 / job.real_length, scratch), 1,
    )  # fmt: skip
    near, share = pointer(job.near_real, scratch), pointer(job.share_real, scratch)
    near_full, share_full = pointer(job.near_full, scratch), pointer(job.share_full, scratch)
    out = offset(pointer(job.out, scratch), plane * job.out_plane + first * job.step_full)
    nought = real(0.0, scratch)
    for k in range(count):
        if job.weighted:
            weigh_row(
                carray(offset(scratch, k * pitch), job.reals), carray(near, job.reals), carray(share, job.reals),
                near_full[first + k], share_full[first + k],
            )  # fmt: skip
    if job.step_real == 1:
        for k in range(count):
            line, pixels = offset(scratch, k * pitch), offset(out, k * job.step_full)
            for j in range(job.reals):
                pixels[j] = line[j] + (pixels[j] if job.adds else nought)
    else:
        for j in range(job.reals):
            pixels, column = offset(out, j * job.step_real), offset(scratch, j)
            for k in range(count):
                pixels[k] = column[k * pitch] + (pixels[k] if job.adds else nought)


# Blocks of `height x width` pixels at the image's corners, whose inverse matrices are at `inverses`.
CORNER_JOB = np.dtype(
    [(name, np.intp) for name in ("source", "out", "pitch", "plane", "rows", "cols", "height", "width", "inverses")]
    + [(name, np.intp) for name in ("near_down", "near_across", "corner")],
    align=True,
)
read_corners = reader(CORNER_JOB)


@task(task_signature)
def corners(address, scratch, tile):
    """Add the solution in one corner's block, weighted before and after."""
    job = read_corners(address)
    plane, corner = tile, job.corner
    i0 = (job.rows - job.height) if corner // 2 else 0
    j0 = (job.cols - job.width) if corner % 2 else 0
    start = plane * job.plane + i0 * job.pitch + j0
    source, out = offset(pointer(job.source, scratch), start), offset(pointer(job.out, scratch), start)
    down = offset(pointer(job.near_down, scratch), i0)
    across = offset(pointer(job.near_across, scratch), j0)
    n = job.height * job.width
    for i in range(job.height):
        for j in range(job.width):
            scratch[i * job.width + j] = down[i] * across[j] * source[i * job.pitch + j]
    inverse = offset(pointer(job.inverses, scratch), corner * n * n)
    for i in range(job.height):
        for j in range(job.width):
            row = carray(offset(inverse, (i * job.width + j) * n), n)
            total = dot(row, carray(scratch, n))
            out[i * job.pitch + j] += down[i] * across[j] * total
