"""What the report measures beside other libraries.  Results are compared first; what differs is not timed."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

import fastdeblur as fd

from . import _peers
from ._jobs import MOTION, MU, NOTEBOOK_SIDE, NOTEBOOK_STEPS, RATE, Job, Problem, full_rank, image, stopwatch
from ._peers import Call
from ._ratio import best_samples

OURS = "fastdeblur"
FULL_RANK, RANK_1 = "full rank", "rank 1"
# Why something is not timed.
SLOW, DIFFERS = "slow", "its result differs"
# Largest difference, as a share of the largest value.
SAME = 1e-3
NOISE = 0.01
# Above the minimum.
NEAR = 0.01
LUCY_ITERATIONS = 30

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    A call that takes longer than `longest` seconds is not timed, nor at larger sizes; `patience` is how many seconds
    a descent has to come near the minimum.
    """

    sides: tuple[int, ...]
    taps: tuple[int, ...]
    side: int
    tap: int
    longest: float
    rounds: int
    samples: int
    pause: float
    peer_steps: int
    solve_sides: tuple[int, ...]
    minimum_sides: tuple[int, ...]
    patience: float
    photographs: tuple[str, ...]


QUICK = Plan(
    sides=(128, 256, 512, 1024, 2048),
    taps=(3, 7, 13, 25, 51, 101),
    side=1024,
    tap=13,
    longest=0.4,
    rounds=2,
    samples=2,
    pause=0.15,
    peer_steps=50,
    solve_sides=(256, 1024),
    minimum_sides=(64, 128, 256, 512),
    patience=10,
    photographs=("astronaut", "text"),
)
FULL = Plan(
    sides=(128, 256, 512, 1024, 2048, 4096),
    taps=(3, 5, 7, 9, 13, 17, 25, 35, 51, 71, 101, 151),
    side=2048,
    tap=13,
    longest=1.5,
    rounds=3,
    samples=3,
    pause=0.3,
    peer_steps=NOTEBOOK_STEPS,
    solve_sides=(256, 512, 1024, 2048),
    minimum_sides=(64, 128, 256, 512, 1024, 2048),
    patience=60,
    photographs=("astronaut", "hubble_deep_field", "retina", "grass", "gravel", "text"),
)


class Timed(NamedTuple):
    """Milliseconds, or why there are none."""

    ms: float | None
    why: str = ""

    def row(self, **of: Any) -> Row:
        return {**of, "ms": self.ms} if self.ms is not None else {**of, "left out": self.why}


@dataclass
class Race:
    """Times calls that do the same, and remembers who takes too long."""

    plan: Plan
    slow: set[str] = field(default_factory=set)

    def run(self, calls: Mapping[str, Callable[[], Call]], same: Callable[[np.ndarray], bool]) -> dict[str, Timed]:
        jobs: dict[str, Job] = {}
        found: dict[str, Timed] = {}
        for name, prepare in calls.items():
            if name in self.slow:
                found[name] = Timed(None, SLOW)
                continue
            call = prepare()
            if not same(call()):
                found[name] = Timed(None, DIFFERS)
                continue
            took = stopwatch(call)()
            if took > self.plan.longest:
                self.slow.add(name)
                found[name] = Timed(None, SLOW)
                continue
            jobs[name] = stopwatch(call)
        best = best_samples(jobs, self.plan.rounds, self.plan.samples, self.plan.pause)
        found |= {name: Timed(1e3 * sample.seconds) for name, sample in best.items()}
        return {name: found[name] for name in calls}


def near(expected: np.ndarray, tolerance: float = SAME) -> Callable[[np.ndarray], bool]:
    def same(found: np.ndarray) -> bool:
        differs = np.abs(found.astype(np.float64) - expected).max()
        return bool(found.shape == expected.shape and differs <= tolerance * np.abs(expected).max())

    return same


def psf_of(kind: str, taps: int) -> np.ndarray:
    psf = full_rank(taps) if kind == FULL_RANK else fd.psf.gaussian(taps, taps / 6)
    return psf.astype(np.float32)


def convolutions(plan: Plan) -> Iterator[Row]:
    """By image side with one psf, then by psf side with one image, for both kinds of psf."""
    for kind, peers in ((FULL_RANK, _peers.FULL_RANK), (RANK_1, _peers.SEPARABLE)):
        present = {name: method.prepare for name, method in peers.items() if _peers.present(method.module)}
        paths = [path for path in _peers.PATHS if path != "separable" or kind == RANK_1]
        for sizes in ([(side, plan.tap) for side in plan.sides], [(plan.side, taps) for taps in plan.taps]):
            race = Race(plan)
            for side, taps in sizes:
                if (side, taps) == (plan.side, plan.tap) and sizes[0][1] != plan.tap:
                    continue  # among the sides already
                x, psf = image(side, side), psf_of(kind, taps)
                calls: dict[str, Callable[[], Call]] = {
                    path: functools.partial(_peers.ours, x, psf, path) for path in paths
                }
                calls |= {name: functools.partial(prepare, x, psf) for name, prepare in present.items()}
                chosen = fd.Blur(psf, x.shape, dtype=x.dtype).path
                expected = fd.convolve(x.astype(np.float64), psf.astype(np.float64))
                for name, timed in race.run(calls, near(expected)).items():
                    by = OURS if name in paths else name
                    extra = {"path": name, "chosen": name == chosen} if by == OURS else {}
                    yield timed.row(psf=kind, side=side, taps=taps, by=by, **extra)


