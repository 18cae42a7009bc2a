"""Row operations on a tile in cache (CPU): differences, residual, gradient, sums.

Each helper is one plain loop over row slices, which LLVM turns into vector code.  (Flat arrays
indexed with signed offsets bring wrap-around checks that stop it: three times slower.)

A row's sum is in the precision of the pixels, and of numbers near 1: the caller passes a `unit`
or takes out the `brightness`, since the square of a float32 of 1e20, or of 1e-25, is not a
float32.  Sums of rows are float64.  (Float64 within the row would need no units; a row of 171
pixels then takes 262 ns instead of 115, on which a step has about 560 in all.)
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..runtime.tasks import jit


@intrinsic
def restrict(typingctx):
    """Tell LLVM that what this function writes through one argument it never reads through another.

    Without it a row that reads and writes five arrays needs more overlap checks than the
    vectoriser is willing to make.
    """

    def codegen(context, builder, sig, args):
        for argument in builder.function.args:
            if isinstance(argument.type, ir.PointerType):
                argument.add_attribute("noalias")
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
def difference_squares(here, down, right, unit):
    """Sum of squares of the differences to the pixels below and to the right, times unit^2."""
    total = here.dtype.type(0)
    for j in range(here.size):
        vertical, horizontal = unit * (down[j] - here[j]), unit * (right[j] - here[j])
        total += vertical * vertical + horizontal * horizontal
    return float(total)


@jit
def residual_row(blurred, image, residual, unit):
    """residual = blurred - image; returns its sum of squares times unit^2."""
    restrict()
    total = residual.dtype.type(0)
    for j in range(residual.size):
        misfit = blurred[j] - image[j]
        residual[j] = misfit
        total += (unit * misfit) * (unit * misfit)
    return float(total)


@jit
def weighted_row(blurred, image, weights, residual, unit):
    """residual = weights (blurred - image); returns the weighted sum of squares times unit^2."""
    restrict()
    total = residual.dtype.type(0)
    for j in range(residual.size):
        misfit = blurred[j] - image[j]
        residual[j] = weights[j] * misfit
        total += weights[j] * (unit * misfit) * (unit * misfit)
    return float(total)


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


@jit
def gradient_row(correlated, here, up, down, left, right, data_scale, prior_scale, brightness):
    """Turn a row of A^T r into the objective's gradient; returns three sums of squares.

    They are of the gradient, of its data part and of its prior part, all divided by `brightness`,
    which is left out of the scales.  Where there is no difference across the border of the estimate,
    a neighbour beyond it is the pixel itself.
    """
    restrict()
    zero = here.dtype.type(0)
    total, data_total, prior_total = zero, zero, zero
    for j in range(here.size):
        data = data_scale * correlated[j]
        prior = prior_scale * ((here[j] - up[j]) + (here[j] - down[j]) + (here[j] - left[j]) + (here[j] - right[j]))
        gradient = data + prior
        correlated[j] = brightness * gradient
        total += gradient * gradient
        data_total += data * data
        prior_total += prior * prior
    return float(total), float(data_total), float(prior_total)
