"""Psf normalisation, centring, cropping, and extraction from a picture of a point; `psf` has the public names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import validation


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
    array = validation.psf(psf)
    # The sum of values next to the largest of their type is beyond it.
    with np.errstate(all="ignore"):
        total, size = (float(each.sum(dtype=np.float64)) for each in (array, np.abs(array)))
        divisor = array.dtype.type(total)
        normalised = np.asarray(array / divisor)
    if np.isfinite(size) and abs(total) <= 1e-12 * size:
        raise ValueError(f"psf must not sum to zero to be normalised; its sum is {total}")
    if not (np.isfinite(divisor) and np.isfinite(normalised).all()):
        raise ValueError(
            f"psf must have a sum that {array.dtype} can divide by, to be normalised; it is {total:g} (scale the psf)"
        )
    return normalised


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
    array = validation.psf(psf)
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
    array = validation.psf(psf)
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
# A border of fewer pixels a side does not show whether it is even.
_LEAST_PEDESTAL = 7


def warn_if_off_centre(psf: np.ndarray) -> None:
    """Warn of a psf whose centroid is more than a pixel from its centre, or that is on a pedestal.

    A blur moves what is smooth by its psf's centroid, values below 0 counted as such.  Where these
    are a large part of the psf, or put the centroid outside it, it says nothing about where the
    psf is.  A background that was left in a picture of a point draws the centroid to the middle.
    """
    scaled = psf.astype(np.float64)
    scaled /= np.abs(scaled).max(initial=np.finfo(np.float64).tiny)  # its sum must not overflow
    level = _pedestal(scaled)
    place = _off_centre(scaled - level)
    off = place is not None and math.hypot(*place) > _OFF
    where = "" if place is None else f"centroid is {place[0]:+z.1f} rows and {place[1]:+z.1f} columns from its centre"
    if level:
        validation.warn(
            f"psf is about {100 * level:.2g} % of its peak all along its border, as if it were a picture of a point "
            "with the background left in: the restored image then loses brightness or rings (see "
            "fastdeblur.psf.from_image, which takes the background away)"
            + (f"; without it the {where}" if off else ""),
            UserWarning,
        )
    elif off:
        validation.warn(
            f"psf's {where}, psf.shape // 2: the restored image is shifted as far the other way "
            "(see fastdeblur.psf.centre)",
            UserWarning,
        )


def _off_centre(scaled: np.ndarray) -> tuple[float, float] | None:
    """How far the centroid is from the centre, down and across; None where it says nothing."""
    total = float(scaled.sum())
    if total <= 0.5 * float(np.abs(scaled).sum()):
        return None
    centroid = [float(scaled.sum(axis=1 - axis) @ np.arange(size)) / total for axis, size in enumerate(scaled.shape)]
    down, across = (place - size // 2 for place, size in zip(centroid, scaled.shape, strict=True))
    inside = all(-0.5 <= place <= size - 0.5 for place, size in zip(centroid, scaled.shape, strict=True))
    return (down, across) if inside else None


def _pedestal(scaled: np.ndarray) -> float:
    """The level of a psf's border if that is even and well above 0, as a background is; else 0.

    The border of a psf that was cut off falls from the middle of its sides to its corners; that of a box is as bright
    as the rest.
    """
    rows, cols = scaled.shape
    if min(rows, cols) < _LEAST_PEDESTAL:
        return 0.0
    sides = np.concatenate([scaled[[0, -1]], scaled[:, [0, -1]].T], axis=None)
    level = float(np.median(sides))
    if not 0.008 < level < 0.5:
        return 0.0
    quarter, third = (-(-size // 4) for size in (rows, cols)), (size // 3 for size in (rows, cols))
    (down, across), (top, left) = quarter, third
    corners = [scaled[:down, [0, -1]], scaled[-down:, [0, -1]], scaled[[0, -1], :across], scaled[[0, -1], -across:]]
    middles = [scaled[top:-top, [0, -1]], scaled[[0, -1], left:-left]]
    corner, middle = (float(np.median(np.concatenate([part.ravel() for part in each]))) for each in (corners, middles))
    return level if corner > 0.75 * middle else 0.0


def without_border(psfs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Psfs of one shape without the rows and columns of zeros around all of them, their centres staying where they are.

    Such zeros change no pixel, and cost time and memory.
    """
    spans = []
    for axis, size in enumerate(psfs[0].shape):
        used = np.flatnonzero(np.any([psf.any(axis=1 - axis) for psf in psfs], axis=0))
        before, after = size // 2 - int(used[0]), int(used[-1]) - size // 2
        # The least size n with n // 2 pixels before the centre and n - 1 - n // 2 after it, of either parity.
        least = min(n for n in range(1, size + 1) if n // 2 >= before and n - 1 - n // 2 >= after)
        spans.append(slice(size // 2 - least // 2, size // 2 - least // 2 + least))
    return [psf[spans[0], spans[1]] for psf in psfs]


def warn_of(psf: np.ndarray) -> None:
    """Warn of a psf that looks like a mistake."""
    warn_of_sum(psf)
    warn_if_off_centre(psf)


def warn_of_sum(psf: np.ndarray) -> None:
    """Warn of a psf whose sum is not 1."""
    with np.errstate(over="ignore"):  # it may be infinite
        total = float(psf.sum(dtype=np.float64))
    if not abs(total - 1) <= 0.01:
        validation.warn(
            f"psf sums to {total:.4g}, not 1: the restored image's brightness changes by its inverse "
            "(see fastdeblur.psf.normalise)",
            UserWarning,
        )


# The skirts of a point end where they are this many standard deviations of the noise high.
_NOISE = 1.5
# Parts with at least this share of the peak and of the light that are not linked by such are points of their own.
_BRIGHT = 0.05
# Other parts as near as this, in pixels, are the point's whatever its size.
_NEAR = 3


def from_image(array: Any) -> np.ndarray:
    """A psf from a picture of a point source: a star, a bead.

    The background is the median of the outermost pixels, or a plane through them where it is sloped, and their median
    absolute deviation from it is its noise.  What stays of the picture is the point: the region brighter than the noise
    about the brightest pixel, with those parts of it (rings, a broken trail) that noise would not explain and that are
    no further from it than half its size.

    Parameters
    ----------
    array : array_like, shape (rows, cols)
        The picture, not saturated, of one point and some background all around it.  NaN pixels outside of the point
        are ignored.

    Returns
    -------
    ndarray
        A psf that is not negative and sums to 1, centred and cropped as by `centre`, float32 or
        float64.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above, if nothing in the picture is above its
        background, if there are several points, or if pixels of the point are missing.

    Examples
    --------
    >>> import fastdeblur as fd
    >>> fd.psf.from_image([[7, 7, 7, 7, 7], [7, 8, 9, 8, 7], [7, 7, 7, 7, 7]])
    array([[0.25, 0.5 , 0.25]])
    """
    import scipy.ndimage  # not for everyone who imports fastdeblur

    picture = validation.pixels("array", array, 2)
    missing = np.isnan(picture)
    light = np.where(missing, 0, picture).astype(np.float64)
    validation.finite("array", light)
    unit = float(np.abs(light).max()) or 1.0
    light /= unit  # neither differences nor sums must overflow
    background, noise = _background(light, missing)
    light -= background
    light[missing] = 0
    peak = float(light.max())
    # Two bounds: by the upper alone, the largest of so many normal numbers, the point would lose its
    # skirts; by the lower alone, the noise all over a large picture would outweigh the point.
    certain = math.sqrt(2 * math.log(light.size)) * noise
    if not peak > certain:
        level = float(np.median(background)) * unit
        raise ValueError(
            "array must hold a point brighter than the background around it; nothing is above its border's "
            f"median of {level:.6g} by more than its noise of {noise * unit:.6g} makes likely"
        )
    around = np.ones((3, 3))
    core = light > max(_BRIGHT * peak, certain)
    linked = scipy.ndimage.binary_dilation(light > max(_BRIGHT * peak, _NOISE * noise), around)
    parts, _ = scipy.ndimage.label(linked, around)
    points = np.unique(parts[core])
    shares = scipy.ndimage.sum_labels(light, parts, points)
    main = points[np.argmax(shares)]
    points = points[shares >= _BRIGHT * shares.max()]  # a hot pixel is none
    if len(points) > 1:
        places = scipy.ndimage.maximum_position(light, parts, points)
        listed = ", ".join(f"({row}, {col})" for row, col in places[:4]) + (", ..." if len(points) > 4 else "")
        raise ValueError(
            f"array must hold one point, and there are {len(points)}, brightest at (row, column) {listed}: "
            "cut out one of them"
        )
    regions, _ = scipy.ndimage.label(light > _NOISE * noise, around)
    core &= parts == main
    near = scipy.ndimage.distance_transform_edt(~core) <= max(_NEAR, 0.5 * max(np.ptp(np.argwhere(core), axis=0) + 1))
    bright = np.unique(regions[(light > certain) & near])
    kept = np.isin(regions, bright[bright > 0])
    if (missing & scipy.ndimage.binary_dilation(kept, around)).any():
        place = tuple(np.argwhere(missing & scipy.ndimage.binary_dilation(kept, around))[0].tolist())
        raise ValueError(f"array must have all pixels of the point; at index {place} it is nan")
    return normalise(centre(np.where(kept, light, 0.0))).astype(validation.working_dtype(picture), copy=False)


def _background(light: np.ndarray, missing: np.ndarray) -> tuple[np.ndarray, float]:
    """The background of a point, from the outermost pixels, and its noise."""
    outer = np.zeros(light.shape, bool)
    outer[[0, -1]] = outer[:, [0, -1]] = True
    outer &= ~missing
    values = light[outer]
    if not values.size:
        raise ValueError("array must have background around its point; all pixels of its border are nan")
    level = float(np.median(values))
    noise = _deviation(values - level)
    if min(light.shape) >= _LEAST_PEDESTAL and noise > 0:
        rows, cols = np.indices(light.shape, np.float64)
        plane = np.stack([np.ones(light.shape), rows / light.shape[0] - 0.5, cols / light.shape[1] - 0.5], axis=-1)
        weights = np.ones(values.size)
        for _ in range(20):  # least absolute deviations, of which the point's skirts at the border move little
            factors = np.linalg.lstsq(plane[outer] * weights[:, None], values * weights, rcond=None)[0]
            left = np.abs(values - plane[outer] @ factors)
            weights = 1 / np.sqrt(np.maximum(left, 1e-6 * noise))
        sloped = _deviation(values - plane[outer] @ factors)
        if sloped < 0.8 * noise:
            return plane @ factors, sloped
    return np.full(light.shape, level), noise


def _deviation(values: np.ndarray) -> float:
    """The standard deviation of normal numbers, a few of which may be anything."""
    return 1.4826 * float(np.median(np.abs(values)))
