"""How compiled code is built, launched and shared among threads and forks.

A *task* (decorator `task`) is a C function: it does one tile of work, or all that one thread does
in a launch.  `launch` runs one in several threads; it calls it through its address, so the one
function here that is compiled with ``parallel=True`` is compiled once for all of them.  It has a
serial twin for small images, single workers and forked children, where no thread may be started.
Both run the same machine code on the same tiles.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FunctionType
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

from .cache import Entries

# The flags that let sums be vectorised but keep NaN and infinity what they are.
_OPTIONS: dict[str, Any] = {
    "error_model": "numpy",
    "fastmath": {"reassoc", "nsz", "arcp", "contract"},
    "boundscheck": False,
}

jit = partial(numba.njit, nogil=True, **_OPTIONS)()
"""The decorator of every compiled helper."""

REALS = {"float32": types.float32, "float64": types.float64}


class Task:
    """A C function that does one tile, compiled a dtype at a time when first asked for."""

    def __init__(self, function: Callable[..., None], signature: Callable[[Any], Any]):
        self._function, self._signature, self.name = function, signature, function.__name__
        self._compiled: dict[np.dtype[Any] | None, Any] = {}
        self.__doc__ = function.__doc__

    def address(self, dtype: np.dtype[Any] | None = None) -> int:
        """Address of the machine code for float32 or float64, or of what works on neither."""
        if dtype not in self._compiled:
            self._compile(dtype)
        return int(self._compiled[dtype].address)

    def _compile(self, dtype: np.dtype[Any] | None) -> None:
        if numba.config.DISABLE_JIT:
            raise RuntimeError("fastdeblur is compiled code: it cannot run with NUMBA_DISABLE_JIT set")
        # The only lock taken here, and one that forks wait for.  (A cached_property would be another:
        # up to Python 3.11 it holds a lock while it computes.)
        with global_compiler_lock:
            if dtype in self._compiled:  # by another thread, while this one waited
                return
            signature = self._signature(None if dtype is None else types.CPointer(REALS[dtype.name]))
            compiled: Any = CFunc(self._function, (signature.args, signature.return_type), {}, dict(_OPTIONS))
            compiled._cache = Entries(_label(self._function))
            compiled.compile()
            self._compiled[dtype] = compiled


def task(signature: Callable[[Any], Any]) -> Callable[[Callable[..., None]], Task]:
    """Decorator: `signature` maps the type of a pointer to pixels to the C signature."""
    return lambda function: Task(function, signature)


@intrinsic  # type: ignore[untyped-decorator]
def _call(typingctx: Any, entry: Any, record: Any, slot: Any, slots: Any) -> Any:
    """Call the task at the address `entry`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        function = ir.FunctionType(ir.VoidType(), [arg.type for arg in args[1:]])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), codegen


def _each_slot(slots: int, entry: int, record: int) -> None:
    for slot in numba.prange(slots):
        _call(entry, record, slot, slots)


def launch(entry: int, record: int, slots: int) -> None:
    """Call ``entry(record, slot, slots)`` for every slot, in as many threads.

    In a forked child, and when there is one slot, the calling thread does them all, one after the
    other: an entry may not wait for another slot to begin.
    """
    if slots == 1 or _forked:
        _serial(slots, entry, record)
        return
    with _launching, _threads(slots):
        _parallel(slots, entry, record)


def warm() -> None:
    """Compile or load both twins."""
    for threads in (1, most_threads()):
        launch(_nothing.address(), 0, threads)


@task(lambda pixels: types.void(types.intp, types.intp, types.intp))
def _nothing(record: int, slot: int, slots: int) -> None:
    """A task that does nothing."""


def _renamed(function: Callable[..., None], suffix: str) -> Callable[..., None]:
    """A copy under another qualified name, which is what Numba names machine code after.

    Twins of one name, compiled in different processes and loaded from the cache into a third,
    could be taken for each other.
    """
    copy = FunctionType(function.__code__, function.__globals__, function.__name__)
    copy.__module__ = function.__module__
    copy.__qualname__ = f"{function.__qualname__}_{suffix}"
    return copy


def _label(function: Callable[..., None]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _dispatcher(function: Callable[..., None], **options: Any) -> Any:
    dispatcher = numba.njit(function, nogil=True, **_OPTIONS, **options)
    dispatcher._cache = Entries(_label(function))
    return dispatcher


_parallel = _dispatcher(_each_slot, parallel=True)
_serial = _dispatcher(_renamed(_each_slot, "serial"))

# Two threads inside Numba's workqueue layer abort the process: one launch at a time.
_launching = threading.RLock()
_forked = False


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = numba.get_num_threads()
    numba.set_num_threads(count)
    try:
        yield
    finally:
        numba.set_num_threads(before)


def most_threads() -> int:
    """How many threads Numba was started with."""
    return int(numba.config.NUMBA_NUM_THREADS)


# Waking threads takes 10 to 20 microseconds with OpenMP, but after a pause of some milliseconds
# they may wake on one core and need 8 milliseconds to part.
WORTH_THREADS = 0.3e-3


def slots(workers: int | None, tiles: int, seconds: float) -> int:
    """How many threads to launch on passes of `tiles` tiles that should take one thread that long in all.

    What is not worth threads, and any work in a forked child, is done by the calling thread.
    """
    if workers == 1 or tiles == 1 or _forked or seconds < WORTH_THREADS:
        return 1
    available = most_threads() if workers else int(numba.get_num_threads())
    return min(workers or available, available, tiles)


# A child forked while another thread computes or compiles must not inherit a lock that no one
# in the child will ever release.  GNU OpenMP ends a forked child at its first parallel launch,
# so children stay serial.
# (llvmlite's lock is taken outside Numba's too, when the garbage collector frees a module.)
_llvm = getattr(getattr(llvmlite.binding.ffi.lib, "_lock", None), "_lock", threading.RLock())
_held_over_fork = (_launching, global_compiler_lock, _llvm)


def _before_fork() -> None:
    for lock in _held_over_fork:
        lock.acquire()


def _after_fork_in_parent() -> None:
    for lock in reversed(_held_over_fork):
        lock.release()


def _after_fork_in_child() -> None:
    global _forked
    _forked = True
    _after_fork_in_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
