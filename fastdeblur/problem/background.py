"""The background of an image: light that the psf did not blur."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import validation
from ..kernels.runtime.arrays import beside, module_of, on_host
from .options import Options


def checked_background(value: Any, shape: tuple[int, ...], channel_axis: int | None) -> Any:
    """A background for images of a shape, or for each of their channels: a number, or an array, not cast yet."""
    array = validation.real_array_anywhere("background", value)
    one = shape if channel_axis is None else tuple(np.delete(shape, channel_axis).tolist())
    if array.shape not in ((), shape, one):
        allowed = f"{shape}" if shape == one else f"{shape}, or {one} for all channels"
        raise ValueError(
            f"background must be a number, or have the image's shape {allowed}; its shape is {array.shape}"
        )
    if array.ndim == 0:
        return validation.real("background", value, "at least 0")
    validation.finite("background", array)
    if array.min() < 0:
        place = tuple(np.argwhere(on_host(array) < 0)[0].tolist())
        raise ValueError(f"background must be at least 0; at index {place} it is {array[place]}")
    return array


def planes_of_background(background: Any, planes: np.ndarray, channel_axis: int | None) -> np.ndarray:
    """A checked background beside planes of an image: one or all planes and rows, all columns."""
    xp = module_of(planes)
    if isinstance(background, float):
        return xp.full((1, 1, planes.shape[2]), background, planes.dtype)  # type: ignore[no-any-return]
    array = beside(validation.cast("background", background, planes.dtype), planes)
    moved = array if channel_axis is None or array.ndim == 2 else xp.moveaxis(array, channel_axis, 0)
    return xp.ascontiguousarray(moved if moved.ndim == 3 else moved[None])  # type: ignore[no-any-return]


def without_background(
    background: Any, planes: np.ndarray, channel_axis: int | None, options: Options
) -> tuple[np.ndarray, np.ndarray | None]:
    """Planes without a checked background, and what photons were counted beside them, if anything."""
    noise, shift = options.read_noise, None
    if noise == 0 and isinstance(background, float) and background == 0:
        return planes, None
    xp = module_of(planes)
    with np.errstate(over="ignore"):
        around = planes_of_background(background, planes, channel_axis)
        if options.data == "poisson":
            shift = around + xp.asarray(noise * noise, planes.dtype)
        if around.any():
            planes = planes - around
    if xp.isinf(planes).any() or (shift is not None and xp.isinf(shift).any()):
        raise ValueError(
            f"background, and the square of read_noise {noise}, must leave numbers that {planes.dtype} can hold "
            "(scale them, and the image)"
        )
    return planes, shift
