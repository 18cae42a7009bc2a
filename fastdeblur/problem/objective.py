"""Objectives: values of the data terms and priors on the host.

With ``r = A x - b`` and ``D`` the forward differences of the whole estimate, periodic where that is:

- ``root``: ``sqrt(½‖r‖²) + mu * sqrt(½‖Dx‖²)``
- ``squares``: ``½‖r‖² + mu * ½‖Dx‖²``

Both are functions of the two norms ``‖r‖`` and ``‖Dx‖``.  Other priors and photon noise have values only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels.cpu.likelihood import LEAST_MEAN
from ..kernels.cpu.shrink import POWER

DATA = ("root", "squares", "poisson")
# What second differences weigh in the sparse prior, beside the first.
SECOND_WEIGHT = 0.5
# Rows at a time.
BAND = 64


def penalty(prior: str, x: np.ndarray, observed: np.ndarray | None = None, periodic: bool = False) -> float:
    """A prior's value for planes of an estimate, see `api.solve`; its differences are those of `observed` pixels."""
    total = 0.0
    rows = x.shape[1]
    for first in range(0, rows, BAND):
        count = min(BAND, rows - first)
        if periodic:
            own: Any = np.s_[1:-1, 1:-1]
            lines = _gone_on(x, first, count).astype(np.float64)
            own_observed = None if observed is None else _gone_on(observed, first, count)
        else:
            top, end = max(first - 1, 0), min(first + BAND + 1, rows)
            lines, own = x[:, top:end].astype(np.float64), slice(first - top, count + first - top)
            own_observed = None if observed is None else observed[:, top:end]
        squares = _first_squares(lines, own_observed)[own]
        if prior == "gradient":
            total += 0.5 * float(squares.sum())
        elif prior == "tv":
            total += float(np.sqrt(squares).sum())
        else:
            total += float((squares ** (POWER / 2)).sum())
            total += SECOND_WEIGHT * float((_second_squares(lines, own_observed)[own] ** (POWER / 2)).sum())
    return total


def _gone_on(planes: np.ndarray, first: int, count: int) -> np.ndarray:
    """Some rows of periodic planes, with the one before and the one after, and so with columns."""
    rows, cols = (
        np.arange(start - 1, start + number + 1) % size
        for start, number, size in ((first, count, planes.shape[1]), (0, planes.shape[2], planes.shape[2]))
    )
    return planes[:, rows[:, None], cols]


def _first_squares(lines: np.ndarray, observed: np.ndarray | None) -> np.ndarray:
    """Squared first differences of some rows, of `observed` pixels; the last has none down."""
    squares = np.zeros(lines.shape[1:])
    down, across = np.diff(lines, axis=1), np.diff(lines, axis=2)
    squares[:-1] += _sum_of(down**2, observed, np.s_[:, :-1], np.s_[:, 1:])
    squares[:, :-1] += _sum_of(across**2, observed, np.s_[:, :, :-1], np.s_[:, :, 1:])
    return squares


def _second_squares(lines: np.ndarray, observed: np.ndarray | None) -> np.ndarray:
    """Squared second differences of some rows, of `observed` pixels; the first and the last have none down."""
    squares = np.zeros(lines.shape[1:])
    down, across = np.diff(lines, 2, axis=1), np.diff(lines, 2, axis=2)
    mixed = np.diff(np.diff(lines, axis=1), axis=2)
    squares[1:-1] += _sum_of(down**2, observed, np.s_[:, :-2], np.s_[:, 1:-1], np.s_[:, 2:])
    squares[:, 1:-1] += _sum_of(across**2, observed, np.s_[:, :, :-2], np.s_[:, :, 1:-1], np.s_[:, :, 2:])
    corners = np.s_[:, :-1, :-1], np.s_[:, 1:, :-1], np.s_[:, :-1, 1:], np.s_[:, 1:, 1:]
    squares[:-1, :-1] += 2 * _sum_of(mixed**2, observed, *corners)
    return squares


def _sum_of(squares: np.ndarray, observed: np.ndarray | None, *pixels: Any) -> np.ndarray:
    """Sum over all planes, where those pixels are all observed."""
    if observed is not None:
        for part in pixels:
            squares = squares * observed[part]
    total: np.ndarray = squares.sum(axis=0)
    return total


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
            total += float((w * photon_costs(mean, b)).sum())
    return total


def photon_costs(mean: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """What photon counts of these means cost: ``mean - b log mean``, see `kernels.cpu.likelihood`."""
    costs: np.ndarray = mean - counts * np.log(np.maximum(mean, mean.dtype.type(LEAST_MEAN)))
    return costs
