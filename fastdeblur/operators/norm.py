"""Norm of a blur: an upper bound of its 2-norm, close to it where the psf is positive.

With ``B`` the blur by ``|psf|``, ``‖A‖ <= ‖B‖``, and for any positive ``v`` the largest of
``(BᵀB v) / v`` bounds ``‖B‖²`` (Collatz 1942).  For the eigenvector it is ``‖B‖²`` itself, and some
power iterations come near it.

Border effects do not depend on how far apart the borders are, so a large image is not needed for
that: a ``v`` that is constant in the middle of a smaller one has the same quotients as one that goes on constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .boundary import FOLDED, reduced

# A bound this close to a lower bound will do.
CLOSE = 1.03
MOST_ITERATIONS = 80
# Smallest entry of `v`, of its largest: keeps quotients from being rounding over rounding.
FLOOR = 1e-6
# Covers the rounding of products by any path, which is relative to the largest entry of `v`.
ROUNDING = 1e-8
# Side of the smaller image, in reaches of the psf; a quarter of it is the middle.
BOX = 16

Operator = Callable[[np.ndarray], np.ndarray]


def upper_bound(psf: np.ndarray, shape: tuple[int, int], boundary: str, blur: Callable[..., Any]) -> float:
    """A bound of the norm of the blur by `psf` of images of `shape`; `blur` makes operators, as `Blur` does."""
    weights = np.abs(psf.astype(np.float64))
    # Near 1, for squares of very small or large numbers are none.
    unit = 2.0 ** math.frexp(float(weights.max()))[1]
    return unit * _upper_bound(weights / unit, shape, boundary, blur)


def _upper_bound(weights: np.ndarray, shape: tuple[int, int], boundary: str, blur: Callable[..., Any]) -> float:
    """`upper_bound` for positive weights whose largest is near 1."""
    total = float(weights.sum())
    if boundary == "wrap":  # a constant image is an eigenvector
        return total
    if boundary in FOLDED:
        return _at_borders(weights, shape, boundary, blur)
    # "constant" is part of "unknown", and both are part of a blur without borders.
    if total <= CLOSE * _rayleigh(weights, shape):
        return total
    operator = blur(weights, shape, boundary=boundary)
    there, back = operator.forward, operator.adjoint
    if boundary == "unknown":  # the smaller of the two products
        there, back = back, there
    bound, _, _ = _iterate(
        there, back, np.outer(*(_arch(size, taps) for size, taps in zip(shape, weights.shape, strict=True)))
    )
    return min(bound, total)


def bound_of(there: Operator, back: Operator, shape: tuple[int, int]) -> float:
    """A bound of the norm of an operator without negative entries, and its adjoint, on estimates of `shape`."""
    return _iterate(there, back, np.ones(shape))[0]


def _at_borders(weights: np.ndarray, shape: tuple[int, int], boundary: str, blur: Callable[..., Any]) -> float:
    """The bound where pixels of the border are repeated outside the frame."""
    weights = reduced(weights, shape, boundary)
    reach = [taps // 2 + 1 for taps in weights.shape]
    sides = BOX
    while True:
        box = tuple(min(size, sides * least) for size, least in zip(shape, reach, strict=True))
        operator = blur(weights, box, boundary=boundary)
        bound, least, v = _iterate(operator.forward, operator.adjoint, np.ones(box))
        if box == shape:
            return bound
        rows, cols = (_flattened(side, size, away) for side, size, away in zip(box, shape, reach, strict=True))
        flat = v[np.ix_(rows, cols)]
        bound = _quotient(flat, operator.adjoint(operator.forward(flat)))
        if bound <= CLOSE * least:
            return bound
        sides *= 2


def _flattened(side: int, size: int, reach: int) -> np.ndarray:
    """Where to take a smaller image's entries from so that its middle is constant, as that of a larger one."""
    at = np.arange(side)
    if side == size:
        return at
    margin = side // 2 - 2 * reach
    return np.where((at < margin) | (at >= side - margin), at, side // 2)


def _iterate(there: Operator, back: Operator, v: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Power iterations: a bound, a lower bound of the norm, and the `v` of the bound."""
    best, least, best_v = math.inf, 0.0, v
    for _ in range(MOST_ITERATIONS):
        v = np.maximum(v / v.max(), FLOOR)
        blurred = there(v)
        product = back(blurred)
        least = max(least, float(np.linalg.norm(blurred) / np.linalg.norm(v)))
        bound = _quotient(v, product)
        if bound < best:
            best, best_v = bound, v
        if best <= CLOSE * least:
            break
        v = product
    return best, least, best_v


def _quotient(v: np.ndarray, product: np.ndarray) -> float:
    return math.sqrt(max(float((product / v).max()), 0.0) * (1 + ROUNDING))


def _arch(size: int, taps: int) -> np.ndarray:
    """Half a sine, not quite 0 at the borders: about what a blur with black borders amplifies most."""
    away = 1 + taps / 6
    return np.asarray(np.sin(np.pi * (np.arange(size) + away) / (size - 1 + 2 * away)))


def _rayleigh(weights: np.ndarray, shape: tuple[int, int]) -> float:
    """A lower bound of the norm of a blur with black borders: what it makes of one test image."""
    products = weights
    for axis, (size, taps) in enumerate(zip(shape, weights.shape, strict=True)):
        v = _arch(size, taps)
        away = np.abs(np.arange(taps) - taps // 2)
        overlap = np.array([v[k:] @ v[: size - k] if k < size else 0.0 for k in away])
        products = products * np.expand_dims(overlap / (v @ v), 1 - axis)
    return float(products.sum())
