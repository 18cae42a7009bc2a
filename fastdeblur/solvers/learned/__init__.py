"""Preconditioned quasi-Newton descent with the learned prior."""
