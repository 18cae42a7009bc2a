"""Verdict on a result: noise, misfit of the residual, and reasons to doubt it."""

from __future__ import annotations

import math

import numpy as np
import scipy.fft

from ..kernels.runtime import forks
from ..kernels.runtime.arrays import beside, module_of, on_host, transforms_of
from ..result import Result
from .improvement import improvement
from .options import Options
from .psf_likelihood import likelihood_gain
from .regularization import Padded, WeightEstimate, part_of
from .spectrum import FINE, contrast_share, spread
from .windows import kept_if_small, log_radius, transfer

# Side of the part of an image in which noise, where no weight is to be found, and residual are measured.
ENOUGH = 192
# Side of the squares in which the residual is compared with the image's details.
BLOCK = 7
# The residual is compared with the image in details of about these sizes, in pixels: where wrong psfs show most.
FINEST, COARSEST = 0.7, 3.0
# A psf is doubted where the residual is stronger where the image has details, by CONTRAST at least, and has enough of
# them: beyond noise and smoothing a share of UNEXPLAINED, and so much that its power exceeds theirs by EXCESS; or a
# SHARE beyond noise, where the contrast is STRIKING, or with it, where that is GLARING; or a LARGE one.
CONTRAST, UNEXPLAINED, EXCESS = 1.22, 0.09, 1.1
STRIKING, GLARING, SHARE, LARGE = 1.57, 2.2, 0.12, 0.3
# With WEAKER times the ridge that residual must be as much less as where a wrong psf has zeros: what is smoothed away
# goes faster, noise that is not white more slowly; and of the contrast less than FADED must stay.
WEAKER, LEAST_LEFT, MOST_LEFT, FADED = 0.1, (0.3, 0.44), 0.8, 0.72
# A psf is doubted, too, where more than LEFT of the details is left and others explain the power spectrum better by
# LIKELIER, in the logarithm of the likelihood; and never where they do worse by LESS_LIKELY.  Where turned ones differ
# by DIRECTED, they must explain it better by RATHER and by a SHARE_OF_TURNED of that, and so they must where the image
# was compressed by blocks: those errors are where details are.  (On twelve photographs, motions of 18 pixels that are
# 10 degrees or 20 % off are told in all 144 cases with noise of up to 0.3 %, in 41 of 48 with 1 %.  Right psfs are
# doubted in 0 of 360 with white noise or 8 bits, 8 of 432 with JPEG's errors or smoothed, enlarged or demosaicked noise
# (19 without the third rule), 0 of 16 of a shaken camera.  Where edges run along the axes, as in texts, others of what
# is anisotropic fit better by up to 470, and leave less than LEFT but for one of 189 cases.)  And it is doubted,
# where only more than LITTLE is left, if others explain it better by FAR_LIKELIER: of wrong motions in smooth images
# without noise no more is left.
LIKELIER, LESS_LIKELY, LEFT = 55.0, -5.0, 0.12
LITTLE, FAR_LIKELIER = 0.04, 400.0
DIRECTED, RATHER, SHARE_OF_TURNED = 20.0, 8.0, 0.1
# The share of missing pixels up to which the residual is the image's.
FEW_MISSING = 0.02
# The least side of an image that says enough for doubts.
TELLING = 48
# The share of the image's details that the residual may have for the psf's sake: measured ones leave 0.01 to 0.03.
PSF_ERROR = 0.025
# A misfit from which on a result is doubted, and how far beyond the image's range, in its own, on both sides.
DOUBTED, BEYOND = 3.0, 1.0
# How much nearer to the sharp image a result must be expected to be than the blurred one, in squares: where an image
# was compressed by blocks 0.6 decibels, for its errors are known less well.
NEARER, NEARER_COMPRESSED = 1.0, 1.15
# An image is of points or few shapes, of which no spectrum says where they are, if its contrast beyond ABOVE times the
# noise is in less than this share of its pixels.  (Fields of 30 to 6000 stars, 256 x 256, a Gaussian of 1, 0.1 to 3 %
# noise: up to 0.06; a white rectangle on black 0.14; photographs of all but stars with up to 0.4 % noise from 0.18 on.)
POINTS_SHARE, ABOVE = 0.17, 2.0
# By how much the optimality may be above `tol` when no more iterations are allowed.
UNCONVERGED = 10

PSF = (
    "the residual looks like the image, or its spectrum like another psf's, as with a psf that is too narrow, too wide "
    "or turned (try another psf; pixels that are clipped or that moved can have weight 0)"
)
RESIDUAL = "the residual is {:.1f} times what the noise allows (try a smaller mu or another psf)"
RANGE = (
    "the restored values reach from {:.3g} to {:.3g}, far beyond the image's (try a larger mu, bounds or another psf)"
)
WORSE = (
    "the blurred image is probably nearer to the sharp one than the result (try prior='gradient' or a larger mu, or "
    "leave the image as it is)"
)
STEPS = "after {} iterations the optimality, {:.1g}, is still far above tol={:g} (try a larger max_iter or mu)"


