"""Reading and writing Zarr arrays and OME-Zarr images; needs zarr (extra ``large``)."""

from __future__ import annotations

import itertools
import json
import math
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from . import chunks as chunked
from . import zarr_codecs
from .axes import Axes
from .metadata import Metadata, Pages, lead_of
from .source import DEPTH, Source, check_unnamed, of_array, of_axes
from .zarr_writing import (
    Group,
    Original,
    Placed,
    chunks_of,
    create,
    default_chunks,
    group_of,
    more_than_one_scale,
    original_of,
    renamed,
    single_scale,
    there,
)

# What an array or a group is described in.
DESCRIPTIONS = (".zarray", ".zgroup", "zarr.json")
MOST_JSON = 2**24
# A page in more chunks than these would take minutes to collect.
MOST_CHUNKS = 2**17
# No image has more; NumPy knows 64.
MOST_AXES = 16


def require() -> Any:
    """The package zarr; an ImportError says what to install."""
    try:
        import zarr
    except ImportError:
        raise ImportError('Zarr\'s format needs the package zarr: pip install "fastdeblur[large]"') from None
    return zarr


def is_array(path: Path) -> bool:
    """Whether a folder is an array in Zarr's format, and not a group of them, or something else."""
    with suppress(OSError, ValueError):
        return any(_is_array(each) for each in _described(path))
    return False


def folder_of(array: Any) -> Path | None:
    """The folder in which a Zarr array lies, if it lies in one."""
    if isinstance(array, Shown):
        return array.folder
    store = getattr(array, "store", None)
    root = getattr(store, "root", None) or getattr(store, "path", None)  # of Zarr 3, and 2
    within = getattr(array, "path", None)
    if not isinstance(root, (str, os.PathLike)) or not isinstance(within, str):
        return None
    folder = Path(root) / within
    return folder if is_array(folder) else None


@contextmanager
def opened(path: Path, stack: bool, axes: Axes | None = None) -> Iterator[Source]:
    """An array, or the first dataset of an OME-Zarr group."""
    described = _found(path)
    if any(_is_array(each) for each in described):
        array, extra = _array(path)
        if axes is None:
            check_unnamed(tuple(map(int, array.shape)), stack)
            source = of_array(array, stack, extra)
        else:
            source = of_axes(array, axes, "Zarr", extra)
        lead = lead_of(source.metadata, source.pages)
        _check_chunks(array, source.shape, len(lead))
        shown = list(range(len(lead), len(array.shape)))

        def page(number: int) -> np.ndarray:
            place = np.unravel_index(number, lead) if lead else ()
            return Shown(path, array, shown, dict(enumerate(map(int, place))))[:]

        original = _original(path, array)
        metadata = Metadata(
            "Zarr", own=original, own_words=("the attributes of Zarr",) if original.attributes else (),
            axes=None if source.metadata is None else source.metadata.axes,
        )  # fmt: skip
        parts = lambda number: Shown(path, array, shown, dict(enumerate(map(int, np.unravel_index(number, lead)))))  # noqa: E731
        yield replace(
            source,
            page=page,
            array=Shown(path, array, list(range(len(array.shape)))),
            parts=parts if lead else None,
            metadata=metadata,
        )
    else:
        yield _multiscales(path, described, stack, axes)


class Shown(Placed):
    """A page of an array that is read with limits.

    `takes` are the bytes that this takes at most, beside the part.
    """

    def __init__(self, folder: Path, array: Any, page_axes: list[int], at: dict[int, int] | None = None):
        super().__init__(array, page_axes, at)
        self.folder = folder
        self.takes = chunked.memory(tuple(map(int, array.chunks)), self.dtype.itemsize)

    def __getitem__(self, part: Any) -> np.ndarray:
        index = self._index(part)
        _check_stored(self.folder, index)
        return self._ordered(chunked.read(self.array, index, tuple(map(int, self.array.chunks))))


def in_parts(path: Path) -> Any:
    """An array, or the first dataset of an OME-Zarr group without its axes of length 1, to be read in parts."""
    described = _found(path)
    if any(_is_array(each) for each in described):
        array = _array(path)[0]
        return Shown(path, array, list(range(len(array.shape))))
    array, inner, axes = _dataset(path, described)
    others = [name for name, size in zip(axes, array.shape, strict=True) if name not in "cyx" and size != 1]
    if others:
        raise ValueError(f"it must be one image; it has the axes {' and '.join(others)}")
    page_axes = [at for at, name in enumerate(axes) if name in "yx" or (name == "c" and array.shape[at] > 1)]
    return Shown(inner, array, page_axes)


