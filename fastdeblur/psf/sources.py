"""Detection of point sources: background and noise by blocks, a filter matched to the typical point, local maxima."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

# Side of the blocks whose medians are the background, in pixels.
BLOCK = 64
# A source stands out of the smoothed image's noise by this factor.
DETECTED = 5.0
# The first smoothing, in pixels: a standard deviation.
FIRST = 1.0
# What is nearer to a source than so many typical widths, with less than this share of its flux, is a part of it.
PART_REACH, PART = 8.0, 0.03
# A pixel with more than this share of the light of the 3 x 3 around is a hot one, or a cosmic ray.
HOT = 0.85


@dataclass(frozen=True)
class Sources:
    """Point sources of an image.

    Attributes
    ----------
    places : ndarray, shape (n, 2)
        Rows and columns to a fraction of a pixel, the brightest first.
    fluxes : ndarray, shape (n,)
        About how bright.
    light, noise : ndarray
        The image less its background, 0 where pixels are missing, and the standard deviation of its noise.
    sigma : float
        Root mean square distance along one axis of a typical point's light from its middle.
    """

    places: np.ndarray
    fluxes: np.ndarray
    light: np.ndarray
    noise: np.ndarray
    sigma: float


def sources(image: np.ndarray, missing: np.ndarray, saturation: float) -> Sources:
    """Find point sources in an image of float64 whose missing pixels are NaN."""
    import scipy.ndimage  # not for everyone who imports fastdeblur

    background, noise = _background(image, missing)
    light = np.where(missing, 0.0, image - background)
    known = (~missing).astype(np.float64)
    around = np.ones((3, 3))
    smooth, level = _smoothed(light, known, noise, FIRST)
    parts, count = scipy.ndimage.label(smooth > DETECTED * level, around)
    sigma = _typical_sigma(light, image, parts, count, saturation)
    smooth, level = _smoothed(light, known, noise, sigma)
    reach = 2 * max(round(2 * sigma), 1) + 1
    above = (smooth > DETECTED * level) & (smooth == scipy.ndimage.maximum_filter(smooth, reach, mode="nearest"))
    labels, count = scipy.ndimage.label(above, around)
    if not count:
        return Sources(np.zeros((0, 2)), np.zeros(0), light, noise, sigma)
    peaks = np.rint(np.atleast_2d(scipy.ndimage.center_of_mass(above, labels, np.arange(1, count + 1)))).astype(np.intp)
    # Of a Gaussian point smoothed by its own width, the peak is the flux over 8 pi sigma squared.
    fluxes = smooth[tuple(peaks.T)] * 4 * math.pi * (sigma**2 + sigma**2)
    order = np.argsort(-fluxes, kind="stable")
    hot = _share_of_peak(light, peaks[order]) > HOT
    places = np.array([centroid(light, peak, sigma) for peak in peaks[order][~hot]]).reshape(-1, 2)
    alone = _no_part_of_another(places, fluxes[order][~hot], sigma)
    return Sources(places[alone], fluxes[order][~hot][alone], light, noise, sigma)


def _no_part_of_another(places: np.ndarray, fluxes: np.ndarray, sigma: float) -> np.ndarray:
    """Which sources, in order of their fluxes, are no ring or spike of a much brighter one nearby."""
    import scipy.spatial  # not for everyone who imports fastdeblur

    alone = np.ones(len(places), bool)
    if len(places) > 1:
        for i, j in scipy.spatial.cKDTree(places).query_pairs(PART_REACH * sigma, output_type="ndarray"):
            faint = max(i, j)
            alone[faint] &= fluxes[faint] > PART * fluxes[min(i, j)]
    return alone


def centroid(light: np.ndarray, peak: np.ndarray, sigma: float) -> np.ndarray:
    """The centroid of light under a Gaussian window that moves with it."""
    place, reach = peak.astype(np.float64), max(math.ceil(2.5 * sigma), 1)
    for _ in range(4):
        row, col = np.clip(np.rint(place).astype(np.intp), 0, np.array(light.shape) - 1)
        rows, cols = (
            np.arange(max(at - reach, 0), min(at + reach + 1, size))
            for at, size in zip((row, col), light.shape, strict=True)
        )
        down, across = rows - place[0], cols - place[1]
        window = np.exp(-0.5 * (down[:, None] ** 2 + across**2) / max(sigma, 0.5) ** 2)
        weights = window * np.maximum(light[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1], 0)
        total = weights.sum()
        if not total > 0:
            return peak.astype(np.float64)
        step = 2 * np.array([weights.sum(axis=1) @ down, weights.sum(axis=0) @ across]) / total
        place = place + np.clip(step, -1, 1)
    return place if np.abs(place - peak).max() <= 2 * sigma + 1 else peak.astype(np.float64)


def _background(image: np.ndarray, missing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Background and noise: clipped medians of blocks, linear between their middles."""
    import scipy.ndimage  # not for everyone who imports fastdeblur

    counts = [max(round(size / BLOCK), 1) for size in image.shape]
    edges = [np.linspace(0, size, count + 1).astype(int) for size, count in zip(image.shape, counts, strict=True)]
    levels, noises = np.full((2, *counts), np.nan)
    for i in range(counts[0]):
        for j in range(counts[1]):
            block = (slice(edges[0][i], edges[0][i + 1]), slice(edges[1][j], edges[1][j + 1]))
            values = image[block][~missing[block]]
            if values.size:
                levels[i, j], noises[i, j] = clipped(values)
    middle = [np.nanmedian(table) for table in (levels, noises)]
    tables = [np.where(np.isnan(table), value, table) for table, value in zip((levels, noises), middle, strict=True)]
    # Blocks that points fill are like those around, but for a slope of all.
    slope = _plane_through(tables[0])
    tables = [slope + scipy.ndimage.median_filter(tables[0] - slope, 3, mode="nearest"),
              scipy.ndimage.median_filter(tables[1], 3, mode="nearest")]  # fmt: skip
    places = [(np.arange(size) + 0.5) * count / size - 0.5 for size, count in zip(image.shape, counts, strict=True)]
    grid = np.meshgrid(*places, indexing="ij")
    # Beyond the middles of the outermost blocks it goes on as between the last two.
    tables[0] = np.pad(tables[0], 1, mode="reflect", reflect_type="odd") if min(counts) > 1 else np.pad(
        tables[0], 1, mode="edge")  # fmt: skip
    level = scipy.ndimage.map_coordinates(tables[0], [at + 1 for at in grid], order=1, mode="nearest")
    noise = scipy.ndimage.map_coordinates(tables[1], grid, order=1, mode="nearest")
    largest = [float(np.abs(image[~missing] - away).max(initial=0.0)) for away in (middle[0], 0.0)]
    least = 1e-6 * largest[0] + 1e-12 * largest[1] + np.finfo(np.float64).tiny
    return level, np.maximum(noise, least)


