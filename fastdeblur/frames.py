"""Images as planes of channels, the callers' form of them, and where a solve starts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from . import checks
from .arrays import beside, joined, module_of, on_host

STARTS = ("image", "zeros", "normal")
# Writes the first estimate's frame: planes of the image, planes to fill.  No closure: Deblurrers are pickled.
Start = Callable[[np.ndarray, np.ndarray], None]


def from_image(image: np.ndarray, out: np.ndarray) -> None:
    """The blurred image itself as start."""
    out[...] = image


def spread_out(x: Any, corner: tuple[int, int], frame: tuple[int, int]) -> None:
    """Beyond their frame, give planes their nearest pixel in it."""
    (top, left), (height, width) = corner, frame
    bottom, right = top + height, left + width
    if x.shape[1:] == frame:
        return
    x[:, :top, left:right] = x[:, top : top + 1, left:right]
    x[:, bottom:, left:right] = x[:, bottom - 1 : bottom, left:right]
    x[:, :, :left] = x[:, :, left : left + 1]
    x[:, :, right:] = x[:, :, right - 1 : right]


def starter(init: Any, seed: Any, shape: tuple[int, ...], channel_axis: int | None) -> Start:
    """What writes the start that was asked for."""
    if seed is not None:
        seed = checks.integer("seed", seed, 0, 2**32 - 1)
        if not (isinstance(init, str) and init == "normal"):
            raise ValueError(f"seed is for init='normal'; got seed={seed} and another init")
    if isinstance(init, str) or init is None:
        checks.choice("init", init, STARTS)
    if isinstance(init, str) and init == "image":
        return from_image
    if isinstance(init, str) and init == "zeros":
        return _zeros
    if isinstance(init, str):
        return partial(_normal, seed, channel_axis)
    array = checks.real_array_anywhere("init", init)
    if array.shape != shape:
        raise ValueError(f"init must have the image's shape {shape}; its shape is {array.shape}")
    checks.finite("init", array)
    # A copy: the caller's array may change before the last solve.
    planes = (array[None] if channel_axis is None else module_of(array).moveaxis(array, channel_axis, 0)).copy()
    return partial(_given, planes)


def _zeros(image: np.ndarray, out: np.ndarray) -> None:
    """A black start."""
    out.fill(0)


def _given(planes: np.ndarray, image: np.ndarray, out: np.ndarray) -> None:
    """A caller's start."""
    out[...] = beside(checks.cast("init", planes, out.dtype), out)


def _normal(seed: int | None, channel_axis: int | None, image: np.ndarray, out: np.ndarray) -> None:
    """The notebook's random start, drawn a row at a time: the stream is that of one call."""
    random = np.random.RandomState(seed)
    drawn = out if module_of(out) is np else np.empty(out.shape, out.dtype)
    for row in joined(drawn, channel_axis):
        row[...] = random.randn(*row.shape) / 10
    if drawn is not out:
        out[...] = beside(drawn, out)


def checked_background(value: Any, shape: tuple[int, ...], channel_axis: int | None) -> Any:
    """A background for images of a shape, or for each of their channels: a number, or an array, not cast yet."""
    array = checks.real_array_anywhere("background", value)
    one = shape if channel_axis is None else tuple(np.delete(shape, channel_axis).tolist())
    if array.shape not in ((), shape, one):
        wanted = f"{shape}" if shape == one else f"{shape}, or {one} for all channels"
        raise ValueError(f"background must be a number, or have the image's shape {wanted}; its shape is {array.shape}")
    if array.ndim == 0:
        return checks.real("background", value, "at least 0")
    checks.finite("background", array)
    if array.min() < 0:
        place = tuple(np.argwhere(on_host(array) < 0)[0].tolist())
        raise ValueError(f"background must be at least 0; at index {place} it is {array[place]}")
    return array


def planes_of_background(background: Any, planes: np.ndarray, channel_axis: int | None) -> np.ndarray:
    """A checked background beside planes of an image: one or all planes and rows, all columns."""
    xp = module_of(planes)
    if isinstance(background, float):
        return xp.full((1, 1, planes.shape[2]), background, planes.dtype)  # type: ignore[no-any-return]
    array = beside(checks.cast("background", background, planes.dtype), planes)
    moved = array if channel_axis is None or array.ndim == 2 else xp.moveaxis(array, channel_axis, 0)
    return xp.ascontiguousarray(moved if moved.ndim == 3 else moved[None])  # type: ignore[no-any-return]
