"""Periodic domain around the image, where Fourier coefficients diagonalise the blur.

The estimate lies at the domain's corner; what a boundary says of positions before it is at the domain's
far end.  Only pixels of the frame are compared with the image, and there the periodic blur is the
true one, if the pixels around the estimate are those that the boundary has there (see `Domain.spread`, `gather`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft

from ...kernels.cpu.fourier.plan import PlanePlan, plane_length, radices_of_planes
from ...kernels.cpu.halo import OUTSIDE
from ...kernels.cpu.simd import register_shape
from ...kernels.runtime import forks, memory
from ...kernels.runtime.arrays import module_of
from ...kernels.runtime.memory import up
from ...operators.blur import Blur
from ...operators.boundary import pixel_at, reduced
from ...operators.costs import good_length
from ...operators.varying import VaryingBlur

# Of shorter domains lengths are not multiples of as much as transforms with lanes across lines need.
LEAST_LENGTH = 24
# Marks a place of the domain that has neither a pixel of the estimate nor a zero (OUTSIDE): its value is free.
FREE = -2


def is_tied(blur: Blur) -> bool:
    """Whether the boundary ties what is around the estimate to it; a varying blur knows that itself (see `varying`)."""
    return blur.boundary not in ("unknown", "wrap") and not isinstance(blur, VaryingBlur)


class Domain:
    """Shapes, spectra of the psfs, and which pixels of the estimate its halo repeats.

    Attributes
    ----------
    shape, estimate_shape : (int, int)
    tied : bool
        Whether the boundary ties the halo to the estimate.
    periodic : bool
        Whether the estimate itself is, so that it has differences from its last pixels to its first.
    psfs : list of ndarray
    """

    def __init__(self, blurs: list[Blur], padded: bool = True):
        """For these psfs; not `padded`, the domain is the estimate, and nothing is said of a periodic blur."""
        blur = blurs[0]
        self.boundary, self.estimate_shape, self.dtype = blur.boundary, blur.estimate_shape, blur.dtype
        self.psfs = [reduced(each.psf, each.image_shape, each.boundary) for each in blurs]
        taps = self.psfs[0].shape
        self.tied, self.periodic = padded and is_tied(blur), self.boundary == "wrap"
        if self.periodic or not padded:
            self.shape = self.estimate_shape
        else:
            # For "unknown" the estimate alone would do; with some space between its borders, the free
            # values there converge in fewer steps.
            least = [n + m - 1 for n, m in zip(self.estimate_shape, taps, strict=True)]
            rows, cols = map(plane_length if min(least) >= LEAST_LENGTH else good_length, least)
            self.shape = rows, cols
        self.frequencies = self.shape[1] // 2 + 1
        self.coefficient_pitch = up(self.frequencies, 8) + 8
        self._spectra: np.ndarray | None = None
        self._ordered_spectra: np.ndarray | None = None
        self._halos = [
            _halo(self.boundary, size, count, length)
            for size, count, length in zip(self.estimate_shape, taps, self.shape, strict=True)
        ]

    @property
    def loses_constants(self) -> bool:
        """Whether a psf sums to nothing, or to what rounding leaves: then no data say how bright the estimate is."""
        few = 64 * float(np.finfo(self.dtype).eps)
        sums = [(abs(float(psf.sum(dtype=np.float64))), float(np.abs(psf).sum(dtype=np.float64))) for psf in self.psfs]
        return any(total <= few * whole for total, whole in sums)

    @property
    def spectra(self) -> np.ndarray:
        """Spectra of the psfs, psfs x rows x coefficient_pitch; the first `frequencies` columns are used."""
        if self._spectra is None:  # (A cached_property would hold a lock, which forks do not wait for.)
            rows, kind = self.shape[0], np.result_type(self.dtype, np.complex64)
            spectra = memory.zeros(len(self.psfs) * rows * self.coefficient_pitch, kind).reshape(
                -1, rows, self.coefficient_pitch
            )
            for psf, out in zip(self.psfs, spectra, strict=True):
                out[:, : self.frequencies] = self._coefficients(psf)
            self._spectra = spectra
        return self._spectra

    def plan(self) -> PlanePlan | None:
        """How planes of the domain are transformed with lanes across lines; None where its lengths do not allow it."""
        lanes = register_shape(str(self.dtype)).lanes
        return PlanePlan(*self.shape, lanes) if radices_of_planes(*self.shape, lanes) else None

    def ordered_spectra(self, plan: PlanePlan) -> np.ndarray:
        """Spectra of the psfs in the order of a plan of the domain, a row each."""
        if self._ordered_spectra is None:
            kind, size = np.result_type(self.dtype, np.complex64), plan.size_of_spectrum
            spectra = memory.zeros(len(self.psfs) * size, self.dtype).reshape(-1, size)
            for psf, out in zip(self.psfs, spectra, strict=True):
                plan.order_spectrum(self._coefficients(psf).astype(kind), out)
            self._ordered_spectra = spectra
        return self._ordered_spectra

    def _coefficients(self, psf: np.ndarray) -> np.ndarray:
        """Those of a psf with its centre at the domain's corner, rows x frequencies; rows of zeros take no time."""
        columns, (down, across) = np.zeros((len(psf), self.shape[1])), (count // 2 for count in psf.shape)
        columns[:, np.arange(psf.shape[1]) - across] = psf
        rows = np.zeros((self.shape[0], self.frequencies), np.complex128)
        with forks.unforked():
            rows[np.arange(len(psf)) - down] = scipy.fft.rfft(columns)
            coefficients: np.ndarray = scipy.fft.fft(rows, axis=0, overwrite_x=True)
        return coefficients

    def centred(self, psf: Any, padded: Any, xp: Any) -> Any:
        """A psf with its centre at the domain's corner, for `padded` zeros of the module `xp`."""
        taps = psf.shape
        padded[: taps[0], : taps[1]] = psf
        return xp.roll(padded, tuple(-(count // 2) for count in taps), (0, 1))

    def pixels_at(self, axis: int) -> np.ndarray:
        """Which of the estimate's pixels lies at each place along an axis, or OUTSIDE, or FREE."""
        size, length = self.estimate_shape[axis], self.shape[axis]
        table = np.full(length, FREE)
        table[:size] = np.arange(size)
        if self.tied:
            places, pixels = self._halos[axis]
            table[places] = pixels
        return table

    def observed(self, present: Any) -> Any:
        """Planes of the estimate: which pixels are within the psf's reach of pixels of the frame that are `present`."""
        xp = module_of(present)
        for axis, taps in enumerate(self.psfs[0].shape):
            lines = xp.moveaxis(present, axis + 1, 0)
            size, before, after = len(lines), taps - 1 - taps // 2, taps // 2
            counts = xp.zeros((size + 1, *lines.shape[1:]), np.int32)
            counts[1:] = xp.cumsum(lines, axis=0, dtype=np.int32)
            last = xp.arange(size + taps - 1)
            reached = counts[xp.minimum(last + 1, size)] > counts[xp.maximum(last - taps + 1, 0)]
            if self.boundary != "unknown":
                # The boundary's halo repeats pixels of the frame.
                pixels, own = pixel_at(self.boundary, size, before, after), reached[before : before + size].copy()
                for place in (*range(before), *range(before + size, size + taps - 1)):
                    if pixels[place] != OUTSIDE:
                        own[pixels[place]] |= reached[place]
                reached = own
            present = xp.moveaxis(reached, 0, axis + 1)
        return present

    def estimate(self, planes: np.ndarray) -> np.ndarray:
        """The part of planes of the domain that is the estimate."""
        rows, cols = self.estimate_shape
        return planes[..., :rows, :cols]

    def blurred(self, planes: np.ndarray) -> np.ndarray:
        """Planes of the domain, blurred; for the start of a solve."""
        spectra = self.spectra
        with forks.unforked():
            coefficients = scipy.fft.rfft2(planes)
            coefficients *= spectra[:, :, : self.frequencies]
            blurred: np.ndarray = scipy.fft.irfft2(coefficients, self.shape)
        return blurred

    def extend(self, planes: np.ndarray) -> None:
        """Fill the surroundings of the estimate: by the boundary, and else interpolated from each end to the other."""
        rows, cols = self.estimate_shape
        for axis, size, length in ((1, rows, self.shape[0]), (2, cols, self.shape[1])):
            lines, gap = np.moveaxis(planes, axis, 0), length - size
            for k in range(gap):
                share = (k + 1) / (gap + 1)
                lines[size + k] = (1 - share) * lines[size - 1] + share * lines[0]
        self.spread(planes)

    def spread(self, planes: np.ndarray) -> None:
        """Write the estimate to all places of the halo where the boundary repeats its pixels."""
        if not self.tied:
            return
        size = self.estimate_shape[0]
        for axis, (places, pixels) in ((2, self._halos[1]), (1, self._halos[0])):
            within = planes[:, :size] if axis == 2 else planes
            lines = np.moveaxis(within, axis, 0)
            for place, pixel in zip(places, pixels, strict=True):
                lines[place] = lines[pixel] if pixel != OUTSIDE else 0

    def gather(self, planes: np.ndarray) -> np.ndarray:
        """The estimate that is nearest to planes of the domain: each pixel the mean over its places."""
        rows, cols = self.estimate_shape
        if not self.tied:
            return planes[:, :rows, :cols].copy()
        means = planes
        for axis, size, (places, pixels) in ((1, rows, self._halos[0]), (2, cols, self._halos[1])):
            before = (slice(None),) * axis
            sums, counts = means[(*before, slice(size))].copy(), np.ones(size, planes.dtype)
            for place, pixel in zip(places, pixels, strict=True):
                if pixel != OUTSIDE:
                    sums[(*before, pixel)] += means[(*before, place)]
                    counts[pixel] += 1
            several = np.flatnonzero(counts > 1)
            index: Any = (*before, several)
            sums[index] /= counts[several].reshape(-1, *[1] * (2 - axis))
            means = sums
        return means


def _halo(boundary: str, size: int, taps: int, length: int) -> Any:
    """Places in the domain that the blur reaches around `size` pixels, and the pixels that the boundary has there."""
    before, after = taps - 1 - taps // 2, taps // 2
    at = np.arange(-before, size + after)
    pixels = pixel_at(boundary, size, before, after)
    outside = (at < 0) | (at >= size)
    return at[outside] % length, pixels[outside]
