"""Secant search for the ridge of roots: the one that its own minimiser has."""

from __future__ import annotations

import math

from ..common import log_ratio

# The least ridge, in a solve's units.
LEAST = 1e-200


class RidgeSearch:
    """Solves ``ridge = own(ridge)``, where own is the ridge that a minimiser for `ridge` would have itself.

    In logarithms the difference falls with a slope between -1 and 0, the nearer to 0 the nearer the
    minimum is to a kink.  Ridges are tried as soon as the last one's minimiser is near enough to tell.
    """

    def __init__(self, ridge: float):
        self.ridge = max(ridge, LEAST)
        self._last: tuple[float, float] | None = None

    def next(self, own: float, stationarity: float, excess: float) -> float:
        """The ridge for the next step.

        From the current iterate's own, how stationary it is, and by what factor the objective
        lacks more than allowed; if that is at most 1, smaller ridges are of no use.
        """
        error = log_ratio(own, 1.0, self.ridge) if 0 < own < math.inf else math.copysign(2.0, own - 1.0)
        if stationarity > 0.1 * min(abs(error), 1.0) or (error < 0 and excess <= 1):
            return self.ridge
        t, slope = math.log(self.ridge), -0.7
        if self._last is not None and self._last[0] != t:
            slope = min(max((error - self._last[1]) / (t - self._last[0]), -1.5), -0.1)
        self._last = t, error
        step = min(max(-error / slope, -4.0), 4.0)
        if error < 0 and excess < math.inf:
            step = max(step, -math.log(2 * excess))
        self.ridge = max(math.exp(t + step), LEAST)
        return self.ridge
