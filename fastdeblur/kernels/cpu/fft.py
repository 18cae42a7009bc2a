"""FFT correlation (CPU), one tile at a time: overlap-save, with transforms whose lanes are across lines.

A tile is two windows, one below the other: real and imaginary part of one complex image, which a correlation with
real weights keeps apart.  Columns go to frequencies, in strips as wide as a vector; then rows, a few at a time, which
come back at once, multiplied by the psf's spectrum; then the columns come back, and what is periodic in them is left
out.  These stages are one task, called through its address: blurs by psfs that vary use the same machine code.
"""

from numba import types
from numba.extending import intrinsic

from ..runtime.tasks import inlined, task
from .fourier.codelets import FIRST, filter_block, load_pass, store_pass
from .fourier.passes import columns_back, columns_forward, rows_back, rows_forward
from .simd import integers, lanes, offset, pointer
from .tiles import call_at_address, correlation_signature, read_filter


@inlined
def filter_strips(block, strip, strips, spectrum):
    """The last pass of those rows, the product with the spectrum, and the first pass back."""
    width = lanes(block)
    for j in range(strips):
        filter_block(offset(block, j * strip), offset(spectrum, j * 2 * width * width))


@inlined
def windows_to_strips(psf, source, pitch, rows, cols, strips):
    """A tile's two windows, of the blur by a psf, to frequencies along columns; reads whole vectors of each row."""
    width, step = lanes(source), psf.fft_rows // FIRST
    down, twiddles_down = integers(psf.radices_down), pointer(psf.twiddles_down, source)
    twiddles_first = pointer(psf.twiddles_first, source)
    upper = (rows + 1) // 2
    lower = rows - upper
    upper_rows, lower_rows = upper + psf.taps_down - 1, lower + psf.taps_down - 1
    used = cols + psf.taps_across - 1
    for k in range(psf.fft_cols // width):
        strip, column = offset(strips, k * psf.strip), k * width
        if column < used:
            here = offset(source, column)
            load_pass(
                here, offset(here, upper * pitch), pitch, upper_rows, lower_rows if lower else 0, step, twiddles_first,
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
    twiddles_first = pointer(psf.twiddles_first, out)
    upper = (rows + 1) // 2
    for column in range(0, cols, width):
        strip, here = offset(strips, column // width * psf.strip), offset(out, column)
        columns_back(strip, psf.fft_rows, down, twiddles_down, psf.twiddles_down_end)
        store_pass(strip, step, twiddles_first, here, offset(here, upper * out_pitch), out_pitch, upper, rows - upper)


# The stages of a tile.
WINDOWS_TO_STRIPS, ROWS_FORWARD, FILTER_STRIPS, ROWS_BACK, STRIPS_TO_TILE = range(5)


def stage_signature(pixels):
    """Signature of the stages: which, filter, source, pitch, out, pitch, rows, cols."""
    size = types.intp
    return types.void(size, size, pixels, size, pixels, size, size, size)


@task(stage_signature)
def stages(stage, filter_, source, pitch, out, out_pitch, rows, cols):
    """One stage: a tile's windows to strips, or strips to its `rows` and `cols`, whose rows are so far apart.

    Or, in place, as many rows as a vector has lanes of strips that are `pitch` apart: there, back, or times a spectrum
    at `out`.
    """
    psf = read_filter(filter_)
    across, twiddles = integers(psf.radices_across), pointer(psf.twiddles_across, source)
    strips = psf.fft_cols // lanes(source)
    if stage == WINDOWS_TO_STRIPS:
        windows_to_strips(psf, source, pitch, rows, cols, out)
    elif stage == ROWS_FORWARD:
        rows_forward(source, pitch, strips, across, twiddles, lanes(source))
    elif stage == FILTER_STRIPS:
        filter_strips(source, pitch, strips, out)
    elif stage == ROWS_BACK:
        rows_back(source, pitch, strips, across, twiddles, lanes(source))
    else:
        strips_to_tile(psf, source, out, out_pitch, rows, cols)


@intrinsic
def call_stage(typingctx, address, stage, filter_, source, pitch, out, out_pitch, rows, cols):
    """Call the stages at `address`."""
    size = types.intp
    return types.void(size, size, size, source, size, out, size, size, size), call_at_address


@inlined
def to_strips(filter_, source, pitch, rows, cols, strips):
    """A tile's two windows to frequencies along columns; reads whole vectors of each row."""
    call_stage(read_filter(filter_).stages, WINDOWS_TO_STRIPS, filter_, source, pitch, strips, 0, rows, cols)


@inlined
def transform_rows(stage, filter_, block, strip, spectrum):
    """A stage of as many rows as a vector has lanes; the spectrum's are those rows."""
    call_stage(read_filter(filter_).stages, stage, filter_, block, strip, spectrum, 0, 0, 0)


@inlined
def from_strips(filter_, strips, out, out_pitch, rows, cols):
    """A tile from its frequencies along columns; writes whole vectors of each row."""
    call_stage(read_filter(filter_).stages, STRIPS_TO_TILE, filter_, strips, 0, out, out_pitch, rows, cols)


@task(correlation_signature)
def fft(filter_, source, pitch, out, out_pitch, rows, cols, work):
    """One tile by the FFT path; reads and writes whole vectors of each row."""
    psf = read_filter(filter_)
    width = lanes(source)
    to_strips(filter_, source, pitch, rows, cols, work)
    for row in range(0, psf.fft_rows, width):
        block = offset(work, row * 2 * width)
        spectrum = offset(pointer(psf.down, source), row * 2 * psf.fft_cols)
        transform_rows(ROWS_FORWARD, filter_, block, psf.strip, spectrum)
        transform_rows(FILTER_STRIPS, filter_, block, psf.strip, spectrum)
        transform_rows(ROWS_BACK, filter_, block, psf.strip, spectrum)
    from_strips(filter_, work, out, out_pitch, rows, cols)
