"""Likelihood of an image's power spectrum under a psf, with the spectra of the sharp image and the noise fitted.

The mean periodogram of windowed tiles has at the frequency q (in radians a pixel) about the power
``|h(q)|² S(q) + N(q)`` [1]_, as the window shows it.  The logarithm of S is a mean curve of photographs plus a few
components by which they differ, each with its variance, and a dependence on direction; that of N changes little from
knot to knot.

References
----------
.. [1] P. Whittle, "Estimation and information in stationary time series", Arkiv för Matematik 2, 1953.
"""

from __future__ import annotations

import math

import numpy as np

from ..kernels.runtime import forks
from ..operators.boundary import reduced
from ..problem.spectrum import LEAST_NOISE
from ..problem.windows import windowed_power

# Frequencies between which log S is linear; its median over photographs, and their principal components, each times
# its standard deviation.  (Of 400 crops of 180x180 pixels, and ten of scikit-image's photographs, each counted eight
# times.)
KNOTS = np.log([0.06, 0.1, 0.17, 0.28, 0.45, 0.7, 1.0, 1.4, 1.9, 2.5, 3.2, 4.44])
MEAN = np.array([5.88, 4.64, 3.27, 2.03, 0.89, -0.15, -0.99, -1.78, -2.51, -3.44, -4.53, -6.62])
COMPONENTS = np.array([
    [1.782, 1.197, 0.555, 0.351, 0.093, -0.071, -0.142, -0.232, -0.260, -0.294, -0.292, -0.313],
    [-0.535, -0.217, 0.195, 0.185, 0.207, 0.091, -0.108, -0.361, -0.579, -0.751, -0.870, -0.971],
    [-0.297, 0.152, 0.536, 0.248, 0.080, -0.039, -0.123, -0.155, -0.144, -0.073, 0.064, 0.454],
    [0.149, -0.128, -0.312, -0.030, 0.003, 0.062, 0.042, -0.078, -0.220, -0.301, -0.164, 0.419],
    [0.009, -0.041, -0.148, 0.272, 0.000, -0.051, -0.095, -0.124, -0.040, 0.046, 0.130, -0.050],
    [-0.011, -0.003, 0.005, 0.123, -0.161, -0.100, 0.019, 0.112, 0.100, -0.048, -0.114, 0.024],
])  # fmt: skip
# Standard deviations of log S by direction: of cos 2t, sin 2t, cos 4t, sin 4t, and of each times the centred log q.
DIRECTIONS = np.array([0.8, 0.5, 0.5, 0.3, 0.5, 0.4, 0.3, 0.25])
# Knots of the noise's logarithm, and by how much it changes from knot to knot: hardly, or much, as after JPEG.
NOISE_KNOTS = np.log([0.3, 0.7, 1.2, 1.8, 2.5, 3.3, 4.44])
WHITE, COLOURED = 0.2, 1.0
# Standard deviation of what direction adds to it, as cos 2t and cos 4t: JPEG's does.
NOISE_DIRECTIONS = 0.2
# By how much the power of a cell of frequencies differs from any such model, whatever their number.
MISFIT = 0.2
# Classes of frequencies: rings in log q, sectors of half a turn, and steps of |h|² a decade.
RING, SECTORS, STEPS, DECADES = 0.15, 12, 3, 7
# Lowest frequencies, in units of those of a tile, which the window blurs too much.
LEAST = 3.0
# Classes whose products are summed at once.
ROWS = 256
# Most rounds of Fisher scoring, and the change of the objective at which they end; and for a first look.
THOROUGH, QUICK = (25, 3e-3), (6, 0.3)


