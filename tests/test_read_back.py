"""Every dtype in every layout, made by rasterio, tifffile and astropy, and read back by them: nothing changes."""

import importlib.util
import itertools

import numpy as np
import pytest
import tifffile
from samples import noise

from fastdeblur.io import files

DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
CODECS = importlib.util.find_spec("imagecodecs") is not None
LAYOUTS = {
    "strips": {"blockysize": 16},
    "tiles": {"tiled": True, "blockxsize": 32, "blockysize": 16},
    "planes": {"interleave": "band", "tiled": True, "blockxsize": 16, "blockysize": 16},
    "big": {"BIGTIFF": "YES", "ENDIANNESS": "BIG"},
}
COMPRESSIONS = [{}, {"compress": "deflate"}, {"compress": "deflate", "predictor": 2},
                *([{"compress": "lzw"}, {"compress": "zstd"}] if CODECS else [])]  # fmt: skip


def copied(source, out):
    """Write what is read, as if it had been restored."""
    with files.opened(source) as opened:
        assert files.lost(opened.metadata, out, opened.full_shape, opened.dtype) == []
        pages = [opened.page(number) for number in range(opened.pages or 1)]
        with files.saving(out, pages[0], opened.pages, opened.metadata, alpha=opened.alpha) as put:
            for page in pages:
                put(page)


def has_predictor(rasterio, dtype):
    """Whether the libtiff that came with rasterio can write differences of numbers of this type."""
    given = {"driver": "GTiff", "count": 1, "height": 2, "width": 2, "compress": "deflate", "predictor": 2}
    given |= {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 4.6e6)}
    try:
        with rasterio.MemoryFile() as memory, memory.open(**given, dtype=dtype) as file:
            file.write(np.zeros((1, 2, 2), dtype))
    except rasterio.errors.RasterioIOError:  # up to 4.3.0 none of 64 bits
        return False
    return True


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_geotiff_of_any_dtype_and_layout(tmp_path, dtype):
    rasterio = pytest.importorskip("rasterio")
    name = {"i1": "int8"}.get(dtype, np.dtype(dtype).name)
    predicted = np.dtype(dtype).itemsize < 8 or has_predictor(rasterio, name)
    kinds = [*itertools.product((4,), LAYOUTS, COMPRESSIONS), *itertools.product((1, 3), LAYOUTS, [{}])]
    for count, layout, packing in kinds:
        if packing.get("predictor") and (np.dtype(dtype).kind == "f" or not predicted):
            continue
        image = noise((count, 37, 45), dtype)
        given = {"driver": "GTiff", "count": count, "height": 37, "width": 45, "dtype": name, "nodata": 3, **packing}
        given |= {**LAYOUTS[layout], "crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 4.6e6)}
        with rasterio.open(tmp_path / "a.tif", "w", **given) as file:
            file.write(image)
            file.descriptions = [f"band {band}" for band in range(count)]
            file.update_tags(1, UNIT="m")
        copied(tmp_path / "a.tif", tmp_path / "b.tif")
        with rasterio.open(tmp_path / "a.tif") as before, rasterio.open(tmp_path / "b.tif") as after:
            assert after.profile == before.profile, (layout, packing)
            assert (after.descriptions, after.tags(1)) == (before.descriptions, before.tags(1))
            assert after.colorinterp == before.colorinterp
            np.testing.assert_array_equal(after.read(), image)


@pytest.mark.parametrize("dtype", [each for each in DTYPES if each not in ("u8", "i8")])  # which OME does not know
def test_a_stack_of_any_dtype_and_kind(tmp_path, dtype):
    image = noise((2, 3, 20, 24), dtype)
    kinds = [{"ome": True, "metadata": {"axes": "TCYX", "PhysicalSizeX": 0.3, "Channel": {"Name": ["a", "b", "c"]}}}]
    if dtype in ("u1", "u2", "f4"):
        kinds.append({"imagej": True, "metadata": {"axes": "TCYX", "unit": "um", "finterval": 2.5}})
    for kind, packing in itertools.product(kinds, ({}, {"compression": "zlib"}, {"tile": (16, 16)})):
        if "imagej" in kind and packing:
            continue
        tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack", resolution=(3, 3), **kind, **packing)
        copied(tmp_path / "a.tif", tmp_path / "b.tif")
        with tifffile.TiffFile(tmp_path / "a.tif") as before, tifffile.TiffFile(tmp_path / "b.tif") as after:
            assert (after.series[0].axes, after.series[0].shape) == (before.series[0].axes, before.series[0].shape)
            assert (after.ome_metadata, after.imagej_metadata) == (before.ome_metadata, before.imagej_metadata)
            for name in ("compression", "tile", "XResolution", "photometric"):
                values = [each.pages.first.tags.valueof(name) or getattr(each.pages.first, name, None)
                          for each in (before, after)]  # fmt: skip
                assert values[0] == values[1], name
            np.testing.assert_array_equal(after.asarray(), image)


@pytest.mark.parametrize("dtype", [each for each in DTYPES if each != "u8"])
def test_a_fits_image_of_any_dtype_and_kind(tmp_path, dtype):
    fits = pytest.importorskip("astropy.io.fits")
    for shape, compressed in itertools.product(((20, 24), (2, 20, 24)), (False, True)):
        image = noise(shape, dtype)
        header = fits.Header([("OBJECT", "M 31"), ("CTYPE1", "RA---TAN"), ("CTYPE2", "DEC--TAN"), ("CRVAL1", 10.5)])
        packing = {"compression_type": "GZIP_2", "quantize_level": 0.0}
        if compressed and dtype in ("i1", "i8"):
            continue  # astropy has no compressed ones
        hdu = fits.CompImageHDU(image, header, **packing) if compressed else fits.ImageHDU(image, header)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "a.fits", overwrite=True)
        copied(tmp_path / "a.fits", tmp_path / "b.fits")
        with fits.open(tmp_path / "a.fits") as before, fits.open(tmp_path / "b.fits") as after:
            after.verify("exception")
            assert repr(after[1].header) == repr(before[1].header)
            np.testing.assert_array_equal(after[1].data, image)
