"""What missing pixels cost each solver, beside the same image without: iterations, seconds, and how far they got.

    python -m benchmarks.holes [--side 512] [--weights]

A photograph blurred by a Gaussian of 2, with 1 % noise; of it a corner's triangle is missing, a border of a tenth, half
of the pixels at random, the middle half in one block, or the left half.  The last column is the largest difference
of two pixels side by side deep inside a hole, in shares of the image's range: the continuation there is smooth.  Then
the exact solver with the automatic weight, after several psfs and with less noise, too; its seconds are with those that
the weight takes.

With ``--weights`` instead what the automatic weight loses to the best of some multiples of it, and what photons alone
lose by where they stop to the best of some numbers of steps, in dB, where there are pixels.
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
PSFS = {
    "gaussian 2": fd.psf.gaussian(15, 2), "airy 5": fd.psf.airy(5, 31), "disk 5": fd.psf.disk(5),
    "motion 15": fd.psf.motion(15, 30),
}  # fmt: skip
NOISE = (0.01, 0.002)
AUTOMATIC: dict[str, dict[str, Any]] = {
    "exact, root": {}, "tv": {"prior": "tv"}, "sparse": {"prior": "sparse"},
    "poisson, tv": {"data": "poisson", "prior": "tv"}, "poisson": {"data": "poisson", "prior": None},
}  # fmt: skip
FACTORS = (1 / 8, 1 / 4, 1 / 2, 2, 4, 8)
STEPS = (5, 8, 12, 16, 20, 25, 30, 40)
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


def lost(image: np.ndarray, psf: np.ndarray, sharp: np.ndarray, mask: np.ndarray, options: dict[str, Any]) -> Any:
    """The result with the automatic weight, its PSNR, and what it loses to the best."""
    holed = np.where(mask, image, np.nan).astype(image.dtype)
    found = fd.solve(holed, psf, **options)
    if options.get("prior", "") is None:
        others = [fd.deblur(holed, psf, max_iter=steps, tol=0, **options) for steps in STEPS]
    else:
        others = [fd.deblur(holed, psf, mu=factor * found.mu, **options) for factor in FACTORS]
    own, *rest = (-10 * np.log10(np.mean((x - sharp)[mask] ** 2)) for x in (found.image, *others))
    return found, own, max(own, *rest) - own


def compared(solver: str, image: np.ndarray, deblurrer: fd.Deblurrer) -> list[tuple[str, ...]]:
    """A row for each of the masks, printed at once."""
    rows: list[tuple[str, ...]] = []
    deblurrer(image)
    usual = deblurrer.solve(image)
    for name, mask in masks(len(image)).items():
        holed = np.where(mask, image, np.nan).astype(image.dtype)
        result = usual if name == "none" else deblurrer.solve(holed)
        each = result.seconds / max(result.n_iter, 1) / (usual.seconds / max(usual.n_iter, 1))
        rows.append((
            f"{solver}: {name}", str(result.n_iter), f"{result.n_iter / max(usual.n_iter, 1):.1f}",
            number(result.seconds), f"{each:.1f}", f"{result.optimality:.0e}", result.stop_reason,
            steepest(result.image, ~mask),
        ))  # fmt: skip
        print(*rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", action="store_true")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--only", default="", help="solvers with this in their name")
    arguments = parser.parse_args()
    side, psf = arguments.side, fd.psf.gaussian(TAPS, 2)
    sharp = transform.resize(data.camera() / 255, (side, side), order=3, anti_aliasing=True)
    noise = np.random.default_rng(0).standard_normal(sharp.shape)
    image = (fd.convolve(sharp, psf, boundary="reflect") + 0.01 * noise).clip(1e-3).astype(np.float32)
    rows = []
    if arguments.weights:
        for solver, options in AUTOMATIC.items():
            for name, mask in masks(side).items():
                if arguments.only in solver:
                    found, own, loss = lost(image, psf, sharp, mask, options)
                    of = (
                        number(found.mu) if found.mu else "",
                        str(found.n_iter),
                        number(found.seconds),
                        found.stop_reason,
                    )
                    rows.append((f"{solver}: {name}", f"{own:.2f}", f"{loss:.2f}", *of))
        header = ("", "PSNR, dB", "lost, dB", "mu", "iterations", "seconds", "stopped by")
        print("\n".join(table(header, rows)))
        return
    for solver, options in SOLVERS.items():
        if arguments.only in solver:
            rows += compared(solver, image, fd.Deblurrer(psf, image.shape, max_iter=MOST, **options))
    for name, psf in PSFS.items():
        for share in NOISE:
            solver = f"exact, automatic weight, {name}, {share:.1%}"
            if arguments.only in solver:
                image = (fd.convolve(sharp, psf, boundary="reflect") + share * noise).astype(np.float32)
                rows += compared(solver, image, fd.Deblurrer(psf, image.shape, max_iter=MOST))
    header = ("", "iterations", "times", "seconds", "an iteration, times", "optimality", "stopped by", "steepest")
    print("\n".join(["", *table(header, rows)]))


if __name__ == "__main__":
    main()
