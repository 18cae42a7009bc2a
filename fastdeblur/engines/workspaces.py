"""Operators and solvers' memory that a Deblurrer keeps for images of one dtype, made when first needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from .. import validation
from ..kernels.runtime import threads
from ..kernels.runtime.memory import Spares
from ..operators.blur import Blur
from ..operators.boundary import BOUNDARIES
from ..operators.paths import PATHS
from ..operators.varying import VaryingBlur
from ..problem.options import Options
from ..solvers.admm.domain import Domain, is_tied
from ..solvers.admm.host import AdmmWorkspace
from ..solvers.admm.iterative import IterativeAdmmWorkspace
from ..solvers.admm.varying import VaryingAdmmWorkspace
from ..solvers.gradient.host import GradientWorkspace
from ..solvers.gradient.solver import GradientSteps
from ..solvers.gradient.varying import VaryingGradientWorkspace
from ..solvers.learned.host import LearnedWorkspace
from ..solvers.learned.solver import PAIRS
from ..solvers.pcg.host import PcgWorkspace
from ..solvers.pcg.preconditioner import Preconditioner
from ..solvers.pcg.varying import VaryingPcgWorkspace
from ..solvers.richardson_lucy.host import RichardsonLucyWorkspace
from ..solvers.richardson_lucy.solver import RichardsonLucySteps
from ..solvers.richardson_lucy.varying import VaryingRichardsonLucyWorkspace
from ..solvers.units import follow_numbers, unit_of_psfs


class HostWorkspaces:
    """Operators, and the memory of solves that are not under way.

    Attributes
    ----------
    blurs : list of Blur
        One for all planes, or one each.
    """

    #: Whether there are exact solvers by formulas.
    _has_formulas = True
    #: Whether there are steps of conjugate gradients for the x-update of ADMM.
    _has_iterative_admm = True
    #: The class of the steps of preconditioned conjugate gradients; None for the host's.
    pcg_steps: Any = None

    def __init__(self, psf: Any, planes: np.ndarray, options: Options, operation: Any):
        #: Exponent of the power of two by which the operators' psfs are larger than the caller's.
        self.exponent = unit_of_psfs(psf_arrays(psf)) if follow_numbers(options) else 0
        self.blurs = _operators(psf, planes, self.exponent, **operation)
        self.planes, self.options = len(planes), options
        self._preconditioners: dict[bool, list[Preconditioner]] = {}
        self._domain: Domain | None = None
        self._spares = Spares()

    @contextmanager
    def pcg(self, weighted: bool) -> Iterator[PcgWorkspace]:
        """For preconditioned conjugate gradients; weights and psfs that differ leave no formula for the minimiser."""
        by_formula = self._has_formulas and not weighted and len(self.blurs) == 1 and not self._varying

        def make() -> PcgWorkspace:
            return self._pcg_workspace(self._preconditioners_for(by_formula))

        with self._borrowed(("pcg", by_formula), make) as work:
            yield work

    def _preconditioners_for(self, by_formula: bool) -> list[Preconditioner]:
        if by_formula not in self._preconditioners:
            self._preconditioners[by_formula] = [
                Preconditioner(blur.psf, blur.boundary, blur.image_shape, blur.estimate_shape, blur.workers, by_formula)
                for blur in self.blurs
            ]
        return self._preconditioners[by_formula]

    @contextmanager
    def admm(self) -> Iterator[AdmmWorkspace]:
        """For priors that keep edges, bounds and denoisers."""
        with self._borrowed("admm", lambda: self._admm_for(str(self.options.prior))) as work:
            yield work

    @contextmanager
    def admm_once(self, prior: str) -> Iterator[AdmmWorkspace]:
        """The same with another prior: it is not kept, and what is kept of the own is given up, for they are large."""
        self._spares.take(("admm", self._where()))
        yield self._admm_for(prior)

    def _admm_for(self, prior: str) -> AdmmWorkspace:
        bounded = self.options.bounds is not None
        if self._steps_admm(prior):
            return IterativeAdmmWorkspace(
                Domain(self.blurs, padded=False), self._pcg_workspace(self._preconditioners_for(False)), prior, bounded
            )
        if self._domain is None:
            self._domain = Domain(self.blurs)
        pixels = self._domain.tied or bounded or prior == "denoiser"
        # A copy of the estimate keeps the brightness that nothing else determines.
        pixels = pixels or self._domain.loses_constants
        return self._admm_workspace(self._domain, prior, pixels)

    @contextmanager
    def learned(self) -> Iterator[LearnedWorkspace]:
        """For the learned prior."""
        with self._borrowed("learned", lambda: self._learned_workspace(PAIRS)) as work:
            yield work

    @contextmanager
    def richardson_lucy(self) -> Iterator[RichardsonLucySteps]:
        """For photon noise without a prior."""
        with self._borrowed(("richardson_lucy", self._threads()), self._richardson_lucy_workspace) as work:
            yield work

    @contextmanager
    def gradient(self, passes: int) -> Iterator[GradientSteps]:
        """For gradient descent, whose launches go through some `passes` over the image.

        Made anew each time: kept, it would still be there while the result is judged, and raise the peak by a sixth.
        """
        yield self._gradient_workspace(passes)

    def _threads(self) -> int:
        """How many threads there are for scratch memory; it may be another by the next call."""
        return threads.count(self.blurs[0].workers, threads.most_threads(), math.inf)

    def _pcg_workspace(self, preconditioners: list[Preconditioner]) -> PcgWorkspace:
        kind = VaryingPcgWorkspace if self._varying else PcgWorkspace
        return kind(self.blurs, self.planes, preconditioners)

    @property
    def _varying(self) -> bool:
        return isinstance(self.blurs[0], VaryingBlur)

    def _steps_admm(self, prior: str) -> bool:
        """Whether the x-update of ADMM is a step of conjugate gradients, see `solvers.admm.iterative`."""
        blur = self.blurs[0]
        steps = is_tied(blur) or (self._varying and blur.boundary == "unknown" and self.options.data != "poisson")
        return self._has_iterative_admm and prior in ("tv", "gradient") and steps

    def _admm_workspace(self, domain: Domain, prior: str, pixels: bool) -> AdmmWorkspace:
        kind = VaryingAdmmWorkspace if self._varying else AdmmWorkspace
        return kind(domain, self.blurs, self.planes, prior, pixels)

    def _learned_workspace(self, pairs: int) -> LearnedWorkspace:
        return LearnedWorkspace(self.blurs, self.planes, pairs)

    def _richardson_lucy_workspace(self) -> RichardsonLucySteps:
        kind = VaryingRichardsonLucyWorkspace if self._varying else RichardsonLucyWorkspace
        return kind(self.blurs, self.planes)

    def _gradient_workspace(self, passes: int) -> GradientSteps:
        if self._varying:
            return VaryingGradientWorkspace(self.blurs, self.planes, self.options.method)
        return GradientWorkspace(self.blurs, self.planes, self.options.method, passes)

    def _borrowed(self, kind: Any, make: Callable[[], Any]) -> AbstractContextManager[Any]:
        return self._spares.borrowed((kind, self._where()), make)

    def _where(self) -> Any:
        """What memory is for, beside its kind."""
        return None


def psf_arrays(psf: Any) -> list[np.ndarray]:
    """The psfs of a Blur, or of a list."""
    return [psf.psf] if isinstance(psf, Blur) else psf


def _operators(psf: Any, planes: np.ndarray, exponent: int, **options: Any) -> list[Blur]:
    """Blurs for these planes, or the caller's if it fits; of psfs times a power of two."""
    shape = planes.shape[1:]
    if isinstance(psf, Blur):
        check_operator(psf, shape, planes.dtype, options)
        if not exponent:
            return [psf]
        if isinstance(psf, VaryingBlur):
            return [psf.scaled(exponent)]
        options = {name: getattr(psf, name) for name in options}
        psf = [psf.psf]
    if exponent:
        psf = [np.ldexp(each.astype(np.float64), exponent) for each in psf]
    blurs = [Blur(each, shape, dtype=planes.dtype, **options) for each in psf]
    paths = {blur.path for blur in blurs}
    if len(paths) > 1:  # one for all, so that they go through the same kernels
        path = max(blurs, key=lambda blur: blur.seconds).path
        blurs = [Blur(each, shape, dtype=planes.dtype, **(options | {"path": path})) for each in psf]
    return blurs


def check_operation(blur: Blur, usual_boundary: str = "unknown", **options: Any) -> None:
    """Refuse options of an operator that are neither those of a caller's Blur nor what they are by default."""
    for name, choices in (("boundary", BOUNDARIES), ("path", ["auto", *PATHS])):
        if name in options:
            validation.choice(name, options[name], choices)
    neutral = {"boundary": usual_boundary, "path": "auto", "device": blur.device, "workers": None}
    for name, value in options.items():
        if value not in (neutral[name], getattr(blur, name)):
            raise ValueError(f"{name} is the Blur's own ({getattr(blur, name)!r}) when psf is a Blur; got {value!r}")


def check_operator(blur: Blur, shape: tuple[int, ...], dtype: Any, options: dict[str, Any]) -> None:
    """Refuse a caller's Blur that is for other images, or options that it does not have."""
    check_operation(blur, **options)
    if blur.image_shape != shape:
        raise ValueError(f"psf is a Blur for images of shape {blur.image_shape}; the image has {shape}")
    if blur.dtype != dtype:
        raise ValueError(f"psf is a Blur of {blur.dtype}; the image is {dtype}")
