"""Tables of speed and quality, from what the report measured: the same text for the same figures.

All of them stand in `benchmarks/README.md`; README has one chart, the most common cases and the mean quality.
"""

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
from ._losses import TIMED, slower, timed, worse
from ._machine import described
from ._restoration import OF_SCIKIT_IMAGE
from ._tables import number, table

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
TABLES = ROOT / "benchmarks" / "README.md"
RESULTS = ROOT / "benchmarks" / "results"
WIDTH = 120

Row = dict[str, Any]


def write(found: dict[str, Any], readme: Path = README, tables: Path = TABLES) -> None:
    """Put the summary between README's two marks, and all tables between those of the benchmarks' README."""
    _between(readme, "summary", summary_of(found, _served_from(readme)))
    _between(tables, "speed", section_of(found, _served_from(tables)))


def _between(file: Path, name: str, blocks: Iterator[str]) -> None:
    """Replace what is between the two marks of a name."""
    first, last = f"<!-- {name}: written by python -m benchmarks.report -->", f"<!-- end of {name} -->"
    text = file.read_text(encoding="utf-8")
    before, mark, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not (mark and end):
        raise ValueError(f"{file} has no {first} ... {last}")
    section = "\n\n".join(map(_wrapped, blocks))
    file.write_text(f"{before}{mark}\n{section}\n{end}{after}", encoding="utf-8")


def _wrapped(block: str) -> str:
    """Prose; lists, tables and pictures are as they are."""
    if block.startswith(("-", "|", "#", "!", "```")):
        return block
    return textwrap.fill(block, WIDTH, break_long_words=False, break_on_hyphens=False)


def _served_from(file: Path) -> str:
    """Pictures are linked as the file's first one is: a package index shows README's if that link is absolute."""
    link = re.search(r"!\[[^\]]*\]\((\S*/)[^/)]*\)", file.read_text(encoding="utf-8"))
    return link.group(1) if link else "benchmarks/results/" if file.name == README.name else "results/"


def _measured(found: dict[str, Any]) -> str:
    """When, on what, and with which versions."""
    processor, threads, versions = described(found["machine"])
    how = " with `--quick`" if found["quick"] else ""
    return f"Measured{how} on {found['date']}: {processor}, {threads}; {versions}."


def summary_of(found: dict[str, Any], pictures: str) -> Iterator[str]:
    """For README: one chart, a table of speed and one of quality."""
    processor, threads = described(found["machine"])[0], found["machine"]["threads"]
    rough = "; **rough: others used the processor meanwhile**" if found["disturbed"] else ""
    yield f"{processor}, {found['date']}, float32, {threads} threads for every library{rough}."
    yield f"![Milliseconds by image side and by psf side, for each path and library]({pictures}convolution.png)"
    yield "\n".join(fastest(found))
    yield (
        f"PSNR and SSIM of {_cases(found)} blurred photographs with noise of 1 %; scikit-image's two get in each case "
        "the parameter that turns out best, fastdeblur finds its own:"
    )
    yield "\n".join(restorations(found["restorations"]))


def _cases(found: dict[str, Any]) -> int:
    return len({(row["photograph"], row["psf"]) for row in found["restorations"]})


def section_of(found: dict[str, Any], pictures: str) -> Iterator[str]:
    """For the benchmarks: everything."""
    yield (
        f"{_measured(found)} All in float32, every library with as many threads; results were compared before anything "
        "was timed."
    )
    if found["not installed"]:
        yield f"Not installed, and left out: {', '.join(found['not installed'])}."
    rows = [*found["convolutions"], *found["notebook"], *found["solves"]]
    differ = dict.fromkeys(row["by"] for row in rows if row.get("left out") == DIFFERS)
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
    yield (
        f"{_cases(found)} cases, see `benchmarks/photographs.py`: noise of 1 %, nothing known beyond the frame. "
        "scikit-image's two get in each case the parameter that turns out best; fastdeblur finds its own."
    )
    yield f"![PSNR of each case by prior]({pictures}restoration.png)"
    yield "\n".join(restorations(found["restorations"]))

    yield "### Where others win"
    yield "\n".join(slower(found))
    yield "\n".join(worse(found["restorations"]))


def fastest(found: dict[str, Any]) -> list[str]:
    """Beside the fastest of the others: a small, a usual and a large psf, the notebook's job, and whole solves."""
    side, taps = fixed(found["convolutions"])
    sizes = {row["taps"] for row in found["convolutions"] if row["side"] == side}
    wanted = {"taps": {min(sizes), taps, max(sizes)}, "side": {side}}
    largest = {"side": {max(row["side"] for row in found["solves"])}}
    shown = [
        *(("convolutions", row) for row in found["convolutions"] if _has(row, wanted)),
        *(("notebook", row) for row in found["notebook"]),
        *(("solves", row) for row in found["solves"] if _has(row, largest)),
    ]
    times = timed(found)
    body = []
    for case in dict.fromkeys(TIMED[part](row) for part, row in shown):
        others = sorted((ms, by) for by, ms in times[case].items() if by != OURS)
        best = f"{number(others[0][0])} ({others[0][1]})" if others else ""
        body.append((case, number(times[case][OURS]), best))
    return table(("milliseconds", "fastdeblur", "fastest of the others"), body)


def _has(row: Row, wanted: dict[str, set[int]]) -> bool:
    return all(row[key] in values for key, values in wanted.items())


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
