"""What is wrong with a call for a large image is one clear message, and nothing is lost or left behind."""

import inspect
import os
import sys
import warnings

import numpy as np
import pytest
import tifffile
from scenes import blurred, read, saved

import fastdeblur as fd

zarr = pytest.importorskip("zarr")
PSF = fd.psf.gaussian(3, 0.7)
IMAGE = blurred((60, 70), PSF)
COLOUR = blurred((60, 70, 3), PSF)
OPTIONS = {"prior": "tv", "mu": 0.01, "max_iter": 2, "tol": 0, "tile": 40, "halo": 5}


def with_value(array, value, place=(50, 7)):
    array = array.copy()
    array[place] = value
    return array


class OnGpu:
    __cuda_array_interface__ = {"shape": (60, 70), "typestr": "<f4", "data": (0, False), "version": 3}  # noqa: RUF012
    shape, dtype = (60, 70), np.dtype("f4")

    def __getitem__(self, part):
        raise AssertionError


class Short:
    shape, dtype = (60, 70), np.dtype("f4")

    def __getitem__(self, part):
        return IMAGE[part][1:]


ARGUMENTS = [
    ("source", IMAGE.astype(complex), TypeError, "source must hold real numbers.*; its dtype is complex128"),
    ("source", IMAGE.astype(object), TypeError, "source must hold real numbers.*object"),
    ("source", np.zeros((60, 70), [("a", "f4"), ("b", "f4")]), TypeError, "source must hold real numbers"),
    ("source", IMAGE.astype(np.longdouble), TypeError, "source must hold real numbers of at most 64 bits"),
    ("source", None, TypeError, "source must hold real numbers"),
    ("source", OnGpu(), TypeError, "source is in a GPU's memory; deblur it with solve"),
    ("source", Short(), ValueError, "source must give the parts it is asked for; for .* it gave"),
    ("source", IMAGE[0], ValueError, r"source must have 2 dimensions.*; its shape is \(70,\)"),
    ("source", IMAGE[:0], ValueError, r"source must have 2 dimensions.*none empty; its shape is \(0, 70\)"),
    ("source", COLOUR, ValueError, r"source must have 2 dimensions \(or a channel_axis\)"),
    ("source", with_value(IMAGE, np.inf), ValueError, "source must be finite.*; at row 50, column 7 it is inf"),
    ("source", with_value(IMAGE, -np.inf), ValueError, "at row 50, column 7 it is -inf"),
    ("psf", np.ones((41, 3)) / 123, ValueError, r"tile must be no smaller than the psf, .*\(41, 3\); got \(40"),
    ("psf", fd.Blur(PSF, (60, 70)), TypeError, "psf must be an array for a large image, not a Blur"),
    ("psf", PSF[0], ValueError, "psf must have two dimensions"),
    ("psf", with_value(PSF, np.nan, (1, 1)), ValueError, "psf must be finite"),
    ("psf", None, TypeError, "psf must hold real numbers"),
    ("out", 3, TypeError, "out must be None, a path, or an array that takes parts; got int"),
    ("out", np.empty((60, 71), "f4"), ValueError, r"out must have the source's shape \(60, 70\);.* \(60, 71\)"),
    ("out", np.empty((60, 70), "u1"), TypeError, r"out must be float32 or .*; its dtype is uint8"),
    ("out", np.broadcast_to(np.float32(0), (60, 70)), ValueError, "out must not be read-only"),
    ("out", np.ma.masked_array(IMAGE), TypeError, "out must not be a masked array"),
    ("out", OnGpu(), TypeError, "out must be None|out is in a GPU's memory"),
    ("out", "out.png", ValueError, r"^cannot write out.png: it must be .npy, .zarr, TIFF or FITS"),
    ("out", "out.xyz", ValueError, r"^cannot write out.xyz: it must be .npy, .zarr, TIFF or FITS"),
    ("out", "no/out.npy", ValueError, "^cannot write no/out.npy: there is no folder "),
    ("weights", IMAGE[:50], ValueError, r"weights must have the source's shape.* is \(50, 70\)"),
    ("weights", with_value(np.ones((60, 70)), -1), ValueError, "weights must be .* at row 50, column 7 it is -1"),
    ("weights", with_value(np.ones((60, 70)), np.nan), ValueError, "weights must be .*, or NaN where the source is"),
    ("weights", IMAGE.astype(complex), TypeError, "weights must hold real numbers"),
    ("weights", "missing.npy", ValueError, "^cannot read missing.npy: No such file or directory$"),
    ("data", "counts", ValueError, "data must be one of"),
    ("data", "root", ValueError, "data='root' goes with prior 'gradient' or None"),
    ("prior", "l1", ValueError, "prior must be"),
    ("prior", None, ValueError, "prior must be .* for a large image: steps that stop early would stop elsewhere"),
    ("mu", -1, ValueError, "mu must be a finite number at least 0"),
    ("mu", "big", ValueError, "mu must be a finite number at least 0, or 'auto'; got 'big'"),
    ("boundary", "symmetric", ValueError, "boundary must be one of"),
    ("bounds", (1, 0), ValueError, "bounds must be"),
    ("channel_axis", 5, ValueError, "source must have 3 dimensions when channel_axis is given"),
    ("max_iter", 0, ValueError, "max_iter must be a whole number from 1 to .*; got 0"),
    ("tol", -1, ValueError, "tol must be a finite number at least 0"),
    ("path", "fast", ValueError, "path must be one of"),
    ("path", "direct", ValueError, "path must be 'auto' or 'fft' for this prior or bounds; got 'direct'"),
    ("workers", 0, ValueError, "workers must be a whole number of at least 1; got 0"),
    ("max_memory", "lots", ValueError, "max_memory must be a number of bytes"),
    ("max_memory", "1MB", ValueError, r"max_memory must be at least \S+ MB for tiles of \(40, 40\); got 1 MB"),
    ("tile", 0, ValueError, "tile must be a whole number of at least 1; got 0"),
    ("tile", "big", ValueError, "tile must be 'auto', a number of pixels, or two; got 'big'"),
    ("tile", (1, 2, 3), ValueError, r"tile must be 'auto', a number of pixels, or two; got \(1, 2, 3\)"),
    ("tile", 2.5, TypeError, "tile must be a whole number"),
    ("tile", 2, ValueError, r"tile must be no smaller than the psf, whose shape is \(3, 3\); got \(2, 2\)"),
    ("halo", -1, ValueError, "halo must be a whole number of at least 0; got -1"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "error", "message"), ARGUMENTS)
