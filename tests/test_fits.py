"""FITS files, read back by astropy: pixels, headers, coordinates, other HDUs."""

import sys
import warnings

import numpy as np
import pytest
import tifffile
from PIL import Image
from samples import but_for_clipping, lines, noise, one_error

import fastdeblur as fd
from fastdeblur.cli import main as cli
from fastdeblur.io import files
from fastdeblur.large import plan, readers

TILED = ["--psf", "gaussian:3:0.7", "--workers", "1", "--prior", "tv", "--mu", "0.01", "--max-iter", "2", "--tol", "0"]
QUICK = ["--psf", "gaussian:5:1", "--workers", "1", "--solver", "gd", "--max-iter", "2", "--mu", "0.1"]


def test_a_missing_astropy_is_named_in_the_error(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "astropy.io", None)
    np.save(tmp_path / "image.npy", np.ones((4, 5)))
    (tmp_path / "image.fits").write_bytes(b"SIMPLE  = ")
    for source, out in (("image.npy", "out.fits"), ("image.fits", "out.npy")):
        said = one_error(capsys, "deblur", tmp_path / source, "-o", tmp_path / out, *QUICK)
        assert 'pip install "fastdeblur[fits]"' in said


fits = pytest.importorskip("astropy.io.fits")
wcs = pytest.importorskip("astropy.wcs")
table = pytest.importorskip("astropy.table")

SHAPE = (24, 30)
DTYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"]


def sky(**cards):
    """A header with coordinates, a long card, a comment, and names of an observatory's own."""
    header = fits.Header()
    header["OBJECT"] = ("M 31", "what was looked at")
    header["EXPTIME"] = 1.50
    header["HIERARCH ESO TEL AIRM"] = 1.25
    header["LONG"] = "x" * 100
    header["COMMENT"] = "a comment"
    header["HISTORY"] = "bias subtracted"
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"], header["CRPIX1"], header["CRPIX2"] = 10.7, 41.3, 15.5, 12.5
    header["CD1_1"], header["CD1_2"], header["CD2_1"], header["CD2_2"] = -1e-4, 1e-6, 1e-6, 1e-4
    for name, value in cards.items():
        header[name] = value
    return header


def several(path, image, kind=fits.ImageHDU, **cards):
    """A file of an observatory: an empty primary HDU, a table, the image, its error, and another table."""
    rows = table.Table({"x": np.arange(5), "name": ["a", "b", "c", "d", "e"]})
    hdus = [
        fits.PrimaryHDU(header=fits.Header({"TELESCOP": "tube"})),
        fits.BinTableHDU(rows, name="CAT"),
        kind(image, sky(**cards), name="SCI"),
        fits.ImageHDU(np.full(SHAPE, 0.5, np.float32), name="ERR"),
        fits.TableHDU.from_columns([fits.Column("n", "I4", array=np.arange(3))], name="LOG"),
    ]
    fits.HDUList(hdus).writeto(path)


def run(*words):
    assert cli.main(["deblur", *map(str, words)]) == 0


