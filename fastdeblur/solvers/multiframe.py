"""Several frames of one scene: their shifts, and one estimate for all by the normal equations (`solve` of a list)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from .. import validation
from ..hygiene import warn_of
from ..kernels.cpu.sweeper import Sweeper
from ..kernels.cpu.vectors import combine
from ..kernels.runtime import forks, threads
from ..operators.blur import Blur
from ..operators.boundary import BOUNDARIES
from ..problem.options import OPTIONS, Options, checked
from ..problem.regularization import WeightEstimate
from ..result import Result
from .common import bar, wants_stop
from .pcg.preconditioner import Applier, Preconditioner

# The parts of a pixel that `shifts` tells apart.
UPSAMPLED = 50
# How often the window is moved to where the scene is: a window that stays pulls shifts towards 0.
ROUNDS = 3
# Operators that are kept for the next product; those of more frames are made anew each time.
MOST_KEPT = 8
# Pixels that a psf is padded with before it is moved by parts of a pixel: the spline's reach.
SPLINE = 3
# Options of `solve` that frames have, beside `mu` and `weights`; all others must be what they are by default.
TAKEN = {"data", "prior", "mu", "boundary", "weights", "max_iter", "tol", "path", "workers", "callback", "progress"}


def shifts(frames: Iterable[Any]) -> np.ndarray:
    """Shifts of frames of one scene against the first, by phase correlation.

    Parameters
    ----------
    frames : iterable of array_like, shape (rows, cols)
        Images of one shape, finite.

    Returns
    -------
    ndarray of float64, shape (frames, 2)
        By how many rows and columns the scene has moved in each frame since the first: for `shifts` of `solve`.

    Raises
    ------
    TypeError, ValueError
        If a frame is not a finite image, or has another shape than the first.

    Notes
    -----
    scikit-image's `registration.phase_cross_correlation` [1]_ to 1/50 of a pixel, of frames that fade to their mean at
    the border.  Frames that are blurred differently by psfs with centroids off their centres differ by those, too.

    References
    ----------
    .. [1] M. Guizar-Sicairos, S. T. Thurman and J. R. Fienup, "Efficient subpixel image registration algorithms",
       Optics Letters 33, 2008.

    Examples
    --------
    >>> import numpy as np, fastdeblur as fd
    >>> scene = fd.convolve(np.random.default_rng(0).random((48, 48)), fd.psf.gaussian(9, 2.0), boundary="wrap")
    >>> fd.shifts([scene, np.roll(scene, (3, -2), (0, 1))]).round(1)
    array([[ 0.,  0.],
           [ 3., -2.]])
    """
    from skimage.registration import phase_cross_correlation  # not for everyone who imports fastdeblur

    found: list[np.ndarray] = []
    first: np.ndarray | None = None
    for frame in frames:
        image = _frame(frame, None, None if first is None else first.shape).astype(np.float64)
        moved = np.zeros(2)
        if first is None:
            first = _faded(image, moved)
        else:
            for _ in range(ROUNDS):
                faded = _faded(image, moved)
                with forks.unforked():
                    found_shift = phase_cross_correlation(first, faded, upsample_factor=UPSAMPLED, normalization=None)[
                        0
                    ]
                moved = 0.0 - found_shift
        found.append(moved)
    return np.array(found).reshape(-1, 2)


def _faded(image: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """A frame that fades to its mean at the border, by a window that has moved as the scene has."""
    sides = []
    for size, shift in zip(image.shape, moved, strict=True):
        at = np.clip((np.arange(size) - shift + 1) / (size + 1), 0, 1)
        sides.append(0.5 - 0.5 * np.cos(2 * np.pi * at))
    window = np.outer(*sides)
    faded: np.ndarray = window * (image - (window * image).sum() / window.sum())
    return faded


def solve_frames(frames: Any, psfs: Any, given_shifts: Any, options: dict[str, Any]) -> Result:
    """One estimate for several frames; the arguments are those of `solve`, unchecked."""
    began = time.perf_counter()
    each = _each(frames)
    first = _frame(next(each), None, None)
    settings = _checked(options, first.dtype)
    operators = _Operators(psfs, given_shifts, first, options)
    normal = _Normal(operators, _frame_weights(options["weights"], len(operators)), first.dtype)
    normal.add(first)
    for frame in each:
        normal.add(_frame(frame, first.dtype, first.shape))
    normal.check_complete()
    noise, mu = math.nan, settings.mu
    if mu is None:
        noise, mu = _automatic_mu(first, operators.psfs[0], normal.total_weight)
    return _minimise(normal, settings, mu, noise, began)


def _each(frames: Any) -> Iterator[Any]:
    each = iter(frames)
    try:
        first = next(each)
    except StopIteration:
        raise ValueError("frames must be at least one image; there is none") from None

    def all_frames() -> Iterator[Any]:
        yield first
        yield from each

    return all_frames()


def _frame(value: Any, dtype: Any, shape: tuple[int, ...] | None) -> np.ndarray:
    """A frame in its working dtype, or in that of the first, whose shape it has."""
    if isinstance(value, (str, bytes)) or hasattr(value, "__fspath__"):
        raise TypeError(
            f"frames must be arrays; got the path {value!r} (pass a generator that reads one file after another)"
        )
    array = validation.real_array("frames", value)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"frames must be gray images of two dimensions; the shape of one is {array.shape}")
    if shape is not None and array.shape != shape:
        raise ValueError(f"frames must all have one shape; the first has {shape}, another {array.shape}")
    return validation.cast("frames", array, validation.working_dtype(array) if dtype is None else dtype)


def _checked(options: dict[str, Any], dtype: Any) -> Options:
    """Options that go with several frames."""
    for name, value in options.items():
        if name not in TAKEN and not (value is OPTIONS[name].default or value == OPTIONS[name].default):
            raise ValueError(f"{name} does not go with several frames yet; got {value!r} (leave it out)")
    data, prior = options["data"], options["prior"]
    if data not in (None, "squares") or prior != "gradient":
        raise ValueError(
            "data must be None or 'squares' and prior 'gradient' for several frames; got "
            f"data={data!r}, prior={prior if isinstance(prior, str) else 'of another kind'!r}"
        )
    return checked(options | {"data": "squares", "weights": None})


def _frame_weights(weights: Any, count: int) -> np.ndarray:
    if weights is None:
        return np.ones(count)
    array = validation.real_array("weights", weights).astype(np.float64)
    if array.shape != (count,):
        raise ValueError(f"weights must be one number for each of the {count} frames; the shape is {array.shape}")
    if not (np.isfinite(array).all() and (array >= 0).all() and array.any()):
        raise ValueError(f"weights must be finite, at least 0, and not all 0; got {array.tolist()}")
    return array


class _Operators:
    """The blurs of the frames, whose psfs have been brought to one shape and moved by the shifts."""

    def __init__(self, psfs: Any, given_shifts: Any, first: np.ndarray, options: dict[str, Any]):
        if isinstance(psfs, (Blur, str)) or not hasattr(psfs, "__len__"):
            raise TypeError(f"psfs must be a list, one for each frame; got {type(psfs).__name__}")
        self._blurs = [psf if isinstance(psf, Blur) else None for psf in psfs]
        boundary = validation.choice("boundary", options["boundary"], BOUNDARIES)
        moved = _checked_shifts(given_shifts, len(psfs), first.shape)
        if any(self._blurs):
            self._check_blurs(first, moved)
            self.psfs = [blur.psf for blur in self._blurs if blur is not None]
        else:
            self.psfs = _moved(psfs, moved, first.dtype)
            if not len(psfs):
                raise ValueError("psfs must be one for each frame; there is none")
        self._made: dict[int, Blur] = {}
        self._options = {"boundary": boundary, "path": options["path"], "workers": options["workers"]}
        self._shape, self._dtype = first.shape, first.dtype
        self.first = self[0]

    def _check_blurs(self, first: np.ndarray, moved: np.ndarray) -> None:
        blurs = [blur for blur in self._blurs if blur is not None]
        if len(blurs) < len(self._blurs):
            raise TypeError("psfs must be all arrays, or all of them Blurs")
        if moved.any():
            raise ValueError("shifts go with psfs that are arrays: move the psfs of a Blur or VaryingBlur yourself")
        wanted = (first.shape, first.dtype, blurs[0].estimate_shape, blurs[0].boundary)
        for k, blur in enumerate(blurs):
            given = (blur.image_shape, blur.dtype, blur.estimate_shape, blur.boundary)
            if given != wanted:
                raise ValueError(
                    "psfs that are Blurs must have the frames' shape and dtype, and one boundary and size of psf: "
                    f"{wanted}; number {k} has {given}"
                )

    def __len__(self) -> int:
        return len(self.psfs)

    def __getitem__(self, k: int) -> Blur:
        blur = self._blurs[k] or self._made.get(k)
        if blur is None:
            blur = Blur(self.psfs[k], self._shape, dtype=self._dtype, **self._options)
            if len(self) <= MOST_KEPT:
                self._made[k] = blur
        return blur


def _checked_shifts(value: Any, count: int, shape: tuple[int, ...]) -> np.ndarray:
    if value is None:
        return np.zeros((count, 2))
    array = validation.real_array("shifts", value).astype(np.float64)
    if array.shape != (count, 2):
        raise ValueError(f"shifts must be one (rows, columns) for each of the {count} psfs; the shape is {array.shape}")
    validation.finite("shifts", array)
    far = (np.abs(array) >= shape).any(axis=1)
    if far.any():
        k = int(np.argmax(far))
        raise ValueError(
            f"shifts must be less than the frames' size {shape}; that of frame {k} is {tuple(array[k].tolist())}"
        )
    return array


def _moved(psfs: Any, moved: np.ndarray, dtype: Any) -> list[np.ndarray]:
    """Psfs of one shape, each moved by its shift, with its sum unchanged."""
    import scipy.ndimage  # not for everyone who imports fastdeblur

    arrays = [validation.psf(psf).astype(np.float64) for psf in psfs]
    for array in arrays:
        warn_of(array)
    reach = [0, 0]
    for array, shift in zip(arrays, moved, strict=True):
        for axis in (0, 1):
            part = abs(float(shift[axis])) + (SPLINE if shift[axis] % 1 else 0)
            reach[axis] = max(reach[axis], array.shape[axis] // 2 + math.ceil(part))
    found = []
    for array, shift in zip(arrays, moved, strict=True):
        whole = np.zeros((2 * reach[0] + 1, 2 * reach[1] + 1))
        top, left = (away - size // 2 for away, size in zip(reach, array.shape, strict=True))
        whole[top : top + array.shape[0], left : left + array.shape[1]] = array
        if shift.any():
            total = whole.sum()
            whole = scipy.ndimage.shift(whole, shift, order=3 if (shift % 1).any() else 0)
            whole *= total / whole.sum() if abs(whole.sum()) > 0 else 1.0
        found.append(whole.astype(dtype))
    return found


class _Normal:
    """Normal equations of all frames: the sum of w Aᵀ A, and of w Aᵀ b, of which one image is kept."""

    def __init__(self, operators: _Operators, weights: np.ndarray, dtype: Any):
        self._operators, self._weights, self._count = operators, weights, 0
        self.blur = operators.first
        self.right = np.zeros(self.blur.estimate_shape, dtype)
        self._back = np.empty_like(self.right)
        self._image = np.empty(self.blur.image_shape, dtype)
        self.squares, self.applied = 0.0, 0
        self.total_weight = float(weights.sum())

    def add(self, frame: np.ndarray) -> None:
        """Take in one more frame."""
        k = self._count
        if k == len(self._operators):
            raise ValueError(f"frames must not be more than psfs; there are {k} psfs (one for each frame)")
        self._operators[k].run(np.ascontiguousarray(frame), self._back, adjoint=True)
        self.right += self.right.dtype.type(self._weights[k]) * self._back
        self.squares += float(self._weights[k]) * _dot(frame, frame)
        self._count += 1

    def check_complete(self) -> None:
        if self._count < len(self._operators):
            raise ValueError(
                f"psfs must be one for each frame; there are {len(self._operators)} for {self._count} frames"
            )

    def product(self, x: np.ndarray, out: np.ndarray) -> None:
        """The sum of w Aᵀ A x."""
        out[...] = 0
        for k in range(self._count):
            blur = self._operators[k]
            blur.run(x, self._image)
            blur.run(self._image, self._back, adjoint=True)
            out += out.dtype.type(self._weights[k]) * self._back
        self.applied += self._count

    def mean_psf(self) -> np.ndarray:
        """A psf with about the power spectrum that the frames have on average, by which to precondition."""
        psfs, power = self._operators.psfs, 0.0
        taps = psfs[0].shape
        size = tuple(2 * count for count in taps)
        for psf, weight in zip(psfs, self._weights, strict=True):
            with forks.unforked():
                power = power + weight * np.abs(np.fft.rfft2(psf.astype(np.float64), size)) ** 2
        with forks.unforked():
            mean = np.fft.irfft2(np.sqrt(power / self.total_weight), size)
        mean = np.roll(mean, tuple(count // 2 for count in taps), (0, 1))[: taps[0], : taps[1]]
        return np.asarray(mean, psfs[0].dtype)


def _minimise(normal: _Normal, options: Options, mu: float, noise: float, began: float) -> Result:
    """Preconditioned conjugate gradients for ½ Σ w ‖A x − b‖² + ½ mu ‖Dx‖²."""
    blur, right, dtype = normal.blur, normal.right, normal.right.dtype
    sweeper = Sweeper(dtype)
    sweeper.threads = threads.count(blur.workers, right.size // 4096 + 1, right.size * 20e-9)
    preconditioner = Preconditioner(
        normal.mean_psf(), blur.boundary, blur.image_shape, blur.estimate_shape, blur.workers, by_cosines=False
    )
    applier = Applier(preconditioner, sweeper, 1)
    solves = preconditioner.at(max(mu / normal.total_weight, preconditioner.least))

    def precondition(source: np.ndarray) -> np.ndarray:
        out = np.empty_like(source)
        applier.apply(solves, source[None], out[None])
        return out

    def laplacian(image: np.ndarray) -> np.ndarray:
        """DᵀD of an image."""
        out = np.zeros_like(image)
        sweeper.sweep(combine, [out, image], (1.0,))
        return out

    x = precondition(right) / dtype.type(normal.total_weight)
    product, smooth = np.empty_like(x), laplacian(x)
    normal.product(x, product)
    (top, left), (rows, cols) = blur.frame_corner, blur.image_shape
    history: list[float] = []
    direction, last = np.zeros_like(x), 0.0
    optimality, stop_reason = math.nan, ""
    with bar(options.progress, options.max_iter) as show:
        while not stop_reason:
            data = product - right
            gradient = data + dtype.type(mu) * smooth
            parts = math.sqrt(_dot(data, data)) + mu * math.sqrt(_dot(smooth, smooth))
            optimality = math.sqrt(_dot(gradient, gradient)) / parts if parts > 0 else 0.0
            misfit = max(_dot(x, product) - 2 * _dot(x, right) + normal.squares, 0.0)
            history.append(0.5 * misfit + 0.5 * mu * _dot(x, smooth))
            iteration = len(history) - 1
            show(iteration)
            frame = x[top : top + rows, left : left + cols]
            if not np.isfinite(optimality):
                stop_reason = "diverged"
            elif optimality <= options.tol and options.tol > 0:
                stop_reason = "tolerance"
            elif iteration == options.max_iter:
                stop_reason = "max_iter"
            elif (
                options.callback
                and iteration
                and wants_stop(options.callback, iteration, history[-1], optimality, frame)
            ):
                stop_reason = "callback"
            if stop_reason:
                break
            fresh = precondition(gradient)
            slope = _dot(gradient, fresh)
            direction *= dtype.type(slope / last if last > 0 else 0.0)
            direction -= fresh
            last = slope
            moved, smoothed = np.empty_like(x), laplacian(direction)
            normal.product(direction, moved)
            curvature = _dot(direction, moved) + mu * _dot(direction, smoothed)
            length = dtype.type(-_dot(gradient, direction) / curvature if curvature > 0 else 0.0)
            x += length * direction
            product += length * moved
            smooth += length * smoothed
    pixels = normal.total_weight * rows * cols
    return Result(
        image=x[top : top + rows, left : left + cols].copy(),
        objective=history[-1],
        history=np.array(history),
        n_iter=len(history) - 1,
        n_products=float(normal.applied),
        stop_reason=stop_reason,
        optimality=optimality,
        mu=mu,
        path=blur.path,
        device="cpu",
        seconds=time.perf_counter() - began,
        noise=noise,
        misfit=math.sqrt(misfit / pixels) / noise if noise > 0 else math.nan,
    )


def _automatic_mu(first: np.ndarray, psf: np.ndarray, total_weight: float) -> tuple[float, float]:
    """The noise of a frame and the weight for all, as for one frame with so much less noise."""
    estimate = WeightEstimate(first[None], [psf], None)
    spectra = estimate.spectra
    if not estimate.noise > 0:
        return estimate.noise, estimate.ridge * total_weight
    return estimate.noise, total_weight * spectra.ridge(1 / total_weight) * spectra.scale


def _dot(first: np.ndarray, second: np.ndarray) -> float:
    # Row by row, in double precision across rows; not by BLAS, whose bits depend on threads.
    return float(np.einsum("ij,ij->i", first, second, dtype=np.float64).sum())
