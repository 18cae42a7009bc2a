"""ADMM z-update (CPU): proximal steps and duals of the split variables; rows go on to frequencies.

The prior penalises differences of the estimate x: two first differences and, for the sparse prior, three second ones.
Each has a split variable v; the proximal map of v is u.  A step takes ``v = u + dual + relax (L x - u)`` with the dual
``v - u`` of the last step, and hands ``2 u - v`` on to the right-hand side of the x-update (see `x_update`).  The
blurred estimate has a split variable in the same way.

The domain is periodic.  The estimate lies at its corner; the pixels outside it are free.
"""

import numpy as np
from numba import carray

from ..runtime.tasks import inlined, jit, task
from .likelihood import likelihood_row
from .rows import clear_row, copy_row, multiply_row
from .shrink import COSTS, SHARES, call_shrink
from .simd import doubles, integers, offset, pointer, real
from .tiles import call_within, reader, task_signature
from .z_update_rows import (
    add_pixels,
    add_squares,
    adjoint_firsts,
    adjoint_seconds,
    data_row,
    down_row,
    free_row,
    masked_row,
    mixed_row,
    pixels_gradient,
    reflect_row,
    relax_row,
    subtract_from_row,
    twice_row,
)

# The differences, in this order: down, across, down twice, across twice, down and across.  So many are first ones; all.
FIRSTS, DIFFERENCES = 2, 5
# Elements around a line, which differences at its ends need, in whole vectors.
MARGIN = 16
# Sums of squares for the blurred estimate and for the differences (see `reflect_row`), then the two
# parts of the objective.
SUMS = 16
SUMS_OF_SPLIT = 5
MISFIT, ROUGHNESS = 2 * SUMS_OF_SPLIT, 2 * SUMS_OF_SPLIT + 1

# Addresses are those of planes x rows x pitch pixels, `split` and `split_next` have one such array for each
# difference.  `groups` holds the first difference of each group that is shrunk together, `masks` a
# line for each kind of column (see `column_mask`).  The estimate itself may be `periodic`: then it has all differences,
# and the lines of masks are all 1.  `observed` has a mask of the estimate's pixels within the psf's reach of data, or
# is 0 if all are; its rows go on by a pixel at both ends if the estimate is periodic.  `shrink` is the address of the
# proximal map.  `residual` and `gradient` are those of `z_update_gradient`, else 0.  In scratch rows of the right-hand
# side are at `rhs_at`, in elements, those of the data behind them; `transforms` is the address of what takes them to
# frequencies: that of `x_update`, or by a `plan` that of `x_update_planes`, whose stages and strips these are.  The
# right-hand side is in units of `rhs_unit`.
ADMM = np.dtype(
    [(name, np.intp) for name in ("planes", "rows", "cols", "pitch", "plane", "tile_rows", "sums", "axis")]
    + [(name, np.intp) for name in ("frequencies", "coefficient_pitch", "coefficient_plane")]
    + [(name, np.intp) for name in ("data_coefficients", "rhs_coefficients", "rhs_at")]
    + [(name, np.intp) for name in ("transforms", "plan", "stage", "coefficients", "strip_at")]
    + [(name, np.intp) for name in ("psf", "psf_plane", "axis_down", "eigenvalues_down", "eigenvalues_across")]
    + [(name, np.intp) for name in ("estimate_rows", "top", "left", "height", "width")]
    + [(name, np.intp) for name in ("image", "weights", "frame_plane", "poisson", "x", "blurred", "data")]
    + [(name, np.intp) for name in ("shift", "shift_pitch", "shift_plane")]
    + [(name, np.intp) for name in ("split", "split_next", "groups", "group_count", "masks", "observed", "shrink")]
    + [(name, np.intp) for name in ("pixels", "pixels_prox", "differences", "residual", "gradient", "periodic")]
    + [(name, np.float64) for name in ("relax", "unit", "factor")]
    + [(name, np.float64) for name in ("data_rho", "data_rho_before", "data_keep")]
    + [(name, np.float64) for name in ("rho", "second_rho", "keep", "pixels_rho", "rhs_unit")]
    + [(name, np.float64) for name in ("threshold", "threshold_before", "second_threshold", "second_threshold_before")],
    align=True,
)  # fmt: skip
read_admm = reader(ADMM)


