"""What compressed bytes become is known before they are decompressed."""

import bz2
import gzip
import lzma
import struct
import zlib

import numpy as np
import pytest

from fastdeblur.expansion import CODECS, expanded

PACK = {"zlib": zlib.compress, "gzip": gzip.compress, "bz2": bz2.compress, "lzma": lzma.compress}


@pytest.mark.parametrize("codec", PACK)
@pytest.mark.parametrize("size", [1, 1000, 3_000_000])
def test_streams_are_counted(codec, size):
    data = PACK[codec](bytes(size))
    assert expanded(codec, data, 10**9) == size
    assert expanded(codec, data, 500) >= min(size, 501)
    assert expanded(codec, data[: len(data) // 2], 10**9) <= size
    if codec != "zlib":
        assert expanded(codec, data * 3, 10**9) == 3 * size


@pytest.mark.parametrize("codec", CODECS)
def test_damaged_bytes_are_left_to_the_reader(codec):
    for data in (b"", b"\x28\xb5\x2f\xfd", bytes(100), b"\xff" * 100):
        expanded(codec, data, 10**6)


@pytest.mark.parametrize("size", [1, 200, 255, 256, 257, 65791, 65792, 100_000])
@pytest.mark.parametrize("codec", ["blosc", "zstd", "lz4"])
def test_headers_are_believed(codec, size):
    numcodecs = pytest.importorskip("numcodecs")
    pack = {"blosc": numcodecs.Blosc, "zstd": numcodecs.Zstd, "lz4": numcodecs.LZ4}[codec]()
    pixels = np.random.default_rng(0).integers(0, 9, size, np.uint8)
    assert expanded(codec, bytes(pack.encode(pixels)), 10**9) == size


def test_frames_that_do_not_say_their_size_are_bounded():
    def frame(*blocks):
        content = b"\x28\xb5\x2f\xfd\0\x58"
        for number, (kind, size, stored) in enumerate(blocks, 1):
            content += struct.pack("<I", (number == len(blocks)) | kind << 1 | size << 3)[:3] + bytes(stored)
        return content

    assert expanded("zstd", frame((0, 500, 500)), 10**9) == 500
    assert expanded("zstd", frame((1, 2**17, 1)), 10**9) == 2**17
    assert expanded("zstd", frame((2, 30, 30), (0, 7, 7)), 10**9) == 2**17 + 7
    assert expanded("zstd", frame(*[(1, 2**17, 1)] * 10_000), 10**9) == 10_000 * 2**17
