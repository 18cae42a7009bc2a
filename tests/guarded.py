"""Arrays between pages that nobody may touch, and a run of everything on such arrays.

`python guarded.py end|start` ends with a signal as soon as a kernel loads or stores beyond a buffer.
"""

import ctypes
import itertools
import mmap
import sys

import numpy as np

PAGE = mmap.PAGESIZE
LIBC = ctypes.CDLL(None, use_errno=True)
KEEP = []  # the maps, for as long as the process lives
POSITION = "end"


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


SIZES = [1, 2, 3, 15, 16, 17, 33, 47, 48, 49, 97, 130, 481]
SHAPES = [(a, b) for a, b in itertools.product(SIZES, SIZES) if (a + 3 * b) % 5 == 0 or min(a, b) == 1]
PSFS = [(1, 1), (2, 2), (3, 5), (13, 13), (4, 1), (1, 12), (31, 31), (8, 3)]
RULES = ["gd", "momentum", "nesterov", "adam", "adagrad"]
# Seven, so that going round meets every path: the default twice.
BOUNDARIES = ["constant", "nearest", "reflect", "unknown", "mirror", "wrap", "unknown"]
PATHS = ["direct", "separable", "fft"]


def everything():
    import fastdeblur as fd
    from fastdeblur import direction, memory
    from fastdeblur.solvers import descent

    memory.zeros = descent.zeros = guarded
    memory.arena = guarded_arena
    rng = np.random.default_rng(0)
    cases = itertools.product(SHAPES, ["float32", "float64"], PATHS)
    cycles = map(itertools.cycle, (PSFS, RULES, BOUNDARIES))
    for (shape, dtype, path), psf_shape, rule, boundary in zip(cases, *cycles, strict=False):
        KEEP.clear()
        direction.STREAMED = 2**25 - direction.STREAMED  # every other result goes past the caches
        image, psf = copy(rng.random(shape).astype(dtype)), copy(rng.random(psf_shape))
        out = copy(np.zeros(shape, dtype))
        psf /= psf.sum()
        blur = fd.Blur(psf, shape, boundary=boundary, dtype=dtype, path=path, workers=1)
        estimate = copy(rng.random(blur.estimate_shape).astype(dtype))
        assert blur.forward(estimate, out=out) is out
        assert np.isfinite(blur.adjoint(out, out=estimate)).all()
        result = fd.solve(image, blur, solver=rule, init=out, max_iter=2, tol=0)
        assert np.isfinite(result.image).all()
        stack = copy(np.stack([image, image, out]))
        fd.solve(stack, blur, channel_axis=0, max_iter=1, tol=0)
    return len(SHAPES) * 2 * len(PATHS)


if __name__ == "__main__":
    POSITION = sys.argv[1]
    if len(sys.argv) > 2:  # the trap itself
        array = guarded(7, np.float32)
        ctypes.string_at(array.ctypes.data + (array.nbytes if POSITION == "end" else -4), 4)
    print(everything(), "cases")
