"""The leaderboard's protocol, on a small data set that is laid out as that of Levin et al."""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.ndimage
from skimage import color, data, io

# Beside the installed package, not before it.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from benchmarks import _levin, _scores, quality

SIDE, MARGIN = 60, 12
SHAPES = [(7, 9), (9, 7), (5, 7), (9, 9), (7, 7), (11, 9), (7, 11), (9, 5)]


def kernels():
    """Hooks, none of which looks the same when it is turned, and whose centroids are in their middles."""
    found = []
    for number, (rows, cols) in enumerate(SHAPES):
        kernel = np.zeros((rows, cols))
        kernel[rows // 2, :] = np.linspace(3, 1, cols)
        kernel[: rows // 2, (number % 2) * (cols - 1)] = 1
        found.append(_levin.fd.psf.centre(kernel / kernel.sum()))
    return found


def scenes():
    photographs = [color.rgb2gray(data.astronaut()), data.camera() / 255, data.coins() / 255, data.page() / 255]
    size = SIDE + 2 * MARGIN
    return [photograph[80 : 80 + size, 160 : 160 + size] for photograph in photographs]


def make(folder, turned=False, shift=(0, 0), **kernel_files):
    """Photographs blurred together with what is beyond the frame, in 8 bits."""
    (folder / "gt").mkdir(parents=True)
    inside = slice(MARGIN, MARGIN + SIDE)
    for scene, sharp in enumerate(scenes(), 1):
        frame = tuple(slice(MARGIN + by, MARGIN + by + SIDE) for by in shift)
        save(folder / "gt" / f"im{scene}.png", sharp[frame])
        for number, kernel in enumerate(kernels(), 1):
            blurred = scipy.ndimage.convolve(sharp, kernel, mode="nearest")[inside, inside]
            save(folder / f"im{scene}_kernel{number}_img.png", blurred)
    np.save(folder / "kernels.npy", padded([kernel[::-1, ::-1] if turned else kernel for kernel in kernels()]))
    return folder


def save(path, image):
    io.imsave(path, np.round(255 * np.clip(image, 0, 1)).astype(np.uint8), check_contrast=False)


def padded(arrays):
    """One array, with zeros below and to the right."""
    stack = np.zeros((len(arrays), 15, 15))
    for at, array in zip(stack, arrays, strict=True):
        at[: array.shape[0], : array.shape[1]] = array
    return stack


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make(tmp_path_factory.mktemp("levin") / "set")


def mean_psnr(cases):
    """Of a few cases, with the kernels that they have."""
    return np.mean([case.psnr(quality.METHODS["gradient"](case)) for case in cases[::9]])


def test_shift_is_the_best_of_all(rng):
    sharp = scipy.ndimage.gaussian_filter(rng.standard_normal((64, 60)), 2)
    restored = scipy.ndimage.shift(sharp, (2.3, -3.7), order=3, mode="nearest") + 0.01 * rng.standard_normal((64, 60))
    inner, there, shift = _scores.aligned(sharp, restored)
    np.testing.assert_array_equal(inner, sharp[15:-15, 15:-15])

    # What is to be seen `shift` further on, by an interpolation that is not ours.
    rows, cols = np.mgrid[15 : 64 - 15, 15 : 60 - 15]
    tried = np.arange(-20, 21) / 4
    errors = {}
    for down, right in itertools.product(tried, tried):
        seen = scipy.ndimage.map_coordinates(restored, [rows + down, cols + right], order=1)
        errors[down, right] = np.sum((seen - inner) ** 2)
        if (down, right) == shift:
            np.testing.assert_allclose(there, seen, atol=1e-12)
    assert shift == min(errors, key=errors.get) == (2.25, -3.75)


def test_borders_are_cut_off(rng):
    sharp = rng.random((50, 50))
    restored = sharp + 0.1 * rng.standard_normal(sharp.shape)
    case = _levin.Shifted("im1", "kernel 1", restored, np.ones((1, 1)), sharp)
    expected = -10 * np.log10(np.mean((restored - sharp)[15:-15, 15:-15] ** 2))
    ring, wide = np.full((50, 50), np.nan), np.full((50, 50), np.nan)
    ring[10:-10, 10:-10] = restored[10:-10, 10:-10]  # 5 pixels of shift are beyond the 15
    wide[15:-15, 15:-15] = sharp[15:-15, 15:-15]
    assert case._replace(sharp=wide).psnr(ring) == pytest.approx(expected)
    assert case.ssim(sharp) == pytest.approx(1)


def test_shift_of_five_pixels_is_the_largest(rng):
    sharp = rng.random((60, 60))
    assert _scores.aligned(sharp, np.roll(sharp, (5, -5), (0, 1)))[2] == (5, -5)
    assert _scores.psnr(*_scores.aligned(sharp, np.roll(sharp, (6, 0), (0, 1)))[:2]) < 20


def test_kernels_files(tmp_path):
    given, cells = kernels(), np.empty((1, 8), object)
    for at, kernel in enumerate(given):
        cells[0, at] = kernel
    named = {f"kernel{number}": kernel for number, kernel in enumerate(given, 1)}
    scipy.io.savemat(tmp_path / "cells.mat", {"kernels": cells})
    scipy.io.savemat(tmp_path / "stack.mat", {"kernels": np.moveaxis(padded(given), 0, -1), "other": 1})
    scipy.io.savemat(tmp_path / "named.mat", named)
    np.savez(tmp_path / "stack.npz", kernels=padded(given))
    np.savez(tmp_path / "named.npz", **named)
    np.save(tmp_path / "stack.npy", padded(given))
    for path in tmp_path.iterdir():
        expected = padded(given) if path.stem == "stack" else given
        for found, kernel in zip(_levin.read_kernels(path), expected, strict=True):
            np.testing.assert_array_equal(found, kernel)


@pytest.mark.parametrize("stack", [False, True], ids=["cells", "stack"])
def test_kernels_file_of_matlab_7_3(stack, tmp_path):
    h5py = pytest.importorskip("h5py")
    given, path = list(padded(kernels())) if stack else kernels(), tmp_path / "kernels.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        if stack:
            file["kernels"] = np.moveaxis(given, 0, -1).T  # MATLAB's order of axes
        else:
            cells = [file.create_dataset(f"#refs#/{at}", data=kernel.T).ref for at, kernel in enumerate(given)]
            file.create_dataset("kernels", data=np.array(cells, object)[:, None], dtype=h5py.ref_dtype)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    for found, kernel in zip(_levin.read_kernels(path), given, strict=True):
        np.testing.assert_array_equal(found, kernel)


def test_kernels_files_that_will_not_do(tmp_path):
    np.save(tmp_path / "seven.npy", padded(kernels())[:7])
    np.savez(tmp_path / "unnamed.npz", psf=padded(kernels()))
    np.save(tmp_path / "objects.npy", np.array([None] * 8, object))
    for name in ("seven.npy", "unnamed.npz", "objects.npy", "kernels.txt"):
        with pytest.raises(ValueError, match=r"kernel|allow_pickle"):
            _levin.read_kernels(tmp_path / name)


def test_kernels_are_turned_if_that_explains_the_images(folder, tmp_path):
    as_given, turning = _levin.cases(folder)
    assert not turning
    assert len(as_given) == 32
    other, turning = _levin.cases(make(tmp_path / "turned", turned=True))
    assert turning
    for one, two in zip(as_given, other, strict=True):
        np.testing.assert_allclose(one.psf, two.psf)
    wrong, turning = _levin.cases(folder, turn="yes")
    assert turning
    assert mean_psnr(as_given) > mean_psnr(wrong) + 3


@pytest.mark.long
def test_sharp_images_elsewhere_score_the_same(folder, tmp_path):
    elsewhere = _levin.cases(make(tmp_path / "elsewhere", shift=(3, -2)))[0]
    assert mean_psnr(elsewhere) == pytest.approx(mean_psnr(_levin.cases(folder)[0]), abs=0.5)
    assert not _levin.too_far(elsewhere)
    assert len(_levin.too_far(_levin.cases(make(tmp_path / "too far", shift=(7, 0)))[0])) > 20


# One of the slanted psfs takes 40 to 200 iterations, as last digits have it, where there is hardly any noise.
@pytest.mark.filterwarnings("ignore:the result may be wrong")
def test_leaderboard(folder, tmp_path, capsys):
    saved = tmp_path / "scores.json"
    methods = ["blurred", "gradient"]
    arguments = ["--levin", str(folder), "--only-levin", "--save", str(saved), "--methods", *methods]
    assert quality.main(arguments) == 0
    printed = capsys.readouterr().out
    (scores,) = json.loads(saved.read_text(encoding="utf-8")).values()
    assert len(scores) == 32 * len(methods)
    psnr = {method: [score["psnr"] for score in scores if score["method"] == method] for method in methods}
    ssim = {method: [score["ssim"] for score in scores if score["method"] == method] for method in methods}
    assert np.mean(psnr["gradient"]) > np.mean(psnr["blurred"]) + 4
    row = next(line for line in printed.splitlines() if line.startswith("gradient"))
    figures = [f"{of(values):.{digits}f}" for values, digits in ((psnr, 2), (ssim, 3))
               for values in [values["gradient"]] for of in (np.mean, min)]  # fmt: skip
    assert row.split()[1:5] == figures
    assert "32 cases" in printed


def test_what_is_missing_is_named(tmp_path, capsys):
    for arguments, missing in (([], "kernels.mat"), (["--kernels", str(tmp_path / "k.npy")], "k.npy")):
        with pytest.raises(SystemExit, match="2"):
            quality.main(["--levin", str(tmp_path), *arguments])
        assert missing in capsys.readouterr().err
