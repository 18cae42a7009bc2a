"""Discrete Fourier transforms of 2 to 16 complex vectors, in registers.

Each lane is a transform of its own.  A complex vector is two registers, its real and its imaginary parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from llvmlite import ir

from ..simd import multiply_add

LANE = ir.IntType(32)


class Complex(NamedTuple):
    """A complex vector: two values of LLVM's."""

    real: Any
    imaginary: Any


class Arithmetic:
    """What transforms do with complex vectors, as instructions of `builder`."""

    def __init__(self, builder: Any, vector: Any):
        self.builder, self.vector = builder, vector

    def constant(self, value: float) -> Any:
        """A vector with the same number in each lane."""
        return ir.Constant(self.vector, [value] * self.vector.count)

    def add(self, x: Complex, y: Complex) -> Complex:
        """x + y."""
        return Complex(self.builder.fadd(x.real, y.real), self.builder.fadd(x.imaginary, y.imaginary))

    def subtract(self, x: Complex, y: Complex) -> Complex:
        """x - y."""
        return Complex(self.builder.fsub(x.real, y.real), self.builder.fsub(x.imaginary, y.imaginary))

    def add_turned(self, x: Complex, y: Complex) -> Complex:
        """x - i y."""
        return Complex(self.builder.fadd(x.real, y.imaginary), self.builder.fsub(x.imaginary, y.real))

    def subtract_turned(self, x: Complex, y: Complex) -> Complex:
        """x + i y."""
        return Complex(self.builder.fsub(x.real, y.imaginary), self.builder.fadd(x.imaginary, y.real))

    def scale(self, factor: float, x: Complex) -> Complex:
        """factor x."""
        constant = self.constant(factor)
        return Complex(self.builder.fmul(x.real, constant), self.builder.fmul(x.imaginary, constant))

    def add_scaled(self, factor: float, x: Complex, y: Complex) -> Complex:
        """y + factor x."""
        constant = self.constant(factor)
        return Complex(
            multiply_add(self.builder, constant, x.real, y.real),
            multiply_add(self.builder, constant, x.imaginary, y.imaginary),
        )

    def multiply(self, x: Complex, w: Complex) -> Complex:
        """w x."""
        b = self.builder
        return Complex(
            multiply_add(b, x.real, w.real, b.fneg(b.fmul(x.imaginary, w.imaginary))),
            multiply_add(b, x.imaginary, w.real, b.fmul(x.real, w.imaginary)),
        )

    def multiply_conjugate(self, x: Complex, w: Complex) -> Complex:
        """Conj(w) x."""
        b = self.builder
        return Complex(
            multiply_add(b, x.real, w.real, b.fmul(x.imaginary, w.imaginary)),
            multiply_add(b, x.imaginary, w.real, b.fneg(b.fmul(x.real, w.imaginary))),
        )

    def transform(self, x: Sequence[Complex]) -> Iterator[tuple[int, Complex]]:
        """The transform of as many numbers as there are vectors: each frequency and its coefficient.

        Numbers are asked for, and frequencies come, in the order that needs the fewest registers: few have to wait in
        memory if they are loaded and stored one by one.
        """
        if len(x) == 8:
            yield from self._eight(x)
        else:
            yield from enumerate(_SMALL[len(x)](self, x))

    def inverse(self, x: Sequence[Complex]) -> Iterator[tuple[int, Complex]]:
        """The transform back, without its factor."""
        if len(x) == 8:
            yield from self._eight_back(x)
        else:
            yield from enumerate(self._back(x))

    def _back(self, x: Sequence[Complex]) -> list[Complex]:
        """The transform of numbers whose parts are swapped, swapped."""
        swapped = _SMALL[len(x)](self, [Complex(x[k].imaginary, x[k].real) for k in range(len(x))])
        return [Complex(each.imaginary, each.real) for each in swapped]

    def _two(self, x: Sequence[Complex]) -> list[Complex]:
        return [self.add(x[0], x[1]), self.subtract(x[0], x[1])]

    def _three(self, x: Sequence[Complex]) -> list[Complex]:
        total = self.add(x[1], x[2])
        mean, side = self.add_scaled(-0.5, total, x[0]), self.scale(math.sqrt(0.75), self.subtract(x[1], x[2]))
        return [self.add(x[0], total), self.add_turned(mean, side), self.subtract_turned(mean, side)]

    def _four(self, x: Sequence[Complex]) -> list[Complex]:
        even, odd = self.add(x[0], x[2]), self.subtract(x[0], x[2])
        first, second = self.add(x[1], x[3]), self.subtract(x[1], x[3])
        return [
            self.add(even, first), self.add_turned(odd, second),
            self.subtract(even, first), self.subtract_turned(odd, second),
        ]  # fmt: skip

    def _five(self, x: Sequence[Complex]) -> list[Complex]:
        (c1, c2), (s1, s2) = ([f(k * math.tau / 5) for k in (1, 2)] for f in (math.cos, math.sin))
        near, far = self.add(x[1], x[4]), self.add(x[2], x[3])
        near_side, far_side = self.subtract(x[1], x[4]), self.subtract(x[2], x[3])
        one = self.add_scaled(c2, far, self.add_scaled(c1, near, x[0]))
        two = self.add_scaled(c1, far, self.add_scaled(c2, near, x[0]))
        one_side = self.add_scaled(s2, far_side, self.scale(s1, near_side))
        two_side = self.add_scaled(-s1, far_side, self.scale(s2, near_side))
        return [
            self.add(x[0], self.add(near, far)), self.add_turned(one, one_side), self.add_turned(two, two_side),
            self.subtract_turned(two, two_side), self.subtract_turned(one, one_side),
        ]  # fmt: skip

    def _odd(self, x: Sequence[Complex]) -> list[Complex]:
        """A prime number of them: cosines of sums, sines of differences, of each and the one as far from the end."""
        count = len(x)
        half = range(1, count // 2 + 1)
        sums = [self.add(x[k], x[count - k]) for k in half]
        sides = [self.subtract(x[k], x[count - k]) for k in half]
        out: list[Any] = [x[0]] + [None] * (count - 1)
        for each in sums:
            out[0] = self.add(out[0], each)
        for q in half:
            even = x[0]
            for k in half:
                even = self.add_scaled(math.cos(math.tau * (q * k % count) / count), sums[k - 1], even)
            odd = self.scale(math.sin(math.tau * q / count), sides[0])
            for k in half[1:]:
                odd = self.add_scaled(math.sin(math.tau * (q * k % count) / count), sides[k - 1], odd)
            out[q], out[count - q] = self.add_turned(even, odd), self.subtract_turned(even, odd)
        return out

    def _eight(self, x: Sequence[Complex]) -> Iterator[tuple[int, Complex]]:
        """Even frequencies from sums, odd ones from differences times powers of exp(-i pi / 4)."""
        b, sums, d = self.builder, [], []
        for k in range(4):
            sums.append(self.add(x[k], x[k + 4]))
            d.append(self.subtract(x[k], x[k + 4]))
        yield from zip((0, 2, 4, 6), self._four(sums), strict=True)
        half = math.sqrt(0.5)
        one = self.scale(half, Complex(b.fadd(d[1].real, d[1].imaginary), b.fsub(d[1].imaginary, d[1].real)))
        # The third's conjugate, so that no sign has to be changed.
        three = self.scale(half, Complex(b.fsub(d[3].imaginary, d[3].real), b.fadd(d[3].real, d[3].imaginary)))
        even, odd = self.add_turned(d[0], d[2]), self.subtract_turned(d[0], d[2])
        first = Complex(b.fadd(one.real, three.real), b.fsub(one.imaginary, three.imaginary))
        second = Complex(b.fsub(one.real, three.real), b.fadd(one.imaginary, three.imaginary))
        yield 1, self.add(even, first)
        yield 5, self.subtract(even, first)
        yield 3, self.add_turned(odd, second)
        yield 7, self.subtract_turned(odd, second)

    def _eight_back(self, x: Sequence[Complex]) -> Iterator[tuple[int, Complex]]:
        """Four even frequencies back, then four odd ones, turned by powers of exp(i pi / 4), added and subtracted."""
        b, even = self.builder, self._back([x[k] for k in (0, 2, 4, 6)])
        odd, half = self._back([x[k] for k in (1, 3, 5, 7)]), math.sqrt(0.5)
        yield 0, self.add(even[0], odd[0])
        yield 4, self.subtract(even[0], odd[0])
        yield 2, self.subtract_turned(even[2], odd[2])
        yield 6, self.add_turned(even[2], odd[2])
        one = self.scale(half, Complex(b.fsub(odd[1].real, odd[1].imaginary), b.fadd(odd[1].real, odd[1].imaginary)))
        yield 1, self.add(even[1], one)
        yield 5, self.subtract(even[1], one)
        # The third's negative.
        three = self.scale(half, Complex(b.fadd(odd[3].real, odd[3].imaginary), b.fsub(odd[3].imaginary, odd[3].real)))
        yield 3, self.subtract(even[3], Complex(three.real, three.imaginary))
        yield 7, self.add(even[3], Complex(three.real, three.imaginary))

    def _sixteen(self, x: Sequence[Complex]) -> list[Complex]:
        """Four of four, twice."""
        columns = [self._four([x[k + 4 * q] for q in range(4)]) for k in range(4)]
        out: list[Any] = [None] * 16
        for q in range(4):
            row = [columns[0][q]]
            for k in range(1, 4):
                angle = math.tau * q * k / 16
                twiddle = Complex(self.constant(math.cos(angle)), self.constant(-math.sin(angle)))
                row.append(self.multiply(columns[k][q], twiddle) if q else columns[k][q])
            out[q::4] = self._four(row)
        return out

    def transpose(self, rows: Sequence[Any]) -> list[Any]:
        """As many vectors as they have lanes, transposed: blocks off the diagonal change places, ever smaller ones."""
        rows, count = list(rows), len(rows)
        step = count // 2
        while step:
            for k in range(count):
                if not k & step:
                    low = [lane if not lane & step else count + lane - step for lane in range(count)]
                    high = [lane + step if not lane & step else count + lane for lane in range(count)]
                    rows[k], rows[k + step] = (self._shuffle(rows[k], rows[k + step], each) for each in (low, high))
            step //= 2
        return rows

    def _shuffle(self, x: Any, y: Any, lanes: list[int]) -> Any:
        return self.builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(LANE, len(lanes)), lanes))


_SMALL: dict[int, Callable[[Arithmetic, Sequence[Complex]], list[Complex]]] = {
    2: Arithmetic._two, 3: Arithmetic._three, 4: Arithmetic._four, 5: Arithmetic._five,
    7: Arithmetic._odd, 11: Arithmetic._odd, 16: Arithmetic._sixteen,
}  # fmt: skip
