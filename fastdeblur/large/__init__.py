"""Images larger than memory, tile by tile, and Dask's arrays."""
