"""SIMD: vector registers for Numba kernels.

Plain loops reach about half of what the machine can do with a stencil.  Here a tile of
``rows x columns`` vector registers is a tuple of a small custom Numba type, and the four
things a convolution does with it (clear, store, and multiply-add with two ways of sharing what
was loaded) are intrinsics.  LLVM keeps the whole tuple in registers.

Every intrinsic works on a typed pointer (``types.CPointer``); `offset` moves it by elements.
Nothing is checked: whoever calls must know that the memory is there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model

INDEX = ir.IntType(64)


class RegisterShape(NamedTuple):
    """How many rows of how many vectors of how many elements one register tile has."""

    rows: int
    columns: int
    lanes: int

    @property
    def width(self) -> int:
        """Elements in a row of the tile."""
        return self.columns * self.lanes


def cpu_features() -> frozenset[str]:
    """Features of the processor that Numba compiles for (``NUMBA_CPU_NAME`` and the like count)."""
    features = cpu_target.target_context.codegen().magic_tuple()[2]
    return frozenset(name[1:] for name in features.split(",") if name.startswith("+"))


@lru_cache
def register_shape(dtype: Any) -> RegisterShape:
    """Shape of the register tile for float32 or float64 on the processor compiled for.

    Of two rows, each vector that is loaded feeds two multiply-adds, and a psf of `k` rows costs
    `k + 1` sweeps, where four rows cost `k + 3`.  Useful multiply-adds at 13x13 and 25x25 as a
    share of the peak, on one thread with AVX2 (16 registers): 2x6 0.80 and 0.88, 2x5 0.80 and
    0.87, 3x4 0.78 and 0.86, 2x4 0.76 and 0.83, 4x2 0.69 and 0.75.  Without AVX a multiply-add
    needs one more register, so five columns.

    Vectors of a whole cache line, unless aligned, are loaded from two: with two rows the loads, not
    the multiply-adds, take the time.  Times of 2x6, 3x6, 4x4 and 4x5 on Emerald Rapids: 13x13 1.10,
    0.98, 1 and 1.05, 25x25 1.16, 1.01, 1 and 1.05, 5x5 on 100x100 1.25, 1.1, 1 and 1.
    """
    features = cpu_features()
    if "avx512f" in features:
        rows, columns, vector_bytes = 4, 4, 64
    elif "avx2" in features:
        rows, columns, vector_bytes = 2, 6, 32
    else:
        rows, columns, vector_bytes = 2, 5, 16
    return RegisterShape(rows, columns, vector_bytes // np.dtype(dtype).itemsize)


class Vector(types.Type):
    """One vector register."""

    def __init__(self, dtype, lanes):
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"Vector({dtype}, {lanes})")


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        element = ir.FloatType() if fe_type.dtype == types.float32 else ir.DoubleType()
        super().__init__(dmm, fe_type, ir.VectorType(element, fe_type.lanes))


def shape_of(pointer: types.CPointer) -> RegisterShape:
    return register_shape(str(pointer.dtype))


def _tile(pointer: types.CPointer) -> types.UniTuple:
    shape = shape_of(pointer)
    return types.UniTuple(Vector(pointer.dtype, shape.lanes), shape.rows * shape.columns)


def splat(builder, scalar, vector):
    """A vector with `scalar` in each lane."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, lanes)


def multiply_add(builder, a, b, c):
    """The vector a b + c."""
    # fmuladd, not fma: on a target without the instruction the latter is a library call a lane.
    element = "f32" if isinstance(a.type.element, ir.FloatType) else "f64"
    name = f"llvm.fmuladd.v{a.type.count}{element}"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(a.type, [a.type] * 3), name)
    return builder.call(function, [a, b, c])


def _vector_at(builder, pointer, index, vector):
    """Pointer to the `index`-th whole vector behind `pointer`."""
    return builder.gep(builder.bitcast(pointer, vector.as_pointer()), [ir.Constant(INDEX, index)])


def _load(builder, pointer, index, vector):
    loaded = builder.load(_vector_at(builder, pointer, index, vector))
    loaded.align = 4 if isinstance(vector.element, ir.FloatType) else 8
    return loaded


@intrinsic
def offset(typingctx, pointer, elements):
    """`pointer` moved on by `elements`."""

    def codegen(context, builder, sig, args):
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.intp), codegen


