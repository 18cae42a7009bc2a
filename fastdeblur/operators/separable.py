"""Psfs as sums of separable ones: numerical rank and factors, by singular values."""

from __future__ import annotations

import functools

import numpy as np

# How much worse than singular vectors eliminated rows and columns may be at the same rank.
_SLACK = 1e3
# Taps of psfs of which the last few's factors are kept: the blur, its adjoint and the choice of the path ask for them.
_SMALL, _KEPT = 2**12, 8


def factors(psf: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split a psf into a sum of products of a column and a row.

    Singular values below the rounding of the psf's own dtype are dropped.

    Returns
    -------
    down : ndarray, shape (rank, rows)
    across : ndarray, shape (rank, cols)
        Such that ``psf == down.T @ across`` to within 1e-7 (float32) or 1e-14 (float64) of its norm.
    """
    if 1 in psf.shape:  # no rounding: a line that sums to nothing still does
        line, one = psf.astype(np.float64), np.ones((1, 1))
        return (one, line) if len(psf) == 1 else (line.T, one)
    return _kept(psf.tobytes(), psf.dtype.str, psf.shape) if psf.size <= _SMALL else _singular(psf)


@functools.lru_cache(maxsize=_KEPT)
def _kept(taps: bytes, dtype: str, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    down, across = _singular(np.frombuffer(taps, dtype).reshape(shape))
    down.flags.writeable = across.flags.writeable = False
    return down, across


def _singular(psf: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    u, s, vt = np.linalg.svd(psf.astype(np.float64), full_matrices=False)
    significant = s > s[0] * _negligible(psf)
    significant[0] = True  # also of zeros, which may be multiplied with something that is not finite
    root = np.sqrt(s[significant])
    return (u[:, significant] * root).T, vt[significant] * root[:, None]


def rank(psf: np.ndarray, most: int) -> int:
    """How many parts `factors` makes of a psf, or just ``most + 1`` if they are more."""
    rest = psf / np.abs(psf, dtype=np.float64).max(initial=np.finfo(np.float64).tiny)
    floor = _negligible(psf) * float(np.linalg.norm(rest))
    if min(psf.shape) > 4 * most:
        # Elimination with complete pivots takes a fraction of what singular values do.
        for _ in range(most):
            i, j = np.unravel_index(np.argmax(np.abs(rest)), rest.shape)
            if rest[i, j] == 0:
                break
            rest -= np.outer(rest[:, j] / rest[i, j], rest[i])
        if np.linalg.norm(rest) > _SLACK * floor:
            return most + 1
    if psf.size <= _SMALL:
        return min(len(factors(psf)[0]), most + 1)
    values = np.linalg.svd(psf.astype(np.float64), compute_uv=False)
    return min(max(int((values > values[0] * _negligible(psf)).sum()), 1), most + 1)


def _negligible(psf: np.ndarray) -> float:
    """Relative to the largest, singular values that are rounding of the psf's own dtype."""
    return 1e-7 if psf.dtype == np.float32 else 1e-14
