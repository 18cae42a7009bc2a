"""README's section on speed, from what the report measured: the same text for the same figures."""

import itertools
import math
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import _limits
from ._charts import METHOD_STYLES, fixed
from ._comparison import DIFFERS, FULL_RANK, OURS, RANK_1, SOLVERS, STARTS
from ._losses import slower, worse
from ._machine import described
from ._restoration import OF_SCIKIT_IMAGE
from ._tables import number, table

FIRST_MARK = "<!-- speed: written by python -m benchmarks.report -->"
LAST_MARK = "<!-- end of speed -->"
RESULTS = "benchmarks/results/"
WIDTH = 120

Row = dict[str, Any]


def write(found: dict[str, Any], readme: Path) -> None:
    """Put the section between README's two marks."""
    text = readme.read_text(encoding="utf-8")
    before, mark, rest = text.partition(FIRST_MARK)
    _, last, after = rest.partition(LAST_MARK)
    if not (mark and last):
        raise ValueError(f"{readme} has no {FIRST_MARK} ... {LAST_MARK}")
    section = "\n\n".join(map(_wrapped, section_of(found, _served_from(before))))
    readme.write_text(f"{before}{mark}\n{section}\n{last}{after}", encoding="utf-8")


def _wrapped(block: str) -> str:
    """Prose; lists, tables and pictures are as they are."""
    if block.startswith(("-", "|", "#", "!", "```")):
        return block
    return textwrap.fill(block, WIDTH, break_long_words=False, break_on_hyphens=False)


def _served_from(before: str) -> str:
    """Pictures are linked as README's first one is: a package index shows them if that link is absolute."""
    link = re.search(r"!\[[^\]]*\]\((\S*/)[^/)]*\)", before)
    return link.group(1) if link else RESULTS


def section_of(found: dict[str, Any], pictures: str) -> Iterator[str]:
    processor, threads, versions = described(found["machine"])
    how = " with `--quick`" if found["quick"] else ""
    yield (
        f"Measured{how} on {found['date']}: {processor}, {threads}; {versions}. "
        "All in float32, every library with as many threads; results were compared before anything was timed."
    )
    if found["not installed"]:
        yield f"Not installed, and left out: {', '.join(found['not installed'])}."
    timed = [*found["convolutions"], *found["notebook"], *found["solves"]]
    differ = dict.fromkeys(row["by"] for row in timed if row.get("left out") == DIFFERS)
    if differ:
        yield f"Left out where they gave other results: {', '.join(differ)}."
    if found["disturbed"]:
        yield "**Others used the processor meanwhile: these figures are rough.**"

    yield "### One convolution"
    yield f"![Milliseconds by image side and by psf side, for each path and library]({pictures}convolution.png)"
    yield (
        "A line that ends early became too slow to wait for. `fastdeblur` alone is the path that it chooses. Where "
        "lines cross:"
    )
    yield "\n".join(f"- {line}" for line in crossovers(found["convolutions"]))

    yield "### Of what the machine can do"
    yield "\n".join(["```", *_limits.table(found["limits"]), "```"])
    yield (
        "`share` is the time as a share of one float32 product of 2048x2048 matrices, by NumPy's BLAS in the same run: "
        "a measure that is much the same on different machines. `reached` compares with what arithmetic or memory "
        "allow at least."
    )

    yield "### The notebook's job"
    yield "500 steps on its photograph of 171x171 pixels, with its psf of 13x13."
    yield "\n".join(notebook(found["notebook"]))

    yield "### To the minimum"
    yield f"![Milliseconds to within 1 % of the minimum, by image side and solver]({pictures}minimum.png)"
    yield (
        "Milliseconds (and iterations) until the notebook's objective on a photograph is within 1 % of its minimum, "
        "all that has to be set up included:"
    )
    yield "\n".join(minima(found["minima"]))

    yield "### Restored photographs"
    cases = len({(row["photograph"], row["psf"]) for row in found["restorations"]})
    yield (
        f"{cases} cases, see `benchmarks/photographs.py`: noise of 1 %, nothing known beyond the frame. scikit-image's "
        "two get in each case the parameter that turns out best; fastdeblur finds its own."
    )
    yield f"![PSNR of each case by prior]({pictures}restoration.png)"
    yield "\n".join(restorations(found["restorations"]))

    yield "### Where others win"
    yield "\n".join(slower(found))
    yield "\n".join(worse(found["restorations"]))


