"""Sums in a fixed order (CUDA): of a block's threads, then of blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda

from .shapes import ADDERS, THREADS, device, kernel

# Numbers that a block leaves room for.
SUMS = 16


def make(threads: int, most: int) -> Any:
    """The device function ``sums(values, count, partials, row)``, for blocks of `threads`, each with `most` values.

    It leaves the block's sums of `count` values of each thread at ``partials[row]``.  Every thread must call it.
    """
    size = threads * most

    @device
    def sums(values, count, partials, row):
        shared = cuda.shared.array(size, np.float64)
        me = cuda.threadIdx.x + cuda.threadIdx.y * cuda.blockDim.x
        for k in range(count):
            shared[k * threads + me] = values[k]
        cuda.syncthreads()
        half = threads // 2
        while half > 0:
            if me < half:
                for k in range(count):
                    shared[k * threads + me] += shared[k * threads + me + half]
            cuda.syncthreads()
            half //= 2
        if me == 0:
            for k in range(count):
                partials[row, k] = shared[k * threads]
        cuda.syncthreads()

    return sums


# Of a pass, of a sweep, and of the one block that adds up.
pass_sums = make(THREADS, 3)
block_sums = make(THREADS, SUMS)
adders_sums = make(ADDERS, SUMS)


@device
def add_up(partials, blocks, count, totals):
    """Sum over blocks, by one block of ADDERS threads; `totals` is ``(1, SUMS)``."""
    own = cuda.local.array(SUMS, np.float64)
    for k in range(count):
        own[k] = 0.0
    for block in range(cuda.threadIdx.x, blocks, ADDERS):
        for k in range(count):
            own[k] += partials[block, k]
    adders_sums(own, count, totals, 0)


@kernel
def total(partials, blocks, count, totals):
    """`add_up` as a kernel."""
    add_up(partials, blocks, count, totals)


@kernel
def total_of_each(partials, blocks, count, totals):
    """`add_up` by each block of the grid: of `blocks` partial sums of its own."""
    here = cuda.blockIdx.x
    add_up(partials[here * blocks : (here + 1) * blocks], blocks, count, totals[here : here + 1])
