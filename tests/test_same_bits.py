"""The tool that compares a version's results with those of another, to the last bit."""

import json

import numpy as np
import pytest
import same_bits

import fastdeblur as fd

# Two cases that compile nothing.
CHEAP = ["--only", "^(saturated|psf/box)$"]


@pytest.fixture
def stored(tmp_path):
    file = tmp_path / "bits.json"
    assert same_bits.main(["record", str(file), *CHEAP]) == 0
    return file


def test_equal_results_are_no_difference(stored, capsys):
    assert same_bits.main(["compare", str(stored), *CHEAP]) == 0
    assert capsys.readouterr().out.endswith("0 differences\n")


def test_changed_bit_is_a_difference(stored, monkeypatch, capsys):
    box = fd.psf.box
    monkeypatch.setattr(fd.psf, "box", lambda shape: np.nextafter(box(shape), 1))
    assert same_bits.main(["compare", str(stored), *CHEAP]) == 1
    out = capsys.readouterr().out
    assert "psf/box: value was " in out
    assert "saturated: " not in out


def test_added_missing_and_failing_cases_are_differences(stored, monkeypatch, capsys):
    found = json.loads(stored.read_text(encoding="utf-8"))
    found["cases"]["saturated, old"] = found["cases"].pop("saturated")
    stored.write_text(json.dumps(found), encoding="utf-8")
    monkeypatch.delattr(fd.psf, "box")
    assert same_bits.main(["compare", str(stored), "--only", "^(saturated.*|psf/box)$"]) == 1
    out = capsys.readouterr().out
    assert "saturated, old: is no longer there" in out
    assert "saturated: was not there before" in out
    assert "psf/box: error was not there, is AttributeError: " in out


def test_cases_have_every_value():
    """All that `solve` may be asked, and over 300 cases."""
    names = [name for name, _ in same_bits.cases()]
    assert len(set(names)) == len(names) > 300
    rows = [name.removeprefix("solve/").split() for name in names if name.startswith("solve/")]
    for position, values in enumerate([same_bits.BOUNDARIES, same_bits.PATHS, *same_bits.VALUES.values()], 3):
        assert {row[position] for row in rows} == set(values)
    assert {row[2] for row in rows} == {"auto", "exact", *same_bits.RULES}
