"""Whether a result can be trusted: the noise, the misfit of the residual, and what is to be doubted."""

from __future__ import annotations

import math

import numpy as np

from . import forks
from .arrays import beside, module_of, on_host, transforms_of
from .boundary import reduced
from .options import Options
from .result import Result
from .spectrum import spread
from .weight import Padded, Seen, part_of

# Side of the part of an image in which noise, where no weight is to be found, and residual are measured.
ENOUGH = 192
# Side of the squares in which the residual is compared with the image's details.
BLOCK = 7
# What residuals have of details at most where the psf is right, and by how much more there is where the image has
# details.  (Fifteen scenes, six psfs, nine kinds of noise: both are passed in 19 of 810 images, 15 of them with JPEG's
# errors at quality 75 or 95 or smoothed noise; and, with noise of up to 0.3 %, by nine in ten motions of 18 pixels that
# are 10 degrees or 20 % off.  With 1 % half of those are told.)
UNEXPLAINED, CONTRAST = 0.05, 1.2
# The share of the details from which on they are noise, and of missing pixels up to which the residual is the image's.
ONLY_NOISE, FEW_HOLES = 0.7, 0.02
# The least side of an image that says enough for doubts.
TELLING = 48
# The share of the image's details that the residual may have for the psf's sake: measured ones leave 0.01 to 0.03.
PSF_ERROR = 0.025
# A misfit from which on a result is doubted, and how far beyond the image's range, in its own, on both sides.
DOUBTED, BEYOND = 3.0, 1.0
# By how much the optimality may be above `tol` when no more iterations are allowed.
UNSETTLED = 10

PSF = (
    "the residual looks like the image, as with a psf that is too narrow, too wide or turned (try another psf; "
    "pixels that are clipped or that moved can have weight 0)"
)
RESIDUAL = "the residual is {:.1f} times what the noise allows (try a smaller mu or another psf)"
RANGE = (
    "the restored values reach from {:.3g} to {:.3g}, far beyond the image's (try a larger mu, bounds or another psf)"
)
STEPS = "after {} iterations the optimality, {:.1g}, is still far above tol={:g} (try a larger max_iter or mu)"


def judged(
    result: Result,
    planes: np.ndarray,
    weights: np.ndarray | None,
    psfs: list[np.ndarray],
    seen: Seen | None,
    options: Options,
) -> tuple[float, float, list[str]]:
    """The noise's standard deviation, the misfit, and the doubts, as sentences without their ends.

    `seen` is what was found of the weight, if it had to be.
    """
    if seen is None:
        part = part_of(planes, ENOUGH)
        seen = Seen(planes[part], psfs, None if weights is None else weights[part])
    details = Details(seen)
    allowed = math.hypot(seen.noise, PSF_ERROR * details.detail)
    rms = residual(result.image, planes, weights, psfs)
    misfit = rms / allowed if allowed > 0 else math.nan
    doubts: list[str] = []
    if min(planes.shape[1:]) < TELLING or not seen.noise > 0:
        return seen.noise, misfit, doubts
    # The noise of photons looks like the image too, and so does what holes are filled with; where the image has hardly
    # more than noise there is nothing to look like.
    holes = 0.0 if weights is None else float((weights[part_of(weights, ENOUGH)] == 0).mean())
    tells = options.data != "poisson" and holes <= FEW_HOLES and details.unexplained < ONLY_NOISE
    if tells and details.unexplained > UNEXPLAINED and details.contrast > CONTRAST:
        doubts.append(PSF)
    if options.mu is None:
        if misfit > DOUBTED and (options.patient or result.stop_reason != "max_iter"):
            doubts.append(RESIDUAL.format(misfit))
        low, high = float(result.image.min()), float(result.image.max())
        beyond = BEYOND * spread(planes)
        if low < float(planes.min()) - beyond and high > float(planes.max()) + beyond and -low > 0.3 * high:
            doubts.append(RANGE.format(low, high))
    unsettled = result.stop_reason == "max_iter" and result.optimality > UNSETTLED * options.tol > 0
    if unsettled and options.patient:
        doubts.append(STEPS.format(result.n_iter, result.optimality, options.tol))
    return seen.noise, misfit, doubts


