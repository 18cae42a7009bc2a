"""A lock that is a file: at most one holds it, in this process or another, and it ends with its holder."""

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
        while True:
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

    def _opened(self) -> IO[bytes]:
        try:
            number = os.open(self.path, FLAGS, 0o666)
        except OSError:
            self._check_kind()
            raise
        file = os.fdopen(number, "r+b", buffering=0)
        if not stat.S_ISREG(os.fstat(number).st_mode):
            file.close()
            self._check_kind()
        return file

    def _check_kind(self) -> None:
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_file()):
            raise ValueError(f"{self.path} must be a file, which says who writes; move away the folder, link or device")

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
