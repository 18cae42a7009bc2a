"""Reading parts of chunked and mapped arrays (Zarr, HDF5, TIFF), a few chunks at a time."""

from __future__ import annotations

import itertools
import math
import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np

# Bytes of chunks that are read at once, where one does not have more; little beside what everything else takes.
TOGETHER = 2**22


def of(array: Any) -> tuple[int, ...] | None:
    """The shape of an array's chunks, if they are all alike."""
    chunks = getattr(array, "chunks", None)
    if not isinstance(chunks, (tuple, list)) or len(chunks) != len(array.shape):
        return None
    return tuple(map(int, chunks)) if all(isinstance(size, (int, np.integer)) and size > 0 for size in chunks) else None


def memory(chunks: tuple[int, ...], itemsize: int) -> int:
    """Bytes that reading takes beside the part: chunks as they are in the file, decoded, and put together."""
    return 3 * math.prod(chunks) * itemsize


def read(array: Any, part: tuple[slice, ...], chunks: tuple[int, ...]) -> np.ndarray:
    """A copy of a part, whatever the package that decodes chunks would do at once."""
    pixels = np.empty([each.stop - each.start for each in part], array.dtype)
    for piece in parts(part, array.shape, chunks, pixels.dtype.itemsize):
        place = tuple(slice(at.start - all_.start, at.stop - all_.start) for at, all_ in zip(piece, part, strict=True))
        pixels[place] = array[piece]
    return pixels


def parts(
    part: tuple[slice, ...], shape: tuple[int, ...], chunks: tuple[int, ...], itemsize: int
) -> Iterator[tuple[slice, ...]]:
    """A part, cut along chunks: each piece lies in one of them, or in a few small ones."""
    steps, left = list(chunks), TOGETHER // (math.prod(chunks) * itemsize)
    for axis in reversed(range(len(steps))):
        count = min(max(left, 1), -(-int(shape[axis]) // steps[axis]))
        steps[axis], left = steps[axis] * count, left // count
    return itertools.product(*[list(_steps(each, step)) for each, step in zip(part, steps, strict=True)])


def _steps(part: slice, step: int) -> Iterator[slice]:
    """Pieces of a part, cut where chunks end."""
    start = part.start
    while start < part.stop:
        stop = min((start // step + 1) * step, part.stop)
        yield slice(start, stop)
        start = stop


def map_of(array: Any) -> np.memmap | None:
    """The map in which an array lies, which may be behind views of it, as those of masked arrays are."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and array._mmap is not None:  # type: ignore[attr-defined]
            return array
        array = array.base
    return None


def give_back(array: Any) -> None:
    """Let the pages of a mapped array that were touched count as memory no more."""
    own = map_of(array)
    mapped = getattr(array if own is None else own, "_mmap", None)
    mode = getattr(array if own is None else own, "mode", "r")
    if mapped is not None and mode != "c" and hasattr(mapped, "madvise"):
        mapped.madvise(mmap.MADV_DONTNEED)
