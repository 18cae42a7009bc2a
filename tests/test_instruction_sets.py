"""The kernels' tests again, compiled for lesser processors than this one, and a look at a greater one."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from fastdeblur.kernels.cpu.simd import cpu_features

AVX2 = "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16,+avx,+avx2,+fma,+bmi,+bmi2,+lzcnt,+movbe"
AVX512 = f"{AVX2},+avx512f,+avx512vl,+avx512bw,+avx512dq,+avx512cd"
x86 = pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="x86-64 only")


def environment(name, features):
    return {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features} if features else {"NUMBA_CPU_NAME": name}


@x86
@pytest.mark.skipif("NUMBA_CPU_NAME" in os.environ, reason="runs itself")
@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("generic", None),
        pytest.param(
            "haswell",
            AVX2,
            marks=[
                pytest.mark.skipif("avx2" not in cpu_features(), reason="needs AVX2"),
                pytest.mark.skipif("avx512f" not in cpu_features(), reason="AVX2 is what all other tests ran on"),
            ],
        ),
    ],
)
def test_kernels_for(name, features, long):
    here = Path(__file__).parent
    names = ("test_boundaries.py", "test_fourier.py", *(["test_blur.py"] if long else []))
    tests = [str(here / name) for name in names]
    # The vectors of registers; what fills halos is the same everywhere, and compiling takes what time there is: all
    # correlations in float32, and always in the same sweep.
    chosen = "test_forward_is_the_formula and not fft and (reflect or unknown)"
    every, some = "test_every_length", "test_every_length and float32"
    chosen = f"({chosen}) or (test_steps and root) or {every}" if long else f"({chosen} and float32) or ({some})"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-k", chosen, "-c",
         str(here.parent / "pyproject.toml"), *tests],
        env={**os.environ, **environment(name, features)},
        capture_output=True,
        text=True,
        timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout


SCRIPT = """
from fastdeblur.kernels.cpu.simd import register_shape
print(*register_shape("float32"), *register_shape("float64"))
"""


@x86
def test_register_shapes(python):
    """Of the least processor; those of greater ones are looked at below."""
    assert python(SCRIPT, **environment("generic", None)).strip() == "2 5 4 2 5 2"


COMPILED = (
    SCRIPT
    + """
from numba import types
from numba.core.ccallback import CFunc
from fastdeblur.kernels.cpu.direct import direct
direct._compiled.clear()
import numpy as np
direct.address(np.dtype("float32"))
for line in direct._compiled[np.dtype("float32")]._library.get_asm_str().splitlines():
    print(line.strip())
"""
)


@x86
@pytest.mark.parametrize(
    ("name", "features", "register", "shapes"),
    [
        pytest.param("haswell", AVX2, "ymm", "2 6 8 2 6 4", marks=pytest.mark.long),
        ("skylake-avx512", AVX512, "zmm", "4 4 16 4 4 8"),
    ],
)
def test_the_inner_loop_is_multiply_adds_in_registers(name, features, register, shapes, python):
    """Compiled, not run: a multiply-add a tap for each register of the tile, nothing kept on the stack between them."""
    found, *lines = python(COMPILED, **environment(name, features), FASTDEBLUR_CACHE="0").splitlines()
    assert found == shapes
    adds = [k for k, line in enumerate(lines) if line.startswith("vfmadd") and register in line]
    rows, columns = map(int, shapes.split()[:2])
    assert len(adds) >= rows * columns
    runs = [sum(k <= other < k + 30 for other in adds) for k in adds]
    assert max(runs) >= rows * columns
    spills = [line for line in lines if register in line and "rsp" in line]
    assert len(spills) <= 2
