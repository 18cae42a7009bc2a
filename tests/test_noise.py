"""The noise that an image is taken to have, and the weight that follows from it, for noise of real images."""

import functools
import warnings

import imageio.v3 as imageio
import numpy as np
import pytest
from scipy import ndimage
from skimage import color, data
from sweeps import sweep

import fastdeblur as fd
from fastdeblur.problem import options, psf_likelihood
from fastdeblur.problem.psf_likelihood import likelihood_gain
from fastdeblur.problem.regularization import WeightEstimate
from fastdeblur.problem.verdict import LIKELIER, Details, doubts_psf
from fastdeblur.problem.weights import weighed
from fastdeblur.problem.windows import parts_of_large, windowed_power

SIDE, MARGIN = 144, 24
PSFS = {"gaussian": fd.psf.gaussian(17, 2), "airy": fd.psf.airy(5, (31, 31)), "disk": fd.psf.disk(5)}


@functools.cache
def blurred(kind):
    """A photograph, and what a blur makes of it and of what is beyond the frame."""
    side = SIDE + 2 * MARGIN
    scene = color.rgb2gray(data.astronaut())[60 : 60 + side, 150 : 150 + side]
    inside = (slice(MARGIN, -MARGIN),) * 2
    return scene[inside], ndimage.convolve(scene, PSFS[kind], mode="nearest")[inside]


def jpeg(image, quality):
    levels = np.round(255 * image.clip(0, 1)).astype(np.uint8)
    return imageio.imread(imageio.imwrite("<bytes>", levels, extension=".jpg", quality=quality)) / 255


def smoothed(image, rng):
    noise = ndimage.gaussian_filter(rng.standard_normal(image.shape), 0.7)
    return image + 0.01 * noise / noise.std()


def enlarged(image, rng):
    half = image.reshape(SIDE // 2, 2, SIDE // 2, 2).mean(axis=(1, 3))
    return ndimage.zoom(half + 0.005 * rng.standard_normal(half.shape), 2, order=3, mode="nearest", grid_mode=True)


SPOILT = {
    "jpeg 75": lambda image, rng: jpeg(image, 75),
    "jpeg 95": lambda image, rng: jpeg(image, 95),
    "8 bits": lambda image, rng: np.round(255 * image) / 255,
    "smoothed": smoothed,
    "enlarged": enlarged,
}


def psnr(image, truth):
    return -10 * np.log10(np.mean((image - truth) ** 2))


@sweep(spoilt=SPOILT, psf=PSFS)
def test_the_weight_is_near_the_best_for_noise_that_is_not_white(psf, spoilt, rng):
    sharp, image = blurred(psf)
    image = SPOILT[spoilt](image, rng).astype(np.float32)
    found = fd.solve(image, PSFS[psf], data="squares", tol=1e-3)
    scores = {f: psnr(fd.deblur(image, PSFS[psf], data="squares", mu=f * found.mu), sharp) for f in (0.1, 0.3, 3, 10)}
    chosen = psnr(found.image, sharp)
    assert chosen > psnr(image, sharp) + 1
    assert chosen > max(scores.values()) - 0.5


@pytest.mark.parametrize("spoilt", ["smoothed", "enlarged"])
@pytest.mark.parametrize(("scene", "top", "left"), [("moon", 150, 150), ("cell", 258, 203), ("retina", 630, 630)])
def test_a_narrow_psf_does_not_amplify_noise_that_it_hides(scene, top, left, spoilt, rng):
    """Below the frequencies where an enlarged image ends, or smoothed noise has faded, there is more of it."""
    psf = fd.psf.gaussian(9, 1)
    whole = getattr(data, scene)()
    whole = (color.rgb2gray(whole) if whole.ndim == 3 else whole / 255)[top : top + SIDE, left : left + SIDE]
    image = SPOILT[spoilt](ndimage.convolve(whole, psf, mode="nearest"), rng).astype(np.float32)
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        assert psnr(fd.deblur(image, psf), whole) > psnr(image, whole) - 0.1


def test_noise_is_not_taken_for_a_signal_that_falls_ever_more_slowly(rng):
    """Two fits explain it, and the likelier has the noise; without, the result was 8 dB worse than the image."""
    psf, side, margin = fd.psf.gaussian(9, 1), 512, 16
    whole = data.cell()[41 : 41 + side + 2 * margin, 3 : 3 + side + 2 * margin] / 255
    inside = (slice(margin, -margin),) * 2
    image = ndimage.convolve(whole, psf, mode="nearest")[inside]
    half = image.reshape(side // 2, 2, side // 2, 2).mean(axis=(1, 3))
    half += 0.005 * rng.standard_normal(half.shape)
    image = ndimage.zoom(half, 2, order=3, mode="nearest", grid_mode=True).astype(np.float32)
    estimate = WeightEstimate(image[None], [psf], None)
    assert estimate.noise == pytest.approx(0.004, rel=0.3)
    assert psnr(fd.deblur(image, psf, mu=estimate.ridge, data="squares"), whole[inside]) > psnr(image, whole[inside])


def test_a_ramp_has_no_noise():
    """Its spectrum ends early, but not because it was enlarged."""
    down, across = np.mgrid[:SIDE, :SIDE] / SIDE
    assert WeightEstimate((down + 0.5 * across**2)[None], [PSFS["gaussian"]], None).noise < 1e-3


@pytest.mark.parametrize("prior", ["gradient", "tv", "sparse"])
def test_a_jpeg_is_made_better_not_worse(prior):
    sharp, image = blurred("gaussian")
    image = jpeg(image, 95).astype(np.float32)
    assert psnr(fd.deblur(image, PSFS["gaussian"], prior=prior), sharp) > psnr(image, sharp) + 2


@pytest.mark.parametrize("noise", [0.003, 0.01, 0.03])
@pytest.mark.parametrize("psf", PSFS)
def test_white_noise_is_measured(psf, noise, rng):
    image = blurred(psf)[1] + noise * rng.standard_normal((SIDE, SIDE))
    assert WeightEstimate(image[None], [PSFS[psf]], None).noise == pytest.approx(noise, rel=0.06)


@pytest.mark.parametrize(("scale", "bright"), [(1e-6, 1.0), (1e6, 1.0), (1.0, 7.0)])
def test_the_weight_has_units(scale, bright, rng):
    """Of the image's units, the noise's; and of the psf's sum, the ridge's."""
    image, psf = blurred("disk")[1] + 0.01 * rng.standard_normal((SIDE, SIDE)), PSFS["disk"]
    plain = WeightEstimate(image[None], [psf], None)
    other = WeightEstimate(scale * bright * image[None], [bright * psf], None)
    assert other.noise == pytest.approx(scale * bright * plain.noise, rel=1e-6)
    assert other.ridge == pytest.approx(bright**2 * plain.ridge)
    for prior in ("tv", "sparse"):
        power = {"tv": 1.0, "sparse": 1.2}[prior]
        wanted = scale**power * bright**2 * plain.weight_of(prior, "squares")
        assert bright != 1 or other.weight_of(prior, "squares") == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 3), (4, 7), (40, 1), (9, 200)])