@jit
def line_pitch(split):
    """Elements of a line with its margins."""
    return split.pitch + 2 * MARGIN


@jit
def close(line, cols):
    """Let a line go on periodically by one element at each end."""
    line[-1] = line[cols - 1]
    line[cols] = line[0]


@jit
def row_mask(job, k, i):
    """Whether the estimate has a difference in row i: 0 or 1."""
    rows = job.estimate_rows
    if job.periodic:
        return True
    if k == 0 or k == 4:
        return i < rows - 1
    if k == 2:
        return 0 < i < rows - 1
    return i < rows


@jit
def column_mask(k):
    """Which line of masks is a difference's: all columns, all but the last, or those between."""
    if k == 0 or k == 2:
        return 0
    if k == 3:
        return 2
    return 1


@jit
def mask_of(job, k, i):
    """Which line of masks is that of a difference in row i; the last line is all zeros."""
    return column_mask(k) if row_mask(job, k, i) else 3


@jit
def mask_line(job, plane, k, i, combined, scratch):
    """The mask of a difference in row i of a plane: shared, or where pixels are unobserved of `combined` ones."""
    if job.observed != 0:
        return offset(combined, (plane * DIFFERENCES + k) * line_pitch(job))
    return offset(pointer(job.masks, scratch), mask_of(job, k, i) * job.pitch)


@inlined
def combine_masks(job, i, combined, scratch):
    """Masks of all differences in row i; each counts where all of its pixels are observed, and in the estimate."""
    cols, here = job.cols, i * job.pitch
    above, below = (i - 1 if i else job.rows - 1) * job.pitch, (i + 1 if i + 1 < job.rows else 0) * job.pitch
    for plane in range(job.planes):
        pixels = offset(pointer(job.observed, scratch), plane * job.plane)
        for k in range(job.differences):
            first = second = third = fourth = here
            if k == 0:
                second = below
            elif k == 1:
                second = here + 1
            elif k == 2:
                second, third = above, below
            elif k == 3:
                second, third = here - 1, here + 1
            else:
                second, third, fourth = below, here + 1, below + 1
            shared = offset(pointer(job.masks, scratch), mask_of(job, k, i) * job.pitch)
            masked_row(
                carray(shared, cols), carray(offset(pixels, first), cols), carray(offset(pixels, second), cols),
                carray(offset(pixels, third), cols), carray(offset(pixels, fourth), cols),
                carray(offset(combined, (plane * DIFFERENCES + k) * line_pitch(job)), cols),
            )  # fmt: skip


@inlined
def difference(k, above, here, below, cols, out):
    """One of the differences of a row, from lines with margins."""
    line, down = carray(here, cols), carray(below, cols)
    if k == 0:
        down_row(line, down, carray(out, cols))
    elif k == 1:
        down_row(line, carray(offset(here, 1), cols), carray(out, cols))
    elif k == 2:
        twice_row(carray(above, cols), line, down, carray(out, cols))
    elif k == 3:
        twice_row(carray(offset(here, -1), cols), line, carray(offset(here, 1), cols), carray(out, cols))
    else:
        mixed_row(line, carray(offset(here, 1), cols), down, carray(offset(below, 1), cols), carray(out, cols))


@inlined
def update_data(job, plane, i, out, sums, scratch):
    """One row of the z-update of the blurred estimate's split variable."""
    start = plane * job.plane + i * job.pitch
    v, here = offset(pointer(job.data, scratch), start), offset(pointer(job.blurred, scratch), start)
    relax = real(job.relax, scratch)
    inside = job.top <= i < job.top + job.height
    left, width = job.left if inside else job.cols, job.width
    for side in range(2):  # of the frame; without it all is on one
        begin = (job.left + width if inside else job.cols) * side
        count = job.cols - begin if side else left
        free_row(
            carray(offset(v, begin), count), carray(offset(here, begin), count), relax,
            carray(offset(out, begin), count),
        )  # fmt: skip
    if not inside:
        return
    place = plane * job.frame_plane + (i - job.top) * width
    image, weights = offset(pointer(job.image, scratch), place), offset(pointer(job.weights, scratch), place)
    shift = offset(pointer(job.shift, scratch), plane * job.shift_plane + (i - job.top) * job.shift_pitch)
    a, b, c, d, e, misfit = data_row(
        carray(offset(v, left), width), carray(offset(here, left), width), carray(shift, width), carray(image, width),
        carray(weights, width),
        real(job.data_rho, scratch), real(job.data_rho_before, scratch), real(job.data_keep, scratch), relax,
        real(job.unit, scratch), job.poisson, carray(offset(out, left), width),
    )  # fmt: skip
    if job.poisson:
        misfit, _ = likelihood_row(
            carray(offset(here, left), width), carray(shift, width), carray(image, width), carray(weights, width),
            real(1.0, scratch),
        )  # fmt: skip
    sums[0] += a
    sums[1] += b
    sums[2] += c
    sums[3] += d
    sums[4] += e
    sums[MISFIT] += misfit


