"""The exact minimiser for quadratic priors: preconditioned conjugate gradients."""