def cards(header, *without):
    return [card for card in map(str, header.cards) if not card.startswith(("HISTORY", *without))]


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_was_written_is_read_by_others_and_here(tmp_path, dtype):
    image = noise(SHAPE, dtype)
    files.write(tmp_path / "image.fits", image)
    with fits.open(tmp_path / "image.fits") as hdus:
        hdus.verify("exception")
        found = hdus[0].data
        assert len(hdus) == 1
        assert found.dtype.newbyteorder("=") == image.dtype
        np.testing.assert_array_equal(found, image)
    assert (tmp_path / "image.fits").stat().st_size % 2880 == 0
    again = files.read(tmp_path / "image.fits")
    assert again.dtype == image.dtype
    np.testing.assert_array_equal(again, image)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [*((fits.ImageHDU, dtype) for dtype in ("u1", "i1", "i2", "u2", "f4", "f8")),
     *((fits.CompImageHDU, dtype) for dtype in ("i2", "u2", "f4"))],
)  # fmt: skip
def test_header_coordinates_and_other_hdus_stay(tmp_path, capsys, dtype, kind):
    image = noise(SHAPE, dtype)
    source, out = tmp_path / "image.fits", tmp_path / "out.fits"
    several(source, image, kind)
    before = source.read_bytes()
    run(f"{source}[SCI]", "-o", out, *QUICK)
    assert but_for_clipping(lines(capsys))[1] == []
    run(f"{source}[2]", "-o", tmp_path / "out.npy", *QUICK)
    assert source.read_bytes() == before
    with fits.open(source) as one, fits.open(out) as other:
        other.verify("exception")
        assert [type(hdu) for hdu in one] == [type(hdu) for hdu in other]
        assert [hdu.name for hdu in other] == ["PRIMARY", "CAT", "SCI", "ERR", "LOG"]
        for number in (0, 1, 3, 4):
            assert one[number].header.tostring() == other[number].header.tostring()
            if one[number].data is not None:
                assert one[number].data.tobytes() == other[number].data.tobytes()
        first, second = one["SCI"], other["SCI"]
        assert cards(first.header) == cards(second.header)
        bias, ours, *_ = second.header["HISTORY"]
        assert bias == "bias subtracted"
        assert ours.startswith("fastdeblur ")
        assert "--psf gaussian:5:1" in str(second.header["HISTORY"])
        assert wcs.WCS(first.header).wcs.compare(wcs.WCS(second.header).wcs)
        assert second.data.dtype == first.data.dtype
        if dtype[0] in "iu" or kind is fits.ImageHDU:  # compressed floats are rounded
            np.testing.assert_array_equal(second.data, np.load(tmp_path / "out.npy"))
        else:
            np.testing.assert_allclose(second.data, np.load(tmp_path / "out.npy"), atol=0.2)
        assert (second.data != first.data).any()


def test_the_first_image_is_the_default(tmp_path):
    image = noise(SHAPE, "f4")
    several(tmp_path / "image.fits", image)
    np.testing.assert_array_equal(files.read(tmp_path / "image.fits"), image)
    for chosen in ("2", "SCI", "sci", "SCI,1", " SCI "):
        np.testing.assert_array_equal(files.read(f"{tmp_path}/image.fits[{chosen}]"), image)
    assert (files.read(f"{tmp_path}/image.fits[ERR]") == 0.5).all()


def test_the_line_says_which_hdu_was_taken_and_a_title_is_carried_over(tmp_path):
    several(tmp_path / "image.fits", noise(SHAPE, "f4"))
    for name, notes in (("image.fits", ("HDU 2 (SCI)",)), ("image.fits[SCI]", ())):
        with files.opened(tmp_path / name) as source:
            assert source.notes == notes
            assert source.metadata.description == "M 31"
            assert source.metadata.lost("TIFF") == ["other HDUs"]
            assert source.metadata.lost("NPY") == ["the description", "the FITS header", "other HDUs"]


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
def test_a_header_goes_through_formats_that_have_room_for_a_text(tmp_path, suffix):
    """As lines of cards, as programs for astronomy write them in TIFFs; none of it speaks of how pixels are stored."""
    fits.PrimaryHDU(noise(SHAPE, "u1"), sky()).writeto(tmp_path / "a.fits")
    with files.opened(tmp_path / "a.fits") as source:
        files.write(tmp_path / f"a{suffix}", source.page(0), source.metadata)
    with files.opened(tmp_path / f"a{suffix}") as source:
        assert source.metadata.lost("FITS") == []
        files.write(tmp_path / "out.fits", source.page(0), source.metadata)
    before, after = fits.getheader(tmp_path / "a.fits"), fits.getheader(tmp_path / "out.fits")
    stored = ("SIMPLE", "BITPIX", "NAXIS", "EXTEND")
    assert cards(after, *stored) == cards(before, *stored)
    assert list(after["HISTORY"]) == list(before["HISTORY"])
    assert wcs.WCS(after).wcs.compare(wcs.WCS(before).wcs)
    if suffix == ".tif":
        with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
            text = tiff.pages.first.description
        assert text.startswith("SIMPLE  =                    T\n")
        assert fits.Header.fromstring(text, sep="\n")["OBJECT"] == "M 31"


