"""Tiles of a large image against the whole, solved at once."""

import ctypes
import itertools
import os
import re
import warnings

import numpy as np
import pytest
from scenes import PSF, blurred, layout
from sweeps import sweep

import fastdeblur as fd
from fastdeblur.large import halo_width, windows
from fastdeblur.operators.boundary import BOUNDARIES

SMALL = fd.psf.gaussian(5, 1.0)


def differences(image, psf, tile, **options):
    """Of tiles from the whole, at most and at all but a thousandth of the pixels, in shares of the range."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of psfs that are off their centre
        whole = fd.solve(image, psf, **{name: each for name, each in options.items() if name != "halo"}).image
    tiles = fd.deblur_large(image, psf, tile=tile, **options)
    assert (tiles.shape, tiles.dtype) == (whole.shape, whole.dtype)
    difference = np.abs(tiles - whole) / np.ptp(whole)
    return difference.max(), np.quantile(difference, 0.999)


@pytest.mark.parametrize(("boundary", "mu"), [*zip(BOUNDARIES, itertools.cycle([0.02, 0.2]))])
def test_tiles_are_the_whole(boundary, mu):
    image = blurred((100, 110), SMALL, np.float64, "constant" if boundary == "unknown" else boundary)
    most, nearly = differences(image, SMALL, (40, 60), data="squares", mu=mu, boundary=boundary, tol=1e-5)
    assert most < 1e-3
    assert nearly < 3e-4  # so many pixels are at seams in so small an image


@sweep(
    psf_and_tile=[
        (fd.psf.gaussian((4, 6), 1.0), 60),
        (fd.psf.gaussian((3, 13), (0.7, 2)), (55, 75)),
        (np.eye(3)[::-1] / 3, 60),
        (np.ones((1, 1)), 60),
    ],
    boundary=["nearest", "wrap"],
)
def test_psfs_of_any_shape(psf_and_tile, boundary):
    psf, tile = psf_and_tile
    image = blurred((110, 131), psf, np.float64)
    assert differences(image, psf, tile, data="squares", mu=0.05, boundary=boundary, tol=1e-5)[0] < 1e-3


def test_the_measure_of_seams_sees_a_halo_that_is_too_small():
    """The measure above sees a halo that is too small."""
    image = blurred((150, 170), SMALL)
    assert differences(image, SMALL, 70, data="squares", mu=0.3, halo=3)[0] > 3e-3


OTHERS = {
    "tv": {"prior": "tv", "mu": 0.01},
    "sparse": {"prior": "sparse", "mu": 0.002},
    "bounds": {"data": "squares", "mu": 0.02, "bounds": (0.2, 0.8)},
    "poisson tv": {"data": "poisson", "prior": "tv", "mu": 0.02, "max_iter": 60},
    "denoiser": {"prior": lambda image, sigma: image / (1 + sigma), "mu": 0.01, "max_iter": 20},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_priors(kind):
    image = np.maximum(blurred((100, 110), SMALL), 0)
    most, nearly = differences(image, SMALL, 55, **OTHERS[kind])
    # They stop a little before their minimum, not all at the same place; "sparse" has many.
    assert most < {"sparse": 0.15, "tv": 0.03, "poisson tv": 0.03}.get(kind, 5e-3)
    assert nearly < {"sparse": 0.06, "tv": 0.01, "poisson tv": 0.01}.get(kind, 3e-3)


def test_richardson_lucy_takes_as_many_steps_in_every_tile():
    image = np.maximum(blurred((140, 150), SMALL), 0.01) * 200
    _, found, _ = layout(image, SMALL, data="poisson", prior=None, tile=75)
    whole = fd.solve(image, SMALL, data="poisson", prior=None, max_iter=found.max_iter, tol=0)
    assert found.max_iter == fd.solve(image, SMALL, data="poisson", prior=None).n_iter
    tiles = fd.deblur_large(image, SMALL, data="poisson", prior=None, tile=75)
    assert np.abs(tiles - whole.image).max() < 2e-3 * np.ptp(image)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_colours(axis):
    psfs = np.stack([SMALL, fd.psf.disk(2), SMALL.T], axis=-1)
    image = blurred((60, 64, 3), psfs)
    for psf in (SMALL, psfs):
        whole = fd.solve(image, psf, data="squares", mu=0.05, channel_axis=-1).image
        given = np.moveaxis(psf, -1, axis) if psf.ndim == 3 else psf
        tiles = fd.deblur_large(
            np.moveaxis(image, -1, axis), given, data="squares", mu=0.05, channel_axis=axis, tile=(30, 64)
        )
        assert tiles.shape == np.moveaxis(image, -1, axis).shape
        assert np.abs(np.moveaxis(tiles, axis, -1) - whole).max() < 1e-3 * np.ptp(whole)


@pytest.mark.parametrize("boundary", ["reflect", "unknown"])
def test_weights_and_missing_pixels(rng, boundary):
    image = blurred((140, 150), SMALL)
    image[rng.random(image.shape) < 0.05] = np.nan
    image[100:108, 30:40] = np.nan
    weights = rng.uniform(0.5, 2, image.shape) * (rng.random(image.shape) > 0.1)
    for given in (None, weights):
        options = {"data": "squares", "mu": 0.02, "boundary": boundary, "weights": given}
        assert differences(image, SMALL, 75, tol=1e-5, **options)[0] < 1e-3


@pytest.mark.parametrize("kind", ["array", "mapped", "large chunks", "one value"])
def test_masked_pixels_are_missing_ones_tile_by_tile(tmp_path, kind):
    """What is below a mask is never looked at, parts of both are read, and a file that is read is not written."""
    image, mask = blurred((520, 64), SMALL), np.zeros((520, 64), bool)
    mask[30:70, 20:50], options = kind != "one value", {"mu": 0.1, "data": "squares", "tile": 130}
    below = np.where(mask, np.float32(np.inf), image)
    given = np.ma.MaskedArray(below, mask if mask.any() else np.ma.nomask)
    if kind != "array":
        for name, array in (("image", below), ("mask", mask)):
            np.save(tmp_path / f"{name}.npy", array)
        mapped, flags = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("image", "mask"))
        given = Under(mapped, False if kind == "one value" else flags, (520, 32) if kind == "large chunks" else None)
    wanted = fd.deblur_large(np.where(mask, np.float32(np.nan), image), SMALL, **options)
    np.testing.assert_array_equal(fd.deblur_large(given, SMALL, tmp_path / "out.npy", **options), wanted)
    if kind == "mapped":
        masked = np.ma.MaskedArray(mapped, flags)
        np.testing.assert_array_equal(fd.deblur_large(masked, SMALL, **options), wanted)
        for name in ("image", "mask"):
            with pytest.raises(ValueError, match=f"out must not be the source, .*{name}.npy is read"):
                fd.deblur_large(masked, SMALL, tmp_path / f"{name}.npy", **options)


class Under:
    """Slices with a mask, of which the whole is never made."""

    def __init__(self, pixels, mask, chunks):
        self.pixels, self.mask, self.chunks, self.shape, self.dtype = pixels, mask, chunks, pixels.shape, pixels.dtype

    def __getitem__(self, part):
        assert self.chunks or part[0].stop - part[0].start < 520
        return self.pixels[part]

    def __array__(self, *_, **__):
        raise AssertionError


def test_weights_of_one_channel_are_those_of_all(rng):
    image, weights = blurred((64, 60, 3), SMALL), rng.uniform(0.5, 2, (64, 60))
    options = {"data": "squares", "mu": 0.02, "channel_axis": -1}
    same = fd.deblur_large(image, SMALL, tile=32, weights=weights[..., None].repeat(3, -1), **options)
    np.testing.assert_array_equal(fd.deblur_large(image, SMALL, tile=32, weights=weights, **options), same)
    assert differences(image, SMALL, 32, weights=weights, **options)[0] < 2e-3


@pytest.mark.parametrize("boundary", ["mirror", "wrap"])
def test_a_tile_without_pixels_gets_the_mean(boundary):
    image = blurred((160, 170), SMALL)
    image[:105, :105] = np.nan
    tiles = fd.deblur_large(image, SMALL, data="squares", mu=0.1, tile=40, halo=20, boundary=boundary)
    empty = tiles[40:80, 40:80]
    assert np.isfinite(tiles).all()
    assert (empty == empty[0, 0]).all()
    assert abs(empty[0, 0] - np.nanmean(image)) < 0.1
    assert np.ptp(tiles[110:, 110:]) > 0.5


def test_no_pixels_at_all_is_an_error():
    image = np.full((100, 100), np.nan, np.float32)
    for tile in ("auto", 50):
        with pytest.raises(ValueError, match="pixels"):
            fd.deblur_large(image, PSF, tile=tile)
    assert (fd.deblur_large(image, PSF, data="squares", mu=0.1, tile=50) == 0).all()


def test_one_tile_is_solve():
    image = blurred((90, 100))
    for options in ({}, {"mu": 0.05}, {"prior": "tv"}, {"boundary": "wrap", "mu": 0.1}):
        whole = fd.solve(image, PSF, **options).image
        for tile in ("auto", 100, (90, 500), 99):
            np.testing.assert_array_equal(fd.deblur_large(image, PSF, tile=tile, **options), whole)


def test_tiles_too_small_to_be_any_use_join_their_neighbours():
    grid = windows.grid_of((205, 100), (50, 40), (10, 30))
    assert grid.steps == ((0, 50, 100, 150, 205), (0, 40, 100))
    image = blurred((205, 100))
    assert differences(image, PSF, (50, 40), data="squares", mu=0.05, tol=1e-6, halo=25)[0] < 5e-3


@pytest.mark.parametrize("wraps", [False, True])
@pytest.mark.parametrize("reach", [0, 1, 7, 30])
def test_windows_hold_their_tiles(rng, wraps, reach):
    image = rng.random((61, 47))
    grid = windows.grid_of(image.shape, (20, 23), (5, 5))
    for window in grid.windows((reach, reach), wraps).values():
        rows, cols = window.pieces(image.shape)
        pixels = np.concatenate([np.concatenate([image[row, col] for col in cols], axis=1) for row in rows])
        assert pixels.shape == window.shape
        np.testing.assert_array_equal(pixels[window.inner], image[window.tile])


def test_the_weight_is_the_same_everywhere_and_near_that_of_solve():
    image = blurred((300, 310), SMALL, noise=0.02)
    image[:, 150:] *= 0.1  # a half that alone would get another weight
    whole = fd.solve(image, SMALL)
    _, found, _ = layout(image, SMALL, tile=150)
    np.testing.assert_allclose(found.mu, fd.solve(image, SMALL, data="squares").mu, rtol=0.05)
    tiles, again = (fd.deblur_large(image, SMALL, tile=150, **options) for options in ({}, {"data": "squares"}))
    np.testing.assert_array_equal(tiles, again)
    given = fd.deblur_large(image, SMALL, tile=150, data="squares", mu=found.mu)
    np.testing.assert_array_equal(tiles, given)
    assert np.abs(tiles - whole.image).max() < 0.03 * np.ptp(image)
    for prior in ("tv", "sparse"):
        wanted = fd.solve(image, SMALL, prior=prior, max_iter=1).mu
        np.testing.assert_allclose(layout(image, SMALL, tile=150, prior=prior)[1].mu, wanted, rtol=0.1)


@pytest.mark.parametrize(("mu", "weight"), [(0.02, None), (0.1, 9.0)])
def test_the_ridge_of_root_is_that_of_the_whole(mu, weight):
    """The periodogram's; its squares are those of the border too, so it is not quite the same."""
    image = blurred((150, 160), SMALL, noise=0.02)
    weights = None if weight is None else np.full(image.shape, weight, np.float32)
    whole = fd.solve(image, SMALL, data="root", mu=mu, weights=weights).image
    tiles = fd.deblur_large(image, SMALL, data="root", mu=mu, weights=weights, tile=75)
    assert np.abs(tiles - whole).max() < 0.02 * np.ptp(image)
    bright = fd.deblur_large(256 * image, SMALL, data="root", mu=mu, weights=weights, tile=75)
    np.testing.assert_allclose(bright / 256, tiles, atol=1e-4)


