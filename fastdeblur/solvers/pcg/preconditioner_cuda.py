"""Preconditioner (CUDA): the same inverse as `preconditioner.Applier` has, by transforms of whole images.

With C the circulant on a ring of pixels, the solve along an axis is ``S = C⁻¹ − C⁻¹ E'KE C⁻¹``, where E picks the
pixels at the axis' borders: a strip, whose transform along the other axis K takes frequency by frequency.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...kernels.cuda import device
from ...kernels.cuda.circulant import divide, mix_corrections
from ...kernels.cuda.device import launch, view
from .preconditioner import Preconditioner, RidgePreconditioner


class CudaApplier:
    """Applies a preconditioner to planes on the device, in memory of its own."""

    def __init__(self, whole: Preconditioner, planes: int):
        self._whole, self._planes = whole, planes
        xp, dtype = device.arrays(), whole.dtype
        self._at: tuple[RidgePreconditioner, Any] | None = None
        if not whole.whole:
            down = whole.axes[0]
            self._ring = down.length, down.across
            self._psf_power = view(xp.ascontiguousarray(device.put(down.psf_power()).T))
            eigenvalues = (down.eigenvalues, down.eigenvalues_across)
            self._eigenvalues = [view(device.put(table.astype(dtype))) for table in eigenvalues]
            self._borders = [device.put(np.asarray(axis.positions)) for axis in whole.axes]
            self._padded = device.zeros((planes, *self._ring), dtype)
            self._strips = device.zeros((planes, *self._ring), dtype)
        near, share = ([device.put(np.asarray(table)) for table in tables] for tables in (whole.near, whole.share))
        corner = near[0][:, None] * near[1][None, :]
        self._corner = corner
        if whole.weighted and not whole.whole:
            rest, sum_of_both = 1 - corner * corner, share[0][:, None] + share[1][None, :]
            self._weights = [
                xp.sqrt(rest * (share[1][None, :] / sum_of_both)), xp.sqrt(rest * (share[0][:, None] / sum_of_both))
            ]  # fmt: skip

    def apply(self, current: RidgePreconditioner, source: Any, out: Any) -> None:
        """out = P source."""
        whole = self._whole
        corrections, inverses = self._tables(current)
        rows, cols = whole.shape
        if whole.whole:
            out[...] = 0
        elif whole.weighted:
            for k, weights in enumerate(self._weights):
                self._padded[:, :rows, :cols] = source * weights
                part = self._solve(current, corrections, (k,))[:, :rows, :cols] * weights
                if k:
                    out += part
                else:
                    out[...] = part
        else:
            self._padded[:, :rows, :cols] = source
            out[...] = self._solve(current, corrections, whole.solved)[:, :rows, :cols]
        if whole.corners:
            self._add_corners(inverses, source, out)

    def _solve(self, current: RidgePreconditioner, corrections: list[Any], axes: tuple[int, ...]) -> Any:
        """The solution for the padded image, with the boundary corrections of some axes."""
        fft, ring = device.transforms(), self._ring
        solution = self._divided(current, self._padded)
        if self._whole.circulant:
            return solution
        strips = self._strips
        strips[...] = 0
        for k in axes:
            border = self._borders[k]
            if not border.size:
                continue
            along = 2 - k  # the axis of the strip
            strip = solution[:, border] if k == 0 else device.arrays().moveaxis(solution[:, :, border], 2, 1)
            coefficients = fft.rfft(strip, axis=2)
            factors, mixing = corrections[k]
            for matrices in factors:
                forces = device.arrays().empty(
                    (coefficients.shape[0], matrices.shape[1], coefficients.shape[2]), coefficients.dtype
                )
                launch(
                    mix_corrections,
                    *device.rows_of(*forces.shape),
                    view(coefficients),
                    matrices,
                    *mixing,
                    view(forces),
                )
                coefficients = forces
            back = fft.irfft(coefficients, ring[along - 1], axis=2, overwrite_x=True)
            if k == 0:
                strips[:, border] += back
            else:
                strips[:, :, border] += device.arrays().moveaxis(back, 1, 2)
        solution += self._divided(current, strips)
        return solution

    def _divided(self, current: RidgePreconditioner, image: Any) -> Any:
        """The circulant's solution for an image on the ring."""
        fft = device.transforms()
        coefficients = fft.rfft2(image)
        floor = self._whole.axes[0].floor(current.of_solves)
        launch(
            divide,
            *device.rows_of(*coefficients.shape),
            view(coefficients),
            self._psf_power,
            *self._eigenvalues,
            current.of_solves,
            floor,
        )
        return fft.irfft2(coefficients, self._ring, overwrite_x=True)

    def _add_corners(self, inverses: Any, source: Any, out: Any) -> None:
        height, width = self._whole.block
        rows, cols = self._whole.shape
        for corner, inverse in enumerate(inverses):
            i0, j0 = (rows - height) * (corner // 2), (cols - width) * (corner % 2)
            block = slice(i0, i0 + height), slice(j0, j0 + width)
            share = self._corner[block]
            weighed = (source[(slice(None), *block)] * share).reshape(self._planes, -1)
            solution = (weighed @ inverse.T).reshape(self._planes, height, width)
            out[(slice(None), *block)] += solution * share

    def _tables(self, current: RidgePreconditioner) -> tuple[list[Any], Any]:
        """The tables for a ridge on the device; those of the last one are kept."""
        if self._at is None or self._at[0] is not current:
            corrections = []
            for axis, (parts, *mixing) in zip(self._whole.axes, current.corrections, strict=True):
                matrices = axis.as_complex(parts)
                factors = (matrices, _adjoints(matrices)) if axis.rooted else (matrices,)
                corrections.append(
                    tuple([view(device.put(np.asarray(each))) for each in of] for of in (factors, mixing))
                )
            n = self._whole.block[0] * self._whole.block[1]
            self._at = current, (corrections, device.put(current.inverses.reshape(-1, n, n)))
        corrections, inverses = self._at[1]
        return corrections, inverses


def _adjoints(matrices: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(matrices.conj().transpose(0, 2, 1))
