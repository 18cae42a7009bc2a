"""Blurred images with the noise that files have: JPEG, 8 bits, smoothed, enlarged and demosaicked noise, and white."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from scipy import ndimage

import fastdeblur as fd

from .photographs import Case

# Six that are unlike each other, for rules to be chosen on; and six more, to see what the choice is worth.
DEVELOPMENT = ("astronaut", "camera", "coffee", "moon", "retina", "rocket")
OTHERS = ("brick", "cell", "chelsea", "gravel", "hubble_deep_field", "immunohistochemistry")
PSFS = {
    "gaussian 1": fd.psf.gaussian(9, 1),
    "gaussian 2": fd.psf.gaussian(17, 2),
    "gaussian 3": fd.psf.gaussian(25, 3),
    "airy": fd.psf.airy(5, (31, 31)),
    "disk 5": fd.psf.disk(5),
    "motion 15": fd.psf.motion(15, 40),
}
# At least every psf's reach.
MARGIN = 16
# Standard deviation of the noise that is smoothed, enlarged or demosaicked.
NOISE = 0.01

Degradation = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def scene(name: str, side: int) -> np.ndarray:
    """The middle of a photograph that comes with scikit-image, of at most so many pixels a side, from 0 to 1."""
    from skimage import data

    image = getattr(data, name)() / 255
    rows, cols = (min(size, side) // 2 * 2 for size in image.shape[:2])
    top, left = (image.shape[0] - rows) // 2, (image.shape[1] - cols) // 2
    return np.asarray(image[top : top + rows, left : left + cols])


def gray(image: np.ndarray) -> np.ndarray:
    from skimage import color

    return np.asarray(color.rgb2gray(image) if image.ndim == 3 else image)


def _jpeg(quality: int) -> Degradation:
    def written(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        import imageio.v3 as imageio

        stored = io.BytesIO()
        imageio.imwrite(stored, _levels(image), extension=".jpg", quality=quality)
        return np.asarray(imageio.imread(stored, extension=".jpg") / 255)

    return written


def _levels(image: np.ndarray) -> np.ndarray:
    return np.round(255 * image.clip(0, 1)).astype(np.uint8)


def _eight_bits(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _levels(image) / 255


def _white(level: float) -> Degradation:
    return lambda image, rng: image + level * rng.standard_normal(image.shape)


def _smoothed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = ndimage.gaussian_filter(rng.standard_normal(image.shape), (0.7, 0.7, 0)[: image.ndim])
    return np.asarray(image + NOISE * noise / noise.std())


def _enlarged(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Twice, from means of two by two pixels, with cubic splines."""
    half = (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) / 4
    half = half + NOISE / 2 * rng.standard_normal(half.shape)
    factors = (2, 2, 1)[: image.ndim]
    return np.asarray(ndimage.zoom(half, factors, order=3, mode="nearest", grid_mode=True))


def _demosaicked(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Red, green and blue of a Bayer pattern, bilinear in between."""
    colours = image if image.ndim == 3 else np.stack([image] * 3, axis=-1)
    noisy = colours + NOISE * rng.standard_normal(colours.shape[:2])[..., None]
    rows, cols = np.indices(image.shape[:2]) % 2
    seen = np.stack([(rows == 0) & (cols == 0), rows != cols, (rows == 1) & (cols == 1)], axis=-1)
    near = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]])[..., None]
    full = ndimage.convolve(noisy * seen, near, mode="mirror") / ndimage.convolve(seen * 1.0, near, mode="mirror")
    return np.asarray(np.where(seen, noisy, full))


WHITE: dict[str, Degradation] = {f"white {level:g}": _white(level) for level in (0.001, 0.004, 0.01, 0.03)}
CORRELATED: dict[str, Degradation] = {
    "JPEG 75": _jpeg(75), "JPEG 90": _jpeg(90), "JPEG 95": _jpeg(95), "8 bits": _eight_bits,
    "smoothed": _smoothed, "enlarged": _enlarged, "demosaicked": _demosaicked,
}  # fmt: skip


def cases(
    photographs: Iterable[str],
    psfs: Iterable[str],
    kinds: dict[str, Degradation],
    side: int,
) -> Iterator[tuple[str, Case]]:
    """Each kind of noise, and a case of it; what is beyond the frame is blurred into it."""
    for name in photographs:
        whole = scene(name, side + 2 * MARGIN)
        inside = tuple(slice(MARGIN, size - MARGIN) for size in whole.shape[:2])
        sharp = gray(whole)[inside]
        for psf in psfs:
            taps = PSFS[psf][(...,) + (None,) * (whole.ndim - 2)]
            blurred = ndimage.convolve(whole, taps, mode="nearest")[inside]
            for number, (kind, degraded) in enumerate(kinds.items()):
                # The noise of a case is the same whichever others there are.
                rng = np.random.default_rng([*name.encode(), *psf.encode(), number])
                image = gray(degraded(blurred, rng)).astype(np.float32)
                yield kind, Case(name, psf, image, PSFS[psf], sharp)
