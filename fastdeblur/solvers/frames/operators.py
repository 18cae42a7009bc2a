"""Blurs of several frames, and the normal equations of the sum of their data terms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import validation
from ...hygiene import warn_of
from ...kernels.runtime import forks
from ...operators.blur import Blur
from ...operators.boundary import BOUNDARIES
from .weights import FrameWeights

# Operators that are kept for the next product; those of more frames are made anew each time.
MOST_KEPT = 8
# Pixels that a psf is padded with before it is moved by parts of a pixel: the spline's reach.
SPLINE = 3


class Operators:
    """The blurs of the frames, whose psfs have been brought to one shape and moved by the shifts.

    Attributes
    ----------
    psfs : list of ndarray
        Of each frame, one or as many as there are channels, first.
    """

    def __init__(
        self, psfs: Any, given_shifts: Any, first: np.ndarray, options: dict[str, Any], shape: tuple[int, ...] | None
    ):
        if isinstance(psfs, (Blur, str)) or not hasattr(psfs, "__len__"):
            raise TypeError(f"psfs must be a list, one for each frame; got {type(psfs).__name__}")
        if not len(psfs):
            raise ValueError("psfs must be one for each frame; there is none")
        self._shape, self._dtype = first.shape[1:], first.dtype
        self._blurs = [psf if isinstance(psf, Blur) else None for psf in psfs]
        boundary = validation.choice("boundary", options["boundary"], BOUNDARIES)
        moved = _checked_shifts(given_shifts, len(psfs), self._shape)
        if any(self._blurs):
            self._check_blurs(moved)
            self.psfs = [blur.psf[None] for blur in self._blurs if blur is not None]
        else:
            arrays = [_planes_of(psf, first, shape, options["channel_axis"]) for psf in psfs]
            self.psfs = _moved(arrays, moved, first.dtype)
        self._made: dict[int, list[Blur]] = {}
        self._options = {"boundary": boundary, "path": options["path"], "workers": options["workers"]}
        self.first = self[0][0]

    def _check_blurs(self, moved: np.ndarray) -> None:
        blurs = [blur for blur in self._blurs if blur is not None]
        if len(blurs) < len(self._blurs):
            raise TypeError("psfs must be all arrays, or all of them Blurs")
        if moved.any():
            raise ValueError("shifts go with psfs that are arrays: move the psfs of a Blur or VaryingBlur yourself")
        wanted = (self._shape, self._dtype, blurs[0].estimate_shape, blurs[0].boundary)
        for k, blur in enumerate(blurs):
            given = (blur.image_shape, blur.dtype, blur.estimate_shape, blur.boundary)
            if given != wanted:
                raise ValueError(
                    "psfs that are Blurs must have the frames' shape and dtype, and one boundary and size of psf: "
                    f"{wanted}; number {k} has {given}"
                )

    def __len__(self) -> int:
        return len(self.psfs)

    def __getitem__(self, k: int) -> list[Blur]:
        own = self._blurs[k]
        if own is not None:
            return [own]
        blurs = self._made.get(k)
        if blurs is None:
            blurs = [Blur(psf, self._shape, dtype=self._dtype, **self._options) for psf in self.psfs[k]]
            if len(self) <= MOST_KEPT:
                self._made[k] = blurs
        return blurs

    def run(self, k: int, source: np.ndarray, out: np.ndarray, adjoint: bool = False) -> None:
        """Apply the blur of a frame, or its adjoint, to planes."""
        blurs = self[k]
        for p, (pixels, result) in enumerate(zip(source, out, strict=True)):
            blurs[p % len(blurs)].run(pixels, result, adjoint)


def _planes_of(
    value: Any, first: np.ndarray, shape: tuple[int, ...] | None, channel_axis: int | None
) -> list[np.ndarray]:
    """The psf of a frame, or those of its channels."""
    array = validation.real_array("psfs", value)
    if channel_axis is None or array.ndim != 3:
        return [validation.psf(value).astype(np.float64)]
    planes = np.moveaxis(array, channel_axis, 0)
    if len(planes) != len(first):
        raise ValueError(
            f"psfs must have as many channels as frames of shape {shape}; the shape of one is {array.shape}"
        )
    return [validation.psf(plane).astype(np.float64) for plane in planes]


def _checked_shifts(value: Any, count: int, shape: tuple[int, ...]) -> np.ndarray:
    if value is None:
        return np.zeros((count, 2))
    array = validation.real_array("shifts", value).astype(np.float64)
    if array.shape != (count, 2):
        raise ValueError(f"shifts must be one (rows, columns) for each of the {count} psfs; the shape is {array.shape}")
    validation.finite("shifts", array)
    far = (np.abs(array) >= shape).any(axis=1)
    if far.any():
        k = int(np.argmax(far))
        raise ValueError(
            f"shifts must be less than the frames' size {shape}; that of frame {k} is {tuple(array[k].tolist())}"
        )
    return array


def _moved(psfs: list[list[np.ndarray]], moved: np.ndarray, dtype: Any) -> list[np.ndarray]:
    """Psfs of one shape, each moved by its shift, with its sum unchanged; those of a frame's channels together."""
    import scipy.ndimage  # not for everyone who imports fastdeblur

    reach = [0, 0]
    for of_frame, shift in zip(psfs, moved, strict=True):
        for array in of_frame:
            warn_of(array)
        for axis in (0, 1):
            part = abs(float(shift[axis])) + (SPLINE if shift[axis] % 1 else 0)
            reach[axis] = max(reach[axis], of_frame[0].shape[axis] // 2 + math.ceil(part))
    found = []
    for of_frame, shift in zip(psfs, moved, strict=True):
        out = np.zeros((len(of_frame), 2 * reach[0] + 1, 2 * reach[1] + 1), dtype)
        for array, place in zip(of_frame, out, strict=True):
            whole = np.zeros(place.shape)
            top, left = (away - size // 2 for away, size in zip(reach, array.shape, strict=True))
            whole[top : top + array.shape[0], left : left + array.shape[1]] = array
            if shift.any():
                total = whole.sum()
                whole = scipy.ndimage.shift(whole, shift, order=3 if (shift % 1).any() else 0)
                whole *= total / whole.sum() if abs(whole.sum()) > 0 else 1.0
            place[...] = whole
        found.append(out)
    return found


class Normal:
    """Normal equations of all frames: the sum of w Aᵀ A, and of w Aᵀ b, of which one image is kept.

    Attributes
    ----------
    right : ndarray, planes of the estimate
        The sum of w Aᵀ b; `squares` is that of w ‖b‖², `total` that of w b.
    brightest, darkest : float
        The largest and the least pixel.
    """

    def __init__(self, operators: Operators, weights: FrameWeights, first: np.ndarray):
        self.operators, self.weights, self._count = operators, weights, 0
        self.blur = operators.first
        self.right = np.zeros((len(first), *self.blur.estimate_shape), first.dtype)
        self._back = np.empty_like(self.right)
        self._image = np.empty_like(first)
        self.squares, self.applied = 0.0, 0
        self.total, self.brightest, self.darkest = 0.0, 0.0, math.inf
        self.total_weight = float(weights.numbers.sum())

    def add(self, frame: np.ndarray) -> None:
        """Take in one more frame, whose missing pixels are NaN."""
        k = self._count
        if k == len(self.operators):
            raise ValueError(f"frames must not be more than psfs; there are {k} psfs (one for each frame)")
        frame = self.weights.enter(k, frame)
        number = float(self.weights.numbers[k])
        weighed = self._weighed(k, frame)
        self.operators.run(k, weighed, self._back, adjoint=True)
        self.right += self.right.dtype.type(number) * self._back
        self.squares += number * dot(weighed, frame)
        self.total += number * float(weighed.sum(dtype=np.float64))
        self.total_weight += number * (float(self.weights.means[k]) - 1.0)
        # (Missing pixels count as 0 here.)
        self.brightest, self.darkest = max(self.brightest, float(frame.max())), min(self.darkest, float(frame.min()))
        self._count += 1

    def unweighted(self) -> Normal:
        """The same frames, all of weight 1; without their right-hand side."""
        plain = Normal(self.operators, FrameWeights(None, self._count, None), self._image)
        plain._count = self._count
        return plain

    def _weighed(self, k: int, frame: np.ndarray) -> np.ndarray:
        """A frame, or its blur, times the weights of the frame's pixels."""
        planes = self.weights.planes(k, frame.dtype)
        return frame if planes is None else planes * frame

    def check_complete(self) -> None:
        """Refuse frames that are fewer than psfs."""
        if self._count < len(self.operators):
            raise ValueError(
                f"psfs must be one for each frame; there are {len(self.operators)} for {self._count} frames"
            )

    def product(self, x: np.ndarray, out: np.ndarray) -> None:
        """The sum of w Aᵀ A x."""
        out[...] = 0
        for k in range(self._count):
            self.operators.run(k, x, self._image)
            self.operators.run(k, self._weighed(k, self._image), self._back, adjoint=True)
            out += out.dtype.type(self.weights.numbers[k]) * self._back
        self.applied += self._count

    def coverage(self) -> np.ndarray:
        """The sum of w Aᵀ 1: how much of each pixel the frames show."""
        total, ones = np.zeros_like(self.right), np.ones_like(self._image)
        for k in range(self._count):
            self.operators.run(k, self._weighed(k, ones), self._back, adjoint=True)
            total += total.dtype.type(self.weights.numbers[k]) * self._back
        return total

    def misfit(self, x: np.ndarray, product: np.ndarray) -> float:
        """The sum of w ‖A x − b‖², from the product with x."""
        return max(dot(x, product) - 2 * dot(x, self.right) + self.squares, 0.0)

    def mean_psf(self) -> np.ndarray:
        """A psf with about the power spectrum that the frames have on average, by which to precondition."""
        psfs, power = self.operators.psfs, 0.0
        taps = psfs[0].shape[1:]
        size = tuple(2 * count for count in taps)
        for of_frame, weight in zip(psfs, self.weights.numbers * self.weights.means, strict=True):
            for psf in of_frame:
                with forks.unforked():
                    spectrum = np.fft.rfft2(psf.astype(np.float64), size)
                power = power + weight / len(of_frame) * np.abs(spectrum) ** 2
        with forks.unforked():
            mean = np.fft.irfft2(np.sqrt(power / self.total_weight), size)
        mean = np.roll(mean, tuple(count // 2 for count in taps), (0, 1))[: taps[0], : taps[1]]
        return np.asarray(mean, psfs[0].dtype)


def dot(first: np.ndarray, second: np.ndarray) -> float:
    """The sum of products of planes."""
    # Row by row, in double precision across rows; not by BLAS, whose bits depend on threads.
    return float(np.einsum("kij,kij->ki", first, second, dtype=np.float64).sum())
