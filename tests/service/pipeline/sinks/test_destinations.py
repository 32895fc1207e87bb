"""Dataset files whose rows go elsewhere than into the lake, and whose rejections do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from datalake_service.catalog.datasets import RunStatus
from datalake_service.catalog.tasks import load_tasks
from datalake_service.config.load import load_dataset as read_config
from datalake_service.errors import ConfigError
from datalake_service.pipeline.reports.rejected import find_rejected, list_rejected, open_archives
from datalake_service.storage import open_store
from tests.support.destinations import by_text, written
from tests.support.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two files of lines, rows to a folder."""
    made = Project(tmp_path)
    made.write("a.log", "doc one\nown two\nskip x\nbad y\n")
    made.write("b.log", "doc three\ndoc two\n")
    made.document["writeConnector"] = {"connectorDestination": "FOLDER", "path": "../out", "batch": "b"}
    return made


def test_rows_in_files_are_the_flat_records(project: Project, tmp_path: Path) -> None:
    """Without the id that is added for the lake; nothing is merged, and the lake keeps tasks and rejections."""
    report = project.run()
    assert report.status is RunStatus.COMPLETED
    assert sorted(map(str, written(tmp_path / "out"))) == sorted(
        map(
            str,
            [{"text": "one"}, {"documentId": "two", "text": "two"}, {"text": "three"}, {"text": "two"}],
        )
    )
    assert not list(project.lake.rglob("*.parquet"))
    assert [error.fields["message"] for error in list_rejected(project.store, "d")] == ["bad line: y"]
    assert (report.merged, report.rows) == ((), {})


def test_a_report_names_what_there_is(project: Project) -> None:
    """No merged object, and the rejections where they are."""
    told = project.run().to_dict()
    assert told["results"] == {
        "written": [f"{project.lake.parent}/out/d/"],
        "merged": [],
        "rejected": [f"{project.lake}/d/b/rejected/"],
        "annotations": [],
    }
    assert [command.split()[1:3] for command in told["commands"]] == [["datasets", "view"], ["errors", "list"]]


def test_running_again_writes_nothing(project: Project, tmp_path: Path) -> None:
    """The files of completed tasks stay as they are."""
    project.run()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.jsonl")}
    project.run()
    assert project.engine.ran == []
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.jsonl")} == before


def test_an_input_that_changed_replaces_its_files(project: Project, tmp_path: Path) -> None:
    """The files of the version before are removed."""
    project.run()
    project.write("a.log", "doc new\n")
    project.run()
    assert by_text(written(tmp_path / "out")) == ["new", "three", "two"]


@pytest.mark.parametrize(("file_format", "suffix"), [("jsonl.gz", ".jsonl.gz"), ("PARQUET", ".parquet")])
def test_other_formats_hold_the_same_rows(project: Project, tmp_path: Path, file_format: str, suffix: str) -> None:
    """Each task writes files of its own."""
    project.document["writeConnector"]["fileFormat"] = file_format
    project.run()
    paths = sorted((tmp_path / "out").rglob(f"*{suffix}"))
    assert len(paths) == 2
    if suffix == ".parquet":
        rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
        assert all(set(row) <= {"text", "documentId"} for row in rows)
    else:
        rows = written(tmp_path / "out")
    assert by_text(rows) == ["one", "three", "two", "two"]


def test_files_end_at_their_number_of_rows(project: Project, tmp_path: Path) -> None:
    """Named by the documents before them."""
    project.write("c.log", "".join(f"doc {number}\n" for number in range(7)))
    project.document["writeConnector"]["rowsPerFile"] = 3
    project.run()
    names = [path.name for path in (tmp_path / "out").rglob("*.jsonl")]
    assert sorted(name for name in names if not name.startswith("000000000000")) == [
        "000000000003-1.jsonl",
        "000000000006-1.jsonl",
    ]


