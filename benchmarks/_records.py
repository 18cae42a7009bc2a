"""Deblurring by the protocol of published tables: measured psfs, periodic blur, Gaussian noise."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fastdeblur as fd

from . import _levin

CUT = 30
# Standard deviations of the noise, of 255.
NOISE = (2.55, 7.65)
SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".pgm", ".jpg")
PUBLISHED_AS = ("EPLL", "CSF", "IDD-BM3D", "FCNN", "IRCNN", "FDN", "VEM")
# By set and noise.
PUBLISHED = {
    ("Levin's 4 images x 8 psfs", 2.55): (32.03, 29.85, 33.75, 33.10, 32.66, 33.65, 34.31),
    ("Levin's 4 images x 8 psfs", 7.65): (28.31, 27.28, 29.26, 29.50, 29.15, 29.79, 30.50),
    ("Set12 x 8 psfs", 2.55): (27.61, 29.37, 31.43, 30.68, 30.53, 31.43, 31.93),
    ("Set12 x 8 psfs", 7.65): (25.24, 26.41, 27.56, 27.40, 27.09, 27.89, 28.47),
}
SOURCE = (
    "published: the table of Y. Nan, Y. Quan and H. Ji, Variational-EM-based deep learning for noise-blind image "
    "deblurring, CVPR 2020, where each method's own reference is"
)
LAYOUT = f"""\
--records: FOLDER has sharp images ({", ".join(SUFFIXES)}; colours become gray), and --kernels names a file of 8
psfs, as described above; without it, kernels.mat, .npz or .npy in FOLDER.  Each image is blurred by each psf, divided
by its sum, periodically; Gaussian noise of {" and ".join(map(str, NOISE))} (of 255) is added to what is not rounded,
from NumPy's default_rng(number of the psf, from 1), the same for all images of a size.  PSNR is of 8 bits: both
images clipped and rounded, with {CUT} pixels cut off on each side.
"""


def _deblurred(image: np.ndarray, psf: np.ndarray, prior: str, boundary: str) -> np.ndarray:
    with warnings.catch_warnings():  # psfs are taken as they are published, not centred
        warnings.simplefilter("ignore")
        return fd.deblur(image, psf, prior=prior, boundary=boundary)


# fastdeblur gets no parameter, but for what lies beyond the frame: nobody knows ("unknown"), or the truth ("wrap").
METHODS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    f"{prior}, {boundary}": functools.partial(_deblurred, prior=prior, boundary=boundary)
    for prior in ("tv", "sparse", "learned")
    for boundary in ("unknown", "wrap")
}


# Of the chart's seconds.
TICKS = [digit * 10.0**power for power in range(-3, 4) for digit in (1, 1.5, 2, 3, 5, 7)]


class Record(NamedTuple):
    noise: float
    image: str
    psf: int
    method: str
    psnr: float
    seconds: float


def images(folder: Path) -> dict[str, np.ndarray]:
    """The sharp images of a folder, gray, of 0 to 255."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise FileNotFoundError(f"{folder} has no images: none of {', '.join(SUFFIXES)}")
    sharp = {path.name: 255 * _levin.read_gray(path) for path in found}
    for name, image in sharp.items():
        if min(image.shape) <= 2 * CUT:
            raise ValueError(
                f"{folder / name} must be larger than what is cut off, {2 * CUT} pixels; it is of {image.shape}"
            )
    return sharp


def degraded(sharp: np.ndarray, psf: np.ndarray, number: int, noise: float) -> np.ndarray:
    """The sharp image blurred by a psf of sum 1, periodically, with noise of that number's seed; not rounded."""
    blurred = fd.convolve(sharp, psf, boundary="wrap")
    return blurred + noise * np.random.default_rng(number).standard_normal(sharp.shape)


def eight_bits(image: np.ndarray) -> np.ndarray:
    return np.round(np.clip(image, 0, 255))


def psnr(sharp: np.ndarray, restored: np.ndarray) -> float:
    """In dB, of images of 0 to 255."""
    inner = (slice(CUT, -CUT), slice(CUT, -CUT))
    error = np.mean((eight_bits(sharp) - eight_bits(restored))[inner] ** 2)
    return float(20 * np.log10(255 / np.sqrt(error)))


