"""The Laplacian DᵀD of forward differences D: its eigenvalues along one axis, and what is a gradient of ``‖Dx‖``."""

from __future__ import annotations

import math

import numpy as np
import scipy.fft

from ..kernels.runtime import forks


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


def least_subgradient(gradient: np.ndarray, periodic: bool) -> float:
    """The norm of the shortest v with Dᵀv = gradient, of planes that sum to 0.

    It is that of ``v = D L⁺ gradient`` with L = DᵀD, which cosines diagonalise, or Fourier coefficients where D is
    periodic.  The subgradients of ``‖Dx‖`` at a constant x are Dᵀv for all ``‖v‖ ≤ 1``.
    """
    transform = scipy.fft.fft2 if periodic else scipy.fft.dctn
    with forks.unforked():
        coefficients = transform(gradient.astype(np.float64), axes=(1, 2), norm="ortho")
    if periodic:
        coefficients = np.abs(coefficients)
    rows, cols = (eigenvalues(size, size, periodic=periodic) for size in gradient.shape[1:])
    laplacian = rows[:, None] + cols[None, :]
    laplacian[0, 0] = np.inf
    return math.sqrt(float((coefficients**2 / laplacian).sum()))
