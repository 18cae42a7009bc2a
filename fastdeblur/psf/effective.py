"""Effective psf of point sources: a cubic B-spline on a grid finer than the pixels, fitted by weighted least squares.

A point of flux f at the place p gives a pixel at n the value ``f E(n - p)``, and background; E, the psf after the
pixels' own blur, is a tensor-product spline [1]_ as in [2]_ it is a table.  Fluxes and places are fitted to E, and E to
them, by turns.  E is expected to be smooth: second differences of its coefficients are about `tau` of its level.

References
----------
.. [1] C. de Boor, A Practical Guide to Splines, 1978.
.. [2] J. Anderson and I. R. King, "Toward High-Precision Astrometry with WFPC2. I. Deriving an Accurate Point-Spread
   Function", Publications of the Astronomical Society of the Pacific 112, 2000.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

# Where E is below this share of its peak, it is expected to be as smooth as where it is that high.
FLOOR = 3e-4
# Residuals of so many standard deviations have no weight (Tukey's biweight).
OUTLIER = 6.0
# Values of tau, the least smooth first.
TAUS = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
# A step smoother: what smoothing changes is measured by the next one.
SMOOTHER = 3.0
# Groups of points, or of pixels where there are few points, that are left out in turn.
FOLDS = 8
# Points that are fitted together: one by one, most of the time was Python's.
TOGETHER = 32
# Most steps of Gauss and Newton for a point, and the change of place in pixels after which there are no more.
STEPS, STILL = 15, 1e-4


@dataclass
class Stamp:
    """Pixels around a point.

    Attributes
    ----------
    values : ndarray, shape (size, size)
        Pixels less a plane through the annulus around and the light of other points.
    noise : float
        Variance of the noise beside the point.
    valid : ndarray of bool
        Pixels that are neither missing nor another point's.
    plane_errors : ndarray, shape (3,)
        Standard errors of the plane's level, and of its slopes times half a stamp.
    flux, place : float, ndarray of shape (2,)
        Of the point; the place is counted from the stamp's central pixel.
    plane : ndarray, shape (3,)
        What the fit adds to the plane.
    light, weights : ndarray, shape (size, size)
        The point's light, and what the pixels count.
    misfit : float
        Root mean square of the residual where the point is bright, over what is expected.
    lost : bool
        Whether the fit has run away from where the point was.
    """

    values: np.ndarray
    noise: float
    valid: np.ndarray
    plane_errors: np.ndarray
    flux: float
    place: np.ndarray
    plane: np.ndarray
    light: np.ndarray
    weights: np.ndarray
    misfit: float = 1.0
    lost: bool = False


class SampleGrid:
    """Nodes of the spline, `step` pixels apart, for offsets of up to `half` + 1 pixels from the psf's centre."""

    def __init__(self, half: int, step: float):
        self.half, self.step = half, step
        self.reach = math.ceil((half + 1) / step) + 1
        self.count = 2 * self.reach + 1
        self.nodes = (np.arange(self.count) - self.reach) * step
        self.offsets = np.arange(-half, half + 1, dtype=np.float64)

    def taps(self, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First node, the four weights and their derivatives, for each offset."""
        at = np.asarray(offsets) / self.step + self.reach
        first = np.clip(np.floor(at).astype(np.intp) - 1, 0, self.count - 4)
        inside = (np.abs(offsets) <= self.half + 1)[..., None]
        t = at - first - 1
        values = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
        slopes = (-((1 - t) ** 2), 3 * t**2 - 4 * t, -3 * t**2 + 2 * t + 1, t**2)
        return first, inside * np.stack(values, axis=-1) / 6, inside * np.stack(slopes, axis=-1) / (2 * self.step)

    def matrices(self, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Matrices that take coefficients along one axis to values and to derivatives at offsets."""
        first, weights, slopes = self.taps(offsets)
        values, derivatives = np.zeros((2, *offsets.shape, self.count))
        nodes = first[..., None] + np.arange(4)
        np.put_along_axis(values, nodes, weights, axis=-1)
        np.put_along_axis(derivatives, nodes, slopes, axis=-1)
        return values, derivatives

    def sampled(self, coefficients: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """E at a square grid of offsets."""
        values, _ = self.matrices(offsets)
        return np.asarray(values @ coefficients @ values.T)

    def normalised(self, coefficients: np.ndarray) -> np.ndarray:
        """Coefficients of an E whose integral is 1."""
        return np.asarray(coefficients / (coefficients.sum() * self.step**2))

    def centroid(self, coefficients: np.ndarray) -> np.ndarray:
        """Of the part of E that is brighter than some 2 % of its peak: noise far out would move that of all."""
        level = 0.02 * coefficients.max()
        weights = coefficients * np.clip((coefficients - level) / level, 0, 1)
        down, across = weights.sum(axis=1) @ self.nodes, weights.sum(axis=0) @ self.nodes
        return np.array([down, across]) / float(weights.sum())

    def centred(self, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients of an E with its centroid at 0, and by how much it was moved."""
        import scipy.ndimage  # not for everyone who imports fastdeblur

        moved = np.zeros(2)
        for _ in range(3):
            away = self.centroid(coefficients)
            moved -= away
            coefficients = scipy.ndimage.shift(coefficients, -away / self.step, order=3, mode="nearest")
        return coefficients, moved


def fit_points(stamps: Sequence[Stamp], grid: SampleGrid, coefficients: np.ndarray, model: NoiseModel) -> None:
    """Fit fluxes, places and backgrounds of points to E, each by Gauss and Newton's method with Tukey's weights."""
    for first in range(0, len(stamps), TOGETHER):
        _fit_together(stamps[first : first + TOGETHER], grid, coefficients, model)


def _fit_together(stamps: Sequence[Stamp], grid: SampleGrid, coefficients: np.ndarray, model: NoiseModel) -> None:
    """`fit_points` of few enough for the memory; those that are found, or lost, leave the others."""
    values, valid, flux, place, plane, noise = (
        np.array([getattr(stamp, name) for stamp in stamps])
        for name in ("values", "valid", "flux", "place", "plane", "noise")
    )
    prior = np.array([[0.0, 0.0, 0.0, *stamp.plane_errors**-2.0] for stamp in stamps])
    ramp = grid.offsets / grid.half
    planes = np.stack([np.ones((ramp.size,) * 2), *np.meshgrid(ramp, ramp, indexing="ij")])
    start, light, left, weights = place.copy(), np.zeros_like(values), np.zeros_like(values), np.zeros_like(values)
    lost, now = np.zeros(len(stamps), bool), np.arange(len(stamps))
    for _ in range(STEPS):
        (rows, row_slopes), (cols, col_slopes) = (grid.matrices(grid.offsets - place[now, k, None]) for k in (0, 1))
        half, cols = rows @ coefficients, cols.swapaxes(1, 2)
        shape = half @ cols
        slopes = row_slopes @ coefficients @ cols, half @ col_slopes.swapaxes(1, 2)
        fluxes = flux[now, None, None]
        light[now] = fluxes * shape
        design = np.stack([shape, *(-fluxes * slope for slope in slopes), *np.broadcast_arrays(*planes, shape)[:3]], 1)
        design = design.reshape(now.size, 6, -1)
        left[now] = values[now] - light[now] - np.tensordot(plane[now], planes, 1)
        weights[now] = model.weights(valid[now], noise[now, None, None], light[now], left[now])
        weighted = design * weights[now].reshape(now.size, 1, -1)
        normal = weighted @ design.swapaxes(1, 2)
        right = (weighted @ left[now].reshape(now.size, -1, 1))[..., 0]
        right[:, 3:] -= prior[now, 3:] * plane[now]
        diagonal = np.einsum("kii->ki", normal)
        diagonal += prior[now]
        diagonal *= 1 + 1e-9
        diagonal += 1e-300
        step = _solutions(normal, right)
        singular = np.isnan(step).any(axis=1)
        step[singular] = 0
        move = np.clip(step[:, 1:3], -0.5, 0.5)
        flux[now] += step[:, 0]
        place[now] += move
        plane[now] += step[:, 3:]
        away = np.abs(place[now] - start[now]).max(axis=1)
        lost[now] = singular | (flux[now] <= 0) | (away > 0.5 * grid.half + 1)
        now = now[~lost[now] & (np.abs(move).max(axis=1) >= STILL)]
        if not now.size:
            break
    for k, stamp in enumerate(stamps):
        stamp.flux, stamp.place, stamp.plane = float(flux[k]), place[k], plane[k]
        stamp.light, stamp.weights, stamp.lost = light[k], weights[k], stamp.lost or bool(lost[k])
        if not lost[k]:
            stamp.misfit = model.misfit(stamp, left[k])


def _solutions(matrices: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of linear equations; NaN where they are singular."""
    try:
        return np.linalg.solve(matrices, right[..., None])[..., 0]
    except np.linalg.LinAlgError:
        if len(matrices) == 1:
            return np.full_like(right, np.nan)
        return np.concatenate([_solutions(matrices[k : k + 1], right[k : k + 1]) for k in range(len(matrices))])


class NoiseModel:
    """Variance of residuals: that beside points, what grows with a point's light (photons), and with its square (E).

    The last two are found from the residuals of all points.
    """

    def __init__(self) -> None:
        self.photons, self.share = 0.0, 0.1

    def variance(self, noise: Any, light: np.ndarray) -> np.ndarray:
        light = np.maximum(light, 0)
        return np.asarray(noise + self.photons * light + (self.share * light) ** 2)

    def weights(self, valid: np.ndarray, noise: Any, light: np.ndarray, left: np.ndarray) -> np.ndarray:
        """Inverse variances, less for outliers, 0 for pixels that are not valid."""
        variance = self.variance(noise, light)
        unlikely = np.minimum(left**2 / (OUTLIER**2 * variance), 1)
        return np.asarray(valid * (1 - unlikely) ** 2 / variance)

    def misfit(self, stamp: Stamp, left: np.ndarray) -> float:
        bright = stamp.valid & (stamp.light > 0.1 * stamp.light.max())
        squares = left[bright] ** 2 / self.variance(stamp.noise, stamp.light[bright])
        return float(np.sqrt(np.mean(squares))) if squares.size else math.inf

    def fit(self, stamps: Sequence[Stamp], grid: SampleGrid) -> None:
        """Find both shares from medians of squares in classes of brightness."""
        ramp = grid.offsets / grid.half
        light, squares = [], []  # type: list[np.ndarray], list[np.ndarray]
        for stamp in stamps:
            plane = stamp.plane[0] + stamp.plane[1] * ramp[:, None] + stamp.plane[2] * ramp
            some = stamp.valid & (stamp.light**2 > stamp.noise)
            light.append(stamp.light[some])
            squares.append((stamp.values - stamp.light - plane)[some] ** 2)
        lights, left = np.concatenate(light), np.concatenate(squares)
        if lights.size < 20:
            return
        noise = float(np.median([stamp.noise for stamp in stamps]))
        classes = np.array_split(np.argsort(lights), max(min(lights.size // 40, 20), 1))
        # The median of the square of a normal number is 0.455 of its mean.
        excess = [max((np.median(left[each]) / 0.455) - noise, 0) for each in classes]
        middle = np.array([np.median(lights[each]) for each in classes])
        scale = noise + np.array(excess)
        import scipy.optimize  # not for everyone who imports fastdeblur

        (photons, share), _ = scipy.optimize.nnls(
            np.stack([middle / scale, middle**2 / scale], axis=1), np.array(excess) / scale
        )
        # Gradually: what a first E does not fit must not pass for outliers for good.
        self.photons, self.share = float(photons), max(math.sqrt(share), self.share / 3, 1e-3)


class NormalEquations:
    """Normal equations of E, by groups of points (of pixels, where there are less than five points).

    Parameters
    ----------
    stamps : sequence of Stamp
        With fluxes and places that are held.
    level : ndarray, shape (grid.count, grid.count)
        About E itself: what its second differences are measured by.
    prior : ndarray or None
        Coefficients that those found should be like; None is 0.
    """

    def __init__(self, stamps: Sequence[Stamp], grid: SampleGrid, level: np.ndarray, prior: np.ndarray | None = None):
        self.grid, self.prior = grid, np.zeros(grid.count**2) if prior is None else prior.ravel()
        self.penalty = _penalty(grid, level)
        self._stamps, self._by_point = stamps, len(stamps) >= 5
        self.folds = min(FOLDS, len(stamps)) if self._by_point else FOLDS
        everything = np.full((grid.offsets.size,) * 2, True)
        self.matrix, self.right, _ = self._part([(stamp, everything) for stamp in stamps])

    @cached_property
    def parts(self) -> list[tuple[Any, np.ndarray, float]]:
        """Each group's share of matrix, right side and weighted squares; the points must still be as they were."""
        rows, cols = np.indices((self.grid.offsets.size,) * 2)
        pattern = (rows + 3 * cols) % self.folds
        groups = [[] for _ in range(self.folds)]  # type: list[list[tuple[Stamp, np.ndarray]]]
        for k, stamp in enumerate(self._stamps):
            for fold in [k % self.folds] if self._by_point else range(self.folds):
                groups[fold].append((stamp, np.full(rows.shape, True) if self._by_point else pattern == fold))
        return [self._part(group) for group in groups]

    def _part(self, group: list[tuple[Stamp, np.ndarray]]) -> tuple[Any, np.ndarray, float]:
        """Matrix, right side and weighted squares of a group of points, the prior's light taken away."""
        import scipy.sparse  # not for everyone who imports fastdeblur

        grid, parts, values, weights = self.grid, [], [], []
        ramp = grid.offsets / grid.half
        for stamp, some in group:
            (first_row, row_taps, _), (first_col, col_taps, _) = (
                grid.taps(grid.offsets - place) for place in stamp.place
            )
            nodes = (first_row[:, None] + np.arange(4))[:, None, :, None] * grid.count
            nodes = nodes + (first_col[:, None] + np.arange(4))[None, :, None, :]
            taps = stamp.flux * row_taps[:, None, :, None] * col_taps[None, :, None, :]
            plane = stamp.plane[0] + stamp.plane[1] * ramp[:, None] + stamp.plane[2] * ramp
            counted = (stamp.weights * some).ravel()
            few = np.flatnonzero(counted)
            parts.append((taps.reshape(-1, 16)[few], nodes.reshape(-1, 16)[few]))
            values.append((stamp.values - plane).ravel()[few])
            weights.append(counted[few])
        taps, nodes = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
        starts = np.arange(0, taps.size + 1, 16)
        design = scipy.sparse.csr_array((taps.ravel(), nodes.ravel(), starts), shape=(len(taps), grid.count**2))
        weight = np.concatenate(weights)
        left = np.concatenate(values) - design @ self.prior
        weighted = scipy.sparse.csr_array((taps.ravel() * np.repeat(weight, 16), nodes.ravel(), starts), design.shape)
        return (weighted.T @ design).tocsr(), weighted.T @ left, float(weight @ left**2)

    def solve(self, tau: float, without: int | None = None) -> np.ndarray:
        """Coefficients of E, without one of the groups if its number is given."""
        import scipy.sparse.linalg  # not for everyone who imports fastdeblur

        matrix, right = self.matrix, self.right
        if without is not None:
            matrix, right = matrix - self.parts[without][0], right - self.parts[without][1]
        # Positive definite.  (A banded Cholesky factor keeps all threads of OpenBLAS busy with its small blocks: on two
        # cores with other work eleven times the processor time of this, in one thread half of it.)
        symmetric = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}}
        found = scipy.sparse.linalg.splu((matrix + self.penalty / tau**2).tocsc(), **symmetric).solve(right)
        return np.asarray(found + self.prior).reshape(self.grid.count, -1)

    def left(self, tau: float) -> float:
        """Weighted squares of the residuals of groups that were left out (those that matter)."""
        total = 0.0
        for fold in range(0, self.folds, 1 if self.folds < FOLDS else 2):
            matrix, right, squares = self.parts[fold]
            change = self.solve(tau, fold).ravel() - self.prior
            total += float(change @ (matrix @ change) - 2 * right @ change) + squares
        return total

    def best_tau(self, start: int) -> int:
        """The index in TAUS of the one that predicts best, looked for from `start` on."""
        scores = {start: self.left(TAUS[start])}

        def score(index: int) -> float:
            if index not in scores:
                scores[index] = self.left(TAUS[index])
            return scores[index]

        best = start
        for way in (1, -1):
            while 0 <= best + way < len(TAUS) and score(best + way) < score(best):
                best += way
        return best

    def deviation(self, tau: float, sampled: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Standard errors of what `sampled` makes of coefficients: by the jackknife over groups, and of smoothing.

        What smoothing changes is not seen by leaving points out, for the rest are smoothed alike.  It is taken to be as
        much as smoothing one step more would change.  (Of 15 fields, stars and beads, the truth was within two of the
        jackknife's errors in 81 % of the pixels, and of both in 95 %.)
        """
        each = np.stack([sampled(self.solve(tau, fold)) for fold in range(self.folds)])
        smoothing = sampled(self.solve(tau / SMOOTHER)) - sampled(self.solve(tau))
        return np.asarray(np.sqrt((self.folds - 1) * each.var(axis=0) + smoothing**2))


def _penalty(grid: SampleGrid, level: np.ndarray) -> Any:
    """Squares of second differences, over those of the level, as a matrix."""
    import scipy.sparse  # not for everyone who imports fastdeblur

    count = grid.count
    one = scipy.sparse.eye_array(count)
    ones = np.ones(count - 1)
    first = scipy.sparse.diags_array([-ones, ones], offsets=(0, 1), shape=(count - 1, count))
    second = scipy.sparse.diags_array([ones[1:], -2 * ones[1:], ones[1:]], offsets=(0, 1, 2), shape=(count - 2, count))
    corners = (level[1:, 1:] + level[:-1, 1:] + level[1:, :-1] + level[:-1, :-1]) / 4
    total = scipy.sparse.diags_array(np.full(count**2, 1e-8 / level.max() ** 2))
    for difference, at, times in (
        (scipy.sparse.kron(second, one), level[1:-1], 1.0),
        (scipy.sparse.kron(one, second), level[:, 1:-1], 1.0),
        (scipy.sparse.kron(first, first), corners, 2.0),
    ):
        total = total + difference.T @ scipy.sparse.diags_array(times / at.ravel() ** 2) @ difference
    return total.tocsr()


def level_of(grid: SampleGrid, coefficients: np.ndarray) -> np.ndarray:
    """What E's second differences are measured by: its largest value nearby, for its edges may be sharp."""
    import scipy.ndimage  # not for everyone who imports fastdeblur

    around = 2 * round(1 / grid.step) + 1
    level = scipy.ndimage.maximum_filter(coefficients, around, mode="nearest")
    level = scipy.ndimage.uniform_filter(level, around, mode="nearest")
    return np.asarray(np.maximum(level, FLOOR * coefficients.max()))
