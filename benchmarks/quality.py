"""The leaderboard: what each prior makes of blurred photographs, beside scikit-image.

    python -m benchmarks.quality [--quick] [--levin FOLDER]
    python -m benchmarks.quality --records FOLDER --kernels FILE [--chart PNG]

Photographs that come with scikit-image, three psfs, three levels of noise, as in `benchmarks.photographs`: nobody
knows what lies beyond the frame, nothing is clipped, fastdeblur gets no parameter, and scikit-image's `wiener` and
`richardson_lucy` get those that turn out best for each image.  Prints for each method the mean and the worst PSNR
(in dB) and SSIM, and in how many cases its PSNR is the highest; then the mean PSNR by psf and noise.

With --levin also the 32 images of Levin et al., CVPR 2009, which were taken with a shaken camera.

With --records instead: deblurring by the protocol by which papers on learned priors are compared, of any folder of
sharp images, beside figures that were published for two sets.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import _levin, _records, photographs
from ._restorers import PEERS, RESTORERS, Blurred, Restorer

NOISE = (0.003, 0.01, 0.03)
# Of --quick: two photographs that are unlike each other.
FEW = ("astronaut", "text")


def blurred(case: Blurred) -> np.ndarray:
    return case.image


METHODS: dict[str, Restorer] = {"blurred": blurred, **RESTORERS}


class Score(NamedTuple):
    group: str
    case: str
    method: str
    psnr: float
    ssim: float


def judged(groups: dict[str, list[photographs.Case]], methods: list[str]) -> list[Score]:
    """The scores of all methods in the cases of all groups."""
    from tqdm import tqdm

    scores = []
    for group, case in tqdm([(group, case) for group, cases in groups.items() for case in cases], disable=None):
        for method in methods:
            restored = METHODS[method](case)
            scores.append(Score(group, f"{case.name}, {case.kind}", method, case.psnr(restored), case.ssim(restored)))
    return scores


def by_kind(cases: Iterable[photographs.Case], suffix: str = "") -> dict[str, list[photographs.Case]]:
    groups: dict[str, list[photographs.Case]] = {}
    for case in cases:
        groups.setdefault(case.kind + suffix, []).append(case)
    return groups


def of_photographs(names: Iterable[str], levels: Iterable[float], methods: list[str]) -> list[Score]:
    groups = {}
    for noise in levels:
        groups |= by_kind(photographs.cases(names, noise), f", {noise:g}")
    return judged(groups, methods)


def of_levin(folder: Path, kernels: Path | None, turn: str, methods: list[str]) -> list[Score]:
    cases, turned = _levin.cases(folder, kernels, turn)
    print(f"the kernels are taken {'turned by 180 degrees' if turned else 'as they are in the file'}")
    if far := _levin.too_far(cases):
        print(f"scores are too low where shifts are too large for the protocol: {'; '.join(far)}")
    print(flush=True)
    return judged(by_kind(cases), methods)


def of_records(folder: Path, kernels: Path | None, chart: Path | None, save: Path | None) -> None:
    records = _records.judged(folder, kernels, _records.available())
    print(_records.table(folder, records))
    if chart is not None:
        _records.chart(records, chart)
    if save is not None:
        save.write_text(json.dumps([record._asdict() for record in records], indent=1) + "\n", encoding="utf-8")


def leaderboard(title: str, scores: list[Score], methods: list[str]) -> str:
    """Both tables, the best method first."""
    psnr, ssim = (
        np.array([[getattr(score, what) for score in scores if score.method == method] for method in methods])
        for what in ("psnr", "ssim")
    )
    first = np.bincount(psnr.argmax(axis=0), minlength=len(methods))
    order = np.argsort(-psnr.mean(axis=1))
    width = max(map(len, map(_label, methods))) + 2
    lines = [
        f"{title}, {psnr.shape[1]} cases",
        f"{'':{width}}   PSNR             SSIM",
        f"{'':{width}}   mean    worst    mean   worst   best in",
    ]
    lines += [
        f"{_label(methods[at]):{width}}{psnr[at].mean():7.2f}{psnr[at].min():9.2f}"
        f"{ssim[at].mean():8.3f}{ssim[at].min():8.3f}{first[at]:10d}"
        for at in order
    ]
    groups = list(dict.fromkeys(score.group for score in scores))
    wide = [max(len(group) + 2, 8) for group in groups]
    lines += ["", "mean PSNR".ljust(width) + "".join(f"{group:>{w}}" for group, w in zip(groups, wide, strict=True))]
    for at in order:
        of_method = [score for score in scores if score.method == methods[at]]
        means = [np.mean([score.psnr for score in of_method if score.group == group]) for group in groups]
        lines.append(
            _label(methods[at]).ljust(width) + "".join(f"{v:{w}.2f}" for v, w in zip(means, wide, strict=True))
        )
    return "\n".join(lines) + "\n"


def _label(method: str) -> str:
    return f"skimage {method}" if method in PEERS else method


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description=__doc__,
        epilog=f"{_levin.LAYOUT}\n{_records.LAYOUT}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help=f"only {' and '.join(FEW)}, with noise of 0.01")
    parser.add_argument("--methods", nargs="+", metavar="METHOD", choices=METHODS, default=list(METHODS),
                        help=f"of {', '.join(METHODS)}")  # fmt: skip
    parser.add_argument("--levin", type=Path, metavar="FOLDER", help="see below")
    parser.add_argument("--kernels", type=Path, metavar="FILE", help="the psfs of --levin or --records, see below")
    parser.add_argument(
        "--turn", choices=("auto", "yes", "no"), default="auto", help="turn these kernels by 180 degrees"
    )
    parser.add_argument("--only-levin", action="store_true", help="leave scikit-image's photographs out")
    parser.add_argument(
        "--records", type=Path, metavar="FOLDER", help="only these images, by another protocol, see below"
    )
    parser.add_argument("--chart", type=Path, metavar="FILE", help="with --records: PSNR against seconds, as PNG")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the scores of all cases, as JSON")
    chosen = parser.parse_args(arguments)
    if chosen.levin is None and (chosen.only_levin or (chosen.kernels and chosen.records is None)):
        parser.error("--only-levin and --kernels go with --levin")
    if chosen.chart is not None and chosen.records is None:
        parser.error("--chart goes with --records")
    if chosen.records is not None:
        try:
            of_records(chosen.records, chosen.kernels, chosen.chart, chosen.save)
        except (OSError, ValueError) as error:
            parser.error(str(error))
        return 0

    began, boards = time.monotonic(), {}
    if chosen.levin is not None:
        try:
            boards["Levin et al."] = of_levin(chosen.levin, chosen.kernels, chosen.turn, chosen.methods)
        except (OSError, ValueError) as error:
            parser.error(str(error))
    if not chosen.only_levin:
        names, levels = (FEW, NOISE[1:2]) if chosen.quick else (photographs.PHOTOGRAPHS, NOISE)
        boards["scikit-image's photographs"] = of_photographs(names, levels, chosen.methods)
    for title, scores in boards.items():
        print(leaderboard(title, scores, chosen.methods))
    if {"wiener", "richardson_lucy"} & set(chosen.methods):
        print("scikit-image's wiener and richardson_lucy have the parameters that are best for each image.")
    print(f"{time.monotonic() - began:.0f} s")
    if chosen.save is not None:
        saved = {title: [score._asdict() for score in scores] for title, scores in boards.items()}
        chosen.save.write_text(json.dumps(saved, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
