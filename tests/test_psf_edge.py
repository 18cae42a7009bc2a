"""The psf and MTF of a slanted edge."""

import numpy as np
import pytest
import scipy.special

import fastdeblur as fd
from fastdeblur.cli import main as cli


def gaussian_edge(distances, sigma):
    return 0.5 + 0.5 * scipy.special.erf(distances / (np.sqrt(2) * sigma))


def disk_edge(distances, radius):
    at = np.clip(distances / radius, -1, 1)
    return 0.5 + (at * np.sqrt(1 - at * at) + np.arcsin(at)) / np.pi


def edge(spread, parameter, angle, noise=0.0, shape=(60, 70), samples=6):
    """An edge through about the middle at an angle, integrated over pixels by the midpoint rule."""
    inner = (np.arange(samples) + 0.5) / samples - 0.5
    down, across = ((np.arange(size)[:, None] - size / 2 + inner).ravel() for size in shape)
    turn = np.radians(angle)
    fine = spread(across * np.sin(turn) + down[:, None] * np.cos(turn), parameter)
    image = 20 + 100 * fine.reshape(shape[0], samples, shape[1], samples).mean(axis=(1, 3))
    return image + noise * np.random.default_rng(0).standard_normal(shape)


def half_frequency(transfer, angle):
    """Where the transfer function of lens and pixel falls to one half."""
    turn, frequencies = np.radians(angle), np.linspace(1e-4, 1, 20001)
    whole = transfer(frequencies) * np.sinc(frequencies * np.sin(turn)) * np.sinc(frequencies * np.cos(turn))
    return frequencies[np.argmax(whole < 0.5)]


CASES = [
    (gaussian_edge, "gaussian", 1.3, 84, lambda v: np.exp(-2 * (np.pi * 1.3 * v) ** 2)),
    (disk_edge, "disk", 4.0, 9, lambda v: scipy.special.j1(2 * np.pi * 4 * v) / (np.pi * 4 * v)),
]


@pytest.mark.parametrize(("spread", "family", "parameter", "angle", "transfer"), CASES, ids=["gaussian", "disk"])
def test_edge_gives_mtf_family_and_parameter(spread, family, parameter, angle, transfer):
    image = edge(spread, parameter, angle, noise=0.5)
    image[10, 10] = np.nan
    found = fd.psf.from_edge(image.astype(np.float32))
    assert found.mtf50 == pytest.approx(half_frequency(transfer, angle), rel=0.02)
    assert found.angle == pytest.approx(angle, abs=0.1)
    assert found.family == family
    assert abs(found.parameters[family] - parameter) < max(3 * found.errors[family], 0.005 * parameter)
    assert 0 < found.errors[family] < 0.02 * parameter
    assert found.psf.sum() == pytest.approx(1)
    if family == "disk":
        np.testing.assert_array_equal(found.psf, fd.psf.disk(found.parameters["disk"]))
    np.testing.assert_allclose(found.esf, spread(found.distances, parameter), atol=0.06)  # (the pixels' own blur)
    assert found.lsf.sum() * (found.distances[1] - found.distances[0]) == pytest.approx(1, abs=0.02)
    assert found.mtf[0] == 1


@pytest.mark.parametrize(("spread", "family", "parameter", "angle", "transfer"), CASES, ids=["gaussian", "disk"])
def test_mtf50_is_right_in_noise_of_three_percent(spread, family, parameter, angle, transfer):
    image = edge(spread, parameter, angle, noise=3, shape=(80, 80))
    found = fd.psf.from_edge(image)
    assert found.mtf50 == pytest.approx(half_frequency(transfer, angle), rel=0.02)
    assert abs(found.parameters[family] - parameter) < 2 * found.errors[family]


def test_mtf_of_no_family_is_measured_too():
    """Seven parts of a narrow Gaussian and three of a wide one: a Gaussian's MTF is up to 0.2 off."""

    def spread(distances, sigmas):
        return 0.7 * gaussian_edge(distances, sigmas[0]) + 0.3 * gaussian_edge(distances, sigmas[1])

    found = fd.psf.from_edge(edge(spread, (1.0, 5.0), 84, noise=0.3, shape=(80, 80)))
    narrow, wide = (np.exp(-2 * (np.pi * sigma * found.frequencies) ** 2) for sigma in (1.0, 5.0))
    turn = np.radians(84)
    pixel = np.sinc(found.frequencies * np.sin(turn)) * np.sinc(found.frequencies * np.cos(turn))
    low = found.frequencies < 0.3
    np.testing.assert_allclose(
        found.mtf[low], ((0.7 * narrow + 0.3 * wide) * pixel)[low], atol=0.04
    )  # (0.035 without noise: the line spread's window cuts the wide one)


def test_region_is_the_part_that_is_used():
    image = np.full((90, 100), 300.0)
    image[15:75, 20:90] = edge(gaussian_edge, 1.3, 84)
    found = fd.psf.from_edge(image, (15, 20, 60, 70))
    assert found.parameters["gaussian"] == pytest.approx(1.3, rel=0.01)


@pytest.mark.parametrize(
    ("image", "region", "message"),
    [
        (np.zeros((30, 30, 3)), None, "image must have 2 dimensions"),
        (np.full((30, 30), np.inf), None, "image must be finite"),
        (np.full((30, 30), np.nan), None, "most pixels of the region; 100 % of them are nan"),
        (np.ones((30, 30)), None, "image must have an edge"),
        (np.ones((30, 30)), (0, 0, 9, 30), "at least 10 rows and columns"),
        (np.ones((30, 30)), (5, 0, 26, 30), r"region must be in the image, whose shape is \(30, 30\)"),
        (np.ones((30, 30)), (5, 0, 26), "region must be four numbers"),
        (np.ones((30, 30)), (-1, 0, 20, 20), "region must be a whole number of at least 0"),
        (np.ones((30, 1)) * (np.arange(30) > 15), None, "slanted against rows and columns"),
        (edge(gaussian_edge, 1.0, 45), None, "4 pixels beyond the edge"),
        (np.random.default_rng(0).random((30, 30)), None, "image must have an edge"),
    ],
)
def test_errors_name_the_argument(image, region, message):
    with pytest.raises(ValueError, match=message):
        fd.psf.from_edge(image, region)


def test_command_writes_the_psf_of_an_edge(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = np.full((90, 100), 300.0)
    image[15:75, 20:90] = edge(gaussian_edge, 1.3, 84)
    np.save("target.npy", image)
    assert cli.main(["psf", "target.npy", "--edge", "15,20,60,70", "-o", "psf.npy"]) == 0
    assert "gaussian: sigma 1.3" in capsys.readouterr().out
    np.testing.assert_array_equal(np.load("psf.npy"), fd.psf.from_edge(image, (15, 20, 60, 70)).psf)
    assert cli.main(["psf", "target.npy", "--edge", "80,20,60,70", "-o", "psf.npy"]) == 2
    assert "region must be in the image" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["psf", "target.npy", "--edge", "1,2,3", "-o", "psf.npy"])
    assert "must be ROW,COL,ROWS,COLS" in capsys.readouterr().err
