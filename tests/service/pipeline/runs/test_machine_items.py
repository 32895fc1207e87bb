from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from datalake_service.config.available import check_available
from datalake_service.config.load import load_dataset
from datalake_service.errors import ConfigError
from tests.cli.commands import datalake
from tests.support.machines import MACHINES, pair
from tests.support.tasks import write_module

BOTH = {"A": "handler.Sized", "B": "handler.Sized"}


def dataset(folder: Path, *, lines: list[str] | None = None, **connector: Any) -> Path:
    """A dataset file for two kinds of files; returns its path."""
    write_module(folder, MACHINES)
    (folder / "input").mkdir(exist_ok=True)
    several = {
        "readerType": "Multiple File State Machine Reader",
        "multipleFileStateMachineReaderClassName": "handler.LockStep",
        "singleFileStateMachineParserImplementationClassNameMap": BOTH,
    }
    document: dict[str, Any] = {
        "datasetName": "steps",
        "readConnector": {"connectorDestination": "FOLDER", "path": "input", **(connector or several)},
        "writeConnector": {"connectorDestination": "DATALAKE", "batch": "b"},
    }
    if lines is not None:
        document["manifestFile"] = {"fileContents": lines}
    path = folder / "dataset.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def write(folder: Path, name: str, *bodies: str) -> None:
    """A file of numbered pairs."""
    content = b"".join(pair(f"k{number}", body) for number, body in enumerate(bodies))
    (folder / "input" / name).write_bytes(content)


def test_each_line_is_a_task_with_several_files(tmp_path: Path) -> None:
    """It runs to its end, is not read again, and is when one of its files changes; another line is left alone."""
    path = dataset(tmp_path, lines=["A:a0|B:b0", "B:b1 | A:a1"])
    for name in ("a0", "b0", "a1", "b1"):
        write(tmp_path, name, "one", "two")
    create = ("datasets", "create", "--configFile", str(path), "--prettyPrint")
    first = datalake(*create, cwd=tmp_path)
    assert (first.status, first.err) == (0, "")
    assert (first.json["tasks"]["completed"], first.json["records"], first.json["rows"]) == (2, 4, 4)
    again = datalake(*create, cwd=tmp_path).json
    assert (again["tasks"]["alreadyDone"], again["records"]) == (2, 0)
    write(tmp_path, "b0", "one", "two", "three")
    changed = datalake(*create, cwd=tmp_path).json
    assert (changed["tasks"]["alreadyDone"], changed["tasks"]["completed"], changed["records"]) == (1, 1, 3)
    assert any("has changed since it was read" in note for note in changed["notes"])
    tasks = datalake("tasks", "list", "--datasetName", "steps", cwd=tmp_path).json
    assert {task["item"] for task in tasks["tasks"]} == {"A:a0|B:b0", "B:b1 | A:a1"}


def test_one_file_with_several_kinds_runs_from_a_dataset_file(tmp_path: Path) -> None:
    """Every file of the folder is a task, as for other readers."""
    path = dataset(
        tmp_path,
        readerType="Single File State Machine Reader",
        singleFileStateMachineReaderImplementationClassName="handler.Pairs",
        singleFileStateMachineParserImplementationClassName="handler.Sized",
    )
    write(tmp_path, "one", "a", "b")
    write(tmp_path, "two", "c")
    done = datalake("datasets", "create", "--configFile", str(path), "--prettyPrint", cwd=tmp_path)
    assert (done.status, done.json["tasks"]["completed"], done.json["rows"]) == (0, 2, 3)


def test_a_line_that_is_none_is_told_before_anything_is_read(tmp_path: Path) -> None:
    """Every such line at once."""
    path = dataset(tmp_path, lines=["A:a0|B:b0", "a1", "A:a2", "A:a3|A:b3"])
    done = datalake("datasets", "create", "--configFile", str(path), cwd=tmp_path)
    assert done.status == 2
    for line in (
        "'a1': 'a1' is not TYPE:key; pairs are separated by |",
        "'A:a2' has no file of the type B",
        "'A:a3|A:b3' names two files of type A",
    ):
        assert line in done.err + done.out
    assert not (tmp_path / "lake/steps/.state/tasks").exists()


@pytest.mark.parametrize(
    ("connector", "told"),
    [
        (
            {"readerType": "SINGLEFILESTATEMACHINEREADER"},
            "readConnector.singleFileStateMachineReaderImplementationClassName: missing; the reader, as module.Class",
        ),
        (
            {"readerType": "MULTIPLEFILESTATEMACHINEREADER", "multipleFileStateMachineReaderClassName": "handler.R"},
            "manifestFile: readerType MULTIPLEFILESTATEMACHINEREADER needs fileContents: a line of TYPE:key|TYPE:key",
        ),
    ],
)
def test_what_a_state_machine_needs_is_told(tmp_path: Path, connector: dict[str, str], told: str) -> None:
    """Before anything runs."""
    document = {
        "datasetName": "d",
        "readConnector": {"connectorDestination": "FOLDER", "path": "input", **connector},
    }
    with pytest.raises(ConfigError) as caught:
        check_available(load_dataset(document, folder=tmp_path))
    assert any(line.startswith(told) for line in caught.value.problems), caught.value.problems
