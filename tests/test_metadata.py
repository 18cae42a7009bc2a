"""What files say beside their pixels is kept, and what has no place in a format is named."""

import numpy as np
import pytest
from PIL import Image, ImageCms
from samples import noise

from fastdeblur.io import files
from fastdeblur.io.metadata import Metadata

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


def test_what_a_format_has_no_place_for_is_named():
    metadata = Metadata("TIFF", icc=PROFILE, xmp=XMP, own=object(), own_words=("GeoTIFF keys",), unread=("thumbnails",))
    assert metadata.lost("NPY") == ["the colour profile (ICC)", "XMP", "GeoTIFF keys", "thumbnails"]
    assert metadata.lost("JPEG") == ["GeoTIFF keys", "thumbnails"]
    assert "GeoTIFF keys" not in metadata.lost("TIFF")
    assert Metadata("PNG").lost("NPY") == []


@pytest.mark.parametrize("suffix", [".jpg"])
def test_what_is_written_beside_the_pixels_is_read_by_others(tmp_path, suffix):
    exif = Image.Exif()
    exif[271] = "camera"
    files.write(
        tmp_path / f"image{suffix}",
        noise((20, 30, 3), "u1"),
        Metadata("TIFF", icc=PROFILE, exif=exif.tobytes(), xmp=XMP, dpi=(300, 200)),
    )
    with Image.open(tmp_path / f"image{suffix}") as picture:
        assert picture.info["icc_profile"] == PROFILE
        assert picture.info["xmp"] == XMP
        assert picture.info["dpi"] == pytest.approx((300, 200), abs=0.02)
        assert dict(picture.getexif()) == {271: "camera"}
        assert np.array(picture).shape == (20, 30, 3)
