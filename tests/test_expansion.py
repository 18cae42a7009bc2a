"""No more is decompressed than may be."""

import bz2
import gzip
import lzma
import struct
import tracemalloc
import zlib
from contextlib import suppress

import malformed
import numpy as np
import pytest

from fastdeblur.io import limits, tiff

PACK = {"zlib": zlib.compress, "gzip": gzip.compress, "bz2": bz2.compress, "lzma": lzma.compress}


@pytest.mark.parametrize("codec", PACK)
@pytest.mark.parametrize("size", [1, 1000, 150_000])
def test_streams_are_decompressed_up_to_their_limit(codec, size):
    content = np.random.default_rng(0).integers(0, 4, size, np.uint8).tobytes()
    data, expand = PACK[codec](content), limits.STREAMS[codec]
    assert expand(data, size) == expand(data, 10**9) == content
    with pytest.raises(limits.TooLarge):
        expand(data, size - 1)
    with pytest.raises(ValueError, match="not all there"):
        expand(data[: len(data) - 3], 10**9)
    if codec != "zlib":
        assert expand(data + data + bytes(8) + data, 3 * size) == 3 * content
        with pytest.raises(limits.TooLarge):
            expand(data + data + bytes(8) + data, 3 * size - 1)


@pytest.mark.parametrize("codec", PACK)
def test_little_memory_is_used_for_what_is_too_large(codec):
    data = PACK[codec](bytes(2**25))
    tracemalloc.start()
    with pytest.raises(limits.TooLarge):
        limits.STREAMS[codec](data, 2**16)
    assert tracemalloc.get_traced_memory()[1] < 2**24  # a dictionary of LZMA's has 8 MB
    tracemalloc.stop()


@pytest.mark.parametrize("codec", limits.ZARR_CODECS)
def test_damaged_bytes_are_an_error_or_nothing(codec):
    pytest.importorskip("numcodecs")
    for data in (b"", b"\x28\xb5\x2f\xfd", bytes(100), b"\xff" * 100):
        with suppress(ValueError, RuntimeError, OSError, EOFError, zlib.error, lzma.LZMAError, struct.error):
            assert len(limits.of_zarr(codec, data, 10**6)) == 0


@pytest.mark.parametrize("size", [2, 200, 255, 256, 257, 65791, 65792, 100_000])
@pytest.mark.parametrize("codec", ["blosc", "zstd", "lz4"])
def test_codecs_of_numcodecs(codec, size):
    numcodecs = pytest.importorskip("numcodecs")
    pixels = np.random.default_rng(0).integers(0, 9, size, np.uint8)
    data = bytes(numcodecs.get_codec({"id": codec}).encode(pixels))
    for most in (size, 10 * size):
        assert bytes(limits.of_zarr(codec, data, most)) == pixels.tobytes()
    with pytest.raises(limits.TooLarge):
        limits.of_zarr(codec, data, size - 1)


def test_frames_of_zstd_that_do_not_say_their_size():
    numcodecs = pytest.importorskip("numcodecs")
    known, unknown = bytes(numcodecs.Zstd().encode(bytes(500))), malformed.zstd(2**17, 2**17)
    skipped = struct.pack("<II", 0x184D2A50, 4) + b"skip"
    for data, size in ((unknown, 2**18), (skipped + unknown, 2**18), (known + unknown, 500 + 2**18), (known * 2, 1000)):
        assert len(limits.of_zarr("zstd", data, size)) == size
        assert len(limits.of_zarr("zstd", data, 2 * size)) == size
        with pytest.raises(limits.TooLarge):
            limits.of_zarr("zstd", data, size - 1)


@pytest.mark.parametrize("data", [b"\x02abc", b"\xffa", b"\x80" * 5 + b"\x81b", b"\x7f" + bytes(128)])
def test_packbits(data):
    size = len(tiff._packbits(data, 1000))
    limits.check_packbits(data, size)
    with pytest.raises(limits.TooLarge):
        tiff._packbits(data, size - 1)


@pytest.mark.parametrize("codec", ["lzw", "zstd", "packbits"])
def test_what_imagecodecs_decompresses(codec):
    imagecodecs = pytest.importorskip("imagecodecs")
    content = np.random.default_rng(0).integers(0, 4, 10_000, np.uint8).tobytes()
    data, expand = getattr(imagecodecs, f"{codec}_encode")(content), limits.of_imagecodecs(codec)
    assert expand(data, 10_000) == expand(data, 20_000) == content
    with pytest.raises((limits.TooLarge, RuntimeError)):
        expand(data, 9_999)
