"""Rows of a gradient step (CPU), in vectors: residual, differences and gradient, with their sums of squares.

LLVM does most of a plain loop four vectors at a time and what remains pixel by pixel: 11 of a row of 171, which took
as long as the other 160.  Here a row's last vector is masked: what is beyond the row's end is neither read nor written.

A tile's sums are vectors, in the precision of the pixels, and of numbers near 1: the caller passes a `unit` or takes
out the `brightness`, since the square of a float32 of 1e20, or of 1e-25, is not a float32.  Sums of tiles are float64.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..runtime.tasks import jit
from .simd import Vector, lanes, multiply_add, offset, shape_of, splat


class _Lanes:
    """Loads and stores of a vector from place `j` on, or of its first lanes only: of `rest`, and the others are 0."""

    def __init__(self, context, builder, like, j, rest_type, rest):
        self._builder, self._j, count = builder, j, shape_of(like).lanes
        self._vector = ir.VectorType(context.get_value_type(like.dtype), count)
        self._align, self._mask = like.dtype.bitwidth // 8, None
        if rest_type is not types.none:
            places = ir.VectorType(rest.type, count)
            self._mask = builder.icmp_signed("<", ir.Constant(places, list(range(count))), splat(builder, rest, places))

    def _place(self, row):
        return self._builder.bitcast(self._builder.gep(row, [self._j]), self._vector.as_pointer())

    def _masked(self, name, result, *arguments):
        vector = f"v{self._vector.count}f{8 * self._align}"
        function = ir.FunctionType(result, [argument.type for argument in arguments])
        name = f"llvm.masked.{name}.{vector}.p0{vector}"
        return self._builder.call(cgutils.get_or_insert_function(self._builder.module, function, name), arguments)

    def load(self, row):
        if self._mask is None:
            loaded = self._builder.load(self._place(row))
            loaded.align = self._align
            return loaded
        nought, align = ir.Constant(self._vector, [0.0] * self._vector.count), ir.IntType(32)(self._align)
        return self._masked("load", self._vector, self._place(row), align, self._mask, nought)

    def store(self, value, row):
        if self._mask is None:
            self._builder.store(value, self._place(row)).align = self._align
        else:
            self._masked("store", ir.VoidType(), value, self._place(row), ir.IntType(32)(self._align), self._mask)

    def all(self, number):
        """A vector of one number."""
        return splat(self._builder, number, self._vector)


@intrinsic
def nought(typingctx, like):
    """A vector of zeros."""
    count = shape_of(like).lanes

    def codegen(context, builder, sig, args):
        vector = ir.VectorType(context.get_value_type(like.dtype), count)
        return ir.Constant(vector, [0.0] * count)

    return Vector(like.dtype, count)(like), codegen


@intrinsic
def total(typingctx, vector):
    """Sum of a vector's numbers, halves after halves, as a float64."""

    def codegen(context, builder, sig, args):
        (value,) = args
        while value.type.count > 1:
            half, number = value.type.count // 2, ir.IntType(32)
            halves = [ir.Constant(ir.VectorType(number, half), [first + k for k in range(half)]) for first in (0, half)]
            value = builder.fadd(*(builder.shuffle_vector(value, value, places) for places in halves))
        first = builder.extract_element(value, ir.Constant(ir.IntType(32), 0))
        return first if vector.dtype == types.float64 else builder.fpext(first, ir.DoubleType())

    return types.float64(vector), codegen


@intrinsic
def add_misfit(typingctx, sums, blurred, image, weights, residual, unit, j, rest):
    """``residual = weights (blurred - image)``, and sums of weights times the misfits' squares, times unit²."""

    def codegen(context, builder, sig, args):
        sums_, blurred_, image_, weights_, residual_, unit_, j_, rest_ = args
        here = _Lanes(context, builder, blurred, j_, rest, rest_)
        misfit = builder.fsub(here.load(blurred_), here.load(image_))
        scaled = builder.fmul(here.all(unit_), misfit)
        if weights is types.none:
            here.store(misfit, residual_)
            return multiply_add(builder, scaled, scaled, sums_)
        weight = here.load(weights_)
        here.store(builder.fmul(weight, misfit), residual_)
        return multiply_add(builder, builder.fmul(weight, scaled), scaled, sums_)

    return sums(sums, blurred, image, weights, residual, unit, j, rest), codegen


@intrinsic
def add_differences(typingctx, sums, pixels, below, right, unit, j, rest):
    """Sums of the squares of differences to the pixels below and to the right, times unit²."""

    def codegen(context, builder, sig, args):
        sums_, pixels_, *others, unit_, j_, rest_ = args
        here = _Lanes(context, builder, pixels, j_, rest, rest_)
        loaded, scale = here.load(pixels_), here.all(unit_)
        for other in others:
            difference = builder.fmul(scale, builder.fsub(here.load(other), loaded))
            sums_ = multiply_add(builder, difference, difference, sums_)
        return sums_

    return sums(sums, pixels, below, right, unit, j, rest), codegen


