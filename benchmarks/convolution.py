"""The blur alone."""

import time

import numpy as np

import fastdeblur as fd
from fastdeblur.operators.boundary import BOUNDARIES

from ._jobs import NOTEBOOK_SIDE, SIDE, full_rank, gaussian, image

PSFS = {
    "direct 13x13": ("direct", lambda: full_rank(13)),
    "direct 25x25": ("direct", lambda: full_rank(25)),
    "separable 13x13": ("separable", gaussian),
    # As an ellipse that is not along the axes may need.
    "separable 13x13, rank 3": ("separable", lambda: sum_of_products(13, 3)),
    "fft 31x31": ("fft", lambda: full_rank(31)),
    "fft 101x101": ("fft", lambda: full_rank(101)),
}
# Each fills and folds what is beyond the frame in its own way.
OF_BOUNDARIES = ("separable 13x13", "fft 31x31")
VARIANTS = {"float64": ("float64", None), "1 worker": ("float32", 1), "2 workers": ("float32", 2)}
CHOSEN = {"gaussian 13x13": gaussian, "full-rank 13x13": lambda: full_rank(13), "101x101": lambda: full_rank(101)}
# Seconds of calls before a sample.
SPREAD = 0.05


def sum_of_products(taps: int, rank: int) -> np.ndarray:
    random = np.random.default_rng(2)
    psf = random.random((taps, rank)) @ random.random((rank, taps))
    return psf / psf.sum()


def warm(blur: fd.Blur, x: np.ndarray, y: np.ndarray) -> None:
    """Compile, allocate and touch every page; then go on until the threads have spread.

    They may wake on one core after a pause.  asv comes here again before each sample.
    """
    began, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - began < SPREAD:
        blur.forward(x, out=y)
        blur.adjoint(y, out=x)
        calls += 1


class Apply:
    params = (list(PSFS), [NOTEBOOK_SIDE, SIDE])
    param_names = ("psf", "side")

    def setup(self, psf: str, side: int) -> None:
        path, make = PSFS[psf]
        self.x = image(side, side)
        self.out = np.empty_like(self.x)
        self.blur = fd.Blur(make(), self.x.shape, dtype=self.x.dtype, path=path)
        warm(self.blur, self.x, self.out)

    def time_forward(self, *_: object) -> None:
        self.blur.forward(self.x, out=self.out)

    def time_adjoint(self, *_: object) -> None:
        self.blur.adjoint(self.x, out=self.out)


class Variant:
    params = (list(PSFS), list(VARIANTS))
    param_names = ("psf", "variant")

    def setup(self, psf: str, variant: str) -> None:
        (path, make), (dtype, workers) = PSFS[psf], VARIANTS[variant]
        self.x = image(SIDE, SIDE, dtype)
        self.out = np.empty_like(self.x)
        self.blur = fd.Blur(make(), self.x.shape, dtype=dtype, path=path, workers=workers)
        warm(self.blur, self.x, self.out)

    def time_forward(self, *_: object) -> None:
        self.blur.forward(self.x, out=self.out)


class Boundary:
    params = (list(OF_BOUNDARIES), list(BOUNDARIES))
    param_names = ("psf", "boundary")

    def setup(self, psf: str, boundary: str) -> None:
        path, make = PSFS[psf]
        self.blur = fd.Blur(make(), (SIDE, SIDE), boundary=boundary, dtype="float32", path=path)
        self.x, self.y = image(*self.blur.estimate_shape), image(SIDE, SIDE)
        warm(self.blur, self.x, self.y)

    def time_forward(self, *_: object) -> None:
        self.blur.forward(self.x, out=self.y)

    def time_adjoint(self, *_: object) -> None:
        self.blur.adjoint(self.y, out=self.x)


class Convolve:
    """A call with everything that it does: checking, choosing the path, preparing the psf, allocating."""

    params = (list(CHOSEN), [NOTEBOOK_SIDE, SIDE])
    param_names = ("psf", "side")

    def setup(self, psf: str, side: int) -> None:
        self.x, self.psf = image(side, side), CHOSEN[psf]()
        fd.convolve(self.x, self.psf)

    def time_convolve(self, *_: object) -> None:
        fd.convolve(self.x, self.psf)
