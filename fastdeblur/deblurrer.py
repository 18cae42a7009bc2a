"""Restoration as something to keep: what depends on psf, shape and options is made once."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from . import checks
from .blur import Blur
from .boundary import BOUNDARIES
from .filters import PATHS
from .frames import Start, joined, starter
from .hygiene import warn_if_off_centre
from .kernels.rules import RULES
from .objective import DATA
from .preconditioner import Preconditioner
from .result import Result
from .solvers import descent, exact
from .weight import ridge_for

PRIORS = ("gradient", None)
SOLVERS = ("auto", "exact", *RULES)
# The exact solver needs about ten, and some hundreds where it is hard.
MOST_STEPS = {"exact": 200}


class Deblurrer:
    """Restores images of one shape that were blurred alike.

    Parameters
    ----------
    psf : array_like or Blur
    shape : tuple of int
        The images' shape, with the channel axis if there is one.
    **options
        As for `solve`: `data`, `prior`, `mu`, `boundary`, `channel_axis`, `solver`, `learning_rate`,
        `max_iter`, `tol`, `init`, `seed`, `path`, `workers`, `callback`, `progress`.

    Raises
    ------
    TypeError, ValueError
        As `solve`.

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
        prior: str | None = "gradient",
        mu: Any = "auto",
        boundary: str = "unknown",
        channel_axis: int | None = None,
        solver: str = "auto",
        learning_rate: float | None = None,
        max_iter: int | None = None,
        tol: float = 1e-4,
        init: Any = "image",
        seed: int | None = None,
        path: str = "auto",
        workers: int | None = None,
        callback: Callable[[Any], Any] | None = None,
        progress: bool = False,
    ):
        self._root = (checks.choice("data", data, (*DATA, None)) or "root") == "root"
        checks.choice("prior", prior, PRIORS)
        self._mu = mu if isinstance(mu, str) and mu == "auto" else _weight(mu)
        if prior is None:
            self._mu = 0.0
        checks.choice("solver", solver, SOLVERS)
        if solver == "auto":
            solver = "exact" if prior else "gd"
        elif solver == "exact" and not prior:
            raise ValueError("solver='exact' goes with prior='gradient'; got prior=None (use solver='gd')")
        self._solver = solver
        if learning_rate is not None:
            learning_rate = checks.real("learning_rate", learning_rate, "above 0")
            if solver == "exact":
                raise ValueError(
                    f"learning_rate is for the solvers {', '.join(map(repr, RULES))}; got {learning_rate!r} "
                    "with the exact one"
                )
        self._learning_rate = learning_rate
        most = MOST_STEPS.get(solver, 500)
        self._max_iter = most if max_iter is None else checks.integer("max_iter", max_iter, 1, 2**53)
        self._tol = checks.real("tol", tol, "at least 0")
        if not isinstance(progress, (bool, np.bool_)):
            raise TypeError(f"progress must be True or False; got {progress!r}")
        self._progress = bool(progress)
        self._callback = _callable(callback)
        self._channel_axis = channel_axis
        self.shape = _shape(shape, channel_axis)
        checks.choice("boundary", boundary, BOUNDARIES)
        checks.choice("path", path, ["auto", *PATHS])
        self._psf = psf if isinstance(psf, Blur) else checks.psf(psf).copy()
        self._options = {"boundary": boundary, "path": path, "workers": checks.workers(workers)}
        self._start = starter(init, seed, self.shape, channel_axis)
        self._tools: dict[np.dtype[Any], _Tools] = {}
        array = psf.psf if isinstance(psf, Blur) else np.asarray(self._psf)
        _warn_of_sum(array)
        warn_if_off_centre(array, stacklevel=4)

    def solve(
        self,
        image: Any,
        *,
        init: Any = None,
        callback: Callable[[Any], Any] | None = None,
        out: np.ndarray | None = None,
    ) -> Result:
        """Restore one image, and say how it went.

        Parameters
        ----------
        image : array_like of the given shape
        init : optional
            Where to start, instead of the given `init`.
        callback : callable, optional
            Instead of the given one.
        out : ndarray of the image's shape and the result's dtype, optional
            Where to put the restored image.

        Returns
        -------
        Result
        """
        began = time.perf_counter()
        planes = checks.planes("image", image, self._channel_axis)
        if np.shape(image) != self.shape:
            raise ValueError(f"image must have the shape {self.shape}; its shape is {np.shape(image)}")
        start = self._start if init is None else starter(init, None, self.shape, self._channel_axis)
        return self._solve(planes, start, _callable(callback) or self._callback, out, began)

    def _solve(self, planes: np.ndarray, start: Start, callback: Any, out: np.ndarray | None, began: float) -> Result:
        """`solve` of planes that have been checked."""
        if out is not None:
            if not isinstance(out, np.ndarray) or out.dtype != planes.dtype:
                raise TypeError(f"out must be an ndarray of {planes.dtype}; got {getattr(out, 'dtype', type(out))}")
            if out.shape != self.shape or not out.flags.writeable:
                raise ValueError(f"out must be writeable, of shape {self.shape}; its shape is {out.shape}")
        result = self._restore(planes, start, callback)
        whole = joined(result.image, self._channel_axis)
        if out is not None:
            np.copyto(out, whole)
        whole = np.ascontiguousarray(whole) if out is None else out
        return replace(result, image=whole, seconds=time.perf_counter() - began)

    def __call__(self, image: Any) -> np.ndarray:
        """Restore one image: ``solve(image).image``."""
        return self.solve(image).image

    def map(self, frames: Iterable[Any]) -> Iterator[np.ndarray]:
        """Restore one image after another.

        Parameters
        ----------
        frames : iterable of array_like

        Yields
        ------
        ndarray
        """
        return (self(frame) for frame in frames)

    def _restore(self, planes: np.ndarray, start: Start, callback: Any) -> Result:
        tools = self._tools.get(planes.dtype)
        if tools is None:
            tools = self._tools.setdefault(planes.dtype, _Tools(self, planes))
        blur, ridge, seen = tools.blur, None, None
        if callback is not None:
            axis = self._channel_axis
            seen = lambda state: callback(replace(state, estimate=joined(state.estimate, axis)))  # noqa: E731
        mu = self._mu
        if isinstance(mu, str):
            ridge = ridge_for(planes, blur.psf)
            mu = ridge
        begin = lambda out: start(planes, out)  # noqa: E731
        common: dict[str, Any] = {"max_iter": self._max_iter, "tol": self._tol, "callback": seen}
        common["progress"] = self._progress
        if self._solver == "exact":
            # A ridge makes a root's weight, once it is known what it leads to.
            with tools.workspace() as work:
                result = exact.minimise(work, planes, begin, root=self._root, mu=mu, given=ridge is None, **common)
        else:
            if ridge is not None and self._root:
                mu = _root_weight(tools, planes, ridge)
            result = descent.minimise(
                blur, planes, begin,
                rule=self._solver, root=self._root, mu=mu, learning_rate=self._learning_rate, **common,
            )  # fmt: skip
        if result.stop_reason == "diverged":
            warnings.warn(
                f"the objective left all bounds after iteration {result.n_iter}; "
                "the last finite estimate is returned (try a smaller learning_rate)",
                RuntimeWarning,
                stacklevel=4,
            )
        return result


