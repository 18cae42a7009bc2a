"""Psf of a measured path of a camera or stage during the exposure."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from .. import validation
from ..hygiene import normalise
from .builders import check_pixels


def trajectory(points: Any, exposure: Any = None, *, centred: bool = False) -> np.ndarray:
    """The trace of a point that moved along a measured path while the shutter was open.

    Parameters
    ----------
    points : array_like, shape (n, 2)
        Positions (row, column) in pixels, of one point of the scene in the image, relative to where it is in the sharp
        one: (0, 0) is the psf's centre.  Between two positions it moves in a straight line at constant speed.
    exposure : array_like, shape (n - 1,), or None
        The light that came from each position to the next, such as seconds, in any unit, at least 0; None is the same
        each: positions at equal times.
    centred : bool
        Whether to move the path so that its centre of light is the psf's centre, rather than (0, 0).

    Returns
    -------
    ndarray, float64, shape (rows, cols)
        A psf of odd sizes, just large enough, that sums to 1.  A pixel's value is the share of the light that fell
        while the point was in it.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above.

    Notes
    -----
    Of a camera that moves, points of the scene move the other way: pass the camera's path times -1.

    Examples
    --------
    >>> import fastdeblur as fd
    >>> fd.psf.trajectory([(0, -1.5), (0, 1.5)])
    array([[0.33333333, 0.33333333, 0.33333333]])
    """
    places = validation.pixels("points", points, 2).astype(np.float64)
    if places.shape[1] != 2:
        raise ValueError(f"points must have two columns, (row, column); their shape is {places.shape}")
    validation.finite("points", places)
    if len(places) == 1:
        places = np.repeat(places, 2, axis=0)
    light = np.ones(len(places) - 1)
    if exposure is not None:
        light = validation.pixels("exposure", exposure, 1).astype(np.float64)
        validation.finite("exposure", light)
        if len(light) != len(places) - 1:
            raise ValueError(
                f"exposure must have one value from each position to the next, {len(places) - 1} for {len(places)} "
                f"points; it has {len(light)}"
            )
        if light.min() < 0:
            raise ValueError(f"exposure must be at least 0; got {light.min():g}")
        light = light / (light.max() or 1.0)
        if not light.any():
            raise ValueError("exposure must not be 0 everywhere")
    light = light / light.sum()
    if centred:
        places = places - light @ ((places[1:] + places[:-1]) / 2)

    far = np.abs(places[np.concatenate([light > 0, [False]]) | np.concatenate([[False], light > 0])]).max(axis=0)
    check_pixels("points", f"positions up to {far.max():g} pixels from (0, 0)", *(2 * far + 1))
    reach_down, reach_across = (int(np.floor(each + 0.5)) for each in far)
    out = np.zeros((2 * reach_down + 1, 2 * reach_across + 1))
    for (start, end), share in zip(itertools.pairwise(places), light, strict=True):
        if share > 0:
            # Cut where the line goes from pixel to pixel.
            cuts = [np.array([0.0, 1.0])]
            for low, high in zip(np.minimum(start, end), np.maximum(start, end), strict=True):
                lines = np.arange(np.floor(low + 0.5) + 0.5, high)
                cuts.append((lines - low) / (high - low) if high > low else lines[:0])
            cuts = [cuts[0], *(1 - each if b < a else each for each, a, b in zip(cuts[1:], start, end, strict=True))]
            along = np.sort(np.clip(np.concatenate(cuts), 0, 1))
            middle = start + ((along[1:] + along[:-1]) / 2)[:, None] * (end - start)
            i, j = np.floor(middle + 0.5).astype(np.intp).T
            i, j = np.clip(i, -reach_down, reach_down), np.clip(j, -reach_across, reach_across)
            np.add.at(out, (reach_down + i, reach_across + j), share * np.diff(along))
    return normalise(out[_used(out.sum(axis=1)), _used(out.sum(axis=0))])


def _used(profile: np.ndarray) -> slice:
    """The part of an axis, about its middle, beyond which there is nothing."""
    places = np.flatnonzero(profile)
    middle = len(profile) // 2
    reach = max(middle - int(places[0]), int(places[-1]) - middle)
    return slice(middle - reach, middle + reach + 1)
