"""`deblur_large` of Dask's arrays: the same tiles, as a graph of tasks."""

from __future__ import annotations

import functools
import json
import os
import threading
from typing import Any

import numpy as np

from .. import validation
from ..engines import annotated
from ..kernels.runtime.arrays import on_gpu
from . import sampling
from .plan import Plan, check_pixels, check_weights, half_of, plan_of
from .readers import in_parts
from .sampling import TileParameters
from .tile_solver import TileSolver
from .windows import Place, TileGrid, grid_of

# Shapes of windows for which a process keeps memory: those inside, and at two borders and a corner.
CAPACITY = 4


def deblur_chunks(source: Any, psf: Any, out: Any, options: dict[str, Any]) -> Any:
    """A Dask array of the restored image; its chunks are the tiles."""
    import dask.array as da

    if out is not None:
        raise ValueError("out must be None for a Dask array: nothing is computed yet (see its to_zarr and store)")
    if options["progress"]:
        raise ValueError("progress must be False for a Dask array: nothing is computed yet (see dask.diagnostics)")
    if np.isnan(np.sum(source.shape)):
        raise ValueError(f"source must have a known shape; its shape is {source.shape}")
    masked = validation.is_masked(source._meta)
    if masked:
        source = source.map_blocks(_unmasked, dtype=validation.working_dtype(source._meta), meta=np.empty(0))
    _check_chunks("source", source)
    weights, background = options["weights"], options["background"]
    plan = plan_of(source.shape, source.dtype, psf, options, weights is not None or masked, background)
    source, level, around = _without(source, background, plan)
    chunks = [each for at, each in enumerate(source.chunks) if at != plan.axis]
    tile = plan.tile or plan.tile_of_chunks((chunks[0][0], chunks[1][0]))
    first = plan.first_halo(half_of(tile))
    grid = grid_of(plan.sides, tile, first)
    alone = grid.counts == (1, 1)
    reach = (0, 0) if alone else first
    _check(plan, grid, reach)
    source = source.rechunk(_chunks_of(plan, grid))
    others = {} if around is None else {"background": around.rechunk(source.chunks)}
    if weights is not None:
        others["weights"] = _beside("weights", weights, source, plan).rechunk(source.chunks)
    parameters = da.from_delayed(_parameters(plan, grid, reach, source, others, level), (), object)
    depth = dict(enumerate(plan.with_axis(list(reach), 0)))
    outside = dict.fromkeys(depth, "periodic" if plan.boundary == "wrap" and not alone else "none")
    windows = [da.overlap.overlap(each, depth, outside) for each in (source, *others.values())]
    solve = functools.partial(_solve, plan=plan, grid=grid, reach=reach, level=level, names=tuple(others))
    meta = np.empty((0,) * source.ndim, plan.working)
    return da.map_blocks(solve, *windows, parameters, chunks=source.chunks, dtype=plan.working, meta=meta)


def _unmasked(block: Any) -> np.ndarray:
    """The numbers of a chunk, NaN where its mask says so."""
    return annotated.numbers("source", block)[0]  # type: ignore[no-any-return]


def _check_chunks(name: str, array: Any) -> None:
    """Refuse chunks that are no NumPy arrays of real numbers."""
    if on_gpu(array._meta):
        raise TypeError(f"{name} must have chunks that are NumPy's arrays; they are {type(array._meta)}")
    validation.unannotated(name, array._meta)
    validation.real_kind(name, array)


def _as_dask(name: str, value: Any) -> Any:
    """A Dask array of what goes with the source."""
    import dask.array as da

    if not isinstance(value, da.Array):
        validation.unannotated(name, value)
        if isinstance(value, (str, os.PathLike)):
            raise TypeError(f"{name} must be an array for a Dask array; got {type(value).__name__}")
        value = da.asarray(value if in_parts(value) else validation.real_array(name, value))
    _check_chunks(name, value)
    return value


def _beside(name: str, value: Any, source: Any, plan: Plan) -> Any:
    """A Dask array of what goes with each pixel of the source, of its shape."""
    import dask.array as da

    array = _as_dask(name, value)
    plan.check_weights(array.shape, name)
    if array.ndim < source.ndim:
        array = da.broadcast_to(da.expand_dims(array, plan.axis), source.shape)
    return array


def _without(source: Any, background: Any, plan: Plan) -> tuple[Any, float | None, Any]:
    """The source without its background; or, for photons, as it is, and the background: a number, or an array."""
    photons = plan.options.data == "poisson"
    if plan.background is not None:
        level = plan.background
        if photons:
            return source, level, None
        if level != 0:
            source = source.astype(plan.working) - np.full((), level, plan.working)[()]
        return source, None, None
    around = _beside("background", background, source, plan)
    if photons:
        return source, None, around
    around = around.astype(plan.working).map_blocks(_checked_background, dtype=plan.working)
    return source.astype(plan.working) - around, None, None


def _checked_background(block: np.ndarray) -> np.ndarray:
    """Refuse a part of a background that is none."""
    if not (np.isfinite(block) & (block >= 0)).all():
        raise ValueError("background must be finite and at least 0")
    return block


def _check(plan: Plan, grid: TileGrid, reach: tuple[int, int]) -> None:
    """Chunks must have room for the halo, and windows fit into the memory."""
    for name, steps, halo in zip(("rows", "columns"), grid.steps, reach, strict=True):
        least = int(np.diff(steps).min())
        if halo > least:
            raise ValueError(f"tile must have at least as many {name} as the halo, {halo}; the smallest has {least}")
    plan.check_tiles(grid, reach)


