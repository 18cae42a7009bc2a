"""The GPU's kernels and solvers: on a GPU, or on Numba's simulator where there is none."""

import naive
import numpy as np
import pytest
from dense import Problem
from sweeps import few

import fastdeblur as fd
from fastdeblur.cli import main as cli
from fastdeblur.kernels.cpu.rules import RULES
from fastdeblur.kernels.cuda import classes, device, loop, span, vectors
from fastdeblur.operators.boundary import BOUNDARIES
from fastdeblur.solvers.pcg import preconditioner

PATHS = ("direct", "separable", "fft")


class OnDevice:
    """An array of another library on the device: on the simulator, of host memory."""

    def __init__(self, array):
        self.array = device.put(array)

    @property
    def __cuda_array_interface__(self):
        own = self.array
        if hasattr(own, "__cuda_array_interface__"):
            return own.__cuda_array_interface__
        return own.__array_interface__ | {"version": 3, "stream": None}

    @property
    def shape(self):
        return self.array.shape


def scene(shape, rng, psf, noise=0.02):
    y, x = np.mgrid[: shape[0], : shape[1]]
    sharp = 0.5 + 0.3 * np.sin(x / 2.3 + 0.5) * np.cos(y / 3.1) + 0.2 * (x + y > shape[0])
    return fd.convolve(sharp, psf, boundary="reflect") + noise * rng.standard_normal(shape)


def weights_of(shape, rng):
    psf = rng.random(shape) + 0.2
    return psf / psf.sum()


@pytest.mark.parametrize(("taps", "shape"), [((3, 4), (7, 5)), ((5, 6), (1, 4))])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_blur_and_adjoint(boundary, path, taps, shape, rng):
    psf = rng.random(taps) if path != "separable" else rng.random((taps[0], 2)) @ rng.random((2, taps[1]))
    blur = fd.Blur(psf, shape, boundary=boundary, path=path, device="cuda")
    assert (blur.path, blur.device) == (path, "cuda")
    x, y = rng.random(blur.estimate_shape), rng.random(shape)
    matrix = np.array(naive.matrix(shape, psf.tolist(), boundary))
    np.testing.assert_allclose(blur.forward(x).ravel(), matrix @ x.ravel(), atol=1e-12)
    np.testing.assert_allclose(blur.adjoint(y).ravel(), matrix.T @ y.ravel(), atol=1e-12)


@pytest.mark.parametrize("path", PATHS)
def test_float32_stays_float32(path, rng):
    psf, image = rng.random((4, 3), np.float32), rng.random((9, 8), np.float32)
    blurred = fd.convolve(image, psf, path=path, device="cuda", boundary="mirror")
    assert blurred.dtype == np.float32
    np.testing.assert_allclose(blurred, naive.convolve(image.tolist(), psf.tolist(), "mirror"), rtol=1e-5)


def test_several_products_of_a_column_and_a_row(rng):
    # A rank of 3, and more taps than a tile takes at once.
    psf, image = rng.random((3, 11)), rng.random((4, 9))
    blurred = fd.convolve(image, psf, path="separable", device="cuda")
    np.testing.assert_allclose(blurred, naive.convolve(image.tolist(), psf.tolist()), rtol=1e-12)


