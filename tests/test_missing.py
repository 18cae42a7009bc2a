"""Missing pixels of any size: whole corners, borders, halves."""

import numpy as np
import pytest
from skimage import data
from sweeps import few, sweep

import fastdeblur as fd
from fastdeblur.kernels.cpu.sweeper import Sweeper
from fastdeblur.solvers.admm.continuation import continue_planes
from fastdeblur.solvers.pcg.host import PcgWorkspace
from fastdeblur.solvers.pcg.multigrid import ArrayMultigrid, Multigrid, coverage_of
from fastdeblur.solvers.pcg.preconditioner import Preconditioner

PSFS = {"gaussian": fd.psf.gaussian(13, 2), "motion": fd.psf.motion(9, 30)}
SIDE = 112


def masks(side):
    """1 where there is a pixel."""
    rows, cols = np.mgrid[:side, :side]
    inside = np.minimum(np.minimum(rows, cols), side - 1 - np.maximum(rows, cols))
    return {
        "corner": rows + cols >= side // 2,
        "frame": inside >= side // 10,
        "random": np.random.default_rng(1).random((side, side)) < 0.5,
        "block": inside < 0.1464 * side,
        "half": cols >= side // 2,
    }


def some_masks(turn, long):
    """All, or with one turn those that the next one has not."""
    return {name: mask for k, (name, mask) in enumerate(masks(SIDE).items()) if long or (k + turn) % 2}


def blurred(psf, dtype=np.float32, side=SIDE):
    sharp = data.camera()[100 : 100 + side, 180 : 180 + side] / 255
    noise = np.random.default_rng(0).standard_normal(sharp.shape)
    return (fd.convolve(sharp, psf, boundary="reflect") + 0.01 * noise).astype(dtype)


def without(image, mask):
    return np.where(mask, image, np.nan).astype(image.dtype)


@sweep(boundary=["unknown", "nearest"], psf=PSFS, options=[{"mu": 0.2}, {"data": "squares", "mu": 5e-3}])
def test_the_exact_solver_takes_at_most_three_times_the_iterations(options, psf, boundary, long):
    turn, psf = list(PSFS).index(psf) + (boundary == "nearest"), PSFS[psf]
    image = blurred(psf)
    deblurrer = fd.Deblurrer(psf, image.shape, boundary=boundary, **options)
    usual = deblurrer.solve(image)
    for name, mask in some_masks(turn, long).items():
        result = deblurrer.solve(without(image, mask))
        assert result.stop_reason == "tolerance", name
        assert result.n_iter <= 3 * usual.n_iter, name
    again = deblurrer.solve(image)
    assert again.n_iter == usual.n_iter
    np.testing.assert_array_equal(again.image, usual.image)


@pytest.mark.parametrize("psf", ["gaussian", "airy"])
def test_nor_does_it_with_the_automatic_weight(psf, long):
    """The ridge is smaller then, where holes' edges are worse conditioned: they were up to 4.6 times as many."""
    psf, side = {"gaussian": fd.psf.gaussian(15, 2), "airy": fd.psf.airy(5, 31)}[psf], 128
    image = blurred(psf, side=side)
    usual = fd.solve(image, psf)
    for name, mask in masks(side).items():
        if long or name != "half":
            result = fd.solve(without(image, mask), psf)
            assert result.stop_reason == "tolerance", name
            assert result.n_iter <= 3 * usual.n_iter, name


def test_nor_does_it_where_the_other_weights_differ(rng):
    """Some pixels weigh ten times as much as is usual, and others a tenth."""
    image, psf, mu = blurred(PSFS["gaussian"]), PSFS["gaussian"], 0.05
    weights = np.exp(rng.standard_normal(image.shape)).astype(np.float32)
    usual = fd.solve(image, psf, mu=mu, weights=weights)
    for name in ("corner", "frame", "random"):
        result = fd.solve(image, psf, mu=mu, weights=np.where(masks(SIDE)[name], weights, 0))
        assert result.stop_reason == "tolerance", name
        assert result.n_iter <= 2 * usual.n_iter, name


