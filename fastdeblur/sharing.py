"""How many threads a piece of work gets: what it is worth, what the caller asked for, whose cores they are."""

from __future__ import annotations

import sys

import numba

from . import forks, threads

# Waking threads takes 10 to 20 microseconds with OpenMP, but after a pause of some milliseconds
# they may wake on one core and need 8 milliseconds to part.
WORTH_THREADS = 0.3e-3


def most_threads() -> int:
    """How many threads Numba was started with."""
    return int(numba.config.NUMBA_NUM_THREADS)


def slots(workers: int | None, tiles: int, seconds: float) -> int:
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
        threads.start()
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
