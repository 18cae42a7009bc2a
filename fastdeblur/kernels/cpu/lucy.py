"""The two fused passes of a Richardson-Lucy step (CPU): ratio and multiply.

1. `ratio`: a tile of A y, and the shift added; r = w b / (A y) is stored, the likelihood and the misfit are
   summed.
2. `multiply`: a tile of A^T r; divided by the sensitivity A^T w it is the factor of the next estimate.

They work on the buffers of gradient descent, see `passes`: `first` is the last estimate and `second` 1 / (A^T w).  A
plain step has neither, nor weights.
"""

from numba import carray

from ..runtime.tasks import jit, task
from .halo import read_halo, spread
from .likelihood import likelihood_row
from .passes import correlate_estimate, correlate_residual, read_step
from .rows import restrict
from .simd import offset, pointer, real
from .tiles import locate, sums_of, task_signature


@jit
def ratio_row(blurred, shift, image, weights, least, out):
    """w b / (A y), the blurred estimate shifted, and as nothing where it is less than `least`; no weights are 1."""
    restrict()
    zero = out.dtype.type(0)
    for j in range(out.size):
        mean, count = blurred[j] + shift[j], image[j]
        if weights is not None:
            count *= weights[j]
        out[j] = zero if mean < least else count / mean


@task(task_signature)
def ratio(address, scratch, tile):
    """One tile of the first pass; sums: likelihood, misfit."""
    step = read_step(address)
    plane, down, across, i0, j0, rows, cols = locate(step, tile)
    top, left, height, width = correlate_estimate(step, plane, i0, j0, rows, cols, scratch)
    sums = sums_of(step, tile)
    sums[0], sums[1] = 0.0, 0.0
    if height <= 0 or width <= 0:
        return
    start = plane * step.image_plane + (top - step.frame_top) * step.image_pitch + left - step.frame_left
    image, weights = offset(pointer(step.image, scratch), start), offset(pointer(step.weights, scratch), start)
    out = offset(pointer(step.residual, scratch), plane * step.residual_plane)
    start = plane * step.shift_plane + (top - step.frame_top) * step.shift_pitch + left - step.frame_left
    shift = offset(pointer(step.shift, scratch), start)
    least, unit = real(step.least, scratch), real(step.unit, scratch)
    for i in range(height):
        blurred, line = offset(scratch, i * step.tile_pitch), offset(out, (top + i) * step.residual_pitch + left)
        pixels, pixel_weights = offset(image, i * step.image_pitch), offset(weights, i * step.image_pitch)
        shifts = offset(shift, i * step.shift_pitch)
        if step.measured:
            like, misfit = likelihood_row(
                carray(blurred, width), carray(shifts, width), carray(pixels, width), carray(pixel_weights, width), unit
            )
            sums[0] += like
            sums[1] += misfit
        if step.weights:
            ratio_row(
                carray(blurred, width), carray(shifts, width), carray(pixels, width), carray(pixel_weights, width),
                least, carray(line, width),
            )  # fmt: skip
        else:
            ratio_row(
                carray(blurred, width), carray(shifts, width), carray(pixels, width), None, least, carray(line, width)
            )
    spread(read_halo(step.residual_filled), down, across, i0, j0, rows, cols, out, step.residual_pitch)


@jit
def multiply_estimate(here, factors, inverse_sensitivity, last, rate, low, high, unit, out):
    """x = y factor / (A^T w), or y where that is 0; the next y is extrapolated from the last x by `rate`.

    Returns the sums of (x - y)^2 and y^2, in units.
    """
    restrict()
    zero = out.dtype.type(0)
    moved, whole = zero, zero
    for j in range(out.size):
        y = here[j]
        x = y * factors[j] * inverse_sensitivity[j] if inverse_sensitivity[j] != zero else y
        x = low if x < low else (high if x > high else x)
        ahead = x + rate * (x - last[j])
        out[j] = low if ahead < low else (high if ahead > high else ahead)
        last[j] = x
        moved += (unit * (x - y)) * (unit * (x - y))
        whole += (unit * y) * (unit * y)
    return float(moved), float(whole)


@jit
def multiply_plainly(here, factors, out):
    """A plain step, of which nothing is known but the factors."""
    restrict()
    for j in range(out.size):
        out[j] = here[j] * factors[j]


@task(task_signature)
def multiply(address, scratch, tile):
    """One tile of the second pass; sums of squares: the change, and the estimate."""
    step = read_step(address)
    plane, band_down, band_across, i0, j0, rows, cols = locate(step, tile)
    pitch, state_pitch = step.pitch, step.cols
    start = plane * step.plane + i0 * pitch + j0
    estimate, out = offset(pointer(step.here, scratch), start), offset(pointer(step.there, scratch), start)
    start = (plane * step.rows + i0) * state_pitch + j0
    last = offset(pointer(step.first, scratch), start)
    inverse_sensitivity = offset(pointer(step.second, scratch), start)
    correlate_residual(step, plane, band_down, band_across, i0, j0, rows, cols, scratch)
    rate, unit = real(step.rate, scratch), real(step.unit, scratch)
    low, high = real(step.low, scratch), real(step.high, scratch)
    moved, whole = 0.0, 0.0
    for i in range(rows):
        here, factors = carray(offset(estimate, i * pitch), cols), carray(offset(scratch, i * step.tile_pitch), cols)
        line = carray(offset(out, i * pitch), cols)
        if step.first:
            a, b = multiply_estimate(
                here, factors, carray(offset(inverse_sensitivity, i * state_pitch), cols),
                carray(offset(last, i * state_pitch), cols), rate, low, high, unit, line,
            )  # fmt: skip
            moved, whole = moved + a, whole + b
        else:
            multiply_plainly(here, factors, line)
    there = offset(pointer(step.there, scratch), plane * step.plane)
    spread(read_halo(step.filled), band_down, band_across, i0, j0, rows, cols, there, pitch)
    sums = sums_of(step, tile)
    sums[0], sums[1] = moved, whole
