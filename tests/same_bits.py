"""Record what the package computes, to the last bit, and compare a later version with that.

    python tests/same_bits.py record FILE.json [--only PATTERN] [--workers N]
    python tests/same_bits.py compare FILE.json [--only PATTERN] [--workers N]

For work that must not change a result, such as moving or renaming code: record before, compare after. ``compare``
prints every difference and exits with status 1 if there is any. The cases are small problems: solves with every
combination of data, prior, solver, boundary and path, in which all pairs of the other options' values occur; the
operator and its adjoint; kept deblurrers; images in tiles and Dask's; the functions of ``fd.psf``, ``fd.transfer`` and
``fd.notebook``; and the command's output, files included. Of a solve everything counts but its seconds; of the
command everything but seconds.

Only the public interface is imported, of whatever version ``PYTHONPATH`` or the environment gives. FILE.json belongs to
one machine and one set of packages: what they compute differs by rounding. Nothing of it is for the repository.
PATTERN is a regular expression that is searched for in names of cases.
"""

import argparse
import contextlib
import hashlib
import io
import itertools
import json
import os
import pickle
import platform
import re
import runpy
import sys
import tempfile
import time
import warnings
from functools import cache, partial
from pathlib import Path

# Threads that wait for work keep cores busy, which other processes need.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np

import fastdeblur as fd

BOUNDARIES = ("unknown", "constant", "nearest", "reflect", "mirror", "wrap")
PATHS = ("auto", "direct", "separable", "fft")
RULES = ("gd", "momentum", "nesterov", "adam", "adagrad")
SHAPE = (22, 27)


def random_of(name):
    """Random numbers of a case, which no other case changes."""
    return np.random.default_rng(list(hashlib.sha256(name.encode()).digest()[:16]))


# What is recorded of a case is a dictionary of text: digests of arrays and files, floats as hexadecimal numbers.


def digest(value):
    """What is recorded of an array, a number or bytes."""
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, np.ma.MaskedArray):
        return digest(value.filled(0)) + digest(np.ma.getmaskarray(value))
    if isinstance(value, np.ndarray):
        told = f"{value.dtype.str} {value.shape} ".encode()
        return hashlib.sha256(told + np.ascontiguousarray(value).tobytes()).hexdigest()
    if isinstance(value, (float, np.floating)):
        return float(value).hex()
    return str(value)


def parts_of(result):
    """What is recorded of a Result."""
    names = ("image", "objective", "history", "n_iter", "n_products", "stop_reason", "optimality", "mu", "path")
    return {name: digest(getattr(result, name)) for name in (*names, "device", "noise", "misfit")}


