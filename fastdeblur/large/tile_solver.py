"""Solver of tiles: each window, a tile with its halo, is solved as a small image."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import numpy as np

from ..deblurrer import Deblurrer
from ..problem.learned import Scale
from ..result import Result
from .blurs import FieldOfPsfs, OnePsf
from .windows import Window


def counts(planes: np.ndarray, weights: np.ndarray | None) -> bool:
    """Whether any pixel does: one that is not missing, and whose weight is not 0."""
    there = ~np.isnan(planes)
    return bool((there if weights is None else there & (weights != 0)).any())


def solve_silently(
    deblurrer: Deblurrer, planes: np.ndarray, weights: np.ndarray | None, background: Any = None
) -> tuple[Result, list[str]]:
    """The result of a deblurrer, and reasons to doubt it, of which nothing is said."""
    began = time.perf_counter()
    return deblurrer._solve_silently(deblurrer._accept(planes), began, None, weights, background)


class TileSolver:
    """Solves windows, all with the same options.

    Parameters
    ----------
    blurs : OnePsf or FieldOfPsfs
    boundary : str
        What lies outside the image.
    level : float
        What tiles get of which no pixel counts.
    options : dict
        For a Deblurrer, without weights and boundary; `channel_axis` is 0.
    capacity : int
        For how many shapes of windows there is memory.
    scale : Scale or None
        What a learned prior follows.
    """

    def __init__(
        self,
        blurs: OnePsf | FieldOfPsfs,
        boundary: str,
        level: float,
        options: dict[str, Any],
        capacity: int,
        scale: Scale | None = None,
    ):
        self._capacity, self._scale = capacity, scale
        self._blurs, self._boundary, self._level, self._options = blurs, boundary, level, options
        self._deblurrers: dict[Any, Deblurrer] = {}
        self._lock = threading.Lock()
        self.doubts: Counter[str] = Counter()

    def __call__(
        self, planes: np.ndarray, weights: np.ndarray | None, window: Window, background: Any = None
    ) -> tuple[np.ndarray, Result | None]:
        """The restored tile of a window, channels first, and how it went; nothing did where no pixel counts.

        A window within the image knows nothing of what lies beyond it.  One at the image's border has the image's
        boundary on all sides, which is wrong at those where the image goes on, but not felt as far as the tile.
        (To leave out the pixels there that see beyond those sides would be right, and took 15 to 40 times as
        long: the preconditioner knows nothing of weights.)
        """
        inner = (slice(None), *window.inner)
        if not counts(planes, weights) and planes[inner].shape != planes.shape:
            return np.full(planes[inner].shape, self._level, planes.dtype), None
        boundary = self._boundary if any(window.edges) else "unknown"
        deblurrer = self._deblurrer(planes.shape, boundary, window)
        result, doubts = solve_silently(deblurrer, planes, weights, background)
        with self._lock:
            self.doubts.update(doubts)
        return result.image[inner], result

    def _deblurrer(self, shape: tuple[int, ...], boundary: str, window: Window) -> Deblurrer:
        key = shape, boundary, (window.rows, window.cols) if self._blurs.varies else None
        with self._lock:
            deblurrer = self._deblurrers.pop(key, None)
            if deblurrer is None:
                while len(self._deblurrers) >= self._capacity:
                    del self._deblurrers[next(iter(self._deblurrers))]
                psf = self._blurs.at(window, boundary, self._options["workers"])
                deblurrer = Deblurrer._silent(psf, shape, boundary=boundary, **self._options)
                if self._scale is not None:
                    deblurrer = deblurrer._following(self._scale)
            self._deblurrers[key] = deblurrer  # the last one used comes last
        return deblurrer
