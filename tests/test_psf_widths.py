"""Widths of an image's steps, and what a network makes of them: `fastdeblur.psf.widths`."""

import math

import numpy as np
import pytest
from scipy.special import erf

from fastdeblur.psf import fitting, widths


def squares(sigma, side=200, noise=0.0):
    """Squares of 50 pixels, black and white by turns, blurred by a Gaussian: a product of error functions' sums."""
    at = np.arange(side) - 12.0
    wave = np.full(side, -1.0)
    for k, edge in enumerate(np.arange(-100, side + 100, 50) - 12.3):
        wave += (-1) ** k * (1 + erf((at - edge) / (math.sqrt(2) * sigma)))
    image = np.outer(wave, wave)
    return image + noise * np.random.default_rng(0).standard_normal(image.shape)


def measured(image):
    plane, whole, range_ = fitting.checked(image, None)
    return widths.Widths(plane, whole, range_, fitting.spectrum_of(plane, whole, range_, fitting.TILE))


@pytest.mark.parametrize("sigma", [1.0, 1.4, 2.1])
def test_quantiles_of_widths_are_those_of_steps(sigma):
    steps = measured(squares(sigma, noise=0.01))
    k = int(np.argmin(np.abs(steps.levels - math.log(sigma))))
    found = steps.levels[k] + steps.features[k, :8]
    # (The highest gradient is up to half a pixel beside the step, which makes narrow ones 6 % wider.)
    np.testing.assert_allclose(found[2:6], math.log(sigma), atol=0.07)
    assert (np.diff(steps.features[:, :8]) >= 0).all()


def test_pixels_that_are_missing_make_no_steps():
    image = squares(1.5)
    plane, _, range_ = fitting.checked(image, None)
    spectrum = fitting.spectrum_of(plane, None, range_, fitting.TILE)
    holes = np.ones(image.shape, bool)
    holes[40:60, 30:90] = False
    steps = widths.Widths(np.where(holes, plane, np.nan), holes, range_, spectrum)
    k = int(np.argmin(np.abs(steps.levels - math.log(1.5))))
    np.testing.assert_allclose(steps.levels[k] + steps.features[k, 2:6], math.log(1.5), atol=0.06)
    nothing = widths.Widths(np.full(image.shape, np.nan), np.zeros(image.shape, bool), range_, spectrum)
    assert nothing.predicted(0) is None
    # Where there is no step, what the spectrum says is all there is.
    assert widths.Widths(0 * plane, None, range_, spectrum).predicted(0.3) is None


def test_what_is_predicted_is_what_the_networks_say():
    """By plain loops: the mean of the networks at each level, the levels weighted by how near and sure they are."""
    steps, flat = measured(squares(1.7, noise=0.02)), 0.4
    table = widths._table()
    means, deviations, counts = [], [], []
    for level, features in zip(steps.levels, steps.features, strict=True):
        inputs = (np.append(features, flat) - table["mean"]) / table["deviation"]
        move = deviation = 0.0
        for layers in zip(table["first"], table["second"], table["last"], strict=True):
            values = [min(max(value, -5), 5) for value in inputs]
            for k, layer in enumerate(layers):
                values = [sum(w * v for w, v in zip(row, [*values, 1], strict=True)) for row in layer.tolist()]
                values = [math.tanh(value) for value in values] if k < 2 else values
            move += values[0] / len(table["first"])
            deviation += math.exp(min(max(values[1], -4), 1)) / len(table["first"])
        deviation *= math.sqrt(max(inputs @ table["precision"] @ inputs / table["usual"], 1))
        means.append(level + move)
        deviations.append(deviation)
        counts.append(max(1 - abs(move) / 0.7, 0) ** 2 / deviation**2 + 1e-9)
    mean = np.average(means, weights=counts)
    square = np.average(deviations, weights=counts) ** 2 + np.average((means - mean) ** 2, weights=counts)
    predicted = steps.predicted(flat)
    assert predicted.mean == pytest.approx(mean + math.log(2.3548200), rel=1e-6)
    assert predicted.deviation == pytest.approx(math.sqrt(square), rel=1e-6)


def test_large_images_are_looked_at_in_parts():
    assert widths._parts((300, 1200)) == [(slice(0, 300), slice(0, 1200))]
    parts = widths._parts((300, 3000))
    assert [part[0] for part in parts] == [slice(0, 300)] * 2
    assert all(part[1].stop - part[1].start == 512 and 0 < part[1].start < 2488 for part in parts)
    assert len(widths._parts((3000, 3000))) == 4
