"""Row kernels of the ADMM z-update (CPU): differences, proximal steps, duals and adjoints.

Each helper is one plain loop over row slices, see `rows`.
"""

import math

from ..runtime.tasks import jit
from .rows import restrict


@jit
def down_row(here, below, out):
    restrict()
    for j in range(out.size):
        out[j] = below[j] - here[j]


@jit
def twice_row(before, here, after, out):
    restrict()
    for j in range(out.size):
        out[j] = (after[j] - here[j]) - (here[j] - before[j])


@jit
def mixed_row(here, right, below, across, out):
    # The mixed difference counts twice (root 2 squared): so the sum of squares does not depend on the axes.
    restrict()
    root = out.dtype.type(2.0**0.5)
    for j in range(out.size):
        out[j] = root * ((across[j] - below[j]) - (right[j] - here[j]))


@jit
def masked_row(mask, first, second, third, fourth, out):
    """A difference's mask times those of its pixels, of up to four."""
    restrict()
    for j in range(out.size):
        out[j] = mask[j] * first[j] * second[j] * third[j] * fourth[j]


@jit
def add_squares(values, mask, out):
    """Add the squares of a difference, where its mask is 1."""
    restrict()
    for j in range(out.size):
        out[j] += mask[j] * values[j] * values[j]


@jit
def relax_row(split, taken, mask, change, keep, relax, out, before):
    """v = u + keep (v - u) + relax (L x - u), from the last v; `taken` is the share that shrinkage takes."""
    restrict()
    one = out.dtype.type(1)
    for j in range(out.size):
        u = split[j] * (one - mask[j] * taken[j])
        before[j] = u
        out[j] = u + keep * (split[j] - u) + relax * (change[j] - u)


@jit
def reflect_row(split, before, taken, mask, change, unit, out):
    """2 u - v; returns sums of squares of L x - u, the last u - u, L x, u and v - u."""
    restrict()
    zero, one, two = out.dtype.type(0), out.dtype.type(1), out.dtype.type(2)
    primal, dual, of_x, of_u, force = zero, zero, zero, zero, zero
    for j in range(out.size):
        v = split[j]
        u = v * (one - mask[j] * taken[j])
        out[j] = two * u - v
        primal += (unit * (change[j] - u)) ** 2
        dual += (unit * (u - before[j])) ** 2
        of_x += (unit * change[j]) ** 2
        of_u += (unit * u) ** 2
        force += (unit * (v - u)) ** 2
    return float(primal), float(dual), float(of_x), float(of_u), float(force)


@jit
def data_row(split, blurred, shift, image, weights, rho, rho_before, keep, relax, unit, poisson, out):
    """The same for the blurred estimate in the frame; also the sum of the objective's data part.

    With poisson data, the mean is the blurred estimate plus `shift`.
    """
    restrict()
    zero, two, half, four = out.dtype.type(0), out.dtype.type(2), out.dtype.type(0.5), out.dtype.type(4)
    primal, dual, of_x, of_u, force, misfit = zero, zero, zero, zero, zero, zero
    for j in range(out.size):
        w, b, v, here = weights[j], image[j], split[j], blurred[j]
        if poisson:
            lower = v + shift[j] - w / rho_before
            u = half * (lower + math.sqrt(lower * lower + four * w * b / rho_before)) - shift[j]
        else:
            u = (w * b + rho_before * v) / (w + rho_before)
        v = u + keep * (v - u) + relax * (here - u)
        last = u
        if poisson:
            lower = v + shift[j] - w / rho
            u = half * (lower + math.sqrt(lower * lower + four * w * b / rho)) - shift[j]
        else:
            u = (w * b + rho * v) / (w + rho)
            misfit += w * (unit * (here - b)) ** 2
        split[j] = v
        out[j] = two * u - v
        primal += (unit * (here - u)) ** 2
        dual += (unit * (u - last)) ** 2
        of_x += (unit * here) ** 2
        of_u += (unit * u) ** 2
        force += (unit * (v - u)) ** 2
    return float(primal), float(dual), float(of_x), float(of_u), float(force), float(misfit)


@jit
def free_row(split, blurred, relax, out):
    """The same outside the frame: no data, so that u is v."""
    restrict()
    for j in range(out.size):
        v = split[j] + relax * (blurred[j] - split[j])
        split[j] = v
        out[j] = v


@jit
def adjoint_firsts(above, here, left, across, rho, out):
    """rho times the adjoint of the first differences."""
    restrict()
    for j in range(out.size):
        out[j] = rho * ((above[j] - here[j]) + (left[j] - across[j]))


@jit
def adjoint_seconds(above, here, below, left, across, right, up_left, up, mixed_left, mixed, rho, out):
    """Add rho times the adjoint of the second differences."""
    restrict()
    root = out.dtype.type(2.0**0.5)
    for j in range(out.size):
        twice = (below[j] - here[j]) - (here[j] - above[j]) + (right[j] - across[j]) - (across[j] - left[j])
        out[j] += rho * (twice + root * ((up_left[j] - up[j]) - (mixed_left[j] - mixed[j])))


@jit
def add_pixels(split, reflected, rho, out):
    """Add rho times the reflected split variable of the copy of the estimate."""
    restrict()
    two = out.dtype.type(2)
    for j in range(out.size):
        out[j] += rho * (two * reflected[j] - split[j])


@jit
def subtract_from_row(source, out):
    """What is left of a row if `out` is taken from it."""
    restrict()
    for j in range(out.size):
        out[j] = source[j] - out[j]


@jit
def pixels_gradient(x, split, reflected, rho, out):
    """Add rho times the difference between the estimate and the reflected split variable of its copy."""
    restrict()
    two = out.dtype.type(2)
    for j in range(out.size):
        out[j] += rho * (x[j] - (two * reflected[j] - split[j]))


@jit
def scale_and_add(gradient, prior, rho):
    """Make a row of ``Aᵀ (A x - y)`` one of the whole gradient."""
    restrict()
    for j in range(prior.size):
        gradient[j] = rho * gradient[j] + prior[j]
