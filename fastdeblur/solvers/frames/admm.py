"""Priors that keep edges, denoisers and bounds for several frames: ADMM's workspace on the normal equations.

The data of all frames stay quadratic; differences, and for bounds and denoisers the estimate, have split variables,
those of one image.  Everything is divided by the sum of the frames' weights, so that the driver, `admm.solver`, finds
the mean of the frames' data terms, whose penalties are those of one image.  An x-update takes steps of conjugate
gradients on the normal equations, as for psfs that vary (see `admm.iterative`).  So memory does not depend on the
number of frames, and the estimate is blurred and blurred back once for each of them in a step.
"""

from __future__ import annotations

import math

import numpy as np

from ...kernels.cpu.vectors import combine, difference_products, move, products
from ...kernels.cpu.z_update import FIRSTS, MISFIT, SUMS_OF_SPLIT
from ...kernels.cpu.z_update_gradient import split_differences
from ...problem.objective import penalty
from ..admm.domain import Domain
from ..admm.host import AdmmWorkspace
from ..admm.iterative import ANEW, VARYING_RELAX, IterativeAdmmWorkspace
from ..pcg.subspace import quadratic_step
from .gradient import Equations
from .operators import Normal, dot

# Kinds whose x-update the preconditioner of the smooth prior is for; those of others are preconditioned by a periodic
# transform, which knows second differences and the copy of the estimate, but no border.
FIRST_DIFFERENCES = ("tv", "gradient")


class FramesAdmmWorkspace(IterativeAdmmWorkspace):
    """`IterativeAdmmWorkspace` for several frames, on the estimate as it is, without a domain around it.

    `unit` is that of the solve.
    """

    def __init__(self, normal: Normal, equations: Equations, kind: str, pixels: bool):
        self._normal, self._equations, self._weight = normal, equations, normal.total_weight
        self._varies, self._each = True, 1
        self.path, self.most_relax = normal.blur.path, VARYING_RELAX[pixels]
        domain, planes = Domain([normal.blur], padded=False), len(normal.right)
        AdmmWorkspace.__init__(self, domain, [normal.blur], planes, kind, pixels)
        (
            self._fresh,
            self._search_direction,
            self._product,
            self._fresh_product,
            self._direction_product,
            self._right,
        ) = (np.zeros_like(normal.right) for _ in range(6))
        self.unit, self._step_square, self._steps = 1.0, 0.0, 0

    def _counts(self, whole: int, frame: int) -> dict[str, int]:
        return {"x": whole, "gradient": whole}

    def _allocated(self, name: str, count: int) -> np.ndarray:
        return AdmmWorkspace._allocated(self, name, count)

    def scale(self, unit: float) -> None:
        super().scale(unit)
        self.unit = unit
        np.multiply(self._normal.right, self.dtype.type(unit / self._weight), out=self._right)

    def _begin_blurred(self) -> None:
        self._search_direction[...], self._direction_product[...] = 0, 0
        self._steps, self._each, self._step_square = 0, 1, 0.0

    def _begin_differences(self, x: np.ndarray) -> None:
        if self.differences:
            super()._begin_differences(x)
        if self.differences > FIRSTS and not self.domain.periodic:  # the others have two less, or one, too
            split = self._memory["split"].reshape(self.differences, self.planes, *self.domain.shape)
            for at in (0, -1):
                split[2, :, at], split[3, :, :, at] = 0, 0
            split[4, :, -1], split[4, :, :, -1] = 0, 0

    def _apply(self, planes: np.ndarray, out: np.ndarray) -> None:
        """out = the normal equations' product with planes, divided by the sum of weights."""
        self._normal.product(planes, out)
        out *= self.dtype.type(1 / self._weight)

    def _misfit(self, planes: np.ndarray, product: np.ndarray) -> float:
        """The sum of w ‖A x − b‖², divided by that of weights, in the solve's units."""
        energy = self._normal.squares * self.unit**2 / self._weight
        return max(dot(planes, product) - 2 * dot(planes, self._right) + energy, 0.0)

    def update_z(self) -> None:
        job, x, gradient = self.job, self.planes_of("x"), self.planes_of("gradient")
        if self._steps % ANEW == 0:
            self._apply(x, self._product)
        np.subtract(self._product, self._right, out=gradient)
        self._sweeper.run(split_differences, job, self._tiles)
        job["split"], job["split_next"] = int(job["split_next"]), int(job["split"])
        sums, misfit = self._step_sums[0, 0], self._misfit(x, self._product)
        sums[...] = self.sums.sum(axis=0)
        blurred = max(dot(x, self._product), 0.0)
        sums[:SUMS_OF_SPLIT] = 0.0, self._step_square, blurred, blurred, misfit
        sums[MISFIT] = misfit

    def update_x(self) -> None:
        super().update_x()
        self._step_square = self._squares["step"]

    def _gradient_square(self) -> float:
        gradient = self.planes_of("gradient")
        return dot(gradient, gradient)

    def _follow(self) -> None:
        job, gradient = self.job, self.planes_of("gradient")
        self._sweeper.sweep(combine, [gradient, self._search_direction], (float(job["rho"]),))
        gradient += self.dtype.type(job["data_rho"]) * self._direction_product
        if job["second_rho"]:
            gradient += self.dtype.type(job["second_rho"]) * (
                seconds_transposed(seconds(self._search_direction, self.domain.periodic), self.domain.periodic)
            )
        if job["pixels_rho"]:
            gradient += self.dtype.type(job["pixels_rho"]) * self._search_direction

    def _step(self) -> None:
        job, sweep, fresh, search_direction = self.job, self._sweeper.sweep, self._fresh, self._search_direction
        x, gradient = self.planes_of("x"), self.planes_of("gradient")
        data_rho, rho, second_rho, pixels_rho = (
            float(job[name]) for name in ("data_rho", "rho", "second_rho", "pixels_rho")
        )
        fresh[...] = self._preconditioned(gradient, rho / data_rho, second_rho / data_rho, pixels_rho / data_rho)
        self._apply(fresh, self._fresh_product)
        p = sweep(products, [fresh, search_direction, self._fresh_product, self._direction_product])
        q = sweep(products, [fresh, search_direction, gradient, gradient])
        gram = data_rho * p[[2, 3, 6]] + pixels_rho * p[[0, 1, 4]]
        if rho:
            gram += rho * sweep(difference_products, [fresh, search_direction, search_direction])[[0, 1, 3]]
        if second_rho:
            new, last = (seconds(each, self.domain.periodic) for each in (fresh, search_direction))
            gram += second_rho * np.array([_inner(new, new), _inner(new, last), _inner(last, last)])
        first, second = quadratic_step(gram[[0, 1, 1, 2]].reshape(2, 2), [-float(q[2]), -float(q[5])])
        factors = first, second, 1.0
        sweep(move, [fresh, search_direction, x], factors)
        sweep(move, [self._fresh_product, self._direction_product, self._product], factors)
        step = first * first * p[2] + 2 * first * second * p[3] + second * second * p[6]
        self._squares = {"step": max(float(step), 0.0)}

    def _preconditioned(self, gradient: np.ndarray, rho: float, second_rho: float, pixels_rho: float) -> np.ndarray:
        weight = self._weight
        if self.kind in FIRST_DIFFERENCES:
            return self._equations.precondition(gradient, rho * weight)
        return self._equations.precondition_all(gradient, rho * weight, second_rho * weight, pixels_rho * weight)

    def parts(self, poisson: bool) -> tuple[float, float]:
        estimate = np.ascontiguousarray(self.estimate)
        product = np.empty_like(estimate)
        self._apply(estimate, product)
        rough = 0.0 if self.kind == "denoiser" else penalty(self.kind, estimate, None, self.domain.periodic)
        return 0.5 * self._misfit(estimate, product), rough


