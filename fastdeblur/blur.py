"""The blur as a linear operator, and the buffers and tiles that every pass over an image uses."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from . import checks, runtime
from .boundary import BOUNDARIES
from .kernels.apply import APPLY, apply
from .kernels.direct import direct
from .kernels.separable import separable
from .kernels.simd import register_shape
from .kernels.tiles import FILTER, LINE, RUNS, SINGLE_PASS, SUMS, single_pass
from .psf import factors

PATHS = {"direct": direct, "separable": separable}

# Elements that vectors, rows of buffers and parts of scratch are aligned to: 64 bytes of float32.
ALIGNMENT = 16
# A tile's row of about 500 pixels, and its few rows, stay in the first two cache levels
# together with what a pass reads and writes beside them.
TILE_COLS = 500
TILE_ROWS = 32


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


def zeros(count: int, dtype: Any) -> np.ndarray:
    """`count` zeros that start on a cache line and fill whole ones."""
    itemsize = np.dtype(dtype).itemsize
    memory = np.zeros(_up(count * itemsize, 64) + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + count * itemsize].view(dtype)


class Filter:
    """One direction of the blur on one path: valid correlation with `weights`.

    Attributes
    ----------
    top, left : int
        How far the window reaches above and to the left of its tile.
    record : ndarray
        What the path reads, see ``kernels.tiles.FILTER``.
    work : int
        Elements of scratch that the path needs.
    cost : float
        Multiply-adds a pixel.
    """

    def __init__(self, weights: np.ndarray, top: int, left: int, path: str, parts: Any, tile_cols: int):
        self.top, self.left, self.path = top, left, path
        self.taps_down, self.taps_across = weights.shape
        self._registers = register_shape(weights.dtype)
        margin = self._registers.rows - 1
        if path == "separable":
            down, across = parts
            work_pitch = self.window_cols(tile_cols)
            self.work = len(down) * self._registers.rows * work_pitch
            self.cost = float(len(down) * (self.taps_down + self.taps_across))
            columns = np.pad(down, ((0, 0), (margin, margin)))
        else:
            across = np.zeros((1, 1))
            work_pitch = self.work = 0
            self.cost = float(weights.size)
            columns = np.pad(weights, ((margin, margin), (0, 0)))
        self.arrays = [np.ascontiguousarray(part, weights.dtype) for part in (columns, across)]
        self.record = np.zeros((), FILTER)
        self.record["taps_down"], self.record["taps_across"] = weights.shape
        self.record["rank"] = len(across)
        self.record["down"], self.record["across"] = (part.ctypes.data for part in self.arrays)
        self.record["work_pitch"] = work_pitch

    @property
    def address(self) -> int:
        return self.record.ctypes.data

    def window_rows(self, rows: int) -> int:
        """Rows that the path reads for a tile of `rows`."""
        return _up(rows, self._registers.rows) + self.taps_down - 1

    def window_cols(self, cols: int) -> int:
        """Columns that the path reads for a tile of `cols`, whole vectors included."""
        width, reach = self._registers.width, self.taps_across - 1
        return max(_up(cols + reach, width), _up(cols, width) + reach)


@dataclass(frozen=True)
class Grid:
    """How planes of rows x cols are cut into tiles; depends on shape and dtype alone."""

    planes: int
    rows: int
    cols: int
    tile_rows: int
    tile_cols: int

    @classmethod
    def of(cls, planes: int, rows: int, cols: int, dtype: Any) -> Grid:
        registers = register_shape(dtype)
        widest = max(TILE_COLS // registers.width, 1) * registers.width
        across = -(-cols // widest)
        tile_cols = _up(-(-cols // across), registers.width)
        # A small image still gives every one of a few threads its share: a multiple of 8 tiles.
        down = -(-rows // TILE_ROWS)
        if planes * across * down < 64:
            down = _up(down, 8)
        tile_rows = _up(-(-rows // down), registers.rows)
        return cls(planes, rows, cols, tile_rows, tile_cols)

    @property
    def down(self) -> int:
        return -(-self.rows // self.tile_rows)

    @property
    def across(self) -> int:
        return -(-self.cols // self.tile_cols)

    @property
    def tiles(self) -> int:
        return self.planes * self.down * self.across

    def halo(self, filter_: Filter) -> tuple[int, int]:
        """Rows below and columns to the right of the image that `filter_` reads."""
        last_rows = self.rows - (self.down - 1) * self.tile_rows
        below = filter_.window_rows(last_rows) - filter_.top - last_rows
        right = max(
            j + filter_.window_cols(min(self.tile_cols, self.cols - j)) - filter_.left - self.cols
            for j in range(0, self.cols, self.tile_cols)
        )
        return below, max(right, 0)


class Scratch:
    """Memory that the threads of one launch work in, the queue they share and the sums they leave."""

    def __init__(self, grid: Grid, slots: int, work: int, extra: int, dtype: Any):
        registers = register_shape(dtype)
        self.slots, self.tiles = slots, grid.tiles
        tile = _up(grid.tile_rows, registers.rows) * grid.tile_cols
        self.work_at = _up(tile, ALIGNMENT)
        self.extra_at = self.work_at + _up(work, ALIGNMENT)
        elements = _up(self.extra_at + extra, ALIGNMENT)
        self.stride = elements * np.dtype(dtype).itemsize
        self.memory = zeros(slots * elements, dtype)
        self.queue = zeros(RUNS + slots * LINE, np.intp)
        self.sums = zeros(grid.tiles * SUMS, np.float64).reshape(grid.tiles, SUMS)
        self._grid = grid

    def describe(self, record: np.ndarray) -> None:
        """Enter the grid and the places in this scratch into a task's record."""
        grid = self._grid
        record["rows"], record["cols"] = grid.rows, grid.cols
        record["tile_rows"], record["tile_cols"] = grid.tile_rows, grid.tile_cols
        record["tiles_down"], record["tiles_across"] = grid.down, grid.across
        record["tile_pitch"] = grid.tile_cols
        record["work"], record["extra"] = self.work_at, self.extra_at
        record["sums"] = self.sums.ctypes.data

    def man(self, crew: np.ndarray) -> None:
        """Enter the tiles, the queue and the threads' memory into a crew's record."""
        crew["tiles"], crew["queue"] = self.tiles, self.queue.ctypes.data
        crew["scratch"], crew["stride"] = self.memory.ctypes.data, self.stride

    def share(self) -> None:
        """Give each slot an even run of the tiles."""
        self.queue[RUNS::LINE] = self.tiles * np.arange(self.slots) // self.slots


