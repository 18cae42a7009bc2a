"""The blur as a linear operator."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from . import checks, runtime
from .boundary import BOUNDARIES
from .buffers import Filter, Grid, Scratch, row_pitch
from .kernels.apply import APPLY, apply
from .kernels.direct import direct
from .kernels.separable import separable
from .kernels.tiles import SINGLE_PASS, single_pass
from .psf import factors

PATHS = {"direct": direct, "separable": separable}


class ApplyScratch(Scratch):
    """Scratch with the records of one application of a blur."""

    def __init__(self, grid: Grid, slots: int, work: int, extra: int, dtype: Any):
        super().__init__(grid, slots, work, extra, dtype)
        self.job = np.zeros((), APPLY)
        self.describe(self.job)
        self.crew = np.zeros((), SINGLE_PASS)
        self.describe_crew(self.crew)
        self.crew["task"], self.crew["record"] = apply.address(dtype), self.job.ctypes.data


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
    psf : ndarray
        The psf in the operator's dtype, read-only.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above.

    Notes
    -----
    One instance may be used by any number of threads at once, and be copied and pickled.  Results
    do not depend on the number of threads.

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
        # A copy: the caller's array may change, the operator may not.
        self.psf = checks.psf(psf, None if dtype is None else _dtype(dtype)).copy()
        self.psf.flags.writeable = False
        self.dtype = self.psf.dtype
        self.image_shape = _image_shape(image_shape)
        self.estimate_shape = self.image_shape
        checks.choice("path", path, ["auto", *PATHS])
        self.workers = checks.workers(workers)

        weights = _within_reach(self.psf, self.image_shape)
        parts = factors(weights) if path != "direct" else None
        if path == "auto":
            path = _faster_path(weights.shape, len(parts[0]) if parts else 0)
        self.path = path
        tile_cols = Grid.of(1, *self.image_shape, self.dtype).tile_cols
        taps_down, taps_across = weights.shape
        down, across = taps_down // 2, taps_across // 2
        # y[i] = sum over u of psf[u] x[i + centre - u]: correlation with the flipped psf.  The
        # adjoint correlates with the psf itself, and its window reaches as far the other way.
        flipped = None if parts is None else tuple(part[:, ::-1] for part in parts)
        self._forward = Filter(
            weights[::-1, ::-1], taps_down - 1 - down, taps_across - 1 - across, path, flipped, tile_cols
        )
        self._adjoint = Filter(weights, down, across, path, parts, tile_cols)
        self._spare: list[ApplyScratch] = []

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and other processes build their own: the records hold addresses.
        options = {"boundary": self.boundary, "dtype": self.dtype, "path": self.path, "workers": self.workers}
        return _rebuild, (self.psf, self.image_shape, options)

    def __repr__(self) -> str:
        taps, image = ("x".join(map(str, shape)) for shape in (self.psf.shape, self.image_shape))
        return f"<Blur: {taps} psf, {image} image, {self.dtype}, boundary {self.boundary}, path {self.path}>"

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
        return self._apply(self._forward, "x", x, self.estimate_shape, out, self.image_shape)

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
        return self._apply(self._adjoint, "y", y, self.image_shape, out, self.estimate_shape)

    def norm(self) -> float:
        """An upper bound of the operator's 2-norm: the sum of ``|psf|``."""
        return float(np.abs(self.psf).sum(dtype=np.float64))

    def slots(self, grid: Grid, passes: int = 1) -> int:
        """Threads to launch for that many passes over `grid`."""
        pixels = float(passes * grid.planes * grid.rows * grid.cols)
        return runtime.slots(self.workers, grid.tiles, pixels * (self._forward.cost + 16))

    @property
    def path_address(self) -> int:
        """Address of the path's machine code."""
        return PATHS[self.path].address(self.dtype)

    @property
    def filters(self) -> tuple[Filter, Filter]:
        """Forward and adjoint, for passes that correlate in buffers of their own."""
        return self._forward, self._adjoint

    def _apply(
        self,
        filter_: Filter,
        name: str,
        x: Any,
        shape: tuple[int, int],
        out: np.ndarray | None,
        out_shape: tuple[int, int],
        callers: int = 2,
    ) -> np.ndarray:
        source = checks.real_array(name, x)
        if source.shape != shape:
            raise ValueError(f"{name} must have shape {shape}; its shape is {source.shape}")
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
            checks.finite(name, source.astype(self.dtype, copy=False))  # says where it is not
        if not np.isfinite(written):
            warnings.warn(f"the blurred image is too large for {self.dtype}", RuntimeWarning, stacklevel=callers + 1)
        if target is not out:
            np.copyto(out, target)
        return out

    def _borrow(self, grid: Grid, slots: int) -> ApplyScratch:
        """Scratch for one call, used again by later ones (lists are safe among threads)."""
        try:
            scratch = self._spare.pop()
        except IndexError:
            scratch = None
        if scratch is None or scratch.slots != slots:
            one = self._forward
            window = one.window_rows(grid.tile_rows) * one.window_cols(grid.tile_cols)
            scratch = ApplyScratch(grid, slots, one.work, window, self.dtype)
        return scratch


def convolved(image: np.ndarray, blur: Blur) -> np.ndarray:
    """``blur.forward(image)`` for `api.convolve`, whose argument and caller its messages name."""
    return blur._apply(blur._forward, "image", image, blur.estimate_shape, None, blur.image_shape, callers=3)


def _rebuild(psf: np.ndarray, image_shape: tuple[int, int], options: dict[str, Any]) -> Blur:
    return Blur(psf, image_shape, **options)


def _within_reach(psf: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The taps that reach from some pixel of the image to another; the centre stays the centre."""
    spans = []
    for taps, pixels in zip(psf.shape, shape, strict=True):
        centre = taps // 2
        spans.append(slice(max(centre - (pixels - 1), 0), centre + pixels))
    return psf[tuple(spans)]


def _dtype(value: Any) -> np.dtype[Any]:
    try:
        dtype = np.dtype(value)
    except TypeError:
        raise TypeError(f"dtype must be float32 or float64; got {value!r}") from None
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64; got {dtype}")
    return np.dtype(np.float32 if dtype == np.float32 else np.float64)


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
