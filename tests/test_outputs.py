"""What happens to an output while it is written: it is locked, nothing of anybody's is lost, no link is followed."""

import contextlib
import errno
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from preloaded import file_as_script
from samples import one_error
from scenes import blurred, read, saved
from sweeps import sweep

import fastdeblur as fd
from fastdeblur.io import atomic, files, locks
from fastdeblur.large import journal as journals
from fastdeblur.large import sampling, tile_solver

zarr = pytest.importorskip("zarr")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links, pipes and times as POSIX has them")
PSF = fd.psf.gaussian(3, 0.7)
# 2 x 2 tiles.
OPTIONS = {"prior": "tv", "mu": 0.01, "max_iter": 2, "tol": 0, "tile": 20, "halo": 4}
IMAGE = blurred((38, 40), PSF)
OLD = np.arange(12, dtype=np.float32).reshape(3, 4)
SUFFIXES = [".npy", ".tif", ".zarr"]


@pytest.fixture(scope="module")
def wanted():
    return fd.deblur_large(IMAGE, PSF, **OPTIONS)


@contextlib.contextmanager
def at_tile(number, act):
    """Do something before a tile is solved."""
    solve, solved = tile_solver.TileSolver.__call__, []

    def acting(*arguments):
        solved.append(None)
        if len(solved) == number + 1:
            act()
        return solve(*arguments)

    tile_solver.TileSolver.__call__ = acting
    try:
        yield
    finally:
        tile_solver.TileSolver.__call__ = solve


def stop():
    raise KeyboardInterrupt


def interrupted(out, source=IMAGE, count=2, **options):
    with at_tile(count, stop), pytest.raises(KeyboardInterrupt):
        fd.deblur_large(source, PSF, out, **OPTIONS, **options)


def beside(out, what):
    return atomic.beside(out, what)


# --- A source that changes between two runs.


@sweep(format=[2, 3], opened=[False, True])
def test_a_chunk_that_is_written_anew_makes_another_source(tmp_path, format, opened):
    if int(zarr.__version__.split(".")[0]) < 3 and format == 3:
        pytest.skip("it knows only format 2")
    more = {} if int(zarr.__version__.split(".")[0]) < 3 else {"zarr_format": format}
    array = zarr.open_array(str(tmp_path / "a.zarr"), mode="w", shape=(100, 110), chunks=(8, 8), dtype="f4", **more)
    array[...] = blurred((100, 110), PSF)
    source = array if opened else tmp_path / "a.zarr"
    options = {**OPTIONS, "tile": 50}
    with at_tile(2, stop), pytest.raises(KeyboardInterrupt):
        fd.deblur_large(source, PSF, tmp_path / "out.npy", **options)
    array[40, 40] = 0.5
    with pytest.raises(ValueError, match="another source"):
        fd.deblur_large(source, PSF, tmp_path / "out.npy", **options)


def set_times(path, times):
    for each, (accessed, changed) in times.items():
        os.utime(each, ns=(accessed, changed))


def times_of(path):
    every = [path, *(path.rglob("*") if path.is_dir() else [])]
    return {each: (each.stat().st_atime_ns, each.stat().st_mtime_ns) for each in every}


def uncompressed(path, array):
    """So that no edit changes the size of a file."""
    if path.suffix != ".zarr":
        saved(path, array)
        return
    old = not hasattr(zarr, "create_array")
    kind = {"shape": array.shape, "chunks": (32, 32), "dtype": "f4"}
    new = zarr.open_array(str(path), mode="w", compressor=None, **kind) if old else None
    new = zarr.create_array(str(path), compressors=None, **kind) if new is None else new
    new[...] = array


def edit(path, place):
    """One pixel of a file, by its bytes."""
    if path.suffix == ".zarr":
        zarr.open_array(str(path), mode="r+")[place] = 0.625
        return
    offset = path.stat().st_size - IMAGE.nbytes if path.suffix == ".npy" else None
    if offset is None:
        import tifffile

        with tifffile.TiffFile(path) as tiff:
            offset = tiff.pages.first.dataoffsets[0]
    with path.open("r+b") as file:
        file.seek(offset + IMAGE.itemsize * (place[0] * IMAGE.shape[1] + place[1]))
        file.write(np.float32(0.625).tobytes())


