"""Axes of image files by letters (TZCYX), as ``--axes`` gives them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

ALLOWED = (
    "letters such as TCYX or YXC: any of T, C and Z, which may have sizes (T2Z3), then Y and X, then C or S for "
    "channels of a page, none twice"
)


@dataclass(frozen=True)
class Axes:
    """Letters and sizes of an image file's axes.

    Attributes
    ----------
    pages : str
        The letters of those that count pages, the last one fastest.
    channels : str
        The letter of the axis of channels in a page, or nothing.
    sizes : tuple of (int or None)
        Of those that count pages; None where that is not known.
    """

    pages: str
    channels: str
    sizes: tuple[int | None, ...]

    def __str__(self) -> str:
        sizes = ("" if size is None else str(size) for size in self.sizes)
        return "".join(letter + size for letter, size in zip(self.pages, sizes, strict=True)) + "YX" + self.channels

    @property
    def lead(self) -> tuple[int, ...]:
        """The sizes of axes that count pages, all of them being known."""
        assert None not in self.sizes
        return tuple(size for size in self.sizes if size is not None)

    @property
    def letters(self) -> str:
        """All of them, in the order of the array."""
        return f"{self.pages}YX{self.channels}"

    @property
    def deep(self) -> bool:
        """Whether there are planes along Z."""
        return dict(zip(self.pages, self.sizes, strict=True)).get("Z", 1) != 1

    @property
    def named(self) -> list[tuple[str, int]]:
        """Letters and sizes of the axes that count pages, but for those of length 1."""
        return [(letter, size) for letter, size in zip(self.pages, self.lead, strict=True) if size != 1]

    def of_shape(self, shape: tuple[int, ...]) -> Axes:
        """These axes with the sizes of an array's."""
        if len(shape) != len(self.letters):
            raise ValueError(
                f"axes must be one letter for each of the {len(shape)} axes of the shape {shape}; got {self}"
            )
        for letter, size, own in zip(self.pages, shape, self.sizes, strict=False):
            if own not in (None, size):
                raise ValueError(f"axes must have the sizes of the shape {shape}, {letter}{size}; got {self}")
        return replace(self, sizes=shape[: len(self.pages)])

    def of_pages(self, count: int, known: tuple[int, ...]) -> Axes:
        """These axes with sizes whose product is the number of a file's pages.

        `known` are the sizes of the axes that the file tells of; they go by their order.
        """
        if not self.pages:
            if count != 1:
                raise ValueError(f"axes must have letters before YX for its {count} pages; got {self}")
            return self
        product = math.prod(size for size in self.sizes if size is not None)
        sizes = self.sizes
        if sizes.count(None) == 1:
            sizes = tuple(count // product if size is None else size for size in sizes)
        for from_file in (known, tuple(size for size in known if size != 1)):
            if None in sizes and len(from_file) == len(sizes):
                sizes = tuple(size if own is None else own for own, size in zip(sizes, from_file, strict=True))
        if None in sizes or math.prod(size or 0 for size in sizes) != count:
            told = " x ".join(map(str, known)) if known else "their number alone"
            raise ValueError(
                f"axes must share out its {count} pages, of which the file tells {told}; got {self} (sizes may be "
                "given, as in T2Z3YX)"
            )
        return replace(self, sizes=sizes)

    def check_page(self, shape: tuple[int, ...]) -> None:
        """Refuse letters that are more, or fewer, than the axes of a page."""
        if len(shape) != 2 + len(self.channels):
            fitting = "YXC or YXS" if len(shape) == 3 else "YX"
            raise ValueError(f"axes must end in {fitting}, as a page of the shape {shape} does; got {self}")


def parse(text: str) -> Axes:
    """Axes of the letters that were given."""
    match = re.fullmatch(r"((?:[TCZ]\d{0,9})*)YX([CS]?)", text.strip().upper())
    letters = re.sub(r"\d", "", text.strip().upper())
    pages = re.findall(r"([TCZ])(\d*)", match[1]) if match else []
    sizes = tuple(int(size) if size else None for _, size in pages)
    if match is None or len(set(letters)) < len(letters) or 0 in sizes:
        raise ValueError(f"axes must be {ALLOWED}; got {text!r}")
    return Axes("".join(letter for letter, _ in pages), match[2], sizes)


def check_single(axes: Axes, format: str, pages: int | None, shape: tuple[int, ...]) -> None:
    """Refuse axes for a file of a format whose axes are known, unless they are those."""
    if axes.pages or pages is not None:
        raise ValueError(
            f"axes of pages may be given for TIFF, FITS, .npy and .zarr, a {format} file tells its own; got {axes}"
        )
    axes.check_page(shape)
