"""The benchmarks for a GPU, as far as Numba's simulator goes."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Beside the installed package, not before it; and with this folder's faster simulator.
SCRIPT = f"""
import sys
sys.path += [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
{{first}}
from benchmarks import gpu
assert gpu.main({{arguments}}) == {{status}}
"""


def test_rehearsal(python, tmp_path):
    arguments = ["--rehearse", "--seed", "1", "--out", str(tmp_path)]
    script = SCRIPT.format(first="import simulator", arguments=arguments, status=0)
    printed = python(script, NUMBA_ENABLE_CUDASIM="1")
    (saved,) = tmp_path.glob("simulator-*.json")
    report = json.loads(saved.read_text(encoding="utf-8"))
    assert {"date", "device", "libraries", "seed", "limits", "off the CPU by", "figures", "targets"} <= set(report)
    assert report["rehearsal"]
    assert {"fastdeblur", "numba", "numba-cuda", "cupy", "torch", "jax"} <= set(report["libraries"])

    ours = [row for row in report["figures"] if "by" not in row]
    assert not [row for row in ours if "failed" in row]
    forward = {(row["psf"], row["path"]) for row in ours if row["what"] == "forward"}
    separable, full = "3x3 separable", "3x3 full rank"
    assert forward == {(separable, path) for path in ("separable", "direct", "fft")} | {(full, "direct"), (full, "fft")}
    for what in ("Blur.forward", "gd step", "exact", "tv"):
        assert [row["psf"] for row in ours if row["what"] == what and row["size"] == 16] == [separable, full]
    assert all(row["ms"] > 0 for row in ours)
    assert all(row[key] > 0 for row in ours if row["what"] == "gd step" for key in ("device ms", "of copy", "of peak"))

    # Peers are listed whether they are there or not; SciPy's functions stand in for CuPy's.
    peers = [row for row in report["figures"] if "by" in row]
    assert {row["by"] for row in peers} == {"torch", "cupy", "jax"}
    assert all("ms" in row or row["failed"] for row in peers)
    assert all(row["error"] < 1e-3 for row in peers if row["by"] == "cupy")
    assert len(report["targets"]) == 6
    assert all(target["reached"] > 0 for target in report["targets"])
    assert all(row["what"] in printed for row in report["figures"])


def test_what_it_needs(python):
    python(SCRIPT.format(first="", arguments=[], status=2), NUMBA_ENABLE_CUDASIM="1")
    python(SCRIPT.format(first="", arguments=["--rehearse"], status=2), NUMBA_ENABLE_CUDASIM="0")
