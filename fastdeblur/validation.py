"""Checks of arguments, made once, where the public functions begin.

Each takes the argument's name and value and returns it in the form the rest of the package
uses, or raises a ValueError or TypeError that gives the name, the value and what is allowed.
"""

from __future__ import annotations

import inspect
import math
import operator
import os
import re
import sys
import warnings
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np

from .kernels.runtime.arrays import module_of, on_gpu, on_host

PACKAGE = os.path.dirname(__file__) + os.sep


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line outside this package that called it."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level + 1)


def choice(name: str, value: Any, allowed: Iterable[Any]) -> Any:
    """One of a few names."""
    allowed = list(allowed)
    if not (value is None or isinstance(value, str)) or value not in allowed:
        wanted = f"one of {', '.join(map(repr, allowed))}" if len(allowed) > 1 else repr(allowed[0])
        raise ValueError(f"{name} must be {wanted}; got {value!r}")
    return value


def integer(name: str, value: Any, least: int, most: int | None = None) -> int:
    """A whole number of at least `least` and, where given, at most `most`."""
    allowed = f"a whole number of at least {least}" if most is None else f"a whole number from {least} to {most}"
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be {allowed}; got {value!r}") from None
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be {allowed}; got {value!r}")
    if number < least or (most is not None and number > most):
        raise ValueError(f"{name} must be {allowed}; got {number}")
    return number


def real(name: str, value: Any, allowed: str) -> float:
    """A finite number that is "at least 0", "above 0" or "any"."""
    wanted = "a finite number" if allowed == "any" else f"a finite number {allowed}"
    if isinstance(value, (str, bytes, bool, np.bool_, complex)) or np.ndim(value) != 0:
        raise TypeError(f"{name} must be {wanted}; got {value!r}")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name} must be {wanted}; got {value!r}") from None
    if not math.isfinite(number) or (allowed == "at least 0" and number < 0) or (allowed == "above 0" and number <= 0):
        raise ValueError(f"{name} must be {wanted}; got {value!r}")
    return number


def sizes(name: str, value: Any, count: int, when: str = "") -> tuple[int, ...]:
    """So many whole numbers of at least 1."""
    sizes = tuple(value) if np.ndim(value) == 1 else ()
    if len(sizes) != count:
        raise ValueError(f"{name} must be {count} sizes{when}; got {value!r}")
    return tuple(integer(name, size, 1) for size in sizes)


def options(caller: str, given: dict[str, Any], function: Any) -> None:
    """Refuse what is no keyword of `function`, by the name of the function that was called."""
    for name in given:
        if name not in function.__kwdefaults__:
            allowed = ", ".join(function.__kwdefaults__)
            raise TypeError(f"{caller}() got an unexpected keyword argument {name!r}; it takes {allowed}")


def workers(value: Any) -> int | None:
    """A number of threads, or None for Numba's current count."""
    return None if value is None else integer("workers", value, 1)


def memory_size(name: str, value: Any) -> int:
    """A number of bytes: a whole number, or text such as "300MB", "1GB" (decimal) or "2GiB" (binary)."""
    wanted = 'a number of bytes of at least 1, or text such as "300MB", "1GB" or "2GiB"'
    if not isinstance(value, str):
        try:
            return integer(name, value, 1)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name} must be {wanted}; got {value!r}") from None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([kmgt]?)(i?)b)?\s*", value, re.ASCII | re.IGNORECASE)
    if match is None or (match[3] and not match[2]):
        raise ValueError(f"{name} must be {wanted}; got {value!r}")
    base = 1024 if match[3] else 1000
    size = int(Fraction(match[1]) * base ** " kmgt".index((match[2] or " ").lower()))
    if size < 1:
        raise ValueError(f"{name} must be {wanted}; got {value!r}")
    return size


