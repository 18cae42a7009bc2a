"""Whether a result can be trusted: the noise, the misfit of the residual, and what is to be doubted."""

from __future__ import annotations

import math

import numpy as np

from . import forks
from .arrays import beside, module_of, transforms_of
from .boundary import reduced
from .options import Options
from .result import Result
from .spectrum import spread
from .weight import Seen

# Side of the part of an image in which noise, where no weight is to be found, and residual are measured.
ENOUGH = 256
# The share of the image's details that the residual may have for the psf's sake: measured ones leave 0.01 to 0.03.
PSF_ERROR = 0.025
# A misfit from which on a result is doubted, and how far beyond the image's range, in its own, on both sides.
DOUBTED, BEYOND = 3.0, 1.0
# By how much the optimality may be above `tol` when no more iterations are allowed.
UNSETTLED = 10

PSF = (
    "the residual looks like the image, as with a psf that is too narrow, too wide or turned (try another psf; "
    "pixels that are clipped or that moved can have weight 0)"
)
RESIDUAL = "the residual is {:.1f} times what the noise allows (try a smaller mu or another psf)"
RANGE = (
    "the restored values reach from {:.3g} to {:.3g}, far beyond the image's (try a larger mu, bounds or another psf)"
)
STEPS = "after {} iterations the optimality, {:.1g}, is still far above tol={:g} (try a larger max_iter or mu)"


def part_of(planes: np.ndarray, side: int) -> tuple[slice, slice, slice]:
    """The middle of planes, of at most so many pixels a side."""
    rows, cols = planes.shape[1:]
    top, left = max(rows - side, 0) // 2, max(cols - side, 0) // 2
    return slice(None), slice(top, top + side), slice(left, left + side)


def judged(
    result: Result,
    planes: np.ndarray,
    weights: np.ndarray | None,
    psfs: list[np.ndarray],
    seen: Seen | None,
    options: Options,
) -> tuple[float, float, list[str]]:
    """The noise's standard deviation, the misfit, and the doubts, as sentences without their ends.

    `seen` is what was found of the weight, if it had to be.
    """
    if seen is None:
        part = part_of(planes, ENOUGH)
        seen = Seen(planes[part], psfs, None if weights is None else weights[part])
    allowed = math.hypot(seen.noise, PSF_ERROR * seen.detail)
    rms = residual(result.image, planes, weights, psfs)
    misfit = rms / allowed if allowed > 0 else math.nan
    doubts = []
    # The noise of photons looks like the image too.
    if options.data != "poisson" and seen.doubts_psf():
        doubts.append(PSF)
    if options.mu is None:
        if misfit > DOUBTED:
            doubts.append(RESIDUAL.format(misfit))
        low, high = float(result.image.min()), float(result.image.max())
        beyond = BEYOND * spread(planes)
        if low < float(planes.min()) - beyond and high > float(planes.max()) + beyond and -low > 0.3 * high:
            doubts.append(RANGE.format(low, high))
    unsettled = result.stop_reason == "max_iter" and result.optimality > UNSETTLED * options.tol > 0
    if unsettled and options.patient:
        doubts.append(STEPS.format(result.n_iter, result.optimality, options.tol))
    return seen.noise, misfit, doubts


def residual(restored: np.ndarray, planes: np.ndarray, weights: np.ndarray | None, psfs: list[np.ndarray]) -> float:
    """The root mean square of A x - b where no pixel beyond the frame counts, in the middle; NaN if that is nowhere."""
    xp, fft = module_of(planes), transforms_of(planes)
    part = part_of(planes, ENOUGH)
    total, count = 0.0, 0.0
    for k, (x, plane) in enumerate(zip(restored[part], planes[part], strict=True)):
        psf = psfs[k % len(psfs)]
        if any(taps > size for taps, size in zip(psf.shape, plane.shape, strict=True)):
            return math.nan
        with forks.unforked():
            response = fft.rfft2(beside(reduced(psf.astype(np.float64), plane.shape, "wrap"), plane), plane.shape)
            blurred = fft.irfft2(fft.rfft2(x.astype(np.float64)) * response, plane.shape)
        # Shifted by the psf's centre; what went round the frame is cut off.
        inner = tuple(
            slice(taps - 1 - taps // 2, size - taps // 2) for taps, size in zip(psf.shape, plane.shape, strict=True)
        )
        squares = (blurred[psf.shape[0] - 1 :, psf.shape[1] - 1 :] - plane[inner]) ** 2
        there = xp.ones_like(squares) if weights is None else weights[part][k][inner] > 0
        total, count = total + float((squares * there).sum()), count + float(there.sum())
    return math.sqrt(total / count) if count else math.nan
