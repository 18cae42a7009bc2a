"""What large images are written to, a tile whole or not at all.

A file takes the place of what was there when its last tile is written; until then it, and the journal of what
has been done, lie beside it under names of their own, and wait there for the next run if this one ends early.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .. import files, npys, tiffs, zarrs
from ..whole import put_in_place
from .journal import Journal
from .reading import Part, fill, give_back, runs

# What tells a job from others, in what JSON has; found when it is asked for.
Identity = Callable[[], dict[str, Any]]


class Writable(Protocol):
    """Parts of an array to write to.

    Attributes
    ----------
    journal : Journal or None
        Where to note what has been done; None where nothing would be left of it.
    """

    journal: Journal | None

    def write(self, part: Part, pixels: np.ndarray) -> None:
        """Write a part."""

    def sum(self, part: Part) -> int:
        """The checksum of what is there."""

    def flush(self) -> None:
        """Let what was written survive this process, and the machine where it can."""

    def finish(self) -> Any:
        """Put everything in its place; returns the whole, to be read."""

    def close(self) -> None:
        """Leave what there is."""

    def abandon(self) -> None:
        """Remove what is worth nothing yet."""


def checksum(pixels: np.ndarray) -> int:
    """Of pixels in C order."""
    return zlib.crc32(np.ascontiguousarray(pixels).data)


class IntoArray:
    """Into an array in memory, or anything that takes parts."""

    def __init__(self, array: Any, journal: Journal | None = None):
        self.array, self.journal = array, journal

    def write(self, part: Part, pixels: np.ndarray) -> None:
        self.array[part] = pixels
        give_back(self.array)

    def sum(self, part: Part) -> int:
        return checksum(np.asarray(self.array[part]))

    def flush(self) -> None:
        """Nothing is kept back."""

    def finish(self) -> Any:
        return self.array

    def close(self) -> None:
        """Nothing is open."""

    def abandon(self) -> None:
        """What was there is the caller's."""


class IntoFile:
    """Into an array that lies in a file, in C order, from a byte on."""

    def __init__(self, path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], journal: Journal | None):
        self.path, self.shape, self.dtype, self.journal = path, shape, dtype, journal
        self._offset, self._file = offset, path.open("r+b", buffering=0)

    def write(self, part: Part, pixels: np.ndarray) -> None:
        pixels = np.ascontiguousarray(pixels, self.dtype)
        for index, offset in runs(part, self.shape, self.dtype.itemsize):
            self._file.seek(self._offset + offset)
            memory = memoryview(pixels[index]).cast("B")
            while memory:
                memory = memory[self._file.write(memory) :]

    def sum(self, part: Part) -> int:
        pixels = np.zeros([each.stop - each.start for each in part], self.dtype)
        for index, offset in runs(part, self.shape, self.dtype.itemsize):
            self._file.seek(self._offset + offset)
            fill(self._file, pixels[index])
        return checksum(pixels)

    def flush(self) -> None:
        os.fsync(self._file.fileno())

    def finish(self) -> Any:
        self.flush()
        self.close()
        return None

    def close(self) -> None:
        self._file.close()

    def abandon(self) -> None:
        """What was there is the caller's."""


class IntoMap(IntoFile):
    """Into the file of a caller's `map`."""

    map: np.memmap

    def finish(self) -> np.memmap:
        super().finish()
        return self.map


