"""Tiling: how images are cut into tiles, and which tile has which part of the halo."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..kernels.cpu.halo import HALO, OUTSIDE
from ..kernels.runtime import memory
from ..kernels.runtime.memory import up
from .boundary import pixel_at
from .paths import Filter, RegisterTiles

# First position and size of blocks along the rows, and along the columns.
Blocks = tuple[list[tuple[int, int]], list[tuple[int, int]]]

# Fewer tiles than this are a multiple of 8, so that a few threads have as much to do each.
MANY = 64
# Multiplications of a pass that is never worth threads: its image is not parted for them.  (32 x 32, 5 x 5: 10.6 us a
# blur instead of 13.7 with eight tiles of four rows.)
SERIAL = 2**17


@dataclass(frozen=True, eq=False)
class Grid:
    """How planes of rows x cols are cut into tiles; depends on shape, psf and dtype alone.

    `down` and `across` hold the first row (column) of each band of tiles and the end of the last.
    """

    planes: int
    down: np.ndarray
    across: np.ndarray

    @classmethod
    def of(cls, planes: int, shape: tuple[int, int], filter_: Filter, halo: Halo | None = None) -> Grid:
        """The grid for `filter_`; with room for the halo in the border's blocks if that is wide."""
        (above, below), (left, right) = halo.reach if halo and filter_.wide else ((0, 0), (0, 0))
        rows, cols = shape
        across = cuts_of(cols, left, right, filter_.most_cols, filter_.step_cols)
        tile_rows = filter_.most_rows
        bands = -(-(above + rows + below) // tile_rows)
        work = planes * rows * cols * filter_.taps_down * filter_.taps_across
        if isinstance(filter_, RegisterTiles) and work > SERIAL and planes * (len(across) - 1) * bands < MANY:
            tile_rows = up(-(-rows // up(bands, 8)), filter_.step_rows)
        down = cuts_of(rows, above, below, tile_rows, filter_.step_rows)
        return cls(planes, table_of(down), table_of(across))

    @property
    def rows(self) -> int:
        return int(self.down[-1])

    @property
    def cols(self) -> int:
        return int(self.across[-1])

    @property
    def tiles(self) -> int:
        return self.planes * (len(self.down) - 1) * (len(self.across) - 1)

    def blocks_in(self, corner: tuple[int, int], shape: tuple[int, int]) -> Blocks:
        """The parts of the bands that lie in a frame, which is at `corner` and of `shape`."""
        blocks: list[list[tuple[int, int]]] = []
        for cuts, first, size in zip((self.down, self.across), corner, shape, strict=True):
            edges = np.unique(np.clip(cuts, first, first + size)).tolist()
            blocks.append([(begin, end - begin) for begin, end in pairwise(edges)])
        return blocks[0], blocks[1]

    @property
    def tile_rows(self) -> int:
        """Rows of the largest tile."""
        return int(np.diff(self.down).max())

    @property
    def tile_cols(self) -> int:
        """Columns of the largest tile."""
        return int(np.diff(self.across).max())


def cuts_of(size: int, before: int, after: int, most: int, step: int) -> np.ndarray:
    """Where to cut `size` pixels into parts of at most `most`, as equal as multiples of `step` can be.

    The halo is counted in.  (Of parts that are equal but for the last, which was the rest, 171 rows had 7 of 24 and
    one of 3: the first of two threads had a third more to do.)
    """
    steps = -(-(before + size + after) // step)
    parts = -(-steps // max(most // step, 1))
    cuts = step * (np.arange(parts + 1) * steps // parts) - before
    return np.unique(np.clip(cuts, 0, size))


def table_of(array: Any) -> np.ndarray:
    """Integers where kernels can read them."""
    array = np.asarray(array)
    out = memory.zeros(array.size, np.intp)
    out[:] = array.ravel()
    return out


class Halo:
    """Which pixel lies at each position around an image, as far as `reach`.

    Parameters
    ----------
    boundary : str
    shape : (int, int)
    reach : ((int, int), (int, int))
        Positions before and after each axis.  None at all makes a halo that says nothing.
    """

    def __init__(self, boundary: str, shape: tuple[int, int], reach: tuple[tuple[int, int], tuple[int, int]]):
        self.reach = reach
        self.pixels = [
            pixel_at(boundary, size, before, after) for size, (before, after) in zip(shape, reach, strict=True)
        ]

    def pieces(self, grid: Grid, filter_: Filter) -> Pieces:
        """The halo's parts for each tile of a grid, none larger than `filter_` can do."""
        return Pieces(self, grid, filter_)

    def fill(self, planes: np.ndarray, top: int, left: int) -> None:
        """Fill the halo of planes whose first pixel is at (top, left) of `planes`."""
        for axis, start in ((1, top), (2, left)):
            (before, after), pixels = self.reach[axis - 1], self.pixels[axis - 1]
            size = len(pixels) - before - after
            whole = np.moveaxis(planes, axis, 0)
            for part in (slice(0, before), slice(before + size, None)):
                positions = start - before + np.arange(len(pixels))[part]
                whole[positions] = whole[start + pixels[part]]


class Pieces:
    """A halo's parts for each band of tiles, in the tables that kernels read (see `kernels.cpu.halo`).

    Attributes
    ----------
    blocks : Blocks
        All of them.
    """

    def __init__(self, halo: Halo, grid: Grid, filter_: Filter):
        self.record = np.zeros((), HALO)
        self._owned = []
        most = (filter_.most_rows, filter_.most_cols) if filter_.wide else (grid.tile_rows, grid.tile_cols)
        all_pieces = []
        for axis, cuts, limit, pixels, (before, _) in zip(
            ("row", "col"), (grid.down, grid.across), most, halo.pixels, halo.reach, strict=True
        ):
            parts = _pieces(cuts, pixels, before, limit, filter_.wide)
            all_pieces.append([piece for part in parts for piece in part])
            first = np.cumsum([0] + [len(part) for part in parts])
            tables = [table_of(table) for table in (first, all_pieces[-1], pixels)]
            self._owned.append(tables)
            self.record[f"{axis}_first"], self.record[f"{axis}_pieces"] = (t.ctypes.data for t in tables[:2])
            self.record[f"{axis}_pixel"] = tables[2].ctypes.data + before * tables[2].itemsize
        self.blocks: Blocks = (all_pieces[0], all_pieces[1])

    @property
    def address(self) -> int:
        return int(self.record.ctypes.data)


def _pieces(cuts: np.ndarray, pixels: np.ndarray, before: int, limit: int, wide: bool) -> list[list[tuple[int, int]]]:
    """For each band its pieces as (start, size): the band itself, then runs of the halo."""
    parts = [[(begin, end - begin)] for begin, end in pairwise(cuts.tolist())]
    size = int(cuts[-1])
    owner = np.searchsorted(cuts, pixels, side="right") - 1
    owner[pixels == OUTSIDE] = -1
    for low, high in ((0, before), (before + size, len(pixels))):
        runs = np.flatnonzero(np.diff(owner[low:high])) + low + 1
        for begin, end in zip([low, *runs.tolist()], [*runs.tolist(), high], strict=True):
            if begin == end or owner[begin] < 0:
                continue
            band = parts[owner[begin]]
            start, stop = begin - before, end - before
            if wide:
                start, stop = _widen(band, start, stop, limit)
            band += [(at, min(limit, stop - at)) for at in range(start, stop, limit)]
    return parts


def _widen(band: list[tuple[int, int]], start: int, stop: int, limit: int) -> tuple[int, int]:
    """Let a band's own piece take in as much as it can of a run beside it; returns the rest of the run."""
    begin, size = band[0]
    taken = min(stop - start, limit - size)
    if stop == begin:
        band[0] = begin - taken, size + taken
        return start, stop - taken
    if start == begin + size:
        band[0] = begin, size + taken
        return start + taken, stop
    return start, stop
