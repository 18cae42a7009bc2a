"""All compiled kernels of the CPU, for processes that share the work of compiling them."""

import gc
import importlib
import os
import pkgutil

import numpy as np

# Those that take longest come first: so the processes end at about the same time.
DEAREST = ["z_update", "apply_varying_adjoint", "apply_varying", "apply", "restrict_residual", "solve", "descend"]
NO_DTYPE = ["descend", "single_pass"]


def tasks_and_dtypes():
    """Each task with each dtype, the dearest first."""
    import fastdeblur.kernels.cpu as package
    from fastdeblur.kernels.runtime.tasks import Task

    names = [f"{package.__name__}.{each.name}" for each in pkgutil.iter_modules(package.__path__)]
    modules = [importlib.import_module(name) for name in names]
    tasks = {id(each): each for module in modules for each in vars(module).values() if isinstance(each, Task)}
    rank = {name: number for number, name in enumerate(DEAREST)}
    for task in sorted(tasks.values(), key=lambda task: rank.get(task.name, len(rank))):
        for dtype in (None,) if task.name in NO_DTYPE else (np.dtype(np.float32), np.dtype(np.float64)):
            yield task, dtype


def compile_unclaimed(claims):
    """Compile, or load from the cache, what no other process has claimed by a file in this folder."""
    from fastdeblur.kernels.runtime import cache

    if not cache.folders():  # nothing would come of it for the others
        return
    claims.mkdir(exist_ok=True)
    gc.disable()  # it would look through all modules a dozen times
    for task, dtype in tasks_and_dtypes():
        try:
            os.close(os.open(claims / f"{task.name}-{dtype}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        task.address(dtype)
    gc.enable()
