"""How near psfs from stars and beads come to the true ones: ``python -m benchmarks.psf_points``.

Fields with Poisson noise, read noise, saturation and crowding, whose points are pixel-integrated functions at any
place.  For each, the L1 distance to the true psf over its core (where it is above a hundredth of its peak), the median
change of fluxes that are measured with it instead of with the true one, the mean error of places, and in how many
pixels, of the core and of all, the true psf is within two standard errors.
"""

import sys
from collections.abc import Callable

import numpy as np
import scipy.ndimage
import scipy.special

import fastdeblur as fd

Function = Callable[[np.ndarray, np.ndarray], np.ndarray]


def moffat(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return (1 + (y * y + x * x) / 8.67) ** -3.0  # 3 pixels wide at half maximum


def gaussian(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.exp(-(y * y + x * x) / (2 * 1.3**2))


def slanted(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.exp(-((0.8 * y + 0.6 * x) ** 2 / 1.2**2 + (0.8 * x - 0.6 * y) ** 2 / 2.0**2) / 2)


def airy(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    v = np.maximum(np.hypot(y, x) / 4.0 * 3.8317, 1e-9)
    return (2 * scipy.special.j1(v) / v) ** 2


def disk(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(np.clip((np.hypot(y, x) - 5) / 0.15, -50, 50)))


FIELDS = {
    "stars, Moffat": (moffat, {"side": 1024}),
    "stars, Gaussian": (gaussian, {"side": 1024}),
    "stars, slanted Gaussian": (slanted, {"side": 1024}),
    "beads, Airy, sloped background": (airy, {"side": 512, "faint": 0, "sky": 1000.0, "slope": 300.0, "least": 1e5}),
    "beads, disk, sloped background": (disk, {"side": 512, "faint": 0, "sky": 1000.0, "slope": 300.0, "least": 1e5}),
}
REACH = 40


def pixels(function: Function, place: np.ndarray, half: int, samples: int) -> np.ndarray:
    """Means over pixels about the one in the middle, by the midpoint rule."""
    inner = (np.arange(samples) + 0.5) / samples - 0.5
    down, across = ((np.arange(-half, half + 1)[:, None] - at + inner).ravel() for at in place)
    size = 2 * half + 1
    return function(down[:, None], across[None]).reshape(size, samples, size, samples).mean(axis=(1, 3))


def field(
    function: Function, seed: int, side: int, points: int = 30, faint: int = 100, sky: float = 400.0,
    slope: float = 0.0, least: float = 2e4, most: float = 1.5e6, read_noise: float = 8.0, clip: float = 6e4,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """An image, and its points' places and fluxes."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(-1, 1, side)
    image = sky + slope * (ramp[:, None] + 0.5 * ramp)
    whole = pixels(function, np.zeros(2), 60, 9).sum()
    places = rng.uniform(-3, side + 2, (points + faint, 2))
    logs = [rng.uniform(*np.log(span), count) for span, count in (((least, most), points), ((300, least / 2), faint))]
    fluxes = np.exp(np.concatenate(logs))
    for place, flux in zip(places, fluxes, strict=True):
        middle = np.rint(place).astype(int)
        stamp = flux / whole * pixels(function, place - middle, REACH, 5)
        low, high = np.maximum(middle - REACH, 0), np.minimum(middle + REACH + 1, side)
        cut = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        part = tuple(slice(a - m + REACH, b - m + REACH) for a, b, m in zip(low, high, middle, strict=True))
        image[cut] += stamp[part]
    image = rng.poisson(image) + read_noise * rng.standard_normal(image.shape)
    return np.minimum(image, clip), places, fluxes


def flux_of(image: np.ndarray, place: np.ndarray, psf: np.ndarray, noise: np.ndarray) -> float:
    """By weighted least squares at a place that is known, the background from an annulus."""
    half, middle = len(psf) // 2, np.rint(place).astype(int)
    wide = half + 6
    around = image[tuple(slice(at - wide, at + wide + 1) for at in middle)].copy()
    values = around[6:-6, 6:-6].copy()
    around[6:-6, 6:-6] = np.nan
    model = scipy.ndimage.shift(psf, place - middle, order=5, mode="nearest")
    return float((model * (values - np.nanmedian(around)) / noise).sum() / (model**2 / noise).sum())


def measure_points(seeds: int) -> None:
    print(f"{'field':32} seed  size  used    L1  fluxes  rows     columns  core  all  (bars: 2, 0.5 %, 0.01 px, 90 %)")
    honest = []
    for name, (function, options) in FIELDS.items():
        for seed in range(seeds):
            image, places, fluxes = field(function, seed + 100, **options)
            found = fd.psf.from_points(image)
            half = len(found.psf) // 2
            true = pixels(function, np.zeros(2), half, 15)
            true /= true.sum()
            core = true > 0.01 * true.max()
            ratios, errors, weights = [], [], []
            for point in found.points[found.points["used"]]:
                at = np.array([point["row"], point["col"]])
                k = int(np.hypot(*(places - at).T).argmin())
                errors.append(at - places[k])
                weights.append(fluxes[k])
                middle = np.rint(places[k])
                if (middle >= half + 6).all() and (middle < len(image) - half - 6).all():
                    noise = np.full(true.shape, image.min() + 64) + fluxes[k] * true
                    ratios.append(np.divide(*(flux_of(image, places[k], psf, noise) for psf in (found.psf, true))))
            bias = np.average(errors, axis=0, weights=weights)
            within = np.abs(found.psf - true) <= 2 * found.uncertainty
            honest.append((within[core].mean(), within.mean()))
            distance = np.abs(found.psf - true)[core].sum() / true[core].sum()
            print(
                f"{name:32} {seed:4}  {len(true):4}  {len(errors):4} {100 * distance:5.2f} "
                f"{100 * (np.median(ratios) - 1):+6.2f}  {bias[0]:+.4f}  {bias[1]:+.4f} "
                f"{100 * honest[-1][0]:5.0f} {100 * honest[-1][1]:4.0f}",
                flush=True,
            )
    core_share, share = 100 * np.mean(honest, axis=0)
    print(f"within two standard errors: {core_share:.0f} % of the core's pixels, {share:.0f} % of all")


if __name__ == "__main__":
    measure_points(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
