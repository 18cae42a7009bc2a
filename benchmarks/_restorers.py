"""The leaderboards' methods: each makes an image of a case.

fastdeblur gets no parameter.  scikit-image's functions get those that turn out best for the case, if they
have any, and an image that goes on beyond its frame in the way that serves them best.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np

import fastdeblur as fd

# How far, in psf's reaches, and how each goes on beyond the frame.  Both `wiener`s take images for periodic:
# down to one gray all around, rather than the edge on and on, gains them 0.2 dB and 5 dB.
PADDED = {
    "wiener": (6, "linear_ramp"),
    "unsupervised_wiener": (6, "linear_ramp"),
    "richardson_lucy": (6, "edge"),
}
BALANCES = np.geomspace(1e-5, 10, 13)
ITERATIONS = (5, 10, 20, 40, 80, 200)
# How often the grid is made twice as fine about its best.
REFINED = 2
# In ascending order, parameters are past the best where the PSNR is this much lower.
PAST = 0.2


class Blurred(Protocol):
    """What is to be restored, and how near to the sharp image something comes."""

    @property
    def image(self) -> np.ndarray: ...

    @property
    def psf(self) -> np.ndarray: ...

    def psnr(self, restored: np.ndarray) -> float: ...


Restorer = Callable[[Blurred], np.ndarray]


def best(case: Blurred, restored: Callable[[float], np.ndarray], tried: Iterable[float]) -> np.ndarray:
    """What the best parameter makes: of those tried, then of those halfway to its neighbours, by ratio."""
    found: dict[float, float] = {}
    image = case.image
    for _ in range(1 + REFINED):
        for value in tried:
            made = restored(value)
            found[value] = case.psnr(made)
            top = max(found, key=found.__getitem__)
            image = made if value == top else image
            # It only falls further, and many iterations take longest.
            if value > top and found[value] < found[top] - PAST:
                break
        known = sorted(found)
        near = known[max(known.index(top) - 1, 0) : known.index(top) + 2]
        tried = [(low * high) ** 0.5 for low, high in itertools.pairwise(near)]
    return image


def padded(case: Blurred, method: str, image: np.ndarray, *parameter: float, **options: object) -> np.ndarray:
    """What scikit-image makes, in the frame, of the image continued beyond it."""
    from skimage import restoration

    reaches, mode = PADDED[method]
    pads = [(reaches * (taps // 2),) * 2 for taps in case.psf.shape]
    frame = tuple(slice(pad, pad + size) for (pad, _), size in zip(pads, image.shape, strict=True))
    ends = {"end_values": float(image.mean())} if mode == "linear_ramp" else {}
    wide = np.pad(image, pads, mode=mode, **ends)
    made = getattr(restoration, method)(wide, case.psf, *parameter, clip=False, **options)
    restored: np.ndarray = made[0] if isinstance(made, tuple) else made
    return restored[frame]


def wiener(case: Blurred) -> np.ndarray:
    return best(case, lambda balance: padded(case, "wiener", case.image, balance), BALANCES)


def richardson_lucy(case: Blurred) -> np.ndarray:
    # It divides by the blurred estimate, which negative pixels would take through zero.
    image = np.clip(case.image, 0, None)

    def restored(count: float) -> np.ndarray:
        # Around an estimate's zeros it would divide by rounding errors, and end at -10 dB; elsewhere nothing changes.
        return padded(case, "richardson_lucy", image, round(count), filter_epsilon=1e-6)

    return best(case, restored, ITERATIONS)


def unsupervised_wiener(case: Blurred) -> np.ndarray:
    """It samples, and finds its parameters itself."""
    return padded(case, "unsupervised_wiener", case.image, rng=0)


def with_prior(case: Blurred, prior: str) -> np.ndarray:
    return fd.deblur(case.image, case.psf, prior=prior)


def poisson(case: Blurred, prior: str | None) -> np.ndarray:
    # Counts are not negative.
    return fd.deblur(np.clip(case.image, 0, None), case.psf, data="poisson", prior=prior)


PEERS: dict[str, Restorer] = {
    "wiener": wiener,
    "richardson_lucy": richardson_lucy,
    "unsupervised_wiener": unsupervised_wiener,
}
PRIORS = ("gradient", "tv", "sparse")
OURS: dict[str, Restorer] = {
    **{prior: functools.partial(with_prior, prior=prior) for prior in PRIORS},
    "poisson": functools.partial(poisson, prior=None),
    "poisson+tv": functools.partial(poisson, prior="tv"),
}
RESTORERS = PEERS | OURS
