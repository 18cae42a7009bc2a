"""Steps and whole solves of all but the gradient rules, which are in `descent`."""

import fastdeblur as fd

from ._jobs import MOTION, full_rank, gaussian
from ._problems import PROBLEMS, blurred, step
from ._ratio import best_samples

SIDE = 1024
# What pictures need; the splitting methods' way to `solve`'s default is several times as long.
TOL = 1e-3
# The psf, the dtype and the threads of a solve that is unlike the others in one of them.
VARIANTS = {
    "gaussian 13x13": (gaussian, "float32", None),
    "full-rank 65x65": (lambda: full_rank(65), "float32", None),
    "float64": (lambda: MOTION, "float64", None),
    "1 worker": (lambda: MOTION, "float32", 1),
    "2 workers": (lambda: MOTION, "float32", 2),
}


class Step:
    params = (list(PROBLEMS),)
    param_names = ("problem",)
    unit = "seconds"

    def setup(self, problem: str) -> None:
        self.job = step(problem, SIDE)
        self.job()

    def track_step(self, problem: str) -> float:
        return best_samples({"step": self.job}, rounds=2, samples=3, pause=0.05)["step"].seconds


class Solve:
    """A call with everything that it does, from choosing the weight on."""

    params = (list(PROBLEMS), [SIDE // 4, SIDE])
    param_names = ("problem", "side")

    def setup(self, problem: str, side: int) -> None:
        self.image = blurred(side)
        fd.solve(self.image, MOTION, max_iter=2, **PROBLEMS[problem])

    def time_solve(self, problem: str, side: int) -> None:
        fd.solve(self.image, MOTION, tol=TOL, **PROBLEMS[problem])


class Variant:
    params = (["exact", "tv"], list(VARIANTS))
    param_names = ("problem", "variant")

    def setup(self, problem: str, variant: str) -> None:
        make, dtype, workers = VARIANTS[variant]
        self.psf = make()
        self.image = blurred(SIDE // 2, self.psf, dtype)
        self.options = {**PROBLEMS[problem], "workers": workers}
        fd.solve(self.image, self.psf, max_iter=2, **self.options)

    def time_solve(self, problem: str, variant: str) -> None:
        fd.solve(self.image, self.psf, tol=TOL, **self.options)


class Frame:
    """One of many images, by a Deblurrer that is kept."""

    params = (["exact", "tv"],)
    param_names = ("problem",)

    def setup(self, problem: str) -> None:
        self.image = blurred(SIDE // 2)
        self.deblurrer = fd.Deblurrer(MOTION, self.image.shape, tol=TOL, **PROBLEMS[problem])
        self.deblurrer(self.image)

    def time_frame(self, problem: str) -> None:
        self.deblurrer(self.image)