def whole(path: Path) -> tuple[Any, Axes | None]:
    """All of an array, or of the first dataset of a group, to be read in parts; of a group that is a stack its axes."""
    described = _found(path)
    if any(_is_array(each) for each in described):
        return in_parts(path), None
    array, inner, names = _dataset(path, described)
    shown = Shown(inner, array, list(range(len(array.shape))))
    at = names.index("y")
    counting, channels = "".join(names[:at]).upper(), "".join(names[at + 2 :]).upper()
    deep = any(name not in "cyx" and size != 1 for name, size in zip(names, shown.shape, strict=True))
    if not deep or set(counting) - set("TCZ") or channels not in ("", "C"):
        return shown, None
    return shown, Axes(counting, channels, shown.shape[:at])


def _found(path: Path) -> list[dict[str, Any]]:
    """`_described` of what must be in Zarr's format."""
    require()
    if not path.exists():
        raise FileNotFoundError(2, os.strerror(2))
    described = _described(path)
    if not described:
        raise ValueError("it is not in Zarr's format: there is neither .zarray, .zgroup nor zarr.json in it")
    return described


def _described(folder: Path) -> list[dict[str, Any]]:
    """The JSON that describes an array or a group; of two formats, the newer one's last."""
    descriptions = [_json(folder / name) for name in DESCRIPTIONS if (folder / name).is_file()]
    return [each for each in descriptions if each]


def _json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MOST_JSON:
        raise ValueError(f"it is damaged: {path.name} has {path.stat().st_size} bytes")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is damaged: {path.name} is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f"it is damaged: {path.name} is not an object of JSON")
    return content


def _is_array(described: dict[str, Any]) -> bool:
    return described.get("node_type") == "array" or "chunks" in described


def _array(folder: Path) -> tuple[Any, int]:
    """An array whose codecs have a limit, and how many bytes reading a part of it takes."""
    zarr = require()
    described = _description(folder)
    for name in ("shape", "chunks"):
        if len(described.get(name) or []) > MOST_AXES:
            raise ValueError(f"its {name} must have at most {MOST_AXES} sizes; it has {len(described[name])}")
    _check_chunk_shape(described)
    dtype = _dtype(described)
    if zarr_codecs.shard_chunks(described) > MOST_CHUNKS:
        raise ValueError(f"its shards have more than {MOST_CHUNKS} chunks, and are not read")
    limited = zarr_codecs.limited(described, dtype)
    from zarr.storage import LocalStore, StorePath

    array = zarr.Array.from_dict(StorePath(LocalStore(folder, read_only=True)), limited)
    return array, chunked.memory(tuple(map(int, array.chunks)), np.dtype(array.dtype).itemsize)


def _check_chunk_shape(described: dict[str, Any]) -> None:
    """Refuse chunks whose places `_check_stored` would not know.

    Zarr from 3.4 on reads sizes that are no sizes as others, 0 as 1, so that of an image nothing is left but
    its fill value, and takes lists of unequal sizes.
    """
    grid = described.get("chunk_grid", {"name": "regular", "configuration": {"chunk_shape": described.get("chunks")}})
    if not isinstance(grid, dict) or grid.get("name") != "regular":
        name = grid.get("name") if isinstance(grid, dict) else grid
        raise ValueError(f"its chunks must be in a regular grid; theirs is {str(name)[:40]!r}")
    sizes = (grid.get("configuration") or {}).get("chunk_shape")
    if not isinstance(sizes, list) or not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError(f"it is damaged: its chunks have the shape {str(sizes)[:40]}")


def _description(folder: Path) -> dict[str, Any]:
    """That of an array; of two, the newer format's."""
    descriptions = [each for each in _described(folder) if _is_array(each) and int(each.get("zarr_format") or 0) <= 3]
    if not descriptions:
        raise ValueError("it is not an array that this version of the package zarr reads")
    return descriptions[-1]


def _dtype(described: dict[str, Any]) -> np.dtype[Any]:
    """The dtype of the pixels in the file."""
    try:
        dtype: np.dtype[Any] = np.dtype(described["dtype" if described.get("zarr_format") == 2 else "data_type"])
    except (TypeError, ValueError):
        raise ValueError(f"it must hold real numbers; its dtype is {described.get('dtype')}") from None
    return dtype


