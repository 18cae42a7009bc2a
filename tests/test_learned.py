"""The learned prior: its filters and potentials, its descent, and what it promises."""

from importlib import resources

import naive
import numpy as np
import pytest
from sweeps import sweep

import fastdeblur as fd
from fastdeblur.operators.boundary import BOUNDARIES
from fastdeblur.problem import learned
from fastdeblur.problem.regularization import WeightEstimate
from fastdeblur.solvers.learned.host import PriorPass

PSF = np.outer([0.2, 0.5, 0.3], [0.1, 0.2, 0.4, 0.3])
FACTOR = 0.8
SCALE = learned.Scale(0.05, 0.8, factor=FACTOR)


@pytest.fixture
def one_factor(monkeypatch):
    """Multiply the prior of every image by the same."""
    monkeypatch.setattr(WeightEstimate, "factor_of_learned", lambda self: FACTOR)


def learned_weights():
    """What the file has."""
    with np.load(str(resources.files("fastdeblur.problem") / "learned_prior.npz")) as file:
        return {name: file[name].astype(float) for name in file.files if file[name].dtype.kind == "f"}


def prior(planes, boundary, scale=SCALE, weights=None):
    """Value and gradient for planes of an estimate, window by window, from the file of what was learned."""
    weights = weights or learned_weights()
    level, factor = learned.level_of(scale)
    filters, knots = weights["filters"], np.log(weights["sigmas"])
    size = filters.shape[-1]
    before = size // 2
    value, gradient = 0.0, np.zeros(planes.shape)
    for plane, slopes in zip(planes, gradient, strict=True):
        rows, cols = plane.shape
        kind = "wrap" if boundary == "wrap" else "reflect"
        down, across = ([naive.where(i - before, n, kind) for i in range(n + size - 1)] for n in plane.shape)
        windows = np.lib.stride_tricks.sliding_window_view(plane[np.ix_(down, across)] / scale.spread, (size, size))
        around = np.zeros((len(down), len(across)))
        for k, taps in enumerate(filters):
            z, force = np.einsum("ijuv,uv->ij", windows, taps), 0.0
            for m in range(weights["log_alpha"].shape[2]):
                alpha, gamma = (
                    np.exp(np.interp(np.log(level), knots, weights[name][:, k, m]))
                    for name in ("log_alpha", "log_gamma")
                )
                value += factor * scale.spread**2 * 0.5 * alpha * np.log1p((gamma * z) ** 2).sum()
                force = force + factor * scale.spread * alpha * gamma**2 * z / (1 + (gamma * z) ** 2)
            for u in range(size):
                for v in range(size):
                    around[u : u + rows, v : v + cols] += taps[u, v] * force
        np.add.at(slopes, np.ix_(down, across), around)
    return value, gradient


@sweep(
    dtype=[np.float32, np.float64],
    boundary=["wrap", "unknown"],
    shape=[(2, 13, 14), (1, 3, 2), (1, 64, 183), (1, 65, 190)],
)
def test_filters_and_potentials_are_those_of_plain_loops(dtype, boundary, shape, rng):
    planes = rng.random(shape).astype(dtype)
    compute = PriorPass(shape[0], shape[1:], dtype, boundary, 1)
    compute.set(learned.potentials(SCALE), 1.0)
    value, gradient = compute(planes)
    wanted, slopes = prior(planes.astype(float), boundary)
    accuracy = 2e-6 if dtype == np.float32 else 1e-12
    assert value == pytest.approx(wanted, rel=accuracy)
    assert abs(gradient - slopes).max() < accuracy * abs(slopes).max()


def test_potentials_of_huge_responses_are_finite():
    planes = np.zeros((1, 13, 14), np.float32)
    planes[0, 6, 7] = 1e17
    compute = PriorPass(1, (13, 14), np.float32, "wrap", 1)
    compute.set(learned.potentials(SCALE), 1.0)
    assert compute(planes)[0] == pytest.approx(prior(planes.astype(float), "wrap")[0], rel=1e-5)


