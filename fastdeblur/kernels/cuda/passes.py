"""The two fused passes of a gradient step (CUDA), and the blur alone: correlation of a tile, then an epilogue.

See `kernels.cpu.passes`.  How the tile comes to be is a matter of the path: correlated directly or by
separable passes where it is, or taken from an image that transforms have blurred (`loaded`).  What lies
around an image needs no halo: tables say which pixel is read at each position.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import numpy as np
from numba import cuda

from . import direct, rules, separable
from .loop import (
    BOUNDED,
    BRIGHTNESS,
    DATA_SCALE,
    HERE,
    HIGH,
    LOW,
    PERIODIC,
    PRIOR_SCALE,
    RATE,
    RULE,
    RUNNING,
    SKIPS,
    STATUS,
    UNIT,
)
from .neighbours import after, before
from .shapes import ALIGNED, ALIGNMENT, LANES, LINE, ROWS, TILE_ROWS, columns, device, kernel
from .sums import pass_sums


def _loaded(dtype: Any) -> tuple[Any, int]:
    cols = columns(dtype)
    real, tile_cols = np.dtype(dtype).type, LANES * cols

    @device
    def loaded(tile, source, plane, down, across, rows_at, cols_at, i0, j0):
        """The pixel at ``rows_at[i], cols_at[j]`` itself."""
        for r in range(ROWS):
            i = i0 + cuda.threadIdx.y * ROWS + r
            row = rows_at[i] if i < rows_at.size else -1
            for c in range(cols):
                j = j0 + cuda.threadIdx.x + c * LANES
                col = cols_at[j] if j < cols_at.size else -1
                at = (cuda.threadIdx.y * ROWS + r) * tile_cols + cuda.threadIdx.x + c * LANES
                tile[at] = source[plane, row, col] if row >= 0 and col >= 0 else real(0)

    return loaded, TILE_ROWS * tile_cols


@functools.cache
def passes(path: str, dtype: Any) -> SimpleNamespace:
    """The kernels `apply`, `residual` and `update` of a path: "direct", "separable" or "loaded"."""
    correlate, size = {"direct": direct.make, "separable": separable.make, "loaded": _loaded}[path](dtype)
    step = rules.make(dtype)
    real = np.dtype(dtype).type
    cols = columns(dtype)
    tile_cols = LANES * cols
    # The arguments of `correlate` come first: `source` holds one or two versions of planes x rows x cols, of which
    # `scalars` names one.

    @kernel
    def apply(source, scalars, down, across, rows_at, cols_at, out):
        """A x, or the transpose's part."""
        tile = cuda.shared.array(size, real, ALIGNMENT) if ALIGNED else cuda.shared.array(size, real)
        i0, j0, plane = cuda.blockIdx.y * TILE_ROWS, cuda.blockIdx.x * tile_cols, cuda.blockIdx.z
        correlate(tile, source[int(scalars[HERE])], plane, down, across, rows_at, cols_at, i0, j0)
        for r in range(ROWS):
            i = i0 + cuda.threadIdx.y * ROWS + r
            for c in range(cols):
                j = j0 + cuda.threadIdx.x + c * LANES
                if i < out.shape[1] and j < out.shape[2]:
                    out[plane, i, j] = tile[(i - i0) * tile_cols + j - j0]

    @kernel
    def residual(
        source, scalars, down, across, rows_at, cols_at, parameters, estimates, image, weights, top, left, out, partials
    ):
        """r = w (A x - b) where the image is; sums: w (A x - b)^2 and |Dx|^2, in units."""
        if scalars[STATUS] != RUNNING:
            return
        tile = cuda.shared.array(size, real, ALIGNMENT) if ALIGNED else cuda.shared.array(size, real)
        sums = cuda.local.array(2, np.float64)
        i0, j0, plane = cuda.blockIdx.y * TILE_ROWS, cuda.blockIdx.x * tile_cols, cuda.blockIdx.z
        here, unit = int(scalars[HERE]), real(parameters[UNIT])
        x, version = estimates[here], here if source.shape[0] > 1 else 0
        correlate(tile, source[version], plane, down, across, rows_at, cols_at, i0, j0)
        periodic = parameters[PERIODIC] != 0.0
        misfit, roughness = real(0), real(0)
        for r in range(ROWS):
            i = i0 + cuda.threadIdx.y * ROWS + r
            for c in range(cols):
                j = j0 + cuda.threadIdx.x + c * LANES
                if i >= x.shape[1] or j >= x.shape[2]:
                    continue
                pixel = x[plane, i, j]
                # Without a neighbour there is no difference.
                drop = unit * (x[plane, after(i, x.shape[1], periodic), j] - pixel)
                roughness += drop * drop
                drop = unit * (x[plane, i, after(j, x.shape[2], periodic)] - pixel)
                roughness += drop * drop
                p, q = i - top, j - left
                if p >= 0 and q >= 0 and p < image.shape[1] and q < image.shape[2]:
                    lacks = tile[(i - i0) * tile_cols + j - j0] - image[plane, p, q]
                    weight = weights[plane, p, q] if weights.size > 1 else real(1)
                    out[plane, p, q] = weight * lacks
                    misfit += weight * (unit * lacks) * (unit * lacks)
        sums[0], sums[1] = misfit, roughness
        block = (plane * cuda.gridDim.y + cuda.blockIdx.y) * cuda.gridDim.x + cuda.blockIdx.x
        pass_sums(sums, 2, partials, block)

    @kernel
    def update(source, scalars, down, across, rows_at, cols_at, parameters, estimates, first, second, partials):
        """The next estimate, beside the current one; sums of squares: gradient, its data part, its prior part."""
        if scalars[STATUS] != RUNNING or scalars[SKIPS] != 0.0:
            return
        tile = cuda.shared.array(size, real, ALIGNMENT) if ALIGNED else cuda.shared.array(size, real)
        sums = cuda.local.array(3, np.float64)
        i0, j0, plane = cuda.blockIdx.y * TILE_ROWS, cuda.blockIdx.x * tile_cols, cuda.blockIdx.z
        correlate(tile, source[0], plane, down, across, rows_at, cols_at, i0, j0)
        here = int(scalars[HERE])
        x, out = estimates[here], estimates[1 - here]
        data_scale, prior_scale = real(scalars[DATA_SCALE]), real(scalars[PRIOR_SCALE])
        brightness, rate, rule = real(parameters[BRIGHTNESS]), real(scalars[RATE]), int(parameters[RULE])
        bounded, low, high = parameters[BOUNDED] != 0.0, real(parameters[LOW]), real(parameters[HIGH])
        periodic = parameters[PERIODIC] != 0.0
        total, data_total, prior_total = real(0), real(0), real(0)
        for r in range(ROWS):
            i = i0 + cuda.threadIdx.y * ROWS + r
            for c in range(cols):
                j = j0 + cuda.threadIdx.x + c * LANES
                if i >= x.shape[1] or j >= x.shape[2]:
                    continue
                pixel = x[plane, i, j]
                up, below = (
                    x[plane, before(i, x.shape[1], periodic), j],
                    x[plane, after(i, x.shape[1], periodic), j],
                )
                left, right = (
                    x[plane, i, before(j, x.shape[2], periodic)],
                    x[plane, i, after(j, x.shape[2], periodic)],
                )
                data = data_scale * tile[(i - i0) * tile_cols + j - j0]
                prior = prior_scale * ((pixel - up) + (pixel - below) + (pixel - left) + (pixel - right))
                gradient = data + prior
                data_total += data * data
                prior_total += prior * prior
                held = bounded and ((pixel <= low and gradient > real(0)) or (pixel >= high and gradient < real(0)))
                if not held:
                    total += gradient * gradient
                following = step(rule, rate, pixel, brightness * gradient, first, second, plane, i, j)
                if bounded:
                    following = low if following < low else (high if following > high else following)
                out[plane, i, j] = following
        sums[0], sums[1], sums[2] = total, data_total, prior_total
        block = (plane * cuda.gridDim.y + cuda.blockIdx.y) * cuda.gridDim.x + cuda.blockIdx.x
        pass_sums(sums, 3, partials, block)

    return SimpleNamespace(apply=apply, residual=residual, update=update)


