"""Smooth estimates of several frames, by preconditioned conjugate gradients on the normal equations."""

from __future__ import annotations

import math

import numpy as np
import scipy.fft

from ...kernels.cpu.sweeper import Sweeper
from ...kernels.cpu.vectors import combine
from ...kernels.runtime import forks, threads
from ...operators.boundary import reduced
from ...problem.laplacian import eigenvalues
from ...problem.options import Options
from ...result import Result
from ..common import bar, wants_stop
from ..pcg.preconditioner import Applier, Preconditioner
from .operators import Normal, dot

# Least share of the whole coverage of a pixel to reckon with.
LEAST_COVERAGE = 0.15


class Equations:
    """Normal equations with DᵀD, and a preconditioner for both, in one place."""

    def __init__(self, normal: Normal):
        blur, self._weight = normal.blur, normal.total_weight
        self._sweeper = Sweeper(normal.right.dtype, blur.boundary == "wrap")
        size = normal.right.size
        self._sweeper.threads = threads.count(blur.workers, size // 4096 + 1, size * 20e-9)
        # What is beyond the frame each frame shows otherwise, and no psf for all as they do: the preconditioner takes
        # the estimate for periodic, and those pixels for ones of less weight.  (Three motions of 7 pixels, 144 x 192,
        # moved by up to 4: 170 steps of conjugate gradients, without such weights more than 200, and with the boundary
        # correction of a mean psf an optimality of 0.1 after 200.)
        boundary, shape = blur.boundary, blur.image_shape
        if boundary == "unknown":
            boundary, shape = "wrap", blur.estimate_shape
        self._mean = normal.mean_psf()
        self._preconditioner = Preconditioner(
            self._mean, boundary, shape, blur.estimate_shape, blur.workers, by_formula=False,
            periodic=blur.boundary == "wrap",
        )  # fmt: skip
        self.roots: np.ndarray | None = None
        if blur.boundary == "unknown" or normal.weights.of_pixels:
            coverage = normal.coverage()
            self.roots = np.sqrt(np.maximum(coverage / coverage.max(), LEAST_COVERAGE)).astype(normal.right.dtype)
        self._applier = Applier(self._preconditioner, self._sweeper, len(normal.right))
        self._corner, self._frame = blur.frame_corner, blur.image_shape
        self._power: np.ndarray | None = None

    def precondition(self, source: np.ndarray, ridge: float) -> np.ndarray:
        """About the solution for a right-hand side, times the sum of weights."""
        solves = self._preconditioner.at(max(ridge / self._weight, self._preconditioner.least))
        out = np.empty_like(source)
        if self.roots is None:
            self._applier.apply(solves, source, out)
            return out
        self._applier.apply(solves, source / self.roots, out)
        out /= self.roots
        return out

    def precondition_all(self, source: np.ndarray, ridge: float, second: float, pixels: float) -> np.ndarray:
        """The same with ``second (DᵀD)²`` and `pixels` times the estimate beside the ridge, by a periodic transform."""
        shape, one = source.shape[1:], source.dtype.type
        with forks.unforked():
            if self._power is None:
                rows, cols = shape
                padded = np.zeros(shape)
                psf = reduced(self._mean.astype(np.float64), (rows, cols), "wrap")
                padded[: psf.shape[0], : psf.shape[1]] = psf
                self._power = np.abs(scipy.fft.rfft2(padded)) ** 2
            rough = eigenvalues(shape[0], shape[0])[:, None] + eigenvalues(shape[1], shape[1] // 2 + 1)
            divisor = self._power + (ridge * rough + second * rough**2 + pixels) / self._weight
            # A constant is not left out, for psfs that lose it.
            divisor = np.maximum(divisor, float(np.finfo(source.dtype).eps) * divisor.max()).astype(source.dtype)
            roots = one(1) if self.roots is None else self.roots
            coefficients = scipy.fft.rfft2(source / roots)
            coefficients /= divisor
            out: np.ndarray = scipy.fft.irfft2(coefficients, shape, overwrite_x=True)
        out /= roots
        return out

    def laplacian(self, planes: np.ndarray) -> np.ndarray:
        """DᵀD of planes."""
        out = np.zeros_like(planes)
        self._sweeper.sweep(combine, [out, planes], (1.0,))
        return out

    def frame_of(self, planes: np.ndarray) -> np.ndarray:
        """The part of planes of the estimate that the frames show."""
        (top, left), (rows, cols) = self._corner, self._frame
        return planes[:, top : top + rows, left : left + cols]


class Progress:
    """The history of a solve, and why it stops."""

    def __init__(self, options: Options):
        self._options = options
        self.history: list[float] = []
        self.optimality, self.stop_reason = math.nan, ""

    def stops(self, objective: float, optimality: float, frame: np.ndarray) -> bool:
        """Whether an iterate is the last one; shows it to the caller."""
        options, iteration = self._options, len(self.history)
        self.history.append(objective)
        self.optimality = optimality
        if not np.isfinite(optimality):
            self.stop_reason = "diverged"
        elif optimality <= options.tol and options.tol > 0:
            self.stop_reason = "tolerance"
        elif iteration == options.max_iter:
            self.stop_reason = "max_iter"
        elif options.callback and iteration and wants_stop(options.callback, iteration, objective, optimality, frame):
            self.stop_reason = "callback"
        return bool(self.stop_reason)

    def result(self, normal: Normal, frame: np.ndarray, mu: float, misfit: float, noise: float) -> Result:
        """The result for the last iterate."""
        pixels = normal.total_weight * frame.size
        return Result(
            image=frame.copy(),
            objective=self.history[-1],
            history=np.array(self.history),
            n_iter=len(self.history) - 1,
            n_products=float(normal.applied),
            stop_reason=self.stop_reason,
            optimality=self.optimality,
            mu=mu,
            path=normal.blur.path,
            device="cpu",
            seconds=0.0,
            noise=noise,
            misfit=math.sqrt(misfit / pixels) / noise if noise > 0 else math.nan,
        )


def minimise_gradient(normal: Normal, options: Options, mu: float, noise: float) -> Result:
    """Minimise ½ Σ w ‖A x − b‖² + ½ mu ‖Dx‖²; the result's image is planes."""
    right, dtype, equations = normal.right, normal.right.dtype, Equations(normal)
    x = equations.precondition(right, mu) / dtype.type(normal.total_weight)
    product, smooth = np.empty_like(x), equations.laplacian(x)
    normal.product(x, product)
    progress = Progress(options)
    search_direction, last = np.zeros_like(x), 0.0
    with bar(options.progress, options.max_iter) as show:
        while True:
            data = product - right
            gradient = data + dtype.type(mu) * smooth
            parts = math.sqrt(dot(data, data)) + mu * math.sqrt(dot(smooth, smooth))
            optimality = math.sqrt(dot(gradient, gradient)) / parts if parts > 0 else 0.0
            misfit = normal.misfit(x, product)
            show(len(progress.history))
            if progress.stops(0.5 * misfit + 0.5 * mu * dot(x, smooth), optimality, equations.frame_of(x)):
                break
            fresh = equations.precondition(gradient, mu)
            slope = dot(gradient, fresh)
            search_direction *= dtype.type(slope / last if last > 0 else 0.0)
            search_direction -= fresh
            last = slope
            moved, smoothed = np.empty_like(x), equations.laplacian(search_direction)
            normal.product(search_direction, moved)
            curvature = dot(search_direction, moved) + mu * dot(search_direction, smoothed)
            length = dtype.type(-dot(gradient, search_direction) / curvature if curvature > 0 else 0.0)
            x += length * search_direction
            product += length * moved
            smooth += length * smoothed
    return progress.result(normal, equations.frame_of(x), mu, misfit, noise)
