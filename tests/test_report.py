"""Tables of speed and quality are what the report makes of figures that are stored."""

import copy
import json
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Beside the installed package, not before it.
sys.path.append(str(ROOT))
from benchmarks import _charts, _readme  # noqa: E402

FILES = (_readme.README, _readme.TABLES)
STORED = sorted((ROOT / "benchmarks" / "results").glob("*-threads.json"))


def _read(file):
    return json.loads(file.read_text(encoding="utf-8"))


def test_readmes_have_no_other_figures(tmp_path):
    copies = [tmp_path / "README.md", tmp_path / "tables.md"]
    written = []
    for stored in STORED:
        for file, copied in zip(FILES, copies, strict=True):
            shutil.copy(file, copied)
        _readme.write(_read(stored), *copies)
        written.append([copied.read_bytes() for copied in copies])
    assert [file.read_bytes() for file in FILES] in written


def test_readme_can_be_read_in_one_go():
    assert len(_readme.README.read_text(encoding="utf-8").splitlines()) <= 220


@pytest.mark.parametrize("file", STORED, ids=lambda file: file.stem)
def test_without_peers(file, tmp_path):
    found = copy.deepcopy(_read(file))
    found["not installed"] = ["OpenCV", "JAX"]
    for part in ("convolutions", "notebook", "solves"):
        found[part] = [row for row in found[part] if row["by"] == "fastdeblur"]
    text = "\n".join(_readme.section_of(found, "pictures/"))
    assert "Not installed, and left out: OpenCV, JAX." in text
    assert "Nobody was faster" in text
    assert "pictures/convolution.png" in text
    summary = "\n".join(_readme.summary_of(found, "pictures/"))
    assert "pictures/convolution.png" in summary
    assert "OpenCV" not in summary
    _charts.draw(found, tmp_path)
    assert {chart.stem for chart in tmp_path.iterdir()} == {"convolution", "minimum", "restoration"}


def test_losses_are_told():
    found = _read(STORED[0])
    for part in ("convolutions", "notebook", "solves"):
        found[part] = [{**row, "ms": 1.0 if row["by"] == "fastdeblur" else 0.5} for row in found[part]]
    cases = {(row["psf"], row["taps"], row["side"]) for row in found["convolutions"]}
    (*_, slower, _) = _readme.section_of(found, "")
    assert slower.count("\n") == 1 + len(cases) + 1 + len({(row["task"], row["side"]) for row in found["solves"]})


def test_marks_are_needed(tmp_path):
    for name in ("README.md", "tables.md"):
        (tmp_path / name).write_text("nothing", encoding="utf-8")
    with pytest.raises(ValueError, match="has no <!-- summary"):
        _readme.write(_read(STORED[0]), tmp_path / "README.md", tmp_path / "tables.md")
    shutil.copy(_readme.README, tmp_path)
    with pytest.raises(ValueError, match="has no <!-- speed"):
        _readme.write(_read(STORED[0]), tmp_path / "README.md", tmp_path / "tables.md")
