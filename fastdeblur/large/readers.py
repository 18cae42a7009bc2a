"""Readers of large images: files, mapped arrays, and objects with a shape, a dtype and slices.

A mapped file is read as a file: pages of a map that have been touched would count as memory of this process.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import mmap
import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from .. import validation
from ..engines import annotated
from ..io import chunks as chunked
from ..io import files, fits, npy, zarr_reading
from ..io.axes import Axes
from ..io.chunks import give_back, map_of
from ..io.missing import Missing, hidden, mask_of
from ..io.source import Source
from ..kernels.runtime.arrays import on_gpu

# Part of an array: a slice an axis.
Part = tuple[slice, ...]
# Blocks of which the pixels are to tell an array from others, down and across, and their side.
SAMPLES, SAMPLE = 4, 32


class Readable:
    """Parts of an array that may be larger than memory: the base of all readers.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
    place : (path, first byte) or None
        Where it is in a file, if it is written there as it is.
    chunks : tuple of int or None
        The shape of what is decoded at once.
    takes : int
        Bytes that this takes, beside the part.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    place: tuple[Path, int] | None = None
    chunks: tuple[int, ...] | None = None
    takes: int = 0
    _identity: dict[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this array from others, in what JSON has."""
        return self._identity

    def read(self, part: Part) -> np.ndarray:
        """A copy of a part."""
        raise NotImplementedError


class Sliced(Readable):
    """Of an object with a shape, a dtype and slices."""

    def __init__(self, array: Any, name: str, path: Path | None = None):
        self.array, self.shape, self.dtype = array, tuple(map(int, array.shape)), np.dtype(array.dtype)
        self._name, self.path = name, path
        self.chunks = chunked.of(array)
        own = 0 if self.chunks is None else chunked.memory(self.chunks, self.dtype.itemsize)
        self._whole = self.chunks is None or hasattr(array, "takes")  # it reads few chunks at once by itself
        self.takes: int = getattr(array, "takes", own)
        self._lock = threading.Lock()  # files of other packages' have a place where they are

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        identity: dict[str, Any] = {"shape": list(self.shape), "dtype": self.dtype.str}
        identity |= getattr(self.array, "identity", {})
        if self.path is not None:
            identity |= {"path": os.path.realpath(self.path), "changed": self.path.stat().st_mtime_ns}
            if self.path.is_dir():  # which does not change with what is within
                identity["content"] = _content(self.path)
        else:
            identity["pixels"] = self._some()
        return identity

    def _some(self) -> list[int]:
        """Checksums of some pixels, or, in memory, of all."""
        if isinstance(self.array, np.ndarray) and not isinstance(self.array, np.memmap):
            return [functools.reduce(lambda sum, row: zlib.crc32(np.ascontiguousarray(row).data, sum), self.array, 0)]
        places = []
        for down, across in itertools.product(range(SAMPLES), repeat=2):
            shares = [down, *[across] * (len(self.shape) - 1)]
            starts = [(size - 1) * share // (SAMPLES - 1) for size, share in zip(self.shape, shares, strict=True)]
            places.append(tuple(slice(at, min(at + SAMPLE, size)) for at, size in zip(starts, self.shape, strict=True)))
        return [zlib.crc32(self.read(place).data) for place in places]

    def _decoded(self, part: Part) -> np.ndarray:
        try:
            if self._whole:
                return np.array(self[part], order="C")
            return chunked.read(self, part, self.chunks)  # type: ignore[arg-type]
        except ValueError as error:  # as of a damaged strip, tile or chunk
            if self.path is None or str(error).startswith("cannot read"):
                raise
            raise ValueError(f"cannot read {self.path}: {error}") from error

    def __getitem__(self, part: Part) -> Any:
        """A part as the object gives it: without mask and unit, which it may not have shown before."""
        pixels = self.array[part]
        validation.unannotated(self._name, pixels)
        return pixels

    def read(self, part: Part) -> np.ndarray:
        with self._lock:
            pixels = self._decoded(part)
        give_back(self.array)
        if pixels.shape != tuple(each.stop - each.start for each in part):
            raise ValueError(f"{self._name} must give the parts it is asked for; for {part} it gave {pixels.shape}")
        return pixels


def _content(folder: Path) -> str:
    """A digest of the names, sizes and times of all files in a folder."""
    digest = hashlib.sha256()
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(parent, name)
            state = os.stat(path)
            digest.update(
                f"{os.path.relpath(path, folder)} {state.st_size} {state.st_mtime_ns}\n".encode(
                    errors="surrogateescape"
                )
            )
    return digest.hexdigest()


class InFile(Readable):
    """Of an array that lies in a file, in C order, from a byte on."""

    def __init__(self, path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], name: str):
        self.shape, self.dtype = shape, dtype
        self.place: tuple[Path, int] | None = (path, offset)
        self._path, self._offset, self._name = path, offset, name
        state = path.stat()
        self._identity = {
            "path": os.path.realpath(path), "size": state.st_size, "changed": state.st_mtime_ns, "first": offset,
            "shape": list(shape), "dtype": dtype.str,
        }  # fmt: skip
        self._file = path.open("rb", buffering=0)
        self._lock = threading.Lock()

    def close(self) -> None:
        self._file.close()

    def read(self, part: Part) -> np.ndarray:
        with self._lock:
            pixels, missing = part_of_file(self._file, self._offset, part, self.shape, self.dtype)
        if missing:
            raise ValueError(f"{self._name} is shorter than its header says: {self._path}")
        return pixels


def part_of_file(
    file: IO[bytes], first: int, part: Part, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[np.ndarray, int]:
    """A part of an array in C order, and how many bytes of it the file lacks."""
    pixels, missing = np.empty([each.stop - each.start for each in part], dtype), 0
    for index, offset in runs(part, shape, dtype.itemsize):
        file.seek(first + offset)
        missing += fill(file, pixels[index])
    return pixels, missing


def put_part(
    file: IO[bytes], first: int, part: Part, shape: tuple[int, ...], dtype: np.dtype[Any], pixels: np.ndarray
) -> None:
    """Write a part of an array in C order."""
    pixels = np.ascontiguousarray(pixels, dtype)
    for index, offset in runs(part, shape, dtype.itemsize):
        file.seek(first + offset)
        memory = memoryview(pixels[index]).cast("B")
        while memory:
            memory = memory[file.write(memory) :]


def fill(file: IO[bytes], pixels: np.ndarray) -> int:
    """Read what pixels, in C order, have room for; returns how many bytes the file lacks.

    A single call of the system's stops at 2 GB.
    """
    memory = pixels.data.cast("B")
    while memory and (count := file.readinto(memory)):  # type: ignore[attr-defined]
        memory = memory[count:]
    return len(memory)


def runs(part: Part, shape: tuple[int, ...], itemsize: int) -> Iterator[tuple[Any, int]]:
    """What of a part lies together in C order: its index in the part, and its first byte in the whole."""
    last = len(shape) - 1
    while last and (part[last].start, part[last].stop) == (0, shape[last]):
        last -= 1
    strides = [itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    first = sum(each.start * stride for each, stride in zip(part, strides, strict=True))
    for index in np.ndindex(*[each.stop - each.start for each in part[:last]]):
        yield index, first + sum(at * stride for at, stride in zip(index, strides, strict=False))


def place_of(array: Any, mapped: np.memmap | None = None) -> tuple[Path, int] | None:
    """File and first byte of a mapped array that is in C order and is what the file of that name holds; else None.

    `mapped` is the map of which it is a view, if it is none itself.
    """
    mapped = array if mapped is None and isinstance(array, np.memmap) else mapped
    if mapped is None or mapped.filename is None or not isinstance(mapped.filename, (str, os.PathLike)):
        return None
    if not array.flags.c_contiguous or mapped.mode == "c" or array.size == 0:
        return None
    memory = mapped._mmap  # type: ignore[attr-defined]
    if memory is None:
        return None
    begin = np.frombuffer(memory, np.uint8).__array_interface__["data"][0]
    first: int = mapped.offset - mapped.offset % mmap.ALLOCATIONGRANULARITY
    first += array.__array_interface__["data"][0] - begin
    path = Path(mapped.filename)
    if memory.size() < first + array.nbytes:
        raise ValueError(f"the file of a mapped array has become shorter than that: {path}")
    return (path, first) if _holds(path, first, array) else None


def _holds(path: Path, first: int, array: np.ndarray) -> bool:
    """Whether a file has what is mapped, to judge by both ends: another may have taken its place and name."""
    if not path.is_file() or path.stat().st_size < first + array.nbytes:
        return False
    content = array.reshape(-1).view(np.uint8)
    with path.open("rb") as file:
        for part, place in ((content[:4096], first), (content[-4096:], first + array.nbytes - min(array.nbytes, 4096))):
            file.seek(place)
            if file.read(len(part)) != part.tobytes():
                return False
    return True


def of_array(array: Any, name: str = "source", path: Path | None = None) -> Readable:
    """A reader of an array, mapped or in memory, or of anything that has a shape, a dtype and slices.

    `path` is the file that it reads, if that is known.
    """
    if on_gpu(array):
        raise TypeError(f"{name} is in a GPU's memory; deblur it with solve(..., device='cuda')")
    validation.unannotated(name, array)
    if not in_parts(array):
        array = validation.real_array(name, array)
    validation.real_kind(name, array)
    mapped = map_of(array)
    if mapped is not None and mapped.mode in ("r+", "w+"):
        mapped.flush()
    place = None if mapped is None else place_of(array, mapped)
    if place is not None:
        return InFile(place[0], place[1], tuple(array.shape), array.dtype, name)
    return Sliced(array, name, path or zarr_reading.folder_of(array))


def is_image(background: Any) -> bool:
    """Whether a background is more than a number."""
    if isinstance(background, (str, os.PathLike)):
        return True
    return len(background.shape if hasattr(background, "shape") else np.shape(background)) > 0


def in_parts(array: Any) -> bool:
    """Whether an object has a shape, slices and a dtype of NumPy's (Torch's tensors have one of their own)."""
    return (
        hasattr(array, "shape") and hasattr(array, "__getitem__") and isinstance(getattr(array, "dtype", 0), np.dtype)
    )


class Present(Readable):
    """The pixels of which some are missing: real numbers, NaN where they are.

    Parameters
    ----------
    stored : Readable
    missing : Missing
        By values, or by what belongs to a file.
    mask : Readable or None
        True where pixels are missing, of the shape of `stored`.
    number : int
        Of the page, of which the file may say what is missing.
    """

    def __init__(self, stored: Readable, missing: Missing, mask: Readable | None = None, number: int = 0):
        self._stored, self.missing, self._mask, self._number = stored, missing, mask, number
        self.shape, self.chunks, self.takes = stored.shape, stored.chunks, stored.takes
        if mask is not None:
            self.chunks, self.takes = stored.chunks or mask.chunks, stored.takes + mask.takes
        self.dtype = validation.working_dtype(np.empty(0, stored.dtype))
        #: What it reads.
        self.origins = [stored, *([] if mask is None else [mask])]

    @property
    def identity(self) -> dict[str, Any]:
        identity = self._stored.identity | {"missing": [*map(repr, self.missing.values), *self.missing.identity]}
        return identity if self._mask is None else identity | {"mask": self._mask.identity}

    def read(self, part: Part) -> np.ndarray:
        stored = self._stored.read(part)
        with np.errstate(over="ignore"):  # found as infinity
            real = stored.astype(self.dtype)
        if self._mask is not None:
            return hidden(real, self._mask.read(part).astype(bool))
        return hidden(real, mask_of(self.missing, stored, False, (part[0], part[1]), self._number))


class _All(Readable):
    """A mask that has one value for all pixels."""

    dtype = np.dtype(bool)

    def __init__(self, shape: tuple[int, ...], value: bool):
        self.shape, self._value, self._identity = shape, value, {"all": value}

    def read(self, part: Part) -> np.ndarray:
        return np.full([each.stop - each.start for each in part], self._value)


def masked(pixels: Any, mask: Any, name: str = "source") -> Readable:
    """A reader of numbers of which some are below a mask: an array, something with slices, or one value for all."""
    stored = of_array(pixels, name)
    mask = mask if in_parts(mask) else np.asarray(mask)
    annotated.check_mask(name, tuple(mask.shape), stored.shape)
    below = of_array(mask, f"the mask of {name}") if tuple(mask.shape) else _All(stored.shape, bool(mask))
    return Present(stored, Missing(), below)


def origins(readable: Readable) -> list[Readable]:
    """The readers of arrays and files from which another one computes what it gives."""
    return [each for own in getattr(readable, "origins", []) for each in origins(own)] or [readable]


@contextmanager
def opened(value: Any, name: str = "source", mask: Any = None) -> Iterator[Readable]:
    """A reader of a caller's array, a pair of an array and its mask, or an image file: .npy, .zarr, TIFF or FITS."""
    with ExitStack() as stack:
        if isinstance(value, (str, os.PathLike)):
            readable = _of_path(Path(value), stack, name)
        else:
            readable = of_array(value, name) if mask is None else masked(value, mask, name)
        yield closed_by(stack, readable)


