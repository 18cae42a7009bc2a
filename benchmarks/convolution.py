"""The blur alone."""

import time

import numpy as np

import fastdeblur as fd
from fastdeblur.boundary import BOUNDARIES

from ._jobs import NOTEBOOK_SIDE, SIDE, full_rank, gaussian, image

PSFS = {
    "direct 13x13": ("direct", lambda: full_rank(13)),
    "direct 25x25": ("direct", lambda: full_rank(25)),
    "separable 13x13": ("separable", gaussian),
    "fft 31x31": ("fft", lambda: full_rank(31)),
    "fft 101x101": ("fft", lambda: full_rank(101)),
}
# Seconds of calls before a sample.
SPREAD = 0.05


class Apply:
    params = (list(PSFS), [NOTEBOOK_SIDE, SIDE], ["float32", "float64"], [1, 2])
    param_names = ("psf", "side", "dtype", "workers")

    def setup(self, psf: str, side: int, dtype: str, workers: int) -> None:
        path, make = PSFS[psf]
        self.x = image(side, side, dtype)
        self.out = np.empty_like(self.x)
        self.blur = fd.Blur(make(), self.x.shape, dtype=dtype, path=path, workers=workers)
        # Compiles, allocates and touches every page; then goes on until the threads, which may
        # wake on one core after a pause, have spread.  asv comes here again before each sample.
        began, calls = time.perf_counter(), 0
        while calls == 0 or time.perf_counter() - began < SPREAD:
            self.blur.forward(self.x, out=self.out)
            self.blur.adjoint(self.x, out=self.out)
            calls += 1

    def time_forward(self, *_: object) -> None:
        self.blur.forward(self.x, out=self.out)

    def time_adjoint(self, *_: object) -> None:
        self.blur.adjoint(self.x, out=self.out)


class Boundary:
    params = (list(PSFS), list(BOUNDARIES))
    param_names = ("psf", "boundary")

    def setup(self, psf: str, boundary: str) -> None:
        path, make = PSFS[psf]
        self.blur = fd.Blur(make(), (SIDE, SIDE), boundary=boundary, dtype="float32", path=path)
        self.x, self.y = image(*self.blur.estimate_shape), image(SIDE, SIDE)
        self.blur.adjoint(self.blur.forward(self.x, out=self.y), out=self.x)

    def time_forward(self, *_: object) -> None:
        self.blur.forward(self.x, out=self.y)

    def time_adjoint(self, *_: object) -> None:
        self.blur.adjoint(self.y, out=self.x)
