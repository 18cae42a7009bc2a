"""Sources in chunks that are large beside tiles: decoded once, within the memory, or refused."""

import ctypes
import errno
import os
import tempfile

import numpy as np
import pytest
import tifffile
from scenes import blurred
from sweeps import few

import fastdeblur as fd
from fastdeblur.large import scratch

PSF = fd.psf.gaussian(3, 0.7)
OPTIONS = {"prior": "tv", "mu": 0.01, "max_iter": 2, "tol": 0, "tile": 30, "halo": 5}
IMAGE = blurred((90, 100), PSF)


class Chunked:
    """An array in chunks that counts how often each is decoded."""

    def __init__(self, array, chunks, fail=False):
        self._array, self.shape, self.dtype, self.chunks, self._fail = array, array.shape, array.dtype, chunks, fail
        self.decoded = {}

    def __getitem__(self, part):
        if self._fail and self.decoded:
            raise ValueError("no more")
        for place in np.ndindex(
            *[-(-each.stop // size) - each.start // size for each, size in zip(part, self.chunks, strict=True)]
        ):
            at = tuple(k + each.start // size for k, each, size in zip(place, part, self.chunks, strict=True))
            self.decoded[at] = self.decoded.get(at, 0) + 1
        return self._array[part]


@pytest.mark.parametrize(
    ("chunks", "copied"), [((90, 100), True), ((1, 100), False), ((45, 100), True), ((16, 16), False), ((90, 2), False)]
)
def test_large_chunks_are_decoded_once_and_nothing_is_left(tmp_path, monkeypatch, chunks, copied):
    wanted = fd.deblur_large(IMAGE, PSF, **OPTIONS)
    source, weights = Chunked(IMAGE, chunks), Chunked(np.ones_like(IMAGE), chunks)
    found = fd.deblur_large(source, PSF, tmp_path / "out.npy", **OPTIONS)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(fd.deblur_large(source, PSF, weights=weights, **OPTIONS),
                                  fd.deblur_large(IMAGE, PSF, weights=np.ones_like(IMAGE), **OPTIONS))  # fmt: skip
    assert (max(weights.decoded.values()) == 1) == copied
    assert os.listdir(tmp_path) == ["out.npy"]


@pytest.mark.parametrize("fault", ["source", "disk"])
def test_nothing_is_left_after_an_error(tmp_path, monkeypatch, fault):
    source = Chunked(IMAGE, (45, 100), fail=fault == "source")
    if fault == "disk":
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def fail(*_):
            raise full

        monkeypatch.setattr(scratch.ScratchCopy, "_put", fail)
    error, said = (
        (ValueError, "no more") if fault == "source" else (OSError, "cannot write a copy of source in .*36 kB")
    )
    monkeypatch.setattr(scratch, "OFTEN", 1)
    monkeypatch.setattr(scratch.chunked, "TOGETHER", 1)
    with pytest.raises(error, match=said):
        fd.deblur_large(source, PSF, tmp_path / "out.npy", **OPTIONS)
    assert os.listdir(tmp_path) == []


def test_a_copy_has_no_name_that_a_killed_run_could_leave(tmp_path, monkeypatch):
    seen = []
    put = scratch.ScratchCopy._put

    def look(*arguments):
        seen.extend(os.listdir(tmp_path))
        put(*arguments)

    monkeypatch.setattr(scratch.ScratchCopy, "_put", look)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fd.deblur_large(Chunked(IMAGE, (90, 100)), PSF, **OPTIONS)
    assert seen == []


def test_chunks_that_do_not_fit_are_refused_before_anything_is_read(tmp_path):
    source = Chunked(np.broadcast_to(np.float32(0), (10_000, 10_000)), (10_000, 5000))
    with pytest.raises(
        ValueError, match=r"max_memory must be at least 690 MB to read source, .*\(10000, 5000\).*got 300"
    ):
        fd.deblur_large(source, PSF, tmp_path / "out.npy", max_memory="300MB")
    with pytest.raises(ValueError, match="at least 690 MB to read weights"):
        fd.deblur_large(np.broadcast_to(np.float32(0), source.shape), PSF, weights=source, max_memory="300MB")
    assert source.decoded == {}
    assert os.listdir(tmp_path) == []


def test_what_chunks_take_is_not_taken_by_tiles():
    source = Chunked(np.broadcast_to(np.float32(0), (20_000, 20_000)), (1000, 1000))
    from fastdeblur.large.job import DEFAULTS, Job
    from fastdeblur.large.readers import of_array

    plain, chunked = (
        Job(of_array(each), None, PSF, DEFAULTS | {"mu": 0.1}).plan.need((500, 500), False)
        for each in (source._array, source)
    )
    assert chunked - plain == 12_000_000


RUN = """
import ctypes, sys, numpy as np, fastdeblur as fd
peak = lambda: int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
options = {"data": "squares", "mu": 0.1, "max_iter": 2}
fd.deblur_large(np.ones((200, 200), np.float32), fd.psf.gaussian(3, 0.7), **options)  # compiled, or loaded
ctypes.CDLL(None).malloc_trim(0)  # what is free is the system's again
open("/proc/self/clear_refs", "w").write("5")  # the peak is what there is now
before = peak()
fd.deblur_large(sys.argv[1], fd.psf.gaussian(3, 0.7), "out.npy", max_memory="145MB", **options)
print(peak() - before)
"""


@pytest.mark.skipif(
    not (os.path.exists("/proc/self/clear_refs") and hasattr(ctypes.CDLL(None), "malloc_trim")),
    reason="reads Linux's own figures",
)
@pytest.mark.parametrize("name", few(["one.zarr", "one.tif"], ["one.zarr"]))
def test_memory_holds_for_a_single_chunk(preloaded, tmp_path, name):
    image = np.tile(blurred((200, 200), PSF), (10, 10))
    if name == "one.tif":
        tifffile.imwrite(tmp_path / name, image, compression="zlib", compressionargs={"level": 1}, rowsperstrip=2000)
    else:
        zarr = pytest.importorskip("zarr")
        zarr.open_array(str(tmp_path / name), mode="w", shape=image.shape, chunks=image.shape, dtype="f4")[...] = image
    done = preloaded.run(RUN, name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 145e6
    assert sorted(os.listdir(tmp_path)) == [name, "out.npy"]
