"""What large images are read from and written to."""

import os

import numpy as np
import pytest
import tifffile
from scenes import blurred, read, saved
from sweeps import sweep

import fastdeblur as fd
from fastdeblur.large import sampling

zarr = pytest.importorskip("zarr")
PSF = fd.psf.gaussian(3, 0.7)
# Few steps of what is quickly set up.
OPTIONS = {"prior": "tv", "mu": 0.01, "max_iter": 2, "tol": 0, "tile": 40, "halo": 5}
IMAGE = blurred((60, 70), PSF)
COLOUR = blurred((60, 70, 3), PSF)


@pytest.fixture(scope="module")
def wanted():
    return fd.deblur_large(IMAGE, PSF, **OPTIONS)


class Watched:
    """An array that is only asked for parts, and by one thread at a time."""

    def __init__(self, array):
        self._array, self.shape, self.dtype, self.sizes, self._asked = array, array.shape, array.dtype, [], False

    def __getitem__(self, part):
        assert not self._asked
        self._asked = True
        found = self._array[part]
        self.sizes.append(found.shape)
        self._asked = False
        return found


SOURCES = {
    "path": lambda folder: saved(folder / "a.npy", IMAGE),
    "text": lambda folder: str(saved(folder / "a.npy", IMAGE)),
    "map": lambda folder: np.load(saved(folder / "a.npy", IMAGE), mmap_mode="r"),
    "writable map": lambda folder: np.load(saved(folder / "a.npy", IMAGE), mmap_mode="r+"),
    "part of a map": lambda folder: np.load(saved(folder / "a.npy", np.stack([0 * IMAGE, IMAGE])), mmap_mode="r")[1],
    "columns first": lambda folder: np.load(saved(folder / "a.npy", np.asfortranarray(IMAGE)), mmap_mode="r"),
    "swapped": lambda folder: np.load(saved(folder / "a.npy", IMAGE.astype(">f4")), mmap_mode="r"),
    "backwards": lambda folder: np.load(saved(folder / "a.npy", IMAGE[::-1]), mmap_mode="r")[::-1],
    "tiff": lambda folder: saved(folder / "a.tif", IMAGE),
    "zarr path": lambda folder: saved(folder / "a.zarr", IMAGE),
    "zarr array": lambda folder: zarr.open_array(str(saved(folder / "a.zarr", IMAGE)), mode="r"),
    "object": lambda folder: Watched(IMAGE),
    "lists": lambda folder: IMAGE.tolist(),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_the_bits_do_not_depend_on_where_it_lies(tmp_path, wanted, kind):
    tiles = fd.deblur_large(SOURCES[kind](tmp_path), PSF, **OPTIONS)
    if kind == "lists":  # of float64
        np.testing.assert_allclose(tiles, wanted, atol=1e-3)
    else:
        np.testing.assert_array_equal(tiles, wanted)


@sweep(
    how=[
        {"tile": (16, 32)}, {"tile": (32, 32), "compression": "zlib", "predictor": True}, {"rowsperstrip": 7},
        {"compression": "zlib", "rowsperstrip": 13}, {"bigtiff": True, "byteorder": ">"},
    ],
    dtype=["u2", "u1", "f4"],
)  # fmt: skip
def test_tiffs(tmp_path, how, dtype):
    image = (np.clip(COLOUR, 0, 1) * 250).astype(dtype)
    if dtype == "f4" and how.get("predictor"):
        how = {name: value for name, value in how.items() if name != "predictor"}
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", **how)
    options = {**OPTIONS, "channel_axis": -1}
    np.testing.assert_array_equal(
        fd.deblur_large(tmp_path / "a.tif", PSF, **options), fd.deblur_large(image, PSF, **options)
    )


def test_the_first_dataset_of_an_ome_zarr_group(tmp_path, wanted):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    axes = [{"name": name} for name in "tcyx"]
    group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}, {"path": "1"}]}]
    shape, chunks = (1, 1, *IMAGE.shape), (1, 1, 32, 32)
    zarr.open_array(str(tmp_path / "a.zarr" / "0"), mode="w", shape=shape, dtype="f4", chunks=chunks)[...] = IMAGE[
        None, None
    ]
    np.testing.assert_array_equal(fd.deblur_large(tmp_path / "a.zarr", PSF, **OPTIONS), wanted)


