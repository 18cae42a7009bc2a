"""The two passes of a gradient step.

1. `residual`: a tile of A x; r = A x - b is stored, the sums of r^2 and |Dx|^2 are kept.
2. `update`: a tile of A^T r; with the regulariser's gradient D^T D x it becomes the gradient,
   with the optimiser's rule (see `rules`) the next estimate, which goes to a second buffer.

Estimate and residual lie in buffers with zeros around them (see `buffers.Buffer`), so the tiles are
correlated where they are.
"""

import numpy as np
from numba import carray

from ..runtime import task
from .rows import copy_row, difference_squares, gradient_row, residual_row
from .rules import call_rule
from .simd import offset, pointer, real
from .tiles import GRID, call_correlation, locate, reader, sums_of, task_signature

# Addresses are those of the first pixel; pitches and planes count elements.  `first` and `second`
# are the optimiser's state, `rule` is the address of its rule.  The gradient is
# brightness (data_scale A^T r + prior_scale D^T D x).
STEP = np.dtype(
    GRID
    + [(name, np.intp) for name in ("path", "forward", "adjoint", "forward_corner", "adjoint_corner", "rule")]
    + [(name, np.intp) for name in ("here", "there", "pitch", "plane", "residual", "residual_pitch", "residual_plane")]
    + [(name, np.intp) for name in ("image", "image_pitch", "image_plane", "first", "second")]
    + [(name, np.float64) for name in ("unit", "brightness", "data_scale", "prior_scale", "rate")],
    align=True,
)
read_step = reader(STEP)


@task(task_signature)
def residual(address, scratch, tile):
    """One tile of the residual pass; sums: r^2, |Dx|^2, both in `unit`s."""
    step = read_step(address)
    plane, i0, j0, rows, cols = locate(step, tile)
    pitch, out_pitch, image_pitch = step.pitch, step.residual_pitch, step.image_pitch
    estimate = offset(pointer(step.here, scratch), plane * step.plane + i0 * pitch + j0)
    image = offset(pointer(step.image, scratch), plane * step.image_plane + i0 * image_pitch + j0)
    out = offset(pointer(step.residual, scratch), plane * step.residual_plane + i0 * out_pitch + j0)
    call_correlation(
        step.path, step.forward, offset(estimate, -step.forward_corner), pitch,
        scratch, step.tile_pitch, rows, cols, offset(scratch, step.work),
    )  # fmt: skip
    unit = real(step.unit, scratch)
    misfit, roughness = 0.0, 0.0
    # The last column has no difference to its right, the last row none below.
    inner = min(cols, step.cols - 1 - j0)
    for i in range(rows):
        blurred, seen = carray(offset(scratch, i * step.tile_pitch), cols), carray(offset(image, i * image_pitch), cols)
        misfit += residual_row(blurred, seen, carray(offset(out, i * out_pitch), cols), unit)
        pixel = offset(estimate, i * pitch)
        below = offset(pixel, pitch if i0 + i + 1 < step.rows else 0)
        here, down, right = carray(pixel, inner), carray(below, inner), carray(offset(pixel, 1), inner)
        roughness += difference_squares(here, down, right, unit)
        for j in range(inner, cols):
            drop = float(unit * (below[j] - pixel[j]))
            roughness += drop * drop
    sums = sums_of(step, tile)
    sums[0], sums[1] = misfit, roughness


@task(task_signature)
def update(address, scratch, tile):
    """One tile of the update pass; sums of squares: gradient, its data part, its prior part."""
    step = read_step(address)
    plane, i0, j0, rows, cols = locate(step, tile)
    pitch, state_pitch = step.pitch, step.cols
    start = plane * step.plane + i0 * pitch + j0
    estimate, out = offset(pointer(step.here, scratch), start), offset(pointer(step.there, scratch), start)
    start = (plane * step.rows + i0) * state_pitch + j0
    first, second = offset(pointer(step.first, scratch), start), offset(pointer(step.second, scratch), start)
    start = plane * step.residual_plane + i0 * step.residual_pitch + j0
    call_correlation(
        step.path, step.adjoint, offset(pointer(step.residual, scratch), start - step.adjoint_corner),
        step.residual_pitch, scratch, step.tile_pitch, rows, cols, offset(scratch, step.work),
    )  # fmt: skip
    data_scale, prior_scale = real(step.data_scale, scratch), real(step.prior_scale, scratch)
    brightness = real(step.brightness, scratch)
    # A row with the pixels to its left and right, the image's first and last ones repeated.
    line = offset(scratch, step.extra)
    before, after = min(j0, 1), min(step.cols - j0 - cols, 1)
    total, data_total, prior_total = 0.0, 0.0, 0.0
    for i in range(rows):
        gradient = carray(offset(scratch, i * step.tile_pitch), cols)
        pixel = offset(estimate, i * pitch)
        here = carray(pixel, cols)
        copy_row(here, carray(offset(line, 1), cols))
        line[0] = pixel[-before]
        line[cols + 1] = pixel[cols - 1 + after]
        up = carray(offset(pixel, -pitch if i0 + i > 0 else 0), cols)
        down = carray(offset(pixel, pitch if i0 + i + 1 < step.rows else 0), cols)
        a, b, c = gradient_row(
            gradient, here, up, down, carray(line, cols), carray(offset(line, 2), cols),
            data_scale, prior_scale, brightness,
        )  # fmt: skip
        total, data_total, prior_total = total + a, data_total + b, prior_total + c
        call_rule(
            step.rule, step.rate, pixel, offset(scratch, i * step.tile_pitch), offset(first, i * state_pitch),
            offset(second, i * state_pitch), offset(out, i * pitch), cols,
        )  # fmt: skip
    sums = sums_of(step, tile)
    sums[0], sums[1], sums[2] = total, data_total, prior_total
