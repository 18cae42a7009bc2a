"""Images as planes of channels, the callers' form of them, and where a solve starts."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from . import checks
from .arrays import beside, module_of, on_host

STARTS = ("image", "zeros", "normal")
# How holes are smoothed.
MEANS, CROSS = 3, np.array([[0, 0.25, 0], [0.25, 0, 0.25], [0, 0.25, 0]])
# The least weight to take for typical: of anything in proportion to less, float32 has no square.
LEAST_TYPICAL = 1e-10
# Writes the first estimate's frame: planes of the image, planes to fill.  No closure: Deblurrers are pickled.
Start = Callable[[np.ndarray, np.ndarray], None]


def real_array(name: str, value: Any) -> np.ndarray:
    """Real numbers of a caller's, where they are."""
    if not checks.on_gpu(value):
        return checks.real_array(name, value)
    from .cuda import device

    array: np.ndarray = device.real_array(name, value)
    return array


def joined(planes: np.ndarray, channel_axis: int | None) -> np.ndarray:
    """The inverse of `checks.planes`."""
    whole: np.ndarray = planes[0] if channel_axis is None else module_of(planes).moveaxis(planes, 0, channel_axis)
    return whole


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
    array = real_array("init", init)
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


def weighed(
    planes: np.ndarray, weights: np.ndarray | None, channel_axis: int | None
) -> tuple[np.ndarray, np.ndarray | None, float]:
    """The image without holes, planes of weights, and by what those were divided; `weights` have been checked.

    Holes are pixels that are NaN or have weight 0: they are filled, see `fill`, for that is where a solve
    starts.  Weights come divided by an even power of two, so that the largest is near 1.
    """
    missing = checks.has_holes("image", planes, joined(planes, channel_axis))
    if weights is None and not missing:
        return planes, None, 1.0
    factor = 1.0
    if weights is None:
        given = module_of(planes).ones_like(planes)
    else:
        given, factor = _weights(weights, planes, channel_axis)
    if missing or weights is not None:
        _leave_out(given, planes, channel_axis)
    empty = given == 0
    if empty.all():
        raise ValueError("weights and NaN pixels of image must leave some pixel; none is left")
    if empty.any():
        planes = planes.copy()
        for plane, hole in zip(planes, empty, strict=True):
            fill(plane, hole)
    return planes, given, factor


def checked_weights(value: Any, shape: tuple[int, ...], channel_axis: int | None) -> np.ndarray:
    """Weights for images of a shape, or for each of their channels; they are not cast yet."""
    array = real_array("weights", value)
    one = shape if channel_axis is None else tuple(np.delete(shape, channel_axis).tolist())
    if array.shape not in (shape, one):
        wanted = f"{shape}" if shape == one else f"{shape}, or {one} for all channels"
        raise ValueError(f"weights must have the image's shape {wanted}; its shape is {array.shape}")
    # NaN may be where the image's are, which need not be known yet.
    least, largest = array.min(), array.max()
    if np.isnan(largest) and array.dtype.kind == "f":
        known = array[~module_of(array).isnan(array)]
        if known.size == 0:
            raise ValueError("weights must not be all NaN")
        least, largest = known.min(), known.max()
    if least < 0 or np.isinf(largest):
        wrong = (on_host(array) < 0) | np.isinf(on_host(array))
        place = tuple(np.argwhere(wrong)[0].tolist())
        raise ValueError(f"weights must be finite and at least 0; at index {place} it is {array[place]}")
    if largest == 0:
        raise ValueError("weights must not be all zero")
    return array


def _leave_out(given: np.ndarray, planes: np.ndarray, channel_axis: int | None) -> None:
    """Give missing pixels of an image the weight 0; weights may be NaN there, and nowhere else."""
    xp = module_of(planes)
    for weight, plane in zip(given, planes, strict=True):
        missing = xp.isnan(plane)
        if (xp.isnan(weight) & ~missing).any():
            wrong = on_host(xp.isnan(given) & ~xp.isnan(planes))
            place = tuple(np.argwhere(joined(wrong, channel_axis))[0].tolist())
            raise ValueError(f"weights must not be NaN where the image is not; at index {place} they are (use 0 there)")
        weight[missing] = 0


def checked_background(value: Any, shape: tuple[int, ...], channel_axis: int | None) -> Any:
    """A background for images of a shape, or for each of their channels: a number, or an array, not cast yet."""
    array = real_array("background", value)
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


def _weights(array: np.ndarray, planes: np.ndarray, channel_axis: int | None) -> tuple[np.ndarray, float]:
    """Planes of weights, divided by a factor."""
    xp = module_of(planes)
    array = beside(array, planes)
    mantissa, exponent = math.frexp(float(xp.nanmax(array)))
    exponent -= mantissa == 0.5  # ones, and powers of four, become ones
    exponent += exponent % 2
    given = xp.ldexp(array.astype(np.float64), -exponent)
    if array.ndim == 3 and channel_axis is not None:
        given = xp.moveaxis(given, channel_axis, 0)
    return xp.array(xp.broadcast_to(given, planes.shape), planes.dtype, order="C"), math.ldexp(1.0, exponent)


def typical(weights: np.ndarray | None) -> float:
    """The middle one of the weights that are not 0: a few may be much larger than the others, the largest near 1."""
    return 1.0 if weights is None else max(float(module_of(weights).median(weights[weights > 0])), LEAST_TYPICAL)


def fill(plane: np.ndarray, holes: np.ndarray) -> None:
    """Give holes the value of the nearest other pixel, then, a few times, the mean of their four neighbours.

    Without the means, steps from pixel to pixel are taken for noise: a fifth of the pixels missing, the
    automatic weight of total variation cost 0.65 dB instead of 0.34.
    """
    if holes.all():
        plane[...] = 0
    elif holes.any():
        ndimage = _ndimage_of(plane)
        nearest = ndimage.distance_transform_edt(holes, return_distances=False, return_indices=True)
        plane[...] = plane[tuple(nearest)]
        for _ in range(MEANS):
            plane[holes] = ndimage.convolve(plane, beside(CROSS, plane), mode="nearest")[holes]


def _ndimage_of(plane: np.ndarray) -> Any:
    if module_of(plane) is np:
        import scipy.ndimage  # not for everyone who imports fastdeblur

        return scipy.ndimage
    import cupyx.scipy.ndimage

    return cupyx.scipy.ndimage


def saturated(image: Any, level: Any) -> np.ndarray:
    """Weights that leave out clipped pixels: 0 where the image is at least `level`, else 1.

    Parameters
    ----------
    image : array_like
        Of any shape; NaN is not saturated.
    level : float
        What pixels were clipped at, in the image's own units.

    Returns
    -------
    ndarray of float32
        For `weights` of `solve`, of the image's shape.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind given above.

    Notes
    -----
    Of a clipped pixel no more is known than that it was at least as bright.  A blur spreads it over its
    neighbours, which are not clipped and say how bright it was.

    Examples
    --------
    >>> import fastdeblur as fd
    >>> fd.saturated([[0, 255], [254, 12]], 255)
    array([[1., 0.],
           [1., 1.]], dtype=float32)
    """
    array = checks.real_array("image", image)
    return (~(array >= checks.real("level", level, "any"))).astype(np.float32)