@pytest.mark.parametrize("boundary", ["unknown", "wrap"])
def test_no_more_than_windows_and_crops_are_read(tmp_path, monkeypatch, boundary, long):
    monkeypatch.setattr(sampling, "CROP", 20)
    monkeypatch.setattr(sampling, "CELL", 60)
    options = {"tile": 70, "halo": 9, "boundary": boundary, "mu": 0.3, "data": "root", "max_iter": 1}
    for axis, image in ((None, blurred((200, 210), PSF)), (0, blurred((3, 200, 210), PSF))):
        kinds = [options, {**options, **OPTIONS, "tile": 70, "data": None}]
        for more in kinds if long else [kinds[(axis is None) ^ (boundary == "wrap")]]:
            source = Watched(image)
            fd.deblur_large(source, PSF, tmp_path / "out.npy", **more, channel_axis=axis)
            assert max(size[-2] * size[-1] for size in source.sizes) <= 88 * 88


OUTS = {
    "array": lambda folder: np.empty((60, 70), np.float32),
    "strided": lambda folder: np.empty((120, 140), np.float32)[::2, ::-2],
    "new map": lambda folder: np.lib.format.open_memmap(folder / "out.npy", "w+", np.float32, (60, 70)),
    "map": lambda folder: np.load(saved(folder / "out.npy", IMAGE), mmap_mode="r+"),
    "part of a map": lambda folder: np.load(saved(folder / "out.npy", np.zeros((3, 60, 70), "f4")), mmap_mode="r+")[1],
    "columns first": lambda folder: np.load(saved(folder / "out.npy", np.asfortranarray(IMAGE)), mmap_mode="r+"),
    "private": lambda folder: np.load(saved(folder / "out.npy", IMAGE), mmap_mode="c"),
    "zarr array": lambda folder: zarr.open_array(str(saved(folder / "out.zarr", IMAGE)), mode="r+"),
}


@pytest.mark.parametrize("kind", OUTS)
def test_into_a_caller_s_array(tmp_path, wanted, kind):
    out = OUTS[kind](tmp_path)
    assert fd.deblur_large(IMAGE, PSF, out, **OPTIONS) is out
    np.testing.assert_array_equal(out[...], wanted)
    if kind in ("new map", "map", "columns first"):
        np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), wanted)
    if kind == "part of a map":
        np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), np.stack([0 * wanted, wanted, 0 * wanted]))
    assert len(os.listdir(tmp_path)) <= 1


@sweep(suffix=[".npy", ".tif", ".zarr"], linked=[False, True])
def test_into_a_file(tmp_path, wanted, suffix, linked):
    out = tmp_path / f"out{suffix}"
    if linked:
        saved(tmp_path / f"there{suffix}", np.ones((3, 4), np.uint8))
        out.symlink_to(tmp_path / f"there{suffix}")
        if suffix != ".zarr":
            (tmp_path / f"there{suffix}").chmod(0o640)
    there = fd.deblur_large(IMAGE, PSF, str(out), **OPTIONS)
    np.testing.assert_array_equal(there[...], wanted)
    np.testing.assert_array_equal(read(out), wanted)
    assert there.dtype == np.float32
    assert sorted(os.listdir(tmp_path)) == ([out.name, f"there{suffix}"] if linked else [out.name])
    assert out.is_symlink() == linked
    if linked and suffix != ".zarr":
        assert out.stat().st_mode & 0o777 == 0o640
    fd.deblur_large(there, PSF, tmp_path / f"again{suffix}", **OPTIONS)  # is a source again


@sweep(channels=[1, 2, 3, 4], suffix=[".npy", ".tif", ".zarr"])
def test_colours_into_a_file(tmp_path, suffix, channels):
    image = COLOUR[..., [0, 1, 2, 0]][..., :channels].astype(np.float64)
    options = {**OPTIONS, "channel_axis": -1}
    there = fd.deblur_large(image, PSF, tmp_path / f"out{suffix}", **options)
    result = fd.deblur_large(image, PSF, **options)
    np.testing.assert_array_equal(there[...], result)
    np.testing.assert_array_equal(read(tmp_path / f"out{suffix}").reshape(result.shape), result)
    np.testing.assert_array_equal(
        fd.deblur_large(np.moveaxis(image, -1, 0), PSF, tmp_path / "first.npy", **{**options, "channel_axis": 0}),
        np.moveaxis(result, -1, 0),
    )