@jit
def group_squares(job, i, first, end, lines, next_plane, next_difference, combined, squares, scratch):
    """Squares of one group of differences in row i, summed over all planes."""
    clear_row(squares)
    for plane in range(job.planes):
        for k in range(first, end):
            if row_mask(job, k, i):
                line = offset(lines, plane * next_plane + k * next_difference)
                mask = mask_line(job, plane, k, i, combined, scratch)
                add_squares(carray(line, job.cols), carray(mask, job.cols), squares)


@inlined
def all_differences(job, i, pixels, changes, scratch):
    """The differences of row i of the estimate."""
    cols, length = job.cols, line_pitch(job)
    for plane in range(job.planes):
        source = offset(pointer(job.x, scratch), plane * job.plane)
        for k in range(3):
            line = offset(pixels, k * length)
            row = (i - 1 + k) % job.rows
            copy_row(carray(offset(source, row * job.pitch), cols), carray(line, cols))
            close(line, cols)
        for k in range(job.differences):
            out = offset(changes, (plane * DIFFERENCES + k) * length)
            difference(k, pixels, offset(pixels, length), offset(pixels, 2 * length), cols, out)
            if job.gradient:
                mask = offset(pointer(job.masks, scratch), mask_of(job, k, i) * job.pitch)
                multiply_row(carray(mask, cols), carray(out, cols))


@inlined
def update_differences(
    job, i, own, pixels, changes, split_rows, last_rows, reflected, magnitudes, shares, combined, sums, scratch
):
    """One row of the z-update of all differences; ``2 u - v`` goes to lines of `reflected`."""
    cols, length, planes = job.cols, line_pitch(job), job.planes
    unit, relax, keep = real(job.unit, scratch), real(job.relax, scratch), real(job.keep, scratch)
    groups = integers(job.groups)
    squares, taken = carray(magnitudes, cols), carray(shares, cols)
    old, new = (
        offset(pointer(job.split, scratch), i * job.pitch),
        offset(pointer(job.split_next, scratch), i * job.pitch),
    )
    next_plane, next_difference, lines = job.plane, planes * job.plane, DIFFERENCES * length
    all_differences(job, i, pixels, changes, scratch)
    if job.observed != 0:
        combine_masks(job, i, combined, scratch)
    for group in range(job.group_count):
        first, end = groups[group], groups[group + 1]
        second = first >= FIRSTS
        # Squares and what shrinkage makes of them: of the last v, of the next, and of L x for its costs.
        for stage in range(3 if own else 2):
            threshold = job.second_threshold if second else job.threshold
            values, pitch_plane, pitch_difference = split_rows, lines, length
            if stage == 0:
                threshold = job.second_threshold_before if second else job.threshold_before
                values, pitch_plane, pitch_difference = old, next_plane, next_difference
            elif stage == 2:
                values = changes
            group_squares(job, i, first, end, values, pitch_plane, pitch_difference, combined, squares, scratch)
            what = COSTS if stage == 2 else SHARES
            cost = call_shrink(job.shrink, what, magnitudes, shares, cols, threshold)
            if stage == 2:
                sums[ROUGHNESS] += job.factor * cost if second else cost
                break
            for plane in range(planes):
                for k in range(first, end):
                    mask = mask_line(job, plane, k, i, combined, scratch)
                    at, at_split = plane * lines + k * length, plane * next_plane + k * next_difference
                    if stage == 0:
                        relax_row(
                            carray(offset(old, at_split), cols), taken, carray(mask, cols),
                            carray(offset(changes, at), cols), keep, relax,
                            carray(offset(split_rows, at), cols), carray(offset(last_rows, at), cols),
                        )  # fmt: skip
                        continue
                    out = offset(reflected, at)
                    a, b, c, d, e = reflect_row(
                        carray(offset(split_rows, at), cols), carray(offset(last_rows, at), cols), taken,
                        carray(mask, cols), carray(offset(changes, at), cols), unit, carray(out, cols),
                    )  # fmt: skip
                    if job.gradient:
                        subtract_from_row(carray(offset(changes, at), cols), carray(out, cols))
                    close(out, cols)
                    if own:
                        sums[5] += a
                        sums[6] += b
                        sums[7] += c
                        sums[8] += d
                        sums[9] += e
                        copy_row(carray(offset(split_rows, at), cols), carray(offset(new, at_split), cols))