def test_small_images_have_a_weight(shape, rng):
    for image in (rng.random(shape), np.zeros(shape), np.eye(*shape)):
        seen = WeightEstimate(image[None], [fd.psf.box(3)], None)
        assert np.isfinite([seen.ridge, seen.noise, seen.weight_of("tv", "squares")]).all()
        assert seen.ridge > 0


@pytest.mark.parametrize("missing", [0.2, 0.5])
@pytest.mark.parametrize("psf", PSFS)
def test_missing_pixels_hardly_move_the_weight(psf, missing, rng):
    image = (blurred(psf)[1] + 0.01 * rng.standard_normal((SIDE, SIDE))).astype(np.float32)
    whole = WeightEstimate(image[None], [PSFS[psf]], None)
    planes, weights, _ = weighed(np.where(rng.random(image.shape) < missing, np.nan, image)[None], None, None)
    part = WeightEstimate(planes, [PSFS[psf]], weights)
    assert part.noise == pytest.approx(whole.noise, rel=0.2)
    for prior in ("tv", "sparse"):
        assert part.weight_of(prior, "squares") == pytest.approx(whole.weight_of(prior, "squares"), rel=0.5)
    assert part.ridge == pytest.approx(whole.ridge, rel=0.6)


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("kind", ["lamp", "frame", "corner", "half", "block"])
def test_compact_holes_hardly_move_the_weight(kind, noise, rng):
    """Not even one with something very bright in it, whose surroundings no fill explains."""
    _, image = blurred("gaussian")
    down, across = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    hole = {
        "lamp": np.hypot(down, across) < 6,
        "frame": np.maximum(abs(down), abs(across)) > 0.4 * SIDE,
        "corner": down + across < -SIDE // 2,
        "half": across > 0,
        "block": np.maximum(abs(down), abs(across)) < 0.3 * SIDE,
    }[kind]
    if kind == "lamp":
        image = image + 30 * np.exp(-(down**2 + across**2) / 8)
    image = (image + noise * rng.standard_normal(image.shape)).astype(np.float32)
    whole = WeightEstimate(
        (blurred("gaussian")[1] + noise * rng.standard_normal((SIDE, SIDE)))[None], [PSFS["gaussian"]], None
    )
    planes, weights, _ = weighed(np.where(hole, np.nan, image)[None], None, None)
    part = WeightEstimate(planes, [PSFS["gaussian"]], weights)
    # Of a block, whose fill the window sees most of, noise is known to a thousandth of the range.
    assert part.noise == pytest.approx(whole.noise, rel=0.3, abs=1e-3 if kind == "block" else None)
    # That of what is left, which may have fewer edges.
    if kind != "block" or noise:
        assert 0.5 < part.weight_of("tv", "squares") / whole.weight_of("tv", "squares") < 2.5