def files_in(folder):
    """What is recorded of the files below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): digest(path.read_bytes()) for path in files}


# Images and psfs.


def scene(random, shape):
    """Blocks and a ramp, between 0 and 1."""
    down, across = np.mgrid[: shape[0], : shape[1]]
    image = 0.2 + 0.3 * across / shape[1]
    for _ in range(4):
        row, column = random.integers(0, shape[0]), random.integers(0, shape[1])
        image[(abs(down - row) < shape[0] / 6) & (abs(across - column) < shape[1] / 5)] = random.random()
    return image


def lopsided(random, shape):
    """A psf of full rank, without symmetry."""
    taps = random.random(shape) ** 3
    return taps / taps.sum()


PSFS = {
    "gaussian": lambda random: fd.psf.gaussian(5, (1.0, 1.4)),
    "full": lambda random: lopsided(random, (5, 7)),
    "even": lambda random: lopsided(random, (4, 6)),
    "rank2": lambda random: (np.outer([1, 2, 1], [1, 3, 1]) + np.outer([0, 1, 2], [1, 0, 2])) / 29,
    "line": lambda random: fd.psf.motion(6, 30),
}


# Solves: every combination of what METHODS has with boundaries and paths; in these rows, all pairs of the other values.


def methods():
    """(data, prior, solver, whether bounds go with it, whether paths do)."""
    for data, prior in itertools.product(("root", "squares"), ("gradient", None)):
        for solver in ("auto", "exact", *RULES) if prior else ("auto", *RULES):
            # With bounds "auto" is another method, which has a row of its own.
            yield data, prior, solver, False if prior and solver in ("auto", "exact") else None, True
    for data in ("root", "squares"):
        yield data, "gradient", "auto", True, False
    for prior in ("tv", "sparse", "denoiser"):
        yield "squares", prior, "auto", None, False
    yield "poisson", None, "auto", None, True
    yield "poisson", "tv", "auto", None, False


VALUES = {
    "dtype": ("f4", "f8", "u1", "u2", "f2", "i4", ">f4"),
    "channels": ("gray", "rgb", "first", "each"),
    "psf": tuple(PSFS),
    "weights": ("one", "random", "zeros", "nan", "channel"),
    "bounds": ("free", "low", "both", "high"),
    "background": ("none", "number", "image"),
    "mu": ("given", "auto", "large"),
    "init": ("image", "zeros", "normal", "array"),
    "until": ("few", "end", "callback"),
    "layout": ("C", "F", "strided"),
}


def goes(method, row):
    """Whether values go together, and are worth their time."""
    _, prior, solver, bounds, _ = method
    return not (
        (bounds is not None and bounds == (row["bounds"] == "free"))
        or (prior is None and row["mu"] != "given")
        or (row["weights"] == "channel" and row["channels"] == "gray")
        or (row["weights"] == "nan" and row["dtype"] in ("u1", "u2", "i4"))
        or (row["until"] == "end" and solver in RULES[1:])
    )


@cache
def rows():
    """Names and values of solves; each takes, of a dozen drawn at random, what has most pairs not seen before."""
    drawn = iter(random_of("rows").integers(0, 2**30, (40000, len(VALUES))).tolist())
    found, seen = [], set()
    paths = {True: PATHS, False: ("auto", "fft")}
    for method in methods():
        *fixed, _, any_path = method
        for boundary, path in itertools.product(BOUNDARIES, paths[any_path]):
            tried = []
            while len(tried) < 12:
                row = {name: each[at % len(each)] for (name, each), at in zip(VALUES.items(), next(drawn), strict=True)}
                if goes(method, row):
                    whole = [*fixed[:3], boundary, path, *row.values()]
                    pairs = set(itertools.combinations(enumerate(whole), 2))
                    tried.append((len(pairs - seen), -len(tried), whole, pairs, row))
            _, _, whole, pairs, row = max(tried, key=lambda each: each[:2])
            seen |= pairs
            found.append(("solve/" + " ".join(map(str, whole)), method, boundary, path, row))
    return found


def problem(name, row, data, shape=SHAPE):
    """An image, a psf and options, as a row has them."""
    random = random_of(name)
    options = {}
    planes = {"gray": 0, "rgb": 3, "first": 2, "each": 2}[row["channels"]]
    if planes:
        options["channel_axis"] = 0 if row["channels"] == "first" else -1
    axis = options.get("channel_axis")
    psf = PSFS[row["psf"]](random)
    kernels = [psf] * max(planes, 1)
    if row["channels"] == "each":
        kernels = [psf, psf[::-1]]
        psf = np.stack(kernels, axis=-1)
    blurred = [fd.convolve(scene(random, shape), each, boundary="reflect") for each in kernels]
    image = blurred[0] if axis is None else np.stack(blurred, axis=axis)
    image = image + 0.01 * random.standard_normal(image.shape)
    if row["background"] != "none":
        options["background"] = 0.125
        if row["background"] == "image":
            options["background"] = 0.1 + 0.05 * random.random(image.shape).astype(np.float32)
        image = image + options["background"]
    dtype = np.dtype(row["dtype"])
    full = {"u1": 200, "u2": 4000, "i4": 1000}.get(row["dtype"], 50 if data == "poisson" else 1)
    image = image * full
    if full != 1 and "background" in options:
        options["background"] = options["background"] * full
    image = np.clip(np.rint(image), 0, None) if dtype.kind in "iu" else image
    if data == "poisson":
        image = np.abs(image)
    image = image.astype(dtype)
    if row["weights"] == "random":
        options["weights"] = random.random(image.shape)
    elif row["weights"] == "zeros":
        options["weights"] = np.ones(image.shape, np.float32)
        options["weights"][3:7, :5] = 0
    elif row["weights"] == "channel":
        options["weights"] = (random.random(shape) < 0.8).astype(np.float32)
    elif row["weights"] == "nan":
        image[random.random(image.shape) < 0.1] = np.nan
    limits = {"free": None, "low": (0, None), "both": (0.05 * full, 0.9 * full), "high": (None, 0.8 * full)}
    options["bounds"] = limits[row["bounds"]]
    options["init"] = row["init"]
    if row["init"] == "array":
        options["init"] = full * random.random(image.shape)
    elif row["init"] == "normal":
        options["seed"] = 3
    layouts = {"C": np.ascontiguousarray, "F": np.asfortranarray, "strided": strided}
    return layouts[row["layout"]](image), psf, options


def strided(array):
    """The same with every other element of the last axis elsewhere."""
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


def smoothed(image, sigma):
    """A denoiser: each pixel's mean with its four neighbours, stronger where there is more noise."""
    share = image.dtype.type(min(sigma, 0.2))
    around = sum(np.roll(image, step, axis) for step in (-1, 1) for axis in (0, 1))
    return (1 - share) * image + share / 4 * around


