"""Pixels of files become real numbers, and are what they were on the way back."""

import numpy as np
import pytest
from samples import SHAPES, noise

from fastdeblur.io import pixels


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", ">u2", "i2", "u4", "i4", "f2", "f4", "f8"])
@pytest.mark.parametrize("kind", SHAPES)
def test_pixels_survive_the_way_to_real_numbers_and_back(dtype, kind):
    image = noise(SHAPES[kind], dtype)
    real = pixels.to_real(image, kind in ("LA", "RGBA"))
    assert real.shape == {"LA": (9, 14, 1), "RGBA": (9, 14, 3)}.get(kind, image.shape)
    back = pixels.from_real(real.astype(np.float32 if image.dtype == np.float16 else real.dtype), image)
    assert back.dtype == image.dtype
    np.testing.assert_array_equal(back, image)


@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_integers_of_64_bits_do_not_wrap(dtype):
    image = noise((9, 14), dtype)
    back = pixels.from_real(pixels.to_real(image), image)
    error = [abs(int(a) - int(b)) for a, b in zip(back.flat, image.flat, strict=True)]
    assert max(error) <= 2**11  # half a unit in the last place of float64


@pytest.mark.parametrize(
    ("dtype", "real"), [("?", "f4"), ("u1", "f4"), ("i2", "f4"), ("u2", "f4"), ("u4", "f8"), ("i8", "f8")]
)
def test_the_largest_value_is_one(dtype, real):
    largest = True if dtype == "?" else np.iinfo(dtype).max
    values = pixels.to_real(np.array([[0, largest]], dtype))
    assert values.dtype == np.dtype(real)
    assert values.tolist() == [[0.0, 1.0]]


def test_integers_are_rounded_and_clipped_to_their_range():
    real = np.array([[-2.0, -1.0, 0.4 / 255, 0.6 / 255, 1.0, 7.5]], np.float32)
    assert pixels.from_real(real, np.zeros((1, 6), np.uint8)).tolist() == [[0, 0, 0, 1, 255, 255]]
    assert pixels.from_real(real, np.zeros((1, 6), np.int16)).tolist() == [[-32768, -32767, 51, 77, 32767, 32767]]


def test_floats_are_not_clipped():
    real = np.array([[-2.0, 7.5]], np.float32)
    np.testing.assert_array_equal(pixels.from_real(real, np.zeros((1, 2), np.float64)), real)


def test_booleans_become_bytes():
    image = np.array([[[True, False], [False, True]]])
    real = np.array([[[0.5], [2.0]]], np.float32)
    written = pixels.from_real(real, image)
    assert written.dtype == np.uint8
    assert written.tolist() == [[[128, 0], [255, 255]]]


def test_what_a_type_cannot_hold_is_counted():
    clipped = pixels.Clipped()
    real = np.array([[-0.2, -0.001, 0.5, 1.001, 1.5]], np.float32)
    image = np.zeros((1, 5), np.uint8)
    assert pixels.from_real(real, image, clipped).tolist() == [[0, 0, 128, 255, 255]]
    pixels.from_real(real[:, 2:3], image[:, 2:3], clipped)
    assert (clipped.count, clipped.total) == (2, 6)  # what rounds to 0 or 255 is not lost
    with pytest.warns(
        UserWarning, match=r"2 of 6 restored values were clipped to what uint8 holds.*-0.2 to 1.5 \(--dtype"
    ):
        clipped.warn(np.dtype(np.uint8))
    pixels.Clipped().warn(np.dtype(np.uint8))  # nothing to say
    half = pixels.Clipped()
    found = pixels.from_real(np.array([[7e4, -1e9, 3]]), np.zeros((1, 3), np.float16), half)
    assert found.dtype == np.float16
    assert found.tolist() == [[65504, -65504, 3]]
    assert half.count == 2


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", ">u2"])
def test_floats_keep_the_units_of_integers(dtype):
    image = np.array([[0, 100, np.iinfo(dtype).max]]).astype(dtype)
    for wanted in (np.dtype(np.float32), np.dtype(np.float64)):
        back = pixels.from_real(pixels.to_real(image), image, None, wanted)
        assert back.dtype == wanted
        np.testing.assert_allclose(back, image, rtol=1e-6)
    with_alpha = np.stack([image, image], axis=-1)
    back = pixels.from_real(pixels.to_real(with_alpha, True) * 2, with_alpha, None, np.dtype(np.float32))
    np.testing.assert_allclose(back, with_alpha * [2.0, 1.0], rtol=1e-6)
    bytes_ = pixels.from_real(pixels.to_real(with_alpha, True), with_alpha, None, np.dtype(np.uint8))
    np.testing.assert_array_equal(bytes_[0, 2], [255, 255])
    with pytest.raises(ValueError, match="dtype must be of floats for a file of float32"):
        pixels.output_dtype(np.dtype(np.float32), np.dtype(np.uint8))