@inlined
def adjoint_row(job, i, plane, above, here, below, out, scratch):
    """Row i of the adjoint of the reflected differences, and of the copy, times their penalties."""
    cols, length = job.cols, line_pitch(job)
    at, row, unit = plane * DIFFERENCES * length, carray(out, cols), job.rhs_unit
    a, b, c = offset(above, at), offset(here, at), offset(below, at)
    across = offset(b, length)
    adjoint_firsts(
        carray(a, cols), carray(b, cols), carray(offset(across, -1), cols), carray(across, cols),
        real(job.rho / unit, scratch), row,
    )  # fmt: skip
    if job.differences > FIRSTS:
        across, up, mixed = offset(b, 3 * length), offset(a, 4 * length), offset(b, 4 * length)
        down = 2 * length
        adjoint_seconds(
            carray(offset(a, down), cols), carray(offset(b, down), cols), carray(offset(c, down), cols),
            carray(offset(across, -1), cols), carray(across, cols), carray(offset(across, 1), cols),
            carray(offset(up, -1), cols), carray(up, cols), carray(offset(mixed, -1), cols), carray(mixed, cols),
            real(job.second_rho / unit, scratch), row,
        )  # fmt: skip
    if job.pixels:
        start = plane * job.plane + i * job.pitch
        split, reflected = (
            offset(pointer(job.pixels, scratch), start),
            offset(pointer(job.pixels_prox, scratch), start),
        )
        if job.gradient:
            x = carray(offset(pointer(job.x, scratch), start), cols)
            pixels_gradient(x, carray(split, cols), carray(reflected, cols), real(job.pixels_rho / unit, scratch), row)
        else:
            add_pixels(carray(split, cols), carray(reflected, cols), real(job.pixels_rho / unit, scratch), row)


@task(task_signature)
def z_update(address, scratch, tile):
    """Some rows of all planes: the next split variables, and the x-update's right-hand side as FFTs of rows."""
    job = read_admm(address)
    length, planes, pitch = line_pitch(job), job.planes, job.pitch
    first = tile * job.tile_rows
    rows = min(job.tile_rows, job.rows - first)
    sums = carray(doubles(job.sums + 8 * SUMS * tile), SUMS)
    sums[:] = 0.0
    each = planes * DIFFERENCES * length
    pixels = offset(scratch, MARGIN)
    changes, split_rows = offset(pixels, 3 * length), offset(pixels, 3 * length + each)
    last_rows, ring = offset(split_rows, each), offset(split_rows, 2 * each)
    magnitudes = offset(ring, 3 * each)
    shares = offset(magnitudes, length)
    combined = offset(shares, length)
    rhs = offset(scratch, job.rhs_at)
    data = offset(rhs, planes * job.tile_rows * pitch)
    # One row more at each end, for the adjoint reaches neighbouring rows.
    for i in range(first - 1, first + rows + 1):
        k = i - first + 1
        reflected = offset(ring, k % 3 * each)
        update_differences(
            job, i % job.rows, 0 < k <= rows, pixels, changes, split_rows, last_rows, reflected, magnitudes, shares,
            combined, sums, scratch,
        )  # fmt: skip
        if k >= 2:
            for plane in range(planes):
                adjoint_row(
                    job, i - 1, plane, offset(ring, (k - 2) % 3 * each), offset(ring, (k - 1) % 3 * each), reflected,
                    offset(rhs, (plane * job.tile_rows + k - 2) * pitch), scratch,
                )  # fmt: skip
    for plane in range(planes):
        for i in range(rows):
            update_data(job, plane, first + i, offset(data, (plane * job.tile_rows + i) * pitch), sums, scratch)
    call_within(job.transforms, address, scratch, tile)
