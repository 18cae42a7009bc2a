"""One estimate for several frames of one scene (`solve` of a list)."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from ...kernels.runtime.arrays import joined
from ...problem.image import Image
from ...problem.learned import Scale, gain_of
from ...problem.options import MOST_STEPS, OPTIONS, Options, checked
from ...problem.regularization import WeightEstimate, estimate_of
from ...problem.spectrum import spread
from ...problem.weights import fill
from ...result import Result
from ..admm import solver as admm
from ..admm.domain import Domain
from ..common import Problem
from ..learned import solver as learned
from .admm import FramesAdmmWorkspace
from .background import FrameBackgrounds
from .gradient import Equations, minimise_gradient
from .learned import FramesLearnedWorkspace, FramesPhotonsQuasiNewton, FramesQuasiNewton
from .operators import Normal, Operators
from .photons import PhotonFrames, minimise_photons
from .photons_admm import FramesPhotonsAdmmWorkspace
from .root import minimise_root
from .source import FrameSource
from .weights import FrameWeights

# Tolerance of the smooth estimate that says how much noise there is.
ROUGHLY = 1e-3
# Options of `solve` that frames have; all others must be what they are by default.
TAKEN = {
    "data", "prior", "mu", "boundary", "weights", "bounds", "background", "read_noise", "channel_axis", "max_iter",
    "tol", "path", "workers", "callback", "progress",
}  # fmt: skip


class Outside(Protocol):
    """How callers see planes, see `engines.host`."""

    def shown_to(self, callback: Callable[[Any], Any] | None, image: Image) -> Callable[[Any], Any] | None:
        """The caller's callback, for states whose estimate are planes."""

    def checked_denoiser(
        self, denoiser: Callable[..., Any] | None, image: Image
    ) -> Callable[[np.ndarray, float], np.ndarray] | None:
        """The caller's denoiser, for planes of the estimate."""


def solve_frames(
    frames: Any, psfs: Any, given_shifts: Any, options: dict[str, Any], read: Callable[[Any], Any], outside: Outside
) -> Result:
    """One estimate for several frames; the arguments are those of `solve`, unchecked.

    `read` makes plain arrays of frames, which may be paths.
    """
    began = time.perf_counter()
    settings = _checked(options)
    axis = options["channel_axis"]
    source = FrameSource(frames, axis, read)
    each = iter(source)
    first = next(each)
    operators = Operators(psfs, given_shifts, first, options, source.shape)
    count = len(operators)
    backgrounds = FrameBackgrounds(options["background"], settings.read_noise, count, source.shape or (), axis)
    normal = Normal(operators, FrameWeights(options["weights"], count, axis), first)
    first = backgrounds.without(0, first)
    normal.add(first)
    for k, frame in enumerate(each, 1):
        normal.add(backgrounds.without(k, frame) if k < count else frame)
    normal.check_complete()
    photons = PhotonFrames(normal, source, backgrounds) if settings.data == "poisson" else None
    image = Image(first, axis, lambda restored: restored, first)
    settings = replace(settings, callback=outside.shown_to(settings.callback, image))
    result = Frames(normal, photons, settings, first, outside.checked_denoiser(settings.denoiser, image)).solve()
    return replace(result, image=np.ascontiguousarray(joined(result.image, axis)), seconds=time.perf_counter() - began)


