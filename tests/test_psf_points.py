"""The psf from stars and beads: what is found, what is left out and why."""

import json

import numpy as np
import pytest
import scipy.special

import fastdeblur as fd
from fastdeblur.cli import main as cli


def star(shape, place, sigma):
    """A Gaussian point of flux 1, integrated over pixels by the error function."""
    edges = [np.arange(size + 1) - 0.5 - at for size, at in zip(shape, place, strict=True)]
    down, across = (np.diff(scipy.special.erf(each / (np.sqrt(2) * sigma))) / 2 for each in edges)
    return np.outer(down, across)


def places_on_grid(shape, spacing, rng):
    grid = np.stack(np.meshgrid(*(np.arange(spacing // 2, size - 8, spacing) for size in shape), indexing="ij"), -1)
    return grid.reshape(-1, 2) + rng.uniform(-0.5, 0.5, (grid.size // 2, 2))


def stars(shape=(112, 112), spacing=25, sigma=1.4, background=200.0, noise=6.0, seed=0):
    """An image with stars, their places and fluxes; `sigma` may be a function of the place."""
    rng = np.random.default_rng(seed)
    places = places_on_grid(shape, spacing, rng)
    fluxes = rng.uniform(1e4, 1e5, len(places))
    image = background + 0.3 * np.arange(shape[1]) + noise * rng.standard_normal(shape)
    for place, flux in zip(places, fluxes, strict=True):
        image += flux * star(shape, place, sigma(place) if callable(sigma) else sigma)
    return image, places, fluxes


def true_psf(size, sigma, step=1.0):
    """The same Gaussian about the middle pixel; with a smaller step each sample is still a whole pixel's."""
    at = (np.arange(size) - size // 2) * step
    one = scipy.special.erf((at + 0.5) / (np.sqrt(2) * sigma)) - scipy.special.erf((at - 0.5) / (np.sqrt(2) * sigma))
    return np.outer(one, one) / one.sum() ** 2


def far(found, true):
    return np.abs(found - true).sum()


def test_stars_give_the_psf_their_places_and_their_fluxes():
    image, places, fluxes = stars()
    before = image.copy()
    found = fd.psf.from_points(image, size=13)
    np.testing.assert_array_equal(image, before)
    true = true_psf(13, 1.4)
    assert far(found.psf, true) < 0.01
    assert found.psf.sum() == pytest.approx(1)
    assert (found.psf >= 0).all()
    assert np.abs(found.psf - true).max() < 6 * found.uncertainty.max() < 0.01
    used = found.points[found.points["used"]]
    assert len(used) == len(places)
    assert (used["reason"] == "").all()
    nearest = [np.hypot(*(places - [row, col]).T).argmin() for row, col in used[["row", "col"]].tolist()]
    away = np.stack([used["row"], used["col"]], axis=1) - places[nearest]
    assert np.abs(away.mean(axis=0)).max() < 0.01
    np.testing.assert_allclose(used["flux"], fluxes[nearest], rtol=0.01)
    np.testing.assert_allclose(used["background"], 200 + 0.3 * used["col"], atol=3)
    assert found.fwhm == pytest.approx(2.355 * np.hypot(1.4, 12**-0.5), rel=0.1)


def test_each_point_that_is_left_out_says_why():
    image, places, _ = stars()
    shape = image.shape
    image += 2e5 * star(shape, places[0], 1.4)
    clip = np.sort(image.ravel())[-5]
    np.minimum(image, clip, out=image)
    row, col = np.rint(places[1]).astype(int)
    image[row, col + 1] = np.nan
    image += 5e4 * star(shape, places[2] + [0, 7], 1.4)
    image += 5e4 * star(shape, (2.0, 40.0), 1.4)
    row, col = np.rint(places[7]).astype(int)
    image[row - 4 : row + 5, col - 4 : col + 5] += 1000
    found = fd.psf.from_points(image.astype(np.float32), size=13)
    assert found.psf.dtype == np.float32
    assert far(found.psf, true_psf(13, 1.4)) < 0.02
    table = found.points
    for place, reason in [
        (places[0], "saturated"), (places[1], "missing pixels"), (places[2], "neighbour"), ((2.0, 40.0), "cut off"),
        (places[7], "not like the others"),
    ]:  # fmt: skip
        nearest = np.hypot(table["row"] - place[0], table["col"] - place[1]).argmin()
        assert (table["reason"][nearest], table["used"][nearest]) == (reason, False)


def test_given_positions_and_steps_of_half_a_pixel():
    image, places, _ = stars()
    found = fd.psf.from_points(image, np.rint(places[4:10]), 13, oversampling=2)
    assert len(found.points) == 6
    assert found.psf.shape == found.uncertainty.shape == (25, 25)
    assert far(found.psf, true_psf(25, 1.4, 0.5)) < 0.03


def test_each_region_has_its_psf():
    image, _, _ = stars((112, 224), sigma=lambda place: 1.2 if place[1] < 112 else 1.9)
    found = fd.psf.from_points(image, size=13, regions=(1, 2))
    assert found.psf.shape == (1, 2, 13, 13)
    np.testing.assert_array_equal(found.centres, [[[55.5, 55.5], [55.5, 167.5]]])
    for k, sigma in enumerate((1.2, 1.9)):
        assert far(found.psf[0, k], true_psf(13, sigma)) < 0.05


def test_one_bead_is_enough_and_its_size_is_found():
    bead = fd.convolve(100 * star((48, 60), (23.3, 30.6), 1.0), fd.psf.disk(4)) + 5
    found = fd.psf.from_points(bead)
    size = len(found.psf)
    assert 9 <= size <= 21
    true = fd.convolve(true_psf(size, 1.0), fd.psf.disk(4))
    assert far(found.psf, true / true.sum()) < 0.06


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 30, 30)),), "image must have 2 dimensions"),
        ((np.full((30, 30), np.inf),), "image must be finite"),
        ((np.full((30, 30), np.nan),), "pixels that are not NaN"),
        ((np.ones((3, 30)),), "at least 5 rows"),
        ((np.ones((30, 30)),), "nothing stands out"),
        ((np.random.default_rng(0).random((30, 30)),), "nothing stands out"),
        ((np.ones((30, 30)), [[3, 40]]), "positions must be in the image"),
        ((np.ones((30, 30)), [3, 4]), r"of shape \(n, 2\)"),
        ((np.ones((30, 30)), [[15, 15]], 9), "1 too faint"),
        ((np.ones((30, 30)), None, 8), "size must be an odd number"),
        ((np.ones((30, 30)), None, 31), "size must be an odd number"),
        ((np.ones((30, 30)), None, 2), "size must be a whole number from 3"),
    ],
)
def test_errors_name_the_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        fd.psf.from_points(*arguments)


def test_errors_of_options():
    image, _, _ = stars()
    with pytest.raises(ValueError, match=r"there is none in \(2, 0\) of \(3, 3\)"):
        fd.psf.from_points(np.concatenate([image[:70], np.full((42, 112), 220.0)]), size=13, regions=(3, 3))
    with pytest.raises(ValueError, match="regions must be 2 sizes"):
        fd.psf.from_points(image, regions=3)
    with pytest.raises(ValueError, match="oversampling must be a whole number from 1 to 8"):
        fd.psf.from_points(image, oversampling=9)
    with pytest.raises(ValueError, match="16 saturated"):
        fd.psf.from_points(image, saturation=300)


def test_command_writes_the_psf_of_points(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image, _, _ = stars((80, 80))
    np.save("field.npy", image)
    assert cli.main(["psf", "field.npy", "--points", "-o", "psf.npy", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    found = fd.psf.from_points(image)
    np.testing.assert_array_equal(np.load("psf.npy"), found.psf)
    assert (figures["used"], figures["fwhm"]) == (int(found.points["used"].sum()), found.fwhm)
