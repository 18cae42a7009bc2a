"""A background beside the blurred image, photons that were read with noise, and stars on a dark ground."""

import os

import dask.array as da
import numpy as np
import pytest
import scipy.special
from sweeps import sweep

import fastdeblur as fd
from fastdeblur.io import files
from fastdeblur.large import sampling
from fastdeblur.large import tile_solver as tiles
from fastdeblur.problem.regularization import WeightEstimate

PSF = fd.psf.gaussian(9, 1.5)


def sky_field(shape=(48, 40), sky=200.0, noise=5.0, seed=0):
    """Stars, and counts of them on a sky, read with noise."""
    random = np.random.default_rng(seed)
    stars = np.zeros(shape)
    stars[12::12, 10::10] = 2e4
    counts = random.poisson(np.maximum(fd.convolve(stars, PSF), 0) + sky)
    return stars, counts + noise * random.standard_normal(shape)


@pytest.mark.parametrize("options", [{}, {"data": "squares"}, {"prior": "tv", "bounds": (0, None)}])
def test_background_is_subtracted_where_noise_does_not_depend_on_it(options):
    raw = sky_field()[1]
    slope = np.linspace(100, 200, raw.size).reshape(raw.shape)
    for background in (150.0, slope):
        with_it = fd.solve(raw, PSF, mu=0.1, background=background, max_iter=20, **options)
        without = fd.solve(raw - background, PSF, mu=0.1, max_iter=20, **options)
        np.testing.assert_array_equal(with_it.image, without.image)


@pytest.mark.parametrize("prior", [None, "tv"])
@pytest.mark.parametrize("sky", [200.0, "image"])
def test_objective_is_that_of_shifted_photons(prior, sky):
    raw = sky_field()[1]
    raw[3:6, 3:6] = -40  # below what read noise explains: nothing was counted there
    background = np.linspace(150, 250, raw.size).reshape(raw.shape) if sky == "image" else sky
    result = fd.solve(
        raw, PSF, data="poisson", prior=prior, mu=0.01, background=background, read_noise=5, boundary="constant"
    )
    mean = fd.convolve(result.image, PSF) + background + 25
    expected = (mean - np.maximum(raw + 25, 0) * np.log(mean)).sum()
    if prior == "tv":
        down, across = np.zeros(raw.shape), np.zeros(raw.shape)
        down[:-1], across[:, :-1] = np.diff(result.image, axis=0), np.diff(result.image, axis=1)
        expected += 0.01 * np.hypot(down, across).sum()
    assert result.objective == pytest.approx(expected, rel=1e-6)
    assert result.image.min() >= 0
    assert np.isfinite(result.image).all()


@pytest.mark.parametrize("rows", [1, 64])
def test_the_weight_of_photons_knows_the_background_beside_missing_pixels(rows, rng):
    """The part of the image that is looked at has other columns than the background."""
    shift = np.linspace(5, 50, rows * 64).reshape(1, rows, 64)
    image = rng.poisson(60 + shift, (1, 64, 64)) - shift
    weights = np.ones_like(image)
    weights[:, :5, :20] = 0
    seen = WeightEstimate(image, [PSF], weights)
    _, height, width = seen.planes.shape
    assert height * width < 64 * 64
    beside = shift[:, -height:, -width:]
    alone = WeightEstimate(seen.planes, [PSF], None).weight_of("tv", "poisson", beside)
    assert seen.weight_of("tv", "poisson", shift) == pytest.approx(alone)
    counts = (image + shift)[0]
    counts[:5, :20] = np.nan
    background = np.broadcast_to(shift[0], counts.shape)
    assert fd.solve(counts, PSF, data="poisson", prior="tv", background=background, max_iter=2).mu > 0


def test_photons_on_a_dark_image_give_a_dark_estimate():
    image = np.full((24, 24), 90.0)
    result = fd.solve(image, PSF, data="poisson", prior=None, background=100.0, read_noise=3)
    assert np.isfinite(result.image).all()
    assert result.image.max() < 1e-3


