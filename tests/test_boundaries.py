"""What lies outside the frame: every path under every boundary, against the oracle and against scipy."""

import functools
import itertools
import time

import naive
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from sweeps import sweep

import fastdeblur as fd

BOUNDARIES = ["constant", "nearest", "reflect", "mirror", "wrap", "unknown"]
PATHS = ["direct", "separable", "fft"]
PSF_SHAPES = [(1, 1), (3, 3), (4, 4), (2, 7), (8, 3), (13, 13), (1, 12), (31, 31), (40, 37)]
IMAGE_SHAPES = [(1, 1), (1, 2), (1, 53), (53, 1), (3, 2), (6, 7), (17, 13), (16, 16)]
LARGE_SHAPES = [(67, 1003), (130, 499), (257, 97), (300, 300)]
TOLERANCE = {"float32": 3e-6, "float64": 1e-12}
DATA = ["root", "squares"]

for_each = pytest.mark.parametrize
every_boundary = for_each("boundary", BOUNDARIES)
every_path_and_boundary = for_each(("path", "boundary"), list(itertools.product(PATHS, BOUNDARIES)))


def estimate_shape(image_shape, psf_shape, boundary):
    if boundary != "unknown":
        return tuple(image_shape)
    return image_shape[0] + psf_shape[0] - 1, image_shape[1] + psf_shape[1] - 1


