"""Weights, missing and clipped pixels, and channels."""

import numpy as np
import pytest
from skimage import color, data
from sweeps import sweep

import fastdeblur as fd
from fastdeblur.operators.boundary import BOUNDARIES

PSF = fd.psf.gaussian(7, (1, 1.5))
WAYS = [
    {}, {"data": "squares"}, {"prior": "tv"}, {"prior": "sparse"}, {"solver": "gd", "mu": 0.2},
    {"data": "poisson", "prior": None}, {"data": "poisson", "prior": "tv"}, {"bounds": (0, 1)},
]  # fmt: skip
SETTLED = {"mu": 0.05, "tol": 1e-6}


def photograph(size, noise, rng, psf=PSF):
    sharp = color.rgb2gray(data.astronaut())[100 : 100 + size, 150 : 150 + size]
    blurred = fd.convolve(sharp, psf, boundary="reflect") + noise * rng.standard_normal(sharp.shape)
    return sharp.astype(np.float32), np.clip(blurred, 0, None).astype(np.float32)


def psnr(image, truth):
    return -10 * np.log10(np.mean((image - truth)[8:-8, 8:-8] ** 2))


@pytest.mark.parametrize("options", WAYS, ids=str)
def test_a_fifth_missing_costs_less_than_two_decibels(options, rng):
    sharp, blurred = photograph(128, 0.01, rng)
    holes = blurred.copy()
    holes[rng.random(blurred.shape) < 0.2] = np.nan
    whole, part = (psnr(fd.deblur(image, PSF, **options), sharp) for image in (blurred, holes))
    assert part > whole - 2


@pytest.mark.parametrize("options", WAYS, ids=str)
def test_what_a_hole_holds_does_not_matter(options, rng):
    _, blurred = photograph(40, 0.01, rng)
    hole = rng.random(blurred.shape) < 0.1
    hole[20:25, 10:18] = True
    weights = np.where(hole, 0, rng.random(blurred.shape)).astype(np.float32)
    missing = np.where(hole, np.nan, blurred).astype(np.float32)
    other = np.where(hole, 17, blurred).astype(np.float32)
    first, second, third = (
        fd.deblur(image, PSF, weights=w, max_iter=8, **options)
        for image, w in ((other, weights), (missing, weights), (missing, np.where(hole, 1, weights)))
    )
    assert np.array_equal(first, second)
    assert np.array_equal(first, third)
    assert np.isfinite(first).all()
    assert not np.isfinite(missing[hole]).any()  # the caller's stay


@pytest.mark.parametrize("options", WAYS, ids=str)
def test_weights_that_are_all_the_same(options, rng):
    """Squares and photons with weights w and mu w are w times the same; roots have the root of w."""
    _, blurred = photograph(40, 0.01, rng)
    given = {"mu": 0.02, "max_iter": 30, "tol": 0} | options
    scale = 4.0 if given.get("data", "root" if "prior" not in given else "squares") != "root" else 2.0
    plain = fd.solve(blurred, PSF, **given)
    heavy = fd.solve(blurred, PSF, weights=np.full(blurred.shape, 4), **(given | {"mu": scale * given["mu"]}))
    assert heavy.objective == pytest.approx(scale * plain.objective, rel=1e-4)
    assert heavy.mu == pytest.approx(scale * plain.mu)
    assert np.abs(heavy.image - plain.image).max() < 2e-3


@sweep(boundary=BOUNDARIES, data_term=["root", "squares"])
def test_exact_and_descent_agree(boundary, data_term, rng):
    _, blurred = photograph(16, 0.02, rng)
    weights = rng.random(blurred.shape) + (rng.random(blurred.shape) > 0.7) * 3
    weights[5:8, 3:9] = 0
    image = blurred.astype(float)
    common = {"data": data_term, "mu": 0.3, "boundary": boundary, "weights": weights}
    exact = fd.solve(image, PSF, tol=1e-7, **common)
    slow = fd.solve(image, PSF, solver="gd", max_iter=20000, tol=1e-6, **common)
    assert exact.stop_reason == "tolerance"
    assert exact.objective <= slow.objective * (1 + 1e-9)
    assert slow.objective == pytest.approx(exact.objective, rel=1e-5)
    split = fd.solve(image, PSF, bounds=(-100, 100), max_iter=3000, tol=1e-5, **common)
    assert split.objective == pytest.approx(exact.objective, rel=1e-3)


