"""How much nearer to the sharp image a result is than the blurred one, from the spectra of signal and noise.

Wiener's estimate w is the mean of all images that the spectra allow for [1]_: of any image y that is made of the
blurred one, the expected square of its distance from the sharp one is ``|y - w|² + v``, with the expected square v of
w's own.

References
----------
.. [1] N. Wiener, "Extrapolation, Interpolation, and Smoothing of Stationary Time Series", MIT Press, 1949.
"""

from __future__ import annotations

import numpy as np

from .regularization import Padded, WeightEstimate
from .windows import log_radius


def improvement(restored: np.ndarray, planes: np.ndarray, psfs: list[np.ndarray], estimate: WeightEstimate) -> float:
    """The expected square of the blurred image's error over the restored one's; 1 where nothing is known.

    `restored` and `planes` are the same part of both, on the host.
    """
    before, after = 0.0, 0.0
    for k, (x, plane) in enumerate(zip(restored, planes, strict=True)):
        padded = Padded(plane, psfs[k % len(psfs)], estimate.bare)
        down, across = padded.margins
        inner = slice(down, -down), slice(across, -across)
        total = float(padded.response[0, 0].real)
        if not (x[inner].size and total):
            return 1.0
        power = padded.response.real**2 + padded.response.imag**2
        signal, share = estimate.spectra.wiener(log_radius(*padded.shape), power / estimate.spectra.scale)
        filtered = padded.coefficients * padded.response.conj() * (share / np.maximum(power, 1e-300))
        filtered[0, 0] = padded.coefficients[0, 0] / total
        centre = [taps // 2 for taps in psfs[k % len(psfs)].shape]
        best = np.roll(padded.inverse(filtered), centre, (0, 1))[padded.inner]
        times = np.full(power.shape[1], 2.0)
        times[[0, -1] if padded.shape[1] % 2 == 0 else [0]] = 1
        unknown = times * signal * (1 - share) / estimate.spectra.scale
        unknown[0, 0] = 0
        own = float(unknown.sum()) / (padded.shape[0] * padded.shape[1])
        before += float(np.square(plane[inner] / total - best).mean()) + own
        after += float(np.square(x[inner] - best).mean()) + own
    return before / after if after > 0 else 1.0
