"""Psfs estimated from a blurred image alone: `fd.psf.fit`, and the command's ``psf`` and ``--psf fit:``."""

import functools
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from samples import lines, one_error

import fastdeblur as fd
from fastdeblur.cli import main as cli
from fastdeblur.cli import psf_fit
from fastdeblur.io import files
from fastdeblur.psf import spectra


@functools.cache
def scene(side=220, seed=3):
    """Rectangles of all sizes, one over another: edges, and a spectrum as photographs have it."""
    random = np.random.default_rng(seed)
    image = np.zeros((side, side))
    for _ in range(1500):
        size = 4 / random.power(2, 2) ** 1.2
        (top, left), (down, across) = (
            random.uniform(-20, side, 2).astype(int),
            (size * random.uniform(0.5, 2, 2)).astype(int),
        )
        image[max(top, 0) : top + down + 1, max(left, 0) : left + across + 1] = random.random()
    return image


def blurred(psf, noise=0.003, side=220, seed=3):
    image = fd.convolve(scene(side + 40, seed), psf, boundary="reflect")[20:-20, 20:-20]
    return image + noise * np.random.default_rng(0).standard_normal(image.shape)


# (6 % of a Gaussian's or a Moffat profile's width: the benchmark says how often that is met.)
@pytest.mark.parametrize(
    ("family", "psf", "ranges", "truth", "within"),
    [
        ("gaussian", fd.psf.gaussian(21, 2), {"sigma": (1, 4)}, {"sigma": 2}, {"sigma": 0.12}),
        ("disk", fd.psf.disk(4.3), {"radius": (2, 9)}, {"radius": 4.3}, {"radius": 0.3}),
        ("motion", fd.psf.motion(12, 35), {"length": (6, 25)}, {"length": 12, "angle": 35}, {"length": 1, "angle": 3}),
        ("box", fd.psf.box(5), {"size": (2, 9)}, {"size": 5}, {"size": 0}),
        ("airy", fd.psf.airy(4, 41), {"radius": (2, 8)}, {"radius": 4}, {"radius": 0.25}),
        ("moffat", fd.psf.moffat(61, 5, 3), {"beta": 3}, {"fwhm": 5, "beta": 3}, {"fwhm": 0.3, "beta": 0}),
        (
            "elliptical", fd.psf.gaussian(25, (1.5, 3), 60), {"sigma": (2, 4), "ratio": 2},
            {"sigma": 3, "ratio": 2, "angle": 60}, {"sigma": 0.3, "ratio": 0, "angle": 6},
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)  # fmt: skip
def test_parameters_are_those_of_the_blur(family, psf, ranges, truth, within):
    found = fd.psf.fit(blurred(psf), family, parameters=ranges)
    assert found.family == family
    assert list(found.parameters) == list(truth)
    for name, value in truth.items():
        assert found.parameters[name] == pytest.approx(value, abs=within[name]), found
        assert abs(found.parameters[name] - value) <= 2 * found.errors[name]
    assert found.psf.sum() == pytest.approx(1)
    assert found.psf.shape[0] % 2 == found.psf.shape[1] % 2 == 1
    assert found.evidence[family] > 20
    assert not found.warnings


def test_the_likeliest_family_is_taken():
    ranges = {"radius": (2, 8), "sigma": (1, 4)}
    found = fd.psf.fit(blurred(fd.psf.disk(5)), ["gaussian", "disk"], parameters=ranges)
    assert found.family == "disk"
    assert found.evidence["disk"] > found.evidence["gaussian"] + 10
    assert "disk: radius" in str(found)
    assert repr(found).startswith("<PsfFit disk")


def test_known_parameters_stay_and_others_have_errors():
    image = blurred(fd.psf.motion(12, 35))
    before = image.copy()
    found = fd.psf.fit(image, "motion", parameters={"angle": 35, "length": (8, 16)})
    assert found.parameters["angle"] == 35
    assert found.errors["angle"] == 0
    assert 0 < found.errors["length"] < 1
    np.testing.assert_array_equal(image, before)
    alone = fd.psf.fit(image, "motion", parameters={"angle": 35, "length": found.parameters["length"]})
    np.testing.assert_array_equal(alone.psf, found.psf)
    # Half a turn is none, and a range may go below 0.
    turned = fd.psf.fit(image[:, ::-1], "motion", parameters={"angle": (-60, -10), "length": (9, 15)})
    assert turned.parameters["angle"] == pytest.approx(-35, abs=3)


def test_an_angle_that_hardly_matters_is_the_middle_of_those_that_fit():
    """A line of 9 pixels along a row is in the same pixels at all angles up to 6 degrees."""
    found = fd.psf.fit(blurred(fd.psf.motion(9, 0)), "motion", parameters={"length": (8, 10), "angle": (-30, 30)})
    assert found.parameters["angle"] == pytest.approx(0, abs=1)


def test_an_exponent_that_is_not_bounded_is_averaged_over_its_range():
    """The evidence is highest at an end of the exponent's range, 8, but hardly less elsewhere."""
    found = fd.psf.fit(blurred(fd.psf.moffat(61, 5, 3)), "moffat", parameters={"fwhm": (3, 8)})
    assert 1.6 < found.parameters["beta"] < 7.9
    assert abs(found.parameters["beta"] - 3) <= 2 * found.errors["beta"] < 10
    assert abs(found.parameters["fwhm"] - 5) <= 2 * found.errors["fwhm"] < 4
    assert not any("beta" in each for each in found.warnings)


def test_a_function_is_a_family():
    def ring(radius, width):
        rows, cols = np.indices((31, 31)) - 15
        return np.exp(-((np.hypot(rows, cols) - radius) ** 2) / (2 * width**2))

    found = fd.psf.fit(blurred(ring(6, 1) / ring(6, 1).sum()), ring, parameters={"radius": (3, 9), "width": (0.5, 2)})
    assert found.family == "ring"
    assert found.parameters["radius"] == pytest.approx(6, abs=0.3)


def test_missing_pixels_and_channels():
    image = np.stack([blurred(fd.psf.disk(4)), blurred(fd.psf.disk(4), seed=4)], axis=-1)
    image[:70, :90] = np.nan
    found = fd.psf.fit(image.astype(np.float32), "disk", parameters={"radius": (2, 8)}, channel_axis=-1)
    assert found.parameters["radius"] == pytest.approx(4, abs=0.3)


def test_what_is_not_blurred_is_told():
    found = fd.psf.fit(blurred(np.ones((1, 1)), 0.01), "gaussian")
    assert any(each.startswith("not blurred") for each in found.warnings)
    found = fd.psf.fit(blurred(fd.psf.gaussian(21, 2)), "gaussian", parameters={"sigma": (0.5, 1.5)})
    assert any(each.startswith("outside the range: sigma") for each in found.warnings)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.zeros((40, 80)), "disk"), ValueError, r"image must have at least 48x48 pixels.*\(40, 80\)"),
        ((np.full((64, 64), 3), "disk"), ValueError, "image must not be flat.* about 3"),
        ((np.full((64, 64), np.nan), "disk"), ValueError, "image must have pixels that are not nan"),
        ((np.where(np.eye(64), np.nan, np.arange(64)), "disk"), ValueError, "part of 48x48 pixels without nan"),
        ((np.pad([[5.0]], 40), "disk"), ValueError, "image must show more than a few points.* 0.1 % of its range"),
        ((np.eye(64), "lens"), ValueError, "family must be one or several of 'gaussian', .*got 'lens'"),
        ((np.eye(64), 3), ValueError, "family must be .*got 3"),
        ((np.eye(64), []), ValueError, "family must not be empty"),
        ((np.eye(64), fd.psf.disk), ValueError, "parameters must give each parameter of a function"),
        ((np.eye(64), "disk", {"radius": (5, 2)}), ValueError, r"parameters\['radius'\] .*\(5, 2\), reversed"),
        (
            (np.eye(64), "disk", {"radius": (1, 2, 3)}),
            ValueError,
            r"a value, or a range \(low, high\); got \(1, 2, 3\)",
        ),
        ((np.eye(64), "disk", {"sigma": 2}), ValueError, "parameters must be of disk: radius; got 'sigma'"),
        ((np.eye(64), "disk", {"radius": -1}), ValueError, r"parameters\['radius'\] must be above 0; got -1"),
        ((np.eye(64), "disk", {"radius": "2"}), TypeError, r"parameters\['radius'\] must be a finite number"),
        ((np.eye(64), "disk", 5), TypeError, "parameters must be a dict"),
        ((np.eye(64), "motion", {"angle": (0, 200)}), ValueError, "must span at most 180 degrees"),
        ((np.zeros((64, 64, 3)), "disk"), ValueError, "image must have 2 dimensions"),
    ],
)
def test_what_cannot_be_fitted_is_refused(arguments, error, message):
    image, family, *parameters = arguments
    with pytest.raises(error, match=message):
        fd.psf.fit(image, family, parameters=parameters[0] if parameters else None)


