"""What a solve hands back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What `solve` returns.

    Attributes
    ----------
    image : ndarray
        The restored image, of the shape of the blurred one, float32 or float64, not clipped.
    objective : float
        Objective of `image`; what it is a sum of says `solve`.
    history : ndarray of float64, shape (n_iter + 1,)
        Objective at the start and after each iteration.
    n_iter : int
        Iterations made.
    n_products : float
        Applications of A plus applications of Aᵀ, halved.
    stop_reason : {"tolerance", "max_iter", "callback", "diverged"}
    optimality : float
        How far from a minimum `image` is: ``‖∇F‖ / (‖∇data‖ + mu·‖∇prior‖)``, at most 1 and 0 at a
        minimum.  Where the minimum is at a kink of "root", ``Ax = b`` or ``Dx = 0``, the exact
        solver takes the best subgradient instead, and also counts a hundred times what the
        objective may lack, relatively; that of a gradient descent says nothing there.
    mu : float
        The weight used (0 without a prior).
    path : str
        How the blur was computed.
    device : str
    seconds : float
        Time that `solve` took.
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

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.image.shape))
        return (
            f"<Result: {shape} {self.image.dtype}, objective {self.objective:.6g}, {self.n_iter} iterations, "
            f"{self.stop_reason}, optimality {self.optimality:.2g}>"
        )
