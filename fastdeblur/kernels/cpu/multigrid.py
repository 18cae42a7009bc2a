"""Multigrid V-cycle for the screened Poisson equation ``(c² + ridge DᵀD) x = b``, two passes a level.

Vertex-centred grids: a coarse pixel lies at every second pixel of an axis, interpolation is bilinear and
restriction its transpose.  One damped Jacobi step before and one after the coarse correction keep the cycle
symmetric and positive definite, as conjugate gradients need it, whatever the correction is multiplied by.  The first
starts from zero, so it is not stored: `restrict_residual` and `correct` compute it where they need it.
"""

import math

import numpy as np
from numba import carray

from ..runtime.tasks import inlined, jit, task
from .rows import clear_row
from .simd import offset, pointer, real
from .tiles import reader, task_signature

# Rows a tile: of the coarse grid, and of the fine one.
COARSE_ROWS, FINE_ROWS = 8, 16
# Elements before a line: there is the neighbour to the left of the first pixel.
MARGIN = 16
# Lines of scratch.
LINES = 8

# `right` and `squares` (c²) are planes of `rows` x `cols`; so is `out`.  `coarse_*` are those of the next grid.
# `down` and `across` weigh the differences of neighbours; `factor` multiplies the coarse correction.  On the finest
# grid (`finest`) the right-hand side and the result are multiplied by sqrt(1 - c), and the result is added to `out`.
LEVEL = np.dtype(
    [(name, np.intp) for name in ("right", "squares", "out", "rows", "cols", "planes", "pitch", "finest")]
    + [(name, np.intp) for name in ("coarse_right", "coarse", "coarse_rows", "coarse_cols")]
    + [(name, np.float64) for name in ("down", "across", "damping", "factor")],
    align=True,
)
read_level = reader(LEVEL)


@jit
def start_row(right, squares, finest, vertical, across, damping, weighed, x):
    """The right-hand side, and the first Jacobi step from zero; `x` has the columns' neighbours beside it."""
    n = right.size
    one = x.dtype.type(1)
    for j in range(n):
        value = right[j]
        if finest:
            value *= math.sqrt(max(one - math.sqrt(squares[j]), one - one))
        weighed[j] = value
        x[j] = damping * value / (squares[j] + vertical + across + across)
    if n == 1:
        x[0] = damping * weighed[0] / (squares[0] + vertical)
    else:
        x[0] = damping * weighed[0] / (squares[0] + vertical + across)
        x[n - 1] = damping * weighed[n - 1] / (squares[n - 1] + vertical + across)


@jit
def residual_row(weighed, squares, above, here, below, left, right, down, across, out):
    """Right-hand side less the operator applied to x."""
    for j in range(out.size):
        x = here[j]
        differences = down * ((x - above[j]) + (x - below[j])) + across * ((x - left[j]) + (x - right[j]))
        out[j] = weighed[j] - squares[j] * x - differences


@inlined
def begin_row(job, plane, i, line_weighed, line_x, scratch):
    """The first Jacobi step in row i of a plane, its neighbours beyond the border included."""
    at = (plane * job.rows + i) * job.cols
    neighbours = (1.0 if i > 0 else 0.0) + (1.0 if i + 1 < job.rows else 0.0)
    n = job.cols
    start_row(
        carray(offset(pointer(job.right, scratch), at), n), carray(offset(pointer(job.squares, scratch), at), n),
        job.finest, real(job.down * neighbours, scratch), real(job.across, scratch), real(job.damping, scratch),
        carray(line_weighed, n), carray(line_x, n),
    )  # fmt: skip


@jit
def close(line, n):
    """The neighbours of the first and last pixel are these themselves."""
    line[-1] = line[0]
    line[n] = line[n - 1]


@inlined
def residual_of(job, plane, i, above, here, below, weighed, out, scratch):
    """The residual in row i, from three rows of x; rows beyond the border are the row itself."""
    n = job.cols
    squares = offset(pointer(job.squares, scratch), (plane * job.rows + i) * n)
    up, low = (above if i > 0 else here), (below if i + 1 < job.rows else here)
    residual_row(
        carray(weighed, n), carray(squares, n), carray(up, n), carray(here, n), carray(low, n),
        carray(offset(here, -1), n), carray(offset(here, 1), n),
        real(job.down, scratch), real(job.across, scratch), carray(out, n),
    )  # fmt: skip


