"""How good the choice of ``path="auto"`` is: ``python -m benchmarks.choice``.

For a grid of image sizes, psf sizes, ranks and dtypes, times every path and says how much longer the
chosen one takes than the best.  The exit status is 1 if one takes over 15 % longer.  ``--keep`` writes the
table to ``benchmarks/results/choice.txt``; then others should not use the machine.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fastdeblur as fd
from fastdeblur import psf
from fastdeblur.operators.costs import PATHS

from ._jobs import Job, image, stopwatch
from ._machine import described, machine
from ._ratio import best_samples

RESULT = Path(__file__).with_name("results") / "choice.txt"
SIDES = (128, 512, 2048)
TAPS = (3, 5, 7, 9, 13, 21, 31, 61)
DTYPES = ("float32", "float64")
MOST = 1.15
# A path that must take this many times longer is not timed.
HOPELESS = 6
ROUNDS, SAMPLES = 5, 2


class Case(NamedTuple):
    side: int
    taps: int
    rank: int
    dtype: str

    def psf(self) -> np.ndarray:
        rng = np.random.default_rng(2)
        return psf.normalise(rng.random((self.taps, self.rank)) @ rng.random((self.rank, self.taps)))


def cases() -> Iterator[Case]:
    for dtype in DTYPES:
        for side in SIDES:
            for taps in TAPS:
                for rank in sorted({1, 3, taps}):
                    yield Case(side, taps, rank, dtype)


def jobs(case: Case) -> tuple[str, dict[str, Job]]:
    """The path that is chosen, and what every path has to do."""
    x = image(case.side, case.side, case.dtype)
    out, weights = np.empty_like(x), case.psf()
    blurs = {path: fd.Blur(weights, x.shape, dtype=x.dtype, path=path) for path in PATHS}
    chosen = fd.Blur(weights, x.shape, dtype=x.dtype).path
    first = min(blur.seconds for blur in blurs.values())
    return chosen, {
        path: stopwatch(lambda blur=blur: blur.forward(x, out=out))
        for path, blur in blurs.items()
        if path == chosen or blur.seconds < HOPELESS * first
    }


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--keep"]):
        print("usage: python -m benchmarks.choice [--keep]", file=sys.stderr)
        return 2
    lines = [
        *described(machine()),
        "",
        f"{'side taps rank dtype':24}" + "".join(f"{path:>12}" for path in PATHS) + "   chosen",
    ]
    print("\n".join(lines))
    worst = (0.0, None)
    for case in cases():
        chosen, of = jobs(case)
        took = {path: sample.seconds for path, sample in best_samples(of, ROUNDS, SAMPLES, pause=0.02).items()}
        ratio = took[chosen] / min(took.values())
        worst = max(worst, (ratio, case), key=lambda pair: pair[0])
        times = "".join(f"{took[path] * 1e3:9.3f} ms" if path in took else f"{'':12}" for path in PATHS)
        lines.append(
            f"{case.side:4} {case.taps:4} {case.rank:4} {case.dtype:9}{times}   {chosen:10}"
            + (f" {ratio:.2f} times the best" if ratio > 1 else "")
        )
        print(lines[-1], flush=True)
    ratio, case = worst
    lines += ["", f"worst: {ratio:.2f} times the best, {case}"]
    print("\n".join(lines[-2:]))
    if arguments:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(ratio > MOST)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
