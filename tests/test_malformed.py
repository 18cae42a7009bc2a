"""Files that are damaged, or made to do damage, end the command with one line, soon and in little memory."""

import importlib.util
import io
import json
import os
import random
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import malformed
import numpy as np
import pytest
from PIL import Image
from samples import error_of_a_process, one_error
from sweeps import few

from fastdeblur.cli import main as cli
from fastdeblur.io import files

HAS_ZARR = importlib.util.find_spec("zarr") is not None
TRY = """
import contextlib, io, json, sys, time
from fastdeblur.cli import main as cli

with contextlib.suppress(ImportError):  # which takes a moment of its own
    import astropy.io.fits

def peak():  # getrusage's is never below that of the process that started this one
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024

for name in json.loads(sys.argv[1]):
    out, err, began = io.StringIO(), io.StringIO(), time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main(["deblur", name, "--psf", "box:3", "-o", "out.npy"])
    print(json.dumps([name, status, out.getvalue(), err.getvalue(), time.monotonic() - began, peak()]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("malformed")


@pytest.fixture(scope="module")
def names(folder):
    return malformed.make(folder, with_zarr=HAS_ZARR)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no /proc/self/status")
def test_each_ends_with_one_line_in_2_seconds_and_500_mb(folder, names):
    assert len(names) >= 90
    before = sorted(os.listdir(folder))
    done = subprocess.run(
        [sys.executable, "-c", TRY, json.dumps(names)], cwd=folder, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # nor do C libraries write there
    tried = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each[0] for each in tried] == names
    for name, status, out, err, seconds, peak in tried:
        assert status == 2, name
        assert out == "", name
        assert err.startswith(f"fastdeblur: error: cannot read {name}: "), (name, err)
        assert err.count("\n") == 1, (name, err)
        assert len(err) < 400, (name, err)
        assert seconds < 2, name
        assert peak < 500e6, name
    assert sorted(os.listdir(folder)) == before


@pytest.mark.parametrize("name", few(["bomb-rgb.png", "bomb.tif", "lzw.tif", "pickle.npy"], ["bomb-rgb.png"]))
def test_so_does_a_process_of_its_own(preloaded, folder, names, name):
    said = error_of_a_process(preloaded, folder, name, "out.npy")
    assert said.startswith(f"fastdeblur: error: cannot read {name}: ")
    assert said.count("\n") == 1
    assert not (folder / "out.npy").exists()


@pytest.mark.parametrize("option", ["--psf", "--weights", "--init"])
@pytest.mark.parametrize("name", ["bomb.png", "half.tif", "pickle.npy"])
def test_other_files_that_it_reads_are_no_safer(folder, names, capsys, option, name):
    np.save(folder.parent / "good.npy", np.ones((24, 30)))
    words = ["deblur", folder.parent / "good.npy", "-o", folder / "out.npy"]
    words += [] if option == "--psf" else ["--psf", "box:3"]
    assert f"cannot read {folder / name}: " in one_error(capsys, *words, option, folder / name)


def test_what_an_image_claims_to_be_is_said(folder, names, capsys):
    words = ["deblur", folder / "bomb-rgb.png", "--psf", "box:3", "-o", folder / "out.npy"]
    said = one_error(capsys, *words)
    assert "it says that it has 30000x30000 pixels, which take 9 GB to read; at most 1 GB may be used" in said
    assert "raise --max-memory" in said
    assert "at most 2.15 GB" in one_error(capsys, *words, "--max-memory", "2GiB")


def test_no_pickle_is_ever_loaded(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = b"cos\nmkdir\n(S'owned'\ntR."  # what a pickle may do: os.mkdir("owned")
    Path("raw.npy").write_bytes(code)
    Path("header.npy").write_bytes(malformed.npy(malformed.array_header((1, 1), "'|O'"), code))
    made = ["raw.npy", "header.npy"]
    if HAS_ZARR:
        for dtype in ("|u1", "|O"):
            path = Path(f"filter{dtype[1:]}.zarr")
            path.mkdir()
            (path / ".zarray").write_text(malformed.zarray(dtype=dtype, filters=[{"id": "pickle"}]))
            (path / "0.0").write_bytes(code)
            made.append(path.name)
    for name in made:
        one_error(capsys, "deblur", name, "--psf", "box:3", "-o", "out.npy")
    assert not Path("owned").exists()


def small_files(folder):
    """One good file of each kind."""
    gray, colour = malformed.GRAY[:12, :10], np.stack([malformed.GRAY[:12, :10]] * 3, axis=-1)
    for suffix in (".png", ".jpg", ".tif", ".npy"):
        files.write(folder / f"gray{suffix}", gray)
        files.write(folder / f"colour{suffix}", colour)
    Image.fromarray(colour).quantize(4).save(folder / "palette.png")
    Image.fromarray(gray > 99).save(folder / "bits.png")
    for compression in ("tiff_lzw", "tiff_deflate", "packbits"):
        Image.fromarray(colour).save(folder / f"{compression}.tif", compression=compression)
    (folder / "big.tif").write_bytes(malformed.tiff(big=True))
    with files.saving(folder / "stack.tif", gray, 3) as put:
        for _ in range(3):
            put(gray)
    return sorted(folder.iterdir())


def damaged(content, chance):
    """A file with a few bytes changed, or cut off."""
    content = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        place = chance.randrange(min(len(content), chance.choice([32, 200, 10**6])))
        content[place] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
    return bytes(content[: chance.randrange(len(content))] if chance.random() < 0.1 else content)


def test_whatever_is_changed_in_a_file_it_is_read_or_refused(tmp_path, capfd):
    chance = random.Random(0)
    good = small_files(tmp_path)
    outcomes = {True: 0, False: 0}
    for turn in range(60):
        for path in good:
            changed = tmp_path / f"changed{path.suffix}"
            changed.write_bytes(damaged(path.read_bytes(), chance))
            try:
                with files.opened(changed) as source:
                    files.check_size(changed, source, 10**8)
                    pages = [source.page(number) for number in range(min(source.pages or 1, 3))]
                outcomes[bool(pages)] += 1
            except ValueError as error:
                assert str(error).startswith(f"cannot read {changed}: "), (path.name, turn)  # noqa: PT017
                outcomes[False] += 1
    assert min(outcomes.values()) > 100
    assert capfd.readouterr() == ("", "")


def test_a_good_file_among_them_is_restored(tmp_path, capsys):
    for path in small_files(tmp_path):
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as said:
            words = ["--psf", "box:3", "-o", str(path), "--max-iter", "1", "--bounds", "0", "1"]
            assert cli.main(["deblur", str(path), *words]) == 0, path
        without_codecs = path.stem in ("tiff_lzw", "packbits") and not importlib.util.find_spec("imagecodecs")
        assert bool(said.getvalue()) == without_codecs, said.getvalue()
