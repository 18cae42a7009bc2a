"""Descent on both objectives: gradients, rules, steps, stopping."""

import functools
import itertools
import warnings

import naive
import numpy as np
import pytest
import scipy.ndimage
from sweeps import sweep

import fastdeblur as fd

# The other boundaries are for test_boundaries.py.
solve = functools.partial(fd.solve, boundary="constant", solver="gd", mu=0.2)

RULES = ["gd", "momentum", "nesterov", "adam", "adagrad"]
PSFS = {
    "low rank": np.outer([1.0, 3.0, 2.0], [0.5, 1.0, 0.25, 0.25]) / 12,
    "full rank": np.array([[0.1, 0.3], [0.0, 0.1], [0.2, 0.3]]),
    "single": np.array([[1.0]]),
}


@pytest.fixture
def scene(rng):
    """Image, psf, start: small enough for the oracle."""
    return rng.random((7, 9)), PSFS["low rank"], rng.random((7, 9))


@pytest.mark.parametrize("data", ["root", "squares"])
@pytest.mark.parametrize("prior", ["gradient", None])
@pytest.mark.parametrize("name", PSFS)
@pytest.mark.parametrize("shape", [(7, 9), (1, 6), (5, 1), (1, 1)])
def test_gradient_and_objective_are_the_oracles(shape, name, data, prior, rng):
    image, start, psf = rng.random(shape), rng.random(shape), PSFS[name]
    mu = 0.3 if prior else 0.0
    rate = 1e-3
    result = solve(
        image, psf, data=data, prior=prior, mu=0.3, init=start, solver="gd", learning_rate=rate, max_iter=1, tol=0
    )
    expected = naive.objective([start.tolist()], [image.tolist()], psf.tolist(), data, mu)
    whole, _, _ = naive.gradient([start.tolist()], [image.tolist()], psf.tolist(), data, mu)
    assert result.history[0] == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose((start - result.image) / rate, whole[0], rtol=0, atol=1e-11)
    assert result.mu == mu


@pytest.mark.parametrize("data", ["root", "squares"])
def test_oracles_gradient_is_that_of_its_objective(data, scene):
    image, psf, start = scene
    whole, first, second = naive.gradient([start.tolist()], [image.tolist()], psf.tolist(), data, 0.3)
    np.testing.assert_allclose(np.add(first, second), whole)
    for i, j in itertools.product((0, 3, 6), (0, 4, 8)):
        values = []
        for step in (1e-5, -1e-5):
            moved = start.copy()
            moved[i, j] += step
            values.append(naive.objective([moved.tolist()], [image.tolist()], psf.tolist(), data, 0.3))
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(whole[0][i][j], abs=1e-8)


@pytest.mark.parametrize("data", ["root", "squares"])
def test_optimality_is_its_definition(data, scene):
    image, psf, start = scene
    result = solve(image, psf, data=data, mu=0.3, init=start, max_iter=1, tol=0)
    parts = naive.gradient([result.image.tolist()], [image.tolist()], psf.tolist(), data, 0.3)
    whole, first, second = map(np.linalg.norm, map(np.ravel, parts))
    assert result.optimality == pytest.approx(whole / (first + second), rel=1e-9)
    assert result.objective == result.history[-1]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("data", ["root", "squares"])
def test_rules(rule, data, scene):
    image, psf, start = scene
    rate, steps = 0.01, 4
    x = [start.tolist()]
    gradients = []
    for step in range(steps):
        gradients.append(np.array(naive.gradient(x, [image.tolist()], psf.tolist(), data, 0.3)[0][0]))
        moved = np.empty_like(start)
        for i, j in np.ndindex(start.shape):
            moved[i, j] = naive.rule(rule, rate, start[i, j], [g[i, j] for g in gradients[: step + 1]])
        x = [moved.tolist()]
    result = solve(image, psf, data=data, mu=0.3, init=start, solver=rule, learning_rate=rate, max_iter=steps, tol=0)
    np.testing.assert_allclose(result.image, x[0], rtol=0, atol=1e-11)
    assert result.n_iter == steps
    assert result.n_products == steps + 1  # and one for the final objective and optimality


