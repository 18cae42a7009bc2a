"""Psfs that vary over the image, and several frames: time of a product, steps, and quality beside one psf, one frame.

    python -m benchmarks.varying [product] [peers] [steps] [quality] [growth] [tiles] [frames] [memory] [--side 2048]
        [--images FILE.npz]

``--readme FILE ...`` measures nothing, and writes the tables that runs have printed to these files into the README
beside this file.

The lens is out of focus, with a comet's tail, both growing from the centre to the corners; noise is 1 %, that of the
frames 2 %.  Without a file of images, which has a stack of them called `images`, quality is that of the middles of
skimage's camera, astronaut and coffee.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import resource
import tempfile
import time
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import scipy.signal
import scipy.sparse.linalg
from skimage import data

import fastdeblur as fd

from ._tables import number, table

TAPS, GRID, SIGMA = 31, 5, 0.01
README = Path(__file__).parent / "README.md"
FIRST_MARK, LAST_MARK = "<!-- varying: written by python -m benchmarks.varying -->", "<!-- end of varying -->"
# The parts, and what stands above each one's table in the README.
PARTS = {
    "product": "Products, 2048 x 2048, one thread: seconds in those of one psf by FFT; memory in images.",
    "peers": "Beside brute force and PyLops: seconds; a smooth image to a thousandth of its objective.",
    "steps": "Solves, 2048 x 2048, 5 x 5 psfs of 31 x 31, boundary unknown, an optimality of 1e-4.",
    "quality": "Mean dB of three photographs that a lens blurred, with the field and with its mean psf.",
    "growth": "The same, 192 x 192, by how far the blur's radius grows, from 0.8 pixels in the middle to the corners.",
    "tiles": "Four tiles beside the whole, 320 x 320: differences and second differences in shares of the range.",
    "frames": "Mean dB of eight frames of each photograph, each moved along another line, with noise of 2 %.",
    "memory": "Frames of 1024 x 1024 from files: what the process takes before and at its peak.",
}


def lens(taps: int = TAPS, grid: int = GRID, base: float = 0.8, grow: float = 3.5, tail: float = 1.0) -> np.ndarray:
    """Psfs of a lens on a grid: disks whose size and distance from the centre grow along a tail."""
    down, across = np.mgrid[: 4 * taps, : 4 * taps] / 4.0 - (taps - 0.25) / 2
    psfs = np.zeros((grid, grid, taps, taps))
    for a in range(grid):
        for c in range(grid):
            place = np.array([2 * a / (grid - 1) - 1, 2 * c / (grid - 1) - 1])
            size = base + grow * float(place @ place) / 2
            psf: Any = 0.0
            for part in np.linspace(0, 1, 8):
                row, col = tail * place * part * size
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


def photographs(side: int = 256) -> np.ndarray:
    """The middles of three photographs of skimage's that fastdeblur was developed with."""
    found = []
    for image in (data.camera(), data.astronaut(), data.coffee()):
        gray = image / 255 if image.ndim == 2 else image @ [0.2125, 0.7154, 0.0721] / 255
        top, left = ((size - side) // 2 for size in gray.shape)
        found.append(gray[top : top + side, left : left + side])
    return np.array(found)


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


def peers(side: int) -> list[list[Any]]:
    """Seconds of a processor for forward and adjoint, and for a smooth image to about the same objective.

    Beside PyLops' operator, where it is installed, by scipy's conjugate gradients, and brute force: one blur for each
    psf, weighed.  PyLops weighs what psfs spread, not what they gather: its adjoint is the blur here.
    """
    psfs = lens().astype(np.float32)
    field = fd.VaryingBlur(psfs, None, (side, side), boundary="constant", workers=1)
    x = photograph(side).astype(np.float32)
    b = field.forward(x) + SIGMA * np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)
    ridge, rows = 0.01, []
    at = np.linspace(0, side - 1, GRID)

    def brute(image: np.ndarray, adjoint: bool = False) -> np.ndarray:
        down, across = (np.maximum(1 - abs(np.arange(side) - node) / (at[1] - at[0]), 0) for node in (at[:, None],) * 2)
        total = np.zeros_like(image)
        for a, c in itertools.product(range(GRID), repeat=2):
            weights = np.outer(down[a], across[c]).astype(np.float32)
            if adjoint:
                total += scipy.signal.fftconvolve(weights * image, psfs[a, c, ::-1, ::-1], mode="same")
            else:
                total += weights * scipy.signal.fftconvolve(image, psfs[a, c], mode="same")
        return total

    def solved(forward: Any, adjoint: Any) -> tuple[float, int]:
        """Until the objective is within a thousandth of the least."""
        best = fd.solve(b, field, data="squares", mu=ridge).objective
        steps: list[int] = []

        def objective(z: np.ndarray) -> float:
            differences = [np.diff(z, axis=axis) for axis in (0, 1)]
            rough = sum(float((each.astype(np.float64) ** 2).sum()) for each in differences)
            return 0.5 * float(((forward(z) - b).astype(np.float64) ** 2).sum()) + 0.5 * ridge * rough

        def normal(flat: np.ndarray) -> np.ndarray:
            z = flat.reshape(x.shape).astype(np.float32)
            out = adjoint(forward(z))
            for axis in (0, 1):
                out -= ridge * np.diff(np.diff(z, axis=axis), axis=axis, prepend=0, append=0)
            return out.ravel()

        class Done(Exception):
            pass

        def look(flat: np.ndarray) -> None:
            steps.append(1)
            if len(steps) % 10 == 0 and objective(flat.reshape(x.shape)) < 1.001 * best:
                raise Done

        operator = scipy.sparse.linalg.LinearOperator((x.size,) * 2, matvec=normal, dtype=np.float32)
        began = time.process_time()
        with contextlib.suppress(Done):
            scipy.sparse.linalg.cg(operator, adjoint(b).ravel(), x0=b.ravel(), rtol=0, maxiter=300, callback=look)
        return time.process_time() - began, len(steps)

    result = fd.solve(b, field, data="squares", mu=ridge)
    spent = least_seconds(lambda: fd.solve(b, field, data="squares", mu=ridge), 1)
    ours = [least_seconds(lambda: field.forward(x)), least_seconds(lambda: field.adjoint(b))]
    rows.append(["fastdeblur", *map(number, ours), "", number(spent), str(result.n_iter)])
    kept = fd.Deblurrer(field, x.shape, data="squares", mu=ridge)
    again = least_seconds(lambda: kept.solve(b), 1)
    rows.append(["fastdeblur, the second image of a Deblurrer", "", "", "", number(again), str(result.n_iter)])
    others: dict[str, tuple[Any, Any]] = {"brute force, scipy": (brute, lambda y: brute(y, adjoint=True))}
    try:
        from pylops.signalprocessing import NonStationaryConvolve2D

        places = tuple(np.rint(at).astype(int))
        operator = NonStationaryConvolve2D(
            (side, side), np.ascontiguousarray(psfs[:, :, ::-1, ::-1]), places, places, engine="numba", dtype="float32"
        )
        others["PyLops, numba"] = (
            lambda z: operator.rmatvec(z.ravel()).reshape(z.shape),
            lambda y: operator.matvec(y.ravel()).reshape(y.shape),
        )
    except ImportError:
        rows.append(["PyLops: not installed", "", "", "", "", ""])
    for name, (forward, adjoint) in others.items():
        seconds = [least_seconds(lambda f=forward: f(x), 1), least_seconds(lambda f=adjoint: f(b), 1)]
        off = abs(forward(x) - field.forward(x)).max()
        rows.append([name, *map(number, seconds), f"{off:.0e}", *map(number, solved(forward, adjoint))])
    return rows


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


