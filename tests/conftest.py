import ctypes
import gc
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

# Its threads go on waiting for work after a product, on the cores that the kernels need.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# So do OpenMP's, which other processes of tests need.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Where bytecode is not written, each of the tests' processes compiles all modules, for half a second.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def has_gpu():
    try:
        driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
    except OSError:
        return False
    usable = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    return usable and all(importlib.util.find_spec(name) for name in ("numba_cuda", "cupy"))


# Where there is no GPU, Numba's simulator runs what is meant for one.
if not has_gpu():
    os.environ.setdefault("NUMBA_ENABLE_CUDASIM", "1")

import numpy as np  # noqa: E402 (not before the environment is set)
import pytest  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))  # for `import naive`
if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    import simulator  # noqa: F401 (before anything imports numba.cuda)
import kernels  # noqa: E402
from preloaded import Server  # noqa: E402


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """Processes that share the tests: one a core, for much of the time is compiling; benchmarks run alone."""
    return 0 if config.option.benchmark_only else min(os.cpu_count() or 1, 4)


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="run the long sweeps, of which the suite has quick versions")


def _claims(config):
    """A folder in which the processes that share the tests mark what each compiles."""
    return Path(tempfile.gettempdir(), f"fastdeblur-tests-{config.workerinput['testrunuid']}")


def pytest_sessionstart(session):
    """Compile the kernels for all tests: each by one of the processes that share them, not by all of them."""
    config = session.config
    if hasattr(config, "workerinput") and not config.option.keyword and all(os.path.isdir(arg) for arg in config.args):
        kernels.compile_unclaimed(_claims(config))


def pytest_sessionfinish(session):
    if hasattr(session.config, "workerinput"):
        shutil.rmtree(_claims(session.config), ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session):
    """Modules and tests stay to the end: the collector of garbage need not look through them again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_configure(config):
    config.addinivalue_line("markers", "long: a case of the long sweeps, run with --long only")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    if not config.getoption("--long"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
        items[:] = [item for item in items if not item.get_closest_marker("long")]


@pytest.fixture(scope="session")
def long(request):
    """Whether all combinations are asked for, not only enough for every pair."""
    return request.config.getoption("--long")


@pytest.fixture(scope="session", autouse=True)
def _signals_of_children():
    """Under ``nohup``, or in the background of a script, signals are ignored, and would be in the tests' processes.

    A handler is not handed on to them, and one that does nothing leaves this process as it is.
    """
    for name in ("SIGINT", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture
def rng():
    return np.random.default_rng(12345)


@pytest.fixture
def photograph():
    """A disk, the same blurred and with noise, and the psf."""
    import fastdeblur as fd  # not before the environment is set

    rng = np.random.default_rng(3)
    down, across = np.mgrid[:96, :120]
    sharp = ((down - 50) ** 2 + (across - 60) ** 2 < 900).astype(float)
    psf = fd.psf.gaussian(9, 1.5)
    return sharp, fd.convolve(sharp, psf) + 0.01 * rng.standard_normal(sharp.shape), psf


@pytest.fixture(scope="session")
def preloaded():
    """What runs scripts in processes of their own without importing Numba and SciPy in each."""
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def python(tmp_path, preloaded):
    """Run a script in a process of its own, in an empty folder; returns what it printed."""

    def run(script, **environment):
        done = preloaded.run(script, cwd=tmp_path, environment={**os.environ, **environment})
        assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
