"""TIFFs of other programs come back as they were, sharper: read back by rasterio and tifffile."""

import importlib.util
import os
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from samples import but_for_clipping, lines
from sweeps import sweep

import fastdeblur as fd
from fastdeblur.cli import main as cli
from fastdeblur.io import files, tiff_writing
from fastdeblur.large import plan

PSF = fd.psf.gaussian(9, 1.5)
WORDS = ["--psf", "gaussian:9:1.5", "--mu", "1e-3", "--data", "squares", "--max-iter", "12"]
TILED = ["--max-memory", "7.5MB", "--boundary", "reflect"]
HOW = pytest.mark.parametrize("how", [[], TILED], ids=["whole", "tiles"])
CODECS = importlib.util.find_spec("imagecodecs") is not None


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(plan, "CODE", 0)


def blurred(shape, bands, dtype, seed=0):
    """Blurred noise of several bands, and what it was."""
    sharp = np.random.default_rng(seed).random((bands, *shape)) * 0.5 + 0.25
    image = np.stack([fd.convolve(band, PSF, boundary="reflect") for band in sharp])
    unit = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    return (image * unit).astype(dtype), sharp * unit


def placed(rasterio):
    """A place on the earth."""
    return {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 500000, 0, -10, 4600000)}


def run(capsys, source, out, *words):
    assert cli.main(["deblur", str(source), "-o", str(out), *map(str, [*WORDS, *words])]) == 0
    said, err = but_for_clipping(lines(capsys))
    return said[0], err


def sharper(before, after, sharp):
    """Whether an image is nearer to what it was, in each of its bands."""
    errors = [((image.astype(float) - sharp) ** 2).mean(axis=(1, 2)) for image in (before, after)]
    return errors[1] < 0.9 * errors[0]


PROFILES = {
    "near infrared": {"count": 4, "dtype": "uint16"},
    "gray in strips": {"count": 1, "dtype": "uint8", "blockysize": 16},
    "hundred bands": {"count": 100, "dtype": "uint8", "compress": "deflate"},
    "planar tiles": {"count": 3, "dtype": "int16", "interleave": "band", "tiled": True, "compress": "deflate",
                     "predictor": 2},
    "planar strips": {"count": 5, "dtype": "uint16", "interleave": "band", "compress": "deflate", "blockysize": 32},
    "tiles": {"count": 4, "dtype": "uint16", "tiled": True, "compress": "deflate", "predictor": 2},
    "big": {"count": 2, "dtype": "float32", "BIGTIFF": "YES", "tiled": True, "compress": "deflate"},
    "big-endian": {"count": 2, "dtype": "uint16", "ENDIANNESS": "BIG", "tiled": True, "compress": "deflate"},
    "white is zero": {"count": 1, "dtype": "uint8", "photometric": "miniswhite", "tiled": True, "compress": "deflate"},
    "RGB and near infrared": {"count": 4, "dtype": "uint16", "photometric": "RGB", "ALPHA": "NO"},
    "LZW": {"count": 3, "dtype": "uint8", "tiled": True, "compress": "lzw", "predictor": 2, "codecs": True},
    "Zstandard": {"count": 3, "dtype": "uint16", "tiled": True, "compress": "zstd", "codecs": True},
    "float predictor": {"count": 2, "dtype": "float32", "tiled": True, "compress": "deflate", "predictor": 3,
                        "codecs": True},
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        *[(kind, []) for kind in PROFILES],
        *[(kind, TILED) for kind in ("near infrared", "planar tiles")],
        # Tiles of the others are those of test_tilewise.py, of plain files.
        *[
            pytest.param(kind, TILED, marks=pytest.mark.long)
            for kind in ("planar strips", "big", "big-endian", "LZW", "white is zero")
        ],
    ],
)
def test_a_geotiff_is_what_it_was_but_sharper(tmp_path, capsys, kind, how):
    rasterio = pytest.importorskip("rasterio")
    profile = dict(PROFILES[kind])
    if profile.pop("codecs", False) and not CODECS:
        pytest.skip("needs the package imagecodecs")
    shape = (230, 250) if how else (70, 90)
    if profile.get("tiled"):
        profile |= {"blockxsize": 64, "blockysize": 48}
    image, sharp = blurred(shape, profile["count"], profile["dtype"])
    profile |= {"driver": "GTiff", "height": shape[0], "width": shape[1], **placed(rasterio)}
    source, out = tmp_path / "a.tif", tmp_path / "out.tif"
    with rasterio.open(source, "w", **profile) as file:
        file.write(image)
        file.update_tags(MISSION="probe", TIFFTAG_DATETIME="2020:01:01 10:00:00")
        for band in range(1, profile["count"] + 1):
            file.set_band_description(band, f"band {band}")
    said, err = run(capsys, source, out, *how)
    assert err == []
    assert "alpha" not in said
    with rasterio.open(source) as before, rasterio.open(out) as after:
        assert after.profile == before.profile
        assert after.descriptions == before.descriptions
        assert after.tags() == before.tags() | {
            key: value for key, value in after.tags().items() if "RESOLUTION" in key
        }
        assert after.colorinterp == before.colorinterp
        assert after.tags(ns="IMAGE_STRUCTURE") == before.tags(ns="IMAGE_STRUCTURE")
        assert sharper(image, after.read(), sharp).all()
    with tifffile.TiffFile(source) as before, tifffile.TiffFile(out) as after:
        assert (after.byteorder, after.is_bigtiff) == (before.byteorder, before.is_bigtiff)
        for name in ("compression", "predictor", "planarconfig", "photometric", "rowsperstrip", "tile"):
            assert getattr(after.pages.first, name) == getattr(before.pages.first, name), name
    assert sorted(os.listdir(tmp_path)) == ["a.tif", "out.tif"]


