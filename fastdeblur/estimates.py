"""Memory that a solve will need: `estimate_memory`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import validation
from .deblurrer import Deblurrer
from .engines.workspaces import check_operator
from .kernels.cpu.rules import RULES
from .kernels.runtime import threads
from .operators.blur import Blur
from .operators.psf_field import PsfField
from .operators.varying import VaryingBlur, memory_of
from .problem.flux import corrects_flux
from .problem.options import Options
from .problem.verdict import ENOUGH
from .solvers.pcg.dct import applies
from .solvers.pcg.preconditioner import memory_of_corrections

# (python -m benchmarks.estimates sets all of this beside what is measured.)
# Images of the estimate's size that each method keeps at its peak, its result among them: those of one dtype.
IMAGES = {
    "exact": 11.4, "cosines": 9.6, "fourier": 5.4, "richardson_lucy": 7.3, "gd": 4.2, "momentum": 5.2, "nesterov": 5.2,
    "adagrad": 5.2, "adam": 6.2,
}  # fmt: skip
ADMM_IMAGES = {"tv": 16.4, "sparse": 23.0, "gradient": 16.8, "denoiser": 15.0}
LEARNED_IMAGES = 19.3
# Where steps of conjugate gradients take the place of transforms, beside the boundary corrections of their
# preconditioner; what a split variable of the blurred estimate takes more there, and weights, as planes of theirs.
ITERATIVE_IMAGES, SPLIT_DATA, SPLIT_WEIGHTS = 20.3, 2.0, 4.5
# What grids of several sizes and the two levels take where pixels are missing, in planes of weights.
MISSING = 7.2
# What psfs that vary take beside those, in images of the estimate's size: steps of conjugate gradients, the blurred
# result; with admm where its domain is blurred as a whole; with a preconditioner that is corrected place by place; by
# gradient descent.
VARYING, VARYING_PERIODIC, VARYING_CORRECTED, VARYING_DESCENT = 4.2, 9.2, 8.0, 0.6
# Copies of the boundary corrections, while they are computed.
CORRECTIONS = 1.4
# Beside those, for split variables that need the estimate a second time.
TWICE = 2.3
# Beside weights, what admm takes for unobserved pixels: masks and the continuation, where there are many.
UNOBSERVED = 2.0
# Bytes a pixel of what is looked at to find a weight: one plane of it at a time, in float64.
LOOKED_AT = 46
# And of what is looked at to judge the result, when the solve's own memory is idle but still there.
JUDGED = 60
# And of the sums by which the flux of points in counts is corrected, of one plane at a time; and beside them the result
# twice and blurred, in images.
OF_FLUX, BESIDE_FLUX = 44, 3.0
# What of what is looked at for a weight is still there when the solve is at its peak; it has given back the rest.
# Formulas come to theirs sooner.
STAYS, STAYS_BESIDE_COSINES, STAYS_BESIDE_FOURIER = 0.12, 0.5, 0.8
# Options that a Blur has of its own.
OWN = ("boundary", "path", "workers")
# And, for "root", to see whether the minimum is a constant image: all planes in float64, from about some weight on.
CONSTANT, HEAVY = 33, 3.0


def estimate_memory(shape: Any, psf: Any, *, dtype: Any = np.float32, weighted: bool = False, **options: Any) -> int:
    """How much memory `solve` will need, in bytes, before it is called.

    Parameters
    ----------
    shape : (int, int), or (int, int, int) with `channel_axis`
        The image's, in pixels, with the channel axis if there is one.
    psf : array_like, Blur or VaryingBlur
        As for `solve`.
    dtype : dtype
        The image's, in whatever it is to be passed.
    weighted : bool
        Whether there will be weights, or pixels that are NaN.
    **options
        As for `solve`: all of them.

    Returns
    -------
    int
        What is allocated at the peak beyond the image, psf and weights that are passed, the result included:
        within 20 % for images of 512 x 512 pixels or more; with ``data="root"``, up to half as much again where the
        minimum turns out to be a constant image, or nearly.  What the interpreter takes with this package, some
        120 MB, and the code that is compiled, some 60 MB, come on top.

    Raises
    ------
    TypeError, ValueError
        As `solve`; and if `device` is not "cpu".

    See Also
    --------
    deblur_large : for images that would need too much.

    Examples
    --------
    >>> import fastdeblur as fd
    >>> psf = fd.psf.gaussian(13, 2.0)
    >>> gigabytes = fd.estimate_memory((4096, 4096), psf, mu=0.1) / 1e9
    >>> bool(0.6 < gigabytes < 1.2)
    True
    """
    validation.options("estimate_memory", options, Deblurrer.__init__)
    if options.get("device", "cpu") != "cpu":
        raise ValueError(f"device must be 'cpu': a GPU's memory is its own; got {options['device']!r}")
    deblurrer = Deblurrer(psf, shape, **options)
    axis, whole = deblurrer._channel_axis, deblurrer.shape
    planes = (1, *whole) if axis is None else (whole[axis], *np.delete(whole, axis).tolist())
    working, boundary = validation.working_dtype(np.empty(0, dtype)), options.get("boundary", "unknown")
    if isinstance(psf, Blur):
        check_operator(psf, planes[1:], working, {name: options[name] for name in OWN if name in options})
        boundary = psf.boundary
    varying = None
    if isinstance(psf, VaryingBlur):
        crew = threads.count(psf.workers, threads.most_threads(), math.inf)
        varying = memory_of(PsfField(psf.psfs, *psf.positions), psf.path, psf.image_shape, crew)
    background = deblurrer._background if isinstance(deblurrer._background, float) else None
    return of_solve(
        deblurrer._options, deblurrer.psfs, planes, working, boundary, weighted or options.get("weights") is not None,
        images_beside(deblurrer._options, background), varying,
    )  # fmt: skip


def images_beside(options: Options, background: float | None) -> int:
    """How many more of the image a solve keeps for a background, a number, or None for an image, and read noise.

    The image without it, and, of photons, with it again; an image is copied, and scaled for photons.
    """
    photons, image = options.data == "poisson", background is None
    return (background != 0) + (photons and (background != 0 or options.read_noise > 0)) + image * (1 + photons)


def of_solve(
    options: Options,
    psfs: list[np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    boundary: str,
    weighted: bool,
    beside: int = 0,
    varying: int | None = None,
) -> int:
    """The same for checked options and planes of an image; it keeps so many images more `beside`.

    For psfs that vary `varying` are the bytes of their operators.
    """
    planes, frame = shape[0], (shape[1], shape[2])
    taps = (max(psf.shape[0] for psf in psfs), max(psf.shape[1] for psf in psfs))
    grown = frame[0] + taps[0] - 1, frame[1] + taps[1] - 1
    own = grown if boundary == "unknown" else frame
    estimate, size = planes * math.prod(own) * dtype.itemsize, dtype.itemsize
    looked = float(LOOKED_AT * math.prod(frame))
    weights = planes * math.prod(frame) * size * weighted
    formula = "exact"
    if not weighted and len(psfs) == 1 and varying is None:
        formula = "fourier" if boundary == "wrap" else "cosines" if applies(psfs[0], boundary) else "exact"
    smooth = estimate * IMAGES[formula] + (4.5 + MISSING) * weights
    corrections = 0.0
    if formula == "exact" or options.method == "admm":
        corrections = sum(
            2 * size * CORRECTIONS * memory_of_corrections(psf.shape, boundary, frame, own) for psf in psfs
        )
    if formula == "exact":
        heavy = options.data == "root" and options.mu is not None and options.mu >= HEAVY
        smooth += max(corrections, CONSTANT * planes * math.prod(own) * heavy)
    # The weight that is looked for, and the smooth image on the way to some, with its workspace.
    auto = options.mu is None
    if options.method == "admm":
        bounded, tied = options.bounds is not None, boundary not in ("unknown", "wrap")
        split_weights = 2 + UNOBSERVED
        stepped = tied if varying is None else boundary == "unknown" and options.data != "poisson"
        stepped &= options.prior in ("tv", "gradient")
        if stepped:
            images = ITERATIVE_IMAGES + TWICE * bounded + SPLIT_DATA * (weighted or options.data == "poisson")
            total, split_weights = estimate * images + corrections, split_weights + SPLIT_WEIGHTS
        else:  # boundaries that tie what is around the frame split the estimate itself, as bounds do
            images = ADMM_IMAGES[str(options.prior)] + TWICE * (bounded or tied)
            total = planes * math.prod(grown) * size * images
        total += split_weights * weights
        total += smooth * (options.data == "root")
    elif options.method == "exact":
        total = smooth
    elif options.method == "learned":
        total = estimate * LEARNED_IMAGES + weights
    elif options.method == "richardson_lucy":
        auto = options.tol > 0
        total = estimate * IMAGES["richardson_lucy"] + 2 * weights + smooth * auto
    else:
        total = estimate * IMAGES[options.method] + 3 * weights + smooth * (auto and options.data == "root")
    if auto:
        stays = STAYS
        if options.method == "exact":
            stays = {"cosines": STAYS_BESIDE_COSINES, "fourier": STAYS_BESIDE_FOURIER}.get(formula, STAYS)
        total = max(total + stays * looked, looked)
    if varying is not None:
        images = VARYING
        if options.method == "exact":
            images = VARYING_CORRECTED
        elif options.method == "admm":
            images = VARYING_CORRECTED if stepped else VARYING_PERIODIC if not tied else VARYING
        elif options.method in RULES:
            images = VARYING_DESCENT
        total += varying + images * estimate
    after = float(min(ENOUGH**2, math.prod(frame)) * JUDGED)
    if corrects_flux(options):
        after = max(after, (OF_FLUX + BESIDE_FLUX * planes * size) * math.prod(frame))
    return int(total + beside * planes * math.prod(frame) * size + after)
