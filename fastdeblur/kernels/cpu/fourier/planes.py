"""Codelets of whole planes' transforms (CPU): two real planes as one complex one.

Rows go to and from strips by transposes in registers, as many rows at a time as a vector has lanes; the frequencies of
the two real planes are parted and put together in pairs of opposite ones; and the x-update of ADMM is solved between
the last pass along columns and the first one back.
"""

from __future__ import annotations

from operator import itemgetter

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..simd import INDEX, multiply_add, splat
from .butterflies import Complex
from .codelets import FIRST, call, legs_of, line_pass_body


@intrinsic
def rows_to_strip(typingctx, first, second, pitch, count, strip):
    """As many rows of two planes as there are lanes to a strip's columns: real parts from one, imaginary ones.

    `count` times as many columns as there are lanes.
    """

    def body(b, z, memory, first, second, pitch, count, strip):
        width = memory.lanes
        with cgutils.for_range(b, count) as loop:
            start, to = b.mul(loop.index, INDEX(width)), b.mul(loop.index, INDEX(2 * width * width))
            for part, plane in ((0, first), (width, second)):
                at = legs_of(b, start, pitch, width)
                rows = [memory.load(memory.at(plane, each), aligned=False) for each in at]
                for k, column in enumerate(z.transpose(rows)):
                    memory.store(column, memory.at(strip, b.add(to, INDEX(2 * width * k + part))))

    def codegen(context, builder, sig, args):
        return call(context, builder, "rows_to_strip", args, first, body)

    return types.void(first, second, types.intp, types.intp, strip), codegen


@intrinsic
def strip_to_rows(typingctx, strip, count, first, second, pitch):
    """The same back."""

    def body(b, z, memory, strip, count, first, second, pitch):
        width = memory.lanes
        with cgutils.for_range(b, count) as loop:
            start, source = b.mul(loop.index, INDEX(width)), b.mul(loop.index, INDEX(2 * width * width))
            for part, plane in ((0, first), (width, second)):
                columns = [
                    memory.load(memory.at(strip, b.add(source, INDEX(2 * width * k + part)))) for k in range(width)
                ]
                for at, row in zip(legs_of(b, start, pitch, width), z.transpose(columns), strict=True):
                    memory.store(row, memory.at(plane, at), aligned=False)

    def codegen(context, builder, sig, args):
        return call(context, builder, "strip_to_rows", args, strip, body)

    return types.void(strip, types.intp, first, second, types.intp), codegen


def _end_pass(name, back):
    """An intrinsic: the pass of a strip's columns that is the first, or the last one back, in place."""
    body = line_pass_body(FIRST, back)

    @intrinsic
    def end_pass(typingctx, strip, step, twiddles):
        def codegen(context, builder, sig, args):
            return call(context, builder, name, args, strip, body)

        return types.void(strip, types.intp, twiddles), codegen

    return end_pass


first_pass = _end_pass("first", back=False)
last_pass_back = _end_pass("last_back", back=True)


def _pair(b, memory, table, index):
    """Offsets in a strip of a frequency and of its negative."""
    start = b.mul(index, INDEX(2))
    return [b.load(b.gep(table, [b.add(start, INDEX(k))])) for k in range(2)]


def _in_groups(b, memory, index):
    """Offset in a block of a frequency of the first plane; of the second's."""
    width = INDEX(memory.lanes)
    group, rest = b.udiv(index, width), b.urem(index, width)
    at = b.add(b.mul(group, INDEX(4 * memory.lanes**2)), b.mul(rest, INDEX(2 * memory.lanes)))
    return at, b.add(at, INDEX(2 * memory.lanes**2))


@intrinsic
def part_frequencies(typingctx, strip, table, count, block):
    """Twice the frequencies of both real planes, from those of the complex one."""

    def body(b, z, memory, strip, table, count, block):
        with cgutils.for_range(b, count) as loop:
            here, there = (memory.load_complex(strip, at) for at in _pair(b, memory, table, loop.index))
            first, second = _in_groups(b, memory, loop.index)
            both = b.fadd(here.real, there.real), b.fsub(here.imaginary, there.imaginary)
            memory.store_complex(Complex(*both), block, first)
            sides = b.fadd(here.imaginary, there.imaginary), b.fsub(there.real, here.real)
            memory.store_complex(Complex(*sides), block, second)

    def codegen(context, builder, sig, args):
        return call(context, builder, "part", args, strip, body)

    return types.void(strip, table, types.intp, block), codegen


