"""What large images are read from: files, mapped arrays, and whatever has a shape, a dtype and slices.

A mapped file is read as a file: pages of a map that have been touched would count as memory of this process.
"""

from __future__ import annotations

import math
import mmap
import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .. import checks, files, zarrs

# Part of an array: a slice an axis.
Part = tuple[slice, ...]


class Readable(Protocol):
    """Parts of an array that may be larger than memory.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
    identity : dict
        What tells this array from others, in what JSON has.
    place : (path, first byte) or None
        Where it is in a file, if it is written there as it is.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    identity: dict[str, Any]
    place: tuple[Path, int] | None

    def read(self, part: Part) -> np.ndarray:
        """A copy of a part."""


class Sliced:
    """Of an object with a shape, a dtype and slices."""

    place: tuple[Path, int] | None = None

    def __init__(self, array: Any, identity: dict[str, Any] | None = None):
        self.array, self.shape, self.dtype = array, tuple(map(int, array.shape)), np.dtype(array.dtype)
        self.identity = {**(identity or {}), "shape": list(self.shape), "dtype": self.dtype.str}
        if identity is None:  # nothing but the pixels tells: some rows of them
            rows = sorted({0, self.shape[0] // 2, self.shape[0] - 1})
            rest = tuple(slice(0, size) for size in self.shape[1:])
            some = [np.ascontiguousarray(array[(slice(row, row + 1), *rest)]) for row in rows if 0 not in self.shape]
            self.identity["pixels"] = [zlib.crc32(each.tobytes()) for each in some]

    def read(self, part: Part) -> np.ndarray:
        found = np.array(self.array[part], order="C")
        mapped = getattr(self.array, "_mmap", None)
        if mapped is not None and self.array.mode != "c" and hasattr(mapped, "madvise"):
            mapped.madvise(mmap.MADV_DONTNEED)  # the pages that were touched
        if found.shape != tuple(each.stop - each.start for each in part):
            raise ValueError(f"source must give the parts it is asked for; for {part} it gave {found.shape}")
        return found


class InFile:
    """Of an array that lies in a file, in C order, from a byte on."""

    def __init__(self, path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]):
        self.shape, self.dtype = shape, dtype
        self.place: tuple[Path, int] | None = (path, offset)
        self._path, self._offset = path, offset
        state = path.stat()
        self.identity = {
            "path": os.path.realpath(path), "size": state.st_size, "changed": state.st_mtime_ns, "first": offset,
            "shape": list(shape), "dtype": dtype.str,
        }  # fmt: skip
        self._file = path.open("rb", buffering=0)
        self._turn = threading.Lock()

    def close(self) -> None:
        self._file.close()

    def read(self, part: Part) -> np.ndarray:
        found = np.empty([each.stop - each.start for each in part], self.dtype)
        with self._turn:
            for index, offset in runs(part, self.shape, self.dtype.itemsize):
                self._file.seek(self._offset + offset)
                self._fill(memoryview(found[index]).cast("B"))
        return found

    def _fill(self, memory: memoryview) -> None:
        while memory:
            count = self._file.readinto(memory)
            if not count:
                raise ValueError(f"source is shorter than its header says: {self._path}")
            memory = memory[count:]


def runs(part: Part, shape: tuple[int, ...], itemsize: int) -> Iterator[tuple[Any, int]]:
    """What of a part lies together in C order: its index in the part, and its first byte in the whole."""
    last = len(shape) - 1
    while last and (part[last].start, part[last].stop) == (0, shape[last]):
        last -= 1
    strides = [itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    first = sum(each.start * stride for each, stride in zip(part, strides, strict=True))
    for index in np.ndindex(*[each.stop - each.start for each in part[:last]]):
        yield index, first + sum(at * stride for at, stride in zip(index, strides, strict=False))


def place_of(array: Any) -> tuple[Path, int] | None:
    """File and first byte of a mapped array that is in C order and is what the file holds; else None."""
    if not isinstance(array, np.memmap) or array.filename is None or not isinstance(array.filename, (str, os.PathLike)):
        return None
    if not array.flags.c_contiguous or array.mode == "c" or array.size == 0:
        return None
    mapped = array._mmap  # type: ignore[attr-defined]
    if mapped is None:
        return None
    begin = np.frombuffer(mapped, np.uint8).__array_interface__["data"][0]
    start: int = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
    return Path(array.filename), start + array.__array_interface__["data"][0] - begin


def of_array(array: Any, name: str = "source", path: Path | None = None) -> Readable:
    """A reader of an array, mapped or in memory, or of anything that has a shape, a dtype and slices.

    `path` is the file that it reads, if that is known.
    """
    if checks.on_gpu(array):
        raise TypeError(f"{name} is in a GPU's memory; deblur it with solve(..., device='cuda')")
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} must not be a masked array: fill its masked pixels, and pass weights that are 0 there")
    if not all(hasattr(array, each) for each in ("shape", "dtype", "__getitem__")):
        array = np.asarray(array)
    checks.real_kind(name, array)
    place = place_of(array)
    if place is not None and place[0].is_file():
        if isinstance(array, np.memmap) and array.mode != "r":
            array.flush()
        return InFile(place[0], place[1], tuple(array.shape), array.dtype)
    return Sliced(array, None if path is None else of_file(path))


def of_file(path: Path) -> dict[str, Any]:
    """What tells a file from others."""
    return {"path": os.path.realpath(path), "changed": path.stat().st_mtime_ns}


@contextmanager
def opened(value: Any, name: str = "source") -> Iterator[Readable]:
    """A reader of a caller's array, or of an image file: .npy, .zarr or TIFF."""
    with ExitStack() as stack:
        found = _of_path(Path(value), stack, name) if isinstance(value, (str, os.PathLike)) else of_array(value, name)
        if isinstance(found, InFile):
            stack.callback(found.close)
        yield found


def _of_path(path: Path, stack: ExitStack, name: str) -> Readable:
    """A reader of a file."""
    with files.explained(path):
        format = files.format_of(path)
        if format == "NPY":
            array = np.lib.format.open_memmap(path, "r")
        elif format == "Zarr":
            array = zarrs.in_parts(path)
        elif format == "TIFF":
            array = stack.enter_context(files.opened(path)).array
            if array is None:
                raise ValueError(
                    "it must be one gray or RGB image, with its channels last, black as 0, its first row on top and a "
                    "compression that Python knows, to be read in parts"
                )
        else:
            raise ValueError(f"{format} is read whole: read it, and pass the array")
    try:
        checks.real_kind(name, array)
    except TypeError as error:
        raise TypeError(f"{path}: {error}") from None
    return of_array(array, name, path)
