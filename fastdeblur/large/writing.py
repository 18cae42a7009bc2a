"""What large images are written to, a tile whole or not at all.

A file takes the place of what was there when its last tile is written; until then it, and the journal of what
has been done, lie beside it under names of their own, and wait there for the next run if this one ends early.
"""

from __future__ import annotations

import math
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .. import files, whole, zarrs
from .reading import Part, Readable, place_of, runs

# Largest side of a chunk in a new Zarr array.
CHUNK = 1024


class Writable(Protocol):
    """Parts of an array to write to.

    Attributes
    ----------
    journal : Path or None
        Where to note what has been done; None where nothing would be left of it.
    """

    journal: Path | None

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

    def __init__(self, array: Any, journal: Path | None = None):
        self.array, self.journal = array, journal

    def write(self, part: Part, pixels: np.ndarray) -> None:
        self.array[part] = pixels

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

    def __init__(self, path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], journal: Path | None):
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
            self._file.readinto(memoryview(pixels[index]).cast("B"))
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

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], axis: int | None):
        self._target = Path(os.path.realpath(path))
        partial = beside(self._target, "partial")
        self._format = files.format_of(path)
        journal = beside(self._target, "journal")
        if journal.exists() and partial.exists():  # a run that ended early has left them
            offset = _data_of(partial, self._format)
        else:
            try:
                partial.unlink(missing_ok=True)
                offset = _empty(partial, self._format, shape, dtype, axis)
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

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], chunks: tuple[int, ...]):
        self._target = Path(os.path.realpath(path))
        self._partial, journal = beside(self._target, "partial"), beside(self._target, "journal")
        how: dict[str, Any] = {"mode": "r+"}
        if not (journal.exists() and self._partial.exists()):
            shutil.rmtree(self._partial, ignore_errors=True)
            how = {"mode": "w", "shape": shape, "chunks": chunks, "dtype": dtype}
        super().__init__(zarrs.require().open_array(str(self._partial), **how), journal)

    def abandon(self) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)

    def finish(self) -> Any:
        with whole.whole_folder(self._target) as temporary:
            os.replace(self._partial, temporary)
        return zarrs.require().open_array(str(self._target), mode="r")


def beside(target: Path, what: str) -> Path:
    """The name of what lies beside an output while it is written."""
    return target.with_name(f".{target.name}.{what}")


def _empty(path: Path, format: str, shape: tuple[int, ...], dtype: np.dtype[Any], axis: int | None) -> int:
    """Make a file that has room for all pixels; returns the first one's place."""
    if format == "NPY":
        with path.open("xb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            offset = file.tell()
    else:
        offset = _empty_tiff(path, shape, dtype, axis)
    size = offset + math.prod(shape) * dtype.itemsize
    with path.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # a disk that is too small says so now
        else:
            file.truncate(size)
    return offset


def _empty_tiff(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], axis: int | None) -> int:
    import tifffile

    channels = 1 if axis is None else shape[axis]
    if axis is not None and axis != len(shape) - 1:
        raise ValueError(f"out must have its channels last to be a TIFF; channel_axis is {axis} of {shape}")
    offset, _ = tifffile.imwrite(  # type: ignore[misc]
        path, shape=shape, dtype=dtype, returnoffset=True, metadata=None,
        bigtiff=math.prod(shape) * dtype.itemsize > 2**32 - 2**25,
        photometric="rgb" if channels in (3, 4) else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels == 4 else None,
    )  # fmt: skip
    return int(offset)


def _data_of(path: Path, format: str) -> int:
    """Where the pixels of a file that `_empty` made begin."""
    if format == "NPY":
        return int(np.lib.format.open_memmap(path, "r").offset)
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        return int(tiff.pages.first.dataoffsets[0])


@contextmanager
def opened(
    out: Any,
    source: Readable,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    tile: tuple[int, int],
    axis: int | None,
    room: np.ndarray | None = None,
) -> Iterator[Writable]:
    """What `out` means: None, an array, or a path; it must have room for the result, and not be the source.

    None is a new array, or `room`.
    """
    if isinstance(out, (str, os.PathLike)):
        path = Path(out)
        _check_path(path, source)
        with files.write_errors(path):
            if files.format_of(path) == "Zarr":
                new: Any = IntoNewZarr(path, shape, dtype, _chunks(shape, tile, axis))
            else:
                new = IntoNewFile(path, shape, dtype, axis)
        try:
            yield new
        finally:
            new.close()
        return
    if out is None:
        yield IntoArray(np.empty(shape, dtype) if room is None else room)
        return
    _check_array(out, shape, dtype)
    place = place_of(out)
    _check_apart(out, place, source)
    if place is None or out.mode not in ("r+", "w+"):
        yield IntoArray(out, _journal_of(out))
        return
    out.flush()
    target = IntoMap(place[0], place[1], shape, out.dtype, beside(Path(os.path.realpath(place[0])), "journal"))
    target.map = out
    try:
        yield target
    finally:
        target.close()


def _check_array(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if not all(hasattr(out, name) for name in ("shape", "dtype", "__setitem__")):
        raise TypeError(f"out must be None, a path, or an array that takes parts; got {type(out).__name__}")
    if tuple(out.shape) != shape:
        raise ValueError(f"out must have the source's shape {shape}; its shape is {tuple(out.shape)}")
    if np.dtype(out.dtype) not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"out must be float32 or float64 ({dtype} is what is computed); its dtype is {out.dtype}")
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise ValueError("out must not be read-only")


def _check_path(path: Path, source: Readable) -> None:
    files.check_place(path)
    if files.format_of(path) not in ("NPY", "TIFF", "Zarr"):
        raise ValueError(f"cannot write {path}: it must be .npy, .zarr or TIFF, which are written in parts")
    known = source.identity.get("path")
    if known is not None and path.exists() and os.path.samefile(known, path):
        raise ValueError(f"out must not be the source; both are {path}")


def _check_apart(out: Any, place: tuple[Path, int] | None, source: Readable) -> None:
    array = getattr(source, "array", None)
    same = isinstance(out, np.ndarray) and isinstance(array, np.ndarray) and np.may_share_memory(out, array)
    if place is not None and source.place is not None:
        same = same or os.path.samefile(place[0], source.place[0])
    if same or (array is not None and array is out):
        raise ValueError("out must not be the source: tiles need what lies around them as it was")


def _journal_of(out: Any) -> Path | None:
    """Beside a Zarr array that lies in a folder."""
    root = getattr(getattr(out, "store", None), "root", None)
    if root is None or not hasattr(out, "path"):
        return None
    return beside(Path(root) / str(out.path), "journal")


def _chunks(shape: tuple[int, ...], tile: tuple[int, int], axis: int | None) -> tuple[int, ...]:
    """Chunks of which each is in one tile only, as far as that can be."""
    sides = []
    for step in tile:
        parts = -(-step // CHUNK)
        parts = next((count for count in range(parts, 4 * parts + 1) if step % count == 0), 1)
        sides.append(step // parts)
    if axis is not None:
        sides.insert(axis % 3, shape[axis])
    return tuple(min(side, size) for side, size in zip(sides, shape, strict=True))
