"""Psfs that vary over the image, from files: ``--psf FIELD.npz``, and ``--psf-positions`` for a stack of psfs."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import psf as psfs_module
from .. import validation
from ..io import files, pixels
from ..io.source import Source, readable
from ..operators.varying import VaryingBlur

SUFFIX = ".npz"
# What a file may hold: the psfs, where they are (in one of three ways), and the image's shape.
NAMES = ("psfs", "positions", "rows", "cols", "weights", "shape")


@dataclass(frozen=True)
class Field:
    """Arguments of `VaryingBlur`, from a file.

    Attributes
    ----------
    path : str
    psfs : ndarray
        Each sums to 1.
    positions, weights
    shape : (int, int) or None
        The image's, if the file says it.
    """

    path: str
    psfs: np.ndarray
    positions: Any
    weights: np.ndarray | None = None
    shape: tuple[int, ...] | None = None

    def operator(self, source: Source, options: dict[str, Any]) -> VaryingBlur:
        """The operator for the pages of a file, restored with these options of `solve`."""
        rows, cols = source.shape[:2]
        if self.shape not in (None, (rows, cols)):
            theirs = "x".join(map(str, self.shape or ()))
            raise ValueError(f"{self.path} is for an image of {theirs} pixels; this one has {rows}x{cols}")
        one = pixels.to_real(np.zeros((1, 1, *source.shape[2:]), source.dtype), source.alpha)
        given = {name: options[name] for name in ("path", "device", "workers") if name in options}
        try:
            return VaryingBlur(
                self.psfs, self.positions, (rows, cols), weights=self.weights,
                boundary=options.get("boundary", "unknown"), dtype=validation.working_dtype(one), **given,
            )  # fmt: skip
        except (TypeError, ValueError) as error:
            raise type(error)(f"{self.path}: {error}") from error


def is_field(spec: str) -> bool:
    """Whether a psf spec is the name of such a file."""
    return Path(spec).suffix.lower() == SUFFIX


def read(path: str, most: int | None = None) -> Field:
    """The field of an .npz file.

    Parameters
    ----------
    path : str
        Its arrays are `psfs`, of shape (rows, cols, taps, taps) or (count, taps, taps); then nothing more for an even
        grid whose corners are the image's corner pixels, `rows` and `cols` for where a grid's are, `positions` with a
        (row, column) for each psf, or `weights` of shape (count, rows, cols), as of `VaryingBlur`; and `shape`, the
        image's rows and columns, if that is to be checked.
    most : int or None
        Most bytes that it may take.

    Returns
    -------
    Field

    Raises
    ------
    ValueError
        If it is not that.
    """
    arrays = _arrays(Path(path), most)
    if "psfs" not in arrays:
        raise ValueError(f"{path} must have an array psfs; it has {', '.join(sorted(arrays)) or 'none'}")
    unknown = sorted(set(arrays) - {*NAMES})
    if unknown:
        raise ValueError(f"{path} may have the arrays {', '.join(NAMES)}; it also has {', '.join(unknown)}")
    ways = [{"positions"}, {"rows", "cols"}, {"weights"}]
    given = {"positions", "rows", "cols", "weights"} & set(arrays)
    if given and given not in ways:
        raise ValueError(
            f"{path} must say where its psfs are in one way: positions, or rows and cols, or weights; it has "
            f"{' and '.join(sorted(given))}"
        )
    shape = arrays.get("shape")
    if shape is not None and (shape.shape != (2,) or shape.dtype.kind not in "iu"):
        raise ValueError(f"{path}: shape must be two whole numbers, rows and columns; got {shape.tolist()}")
    psfs = arrays["psfs"]
    positions: Any = arrays.get("positions")
    if positions is not None and psfs.ndim == 4:  # one for each node, wherever that is
        if positions.shape == (*psfs.shape[:2], 2):
            positions = positions.reshape(-1, 2)
        psfs = psfs.reshape(-1, *psfs.shape[2:])
    if "rows" in arrays:
        positions = arrays["rows"], arrays["cols"]
    of_image = None if shape is None else tuple(shape.tolist())
    return Field(path, _normalised(path, psfs), positions, arrays.get("weights"), of_image)


def of_stack(path: str, stack: np.ndarray, positions: str) -> Field:
    """The field of a stack of psfs, pages last, whose positions are in another file.

    Parameters
    ----------
    path : str
        Of the stack.
    stack : ndarray, shape (taps, taps, pages)
    positions : str
        The name of a .npy file of shape (pages, 2), or of a text file with a row and a column in each line, with a
        comma or spaces between; after # there may be remarks.

    Returns
    -------
    Field

    Raises
    ------
    ValueError
        If it is not that.
    """
    with files.explained(Path(positions)):
        try:
            if Path(positions).suffix.lower() == ".npy":
                places = np.load(positions, allow_pickle=False)
            else:
                lines = Path(positions).read_text(encoding="utf-8").replace(",", " ").splitlines()
                places = np.loadtxt(lines, ndmin=2)
        except (ValueError, EOFError) as error:
            raise ValueError(f"it must have a row and a column in each line: {error}") from error
    pages = stack[..., None] if stack.ndim == 2 else stack
    if places.shape != (pages.shape[2], 2):
        raise ValueError(
            f"{positions} must have a row and a column for each of the {pages.shape[2]} psfs of {path}; its shape is "
            f"{places.shape}"
        )
    return Field(f"{path} with {positions}", np.moveaxis(pages, -1, 0), places)


def _arrays(path: Path, most: int | None) -> dict[str, np.ndarray]:
    """All arrays of a file, whose size is looked at before they are read."""
    with files.explained(path):
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(each.file_size for each in archive.infolist())
            if most is not None and size > most:
                raise ValueError(f"its arrays take {readable(size)}; --max-memory allows {readable(most)}")
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (zipfile.BadZipFile, EOFError) as error:
            raise ValueError(f"it is no .npz file: {error}") from error


def _normalised(path: str, psfs: np.ndarray) -> np.ndarray:
    """Psfs that sum to 1 each; those of another shape are refused later, by name."""
    if psfs.ndim not in (3, 4) or psfs.size == 0 or psfs.dtype.kind not in "iuf":
        raise ValueError(
            f"{path}: psfs must be numbers of shape (rows, cols, taps, taps), or (count, taps, taps); the shape is "
            f"{psfs.shape}, of {psfs.dtype}"
        )
    flat = psfs.reshape(-1, *psfs.shape[-2:])
    try:
        return np.stack([psfs_module.normalise(psf) for psf in flat]).reshape(psfs.shape)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
