"""Automatic mu and the noise, from one image: the mu of least expected error (`mu="auto"`).

Away from the border the ridge problem is diagonal in frequencies: with h = |psf|² and l the differences' square
there, the solution lacks the share ``ridge l / (h + ridge l)`` of a frequency of the sharp image, and has the noise's
times ``sqrt(h) / (h + ridge l)``.  From the spectra of signal and noise follows the ridge of least expected error;
and from how much noise it leaves, and how steep the solution is, the weights of other priors.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import scipy.fft

from ..kernels.cpu.shrink import POWER
from ..kernels.runtime import forks
from ..kernels.runtime.arrays import beside, module_of, on_host, transforms_of
from ..operators.blur import Blur
from ..operators.psf_field import PsfField
from ..operators.varying import VaryingBlur
from .learned import gain_of
from .spectrum import LEAST_NOISE, RIDGES, Periodogram, Spectra, spread
from .weights import typical
from .windows import laplacian, share_in_window, transfer

# Side of the part of an image from which to guess.
MIDDLE = 128
# A quarter of so many pixels a side, none of them missing, says enough of an image.
LARGE = 1024
# Edges, in shares of the image's range.
EDGE = 0.05
# How often missing pixels are filled anew from a new ridge, and how often with each.
ROUNDS, REFILLS = 3, 5
# Into how many parts a side is cut to look for a rectangle without missing pixels, whose sides are at least NARROW.
GRID, NARROW = 32, 32
# Side of the regions of an image whose psfs vary, and how many down and across at most.
REGION, MOST_REGIONS = 512, 4
# For each prior c of the weight ``c noise ridge^OF_RIDGE sqrt(p e / G)``, with the share p of the frequencies that the
# ridge solution has, the root G of its differences' mean square, and what the spectra say that this is, e, within
# bounds.  (Were the ridge ``(noise / e)^2``, its root would make this about noise² / e: the weight of differences that
# are distributed as ``exp(-|difference| / e)``.)  They are fitted to 309 pictures of BSDS500 with twelve psfs and white
# noise of 0.1 to 3 %, 84 more with JPEG's and other noise of files, a third of the cases of the six development
# photographs of benchmarks/_degraded.py, and sixteen photographs of a shaken camera.
MU_FACTORS, OF_RIDGE = {"tv": 1.46, "sparse": 0.73}, 0.475
# Bounds of e / G: further than that neither is what it should be.
UNLIKE = 0.9, 1.2
# By how much larger weights are where an image was compressed by blocks: those errors are where its edges are.
OF_COMPRESSED = 1.3
# Of the learned prior's weight: a number, and powers of the ridge, of the noise in shares of the range, and of the
# share of the frequencies that the ridge solution has; and what it is multiplied by at most, or divided.  (They are
# fitted to 60 crops of 180 x 180 of the training images, each with a made-up psf and noise of 2.55, 7.65 and another
# level of 255, wrap: on those left out of a fit 0.02 dB below the best of five weights, where powers of slopes, which
# stood here before, were 0.24 dB below.)
LEARNED_RULE = (2.08, 0.403, -0.374, 0.604)
MOST_FACTOR = 4.0
# What is left of errors of a psf or of JPEG is more than of as much white noise.  Where the ratio of both is more
# than a number, and another over the root of the share of the frequencies that the ridge solution has (the fewer they
# are, the more it varies by chance), or than the third, the weight is larger, by a power of that within bounds.  (Of
# 192 blurred photographs with white noise none is beyond.  Of 16 images of a shaken camera the best weight is some
# 1.5 times what the rule above says, and so it is of JPEGs of quality 75 and 90, unless far more is left.)
COLOURED, OF_COLOUR, MOST_OF_COLOUR = (1.01, 0.068, 1.25), 6.0, 1.6
# The mean length of differences, in shares of the root of their mean square.
LENGTH = 0.83


def ridge_of_root(planes: np.ndarray, psfs: list[np.ndarray], mu: float) -> float:
    """About the ridge of the root objective's minimiser, from the middle of the image.

    It is mu times the ratio of the norms ``‖residual‖² = sum f²|b|²`` and ``‖Dx‖² = sum f (1 - f) |b|² / ridge``.
    """
    rows, cols = planes.shape[1:]
    top, left = max(rows - MIDDLE, 0) // 2, max(cols - MIDDLE, 0) // 2
    spectra = Periodogram(on_host(planes[:, top : top + MIDDLE, left : left + MIDDLE]), psfs)
    ridges = RIDGES[::8]
    weights = root_weights(spectra.squares(ridges), ridges) * np.sqrt(spectra.scale)
    at = int(np.searchsorted(weights, mu))
    return float(ridges[min(at, len(ridges) - 1)] * spectra.scale)


def root_weights(squares: np.ndarray, ridges: np.ndarray) -> np.ndarray:
    """The weights of roots that lead to the ridges, from the squares of ‖residual‖ and ‖Dx‖ there; they rise."""
    residual, rough = squares
    weights: np.ndarray = np.maximum.accumulate(ridges * np.sqrt(rough / np.maximum(residual, 1e-300)))
    return weights


class WeightEstimate:
    """What an image says of its noise, and of the weights of priors.

    `weights` are those of the image's pixels, the largest near 1; missing pixels of the image have been filled.

    Attributes
    ----------
    ridge : float
        That of the gradient prior.
    noise : float
        Standard deviation of the noise, whatever its spectrum, without what an error of the psf adds.
    planes, psfs, bare
        The part of the image that was looked at, its psfs, and the ridge for weights of 1.
    spectra : Spectra
        Of that part.
    """

    def __init__(self, planes: np.ndarray, psfs: list[np.ndarray], weights: np.ndarray | None):
        self._typical_weight = typical(weights)
        self._brightness = max(abs(float(planes.max())), abs(float(planes.min()))) or 1.0
        missing = None if weights is None else weights == 0
        whole = None if missing is None else _complete_part(missing, psfs)
        self._complete = whole
        if whole is not None:
            planes, missing = planes[whole], None
        self.planes, self.psfs, self._missing = planes, psfs, missing
        present = 1.0 if missing is None else 1 - float(missing.sum()) / missing.size
        self._present = present
        spectra = Spectra(planes, psfs, spread(planes))
        if missing is not None and present < 1 and spectra.power.sum() > 0:
            for _ in range(ROUNDS):
                planes = _refilled(planes, missing, psfs, _ridge(spectra, present) * spectra.scale)
                spectra = Spectra(planes, psfs, spread(planes), filled=True)
            self.planes = planes
        self.spectra = spectra
        if not (spectra.power.sum() > 0 and spectra.response.sum() > 0):
            self.ridge, self.bare = spectra.scale * self._typical_weight, spectra.scale
            self.noise, self._used, self._left = 0.0, 1.0, 0.0
            self._complete_ridge, self._unlike, self._slope = 1.0, 1.0, 0.0
            return
        best = _ridge(spectra, present)
        self.bare = best * spectra.scale
        self.ridge = present * self.bare * self._typical_weight
        # What counts of the noise is what the solution has of it: other frequencies' does not.  It is seen where there
        # are pixels in the window, whose middle counts most.
        seen = present if missing is None else max(share_in_window(missing == 0), 1 / missing.size)
        left, variance = spectra.amplified(best) / seen, spectra.level**2 / seen
        self.noise, self._left = math.sqrt(variance), math.sqrt(left)
        self._complete_ridge = spectra.ridge() if present < 1 else best
        self._slope = solved = spectra.slope_of_solution(self._complete_ridge)
        self._unlike = min(max(spectra.slope() / solved if solved > 0 else 1.0, UNLIKE[0]), UNLIKE[1])
        passed = spectra.response / (spectra.response + self._complete_ridge * spectra.laplacian)
        self._used = float(np.average(passed, weights=spectra.count))

    def weight_of(self, prior: str, data: str, shift: np.ndarray | None = None) -> float:
        """The weight of another prior (see MU_FACTORS); `shift` is what photons were counted beside the image."""
        # (Of an image far darker than its bounds, next to nothing is left.)
        noise = max(self._left, LEAST_NOISE * spread(self.planes), 1e-150)
        if prior == "denoiser":
            return noise**2 * self._typical_weight
        if prior == "learned":  # it follows the noise by itself
            weight = self._typical_weight * gain_of(self.psfs) ** 2
            return weight * (self._curvature(shift) if data == "poisson" else 1.0)
        total = math.sqrt(self.spectra.scale)  # what solutions are divided by
        slope = total * MU_FACTORS[prior] * noise * self._complete_ridge**OF_RIDGE
        slope *= math.sqrt(self._used * self._unlike)
        slope *= OF_COMPRESSED if self.spectra.compressed else 1.0
        if data == "poisson":
            slope *= self._curvature(shift)
        if prior == "sparse":  # the slope there where edges begin
            slope /= _slope_of_sparse(spread(self.planes), total)
        return float(slope * self._typical_weight)

    def noise_to_smooth(self) -> float:
        """Standard deviation of the noise that the learned prior is to take for noise.

        Noise that is not white has more at low frequencies.  Where the image's slopes are hardly more than it, the
        prior would take that for details; where they are far more, all it removes is what is finest.
        """
        if not self._left > self.noise > 0:
            return self.noise
        share = self._left / math.hypot(self._left, LENGTH * self._slope)
        return math.hypot(self.noise, share * math.sqrt(self._left**2 - self.noise**2))

    def factor_of_learned(self) -> float:
        """By what more than the noise says the learned prior's weight is to be multiplied.

        The larger the ridge, the smoother the image; and of noise that is not white, as errors of the psf are, more is
        left than of as much that is.
        """
        noise = max(self.noise / spread(self.planes), LEAST_NOISE)
        number, of_ridge, of_noise, of_used = LEARNED_RULE
        factor: float = number * self._complete_ridge**of_ridge * noise**of_noise * self._used**of_used
        least, by_chance, most = COLOURED
        usual = min(least + by_chance / math.sqrt(max(self._used, 1e-9)), most) * self.noise
        if self._left > usual > 0:
            factor *= min((self._left / usual) ** OF_COLOUR, MOST_OF_COLOUR)
        return min(max(factor, 1 / MOST_FACTOR), MOST_FACTOR)

    def _curvature(self, shift: np.ndarray | None) -> float:
        """What photon counts weigh, compared with squares: between 1 / mean(b) and mean(1 / b).

        The first is right for photon noise, the second for noise that is the same everywhere.
        """
        counts = self.planes
        if shift is not None:  # of all columns, and as many planes and rows as there are, or one
            _, rows, cols = self._complete or (slice(None),) * 3
            counts = (counts + shift[:, rows if shift.shape[1] > 1 else slice(None), cols]).clip(min=0)
        mean = max(float(counts.mean(dtype=np.float64)), 1e-6 * self._brightness)
        inverse = float((1 / counts.clip(min=0.05 * mean)).mean(dtype=np.float64))
        return math.sqrt(inverse / mean)


def _slope_of_sparse(range_: float, total: float) -> float:
    """The sparse prior's slope at differences of EDGE in an image of this range, whose psf has the sum `total`."""
    return float(POWER * (EDGE * range_ / total) ** (POWER - 1))


