"""Workspace of the solver with the learned prior (CPU): objective, gradient, preconditioner."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.fft

from ...kernels.cpu.responses import NUMBERS, RESPONSES, TOGETHER, responses
from ...kernels.cpu.simd import register_shape
from ...kernels.cpu.sweeper import Sweeper
from ...kernels.runtime import forks, memory, threads
from ...kernels.runtime.memory import up
from ...operators.blur import Blur, apply_to_planes
from ...operators.boundary import frame_of, pixel_at, reduced
from ...problem.learned import Potentials, terms

# Rows of a tile, and about its columns.
TILE_ROWS, TILE_COLS = 64, 192
# Seconds that a tap takes one thread, to decide whether threads are worth it.
TERM_SECONDS = 5e-11
# The share of the potentials' largest curvatures that the preconditioner has: less, and more steps are too long.  (The
# same photographs: 39 steps with 0.6, 33 and 31 with 0.4, 30 and 31 with 0.25.)
SHARE = 0.3
# The least of its eigenvalues, relative to the blur's largest.
LEAST = 1e-6


class PriorPass:
    """The prior's value and gradient for planes of an estimate, which it extends by its filters' reach.

    Beyond its border the estimate is taken for periodic with the boundary "wrap", else for reflected.
    """

    def __init__(self, planes: int, shape: tuple[int, int], dtype: Any, boundary: str, workers: int | None):
        self._shape, self._dtype, self._workers = shape, np.dtype(dtype), workers
        count, size, term_count = terms()
        self._before, reach = size // 2, size - 1
        kind = "wrap" if boundary == "wrap" else "reflect"
        self._pixels = [pixel_at(kind, n, self._before, reach - self._before) for n in shape]
        rows, cols = (n + reach for n in shape)
        width = register_shape(self._dtype.name).width
        registers = max(TILE_COLS // width, -(-size // width), 1)
        tile_cols = registers * width - reach
        pitch = up(cols, memory.ALIGNMENT)
        if pitch * self._dtype.itemsize % 4096 == 0:  # rows must not share their cache sets
            pitch += memory.ALIGNMENT
        # A register tile may read beyond the last row.
        slack = (registers + 1) * width + reach
        self._memory = [memory.zeros(planes * rows * pitch + slack, dtype) for _ in range(2)]
        self._estimate, self._gradient = (
            each[: planes * rows * pitch].reshape(planes, rows, pitch)[:, :, :cols] for each in self._memory
        )
        filters = up(count, TOGETHER)
        self._filters = memory.zeros(filters * size * size, dtype).reshape(filters, size, size)
        self._flipped = memory.zeros(filters * size * size, dtype).reshape(filters, size, size)
        self._numbers = memory.zeros(filters * term_count * NUMBERS, dtype).reshape(filters, term_count, NUMBERS)
        self._tiles = planes * -(-rows // TILE_ROWS) * -(-cols // tile_cols)
        self._seconds = planes * rows * cols * filters * size * size * TERM_SECONDS
        self._sums = memory.zeros(self._tiles, np.float64)
        self._job = job = np.zeros((), RESPONSES)
        job["source"], job["out"] = (each.ctypes.data for each in self._memory)
        job["plane"], job["pitch"], (job["rows"], job["cols"]) = rows * pitch, pitch, shape
        job["filters"], job["size"], job["terms"] = filters, size, term_count
        job["weights"], job["flipped"] = self._filters.ctypes.data, self._flipped.ctypes.data
        job["potentials"], job["sums"] = self._numbers.ctypes.data, self._sums.ctypes.data
        job["tile_rows"], job["tile_cols"] = TILE_ROWS, tile_cols
        job["response_pitch"] = response_pitch = up((registers + 1) * width + reach, memory.ALIGNMENT)
        response_plane = (TILE_ROWS + reach) * response_pitch
        own = TOGETHER * response_plane
        own_pitch = registers * width + memory.ALIGNMENT
        slopes = up(own + TILE_ROWS * own_pitch, memory.ALIGNMENT)
        products = up(slopes + response_pitch, memory.ALIGNMENT)
        job["response_plane"], job["own"], job["own_pitch"] = response_plane, own, own_pitch
        job["slopes"], job["products"] = slopes, products
        self._sweeper = Sweeper(self._dtype)
        self._sweeper.reserve(products + TOGETHER * term_count * tile_cols * 8 // self._dtype.itemsize)

    def set(self, potentials: Potentials) -> None:
        """Take the filters and potentials, and the number of threads."""
        count = len(potentials.filters)
        self._filters[:count] = potentials.filters
        self._flipped[...] = self._filters[:, ::-1, ::-1]
        self._numbers[:count] = potentials.numbers
        self._sweeper.threads = threads.count(self._workers, self._tiles, self._seconds)

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Value, and a view of the gradient, for planes of the estimate."""
        estimate, gradient = self._estimate, self._gradient
        before, (rows, cols) = self._before, self._shape
        inner = np.s_[:, before : before + rows, before : before + cols]
        estimate[inner] = x
        for axis, lines in self._surroundings(estimate):
            for place, pixel in axis:
                lines[place] = lines[pixel]
        self._sweeper.run(responses, self._job, self._tiles)
        for axis, lines in reversed(self._surroundings(gradient)):
            for place, pixel in axis:
                lines[pixel] += lines[place]
        view: np.ndarray = gradient[inner]
        return float(self._sums.sum()), view

    def _surroundings(self, planes: np.ndarray) -> list[tuple[list[tuple[int, int]], np.ndarray]]:
        """For rows, then columns: places beyond the estimate with the pixels that they repeat, and the lines."""
        surroundings = []
        for axis, (pixels, size) in enumerate(zip(self._pixels, self._shape, strict=True)):
            pairs = [
                (place, self._before + int(pixel))
                for place, pixel in enumerate(pixels)
                if not self._before <= place < self._before + size
            ]
            surroundings.append((pairs, np.moveaxis(planes, axis + 1, 0)))
        return surroundings