def _chunks_of(plan: Plan, grid: TileGrid) -> tuple[Any, ...]:
    """The tiles as chunks of the source."""
    sides = [tuple(int(size) for size in np.diff(steps)) for steps in grid.steps]
    return plan.with_axis(sides, (plan.channels,))


def _parameters(
    plan: Plan, grid: TileGrid, reach: tuple[int, int], source: Any, others: dict[str, Any], level: float | None
) -> Any:
    """What holds for all tiles: one task, after one for each crop."""
    import dask

    if grid.counts == (1, 1):
        return dask.delayed(None)
    places = sampling.crops(plan.sides)

    def crops(array: Any) -> list[Any]:
        return [dask.delayed(array[plan.part(*place)]) for place in places]

    squares = None
    if plan.needs_squares:
        weighed = [source, *(each for name, each in others.items() if name == "weights")]
        squares = [
            dask.delayed(_squares)(plan, place, *[each[plan.part(*place)] for each in weighed])
            for place in sampling.cells(plan.sides)
        ]
    beside = {name: crops(each) for name, each in others.items()}
    return dask.delayed(_parameters_of)(plan, reach, crops(source), **beside, squares=squares, level=level)


def _squares(plan: Plan, place: Place, pixels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    planes = plan.planes(pixels)
    if weights is not None:
        weights = np.where(np.isnan(planes), 0, plan.planes(weights)).astype(planes.dtype)
    return sampling.root_squares(planes, weights, plan.blurs.psfs_of(place))


def _parameters_of(
    plan: Plan,
    reach: tuple[int, int],
    crops: list[np.ndarray],
    weights: list[np.ndarray] | None = None,
    background: list[np.ndarray] | None = None,
    squares: Any = None,
    level: float | None = None,
) -> TileParameters:
    for name, arrays in (("source", crops), ("weights", weights), ("background", background)):
        for array in arrays or ():
            validation.unannotated(name, array)
    sample, places = [plan.planes(crop) for crop in crops], sampling.crops(plan.sides)
    for planes, (rows, cols) in zip(sample, places, strict=True):
        check_pixels(planes, [rows], [cols])

    def beside(name: str, arrays: list[np.ndarray] | None) -> list[np.ndarray] | None:
        return arrays and [
            _beside_window(name, plan.planes(array), [rows], [cols], planes)
            for array, planes, (rows, cols) in zip(arrays, sample, places, strict=True)
        ]

    levels = beside("background", background) if level is None else [level] * len(crops)
    parameters = plan.tile_parameters(
        sample, beside("weights", weights), None if squares is None else sum(squares), levels
    )
    plan.warn_of_seams(parameters, plan.last_halo(parameters, reach))
    return parameters


def _beside_window(
    name: str, values: np.ndarray, rows: list[slice], cols: list[slice], planes: np.ndarray
) -> np.ndarray:
    """Weights or a background of a window, checked; weights may be NaN where the image is."""
    return check_weights(values, rows, cols, name, planes if name == "weights" else None)


def _solve(
    pixels: np.ndarray,
    *others: Any,
    plan: Plan,
    grid: TileGrid,
    reach: tuple[int, int],
    level: float | None,
    names: tuple[str, ...],
    block_info: Any = None,
) -> np.ndarray:
    """The restored tile of a block with its halo; `others` have `names`, and the parameters of all tiles come last."""
    *blocks, parameters = others
    at = [int(k) for axis, k in enumerate(block_info[0]["chunk-location"]) if axis != plan.axis]
    # Only now it is known how much of what is around is needed.
    halo = reach if parameters is None else plan.last_halo(parameters, reach)
    window = grid.window(at[0], at[1], halo, plan.boundary == "wrap")
    begins = [tile.start - depth for tile, depth in zip(window.tile, reach, strict=True)]
    if plan.boundary != "wrap":
        begins = [max(begin, 0) for begin in begins]
    rows, cols = window.pieces(plan.sides)

    places = [
        np.concatenate([np.arange(piece.start, piece.stop) - begin for piece in pieces]) % size
        for pieces, begin, size in zip((rows, cols), begins, plan.sides, strict=True)
    ]

    def inside(name: str, block: np.ndarray) -> np.ndarray:
        validation.unannotated(name, block)  # of which the array's own kind said nothing
        for axis, place in zip(plan.blurred, places, strict=True):
            whole = len(place) == place[-1] - place[0] + 1
            block = block[(slice(None),) * axis + (slice(place[0], place[-1] + 1) if whole else place,)]
        return plan.planes(block)

    planes = inside("source", pixels)
    check_pixels(planes, rows, cols)
    beside = {
        name: _beside_window(name, inside(name, block), rows, cols, planes)
        for name, block in zip(names, blocks, strict=True)
    }
    around = beside.get("background", level)
    tile, _ = _solver_for(plan, parameters)(planes, beside.get("weights"), window, around)
    return np.ascontiguousarray(plan.joined(tile))


_solvers: dict[Any, TileSolver] = {}
_lock = threading.Lock()


def _solver_for(plan: Plan, parameters: TileParameters | None) -> TileSolver:
    """The solver of this process for a plan: tasks come with copies of the plan."""
    if plan.options.denoiser is not None:  # which cannot be compared
        return plan.solver(parameters, 1)
    key = json.dumps([plan.identity(), plan.shape, plan.working.str, plan.given["workers"], repr(parameters)])
    with _lock:
        solver = _solvers.pop(key, None) or plan.solver(parameters, CAPACITY)
        _solvers[key] = solver
        while len(_solvers) > 1:
            del _solvers[next(iter(_solvers))]
    return solver
