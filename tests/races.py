"""Two runs on one output at the same time: one writes it, the other is refused, and the result is whole.

    python tests/races.py [--threads 60] [--processes 24] [--seed 0]

prints how each race ended, and exits with status 1 if any result was not what one run alone gives, both runs or none
got through although they overlapped, or anything was left behind.  Half of the races start both at once, and the one
that writes waits until the other has been refused; in the others the second starts at any moment of the first, which
may then be over.  Every race finds something else at its output: nothing, an old result, or what killed runs leave.
The suite runs a few of each.
"""

import argparse
import itertools
import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from scenes import blurred, read, saved

import fastdeblur as fd
from fastdeblur.large import tile_solver

PSF = fd.psf.gaussian(3, 0.7)
IMAGE = blurred((60, 70), PSF)
MUS = (0.01, 0.5)
SUFFIXES = [".npy", ".tif", ".zarr"]
STATES = ["nothing", "old", "orphan", "unfinished", "swapping"]
# Seconds that a run waits for the other to be refused, and that a tile takes.
PATIENCE, TILE = 5.0, 0.004

_race = threading.local()
_solve = tile_solver.TileSolver.__call__


def deblurred(out, mu):
    return fd.deblur_large(IMAGE, PSF, out, prior="tv", mu=mu, max_iter=2, tol=0, tile=40)


def slowly(*arguments):
    """A tile, when the other run has been refused, if there is one that must be."""
    refused = getattr(_race, "refused", None)
    end = time.monotonic() + PATIENCE
    while refused is not None and not refused.exists() and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(TILE)
    _race.solved = getattr(_race, "solved", 0) + 1
    if _race.solved == getattr(_race, "stop", None):
        raise KeyboardInterrupt
    return _solve(*arguments)


def run(out, mu, start, refused):
    """Start at a time; returns how it ended."""
    _race.refused, _race.solved = None if refused is None else Path(refused), 0
    while (left := start - time.time()) > 0:
        time.sleep(max(0.0, left - 0.001))  # to the moment
    try:
        deblurred(out, mu)
        return "written"
    except ValueError as error:
        if "out is being written by another run" not in str(error):
            return f"{error!r}"
        if refused is not None:
            Path(refused).touch()
        return "refused"
    except Exception as error:  # noqa: BLE001 (it is the verdict)
        return f"{error!r}"


def prepared(out, state):
    """What there is before; returns the weights of two runs that could begin with it."""
    if state == "nothing":
        return MUS
    saved(out, np.arange(12, dtype=np.float32).reshape(3, 4))
    partial = out.with_name(f".{out.name}.partial")
    if state == "orphan":
        saved(partial.with_suffix(out.suffix), IMAGE).rename(partial)
    elif state == "unfinished":
        _race.refused, _race.solved, _race.stop = None, 0, 3
        try:
            deblurred(out, MUS[0])
        except KeyboardInterrupt:
            assert partial.exists()
        _race.stop = None
        return MUS[:1] * 2
    elif state == "swapping" and out.suffix == ".zarr":
        out.rename(out.with_name(f".{out.name}.replaced"))
        partial.mkdir()
    return MUS


class Threads:
    """Runs in threads of this process."""

    def __call__(self, jobs):
        ended = [None] * len(jobs)

        def work(k):
            ended[k] = run(*jobs[k])

        threads = [threading.Thread(target=work, args=(k,)) for k in range(len(jobs))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return ended

    def close(self):
        pass


class Processes:
    """Runs in two processes, which take one job after another."""

    def __init__(self):
        command = [sys.executable, __file__, "--worker"]
        self._workers = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in MUS
        ]
        for worker in self._workers:
            assert worker.stdout.readline() == "ready\n"

    def __call__(self, jobs):
        for worker, job in zip(self._workers, jobs, strict=True):
            worker.stdin.write(json.dumps(job, default=str) + "\n")
            worker.stdin.flush()
        return [json.loads(worker.stdout.readline()) for worker in self._workers]

    def close(self):
        for worker in self._workers:
            worker.stdin.close()
            worker.wait(timeout=60)
            worker.stdout.close()


def work():
    """Take jobs from stdin."""
    deblurred(None, MUS[0])  # nothing is to be compiled in a race
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(run(*json.loads(line))), flush=True)


def races(kind, count, seed, suffixes=SUFFIXES):
    """Yields for each race what it was, and None or what was wrong."""
    chance, wanted = random.Random(seed), {mu: deblurred(None, mu) for mu in MUS}
    cases = itertools.cycle(itertools.product(STATES, [True, False], suffixes))
    runners = Threads() if kind == "threads" else Processes()
    tile_solver.TileSolver.__call__ = slowly
    seconds = math.inf  # of a run that is not disturbed
    try:
        for state, together, suffix in itertools.islice(cases, count):
            folder = Path(tempfile.mkdtemp(prefix="race-"))
            try:
                out, refused = folder / f"out{suffix}", folder / "refused"
                mus = prepared(out, state)
                start = time.time() + 0.02
                later = 0 if together or seconds == math.inf else chance.uniform(0, 1.2 * seconds)
                flag = refused if together else None
                ended = runners([(out, mus[0], start, flag), (out, mus[1], start + later, flag)])
                if not together:
                    seconds = min(seconds, time.time() - start)
                refused.unlink(missing_ok=True)
                left = sorted(path.name for path in folder.iterdir())
                found = read(out) if out.exists() else None
                whole = any(
                    found is not None and np.array_equal(found, wanted[mu])
                    for mu, verdict in zip(mus, ended, strict=True)
                    if verdict == "written"
                )
                fair = sorted(ended) in ([["refused", "written"]] + [["written"] * 2] * (not together))
                wrong = None if whole and fair and left == [out.name] else f"{ended}, whole: {whole}, left: {left}"
                yield f"{suffix:6}{state:11}{'together' if together else 'staggered':10}{' '.join(ended)}", wrong
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        tile_solver.TileSolver.__call__ = _solve
        runners.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=60, help="races of two threads (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=24, help="races of two processes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        tile_solver.TileSolver.__call__ = slowly
        work()
        return
    failures = 0
    for kind in ("threads", "processes"):
        for what, wrong in races(kind, getattr(options, kind), options.seed):
            print(f"{kind:10}{what}{f'  FAILED: {wrong}' if wrong else ''}", flush=True)
            failures += wrong is not None
    print(f"{failures} of {options.threads + options.processes} failed")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
