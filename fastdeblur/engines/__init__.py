"""Where arrays live and what a Deblurrer keeps, on the host or on a GPU.  Imports solvers and all below."""
