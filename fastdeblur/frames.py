"""Images as planes of channels, the callers' form of them, and where a solve starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import checks

STARTS = ("image", "zeros", "normal")
# Writes the first estimate's frame: planes of the image, planes to fill.
Start = Callable[[np.ndarray, np.ndarray], None]


def joined(planes: np.ndarray, channel_axis: int | None) -> np.ndarray:
    """The inverse of `checks.planes`."""
    return planes[0] if channel_axis is None else np.moveaxis(planes, 0, channel_axis)


def starter(init: Any, seed: Any, shape: tuple[int, ...], channel_axis: int | None) -> Start:
    """What writes the start that was asked for."""
    if seed is not None:
        seed = checks.integer("seed", seed, 0, 2**32 - 1)
        if not (isinstance(init, str) and init == "normal"):
            raise ValueError(f"seed is for init='normal'; got seed={seed} and another init")
    if isinstance(init, str) or init is None:
        checks.choice("init", init, STARTS)
    if isinstance(init, str) and init == "image":
        return lambda image, out: np.copyto(out, image)
    if isinstance(init, str) and init == "zeros":
        return lambda image, out: out.fill(0)
    if isinstance(init, str):
        return lambda image, out: _normal(seed, joined(out, channel_axis))
    array = checks.real_array("init", init)
    if array.shape != shape:
        raise ValueError(f"init must have the image's shape {shape}; its shape is {array.shape}")
    checks.finite("init", array)
    # A copy: the caller's array may change before the last solve.
    planes = np.array(array[None] if channel_axis is None else np.moveaxis(array, channel_axis, 0))
    return lambda image, out: np.copyto(out, checks.cast("init", planes, out.dtype))


def _normal(seed: int | None, out: np.ndarray) -> None:
    """The notebook's random start, drawn a row at a time: the stream is that of one call."""
    random = np.random.RandomState(seed)
    for row in out:
        row[...] = random.randn(*row.shape) / 10
