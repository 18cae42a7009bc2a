"""Buffers: images with a halo around them, and the threads' scratch.

Everything that a kernel loads from or stores to is laid out here (or belongs to the caller), and
is as large as the kernel's whole vectors, register tiles and windows need.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..kernels.cpu.tiles import LINE, RUNS, SUMS
from ..kernels.runtime import memory
from ..kernels.runtime.memory import ALIGNMENT, up
from .paths import Filter
from .tiling import Blocks, Grid


class Scratch:
    """Memory that the threads of one launch work in, the queue they share and the sums they leave."""

    def __init__(self, grid: Grid, threads: int, filter_: Filter, extra: int, block: int = 0):
        self._grid, self.threads, self.tiles = grid, threads, grid.tiles
        self._pitch = filter_.out_cols(max(grid.tile_cols, filter_.most_cols if filter_.wide else 0))
        rows = filter_.out_rows(max(grid.tile_rows, filter_.most_rows if filter_.wide else 0))
        tile = rows * self._pitch
        self._memory, self._starts, self._stride = memory.arena(
            [tile, max(tile, block), filter_.work, extra], threads, filter_.dtype
        )
        self.queue = memory.zeros(RUNS + threads * LINE, np.intp)
        self.sums = memory.zeros(grid.tiles * SUMS, np.float64).reshape(grid.tiles, SUMS)
        self._first_sums = self.sums[:, 0]
        # Each thread's next tile, and the first of its run.
        self._next_tiles, self._first_tiles = self.queue[RUNS::LINE], self.tiles * np.arange(threads) // threads

    def describe(self, record: np.ndarray) -> None:
        """Enter the grid and the places in this scratch into a task's record."""
        grid = self._grid
        record["rows"], record["cols"] = grid.rows, grid.cols
        record["cuts_down"], record["cuts_across"] = grid.down.ctypes.data, grid.across.ctypes.data
        record["tiles_down"], record["tiles_across"] = len(grid.down) - 1, len(grid.across) - 1
        record["tile_pitch"] = self._pitch
        for name, start in zip(("block", "work", "extra"), self._starts[1:], strict=True):
            record[name] = start - self._starts[0]
        record["sums"] = self.sums.ctypes.data

    def describe_crew(self, crew: np.ndarray) -> None:
        """Enter the tiles, the queue and the threads' memory into a crew's record."""
        crew["tiles"], crew["queue"] = self.tiles, self.queue.ctypes.data
        crew["scratch"] = self._memory.ctypes.data + self._starts[0] * self._memory.itemsize
        crew["stride"] = self._stride

    def share(self) -> None:
        """Give each thread an even run of the tiles."""
        if self.threads == 1:  # small images have one, and for them this counts
            self.queue[RUNS] = 0
        else:
            self._next_tiles[...] = self._first_tiles

    def is_finite(self) -> bool:
        """Whether the first sum of each tile is."""
        if self.tiles == 1:
            return math.isfinite(self._first_sums[0])
        return bool(np.isfinite(self._first_sums).all())


class Buffer:
    """Planes of pixels with a halo of zeros, wide enough for `filter_` to read the windows of `blocks`."""

    def __init__(self, grid: Grid, filter_: Filter, blocks: Blocks):
        above, below = _reach(blocks[0], grid.rows, filter_.top, filter_.window_rows)
        left, right = _reach(blocks[1], grid.cols, filter_.left, filter_.window_cols)
        left = up(left, ALIGNMENT)
        self.pitch = up(left + grid.cols + right, ALIGNMENT)
        if self.pitch * filter_.dtype.itemsize % 4096 == 0:  # rows must not share their cache sets
            self.pitch += ALIGNMENT
        rows = above + grid.rows + below
        self.plane = rows * self.pitch
        self.memory = memory.zeros(grid.planes * self.plane, filter_.dtype).reshape(grid.planes, rows, self.pitch)
        self.top, self.left = above, left
        self.corner = filter_.top * self.pitch + filter_.left
        self.pixels = self.memory[:, above : above + grid.rows, left : left + grid.cols]

    @property
    def address(self) -> int:
        return int(self.pixels.ctypes.data)


def _reach(blocks: list[tuple[int, int]], size: int, lead: int, window: Any) -> tuple[int, int]:
    """How far windows reach before and after `size` pixels."""
    starts = [(at - lead, at - lead + window(count)) for at, count in blocks]
    return max(max(-begin for begin, _ in starts), 0), max(max(end for _, end in starts) - size, 0)
