"""Hostile numbers, drawn at random: every public option, dtype and layout, values from the smallest to the largest.

    python tests/fuzz.py [--cases 3000] [--first 0] [--seed 15]

prints what goes wrong, with the number of the case, and exits with status 1 if anything did.  What must hold: no
exception but ValueError, TypeError, or RuntimeError where there is a reason to; nothing that is NaN or infinite in
a result without a stop_reason and a warning that say so; no warning but the package's own; the same bits for 1 and 2
workers; the caller's arrays as they were.  Each case is drawn from the seed and its number alone.
"""

import argparse
import collections
import math
import sys
import traceback
import warnings

import numpy as np

import fastdeblur as fd

SEED = 15
DTYPES = [
    "?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", ">i2", ">u4", ">f4", ">f8",
]  # fmt: skip
BOUNDARIES = ["unknown", "constant", "nearest", "reflect", "mirror", "wrap"]
RULES = ["gd", "momentum", "nesterov", "adam", "adagrad"]


def fortran(array):
    return np.asfortranarray(array)


def backwards(array):
    return np.ascontiguousarray(array[::-1])[::-1]


def spaced(array):
    wide = np.zeros((*array.shape[:-1], 3 * array.shape[-1]), array.dtype)
    wide[..., ::3] = array
    return wide[..., ::3]


def unaligned(array):
    memory = np.zeros(array.nbytes + 1, np.uint8)
    found = memory[1:].view(array.dtype).reshape(array.shape)
    found[...] = array
    return found


def locked(array):
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS = [np.ascontiguousarray, fortran, backwards, spaced, unaligned, locked]


