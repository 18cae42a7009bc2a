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
        Where the window begins and ends in the image; beyond it where that is periodic.
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


@dataclass(frozen=True)
class Grid:
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

        If it `wraps` it goes on everywhere, unless there is but one tile.
        """
        wraps = wraps and self.counts != (1, 1)
        sides = [
            _around(steps, at, reach, size, wraps)
            for steps, at, reach, size in zip(self.steps, (i, j), halo, self.shape, strict=True)
        ]
        (rows, up, tile_rows), (cols, left, tile_cols) = sides
        inner = tuple(
            slice(tile.start - begin, tile.stop - begin) for tile, (begin, _) in ((tile_rows, rows), (tile_cols, cols))
        )
        return Window(rows, cols, (*up, *left), (tile_rows, tile_cols), inner)  # type: ignore[arg-type]

    def windows(self, halo: tuple[int, int], wraps: bool) -> dict[tuple[int, int], Window]:
        """All windows, those of one shape one after another."""
        down, across = self.counts
        found = {(i, j): self.window(i, j, halo, wraps) for i in range(down) for j in range(across)}
        return dict(sorted(found.items(), key=lambda each: (each[1].shape, each[1].edges, each[0])))


def _around(
    steps: tuple[int, ...], at: int, halo: int, size: int, wraps: bool
) -> tuple[tuple[int, int], tuple[bool, bool], slice]:
    """Begin and end of a window along an axis, whether those are the image's, and the tile."""
    tile = slice(steps[at], steps[at + 1])
    if len(steps) == 2 and not wraps:  # alone along this axis
        return (0, size), (True, True), tile
    begin, end = tile.start - halo, tile.stop + halo
    if wraps:
        return (begin, end), (False, False), tile
    begin, end = max(begin, 0), min(end, size)
    return (begin, end), (begin == 0, end == size), tile


def grid_of(shape: tuple[int, int], tile: tuple[int, int], least: tuple[int, int]) -> Grid:
    """Tiles of that size, but for the last of a row or column: what is left, or more where that would be too little."""
    steps = []
    for size, step, at_least in zip(shape, tile, least, strict=True):
        ends = [*range(0, size, step), size]
        if len(ends) > 2 and ends[-1] - ends[-2] < min(at_least, step):
            del ends[-2]
        steps.append(tuple(ends))
    return Grid(shape, (steps[0], steps[1]))
