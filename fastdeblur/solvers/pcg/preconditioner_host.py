"""What applies a preconditioner to planes of pixels (CPU): solves along axes, and corners."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...kernels.cpu.fourier.plan import LinePlan
from ...kernels.cpu.line_solves import ANALYSE, LINE_SOLVES, SOLVE, SYNTHESISE, line_solves
from ...kernels.cpu.lines import CORNER_JOB, LINE_JOB, LINES, analyse, corners, synthesise
from ...kernels.cpu.periodic import divide_columns
from ...kernels.cpu.simd import register_shape
from ...kernels.cpu.sweeper import Sweeper
from ...kernels.runtime import memory
from ...kernels.runtime.memory import up
from .preconditioner import Corrections, Preconditioner, RidgePreconditioner, table_of


class Applier:
    """Applies a preconditioner to planes of pixels, in memory of its own."""

    def __init__(self, whole: Preconditioner, sweeper: Sweeper, planes: int):
        self._whole, self._sweeper, self._planes = whole, sweeper, planes
        kind = _CirculantPasses if whole.circulant else _AxisPasses
        self._passes = {k: kind(whole, k, sweeper, planes) for k in whole.solved if whole.axes}
        # One for both axes.
        self._spectrum = memory.zeros(max((each.spectrum for each in self._passes.values()), default=0), whole.dtype)
        for passes in self._passes.values():
            passes.job["spectrum"] = self._spectrum.ctypes.data
        rows, cols = whole.shape
        self._corner = np.zeros((), CORNER_JOB)
        self._corner["rows"], self._corner["cols"] = whole.shape
        self._corner["pitch"], self._corner["plane"] = cols, rows * cols
        self._corner["height"], self._corner["width"] = whole.block
        self._corner["near_down"], self._corner["near_across"] = (table.ctypes.data for table in whole.near)
        if whole.corners:
            sweeper.reserve(whole.block[0] * whole.block[1])

    def apply(self, current: RidgePreconditioner, source: np.ndarray, out: np.ndarray) -> None:
        """out = P source."""
        whole, sweeper = self._whole, self._sweeper
        for k, passes in self._passes.items():
            passes.apply(current.of_solves, current.corrections[k], source, out)
        if whole.whole:
            out[...] = 0
        if whole.corners:
            job = self._corner
            job["source"], job["out"] = source.ctypes.data, out.ctypes.data
            job["inverses"] = current.inverses.ctypes.data
            for corner in range(len(whole.flips)):  # blocks may overlap in images of a few pixels
                job["corner"] = corner
                sweeper.run(corners, job, self._planes)


class _AxisPasses:
    """The solve along one axis, by transforms with lanes across lines."""

    def __init__(self, whole: Preconditioner, number: int, sweeper: Sweeper, planes: int):
        self._axis, self._sweeper = axis, sweeper = whole.axes[number], sweeper
        dtype, (rows, cols) = whole.dtype, whole.shape
        lanes, full, across = register_shape(str(dtype)).lanes, LinePlan(axis.length), LinePlan(axis.across)
        job = self.job = np.zeros((), LINE_SOLVES)
        job["step_full"], job["step_real"] = (cols, 1) if number == 0 else (1, cols)
        job["planes"], job["source_plane"], job["out_plane"] = planes, rows * cols, rows * cols
        job["fulls"], job["reals"] = axis.size
        job["full_length"], job["real_length"] = axis.length, axis.across
        blocks, groups = -(-axis.size[0] // (2 * lanes)), -(-axis.frequencies // lanes)
        job["blocks"], job["groups"], job["frequencies"] = blocks, groups, axis.frequencies
        # Blocks that are a power of two apart would share their cache sets.
        job["block"] = 4 * lanes * lanes * (groups | 1)
        job["spectrum_plane"] = blocks * int(job["block"])
        #: Elements of the frequencies of all planes, which what reads and writes `job` puts somewhere.
        self.spectrum = planes * int(job["spectrum_plane"])
        tables = {
            "psf_power": axis.power,
            "eigenvalues_full": table_of(axis.eigenvalues[full.order()], dtype),
            "eigenvalues_across": table_of(np.pad(axis.eigenvalues_across, (0, -axis.frequencies % lanes)), dtype),
            "radices_real": _integers(across.radices_table()),
            "twiddles_real": table_of(across.twiddles(), dtype),
            "pairs": _integers(across.pairs(lanes).ravel()),
            "radices_full": _integers(full.radices_table()),
            "twiddles_full": table_of(full.twiddles(), dtype),
            "border": _integers(axis.positions),
            "near_full": whole.near[number],
            "near_real": whole.near[1 - number],
            "share_full": whole.share[number],
            "share_real": whole.share[1 - number],
        }
        self._tables = tables
        for name, table in tables.items():
            job[name] = table.ctypes.data
        job["twiddles_real_end"], job["twiddles_full_end"] = tables["twiddles_real"].size, tables["twiddles_full"].size
        job["border_count"], job["border_pitch"] = len(axis.positions), up(len(axis.positions), lanes)
        # Where corrections only ever add, the circulant's own solution counts once.
        first = whole.solved[0]
        job["weighted"], job["base"], job["adds"] = whole.weighted, whole.weighted or number == first, number > first
        strip = 2 * lanes * max(axis.length, axis.across, 2 * lanes * blocks, up(axis.size[1], lanes))
        job["second"] = job["lines"] = strip
        job["line_pitch"] = up(axis.across, 16) + 16
        job["values"] = strip + 2 * lanes * axis.length
        job["roots_pitch"] = up(axis.correction.taken + 1, lanes) if axis.rooted else 0
        room = 4 * lanes * int(job["border_pitch"]) + 2 * int(job["roots_pitch"])
        sweeper.reserve(max(int(job["values"]) + room, strip + 2 * lanes * int(job["line_pitch"])))

    def apply(self, ridge: float, corrections: Corrections, source: np.ndarray, out: np.ndarray) -> None:
        """Put, or add, the solution for a source to a result."""
        job, axis = self.job, self._axis
        if not (job["base"] or job["border_count"]):
            return
        matrices, below, mix = corrections
        job["source"], job["out"], job["corrections"] = source.ctypes.data, out.ctypes.data, matrices.ctypes.data
        job["correction_of"], job["mix"] = below.ctypes.data, mix.ctypes.data
        job["matrix"], job["roots"] = math.prod(matrices.shape[1:]), matrices.shape[1] if axis.rooted else 0
        job["ridge"], job["floor"] = ridge, axis.floor(ridge)
        for stage, tiles in ((ANALYSE, "blocks"), (SOLVE, "groups"), (SYNTHESISE, "blocks")):
            job["stage"] = stage
            self._sweeper.run(line_solves, job, int(job[tiles]) * int(job["planes"]))


class _CirculantPasses:
    """The solve of a problem that is periodic along both axes: of any length, and there is nothing to correct."""

    def __init__(self, whole: Preconditioner, number: int, sweeper: Sweeper, planes: int):
        self._axis, self._sweeper = axis, sweeper = whole.axes[number], sweeper
        dtype, (rows, cols), pitch = whole.dtype, whole.shape, up(axis.frequencies, 8)
        self.spectrum, self._numbers = 2 * planes * rows * pitch, memory.zeros(1, np.intp)
        self._numbers[0] = 1
        job = self.job = np.zeros((), LINE_JOB)
        job["step_full"], job["planes"] = cols, planes
        job["source_plane"] = job["out_plane"] = rows * cols
        job["pitch"], job["frequencies"] = pitch, axis.frequencies
        job["spectrum_plane"], job["reals"], job["fulls"] = rows * pitch, cols, rows
        job["real_length"], job["full_length"], job["axis"] = axis.across, axis.length, self._numbers.ctypes.data
        # Rows that are a power of two apart would share their cache sets.
        job["real_pitch"], job["full_pitch"] = up(axis.across, 16) + 16, up(axis.length, 8) + 8
        job["psf_power"] = axis.power.ctypes.data
        self._tables = [table_of(values, dtype) for values in (axis.eigenvalues, axis.eigenvalues_across)]
        job["eigenvalues_full"], job["eigenvalues_across"] = (table.ctypes.data for table in self._tables)
        sweeper.reserve(LINES * max(int(job["real_pitch"]), 2 * int(job["full_pitch"])))

    def apply(self, ridge: float, corrections: Corrections, source: np.ndarray, out: np.ndarray) -> None:
        """Put the solution for a source to a result."""
        job, axis = self.job, self._axis
        job["source"], job["out"] = source.ctypes.data, out.ctypes.data
        job["ridge"], job["floor"] = ridge, axis.floor(ridge)
        lines, columns = (-(-count // LINES) * int(job["planes"]) for count in (axis.size[0], axis.frequencies))
        for passes, tiles in ((analyse, lines), (divide_columns, columns), (synthesise, lines)):
            self._sweeper.run(passes, job, tiles)


def _integers(values: Any) -> np.ndarray:
    return table_of(values, np.intp)
