"""One solve: the weight if it is to be found, then the method that was chosen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..kernels.runtime.arrays import module_of, scaled_array
from ..problem.image import Image
from ..problem.options import Options
from ..problem.regularization import WeightEstimate
from ..problem.start import Start
from ..problem.verdict import judged
from ..result import Result
from .admm import solver as admm
from .common import State, largest
from .engine import Workspaces
from .richardson_lucy import solver as richardson_lucy
from .units import Units, scaled, unit_of_psfs, units_of


def restore(
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
        del first
    psfs = [blur.psf for blur in workspaces.blurs]
    units = units_of(options, image, brightness, psfs, exponent)
    here = units.options(options, image.planes.dtype)
    if units.image or units.psf:
        image = units.scaled(image)
        if denoiser is not None:
            denoiser = _in_units(denoiser, units.estimate)
    if callback is not None and units != Units(0, 0, 0):
        callback = _in_caller_units(callback, units, options, image)
    solve = Solve(workspaces, here, image, callback, denoiser)
    result = solve(here.mu)
    with np.errstate(over="ignore", invalid="ignore"):  # of results that are refused, or replaced, for that
        # What takes psfs as they are may have one whose square is too large a number.
        extreme = unit_of_psfs(psfs)
        known = replace(result, image=scaled_array(result.image, -extreme)) if extreme else result
        tame = [np.ldexp(psf.astype(np.float64), extreme) for psf in psfs] if extreme else psfs
        noise, misfit, doubts = judged(known, image.planes, image.weights, tame, None if extreme else solve.seen, here)
    result = replace(result, noise=math.ldexp(noise, -units.image), misfit=misfit)
    if units != Units(0, 0, 0):
        result = units.returned(result, options, image)
    return result, doubts


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
    """The image, the options, and the method."""

    def __init__(self, workspaces: Workspaces, options: Options, image: Image, callback: Any, denoiser: Any):
        self._workspaces, self._options, self._image, self._denoiser = workspaces, options, image, denoiser
        self._planes, self._weights = image.planes, image.weights
        self.seen: WeightEstimate | None = None
        self._begin = lambda out: image.start.write(image.planes, out)
        self._common: dict[str, Any] = {
            "max_iter": self._options.max_iter, "tol": self._options.tol,
            "callback": callback, "progress": self._options.progress,
        }  # fmt: skip

    def __call__(self, mu: float | None) -> Result:
        method = self._options.method
        if method == "exact":
            return self._exact(mu)
        if method == "admm":
            return self._splits(mu)
        if method == "richardson_lucy":
            return self._lucy()
        return self._descent(mu)

    def _seen(self) -> WeightEstimate:
        """What the image says of noise and weight."""
        if self.seen is None:
            self.seen = WeightEstimate(self._planes, [blur.psf for blur in self._workspaces.blurs], self._weights)
        return self.seen

    def _exact(self, mu: float | None) -> Result:
        with self._workspaces.exact(self._weights is not None) as work:
            # A ridge makes a root's weight, once it is known what it leads to.
            return self._workspaces.minimise(
                work, self._planes, self._weights, self._begin, root=self._options.data == "root",
                mu=self._seen().ridge if mu is None else mu, given=mu is not None, **self._common,
            )  # fmt: skip

    def _descent(self, mu: float | None) -> Result:
        options = self._options
        if mu is None:
            mu = self._root_weight() if options.data == "root" else self._seen().ridge
        return self._workspaces.descend(
            self._workspaces.blurs, self._planes, self._weights, self._begin, rule=options.method,
            root=options.data == "root", mu=mu, bounds=options.bounds, learning_rate=options.learning_rate,
            **self._common,
        )  # fmt: skip

    def _root_weight(self) -> float:
        """The weight of roots whose minimiser has the ridge that was found."""
        return self._smooth(self._seen().ridge, root=True, given=False)[0].mu

    def _smooth(self, mu: float, root: bool, given: bool = True) -> tuple[Result, tuple[float, float]]:
        """The minimiser for the gradient prior without bounds, roughly; and its norms ‖Ax − b‖ and ‖Dx‖.

        A weight that is not `given` is a ridge; with roots, the result's is theirs that has it.
        """
        with self._workspaces.exact(self._weights is not None) as work:
            found = self._workspaces.minimise(
                work, self._planes, self._weights, lambda out: Start("image").write(self._planes, out), root=root,
                mu=mu, given=given, max_iter=50, tol=1e-3, callback=None, progress=False,
            )  # fmt: skip
            return found, work.norms

    def _splits(self, mu: float | None) -> Result:
        options, ridge = self._options, None
        if options.data == "root":
            if mu is None:
                mu = self._root_weight()
            # Bounds change its ridge little.  (It is not always the one that the weight was found with, which may
            # not have settled: without noise that is far too small, and the splits would not either.)
            misfit, rough = self._smooth(mu, root=True)[1]
            ridge = mu * misfit / rough if misfit > 0 and rough > 0 else mu
        elif mu is None:
            seen = self._seen()
            mu = seen.ridge
            if options.prior != "gradient":
                mu = seen.weight_of(str(options.prior), options.data, self._image.shift)
        with self._workspaces.splits() as work:
            return admm.minimise(
                work, self._planes, self._weights, self._begin, data=options.data, mu=mu, ridge=ridge,
                bounds=options.bounds, denoiser=self._denoiser, shift=self._image.shift, **self._common,
            )  # fmt: skip

    def _lucy(self) -> Result:
        least = 0.0
        if self._options.tol > 0:
            # As much as the best smooth image leaves: less than the noise, of which any good one takes up a part.
            least = self._smooth(self._seen().ridge, root=False)[1][0]
        with self._workspaces.lucy() as work:
            return richardson_lucy.minimise(
                work, self._planes, self._weights, None if self._image.start.kind == "image" else self._begin,
                least=least, shift=self._image.shift, bounds=self._options.bounds, **self._common,
            )  # fmt: skip
