"""What files hold is what is read, and what is written is what files hold."""

import importlib.util
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import fastdeblur as fd
from fastdeblur import files

SHAPES = {"gray": (9, 14), "LA": (9, 14, 2), "RGB": (9, 14, 3), "RGBA": (9, 14, 4)}


def noise(shape, dtype):
    """Pixels over all of a dtype's range, its ends included."""
    random = np.random.default_rng(7)
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return random.random(shape) < 0.5
    if dtype.kind == "f":
        return random.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    pixels = random.integers(limits.min, limits.max, shape, dtype.newbyteorder("="), endpoint=True).astype(dtype)
    pixels.flat[:2] = limits.min, limits.max
    return pixels


EXACT = [
    *[(".png", "u1", kind) for kind in SHAPES],
    (".png", "u2", "gray"),
    (".png", ">u2", "gray"),
    *[(".tif", dtype, kind) for dtype in ("u1", "u2", "i2", ">u2", "f2", "f4", "f8") for kind in SHAPES],
    (".tiff", "i4", "gray"),
    *[(".npy", dtype, kind) for dtype in ("?", "i1", "u2", ">i4", "u8", "f4") for kind in SHAPES],
]


@pytest.mark.parametrize(("suffix", "dtype", "kind"), EXACT)
def test_what_was_written_is_read(tmp_path, suffix, dtype, kind):
    image = noise(SHAPES[kind], dtype)
    files.write(tmp_path / f"image{suffix}", image)
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
        files.write(tmp_path / "image.tif", image)
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
    files.write(tmp_path / f"thin{suffix}", noise(shape, "u1"))
    np.testing.assert_array_equal(files.read(tmp_path / f"thin{suffix}"), noise(shape, "u1"))


@pytest.mark.parametrize(
    ("suffix", "dtype", "kind", "fitting"),
    [
        (".png", "u2", "RGB", ".tif, .tiff or .npy"),
        (".png", "u2", "LA", ".tif, .tiff or .npy"),
        (".png", "i2", "gray", ".tif, .tiff or .npy"),
        (".png", "f4", "gray", ".tif, .tiff or .npy"),
        (".jpg", "f8", "RGB", ".tif, .tiff or .npy"),
        (".jpg", "u2", "gray", ".png, .tif, .tiff or .npy"),
        (".jpeg", "u1", "RGBA", ".png, .tif, .tiff or .npy"),
        (".jpeg", "?", "LA", ".png, .tif, .tiff or .npy"),
    ],
)
def test_formats_that_cannot_hold_an_image(tmp_path, suffix, dtype, kind, fitting):
    path = tmp_path / f"image{suffix}"
    for action in (files.check_out, files.write):
        with pytest.raises(ValueError, match=f"{fitting} would do$"):
            action(path, noise(SHAPES[kind], dtype))
    assert os.listdir(tmp_path) == []


def test_a_jpeg_has_a_largest_side(tmp_path):
    files.check_out(tmp_path / "image.jpg", np.zeros((2, files.JPEG_SIDE), np.uint8))
    with pytest.raises(ValueError, match=r"uint8 gray of 65501x2; \.png, "):
        files.check_out(tmp_path / "image.jpg", np.zeros((files.JPEG_SIDE + 1, 2), np.uint8))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("image", "suffix must be one of .*; it is ''"),
        ("image.bmp", r"suffix must be one of .*; it is '\.bmp'"),
        ("none/image.png", "there is no folder"),
        ("folder.png", "exists and is not a file"),
    ],
)
def test_places_that_cannot_be_written_to(tmp_path, name, message):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ValueError, match=message):
        files.check_out(tmp_path / name, np.zeros((2, 2), np.uint8))


def test_a_folder_that_is_read_only(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK or Path(path) != tmp_path)
    with pytest.raises(ValueError, match="is read-only"):
        files.check_out(tmp_path / "image.png", np.zeros((2, 2), np.uint8))