@HOW
def test_near_infrared_is_what_the_library_makes_of_it(tmp_path, capsys, how):
    """Band 4 of 4 is data unless the file calls it alpha; in the library the file is read as it is."""
    rasterio = pytest.importorskip("rasterio")
    image, sharp = blurred((230, 250), 4, "uint16")
    profile = {"driver": "GTiff", "height": 230, "width": 250, "count": 4, "dtype": "uint16", **placed(rasterio)}
    with rasterio.open(tmp_path / "a.tif", "w", **profile) as file:
        file.write(image)
    run(capsys, tmp_path / "a.tif", tmp_path / "out.tif", *how)
    found = tifffile.imread(tmp_path / "out.tif")
    real = np.moveaxis(image, 0, -1) / np.float32(65535)
    options = {"mu": 1e-3, "data": "squares", "max_iter": 12, "channel_axis": -1}
    if how:
        fd.deblur_large(tmp_path / "a.tif", PSF, tmp_path / "large.npy", boundary="reflect", **options)
        wanted = np.load(tmp_path / "large.npy") / 65535
    else:
        wanted = fd.deblur(real, PSF, **options)
    inside = (slice(20, -20), slice(20, -20), 3)
    np.testing.assert_allclose(found[inside] / 65535, wanted[inside], atol=2e-2 if how else 2e-5)
    assert sharper(image, np.moveaxis(found, -1, 0), sharp)[3]


@sweep(tiled=[True, False], how=[[], TILED])
def test_masks_and_overviews_are_made_again(tmp_path, capsys, how, tiled):
    rasterio = pytest.importorskip("rasterio")
    shape = (230, 250)
    image, _ = blurred(shape, 3, "uint8")
    gone = np.add.outer(np.arange(shape[0]), np.arange(shape[1]) / 3) < 60
    image[:, gone] = 0
    source, out = tmp_path / "a.tif", tmp_path / "out.tif"
    profile = {"height": shape[0], "width": shape[1], "count": 3, "dtype": "uint8", "driver": "GTiff", "tiled": tiled}
    profile |= {"compress": "deflate", "photometric": "RGB", **placed(rasterio)}
    profile |= {"blockxsize": 64, "blockysize": 64} if tiled else {}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(source, "w", **profile) as file:
        file.write(image)
        file.write_mask(~gone)
        file.build_overviews([2, 4], rasterio.enums.Resampling.average)
    how = ["--max-memory", "8MB", *how[2:]] if how else how
    said, err = run(capsys, source, out, *how)
    assert err == []
    assert ("tiles of" in said) == bool(how)
    with rasterio.open(out) as after:
        np.testing.assert_array_equal(after.dataset_mask() == 0, gone)
        assert after.overviews(1) == [2, 4]
        full = after.read()
        np.testing.assert_array_equal(full[:, gone], image[:, gone])
        small = after.read(1, out_shape=(115, 125))
        means = full[0].reshape(115, 2, 125, 2).mean(axis=(1, 3))
    assert abs(small - means).max() <= 1
    with rasterio.open(out, overview_level=0) as overview:
        np.testing.assert_array_equal(overview.dataset_mask() > 0, ~gone[::2, ::2])
    run(capsys, source, out, *how, "--fill")
    with rasterio.open(out) as after:
        assert (after.dataset_mask() > 0).all()
        assert (after.read()[:, gone] > 0).all()


