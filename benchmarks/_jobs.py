"""What is measured: the inputs, and jobs on them that each return the seconds of one sample."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

import fastdeblur as fd

SIDE = 2048
# The notebook's image, its steps, and what they minimise how.
NOTEBOOK_SIDE = 171
NOTEBOOK_STEPS = 500
MU, RATE = 0.2, 0.5
# Steps that are timed, after a few that touch the memory for the first time.
STEPS = 10
FIRST_STEPS = 2
# Image-sized transfers of a step: each of its two passes reads two images and writes one, whose
# cache lines are read before they are overwritten.
TRANSFERS = 8

# Of a photograph that priors restore, and of each of their steps: transforms, images read or written.
PHOTOGRAPH_SIDE = 1024
TRANSFORMS = 4
TV_TRANSFERS, SPARSE_TRANSFERS = 20, 26
# About as many steps as they take.
TV_STEPS, SPARSE_STEPS = 27, 33
PHOTON_STEPS = 50
MOTION = fd.psf.motion(15, 40)

Job = Callable[[], float]


class Problem(NamedTuple):
    """The notebook's descent, with zeros around the frame."""

    image: np.ndarray
    start: np.ndarray
    psf: np.ndarray
    mu: float
    rate: float


def image(rows: int, cols: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).random((rows, cols), dtype=dtype)


def full_rank(taps: int) -> np.ndarray:
    """A psf that no few separable passes make."""
    psf = np.random.default_rng(1).random((taps, taps))
    return psf / psf.sum()


def gaussian() -> np.ndarray:
    """The notebook's psf, of rank 1."""
    return fd.notebook.gaussian(13, 1, 3)


def stopwatch(call: Callable[[], object]) -> Job:
    def job() -> float:
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    return job


def matrix_product() -> Job:
    left, right = image(SIDE, SIDE), image(SIDE, SIDE)
    out = np.empty_like(left)
    return stopwatch(lambda: np.matmul(left, right, out=out))


def forward(taps: int) -> Job:
    x = image(SIDE, SIDE)
    blur, out = fd.Blur(full_rank(taps), x.shape, dtype=x.dtype, path="direct"), np.empty_like(x)
    return stopwatch(lambda: blur.forward(x, out=out))


def descend(
    image: np.ndarray,
    psf: np.ndarray,
    steps: int,
    rule: str = "gd",
    callback: Callable[..., object] | None = None,
    boundary: str = "constant",
    path: str = "auto",
    workers: int | None = None,
) -> np.ndarray:
    """The notebook's objective and rate, whatever solve's defaults are; exactly `steps` steps."""
    result = fd.solve(
        image,
        psf,
        data="root",
        mu=MU,
        boundary=boundary,
        solver=rule,
        learning_rate=RATE,
        max_iter=steps,
        tol=0,
        path=path,
        workers=workers,
        callback=callback,
    )
    if result.n_iter != steps:
        raise RuntimeError(f"{rule} made {result.n_iter} of {steps} steps ({result.stop_reason})")
    return result.image


def step(psf: np.ndarray, rule: str = "gd", side: int = SIDE, dtype: str = "float32", **options: Any) -> Job:
    """From callback to callback, so that starting and allocating are left out.

    (The difference of two runs would need the median of many: its minimum is where the shorter
    one was disturbed.)
    """
    blurred = image(side, side, dtype)

    def job() -> float:
        ends: list[float] = []
        descend(blurred, psf, FIRST_STEPS + STEPS, rule, lambda state: ends.append(time.perf_counter()), **options)
        return (ends[-1] - ends[-1 - STEPS]) / STEPS

    return job


def notebook() -> Job:
    psf = gaussian()
    blurred = fd.notebook.convolve(image(NOTEBOOK_SIDE, NOTEBOOK_SIDE), psf)
    return stopwatch(lambda: fd.notebook.deconvolve(blurred, psf, n_iter=NOTEBOOK_STEPS, seed=0, verbose=False))


def photograph() -> np.ndarray:
    """A photograph, mirrored to twice its sides, blurred by a motion of 15 pixels, with 1 % noise."""
    from skimage import color, data

    sharp = np.pad(color.rgb2gray(data.astronaut()), (0, 512), mode="symmetric")
    noise = 0.01 * np.random.default_rng(0).standard_normal(sharp.shape)
    return (fd.convolve(sharp, MOTION, boundary="mirror") + noise).astype(np.float32)


def restore(prior: str) -> Job:
    """One call, from choosing the weight on."""
    blurred = photograph()
    return stopwatch(lambda: fd.deblur(blurred, MOTION, prior=prior, tol=1e-3))


def photons() -> Job:
    x = image(SIDE, SIDE)
    return stopwatch(lambda: fd.richardson_lucy(x, gaussian(), num_iter=PHOTON_STEPS))


@dataclass(frozen=True)
class Target:
    """A job with what it may take, in matrix products, and what it needs at least.

    Attributes
    ----------
    prepare : callable
        Returns the job.
    share : float
        The most it may take, as a share of one matrix product.
    multiply_adds : float
        Of the blur alone.
    megabytes : float
        Between the processor and memory; 0 where everything stays in the caches.
    """

    prepare: Callable[[], Job]
    share: float
    multiply_adds: float
    megabytes: float


_PIXELS = SIDE**2
_MEGABYTES = _PIXELS * 4 / 1e6
_SEPARABLE = 13 + 13
_WAVES = TRANSFORMS * 1.25 * PHOTOGRAPH_SIDE**2 * np.log2(PHOTOGRAPH_SIDE**2)

TARGETS = {
    "forward, direct 13x13": Target(lambda: forward(13), 0.125, 13**2 * _PIXELS, 2 * _MEGABYTES),
    "forward, direct 25x25": Target(lambda: forward(25), 0.40, 25**2 * _PIXELS, 2 * _MEGABYTES),
    "gd step, gaussian 13x13": Target(lambda: step(gaussian()), 0.15, 2 * _SEPARABLE * _PIXELS, TRANSFERS * _MEGABYTES),
    "gd step, full-rank 13x13": Target(lambda: step(full_rank(13)), 0.26, 2 * 13**2 * _PIXELS, TRANSFERS * _MEGABYTES),
    "notebook, 500 steps 171x171": Target(notebook, 0.45, NOTEBOOK_STEPS * 2 * _SEPARABLE * NOTEBOOK_SIDE**2, 0),
    "tv 1024x1024, tol 1e-3": Target(
        lambda: restore("tv"), 6, TV_STEPS * _WAVES, TV_STEPS * TV_TRANSFERS * _MEGABYTES / 4
    ),
    "sparse 1024x1024, tol 1e-3": Target(
        lambda: restore("sparse"), 10, SPARSE_STEPS * _WAVES, SPARSE_STEPS * SPARSE_TRANSFERS * _MEGABYTES / 4
    ),
    "50 Richardson-Lucy 2048x2048": Target(
        photons, 6.5, PHOTON_STEPS * 2 * _SEPARABLE * _PIXELS, PHOTON_STEPS * TRANSFERS * _MEGABYTES
    ),
}