@pytest.mark.parametrize("prior", [None, "tv"])
def test_flux_of_stars_on_a_sky(prior):
    stars, raw = sky_field((96, 80))
    result = fd.solve(raw, PSF, data="poisson", prior=prior, background=200, read_noise=5)
    rows, cols = np.nonzero(stars[12:-12, 10:-10])
    sums = [
        result.image[r + 12 - 4 : r + 12 + 5, c + 10 - 4 : c + 10 + 5].sum() for r, c in zip(rows, cols, strict=True)
    ]
    assert np.mean(sums) == pytest.approx(2e4, rel=0.03)  # what is not negative keeps some of the noise
    if prior is None:
        assert result.stop_reason == "noise"


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("prior", [None, "tv"])
def test_stars_between_pixels_keep_their_flux_and_their_place(sigma, prior):
    """Of points integrated over pixels; the noise is found, though no spectrum of photographs has so much that is fine.

    (The estimate was 1 to 3 % too bright, as it cannot be as narrow as they are; and of the sharpest, whose spectrum
    was taken for noise, 80 % too dark.)
    """
    random, shape = np.random.default_rng(3), (120, 110)
    places = np.array([[r, c] for r in range(18, 110, 21) for c in range(18, 100, 24)])
    places = places + random.uniform(-0.5, 0.5, places.shape)
    fluxes = np.exp(random.uniform(np.log(5e4), np.log(2e5), len(places)))
    light = sum(flux * of_point(shape, place, sigma) for place, flux in zip(places, fluxes, strict=True))
    counts = random.poisson(light + 500) + 8 * random.standard_normal(shape)
    psf = fd.psf.gaussian(17, sigma)
    result = fd.solve(counts, psf, data="poisson", prior=prior, background=500, read_noise=8, max_iter=150)
    rows, cols = np.mgrid[:120, :110]
    sums, off = [], []
    for row, col in places:
        near = np.hypot(rows - row, cols - col) <= 8
        sums.append(result.image[near].sum())
        off.append([(result.image * (at - place))[near].sum() / sums[-1] for at, place in ((rows, row), (cols, col))])
    assert np.mean(sums / fluxes) == pytest.approx(1, abs=0.01)
    assert np.sqrt(np.square(off).sum(axis=1).mean()) < 0.04
    assert result.noise == pytest.approx(np.sqrt((light + 564).mean()), rel=0.1)


def of_point(shape, place, sigma):
    """A Gaussian point of flux 1, integrated over pixels."""
    edges = [(np.arange(size + 1) - 0.5 - at) / (np.sqrt(2) * sigma) for size, at in zip(shape, place, strict=True)]
    rows, cols = (np.diff(scipy.special.erf(each)) / 2 for each in edges)
    return np.outer(rows, cols)


def stars_that_wrap(taps):
    """Stars on a dark ground and their image, of which the sparse objective is known."""
    random = np.random.default_rng(1)
    stars = np.zeros((96, 96))
    stars[tuple(random.integers(0, 96, (2, 40)))] = np.exp(random.uniform(0, 3, 40))
    image = fd.convolve(stars, taps, boundary="wrap")
    stars, image = stars / image.max(), image / image.max()
    return stars, image + 1e-3 * random.standard_normal(image.shape)


def sparse_objective(x, taps, image, mu):
    misfit = 0.5 * ((fd.convolve(x, taps, boundary="wrap") - image) ** 2).sum()
    down, across = (np.roll(x, -1, axis) - x for axis in (0, 1))
    twice = sum((np.roll(x, -1, axis) - 2 * x + np.roll(x, 1, axis)) ** 2 for axis in (0, 1))
    twice += 2 * (np.roll(down, -1, 1) - down) ** 2
    return misfit + mu * ((down**2 + across**2) ** 0.4).sum() + mu * 0.5 * (twice**0.4).sum()


