"""Plans of two-dimensional transforms: radices, twiddles and where things lie; nothing here is compiled."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np

from .codelets import FIRST

# Bytes after which addresses fall into the same set of a first-level cache, and those of one line of it.
SETS, LINE = 4096, 64


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


def _power(twos: int) -> list[int]:
    """A power of two, but 2 itself, as a product of as many 8 as can be, and 4."""
    fours = -twos % 3
    return [4] * fours + [8] * ((twos - 2 * fours) // 3)


def _factors(length: int) -> tuple[int, list[int] | None]:
    """How often 2 is a factor of a length, and its other factors if they are 3 and 5."""
    twos, odd = 0, []
    while length and length % 2 == 0:
        length, twos = length // 2, twos + 1
    for factor in (5, 3):
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
        table = next(iter(_twiddles(self.down)))
        return np.stack([table.real, table.imag], axis=-1).ravel()

    def twiddles_down(self) -> np.ndarray:
        """Those of the columns' passes between the first and the last, as vectors of the same number."""
        tables = [np.zeros(0)]
        for table in list(_twiddles(self.down))[1:-1]:
            vectors = np.broadcast_to(table[..., None], (*table.shape, self._lanes))
            tables.append(np.stack([vectors.real, vectors.imag], axis=2).ravel())
        return np.concatenate(tables)

    def twiddles_across(self) -> np.ndarray:
        """Vectors of the numbers of neighbouring columns, for each pass but the last."""
        tables = [np.zeros(0)]
        for table in list(_twiddles([*self.across, self._lanes]))[:-1]:
            vectors = table.reshape(-1, self._lanes, table.shape[1]).swapaxes(1, 2)
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
