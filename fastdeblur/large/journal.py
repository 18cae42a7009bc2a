"""The journal of a large image: which tiles are written, so that a run that was killed can go on from there.

A file of JSON, a line each: first what is done, then tiles that have been written, with their checksums.  A line
is added when its tile is on the disk; the last line may be cut short.  Who has this file locked writes to the output
and to all that lies beside it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from ..io import files
from ..io.locks import Lock

# Bytes of what can be a journal: millions of tiles.
MOST = 2**28


class Journal:
    """The journal at a path, which is locked until it is closed.

    Leaving it as a context closes it; one without tiles vanishes.

    Attributes
    ----------
    tiles : dict
        Of tiles that are on the disk the checksums of what was written and of what it was computed from.
    """

    def __init__(self, path: Path):
        self.path = path
        self.tiles: dict[tuple[int, int], list[int]] = {}
        self._identity: dict[str, Any] = {}
        self._end = 0  # of what makes sense
        with files.write_errors(path):
            self._lock = Lock(path)
        try:
            self._read()
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self.tiles:
            self._lock.release()
        else:  # nothing that a next run could use
            self._lock.remove()

    def _read(self) -> None:
        size = os.fstat(self._lock.file.fileno()).st_size
        if size > MOST:
            raise ValueError(f"{self.path} has {size} bytes and is no journal: move it away, or delete it")
        self._lock.file.seek(0)
        content = b""
        while more := self._lock.file.read(size):
            content += more
        first, *lines = content.split(b"\n")[:-1] or [b""]
        errors = (ValueError, TypeError, RecursionError)
        try:
            identity = json.loads(first)
        except errors:
            return  # cut short before anything was done
        if not isinstance(identity, dict):
            return
        self._identity = identity
        self._end = len(first) + 1
        for line in lines:
            try:
                (i, j), sums = json.loads(line)
                good = isinstance(sums, list) and [type(sum) for sum in sums] == [int, int]
                self.tiles[i, j] = sums if good else [-1, -1]  # what no checksum is
            except errors:
                break
            self._end += len(line) + 1

    def claim(self, identity: dict[str, Any]) -> None:
        """Refuse to go on with what another job has begun; `identity` tells them apart, in what JSON has."""
        # Of the package that runs: frozen programs have no metadata, and rooms import only what is below them.
        version = sys.modules[__name__.partition(".")[0]].__version__
        identity = json.loads(json.dumps({"version": version, **identity}))
        different = [name for name in {**self._identity, **identity} if self._given(name) != identity.get(name)]
        if self.tiles and different:
            self.refuse(different)
        if self._identity != identity:
            self._identity, self._end = identity, 0

    def _given(self, name: str) -> Any:
        return self._identity.get(name)

    def refuse(self, different: list[str]) -> NoReturn:
        """Say what another job had."""
        # Parameters of tiles, and the tiles, follow from the rest.
        names = sorted(set(different) - {"found", "grid"}) or ["source, weight or tiles"]
        then = [
            f"{name} {self._given(name)!r}"
            for name in names
            if isinstance(self._given(name), (str, int, float)) and name != "psf" and len(str(self._given(name))) < 100
        ]
        raise ValueError(
            f"out belongs to a run that is not finished and had another {' and '.join(names)}"
            f"{' (' + ', '.join(then) + ')' if then else ''}: repeat that, or delete {self.path} to begin anew"
        )

    def clear(self) -> None:
        """Forget everything: what it speaks of is not there."""
        self.tiles, self._end = {}, 0
        with files.write_errors(self.path):
            self._lock.file.truncate(0)

    def begin(self) -> None:
        """Start, or go on after what is there."""
        with files.write_errors(self.path):
            self._lock.file.truncate(self._end)
        if not self._end:
            self._add(self._identity)

    def note(self, tile: tuple[int, int], written: int, read: int) -> None:
        """A tile is on the disk."""
        self._add([list(tile), [written, read]])
        self.tiles[tile] = [written, read]

    def _add(self, value: Any) -> None:
        with files.write_errors(self.path):
            line = memoryview(json.dumps(value).encode() + b"\n")
            self._lock.file.seek(0, os.SEEK_END)
            while line:
                line = line[self._lock.file.write(line) :]
            os.fsync(self._lock.file.fileno())

    def held(self) -> bool:
        """Whether nobody has deleted it."""
        return self._lock.held()

    def check_held(self) -> None:
        """Refuse to write on when another may have begun to."""
        if not self.held():
            raise OSError(f"{self.path} was deleted while it was in use, and with it the lock that keeps others away")

    def remove(self) -> None:
        """Everything is done."""
        self._lock.remove()