@pytest.mark.parametrize("data", ["root", "squares"])
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_channels_are_one_problem(axis, data, rng):
    psf = PSFS["low rank"]
    images, starts = rng.random((2, 3, 6, 8))
    result = solve(
        np.moveaxis(images, 0, axis), psf, data=data, mu=0.3, init=np.moveaxis(starts, 0, axis), channel_axis=axis,
        learning_rate=1e-3, solver="gd", max_iter=1, tol=0,
    )  # fmt: skip
    arguments = [a.tolist() for a in starts], [a.tolist() for a in images], psf.tolist(), data, 0.3
    assert result.history[0] == pytest.approx(naive.objective(*arguments), rel=1e-12)
    assert result.image.shape == np.moveaxis(images, 0, axis).shape
    moved = (starts - np.moveaxis(result.image, axis, 0)) / 1e-3
    np.testing.assert_allclose(moved, naive.gradient(*arguments)[0], rtol=0, atol=1e-11)


def test_channels_of_large_images(rng):
    image = rng.random((70, 600, 3), dtype=np.float32)
    psf = rng.random((5, 5))
    psf /= psf.sum()
    together = solve(image, psf, data="squares", mu=0.1, channel_axis=2, learning_rate=0.5, max_iter=5, tol=0)
    for k in range(3):
        alone = solve(image[..., k], psf, data="squares", mu=0.1, learning_rate=0.5, max_iter=5, tol=0)
        np.testing.assert_array_equal(together.image[..., k], alone.image)


@sweep(data=["root", "squares"], init=["image", "zeros", "normal"], dtype=["float32", "float64"])
def test_gd_chooses_its_step_and_never_rises(data, init, dtype, photograph):
    _, image, psf = photograph
    seed = 1 if init == "normal" else None
    result = solve(image.astype(dtype), psf, data=data, mu=0.05, init=init, seed=seed, max_iter=400, tol=0)
    assert (np.diff(result.history) <= 0).all()
    assert result.history.shape == (401,)
    # 4000 steps more find nothing that is 1 % better.
    longer = solve(image.astype(dtype), psf, data=data, mu=0.05, init=result.image, max_iter=4000, tol=0)
    assert result.objective <= longer.objective * 1.01


def test_iterations_do_not_grow_with_the_image(rng):
    """A fixed step moves every image as far, so a larger one needs more of them; not this one."""
    needed = []
    for side in (48, 256):
        sharp = scipy.ndimage.gaussian_filter(rng.random((side, side)), 4) * 20
        psf = fd.psf.gaussian(9, 1.5)
        history = solve(fd.convolve(sharp, psf), psf, init="zeros", tol=0, max_iter=1000).history
        needed.append(int(np.argmax(history < 1.02 * history[-1])))
    assert 0 < needed[1] < 2 * needed[0]  # five times, were it so


@pytest.mark.parametrize("data", ["root", "squares"])
@pytest.mark.parametrize("mu", [0.02, 0.2])
def test_float32_reaches_the_default_tolerance(data, mu, photograph):
    """Where a step changes the objective by less than rounding, descent goes on."""
    _, image, psf = photograph
    exact = solve(image, psf, data=data, mu=mu, max_iter=5000)
    single = solve(image.astype("float32"), psf, data=data, mu=mu, max_iter=5000)
    assert exact.stop_reason == single.stop_reason == "tolerance"
    assert single.n_iter <= 1.2 * exact.n_iter
    assert (np.diff(single.history) <= 0).all()
    np.testing.assert_allclose(single.image, exact.image, rtol=0, atol=0.01)


def test_a_step_that_would_rise_is_halved(photograph):
    """From a flat start the prior's kink makes the first steps too long."""
    _, image, psf = photograph
    for dtype in ("float32", "float64"):
        result = solve(image.astype(dtype), psf, mu=50.0, init="zeros", max_iter=300, tol=0)
        assert (np.diff(result.history) <= 0).all()
        assert result.n_products > 301


@pytest.mark.parametrize("data", ["root", "squares"])
def test_restores(data, photograph):
    sharp, image, psf = photograph
    mu = 0.05 if data == "root" else 0.002
    restored = fd.deblur(image, psf, data=data, mu=mu, boundary="constant", solver="gd")
    inner = np.s_[8:-8, 8:-8]
    assert np.mean((restored - sharp)[inner] ** 2) < 0.7 * np.mean((image - sharp)[inner] ** 2)


