"""Benchmarks: run by asv, apart from `targets`, which is a script."""

import os
import sys

# NumPy's matrix product, with which times are compared, is the one for this processor: both would choose another.  They
# are read when NumPy is imported; where it was, they stay, so that child processes compute to the same last digit.
if "numpy" not in sys.modules:
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(name, None)
