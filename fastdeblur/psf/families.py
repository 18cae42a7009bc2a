"""Families of psfs with few parameters, for fits: their builders, ranges and grids of starting values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np

from .. import validation
from ..hygiene import normalise
from .builders import airy, box, disk, gaussian, moffat, motion

# Largest side of a psf that is tried, in shares of the tiles that spectra are taken of.
REACH = 0.5


@dataclass(frozen=True)
class Parameter:
    """A parameter's range, and how values are spread over it.

    Attributes
    ----------
    low, high : float
        Where it may be; where both are the same it is fixed.
    kind : {"scale", "angle", "whole", "free"}
        Lengths, whose logarithm is searched; degrees, which come back after half a turn; whole numbers; any other.
    step : float
        Spacing of starting values: of logarithms for a scale.
    most : float
        Largest spacing of a scale's starting values themselves.
    lever : float
        Of an angle: spacing times the first parameter's value, if that is less than `step`.
    """

    low: float
    high: float
    kind: str = "scale"
    step: float = 0.15
    most: float = math.inf
    lever: float = math.inf

    @property
    def fixed(self) -> bool:
        return self.low == self.high

    @property
    def whole_turn(self) -> bool:
        return self.kind == "angle" and self.high - self.low >= 180

    def encode(self, value: float) -> float:
        return math.log(value) if self.kind == "scale" else value

    def decode(self, place: float) -> float:
        """The value of a place on the axis that is searched, within the range."""
        if self.whole_turn:
            return self.low + (place - self.low) % 180
        value = math.exp(min(place, 700.0)) if self.kind == "scale" else place
        value = float(round(value)) if self.kind == "whole" else value
        return min(max(value, self.low), self.high)

    def starts(self, first: float) -> list[float]:
        """Starting values, as places on that axis, where the first parameter has that value."""
        if self.fixed:
            return [self.encode(self.low)]
        if self.kind == "whole":
            return [float(value) for value in range(math.ceil(self.low), math.floor(self.high) + 1)]
        if self.kind == "scale":
            values = [self.low]
            while values[-1] < self.high:
                values.append(values[-1] + min(values[-1] * self.step, self.most))
            return [math.log(min(value, self.high)) for value in values]
        count = max(2, math.ceil((self.high - self.low) / min(self.step, self.lever / first)) + 1)
        spaced: list[float] = np.linspace(self.low, self.high, count)[: -1 if self.whole_turn else None].tolist()
        return spaced

    def spacing(self, place: float, first: float) -> float:
        """About the distance of starting values there."""
        if self.kind == "scale":
            return min(self.step, self.most / math.exp(place))
        return 1.0 if self.kind == "whole" else min(self.step, self.lever / first, self.high - self.low)

    def volume(self) -> float:
        """The length of the axis that is searched."""
        return max(self.encode(self.high) - self.encode(self.low), 1e-3)


@dataclass(frozen=True)
class Family:
    """A family of psfs.

    Attributes
    ----------
    name : str
    build : callable
        Makes the psf of parameter values.
    parameters : dict of str to Parameter
        In the order that `build` takes them.
    """

    name: str
    build: Callable[..., np.ndarray]
    parameters: dict[str, Parameter] = field(default_factory=dict)

    def psf(self, places: tuple[float, ...]) -> np.ndarray:
        """The psf at a place of the search."""
        return self.build(*self.values(places))

    def values(self, places: tuple[float, ...]) -> list[float]:
        return [each.decode(place) for each, place in zip(self.parameters.values(), places, strict=True)]

    def starts(self) -> list[tuple[float, ...]]:
        """All combinations of starting values."""
        first, *others = self.parameters.values()
        return [
            (place, *rest)
            for place in first.starts(1.0)
            for rest in product(*(each.starts(first.decode(place)) for each in others))
        ]

    def spacings(self, places: tuple[float, ...]) -> list[float]:
        """Distances of starting values there."""
        kinds = list(self.parameters.values())
        first = kinds[0].decode(places[0])
        return [kind.spacing(place, first) for kind, place in zip(kinds, places, strict=True)]

    def distances(self, places: np.ndarray, origin: tuple[float, ...]) -> np.ndarray:
        """How far places, one a row, are from one, along each parameter in spacings; an angle's the shorter way."""
        away = np.abs(places - np.array(origin))
        for k, each in enumerate(self.parameters.values()):
            if each.kind == "angle":
                away[:, k] = np.minimum(away[:, k], 180 - away[:, k])
        away /= np.maximum(self.spacings(origin), 1e-12)
        return np.asarray(away.max(axis=1))

    def free(self) -> list[int]:
        """Which parameters are not fixed."""
        return [k for k, each in enumerate(self.parameters.values()) if not each.fixed]

    def within(self, ranges: dict[str, tuple[float, float]], side: int) -> Family:
        """The family with other ranges, and psfs not larger than a share of `side`."""
        changed = {}
        for name, each in self.parameters.items():
            low, high = ranges.get(name, (each.low, each.high))
            if each.kind in ("scale", "whole") and low <= 0:
                raise ValueError(f"parameters[{name!r}] must be above 0; got {low:g}")
            if each.kind == "angle" and high - low > 180:
                raise ValueError(f"parameters[{name!r}] must span at most 180 degrees; got {(low, high)}")
            if name not in ranges and each.kind in ("scale", "whole"):
                high = max(min(high, LARGEST.get((self.name, name), math.inf) * side), low)
            changed[name] = replace(each, low=low, high=high)
        return replace(self, parameters=changed)


