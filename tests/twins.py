"""The same small problem on the CPU and on the device."""

import numpy as np

import fastdeblur as fd
from fastdeblur.solvers.common import Problem

PSF = np.outer([0.2, 0.5, 0.3], [0.1, 0.2, 0.4, 0.3])
SMALL = np.outer([0.4, 0.6], [0.2, 0.5, 0.3])
SHAPE = (5, 6)


def both(image, psf=SMALL, **options):
    """The results of the CPU and of the device."""
    return (fd.solve(image, psf, device=where, **options) for where in ("cpu", "cuda"))


def problem_of(planes, data="poisson", mu=0.0, bounds=None, max_iter=8, tol=0):
    """What a driver minimises, without weights; it starts at the image."""

    def start(out):
        out[...] = planes

    return Problem(planes, None, start, data, mu, bounds, None, max_iter, tol, callback=None, progress=False)
