"""PNG, JPEG, WebP and BMP by every mode that they have: pixels, curves, orientations and what else they say."""

import io
import struct
import zlib

import numpy as np
import pytest
from malformed import png
from PIL import Image, ImageCms, PngImagePlugin
from samples import SHAPES, noise
from sweeps import sweep

from fastdeblur.io import files, icc
from fastdeblur.io import png as pngs
from fastdeblur.io.metadata import Metadata

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'


def with_power(power):
    """A profile whose three curves are a power."""
    profile = bytearray(PROFILE)
    curve = b"curv" + bytes(4) + struct.pack(">IHH", 1, round(256 * power), 0)
    for tag in range(struct.unpack(">I", profile[128:132])[0]):
        name, place, _ = struct.unpack(">4sII", profile[132 + 12 * tag : 144 + 12 * tag])
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            profile[place : place + len(curve)] = curve
            profile[140 + 12 * tag : 144 + 12 * tag] = struct.pack(">I", 14)
    return bytes(profile)


def packed_bits(samples, depth):
    """Rows of samples of 1, 2 or 4 bits, each after its filter's number."""
    bits = ((samples[..., None] >> np.arange(depth)[::-1]) & 1).reshape(len(samples), -1).astype(np.uint8)
    return b"".join(b"\0" + np.packbits(row).tobytes() for row in bits)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("filtered", [0, 1, 2, 3, 4])
