"""Psfs of a pupil by wave optics: defocus and Zernike aberrations (Fraunhofer diffraction)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import validation
from ..hygiene import normalise
from .builders import check_obscuration, shape_of

# First zero of the Bessel function J1 over pi: from the radius of the first dark ring to wavelength / aperture.
FIRST_RING = 1.2196698912665045
# Least and most samples along the pupil's diameter.
LEAST_SAMPLES, MOST_SAMPLES = 256, 2048
# Highest index of a Zernike polynomial: all to the tenth order.
MOST_INDEX = 66


def defocus(
    shape: Any, radius: float, waves: float, zernikes: Mapping[int, float] | None = None, obscuration: float = 0.0
) -> np.ndarray:
    """The image of a point through a round aperture out of focus or with aberrations, by wave optics.

    `disk` is what it becomes for many waves of defocus, `airy` for none.

    Parameters
    ----------
    shape : int or (int, int)
        Size of the psf in pixels; what it has beyond is left out.
    radius : float
        Of the first dark ring in focus, as of `airy`: ``1.22 * wavelength * f_number / pixel_pitch`` pixels, above 0.
    waves : float
        Defocus: the path difference between the pupil's edge and its middle in wavelengths, of either sign.  For many
        the disk's radius is about ``3.28 * abs(waves) * radius`` pixels.  A distance dz of the sensor from the focus is
        ``dz / (8 * wavelength * f_number**2)`` waves.
    zernikes : mapping of int to float, or None
        Aberrations in wavelengths, root mean square over the pupil without obscuration, by the Noll index [1]_ of their
        Zernike polynomial, from 2 to 66: 2 and 3 tilt (to the right and up), 4 defocus, 5 and 6 astigmatism, 7 and 8
        coma, 9 and 10 trefoil, 11 spherical aberration.
    obscuration : float
        The diameter of what is dark in the middle of the aperture, in shares of the aperture's: at least 0, below 1.

    Returns
    -------
    ndarray, float64, shape (rows, cols)
        The intensity's means over pixels, scaled to sum to 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above, or if the pupil would need more than 2048 samples
        across.

    References
    ----------
    .. [1] R. J. Noll, "Zernike polynomials and atmospheric turbulence", Journal of the Optical Society of America 66,
       1976.

    Examples
    --------
    >>> import fastdeblur as fd
    >>> fd.psf.defocus(21, radius=2.0, waves=1.5, zernikes={8: 0.1}).shape
    (21, 21)
    """
    rows, cols = shape_of(shape)
    radius, waves = validation.real("radius", radius, "above 0"), validation.real("waves", waves, "any")
    obscuration = check_obscuration(obscuration)
    terms = _checked(zernikes)

    # Samples across the pupil: the field repeats after as many times wavelength / aperture.
    unit = radius / FIRST_RING
    steepest = 4 * abs(waves) + sum(abs(value) * 2 * (_order(index)[0] + 1) ** 2 for index, value in terms.items())
    extent = 2 * max(rows, cols) / unit + 4 * steepest
    if not extent <= MOST_SAMPLES:
        raise ValueError(
            f"a pupil of radius {radius:g} with {waves:g} waves and shape {(rows, cols)} needs about {extent:.3g} "
            f"samples across, and at most {MOST_SAMPLES} are taken: for large psfs take fastdeblur.psf.disk"
        )
    count = max(LEAST_SAMPLES, math.ceil(extent))
    along = (np.arange(count) + 0.5) * (2 / count) - 1
    right, up = along[None, :], along[:, None]
    distance, angle = np.hypot(right, up), np.arctan2(up, right)
    path = waves * distance**2
    for index, value in terms.items():
        path = path + value * _zernike(index, distance, angle)
    # Samples at the edge count by about the share that is inside.
    inside = np.clip((1 - distance) * (count / 2) + 0.5, 0, 1) - np.clip(
        (obscuration - distance) * (count / 2) + 0.5, 0, 1
    )
    amplitude = inside * np.exp(2j * np.pi * path)

    # Intensities hold no frequency above 1 / unit: few nodes a pixel integrate them exactly.
    nodes, weights = np.polynomial.legendre.leggauss(min(4 + math.ceil(2 / unit), 24))
    fields = []
    for size, sign in ((rows, 1), (cols, -1)):
        places = (np.arange(size) - size // 2)[:, None] + nodes / 2
        fields.append(np.exp(sign * 1j * np.pi / unit * places.ravel()[:, None] * along))
    field = fields[0] @ amplitude @ fields[1].T
    intensity = (field.real**2 + field.imag**2).reshape(rows, len(nodes), cols, len(nodes))
    return normalise(np.einsum("iajb,a,b->ij", intensity, weights, weights))


def _checked(zernikes: Mapping[int, float] | None) -> dict[int, float]:
    if zernikes is None:
        return {}
    if not isinstance(zernikes, Mapping):
        raise TypeError(f"zernikes must map Noll indices to wavelengths, as {{7: 0.1}}; got {zernikes!r}")
    return {
        validation.integer("zernikes' index", index, 2, MOST_INDEX): validation.real(
            f"zernikes[{index!r}]", value, "any"
        )
        for index, value in zernikes.items()
    }


def _order(index: int) -> tuple[int, int]:
    """Radial order n and azimuthal frequency m, negative of sines, of Noll's index."""
    n = (math.isqrt(8 * index - 7) - 1) // 2
    place = index - n * (n + 1) // 2  # 1 to n + 1 within the order
    m = 2 * (place // 2) if n % 2 == 0 else 2 * ((place - 1) // 2) + 1
    return n, m if index % 2 == 0 else -m


def _zernike(index: int, distance: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Noll's Zernike polynomial, whose root mean square over the unit disk is 1."""
    n, m = _order(index)
    radial = np.zeros_like(distance)
    k = abs(m)
    for s in range((n - k) // 2 + 1):
        factor = (-1) ** s * math.factorial(n - s)
        divisor = math.factorial(s) * math.factorial((n + k) // 2 - s) * math.factorial((n - k) // 2 - s)
        radial += factor / divisor * distance ** (n - 2 * s)
    if m == 0:
        return np.asarray(math.sqrt(n + 1) * radial)
    wave = np.cos(k * angle) if m > 0 else np.sin(k * angle)
    return np.asarray(math.sqrt(2 * (n + 1)) * radial * wave)
