"""The benchmark of rules for the weight: all of them know white noise."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from skimage import data

import fastdeblur as fd

# Beside the installed package, not before it.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from benchmarks import _degraded, _rules, weights

PSF = fd.psf.gaussian(13, 1.5)


@pytest.fixture(scope="module")
def case():
    sharp = data.camera()[150:230, 180:260] / 255
    image = ndimage.convolve(sharp, PSF, mode="reflect")
    return sharp, image + 0.01 * np.random.default_rng(0).standard_normal(image.shape)


@pytest.mark.parametrize("rule", _rules.RULES)
def test_rules_are_near_the_best_with_white_noise(rule, case):
    sharp, image = case

    def error(mu):
        return np.mean((fd.deblur(image, PSF, data="squares", mu=mu, tol=1e-3) - sharp)[10:-10, 10:-10] ** 2)

    chosen = error(_rules.RULES[rule](image, PSF))
    best = min(error(mu) for mu in (1e-3, 3e-3, 1e-2, 3e-2, 0.1))
    assert 10 * np.log10(chosen / best) < 1.5


@pytest.mark.parametrize("kind", _degraded.WHITE | _degraded.CORRELATED)
def test_degraded_images_are_where_the_blurred_ones_were(kind):
    """No shift by half a pixel, no other scale."""
    [(_, case)] = _degraded.cases(
        ["coffee"], ["gaussian 2"], {kind: (_degraded.WHITE | _degraded.CORRELATED)[kind]}, 96
    )
    blurred = ndimage.convolve(case.sharp, case.psf, mode="nearest")
    errors = {
        (down, right): np.std((case.image - np.roll(blurred, (down, right), (0, 1)))[20:-20, 20:-20])
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    }
    assert min(errors, key=errors.get) == (0, 0)
    assert errors[0, 0] < 0.035


def test_the_table_goes_between_its_marks(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{weights.FIRST_MARK}\nold\n{weights.LAST_MARK}\nafter\n", encoding="utf-8")
    weights.write(["", "new", ""], readme)
    expected = f"before\n{weights.FIRST_MARK}\n\nnew\n\n{weights.LAST_MARK}\nafter\n"
    assert readme.read_text(encoding="utf-8") == expected
    readme.write_text("nothing", encoding="utf-8")
    with pytest.raises(ValueError, match="end of weights"):
        weights.write([], readme)
