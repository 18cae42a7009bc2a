"""What the simulator cannot see: that the GPU's kernels have types, and keep pixels in registers."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("compile_kernels.py")


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="needs numba-cuda")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("group", ["passes", "exact", "priors", "photons", "learned"])
def test_kernels_compile(group, dtype, python):
    arguments = f"import runpy, sys; sys.argv = ['', '{dtype}', '{group}']\n"
    script = f"{arguments}runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    said = python(script, NUMBA_ENABLE_CUDASIM="0")
    assert len(said.splitlines()) > 4
