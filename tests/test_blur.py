"""The operator: every path against the oracle, its adjoint against the transpose.

Run again for other instruction sets by test_instruction_sets.py.
"""

import copy
import functools
import itertools
import pickle
import re
import time

import naive
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from sweeps import sweep

import fastdeblur as fd
from fastdeblur.operators import host
from fastdeblur.operators.tiling import cuts_of

PSF_SHAPES = [(1, 1), (3, 3), (4, 4), (2, 7), (3, 8), (8, 3), (13, 13), (1, 12), (31, 31)]
IMAGE_SHAPES = [(1, 1), (1, 2), (1, 53), (53, 1), (6, 7), (17, 13), (16, 16)]
TOLERANCE = {"float32": 3e-6, "float64": 1e-12}


@functools.cache
def case(image_shape, psf_shape):
    """Image of unit variance, psf of unit sum, and the oracle's answer."""
    rng = np.random.default_rng([*image_shape, *psf_shape])
    image, psf = rng.standard_normal(image_shape), rng.random(psf_shape)
    psf /= psf.sum()
    return image, psf, np.array(naive.convolve(image.tolist(), psf.tolist()))


@sweep(
    pairs=True, image_shape=IMAGE_SHAPES, psf_shape=PSF_SHAPES, path=["direct", "separable", "fft"],
    dtype=["float32", "float64"],
)  # fmt: skip
def test_forward_is_the_formula(image_shape, psf_shape, path, dtype):
    image, psf, expected = case(image_shape, psf_shape)
    blurred = fd.Blur(psf, image_shape, dtype=dtype, path=path).forward(image.astype(dtype))
    assert blurred.dtype == dtype
    np.testing.assert_allclose(blurred, expected, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("psf_shape", PSF_SHAPES)
@pytest.mark.parametrize("image_shape", IMAGE_SHAPES)
def test_oracle_agrees_with_scipy(image_shape, psf_shape):
    image, psf, expected = case(image_shape, psf_shape)
    np.testing.assert_allclose(scipy.ndimage.convolve(image, psf, mode="constant"), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("path", ["direct", "separable", "fft"])
@pytest.mark.parametrize("psf_shape", [(13, 13), (4, 4), (3, 8)])
@pytest.mark.parametrize("image_shape", [(67, 1003), (130, 499), (33, 500), (257, 97)])
def test_many_tiles(image_shape, psf_shape, path, dtype, rng):
    image, psf = rng.standard_normal(image_shape).astype(dtype), rng.random(psf_shape)
    psf /= psf.sum()
    blurred = fd.Blur(psf, image_shape, dtype=dtype, path=path).forward(image)
    expected = scipy.ndimage.convolve(image.astype(float), psf, mode="constant")
    np.testing.assert_allclose(blurred, expected, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("path", ["direct", "separable", "fft"])
@pytest.mark.parametrize("psf_shape", [*PSF_SHAPES, (9, 2), (20, 21)])
def test_operator_is_the_matrix_and_adjoint_its_transpose(psf_shape, path, rng):
    shape = 6, 7
    psf = rng.standard_normal(psf_shape)
    blur = fd.Blur(psf, shape, path=path)
    unit = np.eye(42).reshape(42, *shape)
    forward = np.array([blur.forward(image).ravel() for image in unit]).T
    adjoint = np.array([blur.adjoint(image).ravel() for image in unit]).T
    expected = np.array(naive.matrix(shape, psf.tolist()))
    np.testing.assert_allclose(forward, expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(adjoint, expected.T, rtol=0, atol=1e-13)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 70),
    cols=st.integers(1, 110),
    down=st.integers(1, 20),
    across=st.integers(1, 20),
    dtype=st.sampled_from(["float32", "float64"]),
    path=st.sampled_from(["direct", "separable", "fft"]),
    seed=st.integers(0, 2**16),
)
def test_dot(rows, cols, down, across, dtype, path, seed):
    rng = np.random.default_rng(seed)
    psf = rng.standard_normal((down, across))
    blur = fd.Blur(psf, (rows, cols), dtype=dtype, path=path)
    x, y = rng.standard_normal((2, rows, cols)).astype(dtype)
    left = np.vdot(blur.forward(x).astype(float), y)
    right = np.vdot(x.astype(float), blur.adjoint(y))
    scale = np.linalg.norm(x) * np.linalg.norm(y) * blur.norm()
    assert abs(left - right) <= scale * (1e-6 if dtype == "float32" else 1e-14)


def test_delta_draws_the_psf(rng):
    for shape in [(3, 3), (4, 4), (2, 5)]:
        psf = rng.random(shape)
        delta = np.zeros((9, 9))
        delta[4, 4] = 1
        drawn = fd.convolve(delta, psf, path="direct")
        top, left = 4 - shape[0] // 2, 4 - shape[1] // 2
        np.testing.assert_array_equal(drawn[top : top + shape[0], left : left + shape[1]], psf)


def strided(image):
    """The same values behind other strides, byte orders and flags."""
    rows, cols = image.shape
    padded = np.zeros((rows + 4, cols + 6), image.dtype)
    padded[2:-2, 3:-3] = image
    readonly = image.copy()
    readonly.flags.writeable = False
    double = np.zeros((2 * rows, 3 * cols), image.dtype)
    double[::2, ::3] = image
    raw = np.zeros(image.nbytes + 1, np.uint8)
    unaligned = raw[1:].view(image.dtype).reshape(image.shape)
    unaligned[...] = image
    return {
        "view": padded[2:-2, 3:-3],
        "fortran": np.asfortranarray(image),
        "steps": double[::2, ::3],
        "backwards": image[::-1, ::-1].copy()[::-1, ::-1],
        "other byte order": image.astype(image.dtype.newbyteorder()),
        "read-only": readonly,
        "unaligned": unaligned,
        "list": image.tolist(),
    }


@pytest.mark.parametrize("shape", [(23, 31), (1, 40), (40, 1)])
def test_any_strides(shape, rng):
    image = rng.random(shape)
    blur = fd.Blur(rng.random((5, 4)), shape, dtype="float64")
    expected = blur.forward(image)
    for name, same in strided(image).items():
        before = np.array(same)
        np.testing.assert_array_equal(blur.forward(same), expected, err_msg=name)
        np.testing.assert_array_equal(np.array(same), before, err_msg=name)
    for name, out in strided(np.zeros(shape)).items():
        if isinstance(out, np.ndarray) and out.flags.writeable and out.dtype.isnative:
            assert blur.forward(image, out=out) is out
            np.testing.assert_array_equal(out, expected, err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_that_go_past_the_caches(dtype, rng, monkeypatch):
    """Wherever a row begins and ends in its cache lines."""
    memory = np.zeros((41, 140), dtype)
    for first, cols in [(0, 128), (1, 131), (3, 5), (7, 1), (9, 130)]:
        image = rng.random((41, cols)).astype(dtype)
        for path in ("direct", "separable", "fft"):
            blur = fd.Blur(rng.random((3, 5)), image.shape, dtype=dtype, path=path)
            expected = blur.forward(image)
            with monkeypatch.context() as patch:
                patch.setattr(host, "STREAMED", 0)
                memory[:] = 7
                blur.forward(image, out=memory[:, first : first + cols])
            np.testing.assert_array_equal(memory[:, first : first + cols], expected)
            assert (memory[:, :first] == 7).all()
            assert (memory[:, first + cols :] == 7).all()


def test_a_broadcast_row_is_read_as_it_is(rng):
    image = np.broadcast_to(rng.random(20), (10, 20))
    blur = fd.Blur(rng.random((3, 3)), image.shape)
    np.testing.assert_array_equal(blur.forward(image), blur.forward(image.copy()))


def test_out_may_be_the_input(rng):
    image = rng.random((100, 120))
    blur = fd.Blur(rng.random((7, 7)), image.shape)
    expected = blur.forward(image)
    assert blur.forward(image, out=image) is image
    np.testing.assert_array_equal(image, expected)


def test_out_overlapping_the_input(rng):
    memory = rng.random((101, 120))
    blur = fd.Blur(rng.random((7, 7)), (100, 120))
    expected = blur.forward(memory[:-1].copy())
    np.testing.assert_array_equal(blur.forward(memory[:-1], out=memory[1:]), expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0), (41, 66), (20, 30)])
def test_not_finite_is_refused_wherever_it_is(bad, place, rng):
    image = rng.random((42, 67))
    image[place] = bad
    for path in ("direct", "separable", "fft"):
        blur = fd.Blur(np.ones((3, 3)) / 9, image.shape, path=path)
        for name, apply in (("x", blur.forward), ("y", blur.adjoint)):
            with pytest.raises(ValueError, match=re.escape(f"{name} must be finite; at index {place} it is {bad}")):
                apply(image)


def test_overflow_is_announced():
    image = np.full((8, 8), 3e38, np.float32)
    for apply in (
        lambda: fd.convolve(image, np.ones((3, 3))),
        lambda: fd.Blur(np.ones((3, 3)), (8, 8), dtype="f4").forward(image),
    ):
        with pytest.warns(RuntimeWarning, match="too large for float32") as caught:
            apply()
        assert caught[0].filename == __file__


def test_a_number_too_large_for_the_dtype_is_refused():
    blur = fd.Blur(np.ones((3, 3)), (4, 4), dtype="float32")
    with pytest.raises(ValueError, match="x must be finite"):
        blur.forward(np.full((4, 4), 1e300))


@pytest.mark.parametrize(
    ("given", "kept"),
    [("float16", "float32"), ("uint8", "float32"), ("int16", "float32"), ("uint16", "float32"), ("bool", "float32"),
     ("float32", "float32"), ("int32", "float64"), ("uint64", "float64"), ("float64", "float64"), (">f4", "float32")],
)  # fmt: skip
def test_dtypes(given, kept):
    image = np.arange(12).reshape(3, 4).astype(given)
    result = fd.convolve(image, [[1]])
    assert result.dtype == kept
    assert result.dtype.isnative
    np.testing.assert_array_equal(result, image)
    assert fd.Blur(np.ones((1, 1), given), (3, 4)).dtype == kept


def test_path_is_chosen_by_size_and_rank(rng):
    """Cases far from where two paths cost the same, on any machine."""
    shape = 600, 700
    assert fd.Blur(fd.psf.gaussian(13, 2), shape).path == "separable"
    assert fd.Blur(rng.random((5, 5)), shape).path == "direct"
    assert fd.Blur(rng.random((101, 101)), shape).path == "fft"
    assert fd.Blur(np.ones((1, 12)), shape).path in ("direct", "separable")


@pytest.mark.parametrize("path", ["direct", "separable", "fft"])
def test_same_bits_for_any_number_of_threads(path, rng):
    image = rng.random((700, 1100), dtype=np.float32)
    psf = rng.random((9, 9))
    blurs = [fd.Blur(psf, image.shape, dtype="float32", path=path, workers=n) for n in (1, 2, 3, 2, None)]
    first, *others = [blur.forward(image) for blur in blurs]
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_copies_and_pickles_are_operators_of_their_own(rng):
    image = rng.random((40, 50))
    blur = fd.Blur(rng.random((4, 5)), image.shape, path="separable", workers=1)
    expected = blur.forward(image)
    copies = [copy.copy(blur), copy.deepcopy(blur), pickle.loads(pickle.dumps(blur))]
    text = repr(blur)
    del blur
    for same in copies:
        np.testing.assert_array_equal(same.forward(image), expected)
        assert repr(same) == text == "<Blur: 4x5 psf, 40x50 image, float64, boundary constant, path separable>"


def test_the_callers_psf_may_change(rng):
    psf = rng.random((3, 3))
    blur = fd.Blur(psf, (8, 8))
    norm = blur.norm()
    psf *= 1000
    assert blur.norm() == norm
    assert not blur.psf.flags.writeable


def test_a_psf_far_larger_than_the_image_costs_no_more_than_its_reach(rng):
    image, psf = rng.random((5, 6)), rng.random((2001, 2000))
    fd.Blur(psf[:20, :20], image.shape).forward(image)  # compiles
    began = time.monotonic()
    blurred = fd.Blur(psf, image.shape).forward(image)
    assert time.monotonic() - began < 1
    expected = [
        [sum(psf[1000 + i - k, 1000 + j - m] * image[k, m] for k in range(5) for m in range(6)) for j in range(6)]
        for i in range(5)
    ]
    np.testing.assert_allclose(blurred, expected, rtol=1e-12)
    far = np.zeros((2001, 2000))
    far[0, 0] = 1
    np.testing.assert_array_equal(fd.Blur(far, image.shape).forward(image), 0)


def test_norm_is_a_bound(rng):
    psf = rng.standard_normal((5, 4))
    blur = fd.Blur(psf, (9, 8))
    assert np.linalg.norm(naive.matrix((9, 8), psf.tolist()), 2) <= blur.norm() * (1 + 1e-12)


def test_tiles_are_as_equal_as_register_tiles_allow():
    for size, before, after, most, step in itertools.product(
        (1, 3, 64, 171, 1024), (0, 6), (0, 7), (24, 32, 448), (1, 4, 64)
    ):
        cuts = cuts_of(size, before, after, max(most, step), step)
        assert (cuts[0], cuts[-1]) == (0, size), "every pixel is in a tile"
        parts = np.diff(cuts)
        assert 0 < parts.min() <= parts.max() <= max(most, step)
        inner = parts[1:-1]  # the first and the last have the halo, too
        assert len(inner) == 0 or inner.max() - inner.min() <= step
        assert all(part % step == 0 for part in inner)
