"""What files hold is what is read, and what is written is what files hold."""

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from samples import SHAPES, noise

from fastdeblur.io import files, pillow

EXACT = [
    *[(".png", "u1", kind) for kind in SHAPES],
    (".png", "u2", "gray"),
    (".png", ">u2", "gray"),
    *[(".png", "u2", kind) for kind in ("LA", "RGB", "RGBA")],
    *[(".webp", "u1", kind) for kind in ("RGB", "RGBA")],
    *[(".bmp", "u1", kind) for kind in ("gray", "RGB")],
    *[(".tif", dtype, kind) for dtype in ("u1", "u2", "i2", ">u2", "f2", "f4", "f8") for kind in SHAPES],
    (".tiff", "i4", "gray"),
    *[(".npy", dtype, kind) for dtype in ("?", "i1", "u2", ">i4", "u8", "f4") for kind in SHAPES],
]


@pytest.mark.parametrize(("suffix", "dtype", "kind"), EXACT)
def test_written_images_are_read_back(tmp_path, suffix, dtype, kind):
    image = noise(SHAPES[kind], dtype)
    files.write(tmp_path / f"image{suffix}", image, alpha=kind in ("LA", "RGBA"))
    back = files.read(tmp_path / f"image{suffix}")
    assert back.dtype.newbyteorder("=") == image.dtype.newbyteorder("=")
    np.testing.assert_array_equal(back, image)
    assert os.listdir(tmp_path) == [f"image{suffix}"]


def test_other_programs_read_what_was_written(tmp_path):
    deep = noise((5, 6), "u2")
    files.write(tmp_path / "deep.png", deep)
    assert (tmp_path / "deep.png").read_bytes()[24:26] == b"\x10\0"  # 16 bits, gray
    files.write(tmp_path / "deep.tif", deep)
    with Image.open(tmp_path / "deep.tif") as picture:
        np.testing.assert_array_equal(np.array(picture), deep)
    for kind, mode in (("gray", "L"), ("LA", "LA"), ("RGB", "RGB"), ("RGBA", "RGBA")):
        image = noise(SHAPES[kind], "u1")
        files.write(tmp_path / "image.tif", image, alpha=kind in ("LA", "RGBA"))
        with Image.open(tmp_path / "image.tif") as picture:
            assert picture.mode == mode
            np.testing.assert_array_equal(np.array(picture), image)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG"])
@pytest.mark.parametrize("kind", ["gray", "RGB"])
def test_jpeg_is_nearly_what_was_written(tmp_path, suffix, kind):
    ramp = np.add.outer(8 * np.arange(9), 6 * np.arange(14)).astype(np.uint8)
    image = ramp if kind == "gray" else np.stack([ramp, ramp[::-1], 255 - ramp], axis=-1)
    files.write(tmp_path / f"image{suffix}", image)
    back = files.read(tmp_path / f"image{suffix}")
    assert back.dtype == np.uint8
    assert back.shape == image.shape
    assert np.abs(back.astype(int) - image).max() <= 6

    Image.fromarray(image).save(tmp_path / "other.jpg", quality=95)
    with Image.open(tmp_path / f"image{suffix}") as ours, Image.open(tmp_path / "other.jpg") as other:
        assert ours.quantization == other.quantization


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_one_channel_is_gray(tmp_path, suffix):
    image = np.full((6, 7, 1), 200, np.uint8)
    files.write(tmp_path / f"image{suffix}", image)
    np.testing.assert_allclose(files.read(tmp_path / f"image{suffix}"), image[..., 0], atol=2)


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (1, 1), (1, 9, 3), (9, 1, 4), (1, 1, 2)])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
def test_thin_images_keep_their_shape(tmp_path, shape, suffix):
    files.write(tmp_path / f"thin{suffix}", noise(shape, "u1"), alpha=shape[2:] in ((2,), (4,)))
    np.testing.assert_array_equal(files.read(tmp_path / f"thin{suffix}"), noise(shape, "u1"))


@pytest.mark.parametrize(
    ("suffix", "dtype", "kind", "fitting"),
    [
        (".bmp", "u1", "RGBA", ".png, .webp, .tif, .tiff, .npy or .zarr"),
        (".webp", "u1", "gray", ".png, .jpg, .jpeg, .bmp, .tif, .tiff, .npy or .zarr"),
        (".png", "i2", "gray", ".tif, .tiff, .npy or .zarr"),
        (".png", "f4", "gray", ".tif, .tiff, .npy or .zarr"),
        (".jpg", "f8", "RGB", ".tif, .tiff, .npy or .zarr"),
        (".jpg", "u2", "gray", ".png, .tif, .tiff, .npy or .zarr"),
        (".jpeg", "u1", "RGBA", ".png, .webp, .tif, .tiff, .npy or .zarr"),
        (".jpeg", "?", "LA", ".png, .tif, .tiff, .npy or .zarr"),
    ],
)
def test_formats_that_cannot_hold_an_image(tmp_path, suffix, dtype, kind, fitting):
    path = tmp_path / f"image{suffix}"
    for action in (files.check_out, files.write):
        with pytest.raises(ValueError, match=f"{fitting} would do$"):
            action(path, noise(SHAPES[kind], dtype), alpha=kind in ("LA", "RGBA"))
    assert os.listdir(tmp_path) == []


