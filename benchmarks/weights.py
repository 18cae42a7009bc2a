"""What rules for the weight lose to the best weight, in dB, on three kinds of images: ``python -m benchmarks.weights``.

White noise; the noise that files have (JPEG, 8 bits, smoothed, enlarged and demosaicked noise), both on photographs
that come with scikit-image, with six psfs; and, with ``--levin FOLDER``, photographs of a shaken camera (``python -m
benchmarks.quality --help`` says what that folder must have).  For each rule and each kind the loss is that of the
prior "gradient" with ``data="squares"``, to the best of all weights; a result counts as worse if its PSNR is more than
0.1 dB below the blurred image's.  With ``--priors`` also what the package's weight loses with "gradient", "tv" and
"sparse" to the best of a few multiples of it, and whether results that are worse come with a warning; with ``--wrong``
also how many wrong psfs are told, by noise.

``--quick`` takes two photographs and three psfs (some minutes); ``--others`` six photographs on which nothing was
chosen; ``--white`` some levels of white noise; ``--no-rules`` looks at priors only.  ``--readme`` writes the tables of
``benchmarks/README.md``.
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
FACTORS = (1 / 3, 3)
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
PRIORS_FIRST_MARK = "<!-- weights of priors: written by python -m benchmarks.weights --priors -->"
PRIORS_LAST_MARK = "<!-- end of weights of priors -->"


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


def write(lines: list[str], readme: Path = README, first_mark: str = FIRST_MARK, last_mark: str = LAST_MARK) -> None:
    """Put lines between two marks of the benchmarks' README."""
    text = readme.read_text(encoding="utf-8")
    before, mark, rest = text.partition(first_mark)
    _, last, after = rest.partition(last_mark)
    if not (mark and last):
        raise ValueError(f"{readme} has no {first_mark} ... {last_mark}")
    readme.write_text("\n".join([before + mark, *lines, last + after]), encoding="utf-8")


def told_of_priors(priors: dict[str, list[Loss]], families: dict[str, set[str]]) -> list[str]:
    """The table of priors by families and by kinds of noise, and which results are worse than the blurred image."""
    lines = ["", *summary(priors, families, "prior"), ""]
    kinds = list(dict.fromkeys(loss.kind for losses in priors.values() for loss in losses))
    body = []
    for kind in kinds:
        lost = ([loss.lost for loss in losses if loss.kind == kind] for losses in priors.values())
        body.append((kind, *(f"{np.mean(each):.2f}, {max(each):.2f}" for each in lost)))
    lines += [*table(("mean, most", *priors), body), ""]
    for prior, losses in priors.items():
        worse = [loss for loss in losses if loss.gain < -WORSE]
        better = sum(loss.warned and loss.gain >= -WORSE for loss in losses)
        lines.append(
            f"- {prior}: {len(worse)} of {len(losses)} results worse than the blurred image by more than {WORSE} dB, "
            f"{sum(not loss.warned for loss in worse)} of them without a warning; {better} others with one"
        )
        lines += [
            f"  - {loss.case.name.replace('_', ' ')}, {loss.case.kind}, {loss.kind}: {loss.gain:+.2f} dB, "
            + ("with a warning" if loss.warned else "without a warning")
            for loss in worse
        ]
    return lines


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.weights", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two photographs, three psfs")
    parser.add_argument("--no-rules", action="store_true", help="not the rules")
    parser.add_argument("--white", type=float, nargs="+", metavar="LEVEL", help="some of the levels of white noise")
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
    white = _degraded.WHITE if chosen.white is None else {f"white {level:g}" for level in chosen.white}
    kinds = {kind: _degraded.WHITE[kind] for kind in _degraded.WHITE if kind in white} | _degraded.CORRELATED
    camera = [] if chosen.levin is None else [("shaken camera", case) for case in _levin.cases(chosen.levin)[0]]
    if camera:
        families["shaken camera"] = {"shaken camera"}

    cases = [*_degraded.cases(photographs, psfs, kinds, chosen.side), *camera]
    size = f"{chosen.side}x{chosen.side} pixels of {', '.join(photographs)}; psfs {', '.join(psfs)}".replace("_", " ")

    began = time.process_time()
    head = "dB lost to the best weight: median, mean, nine in ten lose less (results worse than the blurred image)"
    if not chosen.no_rules:
        rules = collected(of_rules(cases))
        lines = summary(rules, families, "rule")
        first = next(iter(rules))
        print("\n".join([head, "", *lines, "", f"{first}, by kind", *by_kind(rules[first])]), flush=True)
        if chosen.readme:
            write(["", *textwrap.wrap(f"{head[0].upper()}{head[1:]}; {size}.", 120), "", *lines, ""])
    if chosen.priors:
        section = told_of_priors(collected(of_priors(cases)), families)
        multiples = " and ".join(f"{factor:.2g}" for factor in FACTORS)
        told = f"{head[0].upper()}{head[1:]}, of the package's weight and {multiples} times as much; {size}."
        print("\n".join(section), flush=True)
        if chosen.readme:
            lines = ["", *textwrap.wrap(told, 120), *section, ""]
            write(lines, first_mark=PRIORS_FIRST_MARK, last_mark=PRIORS_LAST_MARK)
    if chosen.wrong:
        told = list(wrong_psfs(photographs, chosen.side))
        for level in LEVELS:
            right, wrong = ([each[2] for each in told if each[:2] == (level, true)] for true in (True, False))
            print(f"noise {level:g}: wrong psfs told {sum(wrong)} of {len(wrong)}, true {sum(right)} of {len(right)}")
    print(f"{time.process_time() - began:.0f} CPU s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
