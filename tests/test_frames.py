"""Several frames of one scene: one estimate for all."""

import dense
import naive
import numpy as np
import pytest
import scipy.ndimage
import skimage.io
from skimage.restoration import denoise_tv_chambolle

import fastdeblur as fd
from fastdeblur.problem.regularization import WeightEstimate

for_each = pytest.mark.parametrize


def scene(shape=(48, 52)):
    rows, cols = np.indices(shape)
    return 0.2 + 0.6 * ((rows // 8 + cols // 9) % 2) + 0.002 * rows


PSFS = [fd.psf.motion(7, angle) for angle in (0, 45, 90)]


def frames_of(x, psfs=PSFS, noise=0.02):
    rng = np.random.default_rng(0)
    return [fd.convolve(x, psf, boundary="reflect") + noise * rng.standard_normal(x.shape) for psf in psfs]


def error(restored, x):
    return float(np.sqrt(np.mean((restored - x) ** 2)))


@for_each("boundary", ["reflect", "unknown", "wrap"])
def test_the_sum_of_the_data_terms_is_minimised(boundary):
    shape, mu, weights = (10, 12), 0.03, [1.0, 0.0, 2.5]
    psfs = [np.random.default_rng(k).random((3, 3)) for k in range(3)]
    psfs = [psf / psf.sum() for psf in psfs]
    images = [np.random.default_rng(9 + k).random(shape) for k in range(3)]
    rows, cols = (12, 14) if boundary == "unknown" else shape
    differences = dense.differences((rows, cols), boundary == "wrap")
    normal, right = mu * differences.T @ differences, 0.0
    for psf, image, weight in zip(psfs, images, weights, strict=True):
        blur = np.array(naive.matrix(shape, psf.tolist(), boundary))
        normal, right = normal + weight * blur.T @ blur, right + weight * blur.T @ image.ravel()
    result = fd.solve(images, psfs, mu=mu, weights=weights, boundary=boundary, tol=1e-10)
    expected, margin = np.linalg.solve(normal, right).reshape(rows, cols), (rows - 10) // 2
    assert abs(result.image - expected[margin : margin + 10, margin : margin + 12]).max() < 1e-7
    assert result.stop_reason == "tolerance"


@for_each("boundary", ["reflect", "unknown"])
def test_missing_pixels_and_weights_of_pixels_are_minimised(boundary):
    # By dense linear algebra; a pixel that no frame has is continued by the prior alone.
    shape, mu, rng = (10, 12), 0.03, np.random.default_rng(3)
    psfs = [psf / psf.sum() for psf in rng.random((3, 3, 3))]
    images, of_pixels = rng.random((3, *shape)), rng.integers(0, 4, shape).astype(float)
    images[0, 2:5, 3:7], images[2, 4, 5] = np.nan, np.nan
    images[:, 8, 9] = np.nan
    of_pixels[0, 0], weights = np.nan, [2.0, of_pixels, 0.5]
    images[1, 0, 0] = np.nan
    planes = [np.where(np.isnan(image), 0, weight) for image, weight in zip(images, weights, strict=True)]
    rows, cols = (12, 14) if boundary == "unknown" else shape
    eye = np.eye(rows * cols).reshape(rows, cols, -1)
    differences = np.concatenate([np.diff(eye, axis=axis).reshape(-1, rows * cols) for axis in (0, 1)])
    normal, right = mu * differences.T @ differences, 0.0
    for psf, image, plane in zip(psfs, images, planes, strict=True):
        dense = np.array(naive.matrix(shape, psf.tolist(), boundary))
        normal = normal + dense.T @ (plane.reshape(-1, 1) * dense)
        right = right + dense.T @ (plane * np.nan_to_num(image)).ravel()
    expected, margin = np.linalg.solve(normal, right).reshape(rows, cols), (rows - 10) // 2
    expected = expected[margin : margin + 10, margin : margin + 12]
    options = {"mu": mu, "weights": weights, "boundary": boundary, "tol": 1e-10}
    result = fd.solve(list(images), psfs, **options)
    assert abs(result.image - expected).max() < 1e-7
    assert np.isnan(images[0, 2, 3])
    masked = [np.ma.masked_invalid(image) for image in images]
    np.testing.assert_array_equal(fd.solve(masked, psfs, **options).image, result.image)
    bounded = fd.solve(list(images), psfs, **(options | {"tol": 1e-6}), bounds=(-10, 10), max_iter=2000)
    assert abs(bounded.image - expected).max() < 1e-3


@for_each(
    "options",
    [
        {"prior": "tv"},
        {"prior": "sparse"},
        {"prior": "learned"},
        {"prior": lambda image, sigma: denoise_tv_chambolle(image, weight=0.5 * sigma)},
        {"data": "poisson", "prior": None},
        {"data": "poisson", "prior": "tv"},
        {"data": "poisson", "prior": "learned"},
    ],
    ids=["tv", "sparse", "learned", "denoiser", "photons", "photons and tv", "photons and learned"],
)
def test_every_method_gains_by_more_frames_some_of_whose_pixels_are_missing(options):
    x = 100 * scene()
    images = [np.random.default_rng(k).poisson(image).astype(float) for k, image in enumerate(frames_of(x, noise=0))]
    for k, image in enumerate(images):
        image[10 * k + 4 : 10 * k + 9, 20:26] = np.nan
    weights = [1.0, np.ones(x.shape), 1.0]
    together = fd.solve(images, PSFS, boundary="reflect", weights=weights, **options)
    assert together.stop_reason in ("tolerance", "noise") or callable(options["prior"])
    alone = [fd.solve(image, psf, boundary="reflect", **options).image for image, psf in zip(images, PSFS, strict=True)]
    assert error(together.image, x) < 0.8 * min(error(each, x) for each in alone)


@for_each("boundary", ["reflect", "wrap"])
def test_the_objective_is_that_of_the_estimate_and_callbacks_see_it(boundary):
    x, mu, seen = scene((24, 26)), 0.002, []
    images, weights = frames_of(x), [1.0, 2.0, 0.5]
    for prior in ("tv", "sparse"):
        result = fd.solve(
            [np.stack([image, image]) for image in images], PSFS, mu=mu, weights=weights, boundary=boundary,
            prior=prior, bounds=(0.1, 0.9), channel_axis=0, max_iter=8, tol=0, callback=seen.append,
        )  # fmt: skip
        total = 0.0
        for image, psf, weight in zip(images, PSFS, weights, strict=True):
            for plane in result.image:
                total += 0.5 * weight * ((fd.convolve(plane, psf, boundary=boundary) - image) ** 2).sum()
        firsts = np.zeros((2, *x.shape))
        seconds = np.zeros(x.shape)
        for plane in result.image:
            if boundary == "wrap":
                down, across = (np.roll(plane, -1, axis) - plane for axis in (0, 1))
                firsts += np.square([down, across])
                seconds += (down - np.roll(down, 1, 0)) ** 2 + (across - np.roll(across, 1, 1)) ** 2
                seconds += 2 * (np.roll(down, -1, 1) - down) ** 2
                continue
            firsts[0, :-1] += np.diff(plane, axis=0) ** 2
            firsts[1, :, :-1] += np.diff(plane, axis=1) ** 2
            seconds[1:-1] += np.diff(plane, 2, axis=0) ** 2
            seconds[:, 1:-1] += np.diff(plane, 2, axis=1) ** 2
            seconds[:-1, :-1] += 2 * np.diff(np.diff(plane, axis=0), axis=1) ** 2
        power = 1.0 if prior == "tv" else 0.8
        rough = (firsts.sum(axis=0) ** (power / 2)).sum()
        if prior == "sparse":
            rough += 0.5 * (seconds**0.4).sum()
        assert result.objective == pytest.approx(total + mu * rough, rel=1e-4)
        assert seen[-1].objective == result.history[-2]
        assert seen[-1].estimate.shape == (2, 24, 26)


def test_denoisers_see_frames_as_the_caller_has_them():
    seen = []

    def denoiser(image, sigma):
        seen.append((image.shape, sigma))
        return image

    images = [np.stack([image, image], axis=-1).astype(np.float32) for image in frames_of(scene((24, 26)))]
    options = {"prior": denoiser, "mu": 4e-4, "boundary": "reflect", "channel_axis": -1, "max_iter": 3}
    assert fd.solve(images, PSFS, **options).image.dtype == np.float32
    once = [sigma for _, sigma in seen]
    assert {shape for shape, _ in seen} == {(24, 26, 2)}
    # Four times the weights say that there is half the noise.
    seen.clear()
    fd.solve(images, PSFS, **(options | {"mu": 4e-4, "weights": [4.0] * 3, "max_iter": 40, "tol": 0}))
    assert seen[-1][1] == pytest.approx(4 * np.sqrt(4e-4 / 12), rel=1e-6)
    assert once[0] > once[-1] > seen[-1][1]
    with pytest.raises(ValueError, match=r"prior must return an image of the shape it is given, \(24, 26, 2\)"):
        fd.solve(images, PSFS, **(options | {"prior": lambda image, sigma: image[:9]}))


def test_the_automatic_weight_does_not_depend_on_the_unit_of_weights():
    images = frames_of(scene())
    for prior in ("gradient", "tv", "sparse", "learned"):
        one, ten = (
            fd.solve(images, PSFS, prior=prior, boundary="reflect", weights=[unit] * 3, max_iter=4).mu
            for unit in (1.0, 10.0)
        )
        assert ten == pytest.approx(10 * one, rel=1e-6)


def test_many_frames_are_better_than_the_best_of_them():
    x = scene()
    images = frames_of(x)
    together = fd.solve((image for image in images), PSFS, boundary="reflect")
    alone = [fd.deblur(image, psf, boundary="reflect") for image, psf in zip(images, PSFS, strict=True)]
    assert error(together.image, x) < 0.8 * min(error(each, x) for each in alone)
    assert 0.8 < together.misfit < 1.2
    stack = fd.solve(np.stack(images), PSFS, boundary="reflect")
    assert np.array_equal(stack.image, together.image)


def test_shifts_are_found_and_used():
    x = scipy.ndimage.gaussian_filter(np.random.default_rng(1).random((80, 80)), 2.0)
    x = (x - x.min()) / np.ptp(x)
    given = np.array([[0, 0], [2.5, -1.25], [-3, 2]])
    images = [scipy.ndimage.shift(x, shift, mode="reflect")[8:-8, 8:-8] for shift in given]
    assert abs(fd.shifts(images) - given).max() < 0.05
    point = fd.psf.gaussian(5, 0.8)
    blurred = fd.convolve(x, point, boundary="reflect")
    images = [scipy.ndimage.shift(blurred, shift, mode="reflect")[8:-8, 8:-8] for shift in given]
    restored = fd.solve(images, [point] * 3, given, mu=1e-3).image
    assert error(restored, x[8:-8, 8:-8]) < 0.01
    assert error(fd.solve(images, [point] * 3, mu=1e-3).image, x[8:-8, 8:-8]) > 0.03


def test_moved_frames_whose_surroundings_are_unknown_converge():
    x, moves = scene(), np.array([(0, 0), (2, -3), (-1, 4)])
    images = [np.roll(image, move, (0, 1)) for image, move in zip(frames_of(x), moves, strict=True)]
    result = fd.solve(images, PSFS, moves)
    assert result.stop_reason == "tolerance"
    assert result.objective < result.history[0] < 20 * result.objective
    inner = np.s_[6:-6, 6:-6]
    alone = fd.deblur(images[0], PSFS[0])
    assert error(result.image[inner], x[inner]) < 0.8 * error(alone[inner], x[inner])


def test_frames_with_fields():
    x = scene()
    fields = [
        fd.VaryingBlur([[fd.psf.gaussian(7, 0.5), fd.psf.gaussian(7, sigma)]], None, x.shape, boundary="reflect")
        for sigma in ((0.4, 1.5), (1.5, 0.4))
    ]
    images = [field.forward(x) for field in fields]
    assert error(fd.solve(images, fields, mu=1e-4).image, x) < 0.03


def test_colours_are_one_problem_each_with_its_psf():
    x, weights = scene(), [1.0, 2.0]
    colours = [np.stack([image, 1 - image]) for image in frames_of(x)[:2]]
    one = [fd.psf.gaussian(5, (0.7, 1.5)), fd.psf.gaussian(5, (1.2, 0.6))]
    each = [np.stack([psf, psf.T]) for psf in one]
    shifts = [(0, 0), (1, 2)]
    options = {"mu": 0.01, "boundary": "reflect", "weights": weights, "tol": 1e-8}
    for psfs in (each, one):
        together = fd.solve(colours, psfs, shifts, channel_axis=0, **options).image
        for k in range(2):
            of_channel = [psf[k] if psf.ndim == 3 else psf for psf in psfs]
            alone = fd.solve([image[k] for image in colours], of_channel, shifts, **options).image
            assert abs(together[k] - alone).max() < 1e-5
    last = fd.solve([np.moveaxis(image, 0, -1) for image in colours], one, shifts, channel_axis=-1, **options)
    np.testing.assert_array_equal(np.moveaxis(last.image, -1, 0), together)


def test_frames_may_be_files(tmp_path):
    images = [(255 * image.clip(0, 1)).astype(np.uint8) for image in frames_of(scene())]
    paths = [tmp_path / f"{k}.{kind}" for k, kind in enumerate(("npy", "png", "tif"))]
    np.save(paths[0], images[0])
    for path, image in zip(paths[1:], images[1:], strict=True):
        skimage.io.imsave(path, image, check_contrast=False)
    for options in ({}, {"data": "poisson", "prior": None, "max_iter": 3}):
        of_files = fd.solve(paths, PSFS, boundary="reflect", **options).image
        np.testing.assert_array_equal(of_files, fd.solve(images, PSFS, boundary="reflect", **options).image)


@for_each(
    ("options", "tolerance", "boundary"),
    [
        ({"prior": "tv", "mu": 0.002, "tol": 1e-5, "max_iter": 1000}, 2e-3, "reflect"),
        ({"prior": "tv", "mu": 0.002, "tol": 1e-5, "max_iter": 1000}, 2e-3, "wrap"),
        ({"prior": "tv", "mu": 0.002, "tol": 1e-5, "max_iter": 1000, "bounds": (0.3, 0.8)}, 2e-3, "reflect"),
        ({"data": "squares", "mu": 0.01, "tol": 1e-5, "max_iter": 1000, "bounds": (0.3, 0.8)}, 2e-3, "wrap"),
        ({"data": "poisson", "prior": None, "max_iter": 12, "tol": 0}, 1e-6, "reflect"),
        ({"data": "poisson", "prior": None, "max_iter": 12, "tol": 0, "background": 0.3}, 1e-6, "reflect"),
        ({"data": "poisson", "prior": "tv", "mu": 0.01, "tol": 1e-5, "max_iter": 1000}, 2e-3, "reflect"),
        ({"data": "root", "mu": 0.2, "tol": 1e-7}, 1e-6, "wrap"),
        ({"data": "root", "mu": 0.2, "tol": 1e-6, "max_iter": 1000, "bounds": (0.3, 0.8)}, 1e-5, "wrap"),
    ],
)
def test_a_frame_that_comes_twice_is_that_frame(options, tolerance, boundary):
    # With twice the weight of the prior.
    image = frames_of(scene())[0].clip(0, 1)
    one = fd.solve(image, PSFS[0], boundary=boundary, **options)
    times = np.sqrt(2) if options.get("data") == "root" else 2  # the root of twice the sum of squares
    both = {**options, "mu": times * options["mu"]} if "mu" in options else options
    two = fd.solve([image, image], PSFS[:1] * 2, boundary=boundary, **both)
    assert abs(two.image - one.image).max() < tolerance
    assert two.objective == pytest.approx(times * one.objective, rel=1e-4)
    if "bounds" in options:
        assert (two.image.min(), two.image.max()) == options["bounds"]


def test_edges_and_photons_of_many_frames_are_better_than_of_one():
    x = 100 * scene()
    counts = [np.random.default_rng(k).poisson(image) for k, image in enumerate(frames_of(x, noise=0))]
    for options in ({"prior": "tv"}, {"data": "poisson", "prior": None}):
        together = fd.solve(counts, PSFS, boundary="reflect", **options)
        alone = [fd.deblur(image, psf, boundary="reflect", **options) for image, psf in zip(counts, PSFS, strict=True)]
        assert together.stop_reason in ("tolerance", "noise")
        assert error(together.image, x) < 0.75 * min(error(each, x) for each in alone)


def small_frames(boundary, mean):
    """Three small frames of one scene, their psfs and weights, and their blurs and the estimate's differences densely.

    Two pixels of one frame are missing.
    """
    shape, rng = (8, 9), np.random.default_rng(4)
    psfs = [psf / psf.sum() for psf in rng.random((3, 3, 3))]
    sharp = mean * (1 + ((np.indices(shape) // 4).sum(axis=0) % 2))
    images = [rng.poisson(fd.convolve(sharp, psf, boundary="reflect")).astype(float) for psf in psfs]
    images[1][3, 4:6] = np.nan
    weights = [1.0, 0.5, 2.0]
    blurs = [np.array(naive.matrix(shape, psf.tolist(), boundary)) for psf in psfs]
    rows, cols = (10, 11) if boundary == "unknown" else shape
    differences = dense.differences((rows, cols), periodic=True).reshape(2, rows, cols, -1)
    if boundary != "wrap":
        differences[0, -1], differences[1, :, -1] = 0, 0
    return images, psfs, weights, blurs, differences.reshape(2 * rows * cols, -1), (rows, cols)


def of_frame(flat, shape):
    margin = (shape[0] - 8) // 2
    return flat.reshape(shape)[margin : margin + 8, margin : margin + 9]


@for_each("boundary", ["wrap", "unknown"])
def test_photons_with_total_variation_are_minimised(boundary):
    # Against the primal-dual method of Chambolle and Pock, with dense matrices: a dual variable for each frame's mean
    # and for the differences, each step its proximal map.
    images, psfs, weights, blurs, differences, shape = small_frames(boundary, 50.0)
    mu, backgrounds, noise = 0.1, [4.0, np.linspace(0, 8, 72).reshape(8, 9), 0.0], 1.5
    size = shape[0] * shape[1]
    kept = [np.isfinite(image).ravel() for image in images]
    matrix = np.concatenate([blur[keep] for blur, keep in zip(blurs, kept, strict=True)])
    counts, beside, w = (
        np.concatenate([np.broadcast_to(part, (8, 9)).ravel()[keep] for part, keep in zip(parts, kept, strict=True)])
        for parts in ([image + noise**2 for image in images], [b + noise**2 for b in backgrounds], weights)
    )
    x, dual, split = np.full(size, 60.0), np.zeros(len(matrix)), np.zeros(len(differences))
    ahead, step = x.copy(), 0.9 / np.linalg.norm(np.concatenate([matrix, differences]), 2)
    to_x, to_dual = 60 * step, step / 60

    def lengths(split):
        return np.hypot(*split.reshape(2, -1))

    def objective(x):
        mean = matrix @ x + beside
        return (w * (mean - counts * np.log(mean))).sum() + mu * lengths(differences @ x).sum()

    for _ in range(8000):
        near = dual + to_dual * (matrix @ ahead + beside)
        # By Moreau's identity, from the proximal map of the likelihood.
        at, share = near / to_dual, w / to_dual
        mean = 0.5 * (at - share + np.sqrt((at - share) ** 2 + 4 * share * counts))
        dual = near - to_dual * mean
        moved = split + to_dual * (differences @ ahead)
        split = (moved.reshape(2, -1) / np.maximum(lengths(moved) / mu, 1.0)).ravel()
        new = np.maximum(x - to_x * (matrix.T @ dual + differences.T @ split), 0)
        x, ahead = new, 2 * new - x
    result = fd.solve(
        images, psfs, mu=mu, weights=weights, boundary=boundary, data="poisson", prior="tv", background=backgrounds,
        read_noise=noise, tol=1e-7, max_iter=4000,
    )  # fmt: skip
    assert result.objective == pytest.approx(objective(x), rel=1e-6)
    assert abs(result.image - of_frame(x, shape)).max() < 0.02 * 60


@for_each("boundary", ["reflect", "unknown"])
def test_roots_are_those_of_the_sums_over_all_frames(boundary):
    # By dense linear algebra: the ridge that is the estimate's own, by bisection.
    images, psfs, weights, blurs, differences, shape = small_frames(boundary, 0.5)
    mu, normal, right = 0.4, 0.0, 0.0
    for image, weight, blur in zip(images, weights, blurs, strict=True):
        plane = weight * np.isfinite(image).ravel()
        normal, right = (
            normal + blur.T @ (plane[:, None] * blur),
            right + blur.T @ (plane * np.nan_to_num(image).ravel()),
        )

    def at(ridge):
        x = np.linalg.solve(normal + ridge * differences.T @ differences, right)
        squares = 0.0
        for image, weight, blur in zip(images, weights, blurs, strict=True):
            squares += weight * np.nansum((blur @ x - image.ravel()) ** 2)
        return x, np.sqrt(squares), np.linalg.norm(differences @ x)

    low, high = 1e-9, 1e6
    for _ in range(60):
        middle = np.sqrt(low * high)
        _, misfit, rough = at(middle)
        low, high = (middle, high) if mu * misfit / rough > middle else (low, middle)
    x, misfit, rough = at(low)
    options = {"weights": weights, "boundary": boundary, "data": "root", "tol": 1e-9}
    result = fd.solve(images, psfs, mu=mu, **options)
    assert result.stop_reason == "tolerance"
    assert result.objective == pytest.approx(np.sqrt(0.5) * (misfit + mu * rough), rel=1e-9)
    assert abs(result.image - of_frame(x, shape)).max() < 1e-6
    # Some weight is too large for anything but a constant.
    constant = fd.solve(images, psfs, mu=100.0, **options)
    assert (np.ptp(constant.image), constant.n_iter, constant.stop_reason) == (0, 0, "tolerance")
    level = at(1e9)[0].mean()
    assert constant.image[0, 0] == pytest.approx(level, rel=1e-6)


def test_the_automatic_root_is_the_smooth_image_and_gives_its_weight():
    images = frames_of(scene())
    smooth, root = (fd.solve(images, PSFS, boundary="reflect", tol=1e-8, **data) for data in ({}, {"data": "root"}))
    assert abs(smooth.image - root.image).max() < 1e-6
    again = fd.solve(images, PSFS, boundary="reflect", tol=1e-8, data="root", mu=root.mu)
    assert abs(again.image - root.image).max() < 1e-5
    assert root.objective == pytest.approx(again.objective, rel=1e-8)


@for_each("options", [{}, {"prior": "tv", "mu": 0.003}, {"data": "root", "mu": 0.3}])
def test_backgrounds_are_subtracted(options):
    images, slope = frames_of(scene()), np.linspace(0, 1, 48 * 52).reshape(48, 52)
    backgrounds = [2.0, slope, 1 - slope]
    given = [image + background for image, background in zip(images, backgrounds, strict=True)]
    options = {"boundary": "reflect", "max_iter": 20, "tol": 0, **options}
    bare = fd.solve(images, PSFS, **options).image
    assert abs(fd.solve(given, PSFS, background=backgrounds, **options).image - bare).max() < 1e-8
    same = fd.solve([image + slope for image in images], PSFS, background=slope, **options).image
    assert abs(same - bare).max() < 1e-8


@for_each("data", ["squares", "poisson"])
def test_the_learned_prior_of_one_frame_is_that_of_an_image(data, monkeypatch):
    # (Frames' psfs are all of one size, by which the border is wider that means of differences leave out.)
    monkeypatch.setattr(WeightEstimate, "factor_of_learned", lambda self: 0.8)
    image, *others = (100 * frame for frame in frames_of(scene((24, 26)).clip(0.1)))
    options = {"prior": "learned", "data": data, "boundary": "reflect", "tol": 1e-8, "max_iter": 300}
    if data == "poisson":
        options |= {"background": 5.0, "read_noise": 2.0}
    alone = fd.solve(image, PSFS[0], **options)
    result = fd.solve([image, others[0]], PSFS[:2], weights=[1.0, 0.0], **options)
    assert result.objective == pytest.approx(alone.objective, rel=1e-6)
    assert abs(result.image - alone.image).max() < 1.0
    both = fd.solve([image, others[0]], PSFS[:2], **options)
    assert (np.diff(both.history) <= 0).all()
    assert abs(both.image - alone.image).max() > 5.0


def test_sky_and_read_noise_of_photons_are_reckoned_with():
    # Each frame has a sky of its own, which has been subtracted from none; the reading's noise makes some negative.
    x, skies, rng = 20 * scene(), [5.0, 60.0, 200.0], np.random.default_rng(1)
    given = [
        rng.poisson(image + sky) + rng.normal(0, 3, x.shape)
        for image, sky in zip(frames_of(x, noise=0), skies, strict=True)
    ]
    options = {"data": "poisson", "boundary": "reflect", "read_noise": 3}
    for prior in ({"prior": "tv"}, {"prior": "learned"}, {"prior": None, "max_iter": 8, "tol": 0}):
        known, wrong = (
            error(fd.solve(given, PSFS, background=each, **prior, **options).image, x) for each in (skies, skies[::-1])
        )
        assert known < 0.8 * wrong


def test_photons_are_read_again_at_each_step():
    class Frames:
        def __iter__(self):
            yield from images

    images, options = frames_of(scene(), noise=0), {"data": "poisson", "prior": None, "max_iter": 4, "tol": 0}
    result = fd.solve(Frames(), PSFS, boundary="reflect", **options)
    np.testing.assert_array_equal(result.image, fd.solve(images, PSFS, boundary="reflect", **options).image)
    assert (np.diff(result.history) <= 0).all()


IMAGES = [np.eye(12), np.eye(12)]


@for_each(
    ("arguments", "options", "message"),
    [
        ((IMAGES, PSFS[:1]), {}, "frames must not be more than psfs; there are 1 psfs"),
        ((IMAGES, PSFS), {}, "psfs must be one for each frame; there are 3 for 2 frames"),
        ((IMAGES, PSFS[:2], [(0, 0), (12, 0)]), {}, r"less than the frames' size \(12, 12\); that of frame 1"),
        ((IMAGES, PSFS[:2], [(0, 0)]), {}, r"one \(rows, columns\) for each of the 2 psfs"),
        (([np.eye(12), np.eye(13)], PSFS[:2]), {}, r"one shape; the first has \(12, 12\), another \(13, 13\)"),
        (([], PSFS[:2]), {}, "at least one image"),
        ((["a.tif"], PSFS[:1]), {}, "cannot read a.tif"),
        ((IMAGES, PSFS[:2]), {"prior": None}, "'tv', 'sparse', 'learned' or a denoiser, 'root' with 'gradient', or 'p"),
        ((IMAGES, PSFS[:2]), {"data": "poisson", "prior": "sparse"}, "'poisson' with 'tv', 'learned' or None, for sev"),
        ((IMAGES, PSFS[:2]), {"data": "root", "prior": "tv"}, "'root' with 'gradient'.*got data='root', prior='tv'"),
        ((IMAGES, PSFS[:2]), {"device": "cuda"}, "device does not go with several frames; got 'cuda'"),
        ((IMAGES, PSFS[:2]), {"weights": [1, np.eye(13)]}, r"the image's shape \(12, 12\); its shape is \(13, 13\)"),
        ((IMAGES, PSFS[:2]), {"weights": np.ones((3, 12, 12))}, "one for each of the 2 frames, a number or an array"),
        ((IMAGES, PSFS[:2]), {"weights": [1, -np.eye(12)]}, "weights must be finite and at least 0; at index"),
        ((IMAGES, PSFS[:2]), {"weights": [1, np.where(IMAGES[0], np.nan, 1)]}, "must not be NaN where the frame is n"),
        (([IMAGES[0], np.full((12, 12), np.nan)], PSFS[:2]), {}, "all of frame 1 are missing or have the weight 0"),
        (([IMAGES[0], np.full((12, 12), np.inf)], PSFS[:2]), {}, r"frames must be finite, or NaN.*at index \(0, 0\)"),
        (
            (IMAGES, PSFS[:2]),
            {"background": [1.0]},
            "one of these for each of the 2 frames; the list has 1",
        ),
        ((IMAGES, PSFS[:2]), {"background": [1.0, -1.0]}, "background must be a finite number at least 0; got -1.0"),
        (
            (IMAGES, PSFS[:2]),
            {"background": np.ones((9, 9))},
            r"have the image's shape \(12, 12\); its shape is",
        ),
        ((IMAGES, PSFS[:2]), {"read_noise": 2.0}, "read_noise goes with data='poisson'"),
        ((IMAGES, PSFS[:2]), {"init": "zeros"}, "init does not go with several frames; got 'zeros'"),
        ((iter(IMAGES), PSFS[:2]), {"data": "poisson", "prior": None}, "must be a list, or another sequence"),
        (([-IMAGES[0]], PSFS[:1]), {"data": "poisson", "prior": None}, "must not be negative.*the least value is -1"),
        (([np.ones((9, 9, 3))], [np.ones((3, 3, 2)) / 9]), {"channel_axis": -1}, "as many channels as frames"),
        (([np.eye(12), 1j * np.eye(12)], PSFS[:2]), {}, "complex"),
        ((IMAGES, PSFS[:2]), {"weights": [1, -1]}, "weights must be finite, at least 0"),
        ((IMAGES[0], PSFS[0], [(0, 0)]), {}, "shifts go with a list of frames"),
    ],
)
def test_mistakes_are_named(arguments, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        fd.solve(*arguments, **options)
