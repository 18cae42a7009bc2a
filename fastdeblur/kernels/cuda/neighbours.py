"""Neighbours along an axis (CUDA), for differences that are periodic or end at the border."""

from __future__ import annotations

from .shapes import device


@device
def before(i, size, periodic):
    """The pixel before another: at the border the last one if the axis is periodic, else that pixel itself."""
    return i - 1 if i > 0 else (size - 1 if periodic else 0)


@device
def after(i, size, periodic):
    """The pixel after another: at the border the first one if the axis is periodic, else that pixel itself."""
    return i + 1 if i + 1 < size else (0 if periodic else i)
