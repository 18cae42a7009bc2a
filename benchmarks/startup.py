"""What a process waits for before its first result."""

import numpy as np

import fastdeblur as fd

CALLS = {
    "convolve": "fd.convolve(image, psf)",
    "deblur": "fd.deblur(image, psf)",
}
INPUTS = """
import numpy as np
import fastdeblur as fd
image, psf = np.random.default_rng(0).random((256, 256), np.float32), np.full((5, 5), 0.04)
"""
WITHOUT_CACHE = """
import os
os.environ["FASTDEBLUR_CACHE"] = "0"
"""


class Import:
    # Only the first import of a process is one.
    number = 1

    def timeraw_import(self) -> str:
        return "import fastdeblur"

    def timeraw_numba(self) -> str:
        """The part of the import that is not ours to shorten."""
        return "import numba"


class FirstCall:
    params = (list(CALLS),)
    param_names = ("call",)
    number = 1

    def setup_cache(self) -> None:
        # Fills the package's own cache, for `timeraw_warm`.
        image, psf = np.random.default_rng(0).random((256, 256), np.float32), np.full((5, 5), 0.04)
        fd.convolve(image, psf)
        fd.deblur(image, psf)

    def timeraw_cold(self, call: str) -> tuple[str, str]:
        return CALLS[call], WITHOUT_CACHE + INPUTS

    def timeraw_warm(self, call: str) -> tuple[str, str]:
        return CALLS[call], INPUTS
