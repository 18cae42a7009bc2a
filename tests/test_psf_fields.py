"""Psfs that vary by formula: lenses, cameras that roll, shutters that read row by row."""

import pickle

import numpy as np
import pytest

import fastdeblur as fd


def centroid(psf):
    """Row and column of the light, from the psf's centre."""
    down, across = (np.arange(size) - size // 2 for size in psf.shape)
    return down @ psf.sum(axis=1) / psf.sum(), across @ psf.sum(axis=0) / psf.sum()


def coma(radius):
    """Light `radius / 10` pixels to the right of its point, around which it is a small Gaussian."""
    down, across = np.mgrid[-15:16, -15:16]
    return np.exp(-0.5 * (down**2 + (across - radius / 10) ** 2) / 1.5**2)


@pytest.mark.parametrize("centre", [None, (10.0, 70.0)])
def test_a_lens_turns_its_psf_outwards(centre):
    shape, grid = (61, 81), (3, 5)
    psfs = fd.psf.radial(coma, centre)(shape, grid)
    assert psfs.shape[:2] == grid
    at = centre or (30, 40)
    for i, row in enumerate(np.linspace(0, 60, 3)):
        for j, col in enumerate(np.linspace(0, 80, 5)):
            assert psfs[i, j].sum() == pytest.approx(1)
            np.testing.assert_allclose(centroid(psfs[i, j]), ((row - at[0]) / 10, (col - at[1]) / 10), atol=0.02)


def test_a_camera_that_rolled_moves_points_on_arcs():
    shape, centre, angle = (101, 101), (20.0, 30.0), 8.0
    field = fd.psf.rotation(angle, centre)
    psfs = pickle.loads(pickle.dumps(field))(shape, (3, 3))
    for i, row in enumerate((0, 50, 100)):
        for j, col in enumerate((0, 50, 100)):
            # Plain: where a point is at many times.
            turns = np.radians(np.linspace(-angle / 2, angle / 2, 20001))
            down, across = row - centre[0], col - centre[1]
            rows = np.rint(down * np.cos(turns) - across * np.sin(turns) - down).astype(int)
            cols = np.rint(across * np.cos(turns) + down * np.sin(turns) - across).astype(int)
            plain = np.zeros_like(psfs[i, j])
            np.add.at(plain, (rows + plain.shape[0] // 2, cols + plain.shape[1] // 2), 1 / turns.size)
            np.testing.assert_allclose(psfs[i, j], plain, atol=0.01)
    np.testing.assert_allclose(fd.psf.rotation(-angle, centre)(shape, (3, 3)), psfs, atol=1e-12)
    assert fd.psf.rotation(0)(shape).shape == (5, 5, 1, 1)


def test_a_rolling_shutter_sees_each_row_at_its_own_time():
    path = np.stack([np.zeros(101), 0.3 * np.arange(101) ** 1.2 / 10], axis=1)
    field = fd.psf.rolling_shutter(path, 0.6)
    psfs = field((40, 50), (4, 2))
    np.testing.assert_array_equal(psfs[:, 0], psfs[:, 1])
    for k, begin in enumerate((0, 20, 40, 60)):  # of 100 steps; each row sees 40
        expected = fd.psf.trajectory(path[begin : begin + 41])
        np.testing.assert_allclose(centroid(psfs[k, 0]), centroid(expected), atol=1e-9)
        assert np.abs(np.sort(psfs[k, 0][psfs[k, 0] > 0]) - np.sort(expected[expected > 0])).max() < 1e-9
    np.testing.assert_allclose(centroid(fd.psf.rolling_shutter(path, 0.6, centred=True)((40, 50))[0, 0]), 0, atol=0.3)


def test_a_field_is_what_a_varying_blur_takes(rng):
    image, field = rng.random((33, 41)), fd.psf.radial(coma)
    blur = fd.VaryingBlur(field, None, image.shape)
    same = fd.VaryingBlur(field(image.shape), None, image.shape)
    np.testing.assert_array_equal(blur.forward(image), same.forward(image))
    with pytest.raises(ValueError, match="positions and weights must be None where psfs is a function"):
        fd.VaryingBlur(field, [(0, 0)], image.shape)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fd.psf.radial(3), TypeError, "psf_of_radius must be a function"),
        (lambda: fd.psf.radial(coma, 3), ValueError, "centre must have 1 dimensions"),
        (lambda: fd.psf.radial(coma, (1, 2, 3)), ValueError, "centre must be a row and a column"),
        (lambda: fd.psf.radial(coma, (1, np.nan)), ValueError, "centre must be finite"),
        (lambda: fd.psf.radial(lambda radius: "psf")((9, 9)), TypeError, "psf must hold real numbers"),
        (lambda: fd.psf.radial(coma)((9,)), ValueError, "image_shape must be 2 sizes"),
        (lambda: fd.psf.radial(coma)((9, 9), (0, 3)), ValueError, "grid must"),
        (lambda: fd.psf.rotation(180), ValueError, "angle must be above -180 and below 180"),
        (lambda: fd.psf.rotation("a"), TypeError, "angle must be a finite number"),
        (lambda: fd.psf.rolling_shutter([(0, 0)], 0.5), ValueError, "points must be two or more"),
        (lambda: fd.psf.rolling_shutter([(0, 0), (1, 1)], 1), ValueError, "readout must be at least 0 and below 1"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_psf_of_one_row_can_be_turned():
    psfs = fd.psf.radial(lambda radius: fd.psf.motion(9, 0))((101, 101), (3, 3))
    np.testing.assert_allclose(psfs[0, 1], psfs[1, 2].T, atol=1e-9)
    np.testing.assert_allclose(psfs[0, 0], psfs[0, 2][:, ::-1], atol=1e-9)
    assert centroid(psfs[0, 2]) == pytest.approx((0, 0), abs=1e-9)
