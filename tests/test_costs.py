"""What `path="auto"` goes by."""

import json
import math
import re
import time

import numba
import numpy as np
import pytest

import fastdeblur as fd
from fastdeblur.cli import main as cli
from fastdeblur.operators import calibration, costs, separable

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
                assert len(dtypes[dtype][path]) == len(counts) == costs.PATHS[path], path
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
    lengths = costs.fourier_shape(taps, shape, "float32")
    for length, size, least, parts, those in zip(
        lengths, shape, taps, (2, 1), costs.transforms("float32"), strict=True
    ):
        assert length >= least
        assert length in those
        assert length <= max(costs.at_least(-(-size // parts) + least - 1, those), 3 * least, 768)
        assert 60**17 % length == 0  # nothing but factors 2, 3 and 5


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


@pytest.fixture
def few_samples(monkeypatch, tmp_path):
    """A calibration of a moment, and a cache folder of its own."""
    small = {"ROUNDS": 1, "SAMPLES": 1, "SAMPLE": 0.0, "SIDES": (24,), "LARGE": 128, "TRANSFORMS": (24, 96)}
    for name, value in small.items():
        monkeypatch.setattr(calibration, name, value)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.delenv("FASTDEBLUR_CACHE", raising=False)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "fastdeblur" / "costs.json"


def test_a_table_of_ones_own(few_samples, monkeypatch, capsys):
    assert cli.main(["calibrate", "--dry"]) == 0
    assert not few_samples.exists()
    assert "24x24, 3x3 taps, rank 3" in capsys.readouterr().out
    assert cli.main(["calibrate"]) == 0
    assert f"written to {few_samples}" in capsys.readouterr().out
    table = costs.read_user_table(costs.user_file())
    assert next(iter(table.values())).keys() == {"float32", "float64"}
    monkeypatch.setattr(costs, "OWN", table)
    monkeypatch.setattr(costs, "NANOSECONDS", table)
    assert costs.predicted("direct", (100, 120), (9, 7), 7, "float32") > 0
    assert cli.main(["info"]) == 0
    assert re.search(rf"^costs: +{few_samples}$", capsys.readouterr().out, re.MULTILINE)
    monkeypatch.setenv("FASTDEBLUR_CACHE", "0")
    assert cli.main(["calibrate"]) == 2
    assert "no cache folder" in capsys.readouterr().err


def test_a_table_that_is_not_this_processors_or_is_damaged_is_not_used(few_samples, monkeypatch, capsys):
    constants = {dtype: {path: [1.0] * count for path, count in costs.PATHS.items()} for dtype in DTYPES}
    costs.write_user_table(constants)
    assert costs.read_user_table(few_samples) is not None
    good = json.loads(few_samples.read_text())
    width = next(iter(good["nanoseconds"]))
    bad = [good | {"processor": "another"}, good | {"nanoseconds": {}}, good | {"nanoseconds": []}, [], {}]
    for constant in (-1, math.inf, math.nan, "1", None):
        other = json.loads(json.dumps(good))
        other["nanoseconds"][width]["float64"]["fft"][2] = constant
        bad.append(other)
    for content in [*map(json.dumps, bad), "", "[" * 100000]:
        few_samples.write_text(content)
        assert costs.read_user_table(few_samples) is None, content[:80]
    monkeypatch.setattr(costs, "OWN", None)
    assert cli.main(["info"]) == 0
    assert "another processor's, or damaged" in capsys.readouterr().out