class Spectrum:
    """The mean periodogram of an image's tiles, over the frequencies that are used.

    Parameters
    ----------
    power : ndarray, shape (rows, cols // 2 + 1)
        Mean periodogram in units of the square of the image's range.
    tile : (int, int)
        Shape of the tiles.
    pixels : int
        How many pixels the tiles cover.

    Attributes
    ----------
    used, times, log_radius, observed : ndarray
        Which frequencies, and of these how much each counts, log q, and the power.
    independent : float
        Half of how many independent values are behind each frequency's power.
    coloured : bool
        Whether the noise's spectrum may fall.
    """

    def __init__(self, power: np.ndarray, tile: tuple[int, int], pixels: int):
        rows, cols = self.tile = tile
        down = 2 * np.pi * np.fft.fftfreq(rows)[:, None]
        across = 2 * np.pi * np.fft.rfftfreq(cols)[None, :]
        radius = np.hypot(down, across)
        times = np.full(radius.shape, 2.0)
        times[:, 0] = 1
        if cols % 2 == 0:
            times[:, -1] = 1
        self.used = radius >= LEAST * 2 * np.pi / min(tile)
        self.times, self.observed = times[self.used], power[self.used] + LEAST_NOISE**2
        self.log_radius = np.log(radius[self.used])
        # Direction as one sees the image.
        angle = np.arctan2(-down, across + 0 * down)[self.used] % np.pi
        sector = np.minimum((angle * (SECTORS / np.pi)).astype(np.intp), SECTORS - 1)
        ring = ((self.log_radius - self.log_radius.min()) / RING).astype(np.intp)
        self.cell = ring * SECTORS + sector
        self.cells, self.sector = int(self.cell.max()) + 1, sector
        self.independent = 0.5 * pixels / (rows * cols)
        count = np.bincount(self.cell, self.times, self.cells)
        sure = 1 / (1 + 2 * self.independent * count * MISFIT**2)
        self.cell_count = count * sure
        self.times = self.times * sure[self.cell]
        self.sums = [self.times, self.times * self.log_radius, self.times * self.observed]
        self.coloured = False
        # What direction adds to log S and log N, by cell and by sector.
        ring, sector = np.divmod(np.arange(self.cells), SECTORS)
        middle = (np.arange(SECTORS) + 0.5) * (np.pi / SECTORS)
        self.signal_directions = _signal_basis(self.log_radius.min() + (ring + 0.5) * RING, middle[sector])[
            :, 1 + len(COMPONENTS) :
        ]
        self.noise_directions = _noise_directions(middle)

    def response(self, psf: np.ndarray) -> np.ndarray:
        """|h|² at the frequencies that are used, as the window shows it."""
        with forks.unforked():
            coefficients = np.fft.rfft2(reduced(psf.astype(np.float64), self.tile, "wrap"), self.tile)
        passed: np.ndarray = windowed_power(coefficients.real**2 + coefficients.imag**2, self.tile[1])[self.used]
        return passed


