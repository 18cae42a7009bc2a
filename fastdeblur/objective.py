"""The objectives, and how their gradients follow from Aᵀr and DᵀDx.

With ``r = A x - b`` and ``D`` the forward differences of the whole estimate:

- ``root``: ``sqrt(½‖r‖²) + mu * sqrt(½‖Dx‖²)``
- ``squares``: ``½‖r‖² + mu * ½‖Dx‖²``

Everything is a function of the two norms ``‖r‖`` and ``‖Dx‖``.
"""

from math import sqrt

from .runtime import jit

DATA = ("root", "squares")


@jit
def value(root, mu, residual, roughness):
    """The objective, from ‖r‖ and ‖Dx‖."""
    if root:
        return sqrt(0.5) * (residual + mu * roughness)
    return 0.5 * residual * residual + mu * (0.5 * roughness * roughness)


@jit
def gradient_scales(root, mu, residual, roughness, negligible):
    """Factors of Aᵀr and DᵀDx in the gradient.

    Where a root is zero it has no gradient; its subgradient of least norm is zero.  Norms up to
    `negligible` count as zero.
    """
    if not root:
        return 1.0, mu
    data = sqrt(0.5) / residual if residual > negligible else 0.0
    prior = sqrt(0.5) * mu / roughness if roughness > negligible else 0.0
    return data, prior
