"""Fields of psfs: psfs at the nodes of a grid over the image, and interpolation of scattered ones onto it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import validation

# Nodes of the grid that scattered psfs are interpolated to, along an axis: about two between neighbours, and at most.
NODES_BETWEEN, MOST_NODES = 2.0, 13
# Side of the lattice on which natural neighbours' areas are counted, and how far it goes beyond the image, in sides.
LATTICE, BEYOND = 192, 0.5
# How far a sum of weights may be from 1.
ROUNDING = 1e-4


@dataclass(frozen=True, eq=False)
class PsfField:
    """Psfs at the nodes of a grid, bilinear in between.

    Attributes
    ----------
    psfs : ndarray, shape (nodes_down, nodes_across, taps_down, taps_across)
    rows, cols : ndarray of float64
        The nodes' positions in pixels of the image, increasing, from at most 0 to at least the last pixel.
    """

    psfs: np.ndarray
    rows: np.ndarray
    cols: np.ndarray

    def weights(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """For each axis the nodes' weights at an image's pixels, nodes x pixels; they sum to 1 at each pixel."""
        down, across = (hats(at, size) for at, size in zip((self.rows, self.cols), shape, strict=True))
        return down, across

    def mean(self, shape: tuple[int, int]) -> np.ndarray:
        """The psf that images of a shape have on average."""
        down, across = (weights.mean(axis=1) for weights in self.weights(shape))
        mean: np.ndarray = np.einsum("a,c,acuv->uv", down, across, self.psfs, dtype=np.float64)
        return mean

    def part(self, rows: list[slice], cols: list[slice]) -> PsfField:
        """The field of a part of the image, whose pixels have the psfs that they have here.

        Parameters
        ----------
        rows, cols : list of slice
            The part's rows and columns in pieces, in the part's order.
        """
        psfs, axes = self.psfs, []
        for axis, (nodes, pieces) in enumerate(((self.rows, rows), (self.cols, cols))):
            at, shares = _nodes_of(nodes, pieces)
            psfs = np.moveaxis(np.tensordot(shares, psfs, (1, axis)), 0, axis).astype(self.psfs.dtype)
            axes.append(at)
        return PsfField(psfs, axes[0], axes[1])


def _nodes_of(nodes: np.ndarray, pieces: list[slice]) -> tuple[np.ndarray, np.ndarray]:
    """Nodes for an axis in pieces, in its own pixels, and each one's shares of the given nodes, new x given."""
    if len(nodes) == 1:
        return np.zeros(1), np.ones((1, 1))
    eye = np.eye(len(nodes))
    if len(pieces) == 1:
        begin, last = pieces[0].start, pieces[0].stop - 1
        first = max(int(np.searchsorted(nodes, begin, side="right")) - 1, 0)
        stop = max(min(int(np.searchsorted(nodes, last)) + 1, len(nodes)), first + 1)
        return nodes[first:stop] - begin, eye[first:stop]
    positions, shares, done = [], [], 0
    for piece in pieces:  # what is between two pieces belongs to neither, so that each begins and ends with a node
        begin, last = piece.start, piece.stop - 1
        inside = np.flatnonzero((nodes > begin) & (nodes < last))
        at = np.unique([begin, *nodes[inside], last])
        positions.append(at - begin + done)
        shares.append(hats(nodes - begin, last - begin + 1).T[(at - begin).astype(int)])
        for place, k in zip(np.searchsorted(at, nodes[inside]), inside, strict=True):
            shares[-1][place] = eye[k]  # which need not be at a pixel
        done += last - begin + 1
    return np.concatenate(positions), np.concatenate(shares)


def hats(nodes: np.ndarray, size: int) -> np.ndarray:
    """Linear interpolation's weights of nodes at the pixels 0 to ``size - 1``, nodes x pixels.

    Beyond the nodes the outermost counts.
    """
    if len(nodes) == 1:
        return np.ones((1, size))
    at = np.arange(size, dtype=np.float64)
    left = np.clip(np.searchsorted(nodes, at, side="right") - 1, 0, len(nodes) - 2)
    share = np.clip((at - nodes[left]) / (nodes[left + 1] - nodes[left]), 0, 1)
    weights = np.zeros((len(nodes), size))
    weights[left, np.arange(size)] = 1 - share
    weights[left + 1, np.arange(size)] += share
    return weights


