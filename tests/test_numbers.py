"""Numbers that are too large, too small, or leave nothing to divide by."""

import functools
import itertools
import warnings

import numpy as np
import pytest
from sweeps import sweep

import fastdeblur as fd
from fastdeblur.cli import main as cli
from fastdeblur.operators.boundary import BOUNDARIES

KINDS = {
    "exact root": {},
    "exact squares": {"data": "squares"},
    "gd": {"prior": None, "max_iter": 20},
    "tv": {"prior": "tv"},
    "sparse": {"prior": "sparse"},
    "bounds": {"bounds": (0.0, None)},
    "richardson_lucy": {"data": "poisson", "prior": None, "max_iter": 20},
    "poisson tv": {"data": "poisson", "prior": "tv"},
    "denoiser": {"prior": lambda noisy, sigma: 0.7 * noisy + 0.3 * np.roll(noisy, 1, 0)},
}
DIFFERENCES = [[[1, -1.0]], [[1], [-1.0]], [[1, -2, 1.0]], [[1, -1], [-1, 1.0]]]


@pytest.fixture(autouse=True)
def _sums_are_not_1():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "psf", UserWarning)
        yield


@functools.cache
def blurred():
    sharp = np.zeros((24, 31))
    sharp[7:16, 9:20] = 1
    psf = fd.psf.gaussian(5, 1.0)
    return fd.convolve(sharp, psf) + 0.1 + 0.01 * np.random.default_rng(2).random(sharp.shape), psf


def finite(result):
    assert np.isfinite(result.image).all()
    assert np.isfinite([result.objective, result.optimality, result.mu]).all()
    assert np.isfinite(result.history).all()
    assert result.stop_reason != "diverged"
    return result


