"""Ours beside scipy's; off by default, ``pytest tests/test_speed.py --benchmark-only`` turns them on."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal

import fastdeblur as fd

SIDE = 512


def _ours(image, psf):
    blur, out = fd.Blur(psf, image.shape, dtype=image.dtype, path="direct"), np.empty_like(image)
    return lambda: blur.forward(image, out=out)


def _ndimage(image, psf):
    return lambda: scipy.ndimage.convolve(image, psf, mode="constant")


def _fft(image, psf):
    return lambda: scipy.signal.fftconvolve(image, psf, mode="same")


@pytest.mark.benchmark(group="forward 13x13, 512x512")
@pytest.mark.parametrize("prepare", [_ours, _ndimage, _fft], ids=["fastdeblur", "ndimage.convolve", "fftconvolve"])
def test_forward(benchmark, prepare):
    random = np.random.default_rng(0)
    image = random.random((SIDE, SIDE), dtype=np.float32)
    psf = random.random((13, 13), dtype=np.float32)
    psf /= psf.sum()
    expected = scipy.ndimage.convolve(image.astype(np.float64), psf.astype(np.float64), mode="constant")
    call = prepare(image, psf)
    np.testing.assert_allclose(call(), expected, rtol=0, atol=1e-5)
    benchmark(call)


@pytest.mark.benchmark(group="notebook, 50 steps 171x171")
def test_notebook(benchmark):
    psf = fd.notebook.gaussian(13, 1, 3)
    blurred = fd.notebook.convolve(np.random.default_rng(0).random((171, 171)), psf)
    _, losses = benchmark(lambda: fd.notebook.deconvolve(blurred, psf, n_iter=50, seed=0, verbose=False))
    assert losses.shape == (51,)
    assert losses[-1] < losses[0]