@pytest.mark.parametrize("name", ["corner", "frame", "block"])
def test_far_inside_a_hole_the_result_is_a_smooth_continuation(name):
    """Of no other start, and no smaller tolerance, does anything else come out; it is harmonic there."""
    psf, mask = PSFS["gaussian"], masks(SIDE)[name]
    image = without(blurred(psf, np.float64), mask)
    usual, other = (fd.deblur(image, psf, data="squares", mu=5e-3, init=init) for init in ("image", "zeros"))
    best = fd.deblur(image, psf, data="squares", mu=5e-3, tol=1e-9)
    np.testing.assert_allclose(usual, best, atol=0.01)
    np.testing.assert_allclose(other, best, atol=0.01)
    x = best
    unobserved = ~np.isfinite(np.pad(image, 8, mode="edge"))
    deep = np.min([unobserved[i : i + SIDE, j : j + SIDE] for i in range(17) for j in range(17)], axis=0)
    deep[[0, -1]] = deep[:, [0, -1]] = False
    assert deep.sum() > 50
    laplacian = 4 * x
    for axis in (0, 1):
        laplacian -= np.roll(x, 1, axis) + np.roll(x, -1, axis)
    assert np.abs(laplacian[deep]).max() < 1e-5


def test_what_the_middle_lacks_is_judged_elsewhere():
    """Noise and residual are looked at in a part of the image: not in one where there is no pixel."""
    psf = PSFS["gaussian"]
    image = np.tile(blurred(psf), (2, 3))
    image[:, 72:264] = np.nan
    result = fd.solve(image, psf, mu=0.2)
    assert 0.005 < result.noise < 0.02
    assert 0.5 < result.misfit < 2


def test_planes_may_have_different_missing_pixels():
    psf = PSFS["gaussian"]
    image = blurred(psf, np.float64)
    all_masks = masks(SIDE)
    planes = np.stack([without(image, all_masks[name]) for name in ("corner", "block", "random")])
    options = {"data": "squares", "mu": 5e-3, "tol": 1e-6}
    together = fd.deblur(planes, psf, channel_axis=0, **options)
    for plane, one in zip(planes, together, strict=True):
        np.testing.assert_allclose(one, fd.deblur(plane, psf, **options), atol=1e-3)


@pytest.mark.parametrize(
    "shape",
    [
        (1, 7, 9),
        (2, 9, 17),
        pytest.param((2, 16, 33), marks=pytest.mark.long),
        (1, 1, 20),
        (3, 40, 1),
        (1, 2, 2),
        (1, 1, 1),
    ],
)
def test_the_cycle_is_symmetric_and_the_same_as_array_expressions(shape, rng):
    coverage = np.clip(2 * rng.random(shape) - 0.7, 0, 1)
    matrices = []
    for cycle in (Multigrid(coverage, Sweeper(np.float64)), ArrayMultigrid(coverage)):
        columns = np.eye(coverage.size).reshape(-1, *shape)
        out = np.zeros_like(columns)
        for column, result in zip(columns, out, strict=True):
            cycle.add(0.3, column, result)
        matrices.append(out.reshape(coverage.size, coverage.size))
    np.testing.assert_allclose(*matrices, atol=1e-13)
    np.testing.assert_allclose(matrices[0], matrices[0].T, atol=1e-13)
    assert np.linalg.eigvalsh(matrices[0]).min() > -1e-12


@pytest.mark.parametrize("ridge", few([1e-4, 1e-2, 1.0], [1e-4, 1.0]))
def test_the_cycle_is_nearly_the_inverse(ridge, rng, long):
    """Whatever is uncovered, however large: no eigenvalue of the product of both is far from 1."""
    side = 33 if long else 23
    coverage = np.zeros((1, side, side))
    coverage[0, :3] = 1e-3  # it must be less than 1, for S to be
    difference = np.diff(np.eye(side), axis=0)
    line = difference.T @ difference
    eigenvalues = np.kron(line, np.eye(side)) + np.kron(np.eye(side), line)
    operator = np.diag((coverage**2).ravel()) + ridge * eigenvalues
    cycle = Multigrid(coverage, Sweeper(np.float64))
    columns = np.eye(side * side).reshape(-1, 1, side, side)
    out = np.zeros_like(columns)
    for column, result in zip(columns, out, strict=True):
        cycle.add(ridge, column, result)
    values = np.linalg.eigvals(out.reshape(side * side, -1) @ operator).real
    assert values.min() > 0.3
    assert values.max() < 1.7


