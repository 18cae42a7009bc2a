"""Cost model of the paths, by which `path="auto"` chooses before anything is computed.

A path's time for one image, on one thread, is the sum of some counts times what each of them takes on the machine.
The counts follow from shapes, rank and dtype; what they take is measured (see `calibration`): the package's table, in
``costs.json``, on one machine, a user's own, in their cache folder, by the command ``fastdeblur calibrate``.
Threads do not enter: they would let the path, hence the last bits, depend on them.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from bisect import bisect_left
from functools import lru_cache
from importlib.resources import files
from itertools import product
from math import inf, log2
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import binding

from ..kernels.cpu.fourier.plan import radices_across, radices_down
from ..kernels.cpu.simd import register_shape

# By bytes in a vector register, by dtype, by path: one constant for each of the path's counts.
Table = dict[str, dict[str, dict[str, list[float]]]]
# For each path, how many counts it has.
PATHS = {"direct": 4, "separable": 5, "fft": 6}
FILE = files(__package__) / "costs.json"
# Up to so many, transforms do not pay on any machine, however small the image.
FEW_TAPS = 25
# Lengths whose transforms by rocket-fft are fast: with small factors, and some of them 2 (625 took 1.1 times as
# long a pixel as 640, 243 as 240).
_SMOOTH = sorted(
    length for a, b, c in product(range(18), range(11), range(8)) if (length := 2**a * 3**b * 5**c) <= 2**17
)
_GOOD = [length for length in _SMOOTH if length < 64 or length % 8 == 0]
# How many windows a tile has, one below the other.
_WINDOWS = 2
# Rows of a tile, to which windows add theirs.
WINDOW = 32
# Bytes of a tile's pixels up to which its spectrum, the psf's and they themselves share the cache.
CACHED = 2**18
# Bytes of an image up to which it is in the last cache.
HELD = 2**22
# Longest transform, unless the psf asks for more: what all threads work on has to share the last cache.  (320 to 640
# take as long.)
_LONGEST = 512
# Threads among which tiles should go round, whatever the number of threads is.
_CREW = 4


def user_file() -> Path | None:
    """Where a user's own table is: in the cache folder; None where nothing is kept (``FASTDEBLUR_CACHE=0``)."""
    root = numba.config.CACHE_DIR or os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    caches = os.environ.get("FASTDEBLUR_CACHE") != "0" and os.path.isabs(root)
    return Path(root, "fastdeblur", "costs.json") if caches else None


def processor() -> str:
    """The processor that code is compiled for; homes are shared by machines that differ."""
    return str(numba.config.CPU_NAME or binding.get_host_cpu_name())


