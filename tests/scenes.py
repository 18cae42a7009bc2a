"""Blurred images with edges of all sizes, for the tests of large images."""

import numpy as np
import tifffile

import fastdeblur as fd
from fastdeblur.large import readers
from fastdeblur.large.job import DEFAULTS, Job

PSF = fd.psf.gaussian(7, 1.5)


def blurred(shape, psf=PSF, dtype=np.float32, boundary="reflect", noise=0.01, seed=3):
    """Squares of gray, between about 0 and 1, seen through the psf; channels, if any, are last."""
    random = np.random.default_rng(seed)
    planes = []
    for k in range(shape[2] if len(shape) == 3 else 1):
        sharp = random.random((shape[0] // 8 + 1, shape[1] // 8 + 1)).repeat(8, 0).repeat(8, 1)[: shape[0], : shape[1]]
        each = psf if psf.ndim == 2 else psf[..., k]
        planes.append(fd.convolve(sharp, each, boundary=boundary) + noise * random.standard_normal(sharp.shape))
    return (planes[0] if len(shape) == 2 else np.stack(planes, axis=-1)).astype(dtype)


def layout(image, psf, **options):
    """Tiles, what was found for all of them, and the halo."""
    weights = options.pop("weights", None)
    weights = None if weights is None else readers.of_array(weights, "weights")
    return Job(readers.of_array(image), weights, psf, {**DEFAULTS, **options})._layout()


def saved(path, array):
    """An array in a file of the path's suffix."""
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, array)
    else:
        import zarr

        chunks = (32, 32, *array.shape[2:])
        zarr.open_array(str(path), mode="w", shape=array.shape, dtype=array.dtype, chunks=chunks)[...] = array
    return path


def read(path):
    """What is in it."""
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".tif":
        return tifffile.imread(path)
    import zarr

    return zarr.open_array(str(path), mode="r")[...]
