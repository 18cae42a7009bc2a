"""Sums over classes of pixels, always added in the same order (a histogram by atomic additions is not)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numba import cuda

from . import device
from .shapes import ADDERS, kernel
from .sums import SUMS, adders_sums


@kernel
def segments(values, order, first, totals):
    """One block a class: the sum of its values, which are those that `order` has from ``first[class]`` on."""
    here = cuda.blockIdx.x
    own = cuda.local.array(SUMS, np.float64)
    own[0] = 0.0
    for k in range(first[here] + cuda.threadIdx.x, first[here + 1], ADDERS):
        own[0] += values[order[k]]
    adders_sums(own, 1, totals, here)


def sums(index: Any, images: Iterable[Any], classes: int) -> list[np.ndarray]:
    """For images on the device and the class of each pixel, the sums on the host."""
    xp = device.arrays()
    order = xp.argsort(index)
    first = xp.searchsorted(index[order], xp.arange(classes + 1))
    totals, norms = device.zeros((classes, SUMS), np.float64), []
    for image in images:
        values = xp.ascontiguousarray(image, np.float64).ravel()
        device.launch(segments, classes, ADDERS, *map(device.view, (values, order, first, totals)))
        norms.append(device.to_host(totals)[:, 0].copy())
    return norms
