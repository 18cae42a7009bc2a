"""``fastdeblur deblur`` tile by tile, for images larger than the memory limit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import validation
from ..io import files, fits, pixels
from ..io.source import Source, readable
from ..large import readers, scratch, shares, writers
from ..large.job import DEFAULTS, Account, Job
from ..large.readers import Part, Readable
from ..large.writers import Identity, Writable, checksum
from ..operators.varying import VaryingBlur
from ..problem.weights import saturated

# Options of `solve` that tiles cannot have, unless they are one of these.
WHOLE_ONLY = ("solver", "learning_rate", "init", "seed", "device")
DEFAULT_VALUES = ("auto", "cpu", "image")
# Chunks of a new Zarr array of several images.
CHUNKS = (1024, 1024)


@dataclass(frozen=True)
class Request:
    """An open image file, how it is to be restored, and where to.

    Attributes
    ----------
    source : Source
    path, out : Path
    psf : ndarray or VaryingBlur
    options : dict
        Of `solve`.
    max_memory : int
        Bytes.
    dtype : dtype
        Of the pixels that are written.
    level : float or None
        Pixels of at least this are ignored.
    all_channels : bool
        Whether with all of their channels.
    fill : bool
        Whether missing pixels get their estimates.
    separate : bool
        Whether each channel is a problem of its own.
    once : bool
        Whether the weight (mu) of the first page is that of all.
    """

    source: Source
    path: Path
    out: Path
    psf: np.ndarray | VaryingBlur
    options: dict[str, Any]
    max_memory: int
    dtype: np.dtype[Any]
    level: float | None = None
    all_channels: bool = False
    fill: bool = False
    separate: bool = False
    once: bool = False

    def psf_of(self, channel: int | None) -> np.ndarray | VaryingBlur:
        """The psf of a channel; of all if it is None, or they have one."""
        psf: np.ndarray | VaryingBlur = channel_of(self.psf, channel)
        return psf

    def missing(self, stored: np.ndarray, part: Part, number: int) -> np.ndarray | None:
        """Which pixels of a part of a page are not to be written; None if all are."""
        return None if self.fill else self.source.missing_mask(stored, (part[0], part[1]), number)


def channel_of(value: Any, channel: int | None) -> Any:
    """A channel of an array that has channels; anything else as it is, and so if the channel is None."""
    if channel is None or not isinstance(value, np.ndarray) or value.ndim < 3:
        return value
    return np.ascontiguousarray(value[..., channel])


def unsaturated(real: np.ndarray, level: float, weights: np.ndarray | None, all_channels: bool = False) -> np.ndarray:
    """Weights, 0 where the image is saturated; with `all_channels` where any of its channels is."""
    product = saturated(real, level)
    if all_channels and real.ndim == 3:
        product[...] = product.min(axis=-1, keepdims=True)
    if weights is not None:
        product *= weights[..., None] if weights.ndim < real.ndim else weights
    return product


class Real(Readable):
    """The real numbers of a page's pixels, without alpha, NaN where they are missing."""

    def __init__(self, stored: Readable, source: Source, fill: bool, number: int = 0):
        self._stored, self._source, self._fill, self._number = stored, source, fill, number
        self.missing = source.missing
        one = pixels.to_real(np.zeros((1, 1, *stored.shape[2:]), stored.dtype), source.alpha)
        self.shape, self.dtype = (*stored.shape[:2], *one.shape[2:]), one.dtype

    @property
    def identity(self) -> dict[str, Any]:
        """That of the file's pixels, and how they become real numbers."""
        identity = dict(self._stored.identity)
        if self._source.curve != "linear":
            identity["curve"] = self._source.curve
        if self.missing is not None:
            identity["missing"] = [*map(repr, self.missing.values), *self.missing.identity]
        return identity | {"fill": True} if self._fill else identity

    def read(self, part: Part) -> np.ndarray:
        """A part."""
        stored = self._stored.read(_all_channels(part, self._stored.shape))
        return self._source.real(stored, self._source.missing_mask(stored, (part[0], part[1]), self._number))


