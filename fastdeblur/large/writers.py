"""Writers of large images: arrays, files and Zarr, a tile whole or not at all; and checks of `out`.

A file takes the place of what was there when its last tile is written; until then it, and the journal of what
has been done, lie beside it under names of their own, and wait there for the next run if this one ends early.
"""

from __future__ import annotations

import errno
import functools
import math
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from .. import validation
from ..io import files, fits, locks, npy, tiff_writing, zarr_reading, zarr_writing
from ..io.atomic import beside, put_in_place, recover, remove
from ..io.axes import Axes
from ..io.chunks import give_back
from ..io.metadata import Metadata
from ..kernels.runtime.arrays import on_gpu
from .journal import Journal
from .readers import Part, Readable, origins, part_of_file, place_of, put_part

# Largest side of a chunk in a new Zarr array.
CHUNK = 1024
# What tells a job from others, as JSON; computed when it is needed.
Identity = Callable[[], dict[str, Any]]


class Writable:
    """Parts of an array to write to: the base of all targets; without more it has nothing open and nothing to remove.

    Attributes
    ----------
    journal : Journal or None
        Where to note what has been done; None where nothing would be left of it.
    """

    journal: Any = None

    def write(self, part: Part, pixels: np.ndarray) -> None:
        """Write a part."""
        raise NotImplementedError

    def sum(self, part: Part) -> int:
        """The checksum of what is there."""
        raise NotImplementedError

    def flush(self) -> None:
        """Let what was written survive this process, and the machine where it can."""

    def check(self, sums: Iterable[tuple[Part, int]]) -> None:
        """Raise an OSError unless all parts have these checksums, and lie where they were written to."""
        if any(checksum_of(self, part) != expected for part, expected in sums):
            raise _changed()

    def finish(self) -> Any:
        """Put everything in its place; returns the whole, to be read."""

    def close(self) -> None:
        """Leave what there is."""

    def abandon(self) -> None:
        """Remove what is worth nothing yet; what was there before is the caller's."""


def checksum(pixels: np.ndarray, before: int = 0) -> int:
    """Of pixels in C order, after others'."""
    return zlib.crc32(np.ascontiguousarray(pixels).data, before)


def checksum_of(target: Writable, part: Part) -> int | None:
    """The checksum of what a target has; None if that cannot be read."""
    with suppress(Exception):  # chunks of a Zarr array may be damaged in any way
        return target.sum(part)
    return None


def _changed() -> OSError:
    return OSError("something else has changed or removed what was written: repeat the call, which does that again")


class IntoArray(Writable):
    """Into an array in memory, or anything that takes parts."""

    def __init__(self, array: Any, journal: Journal | None = None):
        self.array, self.journal = array, journal

    def write(self, part: Part, pixels: np.ndarray) -> None:
        self.array[part] = pixels
        give_back(self.array)

    def sum(self, part: Part) -> int:
        return checksum(np.asarray(self.array[part]))

    def finish(self) -> Any:
        return self.array


class IntoFile(Writable):
    """Into an array that lies in a file, in C order, from a byte on; it may be the file of a caller's map."""

    def __init__(
        self,
        file: IO[bytes],
        offset: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        journal: Journal | None,
        mapped: np.memmap | None = None,
    ):
        self.shape, self.dtype, self.journal = shape, dtype, journal
        self._offset, self._file, self._mapped = offset, file, mapped

    def write(self, part: Part, pixels: np.ndarray) -> None:
        put_part(self._file, self._offset, part, self.shape, self.dtype, pixels)

    def sum(self, part: Part) -> int:
        pixels, missing = part_of_file(self._file, self._offset, part, self.shape, self.dtype)
        if missing:
            raise _changed()
        return checksum(pixels)

    def flush(self) -> None:
        os.fsync(self._file.fileno())

    def finish(self) -> Any:
        self.flush()
        self.close()
        return self._mapped

    def close(self) -> None:
        self._file.close()


