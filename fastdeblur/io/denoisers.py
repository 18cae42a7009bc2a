"""Networks that remove noise, read from ONNX files, as priors."""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from .. import validation

__all__ = ["onnx"]
CHANNELS = (1, 3)
DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


def onnx(
    file: str | os.PathLike[str], *, white: float = 1.0, multiple: int = 8, channel_axis: int = -1, workers: int = 1
) -> Network:
    """A denoising network from an ONNX file [2]_, for ``prior=``.

    It is for networks that are told how much noise there is, as DRUNet is [1]_.  What a network looks like is
    read from the file: its first input is the image, of shape (1, C, rows, columns) with 1 or 3 channels C, and the
    noise's standard deviation comes in one of two ways.

    - As one more channel of that input, which then has 2 or 4, and which is sigma everywhere.
    - As a second input: one number, of shape (), (1,), (1, 1) or (1, 1, 1, 1), or an image of shape
      (1, 1, rows, columns) that is sigma everywhere; (rows and columns of 1 are one number).

    The first output is the denoised image, of C channels.  Sizes may be fixed in the file, or not, but for rows and
    columns, which may not, and C, which must.  Inputs are of float32, float64 or float16, and the values are 0 for
    black and 1 for white.

    Parameters
    ----------
    file : str or path
        The network.  It is read once: what changes in the file later changes nothing, and pickles hold a copy.
    white : float, above 0
        The image's value that the network is to see as 1, as 0 is 0: 255 for an image of 8 bits.  Images and sigma
        are divided by it, and results multiplied.
    multiple : int, at least 1
        Rows and columns are reflected at the bottom and the right until their numbers are multiples of it, and cut off
        afterwards.  A network that halves its images three times needs 8.
    channel_axis : int
        The axis of an image's channels, where it has three dimensions.  An image of 3 channels goes as a whole through
        a network of 3, any other channel by channel: as three equal ones, whose mean is taken, if the network has 3.
    workers : int, at least 1
        Threads that a network may use.  With more than one it does not survive a fork; spawned processes are fine.

    Returns
    -------
    denoiser : callable
        ``denoiser(image, sigma) -> image``, of the image's shape and of its dtype if that is float32 or float64, else
        float32.  Sigma is in the image's units.  It can be pickled if the file holds all of the network.

    Raises
    ------
    ImportError
        If the package onnxruntime is missing: ``pip install "fastdeblur[onnx]"``.
    OSError
        If the file cannot be read.
    ValueError, TypeError
        If it is no ONNX network, if its inputs or output are none of those above, or an option is out of range.
        Later, if the network fails on an image, or returns one of another shape.
    RuntimeError
        Later, in a forked process, with more than one worker.

    See Also
    --------
    fastdeblur.deblur : ``prior=`` takes the denoiser; its `mu` is then the variance of the noise.

    Notes
    -----
    Results depend on onnxruntime and on the processor, and may depend on `workers`, in the last digits.

    References
    ----------
    .. [1] K. Zhang, Y. Li, W. Zuo, L. Zhang, L. Van Gool and R. Timofte, "Plug-and-play image restoration with deep
       denoiser prior", IEEE Trans. Pattern Analysis and Machine Intelligence 44, 2022.
    .. [2] Open Neural Network Exchange, https://onnx.ai.

    Examples
    --------
    For images of 0 to 1 whose noise has a standard deviation of 0.01:

    >>> import fastdeblur as fd
    >>> network = fd.denoisers.onnx("drunet_gray.onnx")  # doctest: +SKIP
    >>> sharp = fd.deblur(blurred, psf, prior=network, mu=0.01**2)  # doctest: +SKIP
    """
    data = Path(file).read_bytes()
    return Network(
        data, os.fspath(file),
        white=validation.real("white", white, "above 0"),
        multiple=validation.integer("multiple", multiple, 1),
        channel_axis=validation.integer("channel_axis", channel_axis, -3, 2),
        workers=validation.integer("workers", workers, 1),
    )  # fmt: skip