@pytest.mark.parametrize("name", ["camera", "gravel", "coins"])
def test_the_ridge_after_a_motion_is_near_the_best_of_a_periodic_image(name, rng):
    """Where the blur passes next to nothing there is what the window leaks from beside it, which is no signal there."""
    sharp, psf = getattr(data, name)()[100:260, 100:260] / 255, fd.psf.motion(15, 40)
    image = ndimage.convolve(sharp, psf, mode="wrap") + 0.001 * rng.standard_normal(sharp.shape)
    centred = np.zeros(sharp.shape)
    centred[: psf.shape[0], : psf.shape[1]] = psf
    response = np.fft.fft2(np.roll(centred, [-(taps // 2) for taps in psf.shape], (0, 1)))
    squares = 4 * np.sin(np.pi * np.fft.fftfreq(len(sharp))) ** 2
    rough = squares[:, None] + squares[None, :]

    def quality(ridge):
        estimate = np.fft.fft2(image) * response.conj() / (abs(response) ** 2 + ridge * rough)
        return psnr(np.fft.ifft2(estimate).real, sharp)

    found = quality(WeightEstimate(image[None], [psf], None).ridge)
    assert found > max(quality(ridge) for ridge in np.geomspace(1e-7, 1, 30)) - 0.2


@pytest.mark.parametrize("wrong", [(18, 20), (18, 40), (21.6, 30)])
def test_a_wrong_psf_is_told_where_it_leaves_little(wrong):
    """In a smooth image without noise."""
    scene = data.cell()[182:478, 127:423] / 255
    image = ndimage.convolve(scene, fd.psf.motion(18, 30), mode="nearest")[20:-20, 20:-20]
    estimate = WeightEstimate(image[None], [fd.psf.motion(*wrong)], None)
    assert doubts_psf(Details(estimate), estimate)
    estimate = WeightEstimate(image[None], [fd.psf.motion(18, 30)], None)
    assert not doubts_psf(Details(estimate), estimate)


@sweep(wrong=[(18, 20), (18, 40), (14.4, 30), (21.6, 30)], noise=[0.001, 0.003])
def test_a_wrong_psf_is_told(wrong, noise, rng):
    true = fd.psf.motion(18, 30)
    scene = color.rgb2gray(data.astronaut())[60:280, 150:370]
    image = fd.convolve(scene, true, boundary="nearest")[MARGIN:-MARGIN, MARGIN:-MARGIN]
    image += noise * rng.standard_normal(image.shape)
    right = fd.solve(image, true)  # and no warning
    with pytest.warns(UserWarning, match="residual looks like the image"):
        found = fd.solve(image, fd.psf.motion(*wrong))
    assert right.noise == pytest.approx(noise, rel=0.15)
    assert right.misfit < 1.1
    assert found.misfit > 1.3 * right.misfit


@pytest.mark.parametrize("psf", PSFS)
@pytest.mark.parametrize("scene", ["brick", "retina", "cell"])
def test_the_true_psf_is_not_doubted(scene, psf, rng):
    """Not even of images with a periodic texture, or with hardly any details."""
    side = SIDE + 2 * MARGIN
    whole = getattr(data, scene)()
    whole = (color.rgb2gray(whole) if whole.ndim == 3 else whole / 255)[100 : 100 + side, 100 : 100 + side]
    image = ndimage.convolve(whole, PSFS[psf], mode="nearest")[MARGIN:-MARGIN, MARGIN:-MARGIN]
    for noise in (0.004, 0.03):
        seen = WeightEstimate((image + noise * rng.standard_normal(image.shape))[None], [PSFS[psf]], None)
        assert not Details(seen).resembles_image()
        assert likelihood_gain(seen, SIDE)[0] < LIKELIER / 2


@pytest.mark.parametrize("wrong", [(18, 20), (18, 40), (14.4, 30), (21.6, 30)])
def test_a_wrong_psf_is_told_by_its_spectrum_where_there_are_hardly_any_details(wrong, rng):
    true = fd.psf.motion(18, 30)
    scene = color.rgb2gray(data.retina())[560:850, 560:850]
    image = ndimage.convolve(scene, true, mode="nearest")[MARGIN:-MARGIN, MARGIN:-MARGIN]
    image += 0.001 * rng.standard_normal(image.shape)
    assert likelihood_gain(WeightEstimate(image[None], [true], None), SIDE)[0] < 0
    assert likelihood_gain(WeightEstimate(image[None], [fd.psf.motion(*wrong)], None), SIDE)[0] > LIKELIER


def test_the_power_of_a_psf_is_what_a_fading_window_shows_of_it():
    psf, frame = fd.psf.motion(9, 20), (48, 40)
    points = 240  # a multiple of both sides: the frame's frequencies are among them
    power = psf_likelihood._power(psf, points, frame)
    spectrum = np.abs(np.fft.rfft2(psf, frame)) ** 2
    expected = windowed_power(spectrum, frame[1])
    assert power[:: points // 48, : points // 2 + 1 : points // 40] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("bounds", [None, (0, 1)])
def test_sparse_converges_in_a_few_dozen_steps_on_a_jpeg(bounds, rng):
    """Its errors are more than the noise of its flat parts, and no reason to go slowly."""
    sharp, image = blurred("disk")
    image = jpeg(image, 90)
    found = fd.solve(image, PSFS["disk"], prior="sparse", bounds=bounds)  # and no warning
    assert found.stop_reason == "tolerance"
    assert found.n_iter < 60
    assert np.square(found.image - sharp).mean() < 0.4 * np.square(image - sharp).mean()


def test_a_solve_that_has_not_converged_is_warned_of(rng, monkeypatch):
    image = (blurred("disk")[1] + 0.01 * rng.standard_normal((SIDE, SIDE))).astype(np.float32)
    monkeypatch.setitem(options.MOST_STEPS, "admm", 3)
    for given in ({}, {"max_iter": 3}):
        with pytest.warns(UserWarning, match="after 3 iterations.*larger max_iter"):
            fd.solve(image, PSFS["disk"], prior="tv", **given)
    fd.solve(image, PSFS["disk"], prior="tv", max_iter=2)  # the caller knows
    fd.solve(image, PSFS["disk"], prior="tv", tol=0)


@pytest.mark.parametrize("scale", [1.0, 2.0**-60])
def test_values_far_beyond_the_image_are_told_in_its_own_units(scale, photograph):
    sharp, blurred, _ = photograph
    blurred = fd.convolve(sharp, fd.psf.box(9), boundary="reflect")
    blurred += 1e-4 * np.random.default_rng(3).standard_normal(sharp.shape)
    with pytest.warns(UserWarning, match="the restored values reach from") as said:
        restored = fd.deblur(blurred * scale, fd.psf.gaussian(15, 3))
    assert f"from {restored.min():.3g} to {restored.max():.3g}, far beyond" in str(said[0].message)


def test_large_images_are_looked_at_in_parts():
    planes = np.random.default_rng(0).random((2, 1030, 1600), np.float32)
    parts = parts_of_large(planes, [np.ones((9, 9)), np.ones((5, 15))])
    assert parts.shape == (12, 515, 533)
    for k, part in enumerate(parts):  # the k-th is blurred by the k-th psf, counted round
        row, col = k // 6 * 515, k // 2 % 3 * 533
        np.testing.assert_array_equal(part, planes[k % 2, row : row + 515, col : col + 533])
    assert parts_of_large(planes, [np.ones((130, 3))]).shape == (6, 1030, 533)  # parts are far larger than psfs
    assert parts_of_large(planes[:, :1023, :1023], [np.ones((9, 9))]).shape == (2, 1023, 1023)


def test_the_noise_of_a_large_image_is_that_of_its_parts():
    rng, psf = np.random.default_rng(1), fd.psf.gaussian(9, 1.5)
    sharp = np.pad(data.camera() / 255, (0, 520), mode="symmetric")
    image = fd.convolve(sharp, psf, boundary="reflect") + 0.02 * rng.standard_normal(sharp.shape)
    estimate = WeightEstimate(image[None], [psf], None)
    assert estimate.noise == pytest.approx(0.02, rel=0.02)
    of_part = WeightEstimate(image[None, :700, :700], [psf], None)
    assert estimate.weight_of("tv", "squares") == pytest.approx(of_part.weight_of("tv", "squares"), rel=0.2)
