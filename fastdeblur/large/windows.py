"""Tiles of an image, and the windows around them that are solved."""

from __future__ import annotations

from dataclasses import dataclass

# Slices of rows and of columns.
Place = tuple[slice, slice]


@dataclass(frozen=True)
class Window:
    """What is solved for one tile.

    Attributes
    ----------
    rows, cols : (int, int)
        Where the window begins and ends in the image; beyond it where that is periodic.  Its pixels come in the
        image's order then: those from the far end last.
    edges : 4 bools
        Whether its top, bottom, left and right side are the image's own.
    tile : pair of slices
        The tile, in the image.
    inner : pair of slices
        The tile, in the window.
    """

    rows: tuple[int, int]
    cols: tuple[int, int]
    edges: tuple[bool, bool, bool, bool]
    tile: Place
    inner: Place

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows[1] - self.rows[0], self.cols[1] - self.cols[0]

    def pieces(self, shape: tuple[int, int]) -> tuple[list[slice], list[slice]]:
        """Its rows and columns as slices of an image of that shape, in order."""
        rows, cols = (_pieces(*span, size) for span, size in zip((self.rows, self.cols), shape, strict=True))
        return rows, cols


@dataclass(frozen=True)
class TileGrid:
    """The tiles of an image.

    Attributes
    ----------
    shape : (int, int)
    steps : pair of tuples of int
        Where the tiles of a column, and of a row, begin and end.
    """

    shape: tuple[int, int]
    steps: tuple[tuple[int, ...], tuple[int, ...]]

    @property
    def counts(self) -> tuple[int, int]:
        """Tiles down and across."""
        return len(self.steps[0]) - 1, len(self.steps[1]) - 1

    @property
    def tile(self) -> tuple[int, int]:
        """Rows and columns of the first tile."""
        return self.steps[0][1], self.steps[1][1]

    def window(self, i: int, j: int, halo: tuple[int, int], wraps: bool) -> Window:
        """The window around tile (i, j), with `halo` more pixels down and across where the image goes on.

        If it `wraps` it goes on everywhere.
        """
        sides = [
            _around(steps, at, reach, size, wraps)
            for steps, at, reach, size in zip(self.steps, (i, j), halo, self.shape, strict=True)
        ]
        rows, cols = sides
        return Window(
            rows.place, cols.place, (*rows.edges, *cols.edges), (rows.tile, cols.tile), (rows.inner, cols.inner)
        )

    def windows(self, halo: tuple[int, int], wraps: bool) -> dict[tuple[int, int], Window]:
        """All windows, those of one shape one after another."""
        down, across = self.counts
        windows = {(i, j): self.window(i, j, halo, wraps) for i in range(down) for j in range(across)}
        return dict(sorted(windows.items(), key=lambda each: (each[1].shape, each[1].edges, each[0])))


@dataclass(frozen=True)
class _Side:
    """A window along one axis."""

    place: tuple[int, int]
    edges: tuple[bool, bool]
    tile: slice
    inner: slice


def _around(steps: tuple[int, ...], at: int, halo: int, size: int, wraps: bool) -> _Side:
    tile = slice(steps[at], steps[at + 1])
    begin, end = tile.start - halo, tile.stop + halo
    if len(steps) == 2 or (wraps and end - begin >= size):  # all of the axis
        return _Side((0, size), (True, True), tile, tile)
    if wraps and (begin < 0 or end > size):
        # Both of the image's ends are in it.  They come first and last, where `solve` has them: the blur goes on from
        # one to the other, but not the differences.
        shift = 0 if begin < 0 else end % size - begin
        return _Side((begin, end), (True, True), tile, slice(tile.start + shift, tile.stop + shift))
    begin, end = max(begin, 0), min(end, size)
    return _Side((begin, end), (begin == 0, end == size), tile, slice(tile.start - begin, tile.stop - begin))


def _pieces(begin: int, end: int, size: int) -> list[slice]:
    if begin < 0:
        return [slice(0, end), slice(begin + size, size)]
    return [slice(begin, end)] if end <= size else [slice(0, end - size), slice(begin, size)]


def grid_of(shape: tuple[int, int], tile: tuple[int, int], least: tuple[int, int]) -> TileGrid:
    """Tiles of that size, but for the last of a row or column: what is left, or more where that would be too little."""
    steps = []
    for size, step, at_least in zip(shape, tile, least, strict=True):
        edges = [*range(0, size, step), size]
        if len(edges) > 2 and edges[-1] - edges[-2] < min(at_least, step):
            del edges[-2]
        steps.append(tuple(edges))
    return TileGrid(shape, (steps[0], steps[1]))
