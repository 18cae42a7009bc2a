"""Photon noise: Richardson-Lucy against scikit-image and against a minimiser of the likelihood."""

import naive
import numpy as np
import pytest
from dense import differences
from scipy.optimize import minimize
from skimage.restoration import richardson_lucy
from sweeps import sweep

import fastdeblur as fd
from fastdeblur.operators.boundary import BOUNDARIES

PSF = np.outer([0.25, 0.5, 0.25], [0.1, 0.2, 0.4, 0.3])
SHAPE = (12, 13)


def counts(boundary, rng, shape=SHAPE, psf=PSF, brightness=200):
    rows, cols = (n + (k - 1) * (boundary == "unknown") for n, k in zip(shape, psf.shape, strict=True))
    y, x = np.mgrid[:rows, :cols]
    sharp = brightness * (0.2 + 0.8 * ((x - 5) ** 2 + (y - 6) ** 2 < 16))
    return rng.poisson(fd.Blur(psf, shape, boundary=boundary, dtype=float).forward(sharp)).astype(float)


def likelihood(matrix, image, weights, x):
    mean = np.maximum(matrix @ x, 1e-300)
    b, w = image.ravel(), weights.ravel()
    value = (w * (mean - np.where(b > 0, b * np.log(mean), 0))).sum()
    return value, matrix.T @ (w * (1 - b / mean))


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("epsilon", [None, 0.05])
@pytest.mark.parametrize("taps", [(5, 7), (1, 3), (13, 13)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_as_scikit_image_does_it(clip, epsilon, taps, dtype, rng):
    psf = rng.random(taps)
    psf = (psf / psf.sum()).astype(dtype)
    image = np.clip(fd.convolve(rng.random((40, 43)), psf) + 0.02 * rng.standard_normal((40, 43)), 0, None).astype(
        dtype
    )
    expected = richardson_lucy(image, psf, num_iter=15, clip=clip, filter_epsilon=epsilon)
    found = fd.richardson_lucy(image, psf, num_iter=15, clip=clip, filter_epsilon=epsilon)
    assert found.dtype == dtype
    assert np.abs(found - expected).max() < (2e-4 if dtype == np.float32 else 1e-10) * max(1, np.abs(expected).max())


@pytest.mark.parametrize(("dtype", "accuracy"), [("float32", 3e-7), ("float64", 1e-11)])
@pytest.mark.parametrize("options", [{"prior": None}, {"prior": "tv", "mu": 0.01}], ids=["lucy", "tv"])
def test_objectives_are_the_likelihoods_to_the_last_digits(dtype, accuracy, options, rng):
    """Of a start of many magnitudes, to which a prior adds its part."""
    image = rng.poisson(200 * rng.random(SHAPE)).astype(dtype)
    assert (image == 0).any()
    weights, start = rng.random(SHAPE).astype(dtype), (200 * rng.random(SHAPE) ** 8 + 2).astype(dtype)
    matrix = np.array(naive.matrix(SHAPE, PSF.astype(dtype).tolist(), "wrap"))
    expected = likelihood(matrix, image.astype(float), weights.astype(float), start.astype(float).ravel())[0]
    if options["prior"]:
        steps = [np.roll(start.astype(float), -1, axis) - start for axis in (0, 1)]
        expected += options["mu"] * np.hypot(*steps).sum()
    found = fd.solve(image, PSF, data="poisson", boundary="wrap", weights=weights, init=start, max_iter=1, **options)
    assert found.history[0] == pytest.approx(expected, rel=accuracy)


@pytest.mark.parametrize("boundary", ["constant", "wrap"])
def test_a_mean_of_nothing_costs_what_one_of_1e_30_costs(boundary, rng):
    image = rng.random(SHAPE)
    image[3, 4] = 0.75  # near 1, as the floor is of solves
    found = fd.solve(
        image, PSF, data="poisson", prior="tv", mu=0.01, init="zeros", bounds=(0, 0), boundary=boundary, max_iter=1
    )
    assert found.history == pytest.approx(-np.log(1e-30) * image.sum())


@sweep(boundary=BOUNDARIES, weighted=[False, True])
def test_the_likelihood_is_maximal(boundary, weighted, rng):
    image = counts(boundary, rng)
    weights = rng.random(SHAPE) * (rng.random(SHAPE) > 0.2) if weighted else np.ones(SHAPE)
    matrix = np.array(naive.matrix(SHAPE, PSF.tolist(), boundary))
    start = np.full(matrix.shape[1], image.mean())
    bounds = [(1e-9, None)] * len(start)
    options = {"maxiter": 20000, "maxfun": 100000, "ftol": 1e-15, "gtol": 1e-8}
    best = minimize(
        lambda x: likelihood(matrix, image, weights, x),
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options=options,
    )
    result = fd.solve(image, PSF, data="poisson", prior=None, boundary=boundary, weights=weights, tol=0, max_iter=3000)
    scale = abs(best.fun - likelihood(matrix, image, weights, start)[0])
    assert result.objective - best.fun < 0.01 * scale
    assert result.objective > best.fun - 1e-4 * scale
    assert (np.diff(result.history) <= 1e-6 * abs(best.fun)).all()
    assert result.image.min() >= 0


@pytest.mark.parametrize("boundary", ["constant", "unknown", "wrap"])
def test_with_total_variation(boundary, rng):
    """Against a minimiser of the same with differences rounded off a little."""
    image, mu = counts(boundary, rng), 0.1
    matrix = np.array(naive.matrix(SHAPE, PSF.tolist(), boundary))
    rows, cols = (n + (k - 1) * (boundary == "unknown") for n, k in zip(SHAPE, PSF.shape, strict=True))
    down, periodic = differences((rows, cols), boundary == "wrap"), boundary == "wrap"
    number = (rows if periodic else rows - 1) * cols
    vertical, horizontal = np.zeros((rows * cols, rows * cols)), np.zeros((rows * cols, rows * cols))
    vertical[:number] = down[:number]
    at = np.arange(rows * cols).reshape(rows, cols)[:, : cols if periodic else cols - 1].ravel()
    horizontal[at] = down[number:]

    def objective(x):
        value, slope = likelihood(matrix, image, np.ones(SHAPE), x)
        a, b = vertical @ x, horizontal @ x
        lengths = np.sqrt(a * a + b * b + 1e-4)
        return value + mu * lengths.sum(), slope + mu * (vertical.T @ (a / lengths) + horizontal.T @ (b / lengths))

    start = np.full(matrix.shape[1], image.mean())
    options = {"maxiter": 20000, "maxfun": 100000, "ftol": 1e-15, "gtol": 1e-8}
    best = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=[(1e-9, None)] * len(start), options=options)
    result = fd.solve(image, PSF, data="poisson", prior="tv", mu=mu, boundary=boundary, max_iter=3000)
    assert result.objective == pytest.approx(best.fun, rel=1e-3)
    scale = objective(start)[0] - best.fun
    assert result.objective - best.fun < 0.02 * scale
    assert result.image.min() >= 0


def test_it_stops_at_the_noise(rng):
    sharp = 0.2 + 0.8 * (np.hypot(*np.mgrid[-48:48, -48:48]) < 25)
    psf = fd.psf.gaussian(9, 1.5)
    blurred = np.clip(fd.convolve(sharp, psf, boundary="reflect") + 0.03 * rng.standard_normal(sharp.shape), 0, None)
    errors = []
    common = {"data": "poisson", "prior": None}
    fd.solve(
        blurred, psf, tol=0, max_iter=80, callback=lambda s: errors.append(np.mean((s.estimate - sharp) ** 2)), **common
    )
    result = fd.solve(blurred, psf, **common)
    assert result.stop_reason == "noise"
    assert np.mean((result.image - sharp) ** 2) < 1.15 * min(errors)
    assert errors[-1] > 1.5 * min(errors)


@pytest.mark.parametrize("peak", [50, 1000])
@pytest.mark.parametrize("dark", [False, True])
def test_it_stops_at_photon_noise(peak, dark, rng):
    """Which is stronger where the image is brighter."""
    y, x = np.mgrid[:128, :128]
    sharp = np.where((y - 64) ** 2 + (x - 64) ** 2 < 45**2, 0.1, 1.0)
    sharp = 1.1 - sharp if dark else sharp
    psf = fd.psf.gaussian(9, 2.0)
    image = rng.poisson(peak * fd.convolve(sharp, psf, boundary="nearest"))
    errors = []
    common = {"data": "poisson", "prior": None}
    fd.solve(
        image, psf, tol=0, max_iter=40,
        callback=lambda s: errors.append(np.mean((s.estimate / peak - sharp) ** 2)), **common,
    )  # fmt: skip
    assert np.mean((fd.deblur(image, psf, **common) / peak - sharp) ** 2) < 1.2 * min(errors)


def test_acceleration_pays(rng):
    image = counts("constant", rng, (64, 65))
    plain = fd.richardson_lucy(image / 200, PSF, 200, clip=False)
    matrix = fd.Blur(PSF, image.shape, dtype=float)
    mean = matrix.forward(plain) * 200
    reached = (mean - image * np.log(mean)).sum()
    few = fd.solve(image, PSF, data="poisson", prior=None, boundary="constant", tol=0, max_iter=50)
    assert few.objective < reached


@pytest.mark.parametrize("boundary", ["constant", "nearest", "unknown"])
def test_threads_bounds_and_unseen_pixels(boundary, rng):
    image = counts(boundary, rng, (70, 83)).astype(np.float32)
    common = {"data": "poisson", "prior": None, "boundary": boundary, "tol": 0, "max_iter": 12}
    one, two = (fd.solve(image, PSF, workers=workers, **common) for workers in (1, 2))
    assert np.array_equal(one.image, two.image)
    assert np.array_equal(one.history, two.history)
    held = fd.solve(image, PSF, bounds=(20, 150), **common).image
    assert (held.min(), held.max()) == (20, 150)
    weights = np.ones(image.shape)
    weights[10:40, 20:50] = 0
    start = np.full(image.shape, 77.0)
    kept = fd.solve(image, PSF, weights=weights, init=start, **common).image
    assert (kept[18:32, 28:42] == 77).all()


def test_dark_images_and_zeros(rng):
    black = np.zeros((10, 11), np.float32)
    result = fd.solve(black, PSF, data="poisson", prior=None)
    assert np.isfinite(result.image).all()
    assert np.abs(result.image).max() < 1e-3
    result = fd.solve(black, PSF, data="poisson", prior="tv")
    assert np.isfinite(result.image).all()
    few = rng.poisson(0.1, (30, 31)).astype(float)
    for prior in (None, "tv"):
        found = fd.solve(few, PSF, data="poisson", prior=prior)
        assert np.isfinite(found.image).all()
        assert np.isfinite(found.objective)