def judged(
    result: Result,
    planes: np.ndarray,
    weights: np.ndarray | None,
    psfs: list[np.ndarray],
    estimate: WeightEstimate | None,
    options: Options,
    unit: int,
    blurred: np.ndarray | None = None,
) -> tuple[float, float, list[str]]:
    """The noise's standard deviation, the misfit, and the doubts, as sentences without their ends.

    `estimate` is that of noise and mu, if the solve has made one; the result's image is larger than the caller's by
    two to the power of `unit`.  For psfs that vary, `psfs` has their mean, and `blurred` is the result's blur; whether
    the residual looks like the image is then not looked at.
    """
    part = _measured_part(planes, weights)
    if estimate is None:
        estimate = WeightEstimate(planes[part], psfs, None if weights is None else weights[part])
    telling = min(planes.shape[1:]) >= TELLING and estimate.noise > 0
    details = Details(estimate, telling)
    allowed = math.hypot(estimate.noise, PSF_ERROR * details.detail)
    if blurred is None:
        rms = _residual(result.image, planes, weights, psfs, part)
    else:
        rms = _rms(blurred - planes, weights, psfs[0].shape)
    misfit = rms / allowed if allowed > 0 else math.nan
    doubts: list[str] = []
    if not telling:
        return estimate.noise, misfit, doubts
    # The noise of photons looks like the image too, and so do filled pixels; where the image has hardly
    # more than noise there is nothing to look like.
    missing_share = 0.0 if weights is None else float((weights[part] == 0).mean())
    one_psf = blurred is None and missing_share <= FEW_MISSING
    if options.data != "poisson" and one_psf and doubts_psf(details, estimate):
        doubts.append(PSF)
    if options.mu is None:
        if misfit > DOUBTED and (options.patient or result.stop_reason != "max_iter"):
            doubts.append(RESIDUAL.format(misfit))
        low, high = float(result.image.min()), float(result.image.max())
        beyond = BEYOND * spread(planes)
        if low < float(planes.min()) - beyond and high > float(planes.max()) + beyond and -low > 0.3 * high:
            doubts.append(RANGE.format(*np.ldexp([low, high], -unit)))
        # (Not with photons, whose noise is not the same everywhere, nor of points, of which no spectrum says where, nor
        # where pixels are missing: highlights that were clipped are far from any estimate by the clipped image.)
        known = options.data != "poisson" and one_psf and missing_share == 0
        known = known and (options.patient or result.stop_reason != "max_iter")
        known = known and contrast_share(planes, ABOVE * estimate.noise) >= POINTS_SHARE
        nearer = NEARER_COMPRESSED if estimate.spectra.compressed else NEARER
        if known and improvement(on_host(result.image[part]), on_host(planes[part]), psfs, estimate) < nearer:
            doubts.append(WORSE)
    unconverged = result.stop_reason == "max_iter" and result.optimality > UNCONVERGED * options.tol > 0
    if unconverged and options.patient:
        doubts.append(STEPS.format(result.n_iter, result.optimality, options.tol))
    return estimate.noise, misfit, doubts


def doubts_psf(details: Details, estimate: WeightEstimate) -> bool:
    """Whether a psf that is turned or resized explains the image better, or the residual looks like the image.

    The former needs more of a residual than measured psfs leave; the latter, that the image's spectrum does not fit its
    own psf far better than the others.
    """
    resembles = details.resembles_image()
    if not resembles and details.left <= LITTLE:
        return False
    gain, by_direction = likelihood_gain(estimate, ENOUGH)
    if not resembles:
        return gain > (LIKELIER if details.left > LEFT else FAR_LIKELIER)
    if by_direction > DIRECTED or estimate.spectra.compressed:
        return gain > max(RATHER, SHARE_OF_TURNED * by_direction)
    return gain > LESS_LIKELY


