"""Total variation, the sparse prior, bounds and denoisers: against independent solvers, and what they promise."""

import copy
import ctypes
import pickle

import naive
import numpy as np
import pytest
from dense import differences
from scipy.optimize import minimize, nnls
from sweeps import few, sweep

import fastdeblur as fd
from fastdeblur.kernels.cpu import shrink
from fastdeblur.operators.boundary import BOUNDARIES
from fastdeblur.solvers.admm.domain import Domain
from fastdeblur.solvers.admm.host import AdmmWorkspace

SHAPE = (13, 14)
PSF = np.outer([0.2, 0.5, 0.3], [0.1, 0.2, 0.4, 0.3])


def scene(shape):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return 0.2 + 0.6 * ((x - 5) ** 2 + (y - 6) ** 2 < 20) + 0.1 * (x > y)


class Dense:
    """The blur and the differences as matrices, in double precision."""

    def __init__(self, boundary, rng, noise=0.02, shape=SHAPE):
        self.grown = tuple(n + (k - 1) * (boundary == "unknown") for n, k in zip(shape, PSF.shape, strict=True))
        self.a = np.array(naive.matrix(shape, PSF.tolist(), boundary))
        self.periodic = boundary == "wrap"
        self.d = differences(self.grown, self.periodic)
        self.image = (self.a @ scene(self.grown).ravel()).reshape(shape) + noise * rng.standard_normal(shape)
        corner = [(k - 1 - k // 2) * (boundary == "unknown") for k in PSF.shape]
        self.frame = tuple(slice(c, c + n) for c, n in zip(corner, shape, strict=True))

    def pairs(self, x):
        """Differences down and across of each pixel, 0 where there is none."""
        image, out = x.reshape(self.grown), np.zeros((2, *self.grown))
        out[0, :-1], out[1, :, :-1] = np.diff(image, axis=0), np.diff(image, axis=1)
        if self.periodic:
            out[0, -1], out[1, :, -1] = image[0] - image[-1], image[:, 0] - image[:, -1]
        return out

    def tv(self, x):
        return np.sqrt((self.pairs(x) ** 2).sum(axis=0)).sum()

    def minimum(self, mu, weights=None, bounds=(-np.inf, np.inf), steps=1500):
        """Least ½Σw(Ax−b)² + mu TV(x) by the method of Chambolle and Pock (2011), and where."""
        w = np.ones(self.image.size) if weights is None else weights.ravel()
        b, n = self.image.ravel(), self.a.shape[1]
        x, ahead, p, q = np.zeros(n), np.zeros(n), np.zeros(len(b)), np.zeros((2, *self.grown))
        step = 0.95 / np.sqrt(np.linalg.norm(self.a, 2) ** 2 + 8)
        up, down = step * 4, step / 4
        for _ in range(steps):
            # The conjugate of ½w(y−b)² is p²/2w + pb; where w is 0 there is nothing to ask.
            p = np.where(w > 0, w * (p + down * (self.a @ ahead - b)) / (w + down), 0)
            q += down * self.pairs(ahead)
            q /= np.maximum(np.sqrt((q**2).sum(axis=0)) / mu, 1)
            back = np.zeros(self.grown)
            back[1:] += q[0, :-1]
            back[:-1] -= q[0, :-1]
            back[:, 1:] += q[1, :, :-1]
            back[:, :-1] -= q[1, :, :-1]
            if self.periodic:
                back[0] += q[0, -1]
                back[-1] -= q[0, -1]
                back[:, 0] += q[1, :, -1]
                back[:, -1] -= q[1, :, -1]
            new = np.clip(x - up * (self.a.T @ p + back.ravel()), *bounds)
            ahead, x = 2 * new - x, new
        return 0.5 * (w * (self.a @ x - b) ** 2).sum() + mu * self.tv(x), x.reshape(self.grown)[self.frame]


@sweep(boundary=BOUNDARIES, kind=["plain", "weights", "bounds"])
def test_total_variation_is_minimal(boundary, kind, rng):
    problem = Dense(boundary, rng)
    weights = rng.random(SHAPE) * (rng.random(SHAPE) > 0.2) if kind == "weights" else None
    bounds = (0.25, 0.8) if kind == "bounds" else None
    least, image = problem.minimum(0.02, weights, bounds or (-np.inf, np.inf))
    result = fd.solve(
        problem.image, PSF, prior="tv", mu=0.02, boundary=boundary, weights=weights, bounds=bounds, max_iter=2000
    )
    assert result.stop_reason == "tolerance"
    assert result.objective == pytest.approx(least, rel=1e-3)
    assert np.abs(result.image - image).max() < 0.03
    if bounds:
        assert result.image.min() == 0.25
        assert result.image.max() == 0.8


@pytest.mark.parametrize("boundary", few(["constant", "nearest", "reflect", "mirror"], ["constant", "mirror"]))
def test_every_boundary_takes_about_as_many_steps(boundary, rng):
    # With a motion of 15 pixels, all of these took more than 300 steps, and some diverged, when the estimate was split.
    psf, sharp = fd.psf.motion(15, 30), scene((64, 65)) + 0.05 * rng.random((64, 65))
    image = fd.convolve(sharp, psf, boundary=boundary) + 0.01 * rng.standard_normal(sharp.shape)
    options = {"prior": "tv", "mu": 0.004}
    usual = fd.solve(image, psf, boundary="unknown", **options)
    result = fd.solve(image, psf, boundary=boundary, **options)
    assert result.stop_reason == usual.stop_reason == "tolerance"
    assert result.n_iter < 1.5 * usual.n_iter
    long = fd.solve(image, psf, boundary=boundary, tol=0, max_iter=300, **options)
    assert result.objective == pytest.approx(long.history.min(), rel=3e-4)
    residual = fd.convolve(result.image, psf, boundary=boundary) - image
    dx, dy = np.diff(result.image, axis=0, append=result.image[-1:]), np.diff(result.image, append=result.image[:, -1:])
    expected = 0.5 * (residual**2).sum() + 0.004 * np.hypot(dx, dy).sum()
    assert result.objective == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("boundary", ["constant", "reflect", "unknown"])
@pytest.mark.parametrize("data", ["root", "squares"])
def test_smoothness_within_bounds_is_minimal(boundary, data, rng):
    problem = Dense(boundary, rng)
    b, a, d, mu = problem.image.ravel(), problem.a, problem.d, 0.1

    def objective(x):
        r, g = a @ x - b, d @ x
        if data == "squares":
            return 0.5 * r @ r + mu * 0.5 * g @ g, a.T @ r + mu * d.T @ g
        f, h = np.sqrt(0.5 * r @ r), np.sqrt(0.5 * g @ g)
        return f + mu * h, 0.5 * a.T @ r / f + 0.5 * mu * d.T @ g / h

    start = np.clip(np.full(a.shape[1], b.mean()) + 0.01 * rng.standard_normal(a.shape[1]), 0.3, 0.7)
    options = {"maxiter": 5000, "maxfun": 50000, "ftol": 1e-14, "gtol": 1e-9}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=[(0.3, 0.7)] * len(start), options=options)
    result = fd.solve(problem.image, PSF, data=data, mu=mu, boundary=boundary, bounds=(0.3, 0.7), max_iter=2000)
    assert result.objective == pytest.approx(found.fun, rel=1e-3)
    assert (result.image.min(), result.image.max()) == (0.3, 0.7)
    slow = fd.solve(
        problem.image,
        PSF,
        data=data,
        mu=mu,
        boundary=boundary,
        bounds=(0.3, 0.7),
        solver="gd",
        max_iter=20000,
        tol=1e-5,
    )
    assert slow.objective == pytest.approx(found.fun, rel=1e-3)
    assert slow.image.min() >= 0.3
    assert slow.image.max() <= 0.7


@sweep(
    pairs=True, bounds=[(0.1, None), (None, 0.7), (0.3, 0.3)], prior=["gradient", "tv", "sparse", None],
    dtype=[np.float32, np.float64],
)  # fmt: skip
def test_bounds_hold_to_the_last_bit(bounds, prior, dtype, rng):
    image = fd.convolve(scene((30, 31)), PSF).astype(dtype) + 0.05 * rng.standard_normal((30, 31)).astype(dtype)
    result = fd.solve(image, PSF, prior=prior, bounds=bounds, max_iter=20)
    low, high = (dtype(end) if end is not None else None for end in bounds)
    assert low is None or result.image.min() >= low
    assert high is None or result.image.max() <= high
    assert np.isfinite(result.objective)


# What to do, squares and their number beside what comes out, and the threshold.
SHRINK = ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_double


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threshold", [0.03, 1.0, 17.0])
def test_the_sparse_priors_proximal_map(dtype, threshold):
    """Against a search for the minimum of ½(z−t)² + s^(2−p) z^p."""
    p, jump = 0.8, 1.3979917
    z = np.linspace(0, 60, 600001)
    t = np.array([0.0, 1e-6, 0.5, 1.0, jump - 1e-3, jump + 1e-3, 2.0, 5.0, 40.0])
    best = [z[np.argmin(0.5 * (z - each) ** 2 + z**p)] for each in t]
    prototype = ctypes.CFUNCTYPE(ctypes.c_double, *SHRINK)
    power = prototype(shrink.power.address(np.dtype(dtype)))
    out, squares = np.empty(len(t), dtype), (t * threshold).astype(dtype) ** 2
    power(shrink.SHARES, squares.ctypes.data, out.ctypes.data, len(t), threshold)
    assert t * (1 - out) == pytest.approx(best, abs=1e-3)
    squares = t.astype(dtype) ** 2
    assert power(shrink.COSTS, squares.ctypes.data, out.ctypes.data, len(t), 0.0) == pytest.approx(
        (t**p).sum(), rel=1e-5
    )


def sparse_objective(a, b, x, mu, periodic):
    rows, cols = x.shape

    def step(i, j, *terms):
        """The sum of factors times pixels around one; 0 where the image has not all of them."""
        total = 0.0
        for factor, down, across in terms:
            k, m = i + down, j + across
            if not periodic and not (0 <= k < rows and 0 <= m < cols):
                return 0.0
            total += factor * x[k % rows, m % cols]
        return total

    total = 0.5 * ((a @ x.ravel() - b.ravel()) ** 2).sum()
    for i in range(rows):
        for j in range(cols):
            down, across = step(i, j, (1, 1, 0), (-1, 0, 0)), step(i, j, (1, 0, 1), (-1, 0, 0))
            total += mu * (down**2 + across**2) ** 0.4
            twice_down = step(i, j, (1, 1, 0), (-2, 0, 0), (1, -1, 0))
            twice_across = step(i, j, (1, 0, 1), (-2, 0, 0), (1, 0, -1))
            mixed = step(i, j, (1, 1, 1), (-1, 1, 0), (-1, 0, 1), (1, 0, 0))
            total += 0.5 * mu * (twice_down**2 + twice_across**2 + 2 * mixed**2) ** 0.4
    return total


@pytest.mark.parametrize("boundary", ["constant", "wrap"])
def test_the_sparse_objective_is_what_is_written(boundary, rng):
    problem = Dense(boundary, rng)
    result = fd.solve(problem.image, PSF, prior="sparse", mu=0.01, boundary=boundary)
    assert result.stop_reason == "tolerance"
    # Without bounds and with nothing tied, the estimate is the one whose objective is reported.
    expected = sparse_objective(problem.a, problem.image, result.image, 0.01, boundary == "wrap")
    assert result.objective == pytest.approx(expected, rel=1e-6)
    assert result.objective < sparse_objective(problem.a, problem.image, problem.image, 0.01, boundary == "wrap")
    assert result.history[-2] == pytest.approx(expected, rel=1e-2)


@sweep(boundary=BOUNDARIES, options=[{"prior": "tv"}, {"prior": "sparse"}, {"bounds": (0, 1), "mu": 0.1}])
def test_the_same_bits_for_any_number_of_threads(boundary, options, rng):
    image = rng.random((70, 83)).astype(np.float32)
    one, two = (
        fd.solve(image, PSF, boundary=boundary, workers=workers, max_iter=7, tol=0, **options) for workers in (1, 2)
    )
    assert np.array_equal(one.image, two.image)
    assert np.array_equal(one.history, two.history)


@pytest.mark.parametrize("prior", ["tv", "sparse"])
@pytest.mark.parametrize("scale", [1e-25, 1e20])
def test_brightness_changes_nothing(prior, scale, rng):
    image = fd.convolve(scene((32, 33)), PSF, boundary="reflect").astype(np.float32)
    image += 0.01 * rng.standard_normal(image.shape).astype(np.float32)
    usual = fd.deblur(image, PSF, prior=prior)
    other = fd.deblur(image * np.float32(scale), PSF, prior=prior)
    assert np.abs(other / scale - usual).max() < 5e-3


@pytest.mark.parametrize(("prior", "share"), [("tv", 0.35), ("sparse", 0.6)])
def test_edges_come_back_better_than_smoothly(prior, share, rng):
    sharp = np.kron(rng.random((9, 9)), np.ones((16, 16)))
    psf = fd.psf.disk(4)
    blurred = fd.convolve(sharp, psf, boundary="unknown") + 0.01 * rng.standard_normal((136, 136))
    truth = sharp[4:-4, 4:-4]
    smooth, kept = (np.mean((fd.deblur(blurred, psf, prior=p) - truth) ** 2) for p in ("gradient", prior))
    assert kept < share * smooth


def test_callback_and_history(rng):
    image = rng.random((20, 22)).astype(np.float32)
    seen = []

    def callback(state):
        seen.append((state.iteration, state.objective, state.estimate.copy()))
        assert not state.estimate.flags.writeable
        return state.iteration == 5

    result = fd.solve(image, PSF, prior="tv", mu=0.01, tol=0, callback=callback)
    assert result.stop_reason == "callback"
    assert [iteration for iteration, _, _ in seen] == [1, 2, 3, 4, 5]
    assert np.array_equal(seen[-1][2], result.image)
    assert len(result.history) == result.n_iter + 1 == 6
    assert result.history[:5].tolist()[1:] == [objective for _, objective, _ in seen[:4]]
    assert result.n_products == 5.5


def test_a_denoiser_as_prior(rng):
    from skimage.restoration import denoise_tv_chambolle

    sharp = np.kron(rng.random((9, 9)), np.ones((12, 12)))
    psf = fd.psf.disk(3)
    blurred = fd.convolve(sharp, psf, boundary="unknown") + 0.01 * rng.standard_normal((102, 102))
    truth, sigmas, shapes = sharp[3:-3, 3:-3], [], set()

    def denoise(image, sigma):
        sigmas.append(sigma)
        shapes.add(image.shape)
        return denoise_tv_chambolle(image, weight=10 * sigma**2)

    result = fd.solve(blurred, psf, prior=denoise)
    assert np.mean((result.image - truth) ** 2) < 0.5 * np.mean((fd.deblur(blurred, psf) - truth) ** 2)
    assert np.sqrt(result.mu) == pytest.approx(0.01, rel=0.2)  # the noise
    assert shapes == {(108, 108)}  # the estimate reaches beyond the frame
    assert sigmas == sorted(sigmas, reverse=True)
    assert sigmas[-1] == pytest.approx(4 * np.sqrt(result.mu), rel=1e-3)


def test_a_denoiser_sees_channels_where_they_were(rng):
    shapes = []

    def same(image, sigma):
        shapes.append(image.shape)
        return image

    result = fd.solve(
        rng.random((12, 3, 13)), PSF, prior=same, channel_axis=1, boundary="constant", max_iter=2, bounds=(0, 1)
    )
    assert set(shapes) == {(12, 3, 13)}
    assert result.image.shape == (12, 3, 13)
    assert result.image.min() >= 0


@pytest.mark.parametrize(
    ("denoiser", "message"),
    [
        (lambda image, sigma: image[1:], r"prior must return an image of the shape it is given, \(15, 18\)"),
        (lambda image, sigma: image * np.nan, "prior must return finite real numbers"),
        (lambda image, sigma: None, "prior must return an image of the shape"),
        (lambda image, sigma: image + 1j, "prior must return finite real numbers"),
    ],
)
def test_denoisers_that_do_not_work(denoiser, message, rng):
    with pytest.raises(ValueError, match=message):
        fd.solve(rng.random((13, 15)), PSF, prior=denoiser)


@pytest.mark.parametrize("options", [{}, {"prior": "tv"}, {"data": "poisson", "prior": None}])
def test_copies_of_a_used_deblurrer_are_their_own(options, rng):
    image = rng.random((40, 45))
    deblurrer = fd.Deblurrer(PSF, image.shape, **options)
    expected = deblurrer(image)
    assert np.array_equal(copy.deepcopy(deblurrer)(image), expected)
    assert np.array_equal(pickle.loads(pickle.dumps(deblurrer))(image), expected)


@pytest.mark.filterwarnings("ignore:the result may be wrong")  # the objective is near its least; gradients may not be
def test_bounds_that_do_not_bind_change_little(rng):
    """With hardly any noise, where the ridge of roots is far from that of the start."""
    sharp = np.zeros((64, 64))
    sharp[16:48, 16:48] = 1
    psf = fd.psf.disk(4)
    image = fd.convolve(sharp, psf)
    free = fd.solve(image, psf)
    bound = fd.solve(image, psf, bounds=(-9, 9))
    assert bound.objective == pytest.approx(free.objective, rel=5e-3)
    assert np.abs(fd.deblur(image, psf, bounds=(0, 1)) - sharp).max() < 0.05


def test_least_squares_without_negative_pixels(rng):
    problem = Dense("constant", rng)
    found = nnls(problem.a, problem.image.ravel())[1] ** 2 / 2
    result = fd.solve(
        problem.image, PSF, data="squares", mu=0, boundary="constant", bounds=(0, None), tol=1e-6, max_iter=3000
    )
    assert result.objective == pytest.approx(found, rel=1e-2)


def test_a_deblurrer_gives_what_solve_gives(rng):
    frames = rng.random((3, 24, 25)).astype(np.float32)
    deblurrer = fd.Deblurrer(PSF, (24, 25), prior="tv")
    for frame, restored in zip(frames, deblurrer.map(frames), strict=True):
        assert np.array_equal(restored, fd.deblur(frame, PSF, prior="tv"))


ALL = [
    {}, {"prior": "tv"}, {"prior": "sparse"}, {"bounds": (0, None)}, {"data": "squares", "bounds": (None, 1)},
    {"data": "poisson", "prior": None}, {"data": "poisson", "prior": "tv"}, {"prior": lambda image, sigma: image},
    {"prior": None, "bounds": (0, 1)},
]  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "brightness", "even"),
    [
        ((1, 1), 1, True), ((1, 9), 1, False), ((8, 1), 1e20, False), ((1, 1), 1e-20, True), ((7, 8), 0, True),
        ((7, 8), 1e20, False), ((7, 8), 1e-20, False), ((7, 8), 1, True), ((9, 1), 1e-20, True),
    ],
)  # fmt: skip
def test_nothing_is_too_small_too_dark_or_too_heavy(shape, brightness, even, rng, long):
    image = np.full(shape, 0.5) if even else rng.random(shape)
    image = (image * brightness).astype(np.float32)
    cases = ("auto", "unknown"), (0, "reflect"), (0, "unknown"), (1e6, "reflect")
    for number, options in enumerate(ALL):
        # Two of the four: of the nine shapes and brightnesses, and of the options, each meets all four.
        turn = (number + shape[0] + shape[1] + (brightness > 1)) % 2
        for mu, boundary in cases if long else cases[turn::2]:
            result = fd.solve(image, fd.psf.gaussian(5, 1), mu=mu, boundary=boundary, max_iter=12, **options)
            case = f"{options}, mu {mu}, {boundary}"
            assert np.isfinite(result.image).all(), case
            assert np.isfinite(result.objective), case


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("boundary", "planes"), [("unknown", 3), ("reflect", 2), ("nearest", 1)])
def test_the_copy_of_the_estimate_takes_its_step(boundary, planes, dtype, rng):
    """In loops: the dual's step, the relaxed estimate, the mean over what a pixel is repeated at, and the sums."""
    blur = fd.Blur(rng.random((4, 3)), (13, 11), boundary=boundary, dtype=dtype)
    work = AdmmWorkspace(Domain([blur]), [blur], planes, "tv", pixels=True)
    v, u, x = rng.random((3, planes, *work.domain.shape)).astype(dtype)
    for name, values in (("pixels", v), ("pixels_prox", u), ("x", x)):
        work._memory[name][...] = np.nan  # of what lies between rows nothing is taken
        work.planes_of(name)[...] = values
    aims = []

    def project(near):
        aims.append(near.copy())
        return 2 * near

    work.update_pixels(project, 1.5, 0.5)
    after, last = np.float64(v), np.float64(u)
    for place in np.ndindex(v.shape):
        after[place] = 0.5 * (v[place] - u[place]) + 1.5 * x[place] - 0.5 * u[place]
    rows, cols = (work.domain.pixels_at(axis) for axis in (0, 1))
    means = np.zeros((planes, *blur.estimate_shape))
    for plane, m, n in np.ndindex(means.shape):
        means[plane, m, n] = np.mean(
            [after[plane, i, j] for i in np.nonzero(rows == m)[0] for j in np.nonzero(cols == n)[0]]
        )
    copy = np.float64(work.planes_of("pixels_prox"))
    for plane, i, j in np.ndindex(copy.shape):
        if rows[i] >= 0 and cols[j] >= 0:
            assert copy[plane, i, j] == pytest.approx(2 * means[plane, rows[i], cols[j]], rel=1e-5, abs=1e-5)
    eps = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(aims[0], means, rtol=eps, atol=eps)
    np.testing.assert_allclose(work.planes_of("pixels"), after, rtol=eps, atol=eps)
    sums = [sum(value**2 for value in each.flat) for each in (x - copy, copy - last, np.float64(x), copy, after - copy)]
    np.testing.assert_allclose(work.look()[0, 1, :5], sums, rtol=eps)
