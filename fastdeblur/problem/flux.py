"""Flux of points in a restored image of photon counts, corrected by what the image shows around them.

Points that lie between pixels are wider on the grid of an estimate that is not negative than they are, by up to a
quarter of a square pixel.  Where the noise is that of the ground beside them, the likeliest height of a point that is
too wide is too large: of its flux by that over twice the variance of the psf, some per cent for sharp stars [1]_.  The
sums of windows around are right whatever the width, though less certain.

References
----------
.. [1] P. B. Stetson, "DAOPHOT: a computer program for crowded-field stellar photometry", Publications of the
   Astronomical Society of the Pacific 99, 1987: fluxes by fitted profiles against sums of apertures.
"""

from __future__ import annotations

import math

import numpy as np

from ..kernels.cpu.likelihood import LEAST_MEAN
from .options import Options

# By how much flux may be wrong: that much of what sums say more is believed as their own error allows; and at most.
UNSURE, MOST = 0.04, 0.06
# Half the side of the windows, in standard deviations of the psf.
REACH = 3.0


def corrects_flux(options: Options) -> bool:
    """Whether a result with these options is corrected: an image whose noise of reading is known is of counts."""
    return options.read_noise > 0 and options.prior in (None, "tv")


def flux_factors(
    blurred: np.ndarray, plane: np.ndarray, shift: np.ndarray, weights: np.ndarray | None, psf: np.ndarray
) -> np.ndarray:
    """What to multiply the frame of an estimate by, which the psf made `blurred` of; of one plane.

    `plane` is the image without the background, `shift` what was counted beside it, the square of the noise of reading
    included.  How much of their mean the variance of pixels is, is what the residual says.
    """
    # Pixels into which no light comes from beyond the frame.
    counted = np.zeros(plane.shape, plane.dtype)
    inner = tuple(
        slice(taps - 1 - taps // 2, max(size - taps // 2, 0)) for taps, size in zip(psf.shape, plane.shape, strict=True)
    )
    counted[inner] = 1 if weights is None else weights[inner] > 0
    reach = [min(max(math.ceil(REACH * width), 1), taps) for width, taps in zip(_widths(psf), psf.shape, strict=True)]
    residual, mean = counted * (plane - blurred), np.maximum(blurred + shift, LEAST_MEAN).astype(np.float64)
    dispersion = float((residual**2 / mean).sum()) / max(float(counted.sum()), 1.0)
    mean *= counted
    allowed = _window_sums(mean, reach)
    del mean
    allowed *= dispersion / UNSURE**2
    factors = _window_sums(residual, reach)
    del residual
    light = _window_sums(counted * blurred, reach)
    light.clip(0, out=light)
    factors *= light
    light *= light
    allowed += light
    factors /= np.maximum(allowed, 1e-300, out=allowed)
    factors.clip(-MOST, MOST, out=factors)
    factors += 1
    return factors


def _widths(psf: np.ndarray) -> list[float]:
    """Standard deviations of a psf along both axes."""
    share = np.abs(psf).astype(np.float64)
    share /= share.sum() or 1.0
    widths = []
    for axis in (0, 1):
        profile, place = share.sum(axis=1 - axis), np.arange(psf.shape[axis])
        widths.append(math.sqrt(max(float(profile @ place**2 - (profile @ place) ** 2), 0.0)))
    return widths


def _window_sums(image: np.ndarray, reach: list[int]) -> np.ndarray:
    """Sums over the window around each pixel, with zeros around the image."""
    for axis, half in enumerate(reach):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (half + 1, half)
        lines = np.moveaxis(np.pad(image.astype(np.float64, copy=False), pad), axis, 0)
        del image
        lines.cumsum(axis=0, out=lines)
        size = 2 * half + 1
        image = np.moveaxis(lines[size:] - lines[:-size], 0, axis)
    return image
