"""Dataset files whose rows go elsewhere than into the lake, and whose rejections do."""

from __future__ import annotations

import contextlib
import gzip
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.aws.clients import AwsClients
from datalake_service.catalog.datasets import RunStatus
from datalake_service.catalog.tasks import TaskCounts, TaskStatus, load_tasks
from datalake_service.config.load import load_dataset as read_config
from datalake_service.errors import ConfigError
from datalake_service.handling.policy import OnError
from datalake_service.pipeline.jobs.engine import TaskJob
from datalake_service.pipeline.jobs.outputs import FileKind, FilesOutput, QueueOutput, StreamOutput, TableOutput
from datalake_service.pipeline.reports.rejected import find_rejected, list_rejected, open_archives
from datalake_service.storage import FolderStore, open_store
from tests.support.faulty_store import Crash, Fault, FaultyStore
from tests.support.memory_aws import STREAM, Action, MemoryAws, MemoryClients
from tests.support.project import Project
from tests.support.tasks import (
    LINES,
    TickingClock,
    after,
    file_job,
    run_here,
    state_of,
    stored_rejections,
    write_module,
)

DOCUMENTS = """
class Documents(Lines):
    def parse_document(self, s3_file_type, s3_filename, offset_bytes, byte_arr, start_index, end_index):
        answer = super().parse_document(s3_file_type, s3_filename, offset_bytes, byte_arr, start_index, end_index)
        if type(answer) is Document and answer.document_id is None:
            answer.partition_key = "p" + answer.document_key_values_map["text"]
            answer.record_type = "line"
        return answer

class Keyed(Lines):
    def parse_document(self, *arguments):
        answer = super().parse_document(*arguments)
        if type(answer) is Document:
            answer.document_key_values_map["pk"] = answer.document_key_values_map["text"]
        return answer
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two files of lines, rows to a folder."""
    made = Project(tmp_path)
    made.write("a.log", "doc one\nown two\nskip x\nbad y\n")
    made.write("b.log", "doc three\ndoc two\n")
    made.document["writeConnector"] = {"connectorDestination": "FOLDER", "path": "../out", "batch": "b"}
    return made


def written(folder: Path) -> list[dict[str, Any]]:
    """The rows of all JSONL files below a folder, in the order of the files."""
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.rglob("*.jsonl*")):
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        rows += [json.loads(line) for line in data.splitlines()]
    return rows


def by_text(rows: list[dict[str, Any]]) -> list[str]:
    """What the rows say, sorted."""
    return sorted(row["text"] for row in rows)


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


# One task, and what dies ---------------------------------------------------------------------------------------------

LOG = "".join(f"{word} {number}\n" for number in range(5) for word in ("doc", "own", "bad", "skip"))


class World:
    """A lake and a file, for one task that writes elsewhere."""

    def __init__(self, folder: Path, *, reference: str = "handler.Documents", content: str = LOG) -> None:
        self.lake = FolderStore(folder / "lake", durable=False)
        self.reference = reference
        self.code = write_module(folder / "code", LINES + DOCUMENTS)
        (self.code / "input").mkdir()
        (self.code / "input/in.log").write_text(content)

    def job(self, output: Any, *, store: Any = None, **fields: Any) -> TaskJob:
        job = file_job(self.lake, self.code, name="in.log", reference=self.reference, **fields)
        return replace(job, output=output, store=store or self.lake)


def test_a_queue_gets_the_flat_records(tmp_path: Path) -> None:
    """In the order of the file, as far as this queue of one task keeps it; without the id of the lake."""
    aws, world = MemoryAws(), World(tmp_path)
    assert run_here(world.job(QueueOutput(clients=MemoryClients(aws), queue="q"))).status is TaskStatus.COMPLETED
    expected: list[dict[str, str]] = []
    for number in range(5):
        text = str(number)
        expected += [
            {"recordType": "line", "partitionKey": f"p{text}", "text": text},
            {"documentId": text, "text": text},
        ]
    assert sorted(map(str, aws.bodies)) == sorted(map(str, expected))


