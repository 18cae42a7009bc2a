"""Weights of frames and of their pixels, those of missing ones 0."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import validation
from ...kernels.runtime.arrays import joined
from ...problem.weights import checked_weights


class FrameWeights:
    """A number for each frame, and planes for the pixels of frames that have weights of their own or missing pixels.

    Planes are made when they are asked for: what is kept of a frame is the caller's array, and a bit for each pixel
    that is missing.

    Attributes
    ----------
    numbers : ndarray of float64
    means : ndarray of float64
        Of each frame's planes, 1 where there are none.
    """

    def __init__(self, value: Any, count: int, axis: int | None):
        self._axis = axis
        self._given: list[Any] = [None] * count
        self._missing: list[Any] = [None] * count
        self.numbers, self.means = np.ones(count), np.ones(count)
        self._shape: tuple[int, ...] = ()
        if value is None:
            return
        if not _are_planes(value):
            self.numbers = _numbers(value, count)
            return
        if len(value) != count:
            raise ValueError(
                f"weights must be one for each of the {count} frames, a number or an array of the frame's shape; "
                f"there are {len(value)}"
            )
        for k, each in enumerate(value):
            if np.ndim(each) == 0:
                self.numbers[k] = validation.real("weights", each, "at least 0")
            else:
                self._given[k] = each
        if not self.numbers.any():
            raise ValueError("weights must not be all 0")

    @property
    def of_pixels(self) -> bool:
        """Whether pixels of some frame have weights, or are missing."""
        return any(each is not None for each in (*self._given, *self._missing))

    def enter(self, k: int, frame: np.ndarray) -> np.ndarray:
        """Take the missing pixels of a frame, given as planes; returns it with zeros there."""
        self._shape = frame.shape
        given = self._given[k]
        if given is not None:
            of_caller = frame.shape[1:] if self._axis is None else joined(frame, self._axis).shape
            self._given[k] = checked_weights(given, of_caller, self._axis)
        missing = np.isnan(frame) if validation.has_missing("frames", frame, joined(frame, self._axis)) else None
        if missing is not None:
            self._missing[k] = np.packbits(missing)
        planes = self.planes(k, frame.dtype)
        if planes is None:
            return frame
        if np.isnan(planes).any():
            raise ValueError(f"weights must not be NaN where the frame is not; those of frame {k} are (use 0 there)")
        if not planes.any():
            raise ValueError(
                f"frames must have pixels that count; all of frame {k} are missing or have the weight 0 (leave it out)"
            )
        self.means[k] = float(planes.mean(dtype=np.float64))
        return self.without_missing(frame)

    @staticmethod
    def without_missing(frame: np.ndarray) -> np.ndarray:
        """A frame with zeros where it is missing."""
        missing = np.isnan(frame)
        return np.where(missing, frame.dtype.type(0), frame) if missing.any() else frame

    def planes(self, k: int, dtype: Any) -> np.ndarray | None:
        """The weights of a frame's pixels; None where all are 1."""
        given, missing = self._given[k], self._missing[k]
        if given is None and missing is None:
            return None
        planes = np.ones(self._shape, dtype)
        if given is not None:
            array = np.asarray(given)
            if array.ndim == 3 and self._axis is not None:
                array = np.moveaxis(array, self._axis, 0)
            planes[...] = array
        if missing is not None:
            planes[np.unpackbits(missing, count=planes.size).reshape(planes.shape).astype(bool)] = 0
        return planes


def _are_planes(value: Any) -> bool:
    """Whether some frame has an array of weights, not a number."""
    if isinstance(value, (list, tuple)):
        return any(np.ndim(each) > 0 for each in value)
    return np.ndim(value) > 1


def _numbers(weights: Any, count: int) -> np.ndarray:
    array = validation.real_array("weights", weights).astype(np.float64)
    if array.shape != (count,):
        raise ValueError(
            f"weights must be one for each of the {count} frames, a number or an array of the frame's shape; the shape "
            f"is {array.shape}"
        )
    if not (np.isfinite(array).all() and (array >= 0).all() and array.any()):
        raise ValueError(f"weights must be finite, at least 0, and not all 0; got {array.tolist()}")
    return array
