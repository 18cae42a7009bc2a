"""Shifts of frames of one scene, by phase correlation: `shifts`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ... import validation
from ...kernels.runtime import forks
from ...problem.weights import fill
from .source import checked_frame

# The parts of a pixel that `shifts` tells apart.
UPSAMPLED = 50
# How often the window is moved to where the scene is: a window that stays pulls shifts towards 0.
ROUNDS = 3


def shifts(frames: Iterable[Any]) -> np.ndarray:
    """Shifts of frames of one scene against the first, by phase correlation.

    Parameters
    ----------
    frames : iterable of array_like, shape (rows, cols)
        Images of one shape; pixels that are NaN are missing, and filled from those around them.

    Returns
    -------
    ndarray of float64, shape (frames, 2)
        By how many rows and columns the scene has moved in each frame since the first: for `shifts` of `solve`.

    Raises
    ------
    TypeError, ValueError
        If a frame is not an image, has infinite pixels, or another shape than the first.

    Notes
    -----
    scikit-image's `registration.phase_cross_correlation` [1]_ to 1/50 of a pixel, of frames that fade to their mean at
    the border.  Frames that are blurred differently by psfs with centroids off their centres differ by those, too.

    References
    ----------
    .. [1] M. Guizar-Sicairos, S. T. Thurman and J. R. Fienup, "Efficient subpixel image registration algorithms",
       Optics Letters 33, 2008.

    Examples
    --------
    >>> import numpy as np, fastdeblur as fd
    >>> scene = fd.convolve(np.random.default_rng(0).random((48, 48)), fd.psf.gaussian(9, 2.0), boundary="wrap")
    >>> fd.shifts([scene, np.roll(scene, (3, -2), (0, 1))]).round(1)
    array([[ 0.,  0.],
           [ 3., -2.]])
    """
    from skimage.registration import phase_cross_correlation  # not for everyone who imports fastdeblur

    found: list[np.ndarray] = []
    first: np.ndarray | None = None
    for frame in frames:
        image = checked_frame(frame, None, None if first is None else first.shape).astype(np.float64)
        if validation.has_missing("frames", image[None], image):
            fill(image, np.isnan(image))
        moved = np.zeros(2)
        if first is None:
            first = _faded(image, moved)
        else:
            for _ in range(ROUNDS):
                faded = _faded(image, moved)
                with forks.unforked():
                    found_shift = phase_cross_correlation(first, faded, upsample_factor=UPSAMPLED, normalization=None)[
                        0
                    ]
                moved = 0.0 - found_shift
        found.append(moved)
    return np.array(found).reshape(-1, 2)


def _faded(image: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """A frame that fades to its mean at the border, by a window that has moved as the scene has."""
    sides = []
    for size, shift in zip(image.shape, moved, strict=True):
        at = np.clip((np.arange(size) - shift + 1) / (size + 1), 0, 1)
        sides.append(0.5 - 0.5 * np.cos(2 * np.pi * at))
    window = np.outer(*sides)
    faded: np.ndarray = window * (image - (window * image).sum() / window.sum())
    return faded
