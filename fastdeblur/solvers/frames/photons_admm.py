"""Total variation of several frames of photon counts: ADMM with a split variable for each frame's blur.

The mean of the frames' data terms is minimised, as for squares (see `admm`).  The penalty of each of the K split
variables is a K-th of the driver's, so that together they weigh what one does, and the x-update's normal equations are
the mean of the frames' AᵀA.  The estimate is blurred anew for each frame and step: of a frame there is its split
variable, and nothing else.
"""

from __future__ import annotations

import numpy as np

from ...kernels.cpu.z_update import MISFIT, SUMS, SUMS_OF_SPLIT
from ...kernels.cpu.z_update_gradient import split_data, split_differences
from ...problem.objective import penalty
from .admm import FramesAdmmWorkspace
from .gradient import Equations
from .operators import Normal
from .photons import PhotonFrames


class FramesPhotonsAdmmWorkspace(FramesAdmmWorkspace):
    """`FramesAdmmWorkspace` for photon counts; `normal` and `equations` are those of frames whose weights are all 1.

    `total_weight` is the sum of the frames' own weights.
    """

    def __init__(
        self, normal: Normal, equations: Equations, kind: str, pixels: bool, frames: PhotonFrames, total_weight: float
    ):
        super().__init__(normal, equations, kind, pixels)
        self._frames, self._total_weight = frames, total_weight
        self._one_each = len(normal.operators) / total_weight
        self._back = np.empty_like(normal.right)
        self._image, self._residual = (np.empty_like(self.image) for _ in range(2))
        self._split = [np.empty_like(self.image) for _ in range(len(normal.operators))]

    def keep_quadratic(self, quadratic: bool) -> None:
        self.quadratic = False

    def shift(self, shift: np.ndarray | None) -> None:
        """Each frame has its own."""

    def photon_counts(self) -> float:
        return self.unit * self._frames.total / self._total_weight

    def _begin_blurred(self) -> None:
        super()._begin_blurred()
        for k, split in enumerate(self._split):
            self._normal.operators.run(k, self.planes_of("x"), split)

    def update_z(self) -> None:
        job, x, gradient = self.job, self.planes_of("x"), self.planes_of("gradient")
        gradient[...] = 0
        sums, unit, share = np.zeros(SUMS), self.dtype.type(self.unit), self.dtype.type(1 / len(self._split))
        job["blurred"], job["residual"] = self._image.ctypes.data, self._residual.ctypes.data
        for counts in self._frames:
            self._normal.operators.run(counts.frame, x, self._image)
            pixels, shift = unit * counts.pixels, unit * counts.shift
            weights = self.dtype.type(self._one_each) * counts.weights_of_pixels()
            job["image"], job["weights"] = pixels.ctypes.data, weights.ctypes.data
            job["data"], job["shift"] = self._split[counts.frame].ctypes.data, shift.ctypes.data
            job["shift_plane"], job["shift_pitch"] = (
                shift.strides[axis] // shift.itemsize if shift.shape[axis] > 1 else 0 for axis in (0, 1)
            )
            self._sweeper.run(split_data, job, self._tiles)
            sums += self.sums.sum(axis=0)
            self._normal.operators.run(counts.frame, self._residual, self._back, adjoint=True)
            gradient += self._back
        self._normal.applied += len(self._split)
        gradient *= share
        self._sweeper.run(split_differences, job, self._tiles)
        job["split"], job["split_next"] = int(job["split_next"]), int(job["split"])
        of_all, own = self._step_sums[0, 0], [*range(SUMS_OF_SPLIT), MISFIT]
        of_all[...] = self.sums.sum(axis=0)
        of_all[own] = sums[own] * float(share)

    def parts(self, poisson: bool) -> tuple[float, float]:
        estimate = np.ascontiguousarray(self.estimate)
        cost = self._frames.cost(estimate, self.unit) / self._total_weight
        return cost, penalty(self.kind, estimate, None, self.domain.periodic)
