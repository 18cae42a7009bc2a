"""Arrays between pages that nobody may touch, and a run of everything on such arrays.

`python guarded.py [end] [start] descent varying admm exact [all]` ends with a signal as soon as a kernel loads or
stores beyond a buffer.
"""

import collections
import ctypes
import itertools
import mmap
import sys

import numpy as np

PAGE = mmap.PAGESIZE
LIBC = ctypes.CDLL(None, use_errno=True)
KEEP = []  # the maps, for as long as the process lives
POSITION, ALL = "end", False


def guarded(count, dtype):
    """`count` zeros that end right before a protected page, or start right after one."""
    size = count * np.dtype(dtype).itemsize
    pages = max(1, -(-size // PAGE))
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    KEEP.append(memory)
    whole = np.frombuffer(memory, np.uint8)
    for page in (0, pages + 1):
        if LIBC.mprotect(ctypes.c_void_p(whole.ctypes.data + page * PAGE), PAGE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    start = PAGE if POSITION == "start" else (pages + 1) * PAGE - size
    return whole[start : start + size].view(dtype)


def guarded_arena(parts, slots, dtype):
    """Every part of a thread's scratch by itself; for one thread."""
    assert slots == 1
    arrays = [guarded(max(part, 1), dtype) for part in parts]
    first = arrays[0].ctypes.data
    return arrays[0], [(array.ctypes.data - first) // array.itemsize for array in arrays], 0


def copy(array):
    same = guarded(array.size, array.dtype).reshape(array.shape)
    same[...] = array
    return same


class Numpy:
    """numpy, but that tables, matrices and records come from between such pages."""

    def __getattr__(self, name):
        function = getattr(np, name)
        if name not in ("zeros", "empty", "stack", "ascontiguousarray"):
            return function
        return lambda *args, **options: copy(function(*args, **options))


SIZES = [1, 2, 3, 15, 16, 17, 33, 47, 48, 49, 97, 130, 481]
SHAPES = [(a, b) for a, b in itertools.product(SIZES, SIZES) if (a + 3 * b) % 5 == 0 or min(a, b) == 1]
PSFS = [(1, 1), (2, 2), (3, 5), (13, 13), (4, 1), (1, 12), (31, 31), (8, 3)]
RULES = ["gd", "momentum", "nesterov", "adam", "adagrad"]
# Seven, so that going round meets every path: the default twice.
BOUNDARIES = ["constant", "nearest", "reflect", "unknown", "mirror", "wrap", "unknown"]
PATHS = ["direct", "separable", "fft"]


def descent():
    import fastdeblur as fd
    from fastdeblur.kernels.runtime import memory
    from fastdeblur.operators import host
    from fastdeblur.solvers import two_pass

    assert two_pass.zeros is memory.zeros  # what it imported must be replaced there
    memory.zeros = two_pass.zeros = guarded
    memory.arena = guarded_arena
    rng = np.random.default_rng(0)
    # Half of the shapes at either end.
    dtypes = ["float32", "float64"]
    cases = list(itertools.product(dtypes, PATHS, SHAPES[POSITION == "end" :: 2]))
    if not ALL:  # every other dtype: three paths, so that each shape and each path has both; at one end, half of these
        cases = [(dtypes[k % 2], *more) for k, (_, *more) in enumerate(cases[: len(cases) // 2])]
        cases = cases if POSITION == "end" else cases[::2]
    cycles = map(itertools.cycle, (PSFS, RULES, BOUNDARIES))
    for (dtype, path, shape), psf_shape, rule, boundary in zip(cases, *cycles, strict=False):
        KEEP.clear()
        host.STREAMED = 2**25 - host.STREAMED  # every other result goes past the caches
        image, psf = copy(rng.random(shape).astype(dtype)), copy(rng.random(psf_shape))
        out = copy(np.zeros(shape, dtype))
        psf /= psf.sum()
        blur = fd.Blur(psf, shape, boundary=boundary, dtype=dtype, path=path, workers=1)
        estimate = copy(rng.random(blur.estimate_shape).astype(dtype))
        assert blur.forward(estimate, out=out) is out
        assert np.isfinite(blur.adjoint(out, out=estimate)).all()
        result = fd.solve(image, blur, mu=0.2, solver=rule, init=out, max_iter=2, tol=0)
        assert np.isfinite(result.image).all()
        stack = copy(np.stack([image, image, out]))
        fd.solve(stack, blur, mu=0.2, solver="gd", channel_axis=0, max_iter=1, tol=0)
    print(len(cases), "cases")


def varying():
    import fastdeblur as fd
    from fastdeblur.kernels.runtime import memory

    memory.zeros, memory.arena = guarded, guarded_arena
    rng, count = np.random.default_rng(0), 0
    # Three paths and seven boundaries: each path meets each boundary, and with all cases each dtype, too.
    cases = list(itertools.product(SHAPES[POSITION == "end" :: 2], PATHS))[:: 1 if ALL else 3]
    cycles = map(itertools.cycle, (PSFS, BOUNDARIES, ["float32", "float64", "float32"]))
    for (shape, _), path, psf_shape, boundary, dtype in zip(cases, itertools.cycle(PATHS), *cycles, strict=False):
        KEEP.clear()
        grid = tuple(min(nodes, size) for nodes, size in zip((2 + count % 2, 3), shape, strict=True))
        psfs = copy(rng.random((*grid, *psf_shape)))
        blur = fd.VaryingBlur(psfs, None, shape, boundary=boundary, dtype=dtype, path=path, workers=1)
        estimate, out = copy(rng.random(blur.estimate_shape).astype(dtype)), copy(np.zeros(shape, dtype))
        assert blur.forward(estimate, out=out) is out
        assert np.isfinite(blur.adjoint(out, out=estimate)).all()
        count += 1
    print(count, "cases")


def half(cases):
    """Of cases in pairs that differ by dtype, those of this position: with the other go the others of each pair."""
    own = [case for number, case in enumerate(cases) if (number + number // 2) % 2 == (POSITION == "end")]
    return own if ALL or POSITION == "end" else own[::2]


def alone(number):
    """Whether a case is solved as a plane alone; the others, or all, are solved as a stack of two."""
    return ALL or number % 2 == 0


# Images whose preconditioner is one block, and images with ends and corners: one row or column, and rows and
# columns for part of a tile and for several.
EXACT_SHAPES = [(1, 1), (2, 3), (19, 17), (1, 1601), (1601, 1), (41, 47), (97, 49)]
# Five, of which each boundary meets each.
EXACT_PSFS = [(3, 5), (4, 6), (1, 1), (13, 2), (9, 19)]
EXACT_BOUNDARIES = ["constant", "nearest", "reflect", "mirror", "wrap", "unknown", "cosines"]


def exact():
    import fastdeblur as fd
    from fastdeblur.engines import workspaces
    from fastdeblur.kernels.cpu import sweeper
    from fastdeblur.kernels.runtime import memory
    from fastdeblur.solvers.pcg import boundary_correction, dct, fourier, preconditioner

    memory.zeros = guarded
    memory.arena = guarded_arena
    dct.np = boundary_correction.np = fourier.np = preconditioner.np = sweeper.np = Numpy()
    kinds, make = collections.Counter(), workspaces.Preconditioner

    def made(*arguments):
        whole = make(*arguments)
        if isinstance(whole.formula, dct.Cosines):
            whole.formula._eigenvalues = [copy(table) for table in whole.formula._eigenvalues]
        elif whole.formula:
            whole.formula._down, whole.formula._across = map(copy, (whole.formula._down, whole.formula._across))
        formula = type(whole.formula).__name__ if whole.formula else None
        kinds[formula or ("circulant" if whole.circulant else "one block" if whole.whole else "ends")] += 1
        return whole

    workspaces.Preconditioner = made
    rng = np.random.default_rng(0)
    cases = half(itertools.product(EXACT_SHAPES, EXACT_BOUNDARIES, ["float32", "float64"]))
    cycles, weighted = map(itertools.cycle, (EXACT_PSFS, ["root", "squares", "root"])), itertools.cycle([False, True])
    for number, ((shape, boundary, dtype), psf_shape, data) in enumerate(zip(cases, *cycles, strict=False)):
        KEEP.clear()
        mu = (0.05, 1.0, "auto", 0.0)[rng.integers(4)]
        image, psf = rng.random(shape), rng.random(psf_shape)
        if boundary == "cosines":
            psf = psf[1 - psf_shape[0] % 2 :, 1 - psf_shape[1] % 2 :]
            psf = psf + psf[::-1]
            psf += psf[:, ::-1]
            boundary = "reflect"
        # With weights, every other periodic problem has no formula, but a preconditioner.
        weights = copy(rng.random(shape)) if boundary == "wrap" and next(weighted) else None
        psf, image = copy(psf / psf.sum()), copy(image.astype(dtype))
        options = {"data": data, "mu": mu, "boundary": boundary, "solver": "exact", "max_iter": 3, "tol": 0}
        options["weights"] = weights
        if alone(number):
            assert np.isfinite(fd.solve(image, psf, workers=1, **options).image).all()
        if not alone(number) or ALL:
            stack = copy(np.stack([image, image[::-1]]))
            fd.solve(stack, psf, channel_axis=0, workers=1, **options)
    print(", ".join(f"{count} {kind}" for kind, count in kinds.items()))


SPLIT_SHAPES = [(1, 1), (1, 33), (35, 2), (16, 16), (31, 49), (97, 40)]


def admm():
    """Priors that keep edges, bounds, photon noise and weights."""
    import fastdeblur as fd
    from fastdeblur.kernels.runtime import memory
    from fastdeblur.solvers import two_pass

    memory.zeros = two_pass.zeros = guarded
    memory.arena = guarded_arena
    rng = np.random.default_rng(0)
    kinds = [
        {"prior": "tv"}, {"prior": "sparse"}, {"data": "poisson", "prior": None}, {"bounds": (0, 1)},
        {"data": "poisson", "prior": "tv"}, {"solver": "gd", "bounds": (0, 1)}, {"prior": lambda image, sigma: image},
        {"prior": "learned"},
    ]  # fmt: skip
    cases = half(itertools.product(SPLIT_SHAPES, kinds, ["float32", "float64"]))
    cycles = map(itertools.cycle, (PSFS, BOUNDARIES[:6], [True, False, False]))
    count = 0
    for number, ((shape, kind, dtype), psf_shape, boundary, weighted) in enumerate(zip(cases, *cycles, strict=False)):
        KEEP.clear()
        image, psf = copy(rng.random(shape).astype(dtype)), rng.random(psf_shape)
        options = {"boundary": boundary, "max_iter": 3, "tol": 0, "mu": 0.01, "workers": 1} | kind
        weights = copy(rng.random(shape).astype(dtype)) if weighted else None
        if alone(number):
            fd.solve(image, copy(psf / psf.sum()), weights=weights, **options)
            count += 1
        if not alone(number) or ALL:
            stack = copy(np.stack([image, image]))
            psfs = copy(np.stack([psf / psf.sum(), psf[::-1] / psf.sum()]))
            fd.solve(stack, psfs, channel_axis=0, **options)
            count += 1
    print(count, "cases")


if __name__ == "__main__":
    ALL = "all" in sys.argv
    for POSITION in ("end", "start"):
        if POSITION not in sys.argv:
            continue
        if "touch" in sys.argv:  # the trap itself
            array = guarded(7, np.float32)
            ctypes.string_at(array.ctypes.data + (array.nbytes if POSITION == "end" else -4), 4)
        # The exact solvers last: arrays of more modules are guarded for them.
        for kind in (descent, varying, admm, exact):
            if kind.__name__ in sys.argv:
                kind()
