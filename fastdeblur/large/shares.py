"""Several images, pages or channels, that are written to one target, one after another, with one journal."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from .journal import Journal
from .readers import Part
from .writers import Writable

# Rows of tiles that an image has at most.
STRIDE = 2**32
# The column of what says which job a journal's tiles of an image are of.
JOB = -1


class Section:
    """The part of a journal that speaks of one image; it has the methods of `Journal` that a job needs."""

    def __init__(self, journal: Journal, number: int, identity: dict[str, Any]):
        self._journal, self._first = journal, number * STRIDE
        self._job = [zlib.crc32(json.dumps(identity, sort_keys=True).encode()), 0]
        self.check_held, self.held = journal.check_held, journal.held
        self.tiles = {
            (i - self._first, j): sums
            for (i, j), sums in journal.tiles.items()
            if self._first <= i < self._first + STRIDE and j != JOB
        }
        if self.tiles and journal.tiles.get((self._first, JOB)) != self._job:
            self.refuse(["source, weight, tiles or options"])

    def begin(self) -> None:
        """The whole journal has begun."""

    def note(self, tile: tuple[int, int], written: int, read: int) -> None:
        """A tile is on the disk."""
        if self._journal.tiles.get((self._first, JOB)) != self._job:
            self._journal.note((self._first, JOB), *self._job)
        self._journal.note((self._first + tile[0], tile[1]), written, read)
        self.tiles[tile] = [written, read]

    def refuse(self, different: list[str]) -> NoReturn:
        """Say what another job had."""
        self._journal.refuse(different)


class Share(Writable):
    """What is written of one of the images of a target, which it neither completes nor closes.

    Parameters
    ----------
    target : Writable
    image : int
        Of all images, for the journal.
    place : tuple of int
        Where it is along the first axes of the target; empty if parts are the target's own.
    identity : dict
        What tells the job on it from others.
    """

    def __init__(self, target: Writable, image: int, place: Sequence[Any], identity: dict[str, Any]):
        self._target, self._lead = target, tuple(slice(int(at), int(at) + 1) for at in place)
        self.journal = None if target.journal is None else Section(target.journal, image, identity)
        #: What has been checked, which may have to be once more.
        self.sums: list[tuple[Part, int]] = []

    def write(self, part: Part, pixels: Any) -> None:
        self._target.write((*self._lead, *part), pixels[(None,) * len(self._lead)])

    def flush(self) -> None:
        self._target.flush()

    def sum(self, part: Part) -> int:
        return self._target.sum((*self._lead, *part))

    def check(self, sums: Iterable[tuple[Part, int]]) -> None:
        self.sums = list(sums)
        self._target.check(((*self._lead, *part), total) for part, total in self.sums)


def begin(target: Writable) -> None:
    """Begin, or go on with, the journal of a target of several images."""
    if target.journal is not None:
        target.journal.begin()


def identity_of(images: Sequence[Any], shape: tuple[int, ...], dtype: Any) -> dict[str, Any]:
    """What tells a target of several images from others, of whatever they are computed."""
    return {"images": list(images), "shape": list(shape), "dtype": str(dtype)}
