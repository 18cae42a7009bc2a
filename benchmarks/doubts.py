"""How often a psf is doubted, wrong ones and right ones: the figures of the guide and of `problem/verdict.py`.

    python -m benchmarks.doubts [--side 256]

Wrong are motions of 18 pixels at 30 degrees that are taken for 10 degrees or a fifth more or less, with white noise;
right are the six psfs of `_degraded`, with white noise, 8 bits, JPEG's errors and noise that was smoothed, enlarged or
demosaicked.  Twelve photographs that come with scikit-image.  Only the rule is asked, and nothing solved.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from scipy import ndimage

import fastdeblur as fd
from fastdeblur.problem.regularization import WeightEstimate
from fastdeblur.problem.verdict import Details, doubts_psf

from ._degraded import CORRELATED, DEVELOPMENT, OTHERS, PSFS, WHITE, cases, gray, scene
from ._tables import table

TRUE = (18, 30)
WRONG = [(18, 20), (18, 40), (14.4, 30), (21.6, 30)]
NOISE = (0.0, 0.001, 0.003, 0.01)
# At least the reach of the longest motion.
REACH = 20


def is_doubted(image: np.ndarray, psf: np.ndarray) -> bool:
    """Whether a solve would say that the psf seems wrong."""
    estimate = WeightEstimate(image[None].astype(np.float64), [psf], None)
    return doubts_psf(Details(estimate), estimate)


def of_wrong(photographs: tuple[str, ...], side: int) -> Iterator[tuple[str, bool]]:
    """The noise, and whether a wrong psf is doubted."""
    for name in photographs:
        whole = gray(scene(name, side + 2 * REACH))
        blurred = ndimage.convolve(whole, fd.psf.motion(*TRUE), mode="nearest")[REACH:-REACH, REACH:-REACH]
        for noise in NOISE:
            image = blurred + noise * np.random.default_rng(len(name)).standard_normal(blurred.shape)
            for motion in WRONG:
                yield f"wrong motions, white {noise:g}", is_doubted(image, fd.psf.motion(*motion))


def of_right(photographs: tuple[str, ...], side: int) -> Iterator[tuple[str, bool]]:
    """The kind of noise, and whether the right psf is doubted."""
    for kind, case in cases(photographs, PSFS, WHITE | CORRELATED, side):
        yield f"right psfs, {kind}", is_doubted(case.image, case.psf)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=256, help="pixels a side of the photographs' middles")
    side = parser.parse_args().side
    counts: dict[str, list[bool]] = {}
    for part in (of_wrong, of_right):
        for kind, doubted in part(DEVELOPMENT + OTHERS, side):
            counts.setdefault(kind, []).append(doubted)
    rows = ((kind, str(sum(each)), str(len(each))) for kind, each in counts.items())
    print("\n".join(table(("", "doubted", "of"), rows)))


if __name__ == "__main__":
    main()
