"""Stacks: each page as if it were alone, in a file of pages again."""

import json
import os
import re

import numpy as np
import pytest
import tifffile
from PIL import Image
from samples import but_for_clipping, lines, noise, one_error
from skimage import data

import fastdeblur as fd
from fastdeblur.cli import main as cli
from fastdeblur.io import files, pixels, tiff_writing

PAGES = noise((3, 14, 17), "u2")
OPTIONS = ["--psf", "gaussian:5:1", "--max-iter", "3"]


def deblurred(pages, alpha=False):
    psf = fd.psf.gaussian(5, 1)
    axis = -1 if pages[0].ndim == 3 else None
    real = [fd.deblur(pixels.to_real(page, alpha), psf, max_iter=3, channel_axis=axis) for page in pages]
    return np.stack([pixels.from_real(*pair) for pair in zip(real, pages, strict=True)])


WRITTEN = {
    "plain": {"photometric": "minisblack"},
    "imagej": {"imagej": True},
    "one-page": {"imagej": True, "truncate": True},  # ImageJ's way with what is large
    "ome": {"ome": True},
    "bigtiff": {"photometric": "minisblack", "bigtiff": True},
    "tiles": {"photometric": "minisblack", "tile": (16, 16), "compression": "zlib"},
    "white": {"photometric": "miniswhite"},
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_pages_of_a_tiff_are_a_stack(tmp_path, kind):
    tifffile.imwrite(tmp_path / "stack.tif", ~PAGES if kind == "white" else PAGES, **WRITTEN[kind])
    with files.opened(tmp_path / "stack.tif") as source:
        assert (source.shape, source.dtype, source.pages) == ((14, 17), np.uint16, 3)
        assert source.takes < 10 * PAGES[0].nbytes
        np.testing.assert_array_equal([source.page(number) for number in range(3)], PAGES)
    with pytest.raises(ValueError, match="not a stack; it has 3 pages"):
        files.read(tmp_path / "stack.tif")


def test_a_stack_is_deblurred_page_by_page(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "stack.tif", PAGES, photometric="minisblack")
    np.save(tmp_path / "stack.npy", PAGES)
    expected = deblurred(PAGES)
    for source, out in (("tif", "tif"), ("npy", "npy"), ("npy", "tif"), ("tif", "npy")):
        words = ["deblur", tmp_path / f"stack.{source}", "-o", tmp_path / f"out.{out}", "--stack", *OPTIONS]
        assert cli.main(list(map(str, words))) == 0
        (said,) = lines(capsys)[0]
        assert re.search(rf"out\.{out}: 3 pages, noise \S+, misfit \S+, path \w+, \d+ iterations, stop reason ", said)
        back = np.load(tmp_path / "out.npy") if out == "npy" else tifffile.imread(tmp_path / "out.tif")
        np.testing.assert_array_equal(back, expected)
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        assert len(tiff.pages) == 3
        assert tiff.pages.first.shape == (14, 17)
    with Image.open(tmp_path / "out.tif") as picture:
        assert picture.n_frames == 3


def test_a_stack_in_colour_keeps_its_alpha(tmp_path, capsys):
    pages = noise((2, 14, 17, 4), "u1")
    source, out = tmp_path / "stack.tif", tmp_path / "out.tif"
    tifffile.imwrite(source, pages, photometric="rgb", extrasamples=["unassalpha"])
    assert cli.main(["deblur", str(source), "-o", str(out), "--stack", *OPTIONS]) == 0
    np.testing.assert_array_equal(tifffile.imread(out), deblurred(pages, alpha=True))
    assert "out.tif: alpha as it was, 2 pages, " in lines(capsys)[0][0]


def test_four_channels_that_nobody_calls_alpha_are_data(tmp_path, capsys):
    pages = noise((2, 14, 17, 4), "u1")
    np.save(tmp_path / "stack.npy", pages)
    assert cli.main(["deblur", str(tmp_path / "stack.npy"), "-o", str(tmp_path / "o.tif"), "--stack", *OPTIONS]) == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "o.tif"), deblurred(pages))
    assert "alpha" not in lines(capsys)[0][0]


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
def test_a_stack_may_be_written_over_itself(tmp_path, suffix):
    path = tmp_path / f"stack{suffix}"
    with files.saving(path, PAGES[0], 3) as put:
        for page in PAGES:
            put(page)
    assert cli.main(["deblur", str(path), "-o", str(path), "--stack", *OPTIONS]) == 0
    with files.opened(path, stack=True) as source:
        np.testing.assert_array_equal([source.page(number) for number in range(3)], deblurred(PAGES))
    assert os.listdir(tmp_path) == [path.name]


