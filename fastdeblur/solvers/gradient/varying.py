"""Gradient descent's workspace and steps (CPU) for psfs that vary over the image: A and Aᵀ as they are, unfused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...kernels.cpu.descent_loop import EXPLODED, LARGEST
from ...kernels.cpu.objective import gradient_scales, value
from ...kernels.cpu.rules import ADAGRAD_START, EPSILON, KEEP, KEEP_SQUARE
from ...kernels.cpu.sweeper import Sweeper
from ...kernels.cpu.vectors import combine, difference_products, gradient_sums, products
from ...kernels.runtime import threads
from ...operators.blur import Blur, apply_to_planes
from ...operators.boundary import frame_of
from ...problem.start import spread_out
from ..protocols import Progress
from .solver import DescentParameters

# Seconds that a pixel takes one thread between products, to decide whether threads are worth it.
PIXEL_SECONDS = 5e-9


class VaryingGradientWorkspace:
    """What `GradientWorkspace` has, for a `VaryingBlur`, in arrays without a halo."""

    device = "cpu"
    most_steps = 1  # a product takes far longer than a return to Python

    def __init__(self, blurs: list[Blur], planes: int, rule: str):
        self.blurs, self.blur, self._rule = blurs, blurs[0], rule
        dtype, shape, frame = blurs[0].dtype, (planes, *blurs[0].estimate_shape), (planes, *blurs[0].image_shape)
        self._here, self._there, self._gradient = (np.zeros(shape, dtype) for _ in range(3))
        self._residual = np.zeros(frame, dtype)
        self._state = [np.zeros(shape, dtype) for _ in range({"gd": 0, "adam": 2}.get(rule, 1))]
        self._sweeper = Sweeper(dtype, self.blur.boundary == "wrap")
        self._sweeper.threads = threads.count(
            blurs[0].workers, self._here.size // 4096 + 1, self._here.size * PIXEL_SECONDS
        )

    @property
    def frame(self) -> np.ndarray:
        """The part of the last reported estimate that the image shows, planes x rows x cols."""
        frame: np.ndarray = frame_of(self._here, self.blur)
        return frame

    def begin(self, start: Callable[[np.ndarray], None]) -> None:
        """Let `start` write the frame of the first estimate; beyond it the frame's nearest pixels are repeated."""
        for state in self._state:
            state[...] = ADAGRAD_START if self._rule == "adagrad" else 0.0
        start(self.frame)
        spread_out(self._here, self.blur.frame_corner, self.blur.image_shape)

    def set_image(self, image: np.ndarray, weights: np.ndarray | None) -> None:
        """Enter the image and the weights of its pixels."""
        self._image, self._weights = image, weights

    def set_parameters(self, parameters: DescentParameters) -> None:
        """Enter what the steps depend on, and let the iteration begin anew."""
        self._parameters = parameters
        self._iteration, self._passes, self._pending, self._restoring = 0, 0, False, False
        self._scale = self._mean_power = self._square_power = self._optimality = 1.0
        self._objective, self._ceiling = math.nan, LARGEST

    def advance(self, limit: int) -> Progress:
        """Take a step, or at first none; reports the iterate that it leads from."""
        if self._pending:
            self._exchange()
            self._iteration += 1
            self._pending = False
        rate = self._judged()
        while rate is None:  # the step was taken back: once more from the estimate before
            rate = self._judged()
        if math.isnan(rate):
            return Progress([], self._objective, self._optimality, self._passes, "diverged")
        self._update(rate)
        self._pending = True
        stop_reason, parameters = "", self._parameters
        if self._optimality <= parameters.tol and parameters.tol > 0:
            stop_reason = "tolerance"
        elif self._iteration == parameters.max_iter:
            stop_reason = "max_iter"
        return Progress([self._objective], self._objective, self._optimality, self._passes, stop_reason)

    def _exchange(self) -> None:
        self._here, self._there = self._there, self._here

    def _judged(self) -> float | None:
        """The length of the next step; None if the last one has been taken back, NaN if there is no way back.

        As of `kernels.cpu.descent_loop.judge`.
        """
        parameters = self._parameters
        misfit, roughness = self._norms()
        objective = float(value.py_func(parameters.root, parameters.mu, misfit, roughness))
        if self._iteration == 0:
            self._ceiling = min(EXPLODED * max(objective, parameters.black), LARGEST)
        if not objective <= self._ceiling:
            if self._iteration > 0:
                self._exchange()
                self._iteration -= 1
            else:
                self._objective = objective
            return math.nan
        if parameters.follow and self._iteration > 0:
            if self._restoring:
                self._restoring = False
            elif objective > self._objective + parameters.rounding * (1.0 if parameters.root else misfit):
                self._exchange()
                self._restoring = True
                self._scale *= 0.5
                return None
            else:
                self._scale = min(2.0 * self._scale, 1.0)
            objective = min(objective, self._objective)
        self._objective = objective
        self._scales = data, prior = gradient_scales.py_func(
            parameters.root, parameters.mu, misfit, roughness, 1e-30 / parameters.unit
        )
        rate = parameters.learning_rate
        if parameters.follow:
            curvature = data * parameters.data_norm + prior * parameters.prior_norm
            rate *= self._scale / curvature if curvature > 0.0 else 0.0
        elif self._rule == "adam":
            self._mean_power *= KEEP
            self._square_power *= KEEP_SQUARE
            rate *= math.sqrt(1.0 - self._square_power) / (1.0 - self._mean_power)
        return float(rate)

    def _norms(self) -> tuple[float, float]:
        """‖A x − b‖, weighted, and ‖D x‖; leaves the weighted residual."""
        sweep, residual, here = self._sweeper.sweep, self._residual, self._here
        apply_to_planes(self.blurs, here, residual)
        self._passes += 1
        residual -= self._image
        if self._weights is None:
            square = float(sweep(products, [residual] * 4)[0])
        else:
            weighted = self._weights * residual
            square = float(sweep(products, [residual, weighted, residual, residual])[1])
            residual[...] = weighted
        return math.sqrt(max(square, 0.0)), math.sqrt(float(sweep(difference_products, [here] * 3)[0]))

    def _update(self, rate: float) -> None:
        """The gradient and the optimality at the current estimate, and the next one, beside it."""
        parameters, here, gradient, sweep = self._parameters, self._here, self._gradient, self._sweeper.sweep
        data, prior = self._scales
        apply_to_planes(self.blurs, self._residual, gradient, adjoint=True)
        self._passes += 1
        sums = sweep(gradient_sums, [gradient, here])
        parts = data * math.sqrt(float(sums[0])) + prior * math.sqrt(float(sums[2]))
        gradient *= gradient.dtype.type(data)
        square = float(sweep(combine, [gradient, here], (prior,))[0])
        if parameters.bounds is not None:
            low, high = parameters.bounds
            held = ((here <= low) & (gradient > 0)) | ((here >= high) & (gradient < 0))
            free = np.where(held, 0, gradient)
            square = float(sweep(products, [free] * 4)[0])
        self._optimality = math.sqrt(square) / parts if parts > 0.0 else 0.0
        if math.isnan(self._optimality):
            self._optimality = 1.0
        there = self._there
        with np.errstate(over="ignore", invalid="ignore"):  # of steps that are too long, which is seen
            _RULES[self._rule](gradient.dtype.type(rate), here, gradient, self._state, there)
        if parameters.bounds is not None:
            there.clip(*parameters.bounds, out=there)


