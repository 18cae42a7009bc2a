"""The command, mostly called in this process."""

import builtins
import importlib.metadata
import os
import platform
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from samples import lines
from sweeps import few

import fastdeblur as fd
from fastdeblur.cli import main as cli
from fastdeblur.kernels.cpu import simd
from fastdeblur.kernels.runtime import cache


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


def test_the_version_needs_no_pictures(preloaded, tmp_path):
    code = "import sys; from fastdeblur.cli.main import main\ntry: main(['--version'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'skimage', 'matplotlib', 'PIL', 'tifffile', 'zarr'} & set(sys.modules)))"
    done = preloaded.run(code, cwd=tmp_path)
    assert done.stdout.splitlines() == [f"fastdeblur {fd.__version__}", "[]"], done.stderr


NAMES = ["caf\u00e9.npy", "\u00e9\u03bc\u2603.tif", "\U0001f600.zarr", "odd-\udcff.npy"]


@pytest.mark.skipif(sys.platform == "win32", reason="names of files as POSIX has them")
@pytest.mark.parametrize("encoding", few(["ascii", "latin-1", "utf-8"], ["latin-1"]))
def test_names_that_a_terminal_cannot_show(preloaded, tmp_path, encoding):
    """They are escaped: a run that has ended well says so."""
    script = (
        "import sys; from fastdeblur.cli import main as cli; print([cli.main(eval(words)) for words in sys.argv[1:]])"
    )
    np.save(tmp_path / "a.npy", np.ones((5, 6), np.float32))
    figures = [f"figures-{name}" for name in NAMES]
    calls = []
    for names, more in ((NAMES, []), (figures, ["--json"])):
        words = ["--psf", "box:1", "--max-iter", "1", *more]
        calls += [["deblur", "a.npy", "-o", name, *words] for name in names]
        calls += [["deblur", f"missing-{name}", "-o", "out.npy", *words] for name in names]
    environment = {**os.environ, "PYTHONIOENCODING": f"{encoding}:strict", "PYTHONUTF8": "1"}
    done = preloaded.run(script, *map(ascii, calls), cwd=tmp_path, environment=environment)
    said, err = done.stdout.splitlines(), done.stderr.splitlines()
    assert said[-1] == str(([0] * len(NAMES) + [2] * len(NAMES)) * 2), err
    assert len(said) == 2 * len(NAMES) + 1
    for line, name in zip(said, NAMES + figures, strict=False):
        shown = name.encode(encoding, "backslashreplace").decode(encoding)
        assert name in figures or line.startswith(f"{shown}: mu "), line
        assert os.path.exists(tmp_path / name)
    assert [line.startswith("fastdeblur: error: cannot read missing-") for line in err] == [True] * 2 * len(NAMES)


def test_how_streams_treat_errors_is_what_it_was(capsys):
    before = sys.stdout.errors, sys.stderr.errors
    assert cli.main(["info"]) == 0
    assert (sys.stdout.errors, sys.stderr.errors) == before
