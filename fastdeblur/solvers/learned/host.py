"""Workspace of the solver with the learned prior (CPU): objective, gradient, preconditioner."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.fft

from ...kernels.cpu.lines import LINE_JOB, LINES, analyse, synthesise
from ...kernels.cpu.periodic import divide_columns
from ...kernels.cpu.responses import RESPONSES, responses
from ...kernels.cpu.simd import NUMBERS, TERMS, register_shape
from ...kernels.cpu.sweeper import Sweeper
from ...kernels.cpu.vectors import add_and_multiply, add_and_square, inner_products, scaled_sum
from ...kernels.runtime import forks, memory, threads
from ...kernels.runtime.memory import up
from ...operators.blur import Blur, apply_to_planes
from ...operators.boundary import frame_of, pixel_at, reduced
from ...problem.learned import Potentials, terms

# Rows of a tile, and about its columns.
TILE_ROWS, TILE_COLS = 96, 192
# Seconds that a tap takes one thread, to decide whether threads are worth it.
TERM_SECONDS = 5e-11
# Seconds that a pixel takes one thread in a transform, for the same.
PIXEL_SECONDS = 4e-9
# The least of its eigenvalues, relative to the blur's largest.
LEAST = 1e-6


class PriorPass:
    """The prior's value and gradient for planes of an estimate, which it extends by its filters' reach.

    Beyond its border the estimate is taken for periodic with the boundary "wrap", else for reflected.
    """

    def __init__(self, planes: int, shape: tuple[int, int], dtype: Any, boundary: str, workers: int | None):
        self._shape, self._dtype, self._workers = shape, np.dtype(dtype), workers
        count, size, self._terms = terms()  # (what there is less than TERMS has numbers of 0)
        self._before, reach = size // 2, size - 1
        self._pixels = pixels_around(shape, size, boundary)
        rows, cols = (n + reach for n in shape)
        register = register_shape(self._dtype.name)
        width, together = register.width, register.rows
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
        filters = -(-count // together) * together
        self._filters, self._flipped = (
            memory.zeros(filters * size * size, dtype).reshape(filters, size, size) for _ in range(2)
        )
        self._numbers = memory.zeros(filters * TERMS * NUMBERS, dtype).reshape(filters, TERMS, NUMBERS)
        self._tiles = planes * -(-rows // TILE_ROWS) * -(-cols // tile_cols)
        self._seconds = planes * rows * cols * filters * size * size * TERM_SECONDS
        self._sums = memory.zeros(self._tiles * (1 + filters), np.float64).reshape(-1, 1 + filters)
        self._job = job = np.zeros((), RESPONSES)
        job["source"], job["out"] = (each.ctypes.data for each in self._memory)
        job["plane"], job["pitch"], (job["rows"], job["cols"]) = rows * pitch, pitch, shape
        job["filters"], job["size"] = filters, size
        job["weights"], job["flipped"] = self._filters.ctypes.data, self._flipped.ctypes.data
        job["potentials"], job["sums"] = self._numbers.ctypes.data, self._sums.ctypes.data
        job["tile_rows"], job["tile_cols"] = TILE_ROWS, tile_cols
        job["response_pitch"] = response_pitch = up((registers + 1) * width + reach, memory.ALIGNMENT)
        response_plane = (TILE_ROWS + reach) * response_pitch
        own = together * response_plane
        own_pitch = registers * width + memory.ALIGNMENT
        counted = up(own + TILE_ROWS * own_pitch, memory.ALIGNMENT)
        shares = up(counted + 2 * response_pitch, memory.ALIGNMENT)
        products = up(shares + together * register.lanes, memory.ALIGNMENT)
        job["response_plane"], job["own"], job["own_pitch"] = response_plane, own, own_pitch
        job["counted"], job["shares"], job["products"] = counted, shares, products
        self._sweeper = Sweeper(self._dtype)
        self._sweeper.reserve(products + 2 * together * TERMS * register.lanes * 8 // self._dtype.itemsize)

    def set(self, potentials: Potentials, mu: float) -> None:
        """Take the filters and `mu` times the potentials, and the number of threads."""
        count = len(potentials.filters)
        self._filters[:count] = potentials.filters
        self._flipped[...] = self._filters[:, ::-1, ::-1]
        self._numbers[:count, : self._terms] = potentials.numbers * (mu, 1, mu)
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
        return float(self._sums[:, 0].sum()), view

    def curvatures(self) -> np.ndarray:
        """Of each filter the mean of slope / response at the last estimate."""
        planes, (rows, cols) = len(self._estimate), self._shape
        means: np.ndarray = self._sums[:, 1:].sum(axis=0) / (planes * rows * cols)
        return means

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
        self._length = lengths_of(blur)
        self._psf_power: list[np.ndarray] = []
        self._filters = np.zeros((0, 1, 1))
        self._data = 1.0
        self._sweeper = Sweeper(dtype)
        self._transforms()

    def _transforms(self) -> None:
        """Tables of the preconditioner's transforms, which go along rows, then columns."""
        rows, cols = self.blur.estimate_shape
        length, across = self._length
        frequencies = across // 2 + 1
        pitch = up(frequencies, 8)
        self._spectrum, self._axis = memory.zeros(2 * rows * pitch, self.dtype), memory.zeros(1, np.intp)
        self._axis[0] = 1
        self._zeros = memory.zeros(max(length, frequencies), self.dtype)
        self._divisors = [np.zeros((frequencies, length), self.dtype) for _ in self.blurs]
        self._line_job = job = np.zeros((), LINE_JOB)
        job["step_full"], job["planes"] = cols, 1
        job["spectrum"], job["pitch"], job["frequencies"] = self._spectrum.ctypes.data, pitch, frequencies
        job["reals"], job["fulls"], job["real_length"], job["full_length"] = cols, rows, across, length
        # Rows that are a power of two apart would share their cache sets.
        job["real_pitch"], job["full_pitch"] = up(across, 16) + 16, up(length, 8) + 8
        job["axis"] = self._axis.ctypes.data
        job["eigenvalues_full"] = job["eigenvalues_across"] = self._zeros.ctypes.data
        self._row_tiles, self._column_tiles = -(-rows // LINES), -(-frequencies // LINES)
        self._sweeper.reserve(LINES * max(int(job["real_pitch"]), 2 * int(job["full_pitch"])))

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
        """Take `mu` times the potentials, beside data of the weight `data`."""
        self.prior.set(potentials, mu)
        self._filters, self._data = potentials.filters, data
        seconds = self.planes * math.prod(self._length) * PIXEL_SECONDS
        self._sweeper.threads = threads.count(self.blur.workers, self._row_tiles, seconds)

    def set_preconditioner(self, share: float = 1.0) -> None:
        """The preconditioner is for that share of the prior's curvatures at the last estimate."""
        count = len(self._filters)
        kernel = autocorrelation(self._filters, share * self.prior.curvatures()[:count])
        with forks.unforked():
            if not self._psf_power:
                for blur in self.blurs:
                    psf = reduced(blur.psf.astype(np.float64), self._length, "wrap")
                    self._psf_power.append((np.abs(scipy.fft.rfft2(psf, self._length)) ** 2).astype(self.dtype))
            kernel = reduced(kernel, self._length, "wrap")
            padded = np.zeros(self._length, self.dtype)
            padded[: kernel.shape[0], : kernel.shape[1]] = kernel
            padded = np.roll(padded, tuple(-(n // 2) for n in kernel.shape), (0, 1))
            rough = scipy.fft.rfft2(padded, overwrite_x=True).real
        largest = max(float(power.max()) for power in self._psf_power) * self._data
        np.maximum(rough, LEAST * (largest + float(rough.max())) or 1.0, out=rough)
        for power, divisor in zip(self._psf_power, self._divisors, strict=True):
            np.multiply(power.T, self.dtype.type(self._data), out=divisor)
            divisor += rough.T

    def precondition(self, planes: np.ndarray) -> None:
        """Planes of the estimate's size become what the preconditioner makes of them."""
        job = self._line_job
        for k, plane in enumerate(planes):
            job["source"] = job["out"] = plane.ctypes.data
            job["psf_power"] = self._divisors[k % len(self._divisors)].ctypes.data
            self._sweeper.run(analyse, job, self._row_tiles)
            self._sweeper.run(divide_columns, job, self._column_tiles)
            self._sweeper.run(synthesise, job, self._row_tiles)

    def products(self, first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
        """The inner product of planes, and the square of each."""
        product, first_square, second_square = self._sweeper.sweep(inner_products, [first, second])[:3].tolist()
        return product, first_square, second_square

    def add(self, out: np.ndarray, factor: float, added: np.ndarray, other: np.ndarray | None = None) -> float:
        """out += factor added; returns the inner product with `other`, or its square."""
        if other is None:
            return float(self._sweeper.sweep(add_and_square, [out, added], (factor,))[0])
        return float(self._sweeper.sweep(add_and_multiply, [out, added, other], (factor,))[0])

    def sum(self, first: np.ndarray, factor: float, second: np.ndarray, out: np.ndarray) -> None:
        """out = first + factor second."""
        self._sweeper.sweep(scaled_sum, [first, second, out], (factor,))

    def weighted_square(self, planes: np.ndarray, weights: np.ndarray) -> float:
        """The sum of weighted squares."""
        return float(np.einsum("ijk,ijk,ijk->ij", planes, planes, weights).sum(dtype=np.float64))


def pixels_around(shape: tuple[int, int], size: int, boundary: str) -> list[np.ndarray]:
    """The pixel, along each axis, at the positions that filters of that side see, which begin before the first."""
    kind, before = "wrap" if boundary == "wrap" else "reflect", size // 2
    return [pixel_at(kind, n, before, size - 1 - before) for n in shape]


def lengths_of(blur: Blur) -> tuple[int, int]:
    """Of the preconditioner's transforms: what goes round an end falls on zeros, but with "wrap"."""
    rows, cols = blur.estimate_shape
    if blur.boundary != "wrap":
        down, across = blur.psf.shape
        rows, cols = (scipy.fft.next_fast_len(n, real=True) for n in (rows + down - 1, cols + across - 1))
    return rows, cols


def autocorrelation(filters: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """The kernel of ``sum of factor f^T f``, of odd sides, its centre in the middle."""
    size = filters.shape[1]
    with forks.unforked():
        power = np.abs(scipy.fft.rfft2(filters, (2 * size - 1,) * 2)) ** 2
        kernel = scipy.fft.irfft2(np.tensordot(factors, power, 1), (2 * size - 1,) * 2)
    centred: np.ndarray = np.roll(kernel, (size - 1, size - 1), (0, 1))
    return centred
