"""A module imports only from lines below its own in this list; and an import stays light."""

import ast
import os
from pathlib import Path

from preloaded import fresh

import fastdeblur
from fastdeblur import cache

LAYERS = [
    "__main__", "cli", "deblurring", "tilewise", "channels",
    "plots", "specs", "uncertainty", "__init__", "large", "files",
    "tiffs", "tiff_writing", "tiff_axes",
    "tiff_layout", "tiff_exif", "fits", "fits_files", "zarrs", "pictures", "npys", "zarr_writing", "zarr_layout",
    "zarr_codecs", "expansion", "chunked", "jpegs", "pngs", "exifs", "profiles", "sources", "metadata",
    "axes", "missing",
    "pixels", "whole", "notebook", "api", "lucy", "deblurrer", "annotated", "restore", "verdict", "cuda_tools",
    "tools", "units", "placement", "solvers", "weight", "spectrum", "result", "splits", "domain", "frames",
    "weights",
    "options", "multigrid", "preconditioner", "ends", "cosine", "sweeps", "blur", "norms", "direction", "buffers",
    "tiling", "filters", "psf", "hygiene", "transfer", "checks", "cuda", "objective", "costs",
    "lowrank", "boundary", "arrays", "memory",
    "kernels", "runtime", "sharing", "threads", "forks", "cache", "privates", "locks",
]  # fmt: skip
PACKAGE = Path(fastdeblur.__file__).parent


def imported(path):
    """Modules of the package that a file imports, by their first name below the package."""
    package = ["fastdeblur", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{prefix}.{alias.name}" for alias in node.names] if prefix == "fastdeblur" else [prefix]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "fastdeblur":
                yield parts[1] if len(parts) > 1 else "__init__"


def test_data_flows_one_way():
    checked = 0
    for path in PACKAGE.rglob("*.py"):
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for other in imported(path):
            if other not in LAYERS:  # a name, such as __version__, of the package itself
                other = "__init__"
            checked += 1
            if own != other:
                assert LAYERS.index(own) < LAYERS.index(other), f"{path.name} imports {other}"
    assert checked > 30


def test_the_cache_knows_all_compiled_sources():
    """An edit anywhere else compiles nothing anew; one that it overlooked would run stale code."""
    kept = {path for pattern in cache.COMPILED for path in PACKAGE.glob(pattern)}
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        decorated = [ast.unparse(each) for node in ast.walk(tree) for each in getattr(node, "decorator_list", [])]
        if any(name == "jit" or name.startswith(("task(", "intrinsic")) for name in decorated):
            assert path in kept or path.parent.name == "cuda", path
    for path in kept:
        for other in imported(path):
            folder = PACKAGE / other
            assert (folder if folder.is_dir() else folder.with_suffix(".py")) in kept | {PACKAGE / "kernels"}, path


def test_no_file_needs_scrolling():
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 600, path


def test_import_is_light(tmp_path):
    done = fresh(
        "import sys, fastdeblur\n"
        "heavy = {'matplotlib', 'skimage', 'dask', 'torch', 'tqdm', 'cupy', 'pywt', 'PIL', 'tifffile', 'zarr'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert not any(name.startswith(('numba.cuda.cudadrv', 'fastdeblur.cuda')) for name in sys.modules)\n",
        cwd=tmp_path,
        environment=os.environ,
    )
    assert done.returncode == 0, done.stderr


def test_public_names():
    for name in fastdeblur.__all__:
        assert getattr(fastdeblur, name).__doc__, name
