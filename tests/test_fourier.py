"""Transforms whose lanes are across lines: every length that there is, against sums."""

import ctypes
import itertools
import math

import numpy as np
import pytest

import fastdeblur as fd
from fastdeblur.kernels.cpu.fourier.plan import LinePlan, PlanePlan, TransformPlan, line_length, plane_length
from fastdeblur.kernels.cpu.simd import register_shape
from fastdeblur.kernels.cpu.sweeper import Sweeper
from fastdeblur.kernels.cpu.x_update_planes import START, transforms
from fastdeblur.operators import costs, paths
from fastdeblur.solvers.admm.domain import Domain
from fastdeblur.solvers.admm.host import AdmmWorkspace
from fastdeblur.solvers.pcg.preconditioner import Corrections, Preconditioner
from fastdeblur.solvers.pcg.preconditioner_host import Applier

SIZE, ADDRESS = ctypes.c_ssize_t, ctypes.c_void_p
KERNEL = ctypes.CFUNCTYPE(None, SIZE, ADDRESS, SIZE, ADDRESS, SIZE, SIZE, SIZE, ADDRESS)
DTYPES = ["float32", "float64"]
UNTOUCHED = -7.0


def correlate(filter_, image, rows, cols):
    """One tile by the kernel, and what it left of the rows behind."""
    out = np.full((rows + 2, filter_.out_cols(cols)), UNTOUCHED, image.dtype)
    memory = np.zeros(filter_.work + 16, image.dtype)
    start = -memory.ctypes.data % 64 // memory.itemsize
    KERNEL(filter_.task.address(image.dtype))(
        filter_.address, image.ctypes.data, image.shape[1], out.ctypes.data, out.shape[1], rows, cols,
        memory[start:].ctypes.data,
    )  # fmt: skip
    return out[:rows, :cols], out[rows:]


def sums(image, weights, rows, cols):
    """out[i, j] = sum over u, v of weights[u, v] * image[i + u, j + v], in double precision."""
    out = np.zeros((rows, cols))
    for (u, v), weight in np.ndenumerate(weights.astype(np.float64)):
        out += weight * image[u : u + rows, v : v + cols].astype(np.float64)
    return out


def error(length, axis, dtype, rng):
    """Relative error (root mean square) of a tile with one long axis, by that which rounding grows with."""
    smallest = [lengths[0] for lengths in costs.transforms(np.dtype(dtype))]
    shape = (length, smallest[1]) if axis == 0 else (smallest[0], length)
    taps = tuple(int(rng.integers(1, min(size, 9))) for size in shape)
    weights = (rng.random(taps) - 0.3).astype(dtype)
    filter_ = paths.Fourier(weights, 0, 0, shape)
    rows, cols = filter_.most_rows, filter_.most_cols
    image = rng.standard_normal((filter_.window_rows(rows), filter_.window_cols(cols))).astype(dtype)
    want = sums(image, weights, rows, cols)
    got, _ = correlate(filter_, image, rows, cols)
    return math.sqrt(np.mean((got - want) ** 2) / np.mean(want**2) / math.log2(shape[0] * shape[1]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1], ids=["columns", "rows"])
def test_every_length_is_as_exact_as_sums(axis, dtype, rng):
    """All up to 2048, and some larger ones: with each radix there is, at each place."""
    lengths = costs.transforms(np.dtype(dtype))[axis]
    those = [length for length in lengths if length <= 2048]
    assert len(those) > 20
    those += rng.choice([length for length in lengths if 2048 < length < 2**14], 2, replace=False).tolist()
    errors = {length: error(length, axis, dtype, rng) for length in those}
    assert max(errors.values()) < (1e-7 if dtype == "float32" else 2e-16), max(errors, key=errors.get)


