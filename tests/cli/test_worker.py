"""``datalake worker``: wrong input is answered in one line; two in a row are one run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import datalake, datalake_on_terminal
from tests.support.tasks import write_module

HANDLER = """
class Rows(Generator):
    def generate(self):
        for number in range(3):
            yield {"number": number}

class Others(Rows):
    pass
"""
DOCUMENT: dict[str, Any] = {
    "datasetName": "d",
    "readConnector": {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "handler.Rows"},
    "writeConnector": {"batch": "b"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset file with its handlers."""
    write_module(tmp_path, HANDLER)
    (tmp_path / "dataset.json").write_text(json.dumps(DOCUMENT), encoding="utf-8")
    return tmp_path


def test_one_worker_does_it_and_the_next_finds_it_done(folder: Path) -> None:
    """For people and for programs."""
    shown = datalake_on_terminal("worker", "--configFile", "dataset.json", cwd=folder)
    assert shown.status == 0, shown.err
    assert "1 completed, 1 completed by this worker" in shown.out
    again = datalake("worker", "--configFile", "dataset.json", "--concurrency", "1", cwd=folder)
    assert again.status == 0, again.err
    assert (again.json["status"], again.json["rows"], again.json["worker"]["tasks"]) == ("COMPLETED", 3, 0)


def test_another_reading_under_the_same_name_is_refused(folder: Path) -> None:
    """Also when no worker lives any more: one batch holds one reading."""
    assert datalake("worker", "--configFile", "dataset.json", cwd=folder).status == 0
    other = DOCUMENT | {
        "readConnector": {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "handler.Others"}
    }
    (folder / "other.json").write_text(json.dumps(other), encoding="utf-8")
    done = datalake("worker", "--configFile", "other.json", cwd=folder)
    assert (done.status, done.out) == (2, "")
    assert "its batch 'b' was read in another way before" in done.err
    assert list((folder / "lake" / "d" / ".state" / "workers").glob("*.lock")) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing option '--configFile'"),
        (["--configFile", "none.json"], "none.json"),
        (["--configFile", "dataset.json", "--concurrency", "0"], "--concurrency"),
        (["--configFile", "dataset.json", "--leaseSeconds", "1"], "--leaseSeconds"),
    ],
)
def test_a_wrong_command_is_told(folder: Path, arguments: list[str], said: str) -> None:
    """With status 2, and nothing is written."""
    done = datalake("worker", *arguments, cwd=folder)
    assert (done.status, done.out) == (2, "")
    assert said in done.err
    assert not (folder / "lake").exists()
