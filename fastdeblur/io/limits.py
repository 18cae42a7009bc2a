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
        if name == "lzw":  # damaged streams end the process where the size of what they become is given
            check_lzw(data, most)
            return bytes(decode(data))  # type: ignore[misc]
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


# LZW's codes between two that clear its table: none longer than 12 bits; bits of each, and where they begin.
CLEAR, END, FIRST, MOST_CODES = 256, 257, 258, 2**12 - 257
WIDTHS = np.searchsorted([510, 1022, 2046], 257 + np.arange(MOST_CODES)) + 9
PLACES = np.concatenate([[0], np.cumsum(WIDTHS)])


def check_lzw(data: bytes, most: int) -> None:
    """Refuse an LZW stream of TIFF that is damaged, or becomes more than `most` bytes.

    How many bits codes have follows from their number, and each stands for a byte more than one before it.
    """
    if data[:1] == b"\0" and data[1:2] and data[1] & 1:
        raise ValueError("it is compressed with LZW of an old kind, which is not read")
    content = np.frombuffer(data + bytes(2), np.uint8).astype(np.uint32)
    end, place, size = 8 * len(data), 0, 0
    while place + WIDTHS[0] <= end:
        count = int(np.searchsorted(PLACES, end - place, "right")) - 1
        count = min(count, MOST_CODES)
        at = place + PLACES[:count]
        first = at // 8
        window = content[first] << 16 | content[first + 1] << 8 | content[first + 2]
        codes = ((window >> (24 - at % 8 - WIDTHS[:count])) & ((1 << WIDTHS[:count]) - 1)).astype(np.int64)
        special = np.flatnonzero((codes == CLEAR) | (codes == END))
        stop = int(special[0]) if special.size else count
        size += _expanded(codes[:stop])
        if size > most:
            raise TooLarge
        if stop == MOST_CODES:
            raise ValueError("it is damaged: what is compressed in it has more codes than there can be")
        if stop == count or codes[stop] == END:
            return
        place += int(PLACES[stop + 1])


def _expanded(codes: np.ndarray) -> int:
    """How many bytes LZW's codes after one another, from an empty table on, stand for."""
    if (codes >= FIRST + np.arange(len(codes))).any():
        raise ValueError("it is damaged: what is compressed in it refers to what is not there")
    before, lengths = np.maximum(codes - FIRST, -1), np.ones(len(codes), np.int64)
    while (before >= 0).any():
        follows = before >= 0
        lengths[follows] += lengths[before[follows]]
        before[follows] = before[before[follows]]
    return int(lengths.sum())


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
