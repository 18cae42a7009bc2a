"""Psfs that vary over the image, and several frames: time of a product, steps, and quality beside one psf, one frame.

    python -m benchmarks.varying [product] [steps] [quality] [frames] [memory] [--side 2048] [--images FILE.npz]

The lens is out of focus, with a comet's tail, both growing from the centre to the corners; noise is 1 %, that of the
frames 2 %.  Without a file of images, which has a stack of them called `images`, quality is that of skimage's camera.
"""

from __future__ import annotations

import argparse
import resource
import time
import tracemalloc
from typing import Any

import numpy as np
from skimage import data

import fastdeblur as fd

from ._tables import number, table

TAPS, GRID, SIGMA = 31, 5, 0.01


def lens(taps: int = TAPS, grid: int = GRID, base: float = 0.8, grow: float = 3.5) -> np.ndarray:
    """Psfs of a lens on a grid: disks whose size and distance from the centre grow along a tail."""
    down, across = np.mgrid[: 4 * taps, : 4 * taps] / 4.0 - (taps - 0.25) / 2
    psfs = np.zeros((grid, grid, taps, taps))
    for a in range(grid):
        for c in range(grid):
            place = np.array([2 * a / (grid - 1) - 1, 2 * c / (grid - 1) - 1])
            size = base + grow * float(place @ place) / 2
            psf: Any = 0.0
            for part in np.linspace(0, 1, 8):
                row, col = place * part * size
                radius = size * (0.6 + 0.4 * part)
                soft = np.clip((radius - np.hypot(down - row, across - col)) * 2 + 0.5, 0, 1)
                psf = psf + soft / max(soft.sum(), 1e-9)
            psf = psf.reshape(taps, 4, taps, 4).sum(axis=(1, 3))
            psfs[a, c] = psf / psf.sum()
    return psfs