def available() -> list[str]:
    """Our methods, those whose prior this version has."""
    from fastdeblur.problem.options import PRIORS

    return [method for method in METHODS if method.partition(",")[0] in PRIORS]


def judged(folder: Path, kernels: Path | None, methods: list[str], levels: tuple[float, ...] = NOISE) -> list[Record]:
    """All images of the folder × 8 psfs × levels of noise."""
    from tqdm import tqdm

    sharp = images(folder)
    psfs = [fd.psf.normalise(each) for each in _levin.read_kernels(kernels or _levin.found_in(folder))]
    first = next(iter(sharp.values()))
    for method in methods:  # compile before the clock runs
        METHODS[method](np.float32(first / 255), np.float32(psfs[0]))
    records: list[Record] = []
    cases = [(level, name, number) for level in levels for name in sharp for number in range(1, len(psfs) + 1)]
    for level, name, number in tqdm(cases, disable=None):
        image = degraded(sharp[name], psfs[number - 1], number, level)
        for method in methods:
            began = time.perf_counter()
            restored = METHODS[method](np.float32(image / 255), np.float32(psfs[number - 1]))
            seconds = time.perf_counter() - began
            records.append(Record(level, name, number, method, psnr(sharp[name], 255.0 * restored), seconds))
    return records


def means(records: list[Record]) -> dict[tuple[float, str], tuple[float, float]]:
    """PSNR and seconds an image, by noise and method."""
    found = {}
    for noise, method in dict.fromkeys((record.noise, record.method) for record in records):
        of = [record for record in records if (record.noise, record.method) == (noise, method)]
        found[noise, method] = (float(np.mean([r.psnr for r in of])), float(np.mean([r.seconds for r in of])))
    return found


def table(folder: Path, records: list[Record]) -> str:
    """Ours, by method and noise, then what is published."""
    found = means(records)
    levels = list(dict.fromkeys(noise for noise, _ in found))
    methods = list(dict.fromkeys(method for _, method in found))
    count = len({(record.image, record.psf) for record in records})
    width = max(map(len, methods)) + 2
    lines = [
        f"{folder}, {count} images and psfs: mean PSNR in dB by noise, of 255",
        f"{'':{width}}" + "".join(f"{level:>10g}" for level in levels) + "   seconds an image",
    ]
    for method in methods:
        values = "".join(f"{found[level, method][0]:10.2f}" for level in levels)
        seconds = np.mean([found[level, method][1] for level in levels])
        lines.append(f"{method:{width}}{values}{seconds:10.2f}")
    lines += ["", "Published".ljust(36) + "".join(f"{name:>10}" for name in PUBLISHED_AS)]
    lines += [
        f"{f'{name}, {noise:g}':36}" + "".join(f"{value:10.2f}" for value in values)
        for (name, noise), values in PUBLISHED.items()
    ]
    return "\n".join([*lines, SOURCE, ""])


def chart(records: list[Record], path: Path) -> None:
    """PSNR against seconds, one panel a level of noise."""
    import matplotlib as mpl

    from . import _charts

    mpl.use("agg")
    found = means(records)
    levels = list(dict.fromkeys(noise for noise, _ in found))
    with mpl.rc_context(_charts.LOOK):
        from matplotlib.figure import Figure
        from matplotlib.ticker import FixedLocator, NullLocator

        figure = Figure(figsize=(5.2 * len(levels), 4.2), layout="constrained")
        panels = figure.subplots(1, len(levels), squeeze=False)[0]
        for axes, level in zip(panels, levels, strict=True):
            of_level = {method: values for (noise, method), values in found.items() if noise == level}
            for method, (decibels, seconds) in of_level.items():
                prior, _, boundary = method.partition(", ")
                colour = _charts.METHOD_STYLES.get(prior, ("#8e44ad",))[0]
                filled = colour if boundary == "wrap" else "white"
                axes.scatter([seconds], [decibels], s=50, color=filled, edgecolor=colour, linewidth=1.8, label=method)
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(FixedLocator(TICKS))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_title(f"noise {level:g} of 255")
            axes.set_xlabel("seconds an image")
        panels[0].set_ylabel("mean PSNR in dB")
        panels[-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
        figure.savefig(path, metadata={"Software": None})
