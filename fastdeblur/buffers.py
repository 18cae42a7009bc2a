"""Where the pixels are: tiles, the threads' scratch, and image buffers with zeros around them.

Everything that a kernel loads from or stores to is laid out here (or belongs to the caller), and
is as large as the kernel's whole vectors and register tiles need.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .kernels.simd import RegisterShape, register_shape
from .kernels.tiles import FILTER, LINE, RUNS, SUMS

# Elements that vectors, rows of buffers and parts of scratch are aligned to: 64 bytes of float32.
ALIGNMENT = 16
# A tile's row of about 500 pixels, and its few rows, stay in the first two cache levels
# together with what a pass reads and writes beside them.
TILE_COLS = 500
TILE_ROWS = 32


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


def zeros(count: int, dtype: Any) -> np.ndarray:
    """`count` zeros that start on a cache line and fill whole ones."""
    itemsize = np.dtype(dtype).itemsize
    memory = np.zeros(_up(count * itemsize, 64) + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + count * itemsize].view(dtype)


class Filter:
    """One direction of the blur on one path: valid correlation with `weights`.

    Attributes
    ----------
    top, left : int
        How far the window reaches above and to the left of its tile.
    record : ndarray
        What the path reads, see ``kernels.tiles.FILTER``.
    work : int
        Elements of scratch that the path needs.
    cost : float
        Multiply-adds a pixel.
    """

    def __init__(self, weights: np.ndarray, top: int, left: int, path: str, parts: Any, tile_cols: int):
        self.top, self.left = top, left
        self.taps_down, self.taps_across = map(int, weights.shape)
        self._registers: RegisterShape = register_shape(weights.dtype)
        margin = self._registers.rows - 1
        if path == "separable":
            down, across = parts
            work_pitch = self.window_cols(tile_cols)
            self.work = len(down) * self._registers.rows * work_pitch
            self.cost = float(len(down) * (self.taps_down + self.taps_across))
            columns = np.pad(down, ((0, 0), (margin, margin)))
        else:
            across = np.zeros((1, 1))
            work_pitch = self.work = 0
            self.cost = float(weights.size)
            columns = np.pad(weights, ((margin, margin), (0, 0)))
        self.arrays = [zeros(part.size, weights.dtype) for part in (columns, across)]
        for array, part in zip(self.arrays, (columns, across), strict=True):
            array[:] = part.ravel()
        self.record = np.zeros((), FILTER)
        self.record["taps_down"], self.record["taps_across"] = weights.shape
        self.record["rank"] = len(across)
        self.record["down"], self.record["across"] = (array.ctypes.data for array in self.arrays)
        self.record["work_pitch"] = work_pitch

    @property
    def address(self) -> int:
        """Address of the record."""
        return int(self.record.ctypes.data)

    def window_rows(self, rows: int) -> int:
        """Rows that the path reads for a tile of `rows`."""
        return _up(rows, int(self._registers.rows)) + self.taps_down - 1

    def window_cols(self, cols: int) -> int:
        """Columns that the path reads for a tile of `cols`, whole vectors included."""
        width, reach = int(self._registers.width), self.taps_across - 1
        return max(_up(cols + reach, width), _up(cols, width) + reach)


@dataclass(frozen=True)
class Grid:
    """How planes of rows x cols are cut into tiles; depends on shape and dtype alone."""

    planes: int
    rows: int
    cols: int
    tile_rows: int
    tile_cols: int

    @classmethod
    def of(cls, planes: int, rows: int, cols: int, dtype: Any) -> Grid:
        registers = register_shape(dtype)
        widest = max(TILE_COLS // registers.width, 1) * registers.width
        across = -(-cols // widest)
        tile_cols = _up(-(-cols // across), registers.width)
        # A small image still gives every one of a few threads its share: a multiple of 8 tiles.
        down = -(-rows // TILE_ROWS)
        if planes * across * down < 64:
            down = _up(down, 8)
        tile_rows = _up(-(-rows // down), registers.rows)
        return cls(planes, rows, cols, tile_rows, tile_cols)

    @property
    def down(self) -> int:
        return -(-self.rows // self.tile_rows)

    @property
    def across(self) -> int:
        return -(-self.cols // self.tile_cols)

    @property
    def tiles(self) -> int:
        return self.planes * self.down * self.across

    def halo(self, filter_: Filter) -> tuple[int, int]:
        """Rows below and columns to the right of the image that `filter_` reads."""
        last_rows = self.rows - (self.down - 1) * self.tile_rows
        below = filter_.window_rows(last_rows) - filter_.top - last_rows
        right = max(
            j + filter_.window_cols(min(self.tile_cols, self.cols - j)) - filter_.left - self.cols
            for j in range(0, self.cols, self.tile_cols)
        )
        return below, max(right, 0)


def arena(parts: list[int], slots: int, dtype: Any) -> tuple[np.ndarray, list[int], int]:
    """Memory for `slots` times some parts, the first slot's offsets of them, and bytes from slot to slot."""
    starts = np.cumsum([0] + [_up(part, ALIGNMENT) for part in parts]).tolist()
    memory = zeros(slots * starts[-1], dtype)
    return memory, starts[:-1], starts[-1] * memory.itemsize


