"""Width of a Gaussian or Moffat psf by the steps of an image, and by its spectrum's shape, as photographs taught it.

A step that was blurred by a Gaussian of deviation s has, after a derivative of a Gaussian of deviation t, a gradient
in proportion to ``(s² + t²)^-½``: two scales give s, whatever the step's height [1]_, and three pairs of scales agree
where it is one.  Some of a photograph's steps are sharp, so the lower quantiles of s are near the psf's.  How near, and
what the power spectrum adds, a small network learned from blurred photographs.  All it sees is in units of a scale, and
it is asked at several: what it learned of one width holds for all.

References
----------
.. [1] S. Zhuo and T. Sim, "Defocus map estimation from a single image", Pattern Recognition 44, 2011.
"""

from __future__ import annotations

import functools
import math
from importlib import resources
from typing import NamedTuple

import numpy as np

from ..kernels.runtime import forks
from .spectra import Spectrum

WEIGHTS = "widths.npz"
# Standard deviations that widths are compared to; filters of half to twice each.
LEVELS = 0.6 * 2 ** (np.arange(8) / 2)
SCALES = 0.6 * 2 ** (np.arange(-2, 10) / 2)
MIDDLE, FILTERS = 2, 5
PAIRS = ((0, 2), (1, 3), (2, 4))
# Logarithms of the widths by pairs of a step's scales differ by less, and so far from the level's they are looked at.
AGREE, NEAR = 0.15, 1.0
# Gradients of steps: so many times the noise's, such a share of the strongest, and so sure a width's logarithm.
SURE, SHARE, DOUBT = 8.0, 0.15, 0.15
FEWEST = 20
QUANTILES = np.array([0.03, 0.07, 0.15, 0.25, 0.35, 0.5, 0.65, 0.8])
# Frequencies of the spectrum's shape, in units of one over the level, and that which others are compared to.
FREQUENCIES = np.array([0.2, 0.3, 0.45, 0.65, 0.9, 1.2, 1.6, 2.1])
REFERENCE = 0.45
RINGS = np.linspace(math.log(0.08), math.log(4.4), 28)
# Pixels at the border that are left out.
BORDER = 8
# Frequencies of white noise alone.
HIGH = 2.5
# Of larger images parts of so many pixels a side are looked at.
WHOLE, PART, PARTS = 1200, 512, 2
# How far from its level a prediction may be to count.
FAR = 0.7
# One over the least exponent of the Moffat profiles that were learned from.
FLATTEST = 1 / 1.6
FWHM = 2 * math.sqrt(2 * math.log(2))


class Predicted(NamedTuple):
    """The logarithm of a psf's full width at half maximum, and its standard deviation."""

    mean: float
    deviation: float


