"""Every kind of bad input to every public function, in one table: what is raised, and that it names the argument."""

import numpy as np
import pytest

import fastdeblur as fd

IMAGE = np.random.default_rng(0).random((8, 9))
PSF = np.full((3, 3), 1 / 9)


def with_value(array, value):
    array = array.copy()
    array[1, 1] = value
    return array


IMAGES = [
    (IMAGE[0], ValueError, r"image must have 2 dimensions.*; its shape is \(9,\)"),
    (IMAGE[None], ValueError, r"image must have 2 dimensions.*; its shape is \(1, 8, 9\)"),
    (3.0, ValueError, "image must have 2 dimensions"),
    (None, TypeError, "image must hold real numbers"),
    (np.empty((0, 4)), ValueError, "image must not be empty"),
    (np.empty((4, 0)), ValueError, "image must not be empty"),
    (IMAGE.astype(complex), TypeError, "image must hold real numbers.*complex128"),
    (IMAGE.astype(object), TypeError, "image must hold real numbers.*object"),
    (IMAGE.astype(str), TypeError, "image must hold real numbers.*<U"),
    (IMAGE.astype("datetime64[s]"), TypeError, "image must hold real numbers"),
    (IMAGE.astype(np.longdouble), TypeError, "image must hold real numbers of at most 64 bits"),
    ([[1.0, 2.0], [3.0]], TypeError, "image must be an array of real numbers"),
    (with_value(IMAGE, np.inf), ValueError, "image must be finite"),
    (with_value(IMAGE, -np.inf).T, ValueError, "image must be finite"),
]

PSFS = [
    (PSF[0], ValueError, r"psf must have two dimensions; its shape is \(3,\)"),
    (PSF[None], ValueError, "psf must have two dimensions"),
    (np.empty((0, 3)), ValueError, "psf must not be empty"),
    (PSF.astype(complex), TypeError, "psf must hold real numbers"),
    (PSF.astype(object), TypeError, "psf must hold real numbers"),
    ("gaussian", TypeError, "psf must hold real numbers, in an array; got 'gaussian'"),
    (None, TypeError, "psf must hold real numbers"),
    (np.ma.masked_array(PSF), TypeError, "psf must not be a masked array"),
    (with_value(PSF, np.nan), ValueError, "psf must be finite"),
    (with_value(PSF, np.inf), ValueError, "psf must be finite"),
    (np.zeros((3, 3)), ValueError, "psf must not be all zero"),
]

BLUR_OPTIONS = [
    ("boundary", "symmetric", ValueError, "boundary must be one of 'constant', 'nearest', .*; got 'symmetric'"),
    ("boundary", None, ValueError, "boundary must be one of"),
    ("boundary", 0, ValueError, "boundary must be one of"),
    ("path", "fourier", ValueError, "path must be one of 'auto', 'direct', 'separable', 'fft'; got 'fourier'"),
    ("path", 1, ValueError, "path must be one of"),
    ("path", ["auto"], ValueError, "path must be one of"),
    ("workers", 0, ValueError, "workers must be a whole number of at least 1; got 0"),
    ("workers", -1, ValueError, "workers must be"),
    ("workers", 1.5, TypeError, "workers must be"),
    ("workers", True, TypeError, "workers must be"),
    ("workers", "2", TypeError, "workers must be"),
]

