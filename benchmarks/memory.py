"""Peak memory of the whole process; what something needs is what it has more than `Reference` of its size."""

import numpy as np

import fastdeblur as fd

from ._jobs import MOTION, SIDE, descend, gaussian, image
from ._problems import PROBLEMS
from .convolution import PSFS

SIDES = [SIDE // 2, SIDE]
SMALL = 64
PATHS = ["direct 13x13", "separable 13x13", "fft 31x31"]


def forward(path: str, side: int) -> np.ndarray:
    path, make = PSFS[path]
    x = image(side, side)
    return fd.Blur(make(), x.shape, dtype=x.dtype, path=path).forward(x)


def solve(problem: str, side: int) -> np.ndarray:
    if problem == "gd":
        return descend(image(side, side), gaussian(), 3)
    return fd.deblur(image(side, side), MOTION, max_iter=3, **PROBLEMS[problem])


class Reference:
    """What a process has with the package loaded, an image and its result."""

    params = (SIDES,)
    param_names = ("side",)

    def setup(self, side: int) -> None:
        fd.convolve(image(SMALL, SMALL), MOTION)

    def peakmem_inputs(self, side: int) -> None:
        self.kept = image(side, side), image(side, side)


class Blur:
    params = (PATHS, SIDES)
    param_names = ("path", "side")

    def setup_cache(self) -> None:
        # In a process of its own, so that the compiler's memory is in no figure.
        for path in PATHS:
            forward(path, SMALL)

    def setup(self, path: str, side: int) -> None:
        forward(path, SMALL)

    def peakmem_forward(self, path: str, side: int) -> None:
        forward(path, side)


class Solve:
    params = (["gd", *PROBLEMS], SIDES)
    param_names = ("problem", "side")

    def setup_cache(self) -> None:
        for problem in ("gd", *PROBLEMS):
            solve(problem, SMALL)

    # It compiles all of it, where nothing is cached yet.
    setup_cache.timeout = 600

    def setup(self, problem: str, side: int) -> None:
        solve(problem, SMALL)

    def peakmem_solve(self, problem: str, side: int) -> None:
        solve(problem, side)
