"""What makes an array a good psf: its sum, its place and its size; `psf` has the public names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import checks


def normalise(psf: Any) -> np.ndarray:
    """Scale a psf so that it sums to 1.

    Parameters
    ----------
    psf : array_like, shape (rows, cols)
        Any finite psf whose sum is not zero.

    Returns
    -------
    ndarray, shape (rows, cols)
        The psf divided by its sum, float32 or float64.

    Raises
    ------
    TypeError, ValueError
        If the psf is not of the kind given above, or sums to zero.

    Examples
    --------
    >>> import fastdeblur as fd
    >>> fd.psf.normalise([[1, 2, 1]])
    array([[0.25, 0.5 , 0.25]])
    """
    array = checks.psf(psf)
    total = float(array.sum(dtype=np.float64))
    if abs(total) <= 1e-12 * float(np.abs(array).sum(dtype=np.float64)):
        raise ValueError(f"psf must not sum to zero to be normalised; its sum is {total}")
    return np.asarray(array / array.dtype.type(total))


def centre(psf: Any) -> np.ndarray:
    """Crop and pad a psf so that its centroid is in its middle.

    A psf whose centroid is off its centre shifts the restored image by as much.

    Parameters
    ----------
    psf : array_like, shape (rows, cols)
        A psf with a positive sum.

    Returns
    -------
    ndarray
        The smallest psf of odd sizes that holds every nonzero value and has the pixel nearest to
        the centroid at ``shape // 2``, float32 or float64, not scaled.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above.

    Examples
    --------
    >>> import fastdeblur as fd
    >>> fd.psf.centre([[1.0, 2.0, 1.0, 0.0]])
    array([[1., 2., 1.]])
    """
    array = checks.psf(psf)
    total = float(array.sum(dtype=np.float64))
    if total <= 0:
        raise ValueError(f"psf must have a positive sum to be centred; its sum is {total}")
    used = np.argwhere(array)
    spans = []
    for axis, size in enumerate(array.shape):
        profile = array.sum(axis=1 - axis, dtype=np.float64)
        middle = min(max(round(float(profile @ np.arange(size)) / total), 0), size - 1)
        reach = max(middle - int(used[:, axis].min()), int(used[:, axis].max()) - middle)
        spans.append((middle - reach, middle + reach + 1))
    (top, bottom), (left, right) = spans
    out = np.zeros((bottom - top, right - left), array.dtype)
    i0, i1, j0, j1 = max(top, 0), min(bottom, array.shape[0]), max(left, 0), min(right, array.shape[1])
    out[i0 - top : i1 - top, j0 - left : j1 - left] = array[i0:i1, j0:j1]
    return out


def support(psf: Any) -> np.ndarray:
    """Crop a psf to the smallest box that holds 99.9 % of it.

    Fewer pixels make a faster blur.  The box stays about the psf's centre, so one whose centroid is
    elsewhere is best given to `centre` first.

    Parameters
    ----------
    psf : array_like, shape (rows, cols)
        Any finite psf that is not all zero.

    Returns
    -------
    ndarray
        A copy of the box of least area that holds 99.9 % of the sum of absolute values, float32 or
        float64.  Its values are not scaled up for what is left out, its centre is at ``shape // 2``,
        and its sizes are odd unless they are the psf's own.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above.

    Examples
    --------
    >>> import fastdeblur as fd
    >>> fd.psf.support(fd.psf.gaussian((101, 51), (3, 1))).shape
    (21, 7)
    """
    array = checks.psf(psf)
    weights = np.abs(array, dtype=np.float64)
    weights /= weights.max()  # their sum must not overflow
    middles = [size // 2 for size in array.shape]
    # within[r, c] is what the box from -r to r and from -c to c about the centre holds.
    within = np.zeros([middle + 1 for middle in middles])
    reaches = [np.abs(np.arange(size) - middle) for size, middle in zip(array.shape, middles, strict=True)]
    np.add.at(within, np.ix_(*reaches), weights)
    within = within.cumsum(axis=0).cumsum(axis=1)
    # Boxes end where the array does: one row or column sooner for an even size.
    down, across = (np.minimum(2 * np.arange(size // 2 + 1) + 1, size) for size in array.shape)
    areas = np.where(within >= 0.999 * within[-1, -1], np.outer(down, across), array.size + 1)
    # Of boxes of the same area, the one that holds most.
    best = np.argmax(np.where(areas == areas.min(), within, -1.0))
    (top, bottom), (left, right) = (
        (middle - int(reach), middle + int(reach) + 1)
        for middle, reach in zip(middles, np.unravel_index(best, within.shape), strict=True)
    )
    return array[top:bottom, left:right].copy()


# A centroid this far from the centre is off it: a pixel, and some rounding.
_OFF = 1 + 1e-6


def warn_if_off_centre(psf: np.ndarray) -> None:
    """Warn of a psf whose centroid is more than a pixel from its centre.

    A blur moves what is smooth by its psf's centroid, values below 0 counted as such.  Where these
    are a large part of the psf, or put the centroid outside it, it says nothing about where the
    psf is.
    """
    scaled = psf.astype(np.float64)
    scaled /= np.abs(scaled).max(initial=np.finfo(np.float64).tiny)  # its sum must not overflow
    total = float(scaled.sum())
    if total <= 0.5 * float(np.abs(scaled).sum()):
        return
    centroid = [float(scaled.sum(axis=1 - axis) @ np.arange(size)) / total for axis, size in enumerate(psf.shape)]
    down, across = (place - size // 2 for place, size in zip(centroid, psf.shape, strict=True))
    inside = all(-0.5 <= place <= size - 0.5 for place, size in zip(centroid, psf.shape, strict=True))
    if inside and math.hypot(down, across) > _OFF:
        checks.warn(
            f"psf's centroid is {down:+z.1f} rows and {across:+z.1f} columns from its centre, psf.shape // 2: "
            "the restored image is shifted as far the other way (see fastdeblur.psf.centre)",
            UserWarning,
        )


def warn_of(psf: np.ndarray) -> None:
    """Warn of a psf that looks like a mistake."""
    warn_of_sum(psf)
    warn_if_off_centre(psf)


def warn_of_sum(psf: np.ndarray) -> None:
    """Warn of a psf whose sum is not 1."""
    total = float(psf.sum(dtype=np.float64))
    if abs(total - 1) > 0.01:
        checks.warn(
            f"psf sums to {total:.4g}, not 1: the restored image's brightness changes by its inverse "
            "(see fastdeblur.psf.normalise)",
            UserWarning,
        )


# The skirts of a point end where they are this many standard deviations of the noise high.
_NOISE = 1.5


def from_image(array: Any) -> np.ndarray:
    """A psf from a picture of a point source: a star, a bead.

    The median of the outermost pixels is taken as the background, and their median absolute
    deviation from it as its noise.  What stays is any region brighter than the noise in which some
    pixel is brighter than noise would be anywhere in the picture.

    Parameters
    ----------
    array : array_like, shape (rows, cols)
        The picture, not saturated, of one point and some background all around it.

    Returns
    -------
    ndarray
        A psf that is not negative and sums to 1, centred and cropped as by `centre`, float32 or
        float64.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above, or if nothing in the picture
        is above its background.

    Examples
    --------
    >>> import fastdeblur as fd
    >>> fd.psf.from_image([[7, 7, 7, 7, 7], [7, 8, 9, 8, 7], [7, 7, 7, 7, 7]])
    array([[0.25, 0.5 , 0.25]])
    """
    import scipy.ndimage  # not for everyone who imports fastdeblur

    picture = checks.pixels("array", array, 2)
    checks.finite("array", picture)
    light = picture.astype(np.float64)
    peak = float(np.abs(light).max()) or 1.0
    light /= peak  # neither differences nor sums must overflow
    outer = np.concatenate([light[[0, -1]].ravel(), light[1:-1, [0, -1]].ravel()])
    background = float(np.median(outer))
    noise = 1.4826 * float(np.median(np.abs(outer - background)))  # of a normal distribution
    light -= background
    # Two bounds: by the upper alone, the largest of so many normal numbers, the point would lose its
    # skirts; by the lower alone, the noise all over a large picture would outweigh the point.
    regions, _ = scipy.ndimage.label(light > _NOISE * noise, np.ones((3, 3)))
    bright = np.unique(regions[light > math.sqrt(2 * math.log(light.size)) * noise])
    kept = np.where(np.isin(regions, bright[bright > 0]), light, 0.0)
    if not kept.any():
        raise ValueError(
            "array must hold a point brighter than the background around it; nothing is above its border's "
            f"median of {background * peak:.6g} by more than its noise of {noise * peak:.6g} makes likely"
        )
    return normalise(centre(kept)).astype(checks.working_dtype(picture), copy=False)