def margins(psf_shape, boundary):
    """How far an estimate reaches beyond its frame, as numpy.pad takes it."""
    if boundary != "unknown":
        return [(0, 0), (0, 0)]
    return [(taps - 1 - taps // 2, taps // 2) for taps in psf_shape]


def framed(estimate, psf_shape, boundary):
    (top, bottom), (left, right) = margins(psf_shape, boundary)
    rows, cols = estimate.shape
    return estimate[top : rows - bottom, left : cols - right]


def scene(image_shape, psf_shape, boundary):
    """Estimate of unit variance and psf of unit sum."""
    rng = np.random.default_rng([*image_shape, *psf_shape])
    psf = rng.random(psf_shape)
    return rng.standard_normal(estimate_shape(image_shape, psf_shape, boundary)), psf / psf.sum()


def by_scipy(estimate, psf, boundary):
    mode = "constant" if boundary == "unknown" else boundary
    return framed(scipy.ndimage.convolve(estimate, psf, mode=mode), psf.shape, boundary)


def scipy_is_right(image_shape, psf_shape):
    """It loses count of reflections by psfs more than about eight times as large as the image."""
    return all(taps <= 8 * size for taps, size in zip(psf_shape, image_shape, strict=True))


@functools.cache
def blurred_by_oracle(image_shape, psf_shape, boundary):
    estimate, psf = scene(image_shape, psf_shape, boundary)
    return np.array(naive.convolve(estimate.tolist(), psf.tolist(), boundary))


@functools.cache
def blurred_by_scipy(image_shape, psf_shape, boundary):
    return by_scipy(*scene(image_shape, psf_shape, boundary), boundary)


@functools.cache
def oracle_matrix(image_shape, psf_shape, boundary):
    """Psf with entries of both signs, and the blur by it as a matrix."""
    psf = np.random.default_rng([*image_shape, *psf_shape]).standard_normal(psf_shape)
    return psf, np.array(naive.matrix(image_shape, psf.tolist(), boundary))


@every_boundary
def test_oracle_agrees_with_scipy(boundary):
    compared = 0
    for shape, psf_shape in itertools.product(IMAGE_SHAPES, PSF_SHAPES):
        if scipy_is_right(shape, psf_shape):
            expected = blurred_by_scipy(shape, psf_shape, boundary)
            actual = blurred_by_oracle(shape, psf_shape, boundary)
            np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12, err_msg=f"{shape} {psf_shape}")
            compared += 1
    assert compared > 50


@for_each(
    ("boundary", "extended"),
    [
        ("constant", ". . . . . . a b c . . . . . ."),
        ("nearest", "a a a a a a a b c c c c c c c"),
        ("reflect", "a b c c b a a b c c b a a b c"),
        ("mirror", "c b a b c b a b c b a b c b a"),
        ("wrap", "a b c a b c a b c a b c a b c"),
    ],
)
def test_oracle_reads_what_the_boundary_is_named_for(boundary, extended):
    pixels = [naive.where(index, 3, boundary) for index in range(-6, 9)]
    assert " ".join("." if k is None else "abc"[k] for k in pixels) == extended


@every_boundary
def test_oracles_matrix_and_gradient_are_those_of_its_blur(boundary, rng):
    for shape, psf_shape in [((5, 6), (3, 4)), ((1, 4), (2, 9)), ((3, 3), (8, 7))]:
        psf, matrix = oracle_matrix(shape, psf_shape, boundary)
        start = rng.standard_normal(estimate_shape(shape, psf_shape, boundary))
        image = rng.standard_normal(shape)
        blurred = naive.convolve(start.tolist(), psf.tolist(), boundary)
        np.testing.assert_allclose(matrix @ start.ravel(), np.ravel(blurred), rtol=0, atol=1e-12)
        for data in DATA:
            arguments = [image.tolist()], psf.tolist(), data, 0.3, boundary
            whole = np.array(naive.gradient([start.tolist()], *arguments)[0][0])
            direction = rng.standard_normal(start.shape)
            ahead, behind = (naive.objective([(start + s * direction).tolist()], *arguments) for s in (1e-5, -1e-5))
            assert (ahead - behind) / 2e-5 == pytest.approx(np.vdot(whole, direction), rel=1e-6, abs=1e-6)


@sweep(pairs=True, path=PATHS, boundary=BOUNDARIES, dtype=["float32", "float64"])
def test_forward_is_the_formula(dtype, path, boundary, long):
    # Each pair of shapes in one of the dtypes, which takes turns along either.
    cases = itertools.product(enumerate(IMAGE_SHAPES), enumerate(PSF_SHAPES))
    for (i, shape), (j, psf_shape) in cases:
        if not long and (i + j) % 2 == (dtype == "float32"):
            continue
        estimate, psf = scene(shape, psf_shape, boundary)
        blur = fd.Blur(psf, shape, boundary=boundary, dtype=dtype, path=path)
        assert (blur.image_shape, blur.estimate_shape, blur.path) == (shape, estimate.shape, path)
        blurred, case = blur.forward(estimate), f"image {shape}, psf {psf_shape}"
        assert (blurred.shape, blurred.dtype) == (shape, dtype), case
        expected = blurred_by_oracle(shape, psf_shape, boundary)
        np.testing.assert_allclose(blurred, expected, rtol=0, atol=TOLERANCE[dtype], err_msg=case)


@every_path_and_boundary
def test_adjoint_is_the_transpose(path, boundary, rng, long):
    # Of each pair of shapes half of the paths and boundaries, all values of each.
    turn = PATHS.index(path) + BOUNDARIES.index(boundary)
    cases = itertools.product([(6, 7), (1, 5), (5, 1)], [*PSF_SHAPES, (9, 2), (20, 21), (1, 100)])
    for number, (shape, psf_shape) in enumerate(cases):
        if not long and (number + turn) % 2:
            continue
        psf, matrix = oracle_matrix(shape, psf_shape, boundary)
        blur = fd.Blur(psf, shape, boundary=boundary, path=path)
        units = np.eye(len(matrix)).reshape(-1, *shape)
        adjoint = np.array([blur.adjoint(unit).ravel() for unit in units])
        x = rng.standard_normal(blur.estimate_shape)
        blurred, expected = blur.forward(x).ravel(), matrix @ x.ravel()
        case, tolerance = f"image {shape}, psf {psf_shape}", 1e-14 * np.abs(psf).sum()
        np.testing.assert_allclose(adjoint, matrix, rtol=0, atol=tolerance, err_msg=case)
        np.testing.assert_allclose(blurred, expected, rtol=0, atol=6 * tolerance, err_msg=case)


@sweep(path=PATHS, boundary=BOUNDARIES, psf_shape=[(13, 13), (4, 4), (3, 8), (31, 31)])
def test_many_tiles(psf_shape, path, boundary, rng):
    for shape in LARGE_SHAPES:
        estimate, psf = scene(shape, psf_shape, boundary)
        blur = fd.Blur(psf, shape, boundary=boundary, path=path)
        blurred = blur.forward(estimate)
        expected = blurred_by_scipy(shape, psf_shape, boundary)
        np.testing.assert_allclose(blurred, expected, rtol=0, atol=1e-12, err_msg=f"image {shape}")
        y = rng.standard_normal(shape)
        difference = np.vdot(blurred, y) - np.vdot(estimate, blur.adjoint(y))
        assert abs(difference) <= 1e-13 * np.linalg.norm(estimate) * np.linalg.norm(y), f"image {shape}"


@sweep(path=PATHS, boundary=BOUNDARIES)
def test_corners_of_many_tiles_are_folded_back(path, boundary):
    """Pixel by pixel at the corners and edges: which entries of the estimate each one is sent to."""
    shape = 300, 300
    psf = np.random.default_rng(0).random((31, 24))
    psf /= psf.sum()
    blur = fd.Blur(psf, shape, boundary=boundary, path=path)
    rows = [0, 0, 299, 299, 0, 8, 290, 150, 14]
    cols = [0, 299, 0, 299, 140, 8, 290, 299, 285]
    down, across = naive.reads(300, 31, boundary), naive.reads(300, 24, boundary)
    for i, j in zip(rows, cols, strict=True):
        unit = np.zeros(shape)
        unit[i, j] = 1
        expected = np.zeros(blur.estimate_shape)
        for u, k in down[i]:
            for v, m in across[j]:
                expected[k, m] += psf[u, v]
        np.testing.assert_allclose(blur.adjoint(unit), expected, rtol=0, atol=1e-14, err_msg=f"pixel {i, j}")


@settings(max_examples=150, deadline=None)
@given(
    rows=st.integers(1, 70),
    cols=st.integers(1, 110),
    down=st.integers(1, 40),
    across=st.integers(1, 40),
    boundary=st.sampled_from(BOUNDARIES),
    dtype=st.sampled_from(["float32", "float64"]),
    path=st.sampled_from([*PATHS, "auto"]),
    seed=st.integers(0, 2**16),
)
def test_dot(rows, cols, down, across, boundary, dtype, path, seed):
    rng = np.random.default_rng(seed)
    psf = rng.standard_normal((down, across))
    blur = fd.Blur(psf, (rows, cols), boundary=boundary, dtype=dtype, path=path)
    x = rng.standard_normal(blur.estimate_shape).astype(dtype)
    y = rng.standard_normal(blur.image_shape).astype(dtype)
    left = np.vdot(blur.forward(x).astype(float), y)
    right = np.vdot(x.astype(float), blur.adjoint(y))
    scale = np.linalg.norm(x) * np.linalg.norm(y) * np.abs(psf).sum()
    assert abs(left - right) <= scale * (1e-6 if dtype == "float32" else 1e-14)


@functools.cache
def far_larger(boundary):
    """Psf of 2001 x 2000 taps, and its blur of images of 5 x 6 as an array [i, j, pixel down, pixel across]."""
    psf = np.random.default_rng(4).random((2001, 2000))
    down, across = np.zeros((5, 5, 2001)), np.zeros((6, 6, 2000))  # which pixel each tap meets: [i, pixel, tap]
    for met in (down, across):
        size, _, taps = met.shape
        for i, pairs in enumerate(naive.reads(size, taps, boundary)):
            for u, k in pairs:
                met[i, k, u] = 1
    return psf, np.einsum("iku,uv,jmv->ijkm", down, psf, across, optimize=True)


@sweep(boundary=BOUNDARIES[:-1], path=[*PATHS, "auto"])
def test_a_psf_far_larger_than_the_image(boundary, path, rng):
    image, (psf, matrix) = rng.random((5, 6)), far_larger(boundary)
    warm = fd.Blur(psf[:20, :20], image.shape, boundary=boundary, path=path)
    warm.adjoint(warm.forward(image))  # compiles
    began = time.monotonic()
    blur = fd.Blur(psf, image.shape, boundary=boundary, path=path)
    blurred, back = blur.forward(image), blur.adjoint(image)
    assert time.monotonic() - began < 2
    for actual, expected in (
        (blurred, np.einsum("ijkm,km->ij", matrix, image)),
        (back, np.einsum("ijkm,ij->km", matrix, image)),
    ):
        # A transform rounds every pixel by as much as its largest.
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-15 * expected.max())


