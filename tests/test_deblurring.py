"""``fastdeblur deblur``, mostly called in this process."""

import os
import re

import numpy as np
import pytest
import tifffile
from PIL import Image
from samples import but_for_clipping, error_of_a_process, lines, one_error
from skimage import color, data, metrics

import fastdeblur as fd
from fastdeblur.cli import channels, psf_spec
from fastdeblur.cli import main as cli
from fastdeblur.io import files
from fastdeblur.large import plan

PSF = "gaussian:9:1.5"


@pytest.fixture(scope="module")
def sharp():
    """An RGB image between 0 and 1 that fades to black, as it is outside, over its last 8 pixels."""
    image = data.astronaut()[0:256:2, 120:376:2] / 255
    edge = np.clip((64 - np.abs(np.arange(128) - 63.5)) / 8, 0, 1)
    return image * edge[:, None, None] * edge[:, None]


@pytest.fixture(scope="module")
def blurred(sharp):
    psf = psf_spec.read_psf(PSF)
    return np.clip(np.stack([fd.convolve(plane, psf) for plane in np.moveaxis(sharp, -1, 0)], axis=-1), 0, 1)


def as_kind(image, kind, dtype):
    """An RGB image between 0 and 1 as gray or with alpha, in a dtype."""
    dtype = np.dtype(dtype)
    if kind in ("gray", "LA"):
        image = color.rgb2gray(image)[..., None]
    if kind in ("LA", "RGBA"):
        image = np.concatenate([image, np.random.default_rng(3).random((*image.shape[:2], 1))], axis=-1)
    if kind == "gray":
        image = image[..., 0]
    if dtype.kind == "b":
        return image > 0.5
    return (image if dtype.kind == "f" else np.rint(image * np.iinfo(dtype).max)).astype(dtype)


@pytest.mark.parametrize(
    ("suffix", "dtype", "kind"),
    [
        (".png", "u1", "gray"),
        (".png", "u1", "LA"),
        (".png", "u1", "RGB"),
        (".png", "u1", "RGBA"),
        (".png", "u2", "gray"),
        (".jpg", "u1", "gray"),
        (".jpg", "u1", "RGB"),
        (".tif", "u2", "RGBA"),
        (".tif", "i2", "gray"),
        (".tif", "f4", "RGB"),
        (".npy", "f8", "gray"),
        (".npy", "u4", "gray"),
        (".tif", "u1", "LA"),
    ],
)
def test_an_image_becomes_sharper_and_keeps_its_type(tmp_path, capsys, sharp, blurred, suffix, dtype, kind):
    before, truth = as_kind(blurred, kind, dtype), as_kind(sharp, kind, dtype)
    source, out = tmp_path / f"blurred{suffix}", tmp_path / f"restored{suffix}"
    files.write(source, before, alpha=kind in ("LA", "RGBA"))
    words = ["--mu", "0.01", "--max-iter", "100", "--transfer", "linear"]  # of this scale it was blurred
    assert cli.main(["deblur", str(source), "--psf", PSF, "-o", str(out), *words]) == 0
    after = files.read(out)
    assert after.dtype == before.dtype
    assert after.shape == before.shape
    if kind in ("LA", "RGBA"):
        np.testing.assert_array_equal(after[..., -1], before[..., -1])
    whole = 1.0 if np.dtype(dtype).kind == "f" else float(np.iinfo(dtype).max)
    old, new = (metrics.peak_signal_noise_ratio(truth / whole, x / whole, data_range=1) for x in (before, after))
    assert new > old + 1.5

    said, err = but_for_clipping(lines(capsys))
    assert err == []
    assert len(said) == 1
    assert re.fullmatch(
        re.escape(f"{out}: {'alpha as it was, ' if kind in ('LA', 'RGBA') else ''}")
        + r"mu \S+, noise \S+, misfit \S+, path separable, \d+ iterations, "
        + r"stop reason (max_iter|tolerance), \d+\.\d\d s; transfer linear",
        said[0],
    )
    assert sorted(os.listdir(tmp_path)) == [source.name, out.name]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
