"""A mapped image larger than the memory that may be used: time, peak memory, and a run that is killed.

    python -m benchmarks.large [--side 20000] [--max-memory 300MB] [--folder FOLDER]

Prints the time a pixel beside that of a 4096 x 4096 solve in memory, the peak of resident memory beyond that of
a process that has imported fastdeblur and done nothing, and whether a run that was killed in the middle and
begun again gives the bytes of one that was not.  The bars are 1.6 times, the limit itself, and yes.
"""

import argparse
import filecmp
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import fastdeblur as fd
from fastdeblur.validation import memory_size

PSF = "fd.psf.gaussian((13, 13), (1, 3)).astype(np.float32)"
# Peak resident memory of this process, in bytes.
PEAK = "int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1]) * 1024"
BARE = f"import json, numpy as np, fastdeblur as fd; print(json.dumps({PEAK}))"
SOLVE = f"""
import json, sys, time, numpy as np, fastdeblur as fd
source, out, memory = sys.argv[1:4]
began = time.perf_counter()
fd.deblur_large(np.load(source, mmap_mode="r"), {PSF}, out, mu="auto", max_memory=memory)
print(json.dumps([time.perf_counter() - began, {PEAK}]))
"""
SMALL = f"""
import json, sys, time, numpy as np, fastdeblur as fd
image = np.ascontiguousarray(np.load(sys.argv[1], mmap_mode="r")[:4096, :4096])
psf, seconds = {PSF}, []
fd.solve(image[:512, :512], psf, mu=float(sys.argv[2]), data="squares")
for _ in range(3):
    began = time.perf_counter()
    fd.solve(image, psf, mu=float(sys.argv[2]), data="squares")
    seconds.append(time.perf_counter() - began)
print(json.dumps(sorted(seconds)[1] / image.size))
"""


def make(path, side):
    """Blurred shapes of all sizes with 1 % noise, a band of rows at a time."""
    random, psf = np.random.default_rng(0), fd.psf.gaussian((13, 13), (1, 3)).astype(np.float32)
    image = np.lib.format.open_memmap(path, "w+", np.float32, (side, side))
    tile = sum(
        np.kron(random.random((2048 // step, 2048 // step)), np.ones((step, step))) for step in (4, 16, 64, 256)
    ).astype(np.float32)
    tile /= tile.max()
    wide = np.tile(tile, (1, side // 2048 + 2))[:, : side + 12]
    for start in range(0, side, 2048):
        rows = min(2048, side - start)
        band = np.concatenate([wide, wide[:12]])[: rows + 12]
        blurred = fd.convolve(band, psf, boundary="unknown")
        blurred += 0.01 * random.standard_normal(blurred.shape, np.float32)
        image[start : start + rows] = blurred
    image.flush()


def run(script, *arguments):
    done = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def killed(source, out, memory, after):
    """Begin a run, and kill it when `after` of its tiles are written; whether it was still running then."""
    child = subprocess.Popen([sys.executable, "-c", SOLVE, source, out, memory])
    journal = out.with_name(f".{out.name}.journal")
    while child.poll() is None and not (journal.exists() and len(journal.read_text().splitlines()) > after):
        time.sleep(0.05)
    was_running = child.poll() is None
    child.kill()
    child.wait()
    return was_running


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=20000)
    parser.add_argument("--max-memory", default="300MB")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        source, whole, again = (Path(folder) / name for name in ("source.npy", "whole.npy", "again.npy"))
        make(source, arguments.side)
        bare = run(BARE)
        seconds, peak = run(SOLVE, source, whole, arguments.max_memory)
        pixel = run(SMALL, source, 0.01)
        ratio = seconds / arguments.side**2 / pixel
        beyond, most = peak - bare, memory_size("max_memory", arguments.max_memory)
        print(
            f"{arguments.side} x {arguments.side}: {seconds:.1f} s, {seconds / arguments.side**2 * 1e9:.0f} ns a pixel"
        )
        print(f"4096 x 4096 in memory: {pixel * 1e9:.0f} ns a pixel; ratio {ratio:.2f} (bar 1.6)")
        print(f"the import alone: {bare / 1e6:.0f} MB")
        print(f"peak beyond the import: {beyond / 1e6:.0f} MB (bar {most / 1e6:.0f} MB)")
        interrupted = killed(source, again, arguments.max_memory, 20)
        run(SOLVE, source, again, arguments.max_memory)
        same = interrupted and filecmp.cmp(whole, again, shallow=False)
        print(f"killed in the middle and run again: {'the same bytes' if same else 'NOT the same'}")
        raise SystemExit(not (ratio <= 1.6 and beyond <= most and same))


if __name__ == "__main__":
    main()