class Unsaturated(Readable):
    """`unsaturated` weights of an image."""

    def __init__(self, real: Real, level: float, weights: np.ndarray | None, all_channels: bool):
        self._real, self._level, self._weights, self._all_channels = real, level, weights, all_channels
        self.shape, self.dtype = real.shape, np.dtype(np.float32)
        self._identity = {"saturated": level, "weights": None if weights is None else checksum(weights)}
        if all_channels:
            self._identity["together"] = True

    def read(self, part: Part) -> np.ndarray:
        """A part."""
        weights = None if self._weights is None else self._weights[part[: self._weights.ndim]]
        return unsaturated(self._real.read(part), self._level, weights, self._all_channels)


class Channel(Readable):
    """One of the channels of another array."""

    def __init__(self, array: Any, channel: int):
        self._array, self._channel, self.missing = array, channel, getattr(array, "missing", None)
        self.shape, self.dtype = array.shape[:2], array.dtype

    @property
    def identity(self) -> dict[str, Any]:
        """That of all channels, and which it is."""
        return {**self._array.identity, "channel": self._channel}

    def read(self, part: Part) -> np.ndarray:
        """A part."""
        return np.ascontiguousarray(self._array.read(_all_channels(part, self._array.shape))[..., self._channel])


class Stored(Writable):
    """A target for restored pixels, of one channel or of all but alpha, that writes what files store.

    Alpha is written with all channels, or with the first of them.
    """

    def __init__(
        self,
        request: Request,
        target: Writable,
        stored: Readable,
        clipped: pixels.Clipped,
        number: int = 0,
        channel: int | None = None,
    ):
        self._request, self._target, self._stored, self._clipped = request, target, stored, clipped
        self._number, self._channel = number, channel
        #: What has been checked, which may have to be once more.
        self.sums: list[tuple[Part, int]] = []
        self.journal = target.journal

    def flush(self) -> None:
        """Let what was written survive."""
        self._target.flush()

    def finish(self) -> Any:
        """Put everything in its place."""
        return self._target.finish()

    def close(self) -> None:
        """Leave what there is."""
        self._target.close()

    def abandon(self) -> None:
        """Remove what is worth nothing yet."""
        self._target.abandon()

    def _places(self, part: Part) -> list[Part]:
        """The parts of the target that a part of the restored pixels becomes."""
        if self._channel is None:
            return [_all_channels(part, self._stored.shape)]
        with_alpha = self._request.source.alpha and self._channel == 0
        channels = [self._channel, *[self._stored.shape[2] - 1] * with_alpha]
        return [(*part, slice(channel, channel + 1)) for channel in channels]

    def write(self, part: Part, restored: np.ndarray) -> None:
        """Write a part."""
        request, own = self._request, self._channel
        stored = self._stored.read(_all_channels(part, self._stored.shape))
        mask = request.missing(stored, part, self._number)
        first, *alpha = self._places(part)
        if own is None:
            shown = request.source.encode(restored, stored, mask, self._clipped, request.dtype)
        else:
            mask = None if mask is None else mask[..., own]
            shown = request.source.encode(restored, stored[..., own], mask, self._clipped, request.dtype)[..., None]
        self._target.write(first, shown)
        for place in alpha:
            self._target.write(place, pixels.converted(stored[..., -1:], request.dtype))

    def sum(self, part: Part) -> int:
        """The checksum of what was written for a part."""
        first, *alpha = (self._target.sum(place) for place in self._places(part))
        return first ^ alpha[0] if alpha else first

    def check(self, sums: Iterable[tuple[Part, int]]) -> None:
        """Raise an OSError unless all parts have these checksums."""
        self.sums = list(sums)
        placed = [(self._places(part), part, total) for part, total in self.sums]
        self._target.check([(places[0], total) for places, _, total in placed if len(places) == 1])
        if any(len(places) > 1 and self.sum(part) != total for places, part, total in placed):
            raise OSError("something else has changed or removed what was written: repeat the call")


