"""FFT correlation (CPU), one tile at a time: overlap-save, with transforms whose lanes are across lines.

A tile is two windows, one below the other: real and imaginary part of one complex image, which a correlation with
real weights keeps apart.  Columns go to frequencies, in strips as wide as a vector; then rows, a few at a time, which
come back at once, multiplied by the psf's spectrum; then the columns come back, and what is periodic in them is left
out.
"""

from ..runtime.tasks import task
from .fourier.codelets import (
    FIRST,
    backward_pass,
    filter_block,
    first_pass_back,
    forward_pass,
    inlined,
    last_pass,
    load_pass,
    store_pass,
)
from .simd import integers, lanes, offset, pointer
from .tiles import correlation_signature, read_filter

# Twiddles, numbers, of a butterfly of the first pass.
FIRST_TWIDDLES = 2 * (FIRST - 1)


@inlined
def columns_forward(strip, rows, radices, twiddles):
    """The passes of a strip's columns after the first, one quarter after the other: each stays in the cache."""
    width, passes, quarter = 2 * lanes(strip), radices[0], rows // FIRST
    for part in range(FIRST):
        here = offset(strip, part * quarter * width)
        size, at = quarter, quarter * FIRST_TWIDDLES
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
def rows_forward(block, strip, strips, radices, twiddles):
    """The passes of as many rows as a vector has lanes, all but the last."""
    width, passes = lanes(block), radices[0]
    size, at = strips, 0
    for k in range(passes):
        radix = radices[1 + k]
        whole, step = size, (radix - 1) * 2 * width
        size //= radix
        for first in range(0, strips, whole):
            for j in range(size):
                forward_pass(
                    radix, offset(block, (first + j) * strip), size * strip, offset(twiddles, at + j * step), 0, width
                )
        at += size * step


@inlined
def filter_strips(block, strip, strips, spectrum):
    """The last pass of those rows, the product with the spectrum, and the first pass back."""
    width = lanes(block)
    for j in range(strips):
        filter_block(offset(block, j * strip), offset(spectrum, j * 2 * width * width))


@inlined
def rows_back(block, strip, strips, radices, twiddles):
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
                    radix, offset(block, (first + j) * strip), size * strip, offset(twiddles, at + j * step), 0, width
                )
        size = whole


@inlined
def windows_to_strips(psf, source, pitch, rows, cols, strips):
    """A tile's two windows, of the blur by a psf, to frequencies along columns; reads whole vectors of each row."""
    width, step = lanes(source), psf.fft_rows // FIRST
    down, twiddles_down = integers(psf.radices_down), pointer(psf.twiddles_down, source)
    upper = (rows + 1) // 2
    lower = rows - upper
    upper_rows, lower_rows = upper + psf.taps_down - 1, lower + psf.taps_down - 1
    used = cols + psf.taps_across - 1
    for k in range(psf.fft_cols // width):
        strip, column = offset(strips, k * psf.strip), k * width
        if column < used:
            here = offset(source, column)
            load_pass(
                here, offset(here, upper * pitch), pitch, upper_rows, lower_rows if lower else 0, step, twiddles_down,
                strip,
            )  # fmt: skip
            columns_forward(strip, psf.fft_rows, down, twiddles_down)
        else:
            for i in range(psf.fft_rows * 2 * width):
                strip[i] = 0


@inlined
def strips_to_tile(psf, strips, out, out_pitch, rows, cols):
    """A tile from its frequencies along columns; writes whole vectors of each row."""
    width, step = lanes(out), psf.fft_rows // FIRST
    down, twiddles_down = integers(psf.radices_down), pointer(psf.twiddles_down, out)
    upper = (rows + 1) // 2
    for column in range(0, cols, width):
        strip, here = offset(strips, column // width * psf.strip), offset(out, column)
        columns_back(strip, psf.fft_rows, down, twiddles_down, psf.twiddles_down_end)
        store_pass(strip, step, twiddles_down, here, offset(here, upper * out_pitch), out_pitch, upper, rows - upper)


@task(correlation_signature)
def fft(filter_, source, pitch, out, out_pitch, rows, cols, work):
    """One tile by the FFT path; reads and writes whole vectors of each row."""
    psf = read_filter(filter_)
    width = lanes(source)
    across, twiddles_across = integers(psf.radices_across), pointer(psf.twiddles_across, source)
    spectrum = pointer(psf.down, source)
    windows_to_strips(psf, source, pitch, rows, cols, work)
    strips = psf.fft_cols // width
    for row in range(0, psf.fft_rows, width):
        block = offset(work, row * 2 * width)
        rows_forward(block, psf.strip, strips, across, twiddles_across)
        filter_strips(block, psf.strip, strips, offset(spectrum, row * 2 * psf.fft_cols))
        rows_back(block, psf.strip, strips, across, twiddles_across)
    strips_to_tile(psf, work, out, out_pitch, rows, cols)
