"""The blur as scipy's and pylops' linear operator, its norm, and the uses an operator is put to."""

import copy
import functools
import itertools
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import naive
import numpy as np
import pytest
import scipy
import scipy.sparse
import scipy.sparse.linalg
from sweeps import few, sweep

import fastdeblur as fd

BOUNDARIES = ["constant", "nearest", "reflect", "mirror", "wrap", "unknown"]
PATHS = ["direct", "separable", "fft"]
SCIPY = tuple(map(int, scipy.__version__.split(".")[:2]))

for_each = pytest.mark.parametrize
every_boundary = for_each("boundary", BOUNDARIES)
every_path_and_boundary = for_each(("path", "boundary"), list(itertools.product(PATHS, BOUNDARIES)))

NORM_SHAPES = [(1, 1), (1, 9), (7, 1), (6, 7), (20, 20)]


def delta(shape, place):
    psf = np.zeros(shape)
    psf[place] = 1.0
    return psf


def positive_psfs():
    rng = np.random.default_rng(7)
    return {
        "random 5x4": rng.random((5, 4)),
        "random 31x31": rng.random((31, 31)),
        "random 1x12": rng.random((1, 12)),
        "sparse 9x9": rng.random((9, 9)) ** 20,
        "single": np.array([[2.5]]),
        "box 3x3": np.full((3, 3), 1 / 9),
        "box 4x6": np.full((4, 6), 1 / 24),
        "gaussian 13x13": fd.psf.gaussian(13, 2.0),
        "centred delta": delta((5, 5), (2, 2)),
        "delta in a corner": delta((5, 5), (0, 0)),
        "delta to the right": delta((1, 8), (0, 7)),
        "delta far below": delta((31, 31), (30, 15)),
        "two deltas": delta((7, 7), (0, 0)) + delta((7, 7), (6, 6)),
        "ramp": np.arange(1.0, 29.0).reshape(4, 7),
    }


def psfs_of_both_signs():
    rng = np.random.default_rng(8)
    return {
        "normal 5x4": rng.standard_normal((5, 4)),
        "normal 31x31": rng.standard_normal((31, 31)),
        "difference": np.array([[1.0, -1.0]]),
        "laplacian": np.array([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]),
        "sharpening": np.array([[-0.1, -0.1, -0.1], [-0.1, 1.8, -0.1], [-0.1, -0.1, -0.1]]),
        "negative": -rng.random((3, 3)),
        "negative delta": -delta((5, 5), (4, 1)),
        "alternating": (-1.0) ** np.add.outer(np.arange(6), np.arange(5)),
    }


