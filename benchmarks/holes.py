"""What missing pixels cost each solver, beside the same image without: iterations, seconds, and how far they got.

    python -m benchmarks.holes [--side 512]

A photograph blurred by a Gaussian of 2, with 1 % noise; of it a corner's triangle is missing, a border of a tenth, half
of the pixels at random, the middle half in one block, or the left half.  The last column is the largest difference
of two pixels side by side deep inside a hole, in shares of the image's range: the continuation there is smooth.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from scipy.ndimage import binary_erosion
from skimage import data, transform

import fastdeblur as fd

from ._tables import number, table

SOLVERS: dict[str, dict[str, Any]] = {
    "exact, root": {"mu": 0.05},
    "exact, squares": {"data": "squares", "mu": 5e-3},
    "tv": {"prior": "tv", "mu": 2e-3},
    "tv within bounds": {"prior": "tv", "mu": 2e-3, "bounds": (0, None)},
    "sparse": {"prior": "sparse", "mu": 1e-3},
    "poisson": {"data": "poisson", "prior": None},
    "poisson, tv": {"data": "poisson", "prior": "tv", "mu": 5e-3},
}
MOST = 1000
TAPS = 15


def masks(side: int) -> dict[str, np.ndarray]:
    """Where there are pixels."""
    rows, cols = np.mgrid[:side, :side]
    inside = np.minimum(np.minimum(rows, cols), side - 1 - np.maximum(rows, cols))
    return {
        "none": np.ones((side, side), bool),
        "corner": rows + cols >= side // 2,
        "frame": inside >= side // 10,
        "random": np.random.default_rng(1).random((side, side)) < 0.5,
        "block": inside < (1 - np.sqrt(0.5)) / 2 * side,
        "half": cols >= side // 2,
    }


def steepest(restored: np.ndarray, missing: np.ndarray) -> str:
    """The largest difference deep inside missing pixels."""
    deep = binary_erosion(missing, np.ones((2 * TAPS + 1,) * 2), border_value=1)
    found = [np.abs(np.diff(restored, axis=k))[np.delete(deep, 0, k) & np.delete(deep, -1, k)] for k in (0, 1)]
    both = np.concatenate(found)
    return number(float(both.max())) if both.size else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--only", default="", help="solvers with this in their name")
    arguments = parser.parse_args()
    side, psf = arguments.side, fd.psf.gaussian(TAPS, 2)
    sharp = transform.resize(data.camera() / 255, (side, side), order=3, anti_aliasing=True)
    noise = np.random.default_rng(0).standard_normal(sharp.shape)
    image = (fd.convolve(sharp, psf, boundary="reflect") + 0.01 * noise).clip(1e-3).astype(np.float32)
    rows = []
    for solver, options in SOLVERS.items():
        if arguments.only not in solver:
            continue
        deblurrer = fd.Deblurrer(psf, image.shape, max_iter=MOST, **options)
        deblurrer(image)
        usual = deblurrer.solve(image)
        for name, mask in masks(side).items():
            holed = np.where(mask, image, np.nan).astype(image.dtype)
            result = usual if name == "none" else deblurrer.solve(holed)
            each = result.seconds / max(result.n_iter, 1) / (usual.seconds / max(usual.n_iter, 1))
            rows.append((
                f"{solver}: {name}", str(result.n_iter), f"{result.n_iter / max(usual.n_iter, 1):.1f}",
                number(result.seconds), f"{each:.1f}", f"{result.optimality:.0e}", result.stop_reason,
                steepest(result.image, ~mask),
            ))  # fmt: skip
            print(*rows[-1], flush=True)
    header = ("", "iterations", "times", "seconds", "an iteration, times", "optimality", "stopped by", "steepest")
    print("\n".join(["", *table(header, rows)]))


if __name__ == "__main__":
    main()
