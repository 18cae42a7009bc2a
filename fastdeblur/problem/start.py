"""Start of a solve: the image, zeros, the notebook's random numbers, or the caller's array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import validation
from ..kernels.runtime.arrays import beside, joined, module_of, scaled_array

STARTS = ("image", "zeros", "normal")
# Rows of random numbers that are drawn at once.
ROWS = 64


@dataclass(frozen=True, eq=False)
class Start:
    """Where a solve begins.

    Attributes
    ----------
    kind : {"image", "zeros", "normal", "array"}
    seed : int or None
        Of "normal", the notebook's random start.
    channel_axis : int or None
        Of the caller's images: random numbers are drawn in their order.
    planes : ndarray or None
        The caller's own start.
    exponent : int
        The power of two by which the estimate is larger than the caller's.
    """

    kind: str
    seed: int | None = None
    channel_axis: int | None = None
    planes: np.ndarray | None = None
    exponent: int = 0

    def write(self, image: np.ndarray, out: np.ndarray) -> None:
        """Fill planes of the first estimate's frame; `image` are those of the image, in the solve's units."""
        if self.kind == "image":
            out[...] = image
            return
        if self.kind == "zeros":
            out.fill(0)
        elif self.kind == "normal":
            self._draw(out)
        elif self.planes is not None:
            out[...] = beside(validation.cast("init", self.planes, out.dtype), out)
        if self.exponent:
            out[...] = scaled_array(out, self.exponent)

    def _draw(self, out: np.ndarray) -> None:
        """Draw some rows at a time: the stream is that of one call."""
        random = np.random.RandomState(self.seed)
        drawn = out if module_of(out) is np else np.empty(out.shape, out.dtype)
        whole = joined(drawn, self.channel_axis)
        for top in range(0, len(whole), ROWS):
            rows = whole[top : top + ROWS]
            rows[...] = random.randn(*rows.shape) / 10
        if drawn is not out:
            out[...] = beside(drawn, out)


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
    """The start for images of a shape."""
    if seed is not None:
        seed = validation.integer("seed", seed, 0, 2**32 - 1)
        if not (isinstance(init, str) and init == "normal"):
            raise ValueError(f"seed is for init='normal'; got seed={seed} and another init")
    if isinstance(init, str) or init is None:
        validation.choice("init", init, STARTS)
    if isinstance(init, str):
        return Start(init, seed, channel_axis)
    array = validation.real_array_anywhere("init", init)
    if array.shape != shape:
        raise ValueError(f"init must have the image's shape {shape}; its shape is {array.shape}")
    validation.finite("init", array)
    # A copy: the caller's array may change before the last solve.
    planes = (array[None] if channel_axis is None else module_of(array).moveaxis(array, channel_axis, 0)).copy()
    return Start("array", planes=planes)
