"""The notebook's gradient step by other libraries, as one would write it with each.

A library is asked for its steps on a device; each is prepared when its turn comes, and may fail then.  Where the psf
is a column times a row, convolutions by both are among them.  "TF32" lets a library round what it multiplies
to 10 bits, as it would unless told otherwise; without, it computes in single precision.
"""

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastdeblur.operators.costs import good_length

from ._jobs import Problem

Prepare = Callable[[], "Peer"]


class Peer(NamedTuple):
    """A step, where it starts, and how to look at what comes out; `wait` if events do not see the work."""

    step: Callable[[Any], Any]
    start: Any
    to_host: Callable[[Any], np.ndarray]
    wait: Callable[[Any], object] | None = None


def split(psf: np.ndarray) -> list[np.ndarray]:
    """A column and a row whose product is the psf, or the psf alone."""
    columns, sizes, rows = np.linalg.svd(psf.astype(np.float64))
    if min(psf.shape) > 1 and sizes[1] > 1e-5 * sizes[0]:
        return [psf]
    size = np.sqrt(sizes[0])
    return [(size * columns[:, :1]).astype(psf.dtype), (size * rows[:1]).astype(psf.dtype)]


def lengths(of: Problem) -> tuple[int, int]:
    """Of transforms that leave room for zeros around the frame."""
    rows, cols = (good_length(size + taps - 1) for size, taps in zip(of.image.shape, of.psf.shape, strict=True))
    return rows, cols