def test_booleans_become_bytes(tmp_path, sharp, suffix):
    image = as_kind(sharp, "gray", "?")
    np.save(tmp_path / "mask.npy", image)
    out = tmp_path / f"out{suffix}"
    assert cli.main(["deblur", str(tmp_path / "mask.npy"), "--psf", "box:1", "--mu", "0", "-o", str(out)]) == 0
    written = files.read(out)
    assert written.dtype == np.uint8
    np.testing.assert_array_equal(written, 255 * image)  # a psf of one pixel changes nothing


def test_the_command_gives_what_the_library_gives(tmp_path, blurred):
    image = as_kind(blurred, "RGB", "f4")
    np.save(tmp_path / "image.npy", image)
    psf = fd.psf.disk(1.5)
    np.save(tmp_path / "psf.npy", 7 * psf)
    options = {"mu": 0.3, "data": "squares", "solver": "nesterov", "max_iter": 12, "tol": 0, "workers": 1}
    options |= {"boundary": "reflect", "path": "fft"}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    expected = fd.deblur(image, psf, channel_axis=-1, **options)
    for spec in ("disk:1.5", str(tmp_path / "psf.npy")):
        out = tmp_path / "out.npy"
        assert cli.main(["deblur", str(tmp_path / "image.npy"), "--psf", spec, "-o", str(out), *words]) == 0
        np.testing.assert_allclose(np.load(out), expected, rtol=1e-5, atol=1e-6)
        out.unlink()


def test_without_options_the_library_decides(tmp_path, monkeypatch):
    seen = {}

    def refuse(psf, shape, **options):
        seen.update(options)
        raise ValueError("enough")

    monkeypatch.setattr(channels, "Deblurrer", refuse)
    np.save(tmp_path / "image.npy", np.ones((4, 4)))
    argv = ["deblur", str(tmp_path / "image.npy"), "--psf", "box:3", "-o", str(tmp_path / "out.npy")]
    assert cli.main(argv) == 2
    assert seen == {"mu": "auto", "channel_axis": None, "progress": False}


def test_out_may_be_the_image(tmp_path):
    path = tmp_path / "image.png"
    image = np.random.default_rng(1).integers(0, 256, (20, 30), np.uint8)
    files.write(path, image)
    assert cli.main(["deblur", str(path), "--psf", "gaussian:5:1", "-o", str(path), "--max-iter", "5"]) == 0
    changed = files.read(path)
    assert changed.shape == image.shape
    assert (changed != image).any()
    assert os.listdir(tmp_path) == ["image.png"]


def test_a_progress_bar_when_asked_for(tmp_path, capsys):
    np.save(tmp_path / "image.npy", np.eye(16))
    argv = ["deblur", str(tmp_path / "image.npy"), "--psf", "box:3", "-o", str(tmp_path / "out.npy"), "--max-iter", "7"]
    assert cli.main(argv) == 0
    assert but_for_clipping(lines(capsys))[1] == []
    assert cli.main([*argv, "--progress", "--tol", "0"]) == 0
    assert "7/7" in lines(capsys)[1][-1]


