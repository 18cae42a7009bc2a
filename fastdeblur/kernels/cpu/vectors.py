"""Sweeps of the exact solver: inner products of images and of their differences, and updates.

Images here are planes of rows without gaps.  A tile is some rows of one plane.  All sums are float64,
products included: what the solver finds out from them are small differences.
"""

import numpy as np
from numba import carray

from ..runtime.tasks import jit, task
from .rows import restrict
from .simd import doubles, offset, pointer, real
from .tiles import reader, task_signature

ROWS = 16
SUMS = 16

# Addresses of images, which a task reads or changes.  `a`, `b`, `c` are factors.
SWEEP = np.dtype(
    [(name, np.intp) for name in ("first", "second", "third", "fourth", "rows", "cols", "sums")]
    + [(name, np.float64) for name in ("a", "b", "c")],
    align=True,
)
read_sweep = reader(SWEEP)


@jit
def rows_of(sweep, tile):
    """Element at which a tile begins, its rows, and the first of them within the plane."""
    tiles = -(-sweep.rows // ROWS)
    plane, first = tile // tiles, tile % tiles * ROWS
    return (plane * sweep.rows + first) * sweep.cols, min(ROWS, sweep.rows - first), first


@jit
def sums_of(sweep, tile):
    """The tile's own partial sums."""
    return carray(doubles(sweep.sums + 8 * SUMS * tile), SUMS)


@jit
def products_row(a, b, c, d):
    """Inner products of four rows with each other."""
    aa = ab = ac = ad = bb = bc = bd = cc = cd = dd = 0.0
    for j in range(a.size):
        s, t, u, v = float(a[j]), float(b[j]), float(c[j]), float(d[j])
        aa += s * s
        ab += s * t
        ac += s * u
        ad += s * v
        bb += t * t
        bc += t * u
        bd += t * v
        cc += u * u
        cd += u * v
        dd += v * v
    return aa, ab, ac, ad, bb, bc, bd, cc, cd, dd


@task(task_signature)
def products(address, scratch, tile):
    """Sums: the ten inner products of four images."""
    sweep = read_sweep(address)
    start, rows, _ = rows_of(sweep, tile)
    n = rows * sweep.cols
    a, b = offset(pointer(sweep.first, scratch), start), offset(pointer(sweep.second, scratch), start)
    c, d = offset(pointer(sweep.third, scratch), start), offset(pointer(sweep.fourth, scratch), start)
    sums = sums_of(sweep, tile)
    (
        sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6], sums[7], sums[8], sums[9],
    ) = products_row(carray(a, n), carray(b, n), carray(c, n), carray(d, n))  # fmt: skip


@jit
def difference_products_row(a, b, c, a_next, b_next, c_next):
    """Inner products of the differences between two runs of three images."""
    aa = ab = ac = bb = bc = cc = 0.0
    for j in range(a.size):
        s, t, u = float(a_next[j] - a[j]), float(b_next[j] - b[j]), float(c_next[j] - c[j])
        aa += s * s
        ab += s * t
        ac += s * u
        bb += t * t
        bc += t * u
        cc += u * u
    return aa, ab, ac, bb, bc, cc


@task(task_signature)
def difference_products(address, scratch, tile):
    """Sums: the six inner products of the differences D of three images."""
    sweep = read_sweep(address)
    start, rows, first = rows_of(sweep, tile)
    cols = sweep.cols
    sums = sums_of(sweep, tile)
    sums[:6] = 0.0
    for i in range(rows):
        at = start + i * cols
        a, b = offset(pointer(sweep.first, scratch), at), offset(pointer(sweep.second, scratch), at)
        c = offset(pointer(sweep.third, scratch), at)
        for step, n in ((1, cols - 1), (cols, cols if first + i + 1 < sweep.rows else 0)):
            aa, ab, ac, bb, bc, cc = difference_products_row(
                carray(a, n), carray(b, n), carray(c, n),
                carray(offset(a, step), n), carray(offset(b, step), n), carray(offset(c, step), n),
            )  # fmt: skip
            sums[0] += aa
            sums[1] += ab
            sums[2] += ac
            sums[3] += bb
            sums[4] += bc
            sums[5] += cc


