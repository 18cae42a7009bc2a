"""The learned prior for several frames: quasi-Newton descent on their normal equations."""

from __future__ import annotations

import numpy as np
import scipy.fft

from ...kernels.runtime import forks
from ...operators.boundary import reduced
from ...problem.learned import Scale
from ..common import Problem
from ..learned.host import LearnedWorkspace
from ..learned.solver import PAIRS, QuasiNewton
from .gradient import Equations
from .operators import Normal, dot
from .photons import Counts, PhotonFrames


class FramesLearnedWorkspace(LearnedWorkspace):
    """`LearnedWorkspace` for several frames, by whose mean power spectrum it preconditions.

    `unit` is that of the solve.
    """

    unit = 1.0

    def __init__(self, normal: Normal, equations: Equations):
        super().__init__([normal.blur], len(normal.right), PAIRS)
        self.normal, self._roots = normal, equations.roots
        rows, cols = self._length
        with forks.unforked():
            psf = reduced(normal.mean_psf().astype(np.float64), (rows, cols), "wrap")
            self._psf_power = [(np.abs(scipy.fft.rfft2(psf, self._length)) ** 2).astype(self.dtype)]

    def precondition(self, planes: np.ndarray) -> None:
        if self._roots is not None:
            planes /= self._roots
        super().precondition(planes)
        if self._roots is not None:
            planes /= self._roots


class FramesQuasiNewton(QuasiNewton):
    """`QuasiNewton` for the mean of the frames' data terms.

    Objectives of trials are found from the gradients there and at the estimate: of a quadratic that is exact, and
    rounding is that of the difference, not of the frames' squares.
    """

    mixes = False

    def __init__(self, work: FramesLearnedWorkspace, problem: Problem, scale: Scale):
        self._frames = work
        self._at: tuple[np.ndarray, np.ndarray, float] | None = None
        self._trial: tuple[np.ndarray, np.ndarray, float] | None = None
        super().__init__(work, problem, scale)

    def _evaluate(self, x: np.ndarray) -> float:
        work, normal = self._frames, self._frames.normal
        unit = work.unit = self._unit
        if self._trial is not None and self._trial[0] is work.x:  # the last trial is the estimate now
            self._at = self._trial
        gradient = np.empty_like(x)
        normal.product(x, gradient)
        gradient -= work.dtype.type(unit) * normal.right
        gradient *= work.dtype.type(1 / normal.total_weight)
        if self._at is None:
            energy = normal.squares * unit**2 / normal.total_weight
            part = work.dtype.type(unit / normal.total_weight) * normal.right
            data = 0.5 * max(dot(x, gradient) - dot(x, part) + energy, 0.0)
            self._at = self._trial = (x, gradient, data)
        else:
            data = self._at[2] + 0.5 * dot(x - self._at[0], gradient + self._at[1])
            self._trial = (x, gradient, data)
        work.gradient[...] = gradient
        rough, slopes = work.prior(x)
        work.gradient += slopes
        return data + rough


class FramesPhotonsQuasiNewton(QuasiNewton):
    """`QuasiNewton` for the mean of what the photon counts of frames cost, which are read again at each look."""

    def __init__(self, frames: PhotonFrames, work: FramesLearnedWorkspace, problem: Problem, scale: Scale):
        self._frames, self._normal, self._least = frames, work.normal, 0.0
        self._workspace, self._back = work, np.empty_like(work.x)
        super().__init__(work, problem, scale)
        self._photons = self._unit * frames.total / work.normal.total_weight

    def _enter(self, counts: Counts) -> None:
        """Make a frame the one that `_likelihood` looks at."""
        work, unit = self._workspace, self._workspace.dtype.type(self._unit)
        np.multiply(counts.pixels, unit, out=work.image)
        self._shift = unit * counts.shift
        self._weights = counts.weights_of_pixels()
        self._weights /= work.dtype.type(self._normal.total_weight)

    def _exact_fit(self) -> float:
        self._workspace.unit = self._unit
        total = 0.0
        for counts in self._frames:
            self._enter(counts)
            total += super()._exact_fit()
        return total

    def _evaluate(self, x: np.ndarray) -> float:
        work, value = self._workspace, 0.0
        slopes = np.zeros_like(x)
        for counts in self._frames:
            self._enter(counts)
            self._normal.operators.run(counts.frame, x, work.blurred)
            value += self._likelihood(work.blurred)
            self._normal.operators.run(counts.frame, work.blurred, self._back, adjoint=True)
            slopes += self._back
        # Each frame's cost was less what all of them cost at least.
        value += (len(self._normal.operators) - 1) * self._exact
        self._normal.applied += len(self._normal.operators)
        work.gradient[...] = slopes
        rough, slopes = work.prior(x)
        work.gradient += slopes
        return value + rough
