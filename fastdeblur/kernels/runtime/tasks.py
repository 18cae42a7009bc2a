"""Tasks: C functions compiled by Numba, and their launch on threads.

A *task* (decorator `task`) is a C function: it does one tile of work, or all that one thread does
in a launch.  `launch` runs one in several threads; it calls it through its address, so the one
function here that is compiled with ``parallel=True`` is compiled once for all of them.  It has a
serial twin for small images, single workers and forked children, where no thread may be started.
Both run the same machine code on the same tiles.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

from . import forks, privates, threads
from .cache import Entries

# The flags that let sums be vectorised but keep NaN and infinity what they are.
_OPTIONS: dict[str, Any] = {
    "error_model": "numpy",
    "fastmath": {"reassoc", "nsz", "arcp", "contract"},
    "boundscheck": False,
}

jit = partial(numba.njit, nogil=True, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)()
"""The decorator of every compiled helper.

Helpers are inlined.  One that stayed a function of its own was linked, in the process that compiled a task, to a copy
that had been compiled on its own before, and in processes that load the task to the copy that came with it: sums
differed in their last bits.  They have no wrappers, with which a first `deblur` took a sixth longer to compile (19.3
CPU seconds, not 16.4): Python cannot call them.
"""

inlined: Any = partial(numba.njit, inline="always", **_OPTIONS)()
"""The decorator of a helper that one place in a task calls: Numba puts it into its caller before anything is compiled.

One decorated by `jit` is compiled for itself, and again within each that calls it.
"""

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

        def compile_once() -> None:
            if dtype in self._compiled:  # by another thread, while this one waited
                return
            signature = self._signature(None if dtype is None else types.CPointer(REALS[dtype.name]))
            compiled: Any = CFunc(self._function, (signature.args, signature.return_type), {}, dict(_OPTIONS))
            privates.set_cache(compiled, Entries(_label(self._function)))
            compiled.compile()
            self._compiled[dtype] = compiled

        _undisturbed(compile_once)


def _undisturbed(work: Callable[[], None]) -> None:
    """Compile or load something where no signal's handler can raise, which is any thread but the main one.

    A Ctrl-C within would leave Numba and LLVM half-way: code loaded after it ended the process.  So the
    main thread has it done and only waits; if interrupted, it leaves the other to finish.
    """
    failures = []

    def locked() -> None:
        # The only lock taken here, and one that forks wait for.  (A cached_property would be another:
        # up to Python 3.11 it holds a lock while it computes.)
        with forks.compiling:
            work()

    def caught() -> None:
        try:
            locked()
        except BaseException as failure:  # noqa: BLE001 -- raised below
            failures.append(failure)

    if threading.current_thread() is not threading.main_thread() or forks.compiling._is_owned():
        locked()
        return
    thread = threading.Thread(target=caught, name="fastdeblur's compiler")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def task(signature: Callable[[Any], Any]) -> Callable[[Callable[..., None]], Task]:
    """Decorator: `signature` maps the type of a pointer to pixels to the C signature."""
    return lambda function: Task(function, signature)


@intrinsic  # type: ignore[untyped-decorator]
def _call(typingctx: Any, entry: Any, record: Any, thread: Any, count: Any) -> Any:
    """Call the task at the address `entry`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        function = ir.FunctionType(ir.VoidType(), [arg.type for arg in args[1:]])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), codegen


@intrinsic  # type: ignore[untyped-decorator]
def _threads(typingctx: Any) -> Any:
    """How many threads parallel code that this thread calls may have."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        number = context.get_value_type(sig.return_type)
        function = ir.FunctionType(number, [])  # as Numba declares what is an int
        thread_count = builder.call(cgutils.get_or_insert_function(builder.module, function, "get_num_threads"), [])
        return builder.sext(builder.trunc(thread_count, ir.IntType(32)), number)

    return types.intp(), codegen


@intrinsic  # type: ignore[untyped-decorator]
def _set_threads(typingctx: Any, count: Any) -> Any:
    """Let parallel code that this thread calls have `count` threads."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        function = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])
        entry = cgutils.get_or_insert_function(builder.module, function, "set_num_threads")
        builder.call(entry, [builder.trunc(args[0], ir.IntType(32))])
        return context.get_dummy_value()

    return types.void(types.intp), codegen


def _in_threads(count: int, entry: int, record: int) -> None:
    # Here, and not in Python, no interrupt can come before the number of threads is put back.
    before = _threads()
    _set_threads(count)
    for thread in numba.prange(count):
        _call(entry, record, thread, count)
    _set_threads(before)


def _one_by_one(count: int, entry: int, record: int) -> None:
    for thread in range(count):
        _call(entry, record, thread, count)


def launch(entry: int, record: int, count: int) -> None:
    """Call ``entry(record, thread, count)`` for `count` threads, numbered from 0, each in one of its own.

    In a forked child, and when there is one thread, the calling thread does them all, one after the
    other: an entry may not wait for another thread to begin.
    """
    with forks.unforked():
        if count == 1 or forks.forked():
            _loaded(_serial)(count, entry, record)
        else:
            with forks.launching:
                _loaded(_parallel)(count, entry, record)


def warm() -> None:
    """Compile or load both twins."""
    for count in (1, int(numba.config.NUMBA_NUM_THREADS)):
        launch(_nothing.address(), 0, count)


@task(lambda pixels: types.void(types.intp, types.intp, types.intp))
def _nothing(record: int, thread: int, count: int) -> None:
    """A task that does nothing."""


def _label(function: Callable[..., None]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _dispatcher(function: Callable[..., None], **options: Any) -> Any:
    dispatcher = numba.njit(function, nogil=True, **_OPTIONS, **options)
    privates.set_cache(dispatcher, Entries(_label(function)))
    return dispatcher


_parallel = _dispatcher(_in_threads, parallel=True)
_serial = _dispatcher(_one_by_one)


def _loaded(twin: Any) -> Any:
    """The twin, compiled or loaded."""
    if not twin.overloads:
        if twin is _parallel:
            threads.start()  # TBB wants that done by a thread that stays
        _undisturbed(lambda: twin.compile((types.intp,) * 3))
    return twin
