"""How near to photographs the priors come, beside scikit-image at its best parameters."""

from collections.abc import Iterator, Sequence
from typing import Any

from ._restorers import PEERS, RESTORERS
from .photographs import cases

# The two whose parameters can be chosen; the third is decibels behind, see `quality`.
OF_SCIKIT_IMAGE = ("wiener", "richardson_lucy")
OURS = tuple(name for name in RESTORERS if name not in PEERS)


def restorations(photographs: Sequence[str]) -> Iterator[dict[str, Any]]:
    """PSNR in dB and SSIM of each method in each case."""
    for case in cases(photographs):
        for name in (*OF_SCIKIT_IMAGE, *OURS):
            restored = RESTORERS[name](case)
            yield {
                "photograph": case.name,
                "psf": case.kind,
                "by": name,
                "PSNR": case.psnr(restored),
                "SSIM": case.ssim(restored),
            }
