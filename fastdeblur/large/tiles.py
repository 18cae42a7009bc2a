"""One tile: the window around it, solved as a small image."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from ..deblurrer import Deblurrer
from ..result import Result
from .windows import Window


class Quiet(Deblurrer):
    """One that does not say again what has been said of the psf."""

    def _hint(self, psf: np.ndarray) -> None:
        pass


class Solver:
    """Solves windows, all with the same options.

    Parameters
    ----------
    psf : ndarray
    boundary : str
        What lies outside the image.
    level : float
        What tiles get of which no pixel counts.
    options : dict
        For a Deblurrer, without weights and boundary; `channel_axis` is 0.
    kept : int
        For how many shapes of windows memory is kept.
    """

    def __init__(self, psf: np.ndarray, boundary: str, level: float, options: dict[str, Any], kept: int):
        self._most = kept
        self._psf, self._boundary, self._level, self._options = psf, boundary, level, options
        self._kept: dict[Any, Deblurrer] = {}
        self._turn = threading.Lock()

    def __call__(
        self, planes: np.ndarray, weights: np.ndarray | None, window: Window
    ) -> tuple[np.ndarray, Result | None]:
        """The restored tile of a window, channels first, and how it went; nothing did where no pixel counts.

        A side that is the image's own has the image's boundary, and nothing is assumed beyond any other: where the
        two meet, pixels that see beyond those are left out, which says the same.
        """
        whole = all(window.edges) and not any(window.joints)
        boundary = self._boundary if any(window.edges) else "unknown"
        if boundary != "unknown" and not whole:
            weights = np.ones(planes.shape, planes.dtype) if weights is None else weights.copy()
            _leave_out(weights, self._psf.shape[-2:], window)
        holes = np.isnan(planes) if weights is None else np.isnan(planes) | (weights == 0)
        inner = (slice(None), *window.inner)
        if holes.all() and not whole:
            return np.full(planes[inner].shape, self._level, planes.dtype), None
        result = self._deblurrer(planes.shape, boundary).solve(planes, weights=weights)
        return result.image[inner], result

    def _deblurrer(self, shape: tuple[int, ...], boundary: str) -> Deblurrer:
        with self._turn:
            found = self._kept.pop((shape, boundary), None)
            if found is None:
                while len(self._kept) >= self._most:
                    del self._kept[next(iter(self._kept))]
                found = Quiet(self._psf, shape, boundary=boundary, **self._options)
            self._kept[shape, boundary] = found  # the last one used comes last
        return found


def _leave_out(weights: np.ndarray, taps: tuple[int, ...], window: Window) -> None:
    """Let no pixel count that sees beyond a side that is not the image's, or beyond a joint."""
    for axis, (count, joint) in enumerate(zip(taps, window.joints, strict=True)):
        before, after = count - 1 - count // 2, count // 2
        along = np.moveaxis(weights, 1 + axis, 0)
        first, last = window.edges[2 * axis : 2 * axis + 2]
        if not first:
            along[:before] = 0
        if not last:
            along[len(along) - after :] = 0
        if joint:
            along[max(joint - after, 0) : joint + before] = 0
