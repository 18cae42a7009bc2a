"""Errors of compression by blocks, the weights of priors for images with such, and whether a result gains anything."""

import warnings

import numpy as np
import pytest
from scipy import ndimage
from skimage import color, data
from test_noise import jpeg, psnr, smoothed

import fastdeblur as fd
from fastdeblur.problem import blocks
from fastdeblur.problem.improvement import improvement
from fastdeblur.problem.psf_likelihood import likelihood_gain
from fastdeblur.problem.regularization import WeightEstimate
from fastdeblur.problem.verdict import DIRECTED, Details, doubts_psf
from fastdeblur.problem.windows import Windowed

SIDE, PSF = 144, fd.psf.gaussian(9, 1)


def smooth(name):
    """A photograph with hardly any edges, and what a blur makes of it."""
    whole = getattr(data, name)()[258 : 258 + SIDE, 203 : 203 + SIDE]
    sharp = color.rgb2gray(whole) if whole.ndim == 3 else whole / 255
    return sharp, ndimage.convolve(sharp, PSF, mode="nearest")


@pytest.mark.parametrize("corner", [(0, 0), (3, 6)])
def test_steps_between_blocks_are_measured_wherever_they_begin(corner, rng):
    """Of blocks of one value each, the difference of two, whose mean length is squared."""
    errors = np.kron(rng.standard_normal((20, 20)), np.ones((8, 8)))[corner[0] :, corner[1] :][:SIDE, :SIDE]
    contents = smooth("cell")[1][: errors.shape[0], : errors.shape[1]]
    image = contents + 1e-2 * errors + 1e-4 * rng.standard_normal(errors.shape)
    assert blocks.step_between_blocks(image[None]) == pytest.approx(4 / np.pi * 1e-4, rel=0.25)


@pytest.mark.parametrize("side", [8, 16])
@pytest.mark.parametrize("blur", ["none", "gaussian", "airy"])
def test_pictures_of_squares_have_no_steps_between_blocks(blur, side, rng):
    """Wherever the squares begin."""
    psf = {"none": np.ones((1, 1)), "gaussian": PSF, "airy": fd.psf.airy(5, (31, 31))}[blur]
    squares = np.kron(rng.integers(0, 4, (22, 22)) / 3, np.ones((side, side)))[3 : 3 + SIDE, :SIDE]
    image = ndimage.convolve(squares, psf, mode="nearest")
    for noise in (0.0, 2e-3):
        assert blocks.step_between_blocks((image + noise * rng.standard_normal(image.shape))[None]) == 0


def test_other_noise_has_no_steps(rng):
    """Nor has one along one axis only, nor that of blocks of another size."""
    _, image = smooth("cell")
    lines = np.kron(rng.standard_normal(18), np.ones(8))[:, None]
    larger = np.kron(rng.standard_normal((14, 14)), np.ones((11, 11)))[:SIDE, :SIDE]
    white = rng.standard_normal(image.shape)
    for noise in (0.01 * white, smoothed(image, rng) - image, np.round(255 * image) / 255 - image, 0.01 * lines):
        assert blocks.step_between_blocks((image + noise)[None]) == 0
    assert blocks.step_between_blocks((image + 1e-3 * larger + 1e-3 * white)[None]) == 0


@pytest.mark.parametrize("step", [0.0, 1e-3, 0.1, 3.0, 1e3])
def test_the_level_of_errors_fills_the_spectrum_from_below(step, rng):
    signal, radius, count = rng.random(30) ** 4, rng.random(30) * 3, rng.random(30)
    level = blocks.error_level(step, signal, radius, count)
    made = 0.0
    for power, q, times in zip(signal, radius, count, strict=True):
        made += times / count.sum() * min(2.5 + 4 * q**2, 9.0) * min(power, level)
    assert (level == np.inf and made < step) or made == pytest.approx(step)


@pytest.mark.parametrize("quality", [75, 90])
@pytest.mark.parametrize("name", ["cell", "retina"])
def test_the_errors_of_a_jpeg_are_seen_where_its_signal_is(name, quality):
    """They are 4 to 6 times as large there as at the frequencies where they show."""
    _, image = smooth(name)
    stored = jpeg(image, quality)
    spectra = WeightEstimate(stored[None], [PSF], None).spectra
    errors = Windowed((stored - image)[None], [PSF])
    low = (np.fft.rfftfreq(SIDE) * 2 * np.pi)[None, :] ** 2 + (np.fft.fftfreq(SIDE) * 2 * np.pi)[:, None] ** 2 < 0.5
    true = np.average(errors.power[0], weights=low * errors.times)
    found = np.average(spectra.noise, weights=spectra.count * (spectra.radius < np.log(0.5**0.5)))
    assert 0.3 < found / true < 2


