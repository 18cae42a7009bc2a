"""Low-rank (Woodbury) boundary corrections of circulant matrices, one frequency a tile."""

import math

import numpy as np
from numba import carray

from ..runtime.tasks import jit, task
from .rows import restrict
from .simd import complexes, doubles, integers, offset
from .tiles import reader, task_signature

# Rounding of a pivot, in units of the products that it is a difference of.
ROUNDED = 1e-14
# A frequency's `taps` of the psf are at `kernels`, and `length` elements of the circulant's inverse, its first column,
# at `columns`, in complex128.  Tap u of row i of A that is taken away sees element ``at[i, u]`` of the `count`
# `pixels`, which are positions on the ring; `first` and `second` of them are the two whose difference is taken
# away, times `weight`.  The `rows` + 1 rows of W go to `out`.
ROOTS = np.dtype(
    [(name, np.intp) for name in ("kernels", "columns", "at", "pixels", "out")]
    + [(name, np.intp) for name in ("taps", "length", "rows", "count", "first", "second")]
    + [("weight", np.float64)],
    align=True,
)
read_roots = reader(ROOTS)


def room(rows: int, count: int) -> int:
    """Elements of scratch that `root` needs."""
    return 2 * (count * count + 2 * (rows + 1) * count + (rows + 1) ** 2)


@jit
def add_multiple(factor, source, row):
    """row += factor * source."""
    restrict()
    for j in range(row.size):
        row[j] += factor * source[j]


@jit
def inner(first, second):
    """Inner product of two rows, the second one conjugated."""
    total = 0j
    for j in range(first.size):
        total += first[j] * second[j].conjugate()
    return total


@task(task_signature)
def root(address, scratch, tile):
    """W of ``(C - R'R)^-1 = C^-1 + C^-1 W'W C^-1``, for rows R that live on few pixels.

    With B the circulant's inverse there and ``I - R B R' = L L'``, it is ``L^-1 R``.  Where no more is left of a
    pivot than rounding, its row stays as the circulant has it: what is divided by that would be noise, which the
    rows that follow multiply without bound.
    """
    job = read_roots(address)
    m, n, taps = job.count, job.rows + 1, job.taps
    kernel = offset(complexes(doubles(job.kernels)), tile * taps)
    column = offset(complexes(doubles(job.columns)), tile * job.length)
    at, pixels = integers(job.at), integers(job.pixels)
    w = offset(complexes(doubles(job.out)), tile * n * m)
    between = complexes(scratch)
    rows, left = offset(between, m * m), offset(between, m * m + n * m)
    gram = offset(left, n * m)
    for p in range(m):
        for q in range(m):
            apart = pixels[p] - pixels[q]
            between[p * m + q] = column[apart + job.length if apart < 0 else apart]
    for j in range(n * m):
        rows[j] = 0
        left[j] = 0
    for i in range(n - 1):
        for u in range(taps):
            rows[i * m + at[i * taps + u]] += kernel[taps - 1 - u]
    rows[(n - 1) * m + job.first] = job.weight
    rows[(n - 1) * m + job.second] -= job.weight
    for i in range(n):
        for p in range(m):
            if rows[i * m + p] != 0:
                add_multiple(rows[i * m + p], carray(offset(between, p * m), m), carray(offset(left, i * m), m))
    for i in range(n):
        for j in range(i + 1):
            total = inner(carray(offset(left, i * m), m), carray(offset(rows, j * m), m))
            gram[i * n + j] = (1.0 if i == j else 0.0) - total
    # The inverse's largest element is on its diagonal.
    taken = 0.0
    for u in range(taps):
        taken += abs(kernel[u])
    least = ROUNDED * max(1.0, between[0].real * max(taken, 2.0 * job.weight) ** 2)
    for i in range(n):
        for j in range(i):
            total = gram[i * n + j] - inner(carray(offset(gram, i * n), j), carray(offset(gram, j * n), j))
            gram[i * n + j] = total / gram[j * n + j].real
        total = gram[i * n + i] - inner(carray(offset(gram, i * n), i), carray(offset(gram, i * n), i))
        here = carray(offset(w, i * m), m)
        if total.real <= least:
            for j in range(i):
                gram[i * n + j] = 0
            gram[i * n + i] = 1
            for p in range(m):
                here[p] = 0
            continue
        gram[i * n + i] = math.sqrt(total.real)
        for p in range(m):
            here[p] = rows[i * m + p]
        for k in range(i):
            add_multiple(-gram[i * n + k], carray(offset(w, k * m), m), here)
        for p in range(m):
            here[p] /= gram[i * n + i].real


