"""The examples in docstrings, in README and in the guide run."""

import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

import fastdeblur

ROOT = Path(__file__).resolve().parents[1]
MODULES = [
    "fastdeblur.api",
    "fastdeblur.operators.blur",
    "fastdeblur.operators.varying",
    "fastdeblur.deblurrer",
    "fastdeblur.solvers.frames.registration",
    "fastdeblur.problem.weights",
    "fastdeblur.hygiene",
    "fastdeblur.io.denoisers",
    "fastdeblur.large.job",
    "fastdeblur.estimates",
    "fastdeblur.solvers.richardson_lucy.skimage",
    "fastdeblur.notebook",
    "fastdeblur.psf.builders",
    "fastdeblur.psf.edge",
    "fastdeblur.psf.fitting",
    "fastdeblur.psf.fields",
    "fastdeblur.psf.path",
    "fastdeblur.psf.pupil",
    "fastdeblur.psf.points",
    "fastdeblur.psf.refinement",
    "fastdeblur.result",
    "fastdeblur.transfer",
]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert failed == 0
    assert tried > 0


def test_no_example_is_left_out():
    for module in pkgutil.walk_packages(fastdeblur.__path__, "fastdeblur."):
        if module.name not in (*MODULES, "fastdeblur.__main__"):
            source = Path(importlib.util.find_spec(module.name).origin).read_text(encoding="utf-8")
            assert ">>>" not in source, module.name


def test_readme_and_guide(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # for the files that they write
    names = {}
    for file, count in (("README.md", 4), (".github/GUIDE.md", 5)):
        blocks = re.findall(r"```python\n(.*?)```", (ROOT / file).read_text(encoding="utf-8"), re.DOTALL)
        assert len(blocks) == count
        for block in blocks:
            exec(block, names)
    scene, stars = names["scene"], names["sky"]
    for sharper, before, sharp in (
        ("restored_photograph", "photograph", scene), ("sharper", "exposure", stars), ("together", None, scene)
    ):  # fmt: skip
        image = getattr(names[sharper], "image", names[sharper])
        blurred = names["burst"][0] if before is None else names[before]
        inner = np.s_[8:-8, 8:-8]
        assert ((image - sharp)[inner] ** 2).mean() < 0.9 * ((blurred - sharp)[inner] ** 2).mean()
    assert names["result"].stop_reason in ("tolerance", "max_iter")
    assert names["losses"].shape == (501,)


def links(text):
    """What Markdown links to, but for code."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    return re.findall(r"\]\(([^()\s]+)\)", prose)


def anchors(text):
    """Headings as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "name",
    ["README.md", "benchmarks/README.md", *(f".github/{each}.md" for each in ("CONTRIBUTING", "GUIDE", "SECURITY"))],
)
def test_links_lead_somewhere(name):
    file = ROOT / name
    tried = 0
    for link in links(file.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if path.startswith(("http:", "https:")):
            continue
        target = (file.parent / path).resolve() if path else file
        assert target.is_file(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link
        tried += 1
    assert tried or name.endswith("SECURITY.md")


def test_the_map_names_what_is_there():
    package = Path(fastdeblur.__file__).parent
    named = re.findall(r"`([\w/]+(?:\.py|/))`", (ROOT / ".github" / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    assert len(named) > 40
    names = {path.name for path in package.rglob("*.py")}
    for name in set(named):
        found = (package / name).exists() or (ROOT / name).exists() if "/" in name else name in names
        assert found or any(package.glob(f"*/{name}")) or any(package.glob(f"*/*/{name}")), name


def test_what_contributors_are_sent_to_is_there():
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:tests|benchmarks|fastdeblur)/[\w/.]*\w", text))
    assert len(named) > 12
    for name in named - {"fastdeblur/__pycache__"}:
        assert (ROOT / name).exists(), name
    for module in re.findall(r"python -m (benchmarks\.\w+)", text):
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").exists(), module


FUNCTIONS = {name: getattr(fastdeblur, name) for name in fastdeblur.__all__ if callable(getattr(fastdeblur, name))}
FUNCTIONS |= {f"{module.__name__}.{name}": getattr(module, name)
              for module in (fastdeblur.psf, fastdeblur.notebook, fastdeblur.denoisers)
              for name in module.__all__}  # fmt: skip
METHODS = {f"{kind.__name__}.{name}": getattr(kind, name)
           for kind, names in ((fastdeblur.Blur, ("forward", "adjoint", "norm", "as_linear_operator")),
                               (fastdeblur.Deblurrer, ("solve", "__call__", "map"))) for name in names}  # fmt: skip
# Nothing that its caller says can be wrong.
HARMLESS = ("Blur.norm", "Blur.as_linear_operator")


def sections(thing):
    """What stands below each heading of a docstring, one string each."""
    parts = re.split(r"^([A-Z][A-Za-z ]+)\n-+$", inspect.getdoc(thing), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("name", [*FUNCTIONS, *METHODS])
def test_every_public_name_is_documented(name):
    thing = (FUNCTIONS | METHODS)[name]
    found = sections(thing)
    if dataclasses.is_dataclass(thing):
        assert re.findall(r"^(\w+) :", found["Attributes"], re.MULTILINE) == [
            field.name for field in dataclasses.fields(thing) if not field.name.startswith("_")
        ]
        return
    parameters = [name for name in inspect.signature(thing).parameters if name != "self"]
    entries = [line for line in found.get("Parameters", "").splitlines() if line[:1].strip()]
    named = [word.strip("* ") for entry in entries for word in entry.partition(" :")[0].split(",")]
    if "options" in named:  # which another function lists
        assert set(named) - {"options"} <= set(parameters)
    else:
        assert sorted(named) == sorted(parameters)
    assert name in HARMLESS or "Raises" in found
    assert name in METHODS or "Examples" in found
    if not inspect.isclass(thing) and name != "warmup":
        assert "Returns" in found or "Yields" in found
    cited = {int(number) for number in re.findall(r"\[(\d+)\]_", inspect.getdoc(thing))}
    assert cited == {
        int(number) for number in re.findall(r"^\.\. \[(\d+)\]", found.get("References", ""), re.MULTILINE)
    }
