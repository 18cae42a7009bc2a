"""Benchmarks: run by asv, apart from `targets`, which is a script."""
