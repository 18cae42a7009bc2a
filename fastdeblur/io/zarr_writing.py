"""New Zarr arrays and OME-Zarr groups, with attributes, axes and coordinates of the one that was read."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import zarr_layout
from .metadata import Metadata

CHUNK_SIDE = 1024
# What OME calls axes of a name.
TYPES = {"t": "time", "z": "space", "y": "space", "x": "space"}


@dataclass(frozen=True)
class Group:
    """An OME-Zarr group of one scale.

    Attributes
    ----------
    attributes : dict
        Of the group, with the first scale of the first image alone.
    path : str
        Of that scale's array in the group.
    axes : list of str
    shape : tuple of int
        Of the array.
    zarr_format : int
        2 or 3.
    channels : str
        Which of the axes has the channels of a page, if any has.
    """

    attributes: dict[str, Any]
    path: str
    axes: list[str]
    shape: tuple[int, ...]
    zarr_format: int
    channels: str = "c"

    @property
    def pages(self) -> list[int]:
        """Axes that count pages, the last one fastest."""
        own = ("y", "x", self.channels)
        return [axis for axis, name in enumerate(self.axes) if name not in own and self.shape[axis] > 1]

    @property
    def page_axes(self) -> list[int]:
        """Axes of a page: rows, columns, and channels if there are several."""
        at = [self.axes.index(name) for name in ("y", "x")]
        several = self.channels in self.axes and self.shape[self.axes.index(self.channels)] > 1
        return [*at, self.axes.index(self.channels)] if several else at

    @property
    def count(self) -> int:
        """Of pages."""
        return int(np.prod([self.shape[axis] for axis in self.pages], dtype=int))

    def place(self, number: int) -> dict[int, int]:
        """Where on the axes that count pages that page is."""
        at = np.unravel_index(number, [self.shape[axis] for axis in self.pages]) if self.pages else ()
        return {axis: int(k) for axis, k in zip(self.pages, at, strict=True)}


@dataclass(frozen=True)
class Original:
    """Attributes, fill value, names of axes and description (JSON) of an array that was read, and its group, if any."""

    attributes: dict[str, Any]
    fill_value: Any
    names: tuple[str | None, ...] | None
    described: dict[str, Any]
    group: Group | None = None


class Placed:
    """A page of rows, columns and channels in an array with further axes, of each of which it is at one place."""

    def __init__(self, array: Any, page_axes: list[int], at: dict[int, int] | None = None):
        self.array, self._page_axes, self._at = array, page_axes, at or {}
        self.shape, self.chunks = (tuple(int(each[axis]) for axis in page_axes) for each in (array.shape, array.chunks))
        self.dtype = np.dtype(array.dtype)

    def _index(self, part: Any) -> tuple[slice, ...]:
        """The part of the array that a part of the page is."""
        given = () if part is Ellipsis else part if isinstance(part, tuple) else (part,)
        parts = dict(zip(self._page_axes, given, strict=False))
        index = []
        for axis, size in enumerate(map(int, self.array.shape)):
            at = self._at.get(axis, 0)
            everything = slice(0, size) if axis in self._page_axes else slice(at, at + 1)
            index.append(slice(*parts.get(axis, everything).indices(size)[:2]))
        return tuple(index)

    def _ordered(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels of the array in the axes of the page."""
        pixels = pixels.squeeze(tuple(axis for axis in range(pixels.ndim) if axis not in self._page_axes))
        return pixels.transpose(np.argsort(np.argsort(self._page_axes)))

    def __setitem__(self, part: Any, pixels: np.ndarray) -> None:
        ordered = np.asarray(pixels).transpose(np.argsort(self._page_axes))
        others = [axis for axis in range(len(self.array.shape)) if axis not in self._page_axes]
        self.array[self._index(part)] = np.expand_dims(ordered, tuple(others))

    def __getitem__(self, part: Any) -> np.ndarray:
        return self._ordered(np.asarray(self.array[self._index(part)]))


def original_of(metadata: Metadata | None) -> Original | None:
    """The description of the Zarr array that an image was read from."""
    own = metadata.own if metadata is not None and metadata.format == "Zarr" else None
    return own if isinstance(own, Original) else None


def group_of(metadata: Metadata | None) -> Group | None:
    """The group to write an image to."""
    original = original_of(metadata)
    return None if original is None else original.group