@pytest.mark.parametrize("boundary", ["unknown", "wrap"])
def test_the_two_levels_are_symmetric_positive_and_nearly_the_inverse(boundary, rng):
    """Of a blur whose whole image is solved as it should be; by columns, beside a dense matrix."""
    psf, shape, ridge = fd.psf.gaussian(5, 1), (24, 27), 2.0**-10
    blur = fd.Blur(psf, shape, boundary=boundary, dtype=np.float64)
    mask = np.ones(shape)
    mask[4:18, 6:21] = 0
    work = PcgWorkspace([blur], 1, [Preconditioner(blur.psf, boundary, shape, blur.estimate_shape, by_formula=False)])
    work.begin(np.zeros((1, *shape)), mask[None], lambda frame: frame.fill(0))
    assert work.holes_products == 4
    current = work.preconditioners_at(ridge * work.typical)
    assert current[0].ridge == ridge
    size = int(np.prod(blur.estimate_shape))
    columns = np.eye(size).reshape(-1, 1, *blur.estimate_shape)
    applied, equations = np.empty_like(columns), np.empty_like(columns)
    for column, out, normal in zip(columns, applied, equations, strict=True):
        work.precondition(current, column, out)
        x = column[0]
        differences = np.zeros_like(x)
        for axis in (0, 1):
            step = np.roll(x, -1, axis) - x
            if boundary != "wrap":
                np.moveaxis(step, axis, 0)[-1] = 0
            differences += np.roll(step, 1, axis) - step
        normal[0] = blur.adjoint(mask * blur.forward(x)) + ridge * differences
    matrix, normal = applied.reshape(size, size), equations.reshape(size, size)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-10 * np.abs(matrix).max())
    values = np.linalg.eigvals(matrix @ normal).real
    assert values.min() > 0.05
    assert values.max() < 2


def test_coverage_is_a_share_of_what_is_usual(rng):
    ones = np.ones((1, 60, 60))
    half = np.full_like(ones, 0.5)
    coverage, usual = coverage_of(half, ones)
    assert usual == pytest.approx(0.5)
    np.testing.assert_allclose(coverage, 1)
    half[:, 30:] = 0
    coverage, usual = coverage_of(half, ones)
    assert usual == pytest.approx(0.5)
    np.testing.assert_allclose(coverage[0, 30:], 0)


@pytest.mark.parametrize("boundary", ["unknown", "nearest"])
@pytest.mark.parametrize("name", ["corner", "frame", "half"])
def test_photon_counts_are_continued_into_missing_pixels(name, boundary):
    """Pixels that no pixel sees keep their start, which is of their surroundings' brightness, not dark."""
    psf, mask = PSFS["gaussian"], masks(SIDE)[name]
    image = np.full((SIDE, SIDE), 50.0) + np.random.default_rng(0).standard_normal((SIDE, SIDE))
    restored = fd.deblur(without(image, mask), psf, data="poisson", prior=None, boundary=boundary)
    np.testing.assert_allclose(restored[~mask], 50, atol=10)


def test_poisson_with_tv_converges():
    """Of the estimate's copy, which is not negative, the penalty does not fade where nothing is: steps were 368."""
    psf = PSFS["gaussian"]
    sharp = data.camera()[100:228, 180:308] / 12
    counts = np.random.default_rng(0).poisson(fd.convolve(sharp, psf)).astype(np.float32)
    result = fd.solve(counts, psf, data="poisson", prior="tv")
    assert result.stop_reason == "tolerance"
    assert result.n_iter < 220


SPLITTING = {
    "tv": {"prior": "tv", "mu": 2e-3},
    "poisson tv": {"data": "poisson", "prior": "tv", "mu": 5e-3},
    "tv within bounds": {"prior": "tv", "mu": 2e-3, "bounds": (0, None)},
    "squares within bounds": {"data": "squares", "mu": 5e-3, "bounds": (0, None)},
}


@pytest.mark.parametrize("kind", SPLITTING)
def test_admm_takes_at_most_three_times_the_iterations(kind, long):
    """With tv they were two to six times as many, with photons up to more than eleven times."""
    psf = PSFS["gaussian"]
    image = blurred(psf).clip(1e-3)
    deblurrer = fd.Deblurrer(psf, image.shape, **SPLITTING[kind])
    usual = deblurrer.solve(image)
    for name, mask in some_masks(list(SPLITTING).index(kind), long).items():
        result = deblurrer.solve(without(image, mask))
        assert result.stop_reason == "tolerance", name
        assert result.n_iter <= 3 * usual.n_iter, name
        assert np.abs(result.image[~mask]).max() < 2, name
    again = deblurrer.solve(image)
    assert again.n_iter == usual.n_iter
    np.testing.assert_array_equal(again.image, usual.image)


