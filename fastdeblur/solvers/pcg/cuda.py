"""Workspace and steps of preconditioned conjugate gradients (CUDA); some steps go ahead of the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...kernels.cuda import device, span
from ...kernels.cuda.device import launch, view
from ...kernels.cuda.shapes import ADDERS, STRIP, THREADS
from ...kernels.cuda.sums import SUMS, total
from ...kernels.cuda.vectors import COUNTS, KERNELS
from ...kernels.runtime.tasks import Task
from ...operators.blur import Blur
from ...problem.start import spread_out
from .host import PcgWorkspace
from .multigrid import ArrayMultigrid, add_laplacian
from .preconditioner import Preconditioner, RidgePreconditioner
from .preconditioner_cuda import CudaApplier
from .solver import AMPLIFIED, FARTHEST, FORGOTTEN, KINK, MOVING, STAY, STEADY, ConjugateGradients

# Iterations between two looks.
LOOK = 4


class CudaSweeper:
    """Runs the sweeps of `cuda.vectors` by the names that those of `kernels.cpu.vectors` have."""

    def __init__(self, scalars: Any):
        self._scalars = view(scalars)
        self._views: dict[int, Any] = {}
        self.partials: dict[int, Any] = {}
        self.totals = device.zeros((2, SUMS), np.float64)
        self.totals_view = view(self.totals)
        self._factors = scalars

    def keep(self, *images: Any) -> None:
        """Know images that live as long as this."""
        self._views.update({id(image): view(image) for image in images})

    def run(self, name: str, images: list[Any]) -> tuple[Any, int]:
        """Launch a sweep; returns its partial sums and how many there are."""
        planes, rows, _ = images[0].shape
        strips = -(-rows // STRIP)
        blocks = strips * planes
        if blocks not in self.partials:
            self.partials[blocks] = [view(device.zeros((blocks, SUMS), np.float64)) for _ in range(2)]
        partials = self.partials[blocks][name == "products"]
        views = [self._views[id(image)] if id(image) in self._views else view(image) for image in images]
        counted = [partials] if COUNTS[name] else []
        launch(KERNELS[name], (strips, 1, planes), THREADS, *views, self._scalars, *counted)
        return partials, blocks

    def sweep(self, task: Task, images: list[Any], factors: tuple[float, ...] = ()) -> np.ndarray:
        """A sweep, and its sums on the host."""
        count = {"products": 4, "difference_products": 3, "move": 3, "move_residual": 4}.get(task.name, 2)
        # Planes alone, as constant images are looked for, come without their axis.
        images = [image if image.ndim == 3 else image[None] for image in images[:count]]
        if factors:
            first = span.RIDGE if task.name == "combine" else span.A
            self._factors[first : first + len(factors)] = device.put(np.array(factors))
        self._factors[span.PAUSED] = 0
        partials, blocks = self.run(task.name, images)
        if not COUNTS[task.name]:
            return np.zeros(SUMS)
        launch(total, 1, ADDERS, partials, blocks, COUNTS[task.name], self.totals_view)
        sums: np.ndarray = device.to_host(self.totals)[0]
        return sums


class CudaPcgWorkspace(PcgWorkspace):
    """`PcgWorkspace` with images and operators on the device."""

    def __init__(self, blurs: list[Blur], planes: int, preconditioners: list[Preconditioner]):
        self.blurs, self.planes, self.blur = blurs, planes, blurs[0]
        self.operator = self.blur.operator_with(blurs)
        dtype, estimate, frame = self.blur.dtype, (planes, *self.blur.estimate_shape), (planes, *self.blur.image_shape)
        self._preconditioners, self.formula = preconditioners, None
        self.least = max(each.least for each in preconditioners)
        self.largest = max(each.largest for each in preconditioners)
        each = planes if len(preconditioners) == 1 else 1
        self._appliers: list[Any] = [CudaApplier(preconditioner, each) for preconditioner in preconditioners]
        self.x, self.search_direction, self.fresh, self.gradient = (device.zeros(estimate, dtype) for _ in range(4))
        self.image, self.residual, self.blurred_direction, self.blurred_fresh = (
            device.zeros(frame, dtype) for _ in range(4)
        )
        self.scalars = device.zeros(span.SCALARS, np.float64)
        self.scalars[span.PERIODIC] = self.periodic
        self.log = device.zeros((span.LOG, span.KEPT), np.float64)
        self._scalars, self._log = view(self.scalars), view(self.log)
        self.sweeper: Any = CudaSweeper(self.scalars)
        self.sweeper.keep(self.x, self.search_direction, self.fresh, self.gradient)
        self.sweeper.keep(self.image, self.residual, self.blurred_direction, self.blurred_fresh)
        self.applied, self.norms = 0, (0.0, 0.0)
        self._response = self._shares = self._weighed = None
        self._typical_weight = 1.0
        self._missing = None
        self._lost = []

    def apply_blur(self, source: Any, out: Any, adjoint: bool = False) -> None:
        if adjoint and self._shares is not None:
            source = source * self._shares
        self.blur_alone(source, out, adjoint)
        if not adjoint and self._shares is not None:
            out *= self._shares

    def blur_alone(self, source: Any, out: Any, adjoint: bool = False) -> None:
        (self.operator.adjoint if adjoint else self.operator.forward)(source, out)
        self.applied += 1

    def add_differences(self, out: Any, source: Any, factor: float) -> None:
        # In array expressions: the sweep's factor is where the steps ahead of the host have their ridge.
        add_laplacian(out, source, factor, self.periodic)

    def response(self) -> Any:
        if self._response is None:
            ones = device.zeros((self.planes, *self.blur.estimate_shape), self.blur.dtype)
            ones[...] = 1
            self._response = device.zeros(self.image.shape, self.blur.dtype)
            self.apply_blur(ones, self._response)
        return self._response

    def begin(self, image: Any, weights: Any, start: Callable[[Any], None]) -> float:
        """As `PcgWorkspace.begin`."""
        unit = self.enter(image, weights, start)
        spread_out(self.x, self.blur.frame_corner, self.blur.image_shape)
        self.without_lost(self.x)
        return unit

    def _multigrid(self, coverage: Any) -> Any:
        return ArrayMultigrid(coverage)

    def ahead(self, current: list[RidgePreconditioner]) -> None:
        """Launch one iteration."""
        run, scalars, totals = self.sweeper.run, self._scalars, self.sweeper.totals_view
        self.precondition(current, self.gradient, self.fresh)
        self.apply_blur(self.fresh, self.blurred_fresh)
        in_frame = [self.blurred_fresh, self.blurred_direction, self.residual, self.image]
        images = [self.fresh, self.search_direction, self.x]
        sums = *run("products", in_frame), *run("difference_products", images)
        launch(span.choose, 1, ADDERS, *sums, scalars, totals)
        run("move", images)
        self.without_lost(self.x)
        launch(span.moved, 1, ADDERS, *run("move_residual", in_frame), scalars, totals)
        self.apply_blur(self.residual, self.gradient, adjoint=True)
        both = [self.gradient, self.x]
        launch(span.measure, 1, ADDERS, *run("gradient_sums", both), scalars, totals)
        launch(span.arrive, 1, ADDERS, *run("combine", both), scalars, totals, self._log)


class CudaConjugateGradients(ConjugateGradients):
    """The exact solver's descent, some iterations of which the device makes alone."""

    work: CudaPcgWorkspace
    # Whether the preconditioner still is the right one.
    _fits = False

    def go_on(self, most: int) -> list[tuple[float, float]]:
        if most == 1 or self._search is not None:
            return super().go_on(most)
        work, steps = self.work, min(most, LOOK)
        current = self._current if self._fits else self._preconditioners_now()
        scalars = np.zeros(span.SCALARS)
        scalars[span.RIDGE], scalars[span.MISFIT], scalars[span.LOOKED_AT] = self._ridge, self._misfit, self._looked_at
        scalars[span.MU], scalars[span.ROOT], scalars[span.TOL] = self._mu, self._root, self._tol
        scalars[span.MOVED], scalars[span.LAST_ITERATION] = self._moved, steps
        scalars[span.MADE_FOR], scalars[span.LAST_RIDGE], scalars[span.LEAST] = (
            self._made_for, self._last_ridge, work.least
        )  # fmt: skip
        scalars[span.KINK], scalars[span.FORGOTTEN], scalars[span.ROUNDED] = KINK, FORGOTTEN, self._rounded
        scalars[span.FARTHEST], scalars[span.LEAST_STEP] = FARTHEST, self.least_ridge
        scalars[span.UNTOLD], scalars[span.NOUGHT] = self.untold, self._nought
        scalars[span.OPTIMALITY], scalars[span.LEAST_SEEN], scalars[span.AMPLIFIED] = (
            self.optimality, self.least_seen, AMPLIFIED
        )  # fmt: skip
        scalars[span.PERIODIC] = work.periodic
        scalars[span.STAY], scalars[span.STEADY], scalars[span.MOVING_RIDGE] = STAY, STEADY, MOVING
        work.scalars[...] = device.put(scalars)
        applied = work.applied
        for _ in range(steps):
            work.ahead(current)
        scalars, log = device.to_host(work.scalars), device.to_host(work.log)
        done = int(scalars[span.ITERATION])
        work.applied = applied + (2 + work.holes_products) * done
        self._moved, self._misfit = True, float(scalars[span.MISFIT])
        self._ridge, self._last_ridge = float(scalars[span.RIDGE]), float(scalars[span.LAST_RIDGE])
        special = scalars[span.PAUSED] == span.SPECIAL
        self.diverged = bool(scalars[span.PAUSED] == span.LOST)
        self._fits = scalars[span.PAUSED] == span.ARRIVED
        norms = [(float(f), float(g)) for f, g, *_ in log[1 : done + 1 - special]]
        if norms:
            self.norms = norms[-1]
            self.optimality, self.rounding = map(float, log[len(norms), 2:])
        if special:  # what the usual step does not do
            work.applied -= 1
            if self._misfit < FORGOTTEN * self._looked_at or abs(scalars[span.C] - 1) > AMPLIFIED:
                self._misfit = self._looked_at = work.look()
            self.measure()
            norms.append(self.norms)
        return norms
