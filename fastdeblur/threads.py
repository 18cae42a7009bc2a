"""Numba's threads, started so that they sleep soon after their work: other processes may need the cores."""

from __future__ import annotations

import os

import numba

# How often a thread of GNU OpenMP looks for more work before it sleeps: some 50 to 100 microseconds, about as long as
# there is between two launches.  (Its own 300000 are 3 to 15 ms.  With processes on all cores, among which the thread
# that others wait for has to take turns, exact solves of 128x128 took 20 times as long in two threads as in one.
# 10000 left 4 times, 2000 leave 1.8.)
SPINS = "2000"
_started = False


def start() -> None:
    """Start Numba's threads, if they have not been.

    OpenMP reads its environment when it is loaded, which is here unless another library has done so.  Users who set it
    know best, and it is as it was afterwards, for processes that this one starts.
    """
    global _started
    if _started:
        return
    if os.environ.get("OMP_WAIT_POLICY") or os.environ.get("GOMP_SPINCOUNT"):
        numba.get_num_threads()
    else:
        os.environ["GOMP_SPINCOUNT"] = SPINS
        try:
            numba.get_num_threads()
        finally:
            os.environ.pop("GOMP_SPINCOUNT", None)
    _started = True