def test_a_psf_out_of_reach_sees_only_what_lies_outside():
    far, image = np.zeros((2001, 2000)), np.arange(30.0).reshape(5, 6)
    far[0, 0] = 1
    for path in PATHS:
        constant, nearest = (
            fd.Blur(far, image.shape, boundary=b, path=path).forward(image) for b in ("constant", "nearest")
        )
        np.testing.assert_allclose(constant, 0, atol=1e-13, err_msg=path)
        np.testing.assert_allclose(nearest, image[-1, -1], rtol=1e-13, err_msg=path)


@sweep(path=PATHS, boundary=BOUNDARIES)
def test_same_bits_for_any_number_of_threads(path, boundary, rng):
    psf = rng.random((9, 8))
    blurs = [
        fd.Blur(psf, (300, 1100), boundary=boundary, dtype="float32", path=path, workers=n) for n in (1, 2, 3, 2, None)
    ]
    x, y = rng.random(blurs[0].estimate_shape), rng.random(blurs[0].image_shape)
    for application in ("forward", "adjoint"):
        first, *others = [getattr(blur, application)(x if application == "forward" else y) for blur in blurs]
        for other in others:
            np.testing.assert_array_equal(first, other, err_msg=application)


@every_path_and_boundary
def test_convolve_takes_a_boundary(path, boundary):
    shape, psf_shape = (23, 31), (4, 7)
    image, psf = scene(shape, psf_shape, boundary)  # of a larger one where the boundary is unknown: all that is known
    blurred = fd.convolve(image, psf, boundary=boundary, path=path)
    expected = fd.Blur(psf, shape, boundary=boundary, path=path).forward(image)
    np.testing.assert_array_equal(blurred, expected)
    np.testing.assert_allclose(blurred, by_scipy(image, psf, boundary), rtol=0, atol=1e-12)


