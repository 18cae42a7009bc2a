"""An open image file (`Source`): its header, its pages, and parts of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import pixels
from .axes import Axes
from .metadata import Metadata, lead_of
from .missing import Missing, blank, hidden, mask_of, put_back

DEPTH = "planes one by one: depth stays blurred"
STACK = " (is it a stack? --stack)"
# More channels than these are only believed of a file that names no axes if rows and columns are more.
FEW_CHANNELS = 4


@dataclass(frozen=True)
class Source:
    """An image in a file, or a stack of them, of which only the header has been read.

    Attributes
    ----------
    shape : tuple of int
        Of a page: (rows, cols) or (rows, cols, channels), as the header gives it.  A picture may turn out to
        have rows and columns exchanged, or the channels of its palette.
    dtype : dtype
    pages : int or None
        None is a single image, not a stack.
    page : callable
        Reads the page of that number, counted from 0; 0 is a single image too.
    takes : int
        Bytes that reading a page takes, for a while.
    array : array_like or None
        What gives any part of the image, or stack, without reading the rest; None where that is not possible.
    part : int
        Bytes that reading a small part of `array` takes beside the part itself.
    parts : callable or None
        What gives, of a stack, any part of the page of that number, as `array` of a single image.
    alpha : bool
        Whether the last channel is alpha: only if the file says so.  Otherwise all channels are data.
    curve : {"linear", "srgb"} or float
        How values follow from light, as `transfer.decode` takes it.
    metadata : Metadata or None
        What the file says beside its pixels; None if nothing is known of it.
    missing : Missing or None
        Which pixels are none, beside those that are NaN.
    notes : tuple of str
        What there is to say about how it was read.
    axes : tuple of (str, int)
        Letters and sizes of the axes that count pages, the last one fastest, where they are known.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    pages: int | None
    page: Callable[[int], np.ndarray]
    takes: int
    array: Any = None
    part: int = 0
    parts: Callable[[int], Any] | None = None
    alpha: bool = False
    curve: str | float = "linear"
    metadata: Metadata | None = None
    missing: Missing | None = None
    notes: tuple[str, ...] = ()
    axes: tuple[tuple[str, int], ...] = ()

    @property
    def planes(self) -> int:
        """Number of channels that have pages of their own; 1 if none are known."""
        sizes = dict(self.axes)
        there = self.pages is not None and math.prod(sizes.values()) == self.pages
        return sizes.get("C", 1) if there and len(self.shape) == 2 else 1

    def channel_of(self, number: int) -> int | None:
        """Which channel that page is of; None if all pages are alike."""
        if self.planes == 1:
            return None
        at = np.unravel_index(number, [size for _, size in self.axes])
        return int(at[[letter for letter, _ in self.axes].index("C")])

    @property
    def in_parts(self) -> bool:
        """Whether parts of an image, or of a page, can be read without the rest."""
        return (self.array if self.pages is None else self.parts) is not None

    def parts_of(self, number: int) -> Any:
        """An array-like of a page, of which parts are read; None if it is read whole."""
        return self.array if self.parts is None or self.pages is None else self.parts(number)

    @property
    def full_shape(self) -> tuple[int, ...]:
        """The shape of the image or stack, with all of the axes that count pages."""
        return (*lead_of(self.metadata, self.pages), *self.shape)

    def missing_mask(self, stored: np.ndarray, part: tuple[slice, slice], number: int = 0) -> np.ndarray | None:
        """Where pixels of a part of a page are missing, of the shape of all channels but alpha; None if none is."""
        return mask_of(self.missing, stored, self.alpha, part, number)

    def real(self, stored: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        """The real numbers of pixels, as they are deblurred: without alpha, NaN where the mask says."""
        return hidden(pixels.to_real(stored, self.alpha, self.curve), mask)

    def encode(
        self,
        restored: np.ndarray,
        stored: np.ndarray,
        mask: np.ndarray | None,
        clipped: pixels.Clipped,
        dtype: np.dtype[Any],
    ) -> np.ndarray:
        """Restored real numbers as a file stores them: the inverse of `real`, with the alpha and missing pixels of
        `stored`.
        """
        encoded = pixels.from_real(blank(restored, mask), stored, clipped, dtype, self.curve)
        put_back(encoded, stored, mask, self.missing)
        return encoded

    def check_size(self, most: int) -> None:
        """Refuse, before anything is allocated, an image that takes more than `most` bytes to read."""
        if self.takes > most:
            rows, cols = self.shape[:2]
            raise ValueError(
                f"it says that it has {rows}x{cols} pixels, which take {readable(self.takes)} to read; at most "
                f"{readable(most)} may be used (if the file can be trusted, raise --max-memory)"
            )


def of_array(array: Any, stack: bool, extra: int = 0) -> Source:
    """The source of an array whose first axis counts pages, if it is a stack.

    `extra` is what reading takes beyond the page itself.
    """
    shape, dtype = tuple(map(int, array.shape)), np.dtype(array.dtype)
    page = shape[1:] if stack else shape
    if stack and len(shape) not in (3, 4):
        raise ValueError(f"a stack must be pages x rows x columns, or with channels after them; its shape is {shape}")
    if stack and shape[0] == 0:
        raise ValueError(f"it must not be empty; its shape is {shape}")
    try:
        pixels.check(page, dtype)
    except ValueError as error:
        hint = STACK if not stack and len(shape) in (3, 4) and 0 not in shape else ""
        raise ValueError(f"{error}{hint}") from None
    return Source(
        shape=page,
        dtype=dtype,
        pages=shape[0] if stack else None,
        page=lambda number: np.array(array[number] if stack else array[...]),
        takes=math.prod(page) * dtype.itemsize + extra,
        array=array,
        part=extra,
        parts=(lambda number: array[number]) if stack else None,
    )


def of_axes(array: Any, axes: Axes, format: str, extra: int = 0) -> Source:
    """The source of an array whose axes are named; see `of_array`."""
    shape = tuple(map(int, array.shape))
    axes = axes.of_shape(shape)
    lead = axes.lead
    if 0 in shape:
        raise ValueError(f"it must not be empty; its shape is {shape}")
    one = of_array(np.broadcast_to(np.empty((), array.dtype), shape[len(lead) :]), False, extra)
    return replace(
        one,
        pages=math.prod(lead) if lead else None,
        page=lambda number: np.array(array[np.unravel_index(number, lead) if lead else ...]),
        array=array,
        parts=(lambda number: array[np.unravel_index(number, lead)]) if lead else None,
        metadata=Metadata(format, axes=axes),
        notes=(DEPTH,) if axes.deep else (),
        axes=tuple(zip(axes.pages, lead, strict=True)),
    )


def check_unnamed(shape: tuple[int, ...], stack: bool) -> None:
    """Refuse an array without names of its axes that is more likely a stack than one image of many channels."""
    page = shape[1:] if stack else shape
    if len(page) == 3 and FEW_CHANNELS < page[2] >= min(page[:2]) > 0:
        raise ValueError(
            f"it must be one image, rows x columns x channels, or a stack of them; its shape is {shape}"
            + ("" if stack else STACK)
        )


def readable(size: int) -> str:
    """A number of bytes for people."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size} bytes"
