"""Blurs whose psf varies over the image, against explicit matrices; and what solves with them."""

import pickle

import naive
import numpy as np
import pytest
from dense import differences as dense_differences
from sweeps import few, sweep

import fastdeblur as fd
from fastdeblur.solvers.pcg.varying import LocalCorrection

BOUNDARIES = ["constant", "nearest", "reflect", "mirror", "wrap", "unknown"]
SHAPE = (6, 7)
for_each = pytest.mark.parametrize


def psfs_on(grid, taps, seed=0):
    psfs = np.random.default_rng(seed).random((*grid, *taps)) - 0.2
    return psfs / np.abs(psfs).sum(axis=(-2, -1), keepdims=True)


def share(nodes, k, at):
    """The weight of node k at a pixel, by linear interpolation."""
    if len(nodes) == 1:
        return 1.0
    for left in range(len(nodes) - 1):
        begin, end = nodes[left], nodes[left + 1]
        if begin <= at <= end:
            part = (at - begin) / (end - begin)
            return {left: 1 - part, left + 1: part}.get(k, 0.0)
    raise AssertionError(at)


def matrix(psfs, rows, cols, boundary, shape=SHAPE):
    """The blur as a matrix: for each pixel the psf that is there, by linear interpolation, laid over what it sees."""
    down, across = (naive.reads(size, taps, boundary) for size, taps in zip(shape, psfs.shape[2:], strict=True))
    height, width = [n + k - 1 if boundary == "unknown" else n for n, k in zip(shape, psfs.shape[2:], strict=True)]
    out = np.zeros((*shape, height, width))
    for i in range(shape[0]):
        above = [share(rows, a, i) for a in range(len(rows))]
        for j in range(shape[1]):
            psf = np.einsum("a,c,acuv->uv", above, [share(cols, c, j) for c in range(len(cols))], psfs)
            (u, k), (v, m) = (np.array(pairs).T for pairs in (down[i], across[j]))
            np.add.at(out[i, j], (k[:, None], m), psf[np.ix_(u, v)])
    return out.reshape(shape[0] * shape[1], -1)


def even(shape, grid):
    return [np.linspace(0, size - 1, count) for size, count in zip(shape, grid, strict=True)]


# Grids, and as many scattered places; odd and even sizes from 3 to 31, some longer than the image.
GRIDS = [(1, 1), (2, 3), (5, 5), 7]
SIZES = [(3, 3), (4, 3), (3, 8), (13, 12), (20, 21), (31, 30), (31, 31)]


@sweep(boundary=BOUNDARIES, grid=GRIDS, taps=SIZES)
def test_blur_is_the_matrix_and_its_transpose(grid, taps, boundary):
    shape, rng = (13, 17), np.random.default_rng(1)
    scattered = isinstance(grid, int)
    psfs = psfs_on((grid,) if scattered else grid, taps)
    positions = rng.random((grid, 2)) * np.subtract(shape, 1) if scattered else None
    # (What is at the nodes of scattered psfs has tests of its own.)
    given = fd.VaryingBlur(psfs, positions, shape, boundary=boundary)
    expected = matrix(given.psfs, *given.positions, boundary, shape)
    first = psfs.reshape(-1, *taps)[0]
    one = fd.Blur(first, shape, boundary=boundary)
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 3e-6)):
        x, y = (rng.random(size).astype(dtype) for size in (given.estimate_shape, shape))
        # The adjoint adds up what "nearest" and "reflect" repeat: several times what a pixel of the blur does, at most
        # 1, and so much more is rounded.
        largest = max((abs(expected).T @ y.ravel()).max(), 1.0)
        for path in ("direct", "separable", "fft"):
            options = {"boundary": boundary, "dtype": dtype, "path": path}
            blur = fd.VaryingBlur(psfs, positions, shape, **options)
            there, back = blur.forward(x), blur.adjoint(y)
            assert there.dtype == back.dtype == dtype
            errors = [
                abs(there.ravel() - expected @ x.ravel().astype(np.float64)).max(),
                abs(back.ravel() - expected.T @ y.ravel().astype(np.float64)).max() / largest,
            ]
            constant = fd.VaryingBlur(np.broadcast_to(first, psfs.shape), positions, shape, **options)
            errors.append(abs(constant.forward(x) - one.forward(x.astype(np.float64))).max())
            errors.append(abs(constant.adjoint(y) - one.adjoint(y.astype(np.float64))).max() / largest)
            assert max(errors) < tolerance


