"""The compiler and its cache among threads and processes, each in a process of its own (and see stress.py)."""

import compileall
import os
import shutil
import struct
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from sweeps import few

import fastdeblur
from fastdeblur.kernels.runtime import cache, privates, tasks

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc or forks")

# An image large enough for threads, a job on it, and its bits as a number.
JOB = """
import hashlib, os, sys, threading, time
import numpy as np
import fastdeblur as fd

image = np.random.default_rng(0).random((200, 450))
psf = fd.psf.gaussian(9, 2)

def job(dtype="float32", **options):
    blurred = fd.convolve(image.astype(dtype), psf, **options)
    restored = fd.solve(blurred, psf, max_iter=6, tol=0, **options).image
    return hashlib.sha256(blurred.tobytes() + restored.tobytes()).hexdigest()

def in_child(work):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, work().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    pid, status = os.waitpid(child, 0)
    assert status == 0, f"the child ended with status {status}"
    return answer
"""


# The cache.  One row of the smallest task, and a launch of a task that does nothing, are enough to see it: what is
# compiled is a hundredth of what a convolution needs.
IMPORTED = """
import ctypes, os
import numpy as np
from fastdeblur.kernels.cpu.rules import gd
from fastdeblur.kernels.runtime import tasks
def small():
    here, gradient, first, second, out = rows = np.zeros((5, 9))
    here[:], gradient[:] = 2, -1
    row = [ctypes.c_void_p(each.ctypes.data) for each in rows]
    step = ctypes.CFUNCTYPE(None, ctypes.c_double, *[ctypes.c_void_p] * 5, ctypes.c_ssize_t)
    step(gd.address(out.dtype))(34.0, *row, 9)
    tasks.launch(tasks._nothing.address(), 0, 1)
    return out[0]
"""
SMALLER = (
    IMPORTED
    + """
print(small(), end=" ")
"""
)


@pytest.fixture(scope="module")
def bits():
    """What JOB's job() has to give, computed here without threads."""
    namespace = {}
    exec(JOB, namespace)
    return {dtype: namespace["job"](dtype, workers=1) for dtype in ("float32", "float64")}


@pytest.fixture
def cached(bits, tmp_path):
    """A cache of its own, with the entries of the suite's: all that JOB and SMALLER need."""
    exec(SMALLER, {})
    tasks.warm()
    suites = next(folder for folder in cache.folders() if any(folder.glob("*.nbc")))
    shutil.copytree(suites, tmp_path / "cache" / suites.name)
    return tmp_path / "cache"


def test_six_threads_whose_first_calls_come_at_once(python, cached, bits):
    """For both dtypes, they compile some while they load others."""
    for pattern in ["fastdeblur.kernels.runtime.tasks.*", "*.single_pass-*", "*.products-*"]:
        assert [path.unlink() for path in cached.rglob("*.nbc") if path.match(pattern)]
    script = """
dtypes = ["float32", "float64"]
answers = []
start = threading.Barrier(6)
def work(k):
    start.wait()
    for _ in range(2):
        answers.append(job(dtypes[k % len(dtypes)]))
threads = [threading.Thread(target=work, args=[k]) for k in range(6)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(answers) == 12
print(*sorted(set(answers)))
"""
    assert python(JOB + script, NUMBA_CACHE_DIR=str(cached)).split() == sorted(bits.values())


@linux
def test_children_forked_while_another_thread_compiles(python):
    script = """
import threading, time
from fastdeblur.kernels.cpu.direct import direct
from fastdeblur.kernels.cpu.separable import separable
def compile():
    for task in (direct, separable):
        task.address(np.dtype("float32"))
thread = threading.Thread(target=compile)
thread.start()
answers = []
for _ in range(2):
    time.sleep(0.2)
    answers.append(thread.is_alive())
    child = os.fork()
    if child == 0:
        os._exit(int(small()))
    answers.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
thread.join()
print(*answers, small())
"""
    compiling, first, _, second, parent = python(IMPORTED + script, FASTDEBLUR_CACHE="0").split()
    assert compiling == "True", "nothing was being compiled"
    assert (first, second, parent) == ("36", "36", "36.0")


