"""``fastdeblur demo`` and its pictures."""

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from samples import lines, one_error

from fastdeblur import api
from fastdeblur.cli import main as cli
from fastdeblur.cli import plots
from fastdeblur.io import files


def test_the_demo_is_the_notebook(tmp_path, capsys):
    assert cli.main(["demo", "--out", str(tmp_path / "a" / "b")]) == 0
    said, err = lines(capsys)
    losses = dict(re.findall(r"^step (\d+): loss (\S+)$", "\n".join(said), re.MULTILINE))
    # As TensorFlow computed them from the same start.
    golden = {"0": 65.65179, "100": 38.01583, "200": 15.294985, "300": 3.088008, "400": 2.2891011, "500": 2.1917005}
    assert {step: float(value) for step, value in losses.items()} == pytest.approx(golden, rel=1e-4)
    assert "step 0: loss 65.6518" in said
    assert "500/500" in err[-1]
    assert any(re.fullmatch(r"path: separable, \d+\.\d\d s", line) for line in said)
    assert sorted(os.listdir(tmp_path / "a" / "b")) == ["comparison.png", "loss.png", "psf.png"]


def test_a_small_demo_in_a_process_of_its_own(preloaded, tmp_path):
    script = "import runpy; runpy.run_module('fastdeblur', run_name='__main__', alter_sys=True)"
    done = preloaded.run(script, "demo", "--scale", "1/8", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower()
    assert "64x64 pixels" in done.stdout
    before, after = map(float, re.search(r"PSNR: (\S+) dB blurred, (\S+) dB restored", done.stdout).groups())
    assert after > before + 1
    for name in ("psf.png", "loss.png", "comparison.png"):
        path = tmp_path / "fastdeblur-demo" / name
        assert str(Path("fastdeblur-demo") / name) in done.stdout
        assert path.read_bytes().startswith(b"\x89PNG\r\n")
        picture = files.read(path)
        assert min(picture.shape[:2]) > 400
        assert np.ptp(picture[..., :3]) > 200
    assert sorted(os.listdir(tmp_path)) == ["fastdeblur-demo"]


def test_no_folder_for_the_demo(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(api, "solve", lambda *_, **__: pytest.fail("solved in vain"))
    (tmp_path / "file").touch()
    assert "file" in one_error(capsys, "demo", "--out", tmp_path / "file")


def test_the_demo_needs_matplotlib(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(api, "solve", lambda *_, **__: pytest.fail("solved in vain"))
    assert 'pip install "fastdeblur[plot]"' in one_error(capsys, "demo", "--out", tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_images_are_compared_on_one_scale():
    images = [("dark", np.full((4, 6), 0.1)), ("bright", np.full((4, 6), 0.9)), ("beyond", np.full((4, 6), 1.5))]
    figure = plots.comparison(images)
    panels = figure.axes[:3]
    assert [axes.get_title() for axes in panels] == ["dark", "bright", "beyond"]
    assert [axes.images[0].get_clim() for axes in panels] == [(0, 1)] * 3
    assert [axes.images[0].get_array()[0, 0] for axes in panels] == [0.1, 0.9, 1.5]


def test_a_psf_is_drawn_around_its_centre():
    axes = plots.psf(np.ones((4, 5))).axes[0]
    assert axes.images[0].get_extent() == [-2.5, 2.5, 1.5, -2.5]  # pixel (2, 2) is at (0, 0), rows count down
