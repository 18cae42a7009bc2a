"""Choice of the method, units near 1, the automatic mu, and the verdict: one solve of one image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..kernels.runtime.arrays import beside, module_of, on_host, scaled_array
from ..operators.blur import Blur
from ..operators.varying import VaryingBlur
from ..problem import objective
from ..problem.flux import corrects_flux, flux_factors
from ..problem.image import Image
from ..problem.learned import gain_of
from ..problem.options import MOST_STEPS, STEPS_OF_POINTS, Options
from ..problem.regularization import WeightEstimate, estimate_of, tv_weight_like
from ..problem.spectrum import SPARSE_SHARE, contrast_share, spread
from ..problem.start import Start
from ..problem.verdict import judged
from ..result import Result
from .admm import solver as admm
from .common import Problem, State, largest
from .gradient import solver as gradient
from .learned import solver as learned
from .pcg import solver as pcg
from .protocols import Workspaces
from .richardson_lucy import solver as richardson_lucy
from .units import Units, scaled, unit_of_image, unit_of_psfs, units_of

# The tolerance of solves that only prepare others.
ROUGHLY = 1e-3


def solve_and_judge(
    workspaces: Workspaces,
    image: Image,
    callback: Callable[[State], Any] | None,
    denoiser: Callable[[np.ndarray, float], np.ndarray] | None,
) -> tuple[Result, list[str]]:
    """Restore an image whose missing pixels have been filled; and why the result may be wrong."""
    options, exponent, brightness = workspaces.options, workspaces.exponent, 0.0
    if image.start.kind != "image":
        first = module_of(image.planes).empty_like(image.planes)
        image.start.write(image.planes, first)
        brightness = largest(first)
        if image.start.kind == "normal":  # drawing takes as long as twenty steps
            image = replace(image, start=Start("array", planes=first))
        del first
    psfs = [blur.psf for blur in workspaces.blurs]
    units = units_of(options, image, brightness, psfs, exponent)
    scaled_options = units.options(options, image.planes.dtype)
    if units.image or units.psf:
        image = units.scaled(image)
        if denoiser is not None:
            denoiser = _in_units(denoiser, units.estimate)
    if callback is not None and units != Units(0, 0, 0):
        callback = _in_caller_units(callback, units, options, image)
    solve = Solve(workspaces, scaled_options, image, callback, denoiser)
    result = solve(scaled_options.mu)
    if corrects_flux(options):
        result = _with_flux(result, image, workspaces.blurs, scaled_options)
    with np.errstate(over="ignore", invalid="ignore"):  # of results that are refused, or replaced, for that
        # Methods that leave psfs and images unscaled may have some whose squares are too large a number.
        brighter, shift = unit_of_image(image.planes), unit_of_psfs(psfs)
        judged_result, planes, estimate = result, image.planes, solve.weight_estimate
        if brighter or shift:
            judged_result, estimate = replace(result, image=scaled_array(result.image, brighter - shift)), None
            planes = scaled_array(planes, brighter)
            psfs = [np.ldexp(psf.astype(np.float64), shift) for psf in psfs]
        unit, blurred = units.estimate + brighter - shift, None
        if isinstance(workspaces.blurs[0], VaryingBlur):  # others the verdict blurs itself
            blurred = scaled_array(_blurred(workspaces.blurs, result.image), brighter)
        noise, misfit, doubts = judged(
            judged_result, planes, image.weights, psfs, estimate, scaled_options, unit, blurred
        )  # fmt: skip
    result = replace(result, noise=math.ldexp(noise, -units.image - brighter), misfit=misfit)
    if units != Units(0, 0, 0):
        result = units.returned(result, options, image)
    return result, doubts


def _with_flux(result: Result, image: Image, blurs: list[Blur], options: Options) -> Result:
    """A result whose points have the flux that an image of photon counts shows."""
    planes, before = on_host(image.planes), on_host(result.image)
    shift = np.broadcast_to(on_host(image.shift), planes.shape)
    weights = None if image.weights is None else on_host(image.weights)
    blurred, after = _blurred(blurs, before), before.copy()
    for k, plane in enumerate(planes):
        psf, of_plane = blurs[k % len(blurs)].psf, None if weights is None else weights[k]
        after[k] *= flux_factors(blurred[k], plane, shift[k], of_plane, psf)
    after.clip(*(options.bounds or (0, None)), out=after)
    counts = (planes + shift).clip(0)
    change = objective.misfit("poisson", _blurred(blurs, after), counts, weights, shift)
    change -= objective.misfit("poisson", blurred, counts, weights, shift)
    if options.prior == "tv":
        periodic = blurs[0].boundary == "wrap"
        first, last = (objective.penalty("tv", each, None, periodic) for each in (before, after))
        change += result.mu * (last - first)
    history = result.history.copy()
    history[-1] += change
    return replace(result, image=beside(after, result.image), objective=float(history[-1]), history=history)


def _blurred(blurs: list[Blur], planes: np.ndarray) -> np.ndarray:
    """Planes of a result on the host, blurred; beyond a frame that is smaller than the estimate pixels are repeated."""
    blurred = np.empty_like(planes)
    if blurs[0].device == "cuda":
        blurs = [Blur(each.psf, each.image_shape, boundary=each.boundary, dtype=each.dtype) for each in blurs]
    for k, (pixels, out) in enumerate(zip(planes, blurred, strict=True)):
        blur = blurs[k % len(blurs)]
        beyond = [
            (corner, estimate - corner - frame)
            for corner, estimate, frame in zip(blur.frame_corner, blur.estimate_shape, blur.image_shape, strict=True)
        ]
        blur.run(np.pad(pixels, beyond, "edge"), out)
    return blurred


def _in_units(denoiser: Callable[[np.ndarray, float], np.ndarray], exponent: int) -> Any:
    """The caller's denoiser for estimates that are larger by a power of two."""

    def denoise(planes: np.ndarray, sigma: float) -> np.ndarray:
        return scaled_array(denoiser(scaled_array(planes, -exponent), scaled(sigma, -exponent)), exponent)

    return denoise