@intrinsic
def pointer(typingctx, address, like):
    """The integer `address` as a pointer of the type of `like`."""

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(like))

    return like(types.intp, like), codegen


@intrinsic
def tile_rows(typingctx, like):
    """Rows of a register tile, a compile-time constant."""
    rows = shape_of(like).rows

    def codegen(context, builder, sig, args):
        return ir.Constant(INDEX, rows)

    return types.intp(like), codegen


@intrinsic
def tile_width(typingctx, like):
    """Elements in a row of a register tile, a compile-time constant."""
    width = shape_of(like).width

    def codegen(context, builder, sig, args):
        return ir.Constant(INDEX, width)

    return types.intp(like), codegen


@intrinsic
def zero_tile(typingctx, like):
    """A register tile of zeros."""
    tile = _tile(like)

    def codegen(context, builder, sig, args):
        vector = context.get_value_type(tile.dtype)
        zero = ir.Constant(vector, [0.0] * vector.count)
        return context.make_tuple(builder, tile, [zero] * tile.count)

    return tile(like), codegen


@intrinsic
def add_column_tap(typingctx, tile, source, weights, stride):
    """``tile[r, c] += weights[-r * stride] * source[c]``: every row sees the same pixels.

    The weights are broadcast first and each loaded vector is used up at once, so that a 2x6
    tile needs 15 registers; loading the row first needs 19, spills, and takes over twice as long.
    """
    shape = shape_of(source)

    def codegen(context, builder, sig, args):
        tile_, source_, weights_, stride_ = args
        vector = context.get_value_type(tile.dtype)
        sums = [builder.extract_value(tile_, k) for k in range(tile.count)]
        taps = []
        for r in range(shape.rows):
            index = builder.mul(stride_, ir.Constant(INDEX, -r))
            taps.append(splat(builder, builder.load(builder.gep(weights_, [index])), vector))
        for c in range(shape.columns):
            pixels = _load(builder, source_, c, vector)
            for r in range(shape.rows):
                k = r * shape.columns + c
                sums[k] = multiply_add(builder, taps[r], pixels, sums[k])
        return context.make_tuple(builder, tile, sums)

    return tile(tile, source, weights, types.intp), codegen


def _edge_rows(first):
    """An intrinsic for the lines of pixels that only a tile's first rows see, or its last ones."""

    def add_edge_rows(typingctx, tile, source, pitch, weights, size):
        shape = shape_of(source)

        def codegen(context, builder, sig, args):
            tile_, source_, pitch_, weights_, size_ = args
            vector = context.get_value_type(tile.dtype)
            sums = [cgutils.alloca_once_value(builder, builder.extract_value(tile_, k)) for k in range(tile.count)]
            for u in range(shape.rows - 1):
                line = builder.gep(source_, [builder.mul(pitch_, ir.Constant(INDEX, u))])
                rows = range(u + 1) if first else range(u + 1, shape.rows)
                taps = [
                    builder.gep(weights_, [builder.mul(size_, ir.Constant(INDEX, u - r))])
                    if first
                    else builder.gep(weights_, [builder.mul(size_, builder.add(size_, ir.Constant(INDEX, u - r)))])
                    for r in rows
                ]
                with cgutils.for_range(builder, size_) as loop:
                    factors = [splat(builder, builder.load(builder.gep(each, [loop.index])), vector) for each in taps]
                    pixels_at = builder.gep(line, [loop.index])
                    for c in range(shape.columns):
                        pixels = _load(builder, pixels_at, c, vector)
                        for r, factor in zip(rows, factors, strict=True):
                            at = sums[r * shape.columns + c]
                            builder.store(multiply_add(builder, factor, pixels, builder.load(at)), at)
            return context.make_tuple(builder, tile, [builder.load(each) for each in sums])

        return tile(tile, source, types.intp, weights, types.intp), codegen

    add_edge_rows.__name__ = "add_first_rows" if first else "add_last_rows"
    add_edge_rows.__doc__ = f"""``tile[r, c] += w[{"u" if first else "size + u"} - r, v] source[u pitch + v + c]``.

    Over all columns v of the weights w of `size` x `size`, at least as many as the tile has rows less one, and lines u
    up to that; of each line only the rows r that it has weights for.
    """
    return intrinsic(add_edge_rows)


add_first_rows, add_last_rows = _edge_rows(True), _edge_rows(False)


