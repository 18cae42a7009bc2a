"""Parameters that all tiles share, from a sample of crops: weight (mu), number of steps, ridge for the halo.

All tiles must be solved alike, or they would look different.  The automatic weight, and the step at which
Richardson-Lucy stops, come from a sample of crops that depends on the image's shape alone.  "root" has a weight that
depends on the norms of the whole image; that is squares with one ridge for all tiles, from a periodogram of
every pixel: one pass over the image, and the second one solves.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..deblurrer import Deblurrer
from ..problem.learned import Scale
from ..problem.options import Options
from ..problem.regularization import root_weights
from ..problem.spectrum import RIDGES, Periodogram, spread
from ..problem.weights import typical, weighed
from ..solvers.units import check_unscaled
from .blurs import FieldOfPsfs, OnePsf
from .tile_solver import counts, solve_silently
from .windows import Place, grid_of

# Side of a crop, and how many down and across.
CROP, CROPS = 512, 4
# Side of the cells in which the whole image is looked at.
CELL = 1024
# Crops that are solved, evenly chosen: for Richardson-Lucy's number of steps, and for a weight of roots.
TRIED = 4
# How far two ridges are apart, in logarithms, between which a minimum's slope is taken, and their tolerance.
APART, ROUGHLY = 0.1, 1e-3
# The ridge to reckon with, for a psf whose sum is 1, where the halo must be known before the weight is.
LIKELY_RIDGE = 3e-4


@dataclass(frozen=True)
class TileParameters:
    """Parameters that all tiles share.

    Attributes
    ----------
    mu : float
        Weight of the prior, with "squares" where "root" was asked for.
    max_iter : int or None
        The number of steps of Richardson-Lucy.
    ridge : float
        That of the gradient prior, for the halo: relative to a pixel's weight.
    level : float
        The image's mean, for tiles without pixels.
    scale : Scale or None
        What the learned prior follows.
    """

    mu: float
    max_iter: int | None
    ridge: float
    level: float
    scale: Scale | None = None


def crops(shape: tuple[int, int]) -> list[Place]:
    """Where to sample an image of that shape."""
    return _blocks(shape, CROPS)


def cells(shape: tuple[int, int]) -> list[Place]:
    """Where every pixel is looked at once: in blocks as large as crops, whatever the tiles, so that both compare."""
    grid = grid_of(shape, (CELL, CELL), (CROP, CROP))
    return [window.tile for window in grid.windows((0, 0), False).values()]


def _blocks(shape: tuple[int, int], most: int | None = None) -> list[Place]:
    """Evenly spread blocks of one size: enough to cover that shape, or `most` down and across."""
    sides = []
    for size in shape:
        side, count = min(size, CROP), -(-size // CROP)
        starts = np.linspace(0, size - side, count if most is None else min(count, most)).round().astype(int).tolist()
        sides.append([slice(start, start + side) for start in starts])
    return [(rows, cols) for rows in sides[0] for cols in sides[1]]


def root_squares(planes: np.ndarray, weights: np.ndarray | None, psfs: list[np.ndarray]) -> np.ndarray:
    """Squares of ‖residual‖, weighed, and ‖Dx‖ over a tile, for each ridge of RIDGES.

    `planes` is the tile of the image, channels first.
    """
    places = _blocks(planes.shape[1:])
    filled, weights, typical_weight = _filled(planes, weights)
    if filled is None:
        return np.zeros(2 * len(RIDGES))
    blocks = np.concatenate([filled[:, rows, cols] for rows, cols in places])
    share = planes[0].size / (len(places) * blocks[0].size)
    # Where pixels weigh more a ridge does less.
    squares = Periodogram(blocks, psfs).squares(RIDGES / typical_weight) * share * len(blocks)
    squares[0] *= typical_weight
    return np.asarray(squares).ravel()


def root_ridge(squares: np.ndarray, psfs: list[np.ndarray], mu: float) -> float:
    """The ridge of squares whose minimiser is that of roots with the weight `mu`."""
    if mu == 0 or not squares.any():
        return 0.0 if mu == 0 else float(RIDGES[-1])
    weights, ridges = _of_roots(squares, psfs)
    return float(np.exp(np.interp(np.log(mu), weights, ridges)))


def _of_roots(squares: np.ndarray, psfs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of weights of roots, and of the ridges that they lead to."""
    scale = max(float(np.abs(psf).sum(dtype=np.float64)) for psf in psfs) ** 2 or 1.0
    weights = root_weights(squares.reshape(2, -1), RIDGES) * np.sqrt(scale)
    return np.log(np.maximum(weights, 1e-300)), np.log(RIDGES * scale)


