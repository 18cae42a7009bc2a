"""Sums in a fixed order: of a block's threads, then of blocks."""

from __future__ import annotations

import numpy as np
from numba import cuda

from .shapes import ADDERS, THREADS, device, kernel

# Numbers a block leaves.
SUMS = 16


def _make(threads: int):
    @device
    def tree(values, count, partials, slot):
        """Leave the block's sums of `count` values of each thread at ``partials[slot]``; every thread calls this."""
        shared = cuda.shared.array(threads, np.float64)
        me = cuda.threadIdx.x + cuda.threadIdx.y * cuda.blockDim.x
        for k in range(count):
            shared[me] = values[k]
            cuda.syncthreads()
            half = threads // 2
            while half > 0:
                if me < half:
                    shared[me] += shared[me + half]
                cuda.syncthreads()
                half //= 2
            if me == 0:
                partials[slot, k] = shared[0]
            cuda.syncthreads()

    return tree


block_sums = _make(THREADS)
_adders_sums = _make(ADDERS)


@device
def add_up(partials, blocks, count, totals):
    """Sum over blocks, by one block of ADDERS threads; `totals` is ``(1, SUMS)``."""
    own = cuda.local.array(SUMS, np.float64)
    for k in range(count):
        own[k] = 0.0
    for block in range(cuda.threadIdx.x, blocks, ADDERS):
        for k in range(count):
            own[k] += partials[block, k]
    _adders_sums(own, count, totals, 0)


@kernel
def total(partials, blocks, count, totals):
    """`add_up` as a kernel."""
    add_up(partials, blocks, count, totals)
