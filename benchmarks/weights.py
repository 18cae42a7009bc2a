"""What rules for the weight lose to the best weight, in dB, on three kinds of images: ``python -m benchmarks.weights``.

White noise; the noise that files have (JPEG, 8 bits, smoothed, enlarged and demosaicked noise), both on photographs
that come with scikit-image, with six psfs; and, with ``--levin FOLDER``, photographs of a shaken camera (``python -m
benchmarks.quality --help`` says what that folder must have).  For each rule and each kind the loss is that of the
prior "gradient" with ``data="squares"``, to the best of all weights; a result counts as worse if its PSNR is more than
0.1 dB below the blurred image's.  With ``--priors`` also what the package's weight loses with "gradient", "tv" and
"sparse" to the best of a few multiples of it, and whether results that are worse come with a warning; with ``--wrong``
also how many wrong psfs are told, by noise.

``--quick`` takes two photographs and three psfs (some minutes); ``--others`` six photographs on which nothing was
chosen.  ``--readme`` writes the table of ``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.interpolate import CubicSpline

import fastdeblur as fd

from . import _degraded, _levin
from ._rules import RULES
from ._tables import table
from .photographs import Case

TRIED = np.geomspace(1e-7, 10, 15)
FACTORS = (1 / 8, 1 / 3, 3, 8)
PRIORS = ("gradient", "tv", "sparse")
# By how much a result may be worse than the blurred image.
WORSE = 0.1
QUICK_PSFS = ("gaussian 1", "gaussian 2", "motion 15")
QUICK_PHOTOGRAPHS = ("astronaut", "moon")
# A shaken camera, guessed 10 degrees or 20 % off; and the levels of noise.
TRUE, GUESSED = (18, 30), ((18, 20), (18, 40), (14.4, 30), (21.6, 30))
LEVELS = (0.001, 0.003, 0.01)

README = Path(__file__).resolve().parent / "README.md"
FIRST_MARK = "<!-- weights: written by python -m benchmarks.weights -->"
LAST_MARK = "<!-- end of weights -->"


class Loss(NamedTuple):
    """One case: its kind, what a rule or prior loses, what it gains on the blurred image, and whether it warns."""

    kind: str
    case: Case
    lost: float
    gain: float
    warned: bool = False


def quality(case: Case) -> Callable[[np.ndarray], np.ndarray]:
    """The restored image's PSNR as a function of the weight's logarithm."""
    found, start = [], "image"
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        for mu in TRIED[::-1]:
            start = fd.solve(case.image, case.psf, data="squares", mu=mu, tol=1e-3, init=start, max_iter=60).image
            found.append(case.psnr(start))
    return CubicSpline(np.log(TRIED), found[::-1])


def of_rules(cases: Iterable[tuple[str, Case]]) -> Iterator[tuple[str, Loss]]:
    """What each rule loses in each case."""
    steps = np.linspace(np.log(TRIED[0]), np.log(TRIED[-1]), 1000)
    for kind, case in cases:
        at, blurred = quality(case), case.psnr(case.image)
        best = at(steps).max()
        for rule, choose in RULES.items():
            found = float(at(np.log(np.clip(choose(case.image, case.psf), TRIED[0], TRIED[-1]))))
            yield rule, Loss(kind, case, best - found, found - blurred)


def of_priors(cases: Iterable[tuple[str, Case]]) -> Iterator[tuple[str, Loss]]:
    """What the package's weight loses with each prior in each case."""
    for kind, case in cases:
        blurred = case.psnr(case.image)
        for prior in PRIORS:
            found, warned = _told(case.image, case.psf, prior)
            chosen = case.psnr(found.image)
            with warnings.catch_warnings(action="ignore", category=UserWarning):
                tried = (fd.deblur(case.image, case.psf, prior=prior, mu=factor * found.mu) for factor in FACTORS)
                others = [case.psnr(image) for image in tried]
            yield prior, Loss(kind, case, max(chosen, *others) - chosen, chosen - blurred, warned)