def test_a_halo_cut_by_half_a_tile_is_said():
    image, psf = blurred((150, 150), fd.psf.disk(4)), fd.psf.disk(4)
    with pytest.warns(UserWarning, match=r"halo of 25 px is smaller than the \d+ px needed: at seams") as caught:
        tiles = fd.deblur_large(image, psf, data="squares", mu=1e-4, tile=50)
    assert caught[0].filename == __file__
    said = float(re.search(r"about (\S+) of the image's range", str(caught[0].message))[1])
    whole = fd.solve(image, psf, data="squares", mu=1e-4).image
    assert np.abs(tiles - whole).max() < 3 * said * np.ptp(whole)
    fd.deblur_large(image, psf, data="squares", mu=1e-4, tile=50, halo=25)  # what was asked for is not


def test_halos_grow_with_the_psf_and_with_small_and_large_weights():
    reach = [halo_width.needed([psf], 1e-2)[0] for psf in (SMALL, PSF, fd.psf.gaussian(41, 6))]
    assert reach == sorted(reach)
    assert reach[0] >= 5
    down, across = halo_width.needed([fd.psf.gaussian((3, 31), (0.5, 5))], 1e-2)
    assert across > 2 * down


def test_bits_do_not_depend_on_the_number_of_threads():
    image = blurred((300, 320), SMALL)
    for options in ({"mu": 0.05}, {"prior": "tv", "max_iter": 2, "mu": 0.01}):
        wanted = fd.deblur_large(image, SMALL, tile=160, **options)
        for workers in (1, 2):
            np.testing.assert_array_equal(fd.deblur_large(image, SMALL, tile=160, workers=workers, **options), wanted)