# For each frequency, `taps` of the psf are at `kernels`.  Tap u of changed row i of A sees element ``exact[i, u]`` of
# the `count` `pixels`, or none (below 0), where the circulant has it see ``ring[i, u]``.  The change of A^T A is at
# `change`, that of D^T D, times the ridge, at `laplacian`, in float64.  See `ROOTS` for `columns` and `length`.
CORRECTION = np.dtype(
    [(name, np.intp) for name in ("kernels", "columns", "exact", "ring", "pixels", "change", "laplacian", "out")]
    + [(name, np.intp) for name in ("taps", "length", "rows", "count")],
    align=True,
)
read_correction = reader(CORRECTION)


@jit
def add_gram(kernel, at, rows, taps, count, sign, out):
    """Add R'R, times `sign`, for sparse rows R with the psf's taps at the elements `at`."""
    for i in range(rows):
        for u in range(taps):
            p = at[i * taps + u]
            if p >= 0:
                factor = sign * kernel[taps - 1 - u].conjugate()
                for v in range(taps):
                    q = at[i * taps + v]
                    if q >= 0:
                        out[p * count + q] += factor * kernel[taps - 1 - v]


@task(task_signature)
def gram_change(address, scratch, tile):
    """The change of A^T A."""
    job = read_correction(address)
    kernel = offset(complexes(doubles(job.kernels)), tile * job.taps)
    out = offset(complexes(doubles(job.change)), tile * job.count * job.count)
    add_gram(kernel, integers(job.exact), job.rows, job.taps, job.count, 1.0, out)
    add_gram(kernel, integers(job.ring), job.rows, job.taps, job.count, -1.0, out)


@task(task_signature)
def correction(address, scratch, tile):
    """F of ``(C + E'GE)^-1 = C^-1 + C^-1 E'FE C^-1``: minus ``(1 + GB)^-1 G``, with B = E C^-1 E'; 0 if singular."""
    job = read_correction(address)
    m = job.count
    column = offset(complexes(doubles(job.columns)), tile * job.length)
    change = offset(complexes(doubles(job.change)), tile * m * m)
    out = offset(complexes(doubles(job.out)), tile * m * m)
    pixels, laplacian = integers(job.pixels), doubles(job.laplacian)
    # Rows of [1 + GB, G], then B.
    system = complexes(scratch)
    between = offset(system, 2 * m * m)
    for p in range(m):
        for q in range(m):
            apart = pixels[p] - pixels[q]
            between[p * m + q] = column[apart + job.length if apart < 0 else apart]
    for p in range(m):
        left, right = offset(system, 2 * p * m), offset(system, (2 * p + 1) * m)
        for q in range(m):
            left[q] = 1.0 if p == q else 0.0
            right[q] = change[p * m + q] + laplacian[p * m + q]
        for q in range(m):
            if right[q] != 0:
                add_multiple(right[q], carray(offset(between, q * m), m), carray(left, m))
    singular = False
    for k in range(m):
        best = k
        for i in range(k + 1, m):
            if abs(system[2 * i * m + k]) > abs(system[2 * best * m + k]):
                best = i
        if best != k:
            for j in range(k, 2 * m):
                system[2 * k * m + j], system[2 * best * m + j] = system[2 * best * m + j], system[2 * k * m + j]
        if abs(system[2 * k * m + k]) == 0.0:
            singular = True
            break
        inverse = 1.0 / system[2 * k * m + k]
        pivot_row = carray(offset(system, 2 * k * m + k), 2 * m - k)
        for i in range(k + 1, m):
            factor = system[2 * i * m + k]
            if factor != 0:
                add_multiple(-factor * inverse, pivot_row, carray(offset(system, 2 * i * m + k), 2 * m - k))
    if not singular:
        for back in range(m):
            k = m - 1 - back
            solution = carray(offset(system, (2 * k + 1) * m), m)
            for j in range(k + 1, m):
                if system[2 * k * m + j] != 0:
                    add_multiple(-system[2 * k * m + j], carray(offset(system, (2 * j + 1) * m), m), solution)
            inverse = 1.0 / system[2 * k * m + k]
            for j in range(m):
                solution[j] *= inverse
    for p in range(m):
        for q in range(m):
            total = system[(2 * p + 1) * m + q] + system[(2 * q + 1) * m + p].conjugate()
            out[p * m + q] = 0j if singular else -0.5 * total
