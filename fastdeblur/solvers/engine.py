"""What solvers ask of an engine: operators, and the memory of each method, on the host or on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ..operators.blur import Blur
from ..problem.options import Options
from ..result import Result


class Workspaces(Protocol):
    """Each workspace belongs to the caller until the context ends."""

    options: Options
    exponent: int
    blurs: list[Blur]
    minimise: Callable[..., Result]
    descend: Callable[..., Result]

    def exact(self, weighted: bool) -> AbstractContextManager[Any]:
        """Workspace of the preconditioned conjugate gradients."""

    def splits(self) -> AbstractContextManager[Any]:
        """Workspace of ADMM."""

    def lucy(self) -> AbstractContextManager[Any]:
        """Workspace of Richardson–Lucy."""