def test_positions_of_the_grid():
    psfs, rows, cols = psfs_on((3, 2), (3, 3)), [-1.0, 2.5, 7.0], [0, 6]
    blur, x = fd.VaryingBlur(psfs, (rows, cols), SHAPE), np.random.default_rng(1).random(SHAPE)
    expected = matrix(psfs, rows, cols, "constant") @ x.ravel()
    assert abs(blur.forward(x).ravel() - expected).max() < 1e-12


@for_each("path", ["direct", "fft"])
@for_each("boundary", ["reflect", "unknown"])
def test_many_tiles_are_the_sum_of_weighted_blurs(path, boundary):
    shape, psfs = (150, 230), psfs_on((3, 2), (9, 13))
    blur = fd.VaryingBlur(psfs, None, shape, boundary=boundary, path=path)
    rng, (rows, cols) = np.random.default_rng(2), even(shape, (3, 2))
    x, y = rng.random(blur.estimate_shape), rng.random(shape)
    there, back = np.zeros(shape), np.zeros(blur.estimate_shape)
    for a in range(3):
        for c in range(2):
            weights = np.outer([share(rows, a, i) for i in range(150)], [share(cols, c, j) for j in range(230)])
            each = fd.Blur(psfs[a, c], shape, boundary=boundary, path="direct")
            there += weights * each.forward(x)
            back += each.adjoint(weights * y)
    assert abs(blur.forward(x) - there).max() < 1e-12
    assert abs(blur.adjoint(y) - back).max() < 1e-12


@for_each("path", ["direct", "fft"])
def test_a_constant_field_is_blur(path):
    psf, x = fd.psf.gaussian(9, 1.5), np.random.default_rng(3).random((40, 50))
    options = {"boundary": "reflect", "path": path}
    expected = fd.Blur(psf, x.shape, **options)
    for blur in (
        fd.VaryingBlur.constant(psf, x.shape, **options),
        fd.VaryingBlur(np.broadcast_to(psf, (3, 4, 9, 9)), None, x.shape, **options),
        fd.VaryingBlur([psf] * 4, [(3, 4), (30, 5), (20, 44), (5, 40)], x.shape, **options),
    ):
        assert abs(blur.forward(x) - expected.forward(x)).max() < 1e-14
        assert abs(blur.adjoint(x) - expected.adjoint(x)).max() < 1e-14
        assert abs(blur.psf - psf).max() < 1e-16


def test_scattered_positions_are_interpolated_by_natural_neighbours():
    # Such weights sum to 1, are 1 at a psf's own place, and reproduce what is linear between the places.
    rng, shape = np.random.default_rng(4), (101, 81)
    places = np.concatenate([rng.random((20, 2)) * [100, 80], [[0, 0], [0, 80], [100, 0], [100, 80], [50, 40]]])
    psfs = np.zeros((25, 1, 3))
    psfs[:, 0, 0], psfs[:, 0, 1], psfs[:, 0, 2] = places[:, 0], places[:, 1], 1.0
    blur = fd.VaryingBlur(psfs, places, shape)
    rows, cols = np.meshgrid(*blur.positions, indexing="ij")
    assert abs(blur.psfs[:, :, 0, 2] - 1).max() < 1e-12
    assert np.array_equal(blur.psfs[[0, 0, -1, -1], [0, -1, 0, -1], 0, :2], places[20:24])
    assert abs(blur.psfs[:, :, 0, 0] - rows)[2:-2, 2:-2].max() < 1
    assert abs(blur.psfs[:, :, 0, 1] - cols)[2:-2, 2:-2].max() < 1


def test_weights_mix_psfs_at_the_nodes():
    psfs, weights = psfs_on((1, 2), (3, 3))[0], np.array([[[1, 0.5], [0.25, 2]], [[0, 0.5], [0.75, -1]]])
    nodes = np.einsum("kac,kuv->acuv", weights, psfs)
    blur = fd.VaryingBlur(psfs, None, SHAPE, weights=weights)
    assert abs(blur.psfs - nodes).max() < 1e-15


