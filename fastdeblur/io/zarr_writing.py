"""Zarr arrays and OME-Zarr images as they are written: with the attributes, axes and coordinates of what was read."""

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
    def kept(self) -> list[int]:
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
class Kept:
    """What describes an array, and the group that it is in, if any; `described` is its description in the file."""

    attributes: dict[str, Any]
    fill_value: Any
    names: tuple[str | None, ...] | None
    group: Group | None = None
    described: dict[str, Any] | None = None


class Placed:
    """A page of rows, columns and channels in an array with further axes, to be read and written."""

    def __init__(self, array: Any, kept: list[int], at: dict[int, int]):
        self.array, self._kept, self._at = array, kept, at
        self.shape, self.dtype = tuple(array.shape[axis] for axis in kept), np.dtype(array.dtype)
        self.chunks = tuple(array.chunks[axis] for axis in kept)

    def _index(self, part: Any) -> tuple[slice, ...]:
        parts = (slice(None),) * len(self._kept) if part is Ellipsis else part
        index = [slice(self._at.get(axis, 0), self._at.get(axis, 0) + 1) for axis in range(len(self.array.shape))]
        for axis, each in zip(self._kept, parts, strict=True):
            index[axis] = each
        return tuple(index)

    def __setitem__(self, part: Any, pixels: np.ndarray) -> None:
        ordered = np.asarray(pixels).transpose(np.argsort(self._kept))
        others = [axis for axis in range(len(self.array.shape)) if axis not in self._kept]
        self.array[self._index(part)] = np.expand_dims(ordered, others)

    def __getitem__(self, part: Any) -> np.ndarray:
        found = np.asarray(self.array[self._index(part)])
        found = found.squeeze(tuple(axis for axis in range(found.ndim) if axis not in self._kept))
        return found.transpose(np.argsort(np.argsort(self._kept)))


def kept_of(metadata: Metadata | None) -> Kept | None:
    """What a Zarr array was read with."""
    own = metadata.own if metadata is not None and metadata.format == "Zarr" else None
    return own if isinstance(own, Kept) else None


def group_of(metadata: Metadata | None) -> Group | None:
    """The group to write an image to."""
    kept = kept_of(metadata)
    return None if kept is None else kept.group


