"""Compilation, its cache, threads, forks, memory.  Imports nothing of the package."""
