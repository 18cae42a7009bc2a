"""Arrays of NumPy or CuPy: which module an array belongs to, and helpers that work on both."""

from __future__ import annotations

from typing import Any

import numpy as np


def module_of(array: Any) -> Any:
    """The module whose functions an array goes with: NumPy, or CuPy."""
    if isinstance(array, (np.ndarray, np.generic)):
        return np
    import cupy  # it has made the array

    return cupy


def transforms_of(array: Any) -> Any:
    """The module with the Fourier transforms for an array, of its precision."""
    if module_of(array) is np:
        import scipy.fft

        return scipy.fft
    import cupyx.scipy.fft

    return cupyx.scipy.fft


def on_host(array: Any) -> np.ndarray:
    """The array as NumPy's."""
    host: np.ndarray = array if module_of(array) is np else array.get()
    return host


def beside(array: Any, other: Any) -> Any:
    """`array` where `other` is."""
    module = module_of(other)
    if module is np:  # which does not copy from a GPU by itself
        return on_host(array)
    return array if module_of(array) is module else module.asarray(array)


def on_gpu(value: Any) -> bool:
    """Whether an object says that it lies in a GPU's memory; types of Torch's and JAX's can say so wherever it is."""
    if isinstance(value, np.ndarray) or not hasattr(type(value), "__cuda_array_interface__"):
        return False
    if hasattr(value, "is_cuda"):  # a tensor of Torch, of which some raise an error when asked for the interface
        return bool(value.is_cuda)
    return hasattr(value, "__cuda_array_interface__")


def joined(planes: np.ndarray, channel_axis: int | None) -> np.ndarray:
    """The inverse of `checks.planes`."""
    whole: np.ndarray = planes[0] if channel_axis is None else module_of(planes).moveaxis(planes, 0, channel_axis)
    return whole


def scaled_array(array: np.ndarray, exponent: int) -> np.ndarray:
    """An array times a power of two; infinity where that is too large."""
    if exponent == 0:
        return array
    with np.errstate(over="ignore", under="ignore"):
        result: np.ndarray = module_of(array).ldexp(array, exponent)
    return result
