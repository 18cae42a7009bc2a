"""Other libraries on the same tasks, each as one would write it with them: for tests/test_speed.py and the report.

All work in float32 with as many threads as fastdeblur has.  What can be prepared beforehand, such as a psf's
transform, is, as `fastdeblur.Blur` does it.  Nothing here is imported before it is asked for.
"""

import functools
import importlib
import importlib.util
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

import fastdeblur as fd

from ._descent_peers import Prepare, by_cupy, by_jax, by_tensorflow, by_torch, lengths, split, wave
from ._jobs import MU, Problem

Call = Callable[[], np.ndarray]

# By the module that they are imported as.
NAMES = {
    "scipy": "SciPy",
    "skimage": "scikit-image",
    "cv2": "OpenCV",
    "torch": "PyTorch",
    "tensorflow": "TensorFlow",
    "jax": "JAX",
}
PATHS = ("separable", "direct", "fft")
BALANCE = 0.01


class Method(NamedTuple):
    """`prepare` takes the image and the psf, and returns the call that is timed."""

    module: str
    prepare: Callable[[np.ndarray, np.ndarray], Call]


def present(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


@functools.cache
def library(module: str) -> Any:
    """Import it, with fastdeblur's number of threads."""
    threads = numba.get_num_threads()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("NPROC", str(threads))  # from which JAX takes the size of its pool
    found = importlib.import_module(module)
    if module == "cv2":
        found.setNumThreads(threads)
    elif module == "torch":
        found.set_num_threads(threads)
    elif module == "tensorflow":
        found.config.threading.set_intra_op_parallelism_threads(threads)
    return found


def ours(image: np.ndarray, psf: np.ndarray, path: str) -> Call:
    blur, out = fd.Blur(psf, image.shape, dtype=image.dtype, path=path), np.empty_like(image)
    return lambda: blur.forward(image, out=out)


def ndimage(image: np.ndarray, psf: np.ndarray) -> Call:
    from scipy.ndimage import convolve

    out = np.empty_like(image)
    return lambda: convolve(image, psf, out, "constant")


def ndimage_twice(image: np.ndarray, psf: np.ndarray) -> Call:
    from scipy.ndimage import convolve1d

    column, row = (line.ravel() for line in split(psf))
    half, out = np.empty_like(image), np.empty_like(image)

    def call() -> np.ndarray:
        convolve1d(image, column, 0, half, "constant")
        convolve1d(half, row, 1, out, "constant")
        return out

    return call


def signal(image: np.ndarray, psf: np.ndarray, name: str) -> Call:
    import scipy.signal

    convolve = getattr(scipy.signal, name)
    return _in_threads(lambda: convolve(image, psf, mode="same"))


def opencv(image: np.ndarray, psf: np.ndarray) -> Call:
    cv2 = library("cv2")
    out, flipped = np.empty_like(image), np.ascontiguousarray(psf[::-1, ::-1])  # it correlates
    return lambda: cv2.filter2D(image, -1, flipped, dst=out, borderType=cv2.BORDER_CONSTANT)


def opencv_twice(image: np.ndarray, psf: np.ndarray) -> Call:
    cv2 = library("cv2")
    column, row = (np.ascontiguousarray(line.ravel()[::-1]) for line in split(psf))
    out = np.empty_like(image)
    return lambda: cv2.sepFilter2D(image, -1, row, column, dst=out, borderType=cv2.BORDER_CONSTANT)


def torch_convolution(image: np.ndarray, psf: np.ndarray, factors: bool) -> Call:
    torch = library("torch")
    x = torch.from_numpy(image)[None, None]
    kernels = split(psf) if factors else [psf]
    weights = [torch.from_numpy(np.ascontiguousarray(kernel[::-1, ::-1]))[None, None] for kernel in kernels]

    def call() -> np.ndarray:
        blurred = x
        with torch.inference_mode():
            for weight in weights:
                blurred = torch.nn.functional.conv2d(blurred, weight, padding="same")
            return blurred[0, 0].numpy()

    return call


def torch_transform(image: np.ndarray, psf: np.ndarray) -> Call:
    torch = library("torch")
    of = _problem(image, psf)
    x, waves, size = torch.from_numpy(image), torch.from_numpy(wave(of)), lengths(of)
    rows, cols = image.shape

    def call() -> np.ndarray:
        with torch.inference_mode():
            return torch.fft.irfft2(torch.fft.rfft2(x, s=size) * waves, s=size)[:rows, :cols].numpy()

    return call


def jax_convolution(image: np.ndarray, psf: np.ndarray) -> Call:
    jax = library("jax")
    x, weight = (jax.numpy.asarray(array[None, None]) for array in (image, np.ascontiguousarray(psf[::-1, ::-1])))
    highest = jax.lax.Precision.HIGHEST
    blur = jax.jit(lambda x, weight: jax.lax.conv_general_dilated(x, weight, (1, 1), "SAME", precision=highest)[0, 0])
    return lambda: np.asarray(blur(x, weight))


def jax_transform(image: np.ndarray, psf: np.ndarray) -> Call:
    jax = library("jax")
    of = _problem(image, psf)
    fft, size, (rows, cols) = jax.numpy.fft, lengths(of), image.shape
    x, waves = jax.numpy.asarray(image), jax.numpy.asarray(wave(of))
    blur = jax.jit(lambda x, waves: fft.irfft2(fft.rfft2(x, s=size) * waves, s=size)[:rows, :cols])
    return lambda: np.asarray(blur(x, waves))


def tensorflow_convolution(image: np.ndarray, psf: np.ndarray) -> Call:
    tf = library("tensorflow")
    x, weight = tf.constant(image[None, :, :, None]), tf.constant(psf[::-1, ::-1, None, None])
    blur = tf.function(lambda x, weight: tf.nn.conv2d(x, weight, 1, "SAME")[0, :, :, 0])
    return lambda: blur(x, weight).numpy()


TRANSFORMS = {
    "scipy.signal.fftconvolve": Method("scipy", functools.partial(signal, name="fftconvolve")),
    "scipy.signal.oaconvolve": Method("scipy", functools.partial(signal, name="oaconvolve")),
    "PyTorch, fft": Method("torch", torch_transform),
    "JAX, fft": Method("jax", jax_transform),
}
FULL_RANK = {
    "scipy.ndimage.convolve": Method("scipy", ndimage),
    "OpenCV filter2D": Method("cv2", opencv),
    "PyTorch conv2d": Method("torch", functools.partial(torch_convolution, factors=False)),
    "TensorFlow conv2d": Method("tensorflow", tensorflow_convolution),
    "JAX conv": Method("jax", jax_convolution),
    **TRANSFORMS,
}
# Of psfs that are a column times a row.
SEPARABLE = {
    "scipy.ndimage.convolve1d twice": Method("scipy", ndimage_twice),
    "OpenCV sepFilter2D": Method("cv2", opencv_twice),
    "PyTorch conv2d twice": Method("torch", functools.partial(torch_convolution, factors=True)),
    **TRANSFORMS,
}


class Way(NamedTuple):
    module: str
    name: str


# Of the notebook's descent, whose psf is a column times a row.
DESCENTS = {
    "TensorFlow, the notebook's loop": Way("tensorflow", "the notebook's loop"),
    "PyTorch, conv2d, autograd": Way("torch", "conv2d, autograd"),
    "PyTorch, conv2d twice, autograd": Way("torch", "conv2d twice, autograd"),
    "PyTorch, fft, gradient written out": Way("torch", "fft, written out"),
    "JAX, conv, autograd": Way("jax", "conv, autograd"),
    "JAX, conv twice, autograd": Way("jax", "conv twice, autograd"),
    "JAX, fft, gradient written out": Way("jax", "fft, written out"),
    "SciPy, fftconvolve, gradient written out": Way("scipy", "fftconvolve"),
    "SciPy, convolve1d twice, gradient written out": Way("scipy", "convolve1d twice"),
}


def descent(name: str, of: Problem, steps: int) -> Call:
    """Steps of the notebook's descent, by another library."""
    way = DESCENTS[name]
    library(way.module)
    prepared: dict[str, Callable[[], dict[str, Prepare]]] = {
        "tensorflow": lambda: by_tensorflow(of),
        "torch": lambda: by_torch(of, on_gpu=False),
        "jax": lambda: by_jax(of, on_gpu=False),
        "scipy": lambda: by_cupy(of, on_gpu=False),
    }
    peer = prepared[way.module]()[way.name]()

    def call() -> np.ndarray:
        x = peer.start
        for _ in range(steps):
            x = peer.step(x)
        return peer.to_host(x)

    return _in_threads(call) if way.module == "scipy" else call


def our_descent(of: Problem, steps: int) -> Call:
    def call() -> np.ndarray:
        return fd.notebook.deconvolve(of.image, of.psf, of.rate, of.mu, n_iter=steps, init=of.start, verbose=False)[0]

    return call


def richardson_lucy(image: np.ndarray, psf: np.ndarray, iterations: int) -> Call:
    restoration = library("skimage.restoration")
    return _in_threads(lambda: restoration.richardson_lucy(image, psf, iterations))


def our_richardson_lucy(image: np.ndarray, psf: np.ndarray, iterations: int) -> Call:
    return lambda: fd.richardson_lucy(image, psf, iterations)


def wiener(image: np.ndarray, psf: np.ndarray) -> Call:
    """With our prior, whose differences wrap around the border."""
    restoration = library("skimage.restoration")
    down, across = (np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1]))
    differences = 2 * np.sqrt(np.sin(np.pi * down) ** 2 + np.sin(np.pi * across) ** 2)
    reg = differences.astype(np.complex64)
    return _in_threads(lambda: restoration.wiener(image, psf, BALANCE, reg=reg, clip=False))


def our_wiener(image: np.ndarray, psf: np.ndarray) -> Call:
    return lambda: fd.deblur(image, psf, data="squares", mu=BALANCE, boundary="wrap")


def _problem(image: np.ndarray, psf: np.ndarray) -> Problem:
    return Problem(image, image, psf, MU, 1.0)


def _in_threads(call: Call) -> Call:
    """With SciPy's transforms in as many threads as fastdeblur has."""
    import scipy.fft

    threads = numba.get_num_threads()

    def threaded() -> np.ndarray:
        with scipy.fft.set_workers(threads):
            return call()

    return threaded
