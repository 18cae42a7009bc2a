"""Missing pixels of files: ignored, and written again as they were."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from samples import but_for_clipping, lines, one_error
from sweeps import sweep

import fastdeblur as fd
from fastdeblur.cli import deblur_tiled
from fastdeblur.cli import main as cli
from fastdeblur.io import files, missing
from fastdeblur.large import plan, readers

PSF = fd.psf.gaussian(9, 1.5)
WORDS = ["--psf", "gaussian:9:1.5", "--mu", "1e-3", "--data", "squares", "--max-iter", "40"]
TILED = ["--max-memory", "5MB", "--boundary", "reflect"]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(plan, "CODE", 0)


def scene(shape, bands=1):
    """Waves between 0.2 and 0.8, and blurred."""
    down, across = np.mgrid[: shape[0] + 20, : shape[1] + 20].astype(float)
    planes = [0.5 + 0.15 * np.sin(down / (2 + k)) + 0.15 * np.sin(across / (2.5 + k)) for k in range(bands)]
    blurred = [fd.convolve(plane, PSF, boundary="reflect") for plane in planes]
    cut = (slice(10, -10), slice(10, -10))
    return np.stack([each[cut] for each in planes], -1), np.stack([each[cut] for each in blurred], -1)


def run(capsys, *words):
    assert cli.main(["deblur", *map(str, words)]) == 0
    out, err = but_for_clipping(lines(capsys))
    assert err == []
    return out


def frame(shape):
    """Where a scene ends within its file: a slanted frame."""
    down, across = np.mgrid[: shape[0], : shape[1]]
    return (down + across / 8 < 30) | (across - down / 9 > shape[1] - 20)


@sweep(dtype_and_value=[("u2", 0), ("i2", -9999), ("f4", -3.4028234663852886e38)], how=[[], TILED])
def test_a_frame_of_no_data_does_not_bleed_into_the_picture(tmp_path, capsys, how, dtype_and_value):
    dtype, value = dtype_and_value
    shape = (200, 220)
    sharp, blurred = scene(shape)
    unit = 1 if dtype == "f4" else np.iinfo(dtype).max
    sharp, image = sharp[..., 0], (blurred[..., 0] * unit).astype(dtype)
    gone = frame(shape)
    image[gone] = value
    tifffile.imwrite(tmp_path / "a.tif", image, extratags=[(42113, "s", 0, str(value), True)])
    run(capsys, tmp_path / "a.tif", "-o", tmp_path / "out.tif", *WORDS, *how)
    found = tifffile.imread(tmp_path / "out.tif")
    assert found.dtype == image.dtype
    np.testing.assert_array_equal(found == np.dtype(dtype).type(value), gone)
    rim = fd.convolve(gone.astype(float), fd.psf.box(25), boundary="nearest") > 1e-6
    errors = [np.sqrt(np.mean((each[rim & ~gone] / unit - sharp[rim & ~gone]) ** 2)) for each in (found, image)]
    assert errors[0] < 0.6 * errors[1]  # sharper right up to the frame
    # And what the library makes of the same pixels as NaN, at once, or of the file in tiles.
    options = {"mu": 1e-3, "data": "squares", "max_iter": 40}
    if how:
        wanted = fd.deblur_large(tmp_path / "a.tif", PSF, boundary="reflect", tile=100, **options) / unit
    else:
        wanted = fd.deblur(np.where(gone, np.nan, image / unit).astype(np.float32), PSF, **options)
    np.testing.assert_allclose(found[~gone] / unit, wanted[~gone], atol=5e-3 if how else 1e-4)


@pytest.mark.parametrize("how", [[], TILED], ids=["whole", "tiles"])
def test_missing_pixels_can_be_filled_or_be_data(tmp_path, capsys, how):
    _, blurred = scene((200, 220))
    image = np.rint(blurred[..., 0] * 255).astype(np.uint8)
    gone = np.zeros(image.shape, bool)
    gone[90:93, 100:104] = True
    image[gone] = 255
    np.save(tmp_path / "a.npy", image)
    words = [tmp_path / "a.npy", "-o", tmp_path / "out.npy", *WORDS, *how]
    run(capsys, *words, "--nodata", "255")
    kept = np.load(tmp_path / "out.npy")
    np.testing.assert_array_equal(kept == 255, gone)
    run(capsys, *words, "--nodata", "255", "--fill")
    filled = np.load(tmp_path / "out.npy")
    np.testing.assert_array_equal(filled[~gone], kept[~gone])
    assert abs(filled[gone].astype(int) - np.rint(blurred[..., 0] * 255)[gone]).max() < 40
    run(capsys, *words, "--nodata", "none")
    assert (np.load(tmp_path / "out.npy")[~gone] != kept[~gone]).any()


@pytest.mark.parametrize("how", [[], TILED], ids=["whole", "tiles"])
def test_nan_is_missing_in_any_file(tmp_path, capsys, how):
    _, blurred = scene((200, 220))
    image = blurred[..., 0].astype(np.float32)
    image[50:53, 60:64] = np.nan
    np.save(tmp_path / "a.npy", image)
    run(capsys, tmp_path / "a.npy", "-o", tmp_path / "out.npy", *WORDS, *how)
    np.testing.assert_array_equal(np.isnan(np.load(tmp_path / "out.npy")), np.isnan(image))
    run(capsys, tmp_path / "a.npy", "-o", tmp_path / "out.npy", *WORDS, *how, "--fill")
    assert np.isfinite(np.load(tmp_path / "out.npy")).all()


def test_bands_miss_pixels_of_their_own(tmp_path, capsys):
    _, blurred = scene((60, 70), 3)
    image = np.rint(blurred * 200).astype(np.uint8)
    image[10:20, 10:20, 0] = image[30:40, 30:40, 2] = 0
    np.save(tmp_path / "a.npy", image)
    run(capsys, tmp_path / "a.npy", "-o", tmp_path / "out.npy", *WORDS, "--nodata", "0")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy") == 0, image == 0)


def test_restored_pixels_never_mean_that_they_are_missing(tmp_path, capsys):
    image = np.full((40, 44), 30, np.uint8)
    image[:, 20:] = 2  # which overshoots to 0
    image[:5] = 0
    np.save(tmp_path / "a.npy", image)
    run(capsys, tmp_path / "a.npy", "-o", tmp_path / "out.npy", *WORDS, "--nodata", 0)
    found = np.load(tmp_path / "out.npy")
    np.testing.assert_array_equal(found == 0, image == 0)
    assert (found == 1).any()


def test_no_data_values_that_no_pixel_can_have_are_refused(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.ones((9, 9), np.uint8))
    for value in ("-1", "256", "0.5", "nan"):
        said = one_error(capsys, "deblur", tmp_path / "a.npy", "-o", tmp_path / "o.npy", *WORDS, "--nodata", value)
        assert f"nodata must be a value that uint8 holds; got {float(value):g}" in said
    tifffile.imwrite(tmp_path / "a.tif", np.ones((9, 9), np.uint8), extratags=[(42113, "s", 0, "none", True)])
    with pytest.raises(ValueError, match="its no-data value is 'none', which is no number"):
        files.read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("u1", 3.0, 3), ("u1", 3.5, None), ("i2", -9999, -9999), ("i2", 40000, None), ("f4", 3.5, 3.5),
        ("f4", -3.40282347e38, np.finfo(np.float32).min), ("f4", 1e39, None), ("f8", 1e39, 1e39), (">u2", 7, 7),
        ("f4", float("inf"), float("inf")), ("?", 1, True), ("u8", 2.0**63, 2**63),
    ],
)  # fmt: skip
def test_no_data_values_of_each_type(dtype, value, expected):
    assert missing.as_stored(value, np.dtype(dtype)) == expected


def test_journals_tell_runs_with_other_missing_pixels_apart(tmp_path):
    """A run with other missing pixels must not go on from where one was interrupted."""
    np.save(tmp_path / "a.npy", np.ones((20, 20)))
    with files.opened(tmp_path / "a.npy") as source:
        stored = readers.of_array(source.array)
        kinds = [None, missing.Missing(values=(9.0,)), missing.Missing(values=(float("inf"),))]
        found = [
            deblur_tiled.Real(stored, replace(source, missing=kind), fill) for kind in kinds for fill in (False, True)
        ]
        assert len({json.dumps(each.identity, allow_nan=False) for each in found}) == 6
        stored.close()
