"""Launch shapes (CUDA): how threads share an image; and the decorators of kernels.

A block computes a tile of ``ROWS * WARPS`` rows; a thread ROWS pixels below each other, and as many beside
each other as fit in 16 bytes: then shared memory is read 16 bytes at a time, without bank conflicts.
Where pixels are read and written in global memory, a thread's are `LANES` apart instead, so that a warp's
are next to each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import config, cuda

# Numba's simulator runs each thread of a block as a thread of Python's.
SIMULATED = bool(config.ENABLE_CUDASIM)
# Its shared arrays know no alignment.
ALIGNED = not SIMULATED
ALIGNMENT = 16

LANES, WARPS, ROWS = (2, 2, 2) if SIMULATED else (32, 4, 8)
THREADS = LANES * WARPS
TILE_ROWS = ROWS * WARPS
# Side of the largest part of a psf that a tile is correlated with at once.
BAND = 4 if SIMULATED else 16
# Threads of the one block that adds up what others left.
ADDERS = 4 if SIMULATED else 256
# Threads of blocks that go through a row.
LINE = 2 if SIMULATED else 256
# Rows a block of a sweep goes through.
STRIP = 8 if SIMULATED else 2


def columns(dtype: Any) -> int:
    """Pixels beside each other that a thread computes."""
    return 16 // int(np.dtype(dtype).itemsize)


def tiles(dtype: Any, planes: int, rows: int, cols: int) -> tuple[int, int, int]:
    """Blocks for an image: across, down, planes."""
    return -(-cols // (LANES * columns(dtype))), -(-rows // TILE_ROWS), planes


# Contracted products and sums, as on the CPU; NaN and infinity stay what they are.
kernel = cuda.jit
device = cuda.jit(device=True)