def test_one_page_may_be_a_stack(tmp_path):
    np.save(tmp_path / "stack.npy", PAGES[:1])
    out = tmp_path / "out.npy"
    assert cli.main(["deblur", str(tmp_path / "stack.npy"), "-o", str(out), "--stack", *OPTIONS]) == 0
    assert np.load(out).shape == (1, 14, 17)


def test_masks_in_a_stack_become_bytes(tmp_path):
    np.save(tmp_path / "stack.npy", PAGES > 9999)
    out = tmp_path / "out.npy"
    words = ["--psf", "box:1", "--mu", "0", "--stack"]
    assert cli.main(["deblur", str(tmp_path / "stack.npy"), "-o", str(out), *words]) == 0
    np.testing.assert_array_equal(np.load(out), np.where(PAGES > 9999, 255, 0).astype(np.uint8))


def test_pages_with_palettes_are_in_colour(tmp_path):
    colours = np.zeros((6, 8, 3), np.uint8)
    colours[:, 4:] = (10, 200, 30)
    picture = Image.fromarray(colours).quantize(2)
    picture.save(tmp_path / "stack.tif", save_all=True, append_images=[picture.rotate(180)])
    out = tmp_path / "out.tif"
    words = ["--psf", "box:1", "--mu", "0"]
    assert cli.main(["deblur", str(tmp_path / "stack.tif"), "-o", str(out), *words]) == 0
    np.testing.assert_array_equal(tifffile.imread(out), [colours, colours[:, ::-1]])


def test_a_volume_in_one_page_is_refused(tmp_path):
    tifffile.imwrite(
        tmp_path / "volume.tif", noise((4, 16, 3), "u1"), volumetric=True, photometric="minisblack", tile=(16, 16, 16)
    )
    with pytest.raises(ValueError, match=r"a page has the shape \(4, 16, 3\)"):
        files.read(tmp_path / "volume.tif")


def test_json_has_the_figures_of_each_page(tmp_path, capsys):
    np.save(tmp_path / "stack.npy", PAGES)
    words = ["deblur", tmp_path / "stack.npy", "-o", tmp_path / "out.npy", "--stack", "--json", *OPTIONS]
    assert cli.main(list(map(str, words))) == 0
    (said,), err = but_for_clipping(lines(capsys))
    assert err == []
    figures = json.loads(said)
    assert (figures["out"], figures["shape"], figures["dtype"]) == (str(tmp_path / "out.npy"), [3, 14, 17], "uint16")
    assert [page["n_iter"] for page in figures["pages"]] == [3, 3, 3]
    assert len({page["mu"] for page in figures["pages"]}) == 3  # found for each
    assert figures["seconds"] == pytest.approx(sum(page["seconds"] for page in figures["pages"]))


def test_a_warning_that_holds_for_every_page_is_said_once(tmp_path, capsys):
    sharp = data.camera()[:96, :96] / 255
    blurred = fd.convolve(sharp, fd.psf.motion(15, 30), boundary="unknown")
    np.save(tmp_path / "stack.npy", np.stack([blurred, blurred[::-1, ::-1]]))
    words = ["deblur", str(tmp_path / "stack.npy"), "--stack", "--psf", "motion:15:60", "-o", str(tmp_path / "out.npy")]
    assert cli.main(words) == 0
    (said,) = capsys.readouterr().err.splitlines()
    assert "the residual looks like the image" in said


