import itertools
import math
import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import naive
import numba
import numpy as np
import pytest
from dense import Problem
from preloaded import fresh
from skimage import color, data, restoration
from sweeps import sweep

import fastdeblur as fd
from fastdeblur.kernels.runtime import tasks
from fastdeblur.operators.boundary import BOUNDARIES
from fastdeblur.problem.laplacian import eigenvalues
from fastdeblur.solvers.pcg import preconditioner
from fastdeblur.solvers.pcg.preconditioner import Preconditioner

NOTEBOOK = fd.psf.gaussian(13, (1, 3))


def scene(shape):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return 0.5 + 0.3 * np.sin(x / 2.3 + 0.5) * np.cos(y / 3.1) + 0.2 * (x + y > shape[0])


def blurred(shape, psf, boundary, noise, rng):
    blur = fd.Blur(psf, shape, boundary=boundary, dtype=np.float64)
    return blur.forward(scene(blur.estimate_shape)) + noise * rng.standard_normal(shape)


def photograph(dtype=np.float32):
    return color.rgb2gray(data.astronaut()).astype(dtype)


@sweep(boundary=BOUNDARIES, taps_and_noise=[((3, 3), 0.0), ((4, 3), 0.02), ((1, 4), 0.0), ((1, 1), 0.02)])
def test_the_minimum_of_small_problems(boundary, taps_and_noise, rng):
    taps, noise = taps_and_noise
    psf = rng.random(taps) + 0.2
    psf /= psf.sum()
    image = blurred((10, 9), psf, boundary, noise, rng)
    problem = Problem(image, psf, boundary)
    for mu in (1e-3, 0.05, 1.0):
        for kind, wanted in (("root", problem.root(mu)), ("squares", problem.squares(mu))):
            result = fd.solve(image, psf, data=kind, mu=mu, boundary=boundary, tol=1e-6)
            f, g = problem.norms(wanted)
            least = np.sqrt(0.5) * (f + mu * g) if kind == "root" else 0.5 * (f * f + mu * g * g)
            assert result.objective <= least * (1 + 1e-6) + 1e-15, (kind, mu)
            assert result.objective >= least * (1 - 1e-6), (kind, mu)
            np.testing.assert_allclose(result.image, problem.frame(wanted)[0], atol=1e-4, err_msg=f"{kind} {mu}")


@pytest.mark.parametrize("taps", [(5, 5), (4, 6)])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_minimum_where_the_preconditioner_is_not_the_inverse(boundary, taps, rng):
    # More than WHOLE pixels: transforms, ends and corners.
    psf = rng.random(taps) + 0.2
    psf /= psf.sum()
    image = blurred((47, 43), psf, boundary, 0.02, rng)
    result = fd.solve(image, psf, mu=0.1, boundary=boundary, tol=1e-8)
    assert result.stop_reason == "tolerance"
    assert result.n_iter < 60
    # Stationary, by the operator itself: a convex problem has no other minimum than that.
    blur = fd.Blur(psf, image.shape, boundary=boundary, dtype=np.float64)
    assert result.optimality <= 1e-8
    domain = blur.estimate_shape
    if domain == image.shape:
        x = result.image
        r = blur.forward(x) - image
        prior = np.zeros(domain)
        g = 0.0
        for axis in (0, 1):
            step = np.diff(x, axis=axis, append=np.take(x, [0 if boundary == "wrap" else -1], axis))
            prior -= step - np.roll(step, 1, axis)
            g = math.hypot(g, np.linalg.norm(step))
        f = np.linalg.norm(r)
        data_part, prior_part = blur.adjoint(r) / f, 0.1 * prior / g
        assert np.linalg.norm(data_part + prior_part) < 1e-7 * np.linalg.norm(prior_part)
        np.testing.assert_allclose(result.objective, np.sqrt(0.5) * (f + 0.1 * g), rtol=1e-12)


