"""``fastdeblur deblur`` of an image that would not fit into the memory: the same pixels, tile by tile."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from . import checks, files, fits, missing, pixels
from .large import reading, scratch, targets
from .large.job import DEFAULTS, Account, Job
from .large.reading import Part, Readable
from .large.writing import Identity, Writable, checksum
from .sources import Source, readable
from .weights import saturated

# Options of `solve` that a tile can have no say in.
WHOLE_ONLY = ("solver", "learning_rate", "init", "seed", "device")


class Real:
    """The real numbers of a file's pixels, without alpha, NaN where they are missing; see `pixels.to_real`."""

    place: tuple[Path, int] | None = None
    chunks: tuple[int, ...] | None = None
    takes = 0

    def __init__(self, stored: Readable, source: Source, fill: bool):
        self._stored, self._alpha, self.missing, self._fill = stored, source.alpha, source.missing, fill
        alpha, self._curve = source.alpha, source.curve
        one = pixels.to_real(np.zeros((1, 1, *stored.shape[2:]), stored.dtype), alpha)
        self.shape, self.dtype = (*stored.shape[:2], *one.shape[2:]), one.dtype

    @property
    def identity(self) -> dict[str, Any]:
        found = self._stored.identity
        if self._curve != "linear":
            found = found | {"curve": self._curve}
        if self.missing is not None:
            found = found | {"missing": [*map(repr, self.missing.values), *self.missing.identity]}
        return found | {"fill": True} if self._fill else found

    def read(self, part: Part) -> np.ndarray:
        stored = self._stored.read((*part[:2], *_all(self._stored.shape)))
        mask = missing.mask_of(self.missing, stored, self._alpha, (part[0], part[1]))
        return missing.hidden(pixels.to_real(stored, self._alpha, self._curve), mask)


def unsaturated(real: np.ndarray, level: float, weights: np.ndarray | None, together: bool = False) -> np.ndarray:
    """Weights that are 0 where the image is saturated, too; with `together` where any of its channels is."""
    kept = saturated(real, level)
    if together and real.ndim == 3:
        kept[...] = kept.min(axis=-1, keepdims=True)
    if weights is not None:
        kept *= weights[..., None] if weights.ndim < real.ndim else weights
    return kept


class Unsaturated:
    """`unsaturated` weights, of any part."""

    place: tuple[Path, int] | None = None
    chunks: tuple[int, ...] | None = None
    takes = 0

    def __init__(self, real: Real, level: float, weights: np.ndarray | None, together: bool):
        self._real, self._level, self._weights, self._together = real, level, weights, together
        self.shape, self.dtype = real.shape, np.dtype(np.float32)
        self.identity = {"saturated": level, "weights": None if weights is None else checksum(weights)}
        if together:
            self.identity["together"] = True

    def read(self, part: Part) -> np.ndarray:
        weights = self._weights
        return unsaturated(
            self._real.read(part),
            self._level,
            None if weights is None else weights[part[: weights.ndim]],
            self._together,
        )


class Stored:
    """What is written in the dtype that was read, with its alpha; see `pixels.from_real`."""

    def __init__(
        self,
        target: Writable,
        stored: Readable,
        whole: np.ndarray | None,
        path: Path,
        dtype: np.dtype[Any],
        source: Source,
        fill: bool,
    ):
        self._target, self._stored, self._whole, self._path = target, stored, whole, path
        self._source, self._fill = source, fill
        self._clipped, self._dtype = pixels.Clipped(), dtype
        self.journal, self.flush = target.journal, target.flush
        self.abandon, self.close = target.abandon, target.close

    def write(self, part: Part, pixels_: np.ndarray) -> None:
        there = (*part[:2], *_all(self._stored.shape))
        stored, source = self._stored.read(there), self._source
        mask = None if self._fill else missing.mask_of(source.missing, stored, source.alpha, (part[0], part[1]))
        blank = missing.blank(pixels_, mask)
        shown = pixels.from_real(blank, stored, self._clipped, self._dtype, source.curve)
        missing.put_back(shown, stored, mask, source.missing)
        self._target.write(there, shown)

    def sum(self, part: Part) -> int:
        return self._target.sum((*part[:2], *_all(self._stored.shape)))

    def check(self, sums: Iterable[tuple[Part, int]]) -> None:
        self._target.check(((*part[:2], *_all(self._stored.shape)), total) for part, total in sums)

    def finish(self) -> Any:
        whole = self._target.finish()
        if self._whole is not None:  # a picture is encoded at once
            files.write(self._path, self._whole, self._source.metadata, alpha=self._source.alpha)
        self._clipped.warn(self._dtype)
        return whole


