"""Subspace step: the minimum of an objective in the span of a few directions, from inner products alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..common import log_ratio

# Steps of the search for the ridge; it converges like a secant method.
MOST_STEPS = 50


@dataclass(frozen=True)
class Span:
    """``‖r + A Z y‖² = rr + 2 a·y + y·AA y`` and ``‖D(x + Z y)‖² = xx + 2 d·y + y·DD y``."""

    aa: np.ndarray
    a: np.ndarray
    rr: float
    dd: np.ndarray
    d: np.ndarray
    xx: float

    def norms(self, y: np.ndarray) -> tuple[float, float]:
        """‖r‖ and ‖Dx‖ after a step."""
        misfit = self.rr + 2 * float(self.a @ y) + float(y @ self.aa @ y)
        rough = self.xx + 2 * float(self.d @ y) + float(y @ self.dd @ y)
        # What rounding leaves of a square is not less than nothing.
        return math.sqrt(max(misfit, 1e-32 * self.rr)), math.sqrt(max(rough, 1e-32 * self.xx))

    def ridge_step(self, ridge: float) -> np.ndarray:
        """Minimiser of ``‖r + A Z y‖² + ridge ‖D(x + Z y)‖²``."""
        with np.errstate(all="ignore"):  # what is not finite then is no step
            matrix = self.aa + ridge * self.dd
            scale = 1 / np.sqrt(np.maximum(np.diag(matrix), 1e-300))
            matrix = matrix * scale[:, None] * scale[None, :]
            slope = scale * (self.a + ridge * self.d)
        # Directions that depend on each other cost nothing but this.
        matrix[np.diag_indices_from(matrix)] += 1e-14
        if not (np.isfinite(matrix).all() and np.isfinite(slope).all()):
            return np.full(len(matrix), math.nan)
        step: np.ndarray = -scale * np.linalg.solve(matrix, slope)
        return step

    def root_step(self, mu: float) -> np.ndarray:
        """Minimiser of ``‖r + A Z y‖ + mu ‖D(x + Z y)‖``.

        It is a ridge step whose ridge is mu times the ratio of the norms it leads to.
        """
        best = np.zeros(len(self.a))
        misfit, rough = math.sqrt(self.rr), math.sqrt(self.xx)
        least = misfit + mu * rough
        allowed = least * (1 + 1e-13)
        t = log_ratio(mu, misfit, rough)
        last: tuple[float, float] | None = None
        for _ in range(MOST_STEPS):
            y = self.ridge_step(math.exp(t))
            misfit, rough = self.norms(y)
            if misfit + mu * rough < least:
                best, least = y, misfit + mu * rough
            if not (misfit > 0 and rough > 0):
                break
            error = log_ratio(mu, misfit, rough) - t
            if abs(error) < 1e-12:
                # The objective is flat here: comparing its values would leave half of the digits.
                return y if misfit + mu * rough <= allowed else best
            slope = -1.0
            if last is not None and last[0] != t:
                slope = min((error - last[1]) / (t - last[0]), -0.02)
            last = t, error
            t -= min(max(error / slope, -3.0), 3.0)
            t = min(max(t, -80.0), 80.0)
        return best


def quadratic_step(gram: np.ndarray, slopes: list[float]) -> tuple[float, float]:
    """Factors of two directions at the minimum of a quadratic; the second is 0 where it adds nothing."""
    (a, b), (_, c) = gram
    determinant = a * c - b * b
    if determinant > 1e-6 * a * c:
        return (c * slopes[0] - b * slopes[1]) / determinant, (a * slopes[1] - b * slopes[0]) / determinant
    return (slopes[0] / a if a > 0 else 0.0), 0.0
