"""Low-rank (Woodbury) boundary correction of the circulant preconditioner.

Along one axis, with the other one taken for periodic, the matrix of the normal equations is a circulant on a ring of
`length` pixels but near the border.  The difference from the circulant is on few pixels; by the Sherman-Morrison-
Woodbury formula (the matrix inversion lemma) the exact inverse follows from the circulant's [1]_.

References
----------
.. [1] W. W. Hager, "Updating the inverse of a matrix", SIAM Review 31, 1989.
"""

from __future__ import annotations

import math

import numpy as np

from ...kernels.cpu.halo import OUTSIDE
from ...kernels.cpu.roots import CORRECTION, ROOTS, correction, gram_change, room, root
from ...kernels.cpu.sweeper import Sweeper
from ...kernels.runtime import threads
from ...operators.boundary import pixel_at


class BoundaryCorrection:
    """The correction along one axis, at both borders.

    Parameters
    ----------
    boundary : str
    taps, frame, size : int
        Of the psf, the image and the estimate, along this axis.
    length : int
        Of the ring, at least `size`.

    Attributes
    ----------
    pixels : ndarray of int
        Positions on the ring where the two matrices differ, in order.
    laplacian : ndarray
        The change of D^T D of the circulant, on `pixels`.
    takes_only : bool
        Whether the border only takes rows away from the circulant; `taken` is how many of A.
    """

    def __init__(self, boundary: str, taps: int, frame: int, size: int, length: int):
        self.taps = taps
        shift = taps - 1 - taps // 2 if boundary == "unknown" else 0
        before = taps - 1 - taps // 2
        # The ring's pixel, and the estimate's, under each tap of each row of A.
        rows = np.arange(length)
        raw = rows[:, None] + np.arange(taps)[None, :] - before + shift
        table = pixel_at(boundary, size, before, taps)
        inside = rows < frame
        pixel = np.full(raw.shape, OUTSIDE)
        pixel[inside] = table[raw[inside] + before]
        ring = raw % length
        changed = (pixel != ring).any(axis=1)
        self._exact, self._ring = pixel[changed], ring[changed]
        beyond = np.arange(size, length)
        touched = [self._exact[self._exact != OUTSIDE], self._ring.ravel(), beyond, [0, size - 1]]
        self.pixels = np.unique(np.concatenate(touched))
        self.taken = int(changed.sum())
        self.takes_only = boundary == "unknown" or (boundary == "wrap" and size == length)
        # Differences that the ring has and the estimate has not: from its last pixel to the first, and to pixels beyond
        # it.  Where nothing may be added, those hang on one border, which is as if the estimate went on.
        self.laplacian = np.zeros((len(self.pixels), len(self.pixels)))
        for i in {size - 1, *([] if self.takes_only else [length - 1])}:
            pair = np.searchsorted(self.pixels, [i, (i + 1) % length])
            for sign, (a, b) in ((-1, (0, 0)), (-1, (1, 1)), (1, (0, 1)), (1, (1, 0))):
                self.laplacian[pair[a], pair[b]] += sign
        self._beyond = np.searchsorted(self.pixels, beyond)
        self._cut = np.searchsorted(self.pixels, [size - 1, size % length])

    def change(self, kernels: np.ndarray, largest: float, workers: int | None) -> np.ndarray:
        """The changes of A^T A of the circulant, on `pixels`.

        `kernels` holds the psf's column of taps at each of some frequencies of the other axis, one a row; of all
        frequencies, `largest` is the largest sum of absolute values.
        """
        count = len(self.pixels)
        kernels = np.ascontiguousarray(kernels, complex)
        change = np.zeros((len(kernels), count, count), complex)
        exact = np.ascontiguousarray(np.where(self._exact == OUTSIDE, -1, np.searchsorted(self.pixels, self._exact)))
        ring = np.ascontiguousarray(np.searchsorted(self.pixels, self._ring))
        job = np.zeros((), CORRECTION)
        for name, table in {"kernels": kernels, "exact": exact, "ring": ring, "change": change}.items():
            job[name] = table.ctypes.data
        job["taps"], job["rows"], job["count"] = self.taps, len(exact), count
        sweeper = Sweeper(np.float64)
        sweeper.threads = threads.count(workers, len(kernels), len(kernels) * len(exact) * self.taps**2 * 4e-9)
        sweeper.run(gram_change, job, len(kernels))
        if self._beyond.size and not self.takes_only:  # on their own, they need something to hold them
            change[:, self._beyond, self._beyond] += largest**2
        return change

    def corrections(
        self, change: np.ndarray, laplacian: np.ndarray, inverse: np.ndarray, workers: int | None
    ) -> np.ndarray:
        """F of ``P^-1 = C^-1 + C^-1 E' F E C^-1``, from the border's changes and a column of C^-1 a frequency."""
        count = len(self.pixels)
        change, inverse = (np.ascontiguousarray(each, complex) for each in (change, inverse))
        laplacian = np.ascontiguousarray(laplacian)
        out = np.empty_like(change)
        job = np.zeros((), CORRECTION)
        for name, table in {
            "columns": inverse, "pixels": self.pixels, "change": change, "laplacian": laplacian, "out": out,
        }.items():  # fmt: skip
            job[name] = table.ctypes.data
        job["length"], job["count"] = inverse.shape[1], count
        sweeper = Sweeper(np.float64)
        sweeper.reserve(6 * count * count)
        sweeper.threads = threads.count(workers, len(change), len(change) * count**3 * 3e-9)
        sweeper.run(correction, job, len(change))
        return out

    def roots(self, kernels: np.ndarray, ridge: float, inverse: np.ndarray, workers: int | None) -> np.ndarray:
        """W with ``F = W'W``, where the border only takes rows away.

        As F itself they would have to be kept in higher precision: where the circulant's inverse is large, what is
        rounded of the whole is more than what is left.
        """
        rows, count = self.taken, len(self.pixels)
        roots = np.zeros((len(kernels), rows + 1, count), complex)
        kernels, inverse = (np.ascontiguousarray(each, complex) for each in (kernels, inverse))
        at = np.ascontiguousarray(np.searchsorted(self.pixels, self._ring))
        job = np.zeros((), ROOTS)
        for name, table in {
            "kernels": kernels, "columns": inverse, "at": at, "pixels": self.pixels, "out": roots,
        }.items():  # fmt: skip
            job[name] = table.ctypes.data
        job["taps"], job["length"], job["rows"], job["count"] = self.taps, inverse.shape[1], rows, count
        (job["first"], job["second"]), job["weight"] = self._cut, math.sqrt(ridge)
        sweeper = Sweeper(np.float64)
        sweeper.reserve(room(rows, count))
        sweeper.threads = threads.count(workers, len(kernels), len(kernels) * (rows + 1) * count**2 * 2e-9)
        sweeper.run(root, job, len(kernels))
        return roots


