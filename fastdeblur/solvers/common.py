"""What solvers share: the problem, callbacks, the progress bar, the loop over launches, the unit of brightness."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..kernels.runtime.arrays import module_of
from ..result import Result
from .protocols import IterativeWorkspace, Progress

# Longest time, in seconds, without a look at callbacks, interrupts and the progress bar.
PATIENCE = 0.05
# By how much longer a launch may be than the one before, which may have been measured badly.
GROWTH = 8
# Places, along each axis, from which noise is estimated.
SOME = 256


@dataclass(frozen=True)
class State:
    """What a callback sees of the current iterate.

    Attributes
    ----------
    iteration : int
    objective, optimality : float
    estimate : ndarray
        Read-only view of the estimate, valid only during the call.
    """

    iteration: int
    objective: float
    optimality: float
    estimate: np.ndarray


@dataclass(frozen=True)
class Problem:
    """What a driver minimises, and until when.

    Everything is as in `api.solve`, and has been checked there, but that images are planes.

    Attributes
    ----------
    image : ndarray, planes x rows x cols
    weights : ndarray of its shape, or None
    start : callable
        Writes the frame of the first estimate into planes.
    data : {"root", "squares", "poisson"}
    mu : float
    bounds : (float, float) or None
    shift : ndarray or None
        What was counted beside an image of photons.
    max_iter : int
    tol : float
    callback : callable or None
    progress : bool
    """

    image: np.ndarray
    weights: np.ndarray | None
    start: Callable[[np.ndarray], None]
    data: str
    mu: float
    bounds: tuple[float, float] | None
    shift: np.ndarray | None
    max_iter: int
    tol: float
    callback: Callable[[State], Any] | None
    progress: bool


def wants_stop(
    callback: Callable[[State], Any], iteration: int, objective: float, optimality: float, estimate: np.ndarray
) -> bool:
    """Show a callback the current iterate; tells whether it returned True."""
    view = estimate
    if module_of(estimate) is np:  # what is on a GPU knows no flags
        view = estimate.view()
        view.flags.writeable = False
    answer = callback(State(iteration, objective, optimality, view))
    return isinstance(answer, (bool, np.bool_)) and bool(answer)


def largest(image: np.ndarray) -> float:
    """Largest absolute value, without a temporary image."""
    return max(abs(float(image.max())), abs(float(image.min())))


def noise_of(planes: np.ndarray) -> float:
    """About the noise's standard deviation, by the median of mixed second differences: a blur leaves little of them.

    Those of large images are taken at some places.
    """
    down, across = (max(size // SOME, 1) for size in planes.shape[1:])
    here, before = planes[:, 1::down], planes[:, :-1:down]
    mixed = here[..., 1::across] - before[..., 1::across] - here[..., :-1:across] + before[..., :-1:across]
    xp = module_of(planes)
    return float(xp.median(xp.abs(mixed))) / (2 * 0.6745) if mixed.size else 0.0


def unit_of(brightest: float) -> float:
    """A power of two that brings the brightest pixel near 1, within the range of float32."""
    if brightest == 0:
        return 1.0
    return 2.0 ** -min(max(math.frexp(brightest)[1], -120), 120)


def in_units(bounds: tuple[float, float], unit: float, dtype: Any) -> tuple[float, float]:
    """Bounds of an image that is so many times as bright; one beyond all numbers of its dtype is none."""
    most = float(np.finfo(dtype).max)
    low, high = (each * unit if abs(each * unit) <= most else math.copysign(math.inf, each) for each in bounds)
    return low, high


def log_ratio(first: float, second: float, whole: float) -> float:
    """The logarithm of ``first second / whole``, which itself may be too small, or too large, for a number."""
    ratio = first * second / whole
    return math.log(ratio) if 0 < ratio < math.inf else math.log(first) + math.log(second) - math.log(whole)


@contextmanager
def bar(shown: bool, steps: int, unit: str = "step", done: int = 0) -> Iterator[Callable[[int], Any]]:
    """A function that shows on a progress bar how many steps are done, or does nothing."""
    if not shown or sys.stderr is None:  # a service, or pythonw: nobody looks
        yield lambda done: None
        return
    from tqdm.auto import tqdm  # not before someone asks for a bar

    with tqdm(total=steps, initial=done, unit=unit) as bar:
        yield lambda done: bar.update(done - bar.n)
        bar.total = bar.n  # it may have stopped early
        bar.refresh()


def iterate(
    work: IterativeWorkspace,
    max_iter: int,
    callback: Callable[[State], Any] | None,
    progress: bool,
    objective_of: Callable[[float], float] = float,
) -> tuple[list[float], Progress]:
    """Let a workspace step until it stops, or the callback does; returns all objectives, and where it stopped.

    With a callback it takes one step at a time, else as many as take PATIENCE; that changes no result.
    `objective_of` makes the workspace's objectives the caller's.
    """
    history: list[float] = []
    limit = 1
    with bar(progress, max_iter) as show:
        while True:
            began = time.perf_counter()
            reached = work.advance(limit)
            took = time.perf_counter() - began
            reported = len(history)
            history += map(objective_of, reached.objectives)
            iteration = max(len(history) - 1, 0)
            show(iteration)
            stopped = False
            if callback is None:
                limit = min(max(int(limit * PATIENCE / max(took, 1e-6)), 1), GROWTH * limit, work.most_steps)
            elif iteration and len(history) > reported:
                stopped = wants_stop(callback, iteration, history[-1], reached.optimality, work.frame)
            if reached.stop_reason:
                return history, reached
            if stopped:
                return history, replace(reached, stop_reason="callback")


def result_of(
    work: IterativeWorkspace, history: list[float], last: Progress, mu: float, path: str, device: str, entered: float
) -> Result:
    """The result of `iterate`, in planes, that began at some time of the performance counter."""
    return finished(
        work.frame.copy(), history, last.passes / 2, last.stop_reason, last.optimality, mu, path, device, entered
    )


def finished(
    image: np.ndarray,
    history: list[float],
    products: float,
    stop_reason: str,
    optimality: float,
    mu: float,
    path: str,
    device: str,
    entered: float,
) -> Result:
    """The result, in planes, of a solve that began at some time of the performance counter."""
    return Result(
        image=image,
        objective=history[-1],
        history=np.array(history),
        n_iter=len(history) - 1,
        n_products=products,
        stop_reason=stop_reason,
        optimality=optimality,
        mu=mu,
        path=path,
        device=device,
        seconds=time.perf_counter() - entered,
    )