def read_user_table(file: Path | None) -> Table | None:
    """A user's own table, if there is one, of this processor, and whole."""
    try:
        content = json.loads(file.read_text(encoding="utf-8")) if file else {}
        if content.get("processor") != processor():
            return None
        table: Table = content["nanoseconds"]
        for dtypes in table.values():
            for path, count in PATHS.items():
                for dtype in ("float32", "float64"):
                    constants = dtypes[dtype][path]
                    usable = all(type(each) in (int, float) and 0 <= each < inf for each in constants)
                    if len(constants) != count or not usable or not any(constants):
                        return None
        return table if table else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def write_user_table(constants: dict[str, dict[str, list[float]]]) -> Path:
    """Keep a user's own constants of this processor and its vectors, by dtype and path; from the next process on."""
    file = user_file()
    if file is None:
        raise OSError("there is no cache folder to keep costs in: FASTDEBLUR_CACHE is 0, or the folder is not absolute")
    file.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"processor": processor(), "nanoseconds": {_width(np.float32): constants}}, indent=1)
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=file.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(content)
        os.replace(temporary, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return file


def _width(dtype: Any) -> str:
    """Bytes in a vector register."""
    return str(register_shape(np.dtype(dtype)).lanes * np.dtype(dtype).itemsize)


OWN = read_user_table(user_file())
NANOSECONDS: Table = OWN or json.loads(FILE.read_text(encoding="utf-8"))["nanoseconds"]


def _constants(path: str, dtype: Any) -> list[float]:
    """What each of the path's counts takes, in nanoseconds.

    A width that nobody has measured is taken for the widest that is.  (With 64 bytes, prototypes of
    the direct and the FFT path were both faster by a fifth than with 32, on another machine.)
    """
    width, name = _width(dtype), np.dtype(dtype).name
    return NANOSECONDS[width if width in NANOSECONDS else max(NANOSECONDS, key=int)][name][path]


def counts(path: str, shape: tuple[int, int], psf_shape: tuple[int, ...], rank: int, dtype: Any) -> tuple[float, ...]:
    """What the time of a path is linear in.

    direct: multiply-adds, pixels of windows, pixels from memory, images; separable: multiply-adds
    down, across, and the same; fft: see `fourier_counts`, and images.
    """
    (rows, cols), (down, across) = shape, psf_shape
    if path == "fft":
        fft_rows, fft_cols = fourier_shape(psf_shape, shape, dtype)
        tiles = -(-rows // (_WINDOWS * (fft_rows - down + 1))) * -(-cols // (fft_cols - across + 1))
        return *fourier_counts(tiles, fft_rows, fft_cols, rows * cols, dtype), 1.0
    registers = register_shape(np.dtype(dtype))
    pixels = float(rows + rows % registers.rows) * -(-cols // registers.width) * registers.width
    columns, windows = down + registers.rows - 1, pixels * (1 + (down - 1) / WINDOW)
    cold = _from_memory(rows * cols, dtype)
    if path == "direct":
        return pixels * columns * across, windows, cold, 1.0
    return rank * pixels * columns, rank * pixels * across, windows, cold, 1.0


def fourier_counts(tiles: int, fft_rows: int, fft_cols: int, pixels: int, dtype: Any) -> tuple[float, ...]:
    """Pixels transformed, times the logarithm of a tile's; those beyond the cache; pixels; those from memory; tiles."""
    tile = fft_rows * fft_cols
    beyond = max(tile - CACHED // np.dtype(dtype).itemsize, 0)
    return tiles * tile * log2(tile), float(tiles * beyond), float(pixels), _from_memory(pixels, dtype), float(tiles)


def _from_memory(pixels: int, dtype: Any) -> float:
    """Pixels that the last cache does not hold."""
    return float(max(pixels - HELD // np.dtype(dtype).itemsize, 0))


def predicted(path: str, shape: tuple[int, int], psf_shape: tuple[int, ...], rank: int, dtype: Any) -> float:
    """Seconds that a path should take for an image of `shape`, on one thread of the machine that was measured."""
    of = counts(path, shape, psf_shape, rank, dtype)
    return 1e-9 * sum(count * each for count, each in zip(of, _constants(path, dtype), strict=True))


def cheapest(shape: tuple[int, int], psf_shape: tuple[int, ...], rank: int, dtype: Any) -> str:
    """The path that should be fastest; `rank` is that of the psf, or more than a low one."""
    many = psf_shape[0] * psf_shape[1] > FEW_TAPS
    paths = [path for path in PATHS if many or path != "fft"]
    return min(paths, key=lambda path: predicted(path, shape, psf_shape, rank, dtype))


def good_length(least: int) -> int:
    """The smallest length of fast transforms from `least` on."""
    return at_least(least, _GOOD)


@lru_cache(maxsize=256)
def fourier_shape(psf_shape: tuple[int, ...], shape: tuple[int, int], dtype: Any) -> tuple[int, int]:
    """Rows and columns of the transforms that should be fastest for an image of `shape`."""
    constants, windows = _constants("fft", dtype)[:-1], (_WINDOWS, 1)
    choices = [
        _lengths(taps, size, part, lengths, max(_LONGEST, 3 * taps))
        for taps, size, part, lengths in zip(psf_shape, shape, windows, transforms(dtype), strict=True)
    ]

    def cost(choice: tuple[tuple[int, int], ...]) -> float:
        (down, fft_rows), (across, fft_cols) = choice
        tiles = down * across
        of = fourier_counts(tiles, fft_rows, fft_cols, shape[0] * shape[1], dtype)
        # As much for few threads as for one: tiles that do not go round leave some of them idle.
        idle = -(-tiles // _CREW) * _CREW / tiles
        return sum(count * each for count, each in zip(of, constants, strict=True)) * (1 + idle)

    (_, fft_rows), (_, fft_cols) = min(product(*choices), key=cost)
    return fft_rows, fft_cols


@lru_cache
def transforms(dtype: Any) -> tuple[list[int], list[int]]:
    """Lengths of columns and of rows that the FFT path has transforms for, in ascending order."""
    lanes = register_shape(np.dtype(dtype)).lanes
    return (
        [length for length in _SMOOTH if radices_down(length)],
        [length for length in _SMOOTH if radices_across(length, lanes) is not None],
    )


def at_least(least: int, lengths: list[int]) -> int:
    """The smallest length from `least` on."""
    return lengths[bisect_left(lengths, least)]


def _lengths(taps: int, size: int, windows: int, lengths: list[int], longest: int) -> list[tuple[int, int]]:
    """Numbers of equal parts of an axis, of so many windows each, with the length of transform that they need."""

    def needed(part: int) -> int:
        return at_least(-(-part // windows) + taps - 1, lengths)

    those = [length for length in lengths if taps + min(taps, 32) // 2 <= length <= longest]
    if needed(size) <= longest:
        those.append(needed(size))
    parts = {-(-size // (windows * (length - taps + 1))) for length in those}
    return [(count, needed(-(-size // count))) for count in sorted(parts)]


def as_text(table: dict[str, Any]) -> str:
    """The contents of FILE: one line for each width of vectors and dtype."""
    widths = []
    for width, dtypes in sorted(table["nanoseconds"].items(), key=lambda item: int(item[0])):
        lines = [f"      {json.dumps(dtype)}: {json.dumps(paths)}" for dtype, paths in dtypes.items()]
        widths.append(f"    {json.dumps(width)}: {{\n" + ",\n".join(lines) + "\n    }")
    return '{\n  "nanoseconds": {\n' + ",\n".join(widths) + "\n  }\n}\n"
