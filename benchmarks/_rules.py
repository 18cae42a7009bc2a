"""Rules that take the weight of the gradient prior from an image and its psf: the package's, and those that it beat.

Each gives the ridge of the squares: ``mu`` with ``data="squares"`` and ``prior="gradient"``.

References
----------
.. [1] G. H. Golub, M. Heath, G. Wahba, "Generalized cross-validation as a method for choosing a good ridge parameter",
   Technometrics 21, 1979.
.. [2] M. A. Lukas, "Robust generalized cross-validation for choosing the regularization parameter", Inverse Problems
   22, 2006.
.. [3] Y.-J. Kim, C. Gu, "Smoothing spline Gaussian regression: more scalable computation via efficient approximation",
   Journal of the Royal Statistical Society B 66, 2004.
.. [4] M. S. C. Almeida, M. A. T. Figueiredo, "Parameter estimation for blind and non-blind deblurring using residual
   whiteness measures", IEEE Transactions on Image Processing 22, 2013.
.. [5] Y. Lin, B. Wohlberg, H. Guo, "UPRE method for total variation parameter selection", Signal Processing 90, 2010.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastdeblur.problem.regularization import WeightEstimate
from fastdeblur.problem.spectrum import RIDGES, Periodogram
from fastdeblur.problem.windows import Windowed, laplacian, psf_power

# Of robust cross-validation [2]_, and what a parameter counts in the modified one [3]_.
ROBUST, MODIFIED = 0.2, 1.4
# Lags of the residual's correlation, in pixels, and which of RIDGES are tried: each takes a transform.
LAGS, EVERY = 4, 4
# The exponent of the power spectrum of all photographs, in `power_law`.
EXPONENT = 2.2

Rule = Callable[[np.ndarray, np.ndarray], float]


def spectra(image: np.ndarray, psf: np.ndarray) -> float:
    """The package's: both spectra fitted, and the least expected error."""
    return WeightEstimate(image[None], [psf], None).ridge


def _scored(image: np.ndarray, psf: np.ndarray, score: Callable[[Periodogram, np.ndarray], np.ndarray]) -> float:
    seen = Periodogram(image[None], [psf])
    return float(RIDGES[np.argmin(score(seen, seen.left()))] * seen.scale)


def cross_validation(image: np.ndarray, psf: np.ndarray) -> float:
    """Generalised cross-validation [1]_."""
    return _scored(image, psf, _validation)


def _validation(seen: Periodogram, left: np.ndarray, counted: float = 1.0) -> np.ndarray:
    parameters = counted * ((1 - left) * seen.count).sum(axis=1) / seen.count.sum()
    score: np.ndarray = (left**2 * seen.power).sum(axis=1) / np.maximum(1 - parameters, 1e-12) ** 2
    return np.where(parameters < 1, score, np.inf)


def robust_validation(image: np.ndarray, psf: np.ndarray) -> float:
    """Robust generalised cross-validation [2]_."""

    def score(seen: Periodogram, left: np.ndarray) -> np.ndarray:
        stable = ((1 - left) ** 2 * seen.count).sum(axis=1) / seen.count.sum()
        return _validation(seen, left) * (ROBUST + (1 - ROBUST) * stable)

    return _scored(image, psf, score)


def modified_validation(image: np.ndarray, psf: np.ndarray) -> float:
    """Generalised cross-validation in which a parameter counts for more than one [3]_."""
    return _scored(image, psf, lambda seen, left: _validation(seen, left, MODIFIED))


def whiteness(image: np.ndarray, psf: np.ndarray) -> float:
    """The residual that is least correlated with itself, a few pixels on [4]_."""
    seen = Windowed(image[None], [psf])
    lags = np.r_[: LAGS + 1, -LAGS:0]
    scores, passed = [], psf_power(psf, image.shape, image, seen.scale)
    for ridge in RIDGES[::EVERY]:
        rough = ridge * seen.laplacian
        left = (rough / np.maximum(passed + rough, 1e-300)) ** 2 * seen.power[0] * (seen.times > 0)
        correlation = np.fft.irfft2(left, image.shape)
        near = correlation[np.ix_(lags, lags)] / max(correlation[0, 0], 1e-300)
        scores.append(float((near**2).sum()))
    return float(RIDGES[::EVERY][np.argmin(scores)] * seen.scale)


