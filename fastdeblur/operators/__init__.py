"""The blur A: boundaries, paths and their costs, buffers, on the host and on a GPU.  Imports kernels."""