def test_dtypes():
    image = blurred((100, 110), noise=0.02)
    assert fd.deblur_large(image.astype(np.float64), PSF, tile=50).dtype == np.float64
    counts = (np.clip(image, 0, 1) * 1000).astype(np.uint16)
    wanted = fd.deblur_large(counts.astype(np.float32), PSF, tile=50)
    assert wanted.dtype == np.float32
    for same in (counts, counts.astype(">u2"), np.asfortranarray(counts), counts[:, ::-1].copy()[:, ::-1]):
        np.testing.assert_array_equal(fd.deblur_large(same, PSF, tile=50), wanted)
    assert fd.deblur_large(counts.astype(np.int32), PSF, tile=50).dtype == np.float64


def test_automatic_tiles_fit_into_the_memory():
    image = blurred((1000, 1000))
    grid, found, reach = layout(image, PSF, max_memory="120MB")
    assert grid.counts == (2, 2)
    assert max(reach) <= min(grid.tile) // 2
    assert min(layout(image, PSF, max_memory="100MB")[0].counts) > 2
    assert layout(image, PSF, max_memory="250MB")[0].counts == (1, 1)
    whole = fd.solve(image, PSF, data="squares", mu=found.mu).image
    tiles = fd.deblur_large(image, PSF, max_memory="120MB")
    assert np.abs(tiles - whole).max() < 1e-3 * np.ptp(whole)