def _measured_part(planes: np.ndarray, weights: np.ndarray | None) -> tuple[slice, slice, slice]:
    """The middle of planes; if more than half of its pixels are missing, the part of that size that has the most."""
    part = part_of(planes, ENOUGH)
    if weights is None or float((weights[part] > 0).mean()) >= 0.5:
        return part
    found = on_host(weights > 0).sum(axis=0, dtype=np.int64)
    counts = np.pad(found.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    rows, cols = (min(size, ENOUGH) for size in planes.shape[1:])
    inside = counts[rows:, cols:] - counts[:-rows, cols:] - counts[rows:, :-cols] + counts[:-rows, :-cols]
    top, left = (int(at) for at in np.unravel_index(inside.argmax(), inside.shape))
    return slice(None), slice(top, top + rows), slice(left, left + cols)


def _residual(
    restored: np.ndarray,
    planes: np.ndarray,
    weights: np.ndarray | None,
    psfs: list[np.ndarray],
    part: tuple[slice, slice, slice],
) -> float:
    """The root mean square of A x - b where no pixel beyond a part of the frame counts; NaN if that is nowhere."""
    fft, total, count = transforms_of(planes), 0.0, 0
    for k, (x, plane) in enumerate(zip(restored[part], planes[part], strict=True)):
        psf = psfs[k % len(psfs)]
        if any(taps > size for taps, size in zip(psf.shape, plane.shape, strict=True)):
            return math.nan
        shape = [scipy.fft.next_fast_len(size, real=True) for size in plane.shape]
        response = transfer(psf, (shape[0], shape[1]), plane)
        with forks.unforked():
            blurred = fft.irfft2(fft.rfft2(x.astype(np.float64), shape) * response, shape)
        blurred = blurred[: plane.shape[0], : plane.shape[1]]
        # Shifted by the psf's centre; what went round the frame is cut off.
        inner = tuple(
            slice(taps - 1 - taps // 2, size - taps // 2) for taps, size in zip(psf.shape, plane.shape, strict=True)
        )
        squares = (blurred[psf.shape[0] - 1 :, psf.shape[1] - 1 :] - plane[inner]) ** 2
        if weights is not None:
            squares = squares[weights[part][k][inner] > 0]
        total, count = total + float(squares.sum()), count + squares.size
    return math.sqrt(total / count) if count else math.nan


def _rms(residual: np.ndarray, weights: np.ndarray | None, taps: tuple[int, ...]) -> float:
    """The root mean square of a residual where no pixel beyond the frame counts; NaN if that is nowhere."""
    rows, cols = (
        slice(count - 1 - count // 2, size - count // 2) for count, size in zip(taps, residual.shape[1:], strict=True)
    )
    inner = residual[:, rows, cols]
    if weights is not None:
        inner = inner[weights[:, rows, cols] > 0]
    return float(np.sqrt(np.mean(np.square(inner, dtype=np.float64)))) if inner.size else math.nan


class Details:
    """What an image's ridge solution leaves of its details, in the middle.

    Attributes
    ----------
    detail : float
        Standard deviation of the image's details.
    share, left, unexplained : float
        What share of it the residual's is; without the noise; and without what the solution smooths away too.  The
        last two, and what follows, are not looked at if nobody asks, or if `share` is not even LITTLE.
    remaining : float
        What share of `left` a solution with WEAKER times the ridge has.
    excess : float
        The power of the residual's details over what noise and smoothing leave.
    contrast, of_weaker : float
        How much more residual there is where the image has most detail than where it has least, less what chance adds;
        and that with WEAKER times the ridge.
    """

    def __init__(self, estimate: WeightEstimate, telling: bool = True):
        parts, residual, detail, pixels = [], 0.0, 0.0, 0
        for k, plane in enumerate(estimate.planes[part_of(estimate.planes, ENOUGH)]):
            padded = Padded(plane, estimate.psfs[k % len(estimate.psfs)], estimate.bare)
            band = beside(_band(*padded.shape), padded.coefficients)
            details = _pixels(padded, padded.coefficients * band)
            squares = _pixels(padded, padded.coefficients * (padded.left * band)) ** 2
            down, across = padded.margins
            bright = plane[down : plane.shape[0] - down, across : plane.shape[1] - across]
            parts.append((padded, band, bright, details, squares))
            residual, detail = residual + float(squares.sum()), detail + float((details**2).sum())
            pixels += details.size
        self.detail = math.sqrt(detail / max(pixels, 1))
        self.share = math.sqrt(residual / detail) if detail > 0 else 0.0
        self.left, self.unexplained, self.remaining = 0.0, 0.0, 1.0
        self.excess, self.contrast, self.of_weaker = 1.0, 1.0, 1.0
        if not telling or self.share <= LITTLE:
            return
        self._sums, self._blocks = np.zeros(4), []  # type: np.ndarray, list[np.ndarray]
        while parts:
            self._add(*parts.pop(0), estimate)
        noise, smoothed, weaker, of_weaker = self._sums
        shares = [max(part, 0) / detail for part in (residual - noise, residual - noise - smoothed, weaker - of_weaker)]
        self.left, self.unexplained = math.sqrt(shares[0]), math.sqrt(shares[1])
        self.remaining = math.sqrt(shares[2]) / self.left if self.left > 0 else 1.0
        self.excess = residual / (noise + smoothed) if noise > 0 else 1.0
        residuals, of_less, slopes, bright = np.concatenate(self._blocks, axis=1)
        self.contrast, self.of_weaker = (_contrast(image, slopes, bright) for image in (residuals, of_less))

    def _add(
        self,
        padded: Padded,
        band: np.ndarray,
        bright: np.ndarray,
        details: np.ndarray,
        residual: np.ndarray,
        estimate: WeightEstimate,
    ) -> None:
        """What more there is to know of a plane."""
        coefficients, xp = padded.coefficients, module_of(details)
        left = padded.left * padded.psf_power  # the ridge's part of it
        weaker = WEAKER * left / (padded.psf_power - (1 - WEAKER) * left)
        weaker *= band
        left = padded.left * band
        of_weaker = _pixels(padded, coefficients * weaker) ** 2
        share = details.size / math.prod(padded.shape)
        noise, smoothed, noise_of_weaker = (share * part for part in _expected(padded, estimate, left, weaker))
        self._sums += [noise, smoothed, float(of_weaker.sum()), noise_of_weaker]
        slopes = xp.diff(details, axis=0)[:, :-1] ** 2 + xp.diff(details, axis=1)[:-1] ** 2
        images = residual[:-1, :-1], of_weaker[:-1, :-1], slopes, bright[:-1, :-1]
        self._blocks.append(np.stack([on_host(_block_means(image)).ravel() for image in images]))

    def resembles_image(self) -> bool:
        """Whether the residual looks like the image."""
        faded = self.of_weaker - 1 < FADED * (self.contrast - 1)
        if self.contrast > GLARING and self.share > SHARE and faded:
            return True
        if self.contrast < CONTRAST or not LEAST_LEFT[0] < self.remaining < MOST_LEFT:
            return False
        slow = self.remaining > LEAST_LEFT[1]
        if self.contrast > STRIKING and ((faded and self.left > SHARE) or (slow and self.unexplained > LARGE)):
            return True
        return faded and slow and self.unexplained > UNEXPLAINED and self.excess > EXCESS


def _pixels(padded: Padded, coefficients: np.ndarray) -> np.ndarray:
    """Pixels that the border hardly changes, in single precision, which is enough to compare them."""
    return padded.inverse(coefficients.astype(np.complex64))[padded.inner]


def _expected(padded: Padded, estimate: WeightEstimate, left: np.ndarray, weaker: np.ndarray) -> list[float]:
    """Of noise and of what is smoothed away, the squares in a residual, and of noise those in a weaker one."""
    # Frequencies that stand for two, but those of the first and perhaps the last column.
    times = beside(np.full(left.shape[1], 2.0), left)
    times[[0, -1] if padded.shape[1] % 2 == 0 else [0]] = 1
    radius, spectra, xp = log_radius(*padded.shape), estimate.spectra, module_of(left)
    # In place, for all of it is there at once.
    smoothed = beside(spectra.signal_at(radius), left)
    smoothed *= padded.response.real**2 + padded.response.imag**2
    smoothed /= spectra.scale
    noise = beside(spectra.noise_at(np.maximum(radius, FINE)), left)
    xp.maximum(noise, spectra.errors_of(smoothed), out=noise)
    noise *= times
    found = [float((part**2 * noise).sum()) for part in (left, weaker)]
    del noise
    smoothed *= times
    smoothed[0, 0] = 0
    return [found[0], float((left**2 * smoothed).sum()), found[1]]


def _contrast(residual: np.ndarray, slopes: np.ndarray, bright: np.ndarray) -> float:
    """Between squares that are about as bright, for noise may grow with brightness."""
    if residual.size < 64:
        return 1.0
    found = []
    for alike in np.array_split(np.argsort(bright), 4):
        order = alike[np.argsort(slopes[alike])]
        quarter = len(order) // 4
        least, most = residual[order[:quarter]].mean(), residual[order[-quarter:]].mean()
        if least > 0:
            found.append(math.log(most / least) / 2)
    return math.exp(np.mean(found)) - 1 / math.sqrt(residual.size) if found else 1.0


def _block_means(image: np.ndarray) -> np.ndarray:
    """Means over squares of BLOCK pixels a side."""
    rows, cols = (size // BLOCK for size in image.shape)
    blocks = image[: rows * BLOCK, : cols * BLOCK].reshape(rows, BLOCK, cols, BLOCK)
    return np.asarray(blocks.mean(axis=(1, 3))) if module_of(image) is np else blocks.mean(axis=(1, 3))


@kept_if_small
def _band(rows: int, cols: int) -> np.ndarray:
    """The transfer of details: a Gaussian of FINEST pixels less one of COARSEST."""
    squares = (2 * np.pi * np.fft.fftfreq(rows)) ** 2, (2 * np.pi * np.fft.rfftfreq(cols)) ** 2
    fine, coarse = (
        np.multiply.outer(*(np.exp(-0.5 * size**2 * each) for each in squares)) for size in (FINEST, COARSEST)
    )
    return np.asarray(fine - coarse)
