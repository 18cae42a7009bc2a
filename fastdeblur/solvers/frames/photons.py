"""Photon counts of several frames, which are read again at each step: Richardson-Lucy, and the frames themselves."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ...problem.objective import misfit
from ...problem.options import Options
from ...result import Result
from ..common import iterate, noise_of, result_of, unit_of
from ..richardson_lucy.solver import ADDED, LEAST_SENSITIVITY, LEAST_START, Parameters
from ..richardson_lucy.varying import VaryingRichardsonLucyWorkspace, divide
from .background import FrameBackgrounds
from .operators import Normal
from .source import FrameSource


class Counts(NamedTuple):
    """Photon counts of one frame, planes without NaN.

    `shift` is their mean beside the blurred scene's, of one or all planes and rows, and all columns; `weights` are
    those of all pixels, with the frame's own, or a number.
    """

    frame: int
    pixels: np.ndarray
    weights: np.ndarray | float
    shift: np.ndarray

    def weights_of_pixels(self) -> np.ndarray:
        """The weights as planes."""
        planes = np.empty_like(self.pixels)
        planes[...] = self.weights
        return planes


class PhotonFrames:
    """The frames of a solve as photon counts, one after another.

    Attributes
    ----------
    total, light : float
        The weighted sums of the counts of all frames, and of what is left of them without their backgrounds.
    brightest : float
        The largest count.
    shift : ndarray or None
        The first frame's; None if no frame has any.
    """

    def __init__(self, normal: Normal, source: FrameSource, backgrounds: FrameBackgrounds):
        if not source.again:
            raise TypeError(
                "frames must be a list, or another sequence, for data='poisson', not a generator: they are read again "
                "at each step"
            )
        self._normal, self._source, self._backgrounds = normal, source, backgrounds
        self.total = self.light = normal.total
        self.brightest, self.shift = normal.brightest, None
        if not backgrounds.matters:
            if normal.darkest < 0:
                raise ValueError(
                    f"frames must not be negative with data='poisson'; the least value is {normal.darkest:g} (add the "
                    "background again that was subtracted from them, and pass it as background)"
                )
            return
        self.total, self.light, self.brightest = 0.0, 0.0, 0.0
        for counts in self:
            if not counts.frame:
                self.shift = counts.shift
            pixels = counts.pixels.astype(np.float64)
            self.total += float((counts.weights * pixels).sum())
            self.light += float((counts.weights * (pixels - counts.shift).clip(0)).sum())
            self.brightest = max(self.brightest, float(pixels.max()))

    def __iter__(self) -> Iterator[Counts]:
        weights = self._normal.weights
        for k, frame in enumerate(self._source):
            pixels, shift = self._backgrounds.counted(k, weights.without_missing(frame))
            number = frame.dtype.type(weights.numbers[k])
            planes = weights.planes(k, frame.dtype)
            yield Counts(k, pixels, number if planes is None else number * planes, shift)

    def cost(self, x: np.ndarray, unit: float) -> float:
        """What the counts of all frames cost, weighted, in units: of planes of an estimate that is in them already."""
        normal, total = self._normal, 0.0
        one = x.dtype.type(unit)
        for counts in self:
            blurred = np.empty_like(counts.pixels)
            normal.operators.run(counts.frame, x, blurred)
            total += misfit("poisson", blurred, one * counts.pixels, counts.weights_of_pixels(), one * counts.shift)
        return total


class FramesRichardsonLucyWorkspace(VaryingRichardsonLucyWorkspace):
    """`RichardsonLucyWorkspace` for frames that are read again at each step; no more than one is kept."""

    def __init__(self, normal: Normal, frames: PhotonFrames):
        super().__init__([normal.blur], len(normal.right))
        self._normal, self._frames = normal, frames
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
        for counts in self._frames:
            normal.operators.run(counts.frame, self._here, self._ratio)
            self._ratio += counts.shift + self._shift
            weights: Any = np.broadcast_to(counts.weights, counts.pixels.shape)
            sums += divide(self._ratio, counts.pixels, weights, self._parameters)
            normal.operators.run(counts.frame, self._ratio, self._back, adjoint=True)
            self._factors += self._back
        self._passes += 2 * len(normal.operators)
        return sums

    def _correct(self) -> None:
        """Nothing: `ratio` has done it."""


def minimise_photons(
    normal: Normal, frames: PhotonFrames, first: np.ndarray, options: Options, noise_norm: float
) -> Result:
    """Maximise the likelihood of the photon counts of all frames; the result's image is planes.

    Stops where the residual's norm, over all frames and weighted, is at most `noise_norm`; `first` is the first frame.
    """
    entered = time.perf_counter()
    work = FramesRichardsonLucyWorkspace(normal, frames)
    low, high = options.bounds or (0.0, math.inf)
    pixels = normal.total_weight * math.prod(work.ones.shape)
    darkest = LEAST_START * frames.light / pixels
    work.estimate[...] = normal.right * work.inverse_sensitivity
    work.estimate.clip(max(low, min(darkest, high)), high, out=work.estimate)
    work.last[...] = work.estimate
    unit = unit_of(frames.brightest)
    work.set_shift(np.full((1, 1, 1), max(ADDED * frames.brightest, 1e-37), work.ones.dtype))
    allowed = (noise_norm * unit) ** 2
    if frames.shift is not None and noise_norm > 0:  # as for one image: no noise of a dark ground is followed
        allowed = max(allowed, (noise_of(first) * unit) ** 2 * pixels)
    work.set_parameters(Parameters(unit, low, high, tol=options.tol, allowed_misfit=allowed, max_iter=options.max_iter))

    def objective(likelihood: float) -> float:
        return (likelihood + math.log(unit) * unit * frames.total) / unit

    history, last = iterate(work, options.max_iter, options.callback, options.progress, objective)
    return result_of(work, history, last, 0.0, normal.blur.path, "cpu", entered)
