"""ADMM workspace (CPU) for psfs that vary over the image: the x-update by preconditioned conjugate gradients.

No transform diagonalises such a blur A.  The x-update minimises ``data_rho |A x - y|² + rho |D x - z|² + ...`` over the
plane that the preconditioned residual and the last step span, from the estimate before: one step of conjugate
gradients, which goes on from one x-update to the next.  The preconditioner is the x-update of the mean psf.  Without
over-relaxation that is as good as an exact x-update; with it, it is not (tv, 256 x 256, psfs of 15 x 15, optimality
1e-3, boundaries "unknown" and "reflect": 38 and 35 steps, two steps of conjugate gradients each 38 and 35; with 1.8
more than 300 and 56, two each 33 and 27).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft

from ...kernels.cpu.x_update import COLUMNS, inverse_rows, x_update
from ...kernels.runtime import forks, memory
from ...operators.boundary import frame_of
from ...operators.varying import VaryingBlur
from ..pcg.subspace import quadratic_step
from .host import AdmmWorkspace


class VaryingAdmmWorkspace(AdmmWorkspace):
    """`AdmmWorkspace` for a `VaryingBlur`.

    For the sparse prior, denoisers and photons, and wherever a boundary says what is beyond the frame (else see
    `iterative`).  Where it says nothing, the blur is that of the whole domain, periodic, the field's outermost psfs
    going on: with free split variables beyond the frame the preconditioner is as good there as within.  (tv, "unknown",
    256 x 256: 229 steps with a blur of the frame alone.)  Other boundaries are the blur's own business.
    """

    most_relax = 1.0

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        blur, domain = self.blur, self.domain
        assert isinstance(blur, VaryingBlur)
        self._periodic = blur.boundary in ("unknown", "wrap")
        self._operator = blur.within(domain.shape, blur.frame_corner, "wrap") if self._periodic else blur
        whole = self._memory["x"].size
        # What the preconditioner makes of the residual, and its blur by the mean psf, which nobody needs.
        self._fresh_memory, self._unused = memory.zeros(whole, self.dtype), memory.zeros(whole, self.dtype)
        cols = self.domain.shape[1]
        self._fresh = self._fresh_memory.reshape(self.planes, -1, self._pitch)[:, :, :cols]
        self._step = np.zeros(self._fresh.shape, self.dtype)
        blurred = self._image_part(self._fresh).shape
        self._blurred_fresh, self._blurred_step = (np.zeros(blurred, self.dtype) for _ in range(2))

    def _plan_of_planes(self) -> None:
        return None

    def _begin_blurred(self) -> None:
        self._step[...] = 0
        self._blurred_step[...] = 0
        self.planes_of("blurred")[...] = 0
        self.planes_of("data")[...] = 0
        blurred, data = (self._image_part(self.planes_of(name)) for name in ("blurred", "data"))
        self._apply(self._estimate_part(self.planes_of("x")), blurred)
        data[...] = blurred

    def _image_part(self, planes: np.ndarray) -> np.ndarray:
        """The part of planes of the domain that the operator's result is."""
        part: np.ndarray = planes if self._periodic else frame_of(planes, self.blur)
        return part

    def _estimate_part(self, planes: np.ndarray) -> np.ndarray:
        """The part of planes of the domain that the operator takes."""
        part: np.ndarray = planes if self._periodic else self.domain.estimate(planes)
        return part

    def _apply(self, source: np.ndarray, out: np.ndarray, adjoint: bool = False) -> None:
        for pixels, result in zip(source, out, strict=True):
            self._operator.run(pixels, result, adjoint)

    def update_x(self) -> None:
        """Take the x-update: one step of conjugate gradients from the last estimate."""
        rho = float(self.job["data_rho"])
        x, blurred = self.planes_of("x"), self._image_part(self.planes_of("blurred"))
        back = np.empty_like(self._estimate_part(x))
        fresh, step = self._fresh, self._step
        directions, images = (fresh, step), (self._blurred_fresh, self._blurred_step)
        self._apply(self._image_part(self._rows("data_coefficients")) - blurred, back, adjoint=True)
        residual = self._rows("rhs_coefficients")
        residual -= self._regular(x)
        self._estimate_part(residual)[...] += self.dtype.type(rho) * back
        self._precondition(residual)
        self._apply(self._estimate_part(fresh), self._blurred_fresh)
        regular = [self._regular(each) for each in directions]
        gram = np.zeros((2, 2))
        for i, j in ((0, 0), (0, 1), (1, 1)):
            gram[i, j] = gram[j, i] = rho * _dot(images[i], images[j]) + _dot(directions[i], regular[j])
        slopes = [_dot(each, residual) for each in directions]
        factors = [self.dtype.type(each) for each in quadratic_step(gram, slopes)]
        for new, last in (directions, images):
            last *= factors[1]
            last += factors[0] * new
        x += step
        blurred += self._blurred_step

    def _rows(self, name: str) -> np.ndarray:
        """Pixels of the rows whose Fourier coefficients the z-update has left."""
        domain = self.domain
        kind = np.result_type(self.dtype, np.complex64)
        coefficients = self._memory[name].view(kind).reshape(self.planes, -1, domain.coefficient_pitch)
        with forks.unforked():
            rows: np.ndarray = scipy.fft.irfft(coefficients[:, :, : domain.frequencies], domain.shape[1], axis=2)
        return rows

    def _regular(self, x: np.ndarray) -> np.ndarray:
        """What all split variables but the blurred estimate's make of planes in the normal equations."""
        job, one = self.job, self.dtype.type
        laplacian = _laplacian(x)
        total: np.ndarray = one(job["rho"]) * laplacian
        if job["second_rho"]:
            total += one(job["second_rho"]) * _laplacian(laplacian)
        if job["pixels_rho"]:
            total += one(job["pixels_rho"]) * x
        return total

    def _precondition(self, residual: np.ndarray) -> None:
        """Let `_fresh` be the x-update of the mean psf for a right-hand side."""
        job, run, domain = self.job, self._sweeper.run, self.domain
        kind = np.result_type(self.dtype, np.complex64)
        coefficients = self._memory["rhs_coefficients"].view(kind).reshape(self.planes, -1, domain.coefficient_pitch)
        with forks.unforked():
            coefficients[:, :, : domain.frequencies] = scipy.fft.rfft(residual, axis=2)
        self._memory["data_coefficients"][...] = 0
        own = job["x"].copy(), job["blurred"].copy()
        job["x"], job["blurred"] = self._fresh_memory.ctypes.data, self._unused.ctypes.data
        try:
            run(x_update, job, self.planes * -(-domain.frequencies // COLUMNS))
            run(inverse_rows, job, self.planes * self._tiles)
        finally:
            job["x"], job["blurred"] = own


def _laplacian(x: np.ndarray) -> np.ndarray:
    """DᵀD of periodic planes."""
    out = 4 * x
    for axis in (1, 2):
        lines, result = np.moveaxis(x, axis, 0), np.moveaxis(out, axis, 0)
        result[1:] -= lines[:-1]
        result[0] -= lines[-1]
        result[:-1] -= lines[1:]
        result[-1] -= lines[0]
    return out


def _dot(first: np.ndarray, second: np.ndarray) -> float:
    # Row by row, in double precision across rows; not by BLAS, whose bits depend on threads.
    return float(np.einsum("ijk,ijk->ij", first, second).sum(dtype=np.float64))
