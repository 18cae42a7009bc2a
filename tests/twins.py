"""The same small problem on the CPU and on the device."""

import numpy as np

import fastdeblur as fd

PSF = np.outer([0.2, 0.5, 0.3], [0.1, 0.2, 0.4, 0.3])
SMALL = np.outer([0.4, 0.6], [0.2, 0.5, 0.3])
SHAPE = (5, 6)


def both(image, psf=SMALL, **options):
    """The results of the CPU and of the device."""
    return (fd.solve(image, psf, device=where, **options) for where in ("cpu", "cuda"))
