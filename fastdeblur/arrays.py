"""NumPy's arrays and CuPy's by the same names."""

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
