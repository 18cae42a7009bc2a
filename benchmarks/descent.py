"""Gradient steps, and the notebook's job."""

from fastdeblur.operators.boundary import BOUNDARIES

from ._jobs import SIDE, Job, full_rank, gaussian, notebook, step
from ._ratio import best_samples

PSFS = {"gaussian 13x13": gaussian, "full-rank 13x13": lambda: full_rank(13)}
# Options of `step` that are unlike the others in one.
VARIANTS = {
    "512 x 512": {"side": SIDE // 4},
    "4096 x 4096": {"side": SIDE * 2},
    "float64": {"dtype": "float64"},
    "1 worker": {"workers": 1},
    "2 workers": {"workers": 2},
}


def seconds(job: Job) -> float:
    """Of a step: `time_` would time whole runs, with their start."""
    return best_samples({"step": job}, rounds=2, samples=3, pause=0.05)["step"].seconds


class Step:
    """One step on 2048 x 2048."""

    params = (list(PSFS), ["gd", "momentum", "nesterov", "adam", "adagrad"])
    param_names = ("psf", "rule")
    unit = "seconds"

    def setup(self, psf: str, rule: str) -> None:
        self.job = step(PSFS[psf](), rule)
        self.job()

    def track_step(self, *_: object) -> float:
        return seconds(self.job)


class Boundary:
    """One step of gd on 2048 x 2048, with a separable psf."""

    params = (list(BOUNDARIES),)
    param_names = ("boundary",)
    unit = "seconds"

    def setup(self, boundary: str) -> None:
        self.job = step(gaussian(), boundary=boundary)
        self.job()

    def track_step(self, *_: object) -> float:
        return seconds(self.job)


class Variant:
    """One step of gd with a separable psf."""

    params = (list(VARIANTS),)
    param_names = ("variant",)
    unit = "seconds"

    def setup(self, variant: str) -> None:
        self.job = step(gaussian(), **VARIANTS[variant])
        self.job()

    def track_step(self, *_: object) -> float:
        return seconds(self.job)


class Notebook:
    def setup(self) -> None:
        self.job = notebook()
        self.job()

    def time_notebook(self) -> None:
        self.job()
