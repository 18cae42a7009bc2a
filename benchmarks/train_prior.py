"""Train the filters and potentials of the learned prior.

    python -m benchmarks.train_prior --data FOLDER --out FILE.npz [--size small|medium|large] [--minutes MINUTES]
    python -m benchmarks.train_prior --data FOLDER --judge FILE.npz [--images COUNT]

The prior is R(x) = Σ_k Σ_i φ_k((f_k ∗ x)_i; s) with φ(z; s) = Σ_m ½ α(s) log(1 + (γ(s) z)²), of images of 0 to 1 with
noise of standard deviation s.  It is trained as a denoiser: x(y) = argmin ½|x - y|² + R(x) shall be near the sharp
image, for noise of 2 to 55 of 255.  What is differentiated is the minimiser itself, by the implicit function theorem
(as in Chen, Ranftl and Pock, "Insights into analysis operator learning", IEEE Trans. Image Processing 2014), and not
some steps towards it: any solver that converges then has what was trained.

FOLDER has train.npz and validation.npz, each with an array `images` of uint8: (N, rows, columns), gray.  It needs
PyTorch (pip install ".[train]") for the parameters and a C compiler, as cc, for the solver.  One thread; the same seed
and --steps give the same weights on the same machine, --minutes stops where the clock says.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SOURCE = Path(__file__).with_name("_train_prior.c")
KNOTS = np.array([1.5, 3, 6, 11, 18, 27, 38, 52]) / 255
LEVELS = (2 / 255, 55 / 255)
# Responses of a patch, along an axis: a multiple of 8, which the solver relies on.
RESPONSES, BATCH = 64, 8
# Pixels at a patch's border that the loss leaves out: fewer responses see them.
MARGIN = 4
# Adam's rates: filters, potentials by level of noise, potentials at all levels.
RATES = (4e-3, 5e-3, 1e-2)
WARM_UP = 0.03
AVERAGED = 0.995
# Tolerances: of the gradient in shares of the noise, and of the adjoint system's residual.  At five times the
# first and twelve times the second, training ends where stopping early is best: converged, that lost 0.07 dB.
FORWARD, BACKWARD = 0.008, 0.01
MOST_FORWARD, MOST_BACKWARD = 100, 80
# The preconditioner's width, fixed in the C file, and its window.
TAPS = 15
AROUND = np.arange(TAPS) - TAPS // 2
WINDOW = np.exp(-0.5 * np.add.outer(AROUND**2, AROUND**2) / 4.5**2)


# What -ffast-math means, but for the library's start, which lets the whole process take the smallest numbers for 0.
FAST = ["-fno-math-errno", "-fno-trapping-math", "-fassociative-math", "-freciprocal-math", "-fno-signed-zeros"]
FAST += ["-ffinite-math-only", "-fno-rounding-math", "-fcx-limited-range"]


class Size(NamedTuple):
    filters: int
    side: int
    terms: int
    steps: int


SIZES = {"small": Size(16, 5, 1, 2000), "medium": Size(24, 7, 1, 3000), "large": Size(32, 7, 2, 4000)}


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


class Weights(NamedTuple):
    """Filters (K, S²), and α = a and 1/γ² = c of one level of noise (K, M)."""

    filters: np.ndarray
    a: np.ndarray
    c: np.ndarray


class Solver:
    """The compiled loops, for filters of one size."""

    def __init__(self, side: int):
        self.side = side
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "loops.so"
            flags = ["-O3", "-march=native", *FAST, "-shared", "-fPIC", f"-DS={side}"]
            subprocess.run(["cc", *flags, str(SOURCE), "-o", str(library)], check=True)  # noqa: S607
            self._library = ctypes.CDLL(str(library))

    def minimise(
        self,
        y: np.ndarray,
        cols: int,
        weights: Weights,
        most: int,
        tol: float,
        preconditioner: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """The minimiser, its responses, and iterations; `y` is padded as by `aligned`."""
        f, a, c = weights
        flipped = np.ascontiguousarray(f[:, ::-1])
        z = np.zeros(self._shape(y, cols, f), np.float32)
        x, scratch = y.copy(), np.zeros_like(z)
        steps = self._library.minimise(
            *self._sizes(y, cols, f, a), *map(_pointer, (y, f, flipped, a, c)),
            None if preconditioner is None else _pointer(preconditioner),
            ctypes.c_long(most), ctypes.c_double(tol), *map(_pointer, (x, z, scratch)),
        )  # fmt: skip
        return x, z, steps

    def curvature(self, x: np.ndarray, cols: int, z: np.ndarray, weights: Weights) -> np.ndarray:
        """φ'' at responses z."""
        found = np.empty_like(z)
        f, a, c = weights
        self._library.curvature(*self._sizes(x, cols, f, a), *map(_pointer, (z, a, c, found)))
        return found

    def adjoint_solution(
        self, rhs: np.ndarray, cols: int, weights: Weights, curvature: np.ndarray, preconditioner: np.ndarray
    ) -> np.ndarray:
        """v of H v = rhs with the Hessian H = I + Fᵀ diag(curvature) F."""
        f = weights.filters
        flipped, v = np.ascontiguousarray(f[:, ::-1]), np.zeros_like(rhs)
        self._library.solve_hessian(
            *self._sizes(rhs, cols, f), *map(_pointer, (f, flipped, curvature, rhs, preconditioner)),
            ctypes.c_long(MOST_BACKWARD), ctypes.c_double(BACKWARD), _pointer(v),
        )  # fmt: skip
        return v

    def responses(self, x: np.ndarray, cols: int, f: np.ndarray) -> np.ndarray:
        z = np.empty(self._shape(x, cols, f), np.float32)
        self._library.responses(*self._sizes(x, cols, f), *map(_pointer, (x, f, z)))
        return z

    def preconditioner(self, spectra: np.ndarray, weights: Weights) -> np.ndarray:
        """The kernel of (I + Fᵀ diag(φ''(0)) F)⁻¹, cut to `TAPS` with a window that keeps it positive."""
        whole = (weights.a / weights.c).sum(axis=1)
        inverse = np.fft.irfft2(1 / (1 + np.tensordot(whole, spectra, 1)), (32, 32))
        return np.ascontiguousarray(inverse[np.ix_(AROUND, AROUND)] * WINDOW, dtype=np.float32)

    def spectra(self, f: np.ndarray) -> np.ndarray:
        return np.abs(np.fft.rfft2(f.reshape(-1, self.side, self.side), (32, 32))) ** 2

    def _shape(self, x: np.ndarray, cols: int, f: np.ndarray) -> tuple[int, int, int]:
        return len(f), len(x) - self.side + 1, cols - self.side + 1

    @staticmethod
    def _sizes(x: np.ndarray, cols: int, f: np.ndarray, a: np.ndarray | None = None) -> list[ctypes.c_long]:
        sizes = [len(x), cols, len(f)] + ([] if a is None else [a.shape[1]])
        return [ctypes.c_long(size) for size in sizes]


def aligned(x: np.ndarray) -> np.ndarray:
    """Rows of a multiple of 8 pixels, with zeros at their ends."""
    rows, cols = x.shape
    found = np.zeros((rows, -(-cols // 8) * 8), np.float32)
    found[:, :cols] = x
    return found


class Prior:
    """The parameters, as PyTorch's."""

    def __init__(self, filters: int, side: int, terms: int):
        import torch

        self.side, self.terms = side, terms
        basis = cosines(side)
        if filters > len(basis):
            raise ValueError(f"there are {len(basis)} zero-mean filters of {side}x{side} at most; got {filters}")
        self.basis = torch.tensor(basis, dtype=torch.float32)
        self.knots = torch.tensor(np.log(KNOTS), dtype=torch.float32)
        noise = (self.knots - np.log(25 / 255))[:, None, None].expand(-1, filters, terms)
        spread = torch.linspace(-0.8, 0.8, terms) if terms > 1 else torch.zeros(1)
        start = {
            "mixing": torch.eye(len(basis))[:filters] + 0.02 * torch.randn(filters, len(basis)),
            "alpha": 2 * noise, "gamma": -0.3 * noise,
            "alpha at all": torch.full((filters, terms), -8.3 - float(np.log(terms))) - spread,
            "gamma at all": torch.full((filters, terms), 3.0) + spread,
        }  # fmt: skip
        self.parameters = {name: torch.nn.Parameter(value.clone()) for name, value in start.items()}

    def filters(self) -> Any:
        """(K, S²), of zero mean and norm 1."""
        found = self.parameters["mixing"] @ self.basis
        return found / found.norm(dim=1, keepdim=True)

    def tables(self) -> tuple[Any, Any]:
        """log α and log γ at the knots, (J, K, M)."""
        p = self.parameters
        return p["alpha at all"] + p["alpha"], p["gamma at all"] + p["gamma"]

    def at(self, levels: np.ndarray) -> tuple[Any, Any]:
        """a = α and c = 1/γ² at levels of noise, (B, K, M)."""
        import torch

        levels = torch.tensor(np.log(levels), dtype=torch.float32).clamp(self.knots[0], self.knots[-1])
        below = (torch.searchsorted(self.knots, levels, right=True) - 1).clamp(0, len(self.knots) - 2)
        share = ((levels - self.knots[below]) / (self.knots[below + 1] - self.knots[below]))[:, None, None]
        alpha, gamma = (table[below] * (1 - share) + table[below + 1] * share for table in self.tables())
        return alpha.exp(), (-2 * gamma).exp()

    def arrays(self) -> dict[str, np.ndarray]:
        """What the file has."""
        alpha, gamma = (table.detach().numpy() for table in self.tables())
        filters = self.filters().detach().numpy().reshape(-1, self.side, self.side)
        return {
            "filters": filters.astype(np.float32), "sigmas": KNOTS.astype(np.float32),
            "log_alpha": alpha.astype(np.float32), "log_gamma": gamma.astype(np.float32), "version": np.int64(1),
        }  # fmt: skip