SOLVE_OPTIONS = [
    *BLUR_OPTIONS,
    ("data", "counts", ValueError, "data must be one of 'root', 'squares', 'poisson', None; got 'counts'"),
    ("data", "poisson", ValueError, "data='poisson' goes with prior 'tv', 'learned' or None; got prior='gradient'"),
    (
        "prior",
        "TV",
        ValueError,
        "prior must be 'gradient', 'tv', 'sparse', 'learned' or None, or a denoiser .*; got 'TV'",
    ),
    ("prior", 1, ValueError, "prior must be 'gradient'"),
    ("weights", IMAGE[1:], ValueError, r"weights must have the image's shape \(8, 9\); its shape is \(7, 9\)"),
    ("weights", -IMAGE, ValueError, r"weights must be finite and at least 0; at index \(0, 0\) it is -"),
    ("weights", np.full(IMAGE.shape, np.nan), ValueError, "weights must not be all NaN"),
    ("weights", with_value(IMAGE, np.inf), ValueError, r"weights must be finite.*; at index \(1, 1\) it is inf"),
    ("weights", 0 * IMAGE, ValueError, "weights must not be all zero"),
    ("weights", "all", TypeError, "weights must hold real numbers"),
    ("weights", 1.0, ValueError, "weights must have the image's shape"),
    ("bounds", (1, 0), ValueError, r"bounds must be \(low, high\), .*, low at most high; got \(1, 0\)"),
    ("bounds", (0, np.nan), ValueError, "bounds must be a finite number"),
    ("bounds", ("a", 1), TypeError, "bounds must be a finite number"),
    ("bounds", 1, TypeError, r"bounds must be \(low, high\)"),
    ("bounds", (0, 1, 2), TypeError, r"bounds must be \(low, high\)"),
    ("bounds", "01", TypeError, r"bounds must be \(low, high\)"),
    ("mu", -0.1, ValueError, "mu must be a finite number at least 0; got -0.1"),
    ("mu", np.nan, ValueError, "mu must be"),
    ("mu", np.inf, ValueError, "mu must be"),
    ("mu", "best", ValueError, "mu must be a finite number at least 0, or 'auto'; got 'best'"),
    ("mu", None, TypeError, "mu must be"),
    ("mu", [0.1], TypeError, "mu must be"),
    ("mu", 1j, TypeError, "mu must be"),
    ("mu", True, TypeError, "mu must be"),
    ("channel_axis", 3, ValueError, "image must have 3 dimensions"),
    ("solver", "newton", ValueError, "solver must be one of 'auto', 'exact', 'gd', .*; got 'newton'"),
    ("solver", "GD", ValueError, "solver must be one of"),
    ("learning_rate", 0, ValueError, "learning_rate must be a finite number above 0; got 0"),
    ("learning_rate", -1, ValueError, "learning_rate must be"),
    ("learning_rate", np.inf, ValueError, "learning_rate must be"),
    ("learning_rate", "fast", TypeError, "learning_rate must be"),
    ("max_iter", 0, ValueError, "max_iter must be a whole number from 1"),
    ("max_iter", -5, ValueError, "max_iter must be"),
    ("max_iter", 10.0, TypeError, "max_iter must be"),
    ("max_iter", 2**80, ValueError, "max_iter must be"),
    ("tol", -1e-9, ValueError, "tol must be"),
    ("tol", np.nan, ValueError, "tol must be"),
    ("tol", "1e-3", TypeError, "tol must be"),
    ("init", IMAGE[:-1], ValueError, r"init must have the image's shape \(8, 9\); its shape is \(7, 9\)"),
    ("init", IMAGE[None], ValueError, "init must have the image's shape"),
    ("init", "random", ValueError, "init must be one of 'image', 'zeros', 'normal'; got 'random'"),
    ("init", None, ValueError, "init must be one of"),
    ("init", with_value(IMAGE, np.nan), ValueError, "init must be finite"),
    ("init", IMAGE.astype(complex), TypeError, "init must hold real numbers"),
    ("seed", -1, ValueError, "seed must be"),
    ("seed", 0.5, TypeError, "seed must be"),
    ("seed", 3, ValueError, "seed is for init='normal'"),
    ("callback", 3, TypeError, "callback must be callable"),
    ("progress", "yes", TypeError, "progress must be True or False"),
]


PAIRS = [
    ({"data": "root", "prior": "tv"}, "data='root' goes with prior 'gradient' or None; got prior='tv'"),
    ({"data": "root", "prior": lambda image, sigma: image}, "data='root' goes with .*; got a denoiser"),
    ({"data": "poisson", "prior": "sparse"}, "data='poisson' goes with prior 'tv', 'learned' or None; got .*sparse'"),
    ({"prior": "tv", "solver": "exact"}, "solver='exact' goes with prior='gradient', without bounds; got prior='tv'"),
    ({"bounds": (0, 1), "solver": "exact"}, "solver='exact' goes with .*; got bounds"),
    ({"prior": "tv", "solver": "adam"}, "solver='adam' goes with prior='gradient' or None"),
    ({"data": "poisson", "prior": None, "solver": "gd"}, "solver='gd' goes with .*data='poisson'"),
    ({"prior": "sparse", "learning_rate": 0.1}, "learning_rate is for the solvers 'gd', .*; got 0.1 with this prior"),
    ({"data": "poisson", "prior": None, "bounds": (-2, -1)}, "bounds must let the estimate be at least 0"),
]


@pytest.mark.parametrize(("options", "message"), PAIRS)
def test_what_does_not_go_together(options, message):
    with pytest.raises(ValueError, match=message):
        fd.solve(IMAGE, PSF, **options)


def test_photons_are_not_negative():
    with pytest.raises(ValueError, match="image must not be negative with data='poisson'; its least value is -1"):
        fd.solve(with_value(IMAGE, -1.0), PSF, data="poisson", prior=None)
    with pytest.raises(ValueError, match="psf must not be negative with data='poisson'; its least value is -"):
        fd.solve(IMAGE, np.array([[-0.1, 1.1]]), data="poisson", prior="tv")


