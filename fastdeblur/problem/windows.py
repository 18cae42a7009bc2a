"""Windows of images: their power and what a blur leaves of each frequency, and tables of frequencies."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..kernels.runtime import forks
from ..kernels.runtime.arrays import beside, module_of, transforms_of
from ..operators.boundary import reduced
from .laplacian import eigenvalues

# The share of a side over which the window fades: a Tukey window, with 1 Hann's, for which the middle counts most.
# (Mean losses to the best weight, in closed form, are with 1 0.10 and 0.06 dB where noise is white, 0.13 and 0.11 where
# it is not, on the two sets of six photographs of benchmarks/_degraded.py, three psfs each; with 0.8 0.06, 0.05, 0.10
# and 0.10.  With 0.6 so much leaks that three results are worse than the blurred image.)
FADING = 0.8
# The least side of parts of an image whose power is averaged, and how many psfs it is long at least.
LEAST_PART, PSFS_IN_PART = 512, 8
# Pixels of an image of which tables are kept, and for how many psfs and shapes.
SMALL, KEPT = 2**16, 8
# The least radius of frequencies, in radians a pixel.
LEAST = 3e-3


class Windowed:
    """The power of a window of an image, which fades at the border.

    Attributes
    ----------
    power : ndarray, shape (psfs, rows, cols // 2 + 1)
        Summed over the channels that are blurred alike.
    laplacian, times : ndarray, shape (rows, cols // 2 + 1)
        The differences' square, and how many frequencies of the image each one stands for.
    scale : float
        The square of the psf's sum: a ridge of 1 means the same whatever that is.
    """

    def __init__(self, planes: np.ndarray, psfs: list[np.ndarray]):
        rows, cols = planes.shape[1:]
        xp, fft = module_of(planes), transforms_of(planes)
        down, across = beside(_window(rows), planes), beside(_window(cols), planes)
        self.power = xp.zeros((len(psfs), rows, cols // 2 + 1))
        for k, plane in enumerate(planes):
            mean = float(down @ xp.einsum("rc,c->r", plane, across)) / float(down.sum() * across.sum())
            # In place, here and below: to get memory for an image takes as long as a pass over it.
            faded = plane.astype(np.float64)
            faded -= mean
            faded *= across
            faded *= down[:, None]
            with forks.unforked():
                coefficients = fft.rfft2(faded)
            self.power[k % len(psfs)] += xp.square(coefficients.real)
            self.power[k % len(psfs)] += xp.square(coefficients.imag)
        self.power /= (down**2).sum() * (across**2).sum()
        del faded, coefficients
        self.laplacian = beside(laplacian(rows, cols), planes)
        self.times = beside(times(rows, cols), planes)
        self.scale = float(max(np.abs(psf).sum(dtype=np.float64) for psf in psfs)) ** 2 or 1.0


def kept_for_psf(table: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of what is made of a psf, a shape, an array beside which it is to lie, and numbers.

    For images that are small, and on the host, it is kept, for many with one psf come one after another.
    """
    here = np.empty(0)

    @functools.lru_cache(maxsize=KEPT)
    def kept(weights: bytes, dtype: str, taps: tuple[int, int], shape: tuple[int, int], *numbers: float) -> Any:
        found = table(np.frombuffer(weights, dtype).reshape(taps), shape, here, *numbers)
        for array in found if isinstance(found, tuple) else [found]:
            array.flags.writeable = False
        return found

    @functools.wraps(table)
    def of_psf(psf: np.ndarray, shape: tuple[int, int], like: np.ndarray, *numbers: float) -> Any:
        if shape[0] * shape[1] > SMALL or module_of(like) is not np:
            return table(psf, shape, like, *numbers)
        return kept(psf.tobytes(), psf.dtype.str, psf.shape, shape, *numbers)

    return of_psf


@kept_for_psf
def transfer(psf: np.ndarray, shape: tuple[int, int], like: np.ndarray) -> np.ndarray:
    """The Fourier coefficients of a psf's columns and half of its rows, for periodic images of a shape."""
    weights, fft = beside(reduced(psf.astype(np.float64), shape, "wrap"), like), transforms_of(like)
    with forks.unforked():  # (rows of zeros need no transform)
        coefficients: np.ndarray = fft.fft(fft.rfft(weights, shape[1]), shape[0], axis=0)
    return coefficients


def psf_power(psf: np.ndarray, shape: tuple[int, int], like: np.ndarray, scale: float) -> np.ndarray:
    """What a blur leaves of the power of each frequency, |h|² over `scale`."""
    coefficients = transfer(psf, shape, like)
    power: np.ndarray = coefficients.real**2
    power += coefficients.imag**2
    power /= scale
    return power


def parts_of_large(planes: np.ndarray, psfs: list[np.ndarray]) -> np.ndarray:
    """Large planes in parts of at least LEAST_PART pixels a side, and far larger than the psfs, as so many more planes.

    Their mean power says as much of classes of frequencies as that of the whole, in a third of the time.
    """
    sides, cuts = planes.shape[1:], []
    for axis, size in enumerate(sides):
        least = max(LEAST_PART, PSFS_IN_PART * max(psf.shape[axis] for psf in psfs))
        cuts.append(max(size // least, 1))
    rows, cols = (size // count for size, count in zip(sides, cuts, strict=True))
    whole = planes[:, : cuts[0] * rows, : cuts[1] * cols].reshape(-1, cuts[0], rows, cuts[1], cols)
    parts: np.ndarray = whole.transpose(1, 3, 0, 2, 4).reshape(-1, rows, cols)
    return parts


def windowed_power(response: np.ndarray, cols: int) -> np.ndarray:
    """|h|² as the window shows it: about a third of a frequency's power is that of its neighbours.  (Else where the
    blur passes nothing what leaks there would be taken for noise.)"""
    xp = module_of(response)
    down: np.ndarray = 4 * response
    down[1:] += response[:-1]
    down[0] += response[-1]
    down[:-1] += response[1:]
    down[-1] += response[0]
    down /= 6
    # Beside the first column and the last are those at -frequency, of the other half.
    left, right = (xp.roll(down[::-1, k], 1) for k in (1 % down.shape[1], (cols - 1) // 2))
    mixed: np.ndarray = 4 * down
    mixed[:, 1:] += down[:, :-1]
    mixed[:, 0] += left
    mixed[:, :-1] += down[:, 1:]
    mixed[:, -1] += right
    mixed /= 6
    return mixed


def kept_if_small(table: Callable[[int, int], np.ndarray]) -> Callable[[int, int], np.ndarray]:
    """Decorator: of the last few small shapes a table is kept, for images of one size come one after another."""
    kept = functools.lru_cache(maxsize=4)(table)

    @functools.wraps(table)
    def of_shape(rows: int, cols: int) -> np.ndarray:
        found = kept(rows, cols) if rows * cols <= SMALL else table(rows, cols)
        found.flags.writeable = False
        return found

    return of_shape


@kept_if_small
def laplacian(rows: int, cols: int) -> np.ndarray:
    """The differences' square at each frequency of a real image."""
    return np.asarray(eigenvalues(rows, rows)[:, None] + eigenvalues(cols, cols // 2 + 1)[None, :])


@kept_if_small
def times(rows: int, cols: int) -> np.ndarray:
    """How many frequencies of a window each of those of a real image stands for."""
    many = np.full((rows, cols // 2 + 1), 2.0)
    many[:, 0] = 1
    if cols % 2 == 0:
        many[:, -1] = 1
    # The lowest frequencies are the window's own.
    many[:3, :3] = 0
    many[max(rows - 2, 0) :, :3] = 0
    return many


@kept_if_small
def log_radius(rows: int, cols: int) -> np.ndarray:
    """The logarithm of each frequency's length in radians a pixel."""
    down = 2 * np.pi * np.fft.fftfreq(rows)
    across = 2 * np.pi * np.fft.rfftfreq(cols)
    squares = np.add.outer(down**2, across**2)
    return np.asarray(np.log(np.maximum(squares, LEAST**2, out=squares), out=squares) / 2)


def share_in_window(present: np.ndarray) -> float:
    """Of how much of a window's energy there are pixels, of planes."""
    xp = module_of(present)
    window = beside(_window(present.shape[1]) ** 2, present)[:, None] * beside(_window(present.shape[2]) ** 2, present)
    return float((window * present.mean(axis=0)).sum() / window.sum()) if xp.any(window) else 0.0


def _window(size: int) -> np.ndarray:
    """Tukey's: it rises and falls as Hann's does, and is flat in between."""
    place = np.minimum(np.arange(size) + 0.5, np.arange(size)[::-1] + 0.5) * (2 / (FADING * size))
    window: np.ndarray = np.sin(np.pi / 2 * np.minimum(place, 1)) ** 2
    return window