def solving(name, method, boundary, path, row, **more):
    """What is recorded of a row."""
    data, prior, solver, *_ = method
    image, psf, options = problem(name, row, data)
    options |= {"data": data, "prior": smoothed if prior == "denoiser" else prior, "solver": solver}
    options |= {"boundary": boundary, "path": path, **more}
    weight = {"root": 0.2, "squares": 0.02, "poisson": 0.05}[data]
    options["mu"] = {"given": weight, "auto": "auto", "large": 5 * weight}[row["mu"]]
    if data == "poisson" and row["background"] == "image":
        options["read_noise"] = 1.5
    if row["until"] == "few":
        options |= {"max_iter": 7, "tol": 0}
    elif row["until"] == "callback":
        options |= {"max_iter": 12, "callback": Ending(4)}
    if solver in RULES and row["layout"] == "F":
        options["learning_rate"] = 0.01
    found = parts_of(fd.solve(image, psf, **options))
    if "callback" in options:
        found["told"] = " ".join(options["callback"].told)
    return found


class Ending:
    """A callback that stops after some calls, and keeps what it was told."""

    def __init__(self, most):
        self.most, self.told = most, []

    def __call__(self, state):
        told = (state.objective, state.optimality, state.estimate)
        self.told += [str(state.iteration), *map(digest, told)]
        return state.iteration >= self.most


def solves(device):
    """Cases of `solve`, small ones."""
    more = {} if device == "cpu" else {"device": device}
    for name, *row in rows():
        yield name, partial(solving, name, *row, **more)


LARGER = {
    "defaults": {},
    "squares": {"data": "squares"},
    "tv": {"prior": "tv"},
    "sparse": {"prior": "sparse"},
    "sparse bounds": {"prior": "sparse", "bounds": (0, None)},
    "bounds": {"bounds": (0, 1)},
    "poisson": {"data": "poisson", "prior": None},
    "poisson tv": {"data": "poisson", "prior": "tv", "mu": 0.5},
    "reflect": {"boundary": "reflect"},
    "wrap": {"boundary": "wrap", "prior": "tv"},
    "constant": {"boundary": "constant", "mu": 0.1},
    "interpolant": {"mu": 1e-6, "max_iter": 40},
    "flat": {"mu": 1e3},
    "no prior": {"prior": None, "max_iter": 30},
    "descent": {"solver": "gd", "max_iter": 30, "mu": 0.1},
    "descent to the end": {"solver": "gd", "boundary": "reflect", "tol": 0.02, "mu": 0.5, "data": "squares"},
    "adam": {"solver": "adam", "max_iter": 10, "mu": 0.1},
    "diverged": {"solver": "gd", "learning_rate": 1e30, "mu": 0.1, "data": "squares"},
    "other psf": {"psf": "line", "mu": "auto"},
    "holes": {"weights": "hole", "prior": "tv"},
    "holes, gradient": {"weights": "hole"},
}  # fmt: skip


def larger(device):
    """Solves of images that are large enough for threads, estimates of noise, and warnings."""
    for (name, options), dtype in itertools.product(LARGER.items(), ("f4", "f8")):
        if dtype == "f4" or name in ("defaults", "tv", "sparse", "poisson", "descent"):
            shape = (160, 148) if dtype == "f4" else (71, 66)
            yield f"larger/{name} {dtype}", partial(larger_solve, options, dtype, shape, device)


