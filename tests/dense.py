"""Minimisers of small problems by dense linear algebra, from the explicit matrix of the blur."""

import functools
import math

import naive
import numpy as np
from scipy.optimize import brentq


def differences(shape, periodic=False):
    """D as a matrix: differences down, then across; if `periodic`, also from the last row and column to the first."""
    rows, cols = shape
    down = [(i, j, i + 1, j) for i in range(rows if periodic else rows - 1) for j in range(cols)]
    across = [(i, j, i, j + 1) for i in range(rows) for j in range(cols if periodic else cols - 1)]
    matrix = np.zeros((len(down) + len(across), rows * cols))
    for row, (i, j, k, m) in enumerate(down + across):
        matrix[row, k % rows * cols + m % cols] += 1
        matrix[row, i * cols + j] -= 1
    return matrix


class Problem:
    """One or more planes that share a psf."""

    def __init__(self, images, psf, boundary):
        images = np.asarray(images, float)
        images = images if images.ndim == 3 else images[None]
        self.shape, taps = images.shape[1:], np.shape(psf)
        grown = boundary == "unknown"
        self.domain = tuple(n + (k - 1) * grown for n, k in zip(self.shape, taps, strict=True))
        self.corner = tuple((k - 1 - k // 2) * grown for k in taps)
        self.a = np.array(naive.matrix(self.shape, np.asarray(psf, float).tolist(), boundary))
        self.d = differences(self.domain, boundary == "wrap")
        self.b = images.reshape(len(images), -1).T

    @functools.cached_property
    def parts(self):
        """A = U diag(c) Z and D = W diag(s) Z with orthonormal columns of U and W [1]_: Z⁻¹, c, s and Uᵀb.

        References
        ----------
        .. [1] C. F. Van Loan, "Generalizing the singular value decomposition", SIAM Journal on Numerical
           Analysis 13, 1976.
        """
        q, r = np.linalg.qr(np.vstack([self.a, self.d]))
        top, bottom = q[: len(self.a)], q[len(self.a) :]
        u, c, vt = np.linalg.svd(top)
        c = np.concatenate([c, np.zeros(len(vt) - len(c))])
        waves = np.zeros((len(c), self.b.shape[1]))
        waves[: len(self.a)] = (u.T @ self.b)[: len(c)]
        return np.linalg.solve(r, vt.T), c, np.linalg.norm(bottom @ vt.T, axis=0), waves

    def squares(self, ridge):
        """Minimiser of ½‖Ax−b‖² + ridge ½‖Dx‖²."""
        back, c, s, waves = self.parts
        return back @ (waves * (c / (c * c + ridge * s * s))[:, None])

    def norms(self, x):
        return np.linalg.norm(self.a @ x - self.b), np.linalg.norm(self.d @ x)

    def root_objective(self, x, mu):
        f, g = self.norms(x)
        return math.sqrt(0.5) * (f + mu * g)

    @functools.cached_property
    def interpolant(self):
        """Of all x with Ax = b (or nearest to it) the one with the least ‖Dx‖."""
        u, s, vt = np.linalg.svd(self.a)
        rank = int((s > 1e-11 * s[0]).sum())
        least = vt[:rank].T @ ((u[:, :rank].T @ self.b) / s[:rank, None])
        free = vt[rank:].T
        if free.shape[1] == 0:
            return least
        return least - free @ np.linalg.lstsq(self.d @ free, self.d @ least, rcond=None)[0]

    def root(self, mu):
        """Minimiser of sqrt(½‖Ax−b‖²) + mu sqrt(½‖Dx‖²): the best of the two ends and of the ridges between."""
        level = np.ones((self.a.shape[1], 1))
        constant = level @ np.linalg.lstsq(self.a @ level, self.b, rcond=None)[0]
        found = [self.interpolant, constant]

        def gap(t):
            f, g = self.norms(self.squares(math.exp(t)))
            return math.log(mu * max(f, 1e-300) / max(g, 1e-300)) - t

        ts = np.linspace(-26, 14, 41)
        gaps = [gap(t) for t in ts]
        for k in range(40):
            if gaps[k] > 0 >= gaps[k + 1]:
                found.append(self.squares(math.exp(brentq(gap, ts[k], ts[k + 1], xtol=1e-13))))
        return min(found, key=lambda x: self.root_objective(x, mu))

    def frame(self, x):
        """The planes of x that the image shows."""
        whole = x.T.reshape(-1, *self.domain)
        (top, left), (rows, cols) = self.corner, self.shape
        return whole[:, top : top + rows, left : left + cols]
