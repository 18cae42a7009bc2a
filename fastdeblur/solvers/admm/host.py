"""ADMM workspace (CPU): state and update passes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...kernels.cpu.fourier.plan import PlanePlan
from ...kernels.cpu.pixels import LINES, PIXEL_SUMS, PIXELS, compare_pixels, relax_pixels
from ...kernels.cpu.shrink import linear, power, soft
from ...kernels.cpu.simd import register_shape
from ...kernels.cpu.sweeper import Sweeper
from ...kernels.cpu.x_update import COLUMNS, forward_rows, inverse_rows, x_update
from ...kernels.cpu.x_update_planes import BACK, FORWARD, PLAN, SOLVE, START, transforms
from ...kernels.cpu.z_update import ADMM, DIFFERENCES, FIRSTS, MARGIN, SUMS, SUMS_OF_SPLIT, z_update
from ...kernels.runtime import memory, threads
from ...kernels.runtime.memory import up
from ...operators.blur import Blur, apply_to_planes
from ...operators.boundary import frame_of
from ...problem.laplacian import eigenvalues
from ...problem.objective import misfit, penalty
from ...problem.start import spread_out
from ..richardson_lucy.solver import photons
from .domain import Domain

# Rows a tile, of all planes together, and the least of each.
ROWS, LEAST_ROWS = 16, 4
# Of each prior the proximal map, and the first difference of each group that it shrinks together.
PROXIMAL_MAPS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "gradient": (linear, (0, FIRSTS)),
    "tv": (soft, (0, FIRSTS)),
    "sparse": (power, (0, FIRSTS, DIFFERENCES)),
    "denoiser": (linear, (0,)),
}
MASKS = 4
# Seconds that a pixel takes one thread in one of a step's three launches, to decide whether threads are worth it.
PIXEL_SECONDS = 13e-9


class AdmmWorkspace:
    """The variables of one solve and the passes that take a step.

    The driver, `solvers.admm.solver`, uses what it has in common with its twin on a GPU, `solvers.admm.cuda`.

    Parameters
    ----------
    domain : Domain
    blurs : list of Blur
        One for all planes, or one each.
    planes : int
    kind : str
        One of PROXIMAL_MAPS.
    pixels : bool
        Whether the estimate itself is split, too.
    """

    #: Where it is, and after how many steps to look at their sums.
    device, look_every = "cpu", 1
    #: The largest over-relaxation that the x-update bears.
    most_relax = 2.0
    #: Whether the x-update only approaches the minimum.
    inexact = False
    #: Whether the x-update takes the data as they are: the blurred estimate is not split then.
    quadratic = False
    #: Applications of A and Aᵀ at the start less those that the last step does without, halved; how they are computed.
    products_beside, path = -0.5, "fft"

    def __init__(self, domain: Domain, blurs: list[Blur], planes: int, kind: str, pixels: bool):
        self.domain, self.blurs, self.planes, self.kind = domain, blurs, planes, kind
        self.blur = blur = blurs[0]
        self.dtype = dtype = blur.dtype
        rows, cols = domain.shape
        self._pitch = pitch = self._pitch_of(cols)
        shrink, groups = PROXIMAL_MAPS[kind]
        self.differences, self.has_pixels = groups[-1], pixels
        self._plan = self._plan_of_planes()
        lanes = register_shape(str(dtype)).lanes if self._plan else 1
        self._tile_rows = up(max(ROWS // planes, LEAST_ROWS), lanes)
        self._tiles = -(-rows // self._tile_rows)
        whole, frame = planes * rows * pitch, (planes, *blur.image_shape)
        counts = self._counts(whole, math.prod(frame))
        counts |= {"split": self.differences * whole, "split_next": self.differences * whole}
        counts |= {"image": math.prod(frame), "weights": math.prod(frame)}
        if pixels:
            counts |= {"pixels": whole, "pixels_prox": whole}
        self._memory = {name: self._allocated(name, count) for name, count in counts.items()}
        if pixels:
            self._enter_pixels(planes * rows, whole)
        self.image, self.weights = (self._memory[name].reshape(frame) for name in ("image", "weights"))
        self.sums = memory.zeros(self._tiles * SUMS, np.float64).reshape(-1, SUMS)
        self._step_sums = np.zeros((1, 2, SUMS))
        self._axes = memory.zeros(2, np.intp)
        self._axes[0] = 1
        masks = memory.zeros(MASKS * pitch, dtype).reshape(MASKS, pitch)
        size = domain.estimate_shape[1]
        if domain.periodic:
            masks[:3, :size] = 1
        else:
            masks[0, :size], masks[1, : size - 1], masks[2, 1 : max(size - 1, 1)] = 1, 1, 1
        starts = memory.zeros(DIFFERENCES + 1, np.intp)
        starts[: len(groups)] = groups
        tables = {"masks": masks, "groups": starts, "axis": self._axes, "sums": self.sums}
        tables |= {
            "axis_down": self._axes[1:],
            "eigenvalues_down": eigenvalues(rows, rows),
            "eigenvalues_across": eigenvalues(cols, cols),
        }
        tables |= self._spectra()
        self._tables = tables
        # Which pixels of the estimate are observed, if not all: planes x rows x cols of it, and masks of the domain.
        self._observed: np.ndarray | None = None
        self._observed_masks = memory.zeros(0, dtype)

        job = self.job = np.zeros((), ADMM)
        for name, array in (self._memory | tables).items():
            job[name] = array.ctypes.data
        job["shrink"], job["group_count"], job["differences"] = shrink.address(dtype), len(groups) - 1, self.differences
        job["planes"], job["rows"], job["cols"], job["pitch"], job["plane"] = planes, rows, cols, pitch, rows * pitch
        job["tile_rows"], job["frame_plane"] = self._tile_rows, math.prod(blur.image_shape)
        job["frequencies"], job["coefficient_pitch"], job["coefficient_plane"] = (
            domain.frequencies,
            domain.coefficient_pitch,
            rows * domain.coefficient_pitch,
        )
        job["psf_plane"] = rows * domain.coefficient_pitch if len(self.blurs) > 1 else 0
        job["estimate_rows"], job["periodic"] = domain.estimate_shape[0], domain.periodic
        (job["top"], job["left"]), (job["height"], job["width"]) = blur.frame_corner, blur.image_shape
        job["rhs_unit"] = 1.0
        self.shift(None)
        self._sweeper = Sweeper(dtype, domain.periodic)
        # Lines of the z-update; beside one more rows of the right-hand side and of the data, then a strip of those.
        line = pitch + 2 * MARGIN
        job["rhs_at"] = (3 + 7 * planes * DIFFERENCES + 2) * line
        job["strip_at"] = job["rhs_at"] + 2 * planes * self._tile_rows * pitch
        self._sweeper.reserve(int(job["strip_at"]) + max(2 * lanes * cols if self._plan else 0, line) + MARGIN)
        if self._plan:
            self._enter_plan(self._plan)
        else:
            job["transforms"] = self._address_of_transforms()

    def _address_of_transforms(self) -> int:
        """Of the task that takes rows to frequencies where there is no plan."""
        return forward_rows.address(self.dtype)

    def _plan_of_planes(self) -> PlanePlan | None:
        """How planes are transformed with lanes across lines, if they are."""
        return self.domain.plan()

    def _enter_plan(self, plan: PlanePlan) -> None:
        """The plan as a record, and the task of its transforms."""
        (rows, cols), dtype, record = self.domain.shape, self.dtype, np.zeros((), PLAN)
        across = plan.twiddles_across()
        tables = {
            "radices_across": np.array([len(plan.across) - 2, *plan.across[1:]]),
            "radices_down": np.array([len(plan.down), *plan.down]),
            "pairs": plan.pairs(),
            "twiddles_first": plan.twiddles_first(),
            "twiddles_across": across,
            "twiddles_down": plan.twiddles_down(),
            "eigenvalues_down": eigenvalues(rows, rows)[plan.order_down()],
            "eigenvalues_across": plan.in_groups(eigenvalues(cols, plan.frequencies)),
        }
        kept = {}
        for name, table in tables.items():
            kept[name] = memory.zeros(table.size, np.intp if table.dtype.kind == "i" else dtype)
            kept[name][...] = table.ravel()
        spectra = kept["psf"] = self.domain.ordered_spectra(plan)
        for name, table in kept.items():
            record[name] = table.ctypes.data
        record["twiddles_across_end"], record["psf_plane"] = across.size, spectra.shape[1] if len(self.blurs) > 1 else 0
        record["frequencies"], record["groups"] = plan.frequencies, plan.groups
        record["block"], record["plane"] = plan.block, plan.size
        self._plan_record, self._plan_tables = record, kept
        self.job["plan"], self.job["transforms"] = record.ctypes.data, transforms.address(dtype)

    def _enter_pixels(self, lines: int, whole: int) -> None:
        """The record of the passes of the estimate's copy."""
        job = self._pixels_job = np.zeros((), PIXELS)
        self._last_pixels = memory.zeros(whole, self.dtype)
        self._pixels_sums = np.zeros((-(-lines // LINES), PIXEL_SUMS))
        job["last"], job["sums"] = self._last_pixels.ctypes.data, self._pixels_sums.ctypes.data
        for name in ("x", "pixels", "pixels_prox"):
            job[name] = self._memory[name].ctypes.data
        job["lines"], job["cols"], job["pitch"] = lines, self.domain.shape[1], self._pitch

    @staticmethod
    def _pitch_of(cols: int) -> int:
        """Elements from a row of the domain to the next."""
        return up(cols, 16) + 16

    def _counts(self, whole: int, frame: int) -> dict[str, int]:
        """Elements of each array, by its name in the record, for planes of the domain and of the frame."""
        counts = dict.fromkeys(("x", "blurred", "data"), whole)
        if self._plan:
            return counts | {"coefficients": self.planes * self._plan.size}
        spectrum = 2 * self.planes * self.domain.shape[0] * self.domain.coefficient_pitch
        return counts | dict.fromkeys(("data_coefficients", "rhs_coefficients"), spectrum)

    def _allocated(self, name: str, count: int) -> np.ndarray:
        return memory.zeros(count, self.dtype)

    def _spectra(self) -> dict[str, np.ndarray]:
        return {} if self._plan else {"psf": self.domain.spectra}

    def scale(self, unit: float) -> None:
        """Bring the image that was entered to the unit of the solve."""
        self.image *= self.dtype.type(unit)

    def keep_quadratic(self, quadratic: bool) -> None:
        """Whether the data are quadratic, without weights, so that an x-update that can may take them as they are."""

    def shift(self, shift: np.ndarray | None) -> None:
        """Set what is added to the blurred estimate for poisson: one or all planes and rows, all columns; None is 0."""
        shift = np.zeros_like(self.image[:1, :1]) if shift is None else shift
        self._shift, self.job["shift"] = shift, shift.ctypes.data
        self.job["shift_plane"], self.job["shift_pitch"] = (
            shift.strides[axis] // shift.itemsize if shift.shape[axis] > 1 else 0 for axis in (0, 1)
        )

    def photon_counts(self) -> float:
        """The weighted sum of the image that was entered."""
        return photons(self.image, self.weights)

    def set_observed(self, observed: np.ndarray | None) -> None:
        """Set which pixels of the estimate are observed, None for all: the prior counts the differences of those."""
        self._observed, self.job["observed"] = observed, 0
        if observed is not None:
            if not self._observed_masks.size:
                self._observed_masks = memory.zeros(self._memory["x"].size + 2 * MARGIN, self.dtype)
            masks = self._observed_masks[MARGIN:-MARGIN].reshape(self.planes, -1, self._pitch)
            self.domain.estimate(masks[:, :, : self.domain.shape[1]])[...] = observed
            if self.domain.periodic:  # each row goes on, before its first element and after its last
                size, whole = self.domain.shape[1], self._observed_masks
                masks[:, :, size] = masks[:, :, 0]
                before = whole[MARGIN - 1 : MARGIN - 1 + masks.size : self._pitch]
                before[...] = masks[:, :, size - 1].reshape(-1)
            self.job["observed"] = masks.ctypes.data

    def planes_of(self, name: str) -> np.ndarray:
        """Planes of the domain."""
        return self._memory[name].reshape(self.planes, -1, self._pitch)[:, :, : self.domain.shape[1]]

    @property
    def estimate(self) -> np.ndarray:
        """The copy of the estimate, if there is one, else the estimate."""
        return self.domain.estimate(self.planes_of("pixels_prox" if self.has_pixels else "x"))

    def begin(self, start: Callable[[np.ndarray], None]) -> None:
        """Let `start` write the frame of the first estimate; the split variables start from it."""
        pixels = self.planes * math.prod(self.domain.shape)
        self._sweeper.threads = threads.count(self.blur.workers, self._tiles, pixels * PIXEL_SECONDS)
        x, estimate = self.planes_of("x"), self.domain.estimate(self.planes_of("x"))
        start(frame_of(estimate, self.blur))
        spread_out(estimate, self.blur.frame_corner, self.blur.image_shape)
        self.domain.extend(x)
        self._begin_blurred()
        if self.has_pixels:
            self.planes_of("pixels")[...] = x
            self.planes_of("pixels_prox")[...] = x
        self._begin_differences(x)

    def _begin_blurred(self) -> None:
        """The blurred estimate, and its split variable, of the first estimate."""
        if self._plan:
            # The x-update whose minimum is the right-hand side, which is x; it goes where the data are.
            job = self.job.copy()
            for name in ("data_rho", "rho", "second_rho"):
                job[name] = 0.0
            job["pixels_rho"], job["rhs_unit"], job["stage"] = 1.0, 1.0, START
            self._sweeper.run(transforms, job, self._tiles)
            job["x"] = self._memory["data"].ctypes.data
            self._solve(job)
        else:
            self.planes_of("blurred")[...] = self.domain.blurred(self.planes_of("x"))
        self.planes_of("data")[...] = self.planes_of("blurred")

    def _begin_differences(self, x: np.ndarray) -> None:
        rows, cols = self.domain.shape
        split = self._memory["split"].reshape(self.differences, self.planes, rows, self._pitch)[..., :cols]
        if self.differences:
            _ahead(x, 1, split[0])
            _ahead(x, 2, split[1])
        if self.differences > FIRSTS:
            # A second difference at a pixel is the first one there less the one before it.
            for axis, first, second in ((1, split[0], split[2]), (2, split[1], split[3])):
                lines, out = np.moveaxis(first, axis, 0), np.moveaxis(second, axis, 0)
                np.subtract(lines[1:], lines[:-1], out=out[1:])
                np.subtract(lines[0], lines[-1], out=out[0])
            _ahead(split[1], 1, split[4])
            split[4] *= self.dtype.type(math.sqrt(2))
        self.job["split"], self.job["split_next"] = (self._memory[n].ctypes.data for n in ("split", "split_next"))

    def update_z(self) -> None:
        """Take the z-update: proximal steps and duals of the blurred estimate and of its differences."""
        job = self.job
        job["stage"] = FORWARD
        if self._plan:
            job["rhs_unit"] = max(float(job[name]) for name in ("rho", "second_rho", "pixels_rho")) or 1.0
        self._sweeper.run(z_update, job, self._tiles)
        job["split"], job["split_next"] = int(job["split_next"]), int(job["split"])
        self._step_sums[0, 0] = self.sums.sum(axis=0)

    def look(self) -> np.ndarray:
        """The sums of `update_z` (see `kernels.cpu.z_update`) and `update_pixels` for each step since the last look."""
        return self._step_sums

    def update_x(self) -> None:
        """Take the x-update: the estimate from the split variables."""
        run, job = self._sweeper.run, self.job
        if self._plan:
            self._solve(job)
            return
        run(x_update, job, self.planes * -(-self.domain.frequencies // COLUMNS))
        run(inverse_rows, job, self.planes * self._tiles)

    def _solve(self, job: np.ndarray) -> None:
        """The estimate and its blur, from frequencies along rows."""
        job["stage"] = SOLVE
        self._sweeper.run(transforms, job, self.planes * int(self._plan_record["groups"]))
        job["stage"] = BACK
        self._sweeper.run(transforms, job, self._tiles)

    def update_pixels(self, project: Callable[[np.ndarray], np.ndarray], relax: float, keep: float) -> None:
        """Take the z-update of the copy of the estimate, with sums as of the other split variables.

        `project` is its proximal map.
        """
        job, tiles = self._pixels_job, len(self._pixels_sums)
        job["relax"], job["keep"] = relax, keep
        self._sweeper.run(relax_pixels, job, tiles)
        copy = self.planes_of("pixels_prox")
        self.domain.estimate(copy)[...] = project(self.domain.gather(self.planes_of("pixels")))
        self.domain.spread(copy)
        self._sweeper.run(compare_pixels, job, tiles)
        self._step_sums[0, 1, :SUMS_OF_SPLIT] = self._pixels_sums.sum(axis=0)[:SUMS_OF_SPLIT]

    def parts(self, poisson: bool) -> tuple[float, float]:
        """The two parts of the estimate's objective: the data's, and the prior's without its weight."""
        estimate = np.ascontiguousarray(self.estimate)
        blurred = np.empty_like(self.image)
        apply_to_planes(self.blurs, estimate, blurred)
        rough = 0.0 if self.kind == "denoiser" else penalty(self.kind, estimate, self._observed, self.domain.periodic)
        return misfit("poisson" if poisson else "squares", blurred, self.image, self.weights, self._shift), rough


def _ahead(image: np.ndarray, axis: int, out: np.ndarray) -> None:
    """Each pixel of a periodic image taken from the next."""
    lines, differences = np.moveaxis(image, axis, 0), np.moveaxis(out, axis, 0)
    np.subtract(lines[1:], lines[:-1], out=differences[:-1])
    np.subtract(lines[0], lines[-1], out=differences[-1])