def _all(shape: tuple[int, ...]) -> list[slice]:
    """All of the axes after rows and columns."""
    return [slice(0, size) for size in shape[2:]]


def deblur(
    source: Source,
    path: Path,
    out: Path,
    psf: np.ndarray,
    level: float | None,
    together: bool,
    options: dict[str, Any],
    most: int,
    dtype: np.dtype[Any],
    fill: bool = False,
) -> Account:
    """Restore a file into another, whose pixels have the given dtype, with at most about `most` bytes.

    Pixels that are missing stay so, or get their estimates with `fill`.
    """
    defaults = ("auto", "cpu", "image")
    refused = [
        name
        for name in WHOLE_ONLY
        if name in options and not (isinstance(options[name], str) and options[name] in defaults)
    ]
    if refused:
        raise ValueError(
            f"{path} needs more than {readable(most)} at once, and tile by tile there is no "
            f"--{' or --'.join(name.replace('_', '-') for name in refused)} (raise --max-memory)"
        )
    files.check_out(out, replace(source, dtype=dtype), alpha=source.alpha)
    with _opened(source, path, out, most) as stored:
        pictured = files.format_of(out) not in ("NPY", "TIFF", "Zarr", "FITS")
        # What is in memory at once: a picture that is to be encoded, one that was decoded, a strip or tile of others.
        size = math.prod(stored.shape)
        beside = size * dtype.itemsize * pictured
        beside += stored.takes if source.array is not None else size * stored.dtype.itemsize
        if beside >= most:
            raise ValueError(
                f"{path} needs {readable(beside)} to be read and written, beside what its tiles take; --max-memory "
                f"allows {readable(most)}"
            )
        real = Real(stored, source, fill)
        weights = options.pop("weights", None)
        weighed: Any = None if weights is None else reading.of_array(weights, "weights")
        if level is not None:
            if weights is not None and weights.shape not in (real.shape, real.shape[:2]):
                raise ValueError(
                    f"weights must have the image's shape {real.shape[:2]}, or with its channels; their shape is "
                    f"{weights.shape}"
                )
            weighed = Unsaturated(real, checks.real("level", level, "any"), weights, together)
        background = options.pop("background", 0)
        if not isinstance(background, (int, float)):
            background = reading.of_array(background, "background")
        asked = DEFAULTS | {name: value for name, value in options.items() if name not in WHOLE_ONLY}
        asked |= {"channel_axis": None if len(real.shape) == 2 else -1, "max_memory": most - beside}

        @contextmanager
        def target_for(tile: tuple[int, int], identity: Identity) -> Iterator[Writable]:
            axis = None if len(stored.shape) == 2 else 2
            whole = np.empty(stored.shape, dtype) if pictured else None
            where = out if whole is None else None
            said = source.alpha, source.metadata
            with targets.opened(where, stored.shape, dtype, axis, tile, identity, whole, *said) as target:
                yield Stored(target, stored, whole, out, dtype, source, fill)

        job = Job(real, weighed, psf, asked, background=background)
        if not pictured:
            targets.check(out, [stored], stored.shape, dtype, None)
        return job.run(target_for)[1]


@contextmanager
def _opened(source: Source, path: Path, out: Path, most: int) -> Iterator[Readable]:
    """The file in parts, or a copy of it; where it is decoded at once, in memory."""
    whole_or_parts = source.page(0) if source.array is None else source.array
    found = reading.of_array(whole_or_parts, path=fits.split(path)[0])
    at_hand = scratch.at_hand(found, str(path), most, 0, None, targets.folder_of(out))
    try:
        yield at_hand
    finally:
        for each in (found, at_hand):
            if isinstance(each, (reading.InFile, scratch.Scratch)):
                each.close()
