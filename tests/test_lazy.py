"""Dask's arrays: a graph of the same tiles, computed anywhere with the same bits."""

import warnings

import numpy as np
import pytest
from scenes import blurred, layout
from sweeps import sweep

import fastdeblur as fd
from fastdeblur.large.job import DEFAULTS
from fastdeblur.large.plan import plan_of

da = pytest.importorskip("dask.array")
import dask  # noqa: E402 (only if there is one)

PSF = fd.psf.gaussian(3, 0.7)
IMAGE = blurred((150, 170), PSF)
COLOUR = blurred((70, 80, 3), PSF)
QUICK = {"prior": "tv", "mu": 0.01, "max_iter": 2, "tol": 0}


@pytest.fixture(autouse=True)
def one_after_another():
    with dask.config.set(scheduler="synchronous"):
        yield


class Untouched:
    """Blocks that must not be asked for."""

    def __init__(self, array):
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, part):
        raise AssertionError("computed")


KINDS = {
    "gradient": {"data": "squares", "mu": 0.05},
    "root": {"mu": 0.1},
    "auto": {},
    "tv": QUICK,
    "sparse": {"prior": "sparse", "max_iter": 2, "tol": 0},
    "poisson": {"data": "poisson", "prior": None},
    "bounds": {"bounds": (0.1, 0.9), "data": "squares", "mu": 0.1, "max_iter": 3},
    "denoiser": {"prior": lambda image, sigma: image / (1 + sigma), "mu": 0.01, "max_iter": 3},
}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_computed_when_the_graph_is_built(kind):
    image = da.from_array(Untouched(IMAGE), chunks=60, asarray=False, meta=np.empty((0, 0), IMAGE.dtype))
    lazy = fd.deblur_large(image, PSF, weights=image, **KINDS[kind])
    assert (lazy.shape, lazy.dtype, lazy.chunks) == (IMAGE.shape, np.float32, ((60, 60, 30), (60, 60, 50)))
    with pytest.raises(AssertionError, match="computed"):
        lazy.compute()


@pytest.mark.parametrize("kind", KINDS)
def test_the_bits_are_those_of_the_same_tiles(kind):
    image = np.maximum(IMAGE, 0)
    wanted = fd.deblur_large(image, PSF, tile=60, **KINDS[kind])
    lazy = fd.deblur_large(da.from_array(image, chunks=60), PSF, **KINDS[kind])
    np.testing.assert_array_equal(lazy.compute(), wanted)
    np.testing.assert_array_equal(lazy[100:, 3:7].compute(scheduler="threads"), wanted[100:, 3:7])


@pytest.mark.parametrize("boundary", ["unknown", "wrap"])
def test_the_halo_is_what_the_weight_needs_not_what_was_read(boundary):
    psf, options = fd.psf.gaussian(7, 1.5), {"data": "root", "mu": 0.5, "boundary": boundary}
    image = blurred((150, 170), psf)
    _, _, used = layout(image, psf, tile=80, **options)
    _, _, most = layout(image, psf, tile=80, data="squares", mu=3e-4)
    assert max(used) < max(most)
    wanted = fd.deblur_large(image, psf, tile=80, **options)
    np.testing.assert_array_equal(fd.deblur_large(da.from_array(image, chunks=80), psf, **options).compute(), wanted)


@sweep(pairs=False, boundary=["reflect", "wrap"], tile=[60, (50, 200), (200, 57), 30])
def test_boundaries_and_tiles(boundary, tile, long):
    image = blurred((95, 110), PSF)
    # Each tile with two halos, and each boundary with all.
    turn = [60, (50, 200), (200, 57), 30].index(tile) + (boundary == "wrap")
    for halo in [halo for k, halo in enumerate(("auto", 13, 29)) if long or (k + turn) % 3 == 0]:
        options = {**QUICK, "boundary": boundary, "halo": halo, "tile": tile}
        wanted = fd.deblur_large(image, PSF, **options)
        lazy = fd.deblur_large(da.from_array(image, chunks=(40, 70)), PSF, **options)
        np.testing.assert_array_equal(lazy.compute(), wanted)


@pytest.mark.filterwarnings("ignore:the result may be wrong")  # squares of 8 pixels look like those of JPEG
def test_one_chunk_is_solve():
    lazy = fd.deblur_large(da.from_array(IMAGE, chunks=200), PSF)
    np.testing.assert_array_equal(lazy.compute(), fd.solve(IMAGE, PSF).image)


