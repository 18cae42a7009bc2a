"""Disk cache of compiled code, so that only the first process ever waits for the compiler.

Numba's own cache stamps the file of the function that was called, not the helpers compiled
into it, and keeps one index a function, which processes that start cold together overwrite.
Here each entry is a file of its own, named by everything its machine code depends on: all
sources of what is compiled, the versions of Numba, llvmlite and rocket-fft, the compiler's settings,
the processor, and the signature.  A file that cannot be read, or whose checksum is off, is a miss.
Where the package runs from anything but its sources (a frozen program, only .pyc files, a zip archive)
nothing tells one version's code from another's, and nothing is cached.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from importlib import machinery, metadata
from pathlib import Path
from typing import Any

import numba

from . import privates

PACKAGE = Path(__file__).parents[2]
# All compiled sources, and what they import of this package (tests/test_layers.py checks it).
COMPILED = ("kernels/cpu/*.py", "kernels/cpu/fourier/*.py", "kernels/runtime/*.py")
# Beside them: the file that has the version.
VERSION = "__init__.py"
# Settings of Numba that change the machine code.
COMPILER = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT")
# Files that a module may be run from instead.
OTHER_CODE = (*machinery.BYTECODE_SUFFIXES, *{Path(suffix).suffix for suffix in machinery.EXTENSION_SUFFIXES})
# Code of versions that nobody has used for this many days is removed.
UNUSED_DAYS = 60


def _digest() -> str | None:
    """Digest of the compiled sources and of the compilers, or None if they cannot be read."""
    digest = hashlib.sha256()
    try:
        for source in _sources():
            digest.update(source.relative_to(PACKAGE).as_posix().encode())
            digest.update(source.read_bytes())
        for package in ("numba", "llvmlite", "numpy", "rocket-fft"):
            digest.update(f"{package} {metadata.version(package)} ".encode())
    except (OSError, metadata.PackageNotFoundError):
        return None
    digest.update(sys.version.encode())
    return digest.hexdigest()


def _sources() -> list[Path]:
    """The compiled sources; FileNotFoundError if what runs is something else."""
    paths: list[Path] = []
    for pattern in (*COMPILED, VERSION):
        files = list(PACKAGE.glob(pattern.removesuffix("py") + "*"))
        sources = [path for path in files if path.suffix == ".py"]
        if not sources or any(path.suffix in OTHER_CODE for path in files):
            raise FileNotFoundError(pattern)
        paths += sources
    if not isinstance(getattr(__spec__, "loader", None), machinery.SourceFileLoader):
        raise FileNotFoundError(__name__)
    return sorted(paths)


_digest_at_import = _digest()
_can_cache = privates.can_cache()


def folders() -> list[Path]:
    """Where entries are looked for, best first; the first that can be written gets new ones.

    ``NUMBA_CACHE_DIR`` if it is set; else the package's own ``__pycache__`` and the user's
    cache folder.  Empty when ``FASTDEBLUR_CACHE=0``, without sources, and where Numba's private names are gone.
    """
    if os.environ.get("FASTDEBLUR_CACHE") == "0" or _digest_at_import is None or not _can_cache:
        return []
    if numba.config.CACHE_DIR:
        roots = [Path(numba.config.CACHE_DIR)]
    else:
        roots = [PACKAGE / "__pycache__"]
        user = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        if os.path.isabs(user):
            roots.append(Path(user))
    return [root / f"fastdeblur-{_digest_at_import[:16]}" for root in roots]


def _write(path: Path, content: bytes) -> bool:
    """Write a file whole or not at all; False if this folder does not take it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    except OSError:
        return False
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        return False
    return True


def _remove_unused(folder: Path) -> None:
    """Remove the folders of other versions beside `folder` that have not been used for long."""
    with suppress(OSError):
        for other in folder.parent.glob("fastdeblur-" + "[0-9a-f]" * 16):
            if other.stat().st_mtime < time.time() - UNUSED_DAYS * 86400:
                shutil.rmtree(other, ignore_errors=True)


class Entries:
    """The cached signatures of one function; takes the place of Numba's ``FunctionCache``."""

    def __init__(self, name: str):
        self._name = name

    @property
    def cache_path(self) -> str:
        return str(next(iter(folders()), ""))

    def enable(self) -> None:
        """Nothing to do: the environment decides."""

    def disable(self) -> None:
        """Nothing to do: the environment decides."""

    def flush(self) -> None:
        """Nothing to do: an entry never goes stale."""

    def _file_name(self, signature: Any, target_context: Any) -> str:
        compiler = [getattr(numba.config, name, None) for name in COMPILER]
        key = repr((self._name, str(signature), privates.processor(target_context), compiler))
        return f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.nbc"

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        if not folders():
            return None
        target_context.refresh()
        name = self._file_name(signature, target_context)
        for folder in folders():
            try:
                content = (folder / name).read_bytes()
                if hashlib.sha256(content[32:]).digest() == content[:32]:
                    with suppress(OSError):
                        os.utime(folder)
                    return privates.unpacked(target_context, content[32:])
            except Exception:  # noqa: BLE001, S112 -- whatever is wrong with an entry, compiling works
                continue
        return None

    def save_overload(self, signature: Any, data: Any) -> None:
        # A source edited since import must not lend its digest to code compiled from the old one.
        if not folders() or _digest() != _digest_at_import:
            return
        payload = privates.packed(data)
        name = self._file_name(signature, data.target_context)
        content = hashlib.sha256(payload).digest() + payload
        for folder in folders():
            if _write(folder / name, content):
                _remove_unused(folder)
                break