def _all_channels(part: Part, shape: tuple[int, ...]) -> Part:
    """The rows and columns of a part, with all channels of an array of that shape."""
    return (*part[:2], *(slice(0, size) for size in shape[2:]))


def deblur_in_tiles(request: Request) -> list[Account]:
    """Restore a file into another tile by tile; accounts of its images: pages, separate channels, or the only one."""
    source, clipped = request.source, pixels.Clipped()
    _check_options(request)
    files.check_out(request.out, replace(source, dtype=request.dtype), source.pages, alpha=source.alpha)
    channels = _channels(request)
    one = source.pages is None and channels == [None]
    picture, accounts = _deblur_one(request, clipped) if one else _deblur_each(request, channels, clipped)
    if picture is not None:
        files.write(request.out, picture, source.metadata, alpha=source.alpha)
    clipped.warn(request.dtype)
    return accounts


def _channels(request: Request) -> list[int | None]:
    """Channels that are images of their own; None is all of them."""
    if not request.separate or len(request.source.shape) == 2:
        return [None]
    return list(range(request.source.shape[2] - request.source.alpha))


def _picture(request: Request, shape: tuple[int, ...]) -> tuple[Path | None, np.ndarray | None]:
    """Where tiles are written to, or room for all pixels if their format has to have them at once."""
    if files.in_tiles(request.out):
        return request.out, None
    return None, np.empty(shape, request.dtype)


def _deblur_one(request: Request, clipped: pixels.Clipped) -> tuple[np.ndarray | None, list[Account]]:
    """Restore a single image, its channels together."""
    source, dtype = request.source, request.dtype
    with _opened(request) as stored:
        out, picture = _picture(request, stored.shape)
        job = _job(request, stored)
        if out is not None:
            writers.check(out, [stored], stored.shape, dtype, None)

        @contextmanager
        def target_for(tile: tuple[int, int], identity: Identity) -> Iterator[Writable]:
            axis = None if len(stored.shape) == 2 else 2
            beside = source.alpha, source.metadata
            with writers.opened(out, stored.shape, dtype, axis, tile, identity, picture, *beside) as target:
                yield Stored(request, target, stored, clipped)

        return picture, [job.run(target_for)[1]]


def _deblur_each(
    request: Request, channels: list[int | None], clipped: pixels.Clipped
) -> tuple[np.ndarray | None, list[Account]]:
    """Restore pages, and channels of each, one after another into one target.

    With `request.once` the weight that is found for the first page is that of all, of each channel its own.
    """
    source, dtype = request.source, request.dtype
    shape = source.shape if source.pages is None else (source.pages, *source.shape)
    images = [(number, channel) for number in range(source.pages or 1) for channel in channels]
    out, picture = _picture(request, shape)
    axis = None if len(source.shape) == 2 else len(shape) - 1
    first: dict[int | None, tuple[Any, Account]] = {}
    accounts, written = list[Account](), list[Stored]()
    identity = lambda: shares.identity_of(images, shape, dtype)  # noqa: E731
    beside = source.alpha, source.metadata, source.pages
    with writers.opened(out, shape, dtype, axis, CHUNKS, identity, picture, *beside) as target:
        shares.begin(target)
        for at, (number, channel) in enumerate(images):
            with _opened(request, number) as stored:
                if at == 0 and out is not None:
                    writers.check(out, [stored], shape, dtype, axis)
                job = _job(request, stored, number, channel, first.get(channel))

                @contextmanager
                def target_for(
                    tile: tuple[int, int],
                    identity: Identity,
                    at: int = at,
                    stored: Readable = stored,
                    number: int = number,
                    channel: int | None = channel,
                ) -> Iterator[Writable]:
                    place = () if source.pages is None else (number,)
                    share: Any = shares.Share(target, at, place, identity())
                    written.append(Stored(request, share, stored, clipped, number, channel))
                    yield written[-1]

                accounts.append(job.run(target_for)[1])
                if request.once and channel not in first:
                    first[channel] = job.found, accounts[-1]
        for each in written:  # those of the first images may have been for hours
            each.check(each.sums)
        target.finish()
    return picture, accounts


