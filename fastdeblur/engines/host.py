"""The engine on the host, and the contract of engines: NumPy's arrays in and out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from .. import validation
from ..kernels.runtime.arrays import joined, module_of
from ..problem.image import Image
from ..problem.options import Options
from . import annotated
from .workspaces import HostWorkspaces


class HostEngine:
    """Takes images in, gives results back, and makes the memory that solvers work in."""

    def current(self, image: Any) -> AbstractContextManager[None]:
        """A context in which to work on a caller's image."""
        return nullcontext()

    def accept(self, image: Any, channel_axis: int | None) -> Image:
        """A caller's image, checked but for its contents, as planes of the working dtype."""
        given, annotate = annotated.numbers("image", image)
        with self.current(given):
            return Image(given, channel_axis, annotate, self.planes("image", given, channel_axis))

    def planes(self, name: str, value: Any, channel_axis: int | None) -> np.ndarray:
        """An image as channels x rows x cols, see `validation.planes`."""
        return validation.planes(name, value, channel_axis)

    def pixels(self, name: str, value: Any) -> np.ndarray:
        """An image of two dimensions, see `validation.pixels`."""
        return validation.pixels(name, value, 2)

    def workspaces(self, psf: Any, planes: np.ndarray, options: Options, operation: dict[str, Any]) -> HostWorkspaces:
        """Operators, and memory for solves, of images like these planes."""
        return HostWorkspaces(psf, planes, options, operation)

    def check_out(self, out: Any, shape: tuple[int, ...], dtype: Any) -> None:
        """Refuse what a result cannot be written to."""
        if not isinstance(out, np.ndarray) or out.dtype != dtype:
            raise TypeError(f"out must be an ndarray of {dtype}; got {getattr(out, 'dtype', type(out))}")
        if out.shape != shape or not out.flags.writeable:
            raise ValueError(f"out must be writeable, of shape {shape}; its shape is {out.shape}")

    def give_back(self, image: Image, planes: np.ndarray, out: Any = None) -> Any:
        """A result as the caller of `image` gets it."""
        return image.annotate(self._handed_back(image, planes, out))

    def shown_to(self, callback: Callable[[Any], Any] | None, image: Image) -> Callable[[Any], Any] | None:
        """The caller's callback, for states whose estimate are planes."""
        if callback is None:
            return None
        return lambda state: callback(replace(state, estimate=self._shown(image, state.estimate)))

    def checked_denoiser(
        self, denoiser: Callable[..., Any] | None, image: Image
    ) -> Callable[[np.ndarray, float], np.ndarray] | None:
        """The caller's denoiser, for planes of the estimate; its results are checked.

        It sees the estimate as the kind of array that the caller's image is.
        """
        axis = image.channel_axis
        if denoiser is None:
            return None

        def denoise(planes: np.ndarray, sigma: float) -> np.ndarray:
            noisy = self._handed_back(image, planes, None)
            answer = self._taken(denoiser(noisy, sigma))
            if answer.shape != noisy.shape:
                raise ValueError(
                    f"prior must return an image of the shape it is given, {noisy.shape}; got {answer.shape}"
                )
            if answer.dtype.kind not in "biuf":
                raise ValueError(f"prior must return finite real numbers; got {answer.dtype}")
            xp = module_of(answer)
            with np.errstate(over="ignore"):
                denoised: np.ndarray = answer.astype(planes.dtype)
            if not xp.isfinite(denoised).all():
                raise ValueError(
                    f"prior must return finite real numbers that {planes.dtype} can hold; got NaN or infinity"
                )
            return denoised[None] if axis is None else xp.moveaxis(denoised, axis, 0)

        return denoise

    def _handed_back(self, image: Image, planes: np.ndarray, out: Any) -> Any:
        """Planes as an array of the kind of the caller's image, or in `out`."""
        whole = joined(planes, image.channel_axis)
        if out is None:
            return np.ascontiguousarray(whole)
        np.copyto(out, whole)
        return out

    def _shown(self, image: Image, planes: np.ndarray) -> Any:
        """Planes of an estimate as callbacks see them."""
        return joined(planes, image.channel_axis)

    def _taken(self, value: Any) -> np.ndarray:
        """What a caller's denoiser returned."""
        validation.unannotated("prior's result", value)
        return np.asarray(value)
