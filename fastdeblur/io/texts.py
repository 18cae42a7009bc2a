"""Texts that go from one format to another: FITS headers, PNG's keywords, and facts that EXIF tells."""

from __future__ import annotations

import math
import re
import struct
from typing import Any

from .metadata import Metadata
from .tiff_exif import EXIF, parted

# The keyword of a PNG's text that holds a FITS header, in lines of cards.
HEADER = "FITS header"
# By this a text is known as one, as programs for astronomy write them in ImageDescription of TIFFs.
FIRST = "SIMPLE  ="
MOST_HEADER = 2**22
# Keywords of a FITS header that speak of how its pixels are stored.
STRUCTURAL = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|BSCALE|BZERO|BLANK|CHECKSUM|DATASUM|DATAM(IN|AX)|"
    r"EXT(NAME|VER|LEVEL)|INHERIT|TFIELDS|T(TYPE|FORM)\d+|Z(IMAGE|BITPIX|CMPTYPE|NAXIS\d*|TILE\d+|NAME\d+|VAL\d+)|END"
)
CARD = re.compile(r"([A-Z0-9_-]{1,8} *(=|$)|COMMENT|HISTORY|CONTINUE|HIERARCH |$| {8})")
# Types of TIFF's tags: a rational, a float and a double.
NUMBERS = {5: "II", 11: "f", 12: "d"}
# Tags of EXIF, and the keywords that tell the same in FITS; and texts of PNG, and tags of TIFF.
FACTS = {306: "DATE-OBS", 315: "AUTHOR", 272: "INSTRUME", 33432: "COPYRGHT", 33434: "EXPTIME"}
TAGS = {"Author": 315, "Copyright": 33432, "Software": 305}


def one_text(metadata: Metadata) -> str | None:
    """All texts in one, for formats that have room for one: a FITS header in lines, or the description and others."""
    if metadata.header:
        return "\n".join([f"{FIRST}                    T", *metadata.header, "END"])
    lines = [metadata.description] if metadata.description else []
    return "\n".join([*lines, *(f"{keyword}: {text}" for keyword, text in metadata.text.items())]) or None


def header_in(text: str | None) -> tuple[str, ...]:
    """The cards of a text that is a FITS header; empty if it is none."""
    if text is None or not text.startswith(FIRST) or len(text) > MOST_HEADER or not text.isascii():
        return ()
    lines = [line.rstrip() for line in text.splitlines()]
    lines = lines[: lines.index("END")] if "END" in lines else lines
    if not all(len(line) <= 80 and CARD.match(line) for line in lines):
        return ()
    return tuple(line for line in lines if line and not _is_structural(line))


def _is_structural(card: str) -> bool:
    return STRUCTURAL.fullmatch(card[:8].strip()) is not None


def cards_of(header: Any) -> tuple[str, ...]:
    """Cards of a FITS header that hold for the picture, whatever the format that it is stored in."""
    try:
        lines = header.tostring(sep="\n", endcard=False, padding=False).splitlines()
    except Exception:  # noqa: BLE001 -- whatever astropy says of cards that are none
        return ()
    return tuple(line.rstrip() for line in lines if line.strip() and not _is_structural(line))


def facts_of(metadata: Metadata) -> dict[str, str | float]:
    """What EXIF tells that FITS has keywords for."""
    if not metadata.exif:
        return {}
    order, about, directories = parted(metadata.exif)
    facts: dict[str, str | float] = {}
    for code, kind, count, value in [*about, *directories.get(EXIF, [])]:
        if code not in FACTS:
            continue
        if kind == 2:
            text = value.rstrip(b"\0 ").decode("ascii", "replace").strip()
            if date := re.fullmatch(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)", text):
                text = f"{date[1]}-{date[2]}-{date[3]}T{date[4]}"
            elif code == 306:
                continue
            facts[FACTS[code]] = "".join(each for each in text if each.isprintable() and each.isascii())[:68]
        elif kind in NUMBERS and count == 1:
            over, *under = struct.unpack(order + NUMBERS[kind], value)
            facts |= {FACTS[code]: over / (under or [1])[0]} if all(under) else {}
    return {name: fact for name, fact in facts.items() if fact != "" and (isinstance(fact, str) or math.isfinite(fact))}
