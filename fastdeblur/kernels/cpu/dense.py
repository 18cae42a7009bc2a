"""Inverses of a few small dense matrices, and products, one a tile.

LAPACK would do, but the threads of its matrix products go on spinning after a call and keep the cores
from whoever comes next: a solve at 512 x 512 took three times as long.
"""

import numpy as np
from numba import carray

from ..runtime.tasks import jit, task
from .rows import restrict
from .simd import doubles, offset
from .tiles import reader, task_signature

# Symmetric positive definite matrices of `size` rows, at `matrices`, and as much memory as a row for each, in float64.
DENSE = np.dtype([(name, np.intp) for name in ("matrices", "columns", "size", "rows", "products")], align=True)
read_dense = reader(DENSE)


@jit
def add_multiple(factor, source, row):
    """row += factor * source."""
    restrict()
    for j in range(row.size):
        row[j] += factor * source[j]


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
def gram(address, scratch, tile):
    """The product of a matrix' transpose with it; most of its `rows` are mostly zeros."""
    job = read_dense(address)
    n = job.size
    matrix = offset(doubles(job.matrices), tile * job.rows * n)
    product = offset(doubles(job.products), tile * n * n)
    for k in range(job.rows):
        row = offset(matrix, k * n)
        for i in range(n):
            if row[i] != 0.0:
                add_multiple(row[i], carray(row, i + 1), carray(offset(product, i * n), i + 1))
    for i in range(n):
        for j in range(i):
            product[j * n + i] = product[i * n + j]
