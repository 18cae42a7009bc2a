"""Sharp images from blurred ones when the blur is known."""

import sys

from . import notebook, psf, transfer
from .api import convolve, deblur, denoise, solve, warmup
from .deblurrer import Deblurrer
from .estimates import estimate_memory
from .io import denoisers
from .large.job import deblur_large
from .operators.blur import Blur
from .operators.varying import VaryingBlur
from .problem.weights import saturated
from .result import Result
from .solvers.frames.registration import shifts
from .solvers.richardson_lucy.skimage import richardson_lucy

__all__ = [
    "Blur",
    "Deblurrer",
    "Result",
    "VaryingBlur",
    "convolve",
    "deblur",
    "deblur_large",
    "denoise",
    "denoisers",
    "estimate_memory",
    "notebook",
    "psf",
    "richardson_lucy",
    "saturated",
    "shifts",
    "solve",
    "transfer",
    "warmup",
]
# Where users look for it.
sys.modules[f"{__name__}.denoisers"] = denoisers
# What objects pickled by version 0.1.0 call the modules that they come from.
for _before, _module in {
    "blur": "operators.blur", "frames": "engines.pickles", "options": "problem.options", "placement": "engines.pickles",
}.items():  # fmt: skip
    sys.modules[f"{__name__}.{_before}"] = sys.modules[f"{__name__}.{_module}"]
__version__ = "0.1.0"