@linux
def test_the_serial_twin_starts_no_thread_from_a_warm_cache(python):
    # (SciPy's DUCC, from 1.18, starts one of its own at the first transform, though it is told to use none.)
    script = """
import scipy.fft
scipy.fft.rfft2(np.ones((8, 8)))
def threads():
    return len(os.listdir("/proc/self/task"))
def descend(workers):
    blurred = fd.convolve(image, psf, workers=workers, path="direct")
    fd.solve(blurred, psf, solver="gd", path="direct", mu=0.2, max_iter=6, tol=0, workers=workers)
before = threads()
descend(1)
print(threads() - before)
descend(2)
print(threads() > before)
"""
    fastdeblur.warmup()
    assert python(JOB + script, OPENBLAS_NUM_THREADS="1", NUMBA_NUM_THREADS="2").split() == ["0", "True"]


def test_the_number_of_threads_is_put_back(python):
    script = """
import numba
numba.set_num_threads(1)
fd.warmup()
job(workers=2)
print(numba.get_num_threads())
"""
    assert python(JOB + script, NUMBA_NUM_THREADS="2").strip() == "1"


BUSY = """
import os, subprocess, sys, time
os.environ.pop("OMP_WAIT_POLICY", None)
before = dict(os.environ)
import numba
import numpy as np
import fastdeblur as fd

image, psf = np.random.default_rng(0).random((128, 128), np.float32), fd.psf.gaussian(7, 1.5)
def took(workers):
    began = time.perf_counter()
    fd.solve(image, psf, workers=workers)
    return time.perf_counter() - began
took(2)
assert dict(os.environ) == before
took(1)
burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count())]
try:
    time.sleep(0.5)
    print(np.median([took(2) / took(1) for _ in range(5)]))
finally:
    [burner.kill() for burner in burners]
    [burner.wait() for burner in burners]
"""


@linux
def test_small_images_lose_little_where_all_cores_are_busy(python):
    assert float(python(BUSY, NUMBA_NUM_THREADS="2")) < 3


@linux
def test_what_users_say_of_openmp_holds(python):
    script = """
import os
os.environ |= {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "7"}
from fastdeblur.kernels.runtime import threads
threads.start()
print(os.environ["OMP_WAIT_POLICY"], os.environ["GOMP_SPINCOUNT"])
"""
    assert python(script).split() == ["active", "7"]


# Where the code was looked for.
SAID = """
from fastdeblur.kernels.runtime import cache
print(cache.folders(), end=" ")
"""
# A child can compute, too.
FORKED = """
import os
if hasattr(os, "fork"):
    child = os.fork()
    if child == 0:
        os._exit(int(small()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 36
print("child", end=" ")
"""


@pytest.fixture
def package(tmp_path):
    """A copy of the package that may be edited, and the environment to import it."""
    copy = tmp_path / "copy" / "fastdeblur"
    ignored = shutil.ignore_patterns("fastdeblur-*")  # not the machine code, but the bytecode: it is soon imported
    shutil.copytree(Path(fastdeblur.__file__).parent, copy, ignore=ignored)
    return copy, {"PYTHONPATH": str(copy.parent), "PYTHONDONTWRITEBYTECODE": "1"}


OLD_HELPER = "context.cast(builder, args[0], types.float64, like.dtype)"
NEW_HELPER = OLD_HELPER.replace("args[0]", "builder.fadd(args[0], args[0])")


def edit(package):
    """Let a helper that is compiled into others give twice what it did."""
    helper = package / "kernels" / "cpu" / "simd.py"
    source = helper.read_text()
    assert source.count(OLD_HELPER) == 1
    helper.write_text(source.replace(OLD_HELPER, NEW_HELPER))


