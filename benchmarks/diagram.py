"""README's figure of a gradient step: ``python -m benchmarks.diagram`` draws ``benchmarks/results/passes.png``."""

from pathlib import Path
from typing import Any

RESULT = Path(__file__).with_name("results") / "passes.png"
INK, FAINT, HOT, MEMORY = "#1a1a2e", "#8a8a99", "#fff1d6", "#e8eef7"
# Title; what is loaded, what a tile does with it, what goes back to memory.
PASSES = (
    (
        "1  residual pass",
        ("estimate x", "a tile, and around it\nwhat the psf reaches"),
        ("A: correlate with\nthe flipped psf", "subtract the image,\nadd up squares of\nresidual and differences"),
        ("residual r = Ax - b", "and, for each tile,\ntwo sums"),
    ),
    (
        "2  update pass",
        ("residual r", "a tile, and around it\nagain; and x itself"),
        ("Aᵀ: correlate\nwith the psf", "add the regulariser's\ngradient, take the\noptimiser's step"),
        ("next estimate x", "in a second buffer: others\nstill read the first"),
    ),
)


def box(axes: Any, left: float, bottom: float, width: float, height: float, fill: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    axes.add_patch(
        FancyBboxPatch(
            (left, bottom), width, height, boxstyle="round,pad=0,rounding_size=0.12", fc=fill, ec=INK, lw=1.4
        )
    )


def arrow(axes: Any, start: float, end: float, at: float) -> None:
    axes.annotate("", (end, at), (start, at), arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.6})


def text(axes: Any, x: float, y: float, what: str, **how: Any) -> None:
    axes.text(x, y, what, **{"ha": "center", "va": "center", "color": INK, "fontsize": 11, "linespacing": 1.35, **how})


def main() -> None:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.4), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, 11)
    axes.set_ylim(0, 5.4)
    axes.axis("off")
    for x, head in ((1.65, "memory"), (5.5, "one tile, in the cache"), (9.35, "memory")):
        text(axes, x, 5.1, head, color=FAINT)
    for bottom, (title, read, work, written) in zip((2.75, 0.3), PASSES, strict=True):
        middle = bottom + 0.9
        text(axes, 0.3, bottom + 2.05, title, ha="left", fontsize=13, fontweight="bold")
        for left, (name, what) in ((0.3, read), (8.0, written)):
            box(axes, left, bottom, 2.7, 1.8, MEMORY)
            text(axes, left + 1.35, middle + 0.42, name, fontsize=12, fontweight="bold")
            text(axes, left + 1.35, middle - 0.32, what, fontsize=10)
        box(axes, 3.55, bottom, 3.9, 1.8, HOT)
        axes.plot((5.3, 5.3), (bottom + 0.2, bottom + 1.6), color=FAINT, lw=1, ls=":")
        text(axes, 4.43, middle, work[0])
        text(axes, 6.37, middle, work[1])
        arrow(axes, 3.0, 3.55, middle)
        arrow(axes, 7.45, 8.0, middle)
    figure.savefig(RESULT, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
