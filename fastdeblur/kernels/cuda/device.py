"""The GPU (CUDA): whether there is one, arrays on it, the stream that everything runs on.

Arrays are CuPy's.  On Numba's simulator, which has kernels but nothing else of a GPU, NumPy's stand in for them.
Work runs on CuPy's current device and stream, which `current` sets to those of the caller's array.
"""

from __future__ import annotations

import functools
import importlib.util
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from ..runtime.arrays import on_gpu, transforms_of
from .shapes import LINE, SIMULATED

INSTALL = "pip install 'fastdeblur[cuda12]' (or cuda13, as your driver)"
_CONFIGURING = threading.Lock()


@functools.cache
def arrays() -> Any:
    """CuPy, or NumPy on the simulator.

    Raises
    ------
    RuntimeError
        If there is no GPU that can be used.
    """
    if SIMULATED:
        return np
    from numba import cuda

    try:
        reason = "" if len(cuda.gpus) else "Numba finds none"
    except Exception as error:  # noqa: BLE001 (whatever the driver says)
        reason = " ".join(str(error).split()).rstrip(":. ") or type(error).__name__
    if reason:
        raise RuntimeError(f"device='cuda' needs an NVIDIA GPU and its driver: {reason}")
    for name in ("numba_cuda", "cupy"):
        if importlib.util.find_spec(name) is None:
            raise RuntimeError(f"device='cuda' needs the package {name.replace('_', '-')}: {INSTALL}")
    if not cuda.is_available():  # there is a GPU, so it is the compiler's libraries that are not
        raise RuntimeError(f"device='cuda' needs the CUDA toolkit, in which Numba finds no NVVM: {INSTALL}")
    import cupy

    return cupy


@functools.cache
def transforms() -> Any:
    """What has `rfft2` and `irfft2` for `arrays`: cuFFT by CuPy, or SciPy on the simulator."""
    return transforms_of(arrays().zeros(0))


def on_device(value: Any) -> Any:
    """A GPU's memory as one of `arrays`, without copying it."""
    if SIMULATED:  # the interface with host memory behind it, as tests make it
        interface = value.__cuda_array_interface__
        shape, kind = interface["shape"], np.dtype(interface["typestr"])
        strides = interface.get("strides")
        holder = type("Holder", (), {"__array_interface__": {
            "shape": shape, "typestr": kind.str, "data": interface["data"], "strides": strides, "version": 3,
        }})()  # fmt: skip
        return np.asarray(holder)
    if type(value).__module__.split(".")[0] == "torch":
        value = value.detach()  # what is differentiated does not show its memory
    return arrays().asarray(value)


def to_host(array: Any) -> np.ndarray:
    """A copy of what is on the device, in the host's memory; waits for it."""
    host: np.ndarray = np.array(array) if arrays() is np else arrays().asnumpy(array)
    return host


def like(array: Any, value: Any) -> Any:
    """An array on the device as the kind of object that `value` is: NumPy's, CuPy's, Torch's or Numba's."""
    if not on_gpu(value):
        return to_host(array)
    kind = type(value).__module__.split(".")[0]
    if kind == "torch":
        import torch

        return torch.as_tensor(array, device=value.device)
    if kind in ("numba", "numba_cuda"):
        from numba import cuda

        return cuda.as_cuda_array(array)
    return array


def is_finite(array: Any) -> bool:
    return bool(arrays().isfinite(array).all())


def write(array: Any, out: Any) -> Any:
    """Put a result where the caller wants it, which has been checked."""
    if on_gpu(out):
        on_device(out)[...] = array
    else:
        out[...] = to_host(array)
    return out


def view(array: Any) -> Any:
    """The array as kernels take it; made once, since it takes as long as a small launch."""
    from numba import cuda

    if SIMULATED:
        from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

        return FakeCUDAArray(array)
    return cuda.as_cuda_array(array, sync=False)


class _Foreign:
    """A stream that another package has made, by the CUDA stream protocol."""

    def __init__(self, address: int):
        self._address = int(address)

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._address


@contextmanager
def current(value: Any) -> Iterator[None]:
    """Work on the device and stream of the caller's array; of a NumPy array, on CuPy's current ones."""
    if SIMULATED or not on_gpu(value):
        arrays()
        yield
        return
    from numba import cuda

    cupy = arrays()
    pixels, kind, stream = on_device(value), type(value).__module__.split(".")[0], None
    with ExitStack() as stack:
        stack.enter_context(cupy.cuda.Device(pixels.device.id))
        stack.enter_context(cuda.gpus[pixels.device.id])
        if kind == "torch":
            import torch

            stream = torch.cuda.current_stream(value.device).cuda_stream
        elif kind != "cupy":
            stream = value.__cuda_array_interface__.get("stream")
        if stream is not None:
            stack.enter_context(cupy.cuda.Stream.from_external(_Foreign(stream)))
        yield


@functools.lru_cache(maxsize=64)
def _stream(device: int, address: int) -> Any:
    """The current device's stream at an address; `device` is for the cache, which must tell devices apart."""
    from numba import cuda

    # Not Numba's default stream, which may be one for each thread where CuPy's is the legacy one.
    return cuda.external_stream(address) if address else cuda.legacy_default_stream()


def place() -> tuple[int, int]:
    """The current device and stream: what runs elsewhere may not be done with memory that is given back here."""
    if SIMULATED:
        return 0, 0
    cupy = arrays()
    return int(cupy.cuda.runtime.getDevice()), int(cupy.cuda.get_current_stream().ptr)


def _configured(kernel: Any, blocks: Any, threads: Any, stream: Any) -> Any:
    """A kernel that is ready for arguments, without Numba's warning of grids that do not fill the GPU."""
    if SIMULATED:
        return kernel[blocks, threads, stream]
    return _quietly_configured(kernel, blocks, threads, stream)


@functools.lru_cache(maxsize=1024)
def _quietly_configured(kernel: Any, blocks: Any, threads: Any, stream: Any) -> Any:
    from numba import config

    with _CONFIGURING:
        before = config.CUDA_LOW_OCCUPANCY_WARNINGS
        config.CUDA_LOW_OCCUPANCY_WARNINGS = 0
        try:
            return kernel[blocks, threads, stream]
        finally:
            config.CUDA_LOW_OCCUPANCY_WARNINGS = before


def launch(kernel: Any, blocks: Any, threads: Any, *arguments: Any) -> None:
    """Run a kernel on the current stream."""
    stream = 0
    if not SIMULATED:
        cupy = arrays()
        now = cupy.cuda.get_current_stream()
        stream = _stream(cupy.cuda.runtime.getDevice(), now.ptr)
    _configured(kernel, blocks, threads, stream)(*arguments)


def rows_of(planes: int, rows: int, cols: int) -> tuple[tuple[int, int, int], int]:
    """Blocks and threads for kernels whose blocks go through a row each."""
    return (rows, 1, planes), LINE


def zeros(shape: Any, dtype: Any) -> Any:
    return arrays().zeros(shape, dtype)


def put(array: Any) -> Any:
    """A copy of a NumPy array on the device, in C order: kernels are compiled anew for others."""
    return arrays().array(array, order="C")