def real_array(name: str, value: Any) -> np.ndarray:
    """`value` as an array of real numbers, not yet cast, with nothing said of its contents."""
    if type(value) is np.ndarray:  # has no mask, no unit, and is here
        real_kind(name, value)
        return value
    if on_gpu(value):
        # (Psfs are prepared on the host; not all that takes an image takes a device.)
        instead = "" if name == "psf" else "pass device='cuda' to what takes it, or "
        raise TypeError(f"{name} is in a GPU's memory: {instead}copy it to the host")
    unannotated(name, value)
    try:
        array = np.asarray(value)
    except (ValueError, RuntimeError) as error:  # nested lists of unequal lengths, tensors with a gradient
        raise TypeError(f"{name} must be an array of real numbers: {error}") from None
    real_kind(name, array)
    return array


def real_array_anywhere(name: str, value: Any) -> np.ndarray:
    """`real_array`, or real numbers in a GPU's memory, left there."""
    return device_array(name, value) if on_gpu(value) else real_array(name, value)


def device_array(name: str, value: Any) -> Any:
    """Real numbers on the GPU; what is not there is copied to it."""
    from .kernels.cuda import device

    if not on_gpu(value):
        array = real_array(name, value)
        return array if device.arrays() is np else device.arrays().asarray(array)
    array = device.on_device(value)
    real_kind(name, array)
    return array


def device_pixels(name: str, value: Any, dtype: np.dtype[Any]) -> Any:
    """Finite numbers on the GPU in `dtype`, contiguous; uncopied where they can be."""
    from .kernels.cuda import device

    array = device.arrays().ascontiguousarray(device_array(name, value).astype(dtype, copy=False))
    if not device.is_finite(array):
        finite(name, device.to_host(array))  # says where it is not
    return array


def unannotated(name: str, value: Any) -> None:
    """Refuse what has masked pixels, which NumPy would take for any others, or a unit, which it would forget."""
    parts = value if isinstance(value, (list, tuple)) else (value,)
    if any(hasattr(part, "mask") and is_masked(part) for part in parts):
        raise TypeError(f"{name} must not be a masked array: fill its masked pixels, and pass weights that are 0 there")
    units = [unit for unit in map(unit_of, parts) if unit]
    if units:
        raise TypeError(f"{name} must be plain numbers, without a unit; got one in {units[0]} (pass its value)")


def is_masked(value: Any) -> bool:
    """Whether an object is masked: NumPy's masked arrays, astropy's data, and their like.

    Not if its attribute `mask` is a method, as of pandas' tables, or a name that the object looks up in what it holds,
    as of a column.
    """
    if isinstance(value, np.ma.MaskedArray):
        return True
    own = inspect.getattr_static(value, "mask", None)
    return own is not None and value.mask is not None and not callable(value.mask)


def unit_of(value: Any) -> str:
    """The unit of an object with one, such as astropy's quantities; empty where there is none."""
    own = inspect.getattr_static(value, "unit", None)
    return "" if own is None or callable(own) or value.unit is None else str(value.unit)


def real_kind(name: str, array: Any) -> None:
    """Refuse what are not real numbers."""
    if array.shape == () and array.dtype.kind in "USO":
        raise TypeError(f"{name} must hold real numbers, in an array; got {str(array)[:60]!r}")
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(f"{name} must hold real numbers of at most 64 bits; its dtype is {array.dtype}")


def working_dtype(array: np.ndarray) -> np.dtype[Any]:
    """float32 for floats and integers of at most 32 and 16 bits, else float64."""
    narrow = array.dtype.itemsize <= (4 if array.dtype.kind == "f" else 2)
    return np.dtype(np.float32 if narrow else np.float64)