@sweep(suffix=SUFFIXES, role=["source", "weights"])
def test_an_edit_that_no_clock_shows(tmp_path, monkeypatch, suffix, role):
    """Files are edited within a tick, by tools that set times back, and through maps that are written late."""
    monkeypatch.setattr(sampling, "CROP", 6)  # not all is in the sample
    path, out = tmp_path / f"a{suffix}", tmp_path / "out.npy"
    uncompressed(path, np.ones_like(IMAGE) if role == "weights" else IMAGE)

    def run():
        weights = {"weights": path} if role == "weights" else {}
        return fd.deblur_large(IMAGE if weights else path, PSF, out, **OPTIONS, **weights)

    times = times_of(path)
    with at_tile(2, stop), pytest.raises(KeyboardInterrupt):
        run()
    places = {(i, j): ((8, 30)[i], (8, 31)[j]) for i in range(2) for j in range(2)}  # in tiles, no other sees them
    solved = [tuple(json.loads(line)[0]) for line in beside(out, "journal").read_text().splitlines()[1:]]
    edit(path, next(place for at, place in places.items() if at not in solved))
    set_times(path, times)
    with at_tile(1, stop), pytest.raises(KeyboardInterrupt):
        run()
    done = beside(out, "journal").read_bytes()
    edit(path, places[solved[1]])
    set_times(path, times)
    with pytest.raises(ValueError, match=rf"another {role}|another source or weights") as error:
        run()
    assert "repeat that, or delete" in str(error.value)
    assert beside(out, "journal").read_bytes() == done
    beside(out, "journal").unlink()
    np.testing.assert_array_equal(run(), run())


@pytest.mark.parametrize("changed", [False, True])
def test_objects_are_known_by_what_they_give(tmp_path, monkeypatch, changed):
    monkeypatch.setattr(sampling, "CROP", 6)

    class Known:
        shape, dtype = (200, 210), np.dtype("f4")

        def __init__(self):
            self.pixels = blurred(self.shape, PSF)

        def __getitem__(self, part):
            return self.pixels[part]

    source, options = Known(), {**OPTIONS, "tile": 100}
    with at_tile(2, stop), pytest.raises(KeyboardInterrupt):
        fd.deblur_large(source, PSF, tmp_path / "out.npy", **options)
    if changed:
        source.pixels[36:60] += 1  # between the places that are looked at first
        with pytest.raises(ValueError, match="another source"):
            fd.deblur_large(source, PSF, tmp_path / "out.npy", **options)
    else:
        np.testing.assert_array_equal(
            fd.deblur_large(source, PSF, tmp_path / "out.npy", **options),
            fd.deblur_large(source.pixels, PSF, **options),
        )


# --- What others do in the middle of a run.


def vanish(out):
    beside(out, "partial").rename(out.parent / "moved")


def empty(out):
    partial = beside(out, "partial")
    if partial.is_dir():
        for path in partial.rglob("*.json"):
            path.unlink()
        for path in partial.glob(".z*"):
            path.unlink()
    else:
        os.truncate(partial, 0)


