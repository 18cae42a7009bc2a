"""Metadata of image files, and which of it each format can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .axes import Axes

# The fields of `Metadata` that have a place in a format.  What is `own` has one in the format that it comes from.
KEEPS: dict[str, frozenset[str]] = {
    "PNG": frozenset({"icc", "exif", "xmp", "dpi", "text", "description", "header"}),
    "JPEG": frozenset({"icc", "exif", "xmp", "dpi", "text", "description", "header"}),
    "WebP": frozenset({"icc", "exif", "xmp"}),
    "BMP": frozenset({"dpi"}),
    "TIFF": frozenset({"icc", "exif", "xmp", "dpi", "text", "description", "header"}),
    "NPY": frozenset(),
    "Zarr": frozenset(),
    "FITS": frozenset({"text", "description", "header"}),
}
# What a format has no room for beyond so many bytes.
ROOM = {"JPEG": dict.fromkeys(("exif", "xmp", "text", "description", "header"), 65000)}
WORDS = {
    "icc": "the colour profile (ICC)",
    "exif": "EXIF",
    "xmp": "XMP",
    "dpi": "the resolution in dpi",
    "text": "text",
    "description": "the description",
    "header": "the FITS header",
}


@dataclass(frozen=True)
class Metadata:
    """Metadata of an image file.

    Attributes
    ----------
    format : str
        The name of the format that it was read from, as in `files.FORMATS`.
    icc, exif, xmp : bytes or None
        As they stand in files.  EXIF begins with the header of its TIFF, and its orientation is upright.
    dpi : (float, float) or None
        Pixels an inch, across and down.
    text : mapping of str to str
        By keyword, as PNG has it.
    description : str or None
        What the picture shows.
    header : tuple of str
        Cards of a FITS header, but for those of how pixels are stored.
    own : object
        What only the same format can write again; its reader and writer know what it is.
    own_words : tuple of str
        What that is, in words, for the message that says that another format has no place for it.
    unread : tuple of str
        What no format keeps, in words, since it holds for the file that was read alone.
    history : str
        What was done to the pixels, for formats that note it.
    changed : tuple of str
        What the same format writes otherwise, in words.
    axes : Axes or None
        What the axes are, where that was said beside the file.
    """

    format: str
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: Mapping[str, str] = field(default_factory=dict)
    description: str | None = None
    header: tuple[str, ...] = ()
    own: Any = None
    own_words: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    history: str = ""
    changed: tuple[str, ...] = ()
    axes: Axes | None = None

    def lost(self, format: str) -> list[str]:
        """The part of it that a format cannot hold, in words."""
        words = [word for name, word in WORDS.items() if getattr(self, name) and not self._fits(name, format)]
        words += self.changed if format == self.format else self.own_words
        return list(dict.fromkeys([*words, *self.unread]))

    def for_format(self, format: str) -> Metadata:
        """The part of it that a format can hold."""
        empty: dict[str, Any] = {"text": {}, "header": ()}
        gone: dict[str, Any] = {name: empty.get(name) for name in WORDS if not self._fits(name, format)}
        return replace(self, **gone) if format == self.format else replace(self, own=None, **gone)

    def _fits(self, name: str, format: str) -> bool:
        """Whether a format has a place for a field."""
        if name not in KEEPS.get(format, frozenset()):
            return False
        value, room = getattr(self, name), ROOM.get(format, {}).get(name)
        if (format, name) == ("JPEG", "dpi") and value:  # whole numbers of 16 bits
            return all(0.5 <= each < 65535.5 and abs(round(each) / each - 1) < 0.01 for each in value)
        if name == "text":  # beside a description, in one
            value = "\n".join([self.description or "", *(f"{key}: {text}" for key, text in value.items())])
        value = "\n".join(value) if name == "header" else value
        return room is None or value is None or len(value.encode() if isinstance(value, str) else value) <= room


def lead_of(metadata: Metadata | None, pages: int | None) -> tuple[int, ...]:
    """The sizes of the axes of an array that count its pages."""
    if pages is None:
        return ()
    axes = None if metadata is None else metadata.axes
    return axes.lead if axes is not None and math.prod(axes.lead) == pages else (pages,)


@dataclass(frozen=True)
class Pages:
    """An image, or a stack of them, to be written.

    Attributes
    ----------
    shape, dtype
        Of a page.
    count : int or None
        None is a single image.
    alpha : bool
        Whether the last channel is alpha.
    metadata : Metadata or None
    folder : Path or None
        Where what does not fit into memory may lie for a while.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    count: int | None = None
    alpha: bool = False
    metadata: Metadata | None = None
    folder: Path | None = None

    @property
    def lead(self) -> tuple[int, ...]:
        """The sizes of the axes that count pages."""
        return lead_of(self.metadata, self.count)
