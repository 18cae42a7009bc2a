"""Photographs are restored in linear light by the command; what is clipped or transparent does not bleed."""

import json

import numpy as np
import pytest
from PIL import Image
from samples import but_for_clipping, lines, one_error
from skimage import data, metrics

import fastdeblur as fd
from fastdeblur.cli import main as cli
from fastdeblur.cli import psf_spec
from fastdeblur.io import files
from fastdeblur.large import plan

SPEC = "motion:18:30"


def srgb(light):
    """The standard's formula."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.fixture(scope="module")
def photograph():
    """A scene in light with highlights, and what a camera that moved makes of it."""
    image = data.astronaut()[:128, 150:310] / 255
    light = np.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)
    for row, col in np.random.default_rng(1).integers(20, 100, (4, 2)):
        light[row : row + 2, col : col + 2] = 5
    psf = psf_spec.read_psf(SPEC)
    blurred = np.stack([fd.convolve(plane, psf, boundary="reflect") for plane in np.moveaxis(light, -1, 0)], axis=-1)
    return light, np.rint(255 * srgb(blurred)).astype(np.uint8)


def deblurred(capsys, path, *words, out=None):
    """Deblur a picture into another; returns it, and the figures."""
    out = path.with_stem("out") if out is None else path.with_name(out)
    assert cli.main(["deblur", str(path), "-o", str(out), "--json", *map(str, words)]) == 0
    return files.read(out), json.loads(lines(capsys)[0][0])


def quality(light, restored):
    inner = slice(16, -16)
    return metrics.peak_signal_noise_ratio(srgb(light)[inner, inner], restored[inner, inner] / 255, data_range=1)


@pytest.mark.filterwarnings("ignore:the result may be wrong")
@pytest.mark.parametrize(("suffix", "words", "gain"), [(".png", (), 3.5), (".jpg", ("--prior", "tv"), 4)])
def test_linear_light_gains_decibels_where_a_photograph_has_highlights(
    tmp_path, capsys, photograph, suffix, words, gain
):
    light, seen = photograph
    assert (seen == 255).any()
    Image.fromarray(seen).save(tmp_path / f"a{suffix}", **({"quality": 98} if suffix == ".jpg" else {}))
    restored, figures = deblurred(capsys, tmp_path / f"a{suffix}", "--psf", SPEC, *words)
    assert figures["transfer"] == "srgb"
    encoded, figures = deblurred(capsys, tmp_path / f"a{suffix}", "--psf", SPEC, *words, "--transfer", "linear")
    assert figures["transfer"] == "linear"
    assert quality(light, restored) > quality(light, encoded) + gain


@pytest.mark.filterwarnings("ignore:the result may be wrong")
def test_a_photograph_is_what_the_library_does_in_light(tmp_path, capsys, photograph):
    seen = photograph[1][:40, :48]
    Image.fromarray(seen).save(tmp_path / "a.png")
    restored, _ = deblurred(capsys, tmp_path / "a.png", "--psf", "gaussian:5:1", "--mu", 0.05)
    light = np.array([srgb_light(v / 255) for v in range(256)], np.float32)[seen]
    weights = (seen < 255).all(axis=-1).astype(np.float32)
    psf = psf_spec.read_psf("gaussian:5:1")
    options = {"mu": 0.05, "channel_axis": -1}
    wanted = fd.deblur(light, psf, weights=weights, bounds=(0, None), **options)
    assert np.abs(restored - 255 * srgb(wanted)).max() <= 1

    # What the user says otherwise holds.
    restored, _ = deblurred(
        capsys, tmp_path / "a.png", "--psf", "gaussian:5:1", "--mu", 0.05, "--saturated", "none", "--bounds", "none",
        "none",
    )  # fmt: skip
    assert np.abs(restored - 255 * srgb(fd.deblur(light, psf, **options))).max() <= 1
    restored, _ = deblurred(
        capsys, tmp_path / "a.png", "--psf", "gaussian:5:1", "--mu", 0.05, "--saturated", 0.5, "--solver", "exact"
    )
    wanted = fd.deblur(light, psf, weights=(light < 0.5).astype(np.float32), **options)
    assert np.abs(restored - 255 * srgb(wanted)).max() <= 1


def srgb_light(value):
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


@pytest.mark.filterwarnings("ignore:the result may be wrong")
def test_tiles_of_a_photograph_are_what_the_library_does_in_light(tmp_path, capsys, monkeypatch, photograph):
    monkeypatch.setattr(plan, "CODE", 0)
    seen = np.tile(photograph[1], (2, 1, 1))
    Image.fromarray(seen).save(tmp_path / "a.png")
    words = ["--psf", "gaussian:3:0.7", "--mu", 0.02, "--prior", "tv", "--max-iter", 10, "--max-memory", "4MB"]
    found, figures = deblurred(capsys, tmp_path / "a.png", *words)
    assert figures["tiles"] > 1
    assert figures["transfer"] == "srgb"
    light = np.array([srgb_light(v / 255) for v in range(256)], np.float32)[seen]
    weights = np.repeat((seen < 255).all(axis=-1, keepdims=True), 3, axis=-1).astype(np.float32)
    options = {"weights": weights, "bounds": (0, None), "mu": 0.02, "prior": "tv", "max_iter": 10}
    psf = psf_spec.read_psf("gaussian:3:0.7")
    wanted = fd.deblur_large(light, psf, channel_axis=-1, tile=figures["tile"], **options)
    assert np.abs(found - 255 * srgb(wanted)).max() <= 1


@pytest.mark.filterwarnings("ignore:the result may be wrong", "ignore:halo of")
def test_tiles_of_a_shaken_photograph_gain_as_much_from_linear_light(tmp_path, capsys, monkeypatch):
    """Highlights clipped, in a JPEG: whole, in tiles and by the library, against values taken for light."""
    monkeypatch.setattr(plan, "CODE", 0)
    light = srgb_lights(data.astronaut()[:128, 20:500].mean(axis=-1))
    for row, col in np.random.default_rng(1).integers((20, 20), (100, 440), (12, 2)):
        light[row : row + 2, col : col + 2] = 5
    psf = psf_spec.read_psf(SPEC)
    seen = np.rint(255 * srgb(fd.convolve(light, psf, boundary="reflect"))).astype(np.uint8)
    Image.fromarray(seen).save(tmp_path / "a.jpg", quality=98)
    words = ["--psf", SPEC, "--prior", "tv", "--max-iter", 60]
    tiled = ["--max-memory", "5MB"]
    found = {
        name: deblurred(capsys, tmp_path / "a.jpg", *words, *more, out=f"{name}.png")
        for name, more in {"whole": [], "tiles": tiled, "encoded": [*tiled, "--transfer", "linear"]}.items()
    }
    assert [found[name][1].get("tiles", 1) > 1 for name in found] == [False, True, True]
    whole, tiles, encoded = (quality(light, restored) for restored, _ in found.values())
    assert min(whole, tiles) > encoded + 6
    assert abs(whole - tiles) < 0.3
    given = files.read(tmp_path / "a.jpg")
    options = {"weights": (given < 255).astype(np.float32), "bounds": (0, None), "prior": "tv", "max_iter": 60}
    decoded = srgb_lights(given).astype(np.float32)
    wanted = fd.deblur_large(decoded, psf, tile=found["tiles"][1]["tile"], **options)
    assert np.abs(found["tiles"][0] - 255 * srgb(wanted)).max() <= 1


def srgb_lights(values):
    """What 8 bits stand for."""
    return np.vectorize(srgb_light)(values / 255)


def test_starts_and_backgrounds_are_decoded_weights_are_not(tmp_path, capsys, photograph):
    seen = photograph[1][:40, :48, 0]
    Image.fromarray(seen).save(tmp_path / "a.png")
    Image.fromarray(255 - seen).save(tmp_path / "start.png")
    Image.fromarray(seen // 2 + 1).save(tmp_path / "weights.png")
    Image.fromarray(np.full_like(seen, 40)).save(tmp_path / "sky.png")
    psf = psf_spec.read_psf("gaussian:5:1")
    light = np.array([(v / 255) ** 2 for v in range(256)], np.float32)
    words = ["--psf", "gaussian:5:1", "--transfer", 2, "--mu", 0.1, "--max-iter", 2, "--data", "squares"]
    words += ["--saturated", "none", "--weights", tmp_path / "weights.png", "--init", tmp_path / "start.png"]
    for sky in (40, tmp_path / "sky.png"):
        restored, figures = deblurred(capsys, tmp_path / "a.png", *words, "--solver", "gd", "--background", sky)
        assert figures["transfer"] == 2
        wanted = fd.deblur(
            light[seen], psf, mu=0.1, max_iter=2, data="squares", solver="gd", bounds=(0, None),
            weights=(seen // 2 + 1) / 255, init=light[255 - seen], background=float(light[40]),
        )  # fmt: skip
        assert np.abs(restored - 255 * np.sqrt(wanted.clip(0, 1))).max() <= 1


@pytest.mark.parametrize("curve", ["sRGB", "0", "-2", "inf", "nan", "auto "])
def test_curves_that_do_not_exist_are_refused(capsys, curve):
    with pytest.raises(SystemExit):
        cli.main(["deblur", "a.png", "--psf", "box:3", "-o", "b.png", "--transfer", curve])
    assert "must be auto, srgb, linear or a number above 0" in lines(capsys)[1][-1]


def magenta():
    """A gray square on nothing, which has the colour magenta."""
    image = np.zeros((40, 48, 4), np.uint8)
    image[..., :3] = 255, 0, 255
    image[10:30, 12:36] = 120, 120, 120, 255
    image[15:20, 20:30, :3] = 60
    return image


@pytest.mark.filterwarnings("ignore:the result may be wrong")
@pytest.mark.parametrize(("suffix", "memory"), [(".png", "1GB"), (".webp", "1GB"), (".png", "4MB")])
def test_transparent_pixels_do_not_bleed(tmp_path, capsys, monkeypatch, suffix, memory):
    if memory != "1GB":
        monkeypatch.setattr(plan, "CODE", 0)
    image = np.tile(magenta(), (1, 1, 1) if memory == "1GB" else (3, 4, 1))
    files.write(tmp_path / f"a{suffix}", image, alpha=True)
    words = ["--psf", "box:3", "--mu", 0.05, "--prior", "tv", "--max-iter", 5, "--max-memory", memory]
    restored, figures = deblurred(capsys, tmp_path / f"a{suffix}", *words)
    assert ("tiles" in figures) == (memory != "1GB")
    clear = image[..., 3] == 0
    np.testing.assert_array_equal(restored[clear], image[clear])
    np.testing.assert_array_equal(restored[..., 3], image[..., 3])
    spread = restored[~clear][:, :3].astype(int)
    assert np.ptp(spread, axis=1).max() <= 2  # gray as it was
    filled, _ = deblurred(capsys, tmp_path / f"a{suffix}", *words, "--fill")
    assert np.ptp(filled[..., :3].astype(int), axis=-1).max() <= 2
    # And in the library, where the alpha is the weights.
    light = fd.transfer.decode(image[..., :3])
    options = {"mu": 0.05, "prior": "tv", "max_iter": 5, "bounds": (0, None), "channel_axis": -1}
    options["weights"] = (~clear).astype(light.dtype)
    if memory == "1GB":
        wanted = fd.deblur(light, fd.psf.box(3), **options)
    else:
        wanted = fd.deblur_large(light, fd.psf.box(3), tile=figures["tile"], **options)
    assert np.abs(filled[..., :3] - 255 * srgb(wanted))[~clear].max() <= 1


def test_a_picture_that_is_wholly_clipped_is_restored_as_it_is(tmp_path, capsys):
    Image.fromarray(np.full((20, 24, 3), 255, np.uint8)).save(tmp_path / "a.png")
    restored, _ = deblurred(capsys, tmp_path / "a.png", "--psf", "box:3", "--mu", 0.1)
    np.testing.assert_array_equal(restored, 255)


def test_the_line_says_what_was_done_and_one_what_was_lost(tmp_path, capsys):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(np.random.default_rng(0).integers(50, 200, (20, 24, 3), np.uint8))
    picture.save(tmp_path / "a.jpg", exif=exif, comment=b"spots")
    words = ["deblur", tmp_path / "a.jpg", "--psf", "box:1", "--mu", 0.1, "-o"]
    assert cli.main([*map(str, [*words, tmp_path / "b.webp"])]) == 0
    out, err = but_for_clipping(lines(capsys))
    assert out[0].endswith(" s; transfer srgb; turned as its orientation 6 says")
    assert err == [
        f"fastdeblur: warning: {tmp_path / 'b.webp'} does not keep the description: WebP has no place for that"
    ]
    assert files.read(tmp_path / "b.webp").shape == (24, 20, 3)
    with Image.open(tmp_path / "b.webp") as written:
        assert written.getexif()[0x0112] == 1


def test_all_transparent_pictures_have_nothing_to_restore(tmp_path, capsys):
    files.write(tmp_path / "a.png", np.zeros((20, 24, 4), np.uint8), alpha=True)
    said = one_error(capsys, "deblur", tmp_path / "a.png", "--psf", "box:3", "-o", tmp_path / "b.png")
    assert "must leave some pixel" in said


@pytest.mark.filterwarnings("ignore:the result may be wrong")
@pytest.mark.parametrize("once", [(), ("--mu", "auto-once")])
def test_channels_are_one_problem_or_each_its_own(tmp_path, capsys, once):
    random = np.random.default_rng(3)
    psf = psf_spec.read_psf("gaussian:5:1")
    sharp = random.random((6, 8, 3)).repeat(5, 0).repeat(5, 1)
    planes = [fd.convolve(sharp[..., k], psf, boundary="reflect") for k in range(3)]
    pages = np.stack([np.stack(planes, axis=-1)] * 2) + 0.01 * random.standard_normal((2, 30, 40, 3)) * [1, 2, 9]
    np.save(tmp_path / "a.npy", pages)
    weights = 1 + random.random((30, 40, 3))
    np.save(tmp_path / "w.npy", weights)
    words = ["deblur", tmp_path / "a.npy", "--stack", "--psf", "gaussian:5:1", "-o", tmp_path / "b.npy", *once]
    words += ["--weights", tmp_path / "w.npy", "--prior", "tv", "--max-iter", "5"]
    mus = {}
    for way in ("joint", "separate"):
        assert cli.main([*map(str, [*words, "--channels", way, "--json"])]) == 0
        figures = json.loads(lines(capsys)[0][0])["pages"]
        mus[way] = [page["mu"] for page in figures]
        found = np.load(tmp_path / "b.npy")
        for number, (page, restored) in enumerate(zip(pages, found, strict=True)):
            if way == "joint":
                mu = mus[way][0] if once and number else "auto"
                wanted = fd.deblur(page, psf, mu=mu, weights=weights, channel_axis=-1, prior="tv", max_iter=5)
            else:
                mu = mus[way][0] if once and number else ["auto"] * 3
                wanted = np.stack(
                    [
                        fd.deblur(page[..., k], psf, mu=mu[k], weights=weights[..., k], prior="tv", max_iter=5)
                        for k in range(3)
                    ],
                    axis=-1,
                )
                assert [channel["mu"] for channel in figures[number]["channels"]] == mus[way][number]
            np.testing.assert_allclose(restored, wanted, atol=1e-9)
    assert len(set(mus["separate"][0])) == 3
    assert cli.main([*map(str, [*words, "--channels", "separate"])]) == 0
    assert "2 pages" in lines(capsys)[0][0]
