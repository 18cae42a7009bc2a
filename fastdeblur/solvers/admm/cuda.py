"""ADMM workspace (CUDA): state and update passes; the twin of `solvers.admm.host`.

The sums of a step stay on the device until `look` fetches those of all steps since it did last.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...kernels.cuda import device, lucy
from ...kernels.cuda.device import launch, rows_of, view
from ...kernels.cuda.passes import fold
from ...kernels.cuda.shapes import ADDERS
from ...kernels.cuda.sums import SUMS, total
from ...kernels.cuda.z_update import DIFFERENCES_OF, NAMES, PIXEL_SUMS, SPLIT_SUMS, kernels_of, runs
from ...operators.blur import Blur
from ...operators.boundary import frame_of
from ...operators.cuda import places
from ...problem.laplacian import eigenvalues
from ...problem.objective import SECOND_WEIGHT
from ...problem.start import spread_out
from ..richardson_lucy.solver import photons
from .domain import Domain
from .solver import LOOK


class CudaAdmmWorkspace:
    """The variables of one solve on the device and the launches of a step; see `AdmmWorkspace`."""

    #: Sums are looked at where they change something.
    device, look_every = "cuda", LOOK
    most_relax, inexact, quadratic = 2.0, False, False
    products_beside, path = -0.5, "fft"

    def __init__(self, blurs: list[Blur], planes: int, kind: str, pixels: bool):
        self.domain = domain = Domain(blurs)
        self.blurs, self.planes, self.kind, self.has_pixels = blurs, planes, kind, pixels
        self.blur, self.differences = blurs[0], DIFFERENCES_OF[kind]
        self.dtype = dtype = blurs[0].dtype
        self.job: dict[str, float] = dict.fromkeys(NAMES, 0.0)
        self._kernels = kernels_of(kind, pixels, domain.periodic, dtype)
        self._operator = blurs[0].operator_with(blurs)

        rows, cols = domain.shape
        whole, frame = (planes, rows, cols), (planes, *self.blur.image_shape)
        none = device.zeros((1, 1, 1), dtype)
        self.image, self.weights = device.zeros(frame, dtype), device.zeros(frame, dtype)
        # The estimate and its blur; and the right-hand sides of the x-update.
        self._rhs = device.zeros((2, *whole), dtype)
        self._set_estimates(device.zeros((2, *whole), dtype))
        self._data = device.zeros(whole, dtype)
        split = (self.differences, *whole) if self.differences else (1, 1, 1, 1)
        self._pixels, self._copied = (device.zeros(whole, dtype) if pixels else none for _ in range(2))
        self._near = device.zeros((planes, *domain.estimate_shape), dtype) if pixels else none
        self._spectra = self._find_spectra()
        self._views = {
            "image": view(self.image), "weights": view(self.weights), "rhs": view(self._rhs),
            "data": view(self._data), "split": view(device.zeros(split, dtype)),
            "reflected": view(device.zeros(split, dtype)), "pixels": view(self._pixels),
            "copied": view(self._copied), "near": view(self._near), "spectra": view(self._spectra),
        }  # fmt: skip
        self._eigenvalues = [
            view(device.put(eigenvalues(n, count).astype(dtype)))
            for n, count in zip(domain.shape, (rows, domain.frequencies), strict=True)
        ]
        self._tables, self._places, self._counts = self._find_tables()

        # Blocks, threads and run: for all planes of a pixel at once, each plane, its coefficients, the frame's.
        self._sweep, self._each = runs(rows, cols), runs(rows, cols, planes)
        self._sweep_coefficients, self._frame_sweep = runs(rows, domain.frequencies, planes), runs(*frame[1:], planes)
        self._blocks, self._frame_blocks = (math.prod(each[0]) for each in (self._sweep, self._frame_sweep))
        self._partials = view(device.zeros((max(self._blocks, self._frame_blocks), SUMS), np.float64))
        # For each step the sums of `update_z` and those of `update_pixels`.
        self._history, self._steps = device.zeros((LOOK, 2, SUMS), np.float64), 0
        self._totals = [[view(self._history[k, of : of + 1]) for of in (0, 1)] for k in range(LOOK)]
        self.shift(None)
        self.set_observed(None)

    def _find_spectra(self) -> Any:
        """Those of the psfs, from transforms in double precision."""
        domain, xp = self.domain, device.arrays()
        kind = np.result_type(self.dtype, np.complex64)
        spectra = device.zeros((len(domain.psfs), domain.shape[0], domain.frequencies), kind)
        for psf, out in zip(domain.psfs, spectra, strict=True):
            padded = device.zeros(domain.shape, np.float64)
            out[...] = device.transforms().rfft2(domain.centred(device.put(psf), padded, xp))
        return spectra

    def _find_tables(self) -> tuple[list[Any], list[Any], Any]:
        """The pixel at each place of the domain, the places of each pixel, and how many they are."""
        sizes = self.domain.estimate_shape
        pixels = [self.domain.pixels_at(axis) for axis in (0, 1)]
        counts = [np.bincount(at[at >= 0], minlength=size) for at, size in zip(pixels, sizes, strict=True)]
        places_of = [view(table) for at, size in zip(pixels, sizes, strict=True) for table in places(at, size)]
        tables = [view(device.put(at.astype(np.int32))) for at in pixels]
        return tables, places_of, device.put(np.outer(*counts).astype(self.dtype))

    def scale(self, unit: float) -> None:
        """Bring the image that was entered to the unit of the solve."""
        self.image *= self.dtype.type(unit)

    def keep_quadratic(self, quadratic: bool) -> None:
        """Whether the data are quadratic, without weights; the blurred estimate is split all the same."""

    def shift(self, shift: Any) -> None:
        """Set what the poisson mean has beside the blurred estimate; see `AdmmWorkspace.shift`."""
        self._shift = device.zeros((1, 1, self.image.shape[2]), self.dtype) if shift is None else shift
        self._views["shift"] = view(self._shift)

    def photon_counts(self) -> float:
        """See `AdmmWorkspace`."""
        return photons(self.image, self.weights)

    def set_observed(self, observed: Any) -> None:
        """Set which pixels of the estimate are observed; see `AdmmWorkspace.set_observed`."""
        self._observed = device.zeros((1, 1, 1), self.dtype) if observed is None else observed.astype(self.dtype)
        self._views["observed"] = view(self._observed)

    def planes_of(self, name: str) -> Any:
        """Planes of the domain."""
        return {
            "x": self._estimates[0], "blurred": self._estimates[1], "data": self._data,
            "pixels": self._pixels, "pixels_prox": self._copied,
        }[name]  # fmt: skip

    @property
    def estimate(self) -> Any:
        """The copy of the estimate, if there is one, else the estimate."""
        return self.domain.estimate(self._copied if self.has_pixels else self._estimates[0])

    def begin(self, start: Callable[[Any], None]) -> None:
        """Let `start` write the frame of the first estimate; the split variables start from it."""
        self._steps = 0
        x, fft = self._estimates[0], device.transforms()
        estimate = self.domain.estimate(x)
        start(frame_of(estimate, self.blur))
        spread_out(estimate, self.blur.frame_corner, self.blur.image_shape)
        self._extend(x)
        if self.has_pixels:
            self._pixels[...] = x
            self._place(estimate)
            x[...] = self._copied
            self._pixels[...] = x
        coefficients = fft.rfft2(x)
        coefficients *= self._spectra
        self._estimates[1] = fft.irfft2(coefficients, self.domain.shape, overwrite_x=True)
        self._data[...] = self._estimates[1]
        if self.differences:
            blocks, threads, run = self._each
            launch(self._kernels.begin, blocks, threads, self._estimates_view, self._views["split"], run)

    def _extend(self, x: Any) -> None:
        """Interpolate outside the estimate from each end to the other."""
        xp = device.arrays()
        for axis, (size, length) in enumerate(zip(self.domain.estimate_shape, self.domain.shape, strict=True)):
            lines = xp.moveaxis(x, axis + 1, 0)
            share = xp.arange(1, length - size + 1, dtype=self.dtype)[:, None, None] / (length - size + 1)
            lines[size:] = (1 - share) * lines[size - 1] + share * lines[0]

    def _set_estimates(self, estimates: Any) -> None:
        """Set the estimate and its blur."""
        self._estimates, self._estimates_view = estimates, view(estimates)

    def _scalars(self) -> tuple[float, ...]:
        """The scalars of the job, in the order of NAMES."""
        return tuple(float(self.job[name]) for name in NAMES)

    def update_z(self) -> None:
        """Take the z-update: proximal steps and duals of the blurred estimate and of its differences."""
        (blocks, threads, run), views = self._sweep, self._views
        launch(
            self._kernels.z_update, blocks, threads, self._estimates_view, views["observed"], views["split"],
            views["reflected"], views["data"], views["rhs"], views["shift"], views["image"], views["weights"],
            self._scalars(), *self.domain.estimate_shape, *self.blur.frame_corner, run, self._partials,
        )  # fmt: skip
        self._add_up(self._blocks, SPLIT_SUMS, self._totals[self._steps][0])
        self._steps += 1

    def update_x(self) -> None:
        """Take the x-update: the estimate from the split variables."""
        fft, views, scalars, (rows, cols) = device.transforms(), self._views, self._scalars(), self.domain.shape
        blocks, threads, run = self._each
        launch(
            self._kernels.adjoint, blocks, threads, views["reflected"], views["pixels"], views["copied"], scalars,
            views["rhs"], run,
        )  # fmt: skip
        coefficients = fft.rfft2(self._rhs)
        blocks, threads, run = self._sweep_coefficients
        launch(
            self._kernels.x_update, blocks, threads, view(coefficients), views["spectra"], *self._eigenvalues, scalars,
            1.0 / (rows * cols), run,
        )  # fmt: skip
        self._set_estimates(fft.irfft2(coefficients, (rows, cols), norm="forward", overwrite_x=True))

    def update_pixels(self, project: Callable[[Any], Any], relax: float, keep: float) -> None:
        """Take the z-update of the copy of the estimate; `project` is its proximal map."""
        views, (blocks, threads, run) = self._views, self._each
        launch(
            self._kernels.relax_pixels, blocks, threads, self._estimates_view, views["pixels"], views["copied"], relax,
            keep, run,
        )  # fmt: skip
        launch(fold, *rows_of(*self._near.shape), views["pixels"], *self._places, views["near"])
        self._near /= self._counts
        self._place(project(self._near))
        self._add_up(self._blocks, PIXEL_SUMS, self._totals[self._steps][1])

    def _place(self, near: Any) -> None:
        """Write `near` to all places of its pixels in the copy."""
        (blocks, threads, run), views = self._sweep, self._views
        if near is not self._near:
            self._near[...] = near
        launch(
            self._kernels.project_pixels, blocks, threads, self._estimates_view, views["pixels"], views["near"],
            views["copied"], *self._tables, run, self._partials,
        )  # fmt: skip

    def _add_up(self, blocks: int, count: int, totals: Any) -> None:
        launch(total, 1, ADDERS, self._partials, blocks, count, totals)

    def look(self) -> np.ndarray:
        """For each step since the last look the sums of `update_z` and of `update_pixels`."""
        steps, self._steps = self._steps, 0
        return device.to_host(self._history[:steps])

    def parts(self, poisson: bool) -> tuple[float, float]:
        """The two parts of the estimate's objective: the data's, and the prior's without its weight."""
        blurred, views = device.zeros(self.image.shape, self.dtype), self._views
        self._operator.forward(device.arrays().ascontiguousarray(self.estimate), blurred)
        blocks, threads, run = self._frame_sweep
        launch(
            lucy.misfit, blocks, threads, view(blurred), views["shift"], views["image"], views["weights"], poisson, run,
            self._partials,
        )  # fmt: skip
        self._add_up(self._frame_blocks, 1, self._totals[0][0])
        blocks, threads, run = self._sweep
        estimate = views["copied"] if self.has_pixels else view(self._estimates[0])
        launch(self._kernels.measure, blocks, threads, estimate, views["observed"], SECOND_WEIGHT,
               *self.domain.estimate_shape, run, self._partials)  # fmt: skip
        self._add_up(self._blocks, 1, self._totals[0][1])
        misfit, rough = device.to_host(self._history[0, :, 0])
        return float(misfit), float(rough)
