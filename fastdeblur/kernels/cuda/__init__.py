"""Compiled code for NVIDIA GPUs, and the device itself; only imported when a GPU is asked for."""