def entries(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*.nbc")}


def weak_symbols(content):
    """Names of an ELF file's weak symbols."""
    at = content.index(b"\x7fELF")
    (sections,), (size, count) = (
        struct.unpack_from("<Q", content, at + 0x28),
        struct.unpack_from("<HH", content, at + 0x3A),
    )
    headers = [struct.unpack_from("<IIQQQQII", content, at + sections + size * k) for k in range(count)]
    for _, kind, _, _, start, length, link, _ in headers:
        if kind == 2:  # a table of symbols
            names = at + headers[link][4]
            for entry in range(at + start, at + start + length, 24):
                name, binding = struct.unpack_from("<IB", content, entry)
                if binding >> 4 == 2:
                    yield content[names + name : content.index(0, names + name)].decode()


@pytest.mark.skipif(sys.platform != "linux", reason="reads ELF files")
def test_helpers_are_inlined_into_what_is_kept(bits):
    """One that stays a function is another copy in the process that compiles than in those that load."""
    kept = [path for folder in cache.folders() for path in folder.glob("fastdeblur.kernels.*.nbc")]
    assert kept
    for path in kept:
        assert not [name for name in weak_symbols(path.read_bytes()) if "fastdeblur" in name], path.name


def test_an_edited_helper_is_compiled_anew(package, cached, python):
    copy, environment = package
    environment["NUMBA_CACHE_DIR"] = str(cached)
    first = entries(cached)
    assert python(SMALLER, **environment) == "36.0 "
    assert entries(cached) == first  # the same sources in another place
    edit(copy)
    assert python(SMALLER, **environment) == "70.0 "
    second = entries(cached)
    assert {path: second[path] for path in first} == first
    assert len(second) > len(first)


def test_code_compiled_from_sources_edited_since_import_is_not_kept(package, python, tmp_path):
    copy, environment = package
    environment["NUMBA_CACHE_DIR"] = str(tmp_path / "cache")
    (tmp_path / "edits.py").write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"from pathlib import Path; from test_runtime import doubled; doubled(Path({str(copy)!r}))\n"
    )
    script = IMPORTED + "import runpy; runpy.run_path('edits.py')\n" + SMALLER
    assert python(script, **environment) == "36.0 "
    assert python(SMALLER, **environment) == "72.0 "
    assert python(SMALLER, **environment) == "72.0 "


def test_a_damaged_entry_is_a_miss(python, tmp_path):
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert python(SMALLER, **environment) == "36.0 "
    good = entries(tmp_path / "cache")
    assert len(good) >= 3
    for k, (path, content) in enumerate(good.items()):
        path.write_bytes([b"", content[:-100], content[:50] + b"?" + content[51:]][k % 3])
    assert python(SMALLER, **environment) == "36.0 "
    assert entries(tmp_path / "cache").keys() == good.keys()
    assert all(len(content) > 1000 for content in entries(tmp_path / "cache").values())


def test_nowhere_to_write(package, python, tmp_path):
    """A read-only package and no home, as root sees them: files where folders should be."""
    copy, environment = package
    shutil.rmtree(copy / "__pycache__")
    (copy / "__pycache__").write_text("")
    (tmp_path / "file").write_text("")
    user = tmp_path / "user"
    assert python(SMALLER, **environment, XDG_CACHE_HOME=str(user)) == "36.0 "
    assert entries(user)
    for home in ({"XDG_CACHE_HOME": str(tmp_path / "file")}, {"XDG_CACHE_HOME": "", "HOME": "nowhere"}):
        assert python(SMALLER, **environment, **home) == "36.0 "


def test_no_cache(python, tmp_path):
    assert python(SMALLER, NUMBA_CACHE_DIR=str(tmp_path / "cache"), FASTDEBLUR_CACHE="0") == "36.0 "
    assert not (tmp_path / "cache").exists()