@HOW
def test_no_data_of_a_geotiff(tmp_path, capsys, how):
    rasterio = pytest.importorskip("rasterio")
    shape = (230, 250)
    image, _ = blurred(shape, 2, "int16")
    gone = np.add.outer(np.arange(shape[0]), np.arange(shape[1]) / 3) < 60
    image[:, gone] = -9999
    profile = {"height": shape[0], "width": shape[1], "count": 2, "dtype": "int16", "driver": "GTiff", "nodata": -9999}
    with rasterio.open(tmp_path / "a.tif", "w", **placed(rasterio), **profile) as file:
        file.write(image)
        file.build_overviews([2], rasterio.enums.Resampling.average)
    for more in ([], ["--dtype", "float32"]):
        run(capsys, tmp_path / "a.tif", tmp_path / "out.tif", *how, *more)
        with rasterio.open(tmp_path / "out.tif") as after:
            assert after.nodata == -9999
            assert after.dtypes[0] == (more[1] if more else "int16")
            np.testing.assert_array_equal(after.read() == -9999, np.stack([gone, gone]))
            small = after.read(1, out_shape=(115, 125))
        np.testing.assert_array_equal(small == -9999, gone.reshape(115, 2, 125, 2).all(axis=(1, 3)))


@sweep(extra=["unassalpha", "assocalpha", "unspecified"], how=[[], TILED])
def test_alpha_is_what_extra_samples_say(tmp_path, capsys, how, extra):
    image, _ = blurred((230, 250), 4, "uint8")
    image = np.moveaxis(image, 0, -1)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", extrasamples=[extra], metadata=None)
    said, _ = run(capsys, tmp_path / "a.tif", tmp_path / "out.tif", *how)
    found = tifffile.imread(tmp_path / "out.tif")
    assert (found[..., 3] == image[..., 3]).all() == (extra != "unspecified")
    if not how:
        assert ("alpha as it was" in said) == (extra != "unspecified")
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        assert [each.name.lower() for each in tiff.pages.first.extrasamples] == [extra]


STACKS = {
    "OME": ({"ome": True, "metadata": {"axes": "TCYX", "PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "µm",
             "PhysicalSizeY": 0.2, "PhysicalSizeYUnit": "µm", "Channel": {"Name": ["DAPI", "GFP"]},
             "Plane": {"DeltaT": [0.0, 0.1, 1.0, 1.1, 2.0, 2.1]}}}, (3, 2)),
    "OME, packed": ({"ome": True, "compression": "zlib", "tile": (16, 16), "metadata": {"axes": "ZCYX"}}, (3, 2)),
    "ImageJ": ({"imagej": True, "resolution": (5, 5), "metadata": {"axes": "TCYX", "unit": "um", "finterval": 2.5,
                "Labels": [f"plane {n}" for n in range(6)], "Info": "of a cell"}}, (3, 2)),
    "ImageJ in depth": ({"imagej": True, "metadata": {"axes": "ZCYX", "spacing": 0.3, "unit": "um"}}, (3, 2)),
}  # fmt: skip


