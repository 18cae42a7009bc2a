"""Threads of Numba: how they are started, and how many a piece of work gets."""

from __future__ import annotations

import os
import sys

import numba

from . import forks

# Waking threads takes 10 to 20 microseconds with OpenMP, but after a pause of some milliseconds
# they may wake on one core and need 8 milliseconds to part.
WORTH_THREADS = 0.3e-3
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


def most_threads() -> int:
    """How many threads Numba was started with."""
    return int(numba.config.NUMBA_NUM_THREADS)


def count(workers: int | None, tiles: int, seconds: float) -> int:
    """How many threads to launch on passes of `tiles` tiles that should take one thread that long in all.

    What is not worth threads, and any work in a forked child, is done by the calling thread.
    """
    if workers == 1 or tiles == 1 or seconds < WORTH_THREADS or forks.forked():
        return 1
    return min(workers or _share(), most_threads(), tiles)


def _share() -> int:
    """How many threads the caller may have if it did not say: its share of Numba's.

    (A joblib worker finds its own in NUMBA_NUM_THREADS, which loky sets before Numba is imported.)
    """
    with forks.unforked():  # Numba takes a lock
        start()
        count = int(numba.get_num_threads())
    return max(1, min(count, _of_dask_worker() or count))


def _of_dask_worker() -> int | None:
    """The threads of the Dask worker whose task this thread runs; None elsewhere."""
    get_worker = getattr(sys.modules.get("distributed"), "get_worker", None)
    if get_worker is None:
        return None
    try:
        return int(get_worker().state.nthreads)
    except (ValueError, AttributeError):  # no task's thread; a worker unlike any known
        return None
