"""Backgrounds of frames: light that no psf blurred, the same in all frames or another in each."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...problem.background import checked_background, planes_of_background


class FrameBackgrounds:
    """What was there in each frame beside the blurred scene, and the variance of the noise of reading.

    Parameters
    ----------
    value : number or array of a frame's shape, or list or tuple with one for each frame
    read_noise : float
        Standard deviation.
    count : int
        How many frames there are.
    shape : tuple of int
        Theirs, as the caller has it.
    channel_axis : int or None
    """

    def __init__(self, value: Any, read_noise: float, count: int, shape: tuple[int, ...], channel_axis: int | None):
        self._axis, self._variance = channel_axis, read_noise * read_noise
        if not isinstance(value, (list, tuple)):
            self._given = [checked_background(value, shape, channel_axis)] * count
        elif len(value) != count:
            raise ValueError(
                f"background must be a number, an array of a frame's shape, or a list with one of these for each of "
                f"the {count} frames; the list has {len(value)}"
            )
        else:
            self._given = [checked_background(each, shape, channel_axis) for each in value]

    @property
    def matters(self) -> bool:
        """Whether there is anything beside the blurred scene, or noise of reading."""
        return self._variance > 0 or any(np.any(each) for each in self._given)

    def without(self, k: int, frame: np.ndarray) -> np.ndarray:
        """A frame, given as planes, without its background."""
        given = self._given[k]
        if not np.any(given):
            return frame
        with np.errstate(over="ignore"):  # found as infinity
            planes: np.ndarray = frame - planes_of_background(given, frame, self._axis)
        return planes

    def counted(self, k: int, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is taken for photon counts of a frame, given as planes; and their mean beside the blurred scene's.

        Reading adds a noise whose variance is added to both, for a Poisson variable's is its mean.  The second has one
        or all planes and rows, and all columns.
        """
        shift = planes_of_background(self._given[k], frame, self._axis)
        if self._variance:
            variance = frame.dtype.type(self._variance)
            return (frame + variance).clip(0), shift + variance
        return frame.clip(0), shift
