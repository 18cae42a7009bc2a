"""What is measured on a GPU: the clock, the device's limits, the inputs, and fastdeblur's jobs on them.

Times are of the device's events around a batch of calls, and the median of many batches counts.  A batch lasts as
long as a loop of calls does, the host's launches included.  `Clock.device` makes the host launch the batch while the
device is still busy with other work, so that only what the device does counts.

In a rehearsal, on Numba's simulator, the host's clock takes the place of events.
"""

import importlib.metadata
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import cuda

import fastdeblur as fd
from fastdeblur.kernels.cuda import device, loop
from fastdeblur.kernels.cuda.shapes import SIMULATED
from fastdeblur.operators.boundary import frame_of
from fastdeblur.operators.separable import factors
from fastdeblur.solvers.common import largest, unit_of
from fastdeblur.solvers.gradient.cuda import CudaGradientWorkspace
from fastdeblur.solvers.gradient.solver import DescentParameters

from ._jobs import MU, NOTEBOOK_SIDE, RATE, Problem

# Milliseconds of a batch and of all batches of a job, and the most calls of a batch.
BATCH, ALL_BATCHES, MOST_CALLS = 20.0, 600.0, 1000
# Batches, if there is time for them; and at least.
BATCHES, LEAST_BATCHES = 21, 3
# Milliseconds that the device is kept busy, and as many calls as the host launches meanwhile.
BUSY, CALLS_MEANWHILE = 40.0, 20
# The kernel of multiply-adds: chains that do not wait for each other, how often each goes on in a turn, and turns.
CHAINS, LINKS, TURNS = 64, 2, 2 if SIMULATED else 5000
THREADS = 2 if SIMULATED else 256
# Of each of the two arrays of a copy: more than caches hold.
COPIED = 2**12 if SIMULATED else 2**30
# Single-precision units of a multiprocessor, by compute capability.
UNITS = {
    "6.0": 64, "6.1": 128, "6.2": 128, "7.0": 64, "7.2": 64, "7.5": 64, "8.0": 64, "8.6": 128, "8.7": 128, "8.9": 128,
    "9.0": 128, "10.0": 128, "10.3": 128, "11.0": 128, "12.0": 128, "12.1": 128,
}  # fmt: skip
LIBRARIES = ("fastdeblur", "numpy", "scipy", "numba", "numba-cuda", "cupy", "torch", "jax")
WHEELS = {"cupy": ("cupy", "cupy-cuda12x", "cupy-cuda13x")}
# Arrays of the image's size that are read and written, each counted once: x and A x; x, b and r, then r, x and the
# next x.
FORWARD_ARRAYS, STEP_ARRAYS = 2, 6
NOISE, TV_MU, TV_TOL = 0.01, 5e-4, 1e-3


def problem(side: int, psf: np.ndarray, seed: int) -> Problem:
    """In a step each pixel goes as far as in the notebook, whatever the image's side."""
    random = np.random.default_rng(seed)
    image, start = (random.random((side, side), dtype=np.float32) for _ in range(2))
    return Problem(image, start, psf.astype(np.float32), MU, RATE * side / NOTEBOOK_SIDE)


class Clock:
    """Milliseconds of a call."""

    def __init__(self) -> None:
        self._busy: Callable[[], object] = lambda: None

    def keep_busy_by(self, call: Callable[[], object]) -> None:
        """What the device does while the host launches a batch."""
        self._busy = call

    def loop(self, call: Callable[[], object], wait: Callable[[], object] | None = None) -> float:
        """In a loop; `wait` is for work that events do not see, and makes the host's clock count."""
        return self._median(lambda calls: self._batch(call, calls, wait), MOST_CALLS)

    def device(self, call: Callable[[], object]) -> float:
        """Launched ahead, so that the device does not wait for the host."""
        return self._median(lambda calls: self._batch(call, calls, ahead=True), CALLS_MEANWHILE)

    def _median(self, batch: Callable[[int], float], most: int) -> float:
        if SIMULATED:
            return batch(1)
        batch(1)  # compiles and allocates
        calls = min(max(round(BATCH / batch(1)), 1), most)
        batch(calls)
        taken: list[float] = []
        while len(taken) < LEAST_BATCHES or (len(taken) < BATCHES and calls * sum(taken) < ALL_BATCHES):
            taken.append(batch(calls))
        return float(np.median(taken))

    def _batch(
        self, call: Callable[[], object], calls: int, wait: Callable[[], object] | None = None, ahead: bool = False
    ) -> float:
        if ahead:
            self._busy()
        if SIMULATED or wait is not None:
            began = time.perf_counter()
            for _ in range(calls):
                call()
            if wait is not None:
                wait()
            return 1e3 * (time.perf_counter() - began) / calls
        cupy = device.arrays()
        first, last = cupy.cuda.Event(), cupy.cuda.Event()
        first.record()
        for _ in range(calls):
            call()
        last.record()
        last.synchronize()
        return float(cupy.cuda.get_elapsed_time(first, last)) / calls


