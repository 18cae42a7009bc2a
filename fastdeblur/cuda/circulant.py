"""Pointwise kernels of the preconditioner, in frequencies; see `kernels.lines`."""

from __future__ import annotations

from numba import cuda

from .shapes import LINE, kernel


@kernel
def divide(waves, strength, stiffness_down, stiffness_across, ridge, floor):
    """Divide by strength + ridge * stiffness, but by no less than `floor`."""
    i, plane, real = cuda.blockIdx.x, cuda.blockIdx.z, strength.dtype.type
    for j in range(cuda.threadIdx.x, waves.shape[2], LINE):
        whole = strength[i, j] + real(ridge) * (stiffness_down[i] + stiffness_across[j])
        waves[plane, i, j] *= real(1) / max(whole, real(floor))


@kernel
def mix_ends(waves, matrices, matrix_of, mix, out):
    """A matrix at the ends of an axis times the waves there, for each frequency.

    Between two frequencies at which they are known, matrices are mixed.
    """
    a, plane, real = cuda.blockIdx.x, cuda.blockIdx.z, mix.dtype.type
    for j in range(cuda.threadIdx.x, waves.shape[2], LINE):
        below, share = matrix_of[j], mix[j]
        total = real(0) * waves[plane, 0, j]
        for b in range(waves.shape[1]):
            total += ((real(1) - share) * matrices[below, a, b] + share * matrices[below + 1, a, b]) * waves[
                plane, b, j
            ]
        out[plane, a, j] = total
