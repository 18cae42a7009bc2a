"""Some of the fuzzer's cases; `python tests/fuzz.py` goes through thousands."""

import fuzz
import pytest
from sweeps import few


@pytest.mark.parametrize("first", few([*range(0, 120, 30)], [0, 30, 60]))
def test_hostile_numbers(first):
    wrong, refused = fuzz.run(first, 30)
    assert not wrong
    assert sum(refused.values()) < 15


# Sums, squares and bounds beyond the largest number; an image of next to nothing beside its bounds.
@pytest.mark.parametrize("number", [552, 728, 836, 1176, 1885, 2369, 2935])
def test_cases_that_went_wrong(number):
    assert fuzz.run(number, 1)[0] == {}