@dataclass(frozen=True)
class Limits:
    """What the device can do: bytes read plus written, and single-precision operations, a second."""

    copied: float
    measured_flops: float
    theoretical_flops: float | None

    @property
    def flops(self) -> float:
        """The peak that shares are of: the greater of both."""
        return max(self.measured_flops, self.theoretical_flops or 0.0)


@cuda.jit
def multiply_add(turns, factor, term, out):
    """Products and sums in registers."""
    acc = cuda.local.array(CHAINS, np.float32)
    for k in range(CHAINS):
        acc[k] = factor + k
    while turns > 0:
        for k in range(CHAINS):
            acc[k] = acc[k] * factor + term
        for k in range(CHAINS):
            acc[k] = acc[k] * factor + term
        turns -= 1
    total = term
    for k in range(CHAINS):
        total += acc[k]
    out[cuda.grid(1)] = total


def limits(clock: Clock) -> Limits:
    """Measure the device's, and give the clock something to keep it busy by."""
    xp, count = device.arrays(), 1
    if not SIMULATED:
        count = 32 * xp.cuda.Device().attributes["MultiProcessorCount"]
    out = device.zeros(count * THREADS, np.float32)
    target = device.view(out)

    def turn(turns: int) -> Callable[[], object]:
        return lambda: device.launch(multiply_add, count, THREADS, turns, np.float32(0.999), np.float32(1e-3), target)

    took = clock.loop(turn(TURNS))
    if not bool((abs(out) > 0).all()):
        raise RuntimeError("the kernel of multiply-adds did not write what it should")
    clock.keep_busy_by(turn(max(round(TURNS * BUSY / took), 1) if not SIMULATED else 1))

    copied = COPIED if SIMULATED else min(COPIED, xp.cuda.Device().mem_info[0] // 4)
    source = device.zeros(copied // 4, np.float32)
    copy = xp.empty_like(source)
    both = min(clock.loop(lambda: xp.copyto(copy, source)), clock.loop(lambda: xp.positive(source, out=copy)))
    return Limits(
        copied=2 * source.nbytes / both * 1e3,
        measured_flops=2 * CHAINS * LINKS * TURNS * out.size / took * 1e3,
        theoretical_flops=_theoretical_flops(),
    )


def _theoretical_flops() -> float | None:
    """Multiprocessors x units x clock x 2, if all are known."""
    if SIMULATED:
        return None
    here = device.arrays().cuda.Device()
    capability = str(here.compute_capability)
    units, kilohertz = UNITS.get(f"{capability[:-1]}.{capability[-1]}"), here.attributes.get("ClockRate")
    if units is None or not kilohertz:
        return None
    return 2.0 * units * here.attributes["MultiProcessorCount"] * kilohertz * 1e3


def machine() -> dict[str, Any]:
    """The device, its driver, and the libraries."""
    found: dict[str, Any] = {"device": "simulator"}
    if not SIMULATED:
        cupy = device.arrays()
        here, runtime = cupy.cuda.Device(), cupy.cuda.runtime
        name = runtime.getDeviceProperties(here.id)["name"]
        found = {
            "device": name.decode() if isinstance(name, bytes) else str(name),
            "compute capability": str(here.compute_capability),
            "multiprocessors": here.attributes["MultiProcessorCount"],
            "clock, MHz": here.attributes.get("ClockRate", 0) / 1e3,
            "memory, GiB": round(here.mem_info[1] / 2**30, 1),
            "CUDA of the driver": _dotted(runtime.driverGetVersion()),
            "CUDA runtime": _dotted(runtime.runtimeGetVersion()),
        }
    return {**found, "libraries": {name: _version(name) for name in LIBRARIES}}


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _version(name: str) -> str:
    for wheel in WHEELS.get(name, (name,)):
        try:
            return importlib.metadata.version(wheel)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "not installed"


class Descent:
    """The notebook's steps one after another, as `minimise` launches them but without looking."""

    def __init__(self, of: Problem):
        blur = fd.Blur(of.psf, of.image.shape, dtype=of.image.dtype, device="cuda")
        self.path = blur.path
        self._work = CudaGradientWorkspace([blur], 1, "gd")
        self._work.begin(lambda frame: frame.__setitem__(..., device.put(of.start)))
        self._work.set_image(device.put(of.image)[None], None)
        brightest = max(largest(of.image), largest(of.start))
        self._work.set_parameters(
            DescentParameters(
                root=True, mu=of.mu, tol=0.0, max_iter=sys.maxsize, learning_rate=of.rate, follow=False,
                data_norm=0.0, prior_norm=0.0, black=math.sqrt(0.5 * of.image.size) * brightest, rounding=0.0,
                unit=unit_of(brightest), brightness=1.0, bounds=None,
            )
        )  # fmt: skip
        self._launched = 0

    def step(self) -> None:
        self._work.step()
        self._launched += 1

    def estimate(self) -> np.ndarray:
        """The current one; raises if steps were left out."""
        scalars = device.to_host(self._work.scalars)
        if scalars[loop.STATUS] != loop.RUNNING or scalars[loop.ITERATION] != self._launched:
            raise RuntimeError(f"{scalars[loop.ITERATION]:.0f} of {self._launched} steps were made")
        return device.to_host(frame_of(self._work.x[int(scalars[loop.HERE])], self._work.operator))[0]


def paths(psf: np.ndarray) -> list[str]:
    """Those that may serve it: separable passes do where they have fewer products."""
    few = len(factors(psf)[0]) * sum(psf.shape) <= psf.size or min(psf.shape) == 1
    return ["separable", "direct", "fft"] if few else ["direct", "fft"]


def operations(path: str, psf: np.ndarray, side: int) -> float:
    """Of one application of the blur, in single precision."""
    if path == "direct":
        return 2.0 * psf.size * side**2
    if path == "separable":
        return 2.0 * len(factors(psf)[0]) * sum(psf.shape) * side**2
    pixels = float(math.prod(side + taps - 1 for taps in psf.shape))
    # Two transforms of real numbers, and a product of complex ones for every second pixel.
    return pixels * (2 * 2.5 * math.log2(pixels) + 3)


def photograph(side: int, psf: np.ndarray, seed: int) -> Any:
    """One on the device, mirrored to that side, blurred, with noise."""
    from skimage import color, data

    sharp = color.rgb2gray(data.astronaut())[:side, :side].astype(np.float32)
    sharp = np.pad(sharp, [(0, side - size) for size in sharp.shape], mode="symmetric")
    noise = np.random.default_rng(seed).standard_normal(sharp.shape, dtype=np.float32)
    return fd.convolve(device.put(sharp), psf, boundary="mirror", device="cuda") + device.put(np.float32(NOISE) * noise)


def exact(side: int, psf: np.ndarray, max_iter: int | None) -> fd.Deblurrer:
    """The notebook's problem, solved to the end."""
    return fd.Deblurrer(psf, (side, side), mu=MU, boundary="constant", max_iter=max_iter, device="cuda")


def tv(side: int, psf: np.ndarray, max_iter: int | None) -> fd.Deblurrer:
    """As one would restore a photograph whose noise is known."""
    return fd.Deblurrer(psf, (side, side), prior="tv", mu=TV_MU, tol=TV_TOL, max_iter=max_iter, device="cuda")
