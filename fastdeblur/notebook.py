"""The notebook's three functions, on this engine.

They take and return what the TensorFlow notebook's did: float32, zeros outside the frame, a
random start, a fixed step.  (Its convolution correlates with the psf, as TensorFlow's does; here
the psf is drawn unflipped, as everywhere in fastdeblur.  For the notebook's symmetric psf both
are the same.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import api, validation
from .kernels.cpu.rules import RULES
from .psf.builders import check_pixels

__all__ = ["convolve", "deconvolve", "gaussian"]


def gaussian(kernlen: int, nsig_x: float, nsig_y: float) -> np.ndarray:
    """The notebook's psf: a delta blurred by `scipy.ndimage.gaussian_filter`.

    Parameters
    ----------
    kernlen : int
        Rows and columns in pixels.
    nsig_x, nsig_y : float
        Standard deviations in pixels, along the array's first and second axis.

    Returns
    -------
    ndarray, float64, shape (kernlen, kernlen)
        Sums to 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above.

    Examples
    --------
    >>> import fastdeblur as fd
    >>> fd.notebook.gaussian(13, 1, 3).shape
    (13, 13)
    """
    kernlen = validation.integer("kernlen", kernlen, 1)
    check_pixels("kernlen", kernlen, kernlen, kernlen)
    sigmas = validation.real("nsig_x", nsig_x, "at least 0"), validation.real("nsig_y", nsig_y, "at least 0")
    delta = np.zeros((kernlen, kernlen))
    delta[kernlen // 2, kernlen // 2] = 1
    import scipy.ndimage  # a third of the time of importing fastdeblur, for this line

    psf = np.asarray(scipy.ndimage.gaussian_filter(delta, sigmas))
    return np.asarray(psf / psf.sum())


def convolve(image: Any, psf: Any) -> np.ndarray:
    """Blur an image in float32, with zeros outside the frame.

    Parameters
    ----------
    image : array_like, shape (rows, cols)
        Finite; cast to float32.
    psf : array_like, shape (taps_down, taps_across)
        Used as given, not normalised; its centre is at ``psf.shape // 2``.

    Returns
    -------
    ndarray, float32, shape (rows, cols)
        The blurred image.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above.

    Examples
    --------
    >>> import numpy as np, fastdeblur as fd
    >>> fd.notebook.convolve(np.ones((1, 3)), [[0.5, 0.5]])
    array([[1. , 1. , 0.5]], dtype=float32)
    """
    return api.convolve(_float32("image", image), psf)


def deconvolve(
    image: Any,
    psf: Any,
    learning_rate: float = 5e-1,
    mu: float = 0.2,
    *,
    n_iter: int = 500,
    optimizer: str = "gd",
    init: Any = None,
    seed: int | None = None,
    verbose: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise ``sqrt(½‖Ax − b‖²) + mu * sqrt(½‖Dx‖²)`` as the notebook does.

    Parameters
    ----------
    image : array_like, shape (rows, cols)
        The blurred image, finite; cast to float32.
    psf : array_like, shape (taps_down, taps_across)
        The point spread function, centred at ``psf.shape // 2``.
    learning_rate : float
        Length of a step, above 0.
    mu : float
        Weight of the regulariser, at least 0.
    n_iter : int
        Steps, at least 1.
    optimizer : {"gd", "momentum", "nesterov", "adam", "adagrad"}
        The rule of a step, as in TensorFlow 1 (momentum 0.9).
    init : array_like of the image's shape, or None
        Where to start.  None is ``numpy.random.RandomState(seed).randn(*image.shape) / 10``.
    seed : int or None
        Seed of the random start; None draws one.
    verbose : bool
        Print every 100th loss.

    Returns
    -------
    restored : ndarray, float32, shape (rows, cols)
        The last iterate.
    loss_history : ndarray, float64, shape (n_iter + 1,)
        The loss at the start and after each step; shorter if it diverged.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above.

    Warns
    -----
    RuntimeWarning
        If the loss diverged; the last finite estimate is returned.
    UserWarning
        Of a psf that looks like a mistake, see `fastdeblur.solve`.

    Examples
    --------
    >>> import numpy as np, fastdeblur as fd
    >>> psf = fd.notebook.gaussian(5, 1, 1)
    >>> blurred = fd.notebook.convolve(np.eye(16), psf)
    >>> restored, losses = fd.notebook.deconvolve(blurred, psf, n_iter=10, seed=0, verbose=False)
    >>> losses.shape
    (11,)
    """
    validation.choice("optimizer", optimizer, RULES)
    learning_rate = validation.real("learning_rate", learning_rate, "above 0")
    n_iter = validation.integer("n_iter", n_iter, 1)

    result = api.solve(
        _float32("image", image),
        psf,
        data="root",
        mu=mu,
        boundary="constant",
        solver=optimizer,
        learning_rate=learning_rate,
        max_iter=n_iter,
        tol=0,
        init="normal" if init is None else init,
        seed=seed,
    )
    if verbose:
        for step in range(0, result.n_iter + 1, 100):
            print(f"step {step}: loss {result.history[step]:.6g}")
    return result.image, result.history


def _float32(name: str, value: Any) -> np.ndarray:
    return validation.cast(name, validation.real_array(name, value), np.dtype(np.float32))
