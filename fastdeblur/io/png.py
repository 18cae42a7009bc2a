"""PNG chunks, 16-bit samples, and the PNG encoder.

Pillow decodes what has 8 bits a sample, but cuts 16-bit colour down to them; here its decoder is run once for each
half of the samples.  It writes no 16-bit colour, so all PNGs are written here: rows are filtered and deflated [1]_.

References
----------
.. [1] W3C, "Portable Network Graphics (PNG) Specification (Third Edition)", 2025.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from .metadata import Metadata
from .texts import HEADER, header_in, one_text

if TYPE_CHECKING:
    import PIL.Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Colour types by the number of channels.
TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
# Of a chunk, of all chunks, and of a text that is deflated, in bytes: no more is read.
CHUNK_MOST, ALL_MOST, TEXT_MOST = 2**24, 2**26, 2**20
# Chunks that are the pixels: they are read as such, not copied.
PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS")
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
COLOURS = (b"cHRM", b"gAMA", b"sRGB", b"iCCP", b"cICP")
# Chunks that hold only where the samples have the same meaning and depth.
SAMPLES = (b"sBIT", b"bKGD")
XMP = "XML:com.adobe.xmp"
WORDS = {
    b"gAMA": "the gamma (gAMA)", b"cHRM": "the primaries (cHRM)", b"cICP": "the colour space (cICP)",
    b"tIME": "the time of the last change (tIME)", b"bKGD": "the background colour (bKGD)",
    b"sBIT": "the significant bits (sBIT)",
}  # fmt: skip
# Of pixels that are filtered and deflated at once, in bytes.
BLOCK = 2**20
INCH = 0.0254


@dataclass(frozen=True)
class Header:
    """Header (IHDR) of a PNG."""

    depth: int
    colour: int
    interlaced: bool

    @property
    def channels(self) -> int:
        """Samples a pixel, as they are stored."""
        return {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(self.colour, 1)


Chunk = tuple[bytes, bytes]


def scanned(path: Path) -> tuple[Header, list[Chunk], list[str]] | None:
    """Header and ancillary chunks of a file, and names of those left out; None if it is no PNG.

    Chunks that are damaged or far too large are left out, and what comes after the end of a file that is cut short.
    """
    with path.open("rb") as file:
        start = file.read(33)
        if len(start) < 33 or not start.startswith(SIGNATURE) or start[12:16] != b"IHDR":
            return None
        header = Header(start[24], start[25], start[28] == 1)
        chunks, left_out, room = [], [], ALL_MOST
        while len(head := file.read(8)) == 8:
            size, kind = struct.unpack(">I4s", head)
            if kind == b"IEND":
                break
            if kind in PIXELS[:4] or size > min(CHUNK_MOST, room):
                left_out += [] if kind in PIXELS else [kind.decode("latin-1")]
                file.seek(size + 4, 1)
                continue
            content, room = file.read(size), room - size
            if file.read(4) == struct.pack(">I", zlib.crc32(kind + content)):
                chunks.append((kind, content))
            else:
                left_out.append(kind.decode("latin-1"))
    return header, chunks, left_out


def metadata(header: Header, chunks: list[Chunk], left_out: list[str], profile: bytes | None) -> Metadata:
    """Metadata in chunks, of which `profile` has been inflated already."""
    text: dict[str, str] = {}
    exif, dpi, copied = None, None, []
    unread = [f"the chunk {name}, which is damaged or too large" for name in left_out]
    for kind, content in chunks:
        if kind in TEXTS:
            keyword, said = _text(kind, content)
            if keyword == "Raw profile type exif" or keyword == "Raw profile type APP1":
                exif = exif or _hexadecimal(said)
                continue
            if keyword != XMP:
                copied.append((kind, content))
            if said is not None:
                text[keyword] = said
        elif kind == b"eXIf":
            exif = content
        elif kind == b"pHYs" and len(content) == 9:
            across, down, unit = struct.unpack(">IIB", content)
            if unit == 1 and across and down:
                dpi = across * INCH, down * INCH
            else:
                unread.append("the shape of pixels (pHYs)")
        elif kind in (*COLOURS, *SAMPLES) or (kind[3:].islower() and kind != b"tIME"):
            copied.append((kind, content))
        elif kind not in PIXELS:
            unread.append(_word(kind))
    xmp = text.pop(XMP, None)
    foreign = [kind for kind, _ in copied if kind not in (*TEXTS, b"iCCP", b"sRGB")]
    return Metadata(
        "PNG", icc=profile, exif=exif, xmp=None if xmp is None else xmp.encode(), dpi=dpi,
        description=text.pop("Description", None), header=header_in(text.pop(HEADER, None)), text=text,
        own=(header, copied),
        own_words=tuple(map(_word, foreign)), unread=tuple(unread),
    )  # fmt: skip


def _word(kind: bytes) -> str:
    return WORDS.get(kind, f"the chunk {kind.decode('latin-1')}")


def _text(kind: bytes, content: bytes) -> tuple[str, str | None]:
    """Keyword and text of a chunk; None if it is damaged, or inflates to far too much."""
    keyword, _, rest = content.partition(b"\0")
    try:
        if kind == b"tEXt":
            text = rest.decode("latin-1")
        elif kind == b"zTXt":
            text = _inflated(rest[1:]).decode("latin-1")
        else:
            packed, rest = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[-1]
            text = (_inflated(rest) if packed else rest).decode()
    except (ValueError, zlib.error):
        return keyword.decode("latin-1"), None
    return keyword.decode("latin-1"), text


def _inflated(packed: bytes) -> bytes:
    inflate = zlib.decompressobj()
    content = inflate.decompress(packed, TEXT_MOST)
    if inflate.unconsumed_tail:
        raise ValueError("it is too long")
    return content


def _hexadecimal(text: str | None) -> bytes | None:
    """EXIF as ImageMagick writes it in text: a name, a size, and hexadecimal digits."""
    try:
        return bytes.fromhex("".join((text or "").split("\n")[3:])).removeprefix(b"Exif\0\0") or None
    except ValueError:
        return None


def curve(header: Header, chunks: list[Chunk]) -> str | float | None:
    """The curve that chunks other than a profile name, of those that are known; None if they name none."""
    contents = dict(chunks)
    code = contents.get(b"cICP", b"\0\0")[1:2]
    if code in CODES:
        return CODES[code]
    if b"iCCP" in contents:
        return None
    if b"sRGB" in contents:
        return "srgb"
    gamma = contents.get(b"gAMA", b"")
    power = 1e5 / max(1, struct.unpack(">I", gamma[:4])[0]) if len(gamma) >= 4 else 0.0
    # Others are mistakes: no screen or camera has them.
    return ("linear" if abs(power - 1) < 1e-3 else round(power, 3)) if 0.2 < power < 5 else None


# Transfer characteristics of ITU-T H.273: gamma 2.2 and 2.8, linear, sRGB.
CODES: dict[bytes, str | float] = {b"\4": 2.2, b"\5": 2.8, b"\x08": "linear", b"\x0d": "srgb"}


def kind(
    header: Header, size: tuple[int, int], clear: bytes | None
) -> tuple[tuple[int, ...], np.dtype[Any], bool, int]:
    """Shape and dtype of a PNG's pixels as `pixels` gives them, whether the last channel is alpha, and bytes it takes.

    `clear` is what its chunk tRNS has: a colour that is transparent, or the alpha of a palette.
    """
    alpha = header.colour in (4, 6) or clear is not None
    stored = 3 if header.colour == 3 else header.channels
    channels = stored + (alpha and header.colour not in (4, 6))
    dtype = np.dtype("u2" if header.depth == 16 else "?" if header.depth == 1 and channels == 1 else "u1")
    # Pillow's picture (and its copy without the palette), what NumPy is given of it and the array, and where the
    # transparent colour is.
    each = 4 * (1 + (header.colour == 3)) if header.channels > 1 or header.colour == 3 else dtype.itemsize
    each += 2 * stored * dtype.itemsize + (alpha and channels > stored) * (channels * dtype.itemsize + stored + 1)
    shape = (size[1], size[0]) if channels == 1 else (size[1], size[0], channels)
    return shape, dtype, alpha, size[0] * size[1] * each


def pixels(picture: PIL.Image.Image, header: Header, clear: bytes | None) -> np.ndarray:
    """The pixels of a PNG that Pillow has opened and not loaded."""
    if header.colour == 3:
        return np.array(picture.convert("RGB" if clear is None else "RGBA"))
    deep = header.depth == 16 and header.channels > 1
    samples = _deep(picture, header) if deep else np.array(picture)
    if header.depth == 16 and not deep:
        samples = samples.astype(np.uint16, copy=False)  # older Pillows have 32 bits
    if clear is None or header.colour not in (0, 2):
        return samples
    count = header.channels
    if len(clear) < 2 * count:
        raise ValueError("it is damaged: its transparent colour is not all there")
    largest = 2**header.depth - 1
    colour = [each & largest for each in struct.unpack(f">{count}H", clear[: 2 * count])]
    if header.depth < 8:  # such grays are spread over 8 bits
        samples, colour = samples.astype(np.uint8), [each * 255 // largest for each in colour]
        samples *= 255 if header.depth == 1 else 1
    samples = samples.reshape(*samples.shape[:2], count)
    joined = np.empty((*samples.shape[:2], count + 1), samples.dtype)
    joined[..., :-1] = samples
    joined[..., -1] = np.iinfo(samples.dtype).max
    joined[..., -1][(samples == np.array(colour, samples.dtype)).all(axis=-1)] = 0
    return joined


def _deep(picture: PIL.Image.Image, header: Header) -> np.ndarray:
    """Samples of 16 bits of 2 to 4 channels."""
    shape = (picture.height, picture.width, header.channels)
    if header.channels == 2:  # its decoder knows bytes, not what they mean
        return _decoded(picture, "RGBA", "RGBA").reshape(*shape[:2], 4).view(">u2").astype(np.uint16)
    mode = "RGB" if header.channels == 3 else "RGBA"
    samples = _decoded(picture, mode, f"{mode};16B").astype(np.uint16)
    samples <<= 8
    samples |= _decoded(picture, mode, f"{mode};16L")  # of these bytes it takes the second, which is the low one
    return samples


def _decoded(picture: PIL.Image.Image, mode: str, raw: str) -> np.ndarray:
    """Pixels by Pillow's decoder, told that samples are of another mode."""
    from PIL import Image

    other: Any
    with Image.open(picture.filename, formats=("PNG",)) as other:  # type: ignore[attr-defined]
        other._mode = mode
        other.tile = [
            tile._replace(args=raw) if hasattr(tile, "_replace") else (*tile[:3], raw)  # older Pillows have tuples
            for tile in other.tile
        ]
        return np.array(other)