@pytest.mark.parametrize("kind", ["root", "squares"])
def test_cosines_need_no_iterations(kind, rng):
    psf = fd.psf.gaussian((5, 3), 1.0)
    image = blurred((13, 12), psf, "reflect", 0.02, rng)
    problem = Problem(image, psf, "reflect")
    for mu in (1e-3, 0.1, 5.0):
        result = fd.solve(image, psf, data=kind, mu=mu, boundary="reflect")
        wanted = problem.root(mu) if kind == "root" else problem.squares(mu)
        np.testing.assert_allclose(result.image, problem.frame(wanted)[0], atol=1e-6)
        assert (result.n_iter, result.n_products, result.stop_reason) == (0, 1.0, "tolerance")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(13, 12), (1, 37), (16, 1), (2, 3)])
def test_a_periodic_problem_is_one_division(dtype, shape, rng):
    psf = rng.random((4, 5))  # longer than the smaller sides
    psf /= psf.sum()
    image = blurred(shape, psf, "wrap", 0.02, rng).astype(dtype)
    problem, accuracy = Problem(image, psf.astype(dtype), "wrap"), 1e-4 if dtype == np.float32 else 1e-9
    for kind, mu in (("squares", 0.02), ("root", 0.02), ("squares", 5.0), ("root", 5.0)):
        result = fd.solve(image, psf, data=kind, mu=mu, boundary="wrap")
        wanted = problem.root(mu) if kind == "root" else problem.squares(mu)
        np.testing.assert_allclose(result.image, problem.frame(wanted)[0], atol=accuracy, err_msg=f"{kind} {mu}")
        assert (result.n_iter, result.stop_reason) == (0, "tolerance")
        # In single precision, rounding shows where hardly any residual is left.
        assert result.optimality < (1e-9 if dtype == np.float64 else 1e-2 if kind == "root" else 1e-5)
        f, g = problem.norms(np.asarray(result.image, float).reshape(-1, 1))
        least = np.sqrt(0.5) * (f + mu * g) if kind == "root" else 0.5 * (f * f + mu * g * g)
        assert result.objective == pytest.approx(least, rel=accuracy, abs=1e-3 * accuracy)


def test_a_periodic_problem_is_wieners_filter(rng):
    """As another package divides."""
    psf = fd.psf.motion(7, 30)
    image = blurred((48, 40), psf, "wrap", 0.02, rng)
    squares = [2 - 2 * np.cos(2 * np.pi * np.fft.fftfreq(48))[:, None], 2 - 2 * np.cos(2 * np.pi * np.fft.rfftfreq(40))]
    expected = restoration.wiener(image, psf, 0.05, reg=np.sqrt(squares[0] + squares[1]).astype(complex), clip=False)
    found = fd.deblur(image, psf, data="squares", mu=0.05, boundary="wrap")
    np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("how", ["weights", "holes", "psfs"])
def test_a_periodic_problem_takes_few_steps_without_a_formula(how, rng):
    psf = fd.psf.gaussian(9, 1.5)
    image = np.stack([blurred((80, 84), psf, "wrap", 0.01, rng) for _ in range(2)])
    weights, psfs = None, psf
    if how == "weights":
        weights = 1 + rng.random(image.shape)
    elif how == "holes":
        image[:, :9, 20:60] = image[:, 30:50, :12] = np.nan  # beside the border
    else:
        psfs = np.stack([psf, fd.psf.gaussian(9, 0.9)])
    result = fd.solve(image, psfs, mu=0.05, boundary="wrap", weights=weights, channel_axis=0, tol=1e-6)
    assert result.stop_reason == "tolerance"
    assert result.n_iter <= {"weights": 16, "holes": 30, "psfs": 6}[how]


def test_channels_are_one_problem_for_roots(rng):
    psf = rng.random((3, 4)) + 0.2
    psf /= psf.sum()
    image = np.stack([blurred((9, 8), psf, "mirror", noise, rng) for noise in (0.01, 0.05)], axis=-1)
    result = fd.solve(image, psf, mu=0.3, boundary="mirror", channel_axis=-1, tol=1e-8)
    problem = Problem(np.moveaxis(image, -1, 0), psf, "mirror")
    np.testing.assert_allclose(np.moveaxis(result.image, -1, 0), problem.frame(problem.root(0.3)), atol=1e-6)


