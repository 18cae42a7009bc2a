"""Images with a mask or a unit: NumPy's masked arrays; astropy's NDData, CCDData, Masked and Quantity.

They are known by their attributes: no package is imported for them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import validation
from ..kernels.runtime.arrays import on_gpu

# Makes of a restored image what the caller gave: its kind, with its unit.
Wrap = Callable[[np.ndarray], Any]


def numbers(name: str, image: Any) -> tuple[Any, Wrap]:
    """An image as plain numbers, NaN where its mask says so, and what gives a result the image's kind and unit.

    Of any other image, itself, and what hands results on as they are.
    """
    plain, mask, wrap = apart(image)
    plain = plain if plain is image else np.asarray(plain)
    return plain if mask is None else _missing(name, plain, mask), wrap


def apart(image: Any) -> tuple[Any, Any, Wrap]:
    """The numbers of an image, its mask or None, and what gives a result the image's kind and unit; nothing is copied.

    Of any other image, itself, None, and what hands results on as they are.
    """
    if type(image) is np.ndarray or on_gpu(image):
        return image, None, _as_it_is
    masked, unit = validation.is_masked(image), validation.unit_of(image)
    container = _is_nddata(image)
    if not (masked or unit or container):
        return image, None, _as_it_is
    plain, mask = _data(image), image.mask if masked else None
    if container:
        return plain, mask, lambda restored: _like_nddata(restored, image)
    if unit:
        return plain, mask, lambda restored: _quantity(restored, image)
    return plain, mask, _as_it_is


def _as_it_is(restored: np.ndarray) -> np.ndarray:
    return restored


def _is_nddata(image: Any) -> bool:
    """Whether it is astropy's NDData, or of a class that has it for a base."""
    kinds = ("data", "mask", "unit", "uncertainty", "wcs", "meta")
    return not isinstance(image, np.ndarray) and all(hasattr(type(image), kind) for kind in kinds)


def _data(image: Any) -> Any:
    """The numbers of an image, those below its mask too: an array, or what has slices."""
    if hasattr(image, "unmasked"):  # astropy's Masked
        image = image.unmasked
    own = getattr(image, "data", None)
    if isinstance(own, np.ndarray) or (_is_nddata(image) and _has_slices(own)):
        return own
    return np.asarray(image) if isinstance(image, np.ndarray) or not _has_slices(image) else _Below(image)


def _has_slices(value: Any) -> bool:
    return all(hasattr(value, name) for name in ("shape", "dtype", "__getitem__")) and isinstance(value.dtype, np.dtype)


class _Below:
    """The numbers below the mask of an object with slices, each of which may have a mask of its own."""

    def __init__(self, image: Any):
        self._image, self.shape, self.dtype = image, tuple(image.shape), image.dtype
        self.chunks = getattr(image, "chunks", None)

    def __getitem__(self, part: Any) -> np.ndarray:
        pixels = self._image[part]
        return np.asarray(_data(pixels) if validation.is_masked(pixels) else pixels)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self._image, dtype)


def _missing(name: str, array: np.ndarray, mask: Any) -> np.ndarray:
    """A copy of an image that is NaN where its mask is True."""
    mask = np.asarray(mask)
    check_mask(name, mask.shape, array.shape)
    validation.real_kind(name, array)
    with np.errstate(over="ignore"):  # found as infinity
        copied = array.astype(validation.working_dtype(array))
    copied[np.broadcast_to(mask.astype(bool), array.shape)] = np.nan
    return copied


def check_mask(name: str, mask: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Refuse a mask, by its shape, that is none of an image of that shape."""
    if mask not in ((), shape):
        raise ValueError(f"{name} must have a mask of its own shape {shape}; its mask's shape is {mask}")


def _like_nddata(restored: np.ndarray, image: Any) -> Any:
    """The restored image with the mask, unit, coordinates and metadata of the blurred one.

    Not with its uncertainty, nor its psf: they are those of the blurred one.
    """
    return type(image)(
        restored,
        mask=copy.copy(image.mask),
        unit=image.unit,
        wcs=copy.deepcopy(image.wcs),
        meta=copy.deepcopy(image.meta),
    )


def _quantity(restored: np.ndarray, image: Any) -> Any:
    """The restored image in the blurred one's unit."""
    kind = type(getattr(image, "unmasked", image))
    return kind(restored, image.unit, copy=False)