def test_a_record_that_is_refused_becomes_a_rejection_of_its_record(tmp_path: Path) -> None:
    """At once or by the service: kind write, with offsets and bytes of the record and the reason; others go on."""
    aws = MemoryAws(refuse='"text":"3"', most_bytes=2_000)
    world = World(tmp_path, content="doc 1\ndoc " + "x" * 3_000 + "\ndoc 3\ndoc 4\n")
    result = run_here(world.job(QueueOutput(clients=MemoryClients(aws), queue="q")))
    assert result.status is TaskStatus.COMPLETED
    assert (result.counts.records, result.counts.documents, result.counts.rejections) == (4, 2, 2)
    assert by_text(aws.bodies) == ["1", "4"]
    lines = [line for lines in stored_rejections(world.lake).values() for line in lines]
    told = {line["startOffset"]: line for line in lines}
    assert told["6"]["message"] == "a message of 6050 bytes; the queue 'q' takes 2000"
    assert told["3011"]["message"] == "the queue 'q' refused a message with InvalidAttributeValue: no"
    assert [(line["kind"], line["source"]) for line in lines] == [("write", "in.log")] * 2
    assert told["3011"]["text"] == "doc 3\n"
    assert told["3011"]["endOffset"] == "3017"


def test_a_refusal_fails_the_task_if_the_file_says_so(tmp_path: Path) -> None:
    """The checkpoint stays before it: once the queue takes the record, the next run writes it."""
    aws, world = MemoryAws(refuse='"text":"3"'), World(tmp_path, content="doc 1\ndoc 2\ndoc 3\ndoc 4\n")
    output = QueueOutput(clients=MemoryClients(aws), queue="q")
    result = run_here(world.job(output, on_error=OnError("fail")))
    assert result.status is TaskStatus.FAILED
    assert "refused a message with InvalidAttributeValue: no (in.log at 12; onError.policy is 'fail')" in (
        result.error or ""
    )
    aws.refuse = ""
    assert run_here(world.job(output, on_error=OnError("fail"))).status is TaskStatus.COMPLETED
    assert set(by_text(aws.bodies)) == {"1", "2", "3", "4"}
    assert state_of(world.lake).counts.rejections == 0


