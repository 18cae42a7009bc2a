"""Command line ``fastdeblur``: its commands, errors and signals."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import logging
import os
import platform
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__, api, notebook
from ..kernels.cpu import simd
from ..kernels.runtime import cache
from ..operators import costs
from ..operators.blur import DEVICES
from . import deblur, plots, psf

PACKAGES = ("numba", "numpy", "scipy", "scikit-image", "rocket-fft", "llvmlite")
# Processor features that decide how fast the kernels are.
FEATURES = ("sse4.2", "avx", "avx2", "fma", "avx512f", "avx512vl", "neon", "sve")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str or None
        Its arguments; None is those of the process.

    Returns
    -------
    int
        The exit status: 0, 2 after an error, 130 after an interrupt, 143 when told to terminate, 129 when its terminal
        has gone.
    """
    words = [*map(_unlike_a_flag, sys.argv[1:] if argv is None else argv)]
    with _every_name_printable():
        return _main(_parser().parse_args(words))


def _main(arguments: argparse.Namespace) -> int:
    with _messages_in_one_line():
        try:
            with _ending_in_order():
                arguments.run(arguments)
        except _Terminated as end:
            _say("terminated")
            return 128 + end.number
        except KeyboardInterrupt:
            _say("interrupted")
            return 130
        except MemoryError as error:
            _say(f"error: out of memory. {error}")
            return 2
        except (ValueError, TypeError, OverflowError, OSError, ImportError, RuntimeError) as error:
            _say(f"error: {error}")
            return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastdeblur", description="Sharp images from blurred ones when the blur is known.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"fastdeblur {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    demo = commands.add_parser(
        "demo",
        help="blur and restore a photograph",
        description="Blur a photograph, restore it by 500 steps of gradient descent, and draw what happened.",
        allow_abbrev=False,
    )
    demo.add_argument("--scale", type=_scale, default="1/3", help="of the photograph's 512x512 pixels (default: 1/3)")
    demo.add_argument(
        "--out",
        type=Path,
        default=Path("fastdeblur-demo"),
        metavar="FOLDER",
        help="where pictures go (default: %(default)s)",
    )
    demo.add_argument("--device", choices=DEVICES, default="cpu", help="where to compute (default: %(default)s)")
    demo.set_defaults(run=_demo)

    deblur.add(commands)
    psf.add(commands)

    calibrate = commands.add_parser(
        "calibrate",
        help="measure which of the ways to convolve is fastest here",
        description="Measure what path='auto' goes by on this machine, for two minutes in which nothing else should "
        "use it, and keep it in your cache folder. It may change which path is taken, and with it last digits.",
        allow_abbrev=False,
    )
    calibrate.add_argument("--dry", action="store_true", help="only print what was measured")
    calibrate.set_defaults(run=_calibrate)

    info = commands.add_parser("info", help="versions, processor, threads, cache and GPU", allow_abbrev=False)
    info.set_defaults(run=_info)
    return parser


def _unlike_a_flag(word: str) -> str:
    """A word of the command line; a space before numbers such as -1e-3 and -inf, which argparse takes for flags."""
    if re.fullmatch(r"-(\d+|\d*\.\d+)", word) or not word.startswith("-"):  # it knows these
        return word
    with contextlib.suppress(ValueError):
        float(word)
        return f" {word}"
    return word


def _scale(text: str) -> float:
    with contextlib.suppress(ValueError, ZeroDivisionError):
        scale = float(Fraction(text))
        if 0 < scale <= 4:
            return scale
    raise argparse.ArgumentTypeError(f"must be a number or fraction above 0 and at most 4; got {text!r}")


def _demo(arguments: argparse.Namespace) -> None:
    plots.require()
    from skimage import color, data, metrics, transform

    folder = arguments.out
    folder.mkdir(parents=True, exist_ok=True)
    photograph = color.rgb2gray(data.astronaut())
    original = transform.rescale(photograph, arguments.scale, mode="constant", anti_aliasing=False)
    psf = notebook.gaussian(13, 1, 3)
    blurred = notebook.convolve(original, psf)
    print(f"a photograph of {original.shape[0]}x{original.shape[1]} pixels, blurred by a 13x13 Gaussian")

    options: dict[str, Any] = {"data": "root", "mu": 0.2, "boundary": "constant", "solver": "gd", "learning_rate": 0.5}
    options |= {"tol": 0, "init": "normal", "seed": 0, "device": arguments.device}
    api.solve(blurred, psf, max_iter=1, **options)  # what has yet to be compiled is not to be timed
    result = api.solve(blurred, psf, max_iter=500, progress=True, **options)
    for step in range(0, result.n_iter + 1, 100):
        print(f"step {step}: loss {result.history[step]:.6g}")
    before, after = (
        float(metrics.peak_signal_noise_ratio(original, image, data_range=1)) for image in (blurred, result.image)
    )
    print(f"PSNR: {before:.2f} dB blurred, {after:.2f} dB restored")
    print(f"path: {result.path}, {result.seconds:.2f} s" + (" on the GPU" if result.device == "cuda" else ""))

    compared = [
        ("original", original),
        (f"blurred, {before:.1f} dB", blurred),
        (f"restored, {after:.1f} dB", result.image),
    ]
    plots.save(plots.psf(psf), folder / "psf.png")
    plots.save(plots.loss(result.history, r"$\sqrt{\|Ax-b\|^2/2} + 0.2\,\sqrt{\|Dx\|^2/2}$"), folder / "loss.png")
    plots.save(plots.comparison(compared), folder / "comparison.png")
    print(f"pictures: {', '.join(str(folder / name) for name in ('psf.png', 'loss.png', 'comparison.png'))}")