def test_a_header_tells_what_a_photograph_does(tmp_path):
    exif = Image.Exif()
    exif[272], exif[306], exif[315], exif[33432] = "camera", "2020:01:02 03:04:05", "an astronomer", "all rights"
    exif.get_ifd(0x8769)[33434] = 0.004
    Image.fromarray(noise(SHAPE, "u1")).save(tmp_path / "a.jpg", exif=exif, comment=b"stars")
    with files.opened(tmp_path / "a.jpg") as source:
        files.write(tmp_path / "a.fits", source.page(0), source.metadata)
    header = fits.getheader(tmp_path / "a.fits")
    found = [header[name] for name in ("INSTRUME", "DATE-OBS", "AUTHOR", "COPYRGHT", "EXPTIME")]
    assert found == ["camera", "2020-01-02T03:04:05", "an astronomer", "all rights", 0.004]
    assert list(header["COMMENT"]) == ["stars"]


LIKE_HEADERS = {
    "nothing": "SIMPLE  =", "structure": "SIMPLE  =  T\nNAXIS1  = 10\nEND\nOBJECT  = 'M 1'",
    "no card": "SIMPLE  = T\n= 5", "a space": "SIMPLE  = T\nA  B C",
    "unclosed": "SIMPLE  = T\nOBJECT  = 'unclosed\nCONTINUE  5",
    "long": "SIMPLE  = T\n" + "A" * 99,
}  # fmt: skip


@pytest.mark.parametrize("kind", LIKE_HEADERS)
def test_what_looks_like_a_header_is_no_reason_to_fail(tmp_path, kind):
    image = noise(SHAPE, "u1")
    tifffile.imwrite(tmp_path / "a.tif", image, metadata=None, description=LIKE_HEADERS[kind])
    with files.opened(tmp_path / "a.tif") as source:
        files.write(tmp_path / "a.fits", source.page(0), source.metadata)
    with fits.open(tmp_path / "a.fits") as hdus:
        hdus.verify("exception")
        np.testing.assert_array_equal(hdus[0].data, image)
        assert "OBJECT" not in hdus[0].header or "unclosed" in str(hdus[0].header["OBJECT"])


def test_hdus_of_one_file_are_told_apart(tmp_path):
    """A run on another HDU does not go on with what has been done of the first, although pixels are the same."""
    hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(np.ones((60, 70), "f4")) for _ in range(2))]
    fits.HDUList(hdus).writeto(tmp_path / "image.fits")
    found = []
    for number in (1, 2):
        with readers.opened(f"{tmp_path}/image.fits[{number}]") as source:
            found.append(source.identity)
    assert found[0] != found[1]
    assert found[0] | {"hdu": 2} == found[1]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("7", r"it has no HDU '7'; its HDUs are 0, 1 \(CAT\), 2 \(SCI\), 3 \(ERR\), 4 \(LOG\)"),
        ("DQ", "it has no HDU 'DQ'"),
        ("SCI,2", "it has no HDU 'SCI,2'"),
        ("CAT", r"its HDU 1 \(CAT\) is no image of two or more axes"),
        ("0", "its HDU 0 is no image"),
        ("", "it has no HDU ''"),
    ],
)
def test_hdus_without_an_image_are_refused(tmp_path, chosen, message):
    several(tmp_path / "image.fits", noise(SHAPE, "f4"))
    with pytest.raises(ValueError, match=message):
        files.read(f"{tmp_path}/image.fits[{chosen}]")


def test_an_output_with_an_hdu_in_brackets_is_refused(tmp_path, capsys):
    several(tmp_path / "image.fits", noise(SHAPE, "f4"))
    said = one_error(capsys, "deblur", tmp_path / "image.fits", "-o", tmp_path / "image.fits[SCI]", *QUICK)
    assert "the output is a file, without an HDU in brackets" in said