def create(
    zarr: Any, folder: Path, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: np.dtype[Any], metadata: Any
) -> Any:
    """A new array, or a page of that of a new group, in an empty folder.

    `shape` and `chunks` are the page's for a group, and the array's otherwise.
    """
    kept = kept_of(metadata)
    layout = _layout(kept, shape, chunks, dtype)
    if kept is not None and layout is not None:
        return _create_alike(zarr, folder, kept, layout, metadata)
    options: dict[str, Any] = {"dtype": dtype}
    axes = None if metadata is None or metadata.axes is None else metadata.axes.letters.lower()
    if axes is not None and len(axes) == len(shape):
        options["dimension_names"] = tuple(axes)
    if kept is None:
        return zarr.open_array(str(folder), mode="w", shape=shape, chunks=chunks, **options)
    if kept.attributes:
        options["attributes"] = kept.attributes
    group = kept.group
    if group is None:
        if kept.names is not None and len(kept.names) == len(shape) and axes is None:
            options["dimension_names"] = kept.names
        return zarr.create_array(
            store=str(folder), shape=shape, chunks=chunks, fill_value=_fill(kept, dtype), overwrite=True, **options
        )
    zarr.open_group(str(folder), mode="w", zarr_format=group.zarr_format, attributes=group.attributes)
    if group.zarr_format == 3:
        options["dimension_names"] = kept.names or group.axes
    else:
        options["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
    sizes = [1] * len(group.shape)
    for axis, size in zip(group.kept, chunks, strict=True):
        sizes[axis] = size
    array = zarr.create_array(
        store=str(folder / group.path), shape=group.shape, chunks=tuple(sizes), fill_value=_fill(kept, dtype),
        zarr_format=group.zarr_format, **options,
    )  # fmt: skip
    return Placed(array, group.kept, group.place(0))


def _create_alike(zarr: Any, folder: Path, kept: Kept, layout: zarr_layout.Layout, metadata: Any) -> Any:
    """`create`, in the layout of what was read."""
    group = kept.group
    if group is None:
        said = None if metadata.axes is None else tuple(metadata.axes.letters.lower())
        zarr_layout.write(folder, layout, kept.attributes, said or kept.names)
    else:
        zarr.open_group(str(folder), mode="w", zarr_format=group.zarr_format, attributes=group.attributes)
        named = kept.names or (tuple(group.axes) if group.zarr_format == 3 else None)
        zarr_layout.write(folder / group.path, layout, kept.attributes, named)
    return there(zarr, folder, "r+", metadata)


def _layout(
    kept: Kept | None, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: np.dtype[Any]
) -> zarr_layout.Layout | None:
    """The layout of a new array, or of that of a page in a group, as of what was read; None if that had other axes."""
    if kept is None or kept.described is None:
        return None
    if kept.group is not None:
        usual = [1] * len(kept.group.shape)
        for axis, size in zip(kept.group.kept, chunks, strict=True):
            usual[axis] = size
        shape, chunks = kept.group.shape, tuple(usual)
    if len(kept.described["shape"]) != len(shape):
        return None
    return zarr_layout.layout_for(kept.described, shape, chunks, dtype, _fill(kept, dtype))


def chunks_of(
    metadata: Metadata | None, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[int, ...]:
    """The chunks of what `create` makes, which takes these where it has none of its own."""
    kept = kept_of(metadata)
    layout = _layout(kept, shape, chunks, dtype)
    if kept is None or layout is None:
        return chunks
    return layout.chunks if kept.group is None else tuple(layout.chunks[axis] for axis in kept.group.kept)


def changed(metadata: Metadata, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[str, ...]:
    """What of the layout of a Zarr array that was read cannot be written again around pixels of a dtype, in words."""
    kept = kept_of(metadata)
    if kept is not None and kept.group is not None:
        shape = tuple(kept.group.shape[axis] for axis in kept.group.kept)
    layout = _layout(kept, shape, default_chunks(shape, 0), dtype)
    if layout is not None:
        return layout.changed
    return () if kept is None or kept.described is None else ("codecs and chunks, which are those of other axes",)


def default_chunks(shape: tuple[int, ...], start: int) -> tuple[int, ...]:
    """Chunks of an array whose first `start` axes count pages."""
    return (1,) * start + tuple(min(CHUNK_SIDE, size) for size in shape[start : start + 2]) + shape[start + 2 :]


def there(zarr: Any, folder: Path, mode: str, metadata: Metadata | None) -> Any:
    """What `create` has made in a folder."""
    group = group_of(metadata)
    if group is None:
        return zarr.open_array(str(folder), mode=mode)
    return Placed(zarr.open_array(str(folder / group.path), mode=mode), group.kept, group.place(0))


def _fill(kept: Kept, dtype: np.dtype[Any]) -> Any:
    """The fill value, where the dtype has it."""
    try:
        value = np.asarray(kept.fill_value).astype(dtype)
    except (TypeError, ValueError, OverflowError):
        return dtype.type(0)
    same = value == np.asarray(kept.fill_value) or (value != value)
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
    """What a group holds beside one image of one scale, in words."""
    place = attributes["ome"] if isinstance(attributes.get("ome"), dict) else attributes
    scales = place["multiscales"]
    paths = [str(each.get("path")) for each in scales[0]["datasets"] if isinstance(each, dict)]
    words = ["the smaller scales"] * (len(paths) > 1) + ["other multiscales"] * (len(scales) > 1)
    known = {each.split("/")[0] for each in [*paths, path]}
    others = [name for name in os.listdir(folder) if (folder / name).is_dir() and name not in known]
    return words + ["other groups or arrays"] * bool(others)
