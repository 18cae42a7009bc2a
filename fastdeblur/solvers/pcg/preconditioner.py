"""Preconditioner: an approximate inverse of the normal equations, AᵀA + ridge·DᵀD, that is good at the border, too.

The blur is nearly periodic: away from the border, a Fourier transform solves the equations, and a
circulant preconditioner is one that does so everywhere [1]_.  What makes it poor is the border.  Here

- for each axis there is a solve that is exact at the two borders across it, while the other axis
  is periodic: a circulant in one axis' frequencies, with a boundary correction (`boundary_correction`);
- at each corner, where two borders come together, there is the inverse of a small block;
- a partition of unity puts them together: ``P = sum of w S w`` with ``sum of w^2 = 1``, as in an
  additive Schwarz method [2]_.  Each solve counts where it is good.

Far inside, both solves are the circulant's, yet weighting costs: what is determined well leaks into what hardly is.  So
the weights change over distances in proportion to the psf's reach along each axis, and a psf of one row or column has
one solve only and no weights: across it, only the differences know of the border.  (256 x 256, motion of 31 pixels
along the rows, nearest, 0.2 % noise: more than 200 iterations with weights, 21 without.)

With "wrap", where blur and differences are periodic, the circulant is the inverse.  For "unknown" (and a
blur that is periodic where the differences are not) the corrections only ever add, so those of both axes are just added
up: there nothing has to be weighted, and it serves better the smaller the ridge.  (Conjugate gradients to
an optimality of 1e-4, 256 x 256, 1 % noise, motion of 15 pixels, mu 0.05: nearest 51 steps without corners, 19
with; reflect 46 and 19.  A cosine diagonal needs hundreds.)

References
----------
.. [1] R. H. Chan and M. K. Ng, "Conjugate gradient methods for Toeplitz systems", SIAM Review 38, 1996.
.. [2] B. Smith, P. Bjørstad and W. Gropp, "Domain Decomposition", Cambridge University Press, 1996.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
import scipy.fft

from ...kernels.cpu.dense import (
    COLUMNS,
    DENSE,
    GRAM_ROWS,
    PIVOTS,
    ROWS,
    eliminate,
    factor_block,
    factor_rows,
    gram,
    invert,
    invert_factor,
    multiply_factors,
)
from ...kernels.cpu.fourier.plan import LinePlan, line_length
from ...kernels.cpu.simd import register_shape
from ...kernels.cpu.sweeper import Sweeper
from ...kernels.runtime import forks, memory, threads
from ...kernels.runtime.memory import up
from ...operators.boundary import reduced
from ...problem.laplacian import eigenvalues
from .boundary_correction import BoundaryCorrection, between, block_matrices, sampled
from .dct import Cosines
from .dct import applies as cosines_apply
from .fourier import Fourier
from .fourier import applies as fourier_applies

# Those for which the corrections of both axes are added up without weights.
ADDED = ("unknown", "wrap")
# Ridges are rounded to powers of two, that many apart.
STEP = 2
# What distances from borders are divided by, as a power of the psf's taps.  (512 x 512, random 7 x 200, 1 % noise:
# reflect 155 iterations with the power 0, 59 with 1, 45 with 1.5, 54 with 2; constant 148, 43, 35 and 35.)
REACH = 1.5
# Side of a corner's block, in sides of the psf.
BLOCK = 1.25
# Frequencies that may have corrections, relative to those that determine the psf.  First each COARSEST-th of them has
# some; then those half-way between two, as long as they are OFF what lies between those, in shares of the size of both,
# as PROBES vectors tell: mostly near zeros of the psf.  If all take no more than LITTLE complex multiplications, about,
# all have some.  (1024 x 1024, nearest, 1 % noise, all of 513 and so: a Gaussian of 8 pixels 0.72 s, 141 and 0.34 s, a
# disk of radius 25 0.99 s, 271 and 0.62 s, with as many iterations.  A motion and a random psf need all.)
RATE, COARSEST, OFF, PROBES, LITTLE = 24, 16, 5e-3, 4, 1e8
# Largest side of a corner's block: its matrix has the fourth power of that many entries.
MOST_BLOCK = 28
# Estimates of no more pixels are one block: the preconditioner is the inverse.  (It takes the third power of that many
# steps: of 28 x 28 pixels 0.1 to 0.2 s, four times as long as two dozen iterations without it; at 20 x 20 as long.)
WHOLE = 400
# Most pixels of an axis that are corrected.  (1024 x 1024, random 7 x 200, 1 % noise, unknown: 407 pixels; with none of
# them corrected 127 iterations, with all 17.)
MOST_CORRECTED = 512
# The solves' ridge is the least of these times the problem's with which weights leak little (see `_larger`): no more
# than `LEAKS` of the frequencies have their neighbours' power exceed their own eigenvalue that many times.  (256 x 256,
# reflect, times 1 and 4: motion of 31 pixels at 30 degrees, 1 % noise, 54 and 44 iterations; of 15 pixels, 0.2 %, more
# than 200 and 83; disk of radius 9, nearest, 0.2 %, 88 and 68; where nothing leaks twice as many as without.)
LARGER, LEAKY, LEAKS = (1.0, 4.0, 16.0), 3.0, 1e-3
# Frequencies whose corrections are computed at once.
AT_ONCE = 32
# What is added to the diagonal of a matrix that may be singular, in shares of its mean; the pivot that says so, in
# shares of the largest element.
ADDED_TO_SINGULAR, LEAST_PIVOT = 1e-12, 1e-14
# A constant keeps no more of its square than this times the last digit's, relative to the taps': it is lost.
LOST = 64.0
# Most complex multiplications, about, for the corrections of an axis.
MOST_WORK = 1e9


class Corrections(NamedTuple):
    """Boundary corrections along an axis: matrices of some frequencies, the last one twice, between which others lie.

    Each row of a matrix is real parts, filled up to whole vectors, then imaginary ones.  Of each frequency `below` is
    the matrix that is next below, and `mix` how near the one above is.
    """

    matrices: np.ndarray
    below: np.ndarray
    mix: np.ndarray


class Axis:
    """What the solve along one axis needs whatever the ridge; the psf is given with that axis first."""

    def __init__(
        self,
        psf: np.ndarray,
        boundary: str,
        frame: tuple[int, int],
        size: tuple[int, int],
        workers: int | None,
        circulant: bool = False,
        corrected: bool = True,
    ):
        """If the problem is `circulant`, there is nothing to correct; nor is there if it is not to be `corrected`."""
        dtype = psf.dtype
        # No transform gets faster than a short length's, and a ring without spare pixels has fewer to correct.
        self.length, self.across = size if circulant else map(line_length, size)
        self.size, self.frequencies = size, self.across // 2 + 1
        with forks.unforked():
            kernels = np.ascontiguousarray(scipy.fft.rfft(wound(psf.astype(np.float64), self.across), self.across).T)
        self._lanes = 0 if circulant else register_shape(str(dtype)).lanes
        self._order = np.arange(self.length) if circulant else LinePlan(self.length).order()
        #: |psf|² for each frequency across and each along; in the order of transforms with lanes across lines, see
        #: `kernels.cpu.line_solves`, unless the problem is circulant.
        self.power = self._power(kernels, dtype)
        self._largest = float(self.power.max())
        self.eigenvalues = eigenvalues(self.length, self.length)
        self.eigenvalues_across = eigenvalues(self.across, self.frequencies)
        self.is_corrected = self.rooted = False
        self.positions = np.zeros(0, np.intp)
        if circulant or not corrected:
            return
        self.correction = BoundaryCorrection(boundary, psf.shape[0], frame[0], size[0], self.length)
        # Of a psf about as long as the image all pixels are corrected: the circulant alone is what can be afforded.
        self.is_corrected = len(self.correction.pixels) <= MOST_CORRECTED
        # Rounded themselves, matrices would no longer be positive where the circulant's inverse is large: in
        # float32 and with small ridges, steps went nowhere (optimality 0.9 after 200; with roots 1e-4 after 16).
        self.rooted = self.correction.takes_only
        self.positions = self.correction.pixels if self.is_corrected else self.correction.pixels[:0]
        count = len(self.positions)
        self._samples = _samples(count, self.frequencies, psf.shape[1], self.across)
        self._kernels = kernels[self._samples]
        if self.is_corrected and not self.rooted:  # most of it is never touched
            self._largest_kernel = float(np.abs(kernels).sum(axis=1).max())
            self._changes = np.zeros((len(self._samples), count, count), complex)
            self._has_change = np.zeros(len(self._samples), bool)

    def _power(self, kernels: np.ndarray, dtype: Any) -> np.ndarray:
        lanes = self._lanes or 1
        count, at_once = -(-self.frequencies // lanes), 64 // lanes
        power = memory.zeros(count * self.length * lanes, dtype).reshape(count, self.length, lanes)
        for first in range(0, count, at_once):
            some = _power(kernels[first * lanes : (first + at_once) * lanes], self.length)
            whole = np.zeros((up(len(some), lanes), self.length))
            whole[: len(some)] = some[:, self._order]
            power[first : first + at_once] = whole.reshape(-1, lanes, self.length).swapaxes(1, 2)
        return power

    def psf_power(self) -> np.ndarray:
        """|psf|² for each frequency across and each along, in their order."""
        rows = self.power.swapaxes(1, 2).reshape(-1, self.length)[: self.frequencies]
        power: np.ndarray = rows[:, np.argsort(self._order)]
        return power

    def floor(self, ridge: float) -> float:
        """The least eigenvalue that the circulant is given.

        A constant, of which a psf that sums to nothing leaves nothing, weighs no less than half of what the smoothest
        frequency does.
        """
        least = float(np.finfo(self.power.dtype).eps) ** 1.5 * (self._largest + 8 * ridge)
        smoothest = min(
            (float(values[1]) for values in (self.eigenvalues, self.eigenvalues_across) if len(values) > 1), default=1.0
        )
        return float(max(least, 0.5 * ridge * smoothest))

    def corrections(self, ridge: float, workers: int | None) -> Corrections:
        """What `BoundaryCorrection` says for a ridge, of as many frequencies as it takes."""
        if not self.is_corrected:
            return self._corrections(self._in_parts(np.zeros((2, 0, 0), complex)), np.zeros(1, np.intp))
        places, count = self._samples, len(self.positions)
        last = len(places) - 1
        found: dict[int, np.ndarray] = {}
        seen: dict[int, np.ndarray] = {}

        def compute(some: list[int], probed: bool = True) -> None:
            for first in range(0, len(some), AT_ONCE):
                these = np.array(some[first : first + AT_ONCE])
                matrices = self._matrices(these, ridge, workers)
                found.update(zip(these.tolist(), self._in_parts(matrices), strict=True))
                if probed:
                    images = np.einsum("fij,jk->fik", matrices, probes)
                    if self.rooted:
                        images = np.einsum("fij,fik->fjk", matrices.conj(), images)
                    seen.update(zip(these.tolist(), images, strict=True))

        rows = self.correction.taken + 1 if self.rooted else count
        coarsest = COARSEST if len(places) * rows * count**2 > LITTLE else 1
        probes = np.random.default_rng(0).standard_normal((count, PROBES if coarsest > 1 else 0))
        nodes = [*range(0, last, coarsest), last]
        compute(nodes, coarsest > 1)
        gaps = list(itertools.pairwise(nodes))
        while gaps := [(a, b) for a, b in gaps if b - a > 1]:
            compute([a + 1 for a, b in gaps if b - a == 2], probed=False)  # nothing is left in between
            gaps = [(a, b) for a, b in gaps if b - a > 2]
            middles = [(a + b) // 2 for a, b in gaps]
            compute(middles)
            halves = []
            for (a, b), middle in zip(gaps, middles, strict=True):
                mix = (places[middle] - places[a]) / (places[b] - places[a])
                off = seen[middle] - (1 - mix) * seen[a] - mix * seen[b]
                if np.linalg.norm(off) > OFF * np.linalg.norm(seen[middle]):
                    halves += [(a, middle), (middle, b)]
            gaps = halves
        chosen = sorted(found)
        return self._corrections(np.stack([found[k] for k in [*chosen, chosen[-1]]]), places[chosen])

    def _corrections(self, matrices: np.ndarray, places: np.ndarray) -> Corrections:
        below, mix = between(places, self.frequencies)
        return Corrections(matrices, table_of(below, np.intp), table_of(mix, self.power.dtype))

    def _matrices(self, some: np.ndarray, ridge: float, workers: int | None) -> np.ndarray:
        """Those of `BoundaryCorrection`, or their roots, of some of the frequencies that may have one."""
        kernels = self._kernels[some]
        across = self.eigenvalues_across[self._samples[some], None]
        circulant = _power(kernels, self.length) + ridge * (self.eigenvalues + across)
        with forks.unforked():
            inverse = np.fft.ifft(1 / np.maximum(circulant, self.floor(ridge)), axis=1)
        if self.rooted:
            return self.correction.roots(kernels, ridge, inverse, workers)
        new = some[~self._has_change[some]]
        if new.size:
            self._changes[new] = self.correction.change(self._kernels[new], self._largest_kernel, workers)
            self._has_change[new] = True
        return self.correction.corrections(self._changes[some], ridge * self.correction.laplacian, inverse, workers)

    def _in_parts(self, matrices: np.ndarray) -> np.ndarray:
        """Matrices whose rows are real parts, filled up to whole vectors, then imaginary ones."""
        parts = np.zeros((*matrices.shape[:2], 2, up(matrices.shape[2], self._lanes or 1)), self.power.dtype)
        for k, part in enumerate((matrices.real, matrices.imag)):
            parts[:, :, k, : matrices.shape[2]] = part
        return parts

    def as_complex(self, corrections: np.ndarray) -> np.ndarray:
        """Matrices of `corrections` as complex ones."""
        size = len(self.positions)
        matrices: np.ndarray = corrections[:, :, 0, :size] + 1j * corrections[:, :, 1, :size]
        return matrices


def memory_of_corrections(taps: tuple[int, int], boundary: str, frame: tuple[int, int], size: tuple[int, int]) -> int:
    """Complex numbers of the corrections along both axes of a problem, for one ridge."""
    total = 0
    if boundary == "wrap":
        return total
    for axis in solved_axes(taps, boundary):
        other, length = 1 - axis, line_length(size[axis])
        frequencies = line_length(size[other]) // 2 + 1
        correction = BoundaryCorrection(boundary, taps[axis], frame[axis], size[axis], length)
        count = len(correction.pixels)
        if count > MOST_CORRECTED:
            continue
        samples = len(_samples(count, frequencies, taps[other], line_length(size[other])))
        rows = correction.taken + 1 if correction.takes_only else 3 * count  # beside each matrix, what it is made of
        total += samples * rows * count
    return total


def solved_axes(taps: tuple[int, ...], boundary: str) -> tuple[int, ...]:
    """The axes that have a solve of their own: not the one across a psf of one row or column."""
    if boundary not in ADDED and min(taps) == 1 < max(taps):
        return (int(np.argmax(taps)),)
    return 0, 1


def _samples(pixels: int, frequencies: int, taps: int, across: int) -> np.ndarray:
    """Frequencies that may have corrections, see `sampled`."""
    most = max(int(MOST_WORK / max(pixels, 1) ** 3), 12)
    return sampled(frequencies, RATE * taps, across, most)


class Preconditioner:
    """Approximate inverses for one blur, any ridge.

    Everything that does not depend on the image; `RidgePreconditioner` is what it makes for one ridge, and
    `apply` works in memory of the caller's.  `by_formula`, it may have one for the minimiser itself; `periodic` says
    whether the differences are, if that does not follow from the boundary.
    """

    def __init__(
        self,
        psf: np.ndarray,
        boundary: str,
        image_shape: tuple[int, int],
        estimate_shape: tuple[int, int],
        workers: int | None = None,
        by_formula: bool = True,
        periodic: bool | None = None,
    ):
        self.workers = workers
        psf = reduced(psf, image_shape, boundary)
        self.dtype, self.shape = psf.dtype, estimate_shape
        # (Wound around a short axis, a psf may come to nothing.)
        self.largest = float(np.abs(psf).sum(dtype=np.float64)) ** 2 or 1.0
        # Nearer to rounding, a ridge is of no use here.
        self.least = 1e2 * float(np.finfo(self.dtype).eps) * self.largest
        self.formula: Cosines | Fourier | None = None
        if by_formula and cosines_apply(psf, boundary):
            self.formula = Cosines(psf, image_shape)
        elif by_formula and fourier_applies(boundary):
            self.formula = Fourier(psf, image_shape)
        #: Whether the circulant is the inverse.
        self.circulant = boundary == "wrap" if periodic is None else periodic
        small = math.prod(estimate_shape) <= WHOLE and not self.circulant
        self.whole = self.formula is not None or small
        #: The axes whose solves count.
        self.solved = (0,) if self.circulant else solved_axes(psf.shape, boundary)
        self.weighted = self.whole or (boundary not in ADDED and len(self.solved) == 2)
        self.axes: tuple[Axis, ...] = ()
        self.block, borders = estimate_shape, [(False, False)]
        if self.circulant and not self.whole:
            self.axes = (Axis(psf, boundary, image_shape, estimate_shape, workers, circulant=True),)
        elif not self.whole:
            self.axes = (
                Axis(psf, boundary, image_shape, estimate_shape, workers, corrected=0 in self.solved),
                Axis(
                    np.ascontiguousarray(psf.T), boundary, image_shape[::-1], estimate_shape[::-1], workers,
                    corrected=1 in self.solved,
                ),
            )  # fmt: skip
            rows, cols = (
                max(min(math.ceil(BLOCK * taps), MOST_BLOCK, size // 2), 1)
                for taps, size in zip(psf.shape, estimate_shape, strict=True)
            )
            self.block, borders = (rows, cols), [(down, across) for down in (False, True) for across in (False, True)]
        self.corners: list[tuple[np.ndarray, np.ndarray]] = []
        self.flips: list[tuple[int, tuple[int, ...]]] = []
        if self.weighted and self.formula is None:
            computed: dict[tuple[bool, bool], int] = {}
            for border in borders:
                other, flip = _alike(psf, border)
                if other not in computed:
                    computed[other] = len(computed)
                    blurred, laplacian = block_matrices(psf, boundary, image_shape, estimate_shape, self.block, other)
                    self.corners.append((self._psf_power(blurred), laplacian))
                self.flips.append((computed[other], flip))
        self._weights(psf.shape)
        self._at: dict[tuple[int, bool], RidgePreconditioner] = {}

    def _psf_power(self, blurred: np.ndarray) -> np.ndarray:
        """AᵀA of a block; the whole of it takes constants for ordinary images where the psf loses them.

        D loses them too.  In float32 an inverse that is 1e12 for them had no digits left for anything else: steps
        went nowhere, or, with psfs that sum to nothing and hardly any weight, to 1e9.
        """
        product = _gram(blurred, self.workers)
        size = len(product)
        if self.whole and float(product.sum()) <= LOST * float(np.finfo(self.dtype).eps) ** 2 * self.largest * size:
            product += float(np.trace(product)) / size**2
        return product

    def _weights(self, taps: tuple[int, ...]) -> None:
        """Tables, for each axis: how near a corner's block, and what distance from the border counts."""
        self.near, self.share = [], []
        for size, block, reach in zip(self.shape, self.block, taps, strict=True):
            distance = np.minimum(np.arange(size), np.arange(size)[::-1]) + 0.5
            near = np.sin(np.pi / 2 * np.clip(1 - distance / block, 0, 1))
            if self.whole:
                near = np.ones(size)
            self.near.append(table_of(near, self.dtype))
            self.share.append(table_of(distance / (reach / min(taps)) ** REACH, self.dtype))

    def at(self, ridge: float, raised: bool = False) -> RidgePreconditioner:
        """The preconditioner for about that ridge: it is rounded, so that few have to be made.

        For a problem that proves hard its solves' ridge is `raised` a step, if they are not weighted: for those it is
        known beforehand (random 7 x 200, nearest, 1 % noise: 144 iterations, raised midway more than 200).
        """
        raised = raised and not self.weighted
        if self.circulant:  # nothing has to be
            return RidgePreconditioner(self, ridge, 1.0)
        step = round(math.log2(ridge) / STEP)
        made = self._at.get((step, raised))
        if made is None:
            rounded = 2.0 ** (STEP * step)
            larger = self._larger(rounded) * (2.0**STEP if raised else 1.0)
            made = RidgePreconditioner(self, rounded, min(larger, LARGER[-1]))
            if len(self._at) > 7:
                oldest, *_ = list(self._at)  # a list at once: another thread may add one meanwhile
                self._at.pop(oldest, None)
            self._at[step, raised] = made
        return made

    def _larger(self, ridge: float) -> float:
        """What the solves' ridge is multiplied with, so that weights leak little.

        Across an image weights change as slowly as the frequencies next to each other differ: what is determined well
        leaks from there into what hardly is, and the solves multiply it.
        """
        if self.whole or not self.weighted:
            return 1.0
        axis = self.axes[0]
        power = axis.psf_power()
        # Frequencies across below the first and above the last are mirror images of those next to them.
        beyond = [np.roll(power[min(k, axis.frequencies - 1), ::-1], 1)[None] for k in (1, axis.across // 2 - 1)]
        near = np.concatenate([beyond[0], power, beyond[1]])
        near = 0.5 * power + 0.25 * (near[:-2] + near[2:])
        near = 0.5 * near + 0.25 * (np.roll(near, 1, axis=1) + np.roll(near, -1, axis=1))
        near = near / LEAKY - power
        rough = (axis.eigenvalues + axis.eigenvalues_across[:, None]).astype(power.dtype)
        for larger in LARGER[:-1]:
            if np.count_nonzero(near > ridge * larger * rough) <= LEAKS * near.size:
                return larger
        return LARGER[-1]


class RidgePreconditioner:
    """The preconditioner for one ridge: its boundary corrections and inverses of corners' blocks.

    Its solves have a ridge of their own, so many times `larger`.
    """

    def __init__(self, whole: Preconditioner, ridge: float, larger: float):
        self.ridge, self.of_solves = ridge, ridge * larger
        ridge = self.of_solves
        self.corrections = [axis.corrections(ridge, whole.workers) for axis in whole.axes]
        self.inverses = np.zeros((0,), whole.dtype)
        if whole.corners:
            blocks = np.stack([psf_power + ridge * laplacian for psf_power, laplacian in whole.corners])
            inverses = _inverse(blocks[0], whole.workers) if whole.whole else _inverses(blocks, whole.workers)
            inverses = inverses.reshape(-1, *whole.block, *whole.block)
            each = [np.flip(inverses[k], (*flip, *(axis + 2 for axis in flip))) for k, flip in whole.flips]
            self.inverses = np.ascontiguousarray(each, whole.dtype)


def wound(kernels: np.ndarray, length: int) -> np.ndarray:
    """Rows of taps, wound around a ring if they are longer than that."""
    count, taps = kernels.shape
    if taps <= length:
        return kernels
    rounds = -(-taps // length)
    padded = np.zeros((count, rounds * length), kernels.dtype)
    padded[:, :taps] = kernels
    folded: np.ndarray = padded.reshape(count, rounds, length).sum(axis=1)
    return folded


def _power(kernels: np.ndarray, length: int) -> np.ndarray:
    """Squared absolute values of the transforms of rows of taps."""
    with forks.unforked():
        coefficients = scipy.fft.fft(wound(kernels, length), length, axis=1)
    power: np.ndarray = coefficients.real**2 + coefficients.imag**2
    return power


def _alike(psf: np.ndarray, end: tuple[bool, bool]) -> tuple[tuple[bool, bool], tuple[int, ...]]:
    """The corner that this one is a mirror image of, if the psf is its own, and the axes to flip."""
    down, across = end
    flips: list[int] = []
    odd = [taps % 2 == 1 for taps in psf.shape]
    if down and odd[0] and np.array_equal(psf, psf[::-1]):
        down = False
        flips.append(0)
    if across and odd[1] and np.array_equal(psf, psf[:, ::-1]):
        across = False
        flips.append(1)
    if down and not flips and all(odd) and np.array_equal(psf, psf[::-1, ::-1]):
        return (False, not across), (0, 1)
    return (down, across), tuple(flips)


def _gram(matrix: np.ndarray, workers: int | None) -> np.ndarray:
    """Product of the transpose with the matrix."""
    rows, size = matrix.shape
    product = np.zeros((size, size))
    job = np.zeros((), DENSE)
    job["matrices"], job["rows"], job["size"], job["products"] = matrix.ctypes.data, rows, size, product.ctypes.data
    sweeper, tiles = Sweeper(np.float64), -(-size // GRAM_ROWS)
    sweeper.threads = threads.count(workers, tiles, rows * size**2 * 0.02e-9)
    sweeper.run(gram, job, tiles)
    return product


def _inverse(matrix: np.ndarray, workers: int | None) -> np.ndarray:
    """Inverse of a large positive semidefinite matrix; if it is singular, or nearly, something is added to it."""
    inverse = matrix.copy()
    pivots = _invert(inverse, workers)
    diagonal = np.diagonal(matrix)
    if not float(pivots.min()) >= LEAST_PIVOT * float(diagonal.max()):
        inverse = matrix + np.diag(np.full(len(matrix), ADDED_TO_SINGULAR * diagonal.mean()))
        _invert(inverse, workers)
    return inverse


def _invert(matrix: np.ndarray, workers: int | None) -> np.ndarray:
    """Turn a large positive definite matrix into its inverse, in place; returns the pivots.

    By Cholesky's factor, for the sweep operator's errors grow with the square of the condition.
    """
    size = len(matrix)
    pivots, panel, inverse_factor = np.empty(size), np.empty((PIVOTS, size)), np.zeros((size, size))
    job = np.zeros((), DENSE)
    job["matrices"], job["pivots"], job["panel"] = (each.ctypes.data for each in (matrix, pivots, panel))
    job["size"], job["products"], tiles = size, inverse_factor.ctypes.data, -(-size // ROWS)
    sweeper = Sweeper(np.float64)
    sweeper.reserve(max(size, PIVOTS))
    sweeper.threads = threads.count(workers, tiles, PIVOTS * size**2 * 0.15e-9)  # of one launch
    for first in range(0, size, PIVOTS):
        job["first"], job["count"] = first, min(PIVOTS, size - first)
        for step, count in ((factor_block, 1), (factor_rows, tiles), (eliminate, tiles)):
            sweeper.run(step, job, count)
    sweeper.run(invert_factor, job, -(-size // COLUMNS))
    sweeper.run(multiply_factors, job, tiles)
    return pivots


def _diagonals(blocks: np.ndarray) -> np.ndarray:
    """A view of the diagonals of matrices."""
    count, size, _ = blocks.shape
    view: np.ndarray = blocks.reshape(count, -1)[:, :: size + 1]
    return view


def _inverses(blocks: np.ndarray, workers: int | None) -> np.ndarray:
    """Of positive definite matrices; overwrites them."""
    count, size, _ = blocks.shape
    diagonals = _diagonals(blocks)
    diagonals += ADDED_TO_SINGULAR * diagonals.mean()
    job = np.zeros((), DENSE)
    columns = np.empty((count, size))
    job["matrices"], job["columns"], job["size"] = blocks.ctypes.data, columns.ctypes.data, size
    sweeper = Sweeper(np.float64)
    sweeper.threads = threads.count(workers, count, count * size**3 * 0.5e-9)
    sweeper.run(invert, job, count)
    return blocks


def table_of(values: Any, dtype: Any) -> np.ndarray:
    """Numbers where kernels can read them."""
    table = memory.zeros(len(values), dtype)
    table[:] = values
    return table