def growth(images: np.ndarray) -> list[list[Any]]:
    """By how much the field is better than its mean psf, as the blur grows: mean dB, and the least gain of an image.

    The mean psf is taken at the best of three weights and at its own; the field at the weight that its regions give,
    and at the one that its mean psf gives.
    """
    rows = []
    kinds = {"gradient": {"data": "squares"}, "tv": {"prior": "tv"}}
    for tail, grow in itertools.product((1.0, 0.0), (0.5, 1.0, 2.0, 4.0)):
        for name, options in kinds.items():
            scores, options = [], options | {"tol": 1e-3}
            for k, sharp in enumerate(images):
                image, field = blurred(sharp, lens(grow=grow, tail=tail), k)
                result = fd.solve(image, field, **options)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    alone = fd.solve(image, field.psf, **options)
                    others = [result.mu * factor for factor in (1, 2, 4)]
                    best = max(psnr(fd.deblur(image, field.psf, mu=mu, **options), sharp) for mu in others)
                    by_mean = fd.deblur(image, field, mu=alone.mu, **options)
                scores.append([psnr(each, sharp) for each in (image, result.image, by_mean, alone.image)] + [best])
            of_all = np.array(scores)
            gains = (of_all[:, 1:2] - of_all[:, [4, 3]]).min(axis=0)
            rows.append(
                [number(grow), "yes" if tail else "no", name, *map(number, of_all.mean(axis=0)), *map(number, gains)]
            )
    return rows


