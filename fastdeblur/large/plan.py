"""Checked arguments of `deblur_large`, and what follows from them: tiles, halo and memory."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .. import validation
from ..deblurrer import psfs_of
from ..engines.workspaces import check_operation
from ..estimates import images_beside, of_solve
from ..hygiene import warn_of
from ..io.source import readable
from ..operators.blur import Blur
from ..operators.varying import VaryingBlur
from ..problem.options import LARGE, OPTIONS, SOLVE, Options, checked, options_of
from ..solvers.units import check_unscaled
from . import halo_width as halo
from . import sampling
from .blurs import FieldOfPsfs, OnePsf
from .readers import is_image
from .sampling import TileParameters
from .tile_solver import TileSolver
from .windows import TileGrid

# What compiled code and its libraries take beyond the import, in bytes.
CODE = 90e6
# No less memory than this is worth asking for.
LEAST_TILE = 64
# Options that tiles do not take from the caller: those that all share, and those of each call.
NOT_GIVEN = ("mu", "boundary", "weights", "background", "progress")
# The estimated difference at seams, in shares of the range, of which a caller should hear.
NOTABLE = 1e-3
# Least halo of methods that take steps, in sides of the psf; and that of ADMM where psfs vary, whose flat parts near
# the image's border reach further.  (Tv, 144 x 144, a lens with psfs of 15 x 15, four tiles, an optimality of 2e-6:
# 2.2e-3 of the range from the whole with 2, beside a seam, 2.2e-4 with 4.  One psf of 9 x 9, 1e-5: 1e-4 with 2.)
REACH, FIELD_REACH = 2, 4


@dataclass
class Plan:
    """Checked arguments of `deblur_large`.

    Attributes
    ----------
    shape : tuple of int
        The source's; `sides` are its rows and columns, `axis` its channel axis, from the front.
    working : dtype
        Of the result.
    blurs : OnePsf or FieldOfPsfs
        What blurred each part; its `psf` has channels first, if it has channels, and `psfs` are one or several.
    options : Options
    given : dict
        What a Deblurrer is given beside the weight.
    """

    shape: tuple[int, ...]
    axis: int | None
    working: np.dtype[Any]
    blurs: OnePsf | FieldOfPsfs
    options: Options
    boundary: str
    given: dict[str, Any]
    tile: tuple[int, int] | None
    halo: tuple[int, int] | None
    memory: int
    weighted: bool
    #: A number, or None if it is an image.
    background: float | None
    #: Bytes that reading takes beside tiles.
    reading: int = 0
    sides: tuple[int, int] = field(init=False)
    psf: np.ndarray = field(init=False)
    psfs: list[np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        rows, cols = (size for at, size in enumerate(self.shape) if at != self.axis)
        self.sides = rows, cols
        self.psf, self.psfs = self.blurs.psf, self.blurs.psfs

    def check_weights(self, shape: tuple[int, ...], name: str = "weights") -> None:
        """Refuse weights, or a background, of another shape."""
        if shape not in (self.shape, self.sides):
            one = "" if self.axis is None else f", or {self.sides} for all channels"
            whose = "their" if name == "weights" else "its"
            raise ValueError(f"{name} must have the source's shape {self.shape}{one}; {whose} shape is {shape}")

    @property
    def channels(self) -> int:
        """1 without a channel axis."""
        return 1 if self.axis is None else self.shape[self.axis]

    @property
    def blurred(self) -> tuple[int, int]:
        """The axes of the source that are rows and columns."""
        rows, cols = (at for at in range(len(self.shape)) if at != self.axis)
        return rows, cols

    @property
    def needs_squares(self) -> bool:
        """Whether the weight follows from norms of the whole image."""
        return self.options.data == "root" and self.options.mu is not None

    def part(self, rows: slice, cols: slice) -> tuple[slice, ...]:
        """The index of a place, all channels, in the source."""
        return self.with_axis([rows, cols], slice(0, self.channels))

    def with_axis(self, places: list[Any], channels: Any) -> tuple[Any, ...]:
        """Two places, and the channels' where they are."""
        if self.axis is not None:
            places = [*places[: self.axis], channels, *places[self.axis :]]
        return tuple(places)

    def planes(self, pixels: np.ndarray) -> np.ndarray:
        """Channels first, in the result's dtype."""
        moved = pixels[None] if self.axis is None else np.moveaxis(pixels, self.axis, 0)
        with np.errstate(over="ignore"):  # refused as infinite
            return np.ascontiguousarray(moved, self.working)

    def same_for_all(self, pixels: np.ndarray) -> np.ndarray:
        """Planes that are the same for all channels."""
        return np.array(np.broadcast_to(pixels, (self.channels, *pixels.shape)), self.working)

    def joined(self, planes: np.ndarray) -> np.ndarray:
        """The inverse of `planes`."""
        return planes[0] if self.axis is None else np.moveaxis(planes, 0, self.axis)

    def first_halo(self, most: tuple[int, int]) -> tuple[int, int]:
        """The halo to reckon with before the weight is known."""
        if self.halo is not None:
            return self.halo
        return self._bounded(self._first_ridge, most)

    @property
    def _first_ridge(self) -> float:
        is_ridge = self.options.prior == "gradient" and self.options.data == "squares" and self.options.mu is not None
        return (self.options.mu if is_ridge else sampling.likely_ridge(self.psfs)) or 0.0

    def last_halo(self, parameters: TileParameters, most: tuple[int, int]) -> tuple[int, int]:
        """The halo, once the weight is known, but no more than `most`."""
        return _least_of(self.halo, most) if self.halo is not None else self._bounded(parameters.ridge, most)

    def _needed_halo(self, ridge: float) -> tuple[int, int]:
        return halo.needed(self.blurs.extremes, ridge, halo.LEFT if self.boundary == "unknown" else halo.LEFT_WRONG)

    def _bounded(self, ridge: float, most: tuple[int, int]) -> tuple[int, int]:
        needed = self._needed_halo(ridge)
        if self.options.method != "exact":  # its reach is that of the ridge problem, but for steps that go further
            reach = FIELD_REACH if self.blurs.varies and self.options.method == "admm" else REACH
            rows, cols = self.psf.shape[-2:]
            needed = max(reach * rows, needed[0]), max(reach * cols, needed[1])
        return _least_of(needed, most)

    def warn_of_seams(self, parameters: TileParameters, used: tuple[int, int]) -> None:
        """Say so if a larger halo would be needed."""
        if self.halo is not None or parameters.ridge == 0:
            return
        left = halo.seam(self.blurs.extremes, parameters.ridge, used)
        if left > NOTABLE:
            # The axis that lacks most.
            short, needed = max(
                zip(used, self._needed_halo(parameters.ridge), strict=True), key=lambda each: each[1] - each[0]
            )
            validation.warn(
                f"halo of {short} px is smaller than the {needed} px needed: at seams the result may differ by about "
                f"{left:.1g} of the image's range from what the whole would give. Increase tile, max_memory or mu, or "
                "give halo.",
                UserWarning,
            )

    def tile_of_chunks(self, chunk: tuple[int, int]) -> tuple[int, int]:
        """Tiles for a source in chunks: those, or as many of them together as the psf and the halo need and fit."""
        ridge, least = self._first_ridge, self.psf.shape[-2:]
        needed: tuple[int, ...] = least
        # An axis of one chunk has no seams.
        sides = zip(chunk, self.sides, strict=True)
        rows, cols = (side if step >= side else step // 2 for step, side in sides)
        if self.halo is None and halo.seam(self.blurs.extremes, ridge, self._bounded(ridge, (rows, cols))) > NOTABLE:
            needed = tuple(
                max(taps, 2 * reach) for taps, reach in zip(least, self._bounded(ridge, self.sides), strict=True)
            )
        counts = [-(-min(size, side) // step) for size, side, step in zip(needed, self.sides, chunk, strict=True)]
        while True:
            rows, cols = (min(count * step, side) for count, step, side in zip(counts, chunk, self.sides, strict=True))
            reach = self.first_halo(half_of((rows, cols)))
            window = min(rows + 2 * reach[0], self.sides[0]), min(cols + 2 * reach[1], self.sides[1])
            longer = 0 if rows >= cols else 1
            if self.need(window, False) <= self.memory or (counts[longer] - 1) * chunk[longer] < least[longer]:
                return rows, cols
            counts[longer] -= 1

    def auto_tile(self, parameters: TileParameters) -> tuple[int, int]:
        """The largest tile whose window fits into the memory: the whole image, or a few of about the same size."""
        if self.need(self.sides, True) <= self.memory:
            return self.sides
        needed = self.last_halo(parameters, self.sides)
        self.check_memory(needed)
        low, high = self._least, max(self.sides)
        while high - low > 1:
            middle = (low + high) // 2
            if self.need(self._window(middle, needed), False) <= self.memory:
                low = middle
            else:
                high = middle
        rows, cols = (math.ceil(size / math.ceil(size / low)) for size in self.sides)
        return rows, cols

    @property
    def _least(self) -> int:
        """The smallest tile to take: one that sees no more beyond itself than it has must be as long as the psf."""
        return max(LEAST_TILE, int(max(self.psf.shape[-2:])))

    def check_memory(self, halo: tuple[int, int]) -> None:
        """Refuse a memory that is too small for the smallest of tiles with that halo."""
        need = self.need(self._window(self._least, halo), False)
        if need > self.memory:
            raise ValueError(
                f"max_memory must be at least {readable(need)} for this psf, whose tiles see {max(halo)} pixels beyond "
                f"themselves; got {readable(self.memory)}"
            )

    def check_tiles(self, grid: TileGrid, halo: tuple[int, int]) -> None:
        """Refuse tiles of a given size that do not fit into the memory."""
        alone = grid.counts == (1, 1)
        largest = (max(int(size) for size in np.diff(steps)) for steps in grid.steps)
        window = tuple(min(size, tile + 2 * reach) for size, tile, reach in zip(self.sides, largest, halo, strict=True))
        need = self.need(window, alone)  # type: ignore[arg-type]
        if need > self.memory:
            raise ValueError(
                f"max_memory must be at least {readable(need)} for tiles of {grid.tile}; got {readable(self.memory)} "
                "(smaller ones take less)"
            )

    def _window(self, tile: int, needed: tuple[int, int]) -> tuple[int, int]:
        """The window of a square tile: at least half of it is the tile, down and across."""
        rows, cols = (
            min(size, tile + 2 * min(reach, max(tile // 2, self._least)))
            for size, reach in zip(self.sides, needed, strict=True)
        )
        return rows, cols

    def need(self, window: tuple[int, int], alone: bool) -> int:
        """Bytes to solve windows of that shape one after another, while others are read and written."""
        boundaries = {self.boundary} if alone else {self.boundary, "unknown"}
        shape, options = (self.channels, *window), self.options
        if not alone:
            options = replace(options, mu=0.0, data="squares" if options.data == "root" else options.data)
        beside = images_beside(options, self.background)
        varying = self.blurs.memory(window)
        solves = [
            of_solve(options, self.psfs, shape, self.working, each, self.weighted, beside, varying)
            for each in boundaries
        ]
        pixels = math.prod(shape)
        # A window that is solved, one that is read, its tile as it is written; weights twice too, and backgrounds.
        around = pixels * self.working.itemsize * (5 + 2 * self.weighted + 2 * (self.background is None))
        return int(max(solves) + around + CODE + self.reading)

    def solver(self, parameters: TileParameters | None, capacity: int) -> TileSolver:
        """A solver of windows; without parameters of tiles, of the whole image."""
        if parameters is None:
            given = {
                **self.given,
                "data": self.options.data,
                "mu": "auto" if self.options.mu is None else self.options.mu,
            }
            return TileSolver(self.blurs, self.boundary, 0.0, given, capacity)
        given = {**self.given, "mu": parameters.mu}
        if parameters.max_iter is not None:
            given |= {"max_iter": parameters.max_iter, "tol": 0.0}
        return TileSolver(self.blurs, self.boundary, parameters.level, given, capacity, parameters.scale)

    def tile_parameters(
        self, sample: list[np.ndarray], weights: list[np.ndarray] | None, squares: Any, around: Any
    ) -> TileParameters:
        """The parameters of all tiles."""
        return sampling.tile_parameters(
            sample, weights, self.blurs, sampling.crops(self.sides), self.options, self.given, squares, around
        )

    def identity(self) -> dict[str, Any]:
        """The psf and the options that tell this job from others, as JSON."""
        options = self.options
        prior = options.prior if options.denoiser is None else getattr(options.denoiser, "__qualname__", "denoiser")
        values = vars(options) | {
            "prior": prior, "bounds": options.bounds and [*options.bounds], "boundary": self.boundary,
            "path": self.blurs.path or self.given["path"], "channel_axis": self.axis, "tile": self.tile,
            "halo": self.halo, "max_memory": self.memory if self.tile is None else None,
        }  # fmt: skip
        return {
            "psf": self.blurs.digest(),
            **{name: values[name] for name, option in OPTIONS.items() if option.in_journal},
        }


def _least_of(first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int]:
    return min(first[0], second[0]), min(first[1], second[1])


def plan_of(
    shape: tuple[int, ...], dtype: np.dtype[Any], psf: Any, values: dict[str, Any], weighted: bool, background: Any = 0
) -> Plan:
    """The plan for a source of that shape and dtype; `values` are those of all options of `deblur_large`."""
    options = checked(values)
    if options.method not in ("exact", "admm", "learned", "richardson_lucy"):
        raise ValueError(
            "prior must be 'gradient', 'tv', 'sparse', 'learned', a denoiser, or None with data='poisson', for a large "
            f"image: steps that stop early would stop elsewhere in each tile; got {values['prior']!r}"
        )
    varies = isinstance(psf, VaryingBlur)
    if isinstance(psf, Blur) and not varies:
        raise TypeError("psf must be an array for a large image, not a Blur, which is for one shape: pass its psf")
    channel_axis = values["channel_axis"]
    if not varies:
        validation.psf_dimensions(psf, channel_axis)
    dimensions = 2 if channel_axis is None else 3
    if len(shape) != dimensions or 0 in shape:
        raise ValueError(
            f"source must have {dimensions} dimensions{validation.planes_hint(channel_axis)}, none empty; "
            f"its shape is {shape}" + validation.no_volumes(len(shape), dimensions)
        )
    axis = None if channel_axis is None else validation.integer("channel_axis", channel_axis, -3, 2) % 3
    working, boundary = validation.working_dtype(np.empty(0, dtype)), values["boundary"]
    blurs: OnePsf | FieldOfPsfs
    if varies:
        sides = tuple(size for at, size in enumerate(shape) if at != axis)
        if psf.image_shape != sides:
            raise ValueError(
                f"psf is a VaryingBlur for images of shape {psf.image_shape}; the source's rows and columns are {sides}"
            )
        check_operation(psf, **{name: values[name] for name in ("boundary", "path", "workers")})
        boundary, workers = psf.boundary, psf.workers
        blurs = FieldOfPsfs(psf, working)
    else:
        workers, blurs = validation.workers(values["workers"]), OnePsf(psfs_of(psf, shape, axis))
    for each in blurs.psfs:
        warn_of(each)
        options.check_psf(psf.psfs if varies else each)
    check_unscaled(blurs.psfs, None, "a large image")
    whole = blurs.psf
    tile, halo = _pair("tile", values["tile"], 1), _pair("halo", values["halo"], 0)
    if tile is not None and min(np.subtract(tile, whole.shape[-2:])) < 0:
        raise ValueError(f"tile must be no smaller than the psf, whose shape is {whole.shape[-2:]}; got {tile}")
    denoiser = None if options.denoiser is None else _of_planes(options.denoiser, axis)
    given = {name: values[name] for name in options_of(LARGE) if name in options_of(SOLVE) and name not in NOT_GIVEN}
    # Norms of the whole are what "root" differs in; every tile is then a problem of squares.
    given |= {
        "data": "poisson" if options.data == "poisson" else "squares", "prior": denoiser or options.prior,
        "workers": workers, "channel_axis": 0, "path": "auto" if varies else values["path"],
    }  # fmt: skip
    if not is_image(background):
        validation.unannotated("background", background)
        background = validation.real("background", background, "at least 0")
    return Plan(
        shape=shape, axis=axis, working=working, blurs=blurs, options=options, boundary=boundary, given=given,
        tile=tile, halo=halo,
        memory=validation.memory_size("max_memory", values["max_memory"]), weighted=weighted,
        background=None if is_image(background) else background,
    )  # fmt: skip


def _pair(name: str, value: Any, least: int) -> tuple[int, int] | None:
    """One number for both axes, or two; None for "auto"."""
    if isinstance(value, str) and value == "auto":
        return None
    if isinstance(value, str):
        raise ValueError(f"{name} must be 'auto', a number of pixels, or two; got {value!r}")
    if np.ndim(value) == 0:
        return (validation.integer(name, value, least),) * 2
    if len(value) != 2:
        raise ValueError(f"{name} must be 'auto', a number of pixels, or two; got {value!r}")
    return validation.integer(name, value[0], least), validation.integer(name, value[1], least)


def _of_planes(denoiser: Any, axis: int | None) -> Any:
    """A caller's denoiser for planes; one that can be pickled still can."""
    return functools.partial(_denoised, denoiser, axis)


def _denoised(denoiser: Any, axis: int | None, planes: np.ndarray, sigma: float) -> np.ndarray:
    denoised = denoiser(planes[0] if axis is None else np.moveaxis(planes, 0, axis), sigma)
    validation.unannotated("prior's result", denoised)
    return np.asarray(denoised)[None] if axis is None else np.moveaxis(np.asarray(denoised), axis, 0)


def half_of(tile: tuple[int, int]) -> tuple[int, int]:
    """The largest halo that a tile of that size is worth."""
    return tile[0] // 2, tile[1] // 2


def check_pixels(planes: np.ndarray, rows: list[slice], cols: list[slice]) -> None:
    """Refuse infinite pixels of a place, which is in pieces."""
    wrong = np.isinf(planes)
    if wrong.any():
        place = np.argwhere(wrong)[0]
        raise ValueError(
            "source must be finite, or NaN where pixels are missing; "
            f"at {_named(place, rows, cols)} it is {planes[tuple(place)]}"
        )


def check_weights(
    weights: np.ndarray, rows: list[slice], cols: list[slice], name: str = "weights", planes: np.ndarray | None = None
) -> np.ndarray:
    """Weights, 0 where they are NaN as `planes` of the image are; refuses those, or a background, that are none."""
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any() and planes is not None:
        missing = np.isnan(planes) & np.isnan(weights)
        wrong &= ~missing
        weights = np.where(missing, weights.dtype.type(0), weights)
    if wrong.any():
        place = np.argwhere(wrong)[0]
        allowed = "at least 0" if planes is None else "at least 0, or NaN where the source is"
        raise ValueError(
            f"{name} must be finite and {allowed}; at {_named(place, rows, cols)} it is {weights[tuple(place)]}"
        )
    return weights


def _named(place: np.ndarray, rows: list[slice], cols: list[slice]) -> str:
    row, col = (
        int(np.concatenate([np.arange(piece.start, piece.stop) for piece in pieces])[at])
        for at, pieces in zip(place[1:], (rows, cols), strict=True)
    )
    return f"row {row}, column {col}"
