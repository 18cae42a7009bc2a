"""Preconditioner for missing pixels: a screened Poisson solve by multigrid.

Where pixels are missing, the normal equations ``AᵀWA + ridge·DᵀD`` are those of ``ridge·DᵀD`` alone, of which a
circulant of the whole blur is no approximation: errors the size of a hole stay.  There the blur's part of a smooth
error is about c², with the coverage c = AᵀW1 / Aᵀ1 of each pixel, and ``S (c² + ridge·DᵀD)⁻¹ S`` with ``S² = 1 − c``
is good for the pixels that are not observed: see `two_level`, which puts it between two solves for those, and says
what it takes for c.  The inverse is one V-cycle [1]_.

References
----------
.. [1] U. Trottenberg, C. W. Oosterlee and A. Schüller, "Multigrid", Academic Press, 2001.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...kernels.cpu.multigrid import COARSE_ROWS, FINE_ROWS, LEVEL, LINES, MARGIN, correct, restrict_residual
from ...kernels.cpu.sweeper import Sweeper
from ...kernels.runtime import memory
from ...kernels.runtime.arrays import module_of
from ...kernels.runtime.memory import up

# Damping of the Jacobi steps, for five-point differences.
DAMPING = 0.9
# By what the finest grid multiplies its coarse correction, which falls short with one Jacobi step on each side.
# (128 x 128, 0.2 % noise, half of the pixels at random, a Gaussian of 2: 18 iterations with 1 and 1.3, 25 with 1.6.  On
# all grids it would add up: with 1.2, the largest eigenvalue of the product of cycle and operator is 2.8 on 23 x 23,
# where it is 1.3 with 1.)
OVER = 1.3
# The least coverage that the circulant alone copes with, if no pixel has less.
ENOUGH = 0.3


def coverage_of(of_present: Any, response: Any) -> tuple[Any, float]:
    """How much of each pixel the image sees, at most 1, and what that is a share of.

    `of_present` is Aᵀ applied to a mask of the pixels that are there, `response` is Aᵀ1.  The share is of what is
    usual where there are any: with every second pixel missing all have half of it, and nothing is a hole.
    """
    xp = module_of(of_present)
    coverage = xp.clip(of_present / xp.maximum(response, 1e-6 * float(abs(response).max()) + 1e-30), 0, 1)
    total = float(coverage.sum(dtype=np.float64))
    usual = float((coverage * coverage).sum(dtype=np.float64)) / total if total > 0 else 1.0
    return xp.minimum(coverage / of_present.dtype.type(usual), 1), usual


def steps_of(shape: tuple[int, ...]) -> list[tuple[int, int, float, float]]:
    """Rows and columns of all grids, from fine to coarse, and the weights of differences down and across."""
    rows, cols, down, across = shape[1], shape[2], 1.0, 1.0
    grids = [(rows, cols, down, across)]
    while rows * cols > 1:
        # A side of one pixel is no longer halved: the other's pixels alone grow.
        if cols == 1:
            down /= 2
        if rows == 1:
            across /= 2
        rows, cols = (rows + 1) // 2, (cols + 1) // 2
        grids.append((rows, cols, down, across))
    return grids


def squares_of(coverage: Any) -> Any:
    """c², a little above 0: of a plane without pixels, something must say what its mean is."""
    return module_of(coverage).maximum(coverage * coverage, 1e-10)


class Multigrid:
    """One V-cycle for planes, in the host's memory.

    Parameters
    ----------
    coverage : ndarray, planes x rows x cols
        From 0 to 1.
    sweeper : Sweeper
        Runs the passes.
    """

    def __init__(self, coverage: np.ndarray, sweeper: Sweeper):
        self._sweeper = sweeper
        planes = coverage.shape[0]
        grids = steps_of(coverage.shape)
        squares = squares_of(coverage)
        self._kept: list[Any] = []
        self._levels: list[tuple[np.ndarray, float, float]] = []
        pitch = up(coverage.shape[2] + 2 * MARGIN, 16)
        sweeper.reserve(LINES * pitch)
        for number, (rows, cols, down, across) in enumerate(grids):
            level = np.zeros((), LEVEL)
            level["rows"], level["cols"], level["planes"], level["pitch"] = rows, cols, planes, pitch
            level["squares"], level["finest"] = squares.ctypes.data, number == 0
            level["damping"], level["factor"] = DAMPING, 1.0 if number else OVER
            self._kept.append(squares)
            if number:
                right, out = (memory.zeros(squares.size, coverage.dtype) for _ in range(2))
                self._kept += [right, out]
                level["right"], level["out"] = right.ctypes.data, out.ctypes.data
                above = self._levels[-1][0]
                above["coarse_right"], above["coarse"] = right.ctypes.data, out.ctypes.data
                above["coarse_rows"], above["coarse_cols"] = rows, cols
            self._levels.append((level, down, across))
            squares = np.ascontiguousarray(halved(halved(squares, 1), 2))

    def add(self, ridge: float, source: np.ndarray, out: np.ndarray) -> None:
        """out += S (c² + ridge·DᵀD)⁻¹ S source, about."""
        run, finest = self._sweeper.run, self._levels[0][0]
        finest["right"], finest["out"] = source.ctypes.data, out.ctypes.data
        for level, down, across in self._levels:
            level["down"], level["across"] = ridge * down, ridge * across
        for level, _, _ in self._levels[:-1]:
            run(restrict_residual, level, -(-int(level["coarse_rows"]) // COARSE_ROWS) * int(level["planes"]))
        for level, _, _ in self._levels[::-1]:
            run(correct, level, -(-int(level["rows"]) // FINE_ROWS) * int(level["planes"]))


class ArrayMultigrid:
    """The same cycle in array expressions, for a GPU."""

    def __init__(self, coverage: Any):
        self._grids = steps_of(coverage.shape)
        self._squares = [squares_of(coverage)]
        xp = module_of(coverage)
        self._share = xp.sqrt(xp.maximum(1 - xp.sqrt(self._squares[0]), 0))
        for _ in self._grids[1:]:
            self._squares.append(halved(halved(self._squares[-1], 1), 2))

    def add(self, ridge: float, source: Any, out: Any) -> None:
        """As `Multigrid.add`."""
        out += self._share * self._cycle(0, ridge, source * self._share)

    def _cycle(self, number: int, ridge: float, right: Any) -> Any:
        xp, squares = module_of(right), self._squares[number]
        rows, cols, down, across = self._grids[number]
        one = right.dtype.type
        steps = ((1, one(ridge * down)), (2, one(ridge * across)))
        diagonal = squares.copy()
        for axis, weight in steps:
            lines = xp.moveaxis(diagonal, axis, 0)
            lines[1:] += weight
            lines[:-1] += weight

        def residual(x: Any) -> Any:
            left = right - squares * x
            for axis, weight in steps:
                lines, pixels = xp.moveaxis(left, axis, 0), xp.moveaxis(x, axis, 0)
                flow = weight * (pixels[1:] - pixels[:-1])
                lines[:-1] += flow
                lines[1:] -= flow
            return left

        x = one(DAMPING) * right / diagonal
        if rows * cols > 1:
            coarse = self._cycle(number + 1, ridge, halved(halved(residual(x), 1), 2))
            x += one(1.0 if number else OVER) * doubled(doubled(coarse, 1, rows), 2, cols)
        x += one(DAMPING) * residual(x) / diagonal
        return x


def add_laplacian(out: Any, source: Any, factor: float, periodic: bool) -> None:
    """out += factor DᵀD source, in array expressions."""
    xp, one = module_of(out), out.dtype.type
    for axis in (1, 2):
        lines, pixels = xp.moveaxis(out, axis, 0), xp.moveaxis(source, axis, 0)
        flow = one(factor) * (pixels[1:] - pixels[:-1])
        lines[:-1] -= flow
        lines[1:] += flow
        if periodic:
            flow = one(factor) * (pixels[0] - pixels[-1])
            lines[-1] -= flow
            lines[0] += flow


def halved(planes: Any, axis: int) -> Any:
    """Every second line, and what the transpose of linear interpolation adds to it of those between."""
    lines = module_of(planes).moveaxis(planes, axis, 0)
    coarse = lines[::2].copy()
    between = lines[1::2] / 2
    coarse[: len(between)] += between
    coarse[1:] += between[: len(coarse) - 1]
    if len(lines) % 2 == 0:  # nothing follows the last line
        coarse[-1] += between[-1]
    return module_of(planes).moveaxis(coarse, 0, axis)


def doubled(planes: Any, axis: int, size: int) -> Any:
    """Linear interpolation to `size` lines."""
    xp = module_of(planes)
    lines = xp.moveaxis(planes, axis, 0)
    fine = xp.empty((size, *lines.shape[1:]), lines.dtype)
    fine[::2] = lines
    between = (lines[: size // 2] + xp.concatenate([lines[1:], lines[-1:]])[: size // 2]) / 2
    fine[1::2] = between
    return xp.moveaxis(fine, 0, axis)
