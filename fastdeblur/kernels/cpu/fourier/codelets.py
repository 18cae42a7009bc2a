"""Codelets: the passes that transforms are made of, each one loop over butterflies of one radix.

Memory is in *strips*: as many columns as a vector has lanes, row after row, of each row the vector of real parts, then
that of imaginary parts.  Forward passes decimate in frequency, the passes back in time, all in place, and frequencies
are in the order that this leaves (see `plan.order`): a convolution need not know it.

A pass is a function of its own in the module of the task that calls it, compiled once however often it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..simd import INDEX, register_shape, splat
from .butterflies import Arithmetic, Complex

# Radices of the passes between; of the first there is one, of the last two.
RADICES = (2, 3, 4, 5, 7, 8, 11)
FIRST = 4
LAST = (4, 8)
# Of the passes of single lines but the last.
LINE_RADICES = (3, 4, 5, 7, 8, 11)


class Lazy(Sequence[Complex]):
    """Complex vectors that are loaded, or else made, when first asked for."""

    def __init__(self, make: Callable[[int], Complex], count: int):
        self._make, self._made = make, dict.fromkeys(range(count), None)

    def __len__(self) -> int:
        return len(self._made)

    def __getitem__(self, k: Any) -> Any:
        if self._made[k] is None:
            self._made[k] = self._make(k)
        return self._made[k]


class Memory:
    """Loads from and stores to memory of vectors, by offsets in elements."""

    def __init__(self, builder: Any, vector: Any):
        self._builder, self._vector, self.lanes = builder, vector, vector.count
        self.itemsize = 4 if isinstance(vector.element, ir.FloatType) else 8

    def at(self, pointer: Any, index: Any) -> Any:
        """A pointer to the vector that starts at an element."""
        return self._builder.bitcast(self._builder.gep(pointer, [index]), self._vector.as_pointer())

    def load(self, pointer: Any, aligned: bool = True) -> Any:
        """The vector at a pointer to one."""
        loaded = self._builder.load(pointer)
        loaded.align = self.itemsize * (self.lanes if aligned else 1)
        return loaded

    def store(self, value: Any, pointer: Any, aligned: bool = True) -> None:
        """Store a vector at a pointer to one."""
        stored = self._builder.store(value, pointer)
        stored.align = self.itemsize * (self.lanes if aligned else 1)

    def prefetch(self, pointer: Any) -> None:
        """Begin to bring a line to the cache that is soon wanted; it need not be there at all."""
        address, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = cgutils.get_or_insert_function(
            self._builder.module, ir.FunctionType(ir.VoidType(), [address] + [number] * 3), "llvm.prefetch.p0"
        )
        self._builder.call(function, [self._builder.bitcast(pointer, address), number(1), number(3), number(1)])

    def load_complex(self, pointer: Any, index: Any) -> Complex:
        """Two vectors that follow each other."""
        behind = self._builder.add(index, INDEX(self.lanes))
        return Complex(self.load(self.at(pointer, index)), self.load(self.at(pointer, behind)))

    def store_complex(self, value: Complex, pointer: Any, index: Any) -> None:
        """Store two vectors, one after the other."""
        self.store(value.real, self.at(pointer, index))
        self.store(value.imaginary, self.at(pointer, self._builder.add(index, INDEX(self.lanes))))


def call(context: Any, builder: Any, name: str, args: Any, pixels: Any, body: Callable[..., None]) -> Any:
    """Call the module's function of this name, which `body` writes if there is none yet."""
    element = context.get_value_type(pixels.dtype)
    vector = ir.VectorType(element, register_shape(str(pixels.dtype)).lanes)
    name = f"fourier_{name}_{pixels.dtype}"
    function = builder.module.globals.get(name)
    if function is None:
        kind = ir.FunctionType(ir.VoidType(), [each.type for each in args])
        function = ir.Function(builder.module, kind, name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        inside = ir.IRBuilder(function.append_basic_block())
        body(inside, Arithmetic(inside, vector), Memory(inside, vector), *function.args)
        inside.ret_void()
    builder.call(function, args)
    return context.get_dummy_value()


def legs_of(builder: Any, start: Any, step: Any, radix: int) -> list[Any]:
    return [builder.add(start, builder.mul(step, INDEX(q))) for q in range(radix)]


def scalar_twiddles(builder: Any, vector: Any, pointer: Any, index: Any, radix: int) -> list[Complex]:
    """A butterfly's twiddles, the same in all lanes."""
    start = builder.mul(index, INDEX(2 * (radix - 1)))
    numbers = [
        splat(builder, builder.load(builder.gep(pointer, [builder.add(start, INDEX(k))])), vector)
        for k in range(2 * (radix - 1))
    ]
    return [Complex(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]


def _turned_pass(radix: int, back: bool) -> Callable[..., None]:
    """What a pass with twiddles does, before (`back`) or behind its butterflies."""

    def body(
        b: Any, z: Arithmetic, memory: Memory, data: Any, step: Any, twiddles: Any, step_twiddles: Any, count: Any
    ):
        width = INDEX(2 * memory.lanes)
        with cgutils.for_range(b, count) as loop:
            legs = legs_of(b, b.mul(loop.index, width), step, radix)
            weights = legs_of(b, b.mul(loop.index, step_twiddles), width, radix - 1)

            def twiddle(k: int) -> Complex:
                return memory.load_complex(twiddles, weights[k - 1])

            def loaded(k: int) -> Complex:
                x = memory.load_complex(data, legs[k])
                return z.multiply_conjugate(x, twiddle(k)) if back and k else x

            x = Lazy(loaded, radix)
            for k, each in z.inverse(x) if back else z.transform(x):
                memory.store_complex(each if back or not k else z.multiply(each, twiddle(k)), data, legs[k])

    return body


def _last_pass(radix: int, back: bool) -> Callable[..., None]:
    """What a pass does that has no twiddles."""

    def body(b: Any, z: Arithmetic, memory: Memory, data: Any, count: Any) -> None:
        width = 2 * memory.lanes
        with cgutils.for_range(b, count) as loop:
            legs = legs_of(b, b.mul(loop.index, INDEX(width * radix)), INDEX(width), radix)
            x = Lazy(lambda k: memory.load_complex(data, legs[k]), radix)
            for k, each in z.inverse(x) if back else z.transform(x):
                memory.store_complex(each, data, legs[k])

    return body


def _by_radix(name: str, make: Callable[[int, bool], Callable[..., None]], radices: tuple[int, ...], back: bool) -> Any:
    """Code that calls the codelet of a radix, its first argument."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        for radix in radices:
            with builder.if_then(builder.icmp_signed("==", args[0], INDEX(radix))):
                call(context, builder, f"{name}_{radix}", args[1:], sig.args[1], make(radix, back))
        return context.get_dummy_value()

    return codegen


@intrinsic
def forward_pass(typingctx, radix, data, step, twiddles, step_twiddles, count):
    """`count` butterflies next to each other in a strip, whose legs are `step` elements apart.

    A butterfly's twiddles, complex vectors, are `step_twiddles` elements behind those of the one before.
    """
    size = types.intp
    signature = types.void(size, data, size, twiddles, size, size)
    return signature, _by_radix("pass", _turned_pass, RADICES, back=False)


@intrinsic
def backward_pass(typingctx, radix, data, step, twiddles, step_twiddles, count):
    """The same back."""
    size = types.intp
    signature = types.void(size, data, size, twiddles, size, size)
    return signature, _by_radix("back", _turned_pass, RADICES, back=True)


def line_pass_body(radix: int, back: bool) -> Callable[..., None]:
    """What a pass of a strip's columns does: `step` butterflies next to each other, whose legs are as far apart.

    All lanes have the same twiddles, numbers that are loaded once for all.
    """

    def body(b: Any, z: Arithmetic, memory: Memory, strip: Any, step: Any, twiddles: Any) -> None:
        with cgutils.for_range(b, step) as loop:
            legs = [b.mul(row, INDEX(2 * memory.lanes)) for row in legs_of(b, loop.index, step, radix)]
            turns = scalar_twiddles(b, z.vector, twiddles, loop.index, radix)

            def loaded(k: int) -> Complex:
                x = memory.load_complex(strip, legs[k])
                return z.multiply_conjugate(x, turns[k - 1]) if back and k else x

            x = Lazy(loaded, radix)
            for k, each in z.inverse(x) if back else z.transform(x):
                memory.store_complex(each if back or not k else z.multiply(each, turns[k - 1]), strip, legs[k])

    return body


@intrinsic
def line_pass(typingctx, radix, strip, step, twiddles):
    """A pass of a strip's columns, in place: `step` butterflies whose legs are so many rows apart."""
    signature = types.void(types.intp, strip, types.intp, twiddles)
    return signature, _by_radix("line", line_pass_body, LINE_RADICES, back=False)


@intrinsic
def line_pass_back(typingctx, radix, strip, step, twiddles):
    """The same back."""
    signature = types.void(types.intp, strip, types.intp, twiddles)
    return signature, _by_radix("line_back", line_pass_body, LINE_RADICES, back=True)


@intrinsic
def last_pass(typingctx, radix, data, count):
    """`count` butterflies of as many rows as the radix, which follow each other in a strip."""
    return types.void(types.intp, data, types.intp), _by_radix("last", _last_pass, LAST, back=False)


@intrinsic
def first_pass_back(typingctx, radix, data, count):
    """The same back."""
    return types.void(types.intp, data, types.intp), _by_radix("first_back", _last_pass, LAST, back=True)


@intrinsic
def load_pass(typingctx, first, second, pitch, first_rows, second_rows, step, twiddles, strip):
    """The first pass of a strip's columns: real parts from one image, imaginary ones from another.

    After so many rows each is zero.  The four legs are `step` rows apart.
    """

    def body(b, z, memory, first, second, pitch, first_rows, second_rows, step, twiddles, strip):
        nothing = cgutils.alloca_once(b, z.vector)
        nothing.align = memory.itemsize * memory.lanes
        memory.store(z.constant(0.0), nothing)

        def row_of(image, row, rows):
            inside = b.icmp_signed("<", row, rows)
            return memory.load(b.select(inside, memory.at(image, b.mul(row, pitch)), nothing), aligned=False)

        with cgutils.for_range(b, step) as loop:
            rows = legs_of(b, loop.index, step, FIRST)
            turns = scalar_twiddles(b, z.vector, twiddles, loop.index, FIRST)
            x = [Complex(row_of(first, row, first_rows), row_of(second, row, second_rows)) for row in rows]
            for k, each in z.transform(x):
                turned = z.multiply(each, turns[k - 1]) if k else each
                memory.store_complex(turned, strip, b.mul(rows[k], INDEX(2 * memory.lanes)))

    def codegen(context, builder, sig, args):
        return call(context, builder, "load", args, first, body)

    size = types.intp
    return types.void(first, second, size, size, size, size, twiddles, strip), codegen


@intrinsic
def store_pass(typingctx, strip, step, twiddles, first, second, pitch, first_rows, second_rows):
    """The last pass back of a strip's columns: so many rows of real parts to one image, of the others to another."""

    def body(b, z, memory, strip, step, twiddles, first, second, pitch, first_rows, second_rows):
        with cgutils.for_range(b, step) as loop:
            rows = legs_of(b, loop.index, step, FIRST)
            x = [memory.load_complex(strip, b.mul(row, INDEX(2 * memory.lanes))) for row in rows]
            turns = scalar_twiddles(b, z.vector, twiddles, loop.index, FIRST)
            x[1:] = [z.multiply_conjugate(*pair) for pair in zip(x[1:], turns, strict=True)]
            for k, each in z.inverse(x):
                for part, image, count in ((each.real, first, first_rows), (each.imaginary, second, second_rows)):
                    with b.if_then(b.icmp_signed("<", rows[k], count), likely=True):
                        memory.store(part, memory.at(image, b.mul(rows[k], pitch)), aligned=False)

    def codegen(context, builder, sig, args):
        return call(context, builder, "store", args, strip, body)

    size = types.intp
    return types.void(strip, size, twiddles, first, second, size, size, size), codegen


@intrinsic
def filter_block(typingctx, block, spectrum):
    """The last pass of rows, the product with the psf's spectrum, and the first pass back.

    A block is as many rows as columns, those of a strip; it is transposed in registers, there and back.
    """

    def body(b, z, memory, block, spectrum):
        width = memory.lanes
        real, imaginary = (
            z.transpose([memory.load(memory.at(block, INDEX(2 * width * k + part))) for k in range(width)])
            for part in (0, width)
        )
        for k in range(2 * width * width * memory.itemsize // 64):
            memory.prefetch(memory.at(block, INDEX(2 * width * width + 64 // memory.itemsize * k)))
        products = {}
        for k, each in z.transform([Complex(*pair) for pair in zip(real, imaginary, strict=True)]):
            products[k] = z.multiply(each, memory.load_complex(spectrum, INDEX(2 * width * k)))
        x = [each for _, each in sorted(z.inverse([products[k] for k in range(width)]), key=itemgetter(0))]
        for part, rows in ((0, [each.real for each in x]), (width, [each.imaginary for each in x])):
            for k, row in enumerate(z.transpose(rows)):
                memory.store(row, memory.at(block, INDEX(2 * width * k + part)))

    def codegen(context, builder, sig, args):
        return call(context, builder, "filter", args, block, body)

    return types.void(block, spectrum), codegen