class _Tools:
    """What a Deblurrer needs for images of one dtype; made when it is first needed."""

    def __init__(self, whole: Deblurrer, planes: np.ndarray):
        self.blur = _operator(whole._psf, planes, **whole._options)
        self._planes = len(planes)
        self._preconditioner: Preconditioner | None = None
        self._spare: list[exact.Workspace] = []

    @contextmanager
    def workspace(self) -> Iterator[exact.Workspace]:
        """A workspace that nobody else uses; lists are safe among threads."""
        try:
            work = self._spare.pop()
        except IndexError:
            blur = self.blur
            if self._preconditioner is None:
                self._preconditioner = Preconditioner(
                    blur.psf, blur.boundary, blur.image_shape, blur.estimate_shape, blur.workers
                )
            work = exact.Workspace(blur, self._planes, self._preconditioner)
        yield work
        self._spare.append(work)


def _root_weight(tools: _Tools, planes: np.ndarray, ridge: float) -> float:
    """The weight of roots whose minimiser has that ridge."""
    with tools.workspace() as work:
        found = exact.minimise(
            work, planes, lambda out: np.copyto(out, planes),
            root=True, mu=ridge, given=False, max_iter=50, tol=1e-3, callback=None, progress=False,
        )  # fmt: skip
    return found.mu


def _weight(mu: Any) -> float:
    if isinstance(mu, str):
        raise ValueError(f"mu must be a finite number at least 0, or 'auto'; got {mu!r}")
    return checks.real("mu", mu, "at least 0")


def _callable(callback: Any) -> Any:
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable or None; got {callback!r}")
    return callback


def _shape(value: Any, channel_axis: Any) -> tuple[int, ...]:
    wanted = 2 if channel_axis is None else 3
    sizes = tuple(value) if np.ndim(value) == 1 else ()
    if len(sizes) != wanted:
        more = "" if channel_axis is None else " when channel_axis is given"
        raise ValueError(f"shape must be {wanted} sizes{more}; got {value!r}")
    if channel_axis is not None:
        checks.integer("channel_axis", channel_axis, -3, 2)
    return tuple(checks.integer("shape", size, 1) for size in sizes)


def _operator(psf: Any, planes: np.ndarray, **options: Any) -> Blur:
    """A Blur for these planes, or the caller's if it fits."""
    shape = planes.shape[1:]
    if not isinstance(psf, Blur):
        blur = Blur(psf, shape, dtype=planes.dtype, **options)
    else:
        blur = psf
        checks.choice("boundary", options["boundary"], BOUNDARIES)
        checks.choice("path", options["path"], ["auto", *PATHS])
        for name, neutral in (("boundary", "unknown"), ("path", "auto"), ("workers", None)):
            if options[name] not in (neutral, getattr(blur, name)):
                raise ValueError(
                    f"{name} is the Blur's own ({getattr(blur, name)!r}) when psf is a Blur; got {options[name]!r}"
                )
        if blur.image_shape != shape:
            raise ValueError(f"psf is a Blur for images of shape {blur.image_shape}; the image has {shape}")
        if blur.dtype != planes.dtype:
            raise ValueError(f"psf is a Blur of {blur.dtype}; the image is {planes.dtype}")
    return blur


def _warn_of_sum(psf: np.ndarray) -> None:
    total = float(psf.sum(dtype=np.float64))
    if abs(total - 1) > 0.01:
        warnings.warn(
            f"psf sums to {total:.4g}, not 1: the restored image's brightness changes by its inverse "
            "(see fastdeblur.psf.normalise)",
            UserWarning,
            stacklevel=4,
        )
