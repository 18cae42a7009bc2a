"""Measures the costs of the paths on this machine: how `costs` gets its table, and a user one of their own.

Times the paths on one thread, on large images on all of them, and fits each path's constants.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numba
import numpy as np

from ..kernels.runtime import memory
from . import boundary, costs, host, paths, tiling
from .blur import Blur

DTYPES = ("float32", "float64")
# Each is measured in some rounds, so that a disturbance meets all of them or does not last.
ROUNDS, SAMPLES = 6, 2
# Seconds that a sample lasts at least.
SAMPLE = 0.02
# Sides of images that stay in the caches, which one thread does, and of one that does not: there
# all threads share the way to memory, and what counts is the sum of their times.
SIDES = (96, 250, 700)
LARGE = 1600
TAPS = ((3, 3), (5, 5), (9, 9), (13, 13), (25, 25), (41, 41), (1, 15), (15, 1), (7, 31))
RANKS = (1, 3)
# Of whole images by the FFT path, for which transforms are chosen by the table that there is.
FOURIER_TAPS = (5, 9, 13, 25)
TRANSFORMS = (24, 36, 48, 64, 96, 128, 160, 192, 240, 256, 320, 384, 480, 512, 600, 720, 864, 1024, 1152)
# Taps, of a transform's side: overlap of little and of half.
OVERLAPS = (0.1, 0.5)


class Case(NamedTuple):
    what: str
    counts: tuple[float, ...]
    call: Callable[[], object]
    threads: int = 1


def measure(say: Callable[[str], Any]) -> dict[str, dict[str, list[float]]]:
    """Constants by dtype and path; takes two minutes.  `say` is told what was measured beside what they predict."""
    measured: dict[str, dict[str, list[float]]] = {}
    for dtype in DTYPES:
        measured[dtype] = {}
        for path, samples in (("direct", direct), ("separable", separable), ("fft", fourier)):
            cases = list(samples(dtype))
            seconds = np.min([[case.threads * best(case.call) for case in cases] for _ in range(ROUNDS)], axis=0)
            measured[dtype][path] = constants = fitted(cases, seconds)
            say(report(f"{path}, {dtype}", cases, seconds, constants))
    return measured


def direct(dtype: str) -> Iterator[Case]:
    for side in (*SIDES, LARGE):
        for taps in TAPS:
            if side**2 * taps[0] * taps[1] < 1e9:
                yield applied("direct", side, taps, min(taps), dtype)


def separable(dtype: str) -> Iterator[Case]:
    for side in (*SIDES, LARGE):
        for taps in TAPS:
            for rank in RANKS:
                if rank <= min(taps):
                    yield applied("separable", side, taps, rank, dtype)


def fourier(dtype: str) -> Iterator[Case]:
    """Tiles of given transforms, whatever `costs` would choose; and what an image takes beside its tiles."""
    for side in SIDES[:2]:
        for taps in FOURIER_TAPS:
            yield applied("fft", side, (taps, taps), taps, dtype)
    for side in TRANSFORMS:
        for overlap in OVERLAPS:
            taps = max(int(overlap * side), 2)
            yield transformed(side, taps, 1 if side > 512 else 2, dtype)
        taps = int(OVERLAPS[0] * side)
        if side >= 96:
            yield transformed(side, taps, max(LARGE // (2 * (side - taps + 1)), 1), dtype, numba.get_num_threads())


def transformed(side: int, taps: int, tiles: int, dtype: str, threads: int = 1) -> Case:
    """As many tiles down and across, each of transforms of `side`, or of the next length that there are any of.

    One tile keeps one thread busy.
    """
    rows, cols = (costs.at_least(side, lengths) for lengths in costs.transforms(dtype))
    filter_ = paths.Fourier(full_rank((taps, taps), dtype), taps // 2, taps // 2, (rows, cols))
    shape = tiles * filter_.most_rows, tiles * filter_.most_cols
    return Case(
        f"{tiles}x{tiles} of {rows}x{cols}, {taps}x{taps} taps",
        (*costs.fourier_counts(tiles**2, rows, cols, shape[0] * shape[1], dtype), 0.0),
        bare(filter_, shape, threads),
        min(threads, tiles**2),
    )


def applied(path: str, side: int, taps: tuple[int, int], rank: int, dtype: str) -> Case:
    shape = (side, side)
    weights = full_rank(taps, dtype) if rank == min(taps) else low_rank(taps, rank, dtype)
    threads = numba.get_num_threads() if side == LARGE else 1
    blur, x = Blur(weights, shape, path=path, workers=threads), _image(shape, dtype)
    out = np.empty_like(x)
    return Case(
        f"{side}x{side}, {taps[0]}x{taps[1]} taps, rank {rank}",
        costs.counts(path, shape, taps, rank, dtype),
        lambda: blur.forward(x, out=out),
        threads,
    )


def bare(filter_: paths.Filter, shape: tuple[int, int], threads: int) -> Callable[[], object]:
    """One application of a filter, without an operator around it."""
    halo = tiling.Halo("constant", shape, ((0, 0), (0, 0)))
    down, across = (partial(boundary.pixel_at, "constant", size) for size in shape)
    work = host.HostOperator(filter_, shape, halo, (down, across))
    x = _image(shape, filter_.dtype.name)
    out = memory.zeros(x.size, x.dtype).reshape(shape)
    return lambda: work.run(x, out, threads)


def full_rank(taps: tuple[int, int], dtype: str) -> np.ndarray:
    psf = np.random.default_rng(1).random(taps)
    return np.asarray((psf / psf.sum()).astype(dtype))


def low_rank(taps: tuple[int, int], rank: int, dtype: str) -> np.ndarray:
    rng = np.random.default_rng(2)
    psf = rng.random((taps[0], rank)) @ rng.random((rank, taps[1]))
    return np.asarray((psf / psf.sum()).astype(dtype))


def _image(shape: tuple[int, int], dtype: Any) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=dtype)


def best(call: Callable[[], object]) -> float:
    """Seconds of a call, in the best sample."""
    began = time.perf_counter()
    call()
    call()
    calls = max(1, int(SAMPLE / max((time.perf_counter() - began) / 2, 1e-6)))
    samples = []
    for _ in range(SAMPLES):
        began = time.perf_counter()
        for _ in range(calls):
            call()
        samples.append((time.perf_counter() - began) / calls)
    return min(samples)


def fitted(cases: list[Case], seconds: np.ndarray) -> list[float]:
    """The constants, none below 0, with the least relative errors."""
    import scipy.optimize  # not for everyone who imports this

    counts = np.array([case.counts for case in cases])
    constants, _ = scipy.optimize.nnls(counts / seconds[:, None], np.ones(len(seconds)))
    return [float(f"{1e9 * each:.3g}") for each in constants]


def report(title: str, cases: list[Case], seconds: np.ndarray, constants: list[float]) -> str:
    """What was measured beside what the constants predict."""
    lines = [f"\n{title}: {', '.join(f'{each:g}' for each in constants)} ns"]
    lines.append(f"{'':36}{'us':>10}{'predicted':>11}{'ratio':>8}")
    for case, took in zip(cases, seconds, strict=True):
        predicted = 1e-9 * float(np.dot(case.counts, constants))
        lines.append(f"{case.what:36}{took * 1e6:10.1f}{predicted * 1e6:11.1f}{predicted / took:8.2f}")
    return "\n".join(lines)