def test_no_pixel_left():
    with pytest.raises(ValueError, match="weights and NaN pixels of image must leave some pixel; none is left"):
        fd.solve(np.full((4, 5), np.nan), PSF)
    half = np.where(np.arange(9) < 4, np.nan, IMAGE)
    with pytest.raises(ValueError, match="none is left"):
        fd.solve(half, PSF, weights=np.isnan(half))


def test_nan_is_refused_where_there_are_no_weights():
    with pytest.raises(ValueError, match=r"x must be finite; at index \(1, 1\) it is nan|image must be finite"):
        fd.convolve(with_value(IMAGE, np.nan), PSF)
    with pytest.raises(ValueError, match="image must be finite"):
        fd.richardson_lucy(with_value(IMAGE, np.nan), PSF)


def test_channels_of_psfs():
    image = np.stack([IMAGE] * 3)
    with pytest.raises(ValueError, match=r"psf must have as many channels as the image, 3; its shape is \(2, 3, 3\)"):
        fd.solve(image, np.stack([PSF] * 2), channel_axis=0)
    with pytest.raises(ValueError, match="psf must not be all zero"):
        fd.solve(image, np.stack([PSF, PSF, 0 * PSF]), channel_axis=0)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("num_iter", 0, ValueError), ("num_iter", 1.5, TypeError), ("clip", "yes", TypeError),
        ("filter_epsilon", -1, ValueError), ("filter_epsilon", "a", TypeError),
    ],
)  # fmt: skip
def test_richardson_lucys_arguments(name, value, error):
    with pytest.raises(error, match=f"{name} must be"):
        fd.richardson_lucy(IMAGE, PSF, **{name: value})


@pytest.mark.parametrize(("level", "error"), [("a", TypeError), (np.nan, ValueError)])
def test_levels(level, error):
    with pytest.raises(error, match="level must be a finite number"):
        fd.saturated(IMAGE, level)


@pytest.mark.parametrize("function", [fd.solve, fd.deblur, fd.convolve])
@pytest.mark.parametrize(("image", "error", "message"), IMAGES)
def test_images(function, image, error, message):
    with pytest.raises(error, match=message):
        function(image, PSF)


@pytest.mark.parametrize("function", [fd.solve, fd.convolve, lambda image, psf: fd.Blur(psf, image.shape)])
@pytest.mark.parametrize(("psf", "error", "message"), PSFS)
def test_psfs(function, psf, error, message):
    with pytest.raises(error, match=message):
        function(IMAGE, psf)


@pytest.mark.parametrize(("option", "value", "error", "message"), SOLVE_OPTIONS)
def test_options_of_solve(option, value, error, message):
    with pytest.raises(error, match=message):
        fd.solve(IMAGE, PSF, **{option: value})