class Bench(Scratch):
    """Scratch with the records of one application of a blur."""

    def __init__(self, grid: Grid, slots: int, work: int, extra: int, dtype: Any):
        super().__init__(grid, slots, work, extra, dtype)
        self.job = np.zeros((), APPLY)
        self.describe(self.job)
        self.crew = np.zeros((), SINGLE_PASS)
        self.man(self.crew)
        self.crew["task"], self.crew["record"] = apply.address(dtype), self.job.ctypes.data


class Buffer:
    """Planes of pixels with zeros around them, wide enough for `filter_` to read every window."""

    def __init__(self, grid: Grid, filter_: Filter, dtype: Any):
        below, right = grid.halo(filter_)
        left = _up(filter_.left, ALIGNMENT)
        self.pitch = _up(left + grid.cols + right, ALIGNMENT)
        if self.pitch * np.dtype(dtype).itemsize % 4096 == 0:  # rows must not share their cache sets
            self.pitch += ALIGNMENT
        rows = filter_.top + grid.rows + below
        self.plane = rows * self.pitch
        memory = zeros(grid.planes * self.plane, dtype).reshape(grid.planes, rows, self.pitch)
        self.corner = filter_.top * self.pitch + filter_.left
        self.pixels = memory[:, filter_.top : filter_.top + grid.rows, left : left + grid.cols]

    @property
    def address(self) -> int:
        return self.pixels.ctypes.data


def row_pitch(array: np.ndarray, dtype: Any) -> int | None:
    """Elements from row to row if kernels can use `array` where it is, else None."""
    itemsize = np.dtype(dtype).itemsize
    rows, cols = array.shape[-2:]
    if array.dtype != dtype or not array.dtype.isnative or not array.flags.aligned:
        return None
    if cols > 1 and array.strides[-1] != itemsize:
        return None
    if rows == 1:
        return cols
    pitch, rest = divmod(array.strides[-2], itemsize)
    return pitch if rest == 0 and pitch >= cols else None


