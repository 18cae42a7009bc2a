"""The ways of embedding fastdeblur that stress.py tries: functions of the right bits and of how often to try.

What they return must be those bits.
"""

import faulthandler
import hashlib
import importlib.util
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

THREADS = 3
# Seconds that a forked child may take.
CHILD = 30
PSF_SIZE = 9


class Skipped(Exception):
    """Why a case cannot be run here."""


def image(rows=200, cols=450):
    return np.random.default_rng(0).random((rows, cols), np.float32)


def job(**options):
    """Bits, as a number, of what runs all kinds of code in threads."""
    import fastdeblur as fd

    psf = fd.psf.gaussian(PSF_SIZE, 2)
    digest = hashlib.sha256()
    for path in ("direct", "fft"):
        digest.update(fd.convolve(image(), psf, path=path, **options).tobytes())
    for solver in ({"solver": "gd"}, {"solver": "exact"}):
        result = fd.solve(image(), psf, mu=0.1, max_iter=3, tol=0, **solver, **options)
        digest.update(result.image.tobytes())
    return digest.hexdigest()


def transforms(length):
    """Bits of what makes plans for transforms of a length."""
    import fastdeblur as fd

    blurred = image(30, 30 + length)
    return hashlib.sha256(fd.deblur(blurred, fd.psf.gaussian(5, 1), boundary="reflect").tobytes()).hexdigest()


def slots(workers=None):
    """Threads that a large piece of work gets here."""
    from fastdeblur.kernels.runtime import threads as sharing

    return sharing.count(workers, 1000, 1.0)


def job_and_slots(_=None):
    return job(), slots()


def in_child(work):
    """What a function returns in a forked child."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            faulthandler.register(signal.SIGALRM, chain=True)  # (The parent's watchdog would hang its child's.)
            signal.alarm(CHILD)
            os.write(writer, work().encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, f"a child ended with status {status}"
    return answer


@contextmanager
def busy(*works):
    """Other threads do these, each given the number of its turn, over and over."""
    done, failed = threading.Event(), []

    def repeat(work):
        turn = 0
        while not done.is_set():
            try:
                work(turn)
            except BaseException as error:  # noqa: BLE001 -- shown below
                failed.append(error)
                return
            turn += 1

    threads = [threading.Thread(target=repeat, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not failed, failed


def at_once(count, work):
    """What a function returns in each of some threads that begin together."""
    start = threading.Barrier(count)

    def begin(_):
        start.wait()
        return work()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def fork_before(bits, times):
    """A child forked before the first use."""
    return [in_child(job)]


def first_calls(bits, times):
    """First calls from six threads at once."""
    return at_once(6, job)


def threads(bits, times):
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda _: job(), range(8 * times)))


def workers(bits, times):
    assert [slots(count) for count in (None, 1, 2, 100)] == [THREADS, 1, 2, THREADS]
    return [job(workers=count) for count in (1, 2, 3, 100, None)]


def callback(bits, times):
    """Calls from a callback of a solve in threads, in the middle of its steps."""
    import fastdeblur as fd

    found = []
    for solver in ("gd", "exact"):
        fd.solve(image(), fd.psf.gaussian(5, 1), mu=0.1, solver=solver, max_iter=2, tol=0,
                 callback=lambda state: found.append(job()))  # fmt: skip
    return found


def fork_after(bits, times):
    """Children, and a child's child."""
    return [job(), in_child(job), in_child(lambda: in_child(job)), job()]


def fork_busy(bits, times):
    """Children forked while other threads compute, in threads and in one."""
    with busy(lambda _: job(), lambda _: job(), lambda _: job(workers=1)):
        return [in_child(job) for _ in range(2 if times == 1 else 3 * times)]


def fork_transforms(bits, times):
    """Children forked while other threads make plans for transforms."""
    for length in (31, 37):
        transforms(length)
    expected = transforms(41)
    with busy(*[lambda turn, k=k: transforms(turn * 3 + k) for k in range(3)]):
        for _ in range(4 if times == 1 else 20 * times):
            assert in_child(lambda: transforms(41)) == expected
    return []


def fork_callback(bits, times):
    """A child forked from a callback, which computes; the solve goes on in both."""
    import fastdeblur as fd

    found = []

    def fork(state):
        if state.iteration == 2:
            found.append(in_child(job))

    psf = fd.psf.gaussian(5, 1)
    plain = fd.solve(image(), psf, mu=0.1, solver="gd", max_iter=4, tol=0).image
    shown = fd.solve(image(), psf, mu=0.1, solver="gd", max_iter=4, tol=0, callback=fork).image
    assert np.array_equal(plain, shown)
    return found


def fork_threads(bits, times):
    """Threads that fork at once, while others compute."""
    with busy(lambda _: job()):
        return [answer for _ in range(times) for answer in at_once(4, lambda: in_child(job))]


def fork_pools(bits, times):
    found = []
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        found += [answer for answer, threads in pool.map(job_and_slots, range(4)) if threads == 1]
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        found += [answer for answer, threads in pool.map(job_and_slots, range(4)) if threads == 1]
    assert len(found) == 8
    return found


