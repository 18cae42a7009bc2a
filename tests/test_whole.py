"""Files are written whole or not at all."""

import os
import sys

import numpy as np
import pytest

from fastdeblur.io import files
from fastdeblur.io.atomic import atomic_file


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_file_is_written_whole_or_not_at_all(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail():
        with atomic_file(path) as file:
            file.write(b"half")
            file.flush()
            assert path.read_bytes() == b"old"
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]
    with atomic_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_that_cannot_take_its_place_vanishes(tmp_path, monkeypatch):
    def refuse(source, target):
        assert os.path.dirname(source) == os.path.dirname(target)
        raise PermissionError("no")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match=r"cannot write .*image\.png: no"):
        files.write(tmp_path / "image.png", np.zeros((2, 2), np.uint8))
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="modes and links as POSIX has them")
def test_modes_and_links_are_kept(tmp_path):
    image = np.zeros((2, 2), np.uint8)
    path, link = tmp_path / "image.png", tmp_path / "link.png"
    umask = os.umask(0o022)
    try:
        files.write(path, image)
    finally:
        os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o644
    path.chmod(0o604)
    link.symlink_to("image.png")
    files.write(link, image + 9)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o604
    np.testing.assert_array_equal(files.read(path), image + 9)
