"""The flags of ``fastdeblur deblur``: what the library's options are, and what is printed."""

import argparse
import contextlib
import inspect
import json
import math
import re

import numpy as np
import pytest
from samples import but_for_clipping, lines, one_error

import fastdeblur as fd
from fastdeblur import validation
from fastdeblur.cli import deblur
from fastdeblur.cli import main as cli
from fastdeblur.io import files
from fastdeblur.large import plan
from fastdeblur.problem.options import FLAG, LARGE, OPTIONS, SOLVE, options_of

PSF = "gaussian:5:1"


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(5)
    np.save(tmp_path / "image.npy", random.random((20, 24)))
    np.save(tmp_path / "start.npy", random.random((20, 24)))
    np.save(tmp_path / "colour.npy", random.random((20, 24, 3)))
    np.save(tmp_path / "weights.npy", random.random((20, 24)))
    files.write(tmp_path / "mask.png", np.where(random.random((20, 24)) < 0.2, 0, 255).astype(np.uint8))
    files.write(tmp_path / "bytes.png", random.integers(0, 256, (20, 24), np.uint8))
    return tmp_path


@pytest.mark.parametrize(
    ("function", "taker", "documented"),
    [(fd.solve, SOLVE, fd.solve), (fd.Deblurrer.__init__, SOLVE, None), (fd.deblur_large, LARGE, fd.deblur_large)],
)
def test_signatures_and_docstrings_have_the_options_that_are_declared(function, taker, documented):
    parameters = inspect.signature(function).parameters.values()
    found = [(each.name, each.annotation, each.default) for each in parameters if each.kind is each.KEYWORD_ONLY]
    declared = options_of(taker)
    assert found == [(name, option.type, option.default) for name, option in declared.items()]
    if documented:
        section = re.search(r"Parameters\n-+\n(.*?)\n\n\w+\n---", inspect.getdoc(documented), re.DOTALL)[1]
        told = [name for names in re.findall(r"^(\w.*?)(?: : .*)?$", section, re.M) for name in names.split(", ")]
        assert set(told) == set(declared) | {each.name for each in parameters if each.kind is not each.KEYWORD_ONLY}


def test_the_command_has_the_flags_that_are_declared():
    parser = argparse.ArgumentParser()
    deblur.add(parser.add_subparsers())
    flags = {each.dest: each for each in parser._subparsers._group_actions[0].choices["deblur"]._actions}
    for name, option in options_of(FLAG).items():
        assert flags[name].help.startswith(option.doc)
        assert name == "init" or list(flags[name].choices or ()) == [choice or "none" for choice in option.choices]
        # The library's defaults are the command's, unless a line says them.
        assert flags[name].default in (None, option.default)
    # What is not handed over as it is has code of its own; a flag in neither would be read and ignored.
    own = {"prior", "weights", "background", "read_noise", "init", "max_memory", "progress", "axes"}
    assert set(options_of(FLAG)) == own | set(deblur.SAME)
    others = set(OPTIONS) - set(options_of(FLAG))
    assert others == {"channel_axis", "callback", "tile", "halo"}
    assert not others & set(flags)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("--prior tv --bounds 0.2 0.7", {"prior": "tv", "bounds": (0.2, 0.7)}),
        ("--prior tv --bounds -1 none", {"prior": "tv", "bounds": (-1, None)}),
        ("--bounds none 0.7", {"bounds": (None, 0.7)}),
        ("--bounds -1e-3 1", {"bounds": (-1e-3, 1)}),
        ("--bounds -.5E-1 +1e0", {"bounds": (-0.05, 1)}),
        ("--bounds -inf 0.7", {"bounds": (None, 0.7)}),
        ("--solver adam --learning-rate 0.03", {"solver": "adam", "learning_rate": 0.03}),
        ("--init zeros", {"init": "zeros"}),
        ("--init normal --seed 7 --solver gd", {"init": "normal", "seed": 7, "solver": "gd"}),
        ("--init start.npy --solver gd", {"init": "start", "solver": "gd"}),
        ("--weights weights.npy", {"weights": "weights"}),
        ("--weights mask.png", {"weights": "mask"}),
        ("--saturated 0.8", {"weights": "saturated"}),
        ("--data poisson --prior none", {"data": "poisson", "prior": None}),
        ("--background 0.1", {"background": 0.1}),
        ("--background start.npy --prior tv", {"background": "start", "prior": "tv"}),
        (
            "--data poisson --prior none --background 0.1 --read-noise 0.2",
            {"data": "poisson", "prior": None, "background": 0.1, "read_noise": 0.2},
        ),
    ],
)
def test_flags_are_the_options_of_solve(folder, monkeypatch, words, options):
    monkeypatch.chdir(folder)
    image = np.load("image.npy")
    arrays = {
        "start": np.load("start.npy"),
        "weights": np.load("weights.npy"),
        "mask": files.read("mask.png") / 255,
        "saturated": fd.saturated(image, 0.8),
    }
    options = {name: arrays.get(value, value) if isinstance(value, str) else value for name, value in options.items()}
    more = {"mu": 0.02, "max_iter": 5}
    words = ["deblur", "image.npy", "--psf", PSF, "-o", "out.npy", "--mu", "0.02", "--max-iter", "5", *words.split()]
    assert cli.main(words) == 0
    expected = fd.deblur(image, fd.psf.gaussian(5, 1), **more, **options)
    np.testing.assert_allclose(np.load("out.npy"), expected, rtol=1e-5, atol=1e-6)


