"""Images, and the command's words, for the tests of files and of the command."""

import numpy as np

from fastdeblur.cli import main as cli

SHAPES = {"gray": (9, 14), "LA": (9, 14, 2), "RGB": (9, 14, 3), "RGBA": (9, 14, 4)}


def noise(shape, dtype):
    """Pixels over all of a dtype's range, its ends included."""
    random = np.random.default_rng(7)
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return random.random(shape) < 0.5
    if dtype.kind == "f":
        return random.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    pixels = random.integers(limits.min, limits.max, shape, dtype.newbyteorder("="), endpoint=True).astype(dtype)
    pixels.flat[:2] = limits.min, limits.max
    return pixels


def lines(capsys):
    captured = capsys.readouterr()
    return captured.out.splitlines(), captured.err.splitlines()


def but_for_clipping(captured):
    """Lines without those that say what a file's type could not hold: pixels over all of its range always overshoot."""
    out, err = captured
    return out, [line for line in err if "restored values were clipped to what" not in line]


def error_of_a_process(preloaded, folder, name, out):
    """Run the command on a file in a process of its own, which must fail properly, and return what it says."""
    script = "import runpy, sys; runpy.run_module('fastdeblur', run_name='__main__', alter_sys=True)"
    done = preloaded.run(script, "deblur", name, "--psf", "box:3", "-o", out, cwd=folder)
    assert done.returncode == 2
    assert done.stdout == ""
    return done.stderr


def one_error(capsys, *argv):
    """Run the command, which must fail properly, and return what it says."""
    assert cli.main([str(word) for word in argv]) == 2
    out, err = lines(capsys)
    assert out == []
    assert len(err) == 1
    assert err[0].startswith("fastdeblur: error: ")
    return err[0]
