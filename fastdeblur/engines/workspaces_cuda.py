"""Operators and solvers' memory that a Deblurrer keeps on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..kernels.cuda import device
from ..solvers.admm.domain import Domain
from ..solvers.gradient.cuda import CudaGradientWorkspace
from ..solvers.gradient.solver import GradientSteps
from ..solvers.pcg.cuda import CudaConjugateGradients, CudaPcgWorkspace
from ..solvers.pcg.preconditioner import Preconditioner
from .workspaces import HostWorkspaces


class CudaWorkspaces(HostWorkspaces):
    """Operators and memory on the device."""

    _has_formulas, _has_iterative_admm = False, False
    pcg_steps = CudaConjugateGradients

    def _where(self) -> tuple[int, int]:
        return device.place()

    def _pcg_workspace(self, preconditioners: list[Preconditioner]) -> CudaPcgWorkspace:
        return CudaPcgWorkspace(self.blurs, self.planes, preconditioners)

    @contextmanager
    def gradient(self, passes: int) -> Iterator[GradientSteps]:
        with self._borrowed("gradient", lambda: self._gradient_workspace(passes)) as work:
            yield work

    def _gradient_workspace(self, passes: int) -> CudaGradientWorkspace:
        return CudaGradientWorkspace(self.blurs, self.planes, self.options.method)

    def _admm_workspace(self, domain: Domain, prior: str, pixels: bool) -> Any:
        from ..solvers.admm.cuda import CudaAdmmWorkspace

        return CudaAdmmWorkspace(self.blurs, self.planes, prior, pixels)

    def _learned_workspace(self, pairs: int) -> Any:
        from ..solvers.learned.cuda import CudaLearnedWorkspace

        return CudaLearnedWorkspace(self.blurs, self.planes, pairs)

    def _richardson_lucy_workspace(self) -> Any:
        from ..solvers.richardson_lucy.cuda import CudaRichardsonLucyWorkspace

        return CudaRichardsonLucyWorkspace(self.blurs, self.planes)
