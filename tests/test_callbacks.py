"""What a callback of `solve` is told, and what comes of its answer."""

import functools

import numpy as np
import pytest

import fastdeblur as fd

solve = functools.partial(fd.solve, boundary="constant", solver="gd", mu=0.2)


def test_callback(photograph):
    _, image, psf = photograph
    seen = []

    def callback(state):
        assert not state.estimate.flags.writeable
        assert state.estimate.shape == image.shape
        seen.append((state.iteration, state.objective, state.optimality, state.estimate.copy()))
        return state.iteration == 5

    result = solve(image, psf, callback=callback, tol=0)
    assert result.stop_reason == "callback"
    assert [s[0] for s in seen] == [1, 2, 3, 4, 5]
    assert [s[1] for s in seen] == result.history[1:].tolist()
    assert seen[-1][2] == result.optimality
    np.testing.assert_array_equal(seen[-1][3], result.image)
    plain = solve(image, psf, max_iter=5, tol=0)
    np.testing.assert_array_equal(plain.image, result.image)
    np.testing.assert_array_equal(plain.history, result.history)


def test_callback_sees_the_callers_axes(rng):
    image = rng.random((20, 3, 30))
    shapes = []

    def callback(state):
        shapes.append(state.estimate.shape)

    solve(image, np.ones((1, 1)), channel_axis=1, max_iter=2, tol=0, callback=callback)
    assert shapes == [image.shape] * 2


def test_callback_may_call_the_library_and_raise(photograph):
    _, image, psf = photograph
    expected = solve(image, psf, max_iter=3, tol=0).image
    nested = solve(image, psf, max_iter=3, tol=0, callback=lambda s: fd.deblur(image, psf, max_iter=2) is None)
    np.testing.assert_array_equal(nested.image, expected)

    def failing(state):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        solve(image, psf, callback=failing)
    np.testing.assert_array_equal(solve(image, psf, max_iter=3, tol=0).image, expected)


@pytest.mark.parametrize("answer", [None, False, 0, 1, "stop", np.array([True])])
def test_only_true_stops(answer, photograph):
    _, image, psf = photograph
    assert solve(image, psf, callback=lambda s: answer, max_iter=3, tol=0).stop_reason == "max_iter"
    assert solve(image, psf, callback=lambda s: np.True_, max_iter=3, tol=0).n_iter == 1