@sweep(kind=STACKS, dtype=[None, "float32"])
def test_stacks_of_microscopes_keep_axes_and_pixel_sizes(tmp_path, capsys, kind, dtype):
    options, planes = STACKS[kind]
    image, sharp = blurred((40, 46), 6, "uint16")
    tifffile.imwrite(tmp_path / "a.tif", image.reshape(*planes, 40, 46), photometric="minisblack", **options)
    said, err = run(capsys, tmp_path / "a.tif", tmp_path / "out.tif", *([] if dtype is None else ["--dtype", dtype]))
    assert err == []
    depth = "Z" in options["metadata"]["axes"]
    assert ("depth stays blurred" in said) == depth
    with tifffile.TiffFile(tmp_path / "a.tif") as before, tifffile.TiffFile(tmp_path / "out.tif") as after:
        assert after.series[0].axes == before.series[0].axes
        assert after.series[0].shape == before.series[0].shape
        assert after.imagej_metadata == before.imagej_metadata
        if before.ome_metadata:
            trees = [ElementTree.fromstring(each.ome_metadata) for each in (before, after)]
            described = [[(each.tag, each.attrib) for each in tree.iter()] for tree in trees]
            if dtype is not None:
                for each in described[0]:
                    if each[0].endswith("Pixels"):
                        each[1]["Type"] = "float"
                        each[1].pop("SignificantBits", None)
            assert described[1] == described[0]
        found = after.series[0].asarray()
        assert found.dtype == np.dtype(dtype or "uint16")
        tags = [each.pages.first.tags.valueof(282) for each in (before, after)]
        assert tags[0] == tags[1]
    assert sharper(image, found.reshape(image.shape), sharp).all()


def test_pyramids_of_ome_are_made_again(tmp_path, capsys):
    image, _ = blurred((128, 160), 1, "uint16")
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tiff:
        options = {"photometric": "minisblack", "tile": (32, 32), "compression": "zlib"}
        tiff.write(image[0], subifds=2, metadata={"axes": "YX"}, **options)
        tiff.write(image[0, ::2, ::2], subfiletype=1, **options)
        tiff.write(image[0, ::4, ::4], subfiletype=1, **options)
    run(capsys, tmp_path / "a.ome.tif", tmp_path / "out.ome.tif")
    with tifffile.TiffFile(tmp_path / "out.ome.tif") as tiff:
        levels = [level.asarray() for level in tiff.series[0].levels]
    assert [level.shape for level in levels] == [(128, 160), (64, 80), (32, 40)]
    means = levels[0].reshape(64, 2, 80, 2).mean(axis=(1, 3))
    assert abs(levels[1] - means).max() <= 0.5


def test_profiles_and_descriptions_are_kept(tmp_path, capsys):
    image, _ = blurred((40, 46), 3, "uint8")
    tags = [(700, 1, 9, b"<x:xmp/>\n", True), (315, "s", 0, "a painter", True), (65000, "d", 2, (1.5, 2.5), True)]
    tifffile.imwrite(
        tmp_path / "a.tif", np.moveaxis(image, 0, -1), photometric="rgb", description="a cat", iccprofile=b"profile",
        resolution=(300, 300), resolutionunit="inch", extratags=tags, metadata=None, software="camera",
        datetime="2020:01:02 03:04:05",
    )  # fmt: skip
    _, err = run(capsys, tmp_path / "a.tif", tmp_path / "out.tif")
    assert err == []
    with tifffile.TiffFile(tmp_path / "a.tif") as before, tifffile.TiffFile(tmp_path / "out.tif") as after:
        for tag in before.pages.first.tags:
            if tag.name not in ("StripOffsets", "StripByteCounts"):
                assert after.pages.first.tags[tag.code].value == tag.value, tag.name
    with files.opened(tmp_path / "a.tif") as source:
        said = source.metadata
    assert (said.icc, said.xmp, said.description) == (b"profile", b"<x:xmp/>\n", "a cat")
    assert said.dpi == pytest.approx((300, 300))


def photograph():
    """EXIF with a position and a maker's own notes."""
    exif = Image.Exif()
    exif[271], exif[306] = "maker", "2020:01:02 03:04:05"
    exif.get_ifd(0x8769).update({33434: 0.004, 34855: 200, 37500: b"notes of a maker", 42036: "a lens of 50 mm"})
    exif.get_ifd(0x8825).update({1: "N", 2: (51.0, 30.0, 12.5)})
    return exif


@sweep(names=[("tif", "tif"), ("jpg", "tif"), ("tif", "jpg"), ("big.tif", "big.tif")], how=[[], TILED])
def test_exif_is_kept(tmp_path, capsys, how, names):
    before, after = names
    shape = (230, 250) if how else (40, 46)
    image, _ = blurred(shape, 3, "uint8")
    picture = Image.fromarray(np.ascontiguousarray(np.moveaxis(image, 0, -1)))
    source, out = tmp_path / f"a.{before}", tmp_path / f"out.{after}"
    picture.save(source, exif=photograph().tobytes(), dpi=(300, 300), **({"big_tiff": True} if "big" in before else {}))
    run(capsys, source, out, *how)
    with Image.open(source) as old, Image.open(out) as new:
        assert new.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        for directory in (0x8769, 0x8825):
            wanted = dict(old.getexif().get_ifd(directory))
            assert len(wanted) > 1
            assert dict(new.getexif().get_ifd(directory)) == wanted
        assert (new.getexif()[271], new.getexif()[306]) == ("maker", "2020:01:02 03:04:05")


