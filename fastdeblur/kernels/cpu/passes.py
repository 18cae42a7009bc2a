"""The two fused passes of a gradient step (CPU): residual and update.

1. `residual`: a tile of A x; r = A x - b is stored, r^2 and |Dx|^2 are summed.
2. `update`: a tile of A^T r; with the regulariser's gradient D^T D x it becomes the gradient,
   with the optimiser's rule (see `rules`) the next estimate, which goes to a second buffer.

Estimate and residual lie in buffers with a halo around them (see `operators.buffers.Buffer`), so the tiles are
correlated where they are.  The halo is filled by the boundary: each tile writes copies of its own pixels there, as
they are computed; the adjoint's values in the halo are folded back into the tile.
"""

import numpy as np
from numba import carray

from ..runtime.tasks import inlined, jit, task
from .halo import begins_alone, fold, piece_at, pieces_of, read_halo, spread
from .rows import clear_row, clip_row, free_squares
from .rules import call_rule
from .simd import offset, pointer, real
from .step_rows import copy_line, difference_squares, gradient_row, nought, residual_row, total
from .tiles import GRID, call_correlation, locate, reader, sums_of, task_signature

# Addresses are those of the first pixel; pitches and planes count elements.  The frame is where the
# image lies in the estimate; outside it the residual is zero.  `folded`, `filled` and
# `residual_filled` are the halos (see `halo`) that the adjoint, the estimate and the residual have.
# `first` and `second` are the optimiser's state, `rule` is the address of its rule.  The gradient
# is brightness (data_scale A^T r + prior_scale D^T D x); the differences D of a `periodic` estimate are periodic, too.
# Weights, if there are any, lie like the image, without gaps, and r is times them.  `shift` is for Richardson-Lucy: a
# frame that is added to A x, whose rows, and planes, may all be the same one.  From a plane's filter to the next are
# `next_filter` bytes.
STEP = np.dtype(
    GRID
    + [(name, np.intp) for name in ("path", "forward", "adjoint", "forward_corner", "adjoint_corner", "rule")]
    + [(name, np.intp) for name in ("here", "there", "pitch", "plane", "residual", "residual_pitch", "residual_plane")]
    + [(name, np.intp) for name in ("image", "image_pitch", "image_plane", "weights", "first", "second", "next_filter")]
    + [(name, np.intp) for name in ("shift", "shift_pitch", "shift_plane")]
    + [(name, np.intp) for name in ("frame_top", "frame_left", "frame_bottom", "frame_right")]
    + [(name, np.intp) for name in ("folded", "filled", "residual_filled")]
    + [
        (name, np.float64)
        for name in ("unit", "brightness", "data_scale", "prior_scale", "rate", "low", "high", "least")
    ]
    + [("bounded", np.intp), ("measured", np.intp), ("periodic", np.intp)],
    align=True,
)
read_step = reader(STEP)


@inlined
def correlate_estimate(step, plane, i0, j0, rows, cols, scratch):
    """The part of a tile that the image shows: A x goes to the scratch; its first row and column, and its sizes."""
    top, left = max(i0, step.frame_top), max(j0, step.frame_left)
    height, width = min(i0 + rows, step.frame_bottom) - top, min(j0 + cols, step.frame_right) - left
    if height > 0 and width > 0:
        here = offset(pointer(step.here, scratch), plane * step.plane + top * step.pitch + left - step.forward_corner)
        call_correlation(
            step.path, step.forward + plane * step.next_filter, here, step.pitch,
            scratch, step.tile_pitch, height, width, offset(scratch, step.work),
        )  # fmt: skip
    return top, left, height, width


@jit
def row_above(step, i):
    """The step from row i of the estimate to the one above: 0 where there is none."""
    return -step.pitch if i > 0 else ((step.rows - 1) * step.pitch if step.periodic else 0)


@jit
def row_below(step, i):
    """The step from row i of the estimate to the one below: 0 where there is none."""
    return step.pitch if i + 1 < step.rows else ((1 - step.rows) * step.pitch if step.periodic else 0)