def test_a_jpeg_has_a_largest_side(tmp_path):
    files.check_out(tmp_path / "image.jpg", np.zeros((2, pillow.LIMITS["JPEG"][1]), np.uint8))
    with pytest.raises(ValueError, match=r"uint8 gray of 65501x2; \.png, "):
        files.check_out(tmp_path / "image.jpg", np.zeros((pillow.LIMITS["JPEG"][1] + 1, 2), np.uint8))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("image", "suffix must be one of .*; it is ''"),
        ("image.gif", r"suffix must be one of .*; it is '\.gif'"),
        ("none/image.png", "there is no folder"),
        ("folder.png", "exists and is not a file"),
    ],
)
def test_places_that_cannot_be_written_to(tmp_path, name, message):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ValueError, match=message):
        files.check_out(tmp_path / name, np.zeros((2, 2), np.uint8))


def test_an_output_that_is_read_only(tmp_path, monkeypatch):
    (tmp_path / "image.png").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK or Path(path).is_dir())
    with pytest.raises(ValueError, match="exists and is read-only"):
        files.check_out(tmp_path / "image.png", np.zeros((2, 2), np.uint8))


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", "CF")
def test_arrays_of_any_version_and_order(tmp_path, version, order):
    image = np.asarray(noise((5, 7, 3), ">f4"), order=order)
    with (tmp_path / "image.npy").open("wb") as file:
        np.lib.format.write_array(file, image, version)
    with files.opened(tmp_path / "image.npy") as source:
        np.testing.assert_array_equal(source.array[1:3, 2:], image[1:3, 2:])
        np.testing.assert_array_equal(source.page(0), image)


def test_a_folder_that_is_read_only(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK or Path(path) != tmp_path)
    with pytest.raises(ValueError, match="is read-only"):
        files.check_out(tmp_path / "image.png", np.zeros((2, 2), np.uint8))


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("byteorder", "<>")
def test_parts_of_plain_tiffs_can_be_read(tmp_path, kind, byteorder):
    image = noise(SHAPES[kind], "u2")
    colour = "rgb" if kind.startswith("RGB") else "minisblack"
    options = {"photometric": colour, "planarconfig": None if kind == "gray" else "contig", "byteorder": byteorder}
    tifffile.imwrite(tmp_path / "image.tif", image, rowsperstrip=2, **options)
    with files.opened(tmp_path / "image.tif") as source:
        assert source.array.shape == source.shape == image.shape
        np.testing.assert_array_equal(source.array[2:5, 3:], image[2:5, 3:])
        np.testing.assert_array_equal(source.page(0), image)


@pytest.mark.parametrize("kind", ["gray", "RGB"])
@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zlib"},
        {"tile": (16, 16)},
        {"tile": (16, 16), "compression": "zlib"},
    ],
)
def test_parts_of_tiffs_in_strips_and_tiles_can_be_read(tmp_path, kind, options):
    image = noise((30, 40, *SHAPES[kind][2:]), "u2")
    options = {"photometric": "minisblack" if kind == "gray" else "rgb", **options}
    tifffile.imwrite(tmp_path / "image.tif", image, rowsperstrip=None if "tile" in options else 7, **options)
    with files.opened(tmp_path / "image.tif") as source:
        assert source.array.shape == source.shape == image.shape
        for rows, cols in ((slice(0, 30), slice(0, 40)), (slice(3, 5), slice(39, 40)), (slice(6, 22), slice(11, 33))):
            np.testing.assert_array_equal(source.array[rows, cols], image[rows, cols])
        assert source.array[4:4, :].shape == image[4:4].shape
        assert 0 < source.part < 2 * image.nbytes + 2**18  # and what decoders keep


@pytest.mark.parametrize("options", [{}, {"tile": (16, 32), "compression": "zlib"}, {"rowsperstrip": 7}])
def test_parts_of_planes_can_be_read(tmp_path, options):
    image = noise((3, 30, 40), "u2")
    tifffile.imwrite(tmp_path / "image.tif", image, photometric="rgb", planarconfig="separate", **options)
    with files.opened(tmp_path / "image.tif") as source:
        for rows, cols in ((slice(0, 30), slice(0, 40)), (slice(6, 22), slice(11, 33))):
            np.testing.assert_array_equal(source.array[rows, cols], np.moveaxis(image, 0, -1)[rows, cols])


def test_tiles_that_a_tiff_leaves_out_are_0(tmp_path):
    image = noise((40, 40), "u2")
    tifffile.imwrite(tmp_path / "image.tif", image, tile=(32, 32))
    with tifffile.TiffFile(tmp_path / "image.tif", mode="r+b") as tiff:
        for name in ("TileOffsets", "TileByteCounts"):
            tag = tiff.pages.first.tags[name]
            tag.overwrite([tag.value[0], 0, 0, 0])
    with files.opened(tmp_path / "image.tif") as source:
        found = source.array[:, :]
    np.testing.assert_array_equal(found[:32, :32], image[:32, :32])
    assert not found[32:].any()
    assert not found[:, 32:].any()


def test_parts_of_packed_bytes_can_be_read(tmp_path):
    image = noise((30, 40), "u1")
    Image.fromarray(image).save(tmp_path / "image.tif", compression="packbits")
    with files.opened(tmp_path / "image.tif") as source:
        np.testing.assert_array_equal(source.array[3:20, 5:], image[3:20, 5:])


@pytest.mark.parametrize(
    ("dtype", "options"),
    [("u2", {"photometric": "miniswhite"}), ("?", {})],
)
def test_tiffs_without_parts_are_read_whole(tmp_path, dtype, options):
    tifffile.imwrite(tmp_path / "image.tif", noise((30, 40), dtype), **options)
    with files.opened(tmp_path / "image.tif") as source:
        assert source.array is None
        assert source.page(0).shape == source.shape
