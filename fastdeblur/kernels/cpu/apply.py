"""The blur A or its adjoint alone (CPU), of an array of the caller.

Each tile copies the windows it needs into its scratch, with what the boundary says around the
image, so no image-sized buffer is needed and no vector is loaded from, or stored to, memory that
is not ours.
"""

import numpy as np
from numba import carray

from ..runtime.tasks import inlined, jit, task
from .halo import begins_alone, fold, own_part, piece_at, pieces_of, read_halo
from .rows import clear_row, copy_row
from .simd import address_of, fence, integers, lanes, offset, pointer, real, stream
from .tiles import GRID, call_correlation, locate, reader, sums_of, task_signature

# `top` and `left`: how far a window reaches above and to the left of its block; `more_rows` and
# `more_cols`: by how much it is larger.  `row_source` and `col_source` have the row and column of the
# source at each position, or -1 where zeros are; from `first_col` to `last_col` columns just follow
# each other.  `own` is where a tile without any of the halo goes in the scratch; `streams` tells
# whether the result goes past the caches.
APPLY = np.dtype(
    GRID
    + [(name, np.intp) for name in ("path", "filter", "halo", "top", "left")]
    + [(name, np.intp) for name in ("window_rows", "window_pitch", "more_rows", "more_cols")]
    + [(name, np.intp) for name in ("row_source", "col_source", "first_col", "last_col")]
    + [(name, np.intp) for name in ("source", "source_pitch", "out", "out_pitch")]
    + [("own", np.intp), ("streams", np.intp), ("nought", np.float64)],
    align=True,
)
read_apply = reader(APPLY)


@jit
def check_row(row, nought):
    """0, or NaN if any of a row is NaN or infinite.

    `nought` is 0, but LLVM must not know: with sums that may be reordered it takes ``x - x`` for 0
    whatever x is.
    """
    check = nought
    for j in range(row.size):
        check += nought * row[j]
    return float(check)


@jit
def stream_row(source, out, cols):
    """Copy a row past the caches, which large results would only fill, and without reading it first.

    At 4096x4096 a copy by two threads takes 3.3 ms instead of 4.8.
    """
    width = lanes(source)
    first = min(-address_of(out) % width, cols)
    last = first + (cols - first) // width * width
    copy_row(carray(source, first), carray(out, first))
    for j in range(first, last, width):
        stream(offset(source, j), offset(out, j))
    copy_row(carray(offset(source, last), cols - last), carray(offset(out, last), cols - last))


@inlined
def fill_window(job, source, i, j, rows, cols, window):
    """Copy the window that starts at position (i, j), with what the boundary says of it."""
    row_source, col_source = integers(job.row_source), integers(job.col_source)
    begin, end = own_part(j, cols, job.first_col, job.last_col - job.first_col)
    zero = real(0.0, source)
    for k in range(rows):
        line, row = offset(window, k * job.window_pitch), row_source[i + k]
        if row < 0:
            clear_row(carray(line, cols))
            continue
        pixels = offset(source, row * job.source_pitch)
        for c in range(j, begin):
            line[c - j] = pixels[col_source[c]] if col_source[c] >= 0 else zero
        if begin < end:
            inside = carray(offset(pixels, col_source[begin]), end - begin)
            copy_row(inside, carray(offset(line, begin - j), end - begin))
        for c in range(end, j + cols):
            line[c - j] = pixels[col_source[c]] if col_source[c] >= 0 else zero


@inlined
def write_tile(job, tile, own, i0, j0, rows, cols):
    """Write a tile of the result, and whether it is finite."""
    out, nought, written = pointer(job.out, own), real(job.nought, own), 0.0
    for i in range(rows):
        pixels, line = offset(own, i * job.tile_pitch), offset(out, (i0 + i) * job.out_pitch + j0)
        written += check_row(carray(pixels, cols), nought)
        if job.streams:
            stream_row(pixels, line, cols)
        else:
            copy_row(carray(pixels, cols), carray(line, cols))
    if job.streams:
        fence()
    sums_of(job, tile)[0] = written


@task(task_signature)
def apply(address, scratch, tile):
    """One tile of the blur; its sum tells whether what was written is finite.

    Whatever is not finite in the source makes something in the result so, on every path, for 0
    times infinity is NaN.
    """
    job = read_apply(address)
    halo = read_halo(job.halo)
    _, down, across, i0, j0, rows, cols = locate(job, tile)
    source = pointer(job.source, scratch)
    block, work, window = offset(scratch, job.block), offset(scratch, job.work), offset(scratch, job.extra)
    p0, p1 = pieces_of(halo.row_first, down)
    q0, q1 = pieces_of(halo.col_first, across)
    alone = begins_alone(halo, down, across, i0, j0, rows, cols)
    own = offset(scratch, job.own if alone else 0)
    if not alone:
        clear_row(carray(own, rows * job.tile_pitch))
    for p in range(p0, p1):
        r0, height = piece_at(halo.row_pieces, p)
        for q in range(q0, q1):
            c0, width = piece_at(halo.col_pieces, q)
            window_rows = min(height + job.more_rows, job.window_rows)
            window_cols = min(width + job.more_cols, job.window_pitch)
            fill_window(job, source, r0 - job.top, c0 - job.left, window_rows, window_cols, window)
            into = own if alone and p == p0 and q == q0 else block
            call_correlation(
                job.path, job.filter, window, job.window_pitch, into, job.tile_pitch, height, width, work
            )  # fmt: skip
            if not (alone and p == p0 and q == q0):
                fold(halo, block, job.tile_pitch, r0, height, c0, width, own, job.tile_pitch, i0, j0, cols)
    write_tile(job, tile, own, i0, j0, rows, cols)
