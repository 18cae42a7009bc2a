"""What stands beside the code for people who join, and for machines: workflows, forms, the citation."""

import re
import tomllib
from pathlib import Path

import pytest

import fastdeblur

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").iterdir())
FILES = [*sorted((ROOT / ".github").rglob("*.yml")), ROOT / ".pre-commit-config.yaml", ROOT / "CITATION.cff"]


def loaded(file):
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_yaml_can_be_read(file):
    assert isinstance(loaded(file), dict)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_workflows_end_and_may_do_little(file):
    found = loaded(file)
    assert found["permissions"] == {"contents": "read"}
    for job in found["jobs"].values():
        assert job["timeout-minutes"] <= 180
        steps = job["steps"]
        assert all(("uses" in step) != ("run" in step) for step in steps)
        if set(job.get("permissions", {})) == {"id-token"}:  # what may publish runs nothing of ours
            assert not any("run" in step for step in steps)
        for step in steps:
            for script in re.findall(r"(?:tests|benchmarks|\.ci)/[\w./]+", step.get("run", "")):
                assert (ROOT / script).is_file(), script


def test_the_oldest_python_is_tested_with_the_oldest_packages():
    include = loaded(ROOT / ".github" / "workflows" / "test.yml")["jobs"]["test"]["strategy"]["matrix"]["include"]
    (oldest,) = (each for each in include if each["constraints"])
    assert f">={oldest['python']}" == PROJECT["requires-python"]
    assert (ROOT / oldest["constraints"]).is_file()


def test_the_citation_is_of_this_version():
    found = loaded(ROOT / "CITATION.cff")
    assert found["version"] == fastdeblur.__version__
    assert found["license"] == PROJECT["license"]
    assert [each["name"] for each in found["authors"]] == [each["name"] for each in PROJECT["authors"]]
    assert f"## [{fastdeblur.__version__}]" in (ROOT / ".github" / "CHANGELOG.md").read_text(encoding="utf-8")


def test_forms_ask_each_question_once():
    for name in ("bug", "question"):
        form = loaded(ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml")
        assert {"name", "description", "body"} <= form.keys()
        questions = [each for each in form["body"] if each["type"] != "markdown"]
        assert {each["type"] for each in questions} <= {"input", "textarea", "dropdown", "checkboxes"}
        assert len({each["id"] for each in questions}) == len(questions)
        assert any(each.get("validations", {}).get("required") for each in questions)