def wave(of: Problem) -> np.ndarray:
    """The psf's transform, with its centre at the first pixel."""
    padded = np.zeros(lengths(of), of.psf.dtype)
    padded[: of.psf.shape[0], : of.psf.shape[1]] = of.psf
    centred = np.roll(padded, [-(taps // 2) for taps in of.psf.shape], (0, 1))
    return np.fft.rfft2(centred).astype(np.complex64)


def objective(of: Problem, blurred: Any, x: Any, image: Any) -> Any:
    lacks, down, across = blurred - image, x[1:] - x[:-1], x[:, 1:] - x[:, :-1]
    misfit, roughness = (lacks * lacks).sum(), (down * down).sum() + (across * across).sum()
    return (0.5 * misfit) ** 0.5 + of.mu * (0.5 * roughness) ** 0.5


def analytic(
    of: Problem,
    blur: Callable[[Any], Any],
    transpose: Callable[[Any], Any],
    norm: Callable[[Any], Any],
    spread: Callable[[Any, Any, Any], Any],
) -> Callable[[Any, Any], Any]:
    """A step whose gradient is written out; `spread` is the transpose of the differences."""

    def step(x: Any, image: Any) -> Any:
        lacks, down, across = blur(x) - image, x[1:] - x[:-1], x[:, 1:] - x[:, :-1]
        data = 0.5**0.5 * of.rate / norm(lacks)
        prior = 0.5**0.5 * of.rate * of.mu / (norm(down) ** 2 + norm(across) ** 2) ** 0.5
        return x - data * transpose(lacks) - prior * spread(x, down, across)

    return step


def spread_into(zeros_like: Callable[[Any], Any]) -> Callable[[Any, Any, Any], Any]:
    def spread(x: Any, down: Any, across: Any) -> Any:
        out = zeros_like(x)
        out[1:] += down
        out[:-1] -= down
        out[:, 1:] += across
        out[:, :-1] -= across
        return out

    return spread


def by_torch(of: Problem, on_gpu: bool) -> dict[str, Prepare]:
    import torch

    place = torch.device("cuda" if on_gpu else "cpu")
    torch.backends.cudnn.benchmark = True
    size, (rows, cols) = lengths(of), of.image.shape

    def put(array: np.ndarray) -> Any:
        return torch.from_numpy(np.array(array, order="C")).to(place)

    def peer(step: Callable[[Any, Any], Any]) -> Peer:
        image = put(of.image)
        return Peer(lambda x: step(x, image), put(of.start), lambda x: x.cpu().numpy())

    def convolving(kernels: list[np.ndarray], tf32: bool) -> Peer:
        torch.backends.cudnn.allow_tf32 = tf32
        weights = [put(kernel[::-1, ::-1])[None, None] for kernel in kernels]  # conv2d correlates

        def step(x: Any, image: Any) -> Any:
            x = x.detach().requires_grad_()
            blurred = x[None, None]
            for weight in weights:
                blurred = torch.nn.functional.conv2d(blurred, weight, padding="same")
            (gradient,) = torch.autograd.grad(objective(of, blurred[0, 0], x, image), x)
            return x.detach() - of.rate * gradient

        return peer(step)

    def transforming() -> Peer:
        fft, waves = torch.fft, put(wave(of))
        conjugate = waves.conj().resolve_conj()

        def times(x: Any, by: Any) -> Any:
            return fft.irfft2(fft.rfft2(x, s=size) * by, s=size)[:rows, :cols]

        step = analytic(
            of,
            lambda x: times(x, waves),
            lambda r: times(r, conjugate),
            torch.linalg.vector_norm,
            spread_into(torch.zeros_like),
        )
        return peer(step)

    return {**_convolving(of, "conv2d", convolving), "fft, written out": transforming}


def by_cupy(of: Problem, on_gpu: bool) -> dict[str, Prepare]:
    """On the host SciPy, whose functions CuPy's are named after."""
    if on_gpu:
        import cupy as xp
        from cupyx.scipy import ndimage, signal
    else:
        import scipy.ndimage as ndimage
        import scipy.signal as signal

        xp = np

    def peer(blur: Callable[[Any], Any], transpose: Callable[[Any], Any]) -> Peer:
        norm = lambda array: xp.sqrt((array * array).sum())  # noqa: E731 (xp.linalg needs more libraries)
        step, image = analytic(of, blur, transpose, norm, spread_into(xp.zeros_like)), xp.asarray(of.image)
        return Peer(lambda x: step(x, image), xp.asarray(of.start), lambda x: x if xp is np else xp.asnumpy(x))

    def by(name: str) -> Peer:
        convolve = getattr(signal, name)
        psf, flipped = xp.asarray(of.psf), xp.asarray(np.ascontiguousarray(of.psf[::-1, ::-1]))
        return peer(lambda x: convolve(x, psf, mode="same"), lambda r: convolve(r, flipped, mode="same"))

    def in_lines() -> Peer:
        lines = [xp.asarray(kernel.ravel()) for kernel in split(of.psf)]

        def convolve(x: Any, back: bool) -> Any:
            for axis, line in enumerate(lines):
                x = ndimage.convolve1d(x, line[::-1] if back else line, axis=axis, mode="constant")
            return x

        return peer(lambda x: convolve(x, False), lambda r: convolve(r, True))

    names = ("convolve2d", "fftconvolve", "oaconvolve")
    found: dict[str, Prepare] = {name: functools.partial(by, name) for name in names}
    return {**found, "convolve1d twice": in_lines} if len(split(of.psf)) > 1 else found


def by_jax(of: Problem, on_gpu: bool) -> dict[str, Prepare]:
    """Its work is on a stream of its own, so the host's clock times it."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the others need memory too
    import jax
    import jax.numpy as jnp

    place = jax.devices("gpu" if on_gpu else "cpu")[0]
    size, (rows, cols) = lengths(of), of.image.shape

    def put(array: np.ndarray) -> Any:
        return jax.device_put(np.ascontiguousarray(array), place)

    def peer(step: Callable[..., Any], *constants: Any) -> Peer:
        compiled, given = jax.jit(step), (put(of.image), *constants)
        return Peer(lambda x: compiled(x, *given), put(of.start), np.asarray, jax.block_until_ready)

    def convolving(kernels: list[np.ndarray], tf32: bool) -> Peer:
        precision = None if tf32 else jax.lax.Precision.HIGHEST

        def value(x: Any, image: Any, *weights: Any) -> Any:
            blurred = x[None, None]
            for weight in weights:
                blurred = jax.lax.conv_general_dilated(blurred, weight, (1, 1), "SAME", precision=precision)
            return objective(of, blurred[0, 0], x, image)

        gradient = jax.grad(value)
        weights = [put(kernel[::-1, ::-1])[None, None] for kernel in kernels]
        return peer(lambda x, *given: x - of.rate * gradient(x, *given), *weights)

    def transforming() -> Peer:
        def spread(x: Any, down: Any, across: Any) -> Any:
            before, after = (1, 0), (0, 1)
            out = jnp.pad(down, (before, (0, 0))) - jnp.pad(down, (after, (0, 0)))
            return out + jnp.pad(across, ((0, 0), before)) - jnp.pad(across, ((0, 0), after))

        def times(x: Any, by: Any) -> Any:
            return jnp.fft.irfft2(jnp.fft.rfft2(x, s=size) * by, s=size)[:rows, :cols]

        def step(x: Any, image: Any, waves: Any) -> Any:
            norm = lambda array: jnp.sqrt((array * array).sum())  # noqa: E731
            return analytic(of, lambda x: times(x, waves), lambda r: times(r, waves.conj()), norm, spread)(x, image)

        return peer(step, put(wave(of)))

    return {**_convolving(of, "conv", convolving), "fft, written out": transforming}


def _convolving(of: Problem, name: str, prepare: Callable[[list[np.ndarray], bool], Peer]) -> dict[str, Prepare]:
    """With autograd, in both precisions, by the psf and, if it is a product, by its factors."""
    ways = {name: [of.psf]}
    if len(split(of.psf)) > 1:
        ways[f"{name} twice"] = split(of.psf)
    return {
        f"{way}, autograd{', TF32' if tf32 else ''}": functools.partial(prepare, kernels, tf32)
        for way, kernels in ways.items()
        for tf32 in (False, True)
    }


def by_tensorflow(of: Problem) -> dict[str, Prepare]:
    """The notebook's own lines, in TensorFlow 2's words: its graph is a function, and its loss a result of the step."""
    import tensorflow as tf

    def notebook() -> Peer:
        image, psf = tf.constant(of.image), tf.constant(of.psf[:, :, None, None])

        @tf.function
        def step(x: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                blurred = tf.nn.conv2d(x[None, :, :, None], psf, [1, 1, 1, 1], "SAME")[0, :, :, 0]
                rough = tf.nn.l2_loss(x[:-1] - x[1:]) + tf.nn.l2_loss(x[:, :-1] - x[:, 1:])
                loss = tf.sqrt(tf.nn.l2_loss(blurred - image)) + of.mu * tf.sqrt(rough)
            return x - of.rate * tape.gradient(loss, x), loss

        return Peer(lambda x: step(x)[0], tf.constant(of.start), lambda x: x.numpy())

    return {"the notebook's loop": notebook}


# Those that run on a GPU.
LIBRARIES: Mapping[str, Callable[[Problem, bool], dict[str, Prepare]]] = {
    "torch": by_torch,
    "cupy": by_cupy,
    "jax": by_jax,
}
