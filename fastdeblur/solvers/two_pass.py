"""Workspace of solvers that take two fused passes a step (CPU): estimates, residual, optimiser state, record."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..kernels.cpu.passes import STEP
from ..kernels.runtime.memory import row_pitch, zeros
from ..operators.blur import Blur
from ..operators.boundary import frame_of
from ..operators.buffers import Buffer, Scratch
from ..operators.tiling import Grid, Halo


class TwoPassWorkspace:
    """Estimates, residual and state for two passes a step, and the record that the passes read.

    `blurs` are one for all planes, or one each.  `states` images of the estimate's size are the optimiser's state;
    a launch goes through some `passes` passes.
    """

    device = "cpu"

    def __init__(self, blurs: list[Blur], planes: int, states: int, passes: int):
        self.blurs, blur = blurs, blurs[0]
        rows, cols = blur.estimate_shape
        # Of one shape and path, so that windows and tiles are the same; a higher rank needs more scratch.
        forward, adjoint = max((each.filters for each in blurs), key=lambda pair: pair[0].work)
        self.grid = grid = Grid.of(planes, blur.estimate_shape, adjoint, blur.folded)
        self.threads = blur.threads(grid, passes)
        self.scratch = Scratch(grid, self.threads, forward, grid.tile_cols + 2)
        halos = {name: getattr(blur, name) for name in ("folded", "filled", "residual_filled")}
        pieces = {halo: halo.pieces(grid, adjoint) for halo in set(halos.values())}  # (most are the same)
        self.blur, (top, left), (height, width) = blur, blur.frame_corner, blur.image_shape
        in_frame = grid.blocks_in(blur.frame_corner, blur.image_shape)
        self.estimates = [Buffer(grid, forward, in_frame) for _ in range(2)]
        residuals = Buffer(grid, adjoint, pieces[blur.folded].blocks)
        self.state = state = zeros(states * planes * rows * cols, blur.dtype)
        records = [np.array([each.filters[way].record for each in blurs]) for way in (0, 1)]
        self._owned = residuals, records, pieces

        step = self.step = np.zeros((), STEP)
        self.scratch.describe(step)
        step["path"] = forward.task.address(blur.dtype)
        step["forward"], step["adjoint"] = (record.ctypes.data for record in records)
        step["next_filter"] = records[0].itemsize if len(blurs) > 1 else 0
        step["forward_corner"], step["adjoint_corner"] = self.estimates[0].corner, residuals.corner
        step["here"], step["there"] = (buffer.address for buffer in self.estimates)
        step["pitch"], step["plane"] = self.estimates[0].pitch, self.estimates[0].plane
        step["residual"] = residuals.address
        step["residual_pitch"], step["residual_plane"] = residuals.pitch, residuals.plane
        step["periodic"] = blur.boundary == "wrap"
        step["frame_top"], step["frame_left"] = top, left
        step["frame_bottom"], step["frame_right"] = top + height, left + width
        for name, halo in halos.items():
            step[name] = pieces[halo].address
        step["first"] = state.ctypes.data
        step["second"] = state[state.size // 2 :].ctypes.data

    @property
    def frame(self) -> np.ndarray:
        """The part of the current estimate that the image shows, planes x rows x cols."""
        frame: np.ndarray = frame_of(self._current().pixels, self.blur)
        return frame

    def begin(self, start: Callable[[np.ndarray], None]) -> None:
        """Let `start` write the frame of the first estimate; beyond it the frame's nearest pixels are repeated."""
        blur = self.blur
        start(self.frame)
        (top, left), beyond = blur.frame_corner, np.subtract(blur.estimate_shape, blur.image_shape)
        reach = (top, int(beyond[0]) - top), (left, int(beyond[1]) - left)
        buffer = self._current()
        Halo("nearest", blur.image_shape, reach).fill(buffer.memory, buffer.top + top, buffer.left + left)
        self.fill_halo()

    def fill_halo(self) -> None:
        """Write the boundary's pixels around the current estimate."""
        buffer = self._current()
        self.blur.filled.fill(buffer.memory, buffer.top, buffer.left)

    def _current(self) -> Buffer:
        first, second = self.estimates
        return first if first.address == self.step["here"] else second

    def set_image(self, image: np.ndarray, weights: np.ndarray | None) -> None:
        """Enter the image and the weights of its pixels."""
        dtype = self.state.dtype
        pitch = row_pitch(image, dtype)
        if pitch is None or image.strides[0] % image.itemsize or weights is not None:
            image = np.ascontiguousarray(image, dtype)
            pitch = image.shape[-1]
        step = self.step
        step["image"], step["image_pitch"] = image.ctypes.data, pitch
        step["image_plane"] = image.strides[0] // image.itemsize
        step["weights"] = 0 if weights is None else weights.ctypes.data
        self._image_and_weights = image, weights  # the record has their addresses only
