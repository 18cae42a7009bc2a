"""Transforms of tiles in cache, on one core: ``python -m benchmarks.fourier`` prints rates beside other libraries'.

Forward and back, real numbers, two axes; ours multiply by a psf's spectrum between, others do not.  A rate counts
2.5 N log2 N operations a direction, N pixels, as is usual.  pyfftw, ducc0 and mkl_fft are there if they are installed.
"""

import ctypes
import importlib
import sys
from collections.abc import Callable, Iterator
from math import log2
from typing import Any

import numpy as np
import rocket_fft
from numba import njit

from fastdeblur.kernels.runtime import memory
from fastdeblur.operators.paths import Fourier

from ._jobs import Job, stopwatch
from ._ratio import best_samples

# Those of columns and of rows with vectors of any length.
SIDES = (64, 128, 192, 256, 320, 384, 512)
DTYPES = ("float32", "float64")
# A short sample, for others may use the machine meanwhile, and the best counts.
ROUNDS, SAMPLES, PAUSE = 4, 3, 0.02
OURS = "fastdeblur"


def kernel(side: int, dtype: str) -> Callable[[], None]:
    """Both windows of one tile of the FFT path, with a psf of an eighth of their side."""
    taps = side // 8
    weights = np.random.default_rng(1).random((taps, taps)).astype(dtype)
    filter_ = Fourier(weights, 0, 0, (side, side))
    rows, cols = filter_.most_rows, filter_.most_cols
    pitch, out_pitch = filter_.window_cols(cols), filter_.out_cols(cols)
    source, out, work = (
        memory.zeros(size, dtype) for size in (filter_.window_rows(rows) * pitch, rows * out_pitch, filter_.work)
    )
    source[:] = np.random.default_rng(0).random(source.size)
    size, address = ctypes.c_ssize_t, ctypes.c_void_p
    task = ctypes.CFUNCTYPE(None, size, address, size, address, size, size, size, address)(
        filter_.task.address(filter_.dtype)
    )

    def run() -> None:
        task(filter_.address, source.ctypes.data, pitch, out.ctypes.data, out_pitch, rows, cols, work.ctypes.data)

    return run


@njit  # type: ignore[untyped-decorator]
def _rocket(x: Any, coefficients: Any, back: Any, down: Any, across: Any, one: Any) -> None:
    rocket_fft.r2c(x, coefficients, across, True, one, 1)
    rocket_fft.c2c(coefficients, coefficients, down, True, one, 1)
    rocket_fft.c2c(coefficients, coefficients, down, False, one, 1)
    rocket_fft.c2r(coefficients, back, across, False, one, 1)


def others(side: int, dtype: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Each library with what transforms one window there and back."""
    x = np.random.default_rng(0).random((side, side)).astype(dtype)
    # With rows that do not share their cache sets.
    coefficients = np.empty((side, side // 2 + 9), np.result_type(x, np.complex64))[:, : side // 2 + 1]
    back, down, across, one = np.empty_like(x), np.array([0]), np.array([1]), x.dtype.type(1)
    yield "rocket-fft", lambda: _rocket(x, coefficients, back, down, across, one)
    if fft := _installed("pyfftw"):
        real, other = fft.empty_aligned(x.shape, dtype), fft.empty_aligned(coefficients.shape, coefficients.dtype)
        options = {"axes": (0, 1), "flags": ("FFTW_MEASURE",), "threads": 1}
        there, again = fft.FFTW(real, other, **options), fft.FFTW(other, real, direction="FFTW_BACKWARD", **options)
        yield "FFTW", lambda: (there.execute(), again.execute())
    if ducc := _installed("ducc0"):
        yield "ducc0", lambda: ducc.fft.c2r(ducc.fft.r2c(x, nthreads=1), lastsize=side, nthreads=1)
    if mkl := _installed("mkl_fft"):
        yield "MKL", lambda: mkl.irfftn(mkl.rfftn(x), x.shape)
    if scipy := _installed("scipy.fft"):
        yield "SciPy", lambda: scipy.irfft2(scipy.rfft2(x, workers=1), x.shape, workers=1)


def _installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


class Tile:
    """One tile in cache: two windows."""

    params = (list(SIDES), list(DTYPES))
    param_names = ("side", "dtype")

    def setup(self, side: int, dtype: str) -> None:
        self.run = kernel(side, dtype)
        self.run()

    def time_tile(self, *_: object) -> None:
        self.run()


def rates(side: int, dtype: str) -> dict[str, float]:
    """GFLOP/s of each library."""
    calls: dict[str, Callable[[], Any]] = {OURS: kernel(side, dtype), **dict(others(side, dtype))}
    jobs: dict[str, Job] = {name: stopwatch(call) for name, call in calls.items()}
    operations = 2 * 2.5 * side**2 * log2(side**2)
    best = best_samples(jobs, ROUNDS, SAMPLES, PAUSE)
    return {name: (2 if name == OURS else 1) * operations / each.seconds / 1e9 for name, each in best.items()}


def main(arguments: list[str]) -> int:
    if arguments:
        print("usage: python -m benchmarks.fourier", file=sys.stderr)
        return 2
    head = False
    for dtype in DTYPES:
        for side in SIDES:
            found = rates(side, dtype)
            if not head:
                print(f"{'GFLOP/s':16}" + "".join(f"{name:>12}" for name in found) + "   times rocket-fft")
                head = True
            line = f"{dtype} {side:7} " + "".join(f"{rate:12.1f}" for rate in found.values())
            print(f"{line}   {found[OURS] / found['rocket-fft']:.2f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