def test_chunks_are_the_tiles_unless_they_are_given_or_the_last_is_too_small():
    image = da.from_array(blurred((155, 170), PSF), chunks=((50, 50, 50, 5), (60, 60, 50)))
    assert fd.deblur_large(image, PSF, mu=0.1, data="squares").chunks == ((50, 50, 55), (60, 60, 50))
    assert fd.deblur_large(image, PSF, mu=0.1, data="squares", tile=(80, 90)).chunks == ((80, 75), (90, 80))
    uneven = da.from_array(IMAGE, chunks=((20, 60, 70), (100, 70)))
    lazy = fd.deblur_large(uneven, PSF, **QUICK)
    assert lazy.chunks[0][:2] == (20, 20)  # of the first one's size
    np.testing.assert_array_equal(lazy.compute(), fd.deblur_large(IMAGE, PSF, tile=(20, 100), **QUICK))


@sweep(chunks=[(1, 170), (4, 170), (3, 5), (150, 7), (30, 33)], kind=["gradient", "auto"])
def test_chunks_smaller_than_the_halo_are_put_together(chunks, kind):
    psf = fd.psf.disk(2)
    image = blurred((150, 170), psf)
    lazy = fd.deblur_large(da.from_array(image, chunks=chunks), psf, **KINDS[kind])
    mu = KINDS[kind].get("mu") or layout(image, psf, tile=75)[1].mu
    whole = fd.solve(image, psf, data="squares", mu=mu).image
    assert np.abs(lazy.compute() - whole).max() < 1e-3 * np.ptp(whole)


def test_chunks_that_cannot_be_put_together_are_warned_of():
    psf = fd.psf.disk(5)
    image = blurred((200, 64), psf)
    asked = {"data": "squares", "mu": 1e-4, "max_iter": 2}
    few = fd.deblur_large(da.from_array(image, chunks=(64, 64)), psf, tile=64, **asked)
    with pytest.warns(UserWarning, match=r"halo of 32 px is smaller than the \d+ px needed: at seams .* Increase tile"):
        few.compute()
    need = plan_of(image.shape, image.dtype, psf, DEFAULTS | asked, weighted=False).need((136, 64), False)
    little = fd.deblur_large(da.from_array(image, chunks=(64, 64)), psf, max_memory=need, **asked)
    assert little.chunks[0][0] < 200
    with pytest.warns(UserWarning, match="px needed: at seams .* Increase tile, max_memory or mu"):
        little.compute()


@pytest.mark.parametrize("axis", [0, -1])
def test_colours_and_weights(axis, rng):
    image, weights = np.moveaxis(COLOUR, -1, axis), rng.uniform(0, 2, COLOUR.shape[:2])
    options = {**QUICK, "channel_axis": axis, "tile": (40, 50)}
    for given in (weights, da.from_array(weights, chunks=30), np.moveaxis(np.stack([weights] * 3, -1), -1, axis)):
        wanted = fd.deblur_large(image, PSF, weights=np.asarray(given), **options)
        lazy = fd.deblur_large(da.from_array(image, chunks=33), PSF, weights=given, **options)
        np.testing.assert_array_equal(lazy.compute(), wanted)


def test_pixels_that_are_missing(rng):
    image = np.where(rng.random(IMAGE.shape) < 0.1, np.nan, IMAGE)
    image[:80, :80] = np.nan
    wanted = fd.deblur_large(image, PSF, tile=50, **QUICK)
    np.testing.assert_array_equal(fd.deblur_large(da.from_array(image, chunks=50), PSF, **QUICK).compute(), wanted)


