"""Large images with psfs that vary over them: tiles, each with its part of the field, against the whole."""

import numpy as np
import pytest
import scipy.ndimage
from scenes import layout

import fastdeblur as fd
from fastdeblur.operators.psf_field import PsfField

SHAPE = (150, 170)
PSFS = np.array(
    [[fd.psf.gaussian(7, sigma) for sigma in line] for line in ((0.7, 1.0, 1.5), (0.9, 0.8, 1.2), (1.4, 1.1, 1.6))]
)
POSITIONS = [0, 61.5, 149], [-3, 90, 180]


def field(boundary="unknown", dtype=np.float32, **options):
    return fd.VaryingBlur(PSFS, POSITIONS, SHAPE, boundary=boundary, dtype=dtype, **options)


def scene(boundary="reflect", noise=0.01, squares=0.3, dtype=np.float32):
    """Smooth hills, and squares in the middle, which the field has blurred."""
    rng, (rows, cols) = np.random.default_rng(0), np.indices(SHAPE)
    x = scipy.ndimage.gaussian_filter(rng.standard_normal(SHAPE), 6, mode="wrap")
    x = (
        0.5
        + 0.08 * x / x.std()
        + squares * ((rows // 9 + cols // 9) % 2) * (abs(rows - 75) < 30) * (abs(cols - 85) < 30)
    )
    blur = field("reflect" if boundary == "unknown" else boundary, np.float64)
    return (blur.forward(x) + noise * rng.standard_normal(SHAPE)).astype(dtype)


def at(psfs, rows, cols, i, j):
    """The psf of a pixel, by linear interpolation between nodes."""
    along = np.array([np.interp(i, rows, np.eye(len(rows))[a]) for a in range(len(rows))])
    across = np.array([np.interp(j, cols, np.eye(len(cols))[c]) for c in range(len(cols))])
    return np.einsum("a,c,acuv->uv", along, across, psfs)


@pytest.mark.parametrize(
    ("rows", "cols"),
    [
        ([slice(0, 150)], [slice(0, 170)]),
        ([slice(40, 61)], [slice(100, 130)]),
        ([slice(62, 63)], [slice(90, 91)]),
        ([slice(0, 70), slice(140, 150)], [slice(20, 60)]),
        ([slice(0, 1), slice(61, 150)], [slice(0, 95), slice(169, 170)]),
    ],
)
def test_a_part_of_a_field_has_the_psfs_of_its_pixels(rows, cols):
    whole = PsfField(PSFS, *map(np.array, POSITIONS))
    part = whole.part(rows, cols)
    (down, across) = (np.concatenate([np.arange(each.start, each.stop) for each in pieces]) for pieces in (rows, cols))
    ends = {0, 1, len(down) // 2, len(down) - 2, len(down) - 1, *np.flatnonzero(np.diff(down) > 1)}
    for i in ends & {*range(len(down))}:
        for j in {0, len(across) // 2, len(across) - 1}:
            expected = at(PSFS, *POSITIONS, down[i], across[j])
            assert abs(at(part.psfs, part.rows, part.cols, i, j) - expected).max() < 1e-15
    assert part.psfs.shape[:2] <= (5, 5)


@pytest.mark.parametrize(
    ("boundary", "options"),
    [
        ("reflect", {"data": "squares", "mu": 0.02}),
        ("unknown", {}),
        ("wrap", {"data": "squares", "mu": 0.02}),
        ("reflect", {"data": "poisson", "prior": None, "max_iter": 12, "tol": 0}),
        pytest.param("unknown", {"prior": "tv", "mu": 0.003, "max_iter": 1000}, marks=pytest.mark.long),
    ],
)
def test_tiles_are_the_whole(boundary, options):
    image, blur = scene(boundary), field(boundary)
    options = {"tol": 1e-5, **options}
    whole, tiles = fd.deblur(image, blur, **options), fd.deblur_large(image, blur, tile=(60, 70), **options)
    assert abs(tiles - whole).max() < 1e-3 * np.ptp(whole)
    # The parts of the field matter: with the mean psf it is another image.
    mean = fd.deblur_large(image, blur.psf, tile=(60, 70), boundary=boundary, **options)
    assert abs(mean - whole).max() > 0.02 * np.ptp(whole)


def test_weight_and_halo_are_those_of_the_field():
    image, blur = scene(), field()
    grid, found, halo = layout(image, blur, tile=(60, 70))
    assert grid.counts == (3, 2)
    ridge = fd.solve(image, blur, data="squares").mu
    assert found.mu == pytest.approx(ridge, rel=0.3)
    widest = [layout(image, psf, tile=(60, 70), data="squares", mu=found.mu)[2] for psf in (PSFS[0, 0], PSFS[2, 2])]
    assert halo == tuple(np.max(widest, axis=0))
    # Flat parts of total variation's image reach further: at least four psfs.
    assert layout(image, blur, tile=(60, 70), prior="tv", mu=0.003)[2] == (28, 28)


def second_differences(image, cuts):
    """The largest along the borders of tiles, and elsewhere, without the image's border."""
    at_border, elsewhere = [], []
    for axis, places in enumerate(cuts):
        lines = abs(np.diff(np.moveaxis(image.astype(np.float64), axis, 0), 2, axis=0))[8:-8]
        there = np.zeros(len(lines), bool)
        for place in places:
            there[place - 10 : place - 8] = True
        at_border.append(lines[there].max())
        elsewhere.append(lines[~there].max())
    return max(at_border), max(elsewhere)


def test_seams_are_invisible():
    image, blur, options = scene(noise=0, squares=0), field(), {"tile": (50, 60), "data": "squares", "mu": 3.0}
    cuts = [50, 100], [60, 120]
    border, elsewhere = second_differences(fd.deblur_large(image, blur, **options), cuts)
    assert border <= elsewhere
    border, elsewhere = second_differences(fd.deblur_large(image, blur, halo=2, **options), cuts)
    assert border > elsewhere


def test_colours_share_the_field():
    both = np.stack([scene(), 1 - scene()])
    options = {"tile": (80, 90), "data": "squares", "mu": 0.02, "tol": 1e-5}
    tiles = fd.deblur_large(both, field(), channel_axis=0, **options)
    for plane, tile in zip(both, tiles, strict=True):
        assert abs(fd.deblur_large(plane, field(), **options) - tile).max() < 1e-4


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"mu": 0.1, "boundary": "wrap"},
        {"prior": "tv", "max_iter": 2, "tol": 0},
        {"data": "poisson", "prior": None, "max_iter": 2, "tol": 0},
    ],
)
def test_dask_has_the_bits_of_tiles(kind):
    da = pytest.importorskip("dask.array")
    blur = field(kind.get("boundary", "unknown"))
    wanted = fd.deblur_large(scene(), blur, tile=75, **kind)
    lazy = fd.deblur_large(da.from_array(scene(), chunks=75), blur, **kind)
    np.testing.assert_array_equal(lazy.compute(scheduler="synchronous"), wanted)


def test_another_field_is_another_job(tmp_path, monkeypatch):
    out, options = tmp_path / "out.npy", {"tile": 50, "data": "squares", "mu": 0.05, "max_iter": 1, "tol": 0}
    from fastdeblur.large import tile_solver

    solve, solved = tile_solver.TileSolver.__call__, []

    def stopping(*arguments):
        solved.append(None)
        if len(solved) > 3:
            raise KeyboardInterrupt
        return solve(*arguments)

    with monkeypatch.context() as context:
        context.setattr(tile_solver.TileSolver, "__call__", stopping)
        with pytest.raises(KeyboardInterrupt):
            fd.deblur_large(scene(), field(), out, **options)
    others = [
        fd.VaryingBlur(PSFS[::-1], POSITIONS, SHAPE, boundary="unknown", dtype=np.float32),
        fd.VaryingBlur(PSFS, ([0, 60.0, 149], POSITIONS[1]), SHAPE, boundary="unknown", dtype=np.float32),
    ]
    for other in others:
        with pytest.raises(ValueError, match="had another psf: repeat that"):
            fd.deblur_large(scene(), other, out, **options)
    resumed = fd.deblur_large(scene(), field(), out, **options)
    np.testing.assert_array_equal(resumed, fd.deblur_large(scene(), field(), **options))


def test_memory_counts_what_a_field_takes():
    one = fd.estimate_memory(SHAPE, PSFS[0, 0], mu=0.1)
    assert 1.1 * one < fd.estimate_memory(SHAPE, field(), mu=0.1) < 2.5 * one
    spectra = fd.estimate_memory(SHAPE, field(path="fft"), mu=0.1) - fd.estimate_memory(
        SHAPE, field(path="direct"), mu=0.1
    )
    assert spectra > 2 * 9 * 4 * 80 * 90  # of nine psfs there and back, on cells of about 80 x 90
    with pytest.raises(ValueError, match="max_memory must be at least") as error:
        fd.deblur_large(scene(), field(path="fft"), tile=75, max_memory="1MB")
    assert "for tiles of (75, 75)" in str(error.value)


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.ones((150, 171)), {}, r"for images of shape \(150, 170\); the source's rows and columns are \(150, 171\)"),
        (np.ones(SHAPE), {"boundary": "wrap"}, r"boundary is the Blur's own \('unknown'\)"),
        (np.ones(SHAPE), {"workers": 1}, r"workers is the Blur's own \(None\)"),
        (np.ones(SHAPE), {"prior": None, "data": "squares"}, "prior must be"),
    ],
)
def test_what_does_not_go_with_a_field_is_named(image, options, message):
    with pytest.raises(ValueError, match=message):
        fd.deblur_large(image, field(), **options)
