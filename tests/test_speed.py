"""Ours beside other libraries; off by default, ``pytest tests/test_speed.py --benchmark-only`` turns them on.

Each first has to find what fastdeblur finds.  Libraries that are missing come with the extra `bench`.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

import fastdeblur as fd

# Beside the installed package, not before it.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from benchmarks import _peers
from benchmarks._comparison import FULL_RANK, OURS, RANK_1, TASKS, near, problem, psf_of
from benchmarks._jobs import MOTION

SIDE = 512
STEPS = 20
PEERS = {FULL_RANK: _peers.FULL_RANK, RANK_1: _peers.SEPARABLE}

# What other libraries warn of is their affair.
pytestmark = pytest.mark.filterwarnings("default")


def _needs(module):
    if not _peers.present(module):
        pytest.skip(f'{_peers.NAMES[module]} is not installed: pip install ".[bench]"')


def _beside(benchmark, call, expected, **about):
    assert near(expected, **about)(call())
    benchmark(call)


def _convolution(benchmark, kind, taps, prepare):
    random = np.random.default_rng(0)
    image, psf = random.random((SIDE, SIDE), dtype=np.float32), psf_of(kind, taps)
    expected = fd.convolve(image.astype(np.float64), psf.astype(np.float64))
    benchmark.group = f"convolution, {kind}, {taps}x{taps}, {SIDE}x{SIDE}"
    _beside(benchmark, prepare(image, psf), expected, tolerance=1e-5)


@pytest.mark.parametrize("taps", [13, 31])
@pytest.mark.parametrize(
    ("kind", "path"), [(FULL_RANK, "direct"), (FULL_RANK, "fft"), *((RANK_1, path) for path in _peers.PATHS)]
)
def test_convolution(benchmark, kind, taps, path):
    _convolution(benchmark, kind, taps, lambda image, psf: _peers.ours(image, psf, path))


@pytest.mark.parametrize("taps", [13, 31])
@pytest.mark.parametrize(("kind", "peer"), [(kind, peer) for kind, peers in PEERS.items() for peer in peers])
def test_convolution_by(benchmark, kind, taps, peer):
    method = PEERS[kind][peer]
    _needs(method.module)
    _convolution(benchmark, kind, taps, method.prepare)


@pytest.mark.benchmark(group=f"notebook, {STEPS} steps 171x171")
@pytest.mark.parametrize("peer", [OURS, *_peers.DESCENTS])
def test_notebook(benchmark, peer):
    of = problem()
    ours = _peers.our_descent(of, STEPS)
    if peer != OURS:
        _needs(_peers.DESCENTS[peer].module)
    _beside(benchmark, ours if peer == OURS else _peers.descent(peer, of, STEPS), ours(), tolerance=1e-4)


@pytest.mark.parametrize("by", [OURS, "scikit-image"])
@pytest.mark.parametrize("name", TASKS)
def test_restoration(benchmark, name, by):
    task, psf = TASKS[name], MOTION.astype(np.float32)
    blurred = task.image(SIDE)
    ours = task.ours(blurred, psf)
    benchmark.group = f"{name} {SIDE}x{SIDE}"
    _beside(benchmark, ours if by == OURS else task.theirs(blurred, psf), ours())