def test_what_another_format_cannot_keep_is_named_in_one_line(tmp_path, capsys):
    rasterio = pytest.importorskip("rasterio")
    image, _ = blurred((40, 46), 1, "uint8")
    profile = {"driver": "GTiff", "height": 40, "width": 46, "count": 1, "dtype": "uint8", "nodata": 0}
    with rasterio.open(tmp_path / "a.tif", "w", **placed(rasterio), **profile) as file:
        file.write(image)
        file.update_tags(KEY="value")
    _, (warning,) = run(capsys, tmp_path / "a.tif", tmp_path / "out.png")
    assert "does not keep the georeference, GDAL's metadata, the no-data value" in warning


XML = "<OME><Image><Pixels {}"
WRONG = {
    "not closed": XML.format('SizeZ="3"'), "no numbers": XML.format('SizeZ="many" SizeT="-1">'),
    "huge": XML.format(f'SizeZ="{10**30}" SizeC="{10**9 - 1}">'), "two": 2 * XML.format('SizeZ="2">'),
    "entities": '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + XML.format('SizeZ="&b;">'),
    "long": XML.format("a" * 100000), "imagej": "ImageJ=1.5\nslices=99999999999\nframes=x\n", "bytes": b"<OME\xff\xfe>",
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_only_describes_pixels_is_no_reason_to_fail(tmp_path, capsys, kind):
    image, _ = blurred((40, 46), 2, "uint8")
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack", metadata=None, description=WRONG[kind])
    said, err = run(capsys, tmp_path / "a.tif", tmp_path / "out.tif", "--dtype", "float32")
    assert err == []
    assert "2 pages" in said
    with tifffile.TiffFile(tmp_path / "out.tif", is_ome=False) as tiff:
        assert len(tiff.pages) == 2


@pytest.mark.parametrize("kind", ["nodata", "mask"])
def test_the_library_knows_what_is_missing_in_a_geotiff(tmp_path, kind):
    rasterio = pytest.importorskip("rasterio")
    shape = (230, 250)
    image, _ = blurred(shape, 2, "uint16")
    gone = np.add.outer(np.arange(shape[0]), np.arange(shape[1]) / 3) < 60
    image[:, gone] = 65535 if kind == "nodata" else 12345
    profile = {"height": shape[0], "width": shape[1], "count": 2, "dtype": "uint16", "driver": "GTiff", "tiled": True}
    profile |= {"blockxsize": 64, "blockysize": 64, "compress": "deflate", **placed(rasterio)}
    profile |= {"nodata": 65535} if kind == "nodata" else {}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / "a.tif", "w", **profile) as file:
        file.write(image)
        if kind == "mask":
            file.write_mask(~gone)
    options = {"mu": 1e-3, "data": "squares", "max_iter": 12, "channel_axis": -1, "tile": 120}
    real = np.moveaxis(np.where(gone, np.nan, image), 0, -1).astype(np.float32)
    np.testing.assert_array_equal(
        fd.deblur_large(tmp_path / "a.tif", PSF, **options), fd.deblur_large(real, PSF, **options)
    )
    with pytest.raises(ValueError, match=r"out must not be the source, .*a.tif is read"):
        fd.deblur_large(tmp_path / "a.tif", PSF, tmp_path / "a.tif", **options)


def slide(path, *sizes, tiled=True, shape=(96, 128)):
    """As scanners of slides write them: an image, and smaller pages that nothing marks."""
    image = np.moveaxis(blurred(shape, 3, "uint8")[0], 0, -1)
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(image, photometric="rgb", metadata=None, tile=(32, 32))
        for down, across in sizes:
            tiff.write(
                np.resize(image, (down, across, 3)),
                photometric="rgb",
                metadata=None,
                **({"tile": (16, 16)} if tiled else {}),
            )
    return image


