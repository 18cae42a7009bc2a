"""The command, mostly called in this process."""

import builtins
import importlib.metadata
import platform
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from samples import lines

import fastdeblur as fd
from fastdeblur import cache, cli
from fastdeblur.kernels import simd


def test_info(capsys, monkeypatch):
    monkeypatch.delenv("FASTDEBLUR_CACHE", raising=False)
    assert cli.main(["info"]) == 0
    said, err = lines(capsys)
    assert err == []
    facts = dict(re.split(r": +", line, maxsplit=1) for line in said)
    assert facts["fastdeblur"] == fd.__version__
    assert facts["python"] == platform.python_version()
    for package in ("numba", "numpy", "scipy", "scikit-image", "rocket-fft", "llvmlite"):
        assert facts[package] == importlib.metadata.version(package)
    assert facts["processor"]
    assert ("avx2" in facts["features"].split()) == ("avx2" in simd.cpu_features())
    rows, columns, lanes = simd.register_shape(np.dtype("float32"))
    assert facts["registers float32"] == f"{rows}x{columns} vectors of {lanes}"
    assert facts["registers float64"].endswith(f"of {lanes // 2}")
    assert facts["threading layer"] in ("tbb", "omp", "workqueue", "unknown")
    assert re.fullmatch(r"\d+ of \d+", facts["threads"])
    assert facts["cache"] == str(cache.folders()[0])
    assert facts["for cuda"].startswith("numba-cuda ")
    assert "cupy" in facts["for cuda"]
    assert facts["cuda"]


@pytest.mark.parametrize("name", ["A GPU", b"A GPU"])
def test_info_names_the_gpu(capsys, monkeypatch, name):
    monkeypatch.setattr("numba.cuda.is_available", lambda: True)
    monkeypatch.setattr("numba.cuda.get_current_device", lambda: SimpleNamespace(name=name), raising=False)
    assert cli.main(["info"]) == 0
    assert lines(capsys)[0][-1].split(maxsplit=1) == ["cuda:", "A GPU"]


def test_info_without_a_cache_a_gpu_or_a_package(capsys, monkeypatch):
    def find(name, *args):
        if name == "numba" and args[2:3] == (("cuda",),):
            raise RuntimeError("a broken driver")
        return imported(name, *args)

    imported = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", find)
    monkeypatch.setenv("FASTDEBLUR_CACHE", "0")
    monkeypatch.setattr(cli, "PACKAGES", ("no-such-package",))
    assert cli.main(["info"]) == 0
    said = lines(capsys)[0]
    assert [line.split()[-1] for line in said if line.startswith(("cache:", "no-such-package:"))] == ["unknown", "off"]
    assert said[-1].split(maxsplit=1) == ["cuda:", "not found"]


def test_version(capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["--version"])
    assert exit.value.code == 0
    assert lines(capsys) == ([f"fastdeblur {fd.__version__}"], [])


def test_the_version_needs_no_pictures():
    code = "import sys; from fastdeblur.cli import main\ntry: main(['--version'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'skimage', 'matplotlib', 'PIL', 'tifffile', 'zarr'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout.splitlines() == [f"fastdeblur {fd.__version__}", "[]"], done.stderr
