"""Images in .npy files, memory-mapped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from .axes import Axes
from .metadata import Pages
from .source import Source, check_unnamed, of_array, of_axes

# NumPy's own limit to what it parses as Python.
LONGEST_HEADER = 10_000


@contextmanager
def opened(path: Path, stack: bool, axes: Axes | None = None) -> Iterator[Source]:
    """The image, or stack, of a file."""
    array = mapped(path)
    if axes is not None:
        yield of_axes(array, axes, "NPY")
        return
    check_unnamed(array.shape, stack)
    yield of_array(array, stack)


def mapped(path: Path) -> np.ndarray:
    """The array of a file; its header is compared with the file's size before anything is allocated."""
    with path.open("rb") as file:
        shape, fortran, dtype = _header(file)
        offset = file.tell()
        present = file.seek(0, 2) - offset
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read (allow_pickle=False)")
    if any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"it is damaged: its shape is {shape}")
    needed = math.prod(shape) * dtype.itemsize
    if needed > present:
        raise ValueError(f"it is truncated, or damaged: its header speaks of {needed} bytes, {present} are there")
    if needed == 0:  # what cannot be mapped
        return np.empty([min(size, 1) for size in shape], dtype) if math.prod(shape) else np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"its version is {version}")
    start = file.tell()
    length = int.from_bytes(file.read(2 if version == (1, 0) else 4), "little")
    if length > LONGEST_HEADER:
        raise ValueError(f"its header has {length} bytes; more than {LONGEST_HEADER} are not read")
    file.seek(start)
    # Version 3.0 differs from 2.0 in the encoding of fields' names, and what has fields is no image.
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    header: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(file)
    return header


def write_header(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Write what comes before the pixels."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


@contextmanager
def saving(file: IO[bytes], planned: Pages) -> Iterator[Callable[[np.ndarray], None]]:
    """Write an array to a file, page after page."""
    write_header(file, (*planned.lead, *planned.shape), planned.dtype)

    def put(page: np.ndarray) -> None:
        file.write(page.data)

    yield put
