"""The learned prior on a GPU: against plain loops and against the CPU."""

import numpy as np
import pytest
from test_learned import SCALE, learned_weights, prior
from twins import SHAPE, SMALL, both

import fastdeblur as fd
from fastdeblur.kernels.cuda import device
from fastdeblur.problem import learned
from fastdeblur.solvers.learned.cuda import CudaPriorPass


def some_of(weights, count, size):
    """A few of the filters, cut to fewer taps of zero mean."""
    filters = weights["filters"][:count, :size, :size]
    filters = np.float32(filters - filters.mean(axis=(1, 2), keepdims=True)).astype(float)
    kept = {name: weights[name][:, :count] for name in ("log_alpha", "log_gamma")}
    return {"filters": filters, "sigmas": weights["sigmas"], **kept}


@pytest.fixture
def few(monkeypatch):
    """Take a few small filters for the learned ones: the simulator is slow."""
    weights = some_of(learned_weights(), 2, 3)
    monkeypatch.setattr(learned, "_weights", lambda: weights)
    return weights


@pytest.mark.parametrize(
    ("dtype", "boundary", "shape", "size"),
    [
        ("float32", "wrap", (1, 9, 12), 7), ("float32", "unknown", (2, 8, 7), 7), ("float64", "reflect", (1, 17, 9), 4),
        ("float64", "unknown", (1, 3, 2), 5),
    ],
)  # fmt: skip
def test_filters_and_potentials_are_those_of_plain_loops(dtype, boundary, shape, size, rng, monkeypatch):
    weights = some_of(learned_weights(), 2, size)
    monkeypatch.setattr(learned, "_weights", lambda: weights)
    planes = rng.random(shape).astype(dtype)
    compute = CudaPriorPass(shape[0], shape[1:], dtype, boundary)
    compute.set(learned.potentials(SCALE), 1.0)
    value, gradient = compute(device.put(planes))
    wanted, slopes = prior(planes.astype(float), boundary, weights=weights)
    accuracy = 1e-5 if dtype == "float32" else 1e-12
    assert value == pytest.approx(wanted, rel=accuracy)
    assert abs(device.to_host(gradient) - slopes).max() < accuracy * abs(slopes).max()


def test_potentials_of_huge_responses_are_finite(few):
    planes = np.zeros((1, 5, 6), np.float32)
    planes[0, 2, 3] = 1e17
    compute = CudaPriorPass(1, (5, 6), np.float32, "wrap")
    compute.set(learned.potentials(SCALE), 1.0)
    assert compute(device.put(planes))[0] == pytest.approx(
        prior(planes.astype(float), "wrap", weights=few)[0], rel=1e-2
    )


@pytest.mark.parametrize(
    ("boundary", "dtype", "options"),
    [
        ("wrap", "float64", {}), ("unknown", "float32", {}), ("constant", "float64", {"data": "poisson"}),
        ("reflect", "float64", {"bounds": (0.3, 0.7)}), ("nearest", "float64", {"mu": 3}), ("mirror", "float64", {}),
    ],
)  # fmt: skip
def test_steps_match_the_cpu(boundary, dtype, options, few, rng):
    image = rng.random(SHAPE).astype(dtype)
    # The fifth has another preconditioner.
    steps = 5 if boundary == "wrap" else 2
    cpu, gpu = both(image, prior="learned", boundary=boundary, max_iter=steps, tol=0, **options)
    accuracy = 1e-4 if dtype == "float32" else 1e-8
    assert gpu.device == "cuda"
    assert gpu.image.dtype == dtype
    assert abs(gpu.image - cpu.image).max() < accuracy
    assert gpu.history == pytest.approx(cpu.history, rel=accuracy)
    assert gpu.optimality == pytest.approx(cpu.optimality, rel=100 * accuracy)
    assert (gpu.n_iter, gpu.n_products, gpu.stop_reason) == (cpu.n_iter, cpu.n_products, cpu.stop_reason)


@pytest.mark.parametrize("data", ["squares", "poisson"])
def test_weights_and_missing_pixels(data, few, rng):
    image, weights = rng.random(SHAPE), rng.random(SHAPE)
    image[1, 4] = np.nan
    weights[3:, 4:] = 0
    cpu, gpu = both(image, prior="learned", data=data, weights=weights, max_iter=3, tol=0)
    assert abs(gpu.image - cpu.image).max() < 1e-8
    assert gpu.history == pytest.approx(cpu.history, rel=1e-9)


@pytest.mark.parametrize("several", [False, True])
def test_channels(several, few, rng):
    """Of one psf they are taken as what they have in common and differences, of several each by itself."""
    image = rng.random((4, 5, 3))
    psf = np.stack([SMALL, SMALL[::-1], SMALL[:, ::-1]], axis=-1) if several else SMALL
    cpu, gpu = both(image, psf, prior="learned", channel_axis=-1, max_iter=2, tol=0)
    assert abs(gpu.image - cpu.image).max() < 1e-8
    assert gpu.history == pytest.approx(cpu.history, rel=1e-9)


def test_callback_tolerance_and_the_same_memory_for_the_next_image(few, rng):
    first, second = rng.random((2, *SHAPE))
    kept = fd.Deblurrer(SMALL, SHAPE, prior="learned", device="cuda", tol=1e-2)
    seen = []
    stopped = kept.solve(first, callback=lambda state: seen.append(state.objective) or len(seen) == 2)
    assert stopped.stop_reason == "callback"
    assert stopped.history[1:].tolist() == seen
    cpu = fd.solve(second, SMALL, prior="learned", tol=1e-2)
    gpu = kept.solve(second)
    assert gpu.stop_reason == cpu.stop_reason == "tolerance"
    assert gpu.history == pytest.approx(cpu.history, rel=1e-9)
