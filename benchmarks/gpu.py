"""fastdeblur on a GPU, beside the device's limits and other libraries: ``python -m benchmarks.gpu``.

First compares with the CPU, on fresh random input, and stops if they differ.  Then measures the device's copies and
multiply-adds, and times the blur by each path, a step of the notebook's descent, an exact solution and one with
total variation, on arrays that are on the device already; then the same step by PyTorch, CuPy and JAX where they are
installed, each after a look at whether it leads to the same next estimate.  Prints a table and whether the project's
targets are held, and saves both as JSON, named after the device and the date.

"ms" is of a call in a loop, "device ms" of what the device does for it, see `_gpu_jobs`; rates and shares are of the
latter, "times fastdeblur's" of the former.  Rates count each array once, so that what fits into the device's cache may
exceed its copies' rate, and operations of the blur by its path.  "forward" is the bare operator, "Blur.forward" the
call, with its checks.  "exact" is the notebook's problem and "tv" has a fixed weight; both are of a photograph, by a
Deblurrer that is kept.

The exit status is 1 if something differs or a target is missed, 2 without a GPU.  ``--rehearse`` runs everything
tiny on Numba's simulator, with NUMBA_ENABLE_CUDASIM=1 in the environment: its figures mean nothing.
"""

import argparse
import contextlib
import datetime
import functools
import gc
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import fastdeblur as fd
from fastdeblur.kernels.cuda import device
from fastdeblur.kernels.cuda.shapes import SIMULATED

from ._descent_peers import LIBRARIES, Peer
from ._gpu_check import DESCENTS, LIMIT, Cases, comparisons
from ._gpu_jobs import (
    FORWARD_ARRAYS,
    STEP_ARRAYS,
    Clock,
    Descent,
    Limits,
    exact,
    limits,
    machine,
    operations,
    paths,
    photograph,
    problem,
    tv,
)
from ._gpu_report import CHECKED, EXACT, FORWARD, HEADER, MISSED, STEP, TV, Report, Row, targets, verdict
from ._jobs import Problem, full_rank

RESULTS = Path(__file__).parent / "results"
Prepare = Callable[[int, np.ndarray, int | None], fd.Deblurrer]
SOLUTIONS: dict[str, Prepare] = {EXACT: exact, TV: tv}
# How far off a peer's step may be, as a share of the step.
SAME = 1e-3
# A peer that takes this many times as long as fastdeblur is left out at larger sizes.
HOPELESS = 30.0


@dataclass(frozen=True)
class Plan:
    """What is run; targets are about three of the psfs and two sides."""

    sizes: tuple[int, ...]
    psfs: dict[str, np.ndarray]
    separable: str
    full: str
    wide: str
    side: int
    exact_side: int
    cases: Cases


SEPARABLE, FULL_RANK, WIDE = "13x13 separable", "13x13 full rank", "101x101 full rank"
PSFS = {
    SEPARABLE: fd.psf.gaussian(13, (1, 3)),
    FULL_RANK: full_rank(13),
    "25x25 full rank": full_rank(25),
    WIDE: full_rank(101),
}
PLAN = Plan(
    sizes=(1024, 4096, 8192),
    psfs=PSFS,
    separable=SEPARABLE,
    full=FULL_RANK,
    wide=WIDE,
    side=4096,
    exact_side=512,
    cases=Cases(
        psfs=PSFS,
        shape=(157, 139),
        blurs=("constant", "nearest", "reflect", "mirror", "wrap", "unknown"),
        solves=("constant", "reflect", "unknown"),
        descents=DESCENTS,
        steps=20,
        exact=("float32", "float64"),
        max_iter=None,
    ),
)
TINY = {"3x3 separable": fd.psf.gaussian(3, (1, 3)), "3x3 full rank": full_rank(3)}
REHEARSAL = Plan(
    sizes=(16,),
    psfs=TINY,
    separable="3x3 separable",
    full="3x3 full rank",
    wide="3x3 full rank",
    side=16,
    exact_side=8,
    cases=Cases(
        psfs={"3x3 separable": TINY["3x3 separable"]},
        shape=(4, 5),
        blurs=("unknown",),
        solves=("constant",),
        descents=DESCENTS[:1],
        steps=1,
        exact=("float64",),
        max_iter=1,
    ),
)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("--sizes", nargs="+", type=int, metavar="SIDE", help="of square images")
    parser.add_argument("--peers", nargs="*", metavar="LIBRARY", choices=LIBRARIES, default=list(LIBRARIES),
                        help="to compare with")  # fmt: skip
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER")
    parser.add_argument("--seed", type=int, help="of the random input; drawn unless given")
    parser.add_argument("--rehearse", action="store_true", help="tiny, on Numba's simulator")
    chosen = parser.parse_args(arguments)
    if chosen.rehearse != SIMULATED:
        needed = "--rehearse needs NUMBA_ENABLE_CUDASIM=1" if chosen.rehearse else "the simulator is for --rehearse"
        print(needed, file=sys.stderr)
        return 2
    try:
        xp = device.arrays()
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 2
    plan = REHEARSAL if SIMULATED else PLAN
    seed = secrets.randbits(32) if chosen.seed is None else chosen.seed
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    report = Report({"date": today, "rehearsal": SIMULATED, **machine(), "seed": seed})
    print("\n".join(f"{key}: {value}" for key, value in report.found.items()), flush=True)
    with device.current(xp.zeros(1)):
        return run(plan, sorted(chosen.sizes or plan.sizes), chosen.peers, seed, report, chosen.out)


