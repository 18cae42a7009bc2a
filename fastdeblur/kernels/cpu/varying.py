"""The blur by psfs that vary over the image, or its adjoint (CPU), of an array of the caller.

The psfs are those of a grid's nodes; a pixel of the blurred image has the blurs by the four nodes around it, with
bilinear weights, which are products of one for its row and one for its column.  So with transforms (see `fft`), the
windows of a tile go to frequencies along columns once, and for each of the grid's rows that reach it along rows, some
rows at a time; these come back once for each node, and are weighed by columns; and columns come back once for each of
the grid's rows, and are weighed by rows.  The adjoint goes the same way backwards, and rows come back once.
"""

import numpy as np
from numba import carray

from ..runtime.tasks import inlined, jit, task
from .apply import APPLY, fill_window, write_tile
from .fft import FILTER_STRIPS, ROWS_BACK, ROWS_FORWARD, from_strips, to_strips, transform_rows
from .halo import fold, piece_at, pieces_of, read_halo
from .rows import add_row, clear_row, copy_row, restrict
from .simd import lanes, offset, pointer
from .tiles import FILTER, call_correlation, locate, read_filter, reader, task_signature

# The filters of the grid's nodes, row by row, are at `filter`.  `row_weights` and `col_weights` have the nodes' weights
# at each position of the blurred image (for the adjoint 0 where it has no pixel), a row of the table for each row
# (column) of the grid.  `window_size` is in elements of scratch, and so are the places of what transforms need: strips
# of some rows, twice; those of a tile; and weights of its columns, a line for each of the grid's.
# (Those come first: Numba would take a record that begins as another does for one of that kind, and warn of it.)
VARYING = np.dtype(
    [(name, np.intp) for name in ("nodes_down", "nodes_across", "row_weights", "row_weights_pitch")]
    + [(name, np.intp) for name in ("col_weights", "col_weights_pitch", "window_size", "fourier")]
    + [(name, np.intp) for name in ("some_rows", "total", "line")]
    + APPLY.descr,
    align=True,
)
read_varying = reader(VARYING)
NEXT_FILTER = FILTER.itemsize


@jit
def reaches(weights, count):
    """Whether any of some weights is not 0."""
    for k in range(count):  # noqa: SIM110 -- compiled
        if weights[k] != 0:
            return True
    return False


@jit
def add_scaled(factor, source, out):
    """out += factor * source."""
    restrict()
    for j in range(out.size):
        out[j] += factor * source[j]


@jit
def scale_row(factor, source, out):
    """out = factor * source."""
    restrict()
    for j in range(out.size):
        out[j] = factor * source[j]


@jit
def add_weighted(factor, weights, source, out):
    """out += factor * weights * source."""
    restrict()
    for j in range(out.size):
        out[j] += factor * weights[j] * source[j]


@jit
def weigh_row(factor, weights, source, out):
    """out = factor * weights * source."""
    restrict()
    for j in range(out.size):
        out[j] = factor * weights[j] * source[j]


@jit
def filter_of(job, down, across):
    """Address of a node's filter."""
    return job.filter + (down * job.nodes_across + across) * NEXT_FILTER


@inlined
def blur_by_correlation(job, i0, j0, rows, cols, window, block, own, work):
    """A tile of the blur, by the direct or the separable path."""
    row_weights, col_weights = pointer(job.row_weights, window), pointer(job.col_weights, window)
    for a in range(job.nodes_down):
        down = offset(row_weights, a * job.row_weights_pitch + i0)
        if not reaches(down, rows):
            continue
        for c in range(job.nodes_across):
            across = offset(col_weights, c * job.col_weights_pitch + j0)
            if not reaches(across, cols):
                continue
            call_correlation(
                job.path, filter_of(job, a, c), window, job.window_pitch, block, job.tile_pitch, rows, cols, work
            )  # fmt: skip
            for i in range(rows):
                at = i * job.tile_pitch
                add_weighted(
                    down[i], carray(across, cols), carray(offset(block, at), cols), carray(offset(own, at), cols)
                )


@jit
def extend_row(source, count, out):
    """out = some numbers, then zeros."""
    for j in range(count):
        out[j] = source[j]
    for j in range(count, out.size):
        out[j] = 0


@jit
def weigh_strip(weights, source, out):
    """out = weights * source, of some rows of a strip: each has as many numbers as weights, twice."""
    restrict()
    width = weights.size
    for k in range(2 * width):
        for j in range(width):
            out[k * width + j] = weights[j] * source[k * width + j]