def larger_solve(options, dtype, shape, device):
    """What is recorded of a larger image."""
    options = dict(options)
    random = random_of(f"larger {dtype}")
    psf = PSFS["full"](random)
    image = fd.convolve(scene(random, shape), psf, boundary="nearest") + 0.005 * random.standard_normal(shape)
    if options.get("data") == "poisson":
        image = random.poisson(200 * np.clip(image, 0, None)).astype(float)
    if options.pop("psf", None):
        psf = np.roll(fd.psf.motion(9, 100), 1, axis=0)
    if "weights" in options:
        options["weights"] = np.ones(shape)
        options["weights"][30:40, 20:50] = 0
    if device != "cpu":
        options["device"] = device
    return parts_of(fd.solve(image.astype(dtype), psf, **options))


# The operator.


def operators(device):
    """Cases of Blur, on every path, and of convolve."""
    for boundary, path, dtype, psf in itertools.product(BOUNDARIES, PATHS[1:], ("f4", "f8"), ("gaussian", "even")):
        name = f"blur/{boundary} {path} {dtype} {psf}"
        yield name, partial(operator, name, PSFS[psf], boundary, path, dtype, device)
    for boundary, path in itertools.product(BOUNDARIES, PATHS):
        name = f"blur/{boundary} {path} longer than the image"
        yield name, partial(operator, name, partial(lopsided, shape=(31, 29)), boundary, path, "f4", device, (9, 12))
    for boundary in BOUNDARIES:
        name = f"blur/{boundary} larger"
        yield name, partial(operator, name, partial(lopsided, shape=(9, 9)), boundary, "auto", "f4", device, (300, 280))
        yield f"convolve/{boundary}", partial(convolved, boundary)


def operator(name, psf, boundary, path, dtype, device, shape=SHAPE):
    """What is recorded of an operator."""
    random = random_of(name)
    blur = fd.Blur(psf(random), shape, boundary=boundary, dtype=np.dtype(dtype), path=path, device=device)
    estimate = random.standard_normal(blur.estimate_shape).astype(dtype)
    residual = random.standard_normal(blur.image_shape).astype(dtype)
    found = {"forward": digest(blur.forward(estimate)), "adjoint": digest(blur.adjoint(residual))}
    found |= {"norm": digest(blur.norm()), "path": blur.path, "seconds": digest(blur.seconds)}
    found |= {"shapes": f"{blur.image_shape} {blur.estimate_shape} {blur.frame_corner}", "psf": digest(blur.psf)}
    again = pickle.loads(pickle.dumps(blur))
    found["pickled"] = digest(again.forward(estimate))
    if device == "cpu":
        linear = blur.as_linear_operator()
        found["linear"] = digest(linear @ estimate.ravel()) + digest(linear.T @ residual.ravel())
    return found


def convolved(boundary):
    """What is recorded of `convolve`."""
    random = random_of("convolve")
    return {
        f"{dtype} {path}": digest(
            fd.convolve((100 * random.random(SHAPE)).astype(dtype), psf(random), boundary=boundary, path=path)
        )
        for dtype, path, psf in zip(("f4", "f8", "u1", ">i2"), PATHS, PSFS.values(), strict=False)
    }


# Everything else in memory.


def kept():
    """A Deblurrer, which keeps memory from call to call."""
    for name, options in {
        "exact": {"mu": 0.1},
        "auto": {},
        "tv": {"prior": "tv", "mu": 0.01},
        "sparse": {"prior": "sparse", "mu": 0.01, "bounds": (0, 1)},
        "poisson": {"data": "poisson", "prior": None, "max_iter": 9},
        "descent": {"solver": "momentum", "mu": 0.1, "max_iter": 9},
    }.items():
        yield f"deblurrer/{name}", partial(kept_solves, options)


def kept_solves(options):
    """What is recorded of a Deblurrer: calls one after the other."""
    random = random_of("kept")
    psf = PSFS["full"](random)
    frames = [fd.convolve(scene(random, SHAPE), psf, boundary="nearest") for _ in range(3)]
    frames = [np.abs(frame + 0.01 * random.standard_normal(SHAPE)) for frame in frames]
    deblurrer = fd.Deblurrer(psf, SHAPE, **options)
    found = {f"map {number}": digest(each) for number, each in enumerate(deblurrer.map(frames))}
    found["call"] = digest(deblurrer(frames[0].astype(np.float32)))
    out = np.empty(SHAPE)
    weights = (random.random(SHAPE) < 0.9).astype(float)
    weighed = deblurrer.solve(frames[1], weights=weights, init="zeros", background=0.01, out=out)
    found |= {f"weighed {name}": part for name, part in parts_of(weighed).items()}
    found["out"] = digest(out)
    again = pickle.loads(pickle.dumps(deblurrer))
    return found | {f"pickled {name}": part for name, part in parts_of(again.solve(frames[2])).items()}