def test_bits_do_not_depend_on_threads():
    psfs, x = psfs_on((3, 3), (9, 9)), np.random.default_rng(5).random((300, 310)).astype(np.float32)
    for path in ("direct", "fft"):
        results = []
        for workers in (1, 2):
            blur = fd.VaryingBlur(psfs, None, x.shape, boundary="mirror", dtype=np.float32, path=path, workers=workers)
            results.append((blur.forward(x).tobytes(), blur.adjoint(x).tobytes()))
        assert results[0] == results[1]


def test_copies_operators_and_norm():
    blur = fd.VaryingBlur(psfs_on((2, 3), (3, 4)), None, SHAPE, boundary="unknown")
    x, y = np.random.default_rng(6).random(blur.estimate_shape), np.random.default_rng(7).random(SHAPE)
    again = pickle.loads(pickle.dumps(blur))
    assert np.array_equal(again.forward(x), blur.forward(x))
    assert repr(again) == repr(blur)
    operator = blur.as_linear_operator()
    dense = matrix(blur.psfs, *blur.positions, "unknown")
    assert np.array_equal(operator.matvec(x.ravel()), blur.forward(x).ravel())
    assert np.array_equal(operator.rmatvec(y.ravel()), blur.adjoint(y).ravel())
    assert np.linalg.norm(dense, 2) <= blur.norm()
    assert blur.norm() <= 1.05 * np.linalg.norm(matrix(abs(blur.psfs), *blur.positions, "unknown"), 2)


GRID = psfs_on((2, 3), (3, 3))


@for_each(
    ("arguments", "options", "message"),
    [
        ((GRID, ([0, 4], [0, 3, 6]), SHAPE), {}, "cover the image, from 0 or less to 5 or more"),
        ((GRID, ([0, 5], [0, 6]), SHAPE), {}, "one number for each of the 3 columns"),
        ((GRID, ([5, 0], [0, 3, 6]), SHAPE), {}, "positions must increase"),
        ((GRID, [(0, 0)] * 6, SHAPE), {}, r"must be None, or \(rows, cols\)"),
        ((GRID, None, (1, 7)), {}, "single row or column along an axis of 1 pixel"),
        ((GRID[0], None, SHAPE), {}, "positions must be given"),
        ((GRID[0], [(0, 0), (1, 1)], SHAPE), {}, r"one \(row, column\) for each of the 3 psfs"),
        ((GRID[0], [(0, 0), (1, 1), (0, 0)], SHAPE), {}, r"must differ; \(0.0, 0.0\) is there twice"),
        (([GRID[0, 0], np.ones((3, 4))], [(0, 0), (1, 1)], SHAPE), {}, r"one shape; the first has \(3, 3\)"),
        ((GRID[0, 0], None, SHAPE), {}, r"must have the shape \(rows, cols, taps, taps\)"),
        ((0 * GRID, None, SHAPE), {}, "must not be all zero"),
        ((GRID[0], None, SHAPE), {"weights": np.full((3, 2, 2), 0.3)}, r"sum to 1 at each node; at \(0, 0\) they sum"),
        ((GRID[0], None, SHAPE), {"weights": np.ones((2, 2, 2))}, r"shape \(count, rows, cols\), for 3 psfs"),
        ((GRID, None, SHAPE), {"weights": np.ones((6, 2, 3))}, "weights are for psfs that are not on a grid"),
        ((GRID[0], [(0, 0)] * 3, SHAPE), {"weights": np.ones((3, 1, 1)) / 3}, "in two ways"),
        ((GRID, None, SHAPE), {"device": "cuda"}, "device must be 'cpu'"),
    ],
)
def test_mistakes_are_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        fd.VaryingBlur(*arguments, **options)


