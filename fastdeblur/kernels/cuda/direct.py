"""Direct correlation (CUDA): valid, of one tile with the psf itself.

The tile's window lies in shared memory, as do the weights of a part of the psf; each thread keeps its pixels in
registers.  (Per 128 multiplications and additions its inner loop issues 10 loads of 16 bytes and about 25 other
instructions; with scalar loads, indices that may be negative, or four rows a thread it is up to twice as many.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda

from .shapes import ALIGNED, ALIGNMENT, BAND, LANES, ROWS, THREADS, TILE_ROWS, WARPS, columns, device

# Indices that cannot be negative need no care for the end of an array.
U = np.uint64


def accumulator(dtype: Any, rows: int, wide: int, band: int) -> Any:
    """The device function ``accumulate(acc, window, weights, height, width, start)``.

    It adds to a thread's `rows` pixels below each other, and as many beside each other as fit in 16 bytes, the
    correlation of the window, whose rows are `wide` elements, from `start` on, with weights whose rows are `band`, so
    many of which are zeros behind `width` that they come in groups of as many as a thread has pixels beside each other.
    """
    real, cols = np.dtype(dtype).type, columns(dtype)
    ahead_size = 2 * cols
    rows_u, cols_u, ahead_u, pitch, band_u, zero, one = map(U, (rows, cols, ahead_size, wide, band, 0, 1))

    @device
    def accumulate(acc, window, weights, height, width, start):
        for v in range(zero, width, cols_u):
            for w in range(rows_u + height - one):
                ahead = cuda.local.array(ahead_size, real)
                at = start + w * pitch + v
                for k in range(ahead_u):
                    ahead[k] = window[at + k]
                for r in range(rows_u):
                    if r <= w and w < r + height:
                        t = (w - r) * band_u + v
                        for k in range(cols_u):
                            tap = weights[t + k]
                            for c in range(cols_u):
                                acc[r * cols_u + c] += tap * ahead[c + k]

    return accumulate


def make(dtype: Any) -> tuple[Any, int]:
    """The device function ``direct(window, source, plane, down, across, rows_at, cols_at, i0, j0)``.

    `source[plane]` is read at ``rows_at[i + u], cols_at[j + v]`` for the tile's pixel (i, j) and the weight (u, v) of
    `down`, zeros being where those are negative; `across` is not used.  `window` is shared memory, of so many
    elements as are returned too; in the end it begins with the tile, row by row without gaps, for all threads to
    see.  (Handed back in the thread's own registers, they would not stay there: an epilogue's loops are not unrolled.)
    """
    real = np.dtype(dtype).type
    cols = columns(dtype)
    tile_cols, wide = LANES * cols, LANES * cols + BAND
    size, weights_size = (TILE_ROWS + BAND - 1) * wide, BAND * BAND
    acc_size = ROWS * cols
    rows_u, cols_u, pitch = map(U, (ROWS, cols, wide))
    accumulate = accumulator(dtype, ROWS, wide, BAND)

    @device
    def direct(window, source, plane, down, across, rows_at, cols_at, i0, j0):
        weights = cuda.shared.array(weights_size, real, ALIGNMENT) if ALIGNED else cuda.shared.array(weights_size, real)
        acc = cuda.local.array(acc_size, real)
        for k in range(acc_size):
            acc[k] = real(0)
        tx, ty, psf = cuda.threadIdx.x, cuda.threadIdx.y, plane % down.shape[0]
        taps_down, taps_across = down.shape[1], down.shape[2]
        for u0 in range(0, taps_down, BAND):
            for v0 in range(0, taps_across, BAND):
                height, width = min(BAND, taps_down - u0), min(BAND, taps_across - v0)
                for i in range(ty, TILE_ROWS + height - 1, WARPS):
                    row = rows_at[i0 + u0 + i] if i0 + u0 + i < rows_at.size else -1
                    for j in range(tx, wide, LANES):
                        col = cols_at[j0 + v0 + j] if j0 + v0 + j < cols_at.size else -1
                        window[i * wide + j] = source[plane, row, col] if row >= 0 and col >= 0 else real(0)
                for k in range(tx + ty * LANES, weights_size, THREADS):
                    u, v = k // BAND, k % BAND
                    weights[k] = down[psf, u0 + u, v0 + v] if u < height and v < width else real(0)
                cuda.syncthreads()
                accumulate(acc, window, weights, U(height), U(width), U(ty) * rows_u * pitch + U(tx) * cols_u)
                cuda.syncthreads()
        for r in range(ROWS):
            for c in range(cols):
                window[(ty * ROWS + r) * tile_cols + tx * cols + c] = acc[r * cols + c]
        cuda.syncthreads()

    return direct, size
