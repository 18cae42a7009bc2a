"""Paths of the convolution (separable, direct, fft): filters, and the memory that they need.

A filter is the blur or its adjoint on one path: valid correlation of
a window with some weights.  It knows what its kernel reads and writes, so that `tiling` can cut
images and `buffers` can lay out memory for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from ..kernels.cpu.direct import direct
from ..kernels.cpu.fft import fft, stages
from ..kernels.cpu.fourier.plan import TransformPlan
from ..kernels.cpu.separable import separable
from ..kernels.cpu.simd import RegisterShape, register_shape
from ..kernels.cpu.tiles import FILTER
from ..kernels.runtime import forks, memory
from ..kernels.runtime.memory import up
from . import costs
from .separable import factors

# A tile's row of about 500 pixels, and its few rows, stay in the first two cache levels
# together with what a pass reads and writes beside them.
TILE_COLS = 500
TILE_ROWS = 32


class Filter(ABC):
    """The blur or its adjoint on one path.

    Attributes
    ----------
    task : Task
        The path's kernel.
    top, left : int
        How far a window reaches above and to the left of its block.
    most_rows, most_cols : int
        The largest block.
    step_rows, step_cols : int
        Blocks are best multiples of these.
    wide : bool
        Whether a block may take in the halo beside it, rather than leave it to blocks of its own.
    record : ndarray
        What the kernel reads, see ``kernels.cpu.tiles.FILTER``.
    work : int
        Elements of scratch that the kernel needs.
    """

    task: Any
    wide = False
    step_rows = step_cols = 1
    work = 0

    def __init__(self, weights: np.ndarray, top: int, left: int):
        self.top, self.left = top, left
        self.dtype = weights.dtype
        self.taps_down, self.taps_across = map(int, weights.shape)
        self.record = np.zeros((), FILTER)
        self.record["taps_down"], self.record["taps_across"] = weights.shape
        self._owned: list[np.ndarray] = []

    @property
    def address(self) -> int:
        """Address of the record."""
        return int(self.record.ctypes.data)

    @property
    def most_rows(self) -> int:
        return TILE_ROWS

    @property
    @abstractmethod
    def most_cols(self) -> int: ...

    @abstractmethod
    def window_rows(self, rows: int) -> int:
        """Rows that the kernel reads for a block of `rows`."""

    @abstractmethod
    def window_cols(self, cols: int) -> int:
        """Columns that the kernel reads for a block of `cols`."""

    @abstractmethod
    def out_rows(self, rows: int) -> int:
        """Rows that the kernel writes for a block of `rows`."""

    @abstractmethod
    def out_cols(self, cols: int) -> int:
        """Columns that the kernel writes for a block of `cols`, the least pitch of its output."""

    def _keep(self, array: np.ndarray, dtype: Any) -> int:
        """Address of a copy that lives as long as this."""
        copy = memory.zeros(array.size, dtype)
        copy[:] = array.ravel()
        self._owned.append(copy)
        return int(copy.ctypes.data)


class RegisterTiles(Filter):
    """What the direct and the separable path have in common: whole tiles of registers."""

    @property
    def registers(self) -> RegisterShape:
        shape: RegisterShape = register_shape(self.dtype)
        return shape

    @property
    def step_rows(self) -> int:  # type: ignore[override]
        return self.registers.rows

    @property
    def step_cols(self) -> int:  # type: ignore[override]
        return self.registers.width

    @property
    def most_cols(self) -> int:
        width = self.registers.width
        return max(TILE_COLS // width, 1) * width

    def window_rows(self, rows: int) -> int:
        return up(rows, self.registers.rows) + self.taps_down - 1

    def window_cols(self, cols: int) -> int:
        width, reach = self.registers.width, self.taps_across - 1
        return max(up(cols + reach, width), up(cols, width) + reach)

    def out_rows(self, rows: int) -> int:
        return up(rows, self.registers.rows)

    def out_cols(self, cols: int) -> int:
        return up(cols, self.registers.width)

    def _columns(self, down: np.ndarray) -> int:
        """Columns of weights, each between a register tile's rows of zeros, less one."""
        margin, (ranks, taps, across) = self.registers.rows - 1, down.shape
        padded = np.zeros((ranks, taps + 2 * margin, across), self.dtype)
        padded[:, margin : margin + taps] = down
        return self._keep(padded, self.dtype)


