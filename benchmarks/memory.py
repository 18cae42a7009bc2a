"""Peak memory of the whole process; what a solve needs is what it has more than `inputs`."""

from ._jobs import SIDE, descend, full_rank, gaussian, image

PSFS = {"gaussian 13x13": gaussian, "full-rank 13x13": lambda: full_rank(13)}


class Solve:
    params = (list(PSFS), [SIDE, 2 * SIDE])
    param_names = ("psf", "side")

    def setup_cache(self) -> None:
        # In a process of its own, so that the compiler's memory is in neither figure.
        for psf in PSFS.values():
            descend(image(64, 64), psf(), 1)

    def setup(self, psf: str, side: int) -> None:
        descend(image(64, 64), PSFS[psf](), 1)

    def peakmem_inputs(self, psf: str, side: int) -> None:
        self.inputs = image(side, side), PSFS[psf]()

    def peakmem_gd(self, psf: str, side: int) -> None:
        descend(image(side, side), PSFS[psf](), 3)
