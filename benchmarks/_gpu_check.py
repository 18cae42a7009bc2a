"""Whether the GPU computes what the CPU does, on fresh random input."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastdeblur as fd
from fastdeblur.kernels.cuda import device

from ._gpu_jobs import NOISE, TV_MU, paths
from ._jobs import MU, RATE

# What errors may be, relative to what is expected.
LIMIT = 1e-5
# Rule, data, rate and precision.  Adam divides by what may be next to nothing, and a rate of None depends on whether
# the objective rose: rounding decides there, so that only double precision can tell.
DESCENTS = (
    ("gd", "root", RATE, "float32"),
    ("gd", "squares", RATE, "float32"),
    ("gd", "squares", None, "float64"),
    ("momentum", "root", None, "float32"),
    ("nesterov", "squares", None, "float32"),
    ("adagrad", "root", None, "float32"),
    ("adam", "root", None, "float64"),
)


@dataclass(frozen=True)
class Cases:
    """What is compared: blurs and solutions with some boundaries, for some psfs."""

    psfs: Mapping[str, np.ndarray]
    shape: tuple[int, int]
    blurs: tuple[str, ...]
    solves: tuple[str, ...]
    descents: tuple[tuple[str, str, float | None, str], ...]
    steps: int
    # Of exact solutions: their precisions and most iterations.
    exact: tuple[str, ...]
    max_iter: int | None


def comparisons(cases: Cases, seed: int) -> Iterator[tuple[str, Callable[[], float]]]:
    """What is compared, and a function that says how far it is off."""
    random = np.random.default_rng(seed)
    for name, psf in cases.psfs.items():
        image, other = random.random(cases.shape), random.random(cases.shape)
        for boundary in cases.blurs:
            for path in paths(psf):
                for way in ("forward", "adjoint"):
                    label = f"{way}, {name}, {boundary}, {path}"
                    yield label, functools.partial(_blurred, way, psf, cases.shape, boundary, path, random)
        noisy = fd.convolve(image, psf, boundary="nearest") + NOISE * random.standard_normal(cases.shape)
        steps: dict[str, Any] = {"max_iter": cases.steps, "tol": 0}
        for boundary in cases.solves:
            compare = functools.partial(_solved, psf=psf, boundary=boundary)
            where = f"{name}, {boundary}"
            for rule, data, rate, dtype in cases.descents:
                options = {"solver": rule, "data": data, "mu": MU, "learning_rate": rate, "init": other, **steps}
                label = f"{cases.steps} steps of {rule} ({data}, rate {rate or 'auto'}, {dtype}), {where}"
                yield label, functools.partial(compare, image, dtype, **options)
            for dtype in cases.exact:
                options = {"solver": "exact", "mu": MU, "tol": 1e-6, "max_iter": cases.max_iter}
                yield f"exact ({dtype}), {where}", functools.partial(compare, noisy, dtype, **options)
            # Of tv the processor's steps are others where a boundary continues the image.
            prior = "tv" if boundary in ("unknown", "wrap") else "sparse"
            yield (
                f"{cases.steps} steps of {prior}, {where}",
                functools.partial(compare, noisy, "float32", prior=prior, mu=TV_MU, **steps),
            )


def _blurred(way: str, psf: np.ndarray, shape: tuple[int, int], boundary: str, path: str, random: Any) -> float:
    """The largest error of a pixel, relative to the brightest."""
    expected = fd.Blur(psf, shape, boundary=boundary, dtype="float64")
    blur = fd.Blur(psf, shape, boundary=boundary, dtype="float32", path=path, device="cuda")
    pixels = random.random(expected.estimate_shape if way == "forward" else shape)
    found = device.to_host(getattr(blur, way)(device.put(pixels.astype(np.float32))))
    reference = getattr(expected, way)(pixels)
    return float(np.abs(found - reference).max() / np.abs(reference).max())


def _solved(image: np.ndarray, dtype: str, *, psf: np.ndarray, **options: Any) -> float:
    """The error's norm, relative to the solution's."""
    expected = fd.solve(image, psf, **options).image
    found = device.to_host(fd.solve(device.put(image.astype(dtype)), psf, device="cuda", **options).image)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
