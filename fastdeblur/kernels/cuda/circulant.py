"""Pointwise kernels of the circulant preconditioner (CUDA), in frequencies; see `kernels.cpu.lines`."""

from __future__ import annotations

from numba import cuda

from .shapes import LINE, kernel


@kernel
def divide(coefficients, psf_power, eigenvalues_down, eigenvalues_across, ridge, floor):
    """Divide by psf_power + ridge * eigenvalues, but by no less than `floor`."""
    i, plane, real = cuda.blockIdx.x, cuda.blockIdx.z, psf_power.dtype.type
    for j in range(cuda.threadIdx.x, coefficients.shape[2], LINE):
        whole = psf_power[i, j] + real(ridge) * (eigenvalues_down[i] + eigenvalues_across[j])
        coefficients[plane, i, j] *= real(1) / max(whole, real(floor))


@kernel
def mix_corrections(coefficients, matrices, matrix_of, mix, out):
    """The boundary correction of an axis: a matrix times the coefficients of its border pixels, for each frequency.

    Between two frequencies that have matrices, those are interpolated.
    """
    a, plane, real = cuda.blockIdx.x, cuda.blockIdx.z, mix.dtype.type
    for j in range(cuda.threadIdx.x, coefficients.shape[2], LINE):
        below, share = matrix_of[j], mix[j]
        total = real(0) * coefficients[plane, 0, j]
        for b in range(coefficients.shape[1]):
            total += ((real(1) - share) * matrices[below, a, b] + share * matrices[below + 1, a, b]) * coefficients[
                plane, b, j
            ]
        out[plane, a, j] = total