class Frames:
    """One solve of frames whose normal equations are there, by the method of the options; results are planes."""

    def __init__(
        self, normal: Normal, photons: PhotonFrames | None, options: Options, first: np.ndarray, denoiser: Any
    ):
        self._normal, self._photons, self._options, self._denoiser = normal, photons, options, denoiser
        self._shift = None if photons is None else photons.shift
        weights = normal.weights
        planes = weights.planes(0, first.dtype)
        present = None if planes is None else (planes > 0).astype(first.dtype)
        self._first = first
        if present is not None:
            self._first = first.copy()
            for plane, mask in zip(self._first, present == 0, strict=True):
                fill(plane, mask)
        # What the first frame's noise is that of: a typical pixel's weight; and how many such frames all are worth.
        usual = float(weights.numbers[0]) * (1.0 if planes is None else float(np.median(planes[planes > 0])))
        self._usual = usual or float(weights.numbers[weights.numbers > 0].mean())
        self._worth = normal.total_weight / self._usual
        self._estimate: Any = None
        if options.mu is None or options.data == "poisson" or options.method != "exact":
            blurs = normal.operators[0]
            if self._shift is not None:  # it is wanted beside the planes that are looked at
                self._estimate = WeightEstimate(self._first, [blur.psf for blur in blurs], present)
            else:
                self._estimate = estimate_of(self._first, blurs, present)

    def solve(self) -> Result:
        """Minimise."""
        options, normal = self._options, self._normal
        noise = math.nan if self._estimate is None or options.mu is not None else self._estimate.noise
        for psfs in normal.operators.psfs:
            options.check_psf(psfs)
        if options.method == "richardson_lucy":
            return self._richardson_lucy()
        if options.method == "exact" and options.data == "root":
            return self._root(options, noise)[0]
        if options.method == "exact":
            return minimise_gradient(normal, options, self._ridge() if options.mu is None else options.mu, noise)
        equations, ridge = Equations(normal), None
        mu = self._weight() if options.mu is None else options.mu
        if options.data == "root":  # within bounds, which change ridge and weight little
            roughly = replace(options, bounds=None, max_iter=MOST_STEPS["exact"], tol=ROUGHLY, callback=None)
            smooth, ridge = self._root(roughly, math.nan)
            mu = smooth.mu
        minimise = self._learned if options.method == "learned" else self._admm
        result, estimate = minimise(equations, self._problem(equations, mu), ridge)
        return self._of_all(result, estimate, mu, noise)

    def _root(self, options: Options, noise: float) -> tuple[Result, float]:
        return minimise_root(self._normal, options, self._ridge() if options.mu is None else options.mu, noise)

    @property
    def _share(self) -> float:
        """What the objective of the mean of the frames' data terms is of that of their sum."""
        total = self._normal.total_weight
        return 1 / math.sqrt(total) if self._options.data == "root" else 1 / total

    def _problem(self, equations: Equations, mu: float) -> Problem:
        """The mean of the frames' data terms, that begins with a smooth image."""
        options, normal, one = self._options, self._normal, self._first.dtype.type

        def start(out: np.ndarray) -> None:
            smooth = equations.precondition(normal.right, self._ridge()) / one(normal.total_weight)
            out[...] = equations.frame_of(smooth)

        callback = options.callback
        if callback is not None:
            share, of_caller = self._share, callback

            def callback(state: Any) -> Any:
                return of_caller(replace(state, objective=state.objective / share))

        return Problem(
            image=self._first, weights=None, start=start, data=options.data, mu=mu * self._share,
            bounds=options.bounds, shift=self._shift, max_iter=options.max_iter, tol=options.tol, callback=callback,
            progress=options.progress,
        )  # fmt: skip

    def _of_all(self, result: Result, estimate: np.ndarray, mu: float, noise: float) -> Result:
        """The result for the sum of the data terms, of one for their mean; the estimate goes beyond the frame."""
        normal, misfit = self._normal, math.nan
        total = normal.total_weight
        if noise > 0:
            product = np.empty_like(estimate)
            normal.product(estimate, product)
            misfit = math.sqrt(normal.misfit(estimate, product) / (total * result.image.size)) / noise
        return replace(
            result, objective=result.objective / self._share, history=result.history / self._share, mu=mu, noise=noise,
            misfit=misfit, n_products=float(normal.applied), path=normal.blur.path,
        )  # fmt: skip

    def _admm(self, equations: Equations, problem: Problem, ridge: float | None) -> tuple[Result, np.ndarray]:
        options = self._options
        pixels = options.bounds is not None or options.prior == "denoiser"
        domain = Domain([self._normal.blur], padded=False)
        normal, kind, pixels = self._normal, str(options.prior), pixels or domain.loses_constants
        if self._photons is None:
            work = FramesAdmmWorkspace(normal, equations, kind, pixels)
        else:
            plain = normal.unweighted()
            work = FramesPhotonsAdmmWorkspace(plain, Equations(plain), kind, pixels, self._photons, normal.total_weight)
        about = None if ridge is None else ridge / normal.total_weight
        result = admm.minimise(work, problem, about, self._denoiser)
        if self._photons is not None:
            normal.applied += plain.applied
        return result, work.estimate / work.dtype.type(work.unit)

    def _learned(self, equations: Equations, problem: Problem, ridge: float | None) -> tuple[Result, np.ndarray]:
        scale = Scale(
            self._estimate.noise_to_smooth() / math.sqrt(self._worth), spread(self._first),
            factor=self._estimate.factor_of_learned(),
        )  # fmt: skip
        gain = gain_of([psf for of_frame in self._normal.operators.psfs for psf in of_frame])
        work = FramesLearnedWorkspace(self._normal, equations)
        kind: Any = FramesQuasiNewton
        if self._photons is not None:
            kind = functools.partial(FramesPhotonsQuasiNewton, self._photons)
        result = learned.minimise(work, problem, scale.times(1 / gain), kind)
        return result, work.x / work.dtype.type(work.unit)

    def _richardson_lucy(self) -> Result:
        options, normal = self._options, self._normal
        assert self._photons is not None
        noise_norm = 0.0
        if options.tol > 0:  # as much as the best smooth image leaves
            smooth = replace(options, max_iter=MOST_STEPS["exact"], tol=ROUGHLY, callback=None)
            found = minimise_gradient(normal, smooth, self._ridge(), 1.0)
            noise_norm = found.misfit * math.sqrt(normal.total_weight * self._first.size)
        return minimise_photons(normal, self._photons, self._first, options, noise_norm)

    def _ridge(self) -> float:
        """The weight of "gradient" for all frames, as for one with so much less noise."""
        total, estimate = self._normal.total_weight, self._estimate
        spectra = estimate.spectra
        bare = spectra.ridge(1 / self._worth) * spectra.scale if estimate.noise > 0 else estimate.ridge
        return float(total * bare)

    def _weight(self) -> float:
        """The same of the prior."""
        prior = str(self._options.prior)
        if prior == "gradient":
            return self._ridge()
        # That of tv and sparse is about as the noise times the root of a ridge that is as its square: as much less as
        # there are more data; a denoiser's is a variance of pixels of weight 1.
        weight = float(self._estimate.weight_of(prior, self._options.data, self._shift)) * self._usual
        return weight * self._worth if prior == "learned" else weight


def _checked(options: dict[str, Any]) -> Options:
    """Options that go with several frames."""
    for name, value in options.items():
        if name not in TAKEN and not (value is OPTIONS[name].default or value == OPTIONS[name].default):
            raise ValueError(f"{name} does not go with several frames; got {value!r} (leave it out)")
    data, prior = options["data"], options["prior"]
    named = prior in ("gradient", "tv", "sparse", "learned") if isinstance(prior, str) else callable(prior)
    pairs = {"root": prior == "gradient", "poisson": prior in ("tv", "learned", None)}
    if not pairs.get(data, data in (None, "squares") and named):
        raise ValueError(
            "data must be None or 'squares' with the prior 'gradient', 'tv', 'sparse', 'learned' or a denoiser, 'root' "
            "with 'gradient', or 'poisson' with 'tv', 'learned' or None, for several frames; "
            f"got data={data!r}, prior={'a denoiser' if callable(prior) else repr(prior)}"
        )
    return checked(options | {"data": data or "squares", "weights": None})
