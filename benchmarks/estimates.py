"""What estimate_memory says beside what is allocated, a fresh process for each kind of solve.

    python -m benchmarks.estimates [--side 1024]

Prints the estimate, the peak of resident memory beyond that of the process just before the call, after a small image
has had its code loaded, and their ratio; ends with status 1 if an estimate is more than a fifth off.
"""

import argparse
import json
import subprocess
import sys

MEASURE = """
import ctypes, gc, json, sys, warnings, numpy as np, fastdeblur as fd
warnings.simplefilter("ignore")
side, taps, dtype, weighted, options = json.loads(sys.argv[1])
colour = options.get("channel_axis") is not None
shape = lambda side: (side, side, 3) if colour else (side, side)
random, psf = np.random.default_rng(0), fd.psf.gaussian(taps, taps / 5)

def scene(side):
    blocks = random.random((side // 8, side // 8)).repeat(8, 0).repeat(8, 1)
    image = fd.convolve(blocks, psf, boundary="reflect") + 0.01 * random.standard_normal(blocks.shape)
    image = image.clip(0.01).astype(dtype)
    return np.repeat(image[..., None], 3, axis=-1) if colour else image

def given(side):
    if not weighted:
        return {}
    weights = random.random(shape(side)[:2]).astype(dtype)
    weights[side // 4 : side // 2, side // 4 :] = 0  # missing pixels take more than uneven ones
    return {"weights": weights}

peak = lambda: int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
image, more = scene(side), given(side)
fd.solve(scene(256), psf, **options, **given(256))
estimate = fd.estimate_memory(image.shape, psf, dtype=dtype, weighted=weighted, **options)
gc.collect()
ctypes.CDLL("libc.so.6").malloc_trim(0)  # what is free is the system's again
open("/proc/self/clear_refs", "w").write("5")
before = peak()
fd.solve(image, psf, **options, **more)
print(json.dumps([estimate, peak() - before]))
"""
FEW = {"max_iter": 3}
# How much an estimate may be off.
MOST = 0.2
KINDS = {
    "gradient": {"mu": 0.1},
    "gradient, squares": {"data": "squares", "mu": 0.01},
    "gradient, auto": {},
    "gradient, bounds": {"mu": 0.1, "bounds": [0, 1], "data": "squares"},
    "gradient, bounds, root": {"mu": 0.1, "bounds": [0, 1]},
    "tv": {"prior": "tv", "mu": 0.01},
    "tv, auto": {"prior": "tv"},
    "sparse": {"prior": "sparse"},
    "poisson": {"data": "poisson", "prior": None},
    "poisson, tv": {"data": "poisson", "prior": "tv", "mu": 0.01},
    "poisson, background": {"data": "poisson", "prior": None, "background": 0.1, "read_noise": 0.01},
    "poisson, tv, background": {"data": "poisson", "prior": "tv", "mu": 0.01, "background": 0.1},
    "gd": {"solver": "gd", "mu": 0.1},
    "gd, auto": {"solver": "gd"},
    "nesterov": {"solver": "nesterov", "mu": 0.1},
    "adam": {"solver": "adam", "mu": 0.1},
}
# Beside each kind as it is: what else may change what is needed.
VARIED = ("gradient", "gradient, auto", "tv", "poisson", "gd")


def cases(side):
    """(name, side, taps, dtype, weighted, options) of all that is measured."""
    for kind, options in KINDS.items():
        yield kind, side, 9, "float32", False, options
    for kind in VARIED:
        options = KINDS[kind]
        yield f"{kind}, psf 5", side, 5, "float32", False, options
        yield f"{kind}, psf 41", side, 41, "float32", False, options
        yield f"{kind}, float64", side, 9, "float64", False, options
        yield f"{kind}, colour", side, 9, "float32", False, options | {"channel_axis": -1}
        yield f"{kind}, weighted", side, 9, "float32", True, options
        for boundary in ("constant", "reflect", "wrap"):
            yield f"{kind}, {boundary}", side, 9, "float32", False, options | {"boundary": boundary}
        yield f"{kind}, 512", 512, 9, "float32", False, options
        yield f"{kind}, {2 * side}", 2 * side, 9, "float32", False, options


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--only", default="", help="kinds with this in their name")
    arguments = parser.parse_args()
    worst = 0.0
    print(f"{'':32}{'estimate':>10}{'measured':>10}{'ratio':>8}")
    for name, side, taps, dtype, weighted, options in cases(arguments.side):
        if arguments.only not in name:
            continue
        job = json.dumps([side, taps, dtype, weighted, options | FEW])
        done = subprocess.run([sys.executable, "-c", MEASURE, job], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{name}: {done.stderr}")
        estimate, measured = json.loads(done.stdout)
        ratio = estimate / measured
        worst = max(worst, abs(ratio - 1))
        off = "  off" if abs(ratio - 1) > MOST else ""
        print(f"{name:32}{estimate / 1e6:7.0f} MB{measured / 1e6:7.0f} MB{ratio:8.2f}{off}", flush=True)
    print(f"at worst {100 * worst:.0f} % off")
    raise SystemExit(worst > MOST)


if __name__ == "__main__":
    main()
