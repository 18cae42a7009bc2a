"""Frames of one scene, read one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import validation


class FrameSource:
    """Frames as planes, channels first, in the working dtype of the first, one after another; missing pixels are NaN.

    `read` makes plain arrays of what the caller has: of paths, and of arrays with masks.

    Attributes
    ----------
    shape : tuple of int
        Of the caller's first frame.
    again : bool
        Whether they can be read more than once.
    """

    def __init__(self, frames: Any, axis: int | None, read: Callable[[Any], Any]):
        self._frames, self._axis, self._read = frames, axis, read
        self.again = iter(frames) is not frames
        self.shape: tuple[int, ...] | None = None
        self._dtype: Any = None
        if axis is not None:
            validation.integer("channel_axis", axis, -3, 2)

    def __iter__(self) -> Iterator[np.ndarray]:
        count = 0
        for frame in self._frames:
            count += 1
            yield self._planes(frame)
        if not count:
            raise ValueError("frames must be at least one image; there is none")

    def _planes(self, value: Any) -> np.ndarray:
        """A frame's planes, in the dtype of the first, whose shape it has."""
        array = checked_frame(self._read(value), self._dtype, self.shape, self._axis)
        self.shape, self._dtype = array.shape, array.dtype
        planes = array[None] if self._axis is None else np.moveaxis(array, self._axis, 0)
        return np.ascontiguousarray(planes)


def checked_frame(value: Any, dtype: Any, shape: tuple[int, ...] | None, axis: int | None = None) -> np.ndarray:
    """A frame in its working dtype, or in that of the first, whose shape it has; of its contents nothing is said."""
    array = validation.real_array("frames", value)
    if array.ndim != (2 if axis is None else 3) or array.size == 0:
        kind = "gray images of two dimensions (or give channel_axis)" if axis is None else "images of three dimensions"
        raise ValueError(f"frames must be {kind}; the shape of one is {array.shape}")
    if shape is not None and array.shape != shape:
        raise ValueError(f"frames must all have one shape; the first has {shape}, another {array.shape}")
    with np.errstate(over="ignore"):  # found as infinity
        return array.astype(validation.working_dtype(array) if dtype is None else dtype, copy=False)