# --- pixels as real numbers ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", ">u2", "i2", "u4", "i4", "f2", "f4", "f8"])
@pytest.mark.parametrize("kind", SHAPES)
def test_pixels_survive_the_way_to_real_numbers_and_back(dtype, kind):
    image = noise(SHAPES[kind], dtype)
    real = files.to_real(image)
    assert real.shape == {"LA": (9, 14, 1), "RGBA": (9, 14, 3)}.get(kind, image.shape)
    back = files.from_real(real.astype(np.float32 if image.dtype == np.float16 else real.dtype), image)
    assert back.dtype == image.dtype
    np.testing.assert_array_equal(back, image)


@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_integers_of_64_bits_do_not_wrap(dtype):
    image = noise((9, 14), dtype)
    back = files.from_real(files.to_real(image), image)
    error = [abs(int(a) - int(b)) for a, b in zip(back.flat, image.flat, strict=True)]
    assert max(error) <= 2**11  # half a unit in the last place of float64


@pytest.mark.parametrize(
    ("dtype", "real"), [("?", "f4"), ("u1", "f4"), ("i2", "f4"), ("u2", "f4"), ("u4", "f8"), ("i8", "f8")]
)
def test_the_largest_value_is_one(dtype, real):
    largest = True if dtype == "?" else np.iinfo(dtype).max
    values = files.to_real(np.array([[0, largest]], dtype))
    assert values.dtype == np.dtype(real)
    assert values.tolist() == [[0.0, 1.0]]


def test_integers_are_rounded_and_clipped_to_their_range():
    real = np.array([[-2.0, -1.0, 0.4 / 255, 0.6 / 255, 1.0, 7.5]], np.float32)
    assert files.from_real(real, np.zeros((1, 6), np.uint8)).tolist() == [[0, 0, 0, 1, 255, 255]]
    assert files.from_real(real, np.zeros((1, 6), np.int16)).tolist() == [[-32768, -32767, 51, 77, 32767, 32767]]


def test_floats_are_not_clipped():
    real = np.array([[-2.0, 7.5]], np.float32)
    np.testing.assert_array_equal(files.from_real(real, np.zeros((1, 2), np.float64)), real)


def test_booleans_become_bytes():
    image = np.array([[[True, False], [False, True]]])
    real = np.array([[[0.5], [2.0]]], np.float32)
    written = files.from_real(real, image)
    assert written.dtype == np.uint8
    assert written.tolist() == [[[128, 0], [255, 255]]]


# --- what other programs write ------------------------------------------------------------------


def test_palettes_are_colours(tmp_path):
    colours = np.zeros((4, 6, 3), np.uint8)
    colours[:, :3], colours[:, 3:] = (10, 20, 30), (200, 100, 50)
    picture = Image.fromarray(colours).quantize(2)
    for name in ("image.png", "image.tif"):
        picture.save(tmp_path / name)
        np.testing.assert_array_equal(files.read(tmp_path / name), colours)
    picture.save(tmp_path / "clear.png", transparency=picture.getpixel((0, 0)))
    clear = files.read(tmp_path / "clear.png")
    np.testing.assert_array_equal(clear[..., :3], colours)
    np.testing.assert_array_equal(clear[..., 3], np.where(np.arange(6) < 3, 0, 255)[None].repeat(4, axis=0))


@pytest.mark.parametrize(("kind", "key"), [("gray", 3), ("RGB", (1, 2, 3))])
def test_a_transparent_colour_is_alpha(tmp_path, kind, key):
    image = noise(SHAPES[kind], "u1")
    image[2, 3] = key
    Image.fromarray(image).save(tmp_path / "image.png", transparency=key)
    back = files.read(tmp_path / "image.png")
    np.testing.assert_array_equal(back[..., :-1], np.atleast_3d(image))
    assert (back[2, 3, -1], back[0, 0, -1]) == (0, 255)


