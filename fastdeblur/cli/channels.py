"""The channels of an image, solved as one problem with one weight, or each by itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..deblurrer import Deblurrer
from ..result import Result


class Channels:
    """What deblurs images of one shape, of which the last of three axes has the channels.

    Parameters
    ----------
    psf : ndarray
    shape : tuple of int
    options : dict
        Of `Deblurrer`.
    separate : bool
        Whether each channel is a problem of its own.
    weights : dict or None
        The weights (mu) of another one, by channel, that `keep_weights` has set: they hold here too.
    """

    def __init__(
        self,
        psf: np.ndarray,
        shape: tuple[int, ...],
        options: dict[str, Any],
        separate: bool,
        weights: dict[int | None, float] | None = None,
    ):
        self._psf, self._shape, self._options = psf, shape, options
        self._separate = separate and len(shape) == 3
        self._built: dict[int | None, Deblurrer] = {}
        self.weights: dict[int | None, float] = weights or {}
        for name, value in options.items() if self._separate else ():
            if isinstance(value, np.ndarray) and value.ndim > 2 and value.shape != shape:
                raise ValueError(f"{name} must have the image's shape {shape}; its shape is {value.shape}")
        self._deblurrer(0 if self._separate else None)  # it checks all others

    def solve(self, image: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, list[Result]]:
        """The restored image, and the account of it, or of each channel."""
        if not self._separate:
            result = self._deblurrer(None).solve(image, weights=weights)
            return result.image, [result]
        results = []
        for channel in range(image.shape[2]):
            own = weights[..., channel] if weights is not None and weights.ndim == 3 else weights
            results.append(self._deblurrer(channel).solve(np.ascontiguousarray(image[..., channel]), weights=own))
        return np.stack([result.image for result in results], axis=-1), results

    def keep_weights(self, results: list[Result]) -> None:
        """Take the weights (mu) that were found for all further images."""
        for channel, result in zip(range(len(results)) if self._separate else [None], results, strict=True):
            self.weights[channel] = result.mu
        self._built.clear()

    def _deblurrer(self, channel: int | None) -> Deblurrer:
        """What solves a channel, or all of them; one for all where nothing tells them apart."""
        parts = [value for value in (self._psf, *self._options.values()) if getattr(value, "ndim", 0) == 3]
        same = self._separate and not parts and not self.weights
        key = 0 if same else channel
        if key not in self._built:
            options = {name: _of(channel, value) for name, value in self._options.items()}
            if channel in self.weights:
                options["mu"] = self.weights[channel]
            joint = channel is None
            self._built[key] = Deblurrer(
                _of(channel, self._psf),
                self._shape if joint else self._shape[:2],
                channel_axis=-1 if joint and len(self._shape) == 3 else None,
                **options,
            )
        return self._built[key]


def _of(channel: int | None, value: Any) -> Any:
    """What of an option is a channel's."""
    if channel is None or not isinstance(value, np.ndarray) or value.ndim < 3:
        return value
    return np.ascontiguousarray(value[..., channel])
