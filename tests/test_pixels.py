"""Pixels of files become real numbers, and are what they were on the way back."""

import numpy as np
import pytest
from samples import SHAPES, noise

from fastdeblur import pixels


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", ">u2", "i2", "u4", "i4", "f2", "f4", "f8"])
@pytest.mark.parametrize("kind", SHAPES)
def test_pixels_survive_the_way_to_real_numbers_and_back(dtype, kind):
    image = noise(SHAPES[kind], dtype)
    real = pixels.to_real(image)
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