def test_the_objective_with_weights(rng):
    image, weights = rng.random((14, 15)), rng.random((14, 15))
    result = fd.solve(image, PSF, mu=0.3, boundary="nearest", weights=weights)
    residual = fd.convolve(result.image, PSF, boundary="nearest") - image
    rough = sum((np.diff(result.image, axis=axis) ** 2).sum() for axis in (0, 1))
    expected = np.sqrt(0.5 * (weights * residual**2).sum()) + 0.3 * np.sqrt(0.5 * rough)
    assert result.objective == pytest.approx(expected, rel=1e-6)


def test_saturated_pixels(rng, recwarn):
    sharp, _ = photograph(96, 0.0, rng)
    sharp = sharp.copy()
    sharp[40:44, 50:54] = 6.0
    blurred = fd.convolve(sharp, PSF, boundary="reflect").astype(np.float32)
    clipped = np.minimum(blurred, 1).astype(np.float32)
    weights = fd.saturated(clipped, 1)
    assert weights.dtype == np.float32
    assert np.array_equal(weights == 0, clipped >= 1)
    weighted = fd.deblur(clipped, PSF, prior="tv", weights=weights)
    assert not recwarn.list
    with pytest.warns(UserWarning, match="may be wrong"):
        naive_ = fd.deblur(clipped, PSF, prior="tv")
    rest = np.ones(sharp.shape, bool)
    rest[36:48, 46:58] = False
    assert np.mean((weighted - sharp)[rest] ** 2) < 0.5 * np.mean((naive_ - sharp)[rest] ** 2)


@sweep(axis=[0, 1, 2, -1], prior=["gradient", "tv"])
def test_any_channel_axis(axis, prior, rng):
    image = rng.random((3, 30, 31)).astype(np.float32)
    options = {"prior": prior, "mu": 0.05, "max_iter": 20}
    expected = fd.deblur(image, PSF, channel_axis=0, **options)
    moved = fd.deblur(np.moveaxis(image, 0, axis), PSF, channel_axis=axis, **options)
    assert np.array_equal(np.moveaxis(moved, axis, 0), expected)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_squares_take_channels_apart(boundary, rng):
    image = rng.random((3, 40, 41)).astype(np.float32)
    together = fd.deblur(image, PSF, data="squares", mu=0.05, channel_axis=0, boundary=boundary)
    apart = [fd.deblur(plane, PSF, data="squares", mu=0.05, boundary=boundary) for plane in image]
    assert np.abs(together - apart).max() < 1e-3


def test_total_variation_couples_channels(rng):
    step = (np.arange(40) >= 20) * np.ones((40, 1))
    image = fd.convolve(step, PSF, boundary="reflect")[None] * np.array([1.0, 0.2])[:, None, None]
    image += 0.02 * rng.standard_normal(image.shape)
    together = fd.deblur(image, PSF, prior="tv", channel_axis=0, mu=0.03, tol=1e-5, max_iter=2000)
    apart = fd.deblur(image[1], PSF, prior="tv", mu=0.03, tol=1e-5, max_iter=2000)
    height = [plane[:, 25:30].mean() - plane[:, 10:15].mean() for plane in (together[1], apart)]
    assert height[0] > 0.198  # the strong channel's edge holds the weak one's
    assert height[1] < 0.197


