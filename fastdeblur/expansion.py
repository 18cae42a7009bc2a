"""How large compressed bytes are when decompressed, found without the memory for it.

Decompressors of TIFF's and Zarr's readers have no limit, and a megabyte may become a terabyte.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable
from typing import Any

STREAMS: dict[str, Callable[[], Any]] = {
    "zlib": zlib.decompressobj,
    "gzip": lambda: zlib.decompressobj(31),
    "bz2": bz2.BZ2Decompressor,
    "lzma": lzma.LZMADecompressor,
}
HEADERS = ("blosc", "zstd", "lz4")
CODECS = (*STREAMS, *HEADERS)
PART = 2**20


def expanded(codec: str, data: bytes, most: int) -> int:
    """Bytes of `data` decompressed, counted no further than just beyond `most`; what is damaged counts so far."""
    if codec in HEADERS:
        return _claimed(codec, data)
    size = 0
    try:
        while data and size <= most:  # several streams may follow one another
            decompressor = STREAMS[codec]()
            while size <= most and not decompressor.eof:
                part = decompressor.decompress(data, PART)
                data = getattr(decompressor, "unconsumed_tail", b"")
                if not part:
                    return size  # truncated
                size += len(part)
            data = decompressor.unused_data
    except (zlib.error, lzma.LZMAError, OSError, EOFError):
        pass  # the reader will say so
    return size


def _claimed(codec: str, data: bytes) -> int:
    """What the header says, which is what the decompressors allocate, and keep to."""
    if codec == "zstd":
        return _of_zstd(data)
    place = 4 if codec == "blosc" else 0
    return int(struct.unpack("<I", data[place : place + 4])[0]) if len(data) >= place + 4 else 0


def _of_zstd(data: bytes) -> int:
    """The content size of a frame, see RFC 8878, or the most that its blocks can have where it is not said."""
    if data[:4] != b"\x28\xb5\x2f\xfd" or len(data) < 6:
        return 0
    descriptor = data[4]
    single = descriptor >> 5 & 1
    width = (single, 2, 4, 8)[descriptor >> 6]
    start = 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3]
    if width:
        return int.from_bytes(data[start : start + width], "little") + (256 if width == 2 else 0)
    size = 0
    while start + 3 <= len(data):
        block = int.from_bytes(data[start : start + 3], "little")
        kind, length = block >> 1 & 3, block >> 3  # as it is, one byte repeated, compressed
        size += 2**17 if kind == 2 else length
        start += 3 + (1 if kind == 1 else length)
        if block & 1:
            break
    return size
