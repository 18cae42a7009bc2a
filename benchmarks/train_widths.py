"""Train the network that says how wide a Gaussian or Moffat psf is (`fastdeblur/psf/widths.npz`).

    python -m benchmarks.train_widths --data FOLDER --examples FILE.npz --out FILE.npz

FOLDER has train.npz and validation.npz, each with an array `images` of uint8: (N, rows, columns), gray.  Examples are
made of all of the first, of every other one of the second (the others are for judging), and of the photographs of
scikit-image that `benchmarks.psf_fit` names for development, brick and grass: blurred by Gaussians and Moffat profiles
of random widths, with random noise, some after JPEG.  They are kept in --examples, and taken from there if it exists.
It needs PyTorch (pip install ".[train]").  One thread; the same seeds give the same weights on the same machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import fastdeblur as fd
from fastdeblur.psf import fitting, widths

from .psf_fit import DEVELOPMENT, MARGIN, degraded, photographs

# Standard deviations of Gaussians, and a Moffat profile's width in those of the Gaussian that is as wide; noise; one
# over a Moffat profile's exponent.
BLURS, NOISES, FLATS = (0.35, 5.5), (0.002, 0.04), (1 / 8, widths.FLATTEST)
JPEG = 0.3
# Examples of an image, and how much each counts.
SETS = {"train": (8, 1.0), "validation": (14, 3.0), "development": (14, 5.0)}
# Levels so near to the truth are learned.
NEAR = 0.8
NETWORKS, HIDDEN, EPOCHS, BATCH, RATE, DECAY = 3, 16, 40, 256, 8e-3, 0.1
# Share of the examples that are not strange.
USUAL = 0.98


def sharp_images(folder: Path) -> dict[str, list[np.ndarray]]:
    train, validation = (np.load(folder / f"{name}.npz")["images"] / 255 for name in ("train", "validation"))
    names = (*DEVELOPMENT, "brick", "grass")
    return {
        "train": list(train),
        "validation": list(validation[::2]),
        "development": [image for _, image in photographs(names)],
    }


def examples(folder: Path) -> dict[str, np.ndarray]:
    """What is seen at each level, what it should say there, and how much it counts."""
    random = np.random.default_rng(0)
    inputs, targets, counts = [], [], []
    for name, images in sharp_images(folder).items():
        number, count = SETS[name]
        for image in images:
            padded = np.pad(image, MARGIN, "symmetric")
            for k in range(number):
                width, noise = (np.exp(random.uniform(*np.log(ends))) for ends in (BLURS, NOISES))
                flat = random.uniform(*FLATS) if k % 2 else 0.0
                if flat:
                    psf = fd.psf.moffat(2 * min(int(np.ceil(5 * width)) + 4, 35) + 1, widths.FWHM * width, 1 / flat)
                else:
                    psf = fd.psf.gaussian(2 * int(np.ceil(4.5 * width)) + 1, width)
                blurred = degraded(padded, psf, noise, random.random() < JPEG, int(random.integers(2**31)))
                plane, whole, range_ = fitting.checked(blurred, None)
                spectrum = fitting.spectrum_of(plane, whole, range_, fitting.TILE)
                steps = widths.Widths(plane, whole, range_, spectrum)
                wanted = np.log(width) - steps.levels
                for features, target in zip(steps.features, wanted, strict=True):
                    if abs(target) < NEAR:
                        inputs.append([*features, flat])
                        targets.append(target)
                        counts.append(count)
        print(f"{name}: {len(inputs)} examples", flush=True)
    return {"inputs": np.array(inputs), "targets": np.array(targets), "counts": np.array(counts)}


def train(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Networks of two hidden layers that say the mean and the logarithm of the deviation; by Student's likelihood."""
    import torch

    torch.set_num_threads(1)
    mean, deviation = data["inputs"].mean(axis=0), data["inputs"].std(axis=0) + 1e-6
    scaled = (data["inputs"] - mean) / deviation
    inputs, targets, counts = (torch.tensor(each, dtype=torch.float32) for each in (scaled, *list(data.values())[1:]))
    inputs = inputs.clamp(-5, 5)
    layers: list[list[np.ndarray]] = [[], [], []]
    for seed in range(NETWORKS):
        torch.manual_seed(seed)
        linear = [torch.nn.Linear(size, HIDDEN) for size in (inputs.shape[1], HIDDEN)] + [torch.nn.Linear(HIDDEN, 2)]
        network = torch.nn.Sequential(linear[0], torch.nn.Tanh(), linear[1], torch.nn.Tanh(), linear[2])
        optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
        steps = EPOCHS * -(-len(inputs) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
        for _ in range(EPOCHS):
            order = torch.randperm(len(inputs))
            for batch in order.split(BATCH):
                said, log_deviation = network(inputs[batch]).T
                log_deviation = log_deviation.clamp(-4, 1)
                away = ((targets[batch] - said) / log_deviation.exp()) ** 2
                loss = (counts[batch] * (log_deviation + 2.5 * torch.log1p(away / 4))).sum() / counts[batch].sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        print(f"network {seed}: loss {loss.item():.3f}", flush=True)
        for layer, each in zip(layers, linear, strict=True):
            weights, bias = each.weight.detach().numpy(), each.bias.detach().numpy()
            layer.append(np.column_stack([weights, bias]).astype(np.float32))
    covariance = scaled.T @ scaled / len(scaled) + 0.02 * np.eye(scaled.shape[1])
    precision = np.linalg.inv(covariance)
    distances = np.einsum("ij,jk,ik->i", scaled, precision, scaled)
    return {
        "first": np.stack(layers[0]), "second": np.stack(layers[1]), "last": np.stack(layers[2]),
        "mean": mean, "deviation": deviation, "precision": precision, "usual": np.quantile(distances, USUAL),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--examples", type=Path, required=True, metavar="FILE.npz")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.npz")
    arguments = parser.parse_args()
    if not arguments.examples.exists():
        np.savez_compressed(arguments.examples, **examples(arguments.data))
    np.savez_compressed(arguments.out, **train(dict(np.load(arguments.examples))))


if __name__ == "__main__":
    main()
