"""Filters and potentials of a learned prior (CPU): its value and gradient in one pass over tiles.

The prior is ``sum over k and i of phi_k((f_k * x)_i)``, with a few dozen small filters f and their potentials
``phi(z) = sum over m of alpha_m / 2 log(1 + gamma_m² z²)``.  A tile of its gradient, ``sum over k of
f_k^T phi_k'(f_k * x)``, takes two filters at a time: their responses within the tile's reach, the slopes of the
potentials there, and what those add to the tile, all while it is in cache.  Responses near a tile's border are
computed for both tiles, so that each writes its own pixels only.

The logarithms are those of products: of each column's responses one product, whose exponent is taken out every few
rows, so that there is one logarithm a column and not one a response.

The image comes with the filters' reach around it, and so does the gradient, whose surroundings the caller folds back.
"""

import math

import numpy as np
from numba import carray

from ..runtime.tasks import jit, task
from .rows import clear_row, copy_row, multiply_row, restrict
from .simd import (
    add_column_tap,
    add_row_tap,
    bits_of,
    doubles,
    doubles_at,
    from_bits,
    load_tile,
    offset,
    pointer,
    store_tile,
    tile_rows,
    tile_width,
    zero_tile,
)
from .tiles import reader, task_signature

# Filters that are done together: a register tile has a row for each.
TOGETHER = 2
# Numbers of a potential's term: alpha gamma², gamma² and alpha / 2.
NUMBERS = 3
# Rows after which products are brought near 1: each factor may be up to 2^100 or so.
ROWS_OF_PRODUCT = 8
# Of float64: the place of the exponent, what is added to it, and the bits of the digits.
EXPONENT, BIAS = 52, 1023
DIGITS = (1 << EXPONENT) - 1
LOG_2 = math.log(2.0)

# `source` and `out` are planes of `rows x cols` pixels with ``size - 1`` more rows and columns in all, rows `pitch`
# and planes `plane` elements apart.  `weights` are the filters, an even number, `flipped` the same turned by 180
# degrees.  A tile has `tile_rows x tile_cols` pixels.  A thread's scratch begins with the responses of two filters,
# `response_plane` elements each, rows `response_pitch` apart; then comes the tile itself, at `own`, rows `own_pitch`
# apart, a row at `slopes`, and at `products` as many float64 as a tile has columns for each term of both.
RESPONSES = np.dtype(
    [(name, np.intp) for name in ("source", "out", "plane", "pitch", "rows", "cols")]
    + [(name, np.intp) for name in ("filters", "size", "weights", "flipped", "terms", "potentials")]
    + [(name, np.intp) for name in ("tile_rows", "tile_cols", "response_pitch", "response_plane")]
    + [(name, np.intp) for name in ("own", "own_pitch", "slopes", "products", "sums")],
    align=True,
)
read_responses = reader(RESPONSES)


@jit
def respond(source, pitch, weights, size, out, out_plane, cols):
    """A row of the responses of two filters, rounded up to whole register tiles."""
    for j in range(0, cols, tile_width(source)):
        tile = zero_tile(source)
        for u in range(size):
            pixels, taps = offset(source, u * pitch + j), offset(weights, u * size)
            for v in range(size):
                tile = add_column_tap(tile, offset(pixels, v), offset(taps, v), -size * size)
        store_tile(tile, offset(out, j), out_plane)


@jit
def add_adjoint(source, pitch, weights, size, out, out_pitch, rows, cols, begins):
    """Add a filter's adjoint to the tile, or begin with it; rounded up to whole register tiles."""
    for i in range(0, rows, tile_rows(source)):
        for j in range(0, cols, tile_width(source)):
            here = offset(out, i * out_pitch + j)
            tile = zero_tile(source) if begins else load_tile(here, out_pitch)
            for u in range(size):
                pixels, taps = offset(source, (i + u) * pitch + j), offset(weights, u * size)
                for v in range(size):
                    tile = add_row_tap(tile, offset(pixels, v), pitch, offset(taps, v))
            store_tile(tile, here, out_pitch)