def _check_options(request: Request) -> None:
    """Refuse options that tiles cannot have."""
    refused = [
        name.replace("_", "-")
        for name in WHOLE_ONLY
        if name in request.options
        and not (isinstance(request.options[name], str) and request.options[name] in DEFAULT_VALUES)
    ]
    if refused:
        raise ValueError(
            f"{request.path} needs more than {readable(request.max_memory)} at once, and tile by tile there is no "
            f"--{' or --'.join(refused)} (raise --max-memory)"
        )


def _memory_of_tiles(request: Request, stored: Readable) -> int:
    """Bytes that are left beside a picture to be encoded, one that was decoded, or a strip or tile of other files."""
    size = math.prod(stored.shape)
    beside = 0 if files.in_tiles(request.out) else size * request.dtype.itemsize
    in_parts = isinstance(stored, scratch.ScratchCopy) or request.source.in_parts
    beside += stored.takes if in_parts else size * stored.dtype.itemsize
    if beside >= request.max_memory:
        raise ValueError(
            f"{request.path} needs {readable(beside)} to be read and written, beside what its tiles take; --max-memory "
            f"allows {readable(request.max_memory)}"
        )
    return request.max_memory - beside


def _job(
    request: Request,
    stored: Readable,
    number: int = 0,
    channel: int | None = None,
    first: tuple[Any, Account] | None = None,
) -> Job:
    """The job of an image, or of one of its channels, with the weight (mu) of the `first` one if that is given."""
    options, real = dict(request.options), Real(stored, request.source, request.fill, number)
    layout_found, account = (None, None) if first is None else first
    if account is not None and layout_found is None:  # a single tile, whose weight is that of the image
        options["mu"] = account.mu
    weights = options.pop("weights", None)
    weighed: Any = None if weights is None else readers.of_array(channel_of(weights, channel), "weights")
    if request.level is not None:
        if weights is not None and weights.shape not in (real.shape, real.shape[:2]):
            raise ValueError(
                f"weights must have the image's shape {real.shape[:2]}, or with its channels; their shape is "
                f"{weights.shape}"
            )
        level = validation.real("level", request.level, "any")
        weighed = Unsaturated(real, level, weights, request.all_channels)
        weighed = weighed if channel is None else Channel(weighed, channel)
    background = channel_of(options.pop("background", 0), channel)
    if not isinstance(background, (int, float)):
        background = readers.of_array(background, "background")
    axis = None if channel is not None or len(real.shape) == 2 else -1
    arguments = {name: value for name, value in options.items() if name not in WHOLE_ONLY}
    arguments |= {"channel_axis": axis, "max_memory": _memory_of_tiles(request, stored)}
    image: Any = real if channel is None else Channel(real, channel)
    psf = request.psf_of(request.source.channel_of(number) if channel is None else channel)
    return Job(image, weighed, psf, DEFAULTS | arguments, background=background, found=layout_found)


@contextmanager
def _opened(request: Request, number: int = 0) -> Iterator[Readable]:
    """A page in parts, or a copy of it; where it is decoded at once, in memory."""
    source = request.source
    parts = source.page(number) if not source.in_parts else source.parts_of(number)
    stored = readers.of_array(parts, path=fits.split(request.path)[0])
    folder = writers.folder_of(request.out)
    at_hand = scratch.at_hand(stored, str(request.path), request.max_memory, 0, None, folder)
    try:
        yield at_hand
    finally:
        for each in (stored, at_hand):
            if isinstance(each, (readers.InFile, scratch.ScratchCopy)):
                each.close()
