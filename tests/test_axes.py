"""`--axes`: what the axes of a file are, where it does not say so, or says otherwise."""

import itertools
import json

import numpy as np
import pytest
import tifffile
from samples import lines, noise, one_error

import fastdeblur as fd
from fastdeblur.cli import main as cli
from fastdeblur.io import axes, files, pixels
from fastdeblur.large import plan

OPTIONS = ["--psf", "gaussian:5:1", "--max-iter", "2"]
PSF = fd.psf.gaussian(5, 1)
DEPTH = "planes one by one: depth stays blurred"
BOX = noise((2, 3, 2, 12, 13), "u2")


def restored(page):
    real = fd.deblur(pixels.to_real(page), PSF, max_iter=2, channel_axis=-1 if page.ndim == 3 else None)
    return pixels.from_real(real, page)


def by_page(array, lead):
    """An array whose first axes count pages, each restored alone."""
    out = np.empty_like(array)
    for place in itertools.product(*map(range, array.shape[:lead])):
        out[place] = restored(array[place])
    return out


def argv(image, out, letters, *words):
    return ["deblur", str(image), "-o", str(out), "--axes", letters, *OPTIONS, *words]


def run(*words):
    return cli.main(argv(*words))


@pytest.mark.parametrize(
    ("letters", "shape", "lead"),
    [
        ("ZYX", (3, 12, 13), 1),
        ("TCYX", (2, 3, 12, 13), 2),
        ("T2C3YX", (2, 3, 12, 13), 2),
        ("TZCYX", (2, 1, 2, 12, 13), 3),
        ("TZYXC", (1, 2, 12, 13, 3), 2),
        ("tyxs", (2, 12, 13, 6), 1),
        ("YXC", (12, 13, 20), 0),  # without letters it would be taken for a stack
        ("YX", (12, 13), 0),
        ("CYX", (1, 12, 13), 1),
    ],
)
def test_an_array_comes_back_with_its_axes(tmp_path, capsys, letters, shape, lead):
    array = noise(shape, "u2")
    np.save(tmp_path / "in.npy", array)
    assert run(tmp_path / "in.npy", tmp_path / "out.npy", letters) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), by_page(array, lead))
    assert (DEPTH in lines(capsys)[0][0]) == ("Z" in letters and shape[letters.index("Z")] > 1)


def test_an_array_in_fortran_order_is_read_by_its_axes(tmp_path):
    array = noise((2, 3, 12, 13), "u1")
    np.save(tmp_path / "in.npy", np.asfortranarray(array))
    assert run(tmp_path / "in.npy", tmp_path / "out.npy", "TCYX", "--json") == 0
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), by_page(array, 2))


def test_figures_have_the_shape_of_the_axes(tmp_path, capsys):
    np.save(tmp_path / "in.npy", BOX)
    assert run(tmp_path / "in.npy", tmp_path / "out.npy", "TZCYX", "--json") == 0
    figures = json.loads(lines(capsys)[0][0])
    assert figures["shape"] == list(BOX.shape)
    assert len(figures["pages"]) == 12
    assert figures["notes"] == [DEPTH]


@pytest.mark.parametrize("written", ["plain", "shaped"])
def test_plain_pages_of_a_tiff_get_axes(tmp_path, written):
    if written == "plain":
        tifffile.imwrite(tmp_path / "in.tif", BOX.reshape(12, 12, 13), metadata=None, description="of a cell")
    else:
        tifffile.imwrite(tmp_path / "in.tif", BOX, metadata={"unit": "um"})
    letters = "T2Z3CYX" if written == "plain" else "TZCYX"
    assert run(tmp_path / "in.tif", tmp_path / "out.tif", letters) == 0
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        (series,) = tiff.series
        assert (series.axes, series.shape) == ("TZCYX", BOX.shape)
        np.testing.assert_array_equal(series.asarray(), by_page(BOX, 3))
        if written == "plain":
            assert tiff.pages.first.description == "of a cell"
            assert run(tmp_path / "out.tif", tmp_path / "again.tif", "CZTYX") == 0  # the sizes are told now
            with tifffile.TiffFile(tmp_path / "again.tif") as again:
                assert (again.series[0].axes, again.series[0].shape) == ("CZTYX", BOX.shape)
                assert again.pages.first.description == "of a cell"
                assert [tag.code for tag in again.pages.first.tags].count(270) == 2
        else:
            assert tiff.shaped_metadata[0]["unit"] == "um"


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_pages_in_colour_get_axes(tmp_path, planar):
    pages = noise((2, 2, 12, 16, 3), "u1")
    stored = pages if planar == "contig" else np.moveaxis(pages, -1, 2)
    tifffile.imwrite(tmp_path / "in.tif", stored, photometric="rgb", planarconfig=planar, metadata=None)
    assert run(tmp_path / "in.tif", tmp_path / "out.tif", "T2ZYXS") == 0
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        assert tiff.series[0].axes == ("TZYXS" if planar == "contig" else "TZSYX")
        expected = by_page(pages, 2)
        np.testing.assert_array_equal(tiff.asarray(), expected if planar == "contig" else np.moveaxis(expected, -1, 2))


