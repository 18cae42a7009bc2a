"""Objects of other packages and of this one: what is pickled, what has masks, what has its own dtypes."""

import copy
import functools
import importlib.util
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from sweeps import sweep

import fastdeblur as fd

IMAGE = np.random.default_rng(2).random((20, 24))
PSF = fd.psf.gaussian(5, 1)


def halved(image, sigma):
    return image / 2


def stops(state):
    return state.iteration >= 2


DEBLURRERS = {
    **{f"init {init}": {"init": init} for init in ("image", "zeros")},
    "init normal": {"init": "normal", "seed": 3},
    "init array": {"init": IMAGE[::-1]},
    "weights": {"weights": IMAGE},
    "denoiser": {"prior": halved},
    "denoiser, partial": {"prior": functools.partial(halved)},
    "callback": {"callback": stops, "solver": "gd"},
    "Blur": {"psf": fd.Blur(PSF, IMAGE.shape, boundary="unknown")},
    "poisson": {"data": "poisson", "prior": None},
    "tv": {"prior": "tv", "bounds": (0, 1)},
}


@sweep(name=DEBLURRERS, used=[False, True])
def test_deblurrers_are_copied_and_pickled(name, used):
    options = {"psf": PSF, "mu": 0.1, "max_iter": 4, **DEBLURRERS[name]}
    deblurrer = fd.Deblurrer(shape=IMAGE.shape, **options)
    expected = deblurrer(IMAGE)
    if not used:
        deblurrer = fd.Deblurrer(shape=IMAGE.shape, **options)
    for same in (copy.copy(deblurrer), copy.deepcopy(deblurrer), pickle.loads(pickle.dumps(deblurrer))):
        np.testing.assert_array_equal(same(IMAGE), expected)
    np.testing.assert_array_equal(deblurrer(IMAGE), expected)


def test_pickles_of_version_0_1_0_load():
    with open(Path(__file__).parent / "golden" / "pickles-0.1.0.pkl", "rb") as file:
        objects = pickle.load(file)
    psf, image = fd.psf.gaussian(5, 1.0), np.random.default_rng(0).random((12, 10))
    np.testing.assert_array_equal(
        objects.pop("blur").forward(image), fd.Blur(psf, (12, 10), boundary="reflect").forward(image)
    )
    options = {
        **{f"deblurrer {init}": {"init": init, "max_iter": 3} for init in ("image", "zeros")},
        "deblurrer normal": {"init": "normal", "max_iter": 3, "solver": "gd", "seed": 1},
        "deblurrer array": {"init": np.ones((12, 10)), "max_iter": 3},
        "deblurrer tv": {"prior": "tv", "channel_axis": -1, "mu": 0.01, "bounds": (0, None)},
        "deblurrer poisson": {"data": "poisson", "prior": None, "background": 2.0, "read_noise": 1.0},
    }
    assert set(objects) == set(options)
    for name, deblurrer in objects.items():
        given = np.stack([image] * 3, axis=-1) if "channel_axis" in options[name] else image
        for same in (deblurrer, pickle.loads(pickle.dumps(deblurrer))):
            np.testing.assert_array_equal(same(given), fd.deblur(given, psf, **options[name]))


def test_results_and_linear_operators_are_pickled():
    result = fd.solve(IMAGE, PSF, mu=0.1)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(result)).image, result.image)
    operator = fd.Blur(PSF, IMAGE.shape).as_linear_operator()
    for same in (copy.deepcopy(operator), pickle.loads(pickle.dumps(operator))):
        np.testing.assert_array_equal(same.matvec(IMAGE.ravel()), operator.matvec(IMAGE.ravel()))
        np.testing.assert_array_equal(same.rmatvec(IMAGE.ravel()), operator.rmatvec(IMAGE.ravel()))


def test_deblurrers_in_spawned_processes(python):
    script = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
import numpy as np
import fastdeblur as fd
image = np.random.default_rng(2).random((20, 24))
given = [{"init": "zeros"}, {"init": "normal", "seed": 1}, {"init": image[::-1]}]
deblurrers = [fd.Deblurrer(np.ones((1, 3)) / 3, image.shape, mu=0.1, max_iter=3, workers=1, **each) for each in given]
with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
    found = [pool.submit(deblurrer, image) for deblurrer in deblurrers]
    print(all((each.result() == deblurrer(image)).all() for each, deblurrer in zip(found, deblurrers)))