def _in_caller_units(callback: Callable[[State], Any], units: Units, options: Options, image: Image) -> Any:
    """The caller's callback for a solve of an image in these units."""

    def shown(state: State) -> Any:
        objective = scaled(units.with_logarithm(state.objective, options, image), -units.of_objective(options.data))
        return callback(replace(state, objective=objective, estimate=scaled_array(state.estimate, -units.estimate)))

    return shown


class Solve:
    """One solve of an image by the method of the options.

    `weight_estimate` is what the image says of noise and mu; None if the method did not need it.
    """

    def __init__(self, workspaces: Workspaces, options: Options, image: Image, callback: Any, denoiser: Any):
        self._workspaces, self._options, self._image, self._denoiser = workspaces, options, image, denoiser
        self._planes, self._weights = image.planes, image.weights
        self.weight_estimate: WeightEstimate | None = None
        self._problem = Problem(
            image=image.planes,
            weights=image.weights,
            start=lambda out: image.start.write(image.planes, out),
            data=options.data,
            mu=math.nan,  # until the method says
            bounds=options.bounds,
            shift=image.shift,
            max_iter=options.max_iter,
            tol=options.tol,
            callback=callback,
            progress=options.progress,
        )

    def __call__(self, mu: float | None) -> Result:
        method = self._options.method
        if method == "exact":
            return self._pcg(mu)
        if method == "admm":
            return self._admm(mu)
        if method == "learned":
            return self._learned(mu)
        if method == "richardson_lucy":
            return self._richardson_lucy()
        return self._gradient(mu)

    def _estimate(self) -> WeightEstimate:
        """Noise and mu as the image shows them, computed once."""
        if self.weight_estimate is None:
            blurs = self._workspaces.blurs
            if self._image.shift is not None:  # it is wanted beside the planes that are looked at
                self.weight_estimate = WeightEstimate(self._planes, [blur.psf for blur in blurs], self._weights)
            else:
                self.weight_estimate = estimate_of(self._planes, blurs, self._weights)
        return self.weight_estimate

    def _pcg(self, mu: float | None) -> Result:
        with self._workspaces.pcg(self._weights is not None) as work:
            # Roots get the mu whose minimiser has the estimated ridge; that takes a solve to know.
            problem = replace(self._problem, mu=self._estimate().ridge if mu is None else mu)
            return pcg.minimise(work, problem, given=mu is not None, kind=self._workspaces.pcg_steps)

    def _gradient(self, mu: float | None) -> Result:
        options = self._options
        if mu is None:
            mu = self._root_mu() if options.data == "root" else self._estimate().ridge
        # A launch goes through many passes, so that images of 60x60 are worth some threads; but
        # through one step's if a callback is to be called after each iteration.
        with self._workspaces.gradient(passes=100 if self._problem.callback is None else 2) as work:
            return gradient.minimise(work, replace(self._problem, mu=mu), options.method, options.learning_rate)

    def _root_mu(self) -> float:
        """The mu of the root objective whose minimiser has the estimated ridge."""
        return self._minimise_roughly(self._estimate().ridge, root=True, given=False)[0].mu

    def _minimise_roughly(self, mu: float, root: bool, given: bool = True) -> tuple[Result, tuple[float, float]]:
        """The minimiser for the gradient prior without bounds, roughly; and its norms ‖Ax − b‖ and ‖Dx‖.

        If `mu` is not `given`, it is a ridge; with roots, the result's mu is the one that leads to it.
        """
        problem = replace(
            self._problem, start=lambda out: Start("image").write(self._planes, out),
            data="root" if root else "squares",
            mu=mu, max_iter=50, tol=ROUGHLY, callback=None, progress=False,
        )  # fmt: skip
        with self._workspaces.pcg(self._weights is not None) as work:
            result = pcg.minimise(work, problem, given, self._workspaces.pcg_steps)
            return result, work.norms

    def _admm(self, mu: float | None) -> Result:
        options, ridge = self._options, None
        if options.data == "root":
            if mu is None:
                mu = self._root_mu()
            # Bounds change its ridge little.  (It is not always the ridge that mu was estimated with, which may not
            # have converged: without noise that is far too small, and ADMM would not converge either.)
            misfit, roughness = self._minimise_roughly(mu, root=True)[1]
            ridge = mu * misfit / roughness if misfit > 0 and roughness > 0 else mu
        elif mu is None:
            estimate = self._estimate()
            mu = estimate.ridge
            if options.prior != "gradient":
                mu = estimate.weight_of(str(options.prior), options.data, self._image.shift)
        problem = replace(self._problem, mu=mu)
        if options.prior == "sparse" and options.patient and contrast_share(self._planes) < SPARSE_SHARE:
            problem = self._of_points(problem)
        with self._workspaces.admm() as work:
            return admm.minimise(work, problem, ridge, self._denoiser)

    def _of_points(self, problem: Problem) -> Problem:
        """The problem of the sparse prior for an image of points, whose minimum is far from the image.

        It starts from the solution with tv, unless the caller has another start: from the image, objectives are up to
        4 % above that one's, and it takes twice as many steps.
        """
        if not self._options.limited:
            problem = replace(problem, max_iter=STEPS_OF_POINTS)
        if self._image.start.kind != "image":
            return problem
        psfs = [blur.psf for blur in self._workspaces.blurs]
        near = replace(
            problem, mu=tv_weight_like(problem.mu, self._planes, psfs), max_iter=MOST_STEPS["admm"],
            tol=max(problem.tol, ROUGHLY), callback=None, progress=False,
        )  # fmt: skip
        with self._workspaces.admm_once("tv") as work:
            start = admm.minimise(work, near, None, None).image
        return replace(problem, start=lambda out: Start("array", planes=start).write(self._planes, out))

    def _learned(self, mu: float | None) -> Result:
        options, shift, scale = self._options, self._image.shift, self._options.scale
        if mu is None:
            mu = self._estimate().weight_of("learned", options.data, shift)
        if math.isnan(scale.noise):
            scale = replace(scale, noise=self._estimate().noise_to_smooth())
        if math.isnan(scale.spread):
            scale = replace(scale, spread=spread(self._planes))
        if math.isnan(scale.factor) and not scale.denoises:
            scale = replace(scale, factor=self._estimate().factor_of_learned())
        scale = scale.times(1 / gain_of([blur.psf for blur in self._workspaces.blurs]))
        with self._workspaces.learned() as work:
            return learned.minimise(work, replace(self._problem, mu=mu), scale)

    def _richardson_lucy(self) -> Result:
        noise_norm = 0.0
        if self._options.tol > 0:
            # As much as the best smooth image leaves: less than the noise, of which any good one takes up a part.
            noise_norm = self._minimise_roughly(self._estimate().ridge, root=False)[1][0]
        with self._workspaces.richardson_lucy() as work:
            by_step = self._image.start.kind == "image"
            return richardson_lucy.minimise(work, replace(self._problem, mu=0.0), noise_norm, by_step)