class IntoNewFile(IntoFile):
    """Into a .npy, TIFF or FITS file that takes the place of another at the end; with `pages` one of any format.

    With `metadata` a TIFF is written as `tiff_writing` does, and a FITS file always as `fits` does, when all its pixels
    are there.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        axis: int | None,
        journal: Journal,
        alpha: bool = False,
        metadata: Metadata | None = None,
        pages: int | None = None,
    ):
        self._path, self._target, self._format = path, Path(os.path.realpath(path)), files.format_of(path)
        self._alpha, self._metadata, self._pages, axes = alpha, metadata, pages, None
        self._own = metadata is None or not metadata.format  # nothing was read that is to be written again
        if metadata is not None and self._own and self._format != "FITS":
            axes = metadata.axes
        self._encoded = pages is not None or self._format == "FITS" or (self._format == "TIFF" and not self._own)
        if self._encoded:  # tiles cannot be compressed where they will lie: pixels wait as they are
            self._format = "NPY"
        self._partial = beside(self._target, "partial")
        # A run that ended early has left both.
        file = _unfinished(self._partial) if journal.tiles else None
        offset = None if file is None else _data_of(self._partial, self._format, shape, dtype)
        if file is None or offset is None:
            if file is not None:
                file.close()
            journal.clear()
            remove(self._partial)
            file, offset = _empty(self._partial, self._format, shape, dtype, axis, alpha, axes)
        super().__init__(file, offset, shape, dtype, journal)

    def abandon(self) -> None:
        self.close()
        remove(self._partial)

    def check(self, sums: Iterable[tuple[Part, int]]) -> None:
        self.flush()
        own = self._partial.exists() and os.path.samestat(os.fstat(self._file.fileno()), self._partial.lstat())
        if not own or _data_of(self._partial, self._format, self.shape, self.dtype) != self._offset:
            raise _changed()
        super().check(sums)

    def finish(self) -> Any:
        super().finish()
        files.check_place(self._path)
        if self._encoded:
            stored = np.memmap(self._partial, self.dtype, "r", self._offset, self.shape)
            told: dict[str, Any] = {"metadata": self._metadata, "alpha": self._alpha, "held": True}
            if self._pages is not None:  # which several axes may count
                lead = len(self._metadata.axes.pages) if self._own and self._metadata and self._metadata.axes else 1
                stored = stored.reshape(-1, *self.shape[lead:])  # type: ignore[assignment]
            first = stored if self._pages is None else stored[0]
            with files.saving(self._path, first, self._pages, **told) as put:
                for page in [stored] if self._pages is None else stored:
                    put(page)
            remove(self._partial)
            return fits.mapped(self._target) if self._own else None
        if self._target.exists():
            shutil.copymode(self._target, self._partial)
        os.replace(self._partial, self._target)
        return np.memmap(self._target, self.dtype, "r", self._offset, self.shape)


class IntoNewZarr(IntoArray):
    """Into a Zarr array that takes the place of another at the end."""

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        chunks: tuple[int, ...],
        journal: Journal,
        metadata: Metadata | None = None,
    ):
        self._path, self._target, self._metadata = path, Path(os.path.realpath(path)), metadata
        self._partial = beside(self._target, "partial")
        self._kind = shape, dtype, zarr_writing.chunks_of(metadata, shape, chunks, dtype)
        array = self._there("r+") if journal.tiles else None
        if array is not None:
            inner = zarr_writing.group_of(metadata)
            zarr_reading.remove_strays(self._partial / (inner.path if inner else ""), getattr(array, "array", array))
        else:
            journal.clear()
            remove(self._partial)
            self._partial.mkdir()
            try:
                array = zarr_writing.create(zarr_reading.require(), self._partial, shape, chunks, dtype, metadata)
            except BaseException:
                self.abandon()
                raise
        super().__init__(array, journal)

    def write(self, part: Part, pixels: np.ndarray) -> None:
        try:
            super().write(part, pixels)
        except RuntimeError as error:  # of a codec: a chunk of which this is a part has been damaged
            raise _changed() from error

    def _there(self, mode: str) -> Any:
        """The array that is on the disk; None if it is damaged, or another."""
        with suppress(Exception):
            array = zarr_writing.there(zarr_reading.require(), self._partial, mode, self._metadata)
            kind = array.shape, array.dtype.newbyteorder("="), array.chunks
            if not self._partial.is_symlink() and kind == self._kind:
                return array
        return None

    def abandon(self) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)

    def check(self, sums: Iterable[tuple[Part, int]]) -> None:
        array = self._there("r")
        if array is None:
            raise _changed()
        IntoArray(array).check(sums)

    def finish(self) -> Any:
        files.check_place(self._path)
        put_in_place(self._partial, self._target)
        return zarr_writing.there(zarr_reading.require(), self._target, "r", self._metadata)


@contextmanager
def journal_of(target: Path, identity: Identity, partial: bool = False) -> Iterator[Journal]:
    """The journal beside a target, and with it the sole right to write there.

    One that speaks of something `partial` is worth nothing without that.
    """
    with Journal(beside(target, "journal")) as journal:
        if partial:
            recover(target)
            if not os.path.lexists(beside(target, "partial")):
                journal.clear()
        journal.claim(identity())
        yield journal


def _unfinished(path: Path) -> IO[bytes] | None:
    """A file that an earlier run has left; None if there is none, or something else."""
    try:
        number = os.open(path, locks.FLAGS & ~os.O_CREAT)
    except OSError:
        return None
    if locks.own_file(number):
        return os.fdopen(number, "r+b", buffering=0)
    os.close(number)
    return None


def _empty(
    path: Path,
    format: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    axis: int | None,
    alpha: bool,
    axes: Axes | None = None,
) -> tuple[IO[bytes], int]:
    """Make a file that has room for all pixels; returns it, open, and the first pixel's place."""
    file: Any = path.open("x+b", buffering=0)
    try:
        if format == "NPY":
            npy.write_header(file, shape, dtype)
            offset = file.tell()
        else:
            offset = _empty_tiff(file, shape, dtype, axis, alpha, axes)
        size = max(offset + math.prod(shape) * dtype.itemsize, file.seek(0, 2))  # headers of pages may come after it
        file.truncate(size)
        if hasattr(os, "posix_fallocate"):  # a disk that is too small says so now
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):  # what no file system knows
                    raise
    except BaseException:
        file.close()
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise
    return file, offset


