"""Every format into every other: what it says is carried over or named in the one line of what is lost."""

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, PngImagePlugin
from samples import noise
from sweeps import sweep

from fastdeblur.io import files
from fastdeblur.io.metadata import Metadata

fits = pytest.importorskip("astropy.io.fits")
zarr = pytest.importorskip("zarr")

GRAY, RGB = noise((20, 24), "u1"), noise((20, 24, 3), "u1")
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
SAID = {"icc_profile": PROFILE, "xmp": XMP, "dpi": (300, 300)}


def exif():
    made = Image.Exif()
    made[271], made[306], made[315] = "maker", "2020:01:02 03:04:05", "an artist"
    return made


def png(path):
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "somebody")
    text.add_text("Description", "a cat")
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    Image.fromarray(RGB).save(path, pnginfo=text, exif=exif(), **{**SAID, "xmp": None})


def tiff(path):
    tags = [(315, "s", 0, "an artist", True), (700, 1, len(XMP), XMP, True), (42112, "s", 0, "<GDALMetadata/>", True)]
    tags += [(42113, "s", 0, "7", True), (33550, "d", 3, (1.0, 1.0, 0.0), True)]
    tifffile.imwrite(path, RGB, photometric="rgb", metadata=None, description="a cat", iccprofile=PROFILE,
                     resolution=(300, 300), resolutionunit=2, extratags=tags)  # fmt: skip


def microscope(path):
    tifffile.imwrite(path, GRAY, ome=True, resolution=(3e4, 3e4), resolutionunit=3, metadata={"PhysicalSizeX": 0.3})


def several(path):
    header = fits.Header([("OBJECT", "M 31"), ("EXPTIME", 3.0)])
    fits.HDUList([fits.PrimaryHDU(GRAY, header), fits.ImageHDU(np.eye(3))]).writeto(path)


def group(path):
    said = {"multiscales": [{"version": "0.4", "axes": [{"name": name} for name in "yx"], "datasets": [{"path": "0"}]}]}
    zarr.open_group(str(path), mode="w", zarr_format=2, attributes=said)
    zarr.create_array(store=str(path / "0"), shape=GRAY.shape, dtype="u1", zarr_format=2)[...] = GRAY


WORDS = ["PNG", "JPEG", "WebP", "BMP", "TIFF", "FITS", "NPY", "Zarr"]
OUT = dict(zip(WORDS, ("png", "jpg", "webp", "bmp", "tif", "fits", "npy", "zarr"), strict=True))
# For each kind of source what each format loses of it, in the order of WORDS.
PLAIN = "the colour profile (ICC), EXIF, XMP, the resolution in dpi"
LOST = {
    "a.png": (png, {"JPEG": "", "TIFF": "", "WebP": "the resolution in dpi, text, the description",
                    "BMP": "the colour profile (ICC), EXIF, XMP, text, the description", "FITS": PLAIN,
                    "NPY": f"{PLAIN}, text, the description"}),
    "a.jpg": (lambda path: Image.fromarray(RGB).save(path, exif=exif(), comment=b"a cat", **SAID),
              {"PNG": "", "TIFF": "", "WebP": "the resolution in dpi, the description",
               "BMP": "the colour profile (ICC), EXIF, XMP, the description", "FITS": PLAIN,
               "NPY": f"{PLAIN}, the description"}),
    "a.webp": (lambda path: Image.fromarray(RGB).save(path, lossless=True, exif=exif(), icc_profile=PROFILE, xmp=XMP),
               {"PNG": "", "JPEG": "", "TIFF": "", "BMP": "the colour profile (ICC), EXIF, XMP",
                "FITS": "the colour profile (ICC), EXIF, XMP", "NPY": "the colour profile (ICC), EXIF, XMP"}),
    "a.bmp": (lambda path: Image.fromarray(RGB).save(path, dpi=(300, 300)),
              {"PNG": "", "JPEG": "", "TIFF": "", "WebP": "the resolution in dpi", "FITS": "the resolution in dpi",
               "NPY": "the resolution in dpi"}),
    "a.tif": (tiff, {kind: ", ".join(filter(None, [words, "the georeference, GDAL's metadata, the no-data value"]))
                     for kind, words in {"PNG": "", "JPEG": "", "WebP": "the resolution in dpi, the description",
                                         "BMP": "the colour profile (ICC), EXIF, XMP, the description", "FITS": PLAIN,
                                         "NPY": f"{PLAIN}, the description"}.items()}),
    "a.ome.tif": (microscope, {"PNG": "OME-XML", "JPEG": "the resolution in dpi, OME-XML",
                               "WebP": "the resolution in dpi, OME-XML",
                               "BMP": "OME-XML", "FITS": "the resolution in dpi, OME-XML",
                               "NPY": "the resolution in dpi, OME-XML"}),
    "a.fits": (several, {"PNG": "other HDUs", "JPEG": "other HDUs", "TIFF": "other HDUs",
                         "WebP": "the description, the FITS header, other HDUs",
                         "BMP": "the description, the FITS header, other HDUs",
                         "NPY": "the description, the FITS header, other HDUs"}),
    "a.npy": (lambda path: np.save(path, GRAY), dict.fromkeys(WORDS, "")),
    "a.zarr": (group, dict.fromkeys(WORDS, "the axes and attributes of OME-Zarr") | {"Zarr": ""}),
}  # fmt: skip


NAMES = {
    "icc": "the colour profile (ICC)", "xmp": "XMP", "description": "the description", "header": "the FITS header",
    "dpi": "the resolution in dpi", "exif": "EXIF",
}  # fmt: skip


@sweep(source=LOST, to=WORDS)
def test_what_is_not_kept_is_named(tmp_path, source, to):
    save, lost = LOST[source]
    save(tmp_path / source)
    out = tmp_path / f"out.{OUT[to]}"
    with files.opened(tmp_path / source) as opened:
        said = opened.metadata or Metadata("NPY")
        expected = lost.get(to, lost.get("NPY", "") if to == "Zarr" else "")
        assert ", ".join(files.lost(said, out, opened.full_shape, opened.dtype)) == expected
        if to == "WebP" and opened.shape[2:] != (3,):  # which has colours only
            return
        files.write(out, opened.page(0), said)
    with files.opened(out) as opened:  # and what is not named is there
        found = opened.metadata or Metadata("NPY")
    told = [str(found.description), *found.text.values(), *found.header, *comments(out)]
    for name in [name for name in NAMES if getattr(said, name) and NAMES[name] not in expected]:
        before, after = getattr(said, name), getattr(found, name)
        if name == "description":
            assert any(before in text for text in told)
        elif name == "exif":
            assert b"an artist" in after
        else:
            assert after == pytest.approx(before, rel=0.01) if name == "dpi" else after == before
    for text in said.text.values():
        assert "text" in expected or any(text in each for each in told)


def comments(path):
    return map(str, fits.getheader(path).get("COMMENT", [])) if path.suffix == ".fits" else []
