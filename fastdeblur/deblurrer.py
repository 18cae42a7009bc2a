"""Class `Deblurrer`: what depends on psf, shape and options is made once, for many images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from . import validation
from .engines.devices import engine_for
from .engines.pickles import options_of_0_1_0, start_of
from .engines.workspaces import HostWorkspaces
from .hygiene import warn_of, without_border
from .kernels.runtime.arrays import module_of
from .operators.blur import Blur
from .operators.varying import VaryingBlur, check_device
from .problem.background import checked_background, without_background
from .problem.image import Image
from .problem.learned import Scale
from .problem.options import SOLVE, Options, called, checked, options_in, options_of
from .problem.start import starter
from .problem.weights import checked_weights, weighed
from .result import Result
from .solvers.dispatch import solve_and_judge


class Deblurrer:
    """Restores images of one shape that were blurred alike.

    Parameters
    ----------
    psf : array_like, shape (taps_down, taps_across), with the image's channel axis if each channel has its own, or Blur
        As for `solve`.
    shape : (int, int), or (int, int, int) with `channel_axis`
        The images' shape, in pixels, with the channel axis if there is one.
    **options
        As for `solve`: all of them.

    Attributes
    ----------
    shape : tuple of int
        As given.
    psfs : list of ndarray
        The psf, or those of the channels.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As `solve`.

    Warns
    -----
    UserWarning
        Of the psf, as `solve`.

    See Also
    --------
    solve : for a single image; it says what the options are, and which papers the methods are from.

    Notes
    -----
    One instance may be used by any number of threads at once: each call works in memory of its
    own, which is kept for the next.  With the exact solver, a second call of the same kind
    allocates nothing of the image's size but the result.  What depends on the images' dtype is made
    when the first one comes.

    Examples
    --------
    >>> import numpy as np, fastdeblur as fd
    >>> psf = fd.psf.gaussian(5, 1.0)
    >>> frames = np.random.default_rng(0).random((3, 32, 32))
    >>> deblurrer = fd.Deblurrer(psf, (32, 32), mu=0.1)
    >>> [restored.shape for restored in deblurrer.map(frames)]
    [(32, 32), (32, 32), (32, 32)]
    """

    def __init__(
        self,
        psf: Any,
        shape: Any,
        *,
        data: str | None = None,
        prior: Any = "gradient",
        mu: Any = "auto",
        boundary: str = "unknown",
        weights: Any = None,
        bounds: Any = None,
        background: Any = 0,
        read_noise: float = 0,
        channel_axis: int | None = None,
        solver: str = "auto",
        learning_rate: float | None = None,
        max_iter: int | None = None,
        tol: float = 1e-4,
        init: Any = "image",
        seed: int | None = None,
        path: str = "auto",
        device: str = "cpu",
        workers: int | None = None,
        callback: Callable[[Any], Any] | None = None,
        progress: bool = False,
    ):
        self._build(psf, shape, options_in(locals()))
        for array in self.psfs:
            warn_of(array)

    @classmethod
    def _silent(cls, psf: Any, shape: Any, **options: Any) -> Deblurrer:
        """One that does not warn of its psf: the caller has."""
        deblurrer = cls.__new__(cls)
        deblurrer._build(psf, shape, {name: option.default for name, option in options_of(SOLVE).items()} | options)
        return deblurrer

    _options: Options

    def _following(self, scale: Scale) -> Deblurrer:
        """This one, with a learned prior for another noise and range than those of each image."""
        self._options = replace(self._options, scale=scale)
        return self

    def _build(self, psf: Any, shape: Any, options: dict[str, Any]) -> None:
        self._options = checked(options)
        self._channel_axis = channel_axis = options["channel_axis"]
        if not isinstance(psf, Blur):
            validation.psf_dimensions(psf, channel_axis)
        check_device(psf, options["device"])
        self.shape = _shape(shape, channel_axis)
        self._psf = psf if isinstance(psf, Blur) else psfs_of(psf, self.shape, channel_axis)
        self._engine = engine_for(options["device"])
        self._operation = {name: options[name] for name in ("boundary", "path", "device", "workers")}
        self._operation["workers"] = validation.workers(options["workers"])
        weights, background, init = (options[name] for name in ("weights", "background", "init"))
        with self._engine.current(weights):
            self._weights = None if weights is None else checked_weights(weights, self.shape, channel_axis).copy()
        with self._engine.current(background):
            checked_one = checked_background(background, self.shape, channel_axis)
            self._background = checked_one if isinstance(checked_one, float) else checked_one.copy()
        with self._engine.current(init):
            self._start = starter(init, options["seed"], self.shape, channel_axis)
        self._workspaces: dict[np.dtype[Any], HostWorkspaces] = {}
        for array in self.psfs:
            self._options.check_psf(array)
        if isinstance(psf, VaryingBlur):
            self._options.check_psf(psf.psfs)

    @property
    def psfs(self) -> list[np.ndarray]:
        """The psf, or those of the channels."""
        return [self._psf.psf] if isinstance(self._psf, Blur) else self._psf

    def solve(
        self,
        image: Any,
        *,
        init: Any = None,
        weights: Any = None,
        background: Any = None,
        callback: Callable[[Any], Any] | None = None,
        out: np.ndarray | None = None,
    ) -> Result:
        """Restore one image, and say how it went.

        Parameters
        ----------
        image : array_like of the given shape
            The blurred image, as for `fastdeblur.solve`.
        init : {None, "image", "zeros", "normal"} or array_like of the image's shape
            Where to start; None is the given `init`.
        weights : array_like of the image's shape, or of one channel's, or None
            None are the given ones.
        background : number, or array_like of the image's shape, or of one channel's, or None
            None is the given one.
        callback : callable or None
            None is the given one.
        out : ndarray of the image's shape and the result's dtype, float32 or float64, or None
            Where to put the restored image; None is a new array.

        Returns
        -------
        Result

        Raises
        ------
        TypeError, ValueError
            If the image has another shape, `out` does not fit, or as `fastdeblur.solve`.

        Warns
        -----
        RuntimeWarning
            If the objective or the restored image is not finite, as `fastdeblur.solve`.
        UserWarning
            If the result should not be trusted, as `fastdeblur.solve`.
        """
        began = time.perf_counter()
        accepted = self._accept(image)
        return self._solve(accepted, began, init, weights, background, called("callback", callback), out)

    def _accept(self, image: Any) -> Image:
        """A caller's image, which has the right shape."""
        accepted = self._engine.accept(image, self._channel_axis)
        if np.shape(accepted.given) != self.shape:
            raise ValueError(f"image must have the shape {self.shape}; its shape is {tuple(np.shape(accepted.given))}")
        return accepted

    def _solve(self, image: Image, *arguments: Any) -> Result:
        """`solve` of an accepted image of the right shape, with warnings."""
        result, doubts = self._solve_silently(image, *arguments)
        if doubts:
            validation.warn(f"the result may be wrong: {'; '.join(doubts)}", UserWarning)
        return result

    def _solve_silently(
        self,
        image: Image,
        began: float,
        init: Any = None,
        weights: Any = None,
        background: Any = None,
        callback: Any = None,
        out: Any = None,
    ) -> tuple[Result, list[str]]:
        """`solve` of an accepted image of the right shape, and reasons to doubt the result."""
        engine = self._engine
        with engine.current(image.given):
            image = self._ready(image, init, weights, background)
            if out is not None:
                engine.check_out(out, self.shape, image.planes.dtype)
            result, doubts = solve_and_judge(
                self._workspaces_for(image.planes),
                image,
                engine.shown_to(callback or self._options.callback, image),
                engine.checked_denoiser(self._options.denoiser, image),
            )
            result = finite(result, image)
            if result.stop_reason in ("callback", "diverged"):
                doubts = []
            restored = engine.give_back(image, result.image, out)
        return replace(result, image=restored, seconds=time.perf_counter() - began), doubts

    def _ready(self, image: Image, init: Any, weights: Any, background: Any) -> Image:
        """An accepted image with its start and weights, without its background."""
        axis, options = self._channel_axis, self._options
        start = self._start if init is None else starter(init, None, self.shape, axis)
        background = self._background if background is None else checked_background(background, self.shape, axis)
        weights = self._weights if weights is None else checked_weights(weights, self.shape, axis)
        planes, shift = without_background(background, image.planes, axis, options)
        planes, weights, factor = weighed(planes, weights, axis)
        if options.data == "poisson" and shift is None and planes.min() < 0:
            raise ValueError(
                f"image must not be negative with data='poisson'; its least value is {planes.min()} (if a background "
                "was subtracted from it, add that again and pass it as background; if it was read with noise, pass "
                "read_noise)"
            )
        return replace(image, planes=planes, weights=weights, factor=factor, shift=shift, start=start)

    def _workspaces_for(self, planes: np.ndarray) -> HostWorkspaces:
        """Operators and memory for images of a dtype, made when the first one comes."""
        workspaces = self._workspaces.get(planes.dtype)
        if workspaces is None:
            made = self._engine.workspaces(self._psf, planes, self._options, self._operation)
            workspaces = self._workspaces.setdefault(planes.dtype, made)
        return workspaces

    def __getstate__(self) -> dict[str, Any]:
        # Copies and other processes make their own workspaces: those hold addresses.
        return self.__dict__ | {"_workspaces": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_place" in state:  # of version 0.1.0
            state = state | {"_engine": state["_place"], "_start": start_of(state["_start"]), "_workspaces": {}}
            state["_options"] = options_of_0_1_0(state["_options"])
            del state["_place"], state["_tools"]
        self.__dict__.update(state)

    def __call__(self, image: Any) -> np.ndarray:
        """Restore one image: ``solve(image).image``.

        Parameters
        ----------
        image : array_like of the given shape

        Returns
        -------
        ndarray
            The restored image, float32 or float64, not clipped.

        Raises
        ------
        TypeError, ValueError
            As `solve`.
        """
        return self.solve(image).image

    def map(self, frames: Iterable[Any]) -> Iterator[np.ndarray]:
        """Restore one image after another.

        Parameters
        ----------
        frames : iterable of array_like of the given shape
            A stack of images, or what reads one after another.

        Yields
        ------
        ndarray
            The restored images, each when it is asked for.

        Raises
        ------
        TypeError, ValueError
            As `solve`, when the frame's turn has come.
        """
        return (self(frame) for frame in frames)


def finite(result: Result, of: Image) -> Result:
    """A result without NaN and infinity in its image, and with a warning if it lacks a minimum for numbers' sake."""
    image, xp = result.image, module_of(of.planes)
    if not xp.isfinite(image).all():
        if xp.isnan(image).any():
            image = xp.empty_like(of.planes)
            of.start.write(of.planes, image)
        largest = np.finfo(image.dtype).max
        result = replace(result, image=image.clip(-largest, largest), stop_reason="diverged")
        validation.warn(f"the restored image is too large or too small for {of.planes.dtype}", RuntimeWarning)
    elif result.stop_reason == "diverged" or not np.isfinite([result.objective, result.optimality, result.mu]).all():
        result = replace(result, stop_reason="diverged")
        validation.warn(
            f"the objective left all bounds after iteration {result.n_iter}; "
            "the last finite estimate is returned (try a smaller learning_rate, or a larger mu)",
            RuntimeWarning,
        )
    return result


def _shape(value: Any, channel_axis: Any) -> tuple[int, ...]:
    if channel_axis is None:
        return validation.sizes("shape", value, 2)
    validation.integer("channel_axis", channel_axis, -3, 2)
    return validation.sizes("shape", value, 3, " when channel_axis is given")


def psfs_of(psf: Any, shape: tuple[int, ...], channel_axis: int | None) -> list[np.ndarray]:
    """One psf for all channels, or one each; copies, since the caller's may change, without zeros around them."""
    array = validation.real_array("psf", psf)
    if channel_axis is None or array.ndim != len(shape):
        psfs = [validation.psf(psf)]
    else:
        planes = np.moveaxis(array, channel_axis, 0)
        count = shape[channel_axis]
        if len(planes) != count:
            raise ValueError(f"psf must have as many channels as the image, {count}; its shape is {array.shape}")
        psfs = [validation.psf(plane, validation.working_dtype(array)) for plane in planes]
    return [each.copy() for each in without_border(psfs)]
