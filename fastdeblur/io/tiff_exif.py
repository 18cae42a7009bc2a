"""TIFF directories (IFDs) of tags, and EXIF in them: within TIFFs, and as the bytes that other formats have."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import IO, Any

# Places of the directories that EXIF has: of the photograph, and of the position.
EXIF, GPS = 34665, 34853
DIRECTORIES = (EXIF, GPS)
# Tags of the first directory that are said of the photograph: maker, model, date, artist, copyright.
ABOUT = (271, 272, 306, 315, 33432)
# What in EXIF's directory points to yet another: interoperability, by which DCF names a photograph's colour space.
INNER = 40965
# tifffile does not write tags that point to directories; with these codes, which nothing has, it does.
UNNAMED = {EXIF: 34666, GPS: 34854}
MOST_ENTRIES, MOST_BYTES = 2**16, 2**24
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}

# A tag: code, type, count, and its value as it is in the file.
Entry = tuple[int, int, int, bytes]
At = Callable[[int, int], bytes]


def entries(at: At, place: int, order: str, big: bool) -> Iterator[tuple[int, int, int, int, int, int]]:
    """The tags of the directory at a place: where each is, code, type, count, where its value is, and its bytes.

    `at` gives so many bytes from a place on, or fewer at the end; tags that are not all there are left out.
    """
    word, number, size = ("Q", "Q", 20) if big else ("I", "H", 12)
    head = at(place, struct.calcsize(number))
    if len(head) < struct.calcsize(number):
        return
    first, field = place + len(head), struct.calcsize(word)
    table = at(first, min(struct.unpack(order + number, head)[0], MOST_ENTRIES) * size)
    for start in range(0, len(table) - size + 1, size):
        code, kind, count, value = struct.unpack_from(order + "HH" + 2 * word, table, start)
        length = count * SIZES.get(kind, 1)
        yield first + start, code, kind, count, value if length > field else first + start + 4 + field, length


def read(at: At, place: int, order: str, big: bool) -> list[Entry]:
    """The tags of the directory at a place, with their values."""
    tags, room = [], MOST_BYTES
    for _, code, kind, count, value_at, length in entries(at, place, order, big):
        room -= length * (kind in SIZES)
        if length and kind in SIZES and room >= 0 and len(value := at(value_at, length)) == length:
            tags.append((code, kind, count, value))
    return tags


def nested(at: At, directories: dict[int, list[Entry]], order: str, big: bool) -> dict[int, list[Entry]]:
    """Directories without what in them points elsewhere, and the one that EXIF's points to, as that of `INNER`."""
    inner = [each for each in directories.get(EXIF, []) if each[0] == INNER]
    directories_ = {code: [each for each in entries if each[0] != INNER] for code, entries in directories.items()}
    if inner and inner[0][1] in (4, 13) and len(inner[0][3]) == 4:
        entries = read(at, struct.unpack(order + "I", inner[0][3])[0], order, big)
        directories_[INNER] = [each for each in entries if each[0] not in (INNER, *DIRECTORIES)]
    return directories_


def placed(directories: dict[int, list[Entry]], place: int, order: str, big: bool) -> tuple[bytes, dict[int, int]]:
    """Directories that are to lie from a place on, and where those begin that the image's directory points to."""
    content, places = b"", dict[int, int]()
    for code in sorted(directories, key=lambda code: code != INNER):  # that first, whose place another one tells
        entries = directories[code]
        if code == EXIF and INNER in places:
            entries = [*entries, (INNER, 4, 1, struct.pack(order + "I", places[INNER]))]
        if entries:
            places[code] = place + len(content)
            piece = packed(entries, places[code], order, big)
            content += piece + b"\0" * (len(piece) % 2)
    return content, {code: at for code, at in places.items() if code != INNER}


def packed(entries: list[Entry], place: int, order: str, big: bool) -> bytes:
    """A directory that is to lie at a place."""
    word, number, size = ("Q", "Q", 20) if big else ("I", "H", 12)
    inline = struct.calcsize(word)
    table = struct.pack(order + number, len(entries))
    after, values = place + len(table) + size * len(entries) + inline, b""
    for code, kind, count, value in sorted(entries):
        field = value.ljust(inline, b"\0")
        if len(value) > inline:
            field = struct.pack(order + word, after + len(values))
            values += value + b"\0" * (len(value) % 2)
        table += struct.pack(order + "HH" + word, code, kind, count) + field
    return table + struct.pack(order + word, 0) + values


def point_to(file: IO[bytes], place: int, order: str, big: bool) -> None:
    """Give tags of the directory at a place that are `UNNAMED` their names."""
    names = {unnamed: name for name, unnamed in UNNAMED.items()}
    for where, code, *_ in entries(reader_of(file), place, order, big):
        if code in names:
            file.seek(where)
            file.write(struct.pack(order + "H", names[code]))


def reader_of(file: Any) -> At:
    """A function that reads so many bytes of a file from a place on, or fewer at the end."""

    def at(place: int, count: int) -> bytes:
        file.seek(place)
        content: bytes = file.read(count)
        return content

    return at


def joined(about: list[Entry], directories: dict[int, list[Entry]], order: str) -> bytes | None:
    """EXIF as other formats have it; None if there is none."""
    present = [code for code in DIRECTORIES if directories.get(code) or (code == EXIF and directories.get(INNER))]
    if not present and not about:
        return None
    head = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
    first = [*about, *((code, 4, 1, bytes(4)) for code in present)]
    place = len(head) + len(packed(first, len(head), order, False))
    rest, places = placed(directories, place, order, False)
    first = [*about, *((code, 4, 1, struct.pack(order + "I", at)) for code, at in places.items())]
    return head + packed(first, len(head), order, False) + rest


def parted(exif: bytes) -> tuple[str, list[Entry], dict[int, list[Entry]]]:
    """Byte order, what the first directory says of the photograph, and other directories; the inverse of `joined`."""
    content = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None or len(content) < 8:
        return "<", [], {}

    def at(place: int, count: int) -> bytes:
        return content[place : place + count]

    first = read(at, struct.unpack_from(order + "I", content, 4)[0], order, False)
    places = {code: struct.unpack(order + "I", value)[0] for code, kind, _, value in first if code in DIRECTORIES
              and kind in (4, 13) and len(value) == 4}  # fmt: skip
    directories = {code: read(at, place, order, False) for code, place in places.items()}
    return order, [each for each in first if each[0] in ABOUT], nested(at, directories, order, False)
