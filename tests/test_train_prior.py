"""The learned prior's training: its minimiser and derivatives, against plain NumPy and differences."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import convolve2d, correlate2d

# Beside the installed package, not before it.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from benchmarks import train_prior

SIDE, PATCH, LEVEL = 3, 26, 0.1


@pytest.fixture(scope="module")
def solver():
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here")
    return train_prior.Solver(SIDE)


@pytest.fixture
def weights(rng):
    filters = train_prior.cosines(SIDE)[:3] + 0.1 * rng.standard_normal((3, SIDE**2))
    a, c = 0.02 * rng.uniform(0.5, 1, (3, 2)), 0.1**2 * rng.uniform(0.5, 1, (3, 2))
    return train_prior.Weights(*map(np.float32, (filters, a, c)))


def gradient(x, y, weights):
    """Of ½|x - y|² + Σ ½ a log(1 + z²/c)."""
    found = np.float64(x - y)
    for f, a, c in zip(*weights, strict=True):
        f = f.reshape(SIDE, SIDE)
        z = correlate2d(x, f, "valid")
        found += convolve2d(sum(each * z / (of + z * z) for each, of in zip(a, c, strict=True)), f)
    return found


def scene(rng):
    sharp = np.full((PATCH, PATCH), 0.3, np.float32)
    sharp[8:20, 5:17] = 0.8
    return sharp, sharp + np.float32(LEVEL) * rng.standard_normal(sharp.shape, dtype=np.float32)


@pytest.mark.parametrize("preconditioned", [False, True])
def test_the_minimiser_has_no_gradient(solver, weights, rng, preconditioned):
    _, noisy = scene(rng)
    kernel = solver.preconditioner(solver.spectra(weights.filters), weights) if preconditioned else None
    padded = train_prior.aligned(noisy)
    x, z, steps = solver.minimise(padded, PATCH, weights, 300, 1e-5, kernel)
    assert 3 < steps < 300
    assert np.abs(gradient(x[:, :PATCH], noisy, weights)).max() < 1e-4
    assert np.abs(gradient(noisy, noisy, weights)).max() > 0.1
    np.testing.assert_allclose(z[1], correlate2d(x[:, :PATCH], weights.filters[1].reshape(SIDE, SIDE), "valid"), atol=1e-5)  # fmt: skip  # noqa: E501
    assert not x[:, PATCH:].any()


def test_derivatives_are_those_of_differences(solver, weights, rng, monkeypatch):
    for name, value in {"FORWARD": 1e-5, "BACKWARD": 1e-5, "MOST_FORWARD": 500, "MOST_BACKWARD": 300}.items():
        monkeypatch.setattr(train_prior, name, value)
    sharp, noisy = scene(rng)
    spectra = solver.spectra(weights.filters)
    _, found = train_prior.loss_of(solver, weights, spectra, sharp, noisy, LEVEL)

    def loss(at, part, step):
        values = [value.copy() for value in weights]
        values[part][at] += step
        x, _, _ = solver.minimise(train_prior.aligned(noisy), PATCH, train_prior.Weights(*values), 500, 1e-6)
        inner = slice(4, PATCH - 4), slice(4, PATCH - 4)
        mean_square = np.mean(np.float64(x[inner] - sharp[inner]) ** 2)
        return np.log(mean_square + 90 / 255**2 * (LEVEL * 255 / 25) ** 1.25 / 3)

    for part, at in ((0, (0, 3)), (0, (2, 7)), (1, (1, 0)), (2, (2, 1))):
        step = 0.004 * (0.2 if part == 0 else weights[part][at])
        expected = (loss(at, part, step) - loss(at, part, -step)) / (2 * step)
        assert found[part][at] == pytest.approx(expected, rel=0.03)


def test_files_say_the_potentials_at_all_levels(rng):
    stored = {
        "filters": rng.standard_normal((2, 5, 5)), "sigmas": np.array([0.01, 0.04]),
        "log_alpha": rng.standard_normal((2, 2, 1)), "log_gamma": rng.standard_normal((2, 2, 1)),
    }  # fmt: skip
    for level, share in ((0.001, 0.0), (0.01, 0.0), (0.02, 0.5), (0.04, 1.0), (0.5, 1.0)):
        found = train_prior.weights_at(stored, level)
        alpha, gamma = ((1 - share) * stored[name][0] + share * stored[name][1] for name in ("log_alpha", "log_gamma"))
        np.testing.assert_allclose(found.a, np.exp(alpha), rtol=1e-5)
        np.testing.assert_allclose(found.c, np.exp(gamma) ** -2, rtol=1e-5)


def test_filters_have_no_mean():
    basis = train_prior.cosines(5)
    np.testing.assert_allclose(basis @ basis.T, np.eye(24), atol=1e-12)
    np.testing.assert_allclose(basis.sum(axis=1), 0, atol=1e-12)


@pytest.mark.parametrize("size", train_prior.SIZES.values())
def test_patches_fit_the_vectors_of_the_solver(size, rng):
    images = np.zeros((2, 90, 80), np.uint8)
    patch = train_prior.patch_of(images, size.side, rng)
    assert patch.dtype == np.float32
    assert [n - size.side + 1 for n in patch.shape] == [64, 64]