def test_the_notebooks_photograph():
    image = fd.convolve(photograph(), NOTEBOOK)
    result = fd.solve(image, NOTEBOOK, mu=0.2, boundary="constant")
    assert result.objective <= 4.1133
    assert result.n_products <= 30
    assert result.image.dtype == np.float32
    assert (np.diff(result.history) <= 1e-6 * result.history[0]).all()


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_few_products_whatever_the_boundary(boundary, rng, long):
    sharp = photograph()[128:384, 128:384]
    # Each psf with each weight, and each boundary with both weights.
    turn = BOUNDARIES.index(boundary)
    for number, psf in enumerate((NOTEBOOK, fd.psf.motion(15, 40), fd.psf.disk(5))):
        image = fd.convolve(sharp, psf, boundary="reflect" if boundary == "unknown" else boundary)
        image += 0.01 * rng.standard_normal(image.shape, np.float32)
        for mu in (0.05, 1.0) if long else [(0.05, 1.0)[(number + turn) % 2]]:
            result = fd.solve(image, psf, mu=mu, boundary=boundary)
            assert result.stop_reason == "tolerance"
            assert result.n_products <= 30


@pytest.mark.parametrize("boundary", ["constant", "mirror"])
def test_few_iterations_after_straight_motions_and_thin_psfs(boundary, rng):
    # With weights that knew nothing of the psf's extent they took 56 to 100, and 28 to 59.
    sharp, thin = photograph()[128:384, 128:384], rng.random((5, 40), np.float32)
    for psf, noise, most in (
        (fd.psf.motion(31, 0), 0.002, 12),
        (fd.psf.motion(31, 90), 0.002, 12),
        (thin / thin.sum(), 0.01, 35),
    ):
        image = fd.convolve(sharp, psf, boundary=boundary)
        image += np.float32(noise) * rng.standard_normal(image.shape, np.float32)
        result = fd.solve(image, psf, mu=0.04, boundary=boundary)
        assert result.stop_reason == "tolerance"
        assert result.n_iter <= most


@pytest.mark.parametrize(
    ("taps", "angle", "boundary", "mu", "most"), [(15, 30, "nearest", 0.04, 85), (31, 0, "nearest", 0.02, 60)]
)
def test_hardly_any_noise_after_motions(taps, angle, boundary, mu, most, rng):
    # With the problem's own ridge in the preconditioner's solves they took 133, and more than 200.
    psf = fd.psf.motion(taps, angle)
    image = fd.convolve(photograph()[128:384, 128:384], psf, boundary=boundary)
    image += np.float32(0.002) * rng.standard_normal(image.shape, np.float32)
    result = fd.solve(image, psf, mu=mu, boundary=boundary)
    assert result.stop_reason == "tolerance"
    assert result.n_iter <= most


def test_the_borders_of_long_psfs_are_corrected():
    # Without, 1024 x 1024 pixels and a random psf took 127 iterations for 17.
    psf = np.full((7, 200), 1 / 1400)
    assert Preconditioner(psf, "unknown", (64, 1024), (70, 1223)).axes[1].is_corrected


@pytest.mark.filterwarnings("error")
@sweep(kind=["root", "squares"], boundary=BOUNDARIES)
def test_corner_cases(boundary, kind, rng, long):
    options = {"data": kind, "boundary": boundary}
    noise = rng.standard_normal((24, 20))
    images = np.zeros((24, 20)), np.full((24, 20), 3.0), noise, noise[:1], noise[:, :1], noise[:1, :1]
    psfs, weights = (NOTEBOOK, np.ones((1, 1)), fd.psf.box((2, 1))), (0.0, 1e-3, 0.5, 1e10, "auto")
    # All pairs, and all triples of image, weight and psf over the six boundaries, of which each takes half of them.
    for (i, image), (j, mu) in itertools.product(enumerate(images), enumerate(weights)):
        if not long and (i + j + BOUNDARIES.index(boundary) + (kind == "root")) % 2:
            continue
        psf = psfs[(i + j + BOUNDARIES.index(boundary)) % 3]
        result = fd.solve(image, psf, mu=mu, max_iter=40, **options)
        assert np.isfinite(result.image).all()
        assert np.isfinite([result.objective, result.optimality, result.mu]).all()
        assert result.n_iter <= 40
    np.testing.assert_array_equal(fd.solve(np.zeros((24, 20)), NOTEBOOK, mu=0.2, **options).image, 0)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_huge_weight_leaves_a_constant(boundary, rng):
    image = 1 + 0.1 * rng.standard_normal((24, 20))
    for kind in ("root", "squares"):
        restored = fd.deblur(image, fd.psf.box((3, 4)), data=kind, mu=1e9, boundary=boundary)
        assert np.ptp(restored) < 1e-6
        if boundary in ("reflect", "wrap"):
            np.testing.assert_allclose(restored, image.mean(), rtol=1e-3)


