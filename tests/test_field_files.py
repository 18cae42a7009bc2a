"""The command with psfs that vary over the image, from files."""

import numpy as np
import pytest
import tifffile

import fastdeblur as fd
from fastdeblur.cli import main as cli

SHAPE = (40, 44)
PSFS = np.array(
    [[fd.psf.gaussian(5, 0.6), fd.psf.gaussian(5, 1.2)], [fd.psf.gaussian(5, 0.9), fd.psf.gaussian(5, 1.5)]]
)
PLACES = np.array([[(0, 0), (0, 43)], [(39, 0), (39, 43)]])
IMAGE = np.random.default_rng(0).random((10, 11)).repeat(4, 0).repeat(4, 1).astype(np.float32)
EVEN = np.ones((2, 2))


def field(psfs=PSFS, positions=None, dtype=np.float32, **options):
    return fd.VaryingBlur(psfs, positions, SHAPE, boundary="reflect", dtype=dtype, **options)


def command(tmp_path, *words, image=IMAGE):
    np.save(tmp_path / "in.npy", image)
    words = ["deblur", str(tmp_path / "in.npy"), "-o", str(tmp_path / "out.npy"), "--boundary", "reflect", *words]
    status = cli.main([*map(str, words), "--mu", "0.05", "--data", "squares"])
    return np.load(tmp_path / "out.npy") if status == 0 else None