def field_of(psfs: Any, positions: Any, weights: Any, image_shape: tuple[int, int], dtype: Any) -> PsfField:
    """The field that the arguments of `VaryingBlur` say, checked."""
    if callable(psfs):
        if positions is not None or weights is not None:
            raise ValueError(
                "positions and weights must be None where psfs is a function: it makes those of an even grid"
            )
        psfs = psfs(image_shape)
    array = _stack(psfs, dtype)
    if array.ndim == 4:
        if weights is not None:
            raise ValueError(
                "weights are for psfs that are not on a grid, of shape (count, taps, taps): leave them out"
            )
        return PsfField(array, *_grid_positions(positions, array.shape[:2], image_shape))
    if weights is not None:
        if positions is not None:
            raise ValueError("positions and weights say the same thing in two ways: pass one of them")
        shares = _checked_shares(weights, len(array))
    else:
        places = _places(positions, len(array))
        if len(array) == 1:
            shares = np.ones((1, 1, 1))
        else:
            shares = natural_neighbours(places, image_shape, _node_counts(len(array), image_shape))
    nodes = np.einsum("kac,kuv->acuv", shares, array, dtype=np.float64).astype(array.dtype)
    return PsfField(nodes, *_grid_positions(None, nodes.shape[:2], image_shape))


def _stack(psfs: Any, dtype: Any) -> np.ndarray:
    """The psfs in one array of three or four dimensions."""
    if isinstance(psfs, (list, tuple)):
        _check_alike(psfs)
    array = validation.real_array("psfs", psfs)
    if array.ndim not in (3, 4):
        raise ValueError(
            "psfs must have the shape (rows, cols, taps, taps) on a grid, or (count, taps, taps) with positions; "
            f"the shape is {array.shape}"
        )
    if array.size == 0:
        raise ValueError(f"psfs must not be empty; the shape is {array.shape}")
    array = validation.cast("psfs", array, validation.working_dtype(array) if dtype is None else dtype)
    empty = ~array.any(axis=(-2, -1))
    if empty.any():
        place = tuple(np.argwhere(empty)[0].tolist())
        raise ValueError(f"psfs must not be all zero; the one at index {place} is")
    return array


def _check_alike(psfs: Any) -> None:
    """Refuse psfs of several shapes, which NumPy would not make one array of."""
    first = None
    for k, each in enumerate(psfs):
        for psf in each if isinstance(each, (list, tuple)) and np.ndim(each[0]) == 2 else (each,):
            shape = np.shape(psf)
            first = shape if first is None else first
            if shape != first:
                raise ValueError(
                    f"psfs must all have one shape; the first has {first}, one at index {k} has {shape} (pad the "
                    "smaller ones with zeros on all sides, so that their centres stay at psf.shape // 2)"
                )