def test_too_little_memory_says_how_much_is_needed():
    image = blurred((1000, 1000))
    with pytest.raises(ValueError, match=r"max_memory must be at least (\d+\.?\d*) MB for this psf") as error:
        fd.deblur_large(image, PSF, max_memory="50MB", mu=0.05, data="squares")
    needed = float(re.search(r"at least (\S+) MB", str(error.value))[1])
    layout(image, PSF, max_memory=f"{needed + 5}MB", mu=0.05, data="squares")
    with pytest.raises(ValueError, match=r"max_memory must be at least \S+ MB for tiles of \(600, 600\); got 100 MB"):
        fd.deblur_large(image, PSF, max_memory="100MB", tile=600)


@pytest.mark.skipif(
    not (os.path.exists("/proc/self/clear_refs") and hasattr(ctypes.CDLL(None), "malloc_trim")),
    reason="reads Linux's own figures",
)
def test_estimates_are_what_is_allocated(python):
    """Peak resident memory beyond that before, which is looked at in a fresh process."""
    script = """
import ctypes, numpy as np, fastdeblur as fd
psf = fd.psf.gaussian(9, 2.0)
image = fd.convolve(np.random.default_rng(0).random((32, 32), np.float32).repeat(16, 0).repeat(16, 1), psf)
peak = lambda: int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
photons = {"data": "poisson", "prior": None}
read = {"background": 1.0, "read_noise": 0.1}
for options in ({"mu": 0.1}, {"prior": "tv"}, {"mu": 0.1, "solver": "adam"}, photons.copy(), photons | read):
    options["max_iter"] = 2
    fd.solve(image[:200, :200], psf, **options)  # compiled, or loaded
    ctypes.CDLL(None).malloc_trim(0)  # what is free is the system's again
    open("/proc/self/clear_refs", "w").write("5")  # the peak is what there is now
    before = peak()
    fd.solve(image, psf, **options)
    print((peak() - before) / fd.estimate_memory(image.shape, psf, **options))
"""
    ratios = list(map(float, python(script).split()))
    assert len(ratios) == 5
    assert min(ratios) > 0.75
    assert max(ratios) < 1.25


def test_the_ridge_of_root_is_corrected_where_a_spectrum_is_misled():
    """By an image in which everything is an edge; the spectrum alone leaves a fiftieth of the range."""
    from skimage import data

    psf = fd.psf.gaussian(13, (1, 3))
    image = fd.convolve(data.camera().astype(np.float32) / 255, psf, boundary="reflect")
    image += 0.01 * np.random.default_rng(0).standard_normal(image.shape, np.float32)
    assert differences(image, psf, 256, data="root", mu=0.05)[0] < 5e-3
