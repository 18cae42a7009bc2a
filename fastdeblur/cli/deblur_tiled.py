"""``fastdeblur deblur`` of an image that would not fit into the memory: the same pixels, tile by tile."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import validation
from ..io import files, fits, missing, pixels
from ..io.source import Source, readable
from ..large import readers, scratch, shares, writers
from ..large.job import DEFAULTS, Account, Job
from ..large.readers import Part, Readable
from ..large.writers import Identity, Writable, checksum
from ..problem.weights import saturated

# Options of `solve` that a tile can have no say in.
WHOLE_ONLY = ("solver", "learning_rate", "init", "seed", "device")
# Formats that are written without having all pixels in memory.
IN_PARTS = ("NPY", "TIFF", "Zarr", "FITS")
# What a new Zarr array of several images is cut into.
CHUNKS = (1024, 1024)


class Real:
    """The real numbers of a file's pixels, without alpha, NaN where they are missing; see `pixels.to_real`."""

    place: tuple[Path, int] | None = None
    chunks: tuple[int, ...] | None = None
    takes = 0

    def __init__(self, stored: Readable, source: Source, fill: bool, number: int = 0):
        self._stored, self._alpha, self.missing, self._fill = stored, source.alpha, source.missing, fill
        self._number = number
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
        mask = missing.mask_of(self.missing, stored, self._alpha, (part[0], part[1]), self._number)
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


class Channel:
    """One of the channels of another array."""

    place: tuple[Path, int] | None = None
    chunks: tuple[int, ...] | None = None
    takes = 0

    def __init__(self, whole: Any, channel: int):
        self._whole, self._channel, self.missing = whole, channel, getattr(whole, "missing", None)
        self.shape, self.dtype = whole.shape[:2], whole.dtype

    @property
    def identity(self) -> dict[str, Any]:
        return {**self._whole.identity, "channel": self._channel}

    def read(self, part: Part) -> np.ndarray:
        found = self._whole.read((*part, *_all(self._whole.shape)))
        return np.ascontiguousarray(found[..., self._channel])


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
        number: int = 0,
        clipped: pixels.Clipped | None = None,
    ):
        self._number, self._whose = number, clipped
        #: What has been checked, which may have to be once more.
        self.sums: list[tuple[Part, int]] = []
        self._target, self._stored, self._whole, self._path = target, stored, whole, path
        self._source, self._fill = source, fill
        self._clipped, self._dtype = clipped or pixels.Clipped(), dtype
        self.journal, self.flush = target.journal, target.flush
        self.abandon, self.close = target.abandon, target.close

    def write(self, part: Part, pixels_: np.ndarray) -> None:
        there = (*part[:2], *_all(self._stored.shape))
        stored, source = self._stored.read(there), self._source
        mask = None
        if not self._fill:
            mask = missing.mask_of(source.missing, stored, source.alpha, (part[0], part[1]), self._number)
        blank = missing.blank(pixels_, mask)
        shown = pixels.from_real(blank, stored, self._clipped, self._dtype, source.curve)
        missing.put_back(shown, stored, mask, source.missing)
        self._target.write(there, shown)

    def sum(self, part: Part) -> int:
        return self._target.sum((*part[:2], *_all(self._stored.shape)))

    def check(self, sums: Iterable[tuple[Part, int]]) -> None:
        self.sums = list(sums)
        self._target.check(((*part[:2], *_all(self._stored.shape)), total) for part, total in self.sums)

    def finish(self) -> Any:
        whole = self._target.finish()
        if self._whole is not None:  # a picture is encoded at once
            files.write(self._path, self._whole, self._source.metadata, alpha=self._source.alpha)
        if self._whose is None:  # otherwise there are more
            self._clipped.warn(self._dtype)
        return whole