def _measured_ridge(
    squares: np.ndarray,
    blurs: OnePsf | FieldOfPsfs,
    mu: float,
    sample: list[tuple[Place, np.ndarray]],
    weights: list[np.ndarray] | None,
    given: dict[str, Any],
) -> float:
    """`root_ridge`, corrected by what solving a few crops says.

    A periodogram knows nothing of borders and sees edges where a block ends: the ridge is some 20 % off.  That is much
    the same all over an image.
    """
    psfs = blurs.psfs
    first = root_ridge(squares, psfs, mu)
    tried = np.exp(_of_roots(squares, psfs)[1])
    if not tried[1] < first < tried[-2]:
        return first
    energies, expected = np.zeros(2), np.zeros_like(squares)
    apart = first * np.exp([-APART, APART])
    for k, (place, crop) in enumerate(sample):
        weight = None if weights is None else weights[k]
        expected += root_squares(crop, weight, blurs.psfs_of(place))
        for at, ridge in enumerate(apart):
            options = given | {"mu": float(ridge), "tol": ROUGHLY, "max_iter": 50, "channel_axis": 0}
            deblurrer = Deblurrer._silent(blurs.within(place, given["workers"]), crop.shape, **options)
            energies[at] += solve_silently(deblurrer, crop, weight)[0].objective
    # The minimum grows with the ridge by ½‖Dx‖², and is ½‖Ax − b‖² + ½ ridge ‖Dx‖².
    rough = 2 * (energies[1] - energies[0]) / (apart[1] - apart[0])
    misfit = energies.sum() - first * rough
    if not (rough > 0 and misfit > 0):
        return first
    measured = first * np.sqrt(rough / misfit)
    predicted = np.exp(np.interp(np.log(first), *reversed(_of_roots(expected, psfs))))
    return root_ridge(squares, psfs, float(mu * predicted / measured))


def _filled(planes: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray | None, np.ndarray | None, float]:
    """Planes with missing pixels filled, weights, and a typical one; None if no pixel is left."""
    if not counts(planes, weights):
        return None, None, 1.0
    filled, weights, factor = weighed(planes, weights, 0)
    return filled, weights, typical(weights) * factor


def tile_parameters(
    sample: list[np.ndarray],
    weights: list[np.ndarray] | None,
    blurs: OnePsf | FieldOfPsfs,
    places: list[Place],
    options: Options,
    given: dict[str, Any],
    squares: np.ndarray | None = None,
    around: list[Any] | None = None,
) -> TileParameters:
    """Parameters of all tiles, from crops of `places`, channels first, and for roots from `squares` of all tiles.

    Photons were counted `around` crops, too: backgrounds that have not been subtracted.

    `given` are the options for a Deblurrer.
    """
    psfs = blurs.psfs
    usable = [k for k, crop in enumerate(sample) if counts(crop, None if weights is None else weights[k])]
    if not usable and (options.mu is None or options.method in ("learned", "richardson_lucy")):
        raise ValueError(
            "source has no pixels where it is sampled for its weight: all are NaN or have weight 0"
            + ("" if options.method in ("learned", "richardson_lucy") else " (give mu)")
        )
    if not usable:
        given_mu = float(options.mu or 0.0)
        given_mu = given_mu if squares is None else root_ridge(squares, psfs, given_mu)
        return TileParameters(given_mu, None, given_mu if options.prior == "gradient" else likely_ridge(psfs), 0.0)
    planes = np.concatenate([sample[k] for k in usable])
    shift = None
    if around is not None:
        shift = np.concatenate([np.broadcast_to(np.asarray(around[k], planes.dtype), sample[k].shape) for k in usable])
        planes -= shift
        shift += planes.dtype.type(options.read_noise**2)
    chosen = None if weights is None else np.concatenate([weights[k] for k in usable])
    filled, chosen, factor = weighed(planes, chosen, 0)
    check_unscaled(psfs, filled, "a large image", "source")
    estimate = blurs.estimate([places[k] for k in usable], filled, chosen)
    ridge, level = estimate.ridge * factor, float(filled.mean(dtype=np.float64))
    mu, max_iter = options.mu, None
    if options.method == "richardson_lucy":
        tried = usable[:: max(len(usable) // TRIED, 1)][:TRIED]
        some = None if weights is None else [weights[k] for k in tried]
        beside = None if around is None else [around[k] for k in tried]
        max_iter = _steps([(places[k], sample[k]) for k in tried], some, beside, blurs, given)
    elif options.prior == "gradient" and options.data == "root" and mu is not None:
        assert squares is not None
        tried = usable[:: max(len(usable) // TRIED, 1)][:TRIED]
        some = None if weights is None else [weights[k] for k in tried]
        mu = _measured_ridge(squares, blurs, mu, [(places[k], sample[k]) for k in tried], some, given)
    elif mu is None and options.prior == "gradient":
        mu = ridge
    elif mu is None:
        mu = estimate.weight_of(str(options.prior), options.data, shift) * factor
    reach = mu if options.prior == "gradient" and mu is not None else ridge
    scale = None
    if options.prior == "learned":
        scale = Scale(estimate.noise_to_smooth(), spread(filled), factor=estimate.factor_of_learned())
    return TileParameters(float(mu or 0.0), max_iter, reach / (typical(chosen) * factor), level, scale)


def _steps(
    sample: list[tuple[Place, np.ndarray]],
    weights: list[np.ndarray] | None,
    around: list[Any] | None,
    blurs: OnePsf | FieldOfPsfs,
    given: dict[str, Any],
) -> int:
    """How many steps Richardson-Lucy takes on a sample."""
    taken = []
    for k, (place, crop) in enumerate(sample):
        psf = blurs.within(place, given["workers"])
        deblurrer = Deblurrer._silent(psf, crop.shape, **{**given, "channel_axis": 0})
        weight, background = (None if each is None else each[k] for each in (weights, around))
        taken.append(solve_silently(deblurrer, crop, weight, background)[0].n_iter)
    return max(statistics.median_low(taken), 1)


def likely_ridge(psfs: list[np.ndarray]) -> float:
    """The ridge to size a halo for before the weight is known."""
    return LIKELY_RIDGE * max(float(np.abs(psf).sum(dtype=np.float64)) for psf in psfs) ** 2
