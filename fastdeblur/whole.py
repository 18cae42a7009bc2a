"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import io
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any


class Output:
    """A file to write to that does not tell its number.

    NumPy and Pillow would hand that to C, which may not notice that the disk is full, or not say why it failed.
    """

    def __init__(self, file: IO[bytes]):
        self.write, self.seek, self.tell, self.flush = file.write, file.seek, file.tell, file.flush

    def fileno(self) -> int:
        """Refuse, as files in memory do."""
        raise io.UnsupportedOperation("fileno")


@contextmanager
def whole(path: str | Path) -> Iterator[Any]:
    """A file to write to that takes the place of `path` at the end, or vanishes if anything fails."""
    target = Path(os.path.realpath(path))  # of a link, what it points to is replaced
    temporary = beside(target)
    try:
        # Not tempfile's: those are closed to other users, and so would the result be.
        with temporary.open("xb") as file:
            yield Output(file)
            file.flush()
            os.fsync(file.fileno())  # some file systems say only now that they are full
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """`whole`, for a folder, which is yet to be made."""
    target = Path(os.path.realpath(path))
    temporary = beside(target)
    try:
        yield temporary
        put_in_place(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def put_in_place(folder: Path, target: Path) -> None:
    """Let a folder take the place of another, if there is one; both stay where they are if that fails."""
    old = beside(target)
    if target.exists():
        os.replace(target, old)
    try:
        os.replace(folder, target)
    except BaseException:
        if old.exists():
            os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def beside(target: Path) -> Path:
    """A name that nothing has, in the same folder: only there can a file take another's place at once."""
    return target.with_name(f".{secrets.token_hex(8)}.tmp")