class Fit:
    """Spectra of the sharp image and the noise that make a spectrum likeliest under a psf's response.

    Attributes
    ----------
    evidence : float
        Logarithm of the marginal likelihood, up to a constant that is the same for all psfs.
    unknowns : ndarray
        Level of log S, factors of its components and of directions, and the noise's logarithm at its knots.
    """

    def __init__(
        self,
        spectrum: Spectrum,
        response: np.ndarray,
        dispersion: float,
        start: np.ndarray | None = None,
        rounds: tuple[int, float] = THOROUGH,
    ):
        self._rounds = rounds
        self._spectrum, self._response = spectrum, response
        step = np.clip(-STEPS * np.log10(np.maximum(response, 1e-30)), 0, STEPS * DECADES - 1).astype(np.intp)
        index = spectrum.cell * (STEPS * DECADES) + step
        size = spectrum.cells * STEPS * DECADES
        count = np.bincount(index, spectrum.times, size)
        some = np.flatnonzero(count)
        count = count[some]
        log_radius, power = (np.bincount(index, each, size)[some] / count for each in spectrum.sums[1:])
        passed = np.bincount(index, spectrum.times * response, size)[some] / count
        angle = (some // (STEPS * DECADES) % SECTORS + 0.5) * (np.pi / SECTORS)
        signal_basis, noise_basis = _signal_basis(log_radius, angle), _noise_basis(log_radius, angle)
        mean = np.interp(log_radius, KNOTS, MEAN)
        weight = count * (spectrum.independent / dispersion)
        self._solve(weight, power, np.maximum(passed, 1e-12), mean, signal_basis, noise_basis, start)
        self.evidence = self._log_evidence(dispersion)

    def _solve(
        self,
        weight: np.ndarray,
        power: np.ndarray,
        passed: np.ndarray,
        mean: np.ndarray,
        signal_basis: np.ndarray,
        noise_basis: np.ndarray,
        start: np.ndarray | None,
    ) -> None:
        signals, log_passed = signal_basis.shape[1], np.log(passed) + mean
        # Products of few rows at a time, and sums by einsum, have the same bits for any number of BLAS threads.
        slopes = np.zeros((-(-len(power) // ROWS) * ROWS, signals + noise_basis.shape[1]))
        stacked = slopes.reshape(-1, ROWS, slopes.shape[1])
        weights = np.zeros((len(stacked), ROWS, 1))
        weights.ravel()[: len(power)] = weight
        precision = _PRECISIONS[self._spectrum.coloured]
        if start is None:
            start = np.zeros(len(precision))
            bright = passed > 0.3 if (passed > 0.3).any() else passed >= 0.3 * passed.max()
            start[0] = np.average((np.log(power) - log_passed)[bright], weights=weight[bright])
            start[signals : signals + len(NOISE_KNOTS)] = math.log(np.quantile(power, 0.05))

        def at(unknowns: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
            """The objective, and the powers of signal and noise."""
            logs = np.concatenate([
                log_passed + np.einsum("ij,j", signal_basis, unknowns[:signals]),
                np.einsum("ij,j", noise_basis, unknowns[signals:]),
            ])  # fmt: skip
            both = np.exp(np.minimum(np.maximum(logs, -80), 80))
            signal, noise = both[: len(power)], both[len(power) :]
            variance = signal + noise
            value = (weight * (np.log(variance) + power / variance)).sum() + 0.5 * unknowns @ precision @ unknowns
            return float(value), signal, noise

        unknowns, damping = start, 1e-3
        last, signal, noise = at(unknowns)
        for _ in range(self._rounds[0]):
            variance = signal + noise
            slopes[: len(power), :signals] = signal_basis * (signal / variance)[:, None]
            slopes[: len(power), signals:] = noise_basis * (noise / variance)[:, None]
            curvature = ((stacked * weights).transpose(0, 2, 1) @ stacked).sum(axis=0) + precision
            gradient = np.einsum("ij,i", slopes[: len(power)], weight * (power / variance - 1)) - precision @ unknowns
            diagonal = np.diag(curvature) + 1e-9
            while damping < 1e4:
                move = np.linalg.solve(curvature + np.diag(damping * diagonal), gradient)
                new = unknowns + np.minimum(np.maximum(move, -3), 3)
                value, new_signal, new_noise = at(new)
                if value < last:
                    break
                damping *= 6
            else:
                break
            done = last - value < self._rounds[1]
            unknowns, last, signal, noise, damping = new, value, new_signal, new_noise, max(damping / 6, 1e-6)
            if done:
                break
        self.unknowns = unknowns
        self._prior = 0.5 * float(unknowns @ precision @ unknowns)
        self._log_determinant = float(np.linalg.slogdet(curvature + 1e-9 * np.eye(len(curvature)))[1])
        self._signals = signals

    def spectra(self) -> tuple[np.ndarray, np.ndarray]:
        """Powers of the blurred signal and of the noise at all frequencies that are used."""
        spectrum = self._spectrum
        knots = self.unknowns[1 : 1 + len(COMPONENTS)] @ COMPONENTS + MEAN + self.unknowns[0]
        log_signal = np.interp(spectrum.log_radius, KNOTS, knots)
        log_signal += (spectrum.signal_directions @ self.unknowns[1 + len(COMPONENTS) : self._signals])[spectrum.cell]
        at_knots, around = np.split(self.unknowns[self._signals :], [len(NOISE_KNOTS)])
        log_noise = np.interp(spectrum.log_radius, NOISE_KNOTS, at_knots)
        log_noise += (spectrum.noise_directions @ around)[spectrum.sector]
        return np.maximum(self._response, 1e-12) * np.exp(log_signal), np.exp(log_noise)

    def rings(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Means over rings of frequencies: the radius, the image's power, and the fitted signal's and noise's."""
        spectrum = self._spectrum
        ring = spectrum.cell // SECTORS
        count = np.bincount(ring, spectrum.times)
        some = count > 0
        values = (np.exp(spectrum.log_radius), spectrum.observed, *self.spectra())
        radius, observed, signal, noise = (
            np.bincount(ring, spectrum.times * each)[some] / count[some] for each in values
        )
        return radius, observed, signal, noise

    def _log_evidence(self, dispersion: float) -> float:
        spectrum = self._spectrum
        variance = np.add(*self.spectra())
        terms = np.log(variance) + spectrum.observed / variance
        likelihood = float((spectrum.times * terms).sum()) * spectrum.independent / dispersion
        return -likelihood - self._prior - 0.5 * self._log_determinant + _NORMALISED[spectrum.coloured]

    def dispersion(self) -> float:
        """By how many times cells of frequencies differ more from the model than independent values would."""
        spectrum = self._spectrum
        ratio = np.bincount(spectrum.cell, spectrum.times * spectrum.observed / np.add(*self.spectra()), spectrum.cells)
        some = spectrum.cell_count > 0
        count = spectrum.cell_count[some]
        squares = (ratio[some] / count - 1) ** 2 * (2 * spectrum.independent * count)
        return float(np.average(np.minimum(squares, 9 * np.median(squares)), weights=np.sqrt(count)))


def _hats(at: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """What interpolates linearly between knots."""
    place = np.interp(at, knots, np.arange(len(knots)))
    return np.asarray(np.maximum(1 - np.abs(place[..., None] - np.arange(len(knots))), 0))


def _noise_basis(log_radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """What adds to log N: values at its knots, and terms of direction."""
    return np.concatenate([_hats(log_radius, NOISE_KNOTS), _noise_directions(angle)], axis=1)


def _noise_directions(angle: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(2 * angle), np.cos(4 * angle)], axis=-1)


def _signal_basis(log_radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """What adds to the mean of log S: its level, components, and terms of direction."""
    out = np.empty((*np.shape(log_radius), 1 + len(COMPONENTS) + 8))
    out[..., 0] = 1
    for k, component in enumerate(COMPONENTS):
        out[..., 1 + k] = np.interp(log_radius, KNOTS, component)
    terms = out[..., 1 + len(COMPONENTS) :]
    for k, term in enumerate((np.cos(2 * angle), np.sin(2 * angle), np.cos(4 * angle), np.sin(4 * angle))):
        terms[..., k], terms[..., 4 + k] = term, term * log_radius
    return out


def _precision(step: float) -> np.ndarray:
    """The prior's inverse covariance: levels are free."""
    knots = len(NOISE_KNOTS)
    sure = np.concatenate(
        [[0.0], np.ones(len(COMPONENTS)), DIRECTIONS**-2, np.zeros(knots), [NOISE_DIRECTIONS**-2] * 2]
    )
    out = np.diag(sure)
    steps = np.diff(np.eye(knots), axis=0) / step
    out[-knots - 2 : -2, -knots - 2 : -2] = steps.T @ steps
    return out


_PRECISIONS = (_precision(WHITE), _precision(COLOURED))
# Logarithms of the noise's priors' norms.
_NORMALISED = tuple(-(len(NOISE_KNOTS) - 1) * math.log(step) for step in (WHITE, COLOURED))