@sweep(
    pairs=True, size=[48, 64], psf=[fd.psf.gaussian(9, 1.5), fd.psf.airy(2.5, 15)], mu=[0.0, 1e-12, 1e-6, 1e-4],
    data=["root", "squares"],
)  # fmt: skip
def test_smooth_psfs_and_hardly_any_weight(size, psf, mu, data):
    """Of many frequencies such a psf leaves less than rounding does."""
    sharp = np.zeros((size, size))
    sharp[size // 3 : 2 * size // 3, size // 3 : 2 * size // 3] = 1
    result = finite(fd.solve(fd.convolve(sharp, psf), psf, data=data, mu=mu, max_iter=60))
    rough = 0.5 * sum((np.diff(sharp, axis=axis) ** 2).sum() for axis in (0, 1))
    # The sharp image itself has this objective, but for what is rounded.
    known = mu * (rough**0.5 if data == "root" else rough)
    assert result.objective <= 1.1 * known + (1e-7 if data == "root" else 1e-14)
    assert abs(result.image - sharp).max() < 2


@sweep(kind=KINDS, dtype=["float32", "float64"])
def test_units_of_the_image_do_not_matter(kind, dtype):
    image, psf = blurred()
    image = image.astype(dtype)
    plain = fd.solve(image, psf, **KINDS[kind])
    powers = (-110, 100) if dtype == "float32" else (-900, -400, 400)
    for power in powers:
        scaled = finite(fd.solve(np.ldexp(image, power), psf, **KINDS[kind]))
        back = np.ldexp(scaled.image.astype(float), -power)
        np.testing.assert_allclose(back, plain.image, rtol=0, atol=1e-5 if dtype == "float32" else 1e-9)
        assert scaled.n_iter == plain.n_iter


@sweep(dtype=["float32", "float64"], kind=[kind for kind in KINDS if kind not in ("gd", "denoiser")])
def test_units_of_the_psf_do_not_matter(kind, dtype):
    """But for where it starts."""
    image, psf = blurred()
    image = image.astype(dtype)
    plain = fd.solve(image, psf, **KINDS[kind])
    for power in (-100, 100) if dtype == "float32" else (-500, 500):
        scaled = finite(fd.solve(image, np.ldexp(psf, power), **KINDS[kind]))
        back = np.ldexp(scaled.image.astype(float), power)
        np.testing.assert_allclose(back, plain.image, rtol=0, atol=1e-4)


def test_callbacks_and_starts_are_in_the_units_of_the_image():
    image, psf = blurred()
    seen = []
    result = fd.solve(
        np.ldexp(image, 300), psf, prior="tv", init=np.ldexp(image, 300), bounds=(0, 2.0**300),
        callback=lambda state: seen.append((state.objective, state.estimate.max())),
    )  # fmt: skip
    assert seen[-1][0] == pytest.approx(result.objective, rel=0.1)
    assert 0.5 < seen[-1][1] / result.image.max() < 2
    assert 0 <= result.image.min() <= result.image.max() <= 2.0**300
    assert result.history.shape == (result.n_iter + 1,)


@sweep(pairs=True, boundary=BOUNDARIES, psf=DIFFERENCES, kind=["exact root", "exact squares", "tv", "bounds"])
def test_psfs_that_sum_to_nothing(psf, boundary, kind, long):
    shapes, mus = [(1, 1), (1, 7), (5, 1), (5, 7)], ["auto", 0.0] if kind in ("tv", "bounds") else ["auto", 0.0, 1e-3]
    # A shape for each weight: all pairs, and all triples of a shape and two of the others.
    turn = DIFFERENCES.index(psf) + BOUNDARIES.index(boundary) + list(KINDS).index(kind)
    for (i, shape), (j, mu) in itertools.product(enumerate(shapes), enumerate(mus)):
        if long or (i - j - turn) % 4 == 0:
            image = np.zeros(shape)
            image.flat[image.size // 2] = 1
            result = finite(fd.solve(image, psf, boundary=boundary, mu=mu, max_iter=25, **KINDS[kind]))
            assert abs(result.image).max() < 1e3
            assert result.objective <= result.history[0] * (1 + 1e-9) or kind in ("tv", "bounds")


@sweep(
    pairs=True, dtype=["float32", "float64"], kind=["exact root", "exact squares"],
    lost=[([[1, -1.0]], "wrap"), ([[1, -2, 1.0]], "mirror"), ([[1], [-1.0]], "nearest")],
)  # fmt: skip
def test_rounding_does_not_choose_what_a_psf_loses(lost, kind, dtype):
    """A constant is lost by psfs that sum to nothing, and by differences: it is 0, whatever the last digits are."""
    psf, boundary = lost
    rng, eps = np.random.default_rng(5), np.finfo(dtype).eps
    for shape in ((1, 7), (5, 7)):
        image = np.zeros(shape, dtype)
        image.flat[image.size // 2] = 1
        other = (image + eps * rng.uniform(-1, 1, shape)).astype(dtype)
        for mu in (0.0, 1e-9, 1e-3):
            first, second = (
                finite(fd.solve(each, psf, boundary=boundary, mu=mu, max_iter=25, **KINDS[kind]))
                for each in (image, other)
            )
            assert abs(first.image.mean(dtype=float)) < 8 * eps
            assert max(abs(first.image).max(), abs(second.image).max()) < 1
            if mu == 1e-3:  # with less, last digits may choose what the psf alone loses
                np.testing.assert_allclose(second.image, first.image, atol=0.005 if dtype == "float32" else 1e-4)
            residual = fd.convolve(first.image, psf, boundary=boundary) - image
            half = 0.5 * float((residual.astype(float) ** 2).sum())
            # (No image has more differences here than 5.)
            assert 0 <= first.objective - (half**0.5 if kind == "exact root" else half) + 64 * eps < 5 * mu + 128 * eps


@pytest.mark.parametrize("psf", [[[1, -2, 1.0]], [[0.3], [-0.1], [-0.2]]], ids=str)
def test_every_path_loses_what_a_line_of_taps_loses(psf):
    psf = np.array(psf)
    for path in ("direct", "separable"):
        blur = fd.Blur(psf, (5, 7), boundary="mirror", path=path)
        np.testing.assert_allclose(blur.forward(np.ones((5, 7))), 0, atol=1e-16)


def test_an_exact_solution_of_a_difference():
    image = np.array([[0, 0, 0, 1.0, 0, 0, 0]])
    result = fd.solve(image, [[1, -1.0]], boundary="wrap", data="squares", mu=1e-12)
    matrix = np.roll(np.eye(7), -1, axis=1) - np.eye(7)
    best = np.linalg.pinv(matrix) @ image[0]
    assert np.linalg.norm(fd.convolve(result.image, [[1, -1.0]], boundary="wrap") - image) == pytest.approx(
        min(np.linalg.norm(sign * matrix @ best - image[0]) for sign in (1, -1)), rel=1e-6
    )


@sweep(kind=KINDS, dtype=["float64", "float32"])
def test_weights_over_sixty_orders_of_magnitude(kind, dtype, recwarn):
    image, psf = blurred()
    weights = 10.0 ** np.random.default_rng(4).uniform(-30, 30, image.shape)
    result = finite(fd.solve(image.astype(dtype), psf, weights=weights, **KINDS[kind]))
    assert abs(result.image).max() < 1e3
    assert not [each for each in recwarn if each.category is RuntimeWarning]


@pytest.mark.parametrize("scale", [1e-20, 1e-35, 0.0])
@pytest.mark.parametrize("data", ["root", "squares"])
def test_bounds_far_above_an_image(scale, data):
    """The image is next to nothing beside them: the least that they allow is what is nearest."""
    image = -np.random.default_rng(1).random((16, 16)).astype("f4") * np.float32(scale)
    result = finite(fd.solve(image, np.ones((3, 3)) / 9, data=data, bounds=(-1, -0.5)))
    np.testing.assert_allclose(result.image, -0.5, atol=1e-3)


@pytest.mark.parametrize(
    ("image", "psf", "options"),
    [
        (np.eye(9) * 1e-310, np.ones((3, 3)) / 9, {"prior": "sparse"}),
        (np.eye(9), np.full((3, 3), 1e200), {"prior": None}),
        (np.eye(9), np.full((3, 3), 1e19), {"mu": 5e-324}),
        (np.zeros((7, 65), "f4"), np.full((2, 9), 5e37), {"bounds": (None, 0)}),
        (np.eye(9), np.ones((3, 3)) / 9, {"mu": 1e300}),
    ],
)
def test_extremes_that_are_solved(image, psf, options, recwarn):
    finite(fd.solve(image, psf, **options))
    assert not [each for each in recwarn if each.category is RuntimeWarning]


@pytest.mark.parametrize(
    ("image", "psf", "options", "name"),
    [
        (np.eye(9) * 1e300, [[1.0]], {"prior": lambda noisy, sigma: noisy}, "image"),
        (np.eye(9) * 1e300, [[1.0]], {"data": "squares"}, "image"),
        (np.eye(9), [[1e-320]], {}, "psf"),
        (np.eye(9, dtype="f4"), [[1e-45]], {}, "psf"),
        (np.eye(9, dtype="f4"), [[1e60]], {}, "psf"),
        (np.eye(9), [[1e160]], {"data": "squares"}, "psf"),
        (np.eye(9), [[1.0]], {"weights": np.full((9, 9), 1e306), "data": "squares", "mu": 0.1}, "weights"),
        (np.eye(9) * 1e-310, [[1.0]], {"prior": "sparse", "mu": 0.1}, "mu"),
        (np.eye(9) * 1e100, [[1.0]], {"solver": "adam"}, "image"),
        (np.eye(9), [[1.0]], {"prior": lambda noisy, sigma: np.full(noisy.shape, np.inf)}, "prior"),
    ],
)
def test_extremes_that_are_refused(image, psf, options, name):
    with pytest.raises(ValueError, match=f"^{name} must"):
        fd.solve(image, psf, **options)


@pytest.mark.parametrize(("name", "bright", "gain"), [("source", 1e100, 1.0), ("psf", 1.0, 1e100)])
def test_large_images_refuse_extremes(name, bright, gain):
    with pytest.raises(ValueError, match=f"^{name} must"):
        fd.deblur_large(np.full((40, 40), bright), np.full((3, 3), gain / 9), tile=20)


@pytest.mark.parametrize("dtype", ["uint32", "float32", "float16"])
@pytest.mark.parametrize("memory", ["1GB", "105MB"])
def test_command_keeps_the_file_if_nothing_finite_would_replace_it(dtype, memory, tmp_path, monkeypatch, capsys):
    path = tmp_path / "image.npy"
    np.save(path, (np.random.default_rng(0).random((300, 300)) * 1000).astype(dtype))
    before = path.read_bytes()
    solve = fd.Deblurrer._solve

    def broken(*arguments):
        result = solve(*arguments)
        result.image[3, 4] = np.nan
        return result

    monkeypatch.setattr(fd.Deblurrer, "_solve", broken)
    assert (
        cli.main(["deblur", str(path), "--psf", "box:3", "-o", str(path), "--mu", "0.1", "--max-memory", memory]) == 2
    )
    assert "finite" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_an_image_of_nothing_far_from_its_bounds():
    image = np.full((7, 8), 5e-324)
    result = finite(fd.solve(image, [[1.0]], prior="tv", bounds=(None, -1e-3), max_iter=20))
    assert result.image.max() <= -1e-3


def test_a_bound_beyond_float32_in_the_solver_s_units():
    image = np.full((9, 9), 2e-38, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        finite(fd.solve(image, [[1.0]], prior="tv", bounds=(None, 25.5), mu=1e-40, max_iter=5))
