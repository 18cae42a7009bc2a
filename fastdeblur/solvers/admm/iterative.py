"""ADMM workspace (CPU) whose x-update is a step of preconditioned conjugate gradients.

Where a boundary ties what is around the frame to the estimate, no transform diagonalises the blur A.  Only the
differences are split then, if nothing else has to be: the data stay quadratic, and the x-update goes to the minimum
of its objective in the plane that the preconditioned gradient and the last step span.  A x is carried along, so that
an x-update costs one application of A, one of Aᵀ and one of the exact solver's preconditioner.  (128 x 128 and
256 x 256, motion, disk and Gaussian, tv, 1 % noise: two such steps an x-update need about as many iterations; a copy of
the estimate, split with the pixels around it, did not converge in 300.)

So it is where psfs vary and nothing is said of what is around the frame.  (Lens with psfs of 31 x 31, 384 x 384: 105
steps; 207 with a split of the blurred estimate, which is free there, and a periodic domain, see `varying`.  Photons
have that split anyway, and take fewer steps that way: 236 and 272 instead of more than 300.)

With weights or photons the blurred estimate is split, too, and with bounds the estimate.

The sparse prior keeps the other way: its penalties grow a hundred thousand times, and with them the number of
preconditioners.  (256 x 256, motion of 15 pixels, psf of 51 x 51: 41 and 42 steps instead of 55 and 57, but 25.2 and
22.9 dB instead of 25.5 and 23.0, and, with the larger psf, ten times the time of a first solve.)
"""

from __future__ import annotations

import math

import numpy as np

from ...kernels.cpu.vectors import combine, difference_products, move, move_residual, products
from ...kernels.cpu.z_update import MISFIT, SUMS_OF_SPLIT
from ...kernels.cpu.z_update_gradient import split_data, split_differences
from ...operators.varying import VaryingBlur
from ..pcg.host import PcgWorkspace
from ..pcg.preconditioner import RidgePreconditioner
from ..pcg.subspace import quadratic_step
from .domain import Domain
from .host import AdmmWorkspace

# The preconditioner is kept while the ridge is within so many times the one that it was made for.  (With 4, tv,
# 256 x 256, psf of 51 x 51, over-relaxed: no convergence.)
STAY = 2.0
# After how many steps A x is computed anew, so that rounding does not add up.
ANEW = 50
# Over-relaxation where psfs vary, without and with a copy of the estimate.  (Tv, "unknown", 256 x 256, lenses whose
# psfs of 31 x 31 grow by 1.5, 3.5 and 6 to the corners: 122, 120 and 140 steps with 1.8, 172, 190 and 245 with 1;
# within bounds 206, 200 and 300 with 1, and none of them in 300 with 1.5 or 1.8.)
VARYING_RELAX = 1.8, 1.0
# Where psfs vary: after how many x-updates to look what is left of the gradient of their objective; with more than that
# share they take a step more from then on, at most so many, and are not over-relaxed.  (Tv, "unknown", an optimality of
# 1e-4: Gaussians from 0.4 to 3 pixels, not round, 4.5e-1 after 300 with one step each, 3.8e-4 with two, 216 with four;
# from 0.8 to 2 pixels 1.3e-3 after 300, 164, 160; a camera turned by 6 degrees 4.5e-4 after 300, 183.)
# What is left then is in single pixels at the border that hardly any data see.  (A lens, 224 x 224, the largest
# difference from the minimiser: 5e-2 of the range after 100 steps; after 50 with x-updates of 1, 2 and 4 steps 1e-1,
# 3e-2, 2e-2.  With an eighth of the balanced penalty it is 7e-3 after 100 and 2.6e-3 after 300, but an optimality of
# 1e-4 takes a third more steps and up to twice the products.  Penalties that go up and down again, and Anderson's
# acceleration, gain nothing.  One psf as wide as the lens' widest: 2e-2 at 1e-4, by exact x-updates.)
LOOK, LITTLE, MOST_EACH = 10, 0.5, 4


