"""Chunks, shards and codecs of a new Zarr array, as those of the array that was read."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .zarr_codecs import SHARDS, chunk_of, name_of

# Bytes of a chunk, or a shard, at most: of each that a tile touches all has to be decoded and written again.
LARGEST = 2**25
# Filters that lose detail, and those that are for one dtype alone.
LOSSY = {"quantize", "fixedscaleoffset", "bitround", "astype"}
OF_DTYPE = {"delta", "packbits"}


@dataclass(frozen=True)
class Layout:
    """A new array.

    Attributes
    ----------
    described : dict
        Its description, without attributes and names of axes.
    chunks : tuple of int
        What is decoded at once.
    changed : tuple of str
        What is not as it was in the array that was read, in words.
    """

    described: dict[str, Any]
    chunks: tuple[int, ...]
    changed: tuple[str, ...]


def layout_for(
    described: dict[str, Any], shape: tuple[int, ...], usual: tuple[int, ...], dtype: np.dtype[Any], fill: Any
) -> Layout:
    """The layout of an array of a shape and a dtype, as that of the described one.

    `usual` are chunks to take where its own are too large; `fill` is the fill value.
    """
    new, first = copy.deepcopy(described), described.get("zarr_format") == 2
    before = np.dtype(described["dtype" if first else "data_type"])
    same = before.newbyteorder("=") == dtype.newbyteorder("=")
    new["shape"] = list(shape)
    if not same:
        new["dtype" if first else "data_type"] = dtype.newbyteorder("<").str if first else dtype.name
        new["fill_value"] = _as_json(fill)
    codecs = [*(new.get("filters") or []), *([new["compressor"]] if new.get("compressor") else [])]
    codecs = codecs if first else list(new["codecs"])
    words: list[str] = []
    codecs = _codecs(codecs, dtype, same, words)
    outer = chunk_of(described)
    shards = [codec for codec in codecs if name_of(codec) == SHARDS]
    if shards and math.prod(outer) * dtype.itemsize > LARGEST:
        words.append(f"shards of {_by(outer)} pixels, which are larger than {LARGEST >> 20} MB")
        outer = tuple(shards[0]["configuration"]["chunk_shape"])
        at = codecs.index(shards[0])
        codecs[at : at + 1], shards = shards[0]["configuration"]["codecs"], []
    if math.prod(outer) * dtype.itemsize > LARGEST:
        words.append(f"chunks of {_by(outer)} pixels, which are larger than {LARGEST >> 20} MB ({_by(usual)} instead)")
        outer = usual
    if first:
        known = len([codec for codec in new.get("filters") or [] if codec in codecs])
        new |= {"chunks": list(outer), "filters": codecs[:known] or None}
        new["compressor"] = codecs[-1] if len(codecs) > known else None
    else:
        new["codecs"], new["chunk_grid"]["configuration"]["chunk_shape"] = codecs, list(outer)
    inner = tuple(shards[0]["configuration"]["chunk_shape"]) if shards else outer
    for key in ("attributes", "dimension_names", "consolidated_metadata"):
        new.pop(key, None)
    return Layout(new, inner, tuple(words))


def _codecs(codecs: list[Any], dtype: np.dtype[Any], same: bool, words: list[str]) -> list[Any]:
    """Codecs for a dtype, of those that keep every pixel."""
    usable = []
    for codec in codecs:
        name = name_of(codec)
        if name in LOSSY or (name in OF_DTYPE and not same):
            why = "loses detail" if name in LOSSY else "is for another type of pixels"
            words.append(f"the codec {name}, which {why}")
            continue
        if isinstance(codec, dict) and not same:
            codec = copy.deepcopy(codec)
            options = codec.get("configuration") or {}
            if name == "bytes":
                options = {"endian": options.get("endian") or "little"} if dtype.itemsize > 1 else {}
            elif "typesize" in options:
                options["typesize"] = dtype.itemsize
            if "name" in codec:
                codec["configuration"] = options
        if isinstance(codec, dict) and name == SHARDS:
            options = codec["configuration"]
            codec = codec | {"configuration": options | {"codecs": _codecs(options["codecs"], dtype, same, words)}}
        elif codec == "bytes" and dtype.itemsize > 1:
            codec = {"name": "bytes", "configuration": {"endian": "little"}}
        usable.append(codec)
    return usable


def write(folder: Path, layout: Layout, attributes: dict[str, Any], names: tuple[str | None, ...] | None) -> None:
    """Make an array without chunks in a folder, with the names of its axes where its format has a place for them."""
    folder.mkdir(parents=True, exist_ok=True)
    if layout.described.get("zarr_format") == 2:
        _write(folder / ".zarray", layout.described)
        if names is not None:
            attributes = attributes | {"_ARRAY_DIMENSIONS": list(names)}  # as xarray has them
        if attributes:
            _write(folder / ".zattrs", attributes)
    else:
        more = {"attributes": attributes} | ({} if names is None else {"dimension_names": list(names)})
        _write(folder / "zarr.json", layout.described | more)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2))


def _as_json(value: Any) -> Any:
    number = np.asarray(value)[()].item()
    if isinstance(number, float) and not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    return number


def _by(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))