KINDS = {
    "even grid": ({"psfs": 3 * PSFS, "shape": SHAPE}, field()),
    "lines": ({"psfs": PSFS, "rows": [0, 50], "cols": [-4.5, 43]}, field(positions=([0, 50], [-4.5, 43]))),
    "scattered": (
        {"psfs": PSFS.reshape(4, 5, 5), "positions": PLACES.reshape(4, 2)},
        field(PSFS.reshape(4, 5, 5), PLACES.reshape(4, 2)),
    ),
    "a place each": ({"psfs": PSFS, "positions": PLACES}, field(PSFS.reshape(4, 5, 5), PLACES.reshape(4, 2))),
    "weights": ({"psfs": PSFS[0], "weights": [EVEN, 0 * EVEN]}, field(PSFS[:1, :1])),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_in_a_file(tmp_path, kind):
    arrays, blur = KINDS[kind]
    np.savez(tmp_path / "field.npz", **arrays)
    restored = command(tmp_path, "--psf", tmp_path / "field.npz")
    assert abs(restored - fd.deblur(IMAGE, blur, data="squares", mu=0.05)).max() < 1e-5


def test_a_stack_of_psfs_with_their_positions(tmp_path):
    tifffile.imwrite(tmp_path / "psfs.tif", PSFS.reshape(4, 5, 5).astype(np.float32), photometric="minisblack")
    (tmp_path / "places.csv").write_text("# row, column\n0,0\n0, 43\n39 0\n39,43\n")
    np.save(tmp_path / "places.npy", PLACES.reshape(4, 2))
    expected = fd.deblur(IMAGE, KINDS["scattered"][1], data="squares", mu=0.05)
    for name in ("places.csv", "places.npy"):
        restored = command(tmp_path, "--psf", tmp_path / "psfs.tif", "--psf-positions", tmp_path / name)
        assert abs(restored - expected).max() < 1e-5


def test_colours_pages_and_tiles(tmp_path, monkeypatch):
    np.savez(tmp_path / "field.npz", psfs=PSFS)
    colours = np.stack([IMAGE, 1 - IMAGE, IMAGE[::-1]], axis=-1)
    together = command(tmp_path, "--psf", tmp_path / "field.npz", image=colours)
    expected = fd.deblur(colours, field(), data="squares", mu=0.05, channel_axis=-1)
    np.testing.assert_array_equal(together, expected)
    # Of each channel alone, in tiles.
    monkeypatch.setattr("fastdeblur.cli.deblur._fits", lambda request: False)
    tiles = command(tmp_path, "--psf", tmp_path / "field.npz", "--channels", "separate", image=colours)
    assert abs(tiles - together).max() < 1e-3


@pytest.mark.parametrize(
    ("arrays", "words", "message"),
    [
        ({"psfs": PSFS, "shape": [40, 45]}, [], "is for an image of 40x45 pixels; this one has 40x44"),
        ({"psfs": PSFS, "shape": [40.0, 44.0]}, [], "shape must be two whole numbers, rows and columns"),
        ({"psf": PSFS}, [], "must have an array psfs; it has psf"),
        ({"psfs": PSFS, "angle": 3}, [], "it also has angle"),
        ({"psfs": PSFS, "rows": [0, 39]}, [], "in one way: positions, or rows and cols, or weights; it has rows"),
        ({"psfs": PSFS[0, 0]}, [], r"psfs must be numbers of shape \(rows, cols, taps, taps\)"),
        ({"psfs": PSFS - PSFS.mean((2, 3), keepdims=True)}, [], "psf must not sum to zero"),
        ({"psfs": PSFS[0]}, [], "positions must be given for psfs"),
        ({"psfs": PSFS, "rows": [0, 20], "cols": [0, 43]}, [], "positions must cover the image"),
        ({"psfs": PSFS[0], "weights": [EVEN, EVEN]}, [], "weights must sum to 1 at each node"),
        ({"psfs": np.array([PSFS], object)}, [], "cannot read"),
        ({"psfs": PSFS}, ["--max-memory", "500"], "its arrays take"),
        ({"psfs": PSFS}, ["--psf-positions", "places.csv"], "goes with --psf and a file whose pages are psfs"),
        ({"psfs": PSFS}, ["--device", "cuda"], "device must be 'cpu' for psfs that vary"),
        (None, [], "it is no .npz file"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, arrays, words, message):
    import re

    if arrays is None:
        (tmp_path / "field.npz").write_bytes(b"PK not really")
    else:
        np.savez(tmp_path / "field.npz", **arrays)
    assert command(tmp_path, "--psf", tmp_path / "field.npz", *words) is None
    said = capsys.readouterr().err
    assert re.search(message, said), said
    assert said.count("\n") == 1


def test_positions_that_are_none(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "psfs.tif", PSFS.reshape(4, 5, 5).astype(np.float32), photometric="minisblack")
    for content, message in (("0 0\n0 43\n", "for each of the 4 psfs"), ("a b\n", "a row and a column in each line")):
        (tmp_path / "places.txt").write_text(content)
        assert command(tmp_path, "--psf", tmp_path / "psfs.tif", "--psf-positions", tmp_path / "places.txt") is None
        assert message in capsys.readouterr().err


def test_regions_of_points_are_a_field(tmp_path, capsys):
    shape, rng = (60, 80), np.random.default_rng(3)
    sky = np.zeros(shape)
    sky[10:55:20, 10:80:20] = rng.uniform(500, 900, (3, 4))
    blurred = fd.convolve(sky, fd.VaryingBlur([[fd.psf.gaussian(9, 1.0), fd.psf.gaussian(9, 1.8)]], None, shape))
    image = (blurred + 0.1 * rng.standard_normal(shape)).astype(np.float32)
    np.save(tmp_path / "in.npy", image)
    words = ["psf", str(tmp_path / "in.npy"), "--points", "--regions", "1,2", "-o"]
    assert cli.main([*words, str(tmp_path / "field.npz")]) == 0
    assert "1 x 2 psfs" in capsys.readouterr().out
    with np.load(tmp_path / "field.npz") as found:
        psfs, positions = found["psfs"], found["positions"]
    np.testing.assert_array_equal(positions.reshape(-1, 2), [[29.5, 19.5], [29.5, 59.5]])
    psfs = psfs.reshape(-1, *psfs.shape[-2:])
    widths = [(psf * (np.arange(len(psf)) - len(psf) // 2) ** 2).sum() / psf.sum() for psf in psfs]
    assert 0.8 < widths[0] < 1.8 < 2.2 < widths[1] < 3.6  # 1 and 3.24 at the image's sides
    blur = fd.VaryingBlur(
        psfs / psfs.sum(axis=(1, 2), keepdims=True), positions.reshape(-1, 2), shape, boundary="reflect",
        dtype=np.float32,
    )  # fmt: skip
    restored = command(tmp_path, "--psf", tmp_path / "field.npz", image=image)
    np.testing.assert_allclose(restored, fd.deblur(image, blur, mu=0.05, data="squares"), atol=1e-3)
    assert cli.main([*words, str(tmp_path / "psf.tif")]) != 0
    assert "ends in .npz" in capsys.readouterr().err
