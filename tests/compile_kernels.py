"""Compile the GPU's kernels, for which numba-cuda needs no GPU: the simulator checks no types.

``python tests/compile_kernels.py float32 passes``; it fails where one does not compile, or keeps pixels in memory that
belong in registers.
"""

import re
import sys
from types import SimpleNamespace

import numpy as np
from numba import cuda, types
from numba.cuda import dispatcher

from fastdeblur.kernels.cuda import circulant, classes, loop, lucy, passes, responses, span, sums, vectors, z_update

CAPABILITY = 9, 0
# Device functions are compiled for the GPU that is there.
dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=CAPABILITY, id=0)

F8, I8, I4 = types.float64, types.int64, types.int32


def array(kind, dimensions):
    return types.Array(kind, dimensions, "C")


D1, PARTS, TABLE = array(F8, 1), array(F8, 2), array(I4, 1)


def of_passes(dtype, a, c):
    for path in ("direct", "separable", "loaded"):
        each = passes.passes(path, dtype)
        source = a[4], D1, a[3], a[3], TABLE, TABLE
        yield each.apply, *source, a[3]
        yield each.residual, *source, D1, a[4], a[3], a[3], I8, I8, a[3], PARTS
        yield each.update, *source, D1, a[4], a[3], a[3], PARTS
    yield passes.gather, a[4], D1, TABLE, TABLE, a[3]
    yield passes.fold, a[3], TABLE, TABLE, TABLE, TABLE, a[3]
    yield passes.multiply, c[3], c[3]
    yield loop.judge, PARTS, I8, D1, D1, PARTS
    yield loop.report, PARTS, I8, D1, D1, PARTS, D1


def of_exact(dtype, a, c):
    images = {"products": 4, "difference_products": 3, "move": 3, "move_residual": 4}
    for name, each in vectors.KERNELS.items():
        yield each, *[a[3]] * images.get(name, 2), D1, *([PARTS] if vectors.COUNTS[name] else [])
    yield circulant.divide, c[3], a[2], a[1], a[1], F8, F8
    yield circulant.mix_corrections, c[3], c[3], array(I8, 1), a[1], c[3]
    yield span.choose, PARTS, I8, PARTS, I8, D1, PARTS
    yield span.moved, PARTS, I8, D1, PARTS
    yield span.measure, PARTS, I8, D1, PARTS
    yield span.arrive, PARTS, I8, D1, PARTS, PARTS
    yield classes.segments, D1, array(I8, 1), array(I8, 1), PARTS
    yield sums.total, PARTS, I8, I8, PARTS


def of_priors(dtype, a, c):
    scalars = types.UniTuple(F8, len(z_update.NAMES))
    for kind in z_update.DIFFERENCES_OF:
        for pixels in (False, True):
            each = z_update.kernels_of(kind, pixels, pixels, dtype)  # periodic or not, as well
            if kind != "denoiser":
                yield each.begin, a[4], a[4], I8
            images = a[4], a[3], a[4], a[4], a[3], a[4], a[3], a[3], a[3]
            yield each.z_update, *images, scalars, *[I8] * 5, PARTS
            yield each.adjoint, a[4], a[3], a[3], scalars, a[4], I8
        yield each.x_update, c[4], c[3], a[1], a[1], scalars, F8, I8
        yield each.relax_pixels, a[4], a[3], a[3], F8, F8, I8
        yield each.project_pixels, a[4], a[3], a[3], a[3], TABLE, TABLE, I8, PARTS
        yield each.measure, a[3], a[3], F8, I8, I8, I8, PARTS


def of_photons(dtype, a, c):
    each, asked = lucy.kernels_of(dtype), types.UniTuple(F8, lucy.PARAMETERS)
    yield each.ratio, a[3], a[3], a[3], asked, I8, PARTS
    yield each.multiply, a[3], a[3], a[3], a[3], D1, asked, I8, PARTS
    yield lucy.misfit, a[3], a[3], a[3], types.boolean, I8, PARTS
    yield lucy.judge, PARTS, I8, D1, asked, PARTS, D1
    yield lucy.report, PARTS, I8, D1, PARTS


def of_learned(dtype, a, c):
    yield responses.responses_of(7, dtype), a[3], TABLE, TABLE, a[3], a[3], a[3], PARTS
    yield vectors.inner_products, a[3], a[3], PARTS
    yield vectors.add_and_multiply, a[3], a[3], a[3], F8, PARTS
    yield vectors.scaled_sum, a[3], a[3], a[3], F8
    yield sums.total_of_each, PARTS, I8, I8, PARTS


# One thread's work, where that does not matter.
SCALARS = span.choose, sums.total, sums.total_of_each
GROUPS = {"passes": of_passes, "exact": of_exact, "priors": of_priors, "photons": of_photons, "learned": of_learned}

if __name__ == "__main__":
    dtype, group = np.dtype(sys.argv[1]), sys.argv[2]
    real, wave = (F8, types.complex128) if dtype == np.float64 else (types.float32, types.complex64)
    images, spectra = ({n: array(kind, n) for n in range(1, 5)} for kind in (real, wave))
    for kernel, *arguments in GROUPS[group](dtype, images, spectra):
        code, _ = cuda.compile_ptx(kernel.py_func, types.void(*arguments), cc=CAPABILITY)
        name = kernel.py_func.__qualname__
        spilled = re.findall(r"\.local .*?\[(\d+)\]", code)
        assert not spilled or kernel in SCALARS, f"{name} keeps arrays of {spilled} bytes in local memory"
        print(name)
