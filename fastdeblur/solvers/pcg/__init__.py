"""Preconditioned conjugate gradients: the exact minimiser for quadratic priors."""
