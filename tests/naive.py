"""The oracle: nested loops over the formulas, which share nothing with the package."""

import math


def convolve(image, psf):
    """y[i, j] = sum over u, v of psf[u, v] * x[i + c - u, j + d - v], x zero outside its frame."""
    rows, cols = len(image), len(image[0])
    down, across = len(psf), len(psf[0])
    out = [[0.0] * cols for _ in range(rows)]
    for i in range(rows):
        for j in range(cols):
            total = 0.0
            for u in range(down):
                for v in range(across):
                    k, m = i + down // 2 - u, j + across // 2 - v
                    if 0 <= k < rows and 0 <= m < cols:
                        total += psf[u][v] * image[k][m]
            out[i][j] = total
    return out


def matrix(shape, psf):
    """The blur of images of `shape` as rows of numbers: entry [p][q] is what pixel q adds to pixel p."""
    rows, cols = shape
    down, across = len(psf), len(psf[0])
    out = [[0.0] * (rows * cols) for _ in range(rows * cols)]
    for i in range(rows):
        for j in range(cols):
            for k in range(rows):
                for m in range(cols):
                    u, v = i - k + down // 2, j - m + across // 2
                    if 0 <= u < down and 0 <= v < across:
                        out[i * cols + j][k * cols + m] = psf[u][v]
    return out


def norms(planes, images, psf):
    """(‖Ax - b‖, ‖Dx‖) over all planes together."""
    misfit = roughness = 0.0
    for x, b in zip(planes, images, strict=True):
        blurred = convolve(x, psf)
        for i in range(len(x)):
            for j in range(len(x[0])):
                misfit += (blurred[i][j] - b[i][j]) ** 2
                if i + 1 < len(x):
                    roughness += (x[i + 1][j] - x[i][j]) ** 2
                if j + 1 < len(x[0]):
                    roughness += (x[i][j + 1] - x[i][j]) ** 2
    return math.sqrt(misfit), math.sqrt(roughness)


def objective(planes, images, psf, data, mu):
    misfit, roughness = norms(planes, images, psf)
    if data == "root":
        return math.sqrt(0.5 * misfit**2) + mu * math.sqrt(0.5 * roughness**2)
    return 0.5 * misfit**2 + mu * 0.5 * roughness**2


def gradient(planes, images, psf, data, mu):
    """Gradient of the objective, as (whole, data part, prior part), each a list of planes."""
    misfit, roughness = norms(planes, images, psf)
    a, b = 1.0, mu
    if data == "root":
        a = 1 / (2 * math.sqrt(0.5 * misfit**2)) if misfit else 0.0
        b = mu / (2 * math.sqrt(0.5 * roughness**2)) if roughness else 0.0
    whole, first, second = [], [], []
    for x, image in zip(planes, images, strict=True):
        rows, cols = len(x), len(x[0])
        blurred = convolve(x, psf)
        g = [[0.0] * cols for _ in range(rows)]
        h = [[0.0] * cols for _ in range(rows)]
        for i in range(rows):
            for j in range(cols):
                r = blurred[i][j] - image[i][j]
                for u in range(len(psf)):
                    for v in range(len(psf[0])):
                        k, m = i + len(psf) // 2 - u, j + len(psf[0]) // 2 - v
                        if 0 <= k < rows and 0 <= m < cols:
                            g[k][m] += a * psf[u][v] * r
                for k, m in ((i + 1, j), (i, j + 1)):
                    if k < rows and m < cols:
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
