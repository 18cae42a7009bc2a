"""What there is to solve beside gradient steps: one problem for each solver and what it can be asked for."""

import time

import numpy as np

import fastdeblur as fd

from ._jobs import FIRST_STEPS, MOTION, STEPS, Job, image


def mean_of_nine(image: np.ndarray, sigma: float) -> np.ndarray:
    """A denoiser that takes next to no time, so that what is measured is ours."""
    import scipy.ndimage

    return scipy.ndimage.uniform_filter(image, 3)


# Arguments of `solve`; "exact" has none, as it is the default.
PROBLEMS = {
    "exact": {},
    "tv": {"prior": "tv"},
    "sparse": {"prior": "sparse"},
    "bounds": {"bounds": (0, 1)},
    "denoiser": {"prior": mean_of_nine, "mu": 1e-4},
    "poisson": {"data": "poisson", "prior": None},
    "poisson+tv": {"data": "poisson", "prior": "tv"},
}


def blurred(side: int, psf: np.ndarray = MOTION, dtype: str = "float32") -> np.ndarray:
    """Rectangles, blurred, with 1 % noise; not below 0, as counts are not."""
    sharp = np.kron(image(-(-side // 16), -(-side // 16)), np.ones((16, 16)))[:side, :side]
    noise = 0.01 * np.random.default_rng(1).standard_normal(sharp.shape)
    return np.clip(fd.convolve(sharp, psf, boundary="reflect") + noise, 0, None).astype(dtype)


def step(problem: str, side: int) -> Job:
    """From callback to callback, as `_jobs.step`; the weight is found before."""
    seen = blurred(side)
    options = {"mu": fd.solve(seen, MOTION, **PROBLEMS[problem], max_iter=1).mu, **PROBLEMS[problem]}

    def job() -> float:
        ends: list[float] = []
        fd.solve(
            seen,
            MOTION,
            **options,
            max_iter=FIRST_STEPS + STEPS,
            tol=0,
            callback=lambda state: ends.append(time.perf_counter()),
        )
        return (ends[-1] - ends[FIRST_STEPS - 1]) / (len(ends) - FIRST_STEPS)

    return job
