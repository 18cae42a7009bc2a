"""`fd.richardson_lucy`, a drop-in for scikit-image's `restoration.richardson_lucy`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import validation
from ...operators.blur import Blur
from ...operators.varying import VaryingBlur
from .host import RichardsonLucyWorkspace
from .solver import plain_steps
from .varying import VaryingRichardsonLucyWorkspace


def richardson_lucy(
    image: Any, psf: Any, num_iter: int = 50, clip: bool = True, filter_epsilon: float | None = None
) -> np.ndarray:
    """Richardson-Lucy deconvolution, as ``skimage.restoration.richardson_lucy`` does it.

    For code that comes from there: the same arguments, the same result.  ``solve(image, psf,
    data="poisson", prior=None)`` knows what to do at the border, needs fewer steps and stops at the noise.

    Parameters
    ----------
    image : array_like, shape (rows, cols)
        The blurred image, finite; zeros are assumed around it.
    psf : array_like, shape (taps_down, taps_across), or Blur
        The point spread function.  A `Blur`, or a `VaryingBlur` for psfs that vary over the image, is for images of
        this shape and dtype, and brings its own boundary.
    num_iter : int, at least 1
        Number of steps.
    clip : bool
        Whether values above 1 and below -1 are set to those.
    filter_epsilon : float or None
        Where the blurred estimate is less than this, it leaves the estimate as dark as it can.

    Returns
    -------
    ndarray
        The restored image, of the image's shape, float32 or float64.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above.

    Warns
    -----
    RuntimeWarning
        If the restored image is too large for its dtype; it then holds infinity or NaN.

    See Also
    --------
    solve : with ``data="poisson"``, what to use for images of your own.

    Notes
    -----
    Each step multiplies the estimate, at first 0.5 everywhere, by ``Aᵀ(b / Ax)`` [1]_, [2]_.

    Psfs of even sizes are centred at ``psf.shape // 2``, as everywhere in this package; scikit-image's
    result for them is shifted by a pixel for each even size.

    References
    ----------
    .. [1] W. H. Richardson, "Bayesian-based iterative method of image restoration", JOSA 62, 1972.
    .. [2] L. B. Lucy, "An iterative technique for the rectification of observed distributions", The
       Astronomical Journal 79, 1974.

    Examples
    --------
    >>> import numpy as np, fastdeblur as fd
    >>> psf = fd.psf.gaussian(5, 1.0)
    >>> sharp = np.zeros((32, 32))
    >>> sharp[8:24, 8:24] = 1.0
    >>> restored = fd.richardson_lucy(fd.convolve(sharp, psf), psf, num_iter=10)
    >>> bool(abs(restored - sharp).mean() < 0.05)
    True
    """
    if not isinstance(psf, Blur):
        validation.psf_dimensions(psf)
    array = validation.pixels("image", image, 2)
    pixels = validation.cast("image", array, validation.working_dtype(array))
    if not isinstance(clip, (bool, np.bool_)):
        raise TypeError(f"clip must be True or False; got {clip!r}")
    steps = validation.integer("num_iter", num_iter, 1)
    least = 0.0 if filter_epsilon is None else validation.real("filter_epsilon", filter_epsilon, "at least 0")
    work = _workspace(psf, pixels)
    restored: np.ndarray = plain_steps(work, np.ascontiguousarray(pixels)[None], steps, least or -np.inf)[0]
    if not np.isfinite(restored).all():
        validation.warn(f"the restored image is too large for {pixels.dtype}", RuntimeWarning)
    if clip:
        np.clip(restored, -1, 1, out=restored)
    return restored


def _workspace(psf: Any, pixels: np.ndarray) -> RichardsonLucyWorkspace:
    """The memory of steps for an image with a psf, or with a caller's Blur, if that is for such images."""
    if not isinstance(psf, Blur):
        return RichardsonLucyWorkspace([Blur(psf, pixels.shape, dtype=pixels.dtype)], 1)
    if (psf.image_shape, psf.dtype, psf.device) != (pixels.shape, pixels.dtype, "cpu"):
        raise ValueError(
            f"psf is a Blur for images of shape {psf.image_shape} and {psf.dtype} on {psf.device!r}; the image has "
            f"{pixels.shape} and {pixels.dtype}, on 'cpu'"
        )
    kind = VaryingRichardsonLucyWorkspace if isinstance(psf, VaryingBlur) else RichardsonLucyWorkspace
    return kind([psf], 1)
