"""``fastdeblur deblur`` of images that do not fit into --max-memory: tile by tile, with the library's pixels."""

import json
import os
import re
import signal
import sys
import time

import numpy as np
import pytest
import tifffile
from samples import but_for_clipping, lines, one_error
from scenes import blurred, read, saved
from sweeps import few

import fastdeblur as fd
from fastdeblur.cli import deblur
from fastdeblur.cli import main as cli
from fastdeblur.io import files, pixels
from fastdeblur.large import plan

PSF = fd.psf.gaussian(3, 0.7)
SPEC = "gaussian:3:0.7"
WORDS = ["--psf", SPEC, "--transfer", "linear", "--prior", "tv", "--mu", "0.01", "--max-iter", "2", "--tol", "0"]
WORDS += ["--max-memory", "3MB"]
OPTIONS = {"prior": "tv", "mu": 0.01, "max_iter": 2, "tol": 0}
SHAPES = {"gray": (200, 210), "LA": (200, 210, 2), "RGB": (200, 210, 3), "RGBA": (200, 210, 4), "one": (200, 210, 1)}
SHAPES |= {str(channels): (200, 210, channels) for channels in (2, 4, 6)}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Small images shall not fit: only what they take counts, not what compiled code does."""
    monkeypatch.setattr(plan, "CODE", 0)


def image_of(kind, dtype):
    image = blurred(SHAPES[kind], PSF, np.float64).clip(0, 1)
    if kind in ("LA", "RGBA"):  # nothing is wholly transparent
        image[..., -1] = image[..., -1].clip(0.1)
    dtype = np.dtype(dtype)
    return (image * (1 if dtype.kind == "f" else np.iinfo(dtype).max)).astype(dtype)


def wanted(image, tile, weights=None, alpha=None, **options):
    """What the library gives on the same tiles, as it is written."""
    real = pixels.to_real(image, image.shape[2:] in ((2,), (4,)) if alpha is None else alpha)
    axis = None if real.ndim == 2 else -1
    found = fd.deblur_large(real, PSF, weights=weights, channel_axis=axis, tile=tile, **OPTIONS | options)
    return pixels.from_real(found, image)


def run(capsys, source, out, *words):
    """Deblur, and return the figures."""
    arguments = ["deblur", str(source), "-o", str(out), *map(str, words), "--json"]
    assert cli.main([*arguments[:4], *WORDS, *arguments[4:]]) == 0
    (said,), err = but_for_clipping(lines(capsys))
    assert err == []
    return json.loads(said)


@pytest.mark.parametrize(
    ("suffix", "dtype", "kind"),
    [
        (".png", "u2", "gray"), (".png", "u1", "RGBA"), (".tif", "u2", "RGB"), (".tif", "f4", "RGBA"),
        (".tif", "u1", "LA"), (".npy", "f8", "gray"), (".npy", ">u2", "one"), (".npy", "i4", "gray"),
        (".npy", "u1", "6"), (".zarr", "f4", "gray"), (".zarr", "u2", "4"),
        *[
            pytest.param(*each, marks=pytest.mark.long) for each in (
                (".png", "u1", "gray"), (".png", "u1", "LA"), (".tif", "u2", "gray"), (".npy", "u1", "RGB"),
                (".npy", "u2", "2"), (".tif", "u2", "4"), (".tif", "u2", "6"),
            )
        ],
    ],
)  # fmt: skip
def test_tiles_give_what_deblur_large_gives(tmp_path, capsys, suffix, dtype, kind):
    image = image_of(kind, dtype)
    alpha = kind in ("LA", "RGBA")
    files.write(tmp_path / f"a{suffix}", image, alpha=alpha)
    memory = "7MB" if kind in ("RGB", "RGBA", "4", "6") else "5MB" if dtype in ("f8", "i4") else "3MB"
    figures = run(capsys, tmp_path / f"a{suffix}", tmp_path / f"out{suffix}", "--max-memory", memory)
    assert figures["tiles"] > 1
    assert (figures["shape"], figures["dtype"]) == (list(image.shape), image.dtype.name)
    found = files.read(tmp_path / f"out{suffix}")
    np.testing.assert_array_equal(found.reshape(image.shape), wanted(image, figures["tile"], alpha=alpha))
    assert sorted(os.listdir(tmp_path)) == [f"a{suffix}", f"out{suffix}"]


@pytest.mark.parametrize(
    "how",
    [
        {"bigtiff": True}, {"byteorder": ">"}, {"tile": (64, 48), "compression": "zlib"},
        {"compression": "zlib", "predictor": True, "rowsperstrip": 9}, {"photometric": "miniswhite"},
    ],
)  # fmt: skip
def test_tiffs_of_other_layouts_are_written_in_tiles(tmp_path, capsys, how):
    image = image_of("gray", "u2")
    tifffile.imwrite(tmp_path / "a.tif", ~image if "photometric" in how else image, **how)
    figures = run(capsys, tmp_path / "a.tif", tmp_path / "out.tif")
    assert figures["tiles"] > 1
    found = tifffile.imread(tmp_path / "out.tif")
    np.testing.assert_array_equal(~found if "photometric" in how else found, wanted(image, figures["tile"]))


def test_from_one_format_into_another(tmp_path, capsys):
    image = image_of("RGBA", "u1")
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", tile=(64, 48), compression="zlib",
                     extrasamples=["unassalpha"])  # fmt: skip
    expected = {}
    for suffix in (".npy", ".png", ".zarr", ".tif"):
        figures = run(capsys, tmp_path / "a.tif", tmp_path / f"out{suffix}", "--max-memory", "7MB")
        tile = tuple(figures["tile"])
        if tile not in expected:
            expected[tile] = wanted(image, figures["tile"])
        np.testing.assert_array_equal(files.read(tmp_path / f"out{suffix}"), expected[tile])
        np.testing.assert_array_equal(expected[tile][..., 3], image[..., 3])


def test_masks_become_bytes(tmp_path, capsys):
    image = blurred((400, 410), PSF) > 0.5
    np.save(tmp_path / "a.npy", image)
    figures = run(capsys, tmp_path / "a.npy", tmp_path / "out.npy")
    assert figures["dtype"] == "uint8"
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), wanted(image, figures["tile"]))


@pytest.mark.parametrize("kind", few(["gray", "RGB"], ["RGB"]))
def test_weights_and_saturated_pixels(tmp_path, capsys, rng, kind, long):
    image = image_of(kind, "u1")
    weights = rng.random(image.shape[:2])
    np.save(tmp_path / "a.npy", image)
    np.save(tmp_path / "w.npy", weights)
    more = ["--max-memory", "8MB" if kind == "RGB" else "3MB"]
    kept = fd.saturated(pixels.to_real(image), 0.8)
    cases = (
        (["--weights", tmp_path / "w.npy"], weights),
        (["--saturated", 0.8], kept),
        (
            ["--saturated", 0.8, "--weights", tmp_path / "w.npy"],
            kept * weights.reshape(kept.shape[:2] + (1,) * (kept.ndim - 2)),
        ),
    )
    for words, given in cases if long or kind == "gray" else cases[2:]:
        figures = run(capsys, tmp_path / "a.npy", tmp_path / "out.npy", *more, *words)
        assert figures["tiles"] > 1
        expected = wanted(image, figures["tile"], given).astype(int)
        assert abs(np.load(tmp_path / "out.npy").astype(int) - expected).max() <= 1  # weights were rounded elsewhere


def test_all_options_reach_the_tiles(tmp_path, capsys):
    image = image_of("gray", "f4")
    np.save(tmp_path / "a.npy", image)
    words = ["--boundary", "reflect", "--bounds", "0.3", "0.6", "--path", "fft", "--workers", "1", "--data", "squares"]
    figures = run(capsys, tmp_path / "a.npy", tmp_path / "out.npy", *words)
    expected = wanted(image, figures["tile"], boundary="reflect", bounds=(0.3, 0.6), path="fft")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)
    assert (expected.min(), expected.max()) == (np.float32(0.3), np.float32(0.6))


def test_json_has_the_figures_of_tiles(tmp_path, capsys):
    np.save(tmp_path / "a.npy", image_of("gray", "f4"))
    figures = run(capsys, tmp_path / "a.npy", tmp_path / "out.npy")
    assert set(figures) == {
        "out", "shape", "dtype", "mu", "tile", "halo", "tiles", "resumed", "empty", "n_iter", "n_products",
        "optimality", "stop_reasons", "seconds", "noise", "misfit", "transfer", "notes",
    }  # fmt: skip
    assert (figures["mu"], figures["n_iter"], figures["stop_reasons"]) == (0.01, 2, ["max_iter"])
    assert cli.main(["deblur", str(tmp_path / "a.npy"), "-o", str(tmp_path / "out.npy"), *WORDS]) == 0
    (said,), err = but_for_clipping(lines(capsys))
    assert said.startswith(f"{tmp_path / 'out.npy'}: {figures['tiles']} tiles of {figures['tile'][0]}x")
    assert re.search(r"mu 0.01, noise \S+, misfit \S+, at most 2 iterations, stop reason max_iter, ", said)
    assert err == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--solver", "gd", "--prior", "gradient", "--max-memory", "700kB"],
            "tile by tile there is no --solver (raise --max-memory)",
        ),
        (["--init", "zeros"], "tile by tile there is no --init"),
        (["--init", "a.npy"], "tile by tile there is no --init"),
        (["--init", "normal", "--seed", "3"], "tile by tile there is no --init or --seed"),
        (["--weights", "w.npy"], "weights must have the source's shape (200, 210); their shape is (3, 4)"),
        (["--weights", "w.npy", "--saturated", "0.5"], "weights must have the image's shape (200, 210)"),
        (["--weights", "c.npy", "--saturated", "0.5"], "weights must have the image's shape (200, 210)"),
        (
            ["--prior", "none", "--max-memory", "700kB"],
            "prior must be 'gradient', 'tv', 'sparse', 'learned', a denoiser, or None with data='poisson'",
        ),
        (["--max-memory", "400kB"], "max_memory must be at least "),
        (["-o", "a.npy"], "out must not be the source"),
        (["-o", "link.npy"], "out must not be the source"),
        (["-o", "out.png"], "PNG cannot hold float32 gray of 200x210"),
        (["-o", "out.xyz"], "cannot write out.xyz: the suffix must be one of"),
        (["--saturated", "nan"], "level must be"),
    ],
)
def test_errors_of_tiles_are_one_line(tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", image_of("gray", "f4"))
    np.save("w.npy", np.ones((3, 4)))
    np.save("c.npy", np.ones((200, 210, 3)))
    os.symlink("a.npy", "link.npy")
    before = sorted(os.listdir())
    said = one_error(capsys, "deblur", "a.npy", "-o", "out.npy", *WORDS, *words)
    assert message in said
    assert said.count("cannot write") <= 1
    assert sorted(os.listdir()) == before


def test_pictures_that_are_decoded_at_once_must_fit(tmp_path, capsys):
    files.write(tmp_path / "a.png", image_of("RGB", "u1"))
    said = one_error(capsys, "deblur", tmp_path / "a.png", "-o", tmp_path / "out.png", *WORDS[:-1], "200kB")
    assert "a.png" in said
    assert "--max-memory" in said
    assert os.listdir(tmp_path) == ["a.png"]


def test_another_job_waits_beside(tmp_path, capsys, monkeypatch):
    np.save(tmp_path / "a.npy", image_of("gray", "f4"))
    (tmp_path / ".out.npy.partial").write_bytes(b"")
    (tmp_path / ".out.npy.journal").write_text('{"psf": "another"}\n[[0, 0], 1]\n')
    said = one_error(capsys, "deblur", tmp_path / "a.npy", "-o", tmp_path / "out.npy", *WORDS)
    assert said.endswith(f"or delete {tmp_path / '.out.npy.journal'} to begin anew")
    (tmp_path / ".out.npy.journal").unlink()
    assert run(capsys, tmp_path / "a.npy", tmp_path / "out.npy")["resumed"] == 0
    assert sorted(os.listdir(tmp_path)) == ["a.npy", "out.npy"]


# Tiles that take their time, and an interrupt in the middle.
SLOW = """
import sys, time
from fastdeblur.cli import main as cli
from fastdeblur.large import plan, tile_solver as tiles
plan.CODE = 0
solve = tiles.TileSolver.__call__
def slowly(*arguments):
    time.sleep(0.1)
    return solve(*arguments)
