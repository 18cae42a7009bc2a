"""Plans of two-dimensional transforms: radices, twiddles and where things lie; nothing here is compiled."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np

from .codelets import FIRST

# Bytes after which addresses fall into the same set of a first-level cache, and those of one line of it.
SETS, LINE = 4096, 64
# Lengths of whole planes' transforms are multiples of a number, and have these odd factors.
PLANE_STEP, PLANE_PRIMES = 16, (11, 7, 5, 3)
# The same of single lines' transforms.
LINE_STEP = 4


def radices_down(length: int) -> list[int]:
    """Radices of a transform of columns: the first is 4, the last 4 or 8; none if the length is not 16, 32, 48 ..."""
    twos, odd = _factors(length)
    if twos < 4 or odd is None:
        return []
    return [FIRST, *odd, *_power(twos - 2)]


def radices_across(length: int, lanes: int) -> list[int] | None:
    """Radices of a transform of rows before its last pass, whose radix is `lanes`; None where there are none such."""
    strips, rest = divmod(length, lanes)
    twos, odd = _factors(strips)
    if rest or not strips or twos == 1 or odd is None:
        return None
    return [*odd, *_power(twos)]


def radices_of_planes(rows: int, cols: int, lanes: int) -> tuple[list[int], list[int]] | None:
    """Radices of a plane's columns before the last pass, whose radix is `lanes`, and of its rows, as a strip's.

    Here 7, 11 and 2 are radices, too.  None where there are none such.
    """
    (strips, rest), (twos, odd) = divmod(rows, lanes), _factors(cols, PLANE_PRIMES)
    down, odd_down = _factors(strips, PLANE_PRIMES)
    if rest or twos < 4 or odd is None or odd_down is None or not strips:
        return None
    return [*odd_down, *([2] if down == 1 else _power(down))], [FIRST, *odd, *_power(twos - 2)]


def plane_length(least: int) -> int:
    """The smallest length, from `least` on, that planes of all dtypes and processors have transforms for."""
    length = PLANE_STEP * -(-least // PLANE_STEP)
    while _factors(length, PLANE_PRIMES)[1] is None:
        length += PLANE_STEP
    return length


def line_length(least: int) -> int:
    """The smallest length, from `least` on, that lines have transforms for (see `LinePlan`)."""
    length = LINE_STEP * -(-least // LINE_STEP)
    while _factors(length, PLANE_PRIMES)[1] is None:
        length += LINE_STEP
    return length


def _power(twos: int) -> list[int]:
    """A power of two, but 2 itself, as a product of as many 8 as can be, and 4."""
    fours = -twos % 3
    return [4] * fours + [8] * ((twos - 2 * fours) // 3)


def _factors(length: int, primes: tuple[int, ...] = (5, 3)) -> tuple[int, list[int] | None]:
    """How often 2 is a factor of a length, and its other factors if they are some primes."""
    twos, odd = 0, []
    while length and length % 2 == 0:
        length, twos = length // 2, twos + 1
    for factor in primes:
        while length and length % factor == 0:
            length //= factor
            odd.append(factor)
    return twos, odd if length == 1 else None


def order(radices: Iterable[int]) -> np.ndarray:
    """The frequency at each place after passes of these radices that decimate in frequency."""
    size = length = prod(radices)
    places, frequencies, step = np.arange(length), np.zeros(length, int), 1
    for radix in radices:
        size //= radix
        frequencies += step * (places // size % radix)
        step *= radix
    return frequencies


class TransformPlan:
    """How a window of rows x cols is transformed, in registers of so many `lanes`.

    Attributes
    ----------
    down, across : list of int
        Radices of the columns' passes; of the rows', before the last.
    strip : int
        Elements from strip to strip.
    size : int
        Elements of all strips.
    """

    def __init__(self, rows: int, cols: int, lanes: int, itemsize: int):
        across = radices_across(cols, lanes)
        self.down = radices_down(rows)
        if not self.down or across is None or rows % lanes:
            raise ValueError(f"no transforms of {rows}x{cols} with {lanes} lanes")
        self.across, self.rows, self.cols, self._lanes = across, rows, cols, lanes
        block = 2 * lanes * lanes
        # A block of each strip goes through the cache at a time, so they must not all fall into the same sets.
        blocks = rows // lanes
        if block * itemsize < SETS and blocks % 2 == 0:
            blocks += 1
        self.strip = blocks * block
        self.size = cols // lanes * self.strip

    def spectrum(self, weights: np.ndarray) -> np.ndarray:
        """Coefficients of the correlation with weights, in the order in which the kernel meets them.

        They have the factors that the transforms back leave out.
        """
        rows, cols, lanes = self.rows, self.cols, self._lanes
        padded = np.zeros((rows, cols))
        padded[: weights.shape[0], : weights.shape[1]] = weights
        coefficients = np.conj(np.fft.fft2(padded)) / (rows * cols)
        coefficients = coefficients[order(self.down)][:, order([*self.across, lanes])]
        # Block of rows, strip, frequency within it, part, row of the block.
        blocks = coefficients.reshape(rows // lanes, lanes, cols // lanes, lanes).transpose(0, 2, 3, 1)
        return np.stack([blocks.real, blocks.imag], axis=3).ravel()

    def twiddles_first(self) -> np.ndarray:
        """Those of the columns' first pass, one number each."""
        return first_twiddles(self.down)

    def twiddles_down(self) -> np.ndarray:
        """Those of the columns' passes between the first and the last, as vectors of the same number."""
        return equal_twiddles(self.down, self._lanes)

    def twiddles_across(self) -> np.ndarray:
        """Vectors of the numbers of neighbouring columns, for each pass but the last."""
        return neighbouring_twiddles([*self.across, self._lanes], self._lanes)