def test_unmarked_overviews_and_pictures_of_a_slide(tmp_path, capsys):
    image = slide(tmp_path / "levels.tif", (48, 64), (24, 32))
    with files.opened(tmp_path / "levels.tif") as source:
        assert (source.shape, source.pages) == (image.shape, None)
        assert source.array is not None  # it can be read in parts
        assert source.notes == ("2 smaller pages taken for overviews",)
        assert source.metadata.unread == ()
        files.write(tmp_path / "out.tif", source.page(0), source.metadata)
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        assert [(page.shape[:2], page.is_reduced) for page in tiff.pages] == [
            ((96, 128), False), ((48, 64), True), ((24, 32), True)
        ]  # fmt: skip
    image = slide(tmp_path / "label.tif", (40, 40), (20, 60), tiled=False)
    with files.opened(tmp_path / "label.tif") as source:
        assert (source.shape, source.pages, source.notes) == (image.shape, None, ())
        np.testing.assert_array_equal(source.page(0), image)
        assert source.metadata.lost("TIFF") == [
            "2 smaller pages of which it does not say what they are (40x40, 20x60)"
        ]  # fmt: skip


@pytest.mark.parametrize("sizes", [((90, 120),), ((40, 130),), ((48, 64), (96, 128))])
def test_stacks_of_different_sizes_are_refused(tmp_path, sizes):
    slide(tmp_path / "stack.tif", *sizes, tiled=False)
    with pytest.raises(ValueError, match=r"one image that is much larger.*96x128, .*save those of one size apart"):
        files.opened(tmp_path / "stack.tif").__enter__()


def test_interoperability_is_kept(tmp_path):
    exif = Image.Exif()
    exif[0x8769] = {0x829A: 0.5, 0xA005: {1: "R98", 2: b"0100"}}
    Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    for source, out in (("a.jpg", "b.tif"), ("b.tif", "c.tif"), ("c.tif", "d.jpg")):
        with files.opened(tmp_path / source) as opened:
            files.write(tmp_path / out, opened.page(0), opened.metadata)
            assert files.lost(opened.metadata, out, opened.shape, opened.dtype) == []
        with Image.open(tmp_path / out) as picture:
            found = picture.getexif()
            assert found.get_ifd(0x8769)[0x829A] == 0.5
            assert {code: bytes(str(value), "ascii") if isinstance(value, str) else value for code, value in
                    found.get_ifd(0xA005).items()} == {1: b"R98", 2: b"0100"}  # fmt: skip


def test_a_predictor_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    image = blurred((40, 46), 1, "uint16")[0][0]
    tifffile.imwrite(tmp_path / "a.tif", image, compression="zlib", predictor=2)
    with files.opened(tmp_path / "a.tif") as source:
        assert files.lost(source.metadata, "b.tif", image.shape, np.dtype("u2")) == []
        real = tiff_writing._writes
        monkeypatch.setattr(tiff_writing, "_writes", lambda *form: form[1] != 3 and real(*form))
        (word,) = files.lost(source.metadata, "b.tif", image.shape, np.dtype("f4"))
        assert word == "the predictor 3, which needs the package imagecodecs (none instead)"


def test_a_thumbnail_is_no_page(tmp_path, capsys):
    image, _ = blurred((40, 46), 3, "uint8")
    image = np.moveaxis(image, 0, -1)
    for name, order in (("after", (0, 1)), ("before", (1, 0))):
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as tiff:
            for each in order:
                small = {"subfiletype": 1} if each else {}
                tiff.write(image[::4, ::4] if each else image, photometric="rgb", metadata=None, **small)
        with files.opened(tmp_path / f"{name}.tif") as source:
            assert (source.shape, source.pages) == (image.shape, None)
            np.testing.assert_array_equal(source.page(0), image)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no /proc/self/status")
def test_pixels_that_wait_in_a_file_do_not_count_as_memory_when_they_are_written(tmp_path):
    def mapped():
        text = Path("/proc/self/status").read_text()
        return sum(int(re.search(rf"{name}:\s+(\d+)", text)[1]) for name in ("RssFile", "RssShmem")) * 1024

    np.save(tmp_path / "a.npy", np.ones((4096, 4096), np.uint16))
    image = np.load(tmp_path / "a.npy", mmap_mode="r")
    before = mapped()
    files.write(tmp_path / "a.tif", image)
    assert mapped() - before < image.nbytes / 2
