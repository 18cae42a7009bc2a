"""How well `fastdeblur.psf.fit` finds the psf of blurred photographs: family by noise, size and JPEG.

``python -m benchmarks.psf_fit`` measures on photographs that nothing was chosen on, ``--development`` on those that the
search and its constants were chosen on, ``--images FILE.npz`` on gray images of 8 bits in an array "images" of a file,
of every other one: widths were learned from the others.  ``--reduced 2`` makes photographs smaller first: sharper.
``--quick`` takes two photographs and a psf of each family.  ``--picture`` draws a true and a fitted psf for README.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import signal

import fastdeblur as fd

DEVELOPMENT = ("astronaut", "camera", "coffee", "moon", "coins", "rocket")
OTHERS = ("chelsea", "gravel", "immunohistochemistry", "hubble_deep_field", "cat", "retina")
# More than any psf's reach.
MARGIN = 60
ANGLES = (0.0, 30.0, 77.0)
NOISES = (0.003, 0.01, 0.03)
# Whether stored as JPEG of quality 95.
KINDS = {"white": False, "jpeg": True}


@dataclass(frozen=True)
class Blur:
    """A psf, its family and parameters, and how far from them an estimate may be.

    Attributes
    ----------
    bars : dict
        Shares of the parameter where it is below 1, else pixels or degrees.
    """

    family: str
    psf: np.ndarray
    truth: dict[str, float]
    bars: dict[str, float]


def blurs(quick: bool = False) -> list[Blur]:
    """Psfs of all families; of few, one of each."""
    every = [Blur("gaussian", fd.psf.gaussian(2 * 5 * s + 1, s), {"sigma": s}, {"sigma": 0.06 * s}) for s in (1, 2, 3)]
    every += [Blur("disk", fd.psf.disk(r), {"radius": r}, {"radius": 0.3}) for r in (3, 5, 8)]
    every += [
        Blur("motion", fd.psf.motion(n, angle), {"length": n, "angle": angle}, {"length": 1, "angle": 3})
        for n in (9, 15, 25)
        for angle in ANGLES
    ]
    every += [
        Blur("moffat", fd.psf.moffat(61, w, b), {"fwhm": w, "beta": b}, {"fwhm": 0.06 * w})
        for w, b in ((3, 3), (5, 2.5))
    ]
    return [every[1], every[4], every[10], every[16]] if quick else every


def photographs(names: tuple[str, ...]) -> Iterator[tuple[str, np.ndarray]]:
    from skimage import color, data

    for name in names:
        image = getattr(data, name)()
        yield name, color.rgb2gray(image) if image.ndim == 3 else image / 255


def sized(image: np.ndarray, side: int) -> np.ndarray:
    """The middle of an image and a margin: of a smaller one the whole, reflected around."""
    side += 2 * MARGIN
    margins = [(max(side - size, 0) // 2, (max(side - size, 0) + 1) // 2) for size in image.shape]
    image = np.pad(image, margins, "symmetric")
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def smaller(image: np.ndarray, times: int) -> np.ndarray:
    """Means of squares of so many pixels a side."""
    rows, cols = (size // times for size in image.shape)
    return np.asarray(image[: rows * times, : cols * times].reshape(rows, times, cols, times).mean(axis=(1, 3)))


def degraded(image: np.ndarray, psf: np.ndarray, noise: float, jpeg: bool, seed: int = 0) -> np.ndarray:
    """A blurred image with noise, perhaps stored as JPEG; what lies outside is blurred into it."""
    blurred = signal.fftconvolve(image, psf, "same")[MARGIN:-MARGIN, MARGIN:-MARGIN]
    blurred = blurred + noise * np.random.default_rng(seed).standard_normal(blurred.shape)
    if jpeg:
        import imageio.v3 as imageio

        stored = io.BytesIO()
        imageio.imwrite(stored, np.rint(255 * blurred.clip(0, 1)).astype(np.uint8), extension=".jpg", quality=95)
        blurred = imageio.imread(stored, extension=".jpg") / 255
    return np.asarray(blurred)


def deviations(found: fd.psf.PsfFit, blur: Blur) -> dict[str, float]:
    """By how much parameters that have a bar are off; an angle's the shorter way."""
    off = {}
    for name in blur.bars:
        value = found.parameters.get(name, np.nan) - blur.truth[name]
        off[name] = (value + 90) % 180 - 90 if name == "angle" else value
    return off