def cosines(side: int) -> np.ndarray:
    """All zero-mean cosine patterns of side × side, coarse ones first."""
    at = np.arange(side)
    rows = np.cos(np.pi * (2 * at[None] + 1) * at[:, None] / (2 * side))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = sorted(itertools.product(range(side), repeat=2), key=lambda pair: (sum(pair), pair))[1:]
    return np.stack([np.outer(rows[a], rows[b]).ravel() for a, b in pairs])


def patch_of(images: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """A patch that filters of that side fit into `RESPONSES` times, turned and flipped by chance."""
    image, patch_size = images[rng.integers(len(images))], RESPONSES + side - 1
    row, col = (rng.integers(size - patch_size + 1) for size in image.shape)
    patch = np.rot90(image[row : row + patch_size, col : col + patch_size], rng.integers(4))
    return np.float32((patch[::-1] if rng.random() < 0.5 else patch) / 255)


class Gradient(NamedTuple):
    filters: np.ndarray
    a: np.ndarray
    c: np.ndarray


def loss_of(solver: Solver, weights: Weights, spectra: np.ndarray, sharp: np.ndarray, noisy: np.ndarray, level: float) -> tuple[float, Gradient]:  # fmt: skip  # noqa: E501
    """The loss of one patch, and its derivatives by the weights."""
    cols = noisy.shape[1]
    noisy = aligned(noisy)
    preconditioner = solver.preconditioner(spectra, weights)
    x, z, _ = solver.minimise(noisy, cols, weights, MOST_FORWARD, FORWARD * level, preconditioner)
    error = np.zeros_like(x)
    inner = slice(MARGIN, -MARGIN), slice(MARGIN, cols - MARGIN)
    error[inner] = x[inner] - sharp[MARGIN:-MARGIN, MARGIN:-MARGIN]
    count = error[inner].size
    mean_square = float(np.vdot(error, error)) / count
    # About what is left at this level.  The logarithm is what PSNR is the mean of; the third keeps smooth patches from
    # counting most.
    usual = 90 / 255**2 * (level * 255 / 25) ** 1.25
    error *= np.float32(2 / count / (mean_square + usual / 3))
    # x solves ∇ = 0, so the derivative by a parameter p is -vᵀ ∂∇/∂p with H v = ∂loss/∂x.
    second = solver.curvature(x, cols, z, weights)
    v = solver.adjoint_solution(error, cols, weights, second, preconditioner)
    along = solver.responses(v, cols, weights.filters).reshape(len(z), -1)
    second, shape, z = second.reshape(along.shape) * along, z.shape[1:], z.reshape(along.shape)
    first, by_a, by_c = np.zeros_like(z), np.empty_like(weights.a), np.empty_like(weights.c)
    for m in range(weights.a.shape[1]):
        a, c = weights.a[:, m, None], weights.c[:, m, None]
        inverse = 1 / (c + z * z)
        part = inverse * z
        first += a * part
        part *= along
        by_a[:, m] = -part.sum(axis=1)
        by_c[:, m] = a[:, 0] * np.einsum("ij,ij->i", part, inverse)
    windows = [_windows(image, shape, solver.side) for image in (x, v)]
    by_filters = -(first @ windows[1].T + second @ windows[0].T)
    return float(np.log(mean_square / usual)), Gradient(by_filters, by_a, by_c)


def _windows(x: np.ndarray, shape: tuple[int, ...], side: int) -> np.ndarray:
    """All pixels that each tap sees, (S², responses)."""
    found = np.lib.stride_tricks.sliding_window_view(x, shape)[:side, :side]
    return np.ascontiguousarray(found).reshape(side * side, -1)


def train(prior: Prior, images: np.ndarray, steps: int, minutes: float, seed: int, resumed: bool, out: Path) -> None:
    """Adam on the loss; the file, now and then and at the end, has the average of late steps."""
    import torch

    solver, rng = Solver(prior.side), np.random.default_rng(seed)
    names = [["mixing"], ["alpha", "gamma"], ["alpha at all", "gamma at all"]]
    optimiser = torch.optim.Adam([{"params": [prior.parameters[n] for n in of]} for of in names], betas=(0.9, 0.99))
    average = {name: value.detach().clone() for name, value in prior.parameters.items()}
    began, losses = time.monotonic(), []
    for step in range(steps):
        progress = max((step + 1) / steps, (time.monotonic() - began) / 60 / minutes)
        if progress > 1:
            break
        warm = 1.0 if resumed else min(1.0, (step + 1) / (WARM_UP * steps))
        for group, rate in zip(optimiser.param_groups, RATES, strict=True):
            group["lr"] = rate * max(warm * (1 + np.cos(np.pi * progress)) / 2, 0.01)
        levels = np.exp(rng.uniform(*np.log(LEVELS), BATCH))
        filters, (a, c) = prior.filters(), prior.at(levels)
        gradients, spectra = [], solver.spectra(filters.detach().numpy())
        for number, level in enumerate(levels):
            weights = Weights(*(v.detach().numpy().copy() for v in (filters, a[number], c[number])))
            sharp = patch_of(images, prior.side, rng)
            noisy = sharp + np.float32(level) * rng.standard_normal(sharp.shape, dtype=np.float32)
            loss, gradient = loss_of(solver, weights, spectra, sharp, noisy, level)
            losses.append(loss)
            gradients.append(gradient)
        of_filters = np.mean([g.filters for g in gradients], axis=0)
        of_a, of_c = (np.stack([getattr(g, name) for g in gradients]) / BATCH for name in ("a", "c"))
        optimiser.zero_grad()
        torch.autograd.backward([filters, a, c], [torch.from_numpy(np.float32(v)) for v in (of_filters, of_a, of_c)])
        torch.nn.utils.clip_grad_norm_(list(prior.parameters.values()), 1.0)
        optimiser.step()
        keep = min(AVERAGED, step / (step + 20))
        for name, value in average.items():
            value.mul_(keep).add_(prior.parameters[name].detach(), alpha=1 - keep)
        if (step + 1) % 100 == 0:
            print(f"{step + 1} steps, loss {np.mean(losses[-100 * BATCH :]):.3f}, {time.monotonic() - began:.0f} s", flush=True)  # fmt: skip  # noqa: E501
            _save(prior, average, out)
    _save(prior, average, out)


def _save(prior: Prior, average: dict[str, Any], out: Path) -> None:
    """The averages, as the package's file, with the parameters beside it, to go on from."""
    import torch

    mine = {name: value.data for name, value in prior.parameters.items()}
    for name, value in prior.parameters.items():
        value.data = average[name]
    np.savez_compressed(out, **prior.arrays())
    torch.save(average, out.with_suffix(".pt"))
    for name, value in prior.parameters.items():
        value.data = mine[name]


def weights_at(stored: dict[str, np.ndarray], level: float) -> Weights:
    """What a file says at a level of noise: linear in its logarithm."""
    knots = np.log(stored["sigmas"])
    at = np.interp(np.log(level), knots, np.arange(len(knots)))
    below = min(int(at), len(knots) - 2)
    alpha, gamma = (
        stored[name][below] * (below + 1 - at) + stored[name][below + 1] * (at - below)
        for name in ("log_alpha", "log_gamma")
    )
    filters = np.ascontiguousarray(stored["filters"].reshape(len(alpha), -1), dtype=np.float32)
    return Weights(filters, np.float32(np.exp(alpha)), np.float32(np.exp(-2 * gamma)))


def denoised(solver: Solver, weights: Weights, noisy: np.ndarray, most: int, tol: float) -> tuple[np.ndarray, int]:
    """The minimiser for a noisy image, mirrored around it, and iterations."""
    rows, cols = noisy.shape
    pad = 2 * solver.side
    wide = np.pad(noisy, ((pad, pad), (pad, pad + (solver.side - 1 - cols - 2 * pad) % 8)), mode="symmetric")
    kernel = solver.preconditioner(solver.spectra(weights.filters), weights)
    x, _, steps = solver.minimise(aligned(wide), wide.shape[1], weights, most, tol, kernel)
    return x[pad : pad + rows, pad : pad + cols], steps


def judge(
    path: Path, images: np.ndarray, level: float, most: int = 400, tol: float = 2e-5
) -> tuple[float, float, float]:
    """Mean PSNR in dB of images of uint8 with that noise, removed; seconds and iterations an image."""
    with np.load(path) as file:
        stored = dict(file)
    solver, weights = Solver(stored["filters"].shape[1]), weights_at(stored, level)
    rng, began, scores, counts = np.random.default_rng(1), time.process_time(), [], []
    for image in images:
        sharp = np.float32(image / 255)
        noisy = sharp + np.float32(level) * rng.standard_normal(sharp.shape, dtype=np.float32)
        x, steps = denoised(solver, weights, noisy, most, tol)
        scores.append(-10 * np.log10(np.mean((np.clip(x, 0, 1) - sharp) ** 2)))
        counts.append(steps)
    return float(np.mean(scores)), (time.process_time() - began) / len(images), float(np.mean(counts))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.train_prior",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--size", choices=SIZES, default="large", help=f"of {SIZES}")
    parser.add_argument("--out", type=Path, metavar="FILE.npz", help="where the weights go")
    parser.add_argument("--steps", type=int, help="batches; each size has its own number of them")
    parser.add_argument("--minutes", type=float, default=1e9, help="the rates fall so that they end by then")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", type=Path, metavar="FILE.pt", help="parameters to start from")
    parser.add_argument("--judge", type=Path, metavar="FILE.npz", help="only the PSNR of weights, on validation images")
    parser.add_argument("--images", type=int, default=68, help="how many of them")
    chosen = parser.parse_args(arguments)
    if (chosen.out is None) == (chosen.judge is None):
        parser.error("give --out to train, or --judge")
    if chosen.judge is None:
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(chosen.seed)
        size = SIZES[chosen.size]
        prior = Prior(size.filters, size.side, size.terms)
        if chosen.resume is not None:
            for name, value in torch.load(chosen.resume).items():
                prior.parameters[name].data = value
        images = np.load(chosen.data / "train.npz")["images"]
        resumed = chosen.resume is not None
        train(prior, images, chosen.steps or size.steps, chosen.minutes, chosen.seed, resumed, chosen.out)
    images = np.load(chosen.data / "validation.npz")["images"][: chosen.images]
    for level in (15, 25):
        decibels, seconds, steps = judge(chosen.judge or chosen.out, images, level / 255)
        print(f"noise {level}: {decibels:.3f} dB, {steps:.0f} iterations and {seconds:.2f} CPU seconds an image", flush=True)  # fmt: skip  # noqa: E501
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