def _check_chunks(array: Any, page: tuple[int, ...], lead: int) -> None:
    chunks = array.chunks[lead:]
    count = math.prod(-(-size // chunk) for size, chunk in zip(page, chunks, strict=True))
    if count > MOST_CHUNKS:
        raise ValueError(f"it is in {count} chunks of {array.chunks}; more than {MOST_CHUNKS} a page are not read")


def _check_stored(folder: Path, index: tuple[slice, ...]) -> None:
    """Refuse, of the chunks of a part of an array, those that are no files, or larger than they can be."""
    described = _description(folder)
    most = zarr_codecs.stored_most(described, _dtype(described))
    ranges = [
        range(part.start // chunk, -(-part.stop // chunk))
        for part, chunk in zip(index, zarr_codecs.chunk_of(described), strict=True)
    ]
    for place in itertools.product(*ranges):
        try:
            state = (folder / _chunk_name(described, place)).stat()
        except FileNotFoundError:  # it has the fill value
            continue
        if not stat.S_ISREG(state.st_mode):
            raise ValueError(f"it is damaged: its chunk {_chunk_name(described, place)} is not a file")
        if state.st_size > most:
            raise ValueError("it is damaged: a chunk of it holds more than its pixels")


def _chunk_name(described: dict[str, Any], place: tuple[int, ...]) -> str:
    numbers = list(map(str, place))
    if "chunk_key_encoding" not in described:
        return str(described.get("dimension_separator") or ".").join(numbers)
    encoding = described["chunk_key_encoding"]
    if encoding["name"] not in ("default", "v2"):
        raise ValueError(f"the names of its chunks, {encoding['name']!r}, are not known")
    separator = (encoding.get("configuration") or {}).get("separator")
    if encoding["name"] == "v2":
        return str(separator or ".").join(numbers)
    return str(separator or "/").join(["c", *numbers])


def remove_strays(folder: Path, array: Any) -> None:
    """Remove what is no part of an array: a writer that was killed leaves half a chunk under a name of its own."""
    (described,) = filter(_is_array, _described(folder))
    counts = [range(-(-size // chunk)) for size, chunk in zip(array.shape, array.chunks, strict=True)]
    own = {_chunk_name(described, place) for place in itertools.product(*counts)} | {*DESCRIPTIONS, ".zattrs"}
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            if path.relative_to(folder).as_posix() not in own:
                path.unlink()


def _original(folder: Path, array: Any, group: Group | None = None) -> Original:
    """Attributes, names and description of an array that is read."""
    attributes = _attributes(folder, _described(folder))
    names = getattr(array.metadata, "dimension_names", None)
    return Original(
        attributes[-1] if attributes else {},
        array.fill_value,
        None if names is None else tuple(names),
        _description(folder),
        group,
    )


def fill_value(metadata: Metadata | None) -> float | None:
    """The fill value of the array that was read, which chunks have that were never written."""
    original = original_of(metadata)
    return None if original is None or original.fill_value is None else float(original.fill_value)


def _attributes(folder: Path, described: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Attributes of an array or a group; of two formats, the newer one's first."""
    attributes = [each["attributes"] for each in described if isinstance(each.get("attributes"), dict)]
    if (folder / ".zattrs").is_file():
        attributes.append(_json(folder / ".zattrs"))
    return attributes


def is_replaceable(path: Path) -> bool:
    """Whether a folder is an array, or an OME-Zarr group that holds nothing but one image of one scale."""
    if is_array(path):
        return True
    try:
        described = _described(path)
        attributes = _multiscaled(path, described)
        inner = _dataset(path, described)[1]
        return inner.parent == path.resolve() and not more_than_one_scale(path, attributes, inner.name)
    except Exception:  # noqa: BLE001 (it may be anything)
        return False


def _multiscaled(folder: Path, described: list[dict[str, Any]]) -> dict[str, Any]:
    """The attributes of a group that speak of multiscales."""
    for each in _attributes(folder, described):
        place = each.get("ome", each)
        if isinstance(place, dict) and place.get("multiscales"):
            return each
    raise ValueError("it is a group, not an array, and not an OME-Zarr image: it has no multiscales")


def _dataset(folder: Path, described: list[dict[str, Any]]) -> tuple[Any, Path, list[str]]:
    """The largest image of an OME-Zarr group, where it is, and the names of its axes."""
    attributes = _multiscaled(folder, described)
    multiscales = [attributes.get("ome", attributes)["multiscales"][0]]
    inner = (folder / str(multiscales[0]["datasets"][0]["path"])).resolve()
    if folder.resolve() not in inner.parents:
        raise ValueError(f"it is damaged: its dataset {multiscales[0]['datasets'][0]['path']!r} is not in it")
    array = _array(inner)[0]
    shape = tuple(map(int, array.shape))
    axes = [str(each["name"] if isinstance(each, dict) else each).lower() for each in multiscales[0].get("axes") or []]
    axes = axes or list("tczyx"[-len(shape) :])
    if len(axes) != len(shape) or len(set(axes)) != len(axes) or [name for name in axes if name in "yx"] != ["y", "x"]:
        raise ValueError(f"its axes must be one for each dimension, y before x; they are {axes}, its shape {shape}")
    return array, inner, axes


def _multiscales(folder: Path, described: list[dict[str, Any]], stack: bool, named: Axes | None) -> Source:
    """The image at full size of a group as OME writes them: axes of length 1 are left out, c are channels.

    Or as is `said`: then letters before YX count pages.
    """
    array, inner, axes = _dataset(folder, described)
    if named is not None:
        named = named.of_shape(tuple(map(int, array.shape)))
        axes, stack = list(named.letters.lower()), stack or bool(named.pages)
    shape, extra = tuple(map(int, array.shape)), _array(inner)[1]
    sizes = dict(zip(axes, shape, strict=True))
    if 0 in shape:
        raise ValueError(f"it must not be empty; its shape is {shape}")
    attributes = _multiscaled(folder, described)
    path = inner.relative_to(folder.resolve()).as_posix()
    zarr_format = int(_description(inner).get("zarr_format") or 2)
    group = Group(single_scale(attributes), path, axes, shape, zarr_format)
    if named is not None:
        group = replace(group, attributes=renamed(group.attributes, axes), channels=named.channels.lower())
    page_axes = group.page_axes

    def page(number: int) -> np.ndarray:
        return Shown(inner, array, page_axes, group.place(number))[:]

    original = _original(inner, array, group)
    one_page = of_array(
        np.broadcast_to(np.empty((), array.dtype), tuple(shape[axis] for axis in page_axes)), False, extra
    )
    one = group.count == 1 and not stack
    _check_chunks(array, tuple(1 if axis in group.pages else size for axis, size in enumerate(shape)), 0)
    unread = more_than_one_scale(folder, attributes, path)
    return replace(
        one_page,
        pages=None if one else group.count,
        page=page,
        array=Shown(inner, array, page_axes) if one else None,
        parts=lambda number: Shown(inner, array, page_axes, group.place(number)),
        metadata=Metadata(
            "Zarr",
            own=replace(original, names=tuple(axes) if zarr_format == 3 else None) if named is not None else original,
            axes=named,
            own_words=("the axes and attributes of OME-Zarr",),
            unread=tuple(unread),
        ),
        notes=(DEPTH,) if sizes.get("z", 1) > 1 else (),
        axes=tuple((axes[axis].upper(), shape[axis]) for axis in group.pages),
    )


@contextmanager
def saving(folder: Path, planned: Pages) -> Iterator[Callable[[np.ndarray], None]]:
    """Write an array to an empty folder, page after page; to a group if it was read from one."""
    metadata, dtype, start = planned.metadata, planned.dtype, len(planned.lead)
    group, zarr, shape = group_of(metadata), require(), (*planned.lead, *planned.shape)
    chunks = default_chunks(shape, start)
    if group is not None:
        chunks, shape = chunks[start:], shape[start:]
    chunks, usual = chunks_of(metadata, shape, chunks, dtype), chunks
    array = create(zarr, folder, shape, usual, dtype, metadata)
    written = 0

    def put(page: np.ndarray) -> None:
        nonlocal written
        if group is not None:
            Placed(array.array, group.page_axes, group.place(written))[...] = page
        else:
            array[tuple(map(int, np.unravel_index(written, shape[:start]))) if start else ...] = page
        written += 1

    yield put
    on_disk: Any = None
    with suppress(Exception):  # whatever has become of it
        on_disk = there(zarr, folder, "r", metadata)
    if on_disk is None or (on_disk.shape, on_disk.dtype.newbyteorder("="), on_disk.chunks) != (shape, dtype, chunks):
        raise OSError(f"something else has changed or removed {folder}")