def test_in_place_nothing_else_changes(tmp_path):
    path = tmp_path / "image.fits"
    several(path, noise(SHAPE, "i2"))
    before = path.read_bytes()
    run(f"{path}[SCI]", "-o", path, *QUICK)
    with fits.open(path) as hdus:
        start, data, after = (hdus["SCI"].fileinfo()[name] for name in ("hdrLoc", "datLoc", "datSpan"))
    found = path.read_bytes()
    assert found[:start] == before[:start]
    assert found[data + after :] == before[-len(found[data + after :]) :]
    assert len(found) - len(before) in (0, 2880)


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8"])
def test_scaled_values_are_those_that_astropy_reads_and_become_floats(tmp_path, dtype):
    raw = noise(SHAPE, dtype)
    path = tmp_path / "image.fits"
    fits.PrimaryHDU(raw, sky()).writeto(path)
    content = path.read_bytes()
    # By hand: astropy would divide the pixels first.
    end = content.index(b"END".ljust(80))
    scaling = b"BSCALE  =                 0.25".ljust(80) + b"BZERO   =                 -3.5".ljust(80)
    assert not content[end + 80 : end + 240].strip()
    path.write_bytes(content[:end] + scaling + content[end : end + 80] + content[end + 240 :])
    with fits.open(path) as hdus:
        wanted = hdus[0].data.astype(hdus[0].data.dtype.newbyteorder("="))
    assert abs(wanted - raw.astype(float)).max() > 1
    found = files.read(path)
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    if dtype == "i2":
        run(path, "-o", tmp_path / "out.fits", *QUICK)
        run(path, "-o", tmp_path / "out.npy", *QUICK)
        with fits.open(tmp_path / "out.fits") as hdus:
            assert {"BSCALE", "BZERO"} & set(hdus[0].header) == set()
            np.testing.assert_array_equal(hdus[0].data, np.load(tmp_path / "out.npy"))


@pytest.mark.parametrize("axes", [(), (1,), (1, 1)])
def test_axes_of_length_1_stay(tmp_path, axes):
    """As radio interferometers have them: polarisation and frequency."""
    image = noise((*axes, *SHAPE), "f4")
    fits.PrimaryHDU(image, sky()).writeto(tmp_path / "image.fits")
    with files.opened(tmp_path / "image.fits") as source:
        assert (source.shape, source.pages) == (SHAPE, None)
        np.testing.assert_array_equal(source.array[3:7, 5:], image.reshape(SHAPE)[3:7, 5:])
    run(tmp_path / "image.fits", "-o", tmp_path / "out.fits", *QUICK)
    with fits.open(tmp_path / "out.fits") as hdus:
        assert hdus[0].data.shape == image.shape


@pytest.mark.parametrize("kind", [fits.ImageHDU, fits.CompImageHDU])
def test_cubes_are_stacks_and_stay_cubes(tmp_path, kind):
    cube = noise((3, *SHAPE), "f8" if kind is fits.ImageHDU else "i4")
    several(tmp_path / "cube.fits", cube, kind)
    with files.opened(tmp_path / "cube.fits") as source:
        assert (source.shape, source.pages) == (SHAPE, 3)
        np.testing.assert_array_equal(source.page(1), cube[1])
    run(tmp_path / "cube.fits", "-o", tmp_path / "out.fits", *QUICK)
    np.save(tmp_path / "cube.npy", cube)
    run(tmp_path / "cube.npy", "--stack", "-o", tmp_path / "out.npy", *QUICK)
    with fits.open(tmp_path / "out.fits") as hdus:
        assert type(hdus["SCI"]) is kind
        np.testing.assert_array_equal(hdus["SCI"].data, np.load(tmp_path / "out.npy"))


def test_other_formats_become_fits_and_back(tmp_path, capsys):
    image = noise((*SHAPE, 3), "u1")
    np.save(tmp_path / "image.npy", image)
    words = [tmp_path / "image.npy", *QUICK, "--bounds", "0", "1"]
    run(*words, "-o", tmp_path / "out.npy")
    run(*words, "-o", tmp_path / "out.fits")
    with fits.open(tmp_path / "out.fits") as hdus:
        np.testing.assert_array_equal(hdus[0].data, np.moveaxis(np.load(tmp_path / "out.npy"), -1, 0))
    capsys.readouterr()
    several(tmp_path / "image.fits", noise(SHAPE, "f4"))
    run(tmp_path / "image.fits", "-o", tmp_path / "out.tif", *QUICK)
    assert "out.tif does not keep other HDUs: TIFF has no place for that" in capsys.readouterr().err


