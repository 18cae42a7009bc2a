"""All compiled kernels of the CPU, for processes that share the work of compiling them."""

import gc
import importlib
import os
import pkgutil

import numpy as np

# Those that take longest come first: so the processes end at about the same time.
DEAREST = ["z_update", "varying", "multigrid", "responses", "lines", "passes", "roots", "vectors", "fft"]
# Modules whose tasks share helpers, which a process compiles once.
TOGETHER = {"z_update_gradient": "z_update"}
NO_DTYPE = ["descend", "single_pass"]


def tasks_and_dtypes():
    """Each task with each dtype, the dearest first; those of a module and a dtype follow each other."""
    import fastdeblur.kernels.cpu as package
    from fastdeblur.kernels.runtime.tasks import Task

    names = [f"{package.__name__}.{each.name}" for each in pkgutil.iter_modules(package.__path__)]
    modules = [importlib.import_module(name) for name in names]
    tasks = {id(each): each for module in modules for each in vars(module).values() if isinstance(each, Task)}
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        for task in sorted(tasks.values(), key=lambda task: _rank(module_of(task))):
            if task.name not in NO_DTYPE:
                yield task, dtype
    yield from ((task, None) for task in tasks.values() if task.name in NO_DTYPE)


def module_of(task):
    """The module that a task is in, or the one with whose tasks it shares helpers."""
    name = task._function.__module__.rpartition(".")[2]
    return TOGETHER.get(name, name)


def _rank(module):
    return DEAREST.index(module) if module in DEAREST else len(DEAREST), module


def compile_unclaimed(claims):
    """Compile, or load from the cache, what no other process has claimed by a file in this folder."""
    from fastdeblur.kernels.runtime import cache

    if not cache.folders():  # nothing would come of it for the others
        return
    claims.mkdir(exist_ok=True)
    gc.disable()  # it would look through all modules a dozen times
    mine = set()
    for task, dtype in tasks_and_dtypes():
        claim = f"{module_of(task)}-{dtype}"
        try:
            os.close(os.open(claims / claim, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            if claim not in mine:
                continue
        mine.add(claim)
        task.address(dtype)
    gc.enable()
