"""Numba's CUDA simulator, some twenty times faster: a block's threads are greenlets, not threads of Python's.

Each runs until it waits for the others, in turn.  What is replaced computes the same, but that ``syncthreads`` here
must be met by all threads of the block, as on a GPU: the simulator's lets those go by that have returned.
"""

import contextlib
import sys

import greenlet
import numba.cuda
import numpy as np
from numba.cuda.simulator import kernel, kernelapi
from numba.cuda.simulator.cudadrv import devicearray
from numba.np import numpy_support


class _Thread(greenlet.greenlet):
    """One thread of a block."""

    def __init__(self, run, block, thread):
        super().__init__(run)
        self.blockIdx, self.threadIdx = kernelapi.Dim3(*block), kernelapi.Dim3(*thread)


def _run_block(self, block, *args):
    threads = [_Thread(lambda: self._f(*args), block, thread) for thread in np.ndindex(*self._block_dim)]
    waiting = threads
    while waiting:
        for thread in waiting:
            thread.switch()
        left = [thread for thread in waiting if not thread.dead]
        assert not left or len(left) == len(waiting), "some threads wait for others that have returned"
        waiting = left


def _shared_array(self, shape, dtype):
    caller = sys._getframe(1)
    place = caller.f_code.co_filename, caller.f_lineno
    if place not in self._allocations:
        kind = numpy_support.as_dtype(dtype) if hasattr(dtype, "bitwidth") else dtype
        # Not zeros: on a GPU there is what was there before.
        self._allocations[place] = np.full(shape, 99, kind)
    return self._allocations[place]


class _Module:
    """The name ``cuda``: what a running kernel has by it, else the module."""

    def __init__(self, module):
        self._module = module

    def jit(self, *args, max_registers=None, **options):
        """The simulator's does not know all options; packages that are imported beside this one use them."""
        return self._module.jit(*args, **options)

    def __getattr__(self, name):
        running = kernel._kernel_context
        return getattr(running if running is not None and hasattr(running, name) else self._module, name)


def quicken():
    """To be called before the package's GPU kernels are imported."""
    numba.cuda = _Module(numba.cuda)
    kernel.swapped_cuda_module = lambda function, module: contextlib.nullcontext()
    kernel.BlockManager.run = _run_block
    kernelapi.FakeCUDAModule.threadIdx = property(lambda self: greenlet.getcurrent().threadIdx)
    kernelapi.FakeCUDAModule.blockIdx = property(lambda self: greenlet.getcurrent().blockIdx)
    kernelapi.FakeCUDAModule.syncthreads = lambda self: greenlet.getcurrent().parent.switch()
    kernelapi.FakeCUDAShared.array = _shared_array
    devicearray.FakeWithinKernelCUDAArray.__getattr__ = lambda self, name: getattr(self._item._ary, name)


if numba.config.ENABLE_CUDASIM:
    quicken()
