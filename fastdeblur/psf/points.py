"""Psf from the stars or beads of an image: chosen, registered to fractions of a pixel, and averaged robustly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import validation
from .effective import TAUS, NoiseModel, NormalEquations, SampleGrid, Stamp, fit_points, level_of
from .sources import Sources, centroid, clipped, sources

# Largest size of a psf, and that from which on the spline's nodes are a whole pixel apart: it has too many.
MOST_SIZE, COARSE_SIZE = 201, 63
# Most points of a psf: more would take longer than they are worth.
MOST_POINTS = 60
# Least signal to noise of a point that was not given.
LEAST_SIGNAL = 20.0
# A neighbour this near (in typical widths), of this share of the flux, spoils a point; and so does one anywhere in its
# stamp that is brighter than the other share.
NEAR, NEAR_FLUX, STAMP_FLUX = 4.0, 0.005, 0.2
# Points whose residuals are larger than expected by this factor, and by so much more than the median point's.
MISFIT, MISFIT_RATIO = 3.0, 2.0
# Most rounds of fitting E and the points by turns, and the change of E, in shares of it, after which there are no more.
ROUNDS, STILL = 15, 3e-4
# The psf ends where the median of the points is below this share of its peak.
EXTENT = 2e-3

FIELDS = [
    ("row", "f8"), ("col", "f8"), ("flux", "f8"), ("background", "f8"), ("misfit", "f8"), ("used", "?"),
    ("reason", "U24"), ("region", "i4", (2,)),
]  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class PointsPsf:
    """What `from_points` returns.

    Attributes
    ----------
    psf : ndarray, shape (rows, cols), or (regions down, regions across, rows, cols)
        Not negative, sums to 1, its centroid at ``shape // 2``; at steps of ``1 / oversampling`` pixels.
    uncertainty : ndarray of the psf's shape
        Standard errors of its values, from leaving out a part of the points at a time, and from what smoothing changes.
    points : structured ndarray
        All points that were looked at, the brightest first: row, col, flux (in the image's units), background,
        misfit (about 1 for a point like the others; NaN where it was not fitted), used, reason ("" for those used:
        "saturated", "cut off", "missing pixels", "neighbour", "too faint", "not like the others", "enough others")
        and region.
    oversampling : int
        Samples of the psf in a pixel, along each axis.
    centres : ndarray, shape (regions down, regions across, 2), or None
        Row and column of each region's middle; None without regions.
    fwhm : float
        Full width at half maximum in pixels: the diameter of a circle as large as the part of the psf above half of its
        peak; the mean over regions.

    Examples
    --------
    >>> import numpy as np, fastdeblur as fd
    >>> field = np.zeros((64, 64))
    >>> field[[15, 40, 45], [20, 18, 50]] = 100, 80, 120
    >>> field = fd.convolve(field, fd.psf.gaussian(15, 1.5)) + 7
    >>> fd.psf.from_points(field, size=13)
    <PointsPsf: 13x13, fwhm 3.5, 3 of 3 points used>
    """

    psf: np.ndarray
    uncertainty: np.ndarray
    points: np.ndarray
    oversampling: int
    centres: np.ndarray | None
    fwhm: float

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.psf.shape))
        return (
            f"<PointsPsf: {shape}, fwhm {self.fwhm:.2g}, {int(self.points['used'].sum())} of {len(self.points)} "
            "points used>"
        )


@dataclass
class _Point:
    """A source near a point that is used, or one itself."""

    middle: np.ndarray
    pixels: np.ndarray
    stamp: Stamp
    neighbours: list[int] = field(default_factory=list)


def from_points(
    image: Any,
    positions: Any = None,
    size: int | None = None,
    *,
    oversampling: int = 1,
    regions: Any = None,
    saturation: float | None = None,
) -> PointsPsf:
    """The psf of an image, from the stars or beads in it.

    Points that are saturated, cut off by the border, in part missing, too near to others, too faint, or unlike the
    others, are left out.  For each of the rest the background is a plane through an annulus around it.  Their psf is a
    smooth function [1]_ that is fitted to all of them at once, with their places to a fraction of a pixel and their
    fluxes; pixels that fit badly count less.

    Parameters
    ----------
    image : array_like, shape (rows, cols)
        In linear light; NaN pixels are missing.
    positions : array_like, shape (n, 2), or None
        Rows and columns of points to use, to about a pixel; None looks for them.
    size : int or None
        Rows and columns of the psf in pixels, odd, from 3 to 201; None is where the points are lost in their
        surroundings.
    oversampling : int, from 1 to 8
        Samples in a pixel, along each axis: the psf then has ``oversampling * (size - 1) + 1`` rows and columns.  More
        than 2 show little more, unless there are many points.
    regions : (int, int) or None
        Parts of the image, down and across, each of which gets a psf of its own: the input of a psf that varies over
        the image.  Where points say little of a region's own, it is like that of all.
    saturation : float or None
        From which value on pixels are saturated.  None takes the image's largest value if some neighbouring pixels of
        few points share it.

    Returns
    -------
    PointsPsf
        The psf, its uncertainty, and a table of the points, which says why some were not used.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above, if no point can be used (it says why), or if
        there is none in a region.

    See Also
    --------
    from_image : from a picture of one point.

    Notes
    -----
    A bead is not a point: its own width is part of the psf that is found.  The background around a point has the light
    of the psf beyond `size` in it, which is lost.

    References
    ----------
    .. [1] J. Anderson and I. R. King, "Toward High-Precision Astrometry with WFPC2. I. Deriving an Accurate
       Point-Spread Function", Publications of the Astronomical Society of the Pacific 112, 2000.

    Examples
    --------
    >>> import numpy as np, fastdeblur as fd
    >>> field = np.zeros((64, 64))
    >>> field[[15, 40, 45], [20, 18, 50]] = 100, 80, 120
    >>> psf = fd.psf.gaussian(13, 1.5)
    >>> found = fd.psf.from_points(fd.convolve(field, psf) + 7, size=13)
    >>> bool(np.abs(found.psf - psf).sum() < 0.01)
    True
    """
    array = validation.pixels("image", image, 2)
    missing = np.isnan(array)
    pixels = np.where(missing, 0, array).astype(np.float64)
    validation.finite("image", pixels)
    if size is not None:
        size = validation.integer("size", size, 3, MOST_SIZE)
        if size % 2 == 0 or size > min(array.shape):
            raise ValueError(
                f"size must be an odd number of at most the image's rows and columns, {array.shape}; got {size}"
            )
    oversampling = validation.integer("oversampling", oversampling, 1, 8)
    cells = (1, 1) if regions is None else validation.sizes("regions", regions, 2)
    if min(array.shape) < 5 or missing.all():
        raise ValueError(
            f"image must have at least 5 rows and columns, and pixels that are not NaN; its shape is {array.shape}"
        )
    given = None if positions is None else _positions(positions, array.shape)
    clip = math.inf if saturation is None else validation.real("saturation", saturation, "any")

    unit = float(np.abs(pixels).max()) or 1.0
    pixels /= unit
    pixels[missing] = np.nan
    clip /= unit
    if saturation is None:
        clip = _saturation(pixels, missing)
    seen = sources(pixels, missing, clip)
    if given is not None:
        seen = _with_given(seen, given, size)
    candidates = np.arange(len(seen.fluxes)) if given is None else np.arange(len(given))
    half = (size // 2) if size else _half_size(seen, candidates, pixels, missing, clip)
    table = np.zeros(len(candidates), FIELDS)
    table["row"], table["col"] = seen.places[candidates].T
    table["flux"], table["misfit"], table["background"] = seen.fluxes[candidates] * unit, np.nan, np.nan
    region = np.floor(seen.places[candidates] * np.array(cells) / np.array(array.shape)).astype(int)
    table["region"] = np.clip(region, 0, np.array(cells) - 1)
    table["reason"] = _reasons(seen, candidates, pixels, missing, clip, half, given is not None)
    _enough(table, cells)
    _check_left(table, cells)

    step = 1.0 if 2 * half + 1 > COARSE_SIZE else (0.5 if seen.sigma > 0.8 else 1 / 3)
    grid = SampleGrid(half, step)
    points = _points(seen, table, candidates, pixels, missing, clip, grid)
    coefficients, tau = _fitted(points, table, candidates, grid, seen.sigma, cells)
    offsets = np.arange(-half * oversampling, half * oversampling + 1) / oversampling

    def sampled(each: np.ndarray) -> np.ndarray:
        psf = grid.sampled(each, offsets)
        return np.asarray(psf / np.maximum(psf, 0).sum())

    psfs, errors, widths = [], [], []
    for cell in np.ndindex(*cells):
        own = np.flatnonzero(table["used"] & (table["region"] == cell).all(axis=1))
        stamps = [points[candidates[k]].stamp for k in own]
        local, prior = coefficients, None
        if regions is not None:
            local, prior, tau = _local(stamps, grid, coefficients)
        psfs.append(np.maximum(sampled(local), 0))
        fine = grid.sampled(local, np.arange(-8 * half, 8 * half + 1) / 8)
        widths.append(2 * math.sqrt((fine > 0.5 * fine.max()).sum() / math.pi) / 8)
        normal = NormalEquations(stamps, grid, level_of(grid, local), prior)
        errors.append(normal.deviation(TAUS[tau], sampled))
    for k in np.flatnonzero(table["used"] | (table["reason"] == "not like the others")):
        stamp = points[candidates[k]].stamp
        table["row"][k], table["col"][k] = points[candidates[k]].middle + stamp.place
        table["flux"][k], table["misfit"][k] = stamp.flux * unit, stamp.misfit
        at = tuple(points[candidates[k]].middle)
        table["background"][k] = (pixels[at] - points[candidates[k]].pixels[half, half] + stamp.plane[0]) * unit
    dtype = validation.working_dtype(array)
    shape = () if regions is None else cells
    psf, uncertainty = (
        np.stack(each).reshape(*shape, len(offsets), len(offsets)).astype(dtype) for each in (psfs, errors)
    )
    centres = None
    if regions is not None:
        middles = [(np.arange(n) + 0.5) * total / n - 0.5 for n, total in zip(cells, array.shape, strict=True)]
        centres = np.stack(np.meshgrid(*middles, indexing="ij"), axis=-1)
    return PointsPsf(psf, uncertainty, table, oversampling, centres, float(np.mean(widths)))


def _positions(positions: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Positions that were given, checked."""
    array = validation.real_array("positions", positions)
    if array.ndim != 2 or array.shape[1] != 2 or not len(array):
        raise ValueError(f"positions must be rows and columns, of shape (n, 2); their shape is {array.shape}")
    places = array.astype(np.float64)
    validation.finite("positions", places)
    outside = ((places < -0.5) | (places > np.array(shape) - 0.5)).any(axis=1)
    if outside.any():
        k = int(np.argmax(outside))
        raise ValueError(f"positions must be in the image, whose shape is {shape}; at index {k} it is {places[k]}")
    return places


def _saturation(pixels: np.ndarray, missing: np.ndarray) -> float:
    """The image's largest value if three neighbours share it, and few pixels have it."""
    import scipy.ndimage  # not for everyone who imports fastdeblur

    largest = float(pixels[~missing].max())
    highest = pixels == largest
    parts, count = scipy.ndimage.label(highest, np.ones((3, 3)))
    if not count or np.bincount(parts.ravel())[1:].max() < 3 or highest.mean() > 0.1:
        return math.inf
    return largest


def _with_given(seen: Sources, given: np.ndarray, size: int | None) -> Sources:
    """Sources of which the first ones are those that were given, the others those that are not among them."""
    sigma = seen.sigma if len(seen.fluxes) or size is None else max(size / 8, 0.5)
    places = np.array([centroid(seen.light, np.rint(place), sigma) for place in given])
    apart = np.array([np.hypot(*(places - place).T).min() for place in seen.places]).reshape(-1)
    reach = max(round(2 * sigma), 1)
    fluxes = []
    for place in places:
        row, col = np.rint(place).astype(int)
        around = seen.light[max(row - reach, 0) : row + reach + 1, max(col - reach, 0) : col + reach + 1]
        fluxes.append(float(around.sum()) if around.size else 0.0)
    others = apart > 2 * sigma
    return Sources(
        np.concatenate([places, seen.places[others]]), np.concatenate([fluxes, seen.fluxes[others]]),
        seen.light, seen.noise, sigma,
    )  # fmt: skip


def _half_size(seen: Sources, candidates: np.ndarray, pixels: np.ndarray, missing: np.ndarray, clip: float) -> int:
    """Half of a size that holds the typical point, as far as it can be told from its surroundings."""
    import scipy.ndimage  # not for everyone who imports fastdeblur

    half = min(math.ceil(7 * seen.sigma) + 2, (min(pixels.shape) - 1) // 2, MOST_SIZE // 2)
    near = max(math.ceil(3 * seen.sigma), 2)
    cuts, padded = [], np.pad(seen.light, half, constant_values=np.nan)
    for strict in (True, False):
        reasons = _reasons(seen, candidates, pixels, missing, clip, near if not strict else half, True)
        for k in np.flatnonzero(reasons == "")[:15]:
            row, col = np.rint(seen.places[candidates[k]]).astype(int)
            cut = slice(row, row + 2 * half + 1), slice(col, col + 2 * half + 1)
            cuts.append(padded[cut] / seen.fluxes[candidates[k]])
        if cuts:
            break
    if not cuts:
        return int(min(max(near, 2), half))
    typical = np.nan_to_num(np.nanmedian(np.nan_to_num(np.array(cuts)), axis=0))
    border = np.concatenate([typical[[0, -1]].ravel(), typical[1:-1, [0, -1]].ravel()])
    level, noise = clipped(border)
    typical = typical - level
    parts, _ = scipy.ndimage.label(typical > max(EXTENT * typical.max(), 2 * noise), np.ones((3, 3)))
    middle = parts[half - 1 : half + 2, half - 1 : half + 2].max()
    extent = np.abs(np.argwhere(parts == middle) - half).max() if middle else near
    return int(min(max(extent + 1, near), half))


def _reasons(
    seen: Sources, candidates: np.ndarray, pixels: np.ndarray, missing: np.ndarray, clip: float, half: int, given: bool
) -> np.ndarray:
    """Why points cannot be used; "" for those that can."""
    import scipy.spatial  # not for everyone who imports fastdeblur

    reasons = np.full(len(candidates), "", "U24")
    if not len(candidates):
        return reasons
    shape, sigma = np.array(pixels.shape), seen.sigma
    core = max(2.0 * sigma, 1.5)
    clipped_there = np.array([_any_within(pixels >= clip, place, core) for place in seen.places])
    bright = np.where(clipped_there, np.inf, seen.fluxes)
    tree = scipy.spatial.cKDTree(seen.places)
    for n, k in enumerate(candidates):
        place, flux = seen.places[k], seen.fluxes[k]
        middle = np.rint(place)
        near = [j for j in tree.query_ball_point(place, 1.5 * (half + 2 * sigma)) if j != k]
        away = np.abs(seen.places[near] - place)
        within, ratio = np.hypot(*away.T), bright[near] / max(flux, np.finfo(np.float64).tiny)
        stamp = tuple(slice(max(int(at) - half, 0), int(at) + half + 1) for at in middle)
        level = seen.noise[tuple(np.clip(middle, 0, shape - 1).astype(int))]
        if clipped_there[k]:
            reasons[n] = "saturated"
        elif (middle < half).any() or (middle + half >= shape).any():
            reasons[n] = "cut off"
        elif _any_within(missing, place, 2 * core) or missing[stamp].mean() > 0.1:
            reasons[n] = "missing pixels"
        elif flux < (3.0 if given else LEAST_SIGNAL) * 2 * math.sqrt(math.pi) * sigma * level:
            reasons[n] = "too faint"
        elif ((within < NEAR * sigma) & (ratio > NEAR_FLUX)).any() or (
            (away.max(axis=1, initial=0) < half + 2 * sigma) & (ratio > STAMP_FLUX)
        ).any():
            reasons[n] = "neighbour"
    return reasons


def _any_within(mask: np.ndarray, place: np.ndarray, radius: float) -> bool:
    """Whether a mask has a pixel within a circle."""
    low = np.maximum(np.ceil(place - radius), 0).astype(int)
    high = np.minimum(np.floor(place + radius) + 1, mask.shape).astype(int)
    part = mask[low[0] : max(high[0], 0), low[1] : max(high[1], 0)]
    if not part.any():
        return False
    rows, cols = np.nonzero(part)
    return bool((np.hypot(rows + low[0] - place[0], cols + low[1] - place[1]) <= radius).any())


def _enough(table: np.ndarray, cells: Sequence[int]) -> None:
    """Leave out the faintest points of regions that have more than are of use."""
    for cell in np.ndindex(*cells):
        good = np.flatnonzero((table["reason"] == "") & (table["region"] == cell).all(axis=1))
        order = good[np.argsort(-table["flux"][good], kind="stable")]
        table["reason"][order[MOST_POINTS:]] = "enough others"
    table["used"] = table["reason"] == ""


def _check_left(table: np.ndarray, cells: Sequence[int]) -> None:
    """Refuse an image, or a region of one, without a point that can be used."""
    if not table["used"].any():
        names, counts = np.unique(table["reason"], return_counts=True)
        why = ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True))
        raise ValueError(
            "image must hold points that can be used: "
            + (f"of {len(table)}, {why}" if len(table) else "nothing stands out of its noise")
            + " (give positions, a smaller size or another saturation if that is wrong)"
        )
    for cell in np.ndindex(*cells):
        if not (table["used"] & (table["region"] == cell).all(axis=1)).any():
            raise ValueError(
                f"regions must each have a point that can be used; there is none in {cell} of {tuple(cells)} "
                "(use fewer)"
            )


