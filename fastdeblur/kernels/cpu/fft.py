"""FFT correlation (CPU), one tile at a time: overlap-save.

A window of the image goes to frequencies, is multiplied with the psf's spectrum and comes back;
what is periodic in that is cut off.  A tile's cost hardly depends on the psf's size, and a window's
spectrum stays in the second-level cache, where that of a whole image would not.
"""

from numba import carray
from rocket_fft import c2c, c2r, r2c

from ..runtime.tasks import jit, task
from .rows import multiply_row
from .simd import complexes, integers, offset, pointer, real
from .tiles import correlation_signature, read_filter


@jit
def correlate(source, pitch, spectrum, fft_rows, fft_cols, axes, out, out_pitch, rows, work, work_pitch):
    """out[i, j] = sum over u, v of weights[u, v] * source[i + u, j + v], for all j below `fft_cols`.

    The last columns of `out` are periodic in the window, hence wrong.  So are its last rows, which
    are not computed: transforming each axis by itself, and fewer rows back, saves 3 to 8 % of one
    two-dimensional transform.
    """
    one, half = real(1.0, source), fft_cols // 2 + 1
    window = carray(source, (fft_rows, pitch))[:, :fft_cols]
    coefficients = carray(complexes(work), (fft_rows, work_pitch))[:, :half]
    down, across = carray(integers(axes), 1), carray(offset(integers(axes), 1), 1)
    # One thread: rocket-fft's own change bits, and break under forks.
    r2c(window, coefficients, across, True, one, 1)
    c2c(coefficients, coefficients, down, True, one, 1)
    for i in range(fft_rows):
        multiply_row(
            carray(offset(complexes(spectrum), i * work_pitch), half),
            carray(offset(complexes(work), i * work_pitch), half),
        )
    c2c(coefficients, coefficients, down, False, one, 1)
    c2r(coefficients[:rows], carray(out, (rows, out_pitch))[:, :fft_cols], across, False, one, 1)


@task(correlation_signature)
def fft(filter_, source, pitch, out, out_pitch, rows, cols, work):
    """One tile by the FFT path; reads a whole window, writes whole rows of it."""
    psf = read_filter(filter_)
    correlate(
        source, pitch, pointer(psf.down, source), psf.fft_rows, psf.fft_cols, psf.axes,
        out, out_pitch, rows, work, psf.work_pitch,
    )  # fmt: skip