def crossovers(rows: list[Row]) -> Iterator[str]:
    """Where one of our paths overtakes another, and we another library or it us."""
    side, taps = fixed(rows)
    for kind in (FULL_RANK, RANK_1):
        for key, other, of, what in (
            ("side", "taps", taps, f"{taps}x{taps} psf, by image side"),
            ("taps", "side", side, f"{side}x{side} image, by psf side"),
        ):
            times: dict[str, dict[int, float]] = {}
            for row in rows:
                if row["psf"] == kind and row[other] == of and "ms" in row:
                    times.setdefault(row.get("path", row["by"]), {})[row[key]] = row["ms"]
                    if row.get("chosen"):
                        times.setdefault(OURS, {})[row[key]] = row["ms"]
            paths = [row["path"] for row in rows if "path" in row and row["psf"] == kind]
            among = list(itertools.combinations(dict.fromkeys(paths), 2))
            beside = [(OURS, name) for name in times if name not in (*paths, OURS)]
            for pairs, who in ((among, "paths"), (beside, "others")):
                met = [text for one, two in pairs for text in _crossings(one, two, times)]
                yield f"{kind}, {what}, {who}: {'; '.join(met) or 'nowhere'}"


def _crossings(one: str, two: str, times: dict[str, dict[int, float]]) -> Iterator[str]:
    """Between neighbouring sizes, by straight lines in logarithms."""
    first, second = times.get(one, {}), times.get(two, {})
    both = sorted(first.keys() & second.keys())
    lead = [math.log(first[size] / second[size]) for size in both]
    for (low, high), (before, after) in zip(itertools.pairwise(both), itertools.pairwise(lead), strict=True):
        if before * after < 0:
            at = low * (high / low) ** (before / (before - after))
            ahead, behind = (one, two) if after < 0 else (two, one)
            yield f"{ahead} overtakes {behind} at {at:.0f}"


def notebook(rows: list[Row]) -> list[str]:
    (ours,) = (row["ms"] for row in rows if row["by"] == OURS)
    body = [
        (
            row["by"] + (f" ({row['steps']} steps, scaled)" if row["steps"] != rows[0]["steps"] else ""),
            number(row["ms"]),
            f"{row['ms'] / ours:.2g}" if row["ms"] < 100 * ours else f"{row['ms'] / ours:.0f}",
        )
        for row in sorted((row for row in rows if "ms" in row), key=lambda row: float(row["ms"]))
    ]
    return table(("", "ms", "times ours"), body)


def minima(rows: list[Row]) -> list[str]:
    sides = sorted({row["side"] for row in rows})

    def cell(row: Row) -> str:
        return f"{number(row['ms'])} ({row['iterations']})" if "ms" in row else row["left out"]

    body: list[tuple[str, ...]] = []
    for start in STARTS:
        of = {(row["solver"], row["side"]): row for row in rows if row["start"] == start}
        body += [(f"*{start}*", *("" for _ in sides))]
        body += [(solver, *(cell(of[solver, side]) for side in sides)) for solver in SOLVERS]
    return table(("", *(f"{side}x{side}" for side in sides)), body)


def restorations(rows: list[Row]) -> list[str]:
    found: dict[str, dict[str, np.ndarray]] = {
        method: {key: np.array([row[key] for row in rows if row["by"] == method]) for key in ("PSNR", "SSIM")}
        for method in METHOD_STYLES
    }
    peers = np.max([found[method]["PSNR"] for method in OF_SCIKIT_IMAGE], axis=0)
    body = []
    for method, (_, _, label) in METHOD_STYLES.items():
        psnr, ssim = found[method]["PSNR"], found[method]["SSIM"]
        ahead = "" if method in OF_SCIKIT_IMAGE else f"{(psnr - peers).mean():+.2f} ({(psnr - peers).min():+.2f})"
        body.append((label, f"{psnr.mean():.2f} ({psnr.min():.2f})", ahead, f"{ssim.mean():.3f} ({ssim.min():.3f})"))
    return table(("mean (worst case)", "PSNR, dB", "to the better of scikit-image's", "SSIM"), body)
