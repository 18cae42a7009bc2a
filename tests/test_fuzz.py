"""Some of the fuzzer's cases; `python tests/fuzz.py` goes through thousands."""

import fuzz
import pytest


@pytest.mark.parametrize("first", range(0, 120, 30))
def test_hostile_numbers(first):
    wrong, refused = fuzz.run(first, 30)
    assert not wrong
    assert sum(refused.values()) < 15
