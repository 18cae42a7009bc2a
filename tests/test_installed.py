"""What is tested is the installed package, and what it says of itself is true."""

import importlib.metadata
import os
from pathlib import Path

import pytest

import fastdeblur


def test_version():
    assert importlib.metadata.version("fastdeblur") == fastdeblur.__version__


@pytest.mark.skipif("CI" not in os.environ, reason="a checkout may be tested by hand")
def test_the_installed_package_is_tested():
    checkout = Path(__file__).resolve().parents[1]
    assert checkout not in Path(fastdeblur.__file__).resolve().parents
    assert "site-packages" in Path(fastdeblur.__file__).parts