@jit
def move_row(fresh, search_direction, here, a, b, c):
    """search_direction = a fresh + b search_direction; here = c here + search_direction."""
    restrict()
    for j in range(fresh.size):
        step = a * fresh[j] + b * search_direction[j]
        search_direction[j] = step
        here[j] = c * here[j] + step


@task(task_signature)
def move(address, scratch, tile):
    """The estimate (third) along a new direction made of the fresh one (first) and the last (second)."""
    sweep = read_sweep(address)
    start, rows, _ = rows_of(sweep, tile)
    n = rows * sweep.cols
    a, b = offset(pointer(sweep.first, scratch), start), offset(pointer(sweep.second, scratch), start)
    c = offset(pointer(sweep.third, scratch), start)
    factors = real(sweep.a, scratch), real(sweep.b, scratch), real(sweep.c, scratch)
    move_row(carray(a, n), carray(b, n), carray(c, n), factors[0], factors[1], factors[2])


@jit
def move_residual_row(fresh, search_direction, residual, image, a, b, c):
    """What `move_row` does to the estimate, done to A x - image; returns the sum of squares."""
    restrict()
    total = 0.0
    extra = c - fresh.dtype.type(1)
    for j in range(fresh.size):
        step = a * fresh[j] + b * search_direction[j]
        search_direction[j] = step
        misfit = c * residual[j] + extra * image[j] + step
        residual[j] = misfit
        total += float(misfit) * float(misfit)
    return total


@task(task_signature)
def move_residual(address, scratch, tile):
    """The residual (third) as the estimate moves; sum: its square."""
    sweep = read_sweep(address)
    start, rows, _ = rows_of(sweep, tile)
    n = rows * sweep.cols
    a, b = offset(pointer(sweep.first, scratch), start), offset(pointer(sweep.second, scratch), start)
    c, d = offset(pointer(sweep.third, scratch), start), offset(pointer(sweep.fourth, scratch), start)
    factors = real(sweep.a, scratch), real(sweep.b, scratch), real(sweep.c, scratch)
    sums_of(sweep, tile)[0] = move_residual_row(
        carray(a, n), carray(b, n), carray(c, n), carray(d, n), factors[0], factors[1], factors[2]
    )


@jit
def eigenvalues(here, up, down, left, right, j):
    """A pixel of D^T D x.  A neighbour beyond the border is the pixel itself."""
    return (here[j] - up[j]) + (here[j] - down[j]) + (here[j] - left[j]) + (here[j] - right[j])


@jit
def gradient_row(data, here, up, down, left, right):
    """Sums of squares of A^T r, of D^T D x and of D x, and of the product of the first two."""
    dd = dp = pp = xx = 0.0
    for j in range(data.size):
        prior = float(eigenvalues(here, up, down, left, right, j))
        below, beside = float(down[j] - here[j]), float(right[j] - here[j])
        xx += below * below + beside * beside
        dd += float(data[j]) * float(data[j])
        dp += float(data[j]) * prior
        pp += prior * prior
    return dd, dp, pp, xx


@jit
def combine_row(data, here, up, down, left, right, ridge):
    """data += ridge D^T D x; returns its sum of squares."""
    restrict()
    total = 0.0
    for j in range(data.size):
        data[j] += ridge * eigenvalues(here, up, down, left, right, j)
        total += float(data[j]) * float(data[j])
    return total


@jit
def around(sweep, i, first):
    """Steps from a row to those above and below it, 0 where there is none."""
    return -sweep.cols if first + i > 0 else 0, sweep.cols if first + i + 1 < sweep.rows else 0


@jit
def part_of(cols, part):
    """The first column, what lies between, and the last: where, how many, and steps to left and right."""
    if part == 0:
        return 0, 1, 0, min(cols - 1, 1)
    if part == 1:
        return 1, max(cols - 2, 0), -1, 1
    return cols - 1, min(cols - 1, 1), -1, 0


