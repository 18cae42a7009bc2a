"""Protocols between solvers and engines: operators and workspaces; and workspaces that step by themselves."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from ..operators.blur import Blur
from ..problem.options import Options


class Workspaces(Protocol):
    """Operators, and the memory of each method, on the host or on a GPU.

    A workspace belongs to the caller until the context ends.
    """

    options: Options
    exponent: int
    blurs: list[Blur]
    #: The class whose instances take the steps of preconditioned conjugate gradients; None for the host's.
    pcg_steps: Any

    def pcg(self, weighted: bool) -> AbstractContextManager[Any]:
        """Workspace of preconditioned conjugate gradients, with weights of pixels or without."""

    def admm(self) -> AbstractContextManager[Any]:
        """Workspace of ADMM."""

    def admm_once(self, prior: str) -> AbstractContextManager[Any]:
        """The same with another prior than the options'; it is not kept."""

    def learned(self) -> AbstractContextManager[Any]:
        """Workspace of quasi-Newton descent with the learned prior."""

    def richardson_lucy(self) -> AbstractContextManager[Any]:
        """Workspace of Richardson-Lucy."""

    def gradient(self, passes: int) -> AbstractContextManager[Any]:
        """Workspace of gradient descent, whose launches go through some `passes` over the image."""


@dataclass(frozen=True)
class Progress:
    """How far a workspace is after some steps.

    Attributes
    ----------
    objectives : list of float
        Of the iterates since the last report; none if a step has only been taken back.
    objective, optimality : float
        Of the last iterate, also where it is too bad to be reported.
    passes : int
        Passes over the image since the start: applications of A, and of Aᵀ.
    stop_reason : str
        Empty while the iteration may go on.
    """

    objectives: list[float]
    objective: float
    optimality: float
    passes: int
    stop_reason: str


class IterativeWorkspace(Protocol):
    """A workspace that takes many steps without a look at them: in compiled code, or launched ahead on a GPU."""

    #: The most steps of one `advance`.
    most_steps: int

    @property
    def frame(self) -> Any:
        """The part of the last reported estimate that the image shows, planes x rows x cols."""

    def advance(self, limit: int) -> Progress:
        """Take at most `limit` steps; the first reports the start."""
