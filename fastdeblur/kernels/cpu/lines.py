"""Passes over periodic problems (CPU) that are solved line by line in frequencies; and corners of the others.

Rows are transformed (`analyse`), what is done with the columns of that is in `periodic`, and rows come back
(`synthesise`).  Lines have any length, as they are.
"""

import numpy as np
from numba import carray
from rocket_fft import c2r, r2c

from ..runtime.tasks import jit, task
from .rows import clear_row, copy_row, restrict
from .simd import complexes, integers, offset, pointer, real
from .tiles import reader, task_signature

# Lines a tile: as many as the transforms take at once.
LINES = 16

# Row k of the image is at `source + k step_full`.  The spectrum has `fulls` rows of `pitch` complex numbers, of which
# `frequencies` are used.  Rows' and columns' lengths are `reals` and `fulls`, those of their transforms `real_length`
# and `full_length`.  `psf_power` is |psf|^2, a row of `full_length` a frequency; `eigenvalues_*` are the Laplacian's.
LINE_JOB = np.dtype(
    [(name, np.intp) for name in ("source", "out", "step_full", "planes", "source_plane", "out_plane")]
    + [(name, np.intp) for name in ("spectrum", "pitch", "spectrum_plane", "frequencies", "reals", "fulls")]
    + [(name, np.intp) for name in ("real_length", "full_length", "real_pitch", "full_pitch", "axis")]
    + [(name, np.intp) for name in ("psf_power", "eigenvalues_full", "eigenvalues_across")]
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


@task(task_signature)
def analyse(address, scratch, tile):
    """Some rows to frequencies."""
    job = read_lines(address)
    plane, first, count = lines_of(tile, job.fulls, job.planes)
    pitch = job.real_pitch
    source = offset(pointer(job.source, scratch), plane * job.source_plane + first * job.step_full)
    for k in range(count):
        line = offset(scratch, k * pitch)
        copy_row(carray(offset(source, k * job.step_full), job.reals), carray(line, job.reals))
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


@task(task_signature)
def synthesise(address, scratch, tile):
    """Some rows back from frequencies."""
    job = read_lines(address)
    plane, first, count = lines_of(tile, job.fulls, job.planes)
    pitch = job.real_pitch
    coefficients = offset(complexes(pointer(job.spectrum, scratch)), plane * job.spectrum_plane + first * job.pitch)
    c2r(
        carray(coefficients, (count, job.pitch))[:, : job.frequencies],
        carray(scratch, (count, pitch))[:, : job.real_length],
        carray(integers(job.axis), 1), False, real(1.0 / job.real_length, scratch), 1,
    )  # fmt: skip
    out = offset(pointer(job.out, scratch), plane * job.out_plane + first * job.step_full)
    for k in range(count):
        copy_row(carray(offset(scratch, k * pitch), job.reals), carray(offset(out, k * job.step_full), job.reals))


# Blocks of `height x width` pixels at the image's corners, whose inverse matrices are at `inverses`.
CORNER_JOB = np.dtype(
    [(name, np.intp) for name in ("source", "out", "pitch", "plane", "rows", "cols", "height", "width", "inverses")]
    + [(name, np.intp) for name in ("near_down", "near_across", "corner")],
    align=True,
)
read_corners = reader(CORNER_JOB)


@jit
def dot(first, second):
    """Inner product of two short rows, in their precision."""
    total = 0 * first[0]
    for i in range(first.size):
        total += first[i] * second[i]
    return total


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
