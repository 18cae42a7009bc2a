"""Point spread functions (psfs): builders and hygiene.

Imports what solves (`api`) and all below it.
"""

from ..hygiene import centre, from_image, normalise, support
from .builders import airy, box, disk, gaussian, moffat, motion
from .fitting import PsfFit, fit
from .path import trajectory
from .pupil import defocus

__all__ = [
    "PsfFit",
    "airy",
    "box",
    "centre",
    "defocus",
    "disk",
    "fit",
    "from_image",
    "gaussian",
    "moffat",
    "motion",
    "normalise",
    "support",
    "trajectory",
]