@intrinsic
def add_row_tap(typingctx, tile, source, pitch, weight):
    """``tile[r, c] += weight[0] * source[r * pitch + c]``: every row sees the same weight."""
    shape = shape_of(source)

    def codegen(context, builder, sig, args):
        tile_, source_, pitch_, weight_ = args
        vector = context.get_value_type(tile.dtype)
        tap = splat(builder, builder.load(weight_), vector)
        sums = []
        for r in range(shape.rows):
            row = builder.gep(source_, [builder.mul(pitch_, ir.Constant(INDEX, r))])
            for c in range(shape.columns):
                pixels = _load(builder, row, c, vector)
                sums.append(multiply_add(builder, tap, pixels, builder.extract_value(tile_, len(sums))))
        return context.make_tuple(builder, tile, sums)

    return tile(tile, source, types.intp, weight), codegen


@intrinsic
def store_tile(typingctx, tile, destination, pitch):
    """``destination[r * pitch + c] = tile[r, c]``."""
    shape = shape_of(destination)

    def codegen(context, builder, sig, args):
        tile_, destination_, pitch_ = args
        vector = context.get_value_type(tile.dtype)
        for r in range(shape.rows):
            row = builder.gep(destination_, [builder.mul(pitch_, ir.Constant(INDEX, r))])
            for c in range(shape.columns):
                store = builder.store(
                    builder.extract_value(tile_, r * shape.columns + c), _vector_at(builder, row, c, vector)
                )
                store.align = 4 if isinstance(vector.element, ir.FloatType) else 8
        return context.get_dummy_value()

    return types.void(tile, destination, types.intp), codegen


@intrinsic
def load_tile(typingctx, source, pitch):
    """A register tile of ``source[r * pitch + c]``."""
    tile, shape = _tile(source), shape_of(source)

    def codegen(context, builder, sig, args):
        source_, pitch_ = args
        vector = context.get_value_type(tile.dtype)
        loaded = []
        for r in range(shape.rows):
            row = builder.gep(source_, [builder.mul(pitch_, ir.Constant(INDEX, r))])
            loaded += [_load(builder, row, c, vector) for c in range(shape.columns)]
        return context.make_tuple(builder, tile, loaded)

    return tile(source, types.intp), codegen


def _reciprocal(builder, divisor):
    """1 / divisor: where processors estimate it faster than they divide, that with a step of Newton's method."""
    vector = divisor.type
    features, key = cpu_features(), (vector.count, isinstance(vector.element, ir.FloatType))
    if key == (16, True) and "avx512f" in features:
        mask = ir.IntType(16)
        arguments = [divisor, ir.Constant(vector, [0.0] * 16), ir.Constant(mask, -1)]
        name, signature = "llvm.x86.avx512.rcp14.ps.512", ir.FunctionType(vector, [vector, vector, mask])
    elif key == (8, True) and "avx" in features:
        arguments, name, signature = [divisor], "llvm.x86.avx.rcp.ps.256", ir.FunctionType(vector, [vector])
    else:
        return builder.fdiv(ir.Constant(vector, [1.0] * vector.count), divisor)
    estimate = builder.call(cgutils.get_or_insert_function(builder.module, signature, name), arguments)
    two = ir.Constant(vector, [2.0] * vector.count)
    return builder.fmul(estimate, multiply_add(builder, builder.fneg(divisor), estimate, two))


