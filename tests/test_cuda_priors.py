"""Priors that keep edges, bounds and denoisers on a GPU: against plain loops and against the CPU."""

import math

import naive
import numpy as np
import pytest
from twins import PSF, SHAPE, SMALL, both, problem_of

import fastdeblur as fd
from fastdeblur.engines.workspaces import HostWorkspaces
from fastdeblur.kernels.cpu.z_update import MISFIT, ROUGHNESS, SUMS_OF_SPLIT
from fastdeblur.kernels.cuda import device, z_update
from fastdeblur.problem import options
from fastdeblur.solvers import dispatch
from fastdeblur.solvers.admm import cuda as cuda_splits
from fastdeblur.solvers.admm import solver as admm
from fastdeblur.solvers.admm.domain import Domain
from fastdeblur.solvers.admm.host import AdmmWorkspace

POWER = 0.8


def on_device(psf, shape, boundary, kind, pixels=False, planes=1):
    blur = fd.Blur(psf, shape, boundary=boundary, dtype=float, device="cuda")
    return cuda_splits.CudaAdmmWorkspace([blur], planes, kind, pixels)


# One step of the alternating direction method, in loops, on a periodic image.

STENCILS = [  # of each difference: shift down, shift across, factor
    [(1, 0, 1.0), (0, 0, -1.0)],
    [(0, 1, 1.0), (0, 0, -1.0)],
    [(1, 0, 1.0), (0, 0, -2.0), (-1, 0, 1.0)],
    [(0, 1, 1.0), (0, 0, -2.0), (0, -1, 1.0)],
    [(a, b, math.sqrt(2) * (1 if a == b else -1)) for a in (0, 1) for b in (0, 1)],
]


def differ(k, x, i, j):
    rows, cols = len(x), len(x[0])
    return sum(factor * x[(i + a) % rows][(j + b) % cols] for a, b, factor in STENCILS[k])


def inside(k, i, j, rows, cols):
    return all(0 <= i + a < rows and 0 <= j + b < cols for a, b, _ in STENCILS[k])


def shrunk(kind, length, threshold):
    """How long a proximal map leaves a difference."""
    if kind == "gradient":
        return length * (1 - threshold)
    if kind == "tv":
        return max(length - threshold, 0.0)
    # Least ½(z - t)² + s^(2 - p) z^p: at 0, or where its slope is 0.
    z, price = length, threshold ** (2 - POWER)
    for _ in range(200):
        z = max(length - POWER * price * max(z, 1e-12) ** (POWER - 1), 0.0)
    return z if 0.5 * (z - length) ** 2 + price * z**POWER < 0.5 * length**2 else 0.0


def nearest_data(poisson, v, b, w, rho):
    """Least w (y - b log y) or ½ w (y - b)², and ½ rho (y - v)²."""
    if poisson:
        return ((rho * v - w) + math.sqrt((rho * v - w) ** 2 + 4 * rho * w * b)) / (2 * rho)
    return (w * b + rho * v) / (w + rho)