@kernel
def gather(source, scalars, rows_at, cols_at, out):
    """The image with its halo, by tables of pixels; zeros where a table has none."""
    i, plane, here = cuda.blockIdx.x, cuda.blockIdx.z, int(scalars[HERE])
    row = rows_at[i] if i < rows_at.size else -1
    for j in range(cuda.threadIdx.x, out.shape[2], LINE):
        col = cols_at[j] if j < cols_at.size else -1
        if row >= 0 and col >= 0:
            out[plane, i, j] = source[here, plane, row, col]
        else:
            out[plane, i, j] = 0


@kernel
def fold(wide, row_first, row_places, col_first, col_places, out):
    """Add up the values at all positions of each pixel: the transpose of `gather`."""
    i, plane = cuda.blockIdx.x, cuda.blockIdx.z
    for j in range(cuda.threadIdx.x, out.shape[2], LINE):
        total = out.dtype.type(0)
        for p in range(row_first[i], row_first[i + 1]):
            for q in range(col_first[j], col_first[j + 1]):
                total += wide[plane, row_places[p], col_places[q]]
        out[plane, i, j] = total


@kernel
def multiply(coefficients, spectra):
    """Multiply planes of frequencies with those of a psf, one for all or one each."""
    i, plane = cuda.blockIdx.x, cuda.blockIdx.z
    for j in range(cuda.threadIdx.x, coefficients.shape[2], LINE):
        coefficients[plane, i, j] *= spectra[plane % spectra.shape[0], i, j]
