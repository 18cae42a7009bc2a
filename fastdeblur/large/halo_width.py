"""Width of the halo of tiles: how far a tile must see beyond itself, so that seams do not show.

A window knows nothing of what lies beyond it.  Where the whole image is solved at once, the residual there
would have been another; how far that is felt is the reach of the filter that turns an image into the
residual of its restoration, ``ridge |D|² / (|A|² + ridge |D|²)`` in frequencies.  For each frequency along a
seam it is an impulse response across it, and what of that lies beyond a halo, at worst over frequencies, is
`tails`.  (Measured on photographs of 1536 pixels, Gaussian psfs of 13 to 101 pixels, a disk of 13, ridges
1e-4 to 1: the largest difference from the whole, in shares of the image's range, is between a half and a
thirtieth of that.)
"""

from __future__ import annotations

import functools

import numpy as np
import scipy.fft

from ..kernels.runtime import forks
from ..problem.laplacian import eigenvalues

# What may be left beyond the halo: seams of at most about 1e-4 of the range.
LEFT = 3e-4
# The same where something is assumed beyond a window's sides that is not so.
LEFT_WRONG = 1e-4
# Frequencies along a seam, and the ring on which responses are looked at, in sides of the psf.
FREQUENCIES, RING = 96, 64
LEAST_RING, MOST_RING = 1024, 16384
# Psfs and axes of which the tails are kept.
MOST_KEPT = 64


def tails(psf: np.ndarray, ridge: float) -> np.ndarray:
    """What of the response lies at a distance or beyond it, across seams that run along the second axis."""
    taps = psf.shape
    along = np.linspace(0, np.pi, FREQUENCIES)
    kernels = np.exp(-1j * np.outer(along, np.arange(taps[1]))) @ psf.T.astype(np.float64)
    size = int(scipy.fft.next_fast_len(int(np.clip(RING * max(taps), LEAST_RING, MOST_RING))))
    with forks.unforked():
        power = np.abs(scipy.fft.fft(kernels, size, axis=1)) ** 2
    laplacian = eigenvalues(size, size) + eigenvalues(2 * (FREQUENCIES - 1), FREQUENCIES)[:, None]
    prior = ridge * laplacian
    shares = np.divide(prior, power + prior, out=np.zeros_like(power), where=prior > 0)
    with forks.unforked():
        response = np.abs(scipy.fft.ifft(shares, axis=1))[:, : size // 2]
    remaining: np.ndarray = response[:, ::-1].cumsum(axis=1)[:, ::-1].max(axis=0)
    return remaining


@functools.lru_cache(MOST_KEPT)
def _tails(content: bytes, shape: tuple[int, int], dtype: str, ridge: float) -> np.ndarray:
    """`tails` of a psf: those of a field's nodes are asked for again and again."""
    return tails(np.frombuffer(content, dtype).reshape(shape), ridge)


def needed(psfs: list[np.ndarray], ridge: float, left: float = LEFT) -> tuple[int, int]:
    """The halo, down and across, beyond which no more than `left` remains; at least the psf's reach."""
    halo = [1, 1]
    for psf in psfs:
        for axis, each in enumerate((psf, psf.T)):
            key = each.tobytes(), each.shape, each.dtype.str
            halo[axis] = max(halo[axis], each.shape[0], int((_tails(*key, ridge) > left).sum()))
    return halo[0], halo[1]


def seam(psfs: list[np.ndarray], ridge: float, halo: tuple[int, int]) -> float:
    """About the largest difference at a seam, in shares of the image's range."""
    worst = 0.0
    for psf in psfs:
        for reach, each in zip(halo, (psf, psf.T), strict=True):
            left = _tails(each.tobytes(), each.shape, each.dtype.str, ridge)
            worst = max(worst, float(left[min(reach, len(left) - 1)]))
    return worst / 3
