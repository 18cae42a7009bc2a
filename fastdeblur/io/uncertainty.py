"""Pixel weights from files of weights, standard deviations or variances."""

from __future__ import annotations

import numpy as np

from .. import validation

KINDS = ("weights", "sigma", "variance")


def weights_of(values: np.ndarray, kind: str, name: str = "weights") -> np.ndarray:
    """Weights for `solve`: inverse variances, of which the median is 1, so that `mu` means what it does without them.

    Parameters
    ----------
    values : ndarray of float
    kind : {"weights", "sigma", "variance"}
        What they are; weights are returned as they are.
    name : str
        What messages call them.

    Returns
    -------
    ndarray
        0 where `values` are 0, NaN or infinite: the noise of such pixels is not known.

    Raises
    ------
    ValueError
        If any is negative, or none is above 0.

    Warns
    -----
    UserWarning
        If there are zeros, and how many.
    """
    if kind == "weights":
        return values
    if (values < 0).any():
        place = tuple(np.argwhere(values < 0)[0].tolist())
        raise ValueError(f"{name} of the kind {kind} must not be negative; at index {place} they are {values[place]}")
    known = np.isfinite(values) & (values > 0)
    if not known.any():
        raise ValueError(f"{name} of the kind {kind} must be above 0 somewhere; all are 0, NaN or infinite")
    # In double precision, and relative to the middle one before they are squared: counts of variance may be anything.
    ratio = np.median(values[known].astype(np.float64)) / values[known]
    weights = np.zeros(values.shape, values.dtype)
    weights[known] = np.minimum(ratio * ratio if kind == "sigma" else ratio, np.finfo(values.dtype).max)
    zeros = int((values == 0).sum())
    if zeros:
        validation.warn(f"{zeros} pixels are ignored, where {name} of the kind {kind} are 0", UserWarning)
    return weights