def _gd(rate: Any, here: np.ndarray, gradient: np.ndarray, state: list[np.ndarray], out: np.ndarray) -> None:
    np.multiply(gradient, rate, out=out)
    np.subtract(here, out, out=out)


def _momentum(rate: Any, here: np.ndarray, gradient: np.ndarray, state: list[np.ndarray], out: np.ndarray) -> None:
    (velocity,) = state
    velocity *= velocity.dtype.type(KEEP)
    velocity += gradient
    _gd(rate, here, velocity, state, out)


def _nesterov(rate: Any, here: np.ndarray, gradient: np.ndarray, state: list[np.ndarray], out: np.ndarray) -> None:
    (velocity,) = state
    velocity *= velocity.dtype.type(KEEP)
    velocity += gradient
    gradient += velocity.dtype.type(KEEP) * velocity
    _gd(rate, here, gradient, state, out)


def _adam(rate: Any, here: np.ndarray, gradient: np.ndarray, state: list[np.ndarray], out: np.ndarray) -> None:
    (mean, square), one = state, gradient.dtype.type
    mean += (gradient - mean) * (one(1) - one(KEEP))
    np.multiply(gradient, gradient, out=out)
    out -= square
    square += out * (one(1) - one(KEEP_SQUARE))
    np.sqrt(square, out=out)
    out += one(EPSILON)
    np.divide(mean, out, out=out)
    _gd(rate, here, out, state, out)


def _adagrad(rate: Any, here: np.ndarray, gradient: np.ndarray, state: list[np.ndarray], out: np.ndarray) -> None:
    (total,) = state
    total += gradient * gradient
    np.sqrt(total, out=out)
    np.divide(gradient, out, out=out)
    _gd(rate, here, out, state, out)


# The rules of `kernels.cpu.rules`, on whole planes.
_RULES: dict[str, Callable[..., None]] = {
    "gd": _gd, "momentum": _momentum, "nesterov": _nesterov, "adam": _adam, "adagrad": _adagrad,
}  # fmt: skip