def test_the_same_items_may_go_to_two_destinations(project: Project, tmp_path: Path) -> None:
    """The tasks of each are tasks of their own."""
    project.run()
    project.document["writeConnector"] = {"connectorDestination": "FOLDER", "path": "../other", "batch": "b"}
    project.run()
    assert by_text(written(tmp_path / "other")) == by_text(written(tmp_path / "out"))
    assert len(load_tasks(project.store, "d")) == 4


def test_rejections_go_to_the_error_connector(project: Project, tmp_path: Path) -> None:
    """With source, offsets, kind, message and bytes; both places are listed, and each error can be looked at."""
    project.run()
    project.document["errorConnector"] = {"connectorDestination": "FOLDER", "path": "../errors"}
    project.write("c.log", "doc fine\nbad z\nraise boom\n")
    report = project.run()
    archives = open_archives(project.store, "d", open_store=open_store)
    found = list(list_rejected(project.store, "d", archives=archives))
    assert [(error.fields["kind"], error.fields["text"]) for error in found] == [
        ("parse", "bad y\n"),
        ("parse", "bad z\n"),
        ("parse", "raise boom\n"),
    ]
    assert {error.fields["source"] for error in found} == {"a.log", "c.log"}
    assert all(find_rejected(project.store, "d", error.name, archives=archives) == error for error in found)
    assert len(list(list_rejected(project.store, "d"))) == 1
    assert len(list((tmp_path / "errors" / "d" / "b" / "rejected").iterdir())) == 1
    assert report.to_dict()["results"]["rejected"] == [f"{tmp_path}/errors/d/b/rejected/"]


def test_rejections_of_rows_of_the_lake_go_elsewhere_too(project: Project, tmp_path: Path) -> None:
    """The destination makes no difference to where rejections go."""
    project.document["writeConnector"] = {"batch": "b"}
    project.document["errorConnector"] = {"connectorDestination": "FOLDER", "path": "../errors"}
    project.run()
    assert not list((project.lake / "d" / "b").glob("rejected"))
    assert len(list((tmp_path / "errors").rglob("*.jsonl"))) == 1
    assert project.texts() == ["one", "three", "two", "two"]


@pytest.mark.parametrize(
    ("connector", "problem"),
    [
        ({"connectorDestination": "SQS"}, "writeConnector.queueName: missing; the queue, which has to exist"),
        (
            {"connectorDestination": "KINESIS"},
            "writeConnector.streamArn: missing; the ARN of the stream, which has to exist",
        ),
        ({"connectorDestination": "DYNAMODB"}, "writeConnector.tableName: missing; the table, which has to exist"),
        ({"connectorDestination": "S3"}, "writeConnector.bucketName: missing; the bucket, which has to exist"),
        (
            {"connectorDestination": "S3", "bucketName": "out", "writerType": "Spark"},
            'writeConnector.writerType: found "Spark"; that needs readConnector.readerType SPARKREADER',
        ),
    ],
)
def test_a_destination_has_to_be_named(project: Project, connector: dict[str, Any], problem: str) -> None:
    """The original makes what is not named; that costs money for as long as nobody looks."""
    project.document["writeConnector"] = connector
    with pytest.raises(ConfigError) as caught:
        project.run()
    assert caught.value.problems == (problem,)


def test_annotators_need_the_lake(project: Project) -> None:
    """They annotate rows that exist."""
    project.annotate()
    with pytest.raises(ConfigError) as caught:
        project.run()
    assert caught.value.problems == ("annotators: they annotate rows of the lake, and rows go to FOLDER",)


@pytest.mark.parametrize("prefix", ["a/../b", "a//b", "a\nb"])
def test_a_prefix_that_keys_cannot_have_is_refused(prefix: str, tmp_path: Path) -> None:
    """Before anything is read."""
    document = {
        "datasetName": "d",
        "readConnector": {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "a.B"},
        "writeConnector": {"connectorDestination": "S3", "bucketName": "out", "prefix": prefix},
    }
    with pytest.raises(ConfigError) as caught:
        read_config(document, folder=tmp_path)
    assert "writeConnector.prefix" in str(caught.value)
