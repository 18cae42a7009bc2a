"""An interrupt, or a full disk, leaves no half file, and what was there before."""

import os
import signal
import sys

import numpy as np
import pytest

from fastdeblur.cli import main as cli
from fastdeblur.io import files

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits as POSIX has them")
# The second page is asked for when the first has been written to the temporary file.
INTERRUPTED = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever these tests are run by
import numpy as np
from fastdeblur.cli import channels, main as cli

class Slow(channels.Deblurrer):
    pages = 0

    def solve(self, image, **options):
        result = super().solve(image, **options)
        self.pages += 1
        if self.pages == 2:
            print("now", [name for name in os.listdir() if name.endswith(".tmp")], flush=True)
            for _ in range(10**5):
                super().solve(image, **options)
        return result

channels.Deblurrer = Slow
sys.exit(cli.main(sys.argv[1:]))
"""


def before(folder, suffix):
    """A stack, and an output of which nothing is to be lost."""
    np.save(folder / "stack.npy", np.random.default_rng(0).random((3, 60, 70)).astype(np.float32))
    out = folder / f"out{suffix}"
    files.write(out, np.ones((4, 5), np.float32))
    return out


@pytest.mark.parametrize(
    ("number", "status", "said", "suffix"),
    [
        (signal.SIGINT, 130, "interrupted", ".tif"),
        (signal.SIGTERM, 143, "terminated", ".npy"),
        pytest.param(signal.SIGHUP, 129, "terminated", ".tif", marks=pytest.mark.long),
        (signal.SIGHUP, 129, "terminated", ".zarr"),
    ],
)
def test_an_interrupt_leaves_no_half_file(preloaded, tmp_path, number, status, said, suffix):
    out = before(tmp_path, suffix)
    old = files.read(out)
    words = ["deblur", "stack.npy", "--stack", "--psf", "gaussian:5:1", "--max-iter", "2", "-o", out.name]
    process = preloaded.start(INTERRUPTED, *words, cwd=tmp_path)
    line = process.line()
    assert line.startswith("now ['.")  # the temporary file is there
    process.send_signal(number)
    done = process.end()
    assert done.returncode == status
    assert done.stdout == line
    assert done.stderr == f"fastdeblur: {said}\n"
    np.testing.assert_array_equal(files.read(out), old)
    assert sorted(os.listdir(tmp_path)) == [out.name, "stack.npy"]


# A terminal that closes tells the shell and its commands, and the shell tells them again.
AGAIN = """
import os, signal, sys
from pathlib import Path
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from fastdeblur.cli import main as cli, deblur as deblurring; from fastdeblur.io import files

unlink = Path.unlink

def removed(path, missing_ok=False):
    for number in (signal.SIGHUP, signal.SIGTERM):
        os.kill(os.getpid(), number)
    unlink(path, missing_ok)

def run(arguments):
    with files.saving(arguments.out, deblurring.np.ones((3, 4))):
        print(len([name for name in os.listdir() if name.endswith(".tmp")]), flush=True)
        os.close(2)
        Path.unlink = removed
        os.kill(os.getpid(), signal.SIGHUP)

deblurring.run = run
sys.exit(cli.main(["deblur", "image.npy", "--psf", "box:3", "-o", "out.npy"]))
"""


def test_a_terminal_that_closes(preloaded, tmp_path):
    done = preloaded.run(AGAIN, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (129, "1\n", "")
    assert os.listdir(tmp_path) == []


def test_what_ignores_a_closed_terminal_goes_on(preloaded, tmp_path):
    """As nohup lets it."""
    before(tmp_path, ".npy")
    script = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from fastdeblur.cli import main as cli, deblur as deblurring
read = deblurring.psf_spec.read_psf
deblurring.psf_spec.read_psf = lambda *words: (os.kill(os.getpid(), signal.SIGHUP), read(*words))[1]
sys.exit(cli.main(["deblur", "stack.npy", "--stack", "--psf", "box:3", "-o", "out.npy", "--max-iter", "1"]))
"""
    done = preloaded.run(script, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_handler_is_what_it_was(tmp_path, capsys):
    np.save(tmp_path / "image.npy", np.ones((4, 5)))
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    argv = ["deblur", str(tmp_path / "image.npy"), "--psf", "box:3", "-o", str(tmp_path / "out.npy"), "--max-iter", "1"]
    assert cli.main(argv) == 0
    assert [signal.getsignal(number) for number in numbers] == before


FULL = """
import resource, sys
from fastdeblur.cli import main as cli

resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
for out in sys.argv[1:]:
    words = ["--psf", "box:1", "--mu", "0", "--max-iter", "1", "-o", out]
    source = ["stack.npy", "--stack"] if "stack" in out else ["image.npy"]
    print(cli.main(["deblur", *source, *words]), flush=True)
"""


def test_a_full_disk_leaves_no_half_file(preloaded, tmp_path):
    # What a file may be at most, as long as that: the system reports both by an error of writing.
    image = np.random.default_rng(0).integers(0, 256, (60, 70, 3), np.uint8)
    np.save(tmp_path / "image.npy", image)
    np.save(tmp_path / "stack.npy", np.stack([image] * 3))
    names = ["out.png", "out.jpg", "out.tif", "out.npy", "stack-out.tif", "stack-out.npy"]
    for name in names:
        files.write(tmp_path / name, image[:4, :4])
    old = {name: (tmp_path / name).read_bytes() for name in names}
    done = preloaded.run(FULL, *names, cwd=tmp_path)
    assert done.stdout.split() == ["2"] * len(names), done.stderr
    assert done.stderr.splitlines() == [f"fastdeblur: error: cannot write {name}: File too large" for name in names]
    assert {name: (tmp_path / name).read_bytes() for name in names} == old
    assert sorted(os.listdir(tmp_path)) == sorted([*names, "image.npy", "stack.npy"])
