"""Point spread functions (psfs): builders, hygiene, and estimates from an image.

Imports what solves (`api`) and all below it.
"""

from ..hygiene import centre, from_image, normalise, support
from .builders import airy, box, disk, gaussian, moffat, motion
from .edge import EdgeFit, from_edge
from .fields import radial, rolling_shutter, rotation
from .fitting import PsfFit, fit
from .path import trajectory
from .points import PointsPsf, from_points
from .pupil import defocus
from .refinement import RefinedPsf, refine

__all__ = [
    "EdgeFit",
    "PointsPsf",
    "PsfFit",
    "RefinedPsf",
    "airy",
    "box",
    "centre",
    "defocus",
    "disk",
    "fit",
    "from_edge",
    "from_image",
    "from_points",
    "gaussian",
    "moffat",
    "motion",
    "normalise",
    "radial",
    "refine",
    "rolling_shutter",
    "rotation",
    "support",
    "trajectory",
]