def run(plan: Plan, sizes: list[int], libraries: list[str], seed: int, report: Report, folder: Path) -> int:
    if not same_as_cpu(plan, seed, report):
        return 1
    clock = Clock()
    bounds = limits(clock)
    report.found["limits"] = found = {
        "copy, GB/s": bounds.copied / 1e9,
        "multiply-adds, GFLOP/s": bounds.measured_flops / 1e9,
        "by units and clock, GFLOP/s": bounds.theoretical_flops and bounds.theoretical_flops / 1e9,
    }
    print("\n".join(f"{key}: {'unknown' if value is None else f'{value:.0f}'}" for key, value in found.items()))
    print(f"\n{HEADER}")
    for side in sizes:
        for name, psf in plan.psfs.items():
            of = problem(side, psf, seed)
            figures(of, name, clock, bounds, report)
            solutions(of, name, plan, seed, clock, report)
            report.save(folder)
    if plan.exact_side not in sizes:
        solutions(problem(plan.exact_side, plan.psfs[plan.separable], seed), plan.separable, plan, seed, clock, report)
    # Last, since not every library returns its memory.
    for library in libraries:
        peers(library, plan, sizes, seed, clock, report)
        report.save(folder)
    judged = [
        target.judged(report) for target in targets(plan.separable, plan.full, plan.wide, plan.side, plan.exact_side)
    ]
    report.found["targets"] = judged
    print("\n" + "\n".join(verdict(each) for each in judged))
    print(f"saved as {report.save(folder)}")
    if SIMULATED:
        print("a rehearsal: the figures mean nothing")
    return int(not SIMULATED and any(each["state"] == MISSED for each in judged))


def same_as_cpu(plan: Plan, seed: int, report: Report) -> bool:
    """Compare with the CPU; prints the largest error, or what is wrong."""
    off: dict[str, float] = {}
    wrong = 0
    for what, error in comparisons(plan.cases, seed):
        try:
            off[what] = error()
            why = "" if off[what] <= LIMIT else f"off by {off[what]:.1e}"
        except Exception as failure:  # noqa: BLE001 (whatever is wrong)
            why = brief(failure)
        if why:
            wrong += 1
            print(f"DIFFERS from the CPU: {what}: {why}", file=sys.stderr)
    report.found["off the CPU by"] = off
    if wrong:
        print(f"{wrong} results differ from the CPU's by more than {LIMIT:g}, so nothing is timed", file=sys.stderr)
        return False
    worst = max(off, key=off.__getitem__)
    print(f"{len(off)} results as on the CPU, within {off[worst]:.1e} ({worst})", flush=True)
    return True


def figures(of: Problem, name: str, clock: Clock, bounds: Limits, report: Report) -> None:
    """What the blur and a step take."""
    side, x = len(of.image), device.put(of.image)

    def forward(path: str) -> Row:
        blur = fd.Blur(of.psf, x.shape, path=path, device="cuda")
        operator = blur.operator_with([blur])
        out = device.zeros((1, *x.shape), x.dtype)

        def call() -> None:
            operator.forward(x[None], out)

        return rates(call, FORWARD_ARRAYS, operations(path, of.psf, side))

    def checked() -> Row:
        blur = fd.Blur(of.psf, x.shape, device="cuda")
        return {"path": blur.path, "ms": clock.loop(lambda: blur.forward(x))}

    def step() -> Row:
        descent = Descent(of)
        found = rates(descent.step, STEP_ARRAYS, 2 * operations(descent.path, of.psf, side))
        descent.estimate()  # all steps were made
        return {"path": descent.path, **found}

    def rates(call: Callable[[], None], arrays: int, work: float) -> Row:
        ms, device_ms = clock.loop(call), clock.device(call)
        moved, done = 1e3 * arrays * of.image.nbytes / device_ms, 1e3 * work / device_ms
        shares = {"of copy": moved / bounds.copied, "of peak": done / bounds.flops}
        return {"ms": ms, "device ms": device_ms, "GB/s": moved / 1e9, "GFLOP/s": done / 1e9, **shares}

    row = {"size": side, "psf": name}
    for path in paths(of.psf):
        measured({"what": FORWARD, **row, "path": path}, lambda path=path: forward(path), report)
    measured({"what": CHECKED, **row}, checked, report)
    measured({"what": STEP, **row}, step, report)


