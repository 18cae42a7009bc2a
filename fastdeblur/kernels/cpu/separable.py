"""Separable correlation (CPU) with a psf of low rank: a sum of products of a column and a row.

Columns first, then rows, two image rows at a time: the row between stays in the first-level
cache, and only `taps_across - 1` extra columns of it are computed, where the other order would
compute `taps_down - 1` extra rows of every tile.
"""

from ..runtime.tasks import jit, task
from .direct import correlate as correlate_direct
from .simd import add_row_tap, offset, pointer, store_tile, tile_rows, tile_width, zero_tile
from .tiles import correlation_signature, read_filter


@jit
def correlate(source, pitch, down, across, rank, taps_down, taps_across, out, out_pitch, rows, cols, work, work_pitch):
    """out[i, j] = sum over k, u, v of down[k, u] * across[k, v] * source[i + u, j + v].

    `work` holds, for each k, a register tile's rows of column sums.
    """
    height, width = tile_rows(source), tile_width(source)
    for i in range(0, rows, height):
        above = offset(source, i * pitch)
        for k in range(rank):
            column = offset(down, k * (taps_down + 2 * (height - 1)))
            sums = offset(work, k * height * work_pitch)
            correlate_direct(above, pitch, column, taps_down, 1, sums, work_pitch, height, cols + taps_across - 1)
        for j in range(0, cols, width):
            tile = zero_tile(source)
            for k in range(rank):
                sums = offset(work, k * height * work_pitch + j)
                row = offset(across, k * taps_across)
                for v in range(taps_across):
                    tile = add_row_tap(tile, offset(sums, v), work_pitch, offset(row, v))
            store_tile(tile, offset(out, i * out_pitch + j), out_pitch)


@task(correlation_signature)
def separable(filter_, source, pitch, out, out_pitch, rows, cols, work):
    """One tile by the separable path."""
    psf = read_filter(filter_)
    down, across = pointer(psf.down, source), pointer(psf.across, source)
    correlate(
        source, pitch, down, across, psf.rank, psf.taps_down, psf.taps_across,
        out, out_pitch, rows, cols, work, psf.work_pitch,
    )  # fmt: skip