class Draw:
    """One case's random choices."""

    def __init__(self, seed, number):
        self.random = np.random.default_rng([seed, number])

    def __call__(self, choices):
        return choices[self.random.integers(len(choices))]

    def often(self, share):
        return self.random.random() < share

    def scale(self, extreme):
        """1, or anything from the smallest to about the largest number."""
        if not self.often(extreme):
            return self([1.0, 1.0, 1e-3, 255.0])
        ends = [5e-324, 1e-310, 1e-45, 1e-38, 1e-20, 1e20, 3e38, 1e154, 1e300]
        return self(ends) if self.often(0.4) else float(10 ** self.random.uniform(-323, 300))

    def shape(self):
        most = self([3, 7, 12, 30, 70]) if self.often(0.95) else 170
        return tuple(int(n) for n in self.random.integers(1, most + 1, 2))

    def array(self, shape, dtype, scale, holes=0.0):
        """Pixels of one of several kinds."""
        kind, random = self(["zeros", "flat", "point", "ramp", "uniform", "uniform", "normal", "normal"]), self.random
        values = {
            "zeros": np.zeros(shape), "flat": np.ones(shape), "point": np.zeros(shape), "uniform": random.random(shape),
            "ramp": np.linspace(0, 1, math.prod(shape)).reshape(shape), "normal": random.standard_normal(shape),
        }[kind]  # fmt: skip
        if kind == "point":
            values[tuple(n // 2 for n in shape)] = 1
        if self.often(0.1):  # from small to large within one
            values = values * 10.0 ** random.uniform(-30, 0, shape)
        dtype = np.dtype(dtype)
        with np.errstate(all="ignore"):
            if dtype.kind == "b":
                values = values > 0.5
            elif dtype.kind in "iu":
                limits = np.iinfo(dtype)
                reach = limits.max if self.often(0.3) else min(limits.max, 200)
                values = np.clip(values * reach, limits.min, 0.99 * limits.max)
            else:
                largest = float(np.finfo(dtype).max)
                values = values * min(scale, largest / 8)
                if holes and self.often(holes):
                    values[random.random(shape) < self([0.1, 0.9, 1.0])] = np.nan
            values = values.astype(dtype)
        return self(LAYOUTS)(values)

    def psf(self, shape):
        kind, random = self(["flat", "point", "uniform", "uniform", "signed", "zero sum", "gaussian"]), self.random
        if kind == "gaussian":
            taps = fd.psf.gaussian(shape, self([0.3, 1.0, 3.0]))
        elif kind == "point":
            taps = np.zeros(shape)
            taps[tuple(n // 2 for n in shape)] = 1
        else:
            taps = {"flat": np.ones, "uniform": random.random}.get(kind, random.standard_normal)(shape)
            if kind == "zero sum":
                taps -= taps.mean()
                if shape == (1, 2):
                    taps = np.array([[1.0, -1.0]])
            elif self.often(0.7):
                taps = taps / np.abs(taps).sum()
        taps = taps * self.scale(0.15)
        return taps.astype(self(["f4", "f8", "f8"])) if np.abs(taps).max() < 3e38 else taps


def draw_case(draw):
    """Arguments of a solve, most of them such as go together."""
    shape = draw.shape()
    options, axis = {}, None
    if draw.often(0.2):
        axis = draw([0, 1, 2, -1])
        whole = list(shape)
        whole.insert(axis % 3, int(draw.random.integers(1, 4)))
        full = tuple(whole)
        options["channel_axis"] = axis
    else:
        full = shape
    image = draw.array(full, draw(DTYPES), draw.scale(0.4), holes=0.15)
    taps = tuple(int(n) for n in draw.random.integers(1, draw([2, 4, 6, 12]), 2))
    options["boundary"] = draw(BOUNDARIES)
    prior = draw(["gradient", "gradient", "gradient", "tv", "sparse", None, "denoiser"])
    kinds = {"gradient": [None, "root", "squares"], "tv": ["squares", "poisson"], None: ["squares", "root", "poisson"]}
    data = draw(kinds.get(prior, ["squares"]))
    if data == "poisson" and draw.often(0.9):
        image = np.abs(image) if image.dtype.kind != "b" else image
    options |= {"prior": prior, "data": data}
    if prior == "denoiser":
        options["prior"] = lambda noisy, sigma: 0.5 * noisy
    if draw.often(0.6):
        options["mu"] = draw([0.0, 1e-12, 1e-4, 0.1, 5.0, draw.scale(1.0)])
    if draw.often(0.25):
        one = full if axis is None or draw.often(0.5) else tuple(np.delete(full, axis).tolist())
        options["weights"] = np.abs(draw.array(one, draw(["f4", "f8", "u1"]), draw.scale(0.3)))
        if draw.often(0.2):
            options["weights"] = 10.0 ** draw.random.uniform(-30, 30, one)
    rules = prior in ("gradient", None) and data != "poisson" and draw.often(0.3)
    if rules:
        options["solver"] = draw(RULES)
        if draw.often(0.4):
            options["learning_rate"] = draw([0.5, 1e-3, draw.scale(1.0)])
    if draw.often(0.2):
        low, high = sorted([draw([0.0, 0.1, -1.0]) * draw.scale(0.3), draw([1.0, -0.5, 2.0]) * draw.scale(0.3)])
        options["bounds"] = draw([(low, high), (None, high), (low, None)])
    if draw.often(0.25):
        options["init"] = draw(["zeros", "normal", "array"])
        if options["init"] == "normal":
            options["seed"] = 3
        if options["init"] == "array":
            options["init"] = draw.array(full, draw(DTYPES), draw.scale(0.3))
    options["tol"] = draw([1e-4, 1e-4, 0.0, 1e-8, draw.scale(1.0)])
    options["max_iter"] = draw([None, 1, 3, 20])
    if draw.often(0.15) and "solver" in options:
        options["path"] = draw(["direct", "separable", "fft"])
    if draw.often(0.1):
        one = full if axis is None or draw.often(0.5) else tuple(np.delete(full, axis).tolist())
        level = draw.array(one, draw(DTYPES), draw.scale(0.3))
        options["background"] = draw([np.abs(level) if level.dtype.kind != "b" else level, abs(draw.scale(0.3))])
    if data == "poisson" and draw.often(0.1):
        options["read_noise"] = draw.scale(0.3)
    psf = draw.psf(taps)
    if data == "poisson":
        psf = np.abs(psf)
    if axis is not None and draw.often(0.3):
        psf = np.stack([psf] * full[axis], axis)
    return image, psf, options


def solve(draw, image, psf, options):
    return fd.solve(image, psf, **options)


def deblurrer(draw, image, psf, options):
    return fd.Deblurrer(psf, image.shape, **options).solve(image)


def with_callback(draw, image, psf, options):
    seen = []

    def callback(state):
        seen.append((state.objective, state.optimality, bool(np.isfinite(state.estimate).all())))
        return len(seen) > 4

    result = fd.solve(image, psf, callback=callback, **options)
    assert np.isfinite(seen).all(), f"a callback saw {seen}"
    assert all(each[2] for each in seen), f"a callback saw pixels that are not finite: {seen}"
    return result


def with_blur(draw, image, psf, options):
    if psf.ndim > 2:
        return fd.solve(image, psf, **options)
    axis, dtype = options.get("channel_axis"), fd.convolve(np.ones((1, 1), image.dtype), [[1]]).dtype
    shape = image.shape if axis is None else tuple(np.delete(image.shape, axis).tolist())
    kept = {name: options.pop(name) for name in ("boundary", "workers")}
    blur = fd.Blur(psf, shape, dtype=dtype, **kept)
    return fd.solve(image, blur, **options)


def large(draw, image, psf, options):
    missing = ("solver", "learning_rate", "init", "seed")
    options = {name: value for name, value in options.items() if name not in missing}
    return fd.deblur_large(image, psf, tile=draw([16, 64, "auto"]), **options)


def lucy(draw, image, psf, options):
    return fd.richardson_lucy(image, psf, 5, clip=draw([True, False]))


def convolve(draw, image, psf, options):
    return fd.convolve(image, psf, boundary=options["boundary"], path=draw(["auto", "direct", "separable", "fft"]))


def psfs(draw, image, psf, options):
    return draw([fd.psf.normalise, fd.psf.centre, fd.psf.support, fd.psf.from_image])(draw([image, psf]))


def memory(draw, image, psf, options):
    options.pop("weights", None)
    return np.array(float(fd.estimate_memory(image.shape, psf, dtype=image.dtype, **options)))


CALLS = [solve] * 12 + [deblurrer, with_callback, with_callback, with_blur, large, large, lucy, convolve, psfs, memory]


def outcome(number, seed, workers):
    """What came of a case: bytes to compare, or the refusal."""
    draw = Draw(seed, number)
    image, psf, options = draw_case(draw)
    call = draw(CALLS)
    arrays = [each for each in (image, psf, *options.values()) if isinstance(each, np.ndarray)]
    before = [each.tobytes() for each in arrays]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            result = call(draw, image, psf, {**options, "workers": workers})
        except (ValueError, TypeError) as error:
            # Ours names what is wrong; NumPy's and Python's own do not.
            place = traceback.extract_tb(error.__traceback__)[-1]
            if "fastdeblur" not in place.filename or not place.line.startswith("raise"):
                raise
            result = f"{type(error).__name__}: {error}"
    for warning in said:
        assert warning.filename == __file__, f"leaks {warning.message} at {warning.filename}:{warning.lineno}"
    assert before == [each.tobytes() for each in arrays], "changes the caller's array"
    told = [str(each.message) for each in said if each.category is RuntimeWarning]
    if isinstance(result, str):
        return result
    if isinstance(result, np.ndarray):
        assert np.isfinite(result).all() or told, f"{(~np.isfinite(result)).sum()} pixels not finite, not a word"
        return result.tobytes()
    assert np.isfinite(result.image).all(), f"{(~np.isfinite(result.image)).sum()} pixels not finite: {result} {told}"
    if result.stop_reason == "diverged":
        assert told, "diverged without a warning"
    else:
        scalars = [result.objective, result.optimality, result.mu]
        assert np.isfinite(scalars).all(), f"objective, optimality, mu {scalars}: {result}"
        assert np.isfinite(result.history).all(), f"history {result.history}"
    bits = result.image.tobytes() + result.history.tobytes()
    return bits + repr((result.optimality, result.mu, result.n_iter, result.stop_reason)).encode()


def run(first, cases, seed=SEED, shown=10**9):
    """Go through cases; returns how each ended: what was wrong by its number, and how often what was refused."""
    wrong, refused = {}, collections.Counter()
    for number in range(first, first + cases):
        try:
            found = outcome(number, seed, 1)
            if isinstance(found, str):
                refused[found] += 1
            again = outcome(number, seed, 2)
            assert found == again, "other bits with 2 workers"
        except Exception as error:  # noqa: BLE001 (that is what is looked for)
            *_, last = traceback.extract_tb(error.__traceback__)
            place = "" if isinstance(error, AssertionError) else f" at {last.filename.rsplit('/', 1)[-1]}:{last.lineno}"
            wrong[number] = f"{type(error).__name__}: {str(error)[:300]}{place}"
            if len(wrong) <= shown:
                print(f"case {number}: {wrong[number]}", flush=True)
    return wrong, refused


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--refused", action="store_true", help="print what was refused")
    arguments = parser.parse_args()
    wrong, refused = run(arguments.first, arguments.cases, arguments.seed)
    print(f"{arguments.cases} cases, {len(wrong)} wrong, {sum(refused.values())} refused")
    if arguments.refused:
        for message, count in refused.most_common():
            print(f"{count:5} {message}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
