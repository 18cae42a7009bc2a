"""Networks from ONNX files as priors; the files are written here, byte by byte."""

import os
import pickle
import signal
import sys

import numpy as np
import pytest
import scipy.ndimage

import fastdeblur as fd

INT, INTS = 2, 7


def number(value):
    """A whole number as Protocol Buffers write it."""
    groups = [value & 127]
    while value := value >> 7:
        groups.append(value & 127)
    return bytes(group | 128 for group in groups[:-1]) + bytes(groups[-1:])


def field(at, value):
    if isinstance(value, int):
        return number(at << 3) + number(value)
    value = value.encode() if isinstance(value, str) else value
    return number(at << 3 | 2) + number(len(value)) + value


def tensor(name, array):
    """Of float32."""
    return b"".join(field(1, size) for size in array.shape) + field(2, 1) + field(8, name) + field(9, array.tobytes())


def port(name, shape, kind=1):
    """An input or output; sizes with a name are free."""
    sizes = b"".join(field(1, field(2, size) if isinstance(size, str) else field(1, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, sizes)))


def node(kind, takes, gives, **attributes):
    found = b"".join(field(1, name) for name in takes) + field(2, gives) + field(4, kind)
    for name, value in attributes.items():
        if isinstance(value, int):
            found += field(5, field(1, name) + field(3, value) + field(20, INT))
        else:
            found += field(5, field(1, name) + b"".join(field(8, each) for each in value) + field(20, INTS))
    return found


def network(inputs, nodes, tensors=(), kind=1, out=("n", "c", "h", "w")):
    graph = b"".join(field(1, each) for each in nodes) + field(2, "net")
    graph += b"".join(field(5, each) for each in tensors)
    graph += b"".join(field(11, port(name, shape, kind)) for name, shape in inputs.items())
    return field(1, 8) + field(7, graph + field(12, port("out", out, kind))) + field(8, field(2, 13))


BOX = np.stack([np.full((3, 3), 1 / 9), np.pad([[2.0]], 1)])[None].astype(np.float32)


def box_plus_noise():
    """The mean of 3×3 pixels, plus twice the noise: of an image and, as a second channel, the noise."""
    convolved = node("Conv", ["x", "k"], "out", pads=[1, 1, 1, 1])
    return network({"x": ("n", 2, "h", "w")}, [convolved], [tensor("k", BOX)])


def less_noise(channels, level, kind=1):
    """The image minus the noise, which is the second input."""
    return network({"x": (1, channels, "h", "w"), "s": level}, [node("Sub", ["x", "s"], "out")], kind=kind)


def in_blocks_of_four():
    """What it is given, by way of blocks of 4×4: it fails on other sizes."""
    return network(
        {"x": ("n", 1, "h", "w"), "s": ()},
        [node("SpaceToDepth", ["x"], "deep", blocksize=4), node("DepthToSpace", ["deep"], "out", blocksize=4)],
    )


@pytest.fixture
def load(tmp_path):
    pytest.importorskip("onnxruntime")

    def loaded(data, **options):
        (tmp_path / "net.onnx").write_bytes(data)
        return fd.denoisers.onnx(tmp_path / "net.onnx", **options)

    return loaded


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(16, 24), (13, 19)], ids=str)
def test_noise_as_a_channel(load, rng, shape, dtype):
    image = rng.random(shape).astype(dtype)
    before = image.copy()
    denoised = load(box_plus_noise())(image, 0.05)
    assert denoised.dtype == dtype
    assert denoised.shape == shape
    ends = [-size % 8 for size in shape]
    wide = np.pad(image, ((0, ends[0]), (0, ends[1])), mode="symmetric")
    means = scipy.ndimage.uniform_filter(wide, 3, mode="constant")[: shape[0], : shape[1]]
    np.testing.assert_allclose(denoised, means + 0.1, rtol=2e-6)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("level", [(), (1,), (1, 1), (1, 1, 1, 1), ("n", 1, 1, 1), (1, 1, "h", "w")], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_noise_as_a_second_input(load, rng, level, channels):
    denoise = load(less_noise(channels, level), multiple=1)
    image = rng.random((9, 11, 3), dtype=np.float32)
    np.testing.assert_array_equal(denoise(image, 0.25), image - np.float32(0.25))
    np.testing.assert_allclose(denoise(image[..., 0], 0.25), image[..., 0] - 0.25, atol=1e-7)


def test_networks_of_float64(load, rng):
    image = rng.random((9, 11))
    np.testing.assert_array_equal(load(less_noise(1, (), kind=11))(image, 0.1), image - 0.1)


def test_channels_are_not_mixed_up(load, rng):
    denoise = load(less_noise(3, ()), channel_axis=0)
    image = rng.random((3, 9, 11), dtype=np.float32)
    np.testing.assert_array_equal(denoise(image, 0.25), image - np.float32(0.25))
    four = rng.random((4, 9, 11), dtype=np.float32)  # plane by plane
    np.testing.assert_allclose(denoise(four, 0.25), four - 0.25, atol=1e-7)


def test_ranges(load, rng):
    image = rng.integers(0, 256, (16, 16)).astype(np.float32)
    denoised = load(box_plus_noise(), white=255)(image, 5.0)
    np.testing.assert_allclose(denoised, scipy.ndimage.uniform_filter(image, 3, mode="constant") + 10, rtol=1e-5)


def test_sizes_are_padded_to_multiples(load, rng):
    image = rng.random((13, 6), dtype=np.float32)
    np.testing.assert_array_equal(load(in_blocks_of_four(), multiple=4)(image, 0.1), image)
    with pytest.raises(ValueError, match=r"net\.onnx fails on an image of shape \(1, 13, 6\)"):
        load(in_blocks_of_four(), multiple=1)(image, 0.1)


def test_as_a_prior_and_after_a_pickle(load, rng, tmp_path):
    image, psf = rng.random((32, 32), dtype=np.float32), fd.psf.gaussian(5, 1)
    denoise = load(less_noise(1, ()))
    (tmp_path / "net.onnx").unlink()
    again = pickle.loads(pickle.dumps(denoise))
    first, second = (fd.deblur(image, psf, prior=prior, mu=1e-3, max_iter=3) for prior in (denoise, again))
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)
    own = fd.deblur(image, psf, prior=lambda x, sigma: x - np.float32(sigma), mu=1e-3, max_iter=3)
    np.testing.assert_allclose(first, own, atol=1e-6)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.parametrize("workers", [1, 2])
