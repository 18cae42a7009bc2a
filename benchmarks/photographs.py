"""How near to the photograph each prior comes, beside scikit-image, in dB: ``python -m benchmarks.photographs``.

Photographs that come with scikit-image, each cut from a larger blurred scene, so that nobody knows what lies
beyond the frame, with noise of standard deviation 0.01; not clipped.  Prints the PSNR of every case and its
means, then the differences that have a bar; the exit status is 1 if one is missed.  scikit-image gets in each
case the parameters that turn out best, if a function has any, and fastdeblur none.  ``--oracle`` also gives
fastdeblur the best weight about the automatic one, ``--photographs`` takes names of `skimage.data`, ``--methods``
columns of the table.
"""

import argparse
import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

import fastdeblur as fd

from . import _restorers, _scores
from ._restorers import PRIORS, RESTORERS, Restorer

PHOTOGRAPHS = ("astronaut", "hubble_deep_field", "retina", "grass", "gravel", "text")
# Of a scene: frames are cut from it.
WHOLE = 400
PSFS = {
    "motion 15": fd.psf.motion(15, 40),
    "disk 5": fd.psf.disk(5),
    "gaussian 1x3": fd.psf.gaussian((9, 25), (1, 3)),
}
NOISE = 0.01
# Of the frame; less where the scene has not as much and `MARGIN` on either side.
SIDE = 300
# At least every psf's reach.
MARGIN = max(taps // 2 for psf in PSFS.values() for taps in psf.shape)
FACTORS = 2.0 ** np.arange(-3, 4)


class Case(NamedTuple):
    name: str
    kind: str
    image: np.ndarray
    psf: np.ndarray
    sharp: np.ndarray

    def psnr(self, restored: np.ndarray) -> float:
        return _scores.psnr(self.sharp, restored)

    def ssim(self, restored: np.ndarray) -> float:
        return _scores.ssim(self.sharp, restored)


def photograph(name: str) -> np.ndarray:
    """The middle of a photograph, gray, from 0 to 1."""
    from skimage import color, data

    image = getattr(data, name)()
    image = color.rgb2gray(image) if image.ndim == 3 else image / 255
    rows, cols = (min(n, WHOLE) for n in image.shape)
    top, left = (image.shape[0] - rows) // 2, (image.shape[1] - cols) // 2
    return np.asarray(image[top : top + rows, left : left + cols])


def cases(photographs: Iterable[str], noise: float = NOISE) -> Iterator[Case]:
    for name in photographs:
        scene = photograph(name)
        sizes = [min(SIDE, size - 2 * MARGIN) for size in scene.shape]
        frame = tuple(
            slice(start := (full - size) // 2, start + size) for full, size in zip(scene.shape, sizes, strict=True)
        )
        for which, (kind, psf) in enumerate(PSFS.items()):
            # A photograph's noise is the same whichever others there are, and whatever its psf_power.
            random = np.random.default_rng([*name.encode(), which])
            noisy = fd.convolve(scene, psf)[frame] + noise * random.standard_normal(sizes)
            yield Case(name, kind, noisy.astype(np.float32), psf, scene[frame])


def with_best_weight(case: Case, prior: str) -> float:
    """With the best of some multiples of the automatic weight."""
    mu = fd.solve(case.image, case.psf, prior=prior).mu
    return max(case.psnr(fd.deblur(case.image, case.psf, prior=prior, mu=factor * mu)) for factor in FACTORS)


def scored(restorer: Restorer) -> Callable[[Case], float]:
    return lambda case: case.psnr(restorer(case))


METHODS = {name: scored(restorer) for name, restorer in RESTORERS.items()}
ORACLES = {prior: functools.partial(with_best_weight, prior=prior) for prior in PRIORS}
PEERS = tuple(_restorers.PEERS)
# Of a method over the best of others, in each case, and what the mean must be at least.
BARS = (("gradient", PEERS, 0.3), ("tv", PEERS, 1.5), ("sparse", ("tv",), -0.4), ("poisson", ("richardson_lucy",), 0.0))


def line(label: str, columns: Iterable[str], values: Iterable[float]) -> str:
    entries = (f"{value:{max(len(column), 5) + 2}.2f}" for column, value in zip(columns, values, strict=True))
    return f"{label:32}" + "".join(entries)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.photographs")
    parser.add_argument("--photographs", nargs="+", metavar="NAME", default=PHOTOGRAPHS)
    parser.add_argument("--methods", nargs="+", metavar="METHOD", choices=METHODS, default=list(METHODS))
    parser.add_argument("--oracle", action="store_true", help="also with the best weight")
    chosen = parser.parse_args(arguments)
    columns = {name: METHODS[name] for name in METHODS if name in chosen.methods}
    if chosen.oracle:
        columns |= {f"{prior}, best mu": ORACLES[prior] for prior in PRIORS if prior in columns}
    print(f"{'PSNR in dB':32}  " + "  ".join(f"{column:>5}" for column in columns))
    rows = []
    for case in cases(chosen.photographs):
        rows.append([method(case) for method in columns.values()])
        print(line(f"{case.name}, {case.kind}", columns, rows[-1]), flush=True)
    found = dict(zip(columns, np.transpose(rows), strict=True))
    print("\n" + line(f"mean of {len(rows)}", columns, np.mean(rows, axis=0)))
    return int(compared(found))


def compared(found: dict[str, np.ndarray]) -> bool:
    """Print the differences, and say whether one misses its bar."""
    missed = False
    for method, others, least in BARS:
        if {method, *others} <= set(found):
            ahead = found[method] - np.max([found[other] for other in others], axis=0)
            met = ahead.mean() >= least
            missed |= not met
            of = f"{method} - " + (f"best of {', '.join(others)}" if others[1:] else others[0])
            print(f"{of:62}{ahead.mean():+6.2f} dB, at least {least:+.1f}  {'ok' if met else 'MISSED':7}", end="")
            print(f"in a case {ahead.min():+.2f} to {ahead.max():+.2f}")
    for prior in PRIORS:
        if f"{prior}, best mu" in found:
            lost = found[f"{prior}, best mu"] - found[prior]
            of = f"lost by {prior}'s automatic mu"
            print(f"{of:62}{lost.mean():6.2f} dB, at most {lost.max():.2f} in a case")
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