def test_without_a_weight_it_is_bounded(rng):
    image = blurred((60, 50), NOTEBOOK, "constant", 0.01, rng)
    result = fd.solve(image, NOTEBOOK, mu=0, boundary="constant", max_iter=30)
    assert (result.stop_reason, result.n_iter) == ("max_iter", 30)
    assert np.isfinite(result.image).all()


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**80])
def test_brightness_changes_nothing(scale, rng):
    image = blurred((60, 50), NOTEBOOK, "unknown", 0.01, rng).astype(np.float32)
    here, there = (fd.solve(image * np.float32(s), NOTEBOOK, mu=0.1) for s in (1, scale))
    np.testing.assert_array_equal(there.image / np.float32(scale), here.image)
    np.testing.assert_allclose(there.objective, here.objective * scale, rtol=1e-12)


@pytest.mark.parametrize(
    ("boundary", "kind"),
    [("unknown", ""), ("nearest", ""), ("wrap", ""), ("wrap", "weighted"), ("wrap", "descent")],
)
def test_the_same_bits_for_any_number_of_threads(boundary, kind, rng):
    image = blurred((300, 260), NOTEBOOK, boundary, 0.01, rng).astype(np.float32)
    options = {"mu": 0.1, "boundary": boundary}
    options |= {"weighted": {"weights": rng.random(image.shape)}, "descent": {"solver": "gd", "max_iter": 4}}.get(
        kind, {}
    )
    one, two = (fd.solve(image, NOTEBOOK, workers=n, **options) for n in (1, 2))
    np.testing.assert_array_equal(one.image, two.image)
    assert (one.objective, one.optimality) == (two.objective, two.optimality)


def test_callback_and_history(rng):
    image = blurred((60, 50), NOTEBOOK, "unknown", 0.01, rng)
    seen = []

    def callback(state):
        assert not state.estimate.flags.writeable
        seen.append((state.iteration, state.objective, state.optimality, state.estimate.copy()))
        return state.iteration == 3

    result = fd.solve(image, NOTEBOOK, mu=0.1, tol=0, callback=callback)
    assert (result.stop_reason, result.n_iter) == ("callback", 3)
    assert [entry[0] for entry in seen] == [1, 2, 3]
    np.testing.assert_array_equal([entry[1] for entry in seen], result.history[1:])
    np.testing.assert_array_equal(seen[-1][3], result.image)
    assert result.n_products == 4.5  # two for each of four iterates, and one for constants


def test_start_and_out(rng):
    image = blurred((60, 50), NOTEBOOK, "constant", 0.01, rng)
    deblurrer = fd.Deblurrer(NOTEBOOK, image.shape, mu=0.1, boundary="constant", tol=1e-8)
    first = deblurrer.solve(image)
    again = deblurrer.solve(image, init=first.image)
    assert again.n_iter < first.n_iter // 2
    np.testing.assert_allclose(again.image, first.image, atol=1e-6)
    out = np.empty_like(image)
    assert deblurrer.solve(image, out=out).image is out
    np.testing.assert_array_equal(out, first.image)
    with pytest.raises(ValueError, match="out must be"):
        deblurrer.solve(image, out=out[1:])
    with pytest.raises(TypeError, match="out must be an ndarray of float64"):
        deblurrer.solve(image, out=out.astype(np.float32))
    with pytest.raises(ValueError, match=r"image must have the shape \(60, 50\)"):
        deblurrer.solve(image[1:])