"""
    assert python(script).strip() == "True"


class Masked:
    """Like astropy's: an array with a mask that NumPy does not see."""

    def __init__(self, array, mask):
        self._array, self._mask = np.asarray(array), mask
        self.shape, self.dtype = self._array.shape, self._array.dtype

    def __array__(self, dtype=None, copy=None):
        return self._array

    def __getitem__(self, part):
        return self._array[part]

    @property
    def mask(self):
        return self._mask


class Attributed(np.ndarray):
    """An array whose mask was set on the instance."""


def attributed(array, mask):
    array = np.array(array).view(Attributed)
    array.mask = mask
    return array


class Table(np.ndarray):
    """Like pandas': `mask` is a method."""

    def mask(self, condition):
        return np.where(condition, np.nan, self)


class Labelled(Masked):
    """Like xarray's: looks names up in what it holds."""

    mask = None

    def __getattribute__(self, name):
        return np.ones(3) if name == "mask" else super().__getattribute__(name)


def astropys(array, mask):
    nddata = pytest.importorskip("astropy.nddata")
    return nddata.CCDData(array, mask=mask, unit="adu")


def astropys_plain(array, mask):
    return pytest.importorskip("astropy.nddata").NDData(array, mask=mask)


def astropys_masked(array, mask):
    return pytest.importorskip("astropy.utils.masked").Masked(array, mask)


SMALL = IMAGE[:7, :8]
TAKERS = {
    "image": lambda array: fd.solve(array, PSF, mu=0.1, max_iter=2),
    "image ": lambda array: fd.convolve(array, PSF),
    " image": lambda array: fd.Deblurrer(PSF, SMALL.shape, mu=0.1, max_iter=2).solve(array),
    "image  ": lambda array: fd.richardson_lucy(array, PSF, 2),
    "  image": lambda array: fd.saturated(array, 0.5),
    "image   ": lambda array: fd.notebook.deconvolve(array, PSF, n_iter=1, verbose=False),
    "psf": lambda array: fd.solve(SMALL, array, mu=0.1, max_iter=2),
    " psf": lambda array: fd.Blur(array, SMALL.shape),
    "psf ": lambda array: fd.psf.normalise(array),
    "  psf": lambda array: fd.estimate_memory(SMALL.shape, array),
    "array": lambda array: fd.psf.from_image(array),
    "weights": lambda array: fd.solve(SMALL, PSF, mu=0.1, max_iter=2, weights=array),
    " weights": lambda array: fd.Deblurrer(PSF, SMALL.shape, mu=0.1, max_iter=2).solve(SMALL, weights=array),
    "init": lambda array: fd.solve(SMALL, PSF, mu=0.1, max_iter=2, init=array),
    "x": lambda array: fd.Blur(PSF, SMALL.shape).forward(array),
    "y": lambda array: fd.Blur(PSF, SMALL.shape).adjoint(array),
    "source": lambda array: fd.deblur_large(array, PSF, mu=0.1, max_iter=2),
    "weights ": lambda array: fd.deblur_large(SMALL, PSF, mu=0.1, max_iter=2, weights=array),
    "prior's result": lambda array: fd.solve(SMALL, PSF, mu=0.1, max_iter=2, prior=lambda *_: array, boundary="wrap"),
}  # fmt: skip
MASKABLE = ("image", " image", "source")  # those of a solve
TAKEN = [name for name in TAKERS if name != "array"]  # which must show a star


@pytest.mark.parametrize(
    "masked",
    [np.ma.masked_array, Masked, attributed, astropys, astropys_plain, astropys_masked],
    ids=lambda each: each.__name__,
)
@pytest.mark.parametrize("argument", [name for name in TAKERS if name not in MASKABLE])
@pytest.mark.filterwarnings("ignore:psf")
def test_masks_are_refused_and_not_overlooked(argument, masked):
    with pytest.raises(TypeError, match=f"^{argument.strip()} must not be a masked array: fill .* pass weights"):
        TAKERS[argument](masked(SMALL, SMALL < 0.1))


@pytest.mark.parametrize("argument", TAKEN)
@pytest.mark.filterwarnings("ignore:psf")
def test_other_things_called_mask_are_not_masks(argument):
    arrays = [SMALL.view(Table), Masked(SMALL, None), Labelled(SMALL, None)]
    if importlib.util.find_spec("astropy"):
        from astropy.nddata import CCDData

        arrays.append(CCDData(SMALL, unit=""))
    for array in arrays:
        TAKERS[argument](array)


MASKED = [np.ma.masked_array, Masked, attributed, astropys, astropys_plain, astropys_masked]


