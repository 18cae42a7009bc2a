"""Flux and place of stars between pixels, in counts of photons on a sky: ``python -m benchmarks.stars [--fields 2]``.

40 stars of 2e4 to 2e5 photons, Gaussian points integrated over pixels, on 256 x 256 pixels with a sky of 500 counts
a pixel, read with a noise of 8.  Flux is the sum within a radius of 8 pixels over the true one, the mean of all stars;
the place is the centroid within that of 4; a bowl is the least pixel within 12, over the brightest.  Below are fields
of 40 stars on pixels whose sky is dark, with white noise of 0.1 %, by sums of all pixels.
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import numpy as np
import scipy.special

import fastdeblur as fd

from ._tables import table

SIDE, STARS, APART = 256, 40, 20
FLUXES = 2e4, 2e5
SKY, READ_NOISE = 500.0, 8.0
SIGMAS = (1.3, 1.5, 2.0, 2.5)
RADIUS, NEAR, AROUND = 8.0, 4.0, 12.0
DARK = {"gaussian 2": fd.psf.gaussian(17, 2), "disk 5": fd.psf.disk(5)}
METHODS: dict[str, dict[str, Any]] = {"photons alone": {"prior": None}, "tv": {"prior": "tv"}}
BOUNDED: dict[str, dict[str, Any]] = {
    "tv, bounds": {"prior": "tv", "bounds": (0, None)},
    "sparse, bounds": {"prior": "sparse", "bounds": (0, None)},
    "photons alone": {"prior": None, "data": "poisson"},
    "photons, tv": {"prior": "tv", "data": "poisson"},
}


def field(seed: int, sigma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Light of stars without a sky, their places and their fluxes."""
    random = np.random.default_rng(seed)
    places: list[np.ndarray] = []
    while len(places) < STARS:
        place = random.uniform(APART, SIDE - APART, 2)
        if all(np.hypot(*(place - other)) > APART for other in places):
            places.append(place)
    fluxes = np.exp(random.uniform(*np.log(FLUXES), STARS))
    light = np.zeros((SIDE, SIDE))
    for place, flux in zip(places, fluxes, strict=True):
        edges = [(np.arange(SIDE + 1) - 0.5 - at) / (np.sqrt(2) * sigma) for at in place]
        rows, cols = (np.diff(scipy.special.erf(each)) / 2 for each in edges)
        light += flux * np.outer(rows, cols)
    return light, np.array(places), fluxes


def measured(image: np.ndarray, places: np.ndarray, fluxes: np.ndarray) -> tuple[float, float, float, float]:
    """In per cent, the flux's mean error and its spread, the places' error in pixels, and the deepest bowl."""
    rows, cols = np.mgrid[:SIDE, :SIDE]
    errors, away, bowls = [], [], []
    for (row, col), flux in zip(places, fluxes, strict=True):
        distance = np.hypot(rows - row, cols - col)
        errors.append(image[distance <= RADIUS].sum() / flux - 1)
        near = np.where(distance <= NEAR, image.clip(0), 0)
        away += [((near * (at - place)).sum() / near.sum()) for at, place in ((rows, row), (cols, col))]
        bowls.append(image[distance <= AROUND].min() / image[distance <= RADIUS].max())
    rms = float(np.sqrt(2 * np.mean(np.square(away))))
    return 100 * float(np.mean(errors)), 100 * float(np.std(errors)), rms, 100 * min(*bowls, 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fields", type=int, default=2)
    fields = parser.parse_args().fields
    warnings.simplefilter("ignore", UserWarning)
    rows, bounded = [], []
    for sigma in SIGMAS:
        psf = fd.psf.gaussian(2 * int(4 * sigma + 0.5) + 1, sigma)
        for seed in range(fields):
            light, places, fluxes = field(seed, sigma)
            random = np.random.default_rng(100 + seed)
            counts = random.poisson(light + SKY) + READ_NOISE * random.standard_normal(light.shape)
            counts = counts.astype(np.float32)
            for name, options in METHODS.items():
                found = fd.solve(counts, psf, data="poisson", background=SKY, read_noise=READ_NOISE, **options)
                error, spread, rms, bowl = measured(found.image, places, fluxes)
                rows.append((
                    f"sigma {sigma:g}, field {seed}: {name}", f"{error:+.2f}", f"{spread:.2f}", f"{rms:.3f}",
                    f"{bowl:.2f}", str(found.n_iter), f"{found.seconds:.2f}",
                ))  # fmt: skip
    for blur, psf in DARK.items():
        random, sharp = np.random.default_rng(1), np.zeros((SIDE // 2, SIDE // 2))
        sharp[tuple(random.integers(10, SIDE // 2 - 10, (2, STARS)))] = np.exp(random.uniform(*np.log(FLUXES), STARS))
        light = fd.convolve(sharp, psf)
        sharp, light = sharp / light.max(), light / light.max()
        image = (light + 1e-3 * random.standard_normal(light.shape)).astype(np.float32)
        for name, options in BOUNDED.items():
            # (Else the noise of the sky would be cut off.)
            sky = {"background": 0.01} if "data" in options else {}
            found = fd.solve(image + np.float32(sky.get("background", 0)), psf, **options, **sky)
            error = 100 * (float(found.image.sum()) / float(sharp.sum()) - 1)
            bounded.append((f"{blur}: {name}", f"{error:+.2f}", str(found.n_iter), found.stop_reason))
    head = ("", "flux, %", "spread, %", "place, pixels", "bowl, %", "iterations", "seconds")
    print(
        "\n".join([*table(head, rows), "", *table(("dark sky", "all light, %", "iterations", "stopped by"), bounded)])
    )


if __name__ == "__main__":
    main()
