"""Refinement of a rough psf from the blurred image: turned and scaled, then fitted by non-negative least squares.

The image's evidence (see `fit`) judges every change: a psf is only replaced by one under which it is likelier.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import validation
from ..api import solve
from ..hygiene import centre, normalise, support
from ..kernels.runtime import forks
from . import fitting, spectra

# How far a psf may be turned, in degrees, and scaled.
TURN, SCALE = 25.0, (0.7, 1.4)
# Side of the tiles whose power spectrum is looked at.
TILE = 256
# By how much the evidence, a logarithm, must rise for a change to be believed: where the residual is more than noise
# explains, and where it is not.  (Of measured psfs with misfits of 0.5 to 0.9, changes that raised it by 5 to 60 cost
# up to 2 dB; one with a misfit of 1.6 gained 2 dB by 6.  Motions that were 10 degrees or 20 % off gained 140 and more.)
RISE, LARGE_RISE = 3.0, 60.0
# From which misfit on the residual is more than noise explains.
MISFIT = 1.05
# Most rounds of restoring the image and fitting the psf to it, and steps of projected gradient descent in a round.
ROUNDS, STEPS = 4, 300
# What the psf found is drawn to the one before, in shares of the power of the image's differences: where that is not
# right, and where noise explains the residual.
RIDGE, LARGE_RIDGE = 0.02, 0.2
# Where noise explains the residual, a fitted psf must raise the evidence by so much and lower the misfit to this share.
# (Of 16 images of measured psfs two are changed, which gain 0.1 and 0.4 dB.  Where the misfit fell by 2 %, PSNR changed
# by -1.3 to 0.2 dB.)
NEAR_RISE, NEAR_MISFIT = 5.0, 0.95
# Values below this share of the peak are noise of the fit.
LEAST = 0.02


@dataclass(frozen=True, eq=False, repr=False)
class RefinedPsf:
    """What `refine` returns.

    Attributes
    ----------
    psf : ndarray, shape (rows, cols)
        Not negative, sums to 1; the given one, normalised, if nothing was likelier.
    improved : bool
        Whether it was changed.
    message : str
        What was done, or why nothing was.
    angle : float
        By how many degrees it was turned, anticlockwise.
    scale : float
        By how much it was enlarged.
    evidence : ndarray
        Logarithms of how likely the image is, relative to no blur, with the given psf and after each change.

    Examples
    --------
    >>> import numpy as np, fastdeblur as fd
    >>> refined = fd.psf.refine(np.random.default_rng(0).random((96, 96)), fd.psf.motion(9, 30))
    >>> refined.improved
    False
    """

    psf: np.ndarray
    improved: bool
    message: str
    angle: float
    scale: float
    evidence: np.ndarray

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.psf.shape))
        return f"<RefinedPsf: {shape}, {self.message}>"


def refine(image: Any, psf: Any, *, rounds: int = ROUNDS, channel_axis: int | None = None) -> RefinedPsf:
    """A better psf from a rough one and the blurred image, without a family.

    First the psf is turned by up to 25 degrees and scaled by 0.7 to 1.4.  Then, by turns, the image is restored with
    the prior "sparse", and the psf fitted to its differences by non-negative least squares.  Each change is kept only
    if the image is likelier with it.

    Parameters
    ----------
    image : array_like, shape (rows, cols), or with a channel axis
        The blurred image in linear light, finite.  Channels, which share the psf, are averaged.
    psf : array_like, shape (taps_down, taps_across)
        A rough psf, not negative.
    rounds : int
        Most rounds of the second part; 0 leaves it out.  Where noise explains the residual of the given psf, there is
        at most one.
    channel_axis : int or None
        The axis of channels, if there is one.

    Returns
    -------
    RefinedPsf
        The psf, whether it was changed, and the evidence.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above, or if the image is too small or flat.

    See Also
    --------
    fit : finds a psf of few parameters without a rough one.

    Examples
    --------
    >>> import numpy as np, fastdeblur as fd
    >>> refined = fd.psf.refine(np.random.default_rng(0).random((96, 96)), fd.psf.motion(9, 30), rounds=0)
    >>> refined.psf.shape == fd.psf.motion(9, 30).shape
    True
    """
    planes = validation.planes("image", image, channel_axis)
    validation.finite("image", np.asarray(image))
    pixels = planes.mean(axis=0, dtype=np.float64)
    rough = validation.psf(psf)
    if (rough < 0).any():
        place = tuple(np.argwhere(rough < 0)[0].tolist())
        raise ValueError(f"psf must not be negative; at index {place} it is {rough[place]}")
    rounds = validation.integer("rounds", rounds, 0)
    if min(pixels.shape) < 2 * max(rough.shape):
        raise ValueError(
            f"image must be at least twice as large as the psf to refine it; its shape is {pixels.shape}, the psf's "
            f"{rough.shape}"
        )
    dtype = validation.working_dtype(rough)
    given = normalise(rough.astype(np.float64))
    judge = _Judge(pixels, given)
    best, evidence = given, [judge.evidence(given)]
    angle, scale, done = 0.0, 1.0, []
    restored, misfit = _restored(pixels, given)
    needed = RISE if misfit > MISFIT else LARGE_RISE
    found = judge.turned_and_scaled(given)
    value = judge.evidence(found[0])
    if value > evidence[-1] + needed:
        best, angle, scale = found
        evidence.append(value)
        done.append(f"turned by {angle:+.1f} degrees and scaled by {scale:.2f}")
        restored, misfit = _restored(pixels, best) if rounds else (restored, misfit)
    changed, wrong = 0, misfit > MISFIT or bool(done)
    ridge, needed, share = (RIDGE, RISE, 1.0) if wrong else (LARGE_RIDGE, NEAR_RISE, NEAR_MISFIT)
    for _ in range(rounds if wrong else min(rounds, 1)):
        fitted = _least_squares(pixels, restored, best, ridge)
        value = judge.evidence(fitted)
        if not value > evidence[-1] + needed:
            break
        restored, after = _restored(pixels, fitted)
        if after > share * misfit:
            break
        best, misfit, changed = fitted, after, changed + 1
        evidence.append(value)
    if changed:
        done.append(f"fitted in {changed} round{'s' * (changed > 1)}")
    message = ", ".join(done) or (
        f"not changed: with a misfit of {misfit:.2g}, no other psf near it makes the image so much likelier that it "
        "could be trusted"
    )
    return RefinedPsf(best.astype(dtype), bool(done), message, angle, scale, np.array(evidence))


class _Judge:
    """How likely an image is with a psf, by its power spectrum: a logarithm, relative to no blur."""

    def __init__(self, pixels: np.ndarray, psf: np.ndarray):
        plane, whole, range_ = fitting.checked(pixels, None)
        self._spectrum = fitting.spectrum_of(plane, whole, range_, TILE)
        self._dispersion = 1.0
        fitted = self._fit(psf)
        self._dispersion = max(fitted.dispersion(), 1.0)
        self._start: np.ndarray | None = None
        self._none = self._fit(np.ones((1, 1))).evidence

    def _fit(self, psf: np.ndarray, start: np.ndarray | None = None, quick: bool = False) -> spectra.Fit:
        rounds = spectra.QUICK if quick else spectra.THOROUGH
        return spectra.Fit(self._spectrum, self._spectrum.response(psf), self._dispersion, start, rounds)

    def evidence(self, psf: np.ndarray) -> float:
        return self._fit(psf).evidence - self._none

    def turned_and_scaled(self, psf: np.ndarray) -> tuple[np.ndarray, float, float]:
        """The psf, turned and scaled so that the image is likeliest, and by how much."""
        import scipy.optimize  # not for everyone who imports fastdeblur

        start: np.ndarray | None = None
        best, place = -math.inf, (0.0, 0.0)
        for angle in np.linspace(-TURN, TURN, 13).tolist():
            for scale in np.linspace(math.log(SCALE[0]), math.log(SCALE[1]), 9).tolist():
                fitted = self._fit(_warped(psf, angle, math.exp(scale)), start, quick=True)
                start = fitted.unknowns
                if fitted.evidence > best:
                    best, place = fitted.evidence, (angle, scale)

        def unlikely(at: np.ndarray) -> float:
            angle = min(max(place[0] + 4 * at[0], -TURN), TURN)
            scale = min(max(place[1] + 0.08 * at[1], math.log(SCALE[0])), math.log(SCALE[1]))
            return -self._fit(_warped(psf, angle, math.exp(scale)), start).evidence

        simplex = np.array([[0.0, 0.0], [0.7, 0.0], [0.0, 0.7]])
        options = {"initial_simplex": simplex, "xatol": 0.02, "fatol": 0.02, "maxfev": 60}
        done = scipy.optimize.minimize(unlikely, np.zeros(2), method="Nelder-Mead", options=options)
        angle, scale = float(place[0] + 4 * done.x[0]), math.exp(place[1] + 0.08 * float(done.x[1]))
        angle, scale = min(max(angle, -TURN), TURN), min(max(scale, SCALE[0]), SCALE[1])
        return support(_warped(psf, angle, scale)), angle, scale


def _warped(psf: np.ndarray, angle: float, scale: float) -> np.ndarray:
    """A psf turned anticlockwise by degrees, and enlarged, about its centre."""
    import scipy.ndimage  # not for everyone who imports fastdeblur

    reach = math.ceil(math.hypot(*psf.shape) / 2 * max(scale, 1.0)) + 1
    size = 2 * reach + 1
    cosine, sine = math.cos(math.radians(angle)) / scale, math.sin(math.radians(angle)) / scale
    # Rows count downwards: a point at (down, across) was at (cos down + sin across, cos across - sin down).
    matrix = np.array([[cosine, sine], [-sine, cosine]])
    middle = np.array([each // 2 for each in psf.shape])
    moved = scipy.ndimage.affine_transform(
        np.pad(psf, 2), matrix, middle + 2 - matrix @ [reach, reach], (size, size), order=3, mode="constant"
    )
    moved = np.maximum(moved, 0)
    return normalise(moved) if moved.any() else psf


def _restored(pixels: np.ndarray, psf: np.ndarray) -> tuple[np.ndarray, float]:
    """The image restored with the prior "sparse", and the misfit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # (that the psf is not right is known)
        result = solve(pixels, psf, prior="sparse")
    return result.image, result.misfit


