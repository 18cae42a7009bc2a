"""Operators and solvers' memory that a Deblurrer keeps on a GPU."""

from __future__ import annotations

import functools
from typing import Any

from ..kernels.cuda import device
from ..operators.blur import Blur
from ..result import Result
from ..solvers.admm.domain import Domain
from ..solvers.gradient import cuda as cuda_descent
from ..solvers.pcg import solver as pcg
from ..solvers.pcg.cuda import CudaDescent, CudaPcgWorkspace
from ..solvers.pcg.preconditioner import Preconditioner
from .workspaces import HostWorkspaces


class CudaWorkspaces(HostWorkspaces):
    """Operators and memory on the device."""

    _has_cosines = False

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.descend = self._descend
        self.minimise = functools.partial(pcg.minimise, kind=CudaDescent)

    def _descend(self, blurs: list[Blur], *args: Any, rule: str, **options: Any) -> Result:
        def make() -> cuda_descent.CudaDescentWorkspace:
            return cuda_descent.CudaDescentWorkspace(blurs[0].operator_with(blurs), self.planes, rule)

        with self._borrowed(("descent", rule), make) as work:
            return cuda_descent.minimise(work, blurs, *args, rule=rule, **options)

    def _where(self) -> tuple[int, int]:
        return device.place()

    def _exact_workspace(self, preconditioners: list[Preconditioner]) -> CudaPcgWorkspace:
        return CudaPcgWorkspace(self.blurs, self.planes, preconditioners)

    def _splits(self, domain: Domain, prior: str, pixels: bool) -> Any:
        from ..solvers.admm.cuda import CudaAdmmWorkspace

        return CudaAdmmWorkspace(self.blurs, self.planes, prior, pixels)

    def _lucy_workspace(self) -> Any:
        from ..solvers.richardson_lucy.cuda import CudaLucyWorkspace

        return CudaLucyWorkspace(self.blurs, self.planes)
