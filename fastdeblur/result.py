"""Results of solves: `Result`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What `solve` returns.

    Attributes
    ----------
    image : ndarray
        The restored image, of the shape of the blurred one, float32 or float64, not clipped.  With a GPU, an array in
        its memory of the kind that the blurred image was.  Of an image with a unit, and of astropy's NDData and
        CCDData, an object of its kind, with its unit, mask, coordinates and metadata, but without its uncertainty.
    objective : float
        Objective of `image`; what it is a sum of says `solve`.  With a denoiser the data's part alone.
    history : ndarray of float64, shape (n_iter + 1,)
        Objective at the start and after each iteration.
    n_iter : int
        Iterations made.
    n_products : float
        Applications of A plus applications of Aᵀ, halved.
    stop_reason : {"tolerance", "noise", "max_iter", "callback", "diverged"}
        `optimality` is at most `tol` (or, for "exact", no more is left than rounding); "poisson" alone has
        come to the noise, whatever its `optimality`: it would only fit that from there on; "sparse", which is not
        convex, has come to rest, for images of points where the objective changes by no more than `tol` (those that do
        not come to that, and may be above the objective of the solution with "tv", end at "max_iter");
        no more iterations were allowed; the callback returned True; the objective, or the image, is not finite.
    optimality : float
        How far from a minimum `image` is: ``‖∇F‖ / (‖∇data‖ + mu·‖∇prior‖)``, at most 1 and 0 at a
        minimum; gradients that point out of the bounds do not count.  Where the minimum is at a kink of "root",
        ``Ax = b`` or ``Dx = 0``, the exact solver takes the best subgradient instead, and also counts a
        hundred times what the objective may lack, relatively; that of a gradient descent says nothing there.
        For priors that keep edges, bounds and denoisers it is the larger of the primal and the dual
        residual of the split variables, the one relative to what is split, the other to the forces (for "sparse",
        whose forces fade, to those themselves).  For "learned" it is by what share of itself the next step of the
        quasi-Newton method should lower the objective, of photons without what it is at least: ``−∇F·d / F`` for the
        direction d, 0 where the gradient is.  For "poisson" alone it is by what share of it
        a step of Richardson-Lucy changes the estimate.
    mu : float
        The weight used (0 without a prior; for a denoiser the noise's variance).
    path : str
        How the blur was computed; "fft" for priors that keep edges, bounds and denoisers where a transform of the
        whole image solves for the estimate.
    device : {"cpu", "cuda"}
        Where it was computed.
    seconds : float
        Time that `solve` took.
    noise : float
        Standard deviation of the noise in the blurred image, in its units, estimated from its spectrum: with a `mu` of
        yours from its middle.  What an error of the psf adds at low frequencies does not count.
    misfit : float
        Root mean square of the residual ``Ax - b``, in the middle of the frame, over that of what the noise and an
        error of the psf may leave: ``hypot(noise, 0.025 d)``, where d is the standard deviation of the image's
        details (of 0.7 to 3 pixels).  Somewhat less than 1 is right; NaN where the frame is smaller than the psf.

    Examples
    --------
    >>> import numpy as np, fastdeblur as fd
    >>> result = fd.solve(np.eye(16), fd.psf.box(3), mu=0.1)
    >>> result.stop_reason
    'tolerance'
    >>> len(result.history) == result.n_iter + 1
    True
    """

    image: np.ndarray
    objective: float
    history: np.ndarray
    n_iter: int
    n_products: float
    stop_reason: str
    optimality: float
    mu: float
    path: str
    device: str
    seconds: float
    noise: float = math.nan
    misfit: float = math.nan

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.image.shape))
        return (
            f"<Result: {shape} {self.image.dtype}, objective {self.objective:.6g}, {self.n_iter} iterations, "
            f"{self.stop_reason}, optimality {self.optimality:.2g}>"
        )