class Network:
    """What `onnx` returns."""

    def __init__(self, data: bytes, name: str, *, white: float, multiple: int, channel_axis: int, workers: int):
        self._data, self._name = data, name
        self._white, self._multiple, self._axis, self._workers = white, multiple, channel_axis, workers
        # What tells the journal of a large image that another network went on with it.
        self.__qualname__ = f"onnx {hashlib.sha256(data).hexdigest()}"
        self._open()

    def __call__(self, image: Any, sigma: float) -> np.ndarray:
        """The image without noise of standard deviation `sigma`."""
        given = validation.real_array("image", image)
        if given.ndim not in (2, 3) or not given.size:
            raise ValueError(f"image must have 2 dimensions, or 3 with channels; its shape is {given.shape}")
        level = validation.real("sigma", sigma, "at least 0") / self._white
        planes = given[None] if given.ndim == 2 else np.moveaxis(given, self._axis, 0)
        planes = (planes / self._white).astype(self._dtype, copy=False)
        if len(planes) == self._channels:
            found = self._run(planes, level)
        else:
            found = np.concatenate([
                self._run(np.repeat(plane[None], self._channels, axis=0), level).mean(axis=0, keepdims=True)
                for plane in planes
            ])  # fmt: skip
        found = found.astype(validation.working_dtype(given)) * self._white
        return found[0] if given.ndim == 2 else np.ascontiguousarray(np.moveaxis(found, 0, self._axis))

    def __repr__(self) -> str:
        return f"fd.denoisers.onnx({self._name!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

    def _open(self) -> None:
        """Make the session of this process, and read from it what goes in."""
        try:
            import onnxruntime
        except ImportError:
            raise ImportError('networks need the package onnxruntime: pip install "fastdeblur[onnx]"') from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._workers, 1
        # Idle threads would spin, and take the time of ours.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # errors are raised, not printed too
        self._process = os.getpid()
        try:
            self._session = onnxruntime.InferenceSession(self._data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - onnxruntime's have no base of their own
            raise ValueError(f"file must be an ONNX network that onnxruntime can run; {self._name}: {error}") from None
        self._read_inputs()

    def _read_inputs(self) -> None:
        """How the image and the noise go in; anything else than the documented is refused."""
        inputs = self._session.get_inputs()
        shapes = ", ".join(f"{each.name}: {each.type} {each.shape}" for each in inputs)

        def refuse(what: str) -> None:
            raise ValueError(
                f"file must be a network with {what}, see fd.denoisers.onnx; the inputs of {self._name} are {shapes}"
            )

        if len(inputs) not in (1, 2):
            refuse("one input, or two with the noise")
        image = inputs[0]
        if any(each.type not in DTYPES for each in inputs):
            refuse("inputs of float32, float64 or float16")
        self._dtype = np.dtype(DTYPES[image.type])
        if len(image.shape) != 4 or isinstance(image.shape[1], str | None):
            refuse("a first input of shape (1, channels, rows, columns) whose channels are a number")
        if image.shape[0] not in (1, None) and not isinstance(image.shape[0], str):
            refuse("a first input of one image at a time")
        if any(isinstance(size, int) for size in image.shape[2:]):
            refuse("any number of rows and columns")
        self._channels = image.shape[1] - (len(inputs) == 1)
        if self._channels not in CHANNELS:
            refuse("1 or 3 channels, and with the noise as one more or as a second input")
        self._level_shape: tuple[int, ...] | None = None
        self._level_dtype = self._dtype
        if len(inputs) == 2:
            self._level_dtype = np.dtype(DTYPES[inputs[1].type])
            fixed = tuple(inputs[1].shape)
            free = [not isinstance(size, int) for size in fixed]
            if len(fixed) == 4 and all(free[2:]) and (free[1] or fixed[1] == 1) and (free[0] or fixed[0] == 1):
                self._level_shape = (1, 1, 0, 0)  # as many as the image's
            elif len(fixed) in (0, 1, 2, 4) and all(f or size == 1 for f, size in zip(free, fixed, strict=True)):
                self._level_shape = (1,) * len(fixed)
            else:
                refuse("a noise input that is one number, or of shape (1, 1, rows, columns)")
        self._names = [each.name for each in inputs]

    def _run(self, planes: np.ndarray, level: float) -> np.ndarray:
        """The network's output for all its channels."""
        rows, cols = planes.shape[1:]
        extra = [math.ceil(size / self._multiple) * self._multiple - size for size in (rows, cols)]
        wide = np.pad(planes, ((0, 0), (0, extra[0]), (0, extra[1])), mode="symmetric")
        level_map = np.full((1, *wide.shape[1:]), level, self._level_dtype)
        if self._level_shape is None:
            fed = {self._names[0]: np.concatenate([wide, level_map])[None]}
        else:
            whole = self._level_shape[2:] == (0, 0)
            number = np.full(self._level_shape, level, self._level_dtype) if not whole else level_map[None]
            fed = {self._names[0]: np.ascontiguousarray(wide[None]), self._names[1]: number}
        if self._workers > 1 and self._process != os.getpid():  # a fork has no threads but one: it would wait for ever
            raise RuntimeError("in a forked process, a network works only with workers=1: start it anew, or spawn")
        try:
            found = self._session.run(None, fed)[0]
        except Exception as error:  # noqa: BLE001 - onnxruntime's have no base of their own
            raise ValueError(f"{self._name} fails on an image of shape {wide.shape}: {error}") from None
        if np.shape(found) != (1, *wide.shape):
            raise ValueError(
                f"{self._name} must return an image of the shape that it is given, {(1, *wide.shape)}; "
                f"got {np.shape(found)}"
            )
        denoised: np.ndarray = found[0, :, :rows, :cols]
        return denoised
