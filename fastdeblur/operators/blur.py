"""The blur A as a linear operator: `Blur`."""

from __future__ import annotations

import math
import warnings
from functools import partial
from typing import Any

import numpy as np

from .. import validation
from ..kernels.runtime import threads
from ..kernels.runtime.arrays import on_gpu
from ..kernels.runtime.memory import Spares, row_pitch
from . import costs
from .boundary import BOUNDARIES, FOLDED, estimate_shape, frame_corner, pixel_at, reduced
from .host import HostOperator
from .norm import upper_bound
from .paths import PATHS, Filter, pair
from .separable import rank
from .tiling import Grid, Halo

DEVICES = ("cpu", "cuda")
NO_REACH = ((0, 0), (0, 0))
# Psfs of a higher rank are not worth separable passes.
MOST_RANK = 16


class Blur:
    """Convolution with a psf, as a linear operator on images of one shape.

    Parameters
    ----------
    psf : array_like, shape (taps_down, taps_across)
        The point spread function, centred at ``psf.shape // 2``.  Used as given, not normalised.
    image_shape : (int, int)
        Rows and columns of the blurred image.
    boundary : {"constant", "nearest", "reflect", "mirror", "wrap", "unknown"}
        What lies outside the frame: zeros, or the image continued as scipy.ndimage's modes of the same
        names do, as often as the psf's reach takes.  With "unknown" nothing is assumed: what is
        blurred is larger than the image by ``psf.shape - 1``, and the image shows a part of it.
    dtype : {None, float32, float64}
        Precision of everything.  None takes the psf's (float16 and integers of at most 16 bits
        become float32, wider integers float64).
    path : {"auto", "direct", "separable", "fft"}
        How to compute it.  "direct" uses the psf as it is, "separable" sums ``rank`` products of a
        column and a row, "fft" transforms a tile at a time; "auto" takes the one that should be
        fastest for these shapes, this rank and dtype.  All agree to rounding.
    device : {"cpu", "cuda"}
        Where to compute.  "cuda" is the current NVIDIA GPU (``pip install 'fastdeblur[cuda12]'``, or cuda13); arrays
        in its memory stay there.
    workers : int or None
        Most threads to use, at least 1; never more than Numba was started with.  None is
        Numba's current count.

    Attributes
    ----------
    path : str
        The path in use.
    boundary : str
    image_shape, estimate_shape : (int, int)
        Shapes of what `forward` returns and takes.
    frame_corner : (int, int)
        Where in the estimate the image's first pixel is: (0, 0) but for "unknown".
    dtype : numpy.dtype
    seconds : float
        What one application should take one thread of the machine that "auto" was calibrated on.
    psf : ndarray
        The psf in the operator's dtype, read-only.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above.
    RuntimeError
        If `device` is "cuda" and there is no GPU, driver or package that it needs.

    Notes
    -----
    One instance may be used by any number of threads at once, and be copied and pickled.  Results
    do not depend on the number of threads.

    "unknown" and the exact adjoint of "reflect" are treated by [1]_ and [2]_.

    References
    ----------
    .. [1] S. J. Reeves, "Fast image restoration without boundary artifacts", IEEE Transactions on
       Image Processing 14, 2005.
    .. [2] M. K. Ng, R. H. Chan and W.-C. Tang, "A fast algorithm for deblurring models with Neumann
       boundary conditions", SIAM Journal on Scientific Computing 21, 1999.

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
        device: str = "cpu",
        workers: int | None = None,
    ):
        self.boundary: str = validation.choice("boundary", boundary, BOUNDARIES)
        # A copy: the caller's array may change, the operator may not.
        self.psf = validation.psf(psf, None if dtype is None else _dtype(dtype)).copy()
        self.psf.flags.writeable = False
        self.dtype = self.psf.dtype
        rows, cols = validation.sizes("image_shape", image_shape, 2)
        self.image_shape = rows, cols
        self.estimate_shape = estimate_shape(self.image_shape, self.psf.shape, self.boundary)
        self.frame_corner = frame_corner(self.psf.shape, self.boundary)
        validation.choice("path", path, ["auto", *PATHS])
        self.workers = validation.workers(workers)
        self.device: str = validation.choice("device", device, DEVICES)
        self._norm: float | None = None
        self._operators = Spares()  # on the GPU
        if self.device == "cuda":
            from . import cuda as operator

            self.path = operator.choose(reduced(self.psf, self.image_shape, self.boundary)) if path == "auto" else path
            self.seconds = 0.0
        else:
            self._prepare(path)

    def _prepare(self, path: str) -> None:
        """What kernels of the CPU need."""
        weights = reduced(self.psf, self.image_shape, self.boundary)
        if path == "auto":
            path = costs.cheapest(self.estimate_shape, weights.shape, rank(weights, MOST_RANK), self.dtype)
        self.path = path
        folds = self.boundary in FOLDED
        self.filters: tuple[Filter, Filter] = pair(path, weights, self.estimate_shape, folds)
        used = int(self.filters[0].record["rank"])
        self.seconds = costs.predicted(path, self.estimate_shape, weights.shape, used, self.dtype)
        # What lies around the estimate, what the adjoint has there for the estimate, and what lies
        # around the residual (the adjoint of a periodic blur is periodic itself).
        periodic = self.boundary == "wrap"
        nothing = self._halo(None)
        self.filled = self._halo(self.filters[0]) if folds or periodic else nothing
        self.folded = self.filled if folds else nothing
        self.residual_filled = self._halo(self.filters[1]) if periodic else nothing
        self._both: tuple[HostOperator, HostOperator] | None = None

    def _halo(self, filter_: Filter | None) -> Halo:
        """Around an estimate, as far as the windows of `filter_` reach."""
        return Halo(self.boundary, self.estimate_shape, NO_REACH if filter_ is None else _reach(filter_))

    def _on_host(self, adjoint: bool) -> HostOperator:
        """The blur or its adjoint, made when first asked for: solvers have operators of their own."""
        both = self._both
        if both is None:  # (two threads may both make them: they are alike)
            both = self._both = self._operators_on_host()
        return both[adjoint]

    def _operators_on_host(self) -> tuple[HostOperator, HostOperator]:
        """The blur and its adjoint for arrays of the caller."""
        outside = "wrap" if self.boundary == "wrap" else "constant"

        def estimate(axis: int) -> Any:
            """The estimate's pixel at positions counted from the frame's first pixel."""
            size, shift = self.estimate_shape[axis], self.frame_corner[axis]
            beyond = size - self.image_shape[axis] - shift
            return lambda before, after: pixel_at(self.boundary, size, before - shift, after - beyond)

        def residual(axis: int) -> Any:
            """The residual's pixel at positions counted from the estimate's first pixel."""
            size, shift = self.image_shape[axis], self.frame_corner[axis]
            beyond = self.estimate_shape[axis] - size - shift
            return lambda before, after: pixel_at(outside, size, before + shift, after + beyond)

        none = Halo("constant", self.image_shape, NO_REACH)
        return (
            self._operator_on_host(False, self.image_shape, none, (estimate(0), estimate(1))),
            self._operator_on_host(True, self.estimate_shape, self.folded, (residual(0), residual(1))),
        )

    def _operator_on_host(
        self, adjoint: bool, out_shape: tuple[int, int], halo: Halo, sources: tuple[Any, Any]
    ) -> HostOperator:
        return HostOperator(self.filters[adjoint], out_shape, halo, sources)

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and other processes build their own: the records hold addresses.
        options = {"boundary": self.boundary, "dtype": self.dtype, "path": self.path, "device": self.device}
        options["workers"] = self.workers
        return _rebuild, (self.psf, self.image_shape, options)

    def __repr__(self) -> str:
        taps, image = ("x".join(map(str, shape)) for shape in (self.psf.shape, self.image_shape))
        where = "" if self.device == "cpu" else f", on {self.device}"
        return f"<Blur: {taps} psf, {image} image, {self.dtype}, boundary {self.boundary}, path {self.path}{where}>"

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
        TypeError
            If `x` does not hold real numbers, or `out` is not an ndarray of the operator's dtype.
        ValueError
            If `x` has another shape or contains NaN or infinity (`out` is then undefined), or if
            `out` has another shape or is read-only.

        Warns
        -----
        RuntimeWarning
            If the result is too large for the operator's dtype; it then holds infinity or NaN.
        """
        return self._apply(False, "x", x, out)  # type: ignore[no-any-return]

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
        TypeError, ValueError
            As for `forward`.

        Warns
        -----
        RuntimeWarning
            As for `forward`.
        """
        return self._apply(True, "y", y, out)  # type: ignore[no-any-return]

    def norm(self) -> float:
        """An upper bound of the operator's 2-norm, the largest of ``‖A x‖ / ‖x‖``.

        Returns
        -------
        float
            For a psf without negative entries at most 5 % above the norm.

        Notes
        -----
        Computed at the first call, by power iterations: for any positive v the largest quotient of ``|A|ᵀ|A| v``
        and v is a bound of the norm's square [1]_.  The sum of ``|psf|`` would do for "constant", "wrap" and
        "unknown"; where the border's pixels are repeated outside the frame it may be exceeded.

        References
        ----------
        .. [1] L. Collatz, "Einschließungssatz für die charakteristischen Zahlen von Matrizen", Mathematische
           Zeitschrift 48, 1942.

        Examples
        --------
        >>> import fastdeblur as fd
        >>> bool(0.95 < fd.Blur(fd.psf.box(3), (64, 64)).norm() < 1.05)
        True
        """
        if self._norm is None:
            self._norm = upper_bound(self.psf, self.image_shape, self.boundary, Blur)
        return self._norm

    def as_linear_operator(self) -> Any:
        """The blur as scipy's solvers take it.

        Returns
        -------
        scipy.sparse.linalg.LinearOperator
            Of shape (pixels of the image, pixels of the estimate), on arrays in C order, raveled.  Its ``matvec``
            and ``rmatvec`` take batches too, of shape (..., pixels), where SciPy passes them on (from 1.18).

        Examples
        --------
        >>> import numpy as np, fastdeblur as fd
        >>> from scipy.sparse.linalg import lsqr
        >>> blur = fd.Blur(fd.psf.gaussian(3, 0.5), (6, 7))
        >>> blurred = blur.forward(np.eye(6, 7))
        >>> restored = lsqr(blur.as_linear_operator(), blurred.ravel())[0].reshape(6, 7)
        >>> np.allclose(restored, np.eye(6, 7), atol=1e-4)
        True
        """
        import scipy.sparse.linalg  # not for everyone who imports fastdeblur

        return scipy.sparse.linalg.LinearOperator(
            (math.prod(self.image_shape), math.prod(self.estimate_shape)),
            matvec=partial(_on_vectors, self.forward, self.estimate_shape, self.image_shape, self.dtype),
            rmatvec=partial(_on_vectors, self.adjoint, self.image_shape, self.estimate_shape, self.dtype),
            dtype=self.dtype,
        )

    def threads(self, grid: Grid, passes: int = 1) -> int:
        """Threads to launch for that many passes over `grid`."""
        return threads.count(self.workers, grid.tiles, passes * grid.planes * self.seconds)

    def run(self, source: np.ndarray, out: np.ndarray, adjoint: bool = False) -> None:
        """`forward` or `adjoint` of arrays that kernels can use as they are, unchecked."""
        operator = self._on_host(adjoint)
        operator.run(source, out, self.threads(operator.grid))

    def operator_with(self, blurs: list[Blur]) -> Any:
        """The blur on the GPU for planes with these psfs, one for all or one each."""
        from .cuda import Operator

        psfs = [blur.psf for blur in blurs]
        return Operator(psfs, self.boundary, self.image_shape, self.estimate_shape, self.frame_corner, self.path)

    def _apply(self, adjoint: bool, name: str, x: Any, out: Any, callers: int = 2) -> Any:
        shapes = self.estimate_shape, self.image_shape
        shape, out_shape = shapes[::-1] if adjoint else shapes
        if self.device == "cuda":
            return self._apply_on_device(adjoint, name, x, shape, out, out_shape)
        operator = self._on_host(adjoint)
        source = validation.real_array(name, x)
        if source.shape != shape:
            raise ValueError(f"{name} must have shape {shape}; its shape is {source.shape}")
        if out is None:
            out = np.empty(out_shape, self.dtype)
        else:
            _check_out(out, out_shape, self.dtype)
        if row_pitch(source, self.dtype) is None or np.may_share_memory(source, out):
            with np.errstate(over="ignore"):  # found again as infinity, and reported
                source = np.array(source, self.dtype, order="C")
        target = out if row_pitch(out, self.dtype) is not None else np.empty(out_shape, self.dtype)

        if not operator.run(source, target, self.threads(operator.grid)):
            validation.finite(name, source.astype(self.dtype, copy=False))  # says where it is not
            warnings.warn(f"the blurred image is too large for {self.dtype}", RuntimeWarning, stacklevel=callers + 1)
        if target is not out:
            np.copyto(out, target)
        return out

    def _apply_on_device(self, adjoint: bool, name: str, x: Any, shape: Any, out: Any, out_shape: Any) -> Any:
        from ..kernels.cuda import device

        with device.current(x):
            if out is not None:
                _check_out(device.on_device(out) if on_gpu(out) else out, out_shape, self.dtype)
            source = validation.device_pixels(name, x, self.dtype)
            if source.shape != shape:
                raise ValueError(f"{name} must have shape {shape}; its shape is {source.shape}")
            result = device.zeros((1, *out_shape), self.dtype)
            with self._operators.borrowed(device.place(), lambda: self.operator_with([self])) as operator:
                (operator.adjoint if adjoint else operator.forward)(source[None], result)
            if not device.is_finite(result):
                validation.warn(f"the blurred image is too large for {self.dtype}", RuntimeWarning)
            if out is None:
                return device.like(result[0], x)
            return device.write(result[0], out)


def _check_out(out: Any, shape: tuple[int, int], dtype: Any) -> None:
    if not hasattr(out, "flags") or out.dtype != dtype:
        raise TypeError(f"out must be an ndarray of {dtype}; got {getattr(out, 'dtype', type(out))}")
    if out.shape != shape:
        raise ValueError(f"out must have shape {shape}; its shape is {out.shape}")
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise ValueError("out must be writeable")


def apply_to_planes(blurs: list[Blur], planes: np.ndarray, out: np.ndarray, adjoint: bool = False) -> None:
    """A, or its adjoint, for planes that kernels can use as they are; `blurs` are one for all, or one each."""
    for k, (pixels, result) in enumerate(zip(planes, out, strict=True)):
        blurs[k % len(blurs)].run(pixels, result, adjoint)


def convolved(image: np.ndarray, blur: Blur) -> np.ndarray:
    """``blur.forward(image)`` for `api.convolve`, whose argument and caller its messages name."""
    return blur._apply(False, "image", image, None, callers=3)  # type: ignore[no-any-return]


def _on_vectors(
    apply: Any, shape: tuple[int, ...], out_shape: tuple[int, ...], dtype: np.dtype[Any], vectors: Any
) -> np.ndarray:
    """What a LinearOperator does to a raveled array, or to an array of them whose last axis they are.

    Not a closure, so that it can be pickled.
    """
    vectors, pixels = np.asarray(vectors), math.prod(shape)
    # Up to SciPy 1.17 columns come as they are, of shape (pixels, 1).
    batch = vectors.shape[:-1] if vectors.shape[-1] == pixels else ()
    results = np.empty((math.prod(batch), *out_shape), dtype)
    for vector, out in zip(vectors.reshape(-1, pixels), results, strict=True):
        apply(vector.reshape(shape), out=out)
    return results.reshape(*batch, math.prod(out_shape))


def _rebuild(psf: np.ndarray, image_shape: tuple[int, int], options: dict[str, Any]) -> Blur:
    return Blur(psf, image_shape, **options)


def _dtype(value: Any) -> np.dtype[Any]:
    try:
        dtype = np.dtype(value)
    except TypeError:
        raise TypeError(f"dtype must be float32 or float64; got {value!r}") from None
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64; got {dtype}")
    return np.dtype(np.float32 if dtype == np.float32 else np.float64)


def _reach(filter_: Filter) -> tuple[tuple[int, int], tuple[int, int]]:
    """How far a filter's windows reach beyond their block, before and after, along each axis."""
    below, right = filter_.taps_down - 1 - filter_.top, filter_.taps_across - 1 - filter_.left
    return (filter_.top, below), (filter_.left, right)
