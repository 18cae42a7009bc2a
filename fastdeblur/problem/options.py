"""The options of `solve`, `Deblurrer`, `deblur_large` and the command: declared once, and checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import validation
from ..kernels.cpu.rules import RULES
from ..operators.blur import DEVICES
from ..operators.boundary import BOUNDARIES
from ..operators.paths import PATHS
from .learned import Scale
from .objective import DATA
from .start import STARTS

PRIORS = ("gradient", "tv", "sparse", "learned", None)
SOLVERS = ("auto", "exact", *RULES)
# What each way to a solution needs at most, with some to spare.
MOST_STEPS = {"exact": 200, "admm": 300, "learned": 200, "denoiser": 30, "richardson_lucy": 500}
DESCENT_STEPS = 500
# The same for images of points with the sparse prior, whose minimum is far from the start.
STEPS_OF_POINTS = 3000


# Who takes an option: `solve` and `Deblurrer`, `deblur_large`, and the command as a flag.
SOLVE, LARGE, FLAG = "solve", "large", "flag"


@dataclass(frozen=True)
class Option:
    """The declaration of an option.

    Attributes
    ----------
    type : str
        Its annotation in signatures.
    default : object
    doc : str
        What it is, in a line: the help of the command's flag.
    takers : str
        SOLVE, LARGE and FLAG, or some of them.
    choices : tuple
        Its names, where it has any.
    in_journal : bool
        Whether it tells jobs on a large image apart.
    """

    type: str
    default: Any
    doc: str
    takers: str
    choices: tuple[str | None, ...] = ()
    in_journal: bool = False


ALL, NOT_IN_TILES = f"{SOLVE} {LARGE} {FLAG}", f"{SOLVE} {FLAG}"
# In the order of signatures.
OPTIONS = {
    "data": Option("str | None", None, "how misfit is counted (default: root, or squares with a prior of its own)",
                   ALL, DATA, True),
    "prior": Option("Any", "gradient", "what is expected of a sharp image; poisson goes with tv, learned and none",
                    ALL, PRIORS, True),
    "mu": Option("Any", "auto", "weight of the prior; auto finds it", ALL, in_journal=True),
    "boundary": Option("str", "unknown", "what lies outside the frame", ALL, BOUNDARIES, True),
    "weights": Option("Any", None, "weights of the pixels; 0 ignores a pixel", ALL),
    "bounds": Option("Any", None, "between which pixels must be", ALL, in_journal=True),
    "background": Option("Any", 0, "what there was beside the blurred image, as the sky", ALL),
    "read_noise": Option("float", 0, "standard deviation of what reading added to counts of photons",
                         ALL, in_journal=True),
    "channel_axis": Option("int | None", None, "the axis of the channels", f"{SOLVE} {LARGE}", in_journal=True),
    "solver": Option("str", "auto", "how to minimise", NOT_IN_TILES, SOLVERS),
    "learning_rate": Option("float | None", None, "length of a gradient step", NOT_IN_TILES),
    "max_iter": Option("int | None", None, "most iterations", ALL, in_journal=True),
    "tol": Option("float", 1e-4, "stop at this optimality; 0 never does", ALL, in_journal=True),
    "init": Option("Any", "image", "where to start", NOT_IN_TILES, STARTS),
    "seed": Option("int | None", None, "seed of the random start", NOT_IN_TILES),
    "path": Option("str", "auto", "how to compute the blur", ALL, ("auto", *PATHS), True),
    "device": Option("str", "cpu", "where to compute", NOT_IN_TILES, DEVICES),
    "workers": Option("int | None", None, "most threads", ALL),
    "callback": Option("Callable[[Any], Any] | None", None, "called after each iteration", SOLVE),
    "max_memory": Option("int | str", "1GB", "what may be used: bytes, or such as 300MB or 2GiB",
                         f"{LARGE} {FLAG}", in_journal=True),
    "tile": Option("Any", "auto", "rows and columns of a tile", LARGE, in_journal=True),
    "halo": Option("Any", "auto", "how far a tile sees beyond itself", LARGE, in_journal=True),
    "progress": Option("bool", False, "show a progress bar", ALL),
    "axes": Option("str | None", None, "letters of the axes, such as TZCYX or YXC", f"{LARGE} {FLAG}"),
}  # fmt: skip


def options_of(taker: str) -> dict[str, Option]:
    """The options of SOLVE, LARGE or FLAG."""
    return {name: option for name, option in OPTIONS.items() if taker in option.takers.split()}


def options_in(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The options among the local variables of a function."""
    return {name: variables[name] for name in OPTIONS if name in variables}


