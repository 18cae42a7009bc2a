"""The project's targets beside what the machine can do at most, measured in the same run."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np

from ._jobs import SIDE, TARGETS, Job, Target, matrix_product, stopwatch
from ._ratio import PRODUCT, ROUNDS, SAMPLES, best_samples

# Of each of the two arrays of a copy; more than caches hold.
COPIED_MEGABYTES = 256
# Share of the threads' time that a job gets on a machine of its own, with its serial parts.
FREE = 0.8


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


def measured(rounds: int = ROUNDS, samples: int = SAMPLES) -> dict[str, Any]:
    """The machine's two limits, and what each job takes of them."""
    jobs = {name: target.prepare() for name, target in TARGETS.items()}
    best = best_samples({PRODUCT: matrix_product(), **copies(), **jobs}, rounds, samples)
    product = best[PRODUCT].seconds
    flops = 2 * SIDE**3 / product
    copied = 2 * COPIED_MEGABYTES * 1e6 / min(best["copy"], best["copy in threads"]).seconds
    rows = []
    for name, target in TARGETS.items():
        took, cores = best[name]
        least, of = _least(target, flops, copied)
        rows.append(
            {
                "job": name,
                "ms": 1e3 * took,
                "share": took / product,
                "target": target.share,
                "cores": cores,
                "GFLOP/s": 2e-9 * target.multiply_adds / took,
                "limit ms": 1e3 * least,
                "of": of,
            }
        )
    return {
        "product ms": 1e3 * product,
        "product cores": best[PRODUCT].cores,
        "product GFLOP/s": flops / 1e9,
        "copy GB/s": copied / 1e9,
        "jobs": rows,
    }


def _least(target: Target, flops: float, copied: float) -> tuple[float, str]:
    """The least seconds that arithmetic and memory allow, and which of them it is."""
    arithmetic, memory = 2 * target.multiply_adds / flops, target.megabytes * 1e6 / copied
    return max((arithmetic, "the product's GFLOP/s"), (memory, "the copy's GB/s"))


def table(found: dict[str, Any]) -> list[str]:
    """The limits, and each job beside them."""
    lines = [
        f"{PRODUCT} {SIDE} x {SIDE}: {found['product ms']:.1f} ms, {found['product GFLOP/s']:.0f} GFLOP/s",
        f"copy, read and written: {found['copy GB/s']:.1f} GB/s",
        "",
        f"{'':28}{'ms':>8}{'share':>8}{'target':>8}  {'':7}{'cores':>6}{'GFLOP/s':>9}{'limit ms':>10}  reached",
    ]
    for row in found["jobs"]:
        lines.append(
            f"{row['job']:28}{row['ms']:8.2f}{row['share']:8.3f}{row['target']:8.3f}  "
            f"{'MISSED' if missed(row) else 'ok':7}{row['cores']:6.2f}{row['GFLOP/s']:9.0f}{row['limit ms']:10.2f}"
            f"  {row['limit ms'] / row['ms']:4.0%} of {row['of']}"
        )
    return lines


def missed(row: dict[str, Any]) -> bool:
    return bool(row["share"] > row["target"])


def disturbed(found: dict[str, Any]) -> bool:
    """Whether others used the processor."""
    cores = min(found["product cores"], *(row["cores"] for row in found["jobs"]))
    return bool(cores < FREE * numba.get_num_threads())
