"""Forks: no child inherits a lock that another thread holds.

A child has the thread that forked it and no other.  A lock that another thread held at that moment
stays held in the child for good, and so does one inside C++ code, such as that of a table of plans
for transforms.  So forks wait until no thread holds one: each thread has a lock of its own, which it
holds while it runs such code (`unforked`), and a fork takes all of them.
"""

from __future__ import annotations

import _thread
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Iterable
from functools import partial
from operator import methodcaller
from typing import Any

import numba

from . import privates

# Always taken in this order: a thread's own, `launching`, the compiler's, LLVM's.
launching = threading.RLock()
"""Two threads inside Numba's workqueue layer abort the process: one parallel launch at a time."""

compiling = privates.lock(privates.COMPILER_LOCK)
"""Numba's, which every compilation holds."""

# Taken outside Numba's too, when the garbage collector frees a module.
_llvm = privates.lock(privates.LLVM_LOCK)

_registering = threading.RLock()
_registered: list[weakref.ref[Any]] = []


class _Own(threading.local):
    """A thread's own lock, made when it first needs one."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        with _registering:
            _registered[:] = [each for each in _registered if each() is not None]
            _registered.append(weakref.ref(self.lock))


_own = _Own()


def unforked() -> Any:
    """A context in which no other thread forks; short, and the only lock taken within it may be `launching`."""
    return _own.lock


# Signals' handlers run between any two bytecodes, and what they raise in a hook is printed and forgotten.
# So locks are taken and given back by single calls into C, and how many were taken is known from a list.
_take, _give = methodcaller("acquire"), methodcaller("release")
_consume = deque[Any](maxlen=0).extend
_taken: dict[str, Iterable[Any]] = {}
_interrupted: list[bool] = []


def _before_fork() -> None:
    locks: list[Any] = [_registering]
    taken: list[Any] = []
    interrupted = False
    while True:
        try:
            if len(taken) == len(locks) > 1:
                _taken["locks"] = map(_give, reversed(locks))
                break
            if taken and len(locks) == 1:
                owns = [lock for each in _registered if (lock := each()) is not None]
                locks = [_registering, *owns, launching, compiling, _llvm]
            taken.extend(map(_take, locks[len(taken) :]))
        except BaseException:  # noqa: BLE001 -- without these locks the child may hang
            interrupted = True
    if interrupted:
        _interrupted.append(True)


# Gives back what the last fork took; called without a bytecode of Python's in between.
_give_back = partial(next, map(_consume, iter(partial(_taken.pop, "locks", ()), None)))


def _after_fork_in_parent() -> None:
    """Let the caller have the Ctrl-C that came while the fork waited, once the hooks of others are through, too."""
    if _interrupted:
        _interrupted.clear()
        threading.Timer(0.05, _thread.interrupt_main).start()


_process = os.getpid()
# Whether Numba had started threads when this process was forked.
_threads_lost = False


def _after_fork_in_child() -> None:
    global _threads_lost
    _interrupted.clear()
    try:
        numba.threading_layer()
    except ValueError:
        return
    _threads_lost = True


def forked() -> bool:
    """Whether this process may start no threads, as it was forked after this was imported.

    GNU OpenMP ends a forked child at its first parallel launch if Numba had launched before, and lets
    it hang if another library had.  Children of a forkserver are forked from a process that has only
    imported modules; they may have threads.
    """
    return os.getpid() != _process and (_threads_lost or not _of_forkserver())


def _of_forkserver() -> bool:
    processes = sys.modules.get("multiprocessing.process")
    return processes is not None and type(processes.current_process()).__name__ == "ForkServerProcess"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_give_back, after_in_child=_give_back)
    os.register_at_fork(after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