@dataclass(frozen=True)
class Options:
    """Checked options.

    Attributes
    ----------
    data : {"root", "squares", "poisson"}
    prior : {"gradient", "tv", "sparse", "learned", "denoiser", None}
    denoiser : callable or None
        With the prior of that name.
    mu : float or None
        None is to be found.
    bounds : (float, float) or None
        With infinity where there is no bound.
    read_noise : float
        Standard deviation.
    patient : bool
        Whether a solve should converge: the limit is not less than what is usual, and there is no denoiser.
    method : str
        "exact", "admm", "learned" or "richardson_lucy", or a rule of gradient descent.
    scale : Scale
        What the learned prior follows.
    limited : bool
        Whether the limit of iterations is the caller's.
    """

    data: str
    prior: str | None
    denoiser: Callable[..., Any] | None
    mu: float | None
    bounds: tuple[float, float] | None
    read_noise: float
    method: str
    learning_rate: float | None
    max_iter: int
    patient: bool
    tol: float
    callback: Callable[[Any], Any] | None
    progress: bool
    scale: Scale = Scale()  # noqa: RUF009 (frozen)
    limited: bool = False  # which pickles of earlier versions lack

    def check_psf(self, psf: np.ndarray) -> None:
        """Refuse a psf that does not go with the data."""
        if self.data == "poisson" and psf.min() < 0:
            raise ValueError(f"psf must not be negative with data='poisson'; its least value is {psf.min()}")


def checked(values: Mapping[str, Any]) -> Options:
    """Options that are of the kinds and in the ranges that `api.solve` gives, and go together.

    What `values` lacks has its default.
    """
    given = {name: values.get(name, option.default) for name, option in OPTIONS.items()}
    data, prior, mu, progress, learning_rate = (
        given[name] for name in ("data", "prior", "mu", "progress", "learning_rate")
    )
    validation.choice("data", data, (*DATA, None))
    denoiser = prior if callable(prior) else None
    if denoiser is None and (prior not in PRIORS if prior is None or isinstance(prior, str) else True):
        raise ValueError(f"prior must be {_listed(PRIORS)}, or a denoiser f(image, sigma); got {prior!r}")
    prior = "denoiser" if denoiser else prior
    data = data or ("root" if prior == "gradient" else "squares")
    _check_pair(data, prior)
    bounds = _bounds(given["bounds"])
    if data == "poisson":
        bounds = _not_negative(bounds)
    read_noise = validation.real("read_noise", given["read_noise"], "at least 0")
    if read_noise > 0 and data != "poisson":
        raise ValueError(
            f"read_noise goes with data='poisson'; got data={data!r}, for which it is noise like any other "
            "(leave it out)"
        )
    for name in ("solver", "boundary", "path"):
        validation.choice(name, given[name], OPTIONS[name].choices)
    method = _method(data, prior, bounds, given["solver"])
    if method == "admm" and given["path"] not in ("auto", "fft"):
        raise ValueError(f"path must be 'auto' or 'fft' for this prior or bounds; got {given['path']!r}")
    if learning_rate is not None:
        learning_rate = validation.real("learning_rate", learning_rate, "above 0")
        if method not in RULES:
            raise ValueError(
                f"learning_rate is for the solvers {', '.join(map(repr, RULES))}; got {learning_rate!r} "
                f"with {_name(method)}"
            )
    most = MOST_STEPS["denoiser" if denoiser else method] if method not in RULES else DESCENT_STEPS
    max_iter, callback = given["max_iter"], given["callback"]
    if not isinstance(progress, (bool, np.bool_)):
        raise TypeError(f"progress must be True or False; got {progress!r}")
    steps = most if max_iter is None else validation.integer("max_iter", max_iter, 1, 2**53)
    weight = None if isinstance(mu, str) and mu == "auto" else _weight(mu)
    return Options(
        data=data,
        prior=prior,
        denoiser=denoiser,
        mu=weight if prior else 0.0,
        bounds=bounds,
        read_noise=read_noise,
        method=method,
        learning_rate=learning_rate,
        max_iter=steps,
        limited=max_iter is not None,
        patient=steps >= most and denoiser is None and (method not in RULES or prior is not None),
        tol=validation.real("tol", given["tol"], "at least 0"),
        callback=called("callback", callback),
        progress=bool(progress),
    )