@task(task_signature)
def gradient_sums(address, scratch, tile):
    """Sums for A^T r (first) and the estimate (second), see `gradient_row`."""
    sweep = read_sweep(address)
    start, rows, first = rows_of(sweep, tile)
    cols = sweep.cols
    sums = sums_of(sweep, tile)
    sums[:4] = 0.0
    for i in range(rows):
        data = offset(pointer(sweep.first, scratch), start + i * cols)
        x = offset(pointer(sweep.second, scratch), start + i * cols)
        up, down = around(sweep, i, first)
        for part in range(3):
            at, n, left, right = part_of(cols, part)
            pixel = offset(x, at)
            dd, dp, pp, xx = gradient_row(
                carray(offset(data, at), n), carray(pixel, n),
                carray(offset(pixel, up), n), carray(offset(pixel, down), n),
                carray(offset(pixel, left), n), carray(offset(pixel, right), n),
            )  # fmt: skip
            sums[0] += dd
            sums[1] += dp
            sums[2] += pp
            sums[3] += xx


@task(task_signature)
def combine(address, scratch, tile):
    """A^T r (first) += a D^T D x (second); sum: its square."""
    sweep = read_sweep(address)
    start, rows, first = rows_of(sweep, tile)
    cols = sweep.cols
    ridge = real(sweep.a, scratch)
    sums = sums_of(sweep, tile)
    sums[0] = 0.0
    for i in range(rows):
        data = offset(pointer(sweep.first, scratch), start + i * cols)
        x = offset(pointer(sweep.second, scratch), start + i * cols)
        up, down = around(sweep, i, first)
        for part in range(3):
            at, n, left, right = part_of(cols, part)
            pixel = offset(x, at)
            sums[0] += combine_row(
                carray(offset(data, at), n), carray(pixel, n),
                carray(offset(pixel, up), n), carray(offset(pixel, down), n),
                carray(offset(pixel, left), n), carray(offset(pixel, right), n), ridge,
            )  # fmt: skip


@jit
def add_and_multiply_row(out, added, other, factor):
    """out += factor added; returns its inner product with another."""
    restrict()
    total = 0.0
    for j in range(out.size):
        out[j] += factor * added[j]
        total += float(out[j]) * float(other[j])
    return total


@task(task_signature)
def add_and_multiply(address, scratch, tile):
    """First += a second; sum: its inner product with the third."""
    sweep = read_sweep(address)
    start, rows, _ = rows_of(sweep, tile)
    n = rows * sweep.cols
    sums_of(sweep, tile)[0] = add_and_multiply_row(
        carray(offset(pointer(sweep.first, scratch), start), n),
        carray(offset(pointer(sweep.second, scratch), start), n),
        carray(offset(pointer(sweep.third, scratch), start), n), real(sweep.a, scratch),
    )  # fmt: skip


@jit
def add_and_square_row(out, added, factor):
    """out += factor added; returns its square."""
    restrict()
    total = 0.0
    for j in range(out.size):
        out[j] += factor * added[j]
        total += float(out[j]) * float(out[j])
    return total


@task(task_signature)
def add_and_square(address, scratch, tile):
    """First += a second; sum: its square."""
    sweep = read_sweep(address)
    start, rows, _ = rows_of(sweep, tile)
    n = rows * sweep.cols
    sums_of(sweep, tile)[0] = add_and_square_row(
        carray(offset(pointer(sweep.first, scratch), start), n),
        carray(offset(pointer(sweep.second, scratch), start), n),
        real(sweep.a, scratch),
    )  # fmt: skip


@jit
def scaled_sum_row(first, second, out, factor):
    """out = first + factor second."""
    restrict()
    for j in range(out.size):
        out[j] = first[j] + factor * second[j]


@task(task_signature)
def scaled_sum(address, scratch, tile):
    """Third = first + a second."""
    sweep = read_sweep(address)
    start, rows, _ = rows_of(sweep, tile)
    n = rows * sweep.cols
    scaled_sum_row(
        carray(offset(pointer(sweep.first, scratch), start), n),
        carray(offset(pointer(sweep.second, scratch), start), n),
        carray(offset(pointer(sweep.third, scratch), start), n), real(sweep.a, scratch),
    )  # fmt: skip


@jit
def multiply_rows(first, second):
    """Inner products of two rows, and their squares."""
    total = first_square = second_square = 0.0
    for j in range(first.size):
        a, b = float(first[j]), float(second[j])
        total += a * b
        first_square += a * a
        second_square += b * b
    return total, first_square, second_square


