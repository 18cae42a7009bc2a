"""Images larger than memory, tile by tile, and Dask's arrays.  Imports deblurrer and all below, and io."""