def scene(shape=(40, 44), seed=0):
    """Steps and a ramp."""
    rows, cols = np.indices(shape)
    return 0.2 + 0.6 * ((rows // 10 + cols // 11) % 2) + 0.002 * rows


@pytest.fixture(scope="module")
def lens():
    """A field from sharp to blurred, and a scene that it blurred, with noise."""
    psfs = np.array(
        [[fd.psf.gaussian(7, 0.6), fd.psf.gaussian(7, 1.2)], [fd.psf.gaussian(7, 1.0), fd.psf.gaussian(7, 1.6)]]
    )
    x = scene()
    blurred = fd.VaryingBlur(psfs, None, x.shape, boundary="reflect").forward(x)
    return psfs, x, blurred + 0.01 * np.random.default_rng(8).standard_normal(x.shape)


def error(restored, x):
    return float(np.sqrt(np.mean((restored - x) ** 2)))


@for_each("boundary", ["reflect", "unknown", "wrap"])
@for_each("data", ["root", "squares"])
def test_smooth_restoration_is_the_minimiser(lens, data, boundary):
    # Of ½‖Ax − b‖² + ½ ridge ‖Dx‖² by dense linear algebra, with weights, some of them 0.
    psfs, _, b = lens
    b, rng = b[:12, :10], np.random.default_rng(9)
    weights = rng.integers(0, 3, b.shape).astype(np.float64)
    blur = fd.VaryingBlur(psfs, None, b.shape, boundary=boundary)
    result = fd.solve(b, blur, data=data, mu=0.05, weights=weights, tol=1e-9)
    rows, cols = blur.estimate_shape
    dense = matrix(psfs, *even(b.shape, (2, 2)), boundary, b.shape)
    differences = dense_differences((rows, cols), boundary == "wrap")
    ridge = 0.05
    for _ in range(40 if data == "root" else 1):
        normal = dense.T @ (weights.reshape(-1, 1) * dense) + ridge * differences.T @ differences
        estimate = np.linalg.solve(normal, dense.T @ (weights * b).ravel())
        misfit = np.sqrt((weights.ravel() * (dense @ estimate - b.ravel()) ** 2).sum())
        ridge = 0.05 * misfit / np.linalg.norm(differences @ estimate) if data == "root" else ridge
    (top, left), estimate = blur.frame_corner, estimate.reshape(rows, cols)
    assert abs(result.image - estimate[top : top + 12, left : left + 10]).max() < 1e-5


@for_each(
    "options",
    [
        {},
        {"prior": "tv", "tol": 1e-3},
        {"prior": "tv", "bounds": (0, 1), "tol": 1e-3},
        {"prior": "sparse"},
        {"prior": "learned"},
        {"data": "poisson", "prior": None},
        {"data": "poisson", "prior": "tv", "tol": 1e-3},
        {"prior": lambda image, sigma: image},
    ],
    ids=lambda options: str(options).partition(" at 0x")[0],
)
def test_every_method_gains_on_the_mean_psf(lens, options):
    psfs, x, b = lens
    field = fd.VaryingBlur(psfs, None, b.shape, boundary="reflect")
    if options.get("data") == "poisson":
        x, b = 1e4 * x, 1e4 * b
    result = fd.solve(b, field, **options)
    assert result.stop_reason in ("tolerance", "noise") or callable(options.get("prior"))
    assert result.misfit < 1.6
    mean = fd.solve(b, field.psf, boundary="reflect", **options)
    assert error(result.image, x) < 0.9 * error(mean.image, x)


@for_each("boundary", few(BOUNDARIES, ["unknown", "reflect", "wrap"]))
def test_total_variation_of_a_constant_field_is_that_of_its_psf(boundary):
    psf, x = fd.psf.gaussian(5, 1.0), scene((32, 28))
    b = fd.convolve(x, psf, boundary="wrap" if boundary == "wrap" else "reflect")
    options = {"prior": "tv", "mu": 1e-3, "tol": 1e-4, "max_iter": 1000}
    one = fd.solve(b, psf, boundary=boundary, **options)
    field = fd.VaryingBlur(np.broadcast_to(psf, (2, 2, 5, 5)), None, x.shape, boundary=boundary)
    assert fd.solve(b, field, **options).objective == pytest.approx(one.objective, rel=1e-3)


def test_colour_and_missing_pixels(lens):
    psfs, x, b = lens
    both = np.stack([b, 1 - b], axis=-1).astype(np.float32)
    both[10:14, 20:23] = np.nan
    field = fd.VaryingBlur(psfs, None, x.shape, boundary="reflect", dtype=np.float32)
    for options in ({}, {"prior": "tv", "tol": 1e-3}):
        restored = fd.deblur(both, field, channel_axis=-1, **options)
        assert restored.dtype == np.float32
        assert error(restored, np.stack([x, 1 - x], axis=-1)) < 0.08


def test_restoration_does_not_depend_on_threads(lens):
    psfs, _, b = lens
    b = np.tile(b, (3, 4))
    results = []
    for workers in (1, 2):
        field = fd.VaryingBlur(psfs, None, b.shape, path="fft", boundary="unknown", workers=workers)
        results.append(
            [
                fd.deblur(b, field, data="squares", mu=0.01, **each).tobytes()
                for each in ({"max_iter": 9}, {"prior": "tv", "max_iter": 5})
            ]
        )
    assert results[0] == results[1]


@for_each(
    ("options", "message"),
    [
        ({"device": "cuda"}, "device must be 'cpu' for psfs that vary; got 'cuda'"),
        ({"boundary": "wrap"}, "boundary is the Blur's own"),
    ],
)
def test_what_does_not_go_with_a_field_is_named(lens, options, message):
    psfs, _, b = lens
    field = fd.VaryingBlur(psfs, None, b.shape)
    for call in (fd.solve, lambda image, psf, **given: fd.Deblurrer(psf, image.shape, **given)):
        if call is fd.solve or "device" in options:
            with pytest.raises(ValueError, match=message):
                call(b, field, **options)


@for_each(
    ("rule", "data", "boundary", "bounds", "weighted"),
    [
        ("gd", "root", "reflect", None, True),
        ("momentum", "squares", "reflect", (0.3, 0.7), False),
        ("nesterov", "squares", "wrap", None, True),
        ("adam", "root", "unknown", (0.3, 0.7), True),
        ("adagrad", "root", "reflect", None, False),
    ],
)
def test_gradient_descent_of_a_constant_field_is_that_of_its_psf(rule, data, boundary, bounds, weighted):
    psf, x = fd.psf.gaussian(5, 1.0), scene((24, 28))
    b = fd.convolve(x, psf, boundary="reflect") + 0.01 * np.random.default_rng(1).standard_normal(x.shape)
    weights = np.random.default_rng(2).integers(0, 3, x.shape) if weighted else None
    options = {"solver": rule, "data": data, "bounds": bounds, "weights": weights, "mu": 0.05, "max_iter": 8, "tol": 0}
    one = fd.solve(b, psf, boundary=boundary, **options)
    two = fd.solve(b, fd.VaryingBlur.constant(psf, x.shape, boundary=boundary), **options)
    # (Without a learning rate, steps follow a bound of the operator's norm, which is found otherwise.)
    assert abs(two.image - one.image).max() < 1e-8
    np.testing.assert_allclose(two.history, one.history, rtol=1e-8)
    assert (two.optimality, two.n_products) == (pytest.approx(one.optimality, rel=1e-6), one.n_products)


def test_gradient_descent_of_a_field_ends_at_its_minimum(lens):
    psfs, _, b = lens
    field = fd.VaryingBlur(psfs, None, b.shape, boundary="reflect")
    exact = fd.solve(b, field, data="squares", mu=0.3, tol=1e-8)
    descent = fd.solve(b, field, data="squares", mu=0.3, solver="gd", tol=1e-6, max_iter=3000)
    assert descent.stop_reason == "tolerance"
    assert descent.objective == pytest.approx(exact.objective, rel=1e-9)
    assert fd.solve(b, field, data="squares", prior=None, max_iter=3).history[-1] < descent.history[0]
    # A step that is far too long is taken back, and the last finite estimate is returned.
    with pytest.warns(RuntimeWarning, match="left all bounds"):
        lost = fd.solve(b, field, data="squares", mu=0.3, solver="momentum", learning_rate=1e9)
    assert lost.stop_reason == "diverged"
    assert np.isfinite(lost.image).all()


def test_richardson_lucy_takes_operators(lens):
    psfs, _, b = lens
    psf, b = psfs[0, 0], b.clip(0.01)
    expected = fd.richardson_lucy(b, psf, 5)
    for blur in (fd.Blur(psf, b.shape), fd.VaryingBlur.constant(psf, b.shape)):
        assert abs(fd.richardson_lucy(b, blur, 5) - expected).max() < 1e-13
    # Two plain steps with psfs that vary.
    field, estimate = fd.VaryingBlur(psfs, None, b.shape, boundary="reflect"), np.full_like(b, 0.5)
    for _ in range(2):
        estimate = estimate * field.adjoint(b / (field.forward(estimate) + 1e-12))
    assert abs(fd.richardson_lucy(b, field, 2) - estimate.clip(-1, 1)).max() < 1e-12
    with pytest.raises(ValueError, match=r"psf is a Blur for images of shape \(40, 44\) and float64 on 'cpu'"):
        fd.richardson_lucy(b[:30], field)
    with pytest.raises(ValueError, match=r"the image has \(40, 44\) and float32"):
        fd.richardson_lucy(b.astype(np.float32), field)


@for_each("boundary", ["reflect", "unknown"])
def test_convolve_takes_an_operator(lens, boundary):
    psfs, x, _ = lens
    for blur in (
        fd.VaryingBlur(psfs, None, (30, 34), boundary=boundary),
        fd.Blur(psfs[0, 0], (30, 34), boundary=boundary),
    ):
        image = x[: blur.estimate_shape[0], : blur.estimate_shape[1]]
        assert np.array_equal(fd.convolve(image, blur), blur.forward(image))
        with pytest.raises(ValueError, match="image must have shape"):
            fd.convolve(x[:9], blur)
        with pytest.raises(ValueError, match="boundary is the Blur's own"):
            fd.convolve(image, blur, boundary="wrap")


def contrary(boundary="unknown"):
    """A scene blurred by psfs that are narrow where others are wide, noisy, and the operator."""
    psfs = np.array([[fd.psf.gaussian(15, (rows, cols)) for cols in (0.8, 2.0)] for rows in (0.8, 1.2, 2.0)])
    x = np.tile(scene(), (2, 2))
    blurred = fd.VaryingBlur(psfs, None, x.shape, boundary="wrap" if boundary == "wrap" else "reflect").forward(x)
    noise = 0.01 * np.random.default_rng(3).standard_normal(x.shape)
    return blurred + noise, fd.VaryingBlur(psfs, None, x.shape, boundary=boundary)


@for_each("boundary", ["wrap", "unknown"])
def test_the_correction_of_the_preconditioner_has_its_transpose(boundary):
    _, blur = contrary(boundary)
    correction, rng = LocalCorrection(blur, 0.01), np.random.default_rng(10)
    assert correction.terms
    x, y = rng.random((2, *blur.estimate_shape))
    there, back = np.empty_like(x), y.copy()
    correction.apply(x, there)
    correction.apply_transpose(back)
    assert np.vdot(there, y) == pytest.approx(np.vdot(x, back), rel=1e-13)
    assert np.linalg.norm(there - x) > 0.02 * np.linalg.norm(x)
    alike = fd.VaryingBlur.constant(blur.psfs[0, 0], blur.image_shape, boundary=boundary)
    assert LocalCorrection(alike, 0.01).terms == 0


def test_steps_where_psfs_differ_much():
    disks = [[4, 2.35, 4], [2.35, 0.7, 2.35], [4, 2.35, 4]]  # sharp in the middle
    psfs = np.array([[np.pad(disk, (15 - len(disk)) // 2) for disk in map(fd.psf.disk, row)] for row in disks])
    x = np.tile(scene(), (2, 2))
    field = fd.VaryingBlur(psfs, None, x.shape, boundary="reflect")
    b = field.forward(x) + 0.01 * np.random.default_rng(3).standard_normal(x.shape)
    assert fd.solve(b, field).n_iter <= 60  # 146 with the mean psf's preconditioner as it is
    b, field = contrary()
    tv = fd.solve(b, field, prior="tv", tol=1e-3)
    assert tv.stop_reason == "tolerance"
    assert tv.n_iter <= 100  # 129 with one step of conjugate gradients each
    assert tv.n_products > tv.n_iter + 20
