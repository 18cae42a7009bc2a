"""Point spread functions (psfs): builders and hygiene.

Imports what solves (`api`) and all below it.
"""

from ..hygiene import centre, from_image, normalise, support
from .builders import airy, box, disk, gaussian, motion

__all__ = ["airy", "box", "centre", "disk", "from_image", "gaussian", "motion", "normalise", "support"]