def _points(
    seen: Sources, table: np.ndarray, candidates: np.ndarray, pixels: np.ndarray, missing: np.ndarray, clip: float,
    grid: SampleGrid,
) -> dict[int, _Point]:  # fmt: skip
    """Stamps of the points that are used and of their neighbours, by their numbers among the sources."""
    import scipy.ndimage  # not for everyone who imports fastdeblur
    import scipy.spatial

    half = grid.half
    # (An annulus right around the stamp has the psf's wings in it: 1.3 % of the light of an Airy psf.)
    begin = math.ceil(1.75 * half)
    wide = math.ceil(0.5 * half) + 2 + begin - half
    bad = missing | scipy.ndimage.binary_dilation(pixels >= clip, np.ones((3, 3)))
    ring = half + wide
    light, bad = np.pad(seen.light, ring), np.pad(bad, ring, constant_values=True)
    tree = scipy.spatial.cKDTree(seen.places)
    used = set(candidates[table["used"]].tolist())
    wanted = {k: [j for j in tree.query_ball_point(seen.places[k], 2 * half + 2, p=np.inf) if j != k] for k in used}
    for j in {j for near in wanted.values() for j in near} - set(wanted):
        wanted[j] = []
    for near in wanted.values():
        near[:] = [j for j in near if j in wanted]
    points = {}
    offsets = np.arange(-ring, ring + 1)
    outer = np.maximum(np.abs(offsets)[:, None], np.abs(offsets)) > begin
    inner = slice(wide, wide + 2 * half + 1)
    ramp = np.stack([np.ones(outer.shape), *np.meshgrid(offsets / half, offsets / half, indexing="ij")])
    for k, near in wanted.items():
        middle = np.clip(np.rint(seen.places[k]), 0, np.array(pixels.shape) - 1).astype(int)
        cut = tuple(slice(at, at + 2 * ring + 1) for at in middle)
        values, valid = light[cut], ~bad[cut]
        for j in near:
            row, col = seen.places[j] - middle
            valid = valid & (np.hypot(offsets[:, None] - row, offsets - col) > 2.0 * seen.sigma)
        plane, errors = _plane(values, valid & outer, ramp, float(seen.noise[tuple(middle)]))
        stamp = Stamp(
            values=values[inner, inner], noise=float(seen.noise[tuple(middle)]) ** 2, valid=valid[inner, inner],
            plane_errors=errors, flux=float(seen.fluxes[k]), place=seen.places[k] - middle, plane=np.zeros(3),
            light=np.zeros((2 * half + 1,) * 2), weights=np.zeros((2 * half + 1,) * 2),
        )  # fmt: skip
        points[k] = _Point(middle, (values - np.tensordot(plane, ramp, 1))[inner, inner], stamp, near)
        stamp.values = points[k].pixels
    return points


