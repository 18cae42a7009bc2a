"""Psfs in words and in files."""

import json

import numpy as np
import pytest
from samples import noise
from sweeps import sweep

import fastdeblur as fd
from fastdeblur.cli import main as cli
from fastdeblur.cli import psf_spec
from fastdeblur.io import files
from fastdeblur.large import plan


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("gaussian:13:1,3", fd.psf.gaussian(13, (1, 3))),
        ("gaussian:5x7:1.5", fd.psf.gaussian((5, 7), 1.5)),
        ("disk:5", fd.psf.disk(5)),
        ("disk:2.5", fd.psf.disk(2.5)),
        ("motion:15:40", fd.psf.motion(15, 40)),
        ("motion:7:-30.5", fd.psf.motion(7, -30.5)),
        ("box:5", fd.psf.box(5)),
        ("box:3x5", fd.psf.box((3, 5))),
        ("airy:2.5:15", fd.psf.airy(2.5, 15)),
        ("airy:2:9x11", fd.psf.airy(2, (9, 11))),
    ],
)
def test_psfs_in_words(spec, expected):
    np.testing.assert_array_equal(psf_spec.read_psf(spec), expected)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("", "must be one of gaussian:SIZE:SIGMA, disk:RADIUS, .* or a file"),
        ("disc:5", "must be one of"),
        ("psf.gif", "must be one of"),
        ("gaussian", "0 values after the name, not 2"),
        ("gaussian:13", "1 values"),
        ("gaussian:13:1:3", "3 values"),
        ("gaussian:13:1,2,3", "sigma must be one number or two"),
        ("gaussian:13:", "could not convert"),
        ("gaussian:13:0", "above 0"),
        ("gaussian:13:nan", "finite"),
        ("gaussian:0:1", "at least 1; got 0"),
        ("gaussian:-3:1", "at least 1; got -3"),
        ("gaussian:2.5:1", "invalid literal"),
        ("gaussian:1x2x3:1", "ROWS or ROWSxCOLS"),
        ("disk:-1", "above 0"),
        ("disk:big", "could not convert"),
        ("disk:1e300", "radius must make a psf of at most"),
        ("disk:1e9", "radius must make a psf of at most"),
        ("gaussian:999999999:1", "shape must"),
        ("motion:15", "1 values"),
        ("motion:inf:4", "finite"),
        ("motion:1e300:4", "length must make a psf of at most"),
        ("box:3x", "invalid literal"),
        ("box:", "invalid literal"),
        ("airy:2", "1 values"),
        ("airy:0:9", "above 0"),
        ("missing.png", "No such file"),
    ],
)
def test_bad_psfs_are_named_with_a_reason(spec, reason):
    with pytest.raises(ValueError, match=f"{spec}.*{reason}"):
        psf_spec.read_psf(spec)


def test_psfs_in_files(tmp_path):
    gray = noise((3, 5), "u2")
    colour = noise((3, 5, 4), "u1")
    files.write(tmp_path / "gray.png", gray)
    files.write(tmp_path / "gray.npy", gray.astype(np.float32))
    files.write(tmp_path / "colour.png", colour, alpha=True)
    np.testing.assert_allclose(psf_spec.read_psf(str(tmp_path / "gray.png")), gray / gray.sum(), rtol=1e-6)
    assert psf_spec.read_psf(str(tmp_path / "gray.npy")).dtype == np.float32
    for curve, light in (("linear", colour), ("auto", fd.transfer.decode(colour)), (2.2, (colour / 255) ** 2.2)):
        mean = light[..., :3].mean(axis=-1)
        found = psf_spec.read_psf(str(tmp_path / "colour.png"), curve=curve)
        np.testing.assert_allclose(found, mean / mean.sum(), rtol=1e-5)
        # What is no picture has no curve.
        assert (psf_spec.read_psf(str(tmp_path / "gray.npy"), curve=curve) == gray / gray.sum(dtype="f4")).mean() > 0.5


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_photograph_of_a_bead_is_decoded(tmp_path, suffix):
    psf = fd.psf.gaussian(21, 2.5)
    light = 0.8 * psf / psf.max() + 0.02
    encoded = np.rint(255 * fd.transfer.encode(light)).astype(np.uint8)
    files.write(tmp_path / f"bead{suffix}", np.repeat(encoded[..., None], 3, axis=-1))
    found, encoded = (
        psf_spec.psf_of_point(str(tmp_path / f"bead{suffix}"), curve=curve) for curve in ("auto", "linear")
    )

    def error(kernel):
        sides = [(large - size) // 2 for large, size in zip(psf.shape, kernel.shape, strict=True)]
        inner = psf[sides[0] : sides[0] + kernel.shape[0], sides[1] : sides[1] + kernel.shape[1]]
        return float(abs(kernel - inner / inner.sum()).max() / psf.max())

    assert error(found) < 0.05
    assert error(encoded) > 0.3


@pytest.mark.parametrize("values", [[[0.0, 0.0]], [[1.0, -1.0]], [[1.0, np.nan]]])
def test_files_that_are_no_psf(tmp_path, values):
    np.save(tmp_path / "psf.npy", np.array(values))
    with pytest.raises(ValueError, match=r"psf\.npy: psf must"):
        psf_spec.read_psf(str(tmp_path / "psf.npy"))


@sweep(level=[0.02, 0.2], how=["whole", "tiles"])
def test_a_picture_of_a_bead_is_a_psf_without_its_background(tmp_path, capsys, monkeypatch, level, how):
    bead = fd.psf.gaussian(25, (2, 2.5))
    picture = np.full((49, 49), level, np.float32)
    picture[18:43, 16:41] += bead / bead.max()  # 6 rows and 4 columns off the middle
    np.save(tmp_path / "bead.npy", picture)
    sharp = np.zeros((60, 70), np.float32)
    sharp[20:40, 25:45] = 1
    sharp = np.tile(sharp, (1, 1) if how == "whole" else (3, 3))
    blurred = fd.convolve(sharp, bead, boundary="nearest")
    np.save(tmp_path / "image.npy", blurred)
    argv = ["deblur", str(tmp_path / "image.npy"), "-o", str(tmp_path / "out.npy"), "--mu", "0.01", "--json"]
    if how == "tiles":
        monkeypatch.setattr(plan, "CODE", 0)
        argv += ["--max-memory", "6MB", "--data", "squares"]
    assert cli.main([*argv, "--psf-from", str(tmp_path / "bead.npy")]) == 0
    figures, kernel = json.loads(capsys.readouterr().out), bead.astype(np.float32)
    if how == "tiles":
        assert figures["tiles"] > 1
        expected = fd.deblur_large(blurred, kernel, mu=0.01, data="squares", tile=figures["tile"])
        by_itself = fd.deblur_large(blurred, fd.psf.from_image(picture), mu=0.01, data="squares", tile=figures["tile"])
    else:
        expected = fd.deblur(blurred, kernel, mu=0.01)
        by_itself = fd.deblur(blurred, fd.psf.from_image(picture), mu=0.01)
    for found in (np.load(tmp_path / "out.npy"), by_itself):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4)
    assert ((found - sharp) ** 2).mean() < 0.7 * ((blurred - sharp) ** 2).mean()