class Widths:
    """What an image's steps and the shape of its spectrum say of the width of a round psf.

    Parameters
    ----------
    plane : ndarray, shape (rows, cols)
        The image; pixels where `whole` is False are missing.
    whole : ndarray of bool or None
    range_ : float
        The image's range.
    spectrum : Spectrum
        The mean periodogram of its tiles, in units of the square of the range.
    """

    def __init__(self, plane: np.ndarray, whole: np.ndarray | None, range_: float, spectrum: Spectrum):
        high = spectrum.log_radius > math.log(HIGH)
        noise = math.sqrt(float(spectrum.observed[high].mean()))
        log_radius, log_power = _rings(spectrum)
        found: list[list[tuple[np.ndarray, ...]]] = [[] for _ in LEVELS]
        pixels = 0
        for part in _parts(plane.shape):
            sharp = np.ones((1, 1), bool) if whole is None else whole[part]
            if not sharp.any():
                continue
            values = plane[part] / range_
            values = (values if whole is None else np.where(sharp, values, values[sharp].mean())).astype(np.float32)
            pixels += values.size
            gradients = _gradients(values)
            for k in range(len(LEVELS)):
                found[k].append(_steps(gradients, k, noise, None if whole is None else sharp))
        levels, features = [], []
        for k, level in enumerate(LEVELS.tolist()):
            if not found[k]:
                continue
            widths, heights, doubts, peaks = (np.concatenate(each) for each in zip(*found[k], strict=True))
            if len(widths) < FEWEST:
                continue
            order = np.argsort(widths, kind="stable")
            shares = np.cumsum(heights[order] ** 2)
            at = np.searchsorted(shares, QUANTILES * shares[-1]).clip(max=len(order) - 1)
            shape = np.interp(np.log(FREQUENCIES / level), log_radius, log_power)
            shape -= np.interp(math.log(REFERENCE / level), log_radius, log_power)
            doubt = float(np.average(doubts, weights=heights**2))
            others = [len(widths) / peaks.sum(), len(widths) * level / pixels, doubt + 1e-3]
            levels.append(math.log(level))
            features.append(np.concatenate([widths[order][at], np.log(others), shape]))
        self.levels, self.features = np.array(levels), np.array(features)

    def predicted(self, flat: float) -> Predicted | None:
        """The width of a Moffat profile whose exponent is one over `flat`, of a Gaussian for 0; None: nothing is known.

        Parameters
        ----------
        flat : float
            0 to `FLATTEST`.
        """
        if not len(self.levels):
            return None
        table = _table()
        values = np.column_stack([self.features, np.full(len(self.features), flat)])
        values = (values - table["mean"]) / table["deviation"]
        # Far from all that was learned from, less is known.
        strange = np.einsum("ij,jk,ik->i", values, table["precision"], values) / float(table["usual"])
        moves, deviations = np.zeros((2, len(values)))
        networks = len(table["first"])
        for k in range(networks):
            hidden = values.clip(-5, 5)
            for name in ("first", "second"):
                weights = table[name][k].astype(np.float64)
                hidden = np.tanh(np.einsum("ij,kj->ik", hidden, weights[:, :-1]) + weights[:, -1])
            last = table["last"][k].astype(np.float64)
            out = np.einsum("ij,kj->ik", hidden, last[:, :-1]) + last[:, -1]
            moves += out[:, 0] / networks
            deviations += np.exp(out[:, 1].clip(-4, 1)) / networks
        deviations *= np.sqrt(np.maximum(strange, 1))
        counts = np.maximum(1 - np.abs(moves) / FAR, 0) ** 2 / deviations**2 + 1e-9
        counts /= counts.sum()
        mean = float((counts * (self.levels + moves)).sum())
        spread = float((counts * (self.levels + moves - mean) ** 2).sum())
        return Predicted(mean + math.log(FWHM), math.sqrt(float((counts * deviations).sum()) ** 2 + spread))


@functools.cache
def _table() -> dict[str, np.ndarray]:
    """The network's weights, and the mean, scale and spread of what it learned from."""
    with resources.files(__package__).joinpath(WEIGHTS).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def _parts(shape: tuple[int, ...]) -> list[tuple[slice, slice]]:
    """The image, or some parts of a large one."""
    parts = []
    for size in shape:
        starts = np.linspace(0, size - PART, PARTS + 2)[1:-1].round().astype(int).tolist() if size > WHOLE else []
        parts.append([slice(start, start + PART) for start in starts] or [slice(0, size)])
    return [(down, across) for down in parts[0] for across in parts[1]]