def test_lengths_have_small_factors_and_are_near_each_other():
    for dtype in DTYPES:
        for lengths in costs.transforms(np.dtype(dtype)):
            assert all(60**17 % length == 0 for length in lengths)
            wide = [(low, high) for low, high in itertools.pairwise(lengths) if low >= 64]
            assert max(high / low for low, high in wide) < 1.7
            assert lengths[-1] >= 2**16


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_vectors_are_aligned_whatever_the_processor(vector_bytes, dtype):
    """Tables that are loaded as aligned vectors are whole ones: a load from elsewhere ends the process."""
    itemsize = np.dtype(dtype).itemsize
    lanes = vector_bytes // itemsize
    for rows, cols in [(16, 4 * lanes), (48, 8 * lanes), (80, 12 * lanes), (256, 20 * lanes)]:
        plan = TransformPlan(rows, cols, lanes, itemsize)
        down = plan.twiddles_down()
        for elements in (down.size, plan.twiddles_across().size, plan.strip, plan.size):
            assert elements % (2 * lanes) == 0
        vectors = down.reshape(-1, lanes)
        np.testing.assert_array_equal(vectors, np.broadcast_to(vectors[:, :1], vectors.shape))


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (2, 8), (7, 9), (31, 17)])
def test_a_tile_may_be_smaller_and_nothing_else_is_read_or_written(rows, cols, rng):
    """Rows and vectors behind those of the window may hold anything, as may the work's memory; odd rows, and one."""
    weights, lanes = rng.random((6, 4)), register_shape(np.dtype("float64")).lanes
    filter_ = paths.Fourier(weights, 0, 0, (32, 12 * lanes))
    image = np.full((filter_.window_rows(rows) + 40, 16 * lanes), np.nan)
    used = -(-(cols + 3) // lanes) * lanes
    assert used <= filter_.window_cols(cols)
    image[: rows + 5, :used] = rng.random((rows + 5, used))
    got, behind = correlate(filter_, image, rows, cols)
    np.testing.assert_allclose(got, sums(image, weights, rows, cols), rtol=1e-13)
    assert (behind == UNTOUCHED).all()


def test_windows_are_filled_as_far_as_whole_vectors_are_read():
    """`apply` fills as many columns more than a block's as the window of one column has more."""
    for dtype in DTYPES:
        lanes, lengths = register_shape(np.dtype(dtype)).lanes, costs.transforms(np.dtype(dtype))[1]
        for taps in range(1, 40):
            filter_ = paths.Fourier(np.ones((3, taps), dtype), 0, 0, (16, costs.at_least(64, lengths)))
            for cols in range(1, filter_.most_cols + 1):
                read = -(-(cols + taps - 1) // lanes) * lanes
                assert read <= min(cols + filter_.window_cols(1) - 1, filter_.window_cols(cols))


def shifted_sum(plane, weights, sign=1):
    """The periodic blur of a plane by weights whose centre is in the middle; its adjoint if `sign` is -1."""
    out = np.zeros_like(plane)
    for (u, v), weight in np.ndenumerate(weights):
        shift = sign * (u - weights.shape[0] // 2), sign * (v - weights.shape[1] // 2)
        out += weight * np.roll(plane, shift, (0, 1))
    return out


def laplacian(plane):
    return sum(2 * plane - np.roll(plane, 1, axis) - np.roll(plane, -1, axis) for axis in (0, 1))


def plane_error(shape, dtype, rng, planes=1):
    """Of an x-update of ADMM on a domain of `shape`: the larger error of its normal equations and of the blur."""
    psf = rng.random((3, 4))
    blur = fd.Blur(psf / psf.sum(), (shape[0] - 4, shape[1] - 6), boundary="unknown", dtype=dtype, workers=1)
    work = AdmmWorkspace(Domain([blur]), [blur], planes, "tv", False)
    assert work.domain.shape == shape
    x, blurred, job = work.planes_of("x"), work.planes_of("blurred"), work.job
    x[...] = rng.standard_normal(x.shape)
    before, weights, errors = x.astype(np.float64), blur.psf.astype(np.float64), []
    job["data_rho"], job["rho"], job["second_rho"], job["pixels_rho"] = 0.7, 0.3, 0.05, 1.0
    job["stage"] = START  # x is the right-hand side, and the data
    work._sweeper.run(transforms, job, work._tiles)
    work.update_x()
    for old, new, of_new in zip(before, x.astype(np.float64), blurred, strict=True):
        ahead, rough = shifted_sum(new, weights), laplacian(new)
        total = 0.7 * shifted_sum(ahead, weights, -1) + 0.3 * rough + 0.05 * laplacian(rough) + new
        want = 0.7 * shifted_sum(old, weights, -1) + old
        errors += [np.mean((total - want) ** 2) / np.mean(want**2), np.mean((of_new - ahead) ** 2) / np.mean(ahead**2)]
    return math.sqrt(max(errors) / math.log2(shape[0] * shape[1]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1], ids=["columns", "rows"])
def test_every_length_of_planes_solves_the_normal_equations(axis, dtype, rng):
    """With each radix, at each place, and in frequencies that are their own negatives."""
    lengths = sorted({plane_length(least) for least in range(32, 1060)})
    lengths = [*lengths[:24], *rng.choice(lengths[24:], 4, replace=False).tolist(), 1056]
    errors = {length: plane_error((length, 32) if axis == 0 else (32, length), dtype, rng) for length in lengths}
    errors["planes"] = plane_error((48, 80), dtype, rng, 2)
    assert max(errors.values()) < (2e-7 if dtype == "float32" else 4e-16), max(errors, key=errors.get)


def test_lengths_of_planes_are_near_each_other_and_any_processor_has_them():
    lengths = sorted({plane_length(least) for least in range(24, 5000)})
    assert max(high / low for low, high in itertools.pairwise(lengths) if low >= 256) < 1.13
    for length in lengths:
        for lanes in (2, 4, 8, 16):
            plan = PlanePlan(length, length, lanes)
            assert math.prod(plan.across) == math.prod(plan.down) * lanes == length
            for elements in (plan.twiddles_across().size, plan.twiddles_down().size, plan.block, plan.size):
                assert elements % (2 * lanes) == 0


def axis_solves(preconditioner, planes, corrected):
    """The solves along both axes alone, of all pixels alike."""
    applier = Applier(preconditioner, Sweeper(preconditioner.dtype), planes)
    for passes in applier._passes.values():
        job = passes.job
        job["weighted"], job["base"], job["adds"] = 0, 1, 0
        if not corrected:
            job["border_count"] = 0
    return applier


def line_errors(shape, dtype, rng, planes=1):
    """Of the solves of a periodic problem whose ring is the image: relative errors of the normal equations."""
    psf = rng.random((3, 2))
    preconditioner = Preconditioner((psf / psf.sum()).astype(dtype), "nearest", shape, shape, 1)
    assert (preconditioner.axes[0].length, preconditioner.axes[1].length) == shape
    source, ridge = rng.standard_normal((planes, *shape)).astype(dtype), 0.05
    out, weights = np.full_like(source, np.nan), psf / psf.sum()
    none = Corrections(np.zeros((1, 0, 2, 0), dtype), np.zeros(0, np.intp), np.zeros(0, dtype))
    applier = axis_solves(preconditioner, planes, corrected=False)
    for passes in applier._passes.values():
        passes.apply(ridge, none, source, out)
        for want, x in zip(source.astype(np.float64), out.astype(np.float64), strict=True):
            total = shifted_sum(shifted_sum(x, weights), weights, -1) + ridge * laplacian(x)
            yield math.sqrt(np.mean((total - want) ** 2) / np.mean(want**2) / math.log2(want.size))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_length_of_lines_solves_the_periodic_problem(dtype, rng):
    """Real lines and full ones; with each radix, at each place, and blocks of lines that are not full."""
    lengths = sorted({line_length(least) for least in range(20, 1060)})
    lengths = [*lengths[:20], *rng.choice(lengths[20:], 4, replace=False).tolist(), 968, 1056]
    errors = {length: max(line_errors((length, 36), dtype, rng)) for length in lengths}
    errors["planes"] = max(line_errors((44, 132), dtype, rng, 2))
    assert max(errors.values()) < (2e-7 if dtype == "float32" else 4e-16), max(errors, key=errors.get)


def test_lengths_of_lines_are_near_each_other():
    lengths = sorted({line_length(least) for least in range(1, 5000)})
    assert lengths[:5] == [4, 8, 12, 16, 20]
    assert all(math.prod(LinePlan(length).radices) == length for length in lengths)
    assert max(high - low for low, high in itertools.pairwise(lengths) if high <= 1100) <= 40


@pytest.mark.parametrize("boundary", ["reflect", "constant", "unknown"])
@pytest.mark.parametrize("axis", [0, 1])
def test_lines_are_solved_exactly_at_their_ends(boundary, axis, rng):
    """The other axis being periodic: against a dense matrix; lines shorter than their transforms, and as long."""
    # (Of "unknown", a ring with spare pixels is as if the estimate went on.)
    for frame in (36, 40) if boundary == "unknown" else (37, 36, 30):
        size = frame + 4 * (boundary == "unknown")
        psf = rng.random(5) / 3
        shapes = [(n, 20) if axis == 0 else (20, n) for n in (frame, size)]
        taps = psf[:, None] if axis == 0 else psf[None, :]
        preconditioner, ridge = Preconditioner(taps, boundary, *shapes, 1), 0.01
        blur = np.zeros((frame, size))
        for i in range(frame):
            for u in range(5):
                at = i + (u if boundary == "unknown" else u - 2)
                if boundary == "reflect":
                    at = -1 - at if at < 0 else 2 * size - 1 - at if at >= size else at
                if 0 <= at < size:
                    blur[i, at] += psf[4 - u]
        ends = 2 * np.eye(size) - np.eye(size, k=1) - np.eye(size, k=-1)
        ends[0, 0] = ends[-1, -1] = 1
        ring = 2 * np.eye(20) - np.roll(np.eye(20), 1, 0) - np.roll(np.eye(20), -1, 0)
        matrix = np.kron(blur.T @ blur + ridge * ends, np.eye(20)) + ridge * np.kron(np.eye(size), ring)
        source = rng.standard_normal(shapes[1])
        lines = source if axis == 0 else source.T
        want = np.linalg.solve(matrix, lines.ravel()).reshape(lines.shape)
        out, whole = np.full((1, *shapes[1]), np.nan), preconditioner.axes[axis]
        corrections = whole.corrections(ridge, 1)
        applier = axis_solves(preconditioner, 1, corrected=True)
        applier._passes[axis].apply(ridge, corrections, source[None], out)
        np.testing.assert_allclose(out[0] if axis == 0 else out[0].T, want, rtol=0, atol=1e-9 * np.abs(want).max())