ORIENTED = {
    1: lambda image: image,
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: lambda image: image.T,
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", ORIENTED)
def test_images_are_turned_as_they_are_marked(tmp_path, orientation):
    image = noise((5, 8), "u1")
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(image)
    picture.save(tmp_path / "image.png", exif=exif)
    picture.save(tmp_path / "packed.tif", exif=exif, compression="tiff_lzw")
    tifffile.imwrite(tmp_path / "plain.tif", image, extratags=[(0x0112, "H", 1, orientation, True)])
    for name in ("image.png", "packed.tif", "plain.tif"):
        np.testing.assert_array_equal(files.read(tmp_path / name), ORIENTED[orientation](image), err_msg=name)


@pytest.mark.parametrize("dtype", ["?", "u1", "u2"])
def test_tiff_where_zero_is_white(tmp_path, dtype):
    image = noise((6, 16), dtype)
    tifffile.imwrite(tmp_path / "image.tif", image, photometric="miniswhite")
    np.testing.assert_array_equal(files.read(tmp_path / "image.tif"), ~image)


def test_tiff_in_planes(tmp_path):
    image = noise(SHAPES["RGB"], "u2")
    tifffile.imwrite(tmp_path / "image.tif", np.moveaxis(image, -1, 0), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(files.read(tmp_path / "image.tif"), image)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits"])
@pytest.mark.parametrize(("kind", "dtype"), [("gray", "?"), ("RGB", "u1"), ("gray", "u2"), ("gray", "f4")])
def test_compressed_tiff(tmp_path, compression, kind, dtype):
    image = noise(SHAPES[kind], dtype)
    Image.fromarray(image).save(tmp_path / "image.tif", compression=compression)
    np.testing.assert_array_equal(files.read(tmp_path / "image.tif"), image)


def lzw(content):
    """Bytes as TIFF's LZW has them, not compressed: codes of 9 bits, cleared before they need more."""
    codes = []
    for start in range(0, len(content), 200):
        codes += [256, *content[start : start + 200]]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


@pytest.mark.parametrize(("kind", "dtype"), [("RGB", "u1"), ("gray", "u2"), ("RGB", "u2"), ("RGBA", "u2")])
def test_compressed_tiff_is_read_in_full_or_not(tmp_path, kind, dtype):
    image = noise(SHAPES[kind], dtype)
    path = tmp_path / "image.tif"
    files.write(path, image)
    strip = lzw(image.tobytes())
    with path.open("ab") as file:
        offset = file.tell()
        file.write(strip)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tags = tiff.pages.first.tags
        for name, value in (("Compression", 5), ("StripOffsets", (offset,)), ("StripByteCounts", (len(strip),))):
            tags[name].overwrite(value)
    # Without imagecodecs it is Pillow that reads this, and of 16-bit colour Pillow keeps 8 bits.
    if dtype == "u1" or kind == "gray" or importlib.util.find_spec("imagecodecs"):
        np.testing.assert_array_equal(files.read(path), image)
    else:
        with pytest.raises(ValueError, match="uint8 is all that can be read of it without the package imagecodecs"):
            files.read(path)


def png_of_16_bits(path, colour_type, channels):
    """A PNG of 2 x 2 pixels that Pillow would read with 8 bits."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = zlib.compress(2 * (b"\0" + 2 * channels * b"\x12\x34"))
    header = struct.pack(">IIBBBBB", 2, 2, 16, colour_type, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""),
    )


def test_png_of_16_bits_a_channel(tmp_path):
    path = tmp_path / "image.png"
    png_of_16_bits(path, 0, 1)
    np.testing.assert_array_equal(files.read(path), np.full((2, 2), 0x1234, np.uint16))
    for colour_type, channels in ((2, 3), (4, 2), (6, 4)):
        png_of_16_bits(path, colour_type, channels)
        with pytest.raises(ValueError, match="16 bits a channel is only read in gray"):
            files.read(path)


def test_an_image_that_pillow_thinks_an_attack_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    files.write(tmp_path / "image.png", noise((9, 14), "u1"))
    np.testing.assert_array_equal(files.read(tmp_path / "image.png"), noise((9, 14), "u1"))
    assert Image.MAX_IMAGE_PIXELS == 20


def unreadable(folder):
    """Files that are no image, by name, and what is said of each."""
    gray = noise((40, 50), "u1")
    picture = Image.fromarray(gray)
    (folder / "text.png").write_text("no picture")
    (folder / "text.jpg").write_text("no picture")
    (folder / "text.tif").write_text("no picture")
    (folder / "text.npy").write_text("no picture")
    (folder / "empty.png").touch()
    (folder / "folder.png").mkdir()
    (folder / "image.bmp").touch()
    for name in ("short.png", "short.jpg", "short.tif", "packed.tif", "short.npy"):
        if name == "packed.tif":
            picture.save(folder / name, compression="tiff_lzw")
        else:
            files.write(folder / name, gray)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    tifffile.imwrite(folder / "pages.tif", np.stack([gray] * 3), photometric="minisblack")
    tifffile.imwrite(folder / "bands.tif", np.stack([gray] * 5, axis=-1), planarconfig="contig")
    tifffile.imwrite(folder / "complex.tif", gray.astype(np.complex64))
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    picture.convert("CMYK").save(folder / "cmyk.tif")
    picture.save(folder / "moving.png", save_all=True, append_images=[Image.fromarray(255 - gray)])
    np.save(folder / "objects.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    np.save(folder / "words.npy", np.array([["a"]]))
    np.save(folder / "line.npy", np.zeros(5))
    np.save(folder / "none.npy", np.zeros((0, 5)))
    np.save(folder / "volume.npy", np.zeros((4, 5, 6)))
    np.save(folder / "frames.npy", np.zeros((2, 4, 5, 3)))
    return {
        "missing.png": "No such file",
        "missing.tif": "No such file",
        "missing.npy": "No such file",
        "text.png": "not such an image",
        "text.jpg": "not such an image",
        "text.tif": "",
        "text.npy": "magic string",
        "empty.png": "not such an image",
        "folder.png": "",  # what opening a folder says depends on the system
        "image.bmp": r"suffix must be one of .*; it is '\.bmp'",
        "short.png": "truncated",
        "short.jpg": "truncated",
        "short.tif": "",
        "packed.tif": "damaged",
        "short.npy": "read all data",
        "pages.tif": "not a stack; it has 3 pages",
        "bands.tif": "1 to 4 channels",
        "complex.tif": "complex64",
        "cmyk.jpg": "CMYK",
        "cmyk.tif": "CMYK",
        "moving.png": "animation; it has 2 frames",
        "objects.npy": "allow_pickle=False",
        "words.npy": "dtype is <U1",
        "line.npy": r"shape is \(5,\)",
        "none.npy": "must not be empty",
        "volume.npy": r"shape is \(4, 5, 6\)",
        "frames.npy": r"shape is \(2, 4, 5, 3\)",
    }


def test_what_cannot_be_read_is_named_with_a_reason(tmp_path):
    for name, reason in unreadable(tmp_path).items():
        with pytest.raises(ValueError, match=f"cannot read .*{name}: .*{reason}"):
            files.read(tmp_path / name)


# --- psfs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("gaussian:13:1,3", fd.psf.gaussian(13, (1, 3))),
        ("gaussian:5x7:1.5", fd.psf.gaussian((5, 7), 1.5)),
        ("disk:5", fd.psf.disk(5)),
        ("disk:2.5", fd.psf.disk(2.5)),
        ("motion:15:40", fd.psf.motion(15, 40)),
        ("motion:7:-30.5", fd.psf.motion(7, -30.5)),
        ("box:5", fd.psf.box(5)),
        ("box:3x5", fd.psf.box((3, 5))),
        ("airy:2.5:15", fd.psf.airy(2.5, 15)),
        ("airy:2:9x11", fd.psf.airy(2, (9, 11))),
    ],
)
def test_psfs_in_words(spec, expected):
    np.testing.assert_array_equal(files.read_psf(spec), expected)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("", "must be one of gaussian:SIZE:SIGMA, disk:RADIUS, .* or a file"),
        ("disc:5", "must be one of"),
        ("psf.bmp", "must be one of"),
        ("gaussian", "0 values after the name, not 2"),
        ("gaussian:13", "1 values"),
        ("gaussian:13:1:3", "3 values"),
        ("gaussian:13:1,2,3", "sigma must be one number or two"),
        ("gaussian:13:", "could not convert"),
        ("gaussian:13:0", "above 0"),
        ("gaussian:13:nan", "finite"),
        ("gaussian:0:1", "at least 1; got 0"),
        ("gaussian:-3:1", "at least 1; got -3"),
        ("gaussian:2.5:1", "invalid literal"),
        ("gaussian:1x2x3:1", "ROWS or ROWSxCOLS"),
        ("disk:-1", "above 0"),
        ("disk:big", "could not convert"),
        ("disk:1e300", ""),
        ("motion:15", "1 values"),
        ("motion:inf:4", "finite"),
        ("motion:1e300:4", ""),
        ("box:3x", "invalid literal"),
        ("box:", "invalid literal"),
        ("airy:2", "1 values"),
        ("airy:0:9", "above 0"),
        ("missing.png", "No such file"),
    ],
)
def test_bad_psfs_are_named_with_a_reason(spec, reason):
    with pytest.raises(ValueError, match=f"{spec}.*{reason}"):
        files.read_psf(spec)


def test_psfs_in_files(tmp_path):
    gray = noise((3, 5), "u2")
    colour = noise((3, 5, 4), "u1")
    files.write(tmp_path / "gray.png", gray)
    files.write(tmp_path / "gray.npy", gray.astype(np.float32))
    files.write(tmp_path / "colour.png", colour)
    np.testing.assert_allclose(files.read_psf(str(tmp_path / "gray.png")), gray / gray.sum(), rtol=1e-6)
    assert files.read_psf(str(tmp_path / "gray.npy")).dtype == np.float32
    mean = colour[..., :3].mean(axis=-1)
    np.testing.assert_allclose(files.read_psf(str(tmp_path / "colour.png")), mean / mean.sum(), rtol=1e-6)


@pytest.mark.parametrize("values", [[[0.0, 0.0]], [[1.0, -1.0]], [[1.0, np.nan]]])
def test_files_that_are_no_psf(tmp_path, values):
    np.save(tmp_path / "psf.npy", np.array(values))
    with pytest.raises(ValueError, match=r"psf\.npy: psf must"):
        files.read_psf(str(tmp_path / "psf.npy"))


# --- whole files --------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_file_is_written_whole_or_not_at_all(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail():
        with files.whole(path) as file:
            file.write(b"half")
            file.flush()
            assert path.read_bytes() == b"old"
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]
    with files.whole(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_that_cannot_take_its_place_vanishes(tmp_path, monkeypatch):
    def refuse(source, target):
        assert os.path.dirname(source) == os.path.dirname(target)
        raise PermissionError("no")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError):
        files.write(tmp_path / "image.png", np.zeros((2, 2), np.uint8))
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="modes and links as POSIX has them")
def test_modes_and_links_are_kept(tmp_path):
    image = np.zeros((2, 2), np.uint8)
    path, link = tmp_path / "image.png", tmp_path / "link.png"
    umask = os.umask(0o022)
    try:
        files.write(path, image)
    finally:
        os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o644
    path.chmod(0o604)
    link.symlink_to("image.png")
    files.write(link, image + 9)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o604
    np.testing.assert_array_equal(files.read(path), image + 9)
