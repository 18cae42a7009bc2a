"""The smooth objectives and the scales of their gradient, from the norms ‖r‖ and ‖Dx‖."""

from math import sqrt

from ..runtime.tasks import jit


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