def sampled(frequencies: int, rate: int, length: int, most: int) -> np.ndarray:
    """Frequencies to compute corrections for.

    Corrections vary as slowly with frequency as the psf is short; only near zero, where differences fade, all are
    chosen.  About `rate` of them, and at most about `most`.
    """
    step = max(length / rate, frequencies / most)
    at, samples = 0.0, [0]
    while samples[-1] < frequencies - 1:
        at = min(max(at + min(step, at / 4), samples[-1] + 1.0), frequencies - 1.0)
        samples.append(int(at))
    return np.array(samples)


def between(chosen: np.ndarray, frequencies: int) -> tuple[np.ndarray, np.ndarray]:
    """For each frequency which of those chosen is next below it, and how near the next one above is."""
    below = np.minimum(np.searchsorted(chosen, np.arange(frequencies), side="right") - 1, max(len(chosen) - 2, 0))
    above = np.minimum(below + 1, len(chosen) - 1)
    return below, (np.arange(frequencies) - chosen[below]) / np.maximum(chosen[above] - chosen[below], 1)


def block_matrices(
    psf: np.ndarray,
    boundary: str,
    frame: tuple[int, int],
    size: tuple[int, int],
    block: tuple[int, int],
    last: tuple[bool, bool] = (False, False),
) -> tuple[np.ndarray, np.ndarray]:
    """A on a block of the estimate's pixels at one corner, and D^T D there; `last` tells of which, down and across.

    A has the rows that see any of the block, in float64.
    """
    # Which pixel of the block each tap of each row of A sees: all rows that see any.
    maps, chains = [], []
    for taps, shown, n, b, end in zip(psf.shape, frame, size, block, last, strict=True):
        before = taps - 1 - taps // 2
        first = 0 if boundary == "unknown" else -before
        table = pixel_at(boundary, n, before, taps)
        pixel = table[np.arange(shown)[:, None] + np.arange(taps)[None, :] + first + before]
        pixel = np.where(pixel == OUTSIDE, -1, pixel - (n - b) if end else pixel)
        pixel = pixel[((pixel >= 0) & (pixel < b)).any(axis=1)]
        maps.append((pixel[:, :, None] == np.arange(b)).astype(psf.dtype))
        degree = np.full(b, 2.0)
        degree[-1 if end else 0] -= 1
        if b == n:
            degree[0 if end else -1] -= 1
        chains.append(np.diag(degree) - np.eye(b, k=1) - np.eye(b, k=-1))
    down, across = maps
    # A[i, j; p, q] = sum over u, v of down[i, u, p] psf[u, v] across[j, v, q]
    columns = np.zeros((len(down), block[0], psf.shape[1]))
    for i, u, p in zip(*np.nonzero(down), strict=True):
        columns[i, p] += psf[-1 - u, ::-1]
    # (Written out: the threads of a matrix product would go on spinning, see `kernels.cpu.dense`.)
    matrix = np.zeros((len(down), len(across), *block))
    for v in range(psf.shape[1]):
        for j, q in zip(*np.nonzero(across[:, v]), strict=True):
            matrix[:, j, :, q] += columns[:, :, v]
    laplacian = np.kron(chains[0], np.eye(block[1])) + np.kron(np.eye(block[0]), chains[1])
    return matrix.reshape(-1, block[0] * block[1]), laplacian