def solutions(of: Problem, name: str, plan: Plan, seed: int, clock: Clock, report: Report) -> None:
    """What whole solutions take."""
    side = len(of.image)

    def solved(prepare: Prepare) -> Row:
        image, deblurrer = photograph(side, of.psf, seed), prepare(side, of.psf, plan.cases.max_iter)
        result: fd.Result | None = None

        def call() -> None:
            nonlocal result
            result = deblurrer.solve(image)

        ms = clock.loop(call)
        return {"path": result.path, "ms": ms, "iterations": result.n_iter, "stopped by": result.stop_reason}

    for what, prepare in SOLUTIONS.items():
        measured({"what": what, "size": side, "psf": name}, functools.partial(solved, prepare), report)


def peers(library: str, plan: Plan, sizes: list[int], seed: int, clock: Clock, report: Report) -> None:
    """What a step takes by each way of another library."""
    for name, psf in plan.psfs.items():
        hopeless: dict[str, float] = {}
        for side in sizes:
            try:
                peers_of(library, problem(side, psf, seed), name, clock, report, hopeless)
            except ModuleNotFoundError as error:
                why = "not installed" if error.name == library else brief(error)
                report.add({"what": STEP, "by": library, "failed": why})
                return
            except Exception as error:  # noqa: BLE001 (whatever is wrong with it)
                report.add({"what": STEP, "size": side, "psf": name, "by": library, "failed": brief(error)})


def peers_of(library: str, of: Problem, name: str, clock: Clock, report: Report, hopeless: dict[str, float]) -> None:
    side = len(of.image)
    row = {"what": STEP, "size": side, "psf": name, "by": library}
    ways, expected = LIBRARIES[library](of, not SIMULATED), next_estimate(of)
    ours = report.ours(STEP, side, name).get("ms")
    for way, prepare in ways.items():
        if way in hopeless:
            why = f"left out, since it took {hopeless[way]:.0f} times as long at a smaller size"
            report.add({**row, "path": way, "failed": why})
            continue
        measure = functools.partial(peer_step, prepare, of, expected, clock, ours)
        times = measured({**row, "path": way}, measure, report).get("times ours", 0.0)
        if times > HOPELESS:
            hopeless[way] = times


def next_estimate(of: Problem) -> np.ndarray:
    descent = Descent(of)
    descent.step()
    return descent.estimate()


def peer_step(prepare: Callable[[], Peer], of: Problem, expected: np.ndarray, clock: Clock, ours: float | None) -> Row:
    peer = prepare()
    x = peer.step(peer.start)
    error = float(np.linalg.norm(peer.to_host(x) - expected) / np.linalg.norm(expected - of.start))
    if not error <= SAME:
        raise ValueError(f"another estimate, off by {error:.1e} of the step")

    def call() -> None:
        nonlocal x
        x = peer.step(x)

    ms = clock.loop(call, peer.wait and (lambda: peer.wait(x)))
    return {"ms": ms, "error": error, **({"times ours": ms / ours} if ours else {})}


def measured(row: Row, measure: Callable[[], Row], report: Report) -> Row:
    """Add a row; where it cannot be measured, with why."""
    try:
        row = {**row, **measure()}
    except Exception as error:  # noqa: BLE001 (most likely there is not enough memory)
        row = {**row, "failed": brief(error)}
    report.add(row)
    release()
    return row


def release() -> None:
    """Give back memory that nobody uses."""
    gc.collect()
    if not SIMULATED:
        device.arrays().get_default_memory_pool().free_all_blocks()
        if "torch" in sys.modules:
            with contextlib.suppress(RuntimeError):  # it may know of no GPU
                sys.modules["torch"].cuda.empty_cache()


def brief(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
