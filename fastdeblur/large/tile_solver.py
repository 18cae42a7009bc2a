"""One tile: the window around it, solved as a small image."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import numpy as np

from ..deblurrer import Deblurrer
from ..result import Result
from .windows import Window


def counts(planes: np.ndarray, weights: np.ndarray | None) -> bool:
    """Whether any pixel does: one that is not missing, and whose weight is not 0."""
    there = ~np.isnan(planes)
    return bool((there if weights is None else there & (weights != 0)).any())


class Quiet(Deblurrer):
    """One that does not say again what has been said of the psf."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.doubts: list[str] = []

    def _hint(self, psf: np.ndarray) -> None:
        pass

    def _tell(self, doubts: list[str]) -> None:
        self.doubts += doubts


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
        self._kept: dict[Any, Quiet] = {}
        self._turn = threading.Lock()
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
        deblurrer = self._deblurrer(planes.shape, boundary)
        result = deblurrer.solve(planes, weights=weights, background=background)
        with self._turn:
            self.doubts.update(deblurrer.doubts)
            deblurrer.doubts.clear()
        return result.image[inner], result

    def _deblurrer(self, shape: tuple[int, ...], boundary: str) -> Quiet:
        with self._turn:
            found = self._kept.pop((shape, boundary), None)
            if found is None:
                while len(self._kept) >= self._most:
                    del self._kept[next(iter(self._kept))]
                found = Quiet(self._psf, shape, boundary=boundary, **self._options)
            self._kept[shape, boundary] = found  # the last one used comes last
        return found
