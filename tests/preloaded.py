"""Scripts in processes forked from one that has loaded what the package imports, but never the package itself.

Most of what a small script takes in a fresh interpreter is the import of Numba and SciPy.  A fork of a process that
has imported them, and nothing else, has no other thread, has compiled nothing, and imports the package anew: to the
package it is no forked child.  Where there is no fork, and for what has to be seen from the first import on, `fresh`
is an interpreter of its own.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
from pathlib import Path

# By the time they have been imported, and Numba knows its target, both have made up their minds about these.
FIRST = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_OPT", "OPENBLAS_NUM_THREADS")
# What the package imports of others.
LOADED = ("numba", "llvmlite.binding", "scipy.fft", "scipy.special", "rocket_fft")


def encoding_of(environment):
    """How the streams of a process are encoded, and what it does with what they cannot show."""
    encoding, _, errors = environment.get("PYTHONIOENCODING", "").partition(":")
    return encoding or "utf-8", errors or "strict"


def fresh(script, *arguments, cwd, environment=None, timeout=120):
    """The ended process of a script in an interpreter of its own."""
    return Started(None, script, arguments, cwd, environment).end(timeout)


def file_as_script(path):
    """A script that runs one of this folder's files."""
    run = f"runpy.run_path({str(path)!r}, run_name='__main__')"
    return f"import runpy, sys\nsys.path.append({str(path.parent)!r})\n{run}"


class Started:
    """A script that runs: in a fork of the server's, or without one in an interpreter of its own."""

    def __init__(self, server, script, arguments, cwd, environment):
        environment = dict(os.environ if environment is None else environment)
        self._server, self._command = server, [script, *arguments]
        self._folder, self._encoding = tempfile.mkdtemp(), encoding_of(environment)[0]
        if server is not None:
            request = {"script": script, "arguments": arguments, "cwd": str(cwd), "environment": environment}
            self._pid = server.ask(request | {"folder": self._folder}, 60)
            return
        with Path(self._folder, "1").open("wb") as out, Path(self._folder, "2").open("wb") as err:
            command = [sys.executable, "-c", *self._command]
            self._process = subprocess.Popen(
                command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
            self._pid = self._process.pid

    def line(self, timeout=60):
        """The first line that it prints."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            said = self._said("1")
            if "\n" in said:
                return said[: said.index("\n") + 1]
            time.sleep(0.002)
        raise AssertionError(f"nothing printed within {timeout} s")

    def send_signal(self, number):
        os.kill(self._pid, number)

    def end(self, timeout=120):
        """The ended process, as `subprocess.run` gives it; it is killed if it does not end in time."""
        try:
            status = self._status(timeout)
            if status is None:
                os.kill(self._pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
                self._status(60, again=True)
                raise AssertionError(f"no end within {timeout} s\n{self._said('1')}\n{self._said('2')}")
            return subprocess.CompletedProcess(self._command, status, self._said("1"), self._said("2"))
        finally:
            shutil.rmtree(self._folder)

    def _status(self, timeout, again=False):
        """How it ended, or None if it has not in time."""
        if self._server is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self._process.wait(timeout)
            return None
        answer = self._server.answer(timeout) if again else self._server.ask({"wait": self._pid}, timeout)
        if answer is None:
            return None
        status, self._server.seconds = answer
        return status

    def _said(self, name):
        path = Path(self._folder, name)
        return path.read_text(encoding=self._encoding) if path.exists() else ""


class Server:
    """The process that forks; the first script starts it."""

    def __init__(self):
        self._process, self.seconds = None, 0.0

    def start(self, script, *arguments, cwd, environment=None):
        """Start a script."""
        given = os.environ if environment is None else environment
        if not can_fork() or any(os.environ.get(name) != given.get(name) for name in FIRST):
            return Started(None, script, arguments, cwd, environment)
        if self._process is None:
            pipe, command = subprocess.PIPE, [sys.executable, __file__]
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True)
        return Started(self, script, arguments, cwd, environment)

    def run(self, script, *arguments, cwd, environment=None, timeout=120):
        """The ended process of a script, as `subprocess.run` gives it."""
        return self.start(script, *arguments, cwd=cwd, environment=environment).end(timeout)

    def ask(self, request, timeout):
        """The answer to a request, or None if there is none in time."""
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        return self.answer(timeout)

    def answer(self, timeout):
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            return None
        line = self._process.stdout.readline()
        assert line, "the process that forks has ended"
        return json.loads(line)

    def stop(self):
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait()
            self._process = None


def can_fork():
    return sys.platform.startswith("linux")


def load():
    """Import what takes long, and let Numba register what it can compile, which takes as long again."""
    for name in LOADED:
        importlib.import_module(name)
    from numba.core.registry import cpu_target

    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()


def serve():
    """Fork for each script, and return what was asked for in the child."""
    answers = os.dup(1)
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if "wait" in request:
            _, status, usage = os.wait4(request["wait"], 0)
            answer = os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
        else:
            answer = os.fork()
            if answer == 0:
                os.close(answers)
                return request
        os.write(answers, json.dumps(answer).encode() + b"\n")
    sys.exit()


def become(request, own):
    """Let this process look like an interpreter that was given the script; `own` is what it had in sys.path."""
    from numba.core import config

    os.chdir(request["cwd"])
    sys.stdin.close()
    for number, name in enumerate((os.devnull, "1", "2")):
        file = os.open(os.path.join(request["folder"], name), os.O_RDWR | os.O_CREAT)
        if file != number:
            os.dup2(file, number)
            os.close(file)
    sys.stdin = open(0)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(request["environment"])
    encoding, errors = encoding_of(os.environ)
    sys.stdout.reconfigure(encoding=encoding, errors=errors)
    sys.stderr.reconfigure(encoding=encoding)
    more = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = ["", *more, *own]
    sys.path_importer_cache.clear()
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.argv = ["-c", *request["arguments"]]
    config.reload_config()


def execute(script):
    """Run the script as the main module, and end."""
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    status = 0
    try:
        exec(compile(script, "<string>", "exec"), main.__dict__)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:  # noqa: BLE001 -- as an interpreter shows it
        traceback.print_exc()
        status = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if status == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(status)  # to take apart all that was imported, object by object, takes longer than most scripts


if __name__ == "__main__":
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    load()
    assert not {"fastdeblur", "numba.cuda"} & set(sys.modules)
    gc.freeze()  # else the first collection in each child touches, and copies, all of it
    request = serve()
    become(request, [path for path in sys.path[1:] if path not in before])
    execute(request["script"])
