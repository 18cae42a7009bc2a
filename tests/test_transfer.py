"""sRGB's curve and powers: their values, their inverses, and what is not light."""

import math

import numpy as np
import pytest

import fastdeblur as fd

DTYPES = ["bool", "uint8", "uint16", "int8", "int16", "uint32", "int64", "float16", "float32", "float64", ">u2", ">f4"]


def srgb_light(value):
    """The standard's formula for one value."""
    if value < 0:
        return -srgb_light(-value)
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def test_decode_is_the_standards_formula():
    values = np.linspace(-0.3, 1.7, 401)
    np.testing.assert_allclose(fd.transfer.decode(values), [srgb_light(v) for v in values], rtol=1e-13, atol=0)
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_allclose(fd.transfer.decode(every), [srgb_light(v / 255) for v in range(256)], rtol=2e-6)


@pytest.mark.parametrize("curve", ["srgb", "linear", 1.8, 2.2, 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_encode_is_the_inverse_of_decode(curve, dtype):
    knee = 0.04045
    values = np.concatenate([np.linspace(-0.5, 3, 7001), knee + np.linspace(-1e-6, 1e-6, 201), [0.0]]).astype(dtype)
    back = fd.transfer.encode(fd.transfer.decode(values, curve), curve)
    assert back.dtype == dtype
    np.testing.assert_allclose(
        back, values, rtol=0, atol=2e-6 if dtype == "float32" else 2e-9 if curve == "srgb" else 1e-14
    )
    light = fd.transfer.decode(values, curve)
    again = fd.transfer.decode(fd.transfer.encode(light, curve), curve)
    np.testing.assert_allclose(again, light, rtol=2e-5 if dtype == "float32" else 1e-8, atol=1e-7)
    rising = np.sort(values)
    assert (np.diff(fd.transfer.decode(rising, curve)) >= 0).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_all_values_of_files_survive(dtype):
    largest = np.iinfo(dtype).max
    every = np.arange(largest + 1).astype(dtype)
    encoded = fd.transfer.encode(fd.transfer.decode(every))
    np.testing.assert_array_equal(np.rint(largest * encoded.astype(np.float64)).astype(dtype), every)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_scales_and_layouts(dtype, rng):
    dtype = np.dtype(dtype)
    largest = np.iinfo(dtype).max if dtype.kind in "iu" else 1
    image = (rng.random((9, 14)) * min(largest, 2**31)).astype(dtype)
    kept = image.copy()
    image.flags.writeable = False
    found = fd.transfer.decode(image)
    narrow = dtype.itemsize <= (4 if dtype.kind == "f" else 2)
    assert found.dtype == (np.float32 if narrow else np.float64)
    expected = [[srgb_light(float(v) / largest) for v in row] for row in image]
    np.testing.assert_allclose(found, expected, rtol=1e-5 if narrow else 1e-12, atol=1e-9)
    np.testing.assert_array_equal(fd.transfer.decode(image[::-1, ::2]), found[::-1, ::2])
    np.testing.assert_array_equal(image, kept)


def test_large_integers_are_looked_up_to_the_same_bits(rng):
    for image in (rng.integers(0, 256, (300, 300), np.uint8), rng.integers(0, 65536, (300, 300), np.uint16)):
        row = fd.transfer.decode(image[7])
        np.testing.assert_array_equal(fd.transfer.decode(image)[7], row)
        np.testing.assert_array_equal(fd.transfer.decode(image.astype(image.dtype.newbyteorder(">")))[7], row)
    flags = rng.random((300, 300)) < 0.5
    np.testing.assert_array_equal(fd.transfer.decode(flags), flags.astype(np.float32))


def test_alpha_is_only_scaled(rng):
    image = rng.integers(0, 256, (5, 6, 4), np.uint8)
    found = fd.transfer.decode(image)
    np.testing.assert_array_equal(found[..., 3], image[..., 3] / np.float32(255))
    np.testing.assert_array_equal(found[..., :3], fd.transfer.decode(image[..., :3]))
    np.testing.assert_array_equal(fd.transfer.decode(image, alpha=False)[..., 3], fd.transfer.decode(image[..., 3]))
    np.testing.assert_array_equal(
        fd.transfer.decode(image[..., 0], alpha=True)[:, -1], image[:, -1, 0] / np.float32(255)
    )
    np.testing.assert_allclose(fd.transfer.encode(found)[..., 3], image[..., 3] / 255, rtol=1e-6)


def test_missing_and_infinite_values_stay_what_they_are():
    found = fd.transfer.decode(np.array([np.nan, np.inf, -np.inf, -0.0]))
    assert math.isnan(found[0])
    assert found[1] == np.inf
    assert found[2] == -np.inf
    assert np.signbit(found[3])


@pytest.mark.parametrize("function", [fd.transfer.decode, fd.transfer.encode])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.ones(3), "sRGB"), ValueError, "curve must be one of 'srgb', 'linear'; got 'sRGB'"),
        ((np.ones(3), 0), ValueError, "curve must be a finite number above 0; got 0"),
        ((np.ones(3), None), TypeError, "curve must be a finite number above 0; got None"),
        ((np.ones(3, complex),), TypeError, "image must hold real numbers"),
        ((np.ma.masked_array(np.ones(3)),), TypeError, "image must not be a masked array"),
    ],
)
def test_refuses(function, arguments, error, message):
    with pytest.raises(error, match=message):
        function(*arguments)
    with pytest.raises(TypeError, match="alpha must be True, False or None; got 1"):
        function(np.ones((2, 2)), alpha=1)
    with pytest.raises(ValueError, match="image must have a last axis"):
        function(0.5, alpha=True)
