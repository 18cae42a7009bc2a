"""Roots of several frames: one square root of the sum of all their squared residuals, and one of the prior.

The minimiser of ``sqrt(½ Σ w ‖A x − b‖²) + mu sqrt(½ ‖Dx‖²)``, whose sums run over all frames, is that of squares with
the ridge ``mu sqrt(Σ w ‖A x − b‖²) / ‖Dx‖`` of its own (see `pcg.solver`).  The ridge is searched by secants of its
logarithm: as the objective is convex, an estimate's own ridge grows more slowly than the ridge that it is the minimiser
for.  Conjugate gradients on the normal equations go on from the last ridge's estimate.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ...problem.laplacian import least_subgradient
from ...problem.options import Options
from ...result import Result
from ..common import bar
from .gradient import Equations, NormalDescent, Progress
from .operators import Normal

# An estimate is good enough for the next ridge when its optimality is that share of how far (as a logarithm) its own
# ridge is from the one that it is for.
GOOD = 0.3
# Secants are believed up to this slope, and the ridge changes by at most this factor.
STEEPEST, MOST_CHANGE = 0.9, 100.0
# The first ridge of a weight that was given, and the largest, in shares of the sum of weights.
FIRST, LARGEST = 1e-2, 1e8
# The norm of a residual that is taken for nothing, in last digits of the frames' norm: it is a difference of squares.
NOUGHT = 32.0


class RidgeBySecants:
    """The ridge that is the estimate's own."""

    def __init__(self, ridge: float):
        self.ridge = ridge
        self._before: tuple[float, float] | None = None

    def follow(self, own: float, largest: float) -> None:
        """Take the next ridge, the minimiser for the current one having one of its own."""
        at, there = math.log(self.ridge), math.log(own)
        slope = 0.0
        if self._before is not None and at != self._before[0]:
            slope = min(max((there - self._before[1]) / (at - self._before[0]), 0.0), STEEPEST)
        self._before = at, there
        most = math.log(MOST_CHANGE)
        step = min(max((there - at) / (1 - slope), -most), most)
        self.ridge = min(math.exp(at + step), largest)


def minimise_root(normal: Normal, options: Options, mu: float, noise: float) -> tuple[Result, float]:
    """Minimise the root of the sum of squares of all frames; returns the result, in planes, and its ridge.

    If the options have no weight, `mu` is a ridge, and the weight is the one whose minimiser has it.
    """
    given, equations, total = options.mu is not None, Equations(normal), normal.total_weight
    search = RidgeBySecants(mu if not given or mu == 0 else FIRST * total)
    descent = NormalDescent(normal, equations, search.ridge)
    constant = _constant(normal, mu) if given and mu > 0 else None
    if constant is not None:
        descent.move_to(constant)
    nought = NOUGHT * float(np.finfo(normal.right.dtype).eps) * math.sqrt(normal.squares)
    progress = Progress(options)
    norms: list[tuple[float, float]] = []

    def weight() -> float:
        misfit, rough = norms[-1]
        return mu if given else mu * rough / max(misfit, nought, 1e-300)

    def value(at: int) -> float:
        misfit, rough = norms[at]
        return math.sqrt(0.5) * (misfit + weight() * rough)

    with bar(options.progress, options.max_iter) as show:
        while True:
            misfit, rough = math.sqrt(descent.misfit()), math.sqrt(descent.roughness())
            norms.append((misfit, rough))
            own = mu
            if given:
                own = min(mu * max(misfit, nought) / rough if rough > 0 else math.inf, LARGEST * total)
            optimality = descent.optimality(own) if constant is None else 0.0
            show(len(progress.history))
            if progress.stops(value(-1), optimality, equations.frame_of(descent.x)):
                break
            change = abs(math.log(own / search.ridge)) if own > 0 else 0.0
            if change > 0 and descent.optimality(search.ridge) <= GOOD * change:
                search.follow(own, LARGEST * total)
                descent.begin(search.ridge)
            descent.step()
    result = progress.result(normal, equations.frame_of(descent.x), weight(), descent.misfit(), noise)
    history = np.array([value(at) for at in range(len(norms))])
    return replace(result, history=history, objective=float(history[-1])), search.ridge


def _constant(normal: Normal, mu: float) -> np.ndarray | None:
    """The constant planes that are the minimum, as they are from some weight on; else None.

    There the prior's subgradients have to hold one that is the negative gradient of the root, see `least_subgradient`.
    """
    planes, product = np.ones_like(normal.right), np.empty_like(normal.right)
    normal.product(planes, product)
    for plane, response, right in zip(planes, product, normal.right, strict=True):
        square = float(response.sum(dtype=np.float64))
        plane[...] = float(right.sum(dtype=np.float64)) / square if square > 0 else 0.0
    normal.product(planes, product)
    misfit = math.sqrt(normal.misfit(planes, product))
    needed = least_subgradient(product - normal.right, normal.blur.boundary == "wrap")
    return planes if needed <= mu * misfit else None
