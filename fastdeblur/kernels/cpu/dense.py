"""Inverses of symmetric positive definite matrices: small ones by the sweep operator, a large one by Cholesky's factor.

LAPACK would do, but its last digits depend on the number of threads of its matrix products, and those threads go on
spinning after a call and keep the cores from whoever comes next: a solve at 512 x 512 took three times as long.
"""

import math

import numpy as np
from numba import carray

from ..runtime.tasks import jit, task
from .rows import restrict
from .simd import doubles, offset
from .tiles import reader, task_signature

# Columns of a large matrix that are eliminated at once; its rows, and columns, a tile.
PIVOTS, ROWS, COLUMNS = 32, 8, 64
# Rows of a `gram` at once: they stay in the cache.
GRAM_ROWS = 16

# Symmetric positive definite matrices of `size` rows, at `matrices`, in float64.  `invert` needs memory of a row for
# each at `columns`.  Of a single large matrix, `count` columns from `first` on are eliminated at once; they are at
# `panel`, as rows, and the squares of the factor's diagonal at `pivots`.
DENSE = np.dtype(
    [(name, np.intp) for name in ("matrices", "columns", "size", "rows", "products")]
    + [(name, np.intp) for name in ("panel", "pivots", "first", "count")],
    align=True,
)
read_dense = reader(DENSE)


@jit
def add_multiple(factor, source, row):
    """row += factor * source."""
    restrict()
    for j in range(row.size):
        row[j] += factor * source[j]


@jit
def add_four(a, b, c, d, first, second, third, fourth, out):
    """Add four rows, each times its factor: `out` is read and written once."""
    restrict()
    for j in range(out.size):
        out[j] += a * first[j] + b * second[j] + c * third[j] + d * fourth[j]


@jit
def add_multiples(factors, count, rows, pitch, out):
    """out += the sum of `count` rows, each times its factor."""
    n, done = out.size, 0
    while done + 4 <= count:
        add_four(
            factors[done], factors[done + 1], factors[done + 2], factors[done + 3],
            carray(offset(rows, done * pitch), n), carray(offset(rows, (done + 1) * pitch), n),
            carray(offset(rows, (done + 2) * pitch), n), carray(offset(rows, (done + 3) * pitch), n), out,
        )  # fmt: skip
        done += 4
    for k in range(done, count):
        add_multiple(factors[k], carray(offset(rows, k * pitch), n), out)


@task(task_signature)
def invert(address, scratch, tile):
    """Turn a matrix into its inverse, in place, by sweeping each pivot; such matrices need no others [1]_.

    A swept matrix stays symmetric, so only its lower half is kept until the end.

    References
    ----------
    .. [1] J. H. Goodnight, "A tutorial on the SWEEP operator", The American Statistician 33, 1979.
    """
    job = read_dense(address)
    n = job.size
    matrix = offset(doubles(job.matrices), tile * n * n)
    column = offset(doubles(job.columns), tile * n)
    for k in range(n):
        inverse = 1.0 / matrix[k * n + k]
        for j in range(k):
            column[j] = matrix[k * n + j]
        for i in range(k, n):
            column[i] = matrix[i * n + k]
        for i in range(n):
            if i != k:
                add_multiple(-column[i] * inverse, carray(column, i + 1), carray(offset(matrix, i * n), i + 1))
        for j in range(k):
            matrix[k * n + j] = column[j] * inverse
        for i in range(k, n):
            matrix[i * n + k] = column[i] * inverse
        matrix[k * n + k] = -inverse
    for i in range(n):
        for j in range(i + 1):
            matrix[i * n + j] = -matrix[i * n + j]
            matrix[j * n + i] = matrix[i * n + j]


@task(task_signature)
def factor_block(address, scratch, tile):
    """Cholesky's factor of the block where the columns that are eliminated cross their rows, in place."""
    job = read_dense(address)
    n, first, count = job.size, job.first, job.count
    block, pivots = offset(doubles(job.matrices), first * n + first), offset(doubles(job.pivots), first)
    for i in range(count):
        row = offset(block, i * n)
        for k in range(i + 1):
            above, left = offset(block, k * n), row[k]
            for j in range(k):
                left -= row[j] * above[j]
            if k < i:
                row[k] = left / above[k]
            else:
                pivots[i], row[i] = left, math.sqrt(left)


@task(task_signature)
def factor_rows(address, scratch, tile):
    """The factor's elements below that block, in some rows."""
    job = read_dense(address)
    n, first, count = job.size, job.first, job.count
    matrix, panel = doubles(job.matrices), doubles(job.panel)
    for i in range(max(tile * ROWS, first + count), min(tile * ROWS + ROWS, n)):
        row = offset(matrix, i * n + first)
        for k in range(count):
            pivot_row, left = offset(matrix, (first + k) * n + first), row[k]
            for j in range(k):
                left -= row[j] * pivot_row[j]
            row[k] = panel[k * n + i] = left / pivot_row[k]


@task(task_signature)
def eliminate(address, scratch, tile):
    """What is left of some rows without those columns, up to the diagonal."""
    job = read_dense(address)
    n, first, count = job.size, job.first, job.count
    after = first + count
    for i in range(max(tile * ROWS, after), min(tile * ROWS + ROWS, n)):
        row = offset(doubles(job.matrices), i * n)
        for k in range(count):
            scratch[k] = -row[first + k]
        add_multiples(scratch, count, offset(doubles(job.panel), after), n, carray(offset(row, after), i + 1 - after))


@task(task_signature)
def invert_factor(address, scratch, tile):
    """Some columns of the factor's inverse, into zeros at `products`."""
    job = read_dense(address)
    n, first = job.size, tile * COLUMNS
    inverse, count = offset(doubles(job.products), first), min(COLUMNS, n - first)
    for i in range(first, n):
        row, out = offset(doubles(job.matrices), i * n), carray(offset(inverse, i * n), count)
        add_multiples(offset(row, first), i - first, offset(inverse, first * n), n, out)
        for j in range(count):
            out[j] = -out[j] / row[i]
        if i - first < count:
            out[i - first] = 1.0 / row[i]


@task(task_signature)
def multiply_factors(address, scratch, tile):
    """Some rows of the matrix' inverse, and the same columns, from the factor's inverse."""
    job = read_dense(address)
    n, matrix, inverse = job.size, doubles(job.matrices), doubles(job.products)
    for i in range(tile * ROWS, min(tile * ROWS + ROWS, n)):
        row = carray(offset(matrix, i * n), i + 1)
        for j in range(i + 1):
            row[j] = 0.0
        for k in range(i, n):
            scratch[k - i] = inverse[k * n + i]
        add_multiples(scratch, n - i, offset(inverse, i * n), n, row)
        for j in range(i):
            matrix[j * n + i] = row[j]


@task(task_signature)
def gram(address, scratch, tile):
    """Some rows of the product of a matrix' transpose with it; most of its `rows` are mostly zeros."""
    job = read_dense(address)
    n = job.size
    matrix, product = doubles(job.matrices), doubles(job.products)
    first, last = tile * GRAM_ROWS, min((tile + 1) * GRAM_ROWS, n)
    for k in range(job.rows):
        row = offset(matrix, k * n)
        for i in range(first, last):
            if row[i] != 0.0:
                add_multiple(row[i], carray(row, i + 1), carray(offset(product, i * n), i + 1))
    for i in range(first, last):
        for j in range(i):
            product[j * n + i] = product[i * n + j]