def _least_squares(pixels: np.ndarray, restored: np.ndarray, psf: np.ndarray, pull: float) -> np.ndarray:
    """The psf that blurs the restored image's differences to the image's, not negative, of about the same support."""
    import scipy.fft  # not for everyone who imports fastdeblur
    import scipy.signal

    margin = max(1, max(psf.shape) // 10)
    wide = np.pad(psf, margin)
    reach = [(size // 2, size - 1 - size // 2) for size in wide.shape]
    full = [scipy.fft.next_fast_len(n + size) for n, size in zip(pixels.shape, wide.shape, strict=True)]
    power, right = 0.0, 0.0
    border = tuple(slice(size, -size) for size in wide.shape)
    mask = np.zeros(pixels.shape)
    mask[border] = 1
    for axis in (0, 1):
        sharp = np.diff(restored, axis=axis, append=np.take(restored, [-1], axis=axis)) * mask
        blurred = np.diff(pixels, axis=axis, append=np.take(pixels, [-1], axis=axis)) * mask
        # Strong differences are edges, weak ones what restoring left of noise.
        sharp[np.abs(sharp) < 0.5 * sharp.std()] = 0
        with forks.unforked():
            coefficients, of_blurred = scipy.fft.rfft2(sharp, full), scipy.fft.rfft2(blurred, full)
        power = power + coefficients.real**2 + coefficients.imag**2
        right = right + coefficients.conj() * of_blurred
    with forks.unforked():
        gram, moments = scipy.fft.irfft2(power, full), scipy.fft.irfft2(right, full)
    down, across = (np.arange(-(size - 1), size) for size in wide.shape)
    toeplitz = gram[np.ix_(down, across)]
    target = moments[np.ix_(np.arange(-reach[0][0], reach[0][1] + 1), np.arange(-reach[1][0], reach[1][1] + 1))]
    ridge = pull * toeplitz.max()

    def gradient(taps: np.ndarray) -> np.ndarray:
        with forks.unforked():
            blurred = scipy.signal.fftconvolve(taps, toeplitz, mode="full")
        rows, cols = wide.shape
        return np.asarray(blurred[rows - 1 : 2 * rows - 1, cols - 1 : 2 * cols - 1] - target + ridge * (taps - wide))

    with forks.unforked():
        largest = float(np.abs(scipy.fft.fft2(toeplitz, [2 * n for n in toeplitz.shape])).max())
    step = 1 / (largest + ridge)
    taps = ahead = wide
    momentum = 1.0
    for _ in range(STEPS):
        new = np.maximum(ahead - step * gradient(ahead), 0)
        faster = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / faster * (new - taps)
        taps, momentum = new, faster
    taps = np.where(taps > LEAST * taps.max(), taps, 0)
    return normalise(centre(taps)) if taps.any() else psf
