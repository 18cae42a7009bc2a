"""Transfer functions: between the encoded values of picture files and linear light.

A lens blurs light, and a photograph's values are not proportional to light: cameras encode it by a curve, mostly sRGB's
[1]_.  To deblur a photograph, decode it, restore it in linear light, and encode the result.

References
----------
.. [1] IEC 61966-2-1:1999, "Colour management - Default RGB colour space - sRGB".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import validation

__all__ = ["decode", "encode"]

# sRGB: linear up to an encoded value of 0.04045.  The standard rounds both ends of that part; here one follows from the
# other, so that `encode` is the inverse of `decode` everywhere.
_KNEE, _SLOPE, _OFFSET, _POWER = 0.04045, 12.92, 0.055, 2.4


def decode(image: Any, curve: Any = "srgb", *, alpha: bool | None = None) -> np.ndarray:
    """Linear light from encoded values.

    Parameters
    ----------
    image : array_like, any shape
        Encoded values.  Integers are on the scale whose 1 is the largest of their type, booleans are 0 and 1,
        floats are taken as they are, with 1 for white.  NaN stays NaN.
    curve : {"srgb", "linear"} or float above 0
        sRGB's curve, none, or a power: ``light = encoded ** curve``, with 2.2 for many older files.
    alpha : bool or None
        Whether the last axis ends with alpha, which is no light and is only scaled.  None: it does if the image has
        three axes, of which the last has 2 or 4 channels.

    Returns
    -------
    ndarray
        Of the image's shape, float32 or float64; 1 is white.  Values beyond 0 and 1 follow the curve too, negative
        ones by ``-decode(-value)``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above.

    See Also
    --------
    encode : the inverse.

    Examples
    --------
    >>> import numpy as np, fastdeblur as fd
    >>> fd.transfer.decode(np.array([0, 128, 255], np.uint8)).round(3)
    array([0.   , 0.216, 1.   ], dtype=float32)
    """
    array = validation.real_array("image", image)
    light = _light_of(curve)
    if array.dtype.kind in "bu" and array.dtype.itemsize <= 2 and array.size > 2**16:
        # All values there can be, once: a power takes far longer than looking it up.
        every = np.arange(2 if array.dtype.kind == "b" else np.iinfo(array.dtype).max + 1).astype(array.dtype)
        decoded: np.ndarray = light(_scaled(every))[array.view(np.uint8) if array.dtype.kind == "b" else array]
    else:
        decoded = light(_scaled(array))
    return _with_alpha(decoded, array, alpha)


def encode(image: Any, curve: Any = "srgb", *, alpha: bool | None = None) -> np.ndarray:
    """Encoded values from linear light.

    Parameters
    ----------
    image : array_like, any shape
        Linear light, as `decode` gives it.
    curve : {"srgb", "linear"} or float above 0
        As for `decode`.
    alpha : bool or None
        As for `decode`.

    Returns
    -------
    ndarray
        Of the image's shape, float32 or float64, not clipped; 1 is white.  For a file of 8 bits:
        ``np.rint(255 * encoded.clip(0, 1)).astype(np.uint8)``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above.

    See Also
    --------
    decode : the inverse.

    Examples
    --------
    >>> import numpy as np, fastdeblur as fd
    >>> fd.transfer.encode(np.array([0.0, 0.216, 1.0])).round(3)
    array([0.   , 0.502, 1.   ])
    """
    array = validation.real_array("image", image)
    return _with_alpha(_values_of(curve)(_scaled(array)), array, alpha)


def _scaled(array: np.ndarray) -> np.ndarray:
    """A new array of floats, of which integers' largest value is 1."""
    scaled = array.astype(validation.working_dtype(array))
    if array.dtype.kind in "iu":
        scaled /= np.iinfo(array.dtype).max
    return scaled


def _with_alpha(converted: np.ndarray, array: np.ndarray, alpha: bool | None) -> np.ndarray:
    if alpha is None:
        alpha = array.ndim == 3 and array.shape[2] in (2, 4)
    elif not isinstance(alpha, (bool, np.bool_)):
        raise TypeError(f"alpha must be True, False or None; got {alpha!r}")
    elif alpha and array.ndim == 0:
        raise ValueError("image must have a last axis that ends with alpha; it has no axes")
    if alpha:
        converted[..., -1] = _scaled(array[..., -1])
    return converted


Curve = Callable[[np.ndarray], np.ndarray]


def _light_of(curve: Any) -> Curve:
    return _curve(curve, _srgb_light, lambda power: power)


def _values_of(curve: Any) -> Curve:
    return _curve(curve, _srgb_values, lambda power: 1 / power)


def _curve(curve: Any, srgb: Curve, exponent: Callable[[float], float]) -> Curve:
    """A curve for all real numbers, odd, from its part for positive ones."""
    if isinstance(curve, str):
        positive: Curve = srgb if validation.choice("curve", curve, ("srgb", "linear")) == "srgb" else np.abs
    else:
        power = exponent(validation.real("curve", curve, "above 0"))
        positive = lambda size: np.asarray(size ** size.dtype.type(power))  # noqa: E731
    return lambda values: np.copysign(positive(np.abs(values)), values)


def _srgb_light(values: np.ndarray) -> np.ndarray:
    kind = values.dtype.type
    curved = ((values + kind(_OFFSET)) / kind(1 + _OFFSET)) ** kind(_POWER)
    return np.asarray(np.where(values <= kind(_KNEE), values / kind(_SLOPE), curved))


def _srgb_values(light: np.ndarray) -> np.ndarray:
    kind = light.dtype.type
    curved = kind(1 + _OFFSET) * light ** kind(1 / _POWER) - kind(_OFFSET)
    return np.asarray(np.where(light <= kind(_KNEE / _SLOPE), light * kind(_SLOPE), curved))