def test_what_fits_cannot_hold_is_refused(tmp_path, capsys):
    np.save(tmp_path / "half.npy", noise(SHAPE, "f2"))
    said = one_error(capsys, "deblur", tmp_path / "half.npy", "-o", tmp_path / "out.fits", *QUICK)
    assert "FITS cannot hold float16 gray of 24x30; .tif" in said


def test_another_dtype_changes_how_numbers_are_stored(tmp_path):
    several(tmp_path / "image.fits", noise(SHAPE, "u2"))
    run(tmp_path / "image.fits", "-o", tmp_path / "out.fits", "--dtype", "float32", *QUICK)
    with fits.open(tmp_path / "out.fits") as hdus:
        hdus.verify("exception")
        header, before = hdus["SCI"].header, fits.getheader(tmp_path / "image.fits", "SCI")
        assert (header["BITPIX"], "BZERO" in header, "BSCALE" in header) == (-32, False, False)
        assert cards(header, "BITPIX") == cards(before, "BITPIX", "BSCALE", "BZERO")
        assert 1000 < hdus["SCI"].data.mean() < 65535  # in the units of the file


def test_checksums_that_would_be_wrong_are_left_out_and_named(tmp_path, capsys):
    hdu = fits.PrimaryHDU(noise(SHAPE, "f4"), sky(DATAMAX=4.0))
    hdu.writeto(tmp_path / "image.fits", checksum=True)
    run(tmp_path / "image.fits", "-o", tmp_path / "out.fits", *QUICK)
    assert "out.fits does not keep CHECKSUM, DATASUM, DATAMAX" in capsys.readouterr().err
    fits.open(tmp_path / "out.fits", checksum=True).close()
    assert not {"CHECKSUM", "DATASUM", "DATAMAX"} & set(fits.getheader(tmp_path / "out.fits"))


def test_what_follows_the_last_hdu_stays(tmp_path):
    several(tmp_path / "image.fits", noise(SHAPE, "f4"))
    with (tmp_path / "image.fits").open("ab") as file:
        file.write(b"special records" * 192)
    run(tmp_path / "image.fits", "-o", tmp_path / "out.fits", *QUICK)
    assert (tmp_path / "out.fits").read_bytes().endswith(b"special records" * 192)


def test_a_psf_may_be_a_fits_file(tmp_path):
    several(tmp_path / "image.fits", noise(SHAPE, "f4"))
    fits.PrimaryHDU(np.ones((3, 5))).writeto(tmp_path / "psf.fits")
    quick = ["--workers", "1", "--solver", "gd", "--max-iter", "2", "--mu", "0.1"]
    run(tmp_path / "image.fits", "-o", tmp_path / "one.npy", "--psf", f"{tmp_path}/psf.fits[0]", *quick)
    run(tmp_path / "image.fits", "-o", tmp_path / "other.npy", "--psf", "box:3x5", *quick)
    np.testing.assert_allclose(np.load(tmp_path / "one.npy"), np.load(tmp_path / "other.npy"), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "dtype", "fill"),
    [(fits.ImageHDU, "i2", False), (fits.ImageHDU, "u2", True), (fits.ImageHDU, "u2", False),
     (fits.ImageHDU, "f4", False), (fits.CompImageHDU, "i4", False), (fits.CompImageHDU, "f4", False)],
)  # fmt: skip
def test_missing_pixels_are_ignored_and_come_back(tmp_path, dtype, kind, fill):
    """Those that are NaN, and those that have the number of BLANK."""
    image = np.random.default_rng(3).integers(1000, 3000, SHAPE).astype(dtype)
    hole = np.zeros(SHAPE, bool)
    hole[5:9, 10:14] = hole[0, 0] = True
    blank = np.nan if dtype[0] == "f" else {"i2": -32768, "u2": 0, "i4": -999}[dtype]
    image[hole] = blank
    # BLANK is the stored number.
    several(
        tmp_path / "image.fits", image, kind,
        **({} if dtype[0] == "f" else {"BLANK": int(blank) - 32768 * (dtype == "u2")}),
    )  # fmt: skip
    words = [tmp_path / "image.fits", *QUICK, *["--fill"] * fill]
    with warnings.catch_warnings(action="ignore"):
        run(*words, "-o", tmp_path / "out.fits")
        run(*words, "-o", tmp_path / "float.fits", "--dtype", "float32")
        np.save(tmp_path / "image.npy", np.where(hole, np.nan, image / (1 if dtype[0] == "f" else np.iinfo(dtype).max)))
        run(tmp_path / "image.npy", "-o", tmp_path / "wanted.npy", "--fill", *QUICK)
    with fits.open(tmp_path / "out.fits", do_not_scale_image_data=True) as hdus:
        raw = hdus["SCI"].data
        stored = np.isnan(raw) if dtype[0] == "f" else raw == hdus["SCI"].header["BLANK"]
        np.testing.assert_array_equal(stored, hole & (not fill))
    wanted = np.load(tmp_path / "wanted.npy") * (1 if dtype[0] == "f" else np.iinfo(dtype).max)
    with fits.open(tmp_path / "float.fits") as hdus:
        assert "BLANK" not in hdus["SCI"].header
        found = hdus["SCI"].data
        np.testing.assert_array_equal(np.isnan(found), hole & (not fill))
        there = ~np.isnan(found)
        rounded = kind is fits.CompImageHDU and dtype == "f4"  # by a share of the noise
        np.testing.assert_allclose(found[there], wanted[there], rtol=1e-3, atol=60 if rounded else 1)