def photograph(side: int) -> np.ndarray:
    image = data.camera().astype(np.float64) / 255
    return np.tile(np.block([[image, image[:, ::-1]], [image[::-1], image[::-1, ::-1]]]), (side // 1024 + 1,) * 2)[
        :side, :side
    ]


def psnr(restored: np.ndarray, sharp: np.ndarray) -> float:
    return float(10 * np.log10(1 / np.mean((restored - sharp) ** 2)))


def least_seconds(work: Any, times: int = 3) -> float:
    """Least processor time."""
    work()
    spent = []
    for _ in range(times):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return min(spent)


def product(side: int) -> list[list[Any]]:
    x, rows = np.random.default_rng(0).random((side, side), np.float32), []
    for taps, grid in ((TAPS, GRID), (9, GRID), (63, 3)):
        psfs = lens(taps, grid).astype(np.float32)
        one = fd.Blur(psfs[0, 0], x.shape, boundary="reflect", path="fft", workers=1)
        field = fd.VaryingBlur(psfs, None, x.shape, boundary="reflect", workers=1)
        ratios = [
            least_seconds(lambda of=of: of(x)) / least_seconds(lambda than=than: than(x))
            for of, than in ((field.forward, one.forward), (field.adjoint, one.adjoint))
        ]
        memory = [number(each) for each in memory_of_product(psfs, x)]
        rows.append([f"{grid} x {grid} of {taps} x {taps}", field.path, *(number(ratio) for ratio in ratios), *memory])
    return rows


def memory_of_product(psfs: np.ndarray, x: np.ndarray) -> tuple[float, float]:
    """What an operator keeps, its spectra most of all, and what a product takes beside its result, in images."""
    tracemalloc.start()
    try:
        field = fd.VaryingBlur(psfs, None, x.shape, boundary="reflect")
        kept = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        field.forward(x)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return kept / x.nbytes, (most - kept) / x.nbytes - 1


def blurred(sharp: np.ndarray, psfs: np.ndarray, seed: int = 0) -> tuple[np.ndarray, fd.VaryingBlur]:
    """A noisy image of a lens, and the operator to restore it with."""
    image = fd.VaryingBlur(psfs, None, sharp.shape, boundary="reflect").forward(sharp)
    image += SIGMA * np.random.default_rng(seed).standard_normal(sharp.shape)
    return image.astype(np.float32), fd.VaryingBlur(psfs, None, sharp.shape, boundary="unknown", dtype=np.float32)


def steps(side: int) -> list[list[Any]]:
    image, field = blurred(photograph(side), lens())
    rows = []
    for name, options in {"gradient": {}, "tv": {"prior": "tv"}, "sparse": {"prior": "sparse"}}.items():
        began = time.process_time()
        result = fd.solve(image, field, **options)
        spent = time.process_time() - began
        rows.append([name, str(result.n_iter), result.stop_reason, f"{result.optimality:.1e}", number(spent)])
    return rows


def quality(images: np.ndarray) -> list[list[Any]]:
    """Mean PSNR: with the field, with the mean psf at its own and at the best weight, and the blurred image's."""
    rows = []
    for name, options in {"gradient": {"tol": 1e-3}, "tv": {"prior": "tv", "tol": 1e-3}}.items():
        scores = []
        for k, sharp in enumerate(images):
            image, field = blurred(sharp, lens(), k)
            result = fd.solve(image, field, **options)
            weights = [result.mu * factor for factor in (0.5, 1, 2, 4, 8)]
            near = [psnr(fd.deblur(image, field, mu=mu, **options), sharp) for mu in weights[:3]]
            means = [psnr(fd.deblur(image, field.psf, mu=mu, **options), sharp) for mu in weights]
            mean = psnr(fd.deblur(image, field.psf, **options), sharp)
            scores.append([psnr(image, sharp), psnr(result.image, sharp), max(near), mean, max(means)])
        rows.append([name, *(number(score) for score in np.mean(scores, axis=0))])
    return rows


def frames(images: np.ndarray) -> list[list[Any]]:
    """Mean PSNR of eight frames with different motions: all together, the best one, the mean of the restored."""
    psfs = [fd.psf.motion(length, angle) for length, angle in zip((7, 9, 11, 13) * 2, range(0, 180, 22), strict=False)]
    scores = []
    for k, sharp in enumerate(images):
        rng = np.random.default_rng(k)
        shots = [
            (fd.convolve(sharp, psf, boundary="reflect") + 0.02 * rng.standard_normal(sharp.shape)).astype(np.float32)
            for psf in psfs
        ]
        result = fd.solve(shots, psfs)
        best = max(
            psnr(fd.solve(shots, psfs, mu=result.mu * factor).image, sharp) for factor in (0.25, 0.5, 1.0, 2.0, 4.0)
        )
        alone = [fd.deblur(shot, psf) for shot, psf in zip(shots, psfs, strict=True)]
        single, mean = max(psnr(each, sharp) for each in alone), psnr(np.mean(alone, axis=0), sharp)
        scores.append([psnr(result.image, sharp), best, single, mean, result.n_iter])
    return [["eight motions", *(number(score) for score in np.mean(scores, axis=0))]]


def memory() -> list[list[Any]]:
    """What many frames of 1024 x 1024 take, made one after another: the process's peak, and seconds."""
    sharp, rows = photograph(1024).astype(np.float32), []
    for count in (8, 100):
        psfs = [fd.psf.motion(9, 180 * k / count) for k in range(count)]
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.process_time()
        result = fd.solve(
            (fd.convolve(sharp, psf, boundary="reflect") for psf in psfs), psfs, mu=1e-2, max_iter=5, tol=0
        )
        spent, after = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows.append([str(count), number(before), number(after), number(spent), str(result.n_iter)])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parts = ("product", "steps", "quality", "frames", "memory")
    parser.add_argument("parts", nargs="*", default=list(parts))
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--images")
    parser.add_argument("--most", type=int, default=6)
    arguments = parser.parse_args()
    images = photograph(512)[None]
    if arguments.images:
        images = np.load(arguments.images)["images"][: arguments.most] / 255.0
    for part, head, rows in (
        (
            "product",
            ["field", "path", "forward / Blur's by FFT", "adjoint", "operator, images", "product, images"],
            lambda: product(arguments.side),
        ),
        ("steps", ["prior", "steps", "stopped by", "optimality", "s of a processor"], lambda: steps(arguments.side)),
        ("quality", ["prior", "blurred", "field", "best mu", "mean psf", "best mu"], lambda: quality(images)),
        (
            "frames",
            ["frames", "together", "best mu", "best single", "mean of restored", "steps"],
            lambda: frames(images),
        ),
        ("memory", ["frames", "MB before", "MB at most", "s of a processor", "steps"], memory),
    ):
        if part in arguments.parts:
            print(f"\n{part}\n\n{chr(10).join(table(head, rows()))}", flush=True)


if __name__ == "__main__":
    main()
