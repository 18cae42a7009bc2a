"""Filters and potentials of a learned prior (CPU): its value and gradient in one pass over tiles.

The prior is ``sum over k and i of phi_k((f_k * x)_i)``, with a few dozen small filters f and their potentials
``phi(z) = sum over m of alpha_m / 2 log(1 + gamma_m² z²)``.  A tile of its gradient, ``sum over k of
f_k^T phi_k'(f_k * x)``, takes as many filters at a time as a register tile has rows: the potentials' slopes at their
responses within the tile's reach, which are found while the responses are in registers, and what those add to the
tile, all while it is in cache.  Responses near a tile's border are computed for both tiles, so that each writes its own
pixels only.

The logarithms are those of products: each lane of a register has one product, whose exponent is taken out now and
then, so that there is one logarithm a lane and not one a response.

The image comes with the filters' reach around it, and so does the gradient, whose surroundings the caller folds back.
"""

import math

import numpy as np
from numba import carray

from ..runtime.tasks import jit, task
from .rows import clear_row, copy_row
from .simd import (
    NUMBERS,
    TERMS,
    TOGETHER,
    add_column_tap,
    add_first_rows,
    add_last_rows,
    doubles,
    doubles_at,
    lanes,
    load_tile,
    offset,
    pointer,
    store_slopes,
    store_tile,
    take_exponents,
    tile_rows,
    tile_width,
    zero_tile,
)
from .tiles import reader, task_signature

LOG_2 = math.log(2.0)

# `source` and `out` are planes of `rows x cols` pixels with ``size - 1`` more rows and columns in all, rows `pitch`
# and planes `plane` elements apart.  `weights` are the filters, in whole register tiles; `flipped` the same turned by
# 180 degrees.  A tile has `tile_rows x tile_cols` pixels.
# A thread's scratch begins with the responses of a register tile's filters, `response_plane` elements each, rows
# `response_pitch` apart; then comes the tile itself, at `own`, rows `own_pitch` apart; at `counted` a row that is 1
# where responses are the tile's, behind it one of zeros; at `shares` a vector for each of these filters, and at
# `products` what `store_slopes` and `take_exponents` need.  `sums` of a tile are the potentials, and of each filter the
# sum of slope / response.
RESPONSES = np.dtype(
    [(name, np.intp) for name in ("source", "out", "plane", "pitch", "rows", "cols")]
    + [(name, np.intp) for name in ("filters", "size", "weights", "flipped", "potentials")]
    + [(name, np.intp) for name in ("tile_rows", "tile_cols", "response_pitch", "response_plane")]
    + [(name, np.intp) for name in ("own", "own_pitch", "counted", "shares", "products", "sums")],
    align=True,
)
read_responses = reader(RESPONSES)