def save(file: IO[bytes], image: np.ndarray, metadata: Metadata | None) -> None:
    """Write an image of 8 or 16 bits and 1 to 4 channels."""
    channels = image.shape[2] if image.ndim == 3 else 1
    header = Header(8 * image.dtype.itemsize, TYPES[channels], False)
    rows = np.ascontiguousarray(image, image.dtype.newbyteorder(">")).view(np.uint8).reshape(len(image), -1)
    file.write(SIGNATURE)
    size = struct.pack(">IIBBBBB", image.shape[1], len(image), header.depth, header.colour, 0, 0, 0)
    _write(file, b"IHDR", size)
    for kind, content in [] if metadata is None else _chunks_of(metadata, header):
        _write(file, kind, content)
    pack = zlib.compressobj(strategy=zlib.Z_FILTERED, memLevel=9)
    for block in _filtered(rows, channels * image.dtype.itemsize):
        if packed := pack.compress(block.data):
            _write(file, b"IDAT", packed)
    _write(file, b"IDAT", pack.flush())
    _write(file, b"IEND", b"")


def _write(file: IO[bytes], kind: bytes, content: bytes) -> None:
    file.write(struct.pack(">I", len(content)) + kind)
    file.write(content)
    file.write(struct.pack(">I", zlib.crc32(content, zlib.crc32(kind))))


