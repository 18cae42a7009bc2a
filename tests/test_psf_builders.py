"""Psf builders that integrate over pixels: turned Gaussians, Moffat, obscured Airy disks, defocus, trajectories."""

import math

import numpy as np
import pytest
import scipy.special

import fastdeblur as fd


def means_over_pixels(density, rows, cols, count=12):
    """Means of a density(row, column) over pixels by quadrature, scaled to sum to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    nodes, weights = nodes / 2, np.outer(weights, weights) / 4
    out = np.empty((rows, cols))
    for i in range(rows):
        for j in range(cols):
            out[i, j] = (weights * density(i - rows // 2 + nodes[:, None], j - cols // 2 + nodes)).sum()
    return out / out.sum()


def turned_gaussian(sigma, angle):
    def density(row, column):
        across = column * math.cos(math.radians(angle)) - row * math.sin(math.radians(angle))
        down = row * math.cos(math.radians(angle)) + column * math.sin(math.radians(angle))
        return np.exp(-((down / sigma[0]) ** 2) / 2 - (across / sigma[1]) ** 2 / 2)

    return density


@pytest.mark.parametrize(("sigma", "angle"), [((1, 3), 30), ((2.5, 0.7), -75), ((0.4, 1.5), 135)])
def test_gaussians_turn_anticlockwise(sigma, angle):
    density = turned_gaussian(sigma, angle)
    sampled = np.array([[density(i - 6, j - 7) for j in range(14)] for i in range(13)])
    np.testing.assert_allclose(fd.psf.gaussian((13, 14), sigma, angle), sampled / sampled.sum(), atol=1e-14)
    integrated = fd.psf.gaussian((13, 14), sigma, angle, integrated=True)
    np.testing.assert_allclose(integrated, means_over_pixels(density, 13, 14), atol=1e-9)
    # A motion at the same angle leans the same way.
    long, short = max(sigma), min(sigma)
    leaning = [covariance(psf) for psf in (fd.psf.gaussian(25, (short, long), angle), fd.psf.motion(9, angle))]
    assert np.sign(leaning[0]) == np.sign(leaning[1])


def covariance(psf):
    rows, cols = np.indices(psf.shape)
    return float((psf * (rows - psf.shape[0] // 2) * (cols - psf.shape[1] // 2)).sum())


def test_an_angle_of_a_round_gaussian_changes_nothing():
    np.testing.assert_array_equal(fd.psf.gaussian(9, 1.5, 33), fd.psf.gaussian(9, 1.5))
    np.testing.assert_array_equal(fd.psf.gaussian(9, (1, 2), 180), fd.psf.gaussian(9, (1, 2)))


def test_integrated_gaussian_is_the_error_function_along_axes():
    edges = np.arange(-5.5, 6)
    down, across = (np.diff(scipy.special.ndtr(edges / sigma)) for sigma in (0.5, 1.7))
    expected = np.outer(down, across) / np.outer(down, across).sum()
    np.testing.assert_allclose(fd.psf.gaussian(11, (0.5, 1.7), integrated=True), expected, rtol=1e-8, atol=1e-15)
    np.testing.assert_allclose(fd.psf.gaussian(3, 1e-200, integrated=True), np.eye(3)[1] * np.eye(3)[1][:, None])


@pytest.mark.parametrize(("fwhm", "beta"), [(3, 2.5), (1.2, 4.8), (0.4, 1.5)])
def test_moffat_is_the_mean_of_its_formula(fwhm, beta):
    alpha = fwhm / (2 * math.sqrt(2 ** (1 / beta) - 1))
    expected = means_over_pixels(lambda y, x: (1 + (y**2 + x**2) / alpha**2) ** -beta, 9, 12, 60)
    np.testing.assert_allclose(fd.psf.moffat((9, 12), fwhm, beta), expected, atol=1e-7)
    # At half of the width is half of the height.
    assert (1 + (fwhm / 2 / alpha) ** 2) ** -beta == pytest.approx(0.5)


def test_moffat_becomes_a_gaussian_and_a_delta():
    gaussian = fd.psf.gaussian(21, 3 / math.sqrt(8 * math.log(2)), integrated=True)
    np.testing.assert_allclose(fd.psf.moffat(21, 3, 1e5), gaussian, atol=1e-5)
    assert fd.psf.moffat(5, 1e-300, 2)[2, 2] == pytest.approx(1)


@pytest.mark.parametrize("obscuration", [0, 0.35])
def test_airy_of_a_ring(obscuration):
    def density(row, column):
        v = np.maximum(np.hypot(row, column), 1e-9) * scipy.special.jn_zeros(1, 1)[0] / 2.5
        disk, hole = (2 * scipy.special.j1(each) / each for each in (v, max(obscuration, 1e-9) * v))
        return (disk - obscuration**2 * hole) ** 2

    sampled = np.array([[density(i - 7, j - 6) for j in range(12)] for i in range(15)])
    psf = fd.psf.airy(2.5, (15, 12), obscuration)
    np.testing.assert_allclose(psf, sampled / sampled.sum(), atol=1e-12)
    psf = fd.psf.airy(2.5, (15, 12), obscuration, integrated=True)
    np.testing.assert_allclose(psf, means_over_pixels(density, 15, 12), atol=1e-9)


@pytest.mark.parametrize("obscuration", [0, 0.3])
def test_defocus_of_no_waves_is_airy(obscuration):
    psf = fd.psf.defocus((21, 20), 2.0, 0, obscuration=obscuration)
    assert np.abs(psf - fd.psf.airy(2.0, (21, 20), obscuration, integrated=True)).sum() < 6e-4


def test_defocus_is_the_integral_over_the_pupil():
    """By sums over rings of the pupil: defocus of 0.8 waves, 0.12 of astigmatism, and -0.1 of coma."""
    r = (np.arange(120) + 0.5) / 120
    t = (np.arange(180) + 0.5) / 180 * 2 * np.pi
    r, t = (each.ravel() for each in np.meshgrid(r, t))
    path = 0.8 * r**2 + 0.12 * np.sqrt(6) * r**2 * np.cos(2 * t) - 0.1 * np.sqrt(8) * (3 * r**3 - 2 * r) * np.cos(t)

    def density(row, column):
        shape = np.broadcast_shapes(np.shape(row), np.shape(column))
        right, up = (np.broadcast_to(each, shape)[..., None] for each in (column, -row))
        phase = path - (right * r * np.cos(t) + up * r * np.sin(t)) * (1.2196699 / 2.5 / 2)
        return abs((r * np.exp(2j * np.pi * phase)).sum(axis=-1)) ** 2

    psf = fd.psf.defocus(7, 2.5, 0.8, {6: 0.12, 8: -0.1})
    np.testing.assert_allclose(psf, means_over_pixels(density, 7, 7, 3), atol=1e-3 * psf.max())


def test_defocus_of_many_waves_is_a_disk_and_tilts_move_it():
    psf = fd.psf.defocus(61, 0.5, 15)
    rows, cols = np.indices(psf.shape) - 30
    radius = np.sqrt(2 * (psf * (rows**2 + cols**2)).sum())  # of a disk
    assert radius == pytest.approx(3.28 * 15 * 0.5, rel=0.02)
    for index, place in ((2, (0, 1)), (3, (-1, 0))):  # to the right, and up
        psf = fd.psf.defocus(41, 2, 0, {index: 0.1})
        moved = [(psf * each).sum() for each in np.indices(psf.shape) - 20]
        np.testing.assert_allclose(moved, np.multiply(place, 0.4 * 2 / 1.2196699), atol=0.02)


def share_of_time(start, end, row, column):
    """Of a point that moves from start to end, while it is in a pixel: the line is cut by each of its four sides."""
    begin, finish = 0.0, 1.0
    for a, b, middle in ((start[0], end[0], row), (start[1], end[1], column)):
        for side, sign in ((middle - 0.5, 1), (middle + 0.5, -1)):
            p, q = sign * (a - side), sign * (b - side)
            if p < 0 and q < 0:
                return 0.0
            if p < 0 or q < 0:
                where = p / (p - q)
                begin, finish = (max(begin, where), finish) if p < 0 else (begin, min(finish, where))
    return max(finish - begin, 0.0)


def test_trajectory_of_a_shaken_camera():
    random = np.random.default_rng(4)
    path = np.cumsum(random.normal(0, 0.4, (200, 2)), axis=0) + np.sin(np.arange(200) / 20)[:, None]
    path -= path.mean(axis=0)
    exposure = random.random(199)
    exposure[50:60] = 0
    psf = fd.psf.trajectory(path, exposure)
    middle = np.array(psf.shape) // 2
    expected = np.zeros(psf.shape)
    for start, end, light in zip(path[:-1], path[1:], exposure, strict=True):
        low, high = np.rint(np.minimum(start, end)).astype(int), np.rint(np.maximum(start, end)).astype(int)
        for i in range(low[0], high[0] + 1):
            for j in range(low[1], high[1] + 1):
                expected[middle[0] + i, middle[1] + j] += light * share_of_time(start, end, i, j) / exposure.sum()
    assert expected.sum() == pytest.approx(1)
    np.testing.assert_allclose(psf, expected, atol=1e-12)
    centred = fd.psf.trajectory(np.add(path, (100.3, 60)), exposure, centred=True)
    rows, cols = np.indices(centred.shape)
    np.testing.assert_allclose(
        [(centred * rows).sum(), (centred * cols).sum()], np.array(centred.shape) // 2, atol=0.05
    )


@pytest.mark.parametrize(("length", "angle"), [(14, 0), (9.3, 33), (5, 90), (11, 135)])
def test_trajectory_of_a_straight_line_is_motion(length, angle):
    half = length / 2 * np.array([-math.sin(math.radians(angle)), math.cos(math.radians(angle))])
    np.testing.assert_allclose(fd.psf.trajectory([-half, half]), fd.psf.motion(length, angle), atol=1e-14)
    np.testing.assert_allclose(fd.psf.trajectory([half, 0 * half, -half]), fd.psf.motion(length, angle), atol=1e-14)


def test_trajectory_of_a_point():
    np.testing.assert_array_equal(fd.psf.trajectory([(0.2, -0.3)]), [[1]])
    np.testing.assert_array_equal(fd.psf.trajectory([(0, 1), (0, 1)]), [[0, 0, 1]])


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: fd.psf.moffat(9, 3, 1), ValueError, "beta must be a finite number above 1; got 1.0"),
        (lambda: fd.psf.moffat(9, 0, 2), ValueError, "fwhm must be a finite number above 0; got 0"),
        (lambda: fd.psf.airy(2, 9, 1), ValueError, "obscuration must be at least 0 and below 1; got 1.0"),
        (lambda: fd.psf.gaussian(9, 1, "a"), TypeError, "angle must be a finite number; got 'a'"),
        (lambda: fd.psf.defocus(9, 2, 1, {1: 0.1}), ValueError, "zernikes' index must be a whole number from 2 to 66"),
        (lambda: fd.psf.defocus(9, 2, 1, [0.1]), TypeError, "zernikes must map Noll indices to wavelengths"),
        (lambda: fd.psf.defocus(9, 2, 1, {4: np.nan}), ValueError, r"zernikes\[4\] must be a finite number"),
        (lambda: fd.psf.defocus(9, 2, 1e6), ValueError, "samples across, and at most 2048 are taken"),
        (lambda: fd.psf.defocus(9, 1e-3, 0), ValueError, "samples across, and at most 2048 are taken"),
        (lambda: fd.psf.trajectory([1, 2, 3]), ValueError, "points must have 2 dimensions"),
        (lambda: fd.psf.trajectory([(1, 2, 3)]), ValueError, r"points must have two columns.*\(1, 3\)"),
        (lambda: fd.psf.trajectory([(0, np.nan)]), ValueError, "points must be finite"),
        (lambda: fd.psf.trajectory([(0, 0), (1e9, 0)]), ValueError, "points must make a psf of at most 67108864"),
        (lambda: fd.psf.trajectory([(0, 0), (1, 1)], [1, 2]), ValueError, "1 for 2 points; it has 2"),
        (lambda: fd.psf.trajectory([(0, 0), (1, 1)], [-1]), ValueError, "exposure must be at least 0; got -1"),
        (lambda: fd.psf.trajectory([(0, 0), (1, 1)], [0]), ValueError, "exposure must not be 0 everywhere"),
    ],
)
def test_impossible_psfs_are_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()