class IntoNewFile(IntoFile):
    """Into a .npy or TIFF that takes the place of another at the end."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], axis: int | None, identity: Identity):
        self._target, format = Path(os.path.realpath(path)), files.format_of(path)
        partial = beside(self._target, "partial")
        journal = journal_of(self._target, identity, partial)
        # A run that ended early has left both.
        offset = _data_of(partial, format, shape, dtype) if journal.tiles else None
        if offset is None:
            try:
                partial.unlink(missing_ok=True)
                offset = _empty(partial, format, shape, dtype, axis)
            except BaseException:
                with suppress(OSError):
                    partial.unlink(missing_ok=True)
                raise
        super().__init__(partial, offset, shape, dtype, journal)

    def abandon(self) -> None:
        super().close()
        self.path.unlink(missing_ok=True)

    def finish(self) -> np.ndarray:
        super().finish()
        if self._target.exists():
            shutil.copymode(self._target, self.path)
        os.replace(self.path, self._target)
        return np.memmap(self._target, self.dtype, "r", self._offset, self.shape)


class IntoNewZarr(IntoArray):
    """Into a Zarr array that takes the place of another at the end."""

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], chunks: tuple[int, ...], identity: Identity
    ):
        self._target = Path(os.path.realpath(path))
        self._partial = beside(self._target, "partial")
        journal, array = journal_of(self._target, identity, self._partial), None
        if journal.tiles:
            with suppress(Exception):  # it is damaged
                array = zarrs.require().open_array(str(self._partial), mode="r+")
        if array is None or (array.shape, array.dtype, array.chunks) != (shape, dtype, chunks):
            shutil.rmtree(self._partial, ignore_errors=True)
            array = zarrs.require().open_array(str(self._partial), mode="w", shape=shape, chunks=chunks, dtype=dtype)
        super().__init__(array, journal)

    def abandon(self) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)

    def finish(self) -> Any:
        put_in_place(self._partial, self._target)
        return zarrs.require().open_array(str(self._target), mode="r")


def journal_of(target: Path, identity: Identity, partial: Path | None = None) -> Journal:
    """The journal beside a target, which is worth nothing without what it speaks of."""
    path = beside(target, "journal")
    if partial is not None and not partial.exists():
        path.unlink(missing_ok=True)
    return Journal(path, identity())


def beside(target: Path, what: str) -> Path:
    """The name of what lies beside an output while it is written."""
    return target.with_name(f".{target.name}.{what}")


def _empty(path: Path, format: str, shape: tuple[int, ...], dtype: np.dtype[Any], axis: int | None) -> int:
    """Make a file that has room for all pixels; returns the first one's place."""
    if format == "NPY":
        with path.open("xb") as file:
            npys.write_header(file, shape, dtype)
            offset = file.tell()
    else:
        offset = _empty_tiff(path, shape, dtype, axis)
    size = offset + math.prod(shape) * dtype.itemsize
    with path.open("r+b") as file:
        file.truncate(size)
        if hasattr(os, "posix_fallocate"):  # a disk that is too small says so now
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):  # what no file system knows
                    raise
    return offset


def _empty_tiff(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], axis: int | None) -> int:
    import tifffile

    channels = 1 if axis is None else shape[axis]
    shape = shape if channels > 1 else shape[:2]
    offset, _ = tifffile.imwrite(  # type: ignore[misc]
        path, shape=shape, dtype=dtype, returnoffset=True, **tiffs.meaning(channels),
        bigtiff=math.prod(shape) * dtype.itemsize > tiffs.CLASSIC_MOST,
    )  # fmt: skip
    return int(offset)


def _data_of(path: Path, format: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int | None:
    """Where the pixels begin of a file that `_empty` made for the same; None if it is no such file."""
    try:
        if format == "NPY":
            array = npys.mapped(path)
            assert isinstance(array, np.memmap)
            found, kind, offset = array.shape, array.dtype, int(array.offset)
        else:
            import tifffile

            with tifffile.TiffFile(path) as tiff:
                page: Any = tiff.pages.first
                found, kind, offset = tuple(page.shape), np.dtype(page.dtype), int(page.dataoffsets[0])
            shape = shape if shape[2:] != (1,) else shape[:2]
    except Exception:  # noqa: BLE001 (it was killed before there was a file)
        return None
    there = path.stat().st_size == offset + math.prod(shape) * dtype.itemsize
    return offset if there and (found, kind) == (shape, dtype) else None
