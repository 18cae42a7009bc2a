"""What the project's targets are about: times as shares of a matrix product in the same run."""

from ._jobs import TARGETS
from ._ratio import in_products


class Share:
    params = (list(TARGETS),)
    param_names = ("job",)
    unit = "matrix products"

    def setup(self, name: str) -> None:
        self.job = TARGETS[name].prepare()
        self.job()

    def track_share(self, name: str) -> float:
        return in_products(self.job, rounds=2, samples=3)