def test_in_a_fork(load, rng, workers):
    denoise, image = load(box_plus_noise(), workers=workers), rng.random((16, 16), dtype=np.float32)
    expected = denoise(image, 0.1).tobytes() if workers == 1 else b"refused"
    read, write = os.pipe()
    if not (child := os.fork()):
        signal.alarm(20)  # else a deadlock would outlast the tests
        try:
            os.write(write, denoise(image, 0.1).tobytes())
        except RuntimeError:
            os.write(write, b"refused")
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as found:
        assert found.read() == expected
    os.waitpid(child, 0)


WRONG = {
    "no network": (b"no network", "file must be an ONNX network"),
    "no noise": (network({"x": (1, 1, "h", "w")}, [node("Relu", ["x"], "out")]), "1 or 3 channels"),
    "fixed sizes": (network({"x": (1, 2, 8, 8)}, [node("Relu", ["x"], "out")]), "any number of rows and columns"),
    "free channels": (network({"x": (1, "c", "h", "w")}, [node("Relu", ["x"], "out")]), "channels are a number"),
    "batches": (network({"x": (4, 2, "h", "w")}, [node("Relu", ["x"], "out")]), "one image at a time"),
    "noise of a shape": (less_noise(1, (1, 1, 8, 8)), "a noise input that is one number"),
    "whole numbers": (network({"x": (1, 2, "h", "w")}, [node("Abs", ["x"], "out")], kind=7), "inputs of float32"),
    "three inputs": (
        network({"x": (1, 1, "h", "w"), "s": (), "t": ()}, [node("Sum", ["x", "s", "t"], "out")]), "one input, or two",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_files_that_do_not_fit(load, what):
    data, message = WRONG[what]
    with pytest.raises(ValueError, match=message):
        load(data)


def test_results_of_another_shape(load, rng):
    keeps_both = network({"x": (1, 2, "h", "w")}, [node("Relu", ["x"], "out")])
    with pytest.raises(ValueError, match=r"must return an image of the shape that it is given, \(1, 1, 8, 8\)"):
        load(keeps_both)(rng.random((8, 8)), 0.1)


def test_arguments(load, rng):
    denoise = load(less_noise(1, ()))
    with pytest.raises(ValueError, match="image must have 2 dimensions"):
        denoise(rng.random(8), 0.1)
    with pytest.raises(ValueError, match="sigma must be a finite number at least 0; got -1"):
        denoise(rng.random((8, 8)), -1)
    for name, value in {"white": 0, "multiple": 0, "channel_axis": 3, "workers": 0}.items():
        with pytest.raises(ValueError, match=f"{name} must be"):
            load(less_noise(1, ()), **{name: value})


def test_without_onnxruntime(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "net.onnx").write_bytes(less_noise(1, ()))
    with pytest.raises(ImportError, match=r'pip install "fastdeblur\[onnx\]"'):
        fd.denoisers.onnx(tmp_path / "net.onnx")
    with pytest.raises(FileNotFoundError):
        fd.denoisers.onnx(tmp_path / "missing.onnx")
