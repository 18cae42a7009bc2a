"""What `path="auto"` goes by."""

import json
import math
import time

import numpy as np
import pytest

import fastdeblur as fd
from fastdeblur.operators import costs, separable

DTYPES = ["float32", "float64"]


def test_the_table_is_whole():
    """Constants for every width of vectors that was measured, as many as there are counts."""
    text = costs.FILE.read_text(encoding="utf-8")
    table = json.loads(text)["nanoseconds"]
    assert {"16", "32"} <= set(table)
    for dtypes in table.values():
        for dtype in DTYPES:
            for path in costs.PATHS:
                counts = costs.counts(path, (100, 120), (9, 7), 2, dtype)
                assert len(dtypes[dtype][path]) == len(counts), path
                assert all(each >= 0 for each in dtypes[dtype][path])
                assert sum(dtypes[dtype][path]) > 0
    assert costs.as_text(json.loads(text)) == text


@pytest.mark.parametrize("dtype", DTYPES)
def test_larger_images_psfs_and_ranks_cost_more(dtype):
    for path in costs.PATHS:
        times = [costs.predicted(path, (side, side), (9, 9), 2, dtype) for side in (64, 128, 512, 2048)]
        assert times == sorted(times), path
    for path in ("direct", "separable"):
        times = [costs.predicted(path, (512, 512), (taps, taps), 3, dtype) for taps in (3, 9, 31)]
        assert times == sorted(times), path
    times = [costs.predicted("separable", (512, 512), (31, 31), rank, dtype) for rank in (1, 2, 8)]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("taps", "shape"),
    [
        ((1, 1), (1, 1)),
        ((31, 31), (171, 171)),
        ((101, 101), (4096, 4096)),
        ((1, 301), (2048, 100)),
        ((2000, 3), (40, 9)),
    ],
)
def test_transforms_fit(taps, shape):
    rows, cols = costs.fourier_shape(taps, shape, "float32")
    assert rows >= taps[0]
    assert cols >= taps[1]
    for length, size, least in ((rows, shape[0], taps[0]), (cols, shape[1], taps[1])):
        assert length <= max(costs.good_length(size + least - 1), 3 * least, 768)
        while length % 2 == 0:
            length //= 2
        assert 15**16 % length == 0  # nothing but factors 2, 3 and 5


def test_the_choice_does_not_depend_on_workers():
    for taps in (3, 13, 31):
        paths = {fd.Blur(np.ones((taps, taps)), (300, 400), workers=n).path for n in (1, 2, None)}
        assert len(paths) == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 5), (9, 4), (13, 13), (120, 90)])
def test_rank(shape, dtype, rng):
    for rank in range(1, min(*shape, 7) + 1):
        weights = (rng.random((shape[0], rank)) @ rng.random((rank, shape[1]))).astype(dtype)
        down, across = separable.factors(weights)
        assert separable.rank(weights, 16) <= len(down)
        assert separable.rank(weights.astype("float64"), 16) >= rank  # rounding to float32 may add some
        assert separable.rank(weights, rank) in (rank, rank + 1)
        np.testing.assert_allclose(
            down.T @ across, weights, rtol=0, atol=weights.max() * (1e-6 if dtype == "float32" else 1e-13)
        )
    assert separable.rank(rng.random((200, 300)), 3) == 4
    assert separable.rank(np.zeros((4, 4)), 3) == 1


def test_the_rank_of_a_large_psf_is_soon_known(rng):
    full = rng.random((1500, 1500))
    began = time.monotonic()
    assert separable.rank(full, 16) == 17
    assert time.monotonic() - began < 2
    assert separable.rank(np.outer(rng.random(1500), rng.random(1500)), 16) == 1


def test_the_prediction_is_near_the_time():
    """To a factor that no machine should be off by."""
    image = np.random.default_rng(0).random((700, 700), dtype=np.float32)
    for path, taps in (("direct", 13), ("separable", 13), ("fft", 31)):
        blur = fd.Blur(np.ones((taps, taps)) / taps**2, image.shape, dtype="float32", path=path, workers=1)
        blur.forward(image)
        times = []
        for _ in range(5):
            began = time.perf_counter()
            blur.forward(image)
            times.append(time.perf_counter() - began)
        assert abs(math.log(min(times) / blur.seconds)) < math.log(30), path