def _told(image: np.ndarray, psf: np.ndarray, prior: str = "gradient") -> tuple[fd.Result, bool]:
    """A result, and whether it came with a warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = fd.solve(image, psf, prior=prior)
    return result, any(issubclass(each.category, UserWarning) for each in caught)


def wrong_psfs(photographs: Iterable[str], side: int) -> Iterator[tuple[float, bool, bool]]:
    """Noise, whether the psf was the true one, and whether there was a warning."""
    true, margin = fd.psf.motion(*TRUE), _degraded.MARGIN
    for name in photographs:
        scene = _degraded.gray(_degraded.scene(name, side + 2 * margin))
        blurred = ndimage.convolve(scene, true, mode="nearest")[margin:-margin, margin:-margin]
        for level in LEVELS:
            rng = np.random.default_rng([*name.encode(), int(1000 * level)])
            image = (blurred + level * rng.standard_normal(blurred.shape)).astype(np.float32)
            for guess in (TRUE, *GUESSED):
                yield level, guess == TRUE, _told(image, fd.psf.motion(*guess))[1]


def summary(losses: dict[str, list[Loss]], kinds: dict[str, set[str]], first: str) -> list[str]:
    """The table of rules or priors by families."""
    body = []
    for name, of in losses.items():
        row = [name]
        for family in kinds.values():
            lost = [loss.lost for loss in of if loss.kind in family]
            worse = sum(loss.gain < -WORSE for loss in of if loss.kind in family)
            row.append(f"{np.median(lost):.2f}, {np.mean(lost):.2f}, {np.quantile(lost, 0.9):.2f} ({worse})")
        body.append(tuple(row))
    counts = {
        family: sum(loss.kind in these for loss in next(iter(losses.values()))) for family, these in kinds.items()
    }
    return table((first, *(f"{family}, {count} images" for family, count in counts.items())), body)


def by_kind(losses: list[Loss]) -> list[str]:
    kinds = list(dict.fromkeys(loss.kind for loss in losses))
    body = []
    for kind in kinds:
        lost = [loss.lost for loss in losses if loss.kind == kind]
        body.append((kind, f"{np.median(lost):.2f}", f"{np.mean(lost):.2f}", f"{max(lost):.2f}"))
    return table(("noise", "median", "mean", "most"), body)


def collected(pairs: Iterable[tuple[str, Loss]]) -> dict[str, list[Loss]]:
    found: dict[str, list[Loss]] = {}
    for name, loss in pairs:
        found.setdefault(name, []).append(loss)
    return found


def write(lines: list[str], readme: Path = README) -> None:
    """Put lines between the two marks of the benchmarks' README."""
    text = readme.read_text(encoding="utf-8")
    before, mark, rest = text.partition(FIRST_MARK)
    _, last, after = rest.partition(LAST_MARK)
    if not (mark and last):
        raise ValueError(f"{readme} has no {FIRST_MARK} ... {LAST_MARK}")
    readme.write_text("\n".join([before + mark, *lines, last + after]), encoding="utf-8")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.weights", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two photographs, three psfs")
    parser.add_argument("--others", action="store_true", help="photographs on which nothing was chosen")
    parser.add_argument("--side", type=int, default=256, help="pixels a side (of photographs; default 256)")
    parser.add_argument("--levin", type=Path, metavar="FOLDER")
    parser.add_argument("--priors", action="store_true", help="also tv and sparse")
    parser.add_argument("--wrong", action="store_true", help="also wrong psfs")
    parser.add_argument("--readme", action="store_true", help="write the table of benchmarks/README.md")
    chosen = parser.parse_args(arguments)
    photographs = _degraded.OTHERS if chosen.others else _degraded.DEVELOPMENT
    photographs, psfs = (QUICK_PHOTOGRAPHS, QUICK_PSFS) if chosen.quick else (photographs, tuple(_degraded.PSFS))
    families = {"white noise": set(_degraded.WHITE), "noise of files": set(_degraded.CORRELATED)}
    kinds = _degraded.WHITE | _degraded.CORRELATED
    cases = list(_degraded.cases(photographs, psfs, kinds, chosen.side))
    if chosen.levin is not None:
        cases += [("shaken camera", case) for case in _levin.cases(chosen.levin)[0]]
        families["shaken camera"] = {"shaken camera"}

    began = time.monotonic()
    rules = collected(of_rules(cases))
    head = "dB lost to the best weight: median, mean, nine in ten lose less (results worse than the blurred image)"
    lines = summary(rules, families, "rule")
    first = next(iter(rules))
    print("\n".join([head, "", *lines, "", f"{first}, by kind", *by_kind(rules[first])]), flush=True)
    size = f"{chosen.side}x{chosen.side} pixels of {', '.join(photographs)}; psfs {', '.join(psfs)}"
    section = [
        "",
        *textwrap.wrap(f"{head[0].upper()}{head[1:]}; {size.replace('_', ' ')}.", 120),
        "",
        *lines,
        "",
    ]
    if chosen.priors:
        priors = collected(of_priors(cases))
        lines = summary(priors, families, "the package's rule, with prior")
        print("\n".join(["", *lines]))
        section += [*lines, ""]
        for prior, losses in priors.items():
            worse = [loss for loss in losses if loss.gain < -WORSE]
            better = sum(loss.warned and loss.gain >= -WORSE for loss in losses)
            print(
                f"{prior}: {len(worse)} of {len(losses)} worse than the blurred image, "
                f"{sum(not loss.warned for loss in worse)} of them without a warning; {better} others with one"
            )
            for loss in worse:
                print(f"  {loss.case.name}, {loss.case.kind}, {loss.kind}: {loss.gain:+.2f} dB, warned {loss.warned}")
    if chosen.wrong:
        told = list(wrong_psfs(photographs, chosen.side))
        for level in LEVELS:
            right, wrong = ([each[2] for each in told if each[:2] == (level, true)] for true in (True, False))
            print(f"noise {level:g}: wrong psfs told {sum(wrong)} of {len(wrong)}, true {sum(right)} of {len(right)}")
    print(f"{time.monotonic() - began:.0f} s")
    if chosen.readme:
        write(section)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
