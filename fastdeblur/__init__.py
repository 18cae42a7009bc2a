"""Sharp images from blurred ones when the blur is known."""

from . import notebook, psf, transfer
from .api import convolve, deblur, solve, warmup
from .blur import Blur
from .deblurrer import Deblurrer
from .large.job import deblur_large
from .large.needs import estimate_memory
from .lucy import richardson_lucy
from .result import Result
from .weights import saturated

__all__ = [
    "Blur",
    "Deblurrer",
    "Result",
    "convolve",
    "deblur",
    "deblur_large",
    "estimate_memory",
    "notebook",
    "psf",
    "richardson_lucy",
    "saturated",
    "solve",
    "transfer",
    "warmup",
]
__version__ = "0.1.0"
