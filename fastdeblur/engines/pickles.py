"""Pickles of version 0.1.0: the classes and functions that they name, as what these are called now."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..problem.options import Options
from ..problem.start import Start
from .host import HostEngine as OnHost

__all__ = ["OnHost", "options_of_0_1_0", "start_of"]

METHODS = {"splits": "admm", "lucy": "richardson_lucy"}


def options_of_0_1_0(options: Options) -> Options:
    """The options with their method by its name of today."""
    return replace(options, method=METHODS.get(options.method, options.method))


def start_of(function: Any) -> Start:
    """The start that was one of the functions below, or one of them with its arguments."""
    given = getattr(function, "args", ())
    if given:
        return Start("normal", *given) if len(given) == 2 else Start("array", planes=given[0])
    return Start("zeros" if function.__name__ == "_zeros" else "image")


def from_image() -> None: ...


def _zeros() -> None: ...


def _given() -> None: ...


def _normal() -> None: ...


def __getattr__(name: str) -> Any:
    if name != "OnDevice":
        raise AttributeError(name)
    from .cuda import CudaEngine

    return CudaEngine
