"""Aligned memory, padded so that kernels can load whole vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

# Elements that vectors, rows of buffers and parts of scratch are aligned to: 64 bytes of float32.
ALIGNMENT = 16


def up(value: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-value // step) * step


def zeros(count: int, dtype: Any) -> np.ndarray:
    """`count` zeros that start on a cache line and fill whole ones."""
    itemsize = np.dtype(dtype).itemsize
    memory = np.zeros(up(count * itemsize, 64) + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + count * itemsize].view(dtype)


def arena(parts: list[int], copies: int, dtype: Any) -> tuple[np.ndarray, list[int], int]:
    """Memory for `copies` times some parts, the first copy's offsets of them, and bytes from copy to copy."""
    starts = np.cumsum([0] + [up(part, ALIGNMENT) for part in parts]).tolist()
    memory = zeros(copies * starts[-1], dtype)
    return memory, starts[:-1], starts[-1] * memory.itemsize


def data_address(array: np.ndarray) -> int:
    """Address of the first element; ``array.ctypes.data`` takes twice as long.

    Not of a record: NumPy describes its fields in Python, where it loses what a signal's handler raises.
    """
    address: int = array.__array_interface__["data"][0]
    return address


def row_pitch(array: np.ndarray, dtype: Any) -> int | None:
    """Elements from row to row if kernels can use `array` where it is, else None."""
    flags = array.flags
    if array.dtype is dtype and flags.c_contiguous and flags.aligned and dtype.isnative:  # a third of the time
        return int(array.shape[-1])
    if array.dtype != dtype or not array.dtype.isnative or not array.flags.aligned:
        return None
    (rows, cols), (down, across), itemsize = array.shape[-2:], array.strides[-2:], array.itemsize
    if cols > 1 and across != itemsize:
        return None
    if rows == 1:
        return int(cols)
    pitch, rest = divmod(down, itemsize)
    return int(pitch) if rest == 0 and pitch >= cols else None


class Spares:
    """Workspaces that nobody uses, by what they are for; safe among threads, as lists are."""

    def __init__(self) -> None:
        self._lists: dict[Any, list[Any]] = {}

    def take(self, purpose: Any = None) -> Any:
        """A spare workspace, or None."""
        try:
            return self._lists[purpose].pop()
        except (KeyError, IndexError):
            return None

    def put(self, workspace: Any, purpose: Any = None) -> None:
        """Keep a workspace for who needs one next."""
        self._lists.setdefault(purpose, []).append(workspace)

    @contextmanager
    def borrowed(self, purpose: Any, make: Callable[[], Any]) -> Iterator[Any]:
        """A workspace that nobody else uses; one that an error left as it was is not kept."""
        workspace = self.take(purpose)
        if workspace is None:
            workspace = make()
        yield workspace
        self.put(workspace, purpose)
