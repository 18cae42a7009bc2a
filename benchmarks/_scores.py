"""How near a restored image comes to the sharp one, in the frame or under the protocol of Levin et al."""

from __future__ import annotations

import itertools
import math

import numpy as np

# Levin, Weiss, Durand and Freeman, "Understanding and evaluating blind deconvolution algorithms", CVPR 2009,
# and "Efficient marginal likelihood optimization in blind deconvolution", CVPR 2011: pixels cut off on each
# side, the largest shift, and how many shifts there are in a pixel.
CROP = 15
SHIFT = 5
STEPS = 4


def psnr(sharp: np.ndarray, restored: np.ndarray) -> float:
    """In decibels, of images from 0 to 1; nothing is clipped."""
    return float(-10 * np.log10(np.mean((restored.astype(np.float64) - sharp) ** 2)))


def ssim(sharp: np.ndarray, restored: np.ndarray) -> float:
    """With the window of Wang et al., "Image quality assessment", IEEE TIP 2004."""
    from skimage.metrics import structural_similarity

    return float(
        structural_similarity(
            sharp,
            restored.astype(np.float64),
            data_range=1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def moved(image: np.ndarray, shift: tuple[float, float]) -> np.ndarray:
    """The image without its borders of `CROP`, seen `shift` further down and right; bilinear in between."""
    down, right = shift
    return _rows(_rows(image, down).T, right).T


def _rows(image: np.ndarray, by: float) -> np.ndarray:
    start, part, count = CROP + math.floor(by), by - math.floor(by), len(image) - 2 * CROP
    near = image[start : start + count]
    return near if part == 0 else near + part * (image[start + 1 : start + 1 + count] - near)


def aligned(sharp: np.ndarray, restored: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Both without their borders, the restored one at the shift that leaves the least error, and that shift.

    A blur and a shift in the other direction are the same as another blur, so a psf that is off its centre
    is no mistake.  Whole shifts are tried first, then fractions of a pixel about the best.
    """
    inner, restored = moved(sharp.astype(np.float64), (0, 0)), restored.astype(np.float64)

    def error(shift: tuple[float, float]) -> float:
        return float(np.sum((moved(restored, shift) - inner) ** 2))

    whole = range(-SHIFT, SHIFT + 1)
    down, right = min(itertools.product(whole, whole), key=error)
    about = np.arange(-STEPS, STEPS + 1) / STEPS
    near = itertools.product(np.clip(down + about, -SHIFT, SHIFT), np.clip(right + about, -SHIFT, SHIFT))
    shift = min(near, key=error)
    return inner, moved(restored, shift), shift
