"""The record of an image on its way through a solve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .start import Start


@dataclass(frozen=True)
class Image:
    """An image as solvers take it, and what its caller gave.

    Attributes
    ----------
    given : object
        The caller's array, without mask and unit: results are of its kind.
    channel_axis : int or None
        Of `given`.
    annotate : callable
        Gives a result the caller's mask, unit and metadata.
    planes : ndarray, channels x rows x cols
        In the working dtype, on the engine's device; from `weigh` on without background and with missing pixels filled.
    weights : ndarray of the planes' shape, or None
        Zero where pixels are missing.
    factor : float
        By what the caller's weights were divided.
    shift : ndarray or None
        For photons: the background and read noise's variance, which were counted beside the planes.
    start : Start
        Where the solve begins.
    """

    given: Any
    channel_axis: int | None
    annotate: Callable[[np.ndarray], Any]
    planes: np.ndarray
    weights: np.ndarray | None = None
    factor: float = 1.0
    shift: np.ndarray | None = None
    start: Start = Start("image")  # noqa: RUF009 (frozen)