def norms(psfs, boundary, long):
    """Case, norm, true norm, and sum of the psf; the paths take turns, and the psfs with the boundaries."""
    cases = zip(itertools.cycle(PATHS), itertools.product(NORM_SHAPES, psfs.items()))
    for number, (path, (shape, (name, psf))) in enumerate(cases):
        if not long and (number // len(psfs) + number + BOUNDARIES.index(boundary)) % 2:
            continue
        norm = fd.Blur(psf, shape, boundary=boundary, path=path).norm()
        matrix = np.array(naive.matrix(shape, psf.tolist(), boundary))
        true = np.sqrt(max(np.linalg.eigvalsh(matrix @ matrix.T)[-1], 0))
        yield f"psf {name}, image {shape}, {path}", norm, true, psf.sum()


@every_boundary
def test_norm_is_a_close_bound_for_positive_psfs(boundary, long):
    for case, norm, true, total in norms(positive_psfs(), boundary, long):
        assert isinstance(norm, float), case
        assert norm >= true * (1 - 1e-12), case
        assert norm <= true * 1.05 + 1e-12 * total, case  # zero for deltas that reach no pixel


@every_boundary
def test_norm_is_a_bound_for_psfs_of_both_signs(boundary, long):
    for case, norm, true, _ in norms(psfs_of_both_signs(), boundary, long):
        assert np.isfinite(norm), case
        assert norm >= true * (1 - 1e-12), case


@every_boundary
def test_norm_of_larger_images(boundary):
    rng = np.random.default_rng(9)
    shape = 60, 50
    psfs = {
        "random 9x9": rng.random((9, 9)),
        "gaussian 4x15": fd.psf.gaussian((4, 15), (1.0, 3.0)),
        "random 31x31": rng.random((31, 31)),
        "corner": rng.random((9, 9)) * np.outer([1, 1, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1, 1]),
        "normal 9x9": rng.standard_normal((9, 9)),
        "difference": np.array([[1.0], [-1.0]]),
    }
    for name, psf in psfs.items():
        operator = fd.Blur(psf, shape, boundary=boundary).as_linear_operator()
        start = rng.random(min(operator.shape))
        # Largest and second largest singular value may be close: a loose tolerance, and below the bound all the same.
        true = scipy.sparse.linalg.svds(operator, 1, v0=start, return_singular_vectors=False, tol=1e-6)[0]
        norm = fd.Blur(psf, shape, boundary=boundary).norm()
        assert norm >= true * (1 - 1e-12), name
        if psf.min() >= 0:
            assert norm <= true * 1.05, name


@every_boundary
def test_norm_scales_with_the_psf(boundary):
    psf = positive_psfs()["random 5x4"]
    norm = fd.Blur(psf, (20, 21), boundary=boundary).norm()
    for factor in (2.0**-600, 2.0**-40, 2.0**40, 2.0**600, -1.0):
        assert fd.Blur(psf * factor, (20, 21), boundary=boundary).norm() == pytest.approx(norm * abs(factor), rel=0.05)
    single = fd.Blur(psf, (20, 21), boundary=boundary, dtype="float32").norm()
    assert single == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize("boundary", few(["constant", "mirror", "unknown"], ["mirror"]))
def test_norm_of_a_large_image_is_soon_known(boundary):
    rng = np.random.default_rng(1)
    profile, size = rng.random(101), 2000
    norms = []
    for psf in (rng.random((101, 101)), np.outer(profile, profile)):
        fd.Blur(psf, (300, 300), boundary=boundary).norm()  # compiles
        blur = fd.Blur(psf, (size, size), boundary=boundary)
        began = time.monotonic()
        norms.append(blur.norm())
        assert time.monotonic() - began < 3
    # The second is the product of a blur of columns and the same blur of rows.
    entries = [(profile[u], i, k) for i, pairs in enumerate(naive.reads(size, 101, boundary)) for u, k in pairs]
    weights, *places = zip(*entries, strict=True)
    one = scipy.sparse.coo_array((weights, places)).tocsr()
    true = scipy.sparse.linalg.svds(one, 1, v0=np.ones(size), return_singular_vectors=False, tol=1e-6)[0] ** 2
    assert true * (1 - 1e-12) <= norms[1] <= 1.05 * true


@every_path_and_boundary
def test_scipy_solves_with_it(path, boundary, rng):
    psf = rng.random((3, 4)) * 0.04 + delta((3, 4), (1, 2))
    for shape in [(6, 7), (1, 5), (5, 1)]:
        operator = fd.Blur(psf, shape, boundary=boundary, path=path).as_linear_operator()
        matrix = np.array(naive.matrix(shape, psf.tolist(), boundary))
        image = rng.random(len(matrix))
        solved = scipy.sparse.linalg.lsqr(operator, image, atol=1e-15, btol=1e-15, iter_lim=500)[0]
        expected = np.linalg.lstsq(matrix, image)[0]
        np.testing.assert_allclose(solved, expected, rtol=0, atol=1e-11, err_msg=f"image {shape}")


@every_path_and_boundary
@for_each("dtype", ["float32", "float64"])
def test_linear_operator(dtype, path, boundary, rng):
    shape, psf = (6, 7), rng.standard_normal((4, 9))
    blur = fd.Blur(psf, shape, boundary=boundary, dtype=dtype, path=path)
    operator = blur.as_linear_operator()
    assert isinstance(operator, scipy.sparse.linalg.LinearOperator)
    matrix = np.array(naive.matrix(shape, psf.tolist(), boundary))
    assert operator.shape == matrix.shape == (42, np.prod(blur.estimate_shape))
    assert operator.dtype == blur.dtype == dtype
    rows, cols = operator.shape
    x, y = rng.standard_normal((cols, 3)).astype(dtype), rng.standard_normal((rows, 3)).astype(dtype)
    close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-4 if dtype == "float32" else 1e-12)
    close(operator.matvec(x[:, 0]), matrix @ x[:, 0])
    close(operator.matmat(x[:, :1]), matrix @ x[:, :1])
    close(operator.rmatmat(y[:, :1]), matrix.T @ y[:, :1])
    close(operator @ x[:, :1], matrix @ x[:, :1])
    close(operator.rmatvec(y[:, 0]), matrix.T @ y[:, 0])
    close(operator.matmat(x), matrix @ x)
    close(operator.rmatmat(y), matrix.T @ y)
    close(operator @ x, matrix @ x)
    close(operator.H @ y, matrix.T @ y)
    close(operator.T @ y, matrix.T @ y)
    close((operator.H @ operator) @ x, matrix.T @ matrix @ x)
    close((2 * operator).matvec(x[:, 1]), 2 * matrix @ x[:, 1])
    assert operator.matvec(x[:, 0]).dtype == operator.rmatvec(y[:, 0]).dtype == dtype
    np.testing.assert_array_equal(operator.matvec(x[:, 2]), blur.forward(x[:, 2].reshape(blur.estimate_shape)).ravel())
    np.testing.assert_array_equal(operator.rmatvec(y[:, 2]), blur.adjoint(y[:, 2].reshape(shape)).ravel())
    first = operator.matvec(x[:, 0])
    before = first.copy()
    operator.matvec(x[:, 1])
    np.testing.assert_array_equal(first, before)  # no result is another's memory


