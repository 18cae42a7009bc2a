"""EXIF and XMP as bytes: reading the orientation, and setting it to upright.

They are changed in place: written anew, what cameras' makers keep in them would no longer be found.
"""

from __future__ import annotations

import re
import struct

PREFIX = b"Exif\0\0"
ORIENTATION, RESOLUTION, PHOTOGRAPH, WIDTH, HEIGHT = 0x0112, 0x011A, 0x8769, 0xA002, 0xA003
IN_XMP = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)([1-8])")
SHORT, LONG = 3, 4


class Exif:
    """The directories of EXIF, which may be damaged: what lies beyond the end is not there."""

    def __init__(self, content: bytes):
        self.content = bytearray(content.removeprefix(PREFIX))
        self._order = {b"II": "<", b"MM": ">"}.get(bytes(self.content[:2]), "")
        self.first, self.entries, self.inner = 0, dict[int, int](), dict[int, int]()
        first = self._number("I", 4) if self._order else None
        self.whole = first is not None and self._read_directory(first)

    def _read_directory(self, first: int) -> bool:
        self.first, self.entries = self._directory(first)
        inner = self._value(self.entries.get(PHOTOGRAPH))
        self.inner = {} if inner is None else self._directory(inner)[1]
        return bool(self.entries)

    def _number(self, kind: str, place: int) -> int | None:
        size = struct.calcsize(kind)
        if not 0 <= place <= len(self.content) - size:
            return None
        return int(struct.unpack_from(self._order + kind, self.content, place)[0])

    def _directory(self, place: int) -> tuple[int, dict[int, int]]:
        """Where a directory ends, and its entries' places by their tags."""
        count = self._number("H", place) or 0
        places = [place + 2 + 12 * entry for entry in range(count) if place + 14 + 12 * entry <= len(self.content)]
        return place + 2 + 12 * count, {self._number("H", each) or 0: each for each in places}

    def _value(self, entry: int | None) -> int | None:
        """Of an entry of one number."""
        if entry is None:
            return None
        kind = {SHORT: "H", LONG: "I"}.get(self._number("H", entry + 2) or 0)
        return None if kind is None else self._number(kind, entry + 8)

    @property
    def orientation(self) -> int:
        """1 to 8; 1, upright, if there is none."""
        value = self._value(self.entries.get(ORIENTATION)) if self.whole else 1
        return value if value is not None and 1 <= value <= 8 else 1

    @property
    def has_thumbnail(self) -> bool:
        """Whether a second directory follows the first."""
        return self.whole and bool(self._number("I", self.first))

    def set_upright(self) -> None:
        """Say that rows and columns are as they are shown, and forget a thumbnail, which shows what was."""
        if not self.whole:
            return
        sideways, entry = self.orientation > 4, self.entries.get(ORIENTATION)
        if entry is not None:
            kind = "I" if self._number("H", entry + 2) == LONG else "H"
            struct.pack_into(self._order + kind, self.content, entry + 8, 1)
        if self.has_thumbnail:
            struct.pack_into(self._order + "I", self.content, self.first, 0)
        width, height = (self.inner.get(tag) for tag in (WIDTH, HEIGHT))
        if sideways and width is not None and height is not None:
            across, down = (bytes(self.content[each + 2 : each + 12]) for each in (width, height))
            self.content[width + 2 : width + 12], self.content[height + 2 : height + 12] = down, across


def orientation(exif: bytes | None, xmp: bytes | None) -> int:
    """Orientation (1 to 8) of a picture by EXIF, or if that has none by XMP."""
    value = Exif(exif) if exif else None
    if value is not None and value.whole and ORIENTATION in value.entries:
        return value.orientation
    said = IN_XMP.search(xmp or b"")
    return int(said[2]) if said else 1


def upright(exif: bytes | None, xmp: bytes | None) -> tuple[bytes | None, bytes | None, tuple[str, ...]]:
    """EXIF and XMP of the picture as it is shown, and what had to go, in words."""
    words: tuple[str, ...] = ()
    if exif:
        parsed = Exif(exif)
        words = ("the thumbnail in EXIF, which shows what was",) if parsed.has_thumbnail else ()
        parsed.set_upright()
        exif = bytes(parsed.content)
    return exif, IN_XMP.sub(rb"\g<1>1", xmp) if xmp else xmp, words
