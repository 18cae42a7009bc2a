"""The blur by psfs that vary over the image, as a linear operator: `VaryingBlur`."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from .. import validation
from ..kernels.cpu.tiles import FILTER
from ..kernels.cpu.varying import VARYING, apply_varying, apply_varying_adjoint
from ..kernels.runtime import memory
from . import costs
from .blur import MOST_RANK, NO_REACH, Blur, _dtype
from .boundary import BOUNDARIES, FOLDED, estimate_shape, frame_corner, reduced
from .host import ApplyScratch, HostOperator
from .norm import bound_of
from .paths import PATHS, Filter, Fourier, pair
from .psf_field import PsfField, field_of
from .separable import rank
from .tiling import Grid, Halo, cuts_of, table_of

# How much more than its taps a psf takes where it is used as it is: zeros for register tiles, and factors.
DIRECT_COPIES = 4
# What the FFT path takes, in times of one psf's, and more for each psf that reaches a tile.
FOURIER_ALONE, FOURIER_EACH = 0.6, 0.6


class VaryingBlur(Blur):
    """Convolution with a psf that varies over the image, as a linear operator on images of one shape.

    ``A x`` is the sum over k of ``w_k * (p_k convolved with x)``: psfs at the nodes of a grid, and smooth weights of
    the pixels of the blurred image, bilinear between the nodes, which sum to 1 everywhere.

    Parameters
    ----------
    psfs : array_like, shape (rows, cols, taps_down, taps_across), or (count, taps_down, taps_across)
        The psfs of a grid, row by row; or as many as there are `positions` or `weights`.  Each is centred at
        ``shape // 2``, and used as given.  Or a function that takes `image_shape` and returns those of an even grid, as
        `psf.radial`, `psf.rotation` and `psf.rolling_shutter` do.
    positions : {None, (rows, cols), array_like of shape (count, 2)}
        For psfs on a grid, None is an even grid whose corners are the image's corner pixels; else where the grid's
        rows and columns are, in pixels, increasing, from the first pixel or before it to the last or beyond.  For
        scattered psfs a (row, column) each: natural neighbour weights [1]_ interpolate them to the nodes of an even
        grid with about two nodes between neighbours (3 to 13 along an axis), and what is between is bilinear.
    image_shape : (int, int)
        Rows and columns of the blurred image.
    weights : array_like, shape (count, rows, cols), or None
        Weights of your own, instead of positions, at the nodes of an even grid whose corners are the image's corner
        pixels: any number of psfs, such as the parts of a decomposition, mixed at each node.  They sum to 1 at each.
    boundary, dtype, path, workers
        As for `Blur`; the dtype that is None is that of `psfs`.
    device : "cpu"
        Where to compute; a GPU cannot.

    Attributes
    ----------
    psfs : ndarray, shape (nodes_down, nodes_across, taps_down, taps_across)
        At the nodes of the grid, in the operator's dtype, read-only.
    positions : (ndarray, ndarray)
        Where the grid's rows and columns are.
    psf : ndarray
        The mean over the image, by which solvers precondition.
    path, boundary, image_shape, estimate_shape, frame_corner, dtype, seconds
        As of `Blur`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above: psfs of several shapes, a grid that does not
        cover the image, not as many positions as psfs, weights that do not sum to 1.

    Notes
    -----
    With the FFT path a tile's window is transformed once, multiplied by the spectra of the few psfs whose weights reach
    the tile, and comes back: down its columns once a psf, along its rows once for each of the grid's columns [2]_.
    Tiles end where cells of the grid do.  Nothing is interpolated or left out: forward is the sum above to rounding,
    and adjoint is its transpose.

    One instance may be used by any number of threads at once, and be copied and pickled.  Results do not depend on the
    number of threads.  Wherever a psf or a `Blur` goes, an instance goes too.

    References
    ----------
    .. [1] R. Sibson, "A brief description of natural neighbour interpolation", in "Interpreting Multivariate Data",
       Wiley, 1981.
    .. [2] J. G. Nagy and D. P. O'Leary, "Restoring images degraded by spatially variant blur", SIAM Journal on
       Scientific Computing 19, 1998.

    Examples
    --------
    Sharp on the left, blurred along rows on the right:

    >>> import numpy as np, fastdeblur as fd
    >>> psfs = np.array([[[[0.0, 1.0, 0.0]], [[0.25, 0.5, 0.25]]]])
    >>> blur = fd.VaryingBlur(psfs, None, (1, 5))
    >>> blur.forward(np.array([[0.0, 1.0, 0.0, 1.0, 0.0]]))
    array([[0.   , 0.875, 0.25 , 0.625, 0.25 ]])
    """

    def __init__(
        self,
        psfs: Any,
        positions: Any,
        image_shape: Any,
        *,
        weights: Any = None,
        boundary: str = "constant",
        dtype: Any = None,
        path: str = "auto",
        device: str = "cpu",
        workers: int | None = None,
    ):
        validation.choice("boundary", boundary, BOUNDARIES)
        rows, cols = validation.sizes("image_shape", image_shape, 2)
        _check_cpu(device)
        validation.choice("path", path, ["auto", *PATHS])
        field = field_of(psfs, positions, weights, (rows, cols), None if dtype is None else _dtype(dtype))
        self._build(field, (rows, cols), boundary, path, validation.workers(workers))

    def _build(
        self, field: PsfField, image_shape: tuple[int, int], boundary: str, path: str, workers: int | None
    ) -> None:
        """Everything, of arguments that have been checked."""
        self.boundary, self.image_shape, self.device, self.workers = boundary, image_shape, "cpu", workers
        self.psfs = field.psfs.copy()
        self.psfs.flags.writeable = False
        self.positions = field.rows, field.cols
        self.dtype = self.psfs.dtype
        self._field = PsfField(self.psfs, *self.positions)
        self.psf = self._field.mean(self.image_shape).astype(self.dtype)
        self.psf.flags.writeable = False
        self.estimate_shape = estimate_shape(self.image_shape, self.psf.shape, self.boundary)
        self.frame_corner = frame_corner(self.psf.shape, self.boundary)
        self._norm: float | None = None
        self._operators = memory.Spares()
        self._prepare(path)

    def within(self, shape: tuple[int, int], corner: tuple[int, int], boundary: str) -> VaryingBlur:
        """The same field for images of `shape`, in which this one's first pixel is at `corner`.

        Beyond the field's nodes the outermost psfs go on.

        Parameters
        ----------
        shape, corner : (int, int)
            The corner may be before the first pixel, for a part of the image.
        boundary : str
            As of the class.

        Returns
        -------
        VaryingBlur
        """
        rows, cols = (at + shift for at, shift in zip(self.positions, corner, strict=True))
        return of_field(PsfField(self.psfs, rows, cols), shape, boundary, self.path, self.workers)

    @classmethod
    def constant(cls, psf: Any, image_shape: Any, **options: Any) -> VaryingBlur:
        """A field that is the same psf everywhere: `Blur`, to rounding.

        Parameters
        ----------
        psf : array_like, shape (taps_down, taps_across)
        image_shape : (int, int)
        **options
            As for the class.

        Returns
        -------
        VaryingBlur

        Raises
        ------
        TypeError, ValueError
            As the class.

        Examples
        --------
        >>> import numpy as np, fastdeblur as fd
        >>> psf, image = fd.psf.gaussian(3, 0.5), np.eye(6)
        >>> blurred = fd.VaryingBlur.constant(psf, (6, 6)).forward(image)
        >>> bool(abs(blurred - fd.Blur(psf, (6, 6)).forward(image)).max() < 1e-14)
        True
        """
        return cls(validation.psf(psf)[None, None], None, image_shape, **options)

    def _prepare(self, path: str) -> None:
        """What kernels of the CPU need."""
        taps = [[reduced(psf, self.image_shape, self.boundary) for psf in row] for row in self.psfs]
        shape, folds = taps[0][0].shape, self.boundary in FOLDED
        self._mixed = min(len(self.psfs), 2) * min(self.psfs.shape[1], 2)
        if path == "auto":
            path = self._cheapest(taps)
        self.path = path
        cells = self._cells(shape if path == "fft" else (1, 1))
        largest = max(int(np.diff(cells[0]).max()), 1), max(int(np.diff(cells[1]).max()), 1)
        pairs = [pair(path, psf, largest, folds) for row in taps for psf in row]
        # Of one shape and path, so that windows and tiles are the same; a higher rank needs more scratch.
        self._pairs, self._tile_cells = pairs, cells
        forward, adjoint = max(pairs, key=lambda each: each[0].work)
        self.filters: tuple[Filter, Filter] = forward, adjoint
        self.seconds = self._predicted(path, shape, int(forward.record["rank"]))
        periodic = self.boundary == "wrap"
        nothing = self._halo(None)
        self.filled = self._halo(forward) if folds or periodic else nothing
        self.folded = self.filled if folds else nothing
        self.residual_filled = self._halo(adjoint) if periodic else nothing
        self._both = None

    def _predicted(self, path: str, taps: tuple[int, ...], used: int) -> float:
        """Seconds on one thread: correlations once a psf of a cell, transforms less (see `kernels.cpu.varying`)."""
        times = FOURIER_ALONE + FOURIER_EACH * self._mixed if path == "fft" else float(self._mixed)
        return times * costs.predicted(path, self.estimate_shape, taps, used, self.dtype)

    def _cheapest(self, taps: list[list[np.ndarray]]) -> str:
        shape, ranks = taps[0][0].shape, [rank(psf, MOST_RANK) for row in taps for psf in row]
        few = shape[0] * shape[1] <= costs.FEW_TAPS
        return min(
            (path for path in PATHS if not (few and path == "fft")),
            key=lambda path: self._predicted(path, shape, max(ranks)),
        )

    def _cells(self, least: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Where the grid's cells begin and end in the image, those of less than `least` pixels joined to others."""
        found = []
        for nodes, size, smallest in zip(self.positions, self.image_shape, least, strict=True):
            inner = [math.ceil(at) for at in nodes[1:-1] if smallest <= at <= size - smallest]
            edges = [0]
            for edge in inner:
                if edge - edges[-1] >= smallest:
                    edges.append(edge)
            found.append(np.unique([*edges, size]))
        return found[0], found[1]

    def _operator_on_host(
        self, adjoint: bool, out_shape: tuple[int, int], halo: Halo, sources: tuple[Any, Any]
    ) -> HostOperator:
        return VaryingOperator(self, adjoint, out_shape, halo, sources)

    def __reduce__(self) -> tuple[Any, ...]:
        return of_field, (self._field, self.image_shape, self.boundary, self.path, self.workers)

    def __repr__(self) -> str:
        taps, image, grid = (
            "x".join(map(str, shape)) for shape in (self.psf.shape, self.image_shape, self.psfs.shape[:2])
        )
        return (
            f"<VaryingBlur: {grid} psfs of {taps}, {image} image, {self.dtype}, boundary {self.boundary}, "
            f"path {self.path}>"
        )

    def norm(self) -> float:
        """An upper bound of the operator's 2-norm, the largest of ``‖A x‖ / ‖x‖``.

        Returns
        -------
        float

        Notes
        -----
        Computed at the first call as `Blur.norm`, with the absolute values of the psfs, on the whole image.

        Examples
        --------
        >>> import fastdeblur as fd
        >>> bool(0.9 < fd.VaryingBlur.constant(fd.psf.box(3), (64, 64)).norm() < 1.05)
        True
        """
        if self._norm is None:
            largest = float(np.abs(self.psfs).max())
            sizes = np.abs(self.psfs.astype(np.float64)) / largest
            blur = self._with(sizes, np.float64)
            self._norm = largest * bound_of(blur.forward, blur.adjoint, self.estimate_shape)
        norm: float = self._norm
        return norm

    def scaled(self, exponent: int, dtype: Any = None) -> VaryingBlur:
        """The same with psfs times a power of two, in a dtype.

        Parameters
        ----------
        exponent : int
            Of the power of two.
        dtype : {None, float32, float64}
            None is the operator's.

        Returns
        -------
        VaryingBlur

        Raises
        ------
        ValueError
            If psfs are then too large for the dtype.
        """
        return self._with(np.ldexp(self.psfs.astype(np.float64), exponent), dtype or self.dtype)

    def _with(self, psfs: np.ndarray, dtype: Any) -> VaryingBlur:
        """The same with other psfs."""
        field = PsfField(validation.cast("psfs", psfs, np.dtype(dtype)), *self.positions)
        return of_field(field, self.image_shape, self.boundary, self.path, self.workers)