@jit
def add_strip(weights, source, out):
    """out += weights * source, of the same."""
    restrict()
    width = weights.size
    for k in range(2 * width):
        for j in range(width):
            out[k * width + j] += weights[j] * source[k * width + j]


@inlined
def weigh_rows(line, source, from_strip, out, to_strip, strips, adds):
    """As many rows of strips as a vector has lanes, times the columns' weights; their strips are so far apart."""
    width = lanes(source)
    size = 2 * width * width
    for k in range(strips):
        weights, here = carray(offset(line, k * width), width), carray(offset(source, k * from_strip), size)
        there = carray(offset(out, k * to_strip), size)
        if adds:
            add_strip(weights, here, there)
        else:
            weigh_strip(weights, here, there)


@inlined
def blur_by_transforms(job, i0, j0, rows, cols, window, block, own, strips, some, total, lines):
    """A tile of the blur, by the FFT path."""
    psf, width = read_filter(job.filter), lanes(window)
    row_weights, col_weights = pointer(job.row_weights, window), pointer(job.col_weights, window)
    count, size, shown = psf.fft_cols // width, 2 * width * width, -(-cols // width)
    filtered = offset(some, count * size)
    for c in range(job.nodes_across):
        across = offset(col_weights, c * job.col_weights_pitch + j0)
        extend_row(carray(across, cols), cols, carray(offset(lines, c * psf.fft_cols), psf.fft_cols))
    to_strips(job.filter, window, job.window_pitch, rows, cols, strips)
    for a in range(job.nodes_down):
        down = offset(row_weights, a * job.row_weights_pitch + i0)
        if not reaches(down, rows):
            continue
        for row in range(0, psf.fft_rows, width):
            at, begun = row * 2 * width, False
            for k in range(count):
                copy_row(carray(offset(strips, k * psf.strip + at), size), carray(offset(some, k * size), size))
            transform_rows(ROWS_FORWARD, job.filter, some, size, some)
            for c in range(job.nodes_across):
                line = offset(lines, c * psf.fft_cols)
                if not reaches(line, cols):
                    continue
                spectrum = pointer(read_filter(filter_of(job, a, c)).down, window)
                copy_row(carray(some, count * size), carray(filtered, count * size))
                transform_rows(FILTER_STRIPS, job.filter, filtered, size, offset(spectrum, row * 2 * psf.fft_cols))
                transform_rows(ROWS_BACK, job.filter, filtered, size, filtered)
                weigh_rows(line, filtered, size, offset(total, at), psf.strip, shown, begun)
                begun = True
        from_strips(job.filter, total, block, job.tile_pitch, rows, cols)
        for i in range(rows):
            at = i * job.tile_pitch
            add_scaled(down[i], carray(offset(block, at), cols), carray(offset(own, at), cols))


@task(task_signature)
def apply_varying(address, scratch, tile):
    """One tile of the blur; its sum tells whether what was written is finite."""
    job = read_varying(address)
    _, _, _, i0, j0, rows, cols = locate(job, tile)
    source, block, work = pointer(job.source, scratch), offset(scratch, job.block), offset(scratch, job.work)
    window = offset(scratch, job.extra)
    window_rows = min(rows + job.more_rows, job.window_rows)
    window_cols = min(cols + job.more_cols, job.window_pitch)
    fill_window(job, source, i0 - job.top, j0 - job.left, window_rows, window_cols, window)
    clear_row(carray(scratch, rows * job.tile_pitch))
    if job.fourier:
        blur_by_transforms(
            job, i0, j0, rows, cols, window, block, scratch, work, offset(window, job.some_rows),
            offset(window, job.total), offset(window, job.line),
        )  # fmt: skip
    else:
        blur_by_correlation(job, i0, j0, rows, cols, window, block, scratch, work)
    write_tile(job, tile, scratch, i0, j0, rows, cols)