STEP_PSFS = {
    "low rank": np.outer([1.0, 3.0, 2.0], [0.5, 1.0, 0.25, 0.25]) / 12,
    "both signs": np.array([[0.1, 0.5], [-0.2, 0.1], [0.2, 0.3]]),
    "single": np.array([[1.0]]),
    "larger than the image": np.arange(1.0, 133.0).reshape(12, 11) / np.arange(1.0, 133.0).sum(),
}


@functools.cache
def step_by_oracle(shape, name, data, boundary):
    """Image, start, and the oracle's objective and gradient there."""
    image, start = np.random.default_rng(shape).random((2, *shape))
    psf = STEP_PSFS[name]
    estimate = np.pad(start, margins(psf.shape, boundary), mode="edge")
    arguments = [estimate.tolist()], [image.tolist()], psf.tolist(), data, 0.3, boundary
    step = framed(np.array(naive.gradient(*arguments)[0][0]), psf.shape, boundary)
    return image, start, naive.objective(*arguments), step


@pytest.mark.filterwarnings("ignore:psf's centroid")
@sweep(path=PATHS, boundary=BOUNDARIES, data=DATA)
def test_gradient_and_objective_are_the_oracles(data, path, boundary):
    rate = 1e-3
    for shape, (name, psf) in itertools.product([(7, 9), (1, 6), (5, 1), (1, 1)], STEP_PSFS.items()):
        image, start, objective, step = step_by_oracle(shape, name, data, boundary)
        result = fd.solve(
            image, psf, boundary=boundary, path=path, data=data, mu=0.3, solver="gd", learning_rate=rate, max_iter=1,
            tol=0, init=start,
        )  # fmt: skip
        case = f"image {shape}, psf {name}"
        assert result.history[0] == pytest.approx(objective, rel=1e-12, abs=1e-14), case
        assert result.image.shape == shape, case
        np.testing.assert_allclose((start - result.image) / rate, step, rtol=0, atol=1e-11, err_msg=case)