def _empty_tiff(
    file: IO[bytes],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    axis: int | None,
    alpha: bool,
    axes: Axes | None,
) -> int:
    import tifffile

    channels = 1 if axis is None else shape[axis]
    shape = shape if axis is None or channels > 1 else shape[:-1]
    meaning = tiff_writing.meaning(channels, alpha)
    if axes is not None:
        meaning["metadata"] = {"axes": f"{axes.pages}YX{'S' * (channels > 1)}"}
    offset, _ = tifffile.imwrite(  # type: ignore[misc]
        file, shape=shape, dtype=dtype, returnoffset=True, **meaning,
        bigtiff=math.prod(shape) * dtype.itemsize > tiff_writing.CLASSIC_MOST,
    )  # fmt: skip
    return int(offset)


def _data_of(path: Path, format: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int | None:
    """Where the pixels begin of a file that `_empty` made for the same; None if it is no such file."""
    try:
        if format == "NPY":
            array = npy.mapped(path)
            assert isinstance(array, np.memmap)
            pages, stored, kind, offset = 1, array.shape, array.dtype, int(array.offset)
        else:
            import tifffile

            with tifffile.TiffFile(path) as tiff:
                page: Any = tiff.pages.first
                pages, stored, offset = len(tiff.pages), tuple(page.shape), int(page.dataoffsets[0])
                kind = np.dtype(page.dtype)
    except Exception:  # noqa: BLE001 (it was killed before there was a file)
        return None
    size, end = path.stat().st_size, offset + math.prod(shape) * dtype.itemsize
    there = size == end or (pages > 1 and size > end)  # headers of pages follow the last
    fitting = [each[len(each) - len(stored) :] for each in (shape, shape[:-1] if shape[-1] == 1 else shape)]
    same = stored in fitting and pages * math.prod(stored) == math.prod(shape) and kind == dtype
    return offset if there and same else None


def check(
    out: Any, sources: Sequence[Readable], shape: tuple[int, ...], dtype: np.dtype[Any], axis: int | None
) -> None:
    """Refuse an `out` that has no room for the result, or is one of the sources, before anything is read."""
    sources = [each for source in sources for each in origins(source)]
    if isinstance(out, (str, os.PathLike)):
        _check_path(Path(out), sources, shape, axis)
    elif out is not None:
        _check_array(out, shape, dtype)
        for source in sources:
            _check_apart(out, place_of(out), source)


def folder_of(out: Any) -> Path | None:
    """Where what is needed for a while may lie; None if `out` is in no folder."""
    if isinstance(out, (str, os.PathLike)):
        return Path(os.path.realpath(out)).parent
    place = None if out is None else place_of(out)
    return None if place is None else place[0].resolve().parent


@contextmanager
def opened(
    out: Any,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    axis: int | None,
    tile: tuple[int, int],
    identity: Identity,
    room: np.ndarray | None = None,
    alpha: bool = False,
    metadata: Metadata | None = None,
    pages: int | None = None,
) -> Iterator[Writable]:
    """What an `out` that has been checked means: None is a new array, or `room`.

    `identity` tells what is to be done from other jobs.  The last channel may be `alpha`.
    `metadata` is for TIFFs.  The first axis of `shape` may count `pages`.
    """
    if out is None:
        yield IntoArray(np.empty(shape, dtype) if room is None else room)
        return
    with ExitStack() as stack:
        target = _with_journal(out, shape, dtype, axis, tile, identity, stack, alpha, metadata, pages)
        journal = target.journal
        try:
            yield target
        except BaseException:
            if journal is not None and not journal.tiles and journal.held():  # nothing that a next run could use
                target.abandon()
            raise
        if journal is not None:
            journal.remove()


def _with_journal(
    out: Any,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    axis: int | None,
    tile: tuple[int, int],
    identity: Identity,
    stack: ExitStack,
    alpha: bool,
    metadata: Metadata | None,
    pages: int | None,
) -> Any:
    """A target for something on the disk, or whatever takes parts."""
    if isinstance(out, (str, os.PathLike)):
        path = Path(out)
        with files.write_errors(path):
            journal = stack.enter_context(journal_of(Path(os.path.realpath(path)), identity, True))
            if files.format_of(path) == "Zarr" and pages is None:
                new: Any = IntoNewZarr(path, shape, dtype, _chunks(shape, tile, axis), journal, metadata)
            else:
                new = IntoNewFile(path, shape, dtype, axis, journal, alpha, metadata, pages)
        stack.callback(new.close)
        return Named(new, path)
    if isinstance(out, np.memmap):
        out.flush()
    place = place_of(out)
    if place is None:
        folder = zarr_reading.folder_of(out)
        if folder is None:
            return IntoArray(out)
        return IntoArray(out, stack.enter_context(journal_of(Path(os.path.realpath(folder)), identity)))
    path, first = place
    journal = stack.enter_context(journal_of(Path(os.path.realpath(path)), identity))
    file = stack.enter_context(path.open("r+b", buffering=0))
    return Named(IntoFile(file, first, shape, out.dtype, journal, mapped=out), path)


class Named:
    """What names the file in errors of a target's."""

    def __init__(self, target: Any, path: Path):
        self._target, self._path, self.journal = target, path, target.journal

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)

        @functools.wraps(method)
        def named(*arguments: Any) -> Any:
            with files.write_errors(self._path):
                return method(*arguments)

        return named