def test_weights_of_one_channel_are_those_of_all(folder, monkeypatch):
    monkeypatch.chdir(folder)
    words = ["deblur", "colour.npy", "--psf", PSF, "-o", "out.npy", "--max-iter", "5", "--mu", "0.1"]
    assert cli.main([*words, "--weights", "weights.npy", "--saturated", "0.9"]) == 0
    image = np.load("colour.npy")
    weights = np.load("weights.npy")[..., None] * fd.saturated(image, 0.9)
    expected = fd.deblur(image, fd.psf.gaussian(5, 1), mu=0.1, max_iter=5, weights=weights, channel_axis=-1)
    np.testing.assert_allclose(np.load("out.npy"), expected, rtol=1e-5, atol=1e-6)


def test_levels_are_of_the_scale_whose_1_is_white(folder, monkeypatch):
    monkeypatch.chdir(folder)
    words = ["deblur", "bytes.png", "--psf", PSF, "-o", "out.png", "--prior", "tv", "--mu", "0.01", "--max-iter", "20"]
    assert cli.main([*words, "--bounds", "0.2", "0.6", "--saturated", "0.9"]) == 0
    restored = files.read("out.png")
    assert (restored.min(), restored.max()) == (51, 153)


@pytest.mark.parametrize("sky", ["500", "sky.npy"])
@pytest.mark.parametrize("memory", ["1GB", "2MB"])
def test_background_and_read_noise_are_in_the_units_of_the_file(tmp_path, monkeypatch, capsys, sky, memory):
    """Counts are divided by the largest of their type: what is restored must be that of the counts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan, "CODE", 0)
    shape = (200, 220)
    random = np.random.default_rng(3)
    stars = np.zeros(shape)
    stars[10::20, 10::20] = 2e4
    psf = fd.psf.gaussian(5, 1)
    counts = random.poisson(np.maximum(fd.convolve(stars, psf), 0) + 500) + 8 * random.standard_normal(shape)
    counts = counts.round().astype(np.uint16)
    files.write("counts.tif", counts)
    np.save("sky.npy", np.full(shape, 500, np.uint16))
    words = ["deblur", "counts.tif", "--psf", PSF, "-o", "out.tif", "--dtype", "float32", "--data", "poisson"]
    words += ["--prior", "none", "--max-iter", "20", "--tol", "0", "--json"]
    assert cli.main([*words, "--background", sky, "--read-noise", "8", "--max-memory", memory]) == 0
    figures = json.loads(lines(capsys)[0][0])
    assert (figures.get("tiles", 1) > 1) == (memory == "2MB")
    options = {"data": "poisson", "prior": None, "background": 500, "read_noise": 8, "max_iter": 20, "tol": 0}
    expected = fd.deblur(counts, psf, **options)
    assert abs(files.read("out.tif") - expected).max() < 1e-3 * expected.max()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--bounds 1 0", "bounds must be"),
        ("--learning-rate 0.1", "learning_rate is for the solvers"),
        ("--seed 3", "seed is for init='normal'"),
        ("--init missing.npy", "cannot read missing.npy: No such file"),
        ("--init zeroes", "cannot read zeroes: the suffix must be one of"),
        ("--init colour.npy", "init must have the image's shape"),
        ("--weights colour.npy", "weights must have the image's shape"),
        ("--weights colour.npy --saturated 0.5", "weights must have the image's shape"),
        ("--saturated nan", "level must be"),
        ("--saturated 0", "weights must not be all zero"),
        ("--background -1", "background must be a finite number at least 0; got -1.0"),
        ("--background missing.npy", "cannot read missing.npy: No such file"),
        ("--background colour.npy", "background must be a number, or have the image's shape"),
        ("--read-noise -1", "read_noise must be a finite number at least 0; got -1.0"),
        ("--read-noise 1", "read_noise goes with data='poisson'"),
        ("--max-memory 3kB", "max_memory must be at least 9"),
        ("--max-memory lots", "max_memory must be a number of bytes"),
    ],
)
def test_errors_of_flags_are_one_line(folder, capsys, monkeypatch, words, message):
    monkeypatch.chdir(folder)
    assert message in one_error(capsys, "deblur", "image.npy", "--psf", PSF, "-o", "out.npy", *words.split())
    assert not (folder / "out.npy").exists()


@pytest.mark.parametrize(
    "words", ["--mu heavy", "--bounds 0", "--bounds 0 high", "--saturated high", "--seed 1.5", "--init"]
)
def test_values_that_do_not_parse_exit_with_status_2(capsys, words):
    with pytest.raises(SystemExit) as exit:
        cli.main(["deblur", "image.npy", "--psf", PSF, "-o", "out.npy", *words.split()])
    assert exit.value.code == 2
    assert lines(capsys)[1][-1].startswith("fastdeblur deblur: error: ")


def test_figures_as_json(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    words = ["deblur", "bytes.png", "--psf", PSF, "-o", "out.tif", "--mu", "0.1", "--max-iter", "4", "--tol", "0"]
    assert cli.main([*words, "--json"]) == 0
    (said,), err = but_for_clipping(lines(capsys))
    assert err == []
    figures = json.loads(said)
    image = files.read("bytes.png").astype(np.float32) / np.float32(255)
    result = fd.solve(image, fd.psf.gaussian(5, 1), mu=0.1, max_iter=4, tol=0)
    assert figures.pop("seconds") > 0
    assert figures.pop("history") == pytest.approx(result.history.tolist(), rel=1e-6)
    assert figures == {
        "out": "out.tif",
        "shape": [20, 24],
        "dtype": "uint8",
        "objective": pytest.approx(result.objective, rel=1e-6),
        "n_iter": 4,
        "n_products": result.n_products,
        "stop_reason": "max_iter",
        "optimality": pytest.approx(result.optimality, rel=1e-3),
        "mu": 0.1,
        "noise": pytest.approx(result.noise, rel=1e-3),
        "misfit": pytest.approx(result.misfit, rel=1e-3),
        "path": result.path,
        "device": "cpu",
        "transfer": "linear",
        "notes": [],
    }


def test_json_has_no_infinity():
    result = fd.solve(np.ones((4, 4)), np.ones((1, 1)), mu=0)
    broken = result.__class__(
        **{**result.__dict__, "objective": math.inf, "optimality": np.float64("nan"), "history": np.array([1, np.nan])}
    )
    figures = json.loads(json.dumps(deblur._figures(broken), allow_nan=False))
    assert (figures["objective"], figures["optimality"], figures["history"]) == (None, None, [1, None])
    assert "image" not in figures


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (1, 1), (np.int64(5), 5), ("7", 7), ("7B", 7), ("300MB", 300_000_000), ("1GB", 10**9), ("2GiB", 2**31),
        ("1 kb", 1000), ("1.5KiB", 1536), ("0.25 tb", 250_000_000_000), (" 2 MiB ", 2**21),
    ],
)  # fmt: skip
def test_sizes_of_memory(value, size):
    assert validation.memory_size("max_memory", value) == size


@pytest.mark.parametrize(
    "value", ["", "GB", "1XB", "-1GB", "1e9", "1.GB", "0", "0.1B", "1iB", "nan", 0, -3, 1.5, True, None]
)
def test_what_is_no_size_of_memory(value):
    with pytest.raises((TypeError, ValueError), match=r'max_memory must be .* "2GiB"; got '):
        validation.memory_size("max_memory", value)


def test_levels_beyond_white_are_a_mistake(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    said = one_error(capsys, "deblur", "bytes.png", "--psf", PSF, "-o", "out.png", "--saturated", "250")
    assert "saturated must be at most 1, which stands for the largest uint8; got 250" in said


@pytest.mark.parametrize(
    "flag",
    [
        "--mu", "--learning-rate", "--tol", "--seed", "--max-iter", "--workers", "--saturated", "--background",
        "--read-noise",
    ],
)  # fmt: skip
@pytest.mark.parametrize("number", ["-1e-3", "-inf", "-1", "-.5"])
def test_negative_numbers_are_numbers_however_they_are_written(folder, monkeypatch, capsys, flag, number):
    """They are refused, or not, for what they are: not as flags that nobody knows."""
    monkeypatch.chdir(folder)
    words = ["deblur", "image.npy", "--psf", PSF, "-o", "out.npy", "--max-iter", "2", flag, number]
    with contextlib.suppress(SystemExit):
        cli.main(words)
    said = capsys.readouterr().err
    assert "expected" not in said
    assert "unrecognized" not in said
