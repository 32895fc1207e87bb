"""``datalake errors`` where rejections were archived in a folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import Done, datalake, datalake_on_terminal
from tests.support.tasks import LINES, write_module


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A dataset file whose rejections are archived; it has run."""
    write_module(tmp_path / "project", LINES)
    (tmp_path / "project/input").mkdir()
    (tmp_path / "project/input/a.log").write_text("doc one\nbad \x1b[31mtwo\n", encoding="utf-8")
    document: dict[str, Any] = {
        "datasetName": "d",
        "readConnector": {
            "connectorDestination": "FOLDER",
            "path": "input",
            "singleFileParserImplementationClassName": "handler.Lines",
        },
        "writeConnector": {"batch": "b"},
        "errorConnector": {"connectorDestination": "FOLDER", "path": "../archive"},
    }
    (tmp_path / "project/dataset.json").write_text(json.dumps(document), encoding="utf-8")
    assert datalake("datasets", "create", "--configFile", "project/dataset.json", cwd=tmp_path).status == 0
    return tmp_path


def errors(project: Path, *arguments: str) -> Done:
    """Ask."""
    return datalake("errors", *arguments, "--datasetName", "d", cwd=project)


def test_archived_errors_are_listed_and_shown(project: Path) -> None:
    """As if they lay beside the batch."""
    listed = errors(project, "list").json
    assert [(error["kind"], error["source"], error["startOffset"]) for error in listed["errors"]] == [
        ("parse", "a.log", "8")
    ]
    assert "notes" not in listed
    viewed = errors(project, "view", "--error", listed["errors"][0]["error"]).json
    assert viewed["text"] == "bad \x1b[31mtwo\n"
    assert errors(project, "list", "--batch", "b").json == listed
    assert errors(project, "view", "--error", "b/nothing.jsonl:1").status == 2


def test_an_archive_that_is_somewhere_else_is_said(project: Path) -> None:
    """Rather than that there are no errors."""
    shutil.rmtree(project / "archive")
    note = f"{project}/archive is not on this machine; what is archived there is not listed"
    assert errors(project, "list").json["notes"] == [note]
    shown = datalake_on_terminal("errors", "list", "--datasetName", "d", cwd=project)
    assert note in shown.out
