"""Private names of Numba and llvmlite, which any version may remove: all that the package uses.

Nothing but the cache of compiled code and the locks for forks needs them, and the package works without: code
is then compiled in every process, or a fork may not wait for what another thread compiles.  A warning says so.
"""

from __future__ import annotations

import importlib
import pickle
import threading
import warnings
from typing import Any

# What saves and loads what Numba compiled; and what that has, for Numba's own cache, an attribute `_cache`.
CACHE = (
    "numba.core.serialize.dumps",
    "numba.core.compiler.CompileResult._reduce",
    "numba.core.compiler.CompileResult._rebuild",
    "numba.core.codegen.CPUCodegen.magic_tuple",
)
# Their locks are classes around one; a signal's handler that raises inside a method of Python's leaves it held.
COMPILER_LOCK = "numba.core.compiler_lock.global_compiler_lock._lock"
LLVM_LOCK = "llvmlite.binding.ffi.lib._lock._lock"

WITHOUT_CACHE = "compiled code is not kept on disk, and every process compiles it anew"
_warned: set[str] = set()


def find(name: str) -> Any:
    """What a dotted name stands for, or None."""
    module, *attributes = name.split(".")
    value = importlib.import_module(module)
    for attribute in attributes:
        module += f".{attribute}"
        try:
            value = getattr(value, attribute)
        except AttributeError:
            try:
                value = importlib.import_module(module)
            except ImportError:
                return None
    return value


def lock(name: str) -> Any:
    """A lock of that name that a thread may take again, else one of our own."""
    value = find(name)
    if isinstance(value, type(threading.RLock())):
        return value
    warn(name, "a process forked while another thread compiles may hang")
    return threading.RLock()


def can_cache() -> bool:
    """Whether all that the cache needs is there."""
    for name in CACHE:
        if not callable(find(name)):
            warn(name, WITHOUT_CACHE)
            return False
    return True


def set_cache(compiled: Any, entries: Any) -> None:
    """Let what Numba is to compile be loaded from, and saved to, these entries."""
    if hasattr(compiled, "_cache"):
        compiled._cache = entries
    else:
        warn(f"numba.{type(compiled).__name__}._cache", WITHOUT_CACHE)


def packed(result: Any) -> bytes:
    """What Numba compiled, as bytes."""
    return bytes(find(CACHE[0])(result._reduce()))


def unpacked(target_context: Any, content: bytes) -> Any:
    """What Numba compiled, from `packed` bytes."""
    return find(CACHE[2])(target_context, *pickle.loads(content))


def processor(target_context: Any) -> Any:
    """The processor, and its features, for which code is compiled."""
    return target_context.codegen().magic_tuple()


def warn(name: str, effect: str) -> None:
    """Say once what is missed without a private name."""
    if effect not in _warned:
        _warned.add(effect)
        warnings.warn(
            f"this version of {name.partition('.')[0]} has no {name}: {effect}; "
            "a newer fastdeblur, or an older version of it, would do",
            RuntimeWarning,
            stacklevel=2,
        )
