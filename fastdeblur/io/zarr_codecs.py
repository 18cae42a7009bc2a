"""Limits on Zarr's codecs, so that no chunk decompresses to more than its pixels.

The description of an array is changed so that codecs with a limit are used, under a name of their own: nothing changes
for other users of the package zarr.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from . import limits

NAME = "fastdeblur_limited"
# Codecs that only compute, and whose output is not larger than their input, but for ROOM.  Of the others that numcodecs
# knows one unpickles, and some allocate what a header says.
PLAIN = {
    "delta", "shuffle", "bitround", "fixedscaleoffset", "quantize", "packbits", "astype", "crc32", "crc32c", "adler32",
    "fletcher32", "jenkins_lookup3", "bytes", "transpose",
}  # fmt: skip
SHARDS = "sharding_indexed"
# Filters may store a pixel in up to 8 times its bytes.
ROOM = 8
FILTERS = {"delta", "fixedscaleoffset", "quantize", "astype"}


def limited(described: dict[str, Any], dtype: np.dtype[Any]) -> dict[str, Any]:
    """The description of an array with codecs that stop at what its chunks may hold."""
    most = stored_most(described, dtype)
    if described.get("zarr_format") == 2:
        compressor, filters = described.get("compressor"), described.get("filters") or []
        changed = _limited([*filters, *([compressor] if compressor else [])], most)
        return described | {
            "filters": changed[: len(filters)] or None,
            "compressor": changed[-1] if compressor else None,
        }
    return described | {"codecs": _of_chunk(described["codecs"], chunk_of(described), dtype, most)}


def stored_most(described: dict[str, Any], dtype: np.dtype[Any]) -> int:
    """Bytes that a chunk, or a shard, may have before it is decompressed, and after."""
    names = [name_of(codec) for codec in _all(described)]
    pixels = math.prod(chunk_of(described)) * dtype.itemsize
    index = 16 * shard_chunks(described) if SHARDS in names else 0
    return int((ROOM if FILTERS & set(names) else 1) * pixels * 9 // 8 + index + 2**16)


def chunk_of(described: dict[str, Any]) -> tuple[int, ...]:
    """The shape of a chunk, or of a shard, that is a file."""
    if described.get("zarr_format") == 2:
        sizes = described["chunks"]
    else:
        sizes = described["chunk_grid"]["configuration"]["chunk_shape"]
    if not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError(f"it is damaged: its chunks have the shape {tuple(sizes)}")
    return tuple(sizes)


def shard_chunks(described: dict[str, Any]) -> int:
    """How many chunks a shard has; 1 without shards."""
    count, outer = 1, chunk_of(described)
    for codec in _all(described):
        if name_of(codec) == SHARDS:
            inner = codec["configuration"]["chunk_shape"]
            count *= math.prod(-(-size // max(int(part), 1)) for size, part in zip(outer, inner, strict=True))
            outer = tuple(inner)
    return count


def _of_chunk(codecs: list[Any], chunk: tuple[int, ...], dtype: np.dtype[Any], most: int) -> list[Any]:
    """Codecs of version 3, those within shards included."""
    changed = []
    for codec in _limited(codecs, most):
        if name_of(codec) == SHARDS:
            inner = codec["configuration"]
            for name in map(name_of, inner.get("index_codecs") or []):
                if name not in PLAIN:
                    raise _unknown(name)
            within = tuple(map(int, inner["chunk_shape"]))
            codec = {
                **codec,
                "configuration": inner | {"codecs": _of_chunk(inner["codecs"], within, dtype, most)},
            }
        changed.append(codec)
    return changed


def _limited(codecs: list[Any], most: int) -> list[Any]:
    packed = [name_of(codec) for codec in codecs if name_of(codec) in limits.ZARR_CODECS]
    if len(packed) > 1:
        raise ValueError(f"it is compressed more than once, by {' and '.join(packed)}, and not read")
    return [_one(codec, most) for codec in codecs]


def _one(codec: Any, most: int) -> Any:
    name = name_of(codec)
    if name in PLAIN or name == SHARDS:
        return codec
    if name not in limits.ZARR_CODECS:
        raise _unknown(name)
    options = codec if "id" in codec else codec.get("configuration") or {}
    if name == "lzma" and (options.get("filters") or options.get("format", 1) not in (0, 1, 2)):
        raise ValueError("LZMA without headers is not read")
    _register()
    own = {"codec": name, "most": most}
    return {"id": NAME, **own} if "id" in codec else {"name": NAME, "configuration": own}


def _unknown(name: str) -> ValueError:
    return ValueError(f"the codec {name!r} is not known to be safe, and not used")


def _all(described: dict[str, Any]) -> list[dict[str, Any]]:
    """All codecs, those within others included."""
    listed = [described.get("compressor"), *(described.get("filters") or []), *(described.get("codecs") or [])]
    codecs = []
    for codec in listed:
        if codec is not None:
            codec = {"name": codec} if isinstance(codec, str) else codec
            codecs += [codec, *_all(codec.get("configuration") or {})]
    return codecs


def name_of(codec: Any) -> str:
    """A codec's name, whichever version of the format or package it is of."""
    if isinstance(codec, str):  # version 3 has those without a configuration so
        return codec.removeprefix("numcodecs.")
    return str(codec.get("id") or codec.get("name")).removeprefix("numcodecs.")


@functools.cache
def _register() -> None:
    """Make the codec known to numcodecs, and to Zarr."""
    import numcodecs
    from numcodecs.abc import Codec
    from numcodecs.compat import ensure_bytes, ndarray_copy
    from zarr.abc.codec import BytesBytesCodec
    from zarr.registry import register_codec

    class Limited(Codec):  # type: ignore[misc]
        codec_id = NAME

        def __init__(self, codec: str, most: int):
            self.codec, self.most = codec, most

        def encode(self, buf: Any) -> Any:
            raise NotImplementedError("it is only read")

        def decode(self, buf: Any, out: Any = None) -> Any:
            return ndarray_copy(limits.of_zarr(self.codec, ensure_bytes(buf), self.most), out)

    numcodecs.register_codec(Limited)

    class LimitedBytes(BytesBytesCodec):  # type: ignore[misc]
        is_fixed_size = False

        def __init__(self, codec: str, most: int):
            self.codec, self.most = codec, most

        @classmethod
        def from_dict(cls, data: Any) -> Any:
            return cls(**data["configuration"])

        def to_dict(self) -> Any:
            return {"name": NAME, "configuration": {"codec": self.codec, "most": self.most}}

        async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
            decoded = limits.of_zarr(self.codec, chunk_bytes.to_bytes(), self.most)
            return chunk_spec.prototype.buffer.from_bytes(bytes(decoded))

        def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
            raise NotImplementedError

    register_codec(NAME, LimitedBytes)
