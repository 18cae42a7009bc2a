"""Files that are no images, or claim to be larger than they are."""

import bz2
import gzip
import importlib.util
import io
import json
import lzma
import os
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

GRAY = np.random.default_rng(0).integers(0, 256, (24, 30), np.uint8)
PIXELS = GRAY.tobytes()
# What no file holds: a pipe, and a size of which nothing is on the disk.
PIPE, SPARSE = object(), 2**32
SHARDS = "sharding_indexed"


def zeros(size):
    """`size` zeros as zlib has them; of any size at once, since a block that was flushed can be repeated."""
    block = 2**20
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    once = compressor.compress(bytes(block)) + compressor.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = once * (size // block) + last.compress(bytes(size % block)) + last.flush()
    return b"\x78\xda" + stream + struct.pack(">I", (size % 65521) << 16 | 1)


def zstd(*blocks):
    """A frame of blocks of one byte repeated, that does not say its size."""
    content = b"\x28\xb5\x2f\xfd\0\x58"
    for number, size in enumerate(blocks, 1):
        content += struct.pack("<I", (number == len(blocks)) | 1 << 1 | size << 3)[:3] + b"\0"
    return content


def lzw(size):
    """Zeros, each code one longer than the last, as long as codes of 12 bits last, and again."""
    codes = [256, 0, *range(258, 4094)]
    once = sum(range(1, 4095 - 257))
    bits = "".join(
        f"{code:0{9 if at < 256 else 10 if at < 768 else 11 if at < 1792 else 12}b}" for at, code in enumerate(codes)
    )
    bits = bits * (size // once + 1) + f"{257:09b}"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def gzipped(stream):
    """What zlib has, as gzip has it: 2**30 zeros."""
    size, crc = 2**30, 0x6B05D4C1
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + stream[2:-4] + struct.pack("<II", crc, size)


def png(width, height, depth=8, colour=0, content=b"", before=()):
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)), *before]
    chunks += [(b"IDAT", content), (b"IEND", b"")]
    framed = (struct.pack(">I", len(b)) + a + b + struct.pack(">I", zlib.crc32(a + b)) for a, b in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def saved(format, picture=None, **options):
    """An image as Pillow writes it."""
    file = io.BytesIO()
    (picture or Image.fromarray(GRAY)).save(file, format, **options)
    return file.getvalue()


def pictures():
    """PNGs and JPEGs by name."""
    good, jpeg = saved("PNG"), saved("JPEG")
    start = jpeg.index(b"\xff\xc0") + 5  # height and width
    moving = saved("PNG", save_all=True, append_images=[Image.fromarray(255 - GRAY)])
    rows = zlib.compress(bytes(24 * 31))
    return {
        "empty.png": b"",
        "text.png": b"no picture",
        "magic.png": b"\x88" + good[1:],
        "header.png": good[:20],
        "half.png": good[: len(good) // 2],
        "checksum.png": good[:29] + b"\0\0\0\0" + good[33:],
        "flat.png": png(0, 24, content=rows),
        "none.png": png(0, 0),
        "huge.png": png(2**31 - 1, 2**31 - 1, content=rows),
        "bomb.png": png(30000, 30000, content=zeros(30000 * 30001)),
        "bomb-rgb.png": png(30000, 30000, 8, 2, zeros(30000 * 90001)),
        "bomb-text.png": png(30, 24, content=rows, before=[(b"zTXt", b"a\0\0" + zeros(2**30))]),
        "noise.png": png(30, 24, content=b"\x78\xda" + PIXELS),
        "depth.png": png(30, 24, 3, content=rows),
        "colours.png": png(30, 24, 8, 5, content=rows),
        "deep-rgb.png": png(30, 24, 16, 2, content=rows),
        "bomb-deep.png": png(12000, 12000, 16, 6, zeros(12000 * 96001)),
        "half-gamma.png": png(30, 24, content=rows, before=[(b"gAMA", b"\0")]),
        "half-key.png": png(30, 24, 8, 2, zlib.compress(bytes(24 * 91)), [(b"tRNS", b"\0")]),
        "bits.png": saved("PNG", Image.fromarray(GRAY > 99))[:-40],
        "no-palette.png": png(30, 24, 8, 3, content=zlib.compress(bytes(100))),
        "moving.png": moving,
        "bomb-profile.png": png(30, 24, content=rows, before=[(b"iCCP", b"a\0\0" + zeros(2**30))]),
        "bomb-clear.png": png(15000, 15000, content=zeros(15000 * 15001), before=[(b"tRNS", b"\0\0")]),
        "bomb-clear-rgb.png": png(9000, 9000, 8, 2, zeros(9000 * 27001), [(b"tRNS", bytes(6))]),
        "gif.png": saved("GIF"),
        "webp.jpg": saved("WEBP"),
        "bmp.tif": saved("BMP"),
        "large.jpg": jpeg[:start] + struct.pack(">HH", 65000, 65000) + jpeg[start + 4 :],
        "empty.jpg": b"",
        "text.jpg": b"no picture",
        "half.jpg": jpeg[: len(jpeg) // 2],
        "header.jpg": jpeg[: start + 2],
        "flat.jpg": jpeg[:start] + b"\0\0\0\0" + jpeg[start + 4 :],
        "huge.jpg": jpeg[:start] + b"\xff\xff\xff\xff" + jpeg[start + 4 :],
        "cmyk.jpg": saved("JPEG", Image.new("CMYK", (30, 24))),
        "png.jpg": good[:-40],
    }


def header_of(**cards):
    """A block of a FITS header."""
    lines = [f"{name.replace('_', '-'):8}= {value:>20}" for name, value in cards.items()]
    text = "".join(line.ljust(80) for line in [*lines, "END"])
    return text.ljust(-(-len(text) // 2880) * 2880).encode()


def fitses():
    """FITS files by name."""
    plain = {"SIMPLE": "T", "BITPIX": 8, "NAXIS": 2, "NAXIS1": 30, "NAXIS2": 24}
    extension = {"XTENSION": "'BINTABLE'", **plain, "PCOUNT": 0, "GCOUNT": 1, "TFIELDS": 1, "TFORM1": "'30B'"}
    del extension["SIMPLE"]
    packed = {
        **extension,
        "NAXIS1": 8,
        "NAXIS2": 24,
        "PCOUNT": 720,
        "TFORM1": "'1PB(30)'",
        "TTYPE1": "'COMPRESSED_DATA'",
    }
    packed |= {"ZIMAGE": "T", "ZCMPTYPE": "'RICE_1'", "ZBITPIX": 8, "ZNAXIS": 2, "ZNAXIS1": 30, "ZNAXIS2": 24}
    tiles = {"ZTILE1": 30, "ZTILE2": 1}
    good, empty = header_of(**plain) + PIXELS.ljust(2880, b"\0"), header_of(SIMPLE="T", BITPIX=8, NAXIS=0)
    return {
        "empty.fits": b"",
        "text.fits": b"no picture",
        "half.fits": good[: 2880 + 360],
        "endless.fits": (header_of(**plain).replace(b"END", b"   "), SPARSE),
        "huge.fits": header_of(**plain | {"NAXIS1": 2**40, "NAXIS2": 2**40}),
        "axes.fits": header_of(**plain | {"NAXIS": 10**6}),
        "negative.fits": header_of(**plain | {"NAXIS1": -30}) + PIXELS,
        "words.fits": header_of(**plain | {"NAXIS1": "'many'"}) + PIXELS,
        "bits.fits": header_of(**plain | {"BITPIX": 12}) + PIXELS,
        "line.fits": header_of(SIMPLE="T", BITPIX=8, NAXIS=1, NAXIS1=720) + PIXELS,
        "table.fits": empty + header_of(**extension) + PIXELS.ljust(2880, b"\0"),
        "scale.fits": header_of(**plain | {"BSCALE": 0.0}) + PIXELS.ljust(2880, b"\0"),
        "packed.fits": empty + header_of(**packed | tiles) + bytes(2880),
        "bomb.fits": empty + header_of(**packed | {"ZNAXIS1": 2**17, "ZNAXIS2": 2**17} | tiles) + bytes(2880),
        "bomb-tile.fits": empty + header_of(**packed | {"ZTILE1": 2**31, "ZTILE2": 2**31}) + bytes(2880),
        "many.fits": empty + header_of(XTENSION="'IMAGE'", BITPIX=8, NAXIS=0, PCOUNT=0, GCOUNT=1) * 1100,
    }


def photographs():
    """WebPs and BMPs by name."""
    webp, bmp = saved("WEBP", Image.fromarray(GRAY).convert("RGB"), lossless=True), saved("BMP")
    moving = saved("WEBP", save_all=True, append_images=[Image.fromarray(255 - GRAY)])

    def header(place, kind, value):
        return bmp[:place] + struct.pack(kind, value) + bmp[place + struct.calcsize(kind) :]

    return {
        "empty.webp": b"",
        "text.webp": b"no picture",
        "half.webp": webp[: len(webp) // 2],
        "header.webp": webp[:30],
        "size.webp": webp[:4] + b"\xff\xff\xff\x7f" + webp[8:],
        "large.webp": webp[:20] + b"\x2f\xff\xff\xff\x0f" + webp[25:],
        "noise.webp": webp[:26] + PIXELS[:200],
        "moving.webp": moving,
        "png.webp": saved("PNG"),
        "empty.bmp": b"",
        "text.bmp": b"no picture",
        "head.bmp": bmp[:20],
        "half.bmp": bmp[: len(bmp) // 2],
        "no-header.bmp": header(14, "<I", 3),
        "flat.bmp": header(18, "<I", 0),
        "huge.bmp": bmp[:18] + struct.pack("<ii", 2**30, 2**30) + bmp[26:],
        "depth.bmp": header(28, "<H", 7),
        "packed.bmp": header(30, "<I", 1)[:90],
        "beyond.bmp": header(10, "<I", 2**31),
    }


CODES = {"b": 2, "B": 1, "H": 3, "I": 4, "q": 17, "Q": 16, "h": 8, "i": 9}


def tiff(pixels=PIXELS, big=False, loop=None, first=None, count=None, **tags):
    """A TIFF of one strip; `tags` replaces those of a good one, by number, with (type, values), or None."""
    head, entry, number, word = (16, 20, "Q", "Q") if big else (8, 12, "H", "I")
    offset = head
    place = offset + len(pixels)
    place += place % 2
    entries = {
        256: ("I", [30]), 257: ("I", [24]), 258: ("H", [8]), 259: ("H", [1]), 262: ("H", [1]), 273: ("I", [offset]),
        277: ("H", [1]), 278: ("I", [24]), 279: ("I", [len(pixels)]),
    }  # fmt: skip
    entries |= {int(name[1:]): value for name, value in tags.items()}
    entries = {code: value for code, value in sorted(entries.items()) if value is not None}
    room, extra = place + struct.calcsize("<" + number) + entry * len(entries) + struct.calcsize("<" + word), b""
    table = struct.pack("<" + number, len(entries) if count is None else count)
    for code, (kind, values, *claimed) in entries.items():
        content = struct.pack(f"<{len(values)}{kind}", *values)
        field = content.ljust(8 if big else 4, b"\0")
        if len(field) > (8 if big else 4):
            field, extra = struct.pack("<" + word, room + len(extra)), extra + content
        table += struct.pack("<HH" + word, code, CODES[kind], claimed[0] if claimed else len(values)) + field
    table += struct.pack("<" + word, place if loop else 0)
    first = place if first is None else first
    start = struct.pack("<2sHHHQ", b"II", 43, 8, 0, first) if big else struct.pack("<2sHI", b"II", 42, first)
    return start.ljust(offset, b"\0") + pixels + b"\0" * ((offset + len(pixels)) % 2) + table + extra


def late_loop():
    """150 pages without pixels, of which the last is followed by the hundredth."""
    page, start = struct.calcsize("<HHHIII"), 8
    content = struct.pack("<2sHI", b"II", 42, start)
    for number in range(1, 151):
        after = start + page * (number if number < 150 else 99)
        content += struct.pack("<HHHIII", 1, 256, 4, 1, 30, after)
    return content


def masked(*steps, dtype=np.uint8, compression=1):
    """A TIFF with masks of every so many-th pixel."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(GRAY, metadata=None)
        for step in steps:
            writer.write(GRAY[::step, ::step].astype(dtype), photometric="minisblack", subfiletype=2, metadata=None)
    file.seek(0)
    with tifffile.TiffFile(file, mode="r+") as tiff:
        for page in tiff.pages[1:]:
            page.aspage().tags["NewSubfileType"].overwrite(4)
            page.aspage().tags["Compression"].overwrite(compression)
    return file.getvalue()


def tiffs():
    """TIFFs and BigTIFFs by name."""
    good, bomb = tiff(), zeros(2**30)
    pages = io.BytesIO()
    with tifffile.TiffWriter(pages) as writer:
        writer.write(GRAY, metadata=None)
        writer.write(GRAY[:-1], metadata=None)
    packed = {"bomb-zstd.tif": tiff(zstd(*[2**17] * 2**13), _259=("H", [50000])),
              "bomb-lzw.tif": tiff(lzw(2**28), _259=("H", [5]))}  # fmt: skip
    if not importlib.util.find_spec("imagecodecs"):  # libtiff reads no more than the page's pixels
        packed = {}
    odd = io.BytesIO()
    tifffile.imwrite(odd, GRAY.astype(np.complex128))
    return packed | {
        "empty.tif": b"",
        "text.tif": b"no picture",
        "magic.tif": b"IJ" + good[2:],
        "head.tif": good[:8],
        "half.tif": good[: len(good) // 2],
        "cut.tif": good[:-20],
        "beyond.tif": tiff(first=2**31),
        "loop.tif": tiff(loop=True),
        "late-loop.tif": late_loop(),
        "many-tags.tif": tiff(count=65535),
        "no-tags.tif": tiff(count=0),
        "flat.tif": tiff(_256=("I", [0])),
        "huge.tif": tiff(_256=("I", [2**31]), _257=("I", [2**31])),
        "negative.tif": tiff(_256=("i", [-30])),
        "negative-strip.tif": tiff(_273=("i", [-30])),
        "no-strips.tif": tiff(_273=None, _279=None),
        "no-rows.tif": tiff(_278=("I", [0])),
        "few-strips.tif": tiff(_278=("I", [1])),
        "strip-beyond.tif": tiff(_273=("I", [2**30])),
        "strip-huge.tif": tiff(_279=("I", [2**32 - 1])),
        "strip-short.tif": tiff(_279=("I", [10])),
        "many-values.tif": tiff(_273=("I", [8], 2**32 - 1)),
        "bomb.tif": tiff(bomb, _259=("H", [8])),
        "bomb-size.tif": tiff(bomb, _256=("I", [2**15]), _257=("I", [2**15]), _278=("I", [2**15]), _259=("H", [8])),
        "bomb-packbits.tif": tiff(b"\x81\0" * 2**20, _259=("H", [32773])),
        "bomb-lzma.tif": tiff(lzma.compress(bytes(2**24), preset=0) * 20, _259=("H", [34925])),
        "bomb-jpeg.tif": tiff(saved("JPEG", Image.new("L", (6000, 6000)), progressive=True), _259=("H", [7])),
        "deflate.tif": tiff(zlib.compress(PIXELS)[:-40], _259=("H", [8])),
        "lzw.tif": tiff(_259=("H", [5])),
        "unknown.tif": tiff(_259=("H", [777])),
        "tiles.tif": tiff(
            _273=None, _279=None, _278=None, _322=("I", [2**20]), _323=("I", [2**20]), _324=("I", [8]), _325=("I", [9])
        ),
        "no-tile.tif": tiff(
            _273=None, _279=None, _278=None, _322=("I", [0]), _323=("I", [0]), _324=("I", [8]), _325=("I", [9])
        ),
        "bits.tif": tiff(bytes(40), _258=("H", [1])),
        "bits-huge.tif": tiff(_256=("I", [2**20]), _258=("H", [1])),
        "seven.tif": tiff(bytes(40), _258=("H", [7])),
        "no-palette.tif": tiff(_262=("H", [3])),
        "cmyk.tif": saved("TIFF", Image.new("CMYK", (30, 24))),
        "samples.tif": tiff(_262=("H", [3]), _277=("H", [5632])),
        "complex.tif": odd.getvalue(),
        "pages.tif": pages.getvalue(),
        "big-head.tif": tiff(big=True)[:12],
        "big-beyond.tif": tiff(big=True, first=2**63 - 1),
        "loop-reduced.tif": tiff(_330=("I", [728])),  # its own directory
        "many-reduced.tif": tiff(_330=("I", [10**6, 10**6])),
        "tag-beyond.tif": tiff(_65000=("B", bytes(9), 2**31)),
        "no-data.tif": tiff(_42113=("b", b"nothing\0")),
        "two-masks.tif": masked(1, 1),
        "small-mask.tif": masked(2),
        "packed-mask.tif": masked(1, compression=34712),
        "wide-mask.tif": masked(1, dtype=np.float32),
        "big-loop.tif": tiff(big=True, loop=True),
        "big-huge.tif": tiff(big=True, _256=("Q", [2**62]), _257=("Q", [2**62])),
        "big-tags.tif": tiff(big=True, count=2**60),
        "big-strip.tif": tiff(big=True, _279=("Q", [2**60])),
    }


def npy(header, content=b"", version=1):
    text = header.encode() if isinstance(header, str) else header
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + content


def array_header(shape, descr="'|u1'"):
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"


def saved_npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npys():
    """.npy files by name."""
    good = saved_npy(GRAY)
    return {
        "empty.npy": b"",
        "magic.npy": b"\x93numpy" + good[6:],
        "head.npy": good[:9],
        "half.npy": good[: len(good) // 2],
        "version.npy": npy(array_header((2, 2)), bytes(4), 9),
        "long.npy": b"\x93NUMPY\2\0" + struct.pack("<I", 2**30) + b" " * 100,
        "python.npy": npy("__import__('os').getcwd()"),
        "nested.npy": npy("(" * 9000, version=2),
        "pickle.npy": pickle.dumps(GRAY),
        "objects.npy": saved_npy(np.array([[{}]], dtype=object)),
        "fields.npy": saved_npy(np.zeros((4, 4), [("a", "f4"), ("b", "i4")])),
        "complex.npy": saved_npy(np.zeros((4, 4), complex)),
        "long-double.npy": saved_npy(np.zeros((4, 4), np.longdouble)),
        "times.npy": saved_npy(np.zeros((4, 4), "M8[s]")),
        "words.npy": saved_npy(np.array([["a"]])),
        "line.npy": saved_npy(np.zeros(5)),
        "none.npy": saved_npy(np.zeros((0, 5))),
        "volume.npy": saved_npy(np.zeros((7, 8, 9))),
        "huge.npy": npy(array_header((2**40, 2**40)), bytes(100)),
        "large.npy": npy(array_header((2**17, 2**17)), bytes(100)),
        "negative.npy": npy(array_header((-4, -4)), bytes(100)),
        "truth.npy": npy(array_header((True, True)), bytes(100)),
        "nothing.npy": npy(array_header((2**40, 2**20), "'|V0'"), bytes(100)),
        "dtype.npy": npy(array_header((4, 4), "'pickle'"), bytes(100)),
    }


def zarray(**changes):
    described = {
        "zarr_format": 2, "shape": [24, 30], "chunks": [24, 30], "dtype": "|u1", "compressor": None, "fill_value": 0,
        "order": "C", "filters": None,
    }  # fmt: skip
    return json.dumps(described | changes)


ARRAY = {
    "zarr_format": 3, "node_type": "array", "shape": [24, 30], "data_type": "uint8", "fill_value": 0,
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [24, 30]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "codecs": [{"name": "bytes"}], "attributes": {},
}  # fmt: skip


def coded(name, **configuration):
    """An array of version 3 with a compressor."""
    return json.dumps(ARRAY | {"codecs": [{"name": "bytes"}, {"name": name, "configuration": configuration}]})


def sharded(chunk=(24, 30), index=()):
    """An array of version 3 in one shard of four chunks, compressed by zstd."""
    configuration = {
        "chunk_shape": [12, 15] if chunk == (24, 30) else [1, 1], "index_location": "end",
        "codecs": [{"name": "bytes"}, {"name": "zstd", "configuration": {"level": 1, "checksum": False}}],
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, *index],
    }  # fmt: skip
    grid = {"name": "regular", "configuration": {"chunk_shape": list(chunk)}}
    return json.dumps(ARRAY | {"chunk_grid": grid, "codecs": [{"name": SHARDS, "configuration": configuration}]})


def shard(content):
    """Four times the same chunk, and where they are."""
    return content + struct.pack("<QQ", 0, len(content)) * 4


def grid(name, **configuration):
    return {"chunk_grid": {"name": name, "configuration": configuration}}


def zarrs():
    """Files of .zarr folders, by name."""
    scales = {"multiscales": [{"axes": ["y", "x"], "datasets": [{"path": "../gone.zarr"}]}]}
    array = ARRAY
    return {
        "bare.zarr": {"file": b""},
        "nonsense.zarr": {".zarray": "{nonsense"},
        "list.zarr": {".zarray": "[1]"},
        "nested.zarr": {".zarray": "[" * 100000},
        "empty.zarr": {"zarr.json": ""},
        "huge.zarr": {".zarray": zarray(shape=[2**40, 2**40])},
        "large.zarr": {".zarray": zarray(shape=[2**17, 2**17])},
        "chunks.zarr": {".zarray": zarray(chunks=[2**20, 2**20])},
        "many.zarr": {".zarray": zarray(shape=[2**14, 2**14], chunks=[1, 1])},
        "no-chunks.zarr": {".zarray": zarray(chunks=[0, 0])},
        "true-chunks.zarr": {".zarray": zarray(chunks=[True, 30])},
        "half-chunks.zarr": {".zarray": zarray(chunks=[24.0, 30])},
        "null-chunks.zarr": {".zarray": zarray(chunks=None)},
        "rows-chunks.zarr": {".zarray": zarray(chunks=[[10, 14], 30])},
        "negative.zarr": {".zarray": zarray(shape=[-24, 30])},
        "line.zarr": {".zarray": zarray(shape=[24], chunks=[24])},
        "none.zarr": {".zarray": zarray(shape=[0, 30])},
        "volume.zarr": {".zarray": zarray(shape=[7, 8, 9], chunks=[7, 8, 9])},
        "objects.zarr": {".zarray": zarray(dtype="|O", filters=[{"id": "pickle"}])},
        "pickle.zarr": {".zarray": zarray(filters=[{"id": "pickle"}]), "0.0": pickle.dumps(GRAY)},
        "fields.zarr": {".zarray": zarray(dtype=[["a", "<f4"], ["b", "<i4"]])},
        "complex.zarr": {".zarray": zarray(dtype="<c16")},
        "half.zarr": {".zarray": zarray(), "0.0": PIXELS[:100]},
        "corrupt.zarr": {".zarray": zarray(compressor={"id": "zlib", "level": 1}), "0.0": PIXELS},
        "blosc.zarr": {
            ".zarray": zarray(compressor={"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}),
            "0.0": b"\2\1\x33\1" + struct.pack("<III", 2**31 - 1, 2**31 - 1, 100) + bytes(84),
        },
        "bomb.zarr": {".zarray": zarray(compressor={"id": "zlib", "level": 1}), "0.0": zeros(2**30)},
        "twice.zarr": {".zarray": zarray(compressor={"id": "zlib", "level": 1}, filters=[{"id": "zlib", "level": 1}])},
        "bomb-zstd.zarr": {
            ".zarray": zarray(compressor={"id": "zstd", "level": 1}),
            "0.0": struct.pack("<II", 0x184D2A50, 4) + b"skip" + zstd(720) + zstd(*[2**17] * 2**13),
        },
        "bomb-zstd3.zarr": {"zarr.json": coded("zstd", level=1, checksum=False), "c/0/0": zstd(*[2**17] * 2**13)},
        "bomb-members.zarr": {
            ".zarray": zarray(compressor={"id": "gzip", "level": 1}),
            "0.0": gzip.compress(PIXELS) + bytes(100) + gzipped(zeros(2**30)),
        },
        "bomb-bz2.zarr": {
            ".zarray": zarray(compressor={"id": "bz2", "level": 9}),
            "0.0": bz2.compress(bytes(2**21)) * 400,
        },
        "bomb-lzma.zarr": {
            ".zarray": zarray(compressor={"id": "lzma"}),
            "0.0": lzma.compress(bytes(2**24), preset=0) * 40,
        },
        "raw-lzma.zarr": {
            ".zarray": zarray(compressor={"id": "lzma", "format": 3, "filters": [{"id": 33}]}),
            "0.0": b"",
        },
        "zfpy.zarr": {".zarray": zarray(compressor={"id": "zfpy", "mode": 2})},
        "lz4.zarr": {".zarray": zarray(compressor={"id": "lz4"}), "0.0": struct.pack("<I", 2**31 - 1) + bytes(100)},
        "long-blosc.zarr": {
            ".zarray": zarray(compressor={"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}),
            "0.0": b"\2\1\x33\1" + struct.pack("<III", 720, 720, 2**30) + bytes(84),
        },
        "bomb-filter.zarr": {".zarray": zarray(filters=[{"id": "zlib", "level": 1}]), "0.0": zeros(2**30)},
        "sparse.zarr": {".zarray": zarray(), "0.0": SPARSE},
        "sparse3.zarr": {"zarr.json": json.dumps(array), "c/0/0": SPARSE},
        "device.zarr": {".zarray": zarray(), "0.0": Path("/dev/zero")},
        "device3.zarr": {"zarr.json": json.dumps(array), "c/0/0": Path("/dev/zero")},
        "pipe.zarr": {".zarray": zarray(), "0.0": PIPE},
        "folder.zarr": {".zarray": zarray(), "0.0/inner": b""},
        "axes.zarr": {".zarray": zarray(shape=[1] * 10**5, chunks=[1] * 10**5)},
        "keys.zarr": {"zarr.json": json.dumps(array | {"chunk_key_encoding": {"name": "odd"}})},
        "bomb-shards.zarr": {"zarr.json": sharded(), "c/0/0": shard(zstd(*[2**17] * 2**13))},
        "many-shards.zarr": {"zarr.json": sharded(chunk=[2**20, 2**20]), "c/0/0": b""},
        "device-shards.zarr": {"zarr.json": sharded(), "c/0/0": Path("/dev/zero")},
        "index-shards.zarr": {
            "zarr.json": sharded(index=[{"name": "gzip", "configuration": {"level": 1}}]),
            "c/0/0": b"",
        },
        "bomb3.zarr": {"zarr.json": coded("gzip", level=1), "c/0/0": gzipped(zeros(2**30))},
        "group.zarr": {".zgroup": '{"zarr_format": 2}'},
        "outside.zarr": {".zgroup": '{"zarr_format": 2}', ".zattrs": json.dumps(scales)},
        "gone.zarr": {".zgroup": '{"zarr_format": 2}', ".zattrs": json.dumps(scales).replace("../", "")},
        "codec.zarr": {"zarr.json": json.dumps(array | {"codecs": [{"name": "numcodecs.pickle"}]})},
        "grid.zarr": {"zarr.json": json.dumps(array | {"chunk_grid": 3})},
        "no-chunks3.zarr": {"zarr.json": json.dumps(array | grid("regular", chunk_shape=[0, 30]))},
        "rows3.zarr": {"zarr.json": json.dumps(array | grid("regular", chunk_shape=[[10, 14], 30]))},
        "uneven3.zarr": {
            "zarr.json": json.dumps(array | grid("rectilinear", kind="inline", chunk_shapes=[[10, 14], 30])),
            "c/0/0": PIXELS[:300],
            "c/1/0": PIXELS[300:],
        },
        "half3.zarr": {"zarr.json": json.dumps(array), "c/0/0": PIXELS[:100]},
    }


def make(folder, with_zarr=True):
    """Write them all; returns their names."""
    made = {f"pipe{suffix}": PIPE for suffix in (".png", ".jpg", ".tif", ".npy", ".zarr", ".fits")}
    made |= {f"device{suffix}": Path("/dev/zero") for suffix in (".png", ".tif", ".npy")}
    made |= pictures() | photographs() | tiffs() | npys() | fitses()
    made |= zarrs() | {"file.zarr": b"no folder"} if with_zarr else {}
    for name, content in made.items():
        parts = content if isinstance(content, dict) else {"": content}
        for part, inner in parts.items():
            path = folder / name / part if part else folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if inner is PIPE:
                os.mkfifo(path)
            elif isinstance(inner, Path):
                path.symlink_to(inner)
            elif isinstance(inner, int):
                path.touch()
                os.truncate(path, inner)
            elif isinstance(inner, tuple):  # what a file begins with, and its size
                path.write_bytes(inner[0])
                os.truncate(path, inner[1])
            else:
                path.write_bytes(inner.encode() if isinstance(inner, str) else inner)
    return list(made)
