"""Measure what ``path="auto"`` goes by, on this machine, into the package's table: ``python -m benchmarks.calibrate``.

For the vector width that Numba compiles for, whose constants in ``fastdeblur/operators/costs.json`` it replaces.  Takes
two minutes; others should not use the machine meanwhile.  Users have ``fastdeblur calibrate`` for a table of their own.
"""

import json

import numpy as np

from fastdeblur.kernels.cpu.simd import register_shape
from fastdeblur.operators import calibration, costs

if __name__ == "__main__":
    table = json.loads(costs.FILE.read_text(encoding="utf-8"))
    width = str(register_shape(np.dtype("float32")).lanes * 4)
    table["nanoseconds"][width] = calibration.measure(print)
    costs.FILE.write_text(costs.as_text(table), encoding="utf-8")
    print(f"written to {costs.FILE}")