@jit
def respond(source, pitch, weights, size, numbers, counted, shares, products, out, out_plane, cols):
    """A row of the potentials' slopes at responses: as many filters' as a register tile has rows, whole tiles."""
    tiles = max(TOGETHER * lanes(source) // tile_width(source), 1)
    for j in range(0, cols, tile_width(source)):
        tile = zero_tile(source)
        for u in range(size):
            pixels, taps = offset(source, u * pitch + j), offset(weights, u * size)
            for v in range(size):
                tile = add_column_tap(tile, offset(pixels, v), offset(taps, v), -size * size)
        store_slopes(tile, offset(counted, j), numbers, products, shares, offset(out, j), out_plane)
        if j // tile_width(source) % tiles == tiles - 1:
            take_exponents(products, source)
    take_exponents(products, source)


@jit
def add_adjoint(source, pitch, weights, size, out, out_pitch, rows, cols, begins):
    """Add a filter's adjoint to the tile, or begin with it; rounded up to whole register tiles."""
    for i in range(0, rows, tile_rows(source)):
        for j in range(0, cols, tile_width(source)):
            here = offset(out, i * out_pitch + j)
            tile = zero_tile(source) if begins else load_tile(here, out_pitch)
            before = tile_rows(source) - 1
            tile = add_first_rows(tile, offset(source, i * pitch + j), pitch, weights, size)
            for u in range(before, size):
                pixels, taps = offset(source, (i + u) * pitch + j), offset(weights, u * size)
                for v in range(size):
                    tile = add_column_tap(tile, offset(pixels, v), offset(taps, v), size)
            tile = add_last_rows(tile, offset(source, (i + size) * pitch + j), pitch, weights, size)
            store_tile(tile, here, out_pitch)


@task(task_signature)
def responses(address, scratch, tile):
    """A tile of the gradient; sums: of the responses whose windows begin in it."""
    job = read_responses(address)
    size, reach, pitch = job.size, job.size - 1, job.response_pitch
    across, down = -(-(job.cols + reach) // job.tile_cols), -(-(job.rows + reach) // job.tile_rows)
    plane, place = tile // (across * down), tile % (across * down)
    i0, j0 = place // across * job.tile_rows, place % across * job.tile_cols
    rows, cols = min(job.tile_rows, job.rows + reach - i0), min(job.tile_cols, job.cols + reach - j0)
    # In the scratch, responses begin `reach` rows and columns before the tile; those that there are:
    a0, a1 = max(reach - i0, 0), min(job.tile_rows, job.rows - i0) + reach
    b0, b1 = max(reach - j0, 0), min(job.tile_cols, job.cols - j0) + reach
    own_cols = max(b1 - reach, 0)
    source = offset(pointer(job.source, scratch), plane * job.plane + (i0 - reach) * job.pitch + j0 - reach)
    own, counted, shares = offset(scratch, job.own), offset(scratch, job.counted), offset(scratch, job.shares)
    products = doubles_at(offset(scratch, job.products))
    clear_row(carray(scratch, tile_rows(scratch) * job.response_plane))
    clear_row(carray(counted, 2 * pitch))
    for j in range(reach, reach + own_cols):
        counted[j] = 1
    sums = carray(doubles(job.sums + 8 * (1 + job.filters) * tile), 1 + job.filters)
    together = tile_rows(scratch)
    count = together * lanes(scratch)
    total = 0.0
    for k in range(0, job.filters, together):
        numbers = offset(pointer(job.potentials, scratch), k * NUMBERS * TERMS)
        taps = offset(pointer(job.weights, scratch), k * size * size)
        clear_row(carray(shares, count))
        for n in range(count * TERMS):
            products[n], products[count * TERMS + n] = 1.0, 0.0
        for a in range(a0, a1):
            respond(
                offset(source, a * job.pitch + b0), job.pitch, taps, size, numbers,
                offset(counted, b0 if a >= reach else pitch + b0), shares, products,
                offset(scratch, a * pitch + b0), job.response_plane, b1 - b0,
            )  # fmt: skip
            for f in range(together):
                clear_row(carray(offset(scratch, f * job.response_plane + a * pitch + b1), pitch - b1))
        for f in range(together):
            share = 0.0
            for n in range(lanes(scratch)):
                share += float(shares[f * lanes(scratch) + n])
                for m in range(TERMS):
                    at = (f * TERMS + m) * lanes(scratch) + n
                    logarithm = math.log(products[at]) + LOG_2 * products[count * TERMS + at]
                    total += float(numbers[(f * TERMS + m) * NUMBERS + 2]) * logarithm
            sums[1 + k + f] = share
            add_adjoint(
                offset(scratch, f * job.response_plane), pitch,
                offset(pointer(job.flipped, scratch), (k + f) * size * size), size,
                own, job.own_pitch, rows, cols, k == 0 and f == 0,
            )  # fmt: skip
    sums[0] = total
    out = offset(pointer(job.out, scratch), plane * job.plane + i0 * job.pitch + j0)
    for i in range(rows):
        copy_row(carray(offset(own, i * job.own_pitch), cols), carray(offset(out, i * job.pitch), cols))
