"""``fastdeblur deblur``: its flags, and restoring an image file or a stack into another."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__, transfer, validation
from ..estimates import estimate_memory
from ..io import axes, files, missing, pixels, tiff_layout, uncertainty, zarr_reading
from ..io.metadata import Metadata
from ..io.source import Source
from ..large.job import Account
from ..problem.options import OPTIONS
from ..problem.start import STARTS
from ..psf import PsfFit
from ..result import Result
from . import deblur_tiled, psf_field, psf_fit, psf_spec
from .channels import Channels
from .deblur_tiled import Request

DESCRIPTION = """\
IMAGE and OUT are PNG, JPEG, WebP, BMP, TIFF, FITS, .npy or .zarr, of any number of channels where the format has room.
What the file calls alpha is kept as it is, all other channels are deblurred.
Pixels are written in the type that they were read in, booleans in 8 bits.
Integers are deblurred on a scale whose 1 is the largest of their type: --bounds, --saturated
and files of weights and starts mean that scale; --background and --read-noise are in
IMAGE's own units.  Photographs' values are no amounts of light, but are encoded by a curve,
which is undone before they are deblurred, and done again (--transfer).  --bounds and
--saturated then mean light, and --read-noise units of light of which white has as many as
IMAGE's type; a start and a background are decoded as IMAGE is, weights never are.

Pictures are turned as they are to be shown, which the line that is printed says: a psf's angle
means that.  Colour profiles, EXIF, XMP, resolution and texts are kept where OUT's format has a
place for them; a warning names what it has none for.  What is wholly transparent is missing, see below.
WebP is written without loss, JPEG with quality 95 or the finer steps of IMAGE.

A TIFF of several pages is a stack, and so is a .npy or .zarr with --stack or --axes: its pages are deblurred
one after another, and written as a stack again; where C counts pages, a stack of psfs has one for each channel.
--mu auto finds a weight for each page, --mu auto-once one for all, on the first page.
A TIFF of a TIFF keeps layout, compression, tags, georeference, OME-XML, masks and overviews.  Pixels that a
file calls missing (no data, masked, NaN) are ignored, and written again as they were (--nodata, --fill).
Of a FITS file the first image HDU is read, or that of image.fits[1], image.fits[SCI] or image.fits[SCI,2];
axes beyond two count pages; it may be a .fits.gz.
A FITS output has all other HDUs and the header, with a line of HISTORY; scaled
integers become floats there.  Rows come in the order of the file.

Of an OME-Zarr group the first dataset is read: c are channels, other axes count pages.  A Zarr output has the
attributes and axes of a Zarr input, and of an OME-Zarr group one scale.

An image, or a page, that would need more than --max-memory is deblurred tile by tile, all with one weight.  If that is
interrupted, what has been done waits beside OUT, and the same command goes on from there.

SPEC is an image file, averaged over its colours, in light where its values are encoded, and scaled to sum 1 (a stack
has a page for each channel), or one of
  gaussian:13:1,3   size, then sigma (or down,across); sizes may be ROWSxCOLS
  disk:5            radius: out of focus
  motion:15:40      length, then angle in degrees anticlockwise from the right
  box:5, box:3x5    size
  airy:2.5:15       radius of the first dark ring, then size