def tv_weight_like(mu: float, planes: np.ndarray, psfs: list[np.ndarray]) -> float:
    """The weight of tv that goes with the weight `mu` of the sparse prior, as the automatic ones do."""
    total = max(float(np.abs(psf).sum(dtype=np.float64)) for psf in psfs) or 1.0
    return mu * MU_FACTORS["tv"] / MU_FACTORS["sparse"] * _slope_of_sparse(spread(planes), total)


def estimate_of(planes: np.ndarray, blurs: list[Blur], weights: np.ndarray | None) -> WeightEstimate:
    """What an image says that was blurred by one operator, or by one for each plane.

    Where psfs vary, the image's regions are looked at, each with its own mean psf.  (By the mean psf of all, sharp
    regions are taken for noise: camera and astronaut, a lens whose corners are out of focus by 4 pixels, 1 % noise: the
    weight was 3 to 4 times too small, which took 1.5 and 1.9 dB; the noise was found to be 1.13 and 1.07 %, by regions
    0.99 %.)
    """
    blur = blurs[0]
    if not isinstance(blur, VaryingBlur):
        return WeightEstimate(planes, [each.psf for each in blurs], weights)
    whole = slice(0, blur.image_shape[0]), slice(0, blur.image_shape[1])
    return estimate_of_field(PsfField(blur.psfs, *blur.positions), blur.image_shape, [whole], planes, weights)


