"""Codelets on blocks of as many rows of complex vectors as those have lanes (CPU), and on matrices of a few rows."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..simd import INDEX, multiply_add, splat
from .butterflies import Complex
from .codelets import call


@intrinsic
def turn_block(typingctx, block, out):
    """The transpose of a block, real and imaginary parts each."""

    def body(b, z, memory, block, out):
        width = memory.lanes
        for part in (0, width):
            rows = [memory.load(memory.at(block, INDEX(2 * width * k + part))) for k in range(width)]
            for k, column in enumerate(z.transpose(rows)):
                memory.store(column, memory.at(out, INDEX(2 * width * k + part)))

    def codegen(context, builder, sig, args):
        return call(context, builder, "turn", args, block, body)

    return types.void(block, out), codegen


@intrinsic
def divide_rows(typingctx, strip, power, down, across, ridge, floor, factor, count):
    """Multiply a strip's rows by ``factor / max(power + ridge (down + across), floor)``.

    `power` is a vector a row, `down` a number, `across` the same vector for all.
    """

    def body(b, z, memory, strip, power, down, across, *numbers):
        width, (ridge, floor, factor) = memory.lanes, (splat(b, each, z.vector) for each in numbers[:3])
        along = memory.load(memory.at(across, INDEX(0)))
        name = f"llvm.maxnum.v{width}{'f32' if isinstance(z.vector.element, ir.FloatType) else 'f64'}"
        maximum = cgutils.get_or_insert_function(b.module, ir.FunctionType(z.vector, [z.vector] * 2), name)
        with cgutils.for_range(b, numbers[3]) as loop:
            eigenvalue = b.fadd(along, splat(b, b.load(b.gep(down, [loop.index])), z.vector))
            here = memory.load(memory.at(power, b.mul(loop.index, INDEX(width))))
            share = b.fdiv(factor, b.call(maximum, [multiply_add(b, ridge, eigenvalue, here), floor]))
            at = b.mul(loop.index, INDEX(2 * width))
            x = memory.load_complex(strip, at)
            memory.store_complex(Complex(b.fmul(share, x.real), b.fmul(share, x.imaginary)), strip, at)

    def codegen(context, builder, sig, args):
        return call(context, builder, "divide", args, strip, body)

    number = strip.dtype
    return types.void(strip, power, down, across, number, number, number, types.intp), codegen


def _loop_over_vectors(b, memory, pitch, start, step):
    """Sums over the vectors of a row: `step` maps them, and the offset of a vector, to what they become."""
    sums = [cgutils.alloca_once(b, each.type) for each in start]
    for each, value in zip(sums, start, strict=True):
        b.store(value, each)
    with cgutils.for_range(b, b.udiv(pitch, INDEX(memory.lanes))) as loop:
        values = step([b.load(each) for each in sums], b.mul(loop.index, INDEX(memory.lanes)))
        for each, value in zip(sums, values, strict=True):
            b.store(value, each)
    return [b.load(each) for each in sums]


def _sum_of_lanes(b, vector):
    """The sum of a vector's numbers, halves at a time."""
    count = vector.type.count
    while count > 1:
        count //= 2
        lanes = [ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(k, k + count))) for k in (0, count)]
        vector = b.fadd(*(b.shuffle_vector(vector, vector, each) for each in lanes))
    return b.extract_element(vector, ir.Constant(ir.IntType(32), 0))


@intrinsic
def multiply_rows(typingctx, matrix, rows, pitch, values, factor, out, out_pitch):
    """Add `factor` times the products of a matrix's rows with `values` to `out`.

    Rows, values and results are `pitch`, or `out_pitch`, real parts, then as many imaginary ones.
    """

    def body(b, z, memory, matrix, rows, pitch, values, factor, out, out_pitch):
        none = z.constant(0.0)
        with cgutils.for_range(b, rows) as loop:
            row = b.gep(matrix, [b.mul(loop.index, b.mul(pitch, INDEX(2)))])

            def step(sums, at):
                # (Matrices are ordinary arrays.)
                w, x = (
                    Complex(*(memory.load(memory.at(each, index), aligned) for index in (at, b.add(at, pitch))))
                    for each, aligned in ((row, False), (values, True))
                )
                return [
                    multiply_add(b, w.real, x.real, sums[0]), multiply_add(b, w.imaginary, x.imaginary, sums[1]),
                    multiply_add(b, w.real, x.imaginary, sums[2]), multiply_add(b, w.imaginary, x.real, sums[3]),
                ]  # fmt: skip

            sums = _loop_over_vectors(b, memory, pitch, [none] * 4, step)
            real, imaginary = b.fsub(sums[0], sums[1]), b.fadd(sums[2], sums[3])
            for part, index in ((real, loop.index), (imaginary, b.add(loop.index, out_pitch))):
                place = b.gep(out, [index])
                b.store(b.fadd(b.load(place), b.fmul(factor, _sum_of_lanes(b, part))), place)

    def codegen(context, builder, sig, args):
        return call(context, builder, "multiply_rows", args, matrix, body)

    size = types.intp
    return types.void(matrix, size, size, values, matrix.dtype, out, size), codegen


@intrinsic
def add_rows(typingctx, matrix, rows, pitch, values, values_pitch, out):
    """Add a matrix's rows to `out`, their conjugates times `values`: all as for `multiply_rows`."""

    def body(b, z, memory, matrix, rows, pitch, values, values_pitch, out):
        with cgutils.for_range(b, b.udiv(pitch, INDEX(memory.lanes))) as vectors:
            at = b.mul(vectors.index, INDEX(memory.lanes))
            places = [memory.at(out, each) for each in (at, b.add(at, pitch))]
            sums = [cgutils.alloca_once(b, z.vector) for _ in places]
            for each, place in zip(sums, places, strict=True):
                b.store(memory.load(place), each)
            with cgutils.for_range(b, rows) as loop:
                start = b.add(at, b.mul(loop.index, b.mul(pitch, INDEX(2))))
                w = Complex(*(memory.load(memory.at(matrix, index), False) for index in (start, b.add(start, pitch))))
                share = Complex(
                    *(
                        splat(b, b.load(b.gep(values, [index])), z.vector)
                        for index in (loop.index, b.add(loop.index, values_pitch))
                    )
                )
                added = z.multiply_conjugate(share, w)
                for each, value in zip(sums, added, strict=True):
                    b.store(b.fadd(b.load(each), value), each)
            for each, place in zip(sums, places, strict=True):
                memory.store(b.load(each), place)

    def codegen(context, builder, sig, args):
        return call(context, builder, "add_rows", args, matrix, body)

    size = types.intp
    return types.void(matrix, size, size, values, size, out), codegen