@pytest.mark.parametrize("prior", ["gradient", "tv", "sparse", "learned"])
@pytest.mark.parametrize("spoilt", ["jpeg", "smoothed"])
def test_smooth_images_are_made_no_worse_by_noise_that_is_not_white(spoilt, prior, rng):
    sharp, image = smooth("retina")
    image = (jpeg(image, 75) if spoilt == "jpeg" else smoothed(image, rng)).astype(np.float32)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        restored = fd.deblur(image, PSF, prior=prior)
    told = any("nearer to the sharp one" in str(each.message) for each in said)
    gain = psnr(restored, sharp) - psnr(image, sharp)
    assert gain > (-0.1 if spoilt == "jpeg" else 1.5) or (told and gain > -0.6)


def test_a_result_that_gains_nothing_is_told():
    """Total variation has steps where cells have slopes: worse than the blurred image, whatever the weight."""
    sharp, image = smooth("cell")
    image = (np.round(255 * image) / 255).astype(np.float32)
    with pytest.warns(UserWarning, match="the blurred image is probably nearer to the sharp one"):
        found = fd.solve(image, PSF, prior="tv")
    assert psnr(found.image, sharp) < psnr(image, sharp)
    better = fd.solve(image, PSF)  # and no warning
    assert psnr(better.image, sharp) > psnr(image, sharp)
    fd.solve(image, PSF, prior="tv", mu=found.mu)  # the caller knows


@pytest.mark.parametrize("noise", [0.001, 0.01, 0.02])
def test_points_are_not_doubted_for_being_where_no_spectrum_says(noise, rng):
    """Whether or not most of the pixels that are not dark are noise."""
    stars = np.zeros((SIDE, SIDE))
    stars[tuple(rng.integers(0, SIDE, (2, 150)))] = rng.pareto(1.5, 150) + 1
    image = fd.convolve(stars, fd.psf.gaussian(9, 1))
    image += noise * image.max() * rng.standard_normal(image.shape)
    with warnings.catch_warnings(action="error", category=UserWarning):
        restored = fd.deblur(image.astype(np.float32), fd.psf.gaussian(9, 1), prior="tv")
    assert psnr(restored, stars) > psnr(image, stars)


@pytest.mark.parametrize("total", [1.0, 3.0])
def test_the_improvement_is_about_what_it_is(total, rng):
    sharp = color.rgb2gray(data.astronaut())[60 : 60 + SIDE, 150 : 150 + SIDE]
    psf = total * PSF
    image = ndimage.convolve(sharp, psf, mode="nearest") + total * 0.005 * rng.standard_normal(sharp.shape)
    estimate = WeightEstimate(image[None], [psf], None)
    restored = fd.deblur(image / total, PSF, data="squares")
    inner = (slice(12, -12),) * 2
    for result in (restored, (restored + image / total) / 2, image / total, 0 * image):
        true = np.mean((image / total - sharp)[inner] ** 2) / np.mean((result - sharp)[inner] ** 2)
        assert improvement(result[None], image[None], [psf], estimate) == pytest.approx(true, rel=0.35)


@pytest.mark.parametrize("angle", [40, 60])
def test_errors_where_details_are_do_not_make_a_psf_wrong(angle):
    """JPEG's are; a motion in another direction is told by the spectrum all the same."""
    motion = fd.psf.motion(15, 40)
    whole = color.rgb2gray(data.retina())[586:826, 586:826]
    image = jpeg(ndimage.convolve(whole, motion, mode="nearest")[24:-24, 24:-24], 75)
    estimate = WeightEstimate(image[None], [fd.psf.motion(15, angle)], None)
    details = Details(estimate)
    assert details.resembles_image()
    assert estimate.spectra.compressed
    assert doubts_psf(details, estimate) == (angle != 40)


def test_only_some_psfs_have_a_direction(rng):
    sharp = color.rgb2gray(data.astronaut())[60 : 60 + SIDE, 150 : 150 + SIDE]
    for psf, has in ((fd.psf.disk(4), False), (fd.psf.gaussian(13, 2), False), (fd.psf.motion(15, 40), True)):
        image = ndimage.convolve(sharp, psf, mode="nearest") + 0.003 * rng.standard_normal(sharp.shape)
        assert (likelihood_gain(WeightEstimate(image[None], [psf], None), SIDE)[1] > DIRECTED) == has
