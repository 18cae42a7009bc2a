"""The examples in docstrings and in README run."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import fastdeblur

README = Path(__file__).resolve().parents[1] / "README.md"
MODULES = [
    "fastdeblur.api",
    "fastdeblur.blur",
    "fastdeblur.deblurrer",
    "fastdeblur.frames",
    "fastdeblur.hygiene",
    "fastdeblur.large.job",
    "fastdeblur.large.needs",
    "fastdeblur.notebook",
    "fastdeblur.psf",
]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert failed == 0
    assert tried > 0


def test_no_example_is_left_out():
    for module in pkgutil.walk_packages(fastdeblur.__path__, "fastdeblur."):
        if module.name not in (*MODULES, "fastdeblur.__main__"):
            source = Path(importlib.util.find_spec(module.name).origin).read_text(encoding="utf-8")
            assert ">>>" not in source, module.name


def test_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # for the files that it writes
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 5
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["result"].stop_reason in ("tolerance", "max_iter")
    assert names["losses"].shape == (501,)


def test_every_public_name_is_documented():
    for name in fastdeblur.__all__:
        thing = getattr(fastdeblur, name)
        if callable(thing) and name != "Result":
            for section in ("Parameters", "Raises", "Examples"):
                if name == "warmup" and section != "Examples":
                    continue
                if name == "deblur" and section == "Raises":
                    continue
                assert f"{section}\n" in thing.__doc__, (name, section)