def cut(out):
    partial = beside(out, "partial")
    if partial.is_dir():
        # The oldest chunk: others may be written once more after this, and be whole again.
        chunks = [each for each in partial.rglob("*") if each.is_file() and each.name[0] != "." and not each.suffix]
        path = min(chunks, key=lambda each: each.stat().st_mtime_ns)
        os.truncate(path, path.stat().st_size // 2)
    else:
        os.truncate(partial, partial.stat().st_size // 2)


def swap(out):
    partial = beside(out, "partial")
    other = saved(partial.with_suffix(out.suffix), np.zeros(IMAGE.shape, "f4"))
    partial.rename(out.parent / "moved")
    for _ in range(1000):  # what is being written makes folders anew
        with contextlib.suppress(OSError):
            other.rename(partial)
            return
        shutil.rmtree(partial, ignore_errors=True)
    raise AssertionError


@sweep(damage=[vanish, empty, cut, swap], suffix=SUFFIXES, number=[2, 3])
def test_an_old_result_outlives_a_partial_that_does_not(tmp_path, wanted, suffix, damage, number):
    out = saved(tmp_path / f"out{suffix}", OLD)
    with (
        at_tile(number, lambda: damage(out)),
        pytest.raises(OSError, match=f"^cannot write {out}: (something else has changed or|[A-Z])"),
    ):
        fd.deblur_large(IMAGE, PSF, out, **OPTIONS)
    np.testing.assert_array_equal(read(out), OLD)
    fd.deblur_large(IMAGE, PSF, out, **OPTIONS)
    np.testing.assert_array_equal(read(out), wanted)
    assert {path.name for path in tmp_path.iterdir()} <= {out.name, "moved"}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("before", [False, True])
def test_a_folder_that_appears_at_the_output(tmp_path, wanted, suffix, before):
    out = tmp_path / f"out{suffix}"
    if before:
        saved(out, OLD)

    def appear():
        atomic.remove(out)
        out.mkdir()
        (out / "thesis.txt").write_text("years of work")

    with at_tile(2, appear), pytest.raises(ValueError, match=f"^cannot write {out}: it exists and is not a "):
        fd.deblur_large(IMAGE, PSF, out, **OPTIONS)
    assert (out / "thesis.txt").read_text() == "years of work"
    out.rename(tmp_path / "mine")
    with at_tile(0, stop):  # everything has been done
        fd.deblur_large(IMAGE, PSF, out, **OPTIONS)
    np.testing.assert_array_equal(read(out), wanted)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", out.name]


def test_a_folder_that_appears_where_an_array_is_written_at_once(tmp_path):
    out = tmp_path / "out.zarr"

    def appear():
        with files.saving(out, OLD) as put:
            put(OLD)
            out.mkdir()
            (out / "thesis.txt").write_text("years of work")

    with pytest.raises(ValueError, match="it exists and is not a Zarr array"):
        appear()
    assert [path.name for path in tmp_path.rglob("*")] == ["out.zarr", "thesis.txt"]


def test_a_new_array_that_vanishes_does_not_take_the_old_one_with_it(tmp_path):
    out = saved(tmp_path / "out.zarr", OLD)

    def vanish():
        with files.saving(out, OLD) as put:
            (folder,) = tmp_path.glob(".*.tmp")
            atomic.remove(folder)
            put(OLD + 1)

    with pytest.raises(OSError, match=r"^cannot write \S+out\.zarr: "):
        vanish()
    np.testing.assert_array_equal(read(out), OLD)
    assert os.listdir(tmp_path) == ["out.zarr"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_journal_that_is_deleted_in_the_middle(tmp_path, wanted, suffix):
    """Another may begin then, and only that one goes on."""
    out = saved(tmp_path / f"out{suffix}", OLD)

    def another():
        beside(out, "journal").unlink()
        interrupted(out)

    with at_tile(2, another), pytest.raises(OSError, match="was deleted while it was in use"):
        fd.deblur_large(IMAGE, PSF, out, **OPTIONS)
    np.testing.assert_array_equal(read(out), OLD)
    fd.deblur_large(IMAGE, PSF, out, **OPTIONS)
    np.testing.assert_array_equal(read(out), wanted)
    assert os.listdir(tmp_path) == [out.name]


# --- A folder in which others may write.


@pytest.fixture
def victim(tmp_path):
    folder = tmp_path / "victim"
    folder.mkdir()
    (folder / "file").write_bytes(b"precious")
    yield folder
    assert [path.name for path in folder.iterdir()] == ["file"]
    assert (folder / "file").read_bytes() == b"precious"


NAMES = ["journal", "journal.new", "partial", "replaced", "removed"]


@sweep(name=NAMES, suffix=SUFFIXES, to=["file", ".", "missing"])
def test_no_link_is_followed(tmp_path, victim, wanted, suffix, name, to):
    (tmp_path / "here").mkdir()
    out = tmp_path / "here" / f"out{suffix}"
    saved(out, OLD)
    beside(out, name).symlink_to(victim / to)
    if name == "journal":
        with pytest.raises(ValueError, match=r"\.journal must be a file, .*move away the folder, link or device$"):
            fd.deblur_large(IMAGE, PSF, out, **OPTIONS)
        np.testing.assert_array_equal(read(out), OLD)
        beside(out, name).unlink()
    fd.deblur_large(IMAGE, PSF, out, **OPTIONS)
    np.testing.assert_array_equal(read(out), wanted)


@sweep(suffix=SUFFIXES, to=["file", ".", "hard"])
def test_no_link_is_followed_by_the_next_run(tmp_path, victim, wanted, suffix, to):
    (tmp_path / "here").mkdir()
    out = tmp_path / "here" / f"out{suffix}"
    interrupted(out)
    partial, moved = beside(out, "partial"), tmp_path / "moved"
    partial.rename(moved)
    if to == "hard":
        partial.hardlink_to(victim / "file" if suffix == ".zarr" else moved)
    else:
        partial.symlink_to(victim / to)
    before = moved.read_bytes() if moved.is_file() else None
    fd.deblur_large(IMAGE, PSF, out, **OPTIONS)
    np.testing.assert_array_equal(read(out), wanted)
    assert os.listdir(out.parent) == [out.name]
    assert before is None or moved.read_bytes() == before


def test_a_journal_of_two_names(tmp_path, victim):
    beside(tmp_path / "out.npy", "journal").hardlink_to(victim / "file")
    with pytest.raises(ValueError, match=r"\.journal must be a file"):
        fd.deblur_large(IMAGE, PSF, tmp_path / "out.npy", **OPTIONS)


@sweep(pairs=True, suffix=SUFFIXES, kind=["folder", "pipe"], name=["journal", "partial"])
def test_what_is_no_file_does_not_stop_or_hang(tmp_path, wanted, suffix, kind, name):
    out = tmp_path / f"out{suffix}"
    interrupted(out)
    atomic.remove(beside(out, name))
    (os.mkfifo if kind == "pipe" else os.mkdir)(beside(out, name))
    if name == "journal":
        with pytest.raises(ValueError, match=r"\.journal must be a file"):
            fd.deblur_large(IMAGE, PSF, out, **OPTIONS)
        atomic.remove(beside(out, name))
    fd.deblur_large(IMAGE, PSF, out, **OPTIONS)
    np.testing.assert_array_equal(read(out), wanted)
    assert os.listdir(tmp_path) == [out.name]


# --- Journals that nobody should have written.

DEEP = b"[" * 100_000
LINES = [b"", b"\xff\xfe\0", b"null", b"3", b"{}", b"[]", DEEP, b'{"a":' * 100_000, b"1" * 10_000, b"[[0, 0], 1]",
         b'[["a", {}], 2]', b"[[0, 0], [null, null]]", b"[[0.0, 0.0], [true, 1]]", b"[[0, 0], [1e400, NaN]]",
         b"[[1, 1], [-1, -1]]", b"[[99999999, 1], [1, 2]]", b"[[0, 0], [1, 2, 3]]"]  # fmt: skip


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(
    head=st.sampled_from([None, *LINES]) | st.binary(max_size=40),
    more=st.lists(st.sampled_from(LINES) | st.binary(max_size=40), max_size=3),
    end=st.sampled_from([b"\n", b""]),
)
def test_whatever_a_journal_says(tmp_path, wanted, head, more, end):
    """It is another job's, or nothing, or what is true of it is used."""
    out = tmp_path / "out.npy"
    atomic.remove(out)
    interrupted(out)
    path = beside(out, "journal")
    own = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*(own[:2] if head is None else [head]), *more]) + end)
    try:
        fd.deblur_large(IMAGE, PSF, out, **OPTIONS)
    except ValueError as error:
        assert "out belongs to a run that is not finished" in str(error)  # noqa: PT017
        path.unlink()
        fd.deblur_large(IMAGE, PSF, out, **OPTIONS)
    np.testing.assert_array_equal(read(out), wanted)
    assert os.listdir(tmp_path) == [out.name]


