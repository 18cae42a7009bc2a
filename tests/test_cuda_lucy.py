"""Photon noise on a GPU: against the formula and against the CPU."""

import naive
import numpy as np
import pytest
from twins import PSF, SHAPE, SMALL, both, problem_of

import fastdeblur as fd
from fastdeblur.kernels.cuda import device
from fastdeblur.solvers import common
from fastdeblur.solvers.richardson_lucy import solver as richardson_lucy
from fastdeblur.solvers.richardson_lucy.cuda import CudaRichardsonLucyWorkspace
from fastdeblur.solvers.richardson_lucy.host import RichardsonLucyWorkspace

WORKSPACES = ("cpu", RichardsonLucyWorkspace), ("cuda", CudaRichardsonLucyWorkspace)


@pytest.mark.parametrize("boundary", ["constant", "mirror", "unknown", "wrap"])
def test_a_step_of_richardson_and_lucy(boundary, rng):
    """x Aᵀ(w b / Ax) / Aᵀw."""
    image, weights, start = rng.random((3, *SHAPE)) + 0.1
    a = np.array(naive.matrix(SHAPE, PSF.tolist(), boundary))
    grown = [n + (k - 1) * (boundary == "unknown") for n, k in zip(SHAPE, PSF.shape, strict=True)]
    top, left = ((k - 1 - k // 2) * (boundary == "unknown") for k in PSF.shape)
    x = np.pad(start, [(c, g - c - n) for c, g, n in zip((top, left), grown, SHAPE, strict=True)], "edge").ravel()
    expected = x * (a.T @ (weights * image / (a @ x.ravel()).reshape(SHAPE)).ravel()) / (a.T @ weights.ravel())
    expected = expected.reshape(grown)[top : top + SHAPE[0], left : left + SHAPE[1]]
    result = fd.solve(
        image, PSF, data="poisson", prior=None, weights=weights, init=start, boundary=boundary, tol=0, max_iter=1,
        device="cuda",
    )  # fmt: skip
    assert result.image == pytest.approx(expected)
    mean = (a @ x).reshape(SHAPE)
    assert result.history[0] == pytest.approx((weights * (mean - image * np.log(mean))).sum(), rel=1e-11)


def test_a_mean_of_nothing_costs_what_one_of_1e_30_costs(rng):
    image = rng.random(SHAPE)
    image[3, 4] = 0.75  # near 1, as the floor is of solves
    options = {"data": "poisson", "prior": "tv", "mu": 0.01, "boundary": "wrap"}
    result = fd.solve(image, PSF, **options, init="zeros", bounds=(0, 0), max_iter=1, device="cuda")
    assert result.history == pytest.approx(-np.log(1e-30) * image.sum())


@pytest.mark.parametrize(
    ("dtype", "options"),
    [("float32", {}), ("float64", {"boundary": "nearest"}), ("float64", {"bounds": (0.1, 0.8), "init": "zeros"})],
)
def test_richardson_lucy_matches_the_cpu(dtype, options, rng, monkeypatch):
    """Also where the host looks at several steps at once."""
    monkeypatch.setattr(common, "PATIENCE", 1e9)
    image = (rng.random(SHAPE) + 0.01).astype(dtype)
    weights = (rng.random(SHAPE) > 0.2).astype(dtype)
    cpu, gpu = both(image, data="poisson", prior=None, weights=weights, tol=0, max_iter=5, **options)
    assert np.abs(gpu.image - cpu.image).max() < (1e-4 if dtype == "float32" else 1e-9)
    assert gpu.history == pytest.approx(cpu.history, rel=1e-6 if dtype == "float32" else 1e-12)
    assert (gpu.n_iter, gpu.n_products, gpu.stop_reason) == (cpu.n_iter, cpu.n_products, cpu.stop_reason)
    assert gpu.optimality == pytest.approx(cpu.optimality, rel=1e-3)


def ascents(image, noise_norm, max_iter, tol, psf=SMALL, boundary="wrap"):
    """The results of the CPU and of the device."""
    for where, make in WORKSPACES:
        work = make([fd.Blur(psf, image.shape[1:], boundary=boundary, dtype=image.dtype, device=where)], len(image))
        planes = device.put(image) if where == "cuda" else image
        yield richardson_lucy.minimise(work, problem_of(planes, max_iter=max_iter, tol=tol), noise_norm, by_step=True)


def test_a_step_is_taken_back_where_the_likelihood_falls(monkeypatch):
    monkeypatch.setattr(common, "PATIENCE", 1e9)
    image = np.eye(4)[None] + 0.01
    cpu, gpu = ascents(image, 0.0, max_iter=8, tol=0, psf=fd.psf.box((3, 3)), boundary="constant")
    assert cpu.n_products == gpu.n_products == 9  # half of one more than it takes to go on
    assert device.to_host(gpu.image) == pytest.approx(cpu.image, rel=1e-9)
    assert gpu.history == pytest.approx(cpu.history, rel=1e-5)
    assert (np.diff(gpu.history) < 0).all()


@pytest.mark.parametrize("stop", [{"noise_norm": 0.0, "tol": 0.05}, {"noise_norm": 0.9, "tol": 1e-9}])
def test_richardson_lucy_stops_at_the_cpus_step(stop, rng, monkeypatch):
    """At the same step as on the CPU, however far the host looks ahead."""
    monkeypatch.setattr(common, "PATIENCE", 1e9)
    image = rng.random((1, *SHAPE)) + 0.1
    cpu, gpu = ascents(image, max_iter=30, **stop)
    assert cpu.stop_reason == gpu.stop_reason == ("noise" if stop["noise_norm"] else "tolerance")
    assert 1 < cpu.n_iter == gpu.n_iter
    assert device.to_host(gpu.image) == pytest.approx(cpu.image, rel=1e-9)


def test_callbacks_of_richardson_lucy_can_stop_it(rng):
    seen = []

    def callback(state):
        seen.append((state.iteration, state.objective, device.to_host(state.estimate).copy()))
        return state.iteration == 2

    image = rng.random(SHAPE) + 0.1
    result = fd.solve(image, SMALL, data="poisson", prior=None, tol=0, callback=callback, device="cuda")
    assert result.stop_reason == "callback"
    assert [iteration for iteration, _, _ in seen] == [1, 2]
    assert seen[0][1] == result.history[1]
    assert np.array_equal(seen[-1][2], result.image)


def test_plain_richardson_lucy_steps_match_the_cpu(rng):
    image, found = rng.random((1, *SHAPE)), []
    for where, make in WORKSPACES:
        work = make([fd.Blur(SMALL, SHAPE, dtype=float, device=where)], 1)
        planes = device.put(image) if where == "cuda" else image
        found.append(device.to_host(richardson_lucy.plain_steps(work, planes, 3, 0.05)))
    assert found[1] == pytest.approx(found[0])


def test_flux_of_counts_that_were_read_with_noise_matches_the_cpu(rng):
    image = rng.poisson(20, SHAPE) + 2 * rng.standard_normal(SHAPE)
    image[2, 3] += 200
    options = {"data": "poisson", "prior": None, "background": 15.0, "read_noise": 2.0}
    cpu, gpu = both(image, tol=1e-9, max_iter=4, **options)
    assert np.abs(gpu.image - cpu.image).max() < 1e-8 * cpu.image.max()
    assert gpu.history == pytest.approx(cpu.history, rel=1e-9)
    uncorrected = fd.solve(image + 4, PSF, **(options | {"background": 19.0, "read_noise": 0}), tol=1e-9, max_iter=4)
    assert np.abs(gpu.image - uncorrected.image).max() > 1e-3 * cpu.image.max()
