"""Errors of compression by blocks, as JPEG's: their size, from steps between blocks, and their power spectrum.

A coder that quantises the frequencies of blocks puts about the same error into each of which it keeps something, and
of the others loses what there was: as much as there is, or the same for all, whichever is less [1]_.  A blurred
image has little at high frequencies, so that the errors are where its signal is, and next to none shows beyond.  But
blocks are coded one by one, and their errors show as steps where they meet.

References
----------
.. [1] T. Berger, "Rate Distortion Theory", Prentice-Hall, 1971: reverse water-filling.
"""

from __future__ import annotations

import math

import numpy as np

from ..kernels.runtime.arrays import on_host

# Side of a block, and of the part of an image in which steps are looked for.
SIDE, PART = 8, 512
# An image has blocks if the step's square is more than that of the differences elsewhere, along both axes, by a
# SHARE of that and by CLEAR times what the latter vary by.
SHARE, CLEAR = 0.08, 5.0
# Steps are the contents' own, but for what is unlike these, if that is less than a share of OWN of their squares.  (Of
# pictures of squares of 8 and 16 pixels, after six psfs, at most 0.15 is, but for squares of 16 after a disk of radius
# 5; of JPEGs of fifteen photographs at least 0.44 in quality 50, 0.5 in 75 but for three in a hundred, and 0.62 in 90.)
OWN = 0.4
# The square of a step over the errors' variance at low frequencies, by how much more it is for the square of a radian
# a pixel, and at most.  (Of ten photographs, four psfs and the qualities 50, 75, 90 and 95 of JPEG, what the solution
# would have of the errors is estimated to 0.85 to 1.4 times in nine of ten, and is at least 0.65 times; 0.7 to 1.1, and
# 0.4, without.)
STEP, STEEPER, MOST_STEP = 2.5, 4.0, 9.0


def step_between_blocks(planes: np.ndarray) -> float:
    """The mean square of the steps between blocks, 0 if there are none; in the image's units, squared.

    Where a block begins is found for each plane: they may be parts of an image.
    """
    rows, cols = planes.shape[1:]
    if min(rows, cols) < 4 * SIDE:
        return 0.0
    top, left = max(rows - PART, 0) // 2, max(cols - PART, 0) // 2
    found = []
    for plane in on_host(planes[:, top : top + PART, left : left + PART]).astype(np.float64):
        down = _step(plane)
        across = _step(np.ascontiguousarray(plane.T)) if down > 0 else 0.0
        found.append((down + across) / 2 if across > 0 else 0.0)
    return float(np.mean(found))


def _step(plane: np.ndarray) -> float:
    """Along the first axis; the mean length is squared, of which edges are less than of the squares' mean."""
    # A step between two pixels, of lines through those beside it.
    across, around = plane[2:-1] - plane[1:-2], plane[3:] - plane[:-3]
    across *= 1.5
    around *= 0.5
    across -= around
    step, clear = _beyond_others(across)
    if not clear:
        return 0.0
    unlike, still_clear = _beyond_others(_unlike_contents(across, plane))
    if unlike > OWN * step:
        return step
    return unlike if still_clear else 0.0


def _beyond_others(steps: np.ndarray) -> tuple[float, bool]:
    """What the place of eight that has the longest steps has more than the others, in squares, and whether clearly."""
    lengths = np.abs(steps).mean(axis=1)
    place = np.arange(len(lengths)) % SIDE
    squares = (np.bincount(place, lengths) / np.bincount(place)) ** 2
    most = int(squares.argmax())
    others = np.roll(squares, -most)[2:-1]  # but those that see the step too
    usual = sorted(others.tolist())[len(others) // 2]
    step = float(squares[most]) - usual
    return step, step > max(SHARE * usual, CLEAR * float(others.std()))


def _unlike_contents(steps: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """What of steps is not as the contents of the squares beside them say.

    A picture of squares whose edges lie on the blocks' borders, or an enlarged one, has steps there, too: they are in
    proportion to the differences of the squares' means, for each place of eight by one factor.  Errors are not.
    """
    sums = np.pad(plane, ((1, 0), (0, 0))).cumsum(axis=0)
    means = sums[SIDE:] - sums[:-SIDE]
    contents = means[SIDE:] - means[:-SIDE]
    rest = steps[SIDE - 2 : SIDE - 2 + len(contents)]
    for first in range(SIDE):
        step, content = rest[first::SIDE], contents[first::SIDE]
        step -= float((step * content).sum()) / max(float((content * content).sum()), 1e-300) * content
    return rest


def error_level(step: float, signal: np.ndarray, radius: np.ndarray, count: np.ndarray) -> float:
    """The power of errors whose steps have the mean square `step`, where the image has more; elsewhere it is that.

    All arrays are of classes of frequencies: the image's power spectrum, `radius` in radians a pixel, and `count` how
    many there are of each.
    """
    if not step > 0:
        return 0.0
    share = count / count.sum() * np.minimum(STEP + STEEPER * radius**2, MOST_STEP)
    # In the order of the image's power, all of what comes before is lost.
    order = np.argsort(signal)
    lost = np.concatenate([[0.0], np.cumsum((share * signal)[order])])
    kept = share.sum() - np.concatenate([[0.0], np.cumsum(share[order])])
    at = int(np.searchsorted(lost[:-1] + kept[:-1] * signal[order], step))
    return math.inf if at == len(order) else float((step - lost[at]) / kept[at])