@pytest.mark.parametrize(
    ("boundary", "path", "kind"),
    [*((boundary, path, "root") for boundary in BOUNDARIES for path in PATHS), ("unknown", "direct", "squares")],
)
def test_one_step(boundary, path, kind, rng):
    psf, image = weights_of((3, 2), rng), rng.random((4, 5))
    asked = {"data": kind, "mu": 0.3, "solver": "gd", "learning_rate": 0.1, "max_iter": 1, "tol": 0}
    result = fd.solve(image, psf, boundary=boundary, path=path, device="cuda", init="zeros", **asked)
    rows, cols = (image.shape[k] + (psf.shape[k] - 1) * (boundary == "unknown") for k in (0, 1))
    x = np.zeros((rows, cols))
    whole, first, second = naive.gradient([x.tolist()], [image.tolist()], psf.tolist(), kind, 0.3, boundary)
    x -= 0.1 * np.array(whole[0])
    objective = naive.objective([x.tolist()], [image.tolist()], psf.tolist(), kind, 0.3, boundary)
    whole, first, second = naive.gradient([x.tolist()], [image.tolist()], psf.tolist(), kind, 0.3, boundary)
    top, left = (psf.shape[k] - 1 - psf.shape[k] // 2 if boundary == "unknown" else 0 for k in (0, 1))
    np.testing.assert_allclose(result.image, x[top : top + 4, left : left + 5], atol=1e-12)
    np.testing.assert_allclose(result.history[1], objective, rtol=1e-12)
    norms = [np.linalg.norm(part) for part in (whole, first, second)]
    np.testing.assert_allclose(result.optimality, norms[0] / (norms[1] + norms[2]), rtol=1e-10)
    assert (result.n_iter, result.device, result.path) == (1, "cuda", path)


@pytest.mark.parametrize("rule", list(RULES))
def test_twenty_steps(rule, rng):
    psf = weights_of((3, 3), rng)
    image = scene((8, 9), rng, psf).astype(np.float32)
    asked = {"mu": 0.1, "solver": rule, "max_iter": 20, "tol": 0, "init": "normal", "seed": 1, "boundary": "constant"}
    there, here = fd.solve(image, psf, device="cuda", **asked), fd.solve(image, psf, **asked)
    np.testing.assert_allclose(there.image, here.image, atol=1e-5)
    np.testing.assert_allclose(there.history, here.history, rtol=1e-5)
    assert (there.n_iter, there.n_products, there.stop_reason) == (here.n_iter, here.n_products, here.stop_reason)


def test_steps_with_weights_bounds_and_channels(rng):
    psf = weights_of((3, 2), rng)
    image = np.stack([scene((6, 7), rng, psf) for _ in range(2)], axis=-1)
    image[2, 3, 0] = np.nan
    asked = {"mu": 0.1, "solver": "gd", "max_iter": 8, "tol": 0, "channel_axis": -1, "bounds": (0.4, 0.6)}
    asked |= {"data": "squares", "weights": rng.random((6, 7)), "boundary": "nearest"}
    there, here = fd.solve(image, psf, device="cuda", **asked), fd.solve(image, psf, **asked)
    np.testing.assert_allclose(there.image, here.image, atol=1e-12)
    np.testing.assert_allclose(there.optimality, here.optimality, rtol=1e-9)
    psfs = np.stack([psf, weights_of((3, 2), rng)], axis=-1)
    asked |= {"weights": None, "bounds": None}
    image[2, 3, 0] = 0.5
    there, here = fd.solve(image, psfs, device="cuda", **asked), fd.solve(image, psfs, **asked)
    np.testing.assert_allclose(there.image, here.image, atol=1e-12)


def test_divergence_is_announced(rng):
    image, psf = rng.random((5, 6)), np.ones((1, 2)) / 2
    asked = {"mu": 0.1, "solver": "adam", "learning_rate": 1e6, "max_iter": 5, "boundary": "constant"}
    with pytest.warns(RuntimeWarning, match="left all bounds"):
        there = fd.solve(image, psf, device="cuda", **asked)
    with pytest.warns(RuntimeWarning, match="left all bounds"):
        here = fd.solve(image, psf, **asked)
    assert (there.stop_reason, there.n_iter) == ("diverged", here.n_iter)
    np.testing.assert_allclose(there.image, here.image, atol=1e-12)


@pytest.mark.parametrize("solver", ["gd", "exact"])
def test_callbacks_see_each_iterate(solver, rng):
    psf = weights_of((3, 3), rng)
    image = scene((6, 7), rng, psf)
    seen = {"cpu": [], "cuda": []}
    for where, states in seen.items():

        def look(state, states=states):
            states.append((state.iteration, state.objective, float(state.estimate.sum())))
            assert not state.estimate.flags.writeable
            return state.iteration == 3

        result = fd.solve(image, psf, mu=0.2, solver=solver, device=where, callback=look, boundary="constant")
        assert (result.stop_reason, result.n_iter) == ("callback", 3)
    np.testing.assert_allclose(seen["cuda"], seen["cpu"], rtol=1e-9)


@pytest.mark.parametrize(
    ("boundary", "kind"),
    few(
        [*((boundary, "root") for boundary in BOUNDARIES), ("unknown", "squares")],
        [("unknown", "root"), ("unknown", "squares"), ("wrap", "root"), ("nearest", "root"), ("constant", "root")],
    ),
)
def test_the_exact_minimum(boundary, kind, rng, monkeypatch):
    # Transforms, ends and corners, as for large images.
    monkeypatch.setattr(preconditioner, "WHOLE", 20)
    psf = weights_of((3, 2), rng)
    image = scene((7, 6), rng, psf)
    asked = {"data": kind, "mu": 0.1, "boundary": boundary, "tol": 1e-6, "path": "fft"}
    there, here = fd.solve(image, psf, device="cuda", **asked), fd.solve(image, psf, **asked)
    problem = Problem(image, psf, boundary)
    wanted = problem.root(0.1) if kind == "root" else problem.squares(0.1)
    np.testing.assert_allclose(there.image, problem.frame(wanted)[0], atol=1e-5)
    assert there.stop_reason == "tolerance"
    if here.n_iter:  # by cosines there are no iterations
        np.testing.assert_allclose(there.history, here.history, rtol=1e-9)
        assert (there.n_iter, there.n_products) == (here.n_iter, here.n_products)


@pytest.mark.parametrize(("mu", "psf"), [(1e-4, np.ones((1, 1))), (50.0, np.ones((2, 2)) / 4)])
def test_exact_solves_below_and_above_the_thresholds_of_mu(mu, psf, rng):
    image = scene((7, 6), rng, psf)
    there = fd.solve(image, psf, mu=mu, boundary="nearest", device="cuda")
    here = fd.solve(image, psf, mu=mu, boundary="nearest")
    np.testing.assert_allclose(there.image, here.image, atol=1e-4)
    np.testing.assert_allclose(there.objective, here.objective, rtol=1e-6)


@pytest.mark.parametrize("boundary", few(["unknown", "nearest"], ["nearest"]))
def test_the_exact_minimum_where_pixels_are_missing(boundary, rng, monkeypatch):
    monkeypatch.setattr(preconditioner, "WHOLE", 20)
    psf = weights_of((3, 2), rng)
    image = np.stack([scene((10, 9), rng, psf) for _ in range(2)])
    image[0, :, :5] = np.nan
    image[1, 2:7, 3:8] = np.nan
    asked = {"mu": 0.1, "boundary": boundary, "tol": 1e-6, "path": "fft", "channel_axis": 0}
    there, here = fd.solve(image, psf, device="cuda", **asked), fd.solve(image, psf, **asked)
    np.testing.assert_allclose(there.image, here.image, atol=1e-5)
    assert (there.stop_reason, there.n_iter, there.n_products) == ("tolerance", here.n_iter, here.n_products)


def test_exact_with_weights_and_colours(rng):
    psf = weights_of((3, 2), rng)
    image = np.stack([scene((6, 7), rng, psf) for _ in range(2)])
    image[1, 2, 3] = np.nan
    asked = {"mu": 0.1, "channel_axis": 0, "weights": 1 + rng.random((6, 7)), "tol": 1e-7}
    there, here = fd.solve(image, psf, device="cuda", **asked), fd.solve(image, psf, **asked)
    np.testing.assert_allclose(there.image, here.image, atol=1e-5)
    np.testing.assert_allclose(there.objective, here.objective, rtol=1e-9)


def test_the_automatic_weight(rng):
    psf = fd.psf.gaussian(3, 0.8)
    image = scene((12, 13), rng, psf).astype(np.float32)
    there, here = fd.solve(image, psf, device="cuda", tol=1e-3), fd.solve(image, psf, tol=1e-3)
    np.testing.assert_allclose(there.mu, here.mu, rtol=1e-3)


def test_classes_are_added_up(rng):
    index, image = rng.integers(0, 5, 37), rng.random(37)
    found = classes.sums(device.put(index), [device.put(image)], 7)[0]
    wanted = [sum(image[k] for k in range(37) if index[k] == c) for c in range(7)]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def sweep(name, images, scalars=None):
    """A sweep's sums over its blocks."""
    scalars = np.zeros(span.SCALARS) if scalars is None else scalars
    rows, planes = images[0].shape[1], images[0].shape[0]
    strips = -(-rows // vectors.STRIP)
    partials = device.zeros((strips * planes, vectors.SUMS), np.float64)
    views = [device.view(image) for image in images]
    counted = [device.view(partials)] if vectors.COUNTS[name] else []
    launched = vectors.KERNELS[name], (strips, 1, planes), vectors.THREADS
    device.launch(*launched, *views, device.view(device.put(scalars)), *counted)
    return device.to_host(partials).sum(axis=0)


@pytest.mark.parametrize("periodic", [False, True])
def test_sweeps(periodic, rng):
    shape = 2, 11, 7
    plain = np.zeros(span.SCALARS)
    plain[span.PERIODIC] = periodic
    host = [rng.random(shape) for _ in range(4)]
    a, b, c, d = (device.put(image) for image in host)
    found = sweep("products", [a, b, c, d])
    pairs = [(p, q) for p in range(4) for q in range(p, 4)]
    for k, (p, q) in enumerate(pairs):
        wanted = sum(s * t for s, t in zip(host[p].ravel(), host[q].ravel(), strict=True))
        np.testing.assert_allclose(found[k], wanted, rtol=1e-12)

    pairs_of_pixels = naive.neighbours(11, 7, "wrap" if periodic else "unknown")

    def steps(image):
        return [plane[k][m] - plane[i][j] for plane in image.tolist() for (i, j), (k, m) in pairs_of_pixels]

    found = sweep("difference_products", [a, b, c], plain)
    for k, (p, q) in enumerate(pair for pair in pairs if max(pair) < 3):
        wanted = sum(s * t for s, t in zip(steps(host[p]), steps(host[q]), strict=True))
        np.testing.assert_allclose(found[k], wanted, rtol=1e-12)

    eigenvalue = np.zeros(shape)
    for p in range(2):
        for here, there in pairs_of_pixels:
            eigenvalue[p][here] += host[1][p][here] - host[1][p][there]
            eigenvalue[p][there] += host[1][p][there] - host[1][p][here]
    found = sweep("gradient_sums", [a, b], plain)
    wanted = (
        (host[0] ** 2).sum(),
        (host[0] * eigenvalue).sum(),
        (eigenvalue**2).sum(),
        sum(s * s for s in steps(host[1])),
    )
    np.testing.assert_allclose(found[:4], wanted, rtol=1e-12)
    scalars = plain.copy()
    scalars[vectors.RIDGE] = 0.7
    np.testing.assert_allclose(
        sweep("combine", [a, b], scalars)[0], ((host[0] + 0.7 * eigenvalue) ** 2).sum(), rtol=1e-12
    )
    np.testing.assert_allclose(device.to_host(a), host[0] + 0.7 * eigenvalue, rtol=1e-12)

    a = device.put(host[0])
    scalars[vectors.A], scalars[vectors.B], scalars[vectors.C] = 0.3, -0.2, 1.1
    sweep("move", [a, b, c], scalars)
    step = 0.3 * host[0] - 0.2 * host[1]
    np.testing.assert_allclose(device.to_host(b), step, rtol=1e-12)
    np.testing.assert_allclose(device.to_host(c), 1.1 * host[2] + step, rtol=1e-12)
    b, c = device.put(host[1]), device.put(host[2])
    left = sweep("move_residual", [a, b, c, d], scalars)[0]
    wanted = 1.1 * host[2] + 0.1 * host[3] + step
    np.testing.assert_allclose(device.to_host(c), wanted, rtol=1e-12)
    np.testing.assert_allclose(left, (wanted**2).sum(), rtol=1e-12)
    scalars[vectors.PAUSED] = 1
    sweep("move", [a, b, c], scalars)
    np.testing.assert_allclose(device.to_host(c), wanted, rtol=1e-12)


def test_what_is_on_the_device_stays_there(rng):
    psf = weights_of((3, 3), rng)
    image = scene((6, 7), rng, psf)
    kept = OnDevice(image.copy())
    blurred = fd.convolve(kept, psf, device="cuda")
    np.testing.assert_allclose(device.to_host(blurred), fd.convolve(image, psf), atol=1e-12)
    asked = {"mu": 0.1, "solver": "gd", "max_iter": 4, "tol": 0}
    weights, init = OnDevice(np.full((6, 7), 0.5)), OnDevice(np.zeros((6, 7)))
    there = fd.solve(kept, psf, device="cuda", weights=weights, init=init, **asked)
    here = fd.solve(image, psf, weights=np.full((6, 7), 0.5), init=np.zeros((6, 7)), **asked)
    np.testing.assert_allclose(device.to_host(there.image), here.image, atol=1e-12)
    np.testing.assert_array_equal(device.to_host(kept.array), image)
    with pytest.raises(TypeError, match="pass device='cuda' to what takes it, or copy it"):
        fd.solve(kept, psf)
    with pytest.raises(TypeError, match="pass device='cuda' to what takes it, or copy it"):
        fd.convolve(kept, psf)
    with pytest.raises(TypeError, match="psf is in a GPU's memory: copy it to the host"):
        fd.convolve(image, OnDevice(psf), device="cuda")


@pytest.mark.parametrize("solver", ["exact", "adam", "adagrad"])
def test_deblurrers_keep_their_buffers(solver, rng):
    psf = weights_of((3, 3), rng)
    frames = [scene((6, 7), rng, psf) for _ in range(2)]
    asked = {"mu": 0.1, "solver": solver, "max_iter": 15}
    deblurrer = fd.Deblurrer(psf, (6, 7), device="cuda", **asked)
    out = np.empty((6, 7))
    for frame in frames:
        result = deblurrer.solve(frame, out=out)
        assert result.image is out
        np.testing.assert_allclose(out, fd.solve(frame, psf, **asked).image, atol=1e-4)
    (workspaces,) = deblurrer._workspaces.values()
    (spare,) = workspaces._spares._lists.values()
    assert len(spare) == 1


def test_bits_do_not_change(rng):
    psf = weights_of((3, 3), rng)
    image = scene((8, 9), rng, psf).astype(np.float32)
    first, second = (fd.solve(image, psf, mu=0.1, device="cuda", max_iter=3) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    assert first.objective == second.objective


def test_errors(rng):
    image, psf = rng.random((5, 6)), np.ones((2, 2)) / 4
    with pytest.raises(ValueError, match="device must be one of 'cpu', 'cuda'; got 'gpu'"):
        fd.solve(image, psf, device="gpu")
    with pytest.raises(ValueError, match="device must be one of 'cpu', 'cuda'; got 'gpu'"):
        fd.convolve(image, psf, device="gpu")
    image[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"image must be finite; at index \(1, 2\) it is nan"):
        fd.convolve(image, psf, device="cuda")
    blur = fd.Blur(psf, (5, 6), device="cuda")
    with pytest.raises(ValueError, match=r"x must have shape \(5, 6\); its shape is \(4, 6\)"):
        blur.forward(np.ones((4, 6)))
    with pytest.raises(TypeError, match="out must be an ndarray of float64"):
        blur.forward(np.ones((5, 6)), out=np.zeros((5, 6), np.float32))
    for there, here in (("cuda", "cpu"), ("cpu", "cuda")):
        with pytest.raises(ValueError, match=f"device is the Blur's own \\('{here}'\\)"):
            fd.solve(np.ones((5, 6)), fd.Blur(psf, (5, 6), boundary="wrap", device=here), device=there)
    solved = fd.solve(np.ones((5, 6)), fd.Blur(psf, (5, 6), boundary="wrap", device="cuda"), mu=0.1, device="cuda")
    np.testing.assert_allclose(solved.image, 1, atol=1e-6)


@pytest.mark.skipif(device.arrays() is not np, reason="on a GPU, kernels are compiled with the constant as it was")
def test_history_is_whole_whatever_the_looks(rng, monkeypatch):
    monkeypatch.setattr(loop, "HISTORY", 4)  # written over, but never unseen
    psf = weights_of((2, 2), rng)
    image = scene((4, 5), rng, psf)
    asked = {"mu": 0.1, "solver": "gd", "max_iter": 11, "tol": 0}
    there, here = fd.solve(image, psf, device="cuda", **asked), fd.solve(image, psf, **asked)
    np.testing.assert_allclose(there.history, here.history, rtol=1e-12)


def test_the_command(tmp_path, rng, capsys):
    image = rng.random((8, 9))
    np.save(tmp_path / "in.npy", image)
    options = ["--psf", "box:3", "--mu", "0.1", "--solver", "gd", "--max-iter", "2", "--device", "cuda"]
    assert cli.main(["deblur", str(tmp_path / "in.npy"), *options, "-o", str(tmp_path / "out.npy")]) == 0
    assert "2 iterations" in capsys.readouterr().out
    wanted = fd.deblur(image, fd.psf.box(3), mu=0.1, solver="gd", max_iter=2)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), wanted, atol=1e-12)


def test_no_gpu_is_said(python):
    if device.arrays() is not np:
        pytest.skip("there is a GPU")
    script = (
        "import numpy as np, fastdeblur as fd\n"
        "for call in (lambda: fd.convolve(np.ones((4, 4)), np.ones((1, 2)), device='cuda'),\n"
        "             lambda: fd.solve(np.ones((4, 4)), np.ones((1, 2)) / 2, device='cuda')):\n"
        "    try:\n"
        "        call()\n"
        "    except RuntimeError as error:\n"
        "        assert \"device='cuda' needs\" in str(error), error\n"
        "        print('said')\n"
    )
    script += (
        "from fastdeblur.cli.main import main\nassert main(['demo', '--device', 'cuda', '--scale', '1/20']) == 2\n"
    )
    assert python(script, NUMBA_ENABLE_CUDASIM="0").startswith("said\nsaid\n")


@pytest.mark.skipif(device.arrays() is np, reason="needs a GPU")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_images_on_a_gpu(dtype, rng):
    image = rng.random((1031, 1597)).astype(dtype)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    for taps in ((13, 13), (25, 24), (101, 101)):
        psf = weights_of(taps, rng)
        for path in PATHS if taps[0] < 100 else ("fft",):
            there = fd.convolve(image, psf, path=path, device="cuda", boundary="reflect")
            here = fd.convolve(image, psf, boundary="reflect")
            np.testing.assert_allclose(there, here, rtol=tolerance)
    psf = fd.psf.gaussian(13, (1, 3))
    there, here = fd.solve(image, psf, mu=0.2, device="cuda", tol=1e-6), fd.solve(image, psf, mu=0.2, tol=1e-6)
    np.testing.assert_allclose(there.objective, here.objective, rtol=1e-5)
