"""Decompression that stops at a limit.

A megabyte may become a terabyte, and what a header says of it need not be true: nothing here makes more than `most`
bytes, whatever is compressed.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

# Memory for an LZMA dictionary; `xz -9` needs 65 MB.
LZMA_MEMORY = 2**27


class TooLarge(ValueError):
    """Compressed data expands to more than it may."""

    def __init__(self) -> None:
        super().__init__("it is damaged: what is compressed in it is more than its pixels")


def of_streams(new: Callable[[], Any], single: bool = False) -> Callable[[bytes, int], bytes]:
    """A decoder of streams that follow one another, with zeros between, or of the first one alone."""

    def expand(data: bytes, most: int) -> bytes:
        parts, room = [], most
        while data:
            decompressor = new()
            parts.append(decompressor.decompress(data, room + 1))
            room -= len(parts[-1])
            if room < 0:
                raise TooLarge
            if not decompressor.eof:
                raise ValueError("it is truncated, or damaged: what is compressed in it is not all there")
            data = b"" if single else decompressor.unused_data.lstrip(b"\0")
        return b"".join(parts)

    return expand


STREAMS = {
    "zlib": of_streams(zlib.decompressobj, single=True),
    "gzip": of_streams(lambda: zlib.decompressobj(31)),
    "bz2": of_streams(bz2.BZ2Decompressor),
    "lzma": of_streams(lambda: lzma.LZMADecompressor(memlimit=LZMA_MEMORY)),
}


def of_imagecodecs(name: str) -> Callable[[bytes, int], bytes] | None:
    """A decoder of the package imagecodecs, if that is there."""
    try:
        import imagecodecs
    except ImportError:
        return None
    decode = getattr(imagecodecs, f"{name}_decode", None)

    def expand(data: bytes, most: int) -> bytes:
        decoded = decode(data, out=most + 1)  # type: ignore[misc]
        if len(decoded) > most:
            raise TooLarge
        return bytes(decoded)

    return None if decode is None else expand


def check_packbits(data: bytes, most: int) -> None:
    """Refuse runs of bytes that are more than `most` in all."""
    size = at = 0
    while at < len(data) and size <= most:
        run = data[at]
        size += run + 1 if run < 128 else (257 - run) % 129
        at += run + 2 if run < 128 else 1 + (run != 128)
    if size > most:
        raise TooLarge


def of_numcodecs(name: str, data: bytes, most: int) -> Any:
    """Data decompressed by the package numcodecs: blosc, lz4 or zstd."""
    import numcodecs

    codec = numcodecs.get_codec({"id": name})
    if name == "zstd":  # of which the size need not be said, nor be that of all frames
        try:
            codec.decode(data, np.empty(max(most, 1), np.uint8))
        except RuntimeError as error:
            if "expected to decompress" not in str(error):  # less than there is room for
                raise TooLarge if "too small" in str(error) else error from None
        except ValueError:
            raise TooLarge from None
        return codec.decode(data)
    # The decoders keep to what the header says.
    head = struct.unpack("<3I", data[4:16]) if name == "blosc" else struct.unpack("<I", data[:4])
    if head[0] > most:
        raise TooLarge
    if name == "blosc" and head[2] > len(data):
        raise ValueError("it is truncated, or damaged: what is compressed in it is not all there")
    return codec.decode(data)


ZARR_CODECS = (*STREAMS, "blosc", "lz4", "zstd")


def of_zarr(name: str, data: bytes, most: int) -> Any:
    """A chunk of a Zarr array, decompressed by one of ZARR_CODECS."""
    return STREAMS[name](data, most) if name in STREAMS else of_numcodecs(name, data, most)
