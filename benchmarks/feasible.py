"""Where the sparse prior ends, beside simple feasible points: ``python -m benchmarks.feasible [--only text]``.

Points, text, cells and photographs of 112 x 112, blurred by a Gaussian of 2 and a disk of 4 with the boundary "wrap",
white noise of 0.1 and 1 %, with and without bounds.  Of the sparse objective, with its automatic weight, the table has
that of the solution with tv, of the image within the bounds, and of the sharp image, each over the result's: below 1,
the result is above that point.  Beside them are the errors (rms) of the result and of the solution with tv.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator

import numpy as np

import fastdeblur as fd
from fastdeblur.problem import objective

from ._tables import table

SIDE = 112
PSFS = {"gaussian 2": fd.psf.gaussian(13, 2), "disk 4": fd.psf.disk(4)}
NOISE = (0.001, 0.01)
BOUNDS = {"none": None, "from 0": (0, None)}
# Of scikit-image, with the first row and column.
PICTURES = {
    "text": ("text", 20, 100), "cells": ("cell", 250, 200), "camera": ("camera", 100, 180), "moon": ("moon", 200, 200),
    "coins": ("coins", 50, 50),
}  # fmt: skip


def scenes() -> Iterator[tuple[str, np.ndarray]]:
    from skimage import data

    random, points = np.random.default_rng(1), np.zeros((SIDE, SIDE))
    points[tuple(random.integers(0, SIDE, (2, 40)))] = np.exp(random.uniform(0, 3, 40))
    yield "points", points
    for name, (source, top, left) in PICTURES.items():
        yield name, getattr(data, source)()[top : top + SIDE, left : left + SIDE] / 255


def row(sharp: np.ndarray, psf: np.ndarray, noise: float, bounds: tuple[float, None] | None) -> tuple[str, ...]:
    """Of one case, the columns of the table."""
    options = {"boundary": "wrap", "bounds": bounds}
    blurred = fd.convolve(sharp, psf, boundary="wrap")
    sharp, blurred = sharp / blurred.max(), blurred / blurred.max()
    image = blurred + noise * np.random.default_rng(0).standard_normal(blurred.shape)
    found, tv = (fd.solve(image, psf, prior=prior, **options) for prior in ("sparse", "tv"))

    def value(x: np.ndarray) -> float:
        misfit = 0.5 * np.square(fd.convolve(x, psf, boundary="wrap") - image).sum()
        return float(misfit + found.mu * objective.penalty("sparse", x[None], periodic=True))

    own = value(found.image)
    points = tv.image, image if bounds is None else image.clip(*bounds), sharp
    errors = (np.sqrt(np.mean((x - sharp) ** 2)) for x in (found.image, tv.image))
    ratios = (f"{value(x) / own:.2f}" for x in points)
    return (*ratios, *(f"{error:.4f}" for error in errors), str(found.n_iter), found.stop_reason)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="scenes with this in their name")
    only = parser.parse_args().only
    warnings.simplefilter("ignore", UserWarning)
    rows = [
        (f"{name}, {blur}, {noise:g}, bounds {limits}", *row(sharp, psf, noise, bounds))
        for name, sharp in scenes() if only in name
        for blur, psf in PSFS.items() for noise in NOISE for limits, bounds in BOUNDS.items()
    ]  # fmt: skip
    head = ("", "tv", "image", "sharp", "error", "error of tv", "iterations", "stopped by")
    print("\n".join(table(head, rows)))


if __name__ == "__main__":
    main()