def power_law(image: np.ndarray, psf: np.ndarray) -> float:
    """A signal of c / q^2.2, c found where the blur passes, and as noise what the image has more, or less, than that.

    Among frequencies of about the same length q and the same response; where the blur passes, what there is more
    counts only as far as it is usual elsewhere.
    """
    seen = Windowed(image[None], [psf])
    response = psf_power(psf, image.shape, image, seen.scale)
    rows, cols = image.shape
    down, across = 2 * np.pi * np.fft.fftfreq(rows)[:, None], 2 * np.pi * np.fft.rfftfreq(cols)
    radius = np.hypot(down, across)
    inside = radius > 2.5 * 2 * np.pi / min(rows, cols)  # the others are the window's own
    radius, power, response = radius[inside], seen.power[0][inside], response[inside]
    rough, times = laplacian(rows, cols)[inside], seen.times[inside]
    passes = (response > 0.3) & (radius < 1.2)
    passes = passes if passes.any() else response >= 0.3 * response.max()
    # The mean of the logarithm of an exponential variable is less than that of its mean by Euler's constant.
    logs = np.log(power[passes] / response[passes] * radius[passes] ** EXPONENT) + np.euler_gamma
    signal = np.exp(np.average(logs, weights=times[passes])) * radius**-EXPONENT
    ring = np.digitize(np.log(radius), np.linspace(np.log(radius.min()), np.log(radius.max()), 24))
    classes = ring * 20 + np.digitize(np.log10(response + 1e-9), np.linspace(-6, 0, 13))
    count = np.bincount(classes, times, 600) + 1e-9
    found, expected = (
        (np.bincount(classes, times * values, 600) / count)[classes] for values in (power, response * signal)
    )
    noise = abs(found - expected)
    passes = response > 0.1
    usual = np.median(noise[~passes]) if (~passes).any() else np.quantile(found, 0.05)
    noise = np.where(passes & (found >= expected), np.minimum(noise, usual), noise)
    noise = np.maximum(noise, (1 / 255) ** 2 / 24)

    def risk(ridge: float) -> float:
        psf_power = response + ridge * rough
        errors = (ridge * rough / psf_power) ** 2 * signal + response / psf_power**2 * noise
        return float((times * errors).sum())

    return float(min(RIDGES, key=risk) * seen.scale)


def predictive_risk(image: np.ndarray, psf: np.ndarray) -> float:
    """The unbiased predictive risk estimate [5]_, of white noise as wavelets tell it."""
    from skimage.restoration import estimate_sigma

    variance = float(estimate_sigma(image)) ** 2

    def score(seen: Periodogram, left: np.ndarray) -> np.ndarray:
        risk: np.ndarray = (left**2 * seen.power).sum(axis=1) + 2 * variance * ((1 - left) * seen.count).sum(axis=1)
        return risk

    return _scored(image, psf, score)


def discrepancy(image: np.ndarray, psf: np.ndarray) -> float:
    """A residual as large as white noise as wavelets tell it (Morozov's principle)."""
    from skimage.restoration import estimate_sigma

    variance = float(estimate_sigma(image)) ** 2

    def score(seen: Periodogram, left: np.ndarray) -> np.ndarray:
        return abs(np.log((left**2 * seen.power).sum(axis=1) / (variance * seen.count.sum() + 1e-30) + 1e-30))

    return _scored(image, psf, score)


# The first is the package's.
RULES: dict[str, Rule] = {
    "spectra of signal and noise": spectra,
    "generalised cross-validation": cross_validation,
    "robust cross-validation": robust_validation,
    "modified cross-validation": modified_validation,
    "whiteness of the residual": whiteness,
    "one power law for all signals": power_law,
    "predictive risk, wavelets": predictive_risk,
    "discrepancy, wavelets": discrepancy,
}
