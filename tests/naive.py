"""The oracle: nested loops over the formulas, which share nothing with the package."""

import functools
import math


def where(index, size, boundary):
    """Which of a row's `size` pixels stands at `index`; None where there is nothing."""
    while not 0 <= index < size:
        if boundary == "constant":
            return None
        if boundary == "nearest":
            index += 1 if index < 0 else -1
        elif boundary == "wrap":
            index += size if index < 0 else -size
        elif boundary == "reflect":
            index = -1 - index if index < 0 else 2 * size - 1 - index
        elif size == 1:  # a mirror's pixel has no neighbour to show
            return 0
        else:
            index = -index if index < 0 else 2 * (size - 1) - index
    return index


@functools.cache  # most of what oracles would take
def reads(size, taps, boundary):
    """For each of an axis's `size` pixels of the blurred image, the pairs (tap, pixel it is multiplied with)."""
    # Where the boundary is unknown, the estimate begins taps - 1 - taps // 2 pixels before the frame.
    ahead, pixels = (taps - 1, size + taps - 1) if boundary == "unknown" else (taps // 2, size)
    pairs = [[(u, where(i + ahead - u, pixels, boundary)) for u in range(taps)] for i in range(size)]
    return [[(u, k) for u, k in pair if k is not None] for pair in pairs]


def frame(shape, psf, boundary):
    """Shape of the blurred image of an estimate of `shape`."""
    if boundary == "unknown":
        return shape[0] - len(psf) + 1, shape[1] - len(psf[0]) + 1
    return shape


def convolve(image, psf, boundary="constant"):
    """y[i, j] = sum over u, v of psf[u, v] * x[i + c - u, j + d - v], x continued beyond its frame."""
    rows, cols = frame((len(image), len(image[0])), psf, boundary)
    down, across = reads(rows, len(psf), boundary), reads(cols, len(psf[0]), boundary)
    out = [[0.0] * cols for _ in range(rows)]
    for i in range(rows):
        for j in range(cols):
            total = 0.0
            for u, k in down[i]:
                for v, m in across[j]:
                    total += psf[u][v] * image[k][m]
            out[i][j] = total
    return out


def matrix(shape, psf, boundary="constant"):
    """The blur to images of `shape` as rows of numbers: entry [p][q] is what pixel q adds to pixel p."""
    rows, cols = shape
    down, across = reads(rows, len(psf), boundary), reads(cols, len(psf[0]), boundary)
    height, width = (rows + len(psf) - 1, cols + len(psf[0]) - 1) if boundary == "unknown" else shape
    out = [[0.0] * (height * width) for _ in range(rows * cols)]
    for i in range(rows):
        for j in range(cols):
            for u, k in down[i]:
                for v, m in across[j]:
                    out[i * cols + j][k * width + m] += psf[u][v]
    return out


def neighbours(rows, cols, boundary):
    """Pairs of pixels whose difference counts: each with that below and to its right, round a periodic image."""
    pairs = []
    for i in range(rows):
        for j in range(cols):
            for k, m in ((i + 1, j), (i, j + 1)):
                if boundary == "wrap":
                    pairs.append(((i, j), (0 if k == rows else k, 0 if m == cols else m)))
                elif k < rows and m < cols:
                    pairs.append(((i, j), (k, m)))
    return pairs


def norms(planes, images, psf, boundary="constant"):
    """(‖Ax - b‖, ‖Dx‖) over all planes together."""
    misfit = roughness = 0.0
    for x, b in zip(planes, images, strict=True):
        blurred = convolve(x, psf, boundary)
        for i in range(len(b)):
            for j in range(len(b[0])):
                misfit += (blurred[i][j] - b[i][j]) ** 2
        for (i, j), (k, m) in neighbours(len(x), len(x[0]), boundary):
            roughness += (x[k][m] - x[i][j]) ** 2
    return math.sqrt(misfit), math.sqrt(roughness)


def objective(planes, images, psf, data, mu, boundary="constant"):
    misfit, roughness = norms(planes, images, psf, boundary)
    if data == "root":
        return math.sqrt(0.5 * misfit**2) + mu * math.sqrt(0.5 * roughness**2)
    return 0.5 * misfit**2 + mu * 0.5 * roughness**2


def gradient(planes, images, psf, data, mu, boundary="constant"):
    """Gradient of the objective, as (whole, data part, prior part), each a list of planes."""
    misfit, roughness = norms(planes, images, psf, boundary)
    a, b = 1.0, mu
    if data == "root":
        a = 1 / (2 * math.sqrt(0.5 * misfit**2)) if misfit else 0.0
        b = mu / (2 * math.sqrt(0.5 * roughness**2)) if roughness else 0.0
    whole, first, second = [], [], []
    for x, image in zip(planes, images, strict=True):
        rows, cols = len(x), len(x[0])
        blurred = convolve(x, psf, boundary)
        down, across = reads(len(image), len(psf), boundary), reads(len(image[0]), len(psf[0]), boundary)
        g = [[0.0] * cols for _ in range(rows)]
        h = [[0.0] * cols for _ in range(rows)]
        for i in range(len(image)):
            for j in range(len(image[0])):
                r = blurred[i][j] - image[i][j]
                for u, k in down[i]:
                    for v, m in across[j]:
                        g[k][m] += a * psf[u][v] * r
        for (i, j), (k, m) in neighbours(rows, cols, boundary):
            h[k][m] += b * (x[k][m] - x[i][j])
            h[i][j] -= b * (x[k][m] - x[i][j])
        first.append(g)
        second.append(h)
        whole.append([[g[i][j] + h[i][j] for j in range(cols)] for i in range(rows)])
    return whole, first, second


def rule(name, rate, x, gradients):
    """One number through a sequence of gradients, as TensorFlow 1's optimisers move it."""
    velocity = mean = square = 0.0
    total = 0.1
    for step, g in enumerate(gradients, 1):
        if name == "gd":
            x -= rate * g
        elif name == "momentum":
            velocity = 0.9 * velocity + g
            x -= rate * velocity
        elif name == "nesterov":
            velocity = 0.9 * velocity + g
            x -= rate * (g + 0.9 * velocity)
        elif name == "adam":
            mean = 0.9 * mean + 0.1 * g
            square = 0.999 * square + 0.001 * g * g
            corrected = rate * math.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            x -= corrected * mean / (math.sqrt(square) + 1e-8)
        elif name == "adagrad":
            total += g * g
            x -= rate * g / math.sqrt(total)
    return x
