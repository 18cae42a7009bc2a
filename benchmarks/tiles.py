"""A mapped image, restored tile by tile into a file."""

import tempfile
from pathlib import Path

import numpy as np

import fastdeblur as fd

from ._jobs import gaussian
from ._problems import blurred

TILE, SIDE = 512, 1024
# Arguments of `deblur_large`.
WAYS = {
    "gradient": {"data": "squares", "mu": 0.01},
    "gradient, automatic weight": {},
    "tv": {"prior": "tv", "mu": 0.01, "tol": 1e-3},
}


class Tiles:
    """Four, of 512 x 512 each."""

    params = (list(WAYS),)
    param_names = ("way",)

    def setup(self, way: str) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.source, self.out = (Path(self.folder.name) / name for name in ("source.npy", "restored.npy"))
        psf, self.options = gaussian(), WAYS[way]
        np.save(self.source, np.tile(blurred(TILE, psf), (SIDE // TILE,) * 2))
        fd.deblur_large(np.load(self.source, mmap_mode="r")[:TILE, :TILE], psf, self.out, tile=TILE, **self.options)

    def teardown(self, way: str) -> None:
        self.folder.cleanup()

    def time_tiles(self, way: str) -> None:
        fd.deblur_large(np.load(self.source, mmap_mode="r"), gaussian(), self.out, tile=TILE, **self.options)

    def peakmem_one_tile(self, way: str) -> None:
        """What `peakmem_tiles` must hardly exceed, whatever the image's size: `setup` has done one tile."""

    def peakmem_tiles(self, way: str) -> None:
        self.time_tiles(way)
