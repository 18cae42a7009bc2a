"""A run over a large image that is killed at any moment: nothing is lost, and the next run ends with the same bytes.

    python tests/crashes.py [--every 1] [--first 0]

kills a run (as SIGKILL does) at each of its calls of the system that make, open, rename, sync or remove something in
the output's folder, or at every so many, looks whether the old result is still there, or the new one, and runs again.
An old array in Zarr's format may have been set aside for a moment; then the next run must find it.  Exits with status
1 if anything was lost, differs, or stays behind.  The suite kills at some of the calls.
"""

import argparse
import contextlib
import hashlib
import io
import itertools
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
from scenes import blurred, read, saved

import fastdeblur as fd
from fastdeblur.cli import main as cli
from fastdeblur.io import atomic, files

PSF = fd.psf.gaussian(3, 0.7)
IMAGE = blurred((30, 35), PSF)
OLD = np.arange(12, dtype=np.float32).reshape(3, 4)
OPTIONS = {"prior": "tv", "mu": 0.01, "max_iter": 2, "tol": 0, "tile": 20}
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "fsync"}
# By the library, which notes tiles, and by the command, which writes an array in Zarr's format at once.
KINDS = ["out.npy", "out.tif", "out.zarr", "at-once.zarr"]


def run(folder, kind):
    if kind.startswith("at-once"):
        words = ["deblur", "a.npy", "--psf", "gaussian:3:0.7", "--prior", "tv", "--max-iter", "2", "-o", kind]
        os.chdir(folder)
        with contextlib.redirect_stdout(io.StringIO()):
            assert cli.main(words) == 0
    else:
        fd.deblur_large(folder / "a.npy", PSF, folder / kind, **OPTIONS)


def killed(folder, kind, number):
    """Run in a child that kills itself at an event of that number; whether it came to that."""
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        assert status in (signal.SIGKILL, 0), f"the child ended with {status}"
        return status == signal.SIGKILL
    fsync, count = os.fsync, itertools.count()

    def watch(event, arguments):
        here = event in EVENTS and any(str(folder) in str(each) or event == "fsync" for each in arguments)
        if here and next(count) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def synced(file):
        sys.audit("fsync", file)
        return fsync(file)

    try:
        os.fsync = synced
        sys.addaudithook(watch)
        run(folder, kind)
    except BaseException:  # noqa: BLE001 (never into the parent's code)
        os._exit(9)
    os._exit(0)


def digest(path):
    """Of a file, or of all in a folder."""
    found = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    return [(str(each.relative_to(path)), hashlib.sha256(each.read_bytes()).hexdigest()) for each in found]


def crashes(kind, first=0, every=1):
    """Yields for each moment its number, and None or what was wrong."""
    place, undisturbed = os.getcwd(), None
    for number in itertools.count(first, every):
        folder = Path(os.path.realpath(tempfile.mkdtemp(prefix="crash-")))
        try:
            out = saved(folder / kind, OLD)
            np.save(folder / "a.npy", IMAGE)
            if undisturbed is None:
                run(folder, kind)
                undisturbed = digest(out)
                atomic.remove(out)
                saved(out, OLD)
            if not killed(folder, kind, number):
                return
            wrong = []
            files.recover(out)
            found = read(out) if out.exists() else None
            old = found is not None and np.array_equal(found, OLD)
            if not old and (found is None or digest(out) != undisturbed):
                wrong.append("it was lost")
            run(folder, kind)
            if digest(out) != undisturbed:
                wrong.append("the next run ended elsewhere")
            left = {path.name for path in folder.iterdir()} - {"a.npy", kind}
            # What is written at once has a name that the next run does not know.
            left = {name for name in left if not (kind.startswith("at-once") and name.endswith(".tmp"))}
            if left:
                wrong.append(f"left: {sorted(left)}")
            yield number, ", ".join(wrong) or None
        finally:
            os.chdir(place)
            shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="which of the calls (default: all)")
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    failures = 0
    for kind in KINDS:
        ended = list(crashes(kind, options.first, options.every))
        for number, wrong in ended:
            if wrong:
                print(f"{kind} at {number}: {wrong}")
        print(f"{kind}: killed {len(ended)} times", flush=True)
        failures += not ended or any(wrong for _, wrong in ended)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