def residual(restored: np.ndarray, planes: np.ndarray, weights: np.ndarray | None, psfs: list[np.ndarray]) -> float:
    """The root mean square of A x - b where no pixel beyond the frame counts, in the middle; NaN if that is nowhere."""
    xp, fft = module_of(planes), transforms_of(planes)
    part = part_of(planes, ENOUGH)
    total, count = 0.0, 0.0
    for k, (x, plane) in enumerate(zip(restored[part], planes[part], strict=True)):
        psf = psfs[k % len(psfs)]
        if any(taps > size for taps, size in zip(psf.shape, plane.shape, strict=True)):
            return math.nan
        with forks.unforked():
            response = fft.rfft2(beside(reduced(psf.astype(np.float64), plane.shape, "wrap"), plane), plane.shape)
            blurred = fft.irfft2(fft.rfft2(x.astype(np.float64)) * response, plane.shape)
        # Shifted by the psf's centre; what went round the frame is cut off.
        inner = tuple(
            slice(taps - 1 - taps // 2, size - taps // 2) for taps, size in zip(psf.shape, plane.shape, strict=True)
        )
        squares = (blurred[psf.shape[0] - 1 :, psf.shape[1] - 1 :] - plane[inner]) ** 2
        there = xp.ones_like(squares) if weights is None else weights[part][k][inner] > 0
        total, count = total + float((squares * there).sum()), count + float(there.sum())
    return math.sqrt(total / count) if count else math.nan


class Details:
    """What an image's ridge solution leaves of its details, in the middle.

    Attributes
    ----------
    detail, unexplained : float
        Standard deviation of the image's details, of a few pixels' size, and what share of it the residual's is.
    contrast : float
        How much more residual there is where the image has most detail than where it has least, less what chance adds.
    """

    def __init__(self, seen: Seen):
        self._squares, self._blocks = np.zeros(3), [np.zeros((3, 0))]
        for k, plane in enumerate(seen.planes[part_of(seen.planes, ENOUGH)]):
            padded = Padded(plane, seen.psfs[k % len(seen.psfs)], seen.bare)
            waves, left, inner = padded.waves, padded.left, padded.inner
            band = beside(_band(*padded.shape), plane)
            bright = padded.inverse(waves - waves * left)[inner]
            details = padded.inverse(waves * band)[inner]
            waves *= left
            residual = padded.inverse(waves)[inner]
            waves *= band
            self._add(residual, padded.inverse(waves)[inner], details, bright)
        coarse_sum, detail_sum, pixels = self._squares
        self.detail = math.sqrt(detail_sum / max(pixels, 1))
        self.unexplained = math.sqrt(coarse_sum / detail_sum) if detail_sum > 0 else 0.0
        self.contrast = self._contrast()

    def _add(self, residual: np.ndarray, coarse: np.ndarray, details: np.ndarray, bright: np.ndarray) -> None:
        """One more plane."""
        self._squares += [float((coarse**2).sum()), float((details**2).sum()), details.size]
        xp = module_of(details)
        slopes = xp.diff(details, axis=0)[:, :-1] ** 2 + xp.diff(details, axis=1)[:-1] ** 2
        sums = [on_host(_block_means(image)).ravel() for image in (residual[:-1, :-1] ** 2, slopes, bright[:-1, :-1])]
        self._blocks.append(np.stack(sums))

    def _contrast(self) -> float:
        """Between squares that are about as bright, for noise may grow with brightness."""
        residual, slopes, bright = np.concatenate(self._blocks, axis=1)
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


def _band(rows: int, cols: int) -> np.ndarray:
    """The transfer of details: a Gaussian of 1.5 pixels less one of 5."""
    down, across = 2 * np.pi * np.fft.fftfreq(rows)[:, None], 2 * np.pi * np.fft.rfftfreq(cols)
    squares = down**2 + across**2
    return np.asarray(np.exp(-0.5 * 1.5**2 * squares) - np.exp(-0.5 * 5.0**2 * squares))
