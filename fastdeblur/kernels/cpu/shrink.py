"""Shrinkage: the proximal maps of the priors, as the share of a difference that they take away.

Each is a task of its own, called once a line through its address, so that a solve compiles the one
it uses.  A line holds squares m² (of a difference, or added up over a group of them).
"""

from math import sqrt

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from ..runtime.tasks import jit, task
from .rows import restrict, widest_vectors
from .simd import bits_of, from_bits, real

# What a task returns: shares, or the sum of the prior's costs.
SHARES, COSTS = 0, 1
# Exponent of the sparse prior.
POWER = 0.8
# The parts of a float32, in its own width: with wider integers the loops were twice as slow.
MANTISSA, ONE, EXPONENT, BIAS = np.int32(0x7FFFFF), np.int32(0x3F800000), np.int32(23), np.int32(127)


def remaining_share(q):
    """w of ``w + q w^(p-1) = 1``: the share of t that the proximal map leaves, for ``q = p (t/s)^(p-2)`` [1]_.

    .. [1] D. Krishnan and R. Fergus, "Fast image deconvolution using hyper-Laplacian priors", NIPS 2009.
    """
    w = np.ones_like(q)
    for _ in range(60):  # Newton's method from above
        w -= (w + q * w ** (POWER - 1) - 1) / (1 + q * (POWER - 1) * w ** (POWER - 2))
    return w


# Where 0 costs the same: at ``z = (2 (1 - p))^(1 / (2 - p))``, for s = 1; from that q on.
_LEAST = (2 * (1 - POWER)) ** (1 / (2 - POWER))
LARGEST = POWER * (_LEAST + POWER * _LEAST ** (POWER - 1)) ** (POWER - 2)


def _polynomial(function, degree, end=1.0):
    """Coefficients, from the constant on, of a polynomial near a function on [0, end]."""
    fit = np.polynomial.Chebyshev.interpolate(function, degree, [0, end]).convert(kind=np.polynomial.Polynomial)
    return tuple(np.float32(c) for c in fit.coef)


LOG = _polynomial(lambda m: np.log2(1 + m), 6)
EXP = _polynomial(np.exp2, 5)
TAKEN = _polynomial(lambda q: 1 - remaining_share(q), 6, LARGEST)


def shrink_signature(pixels):
    """Signature of a proximal map: what, squares, out, columns, threshold; returns a sum."""
    return types.float64(types.intp, pixels, pixels, types.intp, types.float64)


@intrinsic
def call_shrink(typingctx, address, what, squares, out, cols, threshold):
    """Call the proximal map at `address`."""

    def codegen(context, builder, sig, args):
        lowered = [context.get_value_type(t) for t in sig.args[1:]]
        function = ir.FunctionType(ir.DoubleType(), lowered).as_pointer()
        return builder.call(builder.inttoptr(args[0], function), args[1:])

    return types.float64(types.intp, types.intp, squares, squares, types.intp, types.float64), codegen


@jit
def soft_shares(squares, out, threshold):
    restrict()
    one, tiny = out.dtype.type(1), out.dtype.type(1e-30)
    for j in range(out.size):
        out[j] = min(one, threshold / sqrt(squares[j] + tiny))


@jit
def soft_costs(squares):
    widest_vectors()
    total = squares.dtype.type(0)
    for j in range(squares.size):
        total += sqrt(squares[j])
    return float(total)


@task(shrink_signature)
def soft(what, squares, out, cols, threshold):
    """m: its proximal map shortens by the threshold."""
    if what == COSTS:
        return soft_costs(carray(squares, cols))
    soft_shares(carray(squares, cols), carray(out, cols), real(threshold, squares))
    return 0.0


@jit
def sum_of(line):
    widest_vectors()
    total = line.dtype.type(0)
    for j in range(line.size):
        total += line[j]
    return float(total)


@jit
def fill_row(out, value):
    for j in range(out.size):
        out[j] = value


@task(shrink_signature)
def linear(what, squares, out, cols, threshold):
    """½m²: its proximal map takes the same share of everything, `threshold`."""
    if what == COSTS:
        return 0.5 * sum_of(carray(squares, cols))
    fill_row(carray(out, cols), real(threshold, squares))
    return 0.0


@jit
def log2(value):
    """Logarithm of a positive float32, to about 1e-6, by a polynomial that vector code can go through."""
    bits = bits_of(value)
    m = from_bits((bits & MANTISSA) | ONE, value) - np.float32(1)
    log = (((((LOG[6] * m + LOG[5]) * m + LOG[4]) * m + LOG[3]) * m + LOG[2]) * m + LOG[1]) * m + LOG[0]
    return np.float32((bits >> EXPONENT) - BIAS) + log


@jit
def exp2(value):
    """Power of two of a float32, to about 1e-6, like `log2`."""
    value = min(max(value, np.float32(-120)), np.float32(120))
    whole = np.floor(value)
    f = value - whole
    exp = ((((EXP[5] * f + EXP[4]) * f + EXP[3]) * f + EXP[2]) * f + EXP[1]) * f + EXP[0]
    return exp * from_bits((np.int32(whole) + BIAS) << EXPONENT, f)


@jit
def power_shares(squares, out, threshold):
    """Shares that the proximal map takes, from a polynomial of `remaining_share`.

    A table with 4096 entries took 3.9 ns a pixel, three times as long: its look-ups are one by one.
    """
    restrict()
    one, tiny, largest = out.dtype.type(1), np.float32(1e-30), np.float32(LARGEST)
    inverse, power = one / max(threshold * threshold, out.dtype.type(1e-30)), np.float32(0.5 * POWER - 1)
    for j in range(out.size):
        q = np.float32(POWER) * exp2(power * log2(np.float32(squares[j] * inverse) + tiny))
        s = (((((TAKEN[6] * q + TAKEN[5]) * q + TAKEN[4]) * q + TAKEN[3]) * q + TAKEN[2]) * q + TAKEN[1]) * q + TAKEN[0]
        out[j] = out.dtype.type(s) if q < largest else one


@jit
def power_costs(squares):
    """Sum of m^POWER, to about 1e-5."""
    widest_vectors()
    total = np.float32(0)
    half, tiny = np.float32(0.5 * POWER), np.float32(1e-37)
    for j in range(squares.size):
        total += exp2(half * log2(np.float32(squares[j]) + tiny))
    return float(total)


@task(shrink_signature)
def power(what, squares, out, cols, threshold):
    """m^POWER: below some m everything is taken, above it some of it."""
    if what == COSTS:
        return power_costs(carray(squares, cols))
    power_shares(carray(squares, cols), carray(out, cols), real(threshold, squares))
    return 0.0
