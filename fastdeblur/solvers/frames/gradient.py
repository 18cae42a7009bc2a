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
from ..pcg.preconditioner import Preconditioner
from ..pcg.preconditioner_host import Applier
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


class NormalDescent:
    """Conjugate gradients on the normal equations with ``ridge DᵀD``, and what is known of the estimate on the way."""

    def __init__(self, normal: Normal, equations: Equations, ridge: float):
        self._normal, self._equations = normal, equations
        self.begin(ridge)
        self.move_to(equations.precondition(normal.right, ridge) / normal.right.dtype.type(normal.total_weight))

    def begin(self, ridge: float) -> None:
        """Go on for another ridge."""
        self._ridge, self._last = ridge, 0.0

    def move_to(self, x: np.ndarray) -> None:
        """Let planes be the estimate."""
        self.x, self._product, self._smooth = x, np.empty_like(x), self._equations.laplacian(x)
        self._normal.product(x, self._product)
        self._search_direction, self._last = np.zeros_like(x), 0.0

    def misfit(self) -> float:
        """The sum of w ‖A x − b‖²."""
        return self._normal.misfit(self.x, self._product)

    def roughness(self) -> float:
        """‖Dx‖²."""
        return max(dot(self.x, self._smooth), 0.0)

    def optimality(self, ridge: float) -> float:
        """The norm of the gradient for a ridge, relative to the sum of those of its parts."""
        data = self._product - self._normal.right
        gradient = self._gradient(data, ridge)
        parts = math.sqrt(dot(data, data)) + ridge * math.sqrt(dot(self._smooth, self._smooth))
        return math.sqrt(dot(gradient, gradient)) / parts if parts > 0 else 0.0

    def _gradient(self, data: np.ndarray, ridge: float) -> np.ndarray:
        gradient: np.ndarray = data + data.dtype.type(ridge) * self._smooth
        return gradient

    def step(self) -> None:
        """Go to the next estimate."""
        equations, ridge, direction = self._equations, self._ridge, self._search_direction
        gradient = self._gradient(self._product - self._normal.right, ridge)
        fresh = equations.precondition(gradient, ridge)
        one = fresh.dtype.type
        slope = dot(gradient, fresh)
        direction *= one(slope / self._last if self._last > 0 else 0.0)
        direction -= fresh
        self._last = slope
        moved, smoothed = np.empty_like(self.x), equations.laplacian(direction)
        self._normal.product(direction, moved)
        curvature = dot(direction, moved) + ridge * dot(direction, smoothed)
        length = one(-dot(gradient, direction) / curvature if curvature > 0 else 0.0)
        self.x += length * direction
        self._product += length * moved
        self._smooth += length * smoothed


def minimise_gradient(normal: Normal, options: Options, mu: float, noise: float) -> Result:
    """Minimise ½ Σ w ‖A x − b‖² + ½ mu ‖Dx‖²; the result's image is planes."""
    equations = Equations(normal)
    descent, progress = NormalDescent(normal, equations, mu), Progress(options)
    with bar(options.progress, options.max_iter) as show:
        while True:
            optimality, misfit = descent.optimality(mu), descent.misfit()
            show(len(progress.history))
            objective = 0.5 * misfit + 0.5 * mu * descent.roughness()
            if progress.stops(objective, optimality, equations.frame_of(descent.x)):
                break
            descent.step()
    return progress.result(normal, equations.frame_of(descent.x), mu, misfit, noise)
