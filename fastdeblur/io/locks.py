"""Lock files: at most one holder, in this process or another, until it ends."""

from __future__ import annotations

import os
import stat
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import IO

# A link must not lead elsewhere, and a pipe must not keep us waiting.
FLAGS = os.O_RDWR | os.O_CREAT | sum(getattr(os, f"O_{name}", 0) for name in ("NOFOLLOW", "NONBLOCK", "BINARY"))

# How often its last holder may have removed it between opening and locking.
MOST = 100

if sys.platform == "win32":
    import msvcrt

    # Bytes that are locked cannot be read: one where there never is any.
    FAR = 2**30

    def _take(file: IO[bytes]) -> None:
        file.seek(FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

    def _free(file: IO[bytes]) -> None:
        file.seek(FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _take(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _free(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)  # of a child that was forked meanwhile, too


def own_file(number: int) -> bool:
    """Whether what is open is a file, and one that has no other name."""
    state = os.fstat(number)
    return stat.S_ISREG(state.st_mode) and state.st_nlink <= 1


class Lock:
    """The lock on what is written beside the file at `path`, which is made if it is not there.

    Attributes
    ----------
    path : Path
    file : binary file
        Open for reading and writing until the lock is released.

    Raises
    ------
    ValueError
        If another holds it, or there is something else than a file.

    Warns
    -----
    UserWarning
        If the file system has no locks.
    """

    def __init__(self, path: Path):
        self.path = path
        for _ in range(MOST):
            self.file = self._opened()
            try:
                self._lock()
                if self.held():
                    return
            except BaseException:
                self.file.close()
                raise
            # Its last holder removed it between opening and locking: what has its name now is another file.
            self.file.close()
        raise ValueError(f"out is being written by other runs, one after another, which hold {path}")

    def _opened(self) -> IO[bytes]:
        try:
            number = os.open(self.path, FLAGS, 0o666)
        except OSError:
            if self.path.is_symlink() or (self.path.exists() and not self.path.is_file()):
                raise self._no_file() from None
            raise
        if not own_file(number):
            os.close(number)
            raise self._no_file()
        return os.fdopen(number, "r+b", buffering=0)

    def _no_file(self) -> ValueError:
        return ValueError(f"{self.path} must be a file, which says who writes; move away the folder, link or device")

    def _lock(self) -> None:
        try:
            _take(self.file)
        except (BlockingIOError, PermissionError):  # on POSIX, and on Windows
            raise ValueError(f"out is being written by another run, which holds {self.path}") from None
        except OSError as error:
            warnings.warn(
                f"the file system of {self.path.parent} has no locks ({error.strerror}): another run that writes to "
                "the same out at the same time would not be noticed",
                stacklevel=2,
            )

    def held(self) -> bool:
        """Whether the file that is locked still has its name: it may have been deleted, and made anew by another."""
        try:
            return os.path.samestat(os.fstat(self.file.fileno()), os.stat(self.path, follow_symlinks=False))
        except (OSError, ValueError):
            return False

    def release(self) -> None:
        """Let others have it; the file stays."""
        if not self.file.closed:
            with suppress(OSError):
                _free(self.file)
            with suppress(OSError):
                self.file.close()

    def remove(self) -> None:
        """Remove the file, if it is still there, and let others have the lock."""
        held = self.held()
        if sys.platform == "win32":  # where what is open cannot be removed
            self.release()
        if held:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
        self.release()