@sweep(options=[o | SETTLED for o in WAYS if o.get("data") != "poisson"], boundary=["reflect", "unknown"])
def test_a_psf_for_each_channel(options, boundary, rng):
    """The same psf twice is one for both; and with squares each channel is on its own."""
    image = rng.random((30, 2, 31)).astype(np.float32)
    given = options | {"boundary": boundary, "channel_axis": 1, "max_iter": 40}
    twice = np.stack([PSF, PSF], axis=1)
    assert np.abs(fd.deblur(image, twice, **given) - fd.deblur(image, PSF, **given)).max() < 3e-3
    # With squares, the default is the second of the ways.
    if options == SETTLED or given.get("prior") in ("sparse", "tv"):
        return
    other = fd.psf.disk(3)  # of the same size: the channels have one domain
    given |= {"data": "squares", "max_iter": 400}
    mixed = fd.deblur(image, np.stack([PSF, other], axis=1), **given)
    del given["channel_axis"]
    for plane, psf in ((0, PSF), (1, other)):
        assert np.abs(mixed[:, plane] - fd.deblur(image[:, plane], psf, **given)).max() < 3e-3


@pytest.mark.parametrize("options", [{"mu": 5.0}, {"data": "poisson", "prior": None}, {"prior": "tv"}], ids=str)
def test_weights_of_one_call_are_gone_in_the_next(options, rng):
    image = rng.random((2, 30, 31))
    deblurrer = fd.Deblurrer(np.stack([PSF, PSF[::-1]]), image.shape, channel_axis=0, boundary="constant", **options)
    expected = deblurrer(image)
    weights = rng.random(image.shape)
    weighted = deblurrer.solve(image, weights=weights).image
    assert not np.array_equal(weighted, expected)
    assert np.array_equal(deblurrer(image), expected)


@pytest.mark.parametrize("kind", ["gray", "colour"])
def test_weights_may_be_nan_where_the_image_is(kind, rng):
    """As an inverse variance is, of what was never seen; everywhere, and tile by tile."""
    shape, options = ((70, 60), {}) if kind == "gray" else ((50, 42, 3), {"channel_axis": -1})
    image, weights = rng.random(shape), rng.uniform(0.5, 2, shape)
    image[20:30, 10:25] = np.nan
    zeros, nans = np.where(np.isnan(image), 0, weights), np.where(np.isnan(image), np.nan, weights)
    options |= {"mu": 0.1, "data": "squares", "max_iter": 8}
    wanted = fd.solve(image, PSF, weights=zeros, **options).image
    found = [
        fd.solve(image, PSF, weights=nans, **options).image,
        fd.Deblurrer(PSF, shape, weights=nans, **options).solve(image).image,
        fd.Deblurrer(PSF, shape, **options).solve(image, weights=nans).image,
    ]
    for each in found:
        np.testing.assert_array_equal(each, wanted)
    large = {"tile": 40, "halo": 10, **options}
    wanted = fd.deblur_large(image, PSF, weights=zeros, **large)
    np.testing.assert_array_equal(fd.deblur_large(image, PSF, weights=nans, **large), wanted)
    da = pytest.importorskip("dask.array")
    for given in (nans, da.from_array(nans, chunks=40)):
        lazy = fd.deblur_large(da.from_array(image, chunks=40), PSF, weights=given, **large).compute()
        np.testing.assert_allclose(lazy, wanted, atol=1e-12)
    assert np.isnan(nans[20, 10]).all()  # the caller's stay


def test_weights_must_not_be_nan_elsewhere(rng):
    image, weights = rng.random((20, 30)), np.ones((20, 30))
    weights[3, 4] = np.nan
    with pytest.raises(ValueError, match=r"weights must not be NaN where the image is not; at index \(3, 4\) they are"):
        fd.solve(image, PSF, weights=weights, mu=0.1)
    image[3, 4] = np.nan
    fd.solve(image, PSF, weights=weights, mu=0.1)
    colour = np.stack([image, np.ones((20, 30))], -1)
    with pytest.raises(ValueError, match=r"must not be NaN .* at index \(3, 4, 1\)"):
        fd.solve(colour, PSF, weights=weights, mu=0.1, channel_axis=-1)