@pytest.mark.long
def test_other_settings_of_the_compiler_have_entries_of_their_own(python, tmp_path):
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert python(SMALLER, **environment, NUMBA_OPT="0") == "36.0 "
    slow = entries(tmp_path / "cache")
    assert python(SMALLER, **environment) == "36.0 "
    assert len(entries(tmp_path / "cache")) == 2 * len(slow)


def doubled(package):
    """Let a kernel whose code SMALLER runs give twice what it did."""
    kernel = package / "kernels" / "cpu" / "rules.py"
    source = kernel.read_text()
    step = "    descend_row(here, gradient, real(rate, here), out, cols)\n"
    assert source.count(step) == 1
    kernel.write_text(source.replace(step, f"{step}    for j in range(cols):\n        out[j] *= 2\n"))


def sourceless(package):
    compileall.compile_dir(package, quiet=1, legacy=True)
    for source in package.rglob("*.py"):
        source.unlink()


def zipped(package):
    shutil.make_archive(str(package.parent / "archive"), "zip", package.parent, package.name)
    shutil.rmtree(package)


@pytest.mark.parametrize("without", few([sourceless, zipped], [sourceless]))
def test_without_sources_nothing_is_kept_and_no_other_version_s_code_runs(package, python, tmp_path, without, long):
    """Of .pyc files and archives, nothing tells whose machine code is theirs."""
    copy, environment = package
    environment |= {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    newer = tmp_path / "newer" / copy.name
    shutil.copytree(copy, newer)
    doubled(newer)
    # (The first leaves nothing behind; that the next has its own code is seen of one kind of package.)
    versions = [(copy, "36.0 "), (newer, "72.0 ")]
    for version, printed in versions if long or without is sourceless else versions[1:]:
        without(version)
        places = os.pathsep.join([str(version.parent), str(version.parent / "archive.zip")])
        assert python(SMALLER + SAID, **environment | {"PYTHONPATH": places}) == printed + "[] "
    assert not (tmp_path / "cache").exists()


RUNTIME = Path("kernels") / "runtime"


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (lambda copy: None, True),
        (lambda copy: (copy / "README").write_text("text"), True),
        (lambda copy: (copy / "__init__.py").write_text((copy / "__init__.py").read_text().replace("0.", "9.")), True),
        (lambda copy: (copy / "kernels" / "cpu" / "vectors.py").unlink(), True),
        (lambda copy: (copy / "kernels" / "cpu" / "vectors.pyc").write_bytes(b""), False),
        (lambda copy: (copy / RUNTIME / "tasks.abi3.so").write_bytes(b""), False),
        (
            lambda copy: (copy / "kernels" / "runtime" / "threads.py").rename(
                copy / "kernels" / "runtime" / "threads.pyc"
            ),
            False,
        ),
        (lambda copy: shutil.rmtree(copy / "kernels"), False),
        (lambda copy: (copy / "__init__.py").unlink(), False),
    ],
)
def test_the_key_is_of_the_version_and_of_all_that_holds_code(package, monkeypatch, change, kept):
    copy, _ = package
    monkeypatch.setattr(cache, "PACKAGE", copy)
    before, names = cache._digest(), sorted(path.name for path in copy.rglob("*.py"))
    assert before == cache._digest_at_import
    texts = [path.read_bytes() for path in sorted(copy.rglob("*.py"))]
    change(copy)
    same = names == sorted(path.name for path in copy.rglob("*.py"))
    same = same and texts == [path.read_bytes() for path in sorted(copy.rglob("*.py"))]
    after = cache._digest()
    assert (after == before) == (kept and same)
    assert (after is None) == (not kept)