def test_from_zarr_and_to_zarr(tmp_path):
    pytest.importorskip("zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Dask's, of Zarr
        da.from_array(IMAGE, chunks=50).to_zarr(str(tmp_path / "a.zarr"))
        lazy = fd.deblur_large(da.from_zarr(str(tmp_path / "a.zarr")), PSF, **QUICK)
        da.from_array(np.zeros(3)).to_zarr(str(tmp_path / "b.zarr"))
        lazy.to_zarr(str(tmp_path / "out.zarr"))
        found = da.from_zarr(str(tmp_path / "out.zarr"))
    assert found.chunks == lazy.chunks
    np.testing.assert_array_equal(found.compute(), fd.deblur_large(tmp_path / "a.zarr", PSF, tile=50, **QUICK))


def test_worker_processes_of_distributed_give_the_same_bits():
    distributed = pytest.importorskip("distributed")
    options = {"mu": 0.1, "tile": 60}
    wanted = fd.deblur_large(IMAGE, PSF, **options)
    config = {"distributed.worker.daemon": True, "distributed.admin.tick.limit": "1h"}
    with (
        warnings.catch_warnings(action="ignore"),  # of what forks and sockets leave
        dask.config.set(config),
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        lazy = fd.deblur_large(da.from_array(IMAGE, chunks=60), PSF, **options)
        found = client.compute(lazy).result(timeout=100)
        assert len(client.scheduler_info()["workers"]) == 1
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"out": "out.npy"}, ValueError, "out must be None for a Dask array: nothing is computed yet"),
        ({"progress": True}, ValueError, "progress must be False for a Dask array"),
        ({"source": da.zeros((150, 170), dtype=complex)}, TypeError, "source must hold real numbers.*complex128"),
        ({"weights": da.ma.masked_array(IMAGE)}, TypeError, "weights must not be a masked array"),
        ({"background": da.ma.masked_array(IMAGE)}, TypeError, "background must not be a masked array"),
        ({"weights": np.ma.masked_array(IMAGE)}, TypeError, "weights must not be a masked array"),
        (
            {"source": da.from_array(IMAGE)[da.from_array(IMAGE[:, 0] > 0)]},
            ValueError,
            "source must have a known shape",
        ),
        ({"source": da.zeros((3, 150, 170))}, ValueError, r"source must have 2 dimensions \(or a channel_axis\)"),
        ({"weights": np.ones((3, 4))}, ValueError, r"weights must have the source's shape \(150, 170\).* is \(3, 4\)"),
        ({"weights": "weights.npy"}, TypeError, "weights must be an array for a Dask array"),
        ({"halo": 61}, ValueError, "tile must have at least as many rows as the halo, 61; the smallest has 60"),
        ({"tile": 2}, ValueError, "tile must be no smaller than the psf"),
        ({"max_memory": "50MB"}, ValueError, r"max_memory must be at least \S+ MB for tiles of \(60, 60\); got 50 MB"),
        ({"boundary": "none"}, ValueError, "boundary must be one of"),
        ({"path": "direct"}, ValueError, "path must be 'auto' or 'fft'"),
    ],
)
def test_what_is_wrong_is_said_at_once(arguments, error, message):
    given = {"source": da.from_array(IMAGE, chunks=60), "psf": PSF, **QUICK, **arguments}
    with pytest.raises(error, match=message):
        fd.deblur_large(**given)


@pytest.mark.parametrize("dtype", ["f4", "u1"])
def test_masked_pixels_are_missing_ones(dtype):
    image, mask = (IMAGE.clip(0, 1) * (1 if dtype == "f4" else 200)).astype(dtype), IMAGE > 0.9
    masked = da.ma.masked_array(da.from_array(image, chunks=60), da.from_array(mask, chunks=60))
    missing = da.from_array(np.where(mask, np.nan, image).astype("f4"), chunks=60)
    found = fd.deblur_large(masked, PSF, **QUICK)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.compute(), fd.deblur_large(missing, PSF, **QUICK).compute())


@pytest.mark.parametrize("chunks", [60, 200])
def test_masked_blocks_of_an_array_that_says_nothing_of_them_are_refused(chunks):
    image = da.from_array(IMAGE, chunks=chunks).map_blocks(np.ma.masked_array, meta=np.empty((0, 0), IMAGE.dtype))
    with pytest.raises(TypeError, match=r"^source must not be a masked array"):
        fd.deblur_large(image, PSF, **QUICK).compute()


def test_units_of_dask_arrays_are_refused():
    units = pytest.importorskip("astropy.units")
    for name in ("source", "weights", "background"):
        given = {"source": da.from_array(IMAGE, chunks=60), name: da.from_array(IMAGE * units.Jy, asarray=False)}
        with pytest.raises(TypeError, match=f"^{name} must be plain numbers, without a unit"):
            fd.deblur_large(**given, psf=PSF, **QUICK)


def test_infinite_pixels_and_weights_that_are_none_are_said_by_their_place():
    image = IMAGE.copy()
    image[100, 7] = np.inf
    with pytest.raises(ValueError, match=r"source must be finite.*; at row 100, column 7 it is inf"):
        fd.deblur_large(da.from_array(image, chunks=60), PSF, **QUICK).compute()
    with pytest.raises(ValueError, match=r"weights must be finite.*; at row 100, column 7 it is inf"):
        fd.deblur_large(da.from_array(IMAGE, chunks=60), PSF, weights=image.clip(0), **QUICK).compute()


def test_the_weight_of_the_whole_is_that_of_every_part():
    """Asked for one chunk, or with other chunks in memory, it is the same."""
    image = blurred((300, 310), PSF, noise=0.02)
    image[:150] *= 0.2
    lazy = fd.deblur_large(da.from_array(image, chunks=100), PSF, tile=150)
    _, found, _ = layout(image, PSF, tile=150)
    given = fd.deblur_large(image, PSF, data="squares", mu=found.mu, tile=150)
    np.testing.assert_array_equal(lazy[200:, 200:].compute(), given[200:, 200:])


def test_dask_is_not_imported(python):
    python("import numpy as np, sys, fastdeblur as fd\n"
           "image = np.random.default_rng(0).random((100, 100), np.float32)\n"
           "fd.deblur_large(image, np.ones((3, 3)) / 9, tile=60, prior='tv', mu=0.1, max_iter=1)\n"
           "assert not {'dask', 'distributed', 'zarr'} & set(sys.modules)")  # fmt: skip
