"""ADMM: total variation, the sparse prior, denoisers, bounds."""