@intrinsic
def join_frequencies(typingctx, block, table, count, strip):
    """Frequencies of the complex plane, from those of both real ones."""

    def body(b, z, memory, block, table, count, strip):
        with cgutils.for_range(b, count) as loop:
            first, second = (memory.load_complex(block, at) for at in _in_groups(b, memory, loop.index))
            here, there = _pair(b, memory, table, loop.index)
            memory.store_complex(z.subtract_turned(first, second), strip, here)
            opposite = Complex(b.fadd(first.real, second.imaginary), b.fsub(second.real, first.imaginary))
            memory.store_complex(opposite, strip, there)

    def codegen(context, builder, sig, args):
        return call(context, builder, "join", args, block, body)

    return types.void(block, table, types.intp, strip), codegen


@intrinsic
def solve_group(typingctx, block, psf, down, across, data_rho, rho, second_rho, pixels_rho, unit, scale):
    """The last pass along columns, the x-update of these frequencies, and the first pass back.

    A group holds Z and Y, right-hand side in a `unit` and data, and is left with X and its blur (see `x_update`), times
    `scale`.
    `down` and `across` are the Laplacian's eigenvalues, of the columns' frequencies here and of the group's.
    """

    def body(b, z, memory, block, psf, down, across, *factors):
        width = memory.lanes
        half = INDEX(2 * width * width)

        def row(start, k, part):
            return memory.at(block, b.add(start, INDEX(2 * width * k + part)))

        with cgutils.for_range(b, INDEX(2)) as loop:
            start = b.mul(loop.index, half)
            real, imaginary = (
                z.transpose([memory.load(row(start, k, part)) for k in range(width)]) for part in (0, width)
            )
            for k, each in z.transform([Complex(*pair) for pair in zip(real, imaginary, strict=True)]):
                memory.store_complex(each, block, b.add(start, INDEX(2 * width * k)))
        data_rho, rho, second_rho, pixels_rho, unit, scale = (splat(b, each, z.vector) for each in factors)
        along = memory.load(memory.at(across, INDEX(0)))
        least = f"llvm.maxnum.v{width}{'f32' if isinstance(z.vector.element, ir.FloatType) else 'f64'}"
        maximum = cgutils.get_or_insert_function(b.module, ir.FunctionType(z.vector, [z.vector] * 2), least)
        with cgutils.for_range(b, INDEX(width)) as loop:
            at = b.mul(loop.index, INDEX(2 * width))
            rhs, data = memory.load_complex(block, at), memory.load_complex(block, b.add(at, half))
            k = memory.load_complex(psf, at)
            eigenvalue = b.fadd(along, splat(b, b.load(b.gep(down, [loop.index])), z.vector))
            power = multiply_add(b, k.real, k.real, b.fmul(k.imaginary, k.imaginary))
            rough = multiply_add(b, multiply_add(b, second_rho, eigenvalue, rho), eigenvalue, pixels_rho)
            total = b.call(maximum, [multiply_add(b, data_rho, power, rough), z.constant(1e-30)])
            share = b.fdiv(z.constant(1.0), total)

            def times(factor, x):
                return Complex(b.fmul(factor, x.real), b.fmul(factor, x.imaginary))

            whole = z.add(times(unit, rhs), z.multiply_conjugate(times(data_rho, data), k))
            x = times(scale, times(share, whole))
            memory.store_complex(x, block, at)
            memory.store_complex(z.multiply(x, k), block, b.add(at, half))
        with cgutils.for_range(b, INDEX(2)) as loop:
            start = b.mul(loop.index, half)
            x = [memory.load_complex(block, b.add(start, INDEX(2 * width * k))) for k in range(width)]
            x = [each for _, each in sorted(z.inverse(x), key=itemgetter(0))]
            for part, rows in ((0, [each.real for each in x]), (width, [each.imaginary for each in x])):
                for k, each in enumerate(z.transpose(rows)):
                    memory.store(each, row(start, k, part))

    def codegen(context, builder, sig, args):
        return call(context, builder, "solve", args, block, body)

    factors = [block.dtype] * 6
    return types.void(block, psf, down, across, *factors), codegen
