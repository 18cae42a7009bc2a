"""The protocol of published tables, against plain NumPy."""

import sys
from pathlib import Path

import numpy as np
import pytest
from skimage import io

# Beside the installed package, not before it.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from benchmarks import _records, quality


@pytest.fixture
def folder(tmp_path, rng):
    for name in ("b.png", "a.png"):
        io.imsave(tmp_path / name, rng.integers(0, 256, (70, 64)).astype(np.uint8), check_contrast=False)
    (tmp_path / "readme.txt").write_text("no image")
    np.savez(tmp_path / "kernels.npz", kernels=rng.random((8, 5, 7)))
    return tmp_path


def test_blur_is_periodic_and_noise_has_the_psfs_seed(rng):
    sharp, psf = rng.integers(0, 256, (70, 64)).astype(float), rng.random((5, 7))
    psf /= psf.sum()
    blurred = np.zeros_like(sharp)
    for row in range(5):
        for col in range(7):
            blurred += psf[row, col] * np.roll(sharp, (row - 2, col - 3), (0, 1))
    noise = 7.65 * np.random.default_rng(3).standard_normal((70, 64))
    np.testing.assert_allclose(_records.degraded(sharp, psf, 3, 7.65), blurred + noise, rtol=1e-10)


def test_scores_are_of_eight_bits_inside(rng):
    sharp = rng.integers(0, 256, (70, 64)).astype(float)
    restored = sharp + 20 * rng.standard_normal(sharp.shape)
    restored[:30] = restored[-30:] = np.nan  # not looked at
    restored[:, :30] = restored[:, -30:] = np.nan
    restored[35, 31], restored[35, 32] = 300.2, -40.0
    squares = []
    for row in range(30, 40):
        for col in range(30, 34):
            squares.append((sharp[row, col] - min(max(np.rint(restored[row, col]), 0), 255)) ** 2)
    assert _records.psnr(sharp, restored) == pytest.approx(10 * np.log10(255**2 / np.mean(squares)), abs=1e-9)


def test_every_image_psf_level_and_method(folder, monkeypatch):
    seen = []

    def as_it_is(image, psf):
        seen.append((image, psf))
        return image

    monkeypatch.setattr(_records, "METHODS", {"as it is": as_it_is})
    records = _records.judged(folder, None, ["as it is"])
    assert [record[:4] for record in records] == [
        (level, name, number, "as it is")
        for level in (2.55, 7.65) for name in ("a.png", "b.png") for number in range(1, 9)
    ]  # fmt: skip
    sharp = io.imread(folder / "a.png").astype(float)
    psf = np.load(folder / "kernels.npz")["kernels"][1]
    image, given = seen[2]  # the first call only compiles
    np.testing.assert_allclose(given, psf / psf.sum(), rtol=1e-6)
    np.testing.assert_allclose(255 * image, _records.degraded(sharp, psf / psf.sum(), 2, 2.55), atol=1e-4)
    assert records[1].psnr == pytest.approx(_records.psnr(sharp, 255.0 * image))
    mean = np.mean([record.psnr for record in records if record.noise == 7.65])
    assert _records.means(records)[7.65, "as it is"][0] == pytest.approx(mean)


def test_the_command(folder, monkeypatch, capsys):
    monkeypatch.setattr(_records, "METHODS", {"tv, wrap": lambda image, psf: image})
    arguments = ["--records", str(folder), "--chart", str(folder / "chart.png"), "--save", str(folder / "all.json")]
    assert quality.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "16 images and psfs" in printed
    assert "IDD-BM3D" in printed
    assert "CVPR 2020" in printed
    assert io.imread(folder / "chart.png").shape[2] == 4
    assert (folder / "all.json").read_text().count('"psnr"') == 32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--chart", "x.png"], "--chart goes with --records"), (["--records", "."], "has no images")],
    ids=["chart", "empty"],
)
def test_wrong_arguments(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        quality.main(arguments)
    assert message in capsys.readouterr().err


def test_small_images_are_refused(tmp_path):
    io.imsave(tmp_path / "small.png", np.zeros((60, 80), np.uint8), check_contrast=False)
    with pytest.raises(ValueError, match=r"small\.png must be larger than what is cut off, 60 pixels"):
        _records.images(tmp_path)