def observed_by(mask, taps, periodic=False):
    """The pixels that are blurred into any that is there, for images without surroundings."""
    rows, cols = np.nonzero(mask)
    observed = np.zeros(mask.shape, bool)
    for i in range(-(taps[0] - 1 - taps[0] // 2), taps[0] // 2 + 1):
        for j in range(-(taps[1] - 1 - taps[1] // 2), taps[1] // 2 + 1):
            down, across = rows + i, cols + j
            if periodic:
                down, across = down % mask.shape[0], across % mask.shape[1]
            inside = (down >= 0) & (across >= 0) & (down < mask.shape[0]) & (across < mask.shape[1])
            observed[down[inside], across[inside]] = True
    return observed


def prior_of(x, observed, prior, periodic):
    """The sum over the differences all of whose pixels are observed, by hand."""
    rows, cols = x.shape
    total = 0.0
    for i in range(rows):
        for j in range(cols):
            groups = [
                [({(0, 0): -1, (1, 0): 1}, 1), ({(0, 0): -1, (0, 1): 1}, 1)],
                [
                    ({(-1, 0): 1, (0, 0): -2, (1, 0): 1}, 1),
                    ({(0, -1): 1, (0, 0): -2, (0, 1): 1}, 1),
                    ({(0, 0): 1, (1, 1): 1, (0, 1): -1, (1, 0): -1}, 2),
                ],
            ]
            for group, factor in zip(groups, (1, 0.5 if prior == "sparse" else 0), strict=True):
                squares = 0.0
                for terms, times in group:
                    at = [(i + p, j + q) for p, q in terms]
                    if periodic:
                        at = [(p % rows, q % cols) for p, q in at]
                    if all(0 <= p < rows and 0 <= q < cols and observed[p, q] for p, q in at):
                        squares += times * sum(f * x[p] for f, p in zip(terms.values(), at, strict=True)) ** 2
                total += factor * squares ** (0.4 if prior == "sparse" else 0.5)
    return total


@sweep(within=[(None, "constant"), ((0, None), "constant"), (None, "wrap")], prior=["tv", "sparse"])
def test_prior_counts_differences_of_observed_pixels(prior, within):
    bounds, boundary = within
    psf = fd.psf.normalise(fd.psf.gaussian(13, 2)[:, 2:12])  # of another reach on each side
    image, mask = blurred(psf)[:40, :48], masks(48)["corner"][:40]
    mask[25:, 30:] = False
    options = {"boundary": boundary, "bounds": bounds, "max_iter": 40}
    result = fd.solve(without(image, mask), psf, prior=prior, mu=5e-3, **options)
    misfit = 0.5 * ((fd.convolve(result.image, psf, boundary=boundary) - image)[mask].astype(float) ** 2).sum()
    periodic = boundary == "wrap"
    observed = observed_by(mask, psf.shape, periodic)
    expected = misfit + 5e-3 * prior_of(result.image.astype(float), observed, prior, periodic)
    assert result.objective == pytest.approx(expected, rel=1e-4)


def test_beyond_the_reach_of_the_data_the_estimate_goes_on_smoothly():
    psf, mask = PSFS["gaussian"], masks(SIDE)["half"]
    image = without(blurred(psf), mask)
    x = fd.deblur(image, psf, prior="tv", mu=2e-3)
    unobserved = ~observed_by(mask, psf.shape)
    assert unobserved.sum() > SIDE * SIDE // 3
    assert x[unobserved].min() > x[~unobserved].min() - 1e-6
    assert x[unobserved].max() < x[~unobserved].max() + 1e-6
    deep = ~observed_by(mask, (psf.shape[0] + 8, psf.shape[1] + 8))
    down, across = (np.abs(np.diff(x, axis=axis)) for axis in (0, 1))
    assert down[deep[1:] & deep[:-1]].max() < 0.05
    assert across[deep[:, 1:] & deep[:, :-1]].max() < 0.05


@pytest.mark.parametrize("shape", [(1, 33, 40), (2, 1, 30), (2, 17, 1), (1, 2, 3)])
def test_a_continuation_of_a_constant_is_that_constant(shape, rng):
    observed = rng.random(shape) < 0.1
    observed[:, 0, 0] = True
    planes = np.where(observed, 3, np.nan).astype(np.float32)
    planes[0, ~observed[0]] = -7  # what stood there does not matter
    continue_planes(planes, observed)
    np.testing.assert_allclose(planes, 3, rtol=1e-6)


def test_a_plane_without_observed_pixels_stays_as_it_is():
    planes = np.arange(24.0).reshape(2, 3, 4)
    continue_planes(planes, np.zeros((2, 3, 4), bool))
    np.testing.assert_array_equal(planes, np.arange(24.0).reshape(2, 3, 4))