class Loops:
    """The splits of planes of a periodic image, whose estimate is at its corner."""

    def __init__(self, kind, x, blurred, estimate, corner, image, weights, periodic=False):
        self.kind, self.x, self.blurred, self.image, self.weights = kind, x, blurred, image, weights
        self.rows, self.cols, self.estimate, self.corner = len(x[0]), len(x[0][0]), estimate, corner
        self.periodic = periodic
        self.groups = [[0, 1], [2, 3, 4]] if kind == "sparse" else [[0, 1]]
        self.v = {
            (k, p, i, j): differ(k, plane, i, j)
            for group in self.groups for k in group for p, plane in enumerate(x) for i, j in self.pixels()
        }  # fmt: skip
        self.u = dict(self.v)
        self.data = {(p, i, j): blurred[p][i][j] for p in range(len(x)) for i, j in self.pixels()}

    def pixels(self):
        return [(i, j) for i in range(self.rows) for j in range(self.cols)]

    def has(self, k, i, j):
        return self.periodic or inside(k, i, j, *self.estimate)

    def shrink(self, threshold):
        for i, j in self.pixels():
            for group in self.groups:
                held = [(k, p, i, j) for k in group for p in range(len(self.x)) if self.has(k, i, j)]
                length = math.sqrt(sum(self.v[key] ** 2 for key in held))
                share = shrunk(self.kind, length, threshold) / length if length else 0.0
                for k in group:
                    for p in range(len(self.x)):
                        key = k, p, i, j
                        self.u[key] = share * self.v[key] if key in held else self.v[key]

    def follow(self, job):
        """The sums, and what is handed on: 2 u - v."""
        sums = [0.0] * (ROUGHNESS + 1)
        self.shrink(job["threshold_before"])
        last = dict(self.u)
        for (k, p, i, j), u in last.items():
            change = differ(k, self.x[p], i, j)
            self.v[k, p, i, j] = u + job["keep"] * (self.v[k, p, i, j] - u) + job["relax"] * (change - u)
        self.shrink(job["threshold"])
        for key, v in self.v.items():
            k, p, i, j = key
            change, u = differ(k, self.x[p], i, j), self.u[key]
            for at, part in enumerate((change - u, u - last[key], change, u, v - u)):
                sums[SUMS_OF_SPLIT + at] += part**2
        for i, j in self.pixels():
            for group, factor in zip(self.groups, (1.0, job["factor"]), strict=False):
                square = sum(differ(k, plane, i, j) ** 2 for k in group for plane in self.x if self.has(k, i, j))
                sums[ROUGHNESS] += factor * {"gradient": square / 2, "tv": math.sqrt(square)}.get(
                    self.kind, square ** (POWER / 2)
                )
        asked = {}
        for (p, i, j), v in self.data.items():
            here, m, n = self.blurred[p][i][j], i - self.corner[0], j - self.corner[1]
            if not (0 <= m < len(self.image[0]) and 0 <= n < len(self.image[0][0])):
                self.data[p, i, j] = asked[p, i, j] = v + job["relax"] * (here - v)
                continue
            b, w = self.image[p][m][n], self.weights[p][m][n]
            u = nearest_data(job["poisson"], v, b, w, job["data_rho_before"])
            v, before = u + job["data_keep"] * (v - u) + job["relax"] * (here - u), u
            u = nearest_data(job["poisson"], v, b, w, job["data_rho"])
            self.data[p, i, j], asked[p, i, j] = v, 2 * u - v
            for at, part in enumerate((here - u, u - before, here, u, v - u)):
                sums[at] += part**2
            sums[MISFIT] += w * (here - b * math.log(here) if job["poisson"] else (here - b) ** 2)
        return sums, {key: 2 * self.u[key] - v for key, v in self.v.items()}, asked

    def lacks(self, psf, job, settled, asked):
        """By how much the estimate and its blur are not what the quadratic problem asks."""
        worst, height, width = 0.0, len(psf), len(psf[0])

        def blur(plane, way):
            return {
                (i, j): sum(
                    psf[a][b]
                    * plane[(i - way * (a - height // 2)) % self.rows, (j - way * (b - width // 2)) % self.cols]
                    for a in range(height) for b in range(width)
                )
                for i, j in self.pixels()
            }  # fmt: skip

        for p, plane in enumerate(self.x):
            x = {(i, j): plane[i][j] for i, j in self.pixels()}
            there = blur(x, 1)
            back = blur({at: there[at] - asked[p, *at] for at in x}, -1)
            left = {at: job["data_rho"] * back[at] for at in x}
            for group, rho in zip(self.groups, (job["rho"], job["second_rho"]), strict=False):
                for k in group:
                    for i, j in self.pixels():
                        pull = rho * (differ(k, plane, i, j) - settled[k, p, i, j])
                        for a, b, factor in STENCILS[k]:
                            left[(i + a) % self.rows, (j + b) % self.cols] += factor * pull
            worst = max(worst, *map(abs, left.values()))
            worst = max(worst, *(abs(there[i, j] - self.blurred[p][i][j]) for i, j in self.pixels()))
        return worst


@pytest.mark.parametrize(
    ("kind", "planes", "data", "boundary"),
    [("tv", 2, "squares", "unknown"), ("tv", 1, "poisson", "wrap"), ("gradient", 1, "squares", "unknown"),
     ("sparse", 2, "squares", "unknown"), ("sparse", 1, "squares", "wrap")],
)  # fmt: skip
def test_steps_are_those_of_plain_loops(kind, planes, data, boundary, rng, monkeypatch):
    monkeypatch.setattr(z_update, "RUN", 3)
    shape = (4, 3)
    work = on_device(PSF, shape, boundary, kind, planes=planes)
    image, weights = rng.random((2, planes, *shape))
    work.image[...], work.weights[...] = device.put(image), device.put(weights)
    work.begin(lambda out: out.__setitem__(Ellipsis, device.put(image)))
    job = {"relax": 1.6, "unit": 1.0, "factor": 0.5, "poisson": data == "poisson"}
    job |= {"data_rho": 0.7, "data_rho_before": 0.7, "data_keep": 1.0, "rho": 0.4, "keep": 1.0, "pixels_rho": 0.0}
    job |= dict.fromkeys(["threshold", "threshold_before", "second_threshold", "second_threshold_before"], 0.1)
    job["second_rho"] = 0.3 if kind == "sparse" else 0.0

    def now():
        return [device.to_host(work.planes_of(name)).tolist() for name in ("x", "blurred")]

    loops = Loops(kind, *now(), work.domain.estimate_shape, work.blur.frame_corner, image, weights, boundary == "wrap")
    x = np.array(loops.x)
    for k in (0, 1):
        if k == 1:  # other penalties: the duals, which are in units of them, are kept
            job |= {"data_rho": 1.4, "data_keep": 0.5, "rho": 0.2, "keep": 2.0, "second_rho": job["second_rho"] / 2}
            job |= dict.fromkeys(["threshold", "second_threshold"], 0.15)
        work.job.update(job)
        work.update_z()
        work.update_x()
        sums, settled, asked = loops.follow(job)
        loops.x, loops.blurred = now()
        accuracy = 1e-3 if kind == "sparse" else 1e-12
        assert loops.lacks(PSF.tolist(), job, settled, asked) < accuracy
        assert work.look()[0, 0, : ROUGHNESS + 1] == pytest.approx(sums, rel=10 * accuracy, abs=accuracy)
    assert np.abs(np.array(loops.x) - x).max() > 0.01


@pytest.mark.parametrize("boundary", ["constant", "reflect"])
def test_pixels_are_repeated_where_the_boundary_repeats_them(boundary, rng):
    psf, shape = PSF[:, :3], (4, 3)
    work = on_device(psf, shape, boundary, "tv", pixels=True)
    rows, cols = work.domain.shape
    work.begin(lambda out: out.fill(0.5))
    v, u, x = rng.random((3, rows, cols))
    for name, values in (("pixels", v), ("pixels_prox", u), ("x", x)):
        work.planes_of(name)[0] = device.put(values)
    aims, work.job["data_rho"], work.job["data_rho_before"] = [], 1.0, 1.0

    def project(near):
        aims.append(device.to_host(near).copy())
        return near + 1

    work.update_pixels(project, 1.5, 0.5)
    work.update_z()
    found = work.look()[0, 1, :SUMS_OF_SPLIT]
    after = [[0.5 * (v[i, j] - u[i, j]) + 1.5 * x[i, j] - 0.5 * u[i, j] for j in range(cols)] for i in range(rows)]
    sums, copied = [0.0] * SUMS_OF_SPLIT, device.to_host(work.planes_of("pixels_prox"))[0]

    def pixel(at, length, size, taps):
        """Which pixel of the estimate stands at a position of the domain; None: anything may."""
        at = at if at < size + taps // 2 else at - length
        return naive.where(at, size, boundary) if at >= -(taps - 1 - taps // 2) else -1

    stands = {}
    for i in range(rows):
        for j in range(cols):
            m, n = pixel(i, rows, shape[0], 3), pixel(j, cols, shape[1], 3)
            if None not in (m, n) and -1 not in (m, n):
                stands.setdefault((m, n), []).append((i, j))
    for (m, n), places in stands.items():
        mean = sum(after[i][j] for i, j in places) / len(places)
        assert aims[0][0, m, n] == pytest.approx(mean)
        for i, j in places:
            assert copied[i, j] == pytest.approx(mean + 1)
    for i in range(rows):
        for j in range(cols):
            m, n = pixel(i, rows, shape[0], 3), pixel(j, cols, shape[1], 3)
            if m is None or (n is None and m != -1):
                assert copied[i, j] == 0
            for at, part in enumerate(
                (x[i, j] - copied[i, j], copied[i, j] - u[i, j], x[i, j], copied[i, j], after[i][j] - copied[i, j])
            ):
                sums[at] += part**2
    assert found == pytest.approx(sums)


def faded(image, sigma):
    """A denoiser, of a kind."""
    return image - 0.1 * (image - image.mean())


@pytest.mark.parametrize(
    ("boundary", "dtype", "options"),
    [
        ("unknown", "float32", {"prior": "tv"}), ("reflect", "float64", {"prior": "tv"}),
        ("mirror", "float64", {"prior": "sparse"}),
        ("nearest", "float64", {"bounds": (0.2, 0.7), "data": "squares"}),
        ("unknown", "float32", {"bounds": (0.3, None), "data": "squares"}),
        ("wrap", "float64", {"prior": faded}), ("constant", "float64", {"prior": "tv", "data": "poisson"}),
    ],
)  # fmt: skip
def test_admm_steps_match_the_cpu(boundary, dtype, options, monkeypatch, rng):
    """Of two also past the fifth, after which penalties are balanced; by the way that both have."""
    monkeypatch.setattr(HostWorkspaces, "_has_iterative_admm", False)
    image, steps = rng.random(SHAPE).astype(dtype), 6 if boundary in ("reflect", "nearest") else 3
    cpu, gpu = both(image, boundary=boundary, mu=0.02, max_iter=steps, tol=0, **options)
    # The sparse prior's proximal map is a polynomial of single precision on both.
    accuracy = 1e-4 if dtype == "float32" else 1e-6 if options.get("prior") == "sparse" else 1e-9
    assert gpu.device == "cuda"
    assert gpu.image.dtype == dtype
    assert np.abs(gpu.image - cpu.image).max() < accuracy
    assert gpu.history == pytest.approx(cpu.history, rel=accuracy)
    assert gpu.optimality == pytest.approx(cpu.optimality, rel=100 * accuracy)
    assert (gpu.n_iter, gpu.n_products, gpu.stop_reason) == (cpu.n_iter, cpu.n_products, cpu.stop_reason)


def test_sparse_penalties_grow_only_after_sums_have_been_read(rng, monkeypatch):
    monkeypatch.setattr(admm, "STEADY", 5)
    monkeypatch.setattr(admm, "RESTS", math.inf)
    image = rng.random((4, 5)).astype(np.float32)
    cpu, gpu = both(image, boundary="wrap", prior="sparse", mu=0.02, max_iter=8, tol=0)
    assert np.abs(gpu.image - cpu.image).max() < 1e-4
    assert gpu.history == pytest.approx(cpu.history, rel=1e-4)


def test_roots_within_bounds(rng):
    """Whose ridge follows the estimate."""
    image, found = rng.random((1, *SHAPE)), []
    for where in ("cpu", "cuda"):
        blurs = [fd.Blur(SMALL, SHAPE, boundary="wrap", dtype=float, device=where)]
        cuda = where == "cuda"
        work = (
            cuda_splits.CudaAdmmWorkspace(blurs, 1, "gradient", True)
            if cuda
            else AdmmWorkspace(Domain(blurs), blurs, 1, "gradient", True)
        )
        start = device.put(image) if cuda else image
        problem = problem_of(start, data="root", mu=0.5, bounds=(0.3, 0.8), max_iter=11)
        result = admm.minimise(work, problem, ridge=0.3, denoiser=None)
        found.append((device.to_host(result.image), result.history, result.optimality))
    for one, other in zip(*found, strict=True):
        assert other == pytest.approx(one, rel=1e-9)


@pytest.mark.parametrize(
    "options",
    [{"prior": "tv"}, {"prior": "tv", "data": "poisson"}, {"prior": "sparse", "bounds": (0.1, None)}],
)  # fmt: skip
def test_weights_and_missing_pixels(options, rng):
    """Of the last nine pixels some are beyond the psf's reach of any with a weight."""
    image, weights = rng.random(SHAPE), rng.random(SHAPE)
    image[1, 4] = np.nan
    weights[2:, 3:] = 0
    cpu, gpu = both(image, weights=weights, mu=0.02, max_iter=3, tol=0, **options)
    accuracy = 1e-6 if options["prior"] == "sparse" else 1e-9
    assert np.abs(gpu.image - cpu.image).max() < accuracy
    assert gpu.history == pytest.approx(cpu.history, rel=accuracy)


@pytest.mark.parametrize(("prior", "several"), [("tv", False), ("tv", True), ("sparse", True)])
def test_channels_are_shrunk_together(several, prior, rng):
    image = rng.random((4, 5, 3))
    psf = np.stack([SMALL, SMALL[::-1], SMALL[:, ::-1]], axis=-1) if several else SMALL
    cpu, gpu = both(image, psf, prior=prior, channel_axis=-1, mu=0.05, max_iter=2, tol=0)
    assert np.abs(gpu.image - cpu.image).max() < 1e-6
    assert gpu.history == pytest.approx(cpu.history, rel=1e-6)


def test_cuda_admm_stops_only_where_sums_are_read(rng):
    image = np.kron(rng.random((2, 2)), np.ones((3, 3)))
    cpu, gpu = both(image, fd.psf.box((2, 3)), prior="tv", mu=0.02, boundary="wrap", tol=0.04)
    assert cpu.stop_reason == gpu.stop_reason == "tolerance"
    assert gpu.n_iter == math.ceil(cpu.n_iter / admm.LOOK) * admm.LOOK
    assert gpu.history[: cpu.n_iter] == pytest.approx(cpu.history[:-1])
    assert np.abs(gpu.image - cpu.image).max() < 0.05


def test_cuda_admm_reads_sums_at_the_expected_steps(rng, monkeypatch):
    looks, look = [], cuda_splits.CudaAdmmWorkspace.look
    monkeypatch.setattr(cuda_splits.CudaAdmmWorkspace, "look", lambda self: looks.append(self._steps) or look(self))
    image, seen = rng.random((4, 5)), []
    common = {"prior": "tv", "mu": 0.02, "tol": 0, "device": "cuda", "boundary": "wrap"}
    result = fd.solve(image, PSF, max_iter=7, **common)
    assert looks == [1, 5, 2]
    assert len(result.history) == 8
    looks.clear()
    stopped = fd.solve(
        image, PSF, callback=lambda s: seen.append((s.objective, s.estimate.copy())) or s.iteration == 3, **common
    )
    assert looks == [1, 1, 1, 1]
    assert stopped.stop_reason == "callback"
    assert [objective for objective, _ in seen] == result.history[1:4].tolist()
    assert np.array_equal(seen[-1][1], stopped.image)


def test_the_same_memory_for_the_next_image(rng):
    first, second = rng.random((2, 4, 5))
    kept = fd.Deblurrer(PSF, (4, 5), prior="tv", mu=0.02, bounds=(0, 1), max_iter=1, tol=0, device="cuda")
    kept(first)
    again = fd.Deblurrer(PSF, (4, 5), prior="tv", mu=0.02, bounds=(0, 1), max_iter=1, tol=0, device="cuda")(second)
    assert np.array_equal(kept(second), again)


def test_images_of_points_start_from_the_solution_with_tv_there_too(monkeypatch):
    monkeypatch.setitem(options.MOST_STEPS, "admm", 5)
    monkeypatch.setattr(dispatch, "STEPS_OF_POINTS", 5)
    image = np.zeros((8, 8))
    image[2, 5], image[6, 1] = 1, 0.4
    image = fd.convolve(image, SMALL, boundary="wrap")
    cpu, gpu = both(image, prior="sparse", mu=1e-3, boundary="wrap", tol=0)
    assert cpu.n_iter == gpu.n_iter == 5
    assert np.abs(gpu.image - cpu.image).max() < 1e-6
    from_image = fd.solve(image, SMALL, prior="sparse", mu=1e-3, boundary="wrap", tol=0, max_iter=5, init=image)
    assert np.abs(from_image.image - cpu.image).max() > 1e-4
