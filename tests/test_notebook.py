"""The notebook's own runs in TensorFlow, see golden/README.md."""

from pathlib import Path

import numpy as np
import pytest

import fastdeblur as fd

RUNS = {"gd": (0.5, 500), "momentum": (0.05, 200), "nesterov": (0.05, 200), "adam": (0.02, 200), "adagrad": (0.2, 200)}


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "golden" / "notebook.npz") as file:
        return dict(file)


def test_psf(golden):
    np.testing.assert_allclose(fd.notebook.gaussian(13, 1, 3), golden["psf"], rtol=0, atol=1e-16)


def test_blur(golden):
    blurred = fd.notebook.convolve(golden["original"], golden["psf"])
    assert blurred.dtype == np.float32
    np.testing.assert_allclose(blurred, golden["blurred"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("path", ["separable", "direct"])
@pytest.mark.parametrize("optimizer", RUNS)
def test_runs(optimizer, path, golden):
    rate, steps = RUNS[optimizer]
    blur = fd.Blur(golden["psf"], golden["blurred"].shape, dtype="float32", path=path)
    restored, losses = fd.notebook.deconvolve(
        golden["blurred"], blur, rate, n_iter=steps, optimizer=optimizer, init=golden["x0"], verbose=False
    )
    expected = golden[f"{optimizer}_loss"].astype(float)
    assert restored.dtype == np.float32
    assert losses.shape == expected.shape
    if optimizer == "adam":  # its steps have the size of 1 where the gradient is mere rounding
        np.testing.assert_allclose(losses[:41], expected[:41], rtol=2e-5)
        np.testing.assert_allclose(losses, expected, rtol=1e-2)
    else:
        np.testing.assert_allclose(losses, expected, rtol=2e-5)
        np.testing.assert_allclose(restored, golden[f"{optimizer}_result"], rtol=0, atol=1e-4)


def test_random_start_is_the_notebooks(golden):
    np.testing.assert_array_equal((np.random.RandomState(0).randn(171, 171) / 10).astype("f"), golden["x0"])
    args = golden["blurred"], golden["psf"]
    _, seeded = fd.notebook.deconvolve(*args, n_iter=5, seed=0, verbose=False)
    _, given = fd.notebook.deconvolve(*args, n_iter=5, init=golden["x0"], verbose=False)
    np.testing.assert_array_equal(seeded, given)
    _, other = fd.notebook.deconvolve(*args, n_iter=5, verbose=False)
    assert other[0] != seeded[0]


def test_prints_every_hundredth_loss(golden, capsys):
    _, losses = fd.notebook.deconvolve(golden["blurred"], golden["psf"], n_iter=250, seed=0)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"step {k}: loss {losses[k]:.6g}" for k in (0, 100, 200)]


def test_defaults_are_the_notebooks(golden):
    _, losses = fd.notebook.deconvolve(golden["blurred"], golden["psf"], seed=0, verbose=False)
    np.testing.assert_allclose(losses, golden["gd_loss"], rtol=2e-5)
