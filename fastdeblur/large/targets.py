"""What the `out` of a large image may be: nothing, an array or a path, and not what is read."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..io import files, zarr_reading
from ..io.metadata import Metadata
from ..kernels.runtime.arrays import on_gpu
from .readers import Readable, place_of
from .writers import Identity, IntoArray, IntoMap, IntoNewFile, IntoNewZarr, Writable, journal_of

# Largest side of a chunk in a new Zarr array.
CHUNK = 1024


def check(
    out: Any, sources: Sequence[Readable], shape: tuple[int, ...], dtype: np.dtype[Any], axis: int | None
) -> None:
    """Refuse an `out` that has no room for the result, or is one of the sources, before anything is read."""
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
) -> Writable:
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
    return Named(IntoMap(out, file, first, shape, out.dtype, journal), path)


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
    if isinstance(out, np.ma.MaskedArray):
        raise TypeError("out must not be a masked array")
    if tuple(out.shape) != shape:
        raise ValueError(f"out must have the source's shape {shape}; its shape is {tuple(out.shape)}")
    if np.dtype(out.dtype) not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"out must be float32 or float64 ({dtype} is what is computed); its dtype is {out.dtype}")
    if (isinstance(out, np.ndarray) and not out.flags.writeable) or getattr(out, "read_only", False) is True:
        raise ValueError("out must not be read-only")


def _check_path(path: Path, sources: Sequence[Readable], shape: tuple[int, ...], axis: int | None) -> None:
    if files.FORMATS.get(files.suffix_of(path)) not in ("NPY", "TIFF", "Zarr", "FITS"):
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
    found = [] if source.place is None else [source.place[0]]
    for each in (getattr(source, "path", None), zarr_reading.folder_of(getattr(source, "array", None))):
        found += [] if each is None else [each]
    return [each for each in found if each.exists()]


def _check_apart(out: Any, place: tuple[Path, int] | None, source: Readable) -> None:
    array = getattr(source, "array", None)
    same = array is not None and array is out
    if isinstance(out, np.ndarray) and isinstance(array, np.ndarray):
        try:
            same = np.shares_memory(out, array, max_work=10**5)  # type: ignore[arg-type]
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
    sides = []
    for step in tile:
        parts = -(-step // CHUNK)
        parts = next((count for count in range(parts, 4 * parts + 1) if step % count == 0), 1)
        sides.append(step // parts)
    if axis is not None:
        sides.insert(axis % 3, shape[axis])
    return tuple(min(side, size) for side, size in zip(sides, shape, strict=True))
