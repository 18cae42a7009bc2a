"""Point spread functions (psfs): builders and hygiene.

Imports what solves (`api`) and all below it.
"""

from ..hygiene import centre, from_image, normalise, support
from .builders import airy, box, disk, gaussian, moffat, motion
from .path import trajectory
from .pupil import defocus

__all__ = [
    "airy",
    "box",
    "centre",
    "defocus",
    "disk",
    "from_image",
    "gaussian",
    "moffat",
    "motion",
    "normalise",
    "support",
    "trajectory",
]
