"""Conversion between stored pixels and real numbers: scale, rounding, clipping, alpha, dtypes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import transfer, validation

KINDS = {(1, False): "gray", (2, True): "gray with alpha", (3, False): "RGB", (4, True): "RGB with alpha"}


def check(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse what is not one image of real numbers."""
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ValueError(f"it must hold real numbers of at most 64 bits; its dtype is {dtype}")
    if len(shape) not in (2, 3):
        raise ValueError(f"it must be one image, rows x columns or rows x columns x channels; its shape is {shape}")
    if 0 in shape:
        raise ValueError(f"it must not be empty; its shape is {shape}")


def colours(image: np.ndarray, alpha: bool) -> np.ndarray:
    """The image without its last channel, if that is alpha."""
    return image[..., :-1] if alpha else image


def to_real(image: np.ndarray, alpha: bool = False, curve: str | float = "linear") -> np.ndarray:
    """Real numbers to deblur: the image without its last channel, if that is alpha, integers divided by the largest
    of their dtype, and a curve undone (see `transfer.decode`).
    """
    real = colours(image, alpha)
    if curve != "linear":
        return transfer.decode(real, curve, alpha=False)
    if image.dtype.kind != "f":
        real = real.astype(validation.working_dtype(image))
        real /= white(image.dtype)
    return real


def white(dtype: np.dtype[Any]) -> int:
    """Divisor of `to_real` for pixels of a dtype."""
    return int(np.iinfo(dtype).max) if dtype.kind in "iu" else 1


@dataclass
class Clipped:
    """Count and range of restored values that a file's type could not hold.

    Attributes
    ----------
    count, total : int
        How many values were clipped, and how many were written.
    low, high : float
        The range of all values, on the scale whose 1 is the largest of an integer type.
    """

    count: int = 0
    total: int = 0
    low: float = math.inf
    high: float = -math.inf

    def add(self, real: np.ndarray, low: float, high: float) -> None:
        """Count what is beyond the limits."""
        outside = (real < low) | (real > high)
        if outside.any():
            self.count += int(outside.sum())
        self.total += real.size
        self.low, self.high = min(self.low, float(real.min())), max(self.high, float(real.max()))

    def warn(self, dtype: np.dtype[Any]) -> None:
        """Say it, once for all that was written."""
        if not self.count:
            return
        what = "clipped to" if dtype.kind != "f" else "clipped to the finite numbers of"
        validation.warn(
            f"{self.count} of {self.total} restored values were {what} what {dtype.name} holds; they reach from "
            f"{self.low:.4g} to {self.high:.4g} (--dtype float32 keeps them, --bounds avoids them)",
            UserWarning,
        )


def from_real(
    real: np.ndarray,
    image: np.ndarray,
    clipped: Clipped | None = None,
    dtype: np.dtype[Any] | None = None,
    curve: str | float = "linear",
) -> np.ndarray:
    """The inverse of `to_real`: rounded and clipped to `dtype`, that of `image` unless given, with its alpha.

    Booleans, which a restored image has no use for, become uint8 from 0 to 255.  Of integers, floats have the units.
    What is not finite is no image, and refused.
    """
    dtype = output_dtype(image.dtype, dtype)
    if not np.isfinite(real).all():
        raise ValueError(
            f"the restored image must be finite to be written; {(~np.isfinite(real)).sum()} pixels are not"
        )
    if curve != "linear":
        real = transfer.encode(real, curve, alpha=False)
    clipped = Clipped() if clipped is None else clipped
    if dtype.kind == "f":
        unit = np.iinfo(written_dtype(image.dtype)).max if image.dtype.kind != "f" else 1
        most = float(np.finfo(dtype).max)
        shown = real if unit == 1 else real * real.dtype.type(unit)
        if dtype.itemsize < real.dtype.itemsize:
            clipped.add(shown, -most, most)
            shown = np.clip(shown, -most, most)
        shown = shown.astype(dtype)
    else:
        limits = np.iinfo(dtype)
        largest = real.dtype.type(limits.max)
        if int(largest) > limits.max:  # 64 bits: the nearest float64 is one too many
            largest = np.nextafter(largest, real.dtype.type(0))
        shown = np.rint(real * real.dtype.type(limits.max))
        # What rounds to the limits is none that was lost.
        clipped.add(real, (limits.min - 0.5) / limits.max, (limits.max + 0.5) / limits.max)
        shown = np.clip(shown, limits.min, largest).astype(dtype)
    if shown.shape == image.shape:
        return shown
    joined = np.empty(image.shape, dtype)
    joined[..., :-1] = shown
    joined[..., -1] = converted(image[..., -1], dtype)
    return joined


def converted(stored: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Pixels in another dtype that are not restored, such as alpha: in the same units for floats, with the same share
    of the largest for integers.
    """
    if stored.dtype.kind == "b":
        stored = stored * np.uint8(255)
    if dtype.kind == "f" or stored.dtype.newbyteorder("=") == dtype.newbyteorder("="):
        return stored.astype(dtype)
    limits = np.iinfo(dtype)
    share = np.rint(stored / np.iinfo(stored.dtype).max * limits.max)
    return np.clip(share, limits.min, limits.max).astype(dtype)


def output_dtype(dtype: np.dtype[Any], wanted: np.dtype[Any] | None) -> np.dtype[Any]:
    """The dtype in which a restored image is written: that of the file unless another is `wanted`."""
    if wanted is None or wanted == dtype.newbyteorder("="):
        return written_dtype(dtype)
    if dtype.kind == "f" and wanted.kind != "f":
        raise ValueError(
            f"dtype must be of floats for a file of {dtype.name}, which has no largest value; got {wanted}"
        )
    return wanted


def written_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which the restored image is written, for what was read in another."""
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype


def channels(shape: tuple[int, ...]) -> int:
    """How many channels an image of this shape has."""
    return shape[2] if len(shape) == 3 else 1


def described(shape: tuple[int, ...], dtype: np.dtype[Any], alpha: bool = False) -> str:
    """An image in words, for messages."""
    count = channels(shape)
    kind = KINDS.get((count, alpha), f"of {count} channels" + (", the last of them alpha," if alpha else ""))
    return f"{written_dtype(dtype).name} {kind} of {shape[0]}x{shape[1]}"


def oriented(array: np.ndarray, orientation: int) -> np.ndarray:
    """An image the way up that TIFF's and EXIF's orientation, 1 to 8, says."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array