# Private names of Numba and llvmlite, removed before the package is imported.
REMOVED = """
import threading, warnings
import llvmlite.binding.ffi, numba.core.caching, numba.core.codegen, numba.core.compiler, numba.core.compiler_lock
import numba.core.serialize

def rename(lock):
    # As a later version might: its methods use another name, and work.
    lock.renamed = lock.__dict__.pop("_lock")
    kind = type(lock)
    kind.acquire = kind.__enter__ = lambda self: self.renamed.acquire() and None
    kind.release = kind.__exit__ = lambda self, *_: self.renamed.release()
    kind.is_locked = lambda self: self.renamed._is_owned()
{removal}
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    import fastdeblur
    from fastdeblur.kernels.runtime import privates
{imported}
    print(small(), end=" ")
said = [str(each.message) for each in said if each.category is RuntimeWarning]
assert len(said) == {warnings}, said
assert all("{name}" in each and "{effect}" in each for each in said), said
"""


@pytest.mark.parametrize(
    ("removal", "name", "effect"),
    [
        ("", "", ""),
        # Numba itself needs the first.  One of each kind always; that all are there is what the case without one sees.
        (f"del {privates.CACHE[1]}", privates.CACHE[1], "compiles it anew"),
        *[pytest.param(f"del {name}", name, "compiles it anew", marks=pytest.mark.long) for name in privates.CACHE[2:]],
        ("rename(numba.core.compiler_lock.global_compiler_lock)", privates.COMPILER_LOCK, "may hang"),
        pytest.param("rename(llvmlite.binding.ffi.lib._lock)", privates.LLVM_LOCK, "may hang", marks=pytest.mark.long),
    ],
)
def test_without_a_private_name_there_is_one_warning(python, tmp_path, removal, name, effect):
    script = REMOVED.replace("{removal}", "import sys\n" + removal).replace("{warnings}", str(int(bool(removal))))
    script = script.replace("{name}", name).replace("{effect}", effect)
    script = script.replace("{imported}", textwrap.indent(IMPORTED, "    "))
    folder = tmp_path / "cache"
    assert python(script + FORKED, NUMBA_CACHE_DIR=str(folder)) == "36.0 child "
    assert bool(entries(folder)) == (name not in privates.CACHE)


@pytest.mark.parametrize("gone", ["numba.gone", "numba.core.serialize.gone", "llvmlite.binding.ffi.lib.gone._lock"])
def test_a_private_name_that_is_gone_is_none(monkeypatch, gone):
    monkeypatch.setattr(privates, "CACHE", (*privates.CACHE, gone))
    monkeypatch.setattr(privates, "_warned", set())
    assert privates.find(gone) is None
    with pytest.warns(RuntimeWarning, match=gone):
        assert not privates.can_cache()
    with pytest.warns(RuntimeWarning, match=f"{gone}: a process forked"):
        assert isinstance(privates.lock(gone), type(threading.RLock()))


def test_a_cache_that_numba_would_not_ask_is_said(monkeypatch):
    monkeypatch.setattr(privates, "_warned", set())
    with pytest.warns(RuntimeWarning, match=r"no numba\.object\._cache: .* compiles it anew"):
        privates.set_cache(object(), None)
    privates.set_cache(object(), None)  # once


def test_only_our_unused_folders_are_removed(tmp_path):
    names = ["fastdeblur-0123456789abcdef", "fastdeblur-fedcba9876543210", "fastdeblur-photographs", "other"]
    for name in names:
        (tmp_path / name).mkdir()
        if name != names[1]:
            os.utime(tmp_path / name, (0, 0))
    cache._remove_unused(tmp_path / names[1])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])


def test_processes_that_start_cold_together(preloaded, tmp_path):
    """They compile the same functions at the same moment."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def together():
        started = [preloaded.start(SMALLER, cwd=tmp_path, environment=environment) for _ in range(3)]
        return [(done.returncode, done.stdout) for done in [each.end() for each in started]]

    assert together() == [(0, "36.0 ")] * 3
    first = entries(tmp_path / "cache")
    assert together() == [(0, "36.0 ")] * 3
    assert entries(tmp_path / "cache") == first
    assert not [path for path in Path(tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".nbc"]


def test_environment_is_what_the_tests_think():
    assert os.environ.get("FASTDEBLUR_CACHE") != "0", "the suite would compile everything in every process"
