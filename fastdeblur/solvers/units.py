"""Units of a solve: images and psfs far from 1 are scaled by powers of two, which change no digit."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..kernels.cpu.rules import RULES
from ..kernels.runtime.arrays import module_of, scaled_array
from ..problem.image import Image
from ..problem.options import Options
from ..result import Result
from .admm.solver import EXPONENTS
from .common import largest
from .richardson_lucy.solver import photons

# Images, and psfs, whose sizes are within these powers of two stay as they are.
IMAGES, PSFS = 30, 20
# Exponents that need no scaling in float64, their squares neither.
UNSCALED = 200
# Others are scaled by a power of two to the power of a multiple of this, by which the priors' exponents are whole.
STEP = 10
# What a pixel may add to an objective, and to a prior, in a solve's units.
MISFIT, ROUGH = 16.0, 64.0


def exponent_of(size: float) -> int:
    """Of the least power of two above a size; 0 for nothing."""
    return math.frexp(size)[1] if size else 0


def rounded(exponent: int) -> int:
    """The multiple of STEP that takes a size of that exponent near 1."""
    return -STEP * round(exponent / STEP)


def unit_of_psfs(psfs: list[np.ndarray]) -> int:
    """The exponent of the power of two that brings psfs near 1, all the same; 0 for most."""
    exponent = exponent_of_psfs(psfs)
    return 0 if abs(exponent) <= PSFS else rounded(exponent)


def exponent_of_psfs(psfs: list[np.ndarray]) -> int:
    """Of the largest of the psfs' sums of absolute values, which themselves may overflow."""
    peaks = [exponent_of(float(np.abs(psf).max())) for psf in psfs]
    sums = (float(np.abs(np.ldexp(psf.astype(np.float64), -peak)).sum()) for psf, peak in zip(psfs, peaks, strict=True))
    return max(peak + exponent_of(each) for peak, each in zip(peaks, sums, strict=True))


def check_unscaled(psfs: list[np.ndarray], image: np.ndarray | None, what: str, name: str = "image") -> None:
    """Refuse psfs and images that are too far from 1 for `what`, which takes them as they are."""
    values = {"psf": exponent_of_psfs(psfs)} | ({} if image is None else {name: exponent_of(largest(image))})
    for each, exponent in values.items():
        if abs(exponent) > UNSCALED:
            raise ValueError(
                f"{each} must have {'a sum of absolute values' if each == 'psf' else 'its largest value'} between "
                f"2^-{UNSCALED} and 2^{UNSCALED} for {what} (scale it); it is about 2^{exponent}"
            )


def scaled(value: float, exponent: int) -> float:
    """A number times a power of two; infinity where that is too large."""
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.copysign(math.inf, value)


@dataclass(frozen=True)
class Units:
    """Exponents of the powers of two by which a solve's image, psf and weights are larger than the caller's."""

    image: int
    psf: int
    weights: int

    @property
    def estimate(self) -> int:
        """The same for estimates."""
        return self.image - self.psf

    def of_objective(self, data: str) -> int:
        """The same for objectives."""
        if data == "root":
            return self.image + self.weights // 2
        return self.weights + self.image * (1 if data == "poisson" else 2)

    def of_mu(self, options: Options) -> int:
        """The same for the prior's weight; with a denoiser a variance of pixels."""
        objective = self.of_objective(options.data)
        if options.prior == "denoiser":
            return objective
        exponent = EXPONENTS.get(str(options.prior), 2.0) * (0.5 if options.data == "root" else 1.0)
        return objective - round(exponent * self.estimate)

    def options(self, options: Options, dtype: Any) -> Options:
        """The caller's options in these units."""
        most, mu, bounds = float(np.finfo(dtype).max), options.mu, options.bounds
        if mu is not None:
            mu = scaled(mu, self.of_mu(options))
        if bounds is not None:
            low, high = (scaled(bound, self.estimate) for bound in bounds)
            # Beyond the largest number there is nothing.
            bounds = (min(low, most) if low >= -most else -math.inf, max(high, -most) if high <= most else math.inf)
        noise_and_range = options.scale.times(scaled(1.0, self.image)) if self.image else options.scale
        return replace(options, mu=mu, bounds=bounds, scale=noise_and_range)

    def scaled(self, image: Image) -> Image:
        """The caller's image in these units."""
        shift = None if image.shift is None else scaled_array(image.shift, self.image)
        start = replace(image.start, exponent=self.estimate)
        return replace(image, planes=scaled_array(image.planes, self.image), shift=shift, start=start)

    def with_logarithm(self, objective: Any, options: Options, image: Image) -> Any:
        """An objective of photon counts, `shift` among them, with what their unit adds to it."""
        if options.data != "poisson" or not self.image:
            return objective
        counts = image.planes if image.shift is None else (image.planes + image.shift).clip(0)
        weights = module_of(counts).ones_like(counts) if image.weights is None else image.weights
        return objective + math.log(2) * self.image * photons(counts, weights)

    def returned(self, result: Result, options: Options, image: Image) -> Result:
        """The result of a solve of `image`, in these units, in the caller's."""
        objective, mu = self.of_objective(options.data), self.of_mu(options)
        history = scaled_array(self.with_logarithm(result.history, options, image), -objective)
        return replace(
            result, image=scaled_array(result.image, -self.estimate), history=history, objective=float(history[-1]),
            mu=scaled(result.mu, -mu) if options.mu is None else options.mu,
        )  # fmt: skip


