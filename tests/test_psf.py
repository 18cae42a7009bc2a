"""The psf builders, and the split into separable parts."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.special

import fastdeblur as fd
from fastdeblur.psf import factors


@pytest.mark.parametrize(
    "psf",
    [
        fd.psf.gaussian(13, 2), fd.psf.gaussian((4, 7), (0.3, 5)), fd.psf.gaussian(3, 1e-200), fd.psf.disk(5),
        fd.psf.disk(0.2), fd.psf.motion(15, 40), fd.psf.motion(0.3, 90), fd.psf.motion(2, 0), fd.psf.airy(3, 21),
        fd.psf.box(4), fd.psf.box((2, 5)),
    ],
)  # fmt: skip
def test_sums_to_one_and_is_not_negative(psf):
    assert psf.dtype == np.float64
    assert psf.sum() == pytest.approx(1, abs=1e-14)
    assert (psf >= 0).all()


@pytest.mark.parametrize("shape", [(5, 5), (4, 6), (1, 8)])
def test_gaussian_is_the_formula_and_peaks_at_the_centre(shape):
    psf = fd.psf.gaussian(shape, (1.5, 2.5))
    assert np.unravel_index(psf.argmax(), shape) == (shape[0] // 2, shape[1] // 2)
    expected = np.array([
        [np.exp(-((i - shape[0] // 2) ** 2) / 4.5 - (j - shape[1] // 2) ** 2 / 12.5) for j in range(shape[1])]
        for i in range(shape[0])
    ])  # fmt: skip
    np.testing.assert_allclose(psf, expected / expected.sum(), rtol=1e-13)


@pytest.mark.parametrize("radius", [0.3, 0.5, 1, 2.5, 5, 7.3])
def test_disk(radius):
    psf = fd.psf.disk(radius)
    assert psf.shape[0] % 2 == 1
    np.testing.assert_array_equal(psf, psf[::-1])
    np.testing.assert_array_equal(psf, psf.T)
    reach = psf.shape[0] // 2
    assert radius <= reach + 0.5
    if radius >= 2:
        # A pixel wholly inside has the density of the disk.
        assert psf[reach, reach] == pytest.approx(1 / (np.pi * radius**2), rel=0.01)
        assert psf[0, reach] > 0


def test_motion_along_the_axes():
    np.testing.assert_allclose(fd.psf.motion(5, 0), np.full((1, 5), 0.2), atol=1e-12)
    np.testing.assert_allclose(fd.psf.motion(5, 90), np.full((5, 1), 0.2), atol=1e-12)
    np.testing.assert_allclose(fd.psf.motion(4, 0), np.array([[0.125, 0.25, 0.25, 0.25, 0.125]]), atol=1e-12)
    np.testing.assert_allclose(fd.psf.motion(5, 180), fd.psf.motion(5, 0), atol=1e-12)
    np.testing.assert_array_equal(fd.psf.motion(0.5, 30), [[1.0]])


def test_motion_at_an_angle_rises_to_the_right():
    psf = fd.psf.motion(15, 40)
    rows, cols = np.nonzero(psf)
    down, across = rows - psf.shape[0] // 2, cols - psf.shape[1] // 2
    assert np.polyfit(across, down, 1, w=psf[rows, cols])[0] == pytest.approx(-np.tan(np.radians(40)), abs=0.05)
    moments = [(psf[rows, cols] * d**2).sum() for d in (down, across)]
    assert sum(moments) == pytest.approx(15**2 / 12, rel=0.02)


def test_airy():
    psf = fd.psf.airy(4.0, (31, 31))
    assert psf[15, 19] < 1e-6 * psf[15, 15]  # the first dark ring
    assert psf[15, 15] == psf.max()
    v = scipy.special.jn_zeros(1, 1)[0] / 4
    assert psf[15, 16] / psf[15, 15] == pytest.approx((2 * scipy.special.j1(v) / v) ** 2)


def test_normalise_keeps_float32():
    psf = fd.psf.normalise(np.ones((2, 2), np.float32))
    assert psf.dtype == np.float32
    np.testing.assert_array_equal(psf, 0.25)


def test_centre(rng):
    drawn = np.zeros((20, 30))
    drawn[3:8, 20:24] = rng.random((5, 4)) + 0.5
    centred = fd.psf.centre(drawn)
    assert centred.shape[0] % 2 == centred.shape[1] % 2 == 1
    assert np.sort(centred[centred > 0]).tolist() == np.sort(drawn[drawn > 0]).tolist()
    centroid = scipy.ndimage.center_of_mass(centred)
    assert abs(centroid[0] - centred.shape[0] // 2) <= 0.5
    assert abs(centroid[1] - centred.shape[1] // 2) <= 0.5
    np.testing.assert_array_equal(fd.psf.centre(centred), centred)
    assert fd.psf.centre(fd.psf.disk(3)).shape == fd.psf.disk(3).shape


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_factors(dtype, rng):
    tolerance = 1e-7 if dtype == "float32" else 1e-14
    gaussian = fd.psf.gaussian((9, 12), (1, 3))
    for rank in (1, 2, 4):
        psf = sum(np.outer(rng.standard_normal(9), rng.standard_normal(12)) for _ in range(rank)).astype(dtype)
        down, across = factors(psf)
        assert down.shape == (rank, 9)
        assert across.shape == (rank, 12)
        np.testing.assert_allclose(down.T @ across, psf, rtol=0, atol=3 * tolerance * np.linalg.norm(psf))
    assert len(factors(gaussian.astype(dtype))[0]) == 1
