"""The exact solver's preconditioner for psfs that vary over the image: that of the mean psf, corrected place by place.

With the mean psf's circulant P, whose eigenvalues are ``1 / (|p|² + ridge·|d|²)`` at each frequency, the inverse that
suits a place has q² times those, where q² is the quotient of the mean psf's denominator and the place's own.  As a
table of places and frequencies q - 1 is nearly of low rank, ``sum of u(place) v(frequency)``, by the singular value
decomposition of a coarse table; so ``Q = I + sum of u F⁻¹ v F`` takes one transform there and one back for each term,
and ``Qᵀ P Q`` is symmetric and positive where P is.  P knows the border, and Q leaves it alone there: with nothing
beyond the frame, u fades to 0.  (Lens with psfs of 31 x 31 growing to the corners, 384 x 384, 1 % noise, roots,
optimality 1e-4: 44, 38 and 38 steps with "wrap", "reflect" and "unknown" by P alone, 14, 14 and 22 with Q; without
fading, "unknown" takes 70.)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.fft

from ...kernels.runtime import forks
from ...operators.blur import Blur
from ...operators.costs import good_length
from ...operators.varying import VaryingBlur
from ...problem.laplacian import eigenvalues
from .host import PcgWorkspace
from .preconditioner import Preconditioner, RidgePreconditioner
from .two_level import Added

# Places along an axis and, in psfs, length of the transforms of the table.
MOST_PLACES, LENGTH = 9, 3
# How many terms there may be, and how far off they may leave q, as a quotient.  Where they do not reach that, they are
# those of a ridge that is 4 times as large, and so on: q is nearer to 1 then.  (Gaussians from 0.4 to 3 pixels, not
# round, roots, "wrap": 107 steps; 0.07 after 200 with four terms that left parts of q near 0.)
MOST_TERMS, LEAST, SOFTER = 4, 0.4, 8
# How far from the frame's border the correction is whole, in psfs.
FADING = 0.5
# Least and largest q: where hardly any noise is let through, zeros of psfs would count for all.
MOST_CHANGE = 8.0
# Rows that are worked on at once.
ROWS = 64
# Ridges whose corrections are kept.
KEPT = 4


class VaryingPcgWorkspace(PcgWorkspace):
    """`PcgWorkspace` for a `VaryingBlur`."""

    def __init__(self, blurs: list[Blur], planes: int, preconditioners: list[Preconditioner]):
        super().__init__(blurs, planes, preconditioners)
        self._corrections: dict[float, LocalCorrection] = {}
        self._corrected = np.empty_like(self.x)

    def solve(self, current: list[RidgePreconditioner], source: np.ndarray, out: np.ndarray) -> None:
        """As `PcgWorkspace.solve`."""
        correction = self._correction_at(current[0].ridge)
        for pixels, corrected in zip(source, self._corrected, strict=True):
            correction.apply(pixels, corrected)
        self._appliers[0].apply(current[0], self._corrected, out)
        for pixels in out:
            correction.apply_transpose(pixels)

    def _with_holes(self, shown: np.ndarray, coverage: np.ndarray) -> Added:
        return Added(self._multigrid(coverage))

    def _correction_at(self, ridge: float) -> LocalCorrection:
        found = self._corrections.get(ridge)
        if found is None:
            assert isinstance(self.blur, VaryingBlur)
            if len(self._corrections) == KEPT:
                self._corrections.pop(next(iter(self._corrections)))
            found = self._corrections[ridge] = LocalCorrection(self.blur, ridge)
        return found


class LocalCorrection:
    """Q for one ridge.

    Attributes
    ----------
    terms : int
        How many there are; 0 where all psfs are alike.
    """

    def __init__(self, blur: VaryingBlur, ridge: float):
        self._dtype, self._shape = blur.dtype, blur.estimate_shape
        # Beyond the estimate there are zeros, for transforms of a good length.
        whole = blur.boundary == "wrap"
        self._length = self._shape if whole else tuple(good_length(size) for size in self._shape)
        places, factors, responses = _terms(blur, ridge)
        self.terms = len(factors)
        self._factors = [self._over_image(blur, places, factor) for factor in factors]
        self._responses = [self._over_frequencies(response) for response in responses]

    def _over_image(self, blur: VaryingBlur, places: tuple[np.ndarray, np.ndarray], factor: np.ndarray) -> Bilinear:
        """A factor of a term at the estimate's pixels."""
        axes, fading = [], []
        sides = zip(self._shape, blur.frame_corner, blur.image_shape, blur.psf.shape, places, strict=True)
        for size, corner, frame, taps, nodes in sides:
            at = np.arange(size) - corner
            axes.append(np.interp(at, nodes, np.arange(len(nodes))))  # beyond them the outermost counts
            near = (np.minimum(at, frame - 1 - at) + 0.5) / (FADING * taps)
            fading.append(np.sin(np.pi / 2 * near.clip(0, 1)) if blur.boundary == "unknown" else np.ones(size))
        return Bilinear(factor, axes, fading, self._dtype)

    def _over_frequencies(self, response: np.ndarray) -> Bilinear:
        """A term's response at the frequencies of the transforms."""
        (rows, cols), (down, across) = self._length, response.shape
        # The first row once more, after the last: frequencies are periodic.
        table = np.concatenate([response, response[:1]])
        axes = [np.arange(rows) / rows * down, np.arange(cols // 2 + 1) / cols * (2 * (across - 1))]
        return Bilinear(table, axes, [np.ones(len(axis)) for axis in axes], self._dtype)

    def apply(self, source: np.ndarray, out: np.ndarray) -> None:
        """out = Q source."""
        out[...] = source
        if not self.terms:
            return
        rows, cols = self._shape
        with forks.unforked():
            spectrum = scipy.fft.rfft2(source, self._length)
            product = np.empty_like(spectrum)
            for factor, response in zip(self._factors, self._responses, strict=True):
                response.multiply(spectrum, product)
                factor.add_product(scipy.fft.irfft2(product, self._length, overwrite_x=True)[:rows, :cols], out)

    def apply_transpose(self, pixels: np.ndarray) -> None:
        """pixels = Qᵀ pixels."""
        if not self.terms:
            return
        rows, cols = self._shape
        weighed = np.empty_like(pixels)
        total: np.ndarray | None = None
        with forks.unforked():
            for factor, response in zip(self._factors, self._responses, strict=True):
                factor.multiply(pixels, weighed)
                spectrum = scipy.fft.rfft2(weighed, self._length)
                response.multiply(spectrum, spectrum)
                total = spectrum if total is None else np.add(total, spectrum, out=total)
            pixels += scipy.fft.irfft2(total, self._length, overwrite_x=True)[:rows, :cols]


def _terms(blur: VaryingBlur, ridge: float) -> tuple[tuple[np.ndarray, np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Places down and across; for each term its factors there, and its responses at coarse frequencies."""
    for _ in range(SOFTER):
        places, quotients = _table(blur, ridge)
        at, table = quotients.shape[:2], quotients.reshape(math.prod(quotients.shape[:2]), -1)
        shares, roots, rows = np.linalg.svd(table - 1, full_matrices=False)
        near = np.ones_like(table)
        for terms in range(min(MOST_TERMS, len(roots)) + 1):
            if terms:
                near += np.outer(shares[:, terms - 1] * roots[terms - 1], rows[terms - 1])
            if (near >= LEAST * table).all() and (near <= table / LEAST).all():
                factors = [(shares[:, k] * roots[k]).reshape(at) for k in range(terms)]
                return places, factors, [rows[k].reshape(quotients.shape[2:]) for k in range(terms)]
        ridge *= 4
    return places, [], []


def _table(blur: VaryingBlur, ridge: float) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Places down and across, and q there at coarse frequencies, places x frequencies."""
    places, between = [], blur.psfs.astype(np.float64)
    for axis, (nodes, side) in enumerate(zip(blur.positions, blur.image_shape, strict=True)):
        count = 1 if len(nodes) == 1 else min(2 * len(nodes) - 1, MOST_PLACES, side)
        at = np.linspace(0, side - 1, count)
        places.append(at)
        lines = np.moveaxis(between, axis, 0)
        left = np.clip(np.searchsorted(nodes, at, side="right") - 1, 0, max(len(nodes) - 2, 0))
        right = np.minimum(left + 1, len(nodes) - 1)
        gap = np.maximum(nodes[right] - nodes[left], 1e-300)
        share = np.clip((at - nodes[left]) / gap, 0, 1).reshape(-1, 1, 1, 1)
        between = np.moveaxis((1 - share) * lines[left] + share * lines[right], 0, axis)
    size = tuple(2 * -(-LENGTH * taps // 2) for taps in blur.psf.shape)  # even, for _over_frequencies
    with forks.unforked():
        own, mean = (np.abs(scipy.fft.rfft2(psfs, size)) ** 2 for psfs in (between, blur.psf.astype(np.float64)))
    down, across = (eigenvalues(length, count) for count, length in zip(own.shape[2:], size, strict=True))
    rough = ridge * (down[:, None] + across)
    least = float(rough[rough > 0].min())  # a constant's is not 0, for psfs that lose it
    quotients = np.sqrt((mean + np.maximum(rough, least)) / (own + np.maximum(rough, least)))
    return (places[0], places[1]), quotients.clip(1 / MOST_CHANGE, MOST_CHANGE)


class Bilinear:
    """A table that is interpolated along both axes; the whole of it is never there."""

    def __init__(self, table: np.ndarray, axes: list[np.ndarray], shares: list[np.ndarray], dtype: Any):
        """At the places `axes` of its axes, in elements, times `shares` of each row and column."""
        down, across = axes
        left = np.minimum(across.astype(int), max(table.shape[1] - 2, 0))
        right, part = np.minimum(left + 1, table.shape[1] - 1), across - left
        lines = (table[:, left] * (1 - part) + table[:, right] * part) * shares[1]
        self._above = np.minimum(down.astype(int), max(len(table) - 2, 0))
        self._below = np.minimum(self._above + 1, len(table) - 1)
        part = down - self._above
        self._lines = lines.astype(dtype)
        self._weights = [(each * shares[0])[:, None].astype(dtype) for each in (1 - part, part)]

    def _rows(self, some: slice) -> np.ndarray:
        first, second = (weights[some] for weights in self._weights)
        rows = first * self._lines[self._above[some]]
        rows += second * self._lines[self._below[some]]
        return np.asarray(rows)

    def multiply(self, source: np.ndarray, out: np.ndarray) -> None:
        """out = the table times source."""
        for first in range(0, len(out), ROWS):
            some = slice(first, first + ROWS)
            np.multiply(source[some], self._rows(some), out=out[some])

    def add_product(self, source: np.ndarray, out: np.ndarray) -> None:
        """out += the table times source."""
        for first in range(0, len(out), ROWS):
            some = slice(first, first + ROWS)
            out[some] += source[some] * self._rows(some)
