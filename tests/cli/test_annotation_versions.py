"""From failing rows to an export of one version, with the real commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.commands import Done, datalake, datalake_on_terminal

HANDLER = """
from datalake_interfaces import Annotator, SkipDoc

class Label(Annotator):
    def __init__(self, fails="", secret_token=None):
        self.fails = fails

    async def annotate(self, item):
        item.spend(input_tokens=10, output_tokens=1, cost=0.5)
        if item.id in self.fails:
            raise ValueError(f"cannot read {item.id}")
        return SkipDoc() if item.id == "d" else {"n": LABEL}

LABEL = 1
"""


def dataset_file(folder: Path, **annotator: Any) -> None:
    """The dataset file, with this annotator."""
    document = {
        "datasetName": "d",
        "readConnector": {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "rows.Rows"},
        "writeConnector": {"batch": "b"},
        "annotators": [
            {"annotatorName": "lang", "annotatorImplementationClassName": "handler.Label", "baseColumns": ["id"]}
            | annotator
        ],
    }
    (folder / "dataset.json").write_text(json.dumps(document))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A dataset of five rows; its annotator fails for two of them."""
    (tmp_path / "handler.py").write_text(HANDLER)
    (tmp_path / "rows.py").write_text(
        "from datalake_interfaces import Generator\n"
        "class Rows(Generator):\n    def generate(self):\n        yield from ({'id': name} for name in 'abcde')\n"
    )
    dataset_file(tmp_path, version="v1", parameters={"fails": "ab", "secret_token": "hush"})
    assert datalake("datasets", "create", "--configFile", "dataset.json", cwd=tmp_path).status == 0
    return tmp_path


def of(project: Path, *arguments: str) -> Done:
    """A command about the dataset."""
    return datalake(*arguments, "--datasetName", "d", cwd=project)


def annotate(project: Path, *arguments: str) -> None:
    """Annotate again."""
    done = datalake("annotate", "--configFile", "dataset.json", *arguments, cwd=project)
    assert done.status == 0, done.err


def exported(project: Path, *arguments: str) -> dict[str, Any]:
    """A column of the annotator by row."""
    done = of(project, "export", "--output", "-", *arguments)
    assert done.status == 0, done.err
    return {row["id"]: row.get("lang.n") for row in map(json.loads, done.out.splitlines())}


def test_failures_and_versions(project: Path) -> None:
    """Errors are listed, retried and gone; another version is made; either can be exported; who made what is told."""
    found = of(project, "errors", "list", "--annotator", "lang").json["annotations"]
    assert found["kinds"] == [{"annotator": "lang", "kind": "ValueError", "rows": 2}]
    (one, _) = found["errors"]
    assert (one["error"], one["message"], one["cost"]) == ("annotations/lang/b/a", "ValueError: cannot read a", 0.5)
    viewed = of(project, "errors", "view", "--error", "annotations/lang/b/a").json
    assert viewed == one
    text = datalake_on_terminal("errors", "list", "--datasetName", "d", "--kind", "ValueError", cwd=project).out
    assert "annotations/lang/b/b" in text
    assert exported(project, "--filter", '{"type": "raw_duck", "sql": "lang._kind = \'ValueError\'"}') == {
        "a": None, "b": None,
    }  # fmt: skip
    dataset_file(project, version="v1", parameters={"fails": "b"})
    annotate(project, "--retry", "failed")
    assert exported(project) == {"a": 1, "b": None, "c": 1, "d": None, "e": 1}

    (project / "handler.py").write_text(HANDLER.replace("LABEL = 1", "LABEL = 2"))
    dataset_file(project, version="v2", parameters={"fails": "e"})
    annotate(project, "--reuse", "label")
    assert exported(project) == {"a": 2, "b": 2, "c": 2, "d": None, "e": 1}
    assert exported(project, "--annotationVersion", "lang=v1") == {"a": 1, "b": None, "c": 1, "d": None, "e": 1}
    assert exported(project, "--annotationVersion", "lang=v2") == {"a": 2, "b": 2, "c": 2, "d": None, "e": None}
    wrong = of(project, "export", "--output", "-", "--annotationVersion", "lang=v3")
    assert wrong.status == 2
    assert "there are: v1 (code:" in wrong.err
    assert of(project, "export", "--output", "-", "--annotationVersion", "lang").status == 2

    (annotator,) = of(project, "datasets", "view").json["annotators"]
    coverage = annotator["coverage"]
    assert {name: coverage[name] for name in ("rows", "done", "skipped", "failed", "pending")} == {
        "rows": 5, "done": 4, "skipped": 1, "failed": 0, "pending": 0,
    }  # fmt: skip
    assert {(one["version"], one["done"], one["older"]) for one in coverage["versions"]} >= {("v2", 3, 1)}
    assert coverage["spent"]["cost"] == 12 * 0.5
    shown = datalake_on_terminal("datasets", "view", "--datasetName", "d", cwd=project).out
    assert "100.0%" in shown
    assert "v2 (" in shown

    page = (project / "lake/d/annotations/lang/b/manifest.yaml").read_text()
    told = yaml.safe_load(page)
    assert {made["version"] for made in told["made"]} == {"v1", "v2"}
    newest = told["made"][-1]
    assert (newest["annotator"], newest["parameters"], newest["columns"]) == ("handler.Label", {"fails": "e"}, ["id"])
    assert newest["base"]
    assert "hush" not in page

    done = of(project, "export", "--output", "out.jsonl", "--annotationVersion", "lang=v1")
    assert done.status == 0
    said = json.loads((project / "out.jsonl.lineage.json").read_text())
    assert (said["rows"], said["annotators"][0]["pinned"]) == (5, "v1")
