"""Axes of TIFF stacks in OME-XML and in ImageJ's and tifffile's descriptions: reading and rewriting."""

from __future__ import annotations

import contextlib
import json
import math
import re
from typing import Any

import numpy as np

from .axes import Axes
from .tiff_layout import axes_of

# The order in which ImageJ's axes follow one another.
IMAGEJ = "TZC"
IMAGEJ_NAMES = {"T": "frames", "Z": "slices", "C": "channels"}
PIXELS = r"<(?:\w+:)?Pixels\b[^>]{0,4000}>"
# What stays true of the pixels of OME-XML whose axes have other names.
OME_KEPT = r"\b(PhysicalSize[XYZ](?:Unit)?|TimeIncrement(?:Unit)?)\s*=\s*[\"']([^\"']{1,40})[\"']"


def telling(descriptions: list[str]) -> int:
    """Which of a page's descriptions, of which there may be two, tells of axes; the first if none does."""
    told = [bool(axes_of(text) or _shaped(text)[0]) for text in descriptions]
    return told.index(True) if any(told) else 0


def is_ome(description: str) -> bool:
    return re.search(PIXELS, description) is not None


def known_of(description: str, page: tuple[int, ...], count: int) -> list[tuple[str, int]]:
    """Letters and sizes of the axes that count pages, as a file's description says; empty if it does not."""
    sizes = axes_of(description)
    axes: list[tuple[str, int]] = []
    if sizes and is_ome(description):
        order = re.search(r"\bDimensionOrder\s*=\s*[\"']XY([TCZ]{3})[\"']", description)
        if len(page) == 3 and sizes.get("C", 1) % page[2] == 0:
            sizes["C"] //= page[2]  # which channels of a page count as
        axes = [(letter, sizes.get(letter, 1)) for letter in (order[1][::-1] if order else "TCZ")]
    elif sizes:
        axes = [(letter, sizes.get(letter, 1)) for letter in IMAGEJ]
    else:
        shape, letters = _shaped(description)
        start = len(shape) - len(page)
        axes = list(zip(letters[:start] or "?" * start, shape[:start], strict=False))
    return axes if math.prod(size for _, size in axes) == count else []


def _shaped(description: str) -> tuple[list[int], str]:
    """The shape, and letters, that tifffile writes."""
    with contextlib.suppress(ValueError, RecursionError):
        content = json.loads(description) if description.startswith("{") else {}
        shape, letters = content.get("shape"), content.get("axes")
        if isinstance(shape, list) and all(type(size) is int and 0 < size < 2**40 for size in shape):
            return shape, letters if isinstance(letters, str) and len(letters) == len(shape) else ""
    return [], ""


def _agrees(description: str, page: tuple[int, ...], axes: Axes) -> bool:
    """Whether OME-XML or ImageJ say the same axes."""
    known = known_of(description, page, math.prod(axes.lead))
    return bool(axes_of(description)) and [each for each in known if each[1] != 1] == axes.named


def changed(description: str, page: tuple[int, ...], axes: Axes) -> tuple[str, ...]:
    """Parts of a description that are not written again since axes have other names, in words."""
    if not axes.pages or _agrees(description, page, axes):
        return ()
    if is_ome(description):
        return ("all of the OME-XML, which is written anew for the axes, but the sizes of pixels",)
    if description.startswith("ImageJ=") and not _is_imagej(axes):
        return ("ImageJ's description, whose axes are in the order TZC (tifffile's instead)",)
    return ()


def _is_imagej(axes: Axes) -> bool:
    return [*axes.pages] == sorted(axes.pages, key=IMAGEJ.index)


def described(
    description: str, axes: Axes, page: tuple[int, ...], dtype: np.dtype[Any], planar: bool
) -> tuple[str, ...]:
    """The descriptions of a file's first page that say these axes, instead of the one that it had."""
    if _agrees(description, page, axes):
        return (description,)
    if is_ome(description):
        return (_ome(description, axes, page, dtype, planar),)
    if description.startswith("ImageJ=") and _is_imagej(axes):
        return (_imagej(description, axes),)
    shape = [*axes.lead, *(page[2:] if planar else ()), *page[:2], *(() if planar else page[2:])]
    channels = (axes.channels or "S") if len(page) == 3 else ""
    letters = axes.pages + (f"{channels}YX" if planar else f"YX{channels}")
    own = json.loads(description) if _shaped(description)[0] else {}
    shaped = json.dumps({**own, "shape": shape, "axes": letters})
    text = "" if own or description.startswith("ImageJ=") else description
    return (text, shaped) if text else (shaped,)


def _imagej(description: str, axes: Axes) -> str:
    first, *lines = description.rstrip("\n").split("\n")
    own = ("images", "hyperstack", *IMAGEJ_NAMES.values())
    others = [line for line in lines if line.split("=")[0] not in own]
    sizes = [f"{IMAGEJ_NAMES[letter]}={size}" for letter, size in zip(axes.pages, axes.lead, strict=True)]
    return "\n".join([first, f"images={math.prod(axes.lead)}", *sizes, "hyperstack=true", *others, ""])


def _ome(description: str, axes: Axes, page: tuple[int, ...], dtype: np.dtype[Any], planar: bool) -> str:
    import tifffile

    pixels = re.search(PIXELS, description)
    attributes: dict[str, Any] = dict(re.findall(OME_KEPT, pixels[0] if pixels else ""))
    shape = (*axes.lead, *(page[2:] if planar else ()), *page[:2], *(() if planar else page[2:]))
    samples = "S" if len(page) == 3 else ""
    letters = axes.pages + (f"{samples}YX" if planar else f"YX{samples}")
    channels = page[2] if samples else 1
    stored = (math.prod(axes.lead), channels if planar else 1, 1, page[0], page[1], 1 if planar else channels)
    xml = tifffile.OmeXml()
    xml.addimage(dtype.newbyteorder("="), shape, stored, axes=letters, **attributes)
    return xml.tostring(declaration=True)