def _grid_positions(positions: Any, counts: tuple[int, ...], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Where the rows and the columns of a grid are."""
    if positions is None:
        given = [np.linspace(0.0, size - 1.0, count) for size, count in zip(shape, counts, strict=True)]
    else:
        if not isinstance(positions, (tuple, list)) or len(positions) != 2:
            raise ValueError(
                "positions of psfs on a grid must be None, or (rows, cols): where the grid's rows and its columns are"
            )
        given = [validation.real_array("positions", each).astype(np.float64) for each in positions]
    for name, at, count, size in zip(("rows", "columns"), given, counts, shape, strict=True):
        if at.shape != (count,):
            raise ValueError(f"positions must have one number for each of the {count} {name} of psfs; got {at.shape}")
        validation.finite("positions", at)
        if count > 1 and not (np.diff(at) > 0).all():
            if positions is None:
                raise ValueError(
                    f"psfs must be a single row or column along an axis of {size} pixel; got {count} {name}"
                )
            raise ValueError(f"positions must increase; those of the {name} are {at.tolist()}")
        if count > 1 and (at[0] > 0 or at[-1] < size - 1):
            raise ValueError(
                f"positions must cover the image, from 0 or less to {size - 1} or more; those of the {name} go from "
                f"{at[0]:g} to {at[-1]:g}"
            )
    return given[0], given[1]


def _places(positions: Any, count: int) -> np.ndarray:
    """Scattered positions, one a psf."""
    if positions is None:
        raise ValueError(
            "positions must be given for psfs of shape (count, taps, taps): a (row, column) each; psfs on a grid have "
            "the shape (rows, cols, taps, taps)"
        )
    places = validation.real_array("positions", positions).astype(np.float64)
    if places.shape != (count, 2):
        raise ValueError(
            f"positions must be one (row, column) for each of the {count} psfs, of shape ({count}, 2); the shape is "
            f"{places.shape}"
        )
    validation.finite("positions", places)
    distinct, which = np.unique(places, axis=0, return_index=True)
    if len(distinct) < count:
        twice = sorted(set(range(count)) - set(which.tolist()))[0]
        raise ValueError(f"positions must differ; {tuple(places[twice].tolist())} is there twice")
    return places


def _checked_shares(weights: Any, count: int) -> np.ndarray:
    """The caller's own weights of psfs at the nodes of an even grid."""
    shares = validation.real_array("weights", weights).astype(np.float64)
    if shares.ndim != 3 or len(shares) != count or shares.size == 0:
        raise ValueError(
            f"weights must have the shape (count, rows, cols), for {count} psfs at the nodes of an even grid; the "
            f"shape is {shares.shape}"
        )
    validation.finite("weights", shares)
    sums = shares.sum(axis=0)
    off = np.abs(sums - 1) > ROUNDING
    if off.any():
        place = tuple(np.argwhere(off)[0].tolist())
        raise ValueError(
            f"weights must sum to 1 at each node; at {place} they sum to {sums[place]:g} (divide them by it)"
        )
    partition: np.ndarray = shares / sums
    return partition


def _node_counts(count: int, shape: tuple[int, int]) -> tuple[int, int]:
    """Nodes down and across of the grid that so many scattered psfs are interpolated to."""
    rows, cols = (
        min(max(math.ceil(NODES_BETWEEN * math.sqrt(count * side / other)) + 1, 3), MOST_NODES, side)
        for side, other in (shape, shape[::-1])
    )
    return rows, cols


def natural_neighbours(places: np.ndarray, shape: tuple[int, int], counts: tuple[int, int]) -> np.ndarray:
    """Sibson's weights of scattered places at the nodes of an even grid over an image, places x rows x cols.

    A node put among the places would take over some of the area that is nearest to each of them; what it takes from
    each is that one's weight [1]_.  Areas are counted on a lattice that ends somewhat beyond the image, so there are
    weights outside of the places' convex hull, too.

    .. [1] R. Sibson, "A brief description of natural neighbour interpolation", in "Interpreting Multivariate Data",
       Wiley, 1981.
    """
    axes = [np.linspace(0, max(size - 1, 0), count) for size, count in zip(shape, counts, strict=True)]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    cells = [((np.arange(LATTICE) + 0.5) / LATTICE * (1 + 2 * BEYOND) - BEYOND) * size - 0.5 for size in shape]
    lattice = np.stack(np.meshgrid(*cells, indexing="ij"), axis=-1).reshape(-1, 2)
    distance = ((lattice[:, None] - places[None]) ** 2).sum(axis=-1)
    nearest = distance.argmin(axis=1)
    least = distance[np.arange(len(lattice)), nearest]
    shares = np.zeros((len(places), len(nodes)))
    for n, node in enumerate(nodes):
        taken = ((lattice - node) ** 2).sum(axis=-1) <= least
        if taken.any():
            shares[:, n] = np.bincount(nearest[taken], minlength=len(places))
        else:  # next to a place, or so far from the image's middle that it takes nothing
            shares[((places - node) ** 2).sum(axis=-1).argmin(), n] = 1
    shares /= shares.sum(axis=0)
    return shares.reshape(len(places), *counts)
