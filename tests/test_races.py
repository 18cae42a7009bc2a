"""Two runs on one output at the same time; `races.py` has more of them."""

import sys

import pytest
import races

pytest.importorskip("zarr")


@pytest.mark.skipif(sys.platform == "win32", reason="moves what is there as POSIX can")
@pytest.mark.parametrize(("kind", "count"), [("threads", 8), ("processes", 2)])
def test_one_run_writes_and_the_other_is_refused(kind, count):
    ended = list(races.races(kind, count, seed=1))
    assert len(ended) == count
    assert [(what, wrong) for what, wrong in ended if wrong] == []
