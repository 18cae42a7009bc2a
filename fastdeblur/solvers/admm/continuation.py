"""Nearly harmonic inpainting of unobserved pixels, by cascadic multigrid.

In a harmonic continuation each pixel is the mean of its four neighbours.  Coarser grids, whose pixels are means of the
observed pixels of finer ones, are continued first, interpolated, and smoothed by a few Jacobi steps [1]_.

References
----------
.. [1] F. A. Bornemann and P. Deuflhard, "The cascadic multigrid method for elliptic problems", Numerische Mathematik
   75, 1996.
"""

from __future__ import annotations

from typing import Any

from ...kernels.runtime.arrays import module_of
from ..pcg.multigrid import doubled, halved

# Jacobi steps on the finest grid, how many times as many on each coarser one, and at most; their damping.
STEPS, MORE_STEPS, MOST_STEPS, DAMPING = 8, 2, 128, 0.8


def continue_planes(planes: Any, observed: Any, periodic: bool = False) -> None:
    """Write a continuation of the `observed` pixels to the other pixels of planes, in place.

    Those of `periodic` planes go on beyond the border.  A plane without observed pixels stays as it is.
    """
    for plane, mask in zip(planes, observed, strict=True):
        if mask.any() and not mask.all():
            plane[...] = _continued(plane[None], mask[None], STEPS, periodic)[0]


def _continued(planes: Any, observed: Any, steps: int, periodic: bool) -> Any:
    """A plane, as an array of one, continued by way of the next coarser grid."""
    xp, one = module_of(planes), planes.dtype.type
    if observed.all():
        return planes
    rows, cols = planes.shape[1:]
    mass = _coarser(observed.astype(planes.dtype))
    means = _coarser(xp.where(observed, planes, one(0))) / xp.maximum(mass, one(0.25))
    coarse = _continued(means, mass > 0, min(MORE_STEPS * steps, MOST_STEPS), periodic)
    x = xp.where(observed, planes, doubled(doubled(coarse, 1, rows), 2, cols))
    del coarse, mass, means
    counts = [xp.full(size, 2, x.dtype) for size in (rows, cols)]
    for count in counts:  # at the ends there is one neighbour less
        count[0] -= one(not periodic)
        count[-1] -= one(not periodic)
    share = one(DAMPING) / (counts[0][:, None] + counts[1])
    share[observed[0]] = 0
    change = xp.empty_like(x)
    for _ in range(steps):
        change.fill(0)
        for axis in (1, 2):
            lines, out = (xp.moveaxis(each, axis, 0) for each in (x, change))
            drops = lines[1:] - lines[:-1]
            out[:-1] += drops
            out[1:] -= drops
            if periodic:
                drop = lines[0] - lines[-1]
                out[-1] += drop
                out[0] -= drop
        change *= share
        x += change
    return x


def _coarser(planes: Any) -> Any:
    return halved(halved(planes, 1), 2)
