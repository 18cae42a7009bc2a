"""Optimisers (CUDA), for one pixel; twin of `kernels/cpu/rules.py`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..cpu.rules import EPSILON, KEEP, KEEP_SQUARE
from .shapes import device

NAMES = ("gd", "momentum", "nesterov", "adam", "adagrad")
# How many images of state each has.
STATES = (0, 1, 1, 2, 1)
GD, MOMENTUM, NESTEROV, ADAM, ADAGRAD = range(5)


def make(dtype: Any) -> Any:
    """The device function ``step(rule, rate, x, g, first, second, plane, i, j)``: the pixel's next value."""
    real = np.dtype(dtype).type
    one, keep, epsilon = real(1), real(KEEP), real(EPSILON)
    forget, forget_square = one - keep, one - real(KEEP_SQUARE)

    @device
    def step(rule, rate, x, g, first, second, plane, i, j):
        if rule == GD:
            return x - rate * g
        if rule == ADAM:
            mean = first[plane, i, j] + (g - first[plane, i, j]) * forget
            square = second[plane, i, j] + (g * g - second[plane, i, j]) * forget_square
            first[plane, i, j], second[plane, i, j] = mean, square
            return x - rate * mean / (math.sqrt(square) + epsilon)
        if rule == ADAGRAD:
            total = first[plane, i, j] + g * g
            first[plane, i, j] = total
            return x - rate * g / math.sqrt(total)
        velocity = keep * first[plane, i, j] + g
        first[plane, i, j] = velocity
        if rule == MOMENTUM:
            return x - rate * velocity
        return x - rate * (g + keep * velocity)

    return step