def _plane_through(table: np.ndarray) -> np.ndarray:
    """A plane through most of a table's values."""
    rows, cols = np.indices(table.shape)
    design = np.stack([np.ones(table.size), rows.ravel(), cols.ravel()], axis=1)
    values, weights = table.ravel(), np.ones(table.size)
    for _ in range(10):
        plane = design @ np.linalg.lstsq(design * weights[:, None], values * weights, rcond=None)[0]
        left = np.abs(values - plane)
        weights = 1 / np.sqrt(left + 1e-3 * left.mean() + np.finfo(np.float64).tiny)
    return np.asarray(plane.reshape(table.shape))


def clipped(values: np.ndarray) -> tuple[float, float]:
    """Median and standard deviation of numbers of which some are much larger (or smaller) than most."""
    for _ in range(5):
        middle = float(np.median(values))
        deviation = 1.4826 * float(np.median(np.abs(values - middle)))
        inner = np.abs(values - middle) <= 3 * deviation
        if deviation == 0 or inner.all():
            break
        values = values[inner]
    return middle, deviation


def _smoothed(light: np.ndarray, known: np.ndarray, noise: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """The image smoothed by a Gaussian, and the noise that is left (more than white noise's, if it is correlated)."""
    import scipy.ndimage  # not for everyone who imports fastdeblur

    smooth, share = (scipy.ndimage.gaussian_filter(each, sigma, mode="constant") for each in (light, known))
    smooth = np.where(share > 0.3, smooth / np.maximum(share, 0.3), 0.0)
    left = noise / math.sqrt(4 * math.pi * sigma**2 + 1)
    _, deviation = clipped((smooth / left).ravel())
    return smooth, left * max(deviation, 1.0)


def _typical_sigma(light: np.ndarray, image: np.ndarray, parts: np.ndarray, count: int, saturation: float) -> float:
    """The width of the brighter half of regions that are neither saturated nor a few pixels."""
    import scipy.ndimage  # not for everyone who imports fastdeblur

    index = np.arange(1, count + 1)
    if not count:
        return FIRST
    pixels = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    largest = scipy.ndimage.maximum(np.nan_to_num(image, nan=-np.inf), parts, index)
    places = np.array(scipy.ndimage.maximum_position(light, parts, index)).reshape(-1, 2)
    good = (pixels >= 4) & (np.atleast_1d(largest) < saturation) & (_share_of_peak(light, places) < HOT)
    if not good.any():
        return FIRST
    total = np.atleast_1d(scipy.ndimage.sum_labels(light, parts, index))
    good &= total >= np.median(total[good])
    rows, cols = np.indices(light.shape)
    squares = 0.0
    for at in (rows, cols):
        mean = np.atleast_1d(scipy.ndimage.sum_labels(light * at, parts, index)) / total
        square = np.atleast_1d(scipy.ndimage.sum_labels(light * at * at, parts, index)) / total
        squares = squares + np.maximum(square - mean**2, 0) / 2
    return float(max(np.sqrt(np.median(np.asarray(squares)[good])), 0.5))


def _share_of_peak(light: np.ndarray, places: np.ndarray) -> np.ndarray:
    """How much of the light of the 3 x 3 pixels around is their middle's."""
    padded = np.pad(light, 1)
    rows, cols = places[:, 0] + 1, places[:, 1] + 1
    total = sum(padded[rows + i, cols + j] for i in (-1, 0, 1) for j in (-1, 0, 1))
    return np.asarray(padded[rows, cols] / np.maximum(total, np.finfo(np.float64).tiny))
