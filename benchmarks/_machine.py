"""The machine that figures are of: its processor, its threads, and the libraries."""

import functools
import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
import numpy as np

# As they are called, and by which distributions they come.
LIBRARIES = {
    "fastdeblur": ("fastdeblur",),
    "Numba": ("numba",),
    "NumPy": ("numpy",),
    "SciPy": ("scipy",),
    "scikit-image": ("scikit-image",),
    "OpenCV": ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"),
    "PyTorch": ("torch",),
    "TensorFlow": ("tensorflow-cpu", "tensorflow"),
    "JAX": ("jax",),
}


def machine() -> dict[str, Any]:
    """Nothing in it names the machine itself."""
    return {
        "processor": processor(),
        "threads": numba.get_num_threads(),
        "threading layer": numba.threading_layer(),
        "threads of the matrix product": product_threads(),
        "BLAS": blas(),
        "Python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := version(name))},
    }


def described(found: dict[str, Any]) -> list[str]:
    """What `machine` found, for people."""
    versions = [f"{name} {version}" for name, version in found["libraries"].items()]
    return [
        found["processor"],
        f"{found['threads']} threads ({found['threading layer']}), matrix product "
        f"{found['threads of the matrix product']} ({found['BLAS']})",
        ", ".join([*versions, f"Python {found['Python']}"]),
    ]


def processor() -> str:
    """What the system calls the processor, and what Numba compiles for."""
    name = platform.processor() or platform.machine()
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        models = [line.partition(":")[2].strip() for line in listing.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return f"{name} ({numba.config.CPU_NAME or llvmlite.binding.get_host_cpu_name()})"


def product_threads() -> str:
    """Threads of the matrix product."""
    return _of_product("num_threads")


def blas() -> str:
    """The library of the matrix product, and for which processors its kernel is."""
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{built['name']} {built['version']}, {_of_product('architecture')}"


def _of_product(key: str) -> str:
    """What threadpoolctl knows of the matrix product, if it is there to ask."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "unknown"
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas" and "numpy" in pool["filepath"]]
    return str(max((pool[key] for pool in pools if key in pool), default="unknown"))


@functools.cache
def version(name: str) -> str | None:
    """Of a library, None if it is not installed."""
    for distribution in LIBRARIES[name]:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
