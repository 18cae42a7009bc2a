"""Richardson-Lucy for several frames: each step goes through all of them, one after another."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from ...problem.options import Options
from ...result import Result
from ..common import iterate, result_of, unit_of
from ..richardson_lucy.solver import ADDED, LEAST_SENSITIVITY, LEAST_START, Parameters
from ..richardson_lucy.varying import VaryingRichardsonLucyWorkspace, divide
from .operators import Normal
from .source import FrameSource


class FramesRichardsonLucyWorkspace(VaryingRichardsonLucyWorkspace):
    """`RichardsonLucyWorkspace` for frames that are read again at each step; no more than one is kept."""

    def __init__(self, normal: Normal, source: FrameSource):
        super().__init__([normal.blur], len(normal.right))
        self._normal, self._source = normal, source
        inverse = self.inverse_sensitivity
        inverse += normal.coverage()
        nothing = inverse <= LEAST_SENSITIVITY * float(inverse.max())
        inverse[nothing] = np.inf
        np.divide(1, inverse, out=inverse)
        self._back = np.empty_like(self._here)

    def ratio(self) -> np.ndarray:
        """Divide the frames by the blurred estimate, and add up what goes back; returns the sums of `divide`."""
        normal, sums = self._normal, np.zeros(2)
        self._factors[...] = 0
        for k, frame in enumerate(self._source):
            normal.operators.run(k, self._here, self._ratio)
            self._ratio += self._shift
            weight: Any = self._ratio.dtype.type(normal.weights.numbers[k])
            planes = normal.weights.planes(k, self._ratio.dtype)
            weight = np.broadcast_to(weight, frame.shape) if planes is None else weight * planes
            sums += divide(self._ratio, normal.weights.without_missing(frame), weight, self._parameters)
            normal.operators.run(k, self._ratio, self._back, adjoint=True)
            self._factors += self._back
        self._passes += 2 * len(normal.operators)
        return sums

    def _correct(self) -> None:
        """Nothing: `ratio` has done it."""


def minimise_photons(normal: Normal, source: FrameSource, options: Options, noise_norm: float) -> Result:
    """Maximise the likelihood of the photon counts of all frames; the result's image is planes.

    Stops where the residual's norm, over all frames and weighted, is at most `noise_norm`.
    """
    entered = time.perf_counter()
    work = FramesRichardsonLucyWorkspace(normal, source)
    low, high = options.bounds or (0.0, math.inf)
    pixels = normal.total_weight * math.prod(work.ones.shape)
    darkest = LEAST_START * normal.total / pixels
    work.estimate[...] = normal.right * work.inverse_sensitivity
    work.estimate.clip(max(low, min(darkest, high)), high, out=work.estimate)
    work.last[...] = work.estimate
    unit = unit_of(normal.brightest)
    work.set_shift(np.full((1, 1, 1), max(ADDED * normal.brightest, 1e-37), work.ones.dtype))
    allowed = (noise_norm * unit) ** 2
    work.set_parameters(Parameters(unit, low, high, tol=options.tol, allowed_misfit=allowed, max_iter=options.max_iter))

    def objective(likelihood: float) -> float:
        return (likelihood + math.log(unit) * unit * normal.total) / unit

    history, last = iterate(work, options.max_iter, options.callback, options.progress, objective)
    return result_of(work, history, last, 0.0, normal.blur.path, "cpu", entered)