class StoredChannel(Stored):
    """`Stored`, of one of the channels; alpha goes with the first of them."""

    def __init__(self, channel: int, *others: Any):
        super().__init__(*others)
        self._channel = channel

    def _places(self, part: Part) -> list[Part]:
        alpha = self._stored.shape[2] - 1
        channels = [self._channel, *[alpha] * (self._source.alpha and self._channel == 0)]
        return [(*part, slice(channel, channel + 1)) for channel in channels]

    def write(self, part: Part, pixels_: np.ndarray) -> None:
        stored, source, own = self._stored.read((*part, *_all(self._stored.shape))), self._source, self._channel
        mask = None
        if not self._fill:
            mask = missing.mask_of(source.missing, stored, source.alpha, (part[0], part[1]), self._number)
            mask = None if mask is None else mask[..., own]
        blank = missing.blank(pixels_, mask)
        shown = pixels.from_real(blank, stored[..., own], self._clipped, self._dtype, source.curve)
        missing.put_back(shown, stored[..., own], mask, source.missing)
        first, *alpha = self._places(part)
        self._target.write(first, shown[..., None])
        for place in alpha:
            self._target.write(place, pixels.converted(stored[..., -1:], self._dtype))

    def sum(self, part: Part) -> int:
        first, *alpha = (self._target.sum(place) for place in self._places(part))
        return first ^ alpha[0] if alpha else first

    def check(self, sums: Iterable[tuple[Part, int]]) -> None:
        self.sums = list(sums)
        self._target.check(())
        if any(self.sum(part) != total for part, total in self.sums):
            raise OSError("something else has changed or removed what was written: repeat the call")


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
    _check_options(path, options, most)
    files.check_out(out, replace(source, dtype=dtype), alpha=source.alpha)
    with _opened(source, path, out, most) as stored:
        pictured = files.format_of(out) not in IN_PARTS
        beside = _beside(stored, source, path, dtype, most, pictured)
        job = _job(stored, source, psf, level, together, options, most - beside, fill)

        @contextmanager
        def target_for(tile: tuple[int, int], identity: Identity) -> Iterator[Writable]:
            axis = None if len(stored.shape) == 2 else 2
            whole = np.empty(stored.shape, dtype) if pictured else None
            where = out if whole is None else None
            said = source.alpha, source.metadata
            with writers.opened(where, stored.shape, dtype, axis, tile, identity, whole, *said) as target:
                yield Stored(target, stored, whole, out, dtype, source, fill)

        if not pictured:
            writers.check(out, [stored], stored.shape, dtype, None)
        return job.run(target_for)[1]


def deblur_each(
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
    separate: bool = False,
    once: bool = False,
) -> list[Account]:
    """Restore the pages of a stack, and with `separate` the channels of each image, one after another as `deblur`.

    With `once` the weight that is found for the first page is that of all, of each channel its own.
    """
    _check_options(path, options, most)
    files.check_out(out, replace(source, dtype=dtype), source.pages, alpha=source.alpha)
    count = pixels.channels(source.shape) - source.alpha
    channels = list(range(count)) if separate and len(source.shape) == 3 else [None]
    images = [(number, channel) for number in range(source.pages or 1) for channel in channels]
    page = source.pages is not None
    shape = (*([source.pages] if source.pages is not None else []), *source.shape)
    pictured, clipped, accounts = files.format_of(out) not in IN_PARTS, pixels.Clipped(), list[Account]()
    whole = np.empty(shape, dtype) if pictured else None
    known: dict[int | None, tuple[Any, Account]] = {}
    written: list[Stored] = []
    where, axis = None if pictured else out, None if len(source.shape) == 2 else len(shape) - 1
    said = source.alpha, source.metadata, source.pages
    identity = lambda: shares.identity_of(images, shape, dtype)  # noqa: E731
    with writers.opened(where, shape, dtype, axis, CHUNKS, identity, whole, *said) as target:
        shares.begin(target)
        for at, (number, channel) in enumerate(images):
            with _opened(source, path, out, most, number) as stored:
                if at == 0 and not pictured:
                    writers.check(out, [stored], shape, dtype, axis)
                beside = _beside(stored, source, path, dtype, most, pictured)
                found, first = known.get(channel, (None, None))
                own = dict(options)
                if first is not None and found is None:  # a single tile, whose weight is that of the whole
                    own["mu"] = first.mu
                taps = psf if psf.ndim == 2 else _of(source.channel_of(number) if channel is None else channel, psf)
                job = _job(stored, source, taps, level, together, own, most - beside, fill, number, channel, found)

                @contextmanager
                def target_for(
                    tile: tuple[int, int],
                    identity: Identity,
                    at: int = at,
                    stored: Readable = stored,
                    number: int = number,
                    channel: int | None = channel,
                ) -> Iterator[Writable]:
                    share: Any = shares.Share(target, at, number, identity(), page)
                    given = share, stored, None, out, dtype, source, fill, number, clipped
                    written.append(Stored(*given) if channel is None else StoredChannel(channel, *given))
                    yield written[-1]

                accounts.append(job.run(target_for)[1])
                if once and channel not in known:
                    known[channel] = job.found, accounts[-1]
        for each in written:  # those of the first images may have been for hours
            each.check(each.sums)
        target.finish()
    if whole is not None:
        files.write(out, whole, source.metadata, alpha=source.alpha)
    clipped.warn(dtype)
    return accounts