def _check_array(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if not all(hasattr(out, name) for name in ("shape", "dtype", "__setitem__")):
        raise TypeError(f"out must be None, a path, or an array that takes parts; got {type(out).__name__}")
    if on_gpu(out):
        raise TypeError("out is in a GPU's memory: pass an array of the host's")
    if validation.is_masked(out):
        raise TypeError("out must not be a masked array")
    if unit := validation.unit_of(out):
        raise TypeError(f"out must be plain numbers, without a unit; got one in {unit} (pass its value)")
    if tuple(out.shape) != shape:
        raise ValueError(f"out must have the source's shape {shape}; its shape is {tuple(out.shape)}")
    if np.dtype(out.dtype) not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"out must be float32 or float64 ({dtype} is what is computed); its dtype is {out.dtype}")
    if (isinstance(out, np.ndarray) and not out.flags.writeable) or getattr(out, "read_only", False) is True:
        raise ValueError("out must not be read-only")


def _check_path(path: Path, sources: Sequence[Readable], shape: tuple[int, ...], axis: int | None) -> None:
    if not files.in_tiles(path):
        raise ValueError(f"cannot write {path}: it must be .npy, .zarr, TIFF or FITS, which are written in parts")
    if files.format_of(path) in ("TIFF", "FITS") and axis not in (None, len(shape) - 1):
        raise ValueError(
            f"out must have its channels last to be a {files.format_of(path)}; channel_axis is {axis} of {shape}"
        )
    files.check_place(path)
    for source in sources:
        if path.exists() and any(os.path.samefile(known, path) for known in _files_of(source)):
            raise ValueError(f"out must not be the source, or weights; {path} is read while it would be written")


