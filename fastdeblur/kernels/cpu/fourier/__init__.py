"""Fourier transforms (CPU) with the lanes of vectors across lines: butterflies, passes, and plans by length."""