class Scratch:
    """Memory that the threads of one launch work in, the queue they share and the sums they leave."""

    def __init__(self, grid: Grid, slots: int, work: int, extra: int, dtype: Any):
        self._grid, self.slots, self.tiles = grid, slots, grid.tiles
        tile = _up(grid.tile_rows, register_shape(dtype).rows) * grid.tile_cols
        self._memory, (self._tile_at, self._work_at, self._extra_at), self._stride = arena(
            [tile, work, extra], slots, dtype
        )
        self.queue = zeros(RUNS + slots * LINE, np.intp)
        self.sums = zeros(grid.tiles * SUMS, np.float64).reshape(grid.tiles, SUMS)

    def describe(self, record: np.ndarray) -> None:
        """Enter the grid and the places in this scratch into a task's record."""
        grid = self._grid
        record["rows"], record["cols"] = grid.rows, grid.cols
        record["tile_rows"], record["tile_cols"] = grid.tile_rows, grid.tile_cols
        record["tiles_down"], record["tiles_across"] = grid.down, grid.across
        record["tile_pitch"] = grid.tile_cols
        record["work"], record["extra"] = self._work_at - self._tile_at, self._extra_at - self._tile_at
        record["sums"] = self.sums.ctypes.data

    def describe_crew(self, crew: np.ndarray) -> None:
        """Enter the tiles, the queue and the threads' memory into a crew's record."""
        crew["tiles"], crew["queue"] = self.tiles, self.queue.ctypes.data
        crew["scratch"] = self._memory.ctypes.data + self._tile_at * self._memory.itemsize
        crew["stride"] = self._stride

    def share(self) -> None:
        """Give each slot an even run of the tiles."""
        self.queue[RUNS::LINE] = self.tiles * np.arange(self.slots) // self.slots


class Buffer:
    """Planes of pixels with zeros around them, wide enough for `filter_` to read every window."""

    def __init__(self, grid: Grid, filter_: Filter, dtype: Any):
        below, right = grid.halo(filter_)
        left = _up(filter_.left, ALIGNMENT)
        self.pitch = _up(left + grid.cols + right, ALIGNMENT)
        if self.pitch * np.dtype(dtype).itemsize % 4096 == 0:  # rows must not share their cache sets
            self.pitch += ALIGNMENT
        rows = filter_.top + grid.rows + below
        self.plane = rows * self.pitch
        memory = zeros(grid.planes * self.plane, dtype).reshape(grid.planes, rows, self.pitch)
        self.corner = filter_.top * self.pitch + filter_.left
        self.pixels = memory[:, filter_.top : filter_.top + grid.rows, left : left + grid.cols]

    @property
    def address(self) -> int:
        return int(self.pixels.ctypes.data)


def row_pitch(array: np.ndarray, dtype: Any) -> int | None:
    """Elements from row to row if kernels can use `array` where it is, else None."""
    itemsize = np.dtype(dtype).itemsize
    rows, cols = map(int, array.shape[-2:])
    if array.dtype != dtype or not array.dtype.isnative or not array.flags.aligned:
        return None
    if cols > 1 and array.strides[-1] != itemsize:
        return None
    if rows == 1:
        return cols
    pitch, rest = divmod(array.strides[-2], itemsize)
    return pitch if rest == 0 and pitch >= cols else None