def test_a_journal_that_is_too_long(tmp_path, monkeypatch, wanted):
    out = tmp_path / "out.npy"
    interrupted(out)
    monkeypatch.setattr(journals, "MOST", 100)
    with pytest.raises(ValueError, match=r"\.out\.npy\.journal has \d+ bytes and is no journal"):
        fd.deblur_large(IMAGE, PSF, out, **OPTIONS)
    beside(out, "journal").unlink()
    fd.deblur_large(IMAGE, PSF, out, **OPTIONS)
    np.testing.assert_array_equal(read(out), wanted)


# --- Locks.


OUTS = {
    **{suffix: lambda folder, suffix=suffix: folder / f"out{suffix}" for suffix in SUFFIXES},
    "map": lambda folder: np.lib.format.open_memmap(folder / "out.npy", "w+", np.float32, IMAGE.shape),
    "Zarr array": lambda folder: zarr.open_array(str(saved(folder / "out.zarr", IMAGE)), mode="r+"),
}


@pytest.mark.parametrize("kind", OUTS)
def test_one_run_at_a_time_on_one_output(tmp_path, wanted, kind):
    out, refused = OUTS[kind](tmp_path), []

    def another():
        with pytest.raises(ValueError, match="out is being written by another run") as error:
            fd.deblur_large(IMAGE, PSF, out, **{**OPTIONS, "mu": 0.5})
        refused.append(error)

    with at_tile(2, another):
        fd.deblur_large(IMAGE, PSF, out, **OPTIONS)
    assert len(refused) == 1
    np.testing.assert_array_equal(read(out) if isinstance(out, Path) else out[...], wanted)
    assert len(os.listdir(tmp_path)) == 1


