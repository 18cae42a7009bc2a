"""The 32 images of Levin et al. (CVPR 2009), from a folder, with the protocol by which they are judged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import fastdeblur as fd

from . import _scores
from .photographs import Case

IMAGES, KERNELS = 4, 8
NAMES = ("kernels.mat", "kernels.npz", "kernels.npy")
LAYOUT = """\
The folder has
  im1_kernel1_img.png to im4_kernel8_img.png   the blurred images
  gt/im1.png to gt/im4.png                     the sharp ones, of the same size; images without one are left out
  kernels.mat, kernels.npz or kernels.npy      the psfs, unless --kernels says where they are

The kernels' file is one of
  .mat   a cell array `kernels` of 8 matrices, or an array `kernels` of shape (rows, cols, 8), or
         8 matrices kernel1 to kernel8 (those of MATLAB 7.3 need h5py: pip install h5py)
  .npz   an array `kernels` of shape (8, rows, cols), or 8 arrays kernel1 to kernel8
  .npy   an array of shape (8, rows, cols), not of objects
Smaller kernels may be padded with zeros, on any side.  They are divided by their sum and centred at their
centroid.  Some copies of the data set hold them turned by 180 degrees (for correlation instead of convolution):
--turn auto, the default, takes for all 8 whichever of the two makes the blurred images out of the sharp ones.

Scores are those of Levin et al.: 15 pixels are cut off on each side, and the restored image is shifted, by at
most 5 pixels in steps of a quarter, bilinear in between, to where it differs least from the sharp one.
"""


class Shifted(Case):
    """Its scores are those at the best shift, without the borders."""

    def psnr(self, restored: np.ndarray) -> float:
        return _scores.psnr(*_scores.aligned(self.sharp, restored)[:2])

    def ssim(self, restored: np.ndarray) -> float:
        return _scores.ssim(*_scores.aligned(self.sharp, restored)[:2])


def cases(folder: Path, kernels: Path | None = None, turn: str = "auto") -> tuple[list[Shifted], bool]:
    """The 32 cases, or those whose sharp images are there, and whether the kernels were turned."""
    psfs = [fd.psf.centre(fd.psf.normalise(kernel)) for kernel in read_kernels(kernels or found_in(folder))]
    given = list(_cases(folder, psfs))
    turned = [case._replace(psf=case.psf[::-1, ::-1]) for case in given]
    turning = turn == "yes" or (turn == "auto" and _unexplained(turned) < _unexplained(given))
    return turned if turning else given, turning


def too_far(cases: list[Shifted]) -> list[str]:
    """The cases whose blurred image is shifted by as much as scores allow for, so perhaps by more."""
    return [f"{case.name}, {case.kind}" for case in cases if max(map(abs, _explained(case)[2])) >= _scores.SHIFT]


def read_kernels(path: Path) -> list[np.ndarray]:
    """The 8 kernels of a file, as they are there; see `LAYOUT`."""
    if path.suffix == ".npy":
        kernels = list(np.load(path))
    elif path.suffix == ".npz":
        with np.load(path) as stored:
            kernels = _of_variables(dict(stored))
    elif path.suffix == ".mat":
        kernels = _of_variables(_read_matlab(path))
    else:
        raise ValueError(f"kernels must be in a .mat, .npz or .npy file; got {path}")
    kernels = [np.asarray(kernel, np.float64) for kernel in kernels]
    if len(kernels) != KERNELS or any(kernel.ndim != 2 for kernel in kernels):
        shapes = ", ".join(str(kernel.shape) for kernel in kernels)
        raise ValueError(f"{path} must hold {KERNELS} kernels, each a matrix; their shapes are {shapes}")
    return kernels


def _of_variables(stored: dict[str, Any]) -> list[Any]:
    if "kernels" in stored:
        return list(stored["kernels"])
    names = [f"kernel{number}" for number in range(1, KERNELS + 1)]
    if set(names) <= set(stored):
        return [stored[name] for name in names]
    raise ValueError(f"the file must have `kernels`, or {names[0]} to {names[-1]}; it has {', '.join(stored)}")


def _read_matlab(path: Path) -> dict[str, Any]:
    """Its variables, with the kernel's number first."""
    import scipy.io

    try:
        stored = scipy.io.loadmat(path)
    except NotImplementedError:
        stored = _read_matlab_7_3(path)
    stored = {name: value for name, value in stored.items() if re.fullmatch(r"kernels|kernel\d", name)}
    kernels = stored.get("kernels")
    if kernels is not None:
        stored["kernels"] = kernels.ravel() if kernels.dtype == object else np.moveaxis(kernels, -1, 0)
    return stored


def _read_matlab_7_3(path: Path) -> dict[str, Any]:
    """HDF5, with axes in the other order and cells as references."""
    try:
        import h5py
    except ImportError:
        raise ValueError(f"{path} is of MATLAB 7.3, which needs h5py: pip install h5py") from None

    def matrices(cells: np.ndarray) -> np.ndarray:
        found = np.empty(cells.size, object)
        found[:] = [file[cell][()].T for cell in cells.ravel()]
        return found

    with h5py.File(path) as file:
        stored = {name: value[()] for name, value in file.items() if isinstance(value, h5py.Dataset)}
        return {name: matrices(value) if value.dtype == object else value.T for name, value in stored.items()}


def found_in(folder: Path) -> Path:
    for name in NAMES:
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"{folder} has none of {', '.join(NAMES)}; --kernels says where they are")


def _cases(folder: Path, psfs: list[np.ndarray]) -> Iterator[Shifted]:
    scenes = [scene for scene in range(1, IMAGES + 1) if (folder / "gt" / f"im{scene}.png").exists()]
    if not scenes:
        raise FileNotFoundError(f"{folder} has no gt/im1.png to gt/im{IMAGES}.png")
    for scene in scenes:
        sharp = read_gray(folder / "gt" / f"im{scene}.png")
        for number, psf in enumerate(psfs, 1):
            path = folder / f"im{scene}_kernel{number}_img.png"
            image = read_gray(path)
            if image.shape != sharp.shape:
                raise ValueError(f"{path} must be of its sharp image's size {sharp.shape}; it is of {image.shape}")
            yield Shifted(f"im{scene}", f"kernel {number}", image.astype(np.float32), psf, sharp)


def read_gray(path: Path) -> np.ndarray:
    """Gray, from 0 to 1."""
    from skimage import color, io, util

    image = util.img_as_float64(io.imread(path))
    return image if image.ndim == 2 else color.rgb2gray(image[..., :3])


def _explained(case: Shifted) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """The blurred image, and what the psf makes of the sharp one, aligned."""
    return _scores.aligned(case.image, fd.convolve(case.sharp, case.psf, boundary="nearest"))


def _unexplained(cases: list[Shifted]) -> float:
    return sum(float(np.sum((seen - made) ** 2)) for seen, made, _ in map(_explained, cases))