def test_saturated_pixels_are_those_of_the_page(tmp_path):
    pages = PAGES / 65535
    np.save(tmp_path / "stack.npy", pages)
    np.save(tmp_path / "weights.npy", np.arange(14 * 17.0).reshape(14, 17))
    words = ["deblur", tmp_path / "stack.npy", "-o", tmp_path / "out.npy", "--stack", "--saturated", "0.8"]
    words += ["--weights", tmp_path / "weights.npy", "--mu", "0.1", *OPTIONS]
    assert cli.main(list(map(str, words))) == 0
    weights = np.load(tmp_path / "weights.npy")
    for page, restored in zip(pages, np.load(tmp_path / "out.npy"), strict=True):
        expected = fd.deblur(page, fd.psf.gaussian(5, 1), mu=0.1, max_iter=3, weights=weights * fd.saturated(page, 0.8))
        np.testing.assert_allclose(restored, expected, rtol=1e-5, atol=1e-6)


def test_an_error_in_a_late_page_leaves_what_was_there(tmp_path, capsys):
    pages = PAGES / 65535
    pages[2, 3, 4] = np.inf
    np.save(tmp_path / "stack.npy", pages)
    np.save(tmp_path / "out.npy", PAGES)
    before = (tmp_path / "out.npy").read_bytes()
    words = ["deblur", tmp_path / "stack.npy", "-o", tmp_path / "out.npy", "--stack", *OPTIONS]
    assert "image must be finite" in one_error(capsys, *words)
    assert (tmp_path / "out.npy").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["out.npy", "stack.npy"]


@pytest.mark.parametrize(
    ("name", "out", "message"),
    [
        (
            "stack.npy",
            "out.png",
            "PNG cannot hold a stack of 3 pages, uint16 gray of 14x17; .tif, ",
        ),
        ("stack.npy", "out.jpg", "JPEG cannot hold a stack"),
        ("gray.png", "out.npy", "a stack is a TIFF, .npy or .zarr; this is not"),
        (
            "line.npy",
            "out.npy",
            "or with channels after them; its shape is (5,)",
        ),
        ("none.npy", "out.npy", "must not be empty; its shape is (0, 4, 5)"),
        ("flat.npy", "out.npy", "must not be empty; its shape is (0, 5)"),
        ("bands.npy", "out.npy", "its shape is (2, 4, 5, 6)"),
    ],
)
def test_non_stacks_and_formats_without_stacks_are_refused(tmp_path, capsys, name, out, message):
    np.save(tmp_path / "stack.npy", PAGES)
    files.write(tmp_path / "gray.png", noise((4, 5), "u1"))
    for shape, each in (((5,), "line"), ((0, 4, 5), "none"), ((3, 0, 5), "flat"), ((2, 4, 5, 6), "bands")):
        np.save(tmp_path / f"{each}.npy", np.zeros(shape))
    assert message in one_error(capsys, "deblur", tmp_path / name, "-o", tmp_path / out, "--stack", *OPTIONS)


def test_a_hint_where_a_stack_is_not_expected(tmp_path, capsys):
    np.save(tmp_path / "stack.npy", PAGES)
    assert "--stack" in one_error(capsys, "deblur", tmp_path / "stack.npy", "-o", tmp_path / "out.npy", *OPTIONS)


def test_large_tiffs_are_bigtiffs(tmp_path, monkeypatch):
    files.write(tmp_path / "small.tif", PAGES[0])
    monkeypatch.setattr(tiff_writing, "CLASSIC_MOST", 2 * PAGES[0].nbytes)
    files.write(tmp_path / "page.tif", PAGES[0])
    with files.saving(tmp_path / "stack.tif", PAGES[0], 3) as put:
        for page in PAGES:
            put(page)
    for name, big in (("small", False), ("page", False), ("stack", True)):
        with tifffile.TiffFile(tmp_path / f"{name}.tif") as tiff:
            assert tiff.is_bigtiff == big
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "stack.tif"), PAGES)
