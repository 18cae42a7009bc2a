"""Halo of a tile (CPU): copies of its pixels outside the frame, and their transpose, the fold.

A tile has *pieces*: itself and, at the border, the blocks of positions whose pixels are its own (see
`operators.boundary.pixel_at` and `operators.tiling.Halo`).  `fold` adds what the adjoint has
for them to the tile, `spread` writes the tile's pixels to them.  Every position belongs to one tile,
so tiles stay independent of each other, whatever their order.
"""

import numpy as np
from numba import carray

from ..runtime.tasks import inlined, jit
from .rows import add_row, copy_row
from .simd import integers, offset
from .tiles import reader

# In a table of positions, where there is no pixel but zero.
OUTSIDE = -1
# For each axis: the bands' first pieces (one entry more than bands), the pieces' starts and sizes
# in turn, and the pixel that lies at each position, counted from position 0.
HALO = np.dtype(
    [(f"{axis}_{name}", np.intp) for axis in ("row", "col") for name in ("first", "pieces", "pixel")], align=True
)
read_halo = reader(HALO)


@jit
def pieces_of(first, band):
    """The range of pieces of one band."""
    table = integers(first)
    return table[band], table[band + 1]


@jit
def piece_at(pieces, k):
    """Start and size of a piece."""
    table = integers(pieces)
    return table[2 * k], table[2 * k + 1]


@jit
def begins_alone(halo, down, across, i0, j0, rows, cols):
    """Whether a tile's first piece is the tile itself, without any of the halo."""
    p, _ = pieces_of(halo.row_first, down)
    q, _ = pieces_of(halo.col_first, across)
    return piece_at(halo.row_pieces, p) == (i0, rows) and piece_at(halo.col_pieces, q) == (j0, cols)


@jit
def own_part(start, size, first, count):
    """The part of a piece that is in the tile itself, between two parts that are not."""
    begin, end = max(start, first), min(start + size, first + count)
    return (begin, end) if begin < end else (start + size, start + size)


@inlined
def fold(halo, block, block_pitch, r0, height, c0, width, tile, tile_pitch, i0, j0, cols):
    """Add a block, which has the positions from (r0, c0) on, to the tile's pixels that stand there."""
    row_pixel, col_pixel = integers(halo.row_pixel), integers(halo.col_pixel)
    begin, end = own_part(c0, width, j0, cols)
    for r in range(r0, r0 + height):
        line, out = offset(block, (r - r0) * block_pitch), offset(tile, (row_pixel[r] - i0) * tile_pitch)
        for c in range(c0, begin):
            out[col_pixel[c] - j0] += line[c - c0]
        add_row(carray(offset(line, begin - c0), end - begin), carray(offset(out, begin - j0), end - begin))
        for c in range(end, c0 + width):
            out[col_pixel[c] - j0] += line[c - c0]


@inlined
def spread(halo, down, across, i0, j0, rows, cols, image, pitch):
    """Write a tile's pixels to every position outside the frame where they stand."""
    p0, p1 = pieces_of(halo.row_first, down)
    q0, q1 = pieces_of(halo.col_first, across)
    row_pixel, col_pixel = integers(halo.row_pixel), integers(halo.col_pixel)
    for p in range(p0, p1):
        r0, height = piece_at(halo.row_pieces, p)
        for q in range(q0, q1):
            c0, width = piece_at(halo.col_pieces, q)
            if (r0, height, c0, width) == (i0, rows, j0, cols):
                continue
            begin, end = own_part(c0, width, j0, cols)
            for r in range(r0, r0 + height):
                line, out = offset(image, row_pixel[r] * pitch), offset(image, r * pitch)
                for c in range(c0, begin):
                    out[c] = line[col_pixel[c]]
                if row_pixel[r] != r:
                    copy_row(carray(offset(line, begin), end - begin), carray(offset(out, begin), end - begin))
                for c in range(end, c0 + width):
                    out[c] = line[col_pixel[c]]