def _plane(values: np.ndarray, valid: np.ndarray, ramp: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """A plane through an annulus without what is much brighter, and the standard errors of its three numbers."""
    design, right = ramp[:, valid].T, values[valid]
    if len(right) < 12:
        return np.zeros(3), np.full(3, 10 * noise)
    plane = np.array([np.median(right), 0.0, 0.0])
    for _ in range(5):
        left = right - design @ plane
        middle, deviation = clipped(left)
        some = np.abs(left - middle) <= 2.5 * max(deviation, 0.5 * noise)
        plane = np.linalg.lstsq(design[some], right[some], rcond=None)[0]
    inverse = np.linalg.pinv(design[some].T @ design[some])
    # Twice the errors of white noise: there is also what is too faint to be told.
    return plane, 2 * max(deviation, noise) * np.sqrt(np.diag(inverse)) + 1e-3 * noise


def _fitted(
    points: dict[int, _Point],
    table: np.ndarray,
    candidates: np.ndarray,
    grid: SampleGrid,
    sigma: float,
    cells: Sequence[int],
) -> tuple[np.ndarray, int]:
    """Fit E and all points by turns; leaves out points that are not like the others."""
    model = NoiseModel()
    numbers = candidates[table["used"]]
    coefficients = grid.normalised(_first(points, numbers, grid, sigma))
    tau = 2
    for round_ in range(ROUNDS):
        for point in points.values():
            _subtract_neighbours(points, point, grid, coefficients)
        fit_points([point.stamp for point in points.values()], grid, coefficients, model)
        numbers = candidates[table["used"]]
        stamps = [points[k].stamp for k in numbers]
        model.fit([stamp for stamp in stamps if not stamp.lost], grid)
        if round_ >= 1:
            _leave_out(points, table, candidates)
            _check_left(table, cells)
            stamps = [points[k].stamp for k in candidates[table["used"]]]
        good = [stamp for stamp in stamps if not stamp.lost] or stamps
        normal = NormalEquations(good, grid, level_of(grid, coefficients))
        if round_ in (2, 5):
            tau = normal.best_tau(tau)
        last = coefficients
        coefficients, moved = grid.centred(grid.normalised(normal.solve(TAUS[tau])))
        for point in points.values():
            point.stamp.place = point.stamp.place - moved
        change = np.abs(coefficients - last).sum() * grid.step**2
        if round_ >= 6 and change < STILL:
            break
    return coefficients, tau


def _first(points: dict[int, _Point], numbers: np.ndarray, grid: SampleGrid, sigma: float) -> np.ndarray:
    """A first E: the median of the points, shifted by whole pixels; Gaussian where there are few."""
    import scipy.ndimage  # not for everyone who imports fastdeblur

    cuts = np.array([points[k].pixels / points[k].stamp.flux for k in numbers])
    typical = np.median(cuts, axis=0)
    at = np.meshgrid(grid.nodes + grid.half, grid.nodes + grid.half, indexing="ij")
    first = np.maximum(scipy.ndimage.map_coordinates(typical, at, order=1, mode="constant"), 0)
    if not first.any():
        first = np.exp(-0.5 * (grid.nodes[:, None] ** 2 + grid.nodes**2) / sigma**2)
    return np.asarray(first)


def _subtract_neighbours(points: dict[int, _Point], point: _Point, grid: SampleGrid, coefficients: np.ndarray) -> None:
    """Give a point's stamp its pixels without its neighbours' light."""
    values = point.pixels
    for j in point.neighbours:
        other = points[j]
        if not other.stamp.lost:
            place = other.middle + other.stamp.place - point.middle
            (rows, _), (cols, _) = (grid.matrices(grid.offsets - at) for at in place)
            values = values - other.stamp.flux * (rows @ coefficients @ cols.T)
    point.stamp.values = values


def _leave_out(points: dict[int, _Point], table: np.ndarray, candidates: np.ndarray) -> None:
    """Mark points that are not like the others of their region as not used, and those that are again, as used."""
    looked_at = table["used"] | (table["reason"] == "not like the others")
    for cell in np.unique(table["region"][looked_at], axis=0):
        numbers = np.flatnonzero(looked_at & (table["region"] == cell).all(axis=1))
        stamps = [points[k].stamp for k in candidates[numbers]]
        misfits = np.array([math.inf if stamp.lost else stamp.misfit for stamp in stamps])
        most = max(MISFIT, MISFIT_RATIO * float(np.median(misfits))) if len(misfits) > 2 else math.inf
        bad = ~np.isfinite(misfits) | (misfits > most)
        table["used"][numbers] = ~bad
        table["reason"][numbers] = np.where(bad, "not like the others", "")


def _local(
    stamps: list[Stamp], grid: SampleGrid, coefficients: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None, int]:
    """E of a region's points, like that of all where they say little, what it is like, and tau's index."""
    model = NoiseModel()
    # At first that of all fits badly, which must not pass for outliers.
    model.share = 0.5
    local, prior, tau = coefficients, coefficients, 2  # type: np.ndarray, np.ndarray | None, int
    for round_ in range(6):
        fit_points(stamps, grid, local, model)
        if round_:
            model.fit(stamps, grid)
        normal = NormalEquations(stamps, grid, level_of(grid, local), prior)
        if round_ in (2, 4):
            # Points may be so many, or so different from all, that they are better off alone.
            each = [NormalEquations(stamps, grid, level_of(grid, local), prior) for prior in (coefficients, None)]
            best = [normal.best_tau(tau) for normal in each]
            left = [normal.left(TAUS[tau]) for normal, tau in zip(each, best, strict=True)]
            normal, tau = (each[0], best[0]) if left[0] <= left[1] else (each[1], best[1])
            prior = coefficients if left[0] <= left[1] else None
        local, moved = grid.centred(grid.normalised(normal.solve(TAUS[tau])))
        for stamp in stamps:
            stamp.place = stamp.place - moved
    fit_points(stamps, grid, local, model)
    return local, prior, tau
