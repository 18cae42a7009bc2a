"""Exact solver by Fourier transforms, for "wrap": blur and differences are periodic, and the minimiser is one division.

That is Wiener's filter with the differences' squares for the noise's share.  For roots there is a search for the ridge
before, which needs no more than sums over the transform.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy.fft

from ...kernels.cpu.lines import LINE_JOB, LINES, analyse, synthesise
from ...kernels.cpu.periodic import PERIODIC, SUMS, solve_columns
from ...kernels.cpu.sweeper import Sweeper
from ...kernels.runtime import forks, memory
from ...kernels.runtime.memory import up
from ...problem.laplacian import eigenvalues
from ..common import log_ratio
from .dct import LEAST, LOST, MOST, falling_zero

# Columns of the psf's transform that are computed at once.
AT_ONCE = 64
# A ridge that leaves nothing but the mean.
HUGE = 1e300


class Solved(NamedTuple):
    """What is known of a minimiser, without another look at it.

    Attributes
    ----------
    norms : (float, float)
        ‖Ax − b‖ and ‖Dx‖.
    optimality : float
        As of `api.solve`, of the coefficients as they are rounded.
    """

    norms: tuple[float, float]
    optimality: float


class Fourier:
    """The problem in the Fourier basis."""

    def __init__(self, psf: np.ndarray, shape: tuple[int, int]):
        rows, cols = self.shape = shape
        self._frequencies = cols // 2 + 1
        centred = np.zeros((psf.shape[0], cols))
        centred[:, (np.arange(psf.shape[1]) - psf.shape[1] // 2) % cols] = psf
        kernels = np.zeros((AT_ONCE, rows), complex)
        places = (np.arange(psf.shape[0]) - psf.shape[0] // 2) % rows
        self._response = np.empty((self._frequencies, rows), np.result_type(psf.dtype, np.complex64))
        # A frequency of which no more than rounding passes is lost: divided by that it would be anything.
        least = (LOST * float(np.finfo(psf.dtype).eps) * float(np.abs(psf).sum(dtype=np.float64))) ** 2
        with forks.unforked():
            columns = np.ascontiguousarray(scipy.fft.rfft(centred, axis=1).T)
            for first in range(0, self._frequencies, AT_ONCE):
                some = columns[first : first + AT_ONCE]
                kernels[: len(some), places] = some
                response = scipy.fft.fft(kernels[: len(some)], axis=1)
                response[response.real**2 + response.imag**2 <= least] = 0
                self._response[first : first + AT_ONCE] = response
        self._down, self._across = eigenvalues(rows, rows), eigenvalues(cols, self._frequencies)

    def minimise(self, x: np.ndarray, sweeper: Sweeper, root: bool, mu: float) -> Solved:
        """Turn planes of the blurred image into the minimiser."""
        planes, rows, cols = x.shape
        pitch, kind = up(self._frequencies, 8), self._response.dtype
        spectrum, axis = np.empty((planes, rows, pitch), kind), memory.zeros(1, np.intp)
        axis[0] = 1
        lines = np.zeros((), LINE_JOB)
        lines["source"] = lines["out"] = x.ctypes.data
        lines["step_full"], lines["planes"] = cols, planes
        lines["source_plane"] = lines["out_plane"] = rows * cols
        lines["spectrum"], lines["pitch"], lines["frequencies"] = spectrum.ctypes.data, pitch, self._frequencies
        lines["spectrum_plane"], lines["axis"] = rows * pitch, axis.ctypes.data
        lines["reals"] = lines["real_length"] = cols
        lines["fulls"], lines["real_pitch"] = rows, up(cols, 16) + 16
        columns = np.zeros((), PERIODIC)
        for name in ("spectrum", "pitch", "spectrum_plane", "planes", "frequencies", "reals", "axis"):
            columns[name] = lines[name]
        # (Columns that are a power of two apart would share their cache sets.)
        columns["length"], columns["column_pitch"] = rows, up(rows, 8) + 8
        columns["response"], columns["down"] = self._response.ctypes.data, self._down.ctypes.data
        columns["across"] = self._across.ctypes.data
        tiles = -(-self._frequencies // LINES) * planes
        sums = np.zeros((tiles, SUMS))
        columns["sums"] = sums.ctypes.data
        sweeper.reserve(LINES * max(int(lines["real_pitch"]), 2 * int(columns["column_pitch"])))

        def solve(ridge: float, ahead: bool, back: bool) -> list[float]:
            columns["ridge"], columns["ahead"], columns["back"] = ridge, ahead, back
            sweeper.run(solve_columns, columns, tiles)
            roots: list[float] = np.sqrt(sums.sum(axis=0) / (rows * cols)).tolist()
            return roots

        def excess(t: float) -> float:
            misfit, rough = solve(math.exp(t), False, False)[:2]
            if misfit == 0 or rough == 0:
                return -math.inf if misfit == 0 else math.inf
            return log_ratio(mu, misfit, rough) - t

        sweeper.run(analyse, lines, -(-rows // LINES) * planes)
        ridge, searched, t, limits = mu, root and mu > 0, 0.0, (LEAST[x.itemsize], MOST)
        if searched:
            solve(0.0, True, False)
            t = falling_zero(excess, *limits)
            # From some mu on the minimum is a constant image.
            ridge = math.exp(t) if t < MOST else HUGE
        misfit, rough, whole, data, prior = solve(ridge, not searched, True)
        sweeper.run(synthesise, lines, -(-rows // LINES) * planes)
        if ridge == HUGE:
            rough = 0.0
        # At an end one of the norms is 0, but for rounding, and its root has a subgradient for every ridge beyond.
        stationary = (searched and t in limits) or not data + prior > 0
        return Solved((misfit, rough), 0.0 if stationary else whole / (data + prior))


def applies(boundary: str) -> bool:
    """Whether Fourier transforms diagonalise blur and differences."""
    return boundary == "wrap"
