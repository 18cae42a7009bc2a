"""Gradient steps, and the notebook's job."""

from fastdeblur.boundary import BOUNDARIES

from ._jobs import full_rank, gaussian, notebook, step
from ._ratio import best_samples

PSFS = {"gaussian 13x13": gaussian, "full-rank 13x13": lambda: full_rank(13)}


class Step:
    """One step on 2048 x 2048: `time_` would time whole runs, with their start."""

    params = (list(PSFS), ["gd", "momentum", "nesterov", "adam", "adagrad"])
    param_names = ("psf", "rule")
    unit = "seconds"

    def setup(self, psf: str, rule: str) -> None:
        self.job = step(PSFS[psf](), rule)
        self.job()

    def track_step(self, *_: object) -> float:
        return best_samples({"step": self.job}, rounds=3)["step"].seconds


class Boundary:
    """One step of gd on 2048 x 2048."""

    params = (list(PSFS), list(BOUNDARIES))
    param_names = ("psf", "boundary")
    unit = "seconds"

    def setup(self, psf: str, boundary: str) -> None:
        self.job = step(PSFS[psf](), boundary=boundary)
        self.job()

    def track_step(self, *_: object) -> float:
        return best_samples({"step": self.job}, rounds=3)["step"].seconds


class Notebook:
    def setup(self) -> None:
        self.job = notebook()
        self.job()

    def time_notebook(self) -> None:
        self.job()
