"""One estimate for several frames of one scene (`solve` of a list)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ... import validation
from ...problem.options import MOST_STEPS, OPTIONS, Options, checked
from ...problem.regularization import MU_RULES, estimate_of
from ...problem.spectrum import spread
from ...result import Result
from .edges import minimise_edges
from .gradient import minimise_gradient
from .operators import Normal, Operators
from .photons import minimise_photons
from .source import FrameSource

# Tolerance of the smooth estimate that says how much noise there is.
ROUGHLY = 1e-3
# Options of `solve` that frames have; all others must be what they are by default.
TAKEN = {
    "data", "prior", "mu", "boundary", "weights", "bounds", "channel_axis", "max_iter", "tol", "path", "workers",
    "callback", "progress",
}  # fmt: skip


def solve_frames(
    frames: Any, psfs: Any, given_shifts: Any, options: dict[str, Any], read: Callable[[Any], Any] | None = None
) -> Result:
    """One estimate for several frames; the arguments are those of `solve`, unchecked; `read` reads a path."""
    began = time.perf_counter()
    settings = _checked(options)
    axis = options["channel_axis"]
    source = FrameSource(frames, axis, read)
    each = iter(source)
    first = next(each)
    operators = Operators(psfs, given_shifts, first, options, source.shape)
    weights = _frame_weights(options["weights"], len(operators))
    normal = Normal(operators, weights, first)
    normal.add(first)
    for frame in each:
        normal.add(frame)
    normal.check_complete()
    result = _minimise(normal, source, settings, first)
    planes = result.image
    image = planes[0] if axis is None else np.ascontiguousarray(np.moveaxis(planes, 0, axis))
    return replace(result, image=image, seconds=time.perf_counter() - began)


def _minimise(normal: Normal, source: FrameSource, options: Options, first: np.ndarray) -> Result:
    """The estimate, in planes, by the method of the options."""
    estimate = None
    if options.mu is None or options.data == "poisson" or options.method == "admm":
        estimate = estimate_of(first, normal.operators[0], None)
    noise = math.nan if estimate is None or options.mu is not None else estimate.noise
    if options.data == "poisson":
        for psfs in normal.operators.psfs:
            options.check_psf(psfs)
        if normal.darkest < 0:
            raise ValueError(f"frames must not be negative with data='poisson'; the least value is {normal.darkest:g}")
        if not source.again:
            raise TypeError(
                "frames must be a list, or another sequence, for data='poisson', not a generator: they are read again "
                "at each step"
            )
        noise_norm = 0.0
        if options.tol > 0:  # as much as the best smooth image leaves
            smooth = replace(options, max_iter=MOST_STEPS["exact"], tol=ROUGHLY, callback=None)
            found = minimise_gradient(normal, smooth, _ridge_of(estimate, normal), 1.0)
            noise_norm = found.misfit * math.sqrt(normal.total_weight * first.size)
        return minimise_photons(normal, source, options, noise_norm)
    if options.method == "admm":
        mu, ridge = options.mu, _ridge_of(estimate, normal)
        if mu is None:
            mu = ridge if options.prior == "gradient" else _tv_weight(estimate, normal)
        return minimise_edges(normal, options, mu, ridge, noise, spread(first))
    mu = _ridge_of(estimate, normal) if options.mu is None else options.mu
    return minimise_gradient(normal, options, mu, noise)


def _ridge_of(estimate: Any, normal: Normal) -> float:
    """The weight of "gradient" for all frames, as for one with so much less noise."""
    total, spectra = normal.total_weight, estimate.spectra
    return float(total * (spectra.ridge(1 / total) * spectra.scale if estimate.noise > 0 else estimate.ridge))


def _tv_weight(estimate: Any, normal: Normal) -> float:
    """The same of "tv", whose rule has a power of the noise."""
    return float(estimate.weight_of("tv", "squares") * normal.total_weight ** (0.5 - 0.5 * MU_RULES["tv"][1]))


def _checked(options: dict[str, Any]) -> Options:
    """Options that go with several frames."""
    for name, value in options.items():
        if name not in TAKEN and not (value is OPTIONS[name].default or value == OPTIONS[name].default):
            raise ValueError(f"{name} does not go with several frames; got {value!r} (leave it out)")
    data, prior = options["data"], options["prior"]
    if not (data in (None, "squares") and prior in ("gradient", "tv")) and not (data == "poisson" and prior is None):
        raise ValueError(
            "data must be None or 'squares' with the prior 'gradient' or 'tv', or 'poisson' with prior None, for "
            f"several frames; got data={data!r}, "
            f"prior={prior if prior is None or isinstance(prior, str) else 'a denoiser'!r}"
        )
    return checked(options | {"data": data or "squares", "weights": None})


def _frame_weights(weights: Any, count: int) -> np.ndarray:
    if weights is None:
        return np.ones(count)
    array = validation.real_array("weights", weights).astype(np.float64)
    if array.shape != (count,):
        raise ValueError(f"weights must be one number for each of the {count} frames; the shape is {array.shape}")
    if not (np.isfinite(array).all() and (array >= 0).all() and array.any()):
        raise ValueError(f"weights must be finite, at least 0, and not all 0; got {array.tolist()}")
    return array