@for_each("batch", [(), (1,), (3,), (2, 3), (0,), (0, 2)])
@for_each("shape", [(6, 7), (1, 1)])
@for_each("boundary", ["reflect", "unknown"])
def test_linear_operator_of_batches(boundary, shape, batch, rng):
    """As SciPy passes them on from 1.18: the last axis is the vector's, or the last but one in products of matrices."""
    psf = rng.standard_normal((3, 4))
    matrix = np.array(naive.matrix(shape, psf.tolist(), boundary))
    operator = fd.Blur(psf, shape, boundary=boundary).as_linear_operator()
    rows, cols = operator.shape
    x, y = rng.standard_normal((*batch, cols)), rng.standard_normal((*batch, rows))
    # What is handed to SciPy, which up to 1.17 takes no batches itself.
    close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-12)
    close(operator._matvec(x), x @ matrix.T)
    close(operator._rmatvec(y), y @ matrix)
    if SCIPY >= (1, 18):
        if y.shape != (1, 1):  # a column, of which SciPy warns up to 1.19
            close(operator.matvec(x), x @ matrix.T)
            close(operator.rmatvec(y), y @ matrix)
        x, y = rng.standard_normal((*batch, cols, 2)), rng.standard_normal((*batch, rows, 2))
        close(operator.matmat(x), matrix @ x)
        close(operator.rmatmat(y), matrix.T @ y)
        close(operator.H @ y, matrix.T @ y)


@every_path_and_boundary
def test_pylops_accepts_it(path, boundary):
    import pylops.utils  # takes a second

    np.random.seed(0)  # where dottest's vectors come from
    for psf_shape in [(3, 3), (4, 9), (31, 31)]:
        psf = np.random.default_rng(2).random(psf_shape)
        operator = fd.Blur(psf, (13, 17), boundary=boundary, path=path).as_linear_operator()
        assert pylops.utils.dottest(operator, *operator.shape, rtol=1e-9)
        assert pylops.utils.dottest(pylops.aslinearoperator(operator), *operator.shape, rtol=1e-9)


@sweep(boundary=BOUNDARIES, path=PATHS)
def test_one_blur_serves_several_threads(path, boundary, rng):
    blur = fd.Blur(rng.random((9, 8)), (130, 520), boundary=boundary, path=path)
    x, y = rng.random((6, *blur.estimate_shape)), rng.random((6, *blur.image_shape))
    expected = [blur.forward(a) for a in x], [blur.adjoint(b) for b in y]
    norm = copy.copy(blur).norm()

    def work(worker):
        order = np.roll(np.arange(6), worker)
        return blur.norm(), [(k, blur.forward(x[k]), blur.adjoint(y[k])) for k in order]

    with ThreadPoolExecutor(4) as pool:
        norms, answers = zip(*pool.map(work, range(4)), strict=True)
    assert norms == (norm,) * 4
    for k, blurred, back in itertools.chain(*answers):
        np.testing.assert_array_equal(blurred, expected[0][k])
        np.testing.assert_array_equal(back, expected[1][k])


@every_path_and_boundary
def test_copies_and_pickles_keep_boundary_and_path(path, boundary, rng):
    blur = fd.Blur(rng.random((4, 5)), (40, 50), boundary=boundary, dtype="float32", path=path, workers=1)
    x, y = rng.random(blur.estimate_shape), rng.random(blur.image_shape)
    text, expected = repr(blur), (blur.forward(x), blur.adjoint(y))
    assert f"boundary {boundary}" in text
    assert f"path {path}" in text
    copies = [copy.copy(blur), copy.deepcopy(blur), pickle.loads(pickle.dumps(blur))]
    del blur
    for same in copies:
        assert repr(same) == text
        assert (same.path, same.dtype, same.image_shape, same.estimate_shape) == (path, "float32", (40, 50), x.shape)
        np.testing.assert_array_equal(same.forward(x), expected[0])
        np.testing.assert_array_equal(same.adjoint(y), expected[1])


@every_path_and_boundary
def test_out_has_the_shape_of_the_side_it_is_on(path, boundary, rng):
    blur = fd.Blur(rng.random((4, 5)), (23, 31), boundary=boundary, path=path)
    x, y = rng.random(blur.estimate_shape), rng.random(blur.image_shape)
    blurred, back = np.full(blur.image_shape, np.nan), np.full(blur.estimate_shape, np.nan)
    assert blur.forward(x, out=blurred) is blurred
    assert blur.adjoint(y, out=back) is back
    np.testing.assert_array_equal(blurred, blur.forward(x))
    np.testing.assert_array_equal(back, blur.adjoint(y))
    if boundary == "unknown":
        with pytest.raises(ValueError, match=r"x must have shape \(26, 35\); its shape is \(23, 31\)"):
            blur.forward(y)
        with pytest.raises(ValueError, match=r"y must have shape \(23, 31\); its shape is \(26, 35\)"):
            blur.adjoint(x)
        with pytest.raises(ValueError, match="out must have shape"):
            blur.forward(x, out=back)
    else:  # in place
        assert blur.forward(x, out=x) is x
        np.testing.assert_array_equal(x, blurred)
        assert blur.adjoint(y, out=y) is y
        np.testing.assert_array_equal(y, back)