def _odd(reach: float) -> int:
    return 2 * math.ceil(reach) + 1


def _gaussian(sigma: float) -> np.ndarray:
    return gaussian(_odd(4.5 * sigma), sigma)


def _elliptical(sigma: float, ratio: float, angle: float) -> np.ndarray:
    return gaussian(_odd(4.5 * sigma), (sigma / ratio, sigma), angle)


def _airy(radius: float) -> np.ndarray:
    return airy(radius, _odd(4 * radius + 2))


def _moffat(fwhm: float, beta: float) -> np.ndarray:
    return moffat(_odd(min(3 * fwhm + 3, 63)), fwhm, beta)


def _box(size: float) -> np.ndarray:
    return box(round(size))


# Largest values that fit a tile, in shares of its side.
LARGEST = {
    ("gaussian", "sigma"): REACH / 9, ("elliptical", "sigma"): REACH / 9, ("disk", "radius"): REACH / 2.2,
    ("airy", "radius"): REACH / 9, ("motion", "length"): REACH, ("box", "size"): REACH, ("moffat", "fwhm"): REACH / 6,
}  # fmt: skip
FAMILIES = {
    "gaussian": Family("gaussian", _gaussian, {"sigma": Parameter(0.3, 12, step=0.15)}),
    "elliptical": Family("elliptical", _elliptical, {
        "sigma": Parameter(0.5, 12, step=0.35), "ratio": Parameter(1, 6, step=0.6),
        "angle": Parameter(0, 180, "angle", 22.5),
    }),
    "disk": Family("disk", disk, {"radius": Parameter(0.6, 30, step=0.12, most=0.4)}),
    "motion": Family("motion", motion, {
        "length": Parameter(1.5, 60, step=0.25, most=6.0), "angle": Parameter(0, 180, "angle", 30, lever=120.0),
    }),
    "box": Family("box", _box, {"size": Parameter(2, 30, "whole", 1)}),
    "airy": Family("airy", _airy, {"radius": Parameter(0.8, 14, step=0.12)}),
    "moffat": Family("moffat", _moffat, {"fwhm": Parameter(0.8, 20, step=0.2), "beta": Parameter(1.5, 8, step=0.6)}),
}  # fmt: skip
"""Families by name."""


def chosen(family: Any, parameters: Any, side: int) -> list[Family]:
    """The families of an argument `family` with the ranges of an argument `parameters`."""
    ranges = _ranges(parameters)
    if callable(family):
        if not ranges:
            raise ValueError(
                "parameters must give each parameter of a function a starting range, in its order, as {'width': (1, 5)}"
            )
        free = {
            name: Parameter(low, high, "scale" if low > 0 else "free", 0.25 if low > 0 else (high - low) / 7 or 1.0)
            for name, (low, high) in ranges.items()
        }
        return [Family(getattr(family, "__name__", "function"), _checked(family), free)]
    names = [family] if isinstance(family, str) or not np.iterable(family) else list(family)
    if not names:
        raise ValueError(f"family must not be empty; one or several of {', '.join(FAMILIES)}, or a function")
    if names == ["all"]:
        names = [name for name in FAMILIES if name != "elliptical"]
    families = []
    for name in names:
        if not isinstance(name, str) or name not in FAMILIES:
            allowed = ", ".join(map(repr, FAMILIES))
            raise ValueError(f"family must be one or several of {allowed}, 'all', or a function; got {name!r}")
        families.append(FAMILIES[name])
    known = {name: None for each in families for name in each.parameters}
    for name in ranges:
        if name not in known:
            raise ValueError(
                f"parameters must be of {', '.join(each.name for each in families)}: {', '.join(known)}; got {name!r}"
            )
    return [each.within({name: ranges[name] for name in each.parameters if name in ranges}, side) for each in families]


def _ranges(parameters: Any) -> dict[str, tuple[float, float]]:
    """Values and ranges as ranges."""
    if parameters is None:
        return {}
    if not hasattr(parameters, "items"):
        raise TypeError(f"parameters must be a dict of values or ranges (low, high) by name; got {parameters!r}")
    ranges = {}
    for name, value in parameters.items():
        limits = (value, value) if np.ndim(value) == 0 else tuple(value)
        if len(limits) != 2:
            raise ValueError(f"parameters[{name!r}] must be a value, or a range (low, high); got {value!r}")
        low, high = (validation.real(f"parameters[{name!r}]", end, "any") for end in limits)
        if low > high:
            raise ValueError(f"parameters[{name!r}] must be a range (low, high); got {value!r}, reversed")
        ranges[name] = (low, high)
    return ranges


def _checked(build: Callable[..., Any]) -> Callable[..., np.ndarray]:
    """A caller's function, whose psfs are checked and scaled to sum to 1."""

    def built(*values: float) -> np.ndarray:
        return normalise(build(*values)).astype(np.float64)

    return built
