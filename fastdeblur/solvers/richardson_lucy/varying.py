"""Richardson-Lucy's workspace and steps (CPU) for psfs that vary over the image: A and Aᵀ as they are, unfused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...operators.blur import Blur, apply_to_planes
from ...operators.boundary import frame_of
from ...problem.objective import photon_costs
from ...problem.start import spread_out
from .host import RichardsonLucyWorkspace
from .solver import Parameters


class VaryingRichardsonLucyWorkspace(RichardsonLucyWorkspace):
    """`RichardsonLucyWorkspace` for a `VaryingBlur`, in arrays without a halo."""

    def __init__(self, blurs: list[Blur], planes: int):
        self.blurs, self.blur = blurs, blurs[0]
        dtype, shape, frame = blurs[0].dtype, (planes, *blurs[0].estimate_shape), (planes, *blurs[0].image_shape)
        self._here, self._factors, self.last, self.inverse_sensitivity = (np.zeros(shape, dtype) for _ in range(4))
        self._ratio, self.ones = np.zeros(frame, dtype), np.ones(frame, dtype)
        self.step: Any = {}  # the parameters that the fused passes read from a record

    @property
    def estimate(self) -> np.ndarray:
        """The current estimate, planes x rows x cols."""
        return self._here

    @property
    def frame(self) -> np.ndarray:
        """The part of the current estimate that the image shows."""
        frame: np.ndarray = frame_of(self._here, self.blur)
        return frame

    def begin(self, start: Callable[[np.ndarray], None]) -> None:
        """Let `start` write the frame of the first estimate; beyond it the frame's nearest pixels are repeated."""
        start(self.frame)
        spread_out(self._here, self.blur.frame_corner, self.blur.image_shape)

    def begin_with_step(self, weighted: np.ndarray) -> None:
        """Begin with Aᵀ(w b) / Aᵀw."""
        self._apply_adjoint(weighted, self._here)
        self._here *= self.inverse_sensitivity

    def fill_halo(self) -> None:
        """There is none."""

    def set_image(self, image: np.ndarray, weights: np.ndarray | None) -> None:
        """Enter the image and the weights of its pixels."""
        self._image, self._weights = image, self.ones if weights is None else weights

    def set_shift(self, shift: np.ndarray) -> None:
        """Enter what is added to the blurred estimate."""
        self._shift = shift

    def ratio(self) -> np.ndarray:
        """Divide the image by the blurred estimate; returns the sums of the likelihood and of the misfit."""
        mean, parameters = self._ratio, self._parameters
        apply_to_planes(self.blurs, self._here, mean)
        mean += self._shift
        self._passes += 1
        return divide(mean, self._image, self._weights, parameters)

    def _correct(self) -> None:
        """Let what corrects the estimate be Aᵀ of the ratio."""
        self._apply_adjoint(self._ratio, self._factors)
        self._passes += 1

    def multiply(self) -> np.ndarray:
        """Multiply the estimate, and take it ahead; returns the sums of squares of the change and of the estimate."""
        parameters, dtype = self._parameters, self._here.dtype
        self._correct()
        sums, unit, rate = np.zeros(2), parameters.unit, dtype.type(self.step["rate"])
        for planes in zip(self._here, self._factors, self.inverse_sensitivity, self.last, strict=True):
            for here, factors, inverse, last in zip(*planes, strict=True):
                x = np.where(inverse > 0, here * factors * inverse, here).clip(parameters.low, parameters.high)
                sums[0] += ((unit * (x - here).astype(np.float64)) ** 2).sum()
                sums[1] += ((unit * here.astype(np.float64)) ** 2).sum()
                here[...] = (x + rate * (x - last)).clip(parameters.low, parameters.high)
                last[...] = x
        return sums


def divide(mean: np.ndarray, image: np.ndarray, weights: np.ndarray, parameters: Parameters) -> np.ndarray:
    """Let `mean`, a blurred estimate, be the weighted ratio of the image to it.

    Returns the sums of the likelihood and of the misfit.
    """
    sums, unit = np.zeros(2), parameters.unit
    # Row by row in double precision: the sums take no memory to speak of, and their order is always the same.
    for lines in zip(mean, image, weights, strict=True):
        for row, pixels, weight in zip(*lines, strict=True):
            a, b = unit * row.astype(np.float64), unit * pixels.astype(np.float64)
            sums[0] += (weight * photon_costs(a, b)).sum()
            sums[1] += (weight * (a - b) ** 2).sum()
            dark = row < parameters.least_mean
            row[...] = weight * pixels / np.where(dark, 1, row)
            row[dark] = 0
    return sums