def _of(channel: int | None, value: Any) -> Any:
    """What of an array with channels is a channel's."""
    if channel is None or not isinstance(value, np.ndarray) or value.ndim < 3:
        return value
    return np.ascontiguousarray(value[..., channel])


def _check_options(path: Path, options: dict[str, Any], most: int) -> None:
    """Refuse what tiles can have no say in."""
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


def _beside(stored: Readable, source: Source, path: Path, dtype: np.dtype[Any], most: int, pictured: bool) -> int:
    """Bytes beside tiles: of a picture that is to be encoded, one that was decoded, a strip or tile of others."""
    size = math.prod(stored.shape)
    beside = size * dtype.itemsize * pictured
    beside += stored.takes if isinstance(stored, scratch.Scratch) or _in_parts(source) else size * stored.dtype.itemsize
    if beside >= most:
        raise ValueError(
            f"{path} needs {readable(beside)} to be read and written, beside what its tiles take; --max-memory "
            f"allows {readable(most)}"
        )
    return beside


def _in_parts(source: Source) -> bool:
    """Whether parts of an image, or of a page, can be read without the rest."""
    return source.array is not None if source.pages is None else source.parts is not None


def _job(
    stored: Readable,
    source: Source,
    psf: np.ndarray,
    level: float | None,
    together: bool,
    options: dict[str, Any],
    memory: int,
    fill: bool,
    number: int = 0,
    channel: int | None = None,
    found: Any = None,
) -> Job:
    """What restores an image, or one of its channels."""
    options, real = dict(options), Real(stored, source, fill, number)
    weights = options.pop("weights", None)
    weighed: Any = None if weights is None else readers.of_array(_of(channel, weights), "weights")
    if level is not None:
        if weights is not None and weights.shape not in (real.shape, real.shape[:2]):
            raise ValueError(
                f"weights must have the image's shape {real.shape[:2]}, or with its channels; their shape is "
                f"{weights.shape}"
            )
        weighed = Unsaturated(real, validation.real("level", level, "any"), weights, together)
        weighed = weighed if channel is None else Channel(weighed, channel)
    background = _of(channel, options.pop("background", 0))
    if not isinstance(background, (int, float)):
        background = readers.of_array(background, "background")
    asked = DEFAULTS | {name: value for name, value in options.items() if name not in WHOLE_ONLY}
    asked |= {"channel_axis": None if channel is not None or len(real.shape) == 2 else -1, "max_memory": memory}
    image: Any = real if channel is None else Channel(real, channel)
    return Job(image, weighed, psf, asked, background=background, found=found)


@contextmanager
def _opened(source: Source, path: Path, out: Path, most: int, number: int = 0) -> Iterator[Readable]:
    """An image of the file in parts, or a copy of it; where it is decoded at once, in memory."""
    parts = source.array
    if source.pages is not None:
        parts = None if source.parts is None else source.parts(number)
    found = readers.of_array(source.page(number) if parts is None else parts, path=fits.split(path)[0])
    at_hand = scratch.at_hand(found, str(path), most, 0, None, writers.folder_of(out))
    try:
        yield at_hand
    finally:
        for each in (found, at_hand):
            if isinstance(each, (readers.InFile, scratch.Scratch)):
                each.close()