@every_boundary
@for_each("data", DATA)
def test_channels_are_one_problem(data, boundary, rng):
    psf = STEP_PSFS["low rank"]
    images, starts = rng.random((2, 3, 6, 8))
    estimates = [np.pad(start, margins(psf.shape, boundary), mode="edge") for start in starts]
    arguments = [a.tolist() for a in estimates], [a.tolist() for a in images], psf.tolist(), data, 0.3, boundary
    expected = [framed(np.array(step), psf.shape, boundary) for step in naive.gradient(*arguments)[0]]
    for path, axis in itertools.product(PATHS, (0, 2)):
        result = fd.solve(
            np.moveaxis(images, 0, axis), psf, boundary=boundary, path=path, data=data, mu=0.3, channel_axis=axis,
            init=np.moveaxis(starts, 0, axis), learning_rate=1e-3, solver="gd", max_iter=1, tol=0,
        )  # fmt: skip
        assert result.history[0] == pytest.approx(naive.objective(*arguments), rel=1e-12)
        moved = (starts - np.moveaxis(result.image, axis, 0)) / 1e-3
        np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-11, err_msg=f"{path} {axis}")


def objective_and_gradient(blur, image, x, data, mu):
    """Both from the formulas, by whole arrays."""
    residual = blur.forward(x) - image
    last = 0 if blur.boundary == "wrap" else -1  # beyond the border is the pixel itself, but where that is periodic
    rows, cols = np.diff(x, axis=0, append=x[[last]]), np.diff(x, axis=1, append=x[:, [last]])
    roughness = np.roll(rows, 1, 0) - rows + np.roll(cols, 1, 1) - cols
    misfit_term, roughness_term = 0.5 * np.vdot(residual, residual), 0.5 * (np.vdot(rows, rows) + np.vdot(cols, cols))
    if data == "squares":
        return misfit_term + mu * roughness_term, blur.adjoint(residual) + mu * roughness
    slopes = 0.5 / np.sqrt(misfit_term), 0.5 * mu / np.sqrt(roughness_term)
    value = np.sqrt(misfit_term) + mu * np.sqrt(roughness_term)
    return value, slopes[0] * blur.adjoint(residual) + slopes[1] * roughness


@sweep(boundary=BOUNDARIES, data=DATA)
def test_steps_on_many_tiles(data, boundary, rng):
    image, start, psf = rng.random((70, 600)), rng.random((70, 600)), rng.random((5, 9))
    psf /= psf.sum()
    rate, steps = (20.0 if data == "root" else 0.2), 3
    blur = fd.Blur(psf, image.shape, boundary=boundary, dtype="float64", path="direct")
    x, history = np.pad(start, margins(psf.shape, boundary), mode="edge"), []
    for _ in range(steps):
        value, gradient = objective_and_gradient(blur, image, x, data, 0.3)
        history.append(value)
        x = x - rate * gradient
    history.append(objective_and_gradient(blur, image, x, data, 0.3)[0])
    x = framed(x, psf.shape, boundary)
    assert np.abs(x - start).max() > 0.1
    for path, dtype in itertools.product(PATHS, ("float32", "float64")):
        result = fd.solve(
            image.astype(dtype), psf, boundary=boundary, path=path, data=data, mu=0.3, init=start, solver="gd",
            learning_rate=rate, max_iter=steps, tol=0,
        )  # fmt: skip
        tolerance, case = (1e-5 if dtype == "float32" else 1e-12), f"{path} {dtype}"
        np.testing.assert_allclose(result.history, history, rtol=tolerance, err_msg=case)
        np.testing.assert_allclose(result.image, x, rtol=0, atol=tolerance, err_msg=case)