def _files_of(source: Readable) -> list[Path]:
    """Files and folders that a source reads."""
    paths = [] if source.place is None else [source.place[0]]
    for each in (getattr(source, "path", None), zarr_reading.folder_of(getattr(source, "array", None))):
        paths += [] if each is None else [each]
    return [each for each in paths if each.exists()]


def _check_apart(out: Any, place: tuple[Path, int] | None, source: Readable) -> None:
    array = getattr(source, "array", None)
    same = array is not None and array is out
    if isinstance(out, np.ndarray) and isinstance(array, np.ndarray):
        most_work: Any = 10**5  # (NumPy 2.4's annotations know only -1 and 0.)
        try:
            same = np.shares_memory(out, array, most_work)
        except np.exceptions.TooHardError:
            same = True
    if place is not None and source.place is not None and os.path.samefile(place[0], source.place[0]):
        size = math.prod(source.shape) * source.dtype.itemsize
        same = place[1] < source.place[1] + size and source.place[1] < place[1] + out.nbytes
    elif place is not None or zarr_reading.folder_of(out) is not None:
        own = place[0] if place is not None else zarr_reading.folder_of(out)
        same = same or any(os.path.samefile(known, own) for known in _files_of(source))  # type: ignore[arg-type]
    if same:
        raise ValueError("out must not be the source, or weights: tiles need what lies around them as it was")


def _chunks(shape: tuple[int, ...], tile: tuple[int, int], axis: int | None) -> tuple[int, ...]:
    """Chunks of which each is in one tile only, as far as that can be."""
    sides = [1] * (len(shape) - 2 - (axis is not None))
    for step in tile:
        parts = -(-step // CHUNK)
        parts = next((count for count in range(parts, 4 * parts + 1) if step % count == 0), 1)
        sides.append(step // parts)
    if axis is not None:
        sides.insert(axis % len(shape), shape[axis])
    return tuple(min(side, size) for side, size in zip(sides, shape, strict=True))