def test_one_at_a_time_in_one_process_too(tmp_path):
    first = locks.Lock(tmp_path / "lock")
    for _ in range(2):
        with pytest.raises(ValueError, match="out is being written by another run, which holds "):
            locks.Lock(tmp_path / "lock")
    first.release()
    first.release()
    locks.Lock(tmp_path / "lock").remove()
    assert os.listdir(tmp_path) == []


def test_a_lock_ends_although_a_child_has_the_file(tmp_path):
    lock = locks.Lock(tmp_path / "lock")
    copy = os.dup(lock.file.fileno())  # as a fork makes
    lock.release()
    locks.Lock(tmp_path / "lock").release()
    os.close(copy)


def test_a_file_that_is_removed_before_it_is_locked(tmp_path, monkeypatch):
    take, taken = locks._take, []

    def slowly(file):
        if len(taken) < 3:
            (tmp_path / "lock").unlink()
            (tmp_path / "lock").touch() if len(taken) else None
        taken.append(None)
        take(file)

    monkeypatch.setattr(locks, "_take", slowly)
    lock = locks.Lock(tmp_path / "lock")
    assert len(taken) == 4
    assert lock.held()
    lock.remove()


def test_a_file_that_is_always_another(tmp_path, monkeypatch):
    """Or a file system that numbers files anew each time."""
    monkeypatch.setattr(locks.Lock, "held", lambda lock: False)
    with pytest.raises(ValueError, match="out is being written by other runs"):
        locks.Lock(tmp_path / "lock")