def test_arguments(tmp_path, monkeypatch, name, value, error, message):
    monkeypatch.chdir(tmp_path)
    np.save("out.npy", np.arange(3.0))
    arguments = {"source": IMAGE, "psf": PSF, "out": "out.npy", **OPTIONS, name: value}
    with pytest.raises(error, match=message):
        fd.deblur_large(**arguments)
    assert os.listdir() == ["out.npy"]
    np.testing.assert_array_equal(np.load("out.npy"), np.arange(3.0))


class Parts:
    """Plain by its attributes, but of parts that are not, as netCDF4's variables."""

    shape, dtype = IMAGE.shape, IMAGE.dtype

    def __init__(self, array):
        self._array = array

    def __getitem__(self, part):
        return self._array[part]


@pytest.mark.parametrize("argument", ["source", "weights", "background"])
@pytest.mark.parametrize("kind", [np.asanyarray, Parts])
@pytest.mark.parametrize("tile", ["auto", 40])
def test_masks_and_units_are_refused(argument, kind, tile):
    if (argument, kind) == ("source", np.asanyarray):
        return  # which honours masks that it shows, and keeps units: see test_large.py
    units, masked = pytest.importorskip("astropy.units"), pytest.importorskip("astropy.utils.masked")
    image, mask = np.abs(IMAGE), IMAGE < 0.1
    arrays = [(array, "not be a masked array: fill") for array in (np.ma.masked_array(image, mask),)]
    arrays += [(masked.Masked(image, mask), "not be a masked array: fill"), (image * units.Jy, "be plain numbers.* Jy")]
    for array, message in arrays:
        with pytest.raises(TypeError, match=f"^{argument} must {message}"):
            fd.deblur_large(**{"source": IMAGE, "psf": PSF, **OPTIONS, "tile": tile, argument: kind(array)})


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("psf", lambda units: PSF * units.Jy, "psf must be plain numbers, without a unit; got one in Jy"),
        ("background", lambda units: 3 * units.Jy, "background must be plain numbers, without a unit; got one in Jy"),
        ("out", lambda units: IMAGE * units.Jy, "out must be plain numbers, without a unit; got one in Jy"),
        ("prior", lambda units: lambda image, sigma: image * units.Jy, "prior's result must be plain numbers"),
        ("prior", lambda units: lambda image, sigma: np.ma.masked_array(image), "prior's result must not be a masked"),
    ],
)
def test_units_beside_the_image_are_refused(argument, value, message):
    value = value(pytest.importorskip("astropy.units"))
    with pytest.raises(TypeError, match=message):
        fd.deblur_large(**{"source": IMAGE, "psf": PSF, **OPTIONS, argument: value})