@inlined
def fold_by_correlation(job, halo, r0, c0, rows, cols, height, width, window, block, own, work, i0, j0, tile_cols):
    """Add one piece of the adjoint to its tile, by the direct or the separable path."""
    row_weights, col_weights = pointer(job.row_weights, window), pointer(job.col_weights, window)
    weighted = offset(window, job.window_size)
    for a in range(job.nodes_down):
        down = offset(row_weights, a * job.row_weights_pitch + r0 - job.top)
        if not reaches(down, rows):
            continue
        for c in range(job.nodes_across):
            across = offset(col_weights, c * job.col_weights_pitch + c0 - job.left)
            if not reaches(across, cols):
                continue
            for i in range(rows):
                at = i * job.window_pitch
                weigh_row(
                    down[i], carray(across, cols), carray(offset(window, at), cols), carray(offset(weighted, at), cols)
                )
            call_correlation(
                job.path, filter_of(job, a, c), weighted, job.window_pitch, block, job.tile_pitch, height, width, work
            )  # fmt: skip
            fold(halo, block, job.tile_pitch, r0, height, c0, width, own, job.tile_pitch, i0, j0, tile_cols)


@inlined
def fold_by_transforms(
    job, halo, r0, c0, rows, cols, height, wide, window, block, own, strips, some, total, line, i0, j0, tile_cols
):  # fmt: skip
    """Add one piece of the adjoint to its tile, by the FFT path."""
    psf, width = read_filter(job.filter), lanes(window)
    row_weights, col_weights = pointer(job.row_weights, window), pointer(job.col_weights, window)
    count, size = psf.fft_cols // width, 2 * width * width
    weighted, begun = offset(window, job.window_size), False
    for a in range(job.nodes_down):
        down = offset(row_weights, a * job.row_weights_pitch + r0 - job.top)
        if not reaches(down, rows):
            continue
        for i in range(rows):
            at = i * job.window_pitch
            scale_row(down[i], carray(offset(window, at), cols), carray(offset(weighted, at), cols))
        to_strips(job.filter, weighted, job.window_pitch, height, wide, strips)
        for c in range(job.nodes_across):
            across = offset(col_weights, c * job.col_weights_pitch + c0 - job.left)
            if not reaches(across, cols):
                continue
            extend_row(carray(across, cols), min(cols, psf.fft_cols), carray(line, psf.fft_cols))
            spectrum = pointer(read_filter(filter_of(job, a, c)).down, window)
            for row in range(0, psf.fft_rows, width):
                at = row * 2 * width
                weigh_rows(line, offset(strips, at), psf.strip, some, size, count, False)
                transform_rows(ROWS_FORWARD, job.filter, some, size, some)
                transform_rows(FILTER_STRIPS, job.filter, some, size, offset(spectrum, row * 2 * psf.fft_cols))
                for k in range(count):  # what comes back, comes back once
                    here = carray(offset(some, k * size), size)
                    there = carray(offset(total, k * psf.strip + at), size)
                    if begun:
                        add_row(here, there)
                    else:
                        copy_row(here, there)
            begun = True
    if begun:
        for row in range(0, psf.fft_rows, width):
            transform_rows(ROWS_BACK, job.filter, offset(total, row * 2 * width), psf.strip, total)
        from_strips(job.filter, total, block, job.tile_pitch, height, wide)
        fold(halo, block, job.tile_pitch, r0, height, c0, wide, own, job.tile_pitch, i0, j0, tile_cols)


@task(task_signature)
def apply_varying_adjoint(address, scratch, tile):
    """One tile of the blur's adjoint; its sum tells whether what was written is finite."""
    job = read_varying(address)
    halo = read_halo(job.halo)
    _, down, across, i0, j0, rows, cols = locate(job, tile)
    source, block, work = pointer(job.source, scratch), offset(scratch, job.block), offset(scratch, job.work)
    window = offset(scratch, job.extra)
    p0, p1 = pieces_of(halo.row_first, down)
    q0, q1 = pieces_of(halo.col_first, across)
    clear_row(carray(scratch, rows * job.tile_pitch))
    for p in range(p0, p1):
        r0, height = piece_at(halo.row_pieces, p)
        for q in range(q0, q1):
            c0, width = piece_at(halo.col_pieces, q)
            window_rows = min(height + job.more_rows, job.window_rows)
            window_cols = min(width + job.more_cols, job.window_pitch)
            fill_window(job, source, r0 - job.top, c0 - job.left, window_rows, window_cols, window)
            if job.fourier:
                fold_by_transforms(
                    job, halo, r0, c0, window_rows, window_cols, height, width, window, block, scratch, work,
                    offset(window, job.some_rows), offset(window, job.total), offset(window, job.line), i0, j0, cols,
                )  # fmt: skip
            else:
                fold_by_correlation(
                    job, halo, r0, c0, window_rows, window_cols, height, width, window, block, scratch, work,
                    i0, j0, cols,
                )  # fmt: skip
    write_tile(job, tile, scratch, i0, j0, rows, cols)