def seconds(x: np.ndarray, periodic: bool) -> list[np.ndarray]:
    """Second differences of planes: down, across, and the mixed ones times √2, as the sparse prior has them."""
    if periodic:
        x = np.pad(x, ((0, 0), (1, 1), (1, 1)), "wrap")
        down, across, mixed = seconds(x, False)
        return [down[:, :, 1:-1], across[:, 1:-1], mixed[:, 1:, 1:]]
    mixed = np.diff(np.diff(x, axis=1), axis=2)
    mixed *= x.dtype.type(math.sqrt(2))
    return [np.diff(x, 2, axis=1), np.diff(x, 2, axis=2), mixed]


def seconds_transposed(parts: list[np.ndarray], periodic: bool) -> np.ndarray:
    """The transpose of `seconds`."""
    down, across, mixed = parts
    if periodic:
        wide = seconds_transposed(
            [
                np.pad(down, ((0, 0), (0, 0), (1, 1))),
                np.pad(across, ((0, 0), (1, 1), (0, 0))),
                np.pad(mixed, ((0, 0), (1, 0), (1, 0))),
            ],
            False,
        )
        for lines in (wide.transpose(1, 0, 2), wide.transpose(2, 0, 1)):  # what is beyond the border is within
            lines[1] += lines[-1]
            lines[-2] += lines[0]
        out: np.ndarray = wide[:, 1:-1, 1:-1]
        return out
    out = np.zeros((len(down), down.shape[1] + 2, down.shape[2]), down.dtype)
    for part, axis in ((down, 1), (across, 2)):
        lines, of_part = np.moveaxis(out, axis, 0), np.moveaxis(part, axis, 0)
        lines[:-2] += of_part
        lines[1:-1] -= 2 * of_part
        lines[2:] += of_part
    mixed = mixed * mixed.dtype.type(math.sqrt(2))
    out[:, :-1, :-1] += mixed
    out[:, 1:, 1:] += mixed
    out[:, 1:, :-1] -= mixed
    out[:, :-1, 1:] -= mixed
    return out


def _inner(first: list[np.ndarray], second: list[np.ndarray]) -> float:
    return sum(dot(a, b) for a, b in zip(first, second, strict=True))