def test_a_start_far_brighter_than_the_image(rng):
    image = rng.random((20, 21)).astype(np.float32)
    init = np.full(image.shape, 1e3)
    usual = fd.solve(image, NOTEBOOK, mu=0.2, boundary="constant")
    far = fd.solve(image, NOTEBOOK, mu=0.2, boundary="constant", init=init)
    assert far.objective == pytest.approx(usual.objective, rel=1e-5)
    assert np.abs(far.image - usual.image).max() < 0.02
    assert np.isfinite(fd.deblur(image, NOTEBOOK, mu=0.2, boundary="constant", init=1e27 * init)).all()
    with pytest.raises(ValueError, match=r"init must be finite; at index .* it is inf"):
        fd.solve(image, NOTEBOOK, init=1e37 * init)
    start = np.full(image.shape, 0.5)
    deblurrer = fd.Deblurrer(NOTEBOOK, image.shape, mu=0.2, init=start, max_iter=1, tol=0)
    first = deblurrer(image)
    start[...] = np.nan
    assert np.array_equal(deblurrer(image), first)


@pytest.mark.parametrize("options", [{}, {"prior": "tv"}, {"data": "poisson", "prior": None}])
def test_threads_are_those_at_the_time_of_the_call(options, rng, monkeypatch):
    image = rng.random((400, 410)).astype(np.float32)
    launched, launch = [], tasks.launch
    monkeypatch.setattr(
        tasks, "launch", lambda entry, record, slots: launched.append(slots) or launch(entry, record, slots)
    )
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        deblurrer = fd.Deblurrer(NOTEBOOK, image.shape, mu=0.2, max_iter=3, tol=0, **options)
        one = deblurrer(image)
        assert set(launched) == {1}
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
        assert np.array_equal(deblurrer(image), one)
        assert max(launched) == numba.config.NUMBA_NUM_THREADS
        launched.clear()
        numba.set_num_threads(1)
        deblurrer(image)
        assert set(launched) == {1}
    finally:
        numba.set_num_threads(before)


