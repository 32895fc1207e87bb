from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import command, datalake, datalake_on_terminal, environment

HANDLER = """
import time
from datalake_interfaces import Annotation, Annotator, Document, Generator
from datalake_interfaces import RecordHintType, RecordParseHint, SingleFileParser


class Lines(SingleFileParser):
    def __init__(self, seconds=0.0):
        self.seconds = seconds

    def get_record_start_pattern(self, s3_file_type):
        return RecordParseHint(RecordHintType.PATTERN, "<")

    def get_record_end_pattern(self, s3_file_type):
        return RecordParseHint(RecordHintType.PATTERN, ">\\n")

    def parse_document(self, s3_file_type, s3_filename, offset_bytes, data, start_index, end_index):
        time.sleep(self.seconds)
        text = bytes(data[start_index:end_index]).decode()[1:-2]
        if text.startswith("bad"):
            raise ValueError("not good")
        print("a handler may print")
        return Document({"text": text})


class Rows(Generator):
    def generate(self):
        yield from ({"id": str(n), "text": f"row {n}"} for n in range(5))


class Length(Annotator):
    def annotate(self, item):
        return Annotation({"length": len(item.data["text"])})
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A folder with a handler, two files of records (two of them bad) and the dataset file that reads them."""
    folder = tmp_path / "config"
    (folder / "in").mkdir(parents=True)
    (folder / "handler.py").write_text(HANDLER, encoding="utf-8")
    for number in range(2):
        lines = "".join(f"<line {number}.{line}>\n" for line in range(50)) + f"<bad {number}>\n"
        (folder / "in" / f"{number}.gz").write_bytes(gzip.compress(lines.encode()))
    return write(folder)


def write(folder: Path, **sections: object) -> Path:
    """The dataset file, with other sections."""
    document: dict[str, Any] = {
        "datasetName": "lines",
        "readConnector": {
            "connectorDestination": "FOLDER",
            "path": "in",
            "singleFileParserImplementationClassName": "handler.Lines",
        },
        "writeConnector": {"batch": "b", "chunkSize": 20},
        "computeEngine": {"concurrency": 2},
        "annotators": [
            {"annotatorName": "size", "annotatorImplementationClassName": "handler.Length", "baseColumns": ["text"]}
        ],
        **sections,
    }
    path = folder / "dataset.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_a_dataset_file_is_run_and_run_again(tmp_path: Path, config: Path) -> None:
    """Read, merged, annotated, reported; the second run adds nothing, and the rows can be exported."""
    first = datalake("datasets", "create", "--configFile", str(config), cwd=tmp_path)
    assert first.status == 0, first.err
    report = first.json  # what handlers print is no part of it
    assert (report["status"], report["records"], report["documents"], report["errors"]) == ("COMPLETED", 102, 100, 2)
    assert (report["rows"], report["uri"]) == (100, str(tmp_path / "lake"))
    assert report["annotators"][0]["annotated"] == 100
    second = datalake("datasets", "create", "--config-file", str(config), "--prettyPrint", cwd=tmp_path)
    assert second.status == 0, second.err
    assert (second.json["records"], second.json["rows"]) == (0, 100)
    assert second.json["annotators"][0]["annotated"] == 0
    exported = datalake("export", "--datasetName", "lines", "--output", "-", cwd=tmp_path).out.splitlines()
    rows = [json.loads(line) for line in exported]
    assert len(rows) == 100
    assert all(row["size.length"] == len(row["text"]) for row in rows)
    errors = datalake("errors", "list", "--datasetName", "lines", cwd=tmp_path).json["errors"]
    assert [error["message"] for error in errors] == ["ValueError: not good"] * 2 or len(errors) == 2
    tasks = datalake("tasks", "list", "--datasetName", "lines", cwd=tmp_path).json["tasks"]
    assert [task["status"] for task in tasks] == ["COMPLETED"] * 2
    view = datalake("datasets", "view", "--datasetName", "lines", cwd=tmp_path).json
    assert (view["status"], view["rows"], view["tasks"]) == ("COMPLETED", 100, {"COMPLETED": 2})


def test_the_report_is_for_people_on_a_terminal(tmp_path: Path, config: Path) -> None:
    """And a moving line shows how far it is, which is gone in the end."""
    write(config.parent, readConnector={
            "connectorDestination": "FOLDER", "path": "in", "parameters": {"seconds": 0.02},
            "singleFileParserImplementationClassName": "handler.Lines",
        })  # fmt: skip
    done = datalake_on_terminal("datasets", "create", "--configFile", str(config), cwd=tmp_path)
    assert done.status == 0, done.out
    assert "tasks 0/2: " in done.out
    assert "records, " in done.out
    assert "lines: completed in " in done.out
    assert "datalake export --datasetName lines" in done.out


def test_progress_is_silent_in_a_pipe(tmp_path: Path, config: Path) -> None:
    """Standard error holds what went wrong, and nothing else."""
    done = datalake("datasets", "create", "--configFile", str(config), cwd=tmp_path)
    assert done.err.replace("a handler may print", "").strip() == ""  # two workers print at once