def functions():
    """The other public functions."""
    yield "psf/gaussian", lambda: {"": digest(fd.psf.gaussian((9, 12), (1, 2.5)))}
    yield "psf/disk", lambda: {"": digest(fd.psf.disk(3.3))}
    yield "psf/motion", lambda: {"": digest(fd.psf.motion(9.5, 33))}
    yield "psf/airy", lambda: {"": digest(fd.psf.airy(2.5, (15, 14)))}
    yield "psf/box", lambda: {"": digest(fd.psf.box((3, 5)))}
    yield "psf/measured", measured
    yield "transfer", curves
    yield "saturated", lambda: {"": digest(fd.saturated(random_of("saturated").random(SHAPE), 0.9))}
    yield "estimate_memory", memory
    yield "masked array", masked
    yield "richardson_lucy", lucy
    yield "notebook/functions", notebook
    for rule in RULES:
        yield f"notebook/deconvolve {rule}", partial(deconvolved, rule)


def measured():
    """Psfs from pictures."""
    random = random_of("measured")
    star = np.pad(fd.psf.gaussian(9, 1.3), ((3, 8), (6, 2))) + 0.001 * random.random((20, 17))
    found = {"from_image": fd.psf.from_image(star), "normalise": fd.psf.normalise(star), "centre": fd.psf.centre(star)}
    return {name: digest(each) for name, each in (found | {"support": fd.psf.support(star)}).items()}


def curves():
    """Encoded values and light."""
    values = np.linspace(-0.1, 1.2, 101)
    integers = np.arange(256, dtype=np.uint8)[None]
    found = {}
    for curve in ("srgb", 2.2):
        found[f"decode {curve}"] = digest(fd.transfer.decode(values, curve))
        found[f"decode {curve} integers"] = digest(fd.transfer.decode(integers, curve))
        found[f"encode {curve}"] = digest(fd.transfer.encode(values, curve))
    return found


def memory():
    """Estimates of memory, whose numbers others plan with."""
    psf = fd.psf.gaussian(13, 2)
    asked = [{}, {"prior": "tv"}, {"prior": "sparse"}, {"data": "poisson", "prior": None}, {"solver": "adam"}]
    return {str(options): str(fd.estimate_memory((700, 600), psf, **options)) for options in asked}


def masked():
    """An image with a mask."""
    random = random_of("masked")
    image = np.ma.masked_greater(random.random(SHAPE), 0.95)
    return parts_of(fd.solve(image, fd.psf.box(3), prior="tv", mu=0.05))


def lucy():
    """scikit-image's function."""
    random = random_of("richardson_lucy")
    image, psf = random.random(SHAPE), PSFS["even"](random)
    found = {f"{dtype}": digest(fd.richardson_lucy(image.astype(dtype), psf, 6)) for dtype in ("f4", "f8")}
    found["unclipped"] = digest(fd.richardson_lucy(3 * image, psf, 5, clip=False, filter_epsilon=0.2))
    return found


def notebook():
    """The notebook's psf and blur."""
    psf = fd.notebook.gaussian(7, 1, 2)
    return {"psf": digest(psf), "blurred": digest(fd.notebook.convolve(scene(random_of("notebook"), SHAPE), psf))}


def deconvolved(rule):
    """The notebook's loop, and what it prints."""
    psf = fd.notebook.gaussian(7, 1, 2)
    blurred = fd.notebook.convolve(scene(random_of("notebook"), SHAPE), psf)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        restored, losses = fd.notebook.deconvolve(blurred, psf, 0.02, 0.2, n_iter=110, optimizer=rule, seed=1)
    return {"restored": digest(restored), "losses": digest(losses), "printed": printed.getvalue()}


# Large images, in a folder of their own.

TILED = {
    "squares": {"data": "squares", "mu": 0.05},
    "auto": {},
    "root": {"mu": 0.1},
    "tv": {"prior": "tv", "mu": 0.01, "max_iter": 20},
    "sparse": {"prior": "sparse", "mu": 0.01, "bounds": (0, None), "max_iter": 12},
    "poisson": {"data": "poisson", "prior": None, "max_iter": 8, "background": 0.1},
    "reflect": {"data": "squares", "mu": 0.05, "boundary": "reflect"},
    "wrap": {"data": "squares", "mu": 0.05, "boundary": "wrap"},
    "weights": {"data": "squares", "mu": 0.05, "weights": True},
    "channels": {"data": "squares", "mu": 0.05, "channel_axis": -1},
}