@jit
def term_row(responses, slopes, curvature, scale):
    """Add a term's share of slope / response."""
    restrict()
    one = slopes.dtype.type(1)
    for j in range(slopes.size):
        slopes[j] += curvature / (one + scale * responses[j] * responses[j])


@jit
def product_row(responses, products, scale):
    """Multiply products with what the logarithm is taken of."""
    restrict()
    one = responses.dtype.type(1)
    for j in range(responses.size):
        products[j] *= float(one + scale * responses[j] * responses[j])


@jit
def take_exponents(products):
    """Bring products between 1 and 2; returns the sum of the exponents that were taken out."""
    total = np.int64(0)
    for j in range(products.size):
        bits = bits_of(products[j])
        total += (bits >> np.int64(EXPONENT)) - np.int64(BIAS)
        products[j] = from_bits((bits & np.int64(DIGITS)) | np.int64(BIAS << EXPONENT), products[j])
    return float(total)


@jit
def logarithms(products):
    """Sum of the logarithms."""
    total = 0.0
    for j in range(products.size):
        total += math.log(products[j])
    return total


@jit
def to_slopes(job, line, slopes, products, numbers, first, count, counted):
    """Turn a row of a filter's responses into slopes; `count` from `first` on are in products, if it is `counted`."""
    row, shares = carray(line, job.response_pitch), carray(slopes, job.response_pitch)
    clear_row(shares)
    for m in range(job.terms):
        curvature, scale = numbers[NUMBERS * m], numbers[NUMBERS * m + 1]
        term_row(row, shares, curvature, scale)
        if counted:
            product_row(
                carray(offset(line, first), count), carray(offset(products, m * job.tile_cols), count), scale
            )  # fmt: skip
    multiply_row(shares, row)


@task(task_signature)
def responses(address, scratch, tile):
    """A tile of the gradient; sum: the potentials of the responses whose windows begin in it."""
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
    own, slopes = offset(scratch, job.own), offset(scratch, job.slopes)
    products = doubles_at(offset(scratch, job.products))
    clear_row(carray(scratch, TOGETHER * job.response_plane))
    total = 0.0
    for k in range(0, job.filters, TOGETHER):
        numbers = offset(pointer(job.potentials, scratch), k * NUMBERS * job.terms)
        taps = offset(pointer(job.weights, scratch), k * size * size)
        for n in range(TOGETHER * job.terms * job.tile_cols):
            products[n] = 1.0
        for a in range(a0, a1):
            respond(
                offset(source, a * job.pitch + b0), job.pitch, taps, size,
                offset(scratch, a * pitch + b0), job.response_plane, b1 - b0,
            )  # fmt: skip
            for f in range(TOGETHER):
                line = offset(scratch, f * job.response_plane + a * pitch)
                clear_row(carray(offset(line, b1), pitch - b1))
                to_slopes(
                    job, line, slopes, offset(products, f * job.terms * job.tile_cols),
                    offset(numbers, f * NUMBERS * job.terms), reach, own_cols, a >= reach,
                )  # fmt: skip
            if a % ROWS_OF_PRODUCT == ROWS_OF_PRODUCT - 1 or a == a1 - 1:
                for n in range(TOGETHER * job.terms):
                    column = carray(offset(products, n * job.tile_cols), own_cols)
                    total += float(numbers[NUMBERS * n + 2]) * LOG_2 * take_exponents(column)
        for n in range(TOGETHER * job.terms):
            column = carray(offset(products, n * job.tile_cols), own_cols)
            total += float(numbers[NUMBERS * n + 2]) * logarithms(column)
        for f in range(TOGETHER):
            add_adjoint(
                offset(scratch, f * job.response_plane), pitch,
                offset(pointer(job.flipped, scratch), (k + f) * size * size), size,
                own, job.own_pitch, rows, cols, k == 0 and f == 0,
            )  # fmt: skip
    out = offset(pointer(job.out, scratch), plane * job.plane + i0 * job.pitch + j0)
    for i in range(rows):
        copy_row(carray(offset(own, i * job.own_pitch), cols), carray(offset(out, i * job.pitch), cols))
    carray(doubles(job.sums + 8 * tile), 1)[0] = total