class Direct(RegisterTiles):
    """Correlation with the weights as they are."""

    task = direct

    def __init__(self, weights: np.ndarray, top: int, left: int):
        super().__init__(weights, top, left)
        self.record["down"] = self._columns(weights[None])


class Separable(RegisterTiles):
    """A sum of products of a column and a row."""

    task = separable

    def __init__(self, weights: np.ndarray, top: int, left: int, flipped: bool):
        super().__init__(weights, top, left)
        # Those of the psf as it is, which are kept.
        down, across = factors(weights[::-1, ::-1] if flipped else weights)
        if flipped:
            down, across = down[:, ::-1], across[:, ::-1]
        self.record["rank"] = len(down)
        self.record["down"] = self._columns(down[:, :, None])
        self.record["across"] = self._keep(across, self.dtype)
        self.record["work_pitch"] = pitch = self.window_cols(self.most_cols)
        self.work = len(down) * self.registers.rows * pitch


class Fourier(Filter):
    """Overlap-save: transforms of two windows, one below the other, times the weights'."""

    task = fft
    wide = True

    def __init__(self, weights: np.ndarray, top: int, left: int, fft_shape: tuple[int, int]):
        super().__init__(weights, top, left)
        self._lanes = register_shape(weights.dtype).lanes
        self.fft_rows, self.fft_cols = fft_shape
        plan = TransformPlan(*fft_shape, self._lanes, weights.itemsize)
        with forks.unforked():
            self.record["down"] = self._keep(plan.spectrum(weights), self.dtype)
        self.record["fft_rows"], self.record["fft_cols"], self.record["strip"] = *fft_shape, plan.strip
        # The kernel knows the radix of the first pass down, and of the last across.
        self.record["radices_down"], self.record["radices_across"] = (
            self._keep(np.array([passes, *radices]), np.intp)
            for passes, radices in ((len(plan.down) - 2, plan.down[1:]), (len(plan.across), plan.across))
        )
        first, down = plan.twiddles_first(), plan.twiddles_down()
        self.record["twiddles_first"] = self._keep(first, self.dtype)
        self.record["twiddles_down"], self.record["twiddles_down_end"] = self._keep(down, self.dtype), down.size
        self.record["twiddles_across"] = self._keep(plan.twiddles_across(), self.dtype)
        self.record["stages"] = stages.address(self.dtype)
        self.work = plan.size
        # Of as many rows as a vector has lanes, where psfs vary.
        self.rows_work = 2 * self._lanes * self.fft_cols

    @property
    def most_rows(self) -> int:
        return 2 * (self.fft_rows - self.taps_down + 1)

    @property
    def most_cols(self) -> int:
        return self.fft_cols - self.taps_across + 1

    def window_rows(self, rows: int) -> int:
        return rows + self.taps_down - 1

    def window_cols(self, cols: int) -> int:
        # Whole vectors, for one column as for so many more: what is read must be filled, for transforms spread it.
        return up(cols, self._lanes) + up(self.taps_across - 1, self._lanes)

    def out_rows(self, rows: int) -> int:
        return rows

    def out_cols(self, cols: int) -> int:
        return up(cols, self._lanes)


PATHS = {"direct": Direct, "separable": Separable, "fft": Fourier}


def pair(path: str, psf: np.ndarray, shape: tuple[int, int], fold: bool) -> tuple[Filter, Filter]:
    """The blur and its adjoint on one path, for images of `shape`.

    y[i] is the sum over u of ``psf[u] x[i + centre - u]``: correlation with the flipped psf.  The
    adjoint correlates with the psf itself, and its window reaches as far the other way.
    """
    (taps_down, taps_across), (down, across) = psf.shape, (taps // 2 for taps in psf.shape)
    options: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    if path == "separable":
        options = {"flipped": True}, {"flipped": False}
    if path == "fft":
        halo = psf.shape if fold else (1, 1)
        total = tuple(size + taps - 1 for size, taps in zip(shape, halo, strict=True))
        options = ({"fft_shape": costs.fourier_shape(psf.shape, total, psf.dtype)},) * 2
    kind = PATHS[path]
    return (
        kind(psf[::-1, ::-1], taps_down - 1 - down, taps_across - 1 - across, **options[0]),
        kind(psf, down, across, **options[1]),
    )