def test_tol(photograph):
    _, image, psf = photograph
    result = solve(image, psf, mu=0.05, tol=1e-2)
    assert result.stop_reason == "tolerance"
    assert 0 < result.optimality <= 1e-2
    assert 0 < result.n_iter < 500
    assert result.history.shape == (result.n_iter + 1,)
    assert result.history[-1] == result.objective
    again = solve(image, psf, mu=0.05, tol=1e-2, init=result.image)
    assert again.n_iter == 0
    np.testing.assert_array_equal(again.image, result.image)


def test_result(photograph):
    _, image, psf = photograph
    result = solve(image, psf, max_iter=7, tol=0)
    assert result.stop_reason == "max_iter"
    assert (result.n_iter, result.mu, result.path, result.device) == (7, 0.2, "separable", "cpu")
    assert result.seconds > 0
    assert repr(result).startswith("<Result: 96x120 float64, objective ")
    with pytest.raises(AttributeError):
        result.mu = 1
    assert result != solve(image, psf, max_iter=7, tol=0)  # eq=False: arrays have no truth value
    np.testing.assert_array_equal(
        fd.deblur(image, psf, boundary="constant", solver="gd", mu=0.2, max_iter=7, tol=0), result.image
    )


@pytest.mark.parametrize("mu", [1e30, 1e300])
def test_a_weight_beyond_reason(mu, photograph):
    _, image, psf = photograph
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for dtype in ("float32", "float64"):
            for data in ("root", "squares"):
                result = solve(image.astype(dtype), psf, data=data, mu=mu, max_iter=3)
                assert np.isfinite(result.image).all()
                assert 0 <= result.optimality <= 1 + 1e-6


def test_a_blur_in_place_of_a_psf(photograph):
    _, image, psf = photograph
    blur = fd.Blur(psf, image.shape, path="direct")
    result = solve(image, blur, max_iter=3)
    assert result.path == "direct"
    expected = solve(image, psf, path="direct", max_iter=3)
    np.testing.assert_array_equal(result.image, expected.image)


