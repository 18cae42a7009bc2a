"""Zarr arrays and OME-Zarr groups."""

import os
import sys
import warnings

import numpy as np
import pytest
from samples import SHAPES, noise, one_error
from sweeps import few

from fastdeblur.cli import main as cli
from fastdeblur.io import files
from fastdeblur.large import plan

OPTIONS = ["--psf", "box:3", "--max-iter", "2", "--mu", "0.1"]


def test_a_missing_zarr_is_named_in_the_error(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    np.save(tmp_path / "image.npy", np.ones((4, 5)))
    (tmp_path / "image.zarr").mkdir()
    for source, out in (("image.npy", "out.zarr"), ("image.zarr", "out.npy")):
        said = one_error(capsys, "deblur", tmp_path / source, "-o", tmp_path / out, *OPTIONS)
        assert 'pip install "fastdeblur[large]"' in said


zarr = pytest.importorskip("zarr")
FORMATS = [2, 3] if zarr.__version__ >= "3" else [2]


def saved(path, array, zarr_format=2, **options):
    """An array as zarr writes it; zarr 2 knows no formats."""
    options |= {"zarr_format": zarr_format} if zarr.__version__ >= "3" else {}
    zarr.open_array(str(path), mode="w", shape=array.shape, dtype=array.dtype, **options)[...] = array


@pytest.mark.parametrize("dtype", ["?", "u1", ">u2", "i4", "u8", "f4", "f8"])
@pytest.mark.parametrize("kind", ["gray", "LA", "RGB"])
def test_written_arrays_are_read_back(tmp_path, dtype, kind):
    image = noise(SHAPES[kind], dtype)
    files.write(tmp_path / "image.zarr", image)
    np.testing.assert_array_equal(files.read(tmp_path / "image.zarr"), image)
    np.testing.assert_array_equal(zarr.open_array(str(tmp_path / "image.zarr"), mode="r")[...], image)
    assert os.listdir(tmp_path) == ["image.zarr"]


@pytest.mark.parametrize("zarr_format", FORMATS)
def test_arrays_written_by_zarr_are_read(tmp_path, zarr_format):
    image = noise((40, 50, 3), "u2")
    saved(tmp_path / "image.zarr", image, zarr_format, chunks=(16, 16, 3))
    with files.opened(tmp_path / "image.zarr") as source:
        assert (source.shape, source.dtype, source.pages) == (image.shape, image.dtype, None)
        assert image.nbytes < source.takes < 2 * image.nbytes
        np.testing.assert_array_equal(source.page(0), image)
        np.testing.assert_array_equal(source.array[3:5, 20:], image[3:5, 20:])
    with files.opened(tmp_path / "image.zarr", stack=True) as source:
        assert (source.shape, source.pages) == ((50, 3), 40)
        np.testing.assert_array_equal(source.page(7), image[7])


CODECS = {
    "none": None, "zlib": {"id": "zlib", "level": 1}, "gzip": {"id": "gzip", "level": 1},
    "bz2": {"id": "bz2", "level": 1}, "lzma": {"id": "lzma"}, "lz4": {"id": "lz4"}, "zstd": {"id": "zstd", "level": 1},
    "blosc": {"id": "blosc", "cname": "zstd", "clevel": 5, "shuffle": 1},
}  # fmt: skip


@pytest.mark.parametrize("codec", CODECS)
def test_codecs_of_version_2(tmp_path, codec):
    import numcodecs

    image = noise((40, 50, 3), "f4")
    compressor = CODECS[codec] and numcodecs.get_codec(CODECS[codec])
    filters = [numcodecs.Delta("f4"), numcodecs.Shuffle(4)] if codec != "none" else None
    saved(tmp_path / "image.zarr", image, 2, chunks=(16, 16, 3), compressor=compressor, filters=filters)
    wanted = zarr.open_array(str(tmp_path / "image.zarr"), mode="r")[...]
    np.testing.assert_array_equal(files.read(tmp_path / "image.zarr"), wanted)


@pytest.mark.skipif(3 not in FORMATS, reason="Zarr 2 does not know version 3")
@pytest.mark.parametrize("codec", ["gzip", "zstd", "blosc", "numcodecs.zlib", "numcodecs.bz2", "numcodecs.lzma"])
@pytest.mark.parametrize("shards", [None, (40, 60)])
def test_codecs_of_version_3(tmp_path, codec, shards):
    from zarr.registry import get_codec_class

    image = noise((70, 90), "f4")
    with warnings.catch_warnings(action="ignore"):  # numcodecs' are not of the standard
        compressor = get_codec_class(codec).from_dict({"name": codec, "configuration": {}})
        zarr.create_array(
            str(tmp_path / "image.zarr"),
            shape=image.shape,
            dtype="f4",
            chunks=(20, 15),
            shards=shards,
            compressors=compressor,
        )[...] = image
    with files.opened(tmp_path / "image.zarr") as source:
        np.testing.assert_array_equal(source.page(0), image)
        np.testing.assert_array_equal(source.array[3:45, 20:], image[3:45, 20:])


def test_a_stack_is_in_chunks_of_a_page(tmp_path):
    pages = noise((3, 1030, 9), "u1")
    np.save(tmp_path / "stack.npy", pages)
    out = tmp_path / "out.zarr"
    words = ["--psf", "box:1", "--mu", "0", "--max-iter", "1", "--stack"]
    assert cli.main(["deblur", str(tmp_path / "stack.npy"), "-o", str(out), *words]) == 0
    array = zarr.open_array(str(out), mode="r")
    assert array.chunks == (1, 1024, 9)
    np.testing.assert_array_equal(array[...], pages)
    assert cli.main(["deblur", str(out), "-o", str(out), *words]) == 0  # over itself
    np.testing.assert_array_equal(zarr.open_array(str(out), mode="r")[...], pages)
    assert sorted(os.listdir(tmp_path)) == ["out.zarr", "stack.npy"]


def test_an_array_is_replaced_and_nothing_else(tmp_path, capsys):
    np.save(tmp_path / "image.npy", np.ones((4, 5)))
    saved(tmp_path / "array.zarr", np.zeros((2, 2)))
    assert cli.main(["deblur", str(tmp_path / "image.npy"), "-o", str(tmp_path / "array.zarr"), *OPTIONS]) == 0
    assert files.read(tmp_path / "array.zarr").shape == (4, 5)
    (tmp_path / "folder.zarr").mkdir()
    (tmp_path / "folder.zarr" / "thesis.txt").write_text("all of it")
    (tmp_path / "file.zarr").write_text("something")
    ome(tmp_path / "group.zarr", np.ones((4, 5)), ["y", "x"])
    (tmp_path / "group.zarr" / "labels").mkdir()
    capsys.readouterr()
    for name in ("folder.zarr", "file.zarr", "group.zarr"):
        said = one_error(capsys, "deblur", tmp_path / "image.npy", "-o", tmp_path / name, *OPTIONS)
        assert "exists and is not a Zarr array" in said
    assert (tmp_path / "folder.zarr" / "thesis.txt").read_text() == "all of it"
    assert sorted(os.listdir(tmp_path)) == ["array.zarr", "file.zarr", "folder.zarr", "group.zarr", "image.npy"]


@pytest.mark.parametrize("when", ["writing", "renaming"])
def test_an_array_is_written_whole_or_not_at_all(tmp_path, capsys, monkeypatch, when):
    np.save(tmp_path / "image.npy", np.ones((4, 5)))
    old = noise((3, 3), "u1")
    saved(tmp_path / "out.zarr", old)
    renamed = []

    def fail(*arguments):
        renamed.append(arguments)
        if when == "writing" or len(renamed) == 2:
            raise OSError(28, "No space left on device")
        replace(*arguments)

    replace = os.replace
    if when == "writing":
        monkeypatch.setattr(zarr.Array, "__setitem__", fail)
    else:
        monkeypatch.setattr(os, "replace", fail)
    said = one_error(capsys, "deblur", tmp_path / "image.npy", "-o", tmp_path / "out.zarr", *OPTIONS)
    assert said == f"fastdeblur: error: cannot write {tmp_path / 'out.zarr'}: No space left on device"
    monkeypatch.undo()
    np.testing.assert_array_equal(files.read(tmp_path / "out.zarr"), old)
    assert sorted(os.listdir(tmp_path)) == ["image.npy", "out.zarr"]


def ome(path, array, axes, zarr_format=2):
    """A group as OME writes them."""
    saved(path / "0", array, zarr_format)
    scales = [{"datasets": [{"path": "0"}], **({} if axes is None else {"axes": axes})}]
    options = {"zarr_format": zarr_format} if zarr.__version__ >= "3" else {}
    group = zarr.open_group(str(path), mode="a", **options)
    group.attrs.update({"multiscales": scales} if zarr_format == 2 else {"ome": {"multiscales": scales}})


@pytest.mark.parametrize("zarr_format", FORMATS)
@pytest.mark.parametrize(
    ("shape", "axes", "moved"),
    [
        ((1, 1, 1, 9, 11), None, lambda array: array[0, 0, 0]),
        ((1, 3, 1, 9, 11), [{"name": name} for name in "tczyx"], lambda array: np.moveaxis(array[0, :, 0], 0, -1)),
        ((2, 9, 11), ["c", "y", "x"], lambda array: np.moveaxis(array, 0, -1)),
        ((9, 1, 11, 4), ["y", "z", "x", "c"], lambda array: array[:, 0]),
        ((9, 11), ["y", "x"], lambda array: array),
    ],
)
def test_ome_zarr_has_axes(tmp_path, zarr_format, shape, axes, moved):
    array = noise(shape, "u2")
    ome(tmp_path / "image.zarr", array, axes, zarr_format)
    np.testing.assert_array_equal(files.read(tmp_path / "image.zarr"), moved(array))


def test_channels_of_a_microscope_are_no_alpha(tmp_path):
    array = noise((2, 9, 11), "u2")
    ome(tmp_path / "image.zarr", array, ["c", "y", "x"])
    out = tmp_path / "out.npy"
    assert cli.main(["deblur", str(tmp_path / "image.zarr"), "-o", str(out), *OPTIONS]) == 0
    restored = np.load(out)
    assert restored.shape == (9, 11, 2)
    assert (restored[..., 1] != array[1]).any()


def test_ome_zarr_may_be_a_stack(tmp_path):
    array = noise((4, 1, 9, 11), "u2")
    ome(tmp_path / "image.zarr", array, ["t", "c", "y", "x"])
    with files.opened(tmp_path / "image.zarr", stack=True) as source:
        assert (source.shape, source.pages) == ((9, 11), 4)
        np.testing.assert_array_equal(source.page(2), array[2, 0])


@pytest.mark.parametrize(
    ("shape", "axes", "message"),
    [
        ((4, 1, 9, 11), ["t", "c", "y", "x"], "it must be one image, not a stack; it has 4 pages"),
        ((2, 3, 9, 11), ["t", "z", "y", "x"], "it must be one image, not a stack; it has 6 pages"),
        ((9, 11), ["x", "y"], "y before x"),
        ((9, 11), ["y"], "one for each dimension"),
        ((0, 11), ["y", "x"], "must not be empty"),
    ],
)
def test_groups_of_other_axes_are_refused(tmp_path, shape, axes, message):
    ome(tmp_path / "image.zarr", np.zeros(shape, np.uint8), axes)
    with pytest.raises(ValueError, match=r"cannot read .*image\.zarr: .*" + message):
        files.read(tmp_path / "image.zarr")


def microscope(path, shape=(2, 3, 2, 20, 24), zarr_format=2, scales=1, labels=False, side=16):
    """A group as OME's own tools write it: axes with units, a scale in micrometres, channels with names."""
    array = noise(shape, "u2")
    kinds = {"t": ("time", "second"), "c": ("channel", None), "z": ("space", "micrometer")}
    axes = [{"name": n, "type": kinds.get(n, ("space", "micrometer"))[0], "unit": "micrometer"} for n in "tczyx"]
    datasets = []
    for level in range(scales):
        scale = [1.0, 1.0, 0.5, 0.1 * 2**level, 0.1 * 2**level]
        datasets.append({"path": f"s{level}", "coordinateTransformations": [{"type": "scale", "scale": scale}]})
        inner = zarr.create_array(
            store=str(path / f"s{level}"), shape=shape, chunks=(1, 1, 1, side, side), dtype="u2",
            zarr_format=zarr_format, fill_value=7, attributes={"stage": [1, 2]},
        )  # fmt: skip
        inner[...] = array
    said = {"multiscales": [{"name": "cells", "axes": axes, "datasets": datasets, "version": "0.4"}]}
    said |= {"omero": {"channels": [{"label": name} for name in ("DAPI", "GFP", "Cy5")]}}
    attributes = {"mine": {"a": 1}} | (said if zarr_format == 2 else {"ome": said})
    zarr.open_group(str(path), mode="a", zarr_format=zarr_format, attributes=attributes)
    if labels:
        (path / "labels").mkdir()
    return array, attributes


@pytest.mark.parametrize("zarr_format", FORMATS)
def test_an_image_of_a_microscope_keeps_its_axes_and_attributes(tmp_path, capsys, zarr_format):
    array, attributes = microscope(tmp_path / "image.zarr", zarr_format=zarr_format, scales=2)
    out = tmp_path / "out.zarr"
    for _ in range(2):  # it may be replaced
        run("image.zarr", "out.zarr", tmp_path)
    said = capsys.readouterr()
    assert "out.zarr does not keep the smaller scales" in said.err
    assert "depth stays blurred" in said.out
    group = zarr.open_group(str(out), mode="r")
    assert group.metadata.zarr_format == zarr_format
    found = dict(group.attrs)
    place, before = (each if zarr_format == 2 else each["ome"] for each in (found, attributes))
    assert found["mine"] == {"a": 1}
    assert place["omero"] == before["omero"]
    (scales,) = place["multiscales"]
    assert (scales["axes"], scales["name"]) == (before["multiscales"][0]["axes"], "cells")
    assert scales["datasets"] == before["multiscales"][0]["datasets"][:1]
    restored = group["s0"]
    assert (restored.shape, restored.dtype, restored.fill_value) == (array.shape, array.dtype, 7)
    assert restored.attrs["stage"] == [1, 2]
    for t, z in np.ndindex(2, 2):  # each plane as if it were alone
        np.save(tmp_path / "plane.npy", np.moveaxis(array[t, :, z], 0, -1))
        run("plane.npy", "plane-out.npy", tmp_path)
        wanted = np.moveaxis(np.load(tmp_path / "plane-out.npy"), -1, 0)
        np.testing.assert_array_equal(restored[t, :, z], wanted)


def run(source, out, folder, *words):
    assert cli.main(["deblur", str(folder / source), "-o", str(folder / out), "--workers", "1", *OPTIONS, *words]) == 0


def test_a_group_that_holds_more_is_not_replaced(tmp_path, capsys):
    np.save(tmp_path / "image.npy", np.ones((4, 5)))
    microscope(tmp_path / "labels.zarr", labels=True)
    microscope(tmp_path / "scales.zarr", scales=2)
    for name in ("labels.zarr", "scales.zarr"):
        said = one_error(capsys, "deblur", tmp_path / "image.npy", "-o", tmp_path / name, *OPTIONS)
        assert "exists and is not a Zarr array, nor an OME-Zarr image of one scale alone" in said


def test_what_other_formats_cannot_keep_of_it_is_named(tmp_path, capsys):
    microscope(tmp_path / "image.zarr", (1, 1, 1, 20, 24))
    run("image.zarr", "out.npy", tmp_path)
    assert "out.npy does not keep the axes and attributes of OME-Zarr" in capsys.readouterr().err


@pytest.mark.parametrize("zarr_format", FORMATS)
def test_attributes_of_arrays_are_kept(tmp_path, capsys, zarr_format):
    image = noise((30, 40), "f4")
    names = {"dimension_names": ("lat", "lon")} if zarr_format == 3 else {}
    made = zarr.create_array(
        store=str(tmp_path / "image.zarr"), shape=image.shape, dtype="f4", zarr_format=zarr_format, fill_value=-1,
        attributes={"units": "K", "deep": [1, {"a": None}]}, **names,
    )  # fmt: skip
    made[...] = image
    run("image.zarr", "out.zarr", tmp_path)
    run("image.zarr", "out.zarr", tmp_path)
    assert capsys.readouterr().err == ""
    found = zarr.open_array(str(tmp_path / "out.zarr"), mode="r")
    assert dict(found.attrs) == {"units": "K", "deep": [1, {"a": None}]}
    assert (found.fill_value, found.metadata.zarr_format) == (-1, zarr_format)
    if names:
        assert found.metadata.dimension_names == ("lat", "lon")


@pytest.mark.parametrize("kind", few(["array", "group"], ["group"]))  # (Arrays: test_tilewise.py.)
def test_tiles_give_the_same_array_as_at_once(tmp_path, capsys, monkeypatch, kind):
    monkeypatch.setattr(plan, "CODE", 0)  # so that small images do not fit
    if kind == "group":
        array, _ = microscope(tmp_path / "image.zarr", (1, 2, 1, 400, 420), side=64)
    else:
        array = noise((400, 420), "u2")
        made = zarr.create_array(
            store=str(tmp_path / "image.zarr"), shape=array.shape, dtype="u2", chunks=(64, 64), attributes={"a": 1}
        )
        made[...] = array
    tv = ["--psf", "gaussian:3:0.7", "--prior", "tv", "--mu", "0.01", "--tol", "0", "--max-iter", "4"]
    run("image.zarr", "out.zarr", tmp_path, "--max-memory", "6MB" if kind == "array" else "9MB", *tv)
    assert " tiles of " in capsys.readouterr().out
    run("image.zarr", "whole.zarr", tmp_path, *tv)
    inner = "s0" if kind == "group" else ""
    found, whole = (zarr.open_array(str(tmp_path / name / inner), mode="r") for name in ("out.zarr", "whole.zarr"))
    assert (found.shape, found.dtype) == (array.shape, array.dtype)
    np.testing.assert_allclose(found[...].astype(float), whole[...].astype(float), atol=600)
    assert dict(found.attrs) == dict(whole.attrs) != {}
    if kind == "group":
        groups = [dict(zarr.open_group(str(tmp_path / name), mode="r").attrs) for name in ("out.zarr", "whole.zarr")]
        assert groups[0] == groups[1]
        assert groups[0]["mine"] == {"a": 1}


def test_the_fill_value_means_missing_if_asked(tmp_path, capsys):
    """As of a mosaic of which tiles were never written."""
    made = zarr.create_array(
        store=str(tmp_path / "image.zarr"), shape=(40, 48), chunks=(16, 16), dtype="u2", fill_value=9
    )
    made[:16], made[16:32, 16:] = 700, 800
    hole = np.zeros((40, 48), bool)
    hole[32:], hole[16:32, :16] = True, True
    run("image.zarr", "out.zarr", tmp_path, "--nodata", "fill")
    run("image.zarr", "named.zarr", tmp_path, "--nodata", "9")
    run("image.zarr", "plain.zarr", tmp_path)
    found, named, plain = (
        zarr.open_array(str(tmp_path / name), mode="r")[...] for name in ("out.zarr", "named.zarr", "plain.zarr")
    )
    np.testing.assert_array_equal(found, named)
    np.testing.assert_array_equal(found == 9, hole)
    assert (found[~hole] > 600).all()
    assert (plain[~hole] < 600).any()  # it bled in
    np.save(tmp_path / "image.npy", made[...])
    capsys.readouterr()
    said = one_error(capsys, "deblur", tmp_path / "image.npy", "-o", tmp_path / "o.npy", "--nodata", "fill", *OPTIONS)
    assert "nodata may be fill for a .zarr with a fill value; " in said
