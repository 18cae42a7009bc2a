"""JPEG metadata segments, and options of the encoder."""

from __future__ import annotations

import functools
import io
import struct
from dataclasses import dataclass
from typing import Any

from .exif import PREFIX
from .metadata import Metadata
from .texts import one_text

# Beginnings of segments whose content is known to Pillow, or is that of the picture as it was encoded.
KNOWN = (b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b"JFIF\0", b"Adobe\0", b"Ducky")
IPTC = b"Photoshop 3.0\0"
QUALITY = 95


@dataclass(frozen=True)
class Own:
    """Segments and quantisation tables of a JPEG, which another can have."""

    segments: tuple[tuple[str, bytes], ...]
    tables: dict[int, list[int]]


def segments(picture: Any) -> tuple[tuple[tuple[str, bytes], ...], list[str]]:
    """Segments that are copied, with what they are in words, and words for what is not."""
    copied, left_out = [], []
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
            copied.append((word, marker + content))
    return tuple(copied), left_out


def options(metadata: Metadata | None) -> dict[str, Any]:
    """Options of Pillow's encoder: no chroma subsampling and fine steps, since fine detail is restored."""
    options_: dict[str, Any] = {"quality": QUALITY, "subsampling": 0}
    if metadata is None:
        return options_
    exif = PREFIX + metadata.exif.removeprefix(PREFIX) if metadata.exif else None
    named = {"icc_profile": metadata.icc, "exif": exif, "xmp": metadata.xmp, "comment": one_text(metadata)}
    options_ |= {name: value for name, value in named.items() if value}
    if metadata.dpi:
        options_["dpi"] = tuple(map(round, metadata.dpi))
    if metadata.own is not None:
        options_["extra"] = b"".join(content for _, content in metadata.own.segments)
        finer = [sum(table) for table in metadata.own.tables.values()]
        if finer and sum(finer) / len(finer) < sum(map(sum, _usual())) / len(_usual()):
            options_["qtables"] = list(metadata.own.tables.values())
    return options_


@functools.cache
def _usual() -> list[list[int]]:
    """The tables of the usual quality."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=QUALITY)
    with Image.open(file) as picture:
        return list(picture.quantization.values())  # type: ignore[attr-defined]
