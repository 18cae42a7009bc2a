"""`deblur_large`: an image that may be larger than memory, restored tile by tile."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import validation
from ..engines import annotated
from ..io.axes import parse
from ..problem.options import LARGE, options_in, options_of
from ..result import Result
from ..solvers.common import bar
from . import readers, sampling, scratch, stacks, writers
from .journal import Journal
from .plan import CODE, Plan, check_pixels, check_weights, half_of, plan_of
from .readers import Readable
from .sampling import TileParameters
from .tile_solver import TileSolver
from .windows import TileGrid, Window, grid_of
from .writers import Identity, Writable, checksum, checksum_of


def deblur_large(
    source: Any,
    psf: Any,
    out: Any = None,
    *,
    data: str | None = None,
    prior: Any = "gradient",
    mu: Any = "auto",
    boundary: str = "unknown",
    weights: Any = None,
    bounds: Any = None,
    background: Any = 0,
    read_noise: float = 0,
    channel_axis: int | None = None,
    max_iter: int | None = None,
    tol: float = 1e-4,
    path: str = "auto",
    workers: int | None = None,
    max_memory: int | str = "1GB",
    tile: Any = "auto",
    halo: Any = "auto",
    progress: bool = False,
    axes: str | None = None,
) -> Any:
    """Restore an image that may be larger than memory, tile by tile, or a stack of them, page by page.

    Parameters
    ----------
    source : array, path, or dask.array.Array; shape (rows, cols), or with a channel axis, or a stack's
        The blurred image: a ``numpy.memmap``, a Zarr array, or anything with `shape`, `dtype` and slices; or the
        path of a .npy, .zarr (OME-Zarr too), TIFF or FITS file, tiled, compressed or plain (``image.fits[1]`` is an
        HDU), which may hold a stack: TIFFs of several pages, FITS cubes, OME-Zarr.  A Dask array gives a Dask array,
        of which nothing is computed yet.  Pixels that are NaN, below the mask of an object, or missing by what a
        file says, are ignored: they have weight 0.
    psf : array_like or VaryingBlur
        As for `solve`, but no other `Blur`; of a stack of which C counts pages also one for each channel, of shape
        (channels, rows, cols).  A `VaryingBlur` is one for the whole image's rows and columns: each tile
        gets its part of the field, and sees as far beyond itself as the widest psf needs.
    out : None, array or path
        Where the result goes, in float32 or float64.  None is a new array in memory.  The path of a .npy, .zarr,
        TIFF or FITS file is written beside its final name, and replaces what was there only when it is complete.
        It must not be the source.
    data, prior, mu, boundary, bounds, tol, path, workers
        As for `solve`.  All tiles get one weight: "auto" finds it from a sample of crops.  For ``data="root"``, whose
        weight belongs to the norms of the whole image, the ridge that leads to the same minimiser is
        found from the image's spectrum in one more pass over it, and tiles are solved as "squares" with that; with
        ``mu="auto"`` no such pass is needed.
    weights : array, path or None
        As `source`, of its shape or of one channel's.  They may be NaN where the source is.
    background : number, array or path
        As `solve`; an array or a file is read as `source` is, of its shape or of one channel's.
    read_noise : float
        As `solve`.
    channel_axis : int or None
        The axis of `source`, or of a page of a stack, that holds channels.
    max_iter : int or None
        For each tile, as for `solve`.  Without a prior, "poisson" takes in each tile as many steps as it does in the
        middle of a few crops.
    max_memory : int or str
        What may be used beyond the interpreter with this package: bytes, or such as "300MB" or "2GiB".  An `out` in
        memory comes on top.  Chunks, strips or tiles of a file that are large beside it, or would be decoded again
        and again, are copied first: into a nameless file beside `out`, or among temporary ones, as large as the
        source is without compression.
    tile : "auto", int or (int, int)
        Rows and columns of a tile, no less than the psf's; "auto" is what fits into the memory.  Others must, too.
        For a Dask array "auto" are its chunks, or several of them together where the psf or the halo needs more.
    halo : "auto", int or (int, int)
        How far a tile sees beyond itself.  "auto" is as far as the psf and the weight make it felt, so that seams
        differ by about 1e-4 of the image's range from what the whole would give; no more than half a tile.
    progress : bool
        Show a progress bar.
    axes : str or None
        Letters of the axes of `source`, such as "TCYX" or "ZYX": each of T, C and Z before YX counts pages, which are
        restored one after another, each with a weight of its own where that is found; C or S after YX are channels.
        In a TIFF without such letters of its own they may have sizes ("T2Z3YX").  None is what the file says.  The
        result has the same axes; `weights` and `background` are of one page, for all.  The blur along Z stays.

    Returns
    -------
    array
        `out`, or what is at its path, mapped; a Dask array if `source` is one; if `out` is None a new array, or what
        `solve` gives for an image of that kind: with the unit, mask, coordinates and metadata of astropy's.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above, `source` cannot be read, there is no place
        for `out`, another run is writing it, or `max_memory` is too small: then it says what is needed.
    OSError
        If writing fails, as on a full disk, or something else changes or removes what has been written meanwhile.
    ImportError
        If a file is in a format that needs a package which is not there: ``pip install "fastdeblur[large]"``.

    Warns
    -----
    UserWarning
        If seams may show, since a larger halo than half a tile would be needed; if the file system of `out` has no
        locks; and as `solve`, where a third of the tiles should not be trusted (of a Dask array that is not told).
        Of a Dask array, when the weight has been found: on a cluster a worker says it.

    Notes
    -----
    With ``data="root"`` and a weight of yours the ridge is near to the one of the whole, within some percent: it is
    what the spectrum of all pixels gives, corrected by what solving a few crops says.

    A run that ends early leaves a journal beside `out` (``.name.journal``), with what has been written.  The same call
    goes on from there, and ends with the same pixels as one that was never interrupted; another call with the
    same `out` is refused until the journal is deleted, and so is one whose source has changed since.  The journal
    is locked: of two runs on one `out` at the same time the second is refused.  This holds for outputs that are paths,
    mapped arrays, or Zarr arrays in folders.  Before a file or folder takes its place, all tiles are read again; what
    was there stays until then.

    Reading, solving and writing overlap.  Results do not depend on the number of threads.  A tile of which no pixel
    counts gets the mean of the sample.

    Examples
    --------
    >>> import numpy as np, fastdeblur as fd
    >>> psf = fd.psf.gaussian(7, 1.5)
    >>> image = np.random.default_rng(0).random((300, 300), np.float32)
    >>> whole = fd.solve(image, psf, data="squares", mu=0.1).image
    >>> tiles = fd.deblur_large(image, psf, data="squares", mu=0.1, tile=100)
    >>> bool(abs(tiles - whole).max() < 1e-3)
    True
    """
    options = options_in(locals())
    letters = None if axes is None else parse(axes)
    if is_dask(source):
        from . import dask as lazy

        if letters is not None:
            raise ValueError(f"axes must be None for a Dask array, whose pages are arrays; got {axes!r}")
        return lazy.deblur_chunks(source, psf, out, options)
    plain, mask, like = annotated.apart(source)
    if out is not None and (unit := validation.unit_of(source)):
        raise TypeError(
            f"source must be plain numbers, without a unit, where out is given, which has no place for one; got one in "
            f"{unit} (pass its value, or leave out out)"
        )
    if letters is not None and letters.channels:
        options["channel_axis"] = -1
    with ExitStack() as stack:
        readable = stack.enter_context(stacks.opened(plain, mask, letters))
        weighed = None if weights is None else stack.enter_context(readers.opened(weights, "weights"))
        beside = [] if weighed is None else [weighed]
        if readers.is_image(background):
            background = stack.enter_context(readers.opened(background, "background"))
            beside.append(background)
        folder = writers.folder_of(out)
        if isinstance(readable, stacks.Stack):
            pages = replace(readable, sources=[*readable.sources, *beside])

            def job_of(number: int, page: Readable) -> Job:
                return Job(page, weighed, pages.psf_of(psf, number), options, folder, background)

            restored = stacks.deblur_pages(pages, out, job_of)
        else:
            job = Job(readable, weighed, psf, options, folder, background)
            stack.callback(job.close)
            shape, dtype, axis = readable.shape, job.plan.working, job.plan.axis
            writers.check(out, [readable, *beside], shape, dtype, axis)
            restored = job.run(lambda *job: writers.opened(out, shape, dtype, axis, *job))[0]
        return like(restored) if out is None else restored


# The share of tiles from which on their doubts are told.
WORTH_SAYING = 1 / 3

# The options of a `Job` where its caller gives none.
DEFAULTS: dict[str, Any] = {
    name: option.default for name, option in options_of(LARGE).items() if name not in ("weights", "background")
}


def is_dask(value: Any) -> bool:
    """Whether it is a Dask array; Dask is not imported for this."""
    module = sys.modules.get("dask.array")
    return module is not None and isinstance(value, module.Array)


@dataclass
class Account:
    """How it went.

    Attributes
    ----------
    mu : float
        The weight of all tiles, with "squares" where "root" was asked for; of a single tile, its result's.
    tile, halo : (int, int)
    tiles : int
        How many; `resumed` of them had been done by an earlier run, and `empty` ones have no pixel that counts.
    n_iter, n_products, optimality, noise, misfit
        The largest of a tile.
    stop_reasons : list of str
    seconds : float
    """

    mu: float
    tile: tuple[int, int]
    halo: tuple[int, int]
    tiles: int
    resumed: int = 0
    empty: int = 0
    n_iter: int = 0
    n_products: float = 0.0
    optimality: float = 0.0
    noise: float = 0.0
    misfit: float = 0.0
    stop_reasons: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, result: Result | None) -> None:
        """One more tile."""
        if result is None:
            self.empty += 1
            return
        self.n_iter = max(self.n_iter, result.n_iter)
        self.n_products = max(self.n_products, result.n_products)
        self.optimality = max(self.optimality, result.optimality)
        self.noise, self.misfit = np.fmax([self.noise, self.misfit], [result.noise, result.misfit]).tolist()
        self.stop_reasons = sorted({*self.stop_reasons, result.stop_reason})
        if self.tiles == 1:
            self.mu = result.mu


class Job:
    """The restoration of a source with options, defaults included."""

    def __init__(
        self,
        source: Readable,
        weights: Readable | None,
        psf: Any,
        options: dict[str, Any],
        folder: Path | None = None,
        background: Any = 0,
        found: TileParameters | None = None,
    ):
        #: Parameters of all tiles, from this image or, before, from another.
        self.found = found
        self.plan: Plan = plan_of(
            source.shape,
            source.dtype,
            psf,
            options,
            weighted=weights is not None or getattr(source, "missing", None) is not None,
            background=background,
        )
        self._progress = bool(options["progress"])
        if weights is not None:
            self.plan.check_weights(weights.shape)
        self.background: Any = self.plan.background
        if self.background is None:
            self.plan.check_weights(background.shape, "background")
            self.background = self._at_hand(background, "background", folder)
        self.source = self._at_hand(source, "source", folder)
        self.weights = None if weights is None else self._at_hand(weights, "weights", folder)

    def _at_hand(self, source: Readable, name: str, folder: Path | None) -> Readable:
        plan = self.plan
        readable = scratch.at_hand(source, name, plan.memory, int(CODE), plan.tile, folder)
        plan.reading += readable.takes
        return readable

    def close(self) -> None:
        """Remove copies of what was read."""
        for each in (self.source, self.weights, self.background):
            if isinstance(each, scratch.ScratchCopy):
                each.close()

    def run(
        self, target_for: Callable[[tuple[int, int], Identity], AbstractContextManager[Writable]]
    ) -> tuple[Any, Account]:
        """Do it; returns what the target has become, and how it went.

        `target_for` opens one for a size of tiles, and what tells this job from others.
        """
        began, plan = time.monotonic(), self.plan
        grid, parameters, halo = self._layout()
        account = Account(math.nan if parameters is None else parameters.mu, grid.tile, halo, math.prod(grid.counts))
        with target_for(grid.tile, lambda: self._identity(grid, parameters)) as target:
            journal, windows = target.journal, grid.windows(halo, plan.boundary == "wrap")
            if journal is not None:
                self._check_done(target, journal, windows)
                journal.begin()
                account.resumed = len(journal.tiles)
            left = {at: window for at, window in windows.items() if journal is None or at not in journal.tiles}
            solver = plan.solver(parameters, 1)
            self._tiles(left, solver, target, journal, account)
            if journal is not None:
                journal.check_held()
                target.check((plan.part(*window.tile), journal.tiles[at][0]) for at, window in windows.items())
            whole = target.finish()
        for doubt, tiles in solver.doubts.items():
            if tiles >= WORTH_SAYING * account.tiles:
                validation.warn(f"the result may be wrong, in {tiles} of {account.tiles} tiles: {doubt}", UserWarning)
        account.seconds = time.monotonic() - began
        return whole, account

    def _check_done(self, target: Writable, journal: Journal, windows: dict[tuple[int, int], Window]) -> None:
        """Forget tiles that are not on the disk; refuse to go on if any was computed from other pixels."""
        plan = self.plan
        for at, sums in list(journal.tiles.items()):
            if at not in windows or checksum_of(target, plan.part(*windows[at].tile)) != sums[0]:
                del journal.tiles[at]  # it was not the disk's yet
        for at, (_, given) in journal.tiles.items():
            # Times of files do not tell: clocks tick too slowly, or are set, and maps are written late.
            if _checksum(*self._read(*windows[at].pieces(plan.sides))) != given:
                given_beside = ["weights"] * (self.weights is not None) + ["background"] * (plan.background is None)
                journal.refuse([" or ".join(["source", *given_beside])])

    def _layout(self) -> tuple[TileGrid, TileParameters | None, tuple[int, int]]:
        """Tiles, what holds for all of them, and the halo; a single tile is `solve`."""
        plan, tile = self.plan, self.plan.tile
        if tile is None:
            if plan.need(plan.sides, True) <= plan.memory:
                return grid_of(plan.sides, plan.sides, (0, 0)), None, (0, 0)
            plan.check_memory(plan.halo or (0, 0))  # before anything is read
            parameters = self._parameters()
            tile = plan.auto_tile(parameters)
            halo = plan.last_halo(parameters, half_of(tile))
            grid = grid_of(plan.sides, tile, halo)
        else:
            first = plan.first_halo(half_of(tile))
            grid = grid_of(plan.sides, tile, first)
            plan.check_tiles(grid, first)
            if grid.counts == (1, 1):
                return grid, None, (0, 0)
            parameters = self._parameters()
            halo = plan.last_halo(parameters, first)
        plan.warn_of_seams(parameters, halo)
        return grid, parameters, halo

    def _parameters(self) -> TileParameters:
        """What holds for all tiles: from a sample, and, if norms of the whole are needed, from every cell."""
        plan = self.plan
        if self.found is not None:
            return self.found
        sample, weights, around = zip(
            *[self._read([rows], [cols]) for rows, cols in sampling.crops(plan.sides)], strict=True
        )
        squares = None
        if plan.needs_squares:
            each = ((place, *self._read([place[0]], [place[1]])[:2]) for place in sampling.cells(plan.sides))
            squares = sum(
                sampling.root_squares(planes, weight, plan.blurs.psfs_of(place)) for place, planes, weight in each
            )
        self.found = plan.tile_parameters(
            list(sample), None if self.weights is None else list(weights), squares,
            None if around[0] is None else list(around),
        )  # fmt: skip
        return self.found

    def _read(self, rows: list[slice], cols: list[slice]) -> tuple[np.ndarray, np.ndarray | None, Any]:
        """Planes of a place in pieces, of its weights, and its background if that is not subtracted here."""
        planes = self._joined(self.source, rows, cols)
        check_pixels(planes, rows, cols)
        around = self.background
        if not isinstance(around, float):
            around = self._joined(around, rows, cols)
            check_weights(around, rows, cols, "background")
        if self.plan.options.data != "poisson":
            if not isinstance(around, float) or around:
                planes = planes - np.asarray(around, planes.dtype)
            around = None
        if self.weights is None:
            return planes, None, around
        weights = check_weights(self._joined(self.weights, rows, cols), rows, cols, planes=planes)
        return planes, weights, around

    def _joined(self, readable: Readable, rows: list[slice], cols: list[slice]) -> np.ndarray:
        pieces = [[self._piece(readable, row, col) for col in cols] for row in rows]
        return pieces[0][0] if len(rows) == len(cols) == 1 else np.block(pieces)

    def _piece(self, readable: Readable, rows: slice, cols: slice) -> np.ndarray:
        plan = self.plan
        if len(readable.shape) == 2:
            pixels = readable.read((rows, cols))
            return plan.planes(pixels) if plan.axis is None else plan.same_for_all(pixels)
        return plan.planes(readable.read(plan.part(rows, cols)))

    def _tiles(
        self,
        windows: dict[tuple[int, int], Window],
        solver: TileSolver,
        target: Writable,
        journal: Journal | None,
        account: Account,
    ) -> None:
        """Solve windows one after another, while the next one is read and the last one written."""
        plan = self.plan
        todo = list(windows.items())

        def read(window: Window) -> tuple[np.ndarray, np.ndarray | None, Any, int]:
            given = self._read(*window.pieces(plan.sides))
            return *given, 0 if journal is None else _checksum(*given)

        def write(at: tuple[int, int], place: Any, tile: np.ndarray, given: int) -> None:
            pixels = plan.joined(tile)
            part = plan.part(*place)
            if journal is not None:
                journal.check_held()
            target.write(part, pixels)
            if journal is not None:
                target.flush()
                journal.note(at, target.sum(part), given)

        shown = bar(self._progress, account.tiles, "tile", account.resumed)
        with shown as show, ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
            written: Future[None] | None = None
            ahead = reader.submit(read, todo[0][1]) if todo else None
            for k, (at, window) in enumerate(todo):
                assert ahead is not None
                planes, weights, around, given = ahead.result()
                ahead = reader.submit(read, todo[k + 1][1]) if k + 1 < len(todo) else None
                tile, result = solver(planes, weights, window, around)
                tile = tile.copy()  # not the whole window's memory
                del planes, weights, around
                account.add(result)
                del result
                if written is not None:
                    written.result()
                written = writer.submit(write, at, window.tile, tile, given)
                del tile
                show(account.resumed + k + 1)
            if written is not None:
                written.result()

    def _identity(self, grid: TileGrid, parameters: TileParameters | None) -> dict[str, Any]:
        return {
            "found": None if parameters is None else asdict(parameters),
            "source": self.source.identity,
            "weights": None if self.weights is None else self.weights.identity,
            "background": self.background.identity if self.plan.background is None else self.plan.background,
            "grid": [list(steps) for steps in grid.steps],
            **self.plan.identity(),
        }


def _checksum(planes: np.ndarray, *others: Any) -> int:
    """Of what a tile is computed from: its pixels, weights and background, those that are images."""
    total = checksum(planes)
    for each in others:
        total = checksum(each, total) if isinstance(each, np.ndarray) else total
    return total
