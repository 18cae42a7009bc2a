"""Compiled code: for GPUs (`cuda`), for the CPU (`cpu`), and how it is compiled and launched (`runtime`)."""
