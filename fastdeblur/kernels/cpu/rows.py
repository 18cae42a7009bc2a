"""Row operations on a tile in cache (CPU): copies, sums of rows, bounds (those of gradient steps are `step_rows`).

Each helper is one plain loop over row slices, which LLVM turns into vector code.  (Flat arrays
indexed with signed offsets bring wrap-around checks that stop it: three times slower.)
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..runtime.tasks import jit


def _prefer_widest(function):
    """Let LLVM have vectors of 512 bits: of many processors that have them it takes 256 to be better."""
    if isinstance(function.attributes, set):  # llvmlite's own adds only those that it knows
        set.add(function.attributes, '"prefer-vector-width"="512"')


@intrinsic
def widest_vectors(typingctx):
    """Let LLVM make this function's loops of the widest vectors.  (The sparse prior's solves are a tenth faster.)"""

    def codegen(context, builder, sig, args):
        _prefer_widest(builder.function)
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def restrict(typingctx):
    """Tell LLVM that what this function writes through one argument it never reads through another.

    Without it a row that reads and writes five arrays needs more overlap checks than the
    vectoriser is willing to make.  Its vectors are the widest, too.
    """

    def codegen(context, builder, sig, args):
        for argument in builder.function.args:
            if isinstance(argument.type, ir.PointerType):
                argument.add_attribute("noalias")
        _prefer_widest(builder.function)
        return context.get_dummy_value()

    return types.void(), codegen


@jit
def copy_row(source, out):
    """Copy a row.  (Assigning to a slice compiles five times as long.)"""
    restrict()
    for j in range(out.size):
        out[j] = source[j]


@jit
def add_row(source, out):
    """Add a row to another."""
    restrict()
    for j in range(out.size):
        out[j] += source[j]


@jit
def multiply_row(source, out):
    """Multiply a row with another."""
    restrict()
    for j in range(out.size):
        out[j] *= source[j]


@jit
def clear_row(out):
    """Fill a row with zeros."""
    for j in range(out.size):
        out[j] = 0


@jit
def clip_row(out, low, high):
    """Bring a row between bounds; NaN stays."""
    for j in range(out.size):
        out[j] = low if out[j] < low else (high if out[j] > high else out[j])


@jit
def free_squares(gradient, here, low, high, scale):
    """Sum of squares of a scaled gradient, where a step against it would not leave the bounds."""
    total = here.dtype.type(0)
    for j in range(here.size):
        held = (here[j] <= low and gradient[j] > 0) or (here[j] >= high and gradient[j] < 0)
        part = here.dtype.type(0) if held else scale * gradient[j]
        total += part * part
    return float(total)
