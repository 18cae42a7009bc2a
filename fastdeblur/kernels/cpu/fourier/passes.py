"""Passes of a transform (CPU), one after the other: of a strip's columns, and of rows across strips."""

from ...runtime.tasks import inlined
from ..simd import lanes, offset
from .codelets import (
    FIRST,
    backward_pass,
    first_pass_back,
    forward_pass,
    last_pass,
    line_pass,
    line_pass_back,
)


@inlined
def columns_forward(strip, rows, radices, twiddles):
    """The passes of a strip's columns after the first, one quarter after the other: each stays in the cache."""
    width, passes, quarter = 2 * lanes(strip), radices[0], rows // FIRST
    for part in range(FIRST):
        here = offset(strip, part * quarter * width)
        size, at = quarter, 0
        for k in range(passes):
            radix = radices[1 + k]
            block, step = size, (radix - 1) * width
            size //= radix
            for row in range(0, quarter, block):
                forward_pass(radix, offset(here, row * width), size * width, offset(twiddles, at), step, size)
            at += size * step
        last_pass(size, here, quarter // size)


@inlined
def columns_back(strip, rows, radices, twiddles, twiddles_end):
    """The passes of a strip's columns back, all but the last."""
    width, passes, quarter = 2 * lanes(strip), radices[0], rows // FIRST
    last = radices[1 + passes]
    for part in range(FIRST):
        here = offset(strip, part * quarter * width)
        first_pass_back(last, here, quarter // last)
        size, at = last, twiddles_end
        for k in range(passes):
            radix = radices[passes - k]
            block, step = size * radix, (radix - 1) * width
            at -= size * step
            for row in range(0, quarter, block):
                backward_pass(radix, offset(here, row * width), size * width, offset(twiddles, at), step, size)
            size = block


@inlined
def rows_forward(block, strip, strips, radices, twiddles, rows):
    """The passes of some rows, which follow each other in each strip, all but the last."""
    width, passes = lanes(block), radices[0]
    size, at = strips, 0
    for k in range(passes):
        radix = radices[1 + k]
        whole, step = size, (radix - 1) * 2 * width
        size //= radix
        for first in range(0, strips, whole):
            for j in range(size):
                forward_pass(
                    radix, offset(block, (first + j) * strip), size * strip, offset(twiddles, at + j * step), 0, rows
                )
        at += size * step


@inlined
def rows_back(block, strip, strips, radices, twiddles, rows):
    """The passes of those rows back, all but the first."""
    width, passes = lanes(block), radices[0]
    size, at = 1, 0
    for k in range(passes):  # where the twiddles end
        at += (radices[1 + k] - 1) * 2 * width * strips // size // radices[1 + k]
        size *= radices[1 + k]
    size = strips // size
    for k in range(passes):
        radix = radices[passes - k]
        whole, step = size * radix, (radix - 1) * 2 * width
        at -= size * step
        for first in range(0, strips, whole):
            for j in range(size):
                backward_pass(
                    radix, offset(block, (first + j) * strip), size * strip, offset(twiddles, at + j * step), 0, rows
                )
        size = whole


@inlined
def part_forward(here, part, radices, twiddles):
    """The passes of single lines after the first, of one of the parts that this leaves."""
    width, passes = 2 * lanes(here), radices[0]
    size, at = part, 2 * part * (radices[1] - 1) if passes > 0 else 0
    for k in range(1, passes):
        radix, whole = radices[1 + k], size
        size //= radix
        for row in range(0, part, whole):
            line_pass(radix, offset(here, row * width), size, offset(twiddles, at))
        at += 2 * size * (radix - 1)
    last_pass(size, here, part // size)


@inlined
def part_back(here, part, radices, twiddles, twiddles_end):
    """The same back, without the factor."""
    width, passes = 2 * lanes(here), radices[0]
    size, at = radices[1 + passes], twiddles_end
    first_pass_back(size, here, part // size)
    for k in range(passes - 1, 0, -1):
        radix = radices[1 + k]
        at -= 2 * size * (radix - 1)
        for row in range(0, part, size * radix):
            line_pass_back(radix, offset(here, row * width), size, offset(twiddles, at))
        size *= radix
