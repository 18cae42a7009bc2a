"""The blur of each part of a large image: one psf, or the part's own psfs of a field."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from ..operators.psf_field import PsfField
from ..operators.varying import VaryingBlur, memory_of, of_field
from ..problem.regularization import WeightEstimate, estimate_of_field
from .windows import Place, Window

# Nodes down and across whose psfs say how wide a halo must be.
MOST = 5
# Threads whose scratch is counted, whatever there are: tiles must not depend on them.
THREADS = 8


class OnePsf:
    """The same psf in every part, or one for each channel.

    Attributes
    ----------
    psf : ndarray
        Channels first, if it has channels; `psfs` are one or several.
    extremes : list of ndarray
        Those by which the widest halo is found.
    """

    varies = False
    #: That of an operator; None if it follows from options.
    path: str | None = None

    def __init__(self, psfs: list[np.ndarray]):
        self.psfs = self.extremes = psfs
        self.psf = psfs[0] if len(psfs) == 1 else np.stack(psfs)

    def at(self, window: Window, boundary: str, workers: int | None) -> Any:
        """What a Deblurrer of a window takes as its psf."""
        return self.psf

    def within(self, place: Place, workers: int | None) -> Any:
        """The same of a place in the image, with nothing said of what is around."""
        return self.psf

    def psfs_of(self, place: Place) -> list[np.ndarray]:
        """The psf of a place, or those of its channels."""
        return self.psfs

    def estimate(self, places: list[Place], planes: np.ndarray, weights: np.ndarray | None) -> WeightEstimate:
        """What planes of places say of noise and weight, the channels of one place after another."""
        return WeightEstimate(planes, self.psfs, weights)

    def memory(self, window: tuple[int, int]) -> int | None:
        """Bytes of operators of a window; None if they are counted with the rest."""
        return None

    def digest(self) -> str:
        """What tells it from others."""
        return hashlib.sha256(self.psf.tobytes() + str(self.psf.shape).encode()).hexdigest()


class FieldOfPsfs:
    """Psfs that vary over the image, as those of a `VaryingBlur`; attributes as of `OnePsf`.

    Its `psf` is the mean over the image, and `extremes` are at the field's nodes, evenly chosen ones of many.
    """

    varies = True

    def __init__(self, blur: VaryingBlur, dtype: np.dtype[Any]):
        self.field = PsfField(blur.psfs.astype(dtype), *blur.positions)
        self.path: str | None = blur.path
        self._sides = blur.image_shape
        self.psf = self.field.mean(self._sides).astype(dtype)
        self.psfs = [self.psf]
        rows, cols = (np.unique(np.linspace(0, n - 1, MOST).round().astype(int)) for n in blur.psfs.shape[:2])
        self.extremes = list(self.field.psfs[np.ix_(rows, cols)].reshape(-1, *self.psf.shape))

    def at(self, window: Window, boundary: str, workers: int | None) -> VaryingBlur:
        """The operator of a window: the field's part there."""
        return self._operator(self.field.part(*window.pieces(self._sides)), window.shape, boundary, workers)

    def within(self, place: Place, workers: int | None) -> VaryingBlur:
        """The same of a place in the image, with nothing said of what is around."""
        return self._operator(self.field.part([place[0]], [place[1]]), _shape(place), "unknown", workers)

    def _operator(self, field: PsfField, shape: tuple[int, int], boundary: str, workers: int | None) -> VaryingBlur:
        return of_field(field, shape, boundary, str(self.path), workers)

    def psfs_of(self, place: Place) -> list[np.ndarray]:
        """The mean psf of a place."""
        return [self.field.part([place[0]], [place[1]]).mean(_shape(place)).astype(self.psf.dtype)]

    def estimate(self, places: list[Place], planes: np.ndarray, weights: np.ndarray | None) -> WeightEstimate:
        """What planes of places say of noise and weight, each with its own mean psf."""
        return estimate_of_field(self.field, self._sides, places, planes, weights)

    def memory(self, window: tuple[int, int]) -> int | None:
        """Bytes of operators of a window."""
        return memory_of(self.field, str(self.path), window, THREADS)

    def digest(self) -> str:
        """What tells it from others."""
        field = self.field
        parts = field.psfs.tobytes(), str(field.psfs.shape).encode(), field.rows.tobytes(), field.cols.tobytes()
        return hashlib.sha256(b"".join(parts)).hexdigest()


def _shape(place: Place) -> tuple[int, int]:
    rows, cols = (part.stop - part.start for part in place)
    return rows, cols
