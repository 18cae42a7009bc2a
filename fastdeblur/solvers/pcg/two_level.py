"""Preconditioner where pixels are missing: that of a whole image before and after a solve on the holes.

The solve as if nothing were missing, C, is of no use for what the image does not show, and the one on the holes, G (see
`multigrid`), for what the blur brings across their edges.  Added up they leave the edges' conditioning, which
is worse the smaller the ridge.  One after the other [1]_ they hold: with the normal equations' matrix
``N = AᵀWA + ridge·DᵀD``, that of a whole image ``M = N + AᵀHA`` and what is missing ``H = 1 − W``,

    ``P = C + C AᵀHA C + (I − C N) G (I − N C)``,

the two-level cycle if C is M's inverse, for then ``C AᵀHA = I − C N``.  It is not quite that at the border, so the
first terms are written without it: whatever C leaves, each term is symmetric and none is negative.
(Two products with N and a second C make an iteration about twice as long.  128 x 128, automatic weight, a corner,
a frame, half at random, a block or half of the pixels missing, iterations, added up and so: a Gaussian of 2, 1 % noise,
14 to 21 and 10 to 12, without missing pixels 6; 0.2 % noise, 25 to 61 and 12 to 31 for 9; an Airy pattern of 5, 42 to
148 and 16 to 47 for 9.  With c³ and ``C AᵀHA`` for ``I − C N`` a frame takes 113.)

Between two C's, what C makes too large of anything is so twice.  Where C is only roughly M's inverse, as with psfs that
vary, the two are added up (`Added`).  (Gaussians from 0.5 to 3 pixels, 96 x 96, "unknown", a third missing at random,
1 % noise: 34 iterations, as two levels 51; 12 x 10, roots, mu 0.05: 78, and more than 200.)

References
----------
.. [1] B. Smith, P. Bjørstad and W. Gropp, "Domain Decomposition", Cambridge University Press, 1996.
"""

from __future__ import annotations

from typing import Any, Protocol

from ...kernels.runtime.arrays import module_of
from .multigrid import ArrayMultigrid, Multigrid
from .preconditioner import RidgePreconditioner

# The holes' equations have SHARE times this power of the coverage for c²: there is more than smooth errors to solve
# for.  (As above, 0.2 % noise, a Gaussian and an Airy pattern, frame: c² 36 and 95, c³ 36 and 46, c⁴ 53 and 56; half of
# the pixels at random: with 0.5 times c^2.5 18 and 26, with c³ 24 and 28.)
POWER, SHARE = 2.5, 0.5


def effective(coverage: Any) -> Any:
    """The coverage whose square the holes' equations have."""
    return coverage.dtype.type(SHARE**0.5) * coverage ** coverage.dtype.type(POWER / 2)


class Workspace(Protocol):
    """The planes of a solve, and what applies A and C to them."""

    x: Any
    blurred_fresh: Any

    def blur_alone(self, source: Any, out: Any, adjoint: bool = False) -> None: ...

    def add_differences(self, out: Any, source: Any, factor: float) -> None: ...

    def solve(self, current: list[RidgePreconditioner], source: Any, out: Any) -> None: ...


class Added:
    """P = C + G for the planes of a workspace, with G of the coverage itself."""

    #: Products with A or Aᵀ that it takes.
    products = 0

    def __init__(self, cycle: Multigrid | ArrayMultigrid):
        self._cycle = cycle

    def finish(self, current: list[RidgePreconditioner], source: Any, out: Any) -> None:
        """Make P source of C source, in `out`."""
        self._cycle.add(current[0].ridge, source, out)


class TwoLevel:
    """P, as above, for the planes of a workspace.

    Parameters
    ----------
    work : PcgWorkspace
        What applies A and C.
    shown : array, planes x rows x cols
        W: the weights of the image's pixels, in those that are usual.
    cycle : Multigrid or ArrayMultigrid
        G, of the `effective` coverage.
    """

    products = 4

    def __init__(self, work: Workspace, shown: Any, cycle: Multigrid | ArrayMultigrid):
        xp = module_of(shown)
        self._work, self._cycle = work, cycle
        # Larger weights count as usual ones: C knows no others, and so would be far too large of what they weigh.
        # (Weights that are exp of a normal variable, 160 x 160, a frame missing: 44 iterations added up, 124, and 43.)
        self._shown = xp.minimum(shown, 1)
        self._hidden = 1 - self._shown
        self._left, self._part = xp.empty_like(work.x), xp.empty_like(work.x)
        self._blurred = xp.empty_like(shown)

    def finish(self, current: list[RidgePreconditioner], source: Any, out: Any) -> None:
        """Make P source of C source, in `out`."""
        work, left, part, blurred, ridge = self._work, self._left, self._part, self._blurred, current[0].ridge
        missing = work.blurred_fresh  # nobody needs it before it is computed from the result
        work.blur_alone(out, missing)
        blurred[...] = missing
        blurred *= self._shown
        missing *= self._hidden
        work.blur_alone(blurred, left, adjoint=True)
        work.add_differences(left, out, ridge)
        left -= source
        left *= -1
        part[...] = 0
        self._cycle.add(ridge, left, part)
        out += part
        work.blur_alone(part, blurred)
        blurred *= self._shown
        missing -= blurred
        work.blur_alone(missing, left, adjoint=True)
        work.add_differences(left, part, -ridge)
        work.solve(current, left, part)
        out += part