def test_a_bead_given_as_a_psf_is_warned_of(tmp_path, capsys):
    picture = np.full((49, 49), 0.2)
    picture[18:43, 16:41] += fd.psf.gaussian(25, 2) / fd.psf.gaussian(25, 2).max()
    np.save(tmp_path / "bead.npy", picture)
    np.save(tmp_path / "image.npy", np.random.default_rng(0).random((60, 60)))
    argv = ["deblur", str(tmp_path / "image.npy"), "-o", str(tmp_path / "out.npy"), "--mu", "1"]
    assert cli.main([*argv, "--psf", str(tmp_path / "bead.npy")]) == 0
    (warning,) = capsys.readouterr().err.splitlines()
    assert "17 % of its peak all along its border" in warning
    assert "+6.0 rows and +4.0 columns" in warning


def test_a_psf_or_a_picture_of_one_but_not_both(tmp_path, capsys):
    np.save(tmp_path / "points.npy", np.tile(np.pad(fd.psf.gaussian(21, 2), 5), (1, 2)))
    argv = ["deblur", str(tmp_path / "points.npy"), "-o", str(tmp_path / "out.npy")]
    assert cli.main([*argv, "--psf-from", str(tmp_path / "points.npy")]) == 2
    assert "points.npy: array must hold one point, and there are 2" in capsys.readouterr().err
    for given in ([], ["--psf", "box:3", "--psf-from", str(tmp_path / "points.npy")]):
        with pytest.raises(SystemExit):
            cli.main([*argv, *given])


@pytest.mark.parametrize("suffix", [".tif", ".fits"])
def test_a_stack_of_psfs_is_one_for_each_channel(tmp_path, capsys, suffix):
    if suffix == ".fits":
        pytest.importorskip("astropy")
    psfs = [fd.psf.box((1, 5)), fd.psf.box((5, 1)), fd.psf.gaussian((5, 5), 1)]
    frames = np.zeros((3, 5, 5), np.float32)
    for frame, kernel in zip(frames, psfs, strict=True):
        rows, cols = kernel.shape
        frame[(5 - rows) // 2 : (5 + rows) // 2, (5 - cols) // 2 : (5 + cols) // 2] = 7 * kernel
    with files.saving(tmp_path / f"psfs{suffix}", frames[0], 3) as put:
        for frame in frames:
            put(frame)
    image = np.random.default_rng(0).random((20, 24, 3)).astype(np.float32)
    np.save(tmp_path / "image.npy", image)
    words = ["deblur", str(tmp_path / "image.npy"), "-o", str(tmp_path / "out.npy"), "--mu", "0.1", "--workers", "1"]
    assert cli.main([*words, "--psf", str(tmp_path / f"psfs{suffix}")]) == 0
    wanted = fd.deblur(image, np.moveaxis(frames / 7, 0, -1), channel_axis=-1, mu=0.1)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), wanted, atol=1e-5)
    np.save(tmp_path / "image.npy", image[..., :2])
    assert cli.main([*words, "--psf", str(tmp_path / f"psfs{suffix}")]) == 2
    assert "a page for each of the image's 2 channels; it has 3 pages" in capsys.readouterr().err
