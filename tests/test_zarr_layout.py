"""Codecs, chunks and shards of Zarr arrays: another array keeps them, and what it cannot keep is named."""

import json

import numpy as np
import pytest
from samples import noise

from fastdeblur.io import files, zarr_layout

zarr = pytest.importorskip("zarr")
numcodecs = pytest.importorskip("numcodecs")

ZSTD = {"name": "zstd", "configuration": {"level": 3, "checksum": True}}
GZIP = {"name": "gzip", "configuration": {"level": 2}}
BLOSC = {"id": "blosc", "cname": "lz4", "clevel": 4, "shuffle": 1, "blocksize": 0}


def made(path, image, zarr_format, **options):
    if zarr_format == 2:
        options = {name: coded(value) for name, value in options.items()}
    array = zarr.create_array(
        store=str(path), shape=image.shape, dtype=image.dtype, zarr_format=zarr_format, **options
    )  # fmt: skip
    array[...] = image


def coded(value):
    """Codecs of version 2 from their descriptions."""
    if isinstance(value, list):
        return [coded(each) for each in value]
    return numcodecs.get_codec(value) if isinstance(value, dict) and "id" in value else value


def again(path, out, dtype=None):
    """Write what was read, as a command would, and return the array and the words for what it lost."""
    with files.opened(path) as source:
        image = source.page(0).astype(dtype or source.dtype)
        files.write(out, image, source.metadata)
        lost = files.lost(source.metadata, out, image.shape, image.dtype)
    found = zarr.open_array(str(out), mode="r")
    np.testing.assert_array_equal(found[...], image)
    return found, lost


def described(path):
    name = "zarr.json" if (path / "zarr.json").exists() else ".zarray"
    return json.loads((path / name).read_text())


@pytest.mark.parametrize(
    ("zarr_format", "options"),
    [
        (2, {"chunks": (16, 8), "compressors": BLOSC, "filters": [{"id": "delta", "dtype": "<u2"}], "order": "F"}),
        (2, {"chunks": (16, 8), "compressors": None, "chunk_key_encoding": {"name": "v2", "separator": "/"}}),
        (3, {"chunks": (8, 8), "shards": (16, 24), "compressors": [ZSTD]}),
        (3, {"chunks": (16, 8), "compressors": [GZIP], "fill_value": 7}),
        (3, {"chunks": (64, 64), "compressors": None}),
    ],
)  # fmt: skip
def test_an_array_is_stored_as_the_one_that_was_read(tmp_path, zarr_format, options):
    made(tmp_path / "a.zarr", noise((40, 50), "u2"), zarr_format, **options)
    found, lost = again(tmp_path / "a.zarr", tmp_path / "b.zarr")
    assert lost == []
    assert described(tmp_path / "b.zarr") == described(tmp_path / "a.zarr")
    assert (found.chunks, found.shards) == (options["chunks"], options.get("shards"))
    before, after = (
        {path.relative_to(folder) for path in folder.rglob("*") if path.name != ".zattrs"}
        for folder in (tmp_path / "a.zarr", tmp_path / "b.zarr")
    )
    assert before == after


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_another_dtype_changes_no_more_than_it_must(tmp_path, zarr_format):
    packed = {"compressors": BLOSC, "filters": [{"id": "delta", "dtype": "|u1"}]} if zarr_format == 2 else {
        "compressors": [ZSTD], "shards": (32, 32)}  # fmt: skip
    made(tmp_path / "a.zarr", noise((40, 50), "u1"), zarr_format, chunks=(16, 16), fill_value=9, **packed)
    found, lost = again(tmp_path / "a.zarr", tmp_path / "b.zarr", np.float32)
    assert lost == (["the codec delta, which is for another type of pixels"] if zarr_format == 2 else [])
    assert (found.dtype, found.chunks, found.fill_value) == (np.float32, (16, 16), 9)
    if zarr_format == 3:
        assert found.shards == (32, 32)
        assert [codec.to_dict() for codec in found.compressors] == [ZSTD]


def test_codecs_that_lose_detail_and_chunks_that_are_too_large_are_named(tmp_path, monkeypatch):
    lossy = {"id": "quantize", "digits": 2, "dtype": "<f4"}
    made(tmp_path / "a.zarr", noise((40, 50), "f4"), 2, chunks=(16, 16), filters=[lossy], compressors=BLOSC)
    found, lost = again(tmp_path / "a.zarr", tmp_path / "b.zarr")
    assert lost == ["the codec quantize, which loses detail"]
    assert found.compressors[0].codec_id == "blosc"
    monkeypatch.setattr(zarr_layout, "LARGEST", 2000)
    made(tmp_path / "c.zarr", noise((40, 50), "f4"), 3, chunks=(16, 16), shards=(32, 32))
    found, lost = again(tmp_path / "c.zarr", tmp_path / "d.zarr")
    assert (found.chunks, found.shards) == ((16, 16), None)
    assert [word[:26] for word in lost] == ["shards of 32x32 pixels, wh"]
    made(tmp_path / "e.zarr", noise((40, 50), "f4"), 3, chunks=(40, 50))
    found, lost = again(tmp_path / "e.zarr", tmp_path / "f.zarr")
    assert [word[:26] for word in lost] == ["chunks of 40x50 pixels, wh"]
