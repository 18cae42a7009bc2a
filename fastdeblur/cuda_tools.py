"""What a Deblurrer keeps on a GPU, see `tools`."""

from __future__ import annotations

import functools
from typing import Any

from .blur import Blur
from .cuda import device
from .domain import Domain
from .preconditioner import Preconditioner
from .result import Result
from .solvers import cuda_descent, exact
from .solvers.cuda_workspace import CudaDescent, CudaWorkspace
from .tools import Tools


class CudaTools(Tools):
    """Tools whose operators and memory are on the device."""

    _has_cosines = False

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.descend = self._descend
        self.minimise = functools.partial(exact.minimise, kind=CudaDescent)

    def _descend(self, blurs: list[Blur], *args: Any, rule: str, **options: Any) -> Result:
        def make() -> cuda_descent.Workspace:
            return cuda_descent.Workspace(blurs[0].operator_with(blurs), self.planes, rule)

        with self._borrowed(("descent", rule), make) as work:
            return cuda_descent.minimise(work, blurs, *args, rule=rule, **options)

    def _where(self) -> tuple[int, int]:
        return device.place()

    def _exact_workspace(self, preconditioners: list[Preconditioner]) -> CudaWorkspace:
        return CudaWorkspace(self.blurs, self.planes, preconditioners)

    def _splits(self, domain: Domain, prior: str, pixels: bool) -> Any:
        from .solvers.cuda_splits import CudaSplits

        return CudaSplits(self.blurs, self.planes, prior, pixels)

    def _lucy_workspace(self) -> Any:
        from .solvers.cuda_poisson import CudaLucy

        return CudaLucy(self.blurs, self.planes)
