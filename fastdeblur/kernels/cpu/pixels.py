"""Passes of ADMM's copy of the estimate (CPU): its relaxed step, and how far it and the estimate have moved."""

import numpy as np
from numba import carray

from ..runtime.tasks import jit, task
from .rows import restrict
from .simd import doubles, offset, pointer, real
from .tiles import reader, task_signature

# Lines a tile.
LINES = 16
# Sums a tile, as `z_update` has of each split variable: the squares of the estimate less its copy, of the copy's step,
# of the estimate, of the copy, and of the scaled dual.  A cache line.
PIXEL_SUMS = 8

# Addresses of planes whose `lines`, all planes' rows, have `cols` pixels, so many elements apart; `pixels` is the copy
# before its proximal map and plus the dual, `last` is the copy before the step.
PIXELS = np.dtype(
    [(name, np.intp) for name in ("x", "pixels", "pixels_prox", "last", "lines", "cols", "pitch", "sums")]
    + [(name, np.float64) for name in ("relax", "keep")],
    align=True,
)
read_pixels = reader(PIXELS)


@jit
def relax_copy(x, pixels, pixels_prox, last, relax, keep):
    """v = u + keep (v - u) + relax (x - u), as `relax_row` of `z_update_rows`; the proximal map begins there."""
    restrict()
    for j in range(x.size):
        before = pixels_prox[j]
        here = before + keep * (pixels[j] - before) + relax * (x[j] - before)
        last[j] = before
        pixels[j] = here
        pixels_prox[j] = here


@jit
def compare_copy(x, pixels, pixels_prox, last):
    """The sums of a row."""
    apart = step = estimate = copy = dual = 0.0
    for j in range(x.size):
        here, there = float(x[j]), float(pixels_prox[j])
        apart += (here - there) * (here - there)
        moved, left = there - float(last[j]), float(pixels[j]) - there
        step += moved * moved
        estimate += here * here
        copy += there * there
        dual += left * left
    return apart, step, estimate, copy, dual


@jit
def line_of(job, address, line, scratch):
    """One line of the planes at an address."""
    return carray(offset(pointer(address, scratch), line * job.pitch), job.cols)


@task(task_signature)
def relax_pixels(address, scratch, tile):
    """Some lines before the proximal map."""
    job = read_pixels(address)
    relax, keep = real(job.relax, scratch), real(job.keep, scratch)
    for line in range(tile * LINES, min((tile + 1) * LINES, job.lines)):
        relax_copy(
            line_of(job, job.x, line, scratch), line_of(job, job.pixels, line, scratch),
            line_of(job, job.pixels_prox, line, scratch), line_of(job, job.last, line, scratch), relax, keep,
        )  # fmt: skip


@task(task_signature)
def compare_pixels(address, scratch, tile):
    """The sums of some lines after it."""
    job = read_pixels(address)
    sums = carray(doubles(job.sums + 8 * PIXEL_SUMS * tile), PIXEL_SUMS)
    sums[:] = 0.0
    for line in range(tile * LINES, min((tile + 1) * LINES, job.lines)):
        apart, step, estimate, copy, dual = compare_copy(
            line_of(job, job.x, line, scratch), line_of(job, job.pixels, line, scratch),
            line_of(job, job.pixels_prox, line, scratch), line_of(job, job.last, line, scratch),
        )  # fmt: skip
        sums[0] += apart
        sums[1] += step
        sums[2] += estimate
        sums[3] += copy
        sums[4] += dual
