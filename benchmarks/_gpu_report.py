"""What was measured on a GPU: printed row by row, saved, and held against the project's targets."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FORWARD, CHECKED, STEP, EXACT, TV = "forward", "Blur.forward", "gd step", "exact", "tv"
HELD, MISSED, UNKNOWN = "HELD", "MISSED", "NOT MEASURED"

Row = dict[str, Any]

_COLUMNS = (("ms", "10.3f"), ("device ms", "11.3f"), ("GB/s", "8.0f"), ("of copy", "9.0%"), ("GFLOP/s", "9.0f"),
            ("of peak", "9.0%"))  # fmt: skip
_WIDTHS = [int(form.partition(".")[0]) for _, form in _COLUMNS]
HEADER = f"{'':14}{'size':>5} {'psf':19}{'':40}" + "".join(
    f"{name:>{width}}" for (name, _), width in zip(_COLUMNS, _WIDTHS, strict=True)
)


@dataclass
class Report:
    """What is saved."""

    found: dict[str, Any]
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        print(line(row), flush=True)

    def ours(self, what: str, size: int, psf: str, path: str | None = None) -> Row:
        """fastdeblur's row, empty if there is none."""
        wanted = {"what": what, "size": size, "psf": psf, **({"path": path} if path else {})}
        return next((row for row in self.rows if "by" not in row and wanted.items() <= row.items()), {})

    def best(self, size: int, psf: str) -> Row:
        """The fastest step of another library, empty if there is none."""
        wanted = {"what": STEP, "size": size, "psf": psf}
        others = [row for row in self.rows if "by" in row and "ms" in row and wanted.items() <= row.items()]
        return min(others, key=lambda row: row["ms"], default={})

    def save(self, folder: Path) -> Path:
        """Write it to a file named after the device and the date."""
        folder.mkdir(parents=True, exist_ok=True)
        device = re.sub("[^a-z0-9]+", "-", self.found["device"].lower()).strip("-")
        target = folder / f"{device}-{self.found['date']}.json"
        target.write_text(json.dumps({**self.found, "figures": self.rows}, indent=1) + "\n", encoding="utf-8")
        return target


def line(row: Row) -> str:
    """A row of the table."""
    who = ": ".join(row[key] for key in ("by", "path") if key in row)
    start = f"{row['what']:14}{row.get('size', ''):>5} {row.get('psf', ''):19}{who:40}"
    if "failed" in row:
        return f"{start}  {row['failed']}"
    cells = (
        f"{row[name]:{form}}" if name in row else " " * width
        for (name, form), width in zip(_COLUMNS, _WIDTHS, strict=True)
    )
    notes = [f"{row['iterations']} iterations, {row['stopped by']}"] if "iterations" in row else []
    notes += [f"{row['times ours']:.1f} times fastdeblur's"] if "times ours" in row else []
    return f"{start}{''.join(cells)}  {', '.join(notes)}".rstrip()


@dataclass(frozen=True)
class Target:
    """What a figure is to be: at least `least` and at most `most`."""

    name: str
    figure: Callable[[Report], Row]
    key: str
    least: float = 0.0
    most: float = math.inf

    def judged(self, report: Report) -> Row:
        row = self.figure(report)
        reached = row.get(self.key)
        if reached is None:
            state = MISSED if "failed" in row else UNKNOWN
        else:
            state = HELD if self.least <= reached <= self.most else MISSED
        bar = {"at least": self.least} if self.most == math.inf else {"at most": self.most}
        of = {"beside": row["best"]} if "best" in row else {}
        return {"target": self.name, "state": state, "reached": reached, **bar, **of}


def lead(report: Report, size: int, psf: str) -> Row:
    """How many times faster a step is than the best peer's."""
    ours, best = report.ours(STEP, size, psf), report.best(size, psf)
    if "ms" not in ours or not best:
        return {"failed": ours["failed"]} if "failed" in ours else {}
    return {"lead": best["ms"] / ours["ms"], "best": f"{best['by']}: {best['path']}"}


def targets(separable: str, full: str, wide: str, size: int, exact_size: int) -> list[Target]:
    """The project's, of psfs of these names and of images with these sides."""
    return [
        Target(
            f"forward, {full}, direct: share of the multiply-adds' peak",
            lambda report: report.ours(FORWARD, size, full, "direct"), "of peak", least=0.4,
        ),
        Target(
            f"forward, {separable}, separable: share of the copy's rate",
            lambda report: report.ours(FORWARD, size, separable, "separable"), "of copy", least=0.6,
        ),
        Target(
            f"gd step, {separable}: share of the copy's rate",
            lambda report: report.ours(STEP, size, separable), "of copy", least=0.6,
        ),
        Target(
            f"gd step, {separable}: times as fast as the best peer",
            lambda report: lead(report, size, separable), "lead", least=3.0,
        ),
        Target(
            f"gd step, {wide}: times as fast as the best peer",
            lambda report: lead(report, size, wide), "lead", least=1.3,
        ),
        Target(
            f"exact solution, {exact_size}x{exact_size}, {separable}: ms",
            lambda report: report.ours(EXACT, exact_size, separable), "ms", most=5.0,
        ),
    ]  # fmt: skip


def verdict(judged: Row) -> str:
    """A line on a target."""
    bar = next(f"{key} {judged[key]:g}" for key in ("at least", "at most") if key in judged)
    reached = "-" if judged["reached"] is None else f"{judged['reached']:.2f}"
    beside = f" ({judged['beside']})" if "beside" in judged else ""
    return f"{judged['state']:13}{judged['target']:64}{reached:>8}, {bar}{beside}"
