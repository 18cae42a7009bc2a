"""One solve: the weight if it is to be found, then the method that was chosen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .arrays import module_of
from .frames import Start, from_image
from .options import Options
from .result import Result
from .solvers import poisson, sparse
from .solvers.engine import Engine
from .solvers.shared import State, largest
from .units import Units, scaled, scaled_array, unit_of_psfs, units_of
from .verdict import judged
from .weight import Seen


def restore(
    engine: Engine,
    planes: np.ndarray,
    weights: np.ndarray | None,
    factor: float,
    start: Start,
    callback: Callable[[State], Any] | None,
    denoiser: Callable[[np.ndarray, float], np.ndarray] | None,
    shift: np.ndarray | None = None,
) -> tuple[Result, list[str]]:
    """Restore planes without holes, whose pixels' weights have been divided by `factor`; and what is to be doubted.

    `shift` is what photons were counted beside them: the background that was subtracted, and read noise's variance.
    """
    options, exponent = engine.options, engine.exponent
    given, brightness = start, 0.0
    if start is not from_image:
        first = module_of(planes).empty_like(planes)
        start(planes, first)
        brightness = largest(first)
        del first
    psfs = [blur.psf for blur in engine.blurs]
    beside = 0.0 if shift is None else largest(shift)
    units = units_of(options, planes, brightness, psfs, exponent, -round(math.log2(factor)), beside)
    here = units.options(options, planes.dtype)
    if units.image or units.psf:
        planes = scaled_array(planes, units.image)
        shift = None if shift is None else scaled_array(shift, units.image)
        if start is not from_image:

            def start(image: np.ndarray, out: np.ndarray) -> None:
                given(image, out)
                out[...] = scaled_array(out, units.estimate)

        if denoiser is not None:
            denoiser = _in_units(denoiser, units.estimate)
    if callback is not None and units != Units(0, 0, 0):
        callback = _seen_in_units(callback, units, options, planes, weights, shift)
    solve = Solve(engine, here, planes, weights, start, callback, denoiser, shift)
    result = solve(here.mu)
    with np.errstate(over="ignore", invalid="ignore"):  # of results that are refused, or replaced, for that
        # What takes psfs as they are may have one whose square is too large a number.
        extreme = unit_of_psfs(psfs)
        known = replace(result, image=scaled_array(result.image, -extreme)) if extreme else result
        tame = [np.ldexp(psf.astype(np.float64), extreme) for psf in psfs] if extreme else psfs
        noise, misfit, doubts = judged(known, planes, weights, tame, None if extreme else solve.seen, here)
    result = replace(result, noise=math.ldexp(noise, -units.image), misfit=misfit)
    if units != Units(0, 0, 0):
        result = units.returned(result, options, planes, weights, shift)
    return result, doubts


def _in_units(denoiser: Callable[[np.ndarray, float], np.ndarray], exponent: int) -> Any:
    """The caller's denoiser for estimates that are larger by a power of two."""

    def denoise(planes: np.ndarray, sigma: float) -> np.ndarray:
        return scaled_array(denoiser(scaled_array(planes, -exponent), scaled(sigma, -exponent)), exponent)

    return denoise


def _seen_in_units(callback: Any, units: Units, options: Options, image: np.ndarray, weights: Any, shift: Any) -> Any:
    """The caller's callback for a solve in these units."""

    def shown(state: State) -> Any:
        objective = scaled(
            units.with_logarithm(state.objective, options, image, weights, shift), -units.of_objective(options.data)
        )
        return callback(replace(state, objective=objective, estimate=scaled_array(state.estimate, -units.estimate)))

    return shown


class Solve:
    """The image, what is asked of it, and the method."""

    def __init__(
        self,
        engine: Engine,
        options: Options,
        planes: np.ndarray,
        weights: np.ndarray | None,
        start: Start,
        callback: Any,
        denoiser: Any,
        shift: np.ndarray | None,
    ):
        self._engine, self._options = engine, options
        self._planes, self._weights, self._from_image = planes, weights, start is from_image
        self._denoiser, self._shift = denoiser, shift
        self.seen: Seen | None = None
        self._begin = lambda out: start(planes, out)
        self._common: dict[str, Any] = {
            "max_iter": self._options.max_iter, "tol": self._options.tol,
            "callback": callback, "progress": self._options.progress,
        }  # fmt: skip

    def __call__(self, mu: float | None) -> Result:
        method = self._options.method
        if method == "exact":
            return self._exact(mu)
        if method == "splits":
            return self._splits(mu)
        if method == "lucy":
            return self._lucy()
        return self._descent(mu)

    def _seen(self) -> Seen:
        """What the image says of noise and weight."""
        if self.seen is None:
            self.seen = Seen(self._planes, [blur.psf for blur in self._engine.blurs], self._weights)
        return self.seen

    def _exact(self, mu: float | None) -> Result:
        with self._engine.exact(self._weights is not None) as work:
            # A ridge makes a root's weight, once it is known what it leads to.
            return self._engine.minimise(
                work, self._planes, self._weights, self._begin, root=self._options.data == "root",
                mu=self._seen().ridge if mu is None else mu, given=mu is not None, **self._common,
            )  # fmt: skip

    def _descent(self, mu: float | None) -> Result:
        options = self._options
        if mu is None:
            mu = self._root_weight() if options.data == "root" else self._seen().ridge
        return self._engine.descend(
            self._engine.blurs, self._planes, self._weights, self._begin, rule=options.method,
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
        with self._engine.exact(self._weights is not None) as work:
            found = self._engine.minimise(
                work, self._planes, self._weights, lambda out: from_image(self._planes, out), root=root,
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
                mu = seen.weight_of(str(options.prior), options.data, self._shift)
        with self._engine.splits() as work:
            return sparse.minimise(
                work, self._planes, self._weights, self._begin, data=options.data, mu=mu, ridge=ridge,
                bounds=options.bounds, denoiser=self._denoiser, shift=self._shift, **self._common,
            )  # fmt: skip

    def _lucy(self) -> Result:
        least = 0.0
        if self._options.tol > 0:
            # As much as the best smooth image leaves: less than the noise, of which any good one takes up a part.
            least = self._smooth(self._seen().ridge, root=False)[1][0]
        with self._engine.lucy() as work:
            return poisson.minimise(
                work, self._planes, self._weights, None if self._from_image else self._begin,
                least=least, shift=self._shift, bounds=self._options.bounds, **self._common,
            )  # fmt: skip