@pytest.mark.parametrize("level", [1e-9, 0.004, 0.1, 3.0])
def test_numbers_follow_the_noise_and_the_range(level):
    """An image times a number has the prior of the image, times that squared."""
    one, other = (learned.potentials(learned.Scale(level * unit, unit, True)) for unit in (1.0, 8.0))
    assert (one.numbers > 0).all()
    np.testing.assert_allclose(other.numbers * [1, 64, 1 / 64], one.numbers, rtol=1e-12)
    assert abs(one.filters.sum(axis=(1, 2))).max() < 1e-5


def scene(shape, noise=0.02, seed=0, boundary="reflect"):
    y, x = np.mgrid[: shape[0], : shape[1]]
    sharp = 0.2 + 0.6 * ((x // 9 + y // 7) % 2) + 0.1 * np.sin(x / 5)
    blurred = fd.convolve(sharp, PSF, boundary=boundary)
    return sharp, blurred + noise * np.random.default_rng(seed).standard_normal(shape)


@sweep(boundary=BOUNDARIES, data=["squares", "poisson"], bounds=[None, (0.1, 0.9)])
def test_the_objective_falls_and_is_what_is_written(boundary, data, bounds, one_factor):
    _, image = scene((48, 45), boundary="reflect" if boundary == "unknown" else boundary)
    image = np.maximum(image, 0)
    weights = np.ones(image.shape)
    weights[20:24, 30:33] = 0
    result = fd.solve(
        image, PSF, prior="learned", data=data, boundary=boundary, bounds=bounds, weights=weights, tol=1e-7, max_iter=60
    )
    assert (np.diff(result.history) <= 1e-12 * abs(result.history[:-1])).all()
    if boundary == "unknown":
        return
    x = result.image
    mean = np.array(naive.convolve(x.tolist(), PSF.tolist(), boundary))
    if data == "squares":
        misfit = 0.5 * (weights * (mean - image) ** 2).sum()
    else:
        misfit = (weights * (mean - np.where(image > 0, image * np.log(mean), 0)))[weights > 0].sum()
    spread = np.quantile(np.where(weights > 0, image, image[weights > 0].mean()), [0.001, 0.999])
    assert x.min() >= (bounds or (0 if data == "poisson" else -9,))[0]
    rough = prior(x[None], boundary, learned.Scale(result.noise, np.ptp(spread), factor=FACTOR))[0]
    # (The range of the image is that with its hole filled.)
    assert result.objective == pytest.approx(misfit + result.mu * rough, rel=2e-3)


@pytest.mark.parametrize("boundary", ["wrap", "unknown"])
def test_the_gradient_vanishes_at_the_minimum(boundary, rng):
    """No small change lowers the objective."""
    _, image = scene((40, 41), boundary="wrap")
    found = fd.solve(image, PSF, prior="learned", boundary=boundary, tol=1e-12, max_iter=400)
    assert found.optimality < 1e-8
    again = fd.solve(image, PSF, prior="learned", boundary=boundary, tol=1e-12, max_iter=5, init=found.image)
    if boundary == "wrap":
        assert again.history[0] == pytest.approx(found.objective, rel=1e-12)
        assert abs(again.image - found.image).max() < 1e-4


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_it_is_near_its_minimum_when_it_stops(boundary):
    sharp, image = scene((64, 60), boundary="reflect" if boundary == "unknown" else boundary)
    image = image.astype(np.float32)
    found, least = (
        fd.solve(image, PSF, prior="learned", boundary=boundary, tol=tol, max_iter=n)
        for tol, n in ((1e-4, 60), (1e-8, 400))
    )
    assert found.stop_reason == "tolerance"
    assert found.objective < 1.01 * least.objective
    errors = [np.sqrt(np.mean((result.image - sharp) ** 2)) for result in (found, least)]
    assert errors[0] < 1.03 * errors[1]


def test_three_channels_are_taken_as_a_sum_and_differences(one_factor):
    """The prior is that of an orthonormal basis, whose first plane has the root of three times the range."""
    _, image = scene((40, 42), boundary="wrap")
    image = np.stack([image, 0.8 * image[::-1], 0.3 + 0.2 * image[:, ::-1]])
    result = fd.solve(image, PSF, prior="learned", boundary="wrap", channel_axis=0, max_iter=20, tol=0)
    mean = [naive.convolve(plane.tolist(), PSF.tolist(), "wrap") for plane in result.image]
    a, b, c = result.image
    mixed = np.stack([(a + b + c) / 3**0.5, (a - c) / 2**0.5, (a - 2 * b + c) / 6**0.5])
    spread = 3**0.5 * np.ptp(np.quantile(image, [0.001, 0.999]))
    rough = prior(mixed, "wrap", learned.Scale(result.noise, spread, factor=FACTOR))[0]
    misfit = 0.5 * ((np.array(mean) - image) ** 2).sum()
    assert result.objective == pytest.approx(misfit + result.mu * rough, rel=2e-3)
    # Not where channels have weights of their own, or bounds: there each is taken by itself.
    weights = np.ones(image.shape)
    weights[0, 3:5, 4] = 0.5
    for options in ({"weights": weights}, {"bounds": (-9, 9)}):
        other = fd.solve(image, PSF, prior="learned", boundary="wrap", channel_axis=0, max_iter=2, tol=0, **options)
        alone = prior(image, "wrap", learned.Scale(other.noise, spread / 3**0.5, factor=FACTOR))[0]
        blurred = np.array([naive.convolve(plane.tolist(), PSF.tolist(), "wrap") for plane in image])
        start = 0.5 * (options.get("weights", 1) * (blurred - image) ** 2).sum() + other.mu * alone
        assert other.history[0] == pytest.approx(start, rel=2e-3)


def test_smooth_images_are_smoothed_more(rng):
    """Whatever their brightness; one without contrast, or without noise, has a factor, too."""
    y, x = np.mgrid[:96, :90]
    smooth, rough = 0.5 + 0.4 * np.sin(x / 9) * np.cos(y / 8), 0.3 + 0.4 * ((x // 3 + y // 4) % 2)
    noise = 0.01 * rng.standard_normal(smooth.shape)

    def factor(image):
        return WeightEstimate(image[None], [PSF], None).factor_of_learned()

    of_smooth, of_rough = (factor(fd.convolve(each, PSF, boundary="reflect") + noise) for each in (smooth, rough))
    assert of_smooth > 1.5 * of_rough
    brighter = factor(8 * (fd.convolve(smooth, PSF, boundary="reflect") + noise))
    assert brighter == pytest.approx(of_smooth, rel=1e-6)
    seen = WeightEstimate((fd.convolve(rough, PSF, boundary="reflect") + noise)[None], [PSF], None)
    seen._left = seen.noise  # as white noise leaves
    of_white = seen.factor_of_learned()
    seen._left = 2 * seen.noise  # as JPEG's errors leave
    assert 1.1 * of_white < seen.factor_of_learned() < 2 * of_white
    for image in (np.zeros_like(smooth), np.ones_like(smooth), smooth, noise):
        assert 0.2 < factor(image) < 5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_bits_for_any_number_of_threads(dtype):
    _, image = scene((130, 200))
    stack = np.stack([image, image[::-1]]).astype(dtype)
    one, two = (
        fd.solve(stack, PSF, prior="learned", channel_axis=0, max_iter=4, tol=0, workers=workers) for workers in (1, 2)
    )
    assert (one.image == two.image).all()
    assert one.objective == two.objective
    assert one.image.dtype == dtype


@pytest.mark.parametrize("unit", [1.0, 2.0**-40, 2.0**12])
def test_brightness_changes_nothing(unit):
    sharp, image = scene((64, 64), boundary="wrap")
    one, other = (fd.solve(each, PSF, prior="learned", boundary="wrap") for each in (image, unit * image))
    np.testing.assert_allclose(other.image, unit * one.image, rtol=1e-5 * unit, atol=1e-5 * unit)
    assert other.mu == one.mu == 1.0
    assert abs(one.image - sharp).mean() < 0.5 * abs(image - sharp).mean()


def test_channels_are_taken_one_by_one_with_one_scale():
    _, image = scene((48, 50))
    both = fd.solve(np.stack([image, image], axis=-1), PSF, prior="learned", channel_axis=-1, tol=0, max_iter=5)
    np.testing.assert_array_equal(both.image[..., 0], both.image[..., 1])
    alone = fd.solve(image, PSF, prior="learned", tol=0, max_iter=5)
    np.testing.assert_allclose(both.image[..., 0], alone.image, atol=0.02)


def test_callback_and_kept_deblurrer():
    _, image = scene((48, 50))
    seen = []
    deblurrer = fd.Deblurrer(PSF, image.shape, prior="learned")
    stopped = deblurrer.solve(image, callback=lambda state: seen.append(state.objective) or len(seen) == 3)
    assert stopped.stop_reason == "callback"
    assert list(stopped.history[1:]) == seen
    whole = deblurrer.solve(image)
    np.testing.assert_array_equal(whole.image, fd.deblur(image, PSF, prior="learned"))
    assert whole.stop_reason == "tolerance"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "root"}, "data='root' goes with prior 'gradient' or None; got prior='learned'"),
        ({"solver": "exact"}, "solver='exact' goes with prior='gradient'"),
    ],
)
def test_what_it_does_not_take(options, message):
    with pytest.raises(ValueError, match=message):
        fd.Deblurrer(PSF, (16, 16), prior="learned", **options)


