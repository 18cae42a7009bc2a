"""Ways to a minimum, a file each; those called `cuda_` are their twins for a GPU."""
