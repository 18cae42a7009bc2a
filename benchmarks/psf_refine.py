"""What `fastdeblur.psf.refine` makes of rough psfs: ``python -m benchmarks.psf_refine``.

Photographs with a motion, of which a psf is known whose angle is 10 degrees or whose length is 20 % off: how many dB
the rough psf costs against the true one with the sparse prior, and which share of them the refined one gets back.  The
photographs are not those that the rules were chosen on.  ``--levin FOLDER`` takes the images of Levin et al. (the
folder is as for `benchmarks.quality`) and their measured psfs instead, of which nothing is known to be wrong: how the
misfit of the residual and the PSNR change.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np

import fastdeblur as fd

from . import _levin, _scores
from .psf_fit import MARGIN, OTHERS, degraded, photographs, sized

SIDE, NOISE = 256, 0.003
LENGTH, ANGLE = 15, 30
ROUGH = {
    "10 degrees off": fd.psf.motion(LENGTH, ANGLE + 10), "20 % off": fd.psf.motion(1.2 * LENGTH, ANGLE),
}  # fmt: skip
# What is compared, without the border.
INNER = (slice(20, -20), slice(20, -20))


def restored(image: np.ndarray, psf: np.ndarray) -> fd.Result:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # (it says that the rough psf is wrong)
        return fd.solve(image.astype(np.float32), psf, prior="sparse")


def measure(names: tuple[str, ...]) -> None:
    true = fd.psf.motion(LENGTH, ANGLE)
    print("| photograph | psf | true | rough | refined | lost | got back | what was done |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |")
    shares, changes = [], []
    for name, whole in photographs(names):
        sharp = sized(whole, SIDE)
        blurred = degraded(sharp, true, NOISE, False)
        truth = sharp[MARGIN:-MARGIN, MARGIN:-MARGIN][INNER]
        best = _scores.psnr(truth, restored(blurred, true).image[INNER])
        for kind, rough in ROUGH.items():
            before = _scores.psnr(truth, restored(blurred, rough).image[INNER])
            refined = fd.psf.refine(blurred, rough)
            after = _scores.psnr(truth, restored(blurred, refined.psf).image[INNER])
            shares.append((after - before) / (best - before))
            changes.append(after - before)
            print(
                f"| {name} | {kind} | {best:.2f} | {before:.2f} | {after:.2f} | {best - before:.2f} | "
                f"{100 * shares[-1]:.0f} % | {refined.message} |",
                flush=True,
            )
    half = sum(share >= 0.5 for share in shares)
    print(f"\nat least half got back: {half} of {len(shares)}; largest fall: {max(-min(changes), 0):.2f} dB")


def measure_levin(folder: Path) -> None:
    print("| image | misfit | refined | PSNR in dB | change | what was done |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    falls, changes = [], []
    for case in _levin.cases(folder)[0]:
        before = restored(case.image, case.psf)
        refined = fd.psf.refine(case.image, case.psf)
        after = restored(case.image, refined.psf) if refined.improved else before
        falls.append(1 - after.misfit / before.misfit)
        changes.append(case.psnr(after.image) - case.psnr(before.image))
        print(
            f"| {case.name}, {case.kind} | {before.misfit:.3f} | {after.misfit:.3f} | {case.psnr(before.image):.2f} | "
            f"{changes[-1]:+.2f} | {refined.message.split(':')[0]} |",
            flush=True,
        )
    print(
        f"\nmisfit: {100 * min(falls):.1f} to {100 * max(falls):.1f} % less; PSNR {min(changes):+.2f} to "
        f"{max(changes):+.2f} dB, mean {np.mean(changes):+.3f}; changed {sum(map(bool, falls))} of {len(falls)}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levin", type=Path, metavar="FOLDER")
    parser.add_argument("--photographs", nargs="+", default=OTHERS, help="names of skimage.data (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.levin:
        measure_levin(arguments.levin)
    else:
        measure(tuple(arguments.photographs))