@pytest.mark.parametrize("bounds", [None, (0, None)])
@pytest.mark.parametrize("taps", [(fd.psf.gaussian(13, 2.0)), fd.psf.disk(4)], ids=["gaussian", "disk"])
def test_sparse_ends_below_simple_feasible_points_on_stars(taps, bounds):
    """The truth, the image, without its negative pixels if bounds say so, and the solution with tv."""
    stars, image = stars_that_wrap(taps)
    result = fd.solve(image, taps, prior="sparse", bounds=bounds, boundary="wrap")
    tv = fd.deblur(image, taps, prior="tv", bounds=bounds, boundary="wrap")
    assert result.objective == pytest.approx(sparse_objective(result.image, taps, image, result.mu), rel=1e-5)
    feasible = stars, image if bounds is None else image.clip(*bounds), tv
    least = min(sparse_objective(x, taps, image, result.mu) for x in feasible)
    assert result.stop_reason == "tolerance"
    assert result.objective < least
    assert result.image.sum() == pytest.approx(stars.sum(), rel=0.02)


@pytest.mark.parametrize("bounds", [None, (0, 1)])
def test_sparse_ends_below_the_solution_with_tv_where_there_is_little_noise(bounds, rng, photograph):
    sharp, taps = photograph[0][:96, :96], fd.psf.disk(4)
    image = fd.convolve(sharp, taps, boundary="wrap") + 1e-3 * np.ptp(sharp) * rng.standard_normal((96, 96))
    result, tv = (fd.solve(image, taps, prior=prior, bounds=bounds, boundary="wrap") for prior in ("sparse", "tv"))
    assert result.n_iter < 70
    assert sparse_objective(result.image, taps, image, result.mu) < sparse_objective(tv.image, taps, image, result.mu)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"background": -1}, "background must be"),
        ({"background": np.full((48, 40), -1.0)}, "background must be at least 0"),
        ({"background": np.full((48, 40), np.nan)}, "background"),
        ({"background": np.ones(3)}, "background must be a number"),
        ({"read_noise": 3}, "read_noise goes with data='poisson'"),
        ({"read_noise": -3, "data": "poisson", "prior": None}, "read_noise"),
    ],
)
def test_wrong_backgrounds_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        fd.solve(np.ones((48, 40)), PSF, **options)


def test_deblurrer_takes_a_background_for_each_image():
    raw = sky_field()[1].astype(np.float32)
    deblurrer = fd.Deblurrer(PSF, raw.shape, data="poisson", prior=None, background=100, read_noise=5, max_iter=5)
    given = deblurrer.solve(raw, background=200).image
    whole = fd.solve(raw, PSF, data="poisson", prior=None, background=200, read_noise=5, max_iter=5).image
    np.testing.assert_array_equal(given, whole)


