"""The blur A (CUDA): the psf, tables of the boundary's pixels, and the passes of its path."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..kernels.cpu.halo import OUTSIDE
from ..kernels.cuda import device
from ..kernels.cuda.device import launch, view
from ..kernels.cuda.passes import fold, gather, multiply, passes
from ..kernels.cuda.shapes import LANES, WARPS, tiles
from .boundary import FOLDED, pixel_at, reduced
from .costs import good_length
from .separable import factors, rank

# About what a pixel takes on each path, in multiplications: they are read off the kernels' instructions and memory
# traffic, not measured.  Separable passes and transforms mostly wait for memory.
TAP_OF_PRODUCT, PRODUCT, TRANSFORMS = 1.5, 20.0, 300.0
MOST_RANK = 16


def choose(psf: np.ndarray) -> str:
    """The path for a psf."""
    down, across = psf.shape
    costs = {
        "direct": down * across,
        "separable": rank(psf, MOST_RANK) * (PRODUCT + TAP_OF_PRODUCT * (down + across)),
        "fft": TRANSFORMS,
    }
    return min(costs, key=lambda path: costs[path])


class Side:
    """The blur or its adjoint: from a source to `shape`, which its tables tell where to read for each pixel and tap."""

    def __init__(self, path: str, psfs: np.ndarray, rows_at: np.ndarray, cols_at: np.ndarray):
        self.path, self._psfs = path, psfs
        self.taps = psfs.shape[1:]
        self.shape = tuple(len(at) - taps + 1 for at, taps in zip((rows_at, cols_at), self.taps, strict=True))
        if path == "fft":
            # Valid correlation by circular convolution: what goes around comes where nobody looks.
            self.lengths = tuple(good_length(len(at)) for at in (rows_at, cols_at))
            padded = device.zeros((len(psfs), *self.lengths), psfs.dtype)
            padded[:, : self.taps[0], : self.taps[1]] = device.put(psfs)
            self.spectra = view(device.transforms().rfft2(padded).conj())
        self.rows_at, self.cols_at = view(_table(rows_at)), view(_table(cols_at))
        self.weights = [view(device.put(np.ascontiguousarray(each))) for each in _weights(path, psfs)]
        self._padded: Any = None

    def transformed(self, source: Any, scalars: Any) -> Any:
        """The result of the path "fft"; its first rows and columns are."""
        planes = source.shape[1]
        if self._padded is None or self._padded.shape[0] != planes:
            self._padded = device.zeros((planes, *self.lengths), self._psfs.dtype)
            self._padded_view = view(self._padded)
        rows, cols = self.lengths
        launch(gather, *device.rows_of(planes, rows, cols), source, scalars, self.rows_at, self.cols_at,
               self._padded_view)  # fmt: skip
        fft = device.transforms()
        coefficients = fft.rfft2(self._padded)
        launch(multiply, *device.rows_of(*coefficients.shape), view(coefficients), self.spectra)
        return fft.irfft2(coefficients, self.lengths, overwrite_x=True)


class Operator:
    """A blur for planes of images, one psf for all or one each.

    Parameters
    ----------
    psfs : list of ndarray
        In the operator's dtype.
    boundary, image_shape, estimate_shape, frame_corner, path
        As of `Blur`.
    """

    def __init__(
        self, psfs: list[np.ndarray], boundary: str, image_shape: Any, estimate_shape: Any, frame_corner: Any, path: str
    ):
        self.path, self.image_shape, self.estimate_shape = path, image_shape, estimate_shape
        self.frame_corner = frame_corner
        psfs = [reduced(psf, image_shape, boundary) for psf in psfs]
        psf, self.dtype = np.stack(psfs), psfs[0].dtype
        taps = psf.shape[1:]
        self._boundary, self._psf, self.folds = boundary, psf, boundary in FOLDED
        outside = "constant" if boundary == "unknown" else boundary
        # Pixels at the positions around the estimate that the blur reads.
        self._reads = [
            pixel_at(outside, size, count - 1 - count // 2, count // 2)
            for size, count in zip(estimate_shape, taps, strict=True)
        ]
        self.plain = view(device.zeros(1, np.float64))
        self._wide: Any = None

    @functools.cached_property
    def there(self) -> Side:
        """A for the estimate's whole grid: outside the frame what it gives is of no use."""
        return Side(self.path, self._flipped, *self._reads)

    @functools.cached_property
    def to_frame(self) -> Side:
        """A for the frame alone."""
        corner = zip(self._reads, self.frame_corner, self.image_shape, self._psf.shape[1:], strict=True)
        return Side(self.path, self._flipped, *(at[top : top + size + m - 1] for at, top, size, m in corner))

    @functools.cached_property
    def back(self) -> Side:
        """The transpose; where the boundary folds, for every place that the blur reads."""
        return Side(self.path, self._psf, *self._residuals())

    @property
    def _flipped(self) -> np.ndarray:
        return np.ascontiguousarray(self._psf[:, ::-1, ::-1])

    @functools.cached_property
    def _folding(self) -> list[Any]:
        tables = zip(self._reads, self.estimate_shape, strict=True)
        return [view(table) for at, size in tables for table in places(at, size)]

    @functools.cached_property
    def identity(self) -> list[Any]:
        """Tables that say each pixel is where it is."""
        return [view(_table(np.arange(size))) for size in self.estimate_shape]

    @functools.cached_property
    def from_frame(self) -> list[Any]:
        """Tables that say where in the frame the estimate's pixels are."""
        sizes = zip(self.estimate_shape, self.frame_corner, self.image_shape, strict=True)
        return [view(_table(_within(*each))) for each in sizes]

    def _residuals(self) -> list[np.ndarray]:
        """Pixels of the residual that the transpose reads."""
        tables = []
        for size, shown, first, count in zip(
            self.estimate_shape, self.image_shape, self.frame_corner, self._psf.shape[1:], strict=True
        ):
            if self.folds:  # for every place that the blur reads, to be folded
                tables.append(pixel_at("constant", shown, count - 1, count - 1))
                continue
            before, after = count // 2, count - 1 - count // 2
            at = pixel_at("wrap" if self._boundary == "wrap" else "constant", size, before, after)
            at = np.where((at >= first) & (at < first + shown), at - first, OUTSIDE)
            tables.append(at)
        return tables

    def grid(self, planes: int, shape: Any) -> Any:
        """Blocks and threads of the passes' kernels."""
        return tiles(self.dtype, planes, *shape), (LANES, WARPS)

    def forward(self, x: Any, out: Any) -> None:
        """out = A x, for planes on the device."""
        self._apply(self.to_frame, x, out)

    def adjoint(self, y: Any, out: Any) -> None:
        """out = Aᵀ y, for planes on the device."""
        if self.folds:
            self.fold(self.unfolded(y), view(out))
        else:
            self._apply(self.back, y, out)

    def unfolded(self, y: Any) -> Any:
        """What the transpose has for every place that the blur reads, as kernels take it."""
        if self._wide is None or len(self._wide) != len(y):
            self._wide = device.zeros((len(y), *self.back.shape), self.dtype)
            self._wide_view = view(self._wide)
        self._apply(self.back, y, self._wide)
        return self._wide_view

    def fold(self, wide: Any, out: Any) -> None:
        """Add that up for each pixel of the estimate."""
        launch(fold, *device.rows_of(*out.shape), wide, *self._folding, out)

    def _apply(self, side: Side, source: Any, out: Any) -> None:
        first = view(source[None])
        if side.path == "fft":
            rows, cols = side.shape
            out[...] = side.transformed(first, self.plain)[:, :rows, :cols]
            return
        kernel = passes(side.path, self.dtype).apply
        launch(kernel, *self.grid(len(source), side.shape), first, self.plain, *side.weights, side.rows_at,
               side.cols_at, view(out))  # fmt: skip


def _weights(path: str, psfs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The arguments `down` and `across` of the passes."""
    if path != "separable":
        return psfs, psfs[:1, :1, :1]
    pairs = [factors(psf) for psf in psfs]
    most = max(len(columns) for columns, _ in pairs)
    down, across = (np.zeros((len(psfs), most, psfs.shape[axis]), psfs.dtype) for axis in (1, 2))
    for k, (columns, rows) in enumerate(pairs):
        down[k, : len(columns)], across[k, : len(rows)] = columns, rows
    return down, across


def _table(values: Any) -> Any:
    return device.put(np.asarray(values, np.int32))


def _within(size: int, first: int, shown: int) -> np.ndarray:
    """For each pixel of the estimate the frame's, or OUTSIDE."""
    at = np.arange(size) - first
    return np.where((at >= 0) & (at < shown), at, OUTSIDE)


def places(at: np.ndarray, size: int) -> tuple[Any, Any]:
    """For each pixel where it lies: the first of its places, and all places in the pixels' order."""
    some = np.flatnonzero(at >= 0)
    order = np.argsort(at[some], kind="stable")
    first = np.searchsorted(at[some][order], np.arange(size + 1))
    return _table(first), _table(some[order])