def test_the_lake_of_the_command_line_wins(tmp_path: Path, config: Path) -> None:
    """Over the one of the file, which is relative to the file and wins over the environment's."""
    write(config.parent, writeConnector={"uri": "of-file", "batch": "b"})
    done = datalake("datasets", "create", "--configFile", str(config), cwd=tmp_path, DATALAKE_URI="of-environment")
    assert done.json["uri"] == str(config.parent / "of-file")
    done = datalake("datasets", "create", "--configFile", str(config), "--uri", "of-command", cwd=tmp_path)
    assert done.json["uri"] == str(tmp_path / "of-command")
    assert not (tmp_path / "of-environment").exists()


def test_a_failed_task_is_exit_status_1(tmp_path: Path, config: Path) -> None:
    """With the report; the other task was read to its end."""
    (config.parent / "in" / "1.gz").write_bytes(gzip.compress(b"<only good>\n"))
    write(config.parent, onError={"policy": "fail"})
    done = datalake("datasets", "create", "--configFile", str(config), cwd=tmp_path)
    assert done.status == 1, done.err
    assert (done.json["status"], done.json["tasks"]["failed"]) == ("FAILED", 1)


def test_a_passed_limit_is_exit_status_1(tmp_path: Path, config: Path) -> None:
    """The report names the limit."""
    write(config.parent, onError={"maxErrors": 1})
    done = datalake("datasets", "create", "--configFile", str(config), cwd=tmp_path)
    assert done.status == 1, done.err
    assert "onError.maxErrors allows 1" in done.json["limit"]


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"datasetName": "a/b", "onError": {"policy": "x"}}, ": 2 problems"),
        (
            {"computeEngine": {"computeEngineType": "LAMBDA", "concurrency": 2}},
            "computeEngine.functionName: missing; the name or ARN of the function that runs tasks, which has to exist",
        ),
        (
            {"readConnector": {"connectorDestination": "SQS", "queueName": "q"}, "manifestFile": {}},
            "readConnector.queueMessageReaderImplementationClassName: missing; the QueueMessageReader, as module.Class",
        ),
        ({"readConnector": {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "handler.None_"}},
         "handler.None_"),
        ({"annotators": [{"annotatorName": "a", "annotatorImplementationClassName": "nowhere.A"}]}, "nowhere"),
        ({"manifestFile": {"fileContents": "none.gz"}}, "none.gz"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_exit_status_2(tmp_path: Path, config: Path, sections: dict[str, Any], said: str) -> None:
    """Before anything is read; without a traceback."""
    write(config.parent, **sections)
    done = datalake("datasets", "create", "--configFile", str(config), cwd=tmp_path)
    assert said in done.err + done.out
    assert done.status in {1, 2} if "manifestFile" in sections else done.status == 2
    assert "Traceback" not in done.err


def test_a_deleted_dataset_is_not_created_again_by_accident(tmp_path: Path, config: Path) -> None:
    """It says how to get it back."""
    assert datalake("datasets", "create", "--configFile", str(config), cwd=tmp_path).status == 0
    assert datalake("datasets", "delete", "--datasetName", "lines", "--yes", cwd=tmp_path).status == 0
    done = datalake("datasets", "create", "--configFile", str(config), cwd=tmp_path)
    assert done.status == 2
    assert "datalake datasets restore --datasetName lines" in done.err


# What a shell does to a command that it starts in the background.
WITHOUT_INTERRUPTS = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
)


@pytest.mark.parametrize(
    ("before", "number", "status"),
    [
        ([], signal.SIGINT, 130),
        ([], signal.SIGTERM, 143),
        ([sys.executable, "-c", WITHOUT_INTERRUPTS], signal.SIGTERM, 143),
    ],
    ids=["interrupted", "terminated", "terminated in the background"],
)
def test_an_interrupt_keeps_what_is_done(
    tmp_path: Path, config: Path, before: list[str], number: signal.Signals, status: int
) -> None:
    """The run ends in order, with one line and its report; the next run does the rest."""
    slow = {
        "connectorDestination": "FOLDER", "path": "in", "parameters": {"seconds": 0.05},
        "singleFileParserImplementationClassName": "handler.Lines",
    }  # fmt: skip
    write(config.parent, readConnector=slow)
    with subprocess.Popen(
        [*before, *command("datasets", "create", "--configFile", str(config))],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for_a_task(tmp_path / "lake")
        os.kill(process.pid, number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "interrupted; what was finished is kept"
    assert json.loads(out)["status"] == "STOPPED"
    done = datalake("datasets", "create", "--configFile", str(config), cwd=tmp_path)
    assert done.status == 0, done.err
    assert done.json["rows"] == 100


def wait_for_a_task(lake: Path) -> None:
    """Return when a task is running."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for path in lake.glob("lines/.state/tasks/*.json"):
            if json.loads(path.read_text(encoding="utf-8"))["status"] == "RUNNING":
                return
        time.sleep(0.05)
    pytest.fail("no task began")
