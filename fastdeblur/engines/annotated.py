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
    if type(image) is np.ndarray or on_gpu(image):
        return image, _as_it_is
    masked, unit = validation.is_masked(image), validation.unit_of(image)
    container = _is_nddata(image)
    if not (masked or unit or container):
        return image, _as_it_is
    plain = _data(image)
    if masked:
        plain = _missing(name, plain, image.mask)
    if container:
        return plain, lambda restored: _like_nddata(restored, image)
    if unit:
        return plain, lambda restored: _quantity(restored, image)
    return plain, _as_it_is


def _as_it_is(restored: np.ndarray) -> np.ndarray:
    return restored


def _is_nddata(image: Any) -> bool:
    """Whether it is astropy's NDData, or of a class that has it for a base."""
    kinds = ("data", "mask", "unit", "uncertainty", "wcs", "meta")
    return not isinstance(image, np.ndarray) and all(hasattr(type(image), kind) for kind in kinds)


def _data(image: Any) -> np.ndarray:
    """The numbers of an image, those below its mask too."""
    if hasattr(image, "unmasked"):  # astropy's Masked
        image = image.unmasked
    own = getattr(image, "data", None)
    return own if isinstance(own, np.ndarray) else np.asarray(image)


def _missing(name: str, array: np.ndarray, mask: Any) -> np.ndarray:
    """A copy of an image that is NaN where its mask is True."""
    mask = np.asarray(mask)
    if mask.shape not in ((), array.shape):
        raise ValueError(f"{name} must have a mask of its own shape {array.shape}; its mask's shape is {mask.shape}")
    validation.real_kind(name, array)
    with np.errstate(over="ignore"):  # found as infinity
        copied = array.astype(validation.working_dtype(array))
    copied[np.broadcast_to(mask.astype(bool), array.shape)] = np.nan
    return copied


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
