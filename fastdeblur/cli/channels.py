"""Solver of an image's channels, jointly with one weight (mu), or each by itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..deblurrer import Deblurrer
from ..operators.varying import VaryingBlur
from ..result import Result
from .deblur_tiled import channel_of


class Channels:
    """A deblurrer of images of one shape, of which the last of three axes has the channels.

    Parameters
    ----------
    psf : ndarray or VaryingBlur
    shape : tuple of int
    options : dict
        Of `Deblurrer`.
    separate : bool
        Whether each channel is a problem of its own.
    mu : dict or None
        The weights of another one, by channel, that `keep_mu` has set: they hold here too.
    """

    def __init__(
        self,
        psf: np.ndarray | VaryingBlur,
        shape: tuple[int, ...],
        options: dict[str, Any],
        separate: bool,
        mu: dict[int | None, float] | None = None,
    ):
        self._psf, self._shape, self._options = psf, shape, options
        self._separate = separate and len(shape) == 3
        self._built: dict[int | None, Deblurrer] = {}
        self.mu: dict[int | None, float] = mu or {}
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

    def keep_mu(self, results: list[Result]) -> None:
        """Use the weights (mu) of these results for all further images."""
        for channel, result in zip(range(len(results)) if self._separate else [None], results, strict=True):
            self.mu[channel] = result.mu
        self._built.clear()

    def _deblurrer(self, channel: int | None) -> Deblurrer:
        """The deblurrer of a channel, or of all; one for all where nothing tells channels apart."""
        parts = [value for value in (self._psf, *self._options.values()) if getattr(value, "ndim", 0) == 3]
        same = self._separate and not parts and not self.mu
        key = 0 if same else channel
        if key not in self._built:
            options = {name: channel_of(value, channel) for name, value in self._options.items()}
            if channel in self.mu:
                options["mu"] = self.mu[channel]
            joint = channel is None
            self._built[key] = Deblurrer(
                channel_of(self._psf, channel),
                self._shape if joint else self._shape[:2],
                channel_axis=-1 if joint and len(self._shape) == 3 else None,
                **options,
            )
        return self._built[key]