@jit
def halve_row(fine, weight, coarse):
    """Add a row times a weight to a coarse one, by the transpose of the interpolation."""
    n, count = fine.size, coarse.size
    half = fine.dtype.type(0.5)
    if n == 1:
        coarse[0] += weight * fine[0]
        return
    for j in range(count):
        coarse[j] += weight * fine[2 * j]
    for j in range((n - 1) // 2):
        part = half * weight * fine[2 * j + 1]
        coarse[j] += part
        coarse[j + 1] += part
    if n % 2 == 0:
        coarse[count - 1] += weight * fine[n - 1]


@jit
def interpolate_row(coarse, weight, fine):
    """Add a coarse row's interpolation times a weight to a row."""
    n, count = fine.size, coarse.size
    half = fine.dtype.type(0.5)
    if n == 1:
        fine[0] += weight * coarse[0]
        return
    for j in range(count):
        fine[2 * j] += weight * coarse[j]
    for j in range((n - 1) // 2):
        fine[2 * j + 1] += half * weight * (coarse[j] + coarse[j + 1])
    if n % 2 == 0:
        fine[n - 1] += weight * coarse[count - 1]


@task(task_signature)
def restrict_residual(address, scratch, tile):
    """Some coarse rows: what the first Jacobi step leaves of the right-hand side."""
    job = read_level(address)
    tiles = -(-job.coarse_rows // COARSE_ROWS)
    plane, first = tile // tiles, tile % tiles * COARSE_ROWS
    n, pitch = job.cols, job.pitch
    lines = offset(scratch, MARGIN)
    out = offset(pointer(job.coarse_right, scratch), plane * job.coarse_rows * job.coarse_cols)
    for k in range(first, min(first + COARSE_ROWS, job.coarse_rows)):
        coarse = carray(offset(out, k * job.coarse_cols), job.coarse_cols)
        clear_row(coarse)
        centre = 2 * k if job.rows > 1 else 0
        for i in range(max(centre - 1, 0), min(centre + 2, job.rows)):
            for d in range(-1, 2):
                if 0 <= i + d < job.rows:
                    begin_row(
                        job, plane, i + d, offset(lines, (5 if d == 0 else 6) * pitch),
                        offset(lines, (1 + d) * pitch), scratch,
                    )  # fmt: skip
            here = offset(lines, pitch)
            close(here, n)
            residual = offset(lines, 3 * pitch)
            residual_of(
                job, plane, i, lines, here, offset(lines, 2 * pitch), offset(lines, 5 * pitch), residual, scratch
            )
            # The last row of an even number has no coarse one below it.
            weight = 1.0 if i == centre or (i > centre and centre + 2 >= job.rows) else 0.5
            halve_row(carray(residual, n), real(weight, scratch), coarse)


@inlined
def corrected_row(job, plane, i, weighed, x, scratch):
    """Row i of the first Jacobi step, and the coarse correction."""
    begin_row(job, plane, i, weighed, x, scratch)
    if job.coarse_rows > 0:
        coarse = offset(pointer(job.coarse, scratch), plane * job.coarse_rows * job.coarse_cols)
        first = i // 2
        second = min(first + i % 2, job.coarse_rows - 1)
        half, cols = real(0.5 * job.factor, scratch), job.coarse_cols
        interpolate_row(carray(offset(coarse, first * cols), cols), half, carray(x, job.cols))
        interpolate_row(carray(offset(coarse, second * cols), cols), half, carray(x, job.cols))
    close(x, job.cols)


@jit
def finish_row(x, residual, squares, vertical, across, damping, finest, out):
    """The last Jacobi step; on the finest grid, added to the result in its share."""
    n = out.size
    one, two = x.dtype.type(1), x.dtype.type(2)
    for j in range(n):
        sides = two if 0 < j < n - 1 else (one if n > 1 else two - two)
        value = x[j] + damping * residual[j] / (squares[j] + vertical + across * sides)
        if finest:
            out[j] += value * math.sqrt(max(one - math.sqrt(squares[j]), one - one))
        else:
            out[j] = value


@task(task_signature)
def correct(address, scratch, tile):
    """Some rows: the first Jacobi step, the coarse correction, and the last step."""
    job = read_level(address)
    tiles = -(-job.rows // FINE_ROWS)
    plane, first = tile // tiles, tile % tiles * FINE_ROWS
    last = min(first + FINE_ROWS, job.rows)
    n, pitch = job.cols, job.pitch
    lines = offset(scratch, MARGIN)
    residual = offset(lines, 6 * pitch)
    for i in range(max(first - 1, 0), min(last + 1, job.rows)):
        corrected_row(job, plane, i, offset(lines, (3 + i % 3) * pitch), offset(lines, i % 3 * pitch), scratch)
        # The row before now has both its neighbours; the last one of the plane has but the one above it.
        for k in range(i - 1, i + (1 if i + 1 == job.rows else 0)):
            if first <= k < last:
                at = (plane * job.rows + k) * n
                here = offset(lines, k % 3 * pitch)
                residual_of(
                    job, plane, k, offset(lines, (k + 2) % 3 * pitch), here, offset(lines, (k + 1) % 3 * pitch),
                    offset(lines, (3 + k % 3) * pitch), residual, scratch,
                )  # fmt: skip
                neighbours = (1.0 if k > 0 else 0.0) + (1.0 if k + 1 < job.rows else 0.0)
                finish_row(
                    carray(here, n), carray(residual, n), carray(offset(pointer(job.squares, scratch), at), n),
                    real(job.down * neighbours, scratch), real(job.across, scratch), real(job.damping, scratch),
                    job.finest, carray(offset(pointer(job.out, scratch), at), n),
                )  # fmt: skip
