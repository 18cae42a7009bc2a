"""Pages, and channels by themselves, tile by tile: what each is alone, in one file that is written whole."""

import json

import numpy as np
import pytest
import tifffile
from samples import but_for_clipping, lines, noise, one_error

import fastdeblur as fd
from fastdeblur.cli import deblur, deblur_tiled
from fastdeblur.cli import main as cli
from fastdeblur.io import files
from fastdeblur.large import plan

fits = pytest.importorskip("astropy.io.fits")
zarr = pytest.importorskip("zarr")

PSF = fd.psf.gaussian(3, 0.7)
WORDS = ["--psf", "gaussian:3:0.7", "--prior", "tv", "--mu", "0.01", "--max-iter", "2", "--tol", "0", "--workers", "1"]
WORDS += ["--transfer", "linear", "--json"]
CUBE = noise((3, 40, 46), "f4")


@pytest.fixture
def tiles(monkeypatch):
    """Nothing is found to fit, and a tile is as large as the image: it is what `solve` makes of it."""
    monkeypatch.setattr(plan, "CODE", 0)

    def now():
        monkeypatch.setattr(deblur, "_fits", lambda *_: False)

    return now


def run(capsys, image, out, *words):
    assert cli.main(["deblur", str(image), "-o", str(out), *WORDS, *map(str, words)]) == 0
    (said,), err = but_for_clipping(lines(capsys))
    return json.loads(said), err


def stack_in(path):
    """The same stack in a file of a kind."""
    hdus = {"plain.fits": fits.ImageHDU, "plain.fits.gz": fits.ImageHDU, "packed.fits": fits.CompImageHDU}
    if path.name in hdus:
        packing = {"compression_type": "GZIP_2", "quantize_level": 0.0, "tile_shape": (1, 16, 16)}
        given = packing if path.name == "packed.fits" else {}
        fits.HDUList([fits.PrimaryHDU(), hdus[path.name](CUBE, name="SCI", **given)]).writeto(path)
    elif path.suffix == ".npy":
        np.save(path, CUBE)
    elif path.suffix == ".zarr":
        zarr.create_array(store=str(path), shape=CUBE.shape, dtype="f4", chunks=(2, 16, 16))[...] = CUBE
    else:
        tifffile.imwrite(path, CUBE, photometric="minisblack", compression="zlib" if path.name == "zip.tif" else None)
    return path


@pytest.mark.parametrize(
    "name", ["plain.fits", "plain.fits.gz", "packed.fits", "a.npy", "a.zarr", "zip.tif", "contiguous.tif"]
)
def test_pages_in_tiles_equal_pages_at_once(tmp_path, capsys, tiles, name):
    source = stack_in(tmp_path / name)
    words = ["--stack"] if source.suffix in (".npy", ".zarr") else []
    run(capsys, source, tmp_path / f"whole.{name}", *words)
    tiles()
    figures, _ = run(capsys, source, tmp_path / f"tiles.{name}", *words)
    assert figures["shape"] == [3, 40, 46]
    assert [image["tiles"] for image in figures["images"]] == [1, 1, 1]
    found, whole = (pages(tmp_path / f"{each}.{name}", words) for each in ("tiles", "whole"))
    np.testing.assert_array_equal(found, whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"tiles.{name}", f"whole.{name}"])


def pages(path, words):
    with files.opened(path, bool(words)) as source:
        return np.stack([source.page(number) for number in range(source.pages)])


@pytest.mark.parametrize(("suffix", "alpha"), [(".tif", True), (".npy", False), (".png", True), (".zarr", False)])
def test_separate_channels_in_tiles_equal_those_at_once(tmp_path, capsys, tiles, suffix, alpha):
    image = noise((40, 46, 4), "u1")
    image[..., 3] |= 1  # nothing is transparent
    source = tmp_path / f"a{suffix}"
    files.write(source, image, alpha=alpha)
    run(capsys, source, tmp_path / f"whole{suffix}", "--channels", "separate")
    tiles()
    figures, _ = run(capsys, source, tmp_path / f"tiles{suffix}", "--channels", "separate")
    assert len(figures["images"]) == 4 - alpha
    found = files.read(tmp_path / f"tiles{suffix}")
    np.testing.assert_array_equal(found, files.read(tmp_path / f"whole{suffix}"))
    assert (found[..., 3] == image[..., 3]).all() == alpha


@pytest.mark.parametrize("out", ["out.fits", "out.zarr"])
def test_a_stack_that_was_interrupted_goes_on(tmp_path, capsys, tiles, monkeypatch, out):
    source = stack_in(tmp_path / "plain.fits")
    run(capsys, source, tmp_path / "whole.fits")
    tiles()
    write, written = deblur_tiled.Stored.write, []

    def interrupted(self, *arguments):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(write(self, *arguments))

    monkeypatch.setattr(deblur_tiled.Stored, "write", interrupted)
    assert cli.main(["deblur", str(source), "-o", str(tmp_path / out), *WORDS]) == 130
    assert not (tmp_path / out).exists()
    monkeypatch.setattr(deblur_tiled.Stored, "write", write)
    capsys.readouterr()
    other = ["deblur", source, "-o", tmp_path / out, *WORDS, "--max-iter", "1"]
    assert "belongs to a run that is not finished" in one_error(capsys, *other)
    figures, _ = run(capsys, source, tmp_path / out)
    assert [image["resumed"] for image in figures["images"]] == [1, 1, 0]
    found = pages(tmp_path / out, ["--stack"] if out.endswith("zarr") else [])
    np.testing.assert_array_equal(found, pages(tmp_path / "whole.fits", []))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("how", ["whole", "tiles"])
