"""The report's charts, on a white of their own: they are as readable on a dark page as on a light one."""

from pathlib import Path
from typing import Any

from ._comparison import FULL_RANK, OURS, RANK_1, SOLVERS, STARTS
from ._restoration import OF_SCIKIT_IMAGE

# By library, of colours that differ for colour-blind eyes too.
COLOURS = {
    OURS: "#0b3c8c",
    "scipy": "#7a7a7a",
    "OpenCV": "#d1495b",
    "PyTorch": "#e08e00",
    "TensorFlow": "#2a9d62",
    "JAX": "#8e44ad",
}
STYLES = {"separable": "-", "direct": "--", "fft": ":"}
SOLVER_LOOKS = (("#d1495b", "s"), ("#e08e00", "^"), ("#8e44ad", "D"), ("#0b3c8c", "o"))
METHOD_STYLES = {
    "wiener": ("#7a7a7a", "s", "scikit-image: Wiener, best balance"),
    "richardson_lucy": ("#a5673f", "D", "scikit-image: Richardson-Lucy, best stop"),
    "gradient": ("#6fa8ff", "o", "gradient (the default)"),
    "tv": ("#2a9d62", "o", "tv"),
    "sparse": ("#0b3c8c", "o", "sparse"),
    "poisson": ("#e08e00", "o", "poisson"),
    "poisson+tv": ("#d1495b", "o", "poisson, tv"),
}
RESOLUTION = 110
# Of the methods within a case's row, as a share of it.
SPREAD = 0.66

LOOK = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "font.family": "DejaVu Sans",  # matplotlib's own, so that other machines draw the same
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "savefig.dpi": RESOLUTION,
}


def draw(found: dict[str, Any], folder: Path) -> None:
    """All of them."""
    import matplotlib as mpl

    mpl.use("agg")
    with mpl.rc_context(LOOK):
        for name, chart in {"convolution": convolution, "minimum": minimum, "restoration": restoration}.items():
            figure = chart(found)
            figure.supxlabel(_measured_on(found), x=0.01, ha="left", fontsize=9, color="#555555")
            figure.savefig(folder / f"{name}.png", metadata={"Software": None})


def _measured_on(found: dict[str, Any]) -> str:
    machine = found["machine"]
    return f"{machine['processor']}, {machine['threads']} threads; {OURS} {machine['libraries'][OURS]}; {found['date']}"


def convolution(found: dict[str, Any]) -> Any:
    """By image side and by psf side, for both kinds of psf."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 9), layout="constrained")
    grid = figure.subplots(2, 2, sharey="row")
    for axes_of_kind, kind in zip(grid, (FULL_RANK, RANK_1), strict=True):
        rows = [row for row in found["convolutions"] if row["psf"] == kind]
        side, taps = fixed(found["convolutions"])
        panels = (
            ("side", [row for row in rows if row["taps"] == taps], f"{taps}x{taps} psf", "image side in pixels"),
            ("taps", [row for row in rows if row["side"] == side], f"{side}x{side} image", "psf side in pixels"),
        )
        for axes, (key, shown, title, label) in zip(axes_of_kind, panels, strict=True):
            _lines(axes, shown, key)
            _logarithmic(axes, sorted({row[key] for row in shown}))
            axes.set_title(f"{title}, {kind}")
            axes.set_xlabel(label)
        axes_of_kind[0].set_ylabel("milliseconds")
        axes_of_kind[1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
    return figure


def fixed(rows: list[dict[str, Any]]) -> tuple[int, int]:
    """The side of the image that meets all psfs, and that of the psf that meets all images."""
    sides, taps = [row["side"] for row in rows], [row["taps"] for row in rows]
    return max(set(sides), key=sides.count), max(set(taps), key=taps.count)


def _lines(axes: Any, rows: list[dict[str, Any]], key: str) -> None:
    for name in dict.fromkeys(row.get("path", row["by"]) for row in rows):
        points = sorted((row[key], row["ms"]) for row in rows if row.get("path", row["by"]) == name and "ms" in row)
        if not points:
            continue
        library = OURS if name in STYLES else next(library for library in COLOURS if name.startswith(library))
        axes.plot(
            *zip(*points, strict=True),
            color=COLOURS[library],
            linestyle=STYLES.get(name, "-"),
            linewidth=2.6 if library == OURS else 1.1,
            marker=None if library == OURS else "^" if "oaconvolve" in name else "s" if "fft" in name else "o",
            markersize=4.5,
            zorder=3 if library == OURS else 2,
            label=f"{OURS}, {name}" if library == OURS else name,
        )


def _logarithmic(axes: Any, ticks: list[int]) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def minimum(found: dict[str, Any]) -> Any:
    """Milliseconds by image side, for each solver, from both starts."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, start in zip(panels, STARTS, strict=True):
        rows = [row for row in found["minima"] if row["start"] == start]
        for name, (colour, mark) in zip(SOLVERS, SOLVER_LOOKS, strict=True):
            points = sorted((row["side"], row["ms"]) for row in rows if row["solver"] == name and "ms" in row)
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, marker=mark, label=name)
        _logarithmic(axes, sorted({row["side"] for row in rows}))
        axes.set_xlabel("image side in pixels")
        axes.set_title(start)
    panels[0].set_ylabel("milliseconds")
    panels[1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
    return figure


def restoration(found: dict[str, Any]) -> Any:
    """PSNR of each method, case by case."""
    from matplotlib.figure import Figure

    rows = found["restorations"]
    cases = list(dict.fromkeys((row["photograph"], row["psf"]) for row in rows))
    figure = Figure(figsize=(10.5, 1.2 + 0.5 * len(cases)), layout="constrained")
    axes = figure.subplots()
    for which, (method, (colour, mark, label)) in enumerate(METHOD_STYLES.items()):
        below = SPREAD * (which / (len(METHOD_STYLES) - 1) - 0.5)
        values = {(row["photograph"], row["psf"]): row["PSNR"] for row in rows if row["by"] == method}
        axes.scatter(
            [values[case] for case in cases],
            [case + below for case in range(len(cases))],
            color="white" if method in OF_SCIKIT_IMAGE else colour,
            edgecolor=colour,
            linewidth=1.8,
            marker=mark,
            s=30,
            label=label,
            zorder=3,
        )
    axes.set_yticks(range(len(cases)), [f"{photograph.replace('_', ' ')}, {psf}" for photograph, psf in cases])
    axes.set_yticks([case + 0.5 for case in range(-1, len(cases))], minor=True)
    axes.set_ylim(len(cases) - 0.5, -0.5)
    axes.grid(visible=False, axis="y", which="major")
    axes.grid(visible=True, axis="y", which="minor")
    axes.tick_params(axis="y", which="both", length=0)
    axes.set_xlabel("PSNR in dB, more is better (the axis does not begin at 0)")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure
