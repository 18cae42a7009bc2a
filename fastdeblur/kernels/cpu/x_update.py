"""ADMM x-update (CPU): the estimate from the split variables, solved in Fourier coefficients, line after line.

For domains of lengths that `x_update_planes` has no transforms for, and where psfs vary.

The estimate minimises ``data_rho |K x - y|² + rho |D x - z|² + ...`` on the periodic domain, where all are diagonal:
``X = (data_rho K* Y + Z) / (data_rho |K|² + rho l + second_rho l² + pixels_rho)``, with l the eigenvalues
of the Laplacian DᵀD.
"""

from numba import carray
from rocket_fft import c2c, c2r, r2c

from ..runtime.tasks import task
from .simd import complexes, doubles, integers, offset, pointer, real
from .tiles import task_signature
from .z_update import read_admm

# Columns a tile: a cache line of complex numbers or two.
COLUMNS = 16


@task(task_signature)
def forward_rows(address, scratch, tile):
    """FFTs of some rows of all planes that the z-update has left in scratch."""
    job = read_admm(address)
    first = tile * job.tile_rows
    rows, pitch = min(job.tile_rows, job.rows - first), job.pitch
    axis = carray(integers(job.axis), 1)
    for plane in range(job.planes):
        source = offset(scratch, job.rhs_at + plane * job.tile_rows * pitch)
        for coefficients in (job.rhs_coefficients, job.data_coefficients):
            out = offset(
                complexes(pointer(coefficients, scratch)), plane * job.coefficient_plane + first * job.coefficient_pitch
            )
            r2c(
                carray(source, (rows, pitch))[:, : job.cols],
                carray(out, (rows, job.coefficient_pitch))[:, : job.frequencies],
                axis, True, real(1.0, scratch), 1,
            )  # fmt: skip
            source = offset(source, job.planes * job.tile_rows * pitch)


@task(task_signature)
def x_update(address, scratch, tile):
    """Some columns: FFTs down, the coefficients of the estimate and of its blur, and inverse FFTs."""
    job = read_admm(address)
    tiles = -(-job.frequencies // COLUMNS)
    plane, first = tile // tiles, tile % tiles * COLUMNS
    count = min(COLUMNS, job.frequencies - first)
    start = plane * job.coefficient_plane + first
    rhs = offset(complexes(pointer(job.rhs_coefficients, scratch)), start)
    data = offset(complexes(pointer(job.data_coefficients, scratch)), start)
    psf = offset(complexes(pointer(job.psf, scratch)), plane * job.psf_plane + first)
    down, across = doubles(job.eigenvalues_down), offset(doubles(job.eigenvalues_across), first)
    axis, one = carray(integers(job.axis_down), 1), real(1.0, scratch)
    z, y = (
        carray(rhs, (job.rows, job.coefficient_pitch))[:, :count],
        carray(data, (job.rows, job.coefficient_pitch))[:, :count],
    )
    c2c(z, z, axis, True, one, 1)
    c2c(y, y, axis, True, one, 1)
    data_rho, rho = real(job.data_rho, scratch), real(job.rho, scratch)
    second_rho, pixels_rho = real(job.second_rho, scratch), real(job.pixels_rho, scratch)
    least = real(1e-30, scratch)
    for i in range(job.rows):
        at = i * job.coefficient_pitch
        for j in range(count):
            k, eigenvalue = psf[at + j], real(down[i] + across[j], scratch)
            psf_power = k.real * k.real + k.imag * k.imag
            total = data_rho * psf_power + eigenvalue * (rho + second_rho * eigenvalue) + pixels_rho
            share = one / max(total, least)
            a, b = data_rho * y[i, j].real, data_rho * y[i, j].imag
            real_part = share * (k.real * a + k.imag * b + z[i, j].real)
            imag_part = share * (k.real * b - k.imag * a + z[i, j].imag)
            rhs[at + j] = complex(real_part, imag_part)
            data[at + j] = complex(k.real * real_part - k.imag * imag_part, k.real * imag_part + k.imag * real_part)
    c2c(z, z, axis, False, one, 1)
    c2c(y, y, axis, False, one, 1)


@task(task_signature)
def inverse_rows(address, scratch, tile):
    """Inverse FFTs of some rows of the estimate and of the blurred estimate."""
    job = read_admm(address)
    tiles = -(-job.rows // job.tile_rows)
    plane, first = tile // tiles, tile % tiles * job.tile_rows
    rows = min(job.tile_rows, job.rows - first)
    axis = carray(integers(job.axis), 1)
    for coefficients, image in ((job.rhs_coefficients, job.x), (job.data_coefficients, job.blurred)):
        source = offset(
            complexes(pointer(coefficients, scratch)), plane * job.coefficient_plane + first * job.coefficient_pitch
        )
        out = offset(pointer(image, scratch), plane * job.plane + first * job.pitch)
        c2r(
            carray(source, (rows, job.coefficient_pitch))[:, : job.frequencies],
            carray(out, (rows, job.pitch))[:, : job.cols],
            axis, False, real(1.0 / (job.rows * job.cols), scratch), 1,
        )  # fmt: skip
