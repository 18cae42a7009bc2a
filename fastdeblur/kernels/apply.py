"""The blur, or its adjoint, of an array that the caller owns.

Each tile copies the window it needs into its scratch, with what the boundary says around the
image, so no image-sized buffer is needed and no vector is loaded from, or stored to, memory that
is not ours.
"""

import numpy as np
from numba import carray

from ..runtime import jit, task
from .rows import clear_row, restrict
from .simd import offset, pointer, real
from .tiles import GRID, call_correlation, locate, reader, sums_of, task_signature

# `top` and `left`: how far the window reaches above and to the left of its tile.
APPLY = np.dtype(
    GRID
    + [(name, np.intp) for name in ("path", "filter", "top", "left", "window_pitch", "window_rows")]
    + [(name, np.intp) for name in ("source", "source_pitch", "out", "out_pitch")]
    + [("nought", np.float64)],
    align=True,
)
read_apply = reader(APPLY)


@jit
def copy_checked(source, out, nought):
    """Copy a row; returns 0, or NaN if any of it is NaN or infinite.

    `nought` is 0, but LLVM must not know: with sums that may be reordered it takes ``x - x`` for 0
    whatever x is.
    """
    restrict()
    check = nought
    for j in range(out.size):
        out[j] = source[j]
        check += nought * source[j]
    return float(check)


@jit
def fill_window(source, pitch, rows, cols, i, j, window, window_pitch, window_rows, nought):
    """Copy the window that starts at image row i, column j; zeros outside the image."""
    check = 0.0
    first = min(max(-j, 0), window_pitch)
    last = max(min(window_pitch, cols - j), first)
    for k in range(window_rows):
        line = offset(window, k * window_pitch)
        if 0 <= i + k < rows:
            clear_row(carray(line, first))
            inside = carray(offset(source, (i + k) * pitch + j + first), last - first)
            check += copy_checked(inside, carray(offset(line, first), last - first), nought)
            clear_row(carray(offset(line, last), window_pitch - last))
        else:
            clear_row(carray(line, window_pitch))
    return check


@task(task_signature)
def apply(address, scratch, tile):
    """One tile of the blur; its sums tell whether what was read, and what was written, is finite."""
    job = read_apply(address)
    _, i0, j0, rows, cols = locate(job, tile)
    source, out = pointer(job.source, scratch), pointer(job.out, scratch)
    window, work = offset(scratch, job.extra), offset(scratch, job.work)
    nought = real(job.nought, scratch)
    read = fill_window(
        source, job.source_pitch, job.rows, job.cols, i0 - job.top, j0 - job.left,
        window, job.window_pitch, job.window_rows, nought,
    )  # fmt: skip
    call_correlation(job.path, job.filter, window, job.window_pitch, scratch, job.tile_pitch, rows, cols, work)
    written = 0.0
    for i in range(rows):
        blurred = carray(offset(scratch, i * job.tile_pitch), cols)
        written += copy_checked(blurred, carray(offset(out, (i0 + i) * job.out_pitch + j0), cols), nought)
    sums = sums_of(job, tile)
    sums[0], sums[1] = read, written
