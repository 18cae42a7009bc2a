"""fastdeblur beside other libraries and the machine's limits: ``python -m benchmarks.report``.

Measures, writes ``benchmarks/results/<machine>.json``, and from that the charts and tables of ``benchmarks/README.md``
and README's summary.
``--quick`` takes smaller and fewer cases, minutes instead of an hour; ``--from FILE`` measures nothing.  Others
should not use the machine meanwhile.  Libraries that are not installed (``pip install ".[bench]"``) are named and
left out.
"""

import argparse
import datetime
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import _limits
from ._charts import draw
from ._comparison import FULL, QUICK, Plan, convolutions, minima, notebook, solves
from ._machine import described, machine
from ._peers import NAMES, present
from ._readme import write
from ._restoration import restorations

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
# Of figures in the file.
DIGITS = 4


def measured(plan: Plan) -> dict[str, Any]:
    """Everything, announced part by part."""
    parts: dict[str, Any] = {
        "limits": lambda: _limits.measured(plan.rounds, plan.samples),
        "convolutions": lambda: _listed(convolutions(plan)),
        "notebook": lambda: _listed(notebook(plan)),
        "solves": lambda: _listed(solves(plan)),
        "minima": lambda: _listed(minima(plan)),
        "restorations": lambda: _listed(restorations(plan.photographs)),
    }
    found: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "quick": plan is QUICK,
        "machine": machine(),
        "not installed": [name for module, name in NAMES.items() if not present(module)],
    }
    for name in found["not installed"]:
        print(f"{name} is not installed: left out")
    for name, measure in parts.items():
        began = time.perf_counter()
        print(f"\n{name}", flush=True)
        found[name] = measure()
        print(f"({time.perf_counter() - began:.0f} s)", flush=True)
    found["disturbed"] = _limits.disturbed(found["limits"])
    return found


def _listed(rows: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    listed = []
    for row in rows:
        listed.append(row)
        print("  " + ", ".join(f"{key} {_rounded(value)}" for key, value in row.items()), flush=True)
    return listed


def _rounded(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: _rounded(value) for key, value in found.items()}
    if isinstance(found, list):
        return [_rounded(value) for value in found]
    return float(f"{found:.{DIGITS}g}") if isinstance(found, float) else found


def file_of(found: dict[str, Any]) -> Path:
    """Named after the processor and the threads."""
    name = f"{found['machine']['processor']} {found['machine']['threads']} threads"
    return RESULTS / (re.sub("[^a-z0-9]+", "-", name.lower()).strip("-") + ".json")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report")
    parser.add_argument("--quick", action="store_true", help="smaller and fewer cases")
    parser.add_argument("--from", dest="file", type=Path, metavar="FILE", help="of an earlier run; measures nothing")
    parser.add_argument("--no-readme", action="store_true", help="only measure, and write the file")
    asked = parser.parse_args(arguments)
    if asked.file:
        found = json.loads(asked.file.read_text(encoding="utf-8"))
    else:
        found = _rounded(measured(QUICK if asked.quick else FULL))
        target = file_of(found)
        target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"\n{target.relative_to(ROOT)}")
    print("\n".join(["", *described(found["machine"]), *_limits.table(found["limits"])]))
    if found["disturbed"]:
        print("\nOthers used the processor (see cores): run this again when they do not.")
    if not asked.no_readme:
        draw(found, RESULTS)
        write(found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