def closed_by(stack: ExitStack, readable: Readable) -> Readable:
    """A reader whose files a stack closes."""
    for each in origins(readable):
        if isinstance(each, InFile):
            stack.callback(each.close)
    return readable


def _of_path(path: Path, stack: ExitStack, name: str) -> Readable:
    """A reader of a file."""
    source = source_of(path, stack)
    if source is not None:
        if source.pages is not None:
            raise ValueError(f"cannot read {path}: it must be one image, not a stack; it has {source.pages} pages")
        return of_source(source, path, name)
    with files.explained(path):
        format = files.format_of(path)
        array = {"NPY": npy.mapped, "Zarr": zarr_reading.in_parts}[format](path)
    return _of_file(array, name, path)


def source_of(path: Path, stack: ExitStack, axes: Axes | None = None) -> Source | None:
    """An open TIFF or FITS file; None of a .npy and .zarr, which are arrays; others are refused."""
    with files.explained(path):
        format = files.format_of(path)
        files.check_kind(path)
        if format in ("NPY", "Zarr"):
            return None
        if not files.FORMATS[format].in_tiles or not files.FORMATS[format].names_axes:
            raise ValueError(f"{format} is read whole: read it, and pass the array")
        return stack.enter_context(files.FORMATS[format].opened(path, False, axes))


def of_source(source: Source, path: Path, name: str, number: int = 0) -> Readable:
    """A reader of an image of an open TIFF or FITS file, or of a page of a stack."""
    array = source.parts_of(number)
    if array is None:
        raise ValueError(
            f"cannot read {path}: it must be gray or RGB, with its channels last, black as 0, its first row on top and "
            "a compression that Python knows, to be read in parts"
        )
    readable = _of_file(array, name, fits.split(path)[0])
    return readable if source.missing is None else Present(readable, source.missing, number=number)


def _of_file(array: Any, name: str, path: Path) -> Readable:
    try:
        validation.real_kind(name, array)
    except TypeError as error:
        raise TypeError(f"{path}: {error}") from None
    return of_array(array, name, path)
