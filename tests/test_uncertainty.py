"""Weights from uncertainties, and one weight of the prior for all pages, on the command line."""

import json

import numpy as np
import pytest
from samples import one_error

import fastdeblur as fd
from fastdeblur.cli import main as cli
from fastdeblur.io import uncertainty

PSF = ["--psf", "gaussian:5:1", "--workers", "1"]


def saved(path, array):
    np.save(path, array)
    return str(path)


def run(*words):
    assert cli.main(["deblur", *map(str, words)]) == 0


def scene(rng):
    sharp = np.zeros((40, 50))
    sharp[10:30, 15:35] = 1
    sigma = rng.uniform(0.02, 0.2, sharp.shape)
    return fd.convolve(sharp, fd.psf.gaussian(5, 1)) + sigma * rng.standard_normal(sharp.shape), sigma


@pytest.mark.parametrize("kind", ["sigma", "variance"])
def test_weights_are_the_inverse_of_the_variance(tmp_path, rng, capsys, kind):
    image, sigma = scene(rng)
    sigma[3, 4], sigma[5, 6], image[7, 8] = np.nan, 0, np.nan
    power = 1 if kind == "sigma" else 2
    image_file, file = saved(tmp_path / "image.npy", image), saved(tmp_path / "s.npy", 1e-30 * sigma**power)
    run(image_file, "-o", tmp_path / "out.npy", *PSF, "--weights", file, "--weights-are", kind, "--mu", "0.3", "--fill")
    said = capsys.readouterr().err
    assert f"warning: 1 pixels are ignored, where {file} of the kind {kind} are 0" in said
    weights = np.zeros(sigma.shape)
    for place in np.ndindex(*sigma.shape):
        if sigma[place] > 0:
            weights[place] = (1 / sigma[place]) ** 2
    weights /= np.median(sorted(weights[weights > 0]))
    wanted = fd.deblur(image, fd.psf.gaussian(5, 1), weights=weights, mu=0.3)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), wanted, atol=2e-3)
    plain = fd.deblur(image, fd.psf.gaussian(5, 1), mu=0.3)
    assert abs(plain - wanted).max() > 0.02


def test_the_middle_weight_is_1_and_what_is_not_known_has_none():
    sigma = np.array([[1.0, 2.0, 4.0], [0.0, np.nan, np.inf]], np.float32)
    with pytest.warns(UserWarning, match="1 pixels are ignored"):
        found = uncertainty.weights_of(sigma, "sigma")
    np.testing.assert_array_equal(found, np.array([[4, 1, 0.25], [0, 0, 0]], np.float32))
    with pytest.warns(UserWarning, match="1 pixels are ignored"):
        found = uncertainty.weights_of(sigma * np.float32(1e-38), "variance")
    np.testing.assert_allclose(found, [[2, 1, 0.5], [0, 0, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1.0, -1.0]], r"of the kind sigma must not be negative; at index \(0, 1\) they are -1"),
        ([[0.0]], "all are 0, NaN"),
    ],
)
def test_uncertainties_that_are_none(values, message):
    with pytest.raises(ValueError, match=message):
        uncertainty.weights_of(np.array(values), "sigma")


def test_what_weights_are_is_said_of_weights(tmp_path, capsys):
    file = saved(tmp_path / "image.npy", np.ones((5, 6)))
    said = one_error(capsys, "deblur", file, "-o", tmp_path / "o.npy", *PSF, "--weights-are", "sigma")
    assert "weights-are must come with --weights FILE; got sigma alone" in said


def test_uncertainties_from_an_hdu(tmp_path, rng):
    fits = pytest.importorskip("astropy.io.fits")
    image, sigma = scene(rng)
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(image, name="SCI"), fits.ImageHDU(sigma, name="ERR")]
    fits.HDUList(hdus).writeto(tmp_path / "image.fits")
    words = [*PSF, "--mu", "0.3", "--weights-are", "sigma"]
    run(tmp_path / "image.fits", "-o", tmp_path / "one.npy", *words, "--weights", f"{tmp_path}/image.fits[ERR]")
    file = saved(tmp_path / "sigma.npy", sigma)
    run(tmp_path / "image.fits", "-o", tmp_path / "other.npy", *words, "--weights", file)
    np.testing.assert_array_equal(np.load(tmp_path / "one.npy"), np.load(tmp_path / "other.npy"))


@pytest.mark.parametrize("options", [[], ["--prior", "tv"]], ids=["gradient", "tv"])
def test_one_weight_for_all_pages_is_that_of_the_first(tmp_path, rng, capsys, options):
    image, _ = scene(rng)
    pages = np.stack([image, image + 0.6 * rng.standard_normal(image.shape), image])
    file = saved(tmp_path / "pages.npy", pages)
    run(file, "--stack", "-o", tmp_path / "out.tif", *PSF, "--mu", "auto-once", "--json", *options)
    once = json.loads(capsys.readouterr().out)["pages"]
    run(file, "--stack", "-o", tmp_path / "each.tif", *PSF, "--json", *options)
    each = json.loads(capsys.readouterr().out)["pages"]
    assert [page["mu"] for page in once] == [each[0]["mu"]] * 3
    assert each[1]["mu"] > 1.5 * each[0]["mu"]
    run(file, "--stack", "-o", tmp_path / "out.tif", *PSF, "--mu", "auto-once", *options)
    assert f"3 pages, mu {each[0]['mu']:.3g} for all" in capsys.readouterr().out