def lazily_masked(array, mask):
    """Slices that have masks of their own, as the object has."""
    lazy = Masked(array, mask)
    lazy.__class__ = type(
        "Lazy", (Masked,), {"__getitem__": lambda self, part: np.ma.array(array[part], mask=mask[part])}
    )
    return lazy


def numbers(argument, given):
    """Numbers of what is restored from what was given."""
    found = TAKERS[argument](given)
    found = getattr(found, "image", found)
    return np.asarray(found.data if hasattr(found, "wcs") else found)


@sweep(argument=MASKABLE, masked=[*MASKED, lazily_masked])
def test_masked_pixels_of_an_image_are_missing_ones(masked, argument):
    mask, hidden = SMALL < 0.1, SMALL.copy()
    hidden[mask] = np.inf  # what is below a mask is never looked at
    np.testing.assert_array_equal(
        numbers(argument, masked(hidden, mask)), numbers(argument, np.where(mask, np.nan, SMALL))
    )
    assert np.isinf(hidden[mask]).all()
    counts = np.arange(56).reshape(7, 8).astype(np.uint8)
    found = numbers(argument, masked(counts, mask))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, numbers(argument, np.where(mask, np.nan, counts.astype(np.float32))))


def test_a_mask_of_another_shape_is_refused():
    for call, name in ((fd.solve, "image"), (fd.deblur_large, "source")):
        with pytest.raises(
            ValueError, match=rf"{name} must have a mask of its own shape \(7, 8\); its mask's shape is \(7,\)"
        ):
            call(Masked(SMALL, np.ones(7, bool)), PSF)


def test_results_have_the_image_s_unit_mask_coordinates_and_metadata():
    nddata, units = pytest.importorskip("astropy.nddata"), pytest.importorskip("astropy.units")
    wcs = pytest.importorskip("astropy.wcs").WCS(naxis=2)
    single = SMALL.astype(np.float32)
    wanted = fd.deblur(single, PSF, mu=0.1)
    uncertainty = nddata.StdDevUncertainty(np.ones_like(single))
    given = nddata.CCDData(single, unit="electron", wcs=wcs, meta={"OBJECT": "M 31"}, uncertainty=uncertainty)
    found = fd.deblur(given, PSF, mu=0.1)
    assert type(found) is nddata.CCDData
    assert (found.unit, dict(found.meta), found.mask, found.uncertainty) == (units.electron, given.meta, None, None)
    assert found.wcs.wcs.compare(wcs.wcs)
    assert found.data.dtype == np.float32
    np.testing.assert_array_equal(found.data, wanted)
    mask = SMALL < 0.1
    masked = fd.Deblurrer(PSF, SMALL.shape, mu=0.1)(nddata.NDData(single, mask=mask))
    assert type(masked) is nddata.NDData
    np.testing.assert_array_equal(masked.mask, mask)
    assert masked.mask is not mask
    quantity = fd.deblur(single * units.Jy, PSF, mu=0.1)
    assert quantity.unit == units.Jy
    assert quantity.dtype == np.float32
    np.testing.assert_array_equal(quantity.value, wanted)
    for restore in (fd.deblur, fd.deblur_large):
        both = restore(astropys_masked(single * units.Jy, mask), PSF, mu=0.1)
        assert type(both) is units.Quantity
        assert both.unit == units.Jy
    large = fd.deblur_large(given, PSF, mu=0.1)
    assert type(large) is nddata.CCDData
    assert (large.unit, dict(large.meta), large.mask) == (units.electron, given.meta, None)
    np.testing.assert_array_equal(large.data, wanted)
    with pytest.raises(TypeError, match="source must be plain numbers, without a unit, where out is given"):
        fd.deblur_large(given, PSF, np.empty_like(single))


@pytest.mark.parametrize("argument", [name for name in TAKERS if name not in MASKABLE])
@pytest.mark.filterwarnings("ignore:psf")
def test_units_are_refused_and_not_forgotten(argument):
    units = pytest.importorskip("astropy.units")
    with pytest.raises(TypeError, match=f"^{argument.strip()} must be plain numbers, without a unit; got one in Jy"):
        TAKERS[argument](SMALL * units.Jy)


def test_masked_rows_in_a_list_are_refused():
    with pytest.raises(TypeError, match="image must not be a masked array"):
        fd.convolve([np.ma.masked_array([1.0, 2.0], [True, False])] * 2, [[1.0]])


class TensorType:
    """Like Torch's: a dtype that is none of NumPy's."""


class Size(tuple):
    """Like Torch's."""