def called(name: str, value: Any) -> Any:
    """Something to call, or None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be callable or None; got {value!r}")
    return value


def _check_pair(data: str, prior: str | None) -> None:
    allowed = {"root": ("gradient", None), "squares": (*PRIORS, "denoiser"), "poisson": ("tv", "learned", None)}[data]
    if prior not in allowed:
        given = "a denoiser" if prior == "denoiser" else f"prior={prior!r}"
        default = ", the default" if prior == "gradient" else ""
        raise ValueError(f"data={data!r} goes with prior {_listed(allowed)}; got {given}{default}")


def _listed(names: Any) -> str:
    *most, last = map(repr, names)
    return f"{', '.join(most)} or {last}"


def _name(method: str) -> str:
    return {
        "exact": "the exact one",
        "admm": "this prior or bounds",
        "learned": "this prior",
        "richardson_lucy": "data='poisson'",
    }.get(method, method)


def _method(data: str, prior: str | None, bounds: Any, solver: str) -> str:
    """How to get there."""
    if solver == "exact" and (prior != "gradient" or bounds is not None):
        what = f"prior={prior!r} (use solver='auto')"
        if prior == "gradient":
            what = "bounds (use solver='auto')"
        raise ValueError(f"solver='exact' goes with prior='gradient', without bounds; got {what}")
    if solver in RULES:
        if prior not in ("gradient", None) or data == "poisson":
            raise ValueError(
                f"solver={solver!r} goes with prior='gradient' or None, and data='root' or 'squares'; "
                f"got prior={prior!r}, data={data!r} (use solver='auto')"
            )
        return solver
    if prior == "learned":
        return "learned"
    if prior is None:
        return "richardson_lucy" if data == "poisson" else "gd"
    return "exact" if prior == "gradient" and bounds is None else "admm"


def _bounds(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    wanted = "(low, high), either a number or None"
    if not isinstance(value, (tuple, list, np.ndarray)) or len(value) != 2:
        raise TypeError(f"bounds must be {wanted}; got {value!r}")
    limits = zip(value, (-math.inf, math.inf), strict=True)
    low, high = (
        end if bound is None or _is(bound, end) else validation.real("bounds", bound, "any") for bound, end in limits
    )
    if low > high:
        raise ValueError(f"bounds must be {wanted}, low at most high; got {value!r}")
    return None if (low, high) == (-math.inf, math.inf) else (low, high)


def _is(bound: Any, end: float) -> bool:
    return isinstance(bound, (float, np.floating)) and bool(bound == end)


def _not_negative(bounds: tuple[float, float] | None) -> tuple[float, float]:
    """Photons are counted: the estimate has no negative pixels."""
    low, high = bounds or (0.0, math.inf)
    if high < 0:
        raise ValueError(f"bounds must let the estimate be at least 0 with data='poisson'; got high {high}")
    return max(low, 0.0), high


def _weight(mu: Any) -> float:
    if isinstance(mu, str):
        raise ValueError(f"mu must be a finite number at least 0, or 'auto'; got {mu!r}")
    return validation.real("mu", mu, "at least 0")