def large():
    """Images in tiles: in memory, to each kind of file, from each, and Dask's."""
    for name, options in TILED.items():
        yield f"large/memory {name}", partial(tiled, options, None)
        if has("dask.array"):
            yield f"large/dask {name}", partial(tiled, options, "dask")
    for suffix, package in {"npy": "numpy", "tif": "tifffile", "zarr": "zarr", "fits": "astropy"}.items():
        if has(package):
            yield f"large/{suffix}", partial(tiled, TILED["squares"], suffix)
            if suffix != "fits":  # which is read in parts where it has two axes
                yield f"large/{suffix} channels", partial(tiled, TILED["channels"], suffix)


def has(package):
    """Whether a package can be imported."""
    with contextlib.suppress(ImportError):
        __import__(package)
        return True
    return False


def tiled(options, out):
    """What is recorded of an image in tiles."""
    options = dict(options)
    shape = (120, 105)
    random = random_of("large")
    psf = PSFS["gaussian"](random)
    image = fd.convolve(scene(random, shape), psf, boundary="nearest") + 0.01 * random.standard_normal(shape)
    image = np.abs(image).astype(np.float32)
    if "channel_axis" in options:
        image = np.stack([image, image[::-1]], axis=-1)
    if options.pop("weights", False):
        options["weights"] = (random.random(shape) < 0.9).astype(np.float32)
    if out is None:
        return {"image": digest(fd.deblur_large(image, psf, tile=48, halo=16, **options))}
    if out == "dask":
        import dask.array as da

        chunks = (60, 55) if image.ndim == 2 else (60, 55, 2)
        lazy = fd.deblur_large(da.from_array(image, chunks=chunks), psf, halo=16, **options)
        return {"chunks": str(lazy.chunks), "image": digest(lazy.compute(scheduler="synchronous"))}
    place = Path(f"restored.{out}")
    found = {"image": digest(np.array(fd.deblur_large(image, psf, place, tile=48, halo=16, **options)))}
    found |= files_in(Path())
    fd.deblur_large(place, psf, "again.npy", tile=48, halo=16, **options)
    return found | {"read again": digest(np.load("again.npy"))}


# The command.

SPARSE = "--psf gaussian:5:1 -o out.npy --prior sparse --mu 0.02"
COMMANDS = {
    "png": ("gray.png", "--psf gaussian:5:1 -o out.png --mu 0.05 --json"),
    "png line": ("gray.png", "--psf gaussian:5:1 -o out.png --mu 0.05"),
    "png colour": ("rgb.png", "--psf disk:2 -o out.png --json"),
    "png 16 to tif": ("deep.png", "--psf box:3 -o out.tif --dtype float32 --prior tv --mu 0.01 --json"),
    "alpha": ("rgba.png", "--psf motion:4:30 -o out.png --saturated 0.9 --bounds 0 1 --json"),
    "jpeg": ("rgb.jpg", "--psf gaussian:5:1 -o out.jpg --prior tv --json"),
    "tif": ("gray.tif", "--psf airy:2:7 -o out.tif --solver gd --max-iter 9 --mu 0.1 --json"),
    "pages": ("pages.tif", "--psf gaussian:5:1 -o out.tif --mu auto-once --json"),
    "pages to npy": ("pages.tif", "--psf gaussian:5:1 -o out.npy --mu 0.1"),
    "npy": ("float.npy", "--psf psf.npy -o out.npy --weights weights.npy --json"),
    "variance": ("float.npy", "--psf psf.npy -o out.npy --weights weights.npy --weights-are variance --mu 0.1 --json"),
    "stack": ("stack.npy", "--stack --psf-from star.npy -o out.tif --path direct --mu 0.1 --json"),
    "axes": ("stack.npy", "--axes TYX --psf box:3 -o out.tif --data squares --mu 0.1 --json"),
    "photons": ("counts.npy", "--psf gaussian:5:1 -o out.npy --data poisson --prior none --background 5 --json"),
    "nodata": ("holes.npy", "--psf gaussian:5:1 -o out.npy --nodata 0.5 --prior tv --mu 0.01 --json"),
    "fill": ("holes.npy", "--psf gaussian:5:1 -o out.npy --fill --mu 0.1 --json"),
    "separate": ("rgb.png", "--psf box:3 -o out.png --channels separate --json"),
    "start": ("float.npy", "--psf box:3 -o out.npy --init normal --seed 4 --solver adam --max-iter 8 --mu 0.1 --json"),
    "zarr": ("float.npy", "--psf box:3 -o out.zarr --mu 0.1 --json"),
    "fits": ("float.npy", "--psf box:3 -o out.fits --mu 0.1 --json"),
    "tile by tile": ("wide.npy", f"{SPARSE} --max-iter 3 --max-memory 99MB --json"),
    "refused": ("gray.png", "--psf disk:-1 -o out.png"),
}