def noisy(shape, sigma, seed=0):
    sharp, _ = scene(shape)
    return sharp, sharp + sigma * np.random.default_rng(seed).standard_normal(shape)


def test_denoising_is_the_minimiser_for_that_noise():
    sharp, image = noisy((40, 42), 0.1)
    denoised = fd.denoise(image, 0.1, tol=1e-9, max_iter=400)
    spread = np.ptp(np.quantile(image, [0.001, 0.999]))
    scale = learned.Scale(0.1, spread, True)
    gradient = denoised - image + prior(denoised[None], "reflect", scale)[1][0]
    assert abs(gradient).max() < 1e-3 * abs(denoised - image).max()
    assert abs(denoised - sharp).mean() < 0.6 * abs(image - sharp).mean()


def test_noise_of_an_image_is_found_and_holes_are_filled():
    sharp, image = noisy((96, 90), 0.1)
    found, given = fd.denoise(image.astype(np.float32)), fd.denoise(image.astype(np.float32), 0.1)
    assert found.dtype == np.float32
    assert abs(found - given).mean() < 0.02
    image[30:33, 40:44] = np.nan
    filled = fd.denoise(image, 0.1, bounds=(0, 1))
    assert 0 <= filled.min() <= filled.max() <= 1
    assert abs(filled - sharp)[30:33, 40:44].mean() < 0.2


def test_denoising_takes_channels_with_one_sigma():
    _, image = noisy((32, 30), 0.1)
    both = fd.denoise(np.stack([image, image]), 0.1, channel_axis=0)
    np.testing.assert_array_equal(both[0], both[1])
    for wrong in (0, -1, np.nan, "x"):
        with pytest.raises((TypeError, ValueError), match="sigma must be"):
            fd.denoise(image, wrong)


@pytest.mark.parametrize("boundary", ["unknown", "wrap"])
def test_tiles_are_the_whole(boundary):
    """All follow one noise, one range and one weight; they stop a little before their minima."""
    _, image = scene((100, 110), boundary="wrap")
    image = image.astype(np.float32)
    whole = fd.solve(image, PSF, prior="learned", boundary=boundary)
    tiles = fd.deblur_large(image, PSF, prior="learned", boundary=boundary, tile=(50, 60))
    difference = abs(tiles - whole.image) / np.ptp(whole.image)
    assert np.quantile(difference, 0.99) < 0.03
    assert np.mean(difference) < 5e-3