def test_what_a_tile_has_no_say_in_is_no_option():
    for name in ("solver", "init", "seed", "learning_rate", "device", "callback"):
        assert name not in inspect.signature(fd.deblur_large).parameters
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
            fd.deblur_large(IMAGE, PSF, **{name: None})


def pickled(path):
    np.save(path, np.array([[print]], object), allow_pickle=True)


def truncated(path):
    np.save(path, IMAGE)
    path.write_bytes(path.read_bytes()[:-1])


FILES = {
    "missing.npy": (None, "No such file or directory$"),
    "missing.tif": (None, "No such file or directory$"),
    "missing.zarr": (None, "No such file or directory$"),
    "image.png": (lambda path: path.write_bytes(b""), "PNG is read whole: read it, and pass the array$"),
    "image.xyz": (lambda path: path.write_bytes(b""), "the suffix must be one of .*; it is '.xyz'$"),
    "empty.npy": (lambda path: path.write_bytes(b""), ""),
    "empty.tif": (lambda path: path.write_bytes(b""), "it is not a TIFF$"),
    "folder.zarr": (lambda path: path.mkdir(), "it is not in Zarr's format"),
    "pickled.npy": (pickled, "it holds Python objects, which are not read"),
    "short.npy": (truncated, "it is truncated, or damaged: its header speaks of 16800 bytes, 16799 are there$"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_files_that_cannot_be_read(tmp_path, name):
    make, message = FILES[name]
    if make is not None:
        make(tmp_path / name)
    with pytest.raises(ValueError, match=f"^cannot read {tmp_path / name}: {message}") as error:
        fd.deblur_large(tmp_path / name, PSF, tmp_path / "out.npy", **OPTIONS)
    assert str(error.value).count("cannot read") == 1
    assert not (tmp_path / "out.npy").exists()


@pytest.mark.parametrize("suffix", [".npy", ".zarr", ".tif"])
def test_dtypes_and_shapes_on_disk(tmp_path, suffix):
    path = saved(tmp_path / f"a{suffix}", IMAGE.astype("c8"))
    with pytest.raises((TypeError, ValueError), match=r"a\.(npy|zarr|tif): .*real numbers"):
        fd.deblur_large(path, PSF, **OPTIONS)
    with warnings.catch_warnings(action="ignore"):  # of TIFFs in colour
        path = saved(tmp_path / f"b{suffix}", COLOUR)
    with pytest.raises(ValueError, match=r"source must have 2 dimensions .*; its shape is \(60, 70, 3\)"):
        fd.deblur_large(path, PSF, **OPTIONS)


def same(tmp_path):
    """Pairs of a source, and an output that would overwrite it."""
    source = saved(tmp_path / "a.npy", IMAGE)
    (tmp_path / "link.npy").symlink_to(source)
    os.link(source, tmp_path / "hard.npy")
    yield source, source
    yield str(source), tmp_path / "link.npy"
    yield source, tmp_path / "hard.npy"
    array = np.load(source, mmap_mode="r+")
    yield array, array
    yield array, source
    yield source, array
    yield array, np.load(tmp_path / "hard.npy", mmap_mode="r+")
    memory = np.zeros((61, 70), np.float32)
    yield memory[1:], memory[1:]
    yield memory[1:], memory[:-1]
    folder = saved(tmp_path / "a.zarr", IMAGE)
    (tmp_path / "link.zarr").symlink_to(folder)
    stored = [zarr.open_array(str(folder), mode="r+") for _ in range(2)]
    yield folder, folder
    yield folder, tmp_path / "link.zarr"
    yield stored[0], stored[0]
    yield stored[0], stored[1]
    yield stored[0], folder
    yield folder, stored[0]
    tiff = saved(tmp_path / "a.tif", IMAGE)
    yield tiff, tiff
    yield tifffile.memmap(tiff), tiff
    tifffile.imwrite(tmp_path / "packed.tif", IMAGE, compression="zlib")
    yield tmp_path / "packed.tif", tmp_path / "packed.tif"


def test_an_output_that_is_the_source(tmp_path):
    for k, (source, out) in enumerate(same(tmp_path)):
        with pytest.raises(ValueError, match="out must not be the source"):
            fd.deblur_large(source, PSF, out, **OPTIONS)
        if not isinstance(out, np.ndarray):
            with pytest.raises(ValueError, match="out must not be the source, or weights"):
                fd.deblur_large(IMAGE, PSF, out, weights=source, **OPTIONS)
        assert not [name for name in os.listdir(tmp_path) if name.startswith(".")], k
    np.testing.assert_array_equal(read(tmp_path / "a.npy"), IMAGE)
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), IMAGE)


