"""The blur by psfs that vary over the image, or its adjoint (CPU), of an array of the caller.

The psfs are those of a grid's nodes; a pixel of the blurred image has the blurs by the four nodes around it, with
bilinear weights, which are products of one for its row and one for its column.  So with transforms, a window goes to
frequencies once, comes back along its columns once for each node that reaches it, and along its rows once for each of
the grid's columns; the adjoint goes the same way backwards.
"""

import numpy as np
from numba import carray
from rocket_fft import c2c, c2r, r2c

from ..runtime.tasks import jit, task
from .apply import APPLY, fill_window, write_tile
from .halo import fold, piece_at, pieces_of, read_halo
from .rows import clear_row, restrict
from .simd import complexes, integers, offset, pointer, real
from .tiles import FILTER, call_correlation, locate, read_filter, reader, task_signature

# The filters of the grid's nodes, row by row, are at `filter`.  `row_weights` and `col_weights` have the nodes' weights
# at each position of the blurred image (for the adjoint 0 where it has no pixel), a row of the table for each row
# (column) of the grid.  `window_size` and `spectrum_size` are in elements of scratch.
# (Those come first: Numba would take a record that begins as another does for one of that kind, and warn of it.)
VARYING = np.dtype(
    [(name, np.intp) for name in ("nodes_down", "nodes_across", "row_weights", "row_weights_pitch")]
    + [(name, np.intp) for name in ("col_weights", "col_weights_pitch", "window_size", "spectrum_size", "fourier")]
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
def product_row(first, second, out):
    """out = first * second."""
    restrict()
    for j in range(out.size):
        out[j] = first[j] * second[j]


@jit
def add_product(first, second, out):
    """out += first * second."""
    restrict()
    for j in range(out.size):
        out[j] += first[j] * second[j]


@jit
def filter_of(job, down, across):
    """Address of a node's filter."""
    return job.filter + (down * job.nodes_across + across) * NEXT_FILTER


@jit
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
def blur_by_transforms(job, i0, j0, rows, cols, window, block, own, first, second, third):
    """A tile of the blur, by the FFT path."""
    psf, one = read_filter(job.filter), real(1.0, window)
    row_weights, col_weights = pointer(job.row_weights, window), pointer(job.col_weights, window)
    half, pitch = psf.fft_cols // 2 + 1, psf.work_pitch
    down_axis, across_axis = carray(integers(psf.axes), 1), carray(offset(integers(psf.axes), 1), 1)
    whole = carray(complexes(first), (psf.fft_rows, pitch))[:, :half]
    product = carray(complexes(second), (psf.fft_rows, pitch))[:, :half]
    mixed = carray(complexes(third), (psf.fft_rows, pitch))[:, :half]
    r2c(carray(window, (psf.fft_rows, job.window_pitch))[:, : psf.fft_cols], whole, across_axis, True, one, 1)
    c2c(whole, whole, down_axis, True, one, 1)
    for c in range(job.nodes_across):
        across = offset(col_weights, c * job.col_weights_pitch + j0)
        if not reaches(across, cols):
            continue
        clear_row(carray(third, 2 * rows * pitch))
        for a in range(job.nodes_down):
            down = offset(row_weights, a * job.row_weights_pitch + i0)
            if not reaches(down, rows):
                continue
            spectrum = complexes(pointer(read_filter(filter_of(job, a, c)).down, window))
            for i in range(psf.fft_rows):
                at = i * pitch
                product_row(
                    carray(offset(complexes(first), at), half), carray(offset(spectrum, at), half),
                    carray(offset(complexes(second), at), half),
                )  # fmt: skip
            c2c(product, product, down_axis, False, one, 1)
            for i in range(rows):
                at = 2 * i * pitch
                add_scaled(down[i], carray(offset(second, at), 2 * half), carray(offset(third, at), 2 * half))
        c2r(mixed[:rows], carray(block, (rows, job.tile_pitch))[:, : psf.fft_cols], across_axis, False, one, 1)
        for i in range(rows):
            at = i * job.tile_pitch
            add_weighted(one, carray(across, cols), carray(offset(block, at), cols), carray(offset(own, at), cols))


@task(task_signature)
def apply_varying(address, scratch, tile):
    """One tile of the blur; its sum tells whether what was written is finite."""
    job = read_varying(address)
    _, _, _, i0, j0, rows, cols = locate(job, tile)
    source, block, work = pointer(job.source, scratch), offset(scratch, job.block), offset(scratch, job.work)
    window = offset(scratch, job.extra)
    second = offset(window, 2 * job.window_size)
    window_rows = min(rows + job.more_rows, job.window_rows)
    window_cols = min(cols + job.more_cols, job.window_pitch)
    fill_window(job, source, i0 - job.top, j0 - job.left, window_rows, window_cols, window)
    clear_row(carray(scratch, rows * job.tile_pitch))
    if job.fourier:
        blur_by_transforms(
            job, i0, j0, rows, cols, window, block, scratch, work, second, offset(second, job.spectrum_size)
        )
    else:
        blur_by_correlation(job, i0, j0, rows, cols, window, block, scratch, work)
    write_tile(job, tile, scratch, i0, j0, rows, cols)


@jit
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


@jit
def fold_by_transforms(
    job, halo, r0, c0, height, width, window, block, own, first, second, third, i0, j0, tile_cols
):  # fmt: skip
    """Add one piece of the adjoint to its tile, by the FFT path."""
    psf, one = read_filter(job.filter), real(1.0, window)
    row_weights, col_weights = pointer(job.row_weights, window), pointer(job.col_weights, window)
    half, pitch, rows, cols = psf.fft_cols // 2 + 1, psf.work_pitch, psf.fft_rows, psf.fft_cols
    down_axis, across_axis = carray(integers(psf.axes), 1), carray(offset(integers(psf.axes), 1), 1)
    lines = carray(complexes(first), (rows, pitch))[:, :half]
    product = carray(complexes(second), (rows, pitch))[:, :half]
    total = carray(complexes(third), (rows, pitch))[:, :half]
    weighted = offset(window, job.window_size)
    clear_row(carray(third, 2 * rows * pitch))
    for c in range(job.nodes_across):
        across = offset(col_weights, c * job.col_weights_pitch + c0 - job.left)
        if not reaches(across, cols):
            continue
        for i in range(rows):
            at = i * job.window_pitch
            weigh_row(one, carray(across, cols), carray(offset(window, at), cols), carray(offset(weighted, at), cols))
        r2c(carray(weighted, (rows, job.window_pitch))[:, :cols], lines, across_axis, True, one, 1)
        for a in range(job.nodes_down):
            down = offset(row_weights, a * job.row_weights_pitch + r0 - job.top)
            if not reaches(down, rows):
                continue
            for i in range(rows):
                at = 2 * i * pitch
                scale_row(down[i], carray(offset(first, at), 2 * half), carray(offset(second, at), 2 * half))
            c2c(product, product, down_axis, True, one, 1)
            spectrum = complexes(pointer(read_filter(filter_of(job, a, c)).down, window))
            for i in range(rows):
                at = i * pitch
                add_product(
                    carray(offset(complexes(second), at), half), carray(offset(spectrum, at), half),
                    carray(offset(complexes(third), at), half),
                )  # fmt: skip
    c2c(total, total, down_axis, False, one, 1)
    c2r(total[:height], carray(block, (height, job.tile_pitch))[:, :cols], across_axis, False, one, 1)
    fold(halo, block, job.tile_pitch, r0, height, c0, width, own, job.tile_pitch, i0, j0, tile_cols)


@task(task_signature)
def apply_varying_adjoint(address, scratch, tile):
    """One tile of the blur's adjoint; its sum tells whether what was written is finite."""
    job = read_varying(address)
    halo = read_halo(job.halo)
    _, down, across, i0, j0, rows, cols = locate(job, tile)
    source, block, work = pointer(job.source, scratch), offset(scratch, job.block), offset(scratch, job.work)
    window = offset(scratch, job.extra)
    second = offset(window, 2 * job.window_size)
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
                    job, halo, r0, c0, height, width, window, block, scratch, work, second,
                    offset(second, job.spectrum_size), i0, j0, cols,
                )  # fmt: skip
            else:
                fold_by_correlation(
                    job, halo, r0, c0, window_rows, window_cols, height, width, window, block, scratch, work,
                    i0, j0, cols,
                )  # fmt: skip
    write_tile(job, tile, scratch, i0, j0, rows, cols)
