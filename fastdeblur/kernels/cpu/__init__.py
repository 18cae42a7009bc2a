"""Compiled code for the CPU.  Imports kernels/runtime only."""