@pytest.mark.parametrize("rule", ["gd", "momentum", "nesterov"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_divergence(rule, dtype, photograph):
    _, image, psf = photograph
    with pytest.warns(RuntimeWarning, match="learning_rate"):
        result = solve(image.astype(dtype), psf, data="squares", solver=rule, learning_rate=1e4)
    assert result.stop_reason == "diverged"
    assert np.isfinite(result.image).all()
    assert np.isfinite(result.history).all()
    assert np.isfinite([result.objective, result.optimality]).all()
    assert result.history.shape == (result.n_iter + 1,)
    assert result.history[-1] == result.objective


def test_an_objective_that_is_never_finite():
    image = np.full((8, 8), 1e200)
    with pytest.warns(RuntimeWarning, match="after iteration 0"):
        result = solve(image, [[0.5, 0.5]], data="squares", init=-image)
    assert result.stop_reason == "diverged"
    assert result.n_iter == 0
    assert np.isfinite(result.image).all()


@pytest.mark.parametrize("data", ["root", "squares"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("power", [-105, -60, 60, 80])
def test_brightness_does_not_matter(power, dtype, data, photograph):
    """Fluxes in physical units are like 1e-17, and their squares are no float32."""
    _, image, psf = photograph
    factor = 2.0**power
    plain = solve(image.astype(dtype), psf, data=data, mu=0.1, max_iter=20, tol=0)
    scaled = solve((image * factor).astype(dtype), psf, data=data, mu=0.1, max_iter=20, tol=0)
    # Products of a float32 near 1e-32 and a small weight are subnormal: they lose bits.
    lost = 1e-40 if power == -105 else 0
    np.testing.assert_allclose(scaled.image, plain.image * plain.image.dtype.type(factor), rtol=0, atol=lost)
    order = 1 if data == "root" else 2
    np.testing.assert_allclose(scaled.history, plain.history * factor**order, rtol=1e-6 if lost else 1e-12)
    assert scaled.optimality == pytest.approx(plain.optimality, rel=1e-4 if lost else 1e-12)


@pytest.mark.parametrize("data", ["root", "squares"])
@pytest.mark.parametrize("rule", RULES)
def test_where_roots_have_no_gradient(rule, data):
    """Zero residual, zero differences, or both: never NaN."""
    flat, edge = np.full((6, 6), 0.5), np.tri(6)
    for image, init in ((flat, "image"), (flat, "zeros"), (edge, "image"), (np.zeros((6, 6)), "image")):
        result = solve(image, [[1.0]], data=data, solver=rule, init=init, max_iter=5, tol=0)
        assert np.isfinite(result.image).all()
        assert np.isfinite(result.history).all()
    result = solve(flat, [[1.0]], data=data, solver=rule, max_iter=5)
    np.testing.assert_array_equal(result.image, flat)
    assert (result.stop_reason, result.optimality) == ("tolerance", 0)


@sweep(rule=RULES, path=["direct", "separable", "fft"])
def test_same_bits_for_any_number_of_threads(rule, path, rng):
    image = rng.random((300, 700), dtype=np.float32)
    psf = fd.psf.gaussian(7, (1, 2))
    results = [solve(image, psf, solver=rule, path=path, workers=n, max_iter=20, tol=0) for n in (1, 2, 2, 3, None)]
    for other in results[1:]:
        np.testing.assert_array_equal(other.image, results[0].image)
        np.testing.assert_array_equal(other.history, results[0].history)
        assert other.optimality == results[0].optimality


def test_chunks_do_not_matter(photograph):
    """Many steps, hence many returns to Python, against one step at a time."""
    _, image, psf = photograph
    whole = solve(image, psf, max_iter=300, tol=0)
    single = solve(image, psf, max_iter=300, tol=0, callback=lambda state: None)
    np.testing.assert_array_equal(whole.image, single.image)
    np.testing.assert_array_equal(whole.history, single.history)


def test_nothing_of_the_callers_is_changed(rng):
    image, psf, init = rng.random((30, 40)), PSFS["low rank"].copy(), rng.random((30, 40))
    copies = image.copy(), psf.copy(), init.copy()
    for array in (image, psf, init):
        array.flags.writeable = False
    result = solve(image, psf, init=init, max_iter=3)
    for array, copy in zip((image, psf, init), copies, strict=True):
        np.testing.assert_array_equal(array, copy)
        assert not np.may_share_memory(array, result.image)


def test_any_strides(rng):
    image = rng.random((30, 80))
    expected = solve(image, PSFS["low rank"], max_iter=3, tol=0).image
    double = np.zeros((60, 160))
    double[::2, ::2] = image
    wide = np.zeros((30, 100))
    wide[:, 10:90] = image
    for same in (np.asfortranarray(image), double[::2, ::2], wide[:, 10:90], image.astype(">f8"), image.tolist()):
        np.testing.assert_array_equal(solve(same, PSFS["low rank"], max_iter=3, tol=0).image, expected)


def test_progress(photograph, capsys):
    _, image, psf = photograph
    solve(image, psf, max_iter=30, tol=0, progress=True)
    assert "30/30" in capsys.readouterr().err


def test_psf_that_does_not_sum_to_one(photograph):
    _, image, psf = photograph
    with pytest.warns(UserWarning, match="sums to 1.02"):
        solve(image, psf * 1.02, max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve(image, psf * 1.005, max_iter=1)


def test_integers_are_not_scaled(rng):
    image = rng.integers(0, 255, (20, 20), dtype=np.uint8)
    result = solve(image, [[1.0]], prior=None, max_iter=1)
    assert result.image.dtype == np.float32
    np.testing.assert_array_equal(result.image, image)


def test_memory(rng):
    """At most four image-sized buffers beyond the image and the result, and none a step."""
    import tracemalloc

    image = rng.random((512, 1024), dtype=np.float32)
    psf = fd.psf.gaussian(5, 1)
    solve(image, psf, max_iter=1)
    peaks = []
    for steps in (2, 60):
        tracemalloc.start()
        solve(image, psf, max_iter=steps, tol=0)
        peaks.append(tracemalloc.get_traced_memory()[1] / image.nbytes)
        tracemalloc.stop()
    assert peaks[0] < 5.2  # four and the result, with their halos
    assert peaks[1] < peaks[0] + 0.01
