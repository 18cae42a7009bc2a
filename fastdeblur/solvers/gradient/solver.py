"""Gradient descent and its optimisers (gd, momentum, Nesterov, Adam, Adagrad): the driver, for both devices.

A step at the iterate x_k is: residual pass, objective, update pass.  The update pass also yields the gradient's norm
at x_k, so each iterate is reported, and may be returned, before its successor takes its place.  What is between the
passes is compiled with them (`kernels/cpu/descent_loop.py`), or is on the device (`kernels/cuda/loop.py`); it returns
after some steps, so that interrupts, callbacks and a progress bar work.  Where it stops for that changes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ...kernels.cpu.descent_loop import DIVERGED, MAX_ITER, RUNNING, TOLERANCE
from ...kernels.cpu.objective import value
from ...operators.blur import Blur
from ...result import Result
from ..common import Problem, iterate, largest, result_of, unit_of
from ..protocols import IterativeWorkspace

# The notebook's rates, for rules whose steps do not follow from the operator's norm.
LEARNING_RATES = {"momentum": 0.05, "nesterov": 0.05, "adam": 0.02, "adagrad": 0.2}
# A step that follows the operator's norm, times the largest curvature; below 2 it cannot overshoot.
# 500 steps of root on a 512x512 photograph end, above the minimum, by 2e-4 with 1, 2e-5 with 1.5
# and 2e-6 with 1.9; the nearer to 2, the slower squares forgets a noisy start.
RELAXATION = 1.8

STOP_REASONS = {RUNNING: "", TOLERANCE: "tolerance", MAX_ITER: "max_iter", DIVERGED: "diverged"}


@dataclass(frozen=True)
class DescentParameters:
    """What the steps of a descent depend on, beside the image and its weights.

    Attributes
    ----------
    root : bool
        Whether the objective is of roots, or of squares.
    mu, tol : float
    max_iter : int
    learning_rate : float
        The step's length; times the largest curvature if it is to `follow` that.
    follow : bool
        Whether steps follow the operator's norm: they are halved where the objective rises.
    data_norm, prior_norm : float
        The largest eigenvalues of AᵀA and of DᵀD, or bounds of them.
    black, rounding : float
        The objective of a black image; and by how much rounding may raise an objective: that of roots, or that of
        squares in shares of the residual's norm.
    unit, brightness : float
        Sums are of pixels times `unit`; gradients are times `brightness`.
    bounds : tuple of float, or None
    """

    root: bool
    mu: float
    tol: float
    max_iter: int
    learning_rate: float
    follow: bool
    data_norm: float
    prior_norm: float
    black: float
    rounding: float
    unit: float
    brightness: float
    bounds: tuple[float, float] | None


class GradientSteps(IterativeWorkspace, Protocol):
    """What a workspace of a rule has: `begin`, `set_image` and `set_parameters`, to be called before `advance`."""

    blurs: list[Blur]
    device: str

    def begin(self, start: Callable[[Any], None]) -> None:
        """Let `start` write the frame of the first estimate; beyond it the frame's nearest pixels are repeated."""

    def set_image(self, image: Any, weights: Any) -> None:
        """Enter planes of the image, and weights of its pixels or None."""

    def set_parameters(self, parameters: DescentParameters) -> None:
        """Enter what the steps depend on, and let the iteration begin anew."""


def minimise(work: GradientSteps, problem: Problem, rule: str, learning_rate: float | None) -> Result:
    """Minimise an objective with the gradient prior, or none, by a rule; the result's image is planes.

    Weights are at most 1, and `work` is a workspace for that rule.
    """
    entered, blur, image, bounds = time.perf_counter(), work.blurs[0], problem.image, problem.bounds
    mu, root = problem.mu, problem.data == "root"

    def begin(out: np.ndarray) -> None:
        problem.start(out)
        if bounds is not None:
            out.clip(*bounds, out=out)

    work.begin(begin)
    work.set_image(image, problem.weights)
    brightest = max(largest(image), largest(work.frame))
    unit, follow = unit_of(brightest), rule == "gd" and learning_rate is None
    full = float(brightest * math.sqrt(image.size))
    black = float(value.py_func(root, mu, full, 0.0))  # (Compiled, it would be so in each process.)
    parameters = DescentParameters(
        root=root,
        mu=mu,
        tol=problem.tol,
        max_iter=problem.max_iter,
        learning_rate=learning_rate or LEARNING_RATES.get(rule, RELAXATION),
        follow=follow,
        data_norm=max(each.norm() for each in work.blurs) ** 2 if follow else 0.0,
        prior_norm=4.0 * sum(n > 1 for n in blur.estimate_shape),
        black=black,
        # What rounding the blurred image to the pixels' precision may do to the objective.
        rounding=float(np.finfo(blur.dtype).eps) * (black if root else full),
        unit=unit,
        brightness=1.0 if root else 1.0 / unit,
        bounds=bounds,
    )
    work.set_parameters(parameters)
    history, last = iterate(work, problem.max_iter, problem.callback, problem.progress)
    history = history or [last.objective]
    return result_of(work, history, last, mu, blur.path, work.device, entered)
