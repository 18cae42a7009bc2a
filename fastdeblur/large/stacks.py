"""Stacks of images that may be larger than memory: pages by named axes (T, C, Z), restored one after another."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..io import files, zarr_reading
from ..io.axes import Axes
from ..io.metadata import Metadata
from ..io.source import Source
from . import readers, shares, writers
from .readers import Part, Readable
from .writers import Identity, Writable

# Chunks of a new Zarr array.
CHUNKS = (1024, 1024)


@dataclass(frozen=True)
class Stack:
    """Pages of one shape and dtype.

    Attributes
    ----------
    lead : tuple of int
        Sizes of the axes that count them, the last one fastest.
    axes : Axes or None
        Their letters, where they are known.
    page : callable
        The reader of the page of a number.
    sources : list of Readable
        What is read for them.
    """

    lead: tuple[int, ...]
    axes: Axes | None
    page: Callable[[int], Readable]
    sources: list[Readable]

    @property
    def count(self) -> int:
        """Of pages."""
        return math.prod(self.lead)

    def psf_of(self, psf: Any, number: int) -> Any:
        """The psf of a page, of a psf for each channel where C counts pages; any other psf as it is."""
        at = -1 if self.axes is None else self.axes.pages.find("C")
        if at < 0 or getattr(psf, "ndim", 2) != 3:
            return psf
        if len(psf) != self.lead[at]:
            raise ValueError(f"psf must be one, or one for each of the {self.lead[at]} channels; there are {len(psf)}")
        return psf[np.unravel_index(number, self.lead)[at]]


class Page(Readable):
    """A page of an array whose first axes count pages."""

    def __init__(self, array: Readable, at: tuple[int, ...]):
        self._array, self._at = array, at
        self.shape, self.dtype, self.takes = array.shape[len(at) :], array.dtype, array.takes
        self.chunks = None if array.chunks is None else array.chunks[len(at) :]
        self.missing = getattr(array, "missing", None)

    @property
    def identity(self) -> dict[str, Any]:
        return self._array.identity | {"page": list(self._at)}

    def read(self, part: Part) -> np.ndarray:
        pixels = self._array.read((*[slice(at, at + 1) for at in self._at], *part))
        return pixels.reshape(pixels.shape[len(self._at) :])


@contextmanager
def opened(value: Any, mask: Any, axes: Axes | None) -> Iterator[Readable | Stack]:
    """A caller's image, see `readers.opened`, or a stack, by `axes` or because its file is one."""
    with ExitStack() as stack:
        if isinstance(value, (str, os.PathLike)):
            path = Path(value)
            source = readers.source_of(path, stack, axes)
            if source is not None:
                yield _of_source(source, path, axes, stack)
                return
            if files.format_of(path) == "Zarr":
                with files.explained(path):
                    array, own = zarr_reading.whole(path)
                axes = own if axes is None else axes
                value = path if axes is None else array
        readable = stack.enter_context(readers.opened(value, mask=mask))
        yield readable if axes is None else _of_array(readable, axes.of_shape(readable.shape))


def _of_array(readable: Readable, axes: Axes) -> Readable | Stack:
    """A stack in an array, or its only image."""
    lead = axes.lead

    def page(number: int) -> Readable:
        return Page(readable, tuple(map(int, np.unravel_index(number, lead))))

    return Stack(lead, axes, page, [readable]) if lead else readable


def _of_source(source: Source, path: Path, axes: Axes | None, stack: ExitStack) -> Readable | Stack:
    """The stack of an open TIFF or FITS file, or its only image."""
    page = functools.partial(readers.of_source, source, path, "source")
    first = readers.closed_by(stack, page(0))
    if source.pages is None:
        return first
    named = [each for each in source.axes if each[1] != 1 or axes is not None]
    if not named or math.prod(size for _, size in named) != source.pages:
        named = [("?", source.pages)]
    letters, lead = "".join(letter for letter, _ in named), tuple(size for _, size in named)
    channels = (axes.channels if axes is not None else "S") if len(source.shape) == 3 else ""
    return Stack(lead, Axes(letters, channels, lead) if set(letters) <= set("TCZ") else None, page, [first])


def deblur_pages(stack: Stack, out: Any, job_of: Callable[[int, Readable], Any]) -> Any:
    """Restore all pages into one array or file; `job_of` makes the job of a page."""
    with _job(stack, 0, job_of) as first:
        page, dtype, axis = first.plan.shape, first.plan.working, first.plan.axis
    shape = (*stack.lead, *page)
    axis = None if axis is None else len(stack.lead) + axis
    writers.check(out, stack.sources, shape, dtype, axis)
    axes = None if stack.axes is None else replace(stack.axes, sizes=stack.lead)
    metadata, images = Metadata("", axes=axes), list(range(stack.count))
    in_fits = isinstance(out, (str, os.PathLike)) and files.format_of(Path(out)) == "FITS"  # it is written at the end
    beside: dict[str, Any] = {"metadata": metadata, "pages": stack.count if in_fits else None}
    identity = lambda: shares.identity_of(images, shape, dtype)  # noqa: E731
    with writers.opened(out, shape, dtype, axis, CHUNKS, identity, **beside) as target:
        shares.begin(target)
        written = list[shares.Share]()
        for number in images:
            with _job(stack, number, job_of) as job:
                written.append(_deblur_page(job, target, np.unravel_index(number, stack.lead), number))
        for each in written:  # those of the first pages may have been for hours
            each.check(each.sums)
        return target.finish()


@contextmanager
def _job(stack: Stack, number: int, job_of: Callable[[int, Readable], Any]) -> Iterator[Any]:
    """The job of a page."""
    with ExitStack() as closing:
        job = job_of(number, readers.closed_by(closing, stack.page(number)))
        closing.callback(job.close)
        yield job


def _deblur_page(job: Any, target: Writable, place: Any, number: int) -> shares.Share:
    """Restore a page into its share of a target."""
    given: list[shares.Share] = []

    @contextmanager
    def share(tile: tuple[int, int], identity: Identity) -> Iterator[Writable]:
        given.append(shares.Share(target, number, place, identity()))
        yield given[0]

    job.run(share)
    return given[0]