class LearnedWorkspace:
    """The variables of one solve, and what its steps compute.

    Parameters
    ----------
    blurs : list of Blur
        One for all planes, or one each.
    planes : int
    pairs : int
        How many steps are remembered.

    Attributes
    ----------
    x, trial, gradient : ndarray, planes of the estimate
    steps, changes : list of ndarray
        Of the estimate and its gradient.
    image, weights, residual : ndarray, planes of the frame
    """

    device = "cpu"

    def __init__(self, blurs: list[Blur], planes: int, pairs: int):
        self.blurs, self.planes = blurs, planes
        self.blur = blur = blurs[0]
        self.dtype = dtype = np.dtype(blur.dtype)
        estimate, frame = (planes, *blur.estimate_shape), (planes, *blur.image_shape)
        self.x, self.trial, self.gradient = (np.zeros(estimate, dtype) for _ in range(3))
        self.steps, self.changes = ([np.zeros(estimate, dtype) for _ in range(pairs)] for _ in range(2))
        self.image, self.blurred = np.zeros(frame, dtype), np.zeros(frame, dtype)
        self.prior = PriorPass(planes, blur.estimate_shape, dtype, blur.boundary, blur.workers)
        self.applied = 0
        # What goes round a periodic transform's end falls on zeros, but with "wrap".
        self._length: tuple[int, ...] = blur.estimate_shape
        if blur.boundary != "wrap":
            self._length = tuple(
                scipy.fft.next_fast_len(n + taps - 1, real=True)
                for n, taps in zip(blur.estimate_shape, blur.psf.shape, strict=True)
            )
        self._psf_power: list[np.ndarray] = []
        self._rough: np.ndarray | None = None
        self._factor = 1.0

    @property
    def frame(self) -> np.ndarray:
        """The part of the estimate that the image shows."""
        frame: np.ndarray = frame_of(self.x, self.blur)
        return frame

    def apply_blur(self, source: np.ndarray, out: np.ndarray, adjoint: bool = False) -> None:
        """out = A source, or A^T source."""
        apply_to_planes(self.blurs, source, out, adjoint)
        self.applied += 1

    def set_prior(self, potentials: Potentials, mu: float, data: float) -> None:
        """Take the potentials; the preconditioner is for them times `mu`, and data of the weight `data`."""
        self.prior.set(potentials)
        kernel = _autocorrelation(potentials.filters, SHARE * mu * potentials.curvatures)
        with forks.unforked():
            if not self._psf_power:
                for blur in self.blurs:
                    psf = reduced(blur.psf.astype(np.float64), _shape(self._length), "wrap")
                    self._psf_power.append((np.abs(scipy.fft.rfft2(psf, self._length)) ** 2).astype(self.dtype))
            kernel = reduced(kernel, _shape(self._length), "wrap")
            padded = np.zeros(self._length)
            padded[: kernel.shape[0], : kernel.shape[1]] = kernel
            padded = np.roll(padded, tuple(-(n // 2) for n in kernel.shape), (0, 1))
            rough = scipy.fft.rfft2(padded).real
        largest = max(float(power.max()) for power in self._psf_power) * data
        self._rough = np.maximum(rough, LEAST * (largest + float(rough.max())) or 1.0).astype(self.dtype)
        self._factor = data

    def precondition(self, planes: np.ndarray) -> None:
        """Planes of the estimate's size become what the preconditioner makes of them."""
        rows, cols = self.blur.estimate_shape
        assert self._rough is not None
        for k, plane in enumerate(planes):
            with forks.unforked():
                coefficients = scipy.fft.rfft2(plane, self._length)
                divisor = self._psf_power[k % len(self._psf_power)] * self.dtype.type(self._factor)
                divisor += self._rough
                coefficients /= divisor
                plane[...] = scipy.fft.irfft2(coefficients, self._length, overwrite_x=True)[:rows, :cols]


def _shape(length: tuple[int, ...]) -> tuple[int, int]:
    rows, cols = length
    return rows, cols


def _autocorrelation(filters: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """The kernel of ``sum of factor f^T f``, of odd sides, its centre in the middle."""
    size = filters.shape[1]
    with forks.unforked():
        power = np.abs(scipy.fft.rfft2(filters, (2 * size - 1,) * 2)) ** 2
        kernel = scipy.fft.irfft2(np.tensordot(factors, power, 1), (2 * size - 1,) * 2)
    centred: np.ndarray = np.roll(kernel, (size - 1, size - 1), (0, 1))
    return centred


def dot(first: np.ndarray, second: np.ndarray) -> float:
    """Inner product of planes: row by row, in double precision across rows.

    Not by BLAS, whose bits depend on threads.
    """
    return float(np.einsum("ijk,ijk->ij", first, second).sum(dtype=np.float64))


def norm(planes: np.ndarray) -> float:
    """Euclidean norm."""
    return math.sqrt(dot(planes, planes))
