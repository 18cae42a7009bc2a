"""The public functions `convolve`, `deblur`, `solve` and `warmup`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from . import validation
from .deblurrer import Deblurrer
from .engines import annotated
from .engines.devices import engine_for
from .engines.workspaces import check_operation
from .hygiene import without_border
from .io import files
from .kernels.cpu.rules import RULES
from .kernels.runtime import tasks
from .kernels.runtime.arrays import on_gpu
from .operators.blur import Blur, convolved
from .operators.paths import PATHS
from .operators.varying import check_device
from .problem.learned import Scale
from .problem.options import options_in
from .result import Result
from .solvers.frames.solver import solve_frames


def convolve(
    image: Any,
    psf: Any,
    *,
    boundary: str = "constant",
    path: str = "auto",
    device: str = "cpu",
    workers: int | None = None,
) -> np.ndarray:
    """Blur an image: convolve it with a psf, same size out as in.

    Parameters
    ----------
    image : array_like, shape (rows, cols)
        Finite.  Its dtype decides: float32 and float64 are kept, float16 and integers of at most
        16 bits become float32, wider integers float64.
    psf : array_like, shape (taps_down, taps_across), or Blur
        Used as given, not normalised; its centre is at ``psf.shape // 2``.  A `Blur`, or a `VaryingBlur` for psfs that
        vary over the image, is for images of its `estimate_shape` and brings its own boundary, path and dtype.
    boundary : {"constant", "nearest", "reflect", "mirror", "wrap", "unknown"}
        What lies outside the frame, see `Blur`.  With "unknown" nothing is assumed, and only the
        pixels that need no more than the image are returned.
    path : {"auto", "direct", "separable", "fft"}
        How to compute it, see `Blur`.
    device : {"cpu", "cuda"}
        Where to compute.  "cuda" is the current NVIDIA GPU, see `solve`.
    workers : int or None
        Most threads to use; None is Numba's current count.

    Returns
    -------
    ndarray
        A new array of the image's shape; with "unknown" of ``image.shape - psf.shape + 1``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above, if the psf is larger than
        the image and the boundary "unknown", or if a `Blur` is for other images or has another boundary.

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
    if isinstance(psf, Blur):
        options = {"boundary": boundary, "path": path, "device": device, "workers": workers}
        check_operation(psf, "constant", **options)
        return convolved(image if on_gpu(image) else engine_for(device).pixels("image", image), psf)
    validation.psf_dimensions(psf)
    array = engine_for(device).pixels("image", image)
    weights, shape = validation.psf(psf, validation.working_dtype(array)), tuple(array.shape)
    if isinstance(boundary, str) and boundary == "unknown":
        rows, cols = (size - taps + 1 for size, taps in zip(shape, weights.shape, strict=True))
        if min(rows, cols) < 1:
            raise ValueError(
                f"psf must not be larger than the image when boundary is 'unknown'; "
                f"its shape is {weights.shape}, the image's {shape}"
            )
        shape = rows, cols
    else:
        (weights,) = without_border([weights])
    blur = Blur(weights, shape, boundary=boundary, dtype=weights.dtype, path=path, device=device, workers=workers)
    return convolved(image if on_gpu(image) else array, blur)