def check_device(psf: Any, device: Any) -> None:
    """Refuse psfs that vary on a GPU, before anyone looks for one."""
    if isinstance(psf, VaryingBlur):
        _check_cpu(device)


def _check_cpu(device: Any) -> None:
    if device != "cpu":
        raise ValueError(f"device must be 'cpu' for psfs that vary; got {device!r}")


def memory_of(field: PsfField, path: str, shape: tuple[int, int], threads: int) -> int:
    """About the bytes of spectra and scratch that operators take for images of a shape, a part of the field's image."""
    itemsize, nodes, cells = field.psfs.itemsize, 1, []
    for at, size in zip((field.rows, field.cols), shape, strict=True):
        gaps = np.diff(at) if len(at) > 1 else np.array([math.inf])
        nodes *= min(len(at), int(size / gaps.min()) + 2)
        cells.append(size if len(at) < 3 else min(size, math.ceil(gaps.max())))
    taps = field.psfs.shape[2:]
    if path != "fft":
        return int(2 * nodes * math.prod(taps) * itemsize * DIRECT_COPIES)
    down, across = costs.fourier_shape(taps, (cells[0] + taps[0] - 1, cells[1] + taps[1] - 1), field.psfs.dtype)
    spectrum = 2 * down * across * itemsize  # of two windows
    return int(2 * (nodes + 4 * threads) * spectrum)


