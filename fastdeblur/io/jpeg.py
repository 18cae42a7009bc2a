"""JPEG: what its segments keep beside the picture, and how it is written."""

from __future__ import annotations

import functools
import io
import struct
from dataclasses import dataclass
from typing import Any

from .exif import PREFIX
from .metadata import Metadata

# Beginnings of segments whose content is known to Pillow, or is that of the picture as it was encoded.
KNOWN = (b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b"JFIF\0", b"Adobe\0", b"Ducky")
IPTC = b"Photoshop 3.0\0"
QUALITY = 95


@dataclass(frozen=True)
class Own:
    """What another JPEG can have of one: named segments, and the tables that its coefficients were divided by."""

    segments: tuple[tuple[str, bytes], ...]
    tables: dict[int, list[int]]


def segments(picture: Any) -> tuple[tuple[tuple[str, bytes], ...], list[str]]:
    """Segments that are copied, with what they are in words, and words for what is not."""
    kept, left_out = [], []
    for name, content in picture.applist:
        if name == "COM" or content.startswith(KNOWN):
            continue
        if content.startswith(b"MPF\0"):  # it says where they are in the file that was read
            left_out.append("the further pictures in it (MPF)")
        elif content.startswith(b"JFXX\0"):
            left_out.append("the thumbnail in JFXX, which shows what was")
        else:
            word = "IPTC (Photoshop)" if content.startswith(IPTC) else f"the segment {name}"
            marker = struct.pack(">BBH", 0xFF, 0xE0 + int(name[3:]), len(content) + 2)
            kept.append((word, marker + content))
    return tuple(kept), left_out


def options(kept: Metadata | None) -> dict[str, Any]:
    """What Pillow is told: colours at full resolution, since fine detail is what was restored, and fine steps."""
    found: dict[str, Any] = {"quality": QUALITY, "subsampling": 0}
    if kept is None:
        return found
    exif = PREFIX + kept.exif.removeprefix(PREFIX) if kept.exif else None
    named = {"icc_profile": kept.icc, "exif": exif, "xmp": kept.xmp, "comment": kept.description}
    found |= {name: value for name, value in named.items() if value}
    if kept.dpi:
        found["dpi"] = tuple(max(1, min(65535, round(each))) for each in kept.dpi)
    if kept.own is not None:
        found["extra"] = b"".join(content for _, content in kept.own.segments)
        finer = [sum(table) for table in kept.own.tables.values()]
        if finer and sum(finer) / len(finer) < sum(map(sum, _usual())) / len(_usual()):
            found["qtables"] = list(kept.own.tables.values())
    return found


@functools.cache
def _usual() -> list[list[int]]:
    """The tables of the usual quality."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=QUALITY)
    with Image.open(file) as picture:
        return list(picture.quantization.values())  # type: ignore[attr-defined]