def test_an_array_becomes_a_tiff_that_says_its_axes(tmp_path):
    np.save(tmp_path / "in.npy", BOX)
    assert run(tmp_path / "in.npy", tmp_path / "out.tif", "TCZYX") == 0
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        assert (tiff.series[0].axes, tiff.series[0].shape) == ("TCZYX", BOX.shape)
    assert cli.main(["deblur", str(tmp_path / "out.tif"), "-o", str(tmp_path / "again.tif"), *OPTIONS]) == 0
    with tifffile.TiffFile(tmp_path / "again.tif") as tiff:
        assert tiff.series[0].axes == "TCZYX"


def test_imagej_says_the_axes_that_were_given(tmp_path, capsys):
    pages = BOX[0].reshape(6, 12, 13)
    tifffile.imwrite(tmp_path / "in.tif", pages, imagej=True, resolution=(3, 3), metadata={"axes": "ZYX", "unit": "um"})
    assert run(tmp_path / "in.tif", tmp_path / "out.tif", "T2C3YX") == 0
    (said,), err = lines(capsys)
    assert DEPTH not in said
    assert "ImageJ" not in "".join(err)
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        assert tiff.is_imagej
        assert (tiff.series[0].axes, tiff.series[0].shape) == ("TCYX", (2, 3, 12, 13))
        assert tiff.imagej_metadata["unit"] == "um"
        assert "slices" not in tiff.imagej_metadata
        np.testing.assert_array_equal(tiff.asarray(), by_page(pages, 1).reshape(2, 3, 12, 13))


def test_axes_in_an_order_that_imagej_has_not(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "in.tif", BOX, imagej=True, metadata={"axes": "TZCYX"})
    assert run(tmp_path / "in.tif", tmp_path / "out.tif", "CZTYX") == 0
    assert "does not keep ImageJ's description, whose axes are in the order TZC" in "".join(lines(capsys)[1])
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        assert (tiff.series[0].axes, tiff.series[0].shape) == ("CZTYX", BOX.shape)


def test_ome_says_the_axes_that_were_given(tmp_path, capsys):
    about = {"axes": "TZCYX", "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm", "Channel": {"Name": ["a", "b"]}}
    tifffile.imwrite(tmp_path / "in.ome.tif", BOX, metadata=about)
    assert run(tmp_path / "in.ome.tif", tmp_path / "same.ome.tif", "TZCYX") == 0
    assert "OME" not in "".join(lines(capsys)[1])
    with tifffile.TiffFile(tmp_path / "in.ome.tif") as first, tifffile.TiffFile(tmp_path / "same.ome.tif") as same:
        assert first.ome_metadata == same.ome_metadata
    assert run(tmp_path / "in.ome.tif", tmp_path / "out.ome.tif", "ZTCYX", "--dtype", "float32") == 0
    assert "does not keep all of the OME-XML, which is written anew" in "".join(lines(capsys)[1])
    with tifffile.TiffFile(tmp_path / "out.ome.tif") as tiff:
        assert (tiff.series[0].axes, tiff.series[0].shape, tiff.series[0].dtype) == ("ZTCYX", BOX.shape, np.float32)
        assert 'PhysicalSizeX="0.25"' in tiff.ome_metadata
        assert tiff.is_ome


def test_an_array_of_zarr_comes_back_with_its_axes(tmp_path):
    zarr = pytest.importorskip("zarr")
    zarr.create_array(store=str(tmp_path / "in.zarr"), data=BOX, chunks=(1, 2, 1, 12, 13), attributes={"a": 1})
    assert run(tmp_path / "in.zarr", tmp_path / "out.zarr", "TZCYX") == 0
    back = zarr.open_array(str(tmp_path / "out.zarr"), mode="r")
    assert (back.metadata.dimension_names, dict(back.attrs)) == (("t", "z", "c", "y", "x"), {"a": 1})
    np.testing.assert_array_equal(back[:], by_page(BOX, 3))
    assert run(tmp_path / "in.zarr", tmp_path / "out.npy", "TZCYX") == 0
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), back[:])


