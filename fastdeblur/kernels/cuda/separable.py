"""Separable correlation (CUDA): valid, of one tile with a sum of products of columns and rows.

For each product the tile's window is first correlated down, from global memory, whose cache holds the rows that
pixels share; that lies in shared memory to be correlated across.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda

from .shapes import LANES, ROWS, SIMULATED, TILE_ROWS, columns, device

U = np.uint64
# Most taps across at once.
MOST = 8 if SIMULATED else 64


def make(dtype: Any) -> tuple[Any, int]:
    """The device function `separable`, see `direct.make`; `down` and `across` hold psfs x products x taps."""
    real = np.dtype(dtype).type
    cols = columns(dtype)
    tile_cols, wide = LANES * cols, LANES * cols + MOST
    size = TILE_ROWS * wide
    acc_size, down_size, across_size = ROWS * cols, 2 * ROWS, 2 * cols
    rows_u, cols_u, ahead_u, pitch, zero = map(U, (ROWS, cols, across_size, wide, 0))

    @device
    def pass_down(window, source, plane, taps, rows_at, cols_at, first, j0, width):
        """Columns `LANES` apart of the tile's rows that are the thread's."""
        tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
        for j in range(tx, width, LANES):
            col = cols_at[j0 + j] if j0 + j < cols_at.size else -1
            sums = cuda.local.array(ROWS, real)
            for r in range(ROWS):
                sums[r] = real(0)
            for u0 in range(0, taps.size, ROWS):
                ahead = cuda.local.array(down_size, real)
                for k in range(down_size):
                    at = first + u0 + k
                    row = rows_at[at] if at < rows_at.size else -1
                    ahead[k] = source[plane, row, col] if row >= 0 and col >= 0 else real(0)
                for k in range(ROWS):
                    tap = taps[u0 + k] if u0 + k < taps.size else real(0)
                    for r in range(ROWS):
                        sums[r] += tap * ahead[k + r]
            for r in range(ROWS):
                window[(ty * ROWS + r) * wide + j] = sums[r]

    @device
    def pass_across(acc, window, taps, v0, count, start):
        for v in range(zero, count, cols_u):
            for r in range(rows_u):
                ahead = cuda.local.array(across_size, real)
                at = start + r * pitch + v
                for k in range(ahead_u):
                    ahead[k] = window[at + k]
                for k in range(cols_u):
                    tap = taps[v0 + v + k] if v + k < count else real(0)
                    for c in range(cols_u):
                        acc[r * cols_u + c] += tap * ahead[c + k]

    @device
    def separable(window, source, plane, down, across, rows_at, cols_at, i0, j0):
        acc = cuda.local.array(acc_size, real)
        for k in range(acc_size):
            acc[k] = real(0)
        tx, ty, psf = cuda.threadIdx.x, cuda.threadIdx.y, plane % down.shape[0]
        taps = across.shape[2]
        for k in range(down.shape[1]):
            for v0 in range(0, taps, MOST):
                count = min(MOST, taps - v0)
                # Taps come in groups, the last of which may reach beyond them.
                width = tile_cols + (count + cols - 1) // cols * cols
                pass_down(window, source, plane, down[psf, k], rows_at, cols_at, i0 + ty * ROWS, j0 + v0, width)
                cuda.syncthreads()
                pass_across(acc, window, across[psf, k], U(v0), U(count), U(ty) * rows_u * pitch + U(tx) * cols_u)
                cuda.syncthreads()
        for r in range(ROWS):
            for c in range(cols):
                window[(ty * ROWS + r) * tile_cols + tx * cols + c] = acc[r * cols + c]
        cuda.syncthreads()

    return separable, size
