"""Rooms import only rooms below their own; and an import stays light."""

import ast
import functools
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from preloaded import fresh

import fastdeblur
import fastdeblur as fd
from fastdeblur.kernels.runtime import cache

# Packages, and modules beside them; each imports only what comes after it.
ROOMS = [
    "__main__", "cli", "__init__", "large", "estimates", "notebook", "psf", "api", "io", "deblurrer",
    "engines", "solvers", "problem", "hygiene", "operators", "transfer", "validation", "kernels.cuda", "kernels.cpu",
    "kernels.runtime", "result",
]  # fmt: skip
# Formats know nothing of what is done with the pixels.
FORMATS = {"io", "transfer", "validation"}
PACKAGE = Path(fastdeblur.__file__).parent


def name_of(path):
    """A file's module, below the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


@functools.cache
def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imported(path):
    """Modules of the package that a file imports, by their names below the package."""
    return list(_imported(path))


def _imported(path):
    package = ["fastdeblur", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{prefix}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package_name, _, below = name.partition(".")
            if package_name == "fastdeblur":
                while below and below not in MODULES:  # a name in a module
                    below = below.rpartition(".")[0]
                yield below or "__init__"


def room_index(module):
    parts = module.split(".")
    return ROOMS.index(".".join(parts[:2]) if parts[0] == "kernels" and len(parts) > 1 else parts[0])


def test_rooms_import_only_rooms_below():
    checked = 0
    for module, path in MODULES.items():
        for other in imported(path):
            checked += 1
            if module.split(".")[0] == "io":
                assert other.split(".")[0] in FORMATS, f"{module} imports {other}"
            if module not in ("kernels",) and room_index(module) != room_index(other):
                assert room_index(module) < room_index(other), f"{module} imports {other}"
    assert checked > 300


def test_no_imports_in_circles():
    following = {module: set(imported(path)) - {"__init__"} for module, path in MODULES.items()}
    while following:
        ends = {module for module, others in following.items() if not others & set(following) - {module}}
        assert ends, f"circles among {sorted(following)}"
        following = {module: others for module, others in following.items() if module not in ends}


def test_rooms_are_few():
    packages = {module.split(".")[0] for module in MODULES if "." in module}
    assert len(packages) <= 9
    assert len({module for module in MODULES if "." not in module} - packages) <= 8 + 2  # and __init__, __main__
    for module, path in MODULES.items():
        if path.name == "__init__.py":  # says what it holds
            assert ast.get_docstring(tree_of(path)), module


@pytest.mark.parametrize(
    "options",
    [{}, {"prior": "tv"}, {"solver": "gd", "mu": 0.1}, {"prior": "learned"}, {"device": "cuda", "max_iter": 2}],
    ids=str,
)
def test_an_image_enters_few_rooms_and_hardly_ever_goes_back_up(options):
    side = 8 if "device" in options else 24  # a simulator takes its time
    image, psf = np.random.default_rng(0).random((side, side)), fd.psf.gaussian(5, 1)
    fd.deblur(image, psf, **options)
    calls = set()

    def note(frame, event, _):
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(str(PACKAGE)):
            caller = frame.f_back
            while caller is not None and not caller.f_code.co_filename.startswith(str(PACKAGE)):
                caller = caller.f_back
            if caller is not None:
                calls.add((name_of(Path(caller.f_code.co_filename)), name_of(Path(name))))

    sys.setprofile(note)
    try:
        fd.deblur(image, psf, **options)
    finally:
        sys.setprofile(None)
    assert len({room_index(module) for pair in calls for module in pair}) <= 12
    assert len([pair for pair in calls if room_index(pair[0]) > room_index(pair[1])]) <= 2


def test_the_cache_knows_all_compiled_sources():
    """An edit anywhere else compiles nothing anew; one that it overlooked would run stale code."""
    kept = {path for pattern in cache.COMPILED for path in PACKAGE.glob(pattern)}
    for path in PACKAGE.rglob("*.py"):
        nodes = ast.walk(tree_of(path))
        decorated = [ast.unparse(each) for node in nodes for each in getattr(node, "decorator_list", [])]
        if any(name == "jit" or name.startswith(("task(", "intrinsic")) for name in decorated):
            assert path in kept or path.parent.name == "cuda", path
    for path in kept:
        for other in imported(path):
            assert MODULES[other] in kept, path


def test_no_file_needs_scrolling():
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 600, path


def test_import_is_light(tmp_path):
    done = fresh(
        "import sys, fastdeblur\n"
        "heavy = {'matplotlib', 'skimage', 'dask', 'torch', 'tqdm', 'cupy', 'pywt', 'PIL', 'tifffile', 'zarr'}\n"
        "heavy.add('onnxruntime')\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert not any(name.startswith(('numba.cuda.cudadrv', 'fastdeblur.cuda')) for name in sys.modules)\n",
        cwd=tmp_path,
        environment=os.environ,
    )
    assert done.returncode == 0, done.stderr


def test_public_names():
    for name in fastdeblur.__all__:
        assert getattr(fastdeblur, name).__doc__, name
