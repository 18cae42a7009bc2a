"""Figures of psfs, losses and compared images; needs matplotlib (extra ``plot``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..io.atomic import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150


def require() -> None:
    """Raise an ImportError that says what to install if matplotlib is missing."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise ImportError('pictures need matplotlib: pip install "fastdeblur[plot]"') from None


def psf(kernel: np.ndarray) -> Figure:
    """A psf with its pixels, offsets from its centre as coordinates and a colour bar.

    Parameters
    ----------
    kernel : ndarray, shape (rows, cols)
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    rows, cols = kernel.shape
    top, left = -(rows // 2) - 0.5, -(cols // 2) - 0.5
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(kernel, cmap="viridis", vmin=min(0.0, kernel.min()), interpolation="nearest",
                        extent=(left, left + cols, top + rows, top))  # fmt: skip
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(7, integer=True))
    axes.set(title=f"Point spread function, ${rows} \\times {cols}$", xlabel="pixels across", ylabel="pixels down")
    figure.colorbar(shown, ax=axes, label="share of the light")
    return figure


def loss(history: np.ndarray, name: str = "loss") -> Figure:
    """A loss against steps, on a logarithmic scale, its start and end labelled.

    Parameters
    ----------
    history : ndarray, shape (steps + 1,)
        Positive values.
    name : str
        What is plotted, for the axis.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    last = len(history) - 1
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.semilogy(history, color="tab:blue", linewidth=1.8)
    axes.plot([0, last], [history[0], history[-1]], "o", color="tab:blue", markersize=5)
    for step, side, shift in ((0, "left", 8), (last, "right", 0)):
        axes.annotate(f"{history[step]:.3g}", (step, history[step]), (shift, 7), textcoords="offset points", ha=side)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.margins(y=0.12)
    axes.set(title=f"Loss over {last} steps", xlabel="step", ylabel=name)
    axes.grid(which="major", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def comparison(images: Sequence[tuple[str, np.ndarray]]) -> Figure:
    """Gray images side by side on one scale from 0, black, to 1, white.

    Parameters
    ----------
    images : sequence of (title, ndarray of shape (rows, cols))
    """
    from matplotlib.figure import Figure

    rows, cols = images[0][1].shape
    width = 4.0
    figure = Figure(figsize=(len(images) * width + 0.9, width * rows / cols + 0.5), layout="constrained")
    panels = figure.subplots(1, len(images), squeeze=False)[0]
    for axes, (title, image) in zip(panels, images, strict=True):
        shown = axes.imshow(image, cmap="gray", vmin=0, vmax=1)
        axes.set_title(title)
        axes.set_axis_off()
    figure.colorbar(shown, cax=panels[-1].inset_axes((1.03, 0, 0.03, 1)), ticks=(0, 0.5, 1))
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=DPI)
