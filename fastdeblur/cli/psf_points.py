"""``--points`` and ``--edge`` of ``fastdeblur psf``: a psf from the stars, beads or a slanted edge of an image file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from .. import psf as psfs
from ..io import files
from ..io.source import Source
from . import psf_fit


def region(text: str) -> tuple[int, ...]:
    """Four whole numbers, as a flag's value."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 4:
        raise argparse.ArgumentTypeError(f"must be ROW,COL,ROWS,COLS, four whole numbers; got {text!r}")
    return numbers


def regions(text: str) -> tuple[int, int]:
    """Two whole numbers of at least 1, as a flag's value."""
    try:
        rows, cols = (int(part) for part in text.split(","))
    except ValueError:
        rows, cols = 0, 0
    if min(rows, cols) < 1:
        raise argparse.ArgumentTypeError(f"must be ROWS,COLS, two whole numbers of at least 1; got {text!r}")
    return rows, cols


def field_from_points(
    out: str, counts: tuple[int, int], source: Source, most: int
) -> tuple[np.ndarray, str, dict[str, Any]]:
    """Write the psf of each region of an image's stars or beads to an .npz file, which --psf of `deblur` reads.

    Returns all psfs in one picture, what is printed of them, and what --json prints.
    """
    image = _whole(source, most, "--regions")
    found = psfs.from_points(image, regions=counts)
    taps, centres = found.psf.shape[2:], np.asarray(found.centres)
    with files.explained(Path(out)), open(out, "wb") as target:
        np.savez(
            target, psfs=found.psf.reshape(-1, *taps), positions=centres.reshape(-1, 2), shape=np.array(image.shape)
        )
    used = int(found.points["used"].sum())
    line = f"{counts[0]} x {counts[1]} psfs of {taps[0]}x{taps[1]}, {used} of {len(found.points)} points"
    picture = found.psf.swapaxes(1, 2).reshape(counts[0] * taps[0], counts[1] * taps[1])
    return picture, line, {"used": used, "regions": list(counts), "centres": centres.tolist()}


def from_points(source: Source, most: int) -> tuple[np.ndarray, str, dict[str, Any]]:
    """The psf of an image's stars or beads, what is printed of it, and what --json prints."""
    found = psfs.from_points(_gray(source, most))
    reasons, counts = np.unique(found.points["reason"][~found.points["used"]], return_counts=True)
    left_out = {str(reason): int(count) for reason, count in zip(reasons, counts, strict=True)}
    used = int(found.points["used"].sum())
    said = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
    line = f"{used} of {len(found.points)} points, fwhm {found.fwhm:.3g} px" + (f"; left out: {said}" if said else "")
    error = float(found.uncertainty.max() / found.psf.max())
    return found.psf, line, {"used": used, "left_out": left_out, "fwhm": found.fwhm, "largest_error": error}


def from_edge(where: tuple[int, ...], source: Source, most: int) -> tuple[np.ndarray, str, dict[str, Any]]:
    """The psf of a slanted edge, what is printed of it, and what --json prints."""
    image = _whole(source, most, "--edge")
    found = psfs.from_edge(image, where)
    value, error = found.parameters[found.family], found.errors[found.family]
    name = "sigma" if found.family == "gaussian" else "radius"
    line = f"{found.family}: {name} {value:.4g} ± {error:.2g}; MTF50 {found.mtf50:.4g} cycles a pixel"
    figures = {"family": found.family, "parameters": found.parameters, "errors": found.errors}
    return found.psf, line, {**figures, "mtf50": found.mtf50, "angle": found.angle}


def _gray(source: Source, most: int) -> np.ndarray:
    """An image, the mean of its channels."""
    light = psf_fit.light(source, most)
    return light if light.ndim == 2 else light.mean(axis=2)


def _whole(source: Source, most: int, flag: str) -> np.ndarray:
    """The same, where no part of it will do."""
    image = _gray(source, most)
    if image.shape != tuple(source.shape[:2]):
        raise ValueError(
            f"{flag} needs the whole image, {source.shape[0]}x{source.shape[1]}, which takes more than --max-memory"
        )
    return image
