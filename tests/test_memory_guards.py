"""No load and no store leaves its buffer, the caller's arrays included."""

import signal
import sys
from pathlib import Path

import pytest
from preloaded import file_as_script

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
SCRIPT = Path(__file__).parent / "guarded.py"


@pytest.fixture
def run(preloaded, tmp_path):
    return lambda *arguments: preloaded.run(file_as_script(SCRIPT), *arguments, cwd=tmp_path, timeout=200)


@pytest.mark.parametrize("position", ["end", "start"])
def test_every_buffer_against_a_protected_page(run, position, long):
    """In one process, for much of the time is loading code: descent, splits and photons, exact solvers."""
    done = run(position, "descent", "varying", "admm", "exact", *(["all"] if long else []))
    assert done.returncode == 0, done.stderr
    descent, varying, admm, exact = done.stdout.splitlines()
    # What is before a buffer is reached only by what goes below its first element, for which fewer cases will do.
    share = 4 if long else 2 if position == "end" else 1
    assert int(descent.split()[0]) >= 37 * share
    assert int(varying.split()[0]) >= (60 if long else 20)
    assert int(admm.split()[0]) >= 20 * share
    counts = {kind: int(count) for count, kind in (part.split(maxsplit=1) for part in exact.split(", "))}
    assert counts.keys() == {"one block", "ends", "Cosines", "Fourier", "circulant"}
    least = 10 if long else 5 if position == "end" else 2
    assert min(counts[kind] for kind in ("one block", "ends", "Cosines")) >= least
    # Two halves of the boundary "wrap".
    assert min(counts["Fourier"], counts["circulant"]) >= (least + 1) // 2


@pytest.mark.parametrize("position", ["end", "start"])
def test_the_guard_bites(run, position):
    assert run(position, "touch").returncode in (-signal.SIGSEGV, -signal.SIGBUS)