@sweep(
    kind=["number", "image", "dask"],
    options=[{"data": "poisson", "prior": "tv", "read_noise": 5.0}, {"data": "squares"}],
)
def test_tiles_get_their_part_of_the_background(options, kind):
    raw = sky_field((120, 110))[1]
    slope = np.linspace(150, 250, raw.size).reshape(raw.shape)
    background = slope if kind == "image" else 200.0
    options = options | {"mu": 0.1, "max_iter": 200, "background": background}
    whole = fd.solve(raw, PSF, **options).image
    if kind == "dask":
        tiles = fd.deblur_large(da.from_array(raw, chunks=60), PSF, tile=60, halo=30, **options).compute()
    else:
        tiles = fd.deblur_large(raw, PSF, tile=60, halo=30, **options)
    assert np.abs(tiles - whole).max() < 0.05 * whole.max()  # at 200 steps, not at a minimum


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options",
    [{"data": "poisson", "prior": None, "max_iter": 20}, {"data": "poisson", "prior": "tv"}, {"prior": "tv"}],
    ids=["richardson_lucy", "poisson tv", "tv"],
)
def test_units_do_not_matter(dtype, options):
    raw = sky_field()[1].astype(dtype)
    photons = options.get("data") == "poisson"
    counted = np.maximum(raw.astype(float) + 36, 0).sum()

    def solved(power):
        noise = {"read_noise": 6 * 2.0 ** (power // 2)} if photons else {}  # the variance is so many counts
        return fd.solve(np.ldexp(raw, power), PSF, background=200 * 2.0**power, **noise, **options)

    plain = solved(0)
    for power in (-140, 90) if dtype == "float32" else (-900, 400):
        scaled = solved(power)
        assert scaled.n_iter == plain.n_iter
        back = np.ldexp(scaled.image.astype(float), -power)
        # Three hundred steps of float32 multiply what rounding adds.
        share = 3e-5 if dtype == "float32" else 1e-5
        np.testing.assert_allclose(back, plain.image, rtol=0, atol=share * plain.image.max())
        if photons:
            objective = plain.objective - power * np.log(2) * counted
            assert np.ldexp(scaled.objective, -power) == pytest.approx(objective, rel=1e-6)


@pytest.mark.parametrize(
    "options", [{"background": 1e39}, {"read_noise": 1e20, "data": "poisson", "prior": None}, {"background": 3e38}]
)
def test_backgrounds_that_numbers_cannot_hold_are_refused(options):
    with pytest.raises(ValueError, match=r"background, and the square of read_noise .* numbers that float32"):
        fd.solve(np.full((8, 8), -3e38, np.float32), fd.psf.gaussian(3, 1), **options)


def test_memory_of_a_background_is_counted():
    shape, size = (512, 512), 512 * 512 * 4
    common = {"data": "poisson", "prior": None}
    alone = fd.estimate_memory(shape, PSF, **common)
    sky = fd.estimate_memory(shape, PSF, background=5, **common)
    image = fd.estimate_memory(shape, PSF, background=np.full(shape, 5.0), **common)
    assert (sky - alone, image - alone) == (2 * size, 4 * size)
    assert fd.estimate_memory(shape, PSF, background=5) - fd.estimate_memory(shape, PSF) == size


class Chunked:
    """An array in chunks that are large beside tiles; it counts how often it is read."""

    def __init__(self, array):
        self._array, self.shape, self.dtype, self.chunks, self.reads = array, array.shape, array.dtype, array.shape, 0

    def __getitem__(self, part):
        self.reads += 1
        return self._array[part]


@sweep(
    suffix=["npy", "tif", "chunks"], options=[{"prior": "tv"}, {"data": "poisson", "prior": "tv", "read_noise": 5.0}]
)
def test_backgrounds_are_read_as_sources_are(tmp_path, options, suffix):
    raw = sky_field((90, 100))[1].astype(np.float32)
    slope = np.linspace(150, 250, raw.size, dtype=np.float32).reshape(raw.shape)
    options = options | {"mu": 0.1, "max_iter": 2, "tol": 0, "tile": 30, "halo": 10}
    background = Chunked(slope) if suffix == "chunks" else tmp_path / f"sky.{suffix}"
    if suffix != "chunks":
        files.write(background, slope)
    found = fd.deblur_large(raw, PSF, background=background, **options)
    np.testing.assert_array_equal(found, fd.deblur_large(raw, PSF, background=slope, **options))
    if suffix == "chunks":
        assert background.reads == 1


@sweep(
    # (The third, of read noise, with photons.)
    change=["other", "number", "noise", "pixel"],
    options=[{"data": "poisson", "prior": "tv", "read_noise": 5.0}, {"prior": "tv"}],
)
def test_a_run_goes_on_only_with_its_background(tmp_path, monkeypatch, options, change):
    raw = sky_field((90, 100))[1].astype(np.float32)
    np.save(tmp_path / "sky.npy", np.linspace(150, 250, raw.size, dtype=np.float32).reshape(raw.shape))
    sky, out = np.lib.format.open_memmap(tmp_path / "sky.npy", "r+"), tmp_path / "out.npy"
    options = options | {"mu": 0.1, "max_iter": 2, "tol": 0, "tile": 30, "halo": 10}
    monkeypatch.setattr(sampling, "CROP", 16)
    solve, solved = tiles.TileSolver.__call__, []

    def stopping(*arguments):
        solved.append(None)
        if len(solved) > 4:
            raise KeyboardInterrupt
        return solve(*arguments)

    with monkeypatch.context() as context:
        context.setattr(tiles.TileSolver, "__call__", stopping)
        with pytest.raises(KeyboardInterrupt):
            fd.deblur_large(raw, PSF, out, background=sky, **options)
    other, name = {"background": sky}, "background"
    if change == "noise":
        if "read_noise" not in options:
            pytest.skip("without photons there is none")
        other, name = other | {"read_noise": 6.0}, "read_noise"
    elif change == "pixel":  # of the first tile, outside of crops, in a way that its file's time does not tell
        before = (tmp_path / "sky.npy").stat()
        sky[20, 20] += 1
        sky.flush()
        os.utime(tmp_path / "sky.npy", ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        other["background"] = 200.0 if change == "number" else np.array(sky) + 1
    with pytest.raises(ValueError, match=f"had another .*{name}"):
        fd.deblur_large(raw, PSF, out, **options | other)
    if change == "pixel":
        sky[20, 20] -= 1
        sky.flush()
        os.utime(tmp_path / "sky.npy", ns=(before.st_atime_ns, before.st_mtime_ns))
    found = fd.deblur_large(raw, PSF, out, background=sky, **options)
    np.testing.assert_array_equal(found, fd.deblur_large(raw, PSF, background=np.array(sky), **options))


@sweep(data=["squares", "poisson"], weighted=[False, True])
def test_dask_takes_an_image_as_background(data, weighted):
    raw = sky_field((120, 110))[1]
    slope = np.linspace(150, 250, raw.size).reshape(raw.shape)
    source, options = da.from_array(raw, chunks=60), {"prior": "tv", "data": data, "tile": 60, "halo": 30}
    options |= {"max_iter": 20, "weights": np.linspace(0.5, 1, raw.size).reshape(raw.shape) if weighted else None}
    whole = fd.deblur_large(raw, PSF, background=slope, **options)
    for background in (slope, da.from_array(slope, chunks=50)):
        np.testing.assert_array_equal(fd.deblur_large(source, PSF, background=background, **options).compute(), whole)
    with pytest.raises(TypeError, match="background must be an array for a Dask array; got str"):
        fd.deblur_large(source, PSF, background="sky.npy", **options)
    with pytest.raises(ValueError, match="background must be finite and at least 0"):
        fd.deblur_large(source, PSF, background=-slope, **options).compute()


@pytest.mark.parametrize("of_channels", [False, True])
def test_dask_counts_photons_of_channels_on_a_background(of_channels):
    raw = np.stack([sky_field((120, 110), seed=seed)[1] for seed in (0, 1)], axis=-1)
    slope = np.linspace(150, 250, 120 * 110).reshape(120, 110)
    if of_channels:
        slope = np.stack([slope, slope[::-1]], axis=-1)
    options = {"data": "poisson", "prior": None, "read_noise": 5, "channel_axis": -1, "tile": 60, "halo": 30}
    whole = fd.deblur_large(raw, PSF, background=slope, **options)
    source = da.from_array(raw, chunks=(60, 60, 1))
    np.testing.assert_array_equal(fd.deblur_large(source, PSF, background=slope, **options).compute(), whole)
    alone = fd.deblur_large(source, PSF, background=slope, **(options | {"tile": 120})).compute()
    one = fd.solve(raw, PSF, background=slope, data="poisson", prior=None, read_noise=5, channel_axis=-1)
    np.testing.assert_array_equal(alone, one.image)
