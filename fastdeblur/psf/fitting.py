"""Psf estimation from a blurred image alone: parameters of a family by the evidence of the power spectrum."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import validation
from ..kernels.runtime import forks
from ..problem.spectrum import spread
from . import spectra, widths
from .families import FAMILIES, Family, chosen

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Side of the tiles whose spectra are averaged, the least, and how many are taken at most.
TILE, LEAST_TILE, MOST_TILES = 256, 48, 96
# Side of those for a first look at all psfs.
COARSE_TILE = 128
# Of an image in which nearly all pixels are within this share of its range, the others are points.
POINTS = 0.01
# Dispersion that the search begins with; photographs have 2 to 12.
DISPERSION = 2.0
# Standard errors are so many times those by the curvature: spectra of photographs are not quite as the model has them.
# (On six photographs with noise of 0.3 to 3 %, white and after JPEG, the truth was within two of them in 98 to 100 % of
# cases of Gaussians, disks and motions; on twelve others with 0.3 and 1 % in 94 and 97 % of Gaussians and disks.)
CALIBRATION = 1.5
# Psfs that differ by less in all are the same as far as the angle goes, which is looked at in steps of so many degrees.
SAME_PSF, ANGLE_STEP = 0.01, 0.1
# How many local maxima of the evidence on the grid of starting values are refined.
REFINED = 3
# Those whose log evidence, by a first look, is less than this below the highest.
NEAR = 30.0
# Values of a parameter that the evidence hardly bounds within its range, over which another is averaged.
AVERAGED = 9
# Another maximum, another family, or no blur at all is not excluded where its log evidence is less than this below.
UNSURE = 3.0
# A psf with more than this share of its light in one pixel is hardly a blur: sharp photographs have as much.
SHARP = 0.35
# The logarithm of a Moffat profile's exponent, and by how much it differs: of seeing it is 2.5 to 4.8.
EXPONENT = (math.log(3.3), 0.35)
# By how much, as a logarithm, the likely range of a family's width shrinks where steps say something of it: that is no
# evidence against the family.
NARROWED = 1.0
# Maxima whose log evidence, with a dispersion and tiles for a first look, is less than this below are looked at again.
UNLIKELY = 8.0


@dataclass(frozen=True, eq=False)
class PsfFit:
    """A psf that was estimated from a blurred image, by `fit`.

    Attributes
    ----------
    psf : ndarray, float64, shape (rows, cols)
        It sums to 1, its centre is at ``psf.shape // 2``.
    family : str
        The family's name; of several, the likeliest.
    parameters : dict of str to float
        Its parameters by name, lengths in pixels, angles in degrees.
    errors : dict of str to float
        Their standard errors: 0 of what was fixed.
    evidence : dict of str to float
        Of each family the logarithm of the image's marginal likelihood, less that of no blur.
    misfit : float
        By how many times the power spectrum differs more from the fitted one than chance would have it.  It is 1 for
        textures, 1.5 to 3 for photographs, and larger where no psf of the families fits.
    warnings : tuple of str
        Reasons to doubt it.
    """

    psf: np.ndarray
    family: str
    parameters: dict[str, float]
    errors: dict[str, float]
    evidence: dict[str, float]
    misfit: float
    warnings: tuple[str, ...]
    _curves: tuple[np.ndarray, ...]

    def __str__(self) -> str:
        """One line: the family, and its parameters with their errors."""
        values = ", ".join(f"{name} {value:.4g} ± {self.errors[name]:.2g}" for name, value in self.parameters.items())
        return f"{self.family}: {values}"

    def __repr__(self) -> str:
        """As `__str__`."""
        return f"<PsfFit {self}>"

    def plot(self) -> Figure:
        """The psf, and the image's power spectrum with the fitted one.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If there is no matplotlib.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise ImportError('pictures need matplotlib: pip install "fastdeblur[plot]"') from None
        figure = Figure(figsize=(9.6, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
        rows, cols = self.psf.shape
        top, edge = -(rows // 2) - 0.5, -(cols // 2) - 0.5
        shown = left.imshow(self.psf, interpolation="nearest", extent=(edge, edge + cols, top + rows, top))
        left.set(title=str(self), xlabel="pixels across", ylabel="pixels down")
        figure.colorbar(shown, ax=left, label="share of the light")
        radius, observed, signal, noise = self._curves
        right.loglog(radius, observed, ".", color="0.4", label="image")
        right.loglog(radius, signal + noise, color="tab:blue", label="fitted")
        right.loglog(radius, noise, "--", color="tab:orange", label="noise")
        right.set(title="Power spectrum", xlabel="radians a pixel", ylabel="power")
        right.set_ylim(0.3 * observed.min(), 3 * observed.max())
        right.legend()
        return figure


def fit(
    image: Any,
    family: str | Sequence[str] | Callable[..., Any],
    *,
    parameters: dict[str, Any] | None = None,
    channel_axis: int | None = None,
) -> PsfFit:
    """Estimate the psf of a blurred image among those of a family, from the image alone.

    Parameters
    ----------
    image : array_like, shape (rows, cols), or with a channel axis
        The blurred image, in linear light (see `fastdeblur.transfer.decode` for photographs).  NaN pixels are missing.
        Channels are averaged.
    family : str, sequence of str or callable
        One of these, several, of which the likeliest is taken, or "all" of them but "elliptical":

        - "gaussian": ``sigma``
        - "elliptical", a Gaussian of two: ``sigma`` along ``angle``, and ``sigma / ratio`` across it
        - "disk", out of focus: ``radius``
        - "motion": ``length`` and ``angle``
        - "box": ``size``, a whole number
        - "airy": ``radius`` of the first dark ring
        - "moffat": ``fwhm`` and ``beta``

        Or a function ``f(*values)`` that returns a psf, whose parameters are those of `parameters`, in that order.
    parameters : dict or None
        Values of parameters that are known, and ranges ``(low, high)`` of others: ``{"angle": 30, "length": (5, 20)}``.
        Of a function each parameter needs a range.
    channel_axis : int or None
        The axis of channels, if there is one.

    Returns
    -------
    PsfFit
        The psf, its parameters with standard errors, the evidence of each family, and reasons to doubt them.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above; if the image is too small, flat, shows
        but points, or has no tile without missing pixels.

    Notes
    -----
    The evidence is the marginal likelihood of the periodogram of tiles [1]_ under a spectrum of photographs with free
    parameters, times the psf's, plus a smooth spectrum of noise, of which nothing need be known.  Of a Gaussian's or a
    Moffat profile's width the image's sharpest steps say more; what they mean was learned from blurred photographs.  A
    Moffat profile's exponent is expected to be about 3.3, near that of stars, if the image does not say.  What cannot
    be told apart in an image cannot be told here: a sharp picture of something soft from a blurred one, a disk of less
    than two pixels from a Gaussian.

    References
    ----------
    .. [1] P. Whittle, "Estimation and information in stationary time series", Arkiv för Matematik 2, 1953.

    Examples
    --------
    >>> import numpy as np
    >>> import fastdeblur as fd
    >>> tiles = np.random.default_rng(0).random((32, 32)).repeat(9, 0).repeat(9, 1)
    >>> blurred = fd.convolve(tiles, fd.psf.disk(4), boundary="reflect")
    >>> found = fd.psf.fit(blurred, "disk")
    >>> round(found.parameters["radius"], 1)
    4.0
    """
    plane, whole, range_ = checked(image, channel_axis)
    side = min(TILE, *plane.shape)
    families = chosen(family, parameters, side)
    fine = spectrum_of(plane, whole, range_, TILE)
    coarse = fine if side <= COARSE_TILE else spectrum_of(plane, whole, range_, COARSE_TILE)
    return _Search(fine, coarse, families, widths.Widths(plane, whole, range_, fine)).result()


def checked(image: Any, channel_axis: int | None) -> tuple[np.ndarray, np.ndarray | None, float]:
    """The image as one plane, where it is not missing (None: everywhere), and its range."""
    planes = validation.planes("image", image, channel_axis)
    missing = validation.has_missing("image", planes, np.asarray(image))
    plane = planes[0] if len(planes) == 1 else planes.mean(axis=0, dtype=np.float64)
    if min(plane.shape) < LEAST_TILE:
        raise ValueError(
            f"image must have at least {LEAST_TILE}x{LEAST_TILE} pixels for its psf to be estimated; its shape is "
            f"{plane.shape}"
        )
    whole = ~np.isnan(plane) if missing else None
    there = plane if whole is None else plane[whole][None]
    if there.size == 0:
        raise ValueError("image must have pixels that are not nan")
    if float(there.max()) - float(there.min()) <= 1e-6 * float(np.abs(there).max()):
        raise ValueError(
            f"image must not be flat for its psf to be estimated; all its pixels are about {there.flat[0]:g}"
        )
    most = float(there.max()) - float(there.min())
    nearly = spread(there[None] if there.ndim == 2 else there)
    if nearly < POINTS * most:
        raise ValueError(
            f"image must show more than a few points for its psf to be estimated from all of it; nearly all pixels are "
            f"within {100 * nearly / most:.1g} % of its range (see fastdeblur.psf.from_points; make single bright "
            "pixels nan)"
        )
    return plane, whole, nearly


def spectrum_of(plane: np.ndarray, whole: np.ndarray | None, range_: float, side: int) -> spectra.Spectrum:
    """The mean periodogram of tiles of so many pixels a side, or of what the image has."""
    tile = (min(plane.shape[0], side), min(plane.shape[1], side))
    places = _places(plane.shape, tile, whole)
    while not places and min(tile) > LEAST_TILE:
        tile = (max(tile[0] // 2, LEAST_TILE), max(tile[1] // 2, LEAST_TILE))
        places = _places(plane.shape, tile, whole)
    if not places:
        raise ValueError(
            f"image must have a part of {tile[0]}x{tile[1]} pixels without nan for its psf to be estimated (fill small "
            "holes)"
        )
    window = np.outer(*(np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2 for size in tile))
    power = np.zeros((tile[0], tile[1] // 2 + 1))
    covered = np.zeros(plane.shape, bool)
    for top, left in places:
        part = plane[top : top + tile[0], left : left + tile[1]].astype(np.float64)
        covered[top : top + tile[0], left : left + tile[1]] = True
        with forks.unforked():
            coefficients = np.fft.rfft2(window * (part - (window * part).sum() / window.sum()))
        power += coefficients.real**2 + coefficients.imag**2
    power /= len(places) * (window * window).sum() * range_**2
    return spectra.Spectrum(power, tile, int(covered.sum()))


def _places(shape: tuple[int, ...], tile: tuple[int, int], whole: np.ndarray | None) -> list[tuple[int, int]]:
    """Corners of tiles that overlap by half, without missing pixels; of many, some from everywhere."""
    starts = []
    for size, part in zip(shape, tile, strict=True):
        count = 1 if size == part else math.ceil((size - part) / (part / 2)) + 1
        starts.append(np.unique(np.linspace(0, size - part, count).round().astype(int)).tolist())
    places = [(top, left) for top in starts[0] for left in starts[1]]
    if whole is not None:
        places = [(top, left) for top, left in places if whole[top : top + tile[0], left : left + tile[1]].all()]
    if len(places) > MOST_TILES:
        places = [places[k] for k in np.linspace(0, len(places) - 1, MOST_TILES).round().astype(int)]
    return places


@dataclass
class _Maximum:
    """A local maximum of the evidence among a family's psfs."""

    family: Family
    places: tuple[float, ...]
    peak: float
    evidence: float = -math.inf
    errors: tuple[float, ...] = ()


def _mid_angles(family: Family, places: tuple[float, ...]) -> tuple[float, ...]:
    """Places whose angles are the middle of those with the same psf: a short motion along an axis has one for many."""
    middle = list(places)
    for k, kind in enumerate(family.parameters.values()):
        if kind.kind != "angle" or kind.fixed:
            continue
        psf, limits = family.psf(tuple(middle)), []
        for sign in (1, -1):
            turned = list(middle)
            while abs(turned[k] - middle[k]) < 45:
                turned[k] += sign * ANGLE_STEP
                if _difference(family.psf(tuple(turned)), psf) > SAME_PSF:
                    break
            limits.append(turned[k])
        middle[k] = kind.encode(kind.decode(sum(limits) / 2))
    return tuple(middle)


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """Sum of absolute differences of two psfs of odd sizes about their centres."""
    shape = [max(sizes) for sizes in zip(a.shape, b.shape, strict=True)]
    padded = [
        np.pad(each, [((n - m) // 2, (n - m) // 2) for n, m in zip(shape, each.shape, strict=True)]) for each in (a, b)
    ]
    return float(np.abs(padded[0] - padded[1]).sum())


class _Search:
    """Maxima of the evidence in families of psfs."""

    def __init__(self, fine: spectra.Spectrum, coarse: spectra.Spectrum, families: list[Family], steps: widths.Widths):
        self._spectrum, self._steps = coarse, steps
        self._predicted: dict[float, widths.Predicted | None] = {}
        self._dispersion = DISPERSION
        self._start: np.ndarray | None = None
        # Which noise there is shows with any psf that takes the fine detail away.
        levels = []
        for coarse.coloured in (False, True):
            levels.append(self._grid(FAMILIES["gaussian"].within({}, min(coarse.tile)))[0].peak)
        fine.coloured = coarse.coloured = levels[1] > levels[0] + UNSURE
        grids = [self._near(self._grid(family)) for family in families]
        for grid in grids:
            grid.sort(key=lambda each: -each.peak)
        best = max((each for grid in grids for each in grid[:1]), key=lambda each: each.peak)
        self._spectrum, self._start = fine, None
        self._dispersion = max(self._fit(best.family, best.places).dispersion(), 1.0)
        self._none = spectra.Fit(fine, fine.response(np.ones((1, 1))), self._dispersion).evidence
        self.maxima = []
        for grid in grids:
            likely = [each for each in grid if each.peak > grid[0].peak - UNLIKELY]
            self.maxima.append(sorted((self._refined(each, 0.15) for each in likely), key=lambda each: -each.peak))
        for each in self.maxima:
            self._judge(each[0])

    def _fit(
        self, family: Family, places: tuple[float, ...], rounds: tuple[int, float] = spectra.THOROUGH
    ) -> spectra.Fit:
        response = self._spectrum.response(family.psf(places))
        fitted = spectra.Fit(self._spectrum, response, self._dispersion, self._start, rounds)
        self._start = fitted.unknowns
        fitted.evidence += self._by_steps(family, places)
        return fitted

    def _by_steps(self, family: Family, places: tuple[float, ...]) -> float:
        """What the image's steps add to the evidence of a Gaussian's or Moffat profile's width."""
        if family.build is FAMILIES["gaussian"].build:
            width, flat = widths.FWHM * family.values(places)[0], 0.0
        elif family.build is FAMILIES["moffat"].build:
            width, exponent = family.values(places)
            flat = min(1 / exponent, widths.FLATTEST)
        else:
            return 0.0
        if flat not in self._predicted:
            self._predicted[flat] = self._steps.predicted(flat)
        predicted = self._predicted[flat]
        if predicted is None:
            return 0.0
        # (Student's, of four degrees of freedom: sometimes it is far off.)
        away = (math.log(width) - predicted.mean) / predicted.deviation
        out = NARROWED - 2.5 * math.log1p(away**2 / 4)
        if flat:
            out -= 0.5 * ((math.log(exponent) - EXPONENT[0]) / EXPONENT[1]) ** 2
        return out

    def _evidence(self, family: Family, places: tuple[float, ...]) -> float:
        return self._fit(family, places).evidence

    def _grid(self, family: Family) -> list[_Maximum]:
        """The highest local maxima among the starting values."""
        self._start = None
        starts = family.starts()
        values = np.array([self._fit(family, places, spectra.QUICK).evidence for places in starts])
        left = np.array(starts)
        maxima: list[_Maximum] = []
        while len(maxima) < REFINED and len(left):
            best = int(np.argmax(values))
            places = tuple(left[best].tolist())
            maxima.append(_Maximum(family, places, float(values[best])))
            # What is on the slopes of a maximum is none itself.
            away = family.distances(left, places)
            left, values = left[away > 2.5], values[away > 2.5]
        return maxima

    def _near(self, maxima: list[_Maximum]) -> list[_Maximum]:
        """Those of a grid's maxima that are not far below the highest, refined."""
        return [self._refined(each) for each in maxima if each.peak > maxima[0].peak - NEAR]

    def _refined(self, maximum: _Maximum, size: float = 0.5) -> _Maximum:
        """The maximum near a starting value, by the simplex method of Nelder and Mead."""
        from scipy.optimize import minimize

        family, kinds = maximum.family, list(maximum.family.parameters.values())
        free = [k for k in family.free() if kinds[k].kind != "whole"]
        start = list(maximum.places)
        self._start = None
        if not free:
            return _Maximum(family, maximum.places, self._evidence(family, maximum.places))
        spacings = family.spacings(maximum.places)
        steps = np.array([size * spacings[k] for k in free])

        def moved(moves: np.ndarray) -> tuple[float, ...]:
            places = list(start)
            for k, move in zip(free, moves * steps, strict=True):
                places[k] = kinds[k].encode(kinds[k].decode(places[k] + float(move)))
            return tuple(places)

        simplex = np.concatenate([np.zeros((1, len(free))), np.eye(len(free))])
        done = minimize(
            lambda moves: -self._evidence(family, moved(moves)), np.zeros(len(free)), method="Nelder-Mead",
            options={"initial_simplex": simplex, "xatol": 0.02, "fatol": 0.02, "maxfev": 30 * len(free)},
        )  # fmt: skip
        return _Maximum(family, moved(done.x), -float(done.fun))

    def _judge(self, maximum: _Maximum) -> None:
        """Standard errors and evidence from the curvature at a maximum (Laplace's approximation)."""
        family, kinds = maximum.family, list(maximum.family.parameters.values())
        free = family.free()
        maximum.places = _mid_angles(family, maximum.places)
        places = np.array(maximum.places)
        self._start = None
        peak = self._evidence(family, maximum.places)
        steps = np.array([self._step(family, places, k, peak) for k in free])
        count = len(free)
        curvature = np.zeros((count, count))
        drops = {}
        for a in range(count):
            for b in range(a, count):
                for sign in (1, -1):
                    moved = places.copy()
                    moved[free[a]] += steps[a]
                    moved[free[b]] += sign * steps[b] if a != b else (0 if sign == 1 else -2 * steps[a])
                    drops[a, b, sign] = peak - self._evidence(family, tuple(moved))
        for a in range(count):
            curvature[a, a] = max(drops[a, a, 1] + drops[a, a, -1], 1e-3)
        for a in range(count):
            for b in range(a + 1, count):
                # drop(+,+) - drop(+,-) is twice the mixed term.
                curvature[a, b] = curvature[b, a] = 0.5 * (drops[a, b, 1] - drops[a, b, -1])
        values, vectors = np.linalg.eigh(curvature)
        covariance = (vectors / np.maximum(values, 0.05)) @ vectors.T * np.outer(steps, steps)
        deviations = np.sqrt(np.diag(covariance))
        errors = np.zeros(len(kinds))
        volume = 0.0
        for k, deviation in zip(free, deviations, strict=True):
            scale = math.exp(places[k]) if kinds[k].kind == "scale" else 1.0
            errors[k] = CALIBRATION * scale * deviation
            volume += math.log(kinds[k].volume())
        maximum.errors, maximum.peak = tuple(errors.tolist()), peak
        occam = 0.5 * (count * math.log(2 * math.pi) + float(np.linalg.slogdet(covariance)[1])) if count else 0.0
        maximum.evidence = peak + min(occam - volume, 0.0) - self._none
        if [kinds[k].kind for k in free] == ["scale", "scale"]:
            self._average(maximum, free, deviations)

    def _average(self, maximum: _Maximum, free: list[int], deviations: np.ndarray) -> None:
        """Of two scales, the means over the second one's range where the evidence does not bound it.

        A Moffat profile's width depends on its exponent, of which an image says little: the exponent at the maximum is
        often one at an end of its range, and the curvature there says nothing of the others.
        """
        family, kinds = maximum.family, list(maximum.family.parameters.values())
        first, second = free
        low, high = (kinds[second].encode(end) for end in (kinds[second].low, kinds[second].high))
        peak_at = maximum.places[second]
        if low < peak_at - 2 * deviations[1] and peak_at + 2 * deviations[1] < high:
            return
        ends = max(low, peak_at - 4 * deviations[1]), min(high, peak_at + 4 * deviations[1])
        spacing = (ends[1] - ends[0]) / AVERAGED
        others = ends[0] + (np.arange(AVERAGED) + 0.5) * spacing
        order = np.argsort(np.abs(others - peak_at))
        step = max(0.02, min(float(deviations[0]), 0.1))
        peaks, means, squares = np.full(AVERAGED, -np.inf), np.zeros(AVERAGED), np.full(AVERAGED, step**2)
        means[order[0]] = maximum.places[first]
        for count, k in enumerate(order):
            if count:
                # From the nearest one that was done.
                done = order[:count]
                means[k] = means[done[np.argmin(np.abs(done - k))]]
            for _ in range(4):
                values = []
                for move in (-step, 0, step):
                    places = list(maximum.places)
                    places[first], places[second] = means[k] + move, others[k]
                    values.append(self._evidence(family, tuple(places)))
                bend = 2 * values[1] - values[0] - values[2]
                move = 0.5 * (values[2] - values[0]) / bend * step if bend > 0 else math.inf
                limit = 2 * step if bend > 0 else math.copysign(2 * step, values[2] - values[0])
                move = limit if math.isinf(move) else min(max(move, -2 * step), 2 * step)
                peaks[k] = max(*values, values[1] + 0.5 * bend * (move / step) ** 2 if bend > 0 else -math.inf)
                squares[k] = min(step**2 / max(bend, 0.05), 1.0)
                means[k] += move
                if abs(move) < step:
                    break
        share = np.exp(peaks - peaks.max()) * np.sqrt(squares)
        total = float(share.sum())
        share /= total
        places = list(maximum.places)
        for k, (mean, square) in ((first, (means, squares)), (second, (others, spacing**2 / 12))):
            places[k] = float(share @ mean)
            deviation = math.sqrt(float(share @ ((mean - places[k]) ** 2 + square)))
            errors = list(maximum.errors)
            errors[k] = CALIBRATION * math.exp(places[k]) * deviation
            maximum.errors = tuple(errors)
        maximum.places = tuple(places)
        volume = sum(math.log(kinds[k].volume()) for k in free)
        integral = float(peaks.max()) + math.log(total * spacing * math.sqrt(2 * math.pi))
        maximum.evidence = min(integral - volume, maximum.peak) - self._none

    def _step(self, family: Family, places: np.ndarray, k: int, peak: float) -> float:
        """A step along a parameter at which the evidence drops by about 1."""
        kind = list(family.parameters.values())[k]
        spacing = family.spacings(tuple(places.tolist()))[k]
        step = 0.1 * spacing if kind.kind != "whole" else 1.0
        for _ in range(8):
            drops = []
            for sign in (1, -1):
                moved = places.copy()
                moved[k] += sign * step
                drops.append(peak - self._evidence(family, tuple(moved)))
            drop = 0.5 * sum(drops)
            if 0.3 < drop < 3 or kind.kind == "whole":
                break
            step *= min(max(1 / math.sqrt(max(drop, 1e-2)), 0.2), 4.0)
            step = min(step, 4 * spacing)
        return step

    def result(self) -> PsfFit:
        """The likeliest family's fit."""
        ordered = sorted((each[0] for each in self.maxima), key=lambda each: -each.evidence)
        best = ordered[0]
        others = next(each for each in self.maxima if each[0] is best)[1:]
        family, kinds = best.family, best.family.parameters
        values = dict(zip(kinds, family.values(best.places), strict=True))
        errors = dict(zip(kinds, best.errors, strict=True))
        fitted = self._fit(family, best.places)
        said = []
        psf = family.psf(best.places)
        sharp = best.evidence < UNSURE or float(psf.max()) > SHARP
        if sharp:
            said.append("not blurred: without any blur, or with hardly any, the image would be about as likely")
        for name, kind in kinds.items():
            if not kind.fixed and not kind.whole_turn and kind.kind != "whole":
                place = kind.encode(values[name])
                if min(place - kind.encode(kind.low), kind.encode(kind.high) - place) < 1e-3 * kind.volume():
                    said.append(f"outside the range: {name} is at the end of its range, {values[name]:.4g}")
        for other in others:
            far = [
                abs(a - b) > 4 * max(error / (math.exp(a) if kind.kind == "scale" else 1), 1e-3)
                for a, b, error, kind in zip(best.places, other.places, best.errors, kinds.values(), strict=True)
            ]
            if any(far) and best.peak - other.peak < UNSURE:
                also = ", ".join(
                    f"{name} {value:.4g}" for name, value in zip(kinds, family.values(other.places), strict=True)
                )
                said.append(f"two minima: {also} is about as likely")
        for other_family in ordered[1:]:
            if best.evidence - other_family.evidence < UNSURE and not sharp:
                said.append(f"families: {other_family.family.name} is about as likely as {family.name}")
        return PsfFit(
            psf=psf,
            family=family.name,
            parameters=values,
            errors=errors,
            evidence={each.family.name: each.evidence for each in ordered},
            misfit=math.sqrt(max(fitted.dispersion(), 0.0)),
            warnings=tuple(said),
            _curves=fitted.rings(),
        )