def finite(name: str, array: np.ndarray) -> None:
    """Refuse NaN and infinity; looks at a few rows at a time, so it needs no memory to speak of."""
    if module_of(array) is not np:
        if bool(module_of(array).isfinite(array).all()):
            return
        array = on_host(array)
    flat = array.reshape(-1, array.shape[-1]) if array.flags.c_contiguous and array.ndim else np.atleast_1d(array)
    rows = max(1, 2**16 // max(1, flat[0].size))
    for start in range(0, len(flat), rows):
        if not np.isfinite(flat[start : start + rows]).all():
            place = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
            raise ValueError(f"{name} must be finite; at index {place} it is {array[place]}")


def cast(name: str, array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """`array` in `dtype`, uncopied where it can be; refuses numbers that `dtype` cannot hold."""
    with np.errstate(over="ignore"):
        result = array.astype(dtype, copy=False)
    finite(name, result)
    return result


def psf_dimensions(value: Any, channel_axis: Any = None) -> None:
    """Refuse a psf of other dimensions than two, or than three where each channel may have its own."""
    array = real_array("psf", value)
    if array.ndim != 2 and (channel_axis is None or array.ndim != 3):
        or_channels = "" if channel_axis is None else ", or three with the image's channel axis"
        raise ValueError(
            f"psf must have two dimensions{or_channels}; its shape is {array.shape}"
            + (". Volumes are not supported: for planes of a volume pass the plane of the psf that is in focus")
            * (array.ndim > 2)
        )


def psf(value: Any, dtype: np.dtype[Any] | None = None) -> np.ndarray:
    """A two-dimensional, finite psf that is not all zero, in `dtype` (default: its own)."""
    psf_dimensions(value)
    array = real_array("psf", value)
    if array.size == 0:
        raise ValueError(f"psf must not be empty; its shape is {array.shape}")
    array = cast("psf", array, working_dtype(array) if dtype is None else dtype)
    if not array.any():
        raise ValueError(f"psf must not be all zero; its shape is {array.shape}")
    return array


def has_missing(name: str, array: np.ndarray, shown: np.ndarray) -> bool:
    """Whether there are NaN pixels in planes; refuses infinite ones, by their place in `shown`.

    Looks at a few rows at a time.
    """
    found, xp = False, module_of(array)
    rows = max(1, 2**16 // array.shape[2]) if xp is np else array.shape[1]
    for plane in array:
        for start in range(0, len(plane), rows):
            part = plane[start : start + rows]
            if xp.isfinite(part).all():
                continue
            found = True
            if xp.isinf(part).any():
                place = tuple(np.argwhere(np.isinf(on_host(shown)))[0].tolist())
                raise ValueError(f"{name} must be finite, or NaN where pixels are missing; at index {place} it is inf")
    return found


def planes(name: str, value: Any, channel_axis: Any) -> np.ndarray:
    """An image as channels x rows x cols, in float32 or float64; for its contents see `has_missing`."""
    array = real_array(name, value)
    ndim(name, array, 2 if channel_axis is None else 3, planes_hint(channel_axis))
    return as_planes(array, channel_axis)


def planes_hint(channel_axis: Any) -> str:
    return " (or a channel_axis)" if channel_axis is None else " when channel_axis is given"


def as_planes(array: np.ndarray, channel_axis: Any) -> np.ndarray:
    """`planes` of an array of two dimensions, or of three with a channel axis."""
    if channel_axis is None:
        with np.errstate(over="ignore"):  # found as infinity
            return array.astype(working_dtype(array), copy=False)[None]
    axis = integer("channel_axis", channel_axis, -3, 2)
    # Cast and laid out at once: one copy, not two.
    with np.errstate(over="ignore"):
        xp = module_of(array)
        contiguous: np.ndarray = xp.ascontiguousarray(xp.moveaxis(array, axis, 0), working_dtype(array))
        return contiguous


def pixels(name: str, value: Any, dimensions: int) -> np.ndarray:
    """An array of real numbers with so many dimensions, none of them empty."""
    array = real_array(name, value)
    ndim(name, array, dimensions)
    return array


def ndim(name: str, array: Any, wanted: int, hint: str = "") -> None:
    """Refuse arrays of other dimensions, and empty ones."""
    if array.ndim != wanted:
        shape = tuple(array.shape)
        raise ValueError(
            f"{name} must have {wanted} dimensions{hint}; its shape is {shape}{no_volumes(array.ndim, wanted)}"
        )
    if array.size == 0:
        raise ValueError(f"{name} must not be empty; its shape is {tuple(array.shape)}")


def no_volumes(dimensions: int, wanted: int) -> str:
    """What an error says to those who have a volume."""
    if dimensions <= wanted:
        return ""
    return ". Volumes are not supported: restore their planes one by one, which leaves the blur along the depth"
