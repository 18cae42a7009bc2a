"""The ridge problem of a periodic image (CPU), which Fourier coefficients solve one by one.

Rows are transformed by the tasks `analyse` and `synthesise` of `lines`; here are the columns of what those leave: for
the minimiser itself, and for the inverse as a preconditioner.
"""

import numpy as np
from numba import carray
from rocket_fft import c2c

from ..runtime.tasks import jit, task
from .lines import divide, lines_of, read_lines
from .rows import clear_row, restrict
from .simd import complexes, doubles, integers, offset, pointer, real
from .tiles import reader, task_signature

# Sums that a tile leaves: of squares, of the residual, of D x, of the gradient, of its data part and of its prior part.
SUMS = 5

# The spectrum has `length` rows of `pitch` complex numbers, of which `frequencies` are used, those of real lines of
# `reals` pixels.  `response` are the psf's coefficients, a row of `length` for each column of the spectrum, `down` and
# `across` the Laplacian's eigenvalues.  Columns are transformed first (`ahead`), solved for and transformed `back`, or
# both.  If neither, the spectrum stays as it is, and what the solution would be is summed up.
PERIODIC = np.dtype(
    [(name, np.intp) for name in ("spectrum", "pitch", "spectrum_plane", "planes", "frequencies", "reals", "length")]
    + [(name, np.intp) for name in ("column_pitch", "axis", "response", "down", "across", "sums", "ahead", "back")]
    + [("ridge", np.float64)],
    align=True,
)
read_periodic = reader(PERIODIC)


@jit
def gather(spectrum, pitch, count, out, out_pitch, n):
    """Let `count` columns of a spectrum be rows."""
    for i in range(n):
        coefficients, column = offset(spectrum, i * pitch), offset(out, i)
        for k in range(count):
            column[k * out_pitch] = coefficients[k]


@jit
def scatter(spectrum, pitch, count, lines, line_pitch, n):
    """The transpose of `gather`."""
    for i in range(n):
        coefficients, column = offset(spectrum, i * pitch), offset(lines, i)
        for k in range(count):
            coefficients[k] = column[k * line_pitch]


@task(task_signature)
def divide_columns(address, scratch, tile):
    """Some columns, as `lines.solve` does them where there is nothing to correct."""
    job = read_lines(address)
    plane, first, count = lines_of(tile, job.frequencies, job.planes)
    n, pitch = job.full_length, job.full_pitch
    spectrum = offset(complexes(pointer(job.spectrum, scratch)), plane * job.spectrum_plane + first)
    lines, axis = complexes(scratch), carray(integers(job.axis), 1)
    columns = carray(lines, (count, pitch))[:, :n]
    if n > job.fulls:
        clear_row(carray(scratch, count * 2 * pitch))
    gather(spectrum, job.pitch, count, lines, pitch, job.fulls)
    c2c(columns, columns, axis, True, real(1.0, scratch), 1)
    for k in range(count):
        divide(job, first + k, offset(scratch, 2 * k * pitch))
    c2c(columns, columns, axis, False, real(1.0 / n, scratch), 1)
    scatter(spectrum, job.pitch, count, lines, pitch, job.fulls)


@jit
def expected_squares(column, response, down, across, ridge):
    """Sums of squares, of the residual and of D x, of the solution for a column, which stays as it is."""
    misfit = rough = 0.0
    for i in range(column.size):
        h, b, smooth = response[i], column[i], down[i] + across
        power = float(h.real) * float(h.real) + float(h.imag) * float(h.imag)
        square = float(b.real) * float(b.real) + float(b.imag) * float(b.imag)
        total = power + ridge * smooth
        left, share = (ridge * smooth / total, 1.0 / total) if total > 0.0 else (1.0, 0.0)
        misfit += left * left * square
        rough += smooth * power * share * share * square
    return misfit, rough


@jit
def solve_column(column, response, down, across, ridge):
    """Turn a column into the solution x of ``(|h|^2 + ridge eigenvalue) x = conj(h) b``; returns the sums of squares.

    They are those of x as it is rounded.
    """
    restrict()
    misfit = rough = whole = data = prior = 0.0
    for i in range(column.size):
        h_real, h_imag = float(response[i].real), float(response[i].imag)
        b_real, b_imag = float(column[i].real), float(column[i].imag)
        smooth = down[i] + across
        total = h_real * h_real + h_imag * h_imag + ridge * smooth
        known = 1.0 if total > 0.0 else 0.0
        total += 1.0 - known
        column[i] = complex(
            known * (h_real * b_real + h_imag * b_imag) / total, known * (h_real * b_imag - h_imag * b_real) / total
        )
        x_real, x_imag = float(column[i].real), float(column[i].imag)
        r_real, r_imag = h_real * x_real - h_imag * x_imag - b_real, h_real * x_imag + h_imag * x_real - b_imag
        data_real, data_imag = h_real * r_real + h_imag * r_imag, h_real * r_imag - h_imag * r_real
        prior_real, prior_imag = ridge * smooth * x_real, ridge * smooth * x_imag
        misfit += r_real * r_real + r_imag * r_imag
        rough += smooth * (x_real * x_real + x_imag * x_imag)
        whole += (data_real + prior_real) ** 2 + (data_imag + prior_imag) ** 2
        data += data_real * data_real + data_imag * data_imag
        prior += prior_real * prior_real + prior_imag * prior_imag
    return misfit, rough, whole, data, prior


@task(task_signature)
def solve_columns(address, scratch, tile):
    """Some columns of a plane's spectrum: transformed, solved for, or looked at."""
    job = read_periodic(address)
    plane, first, count = lines_of(tile, job.frequencies, job.planes)
    n, pitch = job.length, job.column_pitch
    spectrum = offset(complexes(pointer(job.spectrum, scratch)), plane * job.spectrum_plane + first)
    lines, axis = complexes(scratch), carray(integers(job.axis), 1)
    columns = carray(lines, (count, pitch))[:, :n]
    gather(spectrum, job.pitch, count, lines, pitch, n)
    if job.ahead:
        c2c(columns, columns, axis, True, real(1.0, scratch), 1)
    sums = carray(offset(doubles(job.sums), SUMS * tile), SUMS)
    sums[:] = 0.0
    down = carray(doubles(job.down), n)
    for k in range(count):
        column = carray(offset(lines, k * pitch), n)
        response = carray(offset(complexes(pointer(job.response, scratch)), (first + k) * n), n)
        across = doubles(job.across)[first + k]
        # A coefficient stands for two, but those of the first column and perhaps of the last.
        times = 1.0 if first + k == 0 or 2 * (first + k) == job.reals else 2.0
        if job.back:
            misfit, rough, whole, data, prior = solve_column(column, response, down, across, job.ridge)
            sums[2] += times * whole
            sums[3] += times * data
            sums[4] += times * prior
        elif not job.ahead:
            misfit, rough = expected_squares(column, response, down, across, job.ridge)
        else:
            misfit = rough = 0.0
        sums[0] += times * misfit
        sums[1] += times * rough
    if job.back:
        c2c(columns, columns, axis, False, real(1.0 / n, scratch), 1)
    if job.ahead or job.back:
        scatter(spectrum, job.pitch, count, lines, pitch, n)
