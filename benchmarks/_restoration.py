"""How near to photographs the priors come, beside scikit-image at its best parameters."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .photographs import METHODS, PEERS, Case, cases

OF_SCIKIT_IMAGE = PEERS
OURS = tuple(method for method in METHODS if method not in PEERS)


class Watched(Case):
    """Keeps the best of what it is shown, which methods that try parameters end with."""

    best: np.ndarray
    highest = -np.inf

    def psnr(self, restored: np.ndarray) -> float:
        value = super().psnr(restored)
        if value > self.highest:
            self.best, self.highest = restored, value
        return value

    def ssim(self) -> float:
        from skimage.metrics import structural_similarity

        return float(structural_similarity(self.sharp, self.best.astype(np.float64), data_range=1.0))


def restorations(photographs: Sequence[str]) -> Iterator[dict[str, Any]]:
    """PSNR in dB and SSIM of each method in each case."""
    for case in cases(photographs):
        for name, method in METHODS.items():
            watched = Watched(*case)
            yield {
                "photograph": case.name,
                "psf": case.kind,
                "by": name,
                "PSNR": method(watched),
                "SSIM": watched.ssim(),
            }