def test_a_client_that_cannot_work_fails_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing about rows: none is rejected, and the next run begins with the first."""
    (tmp_path / "config").write_text("[default]\ncredential_process = /no/such/program\n", encoding="utf-8")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    world = World(tmp_path)
    result = run_here(world.job(QueueOutput(clients=AwsClients(region="us-east-1"), queue="q")))
    assert (result.status, result.counts) == (TaskStatus.FAILED, TaskCounts())
    assert "the configuration of AWS cannot work" in (result.error or "")
    assert stored_rejections(world.lake) == {}


@pytest.mark.parametrize("operation", ["get_queue_url", "send_message_batch"])
def test_what_nobody_expected_of_a_client_rejects_no_row(tmp_path: Path, operation: str) -> None:
    """Neither when it is opened nor later: the worker ends with it, and the task goes on with another one."""

    class Broken(MemoryAws):
        def answer(self, asked: str, request: dict[str, Any]) -> dict[str, Any]:
            if asked == operation:
                raise LookupError(asked)
            return super().answer(asked, request)

    world = World(tmp_path)
    with pytest.raises(LookupError, match=operation):
        run_here(world.job(QueueOutput(clients=MemoryClients(Broken()), queue="q")))
    assert stored_rejections(world.lake) == {}


def outputs(aws: MemoryAws, folder: Path) -> dict[str, Any]:
    """Every destination."""
    clients = MemoryClients(aws)
    files = FolderStore(folder / "files", durable=False)
    return {
        "queue": QueueOutput(clients=clients, queue="q"),
        "fifo": QueueOutput(clients=clients, queue="q.fifo"),
        "stream": StreamOutput(clients=clients, stream_arn=STREAM),
        "table": TableOutput(clients=clients, table="t"),
        "files": FilesOutput(store=files, kind=FileKind.JSONL, rows_per_file=3),
    }


def contents(aws: MemoryAws, folder: Path) -> list[str]:
    """Every document that any of them holds, repetitions included."""
    found = [*aws.bodies, *aws.documents, *({"text": item["text"]["S"]} for item in aws.items.values())]
    return by_text([*found, *written(folder / "files")])


@pytest.mark.parametrize("kind", ["queue", "fifo", "stream", "table", "files"])
def test_a_crash_at_any_operation_loses_nothing(tmp_path: Path, kind: str) -> None:
    """Of the lake: every document is there at the end, rejections and counts are those of a run without a crash."""
    clean, aws = World(tmp_path / "clean", reference="handler.Keyed"), MemoryAws()
    store = FaultyStore(clean.lake)
    run_here(clean.job(outputs(aws, tmp_path / "clean")[kind], store=store), clock=TickingClock(3.0))
    counts, documents = state_of(clean.lake).counts, contents(aws, tmp_path / "clean")
    rejected = [line["startOffset"] for lines in stored_rejections(clean.lake).values() for line in lines]
    assert len(documents) == counts.documents if kind != "table" else 5
    assert len(store.operations) > 10
    step = {"files": 1, "queue": 2}.get(kind, 4)
    for number in range(1, len(store.operations) + 1, step):
        for fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
            folder = tmp_path / f"{number}-{fault.name}"
            world, aws = World(folder, reference="handler.Keyed"), MemoryAws()
            output = outputs(aws, folder)[kind]
            _crash(world.job(output, store=FaultyStore(world.lake, {number: fault})))
            assert run_here(world.job(output)).status is TaskStatus.COMPLETED
            _compare(kind, contents(aws, folder), documents)
            state = state_of(world.lake)
            assert replace(state.counts, size=0) == replace(counts, size=0)
            found = [line["startOffset"] for lines in stored_rejections(world.lake).values() for line in lines]
            assert sorted(found) == sorted(rejected)


@pytest.mark.parametrize("action", ["crash_before", "crash_after", "throttle", "lose", "partial", "broken"])
@pytest.mark.parametrize("kind", ["queue", "fifo", "stream", "table"])
def test_a_fault_of_any_request_loses_nothing(tmp_path: Path, kind: str, action: Action) -> None:
    """Of the destination: killed before or after it was applied, throttled, answered in part, or never."""
    for number in (1, 2, 3):
        folder = tmp_path / str(number)
        world, aws = World(folder, reference="handler.Keyed"), MemoryAws(faults={number: action})
        output = outputs(aws, folder)[kind]
        _crash(world.job(output))
        assert run_here(world.job(output)).status is TaskStatus.COMPLETED
        assert set(contents(aws, folder)) == {str(text) for text in range(5)}
        assert aws.violations == []
        counts = state_of(world.lake).counts
        assert (counts.documents, counts.rejections, counts.skips) == (10, 5, 5)


def _crash(job: TaskJob) -> None:
    try:
        run_here(job, clock=TickingClock(3.0))
    except BaseException as error:  # noqa: BLE001 - a crash is none of Exception
        assert type(error).__name__ == "Crash"  # noqa: PT017 - which of them is told by the parameters


def _compare(kind: str, found: list[str], expected: list[str]) -> None:
    """Each at least once; where a repetition shows, it is not there."""
    assert set(found) == set(expected)
    if kind in {"table", "files"}:
        assert found == expected
    else:
        assert len(found) >= len(expected)


DEATHS = st.lists(
    st.tuples(
        st.dictionaries(st.integers(1, 25), st.sampled_from([Fault.CRASH_BEFORE, Fault.CRASH_AFTER]), max_size=1),
        st.dictionaries(
            st.integers(1, 6),
            st.sampled_from(["crash_before", "crash_after", "throttle", "lose", "partial"]),
            max_size=3,
        ),
        st.integers(0, 40),
    ),
    max_size=4,
)


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from(["doc", "own", "bad", "skip"]), max_size=30),
    DEATHS,
    st.sampled_from(["queue", "fifo", "stream", "table", "files"]),
    st.sampled_from([0.1, 3.0, 40.0]),
)
def test_any_number_of_deaths_and_stops_loses_nothing(
    words: list[str], deaths: list[tuple[dict[int, Fault], dict[int, Action], int]], kind: str, pace: float
) -> None:
    """Of the worker at any request to lake or destination; faults of the service besides; stops in order."""
    content = "".join(f"{word} {number}\n" for number, word in enumerate(words))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world, aws = World(folder, reference="handler.Keyed", content=content), MemoryAws()
        output = outputs(aws, folder)[kind]
        for crashes, faults, looks in deaths:
            aws.puts, aws.faults = 0, dict(faults)
            with contextlib.suppress(Crash):
                run_here(
                    world.job(output, store=FaultyStore(world.lake, crashes)),
                    clock=TickingClock(pace),
                    stop=after(looks),
                )
        aws.faults.clear()
        assert run_here(world.job(output), clock=TickingClock(pace)).status is TaskStatus.COMPLETED
        documents = [str(number) for number, word in enumerate(words) if word in {"doc", "own"}]
        _compare(kind, contents(aws, folder), sorted(documents))
        assert aws.violations == []
        counts = state_of(world.lake).counts
        assert (counts.documents, counts.rejections) == (len(documents), words.count("bad"))
        rejected = [line["text"] for lines in stored_rejections(world.lake).values() for line in lines]
        assert len(rejected) == words.count("bad")