def measure(
    images: list[tuple[str, np.ndarray]],
    sides: tuple[int, ...],
    every: list[Blur],
    noises: list[tuple[float, bool]],
    verbose: bool,
) -> None:
    """Print the table of estimates within a family."""
    print("| family | side | noise | cases | within the bar | median error / bar | truth within 2 errors | CPU s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    totals: dict[str, list[Any]] = {}
    for family in dict.fromkeys(blur.family for blur in every):
        for side in sides:
            for noise, jpeg in noises:
                rows = []
                for name, image in images:
                    sharp = sized(image, side)
                    for blur in (each for each in every if each.family == family):
                        blurred = degraded(sharp, blur.psf, noise, jpeg)
                        began = time.process_time()
                        found = fd.psf.fit(blurred, family)
                        seconds = time.process_time() - began
                        off = deviations(found, blur)
                        wide = 10 / 6 if noise >= 0.03 and family == "gaussian" else 1
                        ratio = max(abs(off[each]) / (wide * blur.bars[each]) for each in off)
                        honest = all(abs(off[each]) <= 2 * found.errors[each] for each in off)
                        rows.append((ratio, honest, seconds))
                        if verbose:
                            truth = ", ".join(f"{key} {value:g}" for key, value in blur.truth.items())
                            print(f"    {name}: {truth} -> {found} {'' if ratio <= 1 else 'MISS'}", flush=True)
                ratios, honest, seconds = zip(*rows, strict=True)
                totals.setdefault(family, []).extend(rows)
                _row(family, side, f"{100 * noise:g} %{' JPEG' if jpeg else ''}", ratios, honest, seconds)
    for family, rows in totals.items():
        _row(family, "all", "all", *zip(*rows, strict=True))


def _row(family: str, side: Any, noise: str, ratios: Any, honest: Any, seconds: Any) -> None:
    print(
        f"| {family} | {side} | {noise} | {len(ratios)} | {100 * np.mean(np.array(ratios) <= 1):.0f} % | "
        f"{np.median(ratios):.2f} | {100 * np.mean(honest):.0f} % | {np.mean(seconds):.2f} |",
        flush=True,
    )


def families(images: list[tuple[str, np.ndarray]], side: int, noises: list[float], quick: bool) -> None:
    """Print how often the right family is the likeliest of all, and what a wrong psf costs."""
    print(
        "\n| psf | noise | right family | taken instead | loss in dB, mean, worst | CPU s |\n"
        "| --- | ---: | ---: | --- | ---: | ---: |"
    )
    rights, costs = [], []
    for blur in blurs(True):
        for noise in noises:
            right, losses, taken, seconds = [], [], [], []
            for _, image in images:
                sharp = sized(image, side)
                blurred = degraded(sharp, blur.psf, noise, False)
                began = time.process_time()
                found = fd.psf.fit(blurred, "all")
                seconds.append(time.process_time() - began)
                right.append(found.family == blur.family)
                taken += [found.family] if found.family != blur.family else []
                if not quick:
                    losses.append(_loss(sharp[MARGIN:-MARGIN, MARGIN:-MARGIN], blurred, blur.psf, found.psf))
            rights += right
            costs += losses
            cost = f"{np.mean(losses):.2f}, {np.max(losses):.2f}" if losses else ""
            print(
                f"| {blur.family} {' '.join(f'{value:g}' for value in blur.truth.values())} | {100 * noise:g} % | "
                f"{sum(right)} of {len(right)} | {' '.join(taken)} | {cost} | {np.mean(seconds):.1f} |",
                flush=True,
            )

    print(f"\nright family: {sum(rights)} of {len(rights)}")
    if costs:
        nine = np.quantile(costs, 0.9)
        print(f"loss in dB: mean {np.mean(costs):.2f}, nine of ten up to {nine:.2f}, worst {np.max(costs):.2f}")


def _loss(sharp: np.ndarray, blurred: np.ndarray, true: np.ndarray, estimated: np.ndarray) -> float:
    """How many dB the estimated psf loses to the true one with the sparse prior."""
    inner = (slice(40, -40), slice(40, -40))
    errors = [
        np.mean((fd.deblur(blurred.astype(np.float32), psf, prior="sparse")[inner] - sharp[inner]) ** 2)
        for psf in (true, estimated)
    ]
    return float(10 * np.log10(errors[1] / errors[0]))


def unblurred(images: list[tuple[str, np.ndarray]], side: int) -> None:
    """Print of how many sharp images the fit says so."""
    told = []
    for _, image in images:
        noisy = degraded(sized(image, side), np.ones((1, 1)), 0.01, False)
        found = fd.psf.fit(noisy, ["gaussian", "disk"])
        told.append(any(each.startswith("not blurred") for each in found.warnings))
    print(f"\nsharp images that are told: {sum(told)} of {len(told)}")


def picture(path: Path) -> None:
    """Draw a photograph that moved, the true psf and the fitted one, and what it restores to."""
    from matplotlib.figure import Figure

    psf = fd.psf.motion(25, 30)
    sharp = next(photographs(("camera",)))[1]
    blurred = degraded(sharp, psf, 0.01, False)
    found = fd.psf.fit(blurred, "motion")
    restored = fd.deblur(blurred, found.psf, prior="sparse", bounds=(0, 1))
    figure = Figure(figsize=(11, 3), layout="constrained")
    panels = figure.subplots(1, 4)
    part = (slice(0, 250), slice(70, 320))
    length, angle = (f"{value:.2f} ± {found.errors[name]:.2f}" for name, value in found.parameters.items())
    values = f"{length} px, {angle}°"
    for axes, shown, title in zip(
        panels,
        (blurred[part], psf, found.psf, restored[part]),
        ("blurred, noise 1 %", "true psf: 25 px, 30°", f"fitted: {values}", "restored with the fitted psf"),
        strict=True,
    ):
        small = shown.shape != (250, 250)
        axes.imshow(shown, cmap="viridis" if small else "gray", interpolation="nearest" if small else None)
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--development", action="store_true")
    parser.add_argument("--images", metavar="FILE.npz")
    parser.add_argument("--photographs", nargs="+", metavar="NAME", help="of skimage.data, instead of those")
    parser.add_argument("--reduced", type=int, default=1, metavar="TIMES")
    parser.add_argument("--count", type=int, default=6, help="of images (default: %(default)s)")
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--only", choices=("parameters", "families", "unblurred"))
    parser.add_argument("--families", nargs="+", help="of which parameters are measured (default: all)")
    parser.add_argument("--noises", type=float, nargs="+", default=NOISES, help="(default: 0.003 0.01 0.03)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="of noise (default: both)")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--picture", action="store_true")
    arguments = parser.parse_args()
    if arguments.picture:
        picture(Path(__file__).parent / "results" / "psf_fit.png")
        return
    if arguments.images:
        every = np.load(arguments.images)["images"][1::2]
        chosen = np.linspace(0, len(every) - 1, arguments.count).round().astype(int)
        images = [(str(k), every[k] / 255) for k in chosen]
    else:
        names = arguments.photographs or (DEVELOPMENT if arguments.development else OTHERS)
        images = list(photographs(tuple(names)))[: arguments.count]
    images = [(name, smaller(image, arguments.reduced)) for name, image in images]
    if arguments.quick:
        images = images[:2]
    sides = tuple(arguments.sides[:1] if arguments.quick else arguments.sides)
    if arguments.only in (None, "parameters"):
        every = [blur for blur in blurs(arguments.quick) if blur.family in (arguments.families or [blur.family])]
        noises = [(noise, KINDS[kind]) for noise in arguments.noises for kind in arguments.kinds]
        measure(images, sides, every, noises, arguments.verbose)
    if arguments.only in (None, "families"):
        families(images, sides[0], [noise for noise in arguments.noises if noise <= 0.01], arguments.quick)
    if arguments.only in (None, "unblurred"):
        unblurred(images, sides[0])


if __name__ == "__main__":
    main()
