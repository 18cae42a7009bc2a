"""What has been done of a large image, so that a run that was killed can go on where it was.

A file of JSON, a line each: first what is done, then tiles that have been written, with their checksums.  A line
is added when its tile is on the disk; the last line may be cut short.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from .. import files


class Journal:
    """The journal at a path.

    Parameters
    ----------
    path : Path
    identity : dict
        What tells this job from others, in what JSON has.
    """

    def __init__(self, path: Path, identity: dict[str, Any]):
        self.path = path
        self._identity = json.loads(json.dumps({"version": metadata.version("fastdeblur"), **identity}))
        #: Checksums of tiles.
        self.tiles: dict[tuple[int, int], int] = {}
        self._file: IO[str] | None = None
        if path.exists():
            self._read()

    def _read(self) -> None:
        with self.path.open("rb") as file:
            self._lock(file)  # until it is closed
        first, *lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        try:
            identity = dict(json.loads(first))
        except (ValueError, TypeError):
            return  # cut short before anything was done
        different = [name for name in {**identity, **self._identity} if identity.get(name) != self._identity.get(name)]
        if different:
            # What was found, and the tiles, follow from the rest.
            asked = sorted(set(different) - {"found", "grid"}) or ["weight or tiles"]
            then = [
                f"{name} {identity[name]!r}"
                for name in asked
                if isinstance(identity.get(name), (str, int, float)) and name != "psf"
            ]
            raise ValueError(
                f"out belongs to a run that is not finished and had another {' and '.join(asked)}"
                f"{' (' + ', '.join(then) + ')' if then else ''}: repeat that, or delete {self.path} to begin anew"
            )
        for line in lines:
            try:
                (i, j), self.tiles[i, j] = json.loads(line)
            except (ValueError, TypeError):
                break

    def begin(self) -> None:
        """Start, or go on with the tiles that are there."""
        lines = [json.dumps([tile, total]) for tile, total in self.tiles.items()]
        head = json.dumps(self._identity)
        new = self.path.with_name(self.path.name + ".new")
        with files.write_errors(self.path):
            try:
                new.write_text("\n".join([head, *lines, ""]), encoding="utf-8")
                os.replace(new, self.path)
            except BaseException:
                new.unlink(missing_ok=True)
                raise
            self._file = self.path.open("a", encoding="utf-8")
        self._lock(self._file)

    def _lock(self, file: IO[Any]) -> None:
        """Refuse to go on with what another process is at."""
        try:
            import fcntl
        except ImportError:  # Windows, where a file that is open cannot be replaced
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"out is being written by another process, which holds {self.path}") from None
        except OSError:  # a file system without locks
            return

    def note(self, tile: tuple[int, int], total: int) -> None:
        """A tile is on the disk."""
        assert self._file is not None
        with files.write_errors(self.path):
            self._file.write(json.dumps([list(tile), total]) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        self.tiles[tile] = total

    def close(self) -> None:
        """Leave it for the next run."""
        if self._file is not None:
            with suppress(OSError):  # what could not be written has been said
                self._file.close()

    def remove(self) -> None:
        """Everything is done."""
        self.close()
        self.path.unlink(missing_ok=True)