def _gradients(values: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Derivatives downwards and across of the image, smoothed by Gaussians of all scales."""
    import scipy.fft  # not for everyone who imports fastdeblur

    margin = math.ceil(2 * SCALES[-1])
    padded = np.pad(values, margin, "symmetric")
    shape = [scipy.fft.next_fast_len(size, real=True) for size in padded.shape]
    with forks.unforked():
        transformed = scipy.fft.rfft2(padded - padded.mean(dtype=np.float64).astype(np.float32), shape)
    down, across = 2 * np.pi * scipy.fft.fftfreq(shape[0])[:, None], 2 * np.pi * scipy.fft.rfftfreq(shape[1])[None]
    inner = tuple(slice(margin, margin + size) for size in values.shape)
    out = []
    for scale in SCALES.tolist():
        smooth = [np.exp(-0.5 * (scale * each) ** 2).astype(np.float32) for each in (down, across)]
        smoothed = transformed * smooth[0] * smooth[1]
        with forks.unforked():
            both = [scipy.fft.irfft2(smoothed * (1j * each).astype(np.complex64), shape) for each in (down, across)]
        out.append((both[0][inner], both[1][inner]))
    return out


def _noise_gradient(scale: float) -> float:
    """The standard deviation of one component of white noise's gradient at a scale."""
    frequency = 2 * np.pi * np.fft.fftfreq(64)
    passed = np.exp(-((scale * frequency) ** 2))
    return math.sqrt(float((frequency**2 * passed).mean() * passed.mean()))


def _steps(
    gradients: list[tuple[np.ndarray, np.ndarray]], level: int, noise: float, whole: np.ndarray | None
) -> tuple[np.ndarray, ...]:
    """Steps about as wide as a level: logarithms of their widths, in its units, gradients and doubts; and of how many.

    A step is where the gradient of the middle scale is highest across it, far above the noise, and the widths by
    pairs of scales agree.
    """
    scales = SCALES[level : level + FILTERS]
    down, across = gradients[level + MIDDLE]
    size = np.hypot(down, across)
    noises = [noise * _noise_gradient(scale) for scale in scales.tolist()]
    border = BORDER
    inner = (slice(border, -border), slice(border, -border))
    some = np.zeros(size.shape, bool)
    some[inner] = size[inner] > max(SURE * noises[MIDDLE], SHARE * float(np.quantile(size[inner], 0.995)))
    if whole is not None:
        import scipy.ndimage  # not for everyone who imports fastdeblur

        some &= scipy.ndimage.minimum_filter(whole, 2 * math.ceil(2 * scales[-1]) + 1)
    rows, cols = np.nonzero(some)
    here = size[rows, cols].astype(np.float64)
    unit = down[rows, cols] / here, across[rows, cols] / here

    def beside(sign: int) -> np.ndarray:
        """The gradient a pixel further along its direction, between pixels."""
        row, col = rows + sign * unit[0], cols + sign * unit[1]
        top, left = np.floor(row).astype(np.intp), np.floor(col).astype(np.intp)
        row, col = row - top, col - left
        upper = (1 - col) * size[top, left] + col * size[top, left + 1]
        lower = (1 - col) * size[top + 1, left] + col * size[top + 1, left + 1]
        return np.asarray((1 - row) * upper + row * lower)

    highest = (here >= beside(1)) & (here >= beside(-1))
    rows, cols = rows[highest], cols[highest]
    unit = unit[0][highest], unit[1][highest]
    along = [a[rows, cols] * unit[0] + b[rows, cols] * unit[1] for a, b in gradients[level : level + FILTERS]]
    along = [np.maximum(each, 1e-9) for each in along]
    least, middle = 1e-4 * LEVELS[level] ** 2, 1
    logs, doubts = [], []
    for a, b in PAIRS:
        ratio = (along[a] / along[b]) ** 2
        fall = np.maximum(ratio - 1, 1e-6)
        square = np.maximum((scales[b] ** 2 - ratio * scales[a] ** 2) / fall, least)
        logs.append(0.5 * np.log(square))
        slope = np.abs((square + scales[a] ** 2) * ratio / fall) / square
        doubts.append(slope * np.hypot(noises[a] / along[a], noises[b] / along[b]))
    widths = np.array(logs) - math.log(LEVELS[level])
    good = (np.ptp(widths, axis=0) < AGREE) & (np.abs(widths[middle]) < NEAR) & (doubts[middle] < DOUBT)
    return widths.mean(axis=0)[good], along[MIDDLE][good], doubts[middle][good], np.array([len(rows)])


def _rings(spectrum: Spectrum) -> tuple[np.ndarray, np.ndarray]:
    """The logarithms of frequency and of power in rings."""
    ring = np.digitize(spectrum.log_radius, RINGS)
    count, radius, power = (
        np.bincount(ring, weights, len(RINGS) + 1)[1:-1] for weights in (None, spectrum.log_radius, spectrum.observed)
    )
    some = count > 0
    return radius[some] / count[some], np.log(power[some] / count[some])