@task(task_signature)
def residual(address, scratch, tile):
    """One tile of the residual pass; sums: r^2, |Dx|^2, both in `unit`s."""
    step = read_step(address)
    plane, down, across, i0, j0, rows, cols = locate(step, tile)
    pitch, out_pitch, image_pitch = step.pitch, step.residual_pitch, step.image_pitch
    here = offset(pointer(step.here, scratch), plane * step.plane)
    out = offset(pointer(step.residual, scratch), plane * step.residual_plane)
    unit = real(step.unit, scratch)
    misfit, rough, roughness = nought(scratch), nought(scratch), 0.0

    top, left, height, width = correlate_estimate(step, plane, i0, j0, rows, cols, scratch)
    shown = height > 0 and width > 0
    start = plane * step.image_plane + (top - step.frame_top) * image_pitch + left - step.frame_left
    image = offset(pointer(step.image, scratch), start)
    # The last column has no difference to its right, the last row none below, but where both are next to the first.
    inner = min(cols, step.cols - 1 - j0)
    for i in range(i0, i0 + rows):
        if shown and 0 <= i - top < height:
            blurred, observed = offset(scratch, (i - top) * step.tile_pitch), offset(image, (i - top) * image_pitch)
            line = offset(out, i * out_pitch + left)
            if step.weights:
                weights = offset(pointer(step.weights, scratch), start + (i - top) * image_pitch)
                misfit = residual_row(misfit, blurred, observed, weights, line, width, unit)
            else:
                misfit = residual_row(misfit, blurred, observed, None, line, width, unit)
        pixel = offset(here, i * pitch + j0)
        below = offset(pixel, row_below(step, i))
        rough = difference_squares(rough, pixel, below, inner, unit)
        for j in range(inner, cols):
            drop = float(unit * (below[j] - pixel[j]))
            roughness += drop * drop
            if step.periodic:
                drop = float(unit * (pixel[j + 1 - step.cols] - pixel[j]))
                roughness += drop * drop
    if shown:
        spread(read_halo(step.residual_filled), down, across, i0, j0, rows, cols, out, out_pitch)
    sums = sums_of(step, tile)
    sums[0], sums[1] = total(misfit), total(rough) + roughness


@inlined
def correlate_residual(step, plane, down, across, i0, j0, rows, cols, scratch):
    """One tile of A^T r, the halo folded in."""
    halo = read_halo(step.folded)
    p0, p1 = pieces_of(halo.row_first, down)
    q0, q1 = pieces_of(halo.col_first, across)
    pitch, block = step.tile_pitch, offset(scratch, step.block)
    alone = begins_alone(halo, down, across, i0, j0, rows, cols)
    if not alone:
        clear_row(carray(scratch, rows * pitch))
    origin = offset(pointer(step.residual, scratch), plane * step.residual_plane - step.adjoint_corner)
    for p in range(p0, p1):
        r0, height = piece_at(halo.row_pieces, p)
        for q in range(q0, q1):
            c0, width = piece_at(halo.col_pieces, q)
            call_correlation(
                step.path, step.adjoint + plane * step.next_filter, offset(origin, r0 * step.residual_pitch + c0),
                step.residual_pitch, scratch if alone and p == p0 and q == q0 else block, pitch, height, width,
                offset(scratch, step.work),
            )  # fmt: skip
            if not (alone and p == p0 and q == q0):
                fold(halo, block, pitch, r0, height, c0, width, scratch, pitch, i0, j0, cols)


@task(task_signature)
def update(address, scratch, tile):
    """One tile of the update pass; sums of squares: gradient, its data part, its prior part."""
    step = read_step(address)
    plane, band_down, band_across, i0, j0, rows, cols = locate(step, tile)
    pitch, state_pitch = step.pitch, step.cols
    start = plane * step.plane + i0 * pitch + j0
    estimate, out = offset(pointer(step.here, scratch), start), offset(pointer(step.there, scratch), start)
    start = (plane * step.rows + i0) * state_pitch + j0
    first, second = offset(pointer(step.first, scratch), start), offset(pointer(step.second, scratch), start)
    correlate_residual(step, plane, band_down, band_across, i0, j0, rows, cols, scratch)
    data_scale, prior_scale = real(step.data_scale, scratch), real(step.prior_scale, scratch)
    brightness = real(step.brightness, scratch)
    # A row with the pixels to its left and right, the image's first and last ones repeated, or each beside the other.
    line, round_ = offset(scratch, step.extra), (1 - step.cols if step.periodic else 0)
    before, after = (1 if j0 > 0 else round_), (1 if j0 + cols < step.cols else round_)
    low, high = real(step.low, scratch), real(step.high, scratch)
    squares, free = (nought(scratch), nought(scratch), nought(scratch)), 0.0
    for i in range(rows):
        gradient, pixel = offset(scratch, i * step.tile_pitch), offset(estimate, i * pitch)
        copy_line(pixel, offset(line, 1), cols)
        line[0] = pixel[-before]
        line[cols + 1] = pixel[cols - 1 + after]
        up, down = offset(pixel, row_above(step, i0 + i)), offset(pixel, row_below(step, i0 + i))
        squares = gradient_row(
            squares, gradient, pixel, up, down, line, offset(line, 2), cols, data_scale, prior_scale, brightness
        )
        if step.bounded:
            scale = real(1.0 / step.brightness, scratch)
            free += free_squares(carray(gradient, cols), carray(pixel, cols), low, high, scale)
        call_rule(
            step.rule, step.rate, pixel, gradient, offset(first, i * state_pitch),
            offset(second, i * state_pitch), offset(out, i * pitch), cols,
        )  # fmt: skip
        if step.bounded:
            clip_row(carray(offset(out, i * pitch), cols), low, high)
    there = offset(pointer(step.there, scratch), plane * step.plane)
    spread(read_halo(step.filled), band_down, band_across, i0, j0, rows, cols, there, pitch)
    sums = sums_of(step, tile)
    sums[0], sums[1], sums[2] = free if step.bounded else total(squares[0]), total(squares[1]), total(squares[2])
