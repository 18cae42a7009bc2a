"""What is left of a run over a large image that ends early, what goes wrong, and what is said of it."""

import errno
import json
import math
import os
import re
import signal
import sys
import time
from importlib import metadata

import numpy as np
import pytest
from scenes import DEFAULTS, blurred, read, saved
from sweeps import few, sweep

import fastdeblur as fd
from fastdeblur.large import job, readers, tile_solver, writers

zarr = pytest.importorskip("zarr")
PSF = fd.psf.gaussian(3, 0.7)
# Few steps of what is quickly set up, on 3 x 3 tiles; the last one comes first.
OPTIONS = {"prior": "tv", "mu": 0.01, "max_iter": 2, "tol": 0, "tile": 40}
IMAGE = blurred((90, 100), PSF)
OLD = np.arange(12, dtype=np.float32).reshape(3, 4)
SUFFIXES = [".npy", ".tif", ".zarr"]


@pytest.fixture(scope="module")
def wanted():
    return fd.deblur_large(IMAGE, PSF, **OPTIONS)


def beside(out, what):
    return out.with_name(f".{out.name}.{what}")


def interrupted(monkeypatch, out, count=4, error=KeyboardInterrupt, source=IMAGE):
    """Stop a run when so many tiles have been solved."""
    solve, solved = tile_solver.TileSolver.__call__, []

    def stopping(*arguments):
        solved.append(None)
        if len(solved) > count:
            raise error
        return solve(*arguments)

    with monkeypatch.context() as context:
        context.setattr(tile_solver.TileSolver, "__call__", stopping)
        with pytest.raises(error):
            fd.deblur_large(source, PSF, out, **OPTIONS)


def account(out, source=IMAGE, **options):
    """How the next run goes."""
    with readers.opened(source) as readable:
        work = job.Job(readable, None, PSF, {**DEFAULTS, **OPTIONS, **options})
        return work.run(lambda *more: writers.opened(out, readable.shape, np.dtype("f4"), None, *more))[1]


@sweep(suffix=SUFFIXES, error=[KeyboardInterrupt, MemoryError])
def test_a_run_that_is_stopped_goes_on(tmp_path, monkeypatch, wanted, suffix, error):
    out = saved(tmp_path / f"out{suffix}", OLD)
    interrupted(monkeypatch, out, error=error)
    np.testing.assert_array_equal(read(out), OLD)
    assert sorted(os.listdir(tmp_path)) == [f".{out.name}.journal", f".{out.name}.partial", out.name]
    told = account(out)
    assert (told.tiles, told.resumed) == (9, 4)
    np.testing.assert_array_equal(read(out), wanted)
    assert os.listdir(tmp_path) == [out.name]