tiles.TileSolver.__call__ = slowly
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
@pytest.mark.parametrize(("suffix", "number", "status"), [(".tif", signal.SIGTERM, 143), (".zarr", signal.SIGINT, 130)])
def test_an_interrupt_leaves_no_half_file_and_the_next_run_goes_on(preloaded, tmp_path, capsys, suffix, number, status):
    image, old = image_of("gray", "f4"), np.ones((3, 4), np.float32)
    np.save(tmp_path / "a.npy", image)
    out = saved(tmp_path / f"out{suffix}", old)
    journal = tmp_path / f".out{suffix}.journal"
    words = ["deblur", str(tmp_path / "a.npy"), "-o", str(out), *WORDS]
    process, end = preloaded.start(SLOW, *words, cwd=tmp_path), time.monotonic() + 60
    while time.monotonic() < end and not (journal.exists() and len(journal.read_text().splitlines()) > 2):
        time.sleep(0.002)
    process.send_signal(number)
    done = process.end()
    assert done.returncode == status, done.stderr
    assert (done.stdout, len(done.stderr.splitlines())) == ("", 1), done.stderr
    np.testing.assert_array_equal(read(out), old)
    assert sorted(os.listdir(tmp_path)) == [f".out{suffix}.journal", f".out{suffix}.partial", "a.npy", out.name]
    figures = run(capsys, tmp_path / "a.npy", out)
    assert 2 <= figures["resumed"] < figures["tiles"]
    np.testing.assert_array_equal(read(out), wanted(image, figures["tile"]))
    assert sorted(os.listdir(tmp_path)) == ["a.npy", out.name]


def test_an_image_that_fits_is_not_cut_into_tiles(tmp_path, capsys, monkeypatch):
    """By what it takes: a little more memory, and there are no tiles."""
    image = image_of("gray", "f4")
    np.save(tmp_path / "a.npy", image)
    monkeypatch.setattr(deblur.deblur_tiled, "deblur_in_tiles", None)
    figures = run(capsys, tmp_path / "a.npy", tmp_path / "out.npy", "--max-memory", "12MB")
    assert "tiles" not in figures
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), fd.deblur(image, PSF, **OPTIONS))


def test_a_real_size(tmp_path, capsys, monkeypatch):
    """With what compiled code takes."""
    monkeypatch.undo()
    image = blurred((1100, 1000), PSF)
    np.save(tmp_path / "a.npy", image)
    figures = run(capsys, tmp_path / "a.npy", tmp_path / "out.npy", "--max-memory", "94MB", "--prior", "sparse")
    assert figures["tiles"] > 4
    tiles = fd.deblur_large(image, PSF, **{**OPTIONS, "prior": "sparse"}, tile=figures["tile"])
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), tiles)