def test_response_is_what_the_window_shows():
    """The mean power of windowed, blurred white noise, by the noise's covariance and plain sums."""
    psf, rows, cols = fd.psf.gaussian((3, 5), (0.6, 1)), 12, 10
    window = np.outer(*(np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2 for size in (rows, cols)))
    spectrum = spectra.Spectrum(np.ones((rows, cols // 2 + 1)), (rows, cols), rows * cols)
    response = np.zeros((rows, cols // 2 + 1))
    response[spectrum.used] = spectrum.response(psf)
    for u, v in ((3, 2), (5, 1), (9, 4)):
        wave = np.exp(-2j * np.pi * (u * np.arange(rows)[:, None] / rows + v * np.arange(cols) / cols)) * window
        # The transform of blurred noise is a sum over the noise's pixels, each with the weight of its psf's transform.
        weights = np.zeros((rows + 2, cols + 4), complex)
        for i in range(3):
            for j in range(5):
                weights[i : i + rows, j : j + cols] += psf[i, j] * wave
        assert response[u, v] == pytest.approx((abs(weights) ** 2).sum() / (window**2).sum(), rel=0.03)


def test_a_fit_is_drawn():
    pytest.importorskip("matplotlib")
    figure = fd.psf.fit(blurred(fd.psf.disk(4)), "disk", parameters={"radius": 4}).plot()
    assert len(figure.axes) == 3


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("image.npy", blurred(fd.psf.disk(4)))
    files.write("bytes.png", np.rint(255 * blurred(fd.psf.disk(4)).clip(0, 1)).astype(np.uint8))
    return tmp_path


def test_command_writes_a_psf(folder, capsys):
    assert cli.main(["psf", "image.npy", "--family", "disk:3-5", "-o", "psf.npy"]) == 0
    out, err = lines(capsys)
    assert out[0].startswith("psf.npy: disk: radius ")
    assert not err
    expected = fd.psf.fit(np.load("image.npy"), "disk", parameters={"radius": (3, 5)})
    np.testing.assert_array_equal(np.load("psf.npy"), expected.psf)


def test_command_prints_json_and_draws(folder, capsys):
    pytest.importorskip("matplotlib")
    words = ["psf", "bytes.png", "--family", "disk:4", "-o", "psf.tif", "--json", "--plot", "psf.png"]
    assert cli.main(words) == 0
    figures = json.loads(lines(capsys)[0][0])
    assert figures["out"] == "psf.tif"
    assert (figures["family"], figures["parameters"], figures["errors"]) == ("disk", {"radius": 4}, {"radius": 0})
    assert figures["evidence"]["disk"] > 0
    assert figures["warnings"] == []
    assert files.read("psf.tif").shape == tuple(figures["shape"]) == (9, 9)
    assert files.read("psf.png").ndim == 3


def test_deblurring_with_a_psf_of_the_image_itself(folder, capsys):
    words = ["deblur", "image.npy", "-o", "out.npy", "--mu", "0.05", "--max-iter", "5"]
    assert cli.main([*words, "--psf", "fit:disk:3-5"]) == 0
    found = fd.psf.fit(np.load("image.npy"), "disk", parameters={"radius": (3, 5)})
    out, _ = lines(capsys)
    assert out[0] == f"psf: {found}"
    np.testing.assert_allclose(np.load("out.npy"), fd.deblur(np.load("image.npy"), found.psf, mu=0.05, max_iter=5))
    assert cli.main([*words, "--psf", "fit:disk:4", "--json"]) == 0
    assert json.loads(lines(capsys)[0][0])["psf"]["parameters"] == {"radius": 4}


def test_large_images_are_estimated_from_their_middle(folder, monkeypatch):
    monkeypatch.setattr(psf_fit, "PART", 150)
    with files.opened("image.npy") as source:
        middle = psf_fit.light(replace(source, takes=10**9), 10**7)
        np.testing.assert_array_equal(middle, np.load("image.npy")[35:185, 35:185])
        with pytest.raises(ValueError, match=r"estimating the psf takes .* at most 1 kB"):
            psf_fit.light(replace(source, takes=10**9), 1000)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lens", "family must be one or several of gaussian, .*, or all; got 'lens'"),
        ("disk:1:2", "disk has 1 parameters, radius; got 'disk:1:2'"),
        ("disk:a", "radius must be a number, LOW-HIGH, or nothing; got 'a'"),
        ("disk:5-2", "reversed"),
        ("disk,box:3", "ranges can be given for one family only"),
    ],
)
def test_commands_refuse_other_specs(folder, capsys, spec, message):
    for words in (["psf", "image.npy", "--family", spec], ["deblur", "image.npy", "--psf", f"fit:{spec}"]):
        error = one_error(capsys, *words, "-o", "out.npy")
        assert re.search(message, error), error
