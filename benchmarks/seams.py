"""How much a large image differs where its tiles meet: ``python -m benchmarks.seams``.

A photograph at 3000 x 3000 pixels, blurred, with noise of 1 %, is restored in tiles and as a whole with the same
weight.  Prints the largest difference and the one that 999 of 1000 pixels stay below, as shares of the image's range;
the exit status is 1 if one exceeds 1e-3 or 1e-4.  `--sharp` adds psfs with edges, which are felt further than half a
tile where the weight is small: there a warning says so, and what is over the bars is not counted.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

import fastdeblur as fd

SMOOTH = {
    "gaussian 13": fd.psf.gaussian(13, (1, 3)),
    "gaussian 41": fd.psf.gaussian(41, 6),
    "gaussian 101": fd.psf.gaussian(101, 15),
}
SHARP = {"disk 13": fd.psf.disk(6), "motion 41": fd.psf.motion(41, 30), "disk 101": fd.psf.disk(50)}
RIDGES = (1e-4, 1e-2, 1)
# Of the image's range.
MOST, USUAL = 1e-3, 1e-4


class Case(NamedTuple):
    psf: np.ndarray
    ridge: float
    boundary: str
    image: np.ndarray


def photograph(side: int) -> np.ndarray:
    """Scikit-image's astronaut, enlarged by splines."""
    from skimage import color, data, transform

    return transform.resize(color.rgb2gray(data.astronaut()), (side, side), order=3).astype(np.float32)


def cases(side: int, sharp: bool, boundaries: list[str]) -> Iterator[tuple[str, Case]]:
    for name, psf in (SMOOTH | SHARP if sharp else SMOOTH).items():
        scene = photograph(side + max(psf.shape) - 1)
        image = fd.convolve(scene, psf.astype(np.float32), boundary="unknown")[:side, :side]
        image += 0.01 * np.random.default_rng(0).standard_normal(image.shape, np.float32)
        for boundary in boundaries:
            for ridge in RIDGES:
                yield f"{name}, {boundary}, mu {ridge:g}", Case(psf, ridge, boundary, image)


def measured(case: Case, tile: int) -> tuple[float, float, list[float], bool]:
    """Largest and usual difference, seconds of the whole and of the tiles, whether the halo had to be cut."""
    options = {"data": "squares", "mu": case.ridge, "boundary": case.boundary}
    began = time.perf_counter()
    whole = fd.solve(case.image, case.psf, **options).image
    between = time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        tiles = fd.deblur_large(case.image, case.psf, tile=tile, **options)
    seconds = [between - began, time.perf_counter() - between]
    differences = np.abs(tiles - whole) / np.ptp(whole)
    return float(differences.max()), float(np.quantile(differences, 0.999)), seconds, bool(said)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seams")
    parser.add_argument("--side", type=int, default=3000)
    parser.add_argument("--tile", type=int, default=1000)
    parser.add_argument("--sharp", action="store_true", help="psfs with edges too")
    parser.add_argument("--boundaries", nargs="+", default=["unknown"])
    asked = parser.parse_args(arguments)
    missed = False
    print(f"{'':36}  largest  999/1000  whole, s  tiles, s")
    for name, case in cases(asked.side, asked.sharp, asked.boundaries):
        largest, usual, seconds, cut = measured(case, asked.tile)
        verdict = "halo cut, and said" if cut else "ok" if largest <= MOST and usual <= USUAL else "MISSED"
        missed |= verdict == "MISSED"
        print(f"{name:36}  {largest:.1e}   {usual:.1e}  {seconds[0]:8.1f}  {seconds[1]:8.1f}  {verdict}", flush=True)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
