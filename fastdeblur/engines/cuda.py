"""The engine on an NVIDIA GPU: inside CuPy's arrays; outside what the caller has there, or NumPy's."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from .. import validation
from ..kernels.cuda import device
from ..kernels.runtime.arrays import joined, on_gpu
from ..problem.image import Image
from ..problem.options import Options
from .host import HostEngine
from .workspaces import HostWorkspaces


class CudaEngine(HostEngine):
    """The engine whose arrays are on CuPy's current device."""

    def current(self, image: Any) -> AbstractContextManager[None]:
        return device.current(image)

    def planes(self, name: str, value: Any, channel_axis: int | None) -> np.ndarray:
        if not on_gpu(value):  # cast before it travels
            planes: np.ndarray = device.put(super().planes(name, value, channel_axis))
            return planes
        array = validation.device_array(name, value)
        validation.ndim(name, array, 2 if channel_axis is None else 3, validation.planes_hint(channel_axis))
        planes = validation.as_planes(array, channel_axis)
        return device.arrays().ascontiguousarray(planes)  # type: ignore[no-any-return]

    def pixels(self, name: str, value: Any) -> np.ndarray:
        if not on_gpu(value):
            return super().pixels(name, value)
        with device.current(value):
            array: np.ndarray = validation.device_array(name, value)
        validation.ndim(name, array, 2)
        return array

    def workspaces(self, psf: Any, planes: np.ndarray, options: Options, operation: dict[str, Any]) -> HostWorkspaces:
        from .workspaces_cuda import CudaWorkspaces  # compiles kernels, for which there must be a GPU

        return CudaWorkspaces(psf, planes, options, operation)

    def check_out(self, out: Any, shape: tuple[int, ...], dtype: Any) -> None:
        if not on_gpu(out):
            super().check_out(out, shape, dtype)
            return
        target = device.on_device(out)
        if target.dtype != dtype or target.shape != shape:
            raise ValueError(f"out must be {dtype} of shape {shape}; got {target.dtype} of shape {target.shape}")

    def _handed_back(self, image: Image, planes: np.ndarray, out: Any) -> Any:
        whole = device.arrays().ascontiguousarray(joined(planes, image.channel_axis))
        return device.like(whole, image.given) if out is None else device.write(whole, out)

    def _shown(self, image: Image, planes: np.ndarray) -> Any:
        whole = device.like(joined(planes, image.channel_axis), image.given)
        if isinstance(whole, np.ndarray):
            whole.flags.writeable = False
        return whole

    def _taken(self, value: Any) -> np.ndarray:
        array: np.ndarray = device.on_device(value) if on_gpu(value) else device.put(np.asarray(value))
        return array