def _filtered(rows: np.ndarray, step: int) -> Iterator[np.ndarray]:
    """Rows of bytes, filtered each in the way that seems to leave the smallest numbers; `step` bytes are a pixel."""
    count = max(1, BLOCK // rows.shape[1])
    for top in range(0, len(rows), count):
        raw = rows[top : top + count]
        before = np.zeros((len(raw) + 1, raw.shape[1] + step), np.uint8)
        before[1:, step:] = raw
        if top:
            before[0, step:] = rows[top - 1]
        left, above, corner = before[1:, :-step], before[:-1, step:], before[:-1, :-step]
        choices = np.stack([raw, raw - left, raw - above, raw - _mean(left, above), raw - _paeth(left, above, corner)])
        sizes = np.abs(choices.view(np.int8).astype(np.int16)).sum(axis=2, dtype=np.int64)
        best = sizes.argmin(axis=0)
        filtered = np.empty((len(raw), raw.shape[1] + 1), np.uint8)
        filtered[:, 0], filtered[:, 1:] = best, np.take_along_axis(choices, best[None, :, None], axis=0)[0]
        yield filtered


def _mean(left: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Half the sum, rounded down."""
    half: np.ndarray = (left >> 1) + (above >> 1)
    half += left & above & 1
    return half


def _paeth(left: np.ndarray, above: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Of three neighbours, the one that is nearest to the plane through them."""
    a, b, c = (each.astype(np.int16) for each in (left, above, corner))
    to_a, to_b = b - c, a - c
    to_c = np.abs(to_a + to_b)
    np.abs(to_a, out=to_a)
    np.abs(to_b, out=to_b)
    return np.asarray(np.where((to_a <= to_b) & (to_a <= to_c), left, np.where(to_b <= to_c, above, corner)))


def _chunks_of(metadata: Metadata, header: Header) -> Iterable[Chunk]:
    """Chunks for what a file of some format said."""
    if metadata.format == "PNG":
        before, chunks = metadata.own
        same = (before.depth, before.colour) == (header.depth, header.colour)
        yield from (chunk for chunk in chunks if same or chunk[0] not in SAMPLES)
    else:
        if metadata.icc:
            yield b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc)
        description = {"Description": metadata.description} if metadata.description else {}
        cards = {HEADER: one_text(metadata) or ""} if metadata.header else {}
        for keyword, text in {**metadata.text, **description, **cards}.items():
            yield text_chunk(keyword, text)
    if metadata.dpi:
        yield b"pHYs", struct.pack(">IIB", *(round(each / INCH) for each in metadata.dpi), 1)
    if metadata.xmp:
        yield text_chunk(XMP, metadata.xmp.decode(errors="replace"), unicode=True)
    if metadata.exif:
        yield b"eXIf", metadata.exif


def text_chunk(keyword: str, text: str, unicode: bool = False) -> Chunk:
    """A text by keyword, which has 1 to 79 characters of Latin-1."""
    key = keyword.encode("latin-1", "replace")[:79] or b"Comment"
    try:
        if not unicode:
            return b"tEXt", key + b"\0" + text.replace("\0", " ").encode("latin-1")
    except UnicodeEncodeError:
        pass
    return b"iTXt", key + b"\0\0\0\0\0" + text.encode(errors="replace")
