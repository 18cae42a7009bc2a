"""gzip-compressed FITS files: decompressed as far as they are read, compressed as they are written."""

from __future__ import annotations

import gzip
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

SUFFIXES = (".fits.gz", ".fit.gz", ".fts.gz")
# What deflate makes of its input at most.
MOST_EXPANSION = 1032
STEP = 2**20


def is_packed(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


class Unpacked:
    """The beginning of a compressed file, in a file without a name; more of it is decompressed when it is asked for."""

    def __init__(self, file: IO[bytes], plain: IO[bytes]):
        self._packed, self._plain = gzip.GzipFile(fileobj=file), plain
        self._most = MOST_EXPANSION * os.fstat(file.fileno()).st_size
        self._size = 0
        self.seek, self.read = plain.seek, plain.read

    def reach(self, end: int) -> int:
        """Decompress up to a byte, if there are so many; returns how many there are by now, or can be at most."""
        if end > self._most:  # before a disk is filled with what cannot be enough
            return self._most
        self._plain.seek(self._size)
        while self._size < end and (content := self._packed.read(min(STEP, end - self._size))):
            self._size += self._plain.write(content)
        self._plain.flush()
        return self._size


@contextmanager
def reading(path: Path) -> Iterator[tuple[IO[bytes], Any]]:
    """A file without compression, of which only the second, read before, may know all."""
    with path.open("rb") as file:
        if not is_packed(path):
            yield file, file
            return
        with tempfile.TemporaryFile() as plain:
            yield plain, Unpacked(file, plain)


def reach(file: Any, end: int) -> int:
    """Bytes of a file, of which no more than up to `end` matter."""
    size: int = file.reach(end) if isinstance(file, Unpacked) else os.fstat(file.fileno()).st_size
    return size


@contextmanager
def writing(path: Path, file: Any) -> Iterator[Any]:
    """A file object that compresses if the path's name says so."""
    if not is_packed(path):
        yield file
        return
    with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        yield packed
