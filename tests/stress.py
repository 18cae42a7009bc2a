"""Every way of embedding fastdeblur, on every threading layer of Numba, in fresh processes.

    python tests/stress.py [--long] [--layer omp ...] [--case fork-busy ...]

prints what came of each case on each layer, and exits with status 1 if anything failed.  All results
must have the bits of the plain call in one thread.  The quick version, which the suite runs too, has
one process a layer; the long one has a process a case, and forks and interrupts hundreds of times.
"""

import argparse
import faulthandler
import importlib
import os
import signal
import subprocess
import sys
import time

import embeddings

LAYERS = ["default", "workqueue", "omp", "tbb"]
# Seconds that a process may take.
QUICK, LONG = 90, 400

# The first two before anything else in their process; the names on the command line have dashes.
FIRST = [embeddings.fork_before, embeddings.first_calls]
INSIDE = [
    embeddings.threads,
    embeddings.workers,
    embeddings.callback,
    embeddings.fork_after,
    embeddings.fork_busy,
    embeddings.fork_transforms,
    embeddings.fork_callback,
    embeddings.fork_threads,
    embeddings.fork_pools,
]
INSIDE += [embeddings.interrupt]
# These import a lot or start processes, or (as for spawned processes and Dask's workers) are another test's: only in
# the long version.
SLOW = [
    embeddings.joblib_loky,
    embeddings.dask_worker,
    embeddings.dask_threads,
    embeddings.joblib_threads,
    embeddings.spawn,
    embeddings.forkserver,
    embeddings.interrupt_loading,
    embeddings.dask_processes,
    embeddings.dask_nanny,
    embeddings.joblib_forks,
    embeddings.numba_beside,
    embeddings.numba_within,
]
CASES = {case.__name__.replace("_", "-"): case for case in [*FIRST, *INSIDE, *SLOW]}
# What these try of threads and forks has little to do with the layer: the suite's quick run has them on one of them.
LAYERLESS = [embeddings.workers, embeddings.fork_transforms, embeddings.fork_threads, embeddings.fork_pools]
LAYERLESS += [embeddings.interrupt, embeddings.callback, embeddings.fork_callback, embeddings.fork_after]
# The default layer is one of the others.
QUICK_CASES = {
    layer: [name for name, case in CASES.items() if case in FIRST + INSIDE and layer != "default"] for layer in LAYERS
}


def run_here(names, bits, times):
    """Run cases in this process, and print a line for each."""
    for name in names:
        if name != "fork-before":
            # A child forked during an import cannot import that module: it lacks the thread that was at it.
            importlib.import_module("fastdeblur")
        began = time.monotonic()
        try:
            found = CASES[name](bits, times)
            assert set(found) <= {bits}, f"other bits: {found}"
            verdict = "ok"
        except embeddings.Skipped as reason:
            verdict = f"skipped: {reason}"
        except BaseException as error:  # noqa: BLE001 -- all of it is to be shown
            verdict = f"FAILED: {error!r}"
        print("end", name, f"{time.monotonic() - began:.1f}", " ".join(verdict.split()), sep="\t", flush=True)
    import numba

    wanted = os.environ["NUMBA_THREADING_LAYER"]
    if set(names) != {"fork-before"}:
        embeddings.job()
        assert wanted in ("default", numba.threading_layer()), numba.threading_layer()


def environment(layer):
    found = {**os.environ, "NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": str(embeddings.THREADS)}
    if layer == "tbb":  # where pip puts it
        folders = [os.path.join(sys.prefix, "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
        found["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, folders))
    return found


def process(layer, arguments, limit):
    """Exit status, and what a fresh process of this script printed."""
    command = [sys.executable, __file__, *arguments]
    with subprocess.Popen(
        command,
        env=environment(layer),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        try:
            out, err = run.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)  # its children too, which hold the pipes
            out, err = run.communicate()
            return "no end", out, err
    return run.returncode, out, err


def verdicts(layer, names, long=False):
    """Yields the name, verdict and seconds of each case on a layer."""
    if not hasattr(os, "register_at_fork"):
        names = [name for name in names if "fork" not in name]
    status, _, err = process(layer, ["--load"], QUICK)
    if status:
        reason = (err.strip().splitlines() or ["?"])[-1]
        verdict = "skipped: Numba cannot load it" if "threading layer" in err else f"FAILED: {reason}"
        yield from ((name, verdict, 0.0) for name in names)
        return
    left = list(names)
    while left:
        batch = left[:1] if long else left
        arguments = ["--here", *(["--long"] if long else []), "--case", *batch]
        status, out, err = process(layer, arguments, LONG if long else QUICK)
        ended = [line.split("\t") for line in out.splitlines() if line.startswith("end\t")]
        for _, name, seconds, verdict in ended:
            if status and name == batch[-1] and verdict == "ok":
                verdict = "FAILED afterwards, " + _tail(status, err)
            yield name, verdict + (f" {err[-3000:]}" if "FAILED:" in verdict else ""), float(seconds)
        left = left[len(ended) :]
        if len(ended) < len(batch):
            yield left.pop(0), "FAILED, " + _tail(status, err), 0.0


def _tail(status, err):
    return f"exit status {status}: {err[-3000:]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="a process for each case, and each many times")
    parser.add_argument("--layer", nargs="+", choices=LAYERS, default=LAYERS)
    parser.add_argument("--case", nargs="+", choices=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--load", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        import numba

        numba.get_num_threads()
        return
    if options.here:
        faulthandler.dump_traceback_later((LONG if options.long else QUICK) - 5, exit=True)
        run_here(options.case, os.environ["BITS"], 8 if options.long else 1)
        return
    began, failures, rows = time.monotonic(), [], {}
    os.environ["BITS"] = embeddings.job(workers=1)
    for layer in options.layer:
        names = options.case or (list(CASES) if options.long else QUICK_CASES[layer])
        for name, verdict, seconds in verdicts(layer, names, options.long):
            rows.setdefault(name, {})[layer] = verdict.split(":")[0].split(",")[0]
            print(f"{layer:10}{name:18}{seconds:7.1f} s  {verdict}", flush=True)
            failures += [verdict] if "FAILED" in verdict else []
    print("\n" + " " * 18 + "".join(f"{layer:12}" for layer in options.layer))
    for name in rows:
        print(f"{name:18}" + "".join(f"{rows[name].get(layer, '-'):12}" for layer in options.layer))
    print(f"{time.monotonic() - began:.0f} s")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