class IterativeAdmmWorkspace(AdmmWorkspace):
    """`AdmmWorkspace` for a boundary that ties what is around the frame to the estimate, and for psfs that vary.

    The domain is the estimate.
    """

    most_relax, inexact = 1.5, True
    products_beside = 0.0

    def __init__(
        self,
        domain: Domain,
        pcg: PcgWorkspace,
        kind: str,
        pixels: bool,
    ):
        self._pcg, self.path = pcg, pcg.blur.path
        self._varies, self._each = isinstance(pcg.blur, VaryingBlur), 1
        if self._varies:
            self.most_relax = VARYING_RELAX[pixels]
        super().__init__(domain, pcg.blurs, pcg.planes, kind, pixels)
        self._current: list[RidgePreconditioner] = []
        self._steps = 0  # since the start
        # Squares of the norms of the residual, of A x, and of how it changed in the last step.
        self._squares = {"residual": 0.0, "blurred": 0.0, "step": 0.0}

    @staticmethod
    def _pitch_of(cols: int) -> int:
        return cols

    def _counts(self, whole: int, frame: int) -> dict[str, int]:
        return {"x": whole, "gradient": whole} | dict.fromkeys(("blurred", "data", "residual"), frame)

    def _allocated(self, name: str, count: int) -> np.ndarray:
        shared = {"x": self._pcg.x, "gradient": self._pcg.gradient, "residual": self._pcg.residual}
        shared["image"] = self._pcg.image
        if name in shared:
            return shared[name].reshape(-1)
        return super()._allocated(name, count)

    def _address_of_transforms(self) -> int:
        return 0

    def _plan_of_planes(self) -> None:
        return None

    def _spectra(self) -> dict[str, np.ndarray]:
        return {}

    def keep_quadratic(self, quadratic: bool) -> None:
        self.quadratic = quadratic

    def _blurred(self) -> np.ndarray:
        return self._memory["blurred"].reshape(self.image.shape)

    def _begin_blurred(self) -> None:
        pcg = self._pcg
        pcg.prepare()
        pcg.search_direction[...] = 0
        pcg.blurred_direction[...] = 0
        self._current, self._steps, self._each, self.products_beside = [], 0, 1, 0.0
        pcg.apply_blur(pcg.x, self._blurred())
        self._memory["data"][...] = self._memory["blurred"]

    def _begin_differences(self, x: np.ndarray) -> None:
        super()._begin_differences(x)
        if self.domain.periodic:
            return
        # Beyond the last row, and the last column, there are none.
        rows, cols = self.domain.shape
        split = self._memory["split"].reshape(self.differences, self.planes, rows, cols)
        split[0, :, -1], split[1, :, :, -1] = 0, 0

    def update_z(self) -> None:
        job, pcg = self.job, self._pcg
        if self._steps % ANEW == 0:
            self._look()
        if not self.quadratic:
            self._sweeper.run(split_data, job, self._tiles)
        pcg.apply_blur(pcg.residual, pcg.gradient, adjoint=True)
        self._sweeper.run(split_differences, job, self._tiles)
        job["split"], job["split_next"] = int(job["split_next"]), int(job["split"])
        sums = self._step_sums[0, 0]
        sums[...] = self.sums.sum(axis=0)
        if self.quadratic:
            residual, blurred, step = (self._squares[name] for name in ("residual", "blurred", "step"))
            sums[:SUMS_OF_SPLIT] = 0.0, step, blurred, blurred, residual
            sums[MISFIT] = residual

    def _look(self) -> None:
        """A x anew, and, of quadratic data, the residual."""
        pcg = self._pcg
        if not self.quadratic:
            if self._steps:
                pcg.apply_blur(pcg.x, self._blurred())
            return
        pcg.apply_blur(pcg.x, pcg.residual)
        self._squares["blurred"] = pcg.square(pcg.residual)
        pcg.residual -= pcg.image
        self._squares["residual"] = pcg.square(pcg.residual)

    def update_x(self) -> None:
        """Take the x-update: a step of conjugate gradients from the last estimate, or, where psfs vary, some."""
        change = 0.0
        looks = self._varies and self._steps % LOOK == LOOK - 1
        before = self._gradient_square() if looks else 0.0
        for step in range(self._each):
            if step:
                self._follow()
            self._step()
            change += math.sqrt(max(self._squares["step"], 0.0))
        if self._each > 1:
            self._squares["step"] = change * change
        self._steps += 1
        self.products_beside += self._each - 1 + 0.5 * looks
        if looks:
            self._follow()
            if self._gradient_square() > LITTLE * LITTLE * before:
                self._each, self.job["relax"] = min(self._each + 1, MOST_EACH), 1.0

    def _gradient_square(self) -> float:
        """The square of the norm of what is left of the gradient of the x-update's objective."""
        return self._pcg.square(self._pcg.gradient)

    def _follow(self) -> None:
        """Let the gradient of the x-update's objective be that after the last step."""
        job, pcg, kind = self.job, self._pcg, self.dtype.type
        change = np.empty_like(pcg.gradient)
        pcg.apply_blur(pcg.blurred_direction, change, adjoint=True)
        change *= kind(job["data_rho"])
        pcg.sweeper.sweep(combine, [change, pcg.search_direction], (float(job["rho"]),))
        if job["pixels_rho"]:
            change += kind(job["pixels_rho"]) * pcg.search_direction
        pcg.gradient += change

    def _step(self) -> None:
        job, pcg = self.job, self._pcg
        sweep, quadratic = pcg.sweeper.sweep, self.quadratic
        data_rho, rho, pixels_rho = (float(job[name]) for name in ("data_rho", "rho", "pixels_rho"))
        fresh, search_direction = pcg.fresh, pcg.search_direction
        pcg.precondition(self._preconditioners_for(rho / data_rho), pcg.gradient, fresh)
        pcg.apply_blur(fresh, pcg.blurred_fresh)
        frames = [pcg.blurred_fresh, pcg.blurred_direction, pcg.residual, pcg.image]
        p = sweep(products, frames)
        q = sweep(products, [fresh, search_direction, pcg.gradient, pcg.gradient])
        gram = data_rho * p[[0, 1, 4]] + pixels_rho * q[[0, 1, 4]]
        gram += rho * sweep(difference_products, [fresh, search_direction, search_direction])[[0, 1, 3]]
        first, second = quadratic_step(gram[[0, 1, 1, 2]].reshape(2, 2), [-float(q[2]), -float(q[5])])
        factors = first, second, 1.0
        sweep(move, [fresh, search_direction, pcg.x], factors)
        if quadratic:
            squares = self._squares
            residual = float(sweep(move_residual, frames, factors)[0])
            # Of A x = r + b, from the products of the step with r and b.
            gained = first * (p[2] + p[3]) + second * (p[5] + p[6])
            squares["step"] = first * first * p[0] + 2 * first * second * p[1] + second * second * p[4]
            squares["blurred"] += 2 * gained + squares["step"]
            squares["residual"] = residual
        else:
            sweep(move, [pcg.blurred_fresh, pcg.blurred_direction, self._blurred()], factors)

    def _preconditioners_for(self, ridge: float) -> list[RidgePreconditioner]:
        """Preconditioners for about that ridge: the last ones as long as they will do."""
        ridge = max(ridge, self._pcg.least)
        if not self._current or not self._current[0].ridge / STAY < ridge < self._current[0].ridge * STAY:
            self._current = self._pcg.preconditioners_at(ridge)
        return self._current
