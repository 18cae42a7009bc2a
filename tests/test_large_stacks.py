"""Stacks through `deblur_large`: pages one after another, and the same axes in the result."""

import numpy as np
import pytest
import tifffile
from scenes import blurred

import fastdeblur as fd
from fastdeblur.large import writers

zarr = pytest.importorskip("zarr")
PSF = fd.psf.gaussian(3, 0.7)
PAGE = (40, 44)
OPTIONS = {"prior": "tv", "mu": 0.01, "max_iter": 2, "tol": 0, "tile": 40, "halo": 5, "workers": 1}
BOX = np.stack([blurred(PAGE, PSF, seed=seed) for seed in range(4)]).reshape(2, 2, *PAGE)


@pytest.fixture(scope="module")
def wanted():
    return np.stack([[fd.deblur_large(page, PSF, **OPTIONS) for page in pages] for pages in BOX])


def group(path):
    said = {"multiscales": [{"version": "0.4", "axes": [{"name": name} for name in "tcyx"],
            "datasets": [{"path": "0"}]}]}  # fmt: skip
    zarr.open_group(str(path), mode="w", zarr_format=2, attributes=said)
    zarr.create_array(store=str(path / "0"), shape=BOX.shape, dtype="f4", zarr_format=2)[...] = BOX


def cube(path):
    pytest.importorskip("astropy.io.fits").PrimaryHDU(BOX).writeto(path)


def tiff(**options):
    return lambda path: tifffile.imwrite(path, BOX, photometric="minisblack", **options)


SOURCES = {
    "a.npy": (lambda path: np.save(path, BOX), "TCYX"),
    "a.zarr": (lambda path: zarr.create_array(store=str(path), data=BOX, chunks=(1, 2, 16, 20)), "TCYX"),
    "group.zarr": (group, None),
    "shaped.tif": (tiff(metadata={"axes": "TCYX"}), None),
    "a.ome.tif": (tiff(metadata={"axes": "TCYX"}, compression="zlib"), None),
    "plain.tif": (tiff(metadata=None), "T2CYX"),
    "a.fits": (cube, "TCYX"),
}  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_a_stack_has_the_axes_of_its_file(tmp_path, wanted, name):
    save, axes = SOURCES[name]
    save(tmp_path / name)
    np.testing.assert_array_equal(fd.deblur_large(tmp_path / name, PSF, axes=axes, **OPTIONS), wanted)


@pytest.mark.parametrize("name", ["out.npy", "out.tif", "out.zarr", "out.fits", "array", "map"])
def test_a_stack_is_written_with_its_axes(tmp_path, wanted, name):
    out = tmp_path / name
    if name == "array":
        out = np.empty(BOX.shape, np.float32)
    elif name == "map":
        out = np.lib.format.open_memmap(tmp_path / "map.npy", "w+", np.float32, BOX.shape)
    elif name == "out.fits":
        pytest.importorskip("astropy")
    found = fd.deblur_large(BOX, PSF, out, axes="TCYX", **OPTIONS)
    np.testing.assert_array_equal(found[...], wanted)
    if name == "out.tif":
        with tifffile.TiffFile(out) as written:
            (series,) = written.series
            assert (series.axes, len(written.pages)) == ("TCYX", 4)
            np.testing.assert_array_equal(series.asarray(), wanted)
    elif name == "out.zarr":
        array = zarr.open_array(str(out), mode="r")
        assert array.metadata.dimension_names == ("t", "c", "y", "x")
        np.testing.assert_array_equal(array[...], wanted)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["out.npy", "out.tif", "out.zarr"])
def test_a_stack_that_was_interrupted_goes_on(tmp_path, wanted, monkeypatch, name):
    kind = writers.IntoNewZarr if name == "out.zarr" else writers.IntoNewFile
    write, written = kind.write, []

    def interrupted(self, *arguments):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(arguments)
        write(self, *arguments)

    monkeypatch.setattr(kind, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fd.deblur_large(BOX, PSF, tmp_path / name, axes="TCYX", **OPTIONS)
    assert not (tmp_path / name).exists()
    done = len(written)
    monkeypatch.setattr(kind, "write", lambda self, *arguments: (written.append(arguments), write(self, *arguments)))
    with pytest.raises(ValueError, match="source, weight, tiles or options"):
        fd.deblur_large(BOX, PSF, tmp_path / name, axes="TCYX", **{**OPTIONS, "mu": 0.02})
    found = fd.deblur_large(BOX, PSF, tmp_path / name, axes="TCYX", **OPTIONS)
    assert len(written) - done == BOX[..., 0, 0].size - done
    np.testing.assert_array_equal(found[...], wanted)


def test_channels_weights_masks_and_psfs_of_pages():
    """Colours of pages are one problem, C has a psf for each, weights hold for all pages, masks for their own."""
    colour = np.stack([blurred((*PAGE, 2), PSF, seed=seed) for seed in (5, 6)])
    found = fd.deblur_large(colour, PSF, axes="TYXC", **OPTIONS)
    expected = [fd.deblur_large(page, PSF, channel_axis=-1, **OPTIONS) for page in colour]
    np.testing.assert_array_equal(found, np.stack(expected))
    psfs, weights = np.stack([PSF, fd.psf.box(3)]), np.ones(PAGE)
    weights[:9, :7], mask = 0, BOX > 0.9
    found = fd.deblur_large(np.ma.array(BOX, mask=mask), psfs, axes="TCYX", weights=weights, **OPTIONS)
    for t, c in np.ndindex(2, 2):
        page = np.where(mask[t, c], np.float32(np.nan), BOX[t, c])
        np.testing.assert_array_equal(found[t, c], fd.deblur_large(page, psfs[c], weights=weights, **OPTIONS))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"axes": "TYX"}, r"axes must be one letter for each of the 4 axes of the shape \(2, 2, 40, 44\)"),
        ({"axes": "XY"}, "axes must be letters such as TCYX"),
        ({"axes": "T3CYX"}, "axes must have the sizes of the shape"),
        ({"axes": "TCYX", "psf": np.ones((3, 3, 3)) / 9}, "psf must be one, or one for each of the 2 channels"),
        ({"axes": "TZYX", "psf": np.ones((2, 3, 3)) / 9}, "psf must have two dimensions.*Volumes are not supported"),
        ({"axes": "TCYX", "weights": BOX}, "weights must have the source's shape"),
        ({"axes": "TCYX", "out": np.empty(PAGE)}, "out must have the source's shape"),
        ({}, "source must have 2 dimensions.*Volumes are not supported"),
    ],
)
def test_axes_that_a_stack_has_not_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        fd.deblur_large(**{"source": BOX, "psf": PSF, **OPTIONS, **given})


def test_a_stack_is_no_image_for_weights_nor_written_over(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", BOX, photometric="minisblack")
    with pytest.raises(ValueError, match=r"a.tif: it must be one image, not a stack; it has 4 pages"):
        fd.deblur_large(BOX[0, 0], PSF, weights=tmp_path / "a.tif", **OPTIONS)
    with pytest.raises(ValueError, match="out must not be the source"):
        fd.deblur_large(tmp_path / "a.tif", PSF, tmp_path / "a.tif", **OPTIONS)
