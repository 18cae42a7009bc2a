"""The choice of a device, made once for each Deblurrer."""

from __future__ import annotations

from typing import Any

from .. import validation
from ..operators.blur import DEVICES
from .host import HostEngine


def engine_for(device: Any) -> HostEngine:
    """The engine of a device by its name."""
    if validation.choice("device", device, DEVICES) == "cpu":
        return HostEngine()
    from .cuda import CudaEngine  # CUDA is not for everyone who imports fastdeblur

    return CudaEngine()