def interrupt(bits, times):
    """Ctrl-C, while other threads compute too."""
    import fastdeblur as fd

    signal.signal(signal.SIGINT, signal.default_int_handler)
    options = {"max_iter": 10**9, "tol": 0, "mu": 0.1}
    psf, found = fd.psf.gaussian(PSF_SIZE, 2), []
    for solver in ({"solver": "gd"}, {"prior": "tv"}, {"solver": "momentum", "workers": 1}):
        fd.solve(image(), psf, **{**options, **solver, "max_iter": 3})
    with busy(lambda _: job(workers=1)):
        for turn in range(3 * times):
            solver = ({"solver": "gd"}, {"prior": "tv"}, {"solver": "momentum", "workers": 1})[turn % 3]
            sent = []

            def send(sent=sent):
                sent.append(time.monotonic())
                os.kill(os.getpid(), signal.SIGINT)

            timer = threading.Timer(np.random.default_rng(turn).uniform(0.05, 0.3), send)
            try:
                timer.start()
                while True:
                    fd.solve(image(), psf, **options, **solver)
            except KeyboardInterrupt:
                took = time.monotonic() - sent[0]
                assert took < 1, f"{took:.2f} s until it stopped"
            timer.join()
            found += [job(), *at_once(1, job)]
            assert slots() == THREADS
    return found


def interrupt_loading(bits, times):
    """Ctrl-C while code is compiled, or loaded: in children that have used nothing yet."""

    def work(turn):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            threading.Timer(np.random.default_rng(turn).uniform(0, 1), os.kill, [os.getpid(), signal.SIGINT]).start()
            while True:
                job()
        except KeyboardInterrupt:
            return job()

    return [in_child(lambda turn=turn: work(turn)) for turn in range(2 * times)]


def spawn(bits, times):
    return others("spawn", processes=min(times, 2))  # each imports everything


def forkserver(bits, times):
    return others("forkserver", preload=["fastdeblur"], processes=min(times, 2))


def others(method, preload=None, processes=2):
    context = multiprocessing.get_context(method)
    if preload:
        context.set_forkserver_preload(preload)
    with context.Pool(processes) as pool:
        found = pool.map(job_and_slots, range(4))
    assert {threads for _, threads in found} == {THREADS}, found
    return [answer for answer, _ in found]


def needs(package):
    if importlib.util.find_spec(package) is None:
        raise Skipped(f"no {package}")


def dask_threads(bits, times):
    needs("dask")
    import dask

    return list(dask.compute(*[dask.delayed(job)() for _ in range(4 * times)], scheduler="threads"))


def dask_processes(bits, times):
    needs("dask")
    import dask

    return list(dask.compute(*[dask.delayed(job)() for _ in range(2)], scheduler="processes", num_workers=2))


def dask_worker(bits, times):
    """A worker with two threads, within this process: its tasks get no more."""
    return cluster(processes=False)


def dask_nanny(bits, times):
    """A worker with two threads in a process of its own."""
    return cluster(processes=True)


def cluster(processes):
    needs("distributed")
    from distributed import Client

    with Client(n_workers=1, threads_per_worker=2, processes=processes, dashboard_address=None) as client:
        found = client.gather([client.submit(job_and_slots, k) for k in range(4)])
        asked = client.submit(slots, THREADS).result()
    assert {threads for _, threads in found} == {2}, found
    assert (asked, slots()) == (THREADS, THREADS)
    return [answer for answer, _ in found]


def joblib_threads(bits, times):
    needs("joblib")
    import joblib

    return joblib.Parallel(3, backend="threading")(joblib.delayed(job)() for _ in range(4 * times))


def joblib_loky(bits, times):
    needs("joblib")
    import joblib

    with joblib.parallel_config("loky", inner_max_num_threads=2):
        found = joblib.Parallel(2)(joblib.delayed(job_and_slots)() for _ in range(4))
    assert {threads for _, threads in found} == {2}, found
    return [answer for answer, _ in found]


def joblib_forks(bits, times):
    needs("joblib")
    import joblib

    return joblib.Parallel(2, backend="multiprocessing")(joblib.delayed(job)() for _ in range(4))


def numba_beside(bits, times):
    """Another package's parallel code in another thread."""
    import numba

    @numba.njit(parallel=True, nogil=True)
    def add(numbers):
        total = 0.0
        for k in numba.prange(len(numbers)):
            total += numbers[k]
        return total

    refuse_workqueue()
    numbers = np.ones(100_000)
    add(numbers)
    with busy(lambda _: add(numbers)):
        return [job() for _ in range(5 * times)]


def numba_within(bits, times):
    """A call from another package's parallel code."""
    import numba

    found = []

    @numba.njit(parallel=True, nogil=True)
    def call(count):
        for _ in numba.prange(count):
            with numba.objmode():
                found.append(job())

    refuse_workqueue()
    call(4)
    return found


def refuse_workqueue():
    import numba

    job()
    if numba.threading_layer() == "workqueue":
        raise Skipped("Numba's workqueue layer takes one piece of parallel code at a time")