def test_a_lock_of_another_s_is_not_removed(tmp_path):
    first = locks.Lock(tmp_path / "lock")
    (tmp_path / "lock").unlink()
    second = locks.Lock(tmp_path / "lock")
    assert not first.held()
    first.remove()
    assert second.held()
    second.remove()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_without_locks_it_is_said(tmp_path, monkeypatch, wanted, suffix):
    def none(file):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks, "_take", none)
    with pytest.warns(UserWarning, match=r"the file system of .* has no locks \(No locks available\): another run"):
        fd.deblur_large(IMAGE, PSF, tmp_path / f"out{suffix}", **OPTIONS)
    np.testing.assert_array_equal(read(tmp_path / f"out{suffix}"), wanted)
    assert os.listdir(tmp_path) == [f"out{suffix}"]


def test_arrays_that_are_written_at_once_are_locked(tmp_path, capsys):
    saved(tmp_path / "a.npy", OLD)
    saved(tmp_path / "out.zarr", OLD)
    with atomic.locked(tmp_path / "out.zarr"):
        said = one_error(capsys, "deblur", tmp_path / "a.npy", "--psf", "box:1", "-o", tmp_path / "out.zarr")
    assert "out is being written by another run" in said
    assert sorted(os.listdir(tmp_path)) == ["a.npy", "out.zarr"]


def test_a_journal_that_waits_is_not_touched_by_what_is_written_at_once(tmp_path):
    out = tmp_path / "out.zarr"
    interrupted(out)
    before = beside(out, "journal").read_bytes()
    files.write(out, OLD)
    assert beside(out, "journal").read_bytes() == before
    np.testing.assert_array_equal(read(out), OLD)


# --- Folders cannot take each other's place at once.


def test_an_array_that_was_set_aside_comes_back(tmp_path, capsys):
    """Of a run in place that was killed between two renames."""
    out = saved(tmp_path / "a.zarr", OLD)
    out.rename(beside(out, "replaced"))
    one_error(capsys, "deblur", out, "--psf", "no", "-o", out)
    np.testing.assert_array_equal(read(out), OLD)
    assert os.listdir(tmp_path) == ["a.zarr"]


@pytest.mark.parametrize("fails", [0, 1, 2])
def test_a_folder_that_cannot_take_its_place(tmp_path, monkeypatch, fails):
    old, new, replace, calls = tmp_path / "out", tmp_path / "new", os.replace, []
    for folder, text in ((old, "old"), (new, "new")):
        folder.mkdir()
        (folder / "text").write_text(text)

    def refused(*paths):
        calls.append(paths)
        if len(calls) == fails + 1:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        replace(*paths)

    monkeypatch.setattr(os, "replace", refused)
    if fails < 2:
        with pytest.raises(PermissionError):
            atomic.put_in_place(new, old)
    else:  # only the old one cannot be removed now
        atomic.put_in_place(new, old)
    assert (old / "text").read_text() == ("new" if fails == 2 else "old")
    assert new.exists() == (fails < 2)
    atomic.recover(old)
    assert sorted(os.listdir(tmp_path)) == (["new", "out"] if fails < 2 else ["out"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_nothing_is_lost_wherever_a_run_is_killed(preloaded, tmp_path, long):
    script = "import warnings\nwarnings.simplefilter('ignore')\n"
    script += file_as_script(Path(__file__).with_name("crashes.py"))
    done = preloaded.run(script, "--every", "2" if long else "12", "--first", "5", cwd=tmp_path, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_folder_is_removed_although_somebody_still_writes_there(tmp_path, monkeypatch):
    """A run whose journal was deleted, and that has not noticed yet, puts a chunk beside those that are removed."""
    folder, rmtree, late = tmp_path / "partial", shutil.rmtree, [1, 2]
    folder.mkdir()

    def raced(path):
        if late:
            late.pop()
            raise OSError(errno.ENOTEMPTY, "Directory not empty", str(path))
        rmtree(path)

    monkeypatch.setattr(shutil, "rmtree", raced)
    atomic.remove(folder)
    assert not folder.exists()
    folder.mkdir()
    late[:] = range(100)
    with pytest.raises(OSError, match="not empty"):
        atomic.remove(folder)
    atomic.remove(tmp_path / "nothing")