def create(
    zarr: Any,
    folder: Path,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: np.dtype[Any],
    metadata: Metadata | None,
) -> Any:
    """A new array, or a page of that of a new group, in an empty folder.

    `shape` and `chunks` are the page's for a group, and the array's otherwise.
    """
    original = original_of(metadata)
    layout = _layout(original, shape, chunks, dtype)
    names: tuple[str | None, ...] | None = None
    if metadata is not None and metadata.axes is not None:
        names = tuple(metadata.axes.letters.lower())
    if original is None or layout is None:
        options: dict[str, Any] = {"shape": shape, "chunks": chunks, "dtype": dtype}
        if names is not None and len(names) == len(shape):
            options["dimension_names"] = names
        if original is None:
            return zarr.open_array(str(folder), mode="w", **options)
        options |= {"attributes": original.attributes} if original.attributes else {}
        return zarr.create_array(store=str(folder), fill_value=_fill(original, dtype), overwrite=True, **options)
    group = original.group
    if group is None:
        zarr_layout.write(folder, layout, original.attributes, names or original.names)
    else:
        zarr.open_group(str(folder), mode="w", zarr_format=group.zarr_format, attributes=group.attributes)
        names = original.names or (tuple(group.axes) if group.zarr_format == 3 else None)
        zarr_layout.write(folder / group.path, layout, original.attributes, names)
    return there(zarr, folder, "r+", metadata)


def _layout(
    original: Original | None, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: np.dtype[Any]
) -> zarr_layout.Layout | None:
    """The layout of a new array, or of that of a page in a group, as of what was read; None if that had other axes."""
    if original is None:
        return None
    if original.group is not None:
        usual = [1] * len(original.group.shape)
        for axis, size in zip(original.group.page_axes, chunks, strict=True):
            usual[axis] = size
        shape, chunks = original.group.shape, tuple(usual)
    if len(original.described["shape"]) != len(shape):
        return None
    return zarr_layout.layout_for(original.described, shape, chunks, dtype, _fill(original, dtype))


def chunks_of(
    metadata: Metadata | None, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[int, ...]:
    """The chunks of what `create` makes, which takes these where it has none of its own."""
    original = original_of(metadata)
    layout = _layout(original, shape, chunks, dtype)
    if original is None or layout is None:
        return chunks
    return layout.chunks if original.group is None else tuple(layout.chunks[axis] for axis in original.group.page_axes)


def changed(metadata: Metadata, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[str, ...]:
    """Parts of the layout that cannot be written again around pixels of a dtype, in words."""
    original = original_of(metadata)
    if original is not None and original.group is not None:
        shape = tuple(original.group.shape[axis] for axis in original.group.page_axes)
    layout = _layout(original, shape, default_chunks(shape, 0), dtype)
    if layout is not None:
        return layout.changed
    return () if original is None else ("codecs and chunks, which are those of other axes",)


def default_chunks(shape: tuple[int, ...], start: int) -> tuple[int, ...]:
    """Chunks of an array whose first `start` axes count pages."""
    return (1,) * start + tuple(min(CHUNK_SIDE, size) for size in shape[start : start + 2]) + shape[start + 2 :]


def there(zarr: Any, folder: Path, mode: str, metadata: Metadata | None) -> Any:
    """The array, or its first page in a group, that `create` has made in a folder."""
    group = group_of(metadata)
    if group is None:
        return zarr.open_array(str(folder), mode=mode)
    return Placed(zarr.open_array(str(folder / group.path), mode=mode), group.page_axes, group.place(0))


def _fill(original: Original, dtype: np.dtype[Any]) -> Any:
    """The fill value, where the dtype has it."""
    try:
        value = np.asarray(original.fill_value).astype(dtype)
    except (TypeError, ValueError, OverflowError):
        return dtype.type(0)
    same = value == np.asarray(original.fill_value) or (value != value)
    return value[()] if same else dtype.type(0)


def single_scale(attributes: dict[str, Any]) -> dict[str, Any]:
    """A group's attributes, of an image of one scale: the first."""
    copied = copy.deepcopy(attributes)
    place = copied["ome"] if isinstance(copied.get("ome"), dict) else copied
    first = place["multiscales"][0]
    place["multiscales"] = [first | {"datasets": first["datasets"][:1]}]
    return copied


def renamed(attributes: dict[str, Any], axes: list[str]) -> dict[str, Any]:
    """A group's attributes whose axes have other names; what was said of an axis that keeps its name stays."""
    copied = copy.deepcopy(attributes)
    scales = (copied["ome"] if isinstance(copied.get("ome"), dict) else copied)["multiscales"][0]
    known = {str(each.get("name")).lower(): each for each in scales.get("axes") or [] if isinstance(each, dict)}
    scales["axes"] = [known.get(name, {"name": name, "type": TYPES.get(name, "channel")}) for name in axes]
    return copied


def more_than_one_scale(folder: Path, attributes: dict[str, Any], path: str) -> list[str]:
    """Contents of a group beside one image of one scale, in words."""
    place = attributes["ome"] if isinstance(attributes.get("ome"), dict) else attributes
    scales = place["multiscales"]
    paths = [str(each.get("path")) for each in scales[0]["datasets"] if isinstance(each, dict)]
    words = ["the smaller scales"] * (len(paths) > 1) + ["other multiscales"] * (len(scales) > 1)
    known = {each.split("/")[0] for each in [*paths, path]}
    others = [name for name in os.listdir(folder) if (folder / name).is_dir() and name not in known]
    return words + ["other groups or arrays"] * bool(others)
