"""Eigenvalues of the Laplacian DᵀD along one axis, for forward differences D."""

from __future__ import annotations

import numpy as np


def eigenvalues(length: int, count: int, periodic: bool = True) -> np.ndarray:
    """Eigenvalues of DᵀD for `length` pixels, at the lowest `count` frequencies.

    Of periodic differences they are those of the Fourier basis, with frequencies from 0 on and back; of differences
    that stop at the border those of the cosine basis (DCT-II).  Squares of sines have all digits at low frequencies,
    where ``2 - 2 cos`` cancels them.
    """
    at = np.arange(count)
    angles = np.pi * np.minimum(at, length - at) / length if periodic else 0.5 * np.pi * at / length
    values: np.ndarray = 4 * np.sin(angles) ** 2
    return values