@intrinsic
def add_gradient(typingctx, sums, correlated, pixels, up, down, left, right, scales, j, rest):
    """The objective's gradient in the place of A^T r, and sums of its squares, of its data part's and its prior's."""

    def codegen(context, builder, sig, args):
        sums_, correlated_, pixels_, *neighbours, scales_, j_, rest_ = args
        here = _Lanes(context, builder, correlated, j_, rest, rest_)
        data_scale, prior_scale, brightness = (here.all(scale) for scale in cgutils.unpack_tuple(builder, scales_))
        loaded = here.load(pixels_)
        first, *others = (builder.fsub(loaded, here.load(neighbour)) for neighbour in neighbours)
        for other in others:
            first = builder.fadd(first, other)
        data, prior = builder.fmul(data_scale, here.load(correlated_)), builder.fmul(prior_scale, first)
        gradient = builder.fadd(data, prior)
        here.store(builder.fmul(brightness, gradient), correlated_)
        before = cgutils.unpack_tuple(builder, sums_)
        parts = [
            multiply_add(builder, part, part, each) for part, each in zip((gradient, data, prior), before, strict=True)
        ]
        return context.make_tuple(builder, sums, parts)

    return sums(sums, correlated, pixels, up, down, left, right, scales, j, rest), codegen


@intrinsic
def copy_lanes(typingctx, source, out, j, rest):
    """``out = source``."""

    def codegen(context, builder, sig, args):
        source_, out_, j_, rest_ = args
        here = _Lanes(context, builder, source, j_, rest, rest_)
        here.store(here.load(source_), out_)
        return context.get_dummy_value()

    return types.void(source, out, j, rest), codegen


@intrinsic
def descend_lanes(typingctx, pixels, gradient, rate, out, j, rest):
    """``out = pixels - rate gradient``."""

    def codegen(context, builder, sig, args):
        pixels_, gradient_, rate_, out_, j_, rest_ = args
        here = _Lanes(context, builder, pixels, j_, rest, rest_)
        moved = multiply_add(builder, here.all(builder.fneg(rate_)), here.load(gradient_), here.load(pixels_))
        here.store(moved, out_)
        return context.get_dummy_value()

    return types.void(pixels, gradient, rate, out, j, rest), codegen


@jit
def copy_line(source, out, cols):
    """Copy a row."""
    width = lanes(source)
    whole = cols - cols % width
    for j in range(0, whole, width):
        copy_lanes(source, out, j, None)
    if whole < cols:
        copy_lanes(source, out, whole, cols - whole)


@jit
def descend_row(pixels, gradient, rate, out, cols):
    """A step of gradient descent."""
    width = lanes(pixels)
    whole = cols - cols % width
    for j in range(0, whole, width):
        descend_lanes(pixels, gradient, rate, out, j, None)
    if whole < cols:
        descend_lanes(pixels, gradient, rate, out, whole, cols - whole)


@jit
def residual_row(sums, blurred, image, weights, residual, cols, unit):
    """residual = weights (blurred - image); adds the weighted squares, times unit^2, to `sums`.

    `weights` may be None: all are 1.
    """
    width = lanes(blurred)
    whole = cols - cols % width
    for j in range(0, whole, width):
        sums = add_misfit(sums, blurred, image, weights, residual, unit, j, None)
    if whole < cols:
        sums = add_misfit(sums, blurred, image, weights, residual, unit, whole, cols - whole)
    return sums


@jit
def difference_squares(sums, pixels, below, cols, unit):
    """Add squares of the differences to the pixels below and to the right, times unit^2, to `sums`."""
    width, right = lanes(pixels), offset(pixels, 1)
    whole = cols - cols % width
    for j in range(0, whole, width):
        sums = add_differences(sums, pixels, below, right, unit, j, None)
    if whole < cols:
        sums = add_differences(sums, pixels, below, right, unit, whole, cols - whole)
    return sums


@jit
def gradient_row(sums, correlated, pixels, up, down, left, right, cols, data_scale, prior_scale, brightness):
    """Turn a row of A^T r into the objective's gradient; add squares to three `sums`.

    They are those of the gradient, of its data part and of its prior part, all divided by `brightness`,
    which is left out of the scales.  Where there is no difference across the border of the estimate,
    a neighbour beyond it is the pixel itself.
    """
    width = lanes(pixels)
    scales, whole = (data_scale, prior_scale, brightness), cols - cols % width
    for j in range(0, whole, width):
        sums = add_gradient(sums, correlated, pixels, up, down, left, right, scales, j, None)
    if whole < cols:
        sums = add_gradient(sums, correlated, pixels, up, down, left, right, scales, whole, cols - whole)
    return sums
