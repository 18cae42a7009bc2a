"""The project's targets, on this machine: ``python -m benchmarks.targets``.

Prints what each job takes, as a share of a float32 product of 2048 x 2048 matrices measured in
the same run, and how far it is from the machine's limits.  The exit status is 1 if one is missed.
``--readme`` also puts the table into README.md.
"""

import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import llvmlite.binding
import numba
import numpy as np
import scipy

import fastdeblur as fd

from ._jobs import SIDE, TARGETS, Job, Target, matrix_product, stopwatch
from ._ratio import PRODUCT, Sample, best_samples

README = Path(__file__).resolve().parents[1] / "README.md"
FIRST_MARK = "<!-- speed: written by python -m benchmarks.targets --readme -->"
LAST_MARK = "<!-- end of speed -->"

# Of each of the two arrays of a copy; more than caches hold.
COPIED_MEGABYTES = 256
# Share of the threads' time that a job gets on a machine of its own, with its serial parts.
FREE = 0.8


def processor() -> str:
    """What the system calls the processor, and what Numba compiles for."""
    name = platform.processor() or platform.machine()
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        models = [line.partition(":")[2].strip() for line in listing.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return f"{name} ({numba.config.CPU_NAME or llvmlite.binding.get_host_cpu_name()})"


def product_threads() -> str:
    """Threads of the matrix product, if threadpoolctl is there to ask."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "unknown"
    counts = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return str(max(counts, default="unknown"))


def copies() -> dict[str, Job]:
    """Copies by one thread and by as many as the kernels have; which is faster depends on the machine."""
    source = np.ones(COPIED_MEGABYTES * 10**6 // 4, np.float32)
    target, threads = np.zeros_like(source), numba.get_num_threads()
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    pool = ThreadPoolExecutor(threads)
    return {
        "copy": stopwatch(lambda: np.copyto(target, source)),
        "copy in threads": stopwatch(lambda: list(pool.map(lambda part: np.copyto(*part), parts))),
    }


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--readme"]):
        print("usage: python -m benchmarks.targets [--readme]", file=sys.stderr)
        return 2
    jobs = {name: target.prepare() for name, target in TARGETS.items()}
    best = best_samples({PRODUCT: matrix_product(), **copies(), **jobs})
    product = best[PRODUCT].seconds
    lines = [*machine(), *table(best)]
    print("\n".join(lines))
    if min(best[name].cores for name in [PRODUCT, *TARGETS]) < FREE * numba.get_num_threads():
        print("\nOthers use the processor (see cores): run this again when they do not.")
    if arguments:
        write_readme(lines)
    return int(any(best[name].seconds > target.share * product for name, target in TARGETS.items()))


def machine() -> list[str]:
    """The processor and the libraries."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return [
        processor(),
        f"{numba.get_num_threads()} threads ({numba.threading_layer()}), matrix product {product_threads()}",
        f"fastdeblur {fd.__version__}, numba {numba.__version__}, numpy {np.__version__} ({blas['name']} "
        f"{blas['version']}), scipy {scipy.__version__}, Python {platform.python_version()}",
    ]


def table(best: dict[str, Sample]) -> list[str]:
    """The machine's limits, and each job beside them."""
    product = best[PRODUCT].seconds
    flops = 2 * SIDE**3 / product
    copied = 2 * COPIED_MEGABYTES * 1e6 / min(best["copy"], best["copy in threads"]).seconds
    lines = [
        f"{PRODUCT} {SIDE} x {SIDE}: {product * 1e3:.1f} ms, {flops / 1e9:.0f} GFLOP/s",
        f"copy, read and written: {copied / 1e9:.1f} GB/s",
        "",
        f"{'':28}{'ms':>8}{'share':>8}{'target':>8}  {'':7}{'cores':>6}{'GFLOP/s':>9}{'limit ms':>10}  reached",
    ]
    for name, target in TARGETS.items():
        took, cores = best[name]
        lines.append(
            f"{name:28}{took * 1e3:8.2f}{took / product:8.3f}{target.share:8.3f}  "
            f"{'ok' if took <= target.share * product else 'MISSED':7}{cores:6.2f}"
            f"{2e-9 * target.multiply_adds / took:9.0f}{_limit(target, took, flops, copied)}"
        )
    return lines


def write_readme(lines: list[str]) -> None:
    """Put the table between README's two marks."""
    before, mark, rest = README.read_text(encoding="utf-8").partition(FIRST_MARK)
    _, last, after = rest.partition(LAST_MARK)
    if not (mark and last):
        raise ValueError(f"{README} has no {FIRST_MARK} ... {LAST_MARK}")
    block = "\n".join(["", "```", *lines, "```", ""])
    README.write_text(f"{before}{mark}{block}{last}{after}", encoding="utf-8")


def _limit(target: Target, took: float, flops: float, copied: float) -> str:
    """The least time that arithmetic and memory allow, and how much of that rate the job reaches."""
    arithmetic, memory = 2 * target.multiply_adds / flops, target.megabytes * 1e6 / copied
    limit, of = max((arithmetic, "the product's GFLOP/s"), (memory, "the copy's GB/s"))
    return f"{limit * 1e3:10.2f}  {limit / took:4.0%} of {of}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
