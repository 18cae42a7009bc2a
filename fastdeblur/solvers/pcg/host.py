"""Workspace of preconditioned conjugate gradients (CPU), and what it applies: blur, weights, preconditioner."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...kernels.cpu.sweeper import Sweeper
from ...kernels.cpu.vectors import combine, products
from ...kernels.runtime import memory, threads
from ...operators.blur import Blur, apply_to_planes
from ...operators.boundary import frame_of
from ...problem.start import spread_out
from ...problem.weights import typical
from ..common import largest, unit_of
from .multigrid import ENOUGH, Multigrid, coverage_of
from .preconditioner import Preconditioner, RidgePreconditioner
from .preconditioner_host import Applier
from .two_level import Added, TwoLevel, effective

# Fewer pixels a thread are not worth one.
LEAST_PIXELS = 4096
# A blur that leaves no more of a constant image than this times the last digit, relative to its taps, loses it.
LOST = 8.0
# The largest ridge of a preconditioner, in those that the blur has itself: beyond it only constants are left of it.
MOST_RIDGE = 1e20


class PcgWorkspace:
    """The memory of one solve: planes of the estimate's and of the image's shape.

    `blurs` and `preconditioners` are one for all planes, or one each.
    """

    def __init__(self, blurs: list[Blur], planes: int, preconditioners: list[Preconditioner]):
        self.blurs, self.planes = blurs, planes
        self.blur = blur = blurs[0]
        dtype, estimate, frame = blur.dtype, (planes, *blur.estimate_shape), (planes, *blur.image_shape)
        pixels = math.prod(estimate)
        self._tiles, self._seconds = pixels // LEAST_PIXELS + 1, pixels * 20e-9
        self._preconditioners = preconditioners
        self.formula = preconditioners[0].formula
        self.least = max(each.least for each in preconditioners)
        self.largest = max(each.largest for each in preconditioners)
        self.sweeper = Sweeper(dtype, self.periodic)
        each = planes if len(preconditioners) == 1 else 1
        self._appliers: list[Any] = [Applier(preconditioner, self.sweeper, each) for preconditioner in preconditioners]
        self.x, self.search_direction, self.fresh, self.gradient = (_image(estimate, dtype) for _ in range(4))
        self.image, self.residual, self.blurred_direction, self.blurred_fresh = (_image(frame, dtype) for _ in range(4))
        self.applied = 0
        # ‖Ax − b‖ and ‖Dx‖ of the last solve's estimate.
        self.norms = 0.0, 0.0
        self._response: np.ndarray | None = None
        # Roots of the pixels' weights, and room for a frame times those.
        self._shares: np.ndarray | None = None
        self._weighed: np.ndarray | None = None
        self._typical_weight = 1.0
        self._missing: TwoLevel | Added | None = None
        #: Planes in which A loses constants: D loses them too, so that nothing determines the estimate's.
        self._lost: list[int] = []

    @property
    def periodic(self) -> bool:
        """Whether the estimate's differences are."""
        return self.blur.boundary == "wrap"

    @property
    def frame(self) -> np.ndarray:
        """The part of the estimate that the image shows."""
        frame: np.ndarray = frame_of(self.x, self.blur)
        return frame

    @property
    def typical(self) -> float:
        """The middle one of the weights, without missing pixels."""
        return self._typical_weight

    @property
    def holes_products(self) -> int:
        """Products with A or Aᵀ that missing pixels add to those of an iteration."""
        return 0 if self._missing is None else self._missing.products

    def apply_blur(self, source: np.ndarray, out: np.ndarray, adjoint: bool = False) -> None:
        """out = A source, or A^T source; with weights w, A is sqrt(w) times the blur throughout."""
        if adjoint and self._shares is not None:
            if self._weighed is None:
                self._weighed = np.empty_like(source)
            source = np.multiply(source, self._shares, out=self._weighed)
        self.blur_alone(source, out, adjoint)
        if not adjoint and self._shares is not None:
            out *= self._shares

    def blur_alone(self, source: np.ndarray, out: np.ndarray, adjoint: bool = False) -> None:
        """The same without weights."""
        apply_to_planes(self.blurs, source, out, adjoint)
        self.applied += 1

    def add_differences(self, out: np.ndarray, source: np.ndarray, factor: float) -> None:
        """out += factor DᵀD source."""
        self.sweeper.sweep(combine, [out, source], (factor,))

    def response(self) -> np.ndarray:
        """A applied to ones, in each plane."""
        if self._response is None:
            ones = np.ones((self.planes, *self.blur.estimate_shape), self.blur.dtype)
            self._response = np.empty_like(self.image)
            self.apply_blur(ones, self._response)
        response: np.ndarray = self._response
        return response

    def preconditioners_at(self, ridge: float, raised: bool = False) -> list[RidgePreconditioner]:
        """The preconditioners for about that ridge, their solves' perhaps `raised`."""
        return [
            each.at(min(max(ridge / self._typical_weight, each.least), MOST_RIDGE * each.largest), raised)
            for each in self._preconditioners
        ]

    def precondition(self, current: list[RidgePreconditioner], source: np.ndarray, out: np.ndarray) -> None:
        """out = P source; `blurred_fresh` is overwritten where pixels are missing."""
        self.solve(current, source, out)
        if self._missing is not None:
            self.without_lost(out)
            self._missing.finish(current, source, out)
        self.without_lost(out)

    def solve(self, current: list[RidgePreconditioner], source: np.ndarray, out: np.ndarray) -> None:
        """out = P source as it is where no pixel is missing."""
        if len(current) == 1:
            self._appliers[0].apply(current[0], source, out)
        else:
            for k, (applier, each) in enumerate(zip(self._appliers, current, strict=True)):
                applier.apply(each, source[k : k + 1], out[k : k + 1])

    def begin(self, image: np.ndarray, weights: np.ndarray | None, start: Callable[[np.ndarray], None]) -> float:
        """Take the image and a start, in a unit that brings them near 1; returns that."""
        self.sweeper.threads = threads.count(self.blur.workers, self._tiles, self._seconds)
        unit = self.enter(image, weights, start)
        spread_out(self.x, self.blur.frame_corner, self.blur.image_shape)
        self.without_lost(self.x)
        return unit

    def prepare(self) -> None:
        """Get ready to apply blur and preconditioner, without an image and weights."""
        self.sweeper.threads = threads.count(self.blur.workers, self._tiles, self._seconds)
        self._shares, self._missing, self._typical_weight = None, None, 1.0
        self._lost = [k for k in range(self.planes) if self._loses_constants(k)]

    def enter(self, image: np.ndarray, weights: np.ndarray | None, start: Callable[[np.ndarray], None]) -> float:
        """Take the image and the start's frame; returns their unit."""
        if weights is not None or self._shares is not None:
            self._response = None
        self._shares, self._missing, self.applied = None, None, 0
        self._typical_weight = typical(weights)
        if weights is not None:
            if not weights.all():
                self._look_for_missing(weights)
            self._shares = np.sqrt(weights)
        self._lost = [k for k in range(self.planes) if self._loses_constants(k)]
        start(self.frame)
        unit = unit_of(max(largest(image), largest(self.frame)))
        scale = self.blur.dtype.type(unit)
        np.multiply(image, scale, out=self.image)
        if self._shares is not None:
            self.image *= self._shares
        self.frame[...] *= scale
        return unit

    def _loses_constants(self, plane: int) -> bool:
        """Whether A leaves no more of a constant plane than rounding."""
        blur = self.blurs[plane % len(self.blurs)]
        psf = blur.psf.astype(np.float64)
        least = LOST * float(np.finfo(blur.dtype).eps) * float(np.abs(psf).sum())
        lost = abs(float(psf.sum())) <= least
        if blur.boundary != "constant":
            return lost  # a constant becomes the psf's sum times itself
        shares = None if self._shares is None else self._shares[plane % len(self._shares)]
        if not lost:
            sides = zip(psf.shape, blur.image_shape, strict=True)
            rows, cols = (slice(taps, max(size - taps, 0)) for taps, size in sides)
            middle = (np.broadcast_to(1, blur.image_shape) if shares is None else shares)[rows, cols]
            if middle.size and (shares is None or middle.any()):
                return False  # so it does where the psf does not reach beyond the frame
        most = math.prod(blur.image_shape) if shares is None else float((shares * shares).sum())
        return self.square(self.response()[plane]) <= least * least * most

    def without_lost(self, images: Any) -> None:
        """Take their means from planes in which A loses constants: what rounding makes of those would grow."""
        for plane in self._lost:
            if images[plane].size == 1:  # all of it is lost, and what was divided by nothing has no mean
                images[plane] = 0
            else:
                images[plane] -= self.blur.dtype.type(float(images[plane].mean(dtype=np.float64)))

    def _look_for_missing(self, weights: np.ndarray) -> None:
        """Let the preconditioner know where pixels are missing; overwrites what `begin` has not begun."""
        of_present, response, mask = self.fresh, self.gradient, self.residual
        mask[...] = 1
        self.apply_blur(mask, response, adjoint=True)
        mask[...] = weights > 0
        self.apply_blur(mask, of_present, adjoint=True)
        coverage, usual = coverage_of(of_present, response)
        if float(coverage.min()) < ENOUGH:
            self._missing = self._with_holes(weights / self._typical_weight, coverage)
        self._typical_weight *= usual

    def _with_holes(self, shown: np.ndarray, coverage: np.ndarray) -> TwoLevel | Added:
        """The preconditioner's part for missing pixels, with weights in those that are usual."""
        return TwoLevel(self, shown.astype(self.blur.dtype), self._multigrid(effective(coverage)))

    def _multigrid(self, coverage: np.ndarray) -> Any:
        return Multigrid(coverage, self.sweeper)

    def look(self) -> float:
        """The residual anew; returns its square."""
        self.apply_blur(self.x, self.residual)
        self.residual -= self.image
        return self.square(self.residual)

    def shown(self, unit: float) -> np.ndarray:
        """The frame in the caller's units, for a callback."""
        return self.frame if unit == 1 else self.frame / self.blur.dtype.type(unit)

    def square(self, image: np.ndarray) -> float:
        return float(self.sweeper.sweep(products, [image] * 4)[0])


def _image(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return memory.zeros(math.prod(shape), dtype).reshape(shape)
