"""The GPU's twins of `kernels` and of the passes, for numba.cuda; imported by nothing until a GPU is asked for."""