def test_an_output_that_only_lies_near_the_source(tmp_path):
    both = np.zeros((60, 140), np.float32)
    both[:, :70] = IMAGE
    wanted = fd.deblur_large(IMAGE, PSF, **OPTIONS)
    fd.deblur_large(both[:, :70], PSF, both[:, 70:], **OPTIONS)
    np.testing.assert_array_equal(both[:, 70:], wanted)
    np.save(tmp_path / "pages.npy", np.stack([IMAGE, 0 * IMAGE]))
    pages = np.load(tmp_path / "pages.npy", mmap_mode="r+")
    fd.deblur_large(pages[0], PSF, pages[1], **OPTIONS)
    np.testing.assert_array_equal(np.load(tmp_path / "pages.npy")[1], wanted)


def test_a_map_of_a_file_that_another_has_replaced(tmp_path):
    """Its name means another file now."""
    source, out = saved(tmp_path / "a.npy", IMAGE), saved(tmp_path / "out.npy", 0 * IMAGE)
    read_from, written_to = np.load(source, mmap_mode="r"), np.load(out, mmap_mode="r+")
    for path in (source, out):
        np.save(tmp_path / "new.npy", IMAGE + 1)
        os.replace(tmp_path / "new.npy", path)
    fd.deblur_large(read_from, PSF, written_to, **OPTIONS)
    np.testing.assert_array_equal(written_to, fd.deblur_large(IMAGE, PSF, **OPTIONS))
    np.testing.assert_array_equal(np.load(out), IMAGE + 1)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere")
def test_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ValueError, match=r"cannot write .*out\.npy: the folder .* is read-only"):
            fd.deblur_large(IMAGE, PSF, tmp_path / "out.npy", **OPTIONS)
    finally:
        tmp_path.chmod(0o700)


def test_permission_that_the_system_refuses(tmp_path, monkeypatch):
    out = saved(tmp_path / "out.npy", IMAGE)
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK or str(path) != str(out))
    with pytest.raises(ValueError, match=r"cannot write .*out\.npy: it exists and is read-only"):
        fd.deblur_large(IMAGE, PSF, out, **OPTIONS)


def test_tiffs_have_their_channels_last(tmp_path):
    first = np.moveaxis(COLOUR, -1, 0)
    with pytest.raises(
        ValueError, match=r"out must have its channels last to be a TIFF; channel_axis is 0 of \(3, 60, 70\)"
    ):
        fd.deblur_large(first, PSF, tmp_path / "out.tif", channel_axis=0, **OPTIONS)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda"}, "device must be 'cpu'"),
        ({"prior": "l1"}, "prior must be"),
        ({"mu": -1}, "mu must be"),
        ({"solver": "newton"}, "solver must be one of"),
        ({"channel_axis": 0}, "shape must be 3 sizes when channel_axis is given"),
    ],
)
def test_estimates_check_what_solve_checks(options, message):
    with pytest.raises(ValueError, match=message):
        fd.estimate_memory((60, 70), PSF, **options)


def test_estimates_of_many_kinds_grow_with_what_is_asked():
    plain = fd.estimate_memory((1000, 1000), PSF, mu=0.1)
    assert fd.estimate_memory((2000, 2000), PSF, mu=0.1) == pytest.approx(4 * plain, rel=0.1)
    assert fd.estimate_memory((1000, 1000), PSF, mu=0.1, dtype=np.float64) == pytest.approx(2 * plain, rel=0.1)
    assert fd.estimate_memory((1000, 1000), PSF, mu=0.1, dtype=np.uint8) == plain
    assert fd.estimate_memory((1000, 1000), PSF, mu=0.1, weighted=True) > 1.1 * plain
    assert fd.estimate_memory((1000, 1000, 3), PSF, mu=0.1, channel_axis=-1) > 2.8 * plain


def test_planes_of_a_tiff_are_channels(tmp_path):
    tifffile.imwrite(tmp_path / "planes.tif", np.moveaxis(COLOUR, -1, 0), planarconfig="separate", photometric="rgb")
    found = fd.deblur_large(tmp_path / "planes.tif", PSF, channel_axis=-1, **OPTIONS)
    np.testing.assert_array_equal(found, fd.deblur_large(COLOUR, PSF, channel_axis=-1, **OPTIONS))
