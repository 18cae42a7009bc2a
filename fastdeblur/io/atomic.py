"""Atomic writing of files and folders: whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any

from .locks import Lock

# How often a folder is removed in which others still write, and how long to wait in between, in seconds.
ATTEMPTS, PAUSE = 10, 0.01


class Output:
    """A file to write to, and read again, that does not tell its number.

    NumPy and Pillow would hand that to C, which may not notice that the disk is full, or not say why it failed.
    """

    def __init__(self, file: IO[bytes]):
        self.write, self.seek, self.tell, self.flush, self.read = (
            file.write, file.seek, file.tell, file.flush, file.read
        )  # fmt: skip

    def fileno(self) -> int:
        """Refuse, as files in memory do."""
        raise io.UnsupportedOperation("fileno")


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Any]:
    """A file to write to that takes the place of `path` at the end, or vanishes if anything fails."""
    target = Path(os.path.realpath(path))  # of a link, what it points to is replaced
    temporary = _temporary(target)
    try:
        # Not tempfile's: those are closed to other users, and so would the result be.
        with temporary.open("x+b") as file:
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
def atomic_folder(path: str | Path, check: Callable[[], None], held: bool = False) -> Iterator[Path]:
    """`atomic_file`, for an empty folder; `check` refuses to replace what is there at the end.

    It is locked meanwhile, unless the caller has done that: `held`.
    """
    target = Path(os.path.realpath(path))
    temporary = _temporary(target)
    with nullcontext() if held else locked(target):
        try:
            temporary.mkdir()
            yield temporary
            check()
            put_in_place(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Let nobody else write to a folder, not what keeps a journal in the same file either; `recover` it."""
    lock = Lock(beside(target, "journal"))
    try:
        recover(target)
        yield
    finally:
        if os.fstat(lock.file.fileno()).st_size:  # a journal that waits for its next run
            lock.release()
        else:
            lock.remove()


def put_in_place(folder: Path, target: Path) -> None:
    """Let a folder take the place of another, if there is one; both stay where they are if that fails.

    There is a moment when neither is in place; `recover` helps if the process is killed then.  So the target must
    be locked.
    """
    recover(target)
    try:
        if target.exists():
            os.replace(target, beside(target, "replaced"))
        os.replace(folder, target)
    except BaseException:
        recover(target)
        raise
    with suppress(OSError):  # it is in place
        recover(target)


def recover(target: Path) -> None:
    """Put a folder back that was to be replaced, or remove it if it has been; of others nothing is known."""
    replaced, removed = beside(target, "replaced"), beside(target, "removed")
    if os.path.lexists(replaced):
        if os.path.lexists(target):
            remove(removed)
            os.replace(replaced, removed)  # first, since what is half removed must not be put back
        else:
            os.replace(replaced, target)
    with suppress(OSError):
        remove(removed)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    for left in reversed(range(ATTEMPTS)):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            return
        except OSError as error:
            # A run whose journal was deleted may still be writing its last chunk there.
            if not left or error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                raise
        time.sleep(PAUSE)


def beside(target: Path, what: str) -> Path:
    """The name of what lies beside an output while it is written: only there can it take the place at once."""
    return target.with_name(f".{target.name}.{what}")


def _temporary(target: Path) -> Path:
    """A name beside an output that nothing has."""
    return target.with_name(f".{secrets.token_hex(8)}.tmp")