def test_a_map_and_a_zarr_array_go_on_too(tmp_path, monkeypatch, wanted):
    np.save(tmp_path / "out.npy", np.zeros((90, 100), np.float32))
    interrupted(monkeypatch, np.load(tmp_path / "out.npy", mmap_mode="r+"))
    assert account(np.load(tmp_path / "out.npy", mmap_mode="r+")).resumed == 4
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), wanted)
    array = zarr.open_array(str(saved(tmp_path / "out.zarr", IMAGE)), mode="r+")
    interrupted(monkeypatch, array)
    assert account(array).resumed == 4
    np.testing.assert_array_equal(array[...], wanted)
    assert sorted(os.listdir(tmp_path)) == ["out.npy", "out.zarr"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_left_where_nothing_was_done(tmp_path, monkeypatch, suffix):
    out = saved(tmp_path / f"out{suffix}", OLD)
    interrupted(monkeypatch, out, 0)
    assert os.listdir(tmp_path) == [out.name]
    np.testing.assert_array_equal(read(out), OLD)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_source_that_fails_in_the_middle(tmp_path, wanted, suffix):
    class Failing:
        shape, dtype, asked = IMAGE.shape, IMAGE.dtype, 0

        def __getitem__(self, part):
            self.asked += 1
            if self.asked > 25:  # those of its identity and the sample come first
                raise RuntimeError("the disk is gone")
            return IMAGE[part]

    out = tmp_path / f"out{suffix}"
    with pytest.raises(RuntimeError, match="the disk is gone"):
        fd.deblur_large(Failing(), PSF, out, **OPTIONS)
    assert not out.exists()
    Failing.asked = -1000
    assert account(out, Failing()).resumed > 3
    np.testing.assert_array_equal(read(out), wanted)


def test_the_identity_of_a_job_is_what_journals_have():
    """Another one, and runs that were interrupted by an earlier version would not go on."""
    options = DEFAULTS | {"prior": "tv", "bounds": (0, None), "channel_axis": -1, "tile": 40, "workers": 1}
    work = job.Job(readers.of_array(np.ones((90, 100, 3), np.float32)), None, np.full((3, 3), 1 / 9), options)
    assert work.plan.identity() == {
        "psf": "13bcdfa34e696fecee421bb369566402cb88e111229826e97e22bc697be332dd", "data": "squares", "prior": "tv",
        "mu": None, "bounds": [0.0, math.inf], "read_noise": 0.0, "max_iter": 300, "tol": 1e-4, "boundary": "unknown",
        "path": "auto", "channel_axis": 2, "tile": (40, 40), "halo": None, "max_memory": None,
    }  # fmt: skip


KILLED = """
import sys, time, numpy as np, fastdeblur as fd
from fastdeblur.large import tile_solver as tiles
solve = tiles.TileSolver.__call__
def slowly(*arguments):
    time.sleep(0.05)
    return solve(*arguments)
tiles.TileSolver.__call__ = slowly
psf = fd.psf.gaussian(3, 0.7)
fd.deblur_large(sys.argv[1], psf, sys.argv[2], prior="tv", mu=0.01, max_iter=2, tol=0, tile=40)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does")
@pytest.mark.parametrize("suffix", few(SUFFIXES, [".zarr"]))  # (Of all: stopped runs, here; killed ones, crashes.py.)
def test_a_run_that_is_killed_goes_on(preloaded, tmp_path, wanted, suffix):
    source, out = saved(tmp_path / "a.npy", IMAGE), saved(tmp_path / f"out{suffix}", OLD)
    child, end = preloaded.start(KILLED, str(source), str(out), cwd=tmp_path), time.monotonic() + 60
    journal = beside(out, "journal")
    while time.monotonic() < end and not (journal.exists() and len(journal.read_text().splitlines()) > 3):
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    assert child.end().returncode == -9
    np.testing.assert_array_equal(read(out), OLD)
    assert 3 <= account(out, source).resumed < 9
    undisturbed = tmp_path / f"other{suffix}"
    fd.deblur_large(source, PSF, undisturbed, **OPTIONS)
    if suffix == ".zarr":
        files = [path.relative_to(out) for path in out.rglob("*") if path.is_file()]
        assert len(files) > 9
        assert all((out / name).read_bytes() == (undisturbed / name).read_bytes() for name in files)
    else:
        assert out.read_bytes() == undisturbed.read_bytes()
    np.testing.assert_array_equal(read(out), wanted)


OTHERS = {
    "psf": lambda out: fd.deblur_large(IMAGE, fd.psf.gaussian(3, 0.8), out, **OPTIONS),
    "mu": lambda out: fd.deblur_large(IMAGE, PSF, out, **{**OPTIONS, "mu": 0.06}),
    "tile": lambda out: fd.deblur_large(IMAGE, PSF, out, **{**OPTIONS, "tile": 45}),
    "halo": lambda out: fd.deblur_large(IMAGE, PSF, out, **OPTIONS, halo=9),
    "boundary": lambda out: fd.deblur_large(IMAGE, PSF, out, **OPTIONS, boundary="reflect"),
    "tol": lambda out: fd.deblur_large(IMAGE, PSF, out, **{**OPTIONS, "tol": 1e-3}),
    "prior": lambda out: fd.deblur_large(IMAGE, PSF, out, **{**OPTIONS, "prior": "sparse"}),
    "weights": lambda out: fd.deblur_large(IMAGE, PSF, out, **OPTIONS, weights=np.ones_like(IMAGE)),
    "source": lambda out: fd.deblur_large(IMAGE + (np.arange(100) == 55), PSF, out, **OPTIONS),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_job_is_refused(tmp_path, monkeypatch, wanted, name):
    out = tmp_path / "out.npy"
    interrupted(monkeypatch, out)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="out belongs to a run that is not finished and had another ") as error:
        OTHERS[name](out)
    assert re.search(rf"another (\w+ and )*{name}( and \w+)*( \({name} \S+\))?: ", str(error.value))
    assert str(error.value).endswith(f"repeat that, or delete {beside(out, 'journal')} to begin anew")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    if name == "psf":
        assert account(out, workers=1, progress=False).resumed == 4  # what changes no pixel is the same job


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_changed_file_is_another_source(tmp_path, monkeypatch, suffix):
    source, out = saved(tmp_path / f"a{suffix}", IMAGE), tmp_path / "out.npy"
    interrupted(monkeypatch, out, source=source)
    time.sleep(0.02)  # clocks of file systems tick
    if suffix == ".zarr":
        zarr.open_array(str(source), mode="r+")[:40] += 1
    else:
        saved(source, IMAGE + 1)
    with pytest.raises(ValueError, match=r"another (found and )?source: "):
        fd.deblur_large(source, PSF, out, **OPTIONS)
    beside(out, "journal").unlink()
    fd.deblur_large(source, PSF, out, **OPTIONS)
    np.testing.assert_array_equal(read(out), fd.deblur_large(read(source), PSF, **OPTIONS))
    assert sorted(os.listdir(tmp_path)) == [source.name, "out.npy"]


def damage_tile(out):
    partial = beside(out, "partial")
    if partial.is_dir():
        chunks = [path for path in partial.rglob("*") if path.is_file() and path.suffix != ".json"]
        chunk = max(chunks, key=lambda path: path.stat().st_size)
        chunk.write_bytes(chunk.read_bytes()[: chunk.stat().st_size // 2])
        return
    with partial.open("r+b") as file:
        file.seek(-4, 2)  # the last pixel
        file.write(b"\1\2\3\4")


def cut_line(out):
    journal = beside(out, "journal")
    journal.write_text(journal.read_text()[:-5])


def delete_partial(out):
    partial = beside(out, "partial")
    partial.rename(out.with_name("away"))


def empty_partial(out):
    partial = beside(out, "partial")
    if partial.is_dir():
        next(path for path in partial.rglob("*") if path.name in ("zarr.json", ".zarray")).unlink()
    else:
        partial.write_bytes(b"")


def cut_head(out):
    journal = beside(out, "journal")
    journal.write_text(journal.read_text()[:20])


@sweep(
    damaged=[(damage_tile, 3), (cut_line, 3), (delete_partial, 0), (empty_partial, 0), (cut_head, 0)], suffix=SUFFIXES
)
def test_what_is_damaged_is_done_again(tmp_path, monkeypatch, wanted, suffix, damaged):
    damage, resumed = damaged
    out = tmp_path / f"out{suffix}"
    interrupted(monkeypatch, out)
    damage(out)
    assert account(out).resumed == resumed
    np.testing.assert_array_equal(read(out), wanted)


def test_a_journal_without_what_it_speaks_of_stops_nobody(tmp_path, monkeypatch):
    out = tmp_path / "out.npy"
    interrupted(monkeypatch, out)
    beside(out, "partial").unlink()
    OTHERS["mu"](out)
    assert os.listdir(tmp_path) == ["out.npy"]


def no_room(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk(tmp_path, monkeypatch, wanted, suffix):
    out = saved(tmp_path / f"out{suffix}", OLD)
    if suffix != ".zarr":
        with monkeypatch.context() as context:
            context.setattr(os, "posix_fallocate", no_room)
            with pytest.raises(OSError, match=f"^cannot write {out}: No space left on device$"):
                fd.deblur_large(IMAGE, PSF, out, **OPTIONS)
        assert os.listdir(tmp_path) == [out.name]
    kind = writers.IntoArray if suffix == ".zarr" else writers.IntoFile
    write, written = kind.write, []

    def full(*arguments):
        written.append(None)
        return write(*arguments) if len(written) < 4 else no_room()

    with monkeypatch.context() as context:
        context.setattr(kind, "write", full)
        with pytest.raises(OSError, match=f"^cannot write {out}: No space left on device$"):
            fd.deblur_large(IMAGE, PSF, out, **OPTIONS)
    with monkeypatch.context() as context:
        context.setattr(os, "fsync", no_room)
        with pytest.raises(OSError, match=r"^cannot write \S+: No space left on device$"):
            fd.deblur_large(IMAGE, PSF, out, **OPTIONS)
    np.testing.assert_array_equal(read(out), OLD)
    assert account(out).resumed == (4 if suffix == ".zarr" else 3)  # when there is room again
    np.testing.assert_array_equal(read(out), wanted)
    assert os.listdir(tmp_path) == [out.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_cannot_be_put_in_its_place_waits_there(tmp_path, monkeypatch, wanted, suffix):
    out, replace = saved(tmp_path / f"out{suffix}", OLD), os.replace

    def refused(source, target):
        if os.path.basename(source) == beside(out, "partial").name:  # Zarr has files with that suffix
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        replace(source, target)

    with monkeypatch.context() as context:
        context.setattr(os, "replace", refused)
        with pytest.raises(OSError, match=f"^cannot write {out}: Permission denied$"):
            fd.deblur_large(IMAGE, PSF, out, **OPTIONS)
    np.testing.assert_array_equal(read(out), OLD)
    assert account(out).resumed == 9
    np.testing.assert_array_equal(read(out), wanted)


def test_frozen_programs_have_no_metadata_of_packages(tmp_path, monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    restored = fd.deblur_large(np.ones((40, 40)), PSF, tmp_path / "out.npy", mu=0.1, tile=32, halo=8)
    np.testing.assert_allclose(restored, 1, atol=1e-6)


def test_the_journal_is_lines_of_json(tmp_path, monkeypatch):
    out = tmp_path / "out.npy"
    interrupted(monkeypatch, out)
    first, *lines = map(json.loads, beside(out, "journal").read_text().splitlines())
    assert {"version", "source", "psf", "grid", "mu", "found"} <= set(first)
    assert first["version"] == fd.__version__
    assert [len(line) for line in lines] == [2] * 4


def test_what_another_process_is_writing_is_left_to_it(preloaded, tmp_path):
    if sys.platform == "win32":
        pytest.skip("it has no flock")
    script = """
import os, time, numpy as np, fastdeblur as fd
class Slow:
    shape, dtype = (120, 130), np.dtype("f4")
    reads = 0
    def __getitem__(self, part):
        self.reads += 1
        if self.reads > 25:
            print("waiting", flush=True)
            while not os.path.exists("go"):
                time.sleep(0.002)
        return np.ones([each.stop - each.start for each in part], "f4")
fd.deblur_large(Slow(), np.ones((3, 3)) / 9, "out.npy", data="squares", mu=0.1, tile=30)
"""
    process = preloaded.start(script, cwd=tmp_path)
    try:
        assert process.line() == "waiting\n"
        options = {"data": "squares", "mu": 0.1, "tile": 30}
        with pytest.raises(ValueError, match="out is being written by another run"):
            fd.deblur_large(np.ones((120, 130), "f4"), np.ones((3, 3)) / 9, tmp_path / "out.npy", **options)
    finally:
        (tmp_path / "go").touch()
        done = process.end()
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["go", "out.npy"]
