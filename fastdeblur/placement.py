"""Where the images of a solve are: in the host's memory, or in a GPU's."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from . import checks
from .arrays import joined, on_gpu


class OnHost:
    """NumPy's arrays in and out."""

    def current(self, image: Any) -> AbstractContextManager[None]:
        """A context in which to work on a caller's image."""
        return nullcontext()

    def planes(self, name: str, value: Any, channel_axis: int | None) -> np.ndarray:
        """A caller's image as `checks.planes`."""
        return checks.planes(name, value, channel_axis)

    def pixels(self, name: str, value: Any) -> np.ndarray:
        """A caller's image as `checks.pixels`."""
        return checks.pixels(name, value, 2)

    def shown(self, planes: np.ndarray, image: Any, channel_axis: int | None) -> Any:
        """Planes of an estimate as callbacks for an image see them."""
        return joined(planes, channel_axis)

    def taken(self, value: Any) -> np.ndarray:
        """What a caller's function returned."""
        checks.unannotated("prior's result", value)
        return np.asarray(value)

    def check_out(self, out: Any, shape: tuple[int, ...], dtype: Any) -> None:
        """Refuse an `out` that a result does not fit in."""
        if not isinstance(out, np.ndarray) or out.dtype != dtype:
            raise TypeError(f"out must be an ndarray of {dtype}; got {getattr(out, 'dtype', type(out))}")
        if out.shape != shape or not out.flags.writeable:
            raise ValueError(f"out must be writeable, of shape {shape}; its shape is {out.shape}")

    def handed_back(self, planes: np.ndarray, image: Any, out: Any, channel_axis: int | None) -> Any:
        """A result as the caller of an image gets it."""
        whole = joined(planes, channel_axis)
        if out is None:
            return np.ascontiguousarray(whole)
        np.copyto(out, whole)
        return out


class OnDevice(OnHost):
    """Arrays on a GPU inside; outside what the caller has there, or NumPy's."""

    def current(self, image: Any) -> AbstractContextManager[None]:
        from .cuda import device

        return device.current(image)

    def planes(self, name: str, value: Any, channel_axis: int | None) -> np.ndarray:
        from .cuda import device

        if not on_gpu(value):  # cast before it travels
            planes: np.ndarray = device.put(super().planes(name, value, channel_axis))
            return planes
        array = checks.device_array(name, value)
        checks.ndim(name, array, 2 if channel_axis is None else 3, checks.planes_hint(channel_axis))
        planes = checks.as_planes(array, channel_axis)
        return device.arrays().ascontiguousarray(planes)  # type: ignore[no-any-return]

    def pixels(self, name: str, value: Any) -> np.ndarray:
        if not on_gpu(value):
            return super().pixels(name, value)
        from .cuda import device

        with device.current(value):
            array: np.ndarray = checks.device_array(name, value)
        checks.ndim(name, array, 2)
        return array

    def shown(self, planes: np.ndarray, image: Any, channel_axis: int | None) -> Any:
        from .cuda import device

        whole = device.like(joined(planes, channel_axis), image)
        if isinstance(whole, np.ndarray):
            whole.flags.writeable = False
        return whole

    def taken(self, value: Any) -> np.ndarray:
        from .cuda import device

        array: np.ndarray = device.on_device(value) if on_gpu(value) else device.put(np.asarray(value))
        return array

    def check_out(self, out: Any, shape: tuple[int, ...], dtype: Any) -> None:
        if not on_gpu(out):
            super().check_out(out, shape, dtype)
            return
        from .cuda import device

        found = device.on_device(out)
        if found.dtype != dtype or found.shape != shape:
            raise ValueError(f"out must be {dtype} of shape {shape}; got {found.dtype} of shape {found.shape}")

    def handed_back(self, planes: np.ndarray, image: Any, out: Any, channel_axis: int | None) -> Any:
        from .cuda import device

        whole = device.arrays().ascontiguousarray(joined(planes, channel_axis))
        return device.like(whole, image) if out is None else device.write(whole, out)


PLACES = {"cpu": OnHost(), "cuda": OnDevice()}