def test_one_psf_for_each_channel_whose_planes_are_pages(tmp_path, capsys, tiles, how):
    image = noise((2, 3, 40, 46), "f4")
    np.save(tmp_path / "a.npy", image)
    psfs = np.stack([fd.psf.gaussian(3, sigma) for sigma in (0.5, 0.7, 0.9)])
    tifffile.imwrite(tmp_path / "psf.tif", psfs, photometric="minisblack")
    if how == "tiles":
        tiles()
    run(capsys, tmp_path / "a.npy", tmp_path / "out.npy", "--axes", "TCYX", "--psf", tmp_path / "psf.tif")
    found = np.load(tmp_path / "out.npy")
    for t, c in np.ndindex(2, 3):
        wanted = fd.deblur(image[t, c], psfs[c], prior="tv", mu=0.01, max_iter=2, tol=0)
        np.testing.assert_allclose(found[t, c], wanted, atol=2e-5)
    words = ["deblur", tmp_path / "a.npy", "-o", tmp_path / "out.npy", *WORDS, "--psf", tmp_path / "psf.tif"]
    said = one_error(capsys, *words, "--axes", "CTYX")
    assert "a page for each of the image's 2 channels; it has 3 pages" in said


def test_axes_of_cubes_and_groups(tmp_path, capsys):
    """Letters hold whatever the file says; those of a group are written into it."""
    stack_in(tmp_path / "plain.fits")
    figures, err = run(capsys, tmp_path / "plain.fits", tmp_path / "out.npy", "--axes", "ZYX")
    assert figures["notes"] == ["HDU 1 (SCI)", "planes one by one: depth stays blurred"]
    assert "axes must be one letter for each of the 3 axes" in one_error(
        capsys, "deblur", tmp_path / "plain.fits", "-o", tmp_path / "o.npy", *WORDS, "--axes", "YX"
    )
    said = {"multiscales": [{"version": "0.4", "axes": [{"name": name} for name in "zyx"],
            "datasets": [{"path": "0"}]}]}  # fmt: skip
    zarr.open_group(str(tmp_path / "g.zarr"), mode="w", zarr_format=2, attributes=said)
    zarr.create_array(store=str(tmp_path / "g.zarr/0"), shape=CUBE.shape, dtype="f4", zarr_format=2)[...] = CUBE
    figures, err = run(capsys, tmp_path / "g.zarr", tmp_path / "out.zarr", "--axes", "CYX")
    assert (figures["shape"], figures["notes"], err) == ([3, 40, 46], [], [])
    group = zarr.open_group(str(tmp_path / "out.zarr"), mode="r")
    (scales,) = group.attrs["multiscales"]
    assert scales["axes"] == [{"name": "c", "type": "channel"}, {"name": "y"}, {"name": "x"}]
    np.testing.assert_array_equal(group["0"][...], np.load(tmp_path / "out.npy"))


@pytest.mark.parametrize("name", ["packed.fits", "plain.fits.gz"])
def test_the_library_reads_compressed_hdus_and_files_in_parts(tmp_path, name):
    options = {"prior": "tv", "mu": 0.01, "max_iter": 2, "tol": 0, "tile": 20, "halo": 8, "workers": 1}
    packing = {"compression_type": "GZIP_2", "quantize_level": 0.0, "tile_shape": (16, 16)}
    hdu = fits.CompImageHDU(CUBE[0], **packing) if name == "packed.fits" else fits.ImageHDU(CUBE[0])
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / name)
    found = fd.deblur_large(tmp_path / name, PSF, tmp_path / "out.fits.gz", **options)
    np.testing.assert_array_equal(found, fd.deblur_large(CUBE[0], PSF, **options))
    np.testing.assert_array_equal(fits.getdata(tmp_path / "out.fits.gz"), found)
    assert (tmp_path / "out.fits.gz").read_bytes()[:2] == b"\x1f\x8b"


def test_a_gzip_that_cannot_hold_what_it_says_is_refused(tmp_path):
    import gzip

    head = fits.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", 10**6), ("NAXIS2", 10**6)])
    (tmp_path / "lies.fits.gz").write_bytes(gzip.compress(head.tostring().encode() + bytes(10**6)))
    (tmp_path / "half.fits.gz").write_bytes(gzip.compress(head.tostring().encode())[:-60])
    (tmp_path / "none.fits.gz").write_bytes(b"not gzip")
    for name, message in (("lies", "truncated, or damaged"), ("half", "damaged|gzip|end"), ("none", "gzip|damaged")):
        with pytest.raises(ValueError, match=rf"cannot read .*{name}.fits.gz: .*({message})"):
            files.opened(tmp_path / f"{name}.fits.gz").__enter__()