class VaryingOperator(HostOperator):
    """A varying blur or its adjoint, of a caller's array; parameters as of `HostOperator`."""

    def __init__(
        self, blur: VaryingBlur, adjoint: bool, out_shape: tuple[int, int], halo: Halo, sources: tuple[Any, Any]
    ):
        filter_ = blur.filters[adjoint]
        corner = blur.frame_corner if adjoint else (0, 0)
        super().__init__(
            filter_, out_shape, halo, sources, _aligned(blur._tile_cells, corner, out_shape, filter_, halo)
        )
        self._task = apply_varying_adjoint if adjoint else apply_varying
        each = [both[adjoint] for both in blur._pairs]
        self._records = np.array([one.record for one in each])
        self._filters = each  # which own what the records have the addresses of
        self._window = memory.up(self._rows * self._cols, memory.ALIGNMENT)
        fields, some, total, lines = self._fields, 0, 0, 0
        if isinstance(filter_, Fourier):
            some, total = memory.up(2 * filter_.rows_work, memory.ALIGNMENT), memory.up(filter_.work, memory.ALIGNMENT)
            lines = blur.psfs.shape[1] * filter_.fft_cols
        self._beside = 2 * self._window + some + total + lines
        fields |= {
            "filter": self._records.ctypes.data, "nodes_down": blur.psfs.shape[0], "nodes_across": blur.psfs.shape[1],
            "window_size": self._window, "fourier": int(filter_.wide), "some_rows": 2 * self._window,
            "total": 2 * self._window + some, "line": 2 * self._window + some + total,
        }  # fmt: skip
        assert self._records.itemsize == FILTER.itemsize
        weights = blur._field.weights(blur.image_shape)
        for axis, of_axis, (pixels, first) in zip(("row", "col"), weights, self.positions, strict=True):
            if not adjoint:  # of the result's pixels, not of the source's
                pixels, first = np.arange(of_axis.shape[1]), 0
            table = memory.zeros(len(of_axis) * len(pixels), filter_.dtype).reshape(len(of_axis), -1)
            inside = pixels >= 0
            table[:, inside] = of_axis[:, pixels[inside]]
            self._tables.append(table)
            fields[f"{axis}_weights"] = table.ctypes.data - first * table.itemsize
            fields[f"{axis}_weights_pitch"] = len(pixels)

    def _scratch(self, threads: int) -> ApplyScratch:
        return ApplyScratch(self.grid, threads, self.filter, self._beside, 0, self._task, VARYING)


def _aligned(
    cells: tuple[np.ndarray, np.ndarray], corner: tuple[int, int], shape: tuple[int, int], filter_: Filter, halo: Halo
) -> Grid:
    """Tiles that do not cross from one of the grid's cells to the next; each cell is cut evenly."""
    reach = halo.reach if filter_.wide else NO_REACH
    steps = (filter_.most_rows, filter_.step_rows), (filter_.most_cols, filter_.step_cols)
    found = []
    for edges, first, size, (before, after), (most, step) in zip(cells, corner, shape, reach, steps, strict=True):
        edges = np.unique([0, *(edges[1:-1] + first), size])
        cuts = [
            begin + cuts_of(int(end - begin), before * (begin == 0), after * (end == size), most, step)
            for begin, end in pairwise(edges.tolist())
        ]
        found.append(table_of(np.unique(np.concatenate(cuts))))
    return Grid(1, found[0], found[1])


def of_field(
    field: PsfField, image_shape: tuple[int, int], boundary: str, path: str, workers: int | None
) -> VaryingBlur:
    """The operator of a field; nothing is checked."""
    blur = VaryingBlur.__new__(VaryingBlur)
    blur._build(field, image_shape, boundary, path, workers)
    return blur