def estimate_of_field(
    field: PsfField,
    shape: tuple[int, int],
    places: list[tuple[slice, slice]],
    planes: np.ndarray,
    weights: np.ndarray | None,
) -> WeightEstimate:
    """The same for places of one size in an image of a shape, whose planes come one after another.

    A place that has all of an axis is cut into regions along that; others are regions already.
    """
    channels, parts, of_parts, psfs = len(planes) // len(places), [], [], []
    for k, place in enumerate(places):
        own = slice(k * channels, (k + 1) * channels)
        cuts = [
            _regions(size, taps) if part.stop - part.start == size else [slice(0, part.stop - part.start)]
            for size, taps, part in zip(shape, field.psfs.shape[2:], place, strict=True)
        ]
        for rows, cols in itertools.product(*cuts):
            inside = [
                slice(part.start + cut.start, part.start + cut.stop)
                for part, cut in zip(place, (rows, cols), strict=True)
            ]
            mean = field.part([inside[0]], [inside[1]]).mean((rows.stop - rows.start, cols.stop - cols.start))
            psfs += [mean.astype(field.psfs.dtype)] * channels
            parts.append(planes[own, rows, cols])
            if weights is not None:
                of_parts.append(weights[own, rows, cols])
    return WeightEstimate(np.concatenate(parts), psfs, np.concatenate(of_parts) if of_parts else None)


