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


def test_every_buffer_against_a_protected_page(run, long):
    """In one process, for much of the time is loading code: descent, splits and photons, exact solvers."""
    done = run("end", "start", "descent", "varying", "admm", "exact", *(["all"] if long else []))
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    # What is before a buffer is reached only by what goes below its first element, for which fewer cases will do.
    for share, least, (descent, varying, admm, exact) in ((2, 5, printed[:4]), (1, 2, printed[4:])):
        assert int(descent.split()[0]) >= 37 * (4 if long else share)
        assert int(varying.split()[0]) >= (60 if long else 20)
        assert int(admm.split()[0]) >= 20 * (4 if long else share)
        counts = {kind: int(count) for count, kind in (part.split(maxsplit=1) for part in exact.split(", "))}
        assert counts.keys() == {"one block", "ends", "Cosines", "Fourier", "circulant"}
        assert min(counts[kind] for kind in ("one block", "ends", "Cosines")) >= (10 if long else least)
        # Two halves of the boundary "wrap".
        assert min(counts["Fourier"], counts["circulant"]) >= ((10 if long else least) + 1) // 2


@pytest.mark.parametrize("position", ["end", "start"])
def test_the_guard_bites(run, position):
    assert run(position, "touch").returncode in (-signal.SIGSEGV, -signal.SIGBUS)
