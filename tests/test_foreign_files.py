"""What other programs write is read as they mean it, or refused with a reason."""

import importlib.util
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image
from samples import SHAPES, noise

from fastdeblur.io import files, limits


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
    files.write(path, image, alpha=kind == "RGBA")
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
    """A PNG of 2 x 2 pixels."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = zlib.compress(2 * (b"\0" + 2 * channels * b"\x12\x34"))
    header = struct.pack(">IIBBBBB", 2, 2, 16, colour_type, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""),
    )


@pytest.mark.parametrize("image", ["noise", "black", "waves"])
def test_lzw_is_looked_at_before_it_is_decompressed(tmp_path, image):
    """Damaged streams may end the process that decodes them, and small ones become large."""
    pixels = {"noise": noise((150, 400), "u1"), "black": np.zeros((900, 900), np.uint8)}
    pixels["waves"] = (np.add.outer(np.arange(300) // 7, np.arange(500) // 3) % 256).astype(np.uint8)
    Image.fromarray(pixels[image]).save(tmp_path / "a.tif", compression="tiff_lzw")
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        page, (start, length) = tiff.pages.first, (tiff.pages.first.dataoffsets[0], tiff.pages.first.databytecounts[0])
    rows, cols = pixels[image].shape
    size, stream = min(page.rowsperstrip, rows) * cols, (tmp_path / "a.tif").read_bytes()[start : start + length]
    limits.check_lzw(stream, size)
    with pytest.raises(ValueError, match="more than its pixels"):
        limits.check_lzw(stream, size - 1)
    with pytest.raises(ValueError, match="old kind"):
        limits.check_lzw(b"\0\1" + stream, size)
    decode, chance, refused = limits.of_imagecodecs("lzw"), np.random.default_rng(0), 0
    for _ in range(40):
        damaged = bytearray(stream)
        for place in chance.integers(0, len(damaged), 3):
            damaged[place] ^= 1 << chance.integers(8)
        try:
            limits.check_lzw(bytes(damaged), size)
            if decode is not None:
                decode(bytes(damaged), size)
        except Exception:  # noqa: BLE001 (of the codec; what matters is that the process goes on)
            refused += 1
    assert refused > 10
    if decode is not None:
        assert len(decode(stream, size)) == size


def test_png_of_16_bits_a_channel(tmp_path):
    path = tmp_path / "image.png"
    png_of_16_bits(path, 0, 1)
    np.testing.assert_array_equal(files.read(path), np.full((2, 2), 0x1234, np.uint16))
    for colour_type, channels in ((2, 3), (4, 2), (6, 4)):
        png_of_16_bits(path, colour_type, channels)
        np.testing.assert_array_equal(files.read(path), np.full((2, 2, channels), 0x1234, np.uint16))


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
    (folder / "image.gif").touch()
    for name in ("short.png", "short.jpg", "short.tif", "packed.tif", "short.npy"):
        if name == "packed.tif":
            picture.save(folder / name, compression="tiff_lzw")
        else:
            files.write(folder / name, gray)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    tifffile.imwrite(folder / "pages.tif", np.stack([gray] * 3), photometric="minisblack")
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
        "image.gif": r"suffix must be one of .*; it is '\.gif'",
        "short.png": "truncated",
        "short.jpg": "truncated",
        "short.tif": "truncated",
        "packed.tif": "truncated",
        "short.npy": "truncated, or damaged: its header speaks of 2000 bytes",
        "pages.tif": "not a stack; it has 3 pages",
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
