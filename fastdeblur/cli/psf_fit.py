"""``fit:FAMILY``: a psf that is estimated from the image itself, for the commands ``psf`` and ``deblur``."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from .. import psf as psfs
from .. import validation
from ..io.source import Source, readable
from ..psf.families import FAMILIES

PREFIX = "fit:"
# Side of the part in the middle of an image that is read where the image is too large to be read at once.
PART = 2048
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"


def parsed(text: str) -> tuple[list[str], dict[str, Any]]:
    """Families and parameters of ``motion``, ``motion:10-25:0-60``, ``disk,gaussian`` or ``all``, as `psf.fit` takes
    them.

    Raises
    ------
    ValueError
        If it is none of these.
    """
    name, *fields = text.split(":")
    names = name.split(",")
    unknown = [each for each in names if each not in (*FAMILIES, "all")]
    if unknown:
        raise ValueError(f"family must be one or several of {', '.join(FAMILIES)}, or all; got {unknown[0]!r}")
    if not fields:
        return names, {}
    if len(names) > 1 or names == ["all"]:
        raise ValueError(f"ranges can be given for one family only; got {text!r}")
    parameters = list(FAMILIES[name].parameters)
    if len(fields) > len(parameters):
        raise ValueError(f"{name} has {len(parameters)} parameters, {', '.join(parameters)}; got {text!r}")
    ranges: dict[str, Any] = {}
    for parameter, field in zip(parameters, fields, strict=False):
        match = re.fullmatch(rf"({_NUMBER})(?:-({_NUMBER}))?", field.strip(), re.IGNORECASE)
        if field and match is None:
            raise ValueError(f"{parameter} must be a number, LOW-HIGH, or nothing; got {field!r} in {text!r}")
        if match is not None:
            low = float(match[1])
            ranges[parameter] = low if match[2] is None else (low, float(match[2]))
    return names, ranges


def fitted(text: str, source: Source, most: int) -> psfs.PsfFit:
    """The psf of an open image file, or of the first page of a stack, by `fastdeblur.psf.fit`.

    Parameters
    ----------
    text : str
        As `parsed` takes it.
    source : Source
        Whose curve is undone.
    most : int
        Most bytes that reading may take.

    Raises
    ------
    ValueError
        If there is no such family, or the image cannot be used.
    """
    families, ranges = parsed(text)
    image = light(source, most)
    axis = None if image.ndim == 2 else -1
    names: Any = families[0] if len(families) == 1 else families
    if source.dtype.kind in "iu":
        # What is clipped is not blurred any more.  (If that leaves no tile, most of the image is, or it is everywhere.)
        clipped = np.where(image < 1, image, np.nan)
        try:
            return psfs.fit(clipped, names, parameters=ranges, channel_axis=axis)
        except ValueError as error:
            if "nan" not in str(error):
                raise
    return psfs.fit(image, names, parameters=ranges, channel_axis=axis)


def light(source: Source, most: int) -> np.ndarray:
    """The real numbers of an image or of the first page of a stack, or of its middle; NaN where they are missing."""
    rows, cols = source.shape[:2]
    if not source.in_parts or source.takes <= min(most, 16 * PART**2):
        source.check_size(most)
        stored = source.page(0)
        part = (slice(0, stored.shape[0]), slice(0, stored.shape[1]))
    else:
        down, across = min(PART, rows), min(PART, cols)
        need = source.part + down * across * math.prod(source.shape[2:]) * (source.dtype.itemsize + 8)
        if need > most:
            raise ValueError(f"estimating the psf takes {readable(need)}, and at most {readable(most)} may be used")
        top, left = (rows - down) // 2, (cols - across) // 2
        part = (slice(top, top + down), slice(left, left + across))
        stored = np.asarray(source.parts_of(0)[part])
    real = source.real(stored, source.missing_mask(stored, part))
    return real[..., 0] if real.ndim == 3 and real.shape[2] == 1 else real


def said(estimate: psfs.PsfFit) -> dict[str, Any]:
    """An estimate, for JSON."""
    figures = {"family": estimate.family, "parameters": estimate.parameters, "errors": estimate.errors}
    return {**figures, "evidence": estimate.evidence, "misfit": estimate.misfit, "warnings": list(estimate.warnings)}


def warn(estimate: psfs.PsfFit) -> None:
    """Show a fit's reasons to doubt it."""
    for each in estimate.warnings:
        validation.warn(f"psf: {each}", UserWarning)
