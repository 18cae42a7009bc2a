"""The quick version of stress.py, and what forks and interrupts may not leave behind."""

import functools
import gc
import importlib.util
import os
import signal
import sys
import threading
import time

import embeddings
import numpy as np
import pytest
import stress

import fastdeblur as fd
from fastdeblur.kernels.runtime import forks, tasks
from fastdeblur.kernels.runtime import threads as sharing

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks")
main_thread = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="sends itself signals")


def in_quick_run(layer, case):
    return layer == "omp" or stress.CASES[case] not in stress.LAYERLESS


@functools.cache
def verdicts(layer, long):
    os.environ.setdefault("BITS", embeddings.job(workers=1))
    cases = [case for case in stress.QUICK_CASES[layer] if long or in_quick_run(layer, case)]
    return {name: verdict for name, verdict, _ in stress.verdicts(layer, cases)}


@linux
@pytest.mark.parametrize(
    ("layer", "case"),
    [
        pytest.param(layer, case, marks=() if in_quick_run(layer, case) else pytest.mark.long)
        for layer in stress.LAYERS
        for case in stress.QUICK_CASES[layer]
    ],
)
def test_the_bits_are_those_of_a_plain_call(layer, case, long):
    verdict = verdicts(layer, long)[case]
    if verdict.startswith("skipped"):
        pytest.skip(verdict)
    assert verdict == "ok", verdict


def is_free(lock):
    """Whether another thread can take a lock."""
    found = []

    def take():
        found.append(lock.acquire(timeout=1))
        if found[0]:
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return found[0]


def locks():
    return [forks.unforked(), forks.launching, forks.compiling, forks._registering]


@linux
def test_a_fork_waits_until_no_thread_is_within_code_that_forks_would_break():
    within, leave, order = threading.Event(), threading.Event(), []

    def work():
        with forks.unforked():
            within.set()
            leave.wait()
            order.append("left")

    thread = threading.Thread(target=work)
    thread.start()
    within.wait()
    threading.Timer(0.2, leave.set).start()
    assert embeddings.in_child(lambda: str(order)) == "['left']"
    thread.join()
    assert all(map(is_free, locks()))


@linux
def test_locks_of_threads_that_ended_are_forgotten():
    for _ in range(20):
        embeddings.at_once(3, lambda: forks.unforked().acquire() and forks.unforked().release())
    assert len(forks._registered) < 20


@linux
def test_an_interrupt_while_a_fork_waits_leaves_no_lock_held_and_comes_afterwards():
    held, leave = threading.Event(), threading.Event()

    def hold():
        with forks.launching:
            held.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
    threading.Timer(0.3, leave.set).start()
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
            assert leave.is_set()
            for _ in range(500):
                time.sleep(0.01)
    finally:
        signal.signal(signal.SIGINT, usual)
    thread.join()
    assert all(map(is_free, locks()))


@main_thread
def test_interrupts_at_any_moment_leave_no_lock_held_and_the_number_of_threads_as_it_was():
    """Far more of them than there are launches, so that some come between any two bytecodes."""
    image = np.ones((300, 300), np.float32)
    blur = fd.Blur(fd.psf.gaussian(7, 1), image.shape, dtype=image.dtype, path="direct")
    expected, threads, interrupts = blur.forward(image), sharing.count(None, 100, 1.0), 0

    def interrupt(*_):
        raise KeyboardInterrupt

    usual = signal.signal(signal.SIGALRM, interrupt)
    gc.disable()  # an interrupt in what others have it call is lost, and no other comes
    end = time.monotonic() + 1
    while time.monotonic() < end:
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-4 + 1e-6 * (interrupts % 500))
            while True:
                blur.forward(image)
        except KeyboardInterrupt:
            interrupts += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    gc.enable()
    signal.signal(signal.SIGALRM, usual)
    assert interrupts > 100
    assert all(map(is_free, locks()))
    assert sharing.count(None, 100, 1.0) == threads
    assert np.array_equal(blur.forward(image), expected)


def test_the_main_thread_loads_and_compiles_nothing_itself(python):
    """A Ctrl-C in the middle of that left behind code that ended the process."""
    script = f"""
import sys, threading
sys.path.insert(0, {os.path.dirname(__file__)!r})
import embeddings, fastdeblur
from numba.core.codegen import CPUCodeLibrary
finalize, loaded = CPUCodeLibrary._finalize_final_module, []  # of what is compiled, and of what is loaded
def watched(library):
    loaded.append(threading.current_thread() is threading.main_thread())
    finalize(library)
CPUCodeLibrary._finalize_final_module = watched
embeddings.job()
assert len(loaded) > 5 and not any(loaded), loaded
"""
    python(script)


def test_what_fails_to_compile_says_so_in_the_caller():
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tasks._undisturbed(fail)


def test_a_dask_worker_s_task_gets_its_threads_and_others_get_all(monkeypatch):
    def get_worker():
        if threading.current_thread() is threading.main_thread():
            raise ValueError("No worker found")
        return worker

    class worker:
        class state:
            nthreads = 1

    class distributed:
        pass

    distributed.get_worker = staticmethod(get_worker)
    monkeypatch.setitem(sys.modules, "distributed", distributed)
    assert sharing.count(None, 100, 1.0) == sharing.most_threads()
    assert set(embeddings.at_once(2, embeddings.slots)) == {1}
    assert set(embeddings.at_once(2, lambda: embeddings.slots(100))) == {sharing.most_threads()}


def test_dask_is_not_imported(python):
    python("import fastdeblur as fd, numpy as np, sys; fd.convolve(np.ones((400, 400)), np.ones((9, 9)) / 81)\n"
           "assert not {'dask', 'distributed', 'joblib'} & set(sys.modules)")  # fmt: skip


@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="no distributed")
def test_the_share_is_known_in_less_than_ten_microseconds():
    import distributed  # noqa: F401

    def seconds():
        began = time.perf_counter()
        sharing._of_dask_worker()
        return time.perf_counter() - began

    assert min(seconds() for _ in range(2000)) < 10e-6
