"""Workspace of the solver with the learned prior (CUDA): objective, gradient, preconditioner; see `host`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...kernels.cuda import device, vectors
from ...kernels.cuda.device import launch, rows_of, view
from ...kernels.cuda.passes import fold
from ...kernels.cuda.responses import LANES, WARPS, blocks_of, responses_of
from ...kernels.cuda.shapes import ADDERS, STRIP, THREADS
from ...kernels.cuda.sums import SUMS, total, total_of_each
from ...operators.blur import Blur
from ...operators.boundary import frame_of, reduced
from ...operators.cuda import places
from ...problem.learned import Potentials, terms
from .host import LEAST, autocorrelation, lengths_of, pixels_around


class CudaPriorPass:
    """`PriorPass` for planes on the device."""

    def __init__(self, planes: int, shape: tuple[int, int], dtype: Any, boundary: str):
        self._planes, self._shape, dtype = planes, shape, np.dtype(dtype)
        count, size, term_count = terms()
        pixels, wide = pixels_around(shape, size, boundary), [n + size - 1 for n in shape]
        self._tables = [view(device.put(at.astype(np.int32))) for at in pixels]
        self._places = [view(each) for at, n in zip(pixels, shape, strict=True) for each in places(at, n)]
        self._wide, self._gradient = device.zeros((planes, *wide), dtype), device.zeros((planes, *shape), dtype)
        self._filters, self._numbers = (
            device.zeros((count, size, size), dtype),
            device.zeros((count, term_count, 3), dtype),
        )
        self._kernel, self._blocks = responses_of(size, dtype), blocks_of(size, dtype, planes, *shape)
        self._block_count = math.prod(self._blocks)
        self._partials = device.zeros((count * self._block_count, SUMS), np.float64)
        self._totals, self._sums = device.zeros((count, SUMS), np.float64), np.zeros((count, SUMS))
        arrays = self._wide, self._gradient, self._filters, self._numbers, self._partials, self._totals
        self._views = [view(each) for each in arrays]

    def set(self, potentials: Potentials, mu: float) -> None:
        """Take the filters and `mu` times the potentials."""
        self._filters[...] = device.put(potentials.filters.astype(self._filters.dtype))
        self._numbers[...] = device.put((potentials.numbers * (mu, 1, mu)).astype(self._numbers.dtype))

    def __call__(self, x: Any) -> tuple[float, Any]:
        """Value and gradient for planes of the estimate."""
        wide, gradient, filters, numbers, partials, totals = self._views
        launch(self._kernel, self._blocks, (LANES, WARPS), view(x), *self._tables, filters, numbers, wide, partials)
        launch(fold, *rows_of(self._planes, *self._shape), wide, *self._places, gradient)
        launch(total_of_each, len(self._sums), ADDERS, partials, self._block_count, 2, totals)
        self._sums = device.to_host(self._totals)
        return float(self._sums[:, 0].sum()), self._gradient

    def curvatures(self) -> np.ndarray:
        """Of each filter the mean of slope / response at the last estimate."""
        means: np.ndarray = self._sums[:, 1] / (self._planes * math.prod(self._shape))
        return means


class CudaLearnedWorkspace:
    """The variables of one solve on the device, and what its steps compute; see `LearnedWorkspace`."""

    device = "cuda"

    def __init__(self, blurs: list[Blur], planes: int, pairs: int):
        self.blurs, self.planes = blurs, planes
        self.blur = blur = blurs[0]
        self._operator = blur.operator_with(blurs)
        self.dtype = dtype = np.dtype(blur.dtype)
        estimate, frame = (planes, *blur.estimate_shape), (planes, *blur.image_shape)
        self.x, self.trial, self.gradient = (device.zeros(estimate, dtype) for _ in range(3))
        self.steps, self.changes = ([device.zeros(estimate, dtype) for _ in range(pairs)] for _ in range(2))
        self.image, self.blurred = device.zeros(frame, dtype), device.zeros(frame, dtype)
        self.prior = CudaPriorPass(planes, blur.estimate_shape, dtype, blur.boundary)
        self.applied = 0
        self._lengths = lengths_of(blur)
        self._psf_power: Any = None
        self._divisor: Any = None
        self._filters, self._data = np.zeros((0, 1, 1)), 1.0
        blocks = planes * max(-(-shape[1] // STRIP) for shape in (estimate, frame))
        self._partials = view(device.zeros((blocks, SUMS), np.float64))
        self._totals = device.zeros((1, SUMS), np.float64)
        self._totals_view = view(self._totals)

    @property
    def frame(self) -> Any:
        """The part of the estimate that the image shows."""
        return frame_of(self.x, self.blur)

    def apply_blur(self, source: Any, out: Any, adjoint: bool = False) -> None:
        """out = A source, or A^T source."""
        (self._operator.adjoint if adjoint else self._operator.forward)(source, out)
        self.applied += 1

    def set_prior(self, potentials: Potentials, mu: float, data: float) -> None:
        """Take `mu` times the potentials, beside data of the weight `data`."""
        self.prior.set(potentials, mu)
        self._filters, self._data = potentials.filters, data

    def set_preconditioner(self, share: float = 1.0) -> None:
        """The preconditioner is for that share of the prior's curvatures at the last estimate."""
        xp, fft = device.arrays(), device.transforms()
        if self._psf_power is None:
            psfs = [self._padded(blur.psf.astype(np.float64)) for blur in self.blurs]
            self._psf_power = (xp.abs(fft.rfft2(xp.stack(psfs))) ** 2).astype(self.dtype)
        kernel = autocorrelation(self._filters, share * self.prior.curvatures())
        padded = self._padded(kernel)
        rough = fft.rfft2(xp.roll(padded, tuple(-(n // 2) for n in kernel.shape), (0, 1))).real
        largest = float(self._psf_power.max()) * self._data
        least = LEAST * (largest + float(rough.max())) or 1.0
        self._divisor = self._psf_power * self.dtype.type(self._data) + xp.maximum(rough, least).astype(self.dtype)

    def _padded(self, kernel: np.ndarray) -> Any:
        """A kernel at the corner of the transforms' domain, in double precision."""
        rows, cols = self._lengths
        kernel = reduced(kernel, (rows, cols), "wrap")
        padded = device.zeros((rows, cols), np.float64)
        padded[: kernel.shape[0], : kernel.shape[1]] = device.put(kernel)
        return padded

    def precondition(self, planes: Any) -> None:
        """Planes of the estimate's size become what the preconditioner makes of them."""
        fft, (_, rows, cols) = device.transforms(), planes.shape
        coefficients = fft.rfft2(planes, self._lengths)
        coefficients /= self._divisor
        planes[...] = fft.irfft2(coefficients, self._lengths, overwrite_x=True)[:, :rows, :cols]

    def products(self, first: Any, second: Any) -> tuple[float, float, float]:
        """The inner product of planes, and the square of each."""
        product, first_square, second_square = self._sweep(vectors.inner_products, 3, first, second)
        return product, first_square, second_square

    def add(self, out: Any, factor: float, added: Any, other: Any = None) -> float:
        """out += factor added; returns the inner product with `other`, or its square."""
        other = out if other is None else other
        return self._sweep(vectors.add_and_multiply, 1, out, added, other, factor=factor)[0]

    def sum(self, first: Any, factor: float, second: Any, out: Any) -> None:
        """out = first + factor second."""
        self._launch(vectors.scaled_sum, first, second, out, factor=factor)

    def weighted_square(self, planes: Any, weights: Any) -> float:
        """The sum of weighted squares."""
        return float((planes * planes * weights).sum(dtype=np.float64))

    def _launch(self, kernel: Any, *planes: Any, **others: Any) -> int:
        """Launch a sweep; returns how many blocks it has."""
        count, rows = map(int, planes[0].shape[:2])
        strips = -(-rows // STRIP)
        launch(kernel, (strips, 1, count), THREADS, *(view(each) for each in planes), *others.values())
        return strips * count

    def _sweep(self, kernel: Any, sums: int, *planes: Any, **factors: float) -> list[float]:
        """A sweep's sums, on the host."""
        blocks = self._launch(kernel, *planes, **factors, partials=self._partials)
        launch(total, 1, ADDERS, self._partials, blocks, sums, self._totals_view)
        found: list[float] = device.to_host(self._totals)[0, :sums].tolist()
        return found