def problem() -> Problem:
    """The notebook's photograph, blur and rate."""
    from skimage import color, data, transform

    sharp = transform.rescale(color.rgb2gray(data.astronaut()), 1 / 3, mode="constant", anti_aliasing=False)
    psf = fd.notebook.gaussian(13, 1, 3).astype(np.float32)
    start = (np.random.RandomState(0).randn(NOTEBOOK_SIDE, NOTEBOOK_SIDE) / 10).astype(np.float32)
    return Problem(fd.notebook.convolve(sharp, psf), start, psf, MU, RATE)


def notebook(plan: Plan) -> Iterator[Row]:
    """500 steps; of peers perhaps fewer, whose time is then multiplied."""
    of = problem()
    (whole,) = Race(plan).run({OURS: lambda: _peers.our_descent(of, NOTEBOOK_STEPS)}, lambda found: True).values()
    yield whole.row(by=OURS, steps=NOTEBOOK_STEPS)
    patient = Race(dataclasses.replace(plan, longest=math.inf, rounds=1, samples=1))
    for name, way in _peers.DESCENTS.items():
        if _peers.present(way.module):
            steps = NOTEBOOK_STEPS if way.module == "tensorflow" else plan.peer_steps
            expected = _peers.our_descent(of, steps)()
            calls = {name: functools.partial(_peers.descent, name, of, steps)}
            timed = patient.run(calls, near(expected))[name]
            if timed.ms is not None:
                timed = Timed(timed.ms * NOTEBOOK_STEPS / steps)
            yield timed.row(by=name, steps=steps)


class Task(NamedTuple):
    """The same restoration by both."""

    image: Callable[[int], np.ndarray]
    ours: Callable[[np.ndarray, np.ndarray], Call]
    theirs: Callable[[np.ndarray, np.ndarray], Call]


def bright(side: int) -> np.ndarray:
    """A photograph without black, next to which rounding of transforms would be magnified by a division."""
    return fd.convolve(0.1 + 0.9 * scene(side), MOTION).astype(np.float32)


def faded(side: int) -> np.ndarray:
    """One that is black where it is wrapped around."""
    fade = np.hanning(side)
    return fd.convolve(scene(side) * np.outer(fade, fade), MOTION).astype(np.float32)


TASKS = {
    f"{LUCY_ITERATIONS} Richardson-Lucy steps": Task(
        bright,
        functools.partial(_peers.our_richardson_lucy, iterations=LUCY_ITERATIONS),
        functools.partial(_peers.richardson_lucy, iterations=LUCY_ITERATIONS),
    ),
    "Wiener filter": Task(faded, _peers.our_wiener, _peers.wiener),
}


def solves(plan: Plan) -> Iterator[Row]:
    """scikit-image's two restorations, and the same results here."""
    psf = MOTION.astype(np.float32)
    for task, (image_of, ours, theirs) in TASKS.items():
        race = Race(dataclasses.replace(plan, longest=math.inf))
        for side in plan.solve_sides:
            blurred = image_of(side)
            calls = {
                OURS: functools.partial(ours, blurred, psf),
                "scikit-image": functools.partial(theirs, blurred, psf),
            }
            for by, timed in race.run(calls, near(ours(blurred, psf)())).items():
                yield timed.row(task=task, side=side, by=by)


SOLVERS: dict[str, dict[str, Any]] = {
    "gd, the notebook's rate": {"solver": "gd", "learning_rate": RATE},
    "gd, rate from the operator": {"solver": "gd"},
    "adam": {"solver": "adam"},
    "exact": {"solver": "exact"},
}


STARTS = ("no noise, from a random start", "noise of 1 %, from the blurred image")


def minima(plan: Plan) -> Iterator[Row]:
    """Time until the notebook's objective is within 1 % of its minimum."""
    psf = fd.notebook.gaussian(13, 1, 3).astype(np.float32)
    for side in plan.minimum_sides:
        blurred = fd.convolve(scene(side), psf)
        noise = NOISE * np.random.default_rng(0).standard_normal(blurred.shape)
        for start, init, seen in zip(STARTS, ("normal", "image"), (blurred, blurred + noise), strict=True):
            asked = {"data": "root", "mu": MU, "boundary": "constant"}
            bar = (1 + NEAR) * fd.solve(seen, psf, tol=1e-6, **asked).objective
            for name, options in SOLVERS.items():
                asked_for = {**asked, **options, "init": init, "seed": 0 if init == "normal" else None}
                found = _until(seen.astype(np.float32), psf, bar, asked_for, plan.patience)
                yield {"start": start, "side": side, "solver": name, **found}


def _until(seen: np.ndarray, psf: np.ndarray, bar: float, options: dict[str, Any], patience: float) -> Row:
    fastest = math.inf
    for _ in range(3):
        began = time.perf_counter()
        limit = began + patience

        def enough(state: Any, limit: float = limit) -> bool:
            return bool(state.objective <= bar or time.perf_counter() > limit)

        result = fd.solve(seen, psf, max_iter=10**7, tol=0, callback=enough, **options)
        took = time.perf_counter() - began
        if result.objective > bar:
            return {"left out": f"{(1 + NEAR) * result.objective / bar - 1:.0%} above after {took:.0f} s"}
        fastest = min(fastest, took)
        if took > 1:
            break
    return {"ms": 1e3 * fastest, "iterations": result.n_iter}


def scene(side: int) -> np.ndarray:
    """A photograph, shrunk or mirrored to that side."""
    from skimage import color, data, transform

    sharp = color.rgb2gray(data.astronaut())
    if side < sharp.shape[0]:
        return np.asarray(transform.resize(sharp, (side, side), anti_aliasing=True))
    return np.pad(sharp, [(0, side - size) for size in sharp.shape], mode="symmetric")