def test_16_bits_a_sample_are_read_in_full(tmp_path, kind, filtered):
    """Rows are filtered here by loops over their bytes, as the specification has them."""
    image = noise((5, 6, *SHAPES[kind][2:]), ">u2")
    step = 2 * image[0, 0].size
    rows, before, stream = image.reshape(5, -1).view(np.uint8).astype(int), [0] * 6 * step, b""
    for row in rows.tolist():
        stream += bytes([filtered])
        for at, byte in enumerate(row):
            a, b, c = (
                row[at - step] if at >= step else 0, before[at], before[at - step] if at >= step else 0,
            )  # fmt: skip
            paeth = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            stream += bytes([(byte - [0, a, b, (a + b) // 2, paeth][filtered]) % 256])
        before = row
    colour = {"gray": 0, "LA": 4, "RGB": 2, "RGBA": 6}[kind]
    (tmp_path / "image.png").write_bytes(png(6, 5, 16, colour, zlib.compress(stream)))
    with files.opened(tmp_path / "image.png") as source:
        np.testing.assert_array_equal(source.page(0), image)
        assert source.alpha == (kind in ("LA", "RGBA"))
        assert source.dtype == np.uint16


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_a_png_that_is_written_is_a_png(tmp_path, kind, dtype):
    """Of all filters: smooth, striped and noisy rows."""
    smooth = np.add.outer(np.arange(40), 3 * np.arange(50)).astype(dtype)
    image = np.concatenate([smooth, smooth // 7 * 7, noise((40, 50), dtype)])
    image = image if kind == "gray" else np.stack([image + 9 * k for k in range(SHAPES[kind][2])], axis=-1)
    image = image.astype(dtype)
    files.write(tmp_path / "image.png", image, alpha=kind in ("LA", "RGBA"))
    with Image.open(tmp_path / "image.png") as picture:
        picture.verify()
    with Image.open(tmp_path / "image.png") as picture:
        read = np.array(picture)
    if dtype == "u1" or kind == "gray":
        np.testing.assert_array_equal(read, image)
    elif kind == "LA":  # Pillow has no such mode
        np.testing.assert_array_equal(read[..., [0, 3]], image >> 8)
    else:
        np.testing.assert_array_equal(read, image >> 8)
    np.testing.assert_array_equal(files.read(tmp_path / "image.png"), image)


def test_pngs_are_not_larger_than_those_of_pillow(tmp_path):
    from skimage import data

    image = data.astronaut()[:200]
    files.write(tmp_path / "ours.png", image)
    Image.fromarray(image).save(tmp_path / "theirs.png")
    assert (tmp_path / "ours.png").stat().st_size < 1.05 * (tmp_path / "theirs.png").stat().st_size


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_gray_that_is_transparent(tmp_path, depth):
    samples = noise((6, 7), "u2").astype(np.int64) % 2**depth
    samples[2, 3] = key = 2**depth - 1
    samples[0, 0] = 0
    content = b"".join(b"\0" + row.tobytes() for row in samples.astype(">u2")) if depth == 16 else None
    content = content or (
        b"".join(b"\0" + row.tobytes() for row in samples.astype("u1")) if depth == 8 else packed_bits(samples, depth)
    )
    (tmp_path / "image.png").write_bytes(
        png(7, 6, depth, 0, zlib.compress(content), [(b"tRNS", struct.pack(">H", key))])
    )
    with files.opened(tmp_path / "image.png") as source:
        found = source.page(0)
        assert (source.shape, source.dtype, source.alpha) == (found.shape, found.dtype, True)
    largest = 65535 if depth == 16 else 255
    np.testing.assert_array_equal(found[..., 0], samples * largest // (2**depth - 1))
    np.testing.assert_array_equal(found[..., 1], np.where(samples == key, 0, largest))


@pytest.mark.parametrize("dtype", ["u1", ">u2"])
def test_a_colour_that_is_transparent(tmp_path, dtype):
    image = noise((6, 7, 3), dtype)
    image[2, 3] = image[4, 1] = [1, 2, 3]
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    (tmp_path / "image.png").write_bytes(
        png(7, 6, 8 * image.itemsize, 2, zlib.compress(rows), [(b"tRNS", struct.pack(">HHH", 1, 2, 3))])
    )
    found = files.read(tmp_path / "image.png")
    np.testing.assert_array_equal(found[..., :3], image)
    clear = np.zeros((6, 7), bool)
    clear[2, 3] = clear[4, 1] = True
    np.testing.assert_array_equal(found[..., 3], np.where(clear, 0, np.iinfo(image.dtype).max))


@pytest.mark.parametrize(("named", "word"), [(0x73524742, "sRGB"), (0, "primaries and a gamma"), (0x4D424544, None)])
def test_the_colour_space_of_a_bmp_is_named_and_its_profile_read(tmp_path, named, word):
    image = noise((20, 30, 3), "u1")
    Image.fromarray(image).save(tmp_path / "plain.bmp")
    pixels = (tmp_path / "plain.bmp").read_bytes()[54:]
    colours = struct.pack("<I", named) + bytes(48) + struct.pack("<IIII", 0, 124 + len(pixels), len(PROFILE), 0)
    head = struct.pack("<IiiHHIIiiII", 124, 30, 20, 1, 24, 0, len(pixels), 0, 0, 0, 0) + bytes(16) + colours
    file = struct.pack("<2sIII", b"BM", 138 + len(pixels) + len(PROFILE), 0, 138) + head + pixels + PROFILE
    (tmp_path / "image.bmp").write_bytes(file)
    with files.opened(tmp_path / "image.bmp") as source:
        np.testing.assert_array_equal(source.page(0), image)
        if word is None:
            assert source.metadata.icc == PROFILE
            assert source.metadata.lost("PNG") == []
        else:
            assert source.metadata.icc is None
            assert source.metadata.lost("BMP") == [f"the colour space in the header of a BMP ({word})"]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_bmp(tmp_path, mode):
    picture = Image.fromarray(noise((9, 14, 3), "u1")).convert(mode)
    picture.save(tmp_path / "image.bmp", dpi=(200, 100))
    with files.opened(tmp_path / "image.bmp") as source:
        wanted = np.array(picture.convert("RGB") if mode == "P" else picture)
        np.testing.assert_array_equal(source.page(0), wanted)
        assert source.metadata.dpi == pytest.approx((200, 100), abs=0.1)
        assert (source.curve, source.alpha) == ("linear", False)
        if mode != "1":
            files.write(tmp_path / "again.bmp", wanted, source.metadata)
            with Image.open(tmp_path / "again.bmp") as again:
                np.testing.assert_array_equal(np.array(again), wanted)
                assert again.info["dpi"] == pytest.approx((200, 100), abs=0.1)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp_is_written_without_loss(tmp_path, mode):
    image = noise(SHAPES[mode], "u1")
    if mode == "RGBA":
        image[:3, :, 3] = 0  # what is under it stays
    files.write(tmp_path / "image.webp", image, alpha=mode == "RGBA")
    with Image.open(tmp_path / "image.webp") as picture:
        np.testing.assert_array_equal(np.array(picture), image)
    with files.opened(tmp_path / "image.webp") as source:
        np.testing.assert_array_equal(source.page(0), image)
        assert (source.curve, source.alpha) == ("srgb", mode == "RGBA")


def test_a_moving_webp_is_refused(tmp_path):
    first, second = (Image.fromarray(noise((9, 14, 3), "u1") // k) for k in (1, 2))
    first.save(tmp_path / "moving.webp", save_all=True, append_images=[second])
    with pytest.raises(ValueError, match="not an animation; it has 2 frames"):
        files.read(tmp_path / "moving.webp")


def test_jpeg_is_never_coarser_than_what_was_read(tmp_path):
    image = noise((16, 24, 3), "u1")
    for quality in (60, 100):
        Image.fromarray(image).save(tmp_path / "a.jpg", quality=quality)
        with files.opened(tmp_path / "a.jpg") as source:
            files.write(tmp_path / "b.jpg", source.page(0), source.metadata)
        with Image.open(tmp_path / "a.jpg") as before, Image.open(tmp_path / "b.jpg") as after:
            assert sum(after.quantization[0]) <= sum(before.quantization[0])
            assert quality == 60 or after.quantization == before.quantization
            assert after.layer[0][1:3] == (1, 1)  # colours at full resolution


def chunk(kind, content=b""):
    return (kind, content)


def gamma(value):
    return chunk(b"gAMA", struct.pack(">I", value))


ICC = chunk(b"iCCP", b"p\0\0" + zlib.compress(PROFILE))


@pytest.mark.parametrize(
    ("colour", "chunks", "curve"),
    [
        (2, [], "srgb"),
        (0, [], "linear"),
        (2, [gamma(100000)], "linear"),
        (2, [gamma(45455)], 2.2),
        (0, [gamma(55556)], 1.8),
        (2, [gamma(0)], "srgb"),
        (2, [gamma(1)], "srgb"),
        (2, [gamma(45455), chunk(b"sRGB", b"\0")], "srgb"),
        (0, [chunk(b"sRGB", b"\0")], "srgb"),
        (2, [gamma(100000), ICC], "srgb"),
        (2, [ICC, chunk(b"cICP", b"\1\x08\0\1")], "linear"),
        (2, [chunk(b"cICP", b"\1\x0d\0\1")], "srgb"),
        (2, [chunk(b"iCCP", b"p\0\0" + zlib.compress(with_power(1.8)))], 1.8),
        (2, [chunk(b"iCCP", b"p\0\0" + zlib.compress(b"lies" * 99))], "srgb"),
    ],
)
def test_the_curve_of_a_png_is_what_it_says(tmp_path, colour, chunks, curve):
    rows = zlib.compress(bytes(24 * (1 + 30 * (3 if colour == 2 else 1))))
    (tmp_path / "image.png").write_bytes(png(30, 24, 8, colour, rows, chunks))
    with files.opened(tmp_path / "image.png") as source:
        assert source.curve == pytest.approx(curve, abs=2e-3) if isinstance(curve, float) else source.curve == curve


# (A profile has the time at which it was made: no name for a test.)
@pytest.mark.parametrize(
    ("profile", "curve"),
    [(with_power(2.2), 2.2), (with_power(1.0), "linear"), (PROFILE, "srgb")],
    ids=["power", "linear", "srgb"],
)
@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_the_curve_of_a_photograph_is_its_profile_s(tmp_path, profile, curve, suffix):
    picture = Image.fromarray(noise((9, 14, 3), "u1"))
    picture.save(tmp_path / f"image{suffix}", icc_profile=profile)
    with files.opened(tmp_path / f"image{suffix}") as source:
        assert source.curve == pytest.approx(curve, abs=0.02) if isinstance(curve, float) else source.curve == curve
        assert source.notes == ()
    picture.save(tmp_path / f"image{suffix}", icc_profile=b"no profile at all" * 20)
    with files.opened(tmp_path / f"image{suffix}") as source:
        assert (source.curve, source.notes) == ("srgb", ("colour profile not understood",))
        assert source.metadata.icc == b"no profile at all" * 20


def test_profiles_of_gray_have_curves_too():
    cmyk = bytearray(PROFILE)
    cmyk[16:20] = b"CMYK"
    assert icc.curve(bytes(cmyk)) is None
    assert icc.curve(PROFILE[:200]) is None
    gray = bytearray(with_power(1.5))
    gray[16:20] = b"GRAY"
    place = gray.index(b"gTRC")
    gray[place : place + 4] = b"kTRC"
    assert icc.curve(bytes(gray)) == pytest.approx(1.5, abs=0.02)


def camera(orientation):
    """EXIF with a nested directory, a thumbnail and an orientation."""
    exif = Image.Exif()
    exif[0x0110], exif[0x0112] = "a camera", orientation
    inner = exif.get_ifd(0x8769)
    inner[0xA002], inner[0xA003], inner[0x9003] = 14, 9, "2026:11:29 12:00:00"
    exif.get_ifd(0x8825)[1] = "N"
    return exif


TURNS = {
    1: lambda image: image, 3: lambda image: np.rot90(image, 2), 6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1), 8: np.rot90,
}  # fmt: skip
TEXT = {"Title": "spots", "Author": "Łukasz", "Description": "a test"}


def text_of(keep):
    found = PngImagePlugin.PngInfo()
    for keyword, said in TEXT.items():
        found.add_itxt(keyword, said) if keyword == "Author" else found.add_text(keyword, said, zip=keyword == "Title")
    return found if keep else None


@sweep(pairs=True, orientation=TURNS, to=[".png", ".jpg", ".webp"], origin=[".png", ".jpg", ".webp"])
def test_metadata_of_pictures_are_kept(tmp_path, origin, to, orientation):
    image = np.zeros((9, 14, 3), np.uint8)
    image[:4, :5] = 200
    options = {"icc_profile": PROFILE, "exif": camera(orientation)}
    options |= {".png": {"pnginfo": text_of(True), "dpi": (300, 150)}, ".webp": {"lossless": True, "xmp": XMP}}.get(
        origin, {"xmp": XMP, "dpi": (300, 150), "comment": b"a test", "quality": 95}
    )
    Image.fromarray(image).save(tmp_path / f"a{origin}", **options)
    turned = TURNS[orientation](image)
    with files.opened(tmp_path / f"a{origin}") as source:
        np.testing.assert_allclose(source.page(0), turned, atol=9)
        assert source.shape == turned.shape
        assert len(source.notes) == (orientation != 1)
        files.write(tmp_path / f"b{to}", source.page(0), source.metadata)
        lost = source.metadata.lost(files.format_of(tmp_path / f"b{to}"))
    with Image.open(tmp_path / f"b{to}") as picture:
        info, exif = picture.info, picture.getexif()
        assert info["icc_profile"] == PROFILE
        wanted, inner, places = camera(1), exif.get_ifd(0x8769), exif.get_ifd(0x8825)
        assert (exif[0x0110], exif[0x0112], dict(places)) == (wanted[0x0110], 1, {1: "N"})
        sides = (14, 9) if orientation < 5 else (9, 14)
        assert dict(inner) == {0xA002: sides[0], 0xA003: sides[1], 0x9003: "2026:11:29 12:00:00"}
        if origin != ".png":
            xmp = info["XML:com.adobe.xmp"].encode() if to == ".png" else info["xmp"]
            assert xmp == XMP.replace(b'"6"', b'"1"')
        if origin != ".webp" and to != ".webp":
            assert info["dpi"] == pytest.approx((300, 150) if orientation < 5 else (150, 300), abs=0.1)
        if origin == to == ".png":
            assert {name: picture.text[name] for name in TEXT} == TEXT
        if {origin, to} == {".png", ".jpg"}:
            said = info["comment"] if to == ".jpg" else info["Description"].encode()
            assert said.split(b"\n")[0] == b"a test"
            others = [f"{name}: {text}" for name, text in TEXT.items() if origin == ".png" and name != "Description"]
            assert all(text.encode() in said for text in others)
    words = {"text": origin == ".png" and to == ".webp"}
    words["the resolution in dpi"] = words["the description"] = to == ".webp" and origin != ".webp"
    assert sorted(lost) == sorted(word for word, gone in words.items() if gone)


def test_chunks_of_a_png_are_copied_to_another(tmp_path):
    chunks = [
        gamma(45455), chunk(b"cHRM", bytes(range(32))), chunk(b"bKGD", bytes(6)), chunk(b"tIME", bytes(7)),
        chunk(b"vpAg", b"safe to copy"), chunk(b"unSF", b"not so"), chunk(b"tEXt", b"a\0b"), chunk(b"oFFs", bytes(9)),
    ]  # fmt: skip
    (tmp_path / "a.png").write_bytes(png(30, 24, 8, 2, zlib.compress(bytes(24 * 91)), chunks))
    with files.opened(tmp_path / "a.png") as source:
        files.write(tmp_path / "b.png", source.page(0), source.metadata)
        files.write(tmp_path / "gray.png", source.page(0)[..., 0], source.metadata)
        assert source.metadata.lost("PNG") == ["the time of the last change (tIME)", "the chunk unSF"]
        lost = source.metadata.lost("JPEG")
    assert {"the gamma (gAMA)", "the primaries (cHRM)", "the background colour (bKGD)"} < set(lost)
    kinds = [kind for kind, _ in pngs.scanned(tmp_path / "b.png")[1]]
    assert kinds == [b"gAMA", b"cHRM", b"bKGD", b"vpAg", b"tEXt", b"oFFs"]
    assert b"bKGD" not in [kind for kind, _ in pngs.scanned(tmp_path / "gray.png")[1]]  # it would be another colour


def test_segments_of_a_jpeg_are_copied_to_another(tmp_path):
    iptc = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\0"
    extra = b"".join(
        struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
        for marker, content in ((0xED, iptc), (0xE5, b"maker's own"), (0xE2, b"MPF\0" + bytes(30)))
    )
    Image.fromarray(noise((9, 14, 3), "u1")).save(tmp_path / "a.jpg", extra=extra)
    with files.opened(tmp_path / "a.jpg") as source:
        files.write(tmp_path / "b.jpg", source.page(0), source.metadata)
        assert source.metadata.lost("JPEG") == ["the further pictures in it (MPF)"]
        assert "IPTC (Photoshop)" in source.metadata.lost("PNG")
        files.write(tmp_path / "b.png", source.page(0), source.metadata)
    with Image.open(tmp_path / "b.jpg") as picture:
        kept = [content for name, content in picture.applist if name in ("APP13", "APP5", "APP2")]
    assert kept == [iptc, b"maker's own"]


def test_metadata_too_large_for_a_format_are_named_and_left_out(tmp_path):
    metadata = Metadata("PNG", exif=b"II*\0" + bytes(70000), xmp=b"<x/>", description="short")
    assert metadata.lost("JPEG") == ["EXIF"]
    files.write(tmp_path / "a.jpg", noise((9, 14, 3), "u1"), metadata)
    with Image.open(tmp_path / "a.jpg") as picture:
        assert "exif" not in picture.info
        assert picture.info["comment"] == b"short"


def test_a_thumbnail_of_what_was_is_named(tmp_path):
    exif = camera(6)
    content = bytearray(exif.tobytes().removeprefix(b"Exif\0\0"))
    first = struct.unpack(">I", content[4:8])[0]
    after = first + 2 + 12 * struct.unpack(">H", content[first : first + 2])[0]
    content[after : after + 4] = struct.pack(">I", len(content))
    content += struct.pack(">HHHII", 1, 0x0201, 4, 1, 0) + bytes(4)
    file = io.BytesIO()
    Image.fromarray(noise((9, 14, 3), "u1")).save(file, "JPEG", exif=b"Exif\0\0" + content)
    (tmp_path / "a.jpg").write_bytes(file.getvalue())
    with files.opened(tmp_path / "a.jpg") as source:
        assert source.metadata.lost("JPEG") == ["the thumbnail in EXIF, which shows what was"]
        files.write(tmp_path / "b.jpg", source.page(0), source.metadata)
    with Image.open(tmp_path / "b.jpg") as picture:
        assert dict(picture.getexif().get_ifd(0x0001)) == {}
        assert picture.getexif()[0x0112] == 1


@pytest.mark.parametrize("length", [0, 3, 7, 9, 11, 20, 40, 70])
def test_exif_that_is_cut_short_is_no_reason_to_fail(tmp_path, length):
    Image.fromarray(noise((9, 14, 3), "u1")).save(tmp_path / "a.webp", lossless=True, exif=b"Exif\0\0II*\0")
    whole = camera(6).tobytes()
    for suffix in (".jpg", ".png", ".webp"):
        Image.fromarray(noise((9, 14, 3), "u1")).save(tmp_path / f"a{suffix}", exif=whole[: 6 + length])
        with files.opened(tmp_path / f"a{suffix}") as source:
            assert source.page(0).shape == source.shape
            files.write(tmp_path / f"b{suffix}", source.page(0), source.metadata)
        assert files.read(tmp_path / f"b{suffix}").shape == source.shape
