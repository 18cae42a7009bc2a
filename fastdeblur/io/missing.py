"""Missing pixels of files (no data, masks): finding them, and writing them back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import pixels

# Finds them among the stored pixels of a part (rows and columns) of the page of that number: an array of bool of
# the part's shape, with an axis of the channels that are not alpha or without one.
Find = Callable[[np.ndarray, tuple[slice, slice], int], np.ndarray]


@dataclass(frozen=True)
class Missing:
    """Which pixels of a file are missing, beside those that are NaN.

    Attributes
    ----------
    find : callable or None
        See `Find`; None if a value alone tells them.
    values : tuple of float
        What pixels are that are missing.
    identity : tuple
        What tells it from others, in what JSON has, beside the values.
    """

    find: Find | None = None
    values: tuple[float, ...] = ()
    identity: tuple[Any, ...] = ()

    def __or__(self, other: Missing | None) -> Missing:
        """The pixels that are missing by either."""
        if other is None:
            return self
        finds = [each for each in (self.find, other.find) if each is not None]

        def either(stored: np.ndarray, part: tuple[slice, slice], number: int) -> np.ndarray:
            first, second = (find(stored, part, number) for find in finds)
            if first.ndim != second.ndim:
                first, second = (each if each.ndim == 3 else each[..., None] for each in (first, second))
            return first | second

        find = either if len(finds) == 2 else next(iter(finds), None)
        values = tuple(dict.fromkeys((*self.values, *other.values)))
        return Missing(find, values, (*self.identity, *other.identity))


def mask_of(
    missing: Missing | None, stored: np.ndarray, alpha: bool, part: tuple[slice, slice], number: int = 0
) -> np.ndarray | None:
    """Where pixels of a part are missing, of the shape of all channels but alpha; None if all are there."""
    colours = pixels.colours(stored, alpha)
    mask = np.isnan(colours) if stored.dtype.kind == "f" else None
    for value in () if missing is None else missing.values:
        known = as_stored(value, stored.dtype)
        if known is not None:
            mask = colours == known if mask is None else mask | (colours == known)
    if missing is not None and missing.find is not None:
        more = missing.find(stored, part, number)
        more = np.broadcast_to(more[..., None] if more.ndim < colours.ndim else more, colours.shape)
        mask = more if mask is None else mask | more
    return mask if mask is not None and mask.any() else None


def as_stored(value: float, dtype: np.dtype[Any]) -> Any:
    """A value among those of a dtype, or the nearest of floats; None if no pixel can have it."""
    dtype = dtype.newbyteorder("=")
    if dtype.kind == "f":
        if not np.isfinite(value):
            return dtype.type(value)
        most = float(np.finfo(dtype).max)  # which files tell with fewer digits
        beyond = abs(value) > most * (1 + 1e-6)
        return None if beyond else dtype.type(min(max(value, -most), most))
    limits = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if not np.isfinite(value) or value != int(value) or not limits[0] <= int(value) <= limits[1]:
        return None
    return dtype.type(int(value))


def hidden(real: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """The real numbers of pixels, NaN where they are missing, which a solve ignores."""
    return real if mask is None else np.where(mask, real.dtype.type(np.nan), real)


def blank(restored: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Restored pixels without the estimates of those that are missing, which are not to be written."""
    return restored if mask is None else np.where(mask, restored.dtype.type(0), restored)


def put_back(shown: np.ndarray, stored: np.ndarray, mask: np.ndarray | None, missing: Missing | None) -> None:
    """Write missing pixels as they were into those that are to be stored; none of the others gets to mean missing.

    `mask` is of the first channels of `shown`; None if none is missing, or all shall have their estimates.
    """
    for value in () if missing is None else missing.values:
        written = as_written(value, stored.dtype, shown.dtype)
        if written is not None:
            np.putmask(shown, shown == written, beside(written))
    if mask is not None:
        colours = shown if mask.shape == shown.shape else shown[..., : mask.shape[-1]]
        was = stored if mask.shape == stored.shape else stored[..., : mask.shape[-1]]
        colours[mask] = pixels.converted(was[mask], shown.dtype)


def as_written(value: float, stored: np.dtype[Any], dtype: np.dtype[Any]) -> Any:
    """A stored value as it is written in another dtype; None if no pixel has it."""
    known = as_stored(value, stored)
    return None if known is None else pixels.converted(np.array([known]), dtype)[0]


def beside(value: Any) -> Any:
    """The nearest value to one that pixels must not have."""
    dtype = value.dtype
    if dtype.kind == "f":
        return np.finfo(dtype).tiny if value == 0 else np.nextafter(value, dtype.type(0))
    return dtype.type(int(value) + (1 if int(value) < np.iinfo(dtype).max else -1))