@pytest.mark.parametrize(("option", "value", "error", "message"), BLUR_OPTIONS)
def test_options_of_convolve_and_blur(option, value, error, message):
    with pytest.raises(error, match=message):
        fd.convolve(IMAGE, PSF, **{option: value})
    with pytest.raises(error, match=message):
        fd.Blur(PSF, IMAGE.shape, **{option: value})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: fd.convolve(IMAGE, np.ones((3, 10)), boundary="unknown"),
            ValueError,
            r"psf must not be larger than the image .* its shape is \(3, 10\), the image's \(8, 9\)",
        ),
        (lambda: fd.Blur(PSF, 8), ValueError, "image_shape must be 2 sizes; got 8"),
        (lambda: fd.Blur(PSF, (8,)), ValueError, "image_shape must be 2 sizes"),
        (lambda: fd.Blur(PSF, (8, 9, 3)), ValueError, "image_shape must be 2 sizes"),
        (lambda: fd.Blur(PSF, (0, 9)), ValueError, "image_shape must be a whole number of at least 1; got 0"),
        (lambda: fd.Blur(PSF, (8.0, 9)), TypeError, "image_shape must be a whole number"),
        (lambda: fd.Blur(PSF, (8, 9), dtype="int32"), ValueError, "dtype must be float32 or float64; got int32"),
        (lambda: fd.Blur(PSF, (8, 9), dtype="float16"), ValueError, "dtype must be"),
        (lambda: fd.Blur(PSF, (8, 9), dtype="nonsense"), TypeError, "dtype must be"),
        (lambda: fd.Blur(PSF * 1e300, (8, 9), dtype="float32"), ValueError, "psf must be finite"),
        (lambda: fd.solve(IMAGE, PSF, channel_axis=0), ValueError, "image must have 3 dimensions"),
        (lambda: fd.solve(IMAGE[None], PSF, channel_axis=3), ValueError, "channel_axis must be .* from -3 to 2; got 3"),
        (lambda: fd.solve(IMAGE[None], PSF, channel_axis=-4), ValueError, "channel_axis must be"),
        (lambda: fd.solve(IMAGE[None], PSF, channel_axis="last"), TypeError, "channel_axis must be"),
        (lambda: fd.solve(IMAGE, fd.Blur(PSF, (9, 8))), ValueError, r"psf is a Blur for images of shape \(9, 8\)"),
        (lambda: fd.solve(IMAGE, fd.Blur(PSF, (8, 9), dtype="float32")), ValueError, "psf is a Blur of float32"),
        (lambda: fd.solve(IMAGE, fd.Blur(PSF, (8, 9), path="direct"), path="separable"), ValueError, "path is the"),
        (lambda: fd.solve(IMAGE, fd.Blur(PSF, (8, 9)), workers=2), ValueError, "workers is the Blur's own"),
        (lambda: fd.solve(IMAGE, fd.Blur(PSF, (8, 9)), boundary="wrap"), ValueError, "boundary is the Blur's own"),
        (lambda: fd.notebook.deconvolve(IMAGE, PSF, optimizer="auto"), ValueError, "optimizer must be one of 'gd'"),
        (lambda: fd.notebook.deconvolve(IMAGE, PSF, None), TypeError, "learning_rate must be"),
        (lambda: fd.notebook.deconvolve(IMAGE, PSF, n_iter=0), ValueError, "n_iter must be"),
        (lambda: fd.notebook.deconvolve(IMAGE, PSF, mu=-1), ValueError, "mu must be"),
        (lambda: fd.notebook.deconvolve(IMAGE * np.nan, PSF), ValueError, "image must be finite"),
        (lambda: fd.notebook.gaussian(0, 1, 1), ValueError, "kernlen must be"),
        (lambda: fd.notebook.gaussian(5, -1, 1), ValueError, "nsig_x must be"),
        (lambda: fd.psf.gaussian((3, 3), 0), ValueError, "sigma must be a finite number above 0"),
        (lambda: fd.psf.gaussian((3, 3), (1, 2, 3)), ValueError, "sigma must be one number or two"),
        (lambda: fd.psf.gaussian((3, 3, 3), 1), ValueError, "shape must be one size or two"),
        (lambda: fd.psf.gaussian(0, 1), ValueError, "shape must be"),
        (lambda: fd.psf.gaussian(2.5, 1), TypeError, "shape must be"),
        (lambda: fd.psf.disk(0), ValueError, "radius must be"),
        (lambda: fd.psf.disk("5"), TypeError, "radius must be"),
        (lambda: fd.psf.motion(-3, 0), ValueError, "length must be"),
        (lambda: fd.psf.motion(3, np.nan), ValueError, "angle must be"),
        (lambda: fd.psf.airy(np.inf, 5), ValueError, "radius must be"),
        (lambda: fd.psf.box((2, 0)), ValueError, "shape must be"),
        (lambda: fd.psf.normalise([[1.0, -1.0]]), ValueError, "psf must not sum to zero"),
        (lambda: fd.psf.centre([[-1.0]]), ValueError, "psf must have a positive sum"),
    ],
)
def test_the_rest(call, error, message):
    with pytest.raises(error, match=message):
        call()


BLUR = fd.Blur(PSF, (8, 9))


@pytest.mark.parametrize(("name", "apply"), [("x", BLUR.forward), ("y", BLUR.adjoint)])
@pytest.mark.parametrize(
    ("x", "out", "error", "message"),
    [
        (IMAGE[:-1], None, ValueError, r"NAME must have shape \(8, 9\); its shape is \(7, 9\)"),
        (IMAGE.astype(complex), None, TypeError, "NAME must hold real numbers"),
        (with_value(IMAGE, np.nan), None, ValueError, "NAME must be finite"),
        (IMAGE, np.empty((8, 8)), ValueError, "out must have shape"),
        (IMAGE, np.empty((8, 9), np.float32), TypeError, "out must be an ndarray of float64; got float32"),
        (IMAGE, np.empty((8, 9), ">f8"), TypeError, "out must be an ndarray of float64"),
        (IMAGE, IMAGE.tolist(), TypeError, "out must be an ndarray"),
        (IMAGE, np.broadcast_to(0.0, (8, 9)), ValueError, "out must be writeable"),
    ],
)
def test_applying_a_blur(name, apply, x, out, error, message):
    with pytest.raises(error, match=message.replace("NAME", name)):
        apply(x, out)
