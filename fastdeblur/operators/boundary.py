"""Boundary conditions: which pixel lies at each position outside the frame.

The halo, its fold and the preconditioner follow from that one map; `FOLDED`, `_period` and `reduced` know the
names too.  The blur reads the pixel at a position (fill the halo); its adjoint adds what it has for a position to
that pixel (fold it back).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels.cpu.halo import OUTSIDE

BOUNDARIES = ("constant", "nearest", "reflect", "mirror", "wrap", "unknown")
# Those whose adjoint folds the halo back.  The adjoint of a periodic blur is periodic itself:
# it fills its own halo instead.
FOLDED = ("nearest", "reflect", "mirror")


def _period(boundary: str, size: int) -> int | None:
    """After how many pixels the extended image repeats itself."""
    return {"wrap": size, "reflect": 2 * size, "mirror": max(2 * size - 2, 1)}.get(boundary)


def pixel_at(boundary: str, size: int, before: int, after: int) -> np.ndarray:
    """The pixel at each of the positions ``-before ... size + after - 1``, or OUTSIDE where zeros are.

    ``reflect`` is ``c b a | a b c | c b a``, ``mirror`` is ``c b | a b c | b a``, ``wrap`` is
    ``b c | a b c | a b``, ``nearest`` is ``a a | a b c | c c``, as often as it takes.
    """
    at = np.arange(-before, size + after)
    period = _period(boundary, size)
    if boundary == "nearest":
        return np.clip(at, 0, size - 1)
    if period is None:
        return np.where((at >= 0) & (at < size), at, OUTSIDE)
    at %= period
    return np.where(at < size, at, period - at - (boundary == "reflect"))


def reduced(psf: np.ndarray, shape: tuple[int, int], boundary: str) -> np.ndarray:
    """The smallest psf that blurs images of `shape` as this one does.

    Taps that see the same pixel from everywhere are added up, and taps that see none are left
    out.  The centre stays at ``shape // 2``.
    """
    if boundary == "unknown":
        return psf
    out = psf.astype(np.float64)
    for axis, size in enumerate(shape):
        out = _reduced(np.moveaxis(out, axis, 0), size, boundary)
        out = np.moveaxis(out, 0, axis)
    return np.ascontiguousarray(out, psf.dtype)


def _reduced(psf: np.ndarray, size: int, boundary: str) -> np.ndarray:
    """`reduced` along the first axis."""
    taps, centre = len(psf), len(psf) // 2
    period = _period(boundary, size)
    if period is not None:
        if taps <= period:
            return psf
        out = np.zeros((period, *psf.shape[1:]))
        np.add.at(out, (np.arange(taps) - centre + period // 2) % period, psf)
        return out
    first, last = max(centre - (size - 1), 0), min(centre + size, taps)
    out = psf[first:last].copy()
    if boundary == "nearest":  # from that far, every pixel sees the border's
        out[0] += psf[:first].sum(axis=0)
        out[-1] += psf[last:].sum(axis=0)
    return out


def estimate_shape(image_shape: tuple[int, int], psf_shape: tuple[int, ...], boundary: str) -> tuple[int, int]:
    """Shape of what is blurred."""
    if boundary != "unknown":
        return image_shape
    rows, cols = (size + taps - 1 for size, taps in zip(image_shape, psf_shape, strict=True))
    return rows, cols


def frame_corner(psf_shape: tuple[int, ...], boundary: str) -> tuple[int, int]:
    """Where in the estimate the image's first pixel is."""
    if boundary != "unknown":
        return 0, 0
    down, across = (taps - 1 - taps // 2 for taps in psf_shape)
    return down, across


def frame_of(planes: Any, blur: Any) -> Any:
    """The part of planes of a blur's estimate that the image shows."""
    (top, left), (height, width) = blur.frame_corner, blur.image_shape
    return planes[..., top : top + height, left : left + width]
