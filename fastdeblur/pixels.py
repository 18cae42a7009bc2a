"""What the pixels of files mean: which are images, and how they become real numbers and are written again."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import checks

KINDS = {1: "gray", 2: "gray with alpha", 3: "RGB", 4: "RGB with alpha"}


def check(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse what is not one image of real numbers."""
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ValueError(f"it must hold real numbers of at most 64 bits; its dtype is {dtype}")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in KINDS):
        raise ValueError(
            f"it must be one image, rows x columns or rows x columns x 1 to 4 channels; its shape is {shape}"
        )
    if 0 in shape:
        raise ValueError(f"it must not be empty; its shape is {shape}")


def colours(image: np.ndarray) -> np.ndarray:
    """The image without its alpha channel, if it has one."""
    return image[..., :-1] if image.ndim == 3 and image.shape[2] in (2, 4) else image


def to_real(image: np.ndarray, alpha: bool = True) -> np.ndarray:
    """What is to be deblurred: the image without alpha, integers divided by the largest of their dtype.

    With ``alpha=False`` the last of 2 or 4 channels is no alpha.
    """
    real = colours(image) if alpha else image
    if image.dtype.kind != "f":
        largest = 1 if image.dtype.kind == "b" else np.iinfo(image.dtype).max
        real = real.astype(checks.working_dtype(image))
        real /= largest
    return real


def from_real(real: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The inverse of `to_real`: rounded and clipped to the dtype of `image`, with its alpha.

    Booleans, which a restored image has no use for, become uint8 from 0 to 255.
    """
    dtype = written_dtype(image.dtype)
    if dtype.kind == "f":
        shown = real.astype(dtype)
    else:
        limits = np.iinfo(dtype)
        largest = real.dtype.type(limits.max)
        if int(largest) > limits.max:  # 64 bits: the nearest float64 is one too many
            largest = np.nextafter(largest, real.dtype.type(0))
        shown = np.clip(np.rint(real * real.dtype.type(limits.max)), limits.min, largest).astype(dtype)
    if shown.shape == image.shape:
        return shown
    joined = np.empty(image.shape, dtype)
    joined[..., :-1] = shown
    joined[..., -1] = image[..., -1] * dtype.type(255) if image.dtype.kind == "b" else image[..., -1]
    return joined


def written_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which the restored image is written, for what was read in another."""
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype


def channels(shape: tuple[int, ...]) -> int:
    """How many channels an image of this shape has."""
    return shape[2] if len(shape) == 3 else 1


def described(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    """An image in words, for messages."""
    return f"{written_dtype(dtype).name} {KINDS[channels(shape)]} of {shape[0]}x{shape[1]}"


def turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """An image the way up that TIFF's and EXIF's orientation, 1 to 8, says."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array