class Tensor:
    """Like Torch's, in the host's memory: a shape, slices, a dtype of its own."""

    is_cuda = False

    def __init__(self, array, requires_grad=False):
        self._array, self.requires_grad = array, requires_grad
        self.shape, self.dtype = Size(array.shape), TensorType()

    @property
    def __cuda_array_interface__(self):
        raise AttributeError("use .cpu()")

    def __getitem__(self, part):
        return Tensor(self._array[part])

    def numpy(self):
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return self._array

    def __array__(self, dtype=None, copy=None):
        return self.numpy() if dtype is None else self.numpy().astype(dtype)


@pytest.mark.parametrize("argument", TAKEN)
@pytest.mark.filterwarnings("ignore:psf")
def test_tensors_are_arrays(argument):
    def pixels(found):
        return found[0] if isinstance(found, tuple) else getattr(found, "image", found)

    if argument in ("prior's result", " psf", "image   "):
        TAKERS[argument](Tensor(SMALL))
    else:
        np.testing.assert_array_equal(pixels(TAKERS[argument](Tensor(SMALL))), pixels(TAKERS[argument](SMALL)))


@pytest.mark.parametrize("argument", ["image", "psf", "weights", "init", "source", "weights "])
def test_tensors_with_a_gradient_say_what_to_do(argument):
    with pytest.raises(TypeError, match=rf"{argument.strip()} must be .*detach\(\)\.numpy\(\)"):
        TAKERS[argument](Tensor(SMALL, requires_grad=True))


def test_progress_where_there_is_no_stderr(monkeypatch):
    """In services, and under pythonw."""
    monkeypatch.setattr(sys, "stderr", None)
    shown = [
        fd.solve(IMAGE, PSF, mu=0.1, progress=shown, solver=solver).image
        for shown in (True, False)
        for solver in ("exact", "gd")
    ]
    np.testing.assert_array_equal(shown[:2], shown[2:])
    fd.deblur_large(IMAGE, PSF, mu=0.1, tile=10, halo=4, progress=True)


def test_bars_are_those_that_suit_the_screen(monkeypatch):
    """In a notebook they are its own."""
    import tqdm.auto

    made = []

    class Bar(tqdm.tqdm):
        def __init__(self, *arguments, **options):
            made.append(options)
            super().__init__(*arguments, **options)

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    fd.solve(IMAGE, PSF, mu=0.1, progress=True)
    fd.deblur_large(IMAGE, PSF, mu=0.1, tile=10, halo=4, progress=True)
    assert [each["unit"] for each in made] == ["step", "tile"]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: fd.deblur(IMAGE, PSF, weight=1), "deblur"),
        (lambda: fd.solve(IMAGE, PSF, weight=1), "solve"),
        (lambda: fd.deblur_large(IMAGE, PSF, weight=1), "deblur_large"),
        (lambda: fd.estimate_memory(IMAGE.shape, PSF, weight=1), "estimate_memory"),
        (lambda: fd.Deblurrer(PSF, IMAGE.shape, weight=1), "Deblurrer.__init__"),
    ],
)
def test_messages_name_the_function_that_was_called(call, name):
    with pytest.raises(TypeError, match=rf"^{name}\(\) got an unexpected keyword argument 'weight'"):
        call()


VOLUME = np.ones((6, 7, 3))


@pytest.mark.parametrize(
    "call",
    [
        fd.solve, fd.deblur, fd.convolve, fd.deblur_large, fd.richardson_lucy, fd.notebook.convolve,
        fd.notebook.deconvolve, lambda image, psf: fd.Deblurrer(psf, image.shape),
        lambda image, psf: fd.estimate_memory(image.shape, psf),
    ],
)  # fmt: skip
@pytest.mark.parametrize("image", [IMAGE, VOLUME], ids=["gray", "volume"])
def test_a_psf_of_three_dimensions_is_what_is_wrong(call, image):
    wanted = r"^psf must have two dimensions; its shape is \(3, 3, 3\). Volumes are not supported: .* in focus"
    with pytest.raises(ValueError, match=wanted):
        call(image, np.ones((3, 3, 3)) / 27)


@pytest.mark.parametrize("call", [fd.solve, fd.deblur, fd.convolve, fd.deblur_large, fd.richardson_lucy])
def test_of_a_volume_it_is_said_that_there_are_none(call):
    with pytest.raises(
        ValueError, match=r"shape is \(6, 7, 3\). Volumes are not supported: restore their planes one by"
    ):
        call(VOLUME, PSF)