def deblur(image: Any, psf: Any, **options: Any) -> np.ndarray:
    """Restore a blurred image: ``solve(image, psf, **options).image``.

    Parameters
    ----------
    image, psf, **options
        As for `solve`.

    Returns
    -------
    ndarray
        The restored image, of the image's shape, float32 or float64, not clipped; see `Result.image` for other kinds.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As `solve`, which also says what it warns of.

    See Also
    --------
    solve : the same, with an account of how it went.
    Deblurrer : for many images of one shape.
    deblur_large : for images that do not fit into memory, and Dask's.

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
    validation.options("deblur", options, solve)
    return solve(image, psf, **options).image


def solve(
    image: Any,
    psf: Any,
    shifts: Any = None,
    *,
    data: str | None = None,
    prior: Any = "gradient",
    mu: Any = "auto",
    boundary: str = "unknown",
    weights: Any = None,
    bounds: Any = None,
    background: Any = 0,
    read_noise: float = 0,
    channel_axis: int | None = None,
    solver: str = "auto",
    learning_rate: float | None = None,
    max_iter: int | None = None,
    tol: float = 1e-4,
    init: Any = "image",
    seed: int | None = None,
    path: str = "auto",
    device: str = "cpu",
    workers: int | None = None,
    callback: Callable[[Any], Any] | None = None,
    progress: bool = False,
) -> Result:
    """Restore a blurred image whose psf is known, and say how it went.

    Minimises, over images x, with A the blur, b the image without its background, w the pixels' weights, and R
    what is expected of sharp images,

    - ``data="root"``: ``sqrt(½ Σ w (Ax − b)²) + mu * sqrt(R(x))``,
    - ``data="squares"``: ``½ Σ w (Ax − b)² + mu * R(x)``, or
    - ``data="poisson"``: ``Σ w (Ax − b log Ax) + mu * R(x)``, for counts of photons; x is then at least 0.
      With a background s and read noise of variance σ²: ``Σ w (Ax + c − d log(Ax + c)) + mu * R(x)``, where
      ``c = s + σ²`` and d is ``image + σ²``, or 0 where that is negative [14]_.

    Parameters
    ----------
    image : array_like, shape (rows, cols), or with a channel axis
        The blurred image, finite; pixels that are NaN are missing ones, and ignored.  Its dtype decides:
        float32 and float64 are kept, float16 and integers of at most 16 bits become float32, wider
        integers float64, with values unscaled.  NumPy's masked arrays and astropy's NDData, CCDData, Masked and
        Quantity are taken too: masked pixels are missing ones, and numbers are in the image's unit.
    psf : array_like, shape (taps_down, taps_across), with the image's channel axis if each channel has its own, or Blur
        The point spread function, centred at ``psf.shape // 2``.  Used as given; a warning tells when
        its sum is not 1 within 1 %, or its centroid more than a pixel from its centre.  A `Blur` brings its
        own boundary, path and workers: leave those arguments out, or let them say the same.  A `VaryingBlur` is for
        psfs that vary over the image, on the CPU; the weight is then found by regions, each with its own mean psf.
    shifts : array_like, shape (frames, 2), or None
        Where `image` is a list, or another iterable, of frames of one scene, and `psf` a list with one for each: by how
        many rows and columns the scene has moved in each, see `fastdeblur.shifts`.  A frame is an array, or the path of
        an image file, whose pixels are taken as they are stored; pixels that are NaN are missing.  The sums of
        the data term run over all frames, and there is one estimate: with ``data="squares"``, the default here, and any
        prior but None, with "root" and "gradient", or with "poisson" and "tv", "learned" or None.  `weights` are a
        number for each frame, or an array of its shape, or some of both, and so is `background`, or one of these for
        all; `read_noise`, `bounds`, channels and how to compute it are as for one (the flux of points is not corrected
        for `read_noise`).  Other options are refused.  Frames are read one after another, and not kept but for a bit
        for each pixel of those with missing ones; for photons they are read again at each step, and with "tv" an array
        of the size of each is kept.
    data : {None, "root", "squares", "poisson"}
        What is asked of ``Ax``.  None is "root" for the prior "gradient", whose `mu` then does not depend on the
        brightness of the image, only on its detail and noise; "squares" for every other.  "root" goes with the
        priors "gradient" and None, "poisson" with "tv", "learned" and None, "squares" with all.
    prior : {"gradient", "tv", "sparse", "learned", None} or callable
        What is expected of x, with D the forward differences along rows and columns; with the boundary "wrap", where x
        is periodic, also those from its last row and column to its first.

        - "gradient": smoothness, ``R = ½ Σ |Dx|²``;
        - "tv": few edges, ``R = Σ |Dx|``, total variation [5]_, with all channels' differences in one length;
        - "sparse": fewer and sharper ones, ``R = Σ |Dx|^0.8 + ½ Σ |Hx|^0.8`` with H the second differences,
          after [6]_.  It is not convex: what is found depends on where it starts;
        - "learned": responses to small filters as those of photographs, ``R = Σ_k Σ φ_k(f_k ∗ x)``, with filters f_k
          and potentials φ_k that were trained on photographs, after [15]_, and follow the noise and the range of the
          image.  Beyond its border x is taken for periodic with "wrap", else for reflected.  Channels are taken one by
          one.  It is not convex either.  On the CPU only;
        - a denoiser ``f(image, sigma) -> image``, of the estimate with noise of standard deviation sigma [7]_;
        - None: nothing, whatever `mu` says.  Stop early then; "poisson" stops where the noise begins, with the stop
          reason "noise".
    mu : float, at least 0, or "auto"
        Weight of the prior.  "auto" finds it from the image: from the spectra of signal and noise [4]_ for "gradient",
        and from the noise and the edges that this leaves for "tv" and "sparse".  `Result.mu` is the weight
        found.  For "learned", whose R follows the noise that is found and how smooth the image is, "auto" is 1, and a
        number makes R so much stronger or weaker; for photons it is what they weigh.  For a denoiser it is the variance
        of the noise, of pixels of weight 1.
    boundary : {"unknown", "constant", "nearest", "reflect", "mirror", "wrap"}
        What lies outside the frame.  "unknown" assumes nothing [8]_, [9]_: x extends beyond the frame by the
        psf's reach, and the part in the frame is returned.  The others say what is there, see `Blur`;
        where they are wrong, the restored image rings at its border.  With "wrap" x is periodic for the prior, too.
    weights : array_like of the image's shape, or of one channel's, or None
        At least 0, for instance the inverse of the noise's variance, relative to `mu`; 0 ignores a pixel, see
        `saturated`, and so does NaN where the image is NaN (or masked); elsewhere that is an error.  None is 1.  Far
        inside a hole of such pixels, where the blur brings nothing from others, the result is a smooth continuation
        of what surrounds it.  With "tv" or "sparse", or with bounds, that is not part of the objective: the prior
        counts only differences whose pixels are all within the psf's reach of one with a weight.
    bounds : (low, high) or None
        Between which x must be; either may be None.
    background : number, or array_like of the image's shape, or of one channel's; at least 0
        What was there beside the blurred image, in the image's units, as the sky: the image is that of
        ``Ax + background``.  For "root" and "squares" it is subtracted from the image.  For "poisson" it also says
        how noisy the image is there: if it has already been subtracted, add it again, and pass it here.
    read_noise : float, at least 0
        Standard deviation of the noise that reading added to counts of photons, in the image's units, for
        ``data="poisson"`` only.  With it, or a background, the image may have negative pixels.  With it, the flux of
        the result of the priors None and "tv", not that of "learned", is corrected in the end, see Notes.
    channel_axis : int or None
        The axis of `image` that holds channels; None is a gray image.  Channels are one problem:
        the sums of the objective run over all of them.
    solver : {"auto", "exact", "gd", "momentum", "nesterov", "adam", "adagrad"}
        "auto" takes what serves best: "exact" for the prior "gradient", which finds the minimiser by preconditioned
        conjugate gradients [10]_, in some ten steps whatever the size, or, without weights and with one psf, by one
        division of transforms where those make the problem diagonal ("wrap", where that is constrained least squares
        [18]_, Wiener's filter with the differences for the noise's share; "reflect" with a psf that is symmetric along
        both axes); preconditioned quasi-Newton descent [16]_ for
        "learned"; the alternating direction method for other priors and for bounds; Richardson-Lucy [11]_, [12]_,
        accelerated [13]_, for "poisson" alone; "gd" for no prior.  The other names are rules of a gradient step for
        "gradient" or None, with TensorFlow 1's defaults (momentum 0.9; "nesterov" [1]_, "adagrad" [2]_, "adam" [3]_).
    learning_rate : float above 0, or None
        Length of a gradient step, for those rules only.  None, with "gd", follows from the operator's norm
        and, for "root", the residual's, and is halved whenever the objective would rise by more than
        rounding.  None is 0.05 for "momentum" and "nesterov", 0.02 for "adam", 0.2 for "adagrad",
        meant for images between 0 and 1.
    max_iter : int, at least 1, or None
        Most iterations; None is 200 for "exact" and "learned", 300 for other priors and bounds (3000 for "sparse" on
        images of points, as star fields, whose minimum is far from the start), 30 for denoisers, else 500.  A solve
        that stops there far above `tol` warns, unless it was given fewer than these: who asks for few has reasons.
    tol : float, at least 0
        Stop when `Result.optimality` is at most this; 0 never stops early.  For "exact" the objective is then
        above its minimum by about the square of `tol`, relatively; for "tv" and "learned" by about `tol`.  "exact" also
        stops where no more is left than what pixels are rounded by: in float32, 1e-4 or so for smooth images and large
        `mu`.
    init : {"image", "zeros", "normal"} or array_like of the image's shape
        Where to start: the blurred image, black, or the notebook's noise, which is
        ``numpy.random.RandomState(seed).randn(*image.shape) / 10``.  Beyond the frame the start's
        nearest pixels go on.  Missing pixels start as their neighbours.  "poisson" alone starts from the
        blurred image blurred once more, and no darker than 1 % of its mean: it could not leave 0.
    seed : int or None
        Seed of the random start, for ``init="normal"`` only.  None draws one.
    path : {"auto", "direct", "separable", "fft"}
        How to compute the blur, see `Blur`.  Other priors and bounds are solved in frequencies: "fft".
    device : {"cpu", "cuda"}
        Where to compute.  "cuda" needs an NVIDIA GPU and ``pip install 'fastdeblur[cuda12]'`` (or cuda13).  What is in
        the GPU's memory (`image`, `weights`, `init`, a denoiser's result, with ``__cuda_array_interface__``: CuPy's
        arrays, Torch's tensors, Numba's) stays there, on its device and stream, and `Result.image` is of the same kind;
        callbacks and denoisers see such arrays too.  NumPy's arrays go there and come back.
    workers : int or None
        Most threads to use on the CPU; None is Numba's current count.
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
        If an argument is not of the kind or in the range given above, or so far from 1 that the restored image, the
        objective or `mu` would be no number of their types; the message names it.
    RuntimeError
        If `device` is "cuda" and there is no GPU, driver or package that it needs.

    Warns
    -----
    RuntimeWarning
        If the objective is not finite or grows without bound, or the image does.  The last finite estimate, or the
        start, is returned and `Result.stop_reason` is "diverged"; a smaller `learning_rate` or a larger `mu` helps.
    UserWarning
        If the psf's sum is not 1 within 1 %, or its centroid more than a pixel from its centre.  If the result should
        not be trusted: the residual looks like the image, or its spectrum like a turned or resized psf's, as with a
        wrong psf; or the residual is more than three times what noise allows, or values are far beyond the image's on
        both sides, with a weight that was found; or a solve whose `max_iter` is not yours ends at more than ten times
        `tol`.  Not of images with a side of less than 48 pixels.

    Notes
    -----
    Results are the same, to the last bit, for any number of threads.  A GPU's differ from the CPU's by rounding, and it
    may stop some iterations later where it looks at the tolerance less often.

    For "root" a brighter image needs no other `mu`: objective and minimiser scale with the image.
    For "squares" neither does it, but the two say different things of it: the minimiser of "root" with
    `mu` is that of "squares" with ``mu·‖Ax − b‖/‖Dx‖``, so that "root" smooths more where the image
    is noisier.  Below some `mu` the minimum of "root" has ``Ax = b``, above another it is a constant
    image; there `Result.optimality` is that of the best subgradient.  With ``mu=0`` the problem is
    ill-posed and `max_iter` is what bounds it; where one division solves it, frequencies that the psf loses stay 0.

    With `read_noise`, an estimate that is not negative makes points between pixels wider than they are, and where the
    noise of their ground counts, too bright, by up to 3 % for a psf of sigma 1.3.  So in the end the result of the
    priors None and "tv" is multiplied, pixel by pixel, by what the image shows over what the blurred result shows,
    around it, in windows of three standard deviations of the psf to each side: by as much of that as their noise lets
    believe, at most 6 % [17]_.  `Result.objective`, and the last of its history, are of the image that is returned.

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
    .. [4] P. Whittle, "Estimation and information in stationary time series", Arkiv för Matematik 2, 1953.
    .. [5] L. I. Rudin, S. Osher and E. Fatemi, "Nonlinear total variation based noise removal algorithms",
       Physica D 60, 1992.
    .. [6] D. Krishnan and R. Fergus, "Fast image deconvolution using hyper-Laplacian priors", NIPS 2009.
    .. [7] S. V. Venkatakrishnan, C. A. Bouman and B. Wohlberg, "Plug-and-play priors for model based
       reconstruction", IEEE GlobalSIP 2013.
    .. [8] M. S. C. Almeida and M. A. T. Figueiredo, "Deconvolving images with unknown boundaries using the
       alternating direction method of multipliers", IEEE Transactions on Image Processing 22, 2013.
    .. [9] A. Matakos, S. Ramani and J. A. Fessler, "Accelerated edge-preserving image restoration without
       boundary artifacts", IEEE Transactions on Image Processing 22, 2013.
    .. [10] A. V. Knyazev, "Toward the optimal preconditioned eigensolver: locally optimal block
       preconditioned conjugate gradient method", SIAM Journal on Scientific Computing 23, 2001.
    .. [11] W. H. Richardson, "Bayesian-based iterative method of image restoration", JOSA 62, 1972.
    .. [12] L. B. Lucy, "An iterative technique for the rectification of observed distributions", The
       Astronomical Journal 79, 1974.
    .. [13] D. S. C. Biggs and M. Andrews, "Acceleration of iterative image restoration algorithms", Applied
       Optics 36, 1997.
    .. [14] D. L. Snyder, A. M. Hammoud and R. L. White, "Image recovery from data acquired with a charge-coupled-device
       camera", JOSA A 10, 1993.
    .. [15] A. Goujon, S. Neumayer and M. Unser, "Learning weakly convex regularizers for convergent
       image-reconstruction algorithms", SIAM Journal on Imaging Sciences 17, 2024.
    .. [16] D. C. Liu and J. Nocedal, "On the limited memory BFGS method for large scale optimization", Mathematical
       Programming 45, 1989.
    .. [17] P. B. Stetson, "DAOPHOT: a computer program for crowded-field stellar photometry", Publications of the
       Astronomical Society of the Pacific 99, 1987.
    .. [18] B. R. Hunt, "The application of constrained least squares estimation to image restoration by digital
       computer", IEEE Transactions on Computers C-22, 1973.

    Examples
    --------
    >>> import numpy as np, fastdeblur as fd
    >>> psf = fd.psf.gaussian(5, 1.0)
    >>> sharp = np.zeros((32, 32))
    >>> sharp[8:24, 8:24] = 1.0
    >>> result = fd.solve(fd.convolve(sharp, psf), psf, mu=0.01, max_iter=100)
    >>> bool(result.history[-1] < result.history[0])
    True

    Any denoiser will do as a prior.  This one is total variation again, whose weight grows with the square
    of the noise:

    >>> from skimage.restoration import denoise_tv_chambolle
    >>> noisy = fd.convolve(sharp, psf) + 0.01 * np.random.default_rng(0).standard_normal(sharp.shape)
    >>> result = fd.solve(noisy, psf, prior=lambda image, sigma: denoise_tv_chambolle(image, weight=10 * sigma**2))
    >>> bool(abs(result.image - sharp).mean() < 0.5 * abs(noisy - sharp).mean())
    True
    """
    began = time.perf_counter()
    options = options_in(locals())
    if _are_frames(image, psf, channel_axis):
        return solve_frames(image, psf, shifts, options, _plain, engine_for("cpu"))
    if shifts is not None:
        raise ValueError("shifts go with a list of frames and a list of psfs; image is one")
    check_device(psf, device)
    engine = engine_for(device)
    if not isinstance(psf, Blur):
        validation.psf_dimensions(psf, channel_axis)
    accepted = engine.accept(image, channel_axis)
    return Deblurrer(psf, np.shape(accepted.given), **options)._solve(accepted, began)


def denoise(
    image: Any,
    sigma: float | None = None,
    *,
    weights: Any = None,
    bounds: Any = None,
    channel_axis: int | None = None,
    max_iter: int | None = None,
    tol: float = 1e-4,
    workers: int | None = None,
) -> np.ndarray:
    """Remove white noise from an image that is not blurred.

    Minimises ``½ Σ w (x − image)² + R(x)`` over images x, with the prior "learned" [1]_ of `solve` for R, as trained:
    for noise of that standard deviation.

    Parameters
    ----------
    image : array_like, shape (rows, cols), or with a channel axis
        As for `solve`, which says what its dtype decides.  Pixels that are NaN are missing ones, and filled.
    sigma : float above 0, or None
        Standard deviation of the noise, in the image's units; None is to be estimated from the image.
    weights : array_like of the image's shape, or of one channel's, or None
        As for `solve`; sigma is that of the noise of pixels of weight 1.
    bounds : (low, high) or None
        Between which x must be; either may be None.
    channel_axis : int or None
        The axis of `image` that holds channels, which are taken one by one, with one sigma; None is a gray image.
    max_iter : int, at least 1, or None
        Most iterations; None is 200.
    tol : float, at least 0
        Stop when the next step would lower the objective by no more than that share of it.
    workers : int or None
        Most threads to use; None is Numba's current count.

    Returns
    -------
    ndarray
        The denoised image, of the image's shape, float32 or float64, not clipped.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind or in the range given above.

    See Also
    --------
    solve : for blurred images.

    Notes
    -----
    The prior was trained for noise of up to a fifth of the image's range.  In ``solve(prior=fastdeblur.denoise)`` it is
    a denoiser as any, but ``prior="learned"`` minimises one objective, and is faster.

    References
    ----------
    .. [1] A. Goujon, S. Neumayer and M. Unser, "Learning weakly convex regularizers for convergent image-reconstruction
       algorithms", SIAM Journal on Imaging Sciences 17, 2024.

    Examples
    --------
    >>> import numpy as np, fastdeblur as fd
    >>> sharp = np.zeros((64, 64))
    >>> sharp[16:48, 16:48] = 1.0
    >>> noisy = sharp + 0.1 * np.random.default_rng(0).standard_normal(sharp.shape)
    >>> denoised = fd.denoise(noisy, 0.1)
    >>> bool(abs(denoised - sharp).mean() < 0.3 * abs(noisy - sharp).mean())
    True
    """
    began = time.perf_counter()
    scale = Scale(denoises=True)
    if sigma is not None:
        scale = replace(scale, noise=validation.real("sigma", sigma, "above 0"))
    accepted = engine_for("cpu").accept(image, channel_axis)
    deblurrer = Deblurrer._silent(
        np.ones((1, 1)), np.shape(accepted.given), prior="learned", boundary="reflect", weights=weights, bounds=bounds,
        channel_axis=channel_axis, max_iter=max_iter, tol=tol, workers=workers,
    )  # fmt: skip
    denoised: np.ndarray = deblurrer._following(scale)._solve_silently(accepted, began)[0].image
    return denoised


def _are_frames(image: Any, psf: Any, channel_axis: Any) -> bool:
    """Whether these are several frames and their psfs: an iterable that is no array, and a list of psfs."""
    dimensions = 2 if channel_axis is None else 3
    if isinstance(image, (str, bytes)) or (hasattr(image, "shape") and len(image.shape) != dimensions + 1):
        return False
    if not isinstance(psf, (list, tuple)) or not psf or not hasattr(image, "__iter__"):
        return False
    if dimensions == 3 and isinstance(image, (list, tuple)) and np.ndim(image[0] if image else 0) == 2:
        return False  # the channels of one image
    return all(isinstance(each, Blur) or np.ndim(each) in (2, dimensions) for each in psf)


def _plain(frame: Any) -> Any:
    """A frame as plain numbers: of a file those that are stored, of arrays NaN where their masks say so."""
    if isinstance(frame, (str, bytes)) or hasattr(frame, "__fspath__"):
        return files.read(frame)
    return annotated.numbers("frames", frame)[0]


def warmup() -> None:
    """Compile everything, or load it from the cache, so that no later call has to wait.

    Takes a minute or so where nothing is cached yet, and about a second afterwards.  Worth
    calling before a service takes requests, or when an image of a container is built.

    Raises
    ------
    RuntimeError
        If Numba's compiler is off (``NUMBA_DISABLE_JIT``); other functions raise it too.

    Examples
    --------
    >>> import fastdeblur as fd
    >>> fd.warmup()
    """
    psf = np.ones((3, 3)) / 9
    kinds: list[dict[str, Any]] = [{"solver": rule} for rule in RULES]
    kinds += [{"solver": "gd", "path": path} for path in PATHS]
    kinds += [{"boundary": boundary} for boundary in ("constant", "reflect", "unknown", "wrap")]
    kinds += [{"boundary": "wrap", "weights": np.eye(48) + 1}]
    kinds += [
        {"prior": "tv"},
        {"prior": "sparse"},
        {"prior": "learned"},
        {"bounds": (0, 1)},
        {"data": "poisson", "prior": None},
    ]
    for dtype in (np.float32, np.float64):
        image = np.eye(48, dtype=dtype)  # large enough for a preconditioner of several parts
        for path in PATHS:
            convolve(image, psf, path=path)
        for kind in kinds:
            solve(image, psf, mu=0.2, max_iter=1, tol=0, **kind)
    tasks.warm()