# Terms of a potential, and numbers of each: alpha gamma², gamma² and alpha / 2.
TERMS, NUMBERS = 2, 3
# ``1 + gamma² z²`` is taken for at most `_LARGEST`, and where a response's are multiplied for at most that which leaves
# the product a reciprocal (slopes of responses of more than 2^31 / gamma are nobody's); products of `TOGETHER` of the
# first are numbers.
_LARGEST, TOGETHER = 2.0**125, 8
_LARGEST_FACTOR = 2.0 ** (125 // TERMS)


@intrinsic
def store_slopes(typingctx, tile, counted, numbers, products, shares, destination, pitch):
    """``destination[r pitch + c] = z w`` with ``w = sum over m of a[r, m] / (1 + b[r, m] z²)``, where z is tile[r, c].

    a and b are the first two numbers of each row's terms.  Of columns whose `counted` is 1, not 0, w is added to the
    row's vector of `shares`, and divisors are multiplied into the products: a vector, of as many float64 as a register
    has numbers, for each term of each row, which `take_exponents` must look after before they are of more than
    `TOGETHER` columns.
    """
    shape = shape_of(counted)

    def codegen(context, builder, sig, args):
        tile_, counted_, numbers_, products_, shares_, destination_, pitch_ = args
        vector = context.get_value_type(tile.dtype)
        wide, alignment = ir.VectorType(ir.DoubleType(), shape.lanes), np.dtype(str(counted.dtype)).itemsize
        zero, one = (ir.Constant(vector, [value] * shape.lanes) for value in (0.0, 1.0))

        def at_most(value, most):
            most = ir.Constant(vector, [most] * shape.lanes)
            return builder.select(builder.fcmp_ordered("<", value, most), value, most)

        def number(r, m, n):
            at = builder.gep(numbers_, [ir.Constant(INDEX, (r * TERMS + m) * NUMBERS + n)])
            return splat(builder, builder.load(at), vector)

        masks = [builder.fcmp_ordered("!=", _load(builder, counted_, c, vector), zero) for c in range(shape.columns)]
        for r in range(shape.rows):
            a, b = ([number(r, m, n) for m in range(TERMS)] for n in (0, 1))
            product = [_load(builder, products_, r * TERMS + m, wide) for m in range(TERMS)]
            total = _load(builder, shares_, r, vector)
            line = builder.gep(destination_, [builder.mul(pitch_, ir.Constant(INDEX, r))])
            for c, mask in enumerate(masks):
                response = builder.extract_value(tile_, r * shape.columns + c)
                square, above, below = builder.fmul(response, response), a[0], None
                for m in range(TERMS):
                    factor = multiply_add(builder, b[m], square, one)
                    divisor, factor = (at_most(factor, most) for most in (_LARGEST_FACTOR, _LARGEST))
                    if below is None:
                        below = divisor
                    else:
                        above = multiply_add(builder, above, divisor, builder.fmul(a[m], below))
                        below = builder.fmul(below, divisor)
                    factor = builder.select(mask, factor, one)
                    if vector != wide:
                        factor = builder.fpext(factor, wide)
                    product[m] = builder.fmul(product[m], factor)
                share = builder.fmul(above, _reciprocal(builder, below))
                builder.store(builder.fmul(response, share), _vector_at(builder, line, c, vector)).align = alignment
                total = builder.fadd(total, builder.select(mask, share, zero))
            for m, value in enumerate(product):
                builder.store(value, _vector_at(builder, products_, r * TERMS + m, wide)).align = 8
            builder.store(total, _vector_at(builder, shares_, r, vector)).align = alignment
        return context.get_dummy_value()

    return types.void(tile, counted, numbers, products, shares, destination, types.intp), codegen


@intrinsic
def take_exponents(typingctx, products, like):
    """Make products numbers between 1 and 2, and add their exponents to what lies behind all of them."""
    shape = shape_of(like)

    def codegen(context, builder, sig, args):
        products_, _ = args
        wide, bits = ir.VectorType(ir.DoubleType(), shape.lanes), ir.VectorType(INDEX, shape.lanes)

        def of_bits(value):
            return ir.Constant(bits, [value] * shape.lanes)

        count = shape.rows * TERMS
        for k in range(count):
            whole = builder.bitcast(_load(builder, products_, k, wide), bits)
            # An exponent in the last digits of 2^52 is that number and the exponent.
            power = builder.or_(builder.lshr(whole, of_bits(52)), of_bits(0x433 << 52))
            power = builder.fsub(builder.bitcast(power, wide), ir.Constant(wide, [2.0**52 + 1023] * shape.lanes))
            product = builder.or_(builder.and_(whole, of_bits((1 << 52) - 1)), of_bits(1023 << 52))
            sums = builder.fadd(_load(builder, products_, count + k, wide), power)
            for at, value in ((k, builder.bitcast(product, wide)), (count + k, sums)):
                builder.store(value, _vector_at(builder, products_, at, wide)).align = 8
        return context.get_dummy_value()

    return types.void(products, like), codegen


@intrinsic
def real(typingctx, value, like):
    """A float64 `value` in the precision of the pixels behind `like`."""

    def codegen(context, builder, sig, args):
        return context.cast(builder, args[0], types.float64, like.dtype)

    return like.dtype(types.float64, like), codegen


@intrinsic
def doubles(typingctx, address):
    """The integer `address` as a pointer to float64."""

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(types.CPointer(types.float64)))

    return types.CPointer(types.float64)(types.intp), codegen


