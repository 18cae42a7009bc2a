"""Cosine transforms of an image, and the ridge problem where they solve it."""

import math

import numpy as np
from numba import carray
from rocket_fft import dct

from ..runtime.tasks import jit, task
from .simd import doubles, integers, offset, pointer, real
from .tiles import reader, task_signature

# Rows, or columns, a tile.
BAND = 16

# Planes of `rows` x `cols` at `image`, transformed in place along `axis`, forward or back.  `psf_power`
# is the blur's transform, one number a pixel; `down` and `across` are the differences' along each axis.
COSINE = np.dtype(
    [(name, np.intp) for name in ("image", "planes", "rows", "cols", "along", "axis", "back")]
    + [(name, np.intp) for name in ("psf_power", "down", "across", "sums")]
    + [("ridge", np.float64)],
    align=True,
)
read_cosine = reader(COSINE)


@task(task_signature)
def transform(address, scratch, tile):
    """The orthonormal transform of some rows, or columns."""
    job = read_cosine(address)
    lines = job.cols if job.along == 0 else job.rows
    tiles = -(-lines // BAND)
    plane, first = tile // tiles, tile % tiles * BAND
    count = min(BAND, lines - first)
    pixels = carray(offset(pointer(job.image, scratch), plane * job.rows * job.cols), (job.rows, job.cols))
    part = pixels[:, first : first + count] if job.along == 0 else pixels[first : first + count, :]
    length = job.rows if job.along == 0 else job.cols
    # What makes it orthonormal is a factor for all, and one for the constant coefficient that `ortho` brings.
    kind = 3 if job.back else 2
    dct(part, part, carray(integers(job.axis), 1), kind, real(math.sqrt(0.5 / length), scratch), True, 1)


@jit
def parts(psf_power, eigenvalues, coefficient, ridge):
    """A coefficient of the residual and of the solution x of ``(h² + ridge eigenvalue) x = h coefficient``."""
    total = psf_power * psf_power + ridge * eigenvalues
    if total <= 0.0:
        return -coefficient, 0.0
    return -ridge * eigenvalues * coefficient / total, psf_power * coefficient / total


@task(task_signature)
def norms(address, scratch, tile):
    """Sums of one row of coefficients: the residual's square and that of Dx, for a ridge."""
    job = read_cosine(address)
    row = tile % job.rows
    coefficients = offset(pointer(job.image, scratch), tile * job.cols)
    psf_power = offset(doubles(job.psf_power), row * job.cols)
    down, across = doubles(job.down), doubles(job.across)
    misfit, rough = 0.0, 0.0
    for j in range(job.cols):
        eigenvalues = down[row] + across[j]
        residual, x = parts(psf_power[j], eigenvalues, float(coefficients[j]), job.ridge)
        misfit += residual * residual
        rough += eigenvalues * x * x
    sums = carray(offset(doubles(job.sums), 2 * tile), 2)
    sums[0], sums[1] = misfit, rough


@task(task_signature)
def solution(address, scratch, tile):
    """Turn one row of the image's coefficients into the solution's."""
    job = read_cosine(address)
    row = tile % job.rows
    coefficients = offset(pointer(job.image, scratch), tile * job.cols)
    psf_power = offset(doubles(job.psf_power), row * job.cols)
    down, across = doubles(job.down), doubles(job.across)
    for j in range(job.cols):
        _, x = parts(psf_power[j], down[row] + across[j], float(coefficients[j]), job.ridge)
        coefficients[j] = x
