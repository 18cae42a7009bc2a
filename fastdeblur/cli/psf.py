"""``fastdeblur psf``: a psf estimated from an image file, into a file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import validation
from ..io import files
from ..io.source import Source
from ..problem.options import OPTIONS
from ..psf import refine
from . import plots, psf_field, psf_fit, psf_points, psf_spec
from .deblur import transfer_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DESCRIPTION = """\
Estimate what a single point was blurred to, and write it as an image (float64 in .tif, .fits, .npy and .zarr).

With --family, from the blurred image alone, among psfs of few parameters: motion, or motion:10-25:0-60 with a range
or a value for each of its parameters (nothing between colons: any), or several as disk,gaussian, or all:
  gaussian:SIGMA            elliptical:SIGMA:RATIO:ANGLE  (a Gaussian of two sigmas)
  disk:RADIUS               motion:LENGTH:ANGLE
  box:SIZE                  airy:RADIUS
  moffat:FWHM:BETA
With --points, from stars or beads; with --edge, from a straight edge slanted by some 5 degrees.
With --refine, from the blurred image and a psf that is a little wrong: turned, scaled and fitted, or left as it is.
The evidence that is printed is the logarithm of how many times likelier the image is than without blur.
Of a stack the first page is used.  Photographs are used in linear light (--transfer).
"""


@dataclass(frozen=True)
class Estimate:
    """A psf that was estimated in one of the command's ways.

    Attributes
    ----------
    psf : ndarray
    line : str
        What is printed of it.
    figures : dict
        What --json prints of it.
    plot : callable
        Draws it.
    """

    psf: np.ndarray
    line: str
    figures: dict[str, Any]
    plot: Callable[[], Figure]


def add(commands: Any) -> None:
    """Add the command to those of a parser."""
    parser = commands.add_parser(
        "psf",
        help="estimate a psf from an image file",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("image", metavar="IMAGE", help="the blurred image")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--family", metavar="SPEC", help="from the image alone, by families of psfs: see above")
    how.add_argument(
        "--points", action="store_true", help="from the stars or beads in it: one psf of all that are of use"
    )
    how.add_argument(
        "--edge",
        type=psf_points.region,
        metavar="ROW,COL,ROWS,COLS",
        help="from a slanted edge in this part of it (first row and column, and how many)",
    )
    how.add_argument(
        "--refine",
        metavar="SPEC",
        help="from a rough psf and the image: a file, or motion:15:40 and the like, as for deblur",
    )
    parser.add_argument(
        "--regions",
        type=psf_points.regions,
        metavar="ROWS,COLS",
        help="with --points: a psf for each of so many parts, into an .npz file that --psf of deblur takes",
    )
    parser.add_argument("-o", "--out", required=True, help="where to write the psf")
    parser.add_argument("--plot", metavar="FILE", help="where to draw it, as PNG (needs matplotlib)")
    parser.add_argument(
        "--transfer",
        type=transfer_curve,
        default="auto",
        metavar="CURVE",
        help="how values follow from light, as for deblur (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print an object of JSON instead of a line")
    parser.add_argument(
        "--max-memory", default=OPTIONS["max_memory"].default, metavar="SIZE", help=OPTIONS["max_memory"].doc
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Estimate a psf as the command's arguments say, write it, and print what it is."""
    most = validation.memory_size("max_memory", arguments.max_memory)
    if arguments.regions is not None and not (arguments.points and psf_field.is_field(arguments.out)):
        raise ValueError("--regions goes with --points and an output file that ends in .npz")
    if arguments.plot is not None:
        plots.require()
    with files.opened(arguments.image) as source:
        source = replace(source, curve=source.curve if arguments.transfer == "auto" else arguments.transfer)
        estimate = _estimate(arguments, source, most)
    if arguments.regions is None:
        files.write(arguments.out, estimate.psf)
    if arguments.plot is not None:
        plots.save(estimate.plot(), arguments.plot)
    if arguments.json:
        figures = {"out": str(arguments.out), "shape": list(estimate.psf.shape), **estimate.figures}
        print(json.dumps(figures, allow_nan=False))
    else:
        print(f"{arguments.out}: {estimate.line}")


def _estimate(arguments: argparse.Namespace, source: Source, most: int) -> Estimate:
    if arguments.points or arguments.edge is not None:
        if arguments.regions is not None:
            psf, line, figures = psf_points.field_from_points(arguments.out, arguments.regions, source, most)
        elif arguments.points:
            psf, line, figures = psf_points.from_points(source, most)
        else:
            psf, line, figures = psf_points.from_edge(arguments.edge, source, most)
        return Estimate(psf, line, figures, lambda: plots.psf(psf))
    if arguments.refine is not None:
        return _refined(arguments.refine, source, most)
    fit = psf_fit.fitted(arguments.family, source, most)
    psf_fit.warn(fit)
    evidence = ", ".join(f"{name} {value:.1f}" for name, value in fit.evidence.items())
    line = f"{fit}; evidence {evidence}; misfit {fit.misfit:.2g}"
    return Estimate(fit.psf, line, psf_fit.said(fit), fit.plot)


def _refined(spec: str, source: Source, most: int) -> Estimate:
    """A rough psf, refined by the image."""
    rough = psf_spec.read_psf(spec, most)
    image = psf_fit.light(source, most)
    found = refine(image, rough, channel_axis=None if image.ndim == 2 else -1)
    figures = {
        "improved": found.improved, "message": found.message, "angle": found.angle, "scale": found.scale,
        "evidence": found.evidence.tolist(),
    }  # fmt: skip
    line = f"{found.message}; evidence {' '.join(f'{each:.1f}' for each in found.evidence)}"
    return Estimate(found.psf, line, figures, lambda: plots.psf(found.psf))