def commands():
    """The command, in this process, and the files that it leaves."""
    for name, (image, words) in COMMANDS.items():
        package = re.search(r"\bout\.(zarr|fits)", words)
        if package is None or has({"zarr": "zarr", "fits": "astropy"}[package[1]]):
            yield f"command/{name}", partial(command, ["deblur", image, *words.split()])


def command(words):
    """What is recorded of the command: exit status, what it prints, and all files."""
    inputs(words)
    before = files_in(Path())
    out, err, argv, status = io.StringIO(), io.StringIO(), sys.argv, 0
    sys.argv = ["fastdeblur", *words]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            runpy.run_module("fastdeblur", run_name="__main__", alter_sys=False)
    except SystemExit as end:
        status = end.code
    finally:
        sys.argv = argv
    printed = out.getvalue()
    with contextlib.suppress(ValueError):
        printed = json.dumps(without_seconds(json.loads(printed)), sort_keys=True)
    # Messages may be worded anew; that there is one, and of which kind, may not change.
    kinds = re.findall(r"^fastdeblur: (\w+): ", err.getvalue(), re.MULTILINE)
    found = {"status": str(status), "printed": re.sub(r"[\d.]+ s\b", "_ s", printed)}
    found["messages"] = " ".join(sorted(kinds))
    return found | {name: each for name, each in files_in(Path()).items() if before.get(name) != each}


def without_seconds(value):
    """JSON without how long it took."""
    if isinstance(value, dict):
        return {name: without_seconds(each) for name, each in value.items() if name != "seconds"}
    return [without_seconds(each) for each in value] if isinstance(value, list) else value


def inputs(words):
    """The files that a command's words name."""
    from skimage import io as images

    random = random_of("files")
    gray = fd.convolve(scene(random, SHAPE), fd.psf.gaussian(5, 1), boundary="nearest")
    gray = np.clip(gray + 0.005 * random.standard_normal(SHAPE), 0, 1)
    colour = np.stack([gray, gray[::-1], gray[:, ::-1]], axis=-1)
    wide = fd.convolve(scene(random, (1000, 950)), fd.psf.gaussian(5, 1), boundary="nearest")
    alpha = np.where(gray > 0.25, 1.0, 0.0)[..., None]
    holes = np.where(random.random(SHAPE) < 0.1, np.nan, gray)
    holes[2:5, 3:6] = 0.5
    star = np.pad(fd.psf.gaussian(7, 1.2), 4) + 0.01
    made = {
        "gray.png": np.rint(255 * gray).astype(np.uint8),
        "rgb.png": np.rint(255 * colour).astype(np.uint8),
        "rgba.png": np.rint(255 * np.concatenate([colour, alpha], axis=-1)).astype(np.uint8),
        "deep.png": np.rint(65535 * gray).astype(np.uint16),
        "rgb.jpg": np.rint(255 * colour).astype(np.uint8),
        "gray.tif": np.rint(65535 * gray).astype(np.uint16),
        "pages.tif": np.stack([gray, gray[::-1]]).astype(np.float32),
        "float.npy": gray.astype(np.float32),
        "stack.npy": np.stack([gray, gray[:, ::-1]]),
        "counts.npy": random.poisson(300 * gray + 5).astype(np.uint16),
        "holes.npy": holes,
        "wide.npy": wide.astype(np.float32),
        "psf.npy": fd.psf.gaussian(5, 1.1),
        "star.npy": star,
        "weights.npy": 0.5 + random.random(SHAPE),
    }
    for name in set(words) & set(made):
        if name.endswith(".npy"):
            np.save(name, made[name])
        else:
            images.imsave(name, made[name], check_contrast=False)


