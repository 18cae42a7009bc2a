"""Scratch copies on disk of what cannot be read in parts cheaply: strips, tiles or chunks larger than tiles.

Each would be decoded again for every tile that it touches, and takes memory beside the tile's.
"""

from __future__ import annotations

import math
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..io import chunks as chunked
from ..io.source import readable as in_words
from .readers import Part, Readable, part_of_file, put_part

# How often a pixel may be decoded: restoring it takes some fifty times as long.
OFTEN = 8
# What of the memory chunks may take while tiles are solved.
SHARE = 1 / 4
# About what a tile takes, in bytes a pixel.
BYTES_A_PIXEL = 64


def at_hand(
    source: Readable, name: str, memory: int, beside: int, tile: tuple[int, int] | None, folder: Path | None
) -> Readable:
    """What to read a source from: itself, or a copy in a folder if its chunks are too large for tiles.

    Parameters
    ----------
    memory : int
        Bytes that may be used, of which `beside` are used by what is no tile.
    tile : (int, int) or None
        Rows and columns; None are those that fit.
    folder : Path or None
        None is where the system has its temporary files.

    Raises
    ------
    ValueError
        If the memory is too small for a single chunk.
    """
    if source.chunks is None:
        return source
    least = source.takes + beside
    if least > memory:
        raise ValueError(
            f"max_memory must be at least {in_words(least)} to read {name}, which is stored in chunks (strips, tiles) "
            f"of the shape {source.chunks} that are decoded whole; got {in_words(memory)}"
        )
    side = math.isqrt(memory // BYTES_A_PIXEL)
    if _decoded(source, tile or (side, side)) <= OFTEN and source.takes <= SHARE * memory:
        return source
    return ScratchCopy(source, name, folder)


def _decoded(source: Readable, tile: tuple[int, int]) -> float:
    """How often a pixel is decoded when tiles are read one after another; channels are read together."""
    assert source.chunks is not None
    often, least = 1.0, min(tile)
    for size, chunk in zip(source.shape, source.chunks, strict=True):
        often *= max(min(-(-size // least), 1 + (chunk - 1) / least), 1)
    return often


class ScratchCopy(Readable):
    """A copy in a file without a name, which vanishes with this process; it is made when it is first read."""

    def __init__(self, source: Readable, name: str, folder: Path | None):
        self._source, self._name = source, name
        self._folder = Path(tempfile.gettempdir()) if folder is None else folder
        self.shape, self.dtype, self.path = source.shape, source.dtype, getattr(source, "path", None)
        self.array = getattr(source, "array", None)
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()

    @property
    def identity(self) -> dict[str, Any]:
        return self._source.identity

    def read(self, part: Part) -> np.ndarray:
        with self._lock:
            if self._file is None:
                self._file = self._copied()
            pixels, missing = part_of_file(self._file, 0, part, self.shape, self.dtype)
        if missing:
            raise ValueError(f"the copy of {self._name} in {self._folder} is not whole")
        return pixels

    def close(self) -> None:
        """Give back its room on the disk."""
        if self._file is not None:
            self._file.close()

    def _copied(self) -> IO[bytes]:
        assert self._source.chunks is not None
        whole = tuple(slice(0, size) for size in self.shape)
        file: Any = None
        try:
            file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 (it stays open)
            for part in chunked.parts(whole, self.shape, self._source.chunks, self.dtype.itemsize):
                self._put(file, part, self._source.read(part))
        except BaseException as error:
            if file is not None:
                file.close()
            if isinstance(error, OSError):
                raise OSError(
                    f"cannot write a copy of {self._name} in {self._folder}, where it takes "
                    f"{in_words(math.prod(self.shape) * self.dtype.itemsize)}: {error.strerror or error}"
                ) from error
            raise
        return file  # type: ignore[no-any-return]

    def _put(self, file: IO[bytes], part: Part, pixels: np.ndarray) -> None:
        put_part(file, 0, part, self.shape, self.dtype, pixels)