def test_an_array_becomes_a_cube_of_fits(tmp_path):
    fits = pytest.importorskip("astropy.io.fits")
    np.save(tmp_path / "in.npy", BOX[0])
    assert run(tmp_path / "in.npy", tmp_path / "out.fits", "ZCYX") == 0
    np.testing.assert_array_equal(fits.getdata(tmp_path / "out.fits"), by_page(BOX[0], 2))


def test_named_axes_tile_by_tile(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(plan, "CODE", 0)  # what compiled code takes: small images shall not fit
    array = noise((300, 310, 2), "f4")
    np.save(tmp_path / "in.npy", array)
    psf = ["--psf", "gaussian:3:0.7", "--prior", "tv", "--mu", "0.01", "--max-iter", "2", "--tol", "0"]
    words = [*psf, "--max-memory", "8MB"]
    for out, named in (("plain", []), ("named", ["--axes", "YXC"])):
        assert cli.main(["deblur", str(tmp_path / "in.npy"), "-o", str(tmp_path / f"{out}.npy"), *words, *named]) == 0
        assert " tiles of " in lines(capsys)[0][0]
    np.testing.assert_array_equal(np.load(tmp_path / "named.npy"), np.load(tmp_path / "plain.npy"))


@pytest.mark.parametrize("letters", ["", "YXQ", "TTYX", "CYXC", "TZ", "YTX", "XY", "TXY", "SYX", "YXZ", "YXCS", "T0YX"])
def test_letters_that_are_no_axes_are_refused(tmp_path, capsys, letters):
    with pytest.raises(ValueError, match=r"axes must be letters such as TCYX or YXC.*; got "):
        axes.parse(letters)
    np.save(tmp_path / "in.npy", BOX)
    with pytest.raises(SystemExit):
        run(tmp_path / "in.npy", tmp_path / "out.npy", letters)
    assert "--axes: must be letters such as TCYX or YXC" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("letters", "words", "message"),
    [
        ("ZYX", [], "axes must be one letter for each of the 4 axes of the shape (2, 6, 12, 13); got ZYX"),
        ("T3CYX", [], "axes must have the sizes of the shape (2, 6, 12, 13), T2; got T3CYX"),
        ("YXC", ["--stack"], "axes must have letters before YX with --stack; got YXC"),
    ],
)
def test_axes_that_an_array_has_not_are_refused(tmp_path, capsys, letters, words, message):
    np.save(tmp_path / "in.npy", BOX.reshape(2, 6, 12, 13))
    assert message in one_error(capsys, *argv(tmp_path / "in.npy", tmp_path / "out.npy", letters, *words))
    assert not (tmp_path / "out.npy").exists()


@pytest.mark.parametrize(
    ("letters", "message"),
    [
        ("TZYX", "axes must share out its 12 pages, of which the file tells their number alone; got TZYX"),
        ("T5ZYX", "axes must share out its 12 pages"),
        ("T5YX", "axes must share out its 12 pages"),
        ("YX", "axes must have letters before YX for its 12 pages; got YX"),
        ("TYXC", "axes must end in YX, as a page of the shape (12, 13) does; got TYXC"),
    ],
)
def test_axes_that_a_tiff_has_not_are_refused(tmp_path, capsys, letters, message):
    tifffile.imwrite(tmp_path / "in.tif", BOX.reshape(12, 12, 13), metadata=None)
    assert message in one_error(capsys, *argv(tmp_path / "in.tif", tmp_path / "out.tif", letters))


def test_a_picture_tells_its_own_axes(tmp_path, capsys):
    files.write(tmp_path / "in.png", noise((12, 13, 3), "u1"))
    linear = ["--transfer", "linear"]
    assert run(tmp_path / "in.png", tmp_path / "out.png", "YXC", *linear) == 0
    lines(capsys)
    assert "axes must end in YXC or YXS" in one_error(capsys, *argv(tmp_path / "in.png", tmp_path / "out.png", "YX"))
    said = one_error(capsys, *argv(tmp_path / "in.png", tmp_path / "out.png", "CYX"))
    assert "axes of pages may be given for TIFF, FITS, .npy and .zarr, a PNG file tells its own; got CYX" in said