class PlanePlan:
    """How a plane of rows x cols is transformed whose real and imaginary parts are two real planes.

    As many rows as a vector has `lanes` are a strip's columns, and go to frequencies first.  Those are then parted:
    of the first real plane's, half are enough, and of the second's.  These lie in as many blocks as there are strips,
    in groups of `lanes` frequencies: a group's of the first plane, then of the second.  Along the plane's columns a
    group's transforms are those of rows across strips.

    Attributes
    ----------
    down, across : list of int
        Radices of the plane's columns' passes before the last; of its rows' passes.
    frequencies, groups : int
        Along rows; groups of as many as there are lanes.
    block, size : int
        Elements from block to block, so that they do not fall into the same sets of a cache; of all blocks.
    """

    def __init__(self, rows: int, cols: int, lanes: int):
        radices = radices_of_planes(rows, cols, lanes)
        if radices is None:
            raise ValueError(f"no transforms of planes of {rows}x{cols} with {lanes} lanes")
        self.rows, self.cols, self._lanes = rows, cols, lanes
        self.down, self.across = radices
        self.frequencies = cols // 2 + 1
        self.groups = -(-self.frequencies // lanes)
        self.block = 4 * lanes * lanes * (self.groups | 1)
        self.size = rows // lanes * self.block

    def pairs(self) -> np.ndarray:
        """Offsets in a strip of each frequency along rows, and of its negative."""
        return opposite_pairs(self.across, self._lanes)

    def in_groups(self, along: np.ndarray) -> np.ndarray:
        """Numbers for each frequency along rows, and zeros as far as groups go."""
        whole = np.zeros((*along.shape[:-1], self.groups * self._lanes), along.dtype)
        whole[..., : self.frequencies] = along
        return whole

    @property
    def size_of_spectrum(self) -> int:
        """Elements of what `order_spectrum` writes."""
        return 2 * self.rows * self.groups * self._lanes

    def order_spectrum(self, coefficients: np.ndarray, out: np.ndarray) -> None:
        """Write coefficients of a real plane, rows x frequencies, in the order in which the kernel meets them."""
        lanes = self._lanes
        ordered = self.in_groups(coefficients[self.order_down()])
        # Group, block, frequency of the last pass, part, frequency of the group.
        groups = ordered.reshape(self.rows // lanes, lanes, self.groups, lanes).transpose(2, 0, 1, 3)
        parts = out.reshape(self.groups, self.rows // lanes, lanes, 2, lanes)
        parts[..., 0, :], parts[..., 1, :] = groups.real, groups.imag

    def order_down(self) -> np.ndarray:
        """The frequency at each place of the plane's columns."""
        return order([*self.down, self._lanes])

    def twiddles_first(self) -> np.ndarray:
        """Those of the rows' first pass, one number each."""
        return first_twiddles(self.across)

    def twiddles_across(self) -> np.ndarray:
        """Those of the rows' passes between the first and the last, as vectors of the same number."""
        return equal_twiddles(self.across, self._lanes)

    def twiddles_down(self) -> np.ndarray:
        """Those of the columns' passes but the last, as vectors of neighbouring rows' numbers."""
        return neighbouring_twiddles([*self.down, self._lanes], self._lanes)


class LinePlan:
    """How lines are transformed that are a strip's columns, as long as a multiple of 4 with factors up to 11.

    Attributes
    ----------
    radices : list of int
        Of all passes; the last is 4 or 8.
    frequencies : int
        Of real lines.
    """

    def __init__(self, length: int):
        twos, odd = _factors(length, PLANE_PRIMES)
        if twos < 2 or odd is None:
            raise ValueError(f"no transforms of lines of {length}")
        last, *twos_before = _power(twos)
        # The first pass leaves parts that should fit a cache.
        self.radices = [*sorted([*odd, *twos_before], reverse=True), last]
        self.length, self.frequencies = length, length // 2 + 1

    def order(self) -> np.ndarray:
        """The frequency at each place."""
        return order(self.radices)

    def pairs(self, lanes: int) -> np.ndarray:
        """Offsets in a strip of each frequency of real lines, and of its negative."""
        return opposite_pairs(self.radices, lanes)

    def radices_table(self) -> np.ndarray:
        """How many passes there are before the last, then all their radices."""
        return np.array([len(self.radices) - 1, *self.radices])

    def twiddles(self) -> np.ndarray:
        """Those of all passes but the last, one number each."""
        tables = [np.zeros((0, 2))]
        for table in list(_twiddles(self.radices))[:-1]:
            tables.append(np.stack([table.real, table.imag], axis=-1).reshape(-1, 2))
        return np.concatenate(tables).ravel()


def opposite_pairs(radices: list[int], lanes: int) -> np.ndarray:
    """Offsets in a strip, after passes of these radices, of each frequency of real lines and of its negative."""
    places = np.argsort(order(radices))
    frequencies = np.arange(len(places) // 2 + 1)
    return 2 * lanes * np.stack([places[frequencies], places[-frequencies]], axis=1)


def first_twiddles(radices: list[int]) -> np.ndarray:
    """Twiddles of the first pass, one number each."""
    table = next(iter(_twiddles(radices)))
    return np.stack([table.real, table.imag], axis=-1).ravel()


def equal_twiddles(radices: list[int], lanes: int) -> np.ndarray:
    """Twiddles of the passes between the first and the last, as vectors of the same number."""
    tables = [np.zeros(0)]
    for table in list(_twiddles(radices))[1:-1]:
        vectors = np.broadcast_to(table[..., None], (*table.shape, lanes))
        tables.append(np.stack([vectors.real, vectors.imag], axis=2).ravel())
    return np.concatenate(tables)


def neighbouring_twiddles(radices: list[int], lanes: int) -> np.ndarray:
    """Twiddles of the passes but the last, as vectors of the numbers of neighbouring lines."""
    tables = [np.zeros(0)]
    for table in list(_twiddles(radices))[:-1]:
        vectors = table.reshape(-1, lanes, table.shape[1]).swapaxes(1, 2)
        tables.append(np.stack([vectors.real, vectors.imag], axis=2).ravel())
    return np.concatenate(tables)


def _twiddles(radices: list[int]) -> Iterable[np.ndarray]:
    """For each pass a table, a row for each place in a leg, a column for each leg but the first."""
    length = prod(radices)
    for radix in radices:
        size = length // radix
        turns = np.arange(size)[:, None] * np.arange(1, radix) / length
        yield np.exp(-2j * np.pi * turns)
        length = size
