"""Sweeps over several parameters, of which the quick run has a few cases that miss nothing."""

import collections
import itertools

import pytest


def sweep(pairs=False, **values):
    """A decorator like ``pytest.mark.parametrize`` for all combinations of some parameters' values.

    Each value, and with `pairs` each pair of values of two parameters, is in a case of the quick run; the others run
    with --long.
    """
    cases = list(itertools.product(*[range(len(each)) for each in values.values()]))
    quick = _covering(cases, 2 if pairs else 1)
    lists = [list(each) for each in values.values()]
    return pytest.mark.parametrize(
        list(values),
        [
            pytest.param(
                *[list_[k] for list_, k in zip(lists, case, strict=True)],
                marks=() if case in quick else pytest.mark.long,
            )
            for case in cases
        ],
    )


def few(values, quick):
    """A parameter's values, all but the quick ones marked as long."""
    assert all(value in values for value in quick)
    return [value if value in quick else _long(value) for value in values]


def _long(value):
    values = value if isinstance(value, tuple) else (value,)
    return pytest.param(*values, marks=pytest.mark.long)


def _covering(cases, together):
    """Few of the cases, but such that each `together` values that are in a case are in one of these."""

    def parts(case):
        return set(itertools.combinations(enumerate(case), min(together, len(case))))

    left, covering = set().union(*map(parts, cases)), set()
    used = collections.Counter()  # so that all values come about as often
    while left:
        best = max(cases, key=lambda case: (len(parts(case) & left), -sum(used[part] for part in enumerate(case))))
        covering.add(best)
        used.update(enumerate(best))
        left -= parts(best)
    return covering