def _calibrate(arguments: argparse.Namespace) -> None:
    from ..operators import calibration

    if not arguments.dry and costs.user_file() is None:
        raise ValueError("there is no cache folder to keep costs in (FASTDEBLUR_CACHE is 0): --dry only prints")
    constants = calibration.measure(print)
    if not arguments.dry:
        print(f"\nwritten to {costs.write_user_table(constants)}")


def _info(arguments: argparse.Namespace) -> None:
    present = simd.cpu_features()
    facts = {
        "fastdeblur": __version__,
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
        "processor": _processor(),
        "features": " ".join(name for name in FEATURES if name in present) or "none known",
        **{f"registers {name}": _registers(name) for name in ("float32", "float64")},
        "threading layer": _threading_layer(),
        "threads": _threads(),
        "cache": str(next(iter(cache.folders()), "off")),
        "costs": _costs(),
        "for cuda": ", ".join(_cuda_packages()),
        "cuda": _cuda(),
    }
    width = max(map(len, facts)) + 1
    for name, fact in facts.items():
        print(f"{name + ':':{width}} {fact}")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _processor() -> str:
    """The processor's name, and what LLVM calls it."""
    import llvmlite.binding

    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{name} ({llvmlite.binding.get_host_cpu_name()})"


def _registers(dtype: str) -> str:
    shape = simd.register_shape(np.dtype(dtype))
    return f"{shape.rows}x{shape.columns} vectors of {shape.lanes}"


def _threading_layer() -> str:
    """Numba's threading layer, which it chooses at the first parallel launch."""
    import numba

    api.convolve(np.zeros((2048, 2048), np.float32), np.ones((5, 5), np.float32))
    try:
        return str(numba.threading_layer())
    except ValueError:  # a single thread: nothing was launched
        return "unknown"


def _threads() -> str:
    import numba

    return f"{numba.get_num_threads()} of {os.cpu_count()}"


def _costs() -> str:
    """The table that `path="auto"` goes by."""
    file = costs.user_file()
    if file is None or not file.exists():
        return "the package's (fastdeblur calibrate measures yours)"
    return str(file) if costs.OWN else f"the package's ({file} is another processor's, or damaged)"


def _cuda_packages() -> list[str]:
    """Packages that ``device="cuda"`` needs, with versions: CuPy goes by several names."""
    known = {each.metadata["Name"] for each in importlib.metadata.distributions()}
    cupys = sorted(name for name in known if name and (name == "cupy" or name.startswith("cupy-cuda")))
    versions = {name: _version(name) for name in ["numba-cuda", *(cupys or ["cupy"])]}
    return [f"{name} {'not installed' if version == 'unknown' else version}" for name, version in versions.items()]


def _cuda() -> str:
    """The name of the GPU."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from numba import cuda

            if not cuda.is_available():
                return "not found"
            name = cuda.get_current_device().name
            return name.decode() if isinstance(name, bytes) else str(name)
    except Exception:  # noqa: BLE001 -- whatever is wrong with a driver, there is no GPU to use
        return "not found"


class _Terminated(KeyboardInterrupt):
    """The process has been told to terminate, by the signal of that number."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number


@contextlib.contextmanager
def _ending_in_order() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP, end the command as Ctrl-C does: nothing half written stays."""
    known = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # Others belong to whoever handles them; nohup ignores SIGHUP.
    mine = [number for number in known if signal.getsignal(number) == signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        mine = []

    def end(number: int, _: Any) -> None:
        for each in mine:  # a terminal that closes says so twice: what is being cleaned up is not to be interrupted
            signal.signal(each, signal.SIG_IGN)
        raise _Terminated(number)

    for number in mine:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


def _say(message: str) -> None:
    """One line on stderr, whatever the message holds."""
    with contextlib.suppress(OSError):  # the terminal may have gone
        print("fastdeblur:", " ".join(message.split()), file=sys.stderr)


@contextlib.contextmanager
def _every_name_printable() -> Iterator[None]:
    """Escape what a terminal has no characters for: names of files that it cannot show are no reason to fail."""
    before = [(stream, stream.errors) for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    errors = (OSError, ValueError)  # it is flushed, which may fail, or has been closed
    for stream, _ in before:
        with contextlib.suppress(*errors):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors_before in before:
            with contextlib.suppress(*errors):
                stream.reconfigure(errors=errors_before)


@contextlib.contextmanager
def _messages_in_one_line() -> Iterator[None]:
    """Show warnings as lines of this command, each once, and keep the readers' logs off the screen."""
    said: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in said:  # what is true of one page of a stack often is of all
            said.add(str(message))
            _say(f"warning: {message}")

    logs = {log: log.level for log in map(logging.getLogger, ("tifffile", "PIL", "zarr"))}
    for log in logs:
        log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            for category in (UserWarning, RuntimeWarning):
                warnings.simplefilter("always", category)
            warnings.showwarning = show
            yield
    finally:
        for log, level in logs.items():
            log.setLevel(level)
