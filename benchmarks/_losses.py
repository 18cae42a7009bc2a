"""Every case of the report in which another library wins."""

import itertools
from collections.abc import Callable
from typing import Any

from ._comparison import OURS
from ._restoration import OF_SCIKIT_IMAGE
from ._restoration import OURS as OUR_METHODS
from ._tables import number, table

Row = dict[str, Any]

# Of the report's parts, and the names of their cases.
TIMED: dict[str, Callable[[Row], str]] = {
    "convolutions": lambda row: f"{row['psf']}, {row['taps']}x{row['taps']}, on {row['side']}x{row['side']}",
    "notebook": lambda row: "the notebook's job",
    "solves": lambda row: f"{row['task']}, {row['side']}x{row['side']}",
}


def timed(found: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Milliseconds of each case by library; fastdeblur's by the path that it chooses."""
    times: dict[str, dict[str, float]] = {}
    for part, name in TIMED.items():
        for row in found[part]:
            if "ms" in row and row.get("chosen", True):
                times.setdefault(name(row), {})[row["by"]] = row["ms"]
    return times


def slower(found: dict[str, Any]) -> list[str]:
    """Cases in which others are faster."""
    times = timed(found)
    body = []
    for case, of in times.items():
        faster = sorted((ms, by) for by, ms in of.items() if ms < of.get(OURS, 0))
        if faster:
            body.append((case, number(of[OURS]), "; ".join(f"{by} {number(ms)}" for ms, by in faster)))
    if not body:
        return [f"Nobody was faster in any of {len(times)} cases."]
    return table((f"faster, in {len(body)} of {len(times)} cases", "fastdeblur, ms", "others, ms"), body)


def worse(rows: list[Row]) -> list[str]:
    """Those of our methods that the better of scikit-image's is ahead of."""
    by_case: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_case.setdefault(f"{row['photograph'].replace('_', ' ')}, {row['psf']}", {})[row["by"]] = row
    body = []
    for (case, of), (measure, digits) in itertools.product(by_case.items(), (("PSNR", 2), ("SSIM", 3))):
        best = max(OF_SCIKIT_IMAGE, key=lambda method: float(of[method][measure]))
        behind = [method for method in OUR_METHODS if of[method][measure] < of[best][measure]]
        if behind:
            told = ", ".join(f"{method} {of[method][measure]:.{digits}f}" for method in behind)
            body.append((f"{case}, {measure}", f"{best} {of[best][measure]:.{digits}f}", told))
    if not body:
        return ["scikit-image was ahead of no prior in any case."]
    return table(("nearer to the photograph", "scikit-image", "fastdeblur"), body)