class Blur:
    """Convolution with a psf, as a linear operator on images of one shape.

    Parameters
    ----------
    psf : array_like, shape (taps_down, taps_across)
        The point spread function, centred at ``psf.shape // 2``.  Used as given, not normalised.
    image_shape : (int, int)
        Rows and columns of the blurred image.
    boundary : {"constant"}
        What lies outside the frame: zeros.
    dtype : {None, float32, float64}
        Precision of everything.  None takes the psf's (float16 and integers of at most 16 bits
        become float32, wider integers float64).
    path : {"auto", "direct", "separable"}
        How to compute it.  "separable" sums ``rank`` products of a column and a row, "direct"
        uses the psf as it is; "auto" takes the one that should be faster.
    workers : int or None
        Most threads to use, at least 1; never more than Numba was started with.  None is
        Numba's current count.

    Attributes
    ----------
    path : str
        The path in use.
    image_shape, estimate_shape : (int, int)
        Shapes of what `forward` returns and takes.
    dtype : numpy.dtype

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above.

    Notes
    -----
    One instance may be used by any number of threads at once.  Results do not depend on the
    number of threads.

    Examples
    --------
    >>> import numpy as np, fastdeblur as fd
    >>> blur = fd.Blur(fd.psf.box((1, 2)), (1, 4))
    >>> blur.forward(np.array([[0.0, 2.0, 0.0, 0.0]]))
    array([[1., 1., 0., 0.]])
    >>> blur.adjoint(np.array([[1.0, 1.0, 0.0, 0.0]]))
    array([[0.5, 1. , 0.5, 0. ]])
    """

    def __init__(
        self,
        psf: Any,
        image_shape: Any,
        *,
        boundary: str = "constant",
        dtype: Any = None,
        path: str = "auto",
        workers: int | None = None,
    ):
        self.boundary: str = checks.choice("boundary", boundary, BOUNDARIES)
        self._psf = checks.psf(psf, None if dtype is None else _dtype(dtype))
        self.dtype = self._psf.dtype
        self.image_shape = _image_shape(image_shape)
        self.estimate_shape = self.image_shape
        checks.choice("path", path, ["auto", *PATHS])
        self.workers = checks.workers(workers)

        parts = factors(self._psf) if path != "direct" else None
        if path == "auto":
            path = _faster_path(self._psf.shape, len(parts[0]) if parts else 0)
        self.path = path
        self._tile_cols = Grid.of(1, *self.image_shape, self.dtype).tile_cols
        taps_down, taps_across = self._psf.shape
        down, across = taps_down // 2, taps_across // 2
        # y[i] = sum over u of psf[u] x[i + centre - u]: correlation with the flipped psf.  The
        # adjoint correlates with the psf itself, and its window reaches as far the other way.
        flipped = None if parts is None else tuple(part[:, ::-1] for part in parts)
        self._forward = Filter(
            self._psf[::-1, ::-1], taps_down - 1 - down, taps_across - 1 - across, path, flipped, self._tile_cols
        )
        self._adjoint = Filter(self._psf, down, across, path, parts, self._tile_cols)
        self._spare: list[Bench] = []

    @property
    def psf(self) -> np.ndarray:
        """The psf in the operator's dtype, read-only."""
        view = self._psf.view()
        view.flags.writeable = False
        return view

    def forward(self, x: Any, out: np.ndarray | None = None) -> np.ndarray:
        """Blur an image: A x.

        Parameters
        ----------
        x : array_like, shape `estimate_shape`
            Finite; cast to `dtype`.
        out : ndarray, shape `image_shape`, optional
            Where to put the result; of the operator's dtype.  It may be `x` itself.

        Returns
        -------
        ndarray, shape `image_shape`

        Raises
        ------
        ValueError
            If `x` has another shape or contains NaN or infinity (`out` is then undefined), or if
            `out` does not fit.
        """
        return self._apply(self._forward, x, self.estimate_shape, out, self.image_shape)

    def adjoint(self, y: Any, out: np.ndarray | None = None) -> np.ndarray:
        """Apply the transpose: Aᵀ y, a correlation with the psf.

        Parameters
        ----------
        y : array_like, shape `image_shape`
            Finite; cast to `dtype`.
        out : ndarray, shape `estimate_shape`, optional
            Where to put the result; of the operator's dtype.  It may be `y` itself.

        Returns
        -------
        ndarray, shape `estimate_shape`

        Raises
        ------
        ValueError
            As for `forward`.
        """
        return self._apply(self._adjoint, y, self.image_shape, out, self.estimate_shape)

    def norm(self) -> float:
        """An upper bound of the operator's 2-norm: the sum of ``|psf|``."""
        return float(np.abs(self._psf).sum(dtype=np.float64))

    def slots(self, grid: Grid) -> int:
        """Threads to launch for one pass over `grid`."""
        pixels = float(grid.planes * grid.rows * grid.cols)
        return runtime.slots(self.workers, grid.tiles, pixels * (self._forward.cost + 16))

    @cached_property
    def path_address(self) -> int:
        """Address of the path's machine code."""
        return PATHS[self.path].address(self.dtype)

    @property
    def filters(self) -> tuple[Filter, Filter]:
        """Forward and adjoint, for passes that correlate in buffers of their own."""
        return self._forward, self._adjoint

    def _apply(
        self, filter_: Filter, x: Any, shape: tuple[int, int], out: np.ndarray | None, out_shape: tuple[int, int]
    ) -> np.ndarray:
        source = checks.real_array("x", x)
        if source.shape != shape:
            raise ValueError(f"x must have shape {shape}; its shape is {source.shape}")
        if out is None:
            out = np.empty(out_shape, self.dtype)
        elif not isinstance(out, np.ndarray) or out.dtype != self.dtype:
            raise TypeError(f"out must be an ndarray of {self.dtype}; got {getattr(out, 'dtype', type(out))}")
        elif out.shape != out_shape:
            raise ValueError(f"out must have shape {out_shape}; its shape is {out.shape}")
        elif not out.flags.writeable:
            raise ValueError("out must be writeable")
        source_pitch, out_pitch = row_pitch(source, self.dtype), row_pitch(out, self.dtype)
        if source_pitch is None or np.may_share_memory(source, out):
            with np.errstate(over="ignore"):  # found again as infinity, and reported
                source = np.array(source, self.dtype, order="C")
            source_pitch = source.shape[1]
        target = out
        if out_pitch is None:
            target = np.empty(out_shape, self.dtype)
            out_pitch = target.shape[1]

        grid = Grid.of(1, *out_shape, self.dtype)
        slots = self.slots(grid)
        scratch = self._borrow(grid, slots)
        job = scratch.job
        job["path"], job["filter"] = self.path_address, filter_.address
        job["top"], job["left"] = filter_.top, filter_.left
        job["window_pitch"] = filter_.window_cols(grid.tile_cols)
        job["window_rows"] = filter_.window_rows(grid.tile_rows)
        job["source"], job["source_pitch"] = source.ctypes.data, source_pitch
        job["out"], job["out_pitch"] = target.ctypes.data, out_pitch
        scratch.share()
        runtime.launch(single_pass.address(), scratch.crew.ctypes.data, scratch.slots)
        read, written = scratch.sums[:, 0].sum(), scratch.sums[:, 1].sum()
        self._spare.append(scratch)
        if not np.isfinite(read):
            raise ValueError(f"x must be finite; it contains NaN or infinity (in {self.dtype})")
        if not np.isfinite(written):
            warnings.warn(f"the blurred image is too large for {self.dtype}", RuntimeWarning, stacklevel=3)
        if target is not out:
            np.copyto(out, target)
        return out

    def _borrow(self, grid: Grid, slots: int) -> Bench:
        """Scratch for one call, used again by later ones (lists are safe among threads)."""
        try:
            scratch = self._spare.pop()
        except IndexError:
            scratch = None
        if scratch is None or scratch.slots != slots:
            one = self._forward
            window = one.window_rows(grid.tile_rows) * one.window_cols(grid.tile_cols)
            scratch = Bench(grid, slots, one.work, window, self.dtype)
        return scratch


def _dtype(value: Any) -> np.dtype[Any]:
    try:
        dtype = np.dtype(value)
    except TypeError:
        raise TypeError(f"dtype must be float32 or float64; got {value!r}") from None
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64; got {dtype}")
    return dtype.newbyteorder("=")


def _image_shape(value: Any) -> tuple[int, int]:
    sizes = tuple(value) if np.ndim(value) == 1 else ()
    if len(sizes) != 2:
        raise ValueError(f"image_shape must be two sizes; got {value!r}")
    rows, cols = (checks.integer("image_shape", size, 1) for size in sizes)
    return rows, cols


def _faster_path(shape: tuple[int, ...], rank: int) -> str:
    """A separable tap takes about 1.5 times as long as a direct one: its rows share no loads."""
    taps_down, taps_across = shape
    return "separable" if 1.5 * rank * (taps_down + taps_across) < taps_down * taps_across else "direct"
