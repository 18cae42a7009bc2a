"""How fast the paths are beside peers and beside each other: ``python -m benchmarks.ratios``.

Prints each figure with its bar; the exit status is 1 if one is missed.  Peers that are not installed
(``pip install ".[bench]"``) are named and left out.
"""

import functools
import importlib.util
import sys
from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np

import fastdeblur as fd
from fastdeblur.operators.boundary import BOUNDARIES

from ._jobs import Job, full_rank, gaussian, image, step, stopwatch
from ._machine import described, machine
from ._ratio import best_samples

SIDE, SMALL, LARGE = 4096, 2048, 16384


class Ratio(NamedTuple):
    """`least` or `most` bounds the seconds of `over` by those of `under`, times `factor`."""

    over: str
    under: str
    least: float = 0.0
    most: float = float("inf")
    factor: float = 1.0


def forward(path: str, taps: int, side: int = SIDE) -> Job:
    x = image(side, side)
    psf = fd.psf.gaussian(taps, taps / 6) if path == "separable" else full_rank(taps)
    blur, out = fd.Blur(psf, x.shape, dtype=x.dtype, path=path), np.empty_like(x)
    return stopwatch(lambda: blur.forward(x, out=out))


def fftconvolve(taps: int) -> Job:
    import scipy.signal

    x, psf = image(SIDE, SIDE), full_rank(taps).astype(np.float32)
    return stopwatch(lambda: scipy.signal.fftconvolve(x, psf, mode="same"))


def opencv(separable: bool) -> Job:
    import cv2

    cv2.setNumThreads(numba.get_num_threads())
    x = image(SIDE, SIDE)
    out, zeros = np.empty_like(x), cv2.BORDER_CONSTANT
    if separable:
        row = fd.psf.gaussian((1, 13), 13 / 6).astype(np.float32).ravel()
        return stopwatch(lambda: cv2.sepFilter2D(x, -1, row, row, dst=out, borderType=zeros))
    psf = full_rank(13).astype(np.float32)
    return stopwatch(lambda: cv2.filter2D(x, -1, psf, dst=out, borderType=zeros))


JOBS: dict[str, Callable[[], Job]] = {
    "fft 31x31": lambda: forward("fft", 31),
    "scipy.signal.fftconvolve 31x31": lambda: fftconvolve(31),
    "fft 101x101": lambda: forward("fft", 101),
    "scipy.signal.fftconvolve 101x101": lambda: fftconvolve(101),
    "gd step, fft 101x101": lambda: step(full_rank(101), side=SIDE, path="fft"),
    "separable 13x13": lambda: forward("separable", 13),
    "cv2.sepFilter2D 13x13": lambda: opencv(separable=True),
    "direct 13x13": lambda: forward("direct", 13),
    "cv2.filter2D 13x13": lambda: opencv(separable=False),
}
RATIOS = [
    Ratio("scipy.signal.fftconvolve 31x31", "fft 31x31", least=5),
    Ratio("scipy.signal.fftconvolve 101x101", "fft 101x101", least=4),
    Ratio("cv2.sepFilter2D 13x13", "separable 13x13", least=1.2),
    Ratio("cv2.filter2D 13x13", "direct 13x13", least=3),
    Ratio("gd step, fft 101x101", "fft 101x101", most=2.3),
]
for path, taps in (("direct", 13), ("separable", 13), ("fft", 31)):
    for side in (SMALL, LARGE):
        JOBS[f"{path} {taps}x{taps}, {side}x{side}"] = functools.partial(forward, path, taps, side)
    names = (f"{path} {taps}x{taps}, {side}x{side}" for side in (LARGE, SMALL))
    RATIOS.append(Ratio(*names, most=1.25, factor=(SMALL / LARGE) ** 2))
for name, psf in (("gaussian", gaussian), ("full rank", lambda: full_rank(13))):
    for boundary in BOUNDARIES:
        JOBS[f"gd step, {name}, {boundary}"] = functools.partial(
            lambda psf, boundary: step(psf(), boundary=boundary), psf, boundary
        )
        if boundary != "constant":
            RATIOS.append(Ratio(f"gd step, {name}, {boundary}", f"gd step, {name}, constant", most=1.1))


def main(arguments: list[str]) -> int:
    if arguments:
        print("usage: python -m benchmarks.ratios", file=sys.stderr)
        return 2
    print("\n".join([*described(machine()), ""]))
    missed, wanted = False, [ratio for ratio in RATIOS if _present(ratio.over)]
    # What is compared is measured together, and large images do not stay.
    for under in dict.fromkeys(ratio.under for ratio in wanted):
        group = [ratio for ratio in wanted if ratio.under == under]
        took = best_samples({name: JOBS[name]() for name in (under, *(ratio.over for ratio in group))}, rounds=4)
        for ratio in group:
            quotient = took[ratio.over].seconds / took[under].seconds * ratio.factor
            met = ratio.least <= quotient <= ratio.most
            missed |= not met
            bar = f"at least {ratio.least:g}" if ratio.least else f"at most {ratio.most:g}"
            cores = min(took[name].cores for name in (ratio.over, under))
            print(
                f"{ratio.over:34}{took[ratio.over].seconds * 1e3:9.2f} ms  over  "
                f"{under:28}{took[under].seconds * 1e3:9.2f} ms{' a pixel' if ratio.factor != 1 else '':8}"
                f"{quotient:6.2f}  {bar:13}  {'ok' if met else 'MISSED':7}{cores:5.2f} cores",
                flush=True,
            )
    return int(missed)


def _present(name: str) -> bool:
    """Whether what a job needs is installed; says so if not."""
    if name.startswith("cv2") and importlib.util.find_spec("cv2") is None:
        print(f"{name}: not measured, OpenCV is not installed")
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
