"""Sweeps (CPU): one task over all tiles of contiguous images, with scratch and sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..runtime import memory, tasks
from ..runtime.tasks import Task
from .tiles import LINE, RUNS, SINGLE_PASS, single_pass
from .vectors import PERIODIC, ROWS, SUMS, SWEEP


class Sweeper:
    """Runs tasks in `threads` threads, each with scratch of its own, and adds up what they leave.

    `reserve` says how much scratch the tasks need, before the first `run`.  `threads` may be set anew
    between runs.  Of `periodic` images, those of `sweep` are.
    """

    def __init__(self, dtype: Any, periodic: bool = False):
        self.dtype, self.threads, self._periodic = np.dtype(dtype), 1, periodic
        self._need, self._room = memory.ALIGNMENT, 0
        self._crew = np.zeros((), SINGLE_PASS)
        self._crew_address = self._crew.ctypes.data
        self._sums = np.zeros((0, SUMS))
        self._job = np.zeros((), SWEEP)

    def reserve(self, elements: int) -> None:
        """Let each thread have scratch for that many numbers."""
        self._need = max(self._need, memory.up(elements, 4 * memory.ALIGNMENT))
        self._room = 0

    def _make_room(self) -> None:
        """A queue, and scratch for each thread."""
        self._room = self.threads
        self._queue = memory.zeros(RUNS + self.threads * LINE, np.intp)
        self._next_tiles = self._queue[RUNS::LINE]  # of each thread
        self._scratch = memory.zeros(self.threads * self._need, self.dtype)
        self._crew["queue"], self._crew["scratch"] = self._queue.ctypes.data, self._scratch.ctypes.data
        self._crew["stride"] = self._need * self.dtype.itemsize

    def run(self, task: Task, job: np.ndarray, tiles: int) -> None:
        """Do all tiles of a task."""
        if self._room < self.threads:
            self._make_room()
        crew = self._crew
        crew["task"], crew["record"], crew["tiles"] = task.address(self.dtype), job.ctypes.data, tiles
        threads = min(self.threads, tiles)
        self._next_tiles[:threads] = 0 if threads == 1 else tiles * np.arange(threads) // threads
        tasks.launch(single_pass.address(), self._crew_address, threads)

    def sweep(self, task: Task, images: list[np.ndarray], factors: tuple[float, ...] = ()) -> np.ndarray:
        """One of the tasks of `kernels.cpu.vectors` on images of one shape; returns the sums over all tiles."""
        job, (rows, cols) = self._job, images[0].shape[-2:]
        tiles = -(-rows // ROWS) * (images[0].size // (rows * cols))
        if len(self._sums) < tiles:
            self._sums = np.zeros((tiles, SUMS))
        job["rows"], job["cols"], job["sums"] = rows, cols, memory.data_address(self._sums)
        for name, image in zip(("first", "second", "third", "fourth"), images, strict=False):
            job[name] = memory.data_address(image)
        for name, factor in zip("abc", factors, strict=False):
            job[name] = factor
        self.run(PERIODIC.get(task, task) if self._periodic else task, job, tiles)
        totals: np.ndarray = self._sums[:tiles].sum(axis=0)
        return totals