# Recording and comparing.


def cases(device="cpu"):
    """Names, and functions that give what is recorded."""
    yield from solves(device)
    yield from larger(device)
    yield from operators(device)
    if device == "cpu":
        yield from kept()
        yield from functions()
        yield from large()
        yield from commands()


def recorded(case):
    """What is recorded of a case, run in an empty folder; and which kinds of warnings came."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        os.chdir(folder)
        try:
            found = case()
        except Exception as error:  # noqa: BLE001 -- another version may fail where this one does not
            found = {"error": f"{type(error).__name__}: {error}"}
        finally:
            os.chdir(before)
    kinds = sorted({each.category.__name__ for each in told})
    return {**found, "warnings": " ".join(kinds)} if kinds else found


def run(pattern="", device="cpu", show=None):
    """All cases whose names have the pattern, as they are recorded."""
    found = {}
    for name, case in cases(device):
        if re.search(pattern, name):
            if name in found:
                raise AssertionError(f"two cases are called {name}")
            found[name] = recorded(case)
            if show is not None:
                show(name, found[name])
    return found


def differences(before, after):
    """Lines that say what differs between two recordings."""
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"{name}: is no longer there"
        elif name not in before:
            yield f"{name}: was not there before"
        else:
            old, new = before[name], after[name]
            for part in sorted(old.keys() | new.keys()):
                if old.get(part) != new.get(part):
                    yield f"{name}: {part or 'value'} was {shown(old.get(part))}, is {shown(new.get(part))}"


def shown(text):
    """A digest's first digits, or a text that is short or has been cut."""
    if text is None:
        return "not there"
    if re.fullmatch(r"[0-9a-f]{64,}", text):
        return text[:12]
    with contextlib.suppress(ValueError):
        return repr(float.fromhex(text)) if text.lstrip("-").startswith("0x") else text[:300]
    return text[:300]


def environment():
    """What the bits depend on beside the package."""
    names = ("numpy", "scipy", "numba", "llvmlite", "skimage", "pywt", "tifffile", "zarr", "dask", "astropy", "PIL")
    found = {name: sys.modules[name].__version__ for name in names if has(name)}
    return found | {"python": platform.python_version(), "machine": platform.machine(), "processor": processor()}


def processor():
    """What LLVM calls the processor."""
    import llvmlite.binding

    return os.environ.get("NUMBA_CPU_NAME") or llvmlite.binding.get_host_cpu_name()


def main(argv=None):
    """Run the tool; returns the exit status."""
    parser = argparse.ArgumentParser(description="Record what the package computes, or compare with what was recorded.")
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("file", type=Path, metavar="FILE.json")
    parser.add_argument("--only", default="", metavar="PATTERN", help="only cases in whose name this is found")
    parser.add_argument("--workers", type=int, metavar="N", help="most threads")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="of solves and operators, alone")
    parser.add_argument("--verbose", action="store_true", help="print what took longest")
    arguments = parser.parse_args(argv)
    print(f"{Path(fd.__file__).parent}, fastdeblur {fd.__version__}")
    if arguments.workers is not None:
        import numba

        numba.set_num_threads(arguments.workers)
    began, took = time.process_time(), []

    def show(name, found):
        took.append((time.process_time() - began - sum(each for each, _ in took), name))
        if "error" in found:
            print(f"{name}: raised {found['error']}")

    found = run(arguments.only, arguments.device, show)
    if arguments.verbose:
        for seconds, name in sorted(took)[:-21:-1]:
            print(f"{seconds:7.2f} s  {name}")
    print(f"{len(found)} cases, {time.process_time() - began:.0f} s of processor time")
    if arguments.action == "record":
        told = {"environment": environment(), "device": arguments.device, "cases": found}
        arguments.file.write_text(json.dumps(told, indent=1), encoding="utf-8")
        return int(any("error" in each for each in found.values()))
    stored = json.loads(arguments.file.read_text(encoding="utf-8"))
    for name, value in stored["environment"].items():
        if environment().get(name) != value:
            print(f"note: {name} was {value}, is {environment().get(name)}: rounding may differ")
    before = {name: each for name, each in stored["cases"].items() if re.search(arguments.only, name)}
    lines = list(differences(before, found))
    print(*lines, f"{len(lines)} differences", sep="\n")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
