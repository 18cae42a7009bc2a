"""The objectives: their values, and how gradients follow from Aᵀr and DᵀDx.

With ``r = A x - b`` and ``D`` the forward differences of the whole estimate:

- ``root``: ``sqrt(½‖r‖²) + mu * sqrt(½‖Dx‖²)``
- ``squares``: ``½‖r‖² + mu * ½‖Dx‖²``

Both are functions of the two norms ``‖r‖`` and ``‖Dx‖``.  Other priors and photon noise have values only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels.cpu.shrink import POWER

DATA = ("root", "squares", "poisson")
# What second differences weigh in the sparse prior, beside the first.
SECONDS = 0.5
# Rows at a time.
BAND = 64


def penalty(prior: str, x: np.ndarray) -> float:
    """A prior's value for planes of an estimate, see `api.solve`."""
    total = 0.0
    rows, cols = x.shape[1:]
    for first in range(0, rows, BAND):
        top, end = max(first - 1, 0), min(first + BAND + 1, rows)
        lines, own = x[:, top:end].astype(np.float64), slice(first - top, min(BAND, rows - first) + first - top)
        down, across = np.diff(lines, axis=1)[:, own], np.diff(lines, axis=2)[:, own]
        squares = np.zeros((own.stop - own.start, cols))
        squares[: down.shape[1]] += (down**2).sum(axis=0)
        squares[:, : cols - 1] += (across**2).sum(axis=0)
        if prior == "gradient":
            total += 0.5 * float(squares.sum())
        elif prior == "tv":
            total += float(np.sqrt(squares).sum())
        else:
            total += float((squares ** (POWER / 2)).sum())
            total += SECONDS * float((_second_squares(lines)[own] ** (POWER / 2)).sum())
    return total


def _second_squares(lines: np.ndarray) -> np.ndarray:
    """Squared second differences of some rows; the first and the last have none down."""
    squares = np.zeros(lines.shape[1:])
    squares[1:-1] += (np.diff(lines, 2, axis=1) ** 2).sum(axis=0)
    squares[:, 1:-1] += (np.diff(lines, 2, axis=2) ** 2).sum(axis=0)
    squares[:-1, :-1] += 2 * (np.diff(np.diff(lines, axis=1), axis=2) ** 2).sum(axis=0)
    return squares


def misfit(data: str, blurred: np.ndarray, image: np.ndarray, weights: np.ndarray | None, shift: Any = None) -> float:
    """The data part of "squares" or "poisson" for planes of a blurred estimate, to which poisson adds `shift`."""
    total = 0.0
    for k in range(len(image)):
        for first in range(0, image.shape[1], BAND):
            here = slice(first, first + BAND)
            mean, b = (array[k, here].astype(np.float64) for array in (blurred, image))
            w = 1.0 if weights is None else weights[k, here].astype(np.float64)
            if data == "squares":
                total += 0.5 * float((w * (mean - b) ** 2).sum())
                continue
            if shift is not None:
                mean += np.broadcast_to(shift, image.shape)[k, here]
            log = np.log(np.where(b > 0, np.maximum(mean, np.finfo(np.float64).tiny), 1.0))
            total += float((w * (mean - b * log)).sum())
    return total
