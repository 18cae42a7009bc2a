"""Transfer curve of a colour profile (ICC)."""

from __future__ import annotations

import io

import numpy as np

from .. import transfer

# Powers that are tried, and what a curve must be better by, in levels of 255, than sRGB's.
POWERS = np.arange(0.5, 4.005, 0.01)


def curve(profile: bytes | None) -> str | float | None:
    """The curve of gray by a profile: sRGB's, linear, or the nearest power; None if there is none, or it is damaged.

    A ramp of grays is taken to sRGB by LittleCMS, through Pillow.
    """
    if not profile:
        return None
    try:
        from PIL import Image, ImageCms
    except ImportError:  # a Pillow without LittleCMS
        return None
    try:
        parsed = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = {"RGB": "RGB", "GRAY": "L"}.get(parsed.profile.xcolor_space.strip())
        if mode is None:
            return None
        transform = ImageCms.buildTransform(
            parsed, ImageCms.createProfile("sRGB"), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC
        )
        ramp = Image.frombytes("L", (256, 1), bytes(range(256)))
        shown = np.asarray(ImageCms.applyTransform(ramp.convert(mode), transform), np.float64)[0].mean(axis=-1)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return _nearest(shown)


def _nearest(shown: np.ndarray) -> str | float:
    """Of the values that sRGB has for a ramp."""
    values = np.arange(256) / 255

    def error(expected: np.ndarray) -> float:
        return float(np.sqrt(((shown - 255 * expected) ** 2).mean()))

    errors = [error(transfer.encode(values**power)) for power in POWERS]
    best = int(np.argmin(errors))
    if error(values) <= errors[best]:
        return "srgb"
    power = round(float(POWERS[best]), 2)
    return "linear" if power == 1 else power
