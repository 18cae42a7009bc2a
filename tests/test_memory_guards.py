"""No load and no store leaves its buffer, the caller's arrays included."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
SCRIPT = str(Path(__file__).parent / "guarded.py")


def run(*args):
    return subprocess.run([sys.executable, SCRIPT, *args], capture_output=True, text=True, timeout=200)


@pytest.mark.parametrize("position", ["end", "start"])
def test_every_buffer_against_a_protected_page(position):
    done = run(position, "descent")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) >= 150


@pytest.mark.parametrize("position", ["end", "start"])
def test_the_exact_solvers_too(position):
    done = run(position, "exact")
    assert done.returncode == 0, done.stderr
    counts = {kind: int(count) for count, kind in (part.split(maxsplit=1) for part in done.stdout.strip().split(", "))}
    assert counts.keys() == {"one block", "ends", "cosines"}
    assert min(counts.values()) >= 10


@pytest.mark.parametrize("position", ["end", "start"])
def test_splits_and_photons_too(position):
    done = run(position, "splits")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) >= 80


@pytest.mark.parametrize("position", ["end", "start"])
def test_the_guard_bites(position):
    assert run(position, "touch").returncode in (-signal.SIGSEGV, -signal.SIGBUS)