@pytest.fixture
def folder(tmp_path):
    """A folder with images for which something is wrong, and some for which nothing is."""
    gray = np.full((12, 12), 0.5)
    np.save(tmp_path / "gray.npy", gray)
    np.save(tmp_path / "infinite.npy", np.where(np.eye(12), np.inf, gray))
    np.save(tmp_path / "line.npy", gray[0])
    np.save(tmp_path / "volume.npy", np.zeros((12, 12, 12)))
    np.save(tmp_path / "words.npy", np.array([["a"]]))
    np.save(tmp_path / "zero.npy", np.zeros((3, 3)))
    files.write(tmp_path / "deep.tif", np.zeros((12, 12, 3), np.uint16))
    files.write(tmp_path / "clear.png", np.zeros((12, 12, 4), np.uint8), alpha=True)
    (tmp_path / "text.png").write_text("not a picture\nat all")
    (tmp_path / "text.tif").write_text("not a picture\nat all")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("missing.png --psf box:3 -o out.png", r"cannot read missing\.png: No such file"),
        ("text.png --psf box:3 -o out.png", r"cannot read text\.png: it is not such an image"),
        ("text.tif --psf box:3 -o out.tif", r"cannot read text\.tif: .*not a TIFF"),
        ("line.npy --psf box:3 -o out.npy", r"cannot read line\.npy: .* shape is \(12,\)"),
        ("volume.npy --psf box:3 -o out.npy", r"must be one image, .* shape is \(12, 12, 12\)"),
        ("words.npy --psf box:3 -o out.npy", "real numbers"),
        ("infinite.npy --psf box:3 -o out.npy", "image must be finite"),
        ("gray.gif --psf box:3 -o out.npy", "suffix must be one of"),
        ("gray.npy --psf box:0 -o out.npy", "psf 'box:0' is not box:SIZE: shape must be"),
        ("gray.npy --psf sphere:3 -o out.npy", "psf 'sphere:3' must be one of gaussian:SIZE:SIGMA, .* or a file"),
        ("gray.npy --psf missing.tif -o out.npy", r"cannot read missing\.tif"),
        ("gray.npy --psf zero.npy -o out.npy", r"zero\.npy: psf must not be all zero"),
        ("gray.npy --psf box:3 -o out.png", r"out\.png: PNG cannot hold float64 gray .*\.npy or \.zarr would do"),
        ("gray.npy --psf box:3 -o out", "suffix must be one of"),
        ("gray.npy --psf box:3 -o none/out.npy", "there is no folder"),
        (
            "deep.tif --psf box:3 -o out.jpg",
            r"JPEG cannot hold uint16 RGB .*; \.png, \.tif, \.tiff, \.npy or \.zarr would do",
        ),
        ("clear.png --psf box:3 -o out.jpg", r"JPEG cannot hold uint8 RGB with alpha .*; \.png, "),
        ("gray.npy --psf box:3 -o out.npy --mu -1", "mu must be a finite number at least 0; got -1"),
        ("gray.npy --psf box:3 -o out.npy --mu nan", "mu must be"),
        ("gray.npy --psf box:3 -o out.npy --tol -1", "tol must be"),
        ("gray.npy --psf box:3 -o out.npy --max-iter 0", "max_iter must be"),
        ("gray.npy --psf box:3 -o out.npy --workers 0", "workers must be"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(folder, capsys, monkeypatch, words, message):
    monkeypatch.chdir(folder)
    before = sorted(os.listdir())
    assert re.search(message, one_error(capsys, "deblur", *words.split()))
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    "words",
    [
        "",
        "blur",
        "deblur",
        "deblur a.png -o b.png",
        "deblur a.png --psf box:3",
        "deblur a.png --psf box:3 -o b.png --mu much",
        "deblur a.png --psf box:3 -o b.png --max-iter 1.5",
        "deblur a.png --psf box:3 -o b.png --data cubes",
        "deblur a.png --psf box:3 -o b.png --solver magic",
        "deblur a.png --psf box:3 -o b.png --max 3",
        "demo --scale 0",
        "demo --scale -1",
        "demo --scale 1/0",
        "demo --scale 4.1",
        "demo --scale nan",
        "demo --scale big",
        "info now",
    ],
)
def test_wrong_flags_exit_with_status_2(capsys, monkeypatch, tmp_path, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit:
        cli.main(words.split())
    assert exit.value.code == 2
    out, err = lines(capsys)
    assert out == []
    assert err[0].startswith("usage: fastdeblur")
    assert os.listdir() == []


def test_a_format_that_does_not_fit_is_refused_before_the_work(folder, capsys, monkeypatch):
    monkeypatch.setattr(channels, "Deblurrer", lambda *_, **__: pytest.fail("solved in vain"))
    assert "would do" in one_error(capsys, "deblur", folder / "gray.npy", "--psf", "box:3", "-o", folder / "out.jpg")


@pytest.mark.parametrize(
    ("suffix", "writer"),
    [
        (".npy", "numpy.lib.format.write_array_header_1_0"),
        (".tif", "tifffile.TiffWriter.write"),
        (".png", "fastdeblur.io.png.save"),
    ],
)
def test_a_failing_write_leaves_what_was_there(tmp_path, capsys, monkeypatch, suffix, writer):
    image = np.eye(12, dtype=np.uint8)
    source, out = tmp_path / f"image{suffix}", tmp_path / f"out{suffix}"
    files.write(source, image)
    files.write(out, image)
    before = out.read_bytes()

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, fail)
    said = one_error(capsys, "deblur", source, "--psf", "box:3", "-o", out, "--max-iter", "2")
    assert said == f"fastdeblur: error: cannot write {out}: No space left on device"
    assert sorted(os.listdir(tmp_path)) == [source.name, out.name]
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("raised", "status", "message"),
    [
        (MemoryError(), 2, "error: out of memory."),
        (TypeError("a\nb"), 2, "error: a b"),
        (OverflowError("too large"), 2, "error: too large"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_whatever_the_library_raises_is_one_line(folder, capsys, monkeypatch, raised, status, message):
    def fail(*_, **__):
        raise raised

    monkeypatch.setattr(channels, "Deblurrer", fail)
    before = sorted(os.listdir(folder))
    argv = ["deblur", str(folder / "gray.npy"), "--psf", "box:3", "-o", str(folder / "out.npy")]
    assert cli.main(argv) == status
    assert lines(capsys) == ([], [f"fastdeblur: {message}"])
    assert sorted(os.listdir(folder)) == before


def test_an_error_in_a_process_of_its_own(preloaded, tmp_path):
    # The readers warn and log before they give up on this one.
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / "image.tif", compression="tiff_lzw")
    with tifffile.TiffFile(tmp_path / "image.tif") as tiff:
        (first,), (count,) = tiff.pages.first.dataoffsets, tiff.pages.first.databytecounts
    content = bytearray((tmp_path / "image.tif").read_bytes())
    content[first : first + count] = b"\xff" * count
    (tmp_path / "image.tif").write_bytes(content)
    said = error_of_a_process(preloaded, tmp_path, "image.tif", "out.tif")
    assert re.fullmatch(r"fastdeblur: error: cannot read image\.tif: .*\n", said)
    assert os.listdir(tmp_path) == ["image.tif"]


def test_a_warning_is_one_line(tmp_path, capsys):
    np.save(tmp_path / "image.npy", np.random.default_rng(0).random((12, 12)))
    np.save(tmp_path / "psf.npy", [[-9.0, 10.0]])  # the notebook's rule overshoots with such a psf
    out = tmp_path / "out.npy"
    argv = ["deblur", str(tmp_path / "image.npy"), "--psf", str(tmp_path / "psf.npy"), "-o", str(out)]
    assert cli.main([*argv, "--data", "squares", "--solver", "momentum"]) == 0
    said, err = lines(capsys)
    assert "stop reason diverged" in said[0]
    assert len(err) == 1
    assert err[0].startswith("fastdeblur: warning: the objective left all bounds")
    assert np.isfinite(np.load(out)).all()


@pytest.mark.parametrize("how", [[], ["--max-memory", "3MB", "--boundary", "wrap"]], ids=["whole", "tiles"])
def test_clipping_is_told_and_floats_avoid_it(tmp_path, capsys, monkeypatch, how):
    monkeypatch.setattr(plan, "CODE", 0)
    sharp = np.zeros((400, 310), np.float32)
    sharp[100:200, 100:200] = 1
    blurred = np.rint(255 * fd.convolve(sharp, fd.psf.gaussian(5, 1))).astype(np.uint8)
    Image.fromarray(blurred).save(tmp_path / "image.tif")
    argv = ["deblur", str(tmp_path / "image.tif"), "--psf", "gaussian:5:1", "--mu", "0.01", "--data", "squares", *how]
    assert cli.main([*argv, "-o", str(tmp_path / "out.tif")]) == 0
    (said,) = lines(capsys)[1]
    assert re.search(
        r"warning: \d+ of 124000 restored values were clipped to what uint8 holds; they reach from -0\.", said
    )
    assert cli.main([*argv, "-o", str(tmp_path / "out.tif"), "--dtype", "float32"]) == 0
    assert lines(capsys)[1] == []
    kept = files.read(tmp_path / "out.tif")
    assert kept.dtype == np.float32
    assert kept.min() < -1
    assert kept.max() > 256
    assert cli.main([*argv, "-o", str(tmp_path / "out.png"), "--dtype", "float32"]) == 2
    assert "PNG cannot hold float32 gray" in lines(capsys)[1][0]
