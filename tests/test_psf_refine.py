"""A rough psf, made better by what the blurred image says."""

import functools
import json

import numpy as np
import pytest
from samples import one_error

import fastdeblur as fd
from fastdeblur.cli import main as cli
from fastdeblur.cli import psf as cli_psf


def blurred(psf, noise=0.003):
    """A scene of blocks of two sizes, blurred, with noise; and the scene."""
    rng = np.random.default_rng(0)
    sharp = rng.random((20, 20)).repeat(7, 0).repeat(7, 1)[:128, :128] + 0.3 * rng.random((64, 64)).repeat(2, 0).repeat(
        2, 1
    )
    image = fd.convolve(sharp, psf, boundary="reflect")
    return image + noise * rng.standard_normal(image.shape), sharp


def error(restored, sharp):
    return np.square(restored - sharp)[12:-12, 12:-12].mean()


def test_a_motion_that_is_ten_degrees_off_is_turned_back():
    true, rough = fd.psf.motion(11, 30), fd.psf.motion(11, 40)
    image, sharp = blurred(true)
    kept = rough.copy()
    refined = fd.psf.refine(image, rough, rounds=1)
    np.testing.assert_array_equal(rough, kept)
    assert refined.improved
    assert refined.angle == pytest.approx(-10, abs=2)
    assert refined.scale == pytest.approx(1, abs=0.06)
    assert (np.diff(refined.evidence) > 0).all()
    assert refined.psf.sum() == pytest.approx(1)
    assert (refined.psf >= 0).all()
    best, before, after = (error(fd.deblur(image, psf, mu=0.02), sharp) for psf in (true, rough, refined.psf))
    # In decibels at least half of what was lost comes back.
    assert np.log(before / after) > 0.5 * np.log(before / best)


def test_a_right_psf_stays_and_it_says_so():
    true = fd.psf.motion(11, 30)
    image, _ = blurred(true)
    refined = fd.psf.refine(image.astype(np.float32), true.astype(np.float32), rounds=0)
    assert not refined.improved
    assert refined.message.startswith("not changed")
    assert refined.psf.dtype == np.float32
    np.testing.assert_allclose(refined.psf, true, rtol=1e-6)


def test_command_refines_a_rough_psf_by_the_mean_of_channels(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli_psf, "refine", functools.partial(fd.psf.refine, rounds=0))
    image = blurred(fd.psf.motion(11, 30))[0][:96, :96]
    colours = np.stack([0.5 * image, image, 1.5 * image], axis=-1).astype(np.float32)
    np.save("image.npy", colours)
    assert cli.main(["psf", "image.npy", "--refine", "motion:11:40", "-o", "psf.npy", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["improved"] is True
    assert figures["angle"] == pytest.approx(-10, abs=2)
    assert np.diff(figures["evidence"]).min() > 0
    mean = fd.psf.refine(colours.mean(axis=-1, dtype=float), fd.psf.motion(11, 40), rounds=0)
    np.testing.assert_array_equal(np.load("psf.npy"), mean.psf)
    assert "twice as large" in one_error(capsys, "psf", "image.npy", "--refine", "box:49", "-o", "psf.npy")
    assert "must be one of gaussian" in one_error(capsys, "psf", "image.npy", "--refine", "lens", "-o", "psf.npy")


@pytest.mark.parametrize(
    ("image", "psf", "message"),
    [
        (np.ones((80, 80, 3)), np.ones((3, 3)), "image must have 2 dimensions"),
        (np.full((80, 80), np.nan), np.ones((3, 3)), "image must be finite"),
        (np.ones((80, 80)), np.ones((3, 3)), "image must not be flat"),
        (np.eye(40), np.ones((3, 3)), "image must have at least"),
        (np.eye(80), np.ones((41, 3)), "at least twice as large as the psf"),
        (np.eye(80), [[1.0, -0.5]], r"psf must not be negative; at index \(0, 1\)"),
    ],
)
def test_errors_name_the_argument(image, psf, message):
    with pytest.raises(ValueError, match=message):
        fd.psf.refine(image, psf)


def test_rounds_are_counted_from_none():
    with pytest.raises(ValueError, match="rounds must be a whole number of at least 0; got -1"):
        fd.psf.refine(np.eye(80), np.ones((3, 3)), rounds=-1)