def follow_numbers(options: Options) -> bool:
    """Whether a method's steps follow from image and psf: those of a given length do not, and stay as they are."""
    return options.method not in RULES or (options.method == "gd" and options.learning_rate is None)


def unit_of_image(planes: Any) -> int:
    """By which power of two an image is brought near 1, where it is beyond what squares of its values are for."""
    brightest = exponent_of(largest(planes))
    return rounded(brightest) if abs(brightest) > IMAGES else 0


def units_of(options: Options, image: Image, start: float, psfs: list[np.ndarray], psf: int) -> Units:
    """The units for an image.

    `start` is the largest value of a start that is not the image; `psfs` have been scaled by the exponent `psf`.
    Refuses what no units make representable.
    """
    planes, weights = image.planes, -round(math.log2(image.factor))
    if not follow_numbers(options) and options.mu is None:
        check_unscaled(psfs, planes, "mu='auto' with steps of a given length")
    kind = np.finfo(planes.dtype)
    brightest = exponent_of(max(largest(planes), 0.0 if image.shift is None else largest(image.shift)))
    gain = exponent_of_psfs(psfs) - 1 - psf
    restored = brightest - gain
    if brightest and not kind.minexp - kind.nmant <= restored <= kind.maxexp:
        raise ValueError(
            f"psf must leave a restored image that {kind.dtype} can hold; its sum of absolute values is about "
            f"2^{gain}, and image has values of about 2^{brightest} (scale either)"
        )
    low, high = options.bounds or (-math.inf, math.inf)
    sizes = [size for size in (start, max(low, -high, 0.0)) if size]
    values = [exponent_of(size) for size in sizes] + [restored] * bool(brightest)
    largest_exponent = max(values, default=-gain) + gain
    units = Units(0, psf, weights)
    if abs(largest_exponent) > IMAGES and follow_numbers(options):
        units = replace(units, image=rounded(largest_exponent))
    if follow_numbers(options):
        try:
            _check_objective(options, units, planes)
        except ValueError:
            if options.method != "gd" or psf:  # which says itself that it is infinite
                raise
            return Units(0, 0, weights)
    return units


def _check_objective(options: Options, units: Units, image: np.ndarray) -> None:
    """Refuse what makes an objective, or a weight, that float64 cannot hold."""
    pixels, root = float(image.size), options.data == "root"
    misfit = math.sqrt(pixels) * MISFIT if root else pixels * MISFIT**2
    objective, mu = units.of_objective(options.data), units.of_mu(options)
    total = "the objective, about the sum of squares," if not root else "the objective"
    if math.isinf(scaled(misfit, -objective)):
        if abs(units.weights) > abs(units.image):
            raise ValueError(f"weights must be smaller, or image: {total} would be larger than float64 can hold")
        raise ValueError(
            f"image must be smaller for data={options.data!r}, or init or bounds: {total} would be larger than "
            f"float64 can hold; the largest value is about {largest(image):.3g}"
        )
    if options.mu is None:
        if math.isinf(scaled(1.0, -mu)):
            raise ValueError("psf must be smaller for mu='auto', or weights: mu would be larger than float64 can hold")
        return
    weight = scaled(options.mu, mu)
    rough = (math.sqrt(pixels) if root else pixels) * ROUGH
    if math.isinf(scaled(min(weight * rough, np.finfo(np.float64).max), -objective)) or math.isinf(weight * rough):
        raise ValueError(
            f"mu must be smaller for this image and psf: the objective would be infinite; got {options.mu}"
        )