or FIELD.npz, psfs that vary over the image: arrays psfs (rows x cols x taps x taps on an even grid from corner to
corner, or with rows and cols where the grid's are; or count x taps x taps with positions, a row and a column each),
and shape, the image's, if you want that checked; or a stack with --psf-positions;
or is estimated from IMAGE itself, within ranges if these are known (see fastdeblur psf --help)
  fit:motion, fit:motion:10-25:0-60, fit:disk,gaussian, fit:all
"""
# Flags that are handed over as they are.
SAME = (
    "mu", "data", "boundary", "bounds", "solver", "learning_rate", "max_iter", "tol", "seed", "path", "device",
    "workers",
)  # fmt: skip
# The automatic weight of the first page, for all pages.
ONCE = "auto-once"
CURVES = ("auto", "srgb", "linear")
# What pixels may be written as.
DTYPES = ("uint8", "uint16", "int16", "float32", "float64")


def _number_or(*words: str, allowed: str = "", fits: Callable[[float], bool] = lambda _: True) -> Any:
    """A parser of numbers and words of the command line."""

    def parse(text: str) -> float | str:
        with contextlib.suppress(ValueError):
            if text in words or fits(float(text)):
                return text if text in words else float(text)
        raise argparse.ArgumentTypeError(f"must be {allowed or f'a number or {words[0]}'}; got {text.strip()!r}")

    return parse


transfer_curve = _number_or(
    *CURVES, allowed="auto, srgb, linear or a number above 0", fits=lambda power: 0 < power < math.inf
)
_number_or_none = _number_or("none")
_nodata = _number_or("none", "fill", allowed="a number, none or fill")
_mu = _number_or("auto", ONCE, allowed=f"a number of at least 0, auto, or {ONCE}")


def _bound(text: str) -> float | None:
    bound = _number_or_none(text)
    return None if bound == "none" else float(bound)


def _number_or_file(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def add(commands: Any) -> None:
    """Add the command to those of a parser."""
    parser = commands.add_parser(
        "deblur",
        help="deblur an image file",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("image", metavar="IMAGE", help="the blurred image")
    psf = parser.add_mutually_exclusive_group(required=True)
    psf.add_argument("--psf", metavar="SPEC", help="what a single point was blurred to")
    psf.add_argument(
        "--psf-from",
        metavar="FILE",
        help="a picture of one star or bead: its background is taken away, and its centre found",
    )
    parser.add_argument(
        "--psf-positions",
        metavar="FILE",
        help="where in the image the psfs of a stack are: .npy, or text with a row and a column in each line",
    )
    parser.add_argument("-o", "--out", required=True, help="where to write; may be IMAGE")
    parser.add_argument(
        "--transfer",
        type=transfer_curve,
        default="auto",
        metavar="CURVE",
        help="how values follow from light: srgb, linear, a power such as 2.2, or auto, which is what the file says, "
        "else srgb for JPEG, WebP and PNG in colour, and linear for all others (default: %(default)s)",
    )
    parser.add_argument("--stack", action="store_true", help="the first axis of a .npy or .zarr counts pages")
    of = (
        ", of a TIFF, FITS, .npy or .zarr, whatever the file says: T, C and Z before YX count pages, C or S after YX "
        "is of channels; a size may follow T, C and Z"
    )
    _flag(parser, "axes", of, type=_axes, metavar="LETTERS")
    more, default = "; an image that needs more is deblurred tile by tile", OPTIONS["max_memory"].default
    _flag(parser, "max_memory", more, default=default, metavar="SIZE")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        help="type of the pixels that are written (default: as in IMAGE); floats keep what integers must clip",
    )
    parser.add_argument(
        "--nodata",
        type=_nodata,
        metavar="VALUE",
        help="pixels of this value are missing, beside those that IMAGE calls so; none: all but NaN are there; fill: "
        "those of the fill value of a .zarr",
    )
    parser.add_argument("--fill", action="store_true", help="write estimates of missing pixels instead of the pixels")
    parser.add_argument("--json", action="store_true", help="print an object of JSON instead of a line")
    parser.add_argument("--progress", action="store_true", help=OPTIONS["progress"].doc)

    solve = parser.add_argument_group("what is minimised")
    _flag(solve, "mu", ", auto-once on the first page, for all", type=_mu, default=OPTIONS["mu"].default)
    _flag(solve, "data")
    _flag(solve, "prior")
    solve.add_argument(
        "--channels",
        choices=("joint", "separate"),
        default="joint",
        help="whether colours are one problem with one weight, or each has its own (default: %(default)s)",
    )
    _flag(solve, "boundary")
    _flag(solve, "weights", ": an image, for all pages", metavar="FILE")
    solve.add_argument(
        "--weights-are",
        choices=uncertainty.KINDS,
        default="weights",
        help="what that image has: weights, or the noise's standard deviation or variance, of which weights are the "
        "inverse (squared), 1 in the middle; pixels of 0 or NaN are ignored then (default: %(default)s)",
    )
    solve.add_argument(
        "--saturated",
        type=_number_or_none,
        metavar="LEVEL",
        help="ignore pixels that are at least this (default: the largest of their type in any channel where --transfer "
        "undoes a curve, else none)",
    )
    in_light = "; none is no bound (default: 0 none where --transfer undoes a curve)"
    _flag(solve, "bounds", in_light, type=_bound, nargs=2, metavar=("LOW", "HIGH"))
    _flag(solve, "background", ": a number, or an image for all pages", type=_number_or_file, metavar="VALUE|FILE")
    _flag(solve, "read_noise", metavar="SIGMA")

    how = parser.add_argument_group("how")
    _flag(how, "solver")
    _flag(how, "learning_rate", metavar="RATE")
    _flag(how, "max_iter", metavar="N")
    _flag(how, "tol", metavar="T")
    _flag(how, "init", f": {', '.join(STARTS)}, or a file", choices=None, metavar="START")
    _flag(how, "seed", metavar="N")
    _flag(how, "path")
    _flag(how, "device")
    _flag(how, "workers", metavar="N")
    parser.set_defaults(run=run)


def _flag(group: Any, name: str, more: str = "", **given: Any) -> None:
    """Add the flag of an option, as it is declared; `more` is what its help says beside that.

    Flags that are not used are None, so that the library's defaults are the command's.
    """
    option = OPTIONS[name]
    default = "" if option.default is None else f" (default: {option.default})"
    kinds = {"float": float, "float | None": float, "int | None": int}
    choices = ["none" if choice is None else choice for choice in option.choices] or None
    given = {"type": kinds.get(option.type, str), "choices": choices, "help": f"{option.doc}{more}{default}"} | given
    group.add_argument(f"--{name.replace('_', '-')}", **given)


def run(arguments: argparse.Namespace) -> None:
    """Deblur as the command's arguments say, and print how it went."""
    most = validation.memory_size("max_memory", arguments.max_memory)
    files.recover(arguments.out)  # it may be the image
    read = psf_spec.read_psf if arguments.psf else psf_spec.psf_of_point
    estimate, fit = None, (arguments.psf or "").startswith(psf_fit.PREFIX)
    psf: Any = None
    if fit:
        psf_fit.parsed(arguments.psf.removeprefix(psf_fit.PREFIX))
    elif psf_field.is_field(arguments.psf or ""):
        psf = psf_field.read(arguments.psf, most)
    else:
        psf = read(arguments.psf or arguments.psf_from, most, arguments.transfer)
    if arguments.psf_positions:
        if not isinstance(psf, np.ndarray) or not arguments.psf:
            raise ValueError("--psf-positions goes with --psf and a file whose pages are psfs")
        psf = psf_field.of_stack(arguments.psf, psf, arguments.psf_positions)
    options = _options(arguments, most)
    with files.opened(arguments.image, arguments.stack, arguments.axes) as source:
        source = _with_nodata(arguments, source)
        if _is_number(arguments.saturated) and arguments.saturated > 1 and source.dtype.kind in "iu":
            raise ValueError(
                f"saturated must be at most 1, which stands for the largest {source.dtype}; got {arguments.saturated:g}"
            )
        source = replace(source, curve=source.curve if arguments.transfer == "auto" else arguments.transfer)
        if fit:
            estimate = psf_fit.fitted(arguments.psf.removeprefix(psf_fit.PREFIX), source, most)
            psf_fit.warn(estimate)
            psf = estimate.psf
            if not arguments.json:
                print(f"psf: {estimate}")
        source = replace(source, metadata=_with_history(arguments, source.metadata, estimate))
        if isinstance(psf, psf_field.Field):
            psf = psf.operator(source, options)
        else:
            psf_spec.check_psfs(psf, source)
        options |= _background_of(arguments, source, most) | _in_light(arguments, source, options)
        dtype = pixels.output_dtype(source.dtype, arguments.dtype and np.dtype(arguments.dtype)).newbyteorder("=")
        how = {"fill": arguments.fill, "separate": arguments.channels == "separate", "once": arguments.mu == ONCE}
        paths, level = (Path(arguments.image), Path(arguments.out)), _level(arguments, source)
        request = Request(source, *paths, psf, options, most, dtype, *level, **how)
        if not _fits(request):
            accounts = deblur_tiled.deblur_in_tiles(request)
            _warn_of_lost(arguments, source, dtype)
            _print_tiles(arguments, source, dtype, options, accounts, estimate)
            return
        files.check_size(arguments.image, source, most)
        written, results = _page_by_page(request)
    figures = {"out": str(arguments.out), "shape": [*source.full_shape[: -len(source.shape)], *written.shape]}
    figures |= {"dtype": written.dtype.name, **_said(source, estimate)}
    _warn_of_lost(arguments, source, dtype)
    _print(arguments, figures, results, source)


def _fits(request: Request) -> bool:
    """Whether a page can be read and solved within the memory."""
    source, psf, most = request.source, request.psf, request.max_memory
    if source.takes > most and (not source.in_parts or source.part > most):
        return True  # it is refused as too large to read
    psf = psf[..., 0] if isinstance(psf, np.ndarray) and psf.ndim == 3 and source.planes > 1 else psf
    one = pixels.to_real(np.zeros((1, 1, *source.shape[2:]), source.dtype), source.alpha)
    shape = (*source.shape[:2], *one.shape[2:])
    options = {
        name: value for name, value in request.options.items() if name not in ("weights", "init", "seed", "device")
    }
    weighted = "weights" in request.options or request.level is not None or source.missing is not None
    axis = None if len(shape) == 2 else -1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said when it is solved
        need = estimate_memory(shape, psf, dtype=one.dtype, weighted=weighted, channel_axis=axis, **options)
    # The page in both dtypes, before and after.
    need += 2 * math.prod(shape) * (one.itemsize + source.dtype.itemsize)
    return need <= most or request.options.get("device") == "cuda"


def _print_tiles(
    arguments: argparse.Namespace,
    source: Source,
    dtype: np.dtype[Any],
    options: dict[str, Any],
    accounts: list[Account],
    estimate: PsfFit | None,
) -> None:
    """Print how an image went tile by tile, or several, of which an account is what all have in common."""
    account = replace(
        accounts[0],
        **{name: max(getattr(each, name) for each in accounts) for name in ("n_iter", "noise", "misfit")},
        **{name: sum(getattr(each, name) for each in accounts) for name in ("seconds", "resumed")},
        stop_reasons=sorted({reason for each in accounts for reason in each.stop_reasons}),
    )
    several = source.pages is not None or len(accounts) > 1
    if arguments.json:
        figures = {
            "out": str(arguments.out),
            "shape": [*source.full_shape],
            "dtype": dtype.name,
            **_said(source, estimate),
        }
        each = [{name: _number(value) for name, value in asdict(one).items()} for one in accounts]
        figures |= {"images": each, "seconds": account.seconds} if several else each[0]
        print(json.dumps(figures, allow_nan=False))
        return
    roots = options.get("data") in (None, "root") and options.get("prior", "gradient") == "gradient"
    squares = " of squares" if roots and account.tiles > 1 else ""
    print(
        f"{arguments.out}: {f'{len(accounts)} images, each ' * several}{account.tiles} tiles of "
        f"{account.tile[0]}x{account.tile[1]}, mu {' '.join(f'{each.mu:.3g}' for each in accounts[:8])}{squares}, "
        f"noise {account.noise:.2g}, misfit {account.misfit:.2g}, "
        f"at most {account.n_iter} iterations, stop reason {' or '.join(account.stop_reasons)}, {account.seconds:.2f} s"
        + (f" ({account.resumed} tiles from before)" if account.resumed else "")
        + _remarks(source)
    )


def _with_history(arguments: argparse.Namespace, metadata: Metadata | None, estimate: PsfFit | None) -> Metadata:
    """Metadata that says what was done."""
    words = [f"fastdeblur {__version__} deblur"]
    named = ("psf", "psf_positions", "psf_from", "axes", "prior")
    for name in (*named, *SAME, "weights", "background", "read_noise", "saturated", "init"):
        value = getattr(arguments, name)
        if name == "weights" and arguments.weights_are != "weights":
            value = f"{value} --weights-are {arguments.weights_are}"
        if name == "psf" and estimate is not None:
            value = f"{value} ({', '.join(f'{name} {each:.5g}' for name, each in estimate.parameters.items())})"
        if value is not None and name not in ("path", "device", "workers"):
            said = " ".join(map(str, value)) if isinstance(value, list) else value
            words.append(f"--{name.replace('_', '-')} {said}")
    metadata = metadata or Metadata(files.format_of(Path(arguments.image)))
    return replace(metadata, history=" ".join(words))


def _warn_of_lost(arguments: argparse.Namespace, source: Source, dtype: np.dtype[Any]) -> None:
    """Name in one line what of the file's metadata the output has no place for."""
    format = files.format_of(Path(arguments.out))
    lost = [] if source.metadata is None else files.lost(source.metadata, arguments.out, source.full_shape, dtype)
    if source.metadata is not None and lost:
        why = "" if format == source.metadata.format else f": {format} has no place for that"
        validation.warn(f"{arguments.out} does not keep {', '.join(lost)}{why}", UserWarning)


def _options(arguments: argparse.Namespace, most: int) -> dict[str, Any]:
    """Only what was asked for, so that the library's defaults are the command's."""
    options = {name: getattr(arguments, name) for name in SAME if getattr(arguments, name) is not None}
    if arguments.prior is not None:
        options["prior"] = None if arguments.prior == "none" else arguments.prior
    for name in ("weights", "init"):
        value = getattr(arguments, name)
        if value is not None:
            named = name == "init" and value in STARTS
            options[name] = value if named else pixels.to_real(files.read_colours(value, most))
    if arguments.weights is not None:
        options["weights"] = uncertainty.weights_of(options["weights"], arguments.weights_are, arguments.weights)
    elif arguments.weights_are != "weights":
        raise ValueError(f"weights-are must come with --weights FILE; got {arguments.weights_are} alone")
    if arguments.mu == ONCE:
        options["mu"] = "auto"
    return {**options, "progress": arguments.progress}


def _in_light(arguments: argparse.Namespace, source: Source, options: dict[str, Any]) -> dict[str, Any]:
    """The options that differ where a curve is undone: light is not negative, and a start is as the image is."""
    if source.curve == "linear":
        return {}
    defaults: dict[str, Any] = {}
    # Without bounds there are methods that know none.
    if arguments.bounds is None and arguments.solver != "exact" and arguments.path in (None, "auto", "fft"):
        defaults["bounds"] = (0, None)
    if isinstance(options.get("init"), np.ndarray):
        defaults["init"] = transfer.decode(options["init"], source.curve, alpha=False)
    return defaults


def _level(arguments: argparse.Namespace, source: Source) -> tuple[float | None, bool]:
    """From what on pixels are ignored, if any are, and whether with all of their channels."""
    if arguments.saturated is None and source.curve != "linear" and source.dtype.kind in "iu":
        return 1.0, True
    return arguments.saturated if _is_number(arguments.saturated) else None, False


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _background_of(arguments: argparse.Namespace, source: Source, most: int) -> dict[str, Any]:
    """The options of a background and of read noise, for an image whose pixels have become real numbers.

    Counts that are divided by `white` have a variance that is so many times smaller than they, not than its square.
    """
    options: dict[str, Any] = {}
    background, noise, white = arguments.background, arguments.read_noise, pixels.white(source.dtype)
    if isinstance(background, str):
        image = files.read_colours(background, most)
        options["background"] = image.astype(validation.working_dtype(image)) / white
    elif background is not None:
        options["background"] = validation.real("background", background, "at least 0") / white
    if "background" in options and source.curve != "linear":
        light = transfer.decode(options["background"], source.curve, alpha=False)
        options["background"] = light if light.ndim else float(light)
    if noise is not None:
        options["read_noise"] = validation.real("read_noise", noise, "at least 0") / math.sqrt(white)
    return options


def _page_by_page(request: Request) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Restore and write all pages; returns the first as it was written, and the figures of each."""
    source, first = request.source, request.source.page(0)
    planned = replace(source, shape=first.shape, dtype=request.dtype)
    files.check_out(request.out, planned, source.pages, alpha=source.alpha)
    clipped = pixels.Clipped()
    rest = (source.page(number) for number in range(1, source.pages or 1))
    pages = _restored(itertools.chain([first], rest), request, clipped)
    written, accounts = next(pages)
    results = [_figures_of(accounts)]
    with files.saving(request.out, written, source.pages, source.metadata, alpha=source.alpha) as put:
        put(written)
        for page, accounts in pages:
            put(page)
            results.append(_figures_of(accounts))
    clipped.warn(request.dtype)
    return written, results


def _restored(
    images: Iterable[np.ndarray], request: Request, clipped: pixels.Clipped
) -> Iterator[tuple[np.ndarray, list[Result]]]:
    """Images of one shape, restored, as they are written, with how that went."""
    source, options, level = request.source, request.options, request.level
    solver, channel = None, source.channel_of(0)
    for number, image in enumerate(images):
        everywhere = (slice(0, image.shape[0]), slice(0, image.shape[1]))
        mask = source.missing_mask(image, everywhere, number)
        real = source.real(image, mask)
        if solver is None or channel != source.channel_of(number):
            channel = source.channel_of(number)
            mu = None if solver is None else solver.mu
            solver = Channels(request.psf_of(channel), real.shape, options, request.separate, mu)
        weights = None
        if level is not None:
            weights = deblur_tiled.unsaturated(real, level, options.get("weights"), request.all_channels)
            if request.all_channels and not weights.any():  # no pixel says how bright others were
                weights = None
        restored, accounts = solver.solve(real, weights)
        if number == 0 and request.once:
            solver.keep_mu(accounts)
        yield source.encode(restored, image, None if request.fill else mask, clipped, request.dtype), accounts


def _figures_of(accounts: list[Result]) -> dict[str, Any]:
    """Of an image that was solved at once, or of one that was solved a channel after the other."""
    figures = [_figures(account) for account in accounts]
    if len(figures) == 1:
        return figures[0]
    joined: dict[str, Any] = {name: [each[name] for each in figures] for name in ("mu", "noise", "misfit")}
    joined |= {name: sum(each[name] for each in figures) for name in ("n_iter", "n_products", "seconds")}
    reasons = " or ".join(sorted({each["stop_reason"] for each in figures}))
    return joined | {"stop_reason": reasons, "path": figures[0]["path"], "channels": figures}


def _figures(result: Result) -> dict[str, Any]:
    """A result without its image, in what JSON has; it has no NaN and no infinity."""
    figures = {field.name: getattr(result, field.name) for field in fields(result) if field.name != "image"}
    figures["history"] = [_number(value) for value in figures["history"].tolist()]
    return {name: _number(value) for name, value in figures.items()}


def _number(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print(
    arguments: argparse.Namespace, figures: dict[str, Any], results: list[dict[str, Any]], source: Source
) -> None:
    pages = source.pages
    seconds = sum(result["seconds"] for result in results)
    if arguments.json:
        figures |= results[0] if pages is None else {"seconds": seconds, "pages": results}
        print(json.dumps(figures, allow_nan=False))
        return
    each = [figures for result in results for figures in result.get("channels", [result])]
    reasons = " or ".join(sorted({result["stop_reason"] for result in each}))
    of = "mu " + " ".join(f"{result['mu']:.3g}" for result in results[0].get("channels", results[:1]))
    if pages is not None:
        of = f"{pages} pages" + f", {of} for all" * (arguments.mu == ONCE)
    if source.alpha:
        of = f"alpha as it was, {of}"
    worst = max(each, key=lambda result: result["misfit"] or 0.0)
    if worst["misfit"] is not None:
        of += f", noise {worst['noise']:.2g}, misfit {worst['misfit']:.2g}"
    print(
        f"{arguments.out}: {of}, path {results[0]['path']}, "
        f"{sum(result['n_iter'] for result in results)} iterations, stop reason {reasons}, {seconds:.2f} s"
        + _remarks(source)
    )


def _said(source: Source, estimate: PsfFit | None) -> dict[str, Any]:
    """Remarks on how an image was read and of an estimated psf, for JSON."""
    remarks: dict[str, Any] = {"transfer": source.curve, "notes": list(source.notes)}
    return remarks if estimate is None else remarks | {"psf": psf_fit.said(estimate)}


def _remarks(source: Source) -> str:
    """Remarks on how an image was read, for the printed line."""
    curve = source.curve if isinstance(source.curve, str) else f"{source.curve:g}"
    return "".join(f"; {each}" for each in (f"transfer {curve}", *source.notes))


def _axes(text: str) -> axes.Axes:
    try:
        return axes.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("axes ")) from None


def _with_nodata(arguments: argparse.Namespace, source: Source) -> Source:
    """A source of which pixels of the value that was given are missing, too."""
    if arguments.fill:
        source = replace(source, metadata=tiff_layout.filled(source.metadata))
    if arguments.nodata is None:
        return source
    if arguments.nodata == "none":
        return replace(source, missing=None)
    value = arguments.nodata
    if value == "fill":
        value = zarr_reading.fill_value(source.metadata)
        if value is None:
            raise ValueError(f"nodata may be fill for a .zarr with a fill value; {arguments.image} has none")
    if missing.as_stored(value, source.dtype) is None:
        raise ValueError(f"nodata must be a value that {source.dtype.name} holds; got {value:g}")
    return replace(source, missing=missing.Missing(values=(value,)) | source.missing)
