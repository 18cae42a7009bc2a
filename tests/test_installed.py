"""What is tested is the installed package, and what it says of itself is true."""

import importlib.metadata
import os
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import fastdeblur


def test_version():
    assert importlib.metadata.version("fastdeblur") == fastdeblur.__version__


@pytest.mark.skipif("CI" not in os.environ, reason="a checkout may be tested by hand")
def test_the_installed_package_is_tested():
    checkout = Path(__file__).resolve().parents[1]
    assert checkout not in Path(fastdeblur.__file__).resolve().parents
    assert "site-packages" in Path(fastdeblur.__file__).parts


def test_the_oldest_versions_that_are_tested_are_those_that_are_declared():
    tests = Path(__file__).resolve().parent
    project = tomllib.loads((tests.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    listed = [each for name in ("plot", "large", "fits", "test") for each in extras[name]]
    declared = map(Requirement, [*project["dependencies"], *listed])
    floors = {each.name: set(map(str, each.specifier)) for each in declared if each.name != "fastdeblur"}
    lines = (tests / "oldest.txt").read_text(encoding="utf-8").splitlines()
    oldest = dict(line.split("==") for line in lines if not line.startswith("#"))
    oldest.pop("pyparsing")  # matplotlib's own
    assert oldest.keys() == floors.keys()
    for name, (floor,) in floors.items():
        assert Version(floor.removeprefix(">=")) == Version(oldest[name]), name
