"""The psf builders, hygiene, and the split into separable parts."""

import time
import warnings

import numpy as np
import pytest
import scipy.ndimage
import scipy.special

import fastdeblur as fd
from fastdeblur.hygiene import warn_if_off_centre, without_border
from fastdeblur.operators.separable import factors


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


def share_in_circle(radius, i, j, count=2000):
    """The area that a circle about pixel (0, 0) shares with pixel (i, j), by the midpoint rule in columns.

    Columns are narrower near the circle's leftmost and rightmost points, where it is steep.
    """
    angles = np.linspace(
        np.arcsin(np.clip((j - 0.5) / radius, -1, 1)), np.arcsin(np.clip((j + 0.5) / radius, -1, 1)), count
    )
    edges = radius * np.sin(angles)
    height = radius * np.cos((angles[1:] + angles[:-1]) / 2)
    covered = np.maximum(np.minimum(height, i + 0.5) - np.maximum(-height, i - 0.5), 0)
    return float(np.diff(edges) @ covered)


@pytest.mark.parametrize("radius", [0.500001, 0.6, 0.70711, 0.72, 1, 1.5, np.sqrt(2.5), 3.3, 7.3, 40.02, 300.4])
def test_pixels_of_a_disk_count_by_the_area_that_it_covers(radius):
    psf = fd.psf.disk(radius)
    reach = psf.shape[0] // 2
    rim = np.argwhere(psf != psf[reach, reach])[:: max(1, psf.size // 1000)]
    for i, j in [*rim, (reach, reach)]:
        assert psf[i, j] * np.pi * radius**2 == pytest.approx(share_in_circle(radius, i - reach, j - reach), abs=1e-6)
    assert reach - 0.5 < radius <= reach + 0.5


@pytest.mark.parametrize("length", [0.7, 1, 2.9, 15, 41.3])
@pytest.mark.parametrize("angle", [0, 1e-9, 17.2, 30, 45, 60, 89.999, 90, 135, 301.5, -63.4])
def test_pixels_of_a_motion_count_by_the_length_in_them(length, angle):
    psf = fd.psf.motion(length, angle)
    count = 200_000
    along = ((np.arange(count) + 0.5) / count - 0.5) * length
    i, j = (np.rint(along * step).astype(int) for step in (-np.sin(np.radians(angle)), np.cos(np.radians(angle))))
    expected = np.zeros((101, 101))
    np.add.at(expected, (50 + i, 50 + j), 1 / count)
    np.testing.assert_allclose(padded(psf, 101), expected, rtol=0, atol=2e-5)
    np.testing.assert_array_equal(psf, psf[::-1, ::-1])
    assert psf[0].any()
    assert psf[:, 0].any()


@pytest.mark.parametrize(
    ("build", "argument"),
    [
        (lambda: fd.psf.disk(1e9), "radius"), (lambda: fd.psf.disk(1e300), "radius"),
        (lambda: fd.psf.motion(1e9, 0), "length"), (lambda: fd.psf.motion(1e5, 45), "length"),
        (lambda: fd.psf.motion(1.7e308, 30), "length"), (lambda: fd.psf.box(10**9), "shape"),
        (lambda: fd.psf.box((1, 10**400)), "shape"), (lambda: fd.psf.gaussian(999999999, 1), "shape"),
        (lambda: fd.psf.gaussian((8193, 8192), 1), "shape"), (lambda: fd.psf.airy(2, (10**5, 10**5)), "shape"),
    ],
)  # fmt: skip
def test_psfs_larger_than_any_image_needs_are_refused(build, argument):
    with pytest.raises(ValueError, match=f"{argument} must .*67108864"):
        build()


@pytest.mark.parametrize(
    "build", [lambda: fd.psf.disk(600), lambda: fd.psf.motion(5000, 33), lambda: fd.psf.airy(2, 1201)]
)
def test_large_psfs_are_built_at_once(build):
    build()
    began = time.process_time()
    assert build().sum() == pytest.approx(1, abs=1e-12)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("tiny", [5e-324, 1e-200])
def test_tiny_psfs_are_deltas(tiny):
    delta = np.zeros((3, 4))
    delta[1, 2] = 1
    for psf in (fd.psf.airy(tiny, (3, 4)), fd.psf.gaussian((3, 4), tiny)):
        np.testing.assert_allclose(psf, delta, atol=1e-100)
    for psf in (fd.psf.disk(tiny), fd.psf.motion(tiny, 40)):
        np.testing.assert_array_equal(psf, [[1]])


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


@pytest.mark.parametrize("value", [np.float64(1e308), np.float32(3e38)])
def test_normalise_refuses_a_sum_beyond_the_dtype(value):
    with pytest.raises(ValueError, match=r"psf must have a sum that float\d\d can divide by"):
        fd.psf.normalise(np.full((1, 3), value))


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


def star(shape, place, sigma=2.0):
    """A Gaussian of height 1 with its middle at `place`."""
    rows, cols = np.indices(shape)
    return np.exp(-((rows - place[0]) ** 2 + (cols - place[1]) ** 2) / (2 * sigma**2))


def padded(psf, size):
    """`psf` in the middle of zeros, its centre at the centre."""
    out = np.zeros((size, size))
    top, left = size // 2 - psf.shape[0] // 2, size // 2 - psf.shape[1] // 2
    out[top : top + psf.shape[0], left : left + psf.shape[1]] = psf
    return out


@pytest.mark.parametrize(
    ("shape", "place"), [((41, 41), (20, 20)), ((64, 50), (15, 37)), ((301, 300), (100, 210)), ((40, 33), (25, 9))]
)
def test_from_image_of_a_noisy_star(shape, place, rng):
    picture = 300 + 1000 * star(shape, place) + rng.normal(0, 10, shape)
    psf = fd.psf.from_image(picture)
    assert psf.dtype == np.float64
    assert psf.sum() == pytest.approx(1, abs=1e-12)
    assert (psf >= 0).all()
    # What the noise buries of the skirts is about 2 %; as much is too high elsewhere.
    assert max(psf.shape) <= 31
    expected = padded(fd.psf.gaussian(31, 2.0), 31)
    assert np.abs(padded(psf, 31) - expected).sum() < 0.09
    # Neither the background nor noise far from the star pulls the psf aside.
    centroid = np.subtract(scipy.ndimage.center_of_mass(psf), [n // 2 for n in psf.shape])
    assert np.abs(centroid).max() < 0.2


def test_from_image_without_noise_is_the_point_itself():
    disk = fd.psf.disk(4)
    picture = np.full((30, 24), 0.25)
    picture[3:12, 10:19] += 7 * disk
    np.testing.assert_allclose(fd.psf.from_image(picture), disk, rtol=0, atol=1e-14)
    # The units make no difference, up to where they overflow.
    for scale in (1e-300, 1e306, -1e306):
        moved = picture - 0.25 if scale > 0 else 0.25 - picture
        np.testing.assert_allclose(fd.psf.from_image(moved * scale), disk, rtol=0, atol=1e-14)


def test_from_image_leaves_out_far_noise_and_refuses_several_points(rng):
    picture = rng.normal(0, 1, (200, 300))
    picture[30:34, 20:24] += 100
    # The largest of 60000 normal numbers are above what marks a point: they do not make it larger.
    picture[150, 250] = 6
    assert max(fd.psf.from_image(picture).shape) <= 9
    picture[30:34, 50:54] += 40
    with pytest.raises(ValueError, match=r"one point, and there are 2, brightest at \(row, column\) \(3\d, 2\d\), \(3"):
        fd.psf.from_image(picture)
    with pytest.raises(ValueError, match=r"there are 5.*, \.\.\.: cut out one of them"):  # without noise, too
        fd.psf.from_image(np.tile(np.pad(fd.psf.gaussian(21, 2), 5), (1, 5)))


@pytest.mark.parametrize(
    "part", [fd.psf.airy(4, 61), fd.psf.motion(25, 30), fd.psf.disk(8)], ids=["rings", "trail", "disk"]
)
def test_from_image_keeps_all_of_a_point(part, rng):
    picture = np.pad(part / part.max(), 20)
    np.testing.assert_allclose(fd.psf.from_image(picture), part, rtol=0, atol=1e-14)
    psf = fd.psf.from_image(picture + rng.normal(0, 0.003, picture.shape))
    assert np.abs(padded(psf, 101) - padded(part, 101)).sum() < 0.17


@pytest.mark.parametrize("background", [0.02, 0.2])
@pytest.mark.parametrize("slope", [0, 0.1])
@pytest.mark.parametrize("noise", [0, 0.003])
def test_from_image_of_a_bead_off_centre_on_a_background(background, slope, noise, rng):
    bead = fd.psf.gaussian(25, (2, 2.5))
    picture = background + slope * np.indices((64, 64))[0] / 64 + noise * rng.standard_normal((64, 64))
    picture[26:51, 24:49] += bead / bead.max()
    np.testing.assert_allclose(padded(fd.psf.from_image(picture), 35), padded(bead, 35), atol=0.1 * noise + 1e-9)


def test_from_image_ignores_missing_pixels_beside_the_point():
    disk = fd.psf.disk(4)
    picture = np.full((30, 24), 0.25)
    picture[3:12, 10:19] += 7 * disk
    picture[20:, 5] = picture[0, :3] = np.nan
    np.testing.assert_allclose(fd.psf.from_image(picture), disk, rtol=0, atol=1e-14)
    picture[7, 10] = np.nan
    with pytest.raises(ValueError, match=r"array must have all pixels of the point; at index \(7, 10\) it is nan"):
        fd.psf.from_image(picture)
    with pytest.raises(ValueError, match="all pixels of its border are nan"):
        fd.psf.from_image(np.pad([[1.0]], 1, constant_values=np.nan))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("uint8", "float32"), ("uint16", "float32"), ("int16", "float32"), ("float16", "float32"),
        ("float32", "float32"), ("int32", "float64"), ("uint64", "float64"), (">f8", "float64"),
    ],
)  # fmt: skip
def test_from_image_takes_any_real_dtype(dtype, expected, rng):
    counts = np.rint(20 + 200 * star((31, 41), (11, 24)) + rng.normal(0, 1.5, (31, 41)))
    psf = fd.psf.from_image(counts.astype(dtype))
    assert psf.dtype == expected
    np.testing.assert_allclose(psf, fd.psf.from_image(counts), rtol=0, atol=1e-7)
    assert np.abs(padded(psf, 31) - fd.psf.gaussian(31, 2.0)).sum() < 0.09


def test_from_image_reads_only_and_takes_lists_and_booleans():
    point = np.zeros((5, 7), bool)
    point[1, 4] = True
    point.flags.writeable = False
    for picture in (point, point.tolist(), point.astype(int)[:, ::-1], np.asfortranarray(point)):
        np.testing.assert_array_equal(fd.psf.from_image(picture), [[1.0]])
    np.testing.assert_array_equal(fd.psf.from_image([[1, 1, 1, 4, 1]]), [[1.0]])


@pytest.mark.parametrize(
    ("picture", "error", "message"),
    [
        (np.zeros((5, 5)), ValueError, "array must hold a point brighter than the background around it"),
        (np.full((5, 5), 7.5), ValueError, "array must hold a point .* border's median of 7.5 "),
        (-star((21, 21), (10, 10), 1), ValueError, "array must hold a point"),
        (np.ones((1, 1)), ValueError, "array must hold a point"),
        (np.ones(4), ValueError, r"array must have 2 dimensions; its shape is \(4,\)"),
        (np.ones((3, 3, 3)), ValueError, "array must have 2 dimensions"),
        (np.ones((0, 3)), ValueError, "array must not be empty"),
        ([[0, 0], [np.inf, 0]], ValueError, "array must be finite"),
        (np.ones((3, 3), complex), TypeError, "array must hold real numbers"),
        ("star.tif", TypeError, "array must hold real numbers"),
        (np.ma.masked_array(np.ones((3, 3))), TypeError, "array must not be a masked array"),
    ],
)
def test_from_image_refuses(picture, error, message):
    with pytest.raises(error, match=message):
        fd.psf.from_image(picture)


def smallest_box(psf):
    """The least area of a box about the centre that holds 99.9 %, by trying each."""
    size, weight = np.array(psf.shape), np.abs(psf)
    best = None
    for r in range(size[0] // 2 + 1):
        for c in range(size[1] // 2 + 1):
            i, j = size // 2
            box = weight[max(i - r, 0) : i + r + 1, max(j - c, 0) : j + c + 1]
            if box.sum() >= 0.999 * weight.sum() and (best is None or box.size < best):
                best = box.size
    return best


@pytest.mark.parametrize(
    "psf",
    [
        fd.psf.gaussian(101, 3), fd.psf.gaussian((61, 41), (1, 6)), fd.psf.gaussian((40, 52), (2, 3.5)),
        fd.psf.gaussian((8, 6), 20), fd.psf.gaussian((31, 1), 2), fd.psf.disk(6), padded(fd.psf.disk(6), 60),
        fd.psf.motion(15, 40), padded(fd.psf.motion(9, 90), 33), fd.psf.airy(3, 61), fd.psf.box((4, 7)),
        -fd.psf.gaussian(41, 2), np.random.default_rng(3).standard_normal((12, 15)), np.eye(1, 9, 1),
        1e308 * fd.psf.gaussian(21, 1) / fd.psf.gaussian(21, 1).max(),
    ],
)  # fmt: skip
def test_support_is_the_smallest_box_about_the_centre(psf):
    box = fd.psf.support(psf)
    scaled = psf / np.abs(psf).max()
    assert box.size == smallest_box(scaled)
    assert np.abs(box / np.abs(psf).max()).sum() >= 0.999 * np.abs(scaled).sum()
    for size, whole in zip(box.shape, psf.shape, strict=True):
        assert size % 2 == 1 or size == whole
    # Its values are those about the psf's centre, and it is a copy.
    top, left = (whole // 2 - size // 2 for size, whole in zip(box.shape, psf.shape, strict=True))
    np.testing.assert_array_equal(box, psf[top : top + box.shape[0], left : left + box.shape[1]])
    assert not np.shares_memory(box, psf)


def test_support_of_known_shapes():
    # 99.9 % of a separable Gaussian: 3.48 standard deviations where both sides lose as much.
    assert fd.psf.support(fd.psf.gaussian(101, 3)).shape == (21, 21)
    assert fd.psf.support(padded(fd.psf.disk(6), 60)).shape == fd.psf.disk(6).shape
    tall = fd.psf.support(fd.psf.gaussian(81, (6, 1)))
    assert tall.shape[0] > 4 * tall.shape[1]
    for shape in ((1, 1), (9, 9), (8, 6)):
        delta = np.zeros(shape)
        delta[shape[0] // 2, shape[1] // 2] = 3
        np.testing.assert_array_equal(fd.psf.support(delta), [[3]])
    np.testing.assert_array_equal(fd.psf.support(fd.psf.box((4, 7))), fd.psf.box((4, 7)))


@pytest.mark.parametrize(
    ("dtype", "expected"), [("float32", "float32"), ("float64", "float64"), ("uint8", "float32"), ("int64", "float64")]
)
def test_support_keeps_the_dtype(dtype, expected):
    psf = np.zeros((9, 11), dtype)
    psf[3:6, 4:7] = 2
    box = fd.psf.support(psf)
    assert box.dtype == expected
    np.testing.assert_array_equal(box, np.full((3, 3), 2))


def test_support_refuses():
    with pytest.raises(ValueError, match="psf must not be all zero"):
        fd.psf.support(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="psf must have two dimensions"):
        fd.psf.support([1.0])
    with pytest.raises(TypeError, match="psf must hold real numbers"):
        fd.psf.support(None)


def shifted(psf, down, across):
    return np.roll(padded(psf, 41), (down, across), axis=(0, 1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("psf", "rows", "columns"),
    [
        (shifted(fd.psf.gaussian(15, 2), 3, -2), "+3.0", "-2.0"),
        (5 * shifted(fd.psf.disk(3), 0, 2), "+0.0", "+2.0"),
        (np.array([[0.0, 0, 0, 0, 1]]), "+0.0", "+2.0"),
        (np.array([[0.0, 0, 0, -0.1, 1.1]]), "+0.0", "+2.1"),
        (np.array([[0.0], [0], [0], [0.5], [0.5], [1], [0]]), "+1.2", "+0.0"),
    ],
)
def test_a_psf_off_its_centre_is_warned_of(psf, rows, columns, dtype):
    psf = psf.astype(dtype)
    message = rf"psf's centroid is \{rows} rows and \{columns} columns from .*fastdeblur\.psf\.centre"
    with pytest.warns(UserWarning, match=message) as caught:
        warn_if_off_centre(psf)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_off_centre(fd.psf.centre(psf))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "psf",
    [
        fd.psf.gaussian(15, 2), fd.psf.gaussian((4, 6), 30), fd.psf.box((6, 8)), fd.psf.box((1, 2)),
        fd.psf.motion(15, 40), fd.psf.disk(3), fd.psf.airy(3, (20, 21)),
        shifted(fd.psf.gaussian(15, 2), 1, 0), shifted(fd.psf.disk(3), 0, -1),  # a pixel is not more than one
        # No place to speak of.
        np.array([[1.0, 0, -0.99]]), np.array([[0.0, 0, -1]]), np.array([[-1.0, 0, 1]]), np.zeros((3, 3)),
        np.array([[-0.2, 0, 0, 0, 0, 0, 1]]), np.random.default_rng(1).standard_normal((9, 9)),
        2 * shifted(fd.psf.gaussian(9, 1), 0, 0) - fd.psf.gaussian(41, 3),  # symmetric, with a negative rim
    ],
)  # fmt: skip
def test_a_psf_about_its_centre_or_without_a_place_is_not(psf, dtype):
    warn_if_off_centre(psf.astype(dtype))


def test_the_warning_tells_where_the_restored_image_goes(rng):
    """A psf drawn two rows too low restores an image two rows too high."""
    image = scipy.ndimage.gaussian_filter(rng.random((48, 48)), 2)
    right, low = padded(fd.psf.gaussian(9, 1), 13), np.roll(padded(fd.psf.gaussian(9, 1), 13), 2, axis=0)
    blurred = fd.convolve(image, right)
    higher = np.roll(image, -2, axis=0)
    inner = (slice(12, 36), slice(12, 36))
    np.testing.assert_allclose(fd.convolve(higher, low)[inner], blurred[inner], rtol=0, atol=1e-12)


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


@pytest.mark.parametrize("level", [0.02, 0.2])
def test_a_background_left_in_a_psf_is_told_with_the_centroid_without_it(level):
    bead = fd.psf.gaussian(25, (2, 2.5))
    picture = np.full((49, 49), float(level))
    picture[18:43, 16:41] += bead / bead.max()
    share = 100 * level / picture.max()
    with pytest.warns(
        UserWarning, match=rf"about {share:.2g} % of its peak all along.*from_image.*\+6.0 rows and \+4.0 columns"
    ):
        warn_if_off_centre(picture / picture.sum())


@pytest.mark.parametrize(
    "psf",
    [
        fd.psf.gaussian(13, (1, 3)), fd.psf.gaussian(7, 3), fd.psf.gaussian(31, 10), fd.psf.gaussian(13, 30),
        fd.psf.box(9), fd.psf.disk(4), fd.psf.airy(4, 21), fd.psf.airy(10, 21), fd.psf.motion(15, 40),
        fd.psf.gaussian((9, 31), (4, 2)), np.random.default_rng(0).random((9, 9)),
    ],
)  # fmt: skip
def test_psfs_that_are_cut_off_or_even_have_no_background(psf):
    warn_if_off_centre(psf)  # warnings are errors


@pytest.mark.parametrize("shape", [(3, 3), (4, 4), (3, 8), (1, 1), (5, 2)])
@pytest.mark.parametrize("before", [(0, 0), (1, 0), (3, 2), (2, 5)])
def test_zeros_around_a_psf_change_nothing(shape, before, rng):
    inner = 0.1 + rng.random(shape)
    wide = np.zeros(np.add(shape, np.add(before, (4, 3))))
    wide[before[0] : before[0] + shape[0], before[1] : before[1] + shape[1]] = inner
    (cropped,) = without_border([wide])
    assert all(cropped.any(axis=axis)[[0, -1]].any() for axis in (0, 1))
    assert all(small <= large for small, large in zip(cropped.shape, wide.shape, strict=True))
    # Both have their centres in the middle of a frame that holds them.
    assert np.array_equal(*(centred(psf, 31) for psf in (cropped, wide)))
    image = rng.random((20, 23))
    np.testing.assert_allclose(
        fd.convolve(image, wide, boundary="reflect"), fd.convolve(image, cropped, boundary="reflect")
    )
    # Those of the channels have one shape.
    first, second = without_border([wide, np.roll(wide, 1, axis=1)])
    assert first.shape == second.shape


def centred(psf, size):
    out = np.zeros((size, size))
    top, left = (size // 2 - n // 2 for n in psf.shape)
    out[top : top + psf.shape[0], left : left + psf.shape[1]] = psf
    return out


def test_zeros_around_a_psf_cost_nothing(rng):
    psf, image = fd.psf.gaussian(13, 2), rng.random((40, 44))
    wide = np.pad(psf, 50)
    few, many = (fd.solve(image, each, mu=0.1) for each in (psf, wide))
    np.testing.assert_array_equal(few.image, many.image)
    assert few.n_iter == many.n_iter
    for boundary in ("reflect", "constant", "wrap"):
        few, many = (fd.convolve(image, each, boundary=boundary) for each in (psf, wide))
        np.testing.assert_array_equal(few, many)
