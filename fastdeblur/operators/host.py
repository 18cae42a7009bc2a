"""The blur A or its adjoint (CPU), applied to arrays of the caller."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels.cpu.apply import APPLY, apply
from ..kernels.cpu.halo import OUTSIDE
from ..kernels.cpu.tiles import SINGLE_PASS, single_pass
from ..kernels.runtime import memory, tasks
from ..kernels.runtime.memory import data_address, row_pitch
from .buffers import Scratch
from .paths import Filter
from .tiling import Grid, Halo

# Bytes of a result that no cache holds.
STREAMED = 2**25


class ApplyScratch(Scratch):
    """Scratch with the records of one application of a blur."""

    def __init__(
        self, grid: Grid, threads: int, filter_: Filter, extra: int, block: int, task: Any, record: np.dtype[Any]
    ):
        super().__init__(grid, threads, filter_, extra, block)
        self.job = np.zeros((), record)
        self.describe(self.job)
        self.crew = np.zeros((), SINGLE_PASS)
        self.describe_crew(self.crew)
        self.crew["task"], self.crew["record"] = task.address(filter_.dtype), self.job.ctypes.data
        self.crew_address = self.crew.ctypes.data


class HostOperator:
    """The blur or its adjoint, of a caller's array, into one of `out_shape`.

    Parameters
    ----------
    filter_ : Filter
    out_shape : (int, int)
    halo : Halo
        What is folded into the output.
    sources : (callable, callable)
        For rows and columns, ``sources(before, after)`` is the source's pixel at each of the output's
        positions from ``-before`` to `after` beyond its end, see `boundary.pixel_at`.
    grid : Grid
        The output's tiles; by default as few as the filter can do.
    """

    def __init__(
        self,
        filter_: Filter,
        out_shape: tuple[int, int],
        halo: Halo,
        sources: tuple[Any, Any],
        grid: Grid | None = None,
    ):
        self.filter = filter_
        self.grid = grid or Grid.of(1, out_shape, filter_, halo)
        self._pieces = halo.pieces(self.grid, filter_)
        self._spares = memory.Spares()

        tile_rows, tile_cols = self.grid.tile_rows, self.grid.tile_cols
        if filter_.wide:
            tile_rows, tile_cols = filter_.most_rows, filter_.most_cols
        self._rows, self._cols = filter_.window_rows(tile_rows), filter_.window_cols(tile_cols)
        fields = self._fields = {
            "filter": filter_.address,
            "halo": self._pieces.address,
            "top": filter_.top,
            "left": filter_.left,
            "window_rows": self._rows,
            "window_pitch": self._cols,
            # What a window of one row, or one column, has more than that.
            "more_rows": filter_.window_rows(1) - 1,
            "more_cols": filter_.window_cols(1) - 1,
        }
        self._tables = []
        #: For rows and columns, the source's pixel at all positions that windows have, and the first of these.
        self.positions: list[tuple[np.ndarray, int]] = []
        leads, windows = (filter_.top, filter_.left), (self._rows, self._cols)
        for axis, source, (before, after), lead, window in zip(
            ("row", "col"), sources, halo.reach, leads, windows, strict=True
        ):
            pixels = source(before + lead, after + window)
            table = memory.zeros(pixels.size, np.intp)
            table[:] = pixels
            self._tables.append(table)
            self.positions.append((table, -before - lead))
            fields[f"{axis}_source"] = table.ctypes.data + (before + lead) * table.itemsize
            run = _longest_run(pixels)
        fields["first_col"], fields["last_col"] = (end - before - lead for end in run)

    def run(self, source: np.ndarray, out: np.ndarray, threads: int) -> bool:
        """Apply to `source`, whose rows kernels can read; tells whether source and result are finite."""
        dtype = self.filter.dtype
        scratch = self._spares.take()
        if scratch is None or scratch.threads != threads:
            scratch = self._scratch(threads)
            scratch.job["path"] = self.filter.task.address(dtype) if self.filter.task else 0
            for name, value in self._fields.items():
                scratch.job[name] = value
        job = scratch.job
        target = data_address(out)
        job["source"], job["source_pitch"] = data_address(source), row_pitch(source, dtype)
        job["out"], job["out_pitch"] = target, row_pitch(out, dtype)
        job["streams"] = out.nbytes >= STREAMED and target % out.itemsize == 0
        scratch.share()
        tasks.launch(single_pass.address(), scratch.crew_address, threads)
        finite: bool = scratch.is_finite()
        self._spares.put(scratch)
        return finite

    def _scratch(self, threads: int) -> ApplyScratch:
        """Memory for one application, its record without the fields that are the same for all."""
        window, wide = self._rows * self._cols, self.filter.wide
        # A window that is read before anything is written may lie where the block will be: the
        # less memory a transform goes through, the more of it stays in the cache.
        extra, block = (0, window) if wide else (window, 0)
        scratch = ApplyScratch(self.grid, threads, self.filter, extra, block, apply, APPLY)
        if wide:
            scratch.job["extra"] = scratch.job["own"] = scratch.job["block"]
        return scratch


def _longest_run(pixels: np.ndarray) -> tuple[int, int]:
    """Where most pixels follow each other: begin and end."""
    cuts = np.flatnonzero((np.diff(pixels) != 1) | (pixels[:-1] == OUTSIDE)) + 1
    edges = np.concatenate([[0], cuts, [len(pixels)]])
    k = int(np.argmax(np.diff(edges) * (pixels[edges[:-1]] != OUTSIDE)))
    return int(edges[k]), int(edges[k + 1])