def _regions(size: int, taps: int) -> list[slice]:
    """An axis of an image in regions of one size."""
    count = max(min(max(size // REGION, 2), MOST_REGIONS, size // (2 * taps)), 1)
    return [slice(k * (size // count), (k + 1) * (size // count)) for k in range(count)]


def part_of(planes: np.ndarray, side: int) -> tuple[slice, slice, slice]:
    """The middle of planes, of at most so many pixels a side."""
    rows, cols = planes.shape[1:]
    top, left = max(rows - side, 0) // 2, max(cols - side, 0) // 2
    return slice(None), slice(top, top + side), slice(left, left + side)


def _complete_part(missing: np.ndarray, psfs: list[np.ndarray]) -> tuple[slice, slice, slice] | None:
    """The largest rectangle without missing pixels, if it is large enough to stand for the image.

    (What fills a saturated lamp is never quite what the blur makes there, and is taken for noise.)
    """
    if not missing.any():
        return None
    frame = missing.shape[1:]
    edges = [np.unique(np.linspace(0, size, min(size, GRID) + 1).astype(int)) for size in frame]
    some = on_host(missing.any(axis=0))
    for axis in (0, 1):
        some = np.logical_or.reduceat(some, edges[axis][:-1], axis=axis)
    counts = np.pad(some.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    (rows, cols), best, largest = some.shape, 0, None
    height, width = 1, cols
    while height <= rows and width:  # the higher, the narrower
        inside = counts[height:, width:] - counts[:-height, width:] - counts[height:, :-width]
        free = np.argwhere(inside + counts[:-height, :-width] == 0)
        if not len(free):
            width -= 1
            continue
        if height * width > best:
            best, (top, left) = height * width, free[0]
            largest = slice(*edges[0][[top, top + height]].tolist()), slice(*edges[1][[left, left + width]].tolist())
        height += 1
    if largest is None:
        return None
    sides = [part.stop - part.start for part in largest]
    least = [max(NARROW, 2 * max(psf.shape[axis] for psf in psfs)) for axis in (0, 1)]
    if sides[0] < least[0] or sides[1] < least[1] or math.prod(sides) < min(math.prod(frame) / 4, LARGE**2 / 4):
        return None
    return slice(None), *largest


def _ridge(spectra: Spectra, present: float) -> float:
    """The ridge for an image of whose pixels only a share is there; what fills the others has no noise.

    That many pixels are as good as all with so much more noise.
    """
    return spectra.ridge(present**-2)


def _refilled(planes: np.ndarray, missing: np.ndarray, psfs: list[np.ndarray], ridge: float) -> np.ndarray:
    """Planes whose missing pixels are about those of the blurred ridge solution, by conjugate gradients.

    (No blur makes steps and kinks, which other fillings have at their edges; they would be taken for noise.  Putting
    in the blurred solution again and again converges to the same, but takes hundreds of times where more than a psf's
    size is missing.)
    """
    planes = planes.copy()
    for k, (plane, mask) in enumerate(zip(planes, missing, strict=True)):
        padded = Padded(plane, psfs[k % len(psfs)], ridge)
        filled = plane[mask].astype(np.float64)
        residual = padded.blurred(padded.coefficients)[mask] - filled
        step, squares = residual, float(residual @ residual)
        for _ in range(REFILLS):
            if not squares > 0:
                break
            image = beside(np.zeros(plane.shape), plane)
            image[mask] = step
            product = step - padded.blurred(padded.transformed(image))[mask]
            length = squares / max(float(step @ product), 1e-12 * float(step @ step))
            filled += length * step
            residual = residual - length * product
            last, squares = squares, float(residual @ residual)
            step = residual + squares / last * step
        plane[mask] = filled
    return planes


def _faded(size: int, before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixel at each position of an axis that is repeated beyond its ends, and how much of it is left there."""
    at = np.arange(-before, size + after)
    left = np.minimum((at + before) / max(before, 1), (size + after - 1 - at) / max(after, 1))
    return at.clip(0, size - 1), np.where((at < 0) | (at >= size), left, 1.0)


class Padded:
    """A plane that fades to its mean on all sides, as periodic Fourier coefficients, for a ridge problem.

    Attributes
    ----------
    margins : (int, int)
        By how much it is larger than the plane, on each side: the psf's size.
    inner : (slice, slice)
        The pixels that the border hardly changes.
    coefficients, response : ndarray
        Of the padded plane and the psf.
    left : ndarray
        What the ridge's solution leaves of each frequency: 0 of the mean.
    psf_power : ndarray
        What divides the psf's response in the solution.
    """

    def __init__(self, plane: np.ndarray, psf: np.ndarray, ridge: float):
        self._fft = transforms_of(plane)
        down, across = self.margins = tuple(min(taps, size) for taps, size in zip(psf.shape, plane.shape, strict=True))
        # (Transforms of lengths with large prime factors take five times as long.)
        more = [
            scipy.fft.next_fast_len(size + 2 * taps, real=True) - size - taps
            for size, taps in zip(plane.shape, self.margins, strict=True)
        ]
        (above, rows), (left, cols) = (
            (beside(each, plane) for each in _faded(size, before, after))
            for size, before, after in zip(plane.shape, self.margins, more, strict=True)
        )
        mean = float(plane.mean())
        faded = (plane.astype(np.float64) - mean)[above][:, left]
        faded *= rows[:, None]
        faded *= cols
        faded += mean
        self.shape = faded.shape
        with forks.unforked():
            self.coefficients = self._fft.rfft2(faded)
        self.response = transfer(psf, self.shape, plane)
        rough = ridge * laplacian(*self.shape)
        rough = beside(rough, plane)
        self.psf_power = self.response.real**2 + self.response.imag**2 + rough
        self.psf_power[0, 0] += ridge  # where the psf's sum is 0
        self.left = rough / self.psf_power
        # Where nothing that fades counts, even of what is shifted by the psf's centre.
        self.inner = slice(2 * down, plane.shape[0]), slice(2 * across, plane.shape[1])
        self._part = slice(down, down + plane.shape[0]), slice(across, across + plane.shape[1])

    def transformed(self, plane: np.ndarray) -> np.ndarray:
        """Coefficients of a plane with zeros around."""
        padded = module_of(plane).zeros(self.shape)
        padded[self._part] = plane
        with forks.unforked():
            coefficients: np.ndarray = self._fft.rfft2(padded)
        return coefficients

    def blurred(self, coefficients: np.ndarray) -> np.ndarray:
        """What the blurred ridge solution has in the plane."""
        return self.inverse(coefficients * (1 - self.left))[self._part]

    def inverse(self, coefficients: np.ndarray) -> np.ndarray:
        """Pixels of the padded plane."""
        with forks.unforked():
            pixels: np.ndarray = self._fft.irfft2(coefficients, self.shape)
        return pixels