@intrinsic
def doubles_at(typingctx, pixels):
    """A pointer to pixels as one to float64."""

    def codegen(context, builder, sig, args):
        return builder.bitcast(args[0], context.get_value_type(types.CPointer(types.float64)))

    return types.CPointer(types.float64)(pixels), codegen


@intrinsic
def integers(typingctx, address):
    """The integer `address` as a pointer to integers."""

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(types.CPointer(types.intp)))

    return types.CPointer(types.intp)(types.intp), codegen


@intrinsic
def complexes(typingctx, pixels):
    """A pointer to real numbers as one to complex numbers of the same precision."""
    number = types.complex64 if pixels.dtype == types.float32 else types.complex128

    def codegen(context, builder, sig, args):
        return builder.bitcast(args[0], context.get_value_type(types.CPointer(number)))

    return types.CPointer(number)(pixels), codegen


# The integer that has the bits of a number; how many bits those are and how many of them digits, and those of 1 and
# root ½.
_INTEGERS = {types.float32: types.int32, types.float64: types.int64}
_FORMATS = {
    number: (width, digits, *(int(np.asarray(each, f"f{width // 8}").view(f"i{width // 8}")) for each in (1, 0.5**0.5)))
    for number, width, digits in ((types.float32, 32, 23), (types.float64, 64, 52))
}


@intrinsic
def bits_of(typingctx, value):
    """The bits of a number, as an integer."""

    def codegen(context, builder, sig, args):
        return builder.bitcast(args[0], ir.IntType(sig.return_type.bitwidth))

    return _INTEGERS[value](value), codegen


@intrinsic
def from_bits(typingctx, bits, like):
    """The number that has these bits, of the type of `like`."""

    def codegen(context, builder, sig, args):
        return builder.bitcast(args[0], args[1].type)

    return like(_INTEGERS[like], like), codegen


def _above_half(builder, value, number):
    """The bits of a positive number, less those of root ½ and with those of 1."""
    width, _, one, half = _FORMATS[number]
    return builder.add(builder.bitcast(value, ir.IntType(width)), ir.IntType(width)(one - half))


@intrinsic
def significand(typingctx, value):
    """A positive number divided by a power of two: what is left is between root ½ and root 2."""

    def codegen(context, builder, sig, args):
        width, digits, _, half = _FORMATS[value]
        integer = ir.IntType(width)
        bits = builder.and_(_above_half(builder, args[0], value), integer((1 << digits) - 1))
        return builder.bitcast(builder.add(bits, integer(half)), args[0].type)

    return value(value), codegen


@intrinsic
def exponent(typingctx, value):
    """The exponent of the power of two that `significand` divides by."""

    def codegen(context, builder, sig, args):
        width, digits, one, _ = _FORMATS[value]
        whole = builder.lshr(_above_half(builder, args[0], value), ir.IntType(width)(digits))
        if width > 32:  # vectors of 32 bits become float64 at once
            whole = builder.trunc(whole, ir.IntType(32))
        return builder.sitofp(builder.sub(whole, ir.IntType(32)(one >> digits)), args[0].type)

    return value(value), codegen


@intrinsic
def lanes(typingctx, like):
    """Elements of a vector, a compile-time constant."""
    count = shape_of(like).lanes

    def codegen(context, builder, sig, args):
        return ir.Constant(INDEX, count)

    return types.intp(like), codegen


@intrinsic
def address_of(typingctx, pointer):
    """A pointer as an integer, in elements; what is less than one is lost."""
    itemsize = pointer.dtype.bitwidth // 8

    def codegen(context, builder, sig, args):
        return builder.udiv(builder.ptrtoint(args[0], INDEX), INDEX(itemsize))

    return types.intp(pointer), codegen


@intrinsic
def stream(typingctx, source, out):
    """Copy one vector to an address that is a multiple of its size, past the caches."""
    shape = shape_of(source)

    def codegen(context, builder, sig, args):
        vector = ir.VectorType(context.get_value_type(source.dtype), shape.lanes)
        store = builder.store(_load(builder, args[0], 0, vector), builder.bitcast(args[1], vector.as_pointer()))
        store.align = shape.lanes * source.dtype.bitwidth // 8
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(source, source), codegen


@intrinsic
def fence(typingctx):
    """Fence: streamed stores become visible before all later ones."""

    def codegen(context, builder, sig, args):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen
