"""Exact solver by discrete cosine transforms, for "reflect" and psfs that are symmetric along each axis [1]_.

The minimiser is then one formula in the transform of the image; for roots, after a search for the
ridge that needs no more than sums over that transform.

References
----------
.. [1] M. K. Ng, R. H. Chan and W.-C. Tang, "A fast algorithm for deblurring models with Neumann boundary
   conditions", SIAM Journal on Scientific Computing 21, 1999.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...kernels.cpu.cosine import BAND, COSINE, norms, solution, transform
from ...kernels.cpu.sweeper import Sweeper
from ...kernels.runtime import memory
from ...problem.laplacian import eigenvalues

# Logarithms of the ridges beyond which the residual, or the differences, are taken for zero.
LEAST, MOST = {4: -21.0, 8: -46.0}, 40.0
# What passes of a frequency, relative to the taps, is no more than rounding up to that many last digits.
LOST = 1.0


def applies(psf: np.ndarray, boundary: str) -> bool:
    """Whether cosines diagonalise the blur."""
    odd = all(taps % 2 for taps in psf.shape)
    return boundary == "reflect" and odd and np.array_equal(psf, psf[::-1]) and np.array_equal(psf, psf[:, ::-1])


class Cosines:
    """The problem in the cosine basis."""

    def __init__(self, psf: np.ndarray, shape: tuple[int, int]):
        self.shape = shape
        bases = []
        for taps, size in zip(psf.shape, shape, strict=True):
            offsets = np.arange(taps) - taps // 2
            bases.append(np.cos(np.pi / size * np.outer(np.arange(size), offsets)))
        # (The last digits of a matrix product by BLAS depend on the number of its threads; einsum calls none.)
        half = np.einsum("ik,kl->il", bases[0], psf.astype(np.float64))
        psf_power = np.einsum("il,jl->ij", half, bases[1])
        # A frequency of which no more than rounding passes is lost: divided by that it would be anything.
        psf_power[np.abs(psf_power) <= LOST * np.finfo(psf.dtype).eps * np.abs(psf).sum(dtype=np.float64)] = 0
        self._psf_power = np.ascontiguousarray(psf_power)
        self._eigenvalues = [eigenvalues(size, size, periodic=False) for size in shape]

    def minimise(self, x: np.ndarray, sweeper: Sweeper, root: bool, mu: float) -> float:
        """Turn planes of the blurred image into the minimiser; returns its ridge."""
        planes, rows, cols = x.shape
        axis, sums = memory.zeros(1, np.intp), np.zeros((planes * rows, 2))
        job = np.zeros((), COSINE)
        job["image"], job["planes"], job["rows"], job["cols"] = x.ctypes.data, planes, rows, cols
        job["psf_power"], job["sums"], job["axis"] = self._psf_power.ctypes.data, sums.ctypes.data, axis.ctypes.data
        job["down"], job["across"] = (table.ctypes.data for table in self._eigenvalues)

        def both(back: bool) -> None:
            job["back"] = back
            for along, lines in ((0, cols), (1, rows)):
                job["along"], axis[0] = along, along
                sweeper.run(transform, job, -(-lines // BAND) * planes)

        def excess(t: float) -> float:
            job["ridge"] = math.exp(t)
            sweeper.run(norms, job, planes * rows)
            misfit, rough = np.sqrt(sums.sum(axis=0)).tolist()
            if misfit == 0 or rough == 0:
                return -math.inf if misfit == 0 else math.inf
            return math.log(mu * misfit / rough) - t

        both(False)
        ridge = mu
        if root:
            ridge = math.exp(falling_zero(excess, LEAST[x.itemsize], MOST)) if mu > 0 else 0.0
        job["ridge"] = ridge
        sweeper.run(solution, job, planes * rows)
        both(True)
        return ridge


def falling_zero(function: Any, first: float, last: float) -> float:
    """Where a falling function is zero between two points, or the point nearest to that."""
    if not function(first) > 0:
        return first
    if not function(last) < 0:
        return last
    from scipy.optimize import brentq  # a third of the time of importing fastdeblur, for this line

    # Infinite where one of the norms vanishes; it falls, so halving finds the finite part.
    return float(brentq(lambda t: min(max(function(t), -1e3), 1e3), first, last, xtol=1e-12))
