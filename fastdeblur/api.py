"""The functions that users call: check, promote, choose; the rest is below."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from . import checks, runtime
from .blur import Blur, convolved
from .deblurrer import Deblurrer
from .filters import PATHS
from .kernels.rules import RULES
from .result import Result


def convolve(
    image: Any, psf: Any, *, boundary: str = "constant", path: str = "auto", workers: int | None = None
) -> np.ndarray:
    """Blur an image: convolve it with a psf, same size out as in.

    Parameters
    ----------
    image : array_like, shape (rows, cols)
        Finite.  Its dtype decides: float32 and float64 are kept, float16 and integers of at most
        16 bits become float32, wider integers float64.
    psf : array_like, shape (taps_down, taps_across)
        Used as given, not normalised; its centre is at ``psf.shape // 2``.
    boundary : {"constant", "nearest", "reflect", "mirror", "wrap", "unknown"}
        What lies outside the frame, see `Blur`.  With "unknown" nothing is assumed, and only the
        pixels that need no more than the image are returned.
    path : {"auto", "direct", "separable", "fft"}
        How to compute it, see `Blur`.
    workers : int or None
        Most threads to use; None is Numba's current count.

    Returns
    -------
    ndarray
        A new array of the image's shape; with "unknown" of ``image.shape - psf.shape + 1``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above, or if the psf is larger than
        the image and the boundary "unknown".

    See Also
    --------
    Blur : the same as an operator that can be kept, with its adjoint.
    scipy.ndimage.convolve : the same values, with the boundary as its `mode`.

    Examples
    --------
    >>> import numpy as np, fastdeblur as fd
    >>> delta = np.zeros((3, 3))
    >>> delta[1, 1] = 1
    >>> fd.convolve(delta, [[0, 1, 2], [3, 4, 5], [6, 7, 8]])
    array([[0., 1., 2.],
           [3., 4., 5.],
           [6., 7., 8.]])
    """
    array = checks.pixels("image", image, 2)
    weights, shape = checks.psf(psf, checks.working_dtype(array)), array.shape
    if isinstance(boundary, str) and boundary == "unknown":
        rows, cols = (size - taps + 1 for size, taps in zip(shape, weights.shape, strict=True))
        if min(rows, cols) < 1:
            raise ValueError(
                f"psf must not be larger than the image when boundary is 'unknown'; "
                f"its shape is {weights.shape}, the image's {shape}"
            )
        shape = rows, cols
    blur = Blur(weights, shape, boundary=boundary, dtype=weights.dtype, path=path, workers=workers)
    return convolved(array, blur)


def deblur(image: Any, psf: Any, **options: Any) -> np.ndarray:
    """Restore a blurred image: ``solve(image, psf, **options).image``.

    Parameters
    ----------
    image, psf, **options
        As for `solve`.

    Returns
    -------
    ndarray
        The restored image, float32 or float64, not clipped.

    Examples
    --------
    >>> import numpy as np, fastdeblur as fd
    >>> psf = fd.psf.gaussian(5, 1.0)
    >>> sharp = np.zeros((32, 32))
    >>> sharp[8:24, 8:24] = 1.0
    >>> restored = fd.deblur(fd.convolve(sharp, psf), psf, mu=0.01)
    >>> restored.shape
    (32, 32)
    """
    return solve(image, psf, **options).image


def solve(
    image: Any,
    psf: Any,
    *,
    data: str | None = None,
    prior: str | None = "gradient",
    mu: Any = "auto",
    boundary: str = "unknown",
    channel_axis: int | None = None,
    solver: str = "auto",
    learning_rate: float | None = None,
    max_iter: int | None = None,
    tol: float = 1e-4,
    init: Any = "image",
    seed: int | None = None,
    path: str = "auto",
    workers: int | None = None,
    callback: Callable[[Any], Any] | None = None,
    progress: bool = False,
) -> Result:
    """Restore a blurred image whose psf is known, and say how it went.

    Minimises, over images x, with A the blur, b the image and D the forward differences along
    rows and columns,

    - ``data="root"``: ``sqrt(½‖Ax − b‖²) + mu * sqrt(½‖Dx‖²)``, or
    - ``data="squares"``: ``½‖Ax − b‖² + mu * ½‖Dx‖²``,

    exactly, or by descent along the gradient.

    Parameters
    ----------
    image : array_like, shape (rows, cols), or with a channel axis
        The blurred image, finite.  Its dtype decides: float32 and float64 are kept, float16 and
        integers of at most 16 bits become float32, wider integers float64, with values unscaled.
    psf : array_like, shape (taps_down, taps_across), or Blur
        The point spread function, centred at ``psf.shape // 2``.  Used as given; a warning tells
        when its sum is not 1 within 1 %.  A `Blur` brings its own boundary, path and workers: leave
        those arguments out, or let them say the same.
    data : {None, "root", "squares"}
        What is asked of ``Ax − b``.  None is "root", whose `mu` does not depend on the brightness
        of the image, only on its detail and noise.
    prior : {"gradient", None}
        What is asked of x.  None is nothing, whatever `mu` says; stop early then.
    mu : float, at least 0, or "auto"
        Weight of the prior.  "auto" finds it from the image by generalised cross-validation [4]_;
        `Result.mu` is the weight found.
    boundary : {"unknown", "constant", "nearest", "reflect", "mirror", "wrap"}
        What lies outside the frame.  "unknown" assumes nothing: x extends beyond the frame by the
        psf's reach, and the part in the frame is returned.  The others say what is there, see `Blur`;
        where they are wrong, the restored image rings at its border.
    channel_axis : int or None
        The axis of `image` that holds channels; None is a gray image.  Channels are one problem:
        the sums of the objective run over all of them.
    solver : {"auto", "exact", "gd", "momentum", "nesterov", "adam", "adagrad"}
        "exact" finds the minimiser by preconditioned conjugate gradients, in some ten steps
        whatever the size; "auto" is "exact", or "gd" without a prior.  The others are rules of a
        gradient step, with TensorFlow 1's defaults (momentum 0.9).
    learning_rate : float above 0, or None
        Length of a gradient step, not for "exact".  None, with "gd", follows from the operator's norm
        and, for "root", the residual's, and is halved whenever the objective would rise by more than
        rounding.  None is 0.05 for "momentum" and "nesterov", 0.02 for "adam", 0.2 for "adagrad",
        meant for images between 0 and 1.
    max_iter : int, at least 1, or None
        Most iterations; None is 200 for "exact", else 500.
    tol : float, at least 0
        Stop when `Result.optimality` is at most this; 0 never stops early.  The objective is then
        above its minimum by about the square of `tol`, relatively.
    init : {"image", "zeros", "normal"} or array_like of the image's shape
        Where to start: the blurred image, black, or the notebook's noise, which is
        ``numpy.random.RandomState(seed).randn(*image.shape) / 10``.  Beyond the frame the start's
        nearest pixels go on.
    seed : int or None
        Seed of the random start, for ``init="normal"`` only.  None draws one.
    path : {"auto", "direct", "separable", "fft"}
        How to compute the blur, see `Blur`.
    workers : int or None
        Most threads to use; None is Numba's current count.
    callback : callable or None
        Called after each iteration with an object that has `iteration`, `objective`,
        `optimality` and `estimate`, a read-only view that is valid during the call.  If it
        returns True, the current estimate is returned.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Result

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above; the message names it.

    Warns
    -----
    RuntimeWarning
        If the objective is not finite or grows without bound.  The last finite estimate is
        returned and `Result.stop_reason` is "diverged"; a smaller `learning_rate` helps.
    UserWarning
        If the psf's sum is not 1 within 1 %.

    Notes
    -----
    Results are the same, to the last bit, for any number of threads.

    For "root" a brighter image needs no other `mu`: objective and minimiser scale with the image.
    For "squares" neither does it, but the two say different things of it: the minimiser of "root" with
    `mu` is that of "squares" with ``mu·‖Ax − b‖/‖Dx‖``, so that "root" smooths more where the image
    is noisier.  Below some `mu` the minimum of "root" has ``Ax = b``, above another it is a constant
    image; there `Result.optimality` is that of the best subgradient.  With ``mu=0`` the problem is
    ill-posed and `max_iter` is what bounds it.

    To stop after some time::

        began = time.monotonic()
        fd.solve(image, psf, callback=lambda state: time.monotonic() - began > 10)

    References
    ----------
    .. [1] Y. Nesterov, "A method for solving the convex programming problem with convergence rate
       O(1/k²)", 1983.
    .. [2] J. Duchi, E. Hazan and Y. Singer, "Adaptive subgradient methods for online learning and
       stochastic optimization", JMLR 12, 2011.
    .. [3] D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    .. [4] G. H. Golub, M. Heath and G. Wahba, "Generalized cross-validation as a method for choosing
       a good ridge parameter", Technometrics 21, 1979.

    Examples
    --------
    >>> import numpy as np, fastdeblur as fd
    >>> psf = fd.psf.gaussian(5, 1.0)
    >>> sharp = np.zeros((32, 32))
    >>> sharp[8:24, 8:24] = 1.0
    >>> result = fd.solve(fd.convolve(sharp, psf), psf, mu=0.01, max_iter=100)
    >>> bool(result.history[-1] < result.history[0])
    True
    """
    began = time.perf_counter()
    planes = checks.planes("image", image, channel_axis)
    deblurrer = Deblurrer(
        psf, np.shape(image),
        data=data, prior=prior, mu=mu, boundary=boundary, channel_axis=channel_axis, solver=solver,
        learning_rate=learning_rate, max_iter=max_iter, tol=tol, init=init, seed=seed, path=path, workers=workers,
        callback=callback, progress=progress,
    )  # fmt: skip
    return deblurrer._solve(planes, deblurrer._start, callback, None, began)


def warmup() -> None:
    """Compile everything, or load it from the cache, so that no later call has to wait.

    Takes some seconds where nothing is cached yet, and well under a second afterwards.  Worth
    calling before a service takes requests, or when an image of a container is built.

    Examples
    --------
    >>> import fastdeblur as fd
    >>> fd.warmup()
    """
    for dtype in (np.float32, np.float64):
        image = np.eye(32, dtype=dtype)
        for path in PATHS:
            blur = Blur(np.ones((3, 3)) / 9, image.shape, dtype=dtype, path=path)
            blur.forward(image)
            for rule in (*RULES, "exact") if path == "direct" else ["gd"]:
                solve(image, blur, solver=rule, max_iter=1, tol=0)
    runtime.warm()
