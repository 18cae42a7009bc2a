"""Filters and potentials of a learned prior (CUDA): its value and gradient; the twin of `kernels.cpu.responses`.

A block has a tile of responses, and of the gradient what they are all of.  The image that they see lies in shared
memory; for one filter after another so do the potentials' slopes at its responses, whose adjoint each thread adds to
its pixels of the gradient, in registers.  What lies around the image needs no halo: tables say which pixel is read at
each position; the gradient is for all positions, to be folded.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numba import cuda

from .direct import U, accumulator
from .shapes import ALIGNED, ALIGNMENT, SIMULATED, columns, device, kernel
from .shapes import LANES as USUAL_LANES
from .shapes import ROWS as USUAL_ROWS
from .shapes import WARPS as USUAL_WARPS
from .sums import make

# A block's threads, and a thread's rows.  (A tile has to be larger than the filters.)
LANES, WARPS, ROWS = (4, 2, 8) if SIMULATED else (USUAL_LANES, USUAL_WARPS, USUAL_ROWS)
THREADS, TILE_ROWS = LANES * WARPS, ROWS * WARPS
# Of each filter a block leaves its potentials, and the sum of slope / response.
SUMS_OF_FILTER = 2

_filter_sums = make(THREADS, SUMS_OF_FILTER)


def blocks_of(size: int, dtype: Any, planes: int, rows: int, cols: int) -> tuple[int, int, int]:
    """Blocks for filters of that side and an image: across, down, planes."""
    reach = size - 1
    down, across = TILE_ROWS - reach, LANES * columns(dtype) - reach
    return -(-(cols + reach) // across), -(-(rows + reach) // down), planes


@functools.cache
def responses_of(size: int, dtype: Any) -> Any:
    """The kernel for filters of that side."""
    real = np.dtype(dtype).type
    cols, reach = columns(dtype), size - 1
    tile_cols, band = LANES * cols, -(-size // cols) * cols
    wide = tile_cols + band
    window_size, taps_size, acc_size = (TILE_ROWS + reach) * wide, size * band, ROWS * cols
    rows_u, cols_u, pitch, size_u = map(U, (ROWS, cols, wide, size))
    zero, one, largest = real(0), real(1), real(np.finfo(real).max / 4)
    accumulate = accumulator(dtype, ROWS, wide, band)

    @device
    def load(window, source, plane, rows_at, cols_at, i0, j0):
        """What the tile's responses see; positions before the first and behind the last are those of no response."""
        for i in range(cuda.threadIdx.y, TILE_ROWS + reach, WARPS):
            p = i0 + i
            row = rows_at[p] if p >= 0 and p < rows_at.size else -1
            for j in range(cuda.threadIdx.x, wide, LANES):
                q = j0 + j
                col = cols_at[q] if q >= 0 and q < cols_at.size else -1
                window[i * wide + j] = source[plane, row, col] if row >= 0 and col >= 0 else zero

    @device
    def keep(own, tile):
        """Put the thread's pixels where all see them.  (An epilogue's loops over registers are not unrolled.)"""
        for r in range(ROWS):
            for c in range(cols):
                tile[(cuda.threadIdx.y * ROWS + r) * wide + cuda.threadIdx.x * cols + c] = own[r * cols + c]

    @kernel
    def responses(source, rows_at, cols_at, filters, numbers, out, partials):
        """The gradient at each position, ``size - 1`` more rows and columns than the image has; sums of each filter."""
        if ALIGNED:
            window = cuda.shared.array(window_size, real, ALIGNMENT)
            slopes = cuda.shared.array(window_size, real, ALIGNMENT)
            taps = cuda.shared.array(taps_size, real, ALIGNMENT)
            flipped = cuda.shared.array(taps_size, real, ALIGNMENT)
        else:
            window = cuda.shared.array(window_size, real)
            slopes = cuda.shared.array(window_size, real)
            taps = cuda.shared.array(taps_size, real)
            flipped = cuda.shared.array(taps_size, real)
        gradient, sums = cuda.local.array(acc_size, real), cuda.local.array(SUMS_OF_FILTER, np.float64)
        tx, ty, plane = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.z
        me = tx + ty * LANES
        # Of the gradient, and of the responses.
        top, left = cuda.blockIdx.y * (TILE_ROWS - reach), cuda.blockIdx.x * (tile_cols - reach)
        i0, j0 = top - reach, left - reach
        rows, width = out.shape[1] - reach, out.shape[2] - reach
        load(window, source, plane, rows_at, cols_at, i0, j0)
        for k in range(me, window_size, THREADS):
            slopes[k] = zero
        for k in range(acc_size):
            gradient[k] = zero
        start = U(ty) * rows_u * pitch + U(tx) * cols_u
        blocks = cuda.gridDim.x * cuda.gridDim.y * cuda.gridDim.z
        block = (plane * cuda.gridDim.y + cuda.blockIdx.y) * cuda.gridDim.x + cuda.blockIdx.x
        for f in range(filters.shape[0]):
            for k in range(me, taps_size, THREADS):
                u, v = k // band, k % band
                taps[k] = filters[f, u, v] if v < size else zero
                flipped[k] = filters[f, size - 1 - u, size - 1 - v] if v < size else zero
            cuda.syncthreads()
            response = cuda.local.array(acc_size, real)
            for k in range(acc_size):
                response[k] = zero
            accumulate(response, window, taps, size_u, size_u, start)
            keep(response, slopes)
            cuda.syncthreads()
            value, share = zero, zero
            for i in range(ty, TILE_ROWS, WARPS):
                for j in range(tx, tile_cols, LANES):
                    here = i0 + i >= 0 and i0 + i < rows and j0 + j >= 0 and j0 + j < width
                    # Others are those of the blocks above, or on the left, too.
                    own = here and i >= reach and j >= reach
                    z, ratio = slopes[i * wide + j], zero
                    square = z * z
                    for m in range(numbers.shape[1]):
                        excess = numbers[f, m, 1] * square
                        excess = largest if excess > largest else excess
                        ratio += numbers[f, m, 0] / (one + excess)
                        if own:
                            value += numbers[f, m, 2] * real(math.log1p(excess))
                    if own:
                        share += ratio
                    slopes[i * wide + j] = z * ratio if here else zero
            sums[0], sums[1] = value, share
            _filter_sums(sums, SUMS_OF_FILTER, partials, f * blocks + block)
            accumulate(gradient, slopes, flipped, size_u, size_u, start)
            cuda.syncthreads()
        keep(gradient, slopes)
        cuda.syncthreads()
        for i in range(ty, min(TILE_ROWS - reach, out.shape[1] - top), WARPS):
            for j in range(tx, min(tile_cols - reach, out.shape[2] - left), LANES):
                out[plane, top + i, left + j] = slopes[i * wide + j]

    return responses
