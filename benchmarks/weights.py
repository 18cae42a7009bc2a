"""What choosing the weight by a rule loses to the best weight, in dB.

Six photographs that come with scikit-image, blurred by three psfs, with four levels of noise; the data
term is squares, the boundary unknown.  Prints for each rule the median, the ninth decile and the worst.

Usage: python -m benchmarks.weights
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy.interpolate import CubicSpline
from skimage import color, data
from skimage.restoration import estimate_sigma

import fastdeblur as fd
from fastdeblur.spectrum import RIDGES, Periodogram

PHOTOGRAPHS = ("astronaut", "hubble_deep_field", "retina", "grass", "gravel", "text")
PSFS = {"gaussian": fd.psf.gaussian(15, (1.5, 2.5)), "disk": fd.psf.disk(4), "motion": fd.psf.motion(13, 30)}
NOISE = (0.001, 0.004, 0.01, 0.03)
TRIED = np.geomspace(1e-7, 10, 17)
SIDE, BORDER = 400, 20


def photograph(name: str) -> np.ndarray:
    """The middle of a photograph, gray, from 0 to 1."""
    image = getattr(data, name)()
    image = color.rgb2gray(image) if image.ndim == 3 else image / 255
    rows, cols = (min(n, SIDE) for n in image.shape)
    top, left = (image.shape[0] - rows) // 2, (image.shape[1] - cols) // 2
    return image[top : top + rows, left : left + cols]


def cases() -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray, float]]:
    """Name, image, psf, what should come out, and the noise."""
    for number, name in enumerate(PHOTOGRAPHS):
        scene = photograph(name)
        for which, (kind, psf) in enumerate(PSFS.items()):
            blurred = fd.convolve(scene, psf, boundary="unknown")
            top, left = (taps - 1 - taps // 2 for taps in psf.shape)
            sharp = scene[top : top + blurred.shape[0], left : left + blurred.shape[1]]
            for level, noise in enumerate(NOISE):
                random = np.random.default_rng([number, which, level])
                yield (
                    f"{name} {kind} {noise}",
                    blurred + noise * random.standard_normal(blurred.shape),
                    psf,
                    sharp,
                    noise,
                )


def by_validation(seen: Periodogram) -> int:
    """Which of RIDGES minimises the generalised cross-validation score."""
    left = seen.left()
    return int(np.argmin((left**2 * seen.power).sum(axis=1) / (left * seen.count).sum(axis=1) ** 2))


def variance_of_blurred_away(seen: Periodogram) -> float:
    """Noise power where the blur leaves hardly anything."""
    share = np.cumsum(seen.count) / seen.count.sum()
    kept = share <= max(0.05, share[0])
    return float(seen.power[kept].sum() / seen.count[kept].sum())


def upre(seen: Periodogram, variance: float) -> float:
    """Minimises the unbiased predictive risk estimate."""
    left = seen.left()
    score = (left**2 * seen.power).sum(axis=1) + 2 * variance * ((1 - left) * seen.count).sum(axis=1)
    return float(RIDGES[np.argmin(score)] * seen.scale)


def discrepancy(seen: Periodogram, variance: float) -> float:
    """Leaves as much as there is noise."""
    residual = (seen.left() ** 2 * seen.power).sum(axis=1)
    return float(RIDGES[min(np.searchsorted(residual, variance * seen.count.sum()), len(RIDGES) - 1)] * seen.scale)


RULES: dict[str, Callable[[Periodogram, np.ndarray, float], float]] = {
    "gcv": lambda seen, image, noise: float(RIDGES[by_validation(seen)] * seen.scale),
    "upre, wavelets": lambda seen, image, noise: upre(seen, estimate_sigma(image) ** 2),
    "upre, blurred away": lambda seen, image, noise: upre(seen, variance_of_blurred_away(seen)),
    "upre, true noise": lambda seen, image, noise: upre(seen, noise**2),
    "discrepancy, wavelets": lambda seen, image, noise: discrepancy(seen, estimate_sigma(image) ** 2),
    "discrepancy, true noise": lambda seen, image, noise: discrepancy(seen, noise**2),
}


def quality(image: np.ndarray, psf: np.ndarray, sharp: np.ndarray) -> Callable[[float], float]:
    """The restored image's PSNR as a function of the weight."""
    found = []
    start = "image"
    for mu in TRIED[::-1]:
        restored = fd.solve(image, psf, data="squares", mu=mu, tol=1e-3, init=start, max_iter=60).image
        start = restored
        error = (restored - sharp)[BORDER:-BORDER, BORDER:-BORDER]
        found.append(-10 * np.log10(np.mean(error**2)))
    return CubicSpline(np.log(TRIED), found[::-1])


def main() -> None:
    losses: dict[str, list[float]] = {rule: [] for rule in RULES}
    steps = np.linspace(np.log(TRIED[0]), np.log(TRIED[-1]), 2000)
    for name, image, psf, sharp, noise in cases():
        at, seen = quality(image, psf, sharp), Periodogram(image[None], [psf])
        best = at(steps).max()
        row = []
        for rule, choose in RULES.items():
            mu = np.clip(choose(seen, image, noise), TRIED[0], TRIED[-1])
            losses[rule].append(float(best - at(np.log(mu))))
            row.append(f"{losses[rule][-1]:6.2f} ({mu:.1e})")
        print(f"{name:32s} best {best:5.2f} dB at {np.exp(steps[at(steps).argmax()]):.1e} ", *row, flush=True)
    print(f"\n{'dB lost, ' + str(len(losses['gcv'])) + ' cases':28s} median  9 of 10  worst")
    for rule, lost in losses.items():
        print(f"{rule:28s} {np.median(lost):6.2f} {np.quantile(lost, 0.9):8.2f} {max(lost):6.2f}")


if __name__ == "__main__":
    main()