def tiles(side: int) -> list[list[Any]]:
    """A photograph in four tiles beside the whole: differences in shares of the range, and second differences."""
    sharp, tile, rows = photograph(512)[:side, :side], side // 2, []
    image, field = blurred(sharp, lens())
    counts = (1e4 * image.clip(0)).astype(np.float32)
    for name, of, options in (
        ("squares, gradient", image, {"data": "squares"}),
        ("squares, tv, tol 1e-4", image, {"prior": "tv", "max_iter": 2000}),
        ("squares, tv, tol 1e-5", image, {"prior": "tv", "tol": 1e-5, "max_iter": 2000}),
        ("poisson", counts, {"data": "poisson", "prior": None}),
    ):
        whole = fd.solve(of, field, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given = options if options.get("prior", "") is None else options | {"mu": whole.mu}
            restored = fd.deblur_large(of, field, tile=tile, **given)
        off = abs(restored - whole.image) / np.ptp(whole.image)
        lines = [abs(np.diff(np.moveaxis(restored, axis, 0), 2, axis=0)) / np.ptp(restored) for axis in (0, 1)]
        seams = max(each[tile - 2 : tile].max() for each in lines)
        elsewhere = max(np.delete(each[8:-8], np.arange(tile - 10, tile - 8), axis=0).max() for each in lines)
        rows.append(
            [name, f"{off.max():.0e}", f"{np.quantile(off, 0.999):.0e}", number(seams), number(elsewhere), whole.n_iter]
        )
    return [[*map(str, row)] for row in rows]


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
        best = max(psnr(fd.solve(shots, psfs, mu=result.mu * factor).image, sharp) for factor in (0.5, 1.0, 2.0))
        alone = [fd.deblur(shot, psf) for shot, psf in zip(shots, psfs, strict=True)]
        single, mean = max(psnr(each, sharp) for each in alone), psnr(np.mean(alone, axis=0), sharp)
        of_mean = psnr(fd.deblur(np.mean(shots, axis=0), mean_of(psfs)), sharp)
        together = psnr(result.image, sharp)
        scores.append([together, together - single, best, single, mean, of_mean, result.n_iter])
    of_all = np.array(scores)
    means, least = of_all.mean(axis=0), of_all[:, 1].min()
    return [["eight motions", number(means[0]), number(least), *(number(score) for score in means[2:])]]


def mean_of(psfs: list[np.ndarray]) -> np.ndarray:
    """The mean of psfs of several shapes."""
    sides = [max(psf.shape[axis] for psf in psfs) for axis in (0, 1)]
    total = np.zeros(sides)
    for psf in psfs:
        top, left = (side // 2 - size // 2 for side, size in zip(sides, psf.shape, strict=True))
        total[top : top + psf.shape[0], left : left + psf.shape[1]] += psf
    return total / len(psfs)


def memory() -> list[list[Any]]:
    """What many frames of 1024 x 1024 take, read from files one after another: the process's peak, and seconds."""
    sharp, rows = photograph(1024).astype(np.float32), []
    with tempfile.TemporaryDirectory() as folder:
        for count in (8, 16, 100):
            psfs = [fd.psf.motion(9, 180 * k / count) for k in range(count)]
            paths = [Path(folder, f"{k}.npy") for k in range(count)]
            for path, psf in zip(paths, psfs, strict=True):
                np.save(path, fd.convolve(sharp, psf, boundary="reflect"))
            before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.process_time()
            result = fd.solve(paths, psfs, mu=1e-2, max_iter=5, tol=0)
            spent, after = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            rows.append([str(count), number(before), number(after), number(spent), str(result.n_iter)])
    return rows


def write(files: list[str], readme: Path = README) -> None:
    """Put printed tables between the README's two marks, in the order of PARTS; the last one of each part counts."""
    found: dict[str, str] = {}
    for file in files:
        blocks = Path(file).read_text(encoding="utf-8").split("\n\n")
        for name, body in itertools.pairwise(block.strip() for block in blocks):
            if name in PARTS:
                found[name] = body
    text = readme.read_text(encoding="utf-8")
    before, mark, rest = text.partition(FIRST_MARK)
    _, last, after = rest.partition(LAST_MARK)
    if not (mark and last):
        raise ValueError(f"{readme} has no {FIRST_MARK} ... {LAST_MARK}")
    lines = [f"{PARTS[name]}\n\n{found[name]}\n" for name in PARTS if name in found]
    readme.write_text("\n".join([before + mark, "", *lines, last + after]), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--readme", nargs="+", metavar="FILE")
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--images")
    parser.add_argument("--most", type=int, default=6)
    arguments = parser.parse_args()
    if arguments.readme:
        write(arguments.readme)
        return
    images = photographs()
    if arguments.images:
        images = np.load(arguments.images)["images"][: arguments.most] / 255.0
    for part, head, rows in (
        (
            "product",
            ["field", "path", "forward / Blur's by FFT", "adjoint", "operator, images", "product, images"],
            lambda: product(arguments.side),
        ),
        (
            "peers",
            ["257 x 257, 5 x 5 of 31 x 31", "forward, s", "adjoint, s", "difference", "smooth image, s", "steps"],
            lambda: peers(257),
        ),
        ("steps", ["prior", "steps", "stopped by", "optimality", "s of a processor"], lambda: steps(arguments.side)),
        ("quality", ["prior", "blurred", "field", "best mu", "mean psf", "best mu"], lambda: quality(images)),
        (
            "growth",
            [
                "radius grows by",
                "tail",
                "prior",
                "blurred",
                "field",
                "mu by mean psf",
                "mean psf",
                "best mu",
                "gain",
                "own mu",
            ],
            lambda: growth(photographs(192) if not arguments.images else images),
        ),
        (
            "tiles",
            ["data, prior", "largest difference", "999 of 1000", "seams", "elsewhere", "steps of the whole"],
            lambda: tiles(320),
        ),
        (
            "frames",
            [
                "frames",
                "together",
                "least gain",
                "best mu",
                "best single",
                "mean of restored",
                "restored mean",
                "steps",
            ],
            lambda: frames(images),
        ),
        ("memory", ["frames", "MB before", "MB at most", "s of a processor", "steps"], memory),
    ):
        if part in arguments.parts:
            print(f"\n{part}\n\n{chr(10).join(table(head, rows()))}", flush=True)


if __name__ == "__main__":
    main()