@task(task_signature)
def inner_products(address, scratch, tile):
    """Sums: the inner product of the first and the second, and the square of each."""
    sweep = read_sweep(address)
    start, rows, _ = rows_of(sweep, tile)
    n = rows * sweep.cols
    sums = sums_of(sweep, tile)
    sums[0], sums[1], sums[2] = multiply_rows(
        carray(offset(pointer(sweep.first, scratch), start), n),
        carray(offset(pointer(sweep.second, scratch), start), n),
    )  # fmt: skip


@jit
def periodic_neighbours(sweep, i, first, part):
    """As `around` and `part_of`, of a periodic image."""
    whole = (sweep.rows - 1) * sweep.cols
    up, down = (-sweep.cols if first + i > 0 else whole), (sweep.cols if first + i + 1 < sweep.rows else -whole)
    at, n, left, right = part_of(sweep.cols, part)
    if part == 0:
        left = sweep.cols - 1
    elif part == 2:
        right = 1 - sweep.cols
    return up, down, at, n, left, right


@task(task_signature)
def periodic_gradient_sums(address, scratch, tile):
    """`gradient_sums` of a periodic image."""
    sweep = read_sweep(address)
    start, rows, first = rows_of(sweep, tile)
    sums = sums_of(sweep, tile)
    sums[:4] = 0.0
    for i in range(rows):
        for part in range(3):
            up, down, at, n, left, right = periodic_neighbours(sweep, i, first, part)
            here = start + i * sweep.cols + at
            pixel = offset(pointer(sweep.second, scratch), here)
            dd, dp, pp, xx = gradient_row(
                carray(offset(pointer(sweep.first, scratch), here), n), carray(pixel, n),
                carray(offset(pixel, up), n), carray(offset(pixel, down), n),
                carray(offset(pixel, left), n), carray(offset(pixel, right), n),
            )  # fmt: skip
            sums[0] += dd
            sums[1] += dp
            sums[2] += pp
            sums[3] += xx


@task(task_signature)
def periodic_combine(address, scratch, tile):
    """`combine` of a periodic image."""
    sweep = read_sweep(address)
    start, rows, first = rows_of(sweep, tile)
    ridge = real(sweep.a, scratch)
    sums = sums_of(sweep, tile)
    sums[0] = 0.0
    for i in range(rows):
        for part in range(3):
            up, down, at, n, left, right = periodic_neighbours(sweep, i, first, part)
            here = start + i * sweep.cols + at
            pixel = offset(pointer(sweep.second, scratch), here)
            sums[0] += combine_row(
                carray(offset(pointer(sweep.first, scratch), here), n), carray(pixel, n),
                carray(offset(pixel, up), n), carray(offset(pixel, down), n),
                carray(offset(pixel, left), n), carray(offset(pixel, right), n), ridge,
            )  # fmt: skip


@task(task_signature)
def periodic_difference_products(address, scratch, tile):
    """`difference_products` of periodic images."""
    sweep = read_sweep(address)
    start, rows, first = rows_of(sweep, tile)
    cols = sweep.cols
    sums = sums_of(sweep, tile)
    sums[:6] = 0.0
    for i in range(rows):
        _, down, _, _, _, _ = periodic_neighbours(sweep, i, first, 1)
        for begin, step, n in ((0, 1, cols - 1), (cols - 1, 1 - cols, 1), (0, down, cols)):
            here = start + i * cols + begin
            a, b = offset(pointer(sweep.first, scratch), here), offset(pointer(sweep.second, scratch), here)
            c = offset(pointer(sweep.third, scratch), here)
            aa, ab, ac, bb, bc, cc = difference_products_row(
                carray(a, n), carray(b, n), carray(c, n),
                carray(offset(a, step), n), carray(offset(b, step), n), carray(offset(c, step), n),
            )  # fmt: skip
            sums[0] += aa
            sums[1] += ab
            sums[2] += ac
            sums[3] += bb
            sums[4] += bc
            sums[5] += cc


# What sweeps do of periodic images instead.  (With a flag in them, the last bits of the others changed.)
PERIODIC = {
    difference_products: periodic_difference_products,
    gradient_sums: periodic_gradient_sums,
    combine: periodic_combine,
}