def test_deblurrer_is_solve_and_takes_threads(rng):
    frames = [blurred((90, 80), NOTEBOOK, "unknown", 0.01, rng).astype(np.float32) for _ in range(4)]
    alone = [fd.deblur(frame, NOTEBOOK, mu=0.1) for frame in frames]
    deblurrer = fd.Deblurrer(NOTEBOOK, (90, 80), mu=0.1)
    for wanted, got in zip(alone, deblurrer.map(frames), strict=True):
        np.testing.assert_array_equal(got, wanted)
    with ThreadPoolExecutor(4) as pool:
        for wanted, got in zip(alone * 3, pool.map(deblurrer, frames * 3), strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_a_second_image_allocates_only_its_result(rng):
    image = blurred((512, 512), NOTEBOOK, "unknown", 0.01, rng).astype(np.float32)
    deblurrer = fd.Deblurrer(NOTEBOOK, image.shape, mu=0.1)
    deblurrer(image)
    tracemalloc.start()
    try:
        deblurrer(image)
        # And, whatever the image's size, what noise and misfit of its middle are measured in.
        assert tracemalloc.get_traced_memory()[1] < 1.1 * image.nbytes + 3.7e6
    finally:
        tracemalloc.stop()


@sweep(noise=[0.004, 0.03], kind=["root", "squares"])
def test_the_automatic_weight_is_near_the_best(kind, noise, rng):
    sharp = color.rgb2gray(data.astronaut())[100:356, 100:356]
    psf = fd.psf.disk(3)
    image = fd.convolve(sharp, psf, boundary="unknown") + noise * rng.standard_normal((250, 250))
    inner = (slice(15, -15),) * 2

    def quality(mu):
        result = fd.solve(image, psf, data=kind, mu=mu)
        return -10 * np.log10(np.mean((result.image - sharp[3:-3, 3:-3])[inner] ** 2)), result.mu

    chosen, mu = quality("auto")
    best = max(quality(mu * factor)[0] for factor in (0.2, 0.4, 0.7, 1.4, 2.5, 5))
    assert chosen > best - 0.3
    np.testing.assert_allclose(quality(mu)[0], chosen, atol=0.02)


def test_objective_is_that_of_the_estimate(rng):
    psf = rng.random((3, 2))
    image = rng.random((8, 7))
    with pytest.warns(UserWarning, match="psf sums to"):
        result = fd.solve(image, psf, mu=0.3, boundary="nearest")
    wanted = naive.objective([result.image.tolist()], [image.tolist()], psf.tolist(), "root", 0.3, "nearest")
    np.testing.assert_allclose(result.objective, wanted, rtol=1e-12)


@pytest.mark.parametrize(("taps", "size"), [(31, 160), (41, 163)])
def test_ridges_near_rounding_are_no_harder_in_float32(taps, size, rng):
    """What is corrected at the ends must stay positive; the ring has spare pixels or none."""
    psf = fd.psf.gaussian((taps, taps), taps / 6)
    sharp = (rng.random((size // 8 + 1, size // 8 + 1)) > 0.5).repeat(8, 0).repeat(8, 1)[:size, :size]
    image = fd.convolve(sharp.astype(float), psf, boundary="reflect") + 0.01 * rng.standard_normal(sharp.shape)
    single, double = (
        fd.solve(image.astype(dtype), psf, data="squares", mu=1e-4, tol=1e-4) for dtype in (np.float32, np.float64)
    )
    assert max(single.n_iter, double.n_iter) <= 20
    np.testing.assert_allclose(single.objective, double.objective, rtol=1e-4)


def test_what_rounding_leaves_is_not_iterated_for():
    rows, cols = np.mgrid[:300, :310] / 50
    psf = fd.psf.gaussian(61, 9)
    sharp = 100 + np.sin(rows) * np.cos(cols)  # hardly any differences, beside what its pixels are rounded to
    blurred = fd.convolve(sharp, psf, boundary="mirror") + 0.01 * np.random.default_rng(0).standard_normal(sharp.shape)
    single, double = (fd.solve(blurred.astype(dtype), psf, data="squares", mu=1) for dtype in ("float32", "float64"))
    assert (single.stop_reason, double.stop_reason) == ("tolerance", "tolerance")
    assert single.optimality > 1e-4 >= double.optimality
    assert single.n_iter <= double.n_iter
    np.testing.assert_allclose(single.image, double.image, rtol=0, atol=1e-3)


@pytest.mark.filterwarnings("ignore:psf is about")
def test_the_same_bits_for_any_number_of_blas_threads(tmp_path, capsys):
    """One inverse for all pixels, corrections at the borders, cosines: none by what NumPy's threads compute."""
    script = """if True:
        import hashlib
        import numpy as np
        import fastdeblur as fd
        from fastdeblur.solvers.pcg.dct import Cosines

        rng = np.random.default_rng(3)
        psf = rng.random((13, 13))
        for shape, boundary in (((22, 27), "unknown"), ((60, 70), "nearest")):
            result = fd.solve(rng.random(shape), psf / psf.sum(), mu=0.1, boundary=boundary)
            print(hashlib.sha256(result.image.tobytes()).hexdigest())
        print(hashlib.sha256(Cosines(fd.psf.gaussian(31, 6), (201, 204))._psf_power.tobytes()).hexdigest())
    """
    count = "2" if os.environ["OPENBLAS_NUM_THREADS"] == "1" else "1"  # this process has the other
    done = fresh(script, cwd=tmp_path, environment={**os.environ, "OPENBLAS_NUM_THREADS": count})
    assert done.returncode == 0, done.stderr
    exec(script, {})
    assert done.stdout == capsys.readouterr().out


@pytest.mark.parametrize("periodic", [True, False])
def test_eigenvalues_of_the_laplacian_are_those_of_its_matrix(periodic):
    for size in (1, 2, 7, 8):
        d = np.roll(np.eye(size), 1, axis=1) - np.eye(size) if periodic else np.diff(np.eye(size), axis=0)
        found = np.sort(eigenvalues(size, size, periodic))
        np.testing.assert_allclose(found, np.linalg.eigvalsh(d.T @ d), atol=1e-14)
    angle = (2 if periodic else 1) * np.pi / 10**6  # of long axes the lowest have all digits, too
    assert eigenvalues(10**6, 2, periodic)[1] == pytest.approx(angle**2 - angle**4 / 12, rel=1e-15)


def corrections_with(monkeypatch, taps, boundary, **constants):
    """Those of the axis across the image's rows for some ridges, one after the other."""
    for name, value in constants.items():
        monkeypatch.setattr(preconditioner, name, value)
    shape = (160, 192)
    blur = fd.Blur(taps, shape, boundary=boundary, dtype=np.float64)
    whole = Preconditioner(blur.psf, boundary, shape, blur.estimate_shape, by_formula=False)
    return whole.axes[0], [whole.axes[0].corrections(ridge, None) for ridge in (1e-2, 1e-4)]


@pytest.mark.parametrize("boundary", ["nearest", "unknown"])
@pytest.mark.parametrize("kind", ["gaussian", "random"])
def test_border_corrections_are_interpolated_where_they_change_little(kind, boundary, monkeypatch, rng):
    psf = fd.psf.gaussian(25, 4) if kind == "gaussian" else rng.random((25, 25))
    axis, found = corrections_with(monkeypatch, psf / psf.sum(), boundary, LITTLE=0)
    _, every = corrections_with(monkeypatch, psf / psf.sum(), boundary, COARSEST=1)
    for some, each in zip(found, every, strict=True):
        if kind == "gaussian":
            assert len(some.matrices) < 0.75 * len(each.matrices)
        else:
            assert len(some.matrices) <= len(each.matrices)
        of_some, of_all = axis.as_complex(some.matrices), axis.as_complex(each.matrices)
        if axis.rooted:
            of_some, of_all = (matrices.conj().swapaxes(1, 2) @ matrices for matrices in (of_some, of_all))
        mix, all_mix = some.mix[:, None, None], each.mix[:, None, None]
        between = (1 - mix) * of_some[some.below] + mix * of_some[some.below + 1]
        wanted = (1 - all_mix) * of_all[each.below] + all_mix * of_all[each.below + 1]
        off = np.linalg.norm(between - wanted, axis=(1, 2)) / np.linalg.norm(wanted, axis=(1, 2))
        assert np.quantile(off, 0.9) < 0.01
        assert off.max() < 0.1


def test_border_corrections_do_not_depend_on_what_was_computed_before(monkeypatch):
    psf = fd.psf.disk(12)
    axis, (_, second) = corrections_with(monkeypatch, psf, "reflect", LITTLE=0)
    _, (first, _) = corrections_with(monkeypatch, psf, "reflect", LITTLE=0)
    for ridge, wanted in ((1e-4, second), (1e-2, first)):
        fresh_axis, _ = corrections_with(monkeypatch, psf, "reflect", LITTLE=0)
        for found, want in zip(axis.corrections(ridge, 1), wanted, strict=True):
            np.testing.assert_array_equal(found, want)
        alone = type(axis)(psf.astype(np.float64), "reflect", (160, 192), (160, 192), 1)
        for found, want in zip(alone.corrections(ridge, 1), fresh_axis.corrections(ridge, None), strict=True):
            np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("psf", [fd.psf.gaussian(51, 8), fd.psf.disk(15)], ids=["gaussian", "disk"])
def test_interpolated_border_corrections_take_no_more_iterations(psf, monkeypatch, rng):
    image = blurred((320, 320), psf, "reflect", 0.01, rng).astype(np.float32)
    monkeypatch.setattr(preconditioner, "LITTLE", 0)
    few = fd.solve(image, psf, mu=0.05, boundary="mirror")
    monkeypatch.setattr(preconditioner, "COARSEST", 1)
    many = fd.solve(image, psf * (1 + 1e-6), mu=0.05, boundary="mirror")
    assert few.stop_reason == many.stop_reason == "tolerance"
    assert few.n_iter <= many.n_iter + 1