def test_tiles_give_the_same_file_as_at_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(plan, "CODE", 0)  # so that small images do not fit
    sky_of_stars = np.random.default_rng(5).integers(20000, 40000, (400, 420)).astype("u2")
    sky_of_stars[100:120, 30:40] = 7
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(sky_of_stars, sky(BLANK=7 - 32768), name="SCI"), fits.ImageHDU(np.eye(3))]
    fits.HDUList(hdus).writeto(tmp_path / "image.fits")
    words = [f"{tmp_path}/image.fits[SCI]", *TILED]
    run(*words, "-o", tmp_path / "tiles.fits", "--max-memory", "6MB")
    assert " tiles of " in capsys.readouterr().out
    run(*words, "-o", tmp_path / "whole.fits")
    with fits.open(tmp_path / "tiles.fits") as tiles, fits.open(tmp_path / "whole.fits") as whole:
        tiles.verify("exception")
        assert len(tiles) == 3
        assert cards(tiles[1].header) == cards(whole[1].header)
        assert tiles[2].data.tobytes() == whole[2].data.tobytes()
        np.testing.assert_allclose(tiles[1].data.astype(float), whole[1].data.astype(float), atol=50)
        assert ((tiles[1].data == 7) == (sky_of_stars == 7)).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.fits", "tiles.fits", "whole.fits"]


def test_deblur_large_reads_and_writes_fits(tmp_path):
    image = np.random.default_rng(5).random((60, 70))
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image.astype("f4"))]).writeto(tmp_path / "image.fits")
    options = {"prior": "tv", "mu": 0.1, "max_iter": 2, "tol": 0, "tile": 30, "halo": 10, "workers": 1}
    psf = fd.psf.gaussian(5, 1)
    found = fd.deblur_large(f"{tmp_path}/image.fits[1]", psf, tmp_path / "out.fits", **options)
    wanted = fd.deblur_large(image.astype("f4"), psf, **options)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(fits.getdata(tmp_path / "out.fits"), wanted)
    counts = np.random.default_rng(6).integers(0, 9000, image.shape).astype("i2")
    counts[20:25, 30:40] = -99
    fits.PrimaryHDU(counts, fits.Header({"BLANK": -99})).writeto(tmp_path / "counts.fits")
    found = fd.deblur_large(tmp_path / "counts.fits", psf, **options)
    wanted = fd.deblur_large(np.where(counts == -99, np.nan, counts).astype("f4"), psf, **options)
    np.testing.assert_array_equal(found, wanted)
    with pytest.raises(ValueError, match="out must not be the source"):
        fd.deblur_large(f"{tmp_path}/image.fits[1]", psf, tmp_path / "image.fits", **options)
